//! From text to a [`Topology`], and from the path of a field back to its place in the text.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Spanned};

use super::schema::Topology;
use crate::error::Failure;
use crate::model::policy_file::{MAX_FILE_BYTES, MAX_MESSAGE, fields_hint, printable};

/// The most values that a file holds, each anchor counted as often as it is used: what a policy of the most rules needs, and more.
const MAX_NODES: usize = 2_000_000;

const FIELD_HINT: &str = "the README describes the fields, and `vpcctl export` prints an example";

const DOCUMENT_HINT: &str = "a topology begins with `version: 1`, then `vpcs:`; `vpcctl export` prints one";

/// A text and its name, for messages.
#[derive(Debug, Clone)]
pub struct Source {
    /// What the operator calls it.
    pub name: String,
    /// The text.
    pub text: String,
}

impl Source {
    /// Reads the topology.
    ///
    /// # Errors
    /// [`crate::error::Kind::Usage`], with the place in the file and the field, for all that is not a topology.
    pub fn parse(&self) -> Result<Topology, Failure> {
        if self.text.len() as u64 > MAX_FILE_BYTES {
            return Err(Failure::usage(format!("{}: the file is over {} MiB", self.name, MAX_FILE_BYTES >> 20))
                .hint("write large policies into files of their own, and name their paths"));
        }
        let is_nothing = |line: &str| matches!(line.trim(), "" | "---") || line.trim_start().starts_with('#');
        if self.text.trim_start_matches('\u{feff}').lines().all(is_nothing) {
            return Err(Failure::usage(format!("{}: the file is empty", self.name)).hint(DOCUMENT_HINT));
        }
        let mut place = String::new();
        let parsed = serde_saphyr::with_deserializer_from_str_with_options(&self.text, options(), |deserializer| {
            serde_path_to_error::deserialize(deserializer).map_err(|error| {
                place = error.path().to_string();
                error.into_inner()
            })
        });
        parsed.map_err(|error| self.refused(&place, error.without_snippet()))
    }

    /// A failure that has to do with a field: where that is, and what is wrong with it.
    pub fn at(&self, path: &str, failure: Failure) -> Failure {
        let place = self.locate(path).map(|(line, column)| format!("{line}:{column}: ")).unwrap_or_default();
        Failure { message: format!("{}:{place}{path}: {}", self.name, failure.message), ..failure }
    }

    fn refused(&self, path: &str, error: &Error) -> Failure {
        let (message, hint) = words(error);
        let quoted: String = message.chars().take(MAX_MESSAGE).flat_map(printable).collect();
        let place = error.location().filter(|place| place.line() > 0).map(|place| (place.line(), place.column()));
        let place = place.or_else(|| self.locate(path)).map(|(line, column)| format!("{line}:{column}: "));
        // A key that stands there twice is in a known place; the parser's own words on a text that is no YAML have none.
        let path =
            if matches!(error, Error::DuplicateMappingKey { .. }) { path.trim_end_matches(['.', '?']) } else { path };
        let known = Some(path).filter(|path| !path.is_empty() && *path != "." && !path.contains('?'));
        let path: String = known.into_iter().flat_map(str::chars).take(MAX_MESSAGE).flat_map(printable).collect();
        let (path, usual) = if path.is_empty() { (path, DOCUMENT_HINT) } else { (format!("{path}: "), FIELD_HINT) };
        Failure::usage(format!("{}:{}{path}{quoted}", self.name, place.unwrap_or(" ".into())))
            .hint(hint.unwrap_or_else(|| usual.to_owned()))
    }

    /// The line and the column of a field; of what it would be in, where it isn't there.
    fn locate(&self, path: &str) -> Option<(u64, u64)> {
        let mut node: Located = serde_saphyr::from_str_with_options(&self.text, options()).ok()?;
        let mut place = (node.0.referenced.line(), node.0.referenced.column());
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let Some(next) = node.0.value.child(step.trim_end_matches(']')) else { break };
            node = next;
            place = (node.0.referenced.line(), node.0.referenced.column());
        }
        Some(place)
    }
}

fn options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        with_snippet: false,
        budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_events: 2 * MAX_NODES, max_documents: 1 },
    }
}

/// What is wrong, and what to do about it where that is known.
fn words(error: &Error) -> (String, Option<String>) {
    let text = match error {
        Error::Message { msg, .. } => msg.clone(),
        Error::SerdeUnknownField { field, expected, .. } => {
            // Other spellings of a field are not worth a mention.
            let known = expected.iter().filter(|field| !field.contains(['_', '$']));
            let known: Vec<String> = known.map(|field| format!("`{field}`")).collect();
            let unknown = format!("unknown field `{field}`");
            return (unknown.clone(), Some(fields_hint(&unknown, &known.join(", "))));
        }
        Error::DuplicateMappingKey { key: Some(key), .. } => return (format!("`{key}` stands there twice"), None),
        Error::Unexpected { expected: "sequence start", .. } => return ("this is not a list".into(), None),
        Error::Unexpected { expected: "mapping start", .. } => return ("this is not an object".into(), None),
        Error::SerdeMissingField { field, .. } => return (format!("`{field}` is missing"), None),
        Error::InvalidScalar { ty, .. } => return (not_a(ty).into(), None),
        Error::SerdeInvalidValue { expected, .. } if expected.contains("nonzero u16") => {
            return ("0 is not a port (1 to 65535)".into(), None);
        }
        Error::SerdeInvalidLength { expected, .. } if expected.contains("tuple") => {
            return ("this is not a pair".into(), None);
        }
        Error::NullIntoString { .. } => return ("there is no text".into(), None),
        Error::RecursiveReferencesRequireWeakTypes { .. } => return ("the anchor is part of itself".into(), None),
        Error::Budget { breach: BudgetBreach::Documents { .. }, .. } | Error::MultipleDocuments { .. } => {
            return ("a second document begins here".into(), Some("write one topology to a file".into()));
        }
        Error::Budget { .. } => {
            return (format!("there are more than {MAX_NODES} values, anchors that are used included"), None);
        }
        other => other.to_string().replace("unit value", "nothing"),
    };
    let text = match text.rfind(" at line ") {
        Some(end) if text[end..].starts_with(" at line ") && !text[end..].contains('\n') => text[..end].to_owned(),
        _ => text,
    };
    match text.split_once('\n') {
        Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
        None => (text, None),
    }
}

/// What is said of a value that isn't of one of Rust's types.
fn not_a(scalar: &str) -> &'static str {
    match scalar {
        "u16" => "this is not a whole number of 0 to 65535",
        "boolean" => "this is neither `true` nor `false`",
        _ => "this is not a whole number",
    }
}

/// A value with its place.
#[derive(Deserialize)]
struct Located(Spanned<Node>);

/// A value of any kind.
enum Node {
    Object(Vec<(String, Located)>),
    List(Vec<Located>),
    Other,
}

impl Node {
    /// The field of this name, in either spelling, or the element of this number.
    fn child(self, step: &str) -> Option<Located> {
        let is_meant = |key: &str| key == step || key.replace('_', "-") == step;
        match self {
            Node::Object(fields) => fields.into_iter().find(|(key, _)| is_meant(key)).map(|(_, value)| value),
            Node::List(elements) => step.parse().ok().and_then(|index| elements.into_iter().nth(index)),
            Node::Other => None,
        }
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Object(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element()? {
            elements.push(element);
        }
        Ok(Node::List(elements))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Other)
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}
