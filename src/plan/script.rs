//! A plan as a shell script: plain `ip` and `iptables` lines which, piped into `sh -e`, do what the plan does.

use std::path::Path;

use crate::plan::Plan;
use crate::plan::batch::{self, Call, Program, Step, Write};
use crate::plan::launch::{AppId, Launch};
use crate::plan::line::{ConfigFile, Leftover, Place, Setting};
use crate::plan::resolver::{DIR as NETNS_FILES, FILE_MARK};

/// The script for a plan, with a comment for each object that the lines are for. Apps have their records in a state directory,
/// which is named where it isn't the usual one.
pub fn script(plan: &Plan, state_dir: Option<&Path>) -> String {
    let mut text = String::from("#!/bin/sh -e\n");
    let mut purpose = String::new();
    let parts = batch::steps(plan);
    let has_apps =
        parts.iter().flat_map(|(_, steps)| steps.iter()).any(|s| matches!(s, Step::Start(_) | Step::Stop(_)));
    if let Some(dir) = state_dir.filter(|_| has_apps) {
        text.push_str(&format!("export VPCCTL_STATE_DIR={}\n", quote(&dir.to_string_lossy())));
    }
    for step in parts.iter().flat_map(|(_, steps)| steps.iter()) {
        for (object, line) in step_lines(step) {
            if object != purpose {
                text.push_str(&format!("\n# {object}\n"));
                purpose = object;
            }
            text.push_str(&line);
            text.push('\n');
        }
    }
    text
}

/// Whom each line of a step is for, and the line.
pub fn step_lines(step: &Step) -> Vec<(String, String)> {
    match step {
        Step::Run(call) => call_lines(call),
        Step::Write(place, writes) => {
            writes.iter().map(|write| (write.object.describe(), write_line(place, write))).collect()
        }
        Step::Files(files) => files.iter().map(|file| ("name servers".to_owned(), file_line(file))).collect(),
        Step::Start(launch) => vec![(format!("app of `{}`", launch.instance), start_line(launch))],
        Step::Stop(apps) => {
            let line = |app: &AppId| format!("vpcctl {}", app.end_words().join(" "));
            apps.iter().map(|app| ("apps in what goes away".to_owned(), line(app))).collect()
        }
        Step::EndProcesses(namespaces) => {
            let line = |netns| format!("ip netns pids {netns} 2>/dev/null | xargs -r kill || true");
            namespaces.iter().map(|netns| ("processes in what goes away".to_owned(), line(netns))).collect()
        }
        Step::Clean(leftovers) => {
            let line = |leftover: &Leftover| {
                let (table, rules, chains) = match leftover {
                    Leftover::Table(table) => (table, "-A ".to_owned(), "[^ ]*".to_owned()),
                    Leftover::Chain(table, chain) => (table, format!("-A {chain} "), chain.clone()),
                };
                let in_use = format!("iptables-save -t {table} | grep -q -e '^{rules}' -e '^:{chains} [^A]'");
                ("the host's part".to_owned(), format!("{in_use} || nft delete {leftover} 2>/dev/null || true"))
            };
            leftovers.iter().map(line).collect()
        }
    }
}

/// The start of an app, as it is typed.
pub fn start_line(launch: &Launch) -> String {
    let words = launch.entering(&["vpcctl".to_owned()]);
    format!("ip {}", words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "))
}

/// A file as shell lines; what isn't ours stays.
pub fn file_line(ConfigFile { path, text }: &ConfigFile) -> String {
    let dir = quote(&path.parent().unwrap_or(path).to_string_lossy());
    let path = quote(&path.to_string_lossy());
    let ours = format!("grep -qs '^{FILE_MARK}' {path}");
    match text {
        Some(text) => {
            let text = text.trim_end().replace('\n', "\\n");
            format!("test -e {path} && ! {ours} || {{ mkdir -p {dir} && printf '{text}\\n' > {path}; }}")
        }
        // What is not empty stays, and so does what somebody has mounted there.
        None => format!("! {ours} || {{ rm -f {path} && {{ rmdir {dir} {NETNS_FILES} 2>/dev/null || :; }}; }}"),
    }
}

/// The command as it is started, on one line, its input left out: what `-v` shows.
pub fn command_line(call: &Call) -> String {
    let enter = match &call.place {
        Place::Host => String::new(),
        Place::Netns(netns) => format!("ip netns exec {netns} "),
    };
    format!("{enter}{} {}", call.program.as_str(), call.args.join(" ")).trim_end().to_owned()
}

/// A setting as a shell line.
pub fn write_line(place: &Place, write: &Write) -> String {
    let Setting { key, value, optional, unless } = &write.setting;
    let path = format!("/proc/sys/{key}");
    let mut line = format!("echo {value} > {path}");
    if *optional {
        line = format!("test ! -e {path} || {line}");
    }
    if let Some(other) = unless {
        line = format!("grep -q 1 /proc/sys/{other} || {line}");
    }
    match place {
        Place::Host => line,
        Place::Netns(netns) => format!("ip netns exec {netns} sh -c '{line}'"),
    }
}

/// The lines of a call as single commands: what its input says, one by one.
pub fn call_lines(call: &Call) -> Vec<(String, String)> {
    if call.input.is_empty() {
        return vec![("look".into(), command_line(call))];
    }
    let mut table = String::new();
    let mut lines = Vec::new();
    for line in &call.input {
        let text = &line.text;
        let command = match call.program {
            Program::Ip => format!("ip{} {text}", option(&call.place)),
            Program::Bridge => format!("bridge{} {text}", option(&call.place)),
            Program::Tc => format!("tc{} {text}", option(&call.place)),
            Program::Ipset => format!("{}ipset {text}", enter(&call.place)),
            Program::IptablesRestore => match text.strip_prefix('*') {
                Some(name) => {
                    table = name.to_owned();
                    continue;
                }
                None if text == "COMMIT" => continue,
                None => iptables_line(&call.place, &table, text),
            },
            _ => format!("{}{} {text}", enter(&call.place), call.program.as_str()),
        };
        lines.push((line.object.describe(), command));
    }
    lines
}

/// A line of `iptables-restore` as `iptables` takes it.
fn iptables_line(place: &Place, table: &str, text: &str) -> String {
    let iptables = format!("{}iptables -w -t {table}", enter(place));
    match text.strip_prefix(':').map(|rest| rest.split(' ').collect::<Vec<_>>()) {
        Some(words) if words.len() == 3 && words[1] == "-" => {
            let chain = words[0];
            format!("{iptables} -N {chain} 2>/dev/null || {iptables} -F {chain}")
        }
        Some(words) if words.len() == 3 => format!("{iptables} -P {} {}", words[0], words[1]),
        _ => format!("{iptables} {text}"),
    }
}

/// A word as a shell takes it.
pub fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn option(place: &Place) -> String {
    match place {
        Place::Host => String::new(),
        Place::Netns(netns) => format!(" -n {netns}"),
    }
}

fn enter(place: &Place) -> String {
    match place {
        Place::Host => String::new(),
        Place::Netns(netns) => format!("ip netns exec {netns} "),
    }
}
