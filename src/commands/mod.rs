//! One file for each subcommand: its arguments, whose doc comments are its help, and a short `run`.

pub mod add_instance;
pub mod add_subnet;
pub mod allow_cidr;
pub mod apply_policy;
pub mod args;
pub mod cleanup_all;
pub mod create_vpc;
pub mod delete_instance;
pub mod delete_subnet;
pub mod delete_vpc;
pub mod disable_nat;
pub mod enable_nat;
pub mod exec;
pub mod inspect;
pub mod list;
pub mod peer;
pub mod remove_policy;
pub mod sandbox;
pub mod test_connectivity;
pub mod unpeer;

use std::process::ExitCode;

use crate::cli::Command;
use crate::session::Session;

/// Runs a command that works on the state.
pub fn run(command: &Command, session: &Session<'_>) -> anyhow::Result<ExitCode> {
    match command {
        Command::CreateVpc(args) => args.run(session)?,
        Command::DeleteVpc(args) => args.run(session)?,
        Command::AddSubnet(args) => args.run(session)?,
        Command::DeleteSubnet(args) => args.run(session)?,
        Command::AddInstance(args) => args.run(session)?,
        Command::DeleteInstance(args) => args.run(session)?,
        Command::EnableNat(args) => args.run(session)?,
        Command::DisableNat(args) => args.run(session)?,
        Command::Peer(args) => args.run(session)?,
        Command::Unpeer(args) => args.run(session)?,
        Command::AllowCidr(args) => args.run(session)?,
        Command::ApplyPolicy(args) => args.run(session)?,
        Command::RemovePolicy(args) => args.run(session)?,
        Command::List(args) => args.run(session)?,
        Command::Inspect(args) => args.run(session)?,
        Command::Exec(args) => args.run(session)?,
        Command::TestConnectivity(args) => return args.run(session),
        Command::CleanupAll(args) => args.run(session)?,
        Command::Sandbox(args) => return args.run(),
        Command::SandboxInit(args) => return args.run(),
        Command::SandboxInternet(args) => return args.run(),
    }
    Ok(ExitCode::SUCCESS)
}
