//! The two flavours of iptables.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which of the kernel's two interfaces an iptables tool speaks to. A packet has to pass the rules of both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Flavour {
    /// nf_tables.
    Nft,
    /// The one before it.
    Legacy,
}

impl Flavour {
    /// As the tools call it.
    pub fn as_str(self) -> &'static str {
        match self {
            Flavour::Nft => "nf_tables",
            Flavour::Legacy => "legacy",
        }
    }
}
