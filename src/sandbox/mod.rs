//! `vpcctl sandbox`: a private machine for a first try, for the demo and for the tests.
//!
//! ```text
//! the caller's host             the sandbox: private user, network, mount and pid namespaces
//! ─────────────────             ─────────────────────────────────────────────────────────────
//! vpcctl sandbox                 host                              internet (/run/netns/internet)
//!   └─ sandbox-init  = pid 1      eth0 198.51.100.10/24 ═══ eth0 198.51.100.1/24
//!        ├─ sandbox-internet      default via 198.51.100.1    203.0.113.0/24, every address of it local:
//!        └─ CMD                                               ping, HTTP on 80, DNS on 53
//! ```
//!
//! 1. No privilege: the caller is root of a user namespace in which only its own user exists.
//! 2. Nothing of the host changes: /run, the state directory, /etc, /proc and /sys are the sandbox's own, every
//!    other file is the caller's. No link leads out: a packet can't leave the sandbox.
//! 3. Nothing stays: the kernel ends every process of a pid namespace with its first one, which is bound to the
//!    life of `vpcctl sandbox`; namespaces and mounts end with their last process.
//!
//! It is not a fence against hostile programs: what runs in it is the same user with the same files.

mod dns;
mod files;
mod internet;
pub mod namespaces;
mod network;
pub mod probe;
mod program;

use std::ffi::OsString;
use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::{Pid, getpid, getppid};
use signal_hook::consts::{SIGINT, SIGQUIT};

use crate::error::{Failure, Kind};

/// The hidden subcommand that is the sandbox's first process.
pub const INIT_SUBCOMMAND: &str = "sandbox-init";
/// The hidden subcommand that is the sandbox's internet.
pub const INTERNET_SUBCOMMAND: &str = "sandbox-internet";
/// Set to `1` for everything that runs in a sandbox.
pub const SANDBOX_VARIABLE: &str = "VPCCTL_SANDBOX";

/// What the internet writes to its standard output once it listens.
const READY: &str = "ready";

/// Runs `command`, or a shell if it is empty, in a new sandbox and returns its exit code: 128 + n after signal n.
///
/// To be called before the process starts a thread (the kernel refuses a new user namespace to a process that has
/// several) or handles SIGTERM, which is left to end this process and, with it, the sandbox.
pub fn enter(command: &[OsString]) -> anyhow::Result<u8> {
    network::find_tools()?;
    namespaces::unshare()?;
    survive_keyboard()?;
    let mut init =
        this_program(INIT_SUBCOMMAND).arg("--").args(command).spawn().map_err(|e| cannot_start("init", &e))?;
    Ok(program::exit_code(init.wait()?))
}

/// The sandbox's first process: makes its files and its network, runs `command`, and returns its exit code.
pub fn init(command: &[OsString]) -> anyhow::Result<u8> {
    if !getpid().is_init() {
        return Err(Failure::usage(format!("`{INIT_SUBCOMMAND}` runs only as the first process of a sandbox"))
            .hint("use `vpcctl sandbox`")
            .into());
    }
    namespaces::end_with_parent()?;
    let state = files::make_own()?;
    network::build_host()?;
    start_internet()?;
    Ok(program::run(command, state)?)
}

/// The sandbox's internet: enters its namespace, sets it up, says on standard output that it listens, and serves.
pub fn serve_internet() -> anyhow::Result<()> {
    if getppid().is_none_or(|parent| !Pid::is_init(parent)) || std::env::var_os(SANDBOX_VARIABLE).is_none() {
        return Err(Failure::usage(format!("`{INTERNET_SUBCOMMAND}` runs only inside a sandbox"))
            .hint("use `vpcctl sandbox`")
            .into());
    }
    network::enter_internet()?;
    network::build_internet()?;
    match internet::serve()? {}
}

/// Ctrl-C and Ctrl-\ are for the command, which gets them from the terminal as well. Handlers, since the command
/// would inherit it if they were ignored; the first process needs none: the kernel spares it what it doesn't handle.
fn survive_keyboard() -> io::Result<()> {
    for signal in [SIGINT, SIGQUIT] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Starts the internet and waits until it listens. In a process group of its own, out of reach of Ctrl-C.
fn start_internet() -> Result<(), Failure> {
    let mut internet = this_program(INTERNET_SUBCOMMAND)
        .env(SANDBOX_VARIABLE, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| cannot_start("internet", &e))?;
    let mut line = String::new();
    if let Some(stdout) = internet.stdout.take() {
        BufReader::new(stdout).read_line(&mut line).map_err(|e| cannot_start("internet", &e))?;
    }
    if line.trim_end() == READY { Ok(()) } else { Err(cannot_start("internet", &"it ended at once")) }
}

/// This binary, also when it was replaced or its path is hidden in the sandbox.
fn this_program(subcommand: &str) -> Command {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("vpcctl").arg(subcommand);
    command
}

fn cannot_start(part: &str, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(Kind::Failed, format!("cannot start the sandbox's {part}: {why}"))
}
