//! Adding and deleting subnets.

use crate::error::{Failure, Result};
use crate::model::cidr::Cidr;
use crate::model::edit::check_names;
use crate::model::name::{Name, VpcName};
use crate::model::state::{Nat, NatScope, State, Subnet, SubnetType};

/// The longest prefix of a subnet in bits: network, gateway, one instance, broadcast.
pub const MAX_SUBNET_PREFIX: u8 = 30;

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct SubnetSpec {
    /// The VPC it belongs to.
    pub vpc: VpcName,
    /// Its name.
    pub name: Name,
    /// Its addresses, inside the VPC's.
    pub cidr: Cidr,
    /// Public or private.
    pub kind: SubnetType,
}

impl SubnetSpec {
    /// Refuses what no state could make right.
    pub fn check(&self) -> Result<()> {
        if self.cidr.prefix() <= MAX_SUBNET_PREFIX {
            return Ok(());
        }
        let message =
            format!("cannot add subnet `{}`: {} has no room for a gateway and an instance", self.name, self.cidr);
        Err(Failure::usage(message).hint(format!("the smallest subnet is a /{MAX_SUBNET_PREFIX}")))
    }
}

/// Adds a subnet and its first instance.
pub fn add_subnet(state: &mut State, spec: &SubnetSpec) -> Result<()> {
    insert_subnet(state, spec)?;
    check_names(state)
}

/// The same, where whoever adds many compares the names in the kernel once, at the end.
pub(crate) fn insert_subnet(state: &mut State, spec: &SubnetSpec) -> Result<()> {
    let SubnetSpec { vpc, name, cidr, kind } = spec;
    spec.check()?;
    let found = state.vpc(vpc)?;
    if let Some(existing) = found.subnets.get(name) {
        return same_as(existing, spec);
    }
    if !found.cidr.covers(*cidr) {
        return Err(Failure::usage(format!("cannot add subnet `{name}`: {cidr} is outside of {vpc}'s {}", found.cidr))
            .hint(suggest(found.cidr, cidr.prefix())));
    }
    if let Some((sibling, overlapped)) = found.subnets.iter().find(|(_, subnet)| subnet.cidr.overlaps(*cidr)) {
        let message = format!("cannot add subnet `{name}`: {cidr} overlaps {vpc}/{sibling}'s {}", overlapped.cidr);
        return Err(Failure::conflict(message).hint(format!("`vpcctl inspect {vpc}` shows what is taken")));
    }
    let subnet =
        Subnet { cidr: *cidr, kind: *kind, policy: None, apps: Default::default(), instances: Default::default() };
    state.vpc_mut(vpc)?.subnets.insert(name.clone(), subnet);
    Ok(())
}

/// Makes a subnet public or private. A private one leaves what NAT serves.
pub(crate) fn set_subnet_type(state: &mut State, vpc: &VpcName, name: &Name, kind: SubnetType) -> Result<()> {
    let is_named = |nat: &Nat| matches!(&nat.scope, NatScope::Only(names) if names.contains(name));
    if kind == SubnetType::Private && state.vpc(vpc)?.nat.as_ref().is_some_and(is_named) {
        super::nat::disable_nat(state, vpc, Some(name))?;
    }
    state.subnet_mut(vpc, name)?.kind = kind;
    Ok(())
}

/// Deletes a subnet with its instances.
pub fn delete_subnet(state: &mut State, vpc: &VpcName, name: &Name) -> Result<()> {
    state.subnet(vpc, name)?;
    let found = state.vpc_mut(vpc)?;
    found.subnets.remove(name);
    if let Some(NatScope::Only(names)) = found.nat.as_mut().map(|nat| &mut nat.scope) {
        names.remove(name);
        if names.is_empty() {
            super::nat::disable_nat(state, vpc, None)?;
        }
    }
    Ok(())
}

fn same_as(existing: &Subnet, spec: &SubnetSpec) -> Result<()> {
    if existing.cidr == spec.cidr && existing.kind == spec.kind {
        return Ok(());
    }
    let message = format!("subnet `{}/{}` exists as {} {}", spec.vpc, spec.name, existing.kind.as_str(), existing.cidr);
    Err(Failure::conflict(message)
        .hint(format!("`vpcctl delete-subnet {}/{}` removes it, or choose another name", spec.vpc, spec.name)))
}

/// A subnet that would fit, as an example.
fn suggest(vpc: Cidr, prefix: u8) -> String {
    let prefix = prefix.clamp(vpc.prefix().max(24), MAX_SUBNET_PREFIX);
    match Cidr::containing(vpc.network(), prefix) {
        Some(example) => format!("{example} would be inside"),
        None => format!("choose a CIDR inside {vpc}"),
    }
}
