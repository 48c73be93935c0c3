//! What has our names and isn't ours; and what others do to the host's network while VPCs are there.

mod support;

use support::Sandbox;

const CREATE: &str = "vpcctl create-vpc vpc1 10.0.0.0/16";

/// What others may have under a name of ours: how it comes, and a word of whose it is.
const TAKEN: [(&str, &str); 13] = [
    ("ip netns add vpc1", "namespace vpc1 exists, and vpcctl did not make it"),
    ("ip netns add vpc1 && ip -n vpc1 link set dev lo alias mine", "namespace vpc1 exists"),
    ("mkdir /run/netns/vpc1", "/run/netns/vpc1 is no namespace"),
    ("ln -s /run/nowhere /run/netns/vpc1", "/run/netns/vpc1 is no namespace"),
    ("ln -s /etc/passwd /run/netns/vpc1", "/run/netns/vpc1 is no namespace"),
    ("ln -s internet /run/netns/vpc1", "namespace vpc1 exists"),
    ("mkfifo /run/netns/vpc1", "/run/netns/vpc1 is no namespace"),
    ("ip link add name vpc-vpc1 type bridge", "vpc-vpc1@host"),
    ("ip link add name vpc-vpc1 type veth peer name other", "vpc-vpc1@host"),
    ("ip link add name own type bridge && ip link property add dev own altname vpc-vpc1", "another name of own"),
    ("iptables -N VPCCTL-INPUT && iptables -A VPCCTL-INPUT -s 192.0.2.1 -j DROP", "chain VPCCTL-INPUT"),
    ("iptables -N VPCCTL-FORWARD && iptables -A VPCCTL-FORWARD -j RETURN", "chain VPCCTL-FORWARD"),
    (
        "iptables -N VPCCTL-INPUT && iptables -A INPUT -s 192.0.2.1 -j VPCCTL-INPUT",
        "a rule of INPUT that isn't vpcctl's",
    ),
];

#[test]
fn what_has_our_name_and_is_not_ours_is_refused_and_stays() {
    let halves = TAKEN.split_at(TAKEN.len() / 2);
    std::thread::scope(|scope| {
        for half in [halves.0, halves.1] {
            scope.spawn(|| half.iter().for_each(|(make, whose)| assert_refused(make, whose)));
        }
    });
}

fn assert_refused(make: &str, whose: &str) {
    let mut sandbox = Sandbox::new();
    sandbox.settle();
    sandbox.ok(make);
    let before = sandbox.dump_host();
    sandbox.fails(4, CREATE, &[whose]);
    before.assert_same(&sandbox.dump_host(), make);
    // Nor is the command left half-done: another name works, and all goes again.
    let output = sandbox.run("vpcctl create-vpc vpc2 10.1.0.0/16 --no-host-access && vpcctl delete-vpc vpc2");
    sandbox.assert(output.code == 0 && !output.stderr.contains("cleanly"), &output.report());
    before.assert_same(&sandbox.dump_host(), make);
}

#[test]
fn names_of_instances_and_of_later_chains_are_refused_too() {
    let mut sandbox = Sandbox::new();
    sandbox.ok(CREATE);
    sandbox.ok("ip netns add vpc1-public && iptables -t nat -N VPCCTL-POSTROUTING && iptables -t nat -A VPCCTL-POSTROUTING -j RETURN");
    let add = "vpcctl add-subnet vpc1 public 10.0.1.0/24 --public";
    sandbox.fails(4, add, &["namespace vpc1-public exists"]);
    sandbox.ok(&format!("ip netns del vpc1-public && {add}"));
    sandbox.fails(4, "vpcctl enable-nat vpc1", &["chain VPCCTL-POSTROUTING"]);
    sandbox.ok("vpcctl delete-vpc vpc1 && iptables -t nat -S VPCCTL-POSTROUTING | grep RETURN");
}

/// A file alone is what a killed `ip netns add` leaves, and an empty chain what a flush leaves of ours: they are nobody's.
#[test]
fn what_is_empty_is_taken_over() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("touch /run/netns/vpc1 && iptables -N VPCCTL-INPUT && iptables -N VPCCTL-FORWARD");
    sandbox.add_vpc1();
    sandbox.assert_vpc1_works();
}

