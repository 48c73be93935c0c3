//! `vpcctl disable-nat`.

use clap::Args;

use crate::commands::args::{VpcArg, report};
use crate::model::edit::disable_nat;
use crate::model::name::Name;
use crate::model::owner::Owner;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Take internet access away
///
/// Connections that are open end too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl disable-nat vpc1\n  vpcctl disable-nat vpc1 --subnet public")]
pub struct DisableNat {
    #[command(flatten)]
    vpc: VpcArg,
    /// One subnet [default: the whole VPC]
    #[arg(long, value_name = "SUBNET")]
    subnet: Option<Name>,
}

impl DisableNat {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let vpc = self.vpc.get()?;
        let subject = Subject::of(Owner::Vpc(vpc.clone()));
        let outcome = session.change(&subject, |state| disable_nat(state, &vpc, self.subnet.as_ref()))?;
        let what = match &self.subnet {
            None => vpc.to_string(),
            Some(subnet) => format!("{vpc}/{subnet}"),
        };
        report(session, &outcome, &format!("disabled NAT of {what}"), &format!("{what} has no NAT"))
    }
}
