//! What holds of every plan, whatever the state: random states, a small kernel that refuses what the real one refuses, and
//! virtual packets.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/host.rs"]
mod host;
#[path = "support/kernel.rs"]
mod kernel;
#[path = "support/links.rs"]
mod links;
#[path = "support/netfilter.rs"]
mod netfilter;
#[path = "support/oracle.rs"]
mod oracle;
#[path = "support/packets.rs"]
mod packets;
#[path = "support/states.rs"]
mod states;
#[path = "support/trace.rs"]
mod trace;

use std::collections::BTreeSet;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult};
use vpcctl::model::check;
use vpcctl::model::kernel_names::Device;
use vpcctl::model::name::VpcName;
use vpcctl::model::state::{State, Subnet};
use vpcctl::plan::batch::{self, Program, Step};
use vpcctl::plan::drift::Survey;
use vpcctl::plan::holds::Holding;
use vpcctl::plan::op::{Object, Op};
use vpcctl::plan::reconcile::Unmarked;
use vpcctl::plan::subject::Subject;
use vpcctl::plan::{
    self, Plan, affected_ops, between, claims, differing_ops, insertion, leaving_ops, reconcile, surplus, topology,
};

use host::{Foreign, hosts};
use kernel::{Fuse, Kernel};
use packets::HostRules;
use states::{Edit, edits, history, session};

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

/// The plan that the session makes from one state to the next.
fn leading(old: &State, new: &State) -> Plan {
    plan::diff(leaving_ops(old, new), differing_ops(new, old))
}

/// What the session does from one state to the next in a kernel that has the first.
fn planned(kernel: &Kernel, old: &State, new: &State) -> Plan {
    let mut plan = leading(old, new);
    let grown = insertion::grown(&differing_ops(old, new), &differing_ops(new, old));
    insertion::join(&mut plan, &grown, &kernel.observe(&grown));
    plan
}

/// The host's kernel with all of `state` in it.
fn built(state: &State, host: &Foreign) -> Kernel {
    let mut kernel = host.kernel();
    kernel.apply(&making(state), &mut Fuse::never()).unwrap_or_else(|error| panic!("{error}"));
    kernel
}

fn assert_holds(kernel: &Kernel, state: &State) -> TestCaseResult {
    let ops = topology::ops(state);
    let observed = kernel.observe(&ops);
    let missing: Vec<String> =
        ops.iter().filter(|op| op.holding(&observed) != Holding::Held).map(Op::identity).collect();
    prop_assert!(missing.is_empty(), "missing: {missing:?}");
    Ok(())
}

/// Two kernels have the same objects; else the lines that only one of them has are shown.
fn assert_same(one: &Kernel, other: &Kernel) -> TestCaseResult {
    let (one, other) = (one.comparable(), other.comparable());
    if one == other {
        return Ok(());
    }
    let only = |a: &Kernel, b: &Kernel| {
        let known: BTreeSet<String> = b.dump().into_iter().collect();
        a.dump().into_iter().filter(|line| !known.contains(line)).collect::<Vec<_>>().join("\n  ")
    };
    Err(TestCaseError::fail(format!("found:\n  {}\nwanted:\n  {}", only(&one, &other), only(&other, &one))))
}

/// What the session does to finish or to undo a plan that was cut off between two states.
fn force(kernel: &mut Kernel, plan: &Plan, from: &State, to: &State) {
    let (wanted, unwanted) = (affected_ops(to, from), affected_ops(from, to));
    let observed = kernel.observe(&[&wanted[..], &unwanted[..]].concat());
    let plan = reconcile::plan(&wanted, &unwanted, &observed, Unmarked::Ours(&plan.marked_objects()));
    kernel.apply(&plan, &mut Fuse::never()).unwrap_or_else(|error| panic!("{error}"));
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
        Step::Files(_) | Step::Start(_) | Step::Stop(_) | Step::EndProcesses(_) | Step::Clean(_) => vec![],
    };
    batch::steps(plan).iter().flat_map(|(_, steps)| steps.iter()).flat_map(of_step).collect()
}

