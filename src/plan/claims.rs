//! What may be touched: whether what is in the kernel under a name of ours is ours. Pure: what has to be known of the host comes
//! in as data or as a question.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Failure, Result};
use crate::model::kernel_names::{self as names, Netns};
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::holds::Holding;
use crate::plan::line::{Change, Place};
use crate::plan::observed::{Observed, Seen, SeenChainRule};
use crate::plan::op::{Object, Op};
use crate::plan::reconcile::{Unmarked, is_theirs};
use crate::plan::topology;
use crate::plan::{Plan, Removed};

/// What is wanted and was not there before.
pub fn fresh(before: &[Op], after: &[Op]) -> Vec<Op> {
    if after.is_empty() {
        return Vec::new();
    }
    let known: BTreeSet<String> = before.iter().map(Op::identity).collect();
    after.iter().filter(|op| !known.contains(&op.identity())).cloned().collect()
}

/// Is everything as it should be?
pub fn all_held(ops: &[Op], observed: &Observed) -> bool {
    ops.iter().all(|op| op.holding(observed) == Holding::Held)
}

/// Is nothing at all under the names of these?
pub fn none_there(ops: &[Op], observed: &Observed) -> bool {
    let is_stale = |op: &Op| matches!(&op.object, Object::Namespace(netns) if observed.stale.contains(netns));
    ops.iter().all(|op| op.holding(observed) == Holding::Absent && !is_stale(op))
}

/// Refuses to give a namespace's name to another owner while the first one goes: `a/b-c` and `a-b/c` have the same.
pub fn refuse_change_of_hands(leaving: &[Op], wanted: &[Op]) -> Result<()> {
    let owners: BTreeMap<&Netns, &Owner> = leaving.iter().filter_map(|op| Some((op.namespace()?, &op.owner))).collect();
    let taken = wanted.iter().find_map(|op| {
        let netns = op.namespace()?;
        let owner = *owners.get(netns)?;
        (*owner != op.owner).then_some((op, netns, owner))
    });
    let Some((op, netns, owner)) = taken else { return Ok(()) };
    let message = format!("cannot make {}: namespace `{netns}` is that of {}", op.owner.describe(), owner.describe());
    Err(Failure::conflict(message).hint("take that away first, by a command of its own, or choose another name"))
}

/// What keeps the host closed, and both states have: what a plan makes on the host relies on it. What it makes in routers and
/// instances doesn't.
pub fn standing_guard(plan: &Plan, old: &State, new: &State) -> Vec<Op> {
    if plan.make.iter().all(|op| op.place() != Place::Host) {
        return Vec::new();
    }
    let guards = |op: &Op| matches!(op.object, Object::Chain { .. } | Object::Jump { .. } | Object::Sysctl(_));
    let wanted = topology::host_ops(new);
    topology::host_ops(old).into_iter().filter(guards).filter(|op| wanted.contains(op)).collect()
}

/// May there be something under the name of what is about to be made? Asked cheaply: a yes leads to a look.
pub fn may_be_taken(
    op: &Op,
    new: &State,
    has_namespace: &dyn Fn(&Netns) -> bool,
    has_link: &dyn Fn(&str) -> bool,
) -> bool {
    match &op.object {
        Object::Namespace(netns) => has_namespace(netns),
        Object::Cable { ends, .. } => ends.iter().any(|end| end.place == Place::Host && has_link(end.device.as_str())),
        // Not in a table that comes into being with it.
        Object::Chain { place: Place::Host, table, .. } => !new.host.own_tables.contains(table.as_str()),
        _ => false,
    }
}

/// The namespaces, and the interfaces of the host, that the ops need and don't make.
pub fn needs(ops: &[Op]) -> (BTreeSet<Netns>, BTreeSet<String>) {
    let mut made: BTreeSet<Place> = BTreeSet::new();
    let mut cabled: BTreeSet<&str> = BTreeSet::new();
    for op in ops {
        match &op.object {
            Object::Namespace(_) => drop(made.insert(op.place())),
            Object::Cable { ends, .. } => cabled.extend(ends.iter().map(|end| end.device.as_str())),
            _ => {}
        }
    }
    let namespaces = ops.iter().map(Op::place).filter(|place| !made.contains(place));
    let namespaces = namespaces.filter_map(|place| place.netns().cloned()).collect();
    let on_host = ops.iter().filter(|op| op.place() == Place::Host).filter_map(|op| op.device());
    let links = on_host.map(|device| device.as_str()).filter(|name| !cabled.contains(name));
    (namespaces, links.map(str::to_owned).collect())
}

