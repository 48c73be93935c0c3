//! A virtual packet on its way through rendered rules: what the text says, as iptables and ipset read it, compared with
//! what the policy says. Like the kernel, it refuses what can't be loaded.

use std::collections::{BTreeMap, HashMap};
use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::{Compiled, INPUT, LIMITS, Limits, OUTPUT, compile, compile_within, version};
use crate::model::cidr::Cidr;
use crate::model::policy::{Action, Direction, Policy, PortRange, Ports, Protocol, Rule, RuleList, Traffic};
use crate::plan::rule::Table;

const INSTANCE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);

/// The port of whoever opens a connection.
const EPHEMERAL: u16 = 50_123;

#[derive(Debug, Clone, Copy)]
struct Packet {
    arriving: bool,
    loopback: bool,
    state: &'static str,
    reply: bool,
    protocol: &'static str,
    src: (Ipv4Addr, u16),
    dst: (Ipv4Addr, u16),
    mark: u32,
    connmark: u32,
}

impl Packet {
    fn new(direction: Direction, reply: bool, traffic: Traffic, remote: Ipv4Addr) -> Packet {
        let (protocol, port) = match traffic {
            Traffic::Tcp(port) => ("tcp", port),
            Traffic::Udp(port) => ("udp", port),
            Traffic::Icmp => ("icmp", 0),
            Traffic::Other => ("sctp", 0),
        };
        let (client, server) = match direction {
            Direction::Ingress => ((remote, EPHEMERAL), (INSTANCE, port)),
            Direction::Egress => ((INSTANCE, EPHEMERAL), (remote, port)),
        };
        let (src, dst) = if reply { (server, client) } else { (client, server) };
        let arriving = (direction == Direction::Ingress) != reply;
        let state = if reply { "ESTABLISHED" } else { "NEW" };
        Packet { arriving, loopback: false, state, reply, protocol, src, dst, mark: 0, connmark: 0 }
    }
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
    Answered(&'static str),
}

/// The rules and sets of one instance, loaded.
struct Kernel {
    chains: HashMap<(Table, String), Vec<Vec<String>>>,
    sets: HashMap<String, LoadedSet>,
}

/// Networks, each with `6:80` (TCP) or nothing, and whether they match.
struct LoadedSet {
    with_ports: bool,
    entries: BTreeMap<(Cidr, String), bool>,
}

impl Kernel {
    fn load(compiled: &Compiled) -> Kernel {
        let sets = compiled.sets.iter().map(|set| {
            assert!(set.name.len() <= 31, "{}", set.name);
            let most: usize = set.kind.rsplit(' ').next().unwrap().parse().unwrap();
            let with_ports = set.kind.starts_with("hash:net,port ");
            let entries: BTreeMap<_, _> = set.entries.iter().map(|entry| load_entry(entry, with_ports)).collect();
            assert!(
                entries.len() == set.entries.len() && entries.len() <= most,
                "{}: an entry twice, or too many",
                set.name
            );
            (set.name.clone(), LoadedSet { with_ports, entries })
        });
        let sets: HashMap<_, _> = sets.collect();
        assert_eq!(sets.len(), compiled.sets.len(), "two sets of one name");
        let mut chains = HashMap::new();
        for (table, chain, rules) in &compiled.chains {
            assert!(chain.len() <= 28, "{chain}");
            let rules = rules.iter().map(|rule| words(&rule.spec())).collect();
            assert!(chains.insert((*table, chain.clone()), rules).is_none(), "chain {chain} twice");
        }
        Kernel { chains, sets }
    }

    /// The packet through `filter` and, if it gets there, `security`; and the connection's mark then.
    fn send(&self, mut packet: Packet) -> (Fate, u32) {
        let chain = if packet.arriving { INPUT } else { OUTPUT };
        let fate = self.walk(Table::Filter, chain, &mut packet).unwrap_or(Fate::Accepted);
        if fate == Fate::Accepted && self.chains.contains_key(&(Table::Security, chain.to_owned())) {
            assert_eq!(self.walk(Table::Security, chain, &mut packet), None);
        }
        (fate, packet.connmark)
    }

