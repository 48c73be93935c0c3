//! Topology files: what they say is made so, whatever was there before, and what there is can be said in one.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/states.rs"]
#[allow(dead_code, reason = "each test crate uses a part")]
mod states;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult};
use vpcctl::error::{Failure, Kind};
use vpcctl::model::changes::{self, Action};
use vpcctl::model::check;
use vpcctl::model::edit::delete_vpc;
use vpcctl::model::facts::{Barrier, HostFacts};
use vpcctl::model::state::{Host, HostAccess, Nameservers, NatScope, PeeringScope, State, Subnet, SubnetType, Vpc};
use vpcctl::model::topology_file::{Misfit, Source, Topology, Want, export};

use states::{edits, history, plain_facts, session};

const NET: &str = "version: 1
vpcs:
  - name: vpc1
    cidr: 10.0.0.0/16
    nat: true
    subnets:
      - name: web
        cidr: 10.0.1.0/24
        type: public
        policy: {ingress: [{port: 80, action: allow}]}
        apps: [{port: 80}]
        instances: [{name: two}, {name: three, address: 10.0.1.3}]
      - {name: db, cidr: 10.0.2.0/24}
  - {name: vpc2, cidr: 10.1.0.0/16, host-access: false}
peerings:
  - {vpcs: [vpc2, vpc1], allow: [{src: 10.0.1.0/24, dst: 10.1.0.0/16}]}
";

fn source(text: &str) -> Source {
    Source { name: "net.yaml".into(), text: text.into() }
}

fn facts() -> HostFacts {
    plain_facts()
}

/// The state after a file is applied to another.
fn applied(text: &str, state: &State, prune: bool) -> Result<State, Failure> {
    let source = source(text);
    let mut topology = source.parse()?;
    let refuse = |misfit: Misfit| source.at(&misfit.path, misfit.failure);
    let absent = |path: &str| Err(Failure::usage(format!("there is no `{path}`")).hint("write it"));
    topology.load_policies(&absent).map_err(refuse)?;
    let mut state = state.clone();
    let want = Want { topology: &topology, prune, pool: "198.19.0.0/16".parse().unwrap() };
    want.edit(&mut state, &facts()).map_err(refuse)?;
    assert_eq!(check::flaw(&state), None);
    Ok(state)
}

fn net() -> State {
    applied(NET, &State::default(), false).unwrap()
}

/// What differs, as `action object: reason`.
fn differences(old: &State, new: &State) -> Vec<String> {
    let word = |action: Action| format!("{action:?}").to_lowercase();
    let changes = changes::between(old, new, "gone").into_iter();
    changes.map(|change| format!("{} {}: {}", word(change.action), change.object, change.reason)).collect()
}

/// What of `NET` with this in place of that would change, and what it would be.
fn changed(from: &str, to: &str) -> (Vec<String>, State) {
    assert!(NET.contains(from), "{from}");
    let new = applied(&NET.replacen(from, to, 1), &net(), false).unwrap_or_else(|failure| panic!("{to}: {failure}"));
    (differences(&net(), &new), new)
}

#[test]
fn the_file_leads_to_the_same_as_the_commands() {
    let state = net();
    let vpc1 = &state.vpcs[&"vpc1".parse().unwrap()];
    assert_eq!(vpc1.nat.as_ref().unwrap().scope, NatScope::AllPublic);
    let web = &vpc1.subnets[&"web".parse().unwrap()];
    // Who names its address has it, wherever it stands; the others get what is left.
    let addresses: Vec<String> = web.instances.values().map(|instance| instance.address.to_string()).collect();
    assert_eq!(addresses, ["10.0.1.3", "10.0.1.4"]);
    assert_eq!(state.vpcs[&"vpc2".parse().unwrap()].host_access, HostAccess::Off);
    assert!(matches!(&state.peerings[0].scope, PeeringScope::Only(pairs) if pairs.len() == 1));
    assert_eq!(applied(NET, &state, true).unwrap(), state, "twice changes nothing");
}

