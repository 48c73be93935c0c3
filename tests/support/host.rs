//! The test kernel's host before vpcctl comes: two interfaces, and things that are nobody's business.

use std::collections::BTreeMap;

use proptest::prelude::*;
use vpcctl::model::facts::HostFacts;
use vpcctl::model::state::State;

use crate::kernel::{HOST, Kernel};
use crate::netfilter::Chain;
use crate::states::{WANS, plain_facts};

/// What a host has of its own.
#[derive(Debug, Clone)]
pub struct Foreign {
    /// Built-in chains that exist without a rule.
    chains: Vec<(&'static str, &'static str)>,
    /// Docker's way: FORWARD drops, with chains and rules of its own.
    docker: bool,
    /// The second interface forwards already.
    forwarding: bool,
    /// Somebody's namespace, sets, and cable.
    namespace: bool,
    bridge_netfilter: bool,
}

/// Hosts of all kinds.
pub fn hosts() -> impl Strategy<Value = Foreign> {
    let chains =
        [("filter", "INPUT"), ("filter", "OUTPUT"), ("nat", "POSTROUTING"), ("nat", "OUTPUT"), ("raw", "OUTPUT")];
    let chains = prop::sample::subsequence(chains.to_vec(), 0..=5);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    (chains, flags).prop_map(|(chains, (docker, forwarding, namespace, bridge_netfilter))| Foreign {
        chains,
        docker,
        forwarding,
        namespace,
        bridge_netfilter,
    })
}

impl Foreign {
    /// One with something of everything.
    pub fn busy() -> Self {
        let chains = vec![("filter", "INPUT"), ("nat", "OUTPUT")];
        Foreign { chains, docker: true, forwarding: true, namespace: true, bridge_netfilter: true }
    }

    /// The kernel of such a host.
    pub fn kernel(&self) -> Kernel {
        let mut kernel = Kernel::new();
        kernel.has_bridge_netfilter = self.bridge_netfilter;
        let net = kernel.places.get_mut(HOST).unwrap();
        for (name, address) in WANS.into_iter().zip(["198.51.100.10/24", "192.0.2.10/24"]) {
            let options = BTreeMap::from([("name", name), ("address", "52:54:00:00:00:01"), ("mtu", "1500")]);
            net.links.add(&options, "device").unwrap();
            net.links.ip(&["link", "set", "dev", name, "up"]).unwrap();
            net.links.ip(&["addr", "replace", address, "brd", "+", "dev", name]).unwrap();
        }
        let default = ["route", "replace", "default", "via", "198.51.100.1", "dev", "eth0"];
        net.links.ip(&default).unwrap();
        for (table, chain) in &self.chains {
            net.netfilter.restore(&[&format!("*{table}"), &format!(":{chain} ACCEPT [0:0]"), "COMMIT"]).unwrap();
        }
        if self.docker {
            docker(&mut kernel);
        }
        if self.forwarding {
            kernel.set(HOST, "net/ipv4/conf/eth1/forwarding", "1");
        }
        if self.namespace {
            kernel.places.insert("somebodys".into(), Default::default());
            let net = kernel.places.get_mut(HOST).unwrap();
            net.netfilter.ipset(&["create", "somebodys", "hash:net", "family", "inet", "-exist"]).unwrap();
        }
        kernel
    }

    /// What an edit is told of it.
    pub fn facts(&self, state: &State) -> HostFacts {
        // A host without namespaces of its own has a kernel without the filter.
        let mut facts = HostFacts { may_filter_senders: self.namespace, ..plain_facts() };
        if let Some(link) = facts.links.get_mut(&"eth1".parse().unwrap()) {
            link.forwarding = self.forwarding;
        }
        // As the session does: tables are asked for when the first rule may go into one.
        if state.host.wans.is_empty() || state.vpcs.values().all(|vpc| vpc.uplink.is_none()) {
            let kernel = self.kernel();
            for (name, table) in &kernel.net(HOST).netfilter.tables {
                facts.firewall.tables.insert(name.clone());
                facts.firewall.chains.extend(table.keys().map(|chain| (name.clone(), chain.clone())));
            }
        }
        facts
    }
}

fn docker(kernel: &mut Kernel) {
    let filter = ["*filter", ":FORWARD DROP [0:0]", ":DOCKER - [0:0]", "-A FORWARD -o docker0 -j DOCKER", "COMMIT"];
    let nat = ["*nat", "-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE", "COMMIT"];
    let netfilter = &mut kernel.places.get_mut(HOST).unwrap().netfilter;
    netfilter.restore(&filter).unwrap();
    netfilter.restore(&nat).unwrap();
    let chain = netfilter.tables["filter"]["FORWARD"].clone();
    assert_eq!(chain, Chain { policy: Some("DROP".into()), rules: vec!["-o docker0 -j DOCKER".into()] });
}
