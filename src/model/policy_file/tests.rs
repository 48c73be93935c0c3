use super::*;
use crate::error::Kind;
use crate::model::policy::{Direction, Traffic, Verdict};

fn one(text: &str) -> Policy {
    parse(text, "p.json").unwrap().remove(0).policy
}

fn ingress(rule: &str) -> Result<Rule, Failure> {
    let text = format!("{{\"ingress\": [{rule}]}}");
    parse(&text, "p.json").map(|mut entries| entries.remove(0).policy.ingress.rules.remove(0))
}

fn refused(text: &str) -> (String, String) {
    let failure = parse(text, "p.json").expect_err(text);
    assert_eq!(failure.kind, Kind::Usage, "{text}");
    (failure.message, failure.hint.unwrap_or_default())
}

#[test]
fn the_file_of_the_write_ups() {
    let text = r#"{"subnet": "10.0.1.0/24", "description": "web servers", "ingress": [
        {"port": 80, "protocol": "tcp", "action": "allow", "source": "0.0.0.0/0", "description": "HTTP"},
        {"port": 22, "protocol": "TCP", "action": "DROP", "source": "any"},
        {"port": "*", "action": "Accept", "source": "10.0.0.5"}], "egress": []}"#;
    let entries = parse(text, "p.json").unwrap();
    assert_eq!(entries[0].subnet, Some(SubnetSelector::Cidr("10.0.1.0/24".parse().unwrap())));
    let policy = &entries[0].policy;
    assert_eq!(policy.description.as_deref(), Some("web servers"));
    assert_eq!(policy.ingress.rules[0].description.as_deref(), Some("HTTP"));
    assert_eq!(policy.ingress.rules[2].peer.to_string(), "10.0.0.5/32");
    assert_eq!(policy.ingress.rules[2].protocol, Protocol::All);
    let remote = Ipv4Addr::new(192, 0, 2, 1);
    let verdict = |direction, traffic| policy.verdict(direction, traffic, remote);
    assert_eq!(verdict(Direction::Ingress, Traffic::Tcp(80)), Verdict { action: Action::Allow, rule: Some(0) });
    assert_eq!(verdict(Direction::Ingress, Traffic::Tcp(22)), Verdict { action: Action::Deny, rule: Some(1) });
    assert_eq!(verdict(Direction::Ingress, Traffic::Tcp(443)), Verdict { action: Action::Deny, rule: None });
    assert_eq!(verdict(Direction::Egress, Traffic::Udp(53)), Verdict { action: Action::Allow, rule: None });
}

