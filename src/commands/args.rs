//! Arguments that several commands share, and how their two spellings, by place and by flag, become one value.

use std::net::Ipv4Addr;
use std::time::Duration;

use clap::Args;

use crate::commands::test_connectivity::seconds;
use crate::error::{Failure, Result};
use crate::inquiry::Sending;
use crate::model::cidr::Cidr;
use crate::model::edit::DEFAULT_POOL;
use crate::model::kernel_names;
use crate::model::name::{Name, VpcName};
use crate::model::owner::{Owner, Target};
use crate::model::state::State;
use crate::plan::subject::Subject;
use crate::session::{Outcome, Session};

/// The value that was given, by place or by flag.
pub fn one<T>(what: &str, by_place: Option<T>, by_flag: Option<T>) -> Result<T> {
    match (by_place, by_flag) {
        (Some(value), None) | (None, Some(value)) => Ok(value),
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("the {what} is given twice")).hint("give it by place or by flag, not both"))
        }
        (None, None) => Err(Failure::usage(format!("the {what} is missing")).hint("--help shows how to write it")),
    }
}

/// How packets are sent to compare the model with.
#[derive(Debug, Args)]
pub struct SendingArgs {
    /// Ask the model alone, and send nothing
    #[arg(long)]
    no_probe: bool,
    /// How many seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    timeout: Duration,
    /// The address that stands for the internet
    #[arg(long, env = "VPCCTL_INTERNET", default_value = "1.1.1.1", value_name = "ADDRESS", hide_env_values = true)]
    internet: Ipv4Addr,
}

impl SendingArgs {
    /// How; a dry run sends nothing.
    pub fn get(&self, session: &Session<'_>) -> Sending {
        let patience = (!self.no_probe && !session.dry_run).then_some(self.timeout);
        Sending { internet: self.internet, patience, inside: self.timeout }
    }
}

/// A VPC, by place or as `--vpc`.
#[derive(Debug, Args)]
pub struct VpcArg {
    /// The VPC
    #[arg(value_name = "VPC")]
    vpc_by_place: Option<VpcName>,
    /// The VPC
    #[arg(long, value_name = "VPC")]
    vpc: Option<VpcName>,
}

impl VpcArg {
    /// The VPC.
    pub fn get(&self) -> Result<VpcName> {
        one("VPC", self.vpc_by_place.clone(), self.vpc.clone())
    }
}

/// Two VPCs, by place or as `--vpc1` and `--vpc2`; or by their bridges.
#[derive(Debug, Args)]
pub struct VpcPair {
    /// One VPC
    #[arg(value_name = "VPC1")]
    one_by_place: Option<VpcName>,
    /// The other VPC
    #[arg(value_name = "VPC2")]
    other_by_place: Option<VpcName>,
    /// One VPC
    #[arg(long, value_name = "VPC")]
    vpc1: Option<VpcName>,
    /// The other VPC
    #[arg(long, value_name = "VPC")]
    vpc2: Option<VpcName>,
    /// The bridge of one VPC
    #[arg(long, value_name = "BRIDGE", hide_short_help = true, conflicts_with = "vpc1")]
    bridge_a: Option<String>,
    /// The bridge of the other VPC
    #[arg(long, value_name = "BRIDGE", hide_short_help = true, conflicts_with = "vpc2")]
    bridge_b: Option<String>,
}

impl VpcPair {
    /// The two VPCs. Only bridges are looked up in the state.
    pub fn get(&self, session: &Session<'_>) -> Result<(VpcName, VpcName)> {
        let flag = |vpc: &Option<VpcName>, bridge: &Option<String>| match bridge {
            Some(bridge) => owner_of_bridge(&session.read()?, bridge).map(Some),
            None => Ok(vpc.clone()),
        };
        let one_vpc = one("first VPC", self.one_by_place.clone(), flag(&self.vpc1, &self.bridge_a)?)?;
        Ok((one_vpc, one("second VPC", self.other_by_place.clone(), flag(&self.vpc2, &self.bridge_b)?)?))
    }
}

/// The VPC whose bridge it is. A long VPC's name is not in its bridge's, so the bridges are compared.
fn owner_of_bridge(state: &State, bridge: &str) -> Result<VpcName> {
    let found = state.vpcs.keys().find(|vpc| kernel_names::bridge(vpc).to_string() == bridge);
    found.cloned().ok_or_else(|| {
        let bridges: Vec<String> = state.vpcs.keys().map(|vpc| kernel_names::bridge(vpc).to_string()).collect();
        Failure::not_found(format!("no VPC has the bridge `{}`", bridge.escape_debug())).hint(if bridges.is_empty() {
            "there are no VPCs".into()
        } else {
            format!("there are these: {}", bridges.join(", "))
        })
    })
}

/// The flags that name a path piece by piece.
#[derive(Debug, Default, Args)]
pub struct PathFlags {
    /// The VPC
    #[arg(long, value_name = "VPC")]
    pub vpc: Option<VpcName>,
    /// The subnet
    #[arg(long, value_name = "SUBNET")]
    pub subnet: Option<Name>,
    /// The instance
    #[arg(long, value_name = "INSTANCE")]
    pub instance: Option<Name>,
}

