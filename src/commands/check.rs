//! `vpcctl check`.

use clap::Args;

use crate::commands::args::VpcNames;
use crate::error::{Failure, Kind};
use crate::session::{Comparison, Session};
use crate::view;

/// Compare the kernel with the state
///
/// Every object that the state file says, one by one, and whatever else is in the routers: what is missing, what is not as it
/// should be, what is too many, and what is not vpcctl's. Ends with 0 where nothing differs, with 9 where something does. It
/// takes no lock and changes nothing; `vpcctl repair` mends what it names.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl check\n  vpcctl check vpc1 -o json")]
pub struct Check {
    #[command(flatten)]
    vpcs: VpcNames,
}

impl Check {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let comparison = session.compare(&self.vpcs.subject(session)?)?;
        session.ui.value(&view::drift::check(&comparison), view::drift::check_table)?;
        Ok(verdict(&comparison)?)
    }
}

fn verdict(comparison: &Comparison) -> Result<(), Failure> {
    let drift = |message: String, hint: &str| Err(Failure::new(Kind::Drift, message).hint(hint));
    let hint = if comparison.differences.iter().all(|difference| difference.found.is_left_alone()) {
        "`vpcctl repair` leaves it alone: remove or rename it, if that is for you to decide"
    } else {
        "`vpcctl repair` mends it"
    };
    match (&comparison.unfinished, comparison.differences.len()) {
        (Some(unfinished), _) if unfinished.at_work => drift(
            format!("`{}` is at work: what it changes may be among the differences", unfinished.command),
            "check again when it has ended",
        ),
        (Some(unfinished), _) => drift(
            format!("`{}` did not end cleanly", unfinished.command),
            "the next command, or `vpcctl repair`, finishes or undoes it",
        ),
        (None, 0) => Ok(()),
        (None, 1) => drift("1 object is not as the state says".into(), hint),
        (None, count) => drift(format!("{count} objects are not as the state says"), hint),
    }
}
