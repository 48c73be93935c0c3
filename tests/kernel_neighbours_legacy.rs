//! Both flavours of iptables: in use side by side, chosen one or the other, changed meanwhile; and rules that only nft can say.

mod support;

use support::Sandbox;

/// A directory over /usr/sbin in which the tools of iptables are those of the legacy flavour.
const LEGACY: &str = "
mkdir -p /run/legacy && cd /run/legacy && for f in /usr/sbin/*; do ln -s /run/chosen/${f##*/} .; done
mkdir -p /run/chosen && mount --bind /usr/sbin /run/chosen
for t in iptables ip6tables; do for end in '' -save -restore; do ln -sf /run/chosen/xtables-legacy-multi $t$end; done; done";

/// A sandbox where [`choose_legacy`] works. A kernel without the legacy flavour fails the test, and says so.
fn sandbox_with_both() -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.settle();
    let tables = sandbox.run("iptables-legacy-save -t filter && iptables-legacy-save -t nat");
    assert_eq!(tables.code, 0, "this kernel or host lacks iptables-legacy (ip_tables):\n{}", tables.report());
    sandbox.ok(LEGACY);
    sandbox
}

fn choose_legacy(sandbox: &mut Sandbox) {
    sandbox.ok("mount --bind /run/legacy /usr/sbin && iptables -V | grep legacy");
}

fn choose_nft(sandbox: &mut Sandbox) {
    sandbox.ok("umount /usr/sbin && iptables -V | grep nf_tables");
}

/// How many of vpcctl's jumps and rules the host has in each flavour.
fn counts(sandbox: &mut Sandbox) -> (usize, usize) {
    let mut count =
        |tool: &str| sandbox.ok(&format!("{tool} | grep -c VPCCTL || true")).trim().parse().expect("a number");
    (count("iptables-nft-save"), count("iptables-legacy-save"))
}

const FOREIGN: &str = "
iptables-nft -A FORWARD -s 192.0.2.1 -j DROP && iptables-nft -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE
iptables-legacy -A FORWARD -s 192.0.2.2 -j DROP && iptables-legacy -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE";

/// The rules of others, in both flavours.
const THEIRS: &str = "(iptables-nft-save; iptables-legacy-save) | grep -e '^-A' | grep -v VPCCTL";

/// What a wrapper leads to isn't known: the kernel's nf_tables are not asked in its place.
#[test]
fn behind_a_wrapper_of_the_legacy_flavour_a_strangers_chain_is_seen() {
    for nft in ["true", "iptables-nft -N SOMEBODYS"] {
        let mut sandbox = sandbox_with_both();
        sandbox.ok("cd /run/legacy && for t in iptables iptables-save iptables-restore; do rm $t
            printf '#!/bin/sh\nexec /usr/sbin/iptables-legacy%s \"$@\"\n' \"${t#iptables}\" >$t && chmod 755 $t; done");
        choose_legacy(&mut sandbox);
        sandbox.ok(&format!(
            "{nft}; iptables -N VPCCTL-FORWARD && iptables -A VPCCTL-FORWARD -s 192.0.2.1 -j DROP && iptables -A FORWARD -j VPCCTL-FORWARD"
        ));
        let before = sandbox.ok("iptables-legacy -S");
        sandbox.fails(4, "vpcctl create-vpc vpc1 10.0.0.0/16", &["VPCCTL-FORWARD", "vpcctl did not make it"]);
        assert_eq!(sandbox.ok("iptables-legacy -S"), before, "{nft}");
    }
}

