//! What bounds the number of VPCs and connections.

use super::Finding;
use super::facts::{Facts, Fill};

/// How many open files are enough: vpcctl itself needs two dozen, the tools that it starts as many.
const OPEN_FILES: u64 = 128;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let limits = &facts.limits;
    let few_files = limits.open_files.filter(|most| *most < OPEN_FILES).map(|most| {
        let what = format!("a process may have {most} files open: vpcctl and its tools need up to {OPEN_FILES}");
        Finding::warning("open-files", what, "ulimit -n 1024")
    });
    let full = [
        (
            "namespace-limit",
            limits.namespaces,
            "network namespaces may exist: each VPC and each instance is one",
            "sysctl user.max_net_namespaces=16384",
        ),
        (
            "conntrack-limit",
            limits.connections,
            "connections are tracked on the host: from there on NAT drops new ones",
            "sysctl net.netfilter.nf_conntrack_max=262144, or more",
        ),
        (
            "neighbour-limit",
            limits.neighbours,
            "neighbours are in the table that all namespaces share: from there on new ones get no answer",
            "sysctl net.ipv4.neigh.default.gc_thresh3=8192, and gc_thresh2=4096",
        ),
    ];
    let full = full.into_iter().filter_map(|(id, fill, what, remedy)| {
        let Fill { used, most } = fill.filter(|fill| fill.is_nearly_full())?;
        Some(Finding::warning(id, format!("{used} of {most} {what}"), remedy))
    });
    let mut findings: Vec<Finding> = few_files.into_iter().chain(full).collect();
    if findings.is_empty() {
        findings.push(Finding::ok("limits", roomy(facts)));
    }
    findings
}

fn roomy(facts: &Facts) -> String {
    let limits = &facts.limits;
    let fills =
        [("namespaces", limits.namespaces), ("connections", limits.connections), ("neighbours", limits.neighbours)];
    let known =
        fills.into_iter().filter_map(|(what, fill)| fill.map(|Fill { used, most }| format!("{what} {used} of {most}")));
    let known: Vec<String> = known.collect();
    if known.is_empty() { "no limit is near".into() } else { format!("no limit is near: {}", known.join(", ")) }
}
