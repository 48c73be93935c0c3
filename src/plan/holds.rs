//! Whether an op already holds in what was observed.

use crate::plan::line::Place;
use crate::plan::observed::{Observed, Seen, SeenLink, SeenRoute, SeenRule};
use crate::plan::op::{HostTable, Object, Op, ROUTE_PROTOCOL, UNREACHABLE_METRIC, Via, route_target};
use crate::plan::resolver;
use crate::plan::rule::MARK;

/// How an object is found in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// As it should be.
    Held,
    /// Not there.
    Absent,
    /// There, but not as it should be.
    Differs,
    /// There, so many times, but not at its place.
    Misplaced(usize),
    /// Something with its name that bears no mark: somebody else's, or what a command that was cut off had not marked yet.
    Unmarked,
    /// Something with its name that bears another mark.
    Foreign,
}

impl Op {
    /// Compares the op with what was observed; its place has to be among what was asked.
    pub fn holding(&self, observed: &Observed) -> Holding {
        match &self.object {
            Object::Cable { ends, mtu } => ends
                .iter()
                .map(|end| {
                    let link = link(observed, &end.place, end.device.as_str());
                    self.link_holding(link, |link| link.kind == "veth" && link.mac == end.mac && link.mtu == *mtu)
                })
                .reduce(worse)
                .unwrap_or(Holding::Absent),
            Object::Namespace(netns) if observed.stale.contains(netns) => Holding::Differs,
            Object::Resolver { netns, servers } => match observed.files.get(&resolver::path(netns)) {
                None => Holding::Absent,
                // Somebody provides for the namespace: that is theirs to do.
                Some(found) if !found.starts_with(resolver::FILE_MARK) => Holding::Held,
                Some(found) => held_if(found == &resolver::text(servers)),
            },
            Object::App(launch) => match observed.apps.get(&launch.id()) {
                None => Holding::Absent,
                Some(running) => held_if(running.as_ref().is_some_and(|app| app.is_same_program(&launch.app))),
            },
            _ => match observed.places.get(&self.place()) {
                None => Holding::Absent,
                Some(seen) => self.holding_in(seen),
            },
        }
    }

    fn holding_in(&self, seen: &Seen) -> Holding {
        match &self.object {
            Object::Namespace(_) => self.link_holding(seen.links.get("lo"), |_| true),
            Object::Bridge { device, mac, mtu, .. } => self.link_holding(seen.links.get(device.as_str()), |link| {
                link.kind == "bridge" && &link.mac == mac && link.mtu == *mtu
            }),
            Object::Sysctl(sysctl) => match seen.sysctls.get(&sysctl.key) {
                Some(value) => held_if(value == sysctl.value),
                None if sysctl.optional => Holding::Held,
                None => Holding::Absent,
            },
            Object::Set { set, .. } => match seen.sets.get(&set.name) {
                // A command was cut off while it filled it anew: that is still there beside.
                Some(_) if seen.sets.contains_key(&set.beside().name) => Holding::Differs,
                Some((_, entries)) => held_if(set.entries.is_empty() || set.entries.len() == entries.len()),
                None => Holding::Absent,
            },
            Object::SetEntry { set, entry, .. } => {
                present_if(seen.sets.get(set).is_some_and(|(_, entries)| entries.contains(entry)))
            }
            Object::Chain { table, chain, rules, .. } => match seen.chain(*table, chain) {
                None => Holding::Absent,
                Some(found) => {
                    let ours = rules.iter().map(|rule| Some(rule.mark()));
                    held_if(ours.eq(found.rules.iter().map(|rule| rule.mark.clone())))
                }
            },
            Object::Jump { table, from, to, .. } => {
                let jump = format!("-j {to}");
                let rules = seen.chain(*table, from).map(|chain| chain.rules.as_slice()).unwrap_or_default();
                match rules.iter().filter(|rule| rule.text == jump).count() {
                    0 => Holding::Absent,
                    1 if rules[0].text == jump => Holding::Held,
                    count => Holding::Misplaced(count),
                }
            }
            Object::DropPolicy { chain, .. } => {
                let chain = seen.chain(crate::plan::rule::Table::Filter, chain);
                present_if(chain.and_then(|chain| chain.policy.as_deref()) == Some("DROP"))
            }
            Object::Leftover(_) => Holding::Held,
            Object::Port { device, bridge, .. } => match seen.links.get(device.as_str()) {
                Some(link) => match link.master.as_deref() {
                    None => Holding::Absent,
                    Some(master) => held_if(master == bridge.as_str() && link.guarded),
                },
                None => Holding::Absent,
            },
            Object::Fdb { device, mac, .. } => present_if(seen.fdb.contains(&(device.to_string(), mac.clone()))),
            Object::Address { device, address, prefix, .. } => {
                present_if(seen.addresses.contains(&(device.to_string(), *address, *prefix)))
            }
            Object::Neighbour { device, address, mac, .. } => {
                match seen.neighbours.get(&(device.to_string(), address.to_string())) {
                    None => Holding::Absent,
                    Some(found) => held_if(found == mac),
                }
            }
            Object::Route { to, via, .. } => {
                let target = route_target(*to).trim_end_matches("/32").to_owned();
                let table = matches!(self.place(), Place::Host).then(|| via.host_table());
                let ours = seen.routes.iter().filter(|route| route.dst == target && is_ours(route, table));
                match ours.map(|route| leads(route, via)).reduce(|a, b| a || b) {
                    None => Holding::Absent,
                    Some(right) => held_if(right),
                }
            }
            Object::HostRule(table) => present_if(seen.rules.iter().any(|rule| leads_to(rule, *table))),
            Object::Group { device, group } => match seen.links.get(device.as_str()) {
                None => Holding::Absent,
                Some(link) => held_if(link.group == group.to_string()),
            },
            Object::Up { device, .. } => present_if(seen.links.get(device.as_str()).is_some_and(|link| link.up)),
            Object::Cable { .. } | Object::Resolver { .. } | Object::App(_) => Holding::Absent,
        }
    }

