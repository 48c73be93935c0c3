//! A small traffic generator: a server and a client, each a thread in a namespace of its own, over a bounded time.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, LinkNameSpaceType, move_into_link_name_space, sched_getaffinity, sched_setaffinity};

use super::stats::percentile;

/// The servers' port, which policies of the benchmark let in.
pub const PORT: u16 = 5001;

/// What one write or read of a stream moves at most, in bytes.
const BLOCK: usize = 128 * 1024;

/// The payload of a small packet, in bytes.
const SMALL: usize = 18;

/// How long a packet is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// From whom to whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The client's namespace.
    pub client: String,
    /// The server's.
    pub server: String,
    /// The address that the client sends to.
    pub address: Ipv4Addr,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// One TCP stream, in Gbit/s.
    Throughput,
    /// Small UDP packets that arrive, in thousands a second.
    Packets,
    /// The round trip of a small UDP packet, the median in microseconds.
    RoundTrip,
    /// The same, 99 of 100 are not above.
    RoundTrip99,
    /// TCP connections made and closed, in thousands a second.
    Connections,
}

impl Measure {
    /// Its name and its unit.
    pub fn words(self) -> (&'static str, &'static str) {
        match self {
            Measure::Throughput => ("TCP throughput", "Gbit/s"),
            Measure::Packets => ("packet rate, UDP", "kpps"),
            Measure::RoundTrip => ("round trip, median", "us"),
            Measure::RoundTrip99 => ("round trip, 99 %", "us"),
            Measure::Connections => ("new connections", "k/s"),
        }
    }

    /// Measures it for so long.
    pub fn take(self, path: &Path, time: Duration) -> Result<f64> {
        let figure = match self {
            Measure::Throughput => throughput(path, time),
            Measure::Packets => packets(path, time),
            Measure::RoundTrip => round_trips(path, time).map(|trips| percentile(&trips, 50.0)),
            Measure::RoundTrip99 => round_trips(path, time).map(|trips| percentile(&trips, 99.0)),
            Measure::Connections => connections(path, time),
        };
        figure
            .with_context(|| format!("{} from {} to {} at {}", self.words().0, path.client, path.server, path.address))
    }
}

/// Both ends at once: the server is there before the client begins, and ends when the client has.
fn both<S: Send, T: Send, U: Send>(
    path: &Path,
    open: impl FnOnce() -> Result<S> + Send,
    serve: impl FnOnce(S, &AtomicBool) -> Result<T> + Send,
    client: impl FnOnce() -> Result<U> + Send,
) -> Result<(T, U)> {
    let ended = AtomicBool::new(false);
    let (tell, ready) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| {
            let opened = enter(&path.server, End::Server).and_then(|()| open());
            let _ = tell.send(opened.is_ok());
            serve(opened?, &ended)
        });
        let sending = scope.spawn(move || {
            enter(&path.client, End::Client)?;
            if !ready.recv()? {
                bail!("the server doesn't listen");
            }
            client()
        });
        let sent = sending.join().map_err(|_| anyhow::anyhow!("the client panicked"))?;
        ended.store(true, Ordering::Relaxed);
        let served = serving.join().map_err(|_| anyhow::anyhow!("the server panicked"))?;
        let sent = sent?;
        Ok((served?, sent))
    })
}

/// One end of a path.
#[derive(Debug, Clone, Copy)]
enum End {
    Client,
    Server,
}

/// Moves this thread to its end, and to a processor of its own where there is more than one: where both ends happen to share one,
/// a figure says more of that than of the path.
fn enter(netns: &str, end: End) -> Result<()> {
    let allowed = sched_getaffinity(None)?;
    let mut processors = (0..CpuSet::MAX_CPU).filter(|processor| allowed.is_set(*processor));
    let chosen = match end {
        End::Client => processors.next(),
        End::Server => processors.next_back(),
    };
    let mut own = CpuSet::new();
    chosen.into_iter().for_each(|processor| own.set(processor));
    sched_setaffinity(None, &own)?;
    let file = File::open(format!("/run/netns/{netns}")).with_context(|| format!("no namespace {netns}"))?;
    Ok(move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))?)
}

fn address(path: &Path) -> SocketAddrV4 {
    SocketAddrV4::new(path.address, PORT)
}

fn listen(path: &Path) -> Result<TcpListener> {
    Ok(TcpListener::bind(address(path))?)
}

