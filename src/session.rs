//! The only choreography: lock and load, edit, plan, show or apply, commit. Every command that changes something is an edit
//! handed to [`Session::change`].

mod recovery;
mod repair;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::error::{Failure, Kind, Result};
use crate::host::facts::{self, Asked};
use crate::host::look::Look;
use crate::host::rules::Ahead;
use crate::host::{Host, StepError, namespace, privilege, run};
use crate::model::cidr::Cidr;
use crate::model::facts::HostFacts;
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::batch::{self, Part, Program};
use crate::plan::observed::Observed;
use crate::plan::op::{HostTable, Object, Op};
use crate::plan::reconcile::{self, Unmarked};
use crate::plan::subject::Subject;
use crate::plan::{self, Plan, Split, claims, insertion, script, topology};
use crate::store::{self, Document, Lock, Store, Wait};
use crate::ui::Ui;

pub use repair::{Comparison, Repair, Unfinished};

/// How often the kernel is looked at anew before what it refuses is an error.
const CONVERGE_ATTEMPTS: usize = 4;

/// What every change may start, and every undoing needs.
const TOOLS: [Program; 5] =
    [Program::Ip, Program::Bridge, Program::Ipset, Program::IptablesRestore, Program::IptablesSave];

/// What a command works with.
pub struct Session<'a> {
    /// Where the state lives.
    pub store: Store,
    /// Who is talked to.
    pub ui: &'a Ui,
    /// Print the plan as a script, change nothing.
    pub dry_run: bool,
    /// Print the plan object by object, each explained, in place of the script of a dry run.
    pub explains: bool,
    /// How long to wait for another vpcctl.
    pub lock_timeout: Duration,
    /// The command as it was typed, for the log and the intent.
    pub command: String,
    /// Set by a signal that asks the command to end.
    pub interrupted: &'a AtomicBool,
    /// The host's rules, where they were read with the facts.
    pub ahead: Ahead,
}

/// What came of a change.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The state before.
    pub old: State,
    /// The state now.
    pub new: State,
    /// How many objects were not as the state says, and are again.
    pub mended: usize,
    /// Only a script was printed.
    pub dry_run: bool,
}

impl Outcome {
    /// Did the state change?
    pub fn is_change(&self) -> bool {
        self.old != self.new
    }
}

/// A plan that nothing foreign is in the way of.
struct Checked {
    plan: Plan,
    /// It also makes again what was removed behind vpcctl's back.
    mends: bool,
}

