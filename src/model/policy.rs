//! Policies: what an instance may receive and send. [`Policy::verdict`] is the truth that the rendered rules are
//! tested against.
//!
//! The values read here (ports, protocols, actions) are spelled alike in policy files and in the state file.

use std::fmt;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::de::{self, Deserializer, SeqAccess, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::error::Failure;
use crate::model::cidr::Cidr;

/// The most ports and ranges that one rule lists.
pub const MAX_PORTS: usize = 1024;

/// The words for an action, in any case: what it prints as comes first.
const ACTIONS: &[(&str, Action)] = &[
    ("allow", Action::Allow),
    ("accept", Action::Allow),
    ("deny", Action::Deny),
    ("drop", Action::Deny),
    ("reject", Action::Reject),
];

/// The words for a protocol, in any case.
const PROTOCOLS: &[(&str, Protocol)] = &[
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("icmp", Protocol::Icmp),
    ("all", Protocol::All),
    ("any", Protocol::All),
    ("*", Protocol::All),
];

/// The words for every port, in any case.
const ANY_PORT: &[&str] = &["any", "all", "*"];

const PORT_HINT: &str =
    "a port is a number from 1 to 65535, a range such as \"8000-8100\", a list of these, or \"any\"";

/// The rules of one subnet, in both directions. Two that say the same are equal, whatever files they come from.
#[derive(Debug, Clone, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The file that it was read from, as it was named: for showing only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// What it is for, in the operator's words: for showing only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Connections that others open to an instance.
    pub ingress: RuleList,
    /// Connections that an instance opens.
    pub egress: RuleList,
}

/// Who opens the connection: the other side (`ingress`) or the instance (`egress`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Direction {
    /// The other side opens it.
    Ingress,
    /// The instance opens it.
    Egress,
}

/// The rules of one direction: the first that matches decides, else the default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleList {
    /// What happens to traffic that no rule names.
    pub default: Action,
    /// In order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
}

/// One rule. Made by [`Rule::new`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "RuleFields")]
pub struct Rule {
    /// The protocol that it names.
    pub protocol: Protocol,
    /// The instance's port for `ingress`, the other side's for `egress`.
    #[serde(skip_serializing_if = "Ports::is_any")]
    pub ports: Ports,
    /// What happens to traffic that matches.
    pub action: Action,
    /// The other side: the source for `ingress`, the destination for `egress`.
    #[serde(skip_serializing_if = "is_any_peer")]
    pub peer: Cidr,
    /// What it is for, in the operator's words: for showing only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A protocol as rules name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP, which has no ports.
    Icmp,
    /// Every protocol; with ports: TCP and UDP.
    All,
}

/// What happens to a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It passes.
    Allow,
    /// It is dropped without an answer.
    Deny,
    /// It is dropped, and its sender is told.
    Reject,
}

/// The ports of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Ports {
    /// Every port, and protocols without ports too.
    #[default]
    Any,
    /// These: sorted, without overlap, not empty. Made by [`Ports::listed`].
    Listed(Vec<PortRange>),
}

/// The ports `first` to `last`, both included, neither 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// The kind of a connection: what a rule can ask of it besides the address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// TCP to this port.
    Tcp(u16),
    /// UDP to this port.
    Udp(u16),
    /// ICMP.
    Icmp,
    /// Another protocol.
    Other,
}

/// What a policy says about a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What happens to it.
    pub action: Action,
    /// The index of the rule that says so; none for the default.
    pub rule: Option<usize>,
}

impl PartialEq for Policy {
    fn eq(&self, other: &Self) -> bool {
        let Policy { file: _, description, ingress, egress } = self;
        (description, ingress, egress) == (&other.description, &other.ingress, &other.egress)
    }
}

impl Policy {
    /// The same, as it was read from a file of this name. What a terminal would obey is spelt out.
    pub fn of_file(self, file: &str) -> Self {
        let spelt = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
        Policy { file: Some(file.chars().map(spelt).collect()), ..self }
    }

    /// The rules of one direction.
    pub fn rules(&self, direction: Direction) -> &RuleList {
        match direction {
            Direction::Ingress => &self.ingress,
            Direction::Egress => &self.egress,
        }
    }

    /// What happens to a connection with `remote` of this kind: the first rule that matches decides.
    pub fn verdict(&self, direction: Direction, traffic: Traffic, remote: Ipv4Addr) -> Verdict {
        let RuleList { default, rules } = self.rules(direction);
        match rules.iter().position(|rule| rule.matches(traffic, remote)) {
            Some(index) => Verdict { action: rules[index].action, rule: Some(index) },
            None => Verdict { action: *default, rule: None },
        }
    }
}

