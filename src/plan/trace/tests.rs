//! Packets through a small network: where they end, why, and what opens the way.

use std::net::Ipv4Addr;

use super::answer::{Model, Question, Verdict};
use super::fix::{Fix, opening};
use super::net::{Address, Net};
use super::reading::Target;
use super::walk::Stop;
use crate::model::edit::{self, InstanceSpec, NatSpec, PolicyScope, SubnetSpec, VpcSpec};
use crate::model::facts::{HostFacts, HostLink};
use crate::model::kernel_names as names;
use crate::model::policy::{Policy, Traffic};
use crate::model::state::{CidrPair, State, SubnetType};
use crate::plan::line::Place;
use crate::plan::trace::cause::{Role, cause};

const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

fn host() -> Net {
    Net::plain("eth0", Ipv4Addr::new(198, 51, 100, 10), Ipv4Addr::new(198, 51, 100, 1))
}

fn facts() -> HostFacts {
    let wan = "eth0".parse().ok();
    let link = HostLink { mtu: 1500, forwarding: false };
    HostFacts {
        links: wan.clone().map(|wan| (wan, link)).into_iter().collect(),
        default_wan: wan,
        ..HostFacts::default()
    }
}

/// VPCs `a` with subnets `web` (public) and `db`, and `b` with `app`; `c` shares `b`'s addresses, and `d` has no host access.
fn state() -> State {
    let mut state = State::default();
    let pool = edit::DEFAULT_POOL.parse().unwrap();
    for (name, net, host_access) in
        [("a", "10.0", true), ("b", "10.1", true), ("c", "10.1", true), ("d", "10.3", false)]
    {
        let (name, cidr) = (name.parse().unwrap(), format!("{net}.0.0/16").parse().unwrap());
        edit::create_vpc(&mut state, &VpcSpec { name, cidr, host_access, wan: None, pool }, &facts()).unwrap();
    }
    let subnets = [
        ("a", "web", "10.0.1.0/24", SubnetType::Public),
        ("a", "db", "10.0.2.0/24", SubnetType::Private),
        ("b", "app", "10.1.1.0/24", SubnetType::Public),
        ("c", "app", "10.1.1.0/24", SubnetType::Public),
        ("d", "app", "10.3.1.0/24", SubnetType::Public),
    ];
    for (vpc, name, cidr, kind) in subnets {
        let spec =
            SubnetSpec { vpc: vpc.parse().unwrap(), name: name.parse().unwrap(), cidr: cidr.parse().unwrap(), kind };
        edit::add_subnet(&mut state, &spec).unwrap();
    }
    let spec = InstanceSpec { vpc: name("a"), subnet: name("web"), name: name("two"), address: None };
    edit::add_instance(&mut state, &spec).unwrap();
    state
}

fn name<T: std::str::FromStr<Err: std::fmt::Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

fn put_policy(state: &mut State, subnet: &str, text: &str) {
    let policy: Policy = serde_json::from_str(text).unwrap();
    edit::apply_policy(state, &PolicyScope { vpc: name("a"), subnet: name(subnet), instance: None }, policy).unwrap();
}

fn question(from: &str, to: &str, traffic: Traffic) -> Question {
    Question { from: name(from), to: name(to), traffic, internet: INTERNET }
}

/// What stops it and what opens it, or that it is open.
fn told(state: &State, from: &str, to: &str, traffic: Traffic) -> (String, Vec<String>) {
    let model = Model::new(state, &host()).unwrap();
    let question = question(from, to, traffic);
    let answer = model.ask(&question);
    if answer.verdict.is_reached() {
        return ("open".into(), vec![]);
    }
    let cause = cause(&model, &question, &answer);
    let fixes = opening(state, &host(), &facts(), &question, &cause);
    (cause.why, fixes.iter().map(Fix::to_string).collect())
}

