//! What an edit has to know of the host.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::Ipv4Addr;

use crate::error::{Failure, Kind};
use crate::host::rules::{self, Ahead};
use crate::host::{StepError, look, pool, privilege, run};
use crate::model::cidr::Cidr;
use crate::model::edit::is_nameserver;
use crate::model::facts::{Barrier, FirewallFacts, HostFacts, HostLink, HostNetwork};
use crate::model::flavour::Flavour;
use crate::model::kernel_names as names;
use crate::model::name::IfName;
use crate::model::state::State;
use crate::plan::barrier::{ChainId, Listing, Ruleset};
use crate::plan::batch::{Call, Program};
use crate::plan::line::Place;
use crate::plan::observed::{Seen, SeenRoute};
use crate::plan::op::HostTable;
use crate::plan::rule::Table;
use crate::plan::topology::is_uplink_group;

/// What is asked of the host besides its interfaces, addresses and routes.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// Which tables and chains are there: matters when the first rule goes into one.
    pub firewall: bool,
    /// What of other software's rules is certain to stop what VPCs send from the addresses of this pool.
    pub barriers_to: Option<Cidr>,
    /// Where the host's rules are put for the look that comes next, if they are likely to be wanted there, and something else that
    /// takes as long is asked meanwhile.
    pub ahead: Option<&'a Ahead>,
}

/// Looks at the host: what doesn't depend on each other side by side.
pub fn gather(state: &State, asked: Asked<'_>) -> Result<HostFacts, Failure> {
    // A listing of everything takes its time, and mostly there is nothing in it that matters.
    let barriers_to = asked.barriers_to.filter(|_| may_have_barriers());
    let asked = Asked { barriers_to, ..asked };
    let look = || (Rules::look(asked), look::network());
    let (rules, seen) = match asked.ahead {
        // `nft` takes as long as reading the host's rules does.
        Some(ahead) if barriers_to.is_some() => pool::both(|| ahead.read(), look).1,
        _ => look(),
    };
    let rules = rules?;
    let seen = seen.map_err(|error| cannot_look("network", &error))?;
    let facts = from_seen(&seen, state, rules.firewall);
    let barriers = asked.barriers_to.map(|pool| barriers(&rules.forward, &facts, pool)).unwrap_or_default();
    Ok(HostFacts { iptables: run::flavour(), may_filter_senders: may_filter_senders(), barriers, ..facts })
}

/// What anybody may see of the host, for who only wants to know what would be made. The rest is taken to be as on a new machine:
/// no rules, and a kernel that has what it takes.
pub fn gather_unprivileged(state: &State) -> Result<HostFacts, Failure> {
    let seen = look::network().map_err(|error| cannot_look("network", &error))?;
    let facts = from_seen(&seen, state, FirewallFacts::default());
    Ok(HostFacts { iptables: run::flavour(), may_filter_senders: may_filter_senders(), ..facts })
}

/// Is there a tool that makes filters?
fn may_filter_senders() -> bool {
    run::find(Program::Tc.as_str()).is_ok()
}

/// What stops all that VPCs would send, for each interface that they might leave by.
fn barriers(rules: &Ruleset, facts: &HostFacts, pool: Cidr) -> BTreeMap<IfName, Barrier> {
    let barrier = |wan: &IfName| {
        let found = rules.barrier(wan, pool.network())?;
        let barrier = Barrier { what: found.to_string(), remedy: found.remedy() };
        Some((wan.clone(), barrier))
    };
    facts.links.keys().filter_map(barrier).collect()
}

/// What is known of the host's rules.
#[derive(Default)]
struct Rules {
    /// Which of the parts that ours go into are there.
    firewall: FirewallFacts,
    /// What forwarded packets meet.
    forward: Ruleset,
}

impl Rules {
    fn look(asked: Asked<'_>) -> Result<Self, Failure> {
        let listing = asked.barriers_to.and_then(|_| nft_listing());
        let firewall = match (asked.firewall, &listing) {
            (false, _) => FirewallFacts::default(),
            (true, Some(listing)) => listing.firewall(),
            (true, None) => firewall()?,
        };
        let forward = asked.barriers_to.map(|_| forward_rules_beside(listing)).unwrap_or_default();
        Ok(Rules { firewall, forward })
    }
}

/// The rules that forwarded packets meet besides those that vpcctl's own stand before. What can't be asked counts as not there: it
/// is a warning at most.
pub fn forward_rules() -> Ruleset {
    forward_rules_beside(nft_listing())
}

/// May there be rules besides vpcctl's that stop what VPCs send?
fn may_have_barriers() -> bool {
    has_legacy_filter() || rules::may_others_forward()
}

/// May the legacy flavour have rules for what is forwarded?
fn has_legacy_filter() -> bool {
    rules::legacy_tables().contains(Table::Filter.as_str())
}

fn forward_rules_beside(nft: Option<Listing>) -> Ruleset {
    let flavour = run::flavour().unwrap_or(Flavour::Nft);
    let legacy = has_legacy_filter().then(|| ask(Program::IptablesLegacySave, &["-t", "filter"])).flatten();
    let legacy = legacy.map(|text| Ruleset::of_legacy(&text));
    let family = if flavour == Flavour::Legacy { "legacy" } else { "ip" };
    let own = ChainId { family: family.into(), table: "filter".into(), chain: "FORWARD".into() };
    nft.map(Ruleset::of_nft).unwrap_or_default().and(legacy.unwrap_or_default()).without(&own)
}

/// All that nftables has, where it can be asked and its answer read.
fn nft_listing() -> Option<Listing> {
    ask(Program::Nft, &["-j", "list", "ruleset"]).and_then(|text| Listing::read(&text).ok())
}

