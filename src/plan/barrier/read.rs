//! Reading rules: of nftables as `nft -j list ruleset` prints them, of iptables-legacy as `iptables-legacy-save` does.

use serde::Deserialize;
use serde_json::Value;

use super::{Action, ChainId, Rule, Ruleset, Test};
use crate::model::cidr::Cidr;
use crate::model::facts::FirewallFacts;
use crate::plan::observed;

/// What of nftables' listing matters here.
#[derive(Deserialize)]
pub struct Listing {
    nftables: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    table: Option<TableJson>,
    chain: Option<ChainJson>,
    rule: Option<RuleJson>,
}

#[derive(Deserialize)]
struct TableJson {
    family: String,
    name: String,
}

#[derive(Deserialize)]
struct ChainJson {
    family: String,
    table: String,
    name: String,
    hook: Option<String>,
    policy: Option<String>,
}

#[derive(Deserialize)]
struct RuleJson {
    family: String,
    table: String,
    chain: String,
    #[serde(default)]
    expr: Vec<Value>,
}

impl Listing {
    /// Reads `nft -j list ruleset`.
    pub fn read(text: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str(text)
    }

    /// The tables that iptables uses, and their chains.
    pub fn firewall(&self) -> FirewallFacts {
        let tables = self.nftables.iter().filter_map(|item| item.table.as_ref()).filter(|table| table.family == "ip");
        let chains = self.nftables.iter().filter_map(|item| item.chain.as_ref()).filter(|chain| chain.family == "ip");
        FirewallFacts {
            tables: tables.map(|table| table.name.clone()).collect(),
            chains: chains.map(|chain| (chain.table.clone(), chain.name.clone())).collect(),
        }
    }
}

impl Ruleset {
    /// The chains of IPv4 packets in what nftables lists.
    pub fn of_nft(listing: Listing) -> Self {
        let mut rules = Ruleset::default();
        for item in listing.nftables {
            match (item.chain, item.rule) {
                (Some(ChainJson { family, table, name: chain, hook, policy }), _) => {
                    rules.declare(ChainId { family, table, chain }, hook.as_deref(), policy.as_deref() == Some("drop"));
                }
                (_, Some(RuleJson { family, table, chain, expr })) => {
                    rules.chains.entry(ChainId { family, table, chain }).or_default().push(of_expressions(&expr));
                }
                _ => {}
            }
        }
        rules
    }

    /// Reads `iptables-legacy-save`: its table `filter`.
    pub fn of_legacy(text: &str) -> Self {
        let mut rules = Ruleset::default();
        for ((table, name), chain) in observed::chains(text).into_iter().filter(|((table, _), _)| table == "filter") {
            let hook = (name == "FORWARD").then_some("forward");
            let id = ChainId { family: "legacy".into(), table, chain: name };
            rules.declare(id.clone(), hook, chain.policy.as_deref() == Some("DROP"));
            rules.chains.insert(id, chain.rules.iter().map(|rule| of_words(&rule.text)).collect());
        }
        rules
    }

    fn declare(&mut self, id: ChainId, hook: Option<&str>, drops: bool) {
        if hook == Some("forward") && ["ip", "inet", "legacy"].contains(&id.family.as_str()) {
            self.bases.insert(id.clone(), drops);
        }
        self.chains.entry(id).or_default();
    }
}

fn of_expressions(expressions: &[Value]) -> Rule {
    let mut rule = Rule { tests: Vec::new(), action: Action::Pass };
    for (key, value) in expressions.iter().filter_map(|expr| expr.as_object()?.iter().next()) {
        match key.as_str() {
            "match" => rule.tests.push(of_match(value)),
            // So `nft` prints a comment of iptables'.
            "xt" if value["type"] == "match" && value["name"] == "comment" => {}
            "xt" if value["type"] == "match" => rule.tests.push(Test::Unknown),
            "limit" | "quota" | "ct count" => rule.tests.push(Test::Unknown),
            "counter" | "log" | "mangle" | "ct helper" | "notrack" => {}
            // A map of verdicts may have decided before the verdict that follows.
            _ if rule.action == Action::Unknown => {}
            _ => rule.action = action(key, value),
        }
    }
    rule
}

