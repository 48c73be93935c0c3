//! `vpcctl doctor` in sandboxes: a healthy one, and ones that are broken in earnest.

mod support;

use support::Sandbox;

use serde_json::Value;

/// The findings with an id, each as its level and all its words.
fn findings(sandbox: &mut Sandbox, id: &str) -> Vec<(String, String)> {
    let output = sandbox.run("vpcctl doctor -o json");
    let report: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|_| sandbox.fail("no JSON", &output));
    assert_eq!(report["version"], 1);
    let findings = report["findings"].as_array().expect("a list");
    let problem = findings.iter().any(|finding| finding["level"] == "problem");
    assert_eq!(report["able"], !problem, "{report}");
    assert_eq!(output.code, if problem { 6 } else { 0 }, "{}", output.report());
    let chosen = findings.iter().filter(|finding| finding["id"] == id);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    chosen.map(|f| (text(&f["level"]), format!("{} {}", text(&f["what"]), text(&f["remedy"])))).collect()
}

/// There is one finding with this id, of this level, with these words.
#[track_caller]
fn finds(sandbox: &mut Sandbox, id: &str, level: &str, words: &[&str]) {
    let found = findings(sandbox, id);
    assert_eq!(found.len(), 1, "{id}: {found:?}");
    let (found_level, text) = &found[0];
    assert_eq!(found_level, level, "{text}");
    words.iter().for_each(|word| assert!(text.contains(word), "`{text}` lacks `{word}`"));
}

/// There is none.
#[track_caller]
fn finds_none(sandbox: &mut Sandbox, id: &str) {
    let found = findings(sandbox, id);
    assert!(found.is_empty(), "{found:?}");
}

#[test]
fn a_healthy_sandbox_can_run_vpcctl_and_is_as_before() {
    let mut sandbox = Sandbox::new();
    let before = sandbox.dump_host();
    let output = sandbox.expect(0, "vpcctl doctor");
    before.assert_same(&sandbox.dump_host(), "before and after");
    sandbox.ok("test -z \"$(ls -A /var/lib/vpcctl)\"");
    assert_eq!(output.stderr, "");
    assert!(output.stdout.starts_with("LEVEL  CHECK"), "{}", output.stdout);
    assert!(output.stdout.ends_with("\nthis host can run vpcctl: nothing is in the way\n"), "{}", output.stdout);
    finds(&mut sandbox, "kernel-features", "ok", &["all work"]);
    finds(&mut sandbox, "state", "ok", &["no VPCs"]);
    sandbox.says("vpcctl doctor -o yaml", &["able: true", "- id: tools"]);
}

#[test]
fn vpcs_are_not_taken_for_what_is_in_their_way() {
    let mut sandbox = Sandbox::with_vpc1();
    let output = sandbox.expect(0, "vpcctl doctor");
    assert!(output.stdout.ends_with("nothing is in the way\n"), "{}", output.stdout);
    finds(&mut sandbox, "state", "ok", &["1 VPC"]);
    finds_none(&mut sandbox, "other-state");
    let other = sandbox.expect(0, "vpcctl --state-dir /run/other doctor -o json").stdout;
    assert!(other.contains("\"other-state\"") && other.contains(": vpc-vpc1"), "{other}");
    sandbox.ok("test ! -e /run/other");
}

#[test]
fn a_missing_tool_is_a_problem_that_create_vpc_meets_too() {
    let mut sandbox = Sandbox::new();
    sandbox.install_shims();
    finds_none(&mut sandbox, "tool-ipset");
    sandbox.ok("rm /run/shim/sbin/ipset");
    finds(&mut sandbox, "tool-ipset", "problem", &["`ipset` is missing", "apt install ipset"]);
    sandbox.fails(6, "vpcctl create-vpc vpc1 10.0.0.0/16", &["ipset"]);
    let output = sandbox.expect(6, "vpcctl doctor");
    assert!(output.stdout.ends_with("this host can't run vpcctl: 1 problem\n"), "{}", output.stdout);
}

/// In the place of `ip`, in a sandbox with shims.
fn replace_ip(sandbox: &mut Sandbox, script: &str) {
    let file = sandbox.file("ip.sh", &format!("#!/bin/sh\n{script}\nexec /run/real/ip \"$@\"\n"));
    sandbox.ok(&format!("cp {file} /run/shim/sbin/ip && chmod 755 /run/shim/sbin/ip"));
}