/// The characters that a tool gets to see; quotes only around a rule's comment.
fn is_plain(program: Option<Program>, line: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || " .,:/_+!*-".contains(c);
    match program {
        Some(Program::IptablesRestore) => match line.split('"').collect::<Vec<_>>()[..] {
            [whole] => whole.chars().all(|c| allowed(c) || "[]".contains(c)),
            [before, comment, after] => {
                // Within double quotes an apostrophe is a letter like any other.
                let in_comment = |c: char| allowed(c) || "[]'".contains(c);
                before.ends_with("--comment ")
                    && [before, after].iter().all(|part| part.chars().all(allowed))
                    && comment.starts_with("vpcctl:")
                    && comment.chars().all(in_comment)
            }
            _ => false,
        },
        // The one program for a filter.
        Some(Program::Tc) => line.split('"').enumerate().all(|(index, part)| index < 3 && part.chars().all(allowed)),
        _ => line.chars().all(allowed),
    }
}

/// Things are removed or bent behind vpcctl's back; one look mends it all, and a second one finds nothing to do.
fn heals(state: &State, mut kernel: Kernel, picks: &[usize]) -> TestCaseResult {
    let whole = kernel.clone();
    let done: Vec<String> = picks.iter().filter_map(|&pick| kernel.meddle(pick)).collect();
    let ops = topology::ops(state);
    let observed = kernel.observe(&ops);
    let plan = reconcile::plan(&ops, &[], &observed, Unmarked::Theirs);
    let died = plan::Removed::new(&plan.clear);
    for op in plan.make.iter().filter(|op| op.holding(&observed) == Holding::Held) {
        prop_assert!(died.takes(op), "{done:?}: makes again: {}", op.identity());
    }
    let healed = kernel.apply(&plan, &mut Fuse::never());
    prop_assert!(healed.is_ok(), "{:?}: {:?}", done, healed);
    let again = reconcile::plan(&ops, &[], &kernel.observe(&ops), Unmarked::Theirs);
    prop_assert!(again.is_empty(), "{done:?}: {:?}", again.make.iter().map(Op::identity).collect::<Vec<_>>());
    prop_assert!(kernel.our_jumps_come_first(), "{done:?}");
    kernel.forget_foreign_accepts();
    assert_same(&kernel, &whole)
}

/// All that the kernel has of a state's objects, and in its routers.
fn survey<'a>(kernel: &Kernel, state: &'a State) -> Survey<'a> {
    let ops = topology::ops(state);
    let routers = surplus::routers(state, &ops).into_keys();
    let observed = kernel.survey(&ops, routers);
    Survey { state, subject: &Subject::Everything, ops, observed }
}

/// Things are bent and things are put into routers; what differs is named, one repair mends it, and then nothing differs.
fn is_repaired(state: &State, mut kernel: Kernel, picks: &[usize]) -> TestCaseResult {
    let whole = kernel.clone();
    prop_assert_eq!(survey(&kernel, state).differences(), vec![]);
    let bend = |kernel: &mut Kernel, pick: usize| {
        if pick.is_multiple_of(2) { kernel.intrude(pick / 2) } else { kernel.meddle(pick / 2) }
    };
    let done: Vec<String> = picks.iter().filter_map(|&pick| bend(&mut kernel, pick)).collect();
    let found = survey(&kernel, state);
    prop_assert!(done.is_empty() || kernel == whole || !found.differences().is_empty(), "{:?}", done);
    let mending = found.mending(false);
    let repaired = mending.plans().into_iter().try_for_each(|plan| kernel.apply(plan, &mut Fuse::never()));
    prop_assert!(repaired.is_ok(), "{:?}: {:?}", done, repaired);
    let again = survey(&kernel, state);
    prop_assert_eq!(again.differences(), vec![], "{:?}", done);
    prop_assert!(again.mending(false).is_empty(), "{:?}", done);
    kernel.forget_foreign_accepts();
    assert_same(&kernel, &whole)
}

/// The plan of an edit is cut off; then it is undone, or gone on with.
fn survives(old: (&State, &Kernel), new: (&State, &Kernel), mut fuse: Fuse) -> TestCaseResult {
    let mut kernel = old.1.clone();
    let plan = planned(&kernel, old.0, new.0);
    if let Err(error) = kernel.apply(&plan, &mut fuse) {
        prop_assert_eq!(error, "cut off here");
    }
    for (from, (to, wanted)) in [(old.0, new), (new.0, old)] {
        let mut kernel = kernel.clone();
        force(&mut kernel, &plan, from, to);
        assert_holds(&kernel, to)?;
        assert_same(&kernel, wanted)?;
    }
    Ok(())
}

