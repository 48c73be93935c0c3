//! The only room with a door to the kernel: starting the tools, entering namespaces, writing settings, ending processes.

pub mod apply;
mod apps;
mod conntrack;
pub mod ears;
pub mod examine;
pub mod facts;
mod files;
pub mod look;
mod modules;
pub mod namespace;
mod netlink;
pub mod patience;
mod pool;
pub mod privilege;
pub mod probe;
pub mod processes;
mod procfs;
pub mod rules;
pub mod run;
pub mod settings;
pub mod watch;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Kind;
use crate::plan::batch::{Call, Program, Step};
use crate::plan::line::Place;
use crate::store::Store;

/// The kernel of this host, and who watches while it is changed.
pub struct Host<'a> {
    /// Called with each step before it runs: what `-v` prints.
    pub before: &'a (dyn Fn(&Step) + Sync),
    /// Called with what the operator should know besides.
    pub note: &'a (dyn Fn(&str) + Sync),
    /// Where the records of apps are.
    pub store: &'a Store,
    /// Set by a signal that asks the command to end.
    pub interrupted: &'a AtomicBool,
}

impl Host<'_> {
    /// Has a signal asked the command to end?
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// What `tc` prints where there is no such filter: of a kernel without `CONFIG_NET_CLS_ACT`, without `sch_ingress`, without `cls_bpf`
/// (`net/sched/sch_api.c`, `net/sched/cls_api.c`), of one that only tells the error's number, and of a `tc` that doesn't know it
/// (`tc/tc_filter.c`).
const NO_FILTER: [&str; 6] = [
    "Cannot find ingress queue for specified device",
    "Specified qdisc kind is unknown",
    "TC classifier not found",
    "RTNETLINK answers: No such file or directory",
    "RTNETLINK answers: Operation not supported",
    "Unknown filter \"bpf\"",
];

/// A step that failed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StepError {
    /// The object that the step was for, in words.
    pub object: String,
    /// The command, or the line of its input, that failed; empty where the reason says it all.
    pub command: String,
    /// The tool that failed; nothing where it was none.
    pub program: Option<Program>,
    /// The line of a batch that failed, as it was sent.
    pub line: Option<Box<str>>,
    /// The tool's or the kernel's own words.
    pub reason: String,
    /// What the operator can do, where the step knows.
    pub hint: Option<Box<str>>,
    /// What kind of failure it is, where it isn't simply a tool that failed.
    pub kind: Option<Kind>,
    /// The command was ended by a signal to vpcctl, not by a failure.
    pub interrupted: bool,
    /// vpcctl ended the tool, which had hung: the next one may hang as long.
    pub forced: bool,
}

impl StepError {
    /// A failure of `command`, for `object`.
    pub fn new(object: impl Into<String>, command: impl Into<String>, reason: impl Into<String>) -> Self {
        StepError { object: object.into(), command: command.into(), reason: reason.into(), ..StepError::default() }
    }

    /// A failure of a whole call.
    pub fn of_call(call: &Call, reason: impl Into<String>) -> Self {
        let of_place = || format!("namespace `{}`", call.place);
        let object = call.input.first().map_or_else(of_place, |line| line.object.describe());
        let program = Some(call.program);
        StepError { program, ..StepError::new(object, crate::plan::script::command_line(call), reason) }
    }

    /// A place that can't be entered.
    pub fn of_place(place: &Place, error: &std::io::Error) -> Self {
        StepError::new(format!("namespace `{place}`"), format!("enter {place}"), error.to_string())
    }

    /// Was there something already under the name that the step was to make?
    pub fn is_name_taken(&self) -> bool {
        self.reason.contains("File exists")
    }

    /// Does this kernel, or this `tc`, have no such filter as the step was to make? Whatever else is in the way of one is a failure.
    pub fn is_filter_unknown(&self) -> bool {
        // A `tc` that did not get as far as its lines has no say in it.
        let is_answer = self.program == Some(Program::Tc) && self.line.is_some();
        is_answer && NO_FILTER.iter().any(|sentence| self.reason.contains(sentence))
    }

    /// The end by a signal, between two steps.
    pub fn interrupted() -> Self {
        StepError { interrupted: true, ..StepError::new("", "", "interrupted by a signal") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tcs_answer_to_a_line_says_that_there_is_no_filter() {
        let answer = |reason: &str| StepError {
            program: Some(Program::Tc),
            line: Some("filter replace …".into()),
            reason: reason.into(),
            ..StepError::default()
        };
        let unknown = answer("Error: TC classifier not found.; We have an error talking to the kernel");
        assert!(unknown.is_filter_unknown());
        assert!(answer("Error: Cannot find ingress queue for specified device.").is_filter_unknown());
        assert!(!answer("Cannot find device \"br-unknown\"").is_filter_unknown());
        assert!(!answer("RTNETLINK answers: Unknown error 524").is_filter_unknown());
        assert!(!StepError { line: None, ..unknown.clone() }.is_filter_unknown());
        assert!(!StepError { program: Some(Program::Ip), ..unknown }.is_filter_unknown());
    }
}
