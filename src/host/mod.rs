//! The only room with a door to the kernel: starting the tools, entering namespaces, writing settings, ending processes.

pub mod apply;
pub mod facts;
pub mod look;
pub mod namespace;
mod pool;
pub mod privilege;
pub mod probe;
pub mod processes;
pub mod run;

use std::sync::atomic::{AtomicBool, Ordering};

use crate::plan::batch::{Call, Step};
use crate::plan::line::Place;

/// The kernel of this host, and who watches while it is changed.
pub struct Host<'a> {
    /// Called with each step before it runs: what `-v` prints.
    pub before: &'a (dyn Fn(&Step) + Sync),
    /// Called with what the operator should know besides.
    pub note: &'a (dyn Fn(&str) + Sync),
    /// Set by a signal that asks the command to end.
    pub interrupted: &'a AtomicBool,
}

impl Host<'_> {
    /// Has a signal asked the command to end?
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

/// A step that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepError {
    /// The object that the step was for, in words.
    pub object: String,
    /// The command, or the line of its input, that failed.
    pub command: String,
    /// The line of a batch that failed, as it was sent.
    pub line: Option<String>,
    /// The tool's or the kernel's own words.
    pub reason: String,
    /// The command was ended by a signal to vpcctl, not by a failure.
    pub interrupted: bool,
}

impl StepError {
    /// A failure of a whole call.
    pub fn of_call(call: &Call, reason: impl Into<String>) -> Self {
        StepError {
            object: call
                .input
                .first()
                .map(|line| line.object.describe())
                .unwrap_or_else(|| format!("namespace `{}`", call.place)),
            command: crate::plan::script::command_line(call),
            line: None,
            reason: reason.into(),
            interrupted: false,
        }
    }

    /// A place that can't be entered.
    pub fn of_place(place: &Place, error: &std::io::Error) -> Self {
        StepError {
            object: format!("namespace `{place}`"),
            command: format!("enter {place}"),
            line: None,
            reason: error.to_string(),
            interrupted: false,
        }
    }

    /// The end by a signal, between two steps.
    pub fn interrupted() -> Self {
        StepError {
            object: String::new(),
            command: String::new(),
            line: None,
            reason: "interrupted by a signal".into(),
            interrupted: true,
        }
    }
}
