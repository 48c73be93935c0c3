//! The exact lines of each edit, as `--dry-run` prints them, and how many processes and rules a network needs.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/states.rs"]
#[allow(dead_code, reason = "random states are for the other tests")]
mod states;

use serde_json::json;
use vpcctl::model::cidr::Cidr;
use vpcctl::model::edit::{
    DEFAULT_POOL, InstanceSpec, NatSpec, PolicyScope, SubnetSpec, VpcSpec, add_instance, add_subnet, allow_cidr,
    apply_policy, create_vpc, delete_instance, delete_subnet, delete_vpc, disable_nat, enable_nat, peer, remove_policy,
    unpeer,
};
use vpcctl::model::facts::{HostFacts, HostLink, HostNetwork};
use vpcctl::model::name::{Name, VpcName};
use vpcctl::model::policy::Policy;
use vpcctl::model::state::{CidrPair, State, SubnetType};
use vpcctl::plan::batch::{self, Places, Program, SideBySide, Step};
use vpcctl::plan::line::Place;
use vpcctl::plan::op::Object;
use vpcctl::plan::{between, differing_ops, firewall, script, topology};

use states::plain_facts;

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn vpc(name: &str, net: &str) -> VpcSpec {
    VpcSpec { name: name.parse().unwrap(), cidr: cidr(net), host_access: true, wan: None, pool: cidr(DEFAULT_POOL) }
}

fn create(state: &mut State, spec: VpcSpec) {
    create_vpc(state, &spec, &plain_facts()).unwrap();
}

fn subnet(state: &mut State, vpc: &str, name: &str, net: &str, kind: SubnetType) {
    let spec = SubnetSpec { vpc: vpc.parse().unwrap(), name: name.parse().unwrap(), cidr: cidr(net), kind };
    add_subnet(state, &spec).unwrap();
}

fn instance(state: &mut State, vpc: &str, subnet: &str, name: &str) {
    let (vpc, subnet, name) = (vpc.parse().unwrap(), subnet.parse().unwrap(), name.parse().unwrap());
    add_instance(state, &InstanceSpec { vpc, subnet, name, address: None }).unwrap();
}

fn natted(state: &mut State, vpc: &str, subnet: Option<&str>) {
    let subnet = subnet.map(|name| name.parse().unwrap());
    let spec = NatSpec { vpc: vpc.parse().unwrap(), subnet, wan: None, nameservers: vec![], pool: cidr(DEFAULT_POOL) };
    enable_nat(state, &spec, &plain_facts()).unwrap();
}

fn peered(state: &mut State, one: &str, other: &str) {
    peer(state, &vpc_name(one), &vpc_name(other), cidr(DEFAULT_POOL)).unwrap();
}

fn vpc_name(text: &str) -> VpcName {
    text.parse().unwrap()
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn http_only() -> Policy {
    let text = r#"{"ingress": {"default": "deny", "rules": [{"protocol": "tcp", "ports": [80], "action": "allow"}]},
                   "egress": {"default": "allow"}}"#;
    serde_json::from_str(text).unwrap()
}

fn policy(state: &mut State, policy: Policy) {
    let scope = PolicyScope { vpc: vpc_name("vpc1"), subnet: name("public"), instance: None };
    apply_policy(state, &scope, policy).unwrap();
}

/// `vpc1` with a public and a private subnet, without access by the host: what is looked at stays small.
fn vpc1() -> State {
    let mut state = State::default();
    create(&mut state, VpcSpec { host_access: false, ..vpc("vpc1", "10.0.0.0/16") });
    subnet(&mut state, "vpc1", "public", "10.0.1.0/24", SubnetType::Public);
    subnet(&mut state, "vpc1", "private", "10.0.2.0/24", SubnetType::Private);
    state
}

/// `vpc1` and `vpc2`, peered.
fn peers() -> State {
    let mut state = vpc1();
    create(&mut state, VpcSpec { host_access: false, ..vpc("vpc2", "10.1.0.0/16") });
    peered(&mut state, "vpc1", "vpc2");
    state
}

/// What the edit prints under `--dry-run`.
fn lines(mut state: State, edit: impl FnOnce(&mut State)) -> String {
    let old = state.clone();
    edit(&mut state);
    script::script(&between(&old, &state), None)
}

/// The lines of which `part` is true, for edits of which only some are of interest.
fn some_lines(text: &str, part: impl Fn(&str) -> bool) -> String {
    text.lines().filter(|line| part(line)).map(|line| format!("{line}\n")).collect()
}

