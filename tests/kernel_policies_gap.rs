//! Policies, peerings and NAT that change under traffic: nothing that is allowed is lost, nothing that is denied gets through, and
//! what is no longer allowed is cut though it was open.

mod support;

use std::time::{Duration, Instant};

use support::Sandbox;

/// How often a policy is replaced under traffic, two by two.
const PAIRS: usize = 100;

/// How long that may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What is allowed all the time, and what a pair of policies differs in.
fn policy(other: &str) -> String {
    format!(
        r#"{{"ingress": [{{"protocol": "icmp", "action": "allow"}}, {{"port": 80, "protocol": "tcp", "action": "allow"}},
        {other} {{"port": 8000, "protocol": "udp", "action": "allow"}}]}}"#
    )
}

/// Rules for this many addresses that are nobody's here.
fn long(network: u8, number: usize) -> String {
    let rule = |n: usize| {
        let (high, low) = (n / 250, n % 250);
        let action = ["allow", "deny"][n % 2];
        format!(
            r#"{{"port": [443, 8443], "protocol": "tcp", "action": "{action}", "source": "172.{network}.{high}.{low}/32"}},"#
        )
    };
    (0..number).map(rule).collect()
}

/// Replaces one policy by the other and back under floods of what is allowed and of what is not.
fn replaced_without_a_gap(one: &str, two: &str) {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.serve("vpc1-public", &[80, 443]);
    let (one, two) = (sandbox.file("one.json", one), sandbox.file("two.json", two));
    sandbox.ok(&format!("vpcctl apply-policy vpc1/public {one}"));
    sandbox.flow("vpc1-public", "allowed", "count 8000");
    sandbox.flow("vpc1-public", "denied", "count 8001");
    let going = [
        sandbox.flow("vpc1-private", "flood", "flood 10.0.1.2 8000"),
        sandbox.flow("vpc1-private", "denied-flood", "flood 10.0.1.2 8001"),
        sandbox.flow("vpc1-private", "connections", "connect 10.0.1.2 80"),
        sandbox.flow("vpc1-private", "knocks", "knock 10.0.1.2 443"),
    ];
    sandbox.stream("vpc1-private", "tcp", "10.0.1.2:80", "stream");
    let began = Instant::now();
    for _ in 0..PAIRS / 10 {
        sandbox.ok(&format!(
            "for i in $(seq 10); do vpcctl -q apply-policy vpc1/public {two} && vpcctl -q apply-policy vpc1/public {one} || exit; done"
        ));
    }
    let took = began.elapsed();
    sandbox.assert_flowing("stream");
    sandbox.ok(&format!("kill -TERM {}", going.map(|pid| pid.to_string()).join(" ")));
    let allowed = sandbox.wait_for_file("allowed.out", |out| out.contains(" of "));
    let (received, sent) = allowed.lines().nth(1).and_then(|line| line.split_once(" of ")).expect("RECEIVED of SENT");
    assert!(received == sent && sent.parse::<usize>().is_ok_and(|sent| sent > 1000), "{allowed}");
    let connections = sandbox.wait_for_file("connections.out", |out| out.contains("opened"));
    assert!(connections.contains(" slow 0") && !connections.contains("opened 0 "), "{connections}");
    let knocks = sandbox.wait_for_file("knocks.out", |out| out.contains("answered"));
    assert!(knocks.contains("answered 0\n"), "{knocks}");
    let flooded = sandbox.wait_for_file("denied-flood.out", |out| out.contains("sent "));
    let log = sandbox.ok(
        "grep -c 'vpcctl -q apply-policy.*code=0' /var/lib/vpcctl/vpcctl.log || tail -n 3 /var/lib/vpcctl/vpcctl.log",
    );
    println!("200 replacements in {took:?}: {allowed} {flooded} {connections} {knocks} {log}");
    assert!(took < LIMIT, "{took:?}");
    // The end of the flood that is denied arrives once it is allowed, and nothing of it before.
    sandbox.ok("vpcctl remove-policy vpc1/public");
    let again = sandbox.flow("vpc1-private", "last-flood", "flood 10.0.1.2 8001");
    sandbox.ok(&format!("kill -TERM {again}"));
    let denied = sandbox.wait_for_file("denied.out", |out| out.contains(" of "));
    let last = sandbox.wait_for_file("last-flood.out", |out| out.contains("sent "));
    let only_last = last.lines().last().and_then(|line| line.strip_prefix("sent ")).expect("sent N");
    assert_eq!(denied.lines().nth(1), Some(format!("{only_last} of {only_last}").as_str()), "{denied}");
}

