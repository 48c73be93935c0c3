//! Starting and ending apps on behalf of a plan.

use crate::host::{StepError, run};
use crate::plan::batch::{Call, Program};
use crate::plan::launch::{AppId, Launch};
use crate::plan::line::Place;
use crate::plan::script;
use crate::store::Store;

/// Starts the app and waits until it answers.
pub fn start(launch: &Launch, store: &Store) -> Result<(), StepError> {
    let failed = |reason: String| StepError {
        object: format!("app on port {} of `{}`", launch.port, launch.instance),
        command: script::start_line(launch),
        line: None,
        reason,
        interrupted: false,
    };
    let vpcctl = std::env::current_exe().map_err(|error| failed(format!("where is vpcctl? {error}")))?;
    let state_dir = std::path::absolute(store.dir()).map_err(|error| failed(error.to_string()))?;
    let vpcctl = [vpcctl.display().to_string(), "--state-dir".into(), state_dir.display().to_string()];
    let call = Call { args: launch.entering(&vpcctl), ..Call::plain(Place::Host, Program::Ip, &[]) };
    let output = run::run(&call)?;
    if output.code == Some(0) { Ok(()) } else { Err(failed(launchers_words(&output.stderr))) }
}

/// What the launcher, which is vpcctl too, says went wrong, and what to do about it.
fn launchers_words(stderr: &str) -> String {
    let lines = stderr.lines().map(|line| line.trim().trim_start_matches("error: ").to_owned());
    lines.collect::<Vec<_>>().join("; ")
}

/// Ends the apps and removes their files.
pub fn stop(ids: &[AppId], store: &Store) -> Result<(), StepError> {
    let staying = store.apps().end(ids);
    let Some(first) = staying.first() else {
        return Ok(());
    };
    Err(StepError {
        object: format!("app on port {} in `{}`", first.port, first.netns),
        command: format!("vpcctl {}", first.end_words().join(" ")),
        line: None,
        reason: "it did not end".into(),
        interrupted: false,
    })
}
