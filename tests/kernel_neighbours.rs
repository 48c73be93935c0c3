//! Other software on the host: its rules, its links, and its flushes. VPCs work beside it, and it is not touched.

mod support;

use support::Sandbox;

/// What Docker puts on a host.
const DOCKER: &str = "
ip link add name docker0 type bridge && ip addr add 172.17.0.1/16 dev docker0 && ip link set dev docker0 up
ip netns add container && ip link add name veth1 master docker0 type veth peer name eth0 netns container
ip link set dev veth1 up && ip -n container addr add 172.17.0.2/16 dev eth0 && ip -n container link set dev eth0 up
ip -n container route add default via 172.17.0.1
echo 1 >/proc/sys/net/ipv4/ip_forward
for chain in DOCKER DOCKER-USER DOCKER-ISOLATION-STAGE-1 DOCKER-ISOLATION-STAGE-2; do iptables -N $chain; done
iptables -P FORWARD DROP
iptables -A FORWARD -j DOCKER-USER
iptables -A FORWARD -j DOCKER-ISOLATION-STAGE-1
iptables -A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
iptables -A FORWARD -o docker0 -j DOCKER
iptables -A FORWARD -i docker0 ! -o docker0 -j ACCEPT
iptables -A DOCKER-USER -j RETURN
iptables -A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
iptables -A DOCKER-ISOLATION-STAGE-1 -j RETURN
iptables -A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
iptables -A DOCKER-ISOLATION-STAGE-2 -j RETURN
iptables -t nat -N DOCKER
iptables -t nat -A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER
iptables -t nat -A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
";

/// From a public instance to the internet and the other subnet, from the host to an instance.
fn assert_all_works(sandbox: &mut Sandbox) {
    sandbox.ok("ip netns exec vpc1-public curl -s --max-time 5 http://203.0.113.5/ | grep 'you are 198.51.100.10'");
    sandbox.open("vpc1-public", &["ping:203.0.113.5", "ping:10.0.2.2", "ping:10.0.1.1"]);
    sandbox.open("host", &["ping:10.0.1.2", "ping:10.0.2.2"]);
    sandbox.closed("vpc1-private", &["ping:203.0.113.5", "tcp:203.0.113.5:80"]);
}

#[test]
fn docker_goes_on_as_before() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(DOCKER);
    sandbox.wait_for("ip -br link show docker0 | grep UP");
    let container = "ip netns exec container curl -s --max-time 5 http://203.0.113.5/ | grep 198.51.100.10";
    sandbox.ok(container);
    let before = sandbox.dump_host();
    sandbox.add_vpc1();
    assert_all_works(&mut sandbox);
    sandbox.ok(container);
    sandbox.serve("container", &[80]);
    sandbox.closed("vpc1-public", &["tcp:172.17.0.2:80", "ping:172.17.0.2", "ping:172.17.0.1"]);
    sandbox.closed("container", &["ping:10.0.1.2", "ping:10.0.2.2"]);
    let during = sandbox.ok("iptables-save | grep -v -e VPCCTL -e '^[#:*]' -e COMMIT | sort");
    sandbox.ok("pkill -f peer.py; vpcctl delete-vpc vpc1");
    before.assert_same(&sandbox.dump_host(), "before and after");
    let after = sandbox.ok("iptables-save | grep -v -e '^[#:*]' -e COMMIT | sort");
    assert_eq!(during, after, "Docker's rules stay as they are while there is a VPC");
}

#[test]
fn a_policy_of_drop_and_a_trailing_reject_are_no_obstacle() {
    for rules in [
        "iptables -P FORWARD DROP",
        "iptables -A FORWARD -j REJECT --reject-with icmp-host-prohibited",
        "iptables -P INPUT DROP; iptables -A INPUT -i lo -j ACCEPT; iptables -A INPUT -m conntrack --ctstate ESTABLISHED,RELATED -j ACCEPT; iptables -A FORWARD -j DROP",
    ] {
        let mut sandbox = Sandbox::new();
        sandbox.ok(rules);
        let before = sandbox.dump_host();
        sandbox.add_vpc1();
        assert_all_works(&mut sandbox);
        sandbox.ok("vpcctl delete-vpc vpc1");
        before.assert_same(&sandbox.dump_host(), rules);
    }
}

