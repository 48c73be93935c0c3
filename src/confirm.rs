//! Asks whoever sits at the terminal, where something can't be taken back.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error::{Failure, Kind, Result};

/// How often a signal is looked for.
const PACE: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };

/// Asks a question, to which anything but `y` or `yes` is a no. Without a terminal nobody can be asked: that is refused.
pub fn ask(question: &str, interrupted: &AtomicBool) -> Result<bool> {
    if !io::stdin().is_terminal() {
        return Err(Failure::usage("nobody is there to be asked")
            .hint("--yes does it without asking, --dry-run shows what would be done"));
    }
    let cannot = |error: io::Error| Failure::new(Kind::Host, format!("cannot ask on the terminal: {error}"));
    write!(io::stderr(), "{question} [y/N] ").map_err(cannot)?;
    wait_for(&io::stdin(), interrupted)?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).map_err(cannot)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Until there is something to read. Reading alone would go on after Ctrl-C, which vpcctl handles itself.
pub fn wait_for(source: &impl AsFd, interrupted: &AtomicBool) -> Result<()> {
    let mut ready = false;
    while !ready {
        // Not for ever: the signal may have come just before.
        ready = !matches!(poll(&mut [PollFd::new(source, PollFlags::IN)], Some(&PACE)), Ok(0) | Err(Errno::INTR));
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(Kind::Interrupted, "interrupted").hint("nothing was changed"));
        }
    }
    Ok(())
}
