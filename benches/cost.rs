//! What vpcctl costs, side by side with what the kernel asks for the same: `make bench`.

mod bench;

use std::process::{Command, ExitCode};

use anyhow::{Context, Result};

fn main() -> ExitCode {
    // Cargo adds a `--bench` of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let is_inside = std::env::var_os(vpcctl::sandbox::SANDBOX_VARIABLE).is_some();
    let result = if is_inside { bench::run(&words).map(|()| ExitCode::SUCCESS) } else { enter(&words) };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// Starts this program anew in a sandbox.
fn enter(words: &[String]) -> Result<ExitCode> {
    bench::check(words)?;
    let this = std::env::current_exe()?;
    let status = Command::new(bench::PROGRAM).args(["sandbox", "--"]).arg(this).args(words).status();
    let code = status.context("cannot start vpcctl")?.code();
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
