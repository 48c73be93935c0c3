//! Man pages: one for the program and one for each command that help shows.

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use crate::reference::File;
use crate::reference::program::{self, Block, FILES, NAME};
use crate::store::DEFAULT_DIR;

/// What the tools behind vpcctl are called, with the sections of their pages.
const RELATED: [&str; 5] = ["ip-netns(8)", "bridge(8)", "iptables(8)", "ipset(8)", "network_namespaces(7)"];

/// The pages, `vpcctl.1` first.
///
/// # Errors
/// A page can't be rendered.
pub fn files() -> anyhow::Result<Vec<File>> {
    let command = program::command();
    let pages = std::iter::once(&command).chain(program::commands(&command));
    pages.map(|page| file(&command, page)).collect()
}

fn file(program: &Command, command: &Command) -> anyhow::Result<File> {
    let man = Man::new(command.clone());
    let mut page = heading(program, &man.get_filename()).into_bytes();
    man.render_name_section(&mut page)?;
    synopsis(command).to_writer(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    man.render_options_section(&mut page)?;
    closing(program, command).to_writer(&mut page)?;
    Ok(File { name: man.get_filename(), text: String::from_utf8(page)? })
}

/// The line that names the page. It has no date, which the renderer would take for no argument at all.
fn heading(program: &Command, file: &str) -> String {
    let title = file.trim_end_matches(".1");
    let version = program.get_version().unwrap_or_default();
    format!(".TH {title} 1 \"\" \"{NAME} {version}\" \"User commands\"\n")
}

fn synopsis(command: &Command) -> Roff {
    let mut roff = section("SYNOPSIS");
    let usage = program::usage(command);
    let name = command.get_bin_name().unwrap_or(NAME);
    let rest = usage.strip_prefix(name).unwrap_or(&usage);
    roff.text([bold(name), roman(rest)]);
    roff
}

/// What follows the options.
fn closing(program: &Command, command: &Command) -> Roff {
    let mut roff = Roff::new();
    let examples = program::examples(command);
    if !examples.is_empty() {
        preformatted(&mut roff, &Block { title: "Examples".into(), lines: examples });
    }
    program::notes(command).iter().for_each(|block| preformatted(&mut roff, block));
    let codes = program::exit_codes().into_iter();
    let codes = codes.map(|(code, name, meaning)| (bold(code.to_string()), format!("{name}: {meaning}")));
    definitions(&mut roff, "EXIT STATUS", codes);
    let variables = program::variables(program).into_iter().filter(|(name, _)| reads(program, command, name));
    definitions(&mut roff, "ENVIRONMENT", variables.map(|(name, meaning)| (bold(name), plain(&meaning))));
    if command.has_subcommands() {
        let files = FILES.iter().map(|(name, meaning)| (italic(format!("{DEFAULT_DIR}/{name}")), plain(meaning)));
        definitions(&mut roff, "FILES", files);
    }
    roff.control("SH", ["SEE ALSO"]).text([roman(see_also(program, command).join(", "))]);
    roff
}

/// Does the command read the variable? The program's page names all.
fn reads(program: &Command, command: &Command, variable: &str) -> bool {
    let mut arguments = program.get_arguments().chain(command.get_arguments()).filter_map(|arg| arg.get_env());
    command.has_subcommands() || arguments.any(|name| name == variable)
}

fn section(title: &str) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", [title]);
    roff
}

fn preformatted(roff: &mut Roff, block: &Block) {
    let title = if block.title.is_empty() { "NOTES".to_owned() } else { block.title.to_uppercase() };
    roff.control("SH", [title.as_str()]).control("nf", []);
    for line in &block.lines {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
}

fn definitions(roff: &mut Roff, title: &str, entries: impl Iterator<Item = (Inline, String)>) {
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []).text([term]).text([roman(meaning)]);
    }
}

/// Man pages have no backticks.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// The program's page and those of commands whose names share a word; for the program, all.
fn see_also(program: &Command, command: &Command) -> Vec<String> {
    let words: Vec<&str> = command.get_name().split('-').collect();
    let shares = |other: &Command| other.get_name().split('-').any(|word| words.contains(&word));
    let page = |name: &str| format!("{NAME}-{name}(1)");
    let others = program::commands(program).filter(|other| other.get_name() != command.get_name());
    if command.has_subcommands() {
        let all = others.map(|other| page(other.get_name()));
        return all.chain(RELATED.map(str::to_owned)).collect();
    }
    let akin = others.filter(|other| shares(other)).map(|other| page(other.get_name()));
    std::iter::once(format!("{NAME}(1)")).chain(akin).collect()
}
