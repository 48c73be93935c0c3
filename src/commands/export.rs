//! `vpcctl export`.

use anyhow::Context;
use clap::Args;

use crate::model::name::VpcName;
use crate::model::topology_file;
use crate::session::Session;
use crate::ui::Format;

/// Print the network as a topology file
///
/// In YAML, or with -o json in JSON. Destroying the network and applying the file makes the same network again: addresses of
/// links and instances are in it, and policies as they are. What vpcctl found on the host and keeps for itself is not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  vpcctl export > net.yaml\n  vpcctl export vpc1 vpc2 -o json")]
pub struct Export {
    /// The VPCs, with the peerings between them [default: all]
    #[arg(value_name = "VPC")]
    vpcs: Vec<VpcName>,
}

impl Export {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let state = session.read()?;
        self.vpcs.iter().try_for_each(|vpc| state.vpc(vpc).map(|_| ()))?;
        let topology = topology_file::export(&state, &self.vpcs.iter().cloned().collect());
        let text = match session.ui.format {
            Format::Json => serde_json::to_string_pretty(&topology).context("cannot print JSON")? + "\n",
            Format::Table | Format::Yaml => serde_saphyr::to_string(&topology).context("cannot print YAML")?,
        };
        Ok(session.ui.data(&text)?)
    }
}
