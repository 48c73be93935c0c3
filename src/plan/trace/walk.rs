//! A connection's packets on their way through a machine: out of a place, over cables and bridges, through the rules of every
//! place that they pass, to where they end. Every decision on the way is noted.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use super::chains::{Fate, RuleAt, Way};
use super::net::{LinkKind, Machine, Net};
use super::packet::{Packet, Tracked};
use crate::plan::line::Place;
use crate::plan::rule::Table;

/// The most decisions on a way: a packet that goes round in circles has more.
const MAX_STEPS: usize = 200;

/// One decision on the way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Where it was made.
    pub place: Place,
    /// What decided.
    pub stage: Stage,
    /// The interfaces by which the packet came and is to go, as far as they are known there.
    pub ways: (Option<String>, Option<String>),
    /// Why it went no further; nothing where it did.
    pub stop: Option<Stop>,
    /// The rule that decided, where one did.
    pub rule: Option<RuleAt>,
    /// What was found, in words.
    pub detail: String,
}

/// What decides on a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The rules for what the place sends.
    Output,
    /// The routing tables.
    Route,
    /// What a bridge's port lets its instance send.
    Port,
    /// Who may send at all, before connection tracking.
    Guard,
    /// Whether packets are forwarded at all, and by the rules for it.
    Forward,
    /// Address translation.
    Nat,
    /// A link, or a bridge's way to the port of a neighbour.
    Link,
    /// The rules for what comes to the place.
    Input,
}

/// Why a packet goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stop {
    /// A rule drops it.
    Dropped,
    /// A rule refuses it, and the sender is told so.
    Rejected(String),
    /// No rule accepts it, and the chain drops the rest.
    NotAccepted,
    /// No route leads there.
    NoRoute,
    /// A route says so: `unreachable`, `prohibited`.
    Refused(&'static str),
    /// The place doesn't forward what comes in there.
    NoForwarding,
    /// It comes from an address of the place itself.
    Martian,
    /// The bridge's port doesn't let this sender send.
    Locked,
    /// Nobody has the address.
    NoNeighbour,
    /// The link is not there, or down.
    NoLink,
    /// It goes round in circles.
    Endless,
}

/// Where a packet ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A socket in this place got it.
    Reached(Place, Packet),
    /// It left the machine by this interface of the host.
    Left(String, Packet),
    /// It got no further than this place.
    Lost(Place),
}

/// One connection's ways through a machine.
pub struct Walk<'a> {
    machine: &'a Machine,
    /// Sources that were rewritten: where, from, to.
    translated: Vec<(Place, Ipv4Addr, Ipv4Addr)>,
    /// The connection's marks, where rules gave it one; nothing where each packet is to be judged for itself.
    marks: Option<BTreeMap<Place, u32>>,
    /// The decisions, in order.
    pub steps: Vec<Step>,
}

impl<'a> Walk<'a> {
    /// A connection that has not sent anything yet.
    pub fn new(machine: &'a Machine) -> Self {
        Walk { machine, translated: Vec::new(), marks: Some(BTreeMap::new()), steps: Vec::new() }
    }

    /// The same, where no rule remembers what it allowed: each packet is judged by all rules.
    pub fn forgetful(machine: &'a Machine) -> Self {
        Walk { marks: None, ..Walk::new(machine) }
    }

    /// A socket in `place` sends.
    pub fn send(&mut self, place: &Place, mut packet: Packet) -> End {
        let Some(net) = self.machine.places.get(place) else {
            return self.lost(place, Stage::Route, Way::default(), Stop::NoRoute, "the place doesn't exist".into());
        };
        if net.owns(packet.dst) {
            return self.deliver_to_sender(place, packet);
        }
        let to = match self.route(place, net, packet.dst, "lo") {
            Ok(device) => device,
            Err(end) => return end,
        };
        let way = Way { from: None, to: Some(&to) };
        for table in [Table::Raw, Table::Filter, Table::Security] {
            if let Some(end) = self.hook(place, Stage::Output, table, "OUTPUT", way, &mut packet) {
                return end;
            }
        }
        self.leave(place, way, packet)
    }

    /// What a place sends to an address of its own.
    fn deliver_to_sender(&mut self, place: &Place, mut packet: Packet) -> End {
        let (out, back) = (Way { from: None, to: Some("lo") }, Way { from: Some("lo"), to: None });
        for (stage, chain, way) in [(Stage::Output, "OUTPUT", out), (Stage::Input, "INPUT", back)] {
            for table in [Table::Filter, Table::Security] {
                if let Some(end) = self.hook(place, stage, table, chain, way, &mut packet) {
                    return end;
                }
            }
        }
        End::Reached(place.clone(), packet)
    }