impl PathFlags {
    /// The path from words by place, written `vpc/subnet` or `vpc subnet`, or from the flags.
    pub fn target(&self, words: &[String]) -> Result<Target> {
        if let PathFlags { vpc: None, subnet: None, instance: None } = self {
            if words.is_empty() {
                return Err(
                    Failure::usage("the target is missing").hint("write it as vpc/subnet or vpc/subnet/instance")
                );
            }
            return words.join("/").parse();
        }
        let vpc =
            self.vpc.clone().ok_or_else(|| Failure::usage("--vpc is missing").hint("--vpc VPC --subnet SUBNET"))?;
        if !words.is_empty() {
            return Err(Failure::usage(format!("`{}` is given besides --vpc", words.join(" ")))
                .hint("give the path by place or by flags, not both"));
        }
        Ok(Target { vpc, subnet: self.subnet.clone(), instance: self.instance.clone() })
    }
}

/// An instance, by place or by flags.
#[derive(Debug, Args)]
pub struct InstancePath {
    /// The instance; a subnet stands for its first
    #[arg(value_name = "VPC/SUBNET[/INSTANCE]", num_args = 0..=3)]
    path: Vec<String>,
    #[command(flatten)]
    flags: PathFlags,
}

impl InstancePath {
    /// The path; whether it is there, and no VPC's, the state tells.
    pub fn target(&self) -> Result<Target> {
        self.flags.target(&self.path)
    }
}

/// The subnet that a path names.
pub fn subnet_of(target: &Target) -> Result<(VpcName, Name)> {
    match (&target.subnet, &target.instance) {
        (Some(subnet), None) => Ok((target.vpc.clone(), subnet.clone())),
        _ => Err(Failure::usage(format!("`{target}` is not the path of a subnet")).hint("write it as vpc/subnet")),
    }
}

/// The instance that a path names, beyond a subnet's first.
pub fn instance_of(target: &Target) -> Result<(VpcName, Name, Name)> {
    match (&target.subnet, &target.instance) {
        (Some(subnet), Some(instance)) => Ok((target.vpc.clone(), subnet.clone(), instance.clone())),
        _ => Err(Failure::usage(format!("`{target}` is not the path of an instance"))
            .hint("write it as vpc/subnet/instance; a subnet's first instance comes and goes with the subnet")),
    }
}

/// The VPCs that a comparison is about.
#[derive(Debug, Args)]
pub struct VpcNames {
    /// The VPCs, with all that is in them [default: all, and the host's part]
    #[arg(value_name = "VPC")]
    vpcs: Vec<VpcName>,
}

impl VpcNames {
    /// Whose objects are compared.
    pub fn subject(&self, session: &Session<'_>) -> Result<Subject> {
        if self.vpcs.is_empty() {
            return Ok(Subject::Everything);
        }
        let state = session.read()?;
        self.vpcs.iter().try_for_each(|vpc| state.vpc(vpc).map(|_| ()))?;
        Ok(Subject::Of(self.vpcs.iter().cloned().map(Owner::Vpc).collect()))
    }
}

/// Where the addresses of uplinks and peerings come from.
#[derive(Debug, Args)]
pub struct PoolArg {
    /// Where the point-to-point addresses of uplinks and peerings are taken from
    #[arg(long, env = "VPCCTL_UPLINK_POOL", default_value = DEFAULT_POOL, value_name = "CIDR", hide_env_values = true)]
    pub uplink_pool: Cidr,
}

/// For commands that take something away.
#[derive(Debug, Args)]
pub struct IfExists {
    /// Succeed where it doesn't exist
    #[arg(long)]
    pub if_exists: bool,
}

impl IfExists {
    /// Turns "not found" into "nothing to do" where that was asked for.
    pub fn allow(&self, session: &Session<'_>, result: Result<Outcome>) -> anyhow::Result<Option<Outcome>> {
        match result {
            Err(failure) if self.if_exists && failure.kind == crate::error::Kind::NotFound => {
                session.ui.change(false, 0, &format!("{}: nothing to do", failure.message))?;
                Ok(None)
            }
            other => Ok(Some(other?)),
        }
    }
}

/// The words of a path, and the one after it where it isn't given by a flag. Where the path is given by flags, a single word is
/// that one.
pub fn split_last<'a>(
    what: &str,
    words: &'a [String],
    value_by_flag: bool,
    path_by_flag: bool,
) -> Result<(&'a [String], Option<&'a str>)> {
    if value_by_flag {
        return Ok((words, None));
    }
    let missing = || Failure::usage(format!("the {what} is missing")).hint("--help shows how to write it");
    match words.split_last() {
        Some((last, path)) if path_by_flag || !path.is_empty() => Ok((path, Some(last))),
        _ => Err(missing()),
    }
}

/// Says what came of a change: what was done, that nothing was to do, or what was mended.
pub fn report(session: &Session<'_>, outcome: &Outcome, done: &str, already: &str) -> anyhow::Result<()> {
    let (changed, mended) = (outcome.is_change(), outcome.mended);
    let message = match (changed, mended) {
        _ if outcome.dry_run => return Ok(()),
        (true, _) => done.to_owned(),
        (false, 0) => format!("{already}: nothing changed"),
        (false, 1) => format!("{already}; 1 object mended"),
        (false, mended) => format!("{already}; {mended} objects mended"),
    };
    session.ui.change(changed, mended, &message)
}
