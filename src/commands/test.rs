//! `vpcctl test`.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::commands::test_connectivity::seconds;
use crate::commands::topology::FileArg;
use crate::error::{Failure, Kind};
use crate::inquiry::{Ground, Sending};
use crate::session::Session;
use crate::verification;
use crate::view;

/// The exit code where something is not as expected: an answer, as 0 is.
const NOT_AS_EXPECTED: u8 = 1;

/// Check the network against a file's expectations
///
/// Each line of `expect:` in a topology file, such as `vpc1/web -> vpc1/db:5432 allow` or `dev -> prod deny`, for each two instances that
/// it stands for: by the model, and by packets. Where nobody listens, vpcctl does, as long as that takes. The exit code is 0 if all
/// is as expected, 1 if not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl test -f net.yaml
  vpcctl test -f net.yaml --junit reachability.xml
  vpcctl test -f net.yaml --no-probe -o json")]
pub struct Test {
    #[command(flatten)]
    file: FileArg,
    /// Also write the results as JUnit XML into this file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Ask the model alone, and send nothing
    #[arg(long)]
    no_probe: bool,
    /// How many seconds to wait for an answer that is to come
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    timeout: Duration,
    /// The address that stands for the internet
    #[arg(long, env = "VPCCTL_INTERNET", default_value = "1.1.1.1", value_name = "ADDRESS", hide_env_values = true)]
    internet: Ipv4Addr,
}

impl Test {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<u8> {
        let described = self.file.parse(session.interrupted)?;
        let lines = described.expectations()?;
        let ground = Ground::look(session)?;
        let patience = (!self.no_probe && !session.dry_run).then_some(self.timeout);
        let sending = Sending { internet: self.internet, patience };
        let checked = verification::check(session, &ground, &lines, sending)?;
        let result = view::test::test(described.name(), &checked);
        if let Some(path) = &self.junit {
            std::fs::write(path, view::test::junit(&result)?).map_err(|error| {
                Failure::new(Kind::Host, format!("cannot write `{}`: {error}", path.display()))
                    .hint("name a file in a directory that exists")
            })?;
        }
        session.ui.value(&result, view::test::test_text)?;
        let passed = checked.iter().all(verification::Checked::passed);
        Ok(if passed { 0 } else { NOT_AS_EXPECTED })
    }
}
