//! What the kernel has, as the tools print it: parsers from text to data. Which calls to make is decided here too, from what
//! there is to compare.

pub mod netlink;
mod read;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;

pub use read::chains;
use serde::Deserialize;

use crate::model::app::App;
use crate::model::kernel_names::Netns;
use crate::plan::launch::AppId;
use crate::plan::line::{Leftover, Place};
use crate::plan::op::{Object, Op};
use crate::plan::rule::Table;

/// The lines of the one `ip -batch` that shows a place, in the order in which [`Seen::read_ip`] reads the answers.
pub const IP_QUERIES: [&str; 5] =
    ["link show", "addr show", "route show table all", "neigh show nud permanent", "rule show"];

/// What was seen, by place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Observed {
    /// A namespace that doesn't exist is missing here.
    pub places: BTreeMap<Place, Seen>,
    /// The namespaces of which only a file is left, without the mount that made it one.
    pub stale: BTreeSet<Netns>,
    /// The files of configuration that were read, by path; a missing one is missing here.
    pub files: BTreeMap<PathBuf, String>,
    /// The namespaces that the state doesn't know, with the aliases of their `lo`, which hold our mark where they are ours.
    pub strangers: BTreeMap<Netns, String>,
    /// The apps that there are records of; nothing for one that has ended.
    pub apps: BTreeMap<AppId, Option<App>>,
}

/// What was seen in one place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// The interfaces by name.
    pub links: BTreeMap<String, SeenLink>,
    /// Addresses as device, address, prefix length.
    pub addresses: BTreeSet<(String, Ipv4Addr, u8)>,
    /// The routes of all tables.
    pub routes: Vec<SeenRoute>,
    /// The routing rules.
    pub rules: Vec<SeenRule>,
    /// The permanent neighbours: MAC by device and address.
    pub neighbours: BTreeMap<(String, String), String>,
    /// The bridge's static entries: device and MAC.
    pub fdb: BTreeSet<(String, String)>,
    /// The devices that have a filter, and whether the first is the one of senders.
    pub filtered: BTreeMap<String, bool>,
    /// The sets by name: their type with options, their entries.
    pub sets: BTreeMap<String, (String, BTreeSet<String>)>,
    /// The chains. Places where they are the same may have them in common.
    pub chains: Arc<SeenChains>,
    /// The settings that were read, by path; a missing one is missing here.
    pub sysctls: BTreeMap<String, String>,
}

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenLink {
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its MAC address.
    pub mac: String,
    /// Its alias, which holds our mark.
    pub alias: String,
    /// Its group, as a number or as `ip` names it.
    pub group: String,
    /// Is it set up?
    pub up: bool,
    /// `veth`, `bridge`, …
    pub kind: String,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// Its other names.
    pub altnames: Vec<String>,
    /// Is the port guarded: isolated, locked, not learning, not flooded?
    pub guarded: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SeenRoute {
    /// Its destination as `ip` writes it: `default`, a network or an address.
    pub dst: String,
    /// `unreachable`, `local`, …; nothing for a plain one.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// The next hop.
    #[serde(default)]
    pub gateway: Option<String>,
    /// The device.
    #[serde(default)]
    pub dev: Option<String>,
    /// The address that the sender takes.
    #[serde(default)]
    pub prefsrc: Option<String>,
    /// Who made it.
    #[serde(default)]
    pub protocol: Option<String>,
    /// Its table; nothing for the main one.
    #[serde(default)]
    pub table: Option<String>,
    /// The lower, the sooner it is taken.
    #[serde(default)]
    pub metric: Option<u32>,
    /// The type of service that it is for.
    #[serde(default)]
    pub tos: Option<String>,
    /// Its next hops, where there are several.
    #[serde(default)]
    pub nexthops: Vec<serde_json::Value>,
}

impl SeenRoute {
    /// Is it in the main table?
    pub fn is_main(&self) -> bool {
        matches!(self.table.as_deref(), None | Some("main"))
    }
}

/// A routing rule.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct SeenRule {
    /// The lower, the sooner it is asked.
    #[serde(default)]
    pub priority: u32,
    /// The interface that packets come in by; `lo` for what the host sends itself.
    #[serde(default)]
    pub iif: String,
    /// The table that it leads to.
    #[serde(default)]
    pub table: String,
    /// All else that `ip` says of it.
    #[serde(flatten)]
    pub rest: BTreeMap<String, serde_json::Value>,
}

impl SeenRule {
    /// Does it ask for nothing but what has a field of its own here?
    pub fn is_plain(&self) -> bool {
        // Who made it makes no difference.
        self.rest.iter().all(|(key, value)| key == "protocol" || key == "src" && value == "all")
    }
}

