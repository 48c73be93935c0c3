//! What `check` and `repair` print.

use schemars::JsonSchema;
use serde::Serialize;

use crate::plan::drift::{Difference, Found};
use crate::session::{Comparison, Repair};
use crate::ui::table;
use crate::view::VERSION;

/// What `check` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Check {
    version: u32,
    /// Is everything as the state says?
    ok: bool,
    /// How many objects were compared.
    objects: usize,
    differences: Vec<Row>,
    /// What only looks like vpcctl's on the host, and is in nobody's way.
    lookalikes: Vec<String>,
    unfinished: Option<Unfinished>,
}

/// What `repair` and `restore` print.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Mended<'a> {
    version: u32,
    /// Did the state change? Never: only the kernel does.
    changed: bool,
    /// How many objects were made again, changed or taken away.
    mended: usize,
    /// What was done, in words.
    message: &'a str,
    /// What isn't vpcctl's to mend.
    left: Vec<Row>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Row {
    /// Whom the object is there for: `host`, or a path.
    owner: String,
    object: String,
    difference: Kind,
    /// In what it differs, where it is wrong.
    detail: Option<String>,
    /// How many more objects are missing because this one is.
    with_it: usize,
}

#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Kind {
    /// It is not there.
    Missing,
    /// It is there, but not as it should be.
    Wrong,
    /// It is there, and the state doesn't have it.
    Surplus,
    /// It bears vpcctl's mark, and this state doesn't know it.
    Unknown,
    /// It is not vpcctl's.
    Foreign,
}

/// A command that has begun and not ended.
#[derive(Debug, Serialize, JsonSchema)]
struct Unfinished {
    command: String,
    /// Is it still at work?
    at_work: bool,
}

/// The comparison as it is printed.
pub fn check(comparison: &Comparison) -> Check {
    let Comparison { objects, differences, lookalikes, unfinished } = comparison;
    let unfinished = unfinished.as_ref();
    Check {
        version: VERSION,
        ok: comparison.is_clean(),
        objects: *objects,
        differences: differences.iter().map(row).collect(),
        lookalikes: lookalikes.clone(),
        unfinished: unfinished.map(|u| Unfinished { command: u.command.clone(), at_work: u.at_work }),
    }
}

/// What came of a repair.
pub fn mended<'a>(repair: &Repair, message: &'a str) -> Mended<'a> {
    let left = repair.left.iter().map(row).collect();
    Mended { version: VERSION, changed: false, mended: repair.mended, message, left }
}

fn row(difference: &Difference) -> Row {
    let Difference { owner, object, found, with_it } = difference;
    let (kind, detail) = match found {
        Found::Missing => (Kind::Missing, None),
        Found::Wrong(what) => (Kind::Wrong, Some(what.clone())),
        Found::Surplus => (Kind::Surplus, None),
        Found::Unknown => (Kind::Unknown, None),
        Found::Foreign => (Kind::Foreign, None),
    };
    Row { owner: owner.clone(), object: object.clone(), difference: kind, detail, with_it: *with_it }
}

/// `check` for people: a line for each difference.
pub fn check_table(check: &Check) -> String {
    let mut text = match (check.differences.len(), check.objects) {
        (0, objects) => format!("{objects} objects compared, all as they should be\n"),
        _ => differences_table(&check.differences),
    };
    if !check.lookalikes.is_empty() {
        text.push_str("\nNot vpcctl's by their marks, and in nobody's way:\n");
        text.extend(check.lookalikes.iter().map(|name| format!("  {name}\n")));
    }
    text
}

fn differences_table(rows: &[Row]) -> String {
    let cells = rows.iter().map(|row| vec![row.owner.clone(), row.object.clone(), row.in_words()]);
    table(&["OF", "OBJECT", "DIFFERENCE"], cells)
}

impl Row {
    fn in_words(&self) -> String {
        let with_it = match self.with_it {
            0 => String::new(),
            count => format!(", and {count} in it or on it"),
        };
        match (self.difference, &self.detail) {
            (Kind::Missing, _) => format!("is missing{with_it}"),
            (Kind::Wrong, Some(detail)) => detail.clone(),
            (Kind::Wrong, None) => "is not as it should be".into(),
            (Kind::Surplus, _) => "is too many".into(),
            (Kind::Unknown, _) => "has vpcctl's mark, but this state doesn't know it".into(),
            (Kind::Foreign, _) => format!("is not vpcctl's{with_it}"),
        }
    }
}