    /// A packet comes in by an interface.
    pub fn arrive(&mut self, place: &Place, device: &str, packet: Packet) -> End {
        let way = Way { from: Some(device), to: None };
        let Some(net) = self.machine.places.get(place).filter(|_| self.steps.len() < MAX_STEPS) else {
            return self.lost(place, Stage::Link, way, Stop::Endless, "it goes round in circles".into());
        };
        let mut packet = Packet { mark: 0, connmark: 0, ..packet };
        if let Some(end) = self.hook(place, Stage::Guard, Table::Raw, "PREROUTING", way, &mut packet) {
            return end;
        }
        // Nobody else has an address of one's own: `accept_local` is 0.
        if net.owns(packet.src) {
            let detail = format!("{} is an address of its own", packet.src);
            return self.lost(place, Stage::Guard, way, Stop::Martian, detail);
        }
        self.translate_back(place, way, &mut packet);
        if net.owns(packet.dst) {
            for table in [Table::Filter, Table::Security] {
                if let Some(end) = self.hook(place, Stage::Input, table, "INPUT", way, &mut packet) {
                    return end;
                }
            }
            return End::Reached(place.clone(), packet);
        }
        self.forward(place, net, device, packet)
    }

    fn forward(&mut self, place: &Place, net: &Net, from: &str, mut packet: Packet) -> End {
        let way = Way { from: Some(from), to: None };
        if !net.forwards(from) {
            let detail = format!("what comes in by {from} is not forwarded");
            return self.lost(place, Stage::Forward, way, Stop::NoForwarding, detail);
        }
        let to = match self.route(place, net, packet.dst, from) {
            Ok(device) => device,
            Err(end) => return end,
        };
        let way = Way { from: Some(from), to: Some(&to) };
        for table in [Table::Filter, Table::Security] {
            if let Some(end) = self.hook(place, Stage::Forward, table, "FORWARD", way, &mut packet) {
                return end;
            }
        }
        self.leave(place, way, packet)
    }

    fn leave(&mut self, place: &Place, way: Way<'_>, mut packet: Packet) -> End {
        self.translate(place, way, &mut packet);
        let device = way.to.unwrap_or_default();
        let link = self.machine.places.get(place).and_then(|net| net.links.get(device));
        let Some(link) = link.filter(|link| link.up) else {
            return self.lost(place, Stage::Link, way, Stop::NoLink, format!("{device} is not there, or down"));
        };
        match &link.kind {
            LinkKind::Outside => End::Left(device.to_owned(), packet),
            LinkKind::Bridge => self.bridge(place, device, packet),
            LinkKind::Cable(far, far_device) => self.over_cable(far, far_device, &link.mac, packet),
            LinkKind::Loopback => End::Reached(place.clone(), packet),
        }
    }

    /// The first packet of a connection decides on its translation.
    fn translate(&mut self, place: &Place, way: Way<'_>, packet: &mut Packet) {
        let known = self.translated.iter().find(|(at, from, _)| at == place && *from == packet.src);
        if packet.tracked == Tracked::Invalid || packet.reply {
            return;
        }
        if let Some((.., to)) = known {
            packet.src = *to;
            return;
        }
        let Some(net) = self.machine.places.get(place).filter(|_| packet.tracked == Tracked::New) else {
            return;
        };
        let Fate::Masqueraded(rule) = net.walk(Table::Nat, "POSTROUTING", way, packet) else {
            return;
        };
        let route = net.route(packet.dst, way.from.unwrap_or("lo"));
        let Some(own) = route.and_then(|route| net.address_beside(&route)) else {
            return;
        };
        let detail = format!("the source {} becomes {own}", packet.src);
        self.note(place, Stage::Nat, way, None, Some(rule), detail);
        self.translated.push((place.clone(), packet.src, own));
        packet.src = own;
    }

    /// What answers a translated packet goes to whom it is for.
    fn translate_back(&mut self, place: &Place, way: Way<'_>, packet: &mut Packet) {
        let is_answer = |(at, _, to): &&(Place, Ipv4Addr, Ipv4Addr)| at == place && packet.reply && packet.dst == *to;
        let Some((_, inside, _)) = self.translated.iter().find(is_answer) else {
            return;
        };
        let (inside, detail) = (*inside, format!("the destination {} becomes {inside}", packet.dst));
        packet.dst = inside;
        self.note(place, Stage::Nat, way, None, None, detail);
    }

    /// From the router to the port behind which the neighbour is.
    fn bridge(&mut self, place: &Place, bridge: &str, packet: Packet) -> End {
        let net = self.machine.places.get(place);
        let mac = net.and_then(|net| net.neighbours.get(&(bridge.to_owned(), packet.dst)));
        let way = Way { from: None, to: Some(bridge) };
        let Some((net, mac)) = net.zip(mac) else {
            return self.lost(place, Stage::Link, way, Stop::NoNeighbour, format!("nobody has {}", packet.dst));
        };
        let port = net.fdb.iter().find(|(_, known)| known == mac).and_then(|(port, _)| net.links.get(port));
        match port.filter(|port| port.up).map(|port| &port.kind) {
            Some(LinkKind::Cable(far, device)) => self.over_cable(far, device, "", packet),
            _ => self.lost(place, Stage::Link, way, Stop::NoLink, format!("no port leads to {}", packet.dst)),
        }
    }

