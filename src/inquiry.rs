//! Whether one end reaches another, by the model and by a packet: what `reach` and `test` share.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::error::{Failure, Kind, Result};
use crate::host::ears::{self, Spot};
use crate::host::{facts, look, namespace, privilege, probe, rules, run};
use crate::model::cidr::Cidr;
use crate::model::edit::DEFAULT_POOL;
use crate::model::endpoint::Endpoint;
use crate::model::facts::{FirewallFacts, HostFacts};
use crate::model::kernel_names as names;
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::line::Place;
use crate::plan::probe::{Asked, Comparison, Ear, Method, Probe, Verdict, compare};
use crate::plan::subject::Subject;
use crate::plan::trace::cause::Cause;
use crate::plan::trace::fix::{Fix, opening};
use crate::plan::trace::net::Net;
use crate::plan::trace::{self, Answer, Model, Question, cause};
use crate::session::Session;

/// The state and the host, as they are now.
pub struct Ground {
    /// The state.
    pub state: State,
    /// What the host has of its own.
    pub host: Net,
    facts: HostFacts,
}

/// What is asked about one pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Who opens the connection.
    pub from: Endpoint,
    /// Who is to answer.
    pub to: Endpoint,
    /// What is sent.
    pub method: Method,
}

/// What came of one pair.
#[derive(Debug, Clone)]
pub struct Finding {
    /// The pair, with the sender as who it is.
    pub pair: Pair,
    /// What the model says.
    pub answer: Answer,
    /// Who is meant by the destination.
    pub target: Endpoint,
    /// Why it isn't open.
    pub cause: Option<Cause>,
    /// What together opens it, where that was asked for.
    pub fixes: Vec<Fix>,
    /// How the packet fared, where one was sent.
    pub wire: Option<Wire>,
}

/// How a packet fared.
#[derive(Debug, Clone, PartialEq)]
pub struct Wire {
    /// Who listened where it went.
    pub ear: Ear,
    /// What came of it.
    pub verdict: Verdict,
    /// Beside the model.
    pub comparison: Comparison,
}

/// The most packets that are sent in one go: for each, vpcctl may hold a socket that listens and one that sends, and a process may have
/// a thousand files.
pub const AT_ONCE: usize = 256;

/// How packets are sent.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// The address that stands for the internet.
    pub internet: Ipv4Addr,
    /// How long an answer may take; nothing where none is sent.
    pub patience: Option<Duration>,
    /// How long one from within this machine may take.
    pub inside: Duration,
}

impl Ground {
    /// Looks at the state and at the host.
    pub fn look(session: &Session<'_>) -> Result<Self> {
        let state = session.read()?;
        let seen = look::network().map_err(|error| {
            Failure::new(Kind::Host, format!("cannot look at the host's network: {}", error.reason))
        })?;
        let uplinks: BTreeSet<String> = state.vpcs.keys().map(|vpc| names::uplink_on_host(vpc).to_string()).collect();
        let facts = facts::from_seen(&seen, &state, FirewallFacts::default());
        let host = Net::of_host(&seen, &facts, &|device| uplinks.contains(device));
        Ok(Ground { state, host, facts })
    }

    /// What the model says of these pairs, at most [`AT_ONCE`] of them, and where asked for, how packets fare.
    pub fn find(
        &self,
        session: &Session<'_>,
        model: &Model<'_>,
        pairs: &[Pair],
        sending: Sending,
    ) -> Result<Vec<Finding>> {
        let findings: Result<Vec<Finding>> = pairs.iter().map(|pair| self.in_model(model, pair, sending)).collect();
        let mut findings = findings?;
        if let Some(patience) = sending.patience {
            self.send(session, &mut findings, sending, patience)?;
        }
        Ok(findings)
    }

    fn in_model(&self, model: &Model<'_>, pair: &Pair, sending: Sending) -> Result<Finding> {
        pair.from.check(&self.state)?;
        pair.to.check(&self.state)?;
        [&pair.from, &pair.to].into_iter().try_for_each(check_address)?;
        let from = model.sender(&pair.from)?;
        let pair = Pair { from, ..pair.clone() };
        let question = pair.question(sending.internet);
        let answer = model.ask(&question);
        let target = cause::intended(model, &question, &answer);
        let is_open = answer.verdict.is_reached();
        let cause = (!is_open).then(|| cause::cause(model, &question, &answer));
        Ok(Finding { pair, answer, target, cause, fixes: Vec::new(), wire: None })
    }

    /// Looks for what opens it: the model is made anew for each edit that is tried.
    pub fn look_for_fixes(&self, finding: &mut Finding, internet: Ipv4Addr) {
        if let Some(cause) = &finding.cause {
            let question = finding.pair.question(internet);
            finding.fixes = opening(&self.state, &self.host, &self.facts, &question, cause);
        }
    }

