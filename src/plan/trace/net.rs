//! What the kernel of a machine would have, place by place, if these ops were made: where virtual packets walk.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::Ipv4Addr;

use super::reading::{ReadRule, Target, parse_network};
use crate::model::cidr::Cidr;
use crate::plan::line::Place;
use crate::plan::op::{End, Object, Op, Via};
use crate::plan::rule::Table;

/// The number of the main routing table.
pub const MAIN: u32 = 254;

/// All places of a machine.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// By place.
    pub places: BTreeMap<Place, Net>,
}

/// What one place has.
#[derive(Debug, Clone, Default)]
pub struct Net {
    /// The interfaces by name.
    pub links: BTreeMap<String, Link>,
    /// The addresses.
    pub addresses: Vec<Address>,
    /// The routes of all tables, but for those that come with addresses.
    pub routes: Vec<Route>,
    /// The routing rules: preference, incoming interface, table.
    pub rules: BTreeSet<(u32, Option<String>, u32)>,
    /// The permanent neighbours: MAC by device and address.
    pub neighbours: BTreeMap<(String, Ipv4Addr), String>,
    /// The static entries of bridges: device and MAC.
    pub fdb: BTreeSet<(String, String)>,
    /// The bridges that compare senders with their MAC addresses.
    pub filtered: BTreeSet<String>,
    /// The sets by name.
    pub sets: BTreeMap<String, ReadSet>,
    /// The chains.
    pub chains: BTreeMap<(Table, String), Chain>,
    /// The settings that were made, by path below `/proc/sys`.
    pub settings: BTreeMap<String, String>,
}

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Link {
    /// What it leads to.
    pub kind: LinkKind,
    /// Its MAC address.
    pub mac: String,
    /// Its group.
    pub group: u32,
    /// Is it up?
    pub up: bool,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// Does the port let only known MAC addresses send?
    pub guarded: bool,
}

/// What an interface leads to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum LinkKind {
    /// Out of the machine.
    #[default]
    Outside,
    /// Back to the place itself.
    Loopback,
    /// To the ports of a bridge.
    Bridge,
    /// To an interface of another place.
    Cable(Place, String),
}

/// An address of the place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub struct Address {
    pub device: String,
    pub address: Ipv4Addr,
    pub prefix: u8,
    /// Does a route to its network come with it?
    pub routed: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub struct Route {
    pub table: u32,
    pub to: Cidr,
    pub metric: u32,
    pub hop: Hop,
}

/// Where a route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hop {
    /// To a device, there perhaps to a gateway; senders take this source, if it says one.
    Device {
        /// The device.
        device: String,
        /// The next router.
        gateway: Option<Ipv4Addr>,
        /// The sender's address.
        source: Option<Ipv4Addr>,
    },
    /// Nowhere: the sender is told `unreachable` or `prohibited`.
    Refused(&'static str),
}

/// A set of ipset.
#[derive(Debug, Clone)]
pub enum ReadSet {
    /// Of `bitmap:ip,mac`: senders.
    Senders(HashSet<(Ipv4Addr, String)>),
    /// Of `hash:net` and `hash:net,port`: networks, each with a protocol's number and a port where the set has them, and whether
    /// they match.
    Nets {
        /// By network, and protocol and port.
        entries: HashMap<(Cidr, Option<(u8, u16)>), bool>,
        /// The lengths of their prefixes.
        prefixes: BTreeSet<u8>,
    },
}

impl ReadSet {
    /// An empty one of this type.
    pub fn new(kind: &str) -> Self {
        if kind.starts_with("bitmap:ip,mac") {
            return ReadSet::Senders(HashSet::new());
        }
        ReadSet::Nets { entries: HashMap::new(), prefixes: BTreeSet::new() }
    }

    /// Adds an entry, as ipset spells it.
    ///
    /// # Errors
    /// It is not understood.
    pub fn add(&mut self, entry: &str) -> Result<(), String> {
        let unclear = || format!("the entry `{entry}` of a set is not understood");
        match self {
            ReadSet::Senders(senders) => {
                let (address, mac) = entry.split_once(',').ok_or_else(unclear)?;
                senders.insert((address.parse().map_err(|_| unclear())?, mac.to_owned()));
            }
            ReadSet::Nets { entries, prefixes } => {
                let (key, is_match) = entry.strip_suffix(" nomatch").map_or((entry, true), |key| (key, false));
                let (net, port) = key.split_once(',').map_or((key, None), |(net, port)| (net, Some(port)));
                let number = |port: &str| -> Option<(u8, u16)> {
                    let (protocol, port) = port.split_once(':')?;
                    Some((protocol.parse().ok()?, port.parse().ok()?))
                };
                let port = port.map(|port| number(port).ok_or_else(unclear)).transpose()?;
                let net = parse_network(net).ok_or_else(unclear)?;
                prefixes.insert(net.prefix());
                entries.insert((net, port), is_match);
            }
        }
        Ok(())
    }
}