    /// A link is ours by its alias.
    fn link_holding(&self, link: Option<&SeenLink>, is_right: impl Fn(&SeenLink) -> bool) -> Holding {
        match link {
            None => Holding::Absent,
            Some(link) if link.alias.is_empty() => Holding::Unmarked,
            Some(link) if link.alias != format!("{MARK}{}", self.owner) => Holding::Foreign,
            Some(link) => held_if(is_right(link)),
        }
    }
}

fn link<'a>(observed: &'a Observed, place: &Place, device: &str) -> Option<&'a SeenLink> {
    observed.places.get(place)?.links.get(device)
}

fn held_if(right: bool) -> Holding {
    if right { Holding::Held } else { Holding::Differs }
}

fn present_if(present: bool) -> Holding {
    if present { Holding::Held } else { Holding::Absent }
}

/// Of a pair's two ends, what matters for the pair.
fn worse(one: Holding, other: Holding) -> Holding {
    use Holding::{Absent, Differs, Foreign, Held, Unmarked};
    match (one, other) {
        (Foreign, _) | (_, Foreign) => Foreign,
        (Unmarked, _) | (_, Unmarked) => Unmarked,
        (Held, Held) => Held,
        (Absent, Absent) => Absent,
        _ => Differs,
    }
}

/// Is it a route of ours, in a table of the host's, or in the main table of a namespace?
fn is_ours(route: &SeenRoute, host_table: Option<HostTable>) -> bool {
    let table = route.table.as_deref();
    let in_table = match host_table {
        Some(host_table) => table == Some(&host_table.number().to_string()),
        None => matches!(table, None | Some("main")),
    };
    in_table && route.protocol.as_deref() == Some(&ROUTE_PROTOCOL.to_string())
}

fn leads_to(rule: &SeenRule, table: HostTable) -> bool {
    let iif = table.iif().unwrap_or_default();
    rule.priority == table.preference() && rule.iif == iif && rule.table == table.number().to_string()
}

fn leads(route: &SeenRoute, via: &Via) -> bool {
    match via {
        Via::Unreachable => route.kind.as_deref() == Some("unreachable") && route.metric == Some(UNREACHABLE_METRIC),
        Via::Prohibited => route.kind.as_deref() == Some("prohibit"),
        Via::Link { device, src } => {
            route.gateway.is_none()
                && route.dev.as_deref() == Some(device.as_str())
                && route.prefsrc.as_deref() == Some(&src.to_string())
        }
        Via::Gateway { gateway, device, src } => {
            let text = |address: &std::net::Ipv4Addr| address.to_string();
            route.gateway == Some(text(gateway))
                && route.dev.as_deref() == Some(device.as_str())
                && (src.is_none() || route.prefsrc == src.as_ref().map(text))
        }
    }
}
