//! The main help: commands by what one wants to do, each as a line to type.

use std::fmt::Write;

use clap::{Arg, Command};

use crate::error::{DONE, Kind};
use crate::ui::style;

/// What one may want to do, and the lines that do it: each begins with a command's own name.
const GROUPS: &[(&str, &[&str])] = &[
    ("Try it", &["sandbox"]),
    (
        "Build a network",
        &["create-vpc vpc1 10.0.0.0/16", "add-subnet vpc1/web 10.0.1.0/24 --public", "add-instance vpc1/web/two"],
    ),
    (
        "Connect it",
        &[
            "enable-nat vpc1",
            "disable-nat vpc1",
            "peer vpc1 vpc2",
            "unpeer vpc1 vpc2",
            "allow-cidr --src 10.0.1.0/24 --dst 10.1.0.0/16",
        ],
    ),
    ("Protect it", &["apply-policy vpc1/web web.json", "remove-policy vpc1/web"]),
    (
        "Run things in it",
        &[
            "exec vpc1/web -- ping -c 3 10.0.2.2",
            "shell vpc1/web",
            "deploy-app vpc1/web --port 8080",
            "list-apps",
            "stop-app vpc1/web --port 8080",
            "logs vpc1/web",
        ],
    ),
    (
        "Describe it in a file",
        &["plan -f net.yaml", "apply -f net.yaml", "test -f net.yaml", "destroy -f net.yaml", "export"],
    ),
    (
        "See it",
        &[
            "list",
            "inspect vpc1",
            "graph -o svg",
            "explain create-vpc vpc1 10.0.0.0/16",
            "reach vpc1/web vpc1/db --port 80",
            "test-connectivity vpc1/web vpc1/db",
            "watch vpc1/web",
        ],
    ),
    ("Look after it", &["doctor", "check", "repair", "restore"]),
    ("Take it down", &["delete-instance vpc1/web/two", "delete-subnet vpc1/web", "delete-vpc vpc1", "cleanup-all"]),
];

/// Where the second column begins.
const COLUMN: usize = 51;

/// The most and the fewest columns that the help is laid out for.
const WIDTHS: (u16, u16) = (80, 100);

/// The command with its help in groups.
pub fn with_groups(command: Command) -> Command {
    let width = width();
    let text = groups(&command, width) + "\n" + &rest(&command, width);
    command.help_template("{about-with-newline}\n{usage-heading} {usage}\n\n{before-help}").before_help(text)
}

fn width() -> usize {
    let variable = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let columns = variable.or_else(|| terminal_size::terminal_size().map(|(width, _)| width.0));
    usize::from(columns.unwrap_or(WIDTHS.1).clamp(WIDTHS.0, WIDTHS.1))
}

/// The groups with those of their lines whose command there is.
fn groups(command: &Command, width: usize) -> String {
    let heading = style::HEADING;
    let mut text = String::new();
    for (group, lines) in GROUPS {
        let lines = lines.iter().filter_map(|line| Some((*line, command.find_subcommand(name(line))?)));
        let lines: String = lines.map(|(line, subcommand)| row(line, &about(subcommand), width)).collect();
        if !lines.is_empty() {
            let _ = write!(text, "{heading}{group}:{heading:#}\n{lines}\n");
        }
    }
    text + "`vpcctl help COMMAND` shows a command's arguments, and more examples.\n"
}

/// A line to type and what it does, which goes on below itself where it is too long.
fn row(line: &str, about: &str, width: usize) -> String {
    let literal = style::LITERAL;
    let (name, arguments) = line.split_at(name(line).len());
    let first = format!("  {literal}{name}{literal:#}{arguments:<pad$}", pad = COLUMN - 2 - name.len());
    format!("{first}{}\n", hanging(about, COLUMN, width))
}

/// Text that begins at a column, and goes on there in the next line where it is too long.
fn hanging(text: &str, column: usize, width: usize) -> String {
    wrap(text, width - column).join(&format!("\n{:column$}", ""))
}

/// Words, as many to a line as fit.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn name(line: &str) -> &str {
    line.split(' ').next().unwrap_or(line)
}

fn about(command: &Command) -> String {
    command.get_about().map(ToString::to_string).unwrap_or_default()
}

