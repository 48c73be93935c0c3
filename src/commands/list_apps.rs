//! `vpcctl list-apps`.

use clap::Args;

use crate::model::name::VpcName;
use crate::plan::launch;
use crate::session::Session;
use crate::view::apps;

/// List the apps, and whether they run
///
/// Those that `deploy-app` started, with their processes and logs. One that has ended says how.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl list-apps\n  vpcctl list-apps vpc1 -o json")]
pub struct ListApps {
    /// One VPC alone
    #[arg(value_name = "VPC")]
    vpc_by_place: Option<VpcName>,
    /// One VPC alone
    #[arg(long, value_name = "VPC", conflicts_with = "vpc_by_place")]
    vpc: Option<VpcName>,
}

impl ListApps {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let state = session.read()?;
        let only = self.vpc_by_place.as_ref().or(self.vpc.as_ref());
        only.map(|vpc| state.vpc(vpc)).transpose()?;
        let chosen = launch::all(&state).filter(|launch| only.is_none_or(|vpc| vpc == &launch.instance.vpc));
        session.ui.value(&apps::list(chosen, &session.store.apps()), apps::list_table)
    }
}
