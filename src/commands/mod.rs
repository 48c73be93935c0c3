//! One file for each subcommand: its arguments, whose doc comments are its help, and a short `run`.

pub mod add_instance;
pub mod add_subnet;
pub mod allow_cidr;
pub mod always_so;
pub mod apply;
pub mod apply_policy;
pub mod args;
pub mod check;
pub mod cleanup_all;
pub mod create_vpc;
pub mod delete_instance;
pub mod delete_subnet;
pub mod delete_vpc;
pub mod deploy_app;
pub mod destroy;
pub mod disable_nat;
pub mod doctor;
pub mod enable_nat;
pub mod exec;
pub mod explain;
pub mod export;
pub mod generate;
pub mod graph;
pub mod inspect;
pub mod list;
pub mod list_apps;
pub mod logs;
pub mod peer;
pub mod plan;
pub mod reach;
pub mod remove_policy;
pub mod repair;
pub mod restore;
pub mod run_app;
pub mod sandbox;
pub mod shell;
pub mod stop_app;
pub mod test;
pub mod test_connectivity;
pub mod topology;
pub mod unpeer;
pub mod watch;

use crate::cli::Command;
use crate::session::Session;

/// Can the command change the network? Then there is a plan to be shown, or explained.
pub fn has_plan(command: &Command) -> bool {
    use Command::{
        AddInstance, AddSubnet, AllowCidr, Apply, ApplyPolicy, CleanupAll, CreateVpc, DeleteInstance, DeleteSubnet,
        DeleteVpc, DeployApp, Destroy, DisableNat, EnableNat, Peer, RemovePolicy, Repair, Restore, StopApp, Unpeer,
    };
    let builds =
        matches!(command, CreateVpc(_) | AddSubnet(_) | AddInstance(_) | EnableNat(_) | Peer(_) | AllowCidr(_));
    let ends = matches!(command, DeleteVpc(_) | DeleteSubnet(_) | DeleteInstance(_) | DisableNat(_) | Unpeer(_));
    let is_of_instances = matches!(command, ApplyPolicy(_) | RemovePolicy(_) | DeployApp(_) | StopApp(_));
    let is_of_all = matches!(command, Apply(_) | Destroy(_) | Repair(_) | Restore(_) | CleanupAll(_));
    builds || ends || is_of_instances || is_of_all
}

/// Runs a command that works on the state.
pub fn run(command: &Command, session: &Session<'_>) -> anyhow::Result<u8> {
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
        Command::Graph(args) => args.run(session)?,
        Command::Explain(args) => args.run(session)?,
        Command::Watch(args) => args.run(session)?,
        Command::Exec(args) => return args.run(session),
        Command::Generate(args) => args.run(session)?,
        Command::Shell(args) => return args.run(session),
        Command::DeployApp(args) => args.run(session)?,
        Command::ListApps(args) => args.run(session)?,
        Command::Logs(args) => args.run(session)?,
        Command::StopApp(args) => args.run(session)?,
        Command::Plan(args) => return args.run(session),
        Command::Apply(args) => args.run(session)?,
        Command::Destroy(args) => args.run(session)?,
        Command::Export(args) => args.run(session)?,
        Command::Check(args) => args.run(session)?,
        Command::Repair(args) => args.run(session)?,
        Command::Restore(args) => args.run(session)?,
        Command::RunApp(args) => args.start(session)?,
        Command::SuperviseApp(args) => args.supervise(session)?,
        Command::InitApp(args) => args.init()?,
        Command::ExecApp(args) => return Ok(args.become_app()),
        Command::EndApp(args) => args.run(session)?,
        Command::Doctor(args) => return args.run(session),
        Command::Reach(args) => return args.run(session),
        Command::Test(args) => return args.run(session),
        Command::TestConnectivity(args) => return args.run(session),
        Command::CleanupAll(args) => args.run(session)?,
        Command::Sandbox(args) => return args.run(),
        Command::AllowIntraVpc(args) => args.run(session)?,
        Command::IsolateVpcs(args) => args.run(session)?,
        Command::SandboxInit(args) => return args.run(),
        Command::SandboxInternet(args) => return args.run(),
        Command::DoctorProbe(args) => return args.run(),
    }
    Ok(0)
}
