//! The compiler of policies: from a [`Policy`] to the chains and sets in an instance's own namespace, where nothing
//! else lives.
//!
//! Goals, and what answers each:
//!
//! 1. Every packet of every connection, old or new, in either direction, answers to the present policy. Nothing is
//!    accepted for being ESTABLISHED. `INGRESS` and `EGRESS` judge the packets of whoever opened the connection, their
//!    mirrors `INGRESS-R` and `EGRESS-R` the replies, by the same rules with source and destination exchanged. So a new
//!    deny cuts open connections at once, even where only the denied side sends.
//! 2. A connection walks through the rules once per version of the policy. The walk sets the packet's mark to the
//!    version, and table `security`, which sees what `filter` accepted, saves that mark to the connection; a connection
//!    that bears the version is accepted by the first rule. Replacing the policy is one commit of one table: whatever the
//!    order in which the tables are written, no mark is saved that its own rules didn't earn.
//! 3. ICMP errors about a connection pass, but never vouch for it: what is RELATED saves no mark.
//! 4. The direction of a connection is known when a policy comes, because connection tracking runs from the
//!    instance's birth: the chains without a policy hold a rule that needs it. `nf_conntrack_tcp_loose` has to be 0, else
//!    a segment of an unknown connection opens one.
//! 5. A short policy reads as it was written (`iptables -S`); a long one costs few lookups (see `sets.rs`).

mod linear;
mod nets;
mod sets;
#[cfg(test)]
mod tracer;

use std::fmt::Write;

use crate::model::cidr::Cidr;
use crate::model::hash::stable_hash;
use crate::model::policy::{Action, Direction, Policy, Protocol, RuleList};
use crate::plan::rule::{Rule, Set, Table};

/// Packets that arrive; jumped to from `INPUT`, in `filter` and, where there is a policy, in `security`.
pub const INPUT: &str = "VPCCTL-INPUT";

/// Packets that leave; jumped to from `OUTPUT`, in `filter` and, where there is a policy, in `security`.
pub const OUTPUT: &str = "VPCCTL-OUTPUT";

/// The chains and sets of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiled {
    /// Table, chain and rules, chains before those that jump to them.
    pub chains: Vec<(Table, String, Vec<Rule>)>,
    /// The sets that the rules name. They have to be there before the rules.
    pub sets: Vec<Set>,
}

/// Where the compiler turns from one rendering to another.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// The most rules of a direction that are written one by one. With their mirrors and the other direction they have to
    /// fit the 212,992 bytes that iptables-nft sends at once where it isn't root on the host (270 rules do, 300 don't).
    lines: usize,
    /// The largest range whose ports are entries of a set, one by one.
    expand: usize,
    /// The most larger ranges, all different, that one segment may hold.
    spans: usize,
    /// The most entries of a segment that only guard an earlier rule.
    exceptions: usize,
    /// The most entries of a direction for ports one by one, and as many again for exceptions.
    total: usize,
    /// How many times fewer lines sets have to bring.
    gain: usize,
}

const LIMITS: Limits = Limits { lines: 48, expand: 32, spans: 32, exceptions: 8192, total: 1 << 18, gain: 2 };

/// One match with its verdict, the same for both ways of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// `All` names none.
    protocol: Protocol,
    /// First and last port of each range; none for every port.
    ports: Vec<Span>,
    peer: Peer,
    action: Action,
    purpose: String,
}

/// Ports, both included. Unlike in a rule, 0 may be one.
type Span = (u16, u16);

/// The other side.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Peer {
    Cidr(Cidr),
    /// The name of a set of networks.
    Nets(String),
    /// The name of a set of networks, each with a protocol and a port.
    NetsAndPorts(String),
}

/// Which packets of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Those of the side that opened it.
    Opening,
    /// Those of the other side.
    Reply,
}

/// The rules of an instance under `policy`, or of one without a policy.
pub fn compile(policy: Option<&Policy>) -> Compiled {
    match policy {
        Some(policy) => compile_within(policy, &LIMITS),
        None => Compiled { chains: open_chains(), sets: Vec::new() },
    }
}

