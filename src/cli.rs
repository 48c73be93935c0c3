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
    let styles = Styles::styled()
        .header(style::HEADING)
        .usage(style::HEADING)
        .error(style::ERROR)
        .valid(style::HINT)
        .invalid(AnsiColor::Yellow.on_default());
    help::with_groups(spellings::with_flags(Cli::command().styles(styles).color(color)))
}

/// Reads a command line, in whatever spelling: the program's name, then what follows it.
pub fn parse(words: Vec<OsString>) -> Result<Cli, clap::Error> {
    let color = early::color(&words);
    let globals = Globals::augment_args(clap::Command::new("vpcctl"));
    let options = spellings::Options::of(&globals);
    let words = spellings::canonical(words, &options);
    let explained = explained(&words, &options);
    let explains = explained.is_some();
    let words = explained.unwrap_or(words);
    // To define all commands takes ten times as long as to define one, and most of a start. Only a line that this one can't read,
    // such as one that asks for help, is read again with all of them, for the words.
    let name = options.next_word(&words, 1).and_then(|at| words[at].to_str());
    let alone = name.and_then(Command::definition).map(|command| spellings::with_flags(globals.subcommand(command)));
    if let Some(Ok(cli)) = alone.map(|mut grammar| Cli::read(&words, explains, &mut grammar)) {
        return Ok(cli);
    }
    let read = Cli::read(&words, explains, &mut command(color));
    read.map_err(|error| spellings::with_meant(error, &Cli::command()))
}

/// The command line that stands after `explain`, in its own words: what is explained is the command itself. Nothing where no
/// command follows, but perhaps a VPC's name.
fn explained(words: &[OsString], options: &spellings::Options) -> Option<Vec<OsString>> {
    let at = options.next_word(words, 1).filter(|at| words[*at] == "explain")?;
    let rest = words[..at].iter().chain(&words[at + 1..]).cloned().collect();
    let rest = spellings::canonical(rest, options);
    let name = options.next_word(&rest, 1).and_then(|at| rest[at].to_str())?;
    (name != "explain" && Command::has_subcommand(name)).then_some(rest)
}

impl Cli {
    /// Reads a command line in which the command has its own name, with a grammar that has that command.
    fn read(words: &[OsString], explains: bool, grammar: &mut clap::Command) -> Result<Self, clap::Error> {
        let matches = grammar.try_get_matches_from_mut(words)?;
        let mut cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(grammar))?;
        cli.globals.settle_talk(&matches, grammar)?;
        cli.settle_picture(grammar)?;
        if explains && !commands::has_plan(&cli.command) {
            let name = matches.subcommand_name().unwrap_or_default();
            let message = format!("`{name}` changes nothing: there is nothing to explain");
            return Err(grammar.error(ErrorKind::InvalidValue, message));
        }
        Ok(Cli { explains, ..cli })
    }

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

