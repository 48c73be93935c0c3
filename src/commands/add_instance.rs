//! `vpcctl add-instance`.

use std::net::Ipv4Addr;

use clap::Args;

use crate::commands::args::{PathFlags, instance_of, report};
use crate::model::edit::{InstanceSpec, add_instance};
use crate::model::kernel_names;
use crate::model::name::{Name, VpcName};
use crate::model::owner::Owner;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Add an instance to a subnet
///
/// It lives in the namespace VPC-SUBNET-NAME, and follows its subnet's policy until it gets one of its own.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vpcctl add-instance vpc1/public/web2\n  vpcctl add-instance vpc1 public web3 --address 10.0.1.30"
)]
pub struct AddInstance {
    /// The instance
    #[arg(value_name = "VPC/SUBNET/NAME", num_args = 0..=3)]
    path: Vec<String>,
    /// The VPC
    #[arg(long, value_name = "VPC")]
    vpc: Option<VpcName>,
    /// The subnet
    #[arg(long, value_name = "SUBNET")]
    subnet: Option<Name>,
    /// The instance's name
    #[arg(long, value_name = "NAME")]
    name: Option<Name>,
    /// Its address [default: the lowest free one]
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Ipv4Addr>,
}

impl AddInstance {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let flags = PathFlags { vpc: self.vpc.clone(), subnet: self.subnet.clone(), instance: self.name.clone() };
        let (vpc, subnet, name) = instance_of(&flags.target(&self.path)?)?;
        let spec = InstanceSpec { vpc, subnet, name, address: self.address };
        let InstanceSpec { vpc, subnet, name, .. } = &spec;
        let subject = Subject::of(Owner::Instance(vpc.clone(), subnet.clone(), name.clone()));
        let outcome = session.change(&subject, |state| add_instance(state, &spec))?;
        let address = outcome.new.instance(vpc, subnet, name)?.address;
        let what = format!("instance {vpc}/{subnet}/{name} {address}");
        let netns = kernel_names::instance(vpc, subnet, Some(name));
        report(session, &outcome, &format!("added {what} in namespace {netns}"), &format!("{what} exists"))
    }
}
