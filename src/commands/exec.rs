//! `vpcctl exec`.

use std::ffi::OsString;

use clap::Args;

use crate::error::{Failure, Kind};
use crate::host::{namespace, privilege, run};
use crate::log;
use crate::model::kernel_names;
use crate::model::owner::Target;
use crate::plan::script;
use crate::session::Session;

/// Run a command in an instance or a router
///
/// Its exit code is vpcctl's.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl exec vpc1/public -- ping -c 3 10.0.2.2
  vpcctl exec vpc1 -- ip addr            in the router")]
pub struct Exec {
    /// The instance, or the VPC for its router
    #[arg(value_name = "VPC[/SUBNET[/INSTANCE]]")]
    target: Target,
    /// The command and its arguments
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Exec {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<u8> {
        enter(session, &self.target, &self.command, &[])
    }
}

/// What a shell, `env`, `sudo` and `timeout` end with where there is no such program.
const NO_SUCH_PROGRAM: u8 = 127;

/// Becomes a program in the target's namespace, with these variables besides the caller's.
pub(super) fn enter(
    session: &Session<'_>,
    target: &Target,
    command: &[OsString],
    environment: &[(&str, String)],
) -> anyhow::Result<u8> {
    session.read()?.check_target(target)?;
    let netns = kernel_names::of_target(target);
    let enter = ["netns", "exec", netns.as_str()].map(OsString::from);
    let args: Vec<OsString> = enter.into_iter().chain(command.iter().cloned()).collect();
    let words: Vec<String> = args.iter().map(|arg| script::quote(&arg.to_string_lossy())).collect();
    let line = format!("ip {}", words.join(" "));
    if session.dry_run {
        session.ui.data(&format!("{line}\n"))?;
        return Ok(0);
    }
    privilege::check()?;
    if !namespace::is_alive(&netns) {
        return Err(Failure::new(Kind::Drift, format!("the namespace `{netns}` of `{target}` is gone"))
            .hint("`vpcctl restore` makes it again")
            .into());
    }
    if let Some(program) = command.first().filter(|program| !run::is_program(program)) {
        let message = format!("there is no program `{}`", program.to_string_lossy().escape_debug());
        session.ui.failure(&Failure::not_found(message).hint("instances have the host's programs: see PATH"));
        return Ok(NO_SUCH_PROGRAM);
    }
    session.ui.command(&line);
    session.ui.log_to(&session.store.log_path());
    tracing::info!(target: log::ACTION, "{line}");
    Err(run::become_program("ip", &args, environment).into())
}
