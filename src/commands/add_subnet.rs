//! `vpcctl add-subnet`.

use clap::Args;

use crate::commands::args::{PathFlags, one, report, split_last, subnet_of};
use crate::error::Result;
use crate::model::cidr::Cidr;
use crate::model::edit::{SubnetSpec, add_subnet};
use crate::model::kernel_names;
use crate::model::name::{Name, VpcName};
use crate::model::owner::Owner;
use crate::model::state::SubnetType;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Add a subnet and its first instance
///
/// The gateway gets the first address, the first instance, in the namespace VPC-SUBNET, the second.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl add-subnet vpc1 public 10.0.1.0/24 --type public
  vpcctl add-subnet vpc1/private 10.0.2.0/24
  vpcctl add-subnet --vpc vpc1 --name private --cidr 10.0.2.0/24")]
pub struct AddSubnet {
    /// The VPC, the subnet's name and its CIDR
    #[arg(value_names = ["VPC", "NAME", "CIDR"], num_args = 0..=3)]
    words: Vec<String>,
    /// The VPC
    #[arg(long, value_name = "VPC")]
    vpc: Option<VpcName>,
    /// The subnet's name
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// Its addresses, inside the VPC's, a /30 or larger
    #[arg(long, value_name = "CIDR")]
    cidr: Option<Cidr>,
    /// May it have internet access?
    #[arg(long = "type", value_enum, default_value_t, value_name = "TYPE")]
    kind: SubnetType,
    /// The same as --type public
    #[arg(long, conflicts_with_all = ["kind", "private"])]
    public: bool,
    /// The same as --type private
    #[arg(long, conflicts_with = "kind")]
    private: bool,
}

impl AddSubnet {
    fn spec(&self) -> Result<SubnetSpec> {
        let (path, cidr) = split_last("CIDR", &self.words, self.cidr.is_some(), self.vpc.is_some())?;
        let cidr = cidr.map(str::parse).transpose()?;
        let flags = PathFlags { vpc: self.vpc.clone(), subnet: self.name.clone(), instance: None };
        let (vpc, name) = subnet_of(&flags.target(path)?)?;
        let kind = if self.public { SubnetType::Public } else { self.kind };
        Ok(SubnetSpec { vpc, name, cidr: one("CIDR", cidr, self.cidr)?, kind })
    }

    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let spec = self.spec()?;
        spec.check()?;
        let SubnetSpec { vpc, name, cidr, kind } = &spec;
        let subject = Subject::of(Owner::Subnet(vpc.clone(), name.clone()));
        let outcome = session.change(&subject, |state| add_subnet(state, &spec))?;
        let what = format!("{} subnet {vpc}/{name} {cidr}", kind.as_str());
        let address = outcome.new.subnet(vpc, name)?.first_address();
        let netns = kernel_names::instance(vpc, name, None);
        let done = format!("added {what}, first instance {address} in namespace {netns}");
        report(session, &outcome, &done, &format!("{what} exists"))
    }
}
