//! What an edit refuses, in the words that the operator sees; and that the same edit twice changes nothing.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/states.rs"]
#[allow(dead_code, reason = "the fixed session is for other tests")]
mod states;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use vpcctl::error::{Failure, Kind, Result};
use vpcctl::model::cidr::Cidr;
use vpcctl::model::edit::{
    DEFAULT_POOL, InstanceSpec, NatSpec, PolicyScope, SubnetSpec, VpcSpec, add_instance, add_subnet, allow_cidr,
    apply_policy, create_vpc, delete_instance, delete_subnet, delete_vpc, disable_nat, enable_nat, peer, remove_policy,
    unpeer,
};
use vpcctl::model::facts::{HostFacts, HostNetwork};
use vpcctl::model::state::{CidrPair, HostAccess, NatScope, PeeringScope, State, SubnetType};

use states::{edits, history, plain_facts, policy};

fn cidr(text: &str) -> Cidr {
    text.parse().unwrap()
}

fn vpc(name: &str, net: &str) -> VpcSpec {
    VpcSpec { name: name.parse().unwrap(), cidr: cidr(net), host_access: true, wan: None, pool: cidr(DEFAULT_POOL) }
}

fn subnet(vpc: &str, name: &str, net: &str, kind: SubnetType) -> SubnetSpec {
    SubnetSpec { vpc: vpc.parse().unwrap(), name: name.parse().unwrap(), cidr: cidr(net), kind }
}

fn instance(vpc: &str, subnet: &str, name: &str, address: Option<&str>) -> InstanceSpec {
    let address = address.map(|text| text.parse().unwrap());
    InstanceSpec { vpc: vpc.parse().unwrap(), subnet: subnet.parse().unwrap(), name: name.parse().unwrap(), address }
}

fn nat(vpc: &str, subnet: Option<&str>, wan: Option<&str>) -> NatSpec {
    NatSpec {
        vpc: vpc.parse().unwrap(),
        subnet: subnet.map(|name| name.parse().unwrap()),
        wan: wan.map(|name| name.parse().unwrap()),
        nameservers: vec![],
        pool: cidr(DEFAULT_POOL),
    }
}

fn peered(state: &mut State, one: &str, other: &str) -> Result<()> {
    peer(state, &one.parse().unwrap(), &other.parse().unwrap(), cidr(DEFAULT_POOL))
}

/// `vpc1` with a public and a private subnet, `vpc2` with one subnet, and `vpc3` in the addresses of `vpc2`.
fn network() -> State {
    let (mut state, facts) = (State::default(), plain_facts());
    for (name, net) in [("vpc1", "10.0.0.0/16"), ("vpc2", "10.1.0.0/16"), ("vpc3", "10.1.0.0/16")] {
        create_vpc(&mut state, &vpc(name, net), &facts).unwrap();
    }
    add_subnet(&mut state, &subnet("vpc1", "public", "10.0.1.0/24", SubnetType::Public)).unwrap();
    add_subnet(&mut state, &subnet("vpc1", "private", "10.0.2.0/24", SubnetType::Private)).unwrap();
    add_subnet(&mut state, &subnet("vpc2", "apps", "10.1.1.0/24", SubnetType::Public)).unwrap();
    state
}

/// The refusal as the operator reads it: kind, message, hint.
fn refusal(edit: impl FnOnce(&mut State) -> Result<()>) -> String {
    let mut state = network();
    let Failure { kind, message, hint } = edit(&mut state).expect_err("it should be refused");
    format!("{kind:?}: {message}\nhint: {}", hint.as_deref().unwrap_or("none"))
}

fn refused(edit: impl FnOnce(&mut State) -> Result<()>, kind: Kind, message: &str, hint: &str) {
    assert_eq!(refusal(edit), format!("{kind:?}: {message}\nhint: {hint}"));
}

/// The edit changes the state, and the same edit once more doesn't.
fn same_twice(edit: impl Fn(&mut State) -> Result<()>) -> State {
    let mut once = network();
    edit(&mut once).unwrap();
    assert_ne!(once, network(), "the edit does nothing");
    let mut twice = once.clone();
    edit(&mut twice).unwrap();
    assert_eq!(once, twice);
    once
}

