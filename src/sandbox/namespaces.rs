//! The sandbox's namespaces, and what to say where the host doesn't allow them.
//!
//! Made by this process, not by util-linux's `unshare`: the kernel's own error can be told from the command's exit
//! code, SIGTERM isn't blocked, and an AppArmor profile may allow user namespaces to vpcctl by name.

use std::fs;
use std::io;

use rustix::process::{Signal, getegid, geteuid, set_parent_process_death_signal};
use rustix::thread::UnshareFlags;

use crate::error::{Failure, Kind, Result};
use crate::host::namespace;

/// The switches that close user namespaces: name, the value that closes them, a value that opens them.
const SWITCHES: [(&str, &str, &str); 3] = [
    // Ubuntu 23.10 and later.
    ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    // Debian's kernels.
    ("kernel.unprivileged_userns_clone", "0", "1"),
    ("user.max_user_namespaces", "0", "15000"),
];

/// Moves this process into new user, network and mount namespaces, as their root, and its children into a new pid
/// namespace. Real root does without the user namespace where the host allows none.
pub fn unshare() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWPID;
    match namespace::unshare(UnshareFlags::NEWUSER | flags) {
        Ok(()) => map_root(uid.as_raw(), gid.as_raw()).map_err(|e| refused("become root of a user namespace", &e)),
        Err(_) if uid.is_root() => namespace::unshare(flags).map_err(|e| refused("make the sandbox's namespaces", &e)),
        Err(error) => Err(refused("make the sandbox's namespaces", &error)),
    }
}

/// Moves this process into new network and mount namespaces: of a new user namespace where it may not do that as it is.
pub fn unshare_network() -> Result<()> {
    let (uid, gid) = (geteuid(), getegid());
    let flags = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    if namespace::unshare(flags).is_ok() {
        return Ok(());
    }
    let become_root =
        namespace::unshare(UnshareFlags::NEWUSER | flags).and_then(|()| map_root(uid.as_raw(), gid.as_raw()));
    become_root.map_err(|e| refused("make a network namespace", &e))
}

/// Maps the caller to root. Without `setgroups` denied, the kernel refuses the group map to an unprivileged user.
fn map_root(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Has the kernel end this process, and all of its pid namespace with it, when its parent ends. To be called while
/// /proc is still the parent's.
pub fn end_with_parent() -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(|e| refused("end with `vpcctl sandbox`", &e.into()))?;
    // A parent that ended before that call sends no signal any more, and `getppid` is 0 either way: it is outside of
    // this pid namespace. Whoever adopted this process isn't the one whose children go into it.
    let ours = fs::read_link("/proc/self/ns/pid").ok();
    let parents = parent().and_then(|pid| fs::read_link(format!("/proc/{pid}/ns/pid_for_children")).ok());
    if ours.is_some() && ours == parents {
        return Ok(());
    }
    Err(Failure::new(Kind::Interrupted, "`vpcctl sandbox` ended before its sandbox began"))
}

/// The parent's number in the pid namespace of /proc.
fn parent() -> Option<u32> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// The failure of something that needs the privileges of a user namespace's root. On Ubuntu 24.04 the namespace
/// itself may be allowed and only its use refused, so mounts fail with this as well.
pub fn refused(what: &str, error: &io::Error) -> Failure {
    let kind = if error.kind() == io::ErrorKind::PermissionDenied { Kind::Privilege } else { Kind::Host };
    Failure::new(kind, format!("cannot {what}: {error}")).hint(hint(read))
}

/// The switch that keeps user namespaces from unprivileged users, if one does, and the value that opens it.
pub fn closed_switch() -> Option<(&'static str, &'static str)> {
    closed_in(read)
}

fn read(switch: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/sys/{}", switch.replace('.', "/"))).ok()
}

fn closed_in(read: impl Fn(&str) -> Option<String>) -> Option<(&'static str, &'static str)> {
    let closed = |(name, closed, _): &&(&str, &str, &str)| read(name).is_some_and(|value| value.trim() == *closed);
    SWITCHES.iter().find(closed).map(|(name, _, open)| (*name, *open))
}

/// Names the switch that is off, if one is; `read` returns the value of a sysctl.
fn hint(read: impl Fn(&str) -> Option<String>) -> String {
    match closed_in(read) {
        Some((name, open)) => {
            format!("this host restricts user namespaces: allow them with `sudo sysctl {name}={open}`, or use `sudo`")
        }
        None => "run it with `sudo`; a container has to allow user namespaces and mounts (`--privileged`)".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hint_names_the_switch_that_is_off() {
        let ubuntu = |name: &str| Some(if name.contains("apparmor") { "1\n" } else { "15000\n" }.to_owned());
        assert!(hint(ubuntu).contains("`sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`"));
        let debian = |name: &str| (name == "kernel.unprivileged_userns_clone").then(|| "0\n".to_owned());
        assert!(hint(debian).contains("`sudo sysctl kernel.unprivileged_userns_clone=1`"));
        assert!(hint(|_| None).contains("`sudo`"));
    }

    #[test]
    fn a_missing_privilege_is_told_from_a_missing_feature() {
        assert_eq!(refused("x", &io::Error::from_raw_os_error(1)).kind, Kind::Privilege);
        assert_eq!(refused("x", &io::Error::from_raw_os_error(22)).kind, Kind::Host);
    }
}
