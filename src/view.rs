//! What `list` and `inspect` print: values with a versioned schema for programs, tables for people.

pub mod apps;
pub mod drift;
pub mod explain;
pub mod graph;
pub mod reach;
pub mod test;
pub mod topology;
pub mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::cidr::Cidr;
use crate::model::kernel_names::{self as names, Netns};
use crate::model::name::{IfName, Name, VpcName};
use crate::model::owner::Owner;
use crate::model::policy::Policy;
use crate::model::state::{CidrPair, HostAccess, Peering, PeeringScope, State, Subnet, SubnetType, Vpc};
use crate::plan::firewall;
use crate::plan::holds::Holding;
use crate::plan::observed::Observed;
use crate::plan::op::Op;
use crate::ui::{style, table};

/// The version of the schema of what is printed as JSON and YAML. Fields may be added within a version.
pub const VERSION: u32 = 1;

/// What `list` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct List {
    version: u32,
    vpcs: Vec<ListedVpc>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListedVpc {
    name: VpcName,
    cidr: Cidr,
    subnets: Vec<ListedSubnet>,
    nat: Option<IfName>,
    peers: Vec<VpcName>,
    host_access: bool,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListedSubnet {
    name: Name,
    cidr: Cidr,
    #[serde(rename = "type")]
    kind: SubnetType,
    instances: usize,
}

/// The VPCs, from the state alone.
pub fn list(state: &State) -> List {
    let listed = |(name, vpc): (&VpcName, &Arc<Vpc>)| ListedVpc {
        name: name.clone(),
        cidr: vpc.cidr,
        subnets: vpc.subnets.iter().map(listed_subnet).collect(),
        nat: vpc.nat.as_ref().map(|nat| nat.wan.clone()),
        peers: state.peerings_of(name).map(|peering| peering.other(name).clone()).collect(),
        host_access: vpc.host_access == HostAccess::On,
    };
    List { version: VERSION, vpcs: state.vpcs.iter().map(listed).collect() }
}

fn listed_subnet((name, subnet): (&Name, &Subnet)) -> ListedSubnet {
    let instances = subnet.all_instances().count();
    ListedSubnet { name: name.clone(), cidr: subnet.cidr, kind: subnet.kind, instances }
}

/// `list` for people.
pub fn list_table(list: &List) -> String {
    if list.vpcs.is_empty() {
        return "no VPCs; `vpcctl create-vpc NAME CIDR` makes one\n".into();
    }
    let rows = list.vpcs.iter().map(|vpc| {
        let peers: Vec<&str> = vpc.peers.iter().map(VpcName::as_str).collect();
        vec![
            vpc.name.to_string(),
            vpc.cidr.to_string(),
            vpc.subnets.len().to_string(),
            vpc.subnets.iter().map(|subnet| subnet.instances).sum::<usize>().to_string(),
            vpc.nat.as_ref().map_or("-".into(), IfName::to_string),
            or_dash(peers.join(", ")),
            if vpc.host_access { "yes" } else { "no" }.into(),
        ]
    });
    table(&["VPC", "CIDR", "SUBNETS", "INSTANCES", "NAT", "PEERS", "HOST ACCESS"], rows)
}

/// What `inspect` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Inspection {
    version: u32,
    vpcs: Vec<InspectedVpc>,
    peerings: Vec<InspectedPeering>,
    host: Kernel,
}

#[derive(Debug, Serialize, JsonSchema)]
struct InspectedVpc {
    name: VpcName,
    cidr: Cidr,
    namespace: String,
    bridge: String,
    mtu: u32,
    host_access: bool,
    host_access_note: Option<String>,
    uplink: Option<InspectedUplink>,
    nat: Option<InspectedNat>,
    subnets: Vec<InspectedSubnet>,
    kernel: Kernel,
}

#[derive(Debug, Serialize, JsonSchema)]
struct InspectedUplink {
    interface: String,
    host_address: Ipv4Addr,
    router_address: Ipv4Addr,
}

