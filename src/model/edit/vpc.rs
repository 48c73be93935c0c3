//! Creating and deleting VPCs.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::error::{Failure, Result};
use crate::model::cidr::Cidr;
use crate::model::edit::{check_names, link};
use crate::model::facts::HostFacts;
use crate::model::name::{IfName, VpcName};
use crate::model::state::{HostAccess, State, Vpc};

/// The prefix lengths that a VPC may have, in bits: a /30 holds one subnet with a gateway and one instance.
pub const VPC_PREFIXES: std::ops::RangeInclusive<u8> = 8..=30;

/// Where a VPC can't be: addresses that the kernel treats in its own way.
const UNUSABLE: [(&str, &str); 5] = [
    ("0.0.0.0/8", "is \"this network\""),
    ("127.0.0.0/8", "is loopback"),
    ("169.254.0.0/16", "is link-local, and holds the metadata services of clouds"),
    ("224.0.0.0/4", "is multicast"),
    ("240.0.0.0/4", "is reserved"),
];

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct VpcSpec {
    /// Its name.
    pub name: VpcName,
    /// Its addresses.
    pub cidr: Cidr,
    /// May the host open connections to its instances?
    pub host_access: bool,
    /// The interface that NAT will use.
    pub wan: Option<IfName>,
    /// Where the uplink's addresses come from.
    pub pool: Cidr,
}

impl VpcSpec {
    /// Refuses what no state could make right.
    pub fn check(&self) -> Result<()> {
        check_cidr(self.cidr)
    }
}

/// Creates a VPC, with an uplink where the host gets access to it.
pub fn create_vpc(state: &mut State, spec: &VpcSpec, facts: &HostFacts) -> Result<()> {
    insert_vpc(state, spec, facts)?;
    check_names(state)
}

/// The same, where whoever creates many compares the names in the kernel once, at the end.
pub(crate) fn insert_vpc(state: &mut State, spec: &VpcSpec, facts: &HostFacts) -> Result<()> {
    spec.check()?;
    if let Some(existing) = state.vpcs.get(&spec.name) {
        same_as(existing, spec)?;
        if let (None, Some(wan)) = (&existing.wan, &spec.wan) {
            super::nat::check_wan(facts, wan)?;
            state.vpc_mut(&spec.name)?.wan = Some(wan.clone());
        }
        return reconsider_host_access(state, spec, facts);
    }
    if let Some(wan) = &spec.wan {
        super::nat::check_wan(facts, wan)?;
    }
    let host_access = decide_host_access(state, spec, facts);
    if state.vpcs.is_empty() {
        state.host.iptables = facts.iptables;
        state.host.filters_senders = facts.may_filter_senders;
    }
    let vpc = Vpc {
        cidr: spec.cidr,
        mtu: facts.mtu(spec.wan.as_ref()),
        host_access,
        wan: spec.wan.clone(),
        uplink: None,
        nat: None,
        subnets: Default::default(),
    };
    state.vpcs.insert(spec.name.clone(), Arc::new(vpc));
    if state.vpc(&spec.name)?.host_access == HostAccess::On {
        link::give_uplink(state, &spec.name, spec.pool, facts)?;
    }
    Ok(())
}

/// Gives the host access to a VPC that is there, as far as nothing is in the way, or takes it away.
pub(crate) fn set_host_access(state: &mut State, spec: &VpcSpec, facts: &HostFacts) -> Result<()> {
    let before = &state.vpc(&spec.name)?.host_access;
    if spec.host_access && *before == HostAccess::On {
        return Ok(());
    }
    let decided = decide_host_access(state, spec, facts);
    if decided == HostAccess::On {
        link::give_uplink(state, &spec.name, spec.pool, facts)?;
    }
    let vpc = state.vpc_mut(&spec.name)?;
    vpc.host_access = decided;
    if vpc.host_access != HostAccess::On && vpc.nat.is_none() {
        vpc.uplink = None;
    }
    Ok(())
}

