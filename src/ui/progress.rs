//! How far long work is: a bar on a terminal, a line now and then elsewhere. Quick work is done before either is needed.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long work has to take before anything is said.
const QUICK: Duration = Duration::from_secs(1);

/// How long a line stays the last one.
const PACE: Duration = Duration::from_secs(5);

/// How long a bar stays as it is.
const TICK: Duration = Duration::from_millis(500);

/// Work that consists of steps.
pub struct Progress {
    scale: Scale,
    kind: Kind,
    shared: Arc<Shared>,
}

/// How many steps there are, and what they are called.
#[derive(Clone, Copy)]
struct Scale {
    total: usize,
    unit: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Silent,
    Lines,
    Bar,
}

/// What the steps share with the clock.
struct Shared {
    inside: Mutex<Inside>,
    over: Condvar,
}

struct Inside {
    begun: usize,
    is_over: bool,
    pace: Pace,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Work of so many steps, which are called so, of which something is said unless `silent`.
    pub fn new(total: usize, unit: &'static str, silent: bool) -> Progress {
        let kind = match silent {
            true => Kind::Silent,
            // A terminal that can't go back in a line, which `TERM` tells, gets lines too.
            false if ProgressDrawTarget::stderr().is_hidden() => Kind::Lines,
            false => Kind::Bar,
        };
        let scale = Scale { total, unit };
        let inside = Inside { begun: 0, is_over: false, pace: Pace::from(Instant::now()), bar: None };
        let shared = Arc::new(Shared { inside: Mutex::new(inside), over: Condvar::new() });
        if kind == Kind::Bar {
            let by_the_clock = Arc::clone(&shared);
            // The first step may be a long one. Without this thread the bar comes with the second.
            drop(Builder::new().spawn(move || by_the_clock.show_when_due(scale)));
        }
        Progress { scale, kind, shared }
    }

    /// One more step begins; `say` prints a line.
    pub fn step(&self, say: impl FnOnce(&str)) {
        let mut inside = self.shared.inside();
        inside.begun += 1;
        match self.kind {
            Kind::Silent => {}
            Kind::Bar if inside.pace.is_long(Instant::now()) => inside.show(self.scale),
            Kind::Lines if inside.pace.is_due(Instant::now()) => {
                say(&format!("… {} of {} {}", inside.done(), self.scale.total, self.scale.unit));
            }
            Kind::Bar | Kind::Lines => {}
        }
    }

    /// Lets `say` print without tearing the bar.
    pub fn aside(&self, say: impl FnOnce()) {
        let bar = self.shared.inside().bar.clone();
        match bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

/// Nothing is left behind.
impl Drop for Progress {
    fn drop(&mut self) {
        let mut inside = self.shared.inside();
        inside.is_over = true;
        inside.bar.take().into_iter().for_each(|bar| bar.finish_and_clear());
        self.shared.over.notify_all();
    }
}

impl Shared {
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the work is over or long.
    fn show_when_due(&self, scale: Scale) {
        let waited = self.over.wait_timeout_while(self.inside(), QUICK, |inside| !inside.is_over);
        let (mut inside, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if !inside.is_over {
            inside.show(scale);
        }
    }
}

impl Inside {
    /// The steps that have ended, where one begins after the other.
    fn done(&self) -> usize {
        self.begun.saturating_sub(1)
    }

    fn show(&mut self, scale: Scale) {
        let (done, elapsed) = (self.done(), self.pace.start.elapsed());
        self.bar.get_or_insert_with(|| bar(scale, elapsed)).set_position(done as u64);
    }
}

/// A bar for work that has gone on for a while.
fn bar(Scale { total, unit }: Scale, elapsed: Duration) -> ProgressBar {
    let template = ProgressStyle::with_template(&format!("{{wide_bar}} {{pos}}/{{len}} {unit}, {{elapsed}}"));
    let bar = ProgressBar::new(total as u64).with_elapsed(elapsed);
    let bar = template.map(|template| bar.clone().with_style(template)).unwrap_or(bar);
    bar.enable_steady_tick(TICK);
    bar
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
        let mut progress = Progress::new(4, "steps", false);
        progress.kind = Kind::Lines;
        let said = Mutex::new(Vec::new());
        let say = |line: &str| said.lock().unwrap().push(line.to_owned());
        progress.step(say);
        progress.step(say);
        progress.shared.inside().pace.start = Instant::now().checked_sub(Duration::from_secs(2)).unwrap();
        progress.step(say);
        progress.step(say);
        assert_eq!(*said.lock().unwrap(), ["… 2 of 4 steps"]);
    }

    #[test]
    fn nothing_is_said_where_silence_was_asked_for() {
        let progress = Progress::new(4, "steps", true);
        progress.shared.inside().pace.start = Instant::now().checked_sub(Duration::from_secs(9)).unwrap();
        progress.step(|line| panic!("{line}"));
    }
}
