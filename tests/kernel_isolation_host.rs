//! Attacks by root in an instance on the host: its services by every address, its loopback, its tables, its namespaces. Each
//! fails with the guards; then honest traffic flows; then, without them, it works.

mod support;

use support::Sandbox;
use support::attack::{assert_heard, assert_unheard};
use vpcctl::model::kernel_names as names;

fn attacker() -> String {
    format!("ip=10.0.1.2 gateway=10.0.1.1 gateway-mac={}", names::bridge_mac("10.0.0.0".parse().expect("an address")))
}

fn uplink_on_host(sandbox: &mut Sandbox) -> String {
    sandbox.ok("ip -4 -o addr show vpc-vpc1 | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1").trim().to_owned()
}

fn assert_honest_traffic(sandbox: &mut Sandbox) {
    sandbox.open("vpc1-public", &["ping:10.0.2.2", "ping:203.0.113.5"]);
    sandbox.open("host", &["ping:10.0.1.2", "ping:10.0.2.2"]);
}

#[test]
fn no_service_of_the_host_answers_by_any_of_its_addresses() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("iptables -P INPUT ACCEPT; ip addr add 192.168.7.1/24 dev lo");
    let uplink = uplink_on_host(&mut sandbox);
    let mut ear = sandbox.ear("host", "listen 53 67 443 5353 4000");
    let to = format!("{uplink},198.51.100.10,198.51.100.255,192.168.7.1,192.168.7.255,255.255.255.255,224.0.0.251");
    let tricks = |port: u16| format!("{} ttl=4 port={port} to={to}", attacker());
    for port in [53, 67, 443, 5353] {
        sandbox.attack("vpc1-public", "tricks", &tricks(port));
    }
    assert_unheard(&sandbox.heard(&mut ear, "host", "127.0.0.1"), "the host");
    assert_honest_traffic(&mut sandbox);
    // Without the host's own chain, and the router's filter, whatever a router forwards to an address of the host arrives. Broadcast and multicast no
    // router forwards: what makes the host hear those is a bridge on it, and there is none.
    sandbox.ok("iptables -F VPCCTL-INPUT; tc -n vpc1 qdisc del dev br-vpc1 clsact");
    let sent = sandbox.attack("vpc1-public", "tricks", &tricks(443));
    let unicast = [uplink.as_str(), "198.51.100.10", "192.168.7.1"];
    let wanted = sent.iter().filter(|name| unicast.iter().any(|address| name.ends_with(&format!("-{address}"))));
    let wanted: Vec<String> = wanted.map(|name| format!("{name} 443")).collect();
    assert_eq!(wanted.len(), 18);
    assert_heard(&sandbox.heard(&mut ear, "host", "127.0.0.1"), &wanted, "the host");
}

/// NAT is by an interface that is gone, and a VPC's uplink got its name: the host's rules for NAT are for neither of the two.
#[test]
fn an_uplink_with_the_name_of_a_wan_interface_is_none() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("ip link add vpc-x type veth peer name far && ip addr add 192.0.2.1/24 dev vpc-x && ip link set vpc-x up && ip link set far up
        vpcctl disable-nat vpc1 && vpcctl enable-nat vpc1 --interface vpc-x && ip link del vpc-x && vpcctl create-vpc x 10.5.0.0/16");
    let router = "ip -n x -4 -o addr show uplink | tr -s ' ' | cut -d' ' -f4 | cut -d/ -f1";
    let router = sandbox.ok(router).trim().to_owned();
    sandbox.open("host", &[&format!("ping:{router}")]);
    let by_wan = "iptables -nvxL VPCCTL-FORWARD | grep -e 'out to the internet' -e 'answers from the internet' | tr -s ' ' | cut -d' ' -f2";
    sandbox.fails(1, &format!("ip netns exec vpc1-public ping -c 1 -W 1 {router}"), &[]);
    assert!(
        sandbox.ok(by_wan).lines().all(|packets| packets == "0"),
        "{}",
        sandbox.ok("iptables -nvxL VPCCTL-FORWARD")
    );
}

#[test]
fn loopback_is_out_of_reach_even_where_the_host_routes_it() {
    let mut sandbox = Sandbox::with_vpc1();
    let mut ear = sandbox.ear("host", "listen 443 4000");
    let uplink = uplink_on_host(&mut sandbox);
    sandbox.ok("for i in all vpc-vpc1; do echo 1 >/proc/sys/net/ipv4/conf/$i/route_localnet; done");
    let attack = |sandbox: &mut Sandbox| {
        sandbox.attack("vpc1-public", "tricks", &format!("{} port=443 to=127.0.0.1,127.0.0.53", attacker()))
    };
    attack(&mut sandbox);
    sandbox.ok("ip netns exec vpc1-public sh -c 'for i in all eth0; do echo 1 >/proc/sys/net/ipv4/conf/$i/route_localnet; done; ip addr del 127.0.0.1/8 dev lo; ip route add 127.0.0.0/8 via 10.0.1.1'");
    sandbox.closed("vpc1-public", &["udp:127.0.0.1:443"]);
    assert_unheard(&sandbox.heard(&mut ear, "host", "127.0.0.1"), "the host");
    assert_honest_traffic(&mut sandbox);
    // A router without a loopback of its own that routes it, and a host without rules: then it arrives.
    sandbox.ok("ip netns exec vpc1 sh -c 'for i in all br-vpc1 uplink; do echo 1 >/proc/sys/net/ipv4/conf/$i/route_localnet; done; iptables -F; iptables -P FORWARD ACCEPT'");
    sandbox.ok(&format!(
        "ip -n vpc1 addr del 127.0.0.1/8 dev lo; ip -n vpc1 route add 127.0.0.0/8 via {uplink}; iptables -F VPCCTL-INPUT"
    ));
    attack(&mut sandbox);
    let heard = sandbox.heard(&mut ear, "host", "127.0.0.1");
    assert_heard(&heard, ["plain-127.0.0.1 443", "tiny-fragments-127.0.0.1 443", "plain-127.0.0.53 443"], "the host");
}

