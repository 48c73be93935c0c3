//! A virtual packet, with what a rule can ask of it.

use std::net::Ipv4Addr;

use crate::model::policy::Traffic;

/// The port of whoever opens a connection, where it doesn't matter.
const EPHEMERAL: u16 = 50_123;

/// What carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Transport {
    Tcp,
    Udp,
    Icmp,
    Other,
}

impl Transport {
    /// As `-p` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
            Transport::Icmp => "icmp",
            Transport::Other => "other",
        }
    }
}

/// What connection tracking calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the kernel's")]
pub enum Tracked {
    New,
    Established,
    Related,
    Invalid,
}

impl Tracked {
    /// As `--ctstate` takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Tracked::New => "NEW",
            Tracked::Established => "ESTABLISHED",
            Tracked::Related => "RELATED",
            Tracked::Invalid => "INVALID",
        }
    }
}

/// A packet in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub struct Packet {
    pub src: Ipv4Addr,
    pub dst: Ipv4Addr,
    pub transport: Transport,
    /// 0 where there are no ports.
    pub sport: u16,
    pub dport: u16,
    pub tracked: Tracked,
    /// Does it go against the direction in which the connection was opened?
    pub reply: bool,
    /// The sender's MAC address, on a bridge; empty for the device's own.
    pub mac: String,
    pub mark: u32,
    /// The mark of its connection, in this place.
    pub connmark: u32,
}

impl Packet {
    /// The first packet of a connection.
    pub fn opening(traffic: Traffic, src: Ipv4Addr, dst: Ipv4Addr) -> Self {
        let (transport, sport, dport) = match traffic {
            Traffic::Tcp(port) => (Transport::Tcp, EPHEMERAL, port),
            Traffic::Udp(port) => (Transport::Udp, EPHEMERAL, port),
            Traffic::Icmp => (Transport::Icmp, 0, 0),
            Traffic::Other => (Transport::Other, 0, 0),
        };
        let (tracked, mac) = (Tracked::New, String::new());
        Packet { src, dst, transport, sport, dport, tracked, reply: false, mac, mark: 0, connmark: 0 }
    }

    /// The packet that answers this one.
    pub fn answer(&self) -> Self {
        let Packet { src, dst, sport, dport, transport, .. } = *self;
        let (tracked, mac) = (Tracked::Established, String::new());
        Packet {
            src: dst,
            dst: src,
            sport: dport,
            dport: sport,
            transport,
            tracked,
            reply: true,
            mac,
            mark: 0,
            connmark: 0,
        }
    }
}
