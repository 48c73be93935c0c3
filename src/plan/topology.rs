//! What a VPC consists of: the one function that turns a state into kernel objects, in dependency order.
//!
//! Firewall rules have a room of their own, [`crate::plan::firewall`].

use std::net::Ipv4Addr;

use compact_str::CompactString;

use crate::model::cidr::Cidr;
use crate::model::kernel_names::{self as names, Device, Netns};
use crate::model::name::{Name, VpcName};
use crate::model::owner::Owner;
use crate::model::policy::Policy;
use crate::model::state::{HostAccess, Peering, State, Subnet, Uplink, Vpc};
use crate::plan::firewall;
use crate::plan::launch;
use crate::plan::line::{Leftover, Place};
use crate::plan::op::{End, HostTable, Object, Op, Sysctl, Via};

/// The interface group of every uplink: `vp` in ASCII in the upper half, the WAN interface's index in the lower.
pub const UPLINK_GROUP: u32 = 0x7670_0000;

/// The part of an interface group that says that it is an uplink's.
pub const UPLINK_GROUP_MASK: u32 = 0xffff_0000;

/// Is the group, as `ip` prints it, an uplink's? One without a name is printed as a number.
pub fn is_uplink_group(group: &str) -> bool {
    group.parse::<u32>().is_ok_and(|group| group & UPLINK_GROUP_MASK == UPLINK_GROUP)
}

/// Every kernel object of a state, in the order in which they can be made.
pub fn ops(state: &State) -> Vec<Op> {
    let vpcs = state.vpcs.keys().flat_map(|name| vpc_ops(state, name));
    let peerings = state.peerings.iter().flat_map(|peering| peering_ops(state, peering));
    host_ops(state).into_iter().chain(vpcs).chain(peerings).collect()
}

/// The apps of a state.
pub fn apps(state: &State) -> Vec<Op> {
    launch::all(state).map(|launch| Op::new(&launch.instance.owner(), Object::App(launch))).collect()
}

/// The host's own part: its rules, and forwarding on the interfaces that VPCs leave by.
pub fn host_ops(state: &State) -> Vec<Op> {
    let owner = Owner::Host;
    let tables = state.host.own_tables.iter().cloned().map(Leftover::Table);
    let chains = state.host.own_chains.iter().cloned().map(|(table, chain)| Leftover::Chain(table, chain));
    let leftovers = tables.chain(chains).map(Object::Leftover);
    let rules = firewall::host(state);
    let wans = state.host.wans.iter().map(|(wan, record)| {
        Object::Sysctl(Sysctl {
            place: Place::Host,
            key: format!("net/ipv4/conf/{wan}/forwarding"),
            value: "1",
            before: Some(if record.forwarding_before { "1" } else { "0" }),
            kept_by: Some("net/ipv4/ip_forward"),
            device: None,
            // An interface that is gone has nothing to be put back.
            optional: true,
        })
    });
    let access = state.vpcs.values().any(|vpc| vpc.host_access == HostAccess::On && vpc.uplink.is_some());
    let tables = HostTable::ALL.into_iter().filter(|_| access).map(Object::HostRule);
    leftovers.chain(rules).chain(wans).chain(tables).map(|object| Op::new(&owner, object)).collect()
}

/// A VPC's router, uplink, subnets and instances.
pub fn vpc_ops(state: &State, name: &VpcName) -> Vec<Op> {
    vpc_ops_where(state, name, &|_| true)
}

