//! Every command that changes something, and what has to be there before it.

use super::Sandbox;

/// A command to be disturbed.
#[derive(Debug)]
pub struct Case {
    /// What makes the old state, from an empty host.
    pub before: &'static [&'static str],
    /// What takes from the kernel, before each try, what the command is about to mend.
    pub spoil: &'static str,
    pub command: &'static str,
    pub back: Back,
    /// What must be closed at all times, in the words of `leak.py`.
    pub watch: &'static str,
}

/// How one gets from the new state to the old one.
#[derive(Debug, Clone, Copy)]
pub enum Back {
    /// By a command that may also be tried where the command was cut off.
    Undo(&'static str),
    /// By commands.
    Run(&'static str),
    /// By the old state file.
    Restore,
}

/// Commands that change neither the kernel nor the state.
pub const READERS: [&str; 31] = [
    "list",
    "inspect",
    "graph",
    "explain",
    "watch",
    "exec",
    "shell",
    "list-apps",
    "logs",
    "doctor",
    "test-connectivity",
    "reach",
    "test",
    "sandbox",
    "generate",
    "run-app",
    "supervise-app",
    "init-app",
    "exec-app",
    "end-app",
    "allow-intra-vpc",
    "isolate-vpcs",
    "sandbox-init",
    "sandbox-internet",
    "doctor-probe",
    "help",
    "check",
    "plan",
    "export",
    "version",
    "completions",
];

const VPC1: &str = "vpcctl create-vpc vpc1 10.0.0.0/16 && vpcctl add-subnet vpc1 public 10.0.1.0/24 --public && \
    vpcctl add-subnet vpc1 private 10.0.2.0/24";
const VPC2: &str = "vpcctl create-vpc vpc2 10.1.0.0/16 && vpcctl add-subnet vpc2 a 10.1.1.0/24";
const VPC3: &str = "vpcctl create-vpc vpc3 10.3.0.0/16 && vpcctl add-subnet vpc3 a 10.3.1.0/24";
const NAT: &str = "vpcctl enable-nat vpc1";
const PEER: &str = "vpcctl peer vpc1 vpc2";
const WEB2: &str = "vpcctl add-instance vpc1/public/web2";
const ONE: &str = "vpcctl apply-policy vpc1/public $T/one.json";
const APP: &str = "vpcctl deploy-app vpc1/public";

/// Two VPCs are closed to each other and to the host, a private subnet to the internet as well.
const TWO: &str = "vpc2-a 10.1.1.1 10.0.1.2 10.0.2.2 10.0.3.2 10.0.1.1 198.51.100.10 203.0.113.10 -- \
    vpc1-private 10.0.2.1 203.0.113.10 203.0.113.5 198.51.100.10 10.1.1.2 10.1.1.1";
/// A third VPC next to two that may be peered.
const THIRD: &str = "vpc3-a 10.3.1.1 10.0.1.2 10.0.2.2 10.0.1.1 10.1.1.2 10.1.1.1 198.51.100.10 -- \
    vpc1-private 10.0.2.1 203.0.113.10 203.0.113.5 198.51.100.10 10.3.1.2 10.3.1.1";

const BARE: Case = Case { before: &[], spoil: "", command: "", back: Back::Restore, watch: "" };
const IN_TWO: Case = Case { before: &[VPC1, VPC2, NAT], watch: TWO, ..BARE };

pub static CREATE_VPC: Case =
    Case { command: "vpcctl create-vpc vpc1 10.0.0.0/16", back: Back::Undo("vpcctl delete-vpc vpc1"), ..BARE };
pub static ADD_SUBNET: Case = Case {
    command: "vpcctl add-subnet vpc1 web 10.0.3.0/24 --public",
    back: Back::Undo("vpcctl delete-subnet vpc1/web"),
    ..IN_TWO
};
pub static ADD_INSTANCE: Case =
    Case { command: WEB2, back: Back::Undo("vpcctl delete-instance vpc1/public/web2"), ..IN_TWO };
pub static ENABLE_NAT: Case =
    Case { before: &[VPC1, VPC2], command: NAT, back: Back::Undo("vpcctl disable-nat vpc1"), ..IN_TWO };
pub static DISABLE_NAT: Case = Case { command: "vpcctl disable-nat vpc1", back: Back::Run(NAT), ..IN_TWO };
pub static PEERING: Case = Case {
    before: &[VPC1, VPC2, VPC3, NAT],
    command: PEER,
    back: Back::Undo("vpcctl unpeer vpc1 vpc2"),
    watch: THIRD,
    ..BARE
};
pub static ALLOW_CIDR: Case = Case {
    before: &[VPC1, VPC2, VPC3, NAT, PEER],
    command: "vpcctl allow-cidr --src 10.0.1.0/24 --dst 10.1.1.0/24",
    back: Back::Run("vpcctl unpeer vpc1 vpc2 && vpcctl peer vpc1 vpc2"),
    watch: THIRD,
    ..BARE
};
pub static UNPEER: Case = Case {
    before: &[VPC1, VPC2, VPC3, NAT, PEER],
    command: "vpcctl unpeer vpc1 vpc2",
    back: Back::Run(PEER),
    watch: THIRD,
    ..BARE
};
pub static APPLY_POLICY: Case = Case {
    before: &[VPC1, VPC2, NAT, WEB2, ONE],
    command: "vpcctl apply-policy vpc1/public $T/two.json",
    back: Back::Run(ONE),
    ..IN_TWO
};
pub static REMOVE_POLICY: Case = Case {
    before: &[VPC1, VPC2, NAT, "vpcctl apply-policy vpc1/public $T/two.json"],
    command: "vpcctl remove-policy vpc1/public",
    back: Back::Run("vpcctl apply-policy vpc1/public $T/two.json"),
    ..IN_TWO
};
pub static DELETE_INSTANCE: Case = Case {
    before: &[VPC1, VPC2, NAT, WEB2],
    command: "vpcctl delete-instance vpc1/public/web2",
    back: Back::Run(WEB2),
    ..IN_TWO
};
pub static DELETE_SUBNET: Case = Case {
    command: "vpcctl delete-subnet vpc1/public",
    back: Back::Run("vpcctl add-subnet vpc1 public 10.0.1.0/24 --public"),
    ..IN_TWO
};
pub static DELETE_VPC: Case =
    Case { before: &[VPC1, VPC2, VPC3, NAT, PEER], command: "vpcctl delete-vpc vpc1", watch: THIRD, ..BARE };
pub static DEPLOY_APP: Case = Case { command: APP, back: Back::Undo("vpcctl stop-app vpc1/public"), ..IN_TWO };
pub static STOP_APP: Case =
    Case { before: &[VPC1, VPC2, NAT, APP], command: "vpcctl stop-app vpc1/public", back: Back::Run(APP), ..IN_TWO };
/// After a reboot.
pub static RESTORE: Case = Case {
    before: &[VPC1, VPC2, NAT],
    spoil: "ip link del vpc-vpc1; ip link del vpc-vpc2; nft flush ruleset
        cd /run/netns; for n in vpc*; do ip netns del $n; done; cd /",
    command: "vpcctl restore",
    back: Back::Run("true"),
    watch: TWO,
};
/// What is missing, what is bent, and what is too many.
pub static REPAIR: Case = Case {
    before: &[VPC1, VPC2],
    spoil: "ip -n vpc1 link set dev br-vpc1 mtu 1400; ip netns del vpc2-a; ip -n vpc1 addr add 10.9.9.9/24 dev br-vpc1
        ip netns exec vpc1 iptables -A FORWARD -s 192.0.2.1 -j ACCEPT; ip netns exec vpc1 iptables -R VPCCTL-INPUT 2 -j ACCEPT",
    command: "vpcctl repair",
    back: Back::Run("true"),
    watch: TWO,
};
/// From one subnet to two, of which the first has a policy then.
pub static APPLY: Case = Case {
    before: &["vpcctl apply -f $T/one.yaml"],
    command: "vpcctl apply -f $T/two.yaml",
    back: Back::Run("vpcctl apply --prune -f $T/one.yaml"),
    ..BARE
};
pub static DESTROY: Case =
    Case { command: "vpcctl destroy -f $T/one.yaml", back: Back::Undo("vpcctl apply -f $T/one.yaml"), ..APPLY };
pub static CLEANUP_ALL: Case =
    Case { before: &[VPC1, VPC2, NAT, PEER, APP], command: "vpcctl cleanup-all --yes", ..BARE };

pub static CASES: [&Case; 20] = [
    &CREATE_VPC,
    &ADD_SUBNET,
    &ADD_INSTANCE,
    &ENABLE_NAT,
    &DISABLE_NAT,
    &PEERING,
    &ALLOW_CIDR,
    &UNPEER,
    &APPLY_POLICY,
    &REMOVE_POLICY,
    &DELETE_INSTANCE,
    &DELETE_SUBNET,
    &DELETE_VPC,
    &DEPLOY_APP,
    &STOP_APP,
    &RESTORE,
    &REPAIR,
    &APPLY,
    &DESTROY,
    &CLEANUP_ALL,
];

impl Case {
    /// Writes the files that the commands name.
    pub fn files(&self, sandbox: &Sandbox) {
        let few = r#"{"ingress": [{"port": 80, "protocol": "tcp", "action": "allow"}]}"#;
        // More than fit into rules: they come as a set.
        let rule =
            |i| format!(r#"{{"port": [22, 443], "protocol": "tcp", "action": "reject", "source": "172.16.{i}.0/24"}}"#);
        let rules: Vec<String> = (0..60).map(|i| rule(2 * i)).collect();
        let many = format!(r#"{{"ingress": [{}], "default": {{"ingress": "allow"}}}}"#, rules.join(", "));
        sandbox.file("one.json", few);
        sandbox.file("two.json", &many);
        let one = "version: 1\nvpcs:\n- {name: vpc1, cidr: 10.0.0.0/16, subnets: [{name: web, cidr: 10.0.1.0/24}]}\n";
        let two = "{name: web, cidr: 10.0.1.0/24, policy: one.json}, {name: db, cidr: 10.0.2.0/24}";
        sandbox.file("one.yaml", one);
        sandbox.file("two.yaml", &one.replace("{name: web, cidr: 10.0.1.0/24}", two));
    }

    /// The command's name.
    pub fn name(&self) -> &'static str {
        self.command.split(' ').nth(1).unwrap_or_default()
    }
}
