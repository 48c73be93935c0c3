//! `vpcctl generate`.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::{Failure, Kind};
use crate::reference::{self, File};
use crate::session::Session;

/// Write what packages and documents are made of
///
/// From the program's own definitions.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl generate man --out man1\n  vpcctl generate reference --out docs")]
pub struct Generate {
    /// What to write
    #[arg(value_name = "WHAT")]
    what: reference::Kind,
    /// Where to write it
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Generate {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let files = self.what.files()?;
        if session.dry_run {
            let paths = files.iter().map(|file| format!("{}\n", self.out.join(&file.name).display()));
            return Ok(session.ui.data(&paths.collect::<String>())?);
        }
        files.iter().try_for_each(|file| write(&self.out, file))?;
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        session.ui.done(&format!("wrote to {}: {}", self.out.display(), names.join(", ")));
        Ok(())
    }
}

fn write(dir: &Path, file: &File) -> Result<(), Failure> {
    let path = dir.join(&file.name);
    fs::create_dir_all(dir)
        .and_then(|()| fs::write(&path, &file.text))
        .map_err(|error| Failure::new(Kind::Host, format!("cannot write `{}`: {error}", path.display())))
}
