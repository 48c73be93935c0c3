//! Attacks by root in an instance's namespace. Each is first shown to work where there is no guard, then to fail where there
//! is one, and then honest traffic still works.

mod support;

use support::Sandbox;

/// The same VPC without guards: an ordinary bridge that routes, as most tutorials draw it.
const UNGUARDED: &str = "
ip netns add bad && ip -n bad link set dev lo up && ip netns exec bad sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
ip -n bad link add name br type bridge && ip -n bad link set dev br up
ip -n bad addr add 10.0.1.1/24 dev br && ip -n bad addr add 10.0.2.1/24 dev br
for i in 1.2 1.3 2.2; do
  ip netns add bad-$i && ip -n bad-$i link add name eth0 type veth peer name p$i netns bad && ip -n bad link set dev p$i master br up
  ip -n bad-$i addr add 10.0.$i/24 dev eth0 && ip -n bad-$i link set dev eth0 up && ip -n bad-$i link set dev lo up
  ip -n bad-$i route add default via 10.0.${i%.*}.1
done
";

/// vpc1 with two instances in each subnet, and vpc2 beside it.
fn two_vpcs() -> Sandbox {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2 && vpcctl add-instance vpc1/private/db2");
    sandbox.add_vpc("vpc2", "10.1");
    sandbox
}

fn assert_honest_traffic(sandbox: &mut Sandbox) {
    sandbox.open("vpc1-public", &["ping:10.0.1.3", "ping:10.0.2.2", "ping:203.0.113.5", "ping:10.0.1.1"]);
    sandbox.open("vpc1-private", &["ping:10.0.1.2", "ping:10.0.2.3"]);
    sandbox.open("vpc2-a", &["ping:203.0.113.5"]);
}

#[test]
fn an_address_of_another_subnet_cannot_be_taken() {
    let mut sandbox = two_vpcs();
    sandbox.ok(UNGUARDED);
    let take = |netns: &str| format!("ip -n {netns} addr add 10.0.2.50/24 dev eth0");
    let direct = |netns: &str| format!("ip netns exec {netns} ping -c 1 -W 1 -I 10.0.2.50 10.0.2.2");
    sandbox.ok(&take("bad-1.2"));
    sandbox.ok(&direct("bad-1.2"));
    sandbox.ok(&take("vpc1-public"));
    sandbox.expect(1, &direct("vpc1-public"));
    sandbox.ok("ip -n vpc1-public addr del 10.0.2.50/24 dev eth0");
    assert_honest_traffic(&mut sandbox);
}

#[test]
fn a_neighbours_address_and_mac_cannot_be_taken() {
    let mut sandbox = two_vpcs();
    sandbox.ok(UNGUARDED);
    sandbox.serve("vpc1-private", &[80]);
    sandbox.serve("bad-2.2", &[80]);
    // The address: the router goes on sending to its owner, and drops what the thief sends.
    let steal = |netns: &str, port: u16| {
        format!(
            "ip -n {netns} addr add 10.0.1.3/32 dev eth0; ip netns exec {netns} nc -z -w 1 -s 10.0.1.3 10.0.2.2 {port}"
        )
    };
    sandbox.ok("ip -n bad-1.3 link set dev eth0 down");
    sandbox.ok(&steal("bad-1.2", 80));
    sandbox.expect(1, &steal("vpc1-public", 80));
    sandbox.open("vpc1-private", &["ping:10.0.1.3"]);
    sandbox.ok("ip -n vpc1-public addr del 10.0.1.3/32 dev eth0");
    // The address with its MAC.
    let mac = sandbox.ok("ip netns exec vpc1-public-web2 cat /sys/class/net/eth0/address");
    let own = sandbox.ok("ip netns exec vpc1-public cat /sys/class/net/eth0/address");
    sandbox.start_peer("vpc1-private", "receive");
    sandbox.ok(&format!(
        "ip -n vpc1-public link set dev eth0 address {} && ip -n vpc1-public addr add 10.0.1.3/32 dev eth0
         ip -n vpc1-public route replace default via 10.0.1.1 dev eth0",
        mac.trim()
    ));
    sandbox.expect(1, "ip netns exec vpc1-public nc -z -w 1 -s 10.0.1.3 10.0.2.2 80");
    sandbox.open("vpc1-private", &["ping:10.0.1.3"]);
    sandbox.open("vpc1-public-web2", &["tcp:10.0.2.2:80"]);
    sandbox.ok(&format!(
        "ip -n vpc1-public addr del 10.0.1.3/32 dev eth0; ip -n vpc1-public link set dev eth0 address {}",
        own.trim()
    ));
    sandbox.ok("ip -n vpc1-public route replace default via 10.0.1.1 dev eth0");
    assert_honest_traffic(&mut sandbox);
}

