//! Starting and ending apps on behalf of a plan.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::host::patience::Patience;
use crate::host::{StepError, run};
use crate::plan::batch::{Call, Program};
use crate::plan::launch::{AppId, Launch};
use crate::plan::line::Place;
use crate::store::Store;

/// Starts the app and waits until it answers.
pub fn start(launch: &Launch, store: &Store, interrupted: &AtomicBool) -> Result<(), StepError> {
    let object = format!("cannot start the app on port {} of `{}`", launch.port, launch.instance);
    let failed = |reason: String| StepError::new(object.clone(), "", reason);
    let vpcctl = std::env::current_exe().map_err(|error| failed(format!("where is vpcctl? {error}")))?;
    let state_dir = std::path::absolute(store.dir()).map_err(|error| failed(error.to_string()))?;
    let vpcctl = [vpcctl.display().to_string(), "--state-dir".into(), state_dir.display().to_string()];
    let call = Call { args: launch.entering(&vpcctl), ..Call::plain(Place::Host, Program::Ip, &[]) };
    let wait = Duration::from_secs(launch.app.wait.into());
    let output = run::run_with(&call, Patience::with_launcher(wait, interrupted))?;
    if output.code == Some(0) {
        return Ok(());
    }
    if interrupted.load(Ordering::Relaxed) {
        return Err(StepError::interrupted());
    }
    // The launcher is vpcctl too, and says what went wrong as vpcctl does.
    let words =
        |prefix: &str| output.stderr.lines().find_map(|line| Some(line.trim().strip_prefix(prefix)?.to_owned()));
    let reason = words("error: ").unwrap_or_else(|| run::reason(&output));
    Err(StepError { hint: words("hint: ").map(Into::into), ..failed(reason) })
}

/// Ends the apps and removes their files.
pub fn stop(ids: &[AppId], store: &Store) -> Result<(), StepError> {
    let staying = store.apps().end(ids);
    let Some(first) = staying.first() else {
        return Ok(());
    };
    let object = format!("app on port {} in `{}`", first.port, first.netns);
    Err(StepError::new(object, format!("vpcctl {}", first.end_words().join(" ")), "it did not end"))
}
