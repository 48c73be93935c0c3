//! From a state to the topology file that makes it so.

use std::collections::{BTreeMap, BTreeSet};

use super::choice::{Allow, NatChoice, PolicyChoice};
use super::schema::{
    AppEntry, InstanceEntry, NatFields, PeeringEntry, SubnetEntry, Topology, UplinkEntry, Version, VpcEntry,
};
use crate::model::app::{App, Port};
use crate::model::name::{Name, VpcName};
use crate::model::policy::Policy;
use crate::model::state::{HostAccess, Nameservers, Nat, NatScope, PeeringScope, State, Subnet};

/// A state as a file: the VPCs of `only`, or all. What vpcctl found on the host and keeps for itself is not in it.
pub fn export(state: &State, only: &BTreeSet<VpcName>) -> Topology {
    let chosen = |name: &VpcName| only.is_empty() || only.contains(name);
    let mut vpcs: Vec<_> = state.vpcs.iter().filter(|(name, _)| chosen(name)).collect();
    // Who has host access got it before those in whose way it was.
    vpcs.sort_by_key(|(_, vpc)| matches!(vpc.host_access, HostAccess::Overlaps(_)));
    let peerings = state.peerings.iter().filter(|peering| chosen(&peering.a) && chosen(&peering.b));
    let peerings = peerings.map(|peering| PeeringEntry {
        vpcs: [peering.a.clone(), peering.b.clone()],
        link: Some(peering.link.0),
        allow: match &peering.scope {
            PeeringScope::Everything => None,
            PeeringScope::Only(pairs) => Some(Allow::Pairs(pairs.iter().copied().collect())),
        },
    });
    let vpcs = vpcs.into_iter().map(|(name, vpc)| VpcEntry {
        name: name.clone(),
        cidr: vpc.cidr,
        mtu: u16::try_from(vpc.mtu).ok(),
        host_access: Some(vpc.host_access != HostAccess::Off),
        interface: vpc.wan.clone(),
        uplink: vpc.uplink.map(|uplink| UplinkEntry { addresses: Some(uplink.link.0), pool: Some(uplink.pool) }),
        nat: vpc.nat.as_ref().map(exported_nat),
        subnets: vpc.subnets.iter().map(|(name, subnet)| exported_subnet(name, subnet)).collect(),
    });
    Topology { version: Version, schema: None, vpcs: vpcs.collect(), peerings: peerings.collect(), expect: Vec::new() }
}

pub(super) fn exported_nat(nat: &Nat) -> NatChoice {
    NatChoice::On(NatFields {
        interface: Some(nat.wan.clone()),
        subnets: match &nat.scope {
            NatScope::AllPublic => None,
            NatScope::Only(names) => Some(names.clone()),
        },
        nameservers: match &nat.nameservers {
            Nameservers::Host(_) => None,
            Nameservers::Chosen(addresses) => Some(addresses.clone()),
        },
    })
}

fn exported_subnet(name: &Name, subnet: &Subnet) -> SubnetEntry {
    let policy = |policy: &Option<Policy>| policy.as_ref().map(PolicyChoice::inline);
    let instances = subnet.instances.iter().map(|(name, instance)| InstanceEntry {
        name: name.clone(),
        address: Some(instance.address),
        policy: policy(&instance.policy),
        apps: exported_apps(&instance.apps),
    });
    SubnetEntry {
        name: name.clone(),
        cidr: subnet.cidr,
        kind: subnet.kind,
        policy: policy(&subnet.policy),
        apps: exported_apps(&subnet.apps),
        instances: instances.collect(),
    }
}

fn exported_apps(apps: &BTreeMap<Port, App>) -> Vec<AppEntry> {
    let exported = |(port, app): (&Port, &App)| AppEntry {
        port: *port,
        command: app.command.clone(),
        user: Some(app.user.clone()),
        directory: app.directory.to_str().map(str::to_owned),
        wait: app.wait,
    };
    apps.iter().map(exported).collect()
}
