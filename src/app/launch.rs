//! The launcher: starts an app's supervisor, and returns once the app answers.

use std::io::{self, PipeWriter, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::SIGTERM;

use crate::app::record::Apps;
use crate::app::{OWN_ERROR, OWN_WORD, SUPERVISE_SUBCOMMAND, supervise};
use crate::error::{Failure, Kind, Result};
use crate::plan::launch::Launch;
use crate::store::Store;

/// How often the launcher looks whether the app answers.
const LOOK: Duration = Duration::from_millis(5);

/// How long a supervisor has to begin.
const RECORD_LIMIT: Duration = Duration::from_secs(10);

/// How long it has to end: a little more than it gives the app.
const END_LIMIT: Duration = supervise::GRACE.saturating_add(Duration::from_secs(1));

/// How long one try to connect may take.
const TRY: Duration = Duration::from_millis(250);

/// How many of its last lines an app that failed is quoted with.
const QUOTED_LINES: usize = 5;

/// Starts the app in the namespace of this process. Where it runs already, there is nothing to do.
pub fn launch(launch: &Launch, store: &Store) -> Result<()> {
    let apps = &store.apps();
    let id = launch.id();
    match apps.load(&id) {
        Some(record) if record.is_running(&id) && record.app.is_same_program(&launch.app) => return Ok(()),
        Some(record) if record.supervisor.is_alive() && !apps.end(std::slice::from_ref(&id)).is_empty() => {
            return Err(Failure::new(Kind::Failed, "the app that ran there before does not end"));
        }
        _ => {}
    }
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(SIGTERM, Arc::clone(&interrupted)).map_err(|error| cannot(launch, &error))?;
    check_port(launch)?;
    apps.open_log(&id).map_err(|error| cannot(launch, &error))?;
    let (mut supervisor, word) = start(launch, store.dir()).map_err(|error| cannot(launch, &error))?;
    let result = wait_for_record(launch, apps, &mut supervisor).and_then(|()| {
        // It has a record now: whoever looks for it from here on finds it.
        (&word).write_all(b"!").map_err(|error| cannot(launch, &error))?;
        wait_for(launch, apps, &mut supervisor, &interrupted)
    });
    if result.is_err() {
        end(&mut supervisor);
    }
    result
}

fn cannot(launch: &Launch, error: &io::Error) -> Failure {
    Failure::new(Kind::Host, format!("cannot start the app of `{}`: {error}", launch.instance))
}

/// Refuses a port that something else in the instance listens on: its answer would be taken for the app's.
fn check_port(launch: &Launch) -> Result<()> {
    match TcpListener::bind(place(launch)) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let message = format!("something listens on port {} of `{}` already", launch.port, launch.instance);
            Err(Failure::conflict(message)
                .hint(format!("`vpcctl exec {} -- ss -tlnp` shows what; choose another port", launch.instance)))
        }
        Err(error) => Err(Failure::new(Kind::Host, format!("cannot listen on {}: {error}", place(launch)))
            .hint(format!("`vpcctl inspect {}` tells what is missing", launch.instance.vpc))),
    }
}

fn place(launch: &Launch) -> SocketAddr {
    SocketAddrV4::new(launch.address, launch.port.get()).into()
}

/// Starts the supervisor, which goes on once it is given a word.
fn start(launch: &Launch, state_dir: &Path) -> io::Result<(Child, PipeWriter)> {
    let (listen, word) = io::pipe()?;
    // The lock, and whatever else vpcctl or its caller had open: the app lives longer than they.
    close_fds::set_fds_cloexec(3, &[]);
    let supervisor = Command::new("/proc/self/exe")
        .arg0("vpcctl")
        .arg("--state-dir")
        .arg(state_dir)
        .args(launch.words(SUPERVISE_SUBCOMMAND))
        .stdin(listen)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok((supervisor, word))
}

/// Until the supervisor has written down that it is there.
fn wait_for_record(launch: &Launch, apps: &Apps, supervisor: &mut Child) -> Result<()> {
    let deadline = Instant::now() + RECORD_LIMIT;
    let own = i32::try_from(supervisor.id()).ok();
    while apps.load(&launch.id()).is_none_or(|record| Some(record.supervisor.pid) != own) {
        let ended = supervisor.try_wait().map_or(true, |status| status.is_some());
        if ended || Instant::now() >= deadline {
            return Err(failed(launch, apps, "could not be started"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Until the port answers, the app ends or its time is over.
fn wait_for(launch: &Launch, apps: &Apps, supervisor: &mut Child, interrupted: &AtomicBool) -> Result<()> {
    let limit = Duration::from_secs(launch.app.wait.into());
    let deadline = Instant::now() + if limit.is_zero() { RECORD_LIMIT } else { limit };
    loop {
        let ended = supervisor.try_wait().map_or(true, |status| status.is_some());
        if ended {
            let end = apps.load(&launch.id()).and_then(|record| record.end);
            let how = end.map_or_else(|| "it could not start".into(), |end| end.describe());
            return Err(failed(launch, apps, &format!("ended before it listened on port {}: {how}", launch.port)));
        }
        let started = is_running(launch, apps);
        let answers = || TcpStream::connect_timeout(&place(launch), TRY).is_ok();
        // Once more after the answer: somebody else may have taken the port, and the app have ended for that.
        if started && (limit.is_zero() || answers() && is_running(launch, apps)) {
            return Ok(());
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(Kind::Interrupted, "interrupted"));
        }
        if Instant::now() >= deadline {
            let what = format!("does not answer on {} after {} s", place(launch), limit.as_secs());
            return Err(failed(launch, apps, &what).hint("it has to listen on 0.0.0.0, or --wait longer"));
        }
        std::thread::sleep(LOOK);
    }
}

fn is_running(launch: &Launch, apps: &Apps) -> bool {
    apps.load(&launch.id()).is_some_and(|record| record.is_running(&launch.id()))
}

/// What went wrong, with the app's own last words.
fn failed(launch: &Launch, apps: &Apps, what: &str) -> Failure {
    let lines = apps.last_lines(&launch.id(), QUOTED_LINES).unwrap_or_default();
    // Where the program never began, vpcctl says why.
    if let Some(reason) = lines.iter().find_map(|line| line.strip_prefix(OWN_ERROR)) {
        return Failure::new(Kind::Failed, reason)
            .hint("name the program by its whole path; --user and --directory choose who runs it, and where");
    }
    let is_its_own = |line: &&str| !line.is_empty() && !line.starts_with(OWN_WORD);
    let words: Vec<&str> = lines.iter().map(|line| line.trim()).filter(is_its_own).collect();
    let words = if words.is_empty() { String::new() } else { format!("; it said: {}", words.join(" | ")) };
    let by_hand = format!("`vpcctl shell {}` is the place to try it by hand", launch.instance);
    Failure::new(Kind::Failed, format!("`{}` {what}{words}", launch.app.name())).hint(by_hand)
}

/// Ends the supervisor, and so the app: one that doesn't listen is killed.
fn end(supervisor: &mut Child) {
    // One that has ended is not to be signalled: its number may be another's by now.
    if matches!(supervisor.try_wait(), Ok(None)) {
        let _ = kill_process(Pid::from_child(supervisor), Signal::TERM);
    }
    let deadline = Instant::now() + END_LIMIT;
    while matches!(supervisor.try_wait(), Ok(None)) {
        if Instant::now() >= deadline {
            let _ = supervisor.kill();
        }
        std::thread::sleep(LOOK);
    }
}
