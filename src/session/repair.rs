//! Comparing all of the kernel with the state, and making it so again.

use crate::error::{Failure, Kind, Result};
use crate::model::state::State;
use crate::plan::drift::{Difference, Found, Mending, Survey};
use crate::plan::observed::Observed;
use crate::plan::subject::Subject;
use crate::plan::{Plan, Split, claims, surplus};
use crate::session::{CONVERGE_ATTEMPTS, Session, failure, looked_in_vain};
use crate::store::Lock;

/// How often a comparison is made anew because a command changed the state meanwhile.
const COMPARE_ATTEMPTS: usize = 8;

/// What came of a comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// How many objects were compared.
    pub objects: usize,
    /// Those that are not as the state says.
    pub differences: Vec<Difference>,
    /// What only looks like vpcctl's, and is in nobody's way.
    pub lookalikes: Vec<String>,
    /// The command that was cut off, or is at work.
    pub unfinished: Option<Unfinished>,
}

/// A command that has begun and not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfinished {
    /// As it was typed.
    pub command: String,
    /// Is it still at work?
    pub at_work: bool,
}

/// What came of a repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repair {
    /// How many objects were mended.
    pub mended: usize,
    /// What is not vpcctl's to mend, or could not be mended.
    pub left: Vec<Difference>,
    /// Why something could not be taken away.
    pub trouble: Option<Failure>,
}

/// How many objects differ.
fn count(differences: &[Difference]) -> usize {
    differences.iter().map(Difference::objects).sum()
}

impl Session<'_> {
    /// Compares the kernel with the state. Takes no lock, and starts nothing that changes anything.
    pub fn compare(&self, subject: &Subject) -> Result<Comparison> {
        let mut attempts = 1;
        loop {
            let before = (self.read()?, self.unfinished()?);
            let survey = self.survey(&before.0, subject)?;
            let is_settled = before == (self.read()?, self.unfinished()?);
            if is_settled || attempts == COMPARE_ATTEMPTS {
                let (differences, lookalikes) = (survey.differences(), survey.lookalikes());
                let objects = survey.ops.len();
                // Where one command follows the other, none of them need be unfinished at the end of a look.
                let busy = || Unfinished { command: "another vpcctl".into(), at_work: true };
                let unfinished = before.1.or_else(|| (!is_settled).then(busy));
                return Ok(Comparison { objects, differences, lookalikes, unfinished });
            }
            attempts += 1;
        }
    }

    fn unfinished(&self) -> Result<Option<Unfinished>> {
        let intent = self.store.intent()?;
        Ok(intent.map(|intent| Unfinished { command: intent.changed_by, at_work: self.store.is_locked() }))
    }

    /// A look at all of the kernel that has to do with the subject.
    fn survey<'a>(&self, state: &'a State, subject: &'a Subject) -> Result<Survey<'a>> {
        let ops = subject.ops(state);
        let routers = surplus::routers(state, &ops).into_keys();
        let whole = *subject == Subject::Everything;
        let observed = self.look(self.interrupted, |look| look.survey(&ops, routers, whole));
        let observed = observed.map_err(|error| looked_in_vain(&error))?;
        Ok(Survey { state, subject, ops, observed })
    }

    /// Makes the kernel what the state says, with the least change, and takes away what is too many; with `unknown`, also what
    /// bears vpcctl's mark and is not of this state. What isn't vpcctl's is left alone.
    pub fn repair(&self, subject: &Subject, unknown: bool) -> Result<Repair> {
        if self.dry_run {
            return self.show_repair(subject, unknown);
        }
        let (lock, found) = self.enter()?;
        let state = self.recovered(&lock, found)?;
        let (mut first, mut last, mut trouble) = (None, None, None);
        for _ in 0..=CONVERGE_ATTEMPTS {
            let survey = self.survey(&state, subject)?;
            let left = survey.differences();
            let before = *first.get_or_insert_with(|| count(&left));
            let mending = survey.mending(unknown);
            // The same again would come to the same.
            if mending.is_empty() || last.as_ref() == Some(&mending) {
                self.tell_of_signal()?;
                return Ok(Repair { mended: before.saturating_sub(count(&left)), left, trouble });
            }
            let Survey { observed, .. } = survey;
            trouble = self.mend_once(&lock, (&state, subject), &observed, &mending)?;
            last = Some(mending);
        }
        let left = self.survey(&state, subject)?.differences();
        Ok(Repair { mended: first.unwrap_or_default().saturating_sub(count(&left)), left, trouble })
    }

    /// What closes, then the network, then what is too many; at last the apps, of which one that can't start is an error. What can't
    /// be taken away is no reason to leave the rest: the last such failure.
    fn mend_once(
        &self,
        lock: &Lock,
        (state, subject): (&State, &Subject),
        observed: &Observed,
        mending: &Mending,
    ) -> Result<Option<Failure>> {
        let Mending { closing, making, removing } = mending;
        let Split { network, apps } = making.clone().split_apps(&|_| false);
        let mut intent = self.begin(lock, state, making)?;
        let mut trouble = self.take_away(closing)?;
        match self.run(&network, self.interrupted) {
            Err((_, error)) if error.interrupted => return Err(failure(&error)),
            // What was half-made may not bear its mark yet.
            Err(_) => self.converge(lock, &mut intent, &claims::without_theirs(subject.ops(state), observed), &[])?,
            Ok(()) => {}
        }
        trouble = self.take_away(removing)?.or(trouble);
        let started = self.run(&apps, self.interrupted);
        self.store.abandon(lock)?;
        started.map_err(|(_, error)| failure(&error))?;
        Ok(trouble)
    }

    /// All at once, or one by one where that fails; why the last one of these failed.
    fn take_away(&self, plan: &Plan) -> Result<Option<Failure>> {
        let singly = match self.run(plan, self.interrupted) {
            Ok(()) => return Ok(None),
            Err((_, error)) if error.interrupted => return Err(failure(&error)),
            Err(_) => plan.clear.iter().map(|op| Plan { clear: vec![op.clone()], ..Plan::default() }),
        };
        let mut trouble = None;
        for plan in singly {
            match self.run(&plan, self.interrupted) {
                Err((_, error)) if error.interrupted => return Err(failure(&error)),
                Err((_, error)) => trouble = Some(failure(&error)),
                Ok(()) => {}
            }
        }
        Ok(trouble)
    }

    fn show_repair(&self, subject: &Subject, unknown: bool) -> Result<Repair> {
        let state = self.read()?;
        let Mending { closing, making, removing } = self.survey(&state, subject)?.mending(unknown);
        let clear = closing.clear.into_iter().chain(making.clear).collect();
        self.script(&Plan { clear, make: making.make, unmake: removing.clear })?;
        Ok(Repair { mended: 0, left: Vec::new(), trouble: None })
    }
}

