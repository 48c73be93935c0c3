//! `vpcctl cleanup-all`.

use clap::Args;

use crate::commands::args::report;
use crate::confirm;
use crate::error::{Failure, Kind, Result};
use crate::model::edit::delete_everything;
use crate::model::state::{State, Vpc};
use crate::plan::subject::Subject;
use crate::session::Session;

/// Take everything away that vpcctl made
///
/// All VPCs with everything in them, and the host's part; nothing else. Asks first. The action log stays.
///
/// Where the state is lost or damaged, scripts/cleanup.sh finds by its marks what vpcctl made.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl cleanup-all\n  vpcctl cleanup-all --yes\n  vpcctl --dry-run cleanup-all")]
pub struct CleanupAll {
    /// Don't ask
    #[arg(short, long)]
    yes: bool,
}

impl CleanupAll {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let shown = session.read()?;
        if shown.vpcs.is_empty() && session.store.intent()?.is_none() {
            return session.ui.change(false, 0, "no VPCs: nothing to clean up");
        }
        let asks = !(self.yes || session.dry_run);
        if asks && !confirm::ask(&question(&shown), session.interrupted)? {
            let hint = "answer y, or say it at once: vpcctl cleanup-all --yes";
            return Err(Failure::new(Kind::Failed, "not confirmed: nothing was changed").hint(hint).into());
        }
        let outcome = session.change(&Subject::Nothing, |state| {
            if asks {
                same(&shown, state)?
            }
            delete_everything(state);
            Ok(())
        })?;
        report(session, &outcome, &format!("deleted {}", amount(&outcome.old)), "no VPCs: nothing to clean up")
    }
}

/// What was said yes to is what goes.
fn same(shown: &State, state: &State) -> Result<()> {
    if shown.vpcs == state.vpcs {
        return Ok(());
    }
    Err(Failure::conflict("another vpcctl changed something meanwhile: nothing was changed")
        .hint("look again, and repeat it"))
}

fn question(state: &State) -> String {
    let vpcs = state.vpcs.iter().map(|(name, vpc)| {
        format!(
            "  {name} {}: {}, {}\n",
            vpc.cidr,
            count(vpc.subnets.len(), "subnet"),
            count(instances(vpc), "instance")
        )
    });
    let vpcs: String = vpcs.collect();
    format!("This deletes {}, and ends what runs in them:\n{vpcs}Go on?", amount(state))
}

fn amount(state: &State) -> String {
    let subnets = state.vpcs.values().map(|vpc| vpc.subnets.len()).sum();
    let all = state.vpcs.values().map(|vpc| instances(vpc)).sum();
    let vpcs = count(state.vpcs.len(), "VPC");
    format!(
        "{vpcs}, {}, {} and {}",
        count(subnets, "subnet"),
        count(all, "instance"),
        count(state.peerings.len(), "peering")
    )
}

fn instances(vpc: &Vpc) -> usize {
    vpc.subnets.values().map(|subnet| subnet.all_instances().count()).sum()
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}
