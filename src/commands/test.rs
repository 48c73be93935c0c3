//! `vpcctl test`.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::commands::args::SendingArgs;
use crate::commands::topology::FileArg;
use crate::error::{Failure, Kind, Result};
use crate::inquiry::Ground;
use crate::own_file;
use crate::session::Session;
use crate::verification::{self, Checked};
use crate::view;

/// The exit code where something is not as expected: an answer, as 0 is.
const NOT_AS_EXPECTED: u8 = 1;

/// The mode of a file of results: whoever reads a CI job's may read it.
const MODE: u32 = 0o644;

/// Check the network against a file's expectations
///
/// Each line of `expect:` in a topology file, such as `vpc1/web -> vpc1/db:5432 allow` or `dev -> prod deny`, for each two instances that
/// it stands for: by the model, and by packets. Where nobody listens, vpcctl does, as long as that takes. For an answer from this machine
/// that is not to come it waits a moment only. The exit code is 0 if all is as expected, 1 if not, or if nothing was checked: the
/// file has no `expect:`, or a line stands for nobody.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl test -f net.yaml
  vpcctl test -f net.yaml --junit reachability.xml
  vpcctl test -f net.yaml --no-probe -o json")]
pub struct Test {
    #[command(flatten)]
    file: FileArg,
    /// Also write the results as JUnit XML into this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    #[command(flatten)]
    sending: SendingArgs,
}

impl Test {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<u8> {
        let described = self.file.parse(session.interrupted)?;
        let lines = described.expectations()?;
        let junit = self.junit.as_deref().filter(|_| !session.dry_run);
        let junit = junit.map(|path| std::path::absolute(path).map_err(|error| unwritten(path, &error))).transpose()?;
        junit.as_deref().map_or(Ok(()), make_way)?;
        let ground = Ground::look(session)?;
        let checked = verification::check(session, &ground, &lines, self.sending.get(session))?;
        let result = view::test::test(described.name(), &checked);
        session.ui.value(&result, view::test::test_text)?;
        if let Some(path) = &junit {
            write(path, &view::test::junit(&result)?)?;
        }
        if checked.is_empty() {
            session
                .ui
                .note("nothing was checked: write lines such as `vpc1/web -> vpc1/db:5432 allow` below `expect:`");
        }
        let passed = !checked.is_empty() && checked.iter().all(Checked::passed);
        Ok(if passed { 0 } else { NOT_AS_EXPECTED })
    }
}

/// Takes yesterday's results away: what is read after a failure must not be them. What is no regular file is nobody's results.
fn make_way(path: &Path) -> Result<()> {
    match path.symlink_metadata() {
        Ok(found) if !found.is_file() => {
            Err(Failure::usage(format!("`{}` is no regular file", path.display()))
                .hint("name another file for --junit"))
        }
        _ => own_file::remove(path).map_err(|error| unwritten(path, &error)),
    }
}

/// Writes the results beside their place, and puts them there whole.
fn write(path: &Path, text: &str) -> Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    own_file::replace(path, Path::new(&beside), text.as_bytes(), MODE).map_err(|error| unwritten(path, &error))
}

fn unwritten(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Kind::Host, format!("cannot write `{}`: {error}", path.display()))
        .hint("name a file in a directory that exists")
}