fn assert_lines(name: &str, text: &str) {
    insta::with_settings!({ snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        insta::assert_snapshot!(name, text);
    });
}

#[test]
fn create_vpc_with_host_access() {
    assert_lines("create-vpc", &lines(State::default(), |state| create(state, vpc("vpc1", "10.0.0.0/16"))));
}

#[test]
fn create_vpc_without_host_access_leaves_the_host_alone() {
    let closed = |state: &mut State| create(state, VpcSpec { host_access: false, ..vpc("vpc1", "10.0.0.0/16") });
    let text = lines(State::default(), closed);
    assert_lines("create-vpc-no-host-access", &text);
    let inside = |line: &str| {
        line.contains(" -n vpc1 ") || line.contains("ip netns exec vpc1 ") || line.contains(" netns vpc1 ")
    };
    let on_host: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#') && !line.is_empty() && !inside(line)).collect();
    assert_eq!(on_host, ["ip netns add vpc1"]);
}

#[test]
fn a_vpc_in_the_hosts_own_network_is_built_like_one_without_host_access() {
    let overlapping = HostNetwork { cidr: cidr("10.0.0.0/8"), origin: "address on eth0".into() };
    let facts = HostFacts { networks: vec![overlapping], ..plain_facts() };
    let text = lines(State::default(), |state| create_vpc(state, &vpc("vpc1", "10.0.0.0/16"), &facts).unwrap());
    let closed = VpcSpec { host_access: false, ..vpc("vpc1", "10.0.0.0/16") };
    assert_eq!(text, lines(State::default(), |state| create(state, closed)));
}

#[test]
fn a_long_name_becomes_prefix_and_hash_with_the_whole_as_altname() {
    let text = lines(State::default(), |state| create(state, vpc("production-frankfurt", "10.0.0.0/16")));
    assert_lines("create-vpc-long-name", &some_lines(&text, |line| line.contains(" link ")));
}

#[test]
fn every_link_has_the_mtu_of_the_way_out() {
    let mut facts = plain_facts();
    let tunnel = HostLink { mtu: 1380, forwarding: false };
    facts.links.insert("eth0".parse().unwrap(), tunnel);
    let mut state = State::default();
    create_vpc(&mut state, &vpc("vpc1", "10.0.0.0/16"), &facts).unwrap();
    subnet(&mut state, "vpc1", "public", "10.0.1.0/24", SubnetType::Public);
    let text = script::script(&between(&State::default(), &state), None);
    assert_lines("mtu", &some_lines(&text, |line| line.contains("link add")));
}

#[test]
fn add_subnets() {
    let mut state = State::default();
    create(&mut state, VpcSpec { host_access: false, ..vpc("vpc1", "10.0.0.0/16") });
    let public = lines(state.clone(), |state| subnet(state, "vpc1", "web", "10.0.1.0/24", SubnetType::Public));
    assert_lines("add-subnet", &public);
    // Without NAT, being public makes no difference yet.
    let private = lines(state, |state| subnet(state, "vpc1", "web", "10.0.1.0/24", SubnetType::Private));
    assert_eq!(private, public);
}

#[test]
fn a_private_subnet_beside_nat_gets_no_way_out() {
    let mut state = vpc1();
    natted(&mut state, "vpc1", None);
    let text = lines(state, |state| subnet(state, "vpc1", "more", "10.0.3.0/24", SubnetType::Private));
    assert!(!text.contains("MASQUERADE") && !text.contains("VPCCTL-FORWARD"), "{text}");
}

#[test]
fn add_instance_to_a_subnet() {
    assert_lines("add-instance", &lines(vpc1(), |state| instance(state, "vpc1", "public", "web")));
}

#[test]
fn a_vpc_larger_than_a_bitmap_has_a_guard_for_each_block_in_use() {
    let mut state = State::default();
    create(&mut state, VpcSpec { host_access: false, ..vpc("big", "10.0.0.0/8") });
    subnet(&mut state, "big", "one", "10.1.1.0/24", SubnetType::Public);
    let text = lines(state, |state| subnet(state, "big", "two", "10.2.1.0/24", SubnetType::Public));
    assert_lines("guards-of-a-large-vpc", &some_lines(&text, |line| line.contains("ipset") || line.contains("-t raw")));
}

#[test]
fn enable_nat_for_all_public_subnets_and_take_it_back() {
    let mut state = vpc1();
    assert_lines("enable-nat", &lines(state.clone(), |state| natted(state, "vpc1", None)));
    natted(&mut state, "vpc1", None);
    assert_lines("disable-nat", &lines(state, |state| disable_nat(state, &vpc_name("vpc1"), None).unwrap()));
}

