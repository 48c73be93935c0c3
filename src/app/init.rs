//! The first process of an app's pid namespace: starts the app, reaps what it leaves, and hands on the request to end. Whatever
//! is still there when it ends, the kernel ends.

use std::fs;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, set_parent_process_death_signal, wait};
use rustix::thread::UnshareFlags;

use crate::app::EXEC_SUBCOMMAND;
use crate::app::events::Events;
use crate::app::process::timespec;
use crate::app::record::End;
use crate::host::namespace;
use crate::plan::launch::Launch;

/// How long an app has to end after it was asked to.
pub const GRACE: Duration = Duration::from_secs(3);

/// How often it is looked whether all have ended.
const LOOK: Duration = Duration::from_millis(10);

/// Runs the app until it ends or is to end. Standard input is the line to the supervisor.
pub fn init(launch: &Launch) -> io::Result<()> {
    if !getpid().is_init() {
        return Err(io::Error::other("this runs only as the first process of an app"));
    }
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let mut events = Events::listen()?;
    let mut supervisor = UnixStream::from(rustix::stdio::stdin().try_clone_to_owned()?);
    own_proc()?;
    let app = Command::new("/proc/self/exe")
        .arg0("vpcctl")
        .args(launch.words(EXEC_SUBCOMMAND))
        .stdin(Stdio::null())
        .spawn()?;
    writeln!(supervisor, "started")?;
    let app = Pid::from_child(&app);
    loop {
        events.wait(&[supervisor.as_fd()], None)?;
        if let Some(end) = reap(app) {
            return Ok(writeln!(supervisor, "{}", serde_json::to_string(&end)?)?);
        }
        if events.asked_to_end() || has_hung_up(&supervisor) {
            return end_all();
        }
    }
}

/// A view of the processes of this pid namespace, for this process and its children alone.
fn own_proc() -> io::Result<()> {
    namespace::unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(mount("proc", "/proc", "proc", flags, None)?)
}

/// Reaps all who have ended; how the app did, if it was among them.
fn reap(app: Pid) -> Option<End> {
    let mut end = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == app {
            end = Some(End::of(ExitStatus::from_raw(status.as_raw())));
        }
    }
    end
}

impl End {
    /// The end that a status tells of.
    pub fn of(status: ExitStatus) -> Self {
        status.code().map_or_else(|| End::Signal(status.signal().unwrap_or(0)), End::ExitCode)
    }
}

/// A supervisor that was gone before this process was bound to its life.
fn has_hung_up(supervisor: &UnixStream) -> bool {
    let mut polled = [PollFd::new(supervisor, PollFlags::IN)];
    let asked = poll(&mut polled, Some(&timespec(Duration::ZERO)));
    asked.is_ok() && polled[0].revents().contains(PollFlags::HUP)
}

/// Asks all to end and waits for them a while.
fn end_all() -> io::Result<()> {
    for entry in fs::read_dir("/proc")?.flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|pid| !pid.is_init()) {
            // One that has ended meanwhile is no matter.
            let _ = kill_process(pid, Signal::TERM);
        }
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline && !matches!(wait(WaitOptions::NOHANG), Err(rustix::io::Errno::CHILD)) {
        std::thread::sleep(LOOK);
    }
    Ok(())
}
