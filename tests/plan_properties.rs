//! What holds of every plan, whatever the state: random states, a small kernel that refuses what the real one refuses, and
//! virtual packets.

#[path = "support/host.rs"]
mod host;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/links.rs"]
mod links;
#[path = "support/netfilter.rs"]
mod netfilter;
#[path = "support/states.rs"]
mod states;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use vpcctl::model::kernel_names::Device;
use vpcctl::model::state::State;
use vpcctl::plan::batch::{self, Program, Step};
use vpcctl::plan::holds::missing;
use vpcctl::plan::op::{Object, Op};
use vpcctl::plan::{self, Plan, affected_ops, between, reconcile, topology};

use host::{Foreign, hosts};
use kernel::{Fuse, Kernel};
use states::{Edit, edits, history};

/// The states that edits lead to on a host, one after the other.
fn states(edits: &[Edit], host: &Foreign) -> Vec<State> {
    history(edits, &|state| host.facts(state))
}

fn last(states: Vec<State>) -> State {
    states.into_iter().next_back().unwrap_or_default()
}

fn making(state: &State) -> Plan {
    between(&State::default(), state)
}

/// The host's kernel with all of `state` in it.
fn built(state: &State, host: &Foreign) -> Kernel {
    let mut kernel = host.kernel();
    kernel.apply(&making(state), &mut Fuse::NONE).unwrap_or_else(|error| panic!("{error}"));
    kernel
}

fn assert_holds(kernel: &Kernel, state: &State) -> TestCaseResult {
    let ops = topology::ops(state);
    let missing: Vec<String> = missing(&ops, &kernel.observe(&ops)).iter().map(|op| op.identity()).collect();
    prop_assert!(missing.is_empty(), "missing: {missing:?}");
    Ok(())
}

/// What the session does to finish or to undo what was cut off between two states.
fn force(kernel: &mut Kernel, from: &State, to: &State) {
    let (wanted, unwanted) = (affected_ops(to, from), affected_ops(from, to));
    let observed = kernel.observe(wanted.iter().chain(&unwanted));
    let plan = reconcile::plan(&wanted, &unwanted, &observed);
    kernel.apply(&plan, &mut Fuse::NONE).unwrap_or_else(|error| panic!("{error}"));
}

fn devices(op: &Op) -> Vec<&Device> {
    match &op.object {
        Object::Cable { ends, .. } => ends.iter().map(|end| &end.device).collect(),
        Object::Bridge { device, .. } => vec![device],
        _ => op.device().into_iter().collect(),
    }
}

/// Every line that reaches a tool or a setting.
fn lines(plan: &Plan) -> Vec<(Option<Program>, String)> {
    let of_step = |step: &Step| match step {
        Step::Run(call) => call.input.iter().map(|line| (Some(call.program), line.text.clone())).collect(),
        Step::Write(_, writes) => {
            writes.iter().map(|w| (None, format!("{} {}", w.setting.key, w.setting.value))).collect()
        }
        Step::EndProcesses(_) | Step::DropTable(_) => vec![],
    };
    batch::steps(plan).iter().flat_map(batch::Steps::iter).flat_map(of_step).collect()
}

