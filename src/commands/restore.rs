//! `vpcctl restore`.

use clap::Args;

use crate::commands::repair::repair;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Make again what the kernel lacks
///
/// As after a reboot: everything that the state file says, VPCs, rules and apps. It is what the systemd unit runs at boot, and
/// the same as `vpcctl repair` of everything: what is as it should be is left alone, so that it may be run at any time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl restore\n  vpcctl --dry-run restore       what it would do, as a script")]
pub struct Restore {}

impl Restore {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let whole = match session.read()?.vpcs.len() {
            0 => "there are no VPCs".to_owned(),
            1 => "1 VPC is whole".to_owned(),
            count => format!("{count} VPCs are whole"),
        };
        repair(session, &Subject::Everything, false, &whole)
    }
}