/// Takes the host's own part out of what is unmade, where uplinks that this state doesn't know stand on it. Did it have to?
pub fn keep_host_part(plan: &mut Plan, old: &State, observed: &Observed) -> bool {
    let Some(seen) = observed.places.get(&Place::Host) else {
        return false;
    };
    let others = other_uplinks(old, seen).next().is_some();
    let unmade = plan.unmake.len();
    if others {
        plan.unmake.retain(|op| op.owner != Owner::Host);
    }
    plan.unmake.len() < unmade
}

/// The host's chains that a plan makes: all vpcctls of a host share them.
pub fn shared_chains(plan: &Plan) -> Vec<Op> {
    let is_shared = |op: &&Op| matches!(&op.object, Object::Chain { place: Place::Host, .. });
    plan.make.iter().filter(is_shared).cloned().collect()
}

/// May another vpcctl have uplinks on a host with these links? Asked cheaply: a yes leads to a look.
pub fn may_have_others(old: &State, links: &BTreeSet<String>) -> bool {
    let own = own_uplinks(old);
    links.iter().any(|name| name.starts_with(names::UPLINK_PREFIX) && !own.contains(name))
}

/// Refuses to change rules on the host that the uplinks of another vpcctl stand on, with a state directory of its own.
pub fn refuse_to_bend(chains: &[Op], old: &State, observed: &Observed) -> Result<()> {
    let Some(seen) = observed.places.get(&Place::Host) else { return Ok(()) };
    let Some(other) = other_uplinks(old, seen).next() else { return Ok(()) };
    let is_bent = |op: &&Op| match &op.object {
        Object::Chain { table, chain, .. } => {
            let standing =
                seen.chain(*table, chain).is_some_and(|chain| chain.rules.iter().any(|rule| rule.mark.is_some()));
            standing && op.holding(observed) != Holding::Held
        }
        _ => false,
    };
    let Some(op) = chains.iter().find(is_bent) else { return Ok(()) };
    let message = format!("cannot change {}: `{other}` of another vpcctl stands on it", op.identity());
    Err(Failure::conflict(message).hint("use one state directory for all VPCs of a host that need NAT"))
}

fn own_uplinks(state: &State) -> BTreeSet<String> {
    state.vpcs.keys().map(|vpc| names::uplink_on_host(vpc).to_string()).collect()
}

/// The uplinks that this state doesn't know: another vpcctl's, with a state directory of its own.
pub fn other_uplinks<'a>(state: &State, seen: &'a Seen) -> impl Iterator<Item = &'a str> + use<'a> {
    let own = own_uplinks(state);
    let uplinks = seen.links.iter().filter(|(_, link)| topology::is_uplink_group(&link.group));
    uplinks.map(|(name, _)| name.as_str()).filter(move |name| !own.contains(*name))
}

/// What a plan unmakes and can be told from somebody else's by its mark. What goes with a namespace is whose that is.
pub fn doomed(plan: &Plan) -> Vec<Op> {
    let unmade = || plan.clear.iter().chain(&plan.unmake);
    let removed = Removed::new(unmade());
    let marked = |op: &&Op| match &op.object {
        Object::Namespace(_) => true,
        Object::Cable { ends, .. } => ends.iter().any(|end| removed.keeps(&end.place)),
        Object::Bridge { .. } => removed.keeps(&op.place()),
        // With the last rules goes what another vpcctl may stand on: its uplinks are looked for.
        Object::Chain { place, .. } => place == &Place::Host,
        _ => false,
    };
    unmade().filter(marked).map(|op| in_reach(op, &removed)).collect()
}

/// What to look at for the op: of a cable of which one end goes with its namespace, the other end alone, in place of both. That tells
/// whose the cable is, and it is the end that is deleted.
fn in_reach(op: &Op, removed: &Removed) -> Op {
    match &op.object {
        Object::Cable { ends: [a, b], mtu } if removed.keeps(&a.place) != removed.keeps(&b.place) => {
            let end = if removed.keeps(&a.place) { a } else { b };
            Op::new(&op.owner, Object::Cable { ends: [end.clone(), end.clone()], mtu: *mtu })
        }
        _ => op.clone(),
    }
}

/// Refuses to make what is there already, whoever made it: another vpcctl with a state of its own, or somebody else.
pub fn refuse_present(op: &Op, observed: &Observed) -> Result<()> {
    let holding = op.holding(observed);
    match &op.object {
        // Only the file of a namespace is left: that is in nobody's way.
        Object::Namespace(netns) if observed.stale.contains(netns) => Ok(()),
        Object::Namespace(_) | Object::Cable { .. } | Object::Bridge { .. } if holding != Holding::Absent => {
            let whose = match holding {
                Holding::Unmarked | Holding::Foreign => "and vpcctl did not make it",
                _ => {
                    "made by a vpcctl with another state directory (--state-dir), or one whose state is lost (scripts/cleanup.sh removes that)"
                }
            };
            Err(refusal(op, whose))
        }
        Object::Cable { ends, .. } => {
            match ends.iter().find_map(|end| altname_of(observed, &end.place, end.device.as_str())) {
                Some(link) => Err(refusal(op, &format!("as another name of {link}, and vpcctl did not make it"))),
                None => Ok(()),
            }
        }
        Object::Chain { .. } => refuse_foreign_chain(op, observed).and_then(|()| refuse_foreign_jump(op, observed)),
        _ => Ok(()),
    }
}

