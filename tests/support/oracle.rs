//! Who may open a connection to whom, said from the state alone and without a look at any rule.

use std::net::Ipv4Addr;

use vpcctl::model::cidr::Cidr;
use vpcctl::model::kernel_names as names;
use vpcctl::model::name::{Name, VpcName};
use vpcctl::model::policy::{Action, Direction, Policy, Traffic};
use vpcctl::model::state::{HostAccess, NatScope, Peering, PeeringScope, State, Subnet, SubnetType, Vpc};

/// Outside of the machine: what the host reaches by its default route, and what is on its second interface's network.
pub const OUTSIDE: [(&str, &str); 2] = [("203.0.113.9", "eth0"), ("192.0.2.99", "eth1")];

/// The host's own addresses.
pub const HOST_ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 10), Ipv4Addr::new(192, 0, 2, 10)];

/// An instance, with all that the oracle asks of it.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub struct Guest<'a> {
    pub vpc_name: &'a VpcName,
    pub vpc: &'a Vpc,
    pub subnet_name: &'a Name,
    pub subnet: &'a Subnet,
    pub name: Option<&'a Name>,
    pub address: Ipv4Addr,
    pub policy: Option<&'a Policy>,
}

/// Where a new connection ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// In this namespace.
    Reaches(String),
    /// Beyond this interface of the host.
    Leaves(String),
    /// Nowhere.
    Closed,
}

/// All instances.
pub fn guests(state: &State) -> Vec<Guest<'_>> {
    let subnets = state.vpcs.iter().flat_map(|(vpc_name, vpc)| {
        vpc.subnets.iter().map(move |(subnet_name, subnet)| (vpc_name, vpc, subnet_name, subnet))
    });
    let guests = subnets.flat_map(|(vpc_name, vpc, subnet_name, subnet)| {
        subnet.all_instances().map(move |(name, address, policy)| Guest {
            vpc_name,
            vpc,
            subnet_name,
            subnet,
            name,
            address,
            policy,
        })
    });
    guests.collect()
}

impl Guest<'_> {
    /// Its namespace.
    pub fn place(&self) -> String {
        names::instance(self.vpc_name, self.subnet_name, self.name).to_string()
    }

    /// Its router's namespace.
    pub fn router(&self) -> String {
        names::router(self.vpc_name).to_string()
    }

    fn lets(&self, direction: Direction, traffic: Traffic, remote: Ipv4Addr) -> bool {
        self.policy.is_none_or(|policy| policy.verdict(direction, traffic, remote).action == Action::Allow)
    }

    /// Is its subnet one that may leave?
    fn is_natted(&self) -> bool {
        let public = self.subnet.kind == SubnetType::Public;
        public
            && match self.vpc.nat.as_ref().map(|nat| &nat.scope) {
                None => false,
                Some(NatScope::AllPublic) => true,
                Some(NatScope::Only(names)) => names.contains(self.subnet_name),
            }
    }
}

/// Where a connection of an instance ends.
pub fn from_guest(state: &State, from: &Guest<'_>, traffic: Traffic, dst: Ipv4Addr) -> Wanted {
    if !from.lets(Direction::Egress, traffic, dst) {
        return Wanted::Closed;
    }
    if from.vpc.cidr.contains(dst) {
        return inside(state, from.vpc_name, traffic, from.address, dst, true);
    }
    let peer = state.peerings_of(from.vpc_name).find(|peering| other_cidr(state, peering, from.vpc_name).contains(dst));
    if let Some(peering) = peer {
        return match peering_lets(peering, from.address, dst) {
            true => inside(state, peering.other(from.vpc_name), traffic, from.address, dst, false),
            false => Wanted::Closed,
        };
    }
    // The far address of one's own peerings is the peer's router, which answers nobody.
    if state.peerings_of(from.vpc_name).any(|peering| peering.link.0.contains(dst)) {
        return Wanted::Closed;
    }
    let wan = from.vpc.nat.as_ref().map(|nat| nat.wan.as_str());
    match way_out(state, dst) {
        Some(by) if from.is_natted() && wan == Some(by) => Wanted::Leaves(by.into()),
        _ => Wanted::Closed,
    }
}

