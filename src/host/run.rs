//! The one seam: a program's name, its arguments and its input go in, its output comes out. Nothing else starts a tool.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::error::{Failure, Kind};
use crate::host::StepError;
use crate::host::patience::{self, Impatience, Patience};
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
            "ip" | "bridge" | "tc" => "iproute2",
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

/// The flavour that `iptables-restore` leads to on this host: all its tools are one program, which is named after it.
/// Asked for once: a command doesn't change its mind.
static CHOSEN: LazyLock<Option<Flavour>> = LazyLock::new(|| {
    let candidates = TRUSTED_DIRS.iter().map(|dir| Path::new(dir).join("iptables-restore"));
    let program = candidates.into_iter().find(|path| path.is_file())?.canonicalize().ok()?;
    match program.file_name()?.to_str()? {
        "xtables-nft-multi" => Some(Flavour::Nft),
        "xtables-legacy-multi" => Some(Flavour::Legacy),
        _ => None,
    }
});

/// Where the rules are in another flavour than the host has chosen by now, all calls keep to that: the rules of one flavour are not
/// there for the tools of the other.
pub fn keep_to(recorded: Option<Flavour>) -> Result<(), Failure> {
    let chosen = *CHOSEN;
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
    kept.or(*CHOSEN)
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
/// and then undoes. A tool that hangs is ended, see [`patience`]. Whatever lock vpcctl holds, the child
/// holds too, as long as it may change the kernel.
pub fn run(call: &Call) -> Result<Output, StepError> {
    run_with(call, Patience::with_tool())
}

/// Like [`run`], with other patience.
pub fn run_with(call: &Call, patience: Patience<'_>) -> Result<Output, StepError> {
    let started = Instant::now();
    let path = find(call.program.as_str()).map_err(|failure| StepError::of_call(call, failure.message))?;
    if let Some(line) = call.input.iter().find(|line| line.text.contains(char::is_control)) {
        // Every text comes from a type that has none of them: this is the door that stays shut if one ever doesn't.
        let reason = format!("`{}` is more than one line", line.text.escape_debug());
        return Err(StepError::of_call(call, reason));
    }
    let ended = start(&path, call, patience).map_err(|error| StepError::of_call(call, error.to_string()))?;
    let lines = call.input.len();
    tracing::info!(
        target: log::ACTION,
        place = %call.place,
        lines,
        code = ended.output.code,
        ms = started.elapsed().as_millis() as u64,
        "{}",
        script::command_line(call),
    );
    match ended.forced {
        None => Ok(ended.output),
        Some(why) => Err(why.error(call)),
    }
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

/// How a tool ended.
struct Ended {
    output: Output,
    /// Why vpcctl ended it, where it did.
    forced: Option<Impatience>,
}

fn start(path: &Path, call: &Call, patience: Patience<'_>) -> io::Result<Ended> {
    let mut child = Command::new(path)
        .args(&call.args)
        .env_clear()
        .env("PATH", TRUSTED_DIRS.join(":"))
        .env("LC_ALL", "C")
        .env(holder::TOOL_VARIABLE, holder::tool_mark(call.program.as_str()))
        .stdin(input(call)?)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let ended = wait(&mut child, patience);
    if ended.is_err() {
        // It must not go on while what it did is undone.
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
    }
    ended
}

/// The call's input, whole before the tool begins: whatever becomes of vpcctl meanwhile, no line is ever cut.
fn input(call: &Call) -> io::Result<Stdio> {
    if call.input.is_empty() {
        return Ok(Stdio::null());
    }
    let make = |flags| memfd_create("vpcctl-input", MemfdFlags::CLOEXEC | flags);
    // Kernels before 6.3 don't know the flag; where `vm.memfd_noexec` is 2, others insist on it.
    let made = make(MemfdFlags::NOEXEC_SEAL).or_else(|_| make(MemfdFlags::empty()))?;
    let mut file = File::from(made);
    file.write_all(call.stdin().as_bytes())?;
    file.rewind()?;
    Ok(file.into())
}

/// Reads what the child prints until it ends. What it leaves running in the background is not waited for.
fn wait(child: &mut Child, mut patience: Patience<'_>) -> io::Result<Ended> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let mut stdout = Stream::new(child.stdout.take().map(OwnedFd::from))?;
    let mut stderr = Stream::new(child.stderr.take().map(OwnedFd::from))?;
    let mut forced = None;
    loop {
        let has_ended = sleep(&handle, [&stdout, &stderr])?;
        stdout.read()?;
        stderr.read()?;
        if has_ended {
            break;
        }
        forced = patience.act(child, &handle)?.or(forced);
    }
    let status = child.wait()?;
    let output = Output {
        code: status.code().or_else(|| status.signal().map(|signal| 128 + signal)),
        stdout: stdout.text(),
        stderr: stderr.text(),
    };
    Ok(Ended { output, forced })
}

/// Sleeps until there is something to read or to decide; whether the process has ended.
fn sleep(handle: &OwnedFd, streams: [&Stream; 2]) -> io::Result<bool> {
    let open = streams.into_iter().filter_map(|stream| stream.pipe.as_ref());
    let mut fds: Vec<PollFd<'_>> = [handle].into_iter().chain(open).map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
    match poll(&mut fds, Some(&patience::PACE)) {
        Ok(_) => Ok(fds.first().is_some_and(|handle| !handle.revents().is_empty())),
        Err(Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// One of the two that a child prints to.
struct Stream {
    /// Nothing once it is at its end.
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Stream {
    fn new(pipe: Option<OwnedFd>) -> io::Result<Self> {
        pipe.as_ref().map(|pipe| rustix::io::ioctl_fionbio(pipe, true)).transpose()?;
        Ok(Stream { pipe, bytes: Vec::new() })
    }

    /// Reads what there is.
    fn read(&mut self) -> io::Result<()> {
        let mut block = [0; 16 * 1024];
        while let Some(pipe) = &self.pipe {
            match rustix::io::read(pipe, &mut block) {
                Ok(0) => self.pipe = None,
                Ok(length) => self.bytes.extend_from_slice(&block[..length]),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
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
            Program::Ip | Program::Bridge | Program::Tc | Program::Ipset => {
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
        Program::Ip | Program::Bridge | Program::Tc => "Command failed -:",
        Program::Ipset => "Error in line ",
        Program::IptablesRestore => "line ",
        _ => return None,
    };
    let (_, after) = stderr.split_once(marker)?;
    let digits: String = after.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// The tool's own words, on one line.
pub fn reason(output: &Output) -> String {
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
