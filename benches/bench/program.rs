//! Runs vpcctl itself, and says what that cost.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use vpcctl::model::state::State;
use vpcctl::store::{Document, Store};

/// The program that is measured.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_vpcctl");

/// vpcctl with a state directory of its own.
pub struct Vpcctl {
    dir: TempDir,
}

impl Vpcctl {
    /// Nothing is there yet.
    pub fn new() -> Result<Self> {
        Ok(Vpcctl { dir: tempfile::Builder::new().prefix("vpcctl-bench-").tempdir()? })
    }

    /// A file in its directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Removes the directory.
    pub fn forget(self) -> Result<()> {
        Ok(self.dir.close()?)
    }

    /// The state as it is.
    pub fn state(&self) -> Result<State> {
        Ok(Store::new(self.dir.path()).load()?)
    }

    /// Says that a state is so, whatever the kernel has.
    pub fn pretend(&self, state: &State) -> Result<()> {
        let text = serde_json::to_string(&Document::new("benchmark", state, Default::default()))?;
        Ok(fs::write(self.file("state.json"), text)?)
    }

    /// Does it know the subcommand?
    pub fn knows(&self, subcommand: &str) -> Result<bool> {
        Ok(self.command(&["help", subcommand]).stderr(Stdio::null()).status()?.success())
    }

    /// How long a command takes that succeeds.
    pub fn time(&self, words: &[&str]) -> Result<Duration> {
        let started = Instant::now();
        let output = self.command(words).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        let elapsed = started.elapsed();
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`vpcctl {}`: {}: {complaint}", words.join(" "), output.status);
        Ok(elapsed)
    }

    /// The most memory that vpcctl itself has in use meanwhile, in KiB; that of the tools that it starts is not counted.
    pub fn memory(&self, words: &[&str]) -> Result<u64> {
        // A short run may be over before it was looked at.
        for _ in 0..100 {
            let most = self.watched(words)?;
            if most > 0 {
                return Ok(most);
            }
        }
        bail!("`vpcctl {}` is too quick for its memory to be seen", words.join(" "))
    }

    fn watched(&self, words: &[&str]) -> Result<u64> {
        let mut child = self.command(words).stderr(Stdio::null()).spawn()?;
        let status = format!("/proc/{}/status", child.id());
        let has_ended = AtomicBool::new(false);
        let (ended, most) = std::thread::scope(|scope| {
            let watch = scope.spawn(|| {
                let mut most = 0;
                while !has_ended.load(Ordering::Relaxed) {
                    most = most.max(peak(Path::new(&status)).unwrap_or(0));
                    std::thread::sleep(Duration::from_micros(500));
                }
                most
            });
            let ended = child.wait();
            has_ended.store(true, Ordering::Relaxed);
            (ended, watch.join().unwrap_or(0))
        });
        ensure!(ended?.success(), "`vpcctl {}` failed", words.join(" "));
        Ok(most)
    }

    /// How many programs it starts, itself not counted.
    pub fn processes(&self, words: &[&str]) -> Result<usize> {
        let trace = self.file("trace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-qq", "-e", "trace=execve", "-e", "status=successful", "-o"]).arg(&trace);
        strace.args([PROGRAM, "--quiet", "--state-dir"]).arg(self.dir.path()).args(words).stdout(Stdio::null());
        ensure!(strace.status().context("cannot start strace")?.success(), "`vpcctl {}` failed", words.join(" "));
        let starts = fs::read_to_string(&trace)?.lines().filter(|line| line.ends_with("= 0")).count();
        Ok(starts.saturating_sub(1))
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        command
            .args(["--quiet", "--state-dir"])
            .arg(self.dir.path())
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }
}

/// `VmHWM`, in KiB.
fn peak(status: &Path) -> Option<u64> {
    let text = fs::read_to_string(status).ok()?;
    let line = text.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
