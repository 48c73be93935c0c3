//! A virtual packet on its way through the test kernel: out of a namespace, over cables and bridges, through the rules of every
//! place that it passes, to where it ends.

use std::net::Ipv4Addr;

use vpcctl::model::cidr::Cidr;

use crate::kernel::{HOST, Kernel};
use crate::links::MAIN;
use crate::netfilter::Chain;

/// A packet. Its connection's marks are those of the place where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub struct Packet {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    /// `tcp`, `udp` or `icmp`.
    pub protocol: &'static str,
    pub sport: u16,
    pub dport: u16,
    /// `NEW`, `ESTABLISHED`, `RELATED` or `INVALID`.
    pub state: &'static str,
    /// Does it go against the direction in which the connection was opened?
    pub reply: bool,
    /// The sender's MAC address, on a bridge.
    pub mac: String,
    pub mark: u32,
}

/// Where a packet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A socket in this place got it.
    Reached(String, Packet),
    /// It left the machine by this interface of the host.
    Left(String, Packet),
    /// It got no further than this place.
    Lost(String, String),
}

/// What happens to a packet within a chain.
enum Fate {
    Accept,
    Return,
    Masquerade,
    Lose(String),
}

/// The interfaces by which a packet comes and goes.
#[derive(Debug, Clone, Copy, Default)]
struct Way<'a> {
    from: Option<&'a str>,
    to: Option<&'a str>,
}

/// One connection's way through a kernel.
pub struct Trace<'a> {
    kernel: &'a Kernel,
    /// Sources that were rewritten: where, from, to.
    translated: Vec<(String, Ipv4Addr, Ipv4Addr)>,
}

impl Packet {
    /// The packet that answers this one.
    pub fn answer(&self) -> Packet {
        let (state, reply) = ("ESTABLISHED", true);
        let Packet { src, dst, sport, dport, protocol, .. } = self.clone();
        Packet { src: dst, dst: src, sport: dport, dport: sport, protocol, state, reply, mac: String::new(), mark: 0 }
    }
}

impl<'a> Trace<'a> {
    /// A connection that has not sent anything yet.
    pub fn new(kernel: &'a Kernel) -> Self {
        Trace { kernel, translated: Vec::new() }
    }

    /// A socket in `place` sends.
    pub fn send(&mut self, place: &str, packet: Packet) -> End {
        let Some((device, _)) = self.route(place, packet.dst, "lo") else {
            return lost(place, "no route");
        };
        let way = Way { from: None, to: Some(&device) };
        let mut packet = packet;
        for table in ["raw", "nat", "filter", "security"] {
            if let Some(end) = self.hook(place, table, "OUTPUT", way, &mut packet) {
                return end;
            }
        }
        self.leave(place, way, packet)
    }

    /// A packet comes in by an interface.
    pub fn arrive(&mut self, place: &str, device: &str, packet: Packet) -> End {
        let (mut packet, way) = (Packet { mark: 0, ..packet }, Way { from: Some(device), to: None });
        if let Some(end) = self.hook(place, "raw", "PREROUTING", way, &mut packet) {
            return end;
        }
        // Nobody else has an address of one's own: `accept_local` is 0.
        if self.kernel.net(place).links.addresses.iter().any(|(_, address, _)| *address == packet.src) {
            return lost(place, "martian source");
        }
        let reverse = self.translated.iter().find(|(at, _, to)| at == place && packet.reply && packet.dst == *to);
        packet.dst = reverse.map_or(packet.dst, |(_, from, _)| *from);
        if self.kernel.net(place).links.addresses.iter().any(|(_, address, _)| *address == packet.dst) {
            let tables = ["filter", "security"];
            let end = tables.into_iter().find_map(|table| self.hook(place, table, "INPUT", way, &mut packet));
            return end.unwrap_or(End::Reached(place.into(), packet));
        }
        self.forward(place, device, packet)
    }