/// Deletes a VPC with all that is in it, and its peerings.
pub fn delete_vpc(state: &mut State, name: &VpcName) -> Result<()> {
    state.vpc(name)?;
    state.vpcs.remove(name);
    state.peerings.retain(|peering| &peering.a != name && &peering.b != name);
    link::forget_unused(state);
    Ok(())
}

/// Deletes those of these VPCs that are there, with their peerings.
pub fn delete_vpcs(state: &mut State, names: &BTreeSet<VpcName>) {
    state.vpcs.retain(|name, _| !names.contains(name));
    state.peerings.retain(|peering| !names.contains(&peering.a) && !names.contains(&peering.b));
    link::forget_unused(state);
}

/// Removes everything.
pub fn delete_everything(state: &mut State) {
    *state = State::default();
}

fn check_cidr(cidr: Cidr) -> Result<()> {
    if !VPC_PREFIXES.contains(&cidr.prefix()) {
        let (from, to) = (VPC_PREFIXES.start(), VPC_PREFIXES.end());
        return Err(Failure::usage(format!("{cidr} can't be a VPC's CIDR: its prefix length is not /{from} to /{to}"))
            .hint("10.0.0.0/16 is a usual size"));
    }
    for (range, why) in UNUSABLE {
        if range.parse::<Cidr>()?.overlaps(cidr) {
            return Err(Failure::usage(format!("{cidr} can't be a VPC's CIDR: {range} {why}"))
                .hint("use a private range: 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16"));
        }
    }
    Ok(())
}

fn same_as(existing: &Vpc, spec: &VpcSpec) -> Result<()> {
    let differs = |what: String| {
        Err(Failure::conflict(format!("VPC `{}` exists with {what}", spec.name))
            .hint(format!("`vpcctl delete-vpc {}` removes it, or choose another name", spec.name)))
    };
    if existing.cidr != spec.cidr {
        return differs(format!("the CIDR {}", existing.cidr));
    }
    match (&existing.host_access, spec.host_access) {
        (HostAccess::Off, true) => return differs("--no-host-access".into()),
        (HostAccess::On, false) => return differs("host access".into()),
        _ => {}
    }
    match (&existing.wan, &spec.wan) {
        (Some(wan), Some(asked)) if wan != asked => differs(format!("the interface {wan}")),
        (None, Some(asked)) => match &existing.nat {
            Some(nat) if &nat.wan != asked => differs(format!("NAT by the interface {}", nat.wan)),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// What stood in the way of host access may be gone by now.
fn reconsider_host_access(state: &mut State, spec: &VpcSpec, facts: &HostFacts) -> Result<()> {
    if !matches!(state.vpc(&spec.name)?.host_access, HostAccess::Overlaps(_)) {
        return Ok(());
    }
    set_host_access(state, spec, facts)
}

/// The host gets a route to the VPC unless that would hide something it routes already.
fn decide_host_access(state: &State, spec: &VpcSpec, facts: &HostFacts) -> HostAccess {
    if !spec.host_access {
        return HostAccess::Off;
    }
    if let Some(network) = facts.overlap(spec.cidr) {
        return HostAccess::Overlaps(format!("{} ({})", network.cidr, network.origin));
    }
    let routed = state.vpcs.iter().find(|(_, vpc)| vpc.host_access == HostAccess::On && vpc.cidr.overlaps(spec.cidr));
    if let Some((name, vpc)) = routed {
        return HostAccess::Overlaps(format!("{} (VPC {name})", vpc.cidr));
    }
    let own = state.vpcs.get(&spec.name).and_then(|vpc| vpc.uplink).map(|uplink| uplink.link);
    match state.links().into_iter().find(|link| Some(*link) != own && link.0.overlaps(spec.cidr)) {
        Some(link) => HostAccess::Overlaps(format!("{} (an uplink of vpcctl's)", link.0)),
        None => HostAccess::On,
    }
}
