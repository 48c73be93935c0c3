//! `vpcctl logs`.

use std::io::{BufRead, BufReader, ErrorKind, IsTerminal, Read, Write};
use std::process::{Command, Stdio};

use clap::Args;

use crate::commands::args::InstancePath;
use crate::error::{Failure, Result};
use crate::host::run;
use crate::model::app::{self, Port};
use crate::model::owner::Target;
use crate::model::state::State;
use crate::plan::launch::{self, Launch};
use crate::session::Session;
use crate::ui;

/// Show what an app printed
///
/// The log begins anew when it has 8 MiB, and goes when the app is stopped.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl logs vpc1/public
  vpcctl logs vpc1/public --port 8080 --follow")]
pub struct Logs {
    #[command(flatten)]
    instance: InstancePath,
    /// The app's port, where the instance has several apps
    #[arg(short, long, value_name = "PORT", value_parser = app::port)]
    port: Option<Port>,
    /// Go on showing what is printed
    #[arg(short, long)]
    follow: bool,
    /// The last lines alone
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<u32>,
}

impl Logs {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let target = self.instance.target()?;
        let app = self.choose(&session.read()?, &target)?;
        let path = session.store.apps().log_path(&app.id());
        if let Err(error) = std::fs::File::open(&path) {
            return Err(Failure::not_found(format!("cannot read the log `{}`: {error}", path.display()))
                .hint(format!("repeat `vpcctl deploy-app {target} --port {}` if it never started", app.port))
                .into());
        }
        let mut tail = Command::new(run::find("tail")?);
        tail.arg("-n").arg(self.lines.map_or("+1".to_owned(), |count| count.to_string()));
        // It ends with the app's supervisor, whose log it is.
        let supervisor = session.store.apps().load(&app.id()).map(|record| record.supervisor.pid);
        if let Some(pid) = supervisor.filter(|_| self.follow) {
            tail.arg("--follow").arg(format!("--pid={pid}"));
        }
        let mut tail = tail.arg("--").arg(path).stdout(Stdio::piped()).spawn()?;
        if let Some(output) = tail.stdout.take() {
            show(output)?;
        }
        // Where nobody reads any more, it has no reason to go on.
        tail.kill()?;
        tail.wait()?;
        Ok(())
    }

    fn choose(&self, state: &State, target: &Target) -> Result<Launch> {
        state.check_target(target)?;
        let apps = launch::all(state).filter(|launch| &launch.instance == target);
        let apps: Vec<Launch> = apps.filter(|launch| self.port.is_none_or(|port| port == launch.port)).collect();
        let ports: Vec<String> = apps.iter().map(|launch| launch.port.to_string()).collect();
        match <[Launch; 1]>::try_from(apps) {
            Ok([app]) => Ok(app),
            Err(apps) if apps.is_empty() => {
                let which = self.port.map(|port| format!(" on port {port}")).unwrap_or_default();
                Err(Failure::not_found(format!("`{target}` has no app{which}"))
                    .hint("`vpcctl list-apps` shows those that there are"))
            }
            Err(_) => Err(Failure::usage(format!("`{target}` has several apps: on {}", ports.join(", ")))
                .hint("choose one with --port")),
        }
    }
}

/// Copies to stdout, line by line. On a terminal what would command it is shown as a mark, for an app may be anybody's.
fn show(output: impl Read) -> Result<()> {
    let mut output = BufReader::new(output);
    let mut stdout = std::io::stdout().lock();
    let is_terminal = stdout.is_terminal();
    let harmless = |c: char| if c.is_control() && !matches!(c, '\n' | '\t') { char::REPLACEMENT_CHARACTER } else { c };
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line), Ok(1..)) {
        if is_terminal {
            line = String::from_utf8_lossy(&line).chars().map(harmless).collect::<String>().into_bytes();
        }
        match stdout.write_all(&line).and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            Err(error) => return Err(ui::cannot_write(&error)),
            Ok(()) => line.clear(),
        }
    }
    Ok(())
}
