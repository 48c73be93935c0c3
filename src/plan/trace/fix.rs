//! Edits that open a way, as commands and as what they do to the state: whether one opens what it should is tried, not hoped.

use std::fmt;

use super::answer::{Model, Question};
use super::cause::{Cause, cause};
use super::net::Net;
use crate::error::Result;
use crate::model::cidr::Cidr;
use crate::model::edit::{self, NatSpec, PolicyScope, VpcSpec};
use crate::model::facts::HostFacts;
use crate::model::name::{Name, VpcName};
use crate::model::policy::{Direction, Policy, Rule};
use crate::model::state::{CidrPair, State, SubnetType};
use crate::plan::script::quote;

/// The most edits that are tried one after the other.
const MOST: usize = 6;

/// An edit that opens a way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fix {
    /// Connects two VPCs.
    Peer(VpcName, VpcName),
    /// Lets a pair of addresses pass the peering of two VPCs.
    AllowCidr(CidrPair, VpcName, VpcName),
    /// Gives a VPC's public subnets internet access, or one of them.
    EnableNat(VpcName, Option<Name>),
    /// Makes a subnet public.
    MakePublic(VpcName, Name),
    /// Lets the host open connections to a VPC.
    HostAccess(VpcName),
    /// Adds a rule to a policy, before the one of this number.
    Allow {
        /// The policy's file, where it is known.
        file: Option<String>,
        /// Whose policy.
        scope: PolicyScope,
        /// Which of its lists.
        direction: Direction,
        /// Where in it; nothing for its end.
        before: Option<usize>,
        /// The rule.
        rule: Rule,
    },
}

impl fmt::Display for Fix {
    /// What to type, or to write into which file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fix::Peer(a, b) => write!(f, "vpcctl peer {a} {b}"),
            Fix::AllowCidr(CidrPair { src, dst }, a, b) => {
                write!(f, "vpcctl allow-cidr {a} {b} --src {src} --dst {dst}")
            }
            Fix::EnableNat(vpc, None) => write!(f, "vpcctl enable-nat {vpc}"),
            Fix::EnableNat(vpc, Some(subnet)) => write!(f, "vpcctl enable-nat {vpc} --subnet {subnet}"),
            Fix::MakePublic(vpc, subnet) => {
                write!(f, "vpcctl apply -f FILE, once FILE has `type: public` for subnet {vpc}/{subnet}")
            }
            Fix::HostAccess(vpc) => write!(f, "vpcctl apply -f FILE, once FILE has `host-access: true` for VPC {vpc}"),
            Fix::Allow { file, scope, direction, before, rule } => {
                let file = file.as_deref().unwrap_or("FILE");
                let rule = serde_json::to_string(&shown(*direction, rule)).unwrap_or_default();
                let owner = scope.owner();
                let place = before.map(|number| format!(" before {direction}[{number}]"));
                let place = place.unwrap_or_else(|| format!(" in {direction}"));
                let quoted = quote(file);
                write!(f, "vpcctl apply-policy {owner} {quoted}, once {file} has {rule}{place}")
            }
        }
    }
}

/// A rule as a policy file has it.
fn shown(direction: Direction, rule: &Rule) -> serde_json::Value {
    let mut shown = serde_json::json!({"protocol": rule.protocol, "action": rule.action});
    let peer = if direction == Direction::Ingress { "source" } else { "destination" };
    shown[peer] = rule.peer.to_string().into();
    if !rule.ports.is_any() {
        let ports = serde_json::to_value(&rule.ports).unwrap_or_default();
        let only = ports.as_array().filter(|ports| ports.len() == 1).and_then(|ports| ports.first()).cloned();
        shown["port"] = only.unwrap_or(ports);
    }
    shown
}

impl Fix {
    /// Does it to a state.
    ///
    /// # Errors
    /// The state doesn't let it be done.
    pub fn apply(&self, state: &mut State, facts: &HostFacts) -> Result<()> {
        let pool: Cidr = edit::DEFAULT_POOL.parse()?;
        match self {
            Fix::Peer(a, b) => edit::peer(state, a, b, pool),
            Fix::AllowCidr(pair, a, b) => edit::allow_cidr(state, *pair, Some((a, b))),
            Fix::EnableNat(vpc, subnet) => {
                let (vpc, subnet) = (vpc.clone(), subnet.clone());
                edit::enable_nat(state, &NatSpec { vpc, subnet, wan: None, nameservers: vec![], pool }, facts)
            }
            Fix::MakePublic(vpc, subnet) => edit::set_subnet_type(state, vpc, subnet, SubnetType::Public),
            Fix::HostAccess(name) => {
                let cidr = state.vpc(name)?.cidr;
                let spec = VpcSpec { name: name.clone(), cidr, host_access: true, wan: None, pool };
                edit::set_host_access(state, &spec, facts)
            }
            Fix::Allow { scope, direction, before, rule, .. } => {
                let policy = policy_of(state, scope)?.cloned();
                let Some(mut policy) = policy else { return Ok(()) };
                let list = match direction {
                    Direction::Ingress => &mut policy.ingress,
                    Direction::Egress => &mut policy.egress,
                };
                list.rules.insert(before.unwrap_or(list.rules.len()), rule.clone());
                edit::apply_policy(state, scope, policy)
            }
        }
    }
}

/// The policy at a scope.
pub fn policy_of<'a>(state: &'a State, scope: &PolicyScope) -> Result<Option<&'a Policy>> {
    let PolicyScope { vpc, subnet, instance } = scope;
    Ok(match instance {
        None => state.subnet(vpc, subnet)?.policy.as_ref(),
        Some(name) => state.instance(vpc, subnet, name)?.policy.as_ref(),
    })
}

/// The edits that together open a connection; none where nothing does. Each further obstacle is asked for with the edits so far made
/// in the model.
pub fn opening(state: &State, host: &Net, facts: &HostFacts, question: &Question, first: &Cause) -> Vec<Fix> {
    let mut state = state.clone();
    let (mut fixes, mut next) = (Vec::new(), first.fix.clone());
    while let Some(fix) = next.take().filter(|fix| fixes.len() < MOST && !fixes.contains(fix)) {
        if fix.apply(&mut state, facts).is_err() {
            break;
        }
        fixes.push(fix);
        let Ok(model) = Model::new(&state, host) else { break };
        let answer = model.ask(question);
        if answer.verdict.is_reached() {
            return fixes;
        }
        next = cause(&model, question, &answer).fix;
    }
    Vec::new()
}
