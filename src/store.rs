//! The state file, its intent and its lock: the only writer of state.
//!
//! `state.json` is what holds. A command writes what it is about to make true as `intent.json` before it touches the kernel,
//! and renames it to `state.json` when the kernel is done; where a command was cut off, the intent is still there and says
//! what may be half-made. The lock is a file of its own that is never deleted: a lock on a file that is renamed can have
//! two holders.

pub mod holder;
pub mod lock;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::record::Apps;
use crate::error::{Failure, Kind, Result};
use crate::model::check;
use crate::model::state::State;
use crate::own_file;
pub use crate::store::lock::{Lock, Wait};

/// Where the state lives unless the operator says otherwise.
pub const DEFAULT_DIR: &str = "/var/lib/vpcctl";

/// The version of the state file's schema.
pub const SCHEMA_VERSION: u32 = 1;

const STATE: &str = "state.json";
const INTENT: &str = "intent.json";
const TEMPORARY: &str = "state.json.new";
const LOCK: &str = "lock";

/// The largest state file that is read, in bytes: a hundred times that of a thousand VPCs.
const SIZE_LIMIT: u64 = 256 << 20;

/// A state directory.
#[derive(Debug, Clone)]
pub struct Store {
    dir: PathBuf,
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
    /// The namespaces and links that the command set out to make or to unmake: where it was cut off, what of them bears no mark
    /// yet is vpcctl's all the same.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub touched: BTreeSet<String>,
}

