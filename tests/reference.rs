//! What is generated from the program's definitions: `docs/` is up to date, and the schemas say what vpcctl does.
//! `UPDATE_DOCS=1 cargo test --test reference` writes `docs/` anew.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::fs;
use std::path::Path;

use clap::CommandFactory;
use jsonschema::Validator;
use serde_json::{Value, json};

use vpcctl::cli::Cli;
use vpcctl::model::owner::Owner;
use vpcctl::model::policy_file::{self, parse};
use vpcctl::model::state::State;
use vpcctl::plan::Plan;
use vpcctl::reference::{File, Kind};
use vpcctl::{store, view};

#[test]
fn the_documents_are_up_to_date() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for File { name, text } in Kind::Reference.files().unwrap().into_iter().chain(Kind::Schema.files().unwrap()) {
        let path = dir.join(&name);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &text).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == text, "docs/{name} is stale: run UPDATE_DOCS=1 cargo test --test reference");
    }
}

#[test]
fn every_visible_command_has_a_chapter_a_page_and_an_example() {
    let reference = Kind::Reference.files().unwrap().remove(0).text;
    let pages = Kind::Man.files().unwrap();
    for command in Cli::command().get_subcommands().filter(|command| !command.is_hide_set()) {
        let name = command.get_name();
        let (_, chapter) = reference.split_once(&format!("\n### {name}\n")).expect(name);
        let chapter = chapter.split("\n##").next().unwrap();
        assert!(chapter.contains("```sh\nvpcctl "), "{name} has no example");
        let page = pages.iter().find(|page| page.name == format!("vpcctl-{name}.1")).expect(name);
        for section in ["SYNOPSIS", "EXAMPLES", "\"EXIT STATUS\"", "ENVIRONMENT", "\"SEE ALSO\""] {
            assert!(page.text.contains(&format!("\n.SH {section}\n")), "{}: {section}", page.name);
        }
    }
}

#[test]
fn the_policy_schema_accepts_the_examples() {
    let schema = policy_schema();
    let mut count = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).unwrap() {
        let path = entry.unwrap().path();
        accepted(&schema, &serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap());
        count += 1;
    }
    assert!(count >= 7, "{count}");
}

/// One rule of a policy, with this field.
fn rule(field: &str, value: &Value) -> Value {
    let (direction, mut rule) = match field {
        "destination" => ("egress", json!({"action": "allow"})),
        _ => ("ingress", json!({"action": "allow"})),
    };
    rule[field] = value.clone();
    json!({direction: [rule]})
}

#[test]
fn the_policy_schema_accepts_every_spelling_that_is_read() {
    let schema = policy_schema();
    let words = |words: &[&str]| -> Vec<Value> {
        words
            .iter()
            .flat_map(|word| [(*word).to_owned(), word.to_uppercase(), capitalized(word)])
            .map(Value::from)
            .collect()
    };
    let ports = [json!(1), json!(65535), json!("8000-8100"), json!("1-65535"), json!([80, "90-99", 443])];
    let peers = ["10.0.0.0/16", "0.0.0.0/0", "10.0.0.5", "255.255.255.255/32"].map(Value::from);
    let spellings = [
        ("action", words(&["allow", "accept", "deny", "drop", "reject"])),
        ("protocol", words(&["tcp", "udp", "icmp", "all", "any", "*"])),
        ("port", [words(&["any", "all", "*"]), ports.to_vec()].concat()),
        ("source", [words(&["any", "*"]), peers.to_vec()].concat()),
        ("destination", [words(&["any", "*"]), peers.to_vec()].concat()),
        ("description", vec![json!(""), json!("ü 🦀"), json!("ü".repeat(256))]),
    ];
    for (field, values) in spellings {
        values.iter().for_each(|value| both_accept(&schema, &rule(field, value)));
    }
    both_accept(&schema, &json!({"subnet": "10.0.1.0/24", "ingress": []}));
    both_accept(
        &schema,
        &json!([{"subnet": "web", "egress": []}, {"subnet": "my-db_2", "default": {"egress": "Deny"}}]),
    );
    both_accept(&schema, &json!({"$schema": "../policy.schema.json", "default": {"ingress": "allow"}}));
}