#[test]
fn an_old_tool_and_a_kernel_without_bridges() {
    let mut sandbox = Sandbox::new();
    sandbox.install_shims();
    replace_ip(&mut sandbox, "[ \"$1\" = -V ] && echo 'ip utility, iproute2-5.10.0' && exit");
    finds(&mut sandbox, "tool-ip", "problem", &["5.10", "5.18"]);
    let refuse = "case \"$*\" in '-batch -') lines=$(cat)
        case $lines in *'type bridge mcast'*) echo 'Error: Unknown device type.' >&2; exit 1;; esac
        echo \"$lines\" | /run/real/ip -batch -; exit;; esac";
    replace_ip(&mut sandbox, refuse);
    finds(&mut sandbox, "kernel-bridge", "problem", &["Unknown device type", "modprobe bridge"]);
    for other in ["tool-ip", "kernel-veth", "kernel-locked-ports", "kernel-static-fdb", "kernel-proxy-arp"] {
        finds_none(&mut sandbox, other);
    }
    sandbox.fails(1, "vpcctl create-vpc vpc1 10.0.0.0/16", &["Unknown device type"]);
}

#[test]
fn a_dead_file_among_the_namespaces() {
    let mut sandbox = Sandbox::with_vpc1();
    finds_none(&mut sandbox, "dead-namespaces");
    sandbox.ok("umount /run/netns/vpc1-private && touch /run/netns/foreign");
    finds(&mut sandbox, "dead-namespaces", "warning", &["foreign, vpc1-private", "ip netns del foreign"]);
    sandbox.ok("ip netns del foreign; vpcctl create-vpc vpc1 10.0.0.0/16");
    finds_none(&mut sandbox, "dead-namespaces");
}

#[test]
fn mounts_of_its_own_hide_namespaces_from_others() {
    let mut sandbox = Sandbox::new();
    finds_none(&mut sandbox, "mount-namespace");
    let output = sandbox.ok("unshare -m sh -c 'vpcctl doctor; ip netns add hidden'");
    assert!(output.contains("\nwarning  mount-namespace "), "{output}");
    sandbox.expect(255, "ip netns exec hidden true");
    finds(&mut sandbox, "dead-namespaces", "warning", &["hidden"]);
}

#[test]
fn docker_and_a_policy_of_drop_are_named_and_no_obstacle() {
    let mut sandbox = Sandbox::new();
    finds(&mut sandbox, "forward-policy", "ok", &["ACCEPT"]);
    finds_none(&mut sandbox, "docker");
    sandbox.ok("iptables -P FORWARD DROP");
    finds(&mut sandbox, "forward-policy", "ok", &["DROP"]);
    sandbox.ok("iptables -t nat -N DOCKER");
    finds(&mut sandbox, "docker", "ok", &["side by side"]);
    sandbox.ok("iptables -t nat -X DOCKER && ip link add name docker0 type bridge");
    finds(&mut sandbox, "docker", "ok", &["side by side"]);
}

#[test]
fn a_chain_beside_iptables_that_drops_is_in_the_way_until_it_has_the_remedy() {
    let mut sandbox = Sandbox::with_vpc1();
    let internet = "ip netns exec vpc1-public curl -s --max-time 1 http://203.0.113.5/";
    sandbox.ok(internet);
    finds_none(&mut sandbox, "forward-barrier");
    sandbox.ok("nft add table inet own");
    sandbox.ok("nft 'add chain inet own forward { type filter hook forward priority 0; policy drop; }'");
    finds(&mut sandbox, "forward-barrier", "warning", &["chain forward", "inet own", "internet"]);
    sandbox.expect(28, internet);
    sandbox.ok("nft 'add rule inet own forward iifname \"vpc-*\" accept'");
    finds(&mut sandbox, "forward-barrier", "warning", &["chain forward"]);
    sandbox.ok("nft 'add rule inet own forward oifname \"vpc-*\" ct state established accept'");
    finds_none(&mut sandbox, "forward-barrier");
    sandbox.ok(internet);
}

#[test]
fn rules_of_both_flavours() {
    let mut sandbox = Sandbox::new();
    finds_none(&mut sandbox, "iptables-mix");
    sandbox.ok("iptables -A FORWARD -j ACCEPT && iptables-legacy -A FORWARD -j ACCEPT");
    finds(&mut sandbox, "iptables-mix", "warning", &["legacy", "filter", "iptables-legacy-save"]);
    sandbox.ok("iptables-legacy -F FORWARD");
    finds_none(&mut sandbox, "iptables-mix");
}

