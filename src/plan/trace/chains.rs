//! A packet's way through the chains of one place.

use std::net::Ipv4Addr;

use super::net::{Net, ReadSet};
use super::packet::{Packet, Tracked, Transport};
use super::reading::{ReadRule, Target, Test};
use crate::model::cidr::Cidr;
use crate::plan::rule::Table;

/// How deep chains may lead to chains.
const MAX_DEPTH: usize = 16;

/// The interfaces by which a packet comes and goes.
#[derive(Debug, Clone, Copy, Default)]
pub struct Way<'a> {
    /// None for what the place itself sends.
    pub from: Option<&'a str>,
    /// None before it is known, and for what ends here.
    pub to: Option<&'a str>,
}

/// Where a rule stands, and what it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleAt {
    /// Its table.
    pub table: Table,
    /// Its chain.
    pub chain: String,
    /// Its number in the chain, from 1.
    pub number: usize,
    /// What stands after `-A CHAIN`.
    pub text: String,
    /// What it is for, in words.
    pub purpose: String,
}

/// What happens to a packet in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// A rule accepts it.
    Accepted(RuleAt),
    /// A rule sends it back to where it came from, or the end of the chain does.
    Returned(Option<RuleAt>),
    /// Its source is to be that of the interface that it leaves by.
    Masqueraded(RuleAt),
    /// A rule drops it without a word.
    Dropped(RuleAt),
    /// A rule drops it and tells the sender so.
    Rejected(RuleAt, String),
}

impl Net {
    /// The packet through a chain and those that it leads to. What marks it, marks it.
    pub fn walk(&self, table: Table, chain: &str, way: Way<'_>, packet: &mut Packet) -> Fate {
        self.walk_within(MAX_DEPTH, table, chain, way, packet)
    }

    fn walk_within(&self, depth: usize, table: Table, chain: &str, way: Way<'_>, packet: &mut Packet) -> Fate {
        let rules = self.chains.get(&(table, chain.to_owned())).map(|found| found.rules.as_slice());
        let mut returned = None;
        for (index, rule) in rules.unwrap_or_default().iter().enumerate() {
            if !rule.tests.iter().all(|(test, wanted)| self.fits(test, way, packet) == *wanted) {
                continue;
            }
            let at = || rule_at(table, chain, index, rule);
            match &rule.target {
                Target::Accept => return Fate::Accepted(at()),
                Target::Return => return Fate::Returned(Some(at())),
                Target::Masquerade => return Fate::Masqueraded(at()),
                Target::Drop => return Fate::Dropped(at()),
                Target::Reject(answer) => return Fate::Rejected(at(), answer.clone()),
                Target::Mark(mark) => packet.mark = *mark,
                Target::SaveMark => packet.connmark = packet.mark,
                Target::Jump(_) if depth == 0 => {}
                Target::Jump(called) => match self.walk_within(depth - 1, table, called, way, packet) {
                    // What follows the jump is asked too, but the rule is told where nothing else decides.
                    Fate::Returned(rule) => returned = rule.or(returned),
                    decided => return decided,
                },
            }
        }
        Fate::Returned(returned)
    }

    fn fits(&self, test: &Test, way: Way<'_>, packet: &Packet) -> bool {
        let inside = |ports: &[(u16, u16)], port| ports.iter().any(|(first, last)| (*first..=*last).contains(&port));
        match test {
            Test::Source(net) => net.contains(packet.src),
            Test::Destination(net) => net.contains(packet.dst),
            Test::In(device) => way.from == Some(device),
            Test::Out(device) => way.to == Some(device),
            Test::Transport(name) => name == packet.transport.as_str(),
            Test::SourcePorts(ports) => inside(ports, packet.sport),
            Test::DestinationPorts(ports) => inside(ports, packet.dport),
            // An echo request, and its answer.
            Test::IcmpType(kind) => packet.transport == Transport::Icmp && *kind == if packet.reply { 0 } else { 8 },
            // Nothing here translates destinations: `DNAT` is never so.
            Test::States(states) => states.iter().any(|state| state == packet.tracked.as_str()),
            Test::Direction(reply) => packet.has_connection() && *reply == packet.reply,
            Test::Set(name, sources) => self.is_in_set(name, sources, packet),
            Test::SourceGroup(group, mask) => self.is_in_group(way.from, *group, *mask),
            Test::DestinationGroup(group, mask) => self.is_in_group(way.to, *group, *mask),
            Test::PacketMark(mark) => packet.mark == *mark,
            Test::ConnectionMark(mark) => packet.connmark == *mark,
            Test::WayBack => {
                let back = self.route(packet.src, way.from.unwrap_or_default());
                back.is_some_and(|back| back.device() == way.from)
            }
        }
    }

    fn is_in_group(&self, device: Option<&str>, group: u32, mask: u32) -> bool {
        device.and_then(|device| self.links.get(device)).is_some_and(|link| link.group & mask == group)
    }

    fn is_in_set(&self, name: &str, sources: &[bool], packet: &Packet) -> bool {
        let address = |source: &bool| if *source { packet.src } else { packet.dst };
        let Some((set, address)) = self.sets.get(name).zip(sources.first().map(address)) else {
            return false;
        };
        match set {
            ReadSet::Senders(senders) => senders.contains(&(address, packet.mac.to_uppercase())),
            ReadSet::Nets { entries, prefixes } => {
                let port = |source: &bool| if *source { packet.sport } else { packet.dport };
                let port = match (sources.get(1), packet.transport) {
                    (None, _) => None,
                    (Some(source), Transport::Tcp) => Some((6, port(source))),
                    (Some(source), Transport::Udp) => Some((17, port(source))),
                    // What has no ports is in no set with ports.
                    (Some(_), Transport::Icmp | Transport::Other) => return false,
                };
                // The longest prefix decides.
                let around = prefixes.iter().rev().filter_map(|&prefix| Cidr::containing(address, prefix));
                around.filter_map(|net| entries.get(&(net, port))).next().copied().unwrap_or(false)
            }
        }
    }

    /// Is it an address of the place itself?
    pub fn owns(&self, address: Ipv4Addr) -> bool {
        address.is_loopback() || self.addresses.iter().any(|found| found.address == address)
    }
}

impl Packet {
    /// What connection tracking calls INVALID has no direction.
    fn has_connection(&self) -> bool {
        self.tracked != Tracked::Invalid
    }
}

fn rule_at(table: Table, chain: &str, index: usize, rule: &ReadRule) -> RuleAt {
    let (text, purpose) = (rule.text.clone(), rule.purpose.clone());
    RuleAt { table, chain: chain.to_owned(), number: index + 1, text, purpose }
}