#[test]
fn every_decision_on_the_way_is_noted_forth_and_back() {
    let mut state = state();
    put_policy(
        &mut state,
        "db",
        r#"{"ingress": {"default": "deny", "rules": [{"protocol": "tcp", "ports": [5432], "action": "allow"}]},
            "egress": {"default": "deny"}}"#,
    );
    let model = Model::new(&state, &host()).unwrap();
    let answer = model.ask(&question("a/web", "a/db", Traffic::Tcp(5432)));
    assert_eq!(answer.verdict, Verdict::Reached);
    let lines: Vec<String> = answer
        .forth
        .iter()
        .chain(&answer.back)
        .map(|step| format!("{}: {:?}: {}", Role::of(&state, &step.place), step.stage, step.detail))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    a/web: Route: default via 10.0.1.1 dev eth0
    a/web: Output: no rule is against it
    router of a: Guard: an instance with its own address and MAC
    router of a: Route: 10.0.2.2/32 dev br-a
    router of a: Forward: within the VPC
    a/db: Input: ingress[0] allow
    a/db: Route: default via 10.0.2.1 dev eth0
    a/db: Output: allowed by this policy before
    router of a: Guard: an instance with its own address and MAC
    router of a: Route: 10.0.1.2/32 dev br-a
    router of a: Forward: within the VPC
    a/web: Input: no rule is against it
    ");
}

#[test]
fn what_leaves_the_machine_is_translated_twice_and_its_answer_back() {
    let mut state = state();
    let pool = edit::DEFAULT_POOL.parse().unwrap();
    let spec = NatSpec { vpc: name("a"), subnet: None, wan: None, nameservers: vec![], pool };
    edit::enable_nat(&mut state, &spec, &facts()).unwrap();
    let model = Model::new(&state, &host()).unwrap();
    let answer = model.ask(&question("a/web", "internet", Traffic::Udp(53)));
    assert_eq!(answer.verdict, Verdict::Left("eth0".into()));
    let translations =
        |steps: &[super::walk::Step]| steps.iter().filter(|step| step.detail.contains(" becomes ")).count();
    assert_eq!((translations(&answer.forth), translations(&answer.back)), (2, 2));
    assert_eq!(told(&state, "a/web", "169.254.169.254", Traffic::Tcp(80)).1, [""; 0]);
    // The host may use what a private subnet may not.
    assert_eq!(told(&state, "host", "internet", Traffic::Icmp).0, "open");
}