#[test]
fn bridged_packets_that_pass_iptables_are_no_obstacle() {
    let mut sandbox = Sandbox::new();
    let switch = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    if sandbox.run(&format!("test -e {switch}")).code != 0 {
        // This kernel has no br_netfilter, or not yet: then there is no such obstacle, and the rest holds as it is.
        sandbox.add_vpc1();
        return assert_all_works(&mut sandbox);
    }
    sandbox.ok(&format!("echo 1 >{switch}; iptables -P FORWARD DROP"));
    sandbox.add_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    assert_all_works(&mut sandbox);
    sandbox.serve("vpc1-public", &[80]);
    sandbox.expect_probes("vpc1-public-web2", &[("tcp:10.0.1.2:80", "open 10.0.1.3")]);
    let script = "ip netns exec vpc1 cat /proc/sys/net/bridge/bridge-nf-call-iptables";
    assert_eq!(sandbox.ok(script).trim(), "0");
}

#[test]
fn after_a_flush_on_the_host_and_in_routers_vpcs_stay_apart() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.serve("vpc2-a", &[80]);
    sandbox.serve("vpc1-private", &[80]);
    let others = ["ping:10.1.1.2", "tcp:10.1.1.2:80", "ping:10.1.1.1"];
    sandbox.ok("echo 1 >/proc/sys/net/ipv4/ip_forward; iptables -P FORWARD ACCEPT; iptables -P INPUT ACCEPT");
    for flush in ["iptables -F", "iptables -t nat -F", "iptables -X", "nft flush ruleset"] {
        sandbox.ok(flush);
        sandbox.closed("vpc1-public", &others);
        sandbox.closed("vpc1-private", &["ping:203.0.113.5", "tcp:203.0.113.5:80"]);
        sandbox.closed("vpc2-a", &["tcp:10.0.2.2:80", "ping:10.0.1.2"]);
    }
    for netns in ["vpc1", "vpc2"] {
        for flush in ["iptables -F", "iptables -t nat -F", "iptables -t raw -F"] {
            sandbox.ok(&format!("ip netns exec {netns} {flush}"));
            sandbox.closed("vpc1-public", &others);
            sandbox.closed("vpc1-private", &["ping:203.0.113.5", "tcp:203.0.113.5:80"]);
        }
    }
}

#[test]
fn a_flush_is_healed_by_the_same_command() {
    let mut sandbox = Sandbox::with_vpc1();
    let before = sandbox.dump();
    sandbox.ok("iptables -F; iptables -X; iptables -t nat -F; ip netns exec vpc1 iptables -t nat -F");
    sandbox.closed("vpc1-public", &["ping:203.0.113.5"]);
    sandbox.says("vpcctl create-vpc vpc1 10.0.0.0/16", &["mended"]);
    assert_all_works(&mut sandbox);
    before.assert_same(&sandbox.dump(), "healed");
}

