//! `test-connectivity` with real packets: what it says is what is so.

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use support::Sandbox;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Tests one pair, which must be reachable.
#[track_caller]
fn reaches(sandbox: &mut Sandbox, arguments: &str, words: &str) {
    let output = sandbox.expect(0, &format!("vpcctl test-connectivity {arguments}"));
    assert!(output.stdout.contains(words) && output.stderr.is_empty(), "{}", output.report());
}

/// Tests one pair, which must not be reachable; the answer is data.
#[track_caller]
fn misses(sandbox: &mut Sandbox, arguments: &str, words: &str) {
    let output = sandbox.expect(1, &format!("vpcctl test-connectivity {arguments}"));
    assert!(output.stdout.contains(words) && output.stderr.is_empty(), "{}", output.report());
}

#[test]
fn every_spelling_asks_the_same() {
    let mut sandbox = Sandbox::with_vpc1();
    for arguments in [
        "vpc1/public vpc1/private",
        "--from vpc1/public --to vpc1/private",
        "--from vpc1/public vpc1/private",
        "--vpc vpc1 --from-subnet public --to-subnet private",
        "--vpc vpc1 --from-subnet public --to vpc1/private",
        "--vpc vpc1 --from-subnet public --to-vpc vpc1 --to-subnet private",
    ] {
        reaches(&mut sandbox, arguments, "vpc1/public reaches vpc1/private (10.0.2.2) by ping: ");
    }
    reaches(&mut sandbox, "vpc1/public 203.0.113.10 --port 80", "vpc1/public reaches 203.0.113.10 by tcp/80: ");
    reaches(&mut sandbox, "host vpc1/private", "host reaches vpc1/private");
    let output = sandbox.ok("vpcctl test-connectivity vpc1/public internet -o json");
    let answer = json(&output);
    assert_eq!(answer["version"], 1);
    assert_eq!(answer["reachable"], true);
    assert_eq!(answer["address"], "203.0.113.10", "the sandbox's own internet");
    assert!(answer["ms"].as_f64().unwrap() > 0.0, "{output}");
}

#[test]
fn each_no_has_its_reason() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    misses(&mut sandbox, "vpc1/private internet", "prohibited; 10.0.2.1 says: Packet filtered");
    misses(&mut sandbox, "vpc1/private internet --port 80", "by tcp/80: refused");
    misses(&mut sandbox, "vpc1/public vpc2/a", "prohibited");
    misses(&mut sandbox, "vpc1/public host", "no answer");
    misses(&mut sandbox, "vpc1/public 10.0.9.9", "no route");
    misses(&mut sandbox, "vpc1/public vpc1/private --port 81", "refused; nobody listens on the port, or");
    sandbox.ok("vpcctl peer vpc1 vpc2");
    reaches(&mut sandbox, "vpc1/public vpc2/a", "vpc1/public reaches vpc2/a (10.1.1.2)");
    sandbox.ok("ip -n vpc1-public route del default");
    misses(&mut sandbox, "vpc1/public vpc2/a", "no route; Network is unreachable");
    misses(&mut sandbox, "vpc1/public vpc2/a --port 80", "no route");
}

#[test]
fn a_policy_opens_port_80_and_not_22() {
    let mut sandbox = Sandbox::with_vpc1();
    let file = sandbox.file("web.json", r#"{"ingress": [{"port": 80, "action": "allow"}]}"#);
    sandbox.serve("vpc1-public", &[22, 80]);
    for port in [22, 80] {
        reaches(&mut sandbox, &format!("vpc1/private vpc1/public --port {port}"), "reaches");
    }
    sandbox.ok(&format!("vpcctl apply-policy vpc1/public {file}"));
    reaches(&mut sandbox, "vpc1/private vpc1/public --port 80", "reaches");
    misses(&mut sandbox, "vpc1/private vpc1/public --port 22 --timeout 0.3", "by tcp/22: no answer");
    misses(&mut sandbox, "vpc1/private vpc1/public --timeout 0.3", "by ping: no answer");
}

#[test]
fn an_answer_from_somebody_with_the_same_address_is_none() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("vpcctl create-vpc twin 10.0.0.0/16 --no-host-access && vpcctl add-subnet twin private 10.0.2.0/24");
    reaches(&mut sandbox, "vpc1/public 10.0.2.2", "reaches");
    misses(&mut sandbox, "vpc1/public twin/private", "no route; there, 10.0.2.2 is an address of VPC vpc1");
}

/// Two VPCs with NAT, peered, and a third that is a stranger to both.
fn three_vpcs() -> Sandbox {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.ok("vpcctl peer vpc1 vpc2 && vpcctl create-vpc vpc3 10.2.0.0/16 && vpcctl add-subnet vpc3 db 10.2.1.0/24");
    sandbox
}

