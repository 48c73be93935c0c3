//! Tools, kernel, privileges, limits.

use super::*;

#[test]
fn a_missing_tool_is_a_problem_unless_vpcctl_does_without() {
    let missing = |program| move |facts: &mut Facts| drop(facts.tools.remove(&program));
    for (program, id, package) in [
        (Program::Ip, "tool-ip", "iproute2"),
        (Program::Bridge, "tool-bridge", "iproute2"),
        (Program::Ipset, "tool-ipset", "ipset"),
        (Program::IptablesRestore, "tool-iptables-restore", "iptables"),
        (Program::IptablesSave, "tool-iptables-save", "iptables"),
    ] {
        brings(&healthy(), missing(program), id, Problem, &["missing", "apt install", package]);
    }
    brings(&healthy(), missing(Program::Nft), "tool-nft", Warning, &["missing", "nftables"]);
    brings(&healthy(), missing(Program::Tc), "tool-tc", Warning, &["missing", "iproute2", "fragments"]);
}

#[test]
fn an_old_tool_is_told_by_its_version() {
    let version = |program, text: &'static str| move |facts: &mut Facts| drop(facts.tools.insert(program, text.into()));
    let old = version(Program::Ip, "ip utility, iproute2-5.15.0, libbpf 0.5.0");
    brings(&healthy(), old, "tool-ip", Problem, &["5.15", "5.18"]);
    let exact = version(Program::Ip, "ip utility, iproute2-5.18.0");
    let mut facts = healthy();
    exact(&mut facts);
    assert!(found(&facts, "tool-ip").is_empty());
    brings(&healthy(), version(Program::Ip, "ip utility, iproute2-ss200127"), "tool-ip", Warning, &["can't be told"]);
    brings(&healthy(), version(Program::Ipset, "ipset v6.38, protocol version: 6"), "tool-ipset", Warning, &["6.38"]);
    let old = version(Program::IptablesRestore, "iptables-restore v1.6.1 (nf_tables)");
    brings(&healthy(), old, "tool-iptables-restore", Warning, &["1.6", "1.8"]);
}

#[test]
fn flavours_of_iptables_that_differ_are_a_problem() {
    let save =
        |facts: &mut Facts| drop(facts.tools.insert(Program::IptablesSave, "iptables-save v1.8.9 (legacy)".into()));
    brings(&healthy(), save, "iptables-flavour", Problem, &["legacy", "nf_tables", "update-alternatives"]);
}

#[test]
fn rules_in_both_flavours_are_a_mix() {
    let legacy = |facts: &mut Facts| facts.firewall.legacy_tables = Look::Seen(["nat".to_owned()].into());
    brings(&healthy(), legacy, "iptables-mix", Warning, &["legacy", "nat"]);
    let mut all_legacy = healthy();
    for (program, version) in
        [(Program::IptablesSave, "v1.8.9 (legacy)"), (Program::IptablesRestore, "v1.8.9 (legacy)")]
    {
        all_legacy.tools.insert(program, version.into());
    }
    legacy(&mut all_legacy);
    all_legacy.firewall.nft = Look::Seen(vec![nft("ip", "own", "forward", "accept")]);
    assert!(found(&all_legacy, "iptables-mix").is_empty(), "one flavour, and a table that isn't iptables'");
    let both = |facts: &mut Facts| facts.firewall.nft = Look::Seen(vec![nft("ip", "filter", "FORWARD", "accept")]);
    brings(&all_legacy, both, "iptables-mix", Warning, &["nft", "filter"]);
}

#[test]
fn privileges() {
    let caller = |root, lacking, sandboxed| move |facts: &mut Facts| facts.caller = Caller { root, lacking, sandboxed };
    let all = vec!["CAP_NET_ADMIN", "CAP_SYS_ADMIN"];
    brings(&healthy(), caller(false, all, false), "privileges", Warning, &["not root", "sudo", "vpcctl sandbox"]);
    brings(&healthy(), caller(true, vec!["CAP_SYS_ADMIN"], false), "privileges", Problem, &["CAP_SYS_ADMIN"]);
    brings(&healthy(), caller(true, vec![], true), "privileges", Fine, &["sandbox"]);
    let read_only = |facts: &mut Facts| facts.settings_read_only = true;
    brings(&healthy(), read_only, "settings", Problem, &["/proc/sys", "read-only"]);
}

