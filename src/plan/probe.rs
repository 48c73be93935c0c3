//! Which probe answers whether one end reaches another, and what its outcome says. Pure: the packets are sent by
//! [`crate::host::probe`].

use std::net::Ipv4Addr;
use std::time::Duration;

use crate::model::endpoint::Endpoint;
use crate::model::kernel_names as names;
use crate::model::name::VpcName;
use crate::model::policy::Traffic;
use crate::model::state::{HostAccess, State};
use crate::plan::batch::{Call, Program};
use crate::plan::line::Place;
use crate::plan::script;

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// An ICMP echo request.
    Ping,
    /// The opening of a TCP connection to this port.
    Tcp(u16),
    /// A datagram to this port: only who listens there answers it.
    Udp(u16),
}

impl Method {
    /// In words: `ping`, `tcp/80`.
    pub fn describe(self) -> String {
        match self {
            Method::Ping => "ping".into(),
            Method::Tcp(port) => format!("tcp/{port}"),
            Method::Udp(port) => format!("udp/{port}"),
        }
    }

    /// As rules see it.
    pub fn traffic(self) -> Traffic {
        match self {
            Method::Ping => Traffic::Icmp,
            Method::Tcp(port) => Traffic::Tcp(port),
            Method::Udp(port) => Traffic::Udp(port),
        }
    }
}

/// Who listens where a probe goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ear {
    /// vpcctl itself, for the time of the probe: what gets there is answered.
    Own,
    /// A program that had the port before.
    Program,
    /// Nobody knows.
    Unknown,
}

/// How a packet fared, beside what the model says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// As the model says.
    Agree,
    /// Otherwise.
    Disagree,
    /// What came, or didn't, says nothing, and why.
    Unclear(&'static str),
}

/// What the model says of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Foretold {
    /// It gets there, and its answer back.
    Open,
    /// It is stopped, and the sender is told so as by a port where nobody listens.
    Reset,
    /// It is stopped in another way.
    Stopped,
}

/// Compares how a packet fared with what the model says of it.
///
/// A refusal of the destination's own stack is an answer: the packet got there. Where somebody is known to listen, a refusal is
/// a firewall's; and where nobody is, it is one only if the model has a rule that refuses so.
pub fn compare(foretold: Foretold, method: Method, ear: Ear, verdict: &Verdict) -> Comparison {
    let refused = matches!(verdict, Verdict::Missed(Reason::Refused, _));
    let as_by_closed_port = refused && ear == Ear::Unknown && method != Method::Ping;
    match (foretold, verdict) {
        (_, Verdict::NotTried(_)) => Comparison::Unclear("it could not be tried"),
        (Foretold::Open, Verdict::Reached(_)) => Comparison::Agree,
        (_, Verdict::Reached(_)) => Comparison::Disagree,
        (Foretold::Open, _) if as_by_closed_port => Comparison::Agree,
        (Foretold::Open, Verdict::Missed(Reason::NoAnswer, _))
            if matches!(method, Method::Udp(_)) && ear != Ear::Own =>
        {
            Comparison::Unclear("a UDP service that is silent may have got it")
        }
        (Foretold::Open, _) => Comparison::Disagree,
        (Foretold::Stopped, _) if as_by_closed_port => Comparison::Disagree,
        (Foretold::Reset | Foretold::Stopped, _) => Comparison::Agree,
    }
}

/// One question: does `from` reach `to`?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// Who asks.
    pub from: Endpoint,
    /// Who is asked.
    pub to: Endpoint,
    /// Where the packet is sent.
    pub place: Place,
    /// Where it is sent to; or why no address there leads to `to`.
    pub address: Result<Ipv4Addr, String>,
    /// What is sent.
    pub method: Method,
    /// How long an answer may take.
    pub patience: Duration,
}

/// What came of a probe.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// An answer came, after this time.
    Reached(Duration),
    /// None came, and why, with what else is known.
    Missed(Reason, String),
    /// It could not be tried.
    NotTried(String),
}

/// Why there was no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A reset, or an ICMP error about the port.
    Refused,
    /// An ICMP error that says that it is not allowed.
    Prohibited,
    /// Silence.
    NoAnswer,
    /// No way leads there.
    NoRoute,
}

impl Reason {
    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Refused => "refused",
            Reason::Prohibited => "prohibited",
            Reason::NoAnswer => "no answer",
            Reason::NoRoute => "no route",
        }
    }
}

impl Probe {
    /// The probe from one end to the other. Whoever sends is an instance or the host.
    pub fn new(state: &State, ends: (&Endpoint, &Endpoint), asked: &Asked) -> Probe {
        let (from, to) = ends;
        let place = match from {
            Endpoint::Instance(vpc, subnet, instance) => Place::Netns(names::instance(vpc, subnet, instance.as_ref())),
            _ => Place::Host,
        };
        Probe {
            from: from.clone(),
            to: to.clone(),
            place,
            address: address(state, from, to, asked.internet),
            method: asked.method,
            patience: if leaves_host(to) { asked.patience } else { asked.patience_inside },
        }
    }