#[derive(Debug, Serialize, JsonSchema)]
struct InspectedNat {
    interface: IfName,
    subnets: Vec<Name>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct InspectedSubnet {
    name: Name,
    cidr: Cidr,
    #[serde(rename = "type")]
    kind: SubnetType,
    gateway: Ipv4Addr,
    policy: Option<Policy>,
    instances: Vec<InspectedInstance>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct InspectedInstance {
    path: String,
    namespace: String,
    address: Ipv4Addr,
    mac: String,
    policy: Option<Policy>,
    kernel: Kernel,
}

#[derive(Debug, Serialize, JsonSchema)]
struct InspectedPeering {
    vpcs: [VpcName; 2],
    addresses: [Ipv4Addr; 2],
    allowed: Option<Vec<CidrPair>>,
    kernel: Kernel,
}

/// What the kernel has of an owner's objects.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Kernel {
    /// Was each object compared, or only the namespace looked for?
    compared: bool,
    /// How many there should be.
    objects: usize,
    /// What is not there, or not as it should be.
    wrong: Vec<String>,
}

impl Kernel {
    /// Nothing to compare yet.
    fn new(compared: bool) -> Self {
        Kernel { compared, objects: 0, wrong: Vec::new() }
    }

    /// Of an owner whose namespace alone was looked for.
    fn of_presence(owner: &Owner, is_there: &dyn Fn(&Netns) -> bool) -> Self {
        let netns = match owner {
            Owner::Vpc(vpc) => names::router(vpc),
            Owner::Subnet(vpc, subnet) => names::instance(vpc, subnet, None),
            Owner::Instance(vpc, subnet, instance) => names::instance(vpc, subnet, Some(instance)),
            Owner::Host | Owner::Peering(..) => return Kernel::new(false),
        };
        let wrong = (!is_there(&netns)).then(|| format!("namespace {netns} is missing"));
        Kernel { objects: 1, wrong: wrong.into_iter().collect(), ..Kernel::new(false) }
    }

