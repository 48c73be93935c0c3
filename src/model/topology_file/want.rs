//! From a [`Topology`] to the edit of the state that makes it so: by the edits that the commands are made of, so that the file and
//! the commands lead to the same. Names are compared once, at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::choice::NatChoice;
use super::make::Making;
use super::schema::{PeeringEntry, SubnetEntry, Topology, VpcEntry};
use crate::error::{Failure, Result};
use crate::model::check;
use crate::model::cidr::Cidr;
use crate::model::edit;
use crate::model::facts::HostFacts;
use crate::model::kernel_names;
use crate::model::name::{Name, VpcName};
use crate::model::owner::Owner;
use crate::model::state::{HostAccess, Link, NatScope, State, Subnet};

/// What of a file can't be, and which of its fields says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The field, such as `vpcs[0].subnets[1].cidr`.
    pub path: String,
    /// Why not.
    pub failure: Failure,
}

/// Puts a failure down to a field.
pub(super) trait In<T> {
    fn within(self, path: impl FnOnce() -> String) -> Result<T, Misfit>;
}

impl<T> In<T> for Result<T> {
    fn within(self, path: impl FnOnce() -> String) -> Result<T, Misfit> {
        self.map_err(|failure| Misfit { path: path(), failure })
    }
}

/// What is wanted of a state, whose policies are read.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// What the file has.
    pub topology: &'a Topology,
    /// Take away what it doesn't have?
    pub prune: bool,
    /// Where addresses of links come from that the file says nothing of.
    pub pool: Cidr,
}

