//! The reference, in Markdown: every command with its options and examples, exit codes, variables, files, the action log.

use std::fmt::Write;

use clap::{Arg, ArgAction, Command};

use crate::reference::File;
use crate::reference::program::{self, FILES};
use crate::store::DEFAULT_DIR;

const HEAD: &str = "\
# Reference

Written by `vpcctl generate reference` from the definitions that the program itself uses. The README explains what these
things are and how they work together.

[Commands](#commands) · [Options of every command](#options-of-every-command) · [Exit codes](#exit-codes) ·
[Environment](#environment) · [Files](#files) · [Action log](#action-log) · [Schemas](#schemas)
";

const LOG: &str = "\
Every command that works on the state writes one line for each tool that it ran and one for itself: the time in UTC, what
was run, and

| Field | Meaning |
|---|---|
| `place` | where a tool ran: `host`, or a namespace |
| `lines` | how many lines of input it got |
| `code` | its exit code |
| `ms` | how long it took, in milliseconds |
| `error` | what a command that failed said |

The file grows; logrotate may move it at any time, since each command opens it anew.
";

const SCHEMAS: &str = "\
JSON Schemas (draft 2020-12), written by `vpcctl generate schema`:

| File | What of |
|---|---|
| [`policy.schema.json`](policy.schema.json) | policy files, in all spellings that are read |
| [`state.schema.json`](state.schema.json) | the state file |
| [`output.schema.json`](output.schema.json) | what `-o json` and `-o yaml` print |

An editor that finds `\"$schema\": \"PATH/policy.schema.json\"` in a policy completes it and marks what is misspelt; vpcctl
itself ignores that key.
";

/// `reference.md`.
pub fn file() -> File {
    let program = program::command();
    let mut text = HEAD.to_owned();
    section(&mut text, "Commands", &contents(&program));
    program::commands(&program).for_each(|command| text.push_str(&chapter(command)));
    section(&mut text, "Options of every command", &options(program::common_options(&program)));
    section(&mut text, "Exit codes", &exit_codes());
    let variables = program::variables(&program).into_iter();
    let variables = variables.map(|(name, meaning)| [code(&name), meaning]);
    section(&mut text, "Environment", &table(["Variable", "What it says"], variables));
    let files = FILES.iter().map(|(name, meaning)| [code(name), (*meaning).to_owned()]);
    let files = table(["File", "What it is"], files);
    section(&mut text, "Files", &format!("In the state directory, `{DEFAULT_DIR}` or `--state-dir`:\n\n{files}"));
    section(&mut text, "Action log", LOG);
    section(&mut text, "Schemas", SCHEMAS);
    File { name: "reference.md".into(), text }
}

fn section(text: &mut String, title: &str, body: &str) {
    // Writing to a String can't fail.
    let _ = write!(text, "\n## {title}\n\n{body}");
}

fn contents(program: &Command) -> String {
    let rows = program::commands(program).map(|command| {
        let name = command.get_name();
        [format!("[`{name}`](#{name})"), program::summary(command)]
    });
    table(["Command", "What it does"], rows)
}

fn chapter(command: &Command) -> String {
    let name = command.get_name();
    let mut text = format!("\n### {name}\n\n{}.\n", program::description(command).trim_end_matches('.'));
    text.push_str(&fenced("text", &[program::usage(command)]));
    let arguments = options(program::own_arguments(command));
    if !arguments.is_empty() {
        text.push_str(&format!("\n{arguments}"));
    }
    let examples = program::examples(command);
    if !examples.is_empty() {
        let examples: Vec<String> = examples.iter().map(|line| runnable(line)).collect();
        text.push_str(&fenced("sh", &examples));
    }
    for block in program::notes(command) {
        let title = if block.title.is_empty() { String::new() } else { format!("\n{}:\n", block.title) };
        text.push_str(&title);
        text.push_str(&fenced("text", &block.lines));
    }
    text
}

fn fenced(language: &str, lines: &[String]) -> String {
    format!("\n```{language}\n{}\n```\n", lines.join("\n"))
}

/// An example of the help, whose remark stands apart, as a shell would read it.
fn runnable(example: &str) -> String {
    let Some((command, remark)) = example.split_once("  ") else { return example.to_owned() };
    let gap = " ".repeat(remark.len() - remark.trim_start().len() + 2);
    format!("{command}{gap}# {}", remark.trim_start())
}

fn options<'a>(arguments: impl Iterator<Item = &'a Arg>) -> String {
    let rows: Vec<[String; 3]> = arguments.map(|arg| [spelling(arg), meaning(arg), otherwise(arg)]).collect();
    if rows.is_empty() { String::new() } else { table(["Argument", "What it is", "If left out"], rows) }
}

/// How an argument is written, with its other spellings.
fn spelling(arg: &Arg) -> String {
    let values = arg.get_value_names().unwrap_or_default().join(" ");
    if arg.is_positional() {
        return code(&values);
    }
    let short = arg.get_short().map(|short| format!("-{short}"));
    let long = arg.get_long().map(|long| format!("--{long}"));
    let aliases = arg.get_all_aliases().unwrap_or_default().into_iter().map(|alias| format!("--{alias}"));
    let flags: Vec<String> = short.into_iter().chain(long).chain(aliases).map(|flag| code(&flag)).collect();
    let takes_value = matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    if takes_value { format!("{} {}", flags.join(", "), code(&values)) } else { flags.join(", ") }
}

fn meaning(arg: &Arg) -> String {
    let values: Vec<String> = arg
        .get_possible_values()
        .iter()
        .filter(|value| !value.is_hide_set())
        .map(|value| code(value.get_name()))
        .collect();
    let help = program::help(arg);
    let help = help.split(" [default: ").next().unwrap_or(&help).trim_end_matches('.').to_owned();
    if values.is_empty() || matches!(arg.get_action(), ArgAction::SetTrue) {
        return help;
    }
    let colon = if help.ends_with('?') { "" } else { ":" };
    format!("{help}{colon} {}", values.join(", "))
}

/// What holds where the argument isn't given: its variable, its default.
fn otherwise(arg: &Arg) -> String {
    let variable = arg.get_env().map(|name| code(&name.to_string_lossy()));
    let default = arg.get_default_values().iter().map(|value| code(&value.to_string_lossy())).collect::<Vec<_>>();
    let is_switch = !matches!(arg.get_action(), ArgAction::Set | ArgAction::Append);
    let told = program::help(arg).split_once(" [default: ").map(|(_, rest)| rest.trim_end_matches(']').to_owned());
    let default = if is_switch || default.is_empty() { told } else { Some(default.join(" ")) };
    let required = arg.is_required_set().then(|| "an error".to_owned());
    variable.into_iter().chain(default).chain(required).collect::<Vec<_>>().join(", else ")
}

fn exit_codes() -> String {
    let rows = program::exit_codes();
    let rows = rows.into_iter().map(|(code, name, meaning)| [code.to_string(), name.into(), meaning.into()]);
    let text = table(["Code", "Kind", "Meaning"], rows);
    format!("{text}\n`exec` and `sandbox` end with the exit code of what they ran.\n")
}

fn code(text: &str) -> String {
    format!("`{text}`")
}

fn table<const N: usize>(head: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let cells = |row: [String; N]| row.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    let body: String = rows.into_iter().map(|row| line(&cells(row))).collect();
    format!("{}|{}\n{body}", line(&head.map(str::to_owned)), "---|".repeat(N))
}
