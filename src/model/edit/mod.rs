//! Every change that an operator can ask for, as a change of data. An edit either holds wholly or returns the reason
//! why not; doing the same one twice changes nothing the second time.

mod app;
mod instance;
mod link;
mod nat;
mod peering;
mod policy;
mod subnet;
mod vpc;

pub use app::{deploy_app, stop_app};
pub(crate) use instance::insert_instance;
pub use instance::{InstanceSpec, add_instance, delete_instance};
pub use link::DEFAULT_POOL;
pub(crate) use link::{check_link, keep_record, take_link};
pub use nat::{MAX_NAMESERVERS, NatSpec, PUBLIC_NAMESERVERS, disable_nat, enable_nat, is_nameserver};
pub(crate) use nat::{check_wan, check_way_out, set_nat_scope};
pub use peering::{allow_cidr, peer, unpeer};
pub(crate) use peering::{check_pair, peer_by};
pub use policy::{PolicyScope, apply_policy, remove_policy};
pub use subnet::{MAX_SUBNET_PREFIX, SubnetSpec, add_subnet, delete_subnet};
pub(crate) use subnet::{insert_subnet, set_subnet_type};
pub use vpc::{VPC_PREFIXES, VpcSpec, create_vpc, delete_everything, delete_vpc, delete_vpcs};
pub(crate) use vpc::{insert_vpc, set_host_access};

use crate::error::{Failure, Result};
use crate::model::kernel_names;
use crate::model::state::State;

/// Refuses a state in which two objects would have the same name in the kernel.
fn check_names(state: &State) -> Result<()> {
    let Some((name, one, other)) = kernel_names::collision(state) else {
        return Ok(());
    };
    let message = format!("{} and {} would both have the {name}", one.describe(), other.describe());
    Err(Failure::conflict(message).hint("choose another name for the new one"))
}
