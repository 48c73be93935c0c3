//! vpcctl builds virtual private clouds on one Linux host out of kernel primitives: network namespaces, bridges, veth pairs,
//! routes, iptables. It is a command line tool; this library is its inside, for its own tests and benchmarks.
//!
//! The way of a command, and the rooms it passes:
//!
//! ```text
//! parse ─► lock, load ─► edit the state ─► plan = ops(old) against ops(new) ─► write the intent ─► run ─► commit ─► report
//! cli      session        model::edit       plan::topology, plan::firewall      store              host    store     ui
//! commands store                            plan::diff, plan::batch
//! ```
//!
//! - [`model`] and [`plan`] are pure: they know no process, file, clock or environment.
//! - [`host`] is the only door to the kernel, [`store`] the only writer of state, [`session`] the only choreography.
//! - Whoever asks what a VPC consists of reads [`plan::topology`]; what may reach what, [`plan::firewall`].

pub mod cli;
pub mod commands;
pub mod confirm;
pub mod error;
pub mod host;
pub mod log;
pub mod model;
pub mod plan;
pub mod reachability;
pub mod sandbox;
pub mod session;
pub mod store;
pub mod ui;
pub mod view;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::error::{Failure, Kind};
use crate::plan::script;
use crate::session::Session;
use crate::store::Store;
use crate::ui::{Format, Ui};

/// The program: parses the command line, runs the command, reports, and returns the exit code.
pub fn main() -> ExitCode {
    let Cli { globals, command } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let ui = Ui { format: globals.output, verbose: globals.verbose, quiet: globals.quiet };
    log::init();
    let interrupted = Arc::new(AtomicBool::new(false));
    if works_on_state(&command) {
        watch_signals(&interrupted);
    }
    let session = Session {
        store: Store::new(globals.state_dir),
        ui: &ui,
        dry_run: globals.dry_run,
        lock_timeout: globals.lock_timeout,
        command: typed(),
        interrupted: &interrupted,
    };
    let started = Instant::now();
    let result = commands::run(&command, &session);
    let failure = result.as_ref().err().map(as_failure);
    tracing::info!(
        target: log::ACTION,
        code = failure.as_ref().map_or(0, |failure| failure.kind.exit_code()),
        ms = started.elapsed().as_millis() as u64,
        error = failure.as_ref().map(|failure| &failure.message),
        "vpcctl {}",
        session.command,
    );
    match failure {
        None => result.unwrap_or(ExitCode::SUCCESS),
        Some(Failure { kind, message, hint }) => {
            ui.error(&message, hint.as_deref());
            ExitCode::from(kind.exit_code())
        }
    }
}

/// An error as what the operator and scripts see of it.
fn as_failure(error: &anyhow::Error) -> Failure {
    let unknown = || Failure::new(Kind::Failed, format!("{error:#}"));
    error.downcast_ref::<Failure>().cloned().unwrap_or_else(unknown)
}

/// A command line that clap refuses. What one of our own types refuses comes with a hint.
fn refuse(error: &clap::Error) -> ExitCode {
    let own = std::error::Error::source(error).and_then(|source| source.downcast_ref::<Failure>());
    match own {
        Some(Failure { message, hint, .. }) => {
            Ui { format: Format::Table, verbose: false, quiet: false }.error(message, hint.as_deref());
        }
        // A closed terminal is no reason for another exit code.
        None => drop(error.print()),
    }
    ExitCode::from(error.exit_code() as u8)
}

/// The others start programs that handle signals themselves.
fn works_on_state(command: &Command) -> bool {
    !matches!(command, Command::Exec(_) | Command::Sandbox(_) | Command::SandboxInit(_) | Command::SandboxInternet(_))
}

/// A signal that asks the command to end is noted; the command looks between two steps.
fn watch_signals(interrupted: &Arc<AtomicBool>) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        if let Err(error) = signal_hook::flag::register(signal, Arc::clone(interrupted)) {
            tracing::warn!("signal {signal} will end vpcctl at once: {error}");
        }
    }
}

/// The command line after the program's name, for the log and the intent.
fn typed() -> String {
    let words =
        std::env::args_os().skip(1).map(|word| script::quote(&word.to_string_lossy()).escape_debug().to_string());
    words.collect::<Vec<_>>().join(" ")
}
