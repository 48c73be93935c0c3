//! What a topology file expects of its network: who reaches whom, line by line.
//!
//! ```text
//! FROM -> TO[:PORT[/PROTOCOL]] allow|deny
//! ```
//!
//! FROM and TO are a VPC, `vpc/subnet` or `vpc/subnet/instance` of the file, a subnet's name alone where no other has it, `internet`,
//! `host`, or an IPv4 address. A VPC or a subnet stands for each of its instances. The protocol is `tcp`, unless it says `udp`.

use std::borrow::Cow;
use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::schema::Topology;
use super::want::Misfit;
use crate::error::{Failure, Result};
use crate::model::endpoint::Endpoint;
use crate::model::name::{Name, VpcName};
use crate::model::policy::{Traffic, refuse};
use crate::model::state::State;

const FORM: &str = "write `FROM -> TO allow` or `FROM -> TO:PORT/udp deny`, such as `vpc1/web -> vpc1/db:5432 allow`";

/// One line: who reaches whom, or doesn't.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Who opens connections.
    pub from: Side,
    /// Who is to answer.
    pub to: Side,
    /// What is sent. Where nothing is said: a ping that is allowed, or anything at all that is denied.
    pub traffic: Option<Traffic>,
    /// Is it to get there?
    pub allowed: bool,
}

/// One side of a line, as it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Side {
    /// An address that stands for the internet.
    Internet,
    /// The host.
    Host,
    /// Whoever has this address.
    Address(Ipv4Addr),
    /// A VPC, or a subnet that no other has the name of.
    Bare(String),
    /// A subnet, or one of its further instances.
    Path(VpcName, Name, Option<Name>),
}

/// Whom a side stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// This one.
    One(Endpoint),
    /// Every instance of a VPC.
    Vpc(VpcName),
    /// Every instance of a subnet.
    Subnet(VpcName, Name),
}

impl FromStr for Expectation {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        let shown = || text.chars().take(80).flat_map(char::escape_debug).collect::<String>();
        let words: Vec<&str> = text.split_whitespace().collect();
        let [from, "->", to, verdict] = words[..] else {
            return Err(Failure::usage(format!("`{}` expects nothing", shown())).hint(FORM));
        };
        let allowed = match verdict {
            "allow" => true,
            "deny" => false,
            _ => return Err(Failure::usage(format!("`{verdict}` is neither `allow` nor `deny`")).hint(FORM)),
        };
        let (to, port) = to.split_once(':').map_or((to, None), |(to, port)| (to, Some(port)));
        let traffic = port.map(traffic).transpose()?;
        Ok(Expectation { from: from.parse()?, to: to.parse()?, traffic, allowed })
    }
}

/// `5432`, `53/udp`.
fn traffic(text: &str) -> Result<Traffic> {
    let (port, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_plain = port.bytes().all(|b| b.is_ascii_digit()) && !port.starts_with('0');
    let port = port.parse().ok().filter(|_| is_plain);
    let number = port.ok_or_else(|| Failure::usage(format!("`{text}` is no port (1 to 65535)")).hint(FORM))?;
    match protocol {
        "tcp" => Ok(Traffic::Tcp(number)),
        "udp" => Ok(Traffic::Udp(number)),
        _ => Err(Failure::usage(format!("`{protocol}` is neither `tcp` nor `udp`")).hint(FORM)),
    }
}

impl FromStr for Side {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "internet" => return Ok(Side::Internet),
            "host" => return Ok(Side::Host),
            _ => {}
        }
        if text.starts_with(|first: char| first.is_ascii_digit()) {
            let refuse = |_| Failure::usage(format!("`{text}` is no IPv4 address")).hint(FORM);
            return text.parse().map(Side::Address).map_err(refuse);
        }
        match text.split('/').collect::<Vec<_>>()[..] {
            [name] => name.parse::<Name>().map(|_| Side::Bare(name.to_owned())),
            [vpc, subnet] => Ok(Side::Path(vpc.parse()?, subnet.parse()?, None)),
            [vpc, subnet, instance] => Ok(Side::Path(vpc.parse()?, subnet.parse()?, Some(instance.parse()?))),
            _ => Err(Failure::usage(format!("`{text}` is no path of an instance")).hint(FORM)),
        }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Side::Internet => f.write_str("internet"),
            Side::Host => f.write_str("host"),
            Side::Address(address) => address.fmt(f),
            Side::Bare(name) => f.write_str(name),
            Side::Path(vpc, subnet, None) => write!(f, "{vpc}/{subnet}"),
            Side::Path(vpc, subnet, Some(instance)) => write!(f, "{vpc}/{subnet}/{instance}"),
        }
    }
}