#[test]
fn what_differs_is_changed_in_place_or_replaced() {
    let cases = [
        ("type: public\n", "type: private\n", vec!["change subnet vpc1/web: type is public, not private"]),
        ("10.0.2.0/24", "10.0.9.0/24", vec!["replace subnet vpc1/db: cidr is 10.0.2.0/24, not 10.0.9.0/24"]),
        (
            "address: 10.0.1.3",
            "address: 10.0.1.9",
            vec!["replace instance vpc1/web/three: address is 10.0.1.3, not 10.0.1.9"],
        ),
        ("nat: true", "nat: false", vec!["delete NAT of vpc1: gone"]),
        ("nat: true", "nat: {interface: eth1}", vec!["change NAT of vpc1: interface is eth0, not eth1"]),
        ("nat: true", "nat: {subnets: [web]}", vec!["change NAT of vpc1: subnets is all public ones, not web"]),
        (
            "nat: true",
            "nat: {nameservers: [203.0.113.9]}",
            vec!["change NAT of vpc1: nameservers is 203.0.113.53, not 203.0.113.9"],
        ),
        ("policy: {ingress: [{port: 80, action: allow}]}", "policy: null", vec!["delete policy of vpc1/web: gone"]),
        ("port: 80, action", "port: 81, action", vec!["change policy of vpc1/web: its rules are others"]),
        ("apps: [{port: 80}]", "apps: [{port: 80, user: '7'}]", vec!["change app vpc1/web:80: user is nobody, not 7"]),
        ("host-access: false", "host-access: true", vec!["change VPC vpc2: host access is off, not on"]),
        ("host-access: false", "mtu: 1400", vec!["change VPC vpc2: mtu is 1500, not 1400"]),
        (
            "allow: [{src: 10.0.1.0/24, dst: 10.1.0.0/16}]",
            "allow: everything",
            vec!["change peering vpc1 - vpc2: what it lets pass is 10.0.1.0/24 to 10.1.0.0/16, not everything"],
        ),
    ];
    for (from, to, expected) in cases {
        assert_eq!(changed(from, to).0, expected, "{to}");
    }
    let (differences, state) = changed("nat: true", "nat: {subnets: [web]}\n    uplink: {addresses: 198.19.7.0/31}");
    assert_eq!(
        differences[0],
        "change VPC vpc1: uplink is 198.19.0.0/31 of 198.19.0.0/16, not 198.19.7.0/31 of 198.19.0.0/16"
    );
    let private = applied(&NET.replacen("type: public", "type: private", 1), &state, false).unwrap();
    assert_eq!(private.vpcs[&"vpc1".parse().unwrap()].subnets[&"web".parse().unwrap()].kind, SubnetType::Private);
}

#[test]
fn a_vpc_with_another_cidr_is_replaced_with_all_that_is_in_it() {
    let text = NET.replace("cidr: 10.1.0.0/16", "cidr: 10.2.0.0/16").replace("dst: 10.1", "dst: 10.2");
    let new = applied(&text, &net(), false).unwrap();
    let expected = [
        "replace VPC vpc2: cidr is 10.1.0.0/16, not 10.2.0.0/16",
        "replace peering vpc1 - vpc2: is in VPC vpc2; what it lets pass is 10.0.1.0/24 to 10.1.0.0/16, not 10.0.1.0/24 to 10.2.0.0/16",
    ];
    assert_eq!(differences(&net(), &new), expected);
    // What was on the host before vpcctl came is not what is there now, with vpcctl's own rules.
    assert_eq!(new.host, net().host);
}