/// The commands, as one enum, and each by its name alone. What clap can put off (`defer`) is their arguments: it would still copy the
/// options of every command into each. An attribute here is of no concern to a command alone: only what is said of the arguments
/// decides what is accepted.
macro_rules! define_commands {
    ($($(#[$attribute:meta])* $command:ident($arguments:ty) = $name:literal,)*) => {
        /// The commands, each documented by its arguments: the first line here would hide the rest there.
        #[derive(Debug, Subcommand)]
        #[allow(missing_docs, reason = "a doc comment would stand in for the longer one of the arguments")]
        pub enum Command {
            $($(#[$attribute])* #[command(name = $name)] $command($arguments),)*
        }

        impl Command {
            /// The definition of the command of this name, without that of all others.
            fn definition(name: &str) -> Option<clap::Command> {
                match name {
                    $($name => Some(<$arguments>::augment_args(clap::Command::new($name))),)*
                    _ => None,
                }
            }
        }
    };
}

define_commands! {
    CreateVpc(commands::create_vpc::CreateVpc) = "create-vpc",
    DeleteVpc(commands::delete_vpc::DeleteVpc) = "delete-vpc",
    AddSubnet(commands::add_subnet::AddSubnet) = "add-subnet",
    DeleteSubnet(commands::delete_subnet::DeleteSubnet) = "delete-subnet",
    AddInstance(commands::add_instance::AddInstance) = "add-instance",
    DeleteInstance(commands::delete_instance::DeleteInstance) = "delete-instance",
    EnableNat(commands::enable_nat::EnableNat) = "enable-nat",
    DisableNat(commands::disable_nat::DisableNat) = "disable-nat",
    Peer(commands::peer::Peer) = "peer",
    Unpeer(commands::unpeer::Unpeer) = "unpeer",
    AllowCidr(commands::allow_cidr::AllowCidr) = "allow-cidr",
    ApplyPolicy(commands::apply_policy::ApplyPolicy) = "apply-policy",
    RemovePolicy(commands::remove_policy::RemovePolicy) = "remove-policy",
    List(commands::list::List) = "list",
    Inspect(commands::inspect::Inspect) = "inspect",
    Graph(commands::graph::Graph) = "graph",
    Explain(commands::explain::Explain) = "explain",
    Watch(commands::watch::Watch) = "watch",
    Exec(commands::exec::Exec) = "exec",
    Shell(commands::shell::Shell) = "shell",
    DeployApp(commands::deploy_app::DeployApp) = "deploy-app",
    ListApps(commands::list_apps::ListApps) = "list-apps",
    Logs(commands::logs::Logs) = "logs",
    StopApp(commands::stop_app::StopApp) = "stop-app",
    Plan(commands::plan::Plan) = "plan",
    Apply(commands::apply::Apply) = "apply",
    Test(commands::test::Test) = "test",
    Destroy(commands::destroy::Destroy) = "destroy",
    Export(commands::export::Export) = "export",
    Check(commands::check::Check) = "check",
    Repair(commands::repair::Repair) = "repair",
    Restore(commands::restore::Restore) = "restore",
    #[command(hide = true)]
    RunApp(commands::run_app::RunApp) = "run-app",
    #[command(hide = true)]
    SuperviseApp(commands::run_app::RunApp) = "supervise-app",
    #[command(hide = true)]
    InitApp(commands::run_app::RunApp) = "init-app",
    #[command(hide = true)]
    ExecApp(commands::run_app::RunApp) = "exec-app",
    #[command(hide = true)]
    EndApp(commands::run_app::EndApp) = "end-app",
    Doctor(commands::doctor::Doctor) = "doctor",
    Reach(commands::reach::Reach) = "reach",
    TestConnectivity(Box<commands::test_connectivity::TestConnectivity>) = "test-connectivity",
    CleanupAll(commands::cleanup_all::CleanupAll) = "cleanup-all",
    Sandbox(commands::sandbox::Sandbox) = "sandbox",
    #[command(hide = true)]
    AllowIntraVpc(commands::always_so::AllowIntraVpc) = "allow-intra-vpc",
    #[command(hide = true)]
    IsolateVpcs(commands::always_so::IsolateVpcs) = "isolate-vpcs",
    #[command(hide = true)]
    Generate(commands::generate::Generate) = "generate",
    #[command(hide = true)]
    SandboxInit(commands::sandbox::SandboxInit) = "sandbox-init",
    #[command(hide = true)]
    SandboxInternet(commands::sandbox::SandboxInternet) = "sandbox-internet",
    #[command(hide = true)]
    DoctorProbe(commands::doctor::DoctorProbe) = "doctor-probe",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_the_same_alone_as_among_all() {
        let all = Cli::command();
        let arguments = |command: &clap::Command| format!("{:?}", command.get_arguments().collect::<Vec<_>>());
        for among in all.get_subcommands() {
            let alone = Command::definition(among.get_name()).unwrap();
            let help = |command: &clap::Command| command.clone().render_long_help().to_string();
            assert_eq!((help(&alone), arguments(&alone)), (help(among), arguments(among)));
        }
        assert!(Command::definition("help").is_none() && Command::definition("vpc").is_none());
        let globals = Globals::augment_args(clap::Command::new("vpcctl"));
        assert_eq!(arguments(&globals), arguments(&all), "an option of every command is one of `Globals`");
    }
}
