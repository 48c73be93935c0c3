//! What readers of published write-ups type, and what they then check with ping, curl, ip and iptables.

mod support;

use support::Sandbox;

/// The policy that every write-up shows.
const WEB: &str = r#"{"subnet": "10.0.1.0/24", "ingress": [
  {"port": 80, "protocol": "tcp", "action": "allow"},
  {"port": 22, "protocol": "tcp", "action": "deny"}]}"#;

#[test]
fn subnets_reach_each_other_and_have_the_documented_addresses_and_names() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("ip netns exec vpc1-public ping -c 3 -i 0.2 10.0.2.2");
    sandbox.ok("ip netns exec vpc1-private ping -c 1 10.0.1.2");
    let names = sandbox.ok("ip netns list");
    for name in ["vpc1", "vpc1-public", "vpc1-private"] {
        assert!(names.lines().any(|line| line.split(' ').next() == Some(name)), "{name} in {names}");
    }
    assert!(sandbox.ok("ip -n vpc1-public route").contains("default via 10.0.1.1 dev eth0"));
    assert!(sandbox.ok("ip -n vpc1-public addr show eth0").contains("inet 10.0.1.2/24"));
    let bridge = sandbox.ok("ip -n vpc1 addr show br-vpc1");
    assert!(bridge.contains("inet 10.0.1.1/24") && bridge.contains("inet 10.0.2.1/24"), "{bridge}");
}

#[test]
fn a_public_subnet_reaches_the_internet_and_a_private_one_does_not() {
    let mut sandbox = Sandbox::with_vpc1();
    let answer = sandbox.ok("ip netns exec vpc1-public curl -s --max-time 5 http://203.0.113.5/");
    assert!(answer.contains("you are 198.51.100.10"), "{answer}");
    sandbox.ok("ip netns exec vpc1-public ping -c 1 203.0.113.5");
    sandbox.expect_probes(
        "vpc1-private",
        &[
            ("tcp:203.0.113.5:80", "refused"),
            ("udp:203.0.113.5:53", "unreachable"),
            ("ping:203.0.113.5", "unreachable"),
        ],
    );
    let refused = sandbox.expect(1, "ip netns exec vpc1-private ping -c 1 -W 5 203.0.113.5");
    assert!(refused.took.as_millis() < 1000, "refused at once: {}", refused.report());
}

#[test]
fn nat_is_masquerade_for_the_public_subnet_alone() {
    let mut sandbox = Sandbox::with_vpc1();
    let rules = sandbox.ok("ip netns exec vpc1 iptables -t nat -S");
    let masquerade: Vec<&str> = rules.lines().filter(|line| line.contains("MASQUERADE")).collect();
    assert_eq!(masquerade.len(), 1, "{rules}");
    assert!(masquerade[0].contains("-s 10.0.1.0/24"), "{rules}");
}

#[test]
fn another_vpc_is_reachable_only_while_peered() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.serve("vpc2-a", &[80]);
    let targets = ["ping:10.1.1.2", "tcp:10.1.1.2:80", "udp:10.1.1.2:80"];
    sandbox.closed("vpc1-public", &targets);
    sandbox.ok("vpcctl peer vpc1 vpc2");
    sandbox.open("vpc1-public", &targets);
    sandbox.ok("ip netns exec vpc1-private curl -s --http0.9 --max-time 1 http://10.1.1.2/ | grep 'you are 10.0.2.2'");
    sandbox.ok("vpcctl unpeer vpc1 vpc2");
    sandbox.closed("vpc1-public", &targets);
}

#[test]
fn the_policy_of_the_write_ups_lets_port_80_in_and_nothing_else() {
    let mut sandbox = Sandbox::with_vpc1();
    let file = sandbox.file("web.json", WEB);
    sandbox.serve("vpc1-public", &[22, 80, 8080]);
    sandbox.open("vpc1-private", &["tcp:10.0.1.2:22", "tcp:10.0.1.2:80", "tcp:10.0.1.2:8080"]);
    sandbox.ok(&format!("vpcctl apply-policy --vpc vpc1 --subnet public --policy {file}"));
    sandbox.expect_probes(
        "vpc1-private",
        &[
            ("tcp:10.0.1.2:80", "open 10.0.2.2"),
            ("tcp:10.0.1.2:22", "timeout"),
            ("tcp:10.0.1.2:8080", "timeout"),
            ("udp:10.0.1.2:80", "timeout"),
            ("ping:10.0.1.2", "timeout"),
        ],
    );
    sandbox.ok("ip netns exec vpc1-public curl -s --max-time 5 http://203.0.113.5/");
    let rules = sandbox.ok("ip netns exec vpc1-public iptables -S");
    for words in ["--dport 80", "--dport 22"] {
        assert!(rules.contains(words), "{words} in {rules}");
    }
    sandbox.serve("vpc1-private", &[5432]);
    sandbox.open("vpc1-public", &["tcp:10.0.2.2:5432", "udp:10.0.2.2:5432", "ping:10.0.2.2"]);
}