#[test]
fn two_hundred_replacements_of_a_short_policy_leave_no_gap() {
    let two = policy(
        r#"{"port": 8010, "protocol": "udp", "action": "allow"},{"port": 443, "protocol": "tcp", "action": "deny"},"#,
    );
    replaced_without_a_gap(&policy(""), &two);
}

#[test]
fn two_hundred_replacements_of_a_policy_of_sets_leave_no_gap() {
    replaced_without_a_gap(&policy(&long(16, 600)), &policy(&long(17, 550)));
}

/// A change of one command that ends some flows and spares others.
struct Change {
    /// What it takes before the flows are opened.
    before: &'static str,
    command: &'static str,
    /// Client, server and the server's address.
    cut: (&'static str, &'static str, &'static str),
    spared: (&'static str, &'static str, &'static str),
}

fn cuts_and_spares(change: &Change) {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    sandbox.add_vpc("vpc2", "10.1");
    let (closed, open) = (
        r#"{"default": {"ingress": "deny", "egress": "allow"}}"#,
        r#"{"default": {"ingress": "allow", "egress": "allow"}}"#,
    );
    sandbox.file("closed.json", closed);
    sandbox.file("open.json", open);
    sandbox.file("mute.json", r#"{"default": {"ingress": "allow", "egress": "deny"}}"#);
    sandbox.ok(change.before);
    let mut servers = vec![change.cut.1, change.spared.1];
    servers.dedup();
    servers.iter().for_each(|server| sandbox.serve_flows(server));
    let (client, server, address) = change.cut;
    let cut = sandbox.open_flows(client, server, address);
    let (client, server, address) = change.spared;
    let spared = sandbox.open_flows(client, server, address);
    sandbox.ok(change.command);
    sandbox.assert_cut(&cut);
    sandbox.assert_spared(&spared);
}

#[test]
fn a_new_deny_of_what_comes_in_cuts_every_kind_of_flow() {
    cuts_and_spares(&Change {
        before: "true",
        command: "vpcctl apply-policy vpc1/public $T/closed.json",
        cut: ("vpc1-private", "vpc1-public", "10.0.1.2"),
        spared: ("vpc1-public", "vpc1-private", "10.0.2.2"),
    });
}

#[test]
fn a_new_deny_of_what_goes_out_cuts_every_kind_of_flow() {
    cuts_and_spares(&Change {
        before: "true",
        command: "vpcctl apply-policy vpc1/private $T/mute.json",
        cut: ("vpc1-private", "vpc1-public", "10.0.1.2"),
        spared: ("vpc1-public", "vpc1-private", "10.0.2.2"),
    });
}

#[test]
fn a_policy_that_is_removed_leaves_its_flows_to_the_subnets() {
    cuts_and_spares(&Change {
        before: "vpcctl apply-policy vpc1/public $T/closed.json && vpcctl apply-policy vpc1/public/web2 $T/open.json",
        command: "vpcctl remove-policy vpc1/public/web2",
        cut: ("vpc1-private", "vpc1-public-web2", "10.0.1.3"),
        spared: ("vpc1-public-web2", "vpc1-private", "10.0.2.2"),
    });
}

#[test]
fn unpeer_cuts_every_kind_of_flow() {
    cuts_and_spares(&Change {
        before: "vpcctl peer vpc1 vpc2",
        command: "vpcctl isolate-vpcs vpc1 vpc2 && exit 1; vpcctl unpeer vpc1 vpc2",
        cut: ("vpc1-private", "vpc2-a", "10.1.1.2"),
        spared: ("vpc1-public", "vpc1-private", "10.0.2.2"),
    });
}

#[test]
fn a_peering_that_is_narrowed_keeps_the_flows_that_it_allows() {
    cuts_and_spares(&Change {
        before: "vpcctl peer vpc1 vpc2",
        command: "vpcctl allow-cidr vpc1 vpc2 --src 10.0.2.0/24 --dst 10.1.1.0/24",
        cut: ("vpc2-a", "vpc1-public", "10.0.1.2"),
        spared: ("vpc1-private", "vpc2-a", "10.1.1.2"),
    });
}

#[test]
fn disable_nat_cuts_every_kind_of_flow() {
    cuts_and_spares(&Change {
        before: "true",
        command: "vpcctl disable-nat vpc1",
        cut: ("vpc1-public", "internet", "198.51.100.1"),
        spared: ("vpc1-public", "vpc1-private", "10.0.2.2"),
    });
}