#[test]
fn a_neighbours_arp_table_and_the_routers_cannot_be_poisoned() {
    let mut sandbox = two_vpcs();
    sandbox.ok(UNGUARDED);
    let poison = |address: &str| format!("frame eth0 ff:ff:ff:ff:ff:ff own arp own {address} {address}");
    let neighbour = |netns: &str, address: &str| format!("ip -n {netns} neigh show {address} | grep -o 'lladdr [^ ]*'");
    // Without the guard: the router of the bad VPC takes 1.2's MAC for 1.3's, and 1.3 takes it for the gateway's.
    sandbox.ok("ip netns exec bad ping -c 1 10.0.1.3; ip netns exec bad-1.3 ping -c 1 10.0.1.1");
    let mac = sandbox.ok("ip netns exec bad-1.2 cat /sys/class/net/eth0/address");
    // An entry that is confirmed holds for `locktime`, one second: repeat until it is over.
    sandbox.wait_for(&format!(
        "ip netns exec bad-1.2 /usr/bin/python3 -SE $T/peer.py {}; {} | grep {}",
        poison("10.0.1.3"),
        neighbour("bad", "10.0.1.3"),
        mac.trim()
    ));
    let gateway = |sandbox: &mut Sandbox| sandbox.ok(&neighbour("vpc1-public-web2", "10.0.1.1"));
    sandbox.open("vpc1-public-web2", &["ping:10.0.1.1"]);
    let before = (sandbox.ok(&neighbour("vpc1", "10.0.1.3")), gateway(&mut sandbox));
    for address in ["10.0.1.3", "10.0.1.1", "10.0.2.2"] {
        for _ in 0..5 {
            sandbox.peer("vpc1-public", &poison(address));
        }
    }
    assert_eq!((sandbox.ok(&neighbour("vpc1", "10.0.1.3")), gateway(&mut sandbox)), before);
    assert_honest_traffic(&mut sandbox);
}

#[test]
fn a_stolen_source_does_not_pass_the_router() {
    let mut sandbox = two_vpcs();
    sandbox.ok(UNGUARDED);
    sandbox.ok("vpcctl create-vpc vpc3 10.3.0.0/16 && vpcctl add-subnet vpc3 a 10.3.1.0/24");
    sandbox.ok("vpcctl peer vpc1 vpc2 && vpcctl peer vpc2 vpc3");
    // Without the guard, a packet with any source arrives.
    sandbox.start("bad-2.2", "bad", "/usr/bin/python3 -SE $T/peer.py receive");
    sandbox.wait_for_file("bad.out", |out| out.contains("ready"));
    let bad_mac = sandbox.ok("ip netns exec bad cat /sys/class/net/br/address");
    sandbox.peer("bad-1.2", &format!("frame eth0 {} own ip 8.8.8.8 10.0.2.2", bad_mac.trim()));
    sandbox.wait_for_file("bad.out", |out| out.contains("8.8.8.8 to 10.0.2.2"));
    // With it, none of these does: vpc3 doesn't hear vpc1 even under vpc2's name, nor the peer or a neighbour any other.
    let listeners = [("vpc2-a", "peer"), ("vpc3-a", "far"), ("vpc1-private", "near"), ("internet", "internet")];
    for (netns, name) in listeners {
        sandbox.start(netns, name, "/usr/bin/python3 -SE $T/peer.py receive");
        sandbox.wait_for_file(&format!("{name}.out"), |out| out.contains("ready"));
    }
    let mac = sandbox.ok("ip netns exec vpc1 cat /sys/class/net/br-vpc1/address");
    for source in [
        "10.3.1.2",
        "10.1.1.2",
        "10.0.2.2",
        "10.0.1.3",
        "10.0.1.1",
        "8.8.8.8",
        "198.51.100.10",
        "127.0.0.1",
        "0.0.0.0",
        "224.0.0.1",
    ] {
        for destination in ["10.1.1.2", "10.3.1.2", "10.0.2.2", "203.0.113.5"] {
            sandbox.peer("vpc1-public", &format!("frame eth0 {} own ip {source} {destination}", mac.trim()));
        }
    }
    // What comes after them has arrived: then so have they, or never.
    sandbox.peer("vpc1-public", &format!("frame eth0 {} own ip 10.0.1.2 10.1.1.2", mac.trim()));
    sandbox.peer("vpc1-public", &format!("frame eth0 {} own ip 10.0.1.2 10.0.2.2", mac.trim()));
    sandbox.peer("vpc1-public", &format!("frame eth0 {} own ip 10.0.1.2 203.0.113.5", mac.trim()));
    let honest =
        |out: &str| out.lines().any(|line| line.contains("udp 10.0.1.2 to") || line.contains("udp 198.51.100.10 to"));
    for name in ["peer", "near", "internet"] {
        let out = sandbox.wait_for_file(&format!("{name}.out"), honest);
        let spoofed: Vec<&str> =
            out.lines().filter(|line| line.contains("73706f6f666564") && !line.ends_with(&hex("10.0.1.2"))).collect();
        assert!(spoofed.is_empty(), "{name} hears {spoofed:?}");
    }
    let far = sandbox.ok("cat $T/far.out");
    assert!(!far.contains("udp"), "{far}");
    assert_honest_traffic(&mut sandbox);
}