/// Chains by table and name.
pub type SeenChains = BTreeMap<(String, String), SeenChain>;

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenChain {
    /// A built-in chain's policy.
    pub policy: Option<String>,
    /// Its rules in order.
    pub rules: Vec<SeenChainRule>,
}

/// A rule of a chain, and its mark if it is ours.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SeenChainRule {
    /// The mark in its comment.
    pub mark: Option<String>,
    /// The rule as `iptables-save` prints it, after `-A CHAIN`.
    pub text: String,
}

/// What has to be asked to compare ops with a place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Questions {
    /// Whose the namespace is: the mark on its `lo`.
    pub mark: bool,
    /// Links.
    pub links: bool,
    /// Addresses and routes.
    pub ip: bool,
    /// Neighbours and routing rules: of routers and the host.
    pub routing: bool,
    /// The bridge's forwarding entries.
    pub fdb: bool,
    /// The devices that may have the filter of senders.
    pub filters: BTreeSet<String>,
    /// Sets.
    pub sets: bool,
    /// Rules.
    pub rules: bool,
    /// The tables that the rules are in: others may be beyond what the tool can read.
    pub tables: BTreeSet<Table>,
    /// The settings to read.
    pub sysctls: BTreeSet<String>,
}

impl Questions {
    /// All that can be asked, but for settings.
    pub fn whole() -> Self {
        Questions { links: true, ip: true, routing: true, fdb: true, sets: true, rules: true, ..Questions::default() }
    }

    /// Does `ip` have to be asked anything?
    pub fn asks_ip(&self) -> bool {
        self.mark || self.asks_lists()
    }

    /// Does `ip` have to be asked for more than the namespace's mark?
    pub fn asks_lists(&self) -> bool {
        self.links || self.ip || self.routing
    }

    /// Asks what `other` asks, too.
    pub fn add(&mut self, other: Questions) {
        self.mark |= other.mark;
        self.links |= other.links;
        self.ip |= other.ip;
        self.routing |= other.routing;
        self.fdb |= other.fdb;
        self.filters.extend(other.filters);
        self.sets |= other.sets;
        self.rules |= other.rules;
        self.tables.extend(other.tables);
        self.sysctls.extend(other.sysctls);
    }
}

/// What to ask, by place, to compare these ops.
pub fn questions<'a>(ops: impl IntoIterator<Item = &'a Op>) -> BTreeMap<Place, Questions> {
    let mut asked: BTreeMap<Place, Questions> = BTreeMap::new();
    for op in ops.into_iter().filter(|op| !op.outlives_its_namespace()) {
        if let Object::Cable { ends, .. } = &op.object {
            for end in ends {
                asked.entry(end.place.clone()).or_default().links = true;
            }
        }
        let questions = asked.entry(op.place()).or_default();
        match &op.object {
            Object::Sysctl(sysctl) => {
                questions.sysctls.insert(sysctl.key.clone());
            }
            Object::Set { .. } | Object::SetEntry { .. } => questions.sets = true,
            Object::Chain { table, .. } | Object::Jump { table, .. } => {
                questions.rules = true;
                questions.tables.insert(*table);
            }
            Object::DropPolicy { .. } => {
                questions.rules = true;
                questions.tables.insert(Table::Filter);
            }
            Object::Leftover(_) => questions.rules = true,
            Object::Fdb { .. } => questions.fdb = true,
            Object::Neighbour { .. } | Object::HostRule(_) => (questions.ip, questions.routing) = (true, true),
            Object::SenderFilter { device, .. } => drop(questions.filters.insert(device.to_string())),
            Object::Address { .. } | Object::Route { .. } => questions.ip = true,
            Object::Namespace(_) => questions.mark = true,
            _ => questions.links = true,
        }
    }
    asked
}

impl Seen {
    /// Is it there, with nothing in it but built-in chains that accept?
    pub fn is_unused(&self, leftover: &Leftover) -> bool {
        let is_part = |(of, name): &(String, String)| match leftover {
            Leftover::Table(table) => of == table,
            Leftover::Chain(table, chain) => of == table && name == chain,
        };
        let mut chains = self.chains.iter().filter(|(path, _)| is_part(path)).map(|(_, chain)| chain).peekable();
        let is_bare = |chain: &SeenChain| chain.rules.is_empty() && chain.policy.as_deref() == Some("ACCEPT");
        chains.peek().is_some() && chains.all(is_bare)
    }

    /// The chain, if it exists.
    pub fn chain(&self, table: Table, name: &str) -> Option<&SeenChain> {
        self.chains.get(&(table.as_str().to_owned(), name.to_owned()))
    }
}
