//! From a state to kernel objects, from two states to a plan, from a plan to the tools' own input. Pure: no process, file,
//! clock or environment.

pub mod barrier;
pub mod batch;
pub mod claims;
pub mod counters;
pub mod drift;
pub mod explain;
pub mod firewall;
pub mod flow;
pub mod holds;
pub mod insertion;
pub mod launch;
pub mod line;
pub mod observed;
pub mod op;
pub mod policy;
pub mod probe;
pub mod raw_message;
pub mod reconcile;
pub mod resolver;
pub mod rule;
pub mod ruleset;
pub mod script;
pub mod sender_filter;
pub mod stray;
pub mod subject;
pub mod surplus;
pub mod topology;
pub mod trace;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::kernel_names::Netns;
use crate::model::name::{Name, VpcName};
use crate::model::state::{Peering, State, Vpc};
use crate::plan::line::Place;
use crate::plan::op::{Object, Op};

/// What leads from one state of the kernel to another, in three parts that run in this order.
///
/// What is new or changed is made before what is gone is unmade, so that a changed policy has no gap: its new sets exist before
/// its chains name them, and its old sets are destroyed when no chain does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Unmade first: what stands in the way of something that is made anew.
    pub clear: Vec<Op>,
    /// Made, in dependency order.
    pub make: Vec<Op>,
    /// Unmade, in reverse dependency order.
    pub unmake: Vec<Op>,
}

impl Plan {
    /// Nothing to do?
    pub fn is_empty(&self) -> bool {
        self.clear.is_empty() && self.make.is_empty() && self.unmake.is_empty()
    }

    /// What of it can be told by a mark, and has none while it is half-made: namespaces and links.
    pub fn marked_objects(&self) -> BTreeSet<String> {
        let all = self.clear.iter().chain(&self.make).chain(&self.unmake);
        let is_marked =
            |op: &&Op| matches!(op.object, Object::Namespace(_) | Object::Bridge { .. } | Object::Cable { .. });
        all.filter(is_marked).map(Op::identity).collect()
    }

    /// Only removals: cut off half-way, this is finished and not undone.
    pub fn only_unmakes(&self) -> bool {
        self.clear.is_empty() && self.make.is_empty()
    }
}

/// A plan, and the starts of apps that wait until it is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// All else.
    pub network: Plan,
    /// Apps alone: each can fail by itself, and the network stands.
    pub apps: Plan,
}

impl Plan {
    /// Parts the starts of apps from all else, but for those that `stay`.
    pub fn split_apps(self, stay: &dyn Fn(&Op) -> bool) -> Split {
        let waits = |op: &Op| matches!(op.object, Object::App(_)) && !stay(op);
        let (apps, make) = self.make.into_iter().partition(waits);
        Split { network: Plan { make, ..self }, apps: Plan { make: apps, ..Plan::default() } }
    }
}

/// The plan from one list of ops to another.
pub fn diff(old: Vec<Op>, new: Vec<Op>) -> Plan {
    // A whole network comes or goes: nothing has to be compared.
    if old.is_empty() || new.is_empty() {
        return Plan { clear: Vec::new(), make: new, unmake: old.into_iter().rev().collect() };
    }
    let before: BTreeMap<String, &Op> = old.iter().map(|op| (op.identity(), op)).collect();
    let after: BTreeSet<String> = new.iter().map(Op::identity).collect();
    let earlier = |op: &Op| before.get(&op.identity()).copied();
    let differing = new.iter().filter(|op| !op.replaces()).filter_map(|op| earlier(op).filter(|found| found != &op));
    let mut clear: Vec<Op> = differing.cloned().collect();
    clear.reverse();
    let cleared = Removed::new(&clear);
    let stays = |op: &&Op| earlier(op).is_some_and(|found| found.object == op.object) && !cleared.takes(op);
    let make = new.iter().filter(|op| !stays(op)).cloned().collect();
    let unmake = old.into_iter().rev().filter(|op| !after.contains(&op.identity())).collect();
    Plan { clear, make, unmake }
}

/// The plan from one state to another: [`diff`] of their ops, computed for the VPCs that differ, and in these for the subnets
/// that do.
pub fn between(old: &State, new: &State) -> Plan {
    diff(differing_ops(old, new), differing_ops(new, old))
}

/// The ops of `state` that may differ from those of `other`, and all else of the VPCs that they are of: what may have to be made
/// anew where the kernel has not what it should.
pub fn affected_ops(state: &State, other: &State) -> Vec<Op> {
    ops_of_moved(state, other, &|name| topology::vpc_ops(state, name))
}

/// The ops of `state` that may differ from those of `other`, but for those of subnets that both have: a subnet more costs the same
/// whatever the number of its neighbours.
pub fn differing_ops(state: &State, other: &State) -> Vec<Op> {
    ops_of_moved(state, other, &|name| differing_vpc_ops(state, other, name))
}

/// The ops of `old` that a plan to `new` starts from: [`differing_ops`], but of whole VPCs that go only what doesn't go with its
/// namespace. The rest is most of a network, and has no line: no namespace changes hands within a plan
/// ([`claims::refuse_change_of_hands`]).
pub fn leaving_ops(old: &State, new: &State) -> Vec<Op> {
    ops_of_moved(old, new, &|name| match new.vpcs.contains_key(name) {
        true => differing_vpc_ops(old, new, name),
        false => topology::leaving_vpc_ops(old, name),
    })
}

