//! Every accepted spelling of commands and flags, as data, and the two functions that read it: one rewrites a command line
//! before it is parsed, one gives the parser's flags their other names.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::{Arg, Command, Error};

/// Commands, each with its other spellings: one word, or a noun and a verb.
pub const COMMANDS: &[(&str, &[&str])] = &[
    ("create-vpc", &["vpc create", "vpc add"]),
    ("delete-vpc", &["teardown-vpc", "remove-vpc", "vpc delete", "vpc remove", "vpc teardown"]),
    ("add-subnet", &["create-subnet", "subnet add", "subnet create"]),
    ("delete-subnet", &["remove-subnet", "subnet delete", "subnet remove"]),
    ("add-instance", &["create-instance", "instance add", "instance create"]),
    ("delete-instance", &["remove-instance", "instance delete", "instance remove"]),
    ("enable-nat", &["nat enable"]),
    ("disable-nat", &["nat disable"]),
    ("peer", &["peer-vpcs", "peer create", "peer add", "vpc peer"]),
    ("unpeer", &["unpeer-vpcs", "peer delete", "peer remove", "vpc unpeer"]),
    ("allow-cidr", &["peer allow"]),
    ("apply-policy", &["apply-firewall", "firewall apply", "policy apply"]),
    ("remove-policy", &["remove-firewall", "firewall remove", "policy remove"]),
    ("deploy-app", &["deploy-http", "deploy-webserver", "deploy app", "deploy http", "deploy webserver", "app deploy"]),
    ("list-apps", &["app list"]),
    ("stop-app", &["app stop"]),
    ("list", &["list-vpcs", "vpc list"]),
    ("inspect", &["inspect-vpc", "vpc inspect", "vpc show"]),
    ("cleanup-all", &["cleanup"]),
];

/// For every command that has the flag.
const ANY: &[&str] = &[];

/// Flags, each with its other names: of which commands, the flag, the names.
pub const FLAGS: &[(&[&str], &str, &[&str])] = &[
    (ANY, "interface", &["wan", "internet-interface", "public-interface"]),
    (ANY, "policy", &["file", "policy-file"]),
    (ANY, "vpc1", &["vpc-a", "a"]),
    (ANY, "vpc2", &["vpc-b", "b"]),
    (ANY, "src", &["source"]),
    (ANY, "dst", &["destination"]),
    (&["create-vpc", "delete-vpc", "inspect"], "name", &["vpc"]),
    (&["add-subnet", "delete-subnet"], "name", &["subnet"]),
    (&["add-instance", "delete-instance"], "name", &["instance"]),
];

/// The flags that name the two VPCs of a peering: with one of them, no VPC is named by place.
const PAIR_FLAGS: [&str; 3] = ["vpc1", "vpc2", "bridge-a"];

/// Gives a command's flags, and those of its subcommands, their other names.
pub fn with_flags(command: Command) -> Command {
    let name = command.get_name().to_owned();
    let own = |arg: &Arg| {
        arg.get_long()
            .into_iter()
            .chain(arg.get_all_aliases().unwrap_or_default())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let taken: Vec<String> = command.get_arguments().flat_map(own).collect();
    let aliases = |arg: &Arg| {
        let long = arg.get_long().unwrap_or_default().to_owned();
        let fits = |of: &[&str], flag: &str| flag == long && (of.is_empty() || of.contains(&&*name));
        let names = FLAGS.iter().filter(move |(of, flag, _)| fits(of, flag)).flat_map(|(_, _, names)| *names);
        names.copied().filter(|name| !taken.iter().any(|taken| taken == name)).collect::<Vec<&'static str>>()
    };
    command
        .mut_args(|arg| {
            let aliases = aliases(&arg);
            arg.visible_aliases(aliases)
        })
        .mut_subcommands(with_flags)
}

/// The options of every command, which may stand before the command's name.
pub struct Options {
    shorts: Vec<(char, bool)>,
    longs: Vec<(String, bool)>,
}

impl Options {
    /// The options of the whole program.
    pub fn of(command: &Command) -> Options {
        let takes_value = |arg: &Arg| arg.get_action().takes_values();
        let short = |arg: &Arg| arg.get_short().map(|short| (short, takes_value(arg)));
        let long = |arg: &Arg| arg.get_long().map(|long| (long.to_owned(), takes_value(arg)));
        let args: Vec<&Arg> = command.get_arguments().collect();
        Options {
            shorts: args.iter().copied().filter_map(short).collect(),
            longs: args.iter().copied().filter_map(long).collect(),
        }
    }

    /// How many words an option takes up; nothing where the word is no option of every command's.
    fn length(&self, word: &str) -> Option<usize> {
        if let Some(long) = word.strip_prefix("--") {
            let (name, value) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
            let (_, takes_value) = self.longs.iter().find(|(long, _)| long == name)?;
            return Some(if *takes_value && value.is_none() { 2 } else { 1 });
        }
        let cluster: Vec<char> = word.strip_prefix('-')?.chars().collect();
        for (i, letter) in cluster.iter().enumerate() {
            let (_, takes_value) = self.shorts.iter().find(|(short, _)| short == letter)?;
            if *takes_value {
                return Some(if i + 1 == cluster.len() { 2 } else { 1 });
            }
        }
        (!cluster.is_empty()).then_some(1)
    }

    /// The first word from `start` on that is no option.
    pub fn next_word(&self, words: &[OsString], start: usize) -> Option<usize> {
        let mut at = start;
        while let Some(length) = self.length(words.get(at)?.to_str().unwrap_or_default()) {
            at += length;
        }
        words.get(at).map(|_| at)
    }
}

/// The command line with the command's own name in place of another spelling. What follows the name is left as it is.
pub fn canonical(mut words: Vec<OsString>, options: &Options) -> Vec<OsString> {
    let Some(mut noun) = options.next_word(&words, 1) else {
        return words;
    };
    if words[noun] == "help" {
        let Some(next) = options.next_word(&words, noun + 1) else {
            return words;
        };
        noun = next;
    }
    let verb = options.next_word(&words, noun + 1);
    let pair = verb.and_then(|verb| Some((verb, format!("{} {}", words[noun].to_str()?, words[verb].to_str()?))));
    if let Some((verb, pair)) = pair
        && let Some(command) = command_of(&pair)
        && (!is_command(&words[noun]) || needs_noun(&words[verb + 1..]))
    {
        words.remove(verb);
        words[noun] = command.into();
        return words;
    }
    if let Some(command) = words[noun].to_str().and_then(command_of) {
        words[noun] = command.into();
    }
    words
}

fn command_of(spelling: &str) -> Option<&'static str> {
    COMMANDS.iter().find(|(_, spellings)| spellings.contains(&spelling)).map(|(command, _)| *command)
}

