//! One object of the kernel as data, with its readings: the lines that make and unmake it, and its identity. Whether
//! it already holds in what was observed is in [`crate::plan::holds`].

mod lines;

use std::net::Ipv4Addr;

use compact_str::CompactString;

use crate::model::cidr::Cidr;
use crate::model::kernel_names::{Device, Netns};
use crate::model::owner::Owner;
use crate::plan::launch::Launch;
use crate::plan::line::{Change, Leftover, Place, Setting};
use crate::plan::rule::{Rule, Set, Table};
use crate::plan::stray::{Stray, Tuning};

/// The routing protocol number that marks a route on the host as vpcctl's: `v` in ASCII, free in `/etc/iproute2/rt_protos`.
pub const ROUTE_PROTOCOL: u8 = 118;

/// A routing table of vpcctl's own on the host.
///
/// The ways into VPCs are not in the main table: there, whatever the host forwards would find them too, and get the host's own
/// address from any masquerading rule of the host's on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HostTable {
    /// For what the host itself sends: a route into each VPC that it has access to.
    Own,
    /// For what it forwards: the same VPCs are prohibited.
    Forwarded,
}

impl HostTable {
    /// Both.
    pub const ALL: [HostTable; 2] = [HostTable::Own, HostTable::Forwarded];

    /// Its number: `vp` in ASCII, and the next.
    pub fn number(self) -> u32 {
        match self {
            HostTable::Own => 0x7670,
            HostTable::Forwarded => 0x7671,
        }
    }

    /// The preference of the rule that leads to it: before the main table's 32766, the host's own packets first.
    pub fn preference(self) -> u32 {
        match self {
            HostTable::Own => 31000,
            HostTable::Forwarded => 31001,
        }
    }

    /// The interface that the rule asks for: `lo` is the host itself.
    pub fn iif(self) -> Option<&'static str> {
        match self {
            HostTable::Own => Some("lo"),
            HostTable::Forwarded => None,
        }
    }

    /// The rule as `ip rule` takes it.
    fn rule(self) -> String {
        let iif = self.iif().map(|iif| format!(" iif {iif}")).unwrap_or_default();
        format!("pref {}{iif} lookup {}", self.preference(), self.number())
    }
}

/// The metric of the routes that refuse: behind every other.
pub const UNREACHABLE_METRIC: u32 = 1000;

/// An object and whom it is there for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Op {
    /// Whom it is there for.
    pub owner: Owner,
    /// What it is.
    pub object: Object,
}

/// An object of the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub enum Object {
    /// A network namespace; its mark is the alias of its `lo`.
    Namespace(Netns),
    /// A bridge in a router.
    Bridge { netns: Netns, device: Device, mac: CompactString, mtu: u32 },
    /// What drops, on its way from the bridge into the router, a packet whose source address isn't its sender's.
    SenderFilter { netns: Netns, device: Device },
    /// A veth pair.
    Cable { ends: [End; 2], mtu: u32 },
    /// A kernel setting.
    Sysctl(Sysctl),
    /// An ipset with the entries that it is made with.
    Set { netns: Netns, set: Set },
    /// One entry of a set that grows and shrinks.
    SetEntry { netns: Netns, set: String, entry: String },
    /// A chain of ours, whole.
    Chain { place: Place, table: Table, chain: String, rules: Vec<Rule> },
    /// Rules that join those of a chain of ours, each with the number that it gets.
    Joining { place: Place, table: Table, chain: String, rules: Vec<(usize, Rule)> },
    /// The jump from a built-in chain's first rule to a chain of ours; `misplaced` are there already and have to go first.
    Jump { place: Place, table: Table, from: &'static str, to: String, misplaced: usize },
    /// The DROP policy of a built-in chain in a namespace of ours.
    DropPolicy { netns: Netns, chain: &'static str },
    /// A table of the host, or a built-in chain of one, that came into being with our rules and goes with them.
    Leftover(Leftover),
    /// A cable's end as a guarded port of the bridge.
    Port { netns: Netns, device: Device, bridge: Device },
    /// The one MAC address that a guarded port may use.
    Fdb { netns: Netns, device: Device, mac: CompactString },
    /// An address with its prefix length.
    Address { place: Place, device: Device, address: Ipv4Addr, prefix: u8, prefix_route: bool },
    /// A neighbour that no ARP packet can move.
    Neighbour { netns: Netns, device: Device, address: Ipv4Addr, mac: CompactString },
    /// A route, in the main table or, on the host, in vpcctl's own.
    Route { place: Place, to: Cidr, via: Via },
    /// A rule that leads to one of vpcctl's own routing tables.
    HostRule(HostTable),
    /// The interface group of an uplink, by which the host's rules know it.
    Group { device: Device, group: u32 },
    /// An interface that is up.
    Up { place: Place, device: Device },
    /// What a link that is there has to become.
    Tuned { place: Place, device: Device, tuning: Tuning },
    /// The name servers of a namespace, as `ip netns exec` provides them.
    Resolver { netns: Netns, servers: Vec<Ipv4Addr> },
    /// A program that runs in an instance.
    App(Launch),
    /// What has no object of a state for a model: it is only ever unmade.
    Stray { place: Place, stray: Stray },
}

/// One end of a veth pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct End {
    /// Where it is.
    pub place: Place,
    /// Its name there.
    pub device: Device,
    /// Its MAC address.
    pub mac: CompactString,
}

