//! What `reach` prints: the way step by step, what stops it, what opens it, and how a packet fared.

use std::fmt::Write;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::inquiry::{Finding, Wire};
use crate::model::state::State;
use crate::plan::probe::{self, Comparison, Ear};
use crate::plan::trace::cause::{PolicyRule, Role, policy_rule};
use crate::plan::trace::walk::{Stage, Step as TraceStep, Stop};
use crate::plan::trace::{Model, Verdict};
use crate::ui::{style, table};
use crate::view::VERSION;

/// What `reach` prints.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Reach {
    version: u32,
    from: String,
    to: String,
    /// `ping`, `tcp/80`, `udp/53`.
    how: String,
    source: Option<Ipv4Addr>,
    address: Option<Ipv4Addr>,
    /// Does it get there and the answer back, in the model?
    reachable: bool,
    /// The interface of the host by which it leaves the machine; what is beyond it the model doesn't know.
    leaves_by: Option<String>,
    /// The decisions on the way there.
    forth: Vec<Step>,
    /// The decisions on the answer's way.
    back: Vec<Step>,
    stopped: Option<Stopped>,
    packet: Option<Packet>,
    /// Did the packet fare as the model says? Nothing where it can't be told.
    agree: Option<bool>,
}

/// A decision on the way.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Step {
    /// `host`, `router of VPC`, or an instance's path.
    place: String,
    /// The namespace; nothing for the host.
    namespace: Option<String>,
    decides: &'static str,
    passes: bool,
    why: String,
    rule: Option<Rule>,
    policy: Option<PolicyLine>,
}

/// A rule in the kernel.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Rule {
    table: &'static str,
    chain: String,
    number: usize,
    /// What stands after `-A CHAIN`.
    text: String,
}

/// A rule of a policy.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct PolicyLine {
    /// The subnet or instance whose policy it is.
    of: String,
    /// The file that it was read from, as it was named then.
    file: Option<String>,
    /// `ingress` or `egress`.
    direction: String,
    /// Its number in the list, from 0; nothing for the default.
    number: Option<usize>,
    says: String,
}

/// What stops it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Stopped {
    /// Where; nothing where no packet can be sent.
    place: Option<String>,
    decides: Option<&'static str>,
    /// Is it the answer that is stopped?
    answer: bool,
    /// What is done with it: `dropped`, `rejected with tcp-reset`, `no route`, …
    how: String,
    why: String,
    /// What together opens it; nothing where no command does.
    open: Vec<String>,
}

/// How a packet fared.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Packet {
    reached: bool,
    /// Why not: `refused`, `prohibited`, `no answer`, `no route`.
    reason: Option<String>,
    detail: Option<String>,
    ms: Option<f64>,
    /// Who listens there: `vpcctl`, for the time of the probe; `a program`; `unknown`.
    listener: &'static str,
}

/// What is known of one pair.
pub fn reach(model: &Model<'_>, finding: &Finding, internet: Ipv4Addr) -> Reach {
    let Finding { pair, answer, wire, .. } = finding;
    let question = pair.question(internet);
    let steps = |steps: &[TraceStep]| -> Vec<Step> {
        steps.iter().map(|step| line(model.state, step, policy_rule(model, &question, answer, step))).collect()
    };
    Reach {
        version: VERSION,
        from: pair.from.to_string(),
        to: pair.to.to_string(),
        how: pair.method.describe(),
        source: answer.src,
        address: answer.dst,
        reachable: answer.verdict.is_reached(),
        leaves_by: match &answer.verdict {
            Verdict::Left(device) => Some(device.clone()),
            _ => None,
        },
        forth: steps(&answer.forth),
        back: steps(&answer.back),
        stopped: stopped(model.state, finding),
        packet: wire.as_ref().map(packet),
        agree: wire.as_ref().and_then(|wire| match wire.comparison {
            Comparison::Agree => Some(true),
            Comparison::Disagree => Some(false),
            Comparison::Unclear(_) => None,
        }),
    }
}

