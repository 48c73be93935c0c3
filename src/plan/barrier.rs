//! What in the host's other rules stops what VPCs send to the internet, or the answers: `accept` in one table is not final, a
//! packet has to pass every chain of the hook. Pure: two packets walk through the chains as data.
//!
//! Only what is certain counts. A rule that isn't understood may accept, so nothing after it is sure to be reached.

mod read;

pub use read::Listing;

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;

use crate::model::cidr::Cidr;
use crate::model::name::IfName;

/// How deep chains may lead to chains: the kernel's own limit is 16.
const MAX_DEPTH: usize = 16;

/// An uplink that may not exist yet: rules for all uplinks name the prefix.
const AN_UPLINK: &str = "vpc-vpc";

/// A chain: its family, its table, its name. Those of iptables-legacy are of the family `legacy`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChainId {
    /// `inet`, `ip`, or `legacy`.
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub chain: String,
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ChainId { family, table, chain } = self;
        match family.as_str() {
            "legacy" => write!(f, "chain {chain} of iptables-legacy's table {table}"),
            _ => write!(f, "chain {chain} of nftables' table {family} {table}"),
        }
    }
}

/// What is certain to drop what a VPC sends by one of the host's interfaces, or the answers to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// The chain that drops.
    pub chain: ChainId,
    /// The chain that the kernel enters, which leads there.
    pub base: ChainId,
}

impl fmt::Display for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} drops what VPCs send or their answers, and vpcctl doesn't change the rules of others", self.chain)
    }
}

impl Barrier {
    /// The commands that open it, for all VPCs, without a change to what it does for others.
    pub fn remedy(&self) -> String {
        let ChainId { family, table, chain } = &self.base;
        match (family.as_str(), table.as_str()) {
            (_, "firewalld") => {
                "firewall-cmd --zone=trusted --add-interface=vpc-+ (and once more with --permanent); then repeat \
                                 the command"
                    .into()
            }
            ("legacy", _) => format!(
                "iptables-legacy -I {chain} -i vpc-+ -j ACCEPT; \
                 iptables-legacy -I {chain} -o vpc-+ -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT"
            ),
            _ => format!(
                "nft insert rule {family} {table} {chain} iifname \"vpc-*\" accept; \
                 nft insert rule {family} {table} {chain} oifname \"vpc-*\" ct state established,related accept"
            ),
        }
    }
}

/// The rules that forwarded packets meet.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ruleset {
    chains: BTreeMap<ChainId, Vec<Rule>>,
    /// The chains that the kernel enters, and whether they drop at their end.
    bases: BTreeMap<ChainId, bool>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    tests: Vec<Test>,
    action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Test {
    /// The interface that it came by, or leaves by, is one of these.
    Interface { incoming: bool, names: Vec<String>, wanted: bool },
    /// The sender's address is in one of these.
    Source { networks: Vec<Cidr>, wanted: bool },
    /// The connection is in one of these states.
    State { states: Vec<String>, wanted: bool },
    /// It is never so of an IPv4 packet of a VPC's.
    Never,
    /// It is always so of one.
    Always,
    /// Nobody knows.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Accept,
    Drop,
    Jump(String),
    Goto(String),
    Return,
    /// Counts, logs, marks: goes on.
    Pass,
    Unknown,
}

/// Does a rule fit the packet?
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    Maybe,
    Yes,
}

/// What becomes of the packet in a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Accepted,
    /// By the rules of this chain.
    Dropped(ChainId),
    /// No rule of the chain decides.
    Undecided,
    /// A rule that isn't understood may have accepted it.
    Unsure,
}

struct Packet<'a> {
    from: &'a str,
    to: &'a str,
    /// Unknown for what comes from the internet.
    source: Option<Ipv4Addr>,
    state: &'a str,
}

impl Ruleset {
    /// The first thing that is certain to stop what VPCs send by `wan`; `source` is an address that an uplink may have.
    pub fn barrier(&self, wan: &IfName, source: Ipv4Addr) -> Option<Barrier> {
        let wan = wan.as_str();
        let out = Packet { from: AN_UPLINK, to: wan, source: Some(source), state: "new" };
        let back = Packet { from: wan, to: AN_UPLINK, source: None, state: "established" };
        [out, back].iter().find_map(|packet| self.bases.keys().find_map(|base| self.stops(base, packet)))
    }

