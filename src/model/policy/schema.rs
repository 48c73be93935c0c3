//! The JSON Schemas of the values that policies are made of, from the tables that their parsers read.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::{ACTIONS, ANY_PORT, Action, MAX_PORTS, PROTOCOLS, PortRange, Ports, Protocol};

/// A port, 1 to 65535, as a regular expression.
const PORT: &str = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])";

/// One of these words, in any case. The list is what an editor offers, the pattern what is read.
pub(crate) fn words<'a>(words: impl IntoIterator<Item = &'a str>) -> Schema {
    let words: Vec<&str> = words.into_iter().collect();
    let patterns: Vec<String> = words.iter().map(|word| in_any_case(word)).collect();
    json_schema!({
        "type": "string",
        "anyOf": [{"enum": words}, {"pattern": format!("^({})$", patterns.join("|"))}],
    })
}

/// A regular expression for a word in any case: the dialect of JSON Schema has no flag for it.
fn in_any_case(word: &str) -> String {
    let one = |c: char| match c.is_ascii_alphabetic() {
        true => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        false => format!("[{c}]"),
    };
    word.chars().map(one).collect()
}

macro_rules! schema_of {
    ($($type:ident as $name:literal: $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(generator: &mut SchemaGenerator) -> Schema {
                let schema: fn(&mut SchemaGenerator) -> Schema = $schema;
                schema(generator)
            }
        }
    )*};
}

schema_of! {
    Action as "action": |_| words(ACTIONS.iter().map(|(word, _)| *word));
    Protocol as "protocol": |_| words(PROTOCOLS.iter().map(|(word, _)| *word));
    PortRange as "port": |_| json_schema!({
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": u16::MAX},
            {"type": "string", "pattern": format!("^{PORT}-{PORT}$"), "examples": ["8000-8100"]},
        ],
    });
    Ports as "ports": |generator| {
        let port = generator.subschema_for::<PortRange>();
        json_schema!({
            "anyOf": [
                port,
                words(ANY_PORT.iter().copied()),
                {"type": "array", "items": port, "minItems": 1, "maxItems": MAX_PORTS},
            ],
        })
    };
}
