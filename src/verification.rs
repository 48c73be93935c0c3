//! Whether a network is as a topology file expects it: each line, for each pair of instances that it stands for, by the model and by
//! packets.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::Result;
use crate::inquiry::{AT_ONCE, Finding, Ground, Pair, Sending};
use crate::model::endpoint::Endpoint;
use crate::model::policy::{Direction, Policy, Ports, Traffic};
use crate::model::state::State;
use crate::model::topology_file::{Expectation, Selection};
use crate::plan::probe::{Comparison, Method};
use crate::plan::trace::Model;
use crate::session::Session;

/// How long an answer may take that is not to come and would come from within this machine: there may be hundreds.
const SILENCE: Duration = Duration::from_millis(300);

/// For how many failures of a line it is looked for what would open them.
const EXPLAINED: usize = 5;

/// To the most ports of a pair that packets are sent where everything is to be denied. The model is asked for all.
const MOST_PORTS: usize = 12;

/// A line of the file, and what came of it.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// The line.
    pub line: String,
    /// Is it to be allowed?
    pub allowed: bool,
    /// How many pairs, each with each kind of packet, were asked for.
    pub checks: usize,
    /// How many packets were sent for them.
    pub packets: usize,
    /// How many packets said nothing.
    pub unclear: usize,
    /// How many packets were not sent, as there would be too many: there, the model alone was asked.
    pub unsent: usize,
    /// What is not as expected.
    pub failures: Vec<Finding>,
}

impl Checked {
    fn new(line: &Expectation) -> Self {
        Checked { line: line.to_string(), allowed: line.allowed, ..Checked::default() }
    }

    /// Is everything as expected? A line that stands for nobody says nothing, and so doesn't pass.
    pub fn passed(&self) -> bool {
        self.checks > 0 && self.failures.is_empty()
    }

    /// Counts what is as expected, and keeps what isn't.
    fn take(&mut self, finding: Finding) {
        self.checks += 1;
        let comparison = finding.wire.as_ref().map(|wire| &wire.comparison);
        self.packets += usize::from(comparison.is_some());
        self.unclear += usize::from(matches!(comparison, Some(Comparison::Unclear(_))));
        let disagrees = comparison == Some(&Comparison::Disagree);
        if finding.answer.verdict.is_reached() != self.allowed || disagrees {
            self.failures.push(finding);
        }
    }

    /// Looks for what opens the first few that are to be open and aren't.
    fn explain(&mut self, ground: &Ground, sending: Sending) {
        let is_closed = |finding: &&mut Finding| finding.cause.is_some();
        let closed = self.failures.iter_mut().filter(is_closed).take(if self.allowed { EXPLAINED } else { 0 });
        closed.for_each(|finding| ground.look_for_fixes(finding, sending.internet));
    }
}

/// One question of a line.
struct Check {
    /// The line's number.
    line: usize,
    pair: Pair,
    /// Is a packet sent, where any are?
    sends: bool,
}

/// Checks every line.
///
/// # Errors
/// A line names what is not there, or a packet can't be sent.
pub fn check(
    session: &Session<'_>,
    ground: &Ground,
    lines: &[(&Expectation, [Selection; 2])],
    sending: Sending,
) -> Result<Vec<Checked>> {
    let model = Model::new(&ground.state, &ground.host)?;
    let mut checked: Vec<Checked> = lines.iter().map(|(line, _)| Checked::new(line)).collect();
    for allowed in [true, false] {
        let of_kind = lines.iter().enumerate().filter(|(_, (line, _))| line.allowed == allowed);
        let checks: Result<Vec<Vec<Check>>> = of_kind.map(|(at, line)| checks(&ground.state, at, line)).collect();
        let (sent, unsent): (Vec<Check>, Vec<Check>) = checks?.into_iter().flatten().partition(|check| check.sends);
        let inside = if allowed { sending.inside } else { sending.inside.min(SILENCE) };
        let silent = Sending { patience: None, ..sending };
        for (checks, sending) in [(&sent, Sending { inside, ..sending }), (&unsent, silent)] {
            for batch in checks.chunks(AT_ONCE) {
                let pairs: Vec<Pair> = batch.iter().map(|check| check.pair.clone()).collect();
                let found = ground.find(session, &model, &pairs, sending)?;
                batch.iter().zip(found).for_each(|(check, finding)| checked[check.line].take(finding));
            }
        }
        if sending.patience.is_some() {
            unsent.iter().filter(|check| check.pair.can_send()).for_each(|check| checked[check.line].unsent += 1);
        }
    }
    checked.iter_mut().for_each(|line| line.explain(ground, sending));
    Ok(checked)
}

/// Every two that a line stands for, and what is sent between them. Nobody is asked to reach itself.
fn checks(state: &State, line: usize, (expectation, sides): &(&Expectation, [Selection; 2])) -> Result<Vec<Check>> {
    let [from, to] = sides;
    let (senders, targets) = (from.endpoints(state)?, to.endpoints(state)?);
    let both = senders.iter().flat_map(|from| targets.iter().map(move |to| (from, to))).filter(|(from, to)| from != to);
    let checks = both.flat_map(|(from, to)| {
        let check = |(method, sends)| Check { line, pair: Pair { from: from.clone(), to: to.clone(), method }, sends };
        methods(state, expectation, from, to).into_iter().map(check).collect::<Vec<_>>()
    });
    Ok(checks.collect())
}

