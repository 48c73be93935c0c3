use super::*;

fn policy(json: &str) -> Policy {
    serde_json::from_str(json).unwrap()
}

#[test]
fn the_first_rule_that_matches_decides() {
    let policy = policy(
        r#"{"ingress": {"default": "deny", "rules": [
             {"protocol": "tcp", "ports": [80], "action": "reject", "peer": "10.0.0.0/8"},
             {"protocol": "all", "ports": ["80-90"], "action": "allow"},
             {"protocol": "icmp", "action": "allow"},
             {"protocol": "all", "action": "reject", "peer": "10.1.0.0/16"}]},
           "egress": {"default": "allow"}}"#,
    );
    let (near, far) = (Ipv4Addr::new(10, 1, 2, 3), Ipv4Addr::new(192, 0, 2, 1));
    let ingress = |traffic, remote| {
        let Verdict { action, rule } = policy.verdict(Direction::Ingress, traffic, remote);
        (action, rule)
    };
    assert_eq!(ingress(Traffic::Tcp(80), near), (Action::Reject, Some(0)));
    assert_eq!(ingress(Traffic::Tcp(80), far), (Action::Allow, Some(1)));
    assert_eq!(ingress(Traffic::Udp(90), near), (Action::Allow, Some(1)));
    assert_eq!(ingress(Traffic::Tcp(91), far), (Action::Deny, None));
    assert_eq!(ingress(Traffic::Icmp, near), (Action::Allow, Some(2)));
    assert_eq!(ingress(Traffic::Other, near), (Action::Reject, Some(3)));
    assert_eq!(ingress(Traffic::Other, far), (Action::Deny, None));
    let open = policy.verdict(Direction::Egress, Traffic::Other, far);
    assert_eq!(open, Verdict { action: Action::Allow, rule: None });
}

#[test]
fn the_state_form_is_canonical_and_comes_back_equal() {
    let text = concat!(
        r#"{"ingress":{"default":"deny","rules":[{"protocol":"tcp","ports":[80,"8000-8100"],"action":"allow","#,
        r#""peer":"10.0.0.0/8","description":"web \"x\""},{"protocol":"icmp","action":"reject"}]},"#,
        r#""egress":{"default":"allow"}}"#
    );
    assert_eq!(serde_json::to_string(&policy(text)).unwrap(), text);
}

#[test]
fn a_state_with_a_rule_that_cannot_be_is_refused() {
    let rule = r#"{"protocol":"icmp","ports":[80],"action":"allow"}"#;
    let text = serde_json::from_str::<Rule>(rule).unwrap_err().to_string();
    assert!(text.starts_with("icmp has no ports"), "{text}");
    for ports in ["[]", "0", "[0]", "65536", "-1", "80.0", "\"80\"", "null", "{}"] {
        assert!(serde_json::from_str::<Ports>(ports).is_err(), "{ports}");
    }
}

#[test]
fn ports_are_sorted_and_joined() {
    let ports: Ports = serde_json::from_str(r#"[443, "8000-8010", 80, "8005-8020", 81, 8021, 80, 65535]"#).unwrap();
    assert_eq!(ports.to_string(), "80-81,443,8000-8021,65535");
    assert!(ports.contains(8021) && ports.contains(65535) && !ports.contains(82) && !ports.contains(0));
    assert!(Ports::Any.contains(0));
}

#[test]
fn what_no_rule_names_is_denied_unless_there_are_no_rules() {
    let rule = Rule::new(None, Ports::Any, Action::Allow, Cidr::ANY).unwrap();
    assert_eq!(RuleList::new(vec![], None).default, Action::Allow);
    assert_eq!(RuleList::new(vec![rule.clone()], None).default, Action::Deny);
    assert_eq!(RuleList::new(vec![rule], Some(Action::Reject)).default, Action::Reject);
    assert_eq!(RuleList::new(vec![], Some(Action::Deny)).default, Action::Deny);
}
