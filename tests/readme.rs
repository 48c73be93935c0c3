//! The README says what is: its tables name what the program has, and its tour prints what it shows.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};

use clap::CommandFactory;

use vpcctl::cli::{self, Cli};
use vpcctl::error::{DONE, Kind};
use vpcctl::model::state::State;
use vpcctl::model::topology_file::{Source, Want};

const README: &str = include_str!("../README.md");

/// The tour's commands run with this in front: after each block of them a line of its own.
const NEXT: &str = "--- next ---";

#[test]
fn the_table_of_commands_names_the_visible_commands() {
    let rows = table("Commands");
    let named: Vec<String> = rows.iter().map(|row| unquoted(&row[0])).collect();
    let command = Cli::command();
    let visible = command.get_subcommands().filter(|command| !command.is_hide_set());
    let visible: Vec<&str> = visible.map(clap::Command::get_name).collect();
    assert_eq!(named, visible, "in the order of --help");
    for row in &rows {
        assert_eq!(unquoted(&row[2]).split(' ').nth(1), Some(unquoted(&row[0]).as_str()), "{row:?}");
        parses(&unquoted(&row[2]));
    }
}

#[test]
fn the_table_of_exit_codes_names_every_kind() {
    let shown: BTreeMap<u8, (String, String)> =
        table("Exit codes").iter().map(|row| (row[0].parse().unwrap(), (row[1].clone(), row[2].clone()))).collect();
    let words = |(name, meaning): (&str, &str)| (name.to_owned(), meaning.to_owned());
    let mut codes: BTreeMap<u8, (String, String)> =
        Kind::ALL.map(|kind| (kind.exit_code(), words((kind.name(), kind.describe())))).into_iter().collect();
    codes.insert(0, words(DONE));
    assert_eq!(shown, codes);
}

#[test]
fn the_table_of_flags_names_every_global_flag_and_variable() {
    let rows = table("Flags and environment");
    let cell = |column: usize| rows.iter().map(|row| row[column].clone()).collect::<Vec<_>>().join(" ");
    let (flags, variables) = (cell(0), cell(1));
    let mut command = Cli::command();
    command.build();
    let subcommands = command.get_subcommands().flat_map(|subcommand| subcommand.get_arguments());
    for argument in command.get_arguments().filter(|argument| argument.is_global_set()).chain(subcommands) {
        let variable = argument.get_env().map(|variable| variable.to_string_lossy().into_owned());
        let Some(variable) = variable else { continue };
        let flag = format!("--{}", argument.get_long().unwrap());
        assert!(variables.contains(&format!("`{variable}`")), "{variable}");
        assert!(flags.contains(&flag), "{flag}");
    }
}

#[test]
fn every_command_line_of_the_readme_parses() {
    let lines: Vec<&str> = blocks("sh", README).iter().flat_map(|block| block.lines()).collect();
    let commands = lines.iter().filter_map(|line| line.find("vpcctl ").map(|start| &line[start..]));
    let parsed = commands.map(|line| parses(line.split(" && ").next().unwrap_or(line))).count();
    assert!(parsed >= 20, "{parsed} command lines found");
}

#[test]
fn every_policy_of_the_readme_is_one() {
    let policies = blocks("json", README);
    assert!(!policies.is_empty());
    for policy in policies {
        vpcctl::model::policy_file::parse(policy, "README.md").unwrap();
    }
}

#[test]
fn every_topology_of_the_readme_is_one() {
    let topologies = blocks("yaml", README);
    assert!(!topologies.is_empty());
    for text in topologies {
        let source = Source { name: "README.md".into(), text: text.to_owned() };
        let mut topology = source.parse().unwrap();
        let read = |path: &str| Ok(Source { name: path.into(), text: std::fs::read_to_string(path).unwrap() });
        topology.load_policies(&read).unwrap();
        let want = Want { topology: &topology, prune: true, pool: "198.19.0.0/16".parse().unwrap() };
        let mut state = State::default();
        want.edit(&mut state, &topology.ideal_host(&State::default())).unwrap();
        assert!(state.vpcs.len() > 1);
    }
}

#[test]
fn every_file_that_the_readme_links_to_is_there() {
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let letters =
        |text: &str| text.to_lowercase().replace(' ', "-").replace(|c: char| !c.is_alphanumeric() && c != '-', "");
    let headings: Vec<String> = README.lines().filter_map(|line| Some(letters(line.strip_prefix("## ")?))).collect();
    for link in links.filter(|link| !link.starts_with("https://")) {
        if let Some(heading) = link.strip_prefix('#') {
            assert!(headings.iter().any(|known| known == heading), "{link}");
            continue;
        }
        assert!(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}

#[test]
fn the_tour_prints_what_the_readme_shows() {
    let tour = section("Five minutes");
    // The first block builds vpcctl and enters the sandbox.
    let commands = &blocks("sh", tour)[1..];
    let shown: Vec<String> = blocks("text", tour).into_iter().map(stable).collect();
    let script: String = commands.iter().map(|block| format!("{{ {block}}} 2>&1\necho '{NEXT}'\n")).collect();
    let printed = in_sandbox(&script);
    let printed: Vec<String> = printed.split_terminator(&format!("{NEXT}\n")).map(stable).collect();
    assert_eq!(printed.join("\n"), shown.join("\n"));
}

/// Runs a script in a sandbox, in the repository's directory; what it prints.
fn in_sandbox(script: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_vpcctl"))
        .args(["sandbox", "--", "bash", "-s"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("LC_ALL", "C")
        .env("no_proxy", "*")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap()
}

/// Without what differs from run to run or from one version of a tool to the next: times, process ids, what curl says after
/// the address that it didn't reach.
fn stable(text: &str) -> String {
    let lines = text.lines().filter(|line| !line.starts_with("rtt ") && !line.is_empty()).map(|line| {
        let line = line.split(" time=").next().unwrap_or(line).split(", time ").next().unwrap_or(line);
        let line = match line.split_once(" after ") {
            Some((before, _)) if line.starts_with("curl: ") => before,
            _ => line,
        };
        line.split(", pid ").next().unwrap_or(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The text from a heading to the next one of its level.
fn section(heading: &str) -> &'static str {
    let start = README.find(&format!("\n## {heading}\n")).unwrap_or_else(|| panic!("no section {heading}"));
    let text = &README[start + 4..];
    &text[..text.find("\n## ").unwrap_or(text.len())]
}

/// The rows of a section's first table, without its head, cell by cell.
fn table(heading: &str) -> Vec<Vec<String>> {
    let lines =
        section(heading).lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |line: &str| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = lines.skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "{heading}");
    rows
}

/// The fenced blocks of a language.
fn blocks<'a>(language: &str, text: &'a str) -> Vec<&'a str> {
    let fence = format!("```{language}\n");
    text.split(&*fence).skip(1).map(|rest| rest.split("```").next().unwrap_or(rest)).collect()
}

fn unquoted(cell: &str) -> String {
    cell.trim_matches('`').to_owned()
}

fn parses(line: &str) {
    let words: BTreeSet<&str> = line.split(' ').collect();
    assert!(!words.contains(""), "{line}");
    if let Err(error) = cli::parse(line.split(' ').map(Into::into).collect()) {
        panic!("`{line}`: {error}");
    }
}
