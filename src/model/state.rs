//! The network as data: what the state file holds and what every plan starts from.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Failure, Result};
use crate::model::app::{App, Port};
use crate::model::cidr::Cidr;
use crate::model::flavour::Flavour;
use crate::model::name::{IfName, Name, VpcName};
use crate::model::owner::Target;
use crate::model::policy::Policy;
use crate::model::unique;

/// All VPCs of one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct State {
    /// What vpcctl changed on the host for all VPCs, and how it was before.
    #[serde(default)]
    pub host: Host,
    /// The VPCs by name.
    // A state and its successor share those that they have in common: to copy and to compare these costs nothing.
    #[serde(default, deserialize_with = "unique::map")]
    pub vpcs: BTreeMap<VpcName, Arc<Vpc>>,
    /// The peerings, in the order of their VPCs' names.
    #[serde(default, deserialize_with = "in_order")]
    pub peerings: Vec<Peering>,
}

/// Reads peerings, which somebody may have written down in another order.
fn in_order<'de, D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Vec<Peering>, D::Error> {
    let mut peerings = Vec::<Peering>::deserialize(deserializer)?;
    peerings.sort_by(|one, other| one.ends().cmp(&other.ends()));
    Ok(peerings)
}

/// What the host had before the first uplink came, so that the last one to go can put it back.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// The interfaces that VPCs leave by.
    #[serde(default, deserialize_with = "unique::map")]
    pub wans: BTreeMap<IfName, Wan>,
    /// The iptables tables that came into being with vpcctl's rules.
    #[serde(default)]
    pub own_tables: BTreeSet<String>,
    /// The built-in chains that came into being with vpcctl's rules in somebody else's tables, as table and chain.
    #[serde(default)]
    pub own_chains: BTreeSet<(String, String)>,
    /// The flavour of iptables that the rules of all VPCs are in, whatever the host's choice has become since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iptables: Option<Flavour>,
    /// Whether routers compare the senders of packets with their MAC addresses before fragments are put together: the host's
    /// kernel could when the first VPC came.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub filters_senders: bool,
}

/// An interface that VPCs leave by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wan {
    /// Tells its uplinks from other WAN interfaces' in the host's rules: 1 to 65535.
    pub index: u16,
    /// Whether it forwarded before vpcctl came.
    pub forwarding_before: bool,
}

/// A VPC: a CIDR with subnets behind a router of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vpc {
    /// Its addresses.
    pub cidr: Cidr,
    /// The MTU of all its links, in bytes.
    pub mtu: u32,
    /// Whether the host may open connections to its instances.
    pub host_access: HostAccess,
    /// The interface that NAT will use unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wan: Option<IfName>,
    /// The link to the host, once something needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uplink: Option<Uplink>,
    /// Internet access for public subnets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nat: Option<Nat>,
    /// The subnets by name.
    #[serde(default, deserialize_with = "unique::map")]
    pub subnets: BTreeMap<Name, Subnet>,
}

/// Whether the host may open connections to a VPC's instances.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HostAccess {
    /// It may, by a route over the uplink.
    On,
    /// The operator doesn't want it.
    Off,
    /// The CIDR overlaps what the host routes already, named here.
    Overlaps(String),
}

/// The point-to-point link between a VPC's router and the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Uplink {
    /// Its two addresses: the host's is the first, the router's the second.
    pub link: Link,
    /// The pool that they were taken from.
    pub pool: Cidr,
}

/// A point-to-point /31 (RFC 3021): two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Link(pub Cidr);

impl Link {
    /// The first address.
    pub fn first(self) -> Ipv4Addr {
        self.0.network()
    }

    /// The second address.
    pub fn second(self) -> Ipv4Addr {
        self.0.broadcast()
    }
}

/// Internet access: who has it and where it leaves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nat {
    /// The host's interface towards the internet.
    pub wan: IfName,
    /// The subnets that have it.
    pub scope: NatScope,
    /// Whom the instances of these subnets ask for names.
    #[serde(default)]
    pub nameservers: Nameservers,
}

/// Whom instances with internet access ask for names; nobody where there are no addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Nameservers {
    /// Those that the host asks, as far as an instance can reach them.
    #[serde(rename = "of-the-host")]
    Host(Vec<Ipv4Addr>),
    /// Those that the operator chose.
    Chosen(Vec<Ipv4Addr>),
}

