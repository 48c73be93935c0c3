//! Other software, other networks, the state directory.

use std::sync::Arc;

use super::*;
use crate::error::{Failure, Kind};
use crate::model::state::HostAccess;

#[test]
fn rules_that_cannot_be_read_are_a_problem() {
    let fail = |facts: &mut Facts| facts.firewall.rules = Look::Failed("Table `filter' is incompatible".into());
    brings(&healthy(), fail, "firewall-rules", Problem, &["incompatible"]);
    let mut unseen = healthy();
    unseen.firewall.rules = Look::Unseen;
    assert!(found(&unseen, "firewall-rules").is_empty() && found(&unseen, "forward-policy").is_empty());
}

#[test]
fn other_software_that_is_no_obstacle_is_named_all_the_same() {
    let drop_policy = |facts: &mut Facts| facts.firewall.rules = rules("*filter\n:FORWARD DROP [0:0]\nCOMMIT\n");
    brings(&healthy(), drop_policy, "forward-policy", Fine, &["DROP"]);
    let signs: [fn(&mut Facts); 3] = [
        |facts| drop(networks_of(facts).links.insert("docker0".into(), "bridge".into())),
        |facts| facts.firewall.rules = rules("*nat\n:DOCKER - [0:0]\nCOMMIT\n"),
        |facts| facts.firewall.programs = ["dockerd".to_owned()].into(),
    ];
    for sign in signs {
        brings(&healthy(), sign, "docker", Fine, &["Docker"]);
    }
    let bridge = |facts: &mut Facts| facts.firewall.bridge_netfilter = Some(true);
    brings(&healthy(), bridge, "bridge-netfilter", Fine, &["br_netfilter"]);
    let forward = |facts: &mut Facts| facts.firewall.ip_forward = Some(true);
    brings(&healthy(), forward, "ip-forward", Fine, &["forwards already"]);
    let strict = |facts: &mut Facts| facts.firewall.rp_filter = Some(1);
    brings(&healthy(), strict, "ip-forward", Fine, &["strict"]);
}

#[test]
fn ufw_is_known_by_its_chains_or_else_by_its_configuration() {
    let chains = |facts: &mut Facts| facts.firewall.rules = rules("*filter\n:ufw-before-forward - [0:0]\nCOMMIT\n");
    brings(&healthy(), chains, "ufw", Fine, &["ufw is active"]);
    let mut enabled = healthy();
    enabled.firewall.ufw_enabled = true;
    assert!(found(&enabled, "ufw").is_empty(), "no chains: not active in this namespace");
    enabled.firewall.rules = Look::Unseen;
    assert_eq!(found(&enabled, "ufw").len(), 1);
}

#[test]
fn firewalld_can_be_in_the_way() {
    let runs = |facts: &mut Facts| facts.firewall.programs = ["firewalld".to_owned()].into();
    brings(&healthy(), runs, "firewalld", Warning, &["trusted", "reload"]);
    let chains = |facts: &mut Facts| facts.firewall.nft = Look::Seen(vec![nft("inet", "firewalld", "forward", "drop")]);
    brings(&healthy(), chains, "firewalld", Warning, &["trusted"]);
}

#[test]
fn chains_beside_iptables_that_drop_are_in_the_way() {
    let chain = |family: &str, table: &str, name: &str, policy: &str| {
        let chain = nft(family, table, name, policy);
        move |facts: &mut Facts| facts.firewall.nft = Look::Seen(vec![chain])
    };
    brings(&healthy(), chain("inet", "filter", "forward", "drop"), "nft-drop", Warning, &["inet filter", "internet"]);
    brings(&healthy(), chain("ip", "own", "input", "drop"), "nft-drop", Warning, &["ip own", "host"]);
    for harmless in [
        chain("inet", "filter", "forward", "accept"),
        chain("ip", "filter", "FORWARD", "drop"),
        chain("ip6", "own", "forward", "drop"),
        chain("inet", "own", "output", "drop"),
    ] {
        let mut facts = healthy();
        harmless(&mut facts);
        assert!(found(&facts, "nft-drop").is_empty(), "{:?}", facts.firewall.nft);
    }
}

#[test]
fn without_a_default_route_nat_has_no_way_out() {
    brings(&healthy(), |facts| networks_of(facts).has_default_route = false, "default-route", Warning, &["enable-nat"]);
}

