//! The only choreography: lock and load, edit, plan, show or apply, commit. Every command that changes something is an edit
//! handed to [`Session::change`].

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Failure, Kind, Result};
use crate::host::{Host, StepError, facts, look, namespace, privilege};
use crate::model::facts::HostFacts;
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::holds::Holding;
use crate::plan::line::{Change, Place};
use crate::plan::observed::Observed;
use crate::plan::op::{Object, Op};
use crate::plan::{self, Plan, batch, reconcile, script, topology};
use crate::store::{Lock, Store};
use crate::ui::Ui;

/// How often the kernel is looked at anew before what it refuses is an error.
const CONVERGE_ATTEMPTS: usize = 4;

/// What a command works with.
pub struct Session<'a> {
    /// Where the state lives.
    pub store: Store,
    /// Who is talked to.
    pub ui: &'a Ui,
    /// Print the plan as a script, change nothing.
    pub dry_run: bool,
    /// How long to wait for another vpcctl.
    pub lock_timeout: Duration,
    /// The command as it was typed, for the log and the intent.
    pub command: String,
    /// Set by a signal that asks the command to end.
    pub interrupted: &'a AtomicBool,
}

/// A plan that nothing foreign is in the way of.
struct Checked {
    plan: Plan,
    /// It also makes again what was removed behind vpcctl's back.
    heals: bool,
}

/// What came of a change.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The state before.
    pub old: State,
    /// The state now.
    pub new: State,
    /// How many objects the kernel lacked although the state had them, and has again.
    pub healed: usize,
    /// Only a script was printed.
    pub dry_run: bool,
}

impl Outcome {
    /// Did the state change?
    pub fn is_change(&self) -> bool {
        self.old != self.new
    }
}

