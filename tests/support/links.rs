//! The interfaces of one place of the test kernel, with their addresses, routes, neighbours and forwarding entries.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use vpcctl::model::cidr::Cidr;
use vpcctl::plan::observed::{Seen, SeenLink, SeenRoute, SeenRule};

use crate::kernel::{Outcome, pairs};

/// The flags of a guarded port.
const GUARD: &str = "isolated on locked on learning off flood off mcast_flood off bcast_flood off";

/// The longest name of an interface.
const IFNAMSIZ: usize = 15;

/// What one place has of `ip` and `bridge`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    /// By name.
    pub links: BTreeMap<String, Link>,
    /// Device, address, prefix length.
    pub addresses: BTreeSet<(String, Ipv4Addr, u8)>,
    /// Those addresses that come without a route to their network.
    pub routeless: BTreeSet<(String, Ipv4Addr)>,
    /// By table, destination and metric; those of addresses are not among them.
    pub routes: BTreeMap<RouteKey, Route>,
    /// Routing rules: preference, incoming interface (empty for any), table.
    pub rules: BTreeSet<(u32, String, u32)>,
    /// MAC by device and address, all permanent.
    pub neighbours: BTreeMap<(String, Ipv4Addr), String>,
    /// Static entries of bridges: device and MAC.
    pub fdb: BTreeSet<(String, String)>,
    /// The devices with a place for filters, and whether the filter of senders is there.
    pub filtered: BTreeMap<String, bool>,
}

/// An interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub struct Link {
    pub kind: String,
    pub mac: String,
    pub mtu: u32,
    pub alias: String,
    pub altname: Option<String>,
    pub group: u32,
    pub up: bool,
    pub master: Option<String>,
    pub guarded: bool,
    /// Place and name of a cable's other end.
    pub far_end: Option<(String, String)>,
}

/// Table, destination, metric.
pub type RouteKey = (u32, Cidr, u32);

/// The number of the main table.
pub const MAIN: u32 = 254;

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub struct Route {
    /// `unreachable` or `prohibit`, for one that leads nowhere.
    pub refusal: Option<String>,
    pub gateway: Option<Ipv4Addr>,
    pub device: Option<String>,
    pub source: Option<Ipv4Addr>,
    pub protocol: String,
}

/// Something done behind vpcctl's back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mischief {
    Namespace,
    Unmount,
    Kill,
    Unresolve,
    Unlink(String),
    Setting(String),
    Ip(String),
    Bridge(String),
    Filter(String),
    Ipset(String),
    Rules(String, Vec<String>),
}

impl Mischief {
    /// Does it change a built-in chain's policy?
    pub fn is_policy(&self) -> bool {
        matches!(self, Mischief::Rules(_, lines) if lines.iter().any(|line| line.starts_with(':')))
    }
}

impl Links {
    /// Loopback alone, down.
    pub fn new() -> Self {
        let lo = Link { kind: "loopback".into(), mtu: 65536, ..Link::default() };
        Links { links: [("lo".into(), lo)].into(), ..Links::default() }
    }

    /// The interface of this name.
    pub fn get(&self, name: &str) -> Result<&Link, String> {
        self.links.get(name).ok_or_else(|| format!("Cannot find device \"{name}\""))
    }

    fn get_mut(&mut self, name: &str) -> Result<&mut Link, String> {
        self.links.get_mut(name).ok_or_else(|| format!("Cannot find device \"{name}\""))
    }

    /// Adds an interface of its own place.
    pub fn add(&mut self, options: &BTreeMap<&str, &str>, kind: &str) -> Result<String, String> {
        let option = |name: &str| options.get(name).copied().ok_or(format!("`{name}` is missing"));
        let name = option("name")?.to_owned();
        if name.is_empty() || name.len() > IFNAMSIZ {
            return Err(format!("\"name\" not a valid ifname: {name}"));
        }
        self.check_free(&name)?;
        let mac = option("address")?.to_owned();
        let first = u8::from_str_radix(&mac[..2], 16).map_err(|error| error.to_string())?;
        let mtu: u32 = option("mtu")?.parse().map_err(|_| "mtu")?;
        if first & 1 == 1 || !(68..=65535).contains(&mtu) {
            return Err("Invalid argument".into());
        }
        self.links.insert(name.clone(), Link { kind: kind.into(), mac, mtu, ..Link::default() });
        Ok(name)
    }

