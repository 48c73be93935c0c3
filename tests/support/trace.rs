//! The test kernel as a machine that virtual packets walk: what the rendered lines made of it, read by the walker of `reach`.

use vpcctl::model::cidr::Cidr;
use vpcctl::plan::line::Place;
use vpcctl::plan::rule::Table;
use vpcctl::plan::trace::net::{Address, Chain, Hop, Link, LinkKind, Machine, Net, ReadSet, Route};
use vpcctl::plan::trace::reading::ReadRule;

use crate::kernel::{self, HOST, Kernel};
use crate::links;

/// The place of a name.
pub fn place(name: &str) -> Place {
    if name == HOST { Place::Host } else { Place::Netns(name.parse().unwrap()) }
}

/// All places, with what is in them.
pub fn machine(kernel: &Kernel) -> Machine {
    Machine { places: kernel.places.iter().map(|(name, net)| (place(name), read(net))).collect() }
}

fn read(net: &kernel::Net) -> Net {
    let links = &net.links;
    let routed = |device: &str, address| !links.routeless.contains(&(device.to_owned(), address));
    let addresses = links.addresses.iter().map(|(device, address, prefix)| Address {
        device: device.clone(),
        address: *address,
        prefix: *prefix,
        routed: routed(device, *address),
    });
    let rules = links
        .rules
        .iter()
        .map(|(preference, iif, table)| (*preference, Some(iif.clone()).filter(|iif| !iif.is_empty()), *table));
    let sets = net.netfilter.sets.iter();
    Net {
        links: links.links.iter().map(|(name, link)| (name.clone(), read_link(link))).collect(),
        addresses: addresses.collect(),
        routes: links.routes.iter().map(|(key, route)| read_route(*key, route)).collect(),
        rules: rules.collect(),
        neighbours: links.neighbours.clone(),
        fdb: links.fdb.clone(),
        filtered: links.filtered.iter().filter(|(_, filters)| **filters).map(|(name, _)| name.clone()).collect(),
        sets: sets.map(|(name, (kind, entries))| (name.clone(), read_set(kind, entries))).collect(),
        chains: net.netfilter.tables.iter().flat_map(|(name, table)| read_table(name, table)).collect(),
        settings: net.settings.clone(),
    }
}

fn read_set(kind: &str, entries: &[String]) -> ReadSet {
    let mut set = ReadSet::new(kind);
    entries.iter().for_each(|entry| set.add(entry).unwrap());
    set
}

fn read_link(link: &links::Link) -> Link {
    let kind = match (link.kind.as_str(), &link.far_end) {
        ("loopback", _) => LinkKind::Loopback,
        ("bridge", _) => LinkKind::Bridge,
        (_, Some((far, device))) => LinkKind::Cable(place(far), device.clone()),
        _ => LinkKind::Outside,
    };
    let (mac, master) = (link.mac.clone(), link.master.clone());
    Link { kind, mac, group: link.group, up: link.up, master, guarded: link.guarded }
}

fn read_route((table, to, metric): (u32, Cidr, u32), route: &links::Route) -> Route {
    let hop = match &route.device {
        Some(device) => Hop::Device { device: device.clone(), gateway: route.gateway, source: route.source },
        None => Hop::Refused("unreachable"),
    };
    Route { table, to, metric, hop }
}

fn read_table<'a>(
    name: &'a str,
    table: &'a crate::netfilter::Table,
) -> impl Iterator<Item = ((Table, String), Chain)> + 'a {
    let id = Table::ALL.into_iter().find(|table| table.as_str() == name).expect("a table");
    table.iter().map(move |(chain, found)| {
        let rules = found.rules.iter().map(|rule| ReadRule::read(rule).unwrap()).collect();
        ((id, chain.clone()), Chain { drops: found.policy.as_deref() == Some("DROP"), rules })
    })
}

/// The host's flushed firewall: every chain gone, everything accepted and forwarded.
pub fn flush_host(kernel: &mut Kernel) {
    kernel.places.get_mut(HOST).unwrap().netfilter.tables.clear();
    kernel.set(HOST, "net/ipv4/ip_forward", "1");
}
