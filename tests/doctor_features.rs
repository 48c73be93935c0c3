//! The doctor tries what the plan uses: a match, a target, a table or a type of set that comes into a plan comes into
//! `FEATURES` too.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::BTreeSet;

use vpcctl::doctor::features::{FEATURES, Trial};
use vpcctl::model::cidr::Cidr;
use vpcctl::model::edit::{
    DEFAULT_POOL, NatSpec, PolicyScope, SubnetSpec, VpcSpec, add_subnet, apply_policy, create_vpc, enable_nat, peer,
};
use vpcctl::model::facts::{HostFacts, HostLink};
use vpcctl::model::name::VpcName;
use vpcctl::model::policy::Policy;
use vpcctl::model::state::{State, SubnetType};
use vpcctl::plan::{between, script};

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

/// Two peered VPCs, one with NAT for many subnets, a short policy of all that a policy can say, and a long one.
fn everything() -> State {
    let mut state = State::default();
    let link = HostLink { mtu: 1500, forwarding: false };
    let facts = HostFacts { links: [("eth0".parse().unwrap(), link)].into(), ..HostFacts::default() };
    let (a, b): (VpcName, VpcName) = ("a".parse().unwrap(), "b".parse().unwrap());
    for (name, net) in [(&a, "10.0.0.0/16"), (&b, "10.1.0.0/16")] {
        let (name, cidr, pool) = (name.clone(), cidr(net), cidr(DEFAULT_POOL));
        create_vpc(&mut state, &VpcSpec { name, cidr, host_access: true, wan: None, pool }, &facts).unwrap();
    }
    for n in 0..20 {
        let name = format!("s{n}").parse().unwrap();
        let net = cidr(&format!("10.0.{n}.0/24"));
        add_subnet(&mut state, &SubnetSpec { vpc: a.clone(), name, cidr: net, kind: SubnetType::Public }).unwrap();
    }
    let nat = NatSpec {
        vpc: a.clone(),
        subnet: None,
        wan: Some("eth0".parse().unwrap()),
        nameservers: vec![],
        pool: cidr(DEFAULT_POOL),
    };
    enable_nat(&mut state, &nat, &facts).unwrap();
    peer(&mut state, &a, &b, cidr(DEFAULT_POOL)).unwrap();
    let short = r#"{"ingress": {"default": "deny", "rules": [
        {"protocol": "tcp", "ports": [80], "action": "allow"}, {"protocol": "udp", "ports": [53], "action": "allow"},
        {"protocol": "icmp", "action": "allow"},
        {"protocol": "tcp", "ports": [22, "8000-8100"], "action": "reject"}, {"protocol": "all", "action": "reject"}]},
        "egress": {"default": "reject"}}"#;
    let rule = |n: usize| {
        let ports = if n.is_multiple_of(2) { String::new() } else { format!(r#""ports": [{}],"#, 80 + n % 7) };
        format!(r#"{{"protocol": "tcp", {ports} "action": "allow", "peer": "10.{}.{}.0/24"}}"#, n / 200, n % 200)
    };
    let rules: Vec<String> = (0..400).map(rule).collect();
    let long = format!(
        r#"{{"ingress": {{"default": "deny", "rules": [{}]}}, "egress": {{"default": "allow"}}}}"#,
        rules.join(",")
    );
    for (subnet, policy) in [("s0", short), ("s1", &long)] {
        let policy: Policy = serde_json::from_str(policy).unwrap();
        let scope = PolicyScope { vpc: a.clone(), subnet: subnet.parse().unwrap(), instance: None };
        apply_policy(&mut state, &scope, policy).unwrap();
    }
    state
}

/// The words after these ones.
fn after<'a>(text: &'a str, markers: &[&str]) -> BTreeSet<&'a str> {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.windows(2).filter(|pair| markers.contains(&pair[0])).map(|pair| pair[1]).collect()
}

fn tried() -> String {
    let lines = FEATURES.iter().map(|feature| match &feature.trial {
        Trial::Lines(_, lines) => lines.join("\n"),
        Trial::Rules(table, rules) => format!("-t {table}\n{}", rules.join("\n")),
        Trial::Setting(key) => (*key).to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn every_match_target_table_and_reason_of_a_refusal_is_tried() {
    let plan = script::script(&between(&State::default(), &everything()), None);
    let tried = tried();
    for markers in [&["-m"][..], &["-j"], &["-t"], &["--reject-with"], &["type"]] {
        let own = |word: &&str| !word.starts_with("VPCCTL");
        let used: BTreeSet<&str> = after(&plan, markers).into_iter().filter(own).collect();
        assert!(!used.is_empty(), "{markers:?}");
        let known = after(&tried, markers);
        let missing: Vec<_> = used.difference(&known).collect();
        assert!(missing.is_empty(), "{markers:?}: {missing:?} of {used:?}");
    }
}

#[test]
fn every_type_of_set_and_option_of_a_port_is_tried() {
    let plan = script::script(&between(&State::default(), &everything()), None);
    let tried = tried();
    let types = |text: &str| -> BTreeSet<String> {
        let created = text.split("create ").skip(1).filter_map(|rest| rest.split_whitespace().nth(1));
        created.map(str::to_owned).collect()
    };
    assert_eq!(types(&plan), types(&tried));
    let options = |text: &str| -> BTreeSet<String> {
        let after = text.split("type bridge_slave ").skip(1).filter_map(|rest| rest.lines().next());
        after.map(str::to_owned).collect()
    };
    assert_eq!(options(&plan).len(), 1);
    assert_eq!(options(&plan), options(&tried));
}

#[test]
fn a_feature_comes_after_what_it_needs() {
    let mut before = BTreeSet::new();
    for feature in &FEATURES {
        assert!(feature.after.iter().all(|id| before.contains(id)), "{}", feature.id);
        assert!(before.insert(feature.id), "{} twice", feature.id);
    }
}