proptest! {
    // The same states in every run; PROPTEST_RNG_SEED and PROPTEST_CASES look further.
    #![proptest_config(ProptestConfig {
        cases: 256, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_state_to_itself_needs_no_plan(edits in edits(30), host in hosts()) {
        let state = last(states(&edits, &host));
        prop_assert!(between(&state, &state).is_empty());
        let ops = topology::ops(&state);
        prop_assert!(plan::diff(ops.clone(), ops.clone()).is_empty());
        prop_assert!(batch::steps(&plan::diff(ops.clone(), ops)).is_empty());
    }

    #[test]
    fn what_differs_is_planned_as_if_all_had_been_compared(edits in edits(30), host in hosts()) {
        let states = states(&edits, &host);
        let empty = State::default();
        for (old, new) in std::iter::once(&empty).chain(&states).zip(&states) {
            prop_assert_eq!(between(old, new), plan::diff(topology::ops(old), topology::ops(new)));
            prop_assert_eq!(between(new, old), plan::diff(topology::ops(new), topology::ops(old)));
        }
    }

    #[test]
    fn no_edit_leads_to_a_state_that_would_be_refused(edits in edits(40), host in hosts()) {
        for state in states(&edits, &host) {
            prop_assert_eq!(check::flaw(&state), None);
        }
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
            let whole = plan::diff(topology::ops(old), topology::ops(new));
            prop_assert_eq!(between(old, new), whole);
        }
    }

    #[test]
    fn no_step_changes_by_leaving_out_what_goes_with_its_namespace(edits in edits(30), host in hosts()) {
        let states = states(&edits, &host);
        let Some(last) = states.last() else { return Ok(()) };
        let without = |name: &VpcName| {
            let mut state = last.clone();
            state.vpcs.remove(name);
            state.peerings.retain(|peering| peering.a != *name && peering.b != *name);
            state
        };
        let fewer: Vec<State> = last.vpcs.keys().map(without).chain([State::default()]).collect();
        // Some far apart, between which some VPCs go and others come.
        let pairs = [1, 5, 12].into_iter().flat_map(|step| states.iter().zip(states.iter().skip(step)));
        for (old, new) in pairs.chain(fewer.iter().map(|state| (last, state))) {
            let (all, leaving, wanted) = (differing_ops(old, new), leaving_ops(old, new), differing_ops(new, old));
            if claims::refuse_change_of_hands(&leaving, &wanted).is_err() {
                continue;
            }
            prop_assert_eq!(claims::fresh(&leaving, &wanted), claims::fresh(&all, &wanted));
            prop_assert_eq!(insertion::grown(&leaving, &wanted), insertion::grown(&all, &wanted));
            let (short, whole) = (plan::diff(leaving, wanted.clone()), plan::diff(all, wanted));
            prop_assert_eq!(batch::steps(&short), batch::steps(&whole));
            prop_assert_eq!(claims::doomed(&short), claims::doomed(&whole));
        }
        let few = leaving_ops(last, &State::default()).len();
        let instances = last.vpcs.values().flat_map(|vpc| vpc.subnets.values()).flat_map(Subnet::all_instances).count();
        prop_assert!(few <= topology::ops(last).len() - 10 * instances, "{few} for {instances} instances");
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
            let plan = planned(&kernel, &pair[0], &pair[1]);
            let done = kernel.apply(&plan, &mut Fuse::never());
            prop_assert!(done.is_ok(), "{done:?}");
            assert_holds(&kernel, &pair[1])?;
        }
        assert_same(&kernel, &before)?;
    }

    #[test]
    fn there_and_back_is_as_before(edits in edits(25), host in hosts()) {
        let states = states(&edits, &host);
        for pair in states.windows(2) {
            let before = built(&pair[0], &host);
            let mut kernel = before.clone();
            for (from, to) in [(&pair[0], &pair[1]), (&pair[1], &pair[0])] {
                let plan = planned(&kernel, from, to);
                kernel.apply(&plan, &mut Fuse::never()).map_err(TestCaseError::fail)?;
            }
            assert_same(&kernel, &before)?;
        }
    }

    #[test]
    fn whatever_line_fails_undoing_leaves_the_old_state_and_going_on_the_new(
        edits in edits(25), host in hosts(), cut in any::<prop::sample::Index>(), turn in 0usize..9,
    ) {
        let states = states(&edits, &host);
        let Some([old, new]) = states.last_chunk() else { return Ok(()) };
        let fuse = Fuse { left: cut.index(lines(&between(old, new)).len().max(1)), turn };
        survives((old, &built(old, &host)), (new, &built(new, &host)), fuse)?;
    }

    #[test]
    fn what_is_removed_behind_our_back_is_made_again_and_nothing_else(
        edits in edits(25), host in hosts(), picks in prop::collection::vec(0usize..10_000, 1..4),
    ) {
        let state = last(states(&edits, &host));
        heals(&state, built(&state, &host), &picks)?;
    }

    #[test]
    fn what_differs_is_named_and_one_repair_mends_it(
        edits in edits(25), host in hosts(), picks in prop::collection::vec(0usize..20_000, 1..4),
    ) {
        let state = last(states(&edits, &host));
        is_repaired(&state, built(&state, &host), &picks)?;
    }

    #[test]
    fn a_packet_gets_where_the_state_says_and_its_answer_back(edits in edits(25), host in hosts()) {
        let state = last(states(&edits, &host));
        let kernel = built(&state, &host);
        packets::instances_reach_what_they_may(&kernel, &state)?;
        packets::the_host_reaches_what_it_may(&kernel, &state)?;
    }

    #[test]
    fn nothing_enters_from_outside_by_theft_or_without_a_connection(edits in edits(25), host in hosts()) {
        let state = last(states(&edits, &host));
        let kernel = built(&state, &host);
        packets::nobody_enters_from_outside(&kernel, &state, HostRules::Standing)?;
        packets::stolen_addresses_get_nowhere(&kernel, &state)?;
        packets::peers_carry_nobody_else(&kernel, &state)?;
        packets::what_belongs_to_no_connection_is_dropped(&kernel, &state)?;
    }

    #[test]
    fn a_flush_opens_nothing(edits in edits(25), host in hosts()) {
        let state = last(states(&edits, &host));
        let mut kernel = built(&state, &host);
        trace::flush_host(&mut kernel);
        packets::vpcs_are_closed_to_each_other(&kernel, &state)?;
        packets::nobody_enters_from_outside(&kernel, &state, HostRules::Flushed)?;
        packets::flush_routers(&mut kernel, &state);
        packets::nothing_passes_a_router(&kernel, &state)?;
    }
}