impl Want<'_> {
    /// Makes a state so.
    pub fn edit(&self, state: &mut State, facts: &HostFacts) -> Result<(), Misfit> {
        self.refuse_twins()?;
        let old = state.clone();
        self.take_away(state)?;
        let facts = self.with_promises(&old, facts);
        // Who gives up host access makes room for who is to have it.
        for entry in self.topology.vpcs.iter().filter(|entry| entry.host_access == Some(false)) {
            if let Some(vpc) = state.vpcs.get_mut(&entry.name).map(Arc::make_mut) {
                vpc.host_access = HostAccess::Off;
            }
        }
        let Want { topology, prune, pool } = *self;
        let making = Making { topology, prune, pool, old: &old, facts: &facts };
        // Whose addresses are named come first: nobody else gets them.
        for named in [true, false] {
            for (at, entry) in self.topology.vpcs.iter().enumerate() {
                if entry.uplink.is_some_and(|uplink| uplink.addresses.is_some()) == named {
                    making.vpc(state, entry, &format!("vpcs[{at}]"))?;
                }
            }
        }
        for named in [true, false] {
            for (at, entry) in self.topology.peerings.iter().enumerate() {
                if entry.link.is_some() == named {
                    making.peering(state, entry, &format!("peerings[{at}]"))?;
                }
            }
        }
        edit::keep_record(&old, state);
        self.check_links(state)?;
        self.check_names(state)?;
        no_flaw(state)
    }

    /// The same name twice would be one object with two descriptions.
    fn refuse_twins(&self) -> Result<(), Misfit> {
        let vpcs = &self.topology.vpcs;
        unique(vpcs.iter().map(|vpc| &vpc.name), "VPC", &|at| format!("vpcs[{at}].name"))?;
        for (v, vpc) in vpcs.iter().enumerate() {
            let path = |at| format!("vpcs[{v}].subnets[{at}].name");
            unique(vpc.subnets.iter().map(|subnet| &subnet.name), "subnet", &path)?;
            for (s, subnet) in vpc.subnets.iter().enumerate() {
                let path = |at| format!("vpcs[{v}].subnets[{s}].instances[{at}].name");
                unique(subnet.instances.iter().map(|instance| &instance.name), "instance", &path)?;
                let path = |at| format!("vpcs[{v}].subnets[{s}].apps[{at}].port");
                unique(subnet.apps.iter().map(|app| app.port), "app on port", &path)?;
                for (i, instance) in subnet.instances.iter().enumerate() {
                    let path = |at| format!("vpcs[{v}].subnets[{s}].instances[{i}].apps[{at}].port");
                    unique(instance.apps.iter().map(|app| app.port), "app on port", &path)?;
                }
            }
        }
        let ends = self.topology.peerings.iter().map(|peering| {
            let [a, b] = sorted(peering);
            format!("{a}` and `{b}")
        });
        unique(ends, "peering of", &|at| format!("peerings[{at}]"))
    }

    /// Takes away what stands in the way of what is replaced, and, where that was asked for, what the file doesn't have.
    fn take_away(&self, state: &mut State) -> Result<(), Misfit> {
        let vpcs: BTreeMap<&VpcName, &VpcEntry> = self.topology.vpcs.iter().map(|vpc| (&vpc.name, vpc)).collect();
        let peerings: BTreeSet<[&VpcName; 2]> = self.topology.peerings.iter().map(sorted).collect();
        let goes = |name: &VpcName, cidr: Cidr| vpcs.get(name).map_or(self.prune, |entry| entry.cidr != cidr);
        let gone: BTreeSet<VpcName> =
            state.vpcs.iter().filter(|(name, vpc)| goes(name, vpc.cidr)).map(|(name, _)| name.clone()).collect();
        state.vpcs.retain(|name, _| !gone.contains(name));
        state.peerings.retain(|peering| {
            let is_listed = peerings.contains(&[&peering.a, &peering.b]);
            !gone.contains(&peering.a) && !gone.contains(&peering.b) && (is_listed || !self.prune)
        });
        for (at, entry) in self.topology.vpcs.iter().enumerate() {
            if state.vpcs.contains_key(&entry.name) {
                self.take_away_within(state, entry).within(|| format!("vpcs[{at}]"))?;
            }
        }
        Ok(())
    }

    fn take_away_within(&self, state: &mut State, entry: &VpcEntry) -> Result<()> {
        let vpc = &entry.name;
        if let (Some(NatChoice::On(_)), Some(nat)) = (&entry.nat, &mut state.vpc_mut(vpc)?.nat) {
            // Whom it serves is said at the end: it doesn't go on the way, with its addresses, for want of subnets.
            nat.scope = NatScope::AllPublic;
        }
        let wanted: BTreeMap<&Name, &SubnetEntry> = entry.subnets.iter().map(|subnet| (&subnet.name, subnet)).collect();
        let pruned = |name: &Name| self.prune && !wanted.contains_key(name);
        let pruned: Vec<Name> = state.vpc(vpc)?.subnets.keys().filter(|name| pruned(name)).cloned().collect();
        pruned.iter().try_for_each(|name| edit::delete_subnet(state, vpc, name))?;
        let subnets = &mut state.vpc_mut(vpc)?.subnets;
        // NAT goes on serving what is replaced.
        subnets.retain(|name, found| wanted.get(name).is_none_or(|entry| entry.cidr == found.cidr));
        for (name, found) in subnets {
            if let Some(entry) = wanted.get(name) {
                keep_instances(found, entry, self.prune);
            }
        }
        Ok(())
    }

    /// The host, with the addresses that the file names for links.
    fn with_promises(&self, old: &State, facts: &HostFacts) -> HostFacts {
        let of_vpc = |vpc: &VpcEntry| Some((vpc.name.clone(), Link(vpc.uplink?.addresses?)));
        let promised = self.topology.vpcs.iter().filter_map(of_vpc).collect();
        let reserved = self.topology.peerings.iter().filter_map(|peering| peering.link);
        // What another link had until now is free when all is done, and not before.
        let reserved = reserved.chain(old.links().into_iter().map(|link| link.0)).collect();
        HostFacts { promised, reserved, ..facts.clone() }
    }

    /// Refuses addresses that two links would have. Only who names addresses can bring that about.
    fn check_links(&self, state: &State) -> Result<(), Misfit> {
        let mut owners: BTreeMap<Link, String> = BTreeMap::new();
        let uplinks = state.vpcs.iter().filter_map(|(name, vpc)| {
            let at = self.topology.vpcs.iter().position(|entry| &entry.name == name);
            let path = at.map_or("vpcs".into(), |at| format!("vpcs[{at}].uplink.addresses"));
            Some((vpc.uplink?.link, format!("the uplink of VPC `{name}`"), path))
        });
        let peerings = state.peerings.iter().map(|peering| {
            let ends = [&peering.a, &peering.b];
            let at = self.topology.peerings.iter().position(|entry| sorted(entry) == ends);
            let path = at.map_or("peerings".into(), |at| format!("peerings[{at}].link"));
            (peering.link, format!("the peering of `{}` and `{}`", peering.a, peering.b), path)
        });
        for (link, owner, path) in uplinks.chain(peerings) {
            let Some(other) = owners.insert(link, owner.clone()) else { continue };
            let failure = Failure::conflict(format!("{other} and {owner} would both have {}", link.0));
            return Err(Misfit { path, failure: failure.hint("leave one of them out, and vpcctl chooses") });
        }
        Ok(())
    }

    /// Refuses what would have another's name in the kernel.
    fn check_names(&self, state: &State) -> Result<(), Misfit> {
        let Some((name, one, other)) = kernel_names::collision(state) else {
            return Ok(());
        };
        let message = format!("{} and {} would both have the {name}", one.describe(), other.describe());
        let failure = Failure::conflict(message).hint("choose another name for one of them");
        let path = self.path_of(&other).or_else(|| self.path_of(&one)).unwrap_or_else(|| "vpcs".into());
        Err(Misfit { path, failure })
    }

    /// Where the file names it.
    fn path_of(&self, owner: &Owner) -> Option<String> {
        let vpcs = &self.topology.vpcs;
        let vpc_at = |name: &VpcName| vpcs.iter().position(|vpc| &vpc.name == name);
        let subnet_at = |at: usize, name: &Name| vpcs[at].subnets.iter().position(|subnet| &subnet.name == name);
        match owner {
            Owner::Host | Owner::Peering(..) => None,
            Owner::Vpc(vpc) => Some(format!("vpcs[{}].name", vpc_at(vpc)?)),
            Owner::Subnet(vpc, subnet) => {
                let v = vpc_at(vpc)?;
                Some(format!("vpcs[{v}].subnets[{}].name", subnet_at(v, subnet)?))
            }
            Owner::Instance(vpc, subnet, name) => {
                let v = vpc_at(vpc)?;
                let s = subnet_at(v, subnet)?;
                let i = vpcs[v].subnets[s].instances.iter().position(|instance| &instance.name == name)?;
                Some(format!("vpcs[{v}].subnets[{s}].instances[{i}].name"))
            }
        }
    }
}