/// Is the word a command of its own, as in `peer create`, where `create` may be a VPC's name?
fn is_command(word: &OsString) -> bool {
    COMMANDS.iter().any(|(command, _)| word == command)
}

/// After `peer create`: would these words make no sense if `create` were a VPC's name?
fn needs_noun(rest: &[OsString]) -> bool {
    let words: Vec<&str> = rest.iter().map(|word| word.to_str().unwrap_or_default()).collect();
    let names =
        |flag: &str, word: &str| word.strip_prefix("--").is_some_and(|long| long.split('=').next() == Some(flag));
    let aliases = FLAGS.iter().filter(|(_, flag, _)| PAIR_FLAGS.contains(flag)).flat_map(|(_, _, names)| *names);
    let flags: Vec<&str> = PAIR_FLAGS.iter().chain(aliases).chain(&["bridge-b", "src"]).copied().collect();
    let by_place = words.iter().take(2).filter(|word| !word.starts_with('-')).count();
    by_place == 2 || words.iter().any(|word| flags.iter().any(|flag| names(flag, word)))
}

/// How alike an unknown word and a spelling have to be, from 0 to 1.
const ALIKE: f64 = 0.8;

/// How many commands are offered in place of an unknown one.
const OFFERED: usize = 3;

/// The error about an unknown command, with the commands that may be meant: by their own names, the likeliest first.
pub fn with_meant(mut error: Error, command: &Command) -> Error {
    if let Some(ContextValue::String(typed)) = error.get(ContextKind::InvalidSubcommand) {
        let meant = meant(typed, command);
        error.remove(ContextKind::SuggestedSubcommand);
        if !meant.is_empty() {
            error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(meant));
        }
    }
    error
}

/// The visible commands with a spelling like this one, or, for a noun, those with a spelling of which it is the noun.
fn meant(typed: &str, command: &Command) -> Vec<String> {
    let visible: Vec<&str> =
        command.get_subcommands().filter(|known| !known.is_hide_set()).map(Command::get_name).collect();
    let spellings =
        |name: &'static str, others: &'static [&'static str]| [name].into_iter().chain(others.iter().copied());
    let known =
        COMMANDS.iter().flat_map(|(name, others)| spellings(name, others).map(move |spelling| (spelling, *name)));
    let known: Vec<(&str, &str)> = known.chain(visible.iter().map(|name| (*name, *name))).collect();
    let of_noun = known.iter().filter(|(spelling, _)| spelling.split_once(' ').is_some_and(|(noun, _)| noun == typed));
    let mut found: Vec<(f64, &str)> = of_noun.map(|(_, name)| (1.0, *name)).collect();
    if found.is_empty() {
        found = known.iter().map(|(spelling, name)| (strsim::jaro_winkler(typed, spelling), *name)).collect();
        found.retain(|(alike, _)| *alike > ALIKE);
        found.sort_by(|one, other| other.0.total_cmp(&one.0));
    }
    let mut names: Vec<String> = Vec::new();
    for (_, name) in found {
        if visible.contains(&name) && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names.truncate(OFFERED);
    names
}

#[cfg(test)]
mod tests;
