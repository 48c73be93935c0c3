//! Faults at the files that a command writes: by strace, at each system call that it makes on the state directory.

use super::Sandbox;
use super::faults::same_network;

/// The system calls by which the state comes to the disk.
const CALLS: &str = "openat,write,fsync,rename,unlink,fchmod";

/// Where the state is.
const DIR: &str = "/var/lib/vpcctl";

/// A system call of the command's on the state directory: its name, and how many of that name there were before it, itself
/// among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SystemCall {
    pub name: String,
    pub number: usize,
}

impl Sandbox {
    /// The command's system calls on the files of the state directory, in order, from a dry pass.
    pub fn system_calls(&mut self, command: &str) -> Vec<SystemCall> {
        self.ok(&format!("strace -f -qq -y -e signal=none -e trace={CALLS} -o $T/calls {} {command}", watched()));
        let text = std::fs::read_to_string(self.dir().join("calls")).expect("strace writes");
        let mut calls: Vec<SystemCall> = Vec::new();
        for line in text.lines() {
            let words = line.split_once(' ').map_or("", |(_, words)| words.trim_start());
            // What is resumed was begun on another line.
            if let Some((name, _)) = words.split_once('(').filter(|_| !words.starts_with('<')) {
                let number = calls.iter().filter(|call| call.name == name).count() + 1;
                calls.push(SystemCall { name: name.to_owned(), number });
            }
        }
        calls
    }

    /// Runs the command, in which this system call meets this fault: `signal=KILL`, `error=EIO`.
    pub fn at_system_call(&mut self, call: &SystemCall, fault: &str, command: &str) -> super::sandbox::Output {
        let SystemCall { name, number } = call;
        let inject = format!("-e trace={name} -e inject={name}:{fault}:when={number}");
        self.run(&format!("strace -f -qq -e signal=none {inject} -o $T/injected {} {command}", watched()))
    }

    /// Is there exactly this network in the file and in the kernel, and nothing left beside it?
    #[track_caller]
    pub fn assert_network(&mut self, states: &[&(String, super::dump::Dump)], what: &str) {
        let (state, kernel) = (self.state(), self.dump_without_files());
        let found = states.iter().find(|(known, _)| same_network(known, &state));
        let Some((_, expected)) = found else { panic!("{what}: the state is {state}") };
        let difference = expected.difference(&kernel);
        assert!(difference.is_empty(), "{what}: the kernel isn't what the state says\n{}", difference.join("\n"));
        let files = self.ok(&format!("cd {DIR} && ls"));
        assert!(!files.contains("intent") && !files.contains(".new"), "{what}: left behind: {files}");
    }

    /// The kernel's objects alone.
    pub fn dump_without_files(&mut self) -> super::dump::Dump {
        self.dump().without(&["host/files", "host/mounts", "host/processes"])
    }
}

/// Only system calls on these are looked at: else the tools' own would be among them.
fn watched() -> String {
    let files = ["", "/state.json", "/state.json.new", "/intent.json"];
    files.iter().map(|file| format!("-P {DIR}{file} ")).collect()
}
