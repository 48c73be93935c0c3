//! What a topology file may hold: the same types are read, written, and made a JSON Schema of.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize};

use super::choice::{Allow, NatChoice, PolicyChoice, chosen};
use super::expect::Expectation;
use crate::error::Failure;
use crate::model::app::{MAX_WAIT, Port, UserName};
use crate::model::check::MIN_MTU;
use crate::model::cidr::Cidr;
use crate::model::name::{IfName, Name, VpcName};
use crate::model::policy::refuse;
use crate::model::policy_file::given;
use crate::model::state::SubnetType;

/// The version of topology files. Fields may be added within a version.
pub const VERSION: u32 = 1;

/// A network of VPCs, as a file describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "topology")]
pub struct Topology {
    /// The version of this format.
    pub version: Version,
    /// Where an editor finds the schema of topology files. Of no other meaning.
    #[serde(default, rename = "$schema", skip_serializing, deserialize_with = "given")]
    pub schema: Option<String>,
    /// The VPCs. They are made in this order.
    #[serde(deserialize_with = "listed")]
    pub vpcs: Vec<VpcEntry>,
    /// The peerings.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "listed")]
    pub peerings: Vec<PeeringEntry>,
    /// Who is to reach whom, for `vpcctl test`: of no meaning to `plan`, `apply` and `destroy`.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "listed")]
    pub expect: Vec<Expectation>,
}

/// A VPC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "vpc")]
pub struct VpcEntry {
    /// Its name.
    pub name: VpcName,
    /// Its addresses, /8 to /30. Another CIDR replaces the VPC.
    pub cidr: Cidr,
    /// The MTU of all its links, in bytes; without it: that of the way out when the VPC is made.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "mtu")]
    #[schemars(range(min = MIN_MTU, max = 65535))]
    pub mtu: Option<u16>,
    /// Whether the host may open connections to its instances; without it: yes where the VPC is made.
    #[serde(default, alias = "host_access", skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub host_access: Option<bool>,
    /// The host's interface that NAT uses; without it: the default route's.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub interface: Option<IfName>,
    /// The link to the host; without it: vpcctl chooses.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub uplink: Option<UplinkEntry>,
    /// Internet access for public subnets; without it: none where the VPC is made.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub nat: Option<NatChoice>,
    /// Its subnets.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "listed")]
    pub subnets: Vec<SubnetEntry>,
}

/// The link between a VPC's router and the host, where something needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "uplink")]
pub struct UplinkEntry {
    /// Its two addresses, as a /31.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub addresses: Option<Cidr>,
    /// Where they are taken from.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub pool: Option<Cidr>,
}

/// How a VPC's public subnets reach the internet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "nat")]
pub struct NatFields {
    /// The host's interface; without it: the VPC's.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub interface: Option<IfName>,
    /// The public subnets that have it; without it: all.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub subnets: Option<BTreeSet<Name>>,
    /// Whom instances ask for names, three at most; an empty list: whom the host asks.
    #[serde(default, alias = "dns", skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub nameservers: Option<Vec<Ipv4Addr>>,
}

/// A subnet, with its first instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "subnet-entry")]
pub struct SubnetEntry {
    /// Its name.
    pub name: Name,
    /// Its addresses, inside the VPC's. Another CIDR replaces the subnet.
    pub cidr: Cidr,
    /// Whether it may have internet access; without it: private.
    #[serde(default, rename = "type")]
    pub kind: SubnetType,
    /// The policy of its instances that have none of their own: a file's path, or the policy itself; `null`: none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "chosen")]
    pub policy: Option<PolicyChoice>,
    /// The apps of its first instance.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "listed")]
    pub apps: Vec<AppEntry>,
    /// Its further instances.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "listed")]
    pub instances: Vec<InstanceEntry>,
}

/// A further instance of a subnet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "instance")]
pub struct InstanceEntry {
    /// Its name.
    pub name: Name,
    /// Its address; without it: the lowest free one. Another address replaces the instance.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub address: Option<Ipv4Addr>,
    /// Its own policy, in place of the subnet's: a file's path, or the policy itself; `null`: none.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "chosen")]
    pub policy: Option<PolicyChoice>,
    /// Its apps.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "listed")]
    pub apps: Vec<AppEntry>,
}

