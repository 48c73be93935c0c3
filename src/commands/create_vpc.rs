//! `vpcctl create-vpc`.

use clap::Args;

use crate::commands::args::{PoolArg, one, report};
use crate::model::cidr::Cidr;
use crate::model::edit::{VpcSpec, create_vpc};
use crate::model::name::{IfName, VpcName};
use crate::model::owner::Owner;
use crate::model::state::HostAccess;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Create a VPC: a router with a CIDR
///
/// A network namespace that routes, with a bridge for its subnets. Subnets and instances come with `add-subnet`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  vpcctl create-vpc vpc1 10.0.0.0/16\n  vpcctl create-vpc --name vpc1 --cidr 10.0.0.0/16"
)]
pub struct CreateVpc {
    /// The VPC's name
    #[arg(value_name = "NAME")]
    name_by_place: Option<VpcName>,
    /// Its addresses, /8 to /30
    #[arg(value_name = "CIDR")]
    cidr_by_place: Option<Cidr>,
    /// The VPC's name
    #[arg(long, value_name = "NAME")]
    name: Option<VpcName>,
    /// Its addresses, /8 to /30
    #[arg(long, value_name = "CIDR")]
    cidr: Option<Cidr>,
    /// The host's interface that `enable-nat` will use [default: the default route's]
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<IfName>,
    /// Give the host no way to the instances
    #[arg(long)]
    no_host_access: bool,
    #[command(flatten)]
    pool: PoolArg,
}

impl CreateVpc {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let spec = VpcSpec {
            name: one("name", self.name_by_place.clone(), self.name.clone())?,
            cidr: one("CIDR", self.cidr_by_place, self.cidr)?,
            host_access: !self.no_host_access,
            wan: self.interface.clone(),
            pool: self.pool.uplink_pool,
        };
        spec.check()?;
        let (name, cidr) = (&spec.name, spec.cidr);
        let subject = Subject::of(Owner::Vpc(name.clone()));
        let outcome = session.change(&subject, |state| {
            let facts = session.facts(state)?;
            create_vpc(state, &spec, &facts)
        })?;
        report(session, &outcome, &format!("created VPC {name} {cidr}"), &format!("VPC {name} {cidr} exists"))?;
        if !cidr.is_private() {
            session.ui.note(&format!("{cidr} is not a private range: from {name} the real addresses can't be reached"));
        }
        if let Some(HostAccess::Overlaps(what)) = outcome.new.vpcs.get(name).map(|vpc| &vpc.host_access) {
            session.ui.note(&format!("the host gets no route to {name}: {cidr} overlaps {what}; all else works"));
        }
        Ok(())
    }
}