#[test]
fn routes_rules_sets_and_files_of_others_are_left_alone() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("ip route add 192.0.2.0/25 dev eth0 table 30320 && ip route add 192.0.2.0/24 dev eth0 table 30321
        ip rule add pref 31000 from 192.0.2.0/24 lookup 77 && ip rule add pref 31001 iif lo lookup 78
        ipset create vpcctl-10.0.0.0 hash:ip && ipset add vpcctl-10.0.0.0 192.0.2.7
        mkdir -p /etc/netns/vpc1-public && echo nameserver 192.0.2.53 >/etc/netns/vpc1-public/resolv.conf");
    sandbox.settle();
    let before = sandbox.dump_host();
    sandbox.add_vpc1();
    sandbox.assert_vpc1_works();
    sandbox.ok("ip rule | grep '31000:.*192.0.2.0/24 lookup 77' && ip rule | grep '31001:.*iif lo lookup 78'");
    sandbox.says("vpcctl enable-nat vpc1", &["nothing changed"]);
    sandbox.ok("vpcctl delete-vpc vpc1 && grep 192.0.2.53 /etc/netns/vpc1-public/resolv.conf");
    before.assert_same(&sandbox.dump_host(), "before and after");
}

/// As in a container that has it from outside.
#[test]
fn a_directory_of_files_that_is_a_mount_of_its_own_stays_without_a_failure() {
    let mut sandbox = Sandbox::with_vpc1();
    let log = "/var/lib/vpcctl/vpcctl.log";
    let disable = format!("rm {log} && vpcctl disable-nat vpc1 && grep -c place= {log}");
    let tools = sandbox.ok(&disable);
    for mounted in ["/etc/netns", "/etc/netns/vpc1-public"] {
        sandbox.ok(&format!("mkdir -p {mounted} && mount -t tmpfs none {mounted} && vpcctl enable-nat vpc1"));
        let is_gone = format!("! test -e /etc/netns/vpc1-public/resolv.conf && mountpoint {mounted}");
        sandbox.ok(&format!("vpcctl --dry-run disable-nat vpc1 | grep resolv.conf | sh -e && {is_gone}"));
        sandbox.ok("vpcctl enable-nat vpc1 && test -e /etc/netns/vpc1-public/resolv.conf");
        // A step that fails has the command look again at all that it is about.
        assert_eq!(sandbox.ok(&disable), tools, "{mounted}");
        sandbox.ok(&is_gone);
    }
}

#[test]
fn a_mark_that_was_changed_makes_it_somebody_elses() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("ip link set dev vpc-vpc1 alias mine");
    sandbox.fails(4, CREATE, &["vpc-vpc1@host", "vpcctl did not make it"]);
    sandbox.ok("ip link set dev vpc-vpc1 alias vpcctl:vpc1");
    sandbox.says(CREATE, &["nothing changed"]);
    sandbox.ok("ip -n vpc1-public link set dev lo alias mine");
    sandbox.says("vpcctl delete-vpc vpc1", &["not vpcctl's any more: left alone"]);
    sandbox.ok("ip netns exec vpc1-public true && ip -n vpc1-public link show lo | grep mine");
}

/// Settings of the host's that others change.
#[test]
fn strict_reverse_paths_and_bridged_packets_are_no_obstacle() {
    for setting in ["ipv4/conf/all/rp_filter:1", "ipv4/conf/all/rp_filter:2", "ipv4/ip_forward:1"] {
        let (key, value) = setting.split_once(':').expect("a key and a value");
        let mut sandbox = Sandbox::new();
        sandbox.ok(&format!("echo {value} >/proc/sys/net/{key}; iptables -P FORWARD DROP"));
        sandbox.add_vpc1();
        sandbox.assert_vpc1_works();
    }
}

#[test]
fn what_others_switch_off_move_or_rewrite_is_healed() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.settle();
    let before = sandbox.dump();
    for meddle in [
        // Somebody switches forwarding on and off: the kernel takes the interfaces' own settings with it.
        "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 0 >/proc/sys/net/ipv4/ip_forward",
        // networkd removes what it doesn't know.
        "ip rule del pref 31000; ip rule del pref 31001; ip route flush table 30320; ip route flush table 30321",
        "ip addr flush dev vpc-vpc1",
        // udev gives a device another address.
        "ip link set dev vpc-vpc1 address 02:00:00:11:22:33",
    ] {
        sandbox.ok(meddle);
        sandbox.closed("vpc1-private", &["ping:203.0.113.5"]);
        sandbox.says("vpcctl enable-nat vpc1", &["mended"]);
        sandbox.assert_vpc1_works();
        before.assert_same(&sandbox.dump(), meddle);
    }
}

