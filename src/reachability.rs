//! What `test-connectivity` prints: one answer, or the matrix of all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::endpoint::Endpoint;
use crate::plan::probe::{Asked, Probe, Reason, Verdict};
use crate::ui::table;
use crate::view::VERSION;

/// From this many instances on, a matrix would be too wide to read: rows then list what they reach.
const LIST_FROM: usize = 11;

/// The answer to one question.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Answer {
    version: u32,
    #[serde(flatten)]
    pair: Pair,
}

/// The answers for all instances.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Matrix {
    version: u32,
    how: String,
    internet: Ipv4Addr,
    reachable: usize,
    pairs: Vec<Pair>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Pair {
    from: String,
    to: String,
    address: Option<Ipv4Addr>,
    /// Nothing where it could not be tried.
    reachable: Option<bool>,
    how: String,
    /// Why not: `refused`, `prohibited`, `no answer`, `no route`, `not tried`.
    reason: Option<String>,
    detail: Option<String>,
    ms: Option<f64>,
    #[serde(skip)]
    to_vpc: String,
}

impl Pair {
    fn new(probe: &Probe, verdict: &Verdict) -> Pair {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let (reachable, reason, detail, ms) = match verdict {
            Verdict::Reached(time) => (Some(true), None, None, Some((time.as_secs_f64() * 1e6).round() / 1e3)),
            Verdict::Missed(reason, detail) => (Some(false), text(reason.as_str()), text(detail), None),
            Verdict::NotTried(why) => (None, text("not tried"), text(why), None),
        };
        let vpc = |end: &Endpoint| end.vpc().map(ToString::to_string).unwrap_or_default();
        Pair {
            from: probe.from.to_string(),
            to: probe.to.to_string(),
            address: probe.address.as_ref().ok().copied(),
            reachable,
            how: probe.method.describe(),
            reason,
            detail,
            ms,
            to_vpc: vpc(&probe.to),
        }
    }

    fn is_reached(&self) -> bool {
        self.reachable == Some(true)
    }

    /// One word for a cell of the matrix.
    fn word(&self) -> &'static str {
        match (self.reachable, self.reason.as_deref()) {
            (Some(true), _) => "yes",
            (None, _) => "?",
            (_, Some(reason)) if reason == Reason::NoAnswer.as_str() => "drop",
            (_, Some(reason)) if reason == Reason::NoRoute.as_str() => "none",
            _ => "no",
        }
    }
}

/// The answer to one question.
pub fn answer(probe: &Probe, verdict: &Verdict) -> Answer {
    Answer { version: VERSION, pair: Pair::new(probe, verdict) }
}

/// An answer for people.
pub fn answer_text(answer: &Answer) -> String {
    let pair = &answer.pair;
    let to = match pair.address {
        Some(address) if pair.to != address.to_string() => format!("{} ({address})", pair.to),
        _ => pair.to.clone(),
    };
    let (from, how) = (&pair.from, &pair.how);
    if pair.is_reached() {
        return format!("{from} reaches {to} by {how}: {} ms\n", pair.ms.unwrap_or_default());
    }
    let detail = pair.detail.as_ref().map(|detail| format!("; {detail}")).unwrap_or_default();
    format!("{from} does not reach {to} by {how}: {}{detail}\n", pair.reason.as_deref().unwrap_or_default())
}

/// The answers for all instances, in the order of the probes.
pub fn matrix(probes: &[Probe], verdicts: &[Verdict], asked: &Asked) -> Matrix {
    let pairs: Vec<Pair> = probes.iter().zip(verdicts).map(|(probe, verdict)| Pair::new(probe, verdict)).collect();
    Matrix {
        version: VERSION,
        how: asked.method.describe(),
        internet: asked.internet,
        reachable: pairs.iter().filter(|pair| pair.is_reached()).count(),
        pairs,
    }
}

/// The matrix for people.
pub fn matrix_text(matrix: &Matrix) -> String {
    if matrix.pairs.is_empty() {
        return "no instances; `vpcctl add-subnet` makes one\n".into();
    }
    let mut rows: Vec<&str> = matrix.pairs.iter().map(|pair| pair.from.as_str()).collect();
    rows.dedup();
    let body = if rows.len() < LIST_FROM { grid(matrix, &rows) } else { listing(matrix, &rows) };
    format!("{body}\n{}\n", summary(matrix))
}

/// Numbered columns, so that they are narrow.
fn grid(matrix: &Matrix, rows: &[&str]) -> String {
    let cells: BTreeMap<(&str, &str), &str> =
        matrix.pairs.iter().map(|pair| ((pair.from.as_str(), pair.to.as_str()), pair.word())).collect();
    let numbers: Vec<String> = (1..=rows.len()).map(|number| number.to_string()).collect();
    let headings = ["", "FROM / TO"].into_iter().chain(numbers.iter().map(String::as_str)).chain(["INTERNET"]);
    let headings: Vec<&str> = headings.collect();
    let lines = rows.iter().zip(&numbers).map(|(from, number)| {
        let columns = rows.iter().copied().chain(["internet"]);
        let row = columns.map(|to| cells.get(&(*from, to)).copied().unwrap_or("-").to_owned());
        [number.clone(), from.to_string()].into_iter().chain(row).collect()
    });
    let legend = "yes reached   no refused at once   drop no answer   none no route   ? not tried";
    format!("{}\n{legend}", table(&headings, lines))
}

