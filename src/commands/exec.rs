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

/// Runs a command in an instance, or in a VPC's router. Its exit code is vpcctl's.
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
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        enter(session, &self.target, &self.command, &[])
    }
}

/// Becomes a program in the target's namespace, with these variables besides the caller's.
pub(super) fn enter(
    session: &Session<'_>,
    target: &Target,
    command: &[OsString],
    environment: &[(&str, String)],
) -> anyhow::Result<()> {
    session.read()?.check_target(target)?;
    let netns = kernel_names::of_target(target);
    let enter = ["netns", "exec", netns.as_str()].map(OsString::from);
    let args: Vec<OsString> = enter.into_iter().chain(command.iter().cloned()).collect();
    let words: Vec<String> = args.iter().map(|arg| script::quote(&arg.to_string_lossy())).collect();
    let line = format!("ip {}", words.join(" "));
    if session.dry_run {
        return Ok(session.ui.data(&format!("{line}\n"))?);
    }
    privilege::check()?;
    if !namespace::is_alive(&netns) {
        return Err(Failure::new(Kind::Drift, format!("the namespace `{netns}` of `{target}` is gone"))
            .hint("`vpcctl restore` makes it again")
            .into());
    }
    session.ui.command(&line);
    session.ui.log_to(&session.store.log_path());
    tracing::info!(target: log::ACTION, "{line}");
    Err(run::become_program("ip", &args, environment).into())
}