/// The same, with these subnets and their instances alone.
pub fn vpc_ops_where(state: &State, name: &VpcName, has: &dyn Fn(&Name) -> bool) -> Vec<Op> {
    let Some(vpc) = state.vpcs.get(name) else {
        return Vec::new();
    };
    let owner = Owner::Vpc(name.clone());
    let mut objects = router(name, vpc);
    if state.host.filters_senders {
        objects.push(Object::SenderFilter { netns: names::router(name), device: names::bridge(name) });
    }
    objects.extend(firewall::router(state, name, vpc));
    if let Some(uplink) = vpc.uplink {
        objects.extend(uplink_objects(state, name, vpc, uplink));
    }
    let mut ops: Vec<Op> = objects.into_iter().map(|object| Op::new(&owner, object)).collect();
    for (subnet_name, subnet) in vpc.subnets.iter().filter(|(subnet, _)| has(subnet)) {
        ops.extend(subnet_ops(name, vpc, subnet_name, subnet));
    }
    ops.extend(resolvers(name, vpc, has));
    ops
}

/// What of [`vpc_ops`] doesn't go with one of the VPC's namespaces: these themselves, the uplink with its host's side, apps and name
/// server files.
pub fn leaving_vpc_ops(state: &State, name: &VpcName) -> Vec<Op> {
    let Some(vpc) = state.vpcs.get(name) else {
        return Vec::new();
    };
    let owner = Owner::Vpc(name.clone());
    let uplink = vpc.uplink.map(|uplink| uplink_objects(state, name, vpc, uplink)).unwrap_or_default();
    let uplink = uplink.into_iter().map(|object| Op::new(&owner, object));
    let is_outside = |op: &Op| op.place() == Place::Host || matches!(op.object, Object::Cable { .. });
    let mut ops = vec![Op::new(&owner, Object::Namespace(names::router(name)))];
    ops.extend(uplink.filter(is_outside));
    for (subnet_name, subnet) in &vpc.subnets {
        for (instance, address, _) in subnet.all_instances() {
            let owner = Owner::instance(name, subnet_name, instance);
            let namespace = Object::Namespace(names::instance(name, subnet_name, instance));
            let apps = launch::of_instance(name, subnet_name, subnet, instance, address).map(Object::App);
            ops.extend(std::iter::once(namespace).chain(apps).map(|object| Op::new(&owner, object)));
        }
    }
    ops.extend(resolvers(name, vpc, &|_| true));
    ops
}

/// The namespace that routes, with its bridge.
fn router(name: &VpcName, vpc: &Vpc) -> Vec<Object> {
    let netns = names::router(name);
    let place = Place::Netns(netns.clone());
    let bridge = names::bridge(name);
    let mut objects = vec![
        Object::Namespace(netns.clone()),
        Object::Bridge {
            netns: netns.clone(),
            device: bridge.clone(),
            mac: names::bridge_mac(vpc.cidr.network()),
            mtu: vpc.mtu,
        },
    ];
    objects.extend(router_sysctls(&netns, &bridge).map(Object::Sysctl));
    objects.extend([
        Object::Up { place: place.clone(), device: names::lo() },
        Object::Up { place: place.clone(), device: bridge },
        // What no subnet has is nowhere: it must not leave by the default route.
        Object::Route { place, to: vpc.cidr, via: Via::Unreachable },
    ]);
    objects
}

