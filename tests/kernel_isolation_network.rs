//! Attacks by root in an instance on what lies behind its router: sources of every kind, fragments, IP options, tunnels, other
//! protocols, others' connections. Each fails with the guards; then honest traffic flows; then, without them, it works.

mod support;

use support::Sandbox;
use support::attack::{Names, assert_heard, assert_unheard};
use vpcctl::model::kernel_names as names;

/// What makes vpc1, vpc2 and vpc3 ordinary routers that know each other: vpc1's guards, and those that stand in its way after.
const UNGUARD: &str = "for vpc in vpc1 vpc2 vpc3; do
    tc -n $vpc qdisc del dev br-$vpc clsact
    ip netns exec $vpc iptables -t raw -F; ip netns exec $vpc iptables -t nat -F; ip netns exec $vpc iptables -F
    ip netns exec $vpc iptables -P FORWARD ACCEPT; ip netns exec $vpc iptables -P INPUT ACCEPT
    ip netns exec $vpc sh -c 'for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$i; done'
done
ip -n vpc1 route add 10.3.0.0/16 dev peer-vpc2 via $(ip -n vpc2 -4 -o addr show peer-vpc1 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1)
iptables -F; iptables -P FORWARD ACCEPT; iptables -t nat -F; for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$i; done
echo 1 >/proc/sys/net/ipv4/ip_forward";

/// vpc1 with two subnets, vpc2 that is its peer, and vpc3 that is vpc2's.
fn chain_of_peers() -> Sandbox {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.add_vpc("vpc3", "10.3");
    sandbox.ok("vpcctl peer vpc1 vpc2 && vpcctl peer vpc2 vpc3");
    sandbox
}

fn assert_honest_traffic(sandbox: &mut Sandbox) {
    sandbox.open("vpc1-public", &["ping:10.0.1.3", "ping:10.0.2.2", "ping:10.1.1.2", "ping:203.0.113.5"]);
    sandbox.open("vpc3-a", &["ping:10.1.1.2", "ping:203.0.113.5"]);
}

/// The attacker in `vpc1-public`, and its router.
fn attacker() -> String {
    let gateway_mac = names::bridge_mac("10.0.0.0".parse().expect("an address"));
    format!("ip=10.0.1.2 gateway=10.0.1.1 gateway-mac={gateway_mac}")
}

/// The address of a link's end in a namespace.
fn link(sandbox: &mut Sandbox, netns: &str, device: &str) -> String {
    let enter = if netns == "host" { String::new() } else { format!("-n {netns} ") };
    let show = format!("ip {enter}-4 -o addr show {device} | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1");
    sandbox.ok(&show).trim().to_owned()
}

