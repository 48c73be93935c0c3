//! `reach` beside packets: what is open, what is stopped and by whom, and what it says where a packet fares otherwise.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use serde_json::Value;
use support::Sandbox;

/// `vpc1` with NAT, a policy on `private`, and a second VPC.
fn network() -> Sandbox {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl create-vpc vpc2 10.1.0.0/16 && vpcctl add-subnet vpc2 app 10.1.1.0/24");
    let policy = r#"{"ingress": [{"protocol": "tcp", "port": 22, "action": "reject"},
        {"protocol": "tcp", "port": 5432, "source": "10.0.1.0/24", "action": "allow"},
        {"protocol": "udp", "port": 53, "action": "allow"}], "egress": [{"action": "allow"}]}"#;
    sandbox.file("db.json", policy);
    sandbox.ok("vpcctl apply-policy vpc1/private $T/db.json");
    sandbox
}

fn json(sandbox: &mut Sandbox, code: i32, command: &str) -> Value {
    serde_json::from_str(&sandbox.expect(code, &format!("vpcctl -o json reach {command}")).stdout).unwrap()
}

#[test]
fn an_open_way_is_open_with_nobody_listening_and_with_somebody() {
    let mut sandbox = network();
    for how in ["--port 5432", "--port 53 --protocol udp"] {
        let found = json(&mut sandbox, 0, &format!("vpc1/public vpc1/private {how}"));
        assert_eq!((&found["reachable"], &found["agree"]), (&true.into(), &true.into()), "{found:#}");
        assert_eq!((&found["packet"]["reached"], &found["packet"]["listener"]), (&true.into(), &"vpcctl".into()));
        assert!(found["forth"].as_array().unwrap().iter().all(|step| step["passes"] == true), "{found:#}");
    }
    sandbox.serve("vpc1-private", &[5432]);
    let found = json(&mut sandbox, 0, "vpc1/public vpc1/private --port 5432");
    assert_eq!(found["packet"]["listener"], "a program");
    sandbox.says("vpcctl reach vpc1/public internet", &["leaves the host by eth0", "as the model says"]);
    sandbox.says("vpcctl reach host 10.0.1.2 --port 80", &["the host to instances", "reachable"]);
    // What vpcctl listened on for the time of a probe is free again.
    sandbox.serve("vpc1-public", &[80]);
}

#[test]
fn a_stopped_packet_has_its_place_its_rule_and_what_opens_it() {
    let mut sandbox = network();
    let found = json(&mut sandbox, 1, "vpc1/public vpc1/private --port 22");
    let stopped = &found["stopped"];
    assert_eq!(
        (&stopped["place"], &stopped["decides"]),
        (&"vpc1/private".into(), &"ingress policy".into()),
        "{found:#}"
    );
    assert_eq!(stopped["how"], "rejected with tcp-reset");
    let step = found["forth"].as_array().unwrap().last().unwrap();
    assert_eq!((&step["policy"]["of"], &step["policy"]["number"]), (&"vpc1/private".into(), &0.into()));
    assert!(step["policy"]["file"].as_str().unwrap().ends_with("/db.json"), "{found:#}");
    assert!(step["rule"]["text"].as_str().unwrap().contains("--dport 22"), "{found:#}");
    // It is a firewall's reset: vpcctl listened there.
    assert_eq!((&found["packet"]["reason"], &found["packet"]["listener"]), (&"refused".into(), &"vpcctl".into()));
    assert_eq!(found["agree"], true);
    for (command, words) in [
        ("vpc1/public vpc2/app --port 80", ["vpc1 and vpc2 are not peered", "vpcctl peer vpc1 vpc2"]),
        ("vpc1/private internet", ["is private", "type: public"]),
        ("vpc2/app internet --port 53 --protocol udp", ["is private", "vpcctl enable-nat vpc2"]),
        ("vpc1/public host --port 22", ["opens nothing on the host", "no command opens it"]),
        ("internet vpc1/public --port 80", ["publishes no ports", "no command opens it"]),
    ] {
        let out = sandbox.expect(1, &format!("vpcctl reach {command}")).stdout;
        assert!(words.iter().all(|word| out.contains(word)), "{command}: {words:?}\n{out}");
    }
    sandbox.ok("vpcctl peer vpc1 vpc2");
    sandbox.ok("vpcctl reach vpc1/public vpc2/app --port 80");
}

