//! Listening to a namespace's connection tracking, in-process. Nothing here changes anything: the kernel tells who asks.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{NetlinkBuffer, NetlinkMessage};
use netlink_packet_netfilter::NetfilterMessage;
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, recv, socket_with, sockopt};

use crate::host::namespace;
use crate::host::netlink::Netlink;
use crate::model::kernel_names::Netns;
use crate::plan::flow::{self, Change, Connection};
use crate::plan::line::Place;

/// The groups of messages about connections that come and go (`NFNLGRP_CONNTRACK_NEW` and `_DESTROY`), as bits.
const GROUPS: u32 = 1 | 1 << 2;

/// What tells the kernel to tell.
const EVENTS: &str = "/proc/sys/net/netfilter/nf_conntrack_events";

/// As much may wait to be read, in bytes: what a thousand connections tell at once.
const WAITING: usize = 1 << 20;

/// The largest message, in bytes.
const MESSAGE: usize = 16 * 1024;

/// So many events are heard at once: where more come than can be read, who listens still has time for all else.
const AT_ONCE: usize = 4096;

/// An ear in one namespace, which lives as long as this does.
pub struct Listener {
    socket: OwnedFd,
    buffer: Vec<u8>,
    inode: Option<u64>,
}

/// What was heard, and whether more was said than heard.
#[derive(Debug, Default)]
pub struct Heard {
    /// In order.
    pub events: Vec<(Change, Connection)>,
    /// The kernel had more to tell than could wait.
    pub lost: bool,
}

impl Listener {
    /// Listens in a namespace; also the connections that are there.
    pub fn open(netns: &Netns) -> io::Result<(Self, Vec<Connection>)> {
        let inode = namespace::inode(netns);
        let place = Place::Netns(netns.clone());
        let (socket, connections) = namespace::within(&place, || -> io::Result<_> {
            if fs::read_to_string(EVENTS).is_ok_and(|value| value.trim() == "0") {
                return Err(io::Error::other(format!(
                    "{EVENTS} is 0 there, so that the kernel tells of no connection"
                )));
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?;
            bind(&socket, &SocketAddrNetlink::new(0, GROUPS))?;
            // As far as the host lets it.
            if let Err(error) = sockopt::set_socket_recv_buffer_size(&socket, WAITING) {
                tracing::debug!("conntrack of {place}: {error}");
            }
            let list = Netlink::open(Some(NETFILTER))?.dump(&flow::request())?;
            Ok((socket, list.iter().filter_map(flow::listed).collect()))
        })??;
        Ok((Listener { socket, buffer: vec![0; MESSAGE], inode }, connections))
    }

    /// Is the namespace still the one of this name?
    pub fn is_of(&self, netns: &Netns) -> bool {
        self.inode.is_some() && self.inode == namespace::inode(netns)
    }

    /// What is there to be heard, or the first [`AT_ONCE`] of it. It waits for nothing.
    pub fn hear(&mut self) -> io::Result<Heard> {
        let mut heard = Heard::default();
        while heard.events.len() < AT_ONCE {
            let length = match recv(&self.socket, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, length)) => length,
                Err(Errno::AGAIN) => return Ok(heard),
                Err(Errno::NOBUFS) => {
                    heard.lost = true;
                    continue;
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let mut rest = self.buffer.get(..length).unwrap_or_default();
            while let Ok(message) = NetlinkBuffer::new_checked(rest) {
                let size = (message.length() as usize).next_multiple_of(4);
                match NetlinkMessage::<NetfilterMessage>::deserialize(rest) {
                    Ok(message) => heard.events.extend(flow::event(message)),
                    Err(error) => tracing::debug!("conntrack: {error}"),
                }
                rest = rest.get(size.max(4)..).unwrap_or_default();
            }
        }
        Ok(heard)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
