//! `vpcctl shell`.

use clap::Args;

use crate::commands::exec;
use crate::host::run;
use crate::model::owner::Target;
use crate::session::Session;

/// Open a shell in an instance or a router
///
/// The exit code is the shell's. It is $SHELL, and its prompt says where it is.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl shell vpc1/public
  vpcctl shell vpc1                      in the router")]
pub struct Shell {
    /// The instance, or the VPC for its router
    #[arg(value_name = "VPC[/SUBNET[/INSTANCE]]")]
    target: Target,
}

impl Shell {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<u8> {
        let prompt = self.target.to_string();
        let environment = run::shell_environment(&prompt);
        exec::enter(session, &self.target, &[run::shell().into()], &environment)
    }
}
