//! Tools that fail and vpcctl that is killed, at each step of each command: what was half-done is undone or finished.

mod support;

use support::Sandbox;
use support::dump::Dump;
use support::shim::Fault;

/// A command, and what has to be there before it.
struct Case {
    before: &'static [&'static str],
    command: &'static str,
    after: &'static str,
}

const VPC: &str = "vpcctl create-vpc vpc1 10.0.0.0/16";
const SUBNET: &str = "vpcctl add-subnet vpc1 public 10.0.1.0/24 --public";
const OTHER: &str = "vpcctl create-vpc vpc2 10.1.0.0/16 && vpcctl add-subnet vpc2 a 10.1.1.0/24";

const CREATE: Case = Case { before: &[], command: VPC, after: "vpcctl delete-vpc vpc1" };
const ADD_SUBNET: Case = Case { before: &[VPC], command: SUBNET, after: "vpcctl delete-subnet vpc1/public" };
const NAT: Case = Case { before: &[VPC, SUBNET], command: "vpcctl enable-nat vpc1", after: "vpcctl disable-nat vpc1" };
const PEER: Case =
    Case { before: &[VPC, SUBNET, OTHER], command: "vpcctl peer vpc1 vpc2", after: "vpcctl unpeer vpc1 vpc2" };
const POLICY: Case = Case {
    before: &[VPC, SUBNET, "vpcctl add-instance vpc1/public/web2", "vpcctl apply-policy vpc1/public $T/one.json"],
    command: "vpcctl apply-policy vpc1/public $T/two.json",
    after: "vpcctl apply-policy vpc1/public $T/one.json",
};
const DELETE: Case = Case {
    before: &[VPC, SUBNET, OTHER, "vpcctl enable-nat vpc1", "vpcctl peer vpc1 vpc2"],
    command: "vpcctl delete-vpc vpc1",
    after: "true",
};

/// A sandbox in which the case's command can run, with shims in place of the tools.
struct Stage {
    sandbox: Sandbox,
    case: &'static Case,
    old: (String, Dump),
    new: (String, Dump),
    calls: usize,
}