fn line(state: &State, step: &TraceStep, policy: Option<PolicyRule>) -> Step {
    let role = Role::of(state, &step.place);
    let is_bare = matches!(role, Role::Instance(..)) && step.rule.is_none() && step.stop.is_none();
    let why = match &policy {
        Some(rule) => rule.to_string(),
        None if is_bare && matches!(step.stage, Stage::Output | Stage::Input) => "it has no policy".into(),
        None => step.detail.clone(),
    };
    let rule = step.rule.as_ref().map(|rule| Rule {
        table: rule.table.as_str(),
        chain: rule.chain.clone(),
        number: rule.number,
        text: rule.text.clone(),
    });
    let policy = policy.map(|found| PolicyLine {
        of: found.scope.owner().to_string(),
        file: found.file,
        direction: found.direction.to_string(),
        number: found.number,
        says: found.says,
    });
    Step {
        place: role.to_string(),
        namespace: step.place.netns().map(ToString::to_string),
        decides: decides(&role, step),
        passes: step.stop.is_none(),
        why,
        rule,
        policy,
    }
}

/// What decides there, in the words of who runs the network.
fn decides(role: &Role, step: &TraceStep) -> &'static str {
    let chain = step.rule.as_ref().map(|rule| rule.chain.as_str()).unwrap_or_default();
    match (step.stage, role) {
        (Stage::Output, Role::Instance(..)) => "egress policy",
        (Stage::Input, Role::Instance(..)) => "ingress policy",
        (Stage::Output, _) => "rules for what it sends",
        (Stage::Input, Role::Host) => "host rules",
        (Stage::Input, _) => "router's own rules",
        (Stage::Route, _) => "route",
        (Stage::Port | Stage::Guard, _) => "bridge guard",
        (Stage::Forward, _) if chain == crate::plan::firewall::PEERING => "peering",
        (Stage::Forward, Role::Host) => "host rules",
        (Stage::Forward, _) => "forward rules",
        (Stage::Nat, _) => "NAT",
        (Stage::Link, _) => "link",
    }
}

fn stopped(state: &State, finding: &Finding) -> Option<Stopped> {
    let cause = finding.cause.as_ref()?;
    let step = finding.answer.stopped_at();
    let role = step.map(|step| Role::of(state, &step.place));
    Some(Stopped {
        place: role.as_ref().map(ToString::to_string),
        decides: step.zip(role.as_ref()).map(|(step, role)| decides(role, step)),
        answer: finding.answer.stopped_back(),
        how: match (&finding.answer.verdict, step.and_then(|step| step.stop.as_ref())) {
            (Verdict::Misled(where_to), _) => where_to.clone(),
            (_, Some(stop)) => how(stop),
            (_, None) => "nothing is sent".into(),
        },
        why: cause.why.clone(),
        open: finding.fixes.iter().map(ToString::to_string).collect(),
    })
}

fn how(stop: &Stop) -> String {
    match stop {
        Stop::Dropped => "dropped".into(),
        Stop::Rejected(answer) => format!("rejected with {answer}"),
        Stop::NotAccepted => "dropped: no rule accepts it".into(),
        Stop::NoRoute => "no route".into(),
        Stop::Refused(how) => format!("refused by a route: {how}"),
        Stop::NoForwarding => "not forwarded".into(),
        Stop::Martian => "dropped: a source of the place's own".into(),
        Stop::Locked => "dropped: a stolen address".into(),
        Stop::NoNeighbour => "no such neighbour".into(),
        Stop::NoLink => "no link".into(),
        Stop::Endless => "it goes round in circles".into(),
    }
}