#[test]
fn a_vpc_where_none_can_be_is_refused() {
    let cases = [
        ("0.0.0.0/8", "0.0.0.0/8 is \"this network\""),
        ("127.0.0.0/16", "127.0.0.0/8 is loopback"),
        ("169.254.0.0/20", "169.254.0.0/16 is link-local, and holds the metadata services of clouds"),
        ("224.0.0.0/8", "224.0.0.0/4 is multicast"),
        ("255.255.255.0/24", "240.0.0.0/4 is reserved"),
    ];
    let hint = "use a private range: 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16";
    for (net, why) in cases {
        let edit = |state: &mut State| create_vpc(state, &vpc("new", net), &plain_facts());
        refused(edit, Kind::Usage, &format!("{net} can't be a VPC's CIDR: {why}"), hint);
    }
}

#[test]
fn a_vpc_of_an_odd_size_is_refused() {
    for net in ["0.0.0.0/0", "10.0.0.0/7", "10.0.0.0/31", "10.0.0.1/32"] {
        let edit = |state: &mut State| create_vpc(state, &vpc("new", net), &plain_facts());
        let message = format!("{net} can't be a VPC's CIDR: its prefix length is not /8 to /30");
        // /7 has an even first octet: it is a network, only too large.
        refused(edit, Kind::Usage, &message, "10.0.0.0/16 is a usual size");
    }
}

#[test]
fn a_vpc_that_exists_with_other_arguments_is_a_conflict() {
    let facts = plain_facts();
    let hint = "`vpcctl delete-vpc vpc1` removes it, or choose another name";
    let other_cidr = |state: &mut State| create_vpc(state, &vpc("vpc1", "10.9.0.0/16"), &facts);
    refused(other_cidr, Kind::Conflict, "VPC `vpc1` exists with the CIDR 10.0.0.0/16", hint);
    let closed = VpcSpec { host_access: false, ..vpc("vpc1", "10.0.0.0/16") };
    refused(|state| create_vpc(state, &closed, &facts), Kind::Conflict, "VPC `vpc1` exists with host access", hint);
    // An interface that it has not chosen yet is no contradiction, as long as NAT goes by no other.
    let by = |wan: &str| VpcSpec { wan: Some(wan.parse().unwrap()), ..vpc("vpc1", "10.0.0.0/16") };
    let mut chosen = network();
    create_vpc(&mut chosen, &by("eth1"), &facts).unwrap();
    assert_eq!(chosen.vpcs[&"vpc1".parse().unwrap()].wan.as_ref().map(|wan| wan.as_str()), Some("eth1"));
    let other = chosen.clone();
    let again = |_: &mut State| create_vpc(&mut other.clone(), &by("eth0"), &facts);
    refused(again, Kind::Conflict, "VPC `vpc1` exists with the interface eth1", hint);
}

#[test]
fn a_vpc_in_the_hosts_own_network_works_without_host_access() {
    let mut state = State::default();
    let facts = plain_facts();
    create_vpc(&mut state, &vpc("over", "198.51.100.0/26"), &facts).unwrap();
    let over = &state.vpcs[&"over".parse().unwrap()];
    assert_eq!(over.host_access, HostAccess::Overlaps("198.51.100.0/24 (address on eth0)".into()));
    assert_eq!(over.uplink, None);
    let state = network();
    let third = &state.vpcs[&"vpc3".parse().unwrap()];
    assert_eq!(third.host_access, HostAccess::Overlaps("10.1.0.0/16 (VPC vpc2)".into()));
}

#[test]
fn an_interface_that_the_host_lacks_is_named_with_those_it_has() {
    let message = "the host has no interface `wlan0`";
    let hint = "it has these: eth0, eth1";
    let spec = VpcSpec { wan: Some("wlan0".parse().unwrap()), ..vpc("new", "10.9.0.0/16") };
    refused(|state| create_vpc(state, &spec, &plain_facts()), Kind::Host, message, hint);
    refused(|state| enable_nat(state, &nat("vpc1", None, Some("wlan0")), &plain_facts()), Kind::Host, message, hint);
    let lost = HostFacts { default_wan: None, ..plain_facts() };
    refused(
        |state| enable_nat(state, &nat("vpc1", None, None), &lost),
        Kind::Host,
        "the host has no default route, so its way to the internet can't be found",
        "name the interface: --interface eth0",
    );
}

