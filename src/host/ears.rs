//! Who answers probes: where nobody listens on a port, vpcctl does, in the namespace of who is asked and only as long as the probes
//! take. So a reset that comes back is a firewall's, and a datagram that gets there is answered.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use crate::host::namespace;
use crate::plan::line::Place;
use crate::plan::probe::{Ear, Method};

/// Where somebody is to listen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// The namespace.
    pub place: Place,
    /// The address there.
    pub address: Ipv4Addr,
    /// What comes there.
    pub method: Method,
}

/// A socket that answers.
enum Listener {
    Connections(TcpListener),
    Datagrams(UdpSocket),
}

/// Does `work` while vpcctl listens wherever nobody else does, and tells it who listens where.
pub fn listening<T>(spots: &[Spot], work: impl FnOnce(&BTreeMap<Spot, Ear>) -> T) -> T {
    let mut listeners = Vec::new();
    let mut ears = BTreeMap::new();
    for spot in spots {
        if !ears.contains_key(spot) {
            ears.insert(spot.clone(), listen(spot, &mut listeners));
        }
    }
    let Ok((end, ended)) = UnixStream::pair() else {
        return work(&ears);
    };
    thread::scope(|scope| {
        let answering = thread::Builder::new().spawn_scoped(scope, || answer(&listeners, &ended));
        if let Err(error) = &answering {
            tracing::debug!("nobody answers datagrams: {error}");
        }
        let result = work(&ears);
        drop(end);
        result
    })
}

fn listen(spot: &Spot, listeners: &mut Vec<Listener>) -> Ear {
    let bind = |port: u16| -> io::Result<Listener> {
        let here = SocketAddr::from((spot.address, port));
        namespace::within(&spot.place, || match spot.method {
            Method::Udp(_) => UdpSocket::bind(here).map(Listener::Datagrams),
            _ => TcpListener::bind(here).map(Listener::Connections),
        })?
    };
    let bound = match spot.method {
        // The kernel answers.
        Method::Ping => return Ear::Own,
        Method::Tcp(port) | Method::Udp(port) => {
            bind(port).and_then(|listener| listener.never_wait().map(|()| listener))
        }
    };
    match bound {
        Ok(listener) => {
            listeners.push(listener);
            Ear::Own
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ear::Program,
        Err(error) => {
            tracing::debug!("nobody can listen on {} in {}: {error}", spot.address, spot.place);
            Ear::Unknown
        }
    }
}

impl Listener {
    fn never_wait(&self) -> io::Result<()> {
        match self {
            Listener::Connections(listener) => listener.set_nonblocking(true),
            Listener::Datagrams(socket) => socket.set_nonblocking(true),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Connections(listener) => listener.as_fd(),
            Listener::Datagrams(socket) => socket.as_fd(),
        }
    }

    /// Takes what has come, and answers it.
    fn answer(&self) {
        match self {
            Listener::Connections(listener) => while listener.accept().is_ok() {},
            Listener::Datagrams(socket) => {
                let mut word = [0; 512];
                while let Ok((length, sender)) = socket.recv_from(&mut word) {
                    if let Err(error) = socket.send_to(&word[..length], sender) {
                        tracing::debug!("{sender} gets no answer: {error}");
                    }
                }
            }
        }
    }
}

/// Answers until the other end of `ended` is gone.
fn answer(listeners: &[Listener], ended: &UnixStream) {
    loop {
        let fds = listeners.iter().map(Listener::fd).chain([ended.as_fd()]);
        let mut waiting: Vec<PollFd<'_>> = fds.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        if poll(&mut waiting, None).is_err_and(|error| error != rustix::io::Errno::INTR) {
            return;
        }
        if waiting.last().is_none_or(|end| !end.revents().is_empty()) {
            return;
        }
        listeners.iter().zip(&waiting).filter(|(_, one)| !one.revents().is_empty()).for_each(|(one, _)| one.answer());
    }
}
