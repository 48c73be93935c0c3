//! Whole sessions as golden files: each command with what it prints and its exit code, as a user sees them.
//!
//! A file in `tests/golden` is a list of commands, `$ ` before each, with their output below, and remarks, `## ` before each. `UPDATE_GOLDEN=1 cargo test --test
//! sessions` runs the commands that are in it and writes the file anew.

mod support;

use std::fs;
use std::path::Path;

use support::Sandbox;

#[test]
fn the_tour() {
    replay("tour");
}

#[test]
fn errors_and_their_hints() {
    replay("errors");
}

#[test]
fn what_there_is_in_three_formats() {
    replay("formats");
}

#[test]
fn help() {
    replay("help");
}

#[test]
fn a_network_in_one_file() {
    replay("topology");
}

#[test]
fn a_dry_run() {
    replay("dry-run");
}

#[test]
fn commands_explained() {
    replay("explain");
}

/// Runs the commands of a golden file in a new sandbox, and compares.
fn replay(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.txt"));
    let golden = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut sandbox = Sandbox::new();
    sandbox.ok(&format!("cp -r {}/policies /run/policies", env!("CARGO_MANIFEST_DIR")));
    let mut text = String::new();
    for line in golden.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            text += &played(&mut sandbox, command);
        } else if line.starts_with("## ") {
            text += &format!("{line}\n");
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        return;
    }
    if text != golden {
        panic!("{name}: `UPDATE_GOLDEN=1 cargo test --test sessions` shows it in git\n{}", difference(&golden, &text));
    }
}

/// A command and what came of it: stdout, then stderr, each line of it after `! `, then the exit code unless it is 0.
fn played(sandbox: &mut Sandbox, command: &str) -> String {
    let output = sandbox.run(&format!("cd /run; {command}"));
    let code = if output.code == 0 { String::new() } else { format!("[exit code {}]\n", output.code) };
    let stderr: String = output.stderr.lines().map(|line| format!("! {line}\n")).collect();
    // What `ping` measures differs each time.
    let timed = |line: &str| line.contains("time=") || line.contains(", time ") || line.starts_with("rtt ");
    let stdout: String =
        output.stdout.lines().filter(|line| !timed(line)).map(|line| format!("{}\n", uncounted(line))).collect();
    format!("$ {command}\n{stdout}{stderr}{code}\n")
}

/// How many objects of the kernel something consists of is nothing that a user counts on.
fn uncounted(line: &str) -> String {
    let words = line.split_inclusive(' ').collect::<Vec<_>>();
    let mut text = String::new();
    for (i, word) in words.iter().enumerate() {
        let before = i.checked_sub(1).map_or("", |before| words[before].trim());
        let counts = before.trim_matches(['"', ':']) == "objects" || (before == "of" && line.ends_with("wrong"));
        let digits = word.bytes().take_while(u8::is_ascii_digit).count();
        text += &if counts && digits > 0 { format!("N{}", &word[digits..]) } else { (*word).to_owned() };
    }
    text
}

/// The lines from the first that differs.
fn difference(expected: &str, found: &str) -> String {
    let same = expected.lines().zip(found.lines()).take_while(|(one, other)| one == other).count();
    let part = |text: &str, mark: char| {
        text.lines().skip(same).take(12).map(|line| format!("{mark} {line}\n")).collect::<String>()
    };
    format!("line {}\n{}{}", same + 1, part(expected, '-'), part(found, '+'))
}