    fn forward(&mut self, place: &str, from: &str, mut packet: Packet) -> End {
        let set = |key: &str| self.kernel.setting(place, key).as_deref() == Some("1");
        if !set("net/ipv4/ip_forward") && !set(&format!("net/ipv4/conf/{from}/forwarding")) {
            return lost(place, "no forwarding");
        }
        let Some((to, _)) = self.route(place, packet.dst, from) else {
            return lost(place, "no route");
        };
        let way = Way { from: Some(from), to: Some(&to) };
        if let Some(end) = self.hook(place, "filter", "FORWARD", way, &mut packet) {
            return end;
        }
        self.leave(place, way, packet)
    }

    fn leave(&mut self, place: &str, way: Way<'_>, mut packet: Packet) -> End {
        let device = way.to.unwrap_or_default();
        let known = self.translated.iter().find(|(at, from, _)| at == place && *from == packet.src);
        match (packet.state, known) {
            ("INVALID", _) => {}
            (_, Some((_, _, to))) if !packet.reply => packet.src = *to,
            ("NEW", None) => self.translate(place, way, &mut packet),
            _ => {}
        }
        let links = &self.kernel.net(place).links;
        let Ok(link) = links.get(device) else {
            return lost(place, "no device");
        };
        match link.kind.as_str() {
            _ if !link.up => lost(place, "device down"),
            "device" => End::Left(device.into(), packet),
            "bridge" => self.bridge(place, device, packet),
            _ => match &link.far_end {
                Some((far, far_device)) => self.over_cable(far, far_device, &link.mac, packet),
                None => lost(place, "no cable"),
            },
        }
    }

    /// The first packet of a connection decides on its translation.
    fn translate(&mut self, place: &str, way: Way<'_>, packet: &mut Packet) {
        let Some(chain) = self.kernel.net(place).netfilter.tables.get("nat").and_then(|t| t.get("POSTROUTING")) else {
            return;
        };
        if let Fate::Masquerade = self.walk(place, "nat", chain, way, packet) {
            let addresses = &self.kernel.net(place).links.addresses;
            let own =
                addresses.iter().find(|(device, ..)| Some(device.as_str()) == way.to).expect("an address to take");
            self.translated.push((place.into(), packet.src, own.1));
            packet.src = own.1;
        }
    }

    /// From the router to the port behind which the neighbour is.
    fn bridge(&mut self, place: &str, bridge: &str, packet: Packet) -> End {
        let links = &self.kernel.net(place).links;
        let Some(mac) = links.neighbours.get(&(bridge.to_owned(), packet.dst)) else {
            return lost(place, "no neighbour");
        };
        let port = links.fdb.iter().find(|(_, known)| known == mac).map(|(port, _)| port);
        let Some(port) = port.and_then(|port| links.get(port).ok()).filter(|port| port.up) else {
            return lost(place, "no port");
        };
        let (far, device) = port.far_end.clone().expect("a port is a cable");
        self.over_cable(&far, &device, "", packet)
    }

    /// At the far end: of a guarded port only the one MAC address that is known there may send, and where senders are filtered,
    /// only from the IP address that it ends with.
    fn over_cable(&mut self, place: &str, device: &str, mac: &str, packet: Packet) -> End {
        let links = &self.kernel.net(place).links;
        let Ok(link) = links.get(device) else {
            return lost(place, "no device");
        };
        if !link.up {
            return lost(place, "far end down");
        }
        let sender = if packet.mac.is_empty() { mac.to_owned() } else { packet.mac.clone() };
        match &link.master {
            Some(_) if link.guarded && !links.fdb.contains(&(device.to_owned(), sender.clone())) => {
                lost(place, "locked")
            }
            Some(bridge) if links.filtered.get(bridge) == Some(&true) && !sender.ends_with(&last_bytes(packet.src)) => {
                lost(place, "filtered")
            }
            Some(bridge) => self.arrive(place, bridge, Packet { mac: sender, ..packet }),
            None => self.arrive(place, device, Packet { mac: String::new(), ..packet }),
        }
    }

