//! `vpcctl remove-policy`.

use clap::Args;

use crate::commands::args::{PathFlags, report};
use crate::error::Failure;
use crate::model::edit::{PolicyScope, remove_policy};
use crate::plan::subject::Subject;
use crate::session::Session;

/// Take the policy off a subnet or an instance
///
/// An instance without a policy of its own follows its subnet's again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vpcctl remove-policy vpc1/public")]
pub struct RemovePolicy {
    /// The subnet or the instance
    #[arg(value_name = "VPC/SUBNET[/INSTANCE]", num_args = 0..=3)]
    words: Vec<String>,
    #[command(flatten)]
    path: PathFlags,
}

impl RemovePolicy {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let target = self.path.target(&self.words)?;
        let missing = || Failure::usage(format!("`{target}` is a VPC, not a subnet")).hint("write it as vpc/subnet");
        let subnet = target.subnet.clone().ok_or_else(missing)?;
        let scope = PolicyScope { vpc: target.vpc.clone(), subnet, instance: target.instance.clone() };
        let subject = Subject::of(scope.owner());
        let outcome = session.change(&subject, |state| remove_policy(state, &scope))?;
        report(
            session,
            &outcome,
            &format!("removed the policy of {target}"),
            &format!("{target} has no policy of its own"),
        )
    }
}
