//! The state directory: is it safe, whole and free to be written to?

use super::Finding;
use super::facts::{Facts, StateFacts};
use crate::error::Failure;
use crate::model::state::State;

/// Below this much room in bytes a long log or a large state may not fit.
const ROOM: u64 = 16 << 20;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let state = &facts.state;
    let mut findings: Vec<Finding> = vec![file(state)];
    findings.extend(state.flaw.as_ref().map(|flaw| failed("state-directory", flaw)));
    findings.extend(room(state));
    findings.extend(state.cut_off.as_ref().map(|command| {
        let what = format!("`{command}` did not end cleanly");
        Finding::warning("unfinished-command", what, "the next command that changes something finishes or undoes it")
    }));
    if state.locked {
        let remedy = format!("wait for its end; `fuser {}/lock` tells which it is", state.dir);
        findings.push(Finding::warning("lock", "another vpcctl is at work, or a tool that it started", remedy));
    }
    findings
}

fn file(state: &StateFacts) -> Finding {
    let id = "state";
    let dir = &state.dir;
    match &state.state {
        Some(Ok(found)) => Finding::ok(id, format!("the state in {dir} is sound: {}", count(found))),
        Some(Err(failure)) => failed(id, failure),
        None => Finding::warning(id, format!("the state in {dir} is for root alone"), "run it with sudo"),
    }
}

fn count(state: &State) -> String {
    match state.vpcs.len() {
        0 => "no VPCs".into(),
        1 => "1 VPC".into(),
        vpcs => format!("{vpcs} VPCs"),
    }
}

fn failed(id: &'static str, failure: &Failure) -> Finding {
    let remedy = failure.hint.clone().unwrap_or_else(|| "name another directory with --state-dir".into());
    Finding::problem(id, failure.message.clone(), remedy)
}

fn room(state: &StateFacts) -> Option<Finding> {
    let dir = &state.dir;
    if state.read_only {
        let what = format!("the file system of {dir} is read-only: nothing can be changed");
        return Some(Finding::problem("disk", what, "mount it writable, or name another directory with --state-dir"));
    }
    let free = state.free.filter(|free| *free < ROOM)?;
    let what = format!("only {} KiB are free on the file system of {dir}", free / 1024);
    let remedy = "make room, or name another directory with --state-dir";
    Some(if free == 0 { Finding::problem("disk", what, remedy) } else { Finding::warning("disk", what, remedy) })
}