    /// Device and next hop: in the tables that rules lead to for packets from there, then in the main one.
    fn route(&self, place: &str, dst: Ipv4Addr, from: &str) -> Option<(String, Option<Ipv4Addr>)> {
        let rules = self.kernel.net(place).links.rules.iter().filter(|(_, iif, _)| iif.is_empty() || iif == from);
        let mut tables = rules.map(|(.., table)| *table).chain([MAIN]);
        tables.find_map(|table| self.lookup(place, table, dst)).flatten()
    }

    /// The longest prefix, then the lowest metric. What leads nowhere is an answer too.
    fn lookup(&self, place: &str, table: u32, dst: Ipv4Addr) -> Option<Option<(String, Option<Ipv4Addr>)>> {
        let links = &self.kernel.net(place).links;
        let near = links.connected().filter(|_| table == MAIN);
        let near = near.map(|(net, device)| (net, 0, Some((device.to_owned(), None))));
        let far =
            links.routes.iter().filter(|((of, ..), _)| *of == table).map(|((_, to, metric), route)| {
                (*to, *metric, route.device.clone().map(|device| (device, route.gateway)))
            });
        let fitting = near.chain(far).filter(|(to, ..)| to.contains(dst));
        fitting.min_by_key(|(to, metric, _)| (32 - to.prefix(), *metric)).map(|(.., hop)| hop)
    }

    /// One table's part of a hook; where the packet ends there, how.
    fn hook(&self, place: &str, table: &str, chain: &str, way: Way<'_>, packet: &mut Packet) -> Option<End> {
        let found = self.kernel.net(place).netfilter.tables.get(table)?.get(chain)?;
        match self.walk(place, table, found, way, packet) {
            Fate::Lose(why) => Some(lost(place, &why)),
            Fate::Return if found.policy.as_deref() == Some("DROP") => Some(lost(place, "policy")),
            _ => None,
        }
    }

    fn walk(&self, place: &str, table: &str, chain: &Chain, way: Way<'_>, packet: &mut Packet) -> Fate {
        for rule in &chain.rules {
            let words = words(rule);
            let target = words.iter().position(|word| word == "-j").expect("a target");
            if !self.matches(place, &words[..target], way, packet) {
                continue;
            }
            let target: Vec<&str> = words[target + 1..].iter().map(String::as_str).collect();
            match target.as_slice() {
                ["ACCEPT"] => return Fate::Accept,
                ["RETURN"] => return Fate::Return,
                ["MASQUERADE"] => return Fate::Masquerade,
                ["DROP"] | ["REJECT", ..] => return Fate::Lose(rule.clone()),
                ["MARK", "--set-xmark", value] => packet.mark = number(value.strip_suffix("/0xffffffff").unwrap()),
                ["CONNMARK", "--save-mark"] => {}
                [name] => {
                    let called = &self.kernel.net(place).netfilter.tables[table][*name];
                    match self.walk(place, table, called, way, packet) {
                        Fate::Return => {}
                        fate => return fate,
                    }
                }
                other => panic!("unknown target {other:?}"),
            }
        }
        Fate::Return
    }

    fn matches(&self, place: &str, words: &[String], way: Way<'_>, packet: &Packet) -> bool {
        let mut words = words.iter().map(String::as_str);
        let mut positive = true;
        while let Some(word) = words.next() {
            if word == "!" {
                positive = false;
                continue;
            }
            if word == "--invert" {
                return !self.has_way_back(place, way, packet);
            }
            let value = words.next().expect("a value");
            let hit = match word {
                "--match-set" => self.in_set(place, value, words.next().expect("a side"), packet),
                "--src-group" => self.in_group(place, value, way.from),
                "--dst-group" => self.in_group(place, value, way.to),
                "-i" => way.from == Some(value),
                "-o" => way.to == Some(value),
                _ => packet.matches(word, value),
            };
            if hit != positive {
                return false;
            }
            positive = true;
        }
        true
    }

    fn has_way_back(&self, place: &str, way: Way<'_>, packet: &Packet) -> bool {
        let device = self.route(place, packet.src, way.from.unwrap_or_default()).map(|(device, _)| device);
        device.as_deref() == way.from
    }

