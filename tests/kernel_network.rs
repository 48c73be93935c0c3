//! Who reaches whom: within a VPC, to the internet, from the host, between VPCs.

mod support;

use support::Sandbox;

/// A few MB: enough for a wrong checksum, offload or path MTU to show.
const SIZE: usize = 4_000_000;

#[test]
fn instances_of_a_subnet_reach_each_other_and_the_gateways() {
    let mut sandbox = Sandbox::with_vpc1();
    for name in ["web2", "web3"] {
        sandbox.ok(&format!("vpcctl add-instance vpc1/public/{name}"));
    }
    sandbox.ok("vpcctl add-instance vpc1 private db --address 10.0.2.77");
    for (netns, address) in
        [("vpc1-public", "10.0.1.2"), ("vpc1-public-web2", "10.0.1.3"), ("vpc1-private-db", "10.0.2.77")]
    {
        sandbox.serve(netns, &[80]);
        assert!(sandbox.ok(&format!("ip -n {netns} addr show eth0")).contains(&format!("inet {address}/24")));
    }
    let everyone = ["tcp:10.0.1.2:80", "udp:10.0.1.3:80", "tcp:10.0.1.3:80", "tcp:10.0.2.77:80", "ping:10.0.1.4"];
    let gateways = ["ping:10.0.1.1", "ping:10.0.2.1"];
    for netns in ["vpc1-public", "vpc1-public-web2", "vpc1-public-web3", "vpc1-private", "vpc1-private-db"] {
        sandbox.open(netns, &everyone);
        sandbox.open(netns, &gateways);
    }
    let seen = sandbox.probe("vpc1-public-web3", &["tcp:10.0.1.2:80"]);
    assert_eq!(seen, ["open 10.0.1.4"], "neighbours see each other's own addresses");
    sandbox.ok("vpcctl delete-instance vpc1/public/web2");
    sandbox.closed("vpc1-public", &["ping:10.0.1.3"]);
    sandbox.open("vpc1-public", &["ping:10.0.1.4", "tcp:10.0.2.77:80"]);
}

#[test]
fn two_vpcs_of_the_same_cidr_live_side_by_side() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.says("vpcctl create-vpc twin 10.0.0.0/16", &["note: the host gets no route to twin"]);
    sandbox.ok("vpcctl add-subnet twin public 10.0.1.0/24 --public");
    sandbox.ok("vpcctl enable-nat twin");
    sandbox.serve("vpc1-public", &[80]);
    for netns in ["vpc1-public", "twin-public"] {
        sandbox.ok(&format!(
            "ip netns exec {netns} curl -s --max-time 5 http://203.0.113.9/ | grep 'you are 198.51.100.10'"
        ));
    }
    sandbox.expect_probes("twin-public", &[("tcp:10.0.1.2:80", "refused")]);
    sandbox.closed("twin-public", &["ping:10.0.2.2"]);
    sandbox.fails(4, "vpcctl peer vpc1 twin", &["overlap"]);
}

#[test]
fn a_vpc_with_the_hosts_own_lan_does_no_harm() {
    let mut sandbox = Sandbox::new();
    sandbox.says("vpcctl create-vpc lan 198.51.100.0/24", &["note: the host gets no route to lan", "eth0"]);
    sandbox.ok("vpcctl add-subnet lan a 198.51.100.0/25 --public");
    sandbox.ok("vpcctl enable-nat lan");
    sandbox.ok("ping -c 1 -W 2 198.51.100.1");
    sandbox.ok("curl -s --max-time 5 http://203.0.113.9/");
    sandbox.ok("ip netns exec lan-a curl -s --max-time 5 http://203.0.113.9/ | grep 'you are 198.51.100.10'");
    sandbox.ok("vpcctl delete-vpc lan");
    sandbox.ok("ping -c 1 -W 2 198.51.100.1");
}

#[test]
fn a_private_subnet_is_refused_at_once() {
    let mut sandbox = Sandbox::with_vpc1();
    let out = sandbox.expect(1, "ip netns exec vpc1-private ping -c 1 -W 5 203.0.113.5");
    assert!(out.stdout.contains("From 10.0.2.1") && out.stdout.contains("Packet filtered"), "{}", out.report());
    let fast = "i=0; while [ $i -lt 20 ]; do i=$((i+1)); ip netns exec vpc1-private curl -s --max-time 5 http://203.0.113.5/ && exit 9; done; true";
    let out = sandbox.expect(0, fast);
    assert!(out.took.as_secs() < 5, "each under a second: {}", out.report());
    // An address of the VPC's that no subnet has is nowhere, at once.
    sandbox.expect_probes("vpc1-public", &[("ping:10.0.99.9", "unreachable"), ("tcp:10.0.99.9:80", "unreachable")]);
}