    /// Without a chain: the one that vpcctl's own jump stands first in.
    pub fn without(mut self, chain: &ChainId) -> Self {
        self.bases.remove(chain);
        self
    }

    /// These rules and those.
    pub fn and(mut self, other: Ruleset) -> Self {
        self.chains.extend(other.chains);
        self.bases.extend(other.bases);
        self
    }

    fn stops(&self, base: &ChainId, packet: &Packet<'_>) -> Option<Barrier> {
        let drops_at_end = self.bases.get(base).copied().unwrap_or_default();
        let barrier = |chain: ChainId| Some(Barrier { chain, base: base.clone() });
        match self.walk(base, packet, 0) {
            Fate::Dropped(chain) => barrier(chain),
            Fate::Undecided if drops_at_end => barrier(base.clone()),
            Fate::Undecided | Fate::Accepted | Fate::Unsure => None,
        }
    }

    fn walk(&self, id: &ChainId, packet: &Packet<'_>, depth: usize) -> Fate {
        let Some(rules) = self.chains.get(id).filter(|_| depth <= MAX_DEPTH) else {
            return Fate::Unsure;
        };
        let mut unsure = false;
        for rule in rules {
            let fit = rule.fit(packet);
            if fit == Fit::No {
                continue;
            }
            match (self.act(id, rule, packet, depth), fit) {
                (Some(fate), Fit::Yes) if !(unsure && matches!(fate, Fate::Dropped(_) | Fate::Undecided)) => {
                    return fate;
                }
                (Some(_), Fit::Yes) => return Fate::Unsure,
                // What may drop isn't sure to; what may accept, or leave the chain, is a way past all that follows.
                (Some(Fate::Dropped(_)), _) | (None, _) => {}
                (Some(_), _) => unsure = true,
            }
        }
        if unsure { Fate::Unsure } else { Fate::Undecided }
    }

    /// What a rule that fits does; nothing where the chain goes on.
    fn act(&self, id: &ChainId, rule: &Rule, packet: &Packet<'_>, depth: usize) -> Option<Fate> {
        let chain = |name: &String| ChainId { chain: name.clone(), ..id.clone() };
        match &rule.action {
            Action::Accept => Some(Fate::Accepted),
            Action::Drop => Some(Fate::Dropped(id.clone())),
            Action::Return => Some(Fate::Undecided),
            Action::Pass => None,
            Action::Unknown => Some(Fate::Unsure),
            Action::Goto(name) => Some(self.walk(&chain(name), packet, depth + 1)),
            Action::Jump(name) => {
                Some(self.walk(&chain(name), packet, depth + 1)).filter(|fate| *fate != Fate::Undecided)
            }
        }
    }
}

impl Rule {
    fn fit(&self, packet: &Packet<'_>) -> Fit {
        self.tests.iter().map(|test| test.fit(packet)).min().unwrap_or(Fit::Yes)
    }
}

impl Test {
    fn fit(&self, packet: &Packet<'_>) -> Fit {
        let is = |holds: bool, wanted: bool| if holds == wanted { Fit::Yes } else { Fit::No };
        match self {
            Test::Interface { incoming, names, wanted } => {
                let name = if *incoming { packet.from } else { packet.to };
                names_fit(names, name, *wanted)
            }
            Test::Source { networks, wanted } => match packet.source {
                Some(source) => is(networks.iter().any(|network| network.contains(source)), *wanted),
                None => Fit::Maybe,
            },
            Test::State { states, wanted } => is(states.iter().any(|state| state == packet.state), *wanted),
            Test::Never => Fit::No,
            Test::Always => Fit::Yes,
            Test::Unknown => Fit::Maybe,
        }
    }
}

/// A rule that names some of the uplinks may fit one that isn't there yet.
fn names_fit(names: &[String], name: &str, wanted: bool) -> Fit {
    let covers = |pattern: &String| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => pattern == name,
    };
    let is_some_uplink = |pattern: &String| name == AN_UPLINK && pattern.starts_with("vpc-");
    match names.iter().any(covers) {
        true if wanted => Fit::Yes,
        true => Fit::No,
        false if names.iter().any(is_some_uplink) => Fit::Maybe,
        false if wanted => Fit::No,
        false => Fit::Yes,
    }
}

#[cfg(test)]
mod tests;
