//! Rules that join a chain which stands, in place of the whole chain made anew.
//!
//! The kernel lets go of what it has been told to forget only after a grace period, and `iptables-restore` waits for that as it
//! ends: 5 to 20 ms where a chain's rules are replaced, and nothing where some are put between them.

use std::collections::BTreeMap;

use crate::plan::Plan;
use crate::plan::holds::Holding;
use crate::plan::observed::Observed;
use crate::plan::op::{Object, Op};
use crate::plan::rule::Rule;

/// The chains, as they were `before`, of which `after` has the same rules and more. Whether the kernel has them so has to be looked at.
pub fn grown(before: &[Op], after: &[Op]) -> Vec<Op> {
    let later: BTreeMap<String, &Op> = chains(after).map(|op| (op.identity(), op)).collect();
    if later.is_empty() {
        return Vec::new();
    }
    let grows = |old: &&Op| later.get(&old.identity()).is_some_and(|new| new != old && joining(old, new).is_some());
    chains(before).filter(grows).cloned().collect()
}

/// Makes a plan add to those of the `grown` chains that the kernel has just so; all others are made anew.
pub fn join(plan: &mut Plan, grown: &[Op], observed: &Observed) {
    add_to(plan, grown.iter().filter(|op| op.holding(observed) == Holding::Held));
}

/// The same for who only wants to know what would be done, where the kernel has all of them.
pub fn join_as_if_held(plan: &mut Plan, grown: &[Op]) {
    add_to(plan, grown.iter());
}

fn add_to<'a>(plan: &mut Plan, standing: impl Iterator<Item = &'a Op>) {
    let standing: BTreeMap<String, &Op> = standing.map(|op| (op.identity(), op)).collect();
    for op in &mut plan.make {
        if let Some(object) = standing.get(&op.identity()).and_then(|old| joining(old, op)) {
            op.object = object;
        }
    }
}

fn chains(ops: &[Op]) -> impl Iterator<Item = &Op> {
    ops.iter().filter(|op| matches!(op.object, Object::Chain { .. }))
}

/// What turns a chain into another one by rules that are added to it; nothing where that is not enough.
fn joining(old: &Op, new: &Op) -> Option<Object> {
    match (&old.object, &new.object) {
        (Object::Chain { rules: before, .. }, Object::Chain { place, table, chain, rules }) => {
            let rules = added(before, rules)?;
            Some(Object::Joining { place: place.clone(), table: *table, chain: chain.clone(), rules })
        }
        _ => None,
    }
}

/// The rules of `new` that aren't in `old`, each with the number that it gets; nothing where `old` has others, or in another order.
fn added(old: &[Rule], new: &[Rule]) -> Option<Vec<(usize, Rule)>> {
    let mut standing = old.iter().peekable();
    let is_new = |(_, rule): &(usize, &Rule)| standing.next_if_eq(rule).is_none();
    let added = (1..).zip(new).filter(is_new).map(|(number, rule)| (number, rule.clone())).collect();
    standing.next().is_none().then_some(added)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_join_only_where_none_has_to_go_or_to_move() {
        let rules = |names: &str| {
            names.chars().map(|name| Rule::new(format!("-i {name}"), "-j ACCEPT", "")).collect::<Vec<_>>()
        };
        let numbers = |old: &str, new: &str| added(&rules(old), &rules(new));
        let one = |number: usize, name: &str| (number, rules(name).remove(0));
        assert_eq!(numbers("ac", "abcd"), Some(vec![one(2, "b"), one(4, "d")]));
        assert_eq!(numbers("", "a"), Some(vec![one(1, "a")]));
        assert_eq!(numbers("ab", "ab"), Some(vec![]));
        assert_eq!(numbers("aa", "aba"), Some(vec![one(2, "b")]));
        for (old, new) in [("ab", "ba"), ("ab", "a"), ("a", ""), ("abc", "adc")] {
            assert_eq!(numbers(old, new), None, "{old} {new}");
        }
    }
}
