//! Runs a plan's steps: those of different places side by side, since they don't depend on each other.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::host::namespace;
use crate::host::run;
use crate::host::{Host, StepError, apps, files, pool, processes, rules};
use crate::model::flavour::Flavour;
use crate::model::kernel_names::Netns;
use crate::model::owner::Owner;
use crate::plan::batch::{Call, InputLine, Program, Step, Steps, Write};
use crate::plan::line::{Leftover, Place, Setting};
use crate::plan::observed::Seen;

impl Host<'_> {
    /// Runs the steps of one part of a plan; stops at the first that fails.
    pub fn apply(&self, steps: &Steps) -> Result<(), StepError> {
        self.in_order(&steps.first)?;
        self.side_by_side(&steps.places, After::Stop)?;
        self.side_by_side(&steps.apps.iter().map(std::slice::from_ref).collect::<Vec<_>>(), After::GoOn)?;
        self.in_order(&steps.last)
    }

    fn in_order(&self, steps: &[Step]) -> Result<(), StepError> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    /// Workers take place after place until all are done; the first failure.
    fn side_by_side<S: AsRef<[Step]> + Sync>(&self, places: &[S], after: After) -> Result<(), StepError> {
        let queue: Mutex<VecDeque<&S>> = Mutex::new(places.iter().collect());
        let failed: Mutex<Option<StepError>> = Mutex::new(None);
        let take = || lock(&queue).pop_front();
        let work = || {
            while let Some(steps) = take() {
                if let Err(error) = self.in_order(steps.as_ref()) {
                    if after == After::Stop {
                        lock(&queue).clear();
                    }
                    lock(&failed).get_or_insert(error);
                }
            }
        };
        pool::run(pool::size(places.len()), &work);
        lock(&failed).take().map_or(Ok(()), Err)
    }

    fn step(&self, step: &Step) -> Result<(), StepError> {
        if self.is_interrupted() {
            return Err(StepError::interrupted());
        }
        (self.before)(step);
        match step {
            Step::Run(call) => within(&call.place, || run::check(call).map(|_| ())),
            Step::Write(place, writes) => within(place, || writes.iter().try_for_each(|write| set(place, write))),
            Step::Files(configs) => configs.iter().try_for_each(files::make_so),
            Step::Start(launch) => apps::start(launch, self.store, self.interrupted),
            Step::Stop(ids) => apps::stop(ids, self.store),
            Step::EndProcesses(namespaces) => self.end_processes(namespaces),
            Step::Clean(leftovers) => clean(leftovers),
        }
    }

    fn end_processes(&self, namespaces: &[Netns]) -> Result<(), StepError> {
        let processes::Ends { ended, staying } = processes::end(namespaces);
        if !ended.is_empty() {
            (self.note)(&format!("ended what ran there: {}", ended.join(", ")));
        }
        if staying.is_empty() {
            return Ok(());
        }
        let reason = format!("processes that run there did not end: {}", staying.join(", "));
        Err(StepError::new("what is about to go", "kill", reason))
    }
}

/// What happens after a failure to what has not begun yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum After {
    /// It depends on what failed.
    Stop,
    /// It doesn't.
    GoOn,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Runs `work` in the place; a namespace that is gone is an error that names it.
fn within(place: &Place, work: impl FnOnce() -> Result<(), StepError> + Send) -> Result<(), StepError> {
    namespace::within(place, work).unwrap_or_else(|error| Err(StepError::of_place(place, &error)))
}

fn set(place: &Place, write: &Write) -> Result<(), StepError> {
    let Setting { key, value, optional, unless } = &write.setting;
    if unless.is_some_and(|other| setting_is(other, "1")) {
        return Ok(());
    }
    match fs::write(setting_path(key), value) {
        Err(error) if *optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
        // In a container /proc/sys may be read-only: what has the right value already is right.
        Err(_) if setting_is(key, value) => Ok(()),
        Err(error) => {
            let line = crate::plan::script::write_line(place, write);
            Err(StepError::new(write.object.describe(), line, error.to_string()))
        }
        Ok(()) => Ok(()),
    }
}

fn setting_path(key: &str) -> PathBuf {
    Path::new("/proc/sys").join(key)
}

fn setting_is(key: &str, value: &str) -> bool {
    fs::read_to_string(setting_path(key)).is_ok_and(|found| found.trim() == value)
}

/// Deletes tables and built-in chains that came with vpcctl's first rules, if by now there is nothing in them. Where `nft` is
/// missing they stay, empty as they are.
fn clean(leftovers: &[Leftover]) -> Result<(), StepError> {
    if run::find(Program::Nft.as_str()).is_err() {
        return Ok(());
    }
    // What iptables-legacy shows says nothing of nft's tables.
    if run::flavour() == Some(Flavour::Legacy) {
        return Ok(());
    }
    let mut seen = Seen::default();
    let tables = leftovers.iter().filter_map(Leftover::table).collect();
    seen.read_rules(&rules::rules(&Place::Host, &tables)?);
    let mut delete = Call::plain(Place::Host, Program::Nft, &["-f", "-"]);
    let unused = leftovers.iter().filter(|leftover| seen.is_unused(leftover));
    let line = |leftover| InputLine { text: format!("delete {leftover}"), object: Owner::Host };
    delete.input = unused.map(line).collect();
    if delete.input.is_empty() {
        return Ok(());
    }
    let output = run::run(&delete)?;
    // With iptables-legacy there is no such table: then nothing is there to be deleted.
    let absent = output.stderr.contains("No such file or directory");
    if absent { Ok(()) } else { run::success(&delete, output).map(|_| ()) }
}
