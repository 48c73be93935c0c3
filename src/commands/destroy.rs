//! `vpcctl destroy`.

use std::collections::BTreeSet;

use clap::Args;

use crate::commands::apply::report;
use crate::commands::topology::FileArg;
use crate::model::changes;
use crate::model::edit::delete_vpcs;
use crate::model::name::VpcName;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Delete the VPCs that a file names
///
/// With all that is in them, whether or not the file has it, and their peerings. What isn't there is named, and no error.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl destroy -f net.yaml\n  vpcctl --dry-run destroy -f net.yaml")]
pub struct Destroy {
    #[command(flatten)]
    file: FileArg,
}

impl Destroy {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let described = self.file.parse(session.interrupted)?;
        let named: BTreeSet<VpcName> = described.topology.vpcs.iter().map(|vpc| vpc.name.clone()).collect();
        let ends: Vec<&[VpcName; 2]> = described.topology.peerings.iter().map(|peering| &peering.vpcs).collect();
        let outcome = session.change(&Subject::Nothing, |state| {
            state.peerings.retain(|peering| {
                let is = |ends: &&[VpcName; 2]| ends.contains(&peering.a) && ends.contains(&peering.b);
                !ends.iter().any(is)
            });
            delete_vpcs(state, &named);
            Ok(())
        })?;
        let missing: Vec<&str> =
            named.iter().filter(|name| !outcome.old.vpcs.contains_key(*name)).map(VpcName::as_str).collect();
        if !missing.is_empty() {
            session.ui.note(&format!("not there: VPC {}", missing.join(", ")));
        }
        let objects = changes::between(&outcome.old, &outcome.new, "in the file");
        report(session, &described, &outcome, &objects)
    }
}