#[test]
fn what_the_file_does_not_have_stays_unless_it_is_pruned() {
    let text = "version: 1\nvpcs:\n- {name: vpc1, cidr: 10.0.0.0/16, subnets: [{name: web, cidr: 10.0.1.0/24, type: public}]}\n";
    assert_eq!(applied(text, &net(), false).unwrap(), net());
    let pruned = applied(text, &net(), true).unwrap();
    let gone: Vec<String> = changes::between(&net(), &pruned, "").into_iter().map(|change| change.object).collect();
    let expected = [
        "NAT of vpc1",
        "subnet vpc1/db",
        "policy of vpc1/web",
        "app vpc1/web:80",
        "instance vpc1/web/three",
        "instance vpc1/web/two",
        "VPC vpc2",
        "peering vpc1 - vpc2",
    ];
    assert_eq!(gone, expected);
    assert!(changes::between(&net(), &pruned, "").iter().all(|change| change.action == Action::Delete));
    assert_eq!(applied("version: 1\nvpcs: []\n", &net(), true).unwrap(), State::default());
    assert_eq!(applied("{\"version\": 1, \"vpcs\": []}", &net(), false).unwrap(), net());
}

#[test]
fn a_file_that_was_cut_off_takes_nothing_away() {
    refused("version: 1\n", Kind::Usage, "`vpcs` is missing");
    refused("{\"version\": 1}", Kind::Usage, "`vpcs` is missing");
    refused("version: 1\nvpcs:\n", Kind::Usage, "vpcs: there is no list");
    refused(
        "version: 1\nvpcs:\n- name: vpc1\n  cidr: 10.0.0.0/16\n  subnets:\n",
        Kind::Usage,
        "vpcs[0].subnets: there is no",
    );
}

/// `NET` without what nobody has to say of an object that is there.
const SAYS_LITTLE: &str = "version: 1
vpcs:
  - name: vpc1
    cidr: 10.0.0.0/16
    subnets:
      - {name: web, cidr: 10.0.1.0/24, type: public, instances: [{name: two}]}
  - {name: vpc2, cidr: 10.1.0.0/16}
peerings:
  - {vpcs: [vpc2, vpc1]}
";

/// What this in place of that changes, where the file says little.
fn replaced(from: &str, to: &str, old: &State) -> (Vec<String>, State) {
    assert!(SAYS_LITTLE.contains(from), "{from}");
    let new = applied(&SAYS_LITTLE.replacen(from, to, 1), old, false).unwrap();
    (differences(old, &new), new)
}

fn subnet<'a>(state: &'a State, vpc: &str, name: &str) -> &'a Subnet {
    &state.vpcs[&vpc.parse().unwrap()].subnets[&name.parse().unwrap()]
}

#[test]
fn what_is_replaced_keeps_its_policy_and_apps() {
    let old = net();
    assert_eq!(replaced("10.0.1.0/24", "10.0.1.0/24", &old), (Vec::new(), old.clone()));
    let (differences, new) = replaced("10.0.1.0/24", "10.0.1.0/25", &old);
    let expected = [
        "replace subnet vpc1/web: cidr is 10.0.1.0/24, not 10.0.1.0/25",
        "replace instance vpc1/web/three: is in subnet vpc1/web",
        "replace instance vpc1/web/two: is in subnet vpc1/web",
    ];
    assert_eq!(differences, expected);
    let (before, after) = (subnet(&old, "vpc1", "web"), subnet(&new, "vpc1", "web"));
    assert_eq!(after, &Subnet { cidr: after.cidr, ..before.clone() });
    // Where an address doesn't fit, who is listed gets another one; who isn't goes, and is named.
    let (differences, new) = replaced("10.0.1.0/24", "10.0.7.0/24", &old);
    assert_eq!(
        differences[1..],
        [
            "delete instance vpc1/web/three: goes with subnet vpc1/web",
            "replace instance vpc1/web/two: address is 10.0.1.4, not 10.0.7.3",
        ]
    );
    let after = subnet(&new, "vpc1", "web");
    assert_eq!((&after.policy, &after.apps), (&before.policy, &before.apps));
    assert!(after.policy.is_some() && !after.apps.is_empty());
    let pruned = applied(&SAYS_LITTLE.replace("10.0.1.0/24", "10.0.1.0/25"), &old, true).unwrap();
    let web = subnet(&pruned, "vpc1", "web");
    assert!(web.policy.is_none() && web.apps.is_empty() && web.instances.len() == 1, "{web:?}");
}

