//! Undoing what failed, and putting right what a command that was cut off left half-made.

use std::sync::atomic::{AtomicBool, Ordering};

use super::{CONVERGE_ATTEMPTS, Session, failure, is_lost};
use crate::error::{Failure, Result};
use crate::host::StepError;
use crate::model::state::State;
use crate::plan::op::Op;
use crate::plan::reconcile::{self, Unmarked};
use crate::plan::{self, Plan, Split, claims, topology};
use crate::store::{Document, Lock};

impl Session<'_> {
    /// Makes the kernel have `wanted` and not `unwanted`, whatever it has now of what the intent touches; what else bears no mark
    /// is somebody's. Doesn't stop for a signal.
    ///
    /// The kernel ends what was in a deleted namespace some time after: what was seen may be gone when it is its turn. So
    /// a failure leads to another look.
    pub(super) fn converge(&self, lock: &Lock, intent: &mut Document, wanted: &[Op], unwanted: &[Op]) -> Result<()> {
        let mut attempts = 1;
        loop {
            let observed = self.observe_to_the_end(wanted.iter().chain(unwanted))?;
            let plan = reconcile::plan(wanted, unwanted, &observed, Unmarked::Ours(&intent.touched));
            let Split { network, apps } = plan.split_apps(&|_| false);
            self.widen(lock, intent, &network)?;
            match self.run(&network, &AtomicBool::new(false)) {
                Ok(()) => {
                    self.start_besides(&apps);
                    return Ok(());
                }
                Err((_, error)) if attempts == CONVERGE_ATTEMPTS || error.forced => return Err(failure(&error)),
                Err(_) => attempts += 1,
            }
        }
    }

    /// Writes down what a plan touches that the intent didn't.
    fn widen(&self, lock: &Lock, intent: &mut Document, plan: &Plan) -> Result<()> {
        let touched = plan.marked_objects();
        if touched.is_subset(&intent.touched) {
            return Ok(());
        }
        intent.touched.extend(touched);
        self.store.begin(lock, intent)
    }

    /// After a failure: goes on `forward` where that is sensible, and undoes everything otherwise. Returns only where the new
    /// state holds.
    pub(super) fn settle(
        &self,
        lock: &Lock,
        old: &State,
        intent: &mut Document,
        forward: bool,
        error: StepError,
    ) -> Result<()> {
        let does_without = self.give_up_filters(lock, old, intent, &error)?;
        let new = intent.network.clone();
        let cause = match (does_without || forward).then(|| self.force(lock, intent, (old, &new), &error)) {
            Some(Ok(())) => return Ok(()),
            // What can be done without is not why.
            Some(Err(second)) if does_without => second,
            _ => failure(&error),
        };
        match self.force(lock, intent, (&new, old), &error) {
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

    /// Where the kernel turns out to have no filter of senders as the first is made, the intent is one without from now on: whether that
    /// is so. What has one is not to lose it.
    fn give_up_filters(&self, lock: &Lock, old: &State, intent: &mut Document, error: &StepError) -> Result<bool> {
        let is_first = !old.host.filters_senders && intent.network.host.filters_senders;
        if !is_first || !error.is_filter_unknown() || self.interrupted.load(Ordering::Relaxed) {
            return Ok(false);
        }
        intent.network.host.filters_senders = false;
        self.store.begin(lock, intent)?;
        Ok(true)
    }

    /// Makes the second state true whatever is half-made between it and the first.
    fn force(
        &self,
        lock: &Lock,
        intent: &mut Document,
        (other, wanted): (&State, &State),
        cause: &StepError,
    ) -> Result<()> {
        let (mut after, mut before) = (plan::affected_ops(wanted, other), plan::affected_ops(other, wanted));
        let observed = self.observe_to_the_end(after.iter().chain(&before))?;
        if is_lost(&reconcile::plan(&after, &before, &observed, Unmarked::Ours(&intent.touched))) {
            // What it stands on is gone too, as after a reboot.
            (after, before) = (topology::ops(wanted), topology::ops(other));
        }
        let taken = cause.is_name_taken().then_some(cause.line.as_deref()).flatten();
        self.converge(lock, intent, &after, &claims::without_taken(before, taken))
    }

    /// The state, after whatever a command that did not end cleanly left half-made is finished or undone.
    pub(super) fn recovered(&self, lock: &Lock, old: State) -> Result<State> {
        let Some(mut intent) = self.store.intent()? else {
            return Ok(old);
        };
        let (command, new) = (intent.changed_by.clone(), intent.network.clone());
        let nobody = StepError::interrupted();
        if old == new {
            // What was being mended may be half-made: all that the state says is looked at.
            if let Err(failure) = self.converge(lock, &mut intent, &topology::ops(&old), &[]) {
                self.ui.note(&format!("`{command}` left something that is not mended yet: {failure}"));
            }
            self.store.abandon(lock)?;
            return Ok(old);
        }
        if plan::between(&old, &new).only_unmakes() {
            self.force(lock, &mut intent, (&old, &new), &nobody)
                .map_err(|failure| unsettled("finish", &command, failure))?;
            self.store.commit(lock)?;
            self.ui.note(&format!("`{command}` did not end cleanly: it is finished now"));
            return Ok(new);
        }
        self.force(lock, &mut intent, (&new, &old), &nobody).map_err(|failure| unsettled("undo", &command, failure))?;
        self.store.abandon(lock)?;
        self.ui.note(&format!("`{command}` did not end cleanly: it is undone now"));
        Ok(old)
    }
}

/// What an earlier command left behind can't be put right.
fn unsettled(verb: &str, command: &str, failure: Failure) -> Failure {
    let message = format!("cannot {verb} `{command}`, which did not end cleanly: {}", failure.message);
    Failure { message, ..failure }.hint("mend what is named here; every command tries again first")
}