impl Session<'_> {
    /// The state, for commands that only read. They take no lock: the file is replaced whole.
    pub fn read(&self) -> Result<State> {
        let state = self.store.load()?;
        run::keep_to(state.host.iptables)?;
        Ok(state)
    }

    /// What the kernel has of these ops.
    pub fn observe<'b>(&self, ops: impl IntoIterator<Item = &'b Op>) -> Result<Observed> {
        self.look(self.interrupted, |look| look.observe(ops)).map_err(|error| looked_in_vain(&error))
    }

    /// The same where something has begun that must not be left half-made: no signal stops it.
    fn observe_to_the_end<'b>(&self, ops: impl IntoIterator<Item = &'b Op>) -> Result<Observed> {
        self.look(&AtomicBool::new(false), |look| look.observe(ops)).map_err(|error| failure(&error))
    }

    fn look<T>(
        &self,
        interrupted: &AtomicBool,
        work: impl FnOnce(&Look<'_>) -> Result<T, StepError>,
    ) -> Result<T, StepError> {
        let progress = OnceLock::new();
        let begin = |places: usize| progress.set(self.ui.progress(places, "places looked at")).unwrap_or_default();
        let step = || progress.get().into_iter().for_each(|progress| progress.step(|line| self.ui.done(line)));
        let note = |text: &str| match progress.get() {
            Some(progress) => progress.aside(|| self.ui.note(text)),
            None => self.ui.note(text),
        };
        work(&Look {
            apps: self.store.apps(),
            ahead: &self.ahead,
            interrupted,
            begin: &begin,
            step: &step,
            note: &note,
        })
    }

    /// What an edit has to know of the host.
    pub fn facts(&self, state: &State) -> Result<HostFacts> {
        self.gather(state, None)
    }

    /// The same, with what stops VPCs from leaving the host.
    pub fn facts_with_barriers(&self, state: &State, pool: Cidr) -> Result<HostFacts> {
        self.gather(state, Some(pool))
    }

    fn gather(&self, state: &State, barriers_to: Option<Cidr>) -> Result<HostFacts> {
        if self.explains && !privilege::lacking().is_empty() {
            self.ui.note("without root the host's rules can't be looked at: taken for none");
            return facts::gather_unprivileged(state);
        }
        // What is only explained is not looked at.
        let ahead = (!self.explains).then_some(&self.ahead);
        facts::gather(state, Asked { firewall: needs_first_rules(state), barriers_to, ahead })
    }

    /// Makes `edit` true in the kernel and then in the state file. Where it changes nothing, `subject`'s objects are looked
    /// at, and what was removed behind vpcctl's back is made again.
    pub fn change(&self, subject: &Subject, edit: impl FnOnce(&mut State) -> Result<()>) -> Result<Outcome> {
        if self.dry_run {
            return self.show(subject, edit);
        }
        let (lock, found) = self.enter()?;
        let old = self.recovered(&lock, found)?;
        let mut wanted = old.clone();
        edit(&mut wanted)?;
        let (new, mended) = if old == wanted {
            let mended = self.mend(&lock, subject, &old)?;
            (wanted, mended)
        } else {
            (self.advance(&lock, &old, &wanted)?, 0)
        };
        self.tell_of_missing_filter(&old, &new);
        self.tell_of_signal()?;
        Ok(Outcome { old, new, mended, dry_run: false })
    }

    /// A note, if the first VPCs have to do without the filter of senders.
    fn tell_of_missing_filter(&self, old: &State, new: &State) {
        if old.vpcs.is_empty() && !new.vpcs.is_empty() && !new.host.filters_senders {
            self.ui.note(
                "instances of a VPC could put fragments into each other's packets: `vpcctl doctor` says what is missing",
            );
        }
    }

    /// An error, if a signal came when there was nothing left to stop.
    fn tell_of_signal(&self) -> Result<()> {
        if !self.interrupted.load(Ordering::Relaxed) {
            return Ok(());
        }
        let hint = "the command had done its work by then: the change holds";
        Err(Failure::new(Kind::Interrupted, "interrupted").hint(hint))
    }

    /// What has to be so before anything changes, the right to change it, and what the state file says.
    fn enter(&self) -> Result<(Lock, State)> {
        privilege::check()?;
        self.store.prepare()?;
        self.ui.log_to(&self.store.log_path());
        let lock = self.store.lock(&Wait {
            command: &self.command,
            timeout: self.lock_timeout,
            interrupted: self.interrupted,
            note: &|text| self.ui.note(text),
        })?;
        let state = self.read()?;
        privilege::check_place(&state)?;
        TOOLS.iter().try_for_each(|program| run::find(program.as_str()).map(|_| ()))?;
        Ok((lock, state))
    }

    /// The dry run: the plan as a script on stdout.
    fn show(&self, subject: &Subject, edit: impl FnOnce(&mut State) -> Result<()>) -> Result<Outcome> {
        let old = self.read()?;
        if let Some(intent) = self.store.intent()? {
            self.ui
                .note(&format!("`{}` did not end cleanly; the next command puts that right first", intent.changed_by));
        }
        let mut new = old.clone();
        edit(&mut new)?;
        let plan = if self.explains {
            self.explained(subject, &old, &new)
        } else if old == new {
            let ops = subject.ops(&new);
            reconcile::plan(&ops, &[], &self.observe(&ops)?, Unmarked::Theirs)
        } else {
            self.checked_plan(&old, &new)?.plan
        };
        self.script(&plan)?;
        self.tell_of_missing_filter(&old, &new);
        Ok(Outcome { old, new, mended: 0, dry_run: true })
    }

    /// What a command is about, whatever the kernel has of it.
    fn explained(&self, subject: &Subject, old: &State, new: &State) -> Plan {
        if old == new {
            self.ui.note("nothing would change: this is what there is");
            return Plan { make: subject.ops(new), ..Plan::default() };
        }
        let mut plan = plan::between(old, new);
        let grown = insertion::grown(&plan::differing_ops(old, new), &plan::differing_ops(new, old));
        insertion::join_as_if_held(&mut plan, &grown);
        plan
    }

    fn script(&self, plan: &Plan) -> Result<()> {
        if self.explains {
            return self.ui.explain(plan);
        }
        let dir = (self.store.dir() != Path::new(store::DEFAULT_DIR)).then(|| self.store.dir());
        self.ui.data(&script::script(plan, dir))
    }

    /// From one state to the next: the intent, the kernel, the commit. The state that is true now, which may have to do without what
    /// the kernel turned out to lack.
    fn advance(&self, lock: &Lock, old: &State, new: &State) -> Result<State> {
        let Checked { plan, mends } = self.checked_plan(old, new)?;
        let known: BTreeSet<String> = topology::apps(old).iter().map(Op::identity).collect();
        let Split { network, apps } = plan.split_apps(&|op| !known.contains(&op.identity()));
        let mut intent = self.begin(lock, new, &network)?;
        if let Err((part, error)) = self.run(&network, self.interrupted) {
            // What is left to unmake may be gone by itself, and what was found missing may have moved: look again, and go on.
            let forward = part == Part::Unmake || (mends && !error.interrupted);
            self.settle(lock, old, &mut intent, forward, error)?;
        }
        self.start_besides(&apps);
        self.store.commit(lock)?;
        Ok(intent.network)
    }

    /// Writes down what is about to be made true, and what the plan touches on the way.
    fn begin(&self, lock: &Lock, network: &State, plan: &Plan) -> Result<Document> {
        let intent = Document::new(&self.command, network, plan.marked_objects());
        self.store.begin(lock, &intent)?;
        Ok(intent)
    }

    /// Starts apps that are not what the command is about: one that can't start is reported, and no reason to fail.
    fn start_besides(&self, apps: &Plan) {
        if let Err((_, error)) = self.run(apps, &AtomicBool::new(false)) {
            self.ui.note(&format!("{}: {}", error.object, error.reason));
        }
    }

    /// What the state says of `subject` and the kernel lacks; the number of objects that were mended.
    fn mend(&self, lock: &Lock, subject: &Subject, state: &State) -> Result<usize> {
        let mut ops = subject.ops(state);
        let mut observed = self.observe(&ops)?;
        if is_lost(&reconcile::plan(&ops, &[], &observed, Unmarked::Theirs)) {
            // What it stands on is gone too, as after a reboot.
            ops = topology::ops(state);
            observed = self.observe(&ops)?;
        }
        claims::refuse_theirs(&ops, &observed)?;
        let plan = reconcile::plan(&ops, &[], &observed, Unmarked::Theirs);
        if plan.is_empty() {
            return Ok(0);
        }
        let mended = plan.make.len();
        let Split { network, apps } = plan.split_apps(&|_| false);
        let mut intent = self.begin(lock, state, &network)?;
        match self.run(&network, self.interrupted) {
            // The next command goes on: what is half-made may not bear its mark yet.
            Err((_, error)) if error.interrupted => return Err(failure(&error)),
            Err(_) => self.converge(lock, &mut intent, &ops, &[])?,
            Ok(()) => {}
        }
        let started = self.run(&apps, self.interrupted);
        self.store.abandon(lock)?;
        started.map_err(|(_, error)| failure(&error))?;
        Ok(mended)
    }

    /// The plan from one state to the next. Where something is in the way, or something that should be there is not, the plan
    /// starts from what the kernel has; what isn't vpcctl's is refused or left alone.
    fn checked_plan(&self, old: &State, new: &State) -> Result<Checked> {
        let (leaving, wanted) = (plan::leaving_ops(old, new), plan::differing_ops(new, old));
        claims::refuse_change_of_hands(&leaving, &wanted)?;
        let fresh = claims::fresh(&leaving, &wanted);
        let grown = insertion::grown(&leaving, &wanted);
        let plan = plan::diff(leaving, wanted);
        let may_be_taken =
            |op: &&Op| claims::may_be_taken(op, new, &namespace::has_file, &namespace::is_link_name_taken);
        let suspects: Vec<Op> = fresh.iter().filter(may_be_taken).cloned().collect();
        let guard = claims::standing_guard(&plan, old, new);
        let doomed = claims::doomed(&plan);
        let seen = self.observe(guard.iter().chain(&doomed).chain(&grown).chain(&suspects))?;
        let lost = is_lost(&plan) || !claims::all_held(&guard, &seen);
        self.refuse_to_bend(&plan, old)?;
        suspects.iter().try_for_each(|op| claims::refuse_present(op, &seen))?;
        if !lost && claims::all_held(&doomed, &seen) && claims::none_there(&suspects, &seen) {
            let mut plan = self.spare_host_part(plan, old, &seen);
            insertion::join(&mut plan, &grown, &seen);
            return Ok(Checked { plan, mends: false });
        }
        let ops = |of: &State, other: &State| if lost { topology::ops(of) } else { plan::affected_ops(of, other) };
        let (before, after) = (ops(old, new), ops(new, old));
        let observed = self.observe(before.iter().chain(&after))?;
        fresh.iter().try_for_each(|op| claims::refuse_present(op, &observed))?;
        for op in claims::theirs(&before, &observed) {
            self.ui.note(&format!("{} is not vpcctl's any more: left alone", op.identity()));
        }
        let plan = reconcile::plan(&after, &before, &observed, Unmarked::Theirs);
        Ok(Checked { plan: self.spare_host_part(plan, old, &observed), mends: lost })
    }

    /// Refuses where rules on the host would change that another vpcctl's uplinks stand on.
    fn refuse_to_bend(&self, plan: &Plan, old: &State) -> Result<()> {
        let chains = claims::shared_chains(plan);
        if chains.is_empty() || !claims::may_have_others(old, &namespace::links()) {
            return Ok(());
        }
        // A look at a link of the host shows them all.
        let links = Op::new(&Owner::Host, Object::HostRule(HostTable::Own));
        let observed = self.observe(chains.iter().chain([&links]))?;
        claims::refuse_to_bend(&chains, old, &observed)
    }

    /// The plan, without the end of the host's rules where another vpcctl's uplinks stand on them.
    fn spare_host_part(&self, mut plan: Plan, old: &State, observed: &Observed) -> Plan {
        if claims::keep_host_part(&mut plan, old, observed) {
            self.ui.note("another vpcctl has uplinks on this host: the host's rules stay for it");
        }
        plan
    }

    /// Runs a plan; the part that failed, and why.
    fn run(&self, plan: &Plan, interrupted: &AtomicBool) -> Result<(), (Part, StepError)> {
        let parts = batch::steps(plan);
        let progress = self.ui.progress(parts.iter().map(|(_, steps)| steps.iter().count()).sum(), "steps");
        let note = |text: &str| progress.aside(|| self.ui.note(text));
        let before = |step: &batch::Step| {
            self.ui.step(step);
            progress.step(|line| self.ui.done(line));
        };
        let host = Host { before: &before, note: &note, interrupted, store: &self.store };
        parts.iter().try_for_each(|(part, steps)| host.apply(steps).map_err(|error| (*part, error)))
    }
}

