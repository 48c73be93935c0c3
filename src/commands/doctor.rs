//! `vpcctl doctor`, and the hidden command that tries the kernel's features for it.

use clap::Args;

use crate::commands::args::PoolArg;
use crate::doctor::diagnose;
use crate::doctor::report::Report;
use crate::error::Kind;
use crate::host::examine;
use crate::sandbox::probe;
use crate::session::Session;

/// Tell whether this host can run vpcctl
///
/// And what on it gets in the way: tools, kernel, privileges, other firewalls, address ranges, the state. Each finding comes
/// with its remedy. Changes nothing; without root it says what it couldn't look at.
///
/// Ends with 0 where vpcctl can run, warnings or not, and with 6 where there is a problem.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vpcctl doctor\n  vpcctl doctor -o json | jq '.findings[] | select(.level != \"ok\")'\n  vpcctl sandbox -- vpcctl doctor\n\nExit codes: 0 vpcctl can run, warnings or not; 6 there is a problem."
)]
pub struct Doctor {
    #[command(flatten)]
    pool: PoolArg,
}

impl Doctor {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<u8> {
        let report = Report::new(diagnose(&examine::examine(&session.store, self.pool.uplink_pool)));
        session.ui.value(&report, Report::table)?;
        Ok(if report.able() { 0 } else { Kind::Host.exit_code() })
    }
}

/// The process that tries the kernel's features
#[derive(Debug, Args)]
pub struct DoctorProbe {
    /// Their ids
    #[arg(value_name = "FEATURE")]
    features: Vec<String>,
}

impl DoctorProbe {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        probe::run(&self.features)
    }
}
