//! Adding and deleting instances beyond a subnet's first.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use crate::error::{Failure, Kind, Result};
use crate::model::edit::check_names;
use crate::model::name::{Name, VpcName};
use crate::model::state::{Instance, State, Subnet};

/// What an operator asks for.
#[derive(Debug, Clone)]
pub struct InstanceSpec {
    /// The VPC.
    pub vpc: VpcName,
    /// The subnet.
    pub subnet: Name,
    /// The instance's name.
    pub name: Name,
    /// Its address; the lowest free one otherwise.
    pub address: Option<Ipv4Addr>,
}

/// Adds an instance to a subnet.
pub fn add_instance(state: &mut State, spec: &InstanceSpec) -> Result<()> {
    insert_instance(state, spec)?;
    check_names(state)
}

/// The same, where whoever adds many compares the names in the kernel once, at the end.
pub(crate) fn insert_instance(state: &mut State, spec: &InstanceSpec) -> Result<()> {
    let subnet = state.subnet(&spec.vpc, &spec.subnet)?;
    if let Some(existing) = subnet.instances.get(&spec.name) {
        return same_as(existing, spec);
    }
    let address = match spec.address {
        Some(address) => checked(subnet, spec, address)?,
        None => lowest_free(subnet, spec)?,
    };
    let instance = Instance { address, policy: None, apps: BTreeMap::new() };
    state.subnet_mut(&spec.vpc, &spec.subnet)?.instances.insert(spec.name.clone(), instance);
    Ok(())
}

/// Deletes an instance that `add-instance` made.
pub fn delete_instance(state: &mut State, vpc: &VpcName, subnet: &Name, name: &Name) -> Result<()> {
    state.instance(vpc, subnet, name)?;
    state.subnet_mut(vpc, subnet)?.instances.remove(name);
    Ok(())
}

fn same_as(existing: &Instance, spec: &InstanceSpec) -> Result<()> {
    match spec.address {
        Some(address) if address != existing.address => {
            let path = format!("{}/{}/{}", spec.vpc, spec.subnet, spec.name);
            Err(Failure::conflict(format!("instance `{path}` exists with the address {}", existing.address))
                .hint(format!("`vpcctl delete-instance {path}` removes it, or choose another name")))
        }
        _ => Ok(()),
    }
}

fn checked(subnet: &Subnet, spec: &InstanceSpec, address: Ipv4Addr) -> Result<Ipv4Addr> {
    let refuse = |kind: Kind, why: String| {
        Failure::new(kind, format!("cannot add instance `{}`: {address} {why}", spec.name))
            .hint("leave --address out, and it gets the lowest free one")
    };
    let cidr = subnet.cidr;
    if !cidr.contains(address) {
        return Err(refuse(Kind::Usage, format!("is outside of {}/{}'s {cidr}", spec.vpc, spec.subnet)));
    }
    if address == cidr.network() || address == cidr.broadcast() {
        return Err(refuse(Kind::Usage, "is the network's own or its broadcast address".into()));
    }
    if address == subnet.gateway() {
        return Err(refuse(Kind::Conflict, "is the gateway's".into()));
    }
    match subnet.all_instances().find(|(_, taken, _)| *taken == address) {
        Some((Some(name), ..)) => Err(refuse(Kind::Conflict, format!("is taken by `{name}`"))),
        Some((None, ..)) => Err(refuse(Kind::Conflict, "is the subnet's first instance's".into())),
        None => Ok(address),
    }
}

fn lowest_free(subnet: &Subnet, spec: &InstanceSpec) -> Result<Ipv4Addr> {
    let taken: BTreeSet<Ipv4Addr> = subnet.all_instances().map(|(_, address, _)| address).collect();
    let usable = 2..subnet.cidr.size() - 1;
    let mut addresses = usable.filter_map(|offset| subnet.cidr.address(offset));
    addresses.find(|address| !taken.contains(address)).ok_or_else(|| {
        Failure::conflict(format!("cannot add instance `{}`: {} has no free address", spec.name, subnet.cidr))
            .hint("delete an instance, or add a larger subnet")
    })
}
