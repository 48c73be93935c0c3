//! One connection through the model, forth and back.

use std::net::Ipv4Addr;

use super::net::{LinkKind, Machine, Net};
use super::packet::Packet;
use super::walk::{End, Step, Stop, Walk};
use crate::error::{Failure, Result};
use crate::model::endpoint::Endpoint;
use crate::model::kernel_names as names;
use crate::model::policy::Traffic;
use crate::model::state::State;
use crate::plan::line::Place;
use crate::plan::probe::Foretold;
use crate::plan::{probe, topology};

/// What a port where nobody listens answers as well.
const RESETS: [&str; 2] = ["tcp-reset", "icmp-port-unreachable"];

/// A state as packets meet it.
pub struct Model<'a> {
    /// The state.
    pub state: &'a State,
    /// Its ops, made.
    pub machine: Machine,
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Who opens the connection.
    pub from: Endpoint,
    /// Who is to answer.
    pub to: Endpoint,
    /// What is sent.
    pub traffic: Traffic,
    /// The address that stands for the internet.
    pub internet: Ipv4Addr,
}

/// What became of the connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The sender's address, where there is one.
    pub src: Option<Ipv4Addr>,
    /// The address that the packet was sent to.
    pub dst: Option<Ipv4Addr>,
    /// The decisions on the way there.
    pub forth: Vec<Step>,
    /// The decisions on the answer's way.
    pub back: Vec<Step>,
    /// What came of it.
    pub verdict: Verdict,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The packet got there, and the answer back.
    Reached,
    /// It left the machine for its destination, and an answer from there would come back.
    Left(String),
    /// The last step of the way there, or back, stopped it.
    Stopped,
    /// It ended elsewhere than with who was asked for: there.
    Misled(String),
    /// No address leads there, and why.
    NoAddress(String),
}

impl Verdict {
    /// Did the packet get there, and its answer back?
    pub fn is_reached(&self) -> bool {
        matches!(self, Verdict::Reached | Verdict::Left(_))
    }
}

impl Answer {
    /// The step that stopped it.
    pub fn stopped_at(&self) -> Option<&Step> {
        self.back.last().or(self.forth.last()).filter(|step| step.stop.is_some())
    }

    /// What a sender is to see of it.
    pub fn foretold(&self) -> Foretold {
        let stop = self.stopped_at().filter(|_| !self.stopped_back()).and_then(|step| step.stop.as_ref());
        match stop {
            _ if self.verdict.is_reached() => Foretold::Open,
            Some(Stop::Rejected(answer)) if RESETS.contains(&answer.as_str()) => Foretold::Reset,
            _ => Foretold::Stopped,
        }
    }

    /// Was it the answer that was stopped?
    pub fn stopped_back(&self) -> bool {
        self.back.last().is_some_and(|step| step.stop.is_some())
    }
}

impl<'a> Model<'a> {
    /// The state on this host.
    ///
    /// # Errors
    /// A rule of vpcctl's own isn't understood: a defect.
    pub fn new(state: &'a State, host: &Net) -> Result<Self> {
        let machine = Machine::new(host.clone(), &topology::ops(state));
        let machine = machine.map_err(|error| Failure::new(crate::error::Kind::Host, error))?;
        Ok(Model { state, machine })
    }

    /// What the host itself has.
    fn host(&self) -> Option<&Net> {
        self.machine.places.get(&Place::Host)
    }

    /// Who it is that sends: an address is whose it is.
    pub fn sender(&self, from: &Endpoint) -> Result<Endpoint> {
        let Endpoint::Address(address) = from else {
            return Ok(from.clone());
        };
        let owners = self.instances_with(*address);
        match &owners[..] {
            [owner] => Ok(owner.clone()),
            [] if self.host().is_some_and(|host| host.owns(*address)) => Ok(Endpoint::Host),
            [] if self.machine.places.values().any(|net| net.owns(*address)) => {
                Err(Failure::usage(format!("{address} is a router's, and a router opens no connections"))
                    .hint("name an instance, `host` or `internet`"))
            }
            [] => Ok(from.clone()),
            several => {
                let names: Vec<String> = several.iter().map(Endpoint::to_string).collect();
                Err(Failure::usage(format!("several instances have {address}: {}", names.join(", ")))
                    .hint("name the one that is meant"))
            }
        }
    }

    /// The instances that have this address: VPCs may share addresses.
    pub fn instances_with(&self, address: Ipv4Addr) -> Vec<Endpoint> {
        let of_state = self.state.vpcs.iter().flat_map(|(vpc, found)| {
            found.subnets.iter().flat_map(move |(name, subnet)| {
                let all = subnet.all_instances().filter(move |(_, found, _)| *found == address);
                all.map(move |(instance, ..)| Endpoint::Instance(vpc.clone(), name.clone(), instance.cloned()))
            })
        });
        of_state.collect()
    }

