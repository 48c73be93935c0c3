//! Random states: made by random edits, of which those that are refused change nothing.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use proptest::prelude::*;
use vpcctl::error::Result;
use vpcctl::model::app::{App, Port};
use vpcctl::model::cidr::Cidr;
use vpcctl::model::edit::{self, InstanceSpec, NatSpec, PolicyScope, SubnetSpec, VpcSpec};
use vpcctl::model::facts::{FirewallFacts, HostFacts, HostLink, HostNetwork};
use vpcctl::model::name::{IfName, Name, VpcName};
use vpcctl::model::owner::Target;
use vpcctl::model::policy::Policy;
use vpcctl::model::state::{CidrPair, State, SubnetType};

/// Names short, long, alike in their first fifteen characters, and keywords to `ip`.
const VPCS: [(&str, &str); 7] = [
    ("a", "10.0.0.0/16"),
    ("b", "10.1.0.0/16"),
    ("c", "10.1.0.0/16"),
    ("production-frankfurt", "172.16.0.0/20"),
    ("production-frankfort", "10.64.0.0/10"),
    ("up", "192.168.7.0/30"),
    ("a-web", "192.0.0.0/9"),
];

const SUBNETS: [&str; 5] = ["web", "db", "uplink", "peer-b", "a-subnet-with-a-very-long-name-indeed-longer-than-forty"];

const INSTANCES: [&str; 3] = ["one", "db", "a-third-instance-of-this-subnet"];

/// Where uplinks and peerings get their addresses.
pub const POOLS: [&str; 2] = ["198.19.0.0/16", "198.18.7.0/26"];

/// The host's interfaces; the first has the default route.
pub const WANS: [&str; 2] = ["eth0", "eth1"];

/// One edit: what it does, and choices that are taken modulo what there is.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    kind: Kind,
    /// Which VPC, subnet, instance, and two more choices.
    pick: [u8; 5],
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    CreateVpc,
    DeleteVpc,
    AddSubnet,
    DeleteSubnet,
    AddInstance,
    DeleteInstance,
    EnableNat,
    DisableNat,
    Peer,
    Unpeer,
    AllowCidr,
    ApplyPolicy,
    RemovePolicy,
    DeployApp,
    StopApp,
}

/// Up to `most` edits.
pub fn edits(most: usize) -> impl Strategy<Value = Vec<Edit>> {
    use Kind::*;
    let kinds = prop_oneof![
        6 => Just(CreateVpc),
        1 => Just(DeleteVpc),
        9 => Just(AddSubnet),
        1 => Just(DeleteSubnet),
        3 => Just(AddInstance),
        1 => Just(DeleteInstance),
        4 => Just(EnableNat),
        1 => Just(DisableNat),
        4 => Just(Peer),
        1 => Just(Unpeer),
        2 => Just(AllowCidr),
        3 => Just(ApplyPolicy),
        1 => Just(RemovePolicy),
        3 => Just(DeployApp),
        1 => Just(StopApp),
    ];
    let edit = (kinds, any::<[u8; 5]>()).prop_map(|(kind, pick)| Edit { kind, pick });
    prop::collection::vec(edit, 1..most)
}

/// The state after these edits, and after each of them.
pub fn history(edits: &[Edit], facts: &dyn Fn(&State) -> HostFacts) -> Vec<State> {
    let mut states = vec![State::default()];
    for edit in edits {
        let last = &states[states.len() - 1];
        let next = edit.after(last, &facts(last));
        states.extend(next.ok().filter(|next| next != last));
    }
    states
}

/// A network in which there is something of everything, edit by edit, and then taken down again.
pub fn session() -> Vec<Edit> {
    use Kind::*;
    let edits = [
        (CreateVpc, [0, 0, 1, 1, 0]),
        (AddSubnet, [0, 0, 1, 1, 1]),
        (AddSubnet, [0, 1, 2, 0, 1]),
        (AddInstance, [0, 0, 0, 0, 0]),
        (CreateVpc, [3, 0, 0, 1, 1]),
        (AddSubnet, [3, 2, 1, 1, 1]),
        (Peer, [0, 0, 0, 3, 0]),
        (EnableNat, [0, 0, 1, 1, 0]),
        (EnableNat, [3, 2, 0, 0, 1]),
        (ApplyPolicy, [0, 0, 1, 0, 3]),
        (ApplyPolicy, [0, 0, 1, 0, 7]),
        (ApplyPolicy, [0, 0, 0, 0, 2]),
        (AllowCidr, [0, 0, 0, 3, 0]),
        (CreateVpc, [4, 0, 1, 1, 0]),
        (AddSubnet, [4, 0, 9, 1, 1]),
        (AddSubnet, [4, 1, 200, 1, 1]),
        (Peer, [4, 0, 0, 0, 0]),
        (RemovePolicy, [0, 0, 0, 0, 0]),
        (DeployApp, [3, 2, 1, 0, 0]),
        (DeployApp, [0, 0, 1, 0, 1]),
        (StopApp, [3, 2, 1, 0, 0]),
        (DisableNat, [3, 0, 0, 1, 0]),
        (DeleteSubnet, [4, 1, 0, 0, 0]),
        (Unpeer, [0, 0, 0, 4, 0]),
        (DeleteInstance, [0, 0, 0, 0, 0]),
        (DeleteSubnet, [0, 0, 0, 0, 0]),
        (DeleteVpc, [0, 0, 0, 0, 0]),
        (DeleteVpc, [4, 0, 0, 0, 0]),
        (DeleteVpc, [3, 0, 0, 0, 0]),
    ];
    edits.map(|(kind, pick)| Edit { kind, pick }).into()
}

