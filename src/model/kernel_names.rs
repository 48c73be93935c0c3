//! The one place where kernel names are derived from an operator's names.
//!
//! A namespace's name is used whole. An interface's holds 15 characters: a longer one becomes its first seven, a hyphen and
//! seven characters of hash, with the full name as altname.

use std::collections::BTreeMap;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use compact_str::{CompactString, format_compact};

use crate::error::Failure;
use crate::model::hash::stable_hash;
use crate::model::name::{IfName, Name, VpcName};
use crate::model::owner::{Owner, Target};
use crate::model::state::State;

/// The name of a network namespace: a file below `/run/netns`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Netns(CompactString);

impl Netns {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Netns {
    type Err = Failure;

    /// Three names at most, joined by hyphens, are read as one: they have no other characters than one has.
    fn from_str(text: &str) -> Result<Self, Failure> {
        let is_odd = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if text.is_empty() || text.starts_with('-') || text.contains(is_odd) {
            return Err(Failure::usage(format!("`{}` is no namespace of a VPC", text.escape_debug()))
                .hint("`ip netns list` shows those that there are"));
        }
        Ok(Netns(text.into()))
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An interface name of ours, and the full name where it had to be shortened.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Device {
    name: CompactString,
    full: CompactString,
}

impl Device {
    /// The interface's name, 15 characters at most.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    /// The full name, where it is longer than an interface's name may be.
    pub fn altname(&self) -> Option<&str> {
        (self.name != self.full).then_some(&self.full)
    }

    fn new(full: CompactString) -> Self {
        let name = if full.len() <= IfName::MAX_LEN { full.clone() } else { shorten(&full).into() };
        Device { name, full }
    }

    fn fixed(name: &str) -> Self {
        Device { name: name.into(), full: name.into() }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// The namespace that is a VPC's router.
pub fn router(vpc: &VpcName) -> Netns {
    Netns(vpc.as_str().into())
}

/// The namespace of an instance; `None` is the subnet's first one.
pub fn instance(vpc: &VpcName, subnet: &Name, instance: Option<&Name>) -> Netns {
    let mut name = CompactString::from(vpc.as_str());
    for part in [Some(subnet), instance].into_iter().flatten() {
        name.push('-');
        name.push_str(part.as_str());
    }
    Netns(name)
}

/// The namespace that a path names.
pub fn of_target(target: &Target) -> Netns {
    let Target { vpc, subnet, instance: name } = target;
    subnet.as_ref().map_or_else(|| router(vpc), |subnet| instance(vpc, subnet, name.as_ref()))
}

/// The bridge in a VPC's router.
pub fn bridge(vpc: &VpcName) -> Device {
    Device::new(format_compact!("br-{vpc}"))
}

/// How every chain is called.
pub const CHAIN_PREFIX: &str = "VPCCTL-";

/// How every ipset is called.
pub const SET_PREFIX: &str = "vpcctl-";

/// How the host's end of every uplink is called.
pub const UPLINK_PREFIX: &str = "vpc-";

/// The host's end of a VPC's uplink.
pub fn uplink_on_host(vpc: &VpcName) -> Device {
    Device::new(format_compact!("{UPLINK_PREFIX}{vpc}"))
}

/// The router's end of its uplink.
pub fn uplink_in_router() -> Device {
    Device::fixed("uplink")
}

/// The end of a peering in a router: named after the other VPC.
pub fn peer(other: &VpcName) -> Device {
    Device::new(format_compact!("peer-{other}"))
}

/// An instance's interface.
pub fn eth0() -> Device {
    Device::fixed("eth0")
}

/// The loopback interface of every namespace.
pub fn lo() -> Device {
    Device::fixed("lo")
}

/// The router's end of an instance's cable: named after the subnet and the instance.
pub fn port(subnet: &Name, instance: Option<&Name>) -> Device {
    let full = match instance {
        None => subnet.as_str().into(),
        Some(instance) => format_compact!("{subnet}-{instance}"),
    };
    // What could be another device of the router gets a prefix, which then needs one itself.
    let taken = full == "uplink" || ["br-", "peer-", "port-"].iter().any(|prefix| full.starts_with(prefix));
    Device::new(if taken { format_compact!("port-{full}") } else { full })
}

/// The MAC address of whoever has `address` inside a VPC. Addresses are unique there, and so are these.
///
/// `0a:58` and the four bytes of the address: locally administered, and the scheme that OVN-Kubernetes uses.
pub fn mac(address: Ipv4Addr) -> CompactString {
    let [a, b, c, d] = address.octets();
    format_compact!("0a:58:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// The MAC address of a router's bridge: like an instance's, but with a prefix that none of them has.
pub fn bridge_mac(vpc_network: Ipv4Addr) -> CompactString {
    let [a, b, c, d] = vpc_network.octets();
    format_compact!("0a:59:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// The MAC address of one end of a point-to-point link.
pub fn link_mac(address: Ipv4Addr) -> CompactString {
    let [a, b, c, d] = address.octets();
    format_compact!("0a:5a:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
}

/// The namespaces of a state.
pub fn namespaces(state: &State) -> impl Iterator<Item = Netns> {
    namespaces_of(state, None)
}

/// The same, or those of one VPC alone.
pub fn namespaces_of(state: &State, only: Option<&VpcName>) -> impl Iterator<Item = Netns> {
    let chosen = state.vpcs.iter().filter(move |(vpc, _)| only.is_none_or(|only| only == *vpc));
    chosen.flat_map(|(vpc, content)| {
        let instances = content.subnets.iter().flat_map(move |(subnet, found)| {
            let further = found.instances.keys().map(move |name| instance(vpc, subnet, Some(name)));
            std::iter::once(instance(vpc, subnet, None)).chain(further)
        });
        std::iter::once(router(vpc)).chain(instances)
    })
}

/// Every name that has to be unique on the host, with who has it: namespaces and the host's interfaces.
///
/// Returns the first name that two owners share, if there is one.
pub fn collision(state: &State) -> Option<(String, Owner, Owner)> {
    let uplinks = state.vpcs.keys().map(uplink_on_host).map(|uplink| uplink.name).collect();
    let are_ambiguous = has_hyphens(state) && has_twins(namespaces(state).collect());
    if !are_ambiguous && !has_twins(uplinks) {
        return None;
    }
    let mut owners: BTreeMap<String, Owner> = BTreeMap::new();
    for (name, owner) in host_wide_names(state) {
        if let Some(earlier) = owners.insert(name.clone(), owner.clone()) {
            return Some((name, earlier, owner));
        }
    }
    None
}

/// Does a name have what names are joined with? Two paths can't be joined to one name where none has.
fn has_hyphens(state: &State) -> bool {
    let has_one = |name: &str| name.contains('-');
    state.vpcs.iter().any(|(vpc, content)| {
        let instances = content.subnets.values().flat_map(|subnet| subnet.instances.keys());
        let mut names = content.subnets.keys().chain(instances);
        has_one(vpc.as_str()) || names.any(|name| has_one(name.as_str()))
    })
}

fn has_twins<T: Ord>(mut names: Vec<T>) -> bool {
    names.sort_unstable();
    names.windows(2).any(|pair| pair[0] == pair[1])
}

fn host_wide_names(state: &State) -> impl Iterator<Item = (String, Owner)> {
    state.vpcs.iter().flat_map(|(vpc, content)| {
        let of_vpc = Owner::Vpc(vpc.clone());
        let own = [
            (format!("namespace {}", router(vpc)), of_vpc.clone()),
            (format!("interface {}", uplink_on_host(vpc)), of_vpc),
        ];
        let of_subnets = content.subnets.iter().flat_map(move |(subnet, found)| {
            let first =
                (format!("namespace {}", instance(vpc, subnet, None)), Owner::Subnet(vpc.clone(), subnet.clone()));
            let further = found.instances.keys().map(move |name| {
                let owner = Owner::Instance(vpc.clone(), subnet.clone(), name.clone());
                (format!("namespace {}", instance(vpc, subnet, Some(name))), owner)
            });
            std::iter::once(first).chain(further)
        });
        own.into_iter().chain(of_subnets)
    })
}

/// Seven characters, a hyphen, and 35 bits of hash in base 32.
fn shorten(full: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let hash = stable_hash(&[full]);
    let tail: String = (0..7).map(|i| char::from(ALPHABET[(hash >> (5 * i)) as usize & 31])).collect();
    format!("{}-{tail}", &full[..7])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_differ_beyond_the_fifteenth_character() {
        let device = |name: &str| bridge(&name.parse().unwrap());
        let (one, two) = (device("production-frankfurt"), device("production-frankfort"));
        assert_eq!(one.as_str().len(), IfName::MAX_LEN);
        assert_ne!(one, two);
        assert_eq!(one.altname(), Some("br-production-frankfurt"));
        assert_eq!(device("vpc1").altname(), None);
    }

    #[test]
    fn no_port_can_be_another_device_of_the_router() {
        let names = ["uplink", "br-vpc1", "peer-vpc2", "port-uplink", "port-port-uplink", "public"];
        let ports: Vec<String> = names.iter().map(|name| port(&name.parse().unwrap(), None).to_string()).collect();
        assert_eq!(ports[0], "port-uplink");
        assert_eq!(ports[5], "public");
        let distinct: std::collections::BTreeSet<&String> = ports.iter().collect();
        assert_eq!(distinct.len(), names.len());
    }
}