#[test]
fn the_host_has_a_way_in_unless_it_was_not_wanted() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl create-vpc closed 10.7.0.0/16 --no-host-access");
    sandbox.ok("vpcctl add-subnet closed a 10.7.1.0/24 --public");
    sandbox.serve("vpc1-public", &[8080]);
    sandbox.serve("vpc1-private", &[8080]);
    sandbox.serve("closed-a", &[8080]);
    let open = ["tcp:10.0.1.2:8080", "udp:10.0.1.2:8080", "ping:10.0.1.2", "tcp:10.0.2.2:8080", "ping:10.0.1.1"];
    sandbox.open("host", &open);
    let closed = ["tcp:10.7.1.2:8080", "ping:10.7.1.2"];
    sandbox.closed("host", &closed);
    sandbox.ok("vpcctl enable-nat closed");
    sandbox.ok("ip netns exec closed-a ping -c 1 203.0.113.5");
    sandbox.closed("host", &closed);
    // Not even by a route that somebody adds.
    let router = sandbox.ok("ip -n closed -4 -br addr show uplink | tr -s ' ' | cut -d' ' -f3 | cut -d/ -f1");
    sandbox.ok(&format!("ip route replace 10.7.0.0/16 via {} dev vpc-closed", router.trim()));
    sandbox.closed("host", &closed);
}

#[test]
fn peering_is_routed_both_ways_and_not_transitive() {
    let mut sandbox = Sandbox::new();
    for (name, prefix) in [("a", "10.1"), ("b", "10.2"), ("c", "10.3")] {
        sandbox.add_vpc(name, prefix);
        sandbox.serve(&format!("{name}-a"), &[80]);
    }
    sandbox.ok("vpcctl peer a b");
    sandbox.ok("vpcctl peer c b");
    sandbox.expect_probes("a-a", &[("tcp:10.2.1.2:80", "open 10.1.1.2"), ("ping:10.2.1.2", "open")]);
    sandbox.open("b-a", &["tcp:10.1.1.2:80", "tcp:10.3.1.2:80", "udp:10.3.1.2:80"]);
    let far = ["tcp:10.3.1.2:80", "ping:10.3.1.2", "ping:10.3.1.1"];
    sandbox.closed("a-a", &far);
    // Not even with routes that somebody adds to the routers.
    sandbox.ok("ip -n a route add 10.3.0.0/16 via $(ip -n a route get 10.2.1.2 | grep -o 'via [0-9.]*' | cut -d' ' -f2) dev peer-b");
    sandbox.ok("ip -n c route add 10.1.0.0/16 via $(ip -n c route get 10.2.1.2 | grep -o 'via [0-9.]*' | cut -d' ' -f2) dev peer-b");
    sandbox.closed("a-a", &far);
    sandbox.ok("vpcctl unpeer b a");
    sandbox.closed("a-a", &["tcp:10.2.1.2:80", "ping:10.2.1.2"]);
    sandbox.open("b-a", &["tcp:10.3.1.2:80"]);
    sandbox.fails(3, "vpcctl unpeer a b", &["`a` and `b` are not peered"]);
}

#[test]
fn a_peering_carries_megabytes() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.ok("vpcctl peer vpc1 vpc2");
    sandbox.serve("vpc2-a", &[9000]);
    assert_eq!(sandbox.peer("vpc1-private", &format!("download 10.1.1.2 9000 {SIZE}")), "ok\n");
    assert_eq!(sandbox.peer("vpc1-private", &format!("upload 10.1.1.2 9000 {SIZE}")), "ok\n");
    sandbox.serve("vpc1-private", &[9000]);
    assert_eq!(sandbox.peer("vpc1-public", &format!("download 10.0.2.2 9000 {SIZE}")), "ok\n");
}

#[test]
fn nat_carries_megabytes_also_over_a_path_with_a_smaller_mtu() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.serve("internet", &[9000]);
    assert_eq!(sandbox.peer("vpc1-public", &format!("download 203.0.113.5 9000 {SIZE}")), "ok\n");
    assert_eq!(sandbox.peer("vpc1-public", &format!("upload 203.0.113.5 9000 {SIZE}")), "ok\n");
    sandbox.ok("ip link set dev eth0 mtu 1300 && ip -n internet link set dev eth0 mtu 1300");
    assert_eq!(sandbox.peer("vpc1-public", &format!("upload 203.0.113.5 9000 {SIZE}")), "ok\n");
    let pong = sandbox.expect(1, "ip netns exec vpc1-public ping -c 1 -W 2 -M do -s 1400 203.0.113.5");
    assert!(pong.stdout.contains("mtu = 1300") || pong.stderr.contains("mtu=1300"), "{}", pong.report());
}

#[test]
fn the_mtu_is_that_of_the_wan_interface() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("ip link set dev eth0 mtu 1400");
    sandbox.add_vpc1();
    for (netns, device) in [("vpc1-public", "eth0"), ("vpc1", "uplink"), ("vpc1", "br-vpc1"), ("vpc1", "public")] {
        let link = sandbox.ok(&format!("ip -n {netns} link show dev {device}"));
        assert!(link.contains("mtu 1400"), "{netns}: {link}");
    }
    sandbox.serve("internet", &[9000]);
    assert_eq!(sandbox.peer("vpc1-public", &format!("upload 203.0.113.5 9000 {SIZE}")), "ok\n");
}

