//! The rendering of long policies: a few lookups in sets, however many rules there are.
//!
//! The first rule that matches decides; in a kernel set of networks the longest prefix does. Both say the same once
//! the rules that an earlier one covers are left out: of two networks that share an address one holds the other, and
//! where the inner one comes later it is covered, else it is both first and longest. So for one protocol and port the
//! rules become networks with an action each, whatever their order. An action's set holds its networks, and as
//! `nomatch` the networks inside them that have another action.
//!
//! Ports are told apart in two tiers. Single ports and short ranges are entries of `hash:net,port` sets, asked first.
//! Large ranges and rules for every port are cut where one begins or ends, and each span has its `hash:net` sets. Where a
//! rule of the second tier comes before one of the first and lies inside it, its network goes into the first tier's
//! sets as an exception (`nomatch`). Where exceptions or spans would be too many, the rules go on in another segment,
//! asked after the first.

use std::collections::{BTreeMap, BTreeSet};

use super::nets::Nets;
use super::{Limits, Line, Peer, Span};
use crate::model::cidr::Cidr;
use crate::model::hash::stable_hash;
use crate::model::policy::{Action, Direction, Ports, Protocol, Rule, RuleList};
use crate::plan::rule::Set;

const ACTIONS: [Action; 3] = [Action::Allow, Action::Deny, Action::Reject];

const EVERY_PORT: Span = (0, u16::MAX);

/// A rule as one protocol sees it.
struct Part {
    index: usize,
    /// Ports of the first tier.
    single: Vec<u16>,
    /// Spans of the second tier.
    wide: Vec<Span>,
    peer: Cidr,
    action: Action,
}

/// Rules that are asked together.
struct Segment {
    /// For each port, the networks; without an action those that the second tier decides.
    single: BTreeMap<u16, Nets<Option<Action>>>,
    /// Spans that share no port, in order.
    wide: Vec<(Span, Nets<Option<Action>>)>,
    exceptions: usize,
    /// `ingress[0-99]`: the rules that are in here, for comments.
    name: String,
}

/// The lines of a direction, the default last, and their sets.
pub(super) fn lines(direction: Direction, list: &RuleList, limits: &Limits) -> (Vec<Line>, Vec<Set>) {
    let mut writer =
        Writer { direction, default: list.default, exceptions: limits.total, lines: Vec::new(), sets: Vec::new() };
    let is_plain = |rule: &Rule| rule.protocol == Protocol::All && rule.ports.is_any();
    let others = parts(Protocol::All, list, limits);
    if !list.rules.iter().all(is_plain) {
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Icmp] {
            writer.segments(protocol, &parts(protocol, list, limits), limits);
            // The last lines name no protocol: those that were asked above must not reach them.
            if !others.is_empty() {
                writer.default(protocol);
            }
        }
    }
    writer.segments(Protocol::All, &others, limits);
    writer.default(Protocol::All);
    (writer.lines, writer.sets)
}

/// How many ports the sets would list one by one, if all rules went into sets.
pub(super) fn ports_listed(list: &RuleList, limits: &Limits) -> usize {
    let listed = |rule: &Rule| match &rule.ports {
        Ports::Any => 0,
        Ports::Listed(ranges) => ranges.iter().map(|range| range.size()).filter(|&size| size <= limits.expand).sum(),
    };
    list.rules.iter().map(listed).sum()
}

/// The rules that a protocol meets. `All` stands for protocols without ports.
fn parts(protocol: Protocol, list: &RuleList, limits: &Limits) -> Vec<Part> {
    let has_ports = matches!(protocol, Protocol::Tcp | Protocol::Udp);
    let meets = |rule: &Rule| match rule.protocol {
        Protocol::All => has_ports || rule.ports.is_any(),
        named => named == protocol,
    };
    let part = |(index, rule): (usize, &Rule)| {
        let mut part = Part { index, single: vec![], wide: vec![], peer: rule.peer, action: rule.action };
        match &rule.ports {
            Ports::Listed(ranges) if has_ports => {
                for range in ranges {
                    match range.size() <= limits.expand {
                        true => part.single.extend(range.first()..=range.last()),
                        false => part.wide.push((range.first(), range.last())),
                    }
                }
            }
            _ => part.wide.push(EVERY_PORT),
        }
        part
    };
    list.rules.iter().enumerate().filter(|(_, rule)| meets(rule)).map(part).collect()
}