impl Comparison {
    /// Is everything as the state says?
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.unfinished.is_none()
    }
}

impl Repair {
    /// Something that should have been mended and isn't.
    pub fn stubborn(&self) -> Option<&Difference> {
        self.left.iter().find(|difference| !difference.found.is_left_alone())
    }

    /// An error, if something is left: not vpcctl's to mend, or stubborn.
    pub fn check(&self) -> Result<()> {
        // What could have been mended says more than what is somebody's.
        let Some(first) = self.stubborn().or(self.left.first()) else { return Ok(()) };
        let more = match self.left.len() {
            1 => String::new(),
            count => format!(", and {} more: `vpcctl check` names them", count - 1),
        };
        let (what, hint) = match (&first.found, &self.trouble) {
            (Found::Unknown, _) => (
                format!("left alone: {}", first.object),
                "does another state directory (--state-dir) have it? `vpcctl repair --unknown` would remove it, with all in it",
            ),
            (Found::Foreign, _) => (
                format!("left alone: {}", first.object),
                "it bears no mark of vpcctl's, or another: remove or rename it, if that is for you to decide, and repeat the command",
            ),
            (_, Some(trouble)) => (
                format!("cannot mend {}: {}", first.object, trouble.message),
                "mend what the tool names, and repeat the command",
            ),
            (_, None) => (
                format!("mended, and bent again by something on this host: {}", first.object),
                "`vpcctl doctor` may know by what",
            ),
        };
        Err(Failure::new(Kind::Drift, format!("{what}{more}")).hint(hint))
    }
}
