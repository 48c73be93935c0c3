//! What the step that stopped a packet is about, in the words of who runs the network, and what would take it out of the way.

use std::fmt;

use super::answer::{Answer, Model, Question, Verdict};
use super::fix::{Fix, policy_of};
use super::walk::{Stage, Step, Stop};
use crate::model::cidr::Cidr;
use crate::model::edit::PolicyScope;
use crate::model::endpoint::Endpoint;
use crate::model::kernel_names as names;
use crate::model::name::{Name, VpcName};
use crate::model::policy::{Action, Direction, Ports, Protocol, Rule, Traffic};
use crate::model::state::{CidrPair, HostAccess, PeeringScope, State, SubnetType};
use crate::plan::line::Place;

/// Why a connection isn't open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cause {
    /// In words.
    pub why: String,
    /// What takes this obstacle out of the way.
    pub fix: Option<Fix>,
}

/// What a place is to an operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The host.
    Host,
    /// A VPC's router.
    Router(VpcName),
    /// An instance.
    Instance(VpcName, Name, Option<Name>),
    /// None of a state's.
    Unknown(String),
}

impl Role {
    /// What the place is in this state.
    pub fn of(state: &State, place: &Place) -> Role {
        let Some(netns) = place.netns() else {
            return Role::Host;
        };
        if let Some(vpc) = state.vpcs.keys().find(|vpc| names::router(vpc) == *netns) {
            return Role::Router(vpc.clone());
        }
        let found = Endpoint::instances(state, None).into_iter().find_map(|end| match end {
            Endpoint::Instance(vpc, subnet, instance) => {
                let is_it = names::instance(&vpc, &subnet, instance.as_ref()) == *netns;
                is_it.then_some(Role::Instance(vpc, subnet, instance))
            }
            _ => None,
        });
        found.unwrap_or_else(|| Role::Unknown(netns.to_string()))
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Role::Host => f.write_str("host"),
            Role::Router(vpc) => write!(f, "router of {vpc}"),
            Role::Instance(vpc, subnet, None) => write!(f, "{vpc}/{subnet}"),
            Role::Instance(vpc, subnet, Some(instance)) => write!(f, "{vpc}/{subnet}/{instance}"),
            Role::Unknown(name) => f.write_str(name),
        }
    }
}

/// A rule of a policy, or its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRule {
    /// Whose policy it is.
    pub scope: PolicyScope,
    /// Which of its lists.
    pub direction: Direction,
    /// The number in the list; nothing for the default.
    pub number: Option<usize>,
    /// What the rule says, in words.
    pub says: String,
    /// The file that the policy was read from, where that is known.
    pub file: Option<String>,
}

impl fmt::Display for PolicyRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PolicyRule { scope, direction, number, says, file } = self;
        let file = file.as_ref().map(|file| format!(" ({file})")).unwrap_or_default();
        let owner = scope.owner();
        match number {
            Some(number) => write!(f, "{direction}[{number}] of the policy of {owner}{file}: {says}"),
            None => write!(f, "the {direction} default of the policy of {owner}{file}: {says}"),
        }
    }
}

/// The policy's rule that a step in an instance's own chains is about. A rule in the kernel may stand for many; the policy says which
/// of them it is.
pub fn policy_rule(model: &Model<'_>, question: &Question, answer: &Answer, step: &Step) -> Option<PolicyRule> {
    let Role::Instance(vpc, subnet, instance) = Role::of(model.state, &step.place) else {
        return None;
    };
    let purpose = &step.rule.as_ref()?.purpose;
    let direction = [Direction::Ingress, Direction::Egress].into_iter().find(|direction| {
        purpose.starts_with(&format!("{direction}[")) || purpose.starts_with(&format!("{direction} "))
    })?;
    let own = PolicyScope { vpc: vpc.clone(), subnet: subnet.clone(), instance };
    let of_subnet = PolicyScope { vpc, subnet, instance: None };
    let (scope, policy) = [own, of_subnet].into_iter().find_map(|scope| {
        let policy = policy_of(model.state, &scope).ok()??;
        Some((scope, policy))
    })?;
    let remote = if direction == Direction::Ingress { answer.src? } else { answer.dst? };
    let verdict = policy.verdict(direction, question.traffic, remote);
    // The rule in the kernel is what decided: a policy that says otherwise is not why.
    if (verdict.action == Action::Allow) != step.stop.is_none() {
        return None;
    }
    let list = policy.rules(direction);
    let says = verdict
        .rule
        .and_then(|number| list.rules.get(number))
        .map_or_else(|| list.default.to_string(), |rule| describe(direction, rule));
    let file = policy.file.clone();
    Some(PolicyRule { scope, direction, number: verdict.rule, says, file })
}

