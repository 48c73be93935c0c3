//! What `explain` says is what the dry run does: the same objects, the same lines, each with its words.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/states.rs"]
#[allow(dead_code, reason = "each test crate uses a part")]
mod states;

use std::process::{Command, Output};

use clap::CommandFactory;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use vpcctl::cli::{self, Cli};
use vpcctl::commands;
use vpcctl::plan::explain::{Action, Explained, explain};
use vpcctl::plan::{self, insertion, script, topology};

use states::{edits, history, plain_facts, session};

/// Words that stand for what the table doesn't know.
const UNKNOWN: [&str; 2] = ["a setting of the kernel", "rules of the router"];

/// The script's lines, sorted. Where it deletes links together, as one deletion for each.
fn script_lines(script: &str) -> Vec<String> {
    const TOGETHER: &str = " group 1987117056";
    let is_command = |line: &&str| !line.is_empty() && !line.starts_with('#') && !line.contains("link del group");
    let single = |line: &str| match line.strip_suffix(TOGETHER) {
        Some(line) => line.replace("link set dev", "link del dev"),
        None => line.to_owned(),
    };
    let mut lines: Vec<String> = script.lines().filter(is_command).map(single).collect();
    lines.sort();
    lines
}

proptest! {
    // The same states in every run; PROPTEST_RNG_SEED and PROPTEST_CASES look further.
    #![proptest_config(ProptestConfig {
        cases: 60, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn the_lines_are_those_of_the_dry_run(edits in edits(25)) {
        for pair in history(&edits, &|_| plain_facts()).windows(2) {
            let mut plan = plan::between(&pair[0], &pair[1]);
            let (before, after) = (plan::differing_ops(&pair[0], &pair[1]), plan::differing_ops(&pair[1], &pair[0]));
            insertion::join_as_if_held(&mut plan, &insertion::grown(&before, &after));
            let explained = explain(&plan);
            let commands: Vec<&str> = explained.iter().flat_map(|one| &one.commands).map(String::as_str).collect();
            prop_assert_eq!(script_lines(&commands.join("\n")), script_lines(&script::script(&plan, None)));
            prop_assert_eq!(explained.len(), plan.clear.len() + plan.make.len() + plan.unmake.len());
        }
    }
}

#[test]
fn every_object_of_a_full_network_has_words_of_its_own() {
    let states = history(&session(), &|_| plain_facts());
    let ops: Vec<_> = states.iter().flat_map(topology::ops).collect();
    assert!(ops.len() > 500, "{}", ops.len());
    for op in &ops {
        let (purpose, concept) = vpcctl::plan::explain::words(op);
        assert!(!UNKNOWN.contains(&purpose) && !concept.is_empty(), "{}: {purpose}", op.identity());
        assert!(purpose.len() <= 120 && !purpose.ends_with('.'), "{purpose}");
    }
}

#[test]
fn objects_come_in_the_order_in_which_they_can_be_made() {
    let state =
        history(&session(), &|_| plain_facts()).into_iter().max_by_key(|state| topology::ops(state).len()).unwrap();
    let made = explain(&plan::between(&Default::default(), &state));
    let is_told = |one: &Explained| {
        one.action == Action::Make && (!one.commands.is_empty() || one.object.starts_with("table ip "))
    };
    assert!(made.iter().all(is_told), "{made:?}");
    let place = |start: &str| made.iter().position(|one| one.object.starts_with(start)).unwrap();
    assert!(place("namespace a") < place("bridge br-a") && place("bridge br-a") < place("address 10.0."));
    let gone = explain(&plan::between(&state, &Default::default()));
    assert!(gone.iter().any(|one| one.commands.is_empty()), "what is in a namespace goes with it");
}

fn vpcctl(line: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vpcctl"));
    command.args(line.split(' ')).env("VPCCTL_STATE_DIR", dir.path()).env_remove("VPCCTL_OUTPUT").output().unwrap()
}

#[test]
fn what_follows_is_read_as_a_command_line_in_any_spelling() {
    for line in [
        "vpcctl explain create-vpc vpc1 10.0.0.0/16",
        "vpcctl -o json explain vpc create vpc1 10.0.0.0/16 -v",
        "vpcctl explain teardown-vpc vpc1",
        "vpcctl explain --dry-run peer a b",
        "vpcctl explain deploy-app vpc1/web -- sleep 5",
    ] {
        let cli = cli::parse(line.split(' ').map(Into::into).collect()).unwrap();
        assert!(cli.explains && commands::has_plan(&cli.command), "{line}");
    }
    for line in [
        "vpcctl explain vpc1",
        "vpcctl explain -- list",
        "vpcctl create-vpc explain 10.0.0.0/16",
        "vpcctl inspect explain",
    ] {
        assert!(!cli::parse(line.split(' ').map(Into::into).collect()).unwrap().explains, "{line}");
    }
}

#[test]
fn what_changes_nothing_is_not_explained() {
    for (line, code, message) in [
        ("explain list", 2, "`list` changes nothing: there is nothing to explain"),
        ("explain exec vpc1/web -- id", 2, "`exec` changes nothing"),
        ("explain craete-vpc", 3, "`craete-vpc` is no command and no VPC"),
        ("explain", 2, "required arguments were not provided"),
        ("explain delete-vpc vpc1", 3, "VPC `vpc1` does not exist"),
    ] {
        let output = vpcctl(line);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}: {text}");
        assert!(text.contains(message), "{line}: {text}");
    }
}

#[test]
fn it_takes_no_privilege_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let vpcctl = |line: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_vpcctl"));
        // Where the tests run as root, the rights that go with that are given up.
        let is_root = rustix::process::geteuid().is_root();
        if is_root {
            command = Command::new("setpriv");
            command.args(["--bounding-set=-all", "--inh-caps=-all", "--"]).arg(env!("CARGO_BIN_EXE_vpcctl"));
        }
        command.args(line.split(' ')).env("VPCCTL_STATE_DIR", dir.path().join("state")).output().unwrap()
    };
    let output = vpcctl("explain create-vpc vpc1 10.0.0.0/16");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for words in ["namespace vpc1\n", "in a cloud: the VPC with its implicit router\n", "$ ip netns add vpc1\n"] {
        assert!(text.contains(words), "{words}: {text}");
    }
    assert!(!dir.path().join("state").exists());
}

#[test]
fn every_command_that_has_a_dry_run_can_be_explained() {
    // Those that change something without a plan, or something else than the network.
    let others = ["exec", "shell", "sandbox", "test-connectivity"];
    let lines =
        include_str!("../README.md").lines().filter_map(|line| line.strip_prefix("| `")?.split("| `vpcctl ").nth(1));
    let mut explained = 0;
    for line in lines.map(|line| line.trim_end_matches("` |")) {
        let name = line.split(' ').next().unwrap();
        if Cli::command().find_subcommand(name).is_none() {
            continue;
        }
        let cli = cli::parse(format!("vpcctl {line}").split(' ').map(Into::into).collect()).unwrap();
        let words = format!("vpcctl explain {line}");
        let accepted = cli::parse(words.split(' ').map(Into::into).collect()).is_ok_and(|cli| cli.explains);
        assert!(accepted == commands::has_plan(&cli.command) || others.contains(&name) || cli.explains, "{line}");
        explained += usize::from(accepted);
    }
    assert!(explained >= 20, "{explained}");
}
