//! `vpcctl logs`.

use std::ffi::OsString;

use clap::Args;

use crate::commands::args::PathFlags;
use crate::error::{Failure, Result};
use crate::host::run;
use crate::model::app::Port;
use crate::model::owner::Target;
use crate::model::state::State;
use crate::plan::launch::{self, Launch};
use crate::session::Session;

/// Shows what an app printed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl logs vpc1/public
  vpcctl logs vpc1/public --port 8080 --follow")]
pub struct Logs {
    /// The instance; a subnet stands for its first
    #[arg(value_name = "VPC/SUBNET[/INSTANCE]", num_args = 0..=3)]
    path: Vec<String>,
    #[command(flatten)]
    flags: PathFlags,
    /// The app's port, where the instance has several apps
    #[arg(short, long, value_name = "PORT")]
    port: Option<Port>,
    /// Go on showing what is printed
    #[arg(short, long)]
    follow: bool,
    /// The last lines alone
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<u32>,
}

impl Logs {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let target = self.flags.target(&self.path)?;
        let app = self.choose(&session.read()?, &target)?;
        let path = session.store.apps().log_path(&app.id());
        if let Err(error) = std::fs::File::open(&path) {
            return Err(Failure::not_found(format!("cannot read the log `{}`: {error}", path.display()))
                .hint(format!("the app never started: repeat `vpcctl deploy-app {target} --port {}`", app.port))
                .into());
        }
        let count = self.lines.map_or("+1".to_owned(), |count| count.to_string());
        let mut args: Vec<OsString> = vec!["-n".into(), count.into()];
        args.extend(self.follow.then_some("--follow".into()));
        args.extend(["--".into(), path.into()]);
        Err(run::become_program("tail", &args, &[]).into())
    }

    fn choose(&self, state: &State, target: &Target) -> Result<Launch> {
        state.check_target(target)?;
        let apps = launch::all(state).filter(|launch| &launch.instance == target);
        let apps: Vec<Launch> = apps.filter(|launch| self.port.is_none_or(|port| port == launch.port)).collect();
        let ports: Vec<String> = apps.iter().map(|launch| launch.port.to_string()).collect();
        match <[Launch; 1]>::try_from(apps) {
            Ok([app]) => Ok(app),
            Err(apps) if apps.is_empty() => {
                let which = self.port.map(|port| format!(" on port {port}")).unwrap_or_default();
                Err(Failure::not_found(format!("`{target}` has no app{which}"))
                    .hint("`vpcctl list-apps` shows those that there are"))
            }
            Err(_) => Err(Failure::usage(format!("`{target}` has several apps: on {}", ports.join(", ")))
                .hint("choose one with --port")),
        }
    }
}
