//! The benchmarks: what runs where.

mod floor;
mod networks;

use std::ffi::OsString;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

/// What the sandbox sets for everything in it.
const SANDBOX_VARIABLE: &str = vpcctl::sandbox::SANDBOX_VARIABLE;

/// Runs the benchmarks that `words` ask for. They run in a sandbox, which this program enters by starting itself there with the
/// words `again` before its own.
pub fn main(words: Vec<String>, again: &[&str]) -> ExitCode {
    let result = if std::env::var_os(SANDBOX_VARIABLE).is_some() { inside(&words) } else { enter(&words, again) };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn enter(words: &[String], again: &[&str]) -> Result<ExitCode> {
    let this = std::env::current_exe()?;
    let own = again.iter().map(OsString::from).chain(words.iter().map(OsString::from));
    let status = Command::new(env!("CARGO_BIN_EXE_vpcctl")).args(["sandbox", "--"]).arg(this).args(own).status();
    let code = status.context("cannot start vpcctl")?.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

fn inside(words: &[String]) -> Result<ExitCode> {
    for (name, state) in
        [("1x2", networks::first_steps()?), ("10x10", networks::grid(10, 10)?), ("100x10", networks::grid(100, 10)?)]
    {
        if !words.is_empty() && !words.iter().any(|w| w == name) {
            continue;
        }
        let make = floor::Floor::making(&state)?;
        let unmake = floor::Floor::unmaking(&state)?;
        let times = if name == "100x10" { 2 } else { 5 };
        for _ in 0..times {
            floor::settle()?;
            let made = make.run()?;
            let dir = std::env::temp_dir().join(format!("bench-{}", std::process::id()));
            let store = vpcctl::store::Store::new(&dir);
            store.prepare()?;
            std::fs::write(
                dir.join("state.json"),
                serde_json::to_string(&vpcctl::store::Document::new("bench", &state, Default::default()))?,
            )?;
            let checked =
                Command::new(env!("CARGO_BIN_EXE_vpcctl")).args(["check", "-q", "--state-dir"]).arg(&dir).output()?;
            std::fs::remove_dir_all(&dir)?;
            let gone = unmake.run()?;
            println!(
                "{name}: make {made:?} ({} processes), unmake {gone:?} ({}), check {:?} {}",
                make.processes(),
                unmake.processes(),
                checked.status.code(),
                String::from_utf8_lossy(&checked.stderr)
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