/// What each instance reaches, VPC by VPC.
fn listing(matrix: &Matrix, rows: &[&str]) -> String {
    let lines = rows.iter().map(|from| {
        let of_row: Vec<&Pair> = matrix.pairs.iter().filter(|pair| pair.from == *from).collect();
        let (internet, others): (Vec<&Pair>, Vec<&Pair>) = of_row.into_iter().partition(|pair| pair.to == "internet");
        let reached = others.iter().filter(|pair| pair.is_reached()).count();
        let internet = internet.first().map_or("-", |pair| pair.word());
        vec![from.to_string(), format!("{reached} of {}", others.len()), internet.into(), reached_by_vpc(&others)]
    });
    table(&["FROM", "REACHES", "INTERNET", "WHICH"], lines)
}

/// `vpc1/*, vpc2/{app, db}`: all of a VPC that there is to reach, or which.
fn reached_by_vpc(pairs: &[&Pair]) -> String {
    let vpcs: BTreeSet<&str> = pairs.iter().map(|pair| pair.to_vpc.as_str()).collect();
    let parts = vpcs.into_iter().filter_map(|vpc| {
        let all: Vec<&&Pair> = pairs.iter().filter(|pair| pair.to_vpc == vpc).collect();
        let reached = all.iter().filter(|pair| pair.is_reached());
        let names: Vec<&str> = reached.map(|pair| pair.to[vpc.len()..].trim_start_matches('/')).collect();
        match &names[..] {
            [] => None,
            _ if names.len() == all.len() => Some(format!("{vpc}/*")),
            [name] => Some(format!("{vpc}/{name}")),
            _ => Some(format!("{vpc}/{{{}}}", names.join(", "))),
        }
    });
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "-".into() } else { parts.join(", ") }
}

fn summary(matrix: &Matrix) -> String {
    let count = |word: &str| matrix.pairs.iter().filter(|pair| pair.word() == word).count();
    let others = [("no", "refused"), ("drop", "without an answer"), ("none", "without a route"), ("?", "not tried")];
    let others = others.into_iter().map(|(word, text)| (count(word), text)).filter(|(count, _)| *count > 0);
    let others: Vec<String> = others.map(|(count, text)| format!("{count} {text}")).collect();
    let but = if others.is_empty() { String::new() } else { format!("; {}", others.join(", ")) };
    let Matrix { reachable, pairs, how, internet, .. } = matrix;
    format!("{reachable} of {} pairs reachable by {how}{but}; the internet is {internet}", pairs.len())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plan::line::Place;
    use crate::plan::probe::Method;

    const ASKED: Asked = Asked {
        method: Method::Ping,
        internet: Ipv4Addr::new(203, 0, 113, 10),
        patience: Duration::from_secs(2),
        patience_inside: Duration::from_millis(300),
    };

    /// A VPC `a` with so many subnets, and `b/x`: within `a` all is open, between them all is refused.
    fn two_vpcs(subnets: usize) -> Matrix {
        let ends: Vec<Endpoint> =
            (0..subnets).map(|i| format!("a/s{i:02}")).chain(["b/x".into()]).map(|end| end.parse().unwrap()).collect();
        let mut probes = Vec::new();
        for from in &ends {
            for to in ends.iter().filter(|to| *to != from).chain([&Endpoint::Internet]) {
                let address = Ok(ASKED.internet);
                let (from, to, place) = (from.clone(), to.clone(), Place::Host);
                probes.push(Probe { from, to, place, address, method: ASKED.method, patience: ASKED.patience });
            }
        }
        let verdict = |probe: &Probe| match (probe.from.vpc(), probe.to.vpc()) {
            (_, None) => Verdict::Missed(Reason::NoAnswer, String::new()),
            (a, b) if a == b => Verdict::Reached(Duration::from_micros(78)),
            _ => Verdict::Missed(Reason::Prohibited, "198.19.0.0 says: Packet filtered".into()),
        };
        let verdicts: Vec<Verdict> = probes.iter().map(verdict).collect();
        matrix(&probes, &verdicts, &ASKED)
    }

    fn plain(matrix: &Matrix) -> String {
        anstream::adapter::strip_str(&matrix_text(matrix)).to_string()
    }

    #[test]
    fn a_small_matrix_is_a_grid_with_numbered_columns() {
        insta::assert_snapshot!(plain(&two_vpcs(2)), @r"
           FROM / TO  1    2    3   INTERNET
        1  a/s00      -    yes  no  drop
        2  a/s01      yes  -    no  drop
        3  b/x        no   no   -   drop

        yes reached   no refused at once   drop no answer   none no route   ? not tried
        2 of 9 pairs reachable by ping; 4 refused, 3 without an answer; the internet is 203.0.113.10
        ");
    }

    #[test]
    fn a_large_matrix_lists_what_each_reaches() {
        let text = plain(&two_vpcs(40));
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "FROM   REACHES   INTERNET  WHICH");
        assert_eq!(lines[1], "a/s00  39 of 40  drop      a/*");
        assert_eq!(lines[41], "b/x    0 of 40   drop      -");
        assert!(lines.iter().all(|line| line.len() < 120), "{text}");
    }

    #[test]
    fn a_pair_says_why_not() {
        let matrix = serde_json::to_value(two_vpcs(1)).unwrap();
        let pair = &matrix["pairs"][0];
        assert_eq!((matrix["version"].as_u64(), pair["reachable"].as_bool()), (Some(1), Some(false)));
        assert_eq!((pair["from"].as_str(), pair["to"].as_str()), (Some("a/s00"), Some("b/x")));
        assert_eq!(pair["reason"], "prohibited");
        assert!(pair["ms"].is_null() && pair["how"] == "ping");
    }
}
