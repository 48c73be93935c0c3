//! The state file, its intent and its lock: the only writer of state.
//!
//! `state.json` is what holds. A command writes what it is about to make true as `intent.json` before it touches the kernel,
//! and renames it to `state.json` when the kernel is done; where a command was cut off, the intent is still there and says
//! what may be half-made. The lock is a file of its own that is never deleted: a lock on a file that is renamed can have
//! two holders.

pub mod holder;
mod layout;
pub mod lock;

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};

use crate::app::record::Apps;
use crate::error::{Failure, Kind, Result};
use crate::model::check;
use crate::model::state::State;
use crate::model::text;
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
    /// The namespaces and links that the command set out to make or to unmake, but for links that go with the namespaces of a VPC
    /// that goes: where it was cut off, what of them bears no mark yet is vpcctl's all the same.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub touched: BTreeSet<String>,
}

impl Document {
    /// A state, and the command that leads to it.
    pub fn new(command: &str, network: &State, touched: BTreeSet<String>) -> Self {
        Document { version: SCHEMA_VERSION, changed_by: command.into(), network: network.clone(), touched }
    }
}

/// A [`Document`] of which only the state is of interest: all is read, but of what was touched, which may be long, nothing kept.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Committed {
    version: u32,
    #[serde(rename = "changed_by")]
    _changed_by: String,
    network: State,
    #[serde(default, rename = "touched")]
    _touched: Vec<AnyText>,
}

struct AnyText;

impl FromStr for AnyText {
    type Err = Infallible;

    fn from_str(_: &str) -> Result<Self, Infallible> {
        Ok(AnyText)
    }
}

impl<'de> Deserialize<'de> for AnyText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        text::parsed(deserializer)
    }
}

/// What is read of a file.
trait Reading: DeserializeOwned {
    fn version(&self) -> u32;
    fn network(&self) -> &State;
}

impl Reading for Document {
    fn version(&self) -> u32 {
        self.version
    }

    fn network(&self) -> &State {
        &self.network
    }
}

impl Reading for Committed {
    fn version(&self) -> u32 {
        self.version
    }

    fn network(&self) -> &State {
        &self.network
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
        Ok(self.read::<Committed>(STATE)?.map(|document| document.network).unwrap_or_default())
    }

    /// What a command that was cut off was about to make true.
    pub fn intent(&self) -> Result<Option<Document>> {
        self.read(INTENT)
    }

    /// Writes down what is about to be made true. Needs the lock, as all that follow.
    pub fn begin(&self, _lock: &Lock, intent: &Document) -> Result<()> {
        let text = layout::text(intent)
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

    fn read<T: Reading>(&self, name: &str) -> Result<Option<T>> {
        let path = self.dir.join(name);
        let file = match self.open(&path, OpenOptions::new().read(true)) {
            Ok(file) => file,
            Err(_) if matches!(path.symlink_metadata(), Err(error) if error.kind() == io::ErrorKind::NotFound) => {
                return Ok(None);
            }
            Err(failure) => return Err(failure),
        };
        let length = file.metadata().map_or(0, |metadata| metadata.len());
        let mut text = String::with_capacity(length.min(SIZE_LIMIT) as usize + 1);
        let read = file.take(SIZE_LIMIT + 1).read_to_string(&mut text);
        match read.map_err(|error| self.failure("read", &path, &error))? as u64 {
            0..=SIZE_LIMIT => parse_as(&path, &text).map(Some),
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
    parse_as(path, text)
}

fn parse_as<T: Reading>(path: &Path, text: &str) -> Result<T> {
    let damaged = |error: serde_json::Error| damaged(path, &error.to_string());
    let read: serde_json::Result<T> = serde_json::from_str(text);
    // One of another version need not be of this form.
    let version = match &read {
        Ok(document) => document.version(),
        Err(_) => serde_json::from_str::<VersionOnly>(text).map_err(damaged)?.version,
    };
    if version != SCHEMA_VERSION {
        let message = format!("the {} `{}` has version {version}, not {SCHEMA_VERSION}", what(path), path.display());
        let hint = if version > SCHEMA_VERSION { "use a newer vpcctl" } else { "use the vpcctl that wrote it" };
        return Err(Failure::new(Kind::State, message).hint(hint));
    }
    let document = read.map_err(damaged)?;
    match check::flaw(document.network()) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_touched_is_read_and_not_kept() {
        let document = Document::new("create-vpc", &State::default(), ["a \"quoted\" name".to_owned()].into());
        let text = layout::text(&document).unwrap();
        let path = Path::new(STATE);
        assert_eq!(parse_as::<Document>(path, &text).unwrap().touched, document.touched);
        assert_eq!(parse_as::<Committed>(path, &text).unwrap().network, document.network);
        let (before, _) = text.split_once("\"touched\": ").unwrap();
        for wrong in ["5", "null", "\"a\"", "{}", "[5]", "[[]]", "[\"a\", null]"] {
            let text = format!("{before}\"touched\": {wrong}}}");
            let [one, other] = [parse_as::<Document>(path, &text).err(), parse_as::<Committed>(path, &text).err()];
            let [one, other] = [one.unwrap(), other.unwrap()].map(|failure| failure.message);
            assert_eq!(one, other, "{wrong}");
        }
    }
}
