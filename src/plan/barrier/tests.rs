//! Rule sets as programs load them, and whether they let VPCs out.

use super::*;

const POOL: Ipv4Addr = Ipv4Addr::new(198, 19, 0, 0);

fn chain(rules: &str) -> String {
    format!(
        r#"{{"nftables": [{{"metainfo": {{}}}}, {{"table": {{"family": "inet", "name": "own"}}}},
        {{"chain": {{"family": "inet", "table": "own", "name": "forward", "hook": "forward", "policy": "drop"}}}},
        {{"chain": {{"family": "inet", "table": "own", "name": "side"}}}},{rules}
        {{"chain": {{"family": "inet", "table": "own", "name": "input", "hook": "input", "policy": "drop"}}}}]}}"#
    )
}

fn rule(chain: &str, expressions: &str) -> String {
    format!(r#"{{"rule": {{"family": "inet", "table": "own", "chain": "{chain}", "expr": [{expressions}]}}}},"#)
}

fn interface(key: &str, op: &str, name: &str) -> String {
    format!(r#"{{"match": {{"op": "{op}", "left": {{"meta": {{"key": "{key}"}}}}, "right": "{name}"}}}}"#)
}

fn verdict(rules: &[String]) -> Option<String> {
    let text = chain(&rules.concat());
    let found = Ruleset::of_nft(Listing::read(&text).unwrap()).barrier(&"eth0".parse().unwrap(), POOL);
    found.map(|barrier| barrier.chain.chain)
}

const ESTABLISHED: &str = r#"{"match": {"op": "in", "left": {"ct": {"key": "state"}}, "right": ["established", "related"]}}, {"accept": null}"#;

#[test]
fn a_policy_of_drop_is_a_barrier_until_both_ways_are_open() {
    let out = rule("forward", &format!(r#"{}, {{"accept": null}}"#, interface("iifname", "==", "vpc-*")));
    let back = rule("forward", ESTABLISHED);
    assert_eq!(verdict(&[]).as_deref(), Some("forward"));
    assert_eq!(verdict(std::slice::from_ref(&out)).as_deref(), Some("forward"), "no way back");
    assert_eq!(verdict(std::slice::from_ref(&back)).as_deref(), Some("forward"), "no way out");
    assert_eq!(verdict(&[out, back]), None);
}

#[test]
fn what_is_not_understood_may_accept() {
    let back = rule("forward", ESTABLISHED);
    let odd = r#"{"match": {"op": "==", "left": {"meta": {"key": "mark"}}, "right": 7}}, {"accept": null}"#;
    assert_eq!(verdict(&[back.clone(), rule("forward", odd)]), None);
    assert_eq!(verdict(&[back.clone(), rule("forward", r#"{"vmap": {}}"#)]), None);
    let other = format!(r#"{}, {{"vmap": {{}}}}"#, interface("iifname", "==", "docker0"));
    assert_eq!(verdict(&[back.clone(), rule("forward", &other)]).as_deref(), Some("forward"));
    let one = format!(r#"{}, {{"accept": null}}"#, interface("iifname", "==", "vpc-blue"));
    assert_eq!(verdict(&[back, rule("forward", &one)]), None, "this VPC may be the one");
}

/// A test that nobody knows the outcome of keeps the verdict behind it from being certain, and what comes after from nothing.
#[test]
fn what_stands_behind_an_unknown_test_is_not_certain() {
    let open = rule("forward", r#"{"accept": null}"#);
    for test in [
        r#"{"xt": {"type": "match", "name": "set"}}"#,
        r#"{"xt": {"type": "match", "name": "physdev"}}"#,
        r#"{"quota": {"val": 100, "val_unit": "mbytes", "inv": true}}"#,
        r#"{"limit": {"rate": 10, "per": "second"}}"#,
        r#"{"ct count": {"val": 20, "inv": true}}"#,
        r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "@lans"}}"#,
        r#"{"match": {"op": "!=", "left": {"meta": {"key": "iifname"}}, "right": "@lans"}}"#,
        r#"{"match": {"op": "==", "left": {"meta": {"key": "oif"}}, "right": 7}}"#,
        r#"{"match": {"op": "==", "left": {"meta": {"key": "oifname"}}, "right": {"set": ["eth0", {"elem": {"val": "eth1"}}]}}}"#,
        r#"{"match": {"op": "!=", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "@nets"}}"#,
        r#"{"match": {"op": ">", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.0"}}"#,
    ] {
        let drop = rule("forward", &format!(r#"{test}, {{"counter": null}}, {{"drop": null}}"#));
        assert_eq!(verdict(&[drop.clone(), open.clone()]), None, "{test}");
        assert_eq!(verdict(&[drop]).as_deref(), Some("forward"), "the policy is certain after {test}");
        let accept = rule("forward", &format!(r#"{test}, {{"accept": null}}"#));
        assert_eq!(verdict(&[accept]), None, "{test}");
    }
    let comment = r#"{"xt": {"type": "match", "name": "comment"}}, {"drop": null}"#;
    assert_eq!(verdict(&[rule("forward", comment), open]).as_deref(), Some("forward"), "a comment is no test");
}

#[test]
fn what_may_decide_before_the_verdict_leaves_nothing_certain() {
    let back = rule("forward", ESTABLISHED);
    for odd in
        [r#"{"vmap": {}}"#, r#"{"xt": null}"#, r#"{"xt": {"type": "target", "name": "TPROXY"}}"#, r#"{"new": 1}"#]
    {
        for verdict_behind in ["drop", "return"] {
            let one = rule("forward", &format!(r#"{odd}, {{"{verdict_behind}": null}}"#));
            assert_eq!(verdict(&[back.clone(), one]), None, "{odd} before {verdict_behind}");
        }
    }
}

#[test]
fn chains_are_followed_as_the_kernel_does() {
    let back = rule("forward", ESTABLISHED);
    let reject = rule("side", r#"{"reject": {}}"#);
    for way in ["jump", "goto"] {
        let lead = rule("forward", &format!(r#"{{"{way}": {{"target": "side"}}}}"#));
        assert_eq!(verdict(&[back.clone(), lead, reject.clone()]).as_deref(), Some("side"));
    }
    let accept = rule("forward", r#"{"accept": null}"#);
    let lead = |way: &str| rule("forward", &format!(r#"{{"{way}": {{"target": "side"}}}}"#));
    assert_eq!(verdict(&[back.clone(), lead("jump"), accept.clone()]), None, "a jump comes back");
    assert_eq!(verdict(&[back.clone(), lead("goto"), accept.clone()]).as_deref(), Some("forward"), "a goto doesn't");
    let itself = rule("side", r#"{"jump": {"target": "side"}}"#);
    assert_eq!(verdict(&[back, lead("jump"), itself]), None, "the kernel would refuse it");
}

#[test]
fn senders_and_interfaces_are_compared() {
    let back = rule("forward", ESTABLISHED);
    let from = |prefix: &str, len: u8| {
        let right = format!(r#"{{"prefix": {{"addr": "{prefix}", "len": {len}}}}}"#);
        let left = r#"{"payload": {"protocol": "ip", "field": "saddr"}}"#;
        rule(
            "forward",
            &format!(r#"{{"match": {{"op": "==", "left": {left}, "right": {right}}}}}, {{"accept": null}}"#),
        )
    };
    assert_eq!(verdict(&[back.clone(), from("198.19.0.0", 16)]), None);
    assert_eq!(verdict(&[back.clone(), from("10.0.0.0", 8)]).as_deref(), Some("forward"));
    let not_docker = format!(r#"{}, {{"accept": null}}"#, interface("iifname", "!=", "docker0"));
    assert_eq!(verdict(&[back.clone(), rule("forward", &not_docker)]), None);
    let lan = format!(r#"{}, {{"accept": null}}"#, interface("oifname", "==", "lan0"));
    assert_eq!(verdict(&[back, rule("forward", &lan)]).as_deref(), Some("forward"));
}

#[test]
fn iptables_legacy_is_read_too() {
    let verdict = |rules: &str| {
        let found = Ruleset::of_legacy(&format!("*filter\n{rules}COMMIT\n")).barrier(&"eth0".parse().unwrap(), POOL);
        found.map(|barrier| (barrier.chain.to_string(), barrier.remedy()))
    };
    let (what, remedy) = verdict(":FORWARD DROP [0:0]\n").unwrap();
    assert_eq!(what, "chain FORWARD of iptables-legacy's table filter");
    assert!(remedy.contains("iptables-legacy -I FORWARD -i vpc-+ -j ACCEPT"), "{remedy}");
    let opened = ":FORWARD DROP [0:0]\n-A FORWARD -o vpc-+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n-A FORWARD -i vpc-+ -j ACCEPT\n";
    assert_eq!(verdict(opened), None);
    let docker = ":FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n-A FORWARD ! -i docker0 -o docker0 -j ACCEPT\n-A DOCKER-USER -j RETURN\n";
    assert!(verdict(docker).is_some());
    assert_eq!(verdict(":FORWARD ACCEPT [0:0]\n-A FORWARD -s 192.0.2.0/24 -j DROP\n"), None);
    assert!(verdict(":FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with icmp-host-prohibited\n").is_some());
}
