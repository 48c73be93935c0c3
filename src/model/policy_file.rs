//! Policy files: an object, or a list of objects, in JSON. What could be misread is refused with the place in the
//! file, the path of the field and the value; nothing is guessed.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::Failure;
use crate::model::cidr::Cidr;
use crate::model::name::Name;
use crate::model::policy::{Action, Policy, Ports, Protocol, Rule, RuleList, refuse};

/// The largest file that is read, in bytes. Whoever opens the file stops there.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// The most rules of one policy, both directions together.
pub const MAX_RULES: usize = 65_536;

/// The longest description, in characters.
pub const MAX_DESCRIPTION: usize = 256;

/// The words for every address, in any case.
const ANY_PEER: &[&str] = &["any", "*"];

/// A key that an editor understands, and nobody else.
const SCHEMA_KEY: &str = "$schema";

/// The longest message that quotes the file, in characters.
pub(crate) const MAX_MESSAGE: usize = 200;

/// A policy of a file, and the subnet that it names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyEntry {
    /// The subnet, if the file names one.
    pub subnet: Option<SubnetSelector>,
    /// The rules.
    pub policy: Policy,
}

/// How a file names a subnet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum SubnetSelector {
    /// By its CIDR.
    Cidr(Cidr),
    /// By its name.
    Name(Name),
}

/// Reads the text of a policy file. `file` is its name, for messages.
///
/// # Errors
/// [`crate::error::Kind::Usage`], with the place in the file, for all that is not a policy.
pub fn parse(text: &str, file: &str) -> Result<Vec<PolicyEntry>, Failure> {
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Failure::usage(format!("{file}: the file is over {} MiB", MAX_FILE_BYTES >> 20))
            .hint("a policy has ranges of ports and CIDRs for what are many rules here"));
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if text.trim_ascii().is_empty() {
        return Err(Failure::usage(format!("{file}: the file is empty")).hint(DOCUMENT_HINT));
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let Document(entries) =
        serde_path_to_error::deserialize(&mut deserializer).map_err(|error| located(file, error))?;
    deserializer.end().map_err(|error| place(file, "", &error))?;
    Ok(entries)
}

const DOCUMENT_HINT: &str = "a policy is an object such as {\"ingress\": [{\"port\": 80, \"action\": \"allow\"}]}";

