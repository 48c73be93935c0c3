//! `vpcctl delete-subnet`.

use clap::Args;

use crate::commands::args::{IfExists, PathFlags, report, subnet_of};
use crate::model::edit::delete_subnet;
use crate::model::name::{Name, VpcName};
use crate::plan::subject::Subject;
use crate::session::Session;

/// Delete a subnet with its instances
///
/// The processes that run in them end.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vpcctl delete-subnet vpc1/private")]
pub struct DeleteSubnet {
    /// The subnet
    #[arg(value_name = "VPC/SUBNET", num_args = 0..=2)]
    path: Vec<String>,
    /// The VPC
    #[arg(long, value_name = "VPC")]
    vpc: Option<VpcName>,
    /// The subnet's name
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    #[command(flatten)]
    if_exists: IfExists,
}

impl DeleteSubnet {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let flags = PathFlags { vpc: self.vpc.clone(), subnet: self.name.clone(), instance: None };
        let (vpc, name) = subnet_of(&flags.target(&self.path)?)?;
        let result = session.change(&Subject::Nothing, |state| delete_subnet(state, &vpc, &name));
        if let Some(outcome) = self.if_exists.allow(session, result)? {
            report(session, &outcome, &format!("deleted subnet {vpc}/{name}"), "")?;
        }
        Ok(())
    }
}
