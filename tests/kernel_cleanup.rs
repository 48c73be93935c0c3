//! All that vpcctl made goes, and nothing else: by `cleanup-all`, and by `scripts/cleanup.sh` where the state is lost.

mod support;

use support::Sandbox;
use support::dump::Dump;

/// Somebody's links, namespaces, rules, sets and routes, some of them under names like vpcctl's.
const FOREIGN: &str = r#"set -e
ip link add name vpc-mine type bridge
ip link set dev vpc-mine alias "somebody's"
ip netns add somebodys
ip netns add vpc1-somebodys
iptables -A INPUT -s 192.0.2.1 -m comment --comment "see vpcctl: a note" -j DROP
iptables -A FORWARD -s 192.0.2.2 -j REJECT
iptables -N VPCCTL-MINE
iptables -A VPCCTL-MINE -s 192.0.2.3 -j DROP
iptables -A FORWARD -j VPCCTL-MINE
iptables -t nat -A POSTROUTING -s 192.0.2.0/24 -o eth0 -j MASQUERADE
ipset create vpcctl-mine hash:net
ip route add 192.0.2.0/24 via 198.51.100.1 proto 118
ip route add 192.0.2.0/24 via 198.51.100.1 proto static table 30320
ip rule add pref 31000 from 192.0.2.9 lookup main
"#;

/// The state directory.
const STATE_DIR: &str = "${VPCCTL_STATE_DIR:-/var/lib/vpcctl}";

