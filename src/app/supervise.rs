//! The supervisor: keeps an app's record, writes its log, and hands on the request to end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::process::{Pid, Signal, kill_process, setsid};
use rustix::thread::UnshareFlags;

use crate::app::events::Events;
use crate::app::process::{ProcessId, children};
use crate::app::record::{Apps, End, Record};
use crate::app::{INIT_SUBCOMMAND, OWN_WORD, init};
use crate::host::namespace;
use crate::plan::launch::Launch;

/// How long an app has to end: a little more than its first process gives it.
pub const GRACE: Duration = init::GRACE.saturating_add(Duration::from_secs(1));

/// How large a log may become, in bytes; then it begins anew.
const LOG_LIMIT: usize = 8 * 1024 * 1024;

/// Runs the app until it ends or is to end. Standard input is the launcher's word that it is there.
pub fn supervise(launch: &Launch, apps: &Apps) -> io::Result<()> {
    // The launcher's terminal, and what ends with it, is not the app's.
    setsid()?;
    let mut events = Events::listen()?;
    let mut record = Record {
        app: launch.app.clone(),
        supervisor: ProcessId::own().ok_or_else(|| io::Error::other("no process of its own in /proc"))?,
        process: None,
        since: SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
        end: None,
    };
    let id = launch.id();
    apps.save(&id, &record)?;
    // Where the launcher was killed, somebody may have looked for this app in vain already.
    if io::stdin().read(&mut [0])? == 0 {
        apps.forget(&id);
        return Ok(());
    }
    let mut log = Log::new(apps.open_log(&id)?)?;
    let mut first = First::start(launch)?;
    record.process = first.app();
    apps.save(&id, &record)?;
    let end = first.watch(&mut events, &mut log)?;
    if let Some(end) = end {
        log.note(&format!("the app ended: {}", end.describe()));
        record.end = Some(end);
        apps.save(&id, &record)?;
    }
    Ok(())
}

/// The first process of the app's pid namespace, and the lines to it.
struct First {
    child: Child,
    /// Where it says that the app has started, and how it ended.
    words: BufReader<UnixStream>,
    /// What the app prints.
    output: PipeReader,
}

impl First {
    fn start(launch: &Launch) -> io::Result<Self> {
        let (words, theirs) = UnixStream::pair()?;
        let (output, print) = io::pipe()?;
        rustix::io::ioctl_fionbio(&output, true)?;
        // The next child is the first process of it; this one stays where it is.
        namespace::unshare(UnshareFlags::NEWPID)?;
        let child = Command::new("/proc/self/exe")
            .arg0("vpcctl")
            .args(launch.words(INIT_SUBCOMMAND))
            .stdin(OwnedFd::from(theirs))
            .stdout(print.try_clone()?)
            .stderr(print)
            .spawn()?;
        Ok(First { child, words: BufReader::new(words), output })
    }

    /// The app's own process, once it has started; nothing where it could not.
    fn app(&mut self) -> Option<ProcessId> {
        let mut line = String::new();
        self.words.read_line(&mut line).ok()?;
        if line != "started\n" {
            return None;
        }
        children(self.child.id().try_into().ok()?).first().copied().and_then(Pid::from_raw).and_then(ProcessId::of)
    }

    /// Until the app has ended by itself, and how, or until it has ended because it was to.
    fn watch(&mut self, events: &mut Events, log: &mut Log) -> io::Result<Option<End>> {
        let mut deadline = None;
        let status = loop {
            log.take(&mut self.output);
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            if events.asked_to_end() && deadline.is_none() {
                kill_process(Pid::from_child(&self.child), Signal::TERM)?;
                deadline = Some(Instant::now() + GRACE);
            }
            let left = deadline.map(|deadline: Instant| deadline.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                self.child.kill()?;
            }
            // A pipe that nobody can write to any more is ready to be read at once, and again.
            let limit = left.filter(|left| !left.is_zero());
            events.wait(&[self.output.as_fd()], limit)?;
        };
        log.take(&mut self.output);
        if deadline.is_some() {
            return Ok(None);
        }
        let mut line = String::new();
        let told = self.words.read_line(&mut line).ok().and_then(|_| serde_json::from_str(&line).ok());
        Ok(Some(told.unwrap_or_else(|| End::of(status))))
    }
}

/// The app's log, of a size that is bounded.
struct Log {
    file: File,
    size: usize,
}

impl Log {
    fn new(file: File) -> io::Result<Self> {
        let size = file.metadata()?.len().try_into().unwrap_or(usize::MAX);
        Ok(Log { file, size })
    }

    /// Writes down what the app has printed so far. What a full disk doesn't take is lost, and the app goes on.
    fn take(&mut self, output: &mut PipeReader) {
        let mut bytes = [0; 64 * 1024];
        while let Ok(count @ 1..) = output.read(&mut bytes) {
            self.write(&bytes[..count]);
        }
    }

    /// A word of vpcctl's own.
    fn note(&mut self, text: &str) {
        self.write(format!("{OWN_WORD}{text}\n").as_bytes());
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.size > LOG_LIMIT {
            let begins_anew = format!("{OWN_WORD}the log had {LOG_LIMIT} bytes and begins anew\n");
            self.size = begins_anew.len();
            // It is open for appending: what comes next is at its new beginning.
            let begun = self.file.set_len(0).and_then(|()| self.file.write_all(begins_anew.as_bytes()));
            begun.unwrap_or_else(|error| tracing::debug!("log: {error}"));
        }
        self.size += bytes.len();
        self.file.write_all(bytes).unwrap_or_else(|error| tracing::debug!("log: {error}"));
    }
}

/// Tells the log, and so the launcher, why the app can't be started at all.
pub fn complain(apps: &Apps, launch: &Launch, error: &io::Error) {
    let told = apps.open_log(&launch.id()).and_then(Log::new);
    match told {
        Ok(mut log) => log.note(&format!("error: {error}")),
        Err(error) => tracing::debug!("log: {error}"),
    }
}
