//! The network as a picture: nothing overlaps in it, whatever the network, and what is in it can't break its format.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/states.rs"]
#[allow(dead_code, reason = "each test crate uses a part")]
mod states;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value, json};
use vpcctl::model::state::State;
use vpcctl::model::topology_file::{Source, Want};
use vpcctl::view::graph::layout::{CARD_LINE, Rect, Sheet, text_width};
use vpcctl::view::graph::lines::{Kind, Line};
use vpcctl::view::graph::{Network, dot, mermaid, nodes, svg, text};

use states::{edits, history, plain_facts};

/// The network of a topology file.
fn state(topology: &str) -> State {
    let source = Source { name: "net.yaml".into(), text: topology.to_owned() };
    let mut topology = source.parse().unwrap();
    let read = |path: &str| Ok(Source { name: path.into(), text: fs::read_to_string(path).unwrap() });
    topology.load_policies(&read).unwrap();
    let want = Want { topology: &topology, prune: true, pool: "198.19.0.0/16".parse().unwrap() };
    let mut state = State::default();
    want.edit(&mut state, &plain_facts()).unwrap();
    state
}

/// The one that the README describes.
fn readme() -> State {
    let text = include_str!("../README.md");
    state(text.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap())
}

/// So many VPCs, each peered with each, one with thirty instances.
fn mesh(size: usize) -> State {
    let vpc = |i: usize| {
        let instances: Vec<Value> =
            (0..if i == 1 { 30 } else { 0 }).map(|n| json!({"name": format!("i{n}")})).collect();
        let web = json!({"name": "web", "cidr": format!("10.{i}.1.0/24"), "type": "public", "instances": instances});
        let db = json!({"name": format!("db{}", "x".repeat(i)), "cidr": format!("10.{i}.2.0/24")});
        let vpc = format!("vpc-{i}{}", "-y".repeat(i % 5));
        let (nat, host_access) = (i.is_multiple_of(2), !i.is_multiple_of(3));
        let cidr = format!("10.{i}.0.0/16");
        json!({"name": vpc, "cidr": cidr, "nat": nat, "host-access": host_access, "subnets": [web, db]})
    };
    let vpcs: Vec<Value> = (0..size).map(vpc).collect();
    let pairs = (0..size).flat_map(|a| (a + 1..size).map(move |b| (a, b)));
    let peerings: Vec<Value> = pairs.map(|(a, b)| json!({"vpcs": [vpcs[a]["name"], vpcs[b]["name"]]})).collect();
    state(&json!({"version": 1, "vpcs": vpcs, "peerings": peerings}).to_string())
}

fn network(state: &State) -> Network {
    Network::new(state, &BTreeSet::new())
}

fn overlap(one: Rect, other: Rect) -> bool {
    one.x < other.right() && other.x < one.right() && one.y < other.bottom() && other.y < one.bottom()
}

fn is_inside(inner: Rect, outer: Rect) -> bool {
    inner.x >= outer.x && inner.right() <= outer.right() && inner.y >= outer.y && inner.bottom() <= outer.bottom()
}

fn apart(what: &str, boxes: &[Rect], around: Rect) {
    for (index, one) in boxes.iter().enumerate() {
        assert!(is_inside(*one, around), "{what} {one:?} leaves {around:?}");
        let twin = boxes[index + 1..].iter().find(|other| overlap(*one, **other));
        assert!(twin.is_none(), "{what} {one:?} overlaps {twin:?}");
    }
}

/// A line's pieces, each as the area between its ends.
fn pieces(line: &Line) -> Vec<Rect> {
    let piece = |ends: &[(i32, i32)]| {
        let [(x1, y1), (x2, y2)] = [ends[0], ends[1]];
        assert!(x1 == x2 || y1 == y2, "{line:?} runs askew");
        Rect { x: x1.min(x2), y: y1.min(y2), width: (x1 - x2).abs(), height: (y1 - y2).abs() }
    };
    line.points.windows(2).map(piece).collect()
}

/// Do two pieces run in the same direction, and share more than a point?
fn cover(one: Rect, other: Rect) -> bool {
    let both = |of: fn(&Rect) -> i32| of(&one) == 0 && of(&other) == 0;
    let share =
        |start: fn(&Rect) -> i32, end: fn(&Rect) -> i32| end(&one).min(end(&other)) > start(&one).max(start(&other));
    both(|r| r.width) && one.x == other.x && share(|r| r.y, |r| r.bottom())
        || both(|r| r.height) && one.y == other.y && share(|r| r.x, |r| r.right())
}