    /// One connection, forth and back.
    pub fn ask(&self, question: &Question) -> Answer {
        let nowhere = |why: String| Answer {
            src: None,
            dst: None,
            forth: Vec::new(),
            back: Vec::new(),
            verdict: Verdict::NoAddress(why),
        };
        let dst = match probe::address(self.state, &question.from, &question.to, question.internet) {
            Ok(dst) => dst,
            Err(why) => return nowhere(why),
        };
        let Some(origin) = self.origin(question, dst) else {
            return nowhere("the host has no way to the sender".into());
        };
        // Nobody outside knows the host by its loopback.
        let dst =
            origin.by.as_ref().and_then(|device| self.own_address(device)).filter(|_| dst.is_loopback()).unwrap_or(dst);
        let mut walk = Walk::new(&self.machine);
        let packet = Packet::opening(question.traffic, origin.src, dst);
        let end = match &origin.by {
            None => walk.send(&origin.place, packet),
            Some(device) => walk.arrive(&origin.place, device, packet),
        };
        let forth = std::mem::take(&mut walk.steps);
        let (back_end, arrived) = match &end {
            End::Lost(_) => (None, self.arrived(question, &end)),
            End::Reached(place, packet) => (Some(walk.send(place, packet.answer())), self.arrived(question, &end)),
            End::Left(device, packet) => {
                (Some(walk.arrive(&Place::Host, device, packet.answer())), self.arrived(question, &end))
            }
        };
        let verdict = match (back_end, arrived) {
            (None, _) => Verdict::Stopped,
            (_, Err(elsewhere)) => Verdict::Misled(elsewhere),
            (Some(End::Lost(_)), Ok(_)) => Verdict::Stopped,
            (Some(back), Ok(left)) => match (origin.astray(&back, dst), left) {
                (Some(elsewhere), _) => Verdict::Misled(elsewhere),
                (None, None) => Verdict::Reached,
                (None, Some(device)) => Verdict::Left(device),
            },
        };
        let back = if matches!(verdict, Verdict::Misled(_)) { Vec::new() } else { walk.steps };
        Answer { src: Some(origin.src), dst: Some(dst), forth, back, verdict }
    }

    /// Whether the packet ended with who was asked for, by which device where it left; else where it ended.
    fn arrived(&self, question: &Question, end: &End) -> Result<Option<String>, String> {
        match (end, &question.to) {
            (End::Lost(_), _) => Ok(None),
            (End::Reached(place, _), Endpoint::Instance(vpc, subnet, instance)) => {
                let wanted = Place::Netns(names::instance(vpc, subnet, instance.as_ref()));
                if *place == wanted { Ok(None) } else { Err(format!("it ends in {place}")) }
            }
            (End::Reached(..), _) => Ok(None),
            (End::Left(device, _), Endpoint::Instance(..)) => Err(format!("it leaves the host by {device}")),
            (End::Left(device, _), Endpoint::Address(address))
                if self.machine.places.values().any(|net| net.owns(*address)) =>
            {
                Err(format!("it leaves the host by {device}"))
            }
            (End::Left(device, _), _) => Ok(Some(device.clone())),
        }
    }

    /// Where the packet begins, and with which source.
    fn origin(&self, question: &Question, dst: Ipv4Addr) -> Option<Origin> {
        match &question.from {
            Endpoint::Instance(vpc, subnet, instance) => {
                let place = Place::Netns(names::instance(vpc, subnet, instance.as_ref()));
                let found = self.state.vpcs.get(vpc)?.subnets.get(subnet)?;
                let (_, src, _) = found.all_instances().find(|(name, ..)| *name == instance.as_ref())?;
                Some(Origin { place, src, by: None })
            }
            Endpoint::Host => {
                let host = self.host()?;
                let route = host.route(dst, "lo").filter(|_| !host.owns(dst));
                let src = route.and_then(|route| host.source_for(&route)).unwrap_or(dst);
                Some(Origin { place: Place::Host, src, by: None })
            }
            Endpoint::Internet => self.outsider(question.internet),
            Endpoint::Address(address) => self.outsider(*address),
        }
    }

    /// The host's address on one of its interfaces.
    fn own_address(&self, device: &str) -> Option<Ipv4Addr> {
        let addresses = &self.host()?.addresses;
        addresses.iter().find(|address| address.device == device).map(|address| address.address)
    }

    /// Somebody beyond the host's own interfaces.
    fn outsider(&self, src: Ipv4Addr) -> Option<Origin> {
        let host = self.host()?;
        let route = host.route(src, "lo")?;
        let device = route
            .device()
            .filter(|device| host.links.get(*device).is_some_and(|link| link.kind == LinkKind::Outside))?;
        Some(Origin { place: Place::Host, src, by: Some(device.to_owned()) })
    }
}

/// Where a packet begins.
struct Origin {
    place: Place,
    src: Ipv4Addr,
    /// The interface that it comes in by, where it was sent from beyond it.
    by: Option<String>,
}

impl Origin {
    /// Where an answer to what was sent to `dst` ends, if not with whom that was sent from.
    fn astray(&self, back: &End, dst: Ipv4Addr) -> Option<String> {
        let (is_back, packet, end) = match back {
            End::Lost(_) => return None,
            End::Reached(place, packet) => {
                (self.by.is_none() && *place == self.place, packet, format!("the answer ends in {place}"))
            }
            End::Left(device, packet) => {
                (self.by.as_ref() == Some(device), packet, format!("the answer leaves the host by {device}"))
            }
        };
        if !is_back {
            return Some(end);
        }
        let is_answer = (packet.src, packet.dst) == (dst, self.src);
        (!is_answer).then(|| format!("the answer comes from {} to {}", packet.src, packet.dst))
    }
}
