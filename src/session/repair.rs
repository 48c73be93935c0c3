//! Comparing all of the kernel with the state, and making it so again.

use crate::error::{Failure, Kind, Result};
use crate::model::state::State;
use crate::plan::drift::{Difference, Found, Survey};
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
    /// What is not vpcctl's to mend.
    pub left: Vec<Difference>,
}

impl Session<'_> {
    /// Compares the kernel with the state. Takes no lock, and starts nothing that changes anything.
    pub fn compare(&self, subject: &Subject) -> Result<Comparison> {
        let mut attempts = 1;
        loop {
            let before = (self.read()?, self.unfinished()?);
            let survey = self.survey(&before.0, subject)?;
            if attempts == COMPARE_ATTEMPTS || before == (self.read()?, self.unfinished()?) {
                let (differences, lookalikes) = (survey.differences(), survey.lookalikes());
                return Ok(Comparison { objects: survey.ops.len(), differences, lookalikes, unfinished: before.1 });
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
        let lock = self.enter()?;
        let state = self.recovered(&lock)?;
        let mut mended = 0;
        for _ in 0..CONVERGE_ATTEMPTS {
            let survey = self.survey(&state, subject)?;
            let plan = survey.mending(unknown);
            if plan.is_empty() {
                self.tell_of_signal()?;
                return Ok(Repair { mended, left: survey.differences() });
            }
            mended = mended.max(plan.objects());
            self.mend_once(&lock, &state, survey, plan)?;
        }
        Ok(Repair { mended, left: self.survey(&state, subject)?.differences() })
    }

    /// The network first; then the apps, of which one that can't start is reported.
    fn mend_once(&self, lock: &Lock, state: &State, found: Survey<'_>, plan: Plan) -> Result<()> {
        let Split { network, apps } = plan.split_apps(&|_| false);
        self.store.begin(lock, &self.command, state)?;
        match self.run(&network, self.interrupted) {
            Err((_, error)) if error.interrupted => return Err(failure(&error)),
            // What was half-made may not bear its mark yet.
            Err(_) => self.converge(&claims::without_theirs(found.ops, &found.observed), &[])?,
            Ok(()) => {}
        }
        let started = self.run(&apps, self.interrupted);
        self.store.abandon(lock)?;
        started.map_err(|(_, error)| failure(&error))
    }

    fn show_repair(&self, subject: &Subject, unknown: bool) -> Result<Repair> {
        let state = self.read()?;
        self.script(&self.survey(&state, subject)?.mending(unknown))?;
        Ok(Repair { mended: 0, left: Vec::new() })
    }
}

impl Comparison {
    /// Is everything as the state says?
    pub fn is_clean(&self) -> bool {
        self.differences.is_empty() && self.unfinished.is_none()
    }
}

impl Repair {
    /// An error, if something is left: not vpcctl's to mend, or stubborn.
    pub fn check(&self) -> Result<()> {
        let Some(first) = self.left.first() else { return Ok(()) };
        let more = match self.left.len() {
            1 => String::new(),
            count => format!(", and {} more", count - 1),
        };
        let (what, hint) = match first.found {
            Found::Unknown => (
                "left alone",
                "another state directory (--state-dir) may know it; `vpcctl repair --unknown` removes it with all in it",
            ),
            Found::Foreign => (
                "left alone",
                "vpcctl did not make it: remove or rename it, if that is for you to decide, and repeat the command",
            ),
            Found::Missing | Found::Wrong(_) | Found::Surplus => {
                ("mended, and bent again by something on this host", "`vpcctl doctor` may know by what")
            }
        };
        Err(Failure::new(Kind::Drift, format!("{what}: {}{more}", first.object)).hint(hint))
    }
}
