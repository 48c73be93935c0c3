//! The benchmarks. They change a network, and so run in a sandbox.
//!
//! They never fail for being slow: what machine they run on is unknown. They fail where something doesn't work.

mod empty_host;
mod engine;
mod floor;
mod networks;
mod program;
pub mod report;
pub mod stats;
mod traffic;
mod wire;

use std::path::PathBuf;

use anyhow::{Context, Result, bail};

pub use program::PROGRAM;
use report::Report;

/// How they are used.
const USAGE: &str = "usage: make bench [JSON=FILE] [ONLY='engine | wire'] [QUICK=1]";

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    quick: bool,
    json: Option<PathBuf>,
    engine: bool,
    wire: bool,
}

/// Refuses words that ask for nothing.
pub fn check(words: &[String]) -> Result<()> {
    Options::parse(words).map(|_| ())
}

/// Runs the benchmarks that `words` ask for; the sandbox's host is this process's.
pub fn run(words: &[String]) -> Result<()> {
    let options = Options::parse(words)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let mut report = Report::new(processors, options.quick);
    if options.engine {
        engine::run(if options.quick { &engine::QUICK } else { &engine::FULL }, &mut report)?;
    }
    if options.wire {
        wire::run(if options.quick { &wire::QUICK } else { &wire::FULL }, &mut report)?;
    }
    println!("{}{}", report.table(), report.verdict());
    if let Some(path) = &options.json {
        std::fs::write(path, serde_json::to_string_pretty(&report)? + "\n")
            .with_context(|| format!("cannot write `{}`", path.display()))?;
    }
    Ok(())
}

impl Options {
    fn parse(words: &[String]) -> Result<Self> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match word.as_str() {
                "--quick" => options.quick = true,
                "--json" => options.json = Some(words.next().context(USAGE)?.into()),
                "engine" => options.engine = true,
                "wire" => options.wire = true,
                _ => bail!(USAGE),
            }
        }
        if !(options.engine || options.wire) {
            (options.engine, options.wire) = (true, true);
        }
        Ok(options)
    }
}
