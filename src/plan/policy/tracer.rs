//! A virtual packet on its way through rendered rules: what the text says, as iptables and ipset read it, compared with
//! what the policy says. Like the kernel, it refuses what can't be loaded.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::{Compiled, INPUT, LIMITS, Limits, OUTPUT, compile, compile_within, version};
use crate::model::cidr::Cidr;
use crate::model::policy::{Action, Direction, Policy, PortRange, Ports, Protocol, Rule, RuleList, Traffic};
use crate::plan::rule::Table;
use crate::plan::trace::chains::{self, Way};
use crate::plan::trace::net::{Chain, Net, ReadSet};
use crate::plan::trace::packet::{Packet, Tracked};
use crate::plan::trace::reading::{ReadRule, Target, Test};

const INSTANCE: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);

/// A packet of an instance, and by which interface it goes.
#[derive(Debug, Clone)]
struct Sent {
    packet: Packet,
    arriving: bool,
    device: &'static str,
}

impl Sent {
    fn new(direction: Direction, reply: bool, traffic: Traffic, remote: Ipv4Addr) -> Sent {
        let packet = match direction {
            Direction::Ingress => Packet::opening(traffic, remote, INSTANCE),
            Direction::Egress => Packet::opening(traffic, INSTANCE, remote),
        };
        let packet = if reply { packet.answer() } else { packet };
        Sent { packet, arriving: (direction == Direction::Ingress) != reply, device: "eth0" }
    }

    fn tracked(self, tracked: Tracked) -> Sent {
        Sent { packet: Packet { tracked, ..self.packet }, ..self }
    }

    fn marked(self, connmark: u32) -> Sent {
        Sent { packet: Packet { connmark, ..self.packet }, ..self }
    }
}

/// What became of a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Accepted,
    Dropped,
    Answered(String),
}

/// The rules and sets of one instance, loaded.
struct Kernel(Net);

impl Kernel {
    fn load(compiled: &Compiled) -> Kernel {
        let mut net = Net::default();
        for set in &compiled.sets {
            assert!(set.name.len() <= 31, "{}", set.name);
            let most: usize = set.kind.rsplit(' ').next().unwrap().parse().unwrap();
            let with_ports = set.kind.starts_with("hash:net,port ");
            let keys: HashSet<&str> = set.entries.iter().map(|entry| key(entry, with_ports)).collect();
            assert!(keys.len() == set.entries.len() && keys.len() <= most, "{}: twice, or too many", set.name);
            let mut read = ReadSet::new(&set.kind);
            set.entries.iter().for_each(|entry| read.add(entry).unwrap());
            assert!(net.sets.insert(set.name.clone(), read).is_none(), "two sets of one name");
        }
        for (table, chain, rules) in &compiled.chains {
            assert!(chain.len() <= 28, "{chain}");
            let rules = rules.iter().map(loaded).collect();
            let chain = (*table, chain.clone());
            assert!(net.chains.insert(chain, Chain { drops: false, rules }).is_none(), "a chain twice");
        }
        Kernel(net)
    }

    /// The packet through `filter` and, if it gets there, `security`; and the connection's mark then.
    fn send(&self, sent: Sent) -> (Fate, u32) {
        let Sent { mut packet, arriving, device } = sent;
        let (chain, way) = match arriving {
            true => (INPUT, Way { from: Some(device), to: None }),
            false => (OUTPUT, Way { from: None, to: Some(device) }),
        };
        let fate = match self.0.walk(Table::Filter, chain, way, &mut packet) {
            chains::Fate::Accepted(_) | chains::Fate::Returned(_) => Fate::Accepted,
            chains::Fate::Dropped(_) => Fate::Dropped,
            chains::Fate::Rejected(_, answer) => Fate::Answered(answer),
            other => panic!("{other:?}"),
        };
        if fate == Fate::Accepted {
            let fate = self.0.walk(Table::Security, chain, way, &mut packet);
            assert_eq!(fate, chains::Fate::Returned(None));
        }
        (fate, packet.connmark)
    }
}