#[test]
fn a_subnet_that_does_not_fit_is_refused() {
    let private = |name: &str, net: &str| subnet("vpc1", name, net, SubnetType::Private);
    refused(
        |state| add_subnet(state, &private("web", "10.9.0.0/24")),
        Kind::Usage,
        "cannot add subnet `web`: 10.9.0.0/24 is outside of vpc1's 10.0.0.0/16",
        "10.0.0.0/24 would be inside",
    );
    refused(
        |state| add_subnet(state, &private("web", "10.0.0.0/15")),
        Kind::Usage,
        "cannot add subnet `web`: 10.0.0.0/15 is outside of vpc1's 10.0.0.0/16",
        "10.0.0.0/24 would be inside",
    );
    refused(
        |state| add_subnet(state, &private("web", "10.0.0.0/17")),
        Kind::Conflict,
        "cannot add subnet `web`: 10.0.0.0/17 overlaps vpc1/private's 10.0.2.0/24",
        "`vpcctl inspect vpc1` shows what is taken",
    );
    for (net, room) in [("10.0.9.0/31", true), ("10.0.9.1/32", true), ("10.0.9.0/30", false)] {
        let result = add_subnet(&mut network(), &private("web", net));
        assert_eq!(
            result.is_err_and(|failure| failure.message.ends_with("no room for a gateway and an instance")),
            room
        );
    }
}

#[test]
fn a_subnet_that_exists_with_other_arguments_is_a_conflict() {
    let hint = "`vpcctl delete-subnet vpc1/public` removes it, or choose another name";
    let message = "subnet `vpc1/public` exists as public 10.0.1.0/24";
    for (net, kind) in [("10.0.3.0/24", SubnetType::Public), ("10.0.1.0/24", SubnetType::Private)] {
        refused(|state| add_subnet(state, &subnet("vpc1", "public", net, kind)), Kind::Conflict, message, hint);
    }
}

#[test]
fn what_does_not_exist_is_named_with_what_does() {
    let name = |text: &str| text.parse().unwrap();
    let vpcs = "there are these VPCs: vpc1, vpc2, vpc3";
    let subnets = "there are these subnets: private, public";
    let missing = "VPC `vpc9` does not exist";
    refused(|state| delete_vpc(state, &name("vpc9")), Kind::NotFound, missing, vpcs);
    refused(|state| peered(state, "vpc1", "vpc9"), Kind::NotFound, missing, vpcs);
    refused(|state| disable_nat(state, &name("vpc9"), None), Kind::NotFound, missing, vpcs);
    let no_subnet = "subnet `vpc1/web` does not exist";
    let web = "web".parse().unwrap();
    refused(|state| delete_subnet(state, &name("vpc1"), &web), Kind::NotFound, no_subnet, subnets);
    refused(|state| disable_nat(state, &name("vpc1"), Some(&web)), Kind::NotFound, no_subnet, subnets);
    let scope = PolicyScope { vpc: name("vpc1"), subnet: web.clone(), instance: None };
    refused(|state| apply_policy(state, &scope, policy(0)), Kind::NotFound, no_subnet, subnets);
    let public = "public".parse().unwrap();
    refused(
        |state| delete_instance(state, &name("vpc1"), &public, &web),
        Kind::NotFound,
        "instance `vpc1/public/web` does not exist",
        "there are no further instances yet: `vpcctl help add-instance` tells how to make one",
    );
}

#[test]
fn an_address_that_an_instance_cannot_have_is_refused() {
    let cases = [
        ("10.0.2.9", Kind::Usage, "is outside of vpc1/public's 10.0.1.0/24"),
        ("10.0.1.0", Kind::Usage, "is the network's own or its broadcast address"),
        ("10.0.1.255", Kind::Usage, "is the network's own or its broadcast address"),
        ("10.0.1.1", Kind::Conflict, "is the gateway's"),
        ("10.0.1.2", Kind::Conflict, "is the subnet's first instance's"),
        ("10.0.1.7", Kind::Conflict, "is taken by `db`"),
    ];
    for (address, kind, why) in cases {
        let edit = |state: &mut State| {
            add_instance(state, &instance("vpc1", "public", "db", Some("10.0.1.7")))?;
            add_instance(state, &instance("vpc1", "public", "web", Some(address)))
        };
        refused(
            edit,
            kind,
            &format!("cannot add instance `web`: {address} {why}"),
            "leave --address out, and it gets the lowest free one",
        );
    }
}

