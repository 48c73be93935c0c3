//! How long a tool is waited for, and who ends one that hangs.
//!
//! A tool has a time limit. A signal to vpcctl lets a tool finish, as nearly all do within a moment; one that hangs is ended by
//! it, and any is by a second one. What ends it is SIGKILL to its process group: a tool has nothing to tidy up, since the
//! kernel does each of its messages whole or not at all, and one that hangs need not listen to SIGTERM. Only the launcher of
//! an app is asked first.

use std::io;
use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::process::{Pid, Signal, kill_process_group, pidfd_send_signal};

use crate::host::StepError;
use crate::plan::batch::Call;

/// How often it is looked whether a signal came or the time is over.
pub const PACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// How long a tool may take, unless the operator says otherwise, in seconds.
pub const DEFAULT_LIMIT: &str = "120";

/// A tool that has run for so long when a signal comes hangs: it is ended at once.
const HANGS: Duration = Duration::from_secs(3);

/// How long an app's launcher has to end what it began.
const LAUNCHER_GRACE: Duration = Duration::from_secs(15);

/// How long the kernel may take to end a process that was killed.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// What the operator allows each tool.
static LIMIT: OnceLock<Duration> = OnceLock::new();

/// Set by each signal, until it is counted.
static SIGNAL: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// How many signals were counted.
static SIGNALS: AtomicUsize = AtomicUsize::new(0);

/// Sets how long each tool may take.
pub fn allow(limit: Duration) {
    let _ = LIMIT.set(limit);
}

/// The flag that a signal which asks vpcctl to end has to set.
pub fn signal_flag() -> Arc<AtomicBool> {
    Arc::clone(&SIGNAL)
}

/// How many signals have come. Two in the same moment are one.
fn signals() -> usize {
    let new = usize::from(SIGNAL.swap(false, Ordering::Relaxed));
    SIGNALS.fetch_add(new, Ordering::Relaxed) + new
}

/// Why vpcctl ended a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Impatience {
    /// Its time was over.
    Limit(Duration),
    /// The operator didn't want to wait any longer.
    Signal,
}

impl Impatience {
    /// What is said of it.
    pub fn error(self, call: &Call) -> StepError {
        let hung = match self {
            Impatience::Signal => StepError::interrupted(),
            Impatience::Limit(limit) => StepError {
                hint: Some("`ps` and `dmesg` may tell what it waited for; --tool-timeout gives tools more time".into()),
                ..StepError::of_call(call, format!("it hung, and was ended after {} s", limit.as_secs_f32()))
            },
        };
        StepError { forced: true, ..hung }
    }
}

/// How long one tool is waited for.
#[derive(Debug)]
pub struct Patience<'a> {
    started: Instant,
    limit: Duration,
    /// The signals that had come before it began.
    signals: usize,
    /// Whom a signal is handed on to as a request to end: set by one.
    launcher: Option<&'a AtomicBool>,
    killed: Option<Instant>,
}

impl<'a> Patience<'a> {
    /// With a tool.
    pub fn with_tool() -> Self {
        let limit = LIMIT.get().copied().unwrap_or(Duration::MAX);
        Patience { started: Instant::now(), limit, signals: signals(), launcher: None, killed: None }
    }

    /// With the launcher of an app, which waits so long itself, and undoes what it began once it is asked to end.
    pub fn with_launcher(wait: Duration, interrupted: &'a AtomicBool) -> Self {
        let tool = Patience::with_tool();
        Patience { limit: tool.limit.saturating_add(wait), launcher: Some(interrupted), ..tool }
    }

    /// Ends the process if it is time to; why, if it is.
    pub fn act(&mut self, child: &Child, handle: &OwnedFd) -> io::Result<Option<Impatience>> {
        let taken = self.started.elapsed();
        if let Some(killed) = self.killed {
            let stuck = killed.elapsed() > KILL_WAIT;
            return if stuck { Err(io::Error::other("it hangs in the kernel, and can't be killed")) } else { Ok(None) };
        }
        if self.launcher.is_some_and(|interrupted| interrupted.load(Ordering::Relaxed)) {
            // It may have ended a moment ago.
            let _ = pidfd_send_signal(handle, Signal::TERM);
            (self.launcher, self.limit) = (None, taken.saturating_add(LAUNCHER_GRACE));
            self.signals = signals();
        }
        let Some(why) = self.impatience(taken, signals().saturating_sub(self.signals)) else {
            return Ok(None);
        };
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
        self.killed = Some(Instant::now());
        Ok(Some(why))
    }

    fn impatience(&self, taken: Duration, signals: usize) -> Option<Impatience> {
        let asked = signals > 1 || signals == 1 && taken >= HANGS;
        let over = (taken >= self.limit).then_some(Impatience::Limit(self.limit));
        if asked { Some(Impatience::Signal) } else { over }
    }
}