/// What is asked, and whether a packet is sent for it. Where a line says of no port that nothing passes, that is a ping, and TCP and UDP
/// to one port of each range of ports of which the policies on the way say the same.
fn methods(state: &State, line: &Expectation, from: &Endpoint, to: &Endpoint) -> Vec<(Method, bool)> {
    match line.traffic {
        Some(Traffic::Tcp(port)) => vec![(Method::Tcp(port), true)],
        Some(Traffic::Udp(port)) => vec![(Method::Udp(port), true)],
        _ if line.allowed => vec![(Method::Ping, true)],
        _ => {
            let sides = [(from, Direction::Egress), (to, Direction::Ingress)];
            let lists = sides.into_iter().flat_map(|(end, direction)| {
                policies_of(state, end).into_iter().map(move |policy| policy.rules(direction))
            });
            let ports = boundaries(lists.flat_map(|list| &list.rules).map(|rule| &rule.ports));
            let both = ports.into_iter().enumerate().flat_map(|(at, port)| {
                let sends = at < MOST_PORTS;
                [(Method::Tcp(port), sends), (Method::Udp(port), sends)]
            });
            std::iter::once((Method::Ping, true)).chain(both).collect()
        }
    }
}

/// The ports at which what rules say may change, from the first port on: from one of them to the next, all fare alike.
fn boundaries<'a>(ports: impl Iterator<Item = &'a Ports>) -> BTreeSet<u16> {
    let ranges = ports.flat_map(|ports| match ports {
        Ports::Any => &[],
        Ports::Listed(ranges) => ranges.as_slice(),
    });
    let ends = ranges.flat_map(|range| [Some(range.first()), range.last().checked_add(1)]);
    ends.flatten().chain([1]).collect()
}

/// The policies of whoever is meant: an address may be that of several.
fn policies_of<'a>(state: &'a State, end: &Endpoint) -> Vec<&'a Policy> {
    let subnets =
        state.vpcs.iter().flat_map(|(vpc, found)| found.subnets.iter().map(move |(name, subnet)| (vpc, name, subnet)));
    let instances = subnets.flat_map(|(vpc, name, subnet)| subnet.all_instances().map(move |found| (vpc, name, found)));
    let meant = instances.filter(|(vpc, subnet, (instance, address, _))| match end {
        Endpoint::Address(meant) => meant == address,
        Endpoint::Instance(..) => *end == Endpoint::Instance((*vpc).clone(), (*subnet).clone(), instance.cloned()),
        Endpoint::Internet | Endpoint::Host => false,
    });
    meant.filter_map(|(.., (.., policy))| policy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &str) -> Policy {
        let list = format!(r#"{{"default": "allow", "rules": {rules}}}"#);
        serde_json::from_str(&format!(r#"{{"ingress": {list}, "egress": {list}}}"#)).unwrap()
    }

    fn asked(rules: &str) -> Vec<u16> {
        boundaries(policy(rules).ingress.rules.iter().map(|rule| &rule.ports)).into_iter().collect()
    }

    #[test]
    fn a_port_of_every_range_of_which_rules_say_the_same_is_asked_for() {
        assert_eq!(asked("[]"), [1]);
        // Below it, and above it.
        assert_eq!(asked(r#"[{"protocol": "tcp", "ports": ["1000-60000"], "action": "deny"}]"#), [1, 1000, 60001]);
        // Only in the middle it is open.
        let inner = r#"[{"protocol": "tcp", "ports": [7000], "action": "deny"}, {"protocol": "tcp", "ports": [7100], "action": "deny"},
            {"protocol": "tcp", "ports": ["7000-7100"], "action": "allow"}]"#;
        assert_eq!(asked(inner), [1, 7000, 7001, 7100, 7101]);
        assert_eq!(asked(r#"[{"protocol": "tcp", "ports": ["1-65534"], "action": "deny"}]"#), [1, 65535]);
        assert_eq!(asked(r#"[{"protocol": "udp", "ports": ["9-65535"], "action": "deny"}]"#), [1, 9]);
    }

    #[test]
    fn every_verdict_of_a_policy_is_that_of_a_port_that_is_asked_for() {
        let rules = r#"[{"protocol": "tcp", "ports": [22, "80-90"], "action": "reject"},
            {"protocol": "tcp", "ports": ["70-100"], "action": "allow"}, {"protocol": "tcp", "ports": ["95-65000"], "action": "deny"}]"#;
        let (policy, asked, remote) = (policy(rules), asked(rules), std::net::Ipv4Addr::new(10, 0, 0, 2));
        let says = |port| policy.verdict(Direction::Ingress, Traffic::Tcp(port), remote).action;
        for port in 1..=u16::MAX {
            let near = asked.iter().copied().filter(|asked| *asked <= port).max().unwrap();
            assert_eq!(says(port), says(near), "{port}, and {near} is asked for");
        }
    }

    #[test]
    fn a_line_that_stands_for_nobody_does_not_pass() {
        let line: Expectation = "dev -> prod deny".parse().unwrap();
        assert!(!Checked::new(&line).passed());
        assert!(Checked { checks: 1, ..Checked::new(&line) }.passed());
    }
}