#[test]
fn a_vpc_that_overlaps_is_told_with_the_vpn_that_it_overlaps() {
    let vpn = |facts: &mut Facts| add_network(facts, "10.0.8.0/24", "route on wg0");
    brings(&with_vpc1(), vpn, "vpc-overlap", Warning, &["10.0.8.0/24 (route on wg0, a VPN)", "goes to the VPC"]);
    let by_kind = |facts: &mut Facts| {
        add_network(facts, "10.0.8.0/24", "route on office");
        networks_of(facts).links.insert("office".into(), "wireguard".into());
    };
    brings(&with_vpc1(), by_kind, "vpc-overlap", Warning, &["office, a VPN"]);
    let lan = |facts: &mut Facts| add_network(facts, "10.0.0.0/8", "address on eth0");
    brings(&with_vpc1(), lan, "vpc-overlap", Warning, &["10.0.0.0/8 (address on eth0)"]);
    let mut clear = with_vpc1();
    add_network(&mut clear, "10.1.0.0/16", "route on wg0");
    assert!(found(&clear, "vpc-overlap").is_empty());
}

#[test]
fn what_an_overlap_costs_depends_on_host_access() {
    let mut facts = with_vpc1();
    add_network(&mut facts, "10.0.8.0/24", "route on wg0");
    let name = "vpc1".parse().unwrap();
    Arc::make_mut(state_of(&mut facts).vpcs.get_mut(&name).unwrap()).host_access =
        HostAccess::Overlaps("route on wg0".into());
    assert!(found(&facts, "vpc-overlap")[0].what.contains("no way to its instances"));
    Arc::make_mut(state_of(&mut facts).vpcs.get_mut(&name).unwrap()).host_access = HostAccess::Off;
    assert!(found(&facts, "vpc-overlap").is_empty());
}

#[test]
fn an_uplink_pool_that_overlaps() {
    let vpn = |facts: &mut Facts| add_network(facts, "198.19.128.0/17", "route on tun0");
    brings(&healthy(), vpn, "uplink-pool", Warning, &["198.19.0.0/16", "tun0, a VPN", "--uplink-pool"]);
    let mut facts = with_vpc1();
    vpn(&mut facts);
    assert!(found(&facts, "uplink-overlap").is_empty(), "the uplink has the pool's first addresses");
    add_network(&mut facts, "198.19.0.0/24", "route on tun0");
    assert_eq!(found(&facts, "uplink-overlap").len(), 1);
}

#[test]
fn uplinks_that_the_state_knows_nothing_of() {
    let other = |facts: &mut Facts| networks_of(facts).foreign_uplinks = vec!["vpc-x".into()];
    brings(&healthy(), other, "other-state", Warning, &["vpc-x", "/var/lib/vpcctl", "--state-dir"]);
    let mut unknown = healthy();
    other(&mut unknown);
    unknown.state.state = None;
    assert!(found(&unknown, "other-state").is_empty(), "whose they are is not known");
}

#[test]
fn ranges_in_use_are_shown_while_none_overlaps() {
    assert!(found(&healthy(), "networks")[0].what.contains("192.168.1.0/24 on eth0"));
    let mut unknown = healthy();
    unknown.networks = None;
    assert!(found(&unknown, "networks").is_empty() && found(&unknown, "default-route").is_empty());
}

#[test]
fn the_state_directory() {
    let damaged = Failure::new(Kind::State, "the state file `x` is damaged").hint("put a backup in its place");
    let damage = |facts: &mut Facts| facts.state.state = Some(Err(damaged.clone()));
    brings(&healthy(), damage, "state", Problem, &["damaged", "backup"]);
    let unseen = |facts: &mut Facts| facts.state.state = None;
    brings(&healthy(), unseen, "state", Warning, &["for root alone", "sudo"]);
    let unsafe_dir = Failure::new(Kind::State, "the state directory `x` is not safe").hint("chmod 700");
    let flaw = |facts: &mut Facts| facts.state.flaw = Some(unsafe_dir.clone());
    brings(&healthy(), flaw, "state-directory", Problem, &["not safe", "chmod 700"]);
    let cut = |facts: &mut Facts| facts.state.cut_off = Some("peer a b".into());
    brings(&healthy(), cut, "unfinished-command", Warning, &["`peer a b`"]);
    let lock = |facts: &mut Facts| facts.state.locked = true;
    brings(&healthy(), lock, "lock", Warning, &["another vpcctl", "fuser /var/lib/vpcctl/lock"]);
}

#[test]
fn room_on_the_disk() {
    let free = |bytes| move |facts: &mut Facts| facts.state.free = Some(bytes);
    brings(&healthy(), free(1 << 20), "disk", Warning, &["1024 KiB"]);
    brings(&healthy(), free(0), "disk", Problem, &["0 KiB"]);
    brings(&healthy(), |facts| facts.state.read_only = true, "disk", Problem, &["read-only"]);
}