impl Document {
    /// A state, and the command that leads to it.
    pub fn new(command: &str, network: &State, touched: BTreeSet<String>) -> Self {
        Document { version: SCHEMA_VERSION, changed_by: command.into(), network: network.clone(), touched }
    }
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
        own_file::make_dir(&self.dir).map_err(|error| self.failure("create", &self.dir, &error))?;
        self.check_dir()
    }

    /// Refuses a directory that others could write to, or that a link stands in for.
    pub fn check_dir(&self) -> Result<()> {
        // Without a slash at its end, which would follow a link.
        let dir: PathBuf = self.dir.components().collect();
        let metadata = fs::symlink_metadata(&dir).map_err(|error| self.failure("read", &dir, &error))?;
        let user = rustix::process::geteuid().as_raw();
        let (why, hint) = if metadata.is_symlink() {
            ("it is a symbolic link".to_owned(), "name the directory itself with --state-dir".to_owned())
        } else if !metadata.is_dir() {
            ("it is no directory".to_owned(), "name another one with --state-dir".to_owned())
        } else if metadata.uid() != user {
            (
                format!("it belongs to user {}", metadata.uid()),
                format!("make it yours alone: chown {user} and chmod 700"),
            )
        } else if metadata.mode() & 0o022 != 0 {
            ("others may write to it".to_owned(), "make it yours alone: chmod 700".to_owned())
        } else {
            return Ok(());
        };
        let message = format!("the state directory `{}` is not safe: {why}", dir.display());
        Err(Failure::new(Kind::State, message).hint(hint))
    }

    /// Takes the lock, waiting for whoever has it.
    pub fn lock(&self, wait: &Wait<'_>) -> Result<Lock> {
        let path = self.lock_path();
        let file = self.open(&path, OpenOptions::new().read(true).write(true).create(true).truncate(false))?;
        // Whoever can open it can hold it up.
        let private = file.set_permissions(Permissions::from_mode(own_file::PRIVATE));
        private.map_err(|error| self.failure("change", &path, &error))?;
        let lock = lock::take(file, &path, wait)?;
        // What a command left that was cut off while it wrote. Where it can't be removed, the next to write says so.
        let _ = own_file::remove(&self.dir.join(TEMPORARY));
        Ok(lock)
    }

    /// Does somebody hold the lock? To know, it is taken for an instant, where nobody does.
    pub fn is_locked(&self) -> bool {
        let file = own_file::open_to_read(&self.lock_path());
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
    pub fn begin(&self, _lock: &Lock, intent: &Document) -> Result<()> {
        let text = serde_json::to_string_pretty(intent)
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
        let removed = own_file::remove(&path).and_then(|()| own_file::sync_dir(&self.dir));
        removed.map_err(|error| self.failure("remove", &path, &error))
    }

    fn read(&self, name: &str) -> Result<Option<Document>> {
        let path = self.dir.join(name);
        let file = match self.open(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(_) if matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound) => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let mut text = String::new();
        let read = file.take(SIZE_LIMIT + 1).read_to_string(&mut text);
        match read.map_err(|error| self.failure("read", &path, &error))? as u64 {
            0..=SIZE_LIMIT => parse(&path, &text).map(Some),
            _ => Err(damaged(&path, &format!("it is larger than {} MiB", SIZE_LIMIT >> 20))),
        }
    }

    /// To a temporary file, to the disk, to its name, and the name to the disk.
    fn write_durably(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(TEMPORARY);
        let written = own_file::write_beside(&path, text.as_bytes(), own_file::PRIVATE);
        written.map_err(|error| self.failure("write", &path, &error))?;
        self.rename(TEMPORARY, name)
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        let path = self.dir.join(to);
        let renamed = own_file::rename(&self.dir.join(from), &path);
        renamed.map_err(|error| {
            let _ = own_file::remove(&self.dir.join(TEMPORARY));
            self.failure("write", &path, &error)
        })
    }

    fn open(&self, path: &Path, options: &mut OpenOptions) -> Result<File> {
        own_file::open(path, options).map_err(|error| self.failure("open", path, &error))
    }

    fn failure(&self, verb: &str, path: &Path, error: &io::Error) -> Failure {
        let failure = Failure::new(Kind::State, format!("cannot {verb} `{}`: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure { kind: Kind::Privilege, ..failure }
                .hint("run it with sudo, or try it without root: vpcctl sandbox"),
            io::ErrorKind::Other => failure.hint("it is nothing that vpcctl wrote: move it away"),
            io::ErrorKind::StorageFull => failure.hint("make room on the disk; nothing was changed"),
            _ => failure.hint("--state-dir or VPCCTL_STATE_DIR names another directory"),
        }
    }
}

/// Reads the text of a state file or an intent.
pub fn parse(path: &Path, text: &str) -> Result<Document> {
    let damaged = |error: serde_json::Error| damaged(path, &error.to_string());
    let read: serde_json::Result<Document> = serde_json::from_str(text);
    // One of another version need not be of this form.
    let version = match &read {
        Ok(document) => document.version,
        Err(_) => serde_json::from_str::<VersionOnly>(text).map_err(damaged)?.version,
    };
    if version != SCHEMA_VERSION {
        let message = format!("the {} `{}` has version {version}, not {SCHEMA_VERSION}", what(path), path.display());
        let hint = if version > SCHEMA_VERSION { "use a newer vpcctl" } else { "use the vpcctl that wrote it" };
        return Err(Failure::new(Kind::State, message).hint(hint));
    }
    let document = read.map_err(damaged)?;
    match check::flaw(&document.network) {
        None => Ok(document),
        Some(flaw) => Err(damaged(serde::de::Error::custom(flaw))),
    }
}

fn damaged(path: &Path, why: &str) -> Failure {
    let hint = match what(path) {
        "intent" => {
            "it is what a command that was cut off was about to make true: move it away, and run `vpcctl restore`; what the \
             command made besides stays"
        }
        _ => {
            "put a backup in its place, or remove all that vpcctl made, by its marks: scripts/cleanup.sh, installed as share/vpcctl/cleanup.sh"
        }
    };
    Failure::new(Kind::State, format!("the {} `{}` is damaged: {why}", what(path), path.display())).hint(hint)
}

/// What the file is, in words.
fn what(path: &Path) -> &'static str {
    if path.file_name().is_some_and(|name| name == INTENT) { "intent" } else { "state file" }
}
