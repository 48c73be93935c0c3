//! Parsers of what the tools print.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Seen, SeenChain, SeenChainRule, SeenChains, SeenLink};
use crate::model::text::printable;
use crate::plan::rule::MARK;

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
    /// Reads the answers to [`IP_QUERIES`](super::IP_QUERIES): one JSON list after the other.
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

    /// Nothing but what `iptables-save` shows.
    pub fn of_rules(text: &str) -> Self {
        Seen { chains: chains(text).into(), ..Seen::default() }
    }
}

/// Reads `iptables-save`.
pub fn chains(text: &str) -> SeenChains {
    let mut chains = SeenChains::new();
    let mut table = String::new();
    for line in whole_lines(text) {
        let line = line.as_str();
        if let Some(name) = line.strip_prefix('*') {
            table = name.to_owned();
        } else if let Some(chain) = line.strip_prefix(':') {
            let mut words = chain.split(' ');
            let name = words.next().unwrap_or_default().to_owned();
            let policy = words.next().filter(|&policy| policy != "-").map(str::to_owned);
            chains.insert((table.clone(), name), SeenChain { policy, rules: Vec::new() });
        } else if let Some((chain, text)) = line.strip_prefix("-A ").and_then(|rest| rest.split_once(' ')) {
            let rule = SeenChainRule { mark: mark(text), text: text.to_owned() };
            chains.entry((table.clone(), chain.to_owned())).or_default().rules.push(rule);
        }
    }
    chains
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
    lines.iter().map(|line| printable(line)).collect()
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
