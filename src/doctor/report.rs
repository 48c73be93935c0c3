//! What `doctor` prints.

use comfy_table::{ContentArrangement, Table, presets};
use schemars::JsonSchema;
use serde::Serialize;

use super::{Finding, Level};
use crate::ui::style;
use crate::view;

/// How wide the table is at most, in columns.
const WIDTH: u16 = 100;

/// The diagnosis as programs see it.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Report {
    version: u32,
    /// There is no problem.
    able: bool,
    findings: Vec<Finding>,
}

impl Report {
    /// The report of these findings.
    pub fn new(findings: Vec<Finding>) -> Report {
        let able = findings.iter().all(|finding| finding.level != Level::Problem);
        Report { version: view::VERSION, able, findings }
    }

    /// Can this host run vpcctl?
    pub fn able(&self) -> bool {
        self.able
    }

    /// The report for people: each remedy below its finding, the sum in the last line.
    pub fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic).set_width(WIDTH);
        table.set_header(["LEVEL", "CHECK", "FINDING"]);
        for finding in &self.findings {
            let remedy = finding.remedy.iter().map(|remedy| format!("\nremedy: {remedy}"));
            let what: String = std::iter::once(finding.what.clone()).chain(remedy).collect();
            table.add_row([finding.level.as_str(), finding.id, &what]);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let lines: String = table.lines().map(|line| format!("{}\n", colored(line.trim_end()))).collect();
        format!("{lines}\n{}\n", self.summary())
    }

    fn summary(&self) -> String {
        let count = |level: Level, word: &str| match self.findings.iter().filter(|f| f.level == level).count() {
            0 => None,
            1 => Some(format!("1 {word}")),
            many => Some(format!("{many} {word}s")),
        };
        let counts: Vec<String> =
            [count(Level::Problem, "problem"), count(Level::Warning, "warning")].into_iter().flatten().collect();
        let can = if self.able { "can" } else { "can't" };
        let counts = if counts.is_empty() { "nothing is in the way".into() } else { counts.join(", ") };
        format!("this host {can} run vpcctl: {counts}")
    }
}
/// A line of the table with its level in colour; the table's columns are laid out by then.
fn colored(line: &str) -> String {
    let levels = [(Level::Ok, style::GOOD), (Level::Warning, style::NOTE), (Level::Problem, style::ERROR)];
    let begins = |level: Level| line.strip_prefix(level.as_str()).filter(|rest| rest.starts_with(' '));
    match levels.iter().find_map(|(level, style)| Some((level, style, begins(*level)?))) {
        Some((level, style, rest)) => format!("{style}{}{style:#}{rest}", level.as_str()),
        None => line.to_owned(),
    }
}