#[test]
fn a_legacy_rule_that_drops_is_named_before_anything_changes() {
    for (closed, opened) in [
        ("iptables-legacy -P FORWARD DROP", ""),
        ("iptables-legacy -A FORWARD -j DROP", ""),
        ("iptables-legacy -N X && iptables-legacy -A X -j REJECT && iptables-legacy -A FORWARD -g X", ""),
        ("iptables-legacy -A FORWARD -s 192.0.2.0/24 -j DROP", "open"),
    ] {
        let mut sandbox = sandbox_with_both();
        sandbox.ok(closed);
        sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16 && vpcctl add-subnet vpc1 public 10.0.1.0/24 --public");
        sandbox.ok("vpcctl add-subnet vpc1 private 10.0.2.0/24");
        let theirs = sandbox.ok("iptables-legacy-save | grep -v '^#' | sed 's/\\[.*//'");
        if opened.is_empty() {
            let before = sandbox.dump();
            sandbox.fails(6, "vpcctl enable-nat vpc1", &["would not work", "iptables-legacy's table filter"]);
            before.assert_same(&sandbox.dump(), closed);
            assert_eq!(sandbox.ok("iptables-legacy-save | grep -v '^#' | sed 's/\\[.*//'"), theirs);
            // The remedy is the hint's own words.
            let hint = sandbox.run("vpcctl enable-nat vpc1 2>&1 | sed -n 's/^ *hint: //p'").stdout;
            sandbox.ok(&hint);
        }
        sandbox.ok("vpcctl enable-nat vpc1");
        sandbox.assert_vpc1_works();
    }
}