    fn walk(&self, table: Table, chain: &str, packet: &mut Packet) -> Option<Fate> {
        let rules = self.chains.get(&(table, chain.to_owned())).unwrap_or_else(|| panic!("no chain {chain}"));
        for rule in rules {
            let target = rule.iter().position(|word| word == "-j").unwrap();
            if !self.matches(&rule[..target], packet) {
                continue;
            }
            let words: Vec<&str> = rule[target + 1..].iter().map(String::as_str).collect();
            match words.as_slice() {
                ["ACCEPT"] => return Some(Fate::Accepted),
                ["DROP"] => return Some(Fate::Dropped),
                ["REJECT", "--reject-with", "tcp-reset"] => {
                    assert!(rule.windows(2).any(|pair| pair == ["-p", "tcp"]), "tcp-reset needs -p tcp");
                    return Some(Fate::Answered("tcp-reset"));
                }
                ["REJECT", "--reject-with", "icmp-port-unreachable"] => return Some(Fate::Answered("icmp")),
                ["MARK", "--set-xmark", value] => packet.mark = number(value.strip_suffix("/0xffffffff").unwrap()),
                ["CONNMARK", "--save-mark"] => packet.connmark = packet.mark,
                [chain] if chain.starts_with("VPCCTL-") => {
                    if let Some(fate) = self.walk(table, chain, packet) {
                        return Some(fate);
                    }
                }
                other => panic!("unknown target {other:?}"),
            }
        }
        None
    }

    fn matches(&self, words: &[String], packet: &Packet) -> bool {
        let mut words = words.iter().map(String::as_str);
        let mut positive = true;
        while let Some(word) = words.next() {
            if word == "!" {
                positive = false;
                continue;
            }
            let value = words.next().unwrap();
            let hit = match word {
                "-m" => true,
                "--comment" => value.len() <= 255,
                "-i" => value == "lo" && packet.arriving && packet.loopback,
                "-o" => value == "lo" && !packet.arriving && packet.loopback,
                "-p" => value == packet.protocol,
                "-s" => value.parse::<Cidr>().unwrap().contains(packet.src.0),
                "-d" => value.parse::<Cidr>().unwrap().contains(packet.dst.0),
                "--sport" | "--sports" => ports(value, packet.src.1),
                "--dport" | "--dports" => ports(value, packet.dst.1),
                "--ctstate" => value == packet.state,
                "--ctdir" => value == "REPLY" && packet.reply,
                "--match-set" => self.sets[value].matches(words.next().unwrap(), packet),
                // `--mark` belongs to the last module that was named; the rules name one of the two.
                "--mark" => panic!("resolved below"),
                "mark" | "connmark" => unreachable!(),
                "--packet-mark" => number(value) == packet.mark,
                "--connection-mark" => number(value) == packet.connmark,
                other => panic!("unknown match {other}"),
            };
            if hit != positive {
                return false;
            }
            positive = true;
        }
        true
    }
}

/// The words of a rule, with quotes read and `--mark` told apart by its module.
fn words(spec: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (index, piece) in spec.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(piece.split_whitespace().map(str::to_owned)),
            _ => words.push(piece.to_owned()),
        }
    }
    let mut module = String::new();
    for index in 1..words.len() {
        if words[index - 1] == "-m" {
            module = words[index].clone();
        }
        if words[index] == "--mark" {
            words[index] = if module == "mark" { "--packet-mark" } else { "--connection-mark" }.to_owned();
        }
    }
    words
}

