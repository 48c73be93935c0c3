//! Who has the lock: a living vpcctl by what it wrote into the file, any other process by what the kernel says of its
//! descriptors.

use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::app::process::{self, ProcessId};
use crate::model::text::printable;

/// The variable that each tool of vpcctl's has in its environment, and nobody else: its name and who started it.
pub const TOOL_VARIABLE: &str = "VPCCTL_TOOL";

/// How much of a command line is told.
const SHOWN: usize = 200;

/// What a lock file holds at most.
const LIMIT: usize = 4096;

/// What the holder writes into the file.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    process: ProcessId,
    command: String,
}

/// Who has the lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holder {
    /// A vpcctl at work.
    Command {
        /// What was typed after `vpcctl`.
        command: String,
        /// Its process.
        pid: i32,
    },
    /// Tools whose vpcctl is gone: not empty.
    Orphans(Vec<Orphan>),
    /// Somebody else's process.
    Stranger {
        /// Its name.
        name: String,
        /// Its number.
        pid: i32,
    },
    /// Nobody that can be seen from here, or nobody any more.
    Unknown,
}

/// A tool that holds the lock for a vpcctl that is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orphan {
    name: String,
    process: ProcessId,
}

/// What marks a process as a tool of this vpcctl's: the tool's name, and the number and start time of this process.
pub fn tool_mark(tool: &str) -> String {
    let own = ProcessId::own();
    own.map_or_else(String::new, |own| format!("{tool} {} {}", own.pid, own.start))
}

/// Writes down that the lock is this process's.
pub(super) fn write(file: &File, command: &str) -> io::Result<()> {
    let command = command.chars().take(SHOWN).collect();
    let Some(process) = ProcessId::own() else {
        return file.set_len(0);
    };
    let text = serde_json::to_string(&Record { process, command })?;
    file.set_len(0)?;
    file.write_all_at(text.as_bytes(), 0)
}

impl Holder {
    /// Looks who has the lock on the file.
    pub(super) fn find(path: &Path, file: &File) -> Self {
        let holding = holding(path);
        let pids: Vec<i32> = holding.iter().map(|process| process.pid).collect();
        if let Some(Record { process, command }) = read(file)
            && process.is_alive()
            && (pids.is_empty() || pids.contains(&process.pid))
        {
            return Holder::Command { command, pid: process.pid };
        }
        let orphans: Vec<Orphan> = holding.iter().filter_map(Orphan::of).collect();
        match holding.first() {
            _ if !orphans.is_empty() => Holder::Orphans(orphans),
            Some(process) => Holder::Stranger { name: name(process.pid), pid: process.pid },
            None => Holder::Unknown,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holder::Command { command, pid } => write!(f, "`vpcctl {command}` (process {pid})"),
            Holder::Orphans(orphans) => orphans.iter().take(1).try_for_each(|orphan| orphan.fmt(f)),
            Holder::Stranger { name, pid } => write!(f, "`{name}` (process {pid})"),
            Holder::Unknown => f.write_str("another vpcctl, or a tool that it started,"),
        }
    }
}

impl fmt::Display for Orphan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (process {}, started by a vpcctl that is gone)", self.name, self.process.pid)
    }
}

/// Is the process a tool of a vpcctl that is at work, or about to become one? What its environment says is not enough: it is in
/// the process group that a tool of that very vpcctl leads.
pub fn is_tool_at_work(pid: i32) -> bool {
    if is_vpcctl(pid) && process::is_fork(pid) {
        return true;
    }
    let process = Pid::from_raw(pid).and_then(ProcessId::of);
    process.and_then(|process| tool(&process)).is_some_and(|(_, starter)| {
        let started_it = process::group_of(pid).and_then(process::parent_of) == Some(starter.pid);
        started_it && is_vpcctl(starter.pid) && starter.is_alive()
    })
}

/// Does it run this program, as one of ours would: by the same user, and from the same file, which an upgrade may have replaced?
fn is_vpcctl(pid: i32) -> bool {
    let path = |pid: &str| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let program = |pid: &str| Some(path(pid)?.to_str()?.trim_end_matches(" (deleted)").to_owned());
    let owner = |pid: &str| fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid());
    let pid = pid.to_string();
    program("self").is_some_and(|own| program(&pid) == Some(own)) && owner(&pid) == owner("self")
}

/// Which tool a process is, and which vpcctl of this pid namespace started it.
fn tool(process: &ProcessId) -> Option<(String, ProcessId)> {
    let mark = mark(process.pid)?;
    let mut words = mark.split(' ');
    let (name, pid, start) = (words.next()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let starter = ProcessId { pid, start, boot: process.boot.clone() };
    shares_our_numbers(process.pid).then(|| (shown(name), starter))
}

impl Orphan {
    /// The process, if it is a tool whose vpcctl is gone.
    fn of(process: &ProcessId) -> Option<Self> {
        let (name, starter) = tool(process)?;
        (!starter.is_alive()).then(|| Orphan { name, process: process.clone() })
    }

    /// Kills it, if it is still what it was and still holds the lock. The handle comes first and the look after.
    pub(super) fn end(&self, path: &Path) -> bool {
        let Some(handle) = Pid::from_raw(self.process.pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            return false;
        };
        let is_still = holds(self.process.pid, path) && Orphan::of(&self.process).as_ref() == Some(self);
        is_still && self.process.is_alive() && pidfd_send_signal(handle, Signal::KILL).is_ok()
    }
}

/// What the holder wrote, as it may be shown.
fn read(file: &File) -> Option<Record> {
    let mut bytes = vec![0; LIMIT];
    let length = file.read_at(&mut bytes, 0).ok()?;
    let record: Record = serde_json::from_slice(&bytes[..length]).ok()?;
    Some(Record { command: shown(&record.command), ..record })
}

fn shown(text: &str) -> String {
    printable(text).chars().take(SHOWN).collect()
}

/// The processes that hold the lock on the file, of those that can be seen.
fn holding(path: &Path) -> Vec<ProcessId> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let holders = pids.filter(|pid| holds(*pid, path)).filter_map(|pid| ProcessId::of(Pid::from_raw(pid)?));
    let mut holders: Vec<ProcessId> = holders.collect();
    holders.sort_by_key(|process| process.pid);
    holders
}

/// Has the process a descriptor that bears the lock? `/proc/PID/fdinfo/N` has a line for each lock of the open file: proc_pid_fdinfo(5).
fn holds(pid: i32, path: &Path) -> bool {
    let Ok(wanted) = fs::metadata(path) else {
        return false;
    };
    let is_ours = |fd: &PathBuf| {
        // What doesn't bear its name isn't asked: it may be a device that answers late.
        fs::read_link(fd).is_ok_and(|target| target.file_name() == path.file_name())
            && fs::metadata(fd).is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    let entries = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(is_ours).any(|fd| bears_a_lock(pid, fd.file_name().unwrap_or_default()))
}

fn bears_a_lock(pid: i32, fd: &OsStr) -> bool {
    let info = fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("fdinfo").join(fd));
    info.is_ok_and(|info| info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK")))
}

/// The mark in the environment that the process was started with.
fn mark(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0).filter_map(|variable| std::str::from_utf8(variable).ok());
    variables.find_map(|variable| variable.strip_prefix(TOOL_VARIABLE)?.strip_prefix('=').map(str::to_owned))
}

/// Does it live in our pid namespace? In another one numbers are other processes'.
fn shares_our_numbers(pid: i32) -> bool {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    namespace("self").is_some_and(|own| namespace(&pid.to_string()) == Some(own))
}

fn name(pid: i32) -> String {
    printable(fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim())
}