/// Nothing overlaps, leaves what it is in, or has more text than room.
fn check(network: &Network) {
    let sheet = Sheet::new(network);
    let all = Rect { x: 0, y: 0, width: sheet.size.0, height: sheet.size.1 };
    let boxes: Vec<Rect> = sheet.vpcs.iter().map(|vpc| vpc.area).collect();
    let top = sheet.internet.into_iter().chain(sheet.host.iter().map(|(host, _)| *host));
    apart("VPC or host", &boxes.iter().copied().chain(top).collect::<Vec<_>>(), all);
    for vpc in &sheet.vpcs {
        let inner: Vec<Rect> = vpc.subnets.iter().map(|subnet| subnet.area).chain([vpc.panel]).collect();
        apart("subnet", &inner, vpc.area);
        for words in vpc.vpc.ways.iter().flat_map(|way| &way.words) {
            assert!(text_width(words, 12) + 16 <= vpc.panel.width, "{words}");
        }
        for subnet in &vpc.subnets {
            apart("instance", &subnet.cards.iter().map(|(card, _)| *card).collect::<Vec<_>>(), subnet.area);
            for (card, instance) in &subnet.cards {
                let lines = instance.lines();
                assert!(lines.iter().all(|line| text_width(line, 13) + 20 <= card.width), "{lines:?}");
                assert!(lines.len() as i32 * CARD_LINE < card.height, "{lines:?}");
            }
        }
    }
    let lines: Vec<(&Line, Vec<Rect>)> = sheet.lines.iter().map(|line| (line, pieces(line))).collect();
    for (index, (line, own)) in lines.iter().enumerate() {
        for piece in own {
            assert!(is_inside(*piece, all), "{line:?} leaves the picture");
            assert!(
                !boxes.iter().any(|area| overlap(*piece, Rect { x: area.x + 1, width: area.width - 2, ..*area })),
                "{line:?}"
            );
        }
        // What leads up to the host from one column runs together.
        let others =
            lines[index + 1..].iter().filter(|(other, _)| other.kind != line.kind || line.kind == Kind::Peering);
        for (other, pieces) in others {
            let covers = own.iter().any(|one| pieces.iter().any(|piece| cover(*one, *piece)));
            assert!(!covers, "{line:?} and {other:?} run over each other");
        }
    }
}

#[test]
fn nothing_overlaps_in_a_large_network() {
    for size in [0, 1, 2, 5, 20] {
        let state = mesh(size);
        assert_eq!(
            Sheet::new(&network(&state)).lines.iter().filter(|line| line.kind == Kind::Peering).count(),
            size * size.saturating_sub(1) / 2
        );
        check(&network(&state));
    }
}

proptest! {
    // The same networks in every run; PROPTEST_RNG_SEED and PROPTEST_CASES look further.
    #![proptest_config(ProptestConfig {
        cases: 200, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn nothing_overlaps_whatever_the_network(edits in edits(40)) {
        let history = history(&edits, &|_| plain_facts());
        let state = history.last().unwrap();
        check(&network(state));
        let vpcs: Vec<_> = state.vpcs.keys().cloned().collect();
        check(&Network::new(state, &vpcs.into_iter().step_by(2).collect()));
        roxmltree::Document::parse(&svg::svg(&network(state))).unwrap();
        let drawn = text::text(&network(state), &text::UNICODE, 80);
        let network = network(state);
        let sheet = Sheet::new(&network);
        let peerings = sheet.lines.iter().filter(|line| line.kind == Kind::Peering);
        let arrows = peerings.flat_map(|line| line.arrows).filter(|has_arrow| *has_arrow).count();
        prop_assert_eq!(drawn.matches('◄').count(), arrows, "{}", drawn);
    }
}

/// An app whose name is made to break out of each format.
const ODD: &str = "a&<b>\"';]#\\n\u{7}é";

