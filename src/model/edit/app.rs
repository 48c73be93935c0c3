//! Deploying apps and stopping them.

use std::collections::BTreeMap;

use crate::error::{Failure, Result};
use crate::model::app::{App, Port};
use crate::model::owner::Target;
use crate::model::state::State;

/// Wants an app in an instance; `target` names a subnet for its first instance.
pub fn deploy_app(state: &mut State, target: &Target, port: Port, app: &App) -> Result<()> {
    if !app.is_possible() {
        return Err(Failure::usage("that is no program that can be started").hint("write it as a word after `--`"));
    }
    let apps = apps_mut(state, target)?;
    match apps.get(&port) {
        Some(present) if !present.is_same_program(app) => {
            let message = format!("port {port} of `{target}` has another app already: {}", present.name());
            Err(Failure::conflict(message)
                .hint(format!("`vpcctl stop-app {target} --port {port}` first, or choose another port")))
        }
        _ => {
            apps.insert(port, app.clone());
            Ok(())
        }
    }
}

/// Wants an instance's app no more: the one on `port`, or all of them.
pub fn stop_app(state: &mut State, target: &Target, port: Option<Port>) -> Result<()> {
    let apps = apps_mut(state, target)?;
    let is_meant = |other: &Port| port.is_none_or(|port| port == *other);
    if !apps.keys().any(is_meant) {
        return Err(missing(target, port, apps));
    }
    apps.retain(|other, _| !is_meant(other));
    Ok(())
}

impl State {
    /// The apps of an instance by port; a subnet stands for its first one.
    pub(crate) fn apps_at(&self, target: &Target) -> Result<impl Iterator<Item = (Port, &App)>> {
        self.check_target(target)?;
        let subnet = target.subnet.as_ref().map(|name| self.subnet(&target.vpc, name)).transpose()?;
        Ok(subnet.into_iter().flat_map(|subnet| subnet.apps_of(target.instance.as_ref())))
    }
}

/// The apps of an instance, by port.
fn apps_mut<'a>(state: &'a mut State, target: &Target) -> Result<&'a mut BTreeMap<Port, App>> {
    state.check_target(target)?;
    let no_instance = || {
        Failure::usage(format!("`{target}` is a VPC: its router runs no apps"))
            .hint("name an instance: vpc/subnet or vpc/subnet/instance")
    };
    let subnet = state.subnet_mut(&target.vpc, target.subnet.as_ref().ok_or_else(no_instance)?)?;
    match &target.instance {
        None => Ok(&mut subnet.apps),
        Some(name) => subnet.instances.get_mut(name).map(|instance| &mut instance.apps).ok_or_else(no_instance),
    }
}

fn missing(target: &Target, port: Option<Port>, apps: &BTreeMap<Port, App>) -> Failure {
    let which = port.map(|port| format!(" on port {port}")).unwrap_or_default();
    let ports: Vec<String> = apps.keys().map(Port::to_string).collect();
    let hint = if ports.is_empty() {
        "`vpcctl list-apps` shows those that there are".into()
    } else {
        format!("it has apps on {}", ports.join(", "))
    };
    Failure::not_found(format!("`{target}` has no app{which}")).hint(hint)
}
