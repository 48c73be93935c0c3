//! What is in a router, or bears vpcctl's mark on the host, and is not of the state: the other half of a comparison, whose first
//! half is [`crate::plan::holds`].
//!
//! A router is vpcctl's alone: what else is in it, of the kinds that vpcctl makes, is surplus and can be taken away, but for links
//! that bear no mark, which are somebody's. Tables that only `nft` shows, IPv6 rules and other settings are not looked at. In an instance's namespace its own root is at home: there only what is named as ours is looked at. On the host
//! what bears the mark may be another vpcctl's, with a state of its own: it is left to it while it has uplinks.

mod host;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::model::cidr::Cidr;
use crate::model::kernel_names::{self as names, Device, Netns};
use crate::model::name::VpcName;
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::claims;
use crate::plan::holds::{Holding, leads};
use crate::plan::line::Place;
use crate::plan::observed::{Observed, Seen, SeenRoute, SeenRule};
use crate::plan::op::{Object, Op, Via, route_target};
use crate::plan::rule::{MARK, Set, Table};
use crate::plan::stray::{Stray, StrayRoute};

pub use host::{on_host, unknown};

/// The routing rules that every namespace is born with, by preference, and their tables.
const BORN_RULES: [(u32, &str); 3] = [(0, "local"), (32766, "main"), (32767, "default")];

const BUILTIN: [&str; 5] = ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"];

/// The characters of the names that vpcctl gives, and of a set's entries: what has others is nobody's of ours.
fn is_plain(text: &str) -> bool {
    !text.starts_with('-') && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.,:/".contains(c))
}

/// The places that are looked at as a whole: the routers among the ops' namespaces.
pub fn routers<'a>(state: &'a State, ops: &[Op]) -> BTreeMap<Netns, &'a VpcName> {
    let routers = state.vpcs.keys().map(|vpc| (names::router(vpc), vpc));
    let made: BTreeSet<&Netns> = ops.iter().filter_map(|op| namespace(&op.object)).collect();
    routers.filter(|(netns, _)| made.contains(netns)).collect()
}

fn namespace(object: &Object) -> Option<&Netns> {
    if let Object::Namespace(netns) = object { Some(netns) } else { None }
}

/// The objects that are too many in the routers among `ops`, as ops that can be unmade.
pub fn in_routers(state: &State, ops: &[Op], observed: &Observed) -> Vec<Op> {
    let mut by_place: BTreeMap<Place, Vec<&Op>> = BTreeMap::new();
    for op in ops {
        by_place.entry(op.place()).or_default().push(op);
        if let Object::Cable { ends, .. } = &op.object {
            by_place.entry(ends[1].place.clone()).or_default().push(op);
        }
    }
    let mut surplus = Vec::new();
    for (netns, vpc) in routers(state, ops) {
        let place = Place::Netns(netns.clone());
        let owner = Owner::Vpc(vpc.clone());
        let wanted = by_place.get(&place).map(Vec::as_slice).unwrap_or_default();
        let is_ours = wanted.iter().any(|op| namespace(&op.object).is_some() && op.holding(observed) == Holding::Held);
        if let Some(seen) = observed.places.get(&place).filter(|_| is_ours) {
            let wanted = Wanted::new(&place, wanted);
            let router = Router { owner: &owner, netns, place, wanted, seen };
            surplus.extend(router.surplus());
        }
    }
    surplus
}

