//! The words for each kind of kernel object: one table, which the compiler keeps whole.

use crate::model::kernel_names as names;
use crate::model::owner::Owner;
use crate::plan::firewall;
use crate::plan::line::Place;
use crate::plan::op::{HostTable, Object, Op, Sysctl, Via};
use crate::plan::rule::Table;
use crate::plan::stray::Tuning;

/// What an object is for, and what a cloud calls what it implements.
type Words = (&'static str, &'static str);

/// What keeps an instance from sending in another's name, of which there are several layers.
const CHECK: &str = "the source/destination check of a network interface";

/// What an object is for, and what a cloud calls what it implements.
pub fn words(op: &Op) -> Words {
    match &op.object {
        Object::Namespace(_) => namespace(&op.owner),
        Object::Bridge { .. } => (
            "a switch inside the router: each instance's cable ends in it, each subnet's gateway address is on it",
            "the network fabric between instances and their VPC's router",
        ),
        Object::SenderFilter { .. } => {
            ("drops a packet whose source address isn't its sender's, before fragments are put together", CHECK)
        }
        Object::Cable { .. } => cable(&op.owner),
        Object::Sysctl(sysctl) => setting(sysctl),
        Object::Set { set, .. } => set_words(op, &set.name),
        Object::SetEntry { set, .. } => set_words(op, set),
        Object::Chain { place, table, chain, .. } | Object::Joining { place, table, chain, .. } => {
            chain_words(op, place, *table, chain)
        }
        Object::Jump { .. } => (
            "leads every packet of a built-in chain to the chain of ours first",
            "the moment at which rules take effect",
        ),
        Object::DropPolicy { .. } => {
            ("drops what no rule accepts, also where somebody flushes the rules", "deny by default")
        }
        Object::Leftover(_) => (
            "came into being with our rules; goes with them, unless somebody else uses it by then",
            "nothing: the host is left as it was found",
        ),
        Object::Port { .. } => (
            "makes the cable's end a port of the bridge: isolated from other ports, locked to its MAC address",
            "an instance's network interface, attached to its subnet",
        ),
        Object::Fdb { .. } => ("the one MAC address that may send and receive by this port", CHECK),
        Object::Address { .. } => address(op),
        Object::Neighbour { .. } => {
            ("tells the router the instance's MAC address, so that no forged ARP answer can", CHECK)
        }
        Object::Route { place, via, .. } => route(place, &op.owner, via),
        Object::HostRule(table) => host_rule(*table),
        Object::Group { .. } => (
            "marks the uplink, so that a handful of rules on the host are for all uplinks there are",
            "the attachment of a VPC to its internet gateway",
        ),
        Object::Up { device, .. } if *device == names::lo() => {
            ("switches the namespace's own loopback interface on: 127.0.0.1 works", "nothing: every machine has it")
        }
        Object::Up { .. } => {
            ("switches the interface on, now that its rules stand", "an attachment that is in service")
        }
        Object::Tuned { tuning, .. } => tuned(tuning),
        Object::Resolver { .. } => {
            ("a resolv.conf of the instance's own: whom it asks for names", "the VPC's DNS resolver")
        }
        Object::App(_) => ("a program in the instance, without any of root's powers", "the workload of an instance"),
        Object::Stray { .. } => ("is in the kernel and not in the state", "nothing: it is taken away"),
    }
}

fn namespace(owner: &Owner) -> Words {
    match owner {
        Owner::Vpc(_) => (
            "a network stack of its own: interfaces, routes, rules and connections that no other VPC shares",
            "the VPC with its implicit router",
        ),
        _ => (
            "a network stack of its own, in which programs see one interface and one way out",
            "an instance, as far as its network goes",
        ),
    }
}

fn cable(owner: &Owner) -> Words {
    match owner {
        Owner::Peering(..) => ("a virtual cable from router to router", "a VPC peering connection"),
        Owner::Vpc(_) | Owner::Host => (
            "a virtual cable between the host and the router: all that leaves the VPC for the host or the internet takes it",
            "the internet gateway's attachment",
        ),
        Owner::Subnet(..) | Owner::Instance(..) => {
            ("a virtual cable: `eth0` in the instance, a port in the router", "an instance's network interface")
        }
    }
}

/// By the last word of the setting's path.
fn setting(sysctl: &Sysctl) -> Words {
    let Sysctl { place, key, .. } = sysctl;
    match key.rsplit('/').next().unwrap_or(key) {
        "disable_ipv6" => {
            ("no IPv6: rules for IPv4 alone would leave a way around them", "a VPC without IPv6 addresses")
        }
        "ip_forward" => ("lets packets pass from one interface to another: this makes it a router", "the VPC's router"),
        "forwarding" if *place == Place::Host => (
            "lets the host pass packets on that come in by this interface, and by no other",
            "the host's part of the internet gateway",
        ),
        "forwarding" => ("lets packets from the bridge pass on", "the VPC's router"),
        "send_redirects" => (
            "no hint to instances that they could reach each other directly, past the router's rules",
            "all traffic passes the VPC's router",
        ),
        "accept_redirects" | "accept_source_route" => {
            ("nobody else decides which way packets take", "route tables that only the operator changes")
        }
        "route_localnet" => ("127.0.0.1 stays within its own namespace", CHECK),
        "icmp_ratelimit" => {
            ("a refusal reaches everyone who is refused, at once", "a connection refused rather than timed out")
        }
        "ipfrag_time" => ("fragments whose others never come take up room for a second only", "protection from floods"),
        "rp_filter" => ("drops what comes from an address to which no route leads back that way", CHECK),
        "proxy_arp_pvlan" | "proxy_delay" => (
            "the router answers for a port's neighbours, at once: so even neighbours talk by the router",
            "all traffic passes the VPC's router",
        ),
        "ip_unprivileged_port_start" => {
            ("a program without root's powers may take port 80", "the workload of an instance")
        }
        word if word.starts_with("nf_conntrack") => {
            ("a connection is known by its beginning: what only looks like the middle of one is not", "stateful rules")
        }
        word if word.starts_with("bridge-nf-call") => {
            ("frames on the bridge are not filtered twice, by rules that are for routed packets", "the VPC's router")
        }
        _ => ("a setting of the kernel", "a setting of the VPC's router"),
    }
}

