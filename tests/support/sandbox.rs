//! One `vpcctl sandbox` for each test: a shell in it runs the test's commands one after the other.
//!
//! Nothing is skipped: where the sandbox can't be made, the test fails and says why. Nothing stays: the sandbox and all
//! that runs in it end with the test.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long one command may take, and how long a condition may stay unmet.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a condition is looked at.
const PACE: Duration = Duration::from_millis(5);

/// How long a stream that sends every 10 ms has to stay without an answer to count as cut.
const SILENCE: Duration = Duration::from_millis(300);

/// How long it has to be without an answer before that is measured: five of its questions.
const SETTLING: Duration = Duration::from_millis(50);

/// How much of a command's output a failing test shows.
const SHOWN_LINES: usize = 60;

/// How much of the action log a failing test shows.
const LOG_LINES: &str = "30";

/// The clients and servers that tests run in namespaces.
const PEER: &str = include_str!("peer.py");

/// A private machine with a shell in it.
pub struct Sandbox {
    child: Child,
    shell: ChildStdin,
    ends: Receiver<String>,
    dir: TempDir,
    commands: usize,
}

/// What came of a command.
#[derive(Debug, Clone)]
pub struct Output {
    pub command: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Output {
    /// The output as a failing test shows it.
    pub fn report(&self) -> String {
        let Output { command, code, stdout, stderr, took } = self;
        let (stdout, stderr) = (shortened(stdout), shortened(stderr));
        format!(
            "$ {command}\n[exit code {code} after {} ms]\n--- stdout\n{stdout}--- stderr\n{stderr}",
            took.as_millis()
        )
    }
}

impl Sandbox {
    /// A sandbox with nothing in it but its host and its internet.
    pub fn new() -> Sandbox {
        let dir = tempfile::Builder::new().prefix("vpcctl-test-").tempdir().expect("a temporary directory");
        fs::write(dir.path().join("peer.py"), PEER).expect("the helper is written");
        let mut child = Command::new(env!("CARGO_BIN_EXE_vpcctl"))
            .args(["sandbox", "--", "sh"])
            .env("T", dir.path())
            .env("LC_ALL", "C")
            .env_remove("VPCCTL_STATE_DIR")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(fs::File::create(dir.path().join("sandbox.err")).expect("a file")))
            .spawn()
            .expect("vpcctl starts");
        let shell = child.stdin.take().expect("a pipe");
        let ends = lines_of(child.stdout.take().expect("a pipe"));
        let mut sandbox = Sandbox { child, shell, ends, dir, commands: 0 };
        sandbox.ok("true");
        sandbox
    }

    /// A sandbox with `vpc1` 10.0.0.0/16, its subnets `public` 10.0.1.0/24 and `private` 10.0.2.0/24, and NAT.
    pub fn with_vpc1() -> Sandbox {
        let mut sandbox = Sandbox::new();
        sandbox.add_vpc1();
        sandbox
    }

    /// Makes the VPC of [`Sandbox::with_vpc1`].
    pub fn add_vpc1(&mut self) {
        self.ok("vpcctl create-vpc vpc1 10.0.0.0/16");
        self.ok("vpcctl add-subnet vpc1 public 10.0.1.0/24 --type public");
        self.ok("vpcctl add-subnet vpc1 private 10.0.2.0/24");
        self.ok("vpcctl enable-nat vpc1");
    }

    /// A VPC with one public subnet `a`: the second /24 of its CIDR's, with NAT.
    pub fn add_vpc(&mut self, name: &str, prefix: &str) {
        self.ok(&format!("vpcctl create-vpc {name} {prefix}.0.0/16"));
        self.ok(&format!("vpcctl add-subnet {name} a {prefix}.1.0/24 --public"));
        self.ok(&format!("vpcctl enable-nat {name}"));
    }

    /// A directory that the sandbox sees as well, in its shell `$T`.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file into [`Sandbox::dir`] and returns its path.
    pub fn file(&self, name: &str, content: &str) -> String {
        let path = self.dir().join(name);
        fs::write(&path, content).expect("a file is written");
        path.display().to_string()
    }