#[test]
fn what_stops_a_packet_is_named_and_what_opens_it_does() {
    let mut state = state();
    put_policy(
        &mut state,
        "db",
        r#"{"ingress": {"default": "deny", "rules": [
              {"protocol": "tcp", "ports": [22], "action": "reject", "description": "no shells"}]},
            "egress": {"default": "allow", "rules": [{"protocol": "udp", "action": "deny", "peer": "10.0.1.0/24"}]}}"#,
    );
    let mut lines = Vec::new();
    for (from, to, traffic) in [
        ("a/web", "a/db", Traffic::Tcp(22)),
        ("a/web", "a/db", Traffic::Icmp),
        ("a/db", "a/web/two", Traffic::Udp(53)),
        ("a/web", "b/app", Traffic::Tcp(80)),
        ("b/app", "a/db", Traffic::Tcp(80)),
        ("b/app", "c/app", Traffic::Tcp(80)),
        ("a/web", "internet", Traffic::Tcp(443)),
        ("a/db", "internet", Traffic::Tcp(443)),
        ("a/web", "host", Traffic::Tcp(22)),
        ("host", "d/app", Traffic::Tcp(22)),
        ("internet", "a/web", Traffic::Tcp(80)),
        ("a/web", "10.0.9.9", Traffic::Tcp(80)),
        ("a/web", "10.1.1.2", Traffic::Tcp(80)),
        ("a/web", "10.0.1.1", Traffic::Tcp(80)),
    ] {
        let (why, fixes) = told(&state, from, to, traffic);
        lines.push(format!("{from} to {to}: {why}"));
        lines.extend(fixes.iter().map(|fix| format!("    {fix}")));
    }
    insta::assert_snapshot!(lines.join("\n"), @r#"
    a/web to a/db: ingress[0] of the policy of a/db: reject tcp 22 from anywhere (no shells)
        vpcctl apply-policy a/db FILE, once FILE has {"action":"allow","port":22,"protocol":"tcp","source":"10.0.1.2/32"} before ingress[0]
    a/web to a/db: the ingress default of the policy of a/db: deny
        vpcctl apply-policy a/db FILE, once FILE has {"action":"allow","protocol":"icmp","source":"10.0.1.2/32"} in ingress
    a/db to a/web/two: egress[0] of the policy of a/db: deny udp to 10.0.1.0/24
        vpcctl apply-policy a/db FILE, once FILE has {"action":"allow","destination":"10.0.1.3/32","port":53,"protocol":"udp"} before egress[0]
    a/web to b/app: a and b are not peered
        vpcctl peer a b
    b/app to a/db: b and a are not peered
        vpcctl peer b a
        vpcctl apply-policy a/db FILE, once FILE has {"action":"allow","port":80,"protocol":"tcp","source":"10.1.1.2/32"} in ingress
    b/app to c/app: there, 10.1.1.2 is an address of VPC b
    a/web to internet: a has no NAT
        vpcctl enable-nat a
    a/db to internet: a/db is private: it never reaches the internet
        vpcctl apply -f FILE, once FILE has `type: public` for subnet a/db
        vpcctl enable-nat a --subnet db
    a/web to host: a VPC opens nothing on the host
    host to d/app: d has no host access
        vpcctl apply -f FILE, once FILE has `host-access: true` for VPC d
    internet to a/web: nobody outside of the host reaches an instance: it publishes no ports
    a/web to 10.0.9.9: nobody in a has the address 10.0.9.9
    a/web to 10.1.1.2: a and b are not peered
        vpcctl peer a b
    a/web to 10.0.1.1: the router of a answers nothing but its own instances' pings of their gateways
    "#);
}

#[test]
fn a_peering_that_lets_some_pass_is_widened_by_what_is_asked_for() {
    let mut state = state();
    edit::peer(&mut state, &name("a"), &name("b"), edit::DEFAULT_POOL.parse().unwrap()).unwrap();
    assert_eq!(told(&state, "a/web", "b/app", Traffic::Tcp(80)).0, "open");
    let pair = CidrPair { src: "10.0.1.3/32".parse().unwrap(), dst: "10.1.1.0/24".parse().unwrap() };
    edit::allow_cidr(&mut state, pair, None).unwrap();
    assert_eq!(told(&state, "a/web/two", "b/app", Traffic::Tcp(80)).0, "open");
    let (why, fixes) = told(&state, "a/web", "b/app", Traffic::Tcp(80));
    assert_eq!(why, "the peering of a and b doesn't let 10.0.1.2 to 10.1.1.2 pass");
    assert_eq!(fixes, ["vpcctl allow-cidr a b --src 10.0.1.2/32 --dst 10.1.1.2/32"]);
    // Nobody may open a connection the other way.
    assert!(told(&state, "b/app", "a/web/two", Traffic::Tcp(80)).0.contains("doesn't let"));
}

#[test]
fn who_sends_from_an_address_is_who_has_it() {
    let state = state();
    let model = Model::new(&state, &host()).unwrap();
    let sender = |text: &str| model.sender(&name(text)).map(|end| end.to_string()).map_err(|failure| failure.message);
    assert_eq!(sender("10.0.1.3"), Ok("a/web/two".into()));
    assert_eq!(sender("198.51.100.10"), Ok("host".into()));
    assert_eq!(sender("192.0.2.7"), Ok("192.0.2.7".into()));
    assert!(sender("10.1.1.2").unwrap_err().contains("b/app, c/app"));
    assert!(sender("10.0.1.1").unwrap_err().contains("a router's"));
}

#[test]
fn where_a_name_and_an_address_part_company_it_is_said() {
    let mut state = state();
    edit::peer(&mut state, &name("a"), &name("b"), edit::DEFAULT_POOL.parse().unwrap()).unwrap();
    let (why, fixes) = told(&state, "a/web", "c/app", Traffic::Tcp(80));
    assert_eq!((why.as_str(), fixes.len()), ("there, 10.1.1.2 is an address of VPC b", 0));
}

