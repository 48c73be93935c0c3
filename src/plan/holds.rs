//! Whether an op already holds in what was observed, and in what it differs.

use std::collections::BTreeSet;

use crate::plan::line::Place;
use crate::plan::observed::{Observed, Seen, SeenChain, SeenChainRule, SeenLink, SeenRoute, SeenRule};
use crate::plan::op::{End, HostTable, Object, Op, ROUTE_PROTOCOL, UNREACHABLE_METRIC, Via, route_target};
use crate::plan::resolver;
use crate::plan::rule::{MARK, Rule, Set, Table};
use crate::plan::stray::Tuning;

/// How an object is found in the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// As it should be.
    Held,
    /// Not there.
    Absent,
    /// There, but not as it should be: in what it differs.
    Differs(String),
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
            Object::Cable { ends, mtu } => {
                let end = |end: &End| self.end_holding(end, *mtu, observed);
                ends.iter().map(end).reduce(worse).unwrap_or(Holding::Absent)
            }
            Object::Namespace(netns) if observed.stale.contains(netns) => differs("only its file is left"),
            Object::Resolver { netns, servers } => match observed.files.get(&resolver::path(netns)) {
                None => Holding::Absent,
                // Somebody provides for the namespace: that is theirs to do.
                Some(found) if !found.starts_with(resolver::FILE_MARK) => Holding::Held,
                Some(found) => held_if(found == &resolver::text(servers), || "it names other servers".into()),
            },
            Object::App(launch) => match observed.apps.get(&launch.id()) {
                None => Holding::Absent,
                Some(None) => differs("it has ended"),
                Some(Some(app)) => held_if(app.is_same_program(&launch.app), || "another program runs".into()),
            },
            _ => match observed.places.get(&self.place()) {
                None => Holding::Absent,
                Some(seen) => self.holding_in(seen),
            },
        }
    }

    fn holding_in(&self, seen: &Seen) -> Holding {
        let of_device = |device: &str, compare: &dyn Fn(&SeenLink) -> Holding| match seen.links.get(device) {
            None => Holding::Absent,
            Some(link) => compare(link),
        };
        match &self.object {
            Object::Namespace(_) => self.link_holding(seen.links.get("lo"), &[]),
            Object::Bridge { device, mac, mtu, .. } => {
                let wanted = [Trait::Kind("bridge"), Trait::Tuned(Tuning::Mac(mac.clone())), Trait::mtu(*mtu)];
                self.link_holding(seen.links.get(device.as_str()), &wanted)
            }
            Object::SenderFilter { device, .. } => match seen.filtered.get(device.as_str()) {
                None => Holding::Absent,
                Some(first) => held_if(*first, || "another one is asked before it".into()),
            },
            Object::Tuned { device, tuning, .. } => of_device(device.as_str(), &|link| tuning.holding(link)),
            Object::Sysctl(sysctl) => match seen.sysctls.get(&sysctl.key) {
                Some(value) => is_so("it", value, sysctl.value),
                None if sysctl.optional => Holding::Held,
                None => Holding::Absent,
            },
            Object::Set { set, .. } => match seen.sets.get(&set.name) {
                // A command was cut off while it filled it anew: that is still there beside.
                Some(_) if seen.sets.contains_key(&set.beside().name) => {
                    differs("one that was being filled is there beside it")
                }
                None => Holding::Absent,
                Some((_, found)) => {
                    held_if(set.entries.is_empty() || has_entries(set, found), || "it has other entries".into())
                }
            },
            Object::SetEntry { set, entry, .. } => {
                present_if(seen.sets.get(set).is_some_and(|(_, entries)| entries.contains(entry)))
            }
            Object::Chain { table, chain, rules, .. } => match seen.chain(*table, chain) {
                None => Holding::Absent,
                Some(found) => chain_holding(rules, &found.rules),
            },
            Object::Jump { table, from, to, .. } => jump_holding(seen.chain(*table, from), to),
            Object::DropPolicy { chain, .. } => {
                let policy = seen.chain(Table::Filter, chain).and_then(|chain| chain.policy.as_deref());
                policy.map_or(Holding::Absent, |policy| is_so("it", policy, "DROP"))
            }
            Object::Leftover(_) => Holding::Held,
            Object::Port { device, bridge, .. } => {
                of_device(device.as_str(), &|link| port_holding(link, bridge.as_str()))
            }
            Object::Fdb { device, mac, .. } => present_if(seen.fdb.contains(&(device.to_string(), mac.to_string()))),
            Object::Address { device, address, prefix, .. } => {
                present_if(seen.addresses.contains(&(device.to_string(), *address, *prefix)))
            }
            Object::Neighbour { device, address, mac, .. } => {
                let found = seen.neighbours.get(&(device.to_string(), address.to_string()));
                found.map_or(Holding::Absent, |found| is_so("its MAC address", found, mac))
            }
            Object::Route { place, to, via } => {
                let target = route_target(*to).trim_end_matches("/32").to_owned();
                let table = matches!(place, Place::Host).then(|| via.host_table());
                let ours = seen.routes.iter().filter(|route| route.dst == target && is_ours(route, table));
                match ours.map(|route| leads(route, via)).reduce(|a, b| a || b) {
                    None => Holding::Absent,
                    Some(right) => held_if(right, || "it leads elsewhere".into()),
                }
            }
            Object::HostRule(table) => present_if(seen.rules.iter().any(|rule| leads_to(rule, *table))),
            Object::Group { device, group } => {
                of_device(device.as_str(), &|link| is_so("it", &link.group, &group.to_string()))
            }
            Object::Up { device, .. } => of_device(device.as_str(), &|link| held_if(link.up, || "it is down".into())),
            // What only adds is as good as absent until the chain is compared as a whole.
            Object::Joining { .. } => Holding::Absent,
            Object::Stray { .. } | Object::Cable { .. } | Object::Resolver { .. } | Object::App(_) => Holding::Absent,
        }
    }

    fn end_holding(&self, end: &End, mtu: u32, observed: &Observed) -> Holding {
        let link = observed.places.get(&end.place).and_then(|seen| seen.links.get(end.device.as_str()));
        let wanted = [Trait::Kind("veth"), Trait::Tuned(Tuning::Mac(end.mac.clone())), Trait::mtu(mtu)];
        match self.link_holding(link, &wanted) {
            Holding::Differs(what) => differs(format!("of {} in {}, {what}", end.device, end.place)),
            other => other,
        }
    }

    /// A link is ours by its alias.
    fn link_holding(&self, link: Option<&SeenLink>, wanted: &[Trait]) -> Holding {
        match link {
            None => Holding::Absent,
            Some(link) if link.alias.is_empty() => Holding::Unmarked,
            Some(link) if link.alias != format!("{MARK}{}", self.owner) => Holding::Foreign,
            Some(link) => {
                let compared = wanted.iter().map(|part| part.holding(link));
                compared.into_iter().find(|holding| *holding != Holding::Held).unwrap_or(Holding::Held)
            }
        }
    }

    /// What turns a link of ours that is there, but not as it should be, into the right one, so that it need not be made
    /// anew; nothing where only that helps.
    pub fn tuning(&self, observed: &Observed) -> Option<Vec<Op>> {
        let bridge;
        let (kind, ends, mtu) = match &self.object {
            Object::Bridge { device, mac, mtu, .. } => {
                bridge = [End { place: self.place(), device: device.clone(), mac: mac.clone() }];
                ("bridge", &bridge[..], *mtu)
            }
            Object::Cable { ends, mtu } => ("veth", &ends[..], *mtu),
            _ => return None,
        };
        let mut ops = Vec::new();
        for end in ends {
            let link = observed.places.get(&end.place)?.links.get(end.device.as_str())?;
            if self.link_holding(Some(link), &[Trait::Kind(kind)]) != Holding::Held {
                return None;
            }
            let wanted = [Tuning::Mac(end.mac.clone()), Tuning::Mtu(mtu)];
            let wrong = wanted.into_iter().filter(|tuning| tuning.holding(link) != Holding::Held);
            ops.extend(wrong.map(|tuning| {
                let (place, device) = (end.place.clone(), end.device.clone());
                Op::new(&self.owner, Object::Tuned { place, device, tuning })
            }));
        }
        (!ops.is_empty()).then_some(ops)
    }
}

