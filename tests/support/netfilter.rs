//! The rules and sets of one place of the test kernel: whole tables are replaced or nothing is.

use std::collections::BTreeMap;

use vpcctl::plan::line::Leftover;

use crate::kernel::Outcome;
use crate::links::Mischief;

/// Tables by name, sets by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Netfilter {
    /// A table, and each of its built-in chains, comes into being when something is written to it: so it is with iptables-nft.
    pub tables: BTreeMap<String, Table>,
    /// Type with options, and entries.
    pub sets: BTreeMap<String, (String, Vec<String>)>,
}

/// The chains of a table.
pub type Table = BTreeMap<String, Chain>;

/// A chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chain {
    /// Built-in chains have one.
    pub policy: Option<String>,
    /// What stands after `-A CHAIN`.
    pub rules: Vec<String>,
}

impl Chain {
    /// A built-in chain as it comes.
    pub fn builtin() -> Self {
        Chain { policy: Some("ACCEPT".into()), rules: Vec::new() }
    }
}

impl Netfilter {
    /// One table of `iptables-restore --noflush`, from `*TABLE` to `COMMIT`.
    pub fn restore(&mut self, lines: &[&str]) -> Outcome {
        let [first, body @ .., "COMMIT"] = lines else {
            return Err("COMMIT expected".into());
        };
        let name = first.strip_prefix('*').ok_or("no table")?;
        let mut table = self.tables.get(name).cloned().unwrap_or_default();
        for line in body {
            for chain in builtin_chains(name)?.iter().filter(|chain| line.split([' ', ':']).nth(1) == Some(**chain)) {
                table.entry((*chain).to_owned()).or_insert_with(Chain::builtin);
            }
            self.line(&mut table, line).map_err(|error| format!("{name}: {line}: {error}"))?;
        }
        self.tables.insert(name.into(), table);
        Ok(())
    }

    fn line(&self, table: &mut Table, line: &str) -> Outcome {
        if let Some(declared) = line.strip_prefix(':') {
            return declare(table, declared);
        }
        let (command, rest) = line.split_once(' ').ok_or("no arguments")?;
        let (chain, spec) = rest.split_once(' ').unwrap_or((rest, ""));
        if !table.contains_key(chain) {
            return Err("No chain/target/match by that name".into());
        }
        let (number, spec) = if command == "-I" { numbered(spec)? } else { (0, spec) };
        if matches!(command, "-A" | "-I") {
            self.check(table, spec)?;
        }
        let referenced = is_referenced(table, chain);
        let found = table.get_mut(chain).ok_or("no chain")?;
        match command {
            "-A" => found.rules.push(spec.into()),
            "-I" if number > found.rules.len() => return Err("Index of insertion too big".into()),
            "-I" => found.rules.insert(number, spec.into()),
            "-D" => {
                let index = found.rules.iter().position(|rule| rule == spec).ok_or("Bad rule")?;
                found.rules.remove(index);
            }
            "-F" => found.rules.clear(),
            "-X" if referenced || !found.rules.is_empty() => {
                return Err("CHAIN_USER_DEL failed (Device or resource busy)".into());
            }
            "-X" => drop(table.remove(chain)),
            _ => return Err("not understood".into()),
        }
        Ok(())
    }

    /// Do the chain and the set that a rule names exist?
    fn check(&self, table: &Table, spec: &str) -> Outcome {
        let (_, target) = spec.rsplit_once("-j ").ok_or("no target")?;
        let target = target.split(' ').next().unwrap_or_default();
        if target.starts_with("VPCCTL-") && !table.contains_key(target) {
            return Err(format!("Couldn't load target `{target}'"));
        }
        for set in named_sets(spec) {
            if !self.sets.contains_key(set) {
                return Err(format!("Set {set} doesn't exist."));
            }
        }
        let comment = spec.split('"').nth(1).unwrap_or_default();
        if comment.len() > 255 { Err("comment too long".into()) } else { Ok(()) }
    }

