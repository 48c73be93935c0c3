//! `vpcctl inspect`.

use clap::Args;

use crate::host::namespace;
use crate::model::kernel_names as names;
use crate::model::name::VpcName;
use crate::model::owner::Owner;
use crate::plan::subject::Subject;
use crate::session::Session;
use crate::view::{self, Look};

/// Show all about VPCs, and what the kernel has
///
/// Each VPC with all that is in it, and what of it the kernel lacks. Of more than 24 namespaces it says only whether they are
/// there: `vpcctl check` compares what is in them.
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

/// Up to so many namespaces are looked into: a look at a thousand would keep waiting whoever only wants to read.
const LOOKS: usize = 24;

impl Inspect {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let state = session.read()?;
        let only = self.vpc.as_ref().or(self.name.as_ref());
        only.map(|name| state.vpc(name)).transpose()?;
        let chosen = names::namespaces_of(&state, only).count();
        if chosen > LOOKS {
            let inspection = view::inspection(&state, only, Look::Presence(&namespace::is_alive));
            session.ui.value(&inspection, view::inspection_tables)?;
            session.ui.note(&format!(
                "{chosen} namespaces, which are not looked into: `vpcctl check` compares all that is in them"
            ));
            return Ok(());
        }
        let subject = only.map_or(Subject::Everything, |name| Subject::of(Owner::Vpc(name.clone())));
        let ops = subject.ops(&state);
        let observed = session.observe(&ops)?;
        session.ui.value(&view::inspection(&state, only, Look::Whole(&ops, &observed)), view::inspection_tables)
    }
}
