//! Whether a network is as a topology file expects it: each line, for each pair of instances that it stands for, by the model and by
//! packets.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::error::Result;
use crate::inquiry::{Finding, Ground, Pair, Sending};
use crate::model::endpoint::Endpoint;
use crate::model::policy::{Direction, Policy, Ports, Traffic};
use crate::model::state::State;
use crate::model::topology_file::{Expectation, Selection};
use crate::plan::probe::{Comparison, Method};
use crate::session::Session;

/// How long an answer may take that is not to come, in seconds: it doesn't leave the host, and there may be hundreds.
const SILENCE: Duration = Duration::from_millis(300);

/// For how many failures of a line it is looked for what would open them.
const EXPLAINED: usize = 5;

/// The most ports that are tried where everything is to be denied.
const MOST_PORTS: usize = 12;

/// A line of the file, and what came of it.
#[derive(Debug, Clone)]
pub struct Checked {
    /// The line.
    pub line: String,
    /// Is it to be allowed?
    pub allowed: bool,
    /// What is known of each pair and each kind of packet.
    pub findings: Vec<Finding>,
}

impl Checked {
    /// Those that are not as expected.
    pub fn failures(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| !self.holds(finding))
    }

    /// Is everything as expected?
    pub fn passed(&self) -> bool {
        self.failures().next().is_none()
    }

    /// Looks for what opens the first few that are to be open and aren't.
    fn explain(&mut self, ground: &Ground, internet: Ipv4Addr) {
        let is_closed = |finding: &&mut Finding| finding.cause.is_some();
        let closed = self.findings.iter_mut().filter(is_closed).take(if self.allowed { EXPLAINED } else { 0 });
        closed.for_each(|finding| ground.look_for_fixes(finding, internet));
    }

    /// Does the model say what is expected, and the packet nothing else?
    fn holds(&self, finding: &Finding) -> bool {
        let disagrees = finding.wire.as_ref().is_some_and(|wire| wire.comparison == Comparison::Disagree);
        finding.answer.verdict.is_reached() == self.allowed && !disagrees
    }
}

/// Checks every line.
pub fn check(
    session: &Session<'_>,
    ground: &Ground,
    lines: &[(&Expectation, [Selection; 2])],
    sending: Sending,
) -> Result<Vec<Checked>> {
    let pairs: Result<Vec<Vec<Pair>>> =
        lines.iter().map(|(line, [from, to])| pairs(&ground.state, line, from, to)).collect();
    let pairs = pairs?;
    let mut findings: Vec<Vec<Finding>> = vec![Vec::new(); lines.len()];
    for allowed in [true, false] {
        let of_kind = |at: &usize| lines[*at].0.allowed == allowed;
        let asked: Vec<(usize, Pair)> = (0..lines.len())
            .filter(of_kind)
            .flat_map(|at| pairs[at].iter().map(move |pair| (at, pair.clone())))
            .collect();
        let patience = sending.patience.map(|patience| if allowed { patience } else { patience.min(SILENCE) });
        let only: Vec<Pair> = asked.iter().map(|(_, pair)| pair.clone()).collect();
        let found = ground.find(session, &only, Sending { patience, ..sending })?;
        asked.into_iter().zip(found).for_each(|((at, _), finding)| findings[at].push(finding));
    }
    let lines = lines.iter().zip(findings);
    let checked = lines.map(|((line, _), findings)| {
        let mut checked = Checked { line: line.to_string(), allowed: line.allowed, findings };
        checked.explain(ground, sending.internet);
        checked
    });
    Ok(checked.collect())
}

/// Every two that a line stands for, and what is sent between them. Nobody is asked to reach itself.
fn pairs(state: &State, line: &Expectation, from: &Selection, to: &Selection) -> Result<Vec<Pair>> {
    let (senders, targets) = (from.endpoints(state)?, to.endpoints(state)?);
    let both = senders.iter().flat_map(|from| targets.iter().map(move |to| (from, to))).filter(|(from, to)| from != to);
    let pairs = both.flat_map(|(from, to)| {
        let pair = |method| Pair { from: from.clone(), to: to.clone(), method };
        methods(state, line, from, to).into_iter().map(pair).collect::<Vec<_>>()
    });
    Ok(pairs.collect())
}

/// What is sent. Where a line says of no port that nothing passes, that is a ping, and TCP and UDP to every port at which a policy on the
/// way begins to say something else, and to one that none names.
fn methods(state: &State, line: &Expectation, from: &Endpoint, to: &Endpoint) -> Vec<Method> {
    match line.traffic {
        Some(Traffic::Tcp(port)) => vec![Method::Tcp(port)],
        Some(Traffic::Udp(port)) => vec![Method::Udp(port)],
        _ if line.allowed => vec![Method::Ping],
        _ => {
            let ports = ports_named(state, from, to);
            let unnamed = (50_000..).find(|port| !ports.contains(port));
            let ports = ports.iter().copied().take(MOST_PORTS).chain(unnamed);
            let both = ports.flat_map(|port| [Method::Tcp(port), Method::Udp(port)]);
            std::iter::once(Method::Ping).chain(both).collect()
        }
    }
}

/// The first port of each range that the sender's egress or the target's ingress names.
fn ports_named(state: &State, from: &Endpoint, to: &Endpoint) -> BTreeSet<u16> {
    let sides = [(from, Direction::Egress), (to, Direction::Ingress)];
    let lists = sides.into_iter().filter_map(|(end, direction)| Some(policy_of(state, end)?.rules(direction)));
    let ranges = lists.flat_map(|list| &list.rules).flat_map(|rule| match &rule.ports {
        Ports::Any => &[],
        Ports::Listed(ranges) => ranges.as_slice(),
    });
    ranges.map(|range| range.first()).collect()
}

fn policy_of<'a>(state: &'a State, end: &Endpoint) -> Option<&'a Policy> {
    let Endpoint::Instance(vpc, subnet, name) = end else {
        return None;
    };
    let subnet = state.vpcs.get(vpc)?.subnets.get(subnet)?;
    subnet.all_instances().find(|(instance, ..)| *instance == name.as_ref())?.2
}