/// The interface that has the name besides its own.
fn altname_of<'a>(observed: &'a Observed, place: &Place, device: &str) -> Option<&'a String> {
    let links = &observed.places.get(place)?.links;
    links.iter().find(|(_, link)| link.altnames.iter().any(|name| name == device)).map(|(name, _)| name)
}

/// A chain, empty or not, that a rule of somebody else's leads to is in use: filled, it would decide on that one's packets, and
/// it could never be deleted.
fn refuse_foreign_jump(op: &Op, observed: &Observed) -> Result<()> {
    let Object::Chain { place, table, chain, .. } = &op.object else {
        return Ok(());
    };
    let leads_there = |text: &str| {
        let mut words = text.rsplit(' ');
        words.next() == Some(chain) && matches!(words.next(), Some("-j" | "-g"))
    };
    let own = format!("-j {chain}");
    let hook = chain.strip_prefix(names::CHAIN_PREFIX);
    let is_own = |name: &str, rule: &SeenChainRule| rule.text == own && Some(name) == hook;
    let in_table = observed.places.get(place).into_iter().flat_map(|seen| seen.chains.iter());
    let mut of_table = in_table.filter(|((of, _), _)| of == table.as_str()).flat_map(|((_, name), found)| {
        found.rules.iter().filter(|rule| leads_there(&rule.text) && !is_own(name, rule)).map(move |rule| (name, rule))
    });
    match of_table.next() {
        Some((name, rule)) => {
            Err(refusal(op, &format!("and a rule of {name} that isn't vpcctl's leads to it: {}", rule.text)))
        }
        None => Ok(()),
    }
}

/// Refuses to mend where something that isn't ours has taken the place.
pub fn refuse_theirs(ops: &[Op], observed: &Observed) -> Result<()> {
    match theirs(ops, observed).first() {
        Some(op) => Err(refusal(op, "and vpcctl did not make it")),
        None => ops.iter().try_for_each(|op| refuse_foreign_chain(op, observed)),
    }
}

/// Those whose name something else has.
pub fn theirs<'a>(ops: &'a [Op], observed: &Observed) -> Vec<&'a Op> {
    ops.iter().filter(|op| is_theirs(op, observed, Unmarked::Theirs)).collect()
}

/// The ops without those whose name something else has, and without what is in it or on it.
pub fn without_theirs(ops: Vec<Op>, observed: &Observed) -> Vec<Op> {
    let theirs: Vec<Op> = theirs(&ops, observed).into_iter().cloned().collect();
    let off_limits = Removed::with_cables(&theirs, ops.iter());
    ops.into_iter().filter(|op| !theirs.contains(op) && !off_limits.concerns(op)).collect()
}

/// The ops without the one whose line failed because its name was taken, and without what is in it or on it.
pub fn without_taken(ops: Vec<Op>, failed_line: Option<&str>) -> Vec<Op> {
    let Some(line) = failed_line else {
        return ops;
    };
    let is_line = |change: &Change| matches!(change, Change::Links(text) if text == line);
    let taken: Vec<Op> = ops.iter().filter(|op| op.make().iter().any(|made| is_line(&made.change))).cloned().collect();
    let off_limits = Removed::new(&taken);
    ops.into_iter().filter(|op| !taken.contains(op) && !off_limits.takes(op)).collect()
}

/// A chain of our name in which no rule bears our mark is somebody else's. One foreign rule in a chain of ours is not: the chain
/// is ours, and replaced whole.
fn refuse_foreign_chain(op: &Op, observed: &Observed) -> Result<()> {
    let Object::Chain { place, table, chain, .. } = &op.object else {
        return Ok(());
    };
    let found = observed.places.get(place).and_then(|seen| seen.chain(*table, chain));
    let foreign = found.is_some_and(|found| !found.rules.is_empty() && found.rules.iter().all(|r| r.mark.is_none()));
    if foreign { Err(refusal(op, "and vpcctl did not make it")) } else { Ok(()) }
}

fn refusal(op: &Op, whose: &str) -> Failure {
    Failure::conflict(format!("cannot make {}: {} exists, {whose}", op.owner.describe(), op.identity()))
        .hint("remove or rename it, if that is for you to decide, or choose another name")
}
