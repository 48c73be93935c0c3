//! A network namespace for an instant, in which the kernel's features are tried. A process of its own makes it, since the
//! kernel gives no user namespace to one of several threads; with its end all that it tried is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;

use serde::{Deserialize, Serialize};

use super::{files, namespaces, this_program};
use crate::doctor::features::{self, Feature, Trial};
use crate::host::run;

/// The hidden subcommand that tries features.
pub const PROBE_SUBCOMMAND: &str = "doctor-probe";

/// What came of it, as the process that tried it prints it.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// Why there is no namespace.
    pub refused: Option<String>,
    /// The ids of the features that work.
    pub working: BTreeSet<String>,
    /// Why others don't, by id.
    pub failed: BTreeMap<String, String>,
}

/// Has a process try these features; an error is one of the process itself.
pub fn start(tried: &[&Feature]) -> Result<Outcome, String> {
    let child = this_program(PROBE_SUBCOMMAND)
        .args(tried.iter().map(|feature| feature.id))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&child.stdout).map_err(|_| String::from_utf8_lossy(&child.stderr).trim().to_owned())
}

/// The process that tries features: makes the namespace, tries, and prints an [`Outcome`].
pub fn run(ids: &[String]) -> anyhow::Result<u8> {
    let outcome = match namespaces::unshare_network().and_then(|()| files::make_own_run()) {
        Err(failure) => Outcome { refused: Some(failure.message), ..Outcome::default() },
        Ok(()) => {
            let (working, failed) = features::outcome(ids.iter().filter_map(|id| features::find(id)), attempt);
            let failed = failed.into_iter().map(|(id, why)| (id.to_owned(), why));
            Outcome {
                refused: None,
                working: working.into_iter().map(str::to_owned).collect(),
                failed: failed.collect(),
            }
        }
    };
    println!("{}", serde_json::to_string(&outcome)?);
    Ok(0)
}

fn attempt(feature: &Feature) -> Result<(), String> {
    if let Trial::Setting(key) = feature.trial {
        let exists = Path::new("/proc/sys").join(key).exists();
        return if exists { Ok(()) } else { Err(format!("there is no /proc/sys/{key}")) };
    }
    feature.trial.call().map_or(Ok(()), |call| run::check(&call).map(|_| ()).map_err(|error| error.reason))
}
