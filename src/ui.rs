//! Who is talked to, and how: stdout is data, stderr is talk. Where data is JSON or YAML, talk is too.

pub mod progress;
pub mod style;
pub mod terminal;

use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;
use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use schemars::JsonSchema;
use serde::Serialize;

use crate::error::{Failure, Kind};
use crate::log;
use crate::plan::batch::Step;
use crate::plan::{Plan, explain, script};
use crate::ui::progress::Progress;
use crate::ui::style::Tone;
use crate::view::{self, VERSION};

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

/// How a network is drawn: what `-o` takes besides the formats of data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Picture {
    /// With characters.
    Text,
    /// For a browser.
    Svg,
    /// For Markdown.
    Mermaid,
    /// For Graphviz.
    Dot,
}

/// What `-o` takes. Pictures are `graph`'s alone.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
#[allow(missing_docs, reason = "each is a format or a picture of its own")]
pub enum Output {
    #[default]
    Table,
    Json,
    Yaml,
    Text,
    Svg,
    Mermaid,
    Dot,
}

impl Output {
    /// How data is printed, and errors.
    pub fn format(self) -> Format {
        match self {
            Output::Json => Format::Json,
            Output::Yaml => Format::Yaml,
            Output::Table | Output::Text | Output::Svg | Output::Mermaid | Output::Dot => Format::Table,
        }
    }

    /// The picture that is asked for, if it is one.
    pub fn picture(self) -> Option<Picture> {
        match self {
            Output::Table | Output::Json | Output::Yaml => None,
            Output::Text => Some(Picture::Text),
            Output::Svg => Some(Picture::Svg),
            Output::Mermaid => Some(Picture::Mermaid),
            Output::Dot => Some(Picture::Dot),
        }
    }
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

/// What came of a command that changes something, for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Change<'a> {
    version: u32,
    changed: bool,
    mended: usize,
    message: &'a str,
}

/// What the operator should know besides, for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Note<'a> {
    version: u32,
    note: &'a str,
}

/// What went wrong, for programs.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Refusal<'a> {
    version: u32,
    error: Wrong<'a>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Wrong<'a> {
    kind: &'static str,
    code: u8,
    message: &'a str,
    hint: &'a str,
}

impl Ui {
    /// Prints text on stdout. A reader that has seen enough, such as `head`, is no error; a full disk is.
    pub fn data(&self, text: &str) -> Result<(), Failure> {
        written(&mut io::stdout().lock(), text)
    }

    /// Prints a value as JSON or YAML, or what `table` makes of it.
    pub fn value<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> anyhow::Result<()> {
        let text = match self.format {
            Format::Table => return Ok(written(&mut anstream::stdout().lock(), &table(value))?),
            Format::Json => serde_json::to_string_pretty(value).context("cannot print JSON")? + "\n",
            Format::Yaml => serde_saphyr::to_string(value).context("cannot print YAML")?,
        };
        Ok(self.data(&text)?)
    }

    /// Prints a plan object by object, each explained.
    pub fn explain(&self, plan: &Plan) -> Result<(), Failure> {
        let explanation = view::explain::explanation(explain::explain(plan));
        self.value(&explanation, view::explain::text).map_err(Failure::from_any)
    }

    /// Says what came of a change; for programs that is data.
    pub fn change(&self, changed: bool, mended: usize, message: &str) -> anyhow::Result<()> {
        self.outcome(&Change { version: VERSION, changed, mended, message }, message)
    }

    /// Says in words what was done; for programs there is more to it.
    pub fn outcome<T: Serialize>(&self, outcome: &T, message: &str) -> anyhow::Result<()> {
        if self.format == Format::Table {
            self.done(message);
            return Ok(());
        }
        self.value(outcome, |_| String::new())
    }

    /// Says what was done.
    pub fn done(&self, text: &str) {
        if !self.quiet {
            self.say(text);
        }
    }

    /// Says what the operator should know besides.
    pub fn note(&self, text: &str) {
        let note = style::NOTE;
        if !self.quiet {
            self.talk(&Note { version: VERSION, note: text }, || format!("{note}note:{note:#} {text}"));
        }
    }

