//! What `list-apps` prints.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use crate::app::record::{Apps, Record};
use crate::model::app::{Port, UserName};
use crate::plan::launch::Launch;
use crate::ui::table;
use crate::view::VERSION;

/// What `list-apps` prints.
#[derive(Debug, Serialize, JsonSchema)]
pub struct AppList {
    version: u32,
    apps: Vec<ListedApp>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct ListedApp {
    instance: String,
    namespace: String,
    address: Ipv4Addr,
    port: Port,
    running: bool,
    /// Nothing where it doesn't run.
    pid: Option<i32>,
    /// `running`, or how it ended.
    status: String,
    /// When it started, in seconds since 1970.
    since: Option<u64>,
    /// What runs, in words.
    name: String,
    /// Nothing for the built-in web server.
    command: Vec<String>,
    user: UserName,
    log: PathBuf,
}

/// The apps, from the state and their records.
pub fn list(launches: impl Iterator<Item = Launch>, records: &Apps) -> AppList {
    AppList { version: VERSION, apps: launches.map(|launch| listed_app(launch, records)).collect() }
}

fn listed_app(launch: Launch, records: &Apps) -> ListedApp {
    let record = records.load(&launch.id());
    let running = record.as_ref().is_some_and(|record| record.is_running(&launch.id()));
    let status = match (&record, running) {
        (_, true) => "running".into(),
        (Some(Record { end: Some(end), .. }), _) => format!("ended: {}", end.describe()),
        _ => "gone".into(),
    };
    ListedApp {
        instance: launch.instance.to_string(),
        namespace: launch.netns().to_string(),
        address: launch.address,
        port: launch.port,
        running,
        pid: record.as_ref().filter(|_| running).and_then(|record| Some(record.process.as_ref()?.pid)),
        status,
        since: record.map(|record| record.since),
        log: records.log_path(&launch.id()),
        name: launch.app.name(),
        command: launch.app.command,
        user: launch.app.user,
    }
}

/// `list-apps` for people.
pub fn list_table(list: &AppList) -> String {
    if list.apps.is_empty() {
        return "no apps; `vpcctl deploy-app VPC/SUBNET` starts one\n".into();
    }
    let rows = list.apps.iter().map(|app| {
        vec![
            app.instance.clone(),
            format!("{}:{}", app.address, app.port),
            app.pid.map_or("-".into(), |pid| pid.to_string()),
            app.status.clone(),
            app.name.clone(),
            app.log.display().to_string(),
        ]
    });
    table(&["INSTANCE", "ADDRESS", "PID", "STATUS", "COMMAND", "LOG"], rows)
}
