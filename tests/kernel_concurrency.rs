//! Many vpcctl at once, and the lock: nothing is lost or doubled, readers wait for nobody, and who has the lock is named.

mod support;

use std::time::Duration;

use support::Sandbox;

/// A tool that hangs while there is a file `/run/hang/TOOL`, until somebody writes into its FIFO; then it works.
const HANGING: &str = r#"#!/bin/sh
tool=${0##*/}
test -e /run/hang/$tool && echo $$ >>/run/hang/begun && cat /run/hang/fifo >/dev/null
exec /run/real/$tool "$@"
"#;

/// Puts [`HANGING`] in place of the tools.
fn with_tools_that_can_hang() -> Sandbox {
    let mut sandbox = Sandbox::new();
    let script = sandbox.file("hanging.sh", HANGING);
    sandbox.ok(&format!(
        "mkdir -p /run/real /run/hang/sbin && mount --bind /usr/sbin /run/real && mkfifo /run/hang/fifo
         cd /run/hang/sbin && for f in /run/real/*; do ln -s $f .; done
         for tool in ip ipset iptables-restore; do rm -f $tool && cp {script} $tool && chmod 755 $tool; done
         mount --bind /run/hang/sbin /usr/sbin"
    ));
    sandbox
}

/// Starts a command whose `tool` hangs; the numbers of vpcctl and of the tool.
fn start_hanging(sandbox: &mut Sandbox, tool: &str, command: &str) -> (u32, u32) {
    sandbox.ok(&format!("rm -f /run/hang/begun; : >/run/hang/{tool}"));
    let vpcctl = sandbox.start("host", "hanging", &format!("vpcctl {command}"));
    let begun = sandbox.wait_for("cat /run/hang/begun");
    sandbox.ok(&format!("rm /run/hang/{tool}"));
    (vpcctl, begun.trim().parse().expect("a process number"))
}

/// Lets the tool work.
fn release(sandbox: &mut Sandbox) {
    sandbox.ok("echo go >/run/hang/fifo");
}

#[test]
fn a_waiting_command_says_for_whom_and_readers_do_not_wait() {
    let mut sandbox = with_tools_that_can_hang();
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16");
    let (holder, _) = start_hanging(&mut sandbox, "ipset", "add-subnet vpc1 a 10.0.1.0/24");
    let whom = format!("`vpcctl add-subnet vpc1 a 10.0.1.0/24` (process {holder})");
    sandbox.start("host", "waiting", "vpcctl create-vpc vpc2 10.1.0.0/16");
    sandbox.wait_for_file("waiting.out", |out| out.contains(&format!("note: waiting for {whom}\n")));
    let refused =
        sandbox.fails(7, "vpcctl --lock-timeout 0 create-vpc vpc3 10.2.0.0/16", &[&format!("{whom} is at work")]);
    assert!(!refused.stderr.contains("waiting"), "{}", refused.report());
    sandbox.fails(
        7,
        "vpcctl --lock-timeout 0.3 create-vpc vpc3 10.2.0.0/16",
        &["note: waiting for", &format!("error: {whom}")],
    );
    let json = sandbox.fails(7, "vpcctl -o json --lock-timeout 0 create-vpc vpc3 10.2.0.0/16", &["\"kind\":\"busy\""]);
    assert_eq!(json.stderr.lines().count(), 1, "{}", json.report());
    for reader in ["list", "inspect vpc1", "list-apps", "--dry-run create-vpc vpc4 10.4.0.0/16", "doctor"] {
        let output = sandbox.run(&format!("vpcctl --lock-timeout 0 {reader}"));
        let is_answer = output.code == 0 || output.code == 9;
        assert!(is_answer && output.took < Duration::from_secs(5), "{}", output.report());
    }
    assert!(!sandbox.ok("vpcctl list").contains("vpc2"));
    release(&mut sandbox);
    sandbox.wait_for_file("waiting.out", |out| out.contains("created VPC vpc2"));
    let inspection = sandbox.ok("vpcctl inspect vpc1");
    assert!(inspection.contains("vpc1/a ") && !inspection.contains("wrong"), "{inspection}");
}

#[test]
fn a_signal_ends_a_command_that_waits() {
    let mut sandbox = with_tools_that_can_hang();
    start_hanging(&mut sandbox, "ip", "create-vpc vpc1 10.0.0.0/16");
    for (signal, name) in ["INT", "TERM", "HUP"].into_iter().zip(["one", "two", "three"]) {
        let line = "sh -c 'vpcctl create-vpc vpc2 10.1.0.0/16 & p=$!; echo pid $p; trap : INT TERM HUP; wait $p; echo code $?'";
        sandbox.start("host", name, line);
        let out = sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("waiting for"));
        let pid = out.lines().find_map(|line| line.strip_prefix("pid ")).expect("a number").to_owned();
        sandbox.ok(&format!("kill -{signal} {pid}"));
        sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("code 130") && out.contains("had not begun"));
    }
    release(&mut sandbox);
    sandbox.wait_for_file("hanging.out", |out| out.contains("created VPC vpc1"));
}

#[test]
fn a_tool_keeps_the_lock_after_its_vpcctl_and_is_ended_when_it_hangs() {
    let mut sandbox = with_tools_that_can_hang();
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16");
    let before = sandbox.dump().without(&["host/files", "host/processes"]);
    let (vpcctl, tool) = start_hanging(&mut sandbox, "iptables-restore", "add-subnet vpc1 a 10.0.1.0/24");
    sandbox.ok(&format!("kill -9 {vpcctl}"));
    let whom = format!("`iptables-restore` (process {tool}, started by a vpcctl that is gone)");
    sandbox.fails(7, "vpcctl --lock-timeout 0 delete-vpc vpc9", &[&whom, "--lock-timeout"]);
    // It is a living process that may yet change the kernel: nobody begins before it has ended.
    let output =
        sandbox.fails(3, "vpcctl delete-vpc vpc9", &[&format!("waiting for {whom}"), &format!("ended {whom}")]);
    assert!(output.took > Duration::from_secs(4), "{}", output.report());
    assert!(output.stderr.contains("it is undone now"), "{}", output.report());
    sandbox.ok(&format!("! kill -0 {tool}"));
    before.assert_same(&sandbox.dump().without(&["host/files", "host/processes"]), "after the tool was ended");
    sandbox.ok("vpcctl add-subnet vpc1 a 10.0.1.0/24");
}

#[test]
fn a_tool_that_ends_in_time_is_not_ended() {
    let mut sandbox = with_tools_that_can_hang();
    let (vpcctl, tool) = start_hanging(&mut sandbox, "iptables-restore", "create-vpc vpc1 10.0.0.0/16");
    sandbox.ok(&format!("kill -9 {vpcctl}"));
    sandbox.start("host", "waiting", "vpcctl create-vpc vpc2 10.1.0.0/16");
    sandbox.wait_for_file("waiting.out", |out| out.contains(&format!("(process {tool}, ")));
    release(&mut sandbox);
    let out = sandbox.wait_for_file("waiting.out", |out| out.contains("created VPC vpc2"));
    assert!(out.contains("it is undone now") && !out.contains("ended"), "{out}");
}

#[test]
fn a_stranger_who_holds_the_lock_is_named_and_left_alone() {
    let mut sandbox = with_tools_that_can_hang();
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16 && mkfifo $T/held");
    let holder = sandbox.start("host", "holder", "flock /var/lib/vpcctl/lock sh -c 'echo held; cat $T/held'");
    sandbox.wait_for_file("holder.out", |out| out.contains("held"));
    let whom = format!("`flock` (process {holder})");
    // Longer than a tool of ours would be spared.
    let output = sandbox.fails(
        7,
        "vpcctl --lock-timeout 6 create-vpc vpc2 10.1.0.0/16",
        &["waiting for", &whom, "none of vpcctl's"],
    );
    assert!(!output.stderr.contains("ended"), "{}", output.report());
    sandbox.ok(&format!("kill -0 {holder} && vpcctl list && vpcctl inspect vpc1"));
    // What the file says is words: neither garbage nor a dead or foreign process in it changes anything.
    for garbage in ["\\033[31mx", "{}", "{\"process\":{\"pid\":1,\"start\":0,\"boot\":\"\"},\"command\":\"x\"}", ""] {
        sandbox.ok(&format!("printf '{garbage}' >/var/lib/vpcctl/lock"));
        sandbox.fails(7, "vpcctl --lock-timeout 0 create-vpc vpc2 10.1.0.0/16", &[&whom]);
    }
    sandbox.ok("echo go >$T/held");
    sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16");
}