fn compile_within(policy: &Policy, limits: &Limits) -> Compiled {
    let version = version(policy);
    let mut compiled = Compiled { chains: Vec::new(), sets: Vec::new() };
    for direction in [Direction::Ingress, Direction::Egress] {
        let (lines, sets) = lines(direction, policy.rules(direction), limits);
        for way in [Way::Opening, Way::Reply] {
            let rules = lines.iter().flat_map(|line| line.render(direction, way)).collect();
            compiled.chains.push((Table::Filter, chain_name(direction, way), rules));
        }
        compiled.sets.extend(sets);
    }
    compiled.sets.sort_by(|a, b| a.name.cmp(&b.name));
    compiled.sets.dedup();
    compiled.chains.extend(gate_chains(&version));
    compiled.chains.extend(memory_chains(&version));
    compiled
}

/// The lines of a direction in the shorter rendering, the default last.
fn lines(direction: Direction, list: &RuleList, limits: &Limits) -> (Vec<Line>, Vec<Set>) {
    let one_by_one = linear::lines(direction, list);
    let rules: usize = one_by_one.iter().map(|line| line.render(direction, Way::Opening).len()).sum();
    if rules <= limits.lines || sets::ports_listed(list, limits) > limits.total {
        return (one_by_one, Vec::new());
    }
    let (by_sets, sets) = sets::lines(direction, list, limits);
    let entries: usize = sets.iter().map(|set| set.entries.len()).sum();
    let worth_it = limits.gain * by_sets.len() <= one_by_one.len() && entries <= 4 * limits.total;
    if worth_it { (by_sets, sets) } else { (one_by_one, Vec::new()) }
}

/// The mark of connections that this policy has allowed: a hash of its rules, not 0.
fn version(policy: &Policy) -> String {
    let mut text = String::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        let RuleList { default, rules } = policy.rules(direction);
        for rule in rules {
            let _ = write!(text, "{} {} {} {};", rule.protocol, rule.ports, rule.peer, rule.action);
        }
        let _ = writeln!(text, "{default}");
    }
    format!("{:#x}", (stable_hash(&[&text]) as u32).max(1))
}

fn chain_name(direction: Direction, way: Way) -> String {
    let name = match (direction, way) {
        (Direction::Ingress, Way::Opening) => "VPCCTL-INGRESS",
        (Direction::Ingress, Way::Reply) => "VPCCTL-INGRESS-R",
        (Direction::Egress, Way::Opening) => "VPCCTL-EGRESS",
        (Direction::Egress, Way::Reply) => "VPCCTL-EGRESS-R",
    };
    name.to_owned()
}

/// Without a policy everything passes but what belongs to no connection.
fn open_chains() -> Vec<(Table, String, Vec<Rule>)> {
    [INPUT, OUTPUT].map(|chain| (Table::Filter, chain.to_owned(), vec![drop_invalid()])).into()
}

fn drop_invalid() -> Rule {
    Rule::new("-m conntrack --ctstate INVALID", "-j DROP", "no part of a connection")
}

/// What each packet meets first.
fn gate_chains(version: &str) -> [(Table, String, Vec<Rule>); 2] {
    let gate = |loopback: &str, errors: &str, reply: String, opening: String| {
        vec![
            Rule::new(format!("-m connmark --mark {version}"), "-j ACCEPT", "allowed by this policy before"),
            Rule::new(loopback, "-j ACCEPT", "the instance itself"),
            drop_invalid(),
            Rule::new(errors, "-j ACCEPT", "errors about a connection"),
            Rule::new("", format!("-j MARK --set-xmark {version}/0xffffffff"), "version of the policy"),
            Rule::new("-m conntrack --ctdir REPLY", format!("-j {reply}"), "replies"),
            Rule::new("", format!("-j {opening}"), "connections"),
        ]
    };
    let chain = chain_name;
    let (ingress, egress) = (Direction::Ingress, Direction::Egress);
    // An answer of REJECT is RELATED to what it answers; where that is TCP, so is the answer.
    let arriving = "-p icmp -m conntrack --ctstate RELATED";
    let leaving = "-m conntrack --ctstate RELATED";
    let input = gate("-i lo", arriving, chain(egress, Way::Reply), chain(ingress, Way::Opening));
    let output = gate("-o lo", leaving, chain(ingress, Way::Reply), chain(egress, Way::Opening));
    [(Table::Filter, INPUT.to_owned(), input), (Table::Filter, OUTPUT.to_owned(), output)]
}

