//! Who answers probes: where nobody listens on a port, vpcctl does, in the namespace of who is asked and only as long as the probes
//! take. So a reset that comes back is a firewall's, and a datagram that gets there is answered.
//!
//! It listens as root: it takes connections and closes them, and answers a probe's own word with another. Nothing else that comes
//! is looked at.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use crate::host::namespace;
use crate::host::probe::WORD;
use crate::plan::line::Place;
use crate::plan::probe::{Ear, Method};

/// What a probe's datagram is answered with: it is not one's own, so that no two who listen answer each other.
const HEARD: &[u8] = b"vpcctl heard\n";

/// How much of what has come to one port is taken before it is looked whether the probes are done.
const AT_A_TIME: usize = 64;

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

/// Who listens where.
#[derive(Debug, Clone, Default)]
pub struct Ears {
    /// By spot.
    pub at: BTreeMap<Spot, Ear>,
    /// Why vpcctl can't listen where it should: each in words.
    pub deaf: Vec<String>,
}

/// A socket that answers.
enum Listener {
    Connections(TcpListener),
    Datagrams(UdpSocket),
}

/// Does `work` while vpcctl listens wherever nobody else does, and tells it who listens where. Each spot is a socket.
///
/// # Errors
/// Nobody could answer.
pub fn listening<T>(spots: &[Spot], work: impl FnOnce(&Ears) -> T) -> io::Result<T> {
    let mut listeners = Vec::new();
    let mut ears = Ears::default();
    for spot in spots {
        if !ears.at.contains_key(spot) {
            let ear = listen(spot, &mut listeners).unwrap_or_else(|error| {
                let Spot { place, address, method } = spot;
                let how = method.describe();
                ears.deaf.push(format!("nobody listens on {address} ({how}) in {place}: {error}"));
                Ear::Unknown
            });
            ears.at.insert(spot.clone(), ear);
        }
    }
    let (end, ended) = UnixStream::pair()?;
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, || answer(&listeners, &ended))?;
        let result = work(&ears);
        drop(end);
        Ok(result)
    })
}

fn listen(spot: &Spot, listeners: &mut Vec<Listener>) -> io::Result<Ear> {
    let bind = |port: u16| -> io::Result<Listener> {
        let here = SocketAddr::from((spot.address, port));
        namespace::within(&spot.place, || match spot.method {
            Method::Udp(_) => UdpSocket::bind(here).map(Listener::Datagrams),
            _ => TcpListener::bind(here).map(Listener::Connections),
        })?
    };
    let bound = match spot.method {
        // The kernel answers.
        Method::Ping => return Ok(Ear::Own),
        Method::Tcp(port) | Method::Udp(port) => {
            bind(port).and_then(|listener| listener.never_wait().map(|()| listener))
        }
    };
    match bound {
        Ok(listener) => {
            listeners.push(listener);
            Ok(Ear::Own)
        }
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(Ear::Program),
        Err(error) => Err(error),
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

    /// Takes some of what has come, and answers it: who sends without end doesn't keep vpcctl from ending.
    fn answer(&self) {
        for _ in 0..AT_A_TIME {
            let taken = match self {
                Listener::Connections(listener) => listener.accept().map(drop),
                Listener::Datagrams(socket) => answer_datagram(socket),
            };
            if taken.is_err() {
                return;
            }
        }
    }
}

/// Answers a probe's word, and nothing else.
fn answer_datagram(socket: &UdpSocket) -> io::Result<()> {
    let mut word = [0; WORD.len() + 1];
    let (length, sender) = socket.recv_from(&mut word)?;
    if &word[..length] == WORD
        && let Err(error) = socket.send_to(HEARD, sender)
    {
        tracing::debug!("{sender} gets no answer: {error}");
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    /// A socket here, and a free port that vpcctl is to listen on.
    fn spot() -> (UdpSocket, Spot) {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let port = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        (socket, Spot { place: Place::Host, address: Ipv4Addr::LOCALHOST, method: Method::Udp(port) })
    }

    fn target(spot: &Spot) -> SocketAddr {
        match spot.method {
            Method::Udp(port) => SocketAddr::from((spot.address, port)),
            _ => unreachable!("a port of UDP"),
        }
    }

    #[test]
    fn only_the_word_of_a_probe_is_answered_and_with_another() {
        let (socket, spot) = spot();
        let answers = listening(std::slice::from_ref(&spot), |ears| {
            assert_eq!(ears.at.get(&spot), Some(&Ear::Own));
            // What is no word of a probe comes first, so that its answer would too.
            for word in [HEARD, b"hello\n", &[0; 600], WORD] {
                socket.send_to(word, target(&spot)).unwrap();
            }
            let mut answer = [0; 600];
            let length = socket.recv(&mut answer).unwrap();
            answer[..length].to_vec()
        });
        assert_eq!(answers.unwrap(), HEARD);
        socket.set_nonblocking(true).unwrap();
        assert_eq!(socket.recv(&mut [0; 600]).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn who_sends_without_end_does_not_keep_it_from_ending() {
        let (socket, spot) = spot();
        let (done, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let flood = || {
                while !done.load(Ordering::Relaxed) {
                    let _ = socket.send_to(b"hello\n", target(&spot));
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            };
            scope.spawn(flood);
            scope.spawn(flood);
            let until = || while sent.load(Ordering::Relaxed) < 10 * AT_A_TIME {};
            listening(std::slice::from_ref(&spot), |_| until()).unwrap();
            done.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn where_it_cannot_listen_that_is_told() {
        let spot = Spot { place: Place::Host, address: Ipv4Addr::new(192, 0, 2, 1), method: Method::Tcp(80) };
        let ears = listening(std::slice::from_ref(&spot), Ears::clone).unwrap();
        assert_eq!(ears.at.get(&spot), Some(&Ear::Unknown));
        assert!(ears.deaf[0].starts_with("nobody listens on 192.0.2.1 (tcp/80) in "), "{:?}", ears.deaf);
    }
}