impl Segment {
    /// Takes as many of `parts` as go together with at most `exceptions`, and says how many these are: at least one.
    fn fill(direction: Direction, parts: &[Part], spans: &[Span], exceptions: usize) -> (Segment, usize) {
        let wide = spans.iter().map(|&span| (span, Nets::new())).collect();
        let mut segment = Segment { single: BTreeMap::new(), wide, exceptions: 0, name: String::new() };
        let mut taken = 0;
        for part in parts {
            if taken > 0 && segment.exceptions + segment.exceptions_for(part, exceptions) > exceptions {
                break;
            }
            segment.add(part);
            taken += 1;
        }
        segment.name = match &parts[..taken] {
            [first, .., last] => format!("{direction}[{}-{}]", first.index, last.index),
            [only] => format!("{direction}[{}]", only.index),
            [] => direction.to_string(),
        };
        (segment, taken)
    }

    /// The most exceptions that `part` would bring, counted up to a little over `enough`.
    fn exceptions_for(&self, part: &Part, enough: usize) -> usize {
        let mut count = 0;
        for &port in &part.single {
            count += span_of(&self.wide, port).map_or(0, |wide| wide.inside(part.peer).take(enough + 1).count());
            if count > enough {
                break;
            }
        }
        count
    }

    /// Adds a rule that comes after all that are here.
    fn add(&mut self, part: &Part) {
        for &port in &part.single {
            self.add_single(port, part);
        }
        for &(first, last) in &part.wide {
            let start = self.wide.partition_point(|(span, _)| span.0 < first);
            for (_, nets) in self.wide[start..].iter_mut().take_while(|(span, _)| span.1 <= last) {
                if nets.covering(part.peer).is_none() {
                    nets.insert(part.peer, Some(part.action));
                }
            }
        }
    }

    fn add_single(&mut self, port: u16, part: &Part) {
        let wide = span_of(&self.wide, port);
        let nets = self.single.entry(port).or_default();
        let decided = nets.covering(part.peer).is_some() || wide.is_some_and(|wide| wide.covering(part.peer).is_some());
        if decided {
            return;
        }
        // Earlier rules of the second tier inside this one, unless a still earlier one of the first decides there.
        let inner = wide.into_iter().flat_map(|wide| wide.inside(part.peer));
        let exceptions: Vec<Cidr> = inner.filter(|&inner| nets.covering(inner).is_none()).collect();
        self.exceptions += exceptions.len();
        exceptions.into_iter().for_each(|inner| nets.insert(inner, None));
        nets.insert(part.peer, Some(part.action));
    }
}

/// The networks of the span that holds `port`.
fn span_of(wide: &[(Span, Nets<Option<Action>>)], port: u16) -> Option<&Nets<Option<Action>>> {
    let after = wide.partition_point(|(span, _)| span.0 <= port);
    let (span, nets) = wide.get(after.checked_sub(1)?)?;
    (port <= span.1).then_some(nets)
}

/// The spans of the second tier, cut where one begins or ends, and how many of `parts` they are good for: those before
/// the one that brings more than `most` different spans.
fn cut(parts: &[Part], most: usize) -> (Vec<Span>, usize) {
    let mut spans = BTreeSet::new();
    let mut taken = 0;
    for part in parts {
        let mut with = spans.clone();
        with.extend(part.wide.iter().copied());
        if with.len() > most && taken > 0 {
            break;
        }
        spans = with;
        taken += 1;
    }
    let starts = spans.iter().flat_map(|&(first, last)| [u32::from(first), u32::from(last) + 1]);
    let starts: Vec<u32> = starts.collect::<BTreeSet<_>>().into_iter().collect();
    let narrow = |edge: u32| u16::try_from(edge).unwrap_or(u16::MAX);
    (starts.windows(2).map(|pair| (narrow(pair[0]), narrow(pair[1] - 1))).collect(), taken)
}

/// Collects the lines and the sets of a direction.
struct Writer {
    direction: Direction,
    default: Action,
    /// How many exceptions are still to be had.
    exceptions: usize,
    lines: Vec<Line>,
    sets: Vec<Set>,
}