#[test]
fn no_source_but_its_own_leaves_an_instances_router() {
    let mut sandbox = chain_of_peers();
    let links = [("host", "vpc-vpc1"), ("vpc1", "uplink"), ("host", "vpc-vpc2"), ("vpc1", "peer-vpc2")];
    let links = links.map(|(netns, device)| link(&mut sandbox, netns, device));
    let strangers = ["8.8.8.8", "10.0.1.3", "10.0.1.99", "10.0.9.9", "10.1.1.9", "10.3.1.2", "192.168.1.1"];
    // These the kernel itself takes for no source, or for none that can come from there: there is nothing to take away.
    let martians = ["127.0.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "10.0.1.1", "10.0.2.1", "198.51.100.10"];
    let all: Vec<&str> = strangers.iter().chain(&martians).copied().chain(links.iter().map(String::as_str)).collect();
    let ears = [
        ("vpc1-private", "10.0.2.2", "vpc1-public"),
        ("vpc2-a", "10.1.1.2", "vpc1-public"),
        ("vpc3-a", "10.3.1.2", "vpc2-a"),
        ("internet", "203.0.113.5", "vpc1-public"),
    ];
    let to = ears.map(|(_, address, _)| address).join(",");
    let mut ears = ears.map(|(netns, address, from)| (sandbox.ear(netns, "hear eth0"), netns, address, from));
    sandbox.attack("vpc1-public", "sources", &format!("{} from={} to={to}", attacker(), all.join(",")));
    for (ear, netns, address, from) in &mut ears {
        assert_unheard(&sandbox.heard(ear, from, address), netns);
    }
    assert_honest_traffic(&mut sandbox);
    sandbox.ok(UNGUARD);
    sandbox.attack("vpc1-public", "sources", &format!("{} from={} to={to}", attacker(), strangers.join(",")));
    for (ear, netns, address, _) in &mut ears {
        let wanted: Vec<String> =
            strangers.iter().filter(|s| **s != *address).map(|s| format!("{s}-{address}")).collect();
        // The honest sender too needs somebody who answers for it now: the neighbour across the last router.
        let from = if *netns == "vpc3-a" { "vpc2-a" } else { "vpc1-public" };
        assert_heard(&sandbox.heard(ear, from, address), &wanted, netns);
    }
}

#[test]
fn no_protocol_reaches_a_vpc_that_is_no_peer() {
    let mut sandbox = chain_of_peers();
    let ears =
        [("vpc1-private", "10.0.2.2", "vpc1-public"), ("vpc3-a", "10.3.1.2", "vpc2-a"), ("vpc3", "10.3.1.1", "vpc3-a")];
    let mut ears = ears.map(|(netns, address, from)| {
        let listening = if netns == "vpc3" { "hear uplink peer-vpc2 br-vpc3" } else { "hear eth0" };
        (sandbox.ear(netns, listening), netns, address, from)
    });
    let attack = |sandbox: &mut Sandbox| {
        sandbox.attack("vpc1-public", "protocols", &format!("{} to=10.0.2.2,10.3.1.2,10.3.1.1", attacker()))
    };
    let to = |names: &Names, address: &str| -> Names {
        names.iter().filter(|name| name.ends_with(&format!("-{address}"))).cloned().collect()
    };
    let sent = attack(&mut sandbox);
    for (ear, netns, address, from) in &mut ears {
        let heard = sandbox.heard(ear, from, address);
        if *netns == "vpc1-private" {
            assert_heard(&heard, to(&sent, address), "the other subnet, which may");
        } else {
            assert_unheard(&heard, netns);
        }
    }
    assert_honest_traffic(&mut sandbox);
    sandbox.ok(UNGUARD);
    attack(&mut sandbox);
    for (ear, netns, address, from) in &mut ears {
        assert_heard(&sandbox.heard(ear, from, address), to(&sent, address), netns);
    }
}

#[test]
fn no_trick_carries_a_packet_past_a_policy() {
    let mut sandbox = chain_of_peers();
    let policy =
        r#"{"ingress": [{"port": 80, "protocol": "udp", "action": "allow"}, {"protocol": "icmp", "action": "allow"}]}"#;
    let file = sandbox.file("policy.json", policy);
    sandbox.ok(&format!("vpcctl apply-policy vpc1/private {file} && vpcctl apply-policy vpc2/a {file}"));
    let to = "10.0.2.2,10.1.1.2";
    let mut ears = [("vpc1-private", "10.0.2.2"), ("vpc2-a", "10.1.1.2")]
        .map(|(netns, address)| (sandbox.ear(netns, "listen 80 443 4000"), netns, address));
    let tricks = format!("{} port=443 ttl=4 to={to}", attacker());
    let mut sent = sandbox.attack("vpc1-public", "tricks", &tricks);
    sent.extend(sandbox.attack("vpc1-public", "source_route", &format!("{} to={to}", attacker())));
    sandbox.attack("vpc1-public", "overlaps", &format!("{} open=80 port=443 to=10.0.2.2", attacker()));
    for (ear, netns, address) in &mut ears {
        let heard = sandbox.heard_by_port(ear, "vpc1-public", address, 80);
        let past: Names = heard.into_iter().filter(|line| line.ends_with(" 443") || line.ends_with(" 4000")).collect();
        assert_unheard(&past, netns);
    }
    assert_honest_traffic(&mut sandbox);
    // The same fragments and options where they may: port 80. A tag is none of an instance's business.
    sandbox.attack("vpc1-public", "tricks", &tricks.replace("port=443", "port=80"));
    for (ear, netns, address) in &mut ears {
        let heard = sandbox.heard_by_port(ear, "vpc1-public", address, 80);
        let may: Vec<String> = sent
            .iter()
            .filter(|n| n.ends_with(*address) && !n.starts_with("source-route") && !n.starts_with("priority-tagged"))
            .map(|n| format!("{n} 80"))
            .collect();
        assert_heard(&heard, may, netns);
        assert!(!heard.iter().any(|name| name.starts_with("priority-tagged")), "{netns} hears {heard:?}");
    }
    // Without the policy, and without what makes a router deaf to a sender's own route, all are heard.
    sandbox.ok("vpcctl remove-policy vpc1/private && vpcctl remove-policy vpc2/a");
    sandbox.ok("tc -n vpc1 qdisc del dev br-vpc1 clsact; ip netns exec vpc1 sh -c 'for i in /proc/sys/net/ipv4/conf/*/accept_source_route; do echo 1 >$i; done; iptables -P INPUT ACCEPT; iptables -P FORWARD ACCEPT; iptables -F'");
    for netns in ["vpc2", "vpc2-a", "vpc1-private"] {
        sandbox.ok(&format!(
            "ip netns exec {netns} sh -c 'for i in /proc/sys/net/ipv4/conf/*/accept_source_route; do echo 1 >$i; done'"
        ));
    }
    sandbox.attack("vpc1-public", "tricks", &tricks);
    sandbox.attack("vpc1-public", "source_route", &format!("{} to={to}", attacker()));
    for (ear, netns, address) in &mut ears {
        let heard = sandbox.heard_by_port(ear, "vpc1-public", address, 80);
        let all: Vec<String> = sent
            .iter()
            .filter(|n| n.ends_with(*address))
            .map(|n| if n.starts_with("source-route") { format!("{n} 4000") } else { format!("{n} 443") })
            .collect();
        assert_heard(&heard, all, netns);
    }
}

#[test]
fn no_tunnel_is_unwrapped() {
    let mut sandbox = chain_of_peers();
    let uplink = link(&mut sandbox, "host", "vpc-vpc1");
    let mut private = sandbox.ear("vpc1-private", "hear eth0");
    let mut other = sandbox.ear("vpc3-a", "hear eth0");
    let to = format!("10.0.1.1,10.0.2.1,10.1.1.2,10.1.1.1,198.51.100.10,{uplink}");
    let inner = |address: &str| {
        let mac = names::mac(address.parse().expect("an address"));
        format!("{} to={to} inner={address} inner-mac={mac}", attacker())
    };
    for address in ["10.0.2.2", "10.3.1.2"] {
        sandbox.attack("vpc1-public", "tunnels", &inner(address));
    }
    assert_unheard(&sandbox.heard(&mut private, "vpc1-public", "10.0.2.2"), "private");
    assert_unheard(&sandbox.heard(&mut other, "vpc2-a", "10.3.1.2"), "vpc3");
    assert_honest_traffic(&mut sandbox);
    // A router that has tunnels and takes packets for itself unwraps them.
    sandbox.ok("ip -n vpc1 link add name wrapped type vxlan id 42 dstport 4789 local 10.0.1.1 && ip -n vpc1 link set dev wrapped address $(ip -n vpc1 -o link show br-vpc1 | grep -o 'link/ether [^ ]*' | cut -d' ' -f2) up
        tc -n vpc1 qdisc del dev br-vpc1 clsact
        ip netns exec vpc1 sh -c 'iptables -t raw -F; iptables -F; iptables -P INPUT ACCEPT; iptables -P FORWARD ACCEPT; for i in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 >$i; done'");
    let to_router = inner("10.0.2.2").replace(
        names::mac("10.0.2.2".parse().expect("an address")).as_str(),
        &names::bridge_mac("10.0.0.0".parse().expect("an address")),
    );
    sandbox.attack("vpc1-public", "tunnels", &to_router);
    assert_heard(&sandbox.heard(&mut private, "vpc1-public", "10.0.2.2"), ["vxlan-10.0.1.1"], "private");
}

#[test]
fn the_connections_of_others_survive_what_is_forged_about_them() {
    let mut sandbox = chain_of_peers();
    sandbox.serve("vpc1-private", &[80]);
    sandbox.stream("vpc1-public-web2", "tcp", "10.0.2.2:80", "tcp");
    sandbox.stream("vpc1-public-web2", "udp", "10.0.2.2:80", "udp");
    let tables = |sandbox: &mut Sandbox| {
        ["vpc1", "vpc1-public-web2", "host"].map(|netns| {
            let enter = if netns == "host" { String::new() } else { format!("-n {netns} ") };
            sandbox.ok(&format!(
                "ip {enter}-4 route show table all; ip {enter}route get 10.0.2.2; ip {enter}route get 203.0.113.5"
            ))
        })
    };
    let before = tables(&mut sandbox);
    let sport = sandbox.ok("ip netns exec vpc1-public-web2 cat /proc/net/tcp | grep -i ':0050 01' | head -n 1 | tr -s ' ' | cut -d: -f3 | cut -d' ' -f1");
    let sport = u16::from_str_radix(sport.trim(), 16).expect("the client's port");
    let forged = format!("{} victim=10.0.1.3 other=10.0.2.2 sport={sport} port=80", attacker());
    for _ in 0..20 {
        sandbox.attack("vpc1-public", "forgeries", &forged);
    }
    sandbox.assert_flowing("tcp");
    sandbox.assert_flowing("udp");
    assert_eq!(tables(&mut sandbox), before, "no route was learnt, no redirect obeyed");
    assert_honest_traffic(&mut sandbox);
    // What would hit is the same in the other side's name: either guard on addresses stops it, without both it arrives.
    let mut web2 = sandbox.ear("vpc1-public-web2", "hear eth0");
    let spoof = format!("{} from=10.0.2.2 to=10.0.1.3", attacker());
    sandbox.attack("vpc1-public", "sources", &spoof);
    assert_unheard(&sandbox.heard(&mut web2, "vpc1-public", "10.0.1.3"), "web2");
    sandbox.ok("tc -n vpc1 qdisc del dev br-vpc1 clsact");
    sandbox.attack("vpc1-public", "sources", &spoof);
    assert_unheard(&sandbox.heard(&mut web2, "vpc1-public", "10.0.1.3"), "web2");
    sandbox.ok("vpcctl repair && ip netns exec vpc1 iptables -t raw -F");
    sandbox.attack("vpc1-public", "sources", &spoof);
    assert_unheard(&sandbox.heard(&mut web2, "vpc1-public", "10.0.1.3"), "web2");
    sandbox.ok("tc -n vpc1 qdisc del dev br-vpc1 clsact");
    sandbox.attack("vpc1-public", "sources", &spoof);
    assert_heard(&sandbox.heard(&mut web2, "vpc1-public", "10.0.1.3"), ["10.0.2.2-10.0.1.3"], "web2");
}

#[test]
fn a_fragment_in_a_neighbours_name_becomes_no_part_of_its_packet() {
    let mut sandbox = chain_of_peers();
    let mut private = sandbox.ear("vpc1-private", "listen 4000");
    let part = |sandbox: &mut Sandbox, netns: &str, ip: &str, part: &str| {
        let a = attacker().replace("ip=10.0.1.2", &format!("ip={ip}"));
        sandbox.attack(netns, "fragment", &format!("{a} source=10.0.1.3 part={part} to=10.0.2.2"));
    };
    part(&mut sandbox, "vpc1-public", "10.0.1.2", "tail");
    part(&mut sandbox, "vpc1-public-web2", "10.0.1.3", "head");
    assert_unheard(&sandbox.heard(&mut private, "vpc1-public", "10.0.2.2"), "private");
    // Nor does one that bears a priority tag, which the kernel takes off on the way.
    for tag in ["8100e000", "88a8e000"] {
        part(&mut sandbox, "vpc1-public", &format!("10.0.1.2 tag={tag}"), "tail");
        part(&mut sandbox, "vpc1-public-web2", "10.0.1.3", "head");
        assert_unheard(&sandbox.heard(&mut private, "vpc1-public", "10.0.2.2"), "private");
    }
    // Without the filter the two are put together before the rules see them.
    sandbox.ok("tc -n vpc1 qdisc del dev br-vpc1 clsact");
    part(&mut sandbox, "vpc1-public", "10.0.1.2", "tail");
    part(&mut sandbox, "vpc1-public-web2", "10.0.1.3", "head");
    assert_heard(&sandbox.heard(&mut private, "vpc1-public", "10.0.2.2"), ["tail-10.0.1.2 4000"], "private");
    sandbox.says("vpcctl repair", &["1 object mended"]);
    // Its own tail is heard.
    part(&mut sandbox, "vpc1-public-web2", "10.0.1.3", "tail");
    part(&mut sandbox, "vpc1-public-web2", "10.0.1.3", "head");
    assert_heard(&sandbox.heard(&mut private, "vpc1-public", "10.0.2.2"), ["tail-10.0.1.3 4000"], "private");
    assert_honest_traffic(&mut sandbox);
}

#[test]
fn flushed_rules_close_and_open_nothing() {
    let mut sandbox = chain_of_peers();
    sandbox.serve("vpc3-a", &[80]);
    sandbox.serve("vpc1-private", &[80]);
    let far = ["ping:10.3.1.2", "ping:10.3.1.1", "tcp:10.3.1.2:80", "udp:10.3.1.2:80"];
    assert_honest_traffic(&mut sandbox);
    sandbox.ok("echo 1 >/proc/sys/net/ipv4/ip_forward; iptables -P FORWARD ACCEPT");
    let flush = |netns: &str| format!("for t in raw nat filter; do ip netns exec {netns} iptables -t $t -F; done");
    let stages = [
        "iptables -F; iptables -t nat -F".to_owned(),
        flush("vpc2"),
        flush("vpc1"),
        flush("vpc3"),
        "nft flush ruleset".to_owned(),
    ];
    for stage in stages {
        sandbox.ok(&stage);
        sandbox.closed("vpc1-public", &far);
        sandbox.closed("vpc1-private", &["ping:203.0.113.5", "ping:10.3.1.2"]);
    }
    // What holds is each router's policy of DROP: with all of them at ACCEPT, and a route, vpc1 reaches vpc3.
    sandbox.ok(UNGUARD);
    sandbox.ok("ip -n vpc3 route add 10.0.0.0/16 dev peer-vpc2 via $(ip -n vpc2 -4 -o addr show peer-vpc3 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1)");
    sandbox.open("vpc1-public", &far);
}

#[test]
fn what_an_instance_does_to_its_own_interface_is_its_own_affair() {
    let mut sandbox = chain_of_peers();
    sandbox.serve("vpc1-private", &[80]);
    let others = |sandbox: &mut Sandbox| {
        sandbox.peer("vpc1-public-web2", "download 10.0.2.2 80 3000000");
        sandbox.peer("vpc1-public-web2", "upload 10.0.2.2 80 3000000");
        sandbox.ok("ip netns exec vpc1-public-web2 ping -c 1 -s 4000 10.0.2.2");
        let show = "ip netns exec vpc1 cat /sys/class/net/br-vpc1/mtu /sys/class/net/public-web2/mtu /sys/class/net/private/mtu";
        sandbox.ok(show)
    };
    let before = others(&mut sandbox);
    for mtu in [65535, 68, 9000] {
        sandbox.ok(&format!("ip -n vpc1-public link set dev eth0 mtu {mtu}"));
        sandbox.run("ip netns exec vpc1-public ping -c 1 -W 1 -s 60000 -M dont 10.0.2.2");
        assert_eq!(others(&mut sandbox), before, "with an MTU of {mtu} next door");
    }
    sandbox.ok("ip -n vpc1-public link set dev eth0 gso_max_size 65536 mtu 1500 txqueuelen 1 down && ip -n vpc1-public link set dev eth0 up");
    assert_eq!(others(&mut sandbox), before);
    sandbox.ok("ip -n vpc1-public route replace default via 10.0.1.1 dev eth0");
    assert_honest_traffic(&mut sandbox);
}

#[test]
fn a_flood_of_fragments_stops_nobody_for_long_and_nobody_elsewhere() {
    let mut sandbox = chain_of_peers();
    let flood = format!("{} to=10.0.2.2 count=20000", attacker());
    let large = |netns: &str, to: &str| format!("ip netns exec {netns} ping -c 1 -W 1 -s 4000 {to}");
    sandbox.attack("vpc1-public", "fragment_flood", &flood);
    sandbox.ok(&large("vpc2-a", "10.3.1.2"));
    // Each that is in vain takes a second at least.
    sandbox.ok(&format!("for i in $(seq 8); do {} && exit; done; false", large("vpc1-public-web2", "10.0.2.2")));
    assert_honest_traffic(&mut sandbox);
    // With the kernel's own patience a flood lasts half a minute: nothing gets through in the first seconds of it.
    sandbox.ok("ip netns exec vpc1 sh -c 'echo 30 >/proc/sys/net/ipv4/ipfrag_time'");
    sandbox.attack("vpc1-public", "fragment_flood", &flood);
    sandbox.expect(1, "ip netns exec vpc1-public-web2 ping -c 4 -W 1 -s 4000 10.0.2.2");
}
