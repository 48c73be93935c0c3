//! Tools that hang or are missing, a reboot after a crash, and whose the host's rules are.

mod support;

use support::Sandbox;
use support::shim::Fault;

const CREATE: &str = "vpcctl create-vpc vpc1 10.0.0.0/16";

/// How many tools the command starts.
fn calls(sandbox: &mut Sandbox) -> usize {
    sandbox.install_shims();
    sandbox.fault(Fault::None);
    sandbox.ok(CREATE);
    let calls = sandbox.calls().len();
    sandbox.ok("echo off >/run/shim/mode; vpcctl delete-vpc vpc1");
    calls
}

#[test]
fn a_tool_that_hangs_is_ended_and_named() {
    let mut sandbox = Sandbox::new();
    let calls = calls(&mut sandbox);
    let before = sandbox.dump_without_files();
    for hangs in [Fault::Hangs(calls), Fault::HangsAfter(calls)] {
        sandbox.fault(hangs);
        let words = ["it hung, and was ended after 1 s", "--tool-timeout", "`ip"];
        // Whoever waited for the tool itself would wait until the sandbox loses patience.
        sandbox.fails(1, &format!("{CREATE} --tool-timeout 1"), &words);
        before.assert_same(&sandbox.dump_without_files(), "after a tool that hung");
        assert_eq!(sandbox.run("pgrep -x sleep").code, 1, "what hung is still there");
    }
    sandbox.fault(Fault::None);
    sandbox.ok(&format!("{CREATE} --tool-timeout 1"));
    sandbox.fails(2, "vpcctl --tool-timeout 0 list", &["--tool-timeout"]);
}

/// Whoever wants to get away from a tool that hangs gets away, whichever tool it is.
#[test]
fn a_second_signal_ends_a_tool_that_hangs() {
    let mut sandbox = Sandbox::new();
    let calls = calls(&mut sandbox);
    let before = sandbox.dump_without_files();
    for n in 1..=calls {
        sandbox.fault(Fault::Hangs(n));
        let output = sandbox.run(&format!(
            "{CREATE} & pid=$!
             until [ -s /run/shim/calls/{n} ]; do :; done
             while kill -TERM $pid 2>/dev/null; do sleep 0.05; done
             wait $pid"
        ));
        assert!(output.code == 130 && output.stderr.contains("interrupted"), "call {n}: {}", output.report());
        sandbox.ok("echo off >/run/shim/mode");
        // Whoever is impatient in the midst of undoing leaves that to the next command.
        sandbox.expect(3, "vpcctl delete-vpc nobody");
        before.assert_same(&sandbox.dump_without_files(), &format!("call {n}: {}", output.report()));
    }
}

#[test]
fn a_signal_ends_a_tool_that_has_hung_for_a_while() {
    let mut sandbox = Sandbox::new();
    let calls = calls(&mut sandbox);
    let before = sandbox.dump_without_files();
    sandbox.fault(Fault::Hangs(calls));
    let hung = "until [ $(ps -o etimes= -p $(pgrep -x sleep)) -ge 4 ]; do sleep 0.1; done";
    let output = sandbox.expect(
        130,
        &format!("{CREATE} & pid=$!; until pgrep -x sleep; do :; done; {hung}; kill -HUP $pid; wait $pid"),
    );
    assert!(output.stderr.contains("what the command had done was undone"), "{}", output.report());
    before.assert_same(&sandbox.dump_without_files(), "after a hang and a signal");
}

/// vpcctl is killed while a tool hangs: the tool has the lock. The next command ends it, and puts right what it left.
#[test]
fn a_tool_that_hangs_holds_nobody_up_once_vpcctl_is_killed() {
    let mut sandbox = Sandbox::new();
    let calls = calls(&mut sandbox);
    let before = sandbox.dump_without_files();
    sandbox.fault(Fault::KillHanging(calls));
    sandbox.expect(137, CREATE);
    sandbox.ok("echo off >/run/shim/mode; pgrep -x sleep");
    sandbox.fails(3, "vpcctl delete-vpc nobody", &["ended", "did not end cleanly: it is undone now"]);
    before.assert_same(&sandbox.dump_without_files(), "after a kill during a hang");
    assert_eq!(sandbox.run("pgrep -x sleep").code, 1, "what hung is still there");
}

/// The lock is the tool's as long as it runs: the next command waits for it, and finds what it did.
#[test]
fn a_tool_that_goes_on_after_a_kill_is_waited_for() {
    let mut sandbox = Sandbox::new();
    let calls = calls(&mut sandbox);
    let before = sandbox.dump_without_files();
    sandbox.fault(Fault::KillDuring(calls));
    let output =
        sandbox.run(&format!("{CREATE}; flock -n /var/lib/vpcctl/lock true && echo free; vpcctl delete-vpc nobody"));
    assert!(output.code == 3 && !output.stdout.contains("free"), "{}", output.report());
    before.assert_same(&sandbox.dump_without_files(), "after a kill while a tool went on");
}

#[test]
fn a_missing_tool_is_named_with_its_package() {
    let mut sandbox = Sandbox::new();
    sandbox.install_shims();
    sandbox.ok("rm /run/shim/sbin/ipset");
    let files = ["host/files", "host/processes"];
    let before = sandbox.dump().without(&files);
    sandbox.fails(6, "vpcctl create-vpc vpc1 10.0.0.0/16", &["`ipset`", "apt install ipset"]);
    before.assert_same(&sandbox.dump().without(&files), "after a missing tool");
}

/// A command is cut off, and then the machine is: the next command undoes the one and mends what the other took, a peer's
/// namespace included.
#[test]
fn a_command_that_was_cut_off_is_undone_after_a_reboot() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("vpcctl create-vpc v 10.4.0.0/16 && vpcctl create-vpc w 10.6.0.0/16 && vpcctl peer v w
         vpcctl add-subnet v a 10.4.1.0/24 && cp /var/lib/vpcctl/state.json $T/before
         vpcctl add-subnet v b 10.4.2.0/24 && mv /var/lib/vpcctl/state.json /var/lib/vpcctl/intent.json
         cp $T/before /var/lib/vpcctl/state.json
         for netns in v w v-a v-b; do ip netns del $netns; done; iptables -F; iptables -X");
    sandbox.says("vpcctl create-vpc v 10.4.0.0/16", &["did not end cleanly: it is undone now"]);
    let inspection = sandbox.ok("vpcctl inspect");
    assert!(!inspection.contains("wrong"), "{inspection}");
    assert!(!inspection.contains("v/b"), "{inspection}");
    sandbox.ok("ping -c 1 -W 2 10.4.1.2");
}

/// Whoever goes last by a state that doesn't know of the others leaves the rules that close the host to them.
#[test]
fn the_hosts_rules_stay_for_another_vpcctls_uplinks() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("vpcctl create-vpc v 10.4.0.0/16 && mkdir -m 700 $T/other");
    let before = sandbox.ok("iptables -S");
    sandbox.ok("vpcctl --state-dir $T/other create-vpc n 10.8.0.0/16");
    sandbox.says("vpcctl --state-dir $T/other delete-vpc n", &["another vpcctl has uplinks on this host"]);
    assert_eq!(sandbox.ok("iptables -S"), before);
    sandbox.ok("vpcctl delete-vpc v");
    let after = sandbox.ok("iptables -S");
    assert!(!after.contains("VPCCTL"), "{after}");
}
