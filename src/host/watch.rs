//! Watching a network: an ear in each router, and a look at the rules' counters from time to time. It changes nothing. While it
//! listens in a router, that namespace lives: so it lets go of those that are gone at each look.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::AtomicBool;

use crate::host::conntrack::{Heard, Listener};
use crate::host::{StepError, look, namespace, pool};
use crate::model::kernel_names as names;
use crate::model::name::VpcName;
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::batch::{Call, Program};
use crate::plan::counters::{self, Counts, Key};
use crate::plan::flow::{Change, Connection};
use crate::plan::line::Place;

/// What is listened to and counted.
#[derive(Default)]
pub struct Watch {
    listeners: BTreeMap<VpcName, Listener>,
    counts: BTreeMap<Owner, Counts>,
}

/// What a rule stopped since the look before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drops {
    /// Where the rule is.
    pub owner: Owner,
    /// The rule.
    pub rule: Key,
    /// How many packets.
    pub packets: u64,
}

impl Watch {
    /// Listens in the routers of these VPCs, and no more in others; also the connections of those that are new.
    pub fn sync(&mut self, vpcs: &BTreeSet<VpcName>) -> Result<Vec<(VpcName, Connection)>, StepError> {
        self.listeners.retain(|vpc, listener| vpcs.contains(vpc) && listener.is_of(&names::router(vpc)));
        let mut found = Vec::new();
        for vpc in vpcs {
            let netns = names::router(vpc);
            if self.listeners.contains_key(vpc) || !namespace::is_alive(&netns) {
                continue;
            }
            let (listener, connections) = match Listener::open(&netns) {
                Ok(opened) => opened,
                // It went meanwhile.
                Err(_) if !namespace::is_alive(&netns) => continue,
                Err(error) => return Err(StepError::of_place(&Place::Netns(netns), &error)),
            };
            self.listeners.insert(vpc.clone(), listener);
            found.extend(connections.into_iter().map(|connection| (vpc.clone(), connection)));
        }
        Ok(found)
    }

    /// Is there a router that is listened to?
    pub fn is_in(&self, vpc: &VpcName) -> bool {
        self.listeners.contains_key(vpc)
    }

    /// Listens no more, until the next [`Watch::sync`].
    pub fn let_go(&mut self) {
        self.listeners.clear();
    }

    /// What can be waited for.
    pub fn ears(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.listeners.values().map(AsFd::as_fd)
    }

    /// All that has been heard by now, by router, and the routers that told more than was heard.
    pub fn hear(&mut self) -> (Vec<(VpcName, Change, Connection)>, Vec<VpcName>) {
        let (mut events, mut lost) = (Vec::new(), Vec::new());
        for (vpc, listener) in &mut self.listeners {
            let heard = listener.hear().unwrap_or_else(|error| {
                tracing::debug!("conntrack of {vpc}: {error}");
                Heard { lost: true, ..Heard::default() }
            });
            events.extend(heard.events.into_iter().map(|(change, connection)| (vpc.clone(), change, connection)));
            lost.extend(heard.lost.then(|| vpc.clone()));
        }
        (events, lost)
    }

    /// Looks at the counters of these owners' rules: what was stopped since the look before. Of those that are new the look is the
    /// first: nothing is known of before. Those that can't be looked at, such as what is about to go, are left out.
    pub fn count(&mut self, owners: BTreeSet<Owner>, interrupted: &AtomicBool) -> Result<Vec<Drops>, StepError> {
        let looked = pool::map(owners.into_iter().collect(), interrupted, |owner: Owner| Ok((counts(&owner), owner)))?;
        let now: BTreeMap<Owner, Counts> =
            looked.into_iter().filter_map(|(counts, owner)| Some((owner, counts?))).collect();
        let mut drops = Vec::new();
        for (owner, counts) in &now {
            let before = self.counts.get(owner).unwrap_or(counts);
            drops.extend(counters::since(before, counts).map(|(rule, packets)| Drops {
                owner: owner.clone(),
                rule: rule.clone(),
                packets,
            }));
        }
        self.counts = now;
        Ok(drops)
    }
}

/// Whose rules may stop packets, of these VPCs: the host's, the routers', and those of instances with a policy.
pub fn owners_with_rules(state: &State, vpcs: &BTreeSet<VpcName>) -> BTreeSet<Owner> {
    let found = vpcs.iter().filter_map(|name| Some((name, state.vpcs.get(name)?)));
    let of_vpcs = found.flat_map(|(name, vpc)| {
        let instances = vpc.subnets.iter().flat_map(move |(subnet, found)| {
            let all = found.all_instances().filter(|(.., policy)| policy.is_some());
            all.map(move |(instance, ..)| Owner::instance(name, subnet, instance))
        });
        std::iter::once(Owner::Vpc(name.clone())).chain(instances)
    });
    of_vpcs.chain([Owner::Host]).collect()
}

fn counts(owner: &Owner) -> Option<Counts> {
    let (place, is_router) = match owner {
        Owner::Vpc(vpc) => (Place::Netns(names::router(vpc)), true),
        Owner::Subnet(vpc, subnet) => (Place::Netns(names::instance(vpc, subnet, None)), false),
        Owner::Instance(vpc, subnet, instance) => (Place::Netns(names::instance(vpc, subnet, Some(instance))), false),
        Owner::Host | Owner::Peering(..) => (Place::Host, false),
    };
    let call = Call::plain(place.clone(), Program::IptablesSave, &["-c"]);
    let saved = namespace::within(&place, || look::dump(&call)).ok()?.ok()?;
    Some(counters::parse(&saved, is_router))
}
