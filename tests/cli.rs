//! What the program says, and where, whatever the kernel has: help, errors, colours, JSON, full disks and closed pipes.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs::OpenOptions;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use vpcctl::error::{Failure, Kind};

/// The start of every colour.
const ESCAPE: char = '\u{1b}';

/// A directory for state that nobody else has.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// The program, in a clean environment.
    fn vpcctl(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vpcctl"));
        command.args(line.split(' ').filter(|word| !word.is_empty())).env("VPCCTL_STATE_DIR", self.0.path());
        for variable in ["NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "COLUMNS", "VPCCTL_OUTPUT", "VPCCTL_LOG"] {
            command.env_remove(variable);
        }
        command
    }

    fn run(&self, line: &str) -> Output {
        self.vpcctl(line).output().unwrap()
    }

    /// Runs a shell line in which `$V` is the program.
    fn shell(&self, line: &str) -> Output {
        let mut command = Command::new("sh");
        let command = command.args(["-c", line]).env("V", env!("CARGO_BIN_EXE_vpcctl"));
        command.env("VPCCTL_STATE_DIR", self.0.path()).output().unwrap()
    }
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn code(output: &Output) -> Option<i32> {
    output.status.code()
}

#[test]
fn every_way_to_the_main_help_shows_the_same() {
    let place = Place::new();
    let (help, short, word) = (place.run("--help"), place.run("-h"), place.run("help"));
    for output in [&help, &short, &word] {
        assert_eq!(code(output), Some(0));
        assert_eq!(stdout(output), stdout(&help));
    }
    let bare = place.run("");
    assert_eq!((code(&bare), stderr(&bare)), (Some(2), stdout(&help)));
}

#[test]
fn the_main_help_has_groups_options_exit_codes_and_variables() {
    let help = stdout(&Place::new().run("--help"));
    for words in ["Build a network:\n  create-vpc vpc1 10.0.0.0/16  ", "--state-dir DIR ", "VPCCTL_LOG "] {
        assert!(help.contains(words), "{words} in {help}");
    }
    for kind in Kind::ALL {
        assert!(help.contains(&format!("{:>5}  {}: ", kind.exit_code(), kind.name())), "{kind:?}");
    }
    for hidden in ["sandbox-init", "isolate-vpcs", "teardown-vpc"] {
        assert!(!help.contains(hidden), "{hidden}");
    }
}

#[test]
fn a_commands_help_says_more_than_one_line() {
    let place = Place::new();
    let help = stdout(&place.run("add-subnet --help"));
    assert!(help.starts_with("Add a subnet and its first instance\n\nThe gateway gets the first address"), "{help}");
    assert!(help.contains("[alias: --subnet]") && help.contains("Examples:"), "{help}");
    for line in ["help add-subnet", "help create-subnet", "help subnet add", "subnet add --help"] {
        assert_eq!(stdout(&place.run(line)), help, "{line}");
    }
}

#[test]
fn colours_appear_where_they_are_asked_for_and_nowhere_else() {
    let place = Place::new();
    for line in ["--help", "list", "inspect nowhere", "nonsense", "create-vpc --help"] {
        let coloured = |output: &Output| stdout(output).contains(ESCAPE) || stderr(output).contains(ESCAPE);
        assert!(!coloured(&place.run(line)), "no terminal: {line}");
        assert!(!coloured(&place.run(&format!("--color never {line}"))), "never: {line}");
        if line != "list" {
            assert!(coloured(&place.run(&format!("--color always {line}"))), "always: {line}");
            assert!(coloured(&place.vpcctl(line).env("VPCCTL_COLOR", "always").output().unwrap()), "variable: {line}");
        }
    }
    for (color, expected) in [("never", false), ("auto", false), ("always", true)] {
        let line = format!("--color {color} --dry-run delete-vpc nowhere");
        let output = place.vpcctl(&line).env("VPCCTL_LOG", "trace").output().unwrap();
        assert_eq!(stderr(&output).contains(ESCAPE), expected, "{color}: {output:?}");
    }
    let error = stderr(&place.run("--color always inspect nowhere"));
    assert!(error.starts_with("\u{1b}[1m\u{1b}[31merror:\u{1b}[0m "), "{error:?}");
}

#[test]
fn on_a_terminal_there_are_colours_unless_no_color_is_set() {
    let place = Place::new();
    let line = |environment: &str| format!("{environment} script -qec \"$V inspect nowhere\" /dev/null");
    let plain = place.shell(&line("NO_COLOR=1 TERM=xterm"));
    assert!(stdout(&plain).contains("error: VPC `nowhere`"), "{plain:?}");
    let coloured = place.shell(&line("env -u NO_COLOR TERM=xterm"));
    assert!(stdout(&coloured).contains("\u{1b}[31merror:"), "{coloured:?}");
}