    /// Runs shell commands in a subshell, and waits for their end.
    pub fn run(&mut self, command: &str) -> Output {
        self.commands += 1;
        let base = self.dir().join(format!("run{}", self.commands));
        let script = base.with_extension("sh");
        let (out, err) = (base.with_extension("out"), base.with_extension("err"));
        fs::write(&script, format!("{command}\n")).expect("a script is written");
        let started = Instant::now();
        let line = format!("( . {} ) >{} 2>{} </dev/null; echo $?\n", script.display(), out.display(), err.display());
        if let Err(error) = self.shell.write_all(line.as_bytes()) {
            panic!("the sandbox is gone: {error}\n{}", self.own_words());
        }
        let code = match self.ends.recv_timeout(PATIENCE) {
            Ok(code) => code.parse().unwrap_or_else(|_| panic!("`{code}` is no exit code")),
            Err(RecvTimeoutError::Timeout) => {
                panic!("no end after {PATIENCE:?}: {command}\n{}{}{}", text(&out), text(&err), self.log())
            }
            Err(RecvTimeoutError::Disconnected) => panic!("the sandbox is gone: {command}\n{}", self.own_words()),
        };
        Output { command: command.into(), code, stdout: text(&out), stderr: text(&err), took: started.elapsed() }
    }

    /// Runs commands that must succeed, and returns what they print.
    #[track_caller]
    pub fn ok(&mut self, command: &str) -> String {
        self.expect(0, command).stdout
    }

    /// Runs commands that must end with this exit code.
    #[track_caller]
    pub fn expect(&mut self, code: i32, command: &str) -> Output {
        let output = self.run(command);
        if output.code != code {
            self.fail(&format!("exit code {} in place of {code}", output.code), &output);
        }
        output
    }

    /// Runs a command that must fail with this exit code and an error that contains all of these words.
    #[track_caller]
    pub fn fails(&mut self, code: i32, command: &str, words: &[&str]) -> Output {
        let output = self.expect(code, command);
        if let Some(missing) = words.iter().find(|word| !output.stderr.contains(**word)) {
            self.fail(&format!("stderr lacks `{missing}`"), &output);
        }
        output
    }

    /// Runs a command that must succeed and say this, on stdout or stderr.
    #[track_caller]
    pub fn says(&mut self, command: &str, words: &[&str]) -> Output {
        let output = self.expect(0, command);
        let all = format!("{}{}", output.stdout, output.stderr);
        if let Some(missing) = words.iter().find(|word| !all.contains(**word)) {
            self.fail(&format!("the output lacks `{missing}`"), &output);
        }
        output
    }

    /// Fails the test, and shows the command with its output and the action log.
    #[track_caller]
    pub fn fail(&mut self, why: &str, output: &Output) -> ! {
        let (report, log) = (output.report(), self.log());
        panic!("{why}\n{report}\n--- action log\n{log}");
    }

    /// Fails the test unless this holds, and shows the action log.
    #[track_caller]
    pub fn assert(&mut self, holds: bool, why: &str) {
        if !holds {
            panic!("{why}\n--- action log\n{}", self.log());
        }
    }

