//! Address ranges that the host uses already: its LAN, its VPNs, other software's bridges.

use std::collections::BTreeSet;

use super::Finding;
use super::facts::{Facts, Networks};
use crate::model::cidr::Cidr;
use crate::model::facts::HostNetwork;
use crate::model::name::VpcName;
use crate::model::state::{HostAccess, State, Vpc};

/// The kinds of links, and the beginnings of names, that VPN software uses.
const VPN_KINDS: [&str; 6] = ["wireguard", "tun", "ipip", "gre", "vti", "xfrm"];
const VPN_NAMES: [&str; 8] = ["wg", "tun", "tap", "tailscale", "zt", "ppp", "ipsec", "nordlynx"];

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let Some(networks) = &facts.networks else {
        return Vec::new();
    };
    let state = facts.state.readable();
    let mut findings = vec![default_route(networks)];
    findings.extend(state.into_iter().flat_map(|state| ways_out(state, networks)));
    findings.extend(state.into_iter().flat_map(|state| vpcs(state, networks)));
    findings.extend(pools(networks, state));
    findings.extend(state.and_then(|_| foreign_uplinks(networks, &facts.state.dir)));
    if findings.iter().all(|finding| finding.remedy.is_none()) {
        findings.extend(in_use(networks));
    }
    findings
}

fn default_route(networks: &Networks) -> Finding {
    let id = "default-route";
    if networks.has_default_route {
        return Finding::ok(id, "there is a default route, which NAT leaves by");
    }
    Finding::warning(
        id,
        "there is no default route: enable-nat has no way to the internet",
        "ip route add default via GATEWAY",
    )
}

/// VPCs whose rules name an interface that is gone, or that the default route isn't by any more.
fn ways_out<'a>(state: &'a State, networks: &'a Networks) -> impl Iterator<Item = Finding> + 'a {
    state.vpcs.iter().filter_map(|(name, vpc)| {
        let wan = &vpc.nat.as_ref()?.wan;
        let is_there = networks.links.contains_key(wan.as_str());
        let what = match &networks.default_wan {
            _ if !is_there => format!("{name} leaves by {wan}, which the host doesn't have any more"),
            Some(default) if default != wan && vpc.wan.is_none() => {
                format!("{name} leaves by {wan}, and the host's default route is by {default}")
            }
            _ => return None,
        };
        Some(Finding::warning("nat-interface", what, format!("vpcctl disable-nat {name}; vpcctl enable-nat {name}")))
    })
}

/// What of the host's networks shares an address with a VPC.
fn vpcs<'a>(state: &'a State, networks: &'a Networks) -> impl Iterator<Item = Finding> + 'a {
    state.vpcs.iter().filter_map(|(name, vpc)| {
        let network = overlap(networks, vpc.cidr)?;
        vpc_overlap(name, vpc, &describe(networks, network))
    })
}

fn vpc_overlap(name: &VpcName, vpc: &Vpc, other: &str) -> Option<Finding> {
    let cidr = vpc.cidr;
    let (loss, remedy) = match vpc.host_access {
        // The host's own route stands.
        HostAccess::Off => return None,
        HostAccess::Overlaps(_) => (
            "the host has no way to its instances; all else works",
            "reach them by `vpcctl exec`, or make the VPC again with another CIDR".to_owned(),
        ),
        // It came later: vpcctl's rule for the host's own packets is asked before the main table.
        HostAccess::On => (
            "what the host sends there goes to the VPC",
            format!("make {name} again with --no-host-access, or with another CIDR"),
        ),
    };
    Some(Finding::warning("vpc-overlap", format!("{name}'s {cidr} overlaps {other}: {loss}"), remedy))
}

/// The pools of uplink addresses: the one that would be used, and those in use.
fn pools(networks: &Networks, state: Option<&State>) -> Vec<Finding> {
    let used = state.into_iter().flat_map(State::links).filter_map(|link| overlap(networks, link.0)).map(|network| {
        let what = format!("uplinks have addresses of {}: what passes them may get lost", describe(networks, network));
        Finding::warning("uplink-overlap", what, "delete the VPCs and make them again with --uplink-pool CIDR")
    });
    let pool = networks.pool.and_then(|pool| Some((pool, overlap(networks, pool)?))).map(|(pool, network)| {
        let what =
            format!("the uplink pool {pool} overlaps {}: only the rest of it is used", describe(networks, network));
        Finding::warning("uplink-pool", what, "give a free range: --uplink-pool CIDR, or VPCCTL_UPLINK_POOL")
    });
    let mut findings: Vec<Finding> = used.chain(pool).collect();
    findings.dedup();
    findings
}

/// Whoever names the wrong state directory sees VPCs on the host that the state knows nothing of.
fn foreign_uplinks(networks: &Networks, dir: &str) -> Option<Finding> {
    let first = networks.foreign_uplinks.first()?;
    let what = format!("uplinks of VPCs that {dir} knows nothing of: {}", networks.foreign_uplinks.join(", "));
    let remedy = format!("name their state directory with --state-dir; where it is lost: ip link del dev {first}");
    Some(Finding::warning("other-state", what, remedy))
}

/// The ranges in use, so that a VPC can keep clear of them.
fn in_use(networks: &Networks) -> Option<Finding> {
    let on_device = |network: &HostNetwork| {
        let device = device(network).map(|device| format!(" on {device}")).unwrap_or_default();
        format!("{}{device}", network.cidr)
    };
    let ranges: BTreeSet<String> = networks.networks.iter().map(on_device).collect();
    let mut ranges: Vec<String> = ranges.into_iter().collect();
    const SHOWN: usize = 4;
    let more = ranges.len().saturating_sub(SHOWN);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    ranges.truncate(SHOWN);
    (!ranges.is_empty()).then(|| {
        let what = format!(
            "no range overlaps; the host uses {}{more}: a VPC there works without host access",
            ranges.join(", ")
        );
        Finding::ok("networks", what)
    })
}

/// The largest of the host's networks that shares an address with a range.
fn overlap(networks: &Networks, cidr: Cidr) -> Option<&HostNetwork> {
    let overlapping = networks.networks.iter().filter(|network| network.cidr.overlaps(cidr));
    overlapping.min_by_key(|network| network.cidr.prefix())
}

/// `10.8.0.0/24 (route on wg0, a VPN)`.
fn describe(networks: &Networks, network: &HostNetwork) -> String {
    let HostNetwork { cidr, origin } = network;
    let vpn = device(network).is_some_and(|device| is_vpn(networks, device));
    format!("{cidr} ({origin}{})", if vpn { ", a VPN" } else { "" })
}

/// The device that the network is on.
fn device(network: &HostNetwork) -> Option<&str> {
    network.origin.rsplit_once(" on ").map(|(_, device)| device)
}

fn is_vpn(networks: &Networks, device: &str) -> bool {
    let by_kind = networks.links.get(device).is_some_and(|kind| VPN_KINDS.contains(&kind.as_str()));
    by_kind || VPN_NAMES.iter().any(|name| device.starts_with(name))
}
