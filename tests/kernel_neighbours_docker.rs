//! VPCs beside Docker, of every kind of rule set that it has had.

mod support;

use support::Sandbox;

/// Out of a container, into one by its published port, and nowhere into a VPC or from one.
fn containers_work(sandbox: &mut Sandbox) {
    sandbox.ok("ip netns exec container curl -s --max-time 5 http://203.0.113.5/ | grep 'you are 198.51.100.10'");
    sandbox.open("internet", &["tcp:198.51.100.10:8080"]);
}

fn assert_containers_and_instances_are_apart(sandbox: &mut Sandbox) {
    sandbox.closed("vpc1-public", &["tcp:172.17.0.2:80", "ping:172.17.0.2", "ping:172.17.0.1"]);
    sandbox.closed("container", &["ping:10.0.1.2", "ping:10.0.2.2"]);
}

/// A host with this rule set of Docker's, in which port 8080 is that of `container`.
fn host_with(rules: &str) -> Sandbox {
    let mut sandbox = Sandbox::new();
    sandbox.add_containers();
    sandbox.load_rules(&[rules]);
    if rules != "docker29" {
        // In these, 8080 is published for the other one.
        sandbox.serve("other", &[80]);
    }
    sandbox
}

#[test]
fn docker_20_with_its_isolation_stages() {
    let mut sandbox = host_with("docker20");
    // Docker puts its own rules back one by one after a flush; a saved dump that is restored takes ours away.
    sandbox.live_beside(|sandbox| sandbox.load_rules(&["docker20"]), containers_work);
}

#[test]
fn docker_28_with_its_forward_chain_and_raw_rules() {
    let mut sandbox = host_with("docker28");
    sandbox.live_beside(|sandbox| sandbox.load_rules(&["docker28"]), containers_work);
}

#[test]
fn docker_29_with_tables_of_nftables() {
    let mut sandbox = host_with("docker29");
    let reload = |sandbox: &mut Sandbox| {
        sandbox.ok("nft flush ruleset");
        sandbox.load_rules(&["docker29"]);
    };
    sandbox.live_beside(reload, containers_work);
}

#[test]
fn containers_and_instances_do_not_meet() {
    for rules in ["docker20", "docker29"] {
        let mut sandbox = host_with(rules);
        sandbox.add_vpc1();
        assert_containers_and_instances_are_apart(&mut sandbox);
    }
}

#[test]
fn docker_comes_later_than_the_vpcs() {
    let mut sandbox = Sandbox::with_vpc1();
    sandbox.add_containers();
    sandbox.serve("other", &[80]);
    let rules = "iptables-save | grep -c VPCCTL";
    let count = sandbox.ok(rules);
    // `dockerd` adds to what is there.
    let docker = format!("{}/tests/neighbours/docker28.v4", env!("CARGO_MANIFEST_DIR"));
    sandbox.ok(&format!("iptables-restore --noflush <{docker}"));
    assert_eq!(sandbox.ok(rules), count);
    containers_work(&mut sandbox);
    sandbox.assert_vpc1_works();
    assert_containers_and_instances_are_apart(&mut sandbox);
    let theirs = sandbox.theirs();
    sandbox.says("vpcctl enable-nat vpc1", &["nothing changed"]);
    sandbox.ok("vpcctl delete-vpc vpc1");
    assert_eq!(sandbox.theirs(), theirs);
    containers_work(&mut sandbox);
}

#[test]
fn a_saved_dump_that_brings_our_rules_back_is_no_obstacle() {
    let mut sandbox = host_with("docker20");
    let before = sandbox.theirs();
    sandbox.add_vpc1();
    sandbox.ok("iptables-save >/run/saved && vpcctl delete-vpc vpc1 && ! iptables-save | grep VPCCTL");
    sandbox.ok("iptables-restore </run/saved && iptables-save | grep VPCCTL-FORWARD");
    // They match the uplinks' group: without uplinks they do nothing.
    containers_work(&mut sandbox);
    sandbox.add_vpc1();
    sandbox.assert_vpc1_works();
    sandbox.ok("test $(iptables-save | grep -c -e '-j VPCCTL-FORWARD$') = 1");
    sandbox.ok("vpcctl delete-vpc vpc1 && ! iptables-save | grep VPCCTL");
    assert_eq!(sandbox.theirs(), before);
}
