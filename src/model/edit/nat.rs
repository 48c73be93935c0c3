//! Internet access: turning it on and off.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::error::{Failure, Kind, Result};
use crate::model::cidr::Cidr;
use crate::model::edit::link;
use crate::model::facts::HostFacts;
use crate::model::name::{IfName, Name, VpcName};
use crate::model::state::{HostAccess, Nameservers, Nat, NatScope, State, SubnetType, Vpc};

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct NatSpec {
    /// The VPC.
    pub vpc: VpcName,
    /// One subnet, or all public ones.
    pub subnet: Option<Name>,
    /// The way out; the VPC's own choice or the host's default route otherwise.
    pub wan: Option<IfName>,
    /// Whom instances ask for names; nobody named: whom the host asks.
    pub nameservers: Vec<Ipv4Addr>,
    /// Where the uplink's addresses come from, if the VPC has none yet.
    pub pool: Cidr,
}

/// Whom instances ask where the host names nobody whom they reach: two that answer to all the world, as Docker does it.
pub const PUBLIC_NAMESERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(8, 8, 8, 8)];

/// What fits into a resolv.conf: resolv.conf(5), MAXNS.
pub const MAX_NAMESERVERS: usize = 3;

/// May somebody have this address whom one can ask over a network?
pub fn is_nameserver(address: Ipv4Addr) -> bool {
    let odd = address.is_unspecified() || address.is_loopback() || address.is_link_local() || address.is_multicast();
    !(odd || address.is_broadcast())
}

/// Lets public subnets reach the internet.
pub fn enable_nat(state: &mut State, spec: &NatSpec, facts: &HostFacts) -> Result<()> {
    if let Some(subnet) = &spec.subnet {
        check_public(state, &spec.vpc, subnet)?;
    }
    let vpc = state.vpc(&spec.vpc)?;
    let scope = widened(vpc.nat.as_ref().map(|nat| &nat.scope), spec.subnet.as_ref());
    let wan = choose_wan(spec, vpc.nat.as_ref(), vpc.wan.as_ref(), facts)?;
    if vpc.nat.is_none() {
        check_way_out(facts, &wan)?;
    }
    let nameservers = choose_nameservers(spec, vpc, facts)?;
    link::give_uplink(state, &spec.vpc, spec.pool, facts)?;
    state.vpc_mut(&spec.vpc)?.nat = Some(Nat { wan: wan.clone(), scope, nameservers });
    link::record_wan(state, wan, facts)
}

/// Makes these the subnets that NAT serves: `None` is every public one. It is enabled already.
pub(crate) fn set_nat_scope(state: &mut State, vpc: &VpcName, subnets: Option<&BTreeSet<Name>>) -> Result<()> {
    subnets.into_iter().flatten().try_for_each(|subnet| check_public(state, vpc, subnet))?;
    if let Some(nat) = &mut state.vpc_mut(vpc)?.nat {
        nat.scope = subnets.map_or(NatScope::AllPublic, |names| NatScope::Only(names.clone()));
    }
    Ok(())
}

/// Takes internet access from one subnet, or from the whole VPC. Where there is none, nothing changes.
pub fn disable_nat(state: &mut State, vpc_name: &VpcName, subnet: Option<&Name>) -> Result<()> {
    if let Some(subnet) = subnet {
        state.subnet(vpc_name, subnet)?;
    }
    let vpc = state.vpc_mut(vpc_name)?;
    if subnet.is_some_and(|gone| vpc.natted().all(|(name, _)| name != gone)) {
        return Ok(());
    }
    let remaining: BTreeSet<Name> = match subnet {
        None => BTreeSet::new(),
        Some(gone) => vpc.natted().map(|(name, _)| name.clone()).filter(|name| name != gone).collect(),
    };
    match &mut vpc.nat {
        Some(nat) if !remaining.is_empty() => nat.scope = NatScope::Only(remaining),
        _ => vpc.nat = None,
    }
    if vpc.nat.is_none() && vpc.host_access != HostAccess::On {
        vpc.uplink = None;
    }
    link::forget_unused(state);
    Ok(())
}

/// Refuses an interface that the host doesn't have.
pub(crate) fn check_wan(facts: &HostFacts, wan: &IfName) -> Result<()> {
    if facts.links.contains_key(wan) {
        return Ok(());
    }
    let names: Vec<&str> = facts.links.keys().map(IfName::as_str).collect();
    Err(Failure::new(Kind::Host, format!("the host has no interface `{wan}`"))
        .hint(format!("it has these: {}", names.join(", "))))
}