/// What makes a namespace a router, and the bridge not a shared wire.
fn router_sysctls(netns: &Netns, bridge: &Device) -> impl Iterator<Item = Sysctl> {
    let place = Place::Netns(netns.clone());
    let all = [
        ("net/ipv4/ip_forward".to_owned(), "1"),
        // Redirects would send honest traffic past the rules; either setting at 1 sends them.
        ("net/ipv4/conf/all/send_redirects".to_owned(), "0"),
        ("net/ipv4/conf/default/send_redirects".to_owned(), "0"),
        ("net/ipv4/conf/all/accept_redirects".to_owned(), "0"),
        // A namespace begins with the host's settings: these two would let packets choose their own way.
        ("net/ipv4/conf/all/accept_source_route".to_owned(), "0"),
        ("net/ipv4/conf/all/route_localnet".to_owned(), "0"),
        // A refusal reaches everyone who is refused: the default is one ICMP error a second for each.
        ("net/ipv4/icmp_ratelimit".to_owned(), "0"),
        // Some 4,000 packets whose other fragments never come fill the router: for a second, not for the default of 30.
        ("net/ipv4/ipfrag_time".to_owned(), "1"),
    ];
    let of_bridge = [
        // It comes with the router's own; what switches it off for this one device cuts all of the VPC.
        (format!("net/ipv4/conf/{bridge}/forwarding"), "1"),
        (format!("net/ipv4/conf/{bridge}/send_redirects"), "0"),
        // Nor does an ARP sender whom no route leads to take a place in the neighbour table, which all namespaces share.
        (format!("net/ipv4/conf/{bridge}/rp_filter"), "1"),
        // The router answers ARP for a port's neighbours, so that all packets pass it; at once, not after 0.8 s.
        (format!("net/ipv4/conf/{bridge}/proxy_arp_pvlan"), "1"),
        (format!("net/ipv4/neigh/{bridge}/proxy_delay"), "0"),
    ];
    let of_bridge = of_bridge.map(|(key, value)| sysctl(&place, key, value, Some(bridge)));
    let bridge_netfilter = ["iptables", "ip6tables", "arptables"]
        .map(|tool| sysctl(&place, format!("net/bridge/bridge-nf-call-{tool}"), "0", None))
        .map(|sysctl| Sysctl { optional: true, ..sysctl });
    let all = all.map(|(key, value)| sysctl(&place, key, value, None));
    no_ipv6(&place).into_iter().chain([strict_conntrack(&place)]).chain(all).chain(of_bridge).chain(bridge_netfilter)
}

/// The veth pair to the host, its addresses and routes.
fn uplink_objects(state: &State, name: &VpcName, vpc: &Vpc, uplink: Uplink) -> Vec<Object> {
    let netns = names::router(name);
    let inside = Place::Netns(netns.clone());
    let (outer, inner) = (names::uplink_on_host(name), names::uplink_in_router());
    let (host_address, router_address) = (uplink.link.first(), uplink.link.second());
    let wan = vpc.nat.as_ref().and_then(|nat| state.host.wans.get(&nat.wan));
    let mut objects = cable((Place::Host, &outer, host_address), (inside.clone(), &inner, router_address), vpc.mtu);
    objects.extend([
        Object::Group { device: outer.clone(), group: UPLINK_GROUP | wan.map_or(0, |wan| u32::from(wan.index)) },
        Object::Sysctl(sysctl(&Place::Host, format!("net/ipv6/conf/{outer}/disable_ipv6"), "1", Some(&outer))),
        Object::Sysctl(sysctl(&Place::Host, format!("net/ipv4/conf/{outer}/forwarding"), "1", Some(&outer))),
    ]);
    objects.extend(linked(&Place::Host, &outer, host_address));
    objects.extend(linked(&inside, &inner, router_address));
    objects.push(route(&inside, Cidr::ANY, host_address, &inner, None));
    if vpc.host_access == HostAccess::On {
        objects.push(route(&Place::Host, vpc.cidr, router_address, &outer, Some(host_address)));
        objects.push(Object::Route { place: Place::Host, to: vpc.cidr, via: Via::Prohibited });
    }
    objects
}

fn subnet_ops(vpc_name: &VpcName, vpc: &Vpc, name: &Name, subnet: &Subnet) -> Vec<Op> {
    let owner = Owner::Subnet(vpc_name.clone(), name.clone());
    let place = Place::Netns(names::router(vpc_name));
    let gateway = Object::Address {
        place,
        device: names::bridge(vpc_name),
        address: subnet.gateway(),
        prefix: subnet.cidr.prefix(),
        // Only instances that exist have a route: what is sent to others is refused, and takes no place in the neighbour table.
        prefix_route: false,
    };
    let mut ops = vec![Op::new(&owner, gateway)];
    for (instance, address, policy) in subnet.all_instances() {
        let owner = Owner::instance(vpc_name, name, instance);
        let guard = firewall::guard_set_of(vpc.cidr, address);
        let cabling = Cabling { vpc: vpc_name, mtu: vpc.mtu, guard, subnet, name };
        let objects = cabling.instance(instance, address, policy);
        let apps = app_objects(vpc_name, name, subnet, instance, address);
        ops.extend(objects.into_iter().chain(apps).map(|object| Op::new(&owner, object)));
    }
    ops
}