#[test]
fn enable_nat_for_one_subnet_serves_no_other() {
    let mut state = vpc1();
    subnet(&mut state, "vpc1", "web", "10.0.3.0/24", SubnetType::Public);
    let all = lines(state.clone(), |state| natted(state, "vpc1", None));
    let one = lines(state, |state| natted(state, "vpc1", Some("web")));
    assert!(all.contains("10.0.1.0/24") && all.contains("10.0.3.0/24"), "{all}");
    assert!(!one.contains("10.0.1.0/24") && one.contains("10.0.3.0/24"), "{one}");
    assert!(!all.contains("10.0.2.0/24"), "{all}");
}

#[test]
fn a_second_vpc_with_nat_leaves_the_hosts_rules_as_they_are() {
    let mut state = vpc1();
    natted(&mut state, "vpc1", None);
    create(&mut state, VpcSpec { host_access: false, ..vpc("vpc2", "10.1.0.0/16") });
    subnet(&mut state, "vpc2", "apps", "10.1.1.0/24", SubnetType::Public);
    let text = lines(state, |state| natted(state, "vpc2", None));
    assert_lines("enable-nat-second-vpc", &text);
    assert!(!text.lines().any(|line| line.starts_with("iptables")), "{text}");
}

#[test]
fn from_seventeen_subnets_with_nat_on_a_set_takes_the_place_of_a_rule_for_each() {
    let mut state = many(1, 16);
    let text = lines(state.clone(), |state| subnet(state, "vpc1", "last", "10.1.200.0/24", SubnetType::Public));
    assert_lines("nat-set", &some_lines(&text, |line| line.contains("vpcctl-nat") || line.contains("POSTROUTING")));
    let forward = |state: &State| router_rules(state, "vpc1", "VPCCTL-FORWARD");
    assert_eq!(forward(&state), 36 + 2);
    let mut counts = Vec::new();
    for number in 17..40 {
        subnet(&mut state, "vpc1", &format!("s{number}"), &format!("10.1.{number}.0/24"), SubnetType::Public);
        counts.push(forward(&state));
    }
    assert_eq!(counts, [8; 23]);
}

#[test]
fn peer_and_unpeer() {
    let mut state = peers();
    unpeer(&mut state, &vpc_name("vpc1"), &vpc_name("vpc2")).unwrap();
    assert_lines("peer", &lines(state, |state| peered(state, "vpc2", "vpc1")));
    assert_lines("unpeer", &lines(peers(), |state| unpeer(state, &vpc_name("vpc1"), &vpc_name("vpc2")).unwrap()));
}

#[test]
fn allow_cidr_in_one_direction_and_then_in_the_other() {
    let forth = CidrPair { src: cidr("10.0.1.0/24"), dst: cidr("10.1.1.0/24") };
    let back = CidrPair { src: cidr("10.1.0.0/16"), dst: cidr("10.0.2.2/32") };
    let mut state = peers();
    assert_lines("allow-cidr", &lines(state.clone(), |state| allow_cidr(state, forth, None).unwrap()));
    allow_cidr(&mut state, forth, None).unwrap();
    let text = lines(state, |state| allow_cidr(state, back, None).unwrap());
    assert_lines("allow-cidr-back", &some_lines(&text, |line| line.contains("-A VPCCTL-PEERING")));
}

#[test]
fn apply_replace_and_remove_a_policy() {
    let mut state = vpc1();
    assert_lines("apply-policy", &lines(state.clone(), |state| policy(state, http_only())));
    policy(&mut state, http_only());
    let replaced = lines(state.clone(), |state| policy(state, states::policy(3)));
    let first = replaced.lines().position(|line| line.contains("ipset create")).unwrap();
    let rules = replaced.lines().position(|line| line.contains("iptables")).unwrap();
    assert!(first < rules, "sets have to be there before the rules that name them");
    assert_lines("replace-policy", &some_lines(&replaced, |line| !line.contains("ipset add")));
    policy(&mut state, states::policy(3));
    let scope = PolicyScope { vpc: vpc_name("vpc1"), subnet: name("public"), instance: None };
    assert_lines("remove-policy", &lines(state, |state| remove_policy(state, &scope).unwrap()));
}

#[test]
fn a_policy_of_one_instance_concerns_no_other() {
    let mut state = vpc1();
    instance(&mut state, "vpc1", "public", "web");
    let scope = PolicyScope { vpc: vpc_name("vpc1"), subnet: name("public"), instance: Some(name("web")) };
    let text = lines(state, |state| apply_policy(state, &scope, http_only()).unwrap());
    let elsewhere = text.lines().find(|line| line.contains("ip netns exec") && !line.contains(" vpc1-public-web "));
    assert_eq!(elsewhere, None);
}