impl fmt::Display for Expectation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Expectation { from, to, traffic, allowed } = self;
        write!(f, "{from} -> {to}")?;
        match traffic {
            Some(Traffic::Tcp(port)) => write!(f, ":{port}")?,
            Some(Traffic::Udp(port)) => write!(f, ":{port}/udp")?,
            _ => {}
        }
        f.write_str(if *allowed { " allow" } else { " deny" })
    }
}

impl Side {
    /// Whom it stands for in this file.
    fn selection(&self, topology: &Topology) -> Result<Selection> {
        match self {
            Side::Internet => Ok(Selection::One(Endpoint::Internet)),
            Side::Host => Ok(Selection::One(Endpoint::Host)),
            Side::Address(address) => Ok(Selection::One(Endpoint::Address(*address))),
            Side::Bare(name) => bare(name, topology),
            Side::Path(vpc, subnet, instance) => {
                let found = topology.vpcs.iter().find(|entry| entry.name == *vpc);
                let found = found.and_then(|entry| entry.subnets.iter().find(|entry| entry.name == *subnet));
                let missing =
                    || Failure::usage(format!("the file has no `{self}`")).hint("`vpcs:` says which there are");
                let found = found.ok_or_else(missing)?;
                let Some(instance) = instance else {
                    return Ok(Selection::Subnet(vpc.clone(), subnet.clone()));
                };
                if found.instances.iter().all(|entry| entry.name != *instance) {
                    return Err(missing());
                }
                Ok(Selection::One(Endpoint::Instance(vpc.clone(), subnet.clone(), Some(instance.clone()))))
            }
        }
    }
}

/// A VPC of this name, or the one subnet that has it.
fn bare(name: &str, topology: &Topology) -> Result<Selection> {
    if let Some(vpc) = topology.vpcs.iter().find(|vpc| vpc.name.as_str() == name) {
        return Ok(Selection::Vpc(vpc.name.clone()));
    }
    let subnets = topology.vpcs.iter().flat_map(|vpc| vpc.subnets.iter().map(move |subnet| (&vpc.name, &subnet.name)));
    let found: Vec<(&VpcName, &Name)> = subnets.filter(|(_, subnet)| subnet.as_str() == name).collect();
    match found[..] {
        [(vpc, subnet)] => Ok(Selection::Subnet(vpc.clone(), subnet.clone())),
        [] => {
            Err(Failure::usage(format!("the file has no VPC and no subnet `{name}`"))
                .hint("`vpcs:` says which there are"))
        }
        _ => {
            let paths: Vec<String> = found.iter().map(|(vpc, subnet)| format!("{vpc}/{subnet}")).collect();
            Err(Failure::usage(format!("several subnets are called `{name}`"))
                .hint(format!("write which: {}", paths.join(", "))))
        }
    }
}

impl Selection {
    /// The instances, as they are now.
    ///
    /// # Errors
    /// There is no such VPC or subnet.
    pub fn endpoints(&self, state: &State) -> Result<Vec<Endpoint>> {
        let apply = |failure: Failure| failure.hint("apply the file first: `vpcctl apply -f FILE`");
        match self {
            Selection::One(end) => end.check(state).map(|()| vec![end.clone()]).map_err(apply),
            Selection::Vpc(vpc) => {
                state.vpc(vpc).map_err(apply)?;
                Ok(Endpoint::instances(state, Some(vpc)))
            }
            Selection::Subnet(vpc, subnet) => {
                let found = state.subnet(vpc, subnet).map_err(apply)?;
                let end = |instance: Option<&Name>| Endpoint::Instance(vpc.clone(), subnet.clone(), instance.cloned());
                Ok(found.all_instances().map(|(instance, ..)| end(instance)).collect())
            }
        }
    }
}