    /// A line of `ipset restore`.
    pub fn ipset(&mut self, words: &[&str]) -> Outcome {
        match words {
            ["create", name, kind @ .., "-exist"] if name.len() <= 31 => match self.sets.get(*name) {
                Some((present, _)) if *present != kind.join(" ") => {
                    Err("Set cannot be created: it exists as another".into())
                }
                Some(_) => Ok(()),
                None => {
                    self.sets.insert((*name).into(), (kind.join(" "), Vec::new()));
                    Ok(())
                }
            },
            ["flush", name] => {
                self.sets.get_mut(*name).ok_or(NO_SET)?.1.clear();
                Ok(())
            }
            ["swap", one, other] => {
                let (first, second) = (self.set(one)?.clone(), self.set(other)?.clone());
                if first.0 != second.0 {
                    return Err("Sets cannot be swapped: their type does not match".into());
                }
                self.sets.extend([((*one).to_owned(), second), ((*other).to_owned(), first)]);
                Ok(())
            }
            ["add", name, entry @ ..] => self.add_entry(name, entry),
            ["del", name, entry, rest @ ..] => {
                let (_, entries) = self.sets.get_mut(*name).ok_or(NO_SET)?;
                let before = entries.len();
                entries.retain(|present| present != entry);
                let quiet = rest == ["-exist"];
                if quiet || entries.len() < before {
                    Ok(())
                } else {
                    Err("Element cannot be deleted: it's not added".into())
                }
            }
            ["destroy", name] => {
                let mut rules = self.tables.values().flat_map(|table| table.values()).flat_map(|chain| &chain.rules);
                if rules.any(|rule| named_sets(rule).any(|set| set == *name)) {
                    return Err("Set cannot be destroyed: it is in use by a kernel component".into());
                }
                self.sets.remove(*name).map(|_| ()).ok_or(NO_SET.into())
            }
            _ => Err("not understood".into()),
        }
    }

    fn set(&self, name: &str) -> Result<&(String, Vec<String>), String> {
        self.sets.get(name).ok_or(NO_SET.into())
    }

    fn add_entry(&mut self, name: &str, words: &[&str]) -> Outcome {
        let (kind, entries) = self.sets.get_mut(name).ok_or(NO_SET)?;
        let (words, quiet) = match words {
            [entry @ .., "-exist"] => (entry, true),
            _ => (words, false),
        };
        let entry = words.join(" ");
        if entries.contains(&entry) {
            return if quiet { Ok(()) } else { Err("Element cannot be added: it's already added".into()) };
        }
        let most = kind.split_once("maxelem ").and_then(|(_, most)| most.parse().ok()).unwrap_or(65536);
        if entries.len() >= most || !fits(kind, &entry) {
            return Err(format!("Element {entry} is out of range of {kind}"));
        }
        entries.push(entry);
        Ok(())
    }

    /// Deletes a table or a built-in chain of the host that nobody uses.
    pub fn clean(&mut self, leftover: &Leftover) {
        match leftover {
            Leftover::Table(name) if self.tables.get(name).is_some_and(is_unused) => drop(self.tables.remove(name)),
            Leftover::Chain(table, chain) => {
                if let Some(table) = self.tables.get_mut(table) {
                    table.retain(|name, content| name != chain || *content != Chain::builtin());
                }
            }
            Leftover::Table(_) => {}
        }
    }

    /// Does a rule use connection tracking?
    pub fn tracks_connections(&self) -> bool {
        let mut rules = self.tables.values().flat_map(|table| table.values()).flat_map(|chain| &chain.rules);
        rules.any(|rule| rule.contains("conntrack") || rule.contains("MASQUERADE"))
    }

    /// As `iptables-save` prints it.
    pub fn iptables_save(&self) -> String {
        let mut text = String::new();
        for (name, table) in &self.tables {
            text += &format!("*{name}\n");
            for (chain, Chain { policy, .. }) in table {
                text += &format!(":{chain} {} [0:0]\n", policy.as_deref().unwrap_or("-"));
            }
            for (chain, Chain { rules, .. }) in table {
                rules.iter().for_each(|rule| text += &format!("-A {chain} {rule}\n"));
            }
            text += "COMMIT\n";
        }
        text
    }

    /// As `ipset save` prints it.
    pub fn ipset_save(&self) -> String {
        let mut text = String::new();
        for (name, (kind, entries)) in &self.sets {
            text += &format!("create {name} {kind}\n");
            entries.iter().for_each(|entry| text += &format!("add {name} {entry}\n"));
        }
        text
    }