    /// Waits until the command succeeds.
    #[track_caller]
    pub fn wait_for(&mut self, command: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.run(command);
            if output.code == 0 {
                return output.stdout;
            }
            if Instant::now() > deadline {
                self.fail(&format!("not so after {PATIENCE:?}"), &output);
            }
            std::thread::sleep(PACE);
        }
    }

    /// Waits until a file in [`Sandbox::dir`] fits, and returns its text.
    #[track_caller]
    pub fn wait_for_file(&mut self, name: &str, fits: impl Fn(&str) -> bool) -> String {
        let path = self.dir().join(name);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = text(&path);
            if fits(&found) {
                return found;
            }
            if Instant::now() > deadline {
                let (found, log) = (shortened(&found), self.log());
                panic!("`{name}` does not fit after {PATIENCE:?}:\n{found}\n--- action log\n{log}");
            }
            std::thread::sleep(PACE);
        }
    }

    /// Starts a program in a namespace, in the background, and returns its process number. What it prints goes to
    /// `NAME.out` in [`Sandbox::dir`].
    #[track_caller]
    pub fn start(&mut self, netns: &str, name: &str, command: &str) -> u32 {
        let enter = if netns == "host" { String::new() } else { format!("ip netns exec {netns} ") };
        let line = format!("{enter}{command} >$T/{name}.out 2>&1 & echo $!");
        self.ok(&line).trim().parse().expect("a process number")
    }

    /// Starts the helper in a namespace, and waits until it says that it is ready.
    #[track_caller]
    pub fn start_peer(&mut self, netns: &str, arguments: &str) -> u32 {
        self.commands += 1;
        let name = format!("peer{}", self.commands);
        let pid = self.start(netns, &name, &format!("{PYTHON} $T/peer.py {arguments}"));
        self.wait_for_file(&format!("{name}.out"), |out| {
            assert!(!out.contains("Error"), "{arguments} in {netns}:\n{out}");
            out.contains("ready\n")
        });
        pid
    }

    /// Serves TCP and UDP on these ports of a namespace: who connects is told its own address.
    #[track_caller]
    pub fn serve(&mut self, netns: &str, ports: &[u16]) -> u32 {
        let ports: Vec<String> = ports.iter().map(u16::to_string).collect();
        self.start_peer(netns, &format!("serve {}", ports.join(" ")))
    }

    /// Keeps one connection busy: a number every 10 ms, each echoed by the server. Waits until the first ones are back.
    #[track_caller]
    pub fn stream(&mut self, netns: &str, kind: &str, server: &str, name: &str) -> u32 {
        let (address, port) = server.split_once(':').expect("ADDRESS:PORT");
        let pid = self.start(netns, name, &format!("{PYTHON} $T/peer.py stream {kind} {address} {port}"));
        self.wait_for_file(&format!("{name}.out"), |out| answers(out) > 3);
        pid
    }

    /// How many answers a stream has had.
    pub fn answers(&self, name: &str) -> usize {
        answers(&text(&self.dir().join(format!("{name}.out"))))
    }

    /// Waits until a stream has had more answers.
    #[track_caller]
    pub fn assert_flowing(&mut self, name: &str) {
        let before = self.answers(name);
        self.wait_for_file(&format!("{name}.out"), |out| answers(out) > before + 3);
    }

    /// Fails the test if answers still come to a stream, in a time in which dozens would.
    #[track_caller]
    pub fn assert_silent(&mut self, name: &str) {
        let before = self.settled_answers(name);
        let sent = Instant::now();
        while sent.elapsed() < SILENCE {
            std::thread::sleep(PACE);
        }
        let after = self.answers(name);
        self.assert(before == after, &format!("`{name}` still flows: {before} answers, then {after}"));
    }

    /// How many answers a stream has had, once none has come for a few times the stream's pace: one that arrived before a cut
    /// may be written down after it. A stream that goes on has no such moment, and fails the test.
    #[track_caller]
    fn settled_answers(&mut self, name: &str) -> usize {
        let deadline = Instant::now() + SILENCE;
        let (mut count, mut since) = (self.answers(name), Instant::now());
        while since.elapsed() < SETTLING {
            self.assert(Instant::now() < deadline, &format!("`{name}` still flows: {count} answers"));
            std::thread::sleep(PACE);
            let now = self.answers(name);
            if now != count {
                (count, since) = (now, Instant::now());
            }
        }
        count
    }

    /// Runs the helper in a namespace to its end, and returns what it prints.
    #[track_caller]
    pub fn peer(&mut self, netns: &str, arguments: &str) -> String {
        let enter = if netns == "host" { String::new() } else { format!("ip netns exec {netns} ") };
        self.ok(&format!("{enter}{PYTHON} $T/peer.py {arguments}"))
    }

    /// What came of connecting from a namespace to each of `tcp:ADDRESS:PORT`, `udp:ADDRESS:PORT`, `ping:ADDRESS`, all at
    /// once: `open FROM`, `refused`, `unreachable`, `timeout`.
    #[track_caller]
    pub fn probe(&mut self, netns: &str, targets: &[&str]) -> Vec<String> {
        let out = self.peer(netns, &format!("probe {}", targets.join(" ")));
        let results: Vec<String> = out.lines().map(str::to_owned).collect();
        assert_eq!(results.len(), targets.len(), "probe from {netns}: {out}");
        results
    }

    /// The same from several namespaces at the same time.
    #[track_caller]
    pub fn probe_side_by_side<'a>(&mut self, senders: &[(&'a str, Vec<String>)]) -> Vec<(&'a str, Vec<String>)> {
        let file = |place: &str| format!("probes-{place}.out");
        let mut script = String::new();
        for (place, targets) in senders {
            let enter = if *place == "host" { String::new() } else { format!("ip netns exec {place} ") };
            let (targets, out) = (targets.join(" "), file(place));
            let _ = writeln!(script, "{enter}{PYTHON} $T/peer.py probe {targets} >$T/{out} &");
        }
        self.ok(&(script + "wait"));
        let results = senders.iter().map(|(place, targets)| {
            let out = text(&self.dir().join(file(place)));
            let results: Vec<String> = out.lines().map(str::to_owned).collect();
            assert_eq!(results.len(), targets.len(), "probes from {place}: {out}");
            (*place, results)
        });
        results.collect()
    }

    /// Fails the test unless each target answers as expected; a word stands for all that begin with it.
    #[track_caller]
    pub fn expect_probes(&mut self, netns: &str, expected: &[(&str, &str)]) {
        let targets: Vec<&str> = expected.iter().map(|(target, _)| *target).collect();
        let found = self.probe(netns, &targets);
        let mut wrong = String::new();
        for ((target, expected), found) in expected.iter().zip(&found) {
            if !found.starts_with(expected) {
                let _ = writeln!(wrong, "{target} from {netns}: `{found}` in place of `{expected}`");
            }
        }
        self.assert(wrong.is_empty(), &wrong);
    }

    /// All of these are open from the namespace.
    #[track_caller]
    pub fn open(&mut self, netns: &str, targets: &[&str]) {
        let expected: Vec<(&str, &str)> = targets.iter().map(|target| (*target, "open")).collect();
        self.expect_probes(netns, &expected);
    }

    /// None of these is open from the namespace.
    #[track_caller]
    pub fn closed(&mut self, netns: &str, targets: &[&str]) {
        let found = self.probe(netns, targets);
        let open: Vec<String> = targets
            .iter()
            .zip(&found)
            .filter(|(_, f)| f.starts_with("open"))
            .map(|(t, f)| format!("{t}: {f}"))
            .collect();
        self.assert(open.is_empty(), &format!("open from {netns}: {open:?}"));
    }

    /// Does the address answer pings from the namespace?
    pub fn pings(&mut self, netns: &str, address: &str) -> bool {
        self.run(&format!("ip netns exec {netns} ping -c 1 -W 2 {address}")).code == 0
    }

    /// Does the port accept connections from the namespace?
    pub fn reaches(&mut self, netns: &str, address: &str, port: u16) -> bool {
        self.probe(netns, &[&format!("tcp:{address}:{port}")])[0].starts_with("open")
    }

    /// The state file as it is.
    pub fn state(&mut self) -> String {
        self.ok("cat /var/lib/vpcctl/state.json 2>/dev/null || true")
    }

    /// The last lines of the action log.
    fn log(&mut self) -> String {
        // Not by `run`: the test is failing, and the shell may be stuck.
        let pid = self.child.id();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let init = children.split_whitespace().next().unwrap_or("self").to_owned();
        let log = PathBuf::from(format!("/proc/{init}/root/var/lib/vpcctl/vpcctl.log"));
        let tail = Command::new("tail").args(["-n", LOG_LINES]).arg(log).output();
        tail.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
    }

    /// What the sandbox itself complained of.
    fn own_words(&self) -> String {
        text(&self.dir().join("sandbox.err"))
    }
}

/// Where it is on Debian, Ubuntu and Fedora: not what a version manager puts before it.
const PYTHON: &str = "/usr/bin/python3 -SE";

impl Drop for Sandbox {
    fn drop(&mut self) {
        // The kernel ends every process of the sandbox with its first one. All are gone when nobody holds the pipe.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let deadline = Instant::now() + PATIENCE;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if let Err(RecvTimeoutError::Disconnected) = self.ends.recv_timeout(left) {
                break;
            }
        }
    }
}

/// The answers in a stream's output, without its complaints.
fn answers(out: &str) -> usize {
    let is_answer =
        |line: &&str| line.starts_with(|first: char| first.is_ascii_digit()) || line.starts_with("you are ");
    out.lines().filter(is_answer).count()
}

/// The end of a long text.
fn shortened(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let skipped = lines.len().saturating_sub(SHOWN_LINES);
    let head = if skipped > 0 { format!("[{skipped} lines]\n") } else { String::new() };
    lines[skipped..].iter().fold(head, |text, line| text + line + "\n")
}

fn text(path: &Path) -> String {
    let mut bytes = Vec::new();
    if let Ok(mut file) = fs::File::open(path) {
        let _ = file.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Each line that the shell prints, as it comes.
fn lines_of(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}