/// Options, exit codes and variables.
fn rest(command: &Command, width: usize) -> String {
    let heading = style::HEADING;
    let mut text = format!("{heading}Options of every command:{heading:#}\n");
    let mut row = |flags: &str, what: &str| text += &option_row(flags, what, width);
    command.get_arguments().map(option).for_each(|(flags, what)| row(&flags, &what));
    row("-h, --help", "Print this, or a command's own help");
    row("-V, --version", "Print the version");
    let _ = writeln!(text, "\n{heading}Exit codes:{heading:#}");
    let kinds = Kind::ALL.map(|kind| (kind.exit_code(), (kind.name(), kind.describe())));
    for (code, (name, meaning)) in [(0, DONE)].into_iter().chain(kinds) {
        let _ = writeln!(text, "{code:>5}  {}", hanging(&format!("{name}: {meaning}"), 7, width));
    }
    let _ = write!(text, "\n{heading}Environment:{heading:#}\n");
    for (variable, what) in variables(command) {
        let _ = writeln!(text, "  {variable:<21}{what}");
    }
    text
}

fn option_row(flags: &str, what: &str, width: usize) -> String {
    let literal = style::LITERAL;
    format!("  {literal}{flags:<28}{literal:#}{}\n", hanging(what, 30, width))
}

/// An option as it is written, and what it does.
fn option(arg: &Arg) -> (String, String) {
    let short = arg.get_short().map_or("    ".into(), |short| format!("-{short}, "));
    let value = arg.get_value_names().filter(|_| arg.get_action().takes_values()).and_then(|names| names.first());
    let value = value.map(|name| format!(" {name}")).unwrap_or_default();
    let default: Vec<_> = arg.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    let default =
        if value.is_empty() || default.is_empty() { String::new() } else { format!(" [{}]", default.join(" ")) };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    (format!("{short}--{}{value}", arg.get_long().unwrap_or_default()), format!("{help}{default}"))
}

/// Every variable that is read: those of flags, then those without.
fn variables(command: &Command) -> Vec<(String, String)> {
    let arguments = command.get_subcommands().flat_map(Command::get_arguments);
    let of_flag =
        |arg: &Arg| Some((arg.get_env()?.to_string_lossy().into_owned(), format!("the same as --{}", arg.get_long()?)));
    let mut variables: Vec<(String, String)> = Vec::new();
    for variable in command.get_arguments().chain(arguments).filter_map(of_flag) {
        if !variables.contains(&variable) {
            variables.push(variable);
        }
    }
    variables.push(("VPCCTL_LOG".into(), "diagnostics on stderr, for instance debug".into()));
    variables.push(("NO_COLOR".into(), "no colours, if it is set".into()));
    variables
}

#[cfg(test)]
mod tests {
    use clap::{ColorChoice, CommandFactory};

    use super::*;
    use crate::cli::{self, Cli};

    #[test]
    fn every_visible_command_is_in_one_group() {
        let lines: Vec<&str> = GROUPS.iter().flat_map(|(_, lines)| *lines).copied().collect();
        let command = Cli::command();
        for subcommand in command.get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            let found = lines.iter().filter(|line| name(line) == subcommand.get_name()).count();
            assert_eq!(found, 1, "{}", subcommand.get_name());
        }
    }

    #[test]
    fn every_line_is_a_command_line() {
        let command = Cli::command();
        for line in GROUPS.iter().flat_map(|(_, lines)| *lines) {
            assert!(command.find_subcommand(name(line)).is_some(), "{line}: there is no such command");
            let words = ["vpcctl"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            let _ = cli::parse(words).unwrap_or_else(|error| panic!("{line}: {error}"));
        }
    }

    #[test]
    fn every_option_of_every_command_has_a_variable() {
        for arg in Cli::command().get_arguments() {
            let long = arg.get_long().unwrap();
            let variable = format!("VPCCTL_{}", long.to_uppercase().replace('-', "_"));
            assert_eq!(arg.get_env().and_then(|variable| variable.to_str()), Some(&*variable), "--{long}");
        }
    }

    #[test]
    fn it_fits_the_terminal() {
        let command = Cli::command();
        for width in [80, 100] {
            let text = groups(&command, width) + &rest(&command, width);
            let text = anstream::adapter::strip_str(&text).to_string();
            let longest = text.lines().max_by_key(|line| line.chars().count()).unwrap();
            assert!(longest.chars().count() <= width, "{longest}");
        }
        let help = cli::command(ColorChoice::Never).render_help().to_string();
        let longest = help.lines().max_by_key(|line| line.chars().count()).unwrap();
        assert!(longest.chars().count() <= 100, "{longest}");
    }

    #[test]
    fn every_command_says_in_one_line_what_it_does_and_more_in_its_own_help() {
        for subcommand in Cli::command().get_subcommands().filter(|subcommand| !subcommand.is_hide_set()) {
            let about = about(subcommand);
            assert!(!about.is_empty() && about.len() <= 49 && !about.ends_with('.'), "{about}");
            let long = subcommand.get_long_about().map(ToString::to_string).unwrap_or_default();
            assert!(long.len() > about.len(), "{}: {long}", subcommand.get_name());
        }
    }
}