#[test]
fn packets_of_a_session_get_where_the_state_says() {
    let host = Foreign::busy();
    for state in states(&session(), &host) {
        let mut kernel = built(&state, &host);
        packets::instances_reach_what_they_may(&kernel, &state).unwrap();
        packets::the_host_reaches_what_it_may(&kernel, &state).unwrap();
        packets::peers_carry_nobody_else(&kernel, &state).unwrap();
        packets::stolen_addresses_get_nowhere(&kernel, &state).unwrap();
        packets::nobody_enters_from_outside(&kernel, &state, HostRules::Standing).unwrap();
        trace::flush_host(&mut kernel);
        packets::vpcs_are_closed_to_each_other(&kernel, &state).unwrap();
        packets::nobody_enters_from_outside(&kernel, &state, HostRules::Flushed).unwrap();
    }
}

#[test]
fn every_single_thing_that_is_removed_is_made_again() {
    let host = Foreign::busy();
    // With everything that the session makes, and again when parts of it are gone.
    for state in states(&session(), &host).iter().skip(17).step_by(3) {
        let kernel = built(state, &host);
        for pick in 0..kernel.mischief().len() {
            heals(state, kernel.clone(), &[pick]).unwrap();
        }
    }
}

#[test]
fn every_line_of_a_session_may_fail() {
    let host = Foreign::busy();
    let states = states(&session(), &host);
    assert_eq!(states.len(), session().len() + 1, "an edit of the session is refused or does nothing");
    for pair in states.windows(2) {
        let (old, new) = (built(&pair[0], &host), built(&pair[1], &host));
        let most = lines(&between(&pair[0], &pair[1])).len();
        // All of them where they are few, and some sixty where they are many.
        for left in (0..most).step_by(most / 60 + 1) {
            survives((&pair[0], &old), (&pair[1], &new), Fuse { left, turn: left }).unwrap();
        }
    }
}