    fn check_free(&self, name: &str) -> Outcome {
        let taken = self.links.iter().any(|(other, link)| other == name || link.altname.as_deref() == Some(name));
        if taken { Err("File exists".into()) } else { Ok(()) }
    }

    /// Notes where the other end of a cable is.
    pub fn connect(&mut self, name: &str, far_place: &str, far_name: &str) {
        if let Ok(link) = self.get_mut(name) {
            link.far_end = Some((far_place.into(), far_name.into()));
        }
    }

    /// The other ends of all cables.
    pub fn far_ends(&self) -> Vec<(String, String)> {
        self.links.values().filter_map(|link| link.far_end.clone()).collect()
    }

    /// The interfaces of a group.
    pub fn in_group(&self, group: &str) -> Vec<String> {
        let members = self.links.iter().filter(|(_, link)| link.group.to_string() == group);
        members.map(|(name, _)| name.clone()).collect()
    }

    /// The interface is gone with all that is on it.
    pub fn remove(&mut self, name: &str) {
        self.links.remove(name);
        self.filtered.remove(name);
        self.addresses.retain(|(device, ..)| device != name);
        self.routeless.retain(|(device, _)| device != name);
        self.neighbours.retain(|(device, _), _| device != name);
        self.routes.retain(|_, route| route.device.as_deref() != Some(name));
        self.fdb.retain(|(device, _)| device != name);
        let ports: Vec<String> = self.links.keys().filter(|port| self.is_port_of(port, name)).cloned().collect();
        ports.iter().for_each(|port| self.release(port));
    }

    fn is_port_of(&self, port: &str, bridge: &str) -> bool {
        self.links.get(port).is_some_and(|link| link.master.as_deref() == Some(bridge))
    }

    /// A port that leaves its bridge takes neither its guards nor its forwarding entries along.
    fn release(&mut self, port: &str) {
        if let Ok(link) = self.get_mut(port) {
            (link.master, link.guarded) = (None, false);
        }
        self.fdb.retain(|(device, _)| device != port);
    }

    /// A line of `ip` about what is inside one place.
    pub fn ip(&mut self, words: &[&str]) -> Outcome {
        match words {
            ["link", "set", "dev", name, rest @ ..] => self.set(name, rest),
            ["link", "property", "add", "dev", name, "altname", full] => {
                self.check_free(full)?;
                self.get_mut(name)?.altname = Some((*full).into());
                Ok(())
            }
            ["addr", "replace", address, rest @ ..] => self.add_address(address, rest),
            ["addr", "del", address, "dev", name] => {
                let found = address_on(name, address)?;
                if !self.addresses.remove(&found) {
                    return Err("Cannot assign requested address".into());
                }
                self.routeless.remove(&(found.0, found.1));
                // A route goes with the address that it makes senders take.
                self.routes.retain(|_, route| route.source != Some(found.1));
                Ok(())
            }
            ["neigh", "replace", address, "lladdr", mac, "dev", name, "nud", "permanent"] => {
                self.get(name)?;
                self.neighbours.insert(((*name).into(), parse(address)?), (*mac).into());
                Ok(())
            }
            ["neigh", "del", address, "dev", name] => {
                let gone = self.neighbours.remove(&((*name).into(), parse(address)?));
                gone.map(|_| ()).ok_or("No such file or directory".into())
            }
            ["rule", verb, rest @ ..] => {
                let options = pairs(rest)?;
                let option = |name: &str| options.get(name).copied().unwrap_or_default();
                let rule = (parse(option("pref"))?, option("iif").to_owned(), parse(option("lookup"))?);
                match (*verb, self.rules.contains(&rule)) {
                    ("add", false) => drop(self.rules.insert(rule)),
                    ("del", true) => drop(self.rules.remove(&rule)),
                    ("add", true) => return Err("File exists".into()),
                    _ => return Err("No such file or directory".into()),
                }
                Ok(())
            }
            ["route", "replace", rest @ ..] => self.replace_route(rest),
            ["route", "del", rest @ ..] => self.delete_route(rest),
            _ => Err("not understood".into()),
        }
    }