/// A policy's rule in words.
fn describe(direction: Direction, rule: &Rule) -> String {
    let ports = match &rule.ports {
        Ports::Any => String::new(),
        ports => format!(" {}", serde_json::to_string(ports).unwrap_or_default().replace(['[', ']', '"'], "")),
    };
    let side = if direction == Direction::Ingress { "from" } else { "to" };
    let peer = if rule.peer == Cidr::ANY { "anywhere".to_owned() } else { rule.peer.to_string() };
    let note = rule.description.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
    format!("{} {}{ports} {side} {peer}{note}", rule.action, rule.protocol)
}

/// What stops the connection.
pub fn cause(model: &Model<'_>, question: &Question, answer: &Answer) -> Cause {
    let never = |why: String| Cause { why, fix: None };
    match &answer.verdict {
        Verdict::NoAddress(why) => return never(why.clone()),
        Verdict::Reached | Verdict::Left(_) => return never("nothing stops it".into()),
        Verdict::Stopped | Verdict::Misled(_) => {}
    }
    if let Some(step) = answer.stopped_at() {
        if let Some(rule) = policy_rule(model, question, answer, step) {
            return Cause { why: rule.to_string(), fix: allowing(question, answer, &rule) };
        }
        // A rule of its own decided: that is told, and no line of a policy says so.
        let at_instance = matches!(Role::of(model.state, &step.place), Role::Instance(..));
        if let Some(rule) = step.rule.as_ref().filter(|_| at_instance) {
            return never(format!("rule {} of {}: {}", rule.number, rule.chain, step.detail));
        }
        if matches!(step.stop, Some(Stop::Martian | Stop::Locked | Stop::Endless | Stop::NoLink)) {
            return never(step.detail.clone());
        }
    }
    if let Some(vpc) = router_that_stops(model, answer) {
        return never(format!("the router of {vpc} answers nothing but its own instances' pings of their gateways"));
    }
    let target = intended(model, question, answer);
    match (&question.from, &target) {
        (Endpoint::Instance(a, ..), Endpoint::Instance(b, ..)) if a != b => between(model.state, answer, a, b),
        (Endpoint::Instance(..), Endpoint::Host) => never("a VPC opens nothing on the host".into()),
        (Endpoint::Instance(vpc, subnet, _), _) => outwards(model, answer, vpc, subnet),
        (Endpoint::Host, Endpoint::Instance(vpc, ..)) => from_host(model.state, vpc),
        (Endpoint::Internet | Endpoint::Address(_), Endpoint::Instance(..)) => {
            never("nobody outside of the host reaches an instance: it publishes no ports".into())
        }
        _ => never(answer.stopped_at().map_or("nobody is there".to_owned(), |step| step.detail.clone())),
    }
}

/// Who is meant: an address is whose it is, the sender's own VPC first.
pub fn intended(model: &Model<'_>, question: &Question, answer: &Answer) -> Endpoint {
    let Some(address) = answer.dst.filter(|_| matches!(question.to, Endpoint::Address(_))) else {
        return question.to.clone();
    };
    if model.machine.places.get(&Place::Host).is_some_and(|host| host.owns(address)) {
        return Endpoint::Host;
    }
    let mut owners = model.instances_with(address);
    owners.sort_by_key(|owner| owner.vpc() != question.from.vpc());
    owners.into_iter().next().unwrap_or(question.to.clone())
}

/// The VPC whose router's own rules stopped it.
fn router_that_stops(model: &Model<'_>, answer: &Answer) -> Option<VpcName> {
    let step = answer.stopped_at().filter(|step| step.stage == Stage::Input)?;
    match Role::of(model.state, &step.place) {
        Role::Router(vpc) => Some(vpc),
        _ => None,
    }
}

/// The rule that lets exactly this pass, before the one that doesn't.
fn allowing(question: &Question, answer: &Answer, rule: &PolicyRule) -> Option<Fix> {
    let (protocol, port) = match question.traffic {
        Traffic::Tcp(port) => (Protocol::Tcp, Some(port)),
        Traffic::Udp(port) => (Protocol::Udp, Some(port)),
        Traffic::Icmp => (Protocol::Icmp, None),
        Traffic::Other => (Protocol::All, None),
    };
    let ports = match port {
        None => Ports::Any,
        Some(port) => Ports::listed(vec![crate::model::policy::PortRange::new(port, port).ok()?]).ok()?,
    };
    let remote = if rule.direction == Direction::Ingress { answer.src? } else { answer.dst? };
    let allow = Rule::new(Some(protocol), ports, Action::Allow, Cidr::host(remote)).ok()?;
    Some(Fix::Allow {
        file: rule.file.clone(),
        scope: rule.scope.clone(),
        direction: rule.direction,
        before: rule.number,
        rule: allow,
    })
}