/// VPCs with all that there is, and what runs in them.
fn build(sandbox: &mut Sandbox) {
    sandbox.add_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.add_vpc("a-vpc-with-a-long-name", "10.2");
    sandbox.ok("vpcctl peer vpc1 vpc2 && vpcctl add-instance vpc1/private/db");
    let file = sandbox.file("web.json", r#"{"ingress": [{"port": 80, "action": "allow"}]}"#);
    sandbox.ok(&format!("vpcctl apply-policy vpc1/public {file}"));
    sandbox.serve("vpc1-public", &[80]);
}

/// A host with somebody's objects, what it has, and VPCs on it.
fn busy_host() -> (Sandbox, Dump) {
    let mut sandbox = Sandbox::new();
    sandbox.ok(FOREIGN);
    let before = sandbox.dump();
    build(&mut sandbox);
    (sandbox, before)
}

/// The script as somebody types it who has no vpcctl.
fn script(arguments: &str) -> String {
    format!("env PATH=/usr/bin:/bin {}/scripts/cleanup.sh {arguments}", env!("CARGO_MANIFEST_DIR"))
}

/// Runs a command on a terminal of its own, and types a line once it is asked for.
fn on_terminal(command: &str, line: &str) -> String {
    let asked = "until grep -qsF '[y/N]' $T/terminal; do sleep 0.01; done";
    format!("rm -f $T/terminal; ( {asked}; printf '{line}\\n' ) | script -qefc '{command}' $T/terminal")
}

#[test]
fn cleanup_all_takes_everything_and_nothing_else() {
    let (mut sandbox, before) = busy_host();
    sandbox.says("vpcctl cleanup-all --yes", &["deleted 3 VPCs, 4 subnets, 5 instances and 1 peering"]);
    before.assert_same(&sandbox.dump(), "after cleanup-all");
    sandbox.says("vpcctl list", &["no VPCs"]);
    let files = sandbox.ok(&format!("ls {STATE_DIR}"));
    assert_eq!(files, "lock\nstate.json\nvpcctl.log\n", "the log stays");
    sandbox.says("vpcctl cleanup-all --yes", &["no VPCs: nothing to clean up"]);
    sandbox.says("vpcctl cleanup-all", &["no VPCs: nothing to clean up"]);
}

#[test]
fn cleanup_all_asks_first() {
    let mut sandbox = Sandbox::with_vpc1();
    let before = sandbox.dump();
    sandbox.fails(2, "vpcctl cleanup-all", &["nobody is there to be asked", "--yes"]);
    let shown = ["vpc1 10.0.0.0/16: 2 subnets, 2 instances", "[y/N]"];
    for no in ["n", "", "x"] {
        let output = sandbox.expect(1, &on_terminal("vpcctl cleanup-all", no));
        assert!(shown.iter().all(|words| output.stdout.contains(words)), "{}", output.report());
    }
    let script = sandbox.ok("vpcctl --dry-run cleanup-all");
    assert!(script.contains("ip netns del vpc1-public"), "{script}");
    before.assert_same(&sandbox.dump(), "without a yes");
    sandbox.expect(130, &on_terminal("vpcctl cleanup-all", "\\003"));
    before.assert_same(&sandbox.dump(), "after Ctrl-C");
    sandbox.says(&on_terminal("vpcctl cleanup-all", "y"), &["deleted 1 VPC, 2 subnets, 2 instances and 0 peerings"]);
    assert_eq!(sandbox.ok("ls /run/netns"), "internet\n");
}

#[test]
fn the_dry_run_of_cleanup_all_is_a_script_that_does_it() {
    let (mut sandbox, before) = busy_host();
    sandbox.ok("vpcctl --dry-run cleanup-all | sh -e");
    // It says `kill` and doesn't wait: the namespace is gone by name at once, its process a moment later.
    sandbox.wait_for("! pgrep -f '[p]eer.py serve'");
    before.assert_same(&sandbox.dump(), "after the script");
}

#[test]
fn the_script_does_without_the_state() {
    let (mut sandbox, before) = busy_host();
    sandbox.ok(&format!("rm {STATE_DIR}/state.json; mkdir -p {STATE_DIR}/apps/x; touch {STATE_DIR}/apps/x/pid"));
    let with_vpcs = sandbox.dump();
    let planned = sandbox.ok(&script("--dry-run"));
    assert!(planned.contains("would remove namespace vpc1-private-db\n"), "{planned}");
    with_vpcs.assert_same(&sandbox.dump(), "after a dry run");
    let output = sandbox.expect(0, &script("--yes"));
    for gone in [
        "removed processes in namespace vpc1-public: ",
        "removed namespace vpc1-private-db\n",
        "removed interface vpc-vpc2\n",
        "removed rule pref 31000 iif lo lookup 30320\n",
        "removed forwarding on eth0\n",
        "removed chain VPCCTL-FORWARD of table filter\n",
    ] {
        assert!(output.stdout.contains(gone), "no `{gone}`: {}", output.report());
    }
    for stranger in ["VPCCTL-MINE", "vpc-mine", "vpcctl-mine", "vpc1-somebodys"] {
        assert!(output.stderr.contains(stranger), "nothing of {stranger}: {}", output.report());
    }
    before.assert_same(&sandbox.dump(), "after the script");
    sandbox.ok(&format!("test ! -e {STATE_DIR}/apps"));
    sandbox.says(&script("--yes"), &["nothing of vpcctl is here"]);
    sandbox.add_vpc1();
    sandbox.pings("vpc1-public", "203.0.113.10");
}

#[test]
fn the_script_puts_a_damaged_state_aside() {
    let (mut sandbox, before) = busy_host();
    let stubborn = "sh -c 'trap \"\" TERM; echo ready; while :; do sleep 0.1; done'";
    sandbox.start("vpc2-a", "stubborn", stubborn);
    sandbox.wait_for_file("stubborn.out", |out| out.contains("ready"));
    sandbox.ok(&format!("truncate -s 300 {STATE_DIR}/state.json"));
    sandbox.fails(8, "vpcctl cleanup-all --yes", &["damaged"]);
    sandbox.says(&script("--yes"), &["removed damaged ", "all that vpcctl made is gone"]);
    before.assert_same(&sandbox.dump(), "after the script");
    let files =
        sandbox.ok(&format!("cd {STATE_DIR} && wc -c state.json.damaged-* | grep -o '^300'; test ! -e state.json"));
    assert_eq!(files, "300\n");
    sandbox.says("vpcctl list", &["no VPCs"]);
}

#[test]
fn the_script_takes_away_tables_that_came_with_vpcctl() {
    let mut sandbox = Sandbox::new();
    let before = sandbox.dump();
    build(&mut sandbox);
    sandbox.ok(&script("--yes"));
    before.assert_same(&sandbox.dump(), "after the script");
    assert_eq!(sandbox.ok(&format!("ls {STATE_DIR}")), "lock\nvpcctl.log\n");
}

#[test]
fn the_script_copes_with_flushed_rules() {
    let mut sandbox = Sandbox::new();
    let before = sandbox.dump();
    build(&mut sandbox);
    sandbox.ok("iptables -F && iptables -t nat -F");
    sandbox.ok(&script("--yes"));
    before.assert_same(&sandbox.dump(), "after the script");
}

#[test]
fn the_script_names_what_it_can_not_remove() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("iptables -N OTHER && iptables -A OTHER -j VPCCTL-INPUT");
    sandbox.fails(1, &script("--yes"), &["cannot remove chain VPCCTL-INPUT of table filter", "left in place: 1"]);
    sandbox.ok("iptables -F OTHER");
    sandbox.says(&script("--yes"), &["removed chain VPCCTL-INPUT", "all that vpcctl made is gone"]);
}

#[test]
fn the_script_asks_first() {
    let mut sandbox = Sandbox::with_vpc1();
    let before = sandbox.dump();
    sandbox.fails(2, &script(""), &["nobody is there to be asked"]);
    sandbox.fails(2, &script("--force"), &["`--force` is not an option"]);
    let terminal = on_terminal(&script(""), "n");
    let output = sandbox.expect(1, &terminal);
    assert!(output.stdout.contains("3 namespaces, 1 interfaces"), "{}", output.report());
    sandbox.fails(6, &format!("ip netns exec vpc1-public {}", script("--yes")), &["inside of a namespace"]);
    before.assert_same(&sandbox.dump(), "without a yes");
    sandbox.says(&on_terminal(&script(""), "y"), &["all that vpcctl made is gone"]);
}
