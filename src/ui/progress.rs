//! How far long work is: a bar on a terminal, a line now and then elsewhere. Quick work is done before either is needed.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};

/// How long work has to take before anything is said.
const QUICK: Duration = Duration::from_secs(1);

/// How long a line stays the last one.
const PACE: Duration = Duration::from_secs(5);

/// Work that consists of steps.
pub struct Progress {
    total: usize,
    unit: &'static str,
    kind: Kind,
    inside: Mutex<Inside>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Silent,
    Lines,
    Bar,
}

struct Inside {
    begun: usize,
    pace: Pace,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Work of so many steps, which are called so, of which something is said unless `silent`.
    pub fn new(total: usize, unit: &'static str, silent: bool) -> Progress {
        let kind = match (silent, std::io::stderr().is_terminal()) {
            (true, _) => Kind::Silent,
            (false, true) => Kind::Bar,
            (false, false) => Kind::Lines,
        };
        let inside = Inside { begun: 0, pace: Pace::from(Instant::now()), bar: None };
        Progress { total, unit, kind, inside: Mutex::new(inside) }
    }

    /// One more step begins; `say` prints a line.
    pub fn step(&self, say: impl FnOnce(&str)) {
        let mut inside = self.inside();
        inside.begun += 1;
        let done = inside.begun - 1;
        match self.kind {
            Kind::Silent => {}
            Kind::Bar if inside.pace.is_long(Instant::now()) => {
                let elapsed = inside.pace.start.elapsed();
                inside.bar.get_or_insert_with(|| bar(self.total, self.unit, elapsed)).set_position(done as u64);
            }
            Kind::Lines if inside.pace.is_due(Instant::now()) => {
                say(&format!("… {done} of {} {}", self.total, self.unit));
            }
            Kind::Bar | Kind::Lines => {}
        }
    }

    /// Lets `say` print without tearing the bar.
    pub fn aside(&self, say: impl FnOnce()) {
        let bar = self.inside().bar.clone();
        match bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }

    fn inside(&self) -> std::sync::MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A bar for work that has gone on for a while, which leaves nothing behind.
fn bar(total: usize, unit: &str, elapsed: Duration) -> ProgressBar {
    let template = ProgressStyle::with_template(&format!("{{wide_bar}} {{pos}}/{{len}} {unit}, {{elapsed}}"));
    let bar = ProgressBar::new(total as u64).with_finish(ProgressFinish::AndClear).with_elapsed(elapsed);
    template.map(|template| bar.clone().with_style(template)).unwrap_or(bar)
}

/// When a line is due.
struct Pace {
    start: Instant,
    last: Option<Instant>,
}

impl From<Instant> for Pace {
    fn from(start: Instant) -> Self {
        Pace { start, last: None }
    }
}

impl Pace {
    fn is_long(&self, now: Instant) -> bool {
        now.duration_since(self.start) > QUICK
    }

    /// Is it time for a line? Then the next one is due some time later.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.is_long(now) && self.last.is_none_or(|last| now.duration_since(last) >= PACE);
        if due {
            self.last = Some(now);
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_of_quick_work_and_a_line_every_few_seconds_of_long_work() {
        let start = Instant::now();
        let mut pace = Pace::from(start);
        let due: Vec<u64> = (0..=13).filter(|second| pace.is_due(start + Duration::from_secs(*second))).collect();
        assert_eq!(due, [2, 7, 12]);
    }

    #[test]
    fn lines_count_the_steps_that_are_done() {
        let progress = Progress::new(4, "steps", false);
        let progress = Progress { kind: Kind::Lines, ..progress };
        let said = Mutex::new(Vec::new());
        let say = |line: &str| said.lock().unwrap().push(line.to_owned());
        progress.step(say);
        progress.step(say);
        progress.inside().pace.start = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        progress.step(say);
        progress.step(say);
        assert_eq!(*said.lock().unwrap(), ["… 2 of 4 steps"]);
    }

    #[test]
    fn nothing_is_said_where_silence_was_asked_for() {
        let progress = Progress::new(4, "steps", true);
        progress.inside().pace.start = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
        progress.step(|line| panic!("{line}"));
    }
}