#[test]
fn a_host_that_comes_into_the_vpcs_range_keeps_its_network() {
    let mut sandbox = Sandbox::new();
    sandbox.ok("ip addr add 10.0.0.5/16 dev eth0 && ip -n internet addr add 10.0.7.7/16 dev $(ip -n internet -br link | sed -n 's/@.*UP.*//p' | head -1)");
    sandbox.ok("ping -c 1 -W 2 10.0.7.7");
    sandbox.says(CREATE, &["overlaps"]);
    sandbox.ok("vpcctl add-subnet vpc1 public 10.0.1.0/24 --public && vpcctl enable-nat vpc1");
    sandbox.ok("ping -c 1 -W 2 10.0.7.7 && ip netns exec vpc1-public curl -s --max-time 5 http://203.0.113.5/");
}

/// A second way out, 198.51.99.10 by `wan2`, takes the default route.
const SECOND_WAY: &str = "
ip link add name wan2 type veth peer name w2 netns internet && ip addr add 198.51.99.10/24 dev wan2
ip -n internet addr add 198.51.99.1/24 dev w2 && ip link set dev wan2 up && ip -n internet link set dev w2 up
ip route replace default via 198.51.99.1 dev wan2";

#[test]
fn a_default_route_that_moved_is_said_and_followed() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.says("vpcctl enable-nat vpc1", &["nothing changed"]);
    sandbox.ok(SECOND_WAY);
    sandbox.says("vpcctl enable-nat vpc1", &["default route is by wan2 now", "disable-nat vpc1"]);
    sandbox.says("vpcctl doctor", &["nat-interface", "disable-nat vpc1"]);
    let seen = "ip netns exec vpc1-public curl -s --max-time 5 http://203.0.113.5/";
    sandbox.ok("vpcctl disable-nat vpc1 && vpcctl enable-nat vpc1");
    sandbox.ok(&format!("{seen} | grep 'you are 198.51.99.10'"));
    sandbox.ok("! vpcctl doctor | grep nat-interface");
    // And a renamed one.
    sandbox.ok("ip link set dev wan2 down && ip link set dev wan2 name lan9 && ip link set dev lan9 up
        ip route replace default via 198.51.99.1 dev lan9");
    sandbox.fails(6, "vpcctl enable-nat vpc1", &["wan2, which the host doesn't have any more", "disable-nat vpc1"]);
    sandbox.closed("vpc1-private", &["ping:203.0.113.5"]);
    sandbox.ok("vpcctl disable-nat vpc1 && vpcctl enable-nat vpc1");
    sandbox.ok(&format!("{seen} | grep 'you are 198.51.99.10'"));
    sandbox.ok("vpcctl delete-vpc vpc1 && ! iptables-save | grep VPCCTL");
}

/// Somebody's FIFO, socket and directory among the namespaces: whoever opened the first would wait for a writer, for ever.
#[test]
fn what_is_no_namespace_beside_ours_holds_nobody_up() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("mkfifo /run/netns/odd /run/netns/vpc1-odd && mkdir /run/netns/dir && ln -s odd /run/netns/vpc1-link
        ln -s /nowhere /run/netns/gone && nc -lU /run/netns/sock & until [ -S /run/netns/sock ]; do :; done");
    for command in ["check", "repair", "restore", "inspect", "doctor"] {
        sandbox.ok(&format!("vpcctl {command}"));
    }
    sandbox.ok("ip netns del vpc1-private");
    sandbox.says("vpcctl repair", &["mended"]);
    sandbox.ok("vpcctl check && test -p /run/netns/odd -a -p /run/netns/vpc1-odd -a -S /run/netns/sock");
    // One that stands in the way is named.
    sandbox.ok("mkfifo /run/netns/vpc1-db");
    sandbox.fails(4, "vpcctl add-subnet vpc1 db 10.0.3.0/24", &["/run/netns/vpc1-db is no namespace"]);
}
