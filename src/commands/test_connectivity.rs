//! `vpcctl test-connectivity`.

use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Args, ValueEnum};

use crate::commands::args::one;
use crate::error::{Failure, Kind, Result};
use crate::host::{privilege, probe, run};
use crate::inquiry::not_tried;
use crate::model::endpoint::Endpoint;
use crate::model::name::{Name, VpcName};
use crate::model::state::State;
use crate::plan::probe::{Asked, Method, Probe, Verdict};
use crate::reachability;
use crate::session::Session;

/// How long a packet from instance to instance may take in a matrix: it doesn't leave the host, and hundreds may be dropped.
const PATIENCE_IN_MATRIX: Duration = Duration::from_millis(300);

/// Say who reaches whom, by sending packets
///
/// From an instance to another one, an address, the internet or the host. The exit code is 0 if it is reached and 1 if it
/// isn't. With --all it is a report on all instances, and the exit code is 0 whatever it says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl test-connectivity vpc1/public vpc1/private
  vpcctl test-connectivity vpc1/public 203.0.113.10 --port 80
  vpcctl test-connectivity vpc1/private internet
  vpcctl test-connectivity --vpc vpc1 --from-subnet public --to-subnet private
  vpcctl test-connectivity --all -o json")]
pub struct TestConnectivity {
    /// Who sends and who is to answer: instances, an address, `internet`, `host`. The exit code is 1 if they are not reached
    #[arg(value_names = ["FROM", "TO"], num_args = 0..=2)]
    words: Vec<Endpoint>,
    /// Who sends
    #[arg(long, value_name = "VPC/SUBNET[/INSTANCE]")]
    from: Option<Endpoint>,
    /// Who is to answer
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<Endpoint>,
    /// The VPC of the sender, or with --all the only one
    #[arg(long, value_name = "VPC")]
    vpc: Option<VpcName>,
    /// The sender's subnet
    #[arg(long, value_name = "SUBNET", requires = "vpc")]
    from_subnet: Option<Name>,
    /// The sender's name, beyond its subnet's first instance
    #[arg(long, value_name = "NAME", requires = "from_subnet")]
    from_instance: Option<Name>,
    /// The VPC of who is to answer [default: the sender's]
    #[arg(long, value_name = "VPC", requires = "to_subnet")]
    to_vpc: Option<VpcName>,
    /// The subnet of who is to answer
    #[arg(long, value_name = "SUBNET", requires = "vpc")]
    to_subnet: Option<Name>,
    /// The name of who is to answer, beyond its subnet's first instance
    #[arg(long, value_name = "NAME", requires = "to_subnet")]
    to_instance: Option<Name>,
    /// A report on all instances, to all others and to the internet; the exit code is 0 whatever it says
    #[arg(long, conflicts_with_all = ["words", "from", "to", "from_subnet", "to_subnet"])]
    all: bool,
    /// Open a TCP connection to this port, in place of a ping
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// What to send [default: tcp with a port, else icmp]
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,
    /// How many seconds to wait for an answer [default: 2; with --all 0.3 between instances]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    timeout: Option<Duration>,
    /// The address that stands for the internet
    #[arg(long, env = "VPCCTL_INTERNET", default_value = "1.1.1.1", value_name = "ADDRESS", hide_env_values = true)]
    internet: Ipv4Addr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Icmp,
    Tcp,
    #[value(hide = true)]
    Udp,
}

/// More than an hour is a mistake, and none at all is no chance.
pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    if !(0.01..=3600.0).contains(&seconds) {
        return Err("it has to be 0.01 to 3600 seconds".into());
    }
    Ok(Duration::from_secs_f64(seconds))
}

impl TestConnectivity {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<u8> {
        let asked = self.asked()?;
        let state = session.read()?;
        if self.all { self.matrix(session, &state, &asked) } else { self.single(session, &state, &asked) }
    }

    fn single(&self, session: &Session<'_>, state: &State, asked: &Asked) -> anyhow::Result<u8> {
        let (from, to) = self.ends()?;
        from.check(state)?;
        to.check(state)?;
        let probe = Probe::new(state, (&from, &to), asked);
        let Some(verdicts) = send(session, std::slice::from_ref(&probe), asked)? else {
            return Ok(0);
        };
        let Some(verdict) = verdicts.into_iter().next() else {
            return Ok(0);
        };
        if let Verdict::NotTried(why) = &verdict {
            return Err(not_tried(&probe, why).into());
        }
        session.ui.value(&reachability::answer(&probe, &verdict), reachability::answer_text)?;
        let reached = matches!(verdict, Verdict::Reached(_));
        Ok(if reached { 0 } else { Kind::Failed.exit_code() })
    }

