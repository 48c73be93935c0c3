//! What `test` prints, and what it writes for CI servers.

use std::fmt::Write;

use anyhow::Context;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};
use schemars::JsonSchema;
use serde::Serialize;

use crate::inquiry::Finding;
use crate::plan::probe::{Comparison, Verdict};
use crate::ui::table;
use crate::verification::Checked;
use crate::view::VERSION;

/// The most failures of a line that are shown to people.
const SHOWN: usize = 5;

/// What `test` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Test {
    version: u32,
    file: String,
    passed: usize,
    failed: usize,
    expectations: Vec<Line>,
}

/// A line of the file.
#[derive(Debug, Serialize, JsonSchema)]
struct Line {
    expect: String,
    passed: bool,
    /// How many pairs, each with each kind of packet, were asked for.
    checks: usize,
    /// How many packets were sent for them.
    packets: usize,
    /// How many packets said neither yes nor no.
    unclear: usize,
    /// How many packets were not sent, as there would be too many: there, the model alone was asked.
    unsent: usize,
    failures: Vec<Failed>,
}

/// What is not as expected.
#[derive(Debug, Serialize, JsonSchema)]
struct Failed {
    from: String,
    to: String,
    /// `ping`, `tcp/80`, `udp/53`.
    how: String,
    /// Does it get there in the model?
    reachable: bool,
    /// How the packet fared, where one was sent: `answered`, `refused`, `no answer`, …
    packet: Option<String>,
    why: String,
    /// What would open it, for the first few of a line.
    open: Vec<String>,
}

/// What came of a file's lines.
pub fn test(file: &str, checked: &[Checked]) -> Test {
    let expectations: Vec<Line> = checked.iter().map(line).collect();
    let passed = expectations.iter().filter(|line| line.passed).count();
    Test { version: VERSION, file: file.to_owned(), passed, failed: expectations.len() - passed, expectations }
}

fn line(checked: &Checked) -> Line {
    Line {
        expect: checked.line.clone(),
        passed: checked.passed(),
        checks: checked.checks,
        packets: checked.packets,
        unclear: checked.unclear,
        unsent: checked.unsent,
        failures: checked.failures.iter().map(failed).collect(),
    }
}

impl Line {
    /// Why it fails, one after the other.
    fn failures(&self) -> Vec<String> {
        let nobody = (self.checks == 0).then(|| "it stands for nobody: nothing was checked".to_owned());
        nobody.into_iter().chain(self.failures.iter().map(Failed::describe)).collect()
    }

    /// What packets didn't say.
    fn remarks(&self) -> String {
        let unclear = (self.unclear > 0).then(|| format!("{} unclear", self.unclear));
        let unsent = (self.unsent > 0).then(|| format!("{} not sent: the model alone was asked", self.unsent));
        unclear.into_iter().chain(unsent).collect::<Vec<_>>().join(", ")
    }
}

fn failed(finding: &Finding) -> Failed {
    let reachable = finding.answer.verdict.is_reached();
    let disagrees = finding.wire.as_ref().is_some_and(|wire| wire.comparison == Comparison::Disagree);
    let why = match &finding.cause {
        _ if disagrees => "the packet did not fare as the model says: `vpcctl reach` looks for the reason".to_owned(),
        Some(cause) => cause.why.clone(),
        None => "nothing stops it".into(),
    };
    Failed {
        from: finding.pair.from.to_string(),
        to: finding.pair.to.to_string(),
        how: finding.pair.method.describe(),
        reachable,
        packet: finding.wire.as_ref().map(|wire| match &wire.verdict {
            Verdict::Reached(_) => "answered".to_owned(),
            Verdict::Missed(reason, _) => reason.as_str().to_owned(),
            Verdict::NotTried(why) => why.clone(),
        }),
        why,
        open: finding.fixes.iter().map(ToString::to_string).collect(),
    }
}

impl Failed {
    /// In one line.
    fn describe(&self) -> String {
        let Failed { from, to, how, reachable, packet, why, .. } = self;
        let model = if *reachable { "reachable" } else { "unreachable" };
        let packet = packet.as_ref().map(|packet| format!("; packet: {packet}")).unwrap_or_default();
        format!("{from} to {to} by {how}: {model} in the model{packet}: {why}")
    }
}

/// The same for people.
pub fn test_text(test: &Test) -> String {
    if test.expectations.is_empty() {
        return format!("{} expects nothing: it has no `expect:`\n", test.file);
    }
    let rows = test.expectations.iter().map(|line| {
        let result = if line.passed { "pass" } else { "FAIL" };
        vec![result.to_owned(), line.expect.clone(), line.checks.to_string(), line.packets.to_string(), line.remarks()]
    });
    let mut text = table(&["", "EXPECTATION", "CHECKS", "PACKETS", ""], rows);
    for line in test.expectations.iter().filter(|line| !line.passed) {
        let _ = writeln!(text, "\n{}", line.expect);
        if line.checks == 0 {
            let _ = writeln!(text, "  {}", line.failures().join(", "));
        }
        for failure in line.failures.iter().take(SHOWN) {
            let _ = writeln!(text, "  {}", failure.describe());
            for command in &failure.open {
                let _ = writeln!(text, "    to open: {command}");
            }
        }
        if line.failures.len() > SHOWN {
            let _ = writeln!(text, "  and {} more", line.failures.len() - SHOWN);
        }
    }
    let Test { passed, failed, .. } = test;
    let _ = writeln!(text, "\n{passed} passed, {failed} failed");
    text
}

/// The same as JUnit XML.
///
/// # Errors
/// It can't be rendered.
pub fn junit(test: &Test) -> anyhow::Result<String> {
    let mut suite = TestSuite::new(test.file.as_str());
    for line in &test.expectations {
        let failures = line.failures();
        let status = match failures.first() {
            None => TestCaseStatus::success(),
            Some(first) => {
                let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
                status.set_type("expectation").set_message(first.as_str()).set_description(failures.join("\n"));
                status
            }
        };
        let mut case = TestCase::new(line.expect.as_str(), status);
        case.set_classname(test.file.as_str()).set_assertions(line.checks);
        if !line.remarks().is_empty() {
            case.set_system_out(format!("packets: {}", line.remarks()));
        }
        suite.add_test_case(case);
    }
    let mut report = Report::new("vpcctl test");
    report.add_test_suite(suite);
    report.to_string().context("cannot render JUnit XML")
}
