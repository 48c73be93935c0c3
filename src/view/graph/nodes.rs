//! The network as nodes and edges, for programs that draw.

use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::app::Port;
use crate::model::cidr::Cidr;
use crate::model::name::{IfName, Name};
use crate::model::state::{CidrPair, SubnetType};
use crate::view::VERSION;
use crate::view::graph::{InstanceBox, Network, Rules, SubnetBox, To, VpcBox};

/// What `graph` prints as JSON.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Graph {
    version: u32,
    nodes: Vec<Node>,
    edges: Vec<Edge>,
}

/// A box.
#[derive(Debug, Serialize, JsonSchema)]
struct Node {
    /// Unique in the graph: `internet`, `host`, or the kind and the path, such as `subnet:vpc1/web`.
    id: String,
    /// The node that it is in.
    parent: Option<String>,
    #[serde(flatten)]
    what: What,
}

/// What a node is.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum What {
    Internet,
    Host {
        /// Those that VPCs leave by.
        interfaces: Vec<IfName>,
    },
    Vpc {
        name: String,
        cidr: Cidr,
    },
    Subnet {
        name: Name,
        cidr: Cidr,
        #[serde(rename = "type")]
        kind: SubnetType,
        gateway: Ipv4Addr,
        /// Does NAT serve it?
        nat: bool,
        policy: Option<PolicySize>,
    },
    Instance {
        name: Name,
        address: Ipv4Addr,
        /// Its own, in place of its subnet's.
        policy: Option<PolicySize>,
        apps: Vec<GraphApp>,
    },
}

/// How many rules a policy has.
#[derive(Debug, Serialize, JsonSchema)]
struct PolicySize {
    ingress: usize,
    egress: usize,
}

#[derive(Debug, Serialize, JsonSchema)]
struct GraphApp {
    port: Port,
    name: String,
}

/// A line.
#[derive(Debug, Serialize, JsonSchema)]
struct Edge {
    from: String,
    to: String,
    #[serde(flatten)]
    way: EdgeWay,
}

/// What may pass.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case")]
enum EdgeWay {
    /// Subnets reach the internet by the host's interface.
    Nat { interface: IfName, subnets: Vec<Name> },
    /// The host may open connections.
    HostAccess,
    /// Between these CIDRs, each from source to destination; everything, where there is no list.
    Peering { allowed: Option<Vec<CidrPair>> },
}

/// The nodes and edges of a network: each node after the one that it is in.
pub fn graph(network: &Network) -> Graph {
    let mut nodes = Vec::new();
    if !network.wans.is_empty() {
        nodes.push(Node { id: "internet".into(), parent: None, what: What::Internet });
    }
    if !network.wans.is_empty() || network.has_host_access() {
        let interfaces = network.wans.iter().cloned().collect();
        nodes.push(Node { id: "host".into(), parent: None, what: What::Host { interfaces } });
    }
    nodes.extend(network.vpcs.iter().flat_map(vpc_nodes));
    let ways = network.vpcs.iter().flat_map(way_edges);
    let peerings = network.peerings.iter().map(|peered| {
        let [from, to] = peered.ends.each_ref().map(|vpc| format!("vpc:{vpc}"));
        Edge { from, to, way: EdgeWay::Peering { allowed: peered.allowed.clone() } }
    });
    Graph { version: VERSION, nodes, edges: ways.chain(peerings).collect() }
}

fn vpc_nodes(vpc: &VpcBox) -> Vec<Node> {
    let id = format!("vpc:{}", vpc.name);
    let mut nodes =
        vec![Node { id: id.clone(), parent: None, what: What::Vpc { name: vpc.name.to_string(), cidr: vpc.cidr } }];
    for subnet in &vpc.subnets {
        let subnet_id = format!("subnet:{}/{}", vpc.name, subnet.name);
        nodes.push(Node { id: subnet_id.clone(), parent: Some(id.clone()), what: subnet_node(subnet) });
        let instances = subnet.instances.iter().map(|instance| Node {
            id: format!("instance:{}", instance.path),
            parent: Some(subnet_id.clone()),
            what: instance_node(instance),
        });
        nodes.extend(instances);
    }
    nodes
}

fn subnet_node(subnet: &SubnetBox) -> What {
    What::Subnet {
        name: subnet.name.clone(),
        cidr: subnet.cidr,
        kind: subnet.kind,
        gateway: subnet.gateway,
        nat: subnet.natted,
        policy: subnet.policy.map(PolicySize::of),
    }
}

fn instance_node(instance: &InstanceBox) -> What {
    let apps = instance.apps.iter().map(|(port, name)| GraphApp { port: *port, name: name.clone() });
    What::Instance {
        name: instance.name.clone(),
        address: instance.address,
        policy: instance.policy.map(PolicySize::of),
        apps: apps.collect(),
    }
}

fn way_edges(vpc: &VpcBox) -> Vec<Edge> {
    let id = format!("vpc:{}", vpc.name);
    let natted = || vpc.subnets.iter().filter(|subnet| subnet.natted).map(|subnet| subnet.name.clone()).collect();
    let edge = |to: &To| match to {
        To::Internet(wan) => {
            let way = EdgeWay::Nat { interface: wan.clone(), subnets: natted() };
            Some(Edge { from: id.clone(), to: "internet".into(), way })
        }
        To::Host => Some(Edge { from: "host".into(), to: id.clone(), way: EdgeWay::HostAccess }),
        To::Peer(_) | To::Nowhere => None,
    };
    vpc.ways.iter().filter_map(|way| edge(&way.to)).collect()
}

impl PolicySize {
    fn of(rules: Rules) -> Self {
        PolicySize { ingress: rules.ingress, egress: rules.egress }
    }
}