/// The characters that a tool gets to see; quotes only around a rule's comment.
fn is_plain(program: Option<Program>, line: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " .,:/_+!*-".contains(c);
    match program {
        Some(Program::IptablesRestore) => match line.split('"').collect::<Vec<_>>()[..] {
            [whole] => whole.chars().all(|c| allowed(c) || "[]".contains(c)),
            [before, comment, after] => {
                let in_comment = |c: char| allowed(c) || "[]".contains(c);
                before.ends_with("--comment ")
                    && [before, after].iter().all(|part| part.chars().all(allowed))
                    && comment.starts_with("vpcctl:")
                    && comment.chars().all(in_comment)
            }
            _ => false,
        },
        _ => line.chars().all(allowed),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_state_to_itself_needs_no_plan(edits in edits(30), host in hosts()) {
        let state = last(states(&edits, &host));
        prop_assert!(between(&state, &state).is_empty());
        let ops = topology::ops(&state);
        prop_assert!(plan::diff(&ops, &ops).is_empty());
        prop_assert!(batch::steps(&plan::diff(&ops, &ops)).is_empty());
    }

    #[test]
    fn no_two_ops_are_about_one_object(edits in edits(40), host in hosts()) {
        let ops = topology::ops(&last(states(&edits, &host)));
        let identities: BTreeSet<String> = ops.iter().map(Op::identity).collect();
        prop_assert_eq!(identities.len(), ops.len());
    }

    #[test]
    fn the_ops_of_what_differs_say_as_much_as_all_ops(edits in edits(30), host in hosts()) {
        for pair in states(&edits, &host).windows(2) {
            let (old, new) = (&pair[0], &pair[1]);
            let whole = plan::diff(&topology::ops(old), &topology::ops(new));
            prop_assert_eq!(between(old, new), whole);
        }
    }

    #[test]
    fn every_name_fits(edits in edits(40), host in hosts()) {
        let ops = topology::ops(&last(states(&edits, &host)));
        for op in &ops {
            for device in devices(op) {
                prop_assert!(device.as_str().len() <= 15, "{device}");
            }
            match &op.object {
                Object::Set { set, .. } => prop_assert!(set.name.len() <= 31, "{}", set.name),
                Object::Chain { chain, .. } => prop_assert!(chain.len() <= 28, "{chain}"),
                Object::Namespace(netns) => prop_assert!(netns.as_str().len() <= 255, "{netns}"),
                _ => {}
            }
        }
    }

    #[test]
    fn no_line_has_a_character_that_a_shell_or_a_tool_could_misread(edits in edits(40), host in hosts()) {
        let state = last(states(&edits, &host));
        for plan in [making(&state), between(&state, &State::default())] {
            for (program, line) in lines(&plan) {
                prop_assert!(is_plain(program, &line), "{line}");
            }
        }
    }

    #[test]
    fn after_every_edit_all_holds_and_after_the_last_deletion_nothing_is_left(edits in edits(30), host in hosts()) {
        let mut kernel = host.kernel();
        let before = kernel.clone();
        let mut states = states(&edits, &host);
        states.push(State::default());
        for pair in states.windows(2) {
            let done = kernel.apply(&between(&pair[0], &pair[1]), &mut Fuse::NONE);
            prop_assert!(done.is_ok(), "{done:?}");
            assert_holds(&kernel, &pair[1])?;
        }
        prop_assert_eq!(kernel, before);
    }

    #[test]
    fn there_and_back_is_as_before(edits in edits(25), host in hosts()) {
        let states = states(&edits, &host);
        for pair in states.windows(2) {
            let before = built(&pair[0], &host);
            let mut kernel = before.clone();
            kernel.apply(&between(&pair[0], &pair[1]), &mut Fuse::NONE).map_err(TestCaseError::fail)?;
            kernel.apply(&between(&pair[1], &pair[0]), &mut Fuse::NONE).map_err(TestCaseError::fail)?;
            prop_assert_eq!(sorted(kernel), sorted(before));
        }
    }

    #[test]
    fn whatever_line_fails_undoing_leaves_the_old_state(
        edits in edits(25), host in hosts(), cut in any::<prop::sample::Index>(), turn in 0usize..9,
    ) {
        let states = states(&edits, &host);
        let Some([old, new]) = states.last_chunk() else { return Ok(()) };
        let plan = between(old, new);
        let before = built(old, &host);
        let mut kernel = before.clone();
        let most = lines(&plan).len().max(1);
        let cut_off = kernel.apply(&plan, &mut Fuse { left: cut.index(most), turn });
        if plan.only_unmakes() {
            force(&mut kernel, old, new);
            assert_holds(&kernel, new)?;
            prop_assert_eq!(sorted(kernel), sorted(built(new, &host)));
        } else if cut_off.is_err() {
            force(&mut kernel, new, old);
            assert_holds(&kernel, old)?;
            prop_assert_eq!(sorted(kernel), sorted(before));
        }
    }

    #[test]
    fn what_is_removed_behind_our_back_is_made_again_and_nothing_else(
        edits in edits(25), host in hosts(), picks in prop::collection::vec(0usize..10_000, 1..4),
    ) {
        let state = last(states(&edits, &host));
        let mut kernel = built(&state, &host);
        let done: Vec<String> = picks.iter().filter_map(|&pick| kernel.meddle(pick)).collect();
        let ops = topology::ops(&state);
        let observed = kernel.observe(&ops);
        let plan = reconcile::plan(&ops, &[], &observed);
        let died = plan::Removed::new(&plan.clear);
        for op in plan.make.iter().filter(|op| op.holding(&observed) == vpcctl::plan::holds::Holding::Held) {
            prop_assert!(died.takes(op), "{done:?}: makes again: {}", op.identity());
        }
        let healed = kernel.apply(&plan, &mut Fuse::NONE);
        prop_assert!(healed.is_ok(), "{:?}: {:?}", done, healed);
        let again = reconcile::plan(&ops, &[], &kernel.observe(&ops));
        prop_assert!(again.is_empty(), "{done:?}: {:?}", again.make.iter().map(Op::identity).collect::<Vec<_>>());
    }
}

/// Entries of a set have no order.
fn sorted(mut kernel: Kernel) -> Kernel {
    for net in kernel.places.values_mut() {
        net.netfilter.sets.values_mut().for_each(|(_, entries)| entries.sort());
    }
    kernel
}