/// The whole file.
struct Document(Vec<PolicyEntry>);

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a policy or a list of policies")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
        let fields = EntryFields::deserialize(MapAccessDeserializer::new(map))?;
        fields.entry().map(|entry| Document(vec![entry])).map_err(refuse)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Document, A::Error> {
        let mut entries = Vec::new();
        let mut seen = BTreeMap::new();
        while let Some(Object(fields)) = list.next_element::<Object<EntryFields>>()? {
            let entry = fields.entry().map_err(|mut failure| {
                failure.message = format!("[{}]: {}", entries.len(), failure.message);
                refuse(failure)
            })?;
            if let Some(subnet) = entry.subnet.clone()
                && let Some(twin) = seen.insert(subnet.clone(), entries.len())
            {
                let message = format!("[{}]: `{subnet}` has a policy already, at [{twin}]", entries.len());
                return Err(refuse(Failure::usage(message).hint("write all rules of a subnet in one object")));
            }
            entries.push(entry);
        }
        match entries.is_empty() {
            true => Err(refuse(Failure::usage("there is no policy in the list").hint(DOCUMENT_HINT))),
            false => Ok(Document(entries)),
        }
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

pub use schema::schema;
pub(crate) use schema::without_null;

/// A policy as the file holds it.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "policy")]
struct EntryFields {
    /// The subnet that it is for, as its CIDR or its name. Without it, the command line says which.
    #[serde(default, deserialize_with = "given")]
    subnet: Option<SubnetSelector>,
    /// What it is for, in your words.
    #[serde(default, deserialize_with = "given")]
    description: Option<Description>,
    /// Rules for connections that others open to an instance. The first that matches decides.
    #[serde(default, deserialize_with = "given")]
    ingress: Option<Rules<IngressFields>>,
    /// Rules for connections that an instance opens. The first that matches decides.
    #[serde(default, deserialize_with = "given")]
    egress: Option<Rules<EgressFields>>,
    /// What happens to what no rule names: denied in a direction that has rules, allowed in one that has none, unless this
    /// says otherwise.
    #[serde(default, deserialize_with = "given")]
    default: Option<Object<DefaultFields>>,
    /// Where an editor finds the schema of policy files. Of no other meaning.
    #[serde(default, rename = "$schema", deserialize_with = "given")]
    _schema: Option<String>,
}

#[derive(Deserialize, Default, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "default")]
struct DefaultFields {
    /// What happens to connections that others open.
    #[serde(default, deserialize_with = "given")]
    ingress: Option<Action>,
    /// What happens to connections that an instance opens.
    #[serde(default, deserialize_with = "given")]
    egress: Option<Action>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ingress-rule")]
struct IngressFields {
    /// The instance's port, or ports; without it: any.
    #[serde(default)]
    port: Ports,
    /// The protocol; without it: TCP where there is a port, else every one.
    #[serde(default, deserialize_with = "given")]
    protocol: Option<Protocol>,
    /// What happens: deny drops in silence, reject answers.
    action: Action,
    /// Who opens the connection; without it: anybody.
    #[serde(default)]
    source: Peer,
    /// What it is for, in your words.
    #[serde(default, deserialize_with = "given")]
    description: Option<Description>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "egress-rule")]
struct EgressFields {
    /// The other side's port, or ports; without it: any.
    #[serde(default)]
    port: Ports,
    /// The protocol; without it: TCP where there is a port, else every one.
    #[serde(default, deserialize_with = "given")]
    protocol: Option<Protocol>,
    /// What happens: deny drops in silence, reject answers.
    action: Action,
    /// Who is connected to; without it: anybody.
    #[serde(default)]
    destination: Peer,
    /// What it is for, in your words.
    #[serde(default, deserialize_with = "given")]
    description: Option<Description>,
}

impl EntryFields {
    fn entry(self) -> Result<PolicyEntry, Failure> {
        let default = self.default.map(|Object(fields)| fields).unwrap_or_default();
        if self.ingress.is_none() && self.egress.is_none() && default.ingress.is_none() && default.egress.is_none() {
            return Err(Failure::usage("the policy says nothing").hint("write `ingress`, `egress` or `default`"));
        }
        let ingress = self.ingress.map(|list| list.rules).unwrap_or_default();
        let egress = self.egress.map(|list| list.rules).unwrap_or_default();
        if ingress.len() + egress.len() > MAX_RULES {
            return Err(too_many_rules());
        }
        let policy = Policy {
            file: None,
            description: self.description.map(|Description(text)| text),
            ingress: RuleList::new(ingress, default.ingress),
            egress: RuleList::new(egress, default.egress),
        };
        Ok(PolicyEntry { subnet: self.subnet, policy })
    }
}

impl TryFrom<IngressFields> for Rule {
    type Error = Failure;

    fn try_from(fields: IngressFields) -> Result<Self, Failure> {
        let rule = Rule::new(fields.protocol, fields.port, fields.action, fields.source.0)?;
        Ok(Rule { description: fields.description.map(|Description(text)| text), ..rule })
    }
}

impl TryFrom<EgressFields> for Rule {
    type Error = Failure;

    fn try_from(fields: EgressFields) -> Result<Self, Failure> {
        let rule = Rule::new(fields.protocol, fields.port, fields.action, fields.destination.0)?;
        Ok(Rule { description: fields.description.map(|Description(text)| text), ..rule })
    }
}

/// A field that is there has a value: serde reads `null` as absent, which could open what the writer meant to close.
pub(crate) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// An object with fields: serde reads a list of values in the order of the fields, too.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ObjectVisitor(PhantomData)).map(Object)
    }
}

struct ObjectVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ObjectVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object in braces")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// The rules of one direction, whose fields are `T`.
struct Rules<T> {
    rules: Vec<Rule>,
    fields: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Rules<T>
where
    Rule: TryFrom<T, Error = Failure>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rules = deserializer.deserialize_any(RulesVisitor::<T>(PhantomData))?;
        Ok(Rules { rules, fields: PhantomData })
    }
}

struct RulesVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for RulesVisitor<T>
where
    Rule: TryFrom<T, Error = Failure>,
{
    type Value = Vec<Rule>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of rules")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Rule>, A::Error> {
        let mut rules = Vec::new();
        while let Some(CheckedRule(rule, _)) = list.next_element::<CheckedRule<T>>()? {
            if rules.len() == MAX_RULES {
                return Err(refuse(too_many_rules()));
            }
            rules.push(rule);
        }
        Ok(rules)
    }
}

fn too_many_rules() -> Failure {
    Failure::usage(format!("a policy has {MAX_RULES} rules at most"))
        .hint("name several ports, or wider CIDRs, in one rule")
}

/// A rule whose fields fit each other, read from fields `T`.
struct CheckedRule<T>(Rule, PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for CheckedRule<T>
where
    Rule: TryFrom<T, Error = Failure>,
{
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Object(fields) = Object::<T>::deserialize(deserializer)?;
        Rule::try_from(fields).map(|rule| CheckedRule(rule, PhantomData)).map_err(refuse)
    }
}

/// The other side of a rule.
struct Peer(Cidr);

impl Default for Peer {
    fn default() -> Self {
        Peer(Cidr::ANY)
    }
}