#[test]
fn an_instance_at_another_address_keeps_its_policy() {
    let own = "{name: two, policy: {egress: []}, apps: [{port: 81}]}";
    let old = applied(&NET.replace("{name: two}", own), &State::default(), false).unwrap();
    let (differences, new) = replaced("{name: two}", "{name: two, address: 10.0.1.9}", &old);
    assert_eq!(differences, ["replace instance vpc1/web/two: address is 10.0.1.4, not 10.0.1.9"]);
    let two = |state: &State| subnet(state, "vpc1", "web").instances[&"two".parse().unwrap()].clone();
    assert_eq!((two(&new).policy, two(&new).apps), (two(&old).policy, two(&old).apps));
    assert!(two(&new).policy.is_some() && !two(&new).apps.is_empty());
}

#[test]
fn a_vpc_that_is_replaced_keeps_what_the_file_says_nothing_of() {
    let text =
        NET.replace("nat: true", "mtu: 1400\n    nat: {subnets: [web], interface: eth1, nameservers: [203.0.113.9]}");
    let old = applied(&text, &State::default(), false).unwrap();
    let (differences, new) = replaced("10.0.0.0/16", "10.0.0.0/20", &old);
    let expected = [
        "replace VPC vpc1: cidr is 10.0.0.0/16, not 10.0.0.0/20",
        "replace subnet vpc1/db: is in VPC vpc1",
        "replace subnet vpc1/web: is in VPC vpc1",
        "replace instance vpc1/web/three: is in VPC vpc1",
        "replace instance vpc1/web/two: is in VPC vpc1",
        "replace peering vpc1 - vpc2: is in VPC vpc1",
    ];
    assert_eq!(differences, expected);
    let vpc = |state: &State| Vpc::clone(&state.vpcs[&"vpc1".parse().unwrap()]);
    let uplink = vpc(&new).uplink;
    assert_eq!(vpc(&new), Vpc { cidr: "10.0.0.0/20".parse().unwrap(), uplink, ..vpc(&old) });
    assert_eq!(new.peerings[0].scope, old.peerings[0].scope);
    // Without host access as before, and what can't pass any more is said anew.
    let open = NET.replace("allow: [{src: 10.0.1.0/24, dst: 10.1.0.0/16}]", "allow: everything");
    let (_, new) = replaced("10.1.0.0/16", "10.1.0.0/17", &applied(&open, &State::default(), false).unwrap());
    assert_eq!(new.vpcs[&"vpc2".parse().unwrap()].host_access, HostAccess::Off);
    let failure = applied(&SAYS_LITTLE.replace("10.1.0.0/16", "10.3.0.0/16"), &net(), false).unwrap_err();
    assert!(
        failure.message.contains("peerings[0]: nothing of what `vpc1` and `vpc2` let pass is inside"),
        "{failure:?}"
    );
}

#[test]
fn nat_loses_a_subnet_that_is_replaced_as_private() {
    let two = NET.replace("nat: true", "nat: {subnets: [web, db]}").replace("10.0.2.0/24", "10.0.2.0/24, type: public");
    let old = applied(&two, &State::default(), false).unwrap();
    let web = "10.0.1.0/24, type: public";
    let (_, new) = replaced(web, "10.0.7.0/24, type: private", &old);
    let nat = |state: &State| state.vpcs[&"vpc1".parse().unwrap()].nat.clone();
    assert_eq!(nat(&new).unwrap().scope, NatScope::Only(["db".parse().unwrap()].into()));
    leads_to(&new, &State::default()).unwrap();
    let one = applied(&NET.replace("nat: true", "nat: {subnets: [web]}"), &State::default(), false).unwrap();
    let (differences, new) = replaced(web, "10.0.7.0/24, type: private", &one);
    assert_eq!(nat(&new), None);
    let expected = [
        "delete NAT of vpc1: gone",
        "replace subnet vpc1/web: cidr is 10.0.1.0/24, not 10.0.7.0/24; type is public, not private",
    ];
    assert_eq!(differences[..2], expected);
}

