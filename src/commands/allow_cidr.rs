//! `vpcctl allow-cidr`.

use clap::Args;

use crate::commands::args::report;
use crate::error::{Failure, Result};
use crate::model::cidr::Cidr;
use crate::model::edit::allow_cidr;
use crate::model::name::VpcName;
use crate::model::state::CidrPair;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Narrow a peering to pairs of CIDRs
///
/// From the first pair on, only connections from a listed source to its destination pass, and their replies. `unpeer` and
/// `peer` open it wholly again.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vpcctl allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24")]
pub struct AllowCidr {
    /// Which peering, where the CIDRs alone don't tell
    #[arg(value_names = ["VPC1", "VPC2"], num_args = 0..=2)]
    between: Vec<VpcName>,
    /// Who may open connections: a CIDR inside one of the VPCs
    #[arg(long, value_name = "CIDR")]
    src: Cidr,
    /// Who may be connected to: a CIDR inside the other one
    #[arg(long, value_name = "CIDR")]
    dst: Cidr,
}

impl AllowCidr {
    fn between(&self) -> Result<Option<(&VpcName, &VpcName)>> {
        match &self.between[..] {
            [] => Ok(None),
            [one, other] => Ok(Some((one, other))),
            _ => Err(Failure::usage("the second VPC is missing").hint("name both VPCs of the peering, or none")),
        }
    }

    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let (pair, between) = (CidrPair { src: self.src, dst: self.dst }, self.between()?);
        let outcome = session.change(&Subject::Everything, |state| allow_cidr(state, pair, between))?;
        let what = format!("{} to {}", self.src, self.dst);
        report(session, &outcome, &format!("allowed {what}, and its replies"), &format!("{what} is allowed"))
    }
}
