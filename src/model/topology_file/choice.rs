//! The fields of a topology file that may be written in several forms: how each is read, written, and said in the JSON Schema.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::schema::NatFields;
use crate::error::Failure;
use crate::model::policy::{Policy, refuse};
use crate::model::policy_file::PolicyEntry;
use crate::model::state::CidrPair;

/// The word for a peering that lets everything pass.
const EVERYTHING: &str = "everything";

/// A policy: none, a file's, or this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChoice {
    /// None.
    None,
    /// The one of a file, by its path.
    File(String),
    /// This one.
    Inline(Box<PolicyEntry>),
}

impl PolicyChoice {
    /// The policy, for writing.
    pub fn inline(policy: &Policy) -> Self {
        PolicyChoice::Inline(Box::new(PolicyEntry { subnet: None, policy: policy.clone() }))
    }
}

/// A policy that is there, be it `null`.
pub(super) fn chosen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PolicyChoice>, D::Error> {
    deserializer.deserialize_any(PolicyVisitor).map(Some)
}

struct PolicyVisitor;

impl<'de> Visitor<'de> for PolicyVisitor {
    type Value = PolicyChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy, the path of a policy file, or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<PolicyChoice, E> {
        Ok(PolicyChoice::None)
    }

    fn visit_none<E: de::Error>(self) -> Result<PolicyChoice, E> {
        Ok(PolicyChoice::None)
    }

    fn visit_str<E: de::Error>(self, path: &str) -> Result<PolicyChoice, E> {
        if path.is_empty() || path.contains('\0') {
            let failure = Failure::usage(format!("`{}` is no path of a file", path.escape_debug()));
            return Err(refuse(failure.hint("name a policy file, or write `null` for no policy")));
        }
        Ok(PolicyChoice::File(path.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<PolicyChoice, A::Error> {
        PolicyEntry::deserialize(MapAccessDeserializer::new(map)).map(|entry| PolicyChoice::Inline(Box::new(entry)))
    }
}

impl Serialize for PolicyChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            PolicyChoice::None => serializer.serialize_none(),
            PolicyChoice::File(path) => serializer.serialize_str(path),
            PolicyChoice::Inline(entry) => entry.serialize(serializer),
        }
    }
}

impl JsonSchema for PolicyChoice {
    fn schema_name() -> Cow<'static, str> {
        "policy-choice".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let inline = generator.subschema_for::<PolicyEntry>();
        json_schema!({"anyOf": [{"type": "string", "minLength": 1}, inline, {"enum": [null]}]})
    }
}

/// Internet access: `true`, `false`, or how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NatChoice {
    /// Nobody has it.
    Off,
    /// The public subnets have it.
    On(NatFields),
}

struct NatVisitor;

impl<'de> Visitor<'de> for NatVisitor {
    type Value = NatChoice;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("true, false, or an object")
    }

    fn visit_bool<E: de::Error>(self, on: bool) -> Result<NatChoice, E> {
        Ok(if on { NatChoice::On(NatFields::default()) } else { NatChoice::Off })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NatChoice, A::Error> {
        NatFields::deserialize(MapAccessDeserializer::new(map)).map(NatChoice::On)
    }
}

impl<'de> Deserialize<'de> for NatChoice {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NatVisitor)
    }
}

impl Serialize for NatChoice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            NatChoice::Off => serializer.serialize_bool(false),
            NatChoice::On(fields) if *fields == NatFields::default() => serializer.serialize_bool(true),
            NatChoice::On(fields) => fields.serialize(serializer),
        }
    }
}

impl JsonSchema for NatChoice {
    fn schema_name() -> Cow<'static, str> {
        "nat-choice".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({"anyOf": [{"type": "boolean"}, generator.subschema_for::<NatFields>()]})
    }
}

/// What may pass a peering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allow {
    /// Everything between the two CIDRs.
    Everything,
    /// Connections from a source to a destination of this list, and their replies.
    Pairs(Vec<CidrPair>),
}

struct AllowVisitor;

impl<'de> Visitor<'de> for AllowVisitor {
    type Value = Allow;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of `src` and `dst`, or \"{EVERYTHING}\"")
    }

    fn visit_str<E: de::Error>(self, word: &str) -> Result<Allow, E> {
        if word == EVERYTHING { Ok(Allow::Everything) } else { Err(E::invalid_value(de::Unexpected::Str(word), &self)) }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Allow, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = list.next_element()? {
            pairs.push(pair);
        }
        if pairs.is_empty() {
            let failure = Failure::usage("nothing could pass this peering");
            return Err(refuse(failure.hint(format!("list pairs, write `{EVERYTHING}`, or leave the peering out"))));
        }
        Ok(Allow::Pairs(pairs))
    }
}

impl<'de> Deserialize<'de> for Allow {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AllowVisitor)
    }
}

impl Serialize for Allow {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Allow::Everything => serializer.serialize_str(EVERYTHING),
            Allow::Pairs(pairs) => pairs.serialize(serializer),
        }
    }
}

impl JsonSchema for Allow {
    fn schema_name() -> Cow<'static, str> {
        "allow".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let pair = generator.subschema_for::<CidrPair>();
        json_schema!({"anyOf": [{"const": EVERYTHING}, {"type": "array", "items": pair, "minItems": 1}]})
    }
}