#[test]
fn instances_take_the_lowest_free_address_until_none_is_left() {
    let mut state = network();
    add_subnet(&mut state, &subnet("vpc1", "small", "10.0.3.0/29", SubnetType::Private)).unwrap();
    for name in ["a", "b", "c", "d"] {
        add_instance(&mut state, &instance("vpc1", "small", name, None)).unwrap();
    }
    delete_instance(&mut state, &"vpc1".parse().unwrap(), &"small".parse().unwrap(), &"b".parse().unwrap()).unwrap();
    add_instance(&mut state, &instance("vpc1", "small", "e", None)).unwrap();
    let small = state.subnet(&"vpc1".parse().unwrap(), &"small".parse().unwrap()).unwrap();
    let found: Vec<String> = small.instances.iter().map(|(name, i)| format!("{name} {}", i.address)).collect();
    assert_eq!(found, ["a 10.0.3.3", "c 10.0.3.5", "d 10.0.3.6", "e 10.0.3.4"]);
    let full = add_instance(&mut state, &instance("vpc1", "small", "f", None)).unwrap_err();
    assert_eq!(full.message, "cannot add instance `f`: 10.0.3.0/29 has no free address");
    assert_eq!(full.kind, Kind::Conflict);
}

#[test]
fn names_that_would_be_one_in_the_kernel_are_refused_with_both_owners() {
    let hint = "choose another name for the new one";
    let message =
        "subnet `vpc1/public-web` and instance `vpc1/public/web` would both have the namespace vpc1-public-web";
    let swapped =
        "instance `vpc1/public/web` and subnet `vpc1/public-web` would both have the namespace vpc1-public-web";
    let as_instance = |state: &mut State| {
        add_subnet(state, &subnet("vpc1", "public-web", "10.0.3.0/24", SubnetType::Public))?;
        add_instance(state, &instance("vpc1", "public", "web", None))
    };
    let text = refusal(as_instance);
    assert!([message, swapped].iter().any(|m| text == format!("Conflict: {m}\nhint: {hint}")), "{text}");
    let as_vpc = |state: &mut State| create_vpc(state, &vpc("vpc1-public", "10.9.0.0/16"), &plain_facts());
    refused(
        as_vpc,
        Kind::Conflict,
        "subnet `vpc1/public` and VPC `vpc1-public` would both have the namespace vpc1-public",
        hint,
    );
}

#[test]
fn a_private_subnet_gets_no_nat_and_a_second_way_out_is_a_conflict() {
    refused(
        |state| enable_nat(state, &nat("vpc1", Some("private"), None), &plain_facts()),
        Kind::Conflict,
        "subnet `vpc1/private` is private: it gets no internet access",
        "make the subnet with `--type public`, or choose a public one",
    );
    let two_ways = |state: &mut State| {
        enable_nat(state, &nat("vpc1", None, None), &plain_facts())?;
        enable_nat(state, &nat("vpc1", None, Some("eth1")), &plain_facts())
    };
    refused(
        two_ways,
        Kind::Conflict,
        "VPC `vpc1` leaves by the interface eth0 already",
        "`vpcctl disable-nat vpc1` first",
    );
}

#[test]
fn vpcs_that_share_addresses_cannot_be_peers() {
    refused(
        |state| peered(state, "vpc3", "vpc2"),
        Kind::Conflict,
        "cannot peer `vpc2` and `vpc3`: 10.1.0.0/16 and 10.1.0.0/16 overlap",
        "peered VPCs need addresses of their own",
    );
    let two_alike = |state: &mut State| {
        peered(state, "vpc1", "vpc2")?;
        peered(state, "vpc1", "vpc3")
    };
    refused(
        two_alike,
        Kind::Conflict,
        "cannot peer `vpc1` and `vpc3`: 10.1.0.0/16 overlaps 10.1.0.0/16 of `vpc2`, a peer of `vpc1`",
        "`vpcctl unpeer vpc1 vpc2` first",
    );
    refused(|state| peered(state, "vpc1", "vpc1"), Kind::Usage, "cannot peer `vpc1` with itself", "name two VPCs");
    let never = |state: &mut State| unpeer(state, &"vpc2".parse().unwrap(), &"vpc1".parse().unwrap());
    refused(never, Kind::NotFound, "`vpc1` and `vpc2` are not peered", "`vpcctl list` shows the peerings");
}