#[test]
fn the_policy_schema_refuses_what_is_misspelt() {
    let schema = policy_schema();
    let bad = [
        rule("action", &json!("alow")),
        rule("action", &Value::Null),
        rule("protocol", &json!("sctp")),
        rule("protocol", &Value::Null),
        rule("port", &json!(0)),
        rule("port", &json!(65536)),
        rule("port", &json!("80")),
        rule("port", &json!("8000:8100")),
        rule("port", &json!("0-10")),
        rule("port", &json!("1-65536")),
        rule("port", &json!([])),
        rule("source", &json!("10.0.0.0/33")),
        rule("source", &json!("010.0.0.0/8")),
        rule("source", &json!("example.com")),
        rule("description", &json!("a\u{1b}b")),
        rule("description", &json!("a".repeat(257))),
        rule("ports", &json!(80)),
        rule("Source", &json!("any")),
        json!({"ingress": [{"port": 80}]}),
        json!({"ingress": [{"action": "allow", "destination": "any"}]}),
        json!({"egress": [{"action": "allow", "source": "any"}]}),
        json!({"ingres": [], "egress": []}),
        json!({"ingress": null, "egress": []}),
        json!({"ingress": {}}),
        json!({"default": "deny"}),
        json!({"default": {"both": "deny"}}),
        json!({"subnet": "all", "ingress": []}),
        json!({"subnet": "10.0.1.0", "ingress": []}),
        json!([]),
        json!([[]]),
        json!("allow"),
        json!({"$schema": 7, "ingress": []}),
    ];
    for policy in bad {
        assert!(!schema.is_valid(&policy), "{policy}");
        assert!(parse(&policy.to_string(), "p.json").is_err(), "{policy}");
    }
}

#[test]
fn a_state_and_what_is_printed_of_it_fit_their_schemas() {
    let text = include_str!("support/state.json");
    let document: Value = serde_json::from_str(text).unwrap();
    let state: store::Document = serde_json::from_str(text).unwrap();
    assert_eq!(serde_json::to_value(&state).unwrap(), document, "it is as vpcctl writes it");
    let schema = schema("state.schema.json");
    accepted(&schema, &document);
    for (place, value) in [
        ("/version", json!(2)),
        ("/network/vpcs/vpc1/cidr", json!("10.0.0.0")),
        ("/network/vpcs/vpc1/nat/wan", json!("")),
    ] {
        let mut changed = document.clone();
        *changed.pointer_mut(place).unwrap() = value;
        assert!(!schema.is_valid(&changed), "{place}");
    }
    printed(&state.network);
}

/// What `list` and `inspect` print of a state fits its schema, and nothing else does.
fn printed(state: &State) {
    let schema = schema("output.schema.json");
    let ops = vpcctl::plan::topology::ops(state);
    let observed = Default::default();
    let whole = view::inspection(state, None, view::Look::Whole(&ops, &observed));
    let mut inspection = serde_json::to_value(whole).unwrap();
    let presence = view::inspection(state, None, view::Look::Presence(&|_| true));
    accepted(&schema, &serde_json::to_value(presence).unwrap());
    accepted(&schema, &serde_json::to_value(view::list(state)).unwrap());
    accepted(&schema, &inspection);
    let network = view::graph::Network::new(state, &Default::default());
    accepted(&schema, &serde_json::to_value(view::graph::nodes::graph(&network)).unwrap());
    let explained = vpcctl::plan::explain::explain(&Plan { make: ops.clone(), ..Plan::default() });
    accepted(&schema, &serde_json::to_value(view::explain::explanation(explained)).unwrap());
    let drop = view::watch::Event::drop(0, &Owner::Host, "VPCCTL-INPUT", "a rule".into(), 1);
    accepted(&schema, &serde_json::to_value(drop).unwrap());
    inspection["vpcs"][0]["mtu"] = json!("1500");
    assert!(!schema.is_valid(&inspection));
}

fn schema(name: &str) -> Validator {
    let files = Kind::Schema.files().unwrap();
    let file = files.iter().find(|file| file.name == name).unwrap();
    jsonschema::validator_for(&serde_json::from_str(&file.text).unwrap()).unwrap()
}

fn policy_schema() -> Validator {
    let schema = schema("policy.schema.json");
    assert!(jsonschema::meta::is_valid(policy_file::schema().as_value()));
    schema
}

fn accepted(schema: &Validator, value: &Value) {
    let errors: Vec<String> = schema.iter_errors(value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{value}: {errors:?}");
}

fn both_accept(schema: &Validator, policy: &Value) {
    accepted(schema, policy);
    if let Err(failure) = parse(&policy.to_string(), "p.json") {
        panic!("{policy}: {failure}");
    }
}

fn capitalized(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}