#[test]
fn nat_for_other_subnets_keeps_its_addresses() {
    let text = |scope: &str, one: &str, other: &str| {
        format!(
            "version: 1\nvpcs:\n- {{name: first, cidr: 10.9.0.0/16}}\n- name: n\n  cidr: 10.0.0.0/16\n  host-access: false\n  nat: {scope}\n  subnets: [{{name: a, cidr: 10.0.1.0/24, type: {one}}}, {{name: b, cidr: 10.0.2.0/24, type: {other}}}]\n"
        )
    };
    let first =
        applied(&text("{subnets: [b], nameservers: [203.0.113.9]}", "public", "public"), &State::default(), false);
    let first = edit_without(first.unwrap(), "first");
    let new = applied(&text("{subnets: [a]}", "public", "private"), &first, false).unwrap();
    assert!(differences(&first, &new).contains(&"change NAT of n: subnets is b, not a".to_owned()));
    let uplink = |state: &State| state.vpcs[&"n".parse().unwrap()].uplink;
    assert_eq!(uplink(&new), uplink(&first));
}

/// A state from which a VPC has gone, so that addresses below those of others are free.
fn edit_without(mut state: State, vpc: &str) -> State {
    delete_vpc(&mut state, &vpc.parse().unwrap()).unwrap();
    state
}

#[test]
fn a_way_out_that_is_barred_is_refused_wherever_nat_is_new_to_it() {
    let barred = |text: &str, expected: bool| {
        let topology = source(text).parse().unwrap();
        assert_eq!(topology.adds_nat(&net()), expected, "{text}");
        let barrier = Barrier { what: "chain X drops".into(), remedy: "open it".into() };
        let barriers = ["eth0", "eth1"].map(|wan| (wan.parse().unwrap(), barrier.clone())).into();
        let want = Want { topology: &topology, prune: false, pool: "198.19.0.0/16".parse().unwrap() };
        let done = want.edit(&mut net(), &HostFacts { barriers, ..facts() });
        let misfit = done.err().map(|misfit| misfit.failure.message).unwrap_or_default();
        assert_eq!(misfit.contains("would not work: chain X drops"), expected, "{text}: {misfit}");
    };
    barred(SAYS_LITTLE, false);
    barred(&SAYS_LITTLE.replacen("/16", "/16\n    nat: true", 1), false);
    barred(&SAYS_LITTLE.replacen("/16", "/16\n    nat: false", 1), false);
    barred(&SAYS_LITTLE.replacen("/16", "/16\n    nat: {interface: eth1}", 1), true);
    barred(&SAYS_LITTLE.replacen("/16", "/16\n    interface: eth1\n    nat: true", 1), true);
    barred(&SAYS_LITTLE.replacen("/16", "/20\n    nat: true", 1), true);
    barred(&SAYS_LITTLE.replacen("/16", "/20", 1), true);
    barred(&SAYS_LITTLE.replacen("/16", "/20\n    nat: false", 1), false);
}

#[test]
fn two_instances_and_two_links_may_change_places() {
    let both = |one: &str, other: &str| {
        format!(
            "version: 1\nvpcs:\n- {{name: a, cidr: 10.0.0.0/16, uplink: {{addresses: 198.19.0.{one}/31}}, subnets: [{{name: s, cidr: 10.0.1.0/24, instances: [{{name: x, address: 10.0.1.1{one}}}, {{name: y, address: 10.0.1.1{other}}}]}}]}}\n- {{name: b, cidr: 10.1.0.0/16, uplink: {{addresses: 198.19.0.{other}/31}}}}\n"
        )
    };
    let first = applied(&both("2", "4"), &State::default(), false).unwrap();
    let second = applied(&both("4", "2"), &first, false).unwrap();
    assert_eq!(second, applied(&both("4", "2"), &State::default(), false).unwrap());
    assert_eq!(differences(&first, &second).len(), 4);
}

