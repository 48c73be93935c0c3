//! The one seam: a program's name, its arguments and its input go in, its output comes out. Nothing else starts a tool.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Failure, Kind};
use crate::host::StepError;
use crate::log;
use crate::model::flavour::Flavour;
use crate::plan::batch::{Call, Program};
use crate::plan::script;
use crate::store::holder;

/// Where tools are looked for, whatever PATH says: directories that only root writes to.
const TRUSTED_DIRS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// What a program printed, and whether it succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// The exit code; nothing when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// The tool's path in a directory that is trusted.
pub fn find(program: &str) -> Result<PathBuf, Failure> {
    let program = kept_name(program);
    let candidates = TRUSTED_DIRS.iter().map(|dir| Path::new(dir).join(program));
    candidates.into_iter().find(|path| path.is_file()).ok_or_else(|| {
        let package = match program {
            "ip" | "bridge" => "iproute2",
            "nft" => "nftables",
            "ipset" => "ipset",
            "ping" => "iputils-ping",
            _ => "iptables",
        };
        Failure::new(Kind::Host, format!("the program `{program}` is not in {}", TRUSTED_DIRS.join(", ")))
            .hint(format!("install it: apt install {package}"))
    })
}

/// The flavour of iptables that calls use besides the host's own choice.
static KEPT: Mutex<Option<Flavour>> = Mutex::new(None);

/// Where the rules are in another flavour than the host has chosen by now, all calls keep to that: the rules of one flavour are not
/// there for the tools of the other.
pub fn keep_to(recorded: Option<Flavour>) -> Result<(), Failure> {
    let chosen = chosen_flavour();
    let kept = recorded.filter(|recorded| chosen.is_some_and(|chosen| chosen != *recorded));
    *KEPT.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    let Some(kept) = kept else {
        return Ok(());
    };
    find("iptables-restore").map(|_| ()).map_err(|failure| {
        let message = format!("the VPCs' rules are in the {} flavour of iptables: {}", kept.as_str(), failure.message);
        Failure { message, ..failure }.hint("install it, or choose it again: update-alternatives --config iptables")
    })
}

/// The flavour that calls use, where the tool's file tells.
pub fn flavour() -> Option<Flavour> {
    let kept = *KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.or_else(chosen_flavour)
}

/// The flavour that `iptables-restore` leads to on this host: all its tools are one program, which is named after it.
fn chosen_flavour() -> Option<Flavour> {
    let candidates = TRUSTED_DIRS.iter().map(|dir| Path::new(dir).join("iptables-restore"));
    let program = candidates.into_iter().find(|path| path.is_file())?.canonicalize().ok()?;
    match program.file_name()?.to_str()? {
        "xtables-nft-multi" => Some(Flavour::Nft),
        "xtables-legacy-multi" => Some(Flavour::Legacy),
        _ => None,
    }
}

/// The name under which a tool of iptables is there whatever the host has chosen.
fn kept_name(program: &str) -> &str {
    let kept = *KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    match (program, kept) {
        ("iptables-restore", Some(Flavour::Nft)) => "iptables-nft-restore",
        ("iptables-restore", Some(Flavour::Legacy)) => "iptables-legacy-restore",
        ("iptables-save", Some(Flavour::Nft)) => "iptables-nft-save",
        ("iptables-save", Some(Flavour::Legacy)) => "iptables-legacy-save",
        _ => program,
    }
}

/// Runs a call in the namespace of the present thread and waits for its end.
///
/// The child gets a clean environment, and a process group of its own: Ctrl-C reaches vpcctl alone, which lets the step end
/// and then undoes. Whatever lock vpcctl holds, the child holds too, as long as it may change the kernel.
pub fn run(call: &Call) -> Result<Output, StepError> {
    run_unless(call, None)
}

/// Like [`run`], but a signal to vpcctl, which sets `interrupted`, is handed on as a request to end: for what may take long, and
/// undoes what it began.
pub fn run_unless(call: &Call, interrupted: Option<&AtomicBool>) -> Result<Output, StepError> {
    let started = Instant::now();
    let path = find(call.program.as_str()).map_err(|failure| StepError::of_call(call, failure.message))?;
    if let Some(line) = call.input.iter().find(|line| line.text.contains(char::is_control)) {
        // Every text comes from a type that has none of them: this is the door that stays shut if one ever doesn't.
        let reason = format!("`{}` is more than one line", line.text.escape_debug());
        return Err(StepError::of_call(call, reason));
    }
    let output = start(&path, call, interrupted).map_err(|error| StepError::of_call(call, error.to_string()))?;
    let lines = call.input.len();
    tracing::info!(
        target: log::ACTION,
        place = %call.place,
        lines,
        code = output.code,
        ms = started.elapsed().as_millis() as u64,
        "{}",
        script::command_line(call),
    );
    Ok(output)
}

/// Like [`run`], but an exit code other than 0 is an error that names the very line.
pub fn check(call: &Call) -> Result<String, StepError> {
    success(call, run(call)?)
}

/// What a call printed, or why it failed.
pub fn success(call: &Call, output: Output) -> Result<String, StepError> {
    if output.code == Some(0) { Ok(output.stdout) } else { Err(failed(call, &output)) }
}