impl Edit {
    /// The state after this edit.
    pub fn after(&self, state: &State, facts: &HostFacts) -> Result<State> {
        let mut next = state.clone();
        self.apply(&mut next, facts)?;
        Ok(next)
    }

    fn apply(&self, state: &mut State, facts: &HostFacts) -> Result<()> {
        let [_, _, third, fourth, fifth] = self.pick;
        let (vpc, subnet, other) = (self.vpc(), self.subnet(), vpc_name(fourth));
        let optional = fourth.is_multiple_of(2).then(|| subnet.clone());
        match self.kind {
            Kind::CreateVpc => edit::create_vpc(state, &self.vpc_spec(), facts),
            Kind::DeleteVpc => edit::delete_vpc(state, &vpc),
            Kind::AddSubnet => edit::add_subnet(state, &self.subnet_spec(state)?),
            Kind::DeleteSubnet => edit::delete_subnet(state, &vpc, &subnet),
            Kind::AddInstance => {
                let spec = InstanceSpec { vpc, subnet, name: instance_name(third), address: None };
                edit::add_instance(state, &spec)
            }
            Kind::DeleteInstance => edit::delete_instance(state, &vpc, &subnet, &instance_name(third)),
            Kind::EnableNat => {
                let wan = third.is_multiple_of(3).then(|| self.wan());
                edit::enable_nat(
                    state,
                    &NatSpec { vpc, subnet: optional, wan, nameservers: vec![], pool: pool(fifth) },
                    facts,
                )
            }
            Kind::DisableNat => edit::disable_nat(state, &vpc, optional.as_ref()),
            Kind::Peer => edit::peer(state, &vpc, &other, pool(fifth)),
            Kind::Unpeer => edit::unpeer(state, &vpc, &other),
            Kind::AllowCidr => edit::allow_cidr(state, self.pair(state, &other)?, None),
            Kind::ApplyPolicy => edit::apply_policy(state, &self.scope(), policy(fifth)),
            Kind::RemovePolicy => edit::remove_policy(state, &self.scope()),
            Kind::DeployApp => edit::deploy_app(state, &self.target(), port(fifth), &app(fifth)),
            Kind::StopApp => edit::stop_app(state, &self.target(), optional.map(|_| port(fifth))),
        }
    }

    fn vpc(&self) -> VpcName {
        vpc_name(self.pick[0])
    }

    fn subnet(&self) -> Name {
        SUBNETS[usize::from(self.pick[1]) % SUBNETS.len()].parse().unwrap()
    }

    fn wan(&self) -> IfName {
        WANS[usize::from(self.pick[4]) % WANS.len()].parse().unwrap()
    }

    fn vpc_spec(&self) -> VpcSpec {
        let [vpc, _, third, fourth, fifth] = self.pick;
        VpcSpec {
            name: vpc_name(vpc),
            cidr: VPCS[usize::from(vpc) % VPCS.len()].1.parse().unwrap(),
            host_access: !third.is_multiple_of(3),
            wan: fourth.is_multiple_of(4).then(|| self.wan()),
            pool: pool(fifth),
        }
    }

    /// A subnet in one of a few places of its VPC, which it may fill.
    fn subnet_spec(&self, state: &State) -> Result<SubnetSpec> {
        let [_, _, third, fourth, fifth] = self.pick;
        let within = state.vpc(&self.vpc())?.cidr;
        let prefix = if fifth.is_multiple_of(16) { within.prefix() } else { (within.prefix() + 6).clamp(24, 30) };
        let blocks = within.size() >> (32 - prefix.max(within.prefix()));
        let offset = (u64::from(third) * 37 % blocks.min(4096)) << (32 - prefix);
        let cidr = Cidr::containing(within.address(offset).unwrap_or(within.network()), prefix).unwrap();
        let kind = if fourth.is_multiple_of(3) { SubnetType::Private } else { SubnetType::Public };
        Ok(SubnetSpec { vpc: self.vpc(), name: self.subnet(), cidr, kind })
    }

