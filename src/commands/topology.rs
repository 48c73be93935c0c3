//! What `plan`, `apply`, `destroy` and `test` share: the topology file, read and checked before any process starts.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use clap::Args;
use rustix::fs::OFlags;

use crate::app::confine;
use crate::commands::args::{PoolArg, one};
use crate::confirm;
use crate::error::{Failure, Result};
use crate::model::app::UserName;
use crate::model::changes::{self, Change};
use crate::model::cidr::Cidr;
use crate::model::facts::HostFacts;
use crate::model::policy_file::MAX_FILE_BYTES;
use crate::model::state::State;
use crate::model::topology_file::{AppEntry, Expectation, Misfit, Selection, Source, Topology, Want};
use crate::plan::subject::Subject;
use crate::session::Session;

/// How many objects a note names.
const NAMED: usize = 5;

/// A topology file, by place or as `--file`.
#[derive(Debug, Args)]
pub struct FileArg {
    /// The topology file
    #[arg(value_name = "FILE")]
    by_place: Option<PathBuf>,
    /// The topology file, YAML or JSON; - is standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// What is to be made so: `plan` and `apply` take the same.
#[derive(Debug, Args)]
pub struct WantArgs {
    #[command(flatten)]
    file: FileArg,
    /// Also remove what the file doesn't have
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    pool: PoolArg,
}

impl WantArgs {
    /// The file, with all that it names.
    pub fn load(&self, interrupted: &AtomicBool) -> Result<Described> {
        self.file.load(interrupted)
    }

    /// What of it is wanted.
    pub fn want<'a>(&self, described: &'a Described) -> Want<'a> {
        Want { topology: &described.topology, prune: self.prune, pool: self.pool.uplink_pool }
    }
}

/// A topology and where it comes from.
#[derive(Debug)]
pub struct Described {
    source: Source,
    /// What the file says.
    pub topology: Topology,
}

impl FileArg {
    /// The topology as it is written, without the files that it names.
    pub fn parse(&self, interrupted: &AtomicBool) -> Result<Described> {
        let file = one("topology file", self.by_place.as_deref(), self.file.as_deref())?;
        let source = read(file, interrupted)?;
        let described = Described { topology: source.parse()?, source };
        described.expectations()?;
        Ok(described)
    }

    /// The topology with its policies, and its apps' directories as absolute paths.
    pub fn load(&self, interrupted: &AtomicBool) -> Result<Described> {
        let Described { source, mut topology } = self.parse(interrupted)?;
        let base = self.base();
        let policies = topology.load_policies(&|path| read_policy(&base.join(path), interrupted));
        let apps = policies.and_then(|()| topology.each_app(&|app| settle(app, &base)));
        apps.map_err(|Misfit { path, failure }| source.at(&path, failure))?;
        if self.path().is_some() {
            topology.name_policies(&source.name);
        }
        Ok(Described { source, topology })
    }

    /// The directory that paths in the file start from.
    fn base(&self) -> PathBuf {
        self.path().and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
    }

    /// Its path, unless it is standard input.
    fn path(&self) -> Option<&Path> {
        self.by_place.as_deref().or(self.file.as_deref()).filter(|file| *file != Path::new("-"))
    }
}

impl Described {
    /// The file's name, for messages.
    pub fn name(&self) -> &str {
        &self.source.name
    }

    /// What it expects, and of whom; a line that names what the file doesn't have is put down to its place.
    pub fn expectations(&self) -> Result<Vec<(&Expectation, [Selection; 2])>> {
        self.topology.selections().map_err(|Misfit { path, failure }| self.source.at(&path, failure))
    }

    /// The edit of the state; what can't be is put down to a place in the file.
    pub fn edit(&self, want: &Want<'_>, state: &mut State, facts: &HostFacts) -> Result<()> {
        want.edit(state, facts).map_err(|Misfit { path, failure }| self.source.at(&path, failure))
    }

    /// Refuses what would be wrong on any host. What a command that was cut off, or is under way, makes of the state is not
    /// known yet.
    pub fn check(&self, session: &Session<'_>, want: &Want<'_>, state: &State) -> Result<()> {
        if session.store.intent()?.is_some() {
            return Ok(());
        }
        self.edit(want, &mut state.clone(), &self.topology.ideal_host(state))
    }

    /// What the edit has to know of the host.
    pub fn facts(&self, session: &Session<'_>, state: &State, pool: Cidr) -> Result<HostFacts> {
        if self.topology.adds_nat(state) { session.facts_with_barriers(state, pool) } else { session.facts(state) }
    }

