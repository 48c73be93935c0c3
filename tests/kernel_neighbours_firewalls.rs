//! VPCs beside firewalld, ufw, libvirt, Kubernetes, Tailscale and fail2ban.

mod support;

use support::Sandbox;

/// What firewalld does when it starts: its own table comes anew, and the rules of iptables go.
fn firewalld_starts(rules: &'static str) -> impl Fn(&mut Sandbox) {
    move |sandbox| {
        sandbox.ok("nft delete table inet firewalld; iptables -F; iptables -X; iptables -t nat -F; iptables -t nat -X");
        sandbox.load_rules(&[rules]);
    }
}

fn nothing_else(_: &mut Sandbox) {}

/// The host's own port 22 is open to the LAN, 23 isn't.
fn guards_the_host(sandbox: &mut Sandbox) {
    sandbox.expect_probes("internet", &[("tcp:198.51.100.10:22", "open")]);
    sandbox.closed("internet", &["tcp:198.51.100.10:23"]);
}

#[test]
fn firewalld_whose_zone_forwards_within_itself() {
    let mut sandbox = Sandbox::new();
    sandbox.load_rules(&["firewalld"]);
    sandbox.serve("host", &[22, 23]);
    sandbox.live_beside(firewalld_starts("firewalld"), guards_the_host);
}

#[test]
fn firewalld_whose_zone_forwards_nothing_is_named_and_opened_by_its_own_command() {
    let mut sandbox = Sandbox::new();
    sandbox.load_rules(&["firewalld-closed"]);
    sandbox.ok("vpcctl create-vpc vpc1 10.0.0.0/16 && vpcctl add-subnet vpc1 public 10.0.1.0/24 --public");
    sandbox.ok("vpcctl add-subnet vpc1 private 10.0.2.0/24");
    sandbox.settle();
    let before = sandbox.dump();
    let why =
        ["would not work", "filter_FWD_public", "inet firewalld", "firewall-cmd --zone=trusted --add-interface=vpc-+"];
    sandbox.fails(6, "vpcctl enable-nat vpc1", &why);
    before.assert_same(&sandbox.dump(), "refused");
    sandbox.ok("vpcctl doctor | grep forward-barrier");
    firewalld_starts("firewalld-trusted")(&mut sandbox);
    let theirs = sandbox.theirs();
    sandbox.ok("vpcctl enable-nat vpc1");
    sandbox.assert_vpc1_works();
    sandbox.ok("! vpcctl doctor | grep forward-barrier");
    // Trusted by firewalld: closed by vpcctl's own rules all the same.
    sandbox.serve("host", &[22]);
    sandbox.closed("vpc1-public", &["tcp:198.51.100.10:22", "tcp:198.19.0.0:22", "ping:198.51.100.10"]);
    assert_eq!(sandbox.theirs(), theirs);
    // Closed again behind vpcctl's back: said, not hidden.
    firewalld_starts("firewalld-closed")(&mut sandbox);
    sandbox.says("vpcctl enable-nat vpc1", &["mended", "doesn't work now", "filter_FWD_public"]);
    sandbox.closed("vpc1-public", &["tcp:203.0.113.5:80"]);
}

#[test]
fn firewalld_with_rules_of_iptables() {
    let mut sandbox = Sandbox::new();
    sandbox.load_rules(&["firewalld-iptables"]);
    sandbox.live_beside(|sandbox| sandbox.load_rules(&["firewalld-iptables"]), nothing_else);
}

#[test]
fn ufw() {
    let mut sandbox = Sandbox::new();
    sandbox.load_rules(&["ufw"]);
    sandbox.serve("host", &[22, 23]);
    sandbox.live_beside(|sandbox| sandbox.load_rules(&["ufw"]), guards_the_host);
}

#[test]
fn libvirt_with_both_kinds_of_rules_and_kubernetes() {
    for rules in ["libvirt", "kubernetes"] {
        let mut sandbox = Sandbox::new();
        sandbox.ok(
            "ip link add name virbr0 type bridge && ip addr add 192.168.122.1/24 dev virbr0 && ip link set virbr0 up",
        );
        sandbox.load_rules(&[rules]);
        let reload = |sandbox: &mut Sandbox| {
            sandbox.ok("nft flush ruleset");
            sandbox.load_rules(&[rules]);
        };
        sandbox.live_beside(reload, nothing_else);
    }
}

#[test]
fn tailscale_and_fail2ban() {
    let mut sandbox = Sandbox::new();
    sandbox.load_rules(&["tailscale-fail2ban", "fail2ban"]);
    sandbox.ok("ip link add name tailscale0 type bridge && ip addr add 100.101.102.103/32 dev tailscale0 && ip link set tailscale0 up
        for rule in '5210 fwmark 0x80000/0xff0000 lookup main' '5230 fwmark 0x80000/0xff0000 lookup default' '5270 lookup 52'; do
          ip rule add pref $rule; done
        ip rule add pref 5250 fwmark 0x80000/0xff0000 unreachable
        ip route add 100.101.102.104/32 dev tailscale0 table 52");
    let reload = |sandbox: &mut Sandbox| {
        sandbox.ok("nft delete table inet f2b-table");
        sandbox.load_rules(&["tailscale-fail2ban", "fail2ban"]);
    };
    sandbox.live_beside(reload, nothing_else);
}
