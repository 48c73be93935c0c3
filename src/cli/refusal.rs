//! A command line that can't be read: help, the version, or what is wrong with it.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::error::{ContextKind, ErrorKind};
use clap::{ColorChoice, CommandFactory};

use crate::cli::{self, Cli, early};
use crate::error::Failure;
use crate::ui::{Format, Ui, cannot_write};

/// Prints what the parser has to say, and returns the exit code.
pub fn report(error: &clap::Error, words: &[OsString]) -> ExitCode {
    let ui = Ui { format: early::format(words), verbose: false, quiet: early::quiet(words) };
    let failure = match own(error) {
        Some(failure) => Some(failure),
        None if !error.use_stderr() => print(error),
        None if ui.format != Format::Table => Some(in_words(error)),
        None => {
            // A closed terminal is no reason for another exit code.
            let _ = if lacks_command(error) { print_main_help() } else { error.print() };
            return ExitCode::from(settled(in_words(error), words).kind.exit_code());
        }
    };
    failure.map_or(ExitCode::SUCCESS, |failure| {
        let failure = settled(failure, words);
        ui.failure(&failure);
        ExitCode::from(failure.kind.exit_code())
    })
}

/// The failure, as the command that was meant ends with it.
fn settled(failure: Failure, words: &[OsString]) -> Failure {
    let command = Cli::command();
    let mut names = words.iter().skip(1).filter_map(|word| command.find_subcommand(word));
    if names.next().is_some_and(|command| command.get_name() == "plan") { failure.besides_changes() } else { failure }
}

/// Was there nothing but options?
fn lacks_command(error: &clap::Error) -> bool {
    use ErrorKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    matches!(error.kind(), DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand)
}

/// The help as talk: it was not asked for.
fn print_main_help() -> io::Result<()> {
    let help = cli::command(ColorChoice::Auto).render_help();
    write!(anstream::stderr().lock(), "{}", help.ansi())
}

/// What one of our own types refuses comes with a hint, and after the flag that it was given by.
fn own(error: &clap::Error) -> Option<Failure> {
    let failure = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Failure>())?;
    let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string).unwrap_or_default();
    let flag = argument.split(' ').next().filter(|word| word.starts_with("--"));
    let message = flag.map_or_else(|| failure.message.clone(), |flag| format!("{flag}: {}", failure.message));
    Some(Failure { message, ..failure.clone() })
}

/// Help and version are data.
fn print(error: &clap::Error) -> Option<Failure> {
    match error.print() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Some(cannot_write(&error)),
        _ => None,
    }
}

/// The parser's words as a message and a hint: its tip, or else how the command is written.
fn in_words(error: &clap::Error) -> Failure {
    if lacks_command(error) {
        return Failure::usage("the command is missing");
    }
    let text = error.render().to_string();
    let paragraphs: Vec<String> =
        text.split("\n\n").map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let after = |mark: &str| paragraphs.iter().find_map(|paragraph| paragraph.strip_prefix(mark));
    let message = after("error: ").unwrap_or(&text);
    // What a command line looks like in general is no help to somebody who looks for a command.
    let usage = after("Usage: ").filter(|usage| !usage.ends_with("<COMMAND>"));
    let hint = after("tip: ").map(str::to_owned).or(usage.map(|usage| format!("write it as {usage}")));
    Failure { hint, ..Failure::usage(message) }
}
