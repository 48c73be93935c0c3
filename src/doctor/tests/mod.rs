//! Each finding shows on a host that has its cause, and not on one that hasn't.

mod ground;
mod neighbours;

use std::collections::{BTreeMap, BTreeSet};

use super::facts::*;
use super::features::{FEATURES, OPTIONAL};
use super::*;
use crate::model::cidr::Cidr;
use crate::model::edit::{DEFAULT_POOL, VpcSpec, create_vpc};
use crate::model::facts::{HostFacts, HostNetwork};
use crate::model::state::State;
use crate::plan::batch::Program;
use crate::plan::observed::Seen;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn rules(text: &str) -> Look<Seen> {
    Look::Seen(Seen::of_rules(text))
}

fn nft(family: &str, table: &str, name: &str, policy: &str) -> NftChain {
    let [family, table, name_owned] = [family, table, name].map(str::to_owned);
    NftChain { family, table, name: name_owned, hook: Some(name.to_lowercase()), policy: Some(policy.into()) }
}

/// A Debian host that nothing is wrong with.
fn healthy() -> Facts {
    let tools = [
        (Program::Ip, "ip utility, iproute2-6.1.0, libbpf 1.1.2"),
        (Program::Bridge, "bridge utility, 6.1.0"),
        (Program::Ipset, "ipset v7.17, protocol version: 7"),
        (Program::IptablesRestore, "iptables-restore v1.8.9 (nf_tables)"),
        (Program::IptablesSave, "iptables-save v1.8.9 (nf_tables)"),
        (Program::Tc, "tc utility, iproute2-6.1.0, libbpf 1.1.2"),
        (Program::Nft, "nftables v1.0.6 (Lester Gooch #5)"),
    ];
    Facts {
        caller: Caller { root: true, lacking: vec![], sandboxed: false },
        tools: tools.map(|(program, version)| (program, version.to_owned())).into(),
        kernel: "6.1.0-18-amd64".into(),
        features: Features::Tried {
            working: FEATURES.iter().map(|feature| feature.id).collect(),
            failed: BTreeMap::new(),
            unloaded: BTreeSet::new(),
        },
        userns_switch: None,
        settings_read_only: false,
        limits: Limits { open_files: Some(1024), ..Limits::default() },
        firewall: Firewall {
            rules: rules("*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"),
            nft: Look::Seen(vec![nft("ip", "filter", "FORWARD", "accept")]),
            legacy_tables: Look::Seen(BTreeSet::new()),
            programs: BTreeSet::new(),
            ufw_enabled: false,
            ip_forward: Some(false),
            rp_filter: Some(2),
            bridge_netfilter: None,
        },
        barriers: BTreeMap::new(),
        networks: Some(Networks {
            networks: vec![HostNetwork { cidr: cidr("192.168.1.0/24"), origin: "address on eth0".into() }],
            links: BTreeMap::from([("eth0".into(), String::new())]),
            foreign_uplinks: vec![],
            has_default_route: true,
            default_wan: "eth0".parse().ok(),
            pool: Some(cidr(DEFAULT_POOL)),
        }),
        dead_namespaces: vec![],
        mounts_private: Some(false),
        state: StateFacts {
            dir: "/var/lib/vpcctl".into(),
            flaw: None,
            state: Some(Ok(State::default())),
            cut_off: None,
            read_only: false,
            free: Some(1 << 30),
            locked: false,
        },
    }
}

/// The healthy host with VPC `vpc1` 10.0.0.0/16, which has an uplink.
fn with_vpc1() -> Facts {
    let mut state = State::default();
    let name = "vpc1".parse().unwrap();
    let spec = VpcSpec { name, cidr: cidr("10.0.0.0/16"), host_access: true, wan: None, pool: cidr(DEFAULT_POOL) };
    create_vpc(&mut state, &spec, &HostFacts::default()).unwrap();
    let mut facts = healthy();
    facts.state.state = Some(Ok(state));
    facts
}

fn state_of(facts: &mut Facts) -> &mut State {
    match &mut facts.state.state {
        Some(Ok(state)) => state,
        _ => panic!("no state"),
    }
}

