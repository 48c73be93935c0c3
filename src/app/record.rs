//! What is known of the apps that run or ran: a record and a log for each, in a directory of the state directory.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::app::process::{self, ProcessId};
use crate::app::supervise;
use crate::host::namespace;
use crate::model::app::App;
use crate::own_file;
use crate::plan::launch::AppId;

/// How long an app has to end before it is killed: more than its supervisor gives it.
const GRACE: Duration = supervise::GRACE.saturating_add(Duration::from_secs(1));

/// How long the kernel may take to end what was killed.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// The longest record that is read, in bytes: as many as the longest command line that the kernel takes, quoted.
const RECORD_LIMIT: u64 = 16 << 20;

/// The directory of records and logs.
#[derive(Debug, Clone)]
pub struct Apps {
    dir: PathBuf,
}

/// What is known of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What was started.
    pub app: App,
    /// The process that watches over it.
    pub supervisor: ProcessId,
    /// The app's own process, once it has begun.
    pub process: Option<ProcessId>,
    /// When it started, in seconds since 1970.
    pub since: u64,
    /// How it ended by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
}

/// How an app ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// With an exit code.
    ExitCode(i32),
    /// By a signal.
    Signal(i32),
}

impl End {
    /// In words: `exit code 1`.
    pub fn describe(self) -> String {
        match self {
            End::ExitCode(code) => format!("exit code {code}"),
            End::Signal(signal) => format!("signal {signal}"),
        }
    }
}

impl Record {
    /// Does it run, in the namespace that has the name now? One that was deleted behind its back lives on with it.
    pub fn is_running(&self, id: &AppId) -> bool {
        let here = self.supervisor.netns();
        let lives = self.supervisor.is_alive() && self.process.as_ref().is_some_and(ProcessId::is_alive);
        self.end.is_none() && here.is_some() && here == namespace::inode(&id.netns) && lives
    }
}

impl Apps {
    /// The records in `dir`, which need not exist yet.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Apps { dir: dir.into() }
    }

    /// The file that holds what the app prints.
    pub fn log_path(&self, id: &AppId) -> PathBuf {
        self.dir.join(format!("{}.log", id.file_stem()))
    }

    fn record_path(&self, id: &AppId) -> PathBuf {
        self.dir.join(format!("{}.json", id.file_stem()))
    }

    /// The record; nothing where there is none that can be read.
    pub fn load(&self, id: &AppId) -> Option<Record> {
        let mut text = String::new();
        own_file::open_to_read(&self.record_path(id)).ok()?.take(RECORD_LIMIT).read_to_string(&mut text).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// What runs as this app; nothing inside where it has ended and left its files, nothing at all where there are none.
    pub fn running(&self, id: &AppId) -> Option<Option<App>> {
        match self.load(id) {
            Some(record) => Some(record.is_running(id).then_some(record.app)),
            None => self.record_path(id).symlink_metadata().is_ok().then_some(None),
        }
    }

    /// Replaces the record as a whole.
    pub fn save(&self, id: &AppId, record: &Record) -> io::Result<()> {
        let path = self.record_path(id);
        let beside = path.with_extension("new");
        own_file::replace(&path, &beside, serde_json::to_string(record)?.as_bytes(), own_file::PRIVATE)
    }

    /// Opens the log, to write after what is in it already.
    pub fn open_log(&self, id: &AppId) -> io::Result<File> {
        own_file::make_dir(&self.dir)?;
        own_file::open(&self.log_path(id), OpenOptions::new().append(true).create(true))
    }

    /// The last lines of the log, `count` at most.
    pub fn last_lines(&self, id: &AppId, count: usize) -> io::Result<Vec<String>> {
        const ENOUGH: u64 = 64 * 1024;
        let mut file = own_file::open_to_read(&self.log_path(id))?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(ENOUGH)))?;
        let mut bytes = Vec::new();
        file.take(ENOUGH).read_to_end(&mut bytes)?;
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(count)..].iter().map(|line| line.to_string()).collect())
    }

    /// Ends the apps with all that runs in them, and removes their files; those that did not end.
    pub fn end(&self, ids: &[AppId]) -> Vec<AppId> {
        let loaded = ids.iter().filter_map(|id| Some((id, self.load(id)?.supervisor)));
        let (running, (pids, handles)): (Vec<&AppId>, (Vec<i32>, Vec<OwnedFd>)) =
            loaded.filter_map(|(id, supervisor)| Some((id, (supervisor.pid, supervisor.open()?)))).unzip();
        // Where a supervisor has to be killed the first process of its namespace dies of that, and what is in it with that one.
        let (whose, firsts): (Vec<usize>, Vec<OwnedFd>) = process::open_children(&pids).into_iter().unzip();
        let mut staying: BTreeSet<usize> = process::end(&handles, GRACE, KILL_WAIT).into_iter().collect();
        staying.extend(process::wait_for(&firsts, KILL_WAIT).into_iter().map(|first| whose[first]));
        let staying: Vec<AppId> = staying.into_iter().map(|at| running[at].clone()).collect();
        ids.iter().filter(|id| !staying.contains(id)).for_each(|id| self.forget(id));
        staying
    }

    /// Removes an app's files, and the directory with the last of them.
    pub fn forget(&self, id: &AppId) {
        for path in [self.record_path(id), self.log_path(id)] {
            if let Err(error) = fs::remove_file(&path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!("cannot remove {}: {error}", path.display());
            }
        }
        // It stays as long as another app has files in it.
        let _ = fs::remove_dir(&self.dir);
    }
}
