//! The supervisor: starts the app, keeps its record, ends it with all that it started, and bounds its log.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, kill_process, kill_process_group, set_child_subreaper, setsid, wait,
};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM};

use crate::app::process::{ProcessId, timespec};
use crate::app::record::{Apps, End, Record};
use crate::app::{INIT_SUBCOMMAND, OWN_WORD};
use crate::plan::launch::Launch;

/// How long an app has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(3);

/// How often a supervisor that nothing happens to looks at the log.
const LOOK: Duration = Duration::from_secs(10);

/// How large a log may become, in bytes; then it begins anew.
const LOG_LIMIT: u64 = 8 * 1024 * 1024;

/// Runs the app until it ends or is to end. Standard output is the app's log.
pub fn supervise(launch: &Launch, apps: &Apps) -> io::Result<()> {
    // The launcher's terminal, and what ends with it, is not the app's.
    setsid()?;
    // An app's children whose parents end come to the supervisor, not to the host's first process.
    set_child_subreaper(Some(getpid()))?;
    let mut events = Events::listen()?;
    let log = apps.open_log(&launch.id())?;
    let pid = start(launch)?;
    let mut record = Record {
        app: launch.app.clone(),
        supervisor: ProcessId::own().ok_or_else(|| io::Error::other("no process of its own in /proc"))?,
        pid: pid.as_raw_nonzero().get(),
        since: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        end: None,
    };
    apps.save(&launch.id(), &record)?;
    let end = watch(pid, &mut events, &log)?;
    end_all(pid)?;
    if let Some(end) = end {
        note(&log, &format!("the app ended: {}", end.describe()));
        record.end = Some(end);
        apps.save(&launch.id(), &record)?;
    }
    Ok(())
}

/// A word of the supervisor's own in the log; on a full disk it is lost.
fn note(mut log: &File, text: &str) {
    if let Err(error) = writeln!(log, "{OWN_WORD}{text}") {
        tracing::debug!("log: {error}");
    }
}

fn start(launch: &Launch) -> io::Result<Pid> {
    let child = Command::new("/proc/self/exe")
        .arg0("vpcctl")
        .args(launch.words(INIT_SUBCOMMAND))
        .stdin(Stdio::null())
        .spawn()?;
    Ok(Pid::from_child(&child))
}

/// Waits until the app has ended by itself, and how, or until it is to end.
fn watch(app: Pid, events: &mut Events, log: &File) -> io::Result<Option<End>> {
    loop {
        events.wait()?;
        if let Some(end) = reap(app) {
            return Ok(Some(end));
        }
        if events.asked_to_end.load(Ordering::Relaxed) {
            return Ok(None);
        }
        if log.metadata()?.len() > LOG_LIMIT {
            // It is open for appending: the app goes on at its new beginning.
            log.set_len(0)?;
            note(log, &format!("the log had {LOG_LIMIT} bytes and begins anew"));
        }
    }
}

/// Reaps all who have ended; how the app did, if it was among them.
fn reap(app: Pid) -> Option<End> {
    let mut end = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == app {
            let status = ExitStatus::from_raw(status.as_raw());
            end = Some(status.code().map_or_else(|| End::Signal(status.signal().unwrap_or(0)), End::ExitCode));
        }
    }
    end
}

/// Ends whatever the app started and is still there. Whoever loses its parent in this comes here to be ended too.
fn end_all(app: Pid) -> io::Result<()> {
    let deadline = Instant::now() + GRACE;
    // The app may not be alone in the group of its own making; what has ended already is no matter.
    let _ = kill_process_group(app, Signal::TERM);
    children(Signal::TERM)?;
    loop {
        match wait(WaitOptions::NOHANG) {
            Err(rustix::io::Errno::CHILD) => return Ok(()),
            Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(5)),
            Ok(None) => {
                children(Signal::KILL)?;
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Some(_)) | Err(_) => {}
        }
    }
}

/// Sends a signal to every child.
fn children(signal: Signal) -> io::Result<()> {
    let own = getpid().as_raw_nonzero();
    let list = fs::read_to_string(format!("/proc/self/task/{own}/children"))?;
    for child in list.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
        // A child is not reaped but here, so that its number is its own.
        let _ = kill_process(child, signal);
    }
    Ok(())
}

/// What wakes the supervisor.
struct Events {
    asked_to_end: Arc<AtomicBool>,
    wake: UnixStream,
}

impl Events {
    fn listen() -> io::Result<Self> {
        let (wake, write) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        write.set_nonblocking(true)?;
        let asked_to_end = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGINT, SIGHUP] {
            signal_hook::flag::register(signal, Arc::clone(&asked_to_end))?;
            signal_hook::low_level::pipe::register(signal, write.try_clone()?)?;
        }
        signal_hook::low_level::pipe::register(SIGCHLD, write)?;
        Ok(Events { asked_to_end, wake })
    }

    /// Until something has happened, or for a while.
    fn wait(&mut self) -> io::Result<()> {
        match poll(&mut [PollFd::new(&self.wake, PollFlags::IN)], Some(&timespec(LOOK))) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let mut bytes = [0; 64];
        while matches!(self.wake.read(&mut bytes), Ok(count) if count > 0) {}
        Ok(())
    }
}
