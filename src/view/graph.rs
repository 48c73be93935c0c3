//! What `graph` draws: the network as boxes in boxes with lines between them. Each format has a file of its own, and all of
//! them draw the same; for programs it is nodes and edges.

pub mod dot;
pub mod layout;
pub mod lines;
pub mod mermaid;
pub mod nodes;
pub mod svg;
pub mod text;

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::model::app::{App, Port};
use crate::model::cidr::Cidr;
use crate::model::name::{IfName, Name, VpcName};
use crate::model::owner::Owner;
use crate::model::policy::Policy;
use crate::model::state::{CidrPair, HostAccess, Peering, PeeringScope, State, Subnet, SubnetType, Vpc};

/// How many pairs of CIDRs of one peering are shown: JSON has them all.
const PAIRS: usize = 4;

/// How many of the subnets that NAT serves are named: each of them says so too.
const NAMED: usize = 3;

/// How much of an app's command is shown, in characters.
const APP_NAME: usize = 20;

/// The network, or some VPCs of it.
#[derive(Debug)]
pub struct Network {
    /// The interfaces that the VPCs leave by.
    pub wans: BTreeSet<IfName>,
    /// The VPCs, by name.
    pub vpcs: Vec<VpcBox>,
    /// The peerings between these VPCs.
    pub peerings: Vec<Peered>,
}

/// A VPC with what is in it.
#[derive(Debug)]
pub struct VpcBox {
    /// Its name.
    pub name: VpcName,
    /// Its addresses.
    pub cidr: Cidr,
    /// What its router connects it to: what has no line is told by its words alone.
    pub ways: Vec<Way>,
    /// Its subnets, by name.
    pub subnets: Vec<SubnetBox>,
}

/// A way out of a VPC or into it.
#[derive(Debug)]
pub struct Way {
    /// Where it leads.
    pub to: To,
    /// What may pass, a line each.
    pub words: Vec<String>,
}

/// Where a way leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// To the internet, by an interface of the host.
    Internet(IfName),
    /// From the host, which may open connections.
    Host,
    /// To a peer.
    Peer(VpcName),
    /// Nowhere.
    Nowhere,
}

/// A subnet with its instances.
#[derive(Debug)]
pub struct SubnetBox {
    /// Its name.
    pub name: Name,
    /// Its addresses.
    pub cidr: Cidr,
    /// The router's address in it.
    pub gateway: Ipv4Addr,
    /// Public or private.
    pub kind: SubnetType,
    /// Whether NAT serves it.
    pub natted: bool,
    /// Its policy.
    pub policy: Option<Rules>,
    /// Its instances; the first has the subnet's name.
    pub instances: Vec<InstanceBox>,
}

/// An instance.
#[derive(Debug)]
pub struct InstanceBox {
    /// Its path.
    pub path: String,
    /// Its own name; the first instance has its subnet's.
    pub name: Name,
    /// Its address.
    pub address: Ipv4Addr,
    /// A policy of its own.
    pub policy: Option<Rules>,
    /// What runs in it, by port.
    pub apps: Vec<(Port, String)>,
}

/// How many rules a policy has.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// For connections that others open.
    pub ingress: usize,
    /// For connections that the instance opens.
    pub egress: usize,
}

/// Two VPCs of the picture that are peered.
#[derive(Debug)]
pub struct Peered {
    /// The one whose name sorts first, and the other.
    pub ends: [VpcName; 2],
    /// Whether the first, and whether the other, may be connected to.
    pub enters: [bool; 2],
    /// What may pass, pair by pair; everything, where there is no list.
    pub allowed: Option<Vec<CidrPair>>,
}

impl Network {
    /// Of all VPCs, or of these.
    pub fn new(state: &State, only: &BTreeSet<VpcName>) -> Self {
        let chosen = |name: &VpcName| only.is_empty() || only.contains(name);
        let vpcs = state.vpcs.iter().filter(|(name, _)| chosen(name));
        let peerings = state.peerings.iter().filter(|peering| chosen(&peering.a) && chosen(&peering.b));
        Network {
            wans: vpcs.clone().filter_map(|(_, vpc)| vpc.nat.as_ref().map(|nat| nat.wan.clone())).collect(),
            vpcs: vpcs.map(|(name, vpc)| VpcBox::new(state, name, vpc)).collect(),
            peerings: peerings.map(|peering| Peered::new(state, peering)).collect(),
        }
    }

    /// May the host open connections to any of the VPCs?
    pub fn has_host_access(&self) -> bool {
        self.vpcs.iter().flat_map(|vpc| &vpc.ways).any(|way| way.to == To::Host)
    }
}

impl VpcBox {
    fn new(state: &State, name: &VpcName, vpc: &Vpc) -> Self {
        let natted: BTreeSet<&Name> = vpc.natted().map(|(name, _)| name).collect();
        let subnets = vpc.subnets.iter();
        VpcBox {
            name: name.clone(),
            cidr: vpc.cidr,
            ways: ways(state, name, vpc),
            subnets: subnets.map(|(subnet, found)| SubnetBox::new(name, subnet, found, &natted)).collect(),
        }
    }
}