    /// At the far end: of a guarded port only the one MAC address that is known there may send, and where senders are filtered,
    /// only from the IP address that it ends with.
    fn over_cable(&mut self, place: &Place, device: &str, mac: &str, packet: Packet) -> End {
        let way = Way { from: Some(device), to: None };
        let net = self.machine.places.get(place);
        let Some((net, link)) = net.and_then(|net| Some((net, net.links.get(device).filter(|link| link.up)?))) else {
            return self.lost(place, Stage::Link, way, Stop::NoLink, format!("{device} is not there, or down"));
        };
        let sender = if packet.mac.is_empty() { mac.to_owned() } else { packet.mac.clone() };
        let Some(bridge) = &link.master else {
            return self.arrive(place, device, Packet { mac: String::new(), ..packet });
        };
        let is_known = !link.guarded || net.fdb.contains(&(device.to_owned(), sender.clone()));
        let is_own = !net.filtered.contains(bridge) || sender.ends_with(&last_bytes(packet.src));
        if !(is_known && is_own) {
            let detail = format!("{sender} may not send from {} there", packet.src);
            return self.lost(place, Stage::Port, way, Stop::Locked, detail);
        }
        self.arrive(place, bridge, Packet { mac: sender, ..packet })
    }

    /// The device that a route leads to.
    fn route(&mut self, place: &Place, net: &Net, dst: Ipv4Addr, from: &str) -> Result<String, End> {
        let way = Way { from: Some(from).filter(|from| *from != "lo"), to: None };
        let Some(route) = net.route(dst, from) else {
            return Err(self.lost(place, Stage::Route, way, Stop::NoRoute, format!("no route to {dst}")));
        };
        match route.device() {
            Some(device) => {
                self.note(place, Stage::Route, Way { to: Some(device), ..way }, None, None, route.describe());
                Ok(device.to_owned())
            }
            None => {
                let how = route.refusal().unwrap_or_default();
                Err(self.lost(place, Stage::Route, way, Stop::Refused(how), route.describe()))
            }
        }
    }

    /// One table's part of a hook; where the packet ends there, how.
    fn hook(
        &mut self,
        place: &Place,
        stage: Stage,
        table: Table,
        chain: &str,
        way: Way<'_>,
        packet: &mut Packet,
    ) -> Option<End> {
        let net = self.machine.places.get(place)?;
        let found = net.chains.get(&(table, chain.to_owned()))?;
        packet.connmark = self.marks.as_ref().and_then(|marks| marks.get(place)).copied().unwrap_or_default();
        let fate = net.walk(table, chain, way, packet);
        if let Some(marks) = self.marks.as_mut().filter(|_| packet.connmark != 0) {
            marks.insert(place.clone(), packet.connmark);
        }
        let (stop, rule) = match fate {
            Fate::Dropped(rule) => (Some(Stop::Dropped), Some(rule)),
            Fate::Rejected(rule, answer) => (Some(Stop::Rejected(answer)), Some(rule)),
            Fate::Returned(_) if found.drops => (Some(Stop::NotAccepted), None),
            Fate::Returned(rule) => (None, rule),
            Fate::Accepted(rule) | Fate::Masqueraded(rule) => (None, Some(rule)),
        };
        // What only remembers decides nothing.
        if table == Table::Security && stop.is_none() {
            return None;
        }
        let is_lost = stop.is_some();
        let detail = rule.as_ref().map_or_else(
            || if is_lost { format!("no rule of {chain} accepts it") } else { "no rule is against it".to_owned() },
            |rule| rule.purpose.clone(),
        );
        self.note(place, stage, way, stop, rule, detail);
        is_lost.then(|| End::Lost(place.clone()))
    }

    fn lost(&mut self, place: &Place, stage: Stage, way: Way<'_>, stop: Stop, detail: String) -> End {
        self.note(place, stage, way, Some(stop), None, detail);
        End::Lost(place.clone())
    }

    fn note(
        &mut self,
        place: &Place,
        stage: Stage,
        way: Way<'_>,
        stop: Option<Stop>,
        rule: Option<RuleAt>,
        detail: String,
    ) {
        let ways = (way.from.map(str::to_owned), way.to.map(str::to_owned));
        self.steps.push(Step { place: place.clone(), stage, ways, stop, rule, detail });
    }
}

/// An IP address as the last four bytes of a MAC address.
fn last_bytes(address: Ipv4Addr) -> String {
    address.octets().map(|byte| format!("{byte:02x}")).join(":")
}
