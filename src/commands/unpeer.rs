//! `vpcctl unpeer`.

use clap::Args;

use crate::commands::args::{IfExists, VpcPair, report};
use crate::model::edit::unpeer;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Disconnect two VPCs
///
/// Connections that are open end too.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vpcctl unpeer vpc1 vpc2")]
pub struct Unpeer {
    #[command(flatten)]
    vpcs: VpcPair,
    #[command(flatten)]
    if_exists: IfExists,
}

impl Unpeer {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let (one, other) = self.vpcs.get(session)?;
        let result = session.change(&Subject::Nothing, |state| unpeer(state, &one, &other));
        if let Some(outcome) = self.if_exists.allow(session, result)? {
            report(session, &outcome, &format!("unpeered {one} and {other}"), "")?;
        }
        Ok(())
    }
}
