//! A policy as a file holds it, inside of another file too.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{EntryFields, Object, PolicyEntry};
use crate::model::cidr::Cidr;
use crate::model::policy::{Action, Ports, Protocol, Rule, refuse};

impl<'de> Deserialize<'de> for PolicyEntry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Object::<EntryFields>::deserialize(deserializer)?.0.entry().map_err(refuse)
    }
}

impl JsonSchema for PolicyEntry {
    fn schema_name() -> Cow<'static, str> {
        EntryFields::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        EntryFields::json_schema(generator)
    }
}

/// What happens to what no rule names, in either direction.
#[derive(Serialize)]
struct Defaults {
    ingress: Action,
    egress: Action,
}

/// A rule, whose other side is its `source` or its `destination`.
struct Written<'a>(&'a Rule, &'static str);

impl Serialize for PolicyEntry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(subnet) = &self.subnet {
            map.serialize_entry("subnet", &subnet.to_string())?;
        }
        if let Some(description) = &self.policy.description {
            map.serialize_entry("description", description)?;
        }
        for (direction, list, peer) in
            [("ingress", &self.policy.ingress, "source"), ("egress", &self.policy.egress, "destination")]
        {
            if !list.rules.is_empty() {
                let rules: Vec<Written<'_>> = list.rules.iter().map(|rule| Written(rule, peer)).collect();
                map.serialize_entry(direction, &rules)?;
            }
        }
        let default = Defaults { ingress: self.policy.ingress.default, egress: self.policy.egress.default };
        map.serialize_entry("default", &default)?;
        map.end()
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Written(rule, peer) = self;
        let mut map = serializer.serialize_map(None)?;
        match &rule.ports {
            Ports::Any => {}
            Ports::Listed(ranges) => match ranges[..] {
                [range] => map.serialize_entry("port", &range)?,
                _ => map.serialize_entry("port", ranges)?,
            },
        }
        let implied = if rule.ports.is_any() { Protocol::All } else { Protocol::Tcp };
        if rule.protocol != implied {
            map.serialize_entry("protocol", &rule.protocol)?;
        }
        map.serialize_entry("action", &rule.action)?;
        if rule.peer != Cidr::ANY {
            map.serialize_entry(peer, &rule.peer)?;
        }
        if let Some(description) = &rule.description {
            map.serialize_entry("description", description)?;
        }
        map.end()
    }
}