/// The caller's shell.
pub fn shell() -> PathBuf {
    let preferred = std::env::var_os("SHELL").map(PathBuf::from).into_iter();
    let known = ["/bin/bash", "/bin/sh"].map(PathBuf::from);
    let mut usable = preferred.chain(known).filter(|path| path.is_absolute() && path.is_file());
    usable.next().unwrap_or_else(|| "/bin/sh".into())
}

/// What makes a shell say where it is: Debian's and Ubuntu's prompts show `debian_chroot`, a shell without a prompt of its own
/// `PS1`.
pub fn shell_environment(place: &str) -> [(&'static str, String); 2] {
    [("debian_chroot", place.to_owned()), ("PS1", format!("({place}) # "))]
}

/// Is there a program of this name in the caller's PATH, or under this path?
pub fn is_program(name: &OsStr) -> bool {
    if name.as_encoded_bytes().contains(&b'/') {
        return Path::new(name).is_file();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

/// Becomes another program: the caller's terminal, signals and exit code are its own, and its environment but for these
/// variables.
pub fn become_program(program: &str, args: &[OsString], environment: &[(&str, String)]) -> Failure {
    match find(program) {
        Err(failure) => failure,
        Ok(path) => {
            let error = Command::new(&path).args(args).envs(environment.iter().cloned()).exec();
            Failure::new(Kind::Host, format!("cannot start `{}`: {error}", path.display()))
        }
    }
}

fn start(path: &Path, call: &Call, interrupted: Option<&AtomicBool>) -> io::Result<Output> {
    let mut child = Command::new(path)
        .args(&call.args)
        .env_clear()
        .env("PATH", TRUSTED_DIRS.join(":"))
        .env("LC_ALL", "C")
        .env(holder::TOOL_VARIABLE, holder::tool_mark(call.program.as_str()))
        .stdin(if call.input.is_empty() { Stdio::null() } else { Stdio::piped() })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let input = child.stdin.take();
    let handle = interrupted.map(|_| pidfd_open(Pid::from_child(&child), PidfdFlags::empty())).transpose()?;
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        if let (Some(interrupted), Some(handle)) = (interrupted, &handle) {
            Builder::new().spawn_scoped(scope, || hand_on(interrupted, handle, &ended))?;
        }
        // A tool that stops at a bad line reads no further: its own words then say more than a broken pipe.
        let write = |mut pipe: ChildStdin| move || pipe.write_all(call.stdin().as_bytes());
        let writer = input.map(|pipe| Builder::new().spawn_scoped(scope, write(pipe))).transpose()?;
        let output = child.wait_with_output();
        ended.store(true, Ordering::Relaxed);
        let output = output?;
        if let Some(Ok(Err(error))) = writer.map(|writer| writer.join()) {
            tracing::debug!("{}: {error}", path.display());
        }
        Ok(Output {
            code: output.status.code().or_else(|| output.status.signal().map(|signal| 128 + signal)),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    })
}

/// Waits until the child has ended, and asks it to once vpcctl is asked to.
fn hand_on(interrupted: &AtomicBool, child: &OwnedFd, ended: &AtomicBool) {
    while !ended.load(Ordering::Relaxed) {
        if interrupted.load(Ordering::Relaxed) {
            // It may have ended a moment ago.
            let _ = pidfd_send_signal(child, Signal::TERM);
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What failed, from what the tool printed.
fn failed(call: &Call, output: &Output) -> StepError {
    let number = failed_line(call.program, &output.stderr);
    let line = number.and_then(|number| call.input.get(number.checked_sub(1)?));
    let mut error = StepError::of_call(call, reason(output));
    if let Some(line) = line {
        let single = Call { input: vec![line.clone()], ..call.clone() };
        error.object = line.object.describe();
        error.line = Some(line.text.as_str().into());
        error.command = match call.program {
            Program::Ip | Program::Bridge | Program::Ipset => {
                script::call_lines(&single).into_iter().map(|(_, line)| line).collect()
            }
            _ => format!("{} (line {}: {})", script::command_line(call), number.unwrap_or_default(), line.text),
        };
    }
    error
}

/// The number of the line that a tool names as the one that failed.
fn failed_line(program: Program, stderr: &str) -> Option<usize> {
    let marker = match program {
        Program::Ip | Program::Bridge => "Command failed -:",
        Program::Ipset => "Error in line ",
        Program::IptablesRestore => "line ",
        _ => return None,
    };
    let (_, after) = stderr.split_once(marker)?;
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The tool's own words, on one line.
fn reason(output: &Output) -> String {
    let words: Vec<&str> = output.stderr.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words: Vec<&str> = words.into_iter().filter(|line| !line.starts_with("Command failed -:")).collect();
    if words.is_empty() {
        return output.code.map_or("it was killed".into(), |code| format!("exit code {code}"));
    }
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failed_line_is_found_in_each_tools_words() {
        let cases = [
            (Program::Ip, "RTNETLINK answers: File exists\nCommand failed -:3\n", Some(3)),
            (Program::Ipset, "ipset v7.17: Error in line 2: The set with the given name does not exist\n", Some(2)),
            (Program::IptablesRestore, "iptables-restore v1.8.9 (nf_tables): \nline 12: RULE_APPEND failed", Some(12)),
            (Program::IptablesRestore, "iptables-restore: line 4 failed\n", Some(4)),
            (Program::Ip, "Error: argument \"x\" is wrong\n", None),
        ];
        for (program, stderr, line) in cases {
            assert_eq!(failed_line(program, stderr), line, "{stderr}");
        }
    }
}
