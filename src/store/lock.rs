//! The lock on a state directory: how it is taken, and how a command waits for it.
//!
//! It is a lock on a file of its own, of mode 0600 in a directory of mode 0700: nobody but root can hold it up. Who has it is
//! written into the file, for others' messages; whether somebody has it is the kernel's word alone.
//!
//! Whoever changes a host's network has that host's lock besides, whatever the state directory: two vpcctls that begin at once would
//! each make the host's part, and one would undo it for both. It is in `/run`, by the number of the network namespace, and goes with
//! the command.
//!
//! Tools inherit the locks. Where vpcctl is killed they last until those have ended, so that nobody looks at a kernel that is
//! still changed. A tool that hangs then would block every command to come: after [`ORPHAN_GRACE`] it is ended, and what it
//! left half-made is put right from the intent, as after every command that was cut off.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::io::FdFlags;

use super::holder::{self, Holder, Orphan};
use crate::error::{Failure, Kind, Result};
use crate::own_file;

/// Where hosts' locks are: a directory that only root writes to.
const HOST_LOCKS: &str = "/run";

/// How long a tool may hold the lock while a command waits and its own vpcctl is gone: longer than any of them takes when all
/// is well.
pub const ORPHAN_GRACE: Duration = Duration::from_secs(5);

/// How long a command waits before it says for whom.
const QUIET: Duration = Duration::from_millis(50);

/// How often the lock is tried.
const PACE: Duration = Duration::from_millis(10);

/// How often a waiting command looks who has the lock.
const LOOK: Duration = Duration::from_millis(500);

/// The right to change the state, until it is dropped.
///
/// Children inherit the lock: where vpcctl is killed, it lasts until the tool that it started has ended.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    /// The host's; none where its file can't be made.
    _host: Option<HostLock>,
}

/// The right to change the network of the namespace that vpcctl was started in. Its file is there only meanwhile.
#[derive(Debug)]
struct HostLock {
    _file: File,
    path: PathBuf,
}

impl Drop for HostLock {
    fn drop(&mut self) {
        // While it is still locked: whoever waits for this one will see that it is no longer the one of this name.
        let _ = own_file::remove(&self.path);
    }
}

/// Who takes the lock, and how it waits.
pub struct Wait<'a> {
    /// The command, for others who wait meanwhile.
    pub command: &'a str,
    /// How long at most; 0 is not at all.
    pub timeout: Duration,
    /// Set by a signal that asks the command to end.
    pub interrupted: &'a AtomicBool,
    /// Called with what the operator should know.
    pub note: &'a dyn Fn(&str),
}

/// Takes the lock on the file of a state directory, and then the host's.
pub(super) fn take(file: File, path: &Path, wait: &Wait<'_>) -> Result<Lock> {
    let file = take_file(file, path, wait)?;
    let number = fs::metadata("/proc/self/ns/net").map_or(0, |namespace| namespace.ino());
    let host = take_host(Path::new(HOST_LOCKS).join(format!("vpcctl-{number}.lock")), wait)?;
    Ok(Lock { _file: file, _host: host })
}

/// Takes the lock on the host. Where its file can't be made there is none: who has another state directory is hardly there at the very
/// moment.
fn take_host(path: PathBuf, wait: &Wait<'_>) -> Result<Option<HostLock>> {
    loop {
        let file = match own_file::open(&path, OpenOptions::new().read(true).write(true).create(true).truncate(false)) {
            Ok(file) => file,
            Err(error) => {
                tracing::debug!("{}: {error}", path.display());
                return Ok(None);
            }
        };
        let file = take_file(file, &path, wait)?;
        let number = |metadata: io::Result<Metadata>| metadata.map(|metadata| (metadata.dev(), metadata.ino())).ok();
        if number(file.metadata()) == number(path.symlink_metadata()) {
            return Ok(Some(HostLock { _file: file, path }));
        }
        // Who had it before has taken the name away.
    }
}

/// Takes the lock on a file, and leaves it open to children.
fn take_file(file: File, path: &Path, wait: &Wait<'_>) -> Result<File> {
    let failed = |error: io::Error| {
        Failure::new(Kind::State, format!("cannot lock `{}`: {error}", path.display()))
            .hint("--state-dir or VPCCTL_STATE_DIR names another directory")
    };
    let mut waiting = Waiting::new(wait, path);
    while !is_taken(&file).map_err(failed)? {
        waiting.go_on(&file)?;
        std::thread::sleep(PACE);
    }
    // For messages only: a disk that is full is reported where it matters.
    if let Err(error) = holder::write(&file, wait.command) {
        tracing::debug!("{}: {error}", path.display());
    }
    rustix::io::fcntl_setfd(&file, FdFlags::empty()).map_err(|error| failed(error.into()))?;
    Ok(file)
}

fn is_taken(file: &File) -> io::Result<bool> {
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => Ok(false),
        Err(error) => Err(error),
    }
}

/// A command that waits.
struct Waiting<'a> {
    wait: &'a Wait<'a>,
    path: &'a Path,
    since: Instant,
    next_look: Instant,
    told: bool,
    orphans: Option<(Vec<Orphan>, Instant)>,
}

impl<'a> Waiting<'a> {
    fn new(wait: &'a Wait<'a>, path: &'a Path) -> Self {
        let since = Instant::now();
        Waiting { wait, path, since, next_look: since + QUIET, told: false, orphans: None }
    }

    /// Somebody has the lock: says who, now and then looks what becomes of it, and gives up when it is time to.
    fn go_on(&mut self, file: &File) -> Result<()> {
        if self.wait.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(Kind::Interrupted, "interrupted while it waited for the lock")
                .hint("the command had not begun: run it again"));
        }
        if self.since.elapsed() >= self.wait.timeout {
            return Err(busy(&Holder::find(self.path, file), self.path));
        }
        if Instant::now() >= self.next_look {
            self.next_look = Instant::now() + LOOK;
            self.look(&Holder::find(self.path, file));
        }
        Ok(())
    }

    fn look(&mut self, holder: &Holder) {
        if !self.told {
            self.told = true;
            (self.wait.note)(&format!("waiting for {holder}"));
        }
        let Holder::Orphans(orphans) = holder else {
            self.orphans = None;
            return;
        };
        match &self.orphans {
            Some((seen, since)) if seen == orphans && since.elapsed() >= ORPHAN_GRACE => self.end(orphans),
            Some((seen, _)) if seen == orphans => {}
            _ => self.orphans = Some((orphans.clone(), Instant::now())),
        }
    }

    fn end(&mut self, orphans: &[Orphan]) {
        self.orphans = None;
        for orphan in orphans.iter().filter(|orphan| orphan.end(self.path)) {
            (self.wait.note)(&format!("ended {orphan}: it held the lock for {} s", ORPHAN_GRACE.as_secs()));
        }
    }
}

fn busy(holder: &Holder, path: &Path) -> Failure {
    let wait = "try again; --lock-timeout waits longer";
    let hint = match holder {
        Holder::Command { .. } => wait.to_owned(),
        Holder::Orphans(_) => {
            format!("whoever waits for {} s ends it; --lock-timeout says how long", ORPHAN_GRACE.as_secs())
        }
        Holder::Stranger { .. } => {
            format!("it is none of vpcctl's, and holds `{}`: end it, or wait longer", path.display())
        }
        Holder::Unknown => format!("`fuser {}` tells which; --lock-timeout waits longer", path.display()),
    };
    Failure::new(Kind::Busy, format!("{holder} is at work")).hint(hint)
}
