//! `vpcctl peer`.

use clap::Args;

use crate::commands::args::{PoolArg, VpcPair, report};
use crate::model::edit::peer;
use crate::model::owner::Owner;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Connect two VPCs by a routed peering
///
/// A cable between their routers and a route on each side. Not transitive: a peer's peers stay out of reach.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl peer vpc1 vpc2\n  vpcctl peer --vpc1 vpc1 --vpc2 vpc2")]
pub struct Peer {
    #[command(flatten)]
    vpcs: VpcPair,
    #[command(flatten)]
    pool: PoolArg,
}

impl Peer {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let (one, other) = self.vpcs.get(session)?;
        let (a, b) = if one <= other { (&one, &other) } else { (&other, &one) };
        let subject = Subject::of(Owner::Peering(a.clone(), b.clone()));
        let outcome = session.change(&subject, |state| peer(state, &one, &other, self.pool.uplink_pool))?;
        report(session, &outcome, &format!("peered {one} and {other}"), &format!("{one} and {other} are peered"))
    }
}
