//! The command line: what is common to all commands, and the list of them.

pub mod early;
pub mod help;
pub mod refusal;
pub mod spellings;

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, ColorChoice, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::commands;
use crate::host::patience;
use crate::store;
use crate::ui::{Output, style};

/// Virtual private clouds on one Linux host, from network namespaces, bridges, routes and iptables.
#[derive(Debug, Parser)]
#[command(name = "vpcctl", version, max_term_width = 100)]
pub struct Cli {
    /// What is common to all commands.
    #[command(flatten)]
    pub globals: Globals,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
    /// Whether it is to be explained: `explain` stood before it.
    #[arg(skip)]
    pub explains: bool,
}

/// The whole command line with every accepted spelling, its help and its colours.
pub fn command(color: ColorChoice) -> clap::Command {
    help::with_groups(grammar(color))
}

/// All of it but the main help, which takes as long to lay out as a command line takes to read.
fn grammar(color: ColorChoice) -> clap::Command {
    let styles = Styles::styled()
        .header(style::HEADING)
        .usage(style::HEADING)
        .error(style::ERROR)
        .valid(style::HINT)
        .invalid(AnsiColor::Yellow.on_default());
    spellings::with_flags(Cli::command().styles(styles).color(color))
}

/// Reads a command line, in whatever spelling: the program's name, then what follows it.
pub fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let color = early::color(&words);
    let mut grammar = grammar(color);
    let options = spellings::Options::of(&grammar);
    let words = spellings::canonical(words, &options);
    let explained = explained(&words, &options, &grammar);
    let explains = explained.is_some();
    let words = explained.unwrap_or(words);
    let matches = match grammar.try_get_matches_from_mut(&words) {
        Err(error) if error.kind() == ErrorKind::DisplayHelp => command(color).try_get_matches_from(words),
        read => read,
    };
    let matches = matches.map_err(|error| spellings::with_meant(error, &Cli::command()))?;
    let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut grammar))?;
    cli.globals.settle_talk(&matches, &mut grammar)?;
    cli.settle_picture(&mut grammar)?;
    if explains && !commands::has_plan(&cli.command) {
        let name = matches.subcommand_name().unwrap_or_default();
        let message = format!("`{name}` changes nothing: there is nothing to explain");
        return Err(grammar.error(ErrorKind::InvalidValue, message));
    }
    cli.explains = explains;
    Ok(cli)
}

/// The command line that stands after `explain`, in its own words: what is explained is the command itself. Nothing where no
/// command follows, but perhaps a VPC's name.
fn explained(words: &[OsString], options: &spellings::Options, command: &clap::Command) -> Option<Vec<OsString>> {
    let at = options.next_word(words, 1).filter(|at| words[*at] == "explain")?;
    let rest = words[..at].iter().chain(&words[at + 1..]).cloned().collect();
    let rest = spellings::canonical(rest, options);
    let name = options.next_word(&rest, 1).and_then(|at| rest[at].to_str())?;
    (name != "explain" && command.find_subcommand(name).is_some()).then_some(rest)
}

impl Cli {
    /// Only `graph` draws: no other command takes a picture's name for a format.
    fn settle_picture(&mut self, command: &mut clap::Command) -> Result<(), clap::Error> {
        let Some(picture) = self.globals.output.picture() else {
            return Ok(());
        };
        let Command::Graph(graph) = &mut self.command else {
            let message = "only `graph` draws pictures: -o takes table, json or yaml";
            return Err(command.error(ErrorKind::InvalidValue, message));
        };
        graph.picture = Some(picture);
        Ok(())
    }
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Globals {
    /// Where the state file lives
    #[arg(long, global = true, env = "VPCCTL_STATE_DIR", default_value = store::DEFAULT_DIR, value_name = "DIR", hide_env_values = true)]
    pub state_dir: PathBuf,
    /// Print what would be done as a shell script, and change nothing
    #[arg(long, global = true, env = "VPCCTL_DRY_RUN", value_parser = clap::builder::FalseyValueParser::new(), hide_env_values = true)]
    pub dry_run: bool,
    /// Print what is done, as shell commands
    #[arg(short, long, global = true, env = "VPCCTL_VERBOSE", value_parser = clap::builder::FalseyValueParser::new(), hide_env_values = true)]
    pub verbose: bool,
    /// Print nothing but data and errors
    #[arg(short, long, global = true, env = "VPCCTL_QUIET", value_parser = clap::builder::FalseyValueParser::new(), hide_env_values = true)]
    pub quiet: bool,
    /// How data and errors are printed: table, json or yaml
    #[arg(
        short,
        long,
        global = true,
        env = "VPCCTL_OUTPUT",
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub output: Output,
    /// How many seconds to wait for another vpcctl
    #[arg(long, global = true, env = "VPCCTL_LOCK_TIMEOUT", default_value = "60", value_parser = seconds, value_name = "SECONDS", hide_env_values = true)]
    pub lock_timeout: Duration,
    /// How many seconds a tool may take before it is ended
    #[arg(long, global = true, env = "VPCCTL_TOOL_TIMEOUT", default_value = patience::DEFAULT_LIMIT, value_parser = some_seconds, value_name = "SECONDS", hide_env_values = true)]
    pub tool_timeout: Duration,
    /// When to use colours: auto, always or never
    #[arg(
        long,
        global = true,
        env = "VPCCTL_COLOR",
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_env_values = true,
        hide_possible_values = true
    )]
    pub color: ColorChoice,
}

