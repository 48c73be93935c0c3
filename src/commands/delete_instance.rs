//! `vpcctl delete-instance`.

use clap::Args;

use crate::commands::args::{IfExists, PathFlags, instance_of, report};
use crate::model::edit::delete_instance;
use crate::model::name::{Name, VpcName};
use crate::plan::subject::Subject;
use crate::session::Session;

/// Delete an instance
///
/// The processes that run in it end. A subnet's first instance goes with the subnet.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vpcctl delete-instance vpc1/public/web2")]
pub struct DeleteInstance {
    /// The instance
    #[arg(value_name = "VPC/SUBNET/NAME", num_args = 0..=3)]
    path: Vec<String>,
    /// The VPC
    #[arg(long, value_name = "VPC")]
    vpc: Option<VpcName>,
    /// The subnet
    #[arg(long, value_name = "SUBNET")]
    subnet: Option<Name>,
    /// The instance's name
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    #[command(flatten)]
    if_exists: IfExists,
}

impl DeleteInstance {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let flags = PathFlags { vpc: self.vpc.clone(), subnet: self.subnet.clone(), instance: self.name.clone() };
        let (vpc, subnet, name) = instance_of(&flags.target(&self.path)?)?;
        let result = session.change(&Subject::Nothing, |state| delete_instance(state, &vpc, &subnet, &name));
        if let Some(outcome) = self.if_exists.allow(session, result)? {
            report(session, &outcome, &format!("deleted instance {vpc}/{subnet}/{name}"), "")?;
        }
        Ok(())
    }
}
