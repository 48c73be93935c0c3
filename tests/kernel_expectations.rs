//! `test`: what a topology file expects, by the model and by packets, and the CI job that uses it.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

mod support;

use serde_json::Value;
use support::Sandbox;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/ci-example.sh");

const NET: &str = "version: 1
vpcs:
- name: dev
  cidr: 10.0.0.0/16
  nat: true
  subnets:
  - {name: web, cidr: 10.0.1.0/24, type: public, instances: [{name: two}]}
  - {name: db, cidr: 10.0.2.0/24, policy: {ingress: [{port: 5432, source: 10.0.1.0/24, action: allow}]}}
- {name: prod, cidr: 10.1.0.0/16, subnets: [{name: app, cidr: 10.1.1.0/24}]}
expect:
- web -> db:5432 allow
- web -> db:5432/udp deny
- dev -> prod deny
- web -> internet allow
- db -> internet deny
- internet -> dev deny
";

fn results(sandbox: &mut Sandbox, code: i32) -> Value {
    serde_json::from_str(&sandbox.expect(code, "vpcctl -o json test -f $T/net.yaml --junit $T/out.xml").stdout).unwrap()
}

#[test]
fn each_line_is_checked_for_each_two_that_it_stands_for() {
    let mut sandbox = Sandbox::new();
    sandbox.file("net.yaml", NET);
    sandbox.fails(3, "vpcctl test -f $T/net.yaml", &["does not exist", "vpcctl apply -f"]);
    sandbox.ok("vpcctl apply -f $T/net.yaml");
    let found = results(&mut sandbox, 0);
    assert_eq!((found["passed"].as_u64(), found["failed"].as_u64()), (Some(6), Some(0)), "{found:#}");
    let checks = |line: usize, field: &str| found["expectations"][line][field].as_u64().unwrap();
    // Two senders; nobody sends for the internet.
    assert_eq!((checks(0, "checks"), checks(0, "packets")), (2, 2));
    assert_eq!((checks(5, "checks"), checks(5, "packets")), (13, 0), "{found:#}");
    // Nothing passes: three senders, by ping, and by TCP and UDP to the one range of ports.
    assert_eq!(checks(2, "checks"), 9, "{found:#}");
    // A file that expects something makes the same network, and the network expects nothing.
    sandbox.says("vpcctl plan -f $T/net.yaml", &["nothing"]);
    assert!(!sandbox.ok("vpcctl export").contains("expect"));
}

#[test]
fn what_is_not_as_expected_is_told_with_its_reason_and_in_junit() {
    let mut sandbox = Sandbox::new();
    sandbox.file("net.yaml", NET);
    sandbox.ok("vpcctl apply -f $T/net.yaml && vpcctl peer dev prod && vpcctl disable-nat dev");
    let found = results(&mut sandbox, 1);
    let failed: Vec<&str> = found["expectations"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["passed"] == false)
        .map(|line| line["expect"].as_str().unwrap())
        .collect();
    assert_eq!(failed, ["dev -> prod deny", "web -> internet allow"], "{found:#}");
    let failure = &found["expectations"][3]["failures"][0];
    assert_eq!((&failure["why"], &failure["open"][0]), (&"dev has no NAT".into(), &"vpcctl enable-nat dev".into()));
    let xml = std::fs::read_to_string(sandbox.dir().join("out.xml")).unwrap();
    for words in [r#"tests="6" skipped="0" failures="2""#, r#"name="web -&gt; internet allow""#, "dev has no NAT"] {
        assert!(xml.contains(words), "{words}: {xml}");
    }
    let text = sandbox.expect(1, "vpcctl test -f $T/net.yaml --no-probe").stdout;
    assert!(text.contains("FAIL") && text.contains("4 passed, 2 failed"), "{text}");
    // A packet that fares otherwise is a failure as well.
    sandbox.ok("vpcctl unpeer dev prod && vpcctl enable-nat dev");
    results(&mut sandbox, 0);
    sandbox.ok("ip netns exec dev iptables -I FORWARD -p tcp --dport 5432 -j DROP");
    let found = results(&mut sandbox, 1);
    assert!(found["expectations"][0]["failures"][0]["why"].as_str().unwrap().contains("did not fare"), "{found:#}");
}

/// A network where `web` and `web/two` meet this policy of `db`, and what is expected of it.
fn with_policy(policy: &str, lines: &str) -> String {
    format!(
        "version: 1\nvpcs:\n- name: dev\n  cidr: 10.0.0.0/16\n  subnets:\n  - {{name: web, cidr: 10.0.1.0/24, instances: [{{name: two}}]}}\n  \
         - {{name: db, cidr: 10.0.2.0/24, policy: {{ingress: {policy}}}}}\n- {{name: empty, cidr: 10.9.0.0/16}}\n{lines}"
    )
}