/// What a link has to be.
enum Trait {
    Kind(&'static str),
    Tuned(Tuning),
}

impl Trait {
    fn mtu(mtu: u32) -> Self {
        Trait::Tuned(Tuning::Mtu(mtu))
    }

    fn holding(&self, link: &SeenLink) -> Holding {
        match self {
            Trait::Kind(kind) => is_so("the kind", &link.kind, kind),
            Trait::Tuned(tuning) => tuning.holding(link),
        }
    }
}

impl Tuning {
    fn holding(&self, link: &SeenLink) -> Holding {
        match self {
            Tuning::Mtu(mtu) => is_so("the MTU", &link.mtu.to_string(), &mtu.to_string()),
            Tuning::Mac(mac) => is_so("the MAC address", &link.mac, mac),
        }
    }
}

fn differs(what: impl Into<String>) -> Holding {
    Holding::Differs(what.into())
}

fn held_if(right: bool, what: impl FnOnce() -> String) -> Holding {
    if right { Holding::Held } else { Holding::Differs(what()) }
}

fn is_so(what: &str, found: &str, wanted: &str) -> Holding {
    held_if(found == wanted, || format!("{what} is {found}, not {wanted}"))
}

fn present_if(present: bool) -> Holding {
    if present { Holding::Held } else { Holding::Absent }
}

/// Of a pair's two ends, what matters for the pair.
fn worse(one: Holding, other: Holding) -> Holding {
    use Holding::{Absent, Differs, Foreign, Held, Misplaced, Unmarked};
    match (one, other) {
        (Foreign, _) | (_, Foreign) => Foreign,
        (Unmarked, _) | (_, Unmarked) => Unmarked,
        (Held, Held) => Held,
        (Absent, Absent) => Absent,
        (Absent, _) | (_, Absent) => differs("one end is missing"),
        (Differs(what), _) | (_, Differs(what)) => Differs(what),
        (Misplaced(count), _) | (_, Misplaced(count)) => Misplaced(count),
    }
}

fn port_holding(link: &SeenLink, bridge: &str) -> Holding {
    match link.master.as_deref() {
        None => Holding::Absent,
        Some(master) if master != bridge => is_so("its bridge", master, bridge),
        Some(_) => held_if(link.guarded, || "it is not guarded".into()),
    }
}

fn jump_holding(chain: Option<&SeenChain>, to: &str) -> Holding {
    let jump = format!("-j {to}");
    let rules = chain.map(|chain| chain.rules.as_slice()).unwrap_or_default();
    match rules.iter().filter(|rule| rule.text == jump).count() {
        0 => Holding::Absent,
        1 if rules[0].text == jump => Holding::Held,
        count => Holding::Misplaced(count),
    }
}

/// Has the set just these entries, however `ipset save` spells them?
fn has_entries(set: &Set, found: &BTreeSet<String>) -> bool {
    let found: BTreeSet<String> = found.iter().map(|entry| spelled_out(entry)).collect();
    set.entries.len() == found.len() && set.entries.iter().all(|entry| found.contains(&spelled_out(entry)))
}

/// An entry with its protocol as a number, and without a prefix length that says nothing.
fn spelled_out(entry: &str) -> String {
    entry
        .replace(",tcp:", ",6:")
        .replace(",udp:", ",17:")
        .split(' ')
        .map(without_host_prefix)
        .collect::<Vec<_>>()
        .join(" ")
}

fn without_host_prefix(word: &str) -> String {
    word.split(',').map(|part| part.strip_suffix("/32").unwrap_or(part)).collect::<Vec<_>>().join(",")
}

/// Rules are compared by their marks, in order; and by what their text says whatever the version of iptables, so that one that
/// was changed under its mark is seen.
fn chain_holding(rules: &[Rule], found: &[SeenChainRule]) -> Holding {
    let wrong = |(index, seen): (usize, &SeenChainRule)| match (&seen.mark, rules.get(index)) {
        (None, _) => Some(format!("rule {} is not vpcctl's: {}", index + 1, seen.text)),
        (Some(mark), Some(rule)) if *mark == rule.mark() && rule.says_as_much(&seen.text) => None,
        _ => Some(format!("rule {} is another one: {}", index + 1, seen.text)),
    };
    match found.iter().enumerate().find_map(wrong) {
        Some(what) => Holding::Differs(what),
        None => held_if(rules.len() == found.len(), || format!("{} of {} rules are there", found.len(), rules.len())),
    }
}

/// Is it a route of ours, in a table of the host's, or in the main table of a namespace?
fn is_ours(route: &SeenRoute, host_table: Option<HostTable>) -> bool {
    let in_table = match host_table {
        Some(host_table) => route.table.as_deref() == Some(&host_table.number().to_string()),
        None => route.is_main(),
    };
    in_table && route.protocol.as_deref() == Some(&ROUTE_PROTOCOL.to_string())
}

/// Is it the host's rule for this table?
pub(super) fn leads_to(rule: &SeenRule, table: HostTable) -> bool {
    let iif = table.iif().unwrap_or_default();
    rule.priority == table.preference()
        && rule.iif == iif
        && rule.table == table.number().to_string()
        && rule.is_plain()
}

/// Is it the way that was wanted?
pub(super) fn leads(route: &SeenRoute, via: &Via) -> bool {
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
