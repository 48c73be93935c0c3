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
//! - [`doctor`] is pure as well: what the facts about a host mean for vpcctl.
//! - Whoever asks what a VPC consists of reads [`plan::topology`]; what may reach what, [`plan::firewall`].

pub mod app;
pub mod cli;
pub mod commands;
pub mod completion;
pub mod confirm;
pub mod doctor;
pub mod error;
pub mod host;
pub mod inquiry;
pub mod log;
pub mod model;
pub mod own_file;
pub mod plan;
pub mod reachability;
pub mod reference;
pub mod sandbox;
pub mod session;
pub mod store;
pub mod ui;
pub mod verification;
pub mod view;
pub mod web;

use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crate::cli::{Cli, Command, early, refusal};
use crate::error::{Failure, Kind};
use crate::host::rules::Ahead;
use crate::host::{patience, privilege};
use crate::plan::script;
use crate::session::Session;
use crate::store::Store;
use crate::ui::{Format, Ui, style};

/// The program: parses the command line, runs the command, reports, and returns the exit code.
pub fn main() -> ExitCode {
    if let Err(failure) = privilege::check_caller() {
        Ui { format: Format::Table, verbose: false, quiet: false }.failure(&failure);
        return ExitCode::from(failure.kind.exit_code());
    }
    if let Some(answered) = completion::answer() {
        return answered;
    }
    let words: Vec<OsString> = std::env::args_os().collect();
    style::choose(early::color(&words));
    let Cli { globals, command, explains } = match cli::parse(words.clone()) {
        Ok(cli) => cli,
        Err(error) => return refusal::report(&error, &words),
    };
    style::choose(globals.color);
    let ui = Ui { format: globals.output.format(), verbose: globals.verbose, quiet: globals.quiet };
    log::init();
    patience::allow(globals.tool_timeout);
    let interrupted = Arc::new(AtomicBool::new(false));
    if works_on_state(&command) {
        watch_signals(&interrupted);
    }
    let session = Session {
        store: Store::new(globals.state_dir),
        ui: &ui,
        dry_run: globals.dry_run || explains,
        explains,
        lock_timeout: globals.lock_timeout,
        command: typed(),
        interrupted: &interrupted,
        ahead: Ahead::default(),
    };
    let started = Instant::now();
    let result = commands::run(&command, &session);
    let failure = result.as_ref().err().map(as_failure);
    let failure = match &command {
        Command::Plan(_) => failure.map(Failure::besides_changes),
        Command::Reach(_) | Command::Test(_) => failure.map(Failure::besides_no),
        _ => failure,
    };
    let code = failure.as_ref().map_or_else(|| result.unwrap_or_default(), |failure| failure.kind.exit_code());
    tracing::info!(
        target: log::ACTION,
        code,
        ms = started.elapsed().as_millis() as u64,
        error = failure.as_ref().map(|failure| &failure.message),
        "vpcctl {}",
        session.command,
    );
    if let Some(failure) = failure {
        ui.failure(&failure);
    }
    ExitCode::from(code)
}

/// An error as what the operator and scripts see of it.
fn as_failure(error: &anyhow::Error) -> Failure {
    let unknown = || Failure::new(Kind::Failed, format!("{error:#}"));
    error.downcast_ref::<Failure>().cloned().unwrap_or_else(unknown)
}

/// The others start programs that handle signals themselves.
fn works_on_state(command: &Command) -> bool {
    use Command::{
        DoctorProbe, EndApp, Exec, ExecApp, InitApp, Logs, RunApp, Sandbox, SandboxInit, SandboxInternet, Shell,
        SuperviseApp,
    };
    let starts_a_program = matches!(command, Exec(_) | Shell(_) | Logs(_));
    let is_an_app = matches!(command, RunApp(_) | SuperviseApp(_) | InitApp(_) | ExecApp(_) | EndApp(_));
    let is_a_sandbox = matches!(command, Sandbox(_) | SandboxInit(_) | SandboxInternet(_) | DoctorProbe(_));
    !(starts_a_program || is_an_app || is_a_sandbox)
}

/// A signal that asks the command to end is noted; the command looks between two steps, and where a tool hangs. A file that
/// may not grow any further is an error like others, not the end.
fn watch_signals(interrupted: &Arc<AtomicBool>) {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
    let ends = [SIGHUP, SIGINT, SIGTERM];
    let flags = ends.map(|signal| (signal, Arc::clone(interrupted))).into_iter();
    let counted = ends.map(|signal| (signal, patience::signal_flag()));
    for (signal, flag) in flags.chain(counted).chain([(SIGXFSZ, Arc::default())]) {
        if let Err(error) = signal_hook::flag::register(signal, flag) {
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