fn action(key: &str, value: &Value) -> Action {
    let target = || value["target"].as_str().unwrap_or_default().to_owned();
    match key {
        "accept" => Action::Accept,
        "drop" | "reject" => Action::Drop,
        "jump" => Action::Jump(target()),
        "goto" => Action::Goto(target()),
        "return" => Action::Return,
        _ => Action::Unknown,
    }
}

fn of_match(value: &Value) -> Test {
    let (left, right) = (&value["left"], &value["right"]);
    let wanted = match value["op"].as_str() {
        Some("==" | "in") => true,
        Some("!=") => false,
        _ => return Test::Unknown,
    };
    if left["payload"]["protocol"] == "ip" && left["payload"]["field"] == "saddr" {
        return source(right, wanted);
    }
    if let Some("ip6" | "icmpv6") = left["payload"]["protocol"].as_str() {
        return Test::Never;
    }
    let Some(words) = words(right) else {
        return Test::Unknown;
    };
    match (left["meta"]["key"].as_str(), left["ct"]["key"].as_str()) {
        (Some(key @ ("iifname" | "oifname" | "iif" | "oif")), _) => {
            Test::Interface { incoming: key.starts_with('i'), names: words, wanted }
        }
        (Some("nfproto" | "protocol"), _) => constant(words.iter().any(|word| word == "ipv4" || word == "ip"), wanted),
        (_, Some("state")) => Test::State { states: words, wanted },
        // Neither packet was redirected.
        (_, Some("status")) if words == ["dnat"] => constant(false, wanted),
        _ => Test::Unknown,
    }
}

fn constant(holds: bool, wanted: bool) -> Test {
    if holds == wanted { Test::Always } else { Test::Never }
}

/// A word, or those of a list or a set; nothing where one is no plain word, or the name of a set.
fn words(value: &Value) -> Option<Vec<String>> {
    let plain = |item: &Value| item.as_str().filter(|word| !word.starts_with('@')).map(str::to_owned);
    items(value).iter().map(plain).collect()
}

/// What a list or a set holds, or the one thing that it is.
fn items(value: &Value) -> &[Value] {
    let items = value.as_array().or_else(|| value["set"].as_array());
    items.map_or_else(|| std::slice::from_ref(value), Vec::as_slice)
}

fn source(value: &Value, wanted: bool) -> Test {
    let network = |item: &Value| match item.as_str() {
        Some(address) => address.parse().ok().map(Cidr::host),
        None => {
            let prefix = &item["prefix"];
            Cidr::containing(prefix["addr"].as_str()?.parse().ok()?, u8::try_from(prefix["len"].as_u64()?).ok()?)
        }
    };
    match items(value).iter().map(network).collect() {
        Some(networks) => Test::Source { networks, wanted },
        None => Test::Unknown,
    }
}

/// A rule as `iptables-save` prints it, after `-A CHAIN`.
fn of_words(text: &str) -> Rule {
    let mut rule = Rule { tests: Vec::new(), action: Action::Pass };
    let mut words = text.split(' ');
    let mut wanted = true;
    while let Some(word) = words.next() {
        let mut value = || words.next().unwrap_or_default().to_owned();
        let positive = std::mem::replace(&mut wanted, word != "!");
        match word {
            "!" => {}
            "-i" | "-o" => {
                let names = vec![value().replace('+', "*")];
                rule.tests.push(Test::Interface { incoming: word == "-i", names, wanted: positive });
            }
            "-s" => rule.tests.push(match value().parse() {
                Ok(network) => Test::Source { networks: vec![network], wanted: positive },
                Err(_) => Test::Unknown,
            }),
            "-m" if ["conntrack", "state"].contains(&value().as_str()) => {}
            "--ctstate" | "--state" => {
                let states = value().split(',').map(str::to_lowercase).collect();
                rule.tests.push(Test::State { states, wanted: positive });
            }
            "-j" => rule.action = target(value()),
            "-g" => rule.action = Action::Goto(value()),
            // The options of a target change nothing here; of a match nobody knows.
            _ if rule.action != Action::Pass => {}
            _ => rule.tests.push(Test::Unknown),
        }
    }
    rule
}

fn target(name: String) -> Action {
    match name.as_str() {
        "ACCEPT" => Action::Accept,
        "DROP" | "REJECT" => Action::Drop,
        "RETURN" => Action::Return,
        "LOG" | "NFLOG" | "MARK" | "CONNMARK" | "TCPMSS" => Action::Pass,
        _ => Action::Jump(name),
    }
}
