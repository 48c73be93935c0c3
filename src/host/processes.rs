//! Processes that live in namespaces about to go: they would keep them alive. They are found by their namespace and ended
//! through a pidfd, so that no number that was used again is ever hit.

use std::collections::BTreeSet;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};

use crate::app::process;
use crate::host::namespace;
use crate::model::kernel_names::Netns;
use crate::store::holder;

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
    let inodes = namespace::inodes_but_own(namespaces);
    let (own, others): (Vec<_>, Vec<_>) = residents(&inodes).into_iter().partition(|process| process.pid == getpid());
    let (all, handles): (Vec<String>, Vec<OwnedFd>) = others.into_iter().map(|p| (p.describe(), p.fd)).unzip();
    let staying = process::end(&handles, GRACE, KILL_WAIT).into_iter().map(|index| all[index].clone());
    let staying: Vec<String> = staying.chain(own.iter().map(Process::describe)).collect();
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

/// The processes whose namespace is one of these, but for the tools with which another vpcctl looks at it right now. The pidfd is
/// opened first and the namespace read after, so that both are of the same process.
fn residents(inodes: &BTreeSet<u64>) -> Vec<Process> {
    if inodes.is_empty() {
        return Vec::new();
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter_map(Pid::from_raw);
    let is_resident = |pid: &Pid| lives_in(*pid, inodes) && !holder::is_tool_at_work(pid.as_raw_nonzero().get());
    pids.filter(is_resident).filter_map(|pid| resident(pid, inodes)).collect()
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
