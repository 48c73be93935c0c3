//! `vpcctl explain`.

use clap::Args;

use crate::error::Failure;
use crate::model::name::VpcName;
use crate::model::owner::Owner;
use crate::plan::Plan;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Say what a command makes, and what it is for
///
/// Before a command that changes something: each kernel object that it would make or take away, in order, with what it is for, what
/// a cloud calls it, and the command lines. These are the lines of --dry-run, but for links that go in one, which are shown one by
/// one. Before the name of a VPC: the same of what there is.
/// It changes nothing. Where the kernel has not what the state file says, the command would do more.
#[derive(Debug, Args)]
#[command(
    override_usage = "vpcctl explain COMMAND [ARGUMENTS]\n       vpcctl explain VPC",
    after_help = "Examples:
  vpcctl explain create-vpc vpc1 10.0.0.0/16
  vpcctl explain add-subnet vpc1/web 10.0.1.0/24 --public
  vpcctl explain delete-vpc vpc1 -o json
  vpcctl explain vpc1"
)]
pub struct Explain {
    /// A VPC that exists, or a command with its arguments
    #[arg(value_name = "VPC")]
    vpc: String,
}

impl Explain {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let state = session.read()?;
        let known = self.vpc.parse::<VpcName>().ok().filter(|vpc| state.vpcs.contains_key(vpc));
        let vpc = known.ok_or_else(|| {
            Failure::not_found(format!("`{}` is no command and no VPC", self.vpc.escape_debug()))
                .hint("write a whole command after it, such as `vpcctl explain create-vpc vpc1 10.0.0.0/16`")
        })?;
        let make = Subject::of(Owner::Vpc(vpc)).ops(&state);
        Ok(session.ui.explain(&Plan { make, ..Plan::default() })?)
    }
}