/// A kernel setting below `/proc/sys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sysctl {
    /// Where it is set.
    pub place: Place,
    /// The path below `/proc/sys`, such as `net/ipv4/ip_forward`.
    pub key: String,
    /// The value while it is made.
    pub value: &'static str,
    /// The value to put back, where it outlives us.
    pub before: Option<&'static str>,
    /// While this other setting is 1, somebody else needs the value too, and it is not put back.
    pub kept_by: Option<&'static str>,
    /// The interface that it belongs to and dies with.
    pub device: Option<Device>,
    /// Not every kernel has it, and where it is missing nothing is lost.
    pub optional: bool,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub enum Via {
    /// To a neighbour on a device; `src` is the address that the sender takes.
    Gateway { gateway: Ipv4Addr, device: Device, src: Option<Ipv4Addr> },
    /// To the device itself; `src` is the address that the sender takes.
    Link { device: Device, src: Ipv4Addr },
    /// Nowhere: an ICMP error tells the sender at once.
    Unreachable,
    /// Nowhere, for what the host forwards: an ICMP error tells the sender that it may not.
    Prohibited,
}

impl Op {
    /// The operation that makes `object` for `owner`.
    pub fn new(owner: &Owner, object: Object) -> Self {
        Op { owner: owner.clone(), object }
    }

    /// Two ops with the same identity are about the same object of the kernel.
    pub fn identity(&self) -> String {
        match &self.object {
            Object::Namespace(netns) => format!("namespace {netns}"),
            Object::Bridge { netns, device, .. } => format!("bridge {device} in {netns}"),
            Object::SenderFilter { netns, device } => format!("sender filter on {device} in {netns}"),
            Object::Cable { ends: [a, b], .. } => format!("veth {}@{} to {}@{}", a.device, a.place, b.device, b.place),
            Object::Sysctl(Sysctl { place, key, .. }) => format!("sysctl {key} in {place}"),
            Object::Set { netns, set } => format!("ipset {} in {netns}", set.name),
            Object::SetEntry { netns, set, entry } => format!("entry {entry} of ipset {set} in {netns}"),
            Object::Chain { place, table, chain, .. } | Object::Joining { place, table, chain, .. } => {
                format!("chain {chain} of table {table} in {place}")
            }
            Object::Jump { place, table, from, to, .. } => format!("jump {from} to {to} of table {table} in {place}"),
            Object::DropPolicy { netns, chain } => format!("policy of chain {chain} in {netns}"),
            Object::Leftover(leftover) => format!("{leftover} in host"),
            Object::Port { netns, device, .. } => format!("bridge port {device} in {netns}"),
            Object::Fdb { netns, device, mac } => format!("fdb entry {mac} on {device} in {netns}"),
            Object::Address { place, device, address, prefix, .. } => {
                format!("address {address}/{prefix} on {device} in {place}")
            }
            Object::Neighbour { netns, address, .. } => format!("neighbour {address} in {netns}"),
            Object::Route { place, to, via: Via::Prohibited } => format!("prohibited route to {to} in {place}"),
            Object::Route { place, to, .. } => format!("route to {to} in {place}"),
            Object::HostRule(table) => format!("rule for routing table {} in host", table.number()),
            Object::Group { device, .. } => format!("group of {device} in host"),
            Object::Up { place, device } => format!("link state of {device} in {place}"),
            Object::Tuned { place, device, tuning: Tuning::Mtu(_) } => format!("MTU of {device} in {place}"),
            Object::Tuned { place, device, tuning: Tuning::Mac(_) } => format!("MAC address of {device} in {place}"),
            Object::Stray { place, stray } => format!("{stray} in {place}"),
            Object::Resolver { netns, .. } => format!("name servers of {netns}"),
            Object::App(launch) => format!("app on port {} in {}", launch.port, launch.netns()),
        }
    }