/// From one VPC to another.
fn between(state: &State, answer: &Answer, a: &VpcName, b: &VpcName) -> Cause {
    let peering = state.peerings_of(a).find(|peering| peering.other(a) == b);
    let cidrs = state.vpcs.get(a).zip(state.vpcs.get(b)).map(|(a, b)| (a.cidr, b.cidr));
    match (peering, cidrs) {
        (None, Some((one, other))) if one.overlaps(other) => {
            Cause { why: format!("{a} and {b} share addresses, so that no way leads from one to the other"), fix: None }
        }
        (None, _) => Cause { why: format!("{a} and {b} are not peered"), fix: Some(Fix::Peer(a.clone(), b.clone())) },
        (Some(peering), _) if matches!(peering.scope, PeeringScope::Only(_)) => {
            let pair =
                answer.src.zip(answer.dst).map(|(src, dst)| CidrPair { src: Cidr::host(src), dst: Cidr::host(dst) });
            let fix = pair.map(|pair| Fix::AllowCidr(pair, a.clone(), b.clone()));
            let pair = pair.map(|pair| format!("{} to {}", pair.src.network(), pair.dst.network())).unwrap_or_default();
            Cause { why: format!("the peering of {a} and {b} doesn't let {pair} pass"), fix }
        }
        (Some(_), _) => Cause { why: format!("nobody in {b} has this address"), fix: None },
    }
}

/// From an instance to nobody of its VPC's, or to outside.
fn outwards(model: &Model<'_>, answer: &Answer, name: &VpcName, subnet_name: &Name) -> Cause {
    let never = |why: String| Cause { why, fix: None };
    let Some((vpc, dst)) = model.state.vpcs.get(name).zip(answer.dst) else {
        return never("nobody is there".into());
    };
    let peer = model.state.peerings_of(name).map(|peering| peering.other(name));
    let mut peers = peer.filter(|peer| model.state.vpcs.get(*peer).is_some_and(|vpc| vpc.cidr.contains(dst)));
    if vpc.cidr.contains(dst) {
        return never(format!("nobody in {name} has the address {dst}"));
    }
    if let Some(peer) = peers.next() {
        let router = model.machine.places.get(&Place::Netns(names::router(peer)));
        if router.is_some_and(|router| router.owns(dst)) {
            return never(format!("{dst} is the router's of {peer}: only its own instances may ping it"));
        }
        return never(format!("nobody in {peer} has the address {dst}"));
    }
    if dst.is_link_local() {
        return never("VPCs don't reach link-local addresses, such as a cloud's metadata service".into());
    }
    let Some(subnet) = vpc.subnets.get(subnet_name) else {
        return never("nobody is there".into());
    };
    let serves = vpc.natted().any(|(served, _)| served == subnet_name);
    match (subnet.kind, &vpc.nat) {
        (SubnetType::Private, _) => Cause {
            why: format!("{name}/{subnet_name} is private: it never reaches the internet"),
            fix: Some(Fix::MakePublic(name.clone(), subnet_name.clone())),
        },
        // No more than is asked for: with other public subnets, this one alone.
        (SubnetType::Public, None) => {
            let others = vpc.subnets.values().filter(|subnet| subnet.kind == SubnetType::Public).count() > 1;
            let only = others.then(|| subnet_name.clone());
            Cause { why: format!("{name} has no NAT"), fix: Some(Fix::EnableNat(name.clone(), only)) }
        }
        (SubnetType::Public, Some(_)) if !serves => Cause {
            why: format!("the NAT of {name} doesn't serve {subnet_name}"),
            fix: Some(Fix::EnableNat(name.clone(), Some(subnet_name.clone()))),
        },
        _ => never(answer.stopped_at().map_or("nobody is there".to_owned(), |step| step.detail.clone())),
    }
}

/// From the host into a VPC.
fn from_host(state: &State, name: &VpcName) -> Cause {
    let never = |why: String| Cause { why, fix: None };
    match state.vpcs.get(name).map(|vpc| &vpc.host_access) {
        Some(HostAccess::Off) => {
            Cause { why: format!("{name} has no host access"), fix: Some(Fix::HostAccess(name.clone())) }
        }
        Some(HostAccess::Overlaps(what)) => {
            never(format!("{name} shares addresses with the host's own network: {what}"))
        }
        _ => never("nobody is there".into()),
    }
}
