//! Each command, disturbed at each tool that it starts: vpcctl killed, the tool failing, hanging or killed, a signal. What was
//! half-done is undone or finished, by the command itself or by the next one.

mod support;

use clap::CommandFactory;

use support::cases::{self, CASES, Case};
use support::faults::Stage;
use support::shim::Fault;

/// vpcctl is killed before each tool, while it runs to its end, while it runs and then ends half-way, and after it.
fn kills(case: &'static Case) {
    let mut stage = Stage::new(case);
    stage.is_killed(Fault::KillBefore, 0);
    stage.is_killed(Fault::KillDuring, 1);
    stage.is_killed(Fault::KillHalf, 2);
    stage.is_killed(Fault::KillAfter, 3);
    stage.end();
}

/// Each tool fails, is killed in the middle of its work and at the end of it, fails with all that follow, hangs,
/// and runs while vpcctl is asked to end.
fn failures(case: &'static Case) {
    let mut stage = Stage::new(case);
    stage.fails(Fault::Fail, "Device or resource busy");
    stage.fails(Fault::Dies, "exit code 137");
    stage.fails(Fault::DiesAfter, "exit code 137");
    stage.fails_for_good(Fault::FailFrom, 0);
    stage.fails_for_good(Fault::Hangs, 1);
    stage.is_asked_to_end(|n| Fault::Signal(["INT", "TERM", "HUP"][n % 3], n));
    stage.end();
}

/// The two, for each case.
macro_rules! disturbed {
    ($($name:ident: $case:ident,)*) => { $(
        mod $name {
            #[test]
            fn is_killed_at_each_tool() { super::kills(&super::cases::$case); }
            #[test]
            fn has_each_tool_fail() { super::failures(&super::cases::$case); }
        }
    )* };
}

disturbed! {
    create_vpc: CREATE_VPC,
    add_subnet: ADD_SUBNET,
    add_instance: ADD_INSTANCE,
    enable_nat: ENABLE_NAT,
    disable_nat: DISABLE_NAT,
    peer: PEERING,
    allow_cidr: ALLOW_CIDR,
    unpeer: UNPEER,
    apply_policy: APPLY_POLICY,
    remove_policy: REMOVE_POLICY,
    delete_instance: DELETE_INSTANCE,
    delete_subnet: DELETE_SUBNET,
    delete_vpc: DELETE_VPC,
    deploy_app: DEPLOY_APP,
    stop_app: STOP_APP,
    restore: RESTORE,
    repair: REPAIR,
    apply: APPLY,
    destroy: DESTROY,
    cleanup_all: CLEANUP_ALL,
}

#[test]
fn every_command_that_changes_something_is_disturbed() {
    let source = include_str!("kernel_faults.rs");
    let command = vpcctl::cli::Cli::command();
    for subcommand in command.get_subcommands().map(clap::Command::get_name) {
        let reads = cases::READERS.contains(&subcommand);
        let disturbed = CASES.iter().any(|case| case.name() == subcommand);
        assert!(reads != disturbed, "`{subcommand}` is neither disturbed here nor one that changes nothing");
        let listed = source.contains(&format!("\n    {}: ", subcommand.replace('-', "_")));
        assert_eq!(disturbed, listed, "{subcommand}");
    }
}
