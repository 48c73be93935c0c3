//! The plan from what the kernel has to what it should have: healing, undoing and recovering are this one function.

use std::collections::BTreeSet;

use crate::plan::holds::Holding;
use crate::plan::observed::Observed;
use crate::plan::op::{Object, Op};
use crate::plan::{Plan, Removed};

/// Makes what of `wanted` doesn't hold, and unmakes what of `unwanted` is there. What bears no mark counts as vpcctl's own: a
/// caller who can't be sure of that looks first. What bears another mark is left alone.
pub fn plan(wanted: &[Op], unwanted: &[Op], observed: &Observed) -> Plan {
    let kept: BTreeSet<String> = wanted.iter().map(Op::identity).collect();
    let gone = unwanted.iter().rev().filter(|op| !kept.contains(&op.identity()));
    let is_there = |op: &&Op| !matches!(op.holding(observed), Holding::Absent | Holding::Foreign);
    let unmake = gone.filter(is_there).cloned().collect();
    let clear: Vec<Op> = wanted.iter().rev().filter(|op| stands_in_the_way(op, observed)).cloned().collect();
    let cleared = Removed::new(&clear);
    let to_make = |op: &&Op| op.holding(observed) != Holding::Held || cleared.takes(op) || clear.contains(op);
    let make = wanted.iter().filter(to_make).cloned().collect();
    Plan { clear, make, unmake }
}

/// Is it there in a form that no line can turn into the right one?
fn stands_in_the_way(op: &Op, observed: &Observed) -> bool {
    match op.holding(observed) {
        Holding::Unmarked => true,
        Holding::Differs => !op.replaces() || matches!(op.object, Object::Jump { .. }),
        Holding::Held | Holding::Absent | Holding::Foreign => false,
    }
}