#[test]
fn allow_cidr_needs_one_peering_that_owns_both_networks() {
    let pair = CidrPair { src: cidr("10.0.1.0/24"), dst: cidr("10.1.1.0/24") };
    refused(
        |state| allow_cidr(state, pair, None),
        Kind::NotFound,
        "no peering connects the VPCs that own 10.0.1.0/24 and 10.1.1.0/24",
        "`vpcctl peer VPC1 VPC2` first; `vpcctl list` shows the CIDRs",
    );
    let state = same_twice(|state| {
        peered(state, "vpc2", "vpc1")?;
        allow_cidr(state, pair, None)
    });
    assert_eq!(state.peerings[0].scope, PeeringScope::Only([pair].into()));
}

#[test]
fn the_same_edit_twice_changes_nothing() {
    let facts = plain_facts();
    let (one, other) = ("vpc1".parse().unwrap(), "vpc2".parse().unwrap());
    same_twice(|state| create_vpc(state, &vpc("new", "10.9.0.0/16"), &facts));
    same_twice(|state| add_subnet(state, &subnet("vpc1", "web", "10.0.3.0/24", SubnetType::Public)));
    same_twice(|state| add_instance(state, &instance("vpc1", "public", "web", None)));
    same_twice(|state| add_instance(state, &instance("vpc1", "public", "web", Some("10.0.1.9"))));
    same_twice(|state| enable_nat(state, &nat("vpc1", None, None), &facts));
    same_twice(|state| enable_nat(state, &nat("vpc1", Some("public"), None), &facts));
    same_twice(|state| peer(state, &other, &one, cidr(DEFAULT_POOL)));
    let scope = PolicyScope { vpc: one, subnet: "public".parse().unwrap(), instance: None };
    same_twice(|state| apply_policy(state, &scope, policy(0)));
    let mut state = network();
    apply_policy(&mut state, &scope, policy(0)).unwrap();
    for _ in 0..2 {
        remove_policy(&mut state, &scope).unwrap();
        assert_eq!(state, network());
    }
}

#[test]
fn taking_back_leaves_what_was_before() {
    let (one, other) = ("vpc1".parse().unwrap(), "vpc2".parse().unwrap());
    let mut state = network();
    enable_nat(&mut state, &nat("vpc1", None, None), &plain_facts()).unwrap();
    peer(&mut state, &one, &other, cidr(DEFAULT_POOL)).unwrap();
    create_vpc(&mut state, &vpc("new", "10.9.0.0/16"), &plain_facts()).unwrap();
    disable_nat(&mut state, &one, None).unwrap();
    unpeer(&mut state, &other, &one).unwrap();
    delete_vpc(&mut state, &"new".parse().unwrap()).unwrap();
    assert_eq!(state, network());
}

#[test]
fn disabling_one_subnets_nat_leaves_the_others() {
    let facts = plain_facts();
    let mut state = network();
    add_subnet(&mut state, &subnet("vpc1", "web", "10.0.3.0/24", SubnetType::Public)).unwrap();
    enable_nat(&mut state, &nat("vpc1", None, None), &facts).unwrap();
    let one = "vpc1".parse().unwrap();
    disable_nat(&mut state, &one, Some(&"web".parse().unwrap())).unwrap();
    let scope = |state: &State| state.vpc(&one).unwrap().nat.as_ref().map(|nat| nat.scope.clone());
    assert_eq!(scope(&state), Some(NatScope::Only(["public".parse().unwrap()].into())));
    disable_nat(&mut state, &one, Some(&"public".parse().unwrap())).unwrap();
    assert_eq!(scope(&state), None);
    assert_eq!(state.host.wans.len(), 0);
}