impl Session<'_> {
    /// The state, for commands that only read. They take no lock: the file is replaced whole.
    pub fn read(&self) -> Result<State> {
        self.store.load()
    }

    /// Makes `edit` true in the kernel and then in the state file. Where it changes nothing, `subject`'s objects are looked
    /// at, and what was removed behind vpcctl's back is made again.
    pub fn change(&self, subject: &Subject, edit: impl FnOnce(&mut State) -> Result<()>) -> Result<Outcome> {
        if self.dry_run {
            return self.show(subject, edit);
        }
        privilege::check()?;
        self.store.prepare()?;
        let lock = self.store.lock(self.lock_timeout, || self.ui.note("waiting for another vpcctl to finish"))?;
        self.ui.log_to(&self.store.log_path());
        let old = self.recovered(&lock)?;
        let mut new = old.clone();
        edit(&mut new)?;
        if old == new {
            return self.heal(&lock, subject, old);
        }
        let Checked { plan, heals } = self.checked_plan(&old, &new)?;
        self.store.begin(&lock, &self.command, &new)?;
        if let Err(error) = self.run(&plan, self.interrupted) {
            let forward = plan.only_unmakes() || (heals && !error.interrupted);
            self.settle(&lock, &old, &new, forward, error)?;
        }
        self.store.commit(&lock)?;
        if self.interrupted.load(Ordering::Relaxed) {
            let hint = "the command had done its work by then: the change holds";
            return Err(Failure::new(Kind::Interrupted, "interrupted").hint(hint));
        }
        Ok(Outcome { old, new, healed: 0, dry_run: false })
    }

    /// What an edit has to know of the host.
    pub fn facts(&self, state: &State) -> Result<HostFacts> {
        // Whether a table is there matters when the first rule goes into it.
        let first_rules = state.host.wans.is_empty() || state.vpcs.values().all(|vpc| vpc.uplink.is_none());
        facts::gather(first_rules)
    }

    /// The dry run: the plan as a script on stdout.
    fn show(&self, subject: &Subject, edit: impl FnOnce(&mut State) -> Result<()>) -> Result<Outcome> {
        let old = self.store.load()?;
        if let Some(intent) = self.store.intent()? {
            self.ui.note(&format!("`{}` was cut off; the next command puts that right first", intent.changed_by));
        }
        let mut new = old.clone();
        edit(&mut new)?;
        let plan = if old == new {
            let ops = subject.ops(&new);
            reconcile::plan(&ops, &[], &self.look(&ops)?)
        } else {
            self.checked_plan(&old, &new)?.plan
        };
        self.ui.data(&script::script(&plan))?;
        Ok(Outcome { old, new, healed: 0, dry_run: true })
    }

    /// The plan from one state to the next, refused where something that isn't vpcctl's is in the way.
    fn checked_plan(&self, old: &State, new: &State) -> Result<Checked> {
        let plan = plan::between(old, new);
        let before: BTreeSet<String> = topology::host_ops(old).iter().map(Op::identity).collect();
        let in_the_way = |op: &Op| is_in_the_way(op) || (!before.contains(&op.identity()) && is_foreign_chain(op, new));
        if !plan.make.iter().any(in_the_way) && !lost_place(&plan) {
            return Ok(Checked { plan, heals: false });
        }
        let (before, after) = (plan::affected_ops(old, new), plan::affected_ops(new, old));
        let observed = self.look(before.iter().chain(&after))?;
        for op in plan.make.iter().filter(|op| !before.contains(op)) {
            refuse_foreign(op, &observed)?;
        }
        Ok(Checked { plan: reconcile::plan(&after, &before, &observed), heals: lost_place(&plan) })
    }

    /// What the state says of `subject` and the kernel lacks.
    fn heal(&self, lock: &Lock, subject: &Subject, state: State) -> Result<Outcome> {
        let ops = subject.ops(&state);
        let observed = self.look(&ops)?;
        let plan = reconcile::plan(&ops, &[], &observed);
        for op in &plan.make {
            refuse_foreign(op, &observed)?;
        }
        let healed = plan.make.len();
        if healed > 0 {
            self.store.begin(lock, &self.command, &state)?;
            if self.run(&plan, self.interrupted).is_err() {
                self.converge(&ops, &[])?;
            }
            self.store.commit(lock)?;
        }
        Ok(Outcome { old: state.clone(), new: state, healed, dry_run: false })
    }

    fn look<'b>(&self, ops: impl IntoIterator<Item = &'b Op>) -> Result<Observed> {
        look::observe(ops).map_err(|error| failure(&error))
    }

    /// What the kernel has of these ops.
    pub fn observe<'b>(&self, ops: impl IntoIterator<Item = &'b Op>) -> Result<Observed> {
        self.look(ops)
    }

    fn run(&self, plan: &Plan, interrupted: &AtomicBool) -> Result<(), StepError> {
        let before = |step: &batch::Step| self.ui.step(step);
        let note = |text: &str| self.ui.note(text);
        let host = Host { before: &before, note: &note, interrupted };
        batch::steps(plan).iter().try_for_each(|steps| host.apply(steps))
    }

    /// Makes the kernel have `wanted` and not `unwanted`, whatever it has now. Doesn't stop for a signal.
    ///
    /// The kernel ends what was in a deleted namespace some time after: what was seen may be gone when it is its turn. So
    /// a failure leads to another look.
    fn converge(&self, wanted: &[Op], unwanted: &[Op]) -> Result<()> {
        let mut attempts = 1;
        loop {
            let plan = reconcile::plan(wanted, unwanted, &self.look(wanted.iter().chain(unwanted))?);
            match self.run(&plan, &AtomicBool::new(false)) {
                Ok(()) => return Ok(()),
                Err(error) if attempts == CONVERGE_ATTEMPTS => return Err(failure(&error)),
                Err(_) => attempts += 1,
            }
        }
    }

    /// After a failure: goes on `forward` where that is sensible, and undoes everything otherwise. Returns only where the new
    /// state holds.
    fn settle(&self, lock: &Lock, old: &State, new: &State, forward: bool, error: StepError) -> Result<()> {
        if forward && self.force(old, new, &error).is_ok() {
            return Ok(());
        }
        let cause = failure(&error);
        match self.force(new, old, &error) {
            Ok(()) => {
                self.store.abandon(lock)?;
                Err(Failure { hint: cause.hint.or(Some("what the command had done was undone".into())), ..cause })
            }
            Err(second) => Err(Failure {
                message: format!("{}; and putting it right failed too: {second}", cause.message),
                hint: Some("the next vpcctl command tries again".into()),
                ..cause
            }),
        }
    }

    /// Makes `wanted` true whatever is half-made between it and `other`.
    fn force(&self, other: &State, wanted: &State, cause: &StepError) -> Result<()> {
        let (after, mut before) = (plan::affected_ops(wanted, other), plan::affected_ops(other, wanted));
        // What couldn't be made because it was there already is somebody else's.
        before.retain(|op| !is_made_by(op, cause));
        self.converge(&after, &before)
    }

    /// The state, after whatever a command that was cut off left half-made is finished or undone.
    fn recovered(&self, lock: &Lock) -> Result<State> {
        let old = self.store.load()?;
        let Some(intent) = self.store.intent()? else {
            return Ok(old);
        };
        let new = intent.network;
        let nobody = StepError::interrupted();
        if old == new {
            // What was being healed may be half-made: all that the state says is looked at.
            self.converge(&topology::ops(&old), &[])?;
            self.store.abandon(lock)?;
            return Ok(old);
        }
        if plan::between(&old, &new).only_unmakes() {
            self.force(&old, &new, &nobody)?;
            self.store.commit(lock)?;
            self.ui.note(&format!("`{}` was cut off: it is finished now", intent.changed_by));
            return Ok(new);
        }
        self.force(&new, &old, &nobody)?;
        self.store.abandon(lock)?;
        self.ui.note(&format!("`{}` was cut off: it is undone now", intent.changed_by));
        Ok(old)
    }
}