impl Writer {
    fn segments(&mut self, protocol: Protocol, mut parts: &[Part], limits: &Limits) {
        // Rules of both tiers by turns are the worst case: k pairs bring k * k / 2 exceptions, so n rules in segments of
        // that size bring n * k / 4. This k uses up the total.
        let pairs = 4 * limits.total / parts.len().max(1);
        let each = (pairs.saturating_mul(pairs) / 2).min(limits.exceptions);
        while !parts.is_empty() {
            let (spans, most) = cut(parts, limits.spans);
            let (mut group, rest) = parts.split_at(most);
            parts = rest;
            while !group.is_empty() {
                let (segment, taken) = Segment::fill(self.direction, group, &spans, each.min(self.exceptions));
                self.exceptions = self.exceptions.saturating_sub(segment.exceptions);
                group = &group[taken..];
                self.segment(protocol, segment, group.is_empty() && parts.is_empty());
            }
        }
    }

    fn default(&mut self, protocol: Protocol) {
        let name = format!("{} default", self.direction);
        self.line(protocol, &[], Peer::Cidr(Cidr::ANY), self.default, &name);
    }

    fn segment(&mut self, protocol: Protocol, segment: Segment, is_last: bool) {
        let Segment { mut single, wide, name, .. } = segment;
        // What the default does anyway needs no line of its own where nothing stands between.
        let default = is_last.then_some(self.default);
        // By number: for a name, ipset reads /etc/protocols once per entry, and takes three times as long.
        let number = if protocol == Protocol::Udp { 17 } else { 6 };
        let ends_here = default.filter(|_| wide.iter().all(|(_, nets)| nets.is_empty()));
        single.values_mut().for_each(Nets::halve_any);
        for action in ACTIONS.into_iter().filter(|&action| Some(action) != ends_here) {
            let nets = single.iter().flat_map(|(&port, nets)| members(nets, action).map(move |entry| (port, entry)));
            let entries = nets.map(|(port, (net, flag))| format!("{net},{number}:{port}{flag}")).collect();
            if let Some(set) = self.set("hash:net,port", entries) {
                self.line(protocol, &[], Peer::NetsAndPorts(set), action, &name);
            }
        }
        for (span, nets) in wide {
            self.span(protocol, span, nets, default, &name);
        }
    }

    fn span(
        &mut self,
        protocol: Protocol,
        span: Span,
        mut nets: Nets<Option<Action>>,
        default: Option<Action>,
        name: &str,
    ) {
        let ports = if span == EVERY_PORT { vec![] } else { vec![span] };
        let everyone = nets.take_any().flatten();
        let rest = everyone.or(default);
        for action in ACTIONS.into_iter().filter(|&action| Some(action) != rest) {
            let entries = members(&nets, action).map(|(net, flag)| format!("{net}{flag}")).collect();
            if let Some(set) = self.set("hash:net", entries) {
                self.line(protocol, &ports, Peer::Nets(set), action, name);
            }
        }
        if let Some(action) = everyone.filter(|_| rest != default) {
            self.line(protocol, &ports, Peer::Cidr(Cidr::ANY), action, name);
        }
    }

    fn line(&mut self, protocol: Protocol, ports: &[Span], peer: Peer, action: Action, name: &str) {
        self.lines.push(Line { protocol, ports: ports.to_vec(), peer, action, purpose: format!("{name} {action}") });
    }

    /// The name of the set with these entries, which is made if it has any.
    fn set(&mut self, kind: &str, entries: Vec<String>) -> Option<String> {
        if entries.is_empty() {
            return None;
        }
        let size = entries.len();
        let kind = format!("{kind} family inet hashsize {} maxelem {size}", size.next_power_of_two().max(64));
        let content: Vec<&str> = std::iter::once(kind.as_str()).chain(entries.iter().map(String::as_str)).collect();
        let name = format!("vpcctl-{:016x}", stable_hash(&content));
        self.sets.push(Set { name: name.clone(), kind, entries });
        Some(name)
    }
}

/// The entries of an action's set: its networks, and what is inside them but isn't its own. What the nearest network
/// around says as well is left out.
fn members(nets: &Nets<Option<Action>>, action: Action) -> impl Iterator<Item = (Cidr, &'static str)> {
    nets.iter().filter_map(move |(net, own)| {
        let is_own = own == Some(action);
        let is_around = nets.around(net) == Some(Some(action));
        match (is_own, is_around) {
            (true, false) => Some((net, "")),
            (false, true) => Some((net, " nomatch")),
            _ => None,
        }
    })
}
