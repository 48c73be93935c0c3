//! Processes that live in namespaces about to go: they would keep them alive. They are found by their namespace and ended
//! through a pidfd, so that no number that was used again is ever hit.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal};

use crate::host::namespace;
use crate::model::kernel_names::Netns;

/// How long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(2);

/// How long the kernel may take to end a process that was killed.
const KILL_WAIT: Duration = Duration::from_secs(5);

/// What came of it: each process as its name and number.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ends {
    /// Those that ended.
    pub ended: Vec<String>,
    /// Those that did not.
    pub staying: Vec<String>,
}

/// Ends the processes that live in the namespaces.
///
/// vpcctl itself is never among them: where it was started inside of such a namespace it is among those that stay.
pub fn end(namespaces: &[Netns]) -> Ends {
    let mut inodes: BTreeSet<u64> = namespaces.iter().filter_map(inode).collect();
    // Somebody may have given a name of ours to the host's own namespace.
    for host in ["/proc/self/ns/net", "/proc/1/ns/net"] {
        inodes.retain(|inode| fs::metadata(host).map_or(true, |metadata| metadata.ino() != *inode));
    }
    let (own, others): (Vec<_>, Vec<_>) = residents(&inodes).into_iter().partition(|process| process.pid == getpid());
    let all: Vec<String> = others.iter().map(Process::describe).collect();
    send(&others, Signal::TERM);
    let stubborn = wait(others, GRACE);
    send(&stubborn, Signal::KILL);
    let staying: Vec<String> = wait(stubborn, KILL_WAIT).iter().chain(&own).map(Process::describe).collect();
    let ended = all.into_iter().filter(|process| !staying.contains(process)).collect();
    Ends { ended, staying }
}

/// A process that lives in a namespace that is about to go.
struct Process {
    pid: Pid,
    fd: OwnedFd,
    name: String,
}

impl Process {
    fn describe(&self) -> String {
        format!("{} ({})", self.name, self.pid.as_raw_nonzero())
    }
}

fn inode(netns: &Netns) -> Option<u64> {
    namespace::open(netns).and_then(|file| file.metadata()).ok().map(|metadata| metadata.ino())
}

/// The processes whose namespace is one of these. The pidfd is opened first and the namespace read after, so that both are of
/// the same process.
fn residents(inodes: &BTreeSet<u64>) -> Vec<Process> {
    if inodes.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Pid::from_raw);
    pids.filter(|pid| lives_in(*pid, inodes)).filter_map(|pid| resident(pid, inodes)).collect()
}

fn resident(pid: Pid, inodes: &BTreeSet<u64>) -> Option<Process> {
    let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
    let name = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero())).ok()?;
    lives_in(pid, inodes).then(|| Process { pid, fd, name: name.trim().to_owned() })
}

fn lives_in(pid: Pid, inodes: &BTreeSet<u64>) -> bool {
    let netns = fs::metadata(format!("/proc/{}/ns/net", pid.as_raw_nonzero()));
    netns.is_ok_and(|metadata| inodes.contains(&metadata.ino()))
}

fn send(processes: &[Process], signal: Signal) {
    for process in processes {
        if let Err(error) = pidfd_send_signal(&process.fd, signal) {
            tracing::debug!("signal to {}: {error}", process.describe());
        }
    }
}

/// Waits until the processes have ended or `limit` is over; those that have not.
fn wait(mut processes: Vec<Process>, limit: Duration) -> Vec<Process> {
    let deadline = Instant::now() + limit;
    while !processes.is_empty() {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            break;
        };
        let mut polled: Vec<PollFd<'_>> = processes.iter().map(|p| PollFd::new(&p.fd, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        if poll(&mut polled, Some(&timeout)).is_err() {
            continue;
        }
        let mut ended = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        processes.retain(|_| !ended.next().unwrap_or(false));
    }
    processes
}
