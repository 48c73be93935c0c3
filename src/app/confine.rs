//! An app gives up root's powers, and becomes what it is to run.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{Gid, Uid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid,
    set_thread_res_uid,
};

use crate::error::{Failure, Kind, Result};
use crate::model::app::UserName;
use crate::plan::launch::Launch;
use crate::web;

/// What an app finds in its environment besides what is its own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much of a request is in the log, in characters.
const SHOWN: usize = 200;

/// A user as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ids {
    uid: u32,
    gid: u32,
}

/// Becomes the app: never returns but with the reason why not.
///
/// To be called while the process has one thread: what it gives up, it gives up for this thread.
pub fn become_app(launch: &Launch) -> Failure {
    let ids = match user(&launch.app.user) {
        Ok(ids) => ids,
        Err(failure) => return failure,
    };
    if let Err(error) = give_up(ids) {
        return Failure::new(Kind::Privilege, format!("cannot give up root's powers: {error}"));
    }
    let directory = &launch.app.directory;
    if let Err(error) = std::env::set_current_dir(directory) {
        let message = format!("user `{}` cannot enter `{}`: {error}", launch.app.user, directory.display());
        return Failure::new(Kind::Usage, message).hint("choose another with --directory or --user");
    }
    match launch.app.command.split_first() {
        None => serve(launch),
        Some((program, arguments)) => {
            let error = command(launch, program).args(arguments).exec();
            Failure::new(Kind::Usage, format!("cannot start `{program}` as user `{}`: {error}", launch.app.user))
        }
    }
}

/// The user's numbers, from /etc/passwd; a number stands for itself.
///
/// # Errors
/// There is no such user, or it is root, which no app runs as.
pub fn user(name: &UserName) -> Result<Ids> {
    let text = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let refuse = |why: &str| {
        Failure::usage(format!("{why} `{name}`")).hint("name one of /etc/passwd, or give a number: --user 65534")
    };
    let ids = find_user(&text, name.as_str()).ok_or_else(|| refuse("the host has no user"))?;
    if ids.is_possible() { Ok(ids) } else { Err(refuse("apps don't run as")) }
}

impl Ids {
    /// Root has powers over its files without any capability; the last number stands for no change, in setresuid(2).
    fn is_possible(self) -> bool {
        self.uid != 0 && self.gid != 0 && self.uid != u32::MAX && self.gid != u32::MAX
    }
}

fn find_user(passwd: &str, name: &str) -> Option<Ids> {
    let mut users = passwd.lines().filter_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
        [user, _, uid, gid, ..] => Some((user, Ids { uid: uid.parse().ok()?, gid: gid.parse().ok()? })),
        _ => None,
    });
    let named = users.find(|(user, _)| *user == name).map(|(_, ids)| ids);
    named.or_else(|| name.parse().ok().map(|number| Ids { uid: number, gid: number }))
}

/// From here on the process is the user's, without capabilities, and nothing that it starts gets any.
fn give_up(ids: Ids) -> io::Result<()> {
    for capability in CapabilitySet::all() {
        // An older kernel doesn't know them all.
        if capability_is_in_bounding_set(capability).unwrap_or(false) {
            remove_capability_from_bounding_set(capability)?;
        }
    }
    clear_ambient_capability_set()?;
    // In a sandbox there is one user alone: it stays, without the powers of the sandbox's root.
    if !has_one_user(&fs::read_to_string("/proc/self/uid_map")?) {
        set_thread_groups(&[])?;
        let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)?;
    Ok(())
}

/// Is there one user alone? A line of `/proc/PID/uid_map` is the first user inside, the first outside, and how many there are.
fn has_one_user(uid_map: &str) -> bool {
    let mut counts = uid_map.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse::<u64>().ok());
    counts.next() == Some(1) && counts.next().is_none()
}

/// Is this a place with one user alone, such as a sandbox, whoever was asked for?
pub fn is_alone() -> bool {
    fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| has_one_user(&map))
}

/// The program with an environment of its own: none of the caller's secrets, and none of its accidents. What Python prints
/// reaches the log at once.
fn command(launch: &Launch, program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs([("PATH", PATH), ("HOME", "/"), ("LANG", "C.UTF-8"), ("PYTHONUNBUFFERED", "1")]);
    command.env("PORT", launch.port.to_string());
    command.env("VPCCTL_ADDRESS", launch.address.to_string());
    command.env("VPCCTL_INSTANCE", launch.instance.to_string());
    command
}

/// The built-in web server.
fn serve(launch: &Launch) -> Failure {
    let place = SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, launch.port.get());
    let name = format!("{} {}:{}", launch.instance, launch.address, launch.port);
    let served = TcpListener::bind(place).and_then(|listener| {
        say(&format!("{name}: listening"));
        web::serve(listener, move |request| {
            let line: String = request.line.chars().take(SHOWN).collect();
            say(&format!("{} {line}", request.peer.ip()));
            format!("hello from {name}; you are {}\n", request.peer.ip())
        })
    });
    match served {
        Err(error) => Failure::new(Kind::Host, format!("cannot serve on {place}: {error}")),
        Ok(never) => match never {},
    }
}

/// To the log; a disk that is full is no reason not to answer.
fn say(line: &str) {
    if let Err(error) = writeln!(io::stdout(), "{}", line.escape_debug()) {
        tracing::debug!("log: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/bash\n\nnobody:x:65534:65533:nobody:/nonexistent:/usr/sbin/nologin\n";

    #[test]
    fn a_user_is_found_by_name_and_by_number() {
        assert_eq!(find_user(PASSWD, "nobody"), Some(Ids { uid: 65534, gid: 65533 }));
        assert_eq!(find_user(PASSWD, "1000"), Some(Ids { uid: 1000, gid: 1000 }));
        assert_eq!(find_user(PASSWD, "mallory"), None);
    }

    #[test]
    fn a_sandbox_has_one_user() {
        assert!(has_one_user("         0       1000          1\n"));
        assert!(!has_one_user("         0          0 4294967295\n"));
        assert!(!has_one_user("         0       1000          1\n         1     100000      65536\n"));
    }

    #[test]
    fn roots_numbers_and_no_numbers_are_no_apps_user() {
        for name in ["root", "0", "4294967295"] {
            assert!(find_user(PASSWD, name).is_none_or(|ids| !ids.is_possible()), "{name}");
        }
    }
}
