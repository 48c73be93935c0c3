//! All that a sandbox's kernel has, as text that compares equal if and only if nothing differs that anybody could see.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::Sandbox;

/// What there is in one network namespace. A line that begins with `== ` begins a section.
const PLACE: &str = r"
echo '== addr json'; ip -j -d addr
echo '== routes json'; ip -j -d route show table all
echo '== rules json'; ip -j rule
echo '== neighbours json'; ip -j neigh show nud permanent
echo '== fdb json'; bridge -j fdb show
echo '== ports json'; bridge -j -d link show
echo '== iptables'; iptables-save
echo '== ip6tables'; ip6tables-save
echo '== nft'; nft list ruleset
echo '== ipset'; ipset save
echo '== sysctl'; grep -rs . /proc/sys/net; true
";

/// What there is besides on the host: names of namespaces, processes, mounts, and files but for the state directory.
const HOST: &str = r"
echo '== namespaces'; ls /run/netns
echo '== processes'; for f in /proc/[0-9]*/comm; do read name <$f && echo $name; done
echo '== mounts'; cut -d' ' -f2,3 /proc/mounts
echo '== files'; find /run -not -path '*/var-lib/vpcctl*' -not -path '/run/shim/*' -not -path '/run/mount*'
";

/// What matters most of one place, with few processes: for looks that are many.
pub const QUICK: &str = r"
echo '== ip json'; printf 'addr\nroute show table all\nrule\nneigh show nud permanent\n' | ip -j -d -batch -
echo '== bridge json'; printf 'fdb show\nlink show\n' | bridge -j -d -batch -
echo '== iptables'; iptables-save
echo '== ipset'; ipset save
cd /proc/sys/net
echo '== sysctl'; grep -s . ipv4/ip_forward ipv4/icmp_ratelimit ipv4/ip_unprivileged_port_start \
    ipv4/conf/*/forwarding ipv4/conf/*/*redirects ipv4/conf/*/rp_filter ipv4/conf/*/*arp* ipv4/conf/*/accept_source_route \
    ipv4/conf/*/route_localnet ipv4/neigh/*/proxy_delay ipv6/conf/*/disable_ipv6 netfilter/nf_conntrack_tcp_loose
cd /
";

/// What differs between two objects that are the same to everybody.
///
/// A bridge numbers its ports in the order in which they come. `link` is the name, in this namespace, of whatever has the number that the other end has in its own.
///
/// An IPv6 address of the host's own is tentative for a second or two.
const MEANINGLESS_KEYS: [&str; 18] = [
    "tentative",
    "operstate",
    "link",
    "id",
    "no",
    "designated_port",
    "topology_change",
    "tso_max_size",
    "tso_max_segs",
    "topology_change_detected",
    "ifindex",
    "link_index",
    "link_netnsid",
    "link_netns",
    "preferred_life_time",
    "valid_life_time",
    "numtxqueues",
    "numrxqueues",
];

/// Settings that count, or that are random.
const MEANINGLESS_SETTINGS: [&str; 3] = ["nf_conntrack_count", "tcp_fastopen_key", "stable_secret"];

/// Sections by place and name.
#[derive(Clone, PartialEq, Eq)]
pub struct Dump(BTreeMap<String, Vec<String>>);

impl Sandbox {
    /// What the host has, and which namespaces there are.
    #[track_caller]
    pub fn dump_host(&mut self) -> Dump {
        let text = self.ok(&format!("{PLACE}{HOST}"));
        Dump(sections("host", &text))
    }

    /// What one namespace has.
    #[track_caller]
    pub fn dump_netns(&mut self, netns: &str) -> Dump {
        let script = self.file("dump-place.sh", PLACE);
        let text = self.ok(&format!("ip netns exec {netns} sh {script}"));
        Dump(sections(netns, &text))
    }

