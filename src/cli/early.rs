//! What has to be known of a command line before it is read, or though it can't be read: how to speak about it.

use std::ffi::OsString;

use clap::{ColorChoice, ValueEnum};

use crate::ui::Format;

/// The format of data and errors.
pub fn format(words: &[OsString]) -> Format {
    wanted(words, "output", Some('o'), "VPCCTL_OUTPUT")
}

/// When to print in colours.
pub fn color(words: &[OsString]) -> ColorChoice {
    wanted(words, "color", None, "VPCCTL_COLOR")
}

/// Were all notes forgone?
pub fn quiet(words: &[OsString]) -> bool {
    options(words).any(|word| word == "-q" || word == "--quiet")
}

fn wanted<T: ValueEnum + Default>(words: &[OsString], long: &str, short: Option<char>, variable: &str) -> T {
    let from_environment = || std::env::var(variable).ok();
    let value = option(words, long, short).or_else(from_environment);
    value.and_then(|value| T::from_str(&value, false).ok()).unwrap_or_default()
}

/// The words that may be options: those before `--`.
fn options(words: &[OsString]) -> impl Iterator<Item = &str> {
    words.iter().skip(1).map(|word| word.to_str().unwrap_or_default()).take_while(|word| *word != "--")
}

/// The last value of an option, written `--long=value`, `--long value`, `-s value`, `-svalue` or `-s=value`.
fn option(words: &[OsString], long: &str, short: Option<char>) -> Option<String> {
    let mut found = None;
    let mut words = options(words);
    while let Some(word) = words.next() {
        let value = match (word.strip_prefix("--"), word.strip_prefix('-')) {
            (Some(name), _) => name.strip_prefix(long).and_then(|rest| value(rest, '=')),
            (None, Some(cluster)) => short.and_then(|short| cluster.split_once(short)).and_then(|(before, rest)| {
                before.chars().all(|letter| "qv".contains(letter)).then_some(Some(rest).filter(|rest| !rest.is_empty()))
            }),
            (None, None) => None,
        };
        found = match value {
            None => found,
            Some(Some(value)) => Some(value.trim_start_matches('=').to_owned()),
            Some(None) => words.next().map(str::to_owned),
        };
    }
    found
}

/// What follows a flag's name: nothing where it is another flag's, else its value if it stands in the same word.
fn value(rest: &str, sign: char) -> Option<Option<&str>> {
    if rest.is_empty() { Some(None) } else { rest.strip_prefix(sign).map(Some) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Format {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        option(&words, "output", Some('o')).and_then(|value| Format::from_str(&value, false).ok()).unwrap_or_default()
    }

    #[test]
    fn the_format_is_found_in_each_spelling() {
        for line in ["v -o json", "v list -ojson", "v -o=json x", "v --output=json", "v --output json", "v -qo json"] {
            assert_eq!(read(line), Format::Json, "{line}");
        }
        for line in
            ["v list", "v -- -o json", "v -o jsn", "v --outputs json", "v -o", "v -o json -o table", "v --o json"]
        {
            assert_eq!(read(line), Format::Table, "{line}");
        }
    }
}