/// By which of its interfaces the host forwards to an address that is neither its own nor that of a VPC it has access to. It
/// knows of no other VPC: what has the address of one is somebody outside.
fn way_out(state: &State, dst: Ipv4Addr) -> Option<&'static str> {
    let uplinks = state.vpcs.values().filter_map(|vpc| vpc.uplink);
    let own = HOST_ADDRESSES.contains(&dst) || uplinks.map(|uplink| uplink.link.0).any(|link| link.contains(dst));
    let routed = state.vpcs.values().any(|vpc| vpc.host_access == HostAccess::On && vpc.cidr.contains(dst));
    let second = Ipv4Addr::new(192, 0, 2, 0);
    let by = if dst.octets()[..3] == second.octets()[..3] { "eth1" } else { "eth0" };
    (!own && !routed).then_some(by)
}

/// Where a connection of the host ends, if it is one into a VPC.
pub fn from_host(state: &State, traffic: Traffic, dst: Ipv4Addr) -> Option<Wanted> {
    let router_end = |vpc: &Vpc| vpc.uplink.is_some_and(|uplink| uplink.link.second() == dst);
    if let Some((name, _)) = state.vpcs.iter().find(|(_, vpc)| router_end(vpc)) {
        let is_ping = traffic == Traffic::Icmp;
        return Some(if is_ping { Wanted::Reaches(names::router(name).to_string()) } else { Wanted::Closed });
    }
    let open = state.vpcs.iter().find(|(_, vpc)| vpc.host_access == HostAccess::On && vpc.cidr.contains(dst))?;
    let host = open.1.uplink?.link.first();
    Some(inside(state, open.0, traffic, host, dst, true))
}

/// The host's address on the uplink of the VPC that it reaches `dst` by.
pub fn host_source(state: &State, dst: Ipv4Addr) -> Ipv4Addr {
    let by_uplink = state.vpcs.values().filter_map(|vpc| Some((vpc, vpc.uplink?))).find(|(vpc, uplink)| {
        uplink.link.0.contains(dst) || (vpc.host_access == HostAccess::On && vpc.cidr.contains(dst))
    });
    by_uplink.map_or(Ipv4Addr::new(198, 51, 100, 10), |(_, uplink)| uplink.link.first())
}

/// Within a VPC: its instances as their policies say; its gateways answer pings of those who belong to it.
fn inside(state: &State, vpc: &VpcName, traffic: Traffic, src: Ipv4Addr, dst: Ipv4Addr, gateways: bool) -> Wanted {
    let found = guests(state).into_iter().find(|guest| guest.vpc_name == vpc && guest.address == dst);
    if let Some(guest) = found {
        return match guest.lets(Direction::Ingress, traffic, src) {
            true => Wanted::Reaches(guest.place()),
            false => Wanted::Closed,
        };
    }
    let is_gateway = state.vpcs[vpc].subnets.values().any(|subnet| subnet.gateway() == dst);
    match is_gateway && gateways && traffic == Traffic::Icmp {
        true => Wanted::Reaches(names::router(vpc).to_string()),
        false => Wanted::Closed,
    }
}

fn other_cidr(state: &State, peering: &Peering, vpc: &VpcName) -> Cidr {
    state.vpcs[peering.other(vpc)].cidr
}

fn peering_lets(peering: &Peering, src: Ipv4Addr, dst: Ipv4Addr) -> bool {
    match &peering.scope {
        PeeringScope::Everything => true,
        PeeringScope::Only(pairs) => pairs.iter().any(|pair| pair.src.contains(src) && pair.dst.contains(dst)),
    }
}

/// Addresses that somebody may try: every instance, gateway, uplink and link, the host's own, and outside.
pub fn addresses(state: &State) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = guests(state).iter().flat_map(|g| [g.address, g.subnet.gateway()]).collect();
    found.extend(state.links().into_iter().flat_map(|link| [link.first(), link.second()]));
    found.extend(OUTSIDE.iter().map(|(address, _)| address.parse::<Ipv4Addr>().unwrap()));
    found.extend(HOST_ADDRESSES);
    found.push(Ipv4Addr::new(10, 0, 255, 254));
    found.sort_unstable();
    found.dedup();
    found
}