#[test]
fn nothing_is_left_behind_on_an_empty_host() {
    let mut sandbox = Sandbox::new();
    let before = sandbox.dump_host();
    sandbox.add_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.ok("vpcctl peer vpc1 vpc2 && vpcctl allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24");
    let file = sandbox.file("p.json", r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#);
    sandbox.ok(&format!("vpcctl apply-policy vpc1/public {file}"));
    sandbox.ok("ip netns exec vpc1-public curl -s --max-time 5 http://203.0.113.5/");
    sandbox.ok("vpcctl delete-vpc vpc1 && vpcctl delete-vpc vpc2");
    before.assert_same(&sandbox.dump_host(), "before and after");
}

#[test]
fn nothing_is_left_behind_and_nothing_foreign_changes_on_a_full_host() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(
        "ip netns add app && ip link add name br-app type bridge && ip link add name vpc-like type bridge
         ip addr add 192.168.7.1/24 dev br-app && ip link set dev br-app up && ip link set dev vpc-like up
         ip route add 192.168.9.0/24 dev br-app && ip rule add from 192.168.7.0/24 lookup 100 && ip route add default dev br-app table 100
         ip neigh add 192.168.7.9 lladdr 02:00:00:00:00:09 dev br-app nud permanent
         iptables -N VPCCTL-LIKE && iptables -A INPUT -s 192.0.2.1 -m comment --comment vpcctl -j DROP && iptables -A FORWARD -j VPCCTL-LIKE
         iptables -t mangle -A PREROUTING -j MARK --set-mark 7 && iptables -t nat -A POSTROUTING -s 192.168.7.0/24 -j MASQUERADE
         ip6tables -A INPUT -s 2001:db8::1 -j DROP
         nft add table inet own && nft add chain inet own c '{ type filter hook forward priority 10; }' && nft add rule inet own c counter
         ipset create vpcctl-own hash:ip && ipset add vpcctl-own 192.0.2.7
         echo 1 >/proc/sys/net/ipv4/conf/eth0/forwarding",
    );
    let before = sandbox.dump_host();
    sandbox.add_vpc1();
    assert_all_works(&mut sandbox);
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.ok("vpcctl peer vpc1 vpc2 && vpcctl disable-nat vpc1 && vpcctl delete-vpc vpc2 && vpcctl delete-vpc vpc1");
    before.assert_same(&sandbox.dump_host(), "before and after");
}

#[test]
fn a_process_in_an_instance_ends_with_the_vpc() {
    let mut sandbox = Sandbox::with_vpc1();
    let server = sandbox.serve("vpc1-public", &[80]);
    let stubborn = sandbox.start(
        "vpc1-private",
        "stubborn",
        "sh -c 'trap \"\" TERM; echo ready; while :; do read x; done </dev/zero'",
    );
    sandbox.wait_for_file("stubborn.out", |out| out.contains("ready"));
    sandbox.ok("vpcctl delete-vpc vpc1");
    sandbox.ok(&format!("! test -e /proc/{server} && ! test -e /proc/{stubborn}"));
}

#[test]
fn the_same_vpc_comes_and_goes_twenty_times() {
    let mut sandbox = Sandbox::new();
    let before = sandbox.dump_host();
    for _ in 0..20 {
        sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16 && vpcctl add-subnet vpc1 public 10.0.1.0/24 --public");
        sandbox.ok("vpcctl enable-nat vpc1 && ip netns exec vpc1-public ping -c 1 -W 2 203.0.113.5");
        sandbox.ok("vpcctl delete-vpc vpc1");
    }
    before.assert_same(&sandbox.dump_host(), "before and after");
}

#[test]
fn forwarding_comes_and_goes_with_nat() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("ip link add name other type bridge && ip link set dev other up");
    let read = "cd /proc/sys/net/ipv4; cat ip_forward conf/eth0/forwarding conf/other/forwarding | tr '\\n' ' '";
    assert_eq!(sandbox.ok(read), "0 0 0 ");
    sandbox.add_vpc1();
    assert_eq!(sandbox.ok(read), "0 1 0 ", "only the interface that needs it is switched on");
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.ok("vpcctl delete-vpc vpc1");
    assert_eq!(sandbox.ok(read), "0 1 0 ", "vpc2 needs it still");
    sandbox.ok("vpcctl disable-nat vpc2");
    assert_eq!(sandbox.ok(read), "0 0 0 ");
    sandbox.ok("vpcctl enable-nat vpc2 && echo 1 >/proc/sys/net/ipv4/ip_forward");
    sandbox.ok("vpcctl delete-vpc vpc2");
    assert_eq!(sandbox.ok(read), "1 1 1 ", "somebody else needs it by now");
}
