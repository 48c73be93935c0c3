//! `vpcctl delete-vpc`.

use clap::Args;

use crate::commands::args::{IfExists, one, report};
use crate::model::edit::delete_vpc;
use crate::model::name::VpcName;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Delete a VPC with all that is in it
///
/// Its subnets, instances and peerings go, and the processes that run in them end.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vpcctl delete-vpc vpc1")]
pub struct DeleteVpc {
    /// The VPC
    #[arg(value_name = "VPC")]
    vpc: Option<VpcName>,
    /// The VPC
    #[arg(long, value_name = "VPC")]
    name: Option<VpcName>,
    #[command(flatten)]
    if_exists: IfExists,
}

impl DeleteVpc {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let name = one("VPC", self.vpc.clone(), self.name.clone())?;
        let result = session.change(&Subject::Nothing, |state| delete_vpc(state, &name));
        let Some(outcome) = self.if_exists.allow(session, result)? else {
            return Ok(());
        };
        let peers: Vec<String> =
            outcome.old.peerings_of(&name).map(|peering| peering.other(&name).to_string()).collect();
        let peerings =
            if peers.is_empty() { String::new() } else { format!(", and its peerings with {}", peers.join(", ")) };
        report(session, &outcome, &format!("deleted VPC {name}{peerings}"), "")
    }
}
