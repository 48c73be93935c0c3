//! The command that runs in the sandbox: its environment, its end, its exit code.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use rustix::process::{WaitOptions, wait};

use super::SANDBOX_VARIABLE;
use super::files::{OWN_BIN, State};
use super::network::EXAMPLE_COM;
use crate::error::{Failure, Kind, Result};
use crate::host::run;

/// The address that `test-connectivity` takes for the internet.
const INTERNET_VARIABLE: &str = "VPCCTL_INTERNET";
const STATE_VARIABLE: &str = "VPCCTL_STATE_DIR";
/// Where `ip` and `iptables` are, which an unprivileged user's `PATH` often lacks.
const ADMIN_PLACES: [&str; 2] = ["/usr/sbin", "/sbin"];

/// Runs `words`, or a shell if there are none, and returns its exit code. As in a shell, it is 127 if there is no
/// such program, 126 if it can't be run, and 128 + n after signal n.
pub fn run(words: &[OsString], state: State) -> Result<u8> {
    let mut command = match words.split_first() {
        Some((program, arguments)) => {
            let mut command = Command::new(program);
            command.args(arguments);
            command
        }
        None => shell(),
    };
    set_environment(&mut command, state);
    match command.spawn() {
        Ok(child) => reap_until(child.id()),
        Err(error) => Ok(not_run(command.get_program(), &error)),
    }
}

/// The exit code that a shell would report for `status`.
pub fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn shell() -> Command {
    let mut shell = Command::new(run::shell());
    shell.envs(run::shell_environment("sandbox"));
    shell
}

fn set_environment(command: &mut Command, state: State) {
    command.env(SANDBOX_VARIABLE, "1").env("PATH", path(env::var_os("PATH").as_deref()));
    // What stands for the internet here is the sandbox's own.
    command.env(INTERNET_VARIABLE, EXAMPLE_COM.to_string());
    match state {
        State::Usual => command.env_remove(STATE_VARIABLE),
        State::At(dir) => command.env(STATE_VARIABLE, dir),
    };
}

/// `inherited`, after the place of this very vpcctl and before those of the system's tools.
fn path(inherited: Option<&OsStr>) -> OsString {
    let inherited = inherited.unwrap_or(OsStr::new("/usr/local/bin:/usr/bin:/bin"));
    let own = Path::new(OWN_BIN);
    let mut places = vec![own.to_owned()];
    places.extend(env::split_paths(inherited).filter(|place| place != own));
    for admin in ADMIN_PLACES.map(PathBuf::from) {
        if !places.contains(&admin) {
            places.push(admin);
        }
    }
    // Joining what was split can't fail; were it to, what was inherited is better than nothing.
    env::join_paths(places).unwrap_or_else(|_| inherited.to_owned())
}

/// Waits for process `command`, and for every orphan that ends before it: they are the first process's to reap.
fn reap_until(command: u32) -> Result<u8> {
    loop {
        match wait(WaitOptions::empty()) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().unsigned_abs() == command => {
                return Ok(exit_code(ExitStatus::from_raw(status.as_raw())));
            }
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(Failure::new(Kind::Failed, format!("cannot wait for the command: {e}"))),
        }
    }
}

/// Reported here and not as a failure: none of its exit codes is the one that callers of `env`, `sudo` or `timeout`
/// know for this.
fn not_run(program: &OsStr, error: &io::Error) -> u8 {
    eprintln!("error: cannot run `{}` in the sandbox: {error}", program.display());
    if error.kind() == io::ErrorKind::NotFound { 127 } else { 126 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        assert_eq!(exit_code(ExitStatus::from_raw(0)), 0);
        assert_eq!(exit_code(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(exit_code(ExitStatus::from_raw(15)), 143);
    }

    #[test]
    fn the_path_finds_this_vpcctl_first_and_the_tools_last() {
        let expected = "/run/vpcctl-sandbox/bin:/usr/bin:/sbin:/usr/sbin";
        assert_eq!(path(Some(OsStr::new("/usr/bin:/sbin"))), expected);
        assert_eq!(path(Some(OsStr::new(expected))), expected, "a sandbox in a sandbox adds nothing");
    }
}
