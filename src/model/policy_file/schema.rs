//! The JSON Schema of policy files, for editors: what it refuses, vpcctl refuses too. What a schema can't say (no host bits
//! in a CIDR, no port with ICMP, a range that ends before it begins) is left to vpcctl.

use std::borrow::Cow;

use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{ANY_PEER, Description, EntryFields, MAX_DESCRIPTION, MAX_RULES, Object, Peer, Rules, SubnetSelector};
use crate::model::cidr::{Cidr, address_pattern};
use crate::model::name::Name;
use crate::model::policy::words;

/// The JSON Schema of a policy file: a policy, or a list of them.
pub fn schema() -> Schema {
    let mut generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let policy = generator.subschema_for::<EntryFields>();
    let mut schema = json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vpcctl policy file",
        "description": "A firewall policy of a subnet or an instance, or a list of policies, each with its `subnet`.",
        "anyOf": [policy, {"type": "array", "items": policy, "minItems": 1}],
    });
    schema.insert("$defs".into(), Value::Object(generator.take_definitions(true)));
    RecursiveTransform(without_null).transform(&mut schema);
    schema
}

/// A field that may be left out may not be `null`: see `given`.
pub(crate) fn without_null(schema: &mut Schema) {
    let is_null = |value: &Value| *value == json!({"type": "null"}) || *value == json!("null");
    if schema.get("default") == Some(&Value::Null) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| !is_null(kind));
        if let [only] = types.as_mut_slice() {
            let only = only.take();
            schema.insert("type".into(), only);
        }
    }
    let Some(Value::Array(choices)) = schema.get_mut("anyOf") else { return };
    let before = choices.len();
    choices.retain(|choice| !is_null(choice));
    if let [Value::Object(only)] = choices.as_mut_slice()
        && before == 2
    {
        let only = std::mem::take(only);
        schema.remove("anyOf");
        only.into_iter().for_each(|(key, value)| drop(schema.insert(key, value)));
    }
}

impl JsonSchema for SubnetSelector {
    fn schema_name() -> Cow<'static, str> {
        "subnet".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [generator.subschema_for::<Cidr>(), generator.subschema_for::<Name>()]})
    }
}

impl JsonSchema for Peer {
    fn schema_name() -> Cow<'static, str> {
        "peer".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = format!("^{}$", address_pattern());
        let address = json_schema!({"type": "string", "pattern": address, "examples": ["10.0.0.5"]});
        let any = words(ANY_PEER.iter().copied());
        json_schema!({"anyOf": [generator.subschema_for::<Cidr>(), address, any]})
    }
}

impl JsonSchema for Description {
    fn schema_name() -> Cow<'static, str> {
        "description".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "maxLength": MAX_DESCRIPTION, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"})
    }
}

impl<T: JsonSchema> JsonSchema for Object<T> {
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: JsonSchema> JsonSchema for Rules<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}s", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "array", "items": generator.subschema_for::<T>(), "maxItems": MAX_RULES})
    }
}