    /// What the host and all namespaces but the internet have.
    #[track_caller]
    pub fn dump(&mut self) -> Dump {
        let Dump(mut all) = self.dump_host();
        for netns in self.ok("ls /run/netns").split_whitespace().filter(|name| *name != "internet") {
            all.extend(self.dump_netns(netns).0);
        }
        Dump(all)
    }
}

impl Dump {
    /// Reads a text in which `@@ PLACE` begins each place.
    pub fn of_places(text: &str) -> Dump {
        let places = text.split("@@ ").filter_map(|part| part.split_once('\n'));
        Dump(places.flat_map(|(place, text)| sections(place, text)).collect())
    }

    /// The lines that only one of the two has.
    pub fn difference(&self, other: &Dump) -> Vec<String> {
        let mut lines = Vec::new();
        let names: std::collections::BTreeSet<&String> = self.0.keys().chain(other.0.keys()).collect();
        for name in names {
            let (before, after) = (lines_of(self, name), lines_of(other, name));
            let gone = without(before, after).into_iter().map(|line| format!("{name}: - {line}"));
            let new = without(after, before).into_iter().map(|line| format!("{name}: + {line}"));
            lines.extend(gone.chain(new));
        }
        lines
    }

    /// Fails the test unless the other one is the same.
    #[track_caller]
    pub fn assert_same(&self, other: &Dump, what: &str) {
        let difference = self.difference(other);
        assert!(difference.is_empty(), "{what}: the kernel differs\n{}", difference.join("\n"));
    }

    /// Without these sections.
    pub fn without(mut self, sections: &[&str]) -> Dump {
        self.0.retain(|name, _| !sections.contains(&name.as_str()));
        self
    }

    /// A section's lines.
    pub fn section(&self, place: &str, name: &str) -> &[String] {
        self.0.get(&format!("{place}/{name}")).map_or(&[], Vec::as_slice)
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, lines)| writeln!(f, "== {name}\n{}", lines.join("\n")))
    }
}

fn lines_of<'a>(dump: &'a Dump, section: &str) -> &'a [String] {
    dump.0.get(section).map_or(&[], Vec::as_slice)
}

/// The lines of `these` without those of `others`, each as often as it is there.
fn without(these: &[String], others: &[String]) -> Vec<String> {
    let mut others: Vec<&String> = others.iter().collect();
    let mut left = Vec::new();
    for line in these {
        match others.iter().position(|other| *other == line) {
            Some(at) => drop(others.swap_remove(at)),
            None => left.push(line.clone()),
        }
    }
    left
}

fn sections(place: &str, text: &str) -> BTreeMap<String, Vec<String>> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        match line.strip_prefix("== ") {
            Some(begun) => {
                name = format!("{place}/{begun}");
                sections.entry(name.clone()).or_default();
            }
            None => sections.entry(name.clone()).or_default().push(line.to_owned()),
        }
    }
    sections.into_iter().map(|(name, lines)| (name.clone(), normal(&name, lines))).collect()
}

fn normal(section: &str, lines: Vec<String>) -> Vec<String> {
    if section.ends_with(" json") {
        return json_lines(&lines.concat());
    }
    let meaningless =
        |line: &&String| line.starts_with('#') || MEANINGLESS_SETTINGS.iter().any(|setting| line.contains(setting));
    let mut lines: Vec<String> = lines.iter().filter(|line| !meaningless(line)).map(|line| uncounted(line)).collect();
    if section.ends_with("/ipset") {
        // A set's hash begins with a random number.
        let initval = |line: &String| line.split_once(" initval ").map_or(line.clone(), |(kept, _)| kept.to_owned());
        lines = lines.iter().map(initval).collect();
    }
    if section.ends_with("/nft") && !section.starts_with("host/") {
        lines = without_idle_chains(&lines);
    }
    // The order of a chain's rules matters; that of chains, tables, files, processes and settings does not.
    if ["tables", "nft"].iter().any(|rules| section.ends_with(rules)) {
        lines = placed(&lines);
        // An empty table is something that can be left behind on the host. In a namespace of ours it is nothing.
        lines.retain(|line| section.starts_with("host/") || !line.starts_with("table ") || line.contains("} "));
    }
    lines.sort();
    lines
}