#[test]
fn a_list_of_policies_each_for_its_subnet() {
    let text = r#"[{"subnet": "web", "default": {"ingress": "reject"}}, {"subnet": "10.0.2.0/24", "egress": []}]"#;
    let entries = parse(text, "p.json").unwrap();
    assert_eq!(entries[0].subnet, Some(SubnetSelector::Name("web".parse().unwrap())));
    assert_eq!(entries[0].policy.ingress.default, Action::Reject);
    assert_eq!(entries[1].policy.egress.default, Action::Allow);
    let (message, _) = refused(r#"[{"subnet": "web", "egress": []}, {"subnet": "web", "ingress": []}]"#);
    assert!(message.ends_with("[1]: `web` has a policy already, at [0]"), "{message}");
}

#[test]
fn a_message_names_the_place_the_field_and_the_value() {
    let text = "{\n  \"ingress\": [\n    {\"port\": 80, \"action\": \"allow\"},\n    {\"port\": 70000, \"action\": \"allow\"}]}";
    let (message, hint) = refused(text);
    assert_eq!(message, "p.json:4:18: ingress[1].port: 70000 is not a port (1 to 65535)");
    assert!(hint.starts_with("a port is a number from 1 to 65535"), "{hint}");
    let (message, _) = refused(r#"[{"egress": []}, {"egress": [{"port": 80, "action": "alow"}]}]"#);
    assert_eq!(message, "p.json:1:58: [1].egress[0].action: `alow` is not an action");
}

#[test]
fn ports_that_are_no_ports() {
    let bad = [
        "0",
        "65536",
        "-1",
        "80.0",
        "\"80\"",
        "\"080\"",
        "\"100:50\"",
        "\"100-50\"",
        "\"0-10\"",
        "\"1-65536\"",
        "\"ssh\"",
        "\"80,443\"",
        "\"80 - 90\"",
        "\"+1-2\"",
        "\"\"",
        "\"-\"",
        "[]",
        "[0]",
        "[\"any\"]",
        "[[80]]",
        "null",
        "true",
        "{}",
        "1e2",
        "18446744073709551616",
        "-9223372036854775809",
        "[80, null]",
    ];
    for port in bad {
        let failure = ingress(&format!("{{\"port\": {port}, \"action\": \"allow\"}}")).expect_err(port);
        assert!(failure.message.contains("ingress[0].port"), "{}", failure.message);
    }
    assert!(ingress("{\"port\": 080, \"action\": \"allow\"}").is_err());
    let (_, hint) = refused(r#"{"ingress": [{"port": "80", "action": "allow"}]}"#);
    assert_eq!(hint, "write 80 without the quotes");
}

#[test]
fn ports_that_are() {
    for (port, shown) in [
        ("1", "1"),
        ("65535", "65535"),
        ("\"8000-8100\"", "8000-8100"),
        ("\"1-65535\"", "1-65535"),
        ("\"*\"", "any"),
        ("\"ANY\"", "any"),
        ("\"all\"", "any"),
        ("[443, \"80-81\", 80]", "80-81,443"),
        ("\"80-80\"", "80"),
    ] {
        let rule = ingress(&format!("{{\"port\": {port}, \"action\": \"allow\"}}")).unwrap();
        assert_eq!(rule.ports.to_string(), shown);
        let implied = if shown == "any" { Protocol::All } else { Protocol::Tcp };
        assert_eq!(rule.protocol, implied, "{port}");
    }
}

#[test]
fn protocols_and_actions() {
    for (protocol, wanted) in
        [("tcp", Protocol::Tcp), ("UDP", Protocol::Udp), ("Icmp", Protocol::Icmp), ("all", Protocol::All)]
    {
        let rule = ingress(&format!("{{\"protocol\": \"{protocol}\", \"action\": \"allow\"}}")).unwrap();
        assert_eq!(rule.protocol, wanted);
    }
    for protocol in ["\"6\"", "6", "\"icmpv6\"", "\"tcp \"", "\"\"", "null", "[\"tcp\"]"] {
        assert!(ingress(&format!("{{\"protocol\": {protocol}, \"action\": \"allow\"}}")).is_err(), "{protocol}");
    }
    for action in ["\"permit\"", "\"\"", "null", "true", "\"allow \""] {
        assert!(ingress(&format!("{{\"port\": 80, \"action\": {action}}}")).is_err(), "{action}");
    }
    let (message, hint) = refused(r#"{"ingress": [{"port": 80, "protocol": "icmp", "action": "allow"}]}"#);
    assert!(message.ends_with("ingress[0]: icmp has no ports"), "{message}");
    assert!(hint.starts_with("leave `port` out"));
    assert!(ingress(r#"{"port": "*", "protocol": "icmp", "action": "allow"}"#).is_ok());
    let (message, _) = refused(r#"{"ingress": [{"port": 80}]}"#);
    assert!(message.ends_with("ingress[0]: missing field `action`"), "{message}");
}

#[test]
fn the_other_side() {
    for (text, cidr) in
        [("*", "0.0.0.0/0"), ("Any", "0.0.0.0/0"), ("10.0.0.5", "10.0.0.5/32"), ("10.0.0.0/8", "10.0.0.0/8")]
    {
        let rule = ingress(&format!("{{\"source\": \"{text}\", \"action\": \"allow\"}}")).unwrap();
        assert_eq!(rule.peer.to_string(), cidr);
    }
    for text in [
        "",
        "10.0.0.5/8",
        "10.1",
        "010.0.0.1",
        "localhost",
        "fd00::1",
        "10.0.0.0/33",
        "10.0.0.1-10.0.0.9",
        "!10.0.0.0/8",
    ] {
        assert!(ingress(&format!("{{\"source\": \"{text}\", \"action\": \"allow\"}}")).is_err(), "{text}");
    }
    let (message, hint) = refused(r#"{"ingress": [{"destination": "any", "action": "allow"}]}"#);
    assert!(message.ends_with("ingress[0].destination: unknown field `destination`"), "{message}");
    assert_eq!(hint, "an ingress rule names its `source`");
    let (_, hint) = refused(r#"{"egress": [{"source": "any", "action": "allow"}]}"#);
    assert_eq!(hint, "an egress rule names its `destination`");
    let (_, hint) = refused(r#"{"ingress": [{"source": "10.0.0.5/16", "action": "allow"}]}"#);
    assert_eq!(hint, "the network is 10.0.0.0/16");
}

#[test]
fn a_misspelt_field_is_an_error_that_names_the_field() {
    let (message, hint) = refused(r#"{"ingres": []}"#);
    assert_eq!(message, "p.json:1:9: ingres: unknown field `ingres`");
    assert_eq!(hint, "did you mean `ingress`? the fields are subnet, description, ingress, egress, default");
    for (field, meant) in
        [("ports", "port"), ("proto", "protocol"), ("acton", "action"), ("Source", "source"), ("desc", "description")]
    {
        let (_, hint) = refused(&format!("{{\"ingress\": [{{\"{field}\": 1}}]}}"));
        assert!(hint.starts_with(&format!("did you mean `{meant}`?")), "{field}: {hint}");
    }
}

#[test]
fn duplicate_fields_are_refused_at_every_level() {
    for text in [
        r#"{"ingress": [], "ingress": []}"#,
        r#"{"ingress": [{"port": 80, "port": 81, "action": "allow"}]}"#,
        r#"{"default": {"ingress": "deny", "ingress": "allow"}}"#,
        r#"{"subnet": "a", "subnet": "b", "ingress": []}"#,
    ] {
        assert!(refused(text).0.contains("duplicate field"), "{text}");
    }
}

#[test]
fn what_is_no_policy() {
    let rule_as_list = r#"{"ingress": [[80, "tcp", "allow", "any", "x"]]}"#;
    for text in [
        "",
        " \n",
        "{}",
        "[]",
        "[[]]",
        "null",
        "80",
        "\"x\"",
        "{\"subnet\": \"web\"}",
        "{\"default\": {}}",
        "[{}]",
        "{\"ingress\": {}}",
        "{\"ingress\": null}",
        "{\"default\": \"deny\"}",
        "{\"default\": [\"deny\"]}",
        "{\"default\": {\"ingress\": null}}",
        "{\"ingress\": []} x",
        "{\"ingress\": []",
        "{'ingress': []}",
        "{\"ingress\": [],}",
        "// x\n{\"ingress\": []}",
        rule_as_list,
        "{\"subnet\": 1, \"ingress\": []}",
        "{\"subnet\": \"10.0.1.0\", \"ingress\": []}",
        "{\"subnet\": null, \"ingress\": []}",
        "{\"subnet\": \"a b\", \"ingress\": []}",
        "[[\"web\", \"x\", []]]",
        "\u{0}",
        "{\"ingress\": \u{a0}[]}",
    ] {
        let (message, _) = refused(text);
        assert!(message.starts_with("p.json:"), "{message}");
    }
    assert!(parse("\u{feff}{\"ingress\": []}\n", "p.json").is_ok());
}

#[test]
fn a_description_is_short_and_can_not_rewrite_a_terminal() {
    let described = |text: &str| format!("{{\"ingress\": [], \"description\": {}}}", serde_json::Value::from(text));
    assert!(parse(&described(&"ü".repeat(256)), "p.json").is_ok());
    assert_eq!(one(&described("it's \"x\"; rm -rf $(y)")).description.as_deref(), Some("it's \"x\"; rm -rf $(y)"));
    for text in ["a\nb".to_owned(), "\u{1b}[2J".to_owned(), "a\0".to_owned(), "x".repeat(257)] {
        assert!(parse(&described(&text), "p.json").is_err());
    }
}

#[test]
fn messages_are_short_and_printable_whatever_the_file_holds() {
    let long = "x".repeat(100_000);
    for text in [
        format!("{{\"{long}\": 1}}"),
        format!("{{\"ingress\": \"{long}\"}}"),
        format!("{{\"ingress\": [{{\"action\": \"{long}\"}}]}}"),
        format!("{{\"ingress\": [{{\"source\": \"{long}\"}}]}}"),
        "{\"\\u001b[2J\\n\": 1}".to_owned(),
        "{\"x`, expected `y` at line 1 column 2\": 1}".to_owned(),
    ] {
        let (message, hint) = refused(&text);
        assert!(message.len() < 400 && !message.chars().any(char::is_control), "{message}");
        assert!(hint.len() < 400 && !hint.chars().any(char::is_control), "{hint}");
    }
}

#[test]
fn bombs_end_with_a_message() {
    for text in [
        "[".repeat(200_000),
        "{\"ingress\":".repeat(200_000),
        "{\"ingress\": [{\"port\":".to_owned() + &"[".repeat(200_000),
    ] {
        refused(&text);
    }
    let many = format!("{{\"ingress\": [{}{{\"action\": \"deny\"}}]}}", "{\"action\": \"deny\"},".repeat(MAX_RULES));
    assert!(refused(&many).0.ends_with("ingress: a policy has 65536 rules at most"));
    let half = format!("[{}{{\"action\": \"deny\"}}]", "{\"action\": \"deny\"},".repeat(MAX_RULES / 2));
    assert!(refused(&format!("{{\"ingress\": {half}, \"egress\": {half}}}")).0.ends_with("65536 rules at most"));
    refused(&" ".repeat(MAX_FILE_BYTES as usize + 1));
    let ports = format!("{{\"ingress\": [{{\"action\": \"deny\", \"port\": [{}1]}}]}}", "1,".repeat(1024));
    assert!(refused(&ports).0.contains("1024 ports"));
}

proptest::proptest! {
    #[test]
    fn nothing_panics(text in "[\\[\\]{}:,\"a-z0-9 .-]{0,80}") {
        let _ = parse(&text, "p.json");
    }

    #[test]
    fn a_damaged_policy_never_panics(at in 0usize..200, byte in 0u8..128) {
        let mut text = br#"[{"subnet": "web", "ingress": [{"port": [80, "90-99"], "protocol": "tcp", "action": "allow",
            "source": "10.0.0.0/8", "description": "x"}], "default": {"egress": "deny"}}]"#.to_vec();
        let length = text.len();
        text[at % length] = byte;
        let _ = parse(&String::from_utf8(text).unwrap(), "p.json");
    }
}