#[test]
fn a_feature_that_the_kernel_lacks_is_a_problem_of_its_own() {
    for feature in &FEATURES {
        let refuse = |facts: &mut Facts| fail(facts, feature.id, "Operation not supported");
        let does_without = OPTIONAL.iter().any(|(id, _)| *id == feature.id);
        let level = if does_without { Warning } else { Problem };
        brings(&healthy(), refuse, feature.id, level, &["Operation not supported"]);
        let Some(module) = feature.modules.last() else { continue };
        brings(&healthy(), refuse, feature.id, level, &["modprobe", module, "linux-modules-extra-6.1.0-18-amd64"]);
    }
}

#[test]
fn a_feature_is_not_blamed_for_its_missing_tool() {
    let mut facts = healthy();
    facts.tools.remove(&Program::Ipset);
    fail(&mut facts, "kernel-ipset-senders", "not found");
    assert!(found(&facts, "kernel-ipset-senders").is_empty());
}

#[test]
fn modules_that_the_first_use_loads_are_named() {
    let unload = |facts: &mut Facts| {
        let Features::Tried { unloaded, .. } = &mut facts.features else { panic!("not tried") };
        unloaded.insert("xt_set");
    };
    brings(&healthy(), unload, "kernel-features", Fine, &["loads xt_set"]);
}

#[test]
fn without_a_namespace_nothing_can_be_tried() {
    let refuse = |facts: &mut Facts| facts.features = Features::Refused("Operation not permitted".into());
    brings(&healthy(), refuse, "kernel-namespaces", Problem, &["Operation not permitted", "--privileged"]);
    let mut user = healthy();
    user.caller.root = false;
    user.userns_switch = Some(("user.max_user_namespaces", "15000"));
    brings(&user, refuse, "kernel-features", Warning, &["without root", "sudo"]);
}

#[test]
fn user_namespaces_matter_to_who_is_not_root() {
    let switch = Some(("kernel.apparmor_restrict_unprivileged_userns", "0"));
    let close = |facts: &mut Facts| facts.userns_switch = switch;
    brings(&healthy(), close, "user-namespaces", Fine, &["apparmor", "sudo"]);
    let mut user = healthy();
    user.caller.root = false;
    let open = "sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0";
    brings(&user, close, "user-namespaces", Warning, &[open, "sudo vpcctl sandbox"]);
    user.features = Features::Refused("Operation not permitted".into());
    assert_eq!(found(&user, "user-namespaces")[0].level, Warning, "no switch is off, and it does not work");
}

#[test]
fn dead_and_hidden_namespaces() {
    let dead = |facts: &mut Facts| facts.dead_namespaces = vec!["old".into(), "older".into()];
    brings(&healthy(), dead, "dead-namespaces", Warning, &["old, older", "ip netns del old"]);
    let many = |facts: &mut Facts| facts.dead_namespaces = (0..9).map(|n| format!("n{n}")).collect();
    brings(&healthy(), many, "dead-namespaces", Warning, &["n4 and 4 more"]);
    let hidden = |facts: &mut Facts| facts.mounts_private = Some(true);
    brings(&healthy(), hidden, "mount-namespace", Warning, &["nsenter"]);
    let mut unknown = healthy();
    unknown.mounts_private = None;
    assert!(found(&unknown, "mount-namespace").is_empty());
}

#[test]
fn limits_show_at_four_fifths() {
    let files = |facts: &mut Facts| facts.limits.open_files = Some(20);
    brings(&healthy(), files, "open-files", Warning, &["20", "ulimit"]);
    let at = |used| Some(Fill { used, most: 1000 });
    type Set = fn(&mut Limits, Option<Fill>);
    let set: [(&str, Set); 3] = [
        ("namespace-limit", |limits, fill| limits.namespaces = fill),
        ("conntrack-limit", |limits, fill| limits.connections = fill),
        ("neighbour-limit", |limits, fill| limits.neighbours = fill),
    ];
    for (id, set) in set {
        brings(&healthy(), |facts| set(&mut facts.limits, at(800)), id, Warning, &["800 of 1000", "sysctl"]);
        let mut roomy = healthy();
        set(&mut roomy.limits, at(799));
        assert!(found(&roomy, id).is_empty(), "{id}");
        assert!(found(&roomy, "limits")[0].what.contains("799 of 1000"));
    }
}
