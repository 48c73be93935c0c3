//! Putting policies on subnets and instances, and taking them off.

use crate::error::Result;
use crate::model::name::{Name, VpcName};
use crate::model::owner::Owner;
use crate::model::policy::Policy;
use crate::model::state::State;

/// Where a policy belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyScope {
    /// The VPC.
    pub vpc: VpcName,
    /// The subnet.
    pub subnet: Name,
    /// One further instance of it; all that have no policy of their own otherwise.
    pub instance: Option<Name>,
}

impl PolicyScope {
    /// Whose policy it is.
    pub fn owner(&self) -> Owner {
        Owner::instance(&self.vpc, &self.subnet, self.instance.as_ref())
    }
}

/// Puts the policy in place of the one that was there.
pub fn apply_policy(state: &mut State, scope: &PolicyScope, policy: Policy) -> Result<()> {
    *slot(state, scope)? = Some(policy);
    Ok(())
}

/// Takes the policy off. Where there is none, nothing changes.
pub fn remove_policy(state: &mut State, scope: &PolicyScope) -> Result<()> {
    *slot(state, scope)? = None;
    Ok(())
}

fn slot<'a>(state: &'a mut State, scope: &PolicyScope) -> Result<&'a mut Option<Policy>> {
    let PolicyScope { vpc, subnet, instance } = scope;
    let Some(name) = instance else {
        return Ok(&mut state.subnet_mut(vpc, subnet)?.policy);
    };
    state.instance(vpc, subnet, name)?;
    let missing = || crate::error::Failure::not_found(format!("instance `{vpc}/{subnet}/{name}` does not exist"));
    let instance = state.subnet_mut(vpc, subnet)?.instances.get_mut(name).ok_or_else(missing)?;
    Ok(&mut instance.policy)
}