#[test]
fn a_packet_that_fares_otherwise_has_an_exit_code_of_its_own_and_a_suspect() {
    let mut sandbox = network();
    let command = "vpcctl reach --timeout 0.3 vpc1/public vpc1/private --port 5432";
    sandbox.ok("ip netns exec vpc1-public iptables -A OUTPUT -p tcp --dport 5432 -j DROP");
    sandbox.fails(
        10,
        command,
        &["should reach", "-A OUTPUT -p tcp -m tcp --dport 5432 -j DROP", "vpc1/public -- iptables -S"],
    );
    sandbox.ok("ip netns exec vpc1 iptables -I FORWARD -p tcp --dport 5432 -j DROP");
    sandbox.fails(10, command, &["should reach", "vpcctl check"]);
    sandbox.ok("vpcctl reach vpc1/public vpc1/private --port 5432 --no-probe");
    sandbox.ok("ip netns exec vpc1-private iptables -I VPCCTL-INPUT -p tcp --dport 23 -j ACCEPT");
    sandbox.ok("ip netns exec vpc1-private iptables -I VPCCTL-OUTPUT -p tcp --sport 23 -j ACCEPT");
    let closed = "vpcctl reach --timeout 0.3 vpc1/public vpc1/private --port 23";
    sandbox.fails(10, closed, &["should not reach", "vpcctl check"]);
}

#[test]
fn somebody_elses_firewall_on_the_way_out_is_named() {
    let mut sandbox = network();
    sandbox.ok("vpcctl reach vpc1/public internet && nft add table inet them");
    sandbox.ok("nft 'add chain inet them forward { type filter hook forward priority 10; policy drop; }'");
    sandbox.fails(10, "vpcctl reach --timeout 0.3 vpc1/public internet", &["should reach", "inet them"]);
}

#[test]
fn a_reset_of_a_host_that_lost_its_rules_does_not_pass_for_a_rule() {
    let mut sandbox = network();
    let command = "vpcctl reach --timeout 0.3 vpc1/public host --port 22";
    let told = sandbox.expect(1, command).stdout;
    assert!(told.contains("as the model says"), "{told}");
    sandbox.ok("iptables -D INPUT -j VPCCTL-INPUT");
    sandbox.fails(10, command, &["should not reach", "as by a port where nobody listens", "vpcctl check"]);
}

#[test]
fn the_hosts_own_routes_and_forwarding_are_those_that_it_has() {
    let mut sandbox = network();
    sandbox.ok("sysctl -qw net.ipv4.ip_forward=1");
    let told = sandbox.expect(1, "vpcctl reach internet vpc1/public --port 80").stdout;
    assert!(!told.contains("is not forwarded") && told.contains("prohibited 10.0.0.0/16"), "{told}");
    sandbox.ok("vpcctl reach vpc1/public internet");
    sandbox.ok("ip route add blackhole 203.0.113.0/24");
    let found = json(&mut sandbox, 1, "vpc1/public internet");
    assert_eq!((&found["agree"], &found["stopped"]["decides"]), (&true.into(), &"route".into()), "{found:#}");
    sandbox.ok("ip route del blackhole 203.0.113.0/24");
    sandbox.ok("ip route replace default nexthop via 198.51.100.1 dev eth0 weight 2 nexthop via 198.51.100.1 dev eth0");
    sandbox.ok("vpcctl reach vpc1/public internet");
}

#[test]
fn what_cannot_be_asked_is_no_answer() {
    let mut sandbox = network();
    for nobody in ["255.255.255.255", "224.0.0.1", "0.0.0.0"] {
        sandbox.fails(2, &format!("vpcctl reach vpc1/public {nobody}"), &["is not one machine's address"]);
    }
    sandbox.fails(2, "vpcctl reach vpc1/public", &["TO"]);
    sandbox.fails(2, "vpcctl reach vpc1 vpc1/private", &["not the path of an instance"]);
    sandbox.fails(2, "vpcctl reach vpc1/public vpc1/private --protocol udp", &["need a port"]);
    sandbox.fails(2, "vpcctl reach vpc1/public vpc1/private --protocol icmp --port 1", &["no ports"]);
    sandbox.fails(3, "vpcctl reach vpc1/public vpc1/nowhere --port 80", &["does not exist"]);
    sandbox.ok("ip netns del vpc1-public");
    sandbox.fails(9, "vpcctl reach vpc1/public vpc1/private --port 80", &["is gone"]);
}