    /// The probe as a shell line; none where nothing is sent.
    pub fn command_line(&self) -> Option<String> {
        let address = *self.address.as_ref().ok()?;
        Some(match self.method {
            Method::Ping => script::command_line(&self.ping(address)),
            Method::Tcp(port) => {
                let enter = self.place.netns().map(|netns| format!("ip netns exec {netns} ")).unwrap_or_default();
                // `nc` takes whole seconds.
                format!("{enter}nc -z -w {} {address} {port}", self.patience.as_secs_f64().ceil())
            }
            Method::Udp(port) => {
                let enter = self.place.netns().map(|netns| format!("ip netns exec {netns} ")).unwrap_or_default();
                format!("{enter}nc -u -w {} {address} {port}", self.patience.as_secs_f64().ceil())
            }
        })
    }

    /// The call of `ping`.
    pub fn ping(&self, address: Ipv4Addr) -> Call {
        let (patience, address) = (self.patience.as_secs_f64().to_string(), address.to_string());
        Call::plain(self.place.clone(), Program::Ping, &["-n", "-c", "1", "-W", &patience, &address])
    }
}

/// What all probes of a command have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What is sent.
    pub method: Method,
    /// The address that stands for the internet.
    pub internet: Ipv4Addr,
    /// How long an answer from beyond the host may take.
    pub patience: Duration,
    /// How long one from within it may take.
    pub patience_inside: Duration,
}

fn leaves_host(to: &Endpoint) -> bool {
    matches!(to, Endpoint::Internet | Endpoint::Address(_))
}

/// Where a packet for `to` is sent. VPCs may share addresses: where the sender's routes lead to somebody else, an answer would
/// say nothing about `to`.
pub(crate) fn address(state: &State, from: &Endpoint, to: &Endpoint, internet: Ipv4Addr) -> Result<Ipv4Addr, String> {
    match to {
        Endpoint::Address(address) => Ok(*address),
        Endpoint::Internet => Ok(internet),
        Endpoint::Host => {
            let Some(vpc) = from.vpc() else {
                return Ok(Ipv4Addr::LOCALHOST);
            };
            let uplink = state.vpcs.get(vpc).and_then(|found| found.uplink);
            uplink.map(|uplink| uplink.link.first()).ok_or_else(|| format!("{vpc} has no uplink to the host"))
        }
        Endpoint::Instance(vpc, subnet, instance) => {
            let subnet = state.subnet(vpc, subnet).map_err(|failure| failure.message)?;
            let found = subnet.all_instances().find(|(name, ..)| *name == instance.as_ref());
            let (_, address, _) = found.ok_or_else(|| format!("{to} does not exist"))?;
            match leads_to(state, from.vpc(), vpc, address) {
                None => Ok(address),
                Some(other) => Err(format!("there, {address} is an address of {other}")),
            }
        }
    }
}

/// Whom packets from `from` (or from the host) for an address of `to`'s go to instead of `to`.
fn leads_to(state: &State, from: Option<&VpcName>, to: &VpcName, address: Ipv4Addr) -> Option<String> {
    if from == Some(to) {
        return None;
    }
    let has = |vpc: &VpcName| state.vpcs.get(vpc).is_some_and(|found| found.cidr.contains(address));
    if let Some(own) = from {
        let peers: Vec<&VpcName> = state.peerings_of(own).map(|peering| peering.other(own)).collect();
        if peers.contains(&to) {
            return None;
        }
        let other = std::iter::once(own).chain(peers).find(|vpc| has(vpc));
        if let Some(other) = other {
            return Some(format!("VPC {other}"));
        }
    }
    match state.vpcs.get(to).map(|found| &found.host_access) {
        Some(HostAccess::Overlaps(what)) => Some(format!("the host's network ({what})")),
        _ => None,
    }
}

/// What `ping -n -c 1` printed, and its exit code, as a verdict.
pub fn read_ping(code: Option<i32>, stdout: &str, stderr: &str) -> Verdict {
    let time = || stdout.lines().find_map(|line| line.split_once(" time=")?.1.split(' ').next()?.parse::<f64>().ok());
    match code {
        Some(0) => Verdict::Reached(Duration::from_secs_f64(time().unwrap_or(0.0).max(0.0) / 1000.0)),
        Some(1) => stdout.lines().find_map(icmp_error).unwrap_or(Verdict::Missed(Reason::NoAnswer, String::new())),
        _ => local_error(stderr),
    }
}

/// `From 10.0.2.1 icmp_seq=1 Packet filtered`.
fn icmp_error(line: &str) -> Option<Verdict> {
    let (sender, rest) = line.strip_prefix("From ")?.split_once(" icmp_seq=")?;
    let (_, words) = rest.split_once(' ')?;
    let reason = match words {
        _ if words.contains("filtered") || words.contains("rohibited") => Reason::Prohibited,
        _ if words.contains("Port") || words.contains("Protocol") => Reason::Refused,
        _ => Reason::NoRoute,
    };
    Some(Verdict::Missed(reason, format!("{sender} says: {words}")))
}

