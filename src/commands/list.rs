//! `vpcctl list`.

use clap::Args;

use crate::session::Session;
use crate::view;

/// List the VPCs
///
/// Reads the state file alone: `inspect` looks at the kernel too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl list\n  vpcctl list -o json")]
pub struct List {}

impl List {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        session.ui.value(&view::list(&session.read()?), view::list_table)
    }
}
