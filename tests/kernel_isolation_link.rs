//! Attacks on the wire that the instances of a VPC seem to share, by root in an instance: frames past the router, stolen MAC
//! addresses, floods, sniffing. Each fails with the guards; then honest traffic flows; then, with a guard taken away, it works.

mod support;

use support::Sandbox;
use support::attack::{Names, assert_heard, assert_unheard};
use vpcctl::model::kernel_names as names;

const PUBLIC: &str = "10.0.1.2";
const WEB2: &str = "10.0.1.3";

/// The UDP packets that a namespace's sockets were offered, and those that found none.
const NO_UDP: &str = "udp 0 0";

/// What makes a port of the bridge one of a shared wire again.
const UNGUARD: &str = "for port in public public-web2 private; do
    ip netns exec vpc1 bridge link set dev $port isolated off locked off flood on mcast_flood on bcast_flood on
done
echo 0x4000 >$T/mask; ip netns exec vpc1 sh -c 'cat $T/mask >/sys/class/net/br-vpc1/bridge/group_fwd_mask'";

fn three_instances() -> Sandbox {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    sandbox
}

fn mac(address: &str) -> String {
    names::mac(address.parse().expect("an address")).into()
}

fn bridge_mac() -> String {
    names::bridge_mac("10.0.0.0".parse().expect("an address")).into()
}

/// Who attacks, whom, and where the router is.
fn settings() -> String {
    let (victim_mac, gateway_mac) = (mac(WEB2), bridge_mac());
    format!(
        "ip={PUBLIC} victim={WEB2} victim-mac={victim_mac} gateway=10.0.1.1 gateway-mac={gateway_mac} other=10.0.2.2"
    )
}

fn assert_honest_traffic(sandbox: &mut Sandbox) {
    sandbox.open("vpc1-public", &["ping:10.0.1.3", "ping:10.0.2.2", "ping:203.0.113.5", "ping:10.0.1.1"]);
    sandbox.open("vpc1-public-web2", &["ping:10.0.1.2", "ping:10.0.2.2", "ping:203.0.113.5"]);
}

#[test]
fn no_frame_passes_between_instances_but_by_the_router() {
    let mut sandbox = three_instances();
    let mut web2 = sandbox.ear("vpc1-public-web2", "hear eth0");
    let mut private = sandbox.ear("vpc1-private", "hear eth0");
    sandbox.attack("vpc1-public", "link", &settings());
    assert_unheard(&sandbox.heard(&mut web2, "vpc1-public", WEB2), "web2");
    assert_unheard(&sandbox.heard(&mut private, "vpc1-public", "10.0.2.2"), "private");
    assert_honest_traffic(&mut sandbox);
    // All that either ever heard came from the router.
    let senders = |overheard: &Names| {
        overheard.iter().filter_map(|line| line.split(' ').nth(1).map(str::to_owned)).collect::<Names>()
    };
    let router = Names::from([bridge_mac()]);
    assert_eq!(senders(&sandbox.overheard(&mut web2, "vpc1-public", WEB2)), router);
    assert_eq!(senders(&sandbox.overheard(&mut private, "vpc1-public", "10.0.2.2")), router);
    // Without the ports' guards every one arrives.
    sandbox.ok(UNGUARD);
    let sent = sandbox.attack("vpc1-public", "link", &settings());
    assert!(sent.len() > 30, "{sent:?}");
    assert_heard(&sandbox.heard(&mut web2, "vpc1-public", WEB2), &sent, "web2");
}

#[test]
fn nobody_hears_what_is_for_others_not_even_in_a_flood_of_mac_addresses() {
    let mut sandbox = three_instances();
    let flood = format!("{} count=5000", settings());
    let entries = |sandbox: &mut Sandbox| -> usize {
        sandbox.ok("ip netns exec vpc1 bridge fdb show br br-vpc1 | wc -l").trim().parse().expect("a number")
    };
    let before = entries(&mut sandbox);
    let mut attacker = sandbox.ear("vpc1-public", "hear eth0");
    sandbox.attack("vpc1-public", "mac_flood", &flood);
    sandbox.open("vpc1-public-web2", &["ping:10.0.2.2", "ping:203.0.113.5", "ping:10.0.1.1"]);
    assert_eq!(entries(&mut sandbox), before);
    let own = mac(PUBLIC);
    let strange = |heard: Names| heard.into_iter().filter(|line| !line.ends_with(&own)).collect::<Names>();
    let heard = sandbox.overheard(&mut attacker, "vpc1-private", PUBLIC);
    assert_unheard(&strange(heard), "the attacker");
    assert_honest_traffic(&mut sandbox);
    // Without the guards: the bridge learns all of them, and floods what it has no entry for.
    sandbox.ok(UNGUARD);
    sandbox.ok(&format!(
        "ip netns exec vpc1 bridge link set dev public learning on
         ip netns exec vpc1 bridge fdb del {} dev public-web2 master static",
        mac(WEB2)
    ));
    sandbox.attack("vpc1-public", "mac_flood", &flood);
    assert!(entries(&mut sandbox) >= before + 4000, "{} entries", entries(&mut sandbox));
    sandbox.open("vpc1-private", &["ping:10.0.1.3"]);
    let heard = strange(sandbox.overheard(&mut attacker, "vpc1-private", PUBLIC));
    assert!(heard.iter().any(|line| line.ends_with(&mac(WEB2))), "{heard:?}");
}