    fn matrix(&self, session: &Session<'_>, state: &State, asked: &Asked) -> anyhow::Result<u8> {
        self.vpc.as_ref().map(|vpc| state.vpc(vpc)).transpose()?;
        let ends = Endpoint::instances(state, self.vpc.as_ref());
        let internet = [Endpoint::Internet];
        let pairs = ends.iter().flat_map(|from| {
            let others = ends.iter().filter(move |to| *to != from).chain(&internet);
            others.map(move |to| (from, to))
        });
        let probes: Vec<Probe> = pairs.map(|pair| Probe::new(state, pair, asked)).collect();
        let Some(verdicts) = send(session, &probes, asked)? else {
            return Ok(0);
        };
        session.ui.value(&reachability::matrix(&probes, &verdicts, asked), reachability::matrix_text)?;
        let failed = probes.iter().zip(&verdicts).find_map(|(probe, verdict)| match verdict {
            Verdict::NotTried(why) => Some(not_tried(probe, why)),
            _ => None,
        });
        failed.map_or(Ok(0), |failure| Err(failure.into()))
    }

    fn asked(&self) -> Result<Asked> {
        let method = match (self.protocol, self.port) {
            (Some(Protocol::Udp), _) => {
                return Err(Failure::usage("UDP can't be tested from one side: silence says nothing")
                    .hint("test the program itself, such as a query with `vpcctl exec … -- dig`"));
            }
            (Some(Protocol::Icmp), Some(_)) => {
                return Err(Failure::usage("ICMP has no ports").hint("leave out --port or --protocol"));
            }
            (Some(Protocol::Tcp), None) => {
                return Err(Failure::usage("TCP needs a port").hint("add --port PORT"));
            }
            (_, Some(port)) => Method::Tcp(port),
            (_, None) => Method::Ping,
        };
        let patience = self.timeout.unwrap_or(Duration::from_secs(2));
        let inside = if self.all { PATIENCE_IN_MATRIX } else { patience };
        Ok(Asked { method, internet: self.internet, patience, patience_inside: self.timeout.unwrap_or(inside) })
    }

    fn ends(&self) -> Result<(Endpoint, Endpoint)> {
        let path = |subnet: &Option<Name>, vpc: &Option<VpcName>, instance: &Option<Name>| {
            let (vpc, subnet) = (vpc.clone()?, subnet.clone()?);
            Some(Endpoint::Instance(vpc, subnet, instance.clone()))
        };
        let by_pieces = path(&self.from_subnet, &self.vpc, &self.from_instance);
        let mut words = self.words.iter().cloned();
        // With the sender given by flags, a single word is who is to answer.
        let sender_by_flag = by_pieces.is_some() || self.from.is_some();
        let from_word = if sender_by_flag && self.words.len() == 1 { None } else { words.next() };
        let from_flag = either("sender", by_pieces, self.from.clone())?;
        let from = one("sender", from_word, from_flag)?;
        if matches!(from, Endpoint::Address(_) | Endpoint::Internet) {
            return Err(Failure::usage(format!("`{from}` can't send for vpcctl"))
                .hint("the sender is an instance, vpc/subnet or vpc/subnet/instance, or `host`"));
        }
        let to_vpc = self.to_vpc.clone().or(self.vpc.clone());
        let to_flag = either("target", path(&self.to_subnet, &to_vpc, &self.to_instance), self.to.clone())?;
        Ok((from, one("target", words.next(), to_flag)?))
    }
}

/// The one of two flags' values that is given.
fn either(what: &str, one_flag: Option<Endpoint>, other: Option<Endpoint>) -> Result<Option<Endpoint>> {
    if one_flag.is_none() && other.is_none() { Ok(None) } else { one(what, one_flag, other).map(Some) }
}

/// Sends the probes, or prints them where that is what was asked for.
fn send(session: &Session<'_>, probes: &[Probe], asked: &Asked) -> anyhow::Result<Option<Vec<Verdict>>> {
    let lines: Vec<String> = probes.iter().filter_map(Probe::command_line).collect();
    if session.dry_run {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        session.ui.data(&text)?;
        return Ok(None);
    }
    privilege::check()?;
    if asked.method == Method::Ping {
        run::find("ping")?;
    }
    lines.iter().for_each(|line| session.ui.command(line));
    session.ui.log_to(&session.store.log_path());
    let verdicts = probe::send_all(probes, session.interrupted);
    if session.interrupted.load(Ordering::Relaxed) {
        return Err(Failure::new(Kind::Interrupted, "interrupted").into());
    }
    Ok(Some(verdicts))
}