impl Stage {
    /// Runs the command once undisturbed, counts its calls, and goes back.
    fn new(case: &'static Case) -> Stage {
        let mut sandbox = Sandbox::new();
        sandbox.file("one.json", r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#);
        sandbox.file("two.json", r#"{"ingress": [{"port": [22, 443], "protocol": "tcp", "action": "reject"}], "default": {"ingress": "allow"}}"#);
        sandbox.ok("echo 1 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6");
        sandbox.install_shims();
        for command in case.before {
            sandbox.ok(command);
        }
        let old = look(&mut sandbox);
        sandbox.fault(Fault::None);
        sandbox.ok(case.command);
        let calls = sandbox.calls().len();
        assert!(calls > 0, "{} starts no tool", case.command);
        let new = look(&mut sandbox);
        let mut stage = Stage { sandbox, case, old, new, calls };
        stage.go_back();
        stage
    }

    fn go_back(&mut self) {
        self.sandbox.fault(Fault::None);
        self.sandbox.ok(self.case.after);
        if self.case.after == "true" {
            // Deleted for good: what was there before is made again.
            for command in self.case.before {
                self.sandbox.ok(command);
            }
        }
    }

    /// Is what there is exactly the old or exactly the new state?
    #[track_caller]
    fn assert_old_or_new(&mut self, what: &str) {
        let (state, kernel) = look(&mut self.sandbox);
        let expected = if same_network(&state, &self.old.0) { &self.old.1 } else { &self.new.1 };
        assert!(same_network(&state, &self.old.0) || same_network(&state, &self.new.0), "{what}: the state is {state}");
        let difference = expected.difference(&kernel);
        let log = self.sandbox.ok("tail -n 30 /var/lib/vpcctl/vpcctl.log");
        assert!(
            difference.is_empty(),
            "{what}: the kernel isn't what the state says\n{}\n--- action log\n{log}",
            difference.join("\n")
        );
    }

    #[track_caller]
    fn assert_old(&mut self, what: &str) {
        let (state, kernel) = look(&mut self.sandbox);
        assert!(same_network(&state, &self.old.0), "{what}: the state is {state}");
        let difference = self.old.1.difference(&kernel);
        let log = self.sandbox.ok("tail -n 30 /var/lib/vpcctl/vpcctl.log");
        assert!(difference.is_empty(), "{what}: not undone\n{}\n--- action log\n{log}", difference.join("\n"));
    }

    fn is_new(&mut self) -> bool {
        let state = self.sandbox.state();
        same_network(&state, &self.new.0)
    }
}

fn look(sandbox: &mut Sandbox) -> (String, Dump) {
    // The shims leave nothing; the state directory is not part of the kernel.
    (sandbox.state(), sandbox.dump().without(&["host/files", "host/mounts"]))
}

/// Are two state files about the same network? They name the command that wrote them, which differs.
fn same_network(one: &str, other: &str) -> bool {
    let network =
        |text: &str| serde_json::from_str::<serde_json::Value>(text).ok().map(|value| value["network"].clone());
    let (one, other) = (network(one), network(other));
    let empty = |value: &Option<serde_json::Value>| {
        value.as_ref().is_none_or(|network| network["vpcs"].as_object().is_none_or(|vpcs| vpcs.is_empty()))
    };
    one == other || (empty(&one) && empty(&other))
}

/// Each call of the command fails once: the command fails and says where, and all is as it was.
fn fails_at_each_call(case: &'static Case) {
    let mut stage = Stage::new(case);
    for n in 1..=stage.calls {
        let what = format!("`{}`, call {n} of {} fails", case.command, stage.calls);
        stage.sandbox.fault(Fault::Fail(n));
        let output = stage.sandbox.run(case.command);
        let calls = stage.sandbox.calls();
        stage.sandbox.fault(Fault::None);
        if output.code == 0 {
            // A command that deletes goes on after a failure, if it can. Empty tables stay where `nft` fails.
            if calls[n - 1].starts_with("nft ") {
                stage.sandbox.ok("nft delete table ip nat; true");
            }
            stage.assert_old_or_new(&what);
            assert!(
                stage.is_new(),
                "{what}: a success, and nothing was done\n{}\n{}",
                output.report(),
                calls.join("\n")
            );
            stage.go_back();
            continue;
        }
        assert!(output.code == 1 || output.code == 6, "{what}\n{}", output.report());
        assert!(
            output.stderr.contains("error: ") && output.stderr.contains("Device or resource busy"),
            "{what}\n{}",
            output.report()
        );
        assert!(
            output.stderr.contains('`') || output.stderr.contains("host"),
            "{what}: no object is named\n{}",
            output.report()
        );
        let tool = calls[n - 1].split(' ').next().unwrap_or_default();
        assert!(output.stderr.contains(tool), "{what}: the command `{tool}` is not named\n{}", output.report());
        stage.assert_old(&what);
    }
    // And then it works.
    stage.sandbox.ok(case.command);
    stage.assert_old_or_new("after all failures");
}

/// vpcctl is killed at each call: the next command ends in exactly the old or the new state, and the command works then.
fn is_killed_at_each_call(case: &'static Case, fault: fn(usize) -> Fault) {
    let mut stage = Stage::new(case);
    for n in 1..=stage.calls {
        let what = format!("`{}`, {:?} of {}", case.command, fault(n), stage.calls);
        stage.sandbox.fault(fault(n));
        let output = stage.sandbox.run(case.command);
        assert_eq!(output.code, 137, "{what}\n{}", output.report());
        stage.sandbox.fault(Fault::None);
        // Whatever comes next, here something that fails, puts it right.
        stage.sandbox.expect(3, "vpcctl delete-vpc nobody");
        stage.assert_old_or_new(&what);
        if stage.is_new() {
            stage.go_back();
        }
    }
    stage.sandbox.fault(Fault::None);
    stage.sandbox.ok(case.command);
    stage.assert_old_or_new("after all kills");
}

#[test]
fn create_vpc_fails_at_each_call() {
    fails_at_each_call(&CREATE);
}

#[test]
fn add_subnet_fails_at_each_call() {
    fails_at_each_call(&ADD_SUBNET);
}

#[test]
fn enable_nat_fails_at_each_call() {
    fails_at_each_call(&NAT);
}

#[test]
fn peer_fails_at_each_call() {
    fails_at_each_call(&PEER);
}

#[test]
fn apply_policy_fails_at_each_call() {
    fails_at_each_call(&POLICY);
}

#[test]
fn delete_vpc_fails_at_each_call() {
    fails_at_each_call(&DELETE);
}

#[test]
fn create_vpc_is_killed_at_each_call() {
    is_killed_at_each_call(&CREATE, Fault::KillAfter);
}

#[test]
fn add_subnet_is_killed_at_each_call() {
    is_killed_at_each_call(&ADD_SUBNET, Fault::KillBefore);
}

#[test]
fn enable_nat_is_killed_at_each_call() {
    is_killed_at_each_call(&NAT, Fault::KillAfter);
}

#[test]
fn peer_is_killed_at_each_call() {
    is_killed_at_each_call(&PEER, Fault::KillAfter);
}

#[test]
fn apply_policy_is_killed_at_each_call() {
    is_killed_at_each_call(&POLICY, Fault::KillAfter);
}

#[test]
fn delete_vpc_is_killed_at_each_call() {
    is_killed_at_each_call(&DELETE, Fault::KillAfter);
}

#[test]
fn a_failure_that_cannot_be_undone_is_put_right_by_the_next_command() {
    let mut stage = Stage::new(&ADD_SUBNET);
    for n in 1..=stage.calls {
        stage.sandbox.fault(Fault::FailFrom(n));
        let output = stage.sandbox.run(ADD_SUBNET.command);
        assert!(output.code == 1 || output.code == 6, "{}", output.report());
        stage.sandbox.fault(Fault::None);
        stage.sandbox.expect(3, "vpcctl delete-vpc nobody");
        stage.assert_old(&format!("from call {n} on all fail"));
    }
}

#[test]
fn a_signal_leaves_the_old_or_the_new_state() {
    let mut stage = Stage::new(&CREATE);
    for n in 1..=stage.calls {
        stage.sandbox.fault(Fault::Signal(n));
        let output = stage.sandbox.run(CREATE.command);
        stage.sandbox.fault(Fault::None);
        assert!(output.code == 130 || output.code == 0, "SIGTERM at call {n}: {}", output.report());
        stage.assert_old_or_new(&format!("SIGTERM at call {n}: {}", output.stderr));
        if stage.is_new() {
            stage.go_back();
        }
    }
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