#[test]
fn the_matrix_is_the_truth() {
    let mut sandbox = three_vpcs();
    let matrix = json(&sandbox.ok("vpcctl test-connectivity --all -o json"));
    assert_eq!(matrix["version"], 1);
    let found: BTreeMap<(&str, &str), bool> = matrix["pairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|pair| {
            let end = |key: &str| pair[key].as_str().unwrap();
            let reachable = pair["reachable"].as_bool().unwrap();
            assert_eq!(reachable, pair["reason"].is_null() && pair["ms"].is_f64(), "{pair}");
            ((end("from"), end("to")), reachable)
        })
        .collect();
    let rows = [
        ("vpc1/private", ["-", "y", "y", "n", "n"]),
        ("vpc1/public", ["y", "-", "y", "n", "y"]),
        ("vpc2/a", ["y", "y", "-", "n", "y"]),
        ("vpc3/db", ["n", "n", "n", "-", "n"]),
    ];
    let columns = ["vpc1/private", "vpc1/public", "vpc2/a", "vpc3/db", "internet"];
    let mut expected = BTreeMap::new();
    for (from, cells) in rows {
        let cells = columns.into_iter().zip(cells).filter(|(_, cell)| *cell != "-");
        expected.extend(cells.map(|(to, cell)| ((from, to), cell == "y")));
    }
    assert_eq!(found, expected);
    assert_eq!(matrix["reachable"], 8);
    sandbox.says("vpcctl test-connectivity --all", &["FROM / TO", "INTERNET", "8 of 16 pairs reachable by ping; "]);
    let one = sandbox.ok("vpcctl test-connectivity --all --vpc vpc1 -o yaml");
    assert!(one.contains("vpc1/public") && !one.contains("vpc2") && one.contains("version: 1"), "{one}");
    let ports = json(&sandbox.ok("vpcctl test-connectivity --all --port 80 -o json"));
    let open = |pair: &&Value| pair["reachable"] == true;
    let open: Vec<&Value> = ports["pairs"].as_array().unwrap().iter().filter(open).map(|pair| &pair["to"]).collect();
    assert_eq!(open, ["internet", "internet"], "nobody but the internet listens");
}

#[test]
fn a_matrix_of_twenty_that_drop_everything_ends_in_seconds() {
    let mut sandbox = Sandbox::with_vpc1();
    let more = "for i in $(seq 18); do vpcctl -q add-instance vpc1/private/i$i || exit; done";
    sandbox.ok(more);
    let file = sandbox.file("none.json", r#"{"default": {"ingress": "deny"}}"#);
    sandbox.ok(&format!("vpcctl apply-policy vpc1/private {file} && vpcctl apply-policy vpc1/public {file}"));
    let output = sandbox.expect(0, "vpcctl test-connectivity --all");
    assert!(output.stdout.contains("1 of 400 pairs reachable"), "{}", output.report());
    assert!(output.stdout.contains("380 without an answer"), "{}", output.report());
    assert!(output.took.as_secs() < 10, "{}", output.report());
    // Ctrl-C ends it in between: so many would take half a minute.
    let slow = "timeout -s INT 1 vpcctl test-connectivity --all --timeout 3; test $? = 124";
    let output = sandbox.expect(0, slow);
    assert!(output.took.as_secs() < 10 && output.stderr.contains("interrupted"), "{}", output.report());
}

#[test]
fn what_can_not_be_asked_is_an_error_of_its_own() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.fails(3, "vpcctl test-connectivity vpc1/public vpc1/nope", &["vpc1/nope"]);
    sandbox.fails(3, "vpcctl test-connectivity vpc9/x vpc1/public", &["`vpc9`"]);
    sandbox.fails(3, "vpcctl test-connectivity --all --vpc vpc9", &["`vpc9`"]);
    sandbox.fails(2, "vpcctl test-connectivity vpc1 vpc1/public", &["`vpc1` is not the path"]);
    sandbox.fails(2, "vpcctl test-connectivity vpc1/public", &["the target is missing"]);
    sandbox.fails(2, "vpcctl test-connectivity internet vpc1/public", &["can't send"]);
    sandbox.fails(2, "vpcctl test-connectivity vpc1/public vpc1/private --port 53 --protocol udp", &["silence"]);
    sandbox.ok("ip netns del vpc1-private");
    sandbox.fails(9, "vpcctl test-connectivity vpc1/private vpc1/public", &["`vpc1-private` is gone"]);
    let output = sandbox.fails(9, "vpcctl test-connectivity --all -o json", &["`vpc1-private` is gone"]);
    assert_eq!(json(&output.stdout)["pairs"].as_array().unwrap().len(), 4, "the rest is told all the same");
}

#[test]
fn a_dry_run_prints_lines_that_do_the_same() {
    let mut sandbox = Sandbox::with_vpc1();
    let ping = sandbox.ok("vpcctl --dry-run test-connectivity vpc1/public vpc1/private");
    assert_eq!(ping, "ip netns exec vpc1-public ping -n -c 1 -W 2 10.0.2.2\n");
    sandbox.ok(&ping);
    let tcp = sandbox.ok("vpcctl --dry-run test-connectivity vpc1/public internet --port 80");
    assert_eq!(tcp, "ip netns exec vpc1-public nc -z -w 2 203.0.113.10 80\n");
    sandbox.ok(&tcp);
    let output = sandbox.expect(0, "vpcctl -v test-connectivity vpc1/public vpc1/private");
    assert_eq!(output.stderr, format!("+ {ping}"));
}