    fn set(&mut self, name: &str, words: &[&str]) -> Outcome {
        match words {
            ["alias", alias] if alias.len() <= 255 => self.get_mut(name)?.alias = (*alias).into(),
            ["group", group] => self.get_mut(name)?.group = parse(group)?,
            ["mtu", mtu] => self.get_mut(name)?.mtu = parse(mtu)?,
            ["address", mac] => self.get_mut(name)?.mac = (*mac).into(),
            ["up"] => self.get_mut(name)?.up = true,
            ["down"] => self.down(name)?,
            ["master", bridge] => {
                if self.get(bridge)?.kind != "bridge" || self.get(name)?.kind != "veth" {
                    return Err("Operation not supported".into());
                }
                if self.get(name)?.master.as_deref() != Some(*bridge) {
                    self.release(name);
                }
                self.get_mut(name)?.master = Some((*bridge).into());
            }
            ["nomaster"] => {
                self.get(name)?;
                self.release(name);
            }
            ["type", "bridge_slave", flags @ ..] => {
                let link = self.get_mut(name)?;
                link.master.as_ref().ok_or("Operation not supported")?;
                link.guarded = flags.join(" ") == GUARD;
            }
            _ => return Err("not understood".into()),
        }
        Ok(())
    }

    /// Its routes and neighbours go, its addresses stay.
    fn down(&mut self, name: &str) -> Outcome {
        self.get_mut(name)?.up = false;
        self.routes.retain(|_, route| route.device.as_deref() != Some(name));
        self.neighbours.retain(|(device, _), _| device != name);
        Ok(())
    }

    fn add_address(&mut self, address: &str, words: &[&str]) -> Outcome {
        let (broadcast, name, routeless) = match words {
            ["brd", "+", "dev", name] => (true, name, false),
            ["brd", "+", "dev", name, "noprefixroute"] => (true, name, true),
            ["dev", name] => (false, name, false),
            _ => return Err("not understood".into()),
        };
        self.get(name)?;
        let found = address_on(name, address)?;
        if broadcast != (found.2 < 31) {
            return Err("a broadcast address where there can be none, or none where there should be one".into());
        }
        if routeless {
            self.routeless.insert((found.0.clone(), found.1));
        }
        self.addresses.insert(found);
        Ok(())
    }

    /// The networks that are reached by a device without a gateway, because it has an address in them and is up.
    pub fn connected(&self) -> impl Iterator<Item = (Cidr, &str)> {
        let up = self.addresses.iter().filter(|(device, ..)| self.get(device).is_ok_and(|link| link.up));
        let routed = up.filter(|(device, address, _)| !self.routeless.contains(&(device.clone(), *address)));
        routed.filter_map(|(device, address, prefix)| Some((Cidr::containing(*address, *prefix)?, device.as_str())))
    }

    fn replace_route(&mut self, words: &[&str]) -> Outcome {
        let (key, route) = read_route(words)?;
        if let Some(device) = &route.device {
            if !self.get(device)?.up {
                return Err("Network is down".into());
            }
            let is_near = |gateway| self.connected().any(|(net, on)| on == device && net.contains(gateway));
            if route.gateway.is_some_and(|gateway| !is_near(gateway)) {
                return Err("Nexthop has invalid gateway".into());
            }
        }
        if route.source.is_some_and(|source| !self.addresses.iter().any(|(_, address, _)| *address == source)) {
            return Err("Invalid prefsrc address".into());
        }
        self.routes.insert(key, route);
        Ok(())
    }

    fn delete_route(&mut self, words: &[&str]) -> Outcome {
        let (key, route) = read_route(words)?;
        if self.routes.get(&key) != Some(&route) {
            return Err("No such process".into());
        }
        self.routes.remove(&key);
        Ok(())
    }

