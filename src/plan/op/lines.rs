//! The lines that make and unmake an object.

use std::net::Ipv4Addr;

use super::{Object, Op};
use crate::model::kernel_names::{Device, Netns};
use crate::plan::line::{Change, ConfigFile, Firewall, Line, Place};
use crate::plan::rule::{MARK, Rule, Set, Table};
use crate::plan::{resolver, sender_filter};

impl Op {
    /// The lines that make it.
    pub fn make(&self) -> Vec<Line> {
        let line = |place: &Place, change: Change| Line { place: place.clone(), change, object: self.owner.clone() };
        let host = |words: String| line(&Place::Host, Change::Links(words));
        let inside = |netns: &Netns, change: Change| line(&Place::Netns(netns.clone()), change);
        match &self.object {
            Object::Namespace(netns) => {
                let alias = Change::Ip(format!("link set dev lo alias {MARK}{}", self.owner));
                vec![host(format!("netns add {netns}")), inside(netns, alias)]
            }
            Object::Bridge { netns, device, mac, mtu } => {
                let mark = self.mark(&Place::Netns(netns.clone()), device);
                let add = format!(
                    "link add name {device} netns {netns} mtu {mtu} address {mac} type bridge mcast_snooping 0"
                );
                std::iter::once(host(add)).chain(mark).collect()
            }
            Object::SenderFilter { netns, device } => {
                sender_filter::lines(device.as_str()).map(|words| inside(netns, Change::Filter(words))).into()
            }
            Object::Cable { ends: [a, b], mtu } => {
                let add = format!("link add {} mtu {mtu} type veth peer {} mtu {mtu}", a.words(), b.words());
                let marks = [a, b].map(|end| self.mark(&end.place, &end.device));
                std::iter::once(host(add)).chain(marks.into_iter().flatten()).collect()
            }
            Object::Sysctl(sysctl) => vec![line(&sysctl.place, sysctl.set(sysctl.value, None))],
            Object::Set { netns, set } => {
                set_lines(set).into_iter().map(|words| inside(netns, Change::Set(words))).collect()
            }
            Object::SetEntry { netns, set, entry } => {
                vec![inside(netns, Change::Set(format!("add {set} {entry} -exist")))]
            }
            Object::Chain { place, table, chain, rules } => {
                let declare = Firewall::Declare(chain.clone());
                let appends = rules.iter().map(|rule| Firewall::Append(chain.clone(), rule.spec()));
                std::iter::once(declare).chain(appends).map(|f| line(place, Change::Rules(*table, f))).collect()
            }
            Object::Joining { place, table, chain, rules } => {
                let insert = |(number, rule): &(usize, Rule)| Firewall::Insert(chain.clone(), *number, rule.spec());
                rules.iter().map(insert).map(|f| line(place, Change::Rules(*table, f))).collect()
            }
            Object::Jump { place, table, from, to, misplaced } => {
                let unhook = std::iter::repeat_n(Firewall::Unhook(from, to.clone()), *misplaced);
                let hooks = unhook.chain([Firewall::Hook(from, to.clone())]);
                hooks.map(|firewall| line(place, Change::Rules(*table, firewall))).collect()
            }
            Object::DropPolicy { netns, chain } => {
                vec![inside(netns, Change::Rules(Table::Filter, Firewall::DropPolicy(chain)))]
            }
            Object::Tuned { place, device, tuning } => {
                vec![line(place, Change::Ip(format!("link set dev {device} {tuning}")))]
            }
            Object::Leftover(_) | Object::Stray { .. } => vec![],
            Object::Port { netns, device, bridge } => {
                let guard = "isolated on locked on learning off flood off mcast_flood off bcast_flood off";
                let lines = [
                    format!("link set dev {device} master {bridge}"),
                    format!("link set dev {device} type bridge_slave {guard}"),
                ];
                lines.into_iter().map(|words| inside(netns, Change::Ip(words))).collect()
            }
            Object::Fdb { netns, device, mac } => {
                vec![inside(netns, Change::Bridge(format!("fdb replace {mac} dev {device} master static")))]
            }
            Object::Address { place, device, address, prefix, prefix_route } => {
                let noprefixroute = if *prefix_route { "" } else { " noprefixroute" };
                let words = format!("addr replace {} dev {device}{noprefixroute}", with_broadcast(*address, *prefix));
                vec![line(place, Change::Ip(words))]
            }
            Object::Neighbour { netns, device, address, mac } => {
                let words = format!("neigh replace {address} lladdr {mac} dev {device} nud permanent");
                vec![inside(netns, Change::Ip(words))]
            }
            Object::Route { place, to, via } => {
                vec![line(place, Change::Ip(format!("route replace {}", via.words(place, *to))))]
            }
            Object::HostRule(table) => vec![line(&Place::Host, Change::Ip(format!("rule add {}", table.rule())))],
            Object::Group { device, group } => {
                vec![line(&Place::Host, Change::Ip(format!("link set dev {device} group {group}")))]
            }
            Object::Up { place, device } => vec![line(place, Change::Ip(format!("link set dev {device} up")))],
            Object::Resolver { netns, servers } => {
                let file = ConfigFile { path: resolver::path(netns), text: Some(resolver::text(servers)) };
                vec![line(&Place::Host, Change::File(file))]
            }
            Object::App(launch) => vec![line(&Place::Host, Change::Start(launch.clone()))],
        }
    }