/// A chain.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    /// Does it drop what no rule of it decides on?
    pub drops: bool,
    /// In order.
    pub rules: Vec<ReadRule>,
}

impl Route {
    /// The device that it leads to.
    pub fn device(&self) -> Option<&str> {
        match &self.hop {
            Hop::Device { device, .. } => Some(device),
            Hop::Refused(_) => None,
        }
    }

    /// What the sender is told, where it leads nowhere.
    pub fn refusal(&self) -> Option<&'static str> {
        match self.hop {
            Hop::Refused(how) => Some(how),
            Hop::Device { .. } => None,
        }
    }

    /// As `ip route` shows it, in short.
    pub fn describe(&self) -> String {
        let to = if self.to == Cidr::ANY { "default".to_owned() } else { self.to.to_string() };
        match &self.hop {
            Hop::Device { device, gateway: Some(gateway), .. } => format!("{to} via {gateway} dev {device}"),
            Hop::Device { device, gateway: None, .. } => format!("{to} dev {device}"),
            Hop::Refused(how) => format!("{how} {to}"),
        }
    }
}

impl Machine {
    /// The machine with these ops made, beside what the host has of its own.
    ///
    /// # Errors
    /// A rule that is not understood.
    pub fn new(host: Net, ops: &[Op]) -> Result<Self, String> {
        let mut machine = Machine { places: [(Place::Host, host)].into() };
        ops.iter().try_for_each(|op| machine.add(op))?;
        Ok(machine)
    }

    fn at(&mut self, place: &Place) -> &mut Net {
        self.places.entry(place.clone()).or_default()
    }

    fn add(&mut self, op: &Op) -> Result<(), String> {
        let net = self.at(&op.place());
        match &op.object {
            Object::Namespace(_) => {
                net.links.insert("lo".into(), Link { kind: LinkKind::Loopback, ..Link::default() });
            }
            Object::Bridge { device, mac, .. } => {
                let bridge = Link { kind: LinkKind::Bridge, mac: mac.to_string(), ..Link::default() };
                net.links.insert(device.to_string(), bridge);
            }
            Object::SenderFilter { device, .. } => drop(net.filtered.insert(device.to_string())),
            Object::Cable { ends: [a, b], .. } => {
                self.plug(a, b);
                self.plug(b, a);
            }
            Object::Sysctl(sysctl) => drop(net.settings.insert(sysctl.key.clone(), sysctl.value.to_owned())),
            Object::Set { set, .. } => {
                let mut read = ReadSet::new(&set.kind);
                set.entries.iter().try_for_each(|entry| read.add(entry))?;
                net.sets.insert(set.name.clone(), read);
            }
            Object::SetEntry { set, entry, .. } => {
                net.sets.get_mut(set).map_or(Ok(()), |set| set.add(entry))?;
            }
            Object::Chain { table, chain, rules, .. } => {
                let rules = rules.iter().map(ReadRule::try_from).collect::<Result<_, _>>()?;
                net.chains.entry((*table, chain.clone())).or_default().rules = rules;
            }
            Object::Jump { table, from, to, .. } => {
                let (text, target) = (format!("-j {to}"), Target::Jump(to.clone()));
                let jump = ReadRule { text, tests: Vec::new(), target, purpose: String::new() };
                net.chains.entry((*table, (*from).to_owned())).or_default().rules.insert(0, jump);
            }
            Object::DropPolicy { chain, .. } => {
                net.chains.entry((Table::Filter, (*chain).to_owned())).or_default().drops = true;
            }
            Object::Port { device, bridge, .. } => {
                let port = net.links.entry(device.to_string()).or_default();
                (port.master, port.guarded) = (Some(bridge.to_string()), true);
            }
            Object::Fdb { device, mac, .. } => drop(net.fdb.insert((device.to_string(), mac.to_string()))),
            Object::Address { device, address, prefix, prefix_route, .. } => net.addresses.push(Address {
                device: device.to_string(),
                address: *address,
                prefix: *prefix,
                routed: *prefix_route,
            }),
            Object::Neighbour { device, address, mac, .. } => {
                net.neighbours.insert((device.to_string(), *address), mac.to_string());
            }
            Object::Route { place, to, via } => net.routes.push(route(place, *to, via)),
            Object::HostRule(table) => {
                net.rules.insert((table.preference(), table.iif().map(str::to_owned), table.number()));
            }
            Object::Group { device, group } => net.links.entry(device.to_string()).or_default().group = *group,
            Object::Up { device, .. } => net.links.entry(device.to_string()).or_default().up = true,
            Object::Leftover(_)
            | Object::Tuned { .. }
            | Object::Joining { .. }
            | Object::Resolver { .. }
            | Object::App(_)
            | Object::Stray { .. } => {}
        }
        Ok(())
    }