#[test]
fn all_works_where_the_host_chose_legacy() {
    let mut sandbox = sandbox_with_both();
    choose_legacy(&mut sandbox);
    sandbox.ok(FOREIGN);
    let (before, theirs) = (sandbox.dump_host(), sandbox.ok(THEIRS));
    sandbox.add_vpc1();
    sandbox.add_vpc("vpc2", "10.1");
    sandbox.assert_vpc1_works();
    let policy = sandbox.file("p.json", r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#);
    sandbox.ok(&format!("vpcctl peer vpc1 vpc2 && vpcctl apply-policy vpc2/a {policy}"));
    sandbox.serve("vpc2-a", &[80, 81]);
    sandbox.open("vpc1-public", &["tcp:10.1.1.2:80"]);
    sandbox.closed("vpc1-public", &["tcp:10.1.1.2:81"]);
    let (nft, legacy) = counts(&mut sandbox);
    assert!(nft == 0 && legacy > 10, "{nft} and {legacy}");
    sandbox.ok("iptables -F; iptables -t nat -F POSTROUTING");
    sandbox.closed("vpc1-private", &["ping:203.0.113.5"]);
    sandbox.says("vpcctl enable-nat vpc1", &["mended"]);
    sandbox.open("vpc1-public", &["ping:203.0.113.5"]);
    sandbox.ok("iptables-legacy -A FORWARD -s 192.0.2.2 -j DROP; iptables-legacy -t nat -A POSTROUTING -s 192.0.2.0/24 -j MASQUERADE");
    sandbox.ok("pkill -f peer.py; vpcctl delete-vpc vpc1 && vpcctl delete-vpc vpc2");
    assert_eq!(counts(&mut sandbox), (0, 0));
    assert_eq!(sandbox.ok(THEIRS), theirs);
    before.assert_same(&sandbox.dump_host(), "before and after");
}

#[test]
fn a_choice_that_changes_meanwhile_leaves_and_doubles_nothing() {
    for first in ["nft", "legacy"] {
        let mut sandbox = sandbox_with_both();
        sandbox.ok(FOREIGN);
        let theirs = sandbox.ok(THEIRS);
        if first == "legacy" {
            choose_legacy(&mut sandbox);
        }
        sandbox.add_vpc1();
        let made = counts(&mut sandbox);
        match first {
            "nft" => choose_legacy(&mut sandbox),
            _ => choose_nft(&mut sandbox),
        }
        sandbox.says("vpcctl enable-nat vpc1", &["nothing changed"]);
        sandbox.says("vpcctl doctor", &["vpcctl keeps to theirs"]);
        assert_eq!(counts(&mut sandbox), made, "a repeated command doubles nothing");
        sandbox.assert_vpc1_works();
        let policy = sandbox.file("p.json", r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#);
        sandbox.ok(&format!("vpcctl apply-policy vpc1/private {policy} && vpcctl remove-policy vpc1/private"));
        sandbox.assert_vpc1_works();
        sandbox.ok("vpcctl delete-vpc vpc1");
        assert_eq!(counts(&mut sandbox), (0, 0), "made by {first}");
        assert_eq!(sandbox.ok(THEIRS), theirs);
        // The next ones are in the flavour that the host has chosen by now.
        sandbox.add_vpc1();
        let (nft, legacy) = counts(&mut sandbox);
        assert_eq!((nft > 0, legacy > 0), (first == "legacy", first == "nft"));
    }
}

/// What came into being with our rules is not deleted with what somebody has put there since, whatever tool looks.
#[test]
fn a_table_that_others_use_by_now_stays() {
    let mut sandbox = sandbox_with_both();
    sandbox.add_vpc1();
    sandbox.ok("iptables-nft -A INPUT -s 192.0.2.9 -j DROP");
    choose_legacy(&mut sandbox);
    sandbox.ok("vpcctl delete-vpc vpc1");
    sandbox.ok("nft list ruleset | grep 192.0.2.9");
    assert_eq!(counts(&mut sandbox), (0, 0));
}

/// A rule that iptables can't read, in a table of the host's.
fn unreadable(table: &str) -> String {
    let (chain, hook) = match table {
        "filter" => ("FORWARD", "hook forward priority 0"),
        "nat" => ("POSTROUTING", "hook postrouting priority 100"),
        "mangle" => ("PREROUTING", "hook prerouting priority -150"),
        _ => ("PREROUTING", "hook prerouting priority -300"),
    };
    let kind = if table == "nat" { "nat" } else { "filter" };
    format!(
        "nft add table ip {table} && nft add chain ip {table} {chain} '{{ type {kind} {hook}; }}'
         nft add rule ip {table} {chain} meta random 5 counter && ! iptables-save 2>&1 | grep -q '^COMMIT'"
    )
}

#[test]
fn a_table_that_iptables_cannot_read_is_refused_with_the_reason() {
    const WHY: [&str; 2] = ["iptables-save -t", "into a table of another name"];
    for table in ["filter", "nat"] {
        let mut sandbox = Sandbox::new();
        sandbox.settle();
        sandbox.ok(&unreadable(table));
        let before = sandbox.dump_host();
        if table == "filter" {
            sandbox.fails(6, "vpcctl create-vpc vpc1 10.0.0.0/16", &WHY);
            before.assert_same(&sandbox.dump_host(), table);
        }
        // What needs nothing of the table works.
        sandbox
            .ok("vpcctl create-vpc vpc2 10.1.0.0/16 --no-host-access && vpcctl add-subnet vpc2 a 10.1.1.0/24 --public");
        sandbox.ok("vpcctl add-instance vpc2/a/b && ip netns exec vpc2-a ping -c 1 -W 2 10.1.1.3");
        let with_vpc = sandbox.dump();
        sandbox.fails(6, "vpcctl enable-nat vpc2", &WHY);
        with_vpc.assert_same(&sandbox.dump(), table);
        sandbox.ok("vpcctl delete-vpc vpc2");
        if table == "nat" {
            sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16 && vpcctl delete-vpc vpc1");
        }
        before.assert_same(&sandbox.dump_host(), table);
    }
}

#[test]
fn tables_without_rules_of_vpcctl_may_hold_what_they_like() {
    let mut sandbox = Sandbox::new();
    sandbox.settle();
    sandbox.ok(&format!("{}\n{}", unreadable("mangle"), unreadable("raw")));
    let before = sandbox.dump_host();
    sandbox.add_vpc1();
    sandbox.assert_vpc1_works();
    sandbox.says("vpcctl enable-nat vpc1", &["nothing changed"]);
    sandbox.ok("vpcctl delete-vpc vpc1");
    before.assert_same(&sandbox.dump_host(), "before and after");
}
