//! The kernel and what the caller may do with it.

use std::collections::BTreeSet;

use super::Finding;
use super::facts::{Facts, Features};
use super::features::{FEATURES, Feature, OPTIONAL};

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![privileges(facts)];
    findings.extend(settings(facts));
    findings.extend(features(facts));
    findings.extend(namespaces(facts));
    findings
}

fn privileges(facts: &Facts) -> Finding {
    let id = "privileges";
    let caller = &facts.caller;
    let lacking = caller.lacking.join(" and ");
    match (caller.root, caller.lacking.is_empty()) {
        (_, true) if caller.sandboxed => Finding::ok(id, "root of a sandbox"),
        (_, true) => Finding::ok(id, "root, with the capabilities that vpcctl needs"),
        (true, false) => Finding::problem(
            id,
            format!("root without {lacking}, as in a container"),
            "start the container with --privileged, or with --cap-add for each",
        ),
        (false, false) => Finding::warning(
            id,
            "not root: the host's rules and a state directory for root alone could not be looked at; every change needs root",
            "run it with sudo; `vpcctl sandbox` tries everything without root",
        ),
    }
}

fn settings(facts: &Facts) -> Option<Finding> {
    facts.settings_read_only.then(|| {
        let what = "/proc/sys is read-only: forwarding and the guards of routers can't be set";
        Finding::problem(
            "settings",
            what,
            "in a container: start it with --privileged; elsewhere: mount -o remount,rw /proc/sys",
        )
    })
}

fn features(facts: &Facts) -> Vec<Finding> {
    match &facts.features {
        Features::Tried { working, failed, unloaded } => {
            let mut findings: Vec<Finding> =
                FEATURES.iter().filter_map(|feature| broken(facts, feature, failed.get(feature.id)?)).collect();
            if findings.is_empty() {
                findings.push(Finding::ok("kernel-features", tried(facts, working, unloaded)));
            }
            findings
        }
        Features::Refused(_) if !facts.caller.root => {
            let what = format!("Linux {}; its features could not be tried without root", facts.kernel);
            vec![Finding::warning("kernel-features", what, "run it with sudo")]
        }
        Features::Refused(why) => {
            let what = format!("no network namespace can be made: {why}");
            vec![Finding::problem("kernel-namespaces", what, "in a container: start it with --privileged")]
        }
    }
}

/// A feature that doesn't work; nothing where it is only that the tool is missing, which is said already.
fn broken(facts: &Facts, feature: &Feature, why: &str) -> Option<Finding> {
    if feature.trial.program().is_some_and(|program| !facts.tools.contains_key(&program)) {
        return None;
    }
    let what = format!("the kernel refuses {}: {why}", feature.what);
    let remedy = match feature.modules.split_last() {
        None => "use a kernel of Debian's, Ubuntu's or Fedora's, 5.18 or later".to_owned(),
        Some((module, _)) => format!(
            "modprobe {module}; where there is none, install the kernel's further modules (linux-modules-extra-{})",
            facts.kernel
        ),
    };
    match OPTIONAL.iter().find(|(id, _)| *id == feature.id) {
        Some((id, loss)) => Some(Finding::warning(id, format!("{what}; without it {loss}"), remedy)),
        None => Some(Finding::problem(feature.id, what, remedy)),
    }
}

fn tried(facts: &Facts, working: &BTreeSet<&str>, unloaded: &BTreeSet<&str>) -> String {
    let text = format!("Linux {}: {} features tried, all work", facts.kernel, working.len());
    if unloaded.is_empty() {
        return text;
    }
    let modules: Vec<&str> = unloaded.iter().copied().collect();
    format!("{text}; the first use loads {}", modules.join(", "))
}

fn namespaces(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![user_namespaces(facts)];
    findings.extend(dead_namespaces(&facts.dead_namespaces));
    if facts.mounts_private == Some(true) {
        findings.push(Finding::warning(
            "mount-namespace",
            "vpcctl runs with mounts of its own: the namespaces it makes are files without a network to everybody else",
            "start it outside of `unshare -m`, or nsenter -t 1 -m; in a systemd unit, without PrivateMounts= and the like",
        ));
    }
    findings
}

fn user_namespaces(facts: &Facts) -> Finding {
    let id = "user-namespaces";
    match (facts.userns_switch, &facts.features) {
        (None, Features::Refused(why)) if !facts.caller.root => Finding::warning(
            id,
            format!("`vpcctl sandbox` does not run without root here: {why}"),
            "use it with sudo; in a container, start that with --privileged",
        ),
        (None, _) => Finding::ok(id, "`vpcctl sandbox` needs no root here"),
        (Some((switch, _)), _) if facts.caller.root => Finding::ok(
            id,
            format!("{switch} keeps user namespaces from others than root: they need sudo for `vpcctl sandbox`"),
        ),
        (Some((switch, open)), _) => Finding::warning(
            id,
            format!("{switch} keeps user namespaces from you: `vpcctl sandbox` does not run without root"),
            format!("sudo vpcctl sandbox; or allow them: sudo sysctl {switch}={open}"),
        ),
    }
}

fn dead_namespaces(dead: &[String]) -> Option<Finding> {
    let first = dead.first()?;
    let what = format!("files in /run/netns that are no namespaces any more: {}", some(dead));
    let remedy = format!("ip netns del {first}; one of vpcctl's is made again by repeating its create-vpc");
    Some(Finding::warning("dead-namespaces", what, remedy))
}

/// The first few of many.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    match names.len() {
        0..=SHOWN => names.join(", "),
        all => format!("{} and {} more", names[..SHOWN].join(", "), all - SHOWN),
    }
}
