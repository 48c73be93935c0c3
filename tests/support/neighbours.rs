//! Other software on a sandbox's host: its rule sets from `tests/neighbours`, its interfaces, and what of it stays as it is.

use super::Sandbox;

/// Where the rule sets are.
const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/neighbours");

/// Two bridges with a container each, as Docker makes them, and somebody who serves in one.
const CONTAINERS: &str = "
echo 1 >/proc/sys/net/ipv4/ip_forward
for i in 7:docker0:container 8:br-app:other; do
  n=${i%%:*} rest=${i#*:}; bridge=${rest%:*} netns=${rest#*:}
  ip link add name $bridge type bridge && ip addr add 172.1$n.0.1/16 dev $bridge && ip link set dev $bridge up
  ip netns add $netns && ip link add name veth$n master $bridge type veth peer name eth0 netns $netns
  ip link set dev veth$n up && ip -n $netns addr add 172.1$n.0.2/16 dev eth0 && ip -n $netns link set dev eth0 up
  ip -n $netns route add default via 172.1$n.0.1
done";

/// What others have: their rules in order, without counters and without what is vpcctl's; their tables; their routes and rules.
const THEIRS: &str = r"
uncounted() { sed -E 's/\[[0-9]+:[0-9]+\]//; s/packets [0-9]+ bytes [0-9]+//'; }
for save in iptables-save ip6tables-save; do $save | grep -v -e VPCCTL -e '^[#*]' -e '^COMMIT' -e '^:[A-Z]* ACCEPT' | uncounted; done
nft list tables | grep -v -x -e 'table ip filter' -e 'table ip nat' | while read table; do nft list $table | uncounted; done
ip rule | grep -v 3100; ip route show table 52 2>&1 | grep -v -e 'FIB table' -e terminated; true";

impl Sandbox {
    /// Loads a rule set, or more than one, as the programs do when they start: what was in the tables of iptables before goes.
    #[track_caller]
    pub fn load_rules(&mut self, names: &[&str]) {
        for name in names {
            let load = [("v4", "iptables-restore"), ("v6", "ip6tables-restore"), ("nft", "nft -f")];
            let commands =
                load.map(|(kind, tool)| format!("! test -e {RULES}/{name}.{kind} || {tool} {RULES}/{name}.{kind}"));
            self.ok(&format!("test -n \"$(ls {RULES}/{name}.*)\" && {}", commands.join(" && ")));
        }
    }

    /// Makes `container` 172.17.0.2 behind `docker0`, which serves port 80, and `other` 172.18.0.2 behind `br-app`.
    #[track_caller]
    pub fn add_containers(&mut self) {
        self.ok(CONTAINERS);
        self.serve("container", &[80]);
    }

    /// Waits until the host's own interface is up, with the addresses that come by themselves: what is compared later.
    #[track_caller]
    pub fn settle(&mut self) {
        let ipv6 = "/proc/sys/net/ipv6/conf/eth0/disable_ipv6";
        self.wait_for(&format!(
            "ip link show dev eth0 | grep LOWER_UP && {{ ! grep 0 {ipv6} || ip -6 addr show dev eth0 | grep fe80; }}"
        ));
    }

    /// What is neither vpcctl's nor counts.
    #[track_caller]
    pub fn theirs(&mut self) -> String {
        self.ok(THEIRS)
    }

    /// From a public instance to the internet and the other subnet, from the host to an instance, and no further.
    #[track_caller]
    pub fn assert_vpc1_works(&mut self) {
        self.ok("ip netns exec vpc1-public curl -s --max-time 5 http://203.0.113.5/ | grep 'you are 198.51.100.10'");
        self.open("vpc1-public", &["ping:203.0.113.5", "ping:10.0.2.2", "ping:10.0.1.1"]);
        self.open("host", &["ping:10.0.1.2", "ping:10.0.2.2"]);
        self.assert_vpc1_is_apart();
    }

    /// Neither to `vpc2` nor from a private subnet to the internet.
    #[track_caller]
    pub fn assert_vpc1_is_apart(&mut self) {
        self.closed("vpc1-private", &["ping:203.0.113.5", "tcp:203.0.113.5:80", "ping:10.1.1.2"]);
        self.closed("vpc1-public", &["tcp:10.1.1.2:80", "ping:10.1.1.1"]);
    }

    /// VPCs come, live and go beside a neighbour who is there already: everything works, and the neighbour's part is the same
    /// before, during and after. Then the neighbour loads its rules anew by `reload`, which loses vpcctl's: the VPCs stay apart,
    /// and are healed.
    #[track_caller]
    pub fn live_beside(&mut self, reload: impl Fn(&mut Sandbox), still_works: impl Fn(&mut Sandbox)) {
        self.settle();
        still_works(self);
        let (before, theirs) = (self.dump_host(), self.theirs());
        self.add_vpc1();
        self.add_vpc("vpc2", "10.1");
        let server = self.serve("vpc2-a", &[80]);
        let policy = self.file("p.json", r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#);
        self.ok(&format!("vpcctl apply-policy vpc2/a {policy}"));
        self.assert_vpc1_works();
        still_works(self);
        assert_eq!(self.theirs(), theirs, "while there are VPCs");
        reload(self);
        self.assert_vpc1_is_apart();
        assert_eq!(self.theirs(), theirs, "after the neighbour's own reload");
        self.says("vpcctl enable-nat vpc1", &["mended"]);
        self.assert_vpc1_works();
        self.ok("vpcctl peer vpc1 vpc2");
        self.open("vpc1-public", &["tcp:10.1.1.2:80"]);
        still_works(self);
        assert_eq!(self.theirs(), theirs, "healed and peered");
        self.ok(&format!("kill {server}; vpcctl delete-vpc vpc1 && vpcctl delete-vpc vpc2"));
        before.assert_same(&self.dump_host(), "before and after");
        still_works(self);
    }
}