fn number(text: &str) -> u32 {
    u32::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

fn ports(list: &str, port: u16) -> bool {
    let slots: usize = list.split(',').map(|item| if item.contains(':') { 2 } else { 1 }).sum();
    assert!(slots <= 15, "multiport takes 15: {list}");
    list.split(',').any(|item| {
        let (first, last) = item.split_once(':').unwrap_or((item, item));
        (first.parse().unwrap()..=last.parse().unwrap()).contains(&port)
    })
}

fn load_entry(entry: &str, with_ports: bool) -> ((Cidr, String), bool) {
    let (key, positive) = entry.strip_suffix(" nomatch").map_or((entry, true), |key| (key, false));
    let (net, port) = if with_ports { key.split_once(',').unwrap() } else { (key, "") };
    let net: Cidr = net.parse().unwrap();
    assert!(net.prefix() > 0, "a set of networks can't hold /0");
    ((net, port.to_owned()), positive)
}

impl LoadedSet {
    fn matches(&self, flags: &str, packet: &Packet) -> bool {
        let end = |flag: &str| if flag == "src" { packet.src } else { packet.dst };
        let (address, port) = match flags.split_once(',') {
            Some((address, port)) => {
                let number = if packet.protocol == "tcp" { 6 } else { 17 };
                (end(address).0, format!("{number}:{}", end(port).1))
            }
            None => (end(flags).0, String::new()),
        };
        assert_eq!(self.with_ports, flags.contains(','));
        let longest = (1..=32).rev().filter_map(|prefix| Cidr::containing(address, prefix));
        longest.filter_map(|net| self.entries.get(&(net, port.clone()))).next().copied().unwrap_or(false)
    }
}

/// What the model wants of a packet.
fn wanted(policy: &Policy, direction: Direction, reply: bool, traffic: Traffic, remote: Ipv4Addr) -> Fate {
    match policy.verdict(direction, traffic, remote).action {
        Action::Allow => Fate::Accepted,
        Action::Reject if !reply && matches!(traffic, Traffic::Tcp(_)) => Fate::Answered("tcp-reset"),
        Action::Reject if !reply => Fate::Answered("icmp"),
        Action::Deny | Action::Reject => Fate::Dropped,
    }
}

/// Addresses at the edges of every network of the policy, and one outside.
fn addresses(policy: &Policy) -> Vec<Ipv4Addr> {
    let rules = policy.ingress.rules.iter().chain(&policy.egress.rules);
    let mut addresses: Vec<_> = rules.flat_map(|rule| [rule.peer.network(), rule.peer.broadcast()]).collect();
    addresses.push(Ipv4Addr::new(203, 0, 113, 9));
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// Traffic at the edges of every range of the policy, and every protocol.
fn kinds(policy: &Policy) -> Vec<Traffic> {
    let mut ports = vec![1, 9999, u16::MAX];
    for rule in policy.ingress.rules.iter().chain(&policy.egress.rules) {
        if let Ports::Listed(ranges) = &rule.ports {
            ports.extend(ranges.iter().flat_map(|r| [r.first() - 1, r.first(), r.last(), r.last().saturating_add(1)]));
        }
    }
    ports.sort_unstable();
    ports.dedup();
    let kinds = ports.iter().flat_map(|&port| [Traffic::Tcp(port), Traffic::Udp(port)]);
    kinds.chain([Traffic::Icmp, Traffic::Other]).collect()
}

fn agree(policy: &Policy, limits: &Limits) -> Result<(), TestCaseError> {
    let kernel = Kernel::load(&compile_within(policy, limits));
    let version = number(&version(policy));
    let kinds = kinds(policy);
    for remote in addresses(policy) {
        for &traffic in &kinds {
            for (direction, reply) in
                [Direction::Ingress, Direction::Egress].into_iter().flat_map(|d| [(d, false), (d, true)])
            {
                let wanted = wanted(policy, direction, reply, traffic, remote);
                let got = kernel.send(Packet::new(direction, reply, traffic, remote));
                let marked = if wanted == Fate::Accepted { version } else { 0 };
                prop_assert_eq!(got, (wanted, marked), "{} reply={} {:?} {}", direction, reply, traffic, remote);
            }
        }
    }
    Ok(())
}

fn cidrs() -> impl Strategy<Value = Cidr> {
    // Few bits and few lengths, so that networks nest and repeat.
    let near = (0u32..16, prop::sample::select(vec![8u8, 28, 29, 30, 31, 32]));
    let near = near.prop_map(|(low, prefix)| Cidr::containing(Ipv4Addr::from_bits(0x0a00_0000 + low), prefix).unwrap());
    let far =
        prop::sample::select(vec!["0.0.0.0/1", "128.0.0.0/1", "192.0.2.0/24"]).prop_map(|net| net.parse().unwrap());
    prop_oneof![2 => Just(Cidr::ANY), 8 => near, 1 => far]
}

fn some_ports() -> impl Strategy<Value = Ports> {
    let ranges = vec![
        (80, 80),
        (81, 81),
        (80, 84),
        (443, 443),
        (1, 65535),
        (70, 1000),
        (500, 2000),
        (65535, 65535),
        (1024, 65535),
    ];
    let range = prop::sample::select(ranges).prop_map(|(first, last)| PortRange::new(first, last).unwrap());
    let listed = prop::collection::vec(range, 1..4).prop_map(|ranges| Ports::listed(ranges).unwrap());
    prop_oneof![1 => Just(Ports::Any), 3 => listed]
}

fn actions() -> impl Strategy<Value = Action> {
    prop::sample::select(vec![Action::Allow, Action::Allow, Action::Deny, Action::Deny, Action::Reject])
}

fn rules() -> impl Strategy<Value = Rule> {
    let protocol =
        prop::sample::select(vec![Protocol::Tcp, Protocol::Tcp, Protocol::Udp, Protocol::Icmp, Protocol::All]);
    (protocol, some_ports(), actions(), cidrs()).prop_map(|(protocol, ports, action, peer)| {
        let ports = if protocol == Protocol::Icmp { Ports::Any } else { ports };
        Rule::new(Some(protocol), ports, action, peer).unwrap()
    })
}

fn policies(most: usize) -> impl Strategy<Value = Policy> {
    let list =
        (prop::collection::vec(rules(), 0..most), actions()).prop_map(|(rules, default)| RuleList { default, rules });
    (list, prop::collection::vec(rules(), 0..4)).prop_map(|(ingress, egress)| Policy {
        description: None,
        ingress,
        egress: RuleList::new(egress, None),
    })
}

fn set_limits() -> impl Strategy<Value = Limits> {
    let small = (prop::sample::select(vec![0usize, 3, 32]), 1usize..6, prop::sample::select(vec![0usize, 1, 4, 1000]));
    small.prop_map(|(expand, spans, exceptions)| Limits {
        lines: 0,
        expand,
        spans,
        exceptions,
        total: 100_000,
        gain: 0,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn line_by_line_says_what_the_policy_says(policy in policies(12)) {
        agree(&policy, &LIMITS)?;
    }

    #[test]
    fn sets_say_what_the_policy_says(policy in policies(40), limits in set_limits()) {
        agree(&policy, &limits)?;
    }
}

fn http_only() -> Policy {
    let text = r#"{"ingress": {"default": "deny", "rules": [{"protocol": "tcp", "ports": [80], "action": "allow"}]},
                   "egress": {"default": "deny"}}"#;
    serde_json::from_str(text).unwrap()
}

#[test]
fn a_connection_that_this_version_allowed_passes_at_once_and_one_of_another_version_is_asked_again() {
    let policy = http_only();
    let kernel = Kernel::load(&compile(Some(&policy)));
    let version = number(&version(&policy));
    let remote = Ipv4Addr::new(192, 0, 2, 1);
    let denied = Packet { state: "ESTABLISHED", ..Packet::new(Direction::Ingress, false, Traffic::Tcp(22), remote) };
    assert_eq!(kernel.send(Packet { connmark: version, ..denied }).0, Fate::Accepted);
    assert_eq!(kernel.send(Packet { connmark: version ^ 1, ..denied }), (Fate::Dropped, version ^ 1));
    let pushed = Packet::new(Direction::Ingress, true, Traffic::Tcp(22), remote);
    assert_eq!(kernel.send(pushed).0, Fate::Dropped);
}

#[test]
fn an_error_about_a_denied_connection_passes_and_vouches_for_nothing() {
    let kernel = Kernel::load(&compile(Some(&http_only())));
    let remote = Ipv4Addr::new(192, 0, 2, 1);
    for direction in [Direction::Ingress, Direction::Egress] {
        let error = Packet { state: "RELATED", ..Packet::new(direction, false, Traffic::Icmp, remote) };
        assert_eq!(kernel.send(error), (Fate::Accepted, 0));
    }
    // The reset that REJECT sends belongs to the connection that it refuses.
    let reset = Packet { state: "RELATED", ..Packet::new(Direction::Ingress, true, Traffic::Tcp(22), remote) };
    assert_eq!(kernel.send(reset), (Fate::Accepted, 0));
}

#[test]
fn a_version_that_filter_has_not_yet_is_never_saved() {
    let mut compiled = compile(Some(&http_only()));
    for (table, _, rules) in &mut compiled.chains {
        if *table == Table::Security {
            *rules =
                vec![crate::plan::rule::Rule::new("-m mark --mark 0x1", "-j CONNMARK --save-mark", "another version")];
        }
    }
    let kernel = Kernel::load(&compiled);
    let packet = Packet::new(Direction::Ingress, false, Traffic::Tcp(80), Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(kernel.send(packet), (Fate::Accepted, 0));
}

#[test]
fn the_instance_itself_and_what_belongs_to_no_connection() {
    for compiled in [compile(None), compile(Some(&http_only()))] {
        let kernel = Kernel::load(&compiled);
        let packet = Packet::new(Direction::Ingress, false, Traffic::Tcp(22), INSTANCE);
        assert_eq!(kernel.send(Packet { loopback: true, ..packet }), (Fate::Accepted, 0));
        assert_eq!(kernel.send(Packet { state: "INVALID", ..packet }), (Fate::Dropped, 0));
    }
}