    /// Whose objects are looked after: all that the file names.
    pub fn subject(&self, state: &State) -> Subject {
        let named: std::collections::BTreeSet<_> = self.topology.vpcs.iter().map(|vpc| &vpc.name).collect();
        // To ask of each object whether it is meant costs more than to mean all.
        if state.vpcs.keys().all(|name| named.contains(name)) {
            return Subject::Everything;
        }
        Subject::Of(self.topology.owners())
    }
}

/// What the edit does away with and only `--prune` would.
pub fn kept(want: &Want<'_>, old: &State, new: &State, facts: &HostFacts) -> Vec<String> {
    let mut pruned = old.clone();
    if want.prune || (Want { prune: true, ..*want }).edit(&mut pruned, facts).is_err() {
        return Vec::new();
    }
    changes::between(new, &pruned, "").into_iter().map(|Change { object, .. }| object).collect()
}

/// Tells what stays although the file doesn't have it.
pub fn note_kept(session: &Session<'_>, kept: &[String]) {
    let more = if kept.len() > NAMED { format!(" and {} more", kept.len() - NAMED) } else { String::new() };
    if !kept.is_empty() {
        let named = kept[..kept.len().min(NAMED)].join(", ");
        session.ui.note(&format!("not as in the file, and left so without --prune: {named}{more}"));
    }
}

/// Why something goes.
pub fn reason(want: &Want<'_>) -> &'static str {
    if want.prune { "not in the file (--prune)" } else { "the file says so" }
}

/// An app's user is there, and so is its directory.
fn settle(app: &mut AppEntry, base: &Path) -> Result<()> {
    confine::user(&app.user.clone().unwrap_or_else(UserName::nobody))?;
    let directory = match &app.directory {
        None if app.command.is_empty() => return Ok(()),
        None => Path::new(".").join(base),
        Some(directory) => Path::new(".").join(base).join(directory),
    };
    let refuse = |why: &str| {
        Failure::usage(format!("cannot run in `{}`: {why}", directory.display()))
            .hint("name a directory that exists: `directory: /srv`")
    };
    let absolute = directory.canonicalize().map_err(|error| refuse(&error.to_string()))?;
    let text = absolute.to_str().filter(|_| absolute.is_dir());
    app.directory = Some(text.ok_or_else(|| refuse("it is no directory with a name in UTF-8"))?.to_owned());
    Ok(())
}

fn read(path: &Path, interrupted: &AtomicBool) -> Result<Source> {
    if path == Path::new("-") {
        let stdin = io::stdin().as_fd().try_clone_to_owned();
        return text("standard input", stdin.map(File::from), interrupted).map_err(from_anywhere);
    }
    // A FIFO that nobody writes to would be waited for without an end.
    let opened = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path);
    text(&path.display().to_string(), opened, interrupted).map_err(from_anywhere)
}

fn from_anywhere(failure: Failure) -> Failure {
    if failure.hint.is_some() { failure } else { failure.hint("name a topology file, or - for standard input") }
}

fn read_policy(path: &Path, interrupted: &AtomicBool) -> Result<Source> {
    let name = path.display().to_string();
    let hint = "a policy's path starts from the directory of the topology file";
    let metadata = path.metadata().map_err(|error| unreadable(&name, &error).hint(hint))?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!("`{name}` is not a file")).hint("write the policy into a file first"));
    }
    text(&name, File::open(path), interrupted)
        .map_err(|failure| if failure.hint.is_some() { failure } else { failure.hint(hint) })
}

/// All of a text, as much of it as may be, unless a signal comes first.
fn text(name: &str, opened: io::Result<File>, interrupted: &AtomicBool) -> Result<Source> {
    let mut file = opened.map_err(|error| unreadable(name, &error))?;
    let (mut bytes, mut part) = (Vec::new(), vec![0; 1 << 16]);
    while bytes.len() as u64 <= MAX_FILE_BYTES {
        confirm::wait_for(&file, interrupted)?;
        match file.read(&mut part) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&part[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(unreadable(name, &error)),
        }
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| Failure::usage(format!("`{name}` is not UTF-8 text")).hint("write it in UTF-8"))?;
    Ok(Source { name: name.to_owned(), text })
}

fn unreadable(name: &str, error: &io::Error) -> Failure {
    Failure::usage(format!("cannot read `{name}`: {error}"))
}
