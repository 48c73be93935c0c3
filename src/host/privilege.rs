//! Whether the caller may do what vpcctl does.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::error::{Failure, Kind, Result};
use crate::host::namespace;
use crate::model::kernel_names::{self as names, Netns};
use crate::model::state::State;

/// The capabilities that every change needs, with their numbers in `linux/capability.h`.
const NEEDED: [(&str, u32); 2] = [("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21)];

/// Refuses a caller who is inside a namespace of the state's: there, that would be taken for the host.
pub fn check_place(state: &State) -> Result<()> {
    let inode = |path: &Path| std::fs::metadata(path).ok().map(|metadata| metadata.ino());
    let own = inode(Path::new("/proc/self/ns/net"));
    // Where the first process lives too is no VPC's: that spares a look at each of a thousand names.
    if own.is_some() && own == inode(Path::new("/proc/1/ns/net")) {
        return Ok(());
    }
    let inside = |netns: &Netns| own.is_some() && inode(&namespace::path(netns)) == own;
    match names::namespaces(state).find(inside) {
        None => Ok(()),
        Some(netns) => Err(Failure::new(Kind::Host, format!("vpcctl was started inside the namespace `{netns}`"))
            .hint("start it on the host: leave the shell of the instance first")),
    }
}

/// The capabilities that the kernel will ask for and the caller lacks.
pub fn lacking() -> Vec<&'static str> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|digits| u64::from_str_radix(digits.trim(), 16).ok()).unwrap_or(u64::MAX);
    NEEDED.iter().filter(|(_, number)| effective & (1 << number) == 0).map(|(name, _)| *name).collect()
}

/// Refuses to lend the rights of the program's file: with a set-user-ID bit, whoever starts vpcctl would be root on the host.
pub fn check_caller() -> Result<()> {
    let (user, as_user) = (rustix::process::getuid(), rustix::process::geteuid());
    let (group, as_group) = (rustix::process::getgid(), rustix::process::getegid());
    if user == as_user && group == as_group {
        return Ok(());
    }
    let message = format!("vpcctl was started by user {} as user {}", user.as_raw(), as_user.as_raw());
    Err(Failure::new(Kind::Privilege, message)
        .hint("remove its set-user-ID and set-group-ID bits: chmod ug-s; run it with sudo"))
}

/// Refuses a caller who lacks a capability that the kernel will ask for.
pub fn check() -> Result<()> {
    check_for("changing")
}

/// The same, where something else is done with the network than to change it.
pub fn check_for(doing: &str) -> Result<()> {
    let lacking = lacking();
    if lacking.is_empty() {
        return Ok(());
    }
    let message = format!("{doing} the network needs root ({} missing)", lacking.join(" and "));
    Err(Failure::new(Kind::Privilege, message).hint("run it with sudo, or try it without: vpcctl sandbox"))
}