impl FromStr for Peer {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if ANY_PEER.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(Peer(Cidr::ANY));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Peer(Cidr::host(address)));
        }
        let hint = "write an IPv4 network such as 10.0.0.0/16, an address, or \"any\"";
        match text.parse() {
            Ok(cidr) => Ok(Peer(cidr)),
            Err(failure) if text.contains('/') => Err(failure),
            Err(_) => Err(Failure::usage(format!("`{}` is no address", text.escape_debug())).hint(hint)),
        }
    }
}

impl FromStr for SubnetSelector {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let numeric = text.starts_with(|first: char| first.is_ascii_digit());
        match numeric || text.contains('/') {
            true => text.parse().map(SubnetSelector::Cidr),
            false => text.parse().map(SubnetSelector::Name),
        }
    }
}

impl fmt::Display for SubnetSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubnetSelector::Cidr(cidr) => cidr.fmt(f),
            SubnetSelector::Name(name) => name.fmt(f),
        }
    }
}

/// Text for showing only. Control characters are refused: they could rewrite a terminal.
struct Description(String);

impl FromStr for Description {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if let Some(odd) = text.chars().find(|c| c.is_control()) {
            return Err(Failure::usage(format!("`{}` can't be in a description", odd.escape_debug()))
                .hint("write it without control characters"));
        }
        match text.chars().count() {
            0..=MAX_DESCRIPTION => Ok(Description(text.to_owned())),
            length => {
                Err(Failure::usage(format!("{length} characters are more than the {MAX_DESCRIPTION} of a description"))
                    .hint("shorten it"))
            }
        }
    }
}

/// Reads a string by its `FromStr`.
struct TextVisitor<T>(&'static str, PhantomData<T>);

impl<T: FromStr<Err = Failure>> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(refuse)
    }
}

macro_rules! read_as_text {
    ($($type:ident: $expecting:literal),*) => {$(
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_any(TextVisitor($expecting, PhantomData))
            }
        }
    )*};
}

read_as_text! {
    Peer: "a CIDR, an address or \"any\", in quotes",
    SubnetSelector: "a subnet's CIDR or name, in quotes",
    Description: "text in quotes"
}

/// `FILE:LINE:COLUMN: PATH: MESSAGE`.
fn located(file: &str, error: serde_path_to_error::Error<serde_json::Error>) -> Failure {
    let path = error.path().to_string();
    let path = if path == "." || path == "?" { String::new() } else { format!("{path}: ") };
    place(file, &path, error.inner())
}

fn place(file: &str, path: &str, error: &serde_json::Error) -> Failure {
    let (line, column) = (error.line(), error.column());
    let text = error.to_string();
    let text = text.strip_suffix(&format!(" at line {line} column {column}")).unwrap_or(&text);
    let (message, hint) =
        text.rsplit_once('\n').map_or((text, None), |(message, hint)| (message, Some(hint.to_owned())));
    let (message, hint) = match message.split_once(", expected ") {
        Some((unknown, known)) if message.starts_with("unknown field") => (unknown, Some(fields_hint(unknown, known))),
        _ => (message, hint),
    };
    let quoted: String = format!("{path}{message}").chars().take(MAX_MESSAGE).flat_map(printable).collect();
    let hint = hint.unwrap_or_else(|| DOCUMENT_HINT.to_owned());
    Failure::usage(format!("{file}:{line}:{column}: {quoted}")).hint(hint)
}

/// A character of the file as it may reach a terminal.
pub(crate) fn printable(c: char) -> Vec<char> {
    if c.is_control() { c.escape_debug().collect() } else { vec![c] }
}

/// What to write for a field that isn't one, from serde's words: ``unknown field `x` ``, ``one of `a`, `b` ``.
pub(crate) fn fields_hint(unknown: &str, known: &str) -> String {
    let quoted = |text: &str| text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    let unknown = quoted(unknown).join("");
    let mut known = quoted(known);
    known.retain(|field| field != SCHEMA_KEY);
    let is_known = |field: &str| known.iter().any(|k| k == field);
    match unknown.as_str() {
        "destination" if is_known("source") => return "an ingress rule names its `source`".into(),
        "source" if is_known("destination") => return "an egress rule names its `destination`".into(),
        _ => {}
    }
    let fields = format!("the fields are {}", known.join(", "));
    match known.iter().find(|field| resembles(&unknown.to_lowercase(), field)) {
        Some(field) => format!("did you mean `{field}`? {fields}"),
        None => fields,
    }
}

/// Is the one an abbreviation of the other, or at most two letters from it?
fn resembles(written: &str, field: &str) -> bool {
    let abbreviates = written.len() >= 3 && (written.starts_with(field) || field.starts_with(written));
    abbreviates || (written.len() <= 2 * field.len() && edit_distance(written, field) <= 2)
}

/// Letters to add, remove or change (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

mod schema;
#[cfg(test)]
mod tests;
mod write;