#[test]
fn a_denial_without_a_port_is_asked_of_every_range_and_what_is_not_sent_is_told() {
    let mut sandbox = Sandbox::new();
    let between = "[{port: 7000, action: deny}, {port: 7100, action: deny}, {port: 7000-7100, action: allow}]";
    sandbox.file("net.yaml", &with_policy(between, "expect: [web -> db deny]\n"));
    sandbox.ok("vpcctl apply -f $T/net.yaml");
    let found = results(&mut sandbox, 1);
    let failures = found["expectations"][0]["failures"].as_array().unwrap();
    let told: Vec<&str> = failures.iter().map(|failure| failure["how"].as_str().unwrap()).collect();
    assert!(told.contains(&"tcp/7001") && told.iter().all(|how| how.ends_with("/7001")), "{found:#}");
    assert!(failures.iter().all(|failure| failure["packet"] == "answered"), "{found:#}");
    let many = "[{port: [10, 20, 30, 40, 50, 60, 70], action: deny}]";
    sandbox.file("net.yaml", &with_policy(many, "expect: [web -> db deny]\n"));
    sandbox.ok("vpcctl apply -f $T/net.yaml");
    let found = results(&mut sandbox, 0);
    let line = &found["expectations"][0];
    // A ping, and TCP and UDP to 15 ports, 12 of them by packets.
    let counts = ["checks", "packets", "unsent", "unclear"].map(|field| line[field].as_u64().unwrap());
    assert_eq!(counts, [2 * 31, 2 * 25, 2 * 6, 0], "{line:#}");
    sandbox.says("vpcctl test -f $T/net.yaml", &["12 not sent: the model alone was asked"]);
}

#[test]
fn where_nothing_is_checked_nothing_passes() {
    let mut sandbox = Sandbox::new();
    sandbox.file("net.yaml", &with_policy("[]", "expect: [empty -> web deny, dev/web/two -> dev/web/two:80 allow]\n"));
    sandbox.ok("vpcctl apply -f $T/net.yaml");
    let found = results(&mut sandbox, 1);
    assert_eq!((&found["passed"], &found["failed"]), (&0.into(), &2.into()), "{found:#}");
    let xml = std::fs::read_to_string(sandbox.dir().join("out.xml")).unwrap();
    assert!(xml.contains("stands for nobody") && xml.contains(r#"failures="2""#), "{xml}");
    sandbox.file("none.yaml", &with_policy("[]", ""));
    let told = sandbox.expect(1, "vpcctl test -f $T/none.yaml 2>&1").stdout;
    assert!(told.contains("has no `expect:`") && told.contains("nothing was checked"), "{told}");
}

#[test]
fn results_are_todays_or_none() {
    let mut sandbox = Sandbox::new();
    sandbox.file("net.yaml", NET);
    sandbox.ok("vpcctl apply -f $T/net.yaml && echo old > $T/out.xml && ln -s $T/out.xml $T/link.xml");
    sandbox.fails(2, "vpcctl test -f $T/net.yaml --no-probe --junit $T/link.xml", &["no regular file"]);
    sandbox.ok("vpcctl --dry-run test -f $T/net.yaml --junit $T/out.xml && grep -qx old $T/out.xml");
    sandbox.ok("cd $T && vpcctl test -f net.yaml --no-probe --junit out.xml && grep -q '<testsuites' out.xml");
    sandbox.ok("ip netns del dev-web");
    sandbox.fails(9, "vpcctl test -f $T/net.yaml --junit $T/out.xml", &["is gone"]);
    sandbox.ok("test ! -e $T/out.xml && test ! -e $T/out.xml.new");
}

#[test]
fn a_line_that_names_what_the_file_does_not_have_is_refused_by_every_command() {
    let mut sandbox = Sandbox::new();
    sandbox.file("net.yaml", &NET.replace("web -> internet allow", "wed -> internet allow"));
    for command in ["test", "apply", "destroy", "plan"] {
        let code = if command == "plan" { 1 } else { 2 };
        sandbox.fails(code, &format!("vpcctl {command} -f $T/net.yaml"), &["net.yaml:14:3: expect[3]", "`wed`"]);
    }
}

#[test]
fn the_ci_job_asserts_reachability_and_finds_a_mistake() {
    let mut sandbox = Sandbox::new();
    let told = sandbox.ok(&format!("{SCRIPT} $T/results.xml"));
    assert!(told.contains("10 passed, 0 failed"), "{told}");
    let xml = std::fs::read_to_string(sandbox.dir().join("results.xml")).unwrap();
    assert!(xml.contains(r#"tests="10" skipped="0" failures="0""#), "{xml}");
    let mut sandbox = Sandbox::new();
    let script = std::fs::read_to_string(SCRIPT).unwrap().replace("  - vpcs: [shop, office]", "  - vpcs: [shop, lab]");
    let script = script.replace("src: 10.1.0.0/16", "src: 10.2.0.0/16");
    let path = sandbox.file("broken.sh", &script);
    let told = sandbox.expect(1, &format!("bash {path} $T/results.xml")).stdout;
    assert!(told.contains("lab -> shop deny") && told.contains("office and shop are not peered"), "{told}");
}
