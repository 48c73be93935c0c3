//! What is in the kernel and has no object of the state for a model: what of a link is to be changed, and what strayed into
//! a router or onto the host.

use std::fmt;
use std::net::Ipv4Addr;

use compact_str::CompactString;

use crate::model::cidr::Cidr;
use crate::model::kernel_names::Device;
use crate::plan::line::{Change, Firewall};
use crate::plan::op::route_target;
use crate::plan::rule::Table;

/// What of a link can be changed while it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tuning {
    /// Its MTU in bytes.
    Mtu(u32),
    /// Its MAC address.
    Mac(CompactString),
}

/// What can be in the kernel and has no object of ours for a model.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub enum Stray {
    /// A route of the table `main` or `local`.
    Route(StrayRoute),
    /// A link that bears our mark, by one of its ends.
    Link(String),
    /// A routing rule, in words that name it alone where that can be.
    RoutingRule(String),
    /// A routing rule that every namespace is born with, and that is gone: what takes that away makes it again.
    LostRule { preference: u32, table: &'static str },
    /// Rules of a built-in chain, besides the jump to a chain of ours. They go all at once, and in the same moment the jump stands
    /// again.
    Rules { table: Table, chain: &'static str, jump: Option<String> },
}

/// A route as `ip` shows it, in so far as it takes that to delete it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StrayRoute {
    /// `unreachable`, `blackhole`, …; nothing for a plain one.
    pub kind: Option<&'static str>,
    /// Where to.
    pub to: Cidr,
    /// The next hop.
    pub gateway: Option<Ipv4Addr>,
    /// The device, where it is one of ours.
    pub device: Option<Device>,
    /// The lower, the sooner it is taken.
    pub metric: Option<u32>,
    /// The type of service that it is for, as `ip` writes it.
    pub tos: Option<String>,
    /// The table, where it isn't the main one.
    pub table: Option<&'static str>,
}

impl fmt::Display for Tuning {
    /// As `ip link set` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Tuning::Mtu(mtu) => write!(f, "mtu {mtu}"),
            Tuning::Mac(mac) => write!(f, "address {mac}"),
        }
    }
}

impl Stray {
    /// Is it about rules, which decide before all else?
    pub fn is_rule(&self) -> bool {
        matches!(self, Stray::Rules { .. } | Stray::RoutingRule(_) | Stray::LostRule { .. })
    }

    /// What takes it away.
    pub(super) fn unmake(&self) -> Vec<Change> {
        match self {
            Stray::Route(route) => vec![Change::Ip(format!("route del {route}"))],
            Stray::Link(name) => vec![Change::Ip(format!("link del dev {name}"))],
            Stray::RoutingRule(words) => vec![Change::Ip(format!("rule del {words}"))],
            Stray::LostRule { preference, table } => {
                vec![Change::Ip(format!("rule add pref {preference} lookup {table}"))]
            }
            Stray::Rules { table, chain, jump } => {
                let hook = jump.iter().map(|to| Firewall::Hook(chain, to.clone()));
                std::iter::once(Firewall::Empty(chain)).chain(hook).map(|line| Change::Rules(*table, line)).collect()
            }
        }
    }
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stray::Route(route) => write!(f, "route {route}"),
            Stray::Link(name) => write!(f, "link {name}"),
            Stray::RoutingRule(words) => write!(f, "routing rule {words}"),
            Stray::LostRule { preference, table } => write!(f, "routing rule pref {preference} lookup {table}"),
            Stray::Rules { table, chain, .. } => write!(f, "rules of built-in chain {chain} of table {table}"),
        }
    }
}

impl fmt::Display for StrayRoute {
    /// As `ip route del` takes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StrayRoute { kind, to, gateway, device, metric, tos, table } = self;
        kind.map_or(Ok(()), |kind| write!(f, "{kind} "))?;
        f.write_str(&route_target(*to))?;
        tos.as_ref().map_or(Ok(()), |tos| write!(f, " tos {tos}"))?;
        gateway.map_or(Ok(()), |gateway| write!(f, " via {gateway}"))?;
        device.as_ref().map_or(Ok(()), |device| write!(f, " dev {device}"))?;
        metric.map_or(Ok(()), |metric| write!(f, " metric {metric}"))?;
        table.map_or(Ok(()), |table| write!(f, " table {table}"))
    }
}
