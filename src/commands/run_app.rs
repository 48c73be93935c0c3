//! The hidden subcommands that start an app, watch over it, become it and end it: see [`crate::app`].

use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use clap::Args;

use crate::app::{OWN_ERROR, confine, init, launch, supervise};
use crate::error::{Failure, Kind};
use crate::model::app::{self, App, Port, UserName};
use crate::model::kernel_names::Netns;
use crate::model::owner::Target;
use crate::plan::launch::{AppId, Launch};
use crate::session::Session;

/// An app in the namespace that this is called in
#[derive(Debug, Args)]
pub struct RunApp {
    /// The instance
    instance: Target,
    /// The instance's address
    #[arg(long)]
    address: Ipv4Addr,
    /// The port that it listens on
    #[arg(long, value_parser = app::port)]
    port: Port,
    /// The user that it runs as
    #[arg(long)]
    user: UserName,
    /// Where it runs
    #[arg(long)]
    directory: PathBuf,
    /// How many seconds it may take until it answers
    #[arg(long)]
    wait: u16,
    /// The program and its arguments
    #[arg(last = true)]
    command: Vec<String>,
}

impl RunApp {
    fn launch(&self) -> Launch {
        let RunApp { instance, address, port, user, directory, wait, command } = self;
        let app = App { command: command.clone(), user: user.clone(), directory: directory.clone(), wait: *wait };
        Launch { instance: instance.clone(), address: *address, port: *port, app }
    }

    pub(super) fn start(&self, session: &Session<'_>) -> anyhow::Result<()> {
        session.store.prepare()?;
        Ok(launch::launch(&self.launch(), &session.store)?)
    }

    pub(super) fn supervise(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let (launch, apps) = (self.launch(), session.store.apps());
        supervise::supervise(&launch, &apps).map_err(|error| {
            supervise::complain(&apps, &launch, &error);
            Failure::new(Kind::Failed, format!("cannot watch over the app: {error}")).into()
        })
    }

    pub(super) fn init(&self) -> anyhow::Result<()> {
        // Standard error is the app's log.
        init::init(&self.launch()).map_err(|error| {
            let _ = writeln!(std::io::stderr(), "{OWN_ERROR}cannot make a place for the app: {error}");
            Failure::new(Kind::Failed, error.to_string()).into()
        })
    }

    /// Returns only where it fails: then the reason goes to the log, for the launcher to read.
    pub(super) fn become_app(&self) -> u8 {
        let Failure { kind, message, .. } = confine::become_app(&self.launch());
        // To the log, on a disk that may be full.
        let _ = writeln!(std::io::stderr(), "{OWN_ERROR}{message}");
        kind.exit_code()
    }
}

/// Which app is to end
#[derive(Debug, Args)]
pub struct EndApp {
    /// The namespace
    netns: Netns,
    /// The port
    port: Port,
}

impl EndApp {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let id = AppId { netns: self.netns.clone(), port: self.port };
        if session.store.apps().end(std::slice::from_ref(&id)).is_empty() {
            return Ok(());
        }
        Err(Failure::new(Kind::Failed, format!("the app on port {} in `{}` did not end", id.port, id.netns)).into())
    }
}
