//! What differs from the state is named by `check` and mended by `repair`, object by object; what isn't vpcctl's is left alone.

mod support;

use support::Sandbox;
use support::dump::Dump;

/// What somebody does behind vpcctl's back, and the words by which `check` names it.
type Mischief = (&'static str, &'static [&'static str]);

/// Two peered VPCs with NAT, several instances, a policy.
fn whole() -> (Sandbox, Dump) {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    let policy = sandbox.file("policy.json", r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#);
    let long = sandbox.file("long.json", &long_policy());
    sandbox.ok(&format!(
        "vpcctl add-instance vpc1/public/web2 && vpcctl peer vpc1 vpc2 && vpcctl apply-policy vpc1/public/web2 {policy} && vpcctl apply-policy vpc1/private {long}"
    ));
    sandbox.ok("vpcctl check");
    let dump = without_processes(&mut sandbox);
    (sandbox, dump)
}

/// So many rules that they become sets, with every kind of entry.
fn long_policy() -> String {
    let rule =
        |i| format!(r#"{{"port": [22, 443], "protocol": "tcp", "action": "reject", "source": "172.16.{i}.0/24"}}"#);
    let rules: Vec<String> = (0..60).map(|i| rule(2 * i)).collect();
    let odd = r#"{"port": 53, "protocol": "udp", "action": "allow", "source": "172.16.2.7/32"},
        {"port": "1000-2000", "protocol": "tcp", "action": "deny", "source": "10.9.0.0/16"},
        {"port": "1000-2000", "protocol": "tcp", "action": "allow", "source": "10.9.0.5/32"},
        {"protocol": "icmp", "action": "allow", "source": "172.16.0.0/12"},
        {"protocol": "all", "action": "deny", "source": "172.20.0.5/32"}"#;
    format!(r#"{{"ingress": [{odd}, {}], "default": {{"ingress": "allow"}}}}"#, rules.join(", "))
}

fn without_processes(sandbox: &mut Sandbox) -> Dump {
    sandbox.dump().without(&["host/processes"])
}

/// Each mischief is named and mended, and in the end all is as it was.
fn named_and_mended(mischiefs: &[Mischief]) {
    let (mut sandbox, before) = whole();
    for (command, words) in mischiefs {
        sandbox.ok(command);
        let output = sandbox.expect(9, "vpcctl check");
        for word in *words {
            if !output.stdout.contains(word) {
                sandbox.fail(&format!("after `{command}`, check doesn't name `{word}`"), &output);
            }
        }
        sandbox.says("vpcctl repair", &["mended"]);
        let output = sandbox.run("vpcctl check");
        if output.code != 0 {
            sandbox.fail(&format!("after `{command}` and a repair"), &output);
        }
    }
    before.assert_same(&without_processes(&mut sandbox), "all mended");
    changes_nothing_more(&mut sandbox);
}

/// A repair of what is whole starts no tool that changes anything, and writes no state.
fn changes_nothing_more(sandbox: &mut Sandbox) {
    let lines = sandbox.ok("wc -l </var/lib/vpcctl/vpcctl.log");
    let before = sandbox.ok("stat -c '%Y %i %n' /var/lib/vpcctl/state*");
    sandbox.says("vpcctl repair", &["nothing changed"]);
    let first: usize = lines.trim().parse().unwrap_or_default();
    let log = sandbox.ok(&format!("tail -n +{} /var/lib/vpcctl/vpcctl.log", first + 1));
    let mutating = ["restore -w", "ipset restore", "bridge -batch", "ip -batch", "tc -batch", "nft -f"];
    assert!(!mutating.iter().any(|words| log.contains(words)), "a second repair starts\n{log}");
    assert!(log.contains("iptables-save"), "it did look\n{log}");
    assert_eq!(sandbox.ok("stat -c '%Y %i %n' /var/lib/vpcctl/state*"), before);
}

#[test]
fn what_is_changed_in_a_routers_rules_and_sets() {
    named_and_mended(&[
        ("ip netns exec vpc1 iptables -A FORWARD -j ACCEPT", &["vpc1 ", "FORWARD", "-j ACCEPT", "is too many"]),
        ("ip netns exec vpc1 iptables -I FORWARD 1 -j ACCEPT", &["jump FORWARD to VPCCTL-FORWARD", "first, and once"]),
        ("ip netns exec vpc1 iptables -t mangle -A PREROUTING -j MARK --set-mark 3", &["PREROUTING of table mangle"]),
        ("ip netns exec vpc1 iptables -R VPCCTL-FORWARD 2 -j ACCEPT", &["rule 2 is not vpcctl's: -j ACCEPT"]),
        (
            "ip netns exec vpc1 iptables-save -t filter | sed '/within the VPC/s/-i br-vpc1 -o br-vpc1 //' | ip netns exec vpc1 iptables-restore",
            &["chain VPCCTL-FORWARD", "is another one", "within the VPC"],
        ),
        (
            "ip netns exec vpc1 iptables-save -t raw | sed 's/-m set --match-set [^ ]* src,src //' | ip netns exec vpc1 iptables-restore",
            &["chain VPCCTL-PREROUTING of table raw", "is another one"],
        ),
        (
            "ip netns exec vpc1 iptables-save -t raw | sed 's/-m rpfilter --invert //' | ip netns exec vpc1 iptables-restore",
            &["chain VPCCTL-PREROUTING of table raw", "is another one"],
        ),
        (
            "ip netns exec vpc1 iptables-save -t filter | sed 's/--ctdir REPLY //' | ip netns exec vpc1 iptables-restore",
            &["chain VPCCTL-INPUT", "is another one"],
        ),
        (
            "ip netns exec vpc1 iptables -N MINE; ip netns exec vpc1 iptables -N VPCCTL-OLD; ip netns exec vpc1 iptables -A MINE -j VPCCTL-OLD; ip netns exec vpc1 iptables -I FORWARD -j ACCEPT",
            &["chain MINE", "chain VPCCTL-OLD", "-j ACCEPT"],
        ),
        ("ip netns exec vpc1 iptables -D VPCCTL-FORWARD 1", &["chain VPCCTL-FORWARD", "rule 1 is another one"]),
        ("ip netns exec vpc1 iptables -D VPCCTL-INPUT 4", &["3 of 4 rules are there"]),
        (
            "ip netns exec vpc1 iptables-save >$T/rules; sed -i 's/-j DROP/-j ACCEPT/' $T/rules; ip netns exec vpc1 iptables-restore <$T/rules",
            &["VPCCTL-PREROUTING of table raw", "a stolen address or MAC", "VPCCTL-FORWARD"],
        ),
        (
            "ip netns exec vpc1 iptables-save >$T/rules; sed -i 's/10.1.0.0/10.9.0.0/' $T/rules; ip netns exec vpc1 iptables-restore <$T/rules",
            &["chain VPCCTL-PEERING", "is another one"],
        ),
        ("ip netns exec vpc1 iptables -F", &["chain VPCCTL-INPUT", "0 of ", "jump FORWARD to VPCCTL-FORWARD"]),
        ("ip netns exec vpc1 iptables -P FORWARD ACCEPT", &["policy of chain FORWARD in vpc1", "ACCEPT, not DROP"]),
        ("ip netns exec vpc1 iptables -N VPCCTL-OLD", &["chain VPCCTL-OLD", "is too many"]),
        ("ip netns exec vpc1 nft flush ruleset", &["VPCCTL-PREROUTING of table raw", "is missing"]),
        (
            "ip netns exec vpc1 ipset add vpcctl-10.0.0.0 10.0.1.77,02:00:00:00:00:07",
            &["entry 10.0.1.77,02:00:00:00:00:07 of ipset vpcctl-10.0.0.0", "is too many"],
        ),
        ("ip netns exec vpc1 ipset del vpcctl-10.0.0.0 10.0.1.2", &["vpc1/public ", "entry 10.0.1.2", "is missing"]),
        (
            "ip netns exec vpc1-private ipset save | grep -m 1 ',tcp:22$' | sed 's/add/del/' | ip netns exec vpc1-private ipset restore",
            &["vpc1/private", "ipset vpcctl-", "it has other entries"],
        ),
        (
            "set=$(ip netns exec vpc1-private ipset save | grep -m 1 ',tcp:22$' | cut -d' ' -f2); entry=$(ip netns exec vpc1-private ipset save | grep -m 1 ',tcp:22$' | cut -d' ' -f3)
             ip netns exec vpc1-private ipset del $set $entry && ip netns exec vpc1-private ipset add $set 10.77.0.0/24,tcp:22",
            &["ipset vpcctl-", "it has other entries"],
        ),
        ("ip netns exec vpc1 ipset create vpcctl-odd hash:ip", &["ipset vpcctl-odd", "is too many"]),
    ]);
}

#[test]
fn what_is_changed_in_a_routers_routes_and_neighbours() {
    named_and_mended(&[
        ("ip -n vpc1 addr add 10.9.9.9/24 dev br-vpc1", &["address 10.9.9.9/24 on br-vpc1", "is too many"]),
        ("ip -n vpc1 addr add 10.1.1.2/32 dev uplink", &["address 10.1.1.2/32 on uplink", "is too many"]),
        ("ip -n vpc1 addr del 10.0.2.1/24 dev br-vpc1", &["vpc1/private", "address 10.0.2.1/24", "is missing"]),
        ("ip -n vpc1 route add 10.77.0.0/16 via 10.0.1.2", &["route 10.77.0.0/16 via 10.0.1.2", "is too many"]),
        ("ip -n vpc1 route add blackhole 10.78.0.0/16", &["route blackhole 10.78.0.0/16", "is too many"]),
        ("ip -n vpc1 route replace 10.0.1.2 dev br-vpc1", &["route to 10.0.1.2/32", "is missing"]),
        ("ip -n vpc1 route del 10.0.2.2", &["route to 10.0.2.2/32", "is missing"]),
        ("ip -n vpc1 route replace default dev br-vpc1", &["route to 0.0.0.0/0"]),
        (
            "ip -n vpc1 rule add pref 100 from 10.0.1.2 lookup 77",
            &["routing rule pref 100 from 10.0.1.2", "is too many"],
        ),
        ("ip -n vpc1 rule del pref 32766", &["routing rule pref 32766 lookup main", "is missing"]),
        (
            "ip -n vpc1 rule add pref 32766 from 10.0.1.0/24 lookup 99",
            &["routing rule pref 32766 from 10.0.1.0/24", "is too many"],
        ),
        ("ip -n vpc1 rule add pref 0 fwmark 7 lookup 99", &["routing rule pref 0", "is too many"]),
        (
            "ip -n vpc1 route add 10.50.0.0/16 nexthop via 10.0.1.2 nexthop via 10.0.1.3",
            &["route 10.50.0.0/16", "is too many"],
        ),
        ("ip -n vpc1 route add 10.0.2.2 tos 0x10 via 10.0.1.3", &["route 10.0.2.2/32 tos", "is too many"]),
        (
            "ip -n vpc1 route add local 10.99.0.0/16 dev lo table local",
            &["route local 10.99.0.0/16", "table local", "is too many"],
        ),
        ("ip -n vpc1 route add blackhole 10.0.2.2 table local", &["route blackhole 10.0.2.2/32", "is too many"]),
        (
            "ip netns exec vpc1 sysctl -qw net.ipv4.conf.br-vpc1.forwarding=0",
            &["conf/br-vpc1/forwarding", "it is 0, not 1"],
        ),
        (
            "ip -n vpc1 neigh add 10.0.1.55 lladdr 02:00:00:00:00:07 dev br-vpc1 nud permanent",
            &["neighbour 10.0.1.55", "is too many"],
        ),
        (
            "ip -n vpc1 neigh replace 10.0.1.2 lladdr 02:00:00:00:00:07 dev br-vpc1 nud permanent",
            &["neighbour 10.0.1.2", "MAC address is 02:00:00:00:00:07"],
        ),
        (
            "ip netns exec vpc1 bridge fdb add 02:00:00:00:00:08 dev public master static",
            &["fdb entry 02:00:00:00:00:08 on public", "is too many"],
        ),
        ("ip netns exec vpc1 sysctl -qw net.ipv4.ip_forward=0", &["ip_forward", "it is 0, not 1"]),
        ("ip netns exec vpc1 sysctl -qw net.ipv4.conf.br-vpc1.proxy_arp_pvlan=0", &["proxy_arp_pvlan"]),
    ]);
}

#[test]
fn what_is_changed_of_links_and_namespaces() {
    named_and_mended(&[
        ("ip -n vpc1 link set dev br-vpc1 mtu 1400", &["bridge br-vpc1", "the MTU is 1400, not 1500"]),
        ("ip -n vpc1 link set dev public mtu 1300", &["of public in vpc1, the MTU is 1300"]),
        ("ip -n vpc1 link set dev br-vpc1 address 02:00:00:00:00:07", &["MAC address is 02:00:00:00:00:07"]),
        ("tc -n vpc1 qdisc del dev br-vpc1 clsact", &["sender filter on br-vpc1 in vpc1", "is missing"]),
        (
            "tc -n vpc1 filter add dev br-vpc1 ingress pref 1 handle 2 protocol all bpf da bytecode '1,6 0 0 0'",
            &["sender filter on br-vpc1"],
        ),
        ("ip -n vpc1 link set dev public nomaster", &["bridge port public", "is missing"]),
        ("ip netns exec vpc1 bridge link set dev public isolated off", &["bridge port public", "is not guarded"]),
        ("ip netns exec vpc1 bridge link set dev public learning on", &["bridge port public", "is not guarded"]),
        ("ip -n vpc1 link set dev public down", &["link state of public", "it is down"]),
        ("ip -n vpc1 link del br-vpc1", &["bridge br-vpc1", "is missing, and "]),
        ("ip -n vpc1 link del peer-vpc2", &["veth peer-vpc2@vpc1 to peer-vpc1@vpc2", "is missing, and "]),
        ("ip -n vpc1 link del private", &["veth eth0@vpc1-private to private@vpc1", "is missing, and "]),
        ("ip link del vpc-vpc1", &["veth vpc-vpc1@host", "is missing, and "]),
        ("ip netns del vpc1-private", &["namespace vpc1-private", "is missing, and "]),
        ("umount /run/netns/vpc1-private", &["namespace vpc1-private", "only its file is left"]),
        ("ip netns del vpc1", &["namespace vpc1 ", "is missing, and "]),
        ("for netns in $(ls /run/netns | grep vpc); do ip netns del $netns; done", &["namespace vpc2-a", "is missing"]),
    ]);
}

#[test]
fn what_is_changed_in_instances_and_on_the_host() {
    named_and_mended(&[
        ("ip -n vpc1-public link set dev eth0 mtu 1300", &["of eth0 in vpc1-public, the MTU is 1300, not 1500"]),
        ("ip -n vpc1-public link set dev eth0 down", &["link state of eth0", "it is down", "route to 0.0.0.0/0"]),
        ("ip -n vpc1-public addr flush dev eth0", &["address 10.0.1.2/24 on eth0", "is missing"]),
        ("ip -n vpc1-public route del default", &["route to 0.0.0.0/0 in vpc1-public", "is missing"]),
        ("ip netns exec vpc1-public-web2 iptables -F", &["vpc1/public/web2", "chain VPCCTL-INPUT", "0 of "]),
        (
            "ip netns exec vpc1-public-web2 iptables -I INPUT -j ACCEPT && ip netns exec vpc1-public-web2 iptables -D INPUT 1 && ip netns exec vpc1-public-web2 iptables -D INPUT 1",
            &["jump INPUT to VPCCTL-INPUT"],
        ),
        (
            "ip netns exec vpc1-public sysctl -qw net.netfilter.nf_conntrack_tcp_loose=1",
            &["tcp_loose", "it is 1, not 0"],
        ),
        ("rm /etc/netns/vpc1-public/resolv.conf", &["name servers of vpc1-public", "is missing"]),
        (
            "iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X",
            &["host ", "VPCCTL-INPUT", "VPCCTL-POSTROUTING"],
        ),
        ("nft flush ruleset", &["chain VPCCTL-FORWARD of table filter in host", "is missing"]),
        (
            "iptables -I FORWARD 1 -s 192.0.2.0/24 -j ACCEPT && iptables -D FORWARD 2 && iptables -A FORWARD -j VPCCTL-FORWARD && iptables -D FORWARD 1 && iptables -I INPUT 1 -j ACCEPT && iptables -D INPUT 1 && iptables -D INPUT 1",
            &["jump INPUT to VPCCTL-INPUT", "is missing"],
        ),
        ("ip route del 10.0.0.0/16 table 30320", &["route to 10.0.0.0/16 in host", "is missing"]),
        ("ip route del prohibit 10.0.0.0/16 table 30321", &["prohibited route to 10.0.0.0/16", "is missing"]),
        ("ip rule del pref 31000", &["rule for routing table 30320", "is missing"]),
        (
            "ip rule del pref 31001 && ip rule add pref 31001 from 192.0.2.4 lookup 30321",
            &["rule for routing table 30321", "is missing"],
        ),
        ("ip addr add 10.55.0.1/24 dev vpc-vpc1", &["address 10.55.0.1/24 on vpc-vpc1", "is too many"]),
        (
            "ip route add prohibit 10.66.0.0/16 proto 118 table 30321",
            &["prohibited route to 10.66.0.0/16", "is too many"],
        ),
        ("ip link set dev vpc-vpc1 group 7", &["group of vpc-vpc1", "it is 7"]),
        ("sysctl -qw net.ipv4.conf.eth0.forwarding=0", &["conf/eth0/forwarding", "it is 0, not 1"]),
    ]);
}

/// Each thing that is wrong is mended alone: what works goes on working.
#[test]
fn traffic_goes_on_while_something_else_is_mended() {
    let (mut sandbox, _) = whole();
    let pid = sandbox.start("vpc1-private", "ping", "ping -i 0.01 -w 20 10.0.1.2");
    sandbox.wait_for_file("ping.out", |out| out.contains("icmp_seq=5 "));
    for mischief in [
        "ip -n vpc1 link del peer-vpc2",
        "ip netns del vpc1-public-web2",
        "ip link del vpc-vpc1",
        "ip netns exec vpc1 iptables -A FORWARD -s 192.0.2.1 -j ACCEPT",
        "ip netns exec vpc1 iptables -R VPCCTL-FORWARD 6 -j ACCEPT",
        "ip -n vpc1 addr add 10.9.9.9/24 dev br-vpc1",
        "ip -n vpc1-public link set dev eth0 mtu 1400",
        "ip netns exec vpc1 ipset add vpcctl-10.0.0.0 10.0.1.77,02:00:00:00:00:07",
    ] {
        sandbox.ok(mischief);
        sandbox.expect(9, "vpcctl check");
        sandbox.says("vpcctl repair", &["mended"]);
        sandbox.ok("vpcctl check");
    }
    sandbox.ok(&format!("kill -INT {pid}"));
    let out = sandbox.wait_for_file("ping.out", |out| out.contains("packet loss"));
    assert!(out.contains(" 0% packet loss"), "{out}");
}

#[test]
fn what_is_not_vpcctls_is_named_and_left_alone() {
    let (mut sandbox, _) = whole();
    // In nobody's way.
    sandbox.ok("ip link add name vpc-like type bridge; iptables -N VPCCTL-LIKE; ip netns add vpc1-mine");
    let output = sandbox.ok("vpcctl check");
    for name in ["link vpc-like in host", "chain VPCCTL-LIKE of table filter", "namespace vpc1-mine"] {
        assert!(output.contains(name), "{output}");
    }
    // A way into a router.
    sandbox.ok("ip link add name tap netns vpc1 type veth peer name tap; ip -n vpc1 link set dev tap up");
    let check = sandbox.expect(9, "vpcctl check");
    assert!(check.stdout.contains("link tap in vpc1") && check.stdout.contains("is not vpcctl's"), "{check:?}");
    sandbox.ok("ip -n vpc1 link set dev tap master br-vpc1");
    let before = without_processes(&mut sandbox);
    sandbox.fails(9, "vpcctl repair", &["left alone: link tap in vpc1"]);
    before.assert_same(&without_processes(&mut sandbox), "left alone");
    sandbox.ok("ip link del tap && vpcctl check");
    // In the place of what is ours.
    sandbox.ok("ip link del vpc-vpc1; ip link add name vpc-vpc1 type bridge");
    let check = sandbox.expect(9, "vpcctl check");
    assert!(
        check.stdout.contains("veth vpc-vpc1@host to uplink@vpc1  is not vpcctl's, and 9 in it or on it"),
        "{}",
        check.stdout
    );
    sandbox.ok("ip netns exec vpc1 iptables -F");
    sandbox.fails(9, "vpcctl repair", &["mended", "left alone: veth vpc-vpc1@host"]);
    sandbox.ok("ip -d link show dev vpc-vpc1 | grep bridge");
    sandbox.ok("ip link del vpc-vpc1 && vpcctl repair && vpcctl check && ping -c 1 -W 2 10.0.1.2");
    sandbox.ok("ip link show vpc-like && iptables -S VPCCTL-LIKE && ip netns exec vpc1-mine true");
}

/// A namespace in the place of ours, with somebody in it: not even a command that was cut off makes it ours.
#[test]
fn a_strangers_namespace_stays_a_strangers() {
    let (mut sandbox, _) = whole();
    sandbox.ok("ip netns del vpc1-public-web2 && ip netns add vpc1-public-web2");
    let pid = sandbox.start("vpc1-public-web2", "stranger", "sleep 1000");
    let is_untouched = |sandbox: &mut Sandbox, after: &str| {
        let found = sandbox.ok("ip -n vpc1-public-web2 -o link | grep -v ': lo:'; true");
        assert_eq!(found, "", "{after}");
        sandbox.ok(&format!("test -e /proc/{pid} && ip netns pids vpc1-public-web2 | grep -x {pid}"));
    };
    sandbox.fails(9, "vpcctl repair", &["left alone: namespace vpc1-public-web2"]);
    is_untouched(&mut sandbox, "a repair");
    for cut in [
        "vpcctl add-subnet vpc1 late 10.0.9.0/24 && cp /var/lib/vpcctl/state.json /var/lib/vpcctl/intent.json && cp $T/state /var/lib/vpcctl/state.json",
        "cp $T/state /var/lib/vpcctl/intent.json",
    ] {
        sandbox.ok(&format!("cp /var/lib/vpcctl/state.json $T/state && {cut}"));
        sandbox.expect(3, "vpcctl delete-vpc nobody");
        is_untouched(&mut sandbox, cut);
    }
    // A command that fails, and undoes what it did.
    sandbox.ok("ip netns exec vpc1 iptables -N MINE; ip netns exec vpc1 iptables -A MINE -j VPCCTL-PEERING");
    sandbox.run("vpcctl unpeer vpc1 vpc2");
    is_untouched(&mut sandbox, "an unpeer that failed");
}

/// What can't be taken away is named with the tool's own words, and keeps nothing else from being mended.
#[test]
fn what_cannot_be_taken_away_is_no_reason_to_leave_a_way_open() {
    let (mut sandbox, _) = whole();
    sandbox.ok("ip netns exec vpc1 ipset create vpcctl-held hash:ip; ip netns exec vpc1 ipset create holder list:set; ip netns exec vpc1 ipset add holder vpcctl-held
        ip netns exec vpc1 iptables -A FORWARD -j ACCEPT; ip -n vpc1 addr add 10.9.9.9/24 dev br-vpc1");
    sandbox.fails(9, "vpcctl repair", &["2 objects mended", "cannot mend ipset vpcctl-held", "in use"]);
    let left = sandbox.expect(9, "vpcctl check").stdout;
    assert_eq!(left.lines().count(), 2, "{left}");
    sandbox.ok("ip netns exec vpc1 ipset destroy holder && vpcctl repair && vpcctl check");
}

#[test]
fn names_and_comments_of_others_do_not_reach_the_terminal_as_they_are() {
    let (mut sandbox, _) = whole();
    let rules =
        sandbox.file("rules", "*filter\n-A FORWARD -m comment --comment \"a\u{1b}[31mRED\" -j ACCEPT\nCOMMIT\n");
    sandbox.ok(&format!("ip netns exec vpc1 iptables-restore --noflush <{rules}"));
    sandbox.ok("ip netns exec vpc1 iptables -A FORWARD -m comment --comment \"$(printf 'x\\n:VPCCTL-FAKE - [0:0]')\" -j ACCEPT");
    let check = sandbox.expect(9, "vpcctl --color always check").stdout;
    assert!(check.contains("a[31mRED") && !check.contains("\u{1b}[31mRED"), "{check:?}");
    assert!(!check.contains("chain VPCCTL-FAKE"), "{check}");
    sandbox.ok("vpcctl repair && vpcctl check");
}

/// Another vpcctl's rules are the same ones: what would cut its VPCs off is refused.
#[test]
fn a_second_state_directory_does_not_bend_the_hosts_rules() {
    let (mut sandbox, _) = whole();
    sandbox.ok("mkdir -m 700 $T/other");
    let before = sandbox.ok("iptables -S; iptables -t nat -S");
    sandbox.fails(
        4,
        "vpcctl --state-dir $T/other create-vpc n 10.8.0.0/16",
        &["of another vpcctl stands on it", "one state directory"],
    );
    sandbox.ok("vpcctl --state-dir $T/other create-vpc n 10.8.0.0/16 --no-host-access");
    assert_eq!(sandbox.ok("iptables -S; iptables -t nat -S"), before);
    sandbox.open("vpc1-public", &["ping:203.0.113.5"]);
    sandbox.ok("vpcctl --state-dir $T/other delete-vpc n && vpcctl check");
}

#[test]
fn what_has_our_mark_and_no_state_knows_is_named_and_removed_on_request() {
    let (mut sandbox, before) = whole();
    // An old backup of the state in the place of the present one.
    sandbox.ok("cp /var/lib/vpcctl/state.json $T/backup && vpcctl add-subnet vpc1 late 10.0.9.0/24 && vpcctl create-vpc vpc3 10.3.0.0/16 && vpcctl add-subnet vpc3 a 10.3.1.0/24");
    sandbox.ok("cp $T/backup /var/lib/vpcctl/state.json");
    let check = sandbox.expect(9, "vpcctl check");
    for words in [
        "namespace vpc3-a",
        "link vpc-vpc3 in host",
        "namespace vpc1-late",
        "address 10.0.9.1/24 on br-vpc1",
        "this state doesn't know it",
    ] {
        assert!(check.stdout.contains(words), "{words}\n{}", check.stdout);
    }
    // Nothing is removed silently.
    sandbox.fails(9, "vpcctl repair", &["left alone: namespace vpc", "--unknown"]);
    sandbox.ok("ip netns exec vpc3-a true && ip link show vpc-vpc3");
    sandbox.ok("vpcctl repair --unknown && vpcctl check");
    before.assert_same(&without_processes(&mut sandbox), "as in the backup");
}

#[test]
fn rules_that_a_reload_brings_back_after_the_last_vpc_are_removed() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok(
        "iptables -A INPUT -s 192.0.2.1 -j DROP; iptables-save >$T/saved && vpcctl delete-vpc vpc1 && vpcctl check",
    );
    sandbox.ok("iptables-restore <$T/saved && iptables -S | grep VPCCTL-FORWARD");
    let check = sandbox.expect(9, "vpcctl check");
    assert!(check.stdout.contains("chain VPCCTL-FORWARD of table filter in host"), "{}", check.stdout);
    sandbox.says("vpcctl repair", &["mended"]);
    sandbox.ok("vpcctl check && ! iptables-save | grep VPCCTL && iptables -S | grep 192.0.2.1");
}

#[test]
fn after_a_reboot_restore_makes_all_of_it_again() {
    let (mut sandbox, before) = whole();
    sandbox.ok("vpcctl deploy-app vpc1/public --port 8080");
    sandbox.ok("for netns in $(ls /run/netns | grep vpc); do ip netns pids $netns | xargs -r kill -9; ip netns del $netns; done
        nft flush ruleset; ip rule del pref 31000; ip rule del pref 31001; rm -r /etc/netns; sysctl -qw net.ipv4.conf.eth0.forwarding=0");
    let check = sandbox.expect(9, "vpcctl check");
    assert!(check.stdout.contains("namespace vpc1 ") && check.stdout.contains("is missing"), "{}", check.stdout);
    sandbox.says("vpcctl restore", &["2 VPCs are whole", "mended"]);
    sandbox.ok("vpcctl check && curl -s --max-time 5 http://10.0.1.2:8080/");
    sandbox.says("vpcctl restore", &["nothing changed"]);
    sandbox.ok("vpcctl stop-app vpc1/public --port 8080");
    before.assert_same(&without_processes(&mut sandbox), "after a reboot");
}

#[test]
fn a_command_that_did_not_end_is_named_and_finished_or_undone() {
    let (mut sandbox, _) = whole();
    sandbox.ok("cp /var/lib/vpcctl/state.json $T/before && vpcctl add-subnet vpc1 late 10.0.9.0/24 && mv /var/lib/vpcctl/state.json /var/lib/vpcctl/intent.json && cp $T/before /var/lib/vpcctl/state.json");
    sandbox.fails(9, "vpcctl check", &["`add-subnet vpc1 late 10.0.9.0/24` did not end cleanly", "vpcctl repair"]);
    let json: serde_json::Value =
        serde_json::from_str(&sandbox.expect(9, "vpcctl check -o json").stdout).expect("JSON");
    assert_eq!(json["unfinished"]["at_work"], false, "{json}");
    sandbox.says("vpcctl repair", &["is undone now"]);
    sandbox.ok("vpcctl check && ! ip netns exec vpc1-late true");
}

#[test]
fn one_vpc_is_checked_and_mended_alone() {
    let (mut sandbox, _) = whole();
    sandbox.ok("ip netns exec vpc1 iptables -A FORWARD -j ACCEPT; ip netns exec vpc2 iptables -A FORWARD -j ACCEPT");
    let check = sandbox.expect(9, "vpcctl check vpc2");
    assert!(check.stdout.contains("vpc2 ") && !check.stdout.contains("vpc1 "), "{}", check.stdout);
    sandbox.ok("vpcctl repair vpc2 && vpcctl check vpc2");
    sandbox.expect(9, "vpcctl check vpc1");
    sandbox.fails(3, "vpcctl check vpc7", &["`vpc7` does not exist"]);
    let script = sandbox.ok("vpcctl --dry-run repair");
    assert!(script.contains("-F FORWARD\n") && script.contains("-I FORWARD 1 -j VPCCTL-FORWARD\n"), "{script}");
    sandbox.expect(9, "vpcctl check");
    let script = sandbox.file("repair.sh", &script);
    sandbox.ok(&format!("sh -e {script} && vpcctl check"));
}