#[test]
fn delete_instance_subnet_and_vpc() {
    let mut state = vpc1();
    instance(&mut state, "vpc1", "public", "web");
    natted(&mut state, "vpc1", None);
    let vpc1 = vpc_name("vpc1");
    let (public, web) = (name("public"), name("web"));
    assert_lines("delete-instance", &lines(state.clone(), |s| delete_instance(s, &vpc1, &public, &web).unwrap()));
    assert_lines("delete-subnet", &lines(state.clone(), |s| delete_subnet(s, &vpc1, &public).unwrap()));
    assert_lines("delete-vpc", &lines(state, |s| delete_vpc(s, &vpc1).unwrap()));
}

/// So many VPCs, each with so many public subnets with NAT.
fn many(vpcs: u8, subnets: u8) -> State {
    let mut state = State::default();
    for number in 1..=vpcs {
        let name = format!("vpc{number}");
        create(&mut state, vpc(&name, &format!("10.{number}.0.0/16")));
        for third in 0..subnets {
            subnet(&mut state, &name, &format!("s{third}"), &format!("10.{number}.{third}.0/24"), SubnetType::Public);
        }
        natted(&mut state, &name, None);
    }
    state
}

fn processes(old: &State, new: &State) -> usize {
    batch::steps(&between(old, new)).iter().map(|(_, steps)| steps.processes()).sum()
}

/// The rules of a router's chain.
fn router_rules(state: &State, vpc: &str, chain: &str) -> usize {
    let (name, found) = state.vpcs.get_key_value(&vpc_name(vpc)).unwrap();
    let objects = firewall::router(state, name, found);
    let rules_of = |object: &Object| match object {
        Object::Chain { chain: name, rules, .. } if name == chain => Some(rules.len()),
        _ => None,
    };
    objects.iter().find_map(rules_of).unwrap_or(0)
}

/// The host's rules, jumps included.
fn host_rules(state: &State) -> usize {
    let count = |object: &Object| match object {
        Object::Chain { rules, .. } => rules.len(),
        Object::Jump { .. } => 1,
        _ => 0,
    };
    firewall::host(state).iter().map(count).sum()
}

#[test]
fn a_network_takes_a_few_processes_for_each_namespace() {
    let empty = State::default();
    let mut one = vpc1();
    natted(&mut one, "vpc1", None);
    // The links; the host's rules and addresses; filter, sets, rules, addresses, ports of the router; rules and addresses of each
    // instance.
    assert_eq!(processes(&empty, &one), 1 + 2 + 5 + 2 * 2);
    let ten = many(10, 10);
    assert_eq!(processes(&empty, &ten), 1 + 2 + 10 * 5 + 100 * 2);
    // Deleting ends the uplinks at once, then the namespaces; the host's rules go too.
    assert_eq!(processes(&ten, &empty), 3);
}

#[test]
fn a_command_takes_as_few_processes_in_a_large_network_as_in_a_small_one() {
    let with_more = |state: &State| {
        let mut state = state.clone();
        subnet(&mut state, "vpc1", "more", "10.1.250.0/24", SubnetType::Private);
        state
    };
    for state in [many(1, 1), many(20, 10)] {
        assert_eq!(processes(&state, &with_more(&state)), 6);
    }
}