/// Takes away the instances that are wanted at other addresses, and, where that was asked for, those that the file doesn't have.
pub(super) fn keep_instances(subnet: &mut Subnet, entry: &SubnetEntry, prune: bool) {
    let listed = |name: &Name| entry.instances.iter().find(|instance| &instance.name == name);
    subnet.instances.retain(|name, found| match listed(name) {
        None => !prune,
        Some(entry) => entry.address.is_none_or(|address| address == found.address),
    });
}

/// Refuses what no command would read again, should any edit have let it pass.
fn no_flaw(state: &State) -> Result<(), Misfit> {
    let refuse = |flaw| Failure::usage(flaw).hint("the README describes what the fields may hold");
    check::flaw(state).map_or(Ok(()), |flaw| Err(Misfit { path: "vpcs".into(), failure: refuse(flaw) }))
}

/// The ends of a peering in the order of their names.
pub(super) fn sorted(peering: &PeeringEntry) -> [&VpcName; 2] {
    let [a, b] = &peering.vpcs;
    if a <= b { [a, b] } else { [b, a] }
}

fn unique<T: Ord + ToString>(
    names: impl Iterator<Item = T>,
    what: &str,
    path: &dyn Fn(usize) -> String,
) -> Result<(), Misfit> {
    let mut seen = BTreeMap::new();
    for (at, name) in names.enumerate() {
        let shown = name.to_string();
        if let Some(first) = seen.insert(name, at) {
            let failure = Failure::usage(format!("the {what} `{shown}` stands there twice: at {} too", path(first)))
                .hint("describe it once, with all that it has");
            return Err(Misfit { path: path(at), failure });
        }
    }
    Ok(())
}