/// Refuses to go on with an interface that was renamed or removed: the rules name it.
fn still_there(facts: &HostFacts, wan: &IfName, vpc: &VpcName) -> Result<()> {
    if facts.links.contains_key(wan) {
        return Ok(());
    }
    let message = format!("VPC `{vpc}` leaves by the interface {wan}, which the host doesn't have any more");
    Err(Failure::new(Kind::Host, message).hint(format!(
        "`vpcctl disable-nat {vpc}`, then `vpcctl enable-nat {vpc}`, which leaves by the default route's"
    )))
}

/// Refuses what could not work: vpcctl doesn't change the rules of others, and its own can't overrule them.
pub(crate) fn check_way_out(facts: &HostFacts, wan: &IfName) -> Result<()> {
    match facts.barriers.get(wan) {
        None => Ok(()),
        Some(barrier) => {
            let message = format!("NAT by {wan} would not work: {}", barrier.what);
            Err(Failure::new(Kind::Host, message).hint(barrier.remedy.clone()))
        }
    }
}

fn check_public(state: &State, vpc: &VpcName, subnet: &Name) -> Result<()> {
    if state.subnet(vpc, subnet)?.kind == SubnetType::Public {
        return Ok(());
    }
    Err(Failure::conflict(format!("subnet `{vpc}/{subnet}` is private: it gets no internet access"))
        .hint("make the subnet with `--type public`, or choose a public one"))
}

fn widened(before: Option<&NatScope>, subnet: Option<&Name>) -> NatScope {
    match (before, subnet) {
        (_, None) | (Some(NatScope::AllPublic), Some(_)) => NatScope::AllPublic,
        (None, Some(name)) => NatScope::Only([name.clone()].into()),
        (Some(NatScope::Only(names)), Some(name)) => {
            NatScope::Only(names.iter().cloned().chain([name.clone()]).collect())
        }
    }
}

/// Those that are asked for, or were once, or the host's own as far as they are outside of the VPC.
fn choose_nameservers(spec: &NatSpec, vpc: &Vpc, facts: &HostFacts) -> Result<Nameservers> {
    if spec.nameservers.len() > MAX_NAMESERVERS {
        return Err(Failure::usage(format!("{} name servers are too many", spec.nameservers.len()))
            .hint(format!("a resolver asks the first {MAX_NAMESERVERS} alone: resolv.conf(5)")));
    }
    if let Some(odd) = spec.nameservers.iter().find(|server| !is_nameserver(**server)) {
        return Err(Failure::usage(format!("{odd} is no name server that an instance reaches"))
            .hint("name a server of the internet, or one of the host's network"));
    }
    if !spec.nameservers.is_empty() {
        return Ok(Nameservers::Chosen(spec.nameservers.clone()));
    }
    if let Some(Nat { nameservers: chosen @ Nameservers::Chosen(_), .. }) = &vpc.nat {
        return Ok(chosen.clone());
    }
    let reached = facts.nameservers.iter().filter(|server| !vpc.cidr.contains(**server));
    let reached: Vec<Ipv4Addr> = reached.copied().take(MAX_NAMESERVERS).collect();
    Ok(Nameservers::Host(if reached.is_empty() { PUBLIC_NAMESERVERS.to_vec() } else { reached }))
}

fn choose_wan(spec: &NatSpec, nat: Option<&Nat>, preferred: Option<&IfName>, facts: &HostFacts) -> Result<IfName> {
    if let Some(nat) = nat {
        return match &spec.wan {
            Some(asked) if asked != &nat.wan => {
                Err(Failure::conflict(format!("VPC `{}` leaves by the interface {} already", spec.vpc, nat.wan))
                    .hint(format!("`vpcctl disable-nat {}` first", spec.vpc)))
            }
            _ => still_there(facts, &nat.wan, &spec.vpc).map(|()| nat.wan.clone()),
        };
    }
    let chosen = spec.wan.as_ref().or(preferred).or(facts.default_wan.as_ref());
    let wan = chosen.ok_or_else(|| {
        Failure::new(Kind::Host, "the host has no default route, so its way to the internet can't be found")
            .hint("name the interface: --interface eth0")
    })?;
    check_wan(facts, wan)?;
    Ok(wan.clone())
}
