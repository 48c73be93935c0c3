//! Attacks from outside (the internet, a neighbour of the host's) on instances, and every way out for a private one. Each fails
//! with the guards; then honest traffic flows; then, without them, it works.

mod support;

use support::Sandbox;
use support::attack::{Names, assert_heard, assert_unheard};
use vpcctl::model::kernel_names as names;

/// A routing table, and no rule that stands in its way.
const HOST_WITHOUT_RULES: &str = "iptables -F; iptables -t nat -F; iptables -P FORWARD ACCEPT
echo 1 >/proc/sys/net/ipv4/ip_forward; for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$i; done";

const ROUTER_WITHOUT_RULES: &str = "tc -n vpc1 qdisc del dev br-vpc1 clsact; for table in raw nat filter; do ip netns exec vpc1 iptables -t $table -F; done
for chain in INPUT FORWARD; do ip netns exec vpc1 iptables -P $chain ACCEPT; done";

/// vpc1 and its peer vpc2, both with NAT.
fn two_peers() -> Sandbox {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.ok("vpcctl peer vpc1 vpc2");
    sandbox
}

fn assert_honest_traffic(sandbox: &mut Sandbox) {
    sandbox.open("vpc1-public", &["ping:10.0.2.2", "ping:10.1.1.2", "ping:203.0.113.5"]);
    sandbox.ok("ip netns exec vpc1-public curl -sS --max-time 5 http://203.0.113.5");
    sandbox.open("host", &["ping:10.0.1.2", "ping:10.0.2.2"]);
}

fn mac_of(sandbox: &mut Sandbox, netns: &str, device: &str) -> String {
    let enter = if netns == "host" { String::new() } else { format!("ip netns exec {netns} ") };
    sandbox.ok(&format!("{enter}cat /sys/class/net/{device}/address")).trim().to_owned()
}

fn private_attacker() -> String {
    format!("ip=10.0.2.2 gateway=10.0.2.1 gateway-mac={}", names::bridge_mac("10.0.0.0".parse().expect("an address")))
}

#[test]
fn a_private_instance_finds_no_way_out() {
    let mut sandbox = two_peers();
    let uplink = sandbox.ok("ip -4 -o addr show vpc-vpc1 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1");
    let uplink = uplink.trim().to_owned();
    let mut internet = sandbox.ear("internet", "hear eth0");
    // Its own packets, whole and in pieces, of every protocol; in the name of others; by others' own hand, as a router; by
    // routes of its own choice over its peer and its host; to the host's resolver.
    let stolen = format!("10.0.1.2,10.0.1.3,10.0.1.99,10.1.1.2,{uplink},198.51.100.10,8.8.8.8");
    let to = "203.0.113.5,203.0.113.53";
    let attack = |sandbox: &mut Sandbox| -> Names {
        let a = private_attacker();
        let neighbour = names::mac("10.0.1.2".parse().expect("an address"));
        let by_neighbour = format!("ip=10.0.2.2 gateway=10.0.1.2 gateway-mac={neighbour} port=53 to=203.0.113.7");
        let mut sent = sandbox.attack("vpc1-private", "tricks", &format!("{a} port=53 ttl=5 to={to}"));
        sent.extend(sandbox.attack("vpc1-private", "protocols", &format!("{a} to={to}")));
        sent.extend(sandbox.attack("vpc1-private", "sources", &format!("{a} from={stolen} to={to}")));
        sandbox.attack("vpc1-private", "tricks", &by_neighbour);
        for gateway in ["10.0.2.1", "10.1.1.1", "10.1.1.2", &uplink] {
            let by = a.replace("gateway=10.0.2.1", &format!("gateway={gateway}"));
            sandbox.attack("vpc1-private", "source_route", &format!("{by} to={to}"));
        }
        sent
    };
    sandbox.ok("ip netns exec vpc1-public sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'");
    sandbox.ok("ip netns exec vpc2-a sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'");
    attack(&mut sandbox);
    assert_unheard(&sandbox.heard(&mut internet, "vpc1-public", "203.0.113.5"), "the internet");
    sandbox.closed("vpc1-private", &["udp:203.0.113.53:53", &format!("udp:{uplink}:53"), "udp:198.51.100.10:53"]);
    assert_honest_traffic(&mut sandbox);
    // Without the router's rules all of it leaves, but for what nobody takes for a source, and what asks for a way of its own.
    sandbox.ok(ROUTER_WITHOUT_RULES);
    sandbox.ok(HOST_WITHOUT_RULES);
    sandbox.ok("ip netns exec vpc1 sh -c 'for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$i; done'");
    let sent = attack(&mut sandbox);
    let martian = |name: &String| name.starts_with("198.51.100.10-") || name.starts_with(&uplink);
    let wanted: Names = sent.into_iter().filter(|name| !martian(name)).collect();
    assert!(wanted.len() > 40, "{wanted:?}");
    let heard = sandbox.heard(&mut internet, "host", "203.0.113.5");
    assert_heard(&heard, &wanted, "the internet");
}