fn ask(program: Program, args: &[&str]) -> Option<String> {
    run::find(program.as_str()).ok()?;
    run::check(&Call::plain(Place::Host, program, args)).ok()
}

fn cannot_look(what: &str, error: &StepError) -> Failure {
    let StepError { command, reason, hint, interrupted, .. } = error;
    if *interrupted {
        return Failure::new(Kind::Interrupted, "interrupted").hint("the command had not begun: run it again");
    }
    let failure = Failure::new(Kind::Host, format!("cannot look at the host's {what}: `{command}` failed: {reason}"));
    Failure { hint: hint.as_deref().map(str::to_owned), ..failure }
}

/// What of the firewall is there.
fn firewall() -> Result<FirewallFacts, Failure> {
    if privilege::check().is_err() {
        // A dry run by somebody who may not look: nothing is known to be there.
        return Ok(FirewallFacts::default());
    }
    rules::tables_and_chains().map_err(|error| cannot_look("rules", &error))
}

/// The facts in what was seen; the uplinks of the state's VPCs are not among them.
pub fn from_seen(seen: &Seen, state: &State, firewall: FirewallFacts) -> HostFacts {
    let uplinks: BTreeSet<String> = state.vpcs.keys().map(|vpc| names::uplink_on_host(vpc).to_string()).collect();
    let foreign: BTreeMap<&String, u32> = seen
        .links
        .iter()
        .filter(|(name, link)| !(uplinks.contains(*name) && is_uplink_group(&link.group)))
        .map(|(name, link)| (name, link.mtu))
        .collect();
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
        nameservers: nameservers(&|path| fs::read_to_string(path).ok(), &own_addresses(seen)),
        firewall,
        ..HostFacts::default()
    }
}

/// A route to a network that is neither vpcctl's nor the kernel's own for loopback and broadcast.
fn is_foreign(route: &SeenRoute, links: &BTreeMap<&String, u32>) -> bool {
    let local = route.table.as_deref() == Some("local");
    let by_uplink = route.dev.as_ref().is_some_and(|dev| !links.contains_key(dev));
    // Each VPC that is prohibited here has a route by its uplink too.
    let prohibited = route.table.as_deref() == Some(&HostTable::Forwarded.number().to_string());
    !local && !by_uplink && !prohibited
}

/// The network that a route's destination names; nothing for the default route.
fn destination(dst: &str) -> Option<Cidr> {
    match dst.split_once('/') {
        _ if dst == "default" => None,
        Some(_) => dst.parse().ok(),
        None => dst.parse().ok().map(Cidr::host),
    }
}

/// Where the host says whom it asks for names. Where the first names a stub on the host itself, such as systemd-resolved's on
/// 127.0.0.53, one of the others says whom that asks.
const RESOLV_CONFS: [&str; 3] =
    ["/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"];

/// The servers of the first file that names any whom somebody behind NAT reaches.
fn nameservers(read: &dyn Fn(&str) -> Option<String>, own: &BTreeSet<Ipv4Addr>) -> Vec<Ipv4Addr> {
    let servers = RESOLV_CONFS.iter().map(|path| read_nameservers(&read(path).unwrap_or_default(), own));
    servers.into_iter().find(|servers| !servers.is_empty()).unwrap_or_default()
}

fn read_nameservers(text: &str, own: &BTreeSet<Ipv4Addr>) -> Vec<Ipv4Addr> {
    let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let named = words.filter_map(|words| match words[..] {
        ["nameserver", address, ..] => address.parse::<Ipv4Addr>().ok(),
        _ => None,
    });
    // New connections from a VPC to the host are dropped; link-local addresses are nobody's business but the host's.
    let is_reached = |server: &Ipv4Addr| is_nameserver(*server) && !own.contains(server);
    named.filter(is_reached).collect()
}

fn own_addresses(seen: &Seen) -> BTreeSet<Ipv4Addr> {
    seen.addresses.iter().map(|(_, address, _)| *address).collect()
}

/// The interface of the default route with the best metric.
pub fn default_wan(routes: &[SeenRoute]) -> Option<IfName> {
    let main = |route: &&SeenRoute| matches!(route.table.as_deref(), None | Some("main"));
    let defaults = routes.iter().filter(main).filter(|route| route.dst == "default" && route.dev.is_some());
    let best = defaults.min_by_key(|route| route.metric.unwrap_or(0))?;
    best.dev.as_ref()?.parse().ok()
}

fn forwards(link: &IfName) -> bool {
    let value = fs::read_to_string(format!("/proc/sys/net/ipv4/conf/{link}/forwarding"));
    value.is_ok_and(|value| value.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_stub_the_servers_are_those_that_it_asks() {
        let files = |stub: &'static str, upstream: &'static str| {
            move |path: &str| match path {
                "/etc/resolv.conf" => Some(stub.to_owned()),
                "/run/systemd/resolve/resolv.conf" => Some(upstream.to_owned()),
                _ => None,
            }
        };
        let own = [Ipv4Addr::new(198, 51, 100, 10)].into();
        let upstream = "# a comment\nnameserver 203.0.113.53\nnameserver fe80::1\nnameserver 203.0.113.54 \n";
        let servers = vec![Ipv4Addr::new(203, 0, 113, 53), Ipv4Addr::new(203, 0, 113, 54)];
        for stub in ["nameserver 127.0.0.53\n", "nameserver 198.51.100.10\n", "nameserver 169.254.169.254\n", ""] {
            assert_eq!(nameservers(&files(stub, upstream), &own), servers, "{stub}");
        }
        let direct = nameservers(&files("nameserver 192.0.2.1\n", upstream), &own);
        assert_eq!(direct, [Ipv4Addr::new(192, 0, 2, 1)]);
        assert!(nameservers(&files("nameserver 127.0.0.1\n", ""), &own).is_empty());
    }
}