    /// Sends a packet for each pair that somebody can send for vpcctl.
    fn send(
        &self,
        session: &Session<'_>,
        findings: &mut [Finding],
        sending: Sending,
        patience: Duration,
    ) -> Result<()> {
        privilege::check_for("sending packets into")
            .map_err(|failure| failure.hint("run it with sudo, or ask the model alone: --no-probe"))?;
        let mut sent: Vec<&mut Finding> = findings.iter_mut().filter(|finding| finding.pair.can_send()).collect();
        if sent.iter().any(|finding| finding.pair.method == Method::Ping) {
            run::find("ping")?;
        }
        let probes: Vec<Probe> = sent.iter().map(|finding| self.probe(finding, sending, patience)).collect();
        let spots: Vec<Option<Spot>> = sent.iter().zip(&probes).map(|(finding, probe)| spot(finding, probe)).collect();
        probes.iter().filter_map(Probe::command_line).for_each(|line| session.ui.command(&line));
        let wanted: Vec<Spot> = spots.iter().flatten().cloned().collect();
        let heard = ears::listening(&wanted, |ears| (ears.clone(), probe::send_all(&probes, session.interrupted)));
        let (ears, verdicts) = heard.map_err(|error| {
            Failure::new(Kind::Host, format!("nobody can answer packets: {error}"))
                .hint("let the process have more files and threads, or ask the model alone: --no-probe")
        })?;
        if session.interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(Kind::Interrupted, "interrupted"));
        }
        if let Some(first) = ears.deaf.first() {
            let more = ears.deaf.len() - 1;
            let more = if more > 0 { format!(" (and at {more} more places)") } else { String::new() };
            session.ui.note(&format!("{first}{more}: a packet that gets there may be refused"));
        }
        for (((finding, probe), spot), verdict) in sent.iter_mut().zip(&probes).zip(spots).zip(verdicts) {
            if let Verdict::NotTried(why) = &verdict {
                return Err(not_tried(probe, why));
            }
            let ear = spot.and_then(|spot| ears.at.get(&spot).copied()).unwrap_or(Ear::Unknown);
            let comparison = compare(finding.answer.foretold(), finding.pair.method, ear, &verdict);
            finding.wire = Some(Wire { ear, verdict, comparison });
        }
        Ok(())
    }

    fn probe(&self, finding: &Finding, sending: Sending, patience: Duration) -> Probe {
        let Pair { from, to, method } = &finding.pair;
        // An address may be an instance's.
        let is_inside = matches!(finding.target, Endpoint::Instance(..) | Endpoint::Host);
        let patience = if is_inside { sending.inside } else { patience };
        let asked = Asked { method: *method, internet: sending.internet, patience, patience_inside: patience };
        Probe::new(&self.state, (from, to), &asked)
    }

    /// What on this host may have interfered with a packet.
    pub fn suspicion(&self, session: &Session<'_>, finding: &Finding) -> String {
        let ends = [&finding.pair.from, &finding.target];
        let vpcs: BTreeSet<_> = ends.into_iter().filter_map(Endpoint::vpc).cloned().collect();
        let owners = vpcs.iter().cloned().map(Owner::Vpc).chain([Owner::Host]).collect();
        let drift = match session.compare(&Subject::Of(owners)) {
            Ok(found) => found.differences.len(),
            Err(failure) => return format!("the kernel can't be compared with the state: {failure}"),
        };
        if drift > 0 {
            let objects = if drift == 1 { "1 object is" } else { &format!("{drift} objects are") };
            return format!("{objects} not as the state says: `vpcctl check` names what, `vpcctl repair` mends it");
        }
        if let trace::Verdict::Left(device) = &finding.answer.verdict {
            let wan_and_pool = device.parse().ok().zip(self.pool());
            let barrier = wan_and_pool.and_then(|(wan, pool)| facts::forward_rules().barrier(&wan, pool.network()));
            if let Some(barrier) = barrier {
                return format!("{barrier}: {}", barrier.remedy());
            }
            return format!(
                "the kernel has all that the state says: try the same from the host itself; what is beyond {device} may not \
                 answer"
            );
        }
        let foreign = ends.into_iter().find_map(|end| {
            let rule = rules::foreign(&place_of(end)?).into_iter().next()?;
            Some(format!("`{rule}` in {end} is not vpcctl's: `vpcctl exec {end} -- iptables -S` shows it"))
        });
        foreign.unwrap_or_else(|| {
            "the kernel has all that the state says: look for other software's rules on the host: `nft list ruleset`".into()
        })
    }

    fn pool(&self) -> Option<Cidr> {
        let pool = self.state.vpcs.values().find_map(|vpc| vpc.uplink).map(|uplink| uplink.pool);
        pool.or_else(|| DEFAULT_POOL.parse().ok())
    }
}

impl Pair {
    /// What the model is asked.
    pub fn question(&self, internet: Ipv4Addr) -> Question {
        let Pair { from, to, method } = self.clone();
        Question { from, to, traffic: method.traffic(), internet }
    }

    /// Can vpcctl send for the sender?
    pub fn can_send(&self) -> bool {
        matches!(self.from, Endpoint::Instance(..) | Endpoint::Host)
    }
}

/// Refuses an address that stands for several, or for nobody.
fn check_address(end: &Endpoint) -> Result<()> {
    match end {
        Endpoint::Address(found) if found.is_broadcast() || found.is_multicast() || found.is_unspecified() => {
            Err(Failure::usage(format!("`{found}` is not one machine's address"))
                .hint("name an instance, or the address of one"))
        }
        _ => Ok(()),
    }
}

/// Where somebody has to listen for the probe: in an instance.
fn spot(finding: &Finding, probe: &Probe) -> Option<Spot> {
    let place = place_of(&finding.target)?;
    Some(Spot { place, address: *probe.address.as_ref().ok()?, method: probe.method })
}

/// An instance's namespace.
fn place_of(end: &Endpoint) -> Option<Place> {
    let Endpoint::Instance(vpc, subnet, instance) = end else {
        return None;
    };
    Some(Place::Netns(names::instance(vpc, subnet, instance.as_ref())))
}

/// A probe that could not be sent.
pub fn not_tried(probe: &Probe, why: &str) -> Failure {
    let what = format!("cannot test whether {} reaches {}", probe.from, probe.to);
    match probe.place.netns() {
        Some(netns) if !namespace::is_alive(netns) => {
            Failure::new(Kind::Drift, format!("{what}: the namespace `{netns}` is gone"))
                .hint("repeat the command that made it, and it is mended")
        }
        _ => Failure::new(Kind::Host, format!("{what}: {why}")),
    }
}
