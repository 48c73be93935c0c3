//! The benchmarks. Those that change a network run in a sandbox, which this program enters by starting itself there.
//!
//! They never fail for being slow: what machine they run on is unknown. They fail where something doesn't work.

mod engine;
mod floor;
mod networks;
mod program;
pub mod report;
pub mod stats;
mod traffic;
mod wire;

use std::path::PathBuf;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use report::Report;

/// How they are used.
const USAGE: &str = "usage: cost [--quick] [--json FILE] [engine | wire]...";

/// What is asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Options {
    quick: bool,
    json: Option<PathBuf>,
    engine: bool,
    wire: bool,
}

/// Runs the benchmarks that `words` ask for. `again` are the words that make this program come here when it is started anew.
pub fn main(words: &[String], again: &[&str]) -> ExitCode {
    let is_inside = std::env::var_os(vpcctl::sandbox::SANDBOX_VARIABLE).is_some();
    let result = parse(words).and_then(|options| if is_inside { run(&options) } else { enter(words, again) });
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn parse(words: &[String]) -> Result<Options> {
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

fn enter(words: &[String], again: &[&str]) -> Result<ExitCode> {
    let this = std::env::current_exe()?;
    let mut sandbox = Command::new(program::PROGRAM);
    sandbox.args(["sandbox", "--"]).arg(this).args(again).args(words);
    let status = sandbox.status().context("cannot start vpcctl")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

fn run(options: &Options) -> Result<ExitCode> {
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
    Ok(ExitCode::SUCCESS)
}