/// What an accepted packet meets: the connection remembers the version that allowed it.
fn memory_chains(version: &str) -> [(Table, String, Vec<Rule>); 2] {
    let matches = format!("-m mark --mark {version} -m conntrack ! --ctstate RELATED");
    let rule = Rule::new(matches, "-j CONNMARK --save-mark", "allowed by this policy");
    [INPUT, OUTPUT].map(|chain| (Table::Security, chain.to_owned(), vec![rule.clone()]))
}

impl Line {
    /// The rules for the packets of one way.
    fn render(&self, direction: Direction, way: Way) -> Vec<Rule> {
        let rule = |protocol, target: &str| {
            let reply = if way == Way::Reply { ", replies" } else { "" };
            Rule::new(self.matches(protocol, direction, way), target, format!("{}{reply}", self.purpose))
        };
        match (self.action, way, self.protocol) {
            (Action::Allow, _, protocol) => vec![rule(protocol, "-j ACCEPT")],
            (Action::Deny, _, protocol) | (Action::Reject, Way::Reply, protocol) => vec![rule(protocol, "-j DROP")],
            (Action::Reject, Way::Opening, Protocol::Tcp) => vec![rule(Protocol::Tcp, TELL_TCP)],
            (Action::Reject, Way::Opening, Protocol::All) => {
                vec![rule(Protocol::Tcp, TELL_TCP), rule(Protocol::All, TELL)]
            }
            (Action::Reject, Way::Opening, protocol) => vec![rule(protocol, TELL)],
        }
    }

    fn matches(&self, protocol: Protocol, direction: Direction, way: Way) -> String {
        // Which end of the packet is the other side, and which bears the port that the rule names.
        let (peer, port) = match (direction, way) {
            (Direction::Ingress, Way::Opening) => ("src", "dst"),
            (Direction::Ingress, Way::Reply) => ("dst", "src"),
            (Direction::Egress, Way::Opening) => ("dst", "dst"),
            (Direction::Egress, Way::Reply) => ("src", "src"),
        };
        let mut words = Vec::new();
        match &self.peer {
            Peer::Cidr(cidr) if *cidr == Cidr::ANY => {}
            Peer::Cidr(cidr) => words.push(format!("-{} {cidr}", &peer[..1])),
            Peer::Nets(_) | Peer::NetsAndPorts(_) => {}
        }
        if protocol != Protocol::All {
            words.push(format!("-p {protocol}"));
        }
        match self.ports.as_slice() {
            [] => {}
            [span] => words.push(format!("-m {protocol} --{}port {}", &port[..1], colon(*span))),
            spans => {
                let list: Vec<_> = spans.iter().copied().map(colon).collect();
                words.push(format!("-m multiport --{}ports {}", &port[..1], list.join(",")));
            }
        }
        match &self.peer {
            Peer::Cidr(_) => {}
            Peer::Nets(set) => words.push(format!("-m set --match-set {set} {peer}")),
            Peer::NetsAndPorts(set) => words.push(format!("-m set --match-set {set} {peer},{port}")),
        }
        words.join(" ")
    }
}

const TELL_TCP: &str = "-j REJECT --reject-with tcp-reset";
const TELL: &str = "-j REJECT --reject-with icmp-port-unreachable";