    /// What could be done to what is ours.
    pub fn mischief(&self) -> Vec<Mischief> {
        let mut found = Vec::new();
        for (name, table) in &self.tables {
            let rules = |lines: Vec<String>| Mischief::Rules(name.clone(), lines);
            for (chain, content) in table.iter().filter(|(chain, _)| chain.starts_with("VPCCTL-")) {
                found.push(rules(vec![format!("-F {chain}")]));
                found.push(rules(vec![format!("-A {chain} -j ACCEPT")]));
                found.extend(content.rules.first().map(|rule| rules(vec![format!("-D {chain} {rule}")])));
            }
            for (chain, content) in table.iter().filter(|(_, content)| content.policy.is_some()) {
                let jumps = content.rules.iter().filter(|rule| rule.starts_with("-j VPCCTL-"));
                for jump in jumps {
                    found.push(rules(vec![format!("-D {chain} {jump}")]));
                    found.push(rules(vec![format!("-I {chain} 1 {jump}")]));
                    found.push(rules(vec![format!("-A {chain} {jump}")]));
                    found.push(rules(vec![format!("-I {chain} 1 -j ACCEPT")]));
                }
                if content.policy.as_deref() == Some("DROP") {
                    found.push(rules(vec![format!(":{chain} ACCEPT [0:0]")]));
                }
            }
        }
        let entries = self.sets.iter().flat_map(|(name, (_, entries))| entries.first().map(|entry| (name, entry)));
        found.extend(entries.map(|(name, entry)| Mischief::Ipset(format!("del {name} {entry}"))));
        found
    }
}

/// Is there nothing in the table but empty built-in chains?
pub fn is_unused(table: &Table) -> bool {
    table.values().all(|chain| *chain == Chain::builtin())
}

const NO_SET: &str = "The set with the given name does not exist";

/// The index of a rule that is inserted, and the rule.
fn numbered(spec: &str) -> Result<(usize, &str), String> {
    let (number, rule) = spec.split_once(' ').ok_or("a number is expected")?;
    let number: usize = number.parse().map_err(|_| "a number is expected")?;
    Ok((number.checked_sub(1).ok_or("numbers begin with 1")?, rule))
}

fn declare(table: &mut Table, declared: &str) -> Outcome {
    let [chain, policy, "[0:0]"] = declared.split(' ').collect::<Vec<_>>()[..] else {
        return Err("not understood".into());
    };
    if chain.len() > 28 {
        return Err("chain name too long".into());
    }
    match (table.get_mut(chain), policy) {
        (Some(Chain { policy: Some(present), .. }), "ACCEPT" | "DROP") => *present = policy.into(),
        (Some(Chain { policy: None, rules }), "-") => rules.clear(),
        (None, "-") => drop(table.insert(chain.into(), Chain::default())),
        _ => return Err("a policy where there can be none, or none where there has to be one".into()),
    }
    Ok(())
}

fn builtin_chains(table: &str) -> Result<&'static [&'static str], String> {
    match table {
        "raw" => Ok(&["PREROUTING", "OUTPUT"]),
        "nat" => Ok(&["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]),
        "filter" | "security" => Ok(&["INPUT", "FORWARD", "OUTPUT"]),
        _ => Err(format!("no table {table}")),
    }
}

fn is_referenced(table: &Table, chain: &str) -> bool {
    let jump = format!("-j {chain}");
    table.values().flat_map(|content| &content.rules).any(|rule| rule.ends_with(&jump))
}

fn named_sets(spec: &str) -> impl Iterator<Item = &str> {
    spec.split("--match-set ").skip(1).filter_map(|rest| rest.split(' ').next())
}

/// Is the entry one that a set of this type can hold?
fn fits(kind: &str, entry: &str) -> bool {
    let network = |text: &str| text.parse::<vpcctl::model::cidr::Cidr>().is_ok_and(|net| net.prefix() > 0);
    let words: Vec<&str> = kind.split(' ').collect();
    let entry = entry.strip_suffix(" nomatch").unwrap_or(entry);
    match words.as_slice() {
        ["bitmap:ip,mac", "range", range] => {
            let Some(((first, last), (address, mac))) = range.split_once('-').zip(entry.split_once(',')) else {
                return false;
            };
            let bits = |text: &str| text.parse().ok().map(std::net::Ipv4Addr::to_bits);
            let inside = bits(address).is_some() && bits(first) <= bits(address) && bits(address) <= bits(last);
            inside && mac.len() == 17 && mac == mac.to_uppercase()
        }
        ["hash:net,port", ..] => entry.split_once(',').is_some_and(|(net, port)| network(net) && port.contains(':')),
        ["hash:net", ..] => network(entry),
        _ => false,
    }
}
