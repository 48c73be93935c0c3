//! What an edit has to know of the host, gathered by whoever may look at it and handed in as data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::model::cidr::Cidr;
use crate::model::flavour::Flavour;
use crate::model::name::{IfName, VpcName};
use crate::model::state::Link;

/// The Ethernet default, for a host without a default route, in bytes.
pub const DEFAULT_MTU: u32 = 1500;

/// A network that the host itself routes or has an address in; vpcctl's own are not among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNetwork {
    /// Its addresses.
    pub cidr: Cidr,
    /// Where it comes from, in words: `route on eth0`.
    pub origin: String,
}

/// What is known of one interface of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostLink {
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether the kernel forwards IPv4 packets that come in by it.
    pub forwarding: bool,
}

/// The host as an edit sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// The interface of the default route with the best metric.
    pub default_wan: Option<IfName>,
    /// The interfaces by name, vpcctl's own excepted.
    pub links: BTreeMap<IfName, HostLink>,
    /// What the host reaches by itself, default routes excepted.
    pub networks: Vec<HostNetwork>,
    /// Whom the host asks for names, as far as somebody behind NAT reaches them too.
    pub nameservers: Vec<Ipv4Addr>,
    /// The tables and built-in chains that exist, where that was asked.
    pub firewall: FirewallFacts,
    /// The flavour of the host's iptables, where its file tells.
    pub iptables: Option<Flavour>,
    /// Whether there is a `tc`, to have routers compare packets' senders with their MAC addresses. Whether the kernel has what it takes
    /// is seen when the first filter is made.
    pub may_filter_senders: bool,
    /// What stops all that VPCs would send by an interface, where that was asked.
    pub barriers: BTreeMap<IfName, Barrier>,
    /// The uplinks that these VPCs are to have, and nobody else.
    pub promised: BTreeMap<VpcName, Link>,
    /// Addresses that peerings are to have, and no uplink.
    pub reserved: Vec<Cidr>,
}

/// Rules of somebody else's that are certain to stop what VPCs send by an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Barrier {
    /// Where they are, in words.
    pub what: String,
    /// The commands that open it.
    pub remedy: String,
}

/// Which of the parts that rules go into are there already.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FirewallFacts {
    /// The names of the iptables tables.
    pub tables: BTreeSet<String>,
    /// The chains by table and name.
    pub chains: BTreeSet<(String, String)>,
}

impl HostFacts {
    /// The addresses that uplinks and peerings are to have that may not be there yet.
    pub fn promised_cidrs(&self) -> Vec<Cidr> {
        self.promised.values().map(|link| link.0).chain(self.reserved.iter().copied()).collect()
    }

    /// The first of the host's networks that shares an address with `cidr`.
    pub fn overlap(&self, cidr: Cidr) -> Option<&HostNetwork> {
        self.networks.iter().find(|network| network.cidr.overlaps(cidr))
    }

    /// The MTU in bytes of the way out: of `wan` where it is given, of the default route's interface otherwise.
    pub fn mtu(&self, wan: Option<&IfName>) -> u32 {
        let wan = wan.or(self.default_wan.as_ref());
        wan.and_then(|name| self.links.get(name)).map_or(DEFAULT_MTU, |link| link.mtu)
    }
}
