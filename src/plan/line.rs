//! One line for one tool in one place: what an [`crate::plan::op::Op`] turns into, before lines are gathered into calls.

use std::fmt;
use std::path::PathBuf;

use crate::model::kernel_names::{Device, Netns};
use crate::model::owner::Owner;
use crate::plan::launch::{AppId, Launch};
use crate::plan::rule::Table;

/// Where a line runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The namespace that vpcctl was started in.
    Host,
    /// A namespace of ours.
    Netns(Netns),
}

impl Place {
    /// The namespace, if it is one of ours.
    pub fn netns(&self) -> Option<&Netns> {
        match self {
            Place::Host => None,
            Place::Netns(netns) => Some(netns),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Host => f.write_str("host"),
            Place::Netns(netns) => netns.fmt(f),
        }
    }
}

/// A line, where it runs and whom for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it runs.
    pub place: Place,
    /// What it changes.
    pub change: Change,
    /// Whom it is for: the object that an error names.
    pub object: Owner,
}

/// A change, by the tool that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A line of the host's first `ip -batch`, in which namespaces and links come into being, or of its last, in which they go.
    Links(String),
    /// A line of the place's own `ip -batch`.
    Ip(String),
    /// The end of a link, and so of its other end.
    Unlink(Device),
    /// A line of `bridge -batch`.
    Bridge(String),
    /// A line of `tc -batch`.
    Filter(String),
    /// A line of `ipset restore`.
    Set(String),
    /// A line of `iptables-restore`.
    Rules(Table, Firewall),
    /// A write below `/proc/sys`.
    Sysctl(Setting),
    /// The end of what our rules brought into being on the host, once it is empty.
    Clean(Leftover),
    /// A file that is there, or is not.
    File(ConfigFile),
    /// The start of an app.
    Start(Launch),
    /// The end of an app, with its files.
    Stop(AppId),
}

/// A file of configuration that bears our mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it; nothing removes it.
    pub text: Option<String>,
}

/// What iptables makes by itself when a rule comes, and leaves when it goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leftover {
    /// A table.
    Table(String),
    /// A built-in chain: its table and its name.
    Chain(String, String),
}

impl Leftover {
    /// The table that it is, or is in.
    pub fn table(&self) -> Option<Table> {
        let (Leftover::Table(name) | Leftover::Chain(name, _)) = self;
        [Table::Filter, Table::Nat].into_iter().find(|table| table.as_str() == name)
    }
}

impl fmt::Display for Leftover {
    /// As `nft delete` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Leftover::Table(table) => write!(f, "table ip {table}"),
            Leftover::Chain(table, chain) => write!(f, "chain ip {table} {chain}"),
        }
    }
}

/// A write below `/proc/sys`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The path below `/proc/sys`.
    pub key: String,
    /// What is written.
    pub value: &'static str,
    /// A kernel without the setting is no error.
    pub optional: bool,
    /// Nothing is written while this other setting is 1.
    pub unless: Option<&'static str>,
}

/// A line of `iptables-restore`, within a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Firewall {
    /// The chain exists and is empty.
    Declare(String),
    /// A built-in chain drops what no rule of it accepts.
    DropPolicy(&'static str),
    /// A rule at the end of a chain.
    Append(String, String),
    /// A rule that becomes the one of this number in a chain.
    Insert(String, usize, String),
    /// The jump from a built-in chain to one of ours, before all other rules.
    Hook(&'static str, String),
    /// The end of such a jump.
    Unhook(&'static str, String),
    /// A built-in chain is emptied, before anything is put into it.
    Empty(&'static str),
    /// The chain is emptied.
    Flush(String),
    /// The empty chain is deleted.
    Delete(String),
}

impl Firewall {
    /// Where it stands within its table: chains before the rules that name them.
    pub fn rank(&self) -> u8 {
        match self {
            Firewall::DropPolicy(_) | Firewall::Empty(_) => 0,
            Firewall::Declare(_) => 1,
            Firewall::Append(..) | Firewall::Insert(..) => 2,
            Firewall::Unhook(..) => 3,
            Firewall::Hook(..) => 4,
            Firewall::Flush(_) => 5,
            Firewall::Delete(_) => 6,
        }
    }

    /// The line as `iptables-restore --noflush` takes it.
    pub fn restore(&self) -> String {
        match self {
            Firewall::DropPolicy(chain) => format!(":{chain} DROP [0:0]"),
            Firewall::Declare(chain) => format!(":{chain} - [0:0]"),
            Firewall::Append(chain, spec) => format!("-A {chain} {spec}"),
            Firewall::Insert(chain, number, spec) => format!("-I {chain} {number} {spec}"),
            Firewall::Hook(from, to) => format!("-I {from} 1 -j {to}"),
            Firewall::Unhook(from, to) => format!("-D {from} -j {to}"),
            Firewall::Empty(chain) => format!("-F {chain}"),
            Firewall::Flush(chain) => format!("-F {chain}"),
            Firewall::Delete(chain) => format!("-X {chain}"),
        }
    }
}