fn is_in_router(op: &Op) -> bool {
    let place = op.place();
    op.owner.vpcs().iter().any(|vpc| place == Place::Netns(names::router(vpc)))
}

fn set_words(op: &Op, name: &str) -> Words {
    match (is_in_router(op), name == firewall::NAT_SET) {
        (true, true) => (
            "the subnets that NAT serves, in one list however many they are",
            "a public subnet's route to a NAT gateway",
        ),
        (true, false) => ("who may send: the address of each instance with its MAC address", CHECK),
        (false, _) => (
            "addresses and ports that rules of the policy name, in one list",
            "the entries of a security group's rules",
        ),
    }
}

fn chain_words(op: &Op, place: &Place, table: Table, chain: &str) -> Words {
    if *place == Place::Host {
        return host_chain(table, chain);
    }
    if !is_in_router(op) {
        return (
            "the policy, where there is one: the first rule that matches decides, and replies to what is allowed pass",
            "a security group",
        );
    }
    match (table, chain.strip_prefix(names::CHAIN_PREFIX)) {
        (Table::Raw, _) => ("who may send at all: an instance with its own address and MAC address", CHECK),
        (Table::Nat, _) => (
            "gives what leaves a public subnet the uplink's address, and replies the way back",
            "a NAT gateway, which public subnets alone may use",
        ),
        (_, Some("INPUT")) => (
            "what the router itself answers: pings of the gateways, and little else",
            "a router that nobody can log in to",
        ),
        (_, Some("FORWARD")) => (
            "what may pass the router: within the VPC, to peers, to the internet; the rest is refused at once",
            "the VPC's route tables and their limits",
        ),
        _ if chain == firewall::PEERING => {
            ("what may pass to peers and from them, by CIDR", "the routes and limits of VPC peerings")
        }
        _ => ("rules of the router", "the VPC's router"),
    }
}

fn host_chain(table: Table, chain: &str) -> Words {
    match (table, chain.strip_prefix(names::CHAIN_PREFIX)) {
        (Table::Nat, _) => (
            "gives what VPCs send to the internet the host's own address",
            "the internet gateway's address translation",
        ),
        (_, Some("INPUT")) => {
            ("a VPC opens no connection to the host", "the provider's own machines, out of tenants' reach")
        }
        _ => (
            "what the host passes on: from VPCs to the internet and replies, and nothing from VPC to VPC",
            "the internet gateway",
        ),
    }
}

fn address(op: &Op) -> Words {
    match (&op.owner, is_in_router(op)) {
        (Owner::Subnet(..) | Owner::Instance(..), true) => (
            "the subnet's gateway: where its instances send what is for others",
            "the subnet's router address, its first",
        ),
        (Owner::Subnet(..) | Owner::Instance(..), false) => {
            ("the instance's address, with its subnet's prefix", "an instance's private address")
        }
        (Owner::Peering(..), _) => {
            ("the router's address on the cable to its peer", "an end of a VPC peering connection")
        }
        (Owner::Vpc(_) | Owner::Host, _) => {
            ("an address on the cable between host and router", "the internet gateway's address in the VPC")
        }
    }
}

fn route(place: &Place, owner: &Owner, via: &Via) -> Words {
    match (via, owner) {
        (Via::Unreachable, _) => (
            "what no subnet has is nowhere: without this it would leave by the way to the internet",
            "the local route of a VPC's route table",
        ),
        (Via::Prohibited, _) => {
            ("what the host passes on for others doesn't get into the VPC", "no way in without a gateway")
        }
        (_, Owner::Peering(..)) => ("the way to the peer's CIDR", "a peering's entry in the route table"),
        (Via::Link { .. }, _) => ("the way to one instance that exists", "the local route of a VPC's route table"),
        (Via::Gateway { .. }, Owner::Subnet(..) | Owner::Instance(..)) => {
            ("the instance's way to everywhere else: its gateway", "the default route that an instance gets by DHCP")
        }
        (Via::Gateway { .. }, _) if *place == Place::Host => {
            ("the host's way into the VPC", "the operator's access, as by a bastion or a VPN")
        }
        (Via::Gateway { .. }, _) => ("the router's way out, by the host", "the default route to the internet gateway"),
    }
}

fn host_rule(table: HostTable) -> Words {
    match table {
        HostTable::Own => (
            "what the host itself sends looks for its way in vpcctl's routing table first",
            "the operator's access, as by a bastion or a VPN",
        ),
        HostTable::Forwarded => {
            ("what the host passes on for others finds the VPCs prohibited", "no way in without a gateway")
        }
    }
}

fn tuned(tuning: &Tuning) -> Words {
    match tuning {
        Tuning::Mtu(_) => ("how large a packet may be, in bytes", "the MTU of the VPC's network"),
        Tuning::Mac(_) => ("the MAC address that filters and neighbours expect", "an instance's network interface"),
    }
}
