//! Who a kernel object belongs to, and the path an operator names it by: `vpc`, `vpc/subnet`, `vpc/subnet/instance`.

use std::fmt;
use std::str::FromStr;

use crate::error::Failure;
use crate::model::name::{Name, VpcName};

/// What an object of the kernel is there for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// All VPCs together: the host's own rules and settings.
    Host,
    /// A VPC: its router, bridge and uplink.
    Vpc(VpcName),
    /// A subnet, its first instance included.
    Subnet(VpcName, Name),
    /// A further instance of a subnet.
    Instance(VpcName, Name, Name),
    /// A peering of two VPCs, in the order of their names.
    Peering(VpcName, VpcName),
}

impl Owner {
    /// The word for what it is, and its path: `subnet vpc1/public`.
    pub fn describe(&self) -> String {
        match self {
            Owner::Host => "the host's part".into(),
            Owner::Vpc(_) => format!("VPC `{self}`"),
            Owner::Subnet(..) => format!("subnet `{self}`"),
            Owner::Instance(..) => format!("instance `{self}`"),
            Owner::Peering(a, b) => format!("peering of `{a}` and `{b}`"),
        }
    }

    /// The owner of an instance's objects; `None` is the subnet's first one.
    pub fn instance(vpc: &VpcName, subnet: &Name, instance: Option<&Name>) -> Self {
        match instance {
            None => Owner::Subnet(vpc.clone(), subnet.clone()),
            Some(instance) => Owner::Instance(vpc.clone(), subnet.clone(), instance.clone()),
        }
    }

    /// The VPCs that it is a part of, or an end in.
    pub fn vpcs(&self) -> Vec<&VpcName> {
        match self {
            Owner::Host => vec![],
            Owner::Vpc(vpc) | Owner::Subnet(vpc, _) | Owner::Instance(vpc, _, _) => vec![vpc],
            Owner::Peering(a, b) => vec![a, b],
        }
    }

    /// Is `other` the same, or in it, or a peering of it?
    pub fn includes(&self, other: &Owner) -> bool {
        match (self, other) {
            (Owner::Vpc(vpc), _) => other.vpcs().contains(&vpc),
            (Owner::Subnet(vpc, subnet), Owner::Instance(v, s, _)) => (vpc, subnet) == (v, s),
            _ => self == other,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Owner::Host => f.write_str("host"),
            Owner::Vpc(vpc) => write!(f, "{vpc}"),
            Owner::Subnet(vpc, subnet) => write!(f, "{vpc}/{subnet}"),
            Owner::Instance(vpc, subnet, instance) => write!(f, "{vpc}/{subnet}/{instance}"),
            Owner::Peering(a, b) => write!(f, "{a}+{b}"),
        }
    }
}

/// A path on the command line: a VPC, a subnet (and its first instance), or a further instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The VPC.
    pub vpc: VpcName,
    /// The subnet, where the path has one.
    pub subnet: Option<Name>,
    /// The instance, where the path has one.
    pub instance: Option<Name>,
}

impl FromStr for Target {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let mut parts = text.split('/');
        let vpc = parts.next().unwrap_or_default().parse()?;
        let subnet = parts.next().map(str::parse).transpose()?;
        let instance = parts.next().map(str::parse).transpose()?;
        if parts.next().is_some() {
            return Err(Failure::usage(format!("`{}` has too many parts", text.escape_debug()))
                .hint("write vpc, vpc/subnet or vpc/subnet/instance"));
        }
        Ok(Target { vpc, subnet, instance })
    }
}

impl Target {
    /// The owner of the objects that the path stands for.
    pub fn owner(&self) -> Owner {
        match &self.subnet {
            None => Owner::Vpc(self.vpc.clone()),
            Some(subnet) => Owner::instance(&self.vpc, subnet, self.instance.as_ref()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.vpc)?;
        for part in [&self.subnet, &self.instance].into_iter().flatten() {
            write!(f, "/{part}")?;
        }
        Ok(())
    }
}
