//! Who is talked to, and how: stdout is data, stderr is talk.

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

use crate::error::{Failure, Kind};
use crate::log;
use crate::plan::batch::Step;
use crate::plan::script;

/// How data is printed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
}

/// The caller's terminal, or whatever stands in its place.
#[derive(Debug, Clone, Copy)]
pub struct Ui {
    /// How data is printed.
    pub format: Format,
    /// Show each command before it runs.
    pub verbose: bool,
    /// Say nothing but errors.
    pub quiet: bool,
}

impl Ui {
    /// Prints text on stdout. A reader that has seen enough, such as `head`, is no error; a full disk is.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new(Kind::Host, format!("cannot write to stdout: {error}")))
            }
            _ => Ok(()),
        }
    }

    /// Prints a value as JSON or YAML, or what `table` makes of it.
    pub fn value<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Table => table(value),
            Format::Json => serde_json::to_string_pretty(value).context("cannot print JSON")? + "\n",
            Format::Yaml => serde_saphyr::to_string(value).context("cannot print YAML")?,
        };
        Ok(self.data(&text)?)
    }

    /// Says what was done.
    pub fn done(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Says what the operator should know besides.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            self.say(&format!("note: {text}"));
        }
    }

    /// Says what went wrong, and what to do about it.
    pub fn error(&self, message: &str, hint: Option<&str>) {
        self.say(&format!("error: {message}"));
        if let Some(hint) = hint {
            self.say(&format!(" hint: {hint}"));
        }
    }

    /// Shows a step as the commands that it amounts to, if asked to.
    pub fn step(&self, step: &Step) {
        if self.verbose {
            let lines: String = script::step_lines(step).iter().map(|(_, line)| format!("+ {line}\n")).collect();
            self.say(lines.trim_end());
        }
    }

    /// Shows a command that is about to run, if asked to.
    pub fn command(&self, line: &str) {
        if self.verbose {
            self.say(&format!("+ {line}"));
        }
    }

    /// From now on the action log goes to this file.
    pub fn log_to(&self, path: &Path) {
        log::open(path);
    }

    fn say(&self, text: &str) {
        if let Err(error) = writeln!(io::stderr().lock(), "{text}") {
            tracing::debug!("stderr: {error}");
        }
    }
}

/// A table without frames: columns under their headings.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(headings);
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines();
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}
