//! Firewall policies as clients in other instances meet them.

mod support;

use support::Sandbox;

/// vpc1 with servers in its public subnet.
fn served() -> Sandbox {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.serve("vpc1-public", &[22, 80, 443, 8000, 8005, 8010]);
    sandbox
}

/// Applies a policy to `vpc1/public`, or to the path given.
fn apply(sandbox: &mut Sandbox, path: &str, policy: &str) {
    let file = sandbox.file("policy.json", policy);
    sandbox.ok(&format!("vpcctl apply-policy {path} {file}"));
}

#[test]
fn ports_ranges_and_lists_are_what_they_say() {
    let mut sandbox = served();
    apply(
        &mut sandbox,
        "vpc1/public",
        r#"{"ingress": [
        {"port": 8005, "protocol": "tcp", "action": "deny"},
        {"port": "8000-8010", "protocol": "tcp", "action": "allow"},
        {"port": [22, 443], "protocol": "any", "action": "allow"}]}"#,
    );
    sandbox.expect_probes(
        "vpc1-private",
        &[
            ("tcp:10.0.1.2:8000", "open"),
            ("tcp:10.0.1.2:8005", "timeout"),
            ("tcp:10.0.1.2:8010", "open"),
            ("udp:10.0.1.2:8000", "timeout"),
            ("tcp:10.0.1.2:22", "open"),
            ("udp:10.0.1.2:443", "open"),
            ("tcp:10.0.1.2:80", "timeout"),
            ("ping:10.0.1.2", "timeout"),
        ],
    );
}

#[test]
fn sources_decide_also_within_a_subnet() {
    let mut sandbox = served();
    sandbox.ok("vpcctl add-instance vpc1/public/web2 && vpcctl add-instance vpc1/private/db2");
    apply(
        &mut sandbox,
        "vpc1/public",
        r#"{"ingress": [
        {"port": 80, "protocol": "tcp", "action": "allow", "source": "10.0.2.2/32"},
        {"port": 443, "protocol": "tcp", "action": "allow", "source": "10.0.1.0/24"},
        {"protocol": "icmp", "action": "allow", "source": "10.0.2.0/24"}]}"#,
    );
    sandbox.expect_probes(
        "vpc1-private",
        &[("tcp:10.0.1.2:80", "open"), ("tcp:10.0.1.2:443", "timeout"), ("ping:10.0.1.2", "open")],
    );
    sandbox.expect_probes("vpc1-private-db2", &[("tcp:10.0.1.2:80", "timeout"), ("ping:10.0.1.2", "open")]);
    sandbox.expect_probes(
        "vpc1-public-web2",
        &[("tcp:10.0.1.2:443", "open"), ("tcp:10.0.1.2:80", "timeout"), ("ping:10.0.1.2", "timeout")],
    );
    sandbox.closed("host", &["tcp:10.0.1.2:80", "ping:10.0.1.2"]);
}

#[test]
fn egress_rules_hold_for_what_an_instance_opens() {
    let mut sandbox = served();
    sandbox.serve("vpc1-private", &[80, 5432]);
    apply(
        &mut sandbox,
        "vpc1/public",
        r#"{"default": {"ingress": "allow", "egress": "deny"}, "egress": [
        {"port": 5432, "protocol": "tcp", "action": "allow", "destination": "10.0.2.0/24"},
        {"port": 80, "protocol": "tcp", "action": "reject", "destination": "10.0.2.0/24"}]}"#,
    );
    sandbox.open("vpc1-public", &["tcp:10.0.2.2:5432"]);
    sandbox.closed(
        "vpc1-public",
        &["udp:10.0.2.2:5432", "ping:10.0.2.2", "ping:203.0.113.5", "tcp:203.0.113.5:80", "tcp:10.0.2.2:80"],
    );
    // What others open is answered.
    sandbox.open("vpc1-private", &["tcp:10.0.1.2:80", "udp:10.0.1.2:80", "ping:10.0.1.2"]);
}