fn packet(wire: &Wire) -> Packet {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let (reached, reason, detail, ms) = match &wire.verdict {
        probe::Verdict::Reached(time) => (true, None, None, Some((time.as_secs_f64() * 1e6).round() / 1e3)),
        probe::Verdict::Missed(reason, detail) => (false, text(reason.as_str()), text(detail), None),
        probe::Verdict::NotTried(why) => (false, text("not tried"), text(why), None),
    };
    let detail = match &wire.comparison {
        Comparison::Unclear(why) => text(why),
        _ if reason.as_deref() == Some(probe::Reason::Refused.as_str()) => text(match wire.ear {
            Ear::Unknown => "nobody listens on the port there, or a firewall resets what it forbids",
            _ => "somebody listens on the port there: a firewall refuses",
        }),
        _ => detail,
    };
    let listener = match wire.ear {
        Ear::Own => "vpcctl",
        Ear::Program => "a program",
        Ear::Unknown => "unknown",
    };
    Packet { reached, reason, detail, ms, listener }
}

/// The same for people.
pub fn reach_text(reach: &Reach) -> String {
    let end = |name: &str, address: Option<Ipv4Addr>| match address {
        Some(address) if name != address.to_string() => format!("{name} ({address})"),
        _ => name.to_owned(),
    };
    let (from, to) = (end(&reach.from, reach.source), end(&reach.to, reach.address));
    let mut text = format!("{from} to {to} by {}\n", reach.how);
    let rows = [("forth", &reach.forth), ("back", &reach.back)];
    let rows = rows.into_iter().flat_map(|(way, steps)| {
        steps.iter().enumerate().map(move |(at, step)| {
            let (way, verdict) = (if at == 0 { way } else { "" }, if step.passes { "pass" } else { "stopped" });
            let (place, why) = (step.place.clone(), step.why.clone());
            vec![way.to_owned(), place, step.decides.to_owned(), verdict.to_owned(), why]
        })
    });
    let rows: Vec<Vec<String>> = rows.collect();
    if !rows.is_empty() {
        text += &format!("\n{}\n", table(&["", "PLACE", "DECIDES", "", "WHY"], rows));
    }
    text += &verdict_text(reach);
    if let Some(packet) = &reach.packet {
        let _ = writeln!(text, "  packet:  {}", packet_text(reach, packet));
    }
    text
}

fn verdict_text(reach: &Reach) -> String {
    let Some(stopped) = &reach.stopped else {
        let beyond =
            reach.leaves_by.as_ref().map(|device| format!(": it leaves the host by {device}, and an answer comes in"));
        return format!("{}{}\n", style::toned("reachable"), beyond.unwrap_or_default());
    };
    let place = stopped.place.as_ref().zip(stopped.decides);
    let place = place.map(|(place, decides)| {
        let what = if stopped.answer { "the answer is stopped" } else { "stopped" };
        format!(": {what} at {place} by its {decides}")
    });
    let mut text = format!("{}{}\n", style::toned("unreachable"), place.unwrap_or_default());
    let last = reach.back.last().or(reach.forth.last()).filter(|step| !step.passes);
    let _ = writeln!(text, "  because: {} ({})", stopped.why, stopped.how);
    if let Some(rule) = last.and_then(|step| step.rule.as_ref()) {
        let Rule { table, chain, number, text: rule } = rule;
        let _ = writeln!(text, "  rule:    -t {table} -A {chain} {rule} (number {number})");
    }
    match &stopped.open[..] {
        [] => text += "  to open: no command opens it\n",
        lines => {
            for (at, line) in lines.iter().enumerate() {
                let _ = writeln!(text, "  {} {line}", if at == 0 { "to open:" } else { "        " });
            }
        }
    }
    text
}

fn packet_text(reach: &Reach, packet: &Packet) -> String {
    let fared = match (packet.ms, &packet.reason) {
        (Some(ms), _) => format!("an answer after {ms} ms"),
        (None, reason) => reason.clone().unwrap_or_default(),
    };
    let detail = packet.detail.as_ref().map(|detail| format!(" ({detail})")).unwrap_or_default();
    let beside = match reach.agree {
        Some(true) => "as the model says",
        Some(false) => "the model says otherwise",
        None => "which says neither yes nor no",
    };
    format!("{fared}{detail}, {beside}")
}