fn differing_vpc_ops(state: &State, other: &State, name: &VpcName) -> Vec<Op> {
    topology::vpc_ops_where(state, name, &|subnet| subnet_differs((name, subnet), state, other))
}

fn ops_of_moved(state: &State, other: &State, of_vpc: &dyn Fn(&VpcName) -> Vec<Op>) -> Vec<Op> {
    let moved = moved(state, other);
    let peerings = state.peerings.iter().filter(|peering| moved.contains(&peering.a) || moved.contains(&peering.b));
    let mut ops = topology::host_ops(state);
    ops.extend(moved.iter().flat_map(|name| of_vpc(name)));
    ops.extend(peerings.flat_map(|peering| topology::peering_ops(state, peering)));
    ops
}

fn subnet_differs((vpc, subnet): (&VpcName, &Name), one: &State, other: &State) -> bool {
    let (Some(one), Some(other)) = (one.vpcs.get(vpc), other.vpcs.get(vpc)) else {
        return true;
    };
    // What a subnet's objects are derived from besides itself.
    let around = |vpc: &Vpc| (vpc.cidr, vpc.mtu, vpc.nat.clone());
    around(one) != around(other) || one.subnets.get(subnet) != other.subnets.get(subnet)
}

/// The VPCs of `one` that may have other objects in `other`, both ends of a peering that isn't the same there among them.
fn moved<'a>(one: &'a State, other: &State) -> BTreeSet<&'a VpcName> {
    if one.host.wans != other.host.wans {
        return one.vpcs.keys().collect();
    }
    let vpcs = one.vpcs.iter().filter(|(name, vpc)| other.vpcs.get(*name) != Some(vpc)).map(|(name, _)| name);
    let (ours, theirs) = (by_ends(one), by_ends(other));
    let gone = theirs.keys().filter(|ends| !ours.contains_key(*ends));
    let peerings = ours.iter().filter(|(ends, peering)| theirs.get(*ends) != Some(peering)).map(|(ends, _)| ends);
    let ends = peerings.chain(gone).flat_map(|(a, b)| [*a, *b]);
    vpcs.chain(ends.filter_map(|name| Some(one.vpcs.get_key_value(name)?.0))).collect()
}

fn by_ends(state: &State) -> BTreeMap<(&VpcName, &VpcName), &Peering> {
    state.peerings.iter().map(|peering| (peering.ends(), peering)).collect()
}

/// What goes away in a plan, and takes with it what is inside of it or on it.
#[derive(Debug, Default)]
pub struct Removed {
    namespaces: BTreeSet<Netns>,
    devices: BTreeSet<(Place, String)>,
    /// Where the bridge goes: a router has one.
    bridges: BTreeSet<Place>,
    sets: BTreeSet<(Place, String)>,
}

impl Removed {
    /// The namespaces, links and sets among `ops`.
    pub fn new<'a>(ops: impl IntoIterator<Item = &'a Op>) -> Self {
        let mut removed = Removed::default();
        for op in ops {
            match &op.object {
                Object::Namespace(netns) => {
                    removed.namespaces.insert(netns.clone());
                }
                Object::Cable { ends, .. } => {
                    removed.devices.extend(ends.iter().map(|end| (end.place.clone(), end.device.to_string())));
                }
                Object::Bridge { device, .. } => {
                    removed.devices.insert((op.place(), device.to_string()));
                    removed.bridges.insert(op.place());
                }
                Object::Set { set, .. } => {
                    removed.sets.insert((op.place(), set.name.clone()));
                }
                _ => {}
            }
        }
        removed
    }

    /// Is the place there afterwards?
    pub fn keeps(&self, place: &Place) -> bool {
        match place {
            Place::Host => true,
            Place::Netns(netns) => !self.namespaces.contains(netns),
        }
    }

    /// Does the object go by itself, with its namespace, device or set?
    pub fn takes(&self, op: &Op) -> bool {
        if matches!(op.object, Object::Namespace(_) | Object::Cable { .. }) {
            return false;
        }
        let place = op.place();
        if !self.keeps(&place) {
            return true;
        }
        let with_device = op.device().is_some_and(|device| self.devices.contains(&(place.clone(), device.to_string())));
        let with_set = match &op.object {
            Object::SetEntry { set, .. } => self.sets.contains(&(place.clone(), set.clone())),
            _ => false,
        };
        // A permanent neighbour stays when a port goes: its device is the bridge.
        let is_of_port = matches!(op.object, Object::Port { .. } | Object::Fdb { .. });
        with_set || with_device || is_of_port && self.bridges.contains(&place)
    }

    /// What is out of reach because these aren't ours: with them the cables that have an end in one, and what is on those.
    pub fn with_cables<'a>(theirs: &'a [Op], all: impl Iterator<Item = &'a Op>) -> Self {
        let removed = Removed::new(theirs);
        let is_cable = |op: &&Op| matches!(op.object, Object::Cable { .. });
        let cables = all.filter(is_cable).filter(|op| removed.concerns(op));
        Removed::new(theirs.iter().chain(cables))
    }

    /// Is the object in it or on it? A cable is, where one of its ends is.
    pub fn concerns(&self, op: &Op) -> bool {
        let has_end =
            matches!(&op.object, Object::Cable { ends, .. } if ends.iter().any(|end| !self.keeps(&end.place)));
        has_end || self.takes(op)
    }

    /// The namespaces that go.
    pub fn namespaces(&self) -> &BTreeSet<Netns> {
        &self.namespaces
    }
}
