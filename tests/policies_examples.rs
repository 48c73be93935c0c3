//! The examples in `policies/`: each is read as a user's file is, and does what its description says.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use vpcctl::model::policy::Action::{self, Allow, Deny, Reject};
use vpcctl::model::policy::Direction::{self, Egress, Ingress};
use vpcctl::model::policy::Traffic::{self, Icmp, Other, Tcp, Udp};
use vpcctl::model::policy_file::{PolicyEntry, parse};

/// A connection, and what becomes of it.
type Case = (Direction, Traffic, &'static str, Action);

/// A file of `policies/`, the subnet that one of its policies names, and what that policy decides.
struct Example {
    file: &'static str,
    subnet: Option<&'static str>,
    cases: &'static [Case],
}

const EXAMPLES: &[Example] = &[
    Example {
        file: "web.json",
        subnet: Some("10.0.1.0/24"),
        cases: &[
            (Ingress, Tcp(80), "203.0.113.10", Allow),
            (Ingress, Tcp(80), "10.0.2.2", Allow),
            (Ingress, Tcp(22), "10.0.2.2", Deny),
            (Ingress, Udp(80), "10.0.2.2", Deny),
            (Ingress, Tcp(443), "10.0.2.2", Deny),
            (Ingress, Icmp, "10.0.2.2", Deny),
            (Egress, Tcp(443), "203.0.113.10", Allow),
            (Egress, Other, "203.0.113.10", Allow),
        ],
    },
    Example {
        file: "database.json",
        subnet: Some("10.0.2.0/24"),
        cases: &[
            (Ingress, Tcp(5432), "10.0.1.2", Allow),
            (Ingress, Icmp, "10.0.1.2", Allow),
            (Ingress, Tcp(5432), "10.0.2.3", Deny),
            (Ingress, Tcp(5432), "198.19.0.0", Deny),
            (Ingress, Tcp(22), "10.0.1.2", Deny),
            (Egress, Tcp(443), "203.0.113.10", Deny),
            (Egress, Udp(53), "203.0.113.53", Deny),
        ],
    },
    Example {
        file: "egress.json",
        subnet: None,
        cases: &[
            (Egress, Udp(53), "203.0.113.53", Allow),
            (Egress, Tcp(53), "203.0.113.53", Allow),
            (Egress, Udp(53), "203.0.113.54", Reject),
            (Egress, Tcp(443), "203.0.113.10", Allow),
            (Egress, Udp(443), "203.0.113.10", Reject),
            (Egress, Tcp(80), "203.0.113.10", Reject),
            (Egress, Icmp, "203.0.113.10", Reject),
            (Ingress, Tcp(443), "10.0.1.2", Deny),
        ],
    },
    Example {
        file: "bastion.json",
        subnet: None,
        cases: &[
            (Ingress, Tcp(22), "192.0.2.7", Allow),
            (Ingress, Tcp(22), "192.0.3.7", Deny),
            (Ingress, Tcp(22), "10.0.2.2", Deny),
            (Egress, Tcp(22), "10.0.2.2", Allow),
            (Egress, Tcp(22), "10.1.0.2", Deny),
            (Egress, Tcp(80), "10.0.2.2", Deny),
        ],
    },
    Example {
        file: "three-tiers.json",
        subnet: Some("web"),
        cases: &[
            (Ingress, Tcp(80), "203.0.113.10", Allow),
            (Ingress, Tcp(443), "203.0.113.10", Allow),
            (Ingress, Tcp(81), "203.0.113.10", Deny),
            (Egress, Tcp(8000), "10.0.2.2", Allow),
        ],
    },
    Example {
        file: "three-tiers.json",
        subnet: Some("app"),
        cases: &[
            (Ingress, Tcp(8000), "10.0.1.2", Allow),
            (Ingress, Tcp(8099), "10.0.1.2", Allow),
            (Ingress, Tcp(8100), "10.0.1.2", Deny),
            (Ingress, Tcp(8000), "203.0.113.10", Deny),
            (Egress, Tcp(5432), "10.0.3.2", Allow),
        ],
    },
    Example {
        file: "three-tiers.json",
        subnet: Some("10.0.3.0/24"),
        cases: &[
            (Ingress, Tcp(5432), "10.0.2.2", Allow),
            (Ingress, Tcp(5432), "10.0.1.2", Deny),
            (Egress, Tcp(443), "203.0.113.10", Deny),
        ],
    },
    Example {
        file: "open-but-telnet.json",
        subnet: None,
        cases: &[
            (Ingress, Tcp(23), "10.0.2.2", Deny),
            (Ingress, Udp(23), "10.0.2.2", Allow),
            (Ingress, Tcp(22), "10.0.2.2", Allow),
            (Ingress, Other, "10.0.2.2", Allow),
            (Egress, Tcp(23), "10.0.2.2", Allow),
        ],
    },
    Example {
        file: "reject.json",
        subnet: None,
        cases: &[
            (Ingress, Tcp(443), "10.0.2.2", Allow),
            (Ingress, Tcp(80), "10.0.2.2", Reject),
            (Ingress, Udp(53), "10.0.2.2", Reject),
            (Ingress, Icmp, "10.0.2.2", Reject),
            (Egress, Icmp, "10.0.2.2", Allow),
        ],
    },
];

#[test]
fn each_example_decides_what_it_says() {
    for example in EXAMPLES {
        let entries = read(example.file);
        let entry = entries.iter().find(|entry| subnet(entry).as_deref() == example.subnet);
        let Some(entry) = entry else { panic!("{}: no policy for {:?}", example.file, example.subnet) };
        for (direction, traffic, remote, action) in example.cases {
            let decided = entry.policy.verdict(*direction, *traffic, remote.parse::<Ipv4Addr>().unwrap()).action;
            let what = format!("{}: {direction} {traffic:?}, {remote}", example.file);
            assert_eq!(decided, *action, "{what}");
        }
    }
}

#[test]
fn every_policy_of_every_file_is_among_the_examples() {
    let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies");
    let files = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<(String, Option<String>)> = files
        .flat_map(|file| read(&file).iter().map(|entry| (file.clone(), subnet(entry))).collect::<Vec<_>>())
        .collect();
    let tested = EXAMPLES.iter().map(|example| (example.file.to_owned(), example.subnet.map(str::to_owned))).collect();
    assert_eq!(there, tested);
}

#[test]
fn every_policy_and_every_rule_says_what_it_is_for() {
    for Example { file, .. } in EXAMPLES {
        for PolicyEntry { policy, .. } in read(file) {
            assert!(policy.description.is_some(), "{file}");
            let mut rules = policy.ingress.rules.iter().chain(&policy.egress.rules);
            assert!(rules.all(|rule| rule.description.is_some()), "{file}");
        }
    }
}

fn read(file: &str) -> Vec<PolicyEntry> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("policies").join(file);
    parse(&fs::read_to_string(path).unwrap(), file).unwrap()
}

fn subnet(entry: &PolicyEntry) -> Option<String> {
    entry.subnet.as_ref().map(ToString::to_string)
}
