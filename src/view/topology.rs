//! What `plan`, `apply` and `destroy` print: objects, what happens to them, and why.

use std::fmt::Write;

use anstyle::Style;
use schemars::JsonSchema;
use serde::Serialize;

use crate::model::changes::{Action, Change, NEW};
use crate::ui::style;
use crate::view::VERSION;

/// What `plan` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Plan {
    version: u32,
    /// Would `apply` change anything?
    changes: bool,
    objects: Vec<Change>,
    /// What the file doesn't have, and stays without --prune.
    kept: Vec<String>,
    sums: Sums,
}

/// What `apply` and `destroy` print.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Applied<'a> {
    version: u32,
    /// Did the state change?
    changed: bool,
    /// How many objects of the kernel were made again.
    mended: usize,
    /// What was done, in words.
    message: &'a str,
    objects: &'a [Change],
    sums: Sums,
}

/// How many objects have what happen to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Sums {
    create: usize,
    change: usize,
    replace: usize,
    delete: usize,
    mend: usize,
}

impl Sums {
    /// Those of these changes.
    pub fn of(changes: &[Change]) -> Self {
        let count = |action| changes.iter().filter(|change| change.action == action).count();
        Sums {
            create: count(Action::Create),
            change: count(Action::Change),
            replace: count(Action::Replace),
            delete: count(Action::Delete),
            mend: count(Action::Mend),
        }
    }

    /// `3 to create, 1 to delete`, or with `done` `3 created, 1 deleted`.
    pub fn words(self, done: bool) -> String {
        let Sums { create, change, replace, delete, mend } = self;
        let sums = [
            (create, Action::Create),
            (change, Action::Change),
            (replace, Action::Replace),
            (delete, Action::Delete),
            (mend, Action::Mend),
        ];
        let words = |(count, action): &(usize, Action)| match done {
            true => format!("{count} {}", verb(*action, true)),
            false => format!("{count} to {}", verb(*action, false)),
        };
        sums.iter().filter(|(count, _)| *count > 0).map(words).collect::<Vec<_>>().join(", ")
    }
}

/// A plan for printing.
pub fn plan(objects: Vec<Change>, kept: Vec<String>) -> Plan {
    Plan { version: VERSION, changes: !objects.is_empty(), sums: Sums::of(&objects), objects, kept }
}

/// What was done, for printing.
pub fn applied<'a>(changed: bool, mended: usize, objects: &'a [Change], message: &'a str) -> Applied<'a> {
    Applied { version: VERSION, changed, mended, message, objects, sums: Sums::of(objects) }
}

/// `plan` for people.
pub fn plan_text(plan: &Plan) -> String {
    if plan.objects.is_empty() {
        return "nothing to do: everything is as the file says\n".into();
    }
    format!("{}{}\n", lines(&plan.objects, false), plan.sums.words(false))
}

/// A line for each object: what happens to it, or has happened, and why.
pub fn lines(changes: &[Change], done: bool) -> String {
    let width = changes.iter().map(|change| change.object.chars().count()).max().unwrap_or_default().min(40);
    let mut text = String::new();
    for Change { action, object, reason } in changes {
        let (sign, tone) = sign(*action);
        let verb = verb(*action, done);
        // What has been done is there now.
        let reason = if done { reason.trim_end_matches(NEW).trim_end_matches(": ") } else { reason };
        let _ = writeln!(text, "{tone}{sign:>3} {verb:<8}{tone:#} {object:<width$}  {reason}");
    }
    text
}

fn sign(action: Action) -> (&'static str, Style) {
    match action {
        Action::Create => ("+", style::GOOD),
        Action::Change | Action::Mend => ("~", style::NOTE),
        Action::Replace => ("-/+", style::NOTE),
        Action::Delete => ("-", style::ERROR),
    }
}

fn verb(action: Action, done: bool) -> &'static str {
    match (action, done) {
        (Action::Create, false) => "create",
        (Action::Create, true) => "created",
        (Action::Change, false) => "change",
        (Action::Change, true) => "changed",
        (Action::Replace, false) => "replace",
        (Action::Replace, true) => "replaced",
        (Action::Delete, false) => "delete",
        (Action::Delete, true) => "deleted",
        (Action::Mend, false) => "mend",
        (Action::Mend, true) => "mended",
    }
}