#[test]
fn nobody_outside_gets_in_by_way_of_the_host() {
    let mut sandbox = two_peers();
    let link = |sandbox: &mut Sandbox, netns: &str, device: &str| {
        let enter = if netns == "host" { String::new() } else { format!("-n {netns} ") };
        let show = format!("ip {enter}-4 -o addr show {device} | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1");
        sandbox.ok(&show).trim().to_owned()
    };
    let (hosts_end, routers_end) = (link(&mut sandbox, "host", "vpc-vpc1"), link(&mut sandbox, "vpc1", "uplink"));
    let mut ears = [("vpc1-public", "10.0.1.2"), ("vpc1-private", "10.0.2.2")]
        .map(|(netns, address)| (sandbox.ear(netns, "hear eth0"), netns, address));
    let host = mac_of(&mut sandbox, "host", "eth0");
    let to = format!("10.0.1.2,10.0.2.2,10.0.1.1,{routers_end}");
    let strangers = "198.51.100.1,203.0.113.5,10.1.1.2,10.0.2.2,8.8.8.8";
    let attack = |sandbox: &mut Sandbox| {
        let a = format!("ip=198.51.100.1 gateway=198.51.100.10 gateway-mac={host}");
        // In the name of the only one who may, too: the host's end of the uplink.
        let mut sent =
            sandbox.attack("internet", "sources", &format!("{a} from={strangers},{hosts_end},127.0.0.1 to={to}"));
        sent.extend(sandbox.attack("internet", "tricks", &format!("{a} port=80 to={to}")));
        sandbox.attack("internet", "source_route", &format!("{a} to={to}"));
        sandbox.attack("internet", "protocols", &format!("{a} to={to}"));
        sent
    };
    // As the host is, with forwarding for all, without the host's rules, without the router's, without either.
    let stages = [
        ("the guards", "true"),
        ("a host that forwards", "echo 1 >/proc/sys/net/ipv4/ip_forward"),
        ("the host flushed", HOST_WITHOUT_RULES),
        ("the router flushed", "ip netns exec vpc1 iptables -F; ip netns exec vpc1 iptables -t raw -F"),
    ];
    for (stage, change) in stages {
        sandbox.ok(change);
        attack(&mut sandbox);
        for (ear, netns, address) in &mut ears {
            let from = if stage == "the router flushed" { continue } else { "host" };
            assert_unheard(&sandbox.heard(ear, from, address), &format!("{netns} with {stage}"));
        }
        if stage == "the guards" {
            assert_honest_traffic(&mut sandbox);
        }
    }
    // Policies, which a flush leaves, and the host's routing rule too: now they arrive, those of the flushed router before not.
    for (ear, netns, address) in &mut ears {
        sandbox.ok("ip netns exec vpc1 iptables -P FORWARD ACCEPT");
        assert_unheard(&sandbox.heard(ear, "host", address), netns);
        sandbox.ok("ip netns exec vpc1 iptables -P FORWARD DROP");
    }
    sandbox.ok("ip netns exec vpc1 iptables -P FORWARD ACCEPT; ip route add 10.0.0.0/16 dev vpc-vpc1 via $(ip -n vpc1 -4 -o addr show uplink | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1); ip rule del pref 31001");
    let sent = attack(&mut sandbox);
    for (ear, netns, address) in &mut ears {
        let arrives = |name: &&String| {
            name.ends_with(&format!("-{address}"))
                && !name.starts_with(&hosts_end)
                && !name.starts_with("127.")
                && !name.starts_with(*address)
                && !name.starts_with("10.0.2.2-")
        };
        let wanted: Vec<&String> = sent.iter().filter(arrives).collect();
        assert!(wanted.len() >= 8, "{wanted:?}");
        assert_heard(&sandbox.heard(ear, "host", address), wanted, netns);
    }
}