impl Default for Nameservers {
    fn default() -> Self {
        Nameservers::Host(Vec::new())
    }
}

impl Nameservers {
    /// Their addresses.
    pub fn addresses(&self) -> &[Ipv4Addr] {
        match self {
            Nameservers::Host(addresses) | Nameservers::Chosen(addresses) => addresses,
        }
    }
}

/// Which subnets a VPC's NAT serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum NatScope {
    /// Every public one, those that come later included.
    AllPublic,
    /// These.
    Only(BTreeSet<Name>),
}

/// May a subnet have internet access?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum SubnetType {
    /// It may leave through the uplink once NAT is enabled.
    Public,
    /// It never leaves the VPC, but to peers.
    #[default]
    Private,
}

impl SubnetType {
    /// `public` or `private`.
    pub fn as_str(self) -> &'static str {
        match self {
            SubnetType::Public => "public",
            SubnetType::Private => "private",
        }
    }
}

/// A part of a VPC's CIDR, with its first instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// Its addresses: the first is the gateway's, the second the first instance's.
    pub cidr: Cidr,
    /// Public or private.
    #[serde(rename = "type")]
    pub kind: SubnetType,
    /// The policy of all its instances that have none of their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// The apps of the first instance, by port.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<Port, App>,
    /// The further instances by name.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub instances: BTreeMap<Name, Instance>,
}

/// A further instance of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Instance {
    /// Its address.
    pub address: Ipv4Addr,
    /// Its own policy, in place of the subnet's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Its apps, by port.
    #[serde(default, deserialize_with = "unique::map", skip_serializing_if = "BTreeMap::is_empty")]
    pub apps: BTreeMap<Port, App>,
}

/// A routed connection of two VPCs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Peering {
    /// The VPC whose name sorts first.
    pub a: VpcName,
    /// The other one.
    pub b: VpcName,
    /// The addresses of the link: `a`'s router has the first.
    pub link: Link,
    /// What may pass.
    pub scope: PeeringScope,
}

/// What may pass a peering.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PeeringScope {
    /// Everything between the two CIDRs.
    Everything,
    /// Connections from a source to a destination of this list, and their replies.
    Only(BTreeSet<CidrPair>),
}

/// Who may open connections to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CidrPair {
    /// Who opens.
    pub src: Cidr,
    /// Who is connected to.
    pub dst: Cidr,
}

impl State {
    /// The VPC, or which ones there are.
    pub fn vpc(&self, name: &VpcName) -> Result<&Vpc> {
        self.vpcs.get(name).map(Arc::as_ref).ok_or_else(|| missing_vpc(self, name))
    }

    pub(crate) fn vpc_mut(&mut self, name: &VpcName) -> Result<&mut Vpc> {
        if !self.vpcs.contains_key(name) {
            return Err(missing_vpc(self, name));
        }
        let vpc = self.vpcs.get_mut(name).map(Arc::make_mut);
        vpc.ok_or_else(|| Failure::not_found(format!("VPC `{name}` does not exist")))
    }

    /// The subnet, or which ones there are.
    pub fn subnet(&self, vpc: &VpcName, name: &Name) -> Result<&Subnet> {
        let found = self.vpc(vpc)?;
        found.subnets.get(name).ok_or_else(|| missing_subnet(found, vpc, name))
    }

    pub(crate) fn subnet_mut(&mut self, vpc: &VpcName, name: &Name) -> Result<&mut Subnet> {
        self.subnet(vpc, name)?;
        let subnet = self.vpc_mut(vpc)?.subnets.get_mut(name);
        subnet.ok_or_else(|| Failure::not_found(format!("subnet `{vpc}/{name}` does not exist")))
    }

    /// The further instance, or which ones there are.
    pub fn instance(&self, vpc: &VpcName, subnet: &Name, name: &Name) -> Result<&Instance> {
        let found = self.subnet(vpc, subnet)?;
        found.instances.get(name).ok_or_else(|| {
            Failure::not_found(format!("instance `{vpc}/{subnet}/{name}` does not exist")).hint(there_are(
                "further instances",
                "add-instance",
                found.instances.keys().map(Name::as_str),
            ))
        })
    }