/// A set needs its namespace alone, so where that is there it is filled beside the call that makes the links.
#[test]
fn sets_wait_for_the_first_links_only_in_new_namespaces() {
    let state = vpc1();
    let mut more = state.clone();
    subnet(&mut more, "vpc1", "more", "10.0.3.0/24", SubnetType::Private);
    let programs = |places: &Places| -> Vec<(String, Vec<Program>)> {
        let in_place = |(place, stages): &(Place, Vec<SideBySide>)| {
            (place.to_string(), stages.iter().flat_map(stage_programs).collect())
        };
        places.iter().map(in_place).collect()
    };
    let steps = batch::making(&between(&state, &more).make);
    let first = [("host".to_owned(), vec![Program::Ip]), ("vpc1".to_owned(), vec![Program::Ipset])];
    assert_eq!(programs(&steps.first), first);
    assert!(!programs(&steps.places).iter().any(|(_, programs)| programs.contains(&Program::Ipset)), "{steps:?}");
    let with_vpc2 = {
        let mut state = more.clone();
        create(&mut state, vpc("vpc2", "10.1.0.0/16"));
        state
    };
    let steps = batch::making(&between(&state, &with_vpc2).make);
    assert_eq!(programs(&steps.first), first);
    let stages = |name: &str| {
        let (_, stages) = steps.places.iter().find(|(place, _)| place.to_string() == name).unwrap();
        stages.iter().map(stage_programs).collect::<Vec<_>>()
    };
    assert_eq!(stages("vpc2")[..2], [vec![Program::Ipset], vec![Program::IptablesRestore, Program::Tc]]);
    // Without links there is nothing to be beside.
    let rule =
        |n: u16| json!({"protocol": "tcp", "peer": format!("10.9.{n}.0/24"), "ports": [1000 + n], "action": "allow"});
    let rules: Vec<_> = (0..200).map(rule).collect();
    let mut guarded = state.clone();
    let ingress = json!({"default": "deny", "rules": rules});
    policy(&mut guarded, serde_json::from_value(json!({"ingress": ingress, "egress": {"default": "allow"}})).unwrap());
    let steps = batch::making(&between(&state, &guarded).make);
    assert_eq!(programs(&steps.first), []);
    assert_eq!(programs(&steps.places)[0].1[..2], [Program::Ipset, Program::IptablesRestore]);
}

fn stage_programs(stage: &SideBySide) -> Vec<Program> {
    let calls = stage.lists().iter().flatten();
    calls.filter_map(|step| if let Step::Run(call) = step { Some(call.program) } else { None }).collect()
}

/// Whatever runs side by side: no link of a place is up before its rules and filters stand, and the host's rules go when its links have.
#[test]
fn links_come_after_the_rules_around_them_and_go_before() {
    let mut ops = topology::ops(&many(2, 2));
    let is_link = |program: &Program| matches!(program, Program::Ip | Program::Bridge);
    for (place, stages) in batch::making(&ops).places {
        let all: Vec<Program> = stages.iter().flat_map(stage_programs).collect();
        let links = all.iter().position(is_link).unwrap();
        assert!(all[links..].iter().all(is_link), "{place}: {all:?}");
        for stage in stages.iter().filter(|stage| stage_programs(stage).iter().any(is_link)) {
            let beside = stage.lists().iter().filter(|list| list.iter().all(|step| !matches!(step, Step::Files(_))));
            assert_eq!(beside.count(), 1, "{place}: {stage:?}");
        }
    }
    let has_files_beside =
        |stage: &SideBySide| matches!(stage.lists(), [_, files] if matches!(files[..], [Step::Files(_)]));
    assert!(batch::making(&ops).places.iter().any(|(_, stages)| stages.iter().any(has_files_beside)));
    ops.reverse();
    let steps = batch::unmaking(&ops);
    let (_, on_host) = steps.places.iter().find(|(place, _)| *place == Place::Host).unwrap();
    assert_eq!(on_host.iter().flat_map(stage_programs).collect::<Vec<_>>(), [Program::Ip]);
    assert_eq!(stage_programs(&steps.last), [Program::IptablesRestore, Program::Ip]);
    assert_eq!((steps.last.lists().len(), steps.doomed.len()), (2, 6));
}

#[test]
fn the_hosts_rules_are_as_many_for_fifty_vpcs_as_for_one() {
    assert_eq!(host_rules(&many(1, 1)), 12);
    assert_eq!(host_rules(&many(50, 1)), 12);
}

#[test]
fn an_edit_makes_no_object_of_another_vpc() {
    let state = many(10, 3);
    let mut more = state.clone();
    instance(&mut more, "vpc4", "s1", "web");
    let plan = between(&state, &more);
    assert!(plan.make.iter().all(|op| op.owner.to_string() == "vpc4/s1/web"), "{plan:?}");
    assert_eq!(topology::ops(&more).len() - topology::ops(&state).len(), plan.make.len());
}

/// A thousandth subnet of a VPC costs no more than the second: of its neighbours nothing is computed but what the router has.
#[test]
fn a_subnet_more_takes_as_many_objects_next_to_two_hundred_as_next_to_one() {
    let with_private = |subnets: u8| {
        let mut state = State::default();
        create(&mut state, vpc("vpc1", "10.1.0.0/16"));
        for third in 0..subnets {
            subnet(&mut state, "vpc1", &format!("s{third}"), &format!("10.1.{third}.0/24"), SubnetType::Private);
        }
        state
    };
    let computed = |subnets: u8| {
        let (state, more) = (with_private(subnets), with_private(subnets + 1));
        differing_ops(&state, &more).len() + differing_ops(&more, &state).len()
    };
    assert_eq!(computed(200), computed(1));
}
