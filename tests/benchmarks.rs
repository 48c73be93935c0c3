//! The benchmarks work: what isn't run rots. How fast anything is is not asked here.

#[path = "../benches/bench/mod.rs"]
mod bench;

use std::fs;
use std::process::Command;

use bench::report::{Report, Row, Target};
use bench::stats::{least, median, percentile};

/// Set for this program when it runs itself in a sandbox: the file for the results.
const RESULTS: &str = "VPCCTL_TEST_BENCHMARKS";

#[test]
fn all_of_them_run_and_their_plot_is_drawn() {
    if let Ok(file) = std::env::var(RESULTS) {
        return bench::run(&["--quick", "--json", &file].map(str::to_owned)).expect("they run");
    }
    let dir = tempfile::tempdir().unwrap();
    let (results, plot) = (dir.path().join("results.json"), dir.path().join("plot.svg"));
    let mut sandbox = Command::new(bench::PROGRAM);
    sandbox.args(["sandbox", "--"]).arg(std::env::current_exe().unwrap());
    sandbox.args(["--exact", "all_of_them_run_and_their_plot_is_drawn", "--nocapture"]).env(RESULTS, &results);
    let output = sandbox.output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    let json: serde_json::Value = serde_json::from_str(&fs::read_to_string(&results).unwrap()).unwrap();
    assert_eq!(json["version"], 1);
    let rows = json["rows"].as_array().unwrap();
    for row in rows {
        let what = row["what"].as_str().unwrap();
        assert!(row["measured"].as_f64().unwrap() > 0.0 || what.contains("processes of list"), "{row}\n{said}");
        assert!(said.contains(what), "`{what}` is not in the table:\n{said}");
    }
    let groups = ["cleanup-all", "inspect", "memory", "peering", "NAT", "new connections", "VPCs on the host"];
    for part in groups {
        assert!(rows.iter().any(|row| row["what"].as_str().unwrap().contains(part)), "nothing of {part}: {said}");
    }
    assert!(json["sizes"][0]["apply"].as_f64().unwrap() > 0.0, "{said}");
    let draw = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/plot");
    assert!(Command::new(draw).args([&results, &plot]).status().unwrap().success());
    let svg = fs::read_to_string(&plot).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("subnets") && svg.trim_end().ends_with("</svg>"), "{svg}");
}

#[test]
fn words_that_ask_for_nothing_are_refused() {
    assert!(bench::check(&["wire".to_owned(), "--quick".to_owned()]).is_ok());
    for words in [vec!["--json".to_owned()], vec!["everything".to_owned()]] {
        assert!(bench::check(&words).unwrap_err().to_string().starts_with("usage: "), "{words:?}");
    }
}

#[test]
fn a_median_is_the_middle_and_a_percentile_is_one_of_the_values() {
    assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(median(&[]), 0.0);
    assert_eq!((least(&[3.0, 1.0, 2.0]), least(&[])), (1.0, 0.0));
    let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
    assert_eq!([50.0, 99.0, 100.0].map(|percent| percentile(&hundred, percent)), [50.0, 99.0, 100.0]);
    assert_eq!((percentile(&[7.0], 99.0), percentile(&[], 50.0)), (7.0, 0.0));
}

#[test]
fn a_target_is_for_the_ratio_or_where_there_is_none_for_the_figure() {
    let row = |figure| Row::alone("commands", "apply", "ms", figure);
    assert_eq!(row(50.0).target(Target::AtMost(50.0)).met, Some(true));
    assert_eq!(row(50.1).target(Target::AtMost(50.0)).met, Some(false));
    assert_eq!(row(50.0).beside("floor", 20.0).target(Target::AtMost(2.0)).met, Some(false));
    assert_eq!(row(50.0).beside("floor", 25.0).target(Target::AtMost(2.0)).met, Some(true));
    assert_eq!(row(8.0).beside("host bridge", 10.0).target(Target::AtLeast(0.8)).met, Some(true));
    // What it is compared with came to nothing: that is no success.
    assert_eq!(row(8.0).beside("host bridge", 0.0).target(Target::AtLeast(0.8)).met, Some(false));
}

#[test]
fn the_table_shows_each_figure_with_what_it_is_compared_with_and_the_verdict_names_what_is_missed() {
    let mut report = Report::new(2, false);
    report.rows.push(Row::alone("commands", "apply", "ms", 50.0).beside("floor", 20.0).target(Target::AtMost(1.0)));
    report.rows.push(Row::alone("commands", "list", "ms", 4.2).target(Target::AtMost(50.0)));
    report.rows.push(Row::alone("the wire", "TCP", "Gbit/s", 20.25).beside("host bridge", 25.0));
    let table = report.table();
    let squeezed: Vec<String> =
        table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    assert!(squeezed.contains(&"apply 50.0 ms 20.0 ms (floor) 2.50 <= 1 MISSED".to_owned()), "{table}");
    assert!(squeezed.contains(&"list 4.20 ms <= 50 ms ok".to_owned()), "{table}");
    assert!(squeezed.contains(&"TCP 20.2 Gbit/s 25.0 Gbit/s (host bridge) 0.81".to_owned()), "{table}");
    assert_eq!(report.verdict(), "targets missed: apply");
    report.rows.remove(0);
    assert_eq!(report.verdict(), "all targets met");
}