#[test]
fn what_is_drawn_is_text_and_never_markup() {
    let topology = json!({"version": 1, "vpcs": [{"name": "vpc1", "cidr": "10.0.0.0/16", "subnets": [
        {"name": "web", "cidr": "10.0.1.0/24", "apps": [{"port": 80, "command": [ODD]}]}]}]});
    let network = network(&state(&topology.to_string()));
    let shown = format!(":80 {}", ODD.replace('\u{7}', " "));
    let picture = svg::svg(&network);
    let document = roxmltree::Document::parse(&picture).unwrap();
    assert!(document.descendants().any(|node| node.text() == Some(&shown)), "{picture}");
    assert!(dot::dot(&network).contains(r#"\n:80 a&amp;<b>\"';]#\\n é"];"#), "{}", dot::dot(&network));
    let chart = mermaid::mermaid(&network);
    assert!(chart.contains(":80 a#38;#60;b#62;#34;#39;#59;#93;#35;#92;n #233;\"]"), "{chart}");
    let drawn = text::text(&network, &text::ASCII, 80);
    assert!(drawn.contains(&shown), "{drawn}");
    let graph = serde_json::to_value(nodes::graph(&network)).unwrap();
    assert_eq!(graph["nodes"][3]["apps"][0], json!({"port": 80, "name": ODD.replace('\u{7}', " ")}), "{graph}");
}

#[test]
fn the_readmes_network_in_every_format() {
    let network = network(&readme());
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false }, {
        insta::assert_snapshot!("graph-text", text::text(&network, &text::UNICODE, 80));
        insta::assert_snapshot!("graph-ascii", text::text(&network, &text::ASCII, 80));
        insta::assert_snapshot!("graph-dot", dot::dot(&network));
        insta::assert_snapshot!("graph-mermaid", mermaid::mermaid(&network));
        insta::assert_snapshot!("graph-json", serde_json::to_string_pretty(&nodes::graph(&network)).unwrap());
    });
}

#[test]
fn the_readmes_picture_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/network.svg");
    let picture = svg::svg(&network(&readme()));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, &picture).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(written == picture, "docs/network.svg is stale: run UPDATE_DOCS=1 cargo test --test graph");
}

#[test]
fn a_drawing_in_text_fits_its_width_and_peerings_have_two_ends() {
    for (size, width) in [(3, 60), (3, 80), (8, 80), (20, 80), (20, 200)] {
        let drawn = text::text(&network(&mesh(size)), &text::UNICODE, width);
        let longest = drawn.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(longest <= width, "{longest}: {drawn}");
        // Where there is no room for lines, the words say it all.
        let arrows = drawn.matches('◄').count();
        let all = size * (size - 1);
        assert!(arrows == all || (size > 3 && arrows == 0), "{arrows}: {drawn}");
        assert_eq!(drawn.matches("peer vpc-").count(), all);
    }
    assert!(text::text(&network(&mesh(3)), &text::ASCII, 80).is_ascii());
}

#[test]
fn one_vpc_alone_names_its_peers() {
    let state = readme();
    let only = Network::new(&state, &BTreeSet::from(["office".parse().unwrap()]));
    assert_eq!((only.vpcs.len(), only.peerings.len()), (1, 0));
    let drawn = text::text(&only, &text::UNICODE, 80);
    assert!(drawn.contains("peer shop: 10.1.1.0/24 to 10.0.1.0/24") && !drawn.contains("internet"), "{drawn}");
}

/// The program with an empty state, or with one that is not there.
fn vpcctl(line: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vpcctl"));
    command.args(line.split(' ')).env("VPCCTL_STATE_DIR", dir.path()).env_remove("VPCCTL_OUTPUT").output().unwrap()
}

#[test]
fn each_format_is_asked_for_by_o_and_pictures_are_for_graph_alone() {
    let starts = [
        ("graph", "no VPCs"),
        ("graph -o text", "no VPCs"),
        ("graph -o svg", "<svg "),
        ("-osvg graph", "<svg "),
        ("graph --output=mermaid", "flowchart TB\n"),
        ("graph -o dot", "digraph network {\n"),
        ("graph -o json", "{\n  \"version\": 1,\n  \"nodes\": []"),
        ("graph -o yaml", "version: 1\nnodes: []"),
    ];
    for (line, start) in starts {
        let output = vpcctl(line);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && text.starts_with(start), "{line}: {text}");
    }
    for line in ["list -o svg", "-o dot inspect", "check -o text"] {
        let output = vpcctl(line);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}");
        assert!(text.contains("only `graph` draws pictures: -o takes table, json or yaml"), "{line}: {text}");
    }
    assert_eq!(vpcctl("graph nowhere").status.code(), Some(3));
}