impl RuleList {
    /// The rules with the default that is given, else: deny what is not named, and allow everything where there is no rule.
    pub fn new(rules: Vec<Rule>, default: Option<Action>) -> Self {
        let implied = if rules.is_empty() { Action::Allow } else { Action::Deny };
        RuleList { default: default.unwrap_or(implied), rules }
    }
}

impl Rule {
    /// A rule. Without a protocol it is for TCP where it lists ports, else for every protocol.
    ///
    /// # Errors
    /// ICMP has no ports.
    pub fn new(protocol: Option<Protocol>, ports: Ports, action: Action, peer: Cidr) -> Result<Self, Failure> {
        let implied = if ports.is_any() { Protocol::All } else { Protocol::Tcp };
        let protocol = protocol.unwrap_or(implied);
        if protocol == Protocol::Icmp && !ports.is_any() {
            return Err(Failure::usage("icmp has no ports").hint("leave `port` out, or name tcp, udp or all"));
        }
        Ok(Rule { protocol, ports, action, peer, description: None })
    }

    /// Does it name this connection?
    pub fn matches(&self, traffic: Traffic, remote: Ipv4Addr) -> bool {
        let named = match (self.protocol, traffic) {
            (Protocol::Tcp | Protocol::All, Traffic::Tcp(port))
            | (Protocol::Udp | Protocol::All, Traffic::Udp(port)) => self.ports.contains(port),
            (Protocol::Icmp, Traffic::Icmp) => true,
            (Protocol::All, Traffic::Icmp | Traffic::Other) => self.ports.is_any(),
            _ => false,
        };
        named && self.peer.contains(remote)
    }
}

impl Ports {
    /// The ports of a list: sorted, with neighbours joined.
    ///
    /// # Errors
    /// The list is empty or has more than [`MAX_PORTS`] entries.
    pub fn listed(mut ranges: Vec<PortRange>) -> Result<Self, Failure> {
        if ranges.is_empty() {
            return Err(Failure::usage("the list of ports is empty").hint(PORT_HINT));
        }
        if ranges.len() > MAX_PORTS {
            return Err(Failure::usage(format!("a rule lists {MAX_PORTS} ports and ranges at most"))
                .hint("write ranges such as \"8000-8100\", or several rules"));
        }
        ranges.sort_unstable();
        let mut joined: Vec<PortRange> = Vec::with_capacity(ranges.len());
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.first <= last.last.saturating_add(1) => last.last = last.last.max(range.last),
                _ => joined.push(range),
            }
        }
        Ok(Ports::Listed(joined))
    }

    /// Is it every port?
    pub fn is_any(&self) -> bool {
        matches!(self, Ports::Any)
    }

    /// Is `port` one of them?
    pub fn contains(&self, port: u16) -> bool {
        match self {
            Ports::Any => true,
            Ports::Listed(ranges) => ranges.iter().any(|range| (range.first..=range.last).contains(&port)),
        }
    }
}

impl PortRange {
    /// The ports `first` to `last`.
    ///
    /// # Errors
    /// `first` is 0 or over `last`.
    pub fn new(first: u16, last: u16) -> Result<Self, Failure> {
        if first == 0 {
            return Err(not_a_port("0"));
        }
        if first > last {
            return Err(Failure::usage(format!("`{first}-{last}` ends before it begins"))
                .hint(format!("write \"{last}-{first}\"")));
        }
        Ok(PortRange { first, last })
    }

    /// The first port.
    pub fn first(self) -> u16 {
        self.first
    }

    /// The last port.
    pub fn last(self) -> u16 {
        self.last
    }

    /// The number of ports.
    pub fn size(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    fn single(number: u64) -> Result<Self, Failure> {
        let port =
            u16::try_from(number).ok().filter(|&port| port > 0).ok_or_else(|| not_a_port(&number.to_string()))?;
        PortRange::new(port, port)
    }

    /// A range in its one spelling, `8000-8100`.
    fn parse(text: &str) -> Result<Self, Failure> {
        if let Some(port) = parse_port(text) {
            return Err(not_a_port(&format!("\"{port}\"")).hint(format!("write {port} without the quotes")));
        }
        let shown = shorten(text);
        let Some((first, last)) = text.split_once('-') else {
            let hint = if text.contains(',') { "write a list such as [80, 443]" } else { PORT_HINT };
            return Err(not_a_port(&format!("\"{shown}\"")).hint(hint));
        };
        match (parse_port(first), parse_port(last)) {
            (Some(first), Some(last)) => PortRange::new(first, last),
            _ => Err(Failure::usage(format!("\"{shown}\" is not a range of ports (1 to 65535)")).hint(PORT_HINT)),
        }
    }
}

/// A port in its one spelling: std's parser takes `+80` and `080` too.
fn parse_port(text: &str) -> Option<u16> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    text.parse().ok().filter(|_| canonical)
}

fn not_a_port(value: &str) -> Failure {
    Failure::usage(format!("{value} is not a port (1 to 65535)")).hint(PORT_HINT)
}