/// A rule that iptables would load.
fn loaded(rule: &crate::plan::rule::Rule) -> ReadRule {
    let read = ReadRule::try_from(rule).unwrap();
    assert!(rule.spec().split('"').nth(1).unwrap_or_default().len() <= 255, "{}", read.text);
    for (test, _) in &read.tests {
        if let Test::SourcePorts(ports) | Test::DestinationPorts(ports) = test {
            let slots: usize = ports.iter().map(|(first, last)| if first == last { 1 } else { 2 }).sum();
            assert!(slots <= 15, "multiport takes 15: {}", read.text);
        }
    }
    let resets = matches!(&read.target, Target::Reject(answer) if answer == "tcp-reset");
    assert!(!resets || read.tests.contains(&(Test::Transport("tcp".into()), true)), "tcp-reset needs -p tcp");
    read
}

/// The network of an entry, and its port, which no other entry may have.
fn key(entry: &str, with_ports: bool) -> &str {
    let key = entry.strip_suffix(" nomatch").unwrap_or(entry);
    let (net, _) = if with_ports { key.split_once(',').unwrap() } else { (key, "") };
    assert!(net.parse::<Cidr>().unwrap().prefix() > 0, "a set of networks can't hold /0");
    key
}

fn number(text: &str) -> u32 {
    u32::from_str_radix(text.strip_prefix("0x").unwrap(), 16).unwrap()
}

/// What the model wants of a packet.
fn wanted(policy: &Policy, direction: Direction, reply: bool, traffic: Traffic, remote: Ipv4Addr) -> Fate {
    match policy.verdict(direction, traffic, remote).action {
        Action::Allow => Fate::Accepted,
        Action::Reject if !reply && matches!(traffic, Traffic::Tcp(_)) => Fate::Answered("tcp-reset".into()),
        Action::Reject if !reply => Fate::Answered("icmp-port-unreachable".into()),
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
                let got = kernel.send(Sent::new(direction, reply, traffic, remote));
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
        file: None,
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
    // The same policies in every run; PROPTEST_RNG_SEED and PROPTEST_CASES look further.
    #![proptest_config(ProptestConfig {
        cases: 300, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default()
    })]

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
    let denied = Sent::new(Direction::Ingress, false, Traffic::Tcp(22), remote).tracked(Tracked::Established);
    assert_eq!(kernel.send(denied.clone().marked(version)).0, Fate::Accepted);
    assert_eq!(kernel.send(denied.marked(version ^ 1)), (Fate::Dropped, version ^ 1));
    let pushed = Sent::new(Direction::Ingress, true, Traffic::Tcp(22), remote);
    assert_eq!(kernel.send(pushed).0, Fate::Dropped);
}

#[test]
fn an_error_about_a_denied_connection_passes_and_vouches_for_nothing() {
    let kernel = Kernel::load(&compile(Some(&http_only())));
    let remote = Ipv4Addr::new(192, 0, 2, 1);
    for direction in [Direction::Ingress, Direction::Egress] {
        let error = Sent::new(direction, false, Traffic::Icmp, remote).tracked(Tracked::Related);
        assert_eq!(kernel.send(error), (Fate::Accepted, 0));
    }
    // The reset that REJECT sends belongs to the connection that it refuses.
    let reset = Sent::new(Direction::Ingress, true, Traffic::Tcp(22), remote).tracked(Tracked::Related);
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
    let packet = Sent::new(Direction::Ingress, false, Traffic::Tcp(80), Ipv4Addr::new(192, 0, 2, 1));
    assert_eq!(kernel.send(packet), (Fate::Accepted, 0));
}

#[test]
fn the_instance_itself_and_what_belongs_to_no_connection() {
    for compiled in [compile(None), compile(Some(&http_only()))] {
        let kernel = Kernel::load(&compiled);
        let packet = Sent::new(Direction::Ingress, false, Traffic::Tcp(22), INSTANCE);
        assert_eq!(kernel.send(Sent { device: "lo", ..packet.clone() }), (Fate::Accepted, 0));
        assert_eq!(kernel.send(packet.tracked(Tracked::Invalid)), (Fate::Dropped, 0));
    }
}