#[test]
fn rules_that_iptables_cannot_read_are_a_problem() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("nft add table ip filter && nft add chain ip filter FORWARD '{ type filter hook forward priority 0; }'");
    finds_none(&mut sandbox, "firewall-rules");
    sandbox.ok("nft add rule ip filter FORWARD meta random 5 accept");
    finds(&mut sandbox, "firewall-rules", "problem", &["can't be read", "table of another name"]);
    sandbox.fails(6, "vpcctl create-vpc vpc1 10.0.0.0/16", &["iptables-save", "table of another name"]);
}

#[test]
fn a_vpn_that_overlaps_a_vpc_or_the_pool_is_named() {
    let mut sandbox = Sandbox::with_vpc1();
    finds_none(&mut sandbox, "vpc-overlap");
    finds_none(&mut sandbox, "uplink-pool");
    // A link of another kind with a VPN's name: not every kernel has WireGuard.
    sandbox.ok("ip link add name wg0 type bridge && ip addr add 10.0.9.1/24 dev wg0 && ip link set dev wg0 up");
    finds(&mut sandbox, "vpc-overlap", "warning", &["vpc1's 10.0.0.0/16", "10.0.9.0/24", "wg0, a VPN"]);
    sandbox.ok("vpcctl create-vpc vpc2 10.0.0.0/16");
    let found = findings(&mut sandbox, "vpc-overlap");
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[1].1.contains("vpc2") && found[1].1.contains("no way to its instances"), "{found:?}");
    sandbox.ok("ip route add 198.19.128.0/17 dev wg0");
    finds(&mut sandbox, "uplink-pool", "warning", &["198.19.128.0/17", "wg0, a VPN", "--uplink-pool"]);
    finds_none(&mut sandbox, "uplink-overlap");
    assert_eq!(sandbox.run("VPCCTL_UPLINK_POOL=198.18.0.0/16 vpcctl doctor | grep -c uplink-pool").stdout, "0\n");
}

#[test]
fn a_state_file_that_is_damaged_or_cut_off_or_in_use() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("cp /var/lib/vpcctl/state.json /var/lib/vpcctl/intent.json");
    finds(&mut sandbox, "unfinished-command", "warning", &["enable-nat vpc1"]);
    sandbox.ok("rm /var/lib/vpcctl/intent.json");
    finds_none(&mut sandbox, "unfinished-command");
    finds_none(&mut sandbox, "lock");
    let output = sandbox.ok("flock /var/lib/vpcctl/lock vpcctl doctor");
    assert!(output.contains("\nwarning  lock "), "{output}");
    sandbox.ok("chmod 777 /var/lib/vpcctl");
    finds(&mut sandbox, "state-directory", "problem", &["not safe", "chmod 700"]);
    sandbox.ok("chmod 700 /var/lib/vpcctl; echo '{' >/var/lib/vpcctl/state.json");
    finds(&mut sandbox, "state", "problem", &["damaged", "backup"]);
    // The uplink is nobody's who is known, and still not in its own way.
    for other in ["state-directory", "uplink-pool", "other-state"] {
        finds_none(&mut sandbox, other);
    }
}

#[test]
fn a_state_directory_without_room_or_that_is_read_only() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("mkdir /run/full && mount -t tmpfs -o size=1m none /run/full");
    let doctor = |sandbox: &mut Sandbox, code| sandbox.expect(code, "vpcctl --state-dir /run/full/state doctor").stdout;
    assert!(doctor(&mut sandbox, 0).contains("\nwarning  disk "));
    sandbox.run("cat /dev/zero >/run/full/zero");
    assert!(doctor(&mut sandbox, 6).contains("\nproblem  disk "));
    sandbox.ok("rm /run/full/zero && mount -o remount,ro /run/full");
    assert!(doctor(&mut sandbox, 6).contains("read-only"));
}

#[test]
fn without_capabilities_root_is_no_root() {
    let mut sandbox = Sandbox::new();
    let less = sandbox.expect(6, "setpriv --bounding-set -net_admin --inh-caps -net_admin vpcctl doctor");
    assert!(less.stdout.contains("root without CAP_NET_ADMIN"), "{}", less.stdout);
    sandbox.ok("mount -o remount,ro,bind /proc/sys || mount --bind -o ro /proc/sys /proc/sys");
    finds(&mut sandbox, "settings", "problem", &["read-only"]);
}

#[test]
fn it_is_quick() {
    let mut sandbox = Sandbox::with_vpc1();
    let took = (0..3).map(|_| sandbox.expect(0, "vpcctl doctor").took).min().expect("three times");
    assert!(took.as_millis() < 1000, "{took:?}");
}