    /// A line of `tc`: all that is known of is the one filter, whose place is made before it.
    pub fn tc(&mut self, words: &[&str]) -> Outcome {
        match words {
            ["qdisc", "replace", "dev", name, "clsact"] => {
                self.get(name)?;
                self.filtered.entry((*name).into()).or_default();
            }
            [
                "filter",
                "replace",
                "dev",
                name,
                "ingress",
                "pref",
                "1",
                "handle",
                "1",
                "protocol",
                "all",
                "bpf",
                "da",
                "bytecode",
                ..,
            ] => {
                *self.filtered.get_mut(*name).ok_or("Parent Qdisc doesn't exists.")? = true;
            }
            ["qdisc", "del", "dev", name, "clsact"] => {
                self.filtered.remove(*name).ok_or("Cannot find specified qdisc on specified device.")?;
            }
            _ => return Err("not understood".into()),
        }
        Ok(())
    }

    /// A line of `bridge`.
    pub fn bridge(&mut self, words: &[&str]) -> Outcome {
        match words {
            ["fdb", "replace", mac, "dev", name, "master", "static"] => {
                self.get(name)?.master.as_ref().ok_or("Operation not supported")?;
                // A bridge knows each address once.
                self.fdb.retain(|(_, known)| known != mac);
                self.fdb.insert(((*name).into(), (*mac).into()));
                Ok(())
            }
            ["fdb", "del", mac, "dev", name, "master", "static"] => {
                let gone = self.fdb.remove(&((*name).into(), (*mac).into()));
                if gone { Ok(()) } else { Err("No such file or directory".into()) }
            }
            _ => Err("not understood".into()),
        }
    }

    /// As `ip -j` shows it.
    pub fn show(&self, seen: &mut Seen) {
        seen.links = self.links.iter().map(|(name, link)| (name.clone(), link.seen())).collect();
        seen.addresses = self.addresses.clone();
        seen.filtered =
            self.filtered.iter().filter(|(_, there)| **there).map(|(name, _)| (name.clone(), true)).collect();
        seen.routes = self.routes.iter().map(|(key, route)| route.seen(*key)).collect();
        let rule = |(priority, iif, table): &(u32, String, u32)| SeenRule {
            priority: *priority,
            iif: iif.clone(),
            table: table.to_string(),
            rest: [("src".to_owned(), "all".into())].into(),
        };
        let born = [(0, "local"), (32766, "main"), (32767, "default")]
            .map(|(priority, table)| SeenRule { table: table.into(), ..rule(&(priority, String::new(), 0)) });
        seen.rules = self.rules.iter().map(rule).chain(born).collect();
        let texts = |((device, address), mac): (&(String, Ipv4Addr), &String)| {
            ((device.clone(), address.to_string()), mac.clone())
        };
        seen.neighbours = self.neighbours.iter().map(texts).collect();
    }

    /// What could be done to what is ours.
    pub fn mischief(&self) -> Vec<Mischief> {
        let ours = self.links.iter().filter(|(_, link)| link.alias.starts_with("vpcctl:"));
        let of_link = ours.flat_map(|(name, link)| link_mischief(name, link));
        let marked = |device: &String| self.links.get(device).is_some_and(|link| link.alias.starts_with("vpcctl:"));
        let addresses = self.addresses.iter().filter(|(device, ..)| marked(device));
        let addresses = addresses.map(|(device, address, prefix)| format!("addr del {address}/{prefix} dev {device}"));
        let routes = self.routes.iter().filter(|(_, route)| route.protocol == "118");
        let routes = routes.map(|(key, route)| format!("route del {}", route.words(*key)));
        let rules = self.rules.iter().map(|(preference, from, table)| {
            let iif = if from.is_empty() { String::new() } else { format!(" iif {from}") };
            format!("rule del pref {preference}{iif} lookup {table}")
        });
        let neighbours = self.neighbours.keys().map(|(device, address)| format!("neigh del {address} dev {device}"));
        let fdb = self.fdb.iter().map(|(device, mac)| format!("fdb del {mac} dev {device} master static"));
        let of_place = addresses.chain(routes).chain(rules).chain(neighbours).map(Mischief::Ip);
        let filters = self.filtered.keys().map(|device| Mischief::Filter(format!("qdisc del dev {device} clsact")));
        of_link.chain(of_place).chain(fdb.map(Mischief::Bridge)).chain(filters).collect()
    }
}