/// What a spoofed packet says of its source, as `receive` prints it.
fn hex(source: &str) -> String {
    format!("spoofed {source}").bytes().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn other_vpcs_are_closed_to_every_protocol() {
    let mut sandbox = two_vpcs();
    sandbox.serve("vpc2-a", &[80]);
    sandbox.closed("vpc1-public", &["ping:10.1.1.2", "ping:10.1.1.1", "tcp:10.1.1.2:80", "udp:10.1.1.2:80"]);
    sandbox.start("vpc2-a", "heard", "/usr/bin/python3 -SE $T/peer.py receive");
    sandbox.wait_for_file("heard.out", |out| out.contains("ready"));
    let mac = sandbox.ok("ip netns exec vpc1 cat /sys/class/net/br-vpc1/address");
    for protocol in ["1", "4", "6", "17", "47", "50", "132", "253"] {
        for destination in ["10.1.1.2", "10.1.1.1"] {
            sandbox.peer("vpc1-public", &format!("frame eth0 {} own ip 10.0.1.2 {destination} {protocol}", mac.trim()));
        }
    }
    // Not even with a route that the host is given and forwarding for all.
    sandbox.ok("echo 1 >/proc/sys/net/ipv4/ip_forward; iptables -P FORWARD ACCEPT");
    sandbox.closed("vpc1-public", &["ping:10.1.1.2", "tcp:10.1.1.2:80"]);
    sandbox.ok("ip netns exec vpc2-a ping -c 1 203.0.113.5");
    let heard = sandbox.ok("cat $T/heard.out");
    assert!(!heard.contains("10.0.1.2"), "{heard}");
}

#[test]
fn the_host_is_closed_to_instances() {
    let mut sandbox = two_vpcs();
    sandbox.ok("iptables -P INPUT ACCEPT; ip addr add 192.168.7.1/32 dev lo");
    sandbox.serve("host", &[22, 80]);
    let uplink = sandbox.ok("ip -4 -br addr show vpc-vpc1 | tr -s ' ' | cut -d' ' -f3 | cut -d/ -f1");
    let uplink = uplink.trim();
    // Without the guard: the rules of ours gone for a moment.
    sandbox.ok("iptables-save >$T/rules; iptables -F VPCCTL-INPUT");
    sandbox.open("vpc1-public", &[&format!("tcp:{uplink}:22"), "tcp:198.51.100.10:22"]);
    sandbox.ok("iptables-restore <$T/rules");
    for address in [uplink, "198.51.100.10", "192.168.7.1"] {
        for netns in ["vpc1-public", "vpc1-private"] {
            let targets = [format!("tcp:{address}:22"), format!("udp:{address}:80"), format!("ping:{address}")];
            sandbox.closed(netns, &targets.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }
    // Loopback through the gateway, with the attacker's own kernel willing.
    sandbox.ok("ip netns exec vpc1-public sh -c 'echo 1 >/proc/sys/net/ipv4/conf/all/route_localnet; ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 10.0.1.1'");
    sandbox.closed("vpc1-public", &["tcp:127.0.0.1:22"]);
    sandbox.open("host", &["tcp:127.0.0.1:22", "ping:10.0.1.2"]);
    assert_honest_traffic(&mut sandbox);
}

#[test]
fn ipv6_is_off_and_router_advertisements_change_nothing() {
    let mut sandbox = two_vpcs();
    // Without the guard a neighbour takes a route and an address from whoever offers them.
    sandbox.ok(UNGUARDED);
    sandbox.wait_for(
        "ip netns exec bad-1.2 /usr/bin/python3 -SE $T/peer.py frame eth0 33:33:00:00:00:01 own ra 2001:db8:bad::
         ip -n bad-1.3 -6 route | grep 2001:db8:bad:: && ip -n bad-1.3 -6 route | grep default",
    );
    for netns in ["vpc1", "vpc1-public", "vpc1-private", "vpc2"] {
        let addresses = sandbox.ok(&format!("ip -n {netns} -6 addr"));
        assert_eq!(addresses, "", "{netns}");
    }
    assert!(!sandbox.ok("ip -6 addr").contains("vpc-vpc1"), "the uplink has no IPv6 on the host");
    let before = sandbox.dump();
    // Its own eth0 is the attacker's to switch on: then its neighbours must not hear it, nor the router or the host.
    sandbox.ok("ip netns exec vpc1-public sh -c 'echo 0 >/proc/sys/net/ipv6/conf/all/disable_ipv6; echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip -6 addr add 2001:db8::2/64 dev eth0 nodad'");
    sandbox.start("vpc1-public-web2", "heard", "/usr/bin/python3 -SE $T/peer.py receive");
    sandbox.wait_for_file("heard.out", |out| out.contains("ready"));
    let advertise = |to: &str| format!("frame eth0 {to} own ra 2001:db8:bad::");
    sandbox.peer("vpc1-public", &advertise("ff:ff:ff:ff:ff:ff"));
    sandbox.peer("vpc1-public", &advertise("33:33:00:00:00:01"));
    sandbox.run("ip netns exec vpc1-public ping -6 -c 1 -W 1 ff02::1%eth0");
    let after = sandbox.dump();
    for netns in ["host", "vpc1", "vpc1-public-web2", "vpc2"] {
        assert_eq!(before.section(netns, "routes json"), after.section(netns, "routes json"), "{netns}");
        assert_eq!(before.section(netns, "addr json"), after.section(netns, "addr json"), "{netns}");
    }
    sandbox.open("vpc1-public", &["ping:10.0.1.3"]);
    let heard = sandbox.ok("cat $T/heard.out");
    assert!(!heard.contains("ipv6"), "{heard}");
}

#[test]
fn a_private_instance_cannot_reach_the_internet_by_a_public_address() {
    let mut sandbox = two_vpcs();
    let steal = "ip -n vpc1-private addr add 10.0.1.2/32 dev eth0; ip -n vpc1-private addr add 10.0.1.99/32 dev eth0";
    sandbox.ok(steal);
    for source in ["10.0.1.2", "10.0.1.99", "10.0.2.2"] {
        sandbox.expect(1, &format!("ip netns exec vpc1-private ping -c 1 -W 1 -I {source} 203.0.113.5"));
        sandbox.expect(1, &format!("ip netns exec vpc1-private nc -z -w 1 -s {source} 203.0.113.5 80"));
    }
    // Through a neighbour as a router, on the same wire.
    sandbox.ok("ip netns exec vpc1-public sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'");
    sandbox.ok("ip -n vpc1-private route add 203.0.113.7/32 via 10.0.1.3 dev eth0 onlink");
    sandbox.closed("vpc1-private", &["ping:203.0.113.7"]);
    sandbox.ok("ip -n vpc1-private addr del 10.0.1.2/32 dev eth0; ip -n vpc1-private addr del 10.0.1.99/32 dev eth0");
    assert_honest_traffic(&mut sandbox);
}

#[test]
fn the_bridge_learns_nothing_and_no_redirect_is_sent() {
    let mut sandbox = two_vpcs();
    let before = sandbox.dump();
    for i in 10..40 {
        sandbox.peer(
            "vpc1-public",
            &format!("frame eth0 ff:ff:ff:ff:ff:ff 02:00:00:00:00:{i} arp 02:00:00:00:00:{i} 10.0.1.{i} 10.0.1.1"),
        );
    }
    sandbox.start("vpc1-public", "heard", "/usr/bin/python3 -SE $T/peer.py receive");
    sandbox.wait_for_file("heard.out", |out| out.contains("ready"));
    sandbox.open("vpc1-public", &["ping:10.0.2.2", "ping:10.0.1.3"]);
    let heard = sandbox.ok("cat $T/heard.out");
    // An ICMP redirect is of type 5.
    assert!(!heard.lines().any(|line| line.starts_with("icmp") && line.contains(" 05")), "{heard}");
    let after = sandbox.dump();
    for section in ["fdb json", "neighbours json"] {
        assert_eq!(before.section("vpc1", section), after.section("vpc1", section));
    }
}

#[test]
fn a_lan_neighbour_of_the_host_gets_into_no_vpc() {
    let mut sandbox = two_vpcs();
    sandbox.serve("vpc1-public", &[80]);
    sandbox.ok("ip -n internet route add 10.0.0.0/16 via 198.51.100.10");
    sandbox.ok("ip -n internet route add 198.19.0.0/16 via 198.51.100.10");
    let router = sandbox.ok("ip -n vpc1 -4 -br addr show uplink | tr -s ' ' | cut -d' ' -f3 | cut -d/ -f1");
    let ways = ["tcp:10.0.1.2:80", "ping:10.0.1.2", "ping:10.0.2.2", &format!("ping:{}", router.trim())];
    sandbox.closed("internet", &ways);
    // Not even with the host's rules flushed and all forwarding on; replies still pass.
    sandbox.ok("iptables -F; iptables -P FORWARD ACCEPT; echo 1 >/proc/sys/net/ipv4/ip_forward");
    sandbox.closed("internet", &ways[..3]);
}