fn networks_of(facts: &mut Facts) -> &mut Networks {
    facts.networks.as_mut().unwrap()
}

fn add_network(facts: &mut Facts, net: &str, origin: &str) {
    networks_of(facts).networks.push(HostNetwork { cidr: cidr(net), origin: origin.into() });
}

fn fail(facts: &mut Facts, id: &'static str, why: &str) {
    let Features::Tried { failed, .. } = &mut facts.features else { panic!("not tried") };
    failed.insert(id, why.into());
}

/// The findings with this id after a change of the facts.
fn found(facts: &Facts, id: &str) -> Vec<Finding> {
    diagnose(facts).into_iter().filter(|finding| finding.id == id).collect()
}

/// The change brings exactly one finding that was not there: of this id and level, with these words.
#[track_caller]
fn brings(facts: &Facts, change: impl FnOnce(&mut Facts), id: &str, level: Level, words: &[&str]) {
    let before = diagnose(facts);
    let mut changed = facts.clone();
    change(&mut changed);
    let new: Vec<Finding> = diagnose(&changed).into_iter().filter(|finding| !before.contains(finding)).collect();
    let matching: Vec<&Finding> = new.iter().filter(|finding| finding.id == id).collect();
    assert_eq!(matching.len(), 1, "{new:#?}");
    assert_eq!(matching[0].level, level, "{new:#?}");
    let text = format!("{} {}", matching[0].what, matching[0].remedy.as_deref().unwrap_or_default());
    words.iter().for_each(|word| assert!(text.contains(word), "`{text}` lacks `{word}`"));
    let others = new.iter().filter(|finding| finding.id != id && finding.level != Level::Ok);
    assert_eq!(others.count(), 0, "{new:#?}");
}

use Level::{Ok as Fine, Problem, Warning};

#[test]
fn a_healthy_host_has_nothing_but_good_news() {
    for facts in [healthy(), with_vpc1()] {
        let findings = diagnose(&facts);
        assert!(findings.iter().all(|finding| finding.level == Fine && finding.remedy.is_none()), "{findings:#?}");
    }
}

#[test]
fn a_finding_that_is_not_ok_has_a_remedy_of_one_line() {
    let mut facts = with_vpc1();
    facts.tools.clear();
    facts.caller = Caller { root: false, lacking: vec!["CAP_NET_ADMIN"], sandboxed: false };
    facts.firewall.programs = ["dockerd", "firewalld"].map(str::to_owned).into();
    FEATURES.iter().for_each(|feature| fail(&mut facts, feature.id, "Operation not supported"));
    facts.state.state = None;
    add_network(&mut facts, "198.0.0.0/8", "route on wg0");
    for finding in diagnose(&facts) {
        assert_eq!(finding.remedy.is_some(), finding.level != Fine, "{finding:?}");
        let lines = finding.what.lines().count() + finding.remedy.as_ref().map_or(1, |remedy| remedy.lines().count());
        assert_eq!(lines, 2, "{finding:?}");
        let kebab = |c: char| c.is_ascii_lowercase() || c == '-';
        assert!(finding.id.chars().all(kebab), "{finding:?}");
    }
}

#[test]
fn the_report_ends_with_the_sum() {
    let mut facts = healthy();
    let summary = |facts: &Facts| {
        let report = report::Report::new(diagnose(facts));
        let table = anstream::adapter::strip_str(&report.table()).to_string();
        assert!(table.lines().all(|line| line.chars().count() <= 100), "{table}");
        (report.able(), table.lines().last().unwrap().to_owned())
    };
    assert_eq!(summary(&facts), (true, "this host can run vpcctl: nothing is in the way".into()));
    facts.state.locked = true;
    facts.dead_namespaces = vec!["old".into()];
    assert_eq!(summary(&facts), (true, "this host can run vpcctl: 2 warnings".into()));
    facts.tools.remove(&Program::Ipset);
    assert_eq!(summary(&facts), (false, "this host can't run vpcctl: 1 problem, 2 warnings".into()));
}