fn link_mischief(name: &str, link: &Link) -> Vec<Mischief> {
    let set = |words: &str| Mischief::Ip(format!("link set dev {name} {words}"));
    let mut found = vec![set("down")];
    if name != "lo" {
        found.extend([Mischief::Unlink(name.into()), set("mtu 1280")]);
    }
    if link.group != 0 {
        found.push(set("group 7"));
    }
    if link.master.is_some() {
        found.extend([set("nomaster"), set("type bridge_slave isolated off")]);
    }
    found
}

impl Link {
    fn seen(&self) -> SeenLink {
        SeenLink {
            altnames: Vec::new(),
            mtu: self.mtu,
            mac: self.mac.clone(),
            alias: self.alias.clone(),
            group: if self.group == 0 { "default".into() } else { self.group.to_string() },
            up: self.up,
            kind: self.kind.clone(),
            master: self.master.clone(),
            guarded: self.guarded,
        }
    }
}

impl Route {
    fn seen(&self, (table, to, metric): RouteKey) -> SeenRoute {
        SeenRoute {
            // A network of one address is shown as the address.
            dst: destination(to).trim_end_matches("/32").into(),
            kind: self.refusal.clone(),
            gateway: self.gateway.map(|gateway| gateway.to_string()),
            dev: self.device.clone(),
            prefsrc: self.source.map(|source| source.to_string()),
            protocol: Some(self.protocol.clone()),
            table: (table != MAIN).then(|| table.to_string()),
            metric: (metric != 0).then_some(metric),
            tos: None,
            nexthops: vec![],
        }
    }

    fn words(&self, (table, to, metric): RouteKey) -> String {
        match (self.gateway, &self.device) {
            (Some(gateway), Some(device)) => {
                let source = self.source.map(|source| format!(" src {source}")).unwrap_or_default();
                format!("{} via {gateway} dev {device} proto {}{source} table {table}", destination(to), self.protocol)
            }
            (None, Some(device)) => {
                let source = self.source.map(|source| format!(" src {source}")).unwrap_or_default();
                format!("{} dev {device} proto {} scope link{source} table {table}", destination(to), self.protocol)
            }
            _ => {
                let refusal = self.refusal.as_deref().unwrap_or_default();
                let metric = if metric == 0 { String::new() } else { format!(" metric {metric}") };
                format!("{refusal} {to} proto {}{metric} table {table}", self.protocol)
            }
        }
    }
}

fn destination(to: Cidr) -> String {
    if to == Cidr::ANY { "default".into() } else { to.to_string() }
}

fn read_route(words: &[&str]) -> Result<(RouteKey, Route), String> {
    let (refusal, words) = match words {
        [kind @ ("unreachable" | "prohibit"), rest @ ..] => (Some((*kind).to_owned()), rest),
        _ => (None, words),
    };
    let [to, rest @ ..] = words else {
        return Err("no destination".into());
    };
    let to = if *to == "default" { Cidr::ANY } else { parse(to)? };
    let options = pairs(rest)?;
    let address = |name: &str| options.get(name).map(|text| parse(text)).transpose();
    let route = Route {
        refusal,
        gateway: address("via")?,
        device: options.get("dev").map(|name| (*name).to_owned()),
        source: address("src")?,
        protocol: options.get("proto").copied().unwrap_or("boot").to_owned(),
    };
    let number = |name: &str| options.get(name).map(|text| parse::<u32>(text)).transpose();
    Ok(((number("table")?.unwrap_or(MAIN), to, number("metric")?.unwrap_or(0)), route))
}

fn address_on(device: &str, text: &str) -> Result<(String, Ipv4Addr, u8), String> {
    let (address, prefix) = text.split_once('/').ok_or("no prefix length")?;
    Ok((device.into(), parse(address)?, parse(prefix)?))
}

fn parse<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not understood"))
}
