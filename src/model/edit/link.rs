//! Point-to-point addresses: /31s from a pool, for uplinks and peerings; and what the host keeps while uplinks exist.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::error::{Failure, Kind, Result};
use crate::model::cidr::Cidr;
use crate::model::facts::HostFacts;
use crate::model::name::{IfName, VpcName};
use crate::model::state::{Link, State, Uplink, Wan};

/// Where /31s come from unless the operator says otherwise: the upper half of the benchmarking range (RFC 2544).
///
/// Not routed on the internet, and not used by Tailscale (100.64.0.0/10), Docker (172.16.0.0/12, 192.168.0.0/16),
/// libvirt (192.168.122.0/24), Kubernetes (10.0.0.0/8 by habit) or a cloud's metadata service (169.254.0.0/16).
pub const DEFAULT_POOL: &str = "198.19.0.0/16";

/// The longest prefix of a pool in bits: room for one link.
const MAX_POOL_PREFIX: u8 = 31;

/// The first free /31 of `pool` that is clear of the host's `networks` and of every VPC.
pub fn take_link(state: &State, pool: Cidr, networks: &[Cidr]) -> Result<Link> {
    if pool.prefix() > MAX_POOL_PREFIX || pool.prefix() < 8 {
        return Err(Failure::usage(format!("`{pool}` can't be a pool of uplink addresses"))
            .hint("a pool is a /8 to a /31, for instance 198.19.0.0/16"));
    }
    let taken: Vec<Cidr> = networks.iter().copied().chain(state.vpcs.values().map(|vpc| vpc.cidr)).collect();
    let used: BTreeSet<Cidr> = state.links().into_iter().map(|link| link.0).collect();
    let mut offset = 0;
    while let Some(candidate) = pool.address(offset).and_then(|address| Cidr::containing(address, 31)) {
        if used.contains(&candidate) {
            offset += 2;
            continue;
        }
        match taken.iter().find(|network| network.overlaps(candidate)) {
            // Whole networks are stepped over at once: a /8 in the way is one step, not four million.
            Some(network) => offset = offset_after(pool, *network),
            None => return Ok(Link(candidate)),
        }
    }
    Err(Failure::new(Kind::Host, format!("no address is free in the uplink pool {pool}"))
        .hint("give another one: --uplink-pool CIDR, or VPCCTL_UPLINK_POOL"))
}

/// The offset in `pool` of the first address after `network`; past its end where there is none.
fn offset_after(pool: Cidr, network: Cidr) -> u64 {
    let bits = |address: Ipv4Addr| u64::from(address.to_bits());
    (bits(network.broadcast()) + 1).saturating_sub(bits(pool.network()))
}

/// Gives a VPC an uplink, if it has none, with addresses that are clear of the host's networks.
pub fn give_uplink(state: &mut State, vpc: &VpcName, pool: Cidr, facts: &HostFacts) -> Result<()> {
    let found = state.vpc(vpc)?;
    if found.uplink.is_some() {
        return Ok(());
    }
    let networks: Vec<Cidr> = facts.networks.iter().map(|network| network.cidr).collect();
    let link = match facts.promised.get(vpc) {
        Some(link) => *link,
        None => take_link(state, pool, &[networks, facts.promised_cidrs()].concat())?,
    };
    let uplink = Uplink { link, pool };
    if state.vpcs.values().all(|vpc| vpc.uplink.is_none()) {
        note_table(state, "filter", &["INPUT", "FORWARD"], facts);
    }
    state.vpc_mut(vpc)?.uplink = Some(uplink);
    Ok(())
}

/// Refuses addresses that an uplink or a peering can't have: they are no two, or in a network at one of its ends.
pub fn check_link(link: Cidr, networks: &[Cidr]) -> Result<Link> {
    if link.prefix() != MAX_POOL_PREFIX {
        return Err(Failure::usage(format!("{link} is not the two addresses of a link")).hint("write a /31"));
    }
    match networks.iter().find(|network| network.overlaps(link)) {
        None => Ok(Link(link)),
        Some(network) => Err(Failure::conflict(format!("{link} can't be a link: it overlaps {network}"))
            .hint("leave it out, and vpcctl chooses")),
    }
}

/// Records an interface that VPCs leave by, and how it was before.
pub fn record_wan(state: &mut State, wan: IfName, facts: &HostFacts) -> Result<()> {
    if state.host.wans.contains_key(&wan) {
        return Ok(());
    }
    if state.host.wans.is_empty() {
        note_table(state, "nat", &["POSTROUTING"], facts);
    }
    let taken: BTreeSet<u16> = state.host.wans.values().map(|wan| wan.index).collect();
    let free = (1..=u16::MAX).find(|index| !taken.contains(index));
    let index = free.ok_or_else(|| {
        Failure::new(Kind::Host, "too many WAN interfaces are in use").hint("`vpcctl disable-nat VPC` frees one")
    })?;
    let forwarding_before = facts.links.get(&wan).is_some_and(|link| link.forwarding);
    state.host.wans.insert(wan, Wan { index, forwarding_before });
    Ok(())
}

/// A table or a built-in chain that doesn't exist comes into being with our first rule in it, and is ours to delete.
fn note_table(state: &mut State, table: &str, chains: &[&str], facts: &HostFacts) {
    if !facts.firewall.tables.contains(table) {
        state.host.own_tables.insert(table.to_owned());
        return;
    }
    let named = chains.iter().map(|chain| (table.to_owned(), chain.to_string()));
    state.host.own_chains.extend(named.filter(|chain| !facts.firewall.chains.contains(chain)));
}

fn forget_table(state: &mut State, table: &str) {
    state.host.own_tables.remove(table);
    state.host.own_chains.retain(|(of, _)| of != table);
}

/// An edit of many parts may pass through states without uplinks, NAT or VPCs: what the host had before the first of them is
/// still what `old` says.
pub fn keep_record(old: &State, state: &mut State) {
    let new = std::mem::replace(&mut state.host, old.host.clone());
    if !old.vpcs.is_empty() && !state.vpcs.is_empty() {
        let taken: BTreeSet<u16> = old.host.wans.values().map(|wan| wan.index).collect();
        let mut free = (1..=u16::MAX).filter(|index| !taken.contains(index));
        for (name, wan) in new.wans {
            if !state.host.wans.contains_key(&name)
                && let Some(index) = free.next()
            {
                state.host.wans.insert(name, Wan { index, ..wan });
            }
        }
        let had_uplinks = old.vpcs.values().any(|vpc| vpc.uplink.is_some());
        let is_known =
            |table: &str| (table == "nat" && !old.host.wans.is_empty()) || (table == "filter" && had_uplinks);
        state.host.own_tables.extend(new.own_tables.into_iter().filter(|table| !is_known(table)));
        state.host.own_chains.extend(new.own_chains.into_iter().filter(|(table, _)| !is_known(table)));
    } else {
        state.host = new;
    }
    forget_unused(state);
}

/// Takes from the record of the host what no VPC uses any more.
pub fn forget_unused(state: &mut State) {
    let used: BTreeSet<_> = state.vpcs.values().filter_map(|vpc| vpc.nat.as_ref()).map(|nat| nat.wan.clone()).collect();
    state.host.wans.retain(|wan, _| used.contains(wan));
    if state.host.wans.is_empty() {
        forget_table(state, "nat");
    }
    if state.vpcs.values().all(|vpc| vpc.uplink.is_none()) {
        forget_table(state, "filter");
    }
    if state.vpcs.is_empty() {
        state.host.iptables = None;
        state.host.filters_senders = false;
    }
}