fn connect(path: &Path) -> Result<TcpStream> {
    Ok(TcpStream::connect_timeout(&address(path).into(), PATIENCE)?)
}

fn throughput(path: &Path, time: Duration) -> Result<f64> {
    let serve = |listener: TcpListener, ended: &AtomicBool| {
        let mut stream = accept(&listener, ended)?;
        let mut block = vec![0; BLOCK];
        let (started, mut bytes) = (Instant::now(), 0);
        loop {
            match stream.read(&mut block)? {
                0 => return Ok(bytes as f64 * 8.0 / started.elapsed().as_secs_f64() / 1e9),
                read => bytes += read,
            }
        }
    };
    let send = || {
        let mut stream = connect(path)?;
        let block = vec![0; BLOCK];
        let until = Instant::now() + time;
        while Instant::now() < until {
            stream.write_all(&block)?;
        }
        Ok(())
    };
    Ok(both(path, || listen(path), serve, send)?.0)
}

/// Waits for a client, as long as there may be one.
fn accept(listener: &TcpListener, ended: &AtomicBool) -> Result<TcpStream> {
    listener.set_nonblocking(true)?;
    while !ended.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::thread::sleep(Duration::from_micros(200)),
            Err(error) => return Err(error.into()),
        }
    }
    bail!("nobody came")
}

/// Bound to its address, which it answers from.
fn socket(path: &Path) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(address(path))?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    Ok(socket)
}

fn client_socket(path: &Path) -> Result<UdpSocket> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(address(path))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

fn packets(path: &Path, time: Duration) -> Result<f64> {
    let serve = |socket: UdpSocket, ended: &AtomicBool| {
        let mut block = [0; SMALL];
        let (mut started, mut last, mut count) = (None, Instant::now(), 0_u64);
        while !ended.load(Ordering::Relaxed) {
            if socket.recv(&mut block).is_ok() {
                started.get_or_insert_with(Instant::now);
                count += 1;
                if count.is_multiple_of(64) {
                    last = Instant::now();
                }
            }
        }
        let time = started.map_or(0.0, |started| (last - started).as_secs_f64());
        Ok(if time > 0.0 { count as f64 / time / 1e3 } else { 0.0 })
    };
    let send = || {
        let socket = client_socket(path)?;
        let until = Instant::now() + time;
        while Instant::now() < until {
            // What finds no room is lost, as on a wire.
            (0..64).for_each(|_| drop(socket.send(&[0; SMALL])));
        }
        Ok(())
    };
    Ok(both(path, || socket(path), serve, send)?.0)
}

/// Each round trip in microseconds.
fn round_trips(path: &Path, time: Duration) -> Result<Vec<f64>> {
    let serve = |socket: UdpSocket, ended: &AtomicBool| {
        let mut block = [0; SMALL];
        while !ended.load(Ordering::Relaxed) {
            if let Ok((length, from)) = socket.recv_from(&mut block) {
                socket.send_to(&block[..length], from)?;
            }
        }
        Ok(())
    };
    let send = || {
        let socket = client_socket(path)?;
        let (mut block, mut trips) = ([0; SMALL], Vec::new());
        let until = Instant::now() + time;
        while Instant::now() < until {
            let sent = Instant::now();
            socket.send(&block)?;
            socket.recv(&mut block)?;
            trips.push(sent.elapsed().as_secs_f64() * 1e6);
        }
        Ok(trips)
    };
    Ok(both(path, || socket(path), serve, send)?.1)
}

fn connections(path: &Path, time: Duration) -> Result<f64> {
    let serve = |listener: TcpListener, ended: &AtomicBool| {
        // The connection that ends the wait is the client's last.
        while !ended.load(Ordering::Relaxed) {
            let mut byte = [0];
            if let Ok(mut stream) = accept(&listener, ended) {
                while stream.read(&mut byte).is_ok_and(|read| read > 0) {}
            }
        }
        Ok(())
    };
    let send = || {
        let (started, mut count) = (Instant::now(), 0);
        while started.elapsed() < time {
            let stream = connect(path)?;
            // No socket stays in TIME_WAIT: there are only so many ports.
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
            count += 1;
        }
        Ok(f64::from(count) / started.elapsed().as_secs_f64() / 1e3)
    };
    Ok(both(path, || listen(path), serve, send)?.1)
}