#[test]
fn silence_and_talk_contradict_each_other_and_what_is_typed_beats_the_environment() {
    let place = Place::new();
    let both = place.run("-q list -v");
    assert_eq!(code(&both), Some(2));
    assert!(stderr(&both).contains("--quiet and --verbose contradict each other"), "{both:?}");
    for (line, variable) in [("-q list", "VPCCTL_VERBOSE"), ("list -v", "VPCCTL_QUIET")] {
        let output = place.vpcctl(line).env(variable, "1").output().unwrap();
        assert_eq!(code(&output), Some(0), "{line} {output:?}");
    }
    let output = place.vpcctl("list").env("VPCCTL_QUIET", "1").env("VPCCTL_VERBOSE", "1").output().unwrap();
    assert_eq!(code(&output), Some(2));
    let output = place.vpcctl("list -v").env("VPCCTL_QUIET", "0").output().unwrap();
    assert_eq!(code(&output), Some(0));
}

#[test]
fn errors_are_one_object_where_json_is_asked_for() {
    let place = Place::new();
    let cases = [
        ("-o json inspect nowhere", "not-found", 3, "VPC `nowhere` does not exist"),
        ("inspect nowhere --output=json", "not-found", 3, "VPC `nowhere` does not exist"),
        ("-o json create-vpc vpc1 10.0.0.5/16", "usage", 2, "`10.0.0.5/16` is no CIDR: it has host bits set"),
        ("-ojson nonsense", "usage", 2, "unrecognized subcommand 'nonsense'"),
        ("-o json", "usage", 2, "the command is missing"),
        (
            "-o json allow-cidr",
            "usage",
            2,
            "the following required arguments were not provided: --src <CIDR> --dst <CIDR>",
        ),
        ("-o json -q list -v", "usage", 2, "--quiet and --verbose contradict each other"),
    ];
    for (line, kind, number, message) in cases {
        let output = place.run(line);
        assert_eq!(code(&output), Some(number), "{line}");
        let text = stderr(&output);
        assert_eq!(text.lines().count(), 1, "{line}: {text}");
        let value: Value = serde_json::from_str(&text).unwrap();
        let error = &value["error"];
        assert_eq!(value["version"], 1);
        assert_eq!((&error["kind"], &error["code"]), (&kind.into(), &number.into()), "{line}");
        assert_eq!(error["message"], message, "{line}");
        assert!(error["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{line}: {text}");
    }
    let output = place.vpcctl("nonsense").env("VPCCTL_OUTPUT", "json").output().unwrap();
    assert!(stderr(&output).starts_with('{'), "{output:?}");
}

#[test]
fn errors_are_a_document_where_yaml_is_asked_for() {
    let output = Place::new().run("-o yaml inspect nowhere");
    assert_eq!(code(&output), Some(3));
    let text = stderr(&output);
    assert!(text.starts_with("---\nversion: 1\nerror:\n  kind: not-found\n  code: 3\n"), "{text}");
}

#[test]
fn every_error_has_a_hint() {
    for kind in Kind::ALL {
        let failure = Failure::new(kind, "something");
        assert!(!failure.advice().is_empty());
        assert!(!kind.name().contains(' ') && !kind.describe().ends_with('.'), "{kind:?}");
    }
    assert_eq!(Failure::usage("something").hint("this").advice(), "this");
}

#[test]
fn a_misspelt_command_leads_to_the_commands_own_name() {
    let place = Place::new();
    for (typed, meant) in
        [("craete-vpc", "'create-vpc'"), ("add-subnt", "'add-subnet'"), ("teardwn-vpc", "exist: 'delete-vpc'")]
    {
        let output = place.run(typed);
        assert_eq!(code(&output), Some(2));
        assert!(stderr(&output).contains(meant), "{output:?}");
    }
}

#[test]
fn a_full_disk_behind_stdout_is_an_error_and_never_a_panic() {
    let place = Place::new();
    for line in
        ["list", "list -o json", "inspect", "--help", "--version", "help list", "--dry-run delete-vpc x --if-exists"]
    {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = place.vpcctl(line).stdout(full).output().unwrap();
        let silent = line.contains("--if-exists");
        assert_eq!(code(&output), Some(if silent { 0 } else { 6 }), "{line}: {output:?}");
        assert!(silent || stderr(&output).contains("cannot write to stdout"), "{line}: {output:?}");
    }
}

#[test]
fn an_error_that_cannot_be_said_keeps_its_exit_code() {
    let place = Place::new();
    for (line, expected) in [("inspect nowhere", 3), ("nonsense", 2), ("-o json nonsense", 2), ("", 2), ("list", 0)] {
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let status = place.vpcctl(line).stdout(Stdio::null()).stderr(full).status().unwrap();
        assert_eq!(status.code(), Some(expected), "{line}");
        let closed = place.shell(&format!("$V {line} >&- 2>&-"));
        assert_eq!(code(&closed), Some(expected), "{line}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let place = Place::new();
    for line in ["--help", "list", "inspect -o json"] {
        let output = place.shell(&format!("{{ sleep 0; $V {line}; echo $? >&2; }} | true"));
        assert_eq!(stderr(&output), "0\n", "{line}");
    }
}