#[test]
fn the_routers_neighbour_table_takes_no_entry_from_an_instance() {
    let mut sandbox = three_instances();
    let neighbours =
        |sandbox: &mut Sandbox| sandbox.ok("ip -n vpc1 neigh show dev br-vpc1 | grep -v PERMANENT | wc -l");
    let count = |text: String| -> usize { text.trim().parse().expect("a number") };
    let before = sandbox.ok("ip -n vpc1 -j neigh show dev br-vpc1");
    // In the name of those who aren't there, in every network; and packets to those who aren't there.
    let flood = format!("{} count=8 from=10.0.1,10.0.2,10.0.9,10.9.9,8.8.8,198.51.100,127.0.0,224.0.0", settings());
    sandbox.attack("vpc1-public", "arp_flood", &flood);
    sandbox.attack("vpc1-public", "sweep", &format!("{} count=30 from=10.0.1,10.0.2,10.0.9", settings()));
    assert_honest_traffic(&mut sandbox);
    assert_eq!(sandbox.ok("ip -n vpc1 -j neigh show dev br-vpc1"), before);
    // Without the reverse path filter an ARP request is enough; with a route for the subnet, a packet.
    sandbox
        .ok("ip netns exec vpc1 sh -c 'for i in all br-vpc1; do echo 0 >/proc/sys/net/ipv4/conf/$i/rp_filter; done'");
    sandbox.attack("vpc1-public", "arp_flood", &flood);
    let learnt = count(neighbours(&mut sandbox));
    assert!(learnt >= 8, "{learnt} entries");
    sandbox.ok("ip -n vpc1 route add 10.0.2.0/24 dev br-vpc1");
    sandbox.attack("vpc1-public", "sweep", &format!("{} count=30 from=10.0.2", settings()));
    let asked_for = count(neighbours(&mut sandbox));
    assert!(asked_for >= learnt + 8, "{asked_for} entries");
}

#[test]
fn a_new_instance_hears_no_attacker_from_its_first_moment_on() {
    let mut sandbox = three_instances();
    let policy = sandbox.file("policy.json", r#"{"ingress": [{"port": 80, "protocol": "udp", "action": "allow"}]}"#);
    let newcomer = "10.0.1.4";
    // Past the router, with stolen addresses by the router, and honestly to a port that the policy denies.
    let (to, gateway) = (mac(newcomer), bridge_mac());
    let past =
        format!("ip={PUBLIC} victim={newcomer} victim-mac={to} gateway=10.0.1.1 gateway-mac={gateway} other=10.0.2.2");
    let stolen = format!("ip={PUBLIC} gateway-mac={gateway} from=10.0.2.2,8.8.8.8,10.0.1.3 to={newcomer}");
    let denied = format!("ip=10.0.2.2 gateway-mac={gateway} from=10.0.2.2 to={newcomer}");
    let mut attackers = vec![
        sandbox.keep_attacking("vpc1-public", "link", &past),
        sandbox.keep_attacking("vpc1-public", "sources", &stolen),
    ];
    // What the newcomer's eth0 has received since it came into being, and what its sockets were offered.
    let cycles = |number: usize| {
        format!(
            "for i in $(seq {number}); do
                vpcctl -q add-instance vpc1/public/new
                ip netns exec vpc1-public-new sh -c 'cat /sys/class/net/eth0/statistics/rx_packets
                    sed -n \"s/^Udp: \\([0-9]*\\) \\([0-9]*\\) .*/udp \\1 \\2/p\" /proc/net/snmp'
                vpcctl -q delete-instance vpc1/public/new
            done"
        )
    };
    let quiet = sandbox.ok(&cycles(25));
    assert_eq!(quiet.lines().count(), 50, "{quiet}");
    assert!(quiet.lines().all(|line| line == "0" || line == NO_UDP), "{quiet}");
    sandbox.ok(&format!("vpcctl apply-policy vpc1/public {policy}"));
    attackers.push(sandbox.keep_attacking("vpc1-private", "sources", &denied));
    let knocked = sandbox.ok(&cycles(25));
    assert_eq!(knocked.lines().filter(|line| *line == NO_UDP).count(), 25, "{knocked}");
    assert!(knocked.lines().any(|line| !line.starts_with("udp") && line != "0"), "nobody knocked: {knocked}");
    // Without the policy the honest sender is heard, and without the guards the others are.
    sandbox.ok("vpcctl remove-policy vpc1/public");
    let open = sandbox.ok(&cycles(5));
    assert!(open.lines().any(|line| line.starts_with("udp") && line != NO_UDP), "{open}");
    sandbox.ok(&format!("kill {}", attackers.pop().unwrap()));
    sandbox.ok("vpcctl add-instance vpc1/public/new && ip netns exec vpc1 iptables -t raw -F && tc -n vpc1 qdisc del dev br-vpc1 clsact");
    sandbox.wait_for("test $(ip netns exec vpc1-public-new cat /sys/class/net/eth0/statistics/rx_packets) -gt 0");
    for attacker in attackers {
        sandbox.ok(&format!("kill {attacker}"));
    }
    sandbox.ok("vpcctl delete-instance vpc1/public/new; vpcctl restore");
    assert_honest_traffic(&mut sandbox);
}