impl Topology {
    /// Whom the two sides of each line stand for.
    ///
    /// # Errors
    /// A line names what the file doesn't have.
    pub fn selections(&self) -> Result<Vec<(&Expectation, [Selection; 2])>, Misfit> {
        let sides = self.expect.iter().enumerate().map(|(at, line)| {
            let side =
                |side: &Side| side.selection(self).map_err(|failure| Misfit { path: format!("expect[{at}]"), failure });
            Ok((line, [side(&line.from)?, side(&line.to)?]))
        });
        sides.collect()
    }
}

impl<'de> Deserialize<'de> for Expectation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(refuse)
    }
}

impl Serialize for Expectation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Expectation {
    fn schema_name() -> Cow<'static, str> {
        "expectation".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`FROM -> TO[:PORT[/udp]] allow|deny`. FROM and TO are a VPC, a subnet, `vpc/subnet/instance`, `internet`, \
                            `host` or an address; a VPC or a subnet stands for each of its instances.",
            "type": "string",
            "pattern": r"^\s*\S+\s+->\s+[^\s:]+(:[1-9][0-9]*(/(tcp|udp))?)?\s+(allow|deny)\s*$",
            "examples": ["vpc1/web -> vpc1/db:5432 allow", "dev -> prod deny"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::topology_file::Source;

    fn topology(lines: &str) -> Result<Topology> {
        let text = format!(
            "version: 1\nvpcs:\n- name: dev\n  cidr: 10.0.0.0/16\n  subnets:\n  - {{name: web, cidr: 10.0.1.0/24, instances: [{{name: two}}]}}\n  \
             - {{name: db, cidr: 10.0.2.0/24}}\n- name: prod\n  cidr: 10.1.0.0/16\n  subnets: [{{name: web, cidr: 10.1.1.0/24}}]\nexpect:\n{lines}"
        );
        let source = Source { name: "net.yaml".into(), text };
        let topology = source.parse()?;
        topology.selections().map_err(|Misfit { path, failure }| source.at(&path, failure))?;
        Ok(topology)
    }

    #[test]
    fn a_line_reads_back_as_it_is_written() {
        for text in [
            "db -> dev/web/two:5432 allow",
            "dev -> prod deny",
            "dev/web -> internet:53/udp allow",
            "host -> 10.1.1.2:80 deny",
            "internet -> dev deny",
        ] {
            let line: Expectation = text.parse().unwrap();
            assert_eq!(line.to_string(), text);
            assert_eq!(topology(&format!("- {text}\n")).unwrap().expect, [line]);
        }
        assert_eq!("a  ->  b:80/tcp  allow".parse::<Expectation>().unwrap().to_string(), "a -> b:80 allow");
    }

    #[test]
    fn what_expects_nothing_is_refused_at_its_place() {
        for (line, words) in [
            ("web -> db", "net.yaml:12:3: expect[0]: `web -> db` expects nothing"),
            ("db -> prod maybe", "expect[0]: `maybe` is neither"),
            ("db -> prod:0 allow", "`0` is no port"),
            ("db -> prod:80/sctp allow", "`sctp` is neither"),
            ("web -> db allow", "net.yaml:12:3: expect[0]: several subnets are called `web`"),
            ("db -> nowhere allow", "no VPC and no subnet `nowhere`"),
            ("dev/web/three -> db allow", "the file has no `dev/web/three`"),
            ("10.0.1 -> db allow", "`10.0.1` is no IPv4 address"),
            ("a/b/c/d -> db allow", "no path"),
        ] {
            let failure = topology(&format!("- {line}\n")).unwrap_err();
            assert!(failure.message.contains(words) && failure.hint.is_some(), "{line}: {failure:?}");
        }
        assert!(topology("- [web]\n").is_err() && topology("").is_err());
    }
}