#[test]
fn a_port_that_nat_opened_lets_only_its_own_answers_in() {
    let mut sandbox = two_peers();
    let mut ear = sandbox.ear("vpc1-public", "hear eth0");
    let mut other = sandbox.ear("vpc2-a", "hear eth0");
    // A flow out: the host's own port for it is 4000 as well, for nobody else has it.
    sandbox.ok("ip netns exec vpc1-public /usr/bin/python3 -SE $T/attacks.py flow 203.0.113.5 4000 4000");
    let host = mac_of(&mut sandbox, "host", "eth0");
    let a = format!("ip=198.51.100.1 gateway=198.51.100.10 gateway-mac={host}");
    // Others than the one asked, to that port and to every other; and the one asked, to other ports.
    sandbox.attack(
        "internet",
        "sources",
        &format!("{a} from=203.0.113.6,198.51.100.1,8.8.8.8,10.0.1.2,10.1.1.2 to=198.51.100.10"),
    );
    sandbox.attack("internet", "sweep", &format!("{a} count=3999 to=198.51.100.10"));
    sandbox.attack("internet", "tricks", &format!("{a} port=4000 to=198.51.100.10"));
    sandbox.attack(
        "internet",
        "forgeries",
        &format!("{a} victim=198.51.100.10 other=203.0.113.6 sport=4000 port=4000"),
    );
    assert_unheard(&sandbox.heard(&mut ear, "vpc1-private", "10.0.1.2"), "the instance");
    assert_unheard(&sandbox.heard(&mut other, "vpc1-private", "10.1.1.2"), "the other VPC's");
    assert_honest_traffic(&mut sandbox);
    // The one asked is heard: the port is the right one.
    sandbox.attack("internet", "sources", &format!("{a} from=203.0.113.5 to=198.51.100.10"));
    assert_heard(&sandbox.heard(&mut ear, "vpc1-private", "10.0.1.2"), ["203.0.113.5-198.51.100.10"], "the instance");
}

#[test]
fn a_vpc_that_takes_a_deleted_ones_place_gets_nothing_of_it() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ear("host", "listen 4001");
    let flow = "ip netns exec vpc1-public /usr/bin/python3 -SE $T/attacks.py flow 203.0.113.5 4000 4000";
    let host = mac_of(&mut sandbox, "host", "eth0");
    let late = format!("ip=198.51.100.1 gateway=198.51.100.10 gateway-mac={host} from=203.0.113.5 to=198.51.100.10");
    sandbox.ok(flow);
    let uplink = sandbox.ok("ip -4 -o addr show vpc-vpc1 | tr -s ' ' | cut -d' ' -f4");
    sandbox.ok("vpcctl delete-vpc vpc1 --yes || vpcctl delete-vpc vpc1");
    sandbox.add_vpc1();
    assert_eq!(sandbox.ok("ip -4 -o addr show vpc-vpc1 | tr -s ' ' | cut -d' ' -f4"), uplink, "the same addresses");
    let mut ear = sandbox.ear("vpc1-public", "hear eth0");
    sandbox.attack("internet", "sources", &late);
    assert_unheard(&sandbox.heard(&mut ear, "vpc1-private", "10.0.1.2"), "the new instance");
    let entries = sandbox.ok("cat /proc/sys/net/netfilter/nf_conntrack_count; ip -n vpc1 -4 neigh show dev br-vpc1");
    assert!(!entries.contains("REACHABLE") && !entries.contains("STALE"), "{entries}");
    sandbox.open("vpc1-public", &["ping:10.0.2.2", "ping:203.0.113.5"]);
    // A flow of its own it hears.
    sandbox.ok(flow);
    sandbox.attack("internet", "sources", &late);
    assert_heard(
        &sandbox.heard(&mut ear, "vpc1-private", "10.0.1.2"),
        ["203.0.113.5-198.51.100.10"],
        "the new instance",
    );
}

/// A cloud's metadata service, which the host reaches like any address of the internet, would take an instance for the host.
#[test]
fn the_metadata_service_of_a_cloud_is_for_the_host_alone() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("ip -n internet addr add 169.254.169.254/32 dev lo");
    let service = ["ping:169.254.169.254"];
    sandbox.open("host", &service);
    let refused = [("ping:169.254.169.254", "unreachable"), ("tcp:169.254.169.254:80", "refused")];
    sandbox.expect_probes("vpc1-public", &refused);
    // With so many a set takes the place of a rule for each.
    sandbox.ok("for i in $(seq 20 36); do vpcctl add-subnet -q vpc1 s$i 10.0.$i.0/24 --public || exit; done
        ip netns exec vpc1 iptables -S VPCCTL-FORWARD | grep 'match-set vpcctl-nat src'");
    sandbox.expect_probes("vpc1-public", &refused);
    sandbox.open("vpc1-s36", &["ping:203.0.113.5"]);
    sandbox.ok("vpcctl check");
    // The proof that nothing else is in the way.
    sandbox.ok("ip netns exec vpc1 iptables -I VPCCTL-FORWARD 1 -j ACCEPT");
    sandbox.open("vpc1-public", &service);
}
