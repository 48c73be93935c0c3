//! What every state has to fulfil, whoever wrote it: edits keep it so, and a state file that doesn't is refused.

use std::collections::BTreeSet;

use crate::model::edit::{MAX_NAMESERVERS, MAX_SUBNET_PREFIX, VPC_PREFIXES, is_nameserver};
use crate::model::kernel_names;
use crate::model::name::{Name, VpcName};
use crate::model::state::{Host, Peering, State, Subnet, Vpc};

/// The smallest MTU of IPv4, in bytes: RFC 791.
pub const MIN_MTU: u32 = 68;

/// The first thing that can't be so, in words.
pub fn flaw(state: &State) -> Option<String> {
    let in_vpcs = state.vpcs.iter().find_map(|(name, vpc)| vpc_flaw(name, vpc));
    let in_peerings = || state.peerings.iter().find_map(|peering| peering_flaw(state, peering));
    host_flaw(&state.host).or(in_vpcs).or_else(in_peerings).or_else(|| shared(state))
}

fn vpc_flaw(name: &VpcName, vpc: &Vpc) -> Option<String> {
    if !VPC_PREFIXES.contains(&vpc.cidr.prefix()) {
        return Some(format!("VPC {name} can't have the CIDR {}", vpc.cidr));
    }
    for (subnet_name, subnet) in &vpc.subnets {
        let path = || format!("{name}/{subnet_name}");
        if !vpc.cidr.covers(subnet.cidr) || subnet.cidr.prefix() > MAX_SUBNET_PREFIX {
            return Some(format!("subnet {} can't have the CIDR {}", path(), subnet.cidr));
        }
        if let Some(flaw) = instance_flaw(&path, subnet).or_else(|| app_flaw(&path, subnet)) {
            return Some(flaw);
        }
    }
    if let Some((one, other)) = overlap(vpc) {
        return Some(format!("subnet {name}/{other} overlaps {name}/{one}"));
    }
    let nameservers = vpc.nat.as_ref().map(|nat| nat.nameservers.addresses()).unwrap_or_default();
    if nameservers.len() > MAX_NAMESERVERS || nameservers.iter().any(|server| !is_nameserver(*server)) {
        return Some(format!("VPC {name} can't have these name servers"));
    }
    (vpc.mtu < MIN_MTU).then(|| format!("VPC {name} can't have the MTU {}", vpc.mtu))
}

/// Two subnets that share addresses, if there are any: in the order of their addresses such are neighbours.
fn overlap(vpc: &Vpc) -> Option<(&Name, &Name)> {
    let mut subnets: Vec<_> = vpc.subnets.iter().map(|(name, subnet)| (subnet.cidr, name)).collect();
    subnets.sort_unstable();
    let pair = subnets.windows(2).find(|pair| pair[0].0.overlaps(pair[1].0))?;
    Some((pair[0].1, pair[1].1))
}

/// Names of tables and chains reach tools and scripts: they are iptables' own.
fn host_flaw(host: &Host) -> Option<String> {
    let chains = host.own_chains.iter().flat_map(|(table, chain)| [table, chain]);
    let odd = |name: &&String| name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic());
    let name = host.own_tables.iter().chain(chains).find(odd)?;
    Some(format!("`{}` is no table or chain of iptables", name.escape_debug()))
}

/// What no edit writes: a directory that depends on where one is, and words that no program can be given.
fn app_flaw(path: &dyn Fn() -> String, subnet: &Subnet) -> Option<String> {
    let further = subnet.instances.values().flat_map(|instance| &instance.apps);
    let (port, app) = subnet.apps.iter().chain(further).find(|(_, app)| !app.is_possible())?;
    Some(format!("an instance of subnet {} can't have the app on port {port}: {}", path(), app.name()))
}

fn instance_flaw(path: &dyn Fn() -> String, subnet: &Subnet) -> Option<String> {
    if subnet.instances.is_empty() {
        // The first one's address follows from the CIDR.
        return None;
    }
    let mut taken = BTreeSet::from([subnet.cidr.network(), subnet.cidr.broadcast(), subnet.gateway()]);
    let mut instances = subnet.all_instances().map(|(_, address, _)| address);
    let wrong = instances.find(|address| !subnet.cidr.contains(*address) || !taken.insert(*address))?;
    Some(format!("an instance of subnet {} can't have the address {wrong}", path()))
}

fn peering_flaw(state: &State, peering: &Peering) -> Option<String> {
    let Peering { a, b, .. } = peering;
    let (Some(one), Some(other)) = (state.vpcs.get(a), state.vpcs.get(b)) else {
        return Some(format!("the peering of {a} and {b} has no VPC at one end"));
    };
    let wrong = a >= b || one.cidr.overlaps(other.cidr);
    wrong.then(|| format!("{a} and {b} can't be peered"))
}

/// Names, peerings and links that there are twice.
fn shared(state: &State) -> Option<String> {
    if let Some((name, one, other)) = kernel_names::collision(state) {
        return Some(format!("{} and {} share the {name}", one.describe(), other.describe()));
    }
    let is_twice = |pair: &&[Peering]| pair[0].ends() == pair[1].ends();
    if let Some([one, _]) = state.peerings.windows(2).find(is_twice) {
        return Some(format!("{} and {} are peered twice", one.a, one.b));
    }
    let ends = state.vpcs.values().filter(|vpc| vpc.uplink.is_some()).count() + state.peerings.len();
    let links = state.links();
    let overlapping = links.iter().zip(links.iter().skip(1)).any(|(one, next)| one.0.overlaps(next.0));
    (links.len() < ends || overlapping || links.iter().any(|link| link.0.prefix() != 31))
        .then(|| "two links share an address".to_owned())
}
