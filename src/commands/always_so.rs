//! Commands that other tools of this kind need and vpcctl doesn't: what they ask for is always so. They check it and say so.

use clap::Args;

use crate::commands::args::{VpcArg, one};
use crate::error::{Failure, Result};
use crate::model::cidr::Cidr;
use crate::model::name::VpcName;
use crate::model::state::{Peering, PeeringScope, State, Vpc};
use crate::session::Session;

/// Let a VPC's subnets reach each other: always so
///
/// Changes nothing. Policies say who may connect to whom: `vpcctl apply-policy`.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vpcctl allow-intra-vpc vpc1")]
pub struct AllowIntraVpc {
    #[command(flatten)]
    vpc: VpcArg,
}

impl AllowIntraVpc {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let name = self.vpc.get()?;
        let state = session.read()?;
        let vpc = state.vpc(&name)?;
        let but = if has_policies(vpc) { ", as far as its policies let them" } else { "" };
        session.ui.change(false, 0, &format!("the subnets of {name} always reach each other{but}: nothing to do"))
    }
}

fn has_policies(vpc: &Vpc) -> bool {
    let instances = |subnet: &crate::model::state::Subnet| subnet.instances.values().any(|one| one.policy.is_some());
    vpc.subnets.values().any(|subnet| subnet.policy.is_some() || instances(subnet))
}

/// Keep two VPCs apart: always so, unless they are peered
///
/// Changes nothing. Fails where the VPCs are peered, and names the command that ends it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vpcctl isolate-vpcs --cidr-a 10.0.0.0/16 --cidr-b 10.1.0.0/16")]
pub struct IsolateVpcs {
    /// A CIDR inside one VPC
    #[arg(value_name = "CIDR")]
    one_by_place: Option<Cidr>,
    /// A CIDR inside the other VPC
    #[arg(value_name = "CIDR")]
    other_by_place: Option<Cidr>,
    /// A CIDR inside one VPC
    #[arg(long, value_name = "CIDR")]
    cidr_a: Option<Cidr>,
    /// A CIDR inside the other VPC
    #[arg(long, value_name = "CIDR")]
    cidr_b: Option<Cidr>,
}

impl IsolateVpcs {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let a = one("first CIDR", self.one_by_place, self.cidr_a)?;
        let b = one("second CIDR", self.other_by_place, self.cidr_b)?;
        check_apart(&session.read()?, a, b)?;
        session.ui.change(
            false,
            0,
            &format!("{a} and {b} are isolated, as VPCs always are unless peered: nothing to do"),
        )
    }
}

/// Refuses CIDRs that no VPC has, that one VPC has both of, or that a peering connects.
fn check_apart(state: &State, a: Cidr, b: Cidr) -> Result<()> {
    let (of_a, of_b) = (owners(state, a)?, owners(state, b)?);
    if let ([one], [other]) = (&of_a[..], &of_b[..])
        && one == other
    {
        return Err(Failure::usage(format!("{a} and {b} are both of `{one}`, whose subnets reach each other"))
            .hint("policies keep subnets of a VPC apart: `vpcctl apply-policy`"));
    }
    let connects = |peering: &&Peering| {
        let between = |one: &[&VpcName], other: &[&VpcName]| one.contains(&&peering.a) && other.contains(&&peering.b);
        (between(&of_a, &of_b) || between(&of_b, &of_a)) && lets_pass(&peering.scope, a, b)
    };
    state.peerings.iter().find(connects).map_or(Ok(()), |Peering { a: one, b: other, .. }| {
        Err(Failure::conflict(format!("{a} and {b} are not isolated: `{one}` and `{other}` are peered"))
            .hint(format!("`vpcctl unpeer {one} {other}` isolates them")))
    })
}

/// The VPCs that a CIDR is of: several may have the same.
fn owners(state: &State, cidr: Cidr) -> Result<Vec<&VpcName>> {
    let found: Vec<&VpcName> =
        state.vpcs.iter().filter(|(_, vpc)| vpc.cidr.covers(cidr)).map(|(name, _)| name).collect();
    if found.is_empty() {
        return Err(Failure::not_found(format!("{cidr} is in no VPC")).hint("`vpcctl list` shows the VPCs' CIDRs"));
    }
    Ok(found)
}

/// Does a peering of this scope let something pass between the two?
fn lets_pass(scope: &PeeringScope, a: Cidr, b: Cidr) -> bool {
    match scope {
        PeeringScope::Everything => true,
        PeeringScope::Only(pairs) => pairs.iter().any(|pair| {
            let joins = |from: Cidr, to: Cidr| pair.src.overlaps(from) && pair.dst.overlaps(to);
            joins(a, b) || joins(b, a)
        }),
    }
}
