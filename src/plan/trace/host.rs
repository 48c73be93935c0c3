//! The host's own network, as the model takes it.

use super::net::{Address, Hop, Link, LinkKind, MAIN, Net, Route};
use super::reading::parse_network;
use crate::model::cidr::Cidr;
use crate::model::facts::HostFacts;
use crate::plan::observed::{Seen, SeenRoute};

impl Net {
    /// The host as `ip` shows it, without what is vpcctl's: interfaces that lead outside, their addresses and routes, and which of
    /// them forward.
    pub fn of_host(seen: &Seen, facts: &HostFacts, is_ours: &dyn Fn(&str) -> bool) -> Self {
        let mut net = Net::default();
        for (name, link) in seen.links.iter().filter(|(name, _)| !is_ours(name)) {
            let kind = if name == "lo" { LinkKind::Loopback } else { LinkKind::Outside };
            net.links.insert(name.clone(), Link { kind, mac: link.mac.clone(), up: link.up, ..Link::default() });
        }
        for (device, address, prefix) in seen.addresses.iter().filter(|(device, ..)| !is_ours(device)) {
            let (device, address, prefix) = (device.clone(), *address, *prefix);
            // The route to its network is among the others, where it has one.
            net.addresses.push(Address { device, address, prefix, routed: false });
        }
        let forwarding = facts.links.iter().filter(|(_, link)| link.forwarding);
        let on = |name| (format!("net/ipv4/conf/{name}/forwarding"), "1".to_owned());
        net.settings = forwarding.map(|(name, _)| on(name)).collect();
        // vpcctl's own are in tables of their own.
        let main = seen.routes.iter().filter(|route| route.is_main());
        net.routes = main.filter_map(|seen| route(seen, is_ours)).collect();
        net
    }
}

fn route(seen: &SeenRoute, is_ours: &dyn Fn(&str) -> bool) -> Option<Route> {
    let to = if seen.dst == "default" { Cidr::ANY } else { parse_network(&seen.dst)? };
    let hop = match seen.kind.as_deref() {
        Some("unreachable") => Hop::Refused("unreachable"),
        Some("prohibit") => Hop::Refused("prohibited"),
        Some("blackhole") => Hop::Refused("blackhole"),
        // Of the tables with routes to others, the main one is the last.
        Some("throw") => Hop::Refused("throw"),
        _ => through(seen).filter(|hop| !matches!(hop, Hop::Device { device, .. } if is_ours(device)))?,
    };
    Some(Route { table: MAIN, to, metric: seen.metric.unwrap_or(0), hop })
}

/// The way out: of several next hops, which share the load, the first.
fn through(seen: &SeenRoute) -> Option<Hop> {
    let first = seen.nexthops.first();
    let of_first = |field: &str| first.and_then(|hop| hop[field].as_str()).map(str::to_owned);
    let parse = |text: Option<String>| text.and_then(|text| text.parse().ok());
    Some(Hop::Device {
        device: seen.dev.clone().or_else(|| of_first("dev"))?,
        gateway: parse(seen.gateway.clone().or_else(|| of_first("gateway"))),
        source: parse(seen.prefsrc.clone()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::HostLink;
    use crate::plan::observed::SeenLink;

    fn host(routes: &str) -> Net {
        let link = SeenLink { up: true, ..SeenLink::default() };
        let seen = Seen {
            links: [("eth0".to_owned(), link.clone()), ("vpc-a".to_owned(), link)].into(),
            addresses: [("eth0".to_owned(), "198.51.100.10".parse().unwrap(), 24)].into(),
            routes: serde_json::from_str(routes).unwrap(),
            ..Seen::default()
        };
        let links = [("eth0".parse().unwrap(), HostLink { mtu: 1500, forwarding: true })].into();
        Net::of_host(&seen, &HostFacts { links, ..HostFacts::default() }, &|device| device == "vpc-a")
    }

    fn way(net: &Net, address: &str) -> Option<String> {
        net.route(address.parse().unwrap(), "lo").map(|route| route.describe())
    }

    #[test]
    fn routes_that_lead_nowhere_and_to_several_are_routes_too() {
        let net = host(
            r#"[{"type": "unicast", "dst": "default", "nexthops": [
                    {"gateway": "198.51.100.1", "dev": "eth0", "weight": 1}, {"gateway": "198.51.100.2", "dev": "eth0", "weight": 1}]},
                {"type": "unicast", "dst": "198.51.100.0/24", "dev": "eth0", "protocol": "kernel", "prefsrc": "198.51.100.10"},
                {"type": "blackhole", "dst": "203.0.113.0/24"}, {"type": "prohibit", "dst": "192.0.2.7"},
                {"type": "unreachable", "dst": "10.9.0.0/16", "table": "4711"},
                {"type": "unicast", "dst": "10.0.0.0/16", "dev": "vpc-a"}]"#,
        );
        for (address, expected) in [
            ("9.9.9.9", "default via 198.51.100.1 dev eth0"),
            ("198.51.100.77", "198.51.100.0/24 dev eth0"),
            ("203.0.113.10", "blackhole 203.0.113.0/24"),
            ("192.0.2.7", "prohibited 192.0.2.7/32"),
            // Another table's, and vpcctl's own, are none of the host's.
            ("10.9.0.1", "default via 198.51.100.1 dev eth0"),
            ("10.0.0.1", "default via 198.51.100.1 dev eth0"),
        ] {
            assert_eq!(way(&net, address).as_deref(), Some(expected), "{address}");
        }
        assert!(net.forwards("eth0") && !net.links.contains_key("vpc-a"));
    }

    #[test]
    fn an_address_without_a_route_to_its_network_has_none() {
        assert_eq!(way(&host("[]"), "198.51.100.77"), None);
    }
}