#[test]
fn uplinks_keep_clear_of_the_hosts_networks_and_of_every_vpc() {
    let mut facts = plain_facts();
    let busy = |net: &str| HostNetwork { cidr: cidr(net), origin: "route on eth1".into() };
    facts.networks.extend([busy("198.19.0.0/24"), busy("198.19.1.16/31")]);
    let mut state = State::default();
    // The first VPC lies in the pool itself.
    create_vpc(&mut state, &vpc("first", "198.19.1.0/28"), &facts).unwrap();
    create_vpc(&mut state, &vpc("second", "10.0.0.0/16"), &facts).unwrap();
    peered(&mut state, "first", "second").unwrap();
    // A peering is not on the host, and so not in its networks' way.
    let links: Vec<String> = state.links().iter().map(|link| link.0.to_string()).collect();
    assert_eq!(links, ["198.19.0.0/31", "198.19.1.18/31", "198.19.1.20/31"]);
}

#[test]
fn disabling_the_nat_of_a_subnet_that_has_none_changes_nothing() {
    let mut state = network();
    let one = "vpc1".parse().unwrap();
    enable_nat(&mut state, &nat("vpc1", None, None), &plain_facts()).unwrap();
    delete_subnet(&mut state, &one, &"public".parse().unwrap()).unwrap();
    let before = state.clone();
    disable_nat(&mut state, &one, Some(&"private".parse().unwrap())).unwrap();
    assert_eq!(state, before);
}

#[test]
fn a_pool_that_is_full_or_no_pool_is_refused() {
    let facts = plain_facts();
    let with_pool = |net: &str| VpcSpec { pool: cidr(net), ..vpc("new", "10.9.0.0/16") };
    let hint = "give another one: --uplink-pool CIDR, or VPCCTL_UPLINK_POOL";
    let full = |state: &mut State| {
        create_vpc(
            state,
            &VpcSpec { name: "last".parse().unwrap(), cidr: cidr("10.8.0.0/16"), ..with_pool("198.18.0.0/31") },
            &facts,
        )?;
        create_vpc(state, &with_pool("198.18.0.0/31"), &facts)
    };
    refused(full, Kind::Host, "no address is free in the uplink pool 198.18.0.0/31", hint);
    for net in ["0.0.0.0/0", "198.18.0.0/32"] {
        refused(
            |state| create_vpc(state, &with_pool(net), &facts),
            Kind::Usage,
            &format!("`{net}` can't be a pool of uplink addresses"),
            "a pool is a /8 to a /31, for instance 198.19.0.0/16",
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 128, rng_seed: RngSeed::Fixed(7), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn a_state_is_read_as_it_was_written(edits in edits(40)) {
        let state = history(&edits, &|_| plain_facts()).pop().unwrap_or_default();
        let text = serde_json::to_string_pretty(&state).unwrap();
        prop_assert_eq!(serde_json::from_str::<State>(&text).unwrap(), state);
    }

    #[test]
    fn a_field_that_nobody_knows_is_refused_wherever_it_stands(edits in edits(40), place in any::<prop::sample::Index>()) {
        let state = history(&edits, &|_| plain_facts()).pop().unwrap_or_default();
        let text = serde_json::to_string(&state).unwrap();
        // A `{` whose first key is a field of a struct, not a name that an operator chose.
        let fields = ["{\"host\"", "{\"wans\"", "{\"index\"", "{\"cidr\"", "{\"link\"", "{\"wan\"", "{\"address\"", "{\"a\":\"", "{\"src\""];
        let all: Vec<usize> = fields.iter().flat_map(|field| text.match_indices(field).map(|(at, _)| at)).collect();
        let at = all[place.index(all.len())];
        let odd = format!("{}{{\"odd\":1,{}", &text[..at], &text[at + 1..]);
        let error = serde_json::from_str::<State>(&odd).expect_err(&odd).to_string();
        prop_assert!(error.starts_with("unknown field `odd`"), "{error}");
    }

    #[test]
    fn a_refused_edit_of_random_states_is_never_a_panic_and_names_what_it_is_about(edits in edits(40)) {
        let mut state = State::default();
        for edit in &edits {
            match edit.after(&state, &plain_facts()) {
                Ok(next) => state = next,
                Err(failure) => {
                    prop_assert!(failure.message.starts_with(|c: char| !c.is_uppercase() || failure.message.starts_with("VPC")));
                    prop_assert!(!failure.message.ends_with('.') && !failure.message.contains('\n'), "{}", failure.message);
                }
            }
        }
    }
}