#[test]
fn a_thief_is_stopped_at_the_bridge() {
    let state = state();
    let model = Model::new(&state, &host()).unwrap();
    let mut walk = super::walk::Walk::new(&model.machine);
    let (thief, victim) = (Ipv4Addr::new(10, 0, 1, 3), Ipv4Addr::new(10, 0, 2, 2));
    let place = crate::plan::line::Place::Netns(name("a-web"));
    let packet = super::packet::Packet::opening(Traffic::Tcp(80), thief, victim);
    walk.send(&place, packet);
    let step = walk.steps.last().unwrap();
    assert_eq!(step.stop, Some(Stop::Dropped));
    assert_eq!(step.detail, "a stolen address or MAC");
}

#[test]
fn a_policy_is_not_blamed_for_what_a_rule_does_otherwise() {
    let mut state = state();
    put_policy(
        &mut state,
        "db",
        r#"{"ingress": {"default": "deny", "rules": [{"protocol": "tcp", "ports": [80], "action": "allow"}]},
            "egress": {"default": "deny"}}"#,
    );
    let mut model = Model::new(&state, &host()).unwrap();
    let place = Place::Netns(names::instance(&name("a"), &name("db"), None));
    let chains = &mut model.machine.places.get_mut(&place).unwrap().chains;
    let rules = chains.values_mut().flat_map(|chain| &mut chain.rules);
    rules.filter(|rule| rule.purpose.starts_with("ingress[0]")).for_each(|rule| rule.target = Target::Drop);
    let question = question("a/web", "a/db", Traffic::Tcp(80));
    let answer = model.ask(&question);
    assert_eq!(answer.verdict, Verdict::Stopped);
    let told = cause(&model, &question, &answer);
    assert!(told.why.starts_with("rule ") && !told.why.contains("the policy of"), "{told:?}");
    assert_eq!(told.fix, None);
}

#[test]
fn an_answer_that_ends_with_somebody_else_is_none() {
    let state = state();
    let mut model = Model::new(&state, &host()).unwrap();
    let question = question("a/web", "a/db", Traffic::Icmp);
    assert_eq!(model.ask(&question).verdict, Verdict::Reached);
    let stolen = Ipv4Addr::new(10, 0, 1, 2);
    let router = model.machine.places.get_mut(&Place::Netns(names::router(&name("a")))).unwrap();
    let thief = router.neighbours[&("br-a".to_owned(), Ipv4Addr::new(10, 0, 1, 3))].clone();
    router.neighbours.insert(("br-a".to_owned(), stolen), thief);
    let two: crate::model::name::Name = name("two");
    let place = Place::Netns(names::instance(&name("a"), &name("web"), Some(&two)));
    let address = Address { device: "eth0".into(), address: stolen, prefix: 24, routed: true };
    model.machine.places.get_mut(&place).unwrap().addresses.push(address);
    assert_eq!(model.ask(&question).verdict, Verdict::Misled(format!("the answer ends in {place}")));
}

#[test]
fn translation_takes_the_address_beside_the_next_hop() {
    let mut state = state();
    let pool = edit::DEFAULT_POOL.parse().unwrap();
    let spec = NatSpec { vpc: name("a"), subnet: None, wan: None, nameservers: vec![], pool };
    edit::enable_nat(&mut state, &spec, &facts()).unwrap();
    let mut host = host();
    let other = Address { device: "eth0".into(), address: Ipv4Addr::new(192, 0, 2, 9), prefix: 24, routed: true };
    host.addresses.insert(0, other);
    let answer = Model::new(&state, &host).unwrap().ask(&question("a/web", "internet", Traffic::Icmp));
    let told: Vec<&str> = answer.forth.iter().map(|step| step.detail.as_str()).collect();
    assert!(told.last().unwrap().ends_with(" becomes 198.51.100.10"), "{told:?}");
}
