//! JSON Schemas, from the types that are read and written.

use anyhow::Context;
use schemars::generate::SchemaSettings;
use schemars::{Schema, json_schema};
use serde_json::Value;

use crate::doctor;
use crate::model::{policy_file, topology_file};
use crate::reachability;
use crate::reference::File;
use crate::store::Document;
use crate::ui;
use crate::view;

/// The schemas.
///
/// # Errors
/// A schema can't be rendered.
pub fn files() -> anyhow::Result<Vec<File>> {
    let schemas = [
        ("policy.schema.json", policy_file::schema()),
        ("state.schema.json", state()),
        ("output.schema.json", output()),
        ("topology.schema.json", topology_file::schema()),
    ];
    schemas.into_iter().map(|(name, schema)| file(name, &schema)).collect()
}

fn file(name: &str, schema: &Schema) -> anyhow::Result<File> {
    let text = serde_json::to_string_pretty(schema).with_context(|| format!("cannot render {name}"))?;
    Ok(File { name: name.to_owned(), text: text + "\n" })
}

/// What the state file holds, as vpcctl writes it.
fn state() -> Schema {
    let mut schema = SchemaSettings::draft2020_12().for_serialize().into_generator().into_root_schema_for::<Document>();
    schema.insert("title".into(), "vpcctl state file".into());
    schema
}

/// What commands print with `-o json` and `-o yaml`.
fn output() -> Schema {
    let mut generator = SchemaSettings::draft2020_12().for_serialize().into_generator();
    let commands = [
        ("list", generator.subschema_for::<view::List>()),
        ("list-apps", generator.subschema_for::<view::apps::AppList>()),
        ("inspect", generator.subschema_for::<view::Inspection>()),
        ("reach", generator.subschema_for::<view::reach::Reach>()),
        ("test", generator.subschema_for::<view::test::Test>()),
        ("graph", generator.subschema_for::<view::graph::nodes::Graph>()),
        ("explain", generator.subschema_for::<view::explain::Explanation>()),
        ("watch, a line each", generator.subschema_for::<view::watch::Event>()),
        ("test-connectivity", generator.subschema_for::<reachability::Answer>()),
        ("test-connectivity --all", generator.subschema_for::<reachability::Matrix>()),
        ("plan", generator.subschema_for::<view::topology::Plan>()),
        ("apply and destroy", generator.subschema_for::<view::topology::Applied<'_>>()),
        ("check", generator.subschema_for::<view::drift::Check>()),
        ("repair and restore", generator.subschema_for::<view::drift::Mended<'_>>()),
        ("doctor", generator.subschema_for::<doctor::report::Report>()),
        ("commands that change something", generator.subschema_for::<ui::Change<'_>>()),
        ("errors, on stderr", generator.subschema_for::<ui::Refusal<'_>>()),
        ("notes, on stderr", generator.subschema_for::<ui::Note<'_>>()),
    ];
    let choices: Vec<Value> = commands
        .into_iter()
        .map(|(command, mut schema)| {
            schema.insert("title".into(), format!("vpcctl {command}").into());
            schema.to_value()
        })
        .collect();
    let mut schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vpcctl output",
        "description": "What commands print with `-o json` and `-o yaml`. Fields may be added within a version.",
        "anyOf": choices,
    });
    schema.insert("$defs".into(), Value::Object(generator.take_definitions(true)));
    schema
}