/// Where a VPC's router leads: the internet, the host, peers.
fn ways(state: &State, name: &VpcName, vpc: &Vpc) -> Vec<Way> {
    let internet = vpc.nat.as_ref().map(|nat| {
        let subnets: Vec<&str> = vpc.natted().map(|(name, _)| name.as_str()).collect();
        let of = match subnets.len() {
            0 => "no subnet yet".into(),
            1..=NAMED => subnets.join(", "),
            many => format!("{many} subnets"),
        };
        Way { to: To::Internet(nat.wan.clone()), words: vec![format!("NAT by {} for {of}", nat.wan)] }
    });
    let host = match &vpc.host_access {
        HostAccess::On => Some(Way { to: To::Host, words: vec!["host access".into()] }),
        HostAccess::Overlaps(what) => {
            Some(Way { to: To::Nowhere, words: vec![format!("no host access: overlaps {what}")] })
        }
        HostAccess::Off => None,
    };
    let peers = state.peerings_of(name).map(|peering| {
        let other = peering.other(name);
        Way { to: To::Peer(other.clone()), words: peer_words(other, &peering.scope) }
    });
    let ways: Vec<Way> = internet.into_iter().chain(host).chain(peers).collect();
    if ways.is_empty() { vec![Way { to: To::Nowhere, words: vec!["no way in or out".into()] }] } else { ways }
}

fn peer_words(other: &VpcName, scope: &PeeringScope) -> Vec<String> {
    let mut allowed = allowed_words(pairs(scope).as_deref());
    if let [word] = &allowed[..] {
        return vec![format!("peer {other}: {word}")];
    }
    allowed.insert(0, format!("peer {other}:"));
    allowed
}

/// The pairs of CIDRs that a peering is for; everything, where there is no list.
fn pairs(scope: &PeeringScope) -> Option<Vec<CidrPair>> {
    match scope {
        PeeringScope::Everything => None,
        PeeringScope::Only(pairs) => Some(pairs.iter().copied().collect()),
    }
}

/// What may pass, a line each.
fn allowed_words(pairs: Option<&[CidrPair]>) -> Vec<String> {
    match pairs {
        None => vec!["everything".into()],
        Some([]) => vec!["nothing".into()],
        Some(pairs) => {
            let shown = pairs.iter().take(PAIRS).map(|pair| format!("{} to {}", pair.src, pair.dst));
            let more = pairs.len().saturating_sub(PAIRS);
            shown.chain((more > 0).then(|| format!("and {more} more"))).collect()
        }
    }
}

impl SubnetBox {
    fn new(vpc: &VpcName, name: &Name, subnet: &Subnet, natted: &BTreeSet<&Name>) -> Self {
        let instances = subnet.all_instances().map(|(instance, address, _)| InstanceBox {
            path: Owner::instance(vpc, name, instance).to_string(),
            name: instance.unwrap_or(name).clone(),
            address,
            policy: instance.and_then(|name| subnet.instances.get(name)?.policy.as_ref()).map(Rules::of),
            apps: subnet.apps_of(instance).map(|(port, app)| (port, app_name(app))).collect(),
        });
        SubnetBox {
            name: name.clone(),
            cidr: subnet.cidr,
            gateway: subnet.gateway(),
            kind: subnet.kind,
            natted: natted.contains(name),
            policy: subnet.policy.as_ref().map(Rules::of),
            instances: instances.collect(),
        }
    }

    /// Public or private, and whether that is of use.
    pub fn kind_words(&self) -> String {
        format!("{}{}", self.kind.as_str(), if self.natted { ", NAT" } else { "" })
    }
}

/// What runs, in a word: of a program its name, without the directory and the arguments.
fn app_name(app: &App) -> String {
    let program = app.command.first().map_or("web server", |program| program.rsplit('/').next().unwrap_or(program));
    let name: String = program.chars().map(|c| if c.is_control() { ' ' } else { c }).take(APP_NAME + 1).collect();
    if name.chars().count() <= APP_NAME { name } else { name.chars().take(APP_NAME - 1).chain(['…']).collect() }
}

impl Rules {
    fn of(policy: &Policy) -> Self {
        Rules { ingress: policy.ingress.rules.len(), egress: policy.egress.rules.len() }
    }

    /// As `inspect` says it.
    pub fn words(self) -> String {
        format!("policy {} in, {} out", self.ingress, self.egress)
    }
}

impl InstanceBox {
    /// The lines of its box: its name, its address, its apps, its policy.
    pub fn lines(&self) -> Vec<String> {
        let apps = self.apps.iter().map(|(port, app)| format!(":{port} {app}"));
        let policy = self.policy.map(Rules::words);
        [self.name.to_string(), self.address.to_string()].into_iter().chain(apps).chain(policy).collect()
    }
}

impl Peered {
    fn new(state: &State, peering: &Peering) -> Self {
        let allowed = pairs(&peering.scope);
        let is_of_a = |cidr: Cidr| state.vpcs.get(&peering.a).is_some_and(|vpc| vpc.cidr.covers(cidr));
        let enters = match &allowed {
            None => [true, true],
            Some(pairs) => [pairs.iter().any(|p| is_of_a(p.dst)), pairs.iter().any(|p| is_of_a(p.src))],
        };
        Peered { ends: [peering.a.clone(), peering.b.clone()], enters, allowed }
    }

    /// What may pass, a line each.
    pub fn words(&self) -> Vec<String> {
        allowed_words(self.allowed.as_deref())
    }
}