#[test]
fn reject_answers_and_deny_does_not() {
    let mut sandbox = served();
    apply(
        &mut sandbox,
        "vpc1/public",
        r#"{"ingress": [
        {"port": 22, "protocol": "tcp", "action": "reject"}, {"port": 22, "protocol": "udp", "action": "REJECT"},
        {"port": 80, "protocol": "tcp", "action": "drop"}, {"protocol": "icmp", "action": "reject"}]}"#,
    );
    sandbox.expect_probes("vpc1-private", &[("tcp:10.0.1.2:80", "timeout"), ("tcp:10.0.1.2:443", "timeout")]);
    let found = sandbox.probe("vpc1-private", &["tcp:10.0.1.2:22", "udp:10.0.1.2:22", "ping:10.0.1.2"]);
    assert!(found.iter().all(|result| result == "refused" || result == "unreachable"), "{found:?}");
}

#[test]
fn an_instances_policy_stands_in_place_of_its_subnets() {
    let mut sandbox = served();
    sandbox.ok("vpcctl add-instance vpc1/public/web2");
    sandbox.serve("vpc1-public-web2", &[22, 80]);
    apply(&mut sandbox, "vpc1/public", r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#);
    sandbox.expect_probes("vpc1-private", &[("tcp:10.0.1.3:80", "open"), ("tcp:10.0.1.3:22", "timeout")]);
    apply(&mut sandbox, "vpc1/public/web2", r#"{"ingress": [{"port": 22, "protocol": "tcp", "action": "allow"}]}"#);
    sandbox.expect_probes(
        "vpc1-private",
        &[
            ("tcp:10.0.1.3:80", "timeout"),
            ("tcp:10.0.1.3:22", "open"),
            ("tcp:10.0.1.2:80", "open"),
            ("tcp:10.0.1.2:22", "timeout"),
        ],
    );
    sandbox.ok("vpcctl add-instance vpc1/public/web3");
    sandbox.serve("vpc1-public-web3", &[22, 80]);
    sandbox.expect_probes("vpc1-private", &[("tcp:10.0.1.4:80", "open"), ("tcp:10.0.1.4:22", "timeout")]);
    sandbox.ok("vpcctl remove-policy vpc1/public/web2");
    sandbox.expect_probes("vpc1-private", &[("tcp:10.0.1.3:80", "open"), ("tcp:10.0.1.3:22", "timeout")]);
    sandbox.ok("vpcctl remove-policy vpc1/public");
    sandbox.open("vpc1-private", &["tcp:10.0.1.3:22", "tcp:10.0.1.2:443", "ping:10.0.1.2", "udp:10.0.1.4:80"]);
    sandbox.says("vpcctl remove-policy vpc1/public", &["nothing changed"]);
}

#[test]
fn a_new_deny_cuts_open_connections_and_a_new_allow_spares_them() {
    let mut sandbox = served();
    let allow = r#"{"ingress": [{"port": [80, 443], "protocol": "any", "action": "allow"}]}"#;
    apply(&mut sandbox, "vpc1/public", allow);
    for (kind, port, name) in [("tcp", 80, "tcp80"), ("udp", 80, "udp80"), ("tcp", 443, "tcp443")] {
        sandbox.stream("vpc1-private", kind, &format!("10.0.1.2:{port}"), name);
    }
    apply(&mut sandbox, "vpc1/public", r#"{"ingress": [{"port": 443, "protocol": "tcp", "action": "allow"}]}"#);
    sandbox.assert_silent("tcp80");
    sandbox.assert_silent("udp80");
    sandbox.assert_flowing("tcp443");
}

#[test]
fn a_new_egress_deny_cuts_what_the_instance_had_opened() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.serve("internet", &[9000]);
    for kind in ["tcp", "udp"] {
        sandbox.stream("vpc1-public", kind, "198.51.100.1:9000", kind);
    }
    apply(&mut sandbox, "vpc1/public", r#"{"default": {"ingress": "allow", "egress": "deny"}}"#);
    sandbox.assert_silent("tcp");
    sandbox.assert_silent("udp");
}

#[test]
fn one_file_serves_several_subnets() {
    let mut sandbox = served();
    sandbox.serve("vpc1-private", &[80, 5432]);
    apply(
        &mut sandbox,
        "vpc1",
        r#"[
        {"subnet": "10.0.1.0/24", "ingress": [{"port": 80, "protocol": "tcp", "action": "Allow"}]},
        {"subnet": "private", "description": "the database", "ingress": [{"port": 5432, "protocol": "tcp", "action": "accept", "source": "10.0.1.0/24"}]}]"#,
    );
    sandbox.expect_probes("vpc1-private", &[("tcp:10.0.1.2:80", "open"), ("tcp:10.0.1.2:22", "timeout")]);
    sandbox.expect_probes("vpc1-public", &[("tcp:10.0.2.2:5432", "open"), ("tcp:10.0.2.2:80", "timeout")]);
}

#[test]
fn bad_files_are_refused_with_their_place_and_nothing_changes() {
    let mut sandbox = Sandbox::with_vpc1();
    apply(&mut sandbox, "vpc1/public", r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#);
    let (state, kernel, log) = (sandbox.state(), sandbox.dump(), sandbox.ok("wc -l </var/lib/vpcctl/vpcctl.log"));
    let bad = [
        ("{\"ingress\": [\n  {\"port\": 80, \"protocol\": \"tcp\", \"action\": \"alow\"}]}", "bad.json:2"),
        ("{\"ingres\": []}", "bad.json:1"),
        ("{\"ingress\": [{\"port\": 0, \"protocol\": \"tcp\", \"action\": \"allow\"}]}", "ingress[0].port"),
        ("{\"ingress\": [{\"port\": 65536, \"protocol\": \"tcp\", \"action\": \"allow\"}]}", "65536"),
        ("{\"ingress\": [{\"port\": 80, \"protocol\": \"icmp\", \"action\": \"allow\"}]}", "icmp"),
        ("{\"ingress\": [{\"port\": 80, \"port\": 81, \"protocol\": \"tcp\", \"action\": \"allow\"}]}", "port"),
        ("{\"ingress\": [{\"port\": \"100-50\", \"protocol\": \"tcp\", \"action\": \"allow\"}]}", "100-50"),
        (
            "{\"ingress\": [{\"port\": 80, \"protocol\": \"tcp\", \"action\": \"allow\", \"source\": \"10.0.0.300\"}]}",
            "10.0.0.300",
        ),
        ("{\"ingress\": [", "bad.json:1"),
        ("", "empty"),
        ("{\"subnet\": \"10.0.9.0/24\", \"ingress\": []}", "10.0.9.0/24"),
    ];
    for (content, words) in bad {
        let file = sandbox.file("bad.json", content);
        sandbox.fails(2, &format!("vpcctl apply-policy vpc1/public {file}"), &["error: ", "bad.json", words]);
    }
    sandbox.fails(2, "vpcctl apply-policy vpc1/public /nonexistent", &["/nonexistent"]);
    sandbox.fails(2, "vpcctl apply-policy vpc1/public /dev/zero", &["/dev/zero"]);
    sandbox.fails(2, "vpcctl apply-policy vpc1/public /etc", &["/etc"]);
    sandbox.ok("mkfifo $T/fifo");
    sandbox.expect(2, "timeout 5 vpcctl apply-policy vpc1/public $T/fifo");
    assert_eq!(sandbox.state(), state);
    assert_eq!(sandbox.ok("wc -l </var/lib/vpcctl/vpcctl.log"), log, "no action was logged");
    kernel.assert_same(&sandbox.dump(), "after bad files");
}
