//! `vpcctl deploy-app`.

use std::path::PathBuf;

use clap::Args;

use crate::app::confine;
use crate::commands::args::{InstancePath, report};
use crate::error::{Failure, Kind, Result};
use crate::model::app::{self, App, MAX_WAIT, Port, UserName};
use crate::model::edit::deploy_app;
use crate::model::owner::Target;
use crate::model::state::HostAccess;
use crate::plan::launch::{self, Launch};
use crate::plan::subject::Subject;
use crate::session::{Outcome, Session};

/// Start a program in an instance
///
/// It runs in the background: a small web server, or the command after `--`. vpcctl returns once the program answers on its
/// port. The program runs as an ordinary user without any of root's powers, finds its port in PORT and its instance in
/// VPCCTL_INSTANCE and VPCCTL_ADDRESS, and ends with its subnet or VPC. `restore` starts it again after a reboot, and so does
/// the same command where it has ended.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl deploy-app vpc1/public                          a web server that says where it is, on port 8080
  vpcctl deploy-app vpc1/public --port 80
  vpcctl deploy-app vpc1/public -- python3 -m http.server 8080
  vpcctl deploy-app --vpc vpc1 --subnet public --port 8080")]
pub struct DeployApp {
    #[command(flatten)]
    instance: InstancePath,
    /// The TCP port that it listens on
    #[arg(short, long, value_name = "PORT", default_value = "8080", value_parser = app::port)]
    port: Port,
    /// The user that it runs as, by name or number; a sandbox has one alone [default: nobody]
    #[arg(long, value_name = "USER")]
    user: Option<UserName>,
    /// Where it runs [default: here, and / for the built-in web server]
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
    /// How many seconds it may take until it answers; 0 doesn't wait
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = clap::value_parser!(u16).range(0..=i64::from(MAX_WAIT)))]
    wait: u16,
    /// The program and its arguments [default: the built-in web server]
    #[arg(value_name = "COMMAND", last = true)]
    command: Vec<String>,
}

impl DeployApp {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let target = self.instance.target()?;
        let user = self.user.clone().unwrap_or_else(UserName::nobody);
        confine::user(&user)?;
        let app = App { command: self.command.clone(), user, directory: self.directory()?, wait: self.wait };
        let subject = Subject::of(target.owner());
        let outcome = session.change(&subject, |state| deploy_app(state, &target, self.port, &app))?;
        let launch = deployed(&outcome, &target, self.port)?;
        let record = session.store.apps().load(&launch.id());
        let pid = record
            .and_then(|record| record.process)
            .map(|process| format!(", pid {}", process.pid))
            .unwrap_or_default();
        let what = format!("{} in {target} on {}:{}{pid}", app.name(), launch.address, launch.port);
        report(session, &outcome, &format!("deployed {what}"), &format!("{what} is deployed"))?;
        if self.user.is_some() && confine::is_alone() && !outcome.dry_run {
            session.ui.note("a sandbox has one user alone: the app runs as that one, without root's powers");
        }
        if outcome.is_change() && has_policy(&outcome, &target)? {
            session.ui.note(&format!("{target} has a policy, which decides who reaches port {}", self.port));
        }
        if outcome.is_change() && outcome.new.vpc(&target.vpc)?.host_access != HostAccess::On {
            session.ui.note(&format!("the host itself has no access to {}", target.vpc));
        }
        Ok(())
    }

    /// An absolute path: the app starts again after a reboot, wherever that is done from.
    fn directory(&self) -> Result<PathBuf> {
        let chosen = match &self.directory {
            None if self.command.is_empty() => return Ok("/".into()),
            None => std::env::current_dir(),
            Some(directory) => directory.canonicalize(),
        };
        let named = self.directory.clone().unwrap_or_else(|| ".".into());
        let refuse = |why: String| {
            Failure::new(Kind::Usage, format!("cannot run in `{}`: {why}", named.display()))
                .hint("name a directory that exists: --directory /srv")
        };
        let directory = chosen.map_err(|error| refuse(error.to_string()))?;
        if !directory.is_dir() || directory.to_str().is_none() {
            return Err(refuse("it is no directory with a name in UTF-8".into()));
        }
        Ok(directory)
    }
}

/// What was started, and where.
fn deployed(outcome: &Outcome, target: &Target, port: Port) -> Result<Launch> {
    let mut found = launch::all(&outcome.new).filter(|launch| &launch.instance == target && launch.port == port);
    found.next().ok_or_else(|| Failure::not_found(format!("`{target}` has no app on port {port}")))
}

fn has_policy(outcome: &Outcome, target: &Target) -> Result<bool> {
    let Some(subnet) = &target.subnet else {
        return Ok(false);
    };
    let mut instances = outcome.new.subnet(&target.vpc, subnet)?.all_instances();
    Ok(instances.any(|(name, _, policy)| name == target.instance.as_ref() && policy.is_some()))
}
