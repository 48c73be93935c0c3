//! `vpcctl stop-app`.

use clap::Args;

use crate::commands::args::{IfExists, InstancePath, report};
use crate::model::app::{self, Port};
use crate::model::edit::stop_app;
use crate::plan::launch;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Stop an instance's apps
///
/// All that they started ends with them. Their logs go too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl stop-app vpc1/public                all apps of the subnet's first instance
  vpcctl stop-app vpc1/public --port 8080    this one")]
pub struct StopApp {
    #[command(flatten)]
    instance: InstancePath,
    /// The app on this port [default: all of them]
    #[arg(short, long, value_name = "PORT", value_parser = app::port)]
    port: Option<Port>,
    #[command(flatten)]
    if_exists: IfExists,
}

impl StopApp {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let target = self.instance.target()?;
        let result = session.change(&Subject::Nothing, |state| stop_app(state, &target, self.port));
        let Some(outcome) = self.if_exists.allow(session, result)? else {
            return Ok(());
        };
        let left: Vec<_> = launch::all(&outcome.new).collect();
        let gone = launch::all(&outcome.old).filter(|launch| !left.contains(launch));
        let gone: Vec<String> = gone.map(|launch| format!("{} on port {}", launch.app.name(), launch.port)).collect();
        report(session, &outcome, &format!("stopped in {target}: {}", gone.join(", ")), "")
    }
}