/// An app of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(rename = "app-entry")]
pub struct AppEntry {
    /// The TCP port that it listens on.
    #[serde(default = "default_port")]
    pub port: Port,
    /// The program and its arguments; without it: the built-in web server.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "listed")]
    pub command: Vec<String>,
    /// The user that it runs as, by name or number; without it: nobody.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub user: Option<UserName>,
    /// Where it runs, from the file's directory on; without it: there, and / for the built-in web server.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "given")]
    pub directory: Option<String>,
    /// How many seconds it may take until it answers; 0 doesn't wait.
    #[serde(default = "default_wait", deserialize_with = "wait")]
    #[schemars(range(max = MAX_WAIT))]
    pub wait: u16,
}

/// A peering of two VPCs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "PeeringFields")]
#[schemars(rename = "peering", with = "PeeringFields")]
pub struct PeeringEntry {
    /// The two VPCs.
    pub vpcs: [VpcName; 2],
    /// The addresses of its link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<Cidr>,
    /// What may pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Allow>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct PeeringFields {
    /// The two VPCs.
    #[serde(default, deserialize_with = "given")]
    vpcs: Option<[VpcName; 2]>,
    /// One VPC, where `vpcs` isn't given.
    #[serde(default, alias = "vpc1", deserialize_with = "given")]
    a: Option<VpcName>,
    /// The other VPC.
    #[serde(default, alias = "vpc2", deserialize_with = "given")]
    b: Option<VpcName>,
    /// The addresses of its link, as a /31: the first is that of the VPC whose name sorts first; without it: vpcctl chooses.
    #[serde(default, deserialize_with = "given")]
    link: Option<Cidr>,
    /// Who may open connections to whom; without it: everybody where the peering is made.
    #[serde(default, deserialize_with = "given")]
    allow: Option<Allow>,
}

impl TryFrom<PeeringFields> for PeeringEntry {
    type Error = String;

    fn try_from(fields: PeeringFields) -> Result<Self, String> {
        let PeeringFields { vpcs, a, b, link, allow } = fields;
        let vpcs = match (vpcs, a, b) {
            (Some(vpcs), None, None) => vpcs,
            (None, Some(a), Some(b)) => [a, b],
            _ => return Err("a peering has two VPCs\nwrite `vpcs: [vpc1, vpc2]`".into()),
        };
        Ok(PeeringEntry { vpcs, link, allow })
    }
}

/// A port as `deploy-app` chooses it.
fn default_port() -> Port {
    Port::MIN.saturating_add(8079)
}

fn default_wait() -> u16 {
    10
}

/// A list that is there: an empty place where one begins is what is left of a file that was cut off, and would take away all.
fn listed<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    let list: Option<Vec<T>> = Deserialize::deserialize(deserializer)?;
    list.ok_or_else(|| refuse(Failure::usage("there is no list").hint("write `[]` for an empty one")))
}

fn mtu<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    let mtu = u16::deserialize(deserializer)?;
    let small = || Failure::usage(format!("{mtu} is no MTU of IPv4")).hint(format!("it is {MIN_MTU} to 65535"));
    if u32::from(mtu) < MIN_MTU { Err(refuse(small())) } else { Ok(Some(mtu)) }
}

fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    let wait = u16::deserialize(deserializer)?;
    let long = || Failure::usage(format!("{wait} seconds are too many")).hint(format!("it is 0 to {MAX_WAIT}"));
    if wait > MAX_WAIT { Err(refuse(long())) } else { Ok(wait) }
}

/// The version: there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Version;

impl TryFrom<u32> for Version {
    type Error = String;

    fn try_from(version: u32) -> Result<Self, String> {
        let unknown = || format!("version {version} is not known\nthis vpcctl reads version {VERSION}");
        (version == VERSION).then_some(Version).ok_or_else(unknown)
    }
}

impl From<Version> for u32 {
    fn from(_: Version) -> u32 {
        VERSION
    }
}

impl JsonSchema for Version {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"const": VERSION})
    }
}
