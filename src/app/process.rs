//! A process as something that can be told from any other that ever had its number.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

/// A process: its number, and when it started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessId {
    /// Its number.
    pub pid: i32,
    /// When it started, in the kernel's ticks since the boot: field 22 of `/proc/PID/stat`, proc_pid_stat(5).
    pub start: u64,
    /// The boot that the ticks count from: `/proc/sys/kernel/random/boot_id`.
    pub boot: String,
}

impl ProcessId {
    /// This very process. Looked for once: every tool that is started bears it as a mark.
    pub fn own() -> Option<Self> {
        static OWN: LazyLock<Option<ProcessId>> = LazyLock::new(|| ProcessId::of(getpid()));
        OWN.clone()
    }

    /// The process that has the number now.
    pub fn of(pid: Pid) -> Option<Self> {
        let pid = pid.as_raw_nonzero().get();
        Some(ProcessId { pid, start: start_time(pid)?, boot: boot_id() })
    }

    /// Is it the one that has its number now, and not yet dead?
    pub fn is_alive(&self) -> bool {
        self.boot == boot_id() && start_time(self.pid) == Some(self.start)
    }

    /// The number of the network namespace that it lives in.
    pub fn netns(&self) -> Option<u64> {
        fs::metadata(format!("/proc/{}/ns/net", self.pid)).ok().map(|metadata| metadata.ino())
    }

    /// A handle on it. The handle comes first and the look after, so that both are of the same process.
    pub fn open(&self) -> Option<OwnedFd> {
        let fd = pidfd_open(Pid::from_raw(self.pid)?, PidfdFlags::empty()).ok()?;
        self.is_alive().then_some(fd)
    }
}

/// Asks the processes to end, and kills those that have not after `grace`. Those that stay even so, by their place.
pub fn end(handles: &[OwnedFd], grace: Duration, kill_wait: Duration) -> Vec<usize> {
    let all: Vec<usize> = (0..handles.len()).collect();
    signal(handles, &all, Signal::TERM);
    let stubborn = wait(handles, all, grace);
    signal(handles, &stubborn, Signal::KILL);
    wait(handles, stubborn, kill_wait)
}

/// Waits until the processes have ended. Those that have not by then, by their place.
pub fn wait_for(handles: &[OwnedFd], limit: Duration) -> Vec<usize> {
    wait(handles, (0..handles.len()).collect(), limit)
}

fn signal(handles: &[OwnedFd], which: &[usize], signal: Signal) {
    for index in which {
        if let Err(error) = pidfd_send_signal(&handles[*index], signal) {
            tracing::debug!("signal to a process: {error}");
        }
    }
}

/// Waits until the processes have ended or `limit` is over; those that have not.
fn wait(handles: &[OwnedFd], mut waiting: Vec<usize>, limit: Duration) -> Vec<usize> {
    let deadline = Instant::now() + limit;
    while !waiting.is_empty() {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            break;
        };
        let polled = waiting.iter().map(|index| PollFd::new(&handles[*index], PollFlags::IN));
        let mut polled: Vec<PollFd<'_>> = polled.collect();
        if poll(&mut polled, Some(&timespec(left))).is_err() {
            continue;
        }
        let mut running = polled.iter().map(|fd| fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        waiting.retain(|_| running.next().unwrap_or(true));
    }
    waiting
}

/// A time span as poll(2) takes it.
pub fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) }
}

/// The numbers of a process's children.
pub fn children(parent: i32) -> Vec<i32> {
    children_of(&[parent]).into_iter().map(|(_, pid)| pid).collect()
}

/// Handles on the children of these processes, each with its parent's place among them.
pub fn open_children(parents: &[i32]) -> Vec<(usize, OwnedFd)> {
    let open = |(at, pid): (usize, i32)| {
        let handle = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        (parent_of(pid) == Some(parents[at])).then_some((at, handle))
    };
    children_of(parents).into_iter().filter_map(open).collect()
}

/// Each child of these processes, with its parent's place among them.
fn children_of(parents: &[i32]) -> Vec<(usize, i32)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let place = |pid: i32| parent_of(pid).and_then(|parent| parents.iter().position(|known| *known == parent));
    pids.filter_map(|pid| Some((place(pid)?, pid))).collect()
}

/// Is it a copy of its parent that has not become another program yet?
pub fn is_fork(pid: i32) -> bool {
    let program = |pid: i32| fs::read_link(format!("/proc/{pid}/exe")).ok();
    let words = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).ok();
    parent_of(pid)
        .is_some_and(|parent| program(pid).is_some() && program(pid) == program(parent) && words(pid) == words(parent))
}

/// The number of its parent: field 4 of `/proc/PID/stat`.
pub fn parent_of(pid: i32) -> Option<i32> {
    number_behind_name(pid, 1)
}

/// The number of its process group, which is its leader's: field 5 of `/proc/PID/stat`.
pub fn group_of(pid: i32) -> Option<i32> {
    number_behind_name(pid, 2)
}

/// The fields of `/proc/PID/stat` are counted from behind the name, which may hold anything.
fn number_behind_name(pid: i32, index: usize) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(index)?.parse().ok()
}

/// Nothing for a process that is gone, or dead and only waited for by its parent.
fn start_time(pid: i32) -> Option<u64> {
    read_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The name, in parentheses, may hold anything: what counts begins after the last of them.
fn read_start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") { None } else { fields.nth(18)?.parse().ok() }
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = |name: &str, state: &str| {
            format!("7 ({name}) {state} 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 8 9 10\n")
        };
        assert_eq!(read_start_time(&stat("cat", "S")), Some(123_456));
        assert_eq!(read_start_time(&stat("a) R 1 (b", "S")), Some(123_456));
        assert_eq!(read_start_time(&stat("cat", "Z")), None);
        assert_eq!(read_start_time(""), None);
    }

    #[test]
    fn a_process_is_alive_as_long_as_number_start_and_boot_are_its_own() {
        let own = ProcessId::own().unwrap();
        assert!(own.is_alive() && own.open().is_some());
        let earlier = ProcessId { start: own.start - 1, ..own.clone() };
        let before_the_boot = ProcessId { boot: "another".into(), ..own };
        for stranger in [earlier, before_the_boot] {
            assert!(!stranger.is_alive() && stranger.open().is_none(), "{stranger:?}");
        }
    }
}