/// Whose objects a repeated command looks after.
#[derive(Debug, Clone)]
pub struct Subject(Vec<Owner>);

impl Subject {
    /// The objects of these owners; a VPC's with all that is in it.
    pub fn of(owners: impl IntoIterator<Item = Owner>) -> Self {
        Subject(owners.into_iter().collect())
    }

    /// Nobody's.
    pub fn none() -> Self {
        Subject(Vec::new())
    }

    fn ops(&self, state: &State) -> Vec<Op> {
        let includes = |op: &Op| {
            self.0.iter().any(|owner| match owner {
                Owner::Vpc(vpc) => op.owner.involves(vpc) || op.owner == Owner::Host,
                Owner::Subnet(vpc, subnet) => match &op.owner {
                    Owner::Subnet(v, s) | Owner::Instance(v, s, _) => (v, s) == (vpc, subnet),
                    _ => false,
                },
                _ => &op.owner == owner,
            })
        };
        if self.0.is_empty() { Vec::new() } else { topology::ops(state).into_iter().filter(includes).collect() }
    }
}

/// Is there, under the name of something that is about to be made, something already?
fn is_in_the_way(op: &Op) -> bool {
    match &op.object {
        Object::Namespace(netns) => namespace::has_file(netns),
        Object::Cable { ends, .. } => {
            ends.iter().any(|end| end.place == Place::Host && namespace::has_link(end.device.as_str()))
        }
        _ => false,
    }
}

/// May a chain of the host's that is about to be made exist already? Not in a table that comes into being with it.
fn is_foreign_chain(op: &Op, new: &State) -> bool {
    match &op.object {
        Object::Chain { place: Place::Host, table, .. } => !new.host.own_tables.contains(table.as_str()),
        _ => false,
    }
}

/// Does the plan need a namespace that should be there and is not, such as after a reboot?
fn lost_place(plan: &Plan) -> bool {
    let made: Vec<&Op> = plan.make.iter().filter(|op| matches!(op.object, Object::Namespace(_))).collect();
    let mut places: Vec<Place> = plan.make.iter().map(Op::place).collect();
    places.dedup();
    places.iter().any(|place| match place {
        Place::Host => false,
        Place::Netns(netns) => !made.iter().any(|op| &op.place() == place) && !namespace::is_alive(netns),
    })
}

/// Refuses what has our name but not our mark.
fn refuse_foreign(op: &Op, observed: &Observed) -> Result<()> {
    let foreign = match (&op.object, op.holding(observed)) {
        (Object::Namespace(_) | Object::Cable { .. } | Object::Bridge { .. }, holding) => {
            matches!(holding, Holding::Foreign | Holding::Unmarked)
        }
        (Object::Chain { place, table, chain, .. }, Holding::Differs) => {
            let found = observed.places.get(place).and_then(|seen| seen.chain(*table, chain));
            found.is_some_and(|chain| chain.rules.iter().any(|rule| rule.mark.is_none()))
        }
        _ => false,
    };
    if !foreign {
        return Ok(());
    }
    let message = format!("cannot make {}: {} exists, and vpcctl did not make it", op.owner.describe(), op.identity());
    Err(Failure::conflict(message).hint("remove or rename it, if that is for you to decide, or choose another name"))
}

/// Was it this op's line that failed because the name was taken?
fn is_made_by(op: &Op, cause: &StepError) -> bool {
    let taken = cause.reason.contains("File exists");
    let Some(line) = cause.line.as_ref().filter(|_| taken) else {
        return false;
    };
    op.make().iter().any(|made| matches!(&made.change, Change::Links(text) if text == line))
}

fn failure(error: &StepError) -> Failure {
    if error.interrupted {
        return Failure::new(Kind::Interrupted, "interrupted");
    }
    let message = format!("{}: `{}` failed: {}", error.object, error.command, error.reason);
    Failure::new(Kind::Failed, message)
}