/// May the first rule go into a table of the host? Whether that is there matters then.
fn needs_first_rules(state: &State) -> bool {
    state.host.wans.is_empty() || state.vpcs.values().all(|vpc| vpc.uplink.is_none())
}

/// Does the plan need a namespace or an interface that should be there and is not, such as after a reboot?
fn is_lost(plan: &Plan) -> bool {
    let (namespaces, links) = claims::needs(&plan.make);
    namespaces.iter().any(|netns| !namespace::is_alive(netns)) || links.iter().any(|link| !namespace::has_link(link))
}

/// A look that failed. Where a signal ended it there is nothing to undo.
fn looked_in_vain(error: &StepError) -> Failure {
    let failure = failure(error);
    if error.interrupted { failure.hint("what had ended by then holds: run it again") } else { failure }
}

fn failure(error: &StepError) -> Failure {
    if error.interrupted {
        return Failure::new(Kind::Interrupted, "interrupted");
    }
    let StepError { object, command, reason, hint, kind, .. } = error;
    let message = if command.is_empty() {
        format!("{object}: {reason}")
    } else {
        format!("{object}: `{command}` failed: {reason}")
    };
    let busy = reason.contains("holding the xtables lock");
    Failure {
        hint: hint.as_deref().map(str::to_owned),
        ..Failure::new(kind.unwrap_or(if busy { Kind::Busy } else { Kind::Failed }), message)
    }
}
