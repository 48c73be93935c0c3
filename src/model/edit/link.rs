//! Point-to-point addresses: /31s from a pool, for uplinks and peerings; and what the host keeps while uplinks exist.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::error::{Failure, Kind, Result};
use crate::model::cidr::Cidr;
use crate::model::facts::HostFacts;
use crate::model::state::{Link, State, Uplink};

/// Where /31s come from unless the operator says otherwise: the upper half of the benchmarking range (RFC 2544).
///
/// Not routed on the internet, and not used by Tailscale (100.64.0.0/10), Docker (172.16.0.0/12, 192.168.0.0/16),
/// libvirt (192.168.122.0/24), Kubernetes (10.0.0.0/8 by habit) or a cloud's metadata service (169.254.0.0/16).
pub const DEFAULT_POOL: &str = "198.19.0.0/16";

/// The longest prefix of a pool in bits: room for one link.
const MAX_POOL_PREFIX: u8 = 31;

/// The first free /31 of `pool` that is clear of every network in `taken`.
pub fn take_link(state: &State, pool: Cidr, taken: &[Cidr]) -> Result<Link> {
    if pool.prefix() > MAX_POOL_PREFIX || pool.prefix() < 8 {
        return Err(Failure::usage(format!("`{pool}` can't be a pool of uplink addresses"))
            .hint("a pool is a /8 to a /31, for instance 198.19.0.0/16"));
    }
    let used: BTreeSet<Cidr> = state.links().into_iter().map(|link| link.0).collect();
    let mut offset = 0;
    while let Some(candidate) = pool.address(offset).and_then(|address| Cidr::containing(address, 31)) {
        match taken.iter().find(|network| network.overlaps(candidate)) {
            // Whole networks are stepped over at once: a /8 in the way is one step, not four million.
            Some(network) => offset = offset_after(pool, *network),
            None if used.contains(&candidate) => offset += 2,
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

/// Gives the host's first uplink its surroundings, and takes from the record what no VPC uses any more.
pub fn settle_host(state: &mut State, facts: Option<&HostFacts>) {
    let had_uplinks = !state.host.own_tables.is_empty() || !state.host.wans.is_empty();
    let uplinks = state.vpcs.values().filter(|vpc| vpc.uplink.is_some()).count();
    if uplinks == 0 {
        state.host = Default::default();
    } else if let (1, false, Some(facts)) = (uplinks, had_uplinks, facts) {
        let tables = ["filter", "nat"].map(str::to_owned);
        state.host.own_tables = tables.into_iter().filter(|table| !facts.tables.contains(table)).collect();
    }
    let used: BTreeSet<_> = state.vpcs.values().filter_map(|vpc| vpc.nat.as_ref()).map(|nat| nat.wan.clone()).collect();
    state.host.wans.retain(|wan, _| used.contains(wan));
}

/// An uplink for a VPC with `cidr`, clear of the host's networks.
pub fn take_uplink(state: &State, pool: Cidr, cidr: Cidr, facts: &HostFacts) -> Result<Uplink> {
    let mut taken: Vec<Cidr> = facts.networks.iter().map(|network| network.cidr).collect();
    taken.push(cidr);
    Ok(Uplink { link: take_link(state, pool, &taken)?, pool })
}
