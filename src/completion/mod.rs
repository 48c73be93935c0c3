//! What a shell offers after `vpcctl … <TAB>`. `COMPLETE=bash vpcctl` prints what a shell has to source; that asks this
//! program again, at each TAB.
//!
//! Completers are attached here, by walking the command line's definitions: what a value is called there (`VPC`,
//! `VPC/SUBNET[/INSTANCE]`, `FILE`) says what it is completed to, so that a command says nothing about completion.
//! The names are read from the state file without a lock, and guessed from the namespaces where only root may read it.
//! No process is started, nothing is written, and what fails is silent: a TAB is no place for an error.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Arg, Command, CommandFactory};
use clap_complete::CompleteEnv;
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate, PathCompleter, ValueCompleter};
use clap_complete::env::Shells;

use crate::cli::Cli;
use crate::completion::names::Names;
use crate::completion::place::Place;
use crate::host::namespace::NETNS_DIR;
use crate::store::{DEFAULT_DIR, Store};

pub mod names;
pub mod place;

/// The variable in which a shell that asks for completion says which one it is.
pub const VARIABLE: &str = "COMPLETE";

/// Where the kernel lists the host's interfaces.
const INTERFACES: &str = "/sys/class/net";

/// Answers a shell that asks for completion; nothing where none does.
pub fn answer() -> Option<ExitCode> {
    let shell = PathBuf::from(std::env::var_os(VARIABLE)?);
    Shells::builtins().completer(shell.file_stem()?.to_str()?)?;
    let here = std::env::current_dir().ok();
    let answered = CompleteEnv::with_factory(command).var(VARIABLE).try_complete(std::env::args_os(), here.as_deref());
    Some(if answered.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The command line, with a completer for each value whose name says what it is.
fn command() -> Command {
    let command = Cli::command();
    let switches = Arc::new(switches(&command));
    attach(command, &switches)
}

fn attach(command: Command, switches: &Arc<BTreeSet<String>>) -> Command {
    let name = command.get_name().to_owned();
    let command = command.mut_args(|arg| with_completer(arg, &name, switches));
    command.mut_subcommands(|command| attach(command, switches))
}

fn with_completer(arg: Arg, command: &str, switches: &Arc<BTreeSet<String>>) -> Arg {
    let names = arg.get_value_names().unwrap_or_default();
    let places: Vec<Place> = names.iter().map(|name| Place::of(name, command)).collect();
    if places.iter().all(|place| *place == Place::Other) {
        return arg;
    }
    let several = arg.get_num_args().is_some_and(|range| range.max_values() > 1);
    arg.add(ArgValueCompleter::new(Values { places, several, switches: Arc::clone(switches) }))
}

/// The flags of all commands that have no value: the word after one of them is another argument's.
fn switches(command: &Command) -> BTreeSet<String> {
    let own = command.get_arguments().filter(|arg| !arg.get_action().takes_values()).flat_map(|arg| {
        let short = arg.get_short().map(|short| format!("-{short}"));
        short.into_iter().chain(arg.get_long().map(|long| format!("--{long}")))
    });
    own.chain(command.get_subcommands().flat_map(switches)).collect()
}

/// The values of one argument.
struct Values {
    /// What each of them is, in order.
    places: Vec<Place>,
    /// It takes more than one.
    several: bool,
    switches: Arc<BTreeSet<String>>,
}

impl ValueCompleter for Values {
    fn complete(&self, current: &OsStr) -> Vec<CompletionCandidate> {
        let request = Request::of_shell();
        // The engine's own count of an argument's values is one behind.
        let given = if self.several { request.words_apart(&self.switches) } else { &[] };
        let (Some(Place::Path { most, .. }), false) = (self.places.first(), given.is_empty()) else {
            let place = self.places.get(given.len()).unwrap_or(&Place::Other);
            return complete(place, &request, current);
        };
        // The parts of a path may stand apart: it may go on here, or the next value begin.
        let path: Vec<String> = given.join("/").split('/').map(str::to_owned).collect();
        let parts = if path.len() < *most { request.names().below(&path, text(current)) } else { Vec::new() };
        let next = self.places[1..].iter().flat_map(|place| complete(place, &request, current));
        candidates(parts).into_iter().chain(next).collect()
    }
}

fn complete(place: &Place, request: &Request, current: &OsStr) -> Vec<CompletionCandidate> {
    let word = text(current);
    match place {
        Place::Vpc => candidates(request.names().vpcs(word)),
        Place::Subnet => candidates(request.names().subnets(&request.before, word)),
        Place::Instance => candidates(request.names().instances(&request.before, word)),
        Place::Path { least, most } => candidates(request.names().paths(word, *least, *most)),
        Place::Interface => candidates(entries(Path::new(INTERFACES)).filter(|name| name.starts_with(word))),
        Place::File => PathCompleter::file().complete(current),
        Place::Dir => PathCompleter::dir().complete(current),
        Place::Other => Vec::new(),
    }
}

fn candidates(words: impl IntoIterator<Item = String>) -> Vec<CompletionCandidate> {
    words.into_iter().map(CompletionCandidate::new).collect()
}

/// A word that isn't text is no beginning of a name.
fn text(word: &OsStr) -> &str {
    word.to_str().unwrap_or("\0")
}

/// What has been typed before the word that is to be completed.
struct Request {
    before: Vec<String>,
}

impl Request {
    /// Shells pass the words after `--`, and which of them it is about; it is the last unless they say so.
    fn of_shell() -> Self {
        let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
        let mut words: Vec<String> = words.map(|word: OsString| word.to_string_lossy().into_owned()).collect();
        let index = std::env::var("_CLAP_COMPLETE_INDEX").ok().and_then(|index| index.parse().ok());
        words.truncate(index.unwrap_or(words.len().saturating_sub(1)));
        Request { before: words }
    }

    /// The words by place that stand together before the one that is to be completed.
    fn words_apart(&self, switches: &BTreeSet<String>) -> &[String] {
        let is_flag = |word: &String| word.starts_with('-');
        // The program and the command come first.
        let words = self.before.get(2..).unwrap_or_default();
        let Some(flag) = words.iter().rposition(is_flag) else { return words };
        let has_value = !words[flag].contains('=') && !switches.contains(&words[flag]);
        words.get(flag + 1 + usize::from(has_value)..).unwrap_or_default()
    }

    /// The names there are: those of the state or, for want of a right to read it, of the namespaces.
    fn names(&self) -> Names {
        match Store::new(self.state_dir()).load() {
            Ok(state) => Names::of_state(&state),
            // The directory is for root alone; what namespaces are called is not.
            Err(_) => Names::of_namespaces(entries(Path::new(NETNS_DIR))),
        }
    }

    fn state_dir(&self) -> PathBuf {
        let flag = place::value_of("--state-dir", &self.before).map(PathBuf::from);
        let variable = || std::env::var_os("VPCCTL_STATE_DIR").map(PathBuf::from);
        flag.or_else(variable).unwrap_or_else(|| DEFAULT_DIR.into())
    }
}

/// The names of a directory's entries; none where it can't be read.
fn entries(dir: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}
