//! The results: rows of a table, as text and as JSON. Pure.

use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;

/// The version of the JSON.
const VERSION: u32 = 1;

/// All results of a run.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    version: u32,
    /// How many processors there were.
    processors: usize,
    /// Small networks and short runs: that the benchmarks run is all that this shows.
    quick: bool,
    /// The table.
    pub rows: Vec<Row>,
    /// The curves of cost against size.
    pub sizes: Vec<SizeCost>,
}

/// One result.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What belongs together.
    pub group: &'static str,
    /// What was measured.
    pub what: String,
    /// Of both figures.
    pub unit: &'static str,
    /// The figure.
    pub measured: f64,
    /// What it is compared with, and its figure.
    pub beside: Option<(&'static str, f64)>,
    /// `measured` by the figure beside.
    pub ratio: Option<f64>,
    /// What it should be.
    pub target: Option<Target>,
    /// Is it?
    pub met: Option<bool>,
}

/// What the ratio should be or, where there is none, the figure itself.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Target {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// What a network of some size costs, in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SizeCost {
    /// Its subnets, ten to a VPC.
    pub subnets: usize,
    /// To make it by hand.
    pub floor: f64,
    /// To make it.
    pub apply: f64,
    /// To delete it by hand.
    pub floor_delete: f64,
    /// To delete it.
    pub delete: f64,
    /// One more subnet.
    pub one_more: f64,
    /// `list`.
    pub list: f64,
    /// `check`.
    pub check: f64,
}

impl Target {
    /// Does the figure meet it?
    pub fn is_met_by(self, figure: f64) -> bool {
        match self {
            Target::AtMost(most) => figure <= most,
            Target::AtLeast(least) => figure >= least,
        }
    }
}

impl Row {
    /// A figure by itself.
    pub fn alone(group: &'static str, what: impl Into<String>, unit: &'static str, measured: f64) -> Self {
        Row { group, what: what.into(), unit, measured, beside: None, ratio: None, target: None, met: None }
    }

    /// The same with what it is compared with.
    pub fn beside(self, name: &'static str, figure: f64) -> Self {
        Row { beside: Some((name, figure)), ratio: (figure > 0.0).then(|| self.measured / figure), ..self }
    }

    /// The same with what it should be.
    pub fn target(self, target: Target) -> Self {
        let figure = if self.beside.is_some() { self.ratio } else { Some(self.measured) };
        Row { target: Some(target), met: Some(figure.is_some_and(|figure| target.is_met_by(figure))), ..self }
    }

    fn cells(&self) -> [String; 6] {
        let with_unit = |figure: f64| format!("{} {}", short(figure), self.unit).trim_end().to_owned();
        let target = self.target.map(|target| match (target, self.beside) {
            (Target::AtMost(most), Some(_)) => format!("<= {most}"),
            (Target::AtLeast(least), Some(_)) => format!(">= {least}"),
            (Target::AtMost(most), None) => format!("<= {most} {}", self.unit).trim_end().to_owned(),
            (Target::AtLeast(least), None) => format!(">= {least} {}", self.unit).trim_end().to_owned(),
        });
        [
            self.what.clone(),
            with_unit(self.measured),
            self.beside.map_or(String::new(), |(name, figure)| format!("{} ({name})", with_unit(figure))),
            self.ratio.map_or(String::new(), |ratio| format!("{ratio:.2}")),
            target.unwrap_or_default(),
            self.met.map_or("", |met| if met { "ok" } else { "MISSED" }).to_owned(),
        ]
    }
}

impl Report {
    /// An empty one.
    pub fn new(processors: usize, quick: bool) -> Self {
        Report { version: VERSION, processors, quick, ..Report::default() }
    }

    /// The table, a part for each group.
    pub fn table(&self) -> String {
        let mut text = String::new();
        for part in self.rows.chunk_by(|a, b| a.group == b.group) {
            let mut table = Table::new();
            table.load_style(presets::NOTHING);
            table.set_header([part[0].group, "vpcctl", "beside it", "ratio", "target", ""]);
            table.add_rows(part.iter().map(Row::cells));
            for column in table.column_iter_mut().skip(1).take(4) {
                column.set_cell_alignment(CellAlignment::Right);
            }
            text.push_str(&format!("{table}\n\n").lines().map(str::trim_end).collect::<Vec<_>>().join("\n"));
            text.push('\n');
        }
        text
    }

    /// The targets that are missed, in words.
    pub fn verdict(&self) -> String {
        let missed: Vec<&str> =
            self.rows.iter().filter(|row| row.met == Some(false)).map(|row| row.what.as_str()).collect();
        match missed.as_slice() {
            [] => "all targets met".to_owned(),
            missed => format!("targets missed: {}", missed.join("; ")),
        }
    }
}

/// Three digits that say something.
fn short(figure: f64) -> String {
    match figure.abs() {
        size if size >= 100.0 => format!("{figure:.0}"),
        size if size >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}
