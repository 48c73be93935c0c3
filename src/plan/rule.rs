//! Firewall data: tables, chains, rules and sets, as the kernel's tools spell them.
//!
//! A rule doesn't read back as it was written (`/32` and `-m tcp` appear), so each one bears a mark: a hash of its
//! own text in its comment. What is in the kernel is compared by these marks, in order, and by the options that every version of
//! iptables spells alike.

use std::fmt;

use crate::model::hash::stable_hash;

/// The word that every comment and link alias of ours begins with.
pub const MARK: &str = "vpcctl:";

/// An iptables table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Before connection tracking: who may send at all.
    Raw,
    /// Changes to packets: nothing of ours is in it.
    Mangle,
    /// Address translation.
    Nat,
    /// Accept, drop, reject.
    Filter,
    /// After `filter`: here the packets that it accepted are seen.
    Security,
}

impl Table {
    /// All of them.
    pub const ALL: [Table; 5] = [Table::Raw, Table::Mangle, Table::Nat, Table::Filter, Table::Security];

    /// The name that `-t` takes.
    pub fn as_str(self) -> &'static str {
        match self {
            Table::Raw => "raw",
            Table::Mangle => "mangle",
            Table::Nat => "nat",
            Table::Filter => "filter",
            Table::Security => "security",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One rule: what stands after `-A CHAIN`, and what it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    matches: String,
    target: String,
    purpose: String,
}

/// The options of a rule that are compared, by how many words follow.
const COMPARED: [(&str, usize); 14] = [
    ("-j", 1),
    ("-s", 1),
    ("-d", 1),
    ("-i", 1),
    ("-o", 1),
    ("-p", 1),
    ("--dport", 1),
    ("--sport", 1),
    ("--dports", 1),
    ("--sports", 1),
    ("--match-set", 2),
    ("--ctdir", 1),
    ("--ctstate", 1),
    ("--invert", 0),
];

/// What a rule says with these options, each with its negation.
fn said(rule: &str) -> Vec<String> {
    let words: Vec<&str> = rule.split_whitespace().collect();
    let mut said: Vec<String> = Vec::new();
    for (index, word) in words.iter().enumerate() {
        let Some((option, count)) = COMPARED.iter().find(|(option, _)| option == word) else {
            continue;
        };
        let negated = index > 0 && words[index - 1] == "!";
        let values = words.iter().skip(index + 1).take(*count);
        let values: Vec<String> = values.map(|value| in_order(value.trim_end_matches("/32"))).collect();
        said.push(format!("{}{option} {}", if negated { "! " } else { "" }, values.join(" ")));
    }
    said.sort();
    said
}

/// A list whose order says nothing: of states or ports.
fn in_order(list: &str) -> String {
    let mut parts: Vec<&str> = list.split(',').collect();
    parts.sort_unstable();
    parts.join(",")
}

impl Rule {
    /// A rule from its matches (`-p tcp -m tcp --dport 80`), its target with options (`-j ACCEPT`), and a few words on what it
    /// is for: text of ours or names, never free text of a user's.
    pub fn new(matches: impl Into<String>, target: impl Into<String>, purpose: impl Into<String>) -> Self {
        Rule { matches: matches.into(), target: target.into(), purpose: purpose.into() }
    }

    /// The mark that its comment bears: eight hexadecimal digits.
    pub fn mark(&self) -> String {
        format!("{:08x}", stable_hash(&[&self.matches, &self.target]) as u32)
    }

    /// Does a rule as `iptables-save` prints it match the same and do the same? What is compared is what every version of iptables
    /// spells alike: see `COMPARED`.
    pub fn says_as_much(&self, text: &str) -> bool {
        let (before, after) = text.split_once("-m comment --comment \"").unwrap_or((text, ""));
        let uncommented = format!("{before}{}", after.split_once('"').map_or("", |(_, after)| after));
        said(&uncommented) == said(&format!("{} {}", self.matches, self.target))
    }

    /// The rule as `iptables` and `iptables-restore` take it, after `-A CHAIN`.
    pub fn spec(&self) -> String {
        let space = if self.matches.is_empty() { "" } else { " " };
        let Rule { matches, target, purpose } = self;
        format!("{matches}{space}-m comment --comment \"{MARK}{} {purpose}\" {target}", self.mark())
    }
}

/// An ipset: its name (at most 31 characters), its type with options, its entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Set {
    /// The name, derived from the content where the set never changes.
    pub name: String,
    /// Type and options as after `create NAME`, such as `hash:net,port maxelem 65536`.
    pub kind: String,
    /// The entries in the set's own spelling.
    pub entries: Vec<String>,
}