    /// The namespace or host that has to be entered to make or see it.
    pub fn place(&self) -> Place {
        match &self.object {
            Object::Namespace(netns)
            | Object::Bridge { netns, .. }
            | Object::SenderFilter { netns, .. }
            | Object::Set { netns, .. }
            | Object::SetEntry { netns, .. }
            | Object::DropPolicy { netns, .. }
            | Object::Port { netns, .. }
            | Object::Fdb { netns, .. }
            | Object::Neighbour { netns, .. }
            | Object::Resolver { netns, .. } => Place::Netns(netns.clone()),
            Object::App(launch) => Place::Netns(launch.netns()),
            Object::Cable { ends: [a, _], .. } => a.place.clone(),
            Object::Sysctl(Sysctl { place, .. })
            | Object::Chain { place, .. }
            | Object::Joining { place, .. }
            | Object::Jump { place, .. }
            | Object::Address { place, .. }
            | Object::Route { place, .. }
            | Object::Tuned { place, .. }
            | Object::Stray { place, .. }
            | Object::Up { place, .. } => place.clone(),
            Object::Leftover(_) | Object::HostRule(_) | Object::Group { .. } => Place::Host,
        }
    }

    /// The namespace that it is itself.
    pub fn namespace(&self) -> Option<&Netns> {
        match &self.object {
            Object::Namespace(netns) => Some(netns),
            _ => None,
        }
    }

    /// The device whose end ends this object too.
    pub fn device(&self) -> Option<&Device> {
        match &self.object {
            Object::SenderFilter { device, .. }
            | Object::Port { device, .. }
            | Object::Fdb { device, .. }
            | Object::Address { device, .. }
            | Object::Neighbour { device, .. }
            | Object::Route { via: Via::Gateway { device, .. } | Via::Link { device, .. }, .. }
            | Object::Group { device, .. }
            | Object::Tuned { device, .. }
            | Object::Up { device, .. } => Some(device),
            Object::Sysctl(sysctl) => sysctl.device.as_ref(),
            _ => None,
        }
    }

    /// Does it leave something on the host when its namespace goes?
    pub fn outlives_its_namespace(&self) -> bool {
        matches!(self.object, Object::Resolver { .. } | Object::App(_))
    }

    /// Can one line turn another object of this identity into this one?
    pub fn replaces(&self) -> bool {
        !matches!(
            self.object,
            Object::Namespace(_)
                | Object::Bridge { .. }
                | Object::SenderFilter { .. }
                | Object::Cable { .. }
                | Object::Leftover(_)
        )
    }
}

impl Object {
    /// The jump from a built-in chain to one of ours.
    pub fn jump(place: &Place, table: Table, from: &'static str, to: &str) -> Self {
        Object::Jump { place: place.clone(), table, from, to: to.to_owned(), misplaced: 0 }
    }
}

impl Set {
    /// What it is while it is filled.
    pub fn beside(&self) -> Set {
        Set { name: format!("{}.new", self.name), kind: self.kind.clone(), entries: Vec::new() }
    }
}

impl End {
    /// Name, place and MAC address as `ip link add` takes them.
    fn words(&self) -> String {
        let netns = match &self.place {
            Place::Host => String::new(),
            Place::Netns(netns) => format!(" netns {netns}"),
        };
        format!("name {}{netns} address {}", self.device, self.mac)
    }
}

impl Sysctl {
    fn set(&self, value: &'static str, unless: Option<&'static str>) -> Change {
        Change::Sysctl(Setting { key: self.key.clone(), value, optional: self.optional, unless })
    }
}

impl Via {
    /// The table that such a route is in on the host.
    pub fn host_table(&self) -> HostTable {
        if *self == Via::Prohibited { HostTable::Forwarded } else { HostTable::Own }
    }

    /// Its metric, where it isn't the usual one.
    pub fn metric(&self) -> Option<u32> {
        (*self == Via::Unreachable).then_some(UNREACHABLE_METRIC)
    }

    /// The route as `ip route` takes it.
    pub fn words(&self, place: &Place, to: Cidr) -> String {
        let table = match place {
            Place::Host => format!(" table {}", self.host_table().number()),
            Place::Netns(_) => String::new(),
        };
        match self {
            // A subnet as large as its VPC has a route to the same addresses: this one is the last resort.
            Via::Unreachable => format!("unreachable {to} proto {ROUTE_PROTOCOL} metric {UNREACHABLE_METRIC}"),
            Via::Prohibited => format!("prohibit {to} proto {ROUTE_PROTOCOL}{table}"),
            Via::Link { device, src } => {
                format!("{} dev {device} proto {ROUTE_PROTOCOL} scope link src {src}{table}", route_target(to))
            }
            Via::Gateway { gateway, device, src } => {
                let src = src.map(|src| format!(" src {src}")).unwrap_or_default();
                format!("{} via {gateway} dev {device} proto {ROUTE_PROTOCOL}{src}{table}", route_target(to))
            }
        }
    }
}

/// `default` is how `ip` writes 0.0.0.0/0.
pub fn route_target(to: Cidr) -> String {
    if to == Cidr::ANY { "default".into() } else { to.to_string() }
}