    fn describe(&self) -> String {
        match (self.wrong.len(), self.compared) {
            (0, true) => "ok".into(),
            (wrong, true) => format!("{wrong} of {} wrong", self.objects),
            (0, false) => "there".into(),
            (_, false) => "missing".into(),
        }
    }
}

/// What `inspect` knows of the kernel.
#[derive(Clone, Copy)]
pub enum Look<'a> {
    /// What it has of each of these objects.
    Whole(&'a [Op], &'a Observed),
    /// Whether there is a namespace of this name.
    Presence(&'a dyn Fn(&Netns) -> bool),
}

/// VPCs with all that is in them, and what of it the kernel has.
pub fn inspection(state: &State, only: Option<&VpcName>, look: Look<'_>) -> Inspection {
    let compared = match look {
        Look::Whole(ops, observed) => compare(ops, observed),
        Look::Presence(_) => BTreeMap::new(),
    };
    let of = |owner: Owner| match look {
        Look::Whole(..) => compared.get(&owner).cloned().unwrap_or(Kernel::new(true)),
        Look::Presence(is_there) => Kernel::of_presence(&owner, is_there),
    };
    let chosen = |name: &VpcName| only.is_none_or(|only| only == name);
    let vpcs = state.vpcs.iter().filter(|(name, _)| chosen(name)).map(|(name, vpc)| inspected(name, vpc, &of));
    let peerings = state.peerings.iter().filter(|peering| chosen(&peering.a) || chosen(&peering.b));
    let peerings = peerings.map(|peering| inspected_peering(peering, &of));
    Inspection { version: VERSION, vpcs: vpcs.collect(), peerings: peerings.collect(), host: of(Owner::Host) }
}

fn compare(ops: &[Op], observed: &Observed) -> BTreeMap<Owner, Kernel> {
    let mut kernel: BTreeMap<Owner, Kernel> = BTreeMap::new();
    for op in ops {
        let entry = kernel.entry(op.owner.clone()).or_insert(Kernel::new(true));
        entry.objects += 1;
        let how = match op.holding(observed) {
            Holding::Held => continue,
            Holding::Absent => "is missing",
            Holding::Differs(_) | Holding::Misplaced(_) => "is not as it should be",
            Holding::Unmarked | Holding::Foreign => "is not vpcctl's",
        };
        entry.wrong.push(format!("{} {how}", op.identity()));
    }
    kernel
}

fn inspected(name: &VpcName, vpc: &Vpc, kernel: &dyn Fn(Owner) -> Kernel) -> InspectedVpc {
    InspectedVpc {
        name: name.clone(),
        cidr: vpc.cidr,
        namespace: names::router(name).to_string(),
        bridge: names::bridge(name).to_string(),
        mtu: vpc.mtu,
        host_access: vpc.host_access == HostAccess::On,
        host_access_note: match &vpc.host_access {
            HostAccess::Overlaps(what) => Some(format!("the CIDR overlaps {what}")),
            HostAccess::On | HostAccess::Off => None,
        },
        uplink: vpc.uplink.map(|uplink| InspectedUplink {
            interface: names::uplink_on_host(name).to_string(),
            host_address: uplink.link.first(),
            router_address: uplink.link.second(),
        }),
        nat: vpc.nat.as_ref().map(|nat| InspectedNat {
            interface: nat.wan.clone(),
            subnets: vpc.natted().map(|(name, _)| name.clone()).collect(),
        }),
        subnets: vpc.subnets.iter().map(|(subnet, found)| inspected_subnet(name, subnet, found, kernel)).collect(),
        kernel: kernel(Owner::Vpc(name.clone())),
    }
}

fn inspected_subnet(vpc: &VpcName, name: &Name, subnet: &Subnet, kernel: &dyn Fn(Owner) -> Kernel) -> InspectedSubnet {
    let instances = subnet.all_instances().map(|(instance, address, _)| {
        let owner = Owner::instance(vpc, name, instance);
        InspectedInstance {
            path: owner.to_string(),
            namespace: names::instance(vpc, name, instance).to_string(),
            address,
            mac: names::mac(address).into(),
            policy: instance.and_then(|instance| subnet.instances.get(instance)).and_then(|found| found.policy.clone()),
            kernel: kernel(owner),
        }
    });
    InspectedSubnet {
        name: name.clone(),
        cidr: subnet.cidr,
        kind: subnet.kind,
        gateway: subnet.gateway(),
        policy: subnet.policy.clone(),
        instances: instances.collect(),
    }
}

fn inspected_peering(peering: &Peering, kernel: &dyn Fn(Owner) -> Kernel) -> InspectedPeering {
    InspectedPeering {
        vpcs: [peering.a.clone(), peering.b.clone()],
        addresses: [peering.link.first(), peering.link.second()],
        allowed: match &peering.scope {
            PeeringScope::Everything => None,
            PeeringScope::Only(pairs) => Some(pairs.iter().copied().collect()),
        },
        kernel: peering_kernel(peering, kernel),
    }
}

/// What lets a peering's packets pass is a chain of each of its routers, too.
fn peering_kernel(peering: &Peering, kernel: &dyn Fn(Owner) -> Kernel) -> Kernel {
    let Kernel { compared, objects, mut wrong } = kernel(Owner::Peering(peering.a.clone(), peering.b.clone()));
    let of_routers = [&peering.a, &peering.b].map(|vpc| kernel(Owner::Vpc(vpc.clone())).wrong);
    let concerns = |object: &String| !compared || object.contains(firewall::PEERING);
    wrong.extend(of_routers.into_iter().flatten().filter(concerns));
    Kernel { compared, objects: objects + 2, wrong }
}

/// `inspect` for people.
pub fn inspection_tables(inspection: &Inspection) -> String {
    if inspection.vpcs.is_empty() {
        return "no VPCs; `vpcctl create-vpc NAME CIDR` makes one\n".into();
    }
    let mut text: String = inspection.vpcs.iter().map(vpc_text).collect();
    if !inspection.peerings.is_empty() {
        let rows = inspection.peerings.iter().map(|peering| {
            let [a, b] = &peering.vpcs;
            vec![format!("{a} - {b}"), allowed_text(peering.allowed.as_deref()), peering.kernel.describe()]
        });
        text.push_str(&table(&["PEERING", "ALLOWED", "KERNEL"], rows));
        text.push('\n');
    }
    text.push_str(&wrong_text(inspection));
    text
}

fn vpc_text(vpc: &InspectedVpc) -> String {
    let uplink = vpc
        .uplink
        .as_ref()
        .map(|u| format!("{} {} on the host, uplink {} in the router", u.interface, u.host_address, u.router_address));
    let nat = vpc.nat.as_ref().map(|nat| {
        let subnets: Vec<&str> = nat.subnets.iter().map(Name::as_str).collect();
        format!("by {} for {}", nat.interface, or_dash(subnets.join(", ")))
    });
    let note = vpc.host_access_note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
    let host_access = format!("{}{note}", if vpc.host_access { "on" } else { "off" });
    let rows = [
        ["VPC", &format!("{}  {}", vpc.name, vpc.cidr)],
        ["router", &format!("namespace {}, bridge {}, MTU {}", vpc.namespace, vpc.bridge, vpc.mtu)],
        ["uplink", &uplink.unwrap_or("none".into())],
        ["NAT", &nat.unwrap_or("none".into())],
        ["host access", &host_access],
        ["kernel", &style::toned(&vpc.kernel.describe())],
    ];
    let head: String = rows.iter().map(|[label, value]| format!("{label:<13}{value}\n")).collect();
    let instances = vpc.subnets.iter().flat_map(|subnet| subnet.instances.iter().map(move |i| instance_row(subnet, i)));
    let headings = ["INSTANCE", "TYPE", "SUBNET", "GATEWAY", "ADDRESS", "NAMESPACE", "POLICY", "KERNEL"];
    let body = if vpc.subnets.is_empty() { String::new() } else { format!("\n{}", table(&headings, instances)) };
    format!("{head}{body}\n")
}

fn instance_row(subnet: &InspectedSubnet, instance: &InspectedInstance) -> Vec<String> {
    let policy = instance.policy.as_ref().or(subnet.policy.as_ref());
    let policy = policy
        .map_or("-".into(), |policy| format!("{} in, {} out", policy.ingress.rules.len(), policy.egress.rules.len()));
    vec![
        instance.path.clone(),
        subnet.kind.as_str().into(),
        subnet.cidr.to_string(),
        subnet.gateway.to_string(),
        instance.address.to_string(),
        instance.namespace.clone(),
        policy,
        instance.kernel.describe(),
    ]
}

fn allowed_text(pairs: Option<&[CidrPair]>) -> String {
    match pairs {
        None => "everything".into(),
        Some(pairs) => pairs.iter().map(|pair| format!("{} to {}", pair.src, pair.dst)).collect::<Vec<_>>().join(", "),
    }
}

/// What the kernel lacks, line by line.
fn wrong_text(inspection: &Inspection) -> String {
    let instances = inspection.vpcs.iter().flat_map(|vpc| &vpc.subnets).flat_map(|subnet| &subnet.instances);
    let all = std::iter::once(&inspection.host)
        .chain(inspection.vpcs.iter().map(|vpc| &vpc.kernel))
        .chain(instances.map(|instance| &instance.kernel))
        .chain(inspection.peerings.iter().map(|peering| &peering.kernel));
    let mut named = BTreeSet::new();
    let wrong: Vec<&String> = all.flat_map(|kernel| &kernel.wrong).filter(|object| named.insert(*object)).collect();
    if wrong.is_empty() {
        return String::new();
    }
    let lines: String = wrong.iter().map(|line| format!("  {line}\n")).collect();
    format!("Not as it should be in the kernel; `vpcctl repair` mends it:\n{lines}")
}

fn or_dash(text: String) -> String {
    if text.is_empty() { "-".into() } else { text }
}
