//! Sends probes: pings by `ping`, TCP by the kernel's own `connect`, datagrams by a socket, many at once.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use rustix::io::Errno;

use crate::host::{namespace, pool, run};
use crate::plan::probe::{Method, Probe, Reason, Verdict, read_ping};

/// How many may be under way at once.
const AT_ONCE: usize = 32;

/// What a probe says, where it says anything.
pub const WORD: &[u8] = b"vpcctl reach\n";

/// What came of each probe, in their order. After a signal no further one is sent.
pub fn send_all(probes: &[Probe], interrupted: &AtomicBool) -> Vec<Verdict> {
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(vec![Verdict::NotTried("it was not its turn".into()); probes.len()]);
    let work = || {
        while let Some((i, probe)) = take(&next, probes).filter(|_| !interrupted.load(Ordering::Relaxed)) {
            let verdict = send(probe);
            verdicts.lock().unwrap_or_else(std::sync::PoisonError::into_inner)[i] = verdict;
        }
    };
    pool::run(AT_ONCE.min(probes.len()), &work);
    verdicts.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn take<'a>(next: &AtomicUsize, probes: &'a [Probe]) -> Option<(usize, &'a Probe)> {
    let i = next.fetch_add(1, Ordering::Relaxed);
    probes.get(i).map(|probe| (i, probe))
}

/// Sends a datagram and waits for an answer.
fn datagram(probe: &Probe, to: SocketAddr) -> Verdict {
    let started = Instant::now();
    let exchange = || -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect(to)?;
        socket.set_read_timeout(Some(probe.patience))?;
        socket.send(WORD)?;
        socket.recv(&mut [0; 512]).map(drop)
    };
    match exchange() {
        Ok(()) => Verdict::Reached(started.elapsed()),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Verdict::Missed(Reason::NoAnswer, String::new()),
        Err(error) => missed(&error),
    }
}

fn send(probe: &Probe) -> Verdict {
    let address = match &probe.address {
        Ok(address) => *address,
        Err(why) => return Verdict::Missed(Reason::NoRoute, why.clone()),
    };
    let sent = namespace::within(&probe.place, || match probe.method {
        Method::Ping => ping(probe, address),
        Method::Tcp(port) => connect(probe, SocketAddr::from((address, port))),
        Method::Udp(port) => datagram(probe, SocketAddr::from((address, port))),
    });
    sent.unwrap_or_else(|error| Verdict::NotTried(format!("namespace `{}`: {error}", probe.place)))
}

fn ping(probe: &Probe, address: Ipv4Addr) -> Verdict {
    match run::run(&probe.ping(address)) {
        Ok(output) => read_ping(output.code, &output.stdout, &output.stderr),
        Err(error) => Verdict::NotTried(error.reason),
    }
}

fn connect(probe: &Probe, to: SocketAddr) -> Verdict {
    let started = Instant::now();
    match TcpStream::connect_timeout(&to, probe.patience) {
        Ok(_) => Verdict::Reached(started.elapsed()),
        Err(error) => missed(&error),
    }
}

fn missed(error: &io::Error) -> Verdict {
    let says = |reason| Verdict::Missed(reason, String::new());
    match error.kind() {
        ErrorKind::TimedOut => says(Reason::NoAnswer),
        // Nobody but the sender of the reset knows which.
        ErrorKind::ConnectionRefused => {
            Verdict::Missed(Reason::Refused, "nobody listens on the port, or a firewall resets what it forbids".into())
        }
        ErrorKind::ConnectionReset => says(Reason::Refused),
        ErrorKind::PermissionDenied => Verdict::Missed(Reason::Prohibited, "the sender's own kernel refuses".into()),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Verdict::Missed(Reason::NoRoute, error.to_string())
        }
        _ if error.raw_os_error() == Some(Errno::INVAL.raw_os_error()) => says(Reason::NoRoute),
        _ => Verdict::NotTried(error.to_string()),
    }
}