#[test]
fn the_hosts_tables_hold_nothing_of_what_was_refused() {
    let mut sandbox = Sandbox::with_vpc1();
    let connections = |sandbox: &mut Sandbox| -> i64 {
        sandbox.ok("cat /proc/sys/net/netfilter/nf_conntrack_count").trim().parse().expect("a number")
    };
    let tables = |sandbox: &mut Sandbox| {
        let dump = sandbox.dump();
        ["rules", "neighbours json", "fdb json", "addr json", "routes json"]
            .map(|section| dump.section("host", section).to_owned())
    };
    sandbox.open("vpc1-public", &["ping:203.0.113.5"]);
    let before = (tables(&mut sandbox), connections(&mut sandbox));
    let private = attacker().replace("10.0.1.", "10.0.2.");
    let sweep = format!("{private} count=2000 to=203.0.113.5,198.51.100.10");
    sandbox.attack("vpc1-private", "sweep", &sweep);
    sandbox.attack("vpc1-private", "sweep", &format!("{private} count=200 from=198.51.100,192.168.0"));
    for theme in ["arp_flood", "mac_flood"] {
        sandbox.attack("vpc1-private", theme, &format!("{private} count=200 from=198.51.100"));
    }
    let protocols = format!("{private} to=198.51.100.10,203.0.113.5");
    sandbox.attack("vpc1-private", "protocols", &protocols);
    assert_honest_traffic(&mut sandbox);
    let after = (tables(&mut sandbox), connections(&mut sandbox));
    assert_eq!(after.0, before.0);
    // The pings themselves are connections.
    assert!(after.1 <= before.1 + 8, "{} connections, {} before", after.1, before.1);
    // Where the router lets them out, they are the host's.
    sandbox.ok("ip netns exec vpc1 sh -c 'iptables -F; iptables -P FORWARD ACCEPT; iptables -t nat -A POSTROUTING -o uplink -j MASQUERADE'");
    sandbox.attack("vpc1-private", "sweep", &sweep);
    let open = connections(&mut sandbox);
    assert!(open > before.1 + 1000, "{open} connections");
}

#[test]
fn a_redirect_moves_no_route_of_the_host_or_a_neighbour() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    let asked = "ip route get 10.0.1.2; ip route get 203.0.113.5; ip -n vpc1-public-web2 route get 10.0.2.2; ip -n vpc1 route get 10.0.2.2";
    let before = sandbox.ok(asked);
    let uplink = uplink_on_host(&mut sandbox);
    // Both sides have connections that a redirect may speak of, by ICMP with a known number.
    for (victim, other) in [("10.0.1.3", "10.0.2.2"), (uplink.as_str(), "10.0.1.2"), ("198.51.100.10", "203.0.113.5")] {
        sandbox.attack(
            "vpc1-public",
            "forgeries",
            &format!("{} victim={victim} other={other} sport=4000 port=80", attacker()),
        );
    }
    assert_eq!(sandbox.ok(asked), before);
    // The router itself sends none either: all that it might send about comes in and leaves by its bridge.
    let icmp = |sandbox: &mut Sandbox| sandbox.ok("ip netns exec vpc1 grep ^IcmpMsg: /proc/net/snmp | tail -n 2");
    sandbox.open("vpc1-public", &["ping:10.0.1.3", "ping:10.0.2.2"]);
    assert!(!icmp(&mut sandbox).contains("OutType5"), "the router sent redirects");
    assert_honest_traffic(&mut sandbox);
    // Where a router may send them, it does.
    sandbox.ok(
        "ip netns exec vpc1 sh -c 'for i in all br-vpc1; do echo 1 >/proc/sys/net/ipv4/conf/$i/send_redirects; done'",
    );
    sandbox.ok("ip netns exec vpc1-public ping -c 3 -i 0.01 10.0.1.3");
    assert!(icmp(&mut sandbox).contains("OutType5"), "{}", icmp(&mut sandbox));
}

#[test]
fn a_user_namespace_is_what_keeps_root_in_an_instance_from_the_host() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    let escapes = [
        "nsenter --net=/run/netns/vpc2-a true",
        "ip netns exec vpc2-a true",
        "ip link add name esc0 type veth peer name esc1 netns vpc2-a",
        "/usr/bin/python3 -SE $T/attacks.py send mac_flood count=1",
        "ip addr add 10.0.2.50/24 dev eth0",
        "iptables -F",
    ];
    sandbox.attack("vpc1-public", "mac_flood", "count=1");
    for escape in escapes {
        // A user namespace within the instance's network namespace: root there, and nobody to what isn't its own.
        let jailed = sandbox.run(&format!("ip netns exec vpc1-public unshare --user --map-root-user {escape}"));
        assert_ne!(jailed.code, 0, "{escape}");
    }
    let before = sandbox.dump();
    sandbox.run("ip netns exec vpc1-public unshare --user --map-root-user --net sh -c 'ip link add name esc0 type veth peer name esc1 netns 1'");
    before.assert_same(&sandbox.dump(), "after an escape from a namespace of its own");
    assert_honest_traffic(&mut sandbox);
    // Plain root in an instance's namespace is root on the host: a limit that is written down.
    for escape in escapes {
        sandbox.ok(&format!("ip netns exec vpc1-public {escape}"));
    }
}
