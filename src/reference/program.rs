//! What the pages about the program have in common: the definitions of its command line, read in one way, and what besides
//! them has to be said.

use std::collections::BTreeMap;

use clap::{Arg, Command, CommandFactory};

use crate::cli::Cli;
use crate::completion::VARIABLE;
use crate::error::{DONE, Kind};

/// What the program is called.
pub const NAME: &str = "vpcctl";

/// Variables that are no option's.
const OTHER_VARIABLES: [(&str, &str); 2] = [
    ("VPCCTL_LOG", "diagnostics on stderr, for instance `debug`"),
    (VARIABLE, "a shell's name: print what it has to source for completion"),
];

/// The files of the state directory.
pub const FILES: [(&str, &str); 5] = [
    ("state.json", "what there should be; written whole, to the disk, after each change"),
    ("intent.json", "what a command is about to make true; there only meanwhile, and after one that was killed"),
    ("lock", "held by the command that is changing something; never deleted"),
    ("apps/", "the records and logs of deployed apps"),
    ("vpcctl.log", "the action log: every command, and every tool that it ran"),
];

/// Text under a title, line by line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The title, without a colon.
    pub title: String,
    /// The lines, without their common indentation.
    pub lines: Vec<String>,
}

/// The command line, complete with what clap adds to it.
pub fn command() -> Command {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    command
}

/// The commands that help shows.
pub fn commands(program: &Command) -> impl Iterator<Item = &Command> {
    program.get_subcommands().filter(|command| !command.is_hide_set())
}

/// What a command does, on one line.
pub fn summary(command: &Command) -> String {
    command.get_about().or(command.get_long_about()).map(ToString::to_string).unwrap_or_default()
}

/// What a command does, in full.
pub fn description(command: &Command) -> String {
    command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default()
}

/// How a command is written.
pub fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    usage.trim_start_matches("Usage:").trim().to_owned()
}

/// The visible arguments and options of a command that not every command has.
pub fn own_arguments(command: &Command) -> impl Iterator<Item = &Arg> {
    command.get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_global_set() && !is_help(arg))
}

/// The options of every command.
pub fn common_options(program: &Command) -> impl Iterator<Item = &Arg> {
    program.get_arguments().filter(|arg| !arg.is_hide_set() && (arg.is_global_set() || is_help(arg)))
}

fn is_help(arg: &Arg) -> bool {
    arg.get_id() == "help"
}

/// The examples of a command, line by line.
pub fn examples(command: &Command) -> Vec<String> {
    blocks(command).into_iter().filter(is_examples).flat_map(|block| block.lines).collect()
}

/// What else follows a command's options in its help. Exit codes have a place of their own in every page.
pub fn notes(command: &Command) -> Vec<Block> {
    let is_note = |block: &Block| !is_examples(block) && !block.title.starts_with("Exit code");
    blocks(command).into_iter().filter(is_note).collect()
}

fn is_examples(block: &Block) -> bool {
    block.title.starts_with("Example")
}

/// The paragraphs after the options, each with a title where its first line ends in a colon or holds one.
fn blocks(command: &Command) -> Vec<Block> {
    let text = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string).unwrap_or_default();
    let paragraphs = text.split("\n\n").filter(|paragraph| !paragraph.trim().is_empty());
    paragraphs.map(block).collect()
}

fn block(paragraph: &str) -> Block {
    let mut lines: Vec<&str> = paragraph.trim_matches('\n').lines().collect();
    let title = match lines.first().and_then(|line| line.split_once(':')) {
        Some((title, rest)) if is_title(title) && (rest.is_empty() || rest.starts_with(' ')) => {
            lines[0] = rest.trim();
            title
        }
        _ => "",
    };
    lines.retain(|line| !line.is_empty());
    let indent = |line: &&str| line.len() - line.trim_start().len();
    let common = lines.iter().map(indent).min().unwrap_or_default();
    Block { title: title.to_owned(), lines: lines.iter().map(|line| line[common..].trim_end().to_owned()).collect() }
}

fn is_title(text: &str) -> bool {
    text.chars().all(|c| c.is_alphanumeric() || c == ' ')
}

/// The exit codes: number, name, meaning.
pub fn exit_codes() -> Vec<(u8, &'static str, &'static str)> {
    let kinds = Kind::ALL.iter().map(|kind| (kind.exit_code(), kind.name(), kind.describe()));
    std::iter::once((0, DONE.0, DONE.1)).chain(kinds).collect()
}

/// The variables that the program reads, and what for.
pub fn variables(program: &Command) -> BTreeMap<String, String> {
    let all = std::iter::once(program).chain(program.get_subcommands());
    let of_options = all.flat_map(Command::get_arguments).filter_map(|arg| {
        let (variable, flag) = (arg.get_env()?.to_string_lossy().into_owned(), arg.get_long()?);
        Some((variable, format!("`--{flag}`: {}", help(arg))))
    });
    let others = OTHER_VARIABLES.map(|(name, meaning)| (name.to_owned(), meaning.to_owned()));
    of_options.chain(others).collect()
}

/// What an argument is, as its help says.
pub fn help(arg: &Arg) -> String {
    let help = arg.get_long_help().or(arg.get_help()).map(ToString::to_string).unwrap_or_default();
    // Of `-h` and `--help` one is shorter, which says nothing outside of help.
    help.split(" (see ").next().unwrap_or(&help).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_a_title_and_lines_without_indentation() {
        let title = |text| block(text).title;
        assert_eq!(block("Examples:\n  a b\n    c").lines, ["a b", "  c"]);
        assert_eq!(title("Examples:\n  a b"), "Examples");
        assert_eq!(title("Exit codes: 0 done, 1 failed"), "Exit codes");
        assert_eq!(title("See https://example.com: it helps"), "");
    }

    #[test]
    fn every_exit_code_is_there_once_and_in_order() {
        let codes: Vec<u8> = exit_codes().into_iter().map(|(code, ..)| code).collect();
        assert!(codes.is_sorted_by(|a, b| a < b), "{codes:?}");
    }
}
