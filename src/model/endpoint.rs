//! The ends of a connection as an operator names them: an instance, an address, `internet`, `host`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use crate::error::{Failure, Result};
use crate::model::name::{Name, VpcName};
use crate::model::owner::Target;
use crate::model::state::State;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// An instance; without a name it is the subnet's first one.
    Instance(VpcName, Name, Option<Name>),
    /// Whoever has this address.
    Address(Ipv4Addr),
    /// An address that stands for the internet.
    Internet,
    /// The host.
    Host,
}

impl Endpoint {
    /// Refuses an instance that doesn't exist.
    pub fn check(&self, state: &State) -> Result<()> {
        let Endpoint::Instance(vpc, subnet, instance) = self else {
            return Ok(());
        };
        let target = Target { vpc: vpc.clone(), subnet: Some(subnet.clone()), instance: instance.clone() };
        state.check_target(&target)
    }

    /// The VPC that it is in.
    pub fn vpc(&self) -> Option<&VpcName> {
        match self {
            Endpoint::Instance(vpc, ..) => Some(vpc),
            _ => None,
        }
    }

    /// The instances of a state, or of one of its VPCs, in the order of their names.
    pub fn instances(state: &State, only: Option<&VpcName>) -> Vec<Endpoint> {
        let vpcs = state.vpcs.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
        let subnets = vpcs.flat_map(|(vpc, found)| found.subnets.iter().map(move |(name, subnet)| (vpc, name, subnet)));
        let instances = subnets.flat_map(|(vpc, name, subnet)| {
            let all = subnet.all_instances();
            all.map(move |(instance, ..)| Endpoint::Instance(vpc.clone(), name.clone(), instance.cloned()))
        });
        instances.collect()
    }
}

impl FromStr for Endpoint {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "internet" => return Ok(Endpoint::Internet),
            "host" => return Ok(Endpoint::Host),
            _ => {}
        }
        let hint = "write an instance as vpc/subnet or vpc/subnet/instance, or an IPv4 address, `internet` or `host`";
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let no_address = |_| Failure::usage(format!("`{}` is no address", text.escape_debug())).hint(hint);
            return text.parse().map(Endpoint::Address).map_err(no_address);
        }
        if text.contains('.') {
            return Err(Failure::usage(format!(
                "`{}` is no instance, and names are not looked up",
                text.escape_debug()
            ))
            .hint(hint));
        }
        match text.parse()? {
            Target { vpc, subnet: Some(subnet), instance } => Ok(Endpoint::Instance(vpc, subnet, instance)),
            Target { vpc, .. } => Err(Failure::usage(format!("`{vpc}` is not the path of an instance")).hint(hint)),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Instance(vpc, subnet, None) => write!(f, "{vpc}/{subnet}"),
            Endpoint::Instance(vpc, subnet, Some(instance)) => write!(f, "{vpc}/{subnet}/{instance}"),
            Endpoint::Address(address) => address.fmt(f),
            Endpoint::Internet => f.write_str("internet"),
            Endpoint::Host => f.write_str("host"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_as_it_is_written() {
        for text in ["vpc1/public", "vpc1/public/web2", "203.0.113.10", "internet", "host"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_no_instance_is_refused_with_a_hint() {
        for text in ["vpc1", "10.0.1", "10.0.1.2/24", "a/b/c/d", "", "internet/x"] {
            let failure = text.parse::<Endpoint>().unwrap_err();
            assert_eq!(failure.kind, crate::error::Kind::Usage, "{text}");
            assert!(failure.hint.is_some(), "{text}");
        }
    }
}