    /// Does everything that the path names exist?
    pub fn check_target(&self, target: &Target) -> Result<()> {
        match (&target.subnet, &target.instance) {
            (None, _) => self.vpc(&target.vpc).map(|_| ()),
            (Some(subnet), None) => self.subnet(&target.vpc, subnet).map(|_| ()),
            (Some(subnet), Some(instance)) => self.instance(&target.vpc, subnet, instance).map(|_| ()),
        }
    }

    /// The peerings that the VPC is an end of.
    pub fn peerings_of<'a>(&'a self, vpc: &'a VpcName) -> impl Iterator<Item = &'a Peering> {
        self.peerings.iter().filter(move |peering| &peering.a == vpc || &peering.b == vpc)
    }

    /// The /31s in use.
    pub fn links(&self) -> BTreeSet<Link> {
        let uplinks = self.vpcs.values().filter_map(|vpc| vpc.uplink.map(|uplink| uplink.link));
        uplinks.chain(self.peerings.iter().map(|peering| peering.link)).collect()
    }
}

impl Vpc {
    /// The subnets that leave through NAT.
    pub fn natted(&self) -> impl Iterator<Item = (&Name, &Subnet)> {
        self.subnets.iter().filter(|(name, subnet)| match self.nat.as_ref().map(|nat| &nat.scope) {
            None => false,
            Some(NatScope::AllPublic) => subnet.kind == SubnetType::Public,
            Some(NatScope::Only(names)) => names.contains(name),
        })
    }
}

impl Subnet {
    /// The gateway's address, on the router's bridge: the first after the network's own.
    pub fn gateway(&self) -> Ipv4Addr {
        self.at(1)
    }

    /// The first instance's address: the second.
    pub fn first_address(&self) -> Ipv4Addr {
        self.at(2)
    }

    /// Address and policy of every instance; the first has no name.
    pub fn all_instances(&self) -> impl Iterator<Item = (Option<&Name>, Ipv4Addr, Option<&Policy>)> {
        let first = (None, self.first_address(), self.policy.as_ref());
        let further = self.instances.iter();
        let further = further.map(|(name, i)| (Some(name), i.address, i.policy.as_ref().or(self.policy.as_ref())));
        std::iter::once(first).chain(further)
    }

    /// The apps of an instance by port; the first instance has no name.
    pub fn apps_of(&self, instance: Option<&Name>) -> impl Iterator<Item = (Port, &App)> {
        let apps = match instance {
            None => Some(&self.apps),
            Some(name) => self.instances.get(name).map(|instance| &instance.apps),
        };
        apps.into_iter().flatten().map(|(port, app)| (*port, app))
    }

    /// The address at `offset`; a subnet is a /30 or larger, so 1 and 2 are always inside.
    fn at(&self, offset: u64) -> Ipv4Addr {
        self.cidr.address(offset).unwrap_or(self.cidr.network())
    }
}

impl Peering {
    /// Its VPCs, by which it is known: no other has the same.
    pub fn ends(&self) -> (&VpcName, &VpcName) {
        (&self.a, &self.b)
    }

    /// The other end.
    pub fn other(&self, vpc: &VpcName) -> &VpcName {
        if &self.a == vpc { &self.b } else { &self.a }
    }
}

fn missing_vpc(state: &State, name: &VpcName) -> Failure {
    Failure::not_found(format!("VPC `{name}` does not exist")).hint(there_are(
        "VPCs",
        "create-vpc",
        state.vpcs.keys().map(VpcName::as_str),
    ))
}

fn missing_subnet(vpc: &Vpc, vpc_name: &VpcName, name: &Name) -> Failure {
    Failure::not_found(format!("subnet `{vpc_name}/{name}` does not exist")).hint(there_are(
        "subnets",
        "add-subnet",
        vpc.subnets.keys().map(Name::as_str),
    ))
}

/// `there are these VPCs: a, b`, cut off after the first ten.
fn there_are<'a>(what: &str, command: &str, names: impl Iterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.len() {
        0 => format!("there are no {what} yet: `vpcctl help {command}` tells how to make one"),
        n if n > 10 => format!("there are these {what}: {} and {} more", names[..10].join(", "), n - 10),
        _ => format!("there are these {what}: {}", names.join(", ")),
    }
}
