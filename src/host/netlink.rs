//! Asking the kernel for its lists in-process, where a tool for each namespace would take a hundred times as long. Nothing here
//! changes anything.

use std::io;
use std::os::fd::OwnedFd;

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkBuffer, NetlinkDeserializable, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NetlinkSerializable,
};
use rustix::net::{AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// How often a list is asked for that the kernel changed meanwhile.
const ATTEMPTS: usize = 8;

/// The kernel fills its answers up to the size of what they are received in: so much is all of a small namespace's list.
const ANSWER: usize = 16 * 1024;

/// What a message carries.
pub trait Payload: NetlinkSerializable + NetlinkDeserializable + Clone {}

impl<M: NetlinkSerializable + NetlinkDeserializable + Clone> Payload for M {}

/// A socket to the kernel, in the namespace of the thread that opened it.
pub struct Netlink {
    socket: OwnedFd,
    answer: Vec<u8>,
}

impl Netlink {
    /// Opens a socket for a family of messages; for links, addresses and routes without one.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        Ok(Netlink { socket, answer: vec![0; ANSWER] })
    }

    /// The whole list that `request` asks for. One that the kernel never held still for is an error.
    pub fn dump<M: Payload>(&mut self, request: &M) -> io::Result<Vec<M>> {
        for sequence in 1..=ATTEMPTS {
            self.send(request, NLM_F_DUMP, sequence as u32)?;
            if let Some(list) = self.list()? {
                return Ok(list);
            }
        }
        Err(io::ErrorKind::ResourceBusy.into())
    }

    /// What all of these ask for, one list after the other.
    pub fn lists<M: Payload>(&mut self, requests: &[M]) -> io::Result<Vec<M>> {
        let lists: io::Result<Vec<_>> = requests.iter().map(|request| self.dump(request)).collect();
        lists.map(|lists| lists.into_iter().flatten().collect())
    }

    /// The one object that `request` names.
    pub fn get<M: Payload>(&mut self, request: &M) -> io::Result<M> {
        self.send(request, 0, 0)?;
        match self.receive()?.pop() {
            Some(NetlinkMessage { payload: NetlinkPayload::InnerMessage(inner), .. }) => Ok(inner),
            Some(NetlinkMessage { payload: NetlinkPayload::Error(error), .. }) => Err(error.to_io()),
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    fn send<M: Payload>(&self, request: &M, flags: u16, sequence: u32) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(request.clone()));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        send(&self.socket, &bytes, SendFlags::empty())?;
        Ok(())
    }

    /// The list that was asked for; nothing where it changed while it was read.
    fn list<M: Payload>(&mut self) -> io::Result<Option<Vec<M>>> {
        let (mut list, mut is_whole) = (Vec::new(), true);
        loop {
            for message in self.receive()? {
                is_whole &= message.header.flags & NLM_F_DUMP_INTR == 0;
                match message.payload {
                    NetlinkPayload::InnerMessage(inner) => list.push(inner),
                    NetlinkPayload::Done(done) if done.code == 0 => return Ok(is_whole.then_some(list)),
                    NetlinkPayload::Done(done) => return Err(io::Error::from_raw_os_error(-done.code)),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => return Err(io::ErrorKind::InvalidData.into()),
                }
            }
        }
    }

    /// The messages of one answer.
    fn receive<M: Payload>(&mut self) -> io::Result<Vec<NetlinkMessage<M>>> {
        let (_, length) = recv(&self.socket, self.answer.as_mut_slice(), RecvFlags::TRUNC)?;
        let mut rest = self.answer.get(..length).ok_or(io::ErrorKind::InvalidData)?;
        let mut messages = Vec::new();
        while !rest.is_empty() {
            messages.push(NetlinkMessage::deserialize(rest).map_err(io::Error::other)?);
            rest = rest.get(aligned(rest)..).unwrap_or_default();
        }
        Ok(messages)
    }
}

/// Where the next message begins.
fn aligned(message: &[u8]) -> usize {
    (NetlinkBuffer::new(message).length() as usize).next_multiple_of(4)
}