    /// The lines that unmake it, in a place that stays. What goes with its namespace or device has none of its own.
    pub fn unmake(&self, stays: &dyn Fn(&Place) -> bool) -> Vec<Line> {
        let line = |place: &Place, change: Change| Line { place: place.clone(), change, object: self.owner.clone() };
        let inside = |netns: &Netns, change: Change| vec![line(&Place::Netns(netns.clone()), change)];
        match &self.object {
            Object::Namespace(netns) => vec![line(&Place::Host, Change::Links(format!("netns del {netns}")))],
            Object::Bridge { netns, device, .. } => inside(netns, Change::Ip(format!("link del dev {device}"))),
            Object::Cable { ends, .. } => {
                let end = ends.iter().find(|end| stays(&end.place));
                end.map(|end| line(&end.place, Change::Unlink(end.device.clone()))).into_iter().collect()
            }
            Object::Sysctl(sysctl) => {
                let set = |before| line(&sysctl.place, sysctl.set(before, sysctl.kept_by));
                sysctl.before.map(set).into_iter().collect()
            }
            Object::Set { netns, set } => inside(netns, Change::Set(format!("destroy {}", set.name))),
            Object::SetEntry { netns, set, entry } => inside(netns, Change::Set(format!("del {set} {entry} -exist"))),
            Object::Chain { place, table, chain, .. } => {
                [Firewall::Flush(chain.clone()), Firewall::Delete(chain.clone())]
                    .map(|f| line(place, Change::Rules(*table, f)))
                    .into()
            }
            Object::Jump { place, table, from, to, .. } => {
                vec![line(place, Change::Rules(*table, Firewall::Unhook(from, to.clone())))]
            }
            Object::Leftover(leftover) => vec![line(&Place::Host, Change::Clean(leftover.clone()))],
            Object::Fdb { netns, device, mac } => {
                inside(netns, Change::Bridge(format!("fdb del {mac} dev {device} master static")))
            }
            Object::Address { place, device, address, prefix, .. } => {
                vec![line(place, Change::Ip(format!("addr del {address}/{prefix} dev {device}")))]
            }
            Object::Neighbour { netns, device, address, .. } => {
                inside(netns, Change::Ip(format!("neigh del {address} dev {device}")))
            }
            Object::Route { place, to, via } => {
                vec![line(place, Change::Ip(format!("route del {}", via.words(place, *to))))]
            }
            Object::HostRule(table) => vec![line(&Place::Host, Change::Ip(format!("rule del {}", table.rule())))],
            Object::Port { netns, device, .. } => inside(netns, Change::Ip(format!("link set dev {device} nomaster"))),
            Object::Up { place, device } => vec![line(place, Change::Ip(format!("link set dev {device} down")))],
            Object::Resolver { netns, .. } => {
                vec![line(&Place::Host, Change::File(ConfigFile { path: resolver::path(netns), text: None }))]
            }
            Object::App(launch) => vec![line(&Place::Host, Change::Stop(launch.id()))],
            Object::Stray { place, stray } => stray.unmake().into_iter().map(|change| line(place, change)).collect(),
            Object::SenderFilter { netns, device } => {
                inside(netns, Change::Filter(format!("qdisc del dev {device} clsact")))
            }
            Object::DropPolicy { .. } | Object::Group { .. } | Object::Tuned { .. } | Object::Joining { .. } => vec![],
        }
    }

    /// What says that a device is ours, and its full name where it was shortened.
    fn mark(&self, place: &Place, device: &Device) -> Vec<Line> {
        let alias = format!("link set dev {device} alias {MARK}{}", self.owner);
        let altname = device.altname().map(|full| format!("link property add dev {device} altname {full}"));
        let line = |words| Line { place: place.clone(), change: Change::Ip(words), object: self.owner.clone() };
        // The mark comes last: what bears it is whole.
        altname.into_iter().chain([alias]).map(line).collect()
    }
}

/// The lines that make a set. One that is made with its entries may be in use already with others: it is filled beside and
/// takes its place at once.
fn set_lines(set: &Set) -> Vec<String> {
    let Set { name, kind, entries } = set;
    let create = format!("create {name} {kind} -exist");
    if entries.is_empty() {
        return vec![create];
    }
    let Set { name: beside, .. } = set.beside();
    let before = [format!("create {beside} {kind} -exist"), format!("flush {beside}")];
    let adds = entries.iter().map(|entry| format!("add {beside} {entry}"));
    let after = [create, format!("swap {beside} {name}"), format!("destroy {beside}")];
    before.into_iter().chain(adds).chain(after).collect()
}

/// A /31 and a /32 have no broadcast address.
fn with_broadcast(address: Ipv4Addr, prefix: u8) -> String {
    if prefix >= 31 { format!("{address}/{prefix}") } else { format!("{address}/{prefix} brd +") }
}