/// Ports as iptables writes them.
fn colon((first, last): Span) -> String {
    if first == last { first.to_string() } else { format!("{first}:{last}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(ingress: &str, egress: &str) -> Policy {
        serde_json::from_str(&format!("{{\"ingress\": {ingress}, \"egress\": {egress}}}")).unwrap()
    }

    fn dump(compiled: &Compiled) -> String {
        let mut text = String::new();
        for set in &compiled.sets {
            text += &format!("create {} {}\n", set.name, set.kind);
            set.entries.iter().for_each(|entry| text += &format!("add {} {entry}\n", set.name));
        }
        for (table, chain, rules) in &compiled.chains {
            rules.iter().for_each(|rule| text += &format!("-t {table} -A {chain} {}\n", rule.spec()));
        }
        text
    }

    #[test]
    fn without_a_policy_connection_tracking_runs_and_everything_passes() {
        insta::assert_snapshot!(dump(&compile(None)), @r#"
        -t filter -A VPCCTL-INPUT -m conntrack --ctstate INVALID -m comment --comment "vpcctl:027c03bc no part of a connection" -j DROP
        -t filter -A VPCCTL-OUTPUT -m conntrack --ctstate INVALID -m comment --comment "vpcctl:027c03bc no part of a connection" -j DROP
        "#);
    }

    #[test]
    fn a_short_policy_reads_as_it_was_written() {
        let ingress = r#"{"default": "deny", "rules": [
            {"protocol": "tcp", "ports": [80], "action": "allow"},
            {"protocol": "tcp", "ports": [22, "8000-8100"], "action": "reject", "peer": "10.0.0.0/8"},
            {"protocol": "all", "action": "reject", "peer": "10.1.0.5/32", "description": "never shown"}]}"#;
        insta::assert_snapshot!(dump(&compile(Some(&policy(ingress, r#"{"default": "allow"}"#)))), @r#"
        -t filter -A VPCCTL-INGRESS -p tcp -m tcp --dport 80 -m comment --comment "vpcctl:8cda8df0 ingress[0] allow" -j ACCEPT
        -t filter -A VPCCTL-INGRESS -s 10.0.0.0/8 -p tcp -m multiport --dports 22,8000:8100 -m comment --comment "vpcctl:cd39f978 ingress[1] reject" -j REJECT --reject-with tcp-reset
        -t filter -A VPCCTL-INGRESS -s 10.1.0.5/32 -p tcp -m comment --comment "vpcctl:9a9449d8 ingress[2] reject" -j REJECT --reject-with tcp-reset
        -t filter -A VPCCTL-INGRESS -s 10.1.0.5/32 -m comment --comment "vpcctl:4dee0fe0 ingress[2] reject" -j REJECT --reject-with icmp-port-unreachable
        -t filter -A VPCCTL-INGRESS -m comment --comment "vpcctl:d31fe76b ingress default deny" -j DROP
        -t filter -A VPCCTL-INGRESS-R -p tcp -m tcp --sport 80 -m comment --comment "vpcctl:a03b216d ingress[0] allow, replies" -j ACCEPT
        -t filter -A VPCCTL-INGRESS-R -d 10.0.0.0/8 -p tcp -m multiport --sports 22,8000:8100 -m comment --comment "vpcctl:d7bb25c0 ingress[1] reject, replies" -j DROP
        -t filter -A VPCCTL-INGRESS-R -d 10.1.0.5/32 -m comment --comment "vpcctl:d13ef396 ingress[2] reject, replies" -j DROP
        -t filter -A VPCCTL-INGRESS-R -m comment --comment "vpcctl:d31fe76b ingress default deny, replies" -j DROP
        -t filter -A VPCCTL-EGRESS -m comment --comment "vpcctl:9b60556d egress default allow" -j ACCEPT
        -t filter -A VPCCTL-EGRESS-R -m comment --comment "vpcctl:9b60556d egress default allow, replies" -j ACCEPT
        -t filter -A VPCCTL-INPUT -m connmark --mark 0x7c166999 -m comment --comment "vpcctl:e4546059 allowed by this policy before" -j ACCEPT
        -t filter -A VPCCTL-INPUT -i lo -m comment --comment "vpcctl:7aa65df9 the instance itself" -j ACCEPT
        -t filter -A VPCCTL-INPUT -m conntrack --ctstate INVALID -m comment --comment "vpcctl:027c03bc no part of a connection" -j DROP
        -t filter -A VPCCTL-INPUT -p icmp -m conntrack --ctstate RELATED -m comment --comment "vpcctl:4f5f5346 errors about a connection" -j ACCEPT
        -t filter -A VPCCTL-INPUT -m comment --comment "vpcctl:e95ab0d1 version of the policy" -j MARK --set-xmark 0x7c166999/0xffffffff
        -t filter -A VPCCTL-INPUT -m conntrack --ctdir REPLY -m comment --comment "vpcctl:d8b30614 replies" -j VPCCTL-EGRESS-R
        -t filter -A VPCCTL-INPUT -m comment --comment "vpcctl:794804e5 connections" -j VPCCTL-INGRESS
        -t filter -A VPCCTL-OUTPUT -m connmark --mark 0x7c166999 -m comment --comment "vpcctl:e4546059 allowed by this policy before" -j ACCEPT
        -t filter -A VPCCTL-OUTPUT -o lo -m comment --comment "vpcctl:9ed45f8f the instance itself" -j ACCEPT
        -t filter -A VPCCTL-OUTPUT -m conntrack --ctstate INVALID -m comment --comment "vpcctl:027c03bc no part of a connection" -j DROP
        -t filter -A VPCCTL-OUTPUT -m conntrack --ctstate RELATED -m comment --comment "vpcctl:b12e3fbd errors about a connection" -j ACCEPT
        -t filter -A VPCCTL-OUTPUT -m comment --comment "vpcctl:e95ab0d1 version of the policy" -j MARK --set-xmark 0x7c166999/0xffffffff
        -t filter -A VPCCTL-OUTPUT -m conntrack --ctdir REPLY -m comment --comment "vpcctl:451454b4 replies" -j VPCCTL-INGRESS-R
        -t filter -A VPCCTL-OUTPUT -m comment --comment "vpcctl:3dc80565 connections" -j VPCCTL-EGRESS
        -t security -A VPCCTL-INPUT -m mark --mark 0x7c166999 -m conntrack ! --ctstate RELATED -m comment --comment "vpcctl:e8b34e39 allowed by this policy" -j CONNMARK --save-mark
        -t security -A VPCCTL-OUTPUT -m mark --mark 0x7c166999 -m conntrack ! --ctstate RELATED -m comment --comment "vpcctl:e8b34e39 allowed by this policy" -j CONNMARK --save-mark
        "#);
    }

    #[test]
    fn a_long_policy_is_a_few_lookups() {
        let rules: Vec<_> = (0..1000)
            .map(|n| {
                format!(
                    r#"{{"protocol": "tcp", "ports": [{}], "action": "{}", "peer": "10.{}.{}.0/24"}}"#,
                    [80, 443, 22][n % 3],
                    ["allow", "deny"][n % 2],
                    n / 200,
                    n % 200
                )
            })
            .collect();
        let ingress = format!(r#"{{"default": "reject", "rules": [{}]}}"#, rules.join(","));
        let compiled = compile(Some(&policy(&ingress, r#"{"default": "allow"}"#)));
        let kinds: Vec<_> = compiled.sets.iter().map(|set| (set.kind.as_str(), set.entries.len())).collect();
        assert_eq!(kinds, [("hash:net,port family inet hashsize 512 maxelem 500", 500); 2]);
        let (_, name, rules) = &compiled.chains[0];
        assert_eq!(name, "VPCCTL-INGRESS");
        assert_eq!(rules.len(), 4, "{rules:?}");
        assert!(rules[0].spec().contains("-p tcp -m set --match-set vpcctl-"), "{}", rules[0].spec());
    }

    #[test]
    fn the_version_is_that_of_the_rules_alone() {
        let of = |ingress: &str| version(&policy(ingress, r#"{"default": "allow"}"#));
        let plain = of(r#"{"default": "deny", "rules": [{"protocol": "tcp", "action": "allow"}]}"#);
        let described = r#"{"default": "deny", "rules": [{"protocol": "tcp", "action": "allow", "description": "x"}]}"#;
        assert_eq!(plain, of(described));
        assert_ne!(plain, of(r#"{"default": "reject", "rules": [{"protocol": "tcp", "action": "allow"}]}"#));
    }
}
