//! Names as an operator may write them. What passes here is safe in every place that a name reaches: a
//! namespace's file name, an interface name, a link alias, a rule comment, a path below `/proc/sys`.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use compact_str::CompactString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::Failure;
use crate::model::text;

/// Three of these and two hyphens make a namespace's name, which is a file name: 255 bytes at most.
const MAX_LEN: usize = 63;

/// Words that would read as something else, in a command of ours (`any`, `all`) or of the kernel's tools.
const RESERVED: [&str; 5] = ["all", "any", "default", "lo", "none"];

/// Ends of a path that are not VPCs: a VPC named like one could never be told from it.
const RESERVED_FOR_VPCS: [&str; 2] = ["host", "internet"];

/// The name of a VPC, a subnet or an instance: a letter, then letters, digits, `-` and `_`, 63 at most.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(CompactString);

/// The name of a VPC: a [`Name`] that isn't `host` or `internet`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VpcName(Name);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl VpcName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for Name {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let refuse = |why: String| {
            Failure::usage(format!("`{}` is no name: {why}", text.escape_debug()))
                .hint("a name is a letter, then letters, digits, `-` or `_`, at most 63 in all")
        };
        let Some(first) = text.chars().next() else {
            return Err(refuse("it is empty".into()));
        };
        if !first.is_ascii_alphabetic() {
            return Err(refuse(format!("it begins with `{}`", first.escape_debug())));
        }
        if let Some(odd) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))) {
            return Err(refuse(format!("`{}` can't be in a name", odd.escape_debug())));
        }
        if text.len() > MAX_LEN {
            return Err(refuse(format!("it has {} characters", text.len())));
        }
        if RESERVED.contains(&text) {
            return Err(refuse("the word is reserved".into()).hint("choose another name"));
        }
        Ok(Name(text.into()))
    }
}

impl FromStr for VpcName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        if RESERVED_FOR_VPCS.contains(&text) {
            return Err(Failure::usage(format!("`{text}` is no name for a VPC: the word is reserved"))
                .hint("choose another name"));
        }
        Name::from_str(text).map(VpcName)
    }
}

/// The name of a network interface of the host: 1 to 15 letters, digits, `.`, `_` and `-`.
///
/// The kernel takes more, but `+` is a wildcard to iptables, `%d` a number to fill in, and `/` a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IfName(CompactString);

impl IfName {
    /// The longest name the kernel takes: `IFNAMSIZ` is 16 with the closing zero.
    pub const MAX_LEN: usize = 15;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IfName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let fits = (1..=IfName::MAX_LEN).contains(&text.len());
        let dots = text == "." || text == "..";
        if !fits || dots || text.starts_with('-') || !text.chars().all(allowed) {
            return Err(Failure::usage(format!("`{}` is no interface name", text.escape_debug()))
                .hint("an interface name has 1 to 15 letters, digits, `.`, `_` or `-`; `ip link` lists them"));
        }
        Ok(IfName(text.into()))
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                text::parsed(deserializer)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

as_text!(Name, VpcName, IfName);

macro_rules! schema_of {
    ($($type:ident as $name:literal: $schema:expr;)*) => {$(
        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    )*};
}

schema_of! {
    Name as "name": name_schema(&RESERVED);
    VpcName as "vpc-name": name_schema(&[&RESERVED[..], &RESERVED_FOR_VPCS].concat());
    IfName as "interface": json_schema!({
        "type": "string",
        "pattern": format!("^[A-Za-z0-9._][A-Za-z0-9._-]{{0,{}}}$", IfName::MAX_LEN - 1),
        "not": {"enum": [".", ".."]},
    });
}

fn name_schema(reserved: &[&str]) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": format!("^[A-Za-z][A-Za-z0-9_-]{{0,{}}}$", MAX_LEN - 1),
        "not": {"enum": reserved},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_tools_take_for_keywords_are_names() {
        for name in ["up", "br", "dev", "type", "via", "name", "master", "v", "A1", "my_vpc", &"a".repeat(63)] {
            assert_eq!(name.parse::<Name>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn what_a_shell_a_path_or_a_kernel_could_misread_is_refused() {
        let long = "a".repeat(64);
        let bad = [
            "",
            ".",
            "..",
            "../x",
            "a/b",
            "a\0",
            "a b",
            "a\tb",
            "a\n",
            "ü",
            "🦀",
            "\u{200f}a",
            "-a",
            "1a",
            "_a",
            ";rm -rf /",
            "$(id)",
            "`id`",
            "%d",
            "a+",
            "*",
            "\"",
            "'",
            "all",
            "any",
            "default",
            "lo",
            "none",
            "a.b",
            &long,
        ];
        for name in bad {
            let failure = name.parse::<Name>().unwrap_err();
            assert_eq!(failure.kind, crate::error::Kind::Usage, "{name:?}");
            assert!(failure.message.is_ascii() || name == "ü" || name == "🦀", "{}", failure.message);
        }
        assert!("internet".parse::<VpcName>().is_err());
        assert!("host".parse::<VpcName>().is_err());
        assert!("host".parse::<Name>().is_ok());
    }
}
