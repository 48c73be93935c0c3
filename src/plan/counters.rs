//! How many packets each rule stopped: what `iptables-save -c` tells of rules that drop or reject, and what each is for. Pure.

use std::collections::BTreeMap;

use crate::model::kernel_names::CHAIN_PREFIX;
use crate::model::policy::{Action, Direction, Policy, Rule};
use crate::plan::rule::MARK;

/// A rule that stops packets: its table, its chain, what its comment says, and which one of those that say the same.
pub type Key = (String, String, String, usize);

/// The packets that each rule stopped so far.
pub type Counts = BTreeMap<Key, u64>;

/// The rules of ours that drop or reject, and built-in chains that drop what no rule accepts.
pub fn parse(saved: &str, built_in: bool) -> Counts {
    let mut counts = Counts::new();
    let mut table = "";
    for line in saved.lines() {
        let found = match line.as_bytes().first() {
            Some(b'*') => {
                table = &line[1..];
                None
            }
            Some(b':') if built_in => policy(line),
            Some(b'[') => rule(line),
            _ => None,
        };
        let Some((chain, purpose, packets)) = found else { continue };
        let key = |number| (table.to_owned(), chain.to_owned(), purpose.to_owned(), number);
        let number = (0..).find(|number| !counts.contains_key(&key(*number))).unwrap_or_default();
        counts.insert(key(number), packets);
    }
    counts
}

/// `[3:252] -A VPCCTL-INGRESS … --comment "vpcctl:0a1b2c3d ingress[0] deny" -j DROP`.
fn rule(line: &str) -> Option<(&str, &str, u64)> {
    let (counted, rule) = line.strip_prefix('[')?.split_once("] -A ")?;
    let chain = rule.split(' ').next().filter(|chain| chain.starts_with(CHAIN_PREFIX))?;
    let stops =
        rule.split_once(" -j ").is_some_and(|(_, target)| target.starts_with("DROP") || target.starts_with("REJECT"));
    let (_, comment) = rule.split_once("--comment \"")?;
    let (_, purpose) = comment.split_once('"')?.0.strip_prefix(MARK)?.split_once(' ')?;
    stops.then_some((chain, purpose, packets(counted)?))
}

/// `:FORWARD DROP [3:252]`.
fn policy(line: &str) -> Option<(&str, &str, u64)> {
    let (chain, rest) = line.strip_prefix(':')?.split_once(" DROP [")?;
    Some((chain, "no rule accepts it", packets(rest.trim_end_matches(']'))?))
}

/// Of `packets:bytes`.
fn packets(counted: &str) -> Option<u64> {
    counted.split(':').next()?.parse().ok()
}

/// How many more each rule stopped since an earlier look. One that was made anew in between began at zero.
pub fn since<'a>(before: &'a Counts, now: &'a Counts) -> impl Iterator<Item = (&'a Key, u64)> {
    now.iter().filter_map(|(key, count)| {
        let earlier = before.get(key).copied().unwrap_or(0);
        let more = if *count < earlier { *count } else { count - earlier };
        (more > 0).then_some((key, more))
    })
}

/// What a rule is for, and of a policy's rule what it says: `ingress[1] deny` is the second rule for incoming connections.
pub fn words(purpose: &str, policy: Option<&Policy>) -> String {
    let rule = policy.and_then(|policy| {
        let (direction, index) = purpose.split_once('[')?;
        let direction =
            [Direction::Ingress, Direction::Egress].into_iter().find(|known| known.as_str() == direction)?;
        policy.rules(direction).rules.get(index.split_once(']')?.0.parse::<usize>().ok()?)
    });
    rule.map_or_else(|| purpose.to_owned(), |rule| format!("{purpose}: {}", rule_words(rule)))
}

fn rule_words(rule: &Rule) -> String {
    let Rule { protocol, ports, action, peer, description } = rule;
    let ports = if ports.is_any() { String::new() } else { format!(" port {ports}") };
    let description = description.as_ref().map(|words| format!(" ({words})")).unwrap_or_default();
    let verb = if *action == Action::Reject { "reject" } else { "deny" };
    format!("{verb} {protocol}{ports}, {peer}{description}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAVED: &str = "# Generated\n*filter\n:INPUT DROP [5:300]\n:FORWARD ACCEPT [7:8]\n:VPCCTL-INGRESS - [0:0]\n\
        [3:252] -A VPCCTL-INGRESS -p tcp -m tcp --dport 22 -m comment --comment \"vpcctl:0a1b2c3d ingress[0] deny\" -j DROP\n\
        [9:756] -A VPCCTL-INGRESS -m comment --comment \"vpcctl:0a1b2c3e ingress[1] allow\" -j ACCEPT\n\
        [1:84] -A VPCCTL-INGRESS -m comment --comment \"vpcctl:0a1b2c3f ingress default deny\" -j REJECT --reject-with tcp-reset\n\
        [2:84] -A VPCCTL-INGRESS -m comment --comment \"vpcctl:0a1b2c3f ingress default deny\" -j REJECT\n\
        [4:84] -A ufw-deny -j DROP\nCOMMIT\n";

    fn key(chain: &str, purpose: &str, number: usize) -> Key {
        ("filter".into(), chain.into(), purpose.into(), number)
    }

    #[test]
    fn rules_that_stop_packets_are_counted_and_no_others() {
        let expected = [
            (key("VPCCTL-INGRESS", "ingress default deny", 0), 1),
            (key("VPCCTL-INGRESS", "ingress default deny", 1), 2),
            (key("VPCCTL-INGRESS", "ingress[0] deny", 0), 3),
        ];
        assert_eq!(parse(SAVED, false), Counts::from(expected.clone()));
        let mut with_policies = Counts::from(expected);
        with_policies.insert(key("INPUT", "no rule accepts it", 0), 5);
        assert_eq!(parse(SAVED, true), with_policies);
    }

    #[test]
    fn a_rule_made_anew_begins_at_zero() {
        let one = |count| Counts::from([(key("VPCCTL-INGRESS", "x", 0), count)]);
        let more = |before, now| since(&one(before), &one(now)).map(|(_, more)| more).collect::<Vec<_>>();
        assert_eq!((more(3, 3), more(3, 5), more(9, 2)), (vec![], vec![2], vec![2]));
        assert_eq!(since(&Counts::new(), &one(4)).count(), 1);
    }

    #[test]
    fn a_policys_rule_is_named_by_what_it_says() {
        let policy = crate::model::policy_file::parse(
            r#"{"ingress": [{"port": 80, "action": "allow"}, {"port": 22, "source": "10.0.0.0/8", "action": "deny", "description": "no ssh"}]}"#,
            "p.json",
        );
        let policy = policy.unwrap().remove(0).policy;
        assert_eq!(words("ingress[1] deny", Some(&policy)), "ingress[1] deny: deny tcp port 22, 10.0.0.0/8 (no ssh)");
        assert_eq!(words("ingress default deny", Some(&policy)), "ingress default deny");
        assert_eq!(words("ingress[9] deny", Some(&policy)), "ingress[9] deny");
        assert_eq!(words("a stolen address or MAC", None), "a stolen address or MAC");
    }
}