impl Globals {
    /// Asked for both silence and every command: what was typed beats what the environment says.
    fn settle_talk(&mut self, matches: &ArgMatches, command: &mut clap::Command) -> Result<(), clap::Error> {
        if !(self.quiet && self.verbose) {
            return Ok(());
        }
        let typed = |id| matches.value_source(id) == Some(ValueSource::CommandLine);
        match (typed("quiet"), typed("verbose")) {
            (true, false) => self.verbose = false,
            (false, true) => self.quiet = false,
            _ => return Err(command.error(ErrorKind::ArgumentConflict, "--quiet and --verbose contradict each other")),
        }
        Ok(())
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    seconds(text).and_then(|some| if some.is_zero() { Err("no tool ends in no time".into()) } else { Ok(some) })
}

/// The commands, each documented by its arguments: the first line here would hide the rest there.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "a doc comment would stand in for the longer one of the arguments")]
pub enum Command {
    CreateVpc(commands::create_vpc::CreateVpc),
    DeleteVpc(commands::delete_vpc::DeleteVpc),
    AddSubnet(commands::add_subnet::AddSubnet),
    DeleteSubnet(commands::delete_subnet::DeleteSubnet),
    AddInstance(commands::add_instance::AddInstance),
    DeleteInstance(commands::delete_instance::DeleteInstance),
    EnableNat(commands::enable_nat::EnableNat),
    DisableNat(commands::disable_nat::DisableNat),
    Peer(commands::peer::Peer),
    Unpeer(commands::unpeer::Unpeer),
    AllowCidr(commands::allow_cidr::AllowCidr),
    ApplyPolicy(commands::apply_policy::ApplyPolicy),
    RemovePolicy(commands::remove_policy::RemovePolicy),
    List(commands::list::List),
    Inspect(commands::inspect::Inspect),
    Graph(commands::graph::Graph),
    Explain(commands::explain::Explain),
    Watch(commands::watch::Watch),
    Exec(commands::exec::Exec),
    Shell(commands::shell::Shell),
    DeployApp(commands::deploy_app::DeployApp),
    ListApps(commands::list_apps::ListApps),
    Logs(commands::logs::Logs),
    StopApp(commands::stop_app::StopApp),
    Plan(commands::plan::Plan),
    Apply(commands::apply::Apply),
    Test(commands::test::Test),
    Destroy(commands::destroy::Destroy),
    Export(commands::export::Export),
    Check(commands::check::Check),
    Repair(commands::repair::Repair),
    Restore(commands::restore::Restore),
    #[command(hide = true)]
    RunApp(commands::run_app::RunApp),
    #[command(hide = true)]
    SuperviseApp(commands::run_app::RunApp),
    #[command(hide = true)]
    InitApp(commands::run_app::RunApp),
    #[command(hide = true)]
    ExecApp(commands::run_app::RunApp),
    #[command(hide = true)]
    EndApp(commands::run_app::EndApp),
    Doctor(commands::doctor::Doctor),
    Reach(commands::reach::Reach),
    TestConnectivity(Box<commands::test_connectivity::TestConnectivity>),
    CleanupAll(commands::cleanup_all::CleanupAll),
    Sandbox(commands::sandbox::Sandbox),
    #[command(hide = true)]
    AllowIntraVpc(commands::always_so::AllowIntraVpc),
    #[command(hide = true)]
    IsolateVpcs(commands::always_so::IsolateVpcs),
    #[command(hide = true)]
    Generate(commands::generate::Generate),
    #[command(hide = true)]
    SandboxInit(commands::sandbox::SandboxInit),
    #[command(hide = true)]
    SandboxInternet(commands::sandbox::SandboxInternet),
    #[command(hide = true)]
    DoctorProbe(commands::doctor::DoctorProbe),
}