/// The programs that run in an instance.
fn app_objects(vpc: &VpcName, name: &Name, subnet: &Subnet, instance: Option<&Name>, address: Ipv4Addr) -> Vec<Object> {
    let place = Place::Netns(names::instance(vpc, name, instance));
    let apps: Vec<Object> = launch::of_instance(vpc, name, subnet, instance, address).map(Object::App).collect();
    // They run without root's powers, and port 80 is theirs to take in a namespace of their own.
    let low_ports = sysctl(&place, "net/ipv4/ip_unprivileged_port_start".into(), "0", None);
    let low_ports = Sysctl { before: Some("1024"), ..low_ports };
    let low_ports = (!apps.is_empty()).then_some(Object::Sysctl(low_ports));
    low_ports.into_iter().chain(apps).collect()
}

/// The name servers of the instances that reach them.
fn resolvers(name: &VpcName, vpc: &Vpc, has: &dyn Fn(&Name) -> bool) -> Vec<Op> {
    let Some(nat) = vpc.nat.as_ref().filter(|nat| !nat.nameservers.addresses().is_empty()) else {
        return Vec::new();
    };
    let natted = vpc.natted().filter(|(subnet, _)| has(subnet));
    let instances =
        natted.flat_map(|(subnet, found)| found.all_instances().map(move |(instance, ..)| (subnet, instance)));
    let resolver = |(subnet, instance): (&Name, Option<&Name>)| {
        let netns = names::instance(name, subnet, instance);
        let owner = Owner::instance(name, subnet, instance);
        Op::new(&owner, Object::Resolver { netns, servers: nat.nameservers.addresses().to_vec() })
    };
    instances.map(resolver).collect()
}

/// What an instance's objects are derived from, besides its own name and address.
struct Cabling<'a> {
    vpc: &'a VpcName,
    mtu: u32,
    /// The set of senders that it is in.
    guard: String,
    name: &'a Name,
    subnet: &'a Subnet,
}

impl Cabling<'_> {
    fn instance(&self, instance: Option<&Name>, address: Ipv4Addr, policy: Option<&Policy>) -> Vec<Object> {
        let netns = names::instance(self.vpc, self.name, instance);
        let place = Place::Netns(netns.clone());
        let router = names::router(self.vpc);
        let (port, eth0) = (names::port(self.name, instance), names::eth0());
        let mac = names::mac(address);
        let ends = [
            End { place: place.clone(), device: eth0.clone(), mac: mac.clone() },
            End { place: Place::Netns(router.clone()), device: port.clone(), mac: port_mac(address) },
        ];
        let mut objects = vec![Object::Namespace(netns.clone()), Object::Cable { ends, mtu: self.mtu }];
        objects.extend(no_ipv6(&place).into_iter().chain([strict_conntrack(&place)]).map(Object::Sysctl));
        objects.extend(firewall::instance(&netns, policy));
        objects.extend(self.guarded_port(&router, &port, address, &mac));
        objects.extend([
            Object::Up { place: place.clone(), device: names::lo() },
            Object::Address {
                place: place.clone(),
                device: eth0.clone(),
                address,
                prefix: self.subnet.cidr.prefix(),
                prefix_route: true,
            },
            Object::Up { place: place.clone(), device: eth0.clone() },
            route(&place, Cidr::ANY, self.subnet.gateway(), &eth0, None),
        ]);
        objects
    }

    /// The router's side: the port sends with one MAC address and one IP address, to the router alone.
    fn guarded_port(&self, router: &Netns, port: &Device, address: Ipv4Addr, mac: &str) -> [Object; 6] {
        let bridge = names::bridge(self.vpc);
        [
            Object::SetEntry {
                netns: router.clone(),
                set: self.guard.clone(),
                entry: format!("{address},{}", mac.to_uppercase()),
            },
            Object::Port { netns: router.clone(), device: port.clone(), bridge: bridge.clone() },
            Object::Neighbour { netns: router.clone(), device: bridge.clone(), address, mac: mac.into() },
            Object::Route {
                place: Place::Netns(router.clone()),
                to: Cidr::host(address),
                via: Via::Link { device: bridge, src: self.subnet.gateway() },
            },
            Object::Up { place: Place::Netns(router.clone()), device: port.clone() },
            Object::Fdb { netns: router.clone(), device: port.clone(), mac: mac.into() },
        ]
    }
}

