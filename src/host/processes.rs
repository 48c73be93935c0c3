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

/// Ends the processes that live in the namespaces; the numbers of those that stay.
///
/// vpcctl itself is never among them: where it was started inside of such a namespace it is among those that stay.
pub fn end(namespaces: &[Netns]) -> Vec<i32> {
    let inodes: BTreeSet<u64> = namespaces.iter().filter_map(inode).collect();
    let residents = residents(&inodes);
    let own = getpid();
    let (own, others): (Vec<_>, Vec<_>) = residents.into_iter().partition(|(pid, _)| *pid == own);
    send(&others, Signal::TERM);
    let stubborn = wait(others, GRACE);
    send(&stubborn, Signal::KILL);
    let staying = wait(stubborn, KILL_WAIT);
    own.into_iter().chain(staying).map(|(pid, _)| pid.as_raw_nonzero().get()).collect()
}

fn inode(netns: &Netns) -> Option<u64> {
    namespace::open(netns).and_then(|file| file.metadata()).ok().map(|metadata| metadata.ino())
}

/// The processes whose namespace is one of these. The pidfd is opened first and the namespace read after, so that both are of
/// the same process.
fn residents(inodes: &BTreeSet<u64>) -> Vec<(Pid, OwnedFd)> {
    if inodes.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Pid::from_raw);
    pids.filter_map(|pid| {
        lives_in(pid, inodes).then_some(())?;
        let fd = pidfd_open(pid, PidfdFlags::empty()).ok()?;
        lives_in(pid, inodes).then_some((pid, fd))
    })
    .collect()
}

fn lives_in(pid: Pid, inodes: &BTreeSet<u64>) -> bool {
    let netns = fs::metadata(format!("/proc/{}/ns/net", pid.as_raw_nonzero()));
    netns.is_ok_and(|metadata| inodes.contains(&metadata.ino()))
}

fn send(processes: &[(Pid, OwnedFd)], signal: Signal) {
    for (pid, fd) in processes {
        if let Err(error) = pidfd_send_signal(fd, signal) {
            tracing::debug!("signal to {}: {error}", pid.as_raw_nonzero());
        }
    }
}

/// Waits until the processes have ended or `limit` is over; those that have not.
fn wait(mut processes: Vec<(Pid, OwnedFd)>, limit: Duration) -> Vec<(Pid, OwnedFd)> {
    let deadline = Instant::now() + limit;
    while !processes.is_empty() {
        let Some(left) = deadline.checked_duration_since(Instant::now()) else {
            break;
        };
        let mut polled: Vec<PollFd<'_>> = processes.iter().map(|(_, fd)| PollFd::new(fd, PollFlags::IN)).collect();
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        if poll(&mut polled, Some(&timeout)).is_err() {
            continue;
        }
        let mut ended = polled.iter().map(|fd| !fd.revents().is_empty()).collect::<Vec<_>>().into_iter();
        processes.retain(|_| !ended.next().unwrap_or(false));
    }
    processes
}
