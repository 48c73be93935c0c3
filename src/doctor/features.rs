//! What vpcctl needs of the kernel, and how each is tried: in a network namespace of its own, with the very words of the plan.
//!
//! Trying a feature makes the kernel load the modules that it is in. That is what the first `create-vpc` does as well, but a
//! diagnosis leaves no trace: what is in a module that is not loaded yet is not tried. Where there is no telling (no list of
//! modules), it is.

use std::collections::{BTreeMap, BTreeSet};

use super::tools::flavour_in;
use crate::model::flavour::Flavour;
use crate::model::owner::Owner;
use crate::plan::batch::{Call, InputLine, Program};
use crate::plan::line::Place;

/// Something that the kernel can be asked to do.
#[derive(Debug)]
pub struct Feature {
    /// The id of its finding.
    pub id: &'static str,
    /// What it is, and what vpcctl uses it for.
    pub what: &'static str,
    /// The kernel's modules that have it, where it isn't built in.
    pub modules: &'static [&'static str],
    /// What has to work before.
    pub after: &'static [&'static str],
    /// How it is tried.
    pub trial: Trial,
}

/// How a feature is tried.
#[derive(Debug)]
pub enum Trial {
    /// These lines go into the batch of a tool.
    Lines(Program, &'static [&'static str]),
    /// These rules go into a table.
    Rules(&'static str, &'static [&'static str]),
    /// This setting is there.
    Setting(&'static str),
}

impl Trial {
    /// The tool that is started, if one is.
    pub fn program(&self) -> Option<Program> {
        match self {
            Trial::Lines(program, _) => Some(*program),
            Trial::Rules(..) => Some(Program::IptablesRestore),
            Trial::Setting(_) => None,
        }
    }

    /// The call that tries it, if a tool is started.
    pub fn call(&self) -> Option<Call> {
        let (args, lines): (&[&str], Vec<String>) = match self {
            Trial::Lines(Program::Ipset, lines) => (&["restore"], lines.iter().map(ToString::to_string).collect()),
            Trial::Lines(_, lines) => (&["-batch", "-"], lines.iter().map(ToString::to_string).collect()),
            Trial::Rules(table, rules) => {
                let rules = rules.iter().map(ToString::to_string);
                (
                    &["-w", "5", "--noflush"],
                    [format!("*{table}")].into_iter().chain(rules).chain(["COMMIT".into()]).collect(),
                )
            }
            Trial::Setting(_) => return None,
        };
        let mut call = Call::plain(Place::Host, self.program()?, args);
        call.input = lines.into_iter().map(|text| InputLine { text, object: Owner::Host }).collect();
        Some(call)
    }
}

use Trial::{Lines, Rules, Setting};

/// What vpcctl does without where it has to, and what is lost then.
pub const OPTIONAL: [(&str, &str); 1] =
    [("kernel-sender-filter", "an instance could put fragments into its neighbours' packets")];

/// In an order in which they can be tried.
pub const FEATURES: [Feature; 20] = [
    Feature {
        id: "kernel-veth",
        what: "veth pairs, the cables",
        modules: &["veth"],
        after: &[],
        trial: Lines(Program::Ip, &["link add name veth0 type veth peer name veth1"]),
    },
    Feature {
        id: "kernel-bridge",
        what: "bridges, which subnets are on",
        modules: &["bridge"],
        after: &[],
        trial: Lines(Program::Ip, &["link add name br0 type bridge mcast_snooping 0"]),
    },
    Feature {
        id: "kernel-locked-ports",
        what: "isolated and locked bridge ports, which guard instances from each other",
        modules: &["bridge"],
        after: &["kernel-veth", "kernel-bridge"],
        trial: Lines(
            Program::Ip,
            &[
                "link set dev veth0 master br0",
                "link set dev veth0 type bridge_slave isolated on locked on learning off flood off mcast_flood off bcast_flood off",
            ],
        ),
    },
    Feature {
        id: "kernel-static-fdb",
        what: "static forwarding entries, which bind a port to its MAC address",
        modules: &["bridge"],
        after: &["kernel-locked-ports"],
        trial: Lines(Program::Bridge, &["fdb replace 0a:58:c0:00:02:02 dev veth0 master static"]),
    },
    Feature {
        id: "kernel-proxy-arp",
        what: "proxy_arp_pvlan, by which the router answers ARP for a port's neighbours",
        modules: &[],
        after: &["kernel-bridge"],
        trial: Setting("net/ipv4/conf/br0/proxy_arp_pvlan"),
    },
    Feature {
        id: "kernel-policy-routing",
        what: "routing tables of their own, for the host's way to VPCs",
        modules: &[],
        after: &[],
        trial: Lines(
            Program::Ip,
            &[
                "rule add priority 100 iif lo lookup 30320",
                "route replace prohibit 192.0.2.0/24 table 30320",
                "route replace unreachable 192.0.2.0/24",
            ],
        ),
    },
    Feature {
        id: "kernel-sender-filter",
        what: "a filter of packets before they are put together, against fragments with stolen addresses",
        modules: &["sch_ingress", "cls_bpf"],
        after: &[],
        trial: Lines(
            Program::Tc,
            &[
                "qdisc replace dev lo clsact",
                "filter replace dev lo ingress pref 1 handle 1 protocol all bpf da bytecode \"1,6 0 0 0\"",
            ],
        ),
    },
    Feature {
        id: "kernel-ipset-senders",
        what: "ipset's bitmap:ip,mac, the list of who may send",
        modules: &["ip_set", "ip_set_bitmap_ipmac"],
        after: &[],
        trial: Lines(Program::Ipset, &["create senders bitmap:ip,mac range 192.0.2.0-192.0.2.255"]),
    },
    Feature {
        id: "kernel-ipset-networks",
        what: "ipset's hash:net, for long policies",
        modules: &["ip_set", "ip_set_hash_net"],
        after: &[],
        trial: Lines(Program::Ipset, &["create networks hash:net family inet hashsize 64 maxelem 64"]),
    },
    Feature {
        id: "kernel-ipset-ports",
        what: "ipset's hash:net,port, for long policies",
        modules: &["ip_set", "ip_set_hash_netport"],
        after: &[],
        trial: Lines(Program::Ipset, &["create ports hash:net,port family inet hashsize 64 maxelem 64"]),
    },
    Feature {
        id: "kernel-match-set",
        what: "the match `set`, which asks ipset",
        modules: &["xt_set"],
        after: &["kernel-ipset-senders"],
        trial: Rules("raw", &["-A PREROUTING -m set --match-set senders src,src -j RETURN"]),
    },
    Feature {
        id: "kernel-match-rpfilter",
        what: "the match `rpfilter`, against forged sources",
        modules: &["ipt_rpfilter"],
        after: &[],
        trial: Rules("raw", &["-A PREROUTING -m rpfilter --invert -j DROP"]),
    },
    Feature {
        id: "kernel-conntrack",
        what: "connection tracking",
        modules: &["nf_conntrack", "xt_conntrack"],
        after: &[],
        trial: Rules(
            "filter",
            &["-A FORWARD -m conntrack --ctstate NEW,RELATED,ESTABLISHED --ctdir ORIGINAL -j ACCEPT"],
        ),
    },
    Feature {
        id: "kernel-conntrack-settings",
        what: "the setting nf_conntrack_tcp_loose, without which a connection's direction is a guess",
        modules: &["nf_conntrack"],
        after: &["kernel-conntrack"],
        trial: Setting("net/netfilter/nf_conntrack_tcp_loose"),
    },
    Feature {
        id: "kernel-match-devgroup",
        what: "the match `devgroup`, by which the host's rules know uplinks",
        modules: &["xt_devgroup"],
        after: &[],
        trial: Rules("filter", &["-A FORWARD -m devgroup --src-group 0x76700000/0xffff0000 -j DROP"]),
    },
    Feature {
        id: "kernel-reject",
        what: "the target REJECT, which refuses at once",
        modules: &["ipt_REJECT"],
        after: &[],
        trial: Rules(
            "filter",
            &[
                "-A FORWARD -p tcp -j REJECT --reject-with tcp-reset",
                "-A FORWARD -p icmp -m icmp --icmp-type 8 -j REJECT --reject-with icmp-admin-prohibited",
                "-A INPUT -j REJECT --reject-with icmp-port-unreachable",
            ],
        ),
    },
    Feature {
        id: "kernel-masquerade",
        what: "the target MASQUERADE, for NAT",
        modules: &["nf_nat", "xt_MASQUERADE"],
        after: &[],
        trial: Rules("nat", &["-A POSTROUTING -o veth0 -j MASQUERADE"]),
    },
    Feature {
        id: "kernel-comment",
        what: "the match `comment`, which marks vpcctl's rules",
        modules: &["xt_comment"],
        after: &[],
        trial: Rules("filter", &["-A INPUT -m comment --comment \"vpcctl:00000000 doctor\" -j ACCEPT"]),
    },
    Feature {
        id: "kernel-match-multiport",
        what: "the matches `multiport`, `tcp` and `udp`, for policies",
        modules: &["xt_multiport", "xt_tcpudp"],
        after: &[],
        trial: Rules(
            "filter",
            &[
                "-A INPUT -p tcp -m multiport --dports 22,8000:8100 -j ACCEPT",
                "-A INPUT -p tcp -m tcp --dport 80 -j ACCEPT",
                "-A INPUT -p udp -m udp --sport 53 -j ACCEPT",
            ],
        ),
    },
    Feature {
        id: "kernel-connmark",
        what: "connmark, mark and the table `security`, by which a new policy meets open connections",
        modules: &["xt_connmark", "xt_mark"],
        after: &["kernel-conntrack"],
        trial: Rules(
            "security",
            &[
                "-A INPUT -m connmark --mark 0x1 -j ACCEPT",
                "-A INPUT -m mark --mark 0x1 -m conntrack ! --ctstate RELATED -j CONNMARK --save-mark",
                "-A OUTPUT -j MARK --set-xmark 0x1/0xffffffff",
            ],
        ),
    },
];

/// The feature with an id.
pub fn find(id: &str) -> Option<&'static Feature> {
    FEATURES.iter().find(|feature| feature.id == id)
}

/// The modules that trying a feature needs, those of iptables itself included.
pub fn modules(feature: &Feature, iptables_version: &str) -> Vec<&'static str> {
    let base: &[&'static str] = match (&feature.trial, flavour_in(iptables_version)) {
        (Trial::Rules("nat", _), Flavour::Nft) => &["nf_tables", "nft_compat", "nft_chain_nat"],
        (Trial::Rules(..), Flavour::Nft) => &["nf_tables", "nft_compat"],
        (Trial::Rules("raw", _), Flavour::Legacy) => &["ip_tables", "iptable_raw"],
        (Trial::Rules("nat", _), Flavour::Legacy) => &["ip_tables", "iptable_nat"],
        (Trial::Rules("security", _), Flavour::Legacy) => &["ip_tables", "iptable_security"],
        (Trial::Rules(..), Flavour::Legacy) => &["ip_tables", "iptable_filter"],
        _ => &[],
    };
    base.iter().chain(feature.modules).copied().collect()
}

/// What works and what failed, by id, of what is tried in order. Where what has to work before does not, nothing is tried.
pub fn outcome<'a>(
    tried: impl IntoIterator<Item = &'a Feature>,
    mut attempt: impl FnMut(&'a Feature) -> Result<(), String>,
) -> (BTreeSet<&'static str>, BTreeMap<&'static str, String>) {
    let (mut working, mut failed) = (BTreeSet::new(), BTreeMap::new());
    for feature in tried {
        if !feature.after.iter().all(|before| working.contains(before)) {
            continue;
        }
        match attempt(feature) {
            Ok(()) => {
                working.insert(feature.id);
            }
            Err(why) => {
                failed.insert(feature.id, why);
            }
        }
    }
    (working, failed)
}
