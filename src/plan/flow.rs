//! Connections as connection tracking tells them, and whose they are. Pure: messages and a state in, names out.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily};

use crate::model::name::VpcName;
use crate::model::owner::Owner;
use crate::model::state::{State, Vpc};

/// The request for all connections there are.
pub fn request() -> NetfilterMessage {
    NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0), ConntrackMessage::Get(Vec::new()))
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It began, or was there.
    New,
    /// It ended, or was forgotten.
    End,
}

/// The packets of one way of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Who sends.
    pub source: Ipv4Addr,
    /// Who receives.
    pub destination: Ipv4Addr,
    /// The number of the protocol.
    pub protocol: u8,
    /// The ports, where the protocol has some.
    pub ports: Option<(u16, u16)>,
}

/// A connection as one router knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Connection {
    /// As it was opened.
    pub original: Way,
    /// As replies come: another way round where there is NAT.
    pub reply: Way,
}

/// What a message of the kernel's tells: a connection that came, is there, or went. What else changes of one is nothing.
pub fn event(message: NetlinkMessage<NetfilterMessage>) -> Option<(Change, Connection)> {
    let is_new = message.header.flags & NLM_F_CREATE != 0;
    let NetlinkPayload::InnerMessage(NetfilterMessage { inner: NetfilterMessageInner::Conntrack(inner), .. }) =
        message.payload
    else {
        return None;
    };
    match inner {
        ConntrackMessage::New(attributes) if is_new => Some((Change::New, connection(&attributes)?)),
        ConntrackMessage::Delete(attributes) => Some((Change::End, connection(&attributes)?)),
        _ => None,
    }
}

/// The connection that an answer to [`request`] is about.
pub fn listed(message: &NetfilterMessage) -> Option<Connection> {
    match &message.inner {
        NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes) | ConntrackMessage::Get(attributes)) => {
            connection(attributes)
        }
        _ => None,
    }
}

fn connection(attributes: &[ConntrackAttribute]) -> Option<Connection> {
    let original = attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleOrig(tuples) => way(tuples),
        _ => None,
    });
    let reply = attributes.iter().find_map(|attribute| match attribute {
        ConntrackAttribute::CtaTupleReply(tuples) => way(tuples),
        _ => None,
    });
    Some(Connection { original: original?, reply: reply? })
}

fn way(tuples: &[Tuple]) -> Option<Way> {
    let (mut source, mut destination, mut protocol, mut from, mut to) = (None, None, None, None, None);
    for tuple in tuples {
        match tuple {
            Tuple::Ip(parts) => parts.iter().for_each(|part| match part {
                IPTuple::SourceAddress(IpAddr::V4(address)) => source = Some(*address),
                IPTuple::DestinationAddress(IpAddr::V4(address)) => destination = Some(*address),
                _ => {}
            }),
            Tuple::Proto(parts) => parts.iter().for_each(|part| match part {
                ProtoTuple::Protocol(number) => protocol = Some(u8::from(*number)),
                ProtoTuple::SourcePort(port) => from = Some(*port),
                ProtoTuple::DestinationPort(port) => to = Some(*port),
                _ => {}
            }),
            _ => {}
        }
    }
    Some(Way { source: source?, destination: destination?, protocol: protocol?, ports: from.zip(to) })
}

impl Connection {
    /// Does the opener have another address for the other side than its own?
    pub fn is_translated(&self) -> bool {
        self.reply.destination != self.original.source
    }
}

impl Way {
    /// The protocol's name, or its number.
    pub fn protocol_name(&self) -> String {
        match self.protocol {
            1 => "icmp".into(),
            6 => "tcp".into(),
            17 => "udp".into(),
            number => number.to_string(),
        }
    }
}

/// Whom an address belongs to, as one router sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Party {
    /// An instance, of this VPC or of a peer.
    Instance(Owner),
    /// A VPC's router: a gateway, or an end of a link.
    Router(VpcName),
    /// The host, by the uplink.
    Host,
    /// Whoever else.
    Outside,
}

impl Party {
    /// Its name: an instance's path, a router's VPC, or a word.
    pub fn name(&self) -> String {
        match self {
            Party::Instance(owner) => owner.to_string(),
            Party::Router(vpc) => format!("{vpc} router"),
            Party::Host => "host".into(),
            Party::Outside => "outside".into(),
        }
    }
}

/// The addresses that one router knows.
#[derive(Debug)]
pub struct Directory {
    parties: BTreeMap<Ipv4Addr, Party>,
}

impl Directory {
    /// Those of a VPC, of its peers, and of its links.
    pub fn new(state: &State, name: &VpcName) -> Self {
        let mut parties = BTreeMap::new();
        for peering in state.peerings_of(name) {
            let other = peering.other(name);
            if let Some(vpc) = state.vpcs.get(other) {
                parties.extend(own(other, vpc));
            }
            parties.insert(peering.link.first(), Party::Router(peering.a.clone()));
            parties.insert(peering.link.second(), Party::Router(peering.b.clone()));
        }
        if let Some(vpc) = state.vpcs.get(name) {
            parties.extend(own(name, vpc));
            if let Some(uplink) = vpc.uplink {
                parties.insert(uplink.link.first(), Party::Host);
                parties.insert(uplink.link.second(), Party::Router(name.clone()));
            }
        }
        Directory { parties }
    }

    /// Whose address it is.
    pub fn party(&self, address: Ipv4Addr) -> Party {
        self.parties.get(&address).cloned().unwrap_or(Party::Outside)
    }
}

/// The addresses of a VPC's instances and gateways.
fn own(name: &VpcName, vpc: &Vpc) -> impl Iterator<Item = (Ipv4Addr, Party)> {
    vpc.subnets.iter().flat_map(move |(subnet, found)| {
        let owner = move |instance| Party::Instance(Owner::instance(name, subnet, instance));
        let instances = found.all_instances().map(move |(instance, address, _)| (address, owner(instance)));
        std::iter::once((found.gateway(), Party::Router(name.clone()))).chain(instances)
    })
}
