//! What the kernel has, as the tools print it: parsers from text to data. Which calls to make is decided here too, from what
//! there is to compare.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::app::App;
use crate::model::kernel_names::Netns;
use crate::plan::launch::AppId;
use crate::plan::line::{Leftover, Place};
use crate::plan::op::{Object, Op};
use crate::plan::rule::{MARK, Table};

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
    /// The chains by table and name.
    pub chains: BTreeMap<(String, String), SeenChain>,
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
    /// Links, addresses, routes, neighbours.
    pub ip: bool,
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
        Questions { ip: true, fdb: true, sets: true, rules: true, ..Questions::default() }
    }

    /// Asks what `other` asks, too.
    pub fn add(&mut self, other: Questions) {
        self.ip |= other.ip;
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
                asked.entry(end.place.clone()).or_default().ip = true;
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
            Object::SenderFilter { device, .. } => drop(questions.filters.insert(device.to_string())),
            _ => questions.ip = true,
        }
    }
    asked
}

#[derive(Deserialize)]
struct LinkJson {
    ifname: String,
    #[serde(default)]
    flags: Vec<String>,
    #[serde(default)]
    mtu: u32,
    #[serde(default)]
    address: String,
    #[serde(default)]
    ifalias: String,
    #[serde(default)]
    altnames: Vec<String>,
    #[serde(default)]
    group: String,
    #[serde(default)]
    master: Option<String>,
    #[serde(default)]
    linkinfo: LinkInfoJson,
}

#[derive(Default, Deserialize)]
struct LinkInfoJson {
    #[serde(default)]
    info_kind: String,
    #[serde(default)]
    info_slave_data: serde_json::Value,
}

#[derive(Deserialize)]
struct AddressesJson {
    #[serde(default)]
    ifname: String,
    #[serde(default)]
    addr_info: Vec<AddressJson>,
}

#[derive(Deserialize)]
struct AddressJson {
    #[serde(default)]
    local: String,
    prefixlen: u8,
}

#[derive(Deserialize)]
struct NeighbourJson {
    dst: String,
    dev: String,
    #[serde(default)]
    lladdr: String,
}

#[derive(Deserialize)]
struct FdbJson {
    mac: String,
    ifname: String,
    #[serde(default)]
    master: Option<String>,
    #[serde(default)]
    state: String,
}

impl Seen {
    /// Reads the answers to [`IP_QUERIES`]: one JSON list after the other.
    pub fn read_ip(&mut self, text: &str) -> Result<(), serde_json::Error> {
        let mut lists = serde_json::Deserializer::from_str(text).into_iter::<Vec<serde_json::Value>>();
        self.links = next::<LinkJson>(&mut lists)?.into_iter().map(link).collect();
        for of_device in next::<AddressesJson>(&mut lists)? {
            let device = of_device.ifname;
            let ipv4 = |a: AddressJson| Some((device.clone(), a.local.parse().ok()?, a.prefixlen));
            self.addresses.extend(of_device.addr_info.into_iter().filter_map(ipv4));
        }
        self.routes = next(&mut lists)?;
        let neighbours = next::<NeighbourJson>(&mut lists)?;
        self.rules = next(&mut lists)?;
        self.neighbours = neighbours.into_iter().map(|n| ((n.dev, n.dst), n.lladdr)).collect();
        Ok(())
    }

    /// Reads `bridge -j fdb show`.
    pub fn read_fdb(&mut self, text: &str) -> Result<(), serde_json::Error> {
        let mut lists = serde_json::Deserializer::from_str(text).into_iter::<Vec<serde_json::Value>>();
        let entries = next::<FdbJson>(&mut lists)?;
        let fixed = entries.into_iter().filter(|entry| entry.state == "static" && entry.master.is_some());
        self.fdb = fixed.map(|entry| (entry.ifname, entry.mac)).collect();
        Ok(())
    }

    /// Reads `ipset save`.
    pub fn read_sets(&mut self, text: &str) {
        for line in text.lines() {
            let mut words = line.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("create"), Some(name), Some(kind)) => {
                    self.sets.insert(name.into(), (kind.into(), BTreeSet::new()));
                }
                (Some("add"), Some(name), Some(entry)) => {
                    if let Some((_, entries)) = self.sets.get_mut(name) {
                        entries.insert(entry.into());
                    }
                }
                _ => {}
            }
        }
    }

    /// Reads `iptables-save`.
    pub fn read_rules(&mut self, text: &str) {
        let mut table = String::new();
        for line in whole_lines(text) {
            let line = line.as_str();
            if let Some(name) = line.strip_prefix('*') {
                table = name.to_owned();
            } else if let Some(chain) = line.strip_prefix(':') {
                let mut words = chain.split(' ');
                let name = words.next().unwrap_or_default().to_owned();
                let policy = words.next().filter(|&policy| policy != "-").map(str::to_owned);
                self.chains.insert((table.clone(), name), SeenChain { policy, rules: Vec::new() });
            } else if let Some((chain, text)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
                let rule = SeenChainRule { mark: mark(text), text: text.to_owned() };
                self.chains.entry((table.clone(), chain.to_owned())).or_default().rules.push(rule);
            }
        }
    }

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

/// Lines, where a quoted comment with an end of a line in it is part of one; what a terminal would obey is left out.
fn whole_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut is_open = false;
    for line in text.lines() {
        match lines.last_mut().filter(|_| is_open) {
            Some(last) => *last = format!("{last} {line}"),
            None => lines.push(line.to_owned()),
        }
        // A quote within quotes has a backslash before it.
        let quotes = line.replace("\\\\", "").replace("\\\"", "").matches('"').count();
        is_open ^= quotes % 2 == 1;
    }
    lines.into_iter().map(|line| line.chars().filter(|letter| !letter.is_control()).collect()).collect()
}

fn next<T: DeserializeOwned>(
    lists: &mut impl Iterator<Item = Result<Vec<serde_json::Value>, serde_json::Error>>,
) -> Result<Vec<T>, serde_json::Error> {
    let list = lists.next().transpose()?.unwrap_or_default();
    // `ip -j` prints `{}` for what a filter left out.
    let filled = list.into_iter().filter(|value| value.as_object().is_some_and(|object| !object.is_empty()));
    filled.map(serde_json::from_value).collect()
}

fn link(json: LinkJson) -> (String, SeenLink) {
    let port = &json.linkinfo.info_slave_data;
    let is = |key: &str, value: bool| port.get(key).and_then(serde_json::Value::as_bool) == Some(value);
    let guarded = is("isolated", true)
        && is("locked", true)
        && ["learning", "flood", "mcast_flood", "bcast_flood"].iter().all(|key| is(key, false));
    let seen = SeenLink {
        mtu: json.mtu,
        mac: json.address,
        alias: json.ifalias,
        group: json.group,
        up: json.flags.iter().any(|flag| flag == "UP"),
        kind: json.linkinfo.info_kind,
        master: json.master,
        altnames: json.altnames,
        guarded,
    };
    (json.ifname, seen)
}

/// The mark in a rule's comment: eight hexadecimal digits after [`MARK`].
fn mark(rule: &str) -> Option<String> {
    let (_, comment) = rule.split_once("--comment \"")?;
    let digits = comment.strip_prefix(MARK)?.get(..8)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| digits.to_owned())
}
