//! The readable rendering: a line, or a few, for each rule, in the order of the rules.

use super::{Line, Peer, Span};
use crate::model::cidr::Cidr;
use crate::model::policy::{Direction, Ports, Protocol, Rule, RuleList};

/// The most ports that one `multiport` takes; a range counts as two.
const MULTIPORT: usize = 15;

/// The lines of a direction, the default last.
pub(super) fn lines(direction: Direction, list: &RuleList) -> Vec<Line> {
    let rules = list.rules.iter().enumerate();
    let mut lines: Vec<_> = rules.flat_map(|(index, rule)| rule_lines(direction, index, rule)).collect();
    lines.push(Line {
        protocol: Protocol::All,
        ports: Vec::new(),
        peer: Peer::Cidr(Cidr::ANY),
        action: list.default,
        purpose: format!("{direction} default {}", list.default),
    });
    lines
}

fn rule_lines(direction: Direction, index: usize, rule: &Rule) -> Vec<Line> {
    let protocols: &[Protocol] = match (rule.protocol, &rule.ports) {
        (Protocol::All, Ports::Listed(_)) => &[Protocol::Tcp, Protocol::Udp],
        (Protocol::Tcp, _) => &[Protocol::Tcp],
        (Protocol::Udp, _) => &[Protocol::Udp],
        (Protocol::Icmp, _) => &[Protocol::Icmp],
        (Protocol::All, Ports::Any) => &[Protocol::All],
    };
    let line = |protocol, ports: &Vec<Span>| Line {
        protocol,
        ports: ports.clone(),
        peer: Peer::Cidr(rule.peer),
        action: rule.action,
        purpose: format!("{direction}[{index}] {}", rule.action),
    };
    let chunks = chunks(&rule.ports);
    protocols.iter().flat_map(|&protocol| chunks.iter().map(move |ports| line(protocol, ports))).collect()
}

/// The ports in lists that a rule can hold; one empty list for every port.
fn chunks(ports: &Ports) -> Vec<Vec<Span>> {
    let Ports::Listed(ranges) = ports else {
        return vec![Vec::new()];
    };
    let mut chunks: Vec<Vec<Span>> = Vec::new();
    let mut room = 0;
    for range in ranges {
        let span = (range.first(), range.last());
        let slots = if span.0 == span.1 { 1 } else { 2 };
        match chunks.last_mut() {
            Some(chunk) if slots <= room => {
                chunk.push(span);
                room -= slots;
            }
            _ => {
                chunks.push(vec![span]);
                room = MULTIPORT - slots;
            }
        }
    }
    chunks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::{Action, PortRange};

    #[test]
    fn a_list_of_ports_is_cut_where_multiport_is_full() {
        let ranges = (0..16).map(|n| PortRange::new(10 * n + 1, 10 * n + 1 + n % 2).unwrap()).collect();
        let chunks = chunks(&Ports::listed(ranges).unwrap());
        assert_eq!(chunks.iter().map(Vec::len).collect::<Vec<_>>(), [10, 6]);
        assert_eq!(chunks[0][..2], [(1, 1), (11, 12)]);
    }

    #[test]
    fn ports_with_every_protocol_are_those_of_tcp_and_udp() {
        let ports = Ports::listed(vec![PortRange::new(53, 53).unwrap()]).unwrap();
        let rule = Rule::new(Some(Protocol::All), ports, Action::Allow, Cidr::ANY).unwrap();
        let lines = lines(Direction::Ingress, &RuleList::new(vec![rule], None));
        let protocols: Vec<_> = lines.iter().map(|line| line.protocol).collect();
        assert_eq!(protocols, [Protocol::Tcp, Protocol::Udp, Protocol::All]);
        assert_eq!(lines[2].purpose, "ingress default deny");
    }
}
