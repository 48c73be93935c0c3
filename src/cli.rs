//! The command line: what is common to all commands, and the list of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::commands;
use crate::store;
use crate::ui::Format;

/// Virtual private clouds on one Linux host, built from network namespaces, bridges, routes and iptables.
#[derive(Debug, Parser)]
#[command(name = "vpcctl", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// What is common to all commands.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "\
Examples:
  vpcctl sandbox                                 try everything without root, in a private machine
  vpcctl create-vpc vpc1 10.0.0.0/16             a VPC
  vpcctl add-subnet vpc1 public 10.0.1.0/24 --type public
  vpcctl add-subnet vpc1 private 10.0.2.0/24     two subnets, each with its first instance
  vpcctl enable-nat vpc1                         internet access for the public one
  vpcctl exec vpc1/public -- ping -c 3 10.0.2.2  a command in an instance
  vpcctl inspect vpc1                            what there is, and whether the kernel has it
  vpcctl delete-vpc vpc1                         all of it gone

Exit codes: 0 done, 1 failed and undone, 2 bad input, 3 not found, 4 conflict, 5 no privilege,
6 the host lacks something, 7 busy, 8 state file, 9 drift, 130 interrupted.";

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// Where the state file lives
    #[arg(long, global = true, env = "VPCCTL_STATE_DIR", default_value = store::DEFAULT_DIR, value_name = "DIR", hide_env_values = true)]
    pub state_dir: PathBuf,
    /// Print what would be done as a shell script, and change nothing
    #[arg(long, global = true, env = "VPCCTL_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new(), hide_env_values = true)]
    pub dry_run: bool,
    /// Print each command before it runs
    #[arg(short, long, global = true, env = "VPCCTL_VERBOSE", value_parser = clap::builder::FalseyValueParser::new(), hide_env_values = true)]
    pub verbose: bool,
    /// Print nothing but data and errors
    #[arg(short, long, global = true, env = "VPCCTL_QUIET", value_parser = clap::builder::FalseyValueParser::new(), hide_env_values = true)]
    pub quiet: bool,
    /// How data is printed
    #[arg(
        short,
        long,
        global = true,
        env = "VPCCTL_OUTPUT",
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_env_values = true
    )]
    pub output: Format,
    /// How many seconds to wait for another vpcctl
    #[arg(long, global = true, env = "VPCCTL_LOCK_TIMEOUT", default_value = "60", value_parser = seconds, value_name = "SECONDS", hide_env_values = true)]
    pub lock_timeout: Duration,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Create a VPC: a router with a CIDR
    CreateVpc(commands::create_vpc::CreateVpc),
    /// Delete a VPC with all that is in it
    DeleteVpc(commands::delete_vpc::DeleteVpc),
    /// Add a subnet and its first instance
    AddSubnet(commands::add_subnet::AddSubnet),
    /// Delete a subnet with its instances
    DeleteSubnet(commands::delete_subnet::DeleteSubnet),
    /// Add an instance to a subnet
    AddInstance(commands::add_instance::AddInstance),
    /// Delete an instance
    DeleteInstance(commands::delete_instance::DeleteInstance),
    /// Give public subnets internet access
    EnableNat(commands::enable_nat::EnableNat),
    /// Take internet access away
    DisableNat(commands::disable_nat::DisableNat),
    /// Connect two VPCs by a routed peering
    Peer(commands::peer::Peer),
    /// Disconnect two VPCs
    Unpeer(commands::unpeer::Unpeer),
    /// Narrow a peering to pairs of CIDRs
    AllowCidr(commands::allow_cidr::AllowCidr),
    /// Put a firewall policy on a subnet or an instance
    ApplyPolicy(commands::apply_policy::ApplyPolicy),
    /// Take the policy off a subnet or an instance
    RemovePolicy(commands::remove_policy::RemovePolicy),
    /// List the VPCs
    List(commands::list::List),
    /// Show everything about VPCs, and whether the kernel has it
    Inspect(commands::inspect::Inspect),
    /// Run a command in an instance, or in a VPC's router
    Exec(commands::exec::Exec),
    /// Say whether one instance reaches another, or all of them each other
    TestConnectivity(Box<commands::test_connectivity::TestConnectivity>),
    /// Delete all VPCs, and whatever else vpcctl made
    CleanupAll(commands::cleanup_all::CleanupAll),
    /// Run a command, or a shell, in a private machine with an internet of its own: no root needed
    Sandbox(commands::sandbox::Sandbox),
    /// The first process of a sandbox
    #[command(hide = true)]
    SandboxInit(commands::sandbox::SandboxInit),
    /// The internet of a sandbox
    #[command(hide = true)]
    SandboxInternet(commands::sandbox::SandboxInternet),
}