/// Fails with these words, and not without a hint.
fn refused(text: &str, kind: Kind, words: &str) {
    let failure = applied(text, &State::default(), false).expect_err(text);
    assert!(failure.message.contains(words) && failure.kind == kind && failure.hint.is_some(), "{words}: {failure:?}");
}

#[test]
fn errors_name_the_place_and_the_field() {
    let cases = [
        ("version: 1\n", "version: 2\n", Kind::Usage, "net.yaml:1:10: version: version 2 is not known"),
        ("version: 1\n", "", Kind::Usage, "`version` is missing"),
        ("10.0.1.0/24\n", "10.0.1.0\n", Kind::Usage, "net.yaml:8:15: vpcs[0].subnets[0].cidr: `10.0.1.0` is no CIDR"),
        ("subnets:", "subnet:", Kind::Usage, "net.yaml:6:5: vpcs[0].subnet: unknown field `subnet`"),
        (
            "10.0.2.0/24",
            "10.0.0.0/23",
            Kind::Conflict,
            "net.yaml:13:26: vpcs[0].subnets[1].cidr: cannot add subnet `db`: 10.0.0.0/23 overlaps",
        ),
        (
            "10.0.2.0/24",
            "10.9.2.0/24",
            Kind::Usage,
            "vpcs[0].subnets[1].cidr: cannot add subnet `db`: 10.9.2.0/24 is outside",
        ),
        (
            "name: db",
            "name: web",
            Kind::Usage,
            "net.yaml:13:16: vpcs[0].subnets[1].name: the subnet `web` stands there twice",
        ),
        ("[vpc2, vpc1]", "[vpc3, vpc1]", Kind::NotFound, "net.yaml:16:5: peerings[0]: VPC `vpc3` does not exist"),
        ("[vpc2, vpc1]", "[vpc2]", Kind::Usage, "peerings[0].vpcs"),
        (
            "port: 80, action",
            "port: 0, action",
            Kind::Usage,
            "net.yaml:10:35: vpcs[0].subnets[0].policy.ingress[0].port: 0 is not a port",
        ),
        (
            "policy: {ingress: [{port: 80, action: allow}]}",
            "policy: a.json",
            Kind::Usage,
            "net.yaml:10:17: vpcs[0].subnets[0].policy: there is no `a.json`",
        ),
        ("nat: true", "nat: null", Kind::Usage, "net.yaml:5:5: vpcs[0].nat: invalid type: nothing"),
        ("nat: true", "nat: {subnets: [db]}", Kind::Conflict, "vpcs[0].nat.subnets: subnet `vpc1/db` is private"),
        ("nat: true", "nat: {interface: eth9}", Kind::Host, "vpcs[0].nat"),
        (
            "nat: true",
            "nat: true\n    cidr: 10.0.0.0/16",
            Kind::Usage,
            "net.yaml:6:5: vpcs[0]: `cidr` stands there twice",
        ),
        ("version: 1\n", "version: 1\nversion: 1\n", Kind::Usage, "net.yaml:2:1: `version` stands there twice"),
        ("version: 1\n", "version: one\n", Kind::Usage, "net.yaml:1:10: version: this is not a whole number"),
        (
            "apps: [{port: 80}]",
            "apps: [{port: 70000}]",
            Kind::Usage,
            "apps[0].port: this is not a whole number of 0 to 65535",
        ),
        ("apps: [{port: 80}]", "apps: [{port: 0}]", Kind::Usage, "apps[0].port: 0 is not a port"),
        ("[vpc2, vpc1]", "[vpc2, vpc1, vpc3]", Kind::Usage, "peerings[0].vpcs: this is not a pair"),
        ("host-access: false", "host-access: 7", Kind::Usage, "host-access: this is neither `true` nor `false`"),
        ("name: db", "name: ~", Kind::Usage, "vpcs[0].subnets[1].name: there is no text"),
        ("apps: [{port: 80}]", "apps: &own [*own]", Kind::Usage, "the anchor is part of itself"),
        ("peerings:", "---\npeerings:", Kind::Usage, "a second document begins here"),
        (
            "dst: 10.1.0.0/16",
            "dst: 10.7.0.0/16",
            Kind::Usage,
            "peerings[0].allow[0]: 10.0.1.0/24 to 10.7.0.0/16 is not from",
        ),
        ("{name: two}", "{name: two, address: 10.0.1.2}", Kind::Conflict, "vpcs[0].subnets[0].instances[0].address"),
        ("{name: two}", "{name: two, address: 10.0.1.02}", Kind::Usage, "vpcs[0].subnets[0].instances[0].address"),
        (
            "apps: [{port: 80}]",
            "apps: [{port: 80}, {port: 80}]",
            Kind::Usage,
            "apps[1].port: the app on port `80` stands there twice",
        ),
        (
            "peerings:",
            "  - {name: vpc1-web, cidr: 10.2.0.0/16}\npeerings:",
            Kind::Conflict,
            "would both have the namespace vpc1-web",
        ),
        (
            "host-access: false",
            "uplink: {addresses: 10.1.0.0/31}",
            Kind::Conflict,
            "vpcs[1].uplink.addresses: 10.1.0.0/31 can't be a link",
        ),
        ("vpcs:\n", "vpcs: [\n", Kind::Usage, "net.yaml:"),
        ("10.1.0.0/16, host", "10.0.0.0/15, host", Kind::Conflict, "peerings[0]: cannot peer `vpc1` and `vpc2`: 10.0"),
        ("host-access: false", "mtu: 67", Kind::Usage, "net.yaml:14:42: vpcs[1].mtu: 67 is no MTU"),
        ("host-access: false", "mtu: null", Kind::Usage, "vpcs[1].mtu"),
        ("[{port: 80}]", "[{port: 80, wait: 601}]", Kind::Usage, "subnets[0].apps[0].wait: 601 seconds are too many"),
        ("[{port: 80}]", "null", Kind::Usage, "vpcs[0].subnets[0].apps: there is no list"),
    ];
    for (from, to, kind, words) in cases {
        refused(&NET.replacen(from, to, 1), kind, words);
    }
    refused("", Kind::Usage, "net.yaml: the file is empty");
    refused("- 1", Kind::Usage, "net.yaml:1:");
    refused("version: 1\nvpcs: 7", Kind::Usage, "net.yaml:2:7: vpcs: this is not a list");
    let twice = "version: 1\nvpcs:\n- {name: a, cidr: 10.0.0.0/16, uplink: {addresses: 198.19.0.0/31}}\n- {name: b, cidr: 10.1.0.0/16, uplink: {addresses: 198.19.0.0/31}}\n";
    refused(
        twice,
        Kind::Conflict,
        "net.yaml:4:52: vpcs[1].uplink.addresses: the uplink of VPC `a` and the uplink of VPC `b` would both have",
    );
}

