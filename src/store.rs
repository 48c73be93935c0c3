//! The state file, its intent and its lock: the only writer of state.
//!
//! `state.json` is what holds. A command writes what it is about to make true as `intent.json` before it touches the kernel,
//! and renames it to `state.json` when the kernel is done; where a command was cut off, the intent is still there and says
//! what may be half-made. The lock is a file of its own that is never deleted: a lock on a file that is renamed can have
//! two holders.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::FdFlags;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::record::Apps;
use crate::error::{Failure, Kind, Result};
use crate::model::check;
use crate::model::state::State;

/// Where the state lives unless the operator says otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/vpcctl";

/// The version of the state file's schema.
pub const SCHEMA_VERSION: u32 = 1;

const STATE: &str = "state.json";
const INTENT: &str = "intent.json";
const TEMPORARY: &str = "state.json.new";
const LOCK: &str = "lock";

/// A state directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
}

/// The right to change the state, until it is dropped.
///
/// Children inherit the lock: where vpcctl is killed, it lasts until the tool that it started has ended.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// What a state file holds.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The version of this schema.
    #[schemars(extend("const" = SCHEMA_VERSION))]
    pub version: u32,
    /// The command that led to this state.
    pub changed_by: String,
    /// The state.
    pub network: State,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

impl Store {
    /// The store in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Store { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file that is locked.
    pub fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCK)
    }

    /// The file in which every action is logged.
    pub fn log_path(&self) -> PathBuf {
        self.dir.join("vpcctl.log")
    }

    /// The records and logs of apps.
    pub fn apps(&self) -> Apps {
        Apps::new(self.dir.join("apps"))
    }

    /// Makes the directory, for root alone, where it is missing; refuses one that others could write to.
    pub fn prepare(&self) -> Result<()> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.dir);
        made.map_err(|error| self.failure("create", &self.dir, &error))?;
        self.check_dir()
    }

    /// Refuses a directory that others could write to.
    pub fn check_dir(&self) -> Result<()> {
        let metadata = fs::symlink_metadata(&self.dir).map_err(|error| self.failure("read", &self.dir, &error))?;
        let owner = rustix::process::geteuid().as_raw();
        let safe = metadata.is_dir() && metadata.uid() == owner && metadata.mode() & 0o022 == 0;
        if safe {
            return Ok(());
        }
        let message = format!("the state directory `{}` is not safe: others may write to it", self.dir.display());
        Err(Failure::new(Kind::State, message)
            .hint(format!("make it a directory of yours alone: chown {owner} and chmod 700")))
    }

    /// Takes the lock, waiting for whoever has it, `timeout` at most; calls `waiting` once if there is somebody.
    pub fn lock(&self, timeout: Duration, waiting: impl FnOnce()) -> Result<Lock> {
        let path = self.lock_path();
        let file = self.open_own(&path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        let mut waiting = Some(waiting);
        // A time-out beyond the clock's end is none.
        let deadline = Instant::now().checked_add(timeout);
        while let Err(error) = fs2::FileExt::try_lock_exclusive(&file) {
            if error.raw_os_error() != fs2::lock_contended_error().raw_os_error() {
                return Err(self.failure("lock", &path, &error));
            }
            if let Some(waiting) = waiting.take() {
                waiting();
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(Failure::new(Kind::Busy, "another vpcctl is at work, or a tool that it started")
                    .hint(format!("`fuser {}` tells which; --lock-timeout waits longer", path.display())));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let inherited = rustix::io::fcntl_setfd(&file, FdFlags::empty());
        inherited.map_err(|error| self.failure("lock", &path, &error.into()))?;
        Ok(Lock { _file: file })
    }

    /// Does somebody hold the lock? To know, it is taken for an instant, where nobody does.
    pub fn is_locked(&self) -> bool {
        let file = self.open_own(&self.lock_path(), OpenOptions::new().read(true));
        file.is_ok_and(|file| fs2::FileExt::try_lock_shared(&file).is_err())
    }

    /// The state; an empty one where there is no file yet.
    pub fn load(&self) -> Result<State> {
        Ok(self.read(STATE)?.map(|document| document.network).unwrap_or_default())
    }

    /// What a command that was cut off was about to make true.
    pub fn intent(&self) -> Result<Option<Document>> {
        self.read(INTENT)
    }

    /// Writes down what is about to be made true. Needs the lock, as all that follow.
    pub fn begin(&self, _lock: &Lock, command: &str, network: &State) -> Result<()> {
        let document = Document { version: SCHEMA_VERSION, changed_by: command.into(), network: network.clone() };
        let text = serde_json::to_string_pretty(&document)
            .map_err(|error| Failure::new(Kind::State, format!("cannot write the state: {error}")))?;
        self.write_durably(INTENT, &text)
    }

    /// What was begun is true.
    pub fn commit(&self, _lock: &Lock) -> Result<()> {
        self.rename(INTENT, STATE)
    }

    /// What was begun is undone.
    pub fn abandon(&self, _lock: &Lock) -> Result<()> {
        let path = self.dir.join(INTENT);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.failure("remove", &path, &error)),
            _ => self.sync_dir(),
        }
    }

    fn read(&self, name: &str) -> Result<Option<Document>> {
        let path = self.dir.join(name);
        let text = match self.open_own(&path, OpenOptions::new().read(true)).map(io::read_to_string) {
            Ok(text) => text.map_err(|error| self.failure("read", &path, &error))?,
            Err(_) if matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound) => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        parse(&path, &text).map(Some)
    }

    /// To a temporary file, to the disk, to its name, and the name to the disk.
    fn write_durably(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(TEMPORARY);
        let write = || -> io::Result<()> {
            if path.symlink_metadata().is_ok() {
                fs::remove_file(&path)?;
            }
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()
        };
        if let Err(error) = write() {
            let failure = self.failure("write", &path, &error);
            // The half-written file is of no use to anybody; that it can't be removed either is no news.
            let _ = fs::remove_file(&path);
            return Err(failure);
        }
        self.rename(TEMPORARY, name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let path = self.dir.join(to);
        fs::rename(self.dir.join(from), &path).map_err(|error| self.failure("write", &path, &error))?;
        self.sync_dir()
    }

    fn sync_dir(&self) -> Result<()> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|error| self.failure("write", &self.dir, &error))
    }

    /// Opens a file of ours: not a symbolic link, a FIFO or a device that somebody put there.
    fn open_own(&self, path: &Path, options: &mut OpenOptions) -> Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = options.mode(0o600).custom_flags(flags.bits() as i32).open(path);
        let file = opened.map_err(|error| self.failure("open", path, &error))?;
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            return Ok(file);
        }
        Err(Failure::new(Kind::State, format!("`{}` is not a regular file", path.display())).hint("remove it"))
    }

    fn failure(&self, verb: &str, path: &Path, error: &io::Error) -> Failure {
        let failure = Failure::new(Kind::State, format!("cannot {verb} `{}`: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure { kind: Kind::Privilege, ..failure }
                .hint("run it with sudo, or try it without root: vpcctl sandbox"),
            io::ErrorKind::StorageFull => failure.hint("make room on the disk; nothing was changed"),
            _ => failure.hint("--state-dir or VPCCTL_STATE_DIR names another directory"),
        }
    }
}

fn parse(path: &Path, text: &str) -> Result<Document> {
    let damaged = |error: serde_json::Error| {
        Failure::new(Kind::State, format!("the state file `{}` is damaged: {error}", path.display()))
            .hint("put a backup in its place, or remove all that vpcctl made, by its marks: scripts/cleanup.sh, installed as share/vpcctl/cleanup.sh")
    };
    let VersionOnly { version } = serde_json::from_str(text).map_err(damaged)?;
    if version != SCHEMA_VERSION {
        let message = format!("the state file `{}` has version {version}, not {SCHEMA_VERSION}", path.display());
        let hint = if version > SCHEMA_VERSION { "use a newer vpcctl" } else { "use the vpcctl that wrote it" };
        return Err(Failure::new(Kind::State, message).hint(hint));
    }
    let document: Document = serde_json::from_str(text).map_err(damaged)?;
    match check::flaw(&document.network) {
        None => Ok(document),
        Some(flaw) => Err(damaged(serde::de::Error::custom(flaw))),
    }
}