/// Text from outside as it may stand in a message: no control characters, 64 characters at most.
fn shorten(text: &str) -> String {
    text.chars().take(64).flat_map(char::escape_debug).collect()
}

fn is_any_peer(peer: &Cidr) -> bool {
    *peer == Cidr::ANY
}

/// A failure as serde carries it: text only, the hint on a line of its own.
pub(crate) fn refuse<E: de::Error>(failure: Failure) -> E {
    let Failure { message, hint, .. } = failure;
    E::custom(hint.map_or_else(|| message.clone(), |hint| format!("{message}\n{hint}")))
}

/// A [`Rule`] as the state file holds it, before it is checked.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct RuleFields {
    protocol: Protocol,
    #[serde(default)]
    ports: Ports,
    action: Action,
    #[serde(default = "any_peer")]
    peer: Cidr,
    description: Option<String>,
}

fn any_peer() -> Cidr {
    Cidr::ANY
}

impl TryFrom<RuleFields> for Rule {
    type Error = Failure;

    fn try_from(fields: RuleFields) -> Result<Self, Failure> {
        let RuleFields { protocol, ports, action, peer, description } = fields;
        Ok(Rule { description, ..Rule::new(Some(protocol), ports, action, peer)? })
    }
}

/// A word of a fixed list, in any case.
struct Word<T: 'static> {
    what: &'static str,
    hint: &'static str,
    words: &'static [(&'static str, T)],
}

impl<T: Copy> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in quotes", self.what)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        let found = self.words.iter().find(|(word, _)| text.eq_ignore_ascii_case(word));
        found
            .map(|&(_, value)| value)
            .ok_or_else(|| refuse(Failure::usage(format!("`{}` is not {}", shorten(text), self.what)).hint(self.hint)))
    }
}

impl<'de> Deserialize<'de> for Action {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Word {
            what: "an action",
            hint: "the actions are allow (accept), deny (drop) and reject",
            words: ACTIONS,
        })
    }
}

impl<'de> Deserialize<'de> for Protocol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Word {
            what: "a protocol",
            hint: "the protocols are tcp, udp, icmp and all (any)",
            words: PROTOCOLS,
        })
    }
}

impl Serialize for PortRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.first == self.last {
            true => serializer.serialize_u16(self.first),
            false => serializer.collect_str(self),
        }
    }
}

impl Serialize for Ports {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Ports::Any => serializer.serialize_str("any"),
            Ports::Listed(ranges) => ranges.serialize(serializer),
        }
    }
}

macro_rules! refuse_odd_numbers {
    () => {
        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            Err(refuse(not_a_port(&number.to_string())))
        }

        fn visit_f64<E: de::Error>(self, number: f64) -> Result<Self::Value, E> {
            Err(refuse(not_a_port(&format!("{number:?}"))))
        }
    };
}

struct RangeVisitor;

impl Visitor<'_> for RangeVisitor {
    type Value = PortRange;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port or a range of ports")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<PortRange, E> {
        PortRange::single(number).map_err(refuse)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<PortRange, E> {
        PortRange::parse(text).map_err(refuse)
    }

    refuse_odd_numbers!();
}

impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RangeVisitor)
    }
}

struct PortsVisitor;

impl<'de> Visitor<'de> for PortsVisitor {
    type Value = Ports;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a port, a range, a list of these, or \"any\"")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Ports, E> {
        PortRange::single(number).and_then(|range| Ports::listed(vec![range])).map_err(refuse)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Ports, E> {
        if ANY_PORT.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(Ports::Any);
        }
        PortRange::parse(text).and_then(|range| Ports::listed(vec![range])).map_err(refuse)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Ports, A::Error> {
        let mut ranges = Vec::new();
        while ranges.len() <= MAX_PORTS
            && let Some(range) = list.next_element()?
        {
            ranges.push(range);
        }
        Ports::listed(ranges).map_err(refuse)
    }

    refuse_odd_numbers!();
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortsVisitor)
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl fmt::Display for Ports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ports::Listed(ranges) = self else {
            return f.write_str("any");
        };
        for (index, range) in ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{range}")?;
        }
        Ok(())
    }
}

macro_rules! as_word {
    ($($type:ident { $($variant:ident => $word:literal),* })*) => {$(
        impl $type {
            /// The word for it in files and output.
            pub fn as_str(self) -> &'static str {
                match self {
                    $($type::$variant => $word),*
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }
    )*};
}

as_word! {
    Direction { Ingress => "ingress", Egress => "egress" }
    Protocol { Tcp => "tcp", Udp => "udp", Icmp => "icmp", All => "all" }
    Action { Allow => "allow", Deny => "deny", Reject => "reject" }
}

mod schema;

pub(crate) use schema::words;

#[cfg(test)]
mod tests;
