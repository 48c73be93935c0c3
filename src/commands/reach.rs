//! `vpcctl reach`.

use clap::{Args, ValueEnum};

use crate::commands::args::SendingArgs;
use crate::error::{Failure, Kind, Result};
use crate::inquiry::{Finding, Ground, Pair};
use crate::model::endpoint::Endpoint;
use crate::plan::probe::{self, Comparison, Method};
use crate::plan::trace::Model;
use crate::session::Session;
use crate::view::reach;

/// The exit code where it is not reachable: an answer, as 0 is.
const NOT_REACHABLE: u8 = 1;

/// Say why a packet passes or not, step by step
///
/// The packet and its answer walk through the very rules, routes and translations that the kernel has from vpcctl: what decides
/// at each place, and if it is stopped, by which rule of which policy or for want of what, and what would open it. Then a packet
/// is sent. Where nobody listens, vpcctl does, as long as that takes. The exit code is 0 if it is reachable, 1 if not, 10 if the
/// packet did not fare as the model says.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl reach vpc1/web vpc1/db --port 5432
  vpcctl reach vpc1/web vpc2/db/two
  vpcctl reach vpc1/private internet
  vpcctl reach host 10.0.1.2 --port 53 --protocol udp
  vpcctl reach internet vpc1/web --port 80 --no-probe -o json")]
pub struct Reach {
    /// Who opens the connection: an instance, an address, `internet`, `host`
    #[arg(value_name = "FROM")]
    from: Endpoint,
    /// Who is to answer
    #[arg(value_name = "TO")]
    to: Endpoint,
    /// The port
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// What is sent [default: tcp with a port, else icmp]
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<Protocol>,
    #[command(flatten)]
    sending: SendingArgs,
}

/// What is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Tcp,
    Udp,
    Icmp,
}

impl Reach {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<u8> {
        let pair = Pair { from: self.from.clone(), to: self.to.clone(), method: self.method()? };
        let ground = Ground::look(session)?;
        let sending = self.sending.get(session);
        let model = Model::new(&ground.state, &ground.host)?;
        let Some(mut finding) = ground.find(session, &model, &[pair], sending)?.pop() else {
            return Ok(NOT_REACHABLE);
        };
        ground.look_for_fixes(&mut finding, sending.internet);
        if sending.patience.is_some() && !finding.pair.can_send() {
            session.ui.note(&format!("nobody sends for `{}`: the model alone is asked", finding.pair.from));
        }
        session.ui.value(&reach::reach(&model, &finding, sending.internet), reach::reach_text)?;
        if finding.wire.as_ref().is_some_and(|wire| wire.comparison == Comparison::Disagree) {
            return Err(disagreement(session, &ground, &finding).into());
        }
        Ok(if finding.answer.verdict.is_reached() { 0 } else { NOT_REACHABLE })
    }

    fn method(&self) -> Result<Method> {
        match (self.protocol, self.port) {
            (Some(Protocol::Udp), Some(port)) => Ok(Method::Udp(port)),
            (None | Some(Protocol::Tcp), Some(port)) => Ok(Method::Tcp(port)),
            (None | Some(Protocol::Icmp), None) => Ok(Method::Ping),
            (Some(Protocol::Icmp), Some(_)) => {
                Err(Failure::usage("ICMP has no ports").hint("leave out --port or --protocol"))
            }
            (Some(Protocol::Tcp | Protocol::Udp), None) => {
                Err(Failure::usage("TCP and UDP need a port").hint("add --port PORT"))
            }
        }
    }
}

/// The packet didn't fare as the model says.
fn disagreement(session: &Session<'_>, ground: &Ground, finding: &Finding) -> Failure {
    let Pair { from, to, method } = &finding.pair;
    let how = method.describe();
    let is_answered = finding.wire.as_ref().is_some_and(|wire| matches!(wire.verdict, probe::Verdict::Reached(_)));
    let message = match (finding.answer.verdict.is_reached(), is_answered) {
        (true, _) => format!("`{from}` should reach `{to}` by {how}, and the packet or its answer was lost"),
        (false, true) => format!("`{from}` should not reach `{to}` by {how}, and the packet was answered"),
        (false, false) => {
            format!("`{from}` should not reach `{to}` by {how}, and was refused as by a port where nobody listens")
        }
    };
    Failure::new(Kind::Disagree, message).hint(ground.suspicion(session, finding))
}