#[test]
fn a_default_of_allow_lets_in_what_no_rule_names() {
    let mut sandbox = Sandbox::with_vpc1();
    let policy = WEB.replacen('{', r#"{"default": {"ingress": "allow"}, "#, 1);
    let file = sandbox.file("web.json", &policy);
    sandbox.serve("vpc1-public", &[22, 80, 8080]);
    sandbox.ok(&format!("vpcctl apply-policy vpc1 {file}"));
    sandbox.expect_probes(
        "vpc1-private",
        &[
            ("tcp:10.0.1.2:80", "open"),
            ("tcp:10.0.1.2:22", "timeout"),
            ("tcp:10.0.1.2:8080", "open"),
            ("ping:10.0.1.2", "open"),
        ],
    );
}

#[test]
fn the_host_reaches_an_instances_web_server() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.start("vpc1-public", "web", "/usr/bin/python3 -SE -m http.server 8080 -d /run/netns");
    sandbox.wait_for("curl -s --max-time 2 http://10.0.1.2:8080/ | grep vpc1-public");
}

#[test]
fn a_name_resolves_where_the_hosts_resolver_is_a_stub() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.ok("ip netns exec vpc1-public ping -c 1 -W 5 example.com");
    sandbox.ok("ip netns exec vpc1-public curl -s --max-time 5 http://example.com/ | grep 198.51.100.10");
}

#[test]
fn the_log_has_every_action_with_its_time() {
    let mut sandbox = Sandbox::with_vpc1();
    let log = sandbox.ok("tail -n 100 /var/lib/vpcctl/vpcctl.log");
    let line = log.lines().find(|line| line.contains("vpcctl enable-nat vpc1 code=0")).expect("the command is logged");
    assert!(line.starts_with("20") && line.contains("T") && line.contains(" ms="), "{line}");
    assert!(log.lines().any(|line| line.contains("iptables-restore") && line.contains("code=0")), "{log}");
}

#[test]
fn the_same_twice_is_no_error_and_makes_no_duplicate() {
    let mut sandbox = Sandbox::with_vpc1();
    let before = sandbox.dump();
    sandbox.says("vpcctl create-vpc --name vpc1 --cidr 10.0.0.0/16", &["exists", "nothing changed"]);
    sandbox.says("vpcctl add-subnet --vpc vpc1 --name public --cidr 10.0.1.0/24 --type public", &["nothing changed"]);
    sandbox.says("vpcctl add-subnet --vpc vpc1 --name private --cidr 10.0.2.0/24 --type private", &["nothing changed"]);
    sandbox.says("vpcctl enable-nat --vpc vpc1 --subnet public --wan eth0", &["nothing changed"]);
    before.assert_same(&sandbox.dump(), "after the second time");
}

#[test]
fn deleting_what_does_not_exist_fails() {
    let mut sandbox = Sandbox::new();
    sandbox.fails(3, "vpcctl delete-vpc --name vpc1", &["`vpc1`"]);
    sandbox.ok("vpcctl delete-vpc vpc1 --if-exists");
    sandbox.ok("vpcctl delete-vpc vpc1 || true");
}

#[test]
fn both_spellings_of_every_command_work() {
    let mut sandbox = Sandbox::new();
    let file = sandbox.file("web.json", WEB);
    for line in [
        "create-vpc --name vpc1 --cidr 10.0.0.0/16",
        "create-vpc vpc2 10.1.0.0/16 --interface eth0",
        "add-subnet --vpc vpc1 --name public --cidr 10.0.1.0/24 --type public",
        "add-subnet vpc2 public 10.1.1.0/24 --type public",
        "add-subnet vpc2 private 10.1.2.0/24",
        "enable-nat --vpc vpc1 --subnet public --wan eth0",
        "enable-nat --vpc vpc2 --interface eth0",
        "peer vpc1 vpc2",
        "peer --vpc1 vpc1 --vpc2 vpc2",
        "allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24",
        &format!("apply-policy --vpc vpc1 --subnet public --policy {file}"),
        &format!("apply-policy vpc1 {file}"),
        "list",
        "inspect",
        "inspect vpc1",
        "unpeer vpc1 vpc2",
        "delete-vpc --name vpc1",
        "delete-vpc vpc2",
    ] {
        sandbox.ok(&format!("vpcctl {line}"));
    }
}
