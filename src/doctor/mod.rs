//! What `vpcctl doctor` knows: from facts about a host to findings, each with what to do about it.
//!
//! Pure: [`crate::host::examine`] gathers the facts, and changes nothing. A check is a function from [`Facts`] to findings; its id
//! is stable, so that scripts may look for it. One id can be found several times, such as for two VPCs that overlap.

pub mod facts;
pub mod features;
mod firewall;
mod kernel;
mod limits;
mod networks;
pub mod report;
mod state;
#[cfg(test)]
mod tests;
mod tools;
mod version;

use schemars::JsonSchema;
use serde::Serialize;

use facts::Facts;

/// How much a finding is in the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all.
    Ok,
    /// vpcctl runs; something of it may not work, or not for long.
    Warning,
    /// vpcctl can't do its work here.
    Problem,
}

impl Level {
    /// `ok`, `warning` or `problem`.
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Ok => "ok",
            Level::Warning => "warning",
            Level::Problem => "problem",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Which check it is: stable, in kebab case.
    pub id: &'static str,
    /// How much it is in the way.
    pub level: Level,
    /// What was found, on one line.
    pub what: String,
    /// What to do about it, on one line; nothing where all is well.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(id: &'static str, what: impl Into<String>) -> Finding {
        Finding { id, level: Level::Ok, what: what.into(), remedy: None }
    }

    fn warning(id: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { id, level: Level::Warning, what: what.into(), remedy: Some(remedy.into()) }
    }

    fn problem(id: &'static str, what: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { id, level: Level::Problem, what: what.into(), remedy: Some(remedy.into()) }
    }
}

/// Everything that there is to say about a host, from the ground up: tools, kernel, privileges, other software, the state.
pub fn diagnose(facts: &Facts) -> Vec<Finding> {
    let topics = [tools::check, kernel::check, limits::check, firewall::check, networks::check, state::check]
        as [fn(&Facts) -> _; 6];
    topics.iter().flat_map(|check| -> Vec<Finding> { check(facts) }).collect()
}