#[test]
fn json_is_read_as_yaml_is() {
    let yaml = source(NET).parse().unwrap();
    let json = serde_json::to_string_pretty(&yaml).unwrap();
    assert_eq!(source(&json).parse().unwrap(), yaml);
    refused(&json.replacen("\"name\"", "\"nam\"", 1), Kind::Usage, "net.yaml:5:7: vpcs[0].nam: unknown field `nam`");
}

#[test]
fn aliases_are_bounded() {
    let level = |i: u32| format!("x{i}: &x{i} [{}]\n", vec![format!("*x{}", i - 1); 9].join(", "));
    let bomb: String = (1..9).map(level).collect();
    refused(&format!("version: 1\nx0: &x0 [1]\n{bomb}"), Kind::Usage, "net.yaml:");
    refused(&"[".repeat(100_000), Kind::Usage, "net.yaml:");
}

#[test]
fn a_thousand_subnets_are_read_and_edited_in_a_moment() {
    let text = |vpcs: usize| {
        let subnets =
            |v: usize| (0..10).map(|s| format!("{{name: s{s}, cidr: 10.{v}.{s}.0/24}}")).collect::<Vec<_>>().join(", ");
        let vpc = |v: usize| format!("- {{name: v{v}, cidr: 10.{v}.0.0/16, subnets: [{}]}}\n", subnets(v));
        format!("version: 1\nvpcs:\n{}", (0..vpcs).map(vpc).collect::<String>())
    };
    let text = text(100);
    let start = Instant::now();
    let state = applied(&text, &State::default(), true).unwrap();
    assert_eq!(state.vpcs.len(), 100);
    // To compare all names for each subnet takes several seconds in such a build.
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

/// What an operator chose, and what follows from it: not what was found on the host.
fn chosen(state: &State, other: &State) -> State {
    let mut state = state.clone();
    state.host = Host::default();
    for (name, vpc) in state.vpcs.iter_mut().map(|(name, vpc)| (name, Arc::make_mut(vpc))) {
        // Whose way something is in depends on who came first.
        if matches!(vpc.host_access, HostAccess::Overlaps(_))
            || matches!(other.vpcs.get(name).map(|vpc| &vpc.host_access), Some(HostAccess::Overlaps(_)))
        {
            vpc.host_access = HostAccess::On;
            if vpc.nat.is_none() {
                vpc.uplink = None;
            }
        }
    }
    state
}

fn reread(state: &State) -> Topology {
    let topology = export(state, &BTreeSet::new());
    let yaml = source(&serde_saphyr::to_string(&topology).unwrap()).parse();
    let yaml = yaml.unwrap_or_else(|failure| panic!("{failure}\n{}", serde_saphyr::to_string(&topology).unwrap()));
    assert_eq!(source(&serde_json::to_string(&topology).unwrap()).parse().unwrap(), yaml);
    yaml
}

/// The file of a state makes it so from another state, and leaves it alone.
fn leads_to(wanted: &State, from: &State) -> TestCaseResult {
    let topology = reread(wanted);
    let want = Want { topology: &topology, prune: true, pool: "198.19.0.0/16".parse().unwrap() };
    let mut state = from.clone();
    let done = want.edit(&mut state, &plain_facts());
    prop_assert!(done.is_ok(), "{done:?}");
    prop_assert_eq!(check::flaw(&state), None);
    prop_assert_eq!(chosen(&state, wanted), chosen(wanted, &state));
    let mut again = state.clone();
    prop_assert!(want.edit(&mut again, &plain_facts()).is_ok());
    prop_assert_eq!(again, state);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128, rng_seed: RngSeed::Fixed(5), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn what_is_exported_and_applied_is_the_same_network(one in edits(40), other in edits(40)) {
        let last = |edits: &[states::Edit]| history(edits, &|_| plain_facts()).into_iter().next_back().unwrap_or_default();
        let (one, other) = (last(&one), last(&other));
        leads_to(&one, &State::default())?;
        leads_to(&one, &other)?;
        leads_to(&one, &one)?;
    }
}

#[test]
fn every_state_of_a_session_leads_to_every_other() {
    let states = history(&session(), &|_| plain_facts());
    for pair in states.windows(2) {
        leads_to(&pair[1], &pair[0]).unwrap();
        leads_to(&pair[0], &pair[1]).unwrap();
        leads_to(&pair[0], &states[states.len() / 2]).unwrap();
    }
}

#[test]
fn name_servers_that_were_chosen_are_exported() {
    let text = NET.replace("nat: true", "nat: {nameservers: [203.0.113.9, 203.0.113.10]}");
    let state = applied(&text, &State::default(), false).unwrap();
    let nat = state.vpcs[&"vpc1".parse().unwrap()].nat.clone().unwrap();
    assert!(matches!(nat.nameservers, Nameservers::Chosen(ref servers) if servers.len() == 2));
    leads_to(&state, &State::default()).unwrap();
}
