//! `vpcctl sandbox`, and the hidden commands that run inside of it.

use std::ffi::OsString;

use clap::Args;

use crate::sandbox;

/// Try everything in a private machine, without root
///
/// Runs a command, a shell by default, as root of a private machine: a host with an eth0 at 198.51.100.10, an internet behind
/// it that answers ping, HTTP and DNS, and nothing of the real host's network. Gone on exit; no root needed.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vpcctl sandbox\n  vpcctl sandbox -- sh -c 'vpcctl create-vpc vpc1 10.0.0.0/16 && vpcctl list'"
)]
pub struct Sandbox {
    /// The command and its arguments [default: a shell]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl Sandbox {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        sandbox::enter(&self.command)
    }
}

/// The first process of a sandbox.
#[derive(Debug, Args)]
pub struct SandboxInit {
    /// The command and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

impl SandboxInit {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        sandbox::init(&self.command)
    }
}

/// The internet of a sandbox.
#[derive(Debug, Args)]
pub struct SandboxInternet {}

impl SandboxInternet {
    pub(super) fn run(&self) -> anyhow::Result<u8> {
        sandbox::serve_internet()?;
        Ok(0)
    }
}
