//! What the diagnosis is made from: plain data about a host.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::Failure;
use crate::model::cidr::Cidr;
use crate::model::facts::HostNetwork;
use crate::model::name::IfName;
use crate::model::state::State;
use crate::plan::barrier::Barrier;
use crate::plan::batch::Program;
use crate::plan::observed::Seen;

/// Everything that was found out about a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Who asks.
    pub caller: Caller,
    /// What each tool says of its version; a missing one is missing here.
    pub tools: BTreeMap<Program, String>,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// The features that were tried.
    pub features: Features,
    /// The switch that keeps user namespaces from unprivileged users, and the value that opens it.
    pub userns_switch: Option<(&'static str, &'static str)>,
    /// Whether `/proc/sys` is mounted read-only.
    pub settings_read_only: bool,
    /// What bounds the number of VPCs and connections.
    pub limits: Limits,
    /// The host's rules and what else filters.
    pub firewall: Firewall,
    /// What stops VPCs at the interfaces that they leave by, or would.
    pub barriers: BTreeMap<IfName, Barrier>,
    /// What the host routes; nothing where `ip` could not be asked.
    pub networks: Option<Networks>,
    /// The namespaces of which only a file is left.
    pub dead_namespaces: Vec<String>,
    /// Whether the caller's mounts are others than those of the host's first process; unknown without root.
    pub mounts_private: Option<bool>,
    /// The state directory.
    pub state: StateFacts,
}

/// Something that not everybody may look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look<T> {
    /// What was seen.
    Seen(T),
    /// Nobody looked, for a reason that is said elsewhere: only root may, or the tool is missing.
    Unseen,
    /// Looking at it failed, in the tool's own words.
    Failed(String),
}

impl<T> Look<T> {
    /// What was seen, if anything was.
    pub fn seen(&self) -> Option<&T> {
        match self {
            Look::Seen(seen) => Some(seen),
            Look::Unseen | Look::Failed(_) => None,
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Its effective user is root.
    pub root: bool,
    /// The capabilities that it lacks of those that vpcctl needs.
    pub lacking: Vec<&'static str>,
    /// It is inside of `vpcctl sandbox`.
    pub sandboxed: bool,
}

/// What came of trying the kernel's features.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Features {
    /// They were tried in a namespace of their own.
    Tried {
        /// Those that work.
        working: BTreeSet<&'static str>,
        /// Those that don't: the tool's own words by the feature's id.
        failed: BTreeMap<&'static str, String>,
        /// Those that were not tried, since that would have loaded these modules of the kernel.
        unloaded: BTreeSet<&'static str>,
    },
    /// There was no namespace to try them in.
    Refused(String),
}

/// What bounds the number of VPCs and connections. What the kernel doesn't tell here is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// How many files a process may have open.
    pub open_files: Option<u64>,
    /// Network namespaces with a name, and how many there may be.
    pub namespaces: Option<Fill>,
    /// Connections tracked on the host, and how many there may be.
    pub connections: Option<Fill>,
    /// Neighbours in the table that all namespaces share, permanent ones of instances excepted, and how many there may be.
    pub neighbours: Option<Fill>,
}

/// How full something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fill {
    /// How many there are.
    pub used: u64,
    /// How many there may be.
    pub most: u64,
}

impl Fill {
    /// Are four fifths of it used?
    pub fn is_nearly_full(self) -> bool {
        u128::from(self.used) * 5 >= u128::from(self.most) * 4
    }
}

/// The host's rules and what else filters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firewall {
    /// The rules that `iptables-save` shows.
    pub rules: Look<Seen>,
    /// The base chains of nftables; nothing where `nft` is missing.
    pub nft: Look<Vec<NftChain>>,
    /// The tables of iptables-legacy that have rules.
    pub legacy_tables: Look<BTreeSet<String>>,
    /// The programs that run, of those that change rules.
    pub programs: BTreeSet<String>,
    /// Whether ufw is switched on in its configuration.
    pub ufw_enabled: bool,
    /// `net.ipv4.ip_forward`.
    pub ip_forward: Option<bool>,
    /// `net.ipv4.conf.all.rp_filter`.
    pub rp_filter: Option<u8>,
    /// `net.bridge.bridge-nf-call-iptables`; missing without br_netfilter.
    pub bridge_netfilter: Option<bool>,
}

/// A base chain of nftables: one that the kernel enters by itself.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct NftChain {
    /// `ip`, `inet`, …
    pub family: String,
    /// Its table.
    pub table: String,
    /// Its name.
    pub name: String,
    /// Where the kernel enters it; missing where it doesn't.
    #[serde(default)]
    pub hook: Option<String>,
    /// What becomes of a packet that no rule of it decides on.
    #[serde(default)]
    pub policy: Option<String>,
}

/// What the host routes, vpcctl's own links excepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Networks {
    /// Its addresses and routes, default routes excepted.
    pub networks: Vec<HostNetwork>,
    /// The interfaces by name, with their kinds: `wireguard`, `tun`, `bridge`, …
    pub links: BTreeMap<String, String>,
    /// The uplinks of VPCs that the state knows nothing of.
    pub foreign_uplinks: Vec<String>,
    /// Whether there is a default route.
    pub has_default_route: bool,
    /// The interface of the one with the best metric.
    pub default_wan: Option<IfName>,
    /// Where uplinks would get their addresses from.
    pub pool: Option<Cidr>,
}

/// The state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFacts {
    /// Its path.
    pub dir: String,
    /// What is wrong with the directory itself.
    pub flaw: Option<Failure>,
    /// The state in it; nothing where it is for root alone.
    pub state: Option<Result<State, Failure>>,
    /// The command that was cut off, if one was.
    pub cut_off: Option<String>,
    /// Whether its file system is read-only.
    pub read_only: bool,
    /// The room on its file system in bytes.
    pub free: Option<u64>,
    /// Whether another vpcctl holds the lock, or a tool that it started.
    pub locked: bool,
}

impl StateFacts {
    /// The state, where it could be read.
    pub fn readable(&self) -> Option<&State> {
        self.state.as_ref().and_then(|state| state.as_ref().ok())
    }
}