/// Without built-in chains that do nothing: `iptables` makes one where it only looks for a rule, and never removes it.
fn without_idle_chains(lines: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for line in lines.iter().filter(|line| !line.trim().is_empty()) {
        kept.push(line.clone());
        let end = kept.len();
        let idle =
            end >= 3 && line == "\t}" && kept[end - 2].contains("type ") && kept[end - 2].ends_with("policy accept;");
        if idle {
            kept.truncate(end - 3);
        }
    }
    kept
}

/// Each rule with its table, its chain and its number there.
fn placed(lines: &[String]) -> Vec<String> {
    let (mut table, mut chain) = (String::new(), String::new());
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    let place = |line: &String| {
        let text = line.trim();
        if line.starts_with("table ") || line.starts_with('*') {
            (table, chain) = (text.to_owned(), String::new());
        } else if let Some(name) = text.strip_prefix("chain ").or(text.strip_prefix("-A ")) {
            chain = name.split(' ').next().unwrap_or_default().to_owned();
        }
        if matches!(text, "" | "}" | "COMMIT") || text.starts_with('*') {
            return None;
        }
        if let Some(declared) = text.strip_prefix(':') {
            // A built-in chain that does nothing is there or not without any difference.
            return (!declared.contains(" ACCEPT")).then(|| format!("{table} :{declared}"));
        }
        if line.starts_with("table ") {
            return Some(table.clone());
        }
        let number = numbers.entry(format!("{table} {chain}")).or_default();
        *number += 1;
        Some(format!("{table} {chain} {number:03} {text}"))
    };
    lines.iter().filter_map(place).collect()
}

/// One line for each object, sorted.
fn json_lines(text: &str) -> Vec<String> {
    if text.trim().is_empty() {
        return Vec::new();
    }
    // A batch prints one array for each question.
    let arrays = serde_json::Deserializer::from_str(text).into_iter::<Vec<Value>>();
    let items = arrays.flat_map(|array| array.unwrap_or_else(|error| panic!("{error}: {text}")));
    let mut lines: Vec<String> = items.map(|item| stripped(&item).to_string()).collect();
    // The route to such an address comes when it is no longer tentative.
    lines.retain(|line| line != "{}" && !line.contains(r#""dst":"fe80::"#));
    lines.sort();
    lines
}

fn stripped(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let meaningless = |key: &str| key.ends_with("_timer") || MEANINGLESS_KEYS.contains(&key);
            let kept = map.iter().filter(|(key, _)| !meaningless(key));
            Value::Object(kept.map(|(key, value)| (key.clone(), stripped(value))).collect())
        }
        // Whether the other end is up: of a bridge without ports, that depends on whether it ever had one. It is known a
        // moment after the link is up.
        Value::Array(items) => {
            let transient = |item: &&Value| matches!(item.as_str(), Some("NO-CARRIER" | "LOWER_UP" | "linkdown"));
            let kept = items.iter().filter(|item| !transient(item));
            let mut kept: Vec<Value> = kept.map(stripped).collect();
            kept.sort_by_key(Value::to_string);
            Value::Array(kept)
        }
        other => other.clone(),
    }
}

/// A rule without its counters: `[12:3456]`, `counter packets 12 bytes 3456`.
fn uncounted(line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let is_number = |word: &&&str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    let mut kept = Vec::new();
    for (i, word) in words.iter().enumerate() {
        let counts = word
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .is_some_and(|rest| rest.split(':').count() == 2 && rest.split(':').all(|number| is_number(&&number)));
        let before = i.checked_sub(1).map(|before| words[before]);
        if !(counts || matches!(before, Some("packets" | "bytes")) && is_number(&word)) {
            kept.push(*word);
        }
    }
    kept.join(" ")
}