#[test]
fn allow_cidr_narrows_a_peering_to_one_direction_and_cuts_what_is_open() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.ok("vpcctl peer vpc1 vpc2");
    for netns in ["vpc1-public", "vpc1-private", "vpc2-a"] {
        sandbox.serve(netns, &[80]);
    }
    sandbox.stream("vpc1-private", "tcp", "10.1.1.2:80", "stream");
    sandbox.ok("vpcctl allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24");
    sandbox.open("vpc1-public", &["tcp:10.1.1.2:80", "udp:10.1.1.2:80", "ping:10.1.1.2"]);
    sandbox.closed("vpc1-private", &["tcp:10.1.1.2:80", "ping:10.1.1.2"]);
    sandbox.closed("vpc2-a", &["tcp:10.0.1.2:80", "ping:10.0.1.2", "tcp:10.0.2.2:80"]);
    sandbox.says("vpcctl allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24", &["nothing changed"]);
    sandbox.assert_silent("stream");
    sandbox.ok("vpcctl allow-cidr --src 10.1.1.0/24 --dst 10.0.2.0/24");
    sandbox.open("vpc2-a", &["tcp:10.0.2.2:80"]);
    sandbox.closed("vpc2-a", &["tcp:10.0.1.2:80"]);
    sandbox.fails(3, "vpcctl allow-cidr --src 10.9.0.0/24 --dst 10.1.1.0/24", &["10.9.0.0/24"]);
}

#[test]
fn disable_nat_ends_open_connections_as_well() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.serve("internet", &[9000]);
    sandbox.stream("vpc1-public", "tcp", "203.0.113.5:9000", "stream");
    sandbox.ok("vpcctl disable-nat vpc1");
    sandbox.closed("vpc1-public", &["tcp:203.0.113.5:80", "ping:203.0.113.5"]);
    sandbox.assert_silent("stream");
    sandbox.ok("ip netns exec vpc1-public ping -c 1 10.0.2.2");
    sandbox.says("vpcctl disable-nat vpc1", &["nothing changed"]);
    sandbox.ok("vpcctl enable-nat vpc1 --subnet public");
    sandbox.open("vpc1-public", &["ping:203.0.113.5"]);
    sandbox.fails(4, "vpcctl enable-nat vpc1 --subnet private", &["`vpc1/private` is private"]);
}

#[test]
fn vpcs_are_deleted_in_any_order() {
    let mut sandbox = Sandbox::new();
    let names = ["one", "two", "three"];
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        for (name, prefix) in names.iter().zip(["10.1", "10.2", "10.3"]) {
            sandbox.add_vpc(name, prefix);
        }
        for (a, b) in [("one", "two"), ("two", "three"), ("three", "one")] {
            sandbox.ok(&format!("vpcctl peer {a} {b}"));
        }
        for (i, &gone) in order.iter().enumerate() {
            sandbox.ok(&format!("vpcctl delete-vpc {}", names[gone]));
            for &left in &order[i + 1..] {
                sandbox.ok(&format!("ip netns exec {}-a ping -c 1 -W 2 203.0.113.5", names[left]));
            }
        }
    }
}

#[test]
fn long_names_and_names_that_tools_take_for_keywords_work() {
    let mut sandbox = Sandbox::new();
    let long = ["production-network-of-the-first-department", "production-network-of-the-other-department"];
    for (i, name) in long.iter().chain(&["up", "dev", "br", "type", "name", "via"]).enumerate() {
        let prefix = format!("10.{}", i + 1);
        sandbox.ok(&format!("vpcctl create-vpc {name} {prefix}.0.0/16"));
        for (j, subnet) in ["dev", "up", "a-very-long-name-of-a-subnet"].iter().enumerate() {
            sandbox.ok(&format!("vpcctl add-subnet {name} {subnet} {prefix}.{}.0/24 --public", j + 1));
        }
        sandbox.ok(&format!("vpcctl enable-nat {name}"));
        sandbox.ok(&format!("vpcctl add-instance {name}/up/type"));
        sandbox.open(&format!("{name}-up-type"), &[&format!("ping:{prefix}.1.2"), "ping:203.0.113.5"]);
    }
    sandbox.ok("vpcctl peer up dev");
    sandbox.ok(&format!("vpcctl peer {} {}", long[0], long[1]));
    sandbox.open("up-dev", &["ping:10.4.1.2"]);
    sandbox.open(&format!("{}-up", long[0]), &["ping:10.2.3.2"]);
    assert!(sandbox.ok("ip -d link").contains(&format!("altname vpc-{}", long[0])));
    for name in long.iter().chain(&["up", "dev", "br", "type", "name", "via"]) {
        sandbox.ok(&format!("vpcctl delete-vpc {name}"));
    }
}
