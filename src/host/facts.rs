//! What an edit has to know of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use crate::error::{Failure, Kind};
use crate::host::StepError;
use crate::host::look;
use crate::model::cidr::Cidr;
use crate::model::facts::{HostFacts, HostLink, HostNetwork};
use crate::model::name::IfName;
use crate::plan::line::Place;
use crate::plan::observed::{Seen, SeenRoute};
use crate::plan::op::ROUTE_PROTOCOL;
use crate::plan::topology::{UPLINK_GROUP, UPLINK_GROUP_MASK};

/// Looks at the host's interfaces, addresses and routes, and at its tables if `with_tables`.
pub fn gather(with_tables: bool) -> Result<HostFacts, Failure> {
    let seen = see().map_err(|error| {
        Failure::new(Kind::Host, format!("cannot look at the host's network: {}: {}", error.command, error.reason))
    })?;
    let tables = if with_tables { tables()? } else { BTreeSet::new() };
    Ok(from_seen(&seen, tables))
}

fn see() -> Result<Seen, StepError> {
    let call = look::ip_call(&Place::Host);
    let mut seen = Seen::default();
    let text = look::dump(&call)?;
    seen.read_ip(&text).map_err(|error| StepError::of_call(&call, format!("its output can't be read: {error}")))?;
    Ok(seen)
}

fn tables() -> Result<BTreeSet<String>, Failure> {
    let text = look::rules(&Place::Host).map_err(|error| {
        Failure::new(Kind::Host, format!("cannot look at the host's rules: {}: {}", error.command, error.reason))
    })?;
    Ok(text.lines().filter_map(|line| line.strip_prefix('*')).map(str::to_owned).collect())
}

fn from_seen(seen: &Seen, tables: BTreeSet<String>) -> HostFacts {
    let foreign: BTreeMap<&String, u32> =
        seen.links.iter().filter(|(_, link)| !is_uplink(&link.group)).map(|(name, link)| (name, link.mtu)).collect();
    let links = foreign.iter().filter(|(name, _)| name.as_str() != "lo");
    let links = links.filter_map(|(name, mtu)| {
        let name: IfName = name.parse().ok()?;
        let forwarding = forwards(&name);
        Some((name, HostLink { mtu: *mtu, forwarding }))
    });
    let addresses = seen.addresses.iter().filter(|(device, ..)| foreign.contains_key(device) && device != "lo");
    let addresses = addresses.filter_map(|(device, address, prefix)| {
        Some(HostNetwork { cidr: Cidr::containing(*address, *prefix)?, origin: format!("address on {device}") })
    });
    let routes = seen.routes.iter().filter(|route| is_foreign(route, &foreign)).filter_map(|route| {
        let device = route.dev.as_deref().map(|dev| format!(" on {dev}")).unwrap_or_default();
        Some(HostNetwork { cidr: destination(&route.dst)?, origin: format!("route{device}") })
    });
    HostFacts {
        default_wan: default_wan(&seen.routes),
        links: links.collect(),
        networks: addresses.chain(routes).collect(),
        tables,
    }
}

/// `ip` prints a group that has no name as a number.
fn is_uplink(group: &str) -> bool {
    group.parse::<u32>().is_ok_and(|group| group & UPLINK_GROUP_MASK == UPLINK_GROUP)
}

/// A route to a network that is neither vpcctl's nor the kernel's own for loopback and broadcast.
fn is_foreign(route: &SeenRoute, links: &BTreeMap<&String, u32>) -> bool {
    let local = route.table.as_deref() == Some("local");
    let ours = route.protocol.as_deref() == Some(&ROUTE_PROTOCOL.to_string());
    let by_uplink = route.dev.as_ref().is_some_and(|dev| !links.contains_key(dev));
    !local && !ours && !by_uplink
}

/// The network that a route's destination names; nothing for the default route.
fn destination(dst: &str) -> Option<Cidr> {
    match dst.split_once('/') {
        _ if dst == "default" => None,
        Some(_) => dst.parse().ok(),
        None => dst.parse().ok().map(Cidr::host),
    }
}

fn default_wan(routes: &[SeenRoute]) -> Option<IfName> {
    let main = |route: &&SeenRoute| matches!(route.table.as_deref(), None | Some("main"));
    let defaults = routes.iter().filter(main).filter(|route| route.dst == "default" && route.dev.is_some());
    let best = defaults.min_by_key(|route| route.metric.unwrap_or(0))?;
    best.dev.as_ref()?.parse().ok()
}

fn forwards(link: &IfName) -> bool {
    let value = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/forwarding"));
    value.is_ok_and(|value| value.trim() == "1")
}