/// What the sender's own kernel refuses to send. A route of the kind `prohibit` is to `ping` a broadcast address.
fn local_error(stderr: &str) -> Verdict {
    // It names itself first, as it was started: `/usr/bin/ping: connect: Network is unreachable`.
    let words = stderr.trim().split_once("ping: ").map_or(stderr.trim(), |(_, words)| words);
    let words = words.trim_start_matches("connect: ").to_owned();
    if ["Network is unreachable", "No route to host", "Invalid argument"].iter().any(|error| words.contains(error)) {
        return Verdict::Missed(Reason::NoRoute, words);
    }
    if ["Do you want to ping broadcast", "not permitted", "Permission denied"].iter().any(|error| words.contains(error))
    {
        return Verdict::Missed(Reason::Prohibited, "the sender's own kernel refuses".into());
    }
    Verdict::NotTried(if words.is_empty() { "ping ended without a word".into() } else { words })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_has_its_time() {
        let text =
            "PING 10.0.2.2 (10.0.2.2) 56(84) bytes of data.\n64 bytes from 10.0.2.2: icmp_seq=1 ttl=63 time=0.078 ms\n";
        assert_eq!(read_ping(Some(0), text, ""), Verdict::Reached(Duration::from_micros(78)));
    }

    #[test]
    fn a_reset_where_nobody_is_known_to_listen_is_what_an_open_way_to_a_closed_port_gives() {
        let refused = Verdict::Missed(Reason::Refused, String::new());
        let silent = Verdict::Missed(Reason::NoAnswer, String::new());
        let tcp = Method::Tcp(22);
        for (foretold, ear, verdict, expected) in [
            (Foretold::Open, Ear::Unknown, &refused, Comparison::Agree),
            (Foretold::Stopped, Ear::Unknown, &refused, Comparison::Disagree),
            (Foretold::Reset, Ear::Unknown, &refused, Comparison::Agree),
            (Foretold::Stopped, Ear::Unknown, &silent, Comparison::Agree),
            (Foretold::Open, Ear::Own, &refused, Comparison::Disagree),
            (Foretold::Stopped, Ear::Own, &refused, Comparison::Agree),
            (Foretold::Open, Ear::Unknown, &silent, Comparison::Disagree),
        ] {
            assert_eq!(compare(foretold, tcp, ear, verdict), expected, "{foretold:?}, {ear:?}, {verdict:?}");
        }
        // No stack answers a ping so.
        assert_eq!(compare(Foretold::Stopped, Method::Ping, Ear::Unknown, &refused), Comparison::Agree);
        assert_eq!(compare(Foretold::Open, Method::Ping, Ear::Unknown, &refused), Comparison::Disagree);
    }

    #[test]
    fn icmp_errors_are_told_from_silence() {
        let head = "PING 10.1.1.2 (10.1.1.2) 56(84) bytes of data.\n";
        for (words, reason) in [
            ("Packet filtered", Reason::Prohibited),
            ("Destination Host Prohibited", Reason::Prohibited),
            ("Destination Net Prohibited", Reason::Prohibited),
            ("Destination Port Unreachable", Reason::Refused),
            ("Destination Host Unreachable", Reason::NoRoute),
            ("Destination Net Unreachable", Reason::NoRoute),
            ("Time to live exceeded", Reason::NoRoute),
        ] {
            let text = format!("{head}From 10.0.1.1 icmp_seq=1 {words}\n");
            let expected = Verdict::Missed(reason, format!("10.0.1.1 says: {words}"));
            assert_eq!(read_ping(Some(1), &text, ""), expected);
        }
        let silence = format!("{head}\n--- 10.1.1.2 ping statistics ---\n1 packets transmitted, 0 received\n");
        assert_eq!(read_ping(Some(1), &silence, ""), Verdict::Missed(Reason::NoAnswer, String::new()));
    }

    #[test]
    fn what_the_senders_kernel_refuses_is_no_failure_of_the_probe() {
        let reason = |stderr: &str| match read_ping(Some(2), "", stderr) {
            Verdict::Missed(reason, _) => Some(reason),
            _ => None,
        };
        assert_eq!(reason("ping: connect: Network is unreachable\n"), Some(Reason::NoRoute));
        let expected = Verdict::Missed(Reason::NoRoute, "Network is unreachable".into());
        assert_eq!(read_ping(Some(2), "", "/usr/bin/ping: connect: Network is unreachable\n"), expected);
        assert_eq!(reason("ping: connect: No route to host\n"), Some(Reason::NoRoute));
        let prohibited = "ping: Do you want to ping broadcast? Then -b. If not, check your local firewall rules\n";
        assert_eq!(reason(prohibited), Some(Reason::Prohibited));
        assert_eq!(reason("ping: socket: Too many open files\n"), None);
        assert!(matches!(read_ping(None, "", ""), Verdict::NotTried(_)));
    }
}
