//! `vpcctl inspect`.

use clap::Args;

use crate::model::name::VpcName;
use crate::model::owner::Owner;
use crate::plan::op::Op;
use crate::plan::topology;
use crate::session::Session;
use crate::view;

/// Show all about VPCs, and what the kernel has
///
/// Each VPC with all that is in it, and what of it the kernel lacks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl inspect\n  vpcctl inspect vpc1 -o yaml")]
pub struct Inspect {
    /// The VPC [default: all]
    #[arg(value_name = "VPC")]
    vpc: Option<VpcName>,
    /// The VPC
    #[arg(long, value_name = "VPC", conflicts_with = "vpc")]
    name: Option<VpcName>,
}

impl Inspect {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let state = session.read()?;
        let only = self.vpc.as_ref().or(self.name.as_ref());
        only.map(|name| state.vpc(name)).transpose()?;
        let concerns = |op: &Op| only.is_none_or(|name| op.owner.vpcs().contains(&name) || op.owner == Owner::Host);
        let ops: Vec<Op> = topology::ops(&state).into_iter().filter(concerns).collect();
        let observed = session.observe(&ops)?;
        session.ui.value(&view::inspection(&state, only, &ops, &observed), view::inspection_tables)
    }
}
