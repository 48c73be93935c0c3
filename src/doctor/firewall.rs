//! Who else filters on this host, and what that means for VPCs.
//!
//! Most of it is no obstacle: vpcctl's jumps stand first in the built-in chains, and a router's rules are in a namespace of its
//! own. What is one are chains of nftables beside iptables: there a packet has to pass every chain of a hook.

use super::Finding;
use super::facts::{Facts, Look, NftChain};
use crate::plan::rule::Table;

/// Where packets of VPCs pass the host.
const HOOKS: [&str; 2] = ["forward", "input"];

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(unreadable(facts));
    findings.extend(forward_policy(facts));
    findings.extend(docker(facts));
    findings.extend(firewalld(facts));
    findings.extend(ufw(facts));
    findings.extend(barriers(facts));
    findings.extend(other_chains(facts));
    findings.extend(bridge_netfilter(facts));
    findings.extend(forwarding(facts));
    findings
}

/// Rules that the tool can't read are rules that vpcctl can't compare: each command that looks at them fails.
fn unreadable(facts: &Facts) -> Option<Finding> {
    let Look::Failed(why) = &facts.firewall.rules else {
        return None;
    };
    let remedy = "move what only nft can say into a table of another name than filter, nat, raw or security";
    Some(Finding::problem("firewall-rules", format!("the host's rules can't be read: {why}"), remedy))
}

fn forward_policy(facts: &Facts) -> Option<Finding> {
    let rules = facts.firewall.rules.seen()?;
    let forward = rules.chain(Table::Filter, "FORWARD");
    let policy = forward.and_then(|chain| chain.policy.as_deref()).unwrap_or("ACCEPT");
    let what = match policy {
        "ACCEPT" => "FORWARD policy is ACCEPT: VPCs are closed all the same, by vpcctl's own rules",
        _ => "FORWARD policy is DROP: VPCs work, vpcctl's jump stands before it",
    };
    Some(Finding::ok("forward-policy", what))
}

fn docker(facts: &Facts) -> Option<Finding> {
    let link = facts.networks.as_ref().is_some_and(|networks| networks.links.contains_key("docker0"));
    let chain = facts.firewall.rules.seen().is_some_and(|rules| rules.chain(Table::Nat, "DOCKER").is_some());
    let runs = facts.firewall.programs.contains("dockerd");
    (link || chain || runs).then(|| {
        Finding::ok("docker", "Docker is here: VPCs and containers work side by side, and don't reach each other")
    })
}

fn firewalld(facts: &Facts) -> Option<Finding> {
    let table = facts.firewall.nft.seen().is_some_and(|chains| chains.iter().any(|chain| chain.table == "firewalld"));
    (table || facts.firewall.programs.contains("firewalld")).then(|| {
        Finding::warning(
            "firewalld",
            "firewalld is active: its own table can drop what vpcctl's rules accept, and its start or reload may flush them",
            "where NAT doesn't work: firewall-cmd --zone=trusted --add-interface=vpc-+; where the rules are gone: repeat \
             enable-nat",
        )
    })
}

fn ufw(facts: &Facts) -> Option<Finding> {
    let active = match &facts.firewall.rules {
        Look::Seen(rules) => rules.chain(Table::Filter, "ufw-before-forward").is_some(),
        Look::Unseen | Look::Failed(_) => facts.firewall.ufw_enabled,
    };
    active.then(|| Finding::ok("ufw", "ufw is active: VPCs work, vpcctl's jumps stand before ufw's rules"))
}

/// Rules in another table that stop what vpcctl's accept.
fn barriers(facts: &Facts) -> impl Iterator<Item = Finding> + '_ {
    facts.barriers.iter().map(|(wan, barrier)| {
        let what = format!("VPCs don't reach the internet by {wan}: {barrier}");
        Finding::warning("forward-barrier", what, barrier.remedy())
    })
}

/// Chains that drop by default and that vpcctl's rules, in other tables, can't open.
fn other_chains(facts: &Facts) -> Vec<Finding> {
    let chains = facts.firewall.nft.seen().map(Vec::as_slice).unwrap_or_default();
    // What was followed to its end is said already.
    let is_said = |chain: &NftChain| facts.barriers.values().any(|barrier| barrier.base.table == chain.table);
    let drops = |chain: &&NftChain| {
        let passed = chain.hook.as_deref().is_some_and(|hook| HOOKS.contains(&hook));
        let iptables = ["ip", "ip6"].contains(&chain.family.as_str()) && chain.table == "filter";
        let ipv4 = ["ip", "inet"].contains(&chain.family.as_str());
        passed
            && ipv4
            && !is_said(chain)
            && !iptables
            && chain.table != "firewalld"
            && chain.policy.as_deref() == Some("drop")
    };
    let finding = |chain: &NftChain| {
        let NftChain { family, table, name, hook, .. } = chain;
        let (loses, accept) = match hook.as_deref() {
            Some("forward") => (
                "VPCs don't reach the internet",
                "iifname \"vpc-*\" accept, and oifname \"vpc-*\" ct state established accept",
            ),
            _ => ("answers of VPCs to the host may be lost", "iifname \"vpc-*\" ct state established accept"),
        };
        let what = format!("chain {name} of nftables' table {family} {table} drops what it doesn't know: {loses}");
        Finding::warning("nft-drop", what, format!("add to {family} {table} {name}: {accept}"))
    };
    chains.iter().filter(drops).map(finding).collect()
}

fn bridge_netfilter(facts: &Facts) -> Option<Finding> {
    (facts.firewall.bridge_netfilter == Some(true)).then(|| {
        let what = "br_netfilter sends bridged packets through iptables: no obstacle, each router has it off";
        Finding::ok("bridge-netfilter", what)
    })
}

fn forwarding(facts: &Facts) -> Option<Finding> {
    let on = facts.firewall.ip_forward?;
    let reverse_path = match facts.firewall.rp_filter {
        Some(1) => "; rp_filter is strict, which VPCs pass",
        _ => "",
    };
    let what = match on {
        true => "the host forwards already",
        false => "the host does not forward: vpcctl switches it on for the interfaces that need it alone",
    };
    Some(Finding::ok("ip-forward", format!("{what}{reverse_path}")))
}
