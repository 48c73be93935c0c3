//! What is written about the program from its own definitions: man pages, completions, the reference, JSON Schemas. Pure:
//! definitions in, text out. A test fails where `docs/` isn't what comes out here.

use clap::ValueEnum;

pub mod completions;
pub mod man;
pub mod markdown;
pub mod program;
pub mod schema;

/// A file that is generated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Its name, without a directory.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// What can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Man pages, one for each command.
    Man,
    /// Completions for bash, zsh and fish.
    Completions,
    /// The reference of commands, exit codes and variables, in Markdown.
    Reference,
    /// JSON Schemas of policy files, the state file and the output.
    Schema,
}

impl Kind {
    /// The files of this kind.
    ///
    /// # Errors
    /// A text can't be rendered, which is a defect.
    pub fn files(self) -> anyhow::Result<Vec<File>> {
        match self {
            Kind::Man => man::files(),
            Kind::Completions => completions::files(),
            Kind::Reference => Ok(vec![markdown::file()]),
            Kind::Schema => schema::files(),
        }
    }
}
