//! The plan from what the kernel has to what it should have: healing, undoing and recovering are this one function.

use std::collections::BTreeSet;

use crate::plan::holds::Holding;
use crate::plan::observed::Observed;
use crate::plan::op::{End, Object, Op};
use crate::plan::stray::Stray;
use crate::plan::{Plan, Removed};

/// Whose is what has our name but no mark?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmarked<'a> {
    /// Ours, if its identity is among these: a command that set out to make it was cut off, or failed, before it had marked it.
    Ours(&'a BTreeSet<String>),
    /// Somebody else's.
    Theirs,
}

/// Makes what of `wanted` doesn't hold, and unmakes what of `unwanted` is there. What is somebody else's is left alone, with all
/// that is in it or on it.
pub fn plan(wanted: &[Op], unwanted: &[Op], observed: &Observed, unmarked: Unmarked<'_>) -> Plan {
    let theirs: Vec<Op> =
        wanted.iter().chain(unwanted).filter(|op| is_theirs(op, observed, unmarked)).cloned().collect();
    let off_limits = Removed::with_cables(&theirs, wanted.iter().chain(unwanted));
    let may_touch = |op: &&Op| !theirs.contains(op) && !off_limits.concerns(op);

    let kept: BTreeSet<String> = wanted.iter().map(Op::identity).collect();
    let gone = unwanted.iter().rev().filter(|op| !kept.contains(&op.identity()));
    let is_there = |op: &&Op| op.holding(observed) != Holding::Absent;
    let unmake = gone.filter(may_touch).flat_map(|op| {
        let whole = Some(op).filter(is_there).map(|op| within_reach(op, observed));
        whole.into_iter().chain(half_filled(op, observed))
    });
    let unmake = unmake.collect();

    let in_the_way = |op: &&Op| stands_in_the_way(op, observed);
    let clear: Vec<Op> = wanted.iter().rev().filter(may_touch).filter(in_the_way).cloned().collect();
    let cleared = Removed::new(&clear);
    let to_make = |op: &&Op| op.holding(observed) != Holding::Held || cleared.takes(op);
    let make = wanted.iter().filter(may_touch).filter(to_make);
    let make = make.flat_map(|op| if cleared.takes(op) { vec![op.clone()] } else { mending(op, observed) }).collect();
    Plan { clear: clear.iter().map(|op| within_reach(op, observed)).collect(), make, unmake }
}

/// The op; but of a cable whose one end is in a namespace that has lost its name, and lives on in its processes, the other end.
fn within_reach(op: &Op, observed: &Observed) -> Op {
    let Object::Cable { ends, .. } = &op.object else {
        return op.clone();
    };
    let has_end =
        |end: &&End| observed.places.get(&end.place).is_some_and(|seen| seen.links.contains_key(end.device.as_str()));
    match ends.iter().filter(has_end).collect::<Vec<_>>()[..] {
        [end] => {
            let stray = Stray::Link(end.device.to_string());
            Op::new(&op.owner, Object::Stray { place: end.place.clone(), stray })
        }
        _ => op.clone(),
    }
}

/// What a set was being filled as, where that was cut off.
fn half_filled(op: &Op, observed: &Observed) -> Option<Op> {
    let Object::Set { netns, set } = &op.object else {
        return None;
    };
    let set = set.beside();
    let is_there = observed.places.get(&op.place())?.sets.contains_key(&set.name);
    let object = Object::Set { netns: netns.clone(), set };
    is_there.then(|| Op { object, ..op.clone() })
}

/// Is it there, but somebody else's?
pub fn is_theirs(op: &Op, observed: &Observed, unmarked: Unmarked<'_>) -> bool {
    match op.holding(observed) {
        Holding::Foreign => true,
        Holding::Unmarked => match unmarked {
            Unmarked::Ours(made) => !made.contains(&op.identity()),
            Unmarked::Theirs => true,
        },
        _ => false,
    }
}

/// Is it there in a form that no line can turn into the right one?
fn stands_in_the_way(op: &Op, observed: &Observed) -> bool {
    match op.holding(observed) {
        Holding::Unmarked => true,
        Holding::Differs(_) => !op.replaces() && op.tuning(observed).is_none(),
        Holding::Held | Holding::Absent | Holding::Misplaced(_) | Holding::Foreign => false,
    }
}

/// What makes the op hold: itself, with what it has to take away in the same moment, or what is wrong with it alone.
fn mending(op: &Op, observed: &Observed) -> Vec<Op> {
    let holding = op.holding(observed);
    if let (Holding::Differs(_), Some(tuning)) = (&holding, op.tuning(observed)) {
        return tuning;
    }
    let mut op = op.clone();
    if let (Holding::Misplaced(count), Object::Jump { misplaced, .. }) = (holding, &mut op.object) {
        *misplaced = count;
    }
    vec![op]
}
