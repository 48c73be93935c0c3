//! The colours: of talk, of headings, of states. They reach a terminal only; elsewhere they are taken out again.

use anstyle::{AnsiColor, Style};

/// What is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Before an error.
pub const ERROR: Style = AnsiColor::Red.on_default().bold();
/// Before a hint.
pub const HINT: Style = AnsiColor::Cyan.on_default();
/// Before a note.
pub const NOTE: Style = AnsiColor::Yellow.on_default();
/// Headings of tables and of the help.
pub const HEADING: Style = Style::new().bold();
/// What is to be typed.
pub const LITERAL: Style = Style::new().bold();
/// A command that is about to run.
pub const COMMAND: Style = Style::new().dimmed();

/// How the words of a state sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Not as it should be.
    Bad,
    /// Neither.
    Plain,
}

/// Words that are good news, alone in a table's cell.
const GOOD_WORDS: [&str; 6] = ["ok", "pass", "passed", "running", "reachable", "yes"];

/// Words that are bad news, at the end of a table's cell.
const BAD_WORDS: [&str; 10] =
    ["wrong", "missing", "gone", "fail", "failed", "stopped", "unreachable", "dead", "no", "drop"];

/// The tone of a table's cell.
pub fn tone(cell: &str) -> Tone {
    if GOOD_WORDS.contains(&cell) {
        Tone::Good
    } else if cell.split(' ').next_back().is_some_and(|last| BAD_WORDS.contains(&last)) {
        Tone::Bad
    } else {
        Tone::Plain
    }
}

/// A state's words in the colour of their tone.
pub fn toned(words: &str) -> String {
    let style = match tone(words) {
        Tone::Good => GOOD,
        Tone::Bad => AnsiColor::Red.on_default(),
        Tone::Plain => Style::new(),
    };
    format!("{style}{words}{style:#}")
}

/// From now on colours are printed on terminals, always or never.
pub fn choose(choice: clap::ColorChoice) {
    let choice = match choice {
        clap::ColorChoice::Auto => anstream::ColorChoice::Auto,
        clap::ColorChoice::Always => anstream::ColorChoice::AlwaysAnsi,
        clap::ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}