    /// Says what went wrong, and what to do about it.
    pub fn failure(&self, failure: &Failure) {
        let Failure { kind, message, .. } = failure;
        let hint = failure.advice();
        let error = Wrong { kind: kind.name(), code: kind.exit_code(), message, hint };
        let (red, cyan) = (style::ERROR, style::HINT);
        self.talk(&Refusal { version: VERSION, error }, || {
            format!("{red}error:{red:#} {message}\n {cyan}hint:{cyan:#} {hint}")
        });
    }

    /// Shows how far work of so many steps is, which are called so, if it takes long.
    pub fn progress(&self, steps: usize, unit: &'static str) -> Progress {
        Progress::new(steps, unit, self.quiet || self.verbose || self.format != Format::Table)
    }

    /// Shows a step as the commands that it amounts to, if asked to.
    pub fn step(&self, step: &Step) {
        let dim = style::COMMAND;
        if self.verbose {
            // At once: other places' steps run meanwhile.
            let line = |(_, line): &(_, String)| format!("{dim}+ {line}{dim:#}");
            self.say(&script::step_lines(step).iter().map(line).collect::<Vec<_>>().join("\n"));
        }
    }

    /// Shows a command that is about to run, if asked to.
    pub fn command(&self, line: &str) {
        let dim = style::COMMAND;
        if self.verbose {
            self.say(&format!("{dim}+ {line}{dim:#}"));
        }
    }

    /// From now on the action log goes to this file.
    pub fn log_to(&self, path: &Path) {
        log::open(path);
    }

    /// Talk: a line for people, a line of JSON or a YAML document for programs.
    fn talk<T: Serialize>(&self, value: &T, words: impl Fn() -> String) {
        let text = match self.format {
            Format::Table => words(),
            Format::Json => serde_json::to_string(value).unwrap_or_else(|_| words()),
            Format::Yaml => serde_saphyr::to_string(value)
                .map_or_else(|_| words(), |document| format!("---\n{}", document.trim_end())),
        };
        self.say(&text);
    }

    fn say(&self, text: &str) {
        if let Err(error) = writeln!(anstream::stderr().lock(), "{text}") {
            tracing::debug!("stderr: {error}");
        }
    }
}

fn written(stdout: &mut impl Write, text: &str) -> Result<(), Failure> {
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(cannot_write(&error)),
        _ => Ok(()),
    }
}

/// Stdout takes no more.
pub fn cannot_write(error: &io::Error) -> Failure {
    Failure::new(Kind::Host, format!("cannot write to stdout: {error}"))
        .hint("what was to be done is done, but for its output: make room, or send it elsewhere")
}

/// A table without frames: columns under their headings.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    // Colours are in the text whatever it is printed on, and taken out where it is printed.
    table
        .enforce_styling()
        .set_header(headings.iter().map(|heading| Cell::new(heading).add_attribute(Attribute::Bold)));
    for row in rows {
        table.add_row(row.into_iter().map(cell));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines();
    lines.map(|line| trimmed(&line) + "\n").collect()
}

/// A line without the spaces at its end, which may stand before the end of a colour.
fn trimmed(line: &str) -> String {
    let line = line.trim_end();
    match line.rfind('\u{1b}').map(|start| line.split_at(start)) {
        Some((text, end)) if end.ends_with('m') && !end.contains(' ') => trimmed(text) + end,
        _ => line.to_owned(),
    }
}

fn cell(text: String) -> Cell {
    match style::tone(&text) {
        Tone::Good => Cell::new(text).fg(Color::DarkGreen),
        Tone::Bad => Cell::new(text).fg(Color::DarkRed),
        Tone::Plain => Cell::new(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tables_colours_take_no_room() {
        let rows = [["vpc1", "ok"], ["a-longer-one", "2 of 9 wrong"]].map(|row| row.map(str::to_owned).to_vec());
        let coloured = table(&["VPC", "KERNEL"], rows);
        assert!(coloured.contains("\u{1b}[1mVPC"), "{coloured:?}");
        let plain = anstream::adapter::strip_str(&coloured).to_string();
        assert_eq!(plain, "VPC           KERNEL\nvpc1          ok\na-longer-one  2 of 9 wrong\n");
    }
}
