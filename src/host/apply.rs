//! Runs a plan's steps: those of different places side by side, and what else doesn't depend on each other.

use std::io;
use std::sync::atomic::AtomicBool;

use crate::host::namespace::{Held, Tour};
use crate::host::run;
use crate::host::settings::Settings;
use crate::host::{Host, StepError, apps, files, pool, processes, rules};
use crate::model::flavour::Flavour;
use crate::model::kernel_names::Netns;
use crate::model::owner::Owner;
use crate::plan::batch::{Call, InputLine, Places, Program, SideBySide, Step, Steps, Write};
use crate::plan::line::{Leftover, Place, Setting};
use crate::plan::observed::Seen;

impl Host<'_> {
    /// Runs the steps of one part of a plan; stops at the first that fails.
    pub fn apply(&self, steps: &Steps) -> Result<(), StepError> {
        self.in_places(&steps.first)?;
        let in_places = || self.in_places(&steps.places);
        let (held, done) = match &steps.doomed[..] {
            [] => (Held::default(), in_places()),
            doomed => {
                pool::both(|| Held::open(doomed, pool::size(steps.places.len()) + steps.last.lists().len()), in_places)
            }
        };
        let done = done.and_then(|()| self.start_all(&steps.apps)).and_then(|()| self.side_by_side(&steps.last));
        held.let_go();
        done
    }

    /// Runs lists that don't depend on each other, in threads that begin in the namespace of this one.
    fn side_by_side(&self, lists: &SideBySide) -> Result<(), StepError> {
        match lists.lists() {
            [steps] => self.in_order(steps),
            lists => pool::map(lists.iter().collect(), self.interrupted, |steps| self.in_order(steps)).map(|_| ()),
        }
    }

    fn in_order(&self, steps: &[Step]) -> Result<(), StepError> {
        steps.iter().try_for_each(|step| self.step(step))
    }

    fn stages(&self, stages: &[SideBySide]) -> Result<(), StepError> {
        stages.iter().try_for_each(|lists| self.side_by_side(lists))
    }

    /// Threads go from place to place until all are done; what is on the host alone is done by this thread.
    fn in_places(&self, places: &Places) -> Result<(), StepError> {
        match &places[..] {
            [] => return Ok(()),
            [(Place::Host, stages)] => return self.stages(stages),
            _ => {}
        }
        let visit = |tour: &Tour, (place, stages): &(Place, Vec<SideBySide>)| {
            if self.is_interrupted() {
                return Err(StepError::interrupted());
            }
            tour.go(place).map_err(|error| StepError::of_place(place, &error))?;
            self.stages(stages)
        };
        let places = places.iter().collect();
        let done = Tour::take(|tour| pool::map(places, self.interrupted, |item| visit(tour, item)));
        done.map_err(|error| StepError::of_place(&Place::Host, &error))?.map(|_| ())
    }

    /// Each app's start may fail by itself: the others go on. The first failure.
    fn start_all(&self, apps: &[Step]) -> Result<(), StepError> {
        let tried = pool::map(apps.iter().collect(), &AtomicBool::new(false), |step| Ok(self.step(step)))?;
        tried.into_iter().collect()
    }

    /// Runs a step where this thread is, which is the step's place.
    fn step(&self, step: &Step) -> Result<(), StepError> {
        if self.is_interrupted() {
            return Err(StepError::interrupted());
        }
        (self.before)(step);
        match step {
            Step::Run(call) => run::check(call).map(|_| ()),
            Step::Write(place, writes) => {
                let mut settings = Settings::default();
                writes.iter().try_for_each(|write| set(&mut settings, place, write))
            }
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

fn set(settings: &mut Settings, place: &Place, write: &Write) -> Result<(), StepError> {
    let Setting { key, value, optional, unless } = &write.setting;
    if unless.is_some_and(|other| settings.is(other, "1")) {
        return Ok(());
    }
    match settings.write(key, value) {
        Err(error) if *optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
        // In a container /proc/sys may be read-only: what has the right value already is right.
        Err(_) if settings.is(key, value) => Ok(()),
        Err(error) => {
            let line = crate::plan::script::write_line(place, write);
            Err(StepError::new(write.object.describe(), line, error.to_string()))
        }
        Ok(()) => Ok(()),
    }
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
    let tables = leftovers.iter().filter_map(Leftover::table).collect();
    let seen = Seen::of_rules(&rules::rules(&Place::Host, &tables)?);
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