    fn plug(&mut self, end: &End, far: &End) {
        let kind = LinkKind::Cable(far.place.clone(), far.device.to_string());
        let link = Link { kind, mac: end.mac.to_string(), ..Link::default() };
        self.at(&end.place).links.insert(end.device.to_string(), link);
    }
}

fn route(place: &Place, to: Cidr, via: &Via) -> Route {
    let table = if *place == Place::Host { via.host_table().number() } else { MAIN };
    let hop = match via {
        Via::Gateway { gateway, device, src } => {
            Hop::Device { device: device.to_string(), gateway: Some(*gateway), source: *src }
        }
        Via::Link { device, src } => Hop::Device { device: device.to_string(), gateway: None, source: Some(*src) },
        Via::Unreachable => Hop::Refused("unreachable"),
        Via::Prohibited => Hop::Refused("prohibited"),
    };
    Route { table, to, metric: via.metric().unwrap_or(0), hop }
}

impl Net {
    /// The route for a packet that came by `from`, or is sent from here where that is `lo`: in the tables that rules lead to, then in
    /// the main one.
    pub fn route(&self, dst: Ipv4Addr, from: &str) -> Option<Route> {
        let rules = self.rules.iter().filter(|(_, iif, _)| iif.as_deref().is_none_or(|iif| iif == from));
        let mut tables = rules.map(|(.., table)| *table).chain([MAIN]);
        tables.find_map(|table| self.lookup(table, dst))
    }

    /// The longest prefix, then the lowest metric. What leads nowhere is an answer too.
    fn lookup(&self, table: u32, dst: Ipv4Addr) -> Option<Route> {
        let near =
            self.addresses.iter().filter(|address| table == MAIN && address.routed && self.is_up(&address.device));
        let near = near.filter_map(|address| {
            let to = Cidr::containing(address.address, address.prefix)?;
            let hop = Hop::Device { device: address.device.clone(), gateway: None, source: Some(address.address) };
            Some(Route { table: MAIN, to, metric: 0, hop })
        });
        let far = self.routes.iter().filter(|route| route.table == table).cloned();
        let fitting = near.chain(far).filter(|route| route.to.contains(dst));
        fitting.min_by_key(|route| (32 - route.to.prefix(), route.metric))
    }

    fn is_up(&self, device: &str) -> bool {
        self.links.get(device).is_some_and(|link| link.up)
    }

    /// Does what comes in by the device go on to others?
    pub fn forwards(&self, device: &str) -> bool {
        let on = |key: &str| self.settings.get(key).is_some_and(|value| value == "1");
        on("net/ipv4/ip_forward") || on(&format!("net/ipv4/conf/{device}/forwarding"))
    }

    /// The address that the place takes for what it sends by a route.
    pub fn source_for(&self, route: &Route) -> Option<Ipv4Addr> {
        match &route.hop {
            Hop::Device { source: Some(source), .. } => Some(*source),
            _ => self.address_beside(route),
        }
    }

    /// The device's address in the network of the next hop, or its first one: what translations take, whatever the route says.
    pub fn address_beside(&self, route: &Route) -> Option<Ipv4Addr> {
        let Hop::Device { device, gateway, .. } = &route.hop else {
            return None;
        };
        let of_device = || self.addresses.iter().filter(|address| &address.device == device);
        let near = |address: &&Address| {
            let gateway = gateway.unwrap_or(route.to.network());
            Cidr::containing(address.address, address.prefix).is_some_and(|net| net.contains(gateway))
        };
        of_device().find(near).or_else(|| of_device().next()).map(|address| address.address)
    }

    /// A host with one interface, up, with an address of a /24 and a default route.
    pub fn plain(device: &str, address: Ipv4Addr, gateway: Ipv4Addr) -> Self {
        let device = device.to_owned();
        let lo = Link { kind: LinkKind::Loopback, up: true, ..Link::default() };
        let link = Link { up: true, ..Link::default() };
        let hop = Hop::Device { device: device.clone(), gateway: Some(gateway), source: None };
        Net {
            links: [("lo".to_owned(), lo), (device.clone(), link)].into(),
            addresses: vec![Address { device, address, prefix: 24, routed: true }],
            routes: vec![Route { table: MAIN, to: Cidr::ANY, metric: 0, hop }],
            ..Net::default()
        }
    }
}
