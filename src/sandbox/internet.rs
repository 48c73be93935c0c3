//! The process that answers in the sandbox's internet: HTTP on port 80, DNS on port 53. Ping is the kernel's.
//!
//! What clients can cost is bounded: for HTTP see [`web`]; for DNS a fixed number of threads each
//! serves one connection at a time, with a deadline and a limit on its size; further clients wait in the kernel's queue.

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use super::network::{GATEWAY, INTERNET};
use super::{READY, dns};
use crate::error::{Failure, Kind, Result};
use crate::web::{self, Asked};

const HTTP_PORT: u16 = 80;
const DNS_PORT: u16 = 53;
/// How many connections for DNS are served at a time.
const DNS_CLIENTS: usize = 4;
/// How long a connection may last.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest query that is read, in bytes; real ones have less than 300.
const QUERY_LIMIT: usize = 4096;

/// Listens on every address of this namespace, says so on standard output, and serves until it is killed.
pub fn serve() -> Result<Infallible> {
    let any = |port| SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port);
    let http = TcpListener::bind(any(HTTP_PORT)).map_err(|e| cannot_listen(any(HTTP_PORT), &e))?;
    let dns = TcpListener::bind(any(DNS_PORT)).map_err(|e| cannot_listen(any(DNS_PORT), &e))?;
    let resolvers = resolvers()?;
    announce().map_err(failed)?;
    thread::scope(|scope| {
        thread::Builder::new().spawn_scoped(scope, move || web::serve(http, greet))?;
        crew(scope, DNS_CLIENTS, &dns, serve_dns)?;
        answer_queries(&resolvers)
    })
    .map_err(failed)
}

/// One line that says who talks to whom, which shows NAT at work.
fn greet(request: Asked) -> String {
    format!("hello from the sandbox's internet, {}; you are {}\n", request.here.ip(), request.peer.ip())
}

/// One socket for each address. A single one for all of them would answer with the link's address as source, and no
/// resolver takes an answer from an address that it didn't ask.
fn resolvers() -> Result<Vec<UdpSocket>> {
    let addresses = (0..=u8::MAX).map(|host| Ipv4Addr::from(u32::from(INTERNET) + u32::from(host)));
    let bind = |address| {
        let place = SocketAddrV4::new(address, DNS_PORT);
        let socket = UdpSocket::bind(place).map_err(|e| cannot_listen(place, &e))?;
        socket.set_nonblocking(true).map_err(|e| cannot_listen(place, &e))?;
        Ok(socket)
    };
    addresses.chain([GATEWAY]).map(bind).collect()
}

fn announce() -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{READY}")?;
    stdout.flush()
}

/// Starts `size` threads that serve the listener's connections. What goes wrong with one connection is its own end.
fn crew<'scope>(
    scope: &'scope Scope<'scope, '_>,
    size: usize,
    listener: &'scope TcpListener,
    serve: fn(&mut Connection) -> io::Result<()>,
) -> io::Result<()> {
    for _ in 0..size {
        thread::Builder::new().spawn_scoped(scope, move || {
            for stream in listener.incoming().flatten() {
                let mut connection = Connection { stream, deadline: Instant::now() + PATIENCE };
                if let Err(error) = serve(&mut connection) {
                    tracing::debug!("a connection ended early: {error}");
                }
            }
        })?;
    }
    Ok(())
}

/// DNS over TCP: each message is preceded by its length (RFC 1035, 4.2.2).
fn serve_dns(connection: &mut Connection) -> io::Result<()> {
    loop {
        let mut length = [0; 2];
        connection.read_exact(&mut length)?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length)).min(QUERY_LIMIT)];
        connection.read_exact(&mut query)?;
        let Some(answer) = dns::answer(&query) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        connection.stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
}

/// Answers DNS over UDP on all sockets; returns only if the kernel refuses to wait.
fn answer_queries(sockets: &[UdpSocket]) -> io::Result<Infallible> {
    let mut waiting: Vec<PollFd> = sockets.iter().map(|socket| PollFd::new(socket, PollFlags::IN)).collect();
    loop {
        match poll(&mut waiting, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        for (socket, events) in sockets.iter().zip(&waiting) {
            if !events.revents().is_empty() {
                answer_query(socket);
            }
        }
    }
}

fn answer_query(socket: &UdpSocket) {
    let mut buffer = [0; QUERY_LIMIT];
    // An error here is an earlier client's: it had gone when its answer came.
    let Ok((length, client)) = socket.recv_from(&mut buffer) else { return };
    if let Some(answer) = dns::answer(&buffer[..length])
        && let Err(error) = socket.send_to(&answer, client)
    {
        tracing::debug!("no answer to {client}: {error}");
    }
}

/// A client's connection with the time by which it has to end.
struct Connection {
    stream: TcpStream,
    deadline: Instant,
}

impl Read for Connection {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(Some(left))?;
        self.stream.read(buffer)
    }
}

fn cannot_listen(place: SocketAddrV4, error: &io::Error) -> Failure {
    Failure::new(Kind::Host, format!("cannot listen on `{place}`: {error}"))
}

fn failed(error: io::Error) -> Failure {
    Failure::new(Kind::Host, format!("cannot serve the sandbox's internet: {error}"))
}