    /// Some part of the one VPC, and some part of the other.
    fn pair(&self, state: &State, other: &VpcName) -> Result<CidrPair> {
        let part = |vpc: &VpcName, choice: u8| -> Result<Cidr> {
            let vpc = state.vpc(vpc)?;
            let subnets = vpc.subnets.values().flat_map(|s| [s.cidr, Cidr::host(s.first_address())]);
            let parts: Vec<Cidr> = subnets.chain([vpc.cidr]).collect();
            Ok(parts[usize::from(choice) % parts.len()])
        };
        Ok(CidrPair { src: part(&self.vpc(), self.pick[1])?, dst: part(other, self.pick[4])? })
    }

    fn target(&self) -> Target {
        let PolicyScope { vpc, subnet, instance } = self.scope();
        Target { vpc, subnet: Some(subnet), instance }
    }

    fn scope(&self) -> PolicyScope {
        let instance = self.pick[2].is_multiple_of(2).then(|| instance_name(self.pick[3]));
        PolicyScope { vpc: self.vpc(), subnet: self.subnet(), instance }
    }
}

fn vpc_name(choice: u8) -> VpcName {
    VPCS[usize::from(choice) % VPCS.len()].0.parse().unwrap()
}

fn instance_name(choice: u8) -> Name {
    INSTANCES[usize::from(choice) % INSTANCES.len()].parse().unwrap()
}

fn port(choice: u8) -> Port {
    [80, 8080][usize::from(choice) % 2].try_into().unwrap()
}

/// The built-in web server, or a program with odd arguments.
fn app(choice: u8) -> App {
    let command: &[&str] = if choice.is_multiple_of(3) { &[] } else { &["/bin/echo", "it's $HOME\n", "-", ""] };
    App {
        command: command.iter().map(|word| word.to_string()).collect(),
        user: "nobody".parse().unwrap(),
        directory: "/".into(),
        wait: 10,
    }
}

fn pool(choice: u8) -> Cidr {
    POOLS[usize::from(choice) % POOLS.len()].parse().unwrap()
}

/// A few policies: open, web only, nothing out, and one so long that it needs sets.
pub fn policy(choice: u8) -> Policy {
    let open = r#"{"default": "allow"}"#;
    let web = r#"{"default": "deny", "rules": [{"protocol": "tcp", "ports": [80], "action": "allow"}]}"#;
    let far = r#"{"default": "reject", "rules": [{"protocol": "all", "action": "allow", "peer": "203.0.113.0/24"}]}"#;
    let (ingress, egress) = match choice % 4 {
        0 => (web.to_owned(), open),
        1 => (open.to_owned(), far),
        2 => (web.to_owned(), far),
        _ => (long_rules(u32::from(choice)), open),
    };
    serde_json::from_str(&format!(r#"{{"ingress": {ingress}, "egress": {egress}}}"#)).unwrap()
}

fn long_rules(seed: u32) -> String {
    let rule = |n: u32| {
        let net = Cidr::containing(Ipv4Addr::from_bits(0x0a00_0000 + (n << 17) + (seed << 8)), 24).unwrap();
        let action = if n.is_multiple_of(3) { "deny" } else { "allow" };
        format!(r#"{{"protocol": "tcp", "ports": [80], "action": "{action}", "peer": "{net}"}}"#)
    };
    let rules: Vec<String> = (0..60).map(rule).collect();
    format!(r#"{{"default": "deny", "rules": [{}]}}"#, rules.join(","))
}

/// A host with two ways out, on whose own networks no VPC of these tests lies but `a-web`.
pub fn plain_facts() -> HostFacts {
    let link = |mtu| HostLink { mtu, forwarding: false };
    let network = |cidr: &str, origin: &str| HostNetwork { cidr: cidr.parse().unwrap(), origin: origin.into() };
    HostFacts {
        default_wan: Some("eth0".parse().unwrap()),
        links: BTreeMap::from([("eth0".parse().unwrap(), link(1500)), ("eth1".parse().unwrap(), link(1400))]),
        networks: vec![network("198.51.100.0/24", "address on eth0"), network("192.0.2.0/24", "address on eth1")],
        nameservers: vec![Ipv4Addr::new(203, 0, 113, 53)],
        firewall: FirewallFacts::default(),
        may_filter_senders: true,
        ..HostFacts::default()
    }
}