/// The cable between two routers, and each one's route to the other's CIDR.
pub fn peering_ops(state: &State, peering: &Peering) -> Vec<Op> {
    let owner = Owner::Peering(peering.a.clone(), peering.b.clone());
    let (Some(a), Some(b)) = (state.vpcs.get(&peering.a), state.vpcs.get(&peering.b)) else {
        return Vec::new();
    };
    let (place_a, place_b) = (Place::Netns(names::router(&peering.a)), Place::Netns(names::router(&peering.b)));
    let (in_a, in_b) = (names::peer(&peering.b), names::peer(&peering.a));
    let (address_a, address_b) = (peering.link.first(), peering.link.second());
    let mut objects = cable((place_a.clone(), &in_a, address_a), (place_b.clone(), &in_b, address_b), a.mtu.min(b.mtu));
    objects.extend(linked(&place_a, &in_a, address_a));
    objects.extend(linked(&place_b, &in_b, address_b));
    objects.push(route(&place_a, b.cidr, address_b, &in_a, None));
    objects.push(route(&place_b, a.cidr, address_a, &in_b, None));
    objects.into_iter().map(|object| Op::new(&owner, object)).collect()
}

fn cable(a: (Place, &Device, Ipv4Addr), b: (Place, &Device, Ipv4Addr), mtu: u32) -> Vec<Object> {
    let end = |(place, device, address): (Place, &Device, Ipv4Addr)| End {
        place,
        device: device.clone(),
        mac: names::link_mac(address),
    };
    vec![Object::Cable { ends: [end(a), end(b)], mtu }]
}

/// One end of a point-to-point link with its address, up.
fn linked(place: &Place, device: &Device, address: Ipv4Addr) -> [Object; 2] {
    [
        Object::Address { place: place.clone(), device: device.clone(), address, prefix: 31, prefix_route: true },
        Object::Up { place: place.clone(), device: device.clone() },
    ]
}

fn route(place: &Place, to: Cidr, gateway: Ipv4Addr, device: &Device, src: Option<Ipv4Addr>) -> Object {
    Object::Route { place: place.clone(), to, via: Via::Gateway { gateway, device: device.clone(), src } }
}

/// IPv6 is off until the project supports it on purpose: what isolates IPv4 alone leaks.
fn no_ipv6(place: &Place) -> [Sysctl; 2] {
    ["all", "default"].map(|scope| sysctl(place, format!("net/ipv6/conf/{scope}/disable_ipv6"), "1", None))
}

/// A TCP connection that begins in the middle has no known direction, and so no rule that fits: it is INVALID.
fn strict_conntrack(place: &Place) -> Sysctl {
    sysctl(place, "net/netfilter/nf_conntrack_tcp_loose".into(), "0", None)
}

fn sysctl(place: &Place, key: String, value: &'static str, device: Option<&Device>) -> Sysctl {
    Sysctl { place: place.clone(), key, value, before: None, kept_by: None, device: device.cloned(), optional: false }
}

/// The MAC address of the router's end of an instance's cable: never a sender's.
fn port_mac(address: Ipv4Addr) -> CompactString {
    names::mac(address).replacen("0a:58", "0a:5b", 1).into()
}