    fn in_group(&self, place: &str, value: &str, device: Option<&str>) -> bool {
        let (group, mask) = value.split_once('/').map_or((value, u32::MAX), |(group, mask)| (group, number(mask)));
        let link = device.and_then(|device| self.kernel.net(place).links.get(device).ok());
        link.is_some_and(|link| link.group & mask == number(group))
    }

    fn in_set(&self, place: &str, name: &str, flags: &str, packet: &Packet) -> bool {
        let (kind, entries) = &self.kernel.net(place).netfilter.sets[name];
        let end = |flag: &str| if flag == "src" { (packet.src, packet.sport) } else { (packet.dst, packet.dport) };
        if kind.starts_with("bitmap:ip,mac") {
            return entries.contains(&format!("{},{}", packet.src, packet.mac.to_uppercase()));
        }
        let (address, port) = flags.split_once(',').unwrap_or((flags, flags));
        let number = if packet.protocol == "tcp" { 6 } else { 17 };
        let suffix =
            if kind.starts_with("hash:net,port") { format!(",{number}:{}", end(port).1) } else { String::new() };
        let nets = (1..=32).rev().filter_map(|prefix| Cidr::containing(end(address).0, prefix));
        let mut hits = nets.filter_map(|net| {
            let key = format!("{net}{suffix}");
            entries.iter().find(|entry| **entry == key || entry.strip_suffix(" nomatch") == Some(&key))
        });
        hits.next().is_some_and(|entry| !entry.ends_with("nomatch"))
    }
}

impl Packet {
    fn matches(&self, word: &str, value: &str) -> bool {
        match word {
            "-m" | "--comment" => true,
            "-p" => value == self.protocol,
            "-s" => value.parse::<Cidr>().expect("a source").contains(self.src),
            "-d" => value.parse::<Cidr>().expect("a destination").contains(self.dst),
            "--dport" | "--dports" => ports(value, self.dport),
            "--sport" | "--sports" => ports(value, self.sport),
            "--icmp-type" => value == "8" && self.protocol == "icmp" && !self.reply && self.state != "RELATED",
            // Nothing here translates destinations.
            "--ctstate" if value == "DNAT" => false,
            "--ctstate" => value.split(',').any(|state| state == self.state),
            "--ctdir" => (value == "REPLY") == self.reply && self.state != "INVALID",
            "--packet-mark" => number(value) == self.mark,
            // Every packet is judged by the rules, as if its connection were not remembered.
            "--connection-mark" => false,
            other => panic!("unknown match {other}"),
        }
    }
}

/// An IP address as the last four bytes of a MAC address.
fn last_bytes(address: Ipv4Addr) -> String {
    address.octets().map(|byte| format!("{byte:02x}")).join(":")
}

fn lost(place: &str, why: &str) -> End {
    End::Lost(place.into(), why.into())
}

/// The words of a rule, with quotes read and `--mark` told apart by its module.
fn words(rule: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for (index, piece) in rule.split('"').enumerate() {
        match index % 2 {
            0 => words.extend(piece.split_whitespace().map(str::to_owned)),
            _ => words.push(piece.to_owned()),
        }
    }
    let mut module = String::new();
    for index in 1..words.len() {
        if words[index - 1] == "-m" {
            module = words[index].clone();
        }
        if words[index] == "--mark" {
            words[index] = if module == "mark" { "--packet-mark" } else { "--connection-mark" }.to_owned();
        }
    }
    words
}

fn number(text: &str) -> u32 {
    let digits = text.strip_prefix("0x").expect("a hexadecimal number");
    u32::from_str_radix(digits, 16).expect("a hexadecimal number")
}

fn ports(list: &str, port: u16) -> bool {
    list.split(',').any(|item| {
        let (first, last) = item.split_once(':').unwrap_or((item, item));
        (first.parse().unwrap()..=last.parse().unwrap()).contains(&port)
    })
}

/// The host's flushed firewall: every chain gone, everything accepted and forwarded.
pub fn flush_host(kernel: &mut Kernel) {
    kernel.places.get_mut(HOST).unwrap().netfilter.tables.clear();
    kernel.set(HOST, "net/ipv4/ip_forward", "1");
}