/// What a router should have, by name: asked once for each thing that it has.
#[derive(Default)]
struct Wanted<'a> {
    devices: BTreeMap<String, Device>,
    jumps: BTreeMap<(Table, &'static str), &'a str>,
    chains: BTreeSet<(Table, &'a str)>,
    /// Whether they are made with their entries.
    sets: BTreeMap<&'a str, bool>,
    entries: BTreeSet<(&'a str, &'a str)>,
    addresses: BTreeSet<(&'a str, Ipv4Addr, u8)>,
    routes: BTreeMap<String, Vec<&'a Via>>,
    neighbours: BTreeSet<(&'a str, String)>,
    fdb: BTreeSet<(&'a str, &'a str)>,
}

impl<'a> Wanted<'a> {
    fn new(place: &Place, ops: &[&'a Op]) -> Self {
        let mut wanted = Wanted::default();
        for op in ops {
            wanted.add(place, op);
        }
        wanted
    }

    fn add(&mut self, place: &Place, op: &'a Op) {
        if let Some(device) = op.device() {
            self.add_device(device);
        }
        match &op.object {
            Object::Bridge { device, .. } => self.add_device(device),
            Object::Cable { ends, .. } => {
                ends.iter().filter(|end| end.place == *place).for_each(|end| self.add_device(&end.device));
            }
            Object::Jump { table, from, to, .. } => drop(self.jumps.insert((*table, from), to)),
            Object::Chain { table, chain, .. } => drop(self.chains.insert((*table, chain))),
            Object::Set { set, .. } => drop(self.sets.insert(&set.name, !set.entries.is_empty())),
            Object::SetEntry { set, entry, .. } => drop(self.entries.insert((set, entry))),
            Object::Address { device, address, prefix, .. } => {
                self.addresses.insert((device.as_str(), *address, *prefix));
            }
            Object::Route { to, via, .. } => {
                self.routes.entry(route_target(*to).trim_end_matches("/32").to_owned()).or_default().push(via);
            }
            Object::Neighbour { device, address, .. } => {
                self.neighbours.insert((device.as_str(), address.to_string()));
            }
            Object::Fdb { device, mac, .. } => drop(self.fdb.insert((device.as_str(), mac))),
            _ => {}
        }
    }

    fn add_device(&mut self, device: &Device) {
        self.devices.entry(device.to_string()).or_insert_with(|| device.clone());
    }

    /// IPv4 addresses on devices of ours, and on `lo`.
    fn stray_addresses(&self, place: &Place, seen: &Seen) -> Vec<Object> {
        let is_known = |device: &str, address: Ipv4Addr, prefix: u8| {
            self.addresses.contains(&(device, address, prefix)) || (address.is_loopback() && device == "lo")
        };
        let found = seen.addresses.iter().filter(|(device, address, prefix)| !is_known(device, *address, *prefix));
        let object = |(device, address, prefix): &(String, Ipv4Addr, u8)| {
            let device = self.devices.get(device)?.clone();
            Some(Object::Address {
                place: place.clone(),
                device,
                address: *address,
                prefix: *prefix,
                prefix_route: true,
            })
        };
        found.filter_map(object).collect()
    }

    /// Is it a route of ours, or one that the route of ours will take the place of?
    fn has_route(&self, route: &SeenRoute) -> bool {
        let to_there = self.routes.get(&route.dst).map(Vec::as_slice).unwrap_or_default();
        let is_alike = route.is_main() && route.tos.is_none();
        is_alike && to_there.iter().any(|via| leads(route, via) || route.metric == via.metric())
    }
}

/// A router as it should be, and as it is.
struct Router<'a> {
    owner: &'a Owner,
    netns: Netns,
    place: Place,
    wanted: Wanted<'a>,
    seen: &'a Seen,
}

impl Router<'_> {
    fn surplus(&self) -> Vec<Op> {
        let objects = self.builtin_rules().into_iter().chain(self.chains()).chain(self.sets()).chain(self.links());
        let objects = objects.chain(self.wanted.stray_addresses(&self.place, self.seen)).chain(self.routes());
        let objects = objects.chain(self.routing_rules()).chain(self.neighbours()).chain(self.fdb());
        objects.map(|object| Op::new(self.owner, object)).collect()
    }

    fn builtin_rules(&self) -> Vec<Object> {
        let mut found = Vec::new();
        for (table, chain) in Table::ALL.into_iter().flat_map(|table| BUILTIN.map(|chain| (table, chain))) {
            let jump = self.wanted.jumps.get(&(table, chain));
            let text = jump.map(|to| format!("-j {to}"));
            let rules = self.seen.chain(table, chain).map(|chain| chain.rules.as_slice()).unwrap_or_default();
            if rules.iter().any(|rule| Some(&rule.text) != text.as_ref()) {
                let there = jump.filter(|to| self.seen.chain(table, to).is_some());
                found.push(self.stray(Stray::Rules { table, chain, jump: there.map(|to| (*to).to_owned()) }));
            }
        }
        found
    }

    /// Chains that no op makes, whatever they are called.
    fn chains(&self) -> Vec<Object> {
        let unknown = user_chains(self.seen).filter(|path| !self.wanted.chains.contains(path));
        unknown.map(|(table, name)| chain(&self.place, table, name)).collect()
    }

    /// Sets that no op makes, and entries of those that grow and shrink.
    fn sets(&self) -> Vec<Object> {
        let ours = self.seen.sets.iter().filter(|(name, _)| name.starts_with(names::SET_PREFIX) && is_plain(name));
        ours.flat_map(|(name, (kind, entries))| match self.wanted.sets.get(name.as_str()) {
            None => {
                let set = Set { name: name.clone(), kind: kind.clone(), entries: vec![] };
                vec![Object::Set { netns: self.netns.clone(), set }]
            }
            Some(true) => vec![],
            Some(false) => self.entries(name, entries),
        })
        .collect()
    }

    fn entries(&self, set: &str, entries: &BTreeSet<String>) -> Vec<Object> {
        let unknown = |entry: &&String| !self.wanted.entries.contains(&(set, entry.as_str())) && is_plain(entry);
        let object =
            |entry: &String| Object::SetEntry { netns: self.netns.clone(), set: set.to_owned(), entry: entry.clone() };
        entries.iter().filter(unknown).map(object).collect()
    }

    /// Links that bear the mark. Their other ends end with them.
    fn links(&self) -> Vec<Object> {
        let unknown = |name: &str| !self.wanted.devices.contains_key(name) && name != "lo" && is_plain(name);
        let marked = self.seen.links.iter().filter(|(name, link)| unknown(name) && link.alias.starts_with(MARK));
        marked.map(|(name, _)| self.stray(Stray::Link(name.clone()))).collect()
    }

    fn routes(&self) -> Vec<Object> {
        let is_asked = |route: &SeenRoute| route.is_main() || route.table.as_deref() == Some("local");
        let is_by_hand = |route: &&SeenRoute| is_asked(route) && route.protocol.as_deref() != Some("kernel");
        let unknown = self.seen.routes.iter().filter(is_by_hand).filter(|route| !self.wanted.has_route(route));
        let stray = unknown.filter_map(|route| stray_route(route, &self.wanted.devices));
        stray.map(|route| self.stray(Stray::Route(route))).collect()
    }

    /// Rules that a namespace isn't born with, and those of its birth that are gone.
    fn routing_rules(&self) -> Vec<Object> {
        let is_born = |rule: &SeenRule, (preference, table): (u32, &str)| {
            rule.priority == preference && rule.table == table && rule.iif.is_empty() && rule.is_plain()
        };
        let strays = self.seen.rules.iter().filter(|rule| !BORN_RULES.iter().any(|born| is_born(rule, *born)));
        let strays = strays.map(|rule| Stray::RoutingRule(rule_words(rule)));
        let lost = BORN_RULES.iter().filter(|born| !self.seen.rules.iter().any(|rule| is_born(rule, **born)));
        let lost = lost.map(|(preference, table)| Stray::LostRule { preference: *preference, table });
        // The kernel takes none that an older one with the same preference seems to say already.
        strays.chain(lost).map(|stray| self.stray(stray)).collect()
    }

    fn neighbours(&self) -> Vec<Object> {
        let object = |((device, address), mac): (&(String, String), &String)| {
            let known = self.wanted.neighbours.contains(&(device.as_str(), address.clone()));
            let device = self.wanted.devices.get(device).filter(|_| !known)?.clone();
            let address = address.parse().ok()?;
            Some(Object::Neighbour { netns: self.netns.clone(), device, address, mac: mac.into() })
        };
        self.seen.neighbours.iter().filter_map(object).collect()
    }

    fn fdb(&self) -> Vec<Object> {
        let object = |(device, mac): &(String, String)| {
            let known = self.wanted.fdb.contains(&(device.as_str(), mac.as_str()));
            let device = self.wanted.devices.get(device).filter(|_| !known)?.clone();
            Some(Object::Fdb { netns: self.netns.clone(), device, mac: mac.into() })
        };
        self.seen.fdb.iter().filter_map(object).collect()
    }

    fn stray(&self, stray: Stray) -> Object {
        Object::Stray { place: self.place.clone(), stray }
    }
}

fn our_chains(seen: &Seen) -> impl Iterator<Item = (Table, &str)> {
    user_chains(seen).filter(|(_, name)| name.starts_with(names::CHAIN_PREFIX))
}

/// The chains that aren't built-in ones.
fn user_chains(seen: &Seen) -> impl Iterator<Item = (Table, &str)> {
    let table = |name: &str| Table::ALL.into_iter().find(|table| table.as_str() == name);
    let named = seen.chains.iter().filter(|((_, name), chain)| chain.policy.is_none() && is_plain(name));
    named.map(|(path, _)| path).filter_map(move |(of, name)| Some((table(of)?, name.as_str())))
}

fn chain(place: &Place, table: Table, name: &str) -> Object {
    Object::Chain { place: place.clone(), table, chain: name.to_owned(), rules: vec![] }
}

/// A rule in words: all of them where they are few, or by its preference.
fn rule_words(rule: &SeenRule) -> String {
    let pref = format!("pref {}", rule.priority);
    let text = |key: &str| rule.rest.get(key).and_then(serde_json::Value::as_str).unwrap_or_default();
    let is_known = |key: &String| ["src", "srclen", "protocol"].contains(&key.as_str());
    let length = rule.rest.get("srclen").map(|length| format!("/{length}")).unwrap_or_default();
    let words = format!("from {}{length} lookup {}", text("src"), rule.table);
    let is_whole = rule.iif.is_empty() && rule.rest.keys().all(is_known) && !rule.table.is_empty();
    if is_whole && words.split(' ').all(is_plain) { format!("{pref} {words}") } else { pref }
}

/// The route, as far as it takes that to delete it; nothing where it leads by a device that isn't ours, and goes with that.
fn stray_route(route: &SeenRoute, devices: &BTreeMap<String, Device>) -> Option<StrayRoute> {
    const KINDS: [&str; 6] = ["unreachable", "blackhole", "prohibit", "throw", "local", "broadcast"];
    let kind = match route.kind.as_deref() {
        None | Some("unicast") => None,
        Some(kind) => Some(KINDS.into_iter().find(|known| *known == kind)?),
    };
    let to = if route.dst == "default" { "0.0.0.0/0" } else { &route.dst };
    let to = if to.contains('/') { to.parse().ok()? } else { Cidr::host(to.parse().ok()?) };
    let device = match &route.dev {
        Some(name) if kind.is_none() => Some(devices.get(name)?.clone()),
        _ => None,
    };
    let gateway = route.gateway.as_ref().map(|gateway| gateway.parse()).transpose().ok()?;
    let tos = route.tos.clone().filter(|tos| is_plain(tos));
    let table = (!route.is_main()).then_some("local");
    let is_enough = kind.is_some() || device.is_some() || !route.nexthops.is_empty();
    is_enough.then_some(StrayRoute { kind, to, gateway, device, metric: route.metric, tos, table })
}

/// The names of uplinks on the host that the state doesn't know, with the owners that their marks name.
pub(super) fn unknown_uplinks<'a>(state: &State, observed: &'a Observed) -> Vec<(&'a str, &'a str)> {
    let seen = observed.places.get(&Place::Host);
    let unknown = seen.into_iter().flat_map(|seen| {
        claims::other_uplinks(state, seen)
            .filter(|name| is_plain(name))
            .filter_map(|name| seen.links.get_key_value(name))
    });
    unknown.filter_map(|(name, link)| Some((name.as_str(), link.alias.strip_prefix(MARK)?))).collect()
}

/// The namespaces that bear our mark and that the state doesn't know, with the owners that their marks name.
pub(super) fn unknown_namespaces(observed: &Observed) -> impl Iterator<Item = (&Netns, &str)> {
    observed.strangers.iter().filter_map(|(netns, alias)| Some((netns, alias.strip_prefix(MARK)?)))
}
