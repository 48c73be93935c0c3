//! Whose objects a repeated command looks after.

use std::collections::BTreeSet;

use crate::model::name::VpcName;
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::op::Op;
use crate::plan::topology;

/// The owners whose objects a repeated command mends, with what they stand on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// Nobody's.
    Nothing,
    /// These owners', the routers' of their VPCs, and the host's; for a VPC all that is in it.
    Of(Vec<Owner>),
    /// Everybody's.
    Everything,
}

impl Subject {
    /// The objects of one owner, and what they stand on.
    pub fn of(owner: Owner) -> Self {
        Subject::Of(vec![owner])
    }

    /// The ops of the subject in a state.
    pub fn ops(&self, state: &State) -> Vec<Op> {
        match self {
            Subject::Nothing => Vec::new(),
            Subject::Everything => topology::ops(state),
            Subject::Of(owners) => {
                let vpcs: BTreeSet<&VpcName> = owners.iter().flat_map(Owner::vpcs).collect();
                let of_vpcs = vpcs.iter().flat_map(|vpc| topology::vpc_ops(state, vpc));
                let peerings = state.peerings.iter().filter(|p| vpcs.contains(&p.a) || vpcs.contains(&p.b));
                let of_peerings = peerings.flat_map(|peering| topology::peering_ops(state, peering));
                let is_included = |op: &Op| includes(owners, &vpcs, &op.owner);
                topology::host_ops(state).into_iter().chain(of_vpcs).chain(of_peerings).filter(is_included).collect()
            }
        }
    }
}

fn includes(subjects: &[Owner], vpcs: &BTreeSet<&VpcName>, owner: &Owner) -> bool {
    let stands_on = match owner {
        Owner::Host => true,
        Owner::Vpc(vpc) => vpcs.contains(vpc),
        _ => false,
    };
    stands_on || subjects.iter().any(|subject| subject.includes(owner))
}
