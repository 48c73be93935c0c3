//! `vpcctl repair`, and what it shares with `vpcctl restore`.

use clap::Args;

use crate::commands::args::VpcNames;
use crate::plan::subject::Subject;
use crate::session::{Repair as Done, Session};
use crate::view;

/// Mend what differs from the state
///
/// Makes what is missing, changes what is not as it should be, and takes away what is too many in a router: what `vpcctl check`
/// names, with the least change, so that traffic goes on. What is not vpcctl's is named and left alone; then it ends with 9.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vpcctl repair\n  vpcctl repair vpc1\n  vpcctl --dry-run repair        what it would do, as a script"
)]
pub struct Repair {
    #[command(flatten)]
    vpcs: VpcNames,
    /// Also remove namespaces and uplinks that bear vpcctl's mark and that this state doesn't know
    #[arg(long)]
    unknown: bool,
}

impl Repair {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        repair(session, &self.vpcs.subject(session)?, self.unknown, "everything is as the state says")
    }
}

/// Repairs, and says what came of it.
pub(super) fn repair(session: &Session<'_>, subject: &Subject, unknown: bool, whole: &str) -> anyhow::Result<()> {
    let done = session.repair(subject, unknown)?;
    if session.dry_run {
        return Ok(());
    }
    report(session, &done, whole)?;
    Ok(done.check()?)
}

fn report(session: &Session<'_>, done: &Done, whole: &str) -> anyhow::Result<()> {
    let whole = match done.stubborn() {
        Some(_) => "not everything is as the state says",
        None if done.left.is_empty() => whole,
        None => "all that is vpcctl's is as the state says",
    };
    let message = match done.mended {
        0 => format!("{whole}: nothing changed"),
        1 => format!("{whole}; 1 object mended"),
        mended => format!("{whole}; {mended} objects mended"),
    };
    session.ui.outcome(&view::drift::mended(done, &message), &message)
}
