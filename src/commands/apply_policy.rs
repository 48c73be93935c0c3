//! `vpcctl apply-policy`.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::commands::args::{PathFlags, one, report, split_last};
use crate::error::{Failure, Result};
use crate::model::edit::{PolicyScope, apply_policy};
use crate::model::name::{Name, VpcName};
use crate::model::owner::Target;
use crate::model::policy_file::{MAX_FILE_BYTES, PolicyEntry, SubnetSelector, parse};
use crate::model::state::State;
use crate::plan::subject::Subject;
use crate::session::Session;

/// Put a firewall policy on a subnet or an instance
///
/// It replaces the one before without a gap, and a deny ends connections that are open.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl apply-policy vpc1/public web.json
  vpcctl apply-policy vpc1/public/web2 web.json
  vpcctl apply-policy --vpc vpc1 --subnet public --policy web.json
  vpcctl apply-policy vpc1 all.json           the subnets that the file names")]
pub struct ApplyPolicy {
    /// The subnet or the instance, and the policy file
    #[arg(value_names = ["VPC/SUBNET[/INSTANCE]", "FILE"], num_args = 0..=4)]
    words: Vec<String>,
    #[command(flatten)]
    path: PathFlags,
    /// The policy file (JSON)
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl ApplyPolicy {
    fn target_and_file(&self) -> Result<(Target, PathBuf)> {
        let (path, file) = split_last("policy file", &self.words, self.policy.is_some(), self.path.vpc.is_some())?;
        let file = file.map(PathBuf::from);
        Ok((self.path.target(path)?, one("policy file", file, self.policy.clone())?))
    }

    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let (target, file) = self.target_and_file()?;
        let entries = parse(&read(&file)?, &file.display().to_string())?;
        let state = session.read()?;
        state.check_target(&target)?;
        let chosen = choose(&state, &target, entries, &file)?;
        let subject = Subject::Of(chosen.iter().map(|(scope, _)| scope.owner()).collect());
        let outcome = session.change(&subject, |state| {
            let policy = |entry: &PolicyEntry| entry.policy.clone().of_file(&file.display().to_string());
            chosen.iter().try_for_each(|(scope, entry)| apply_policy(state, scope, policy(entry)))
        })?;
        let paths: Vec<String> = chosen.iter().map(|(scope, _)| scope.owner().to_string()).collect();
        let what = format!("{} to {}", file.display(), paths.join(", "));
        report(
            session,
            &outcome,
            &format!("applied {what}"),
            &format!("the policy of {} is this one", paths.join(", ")),
        )
    }
}

/// Where each of a file's policies goes.
fn choose(
    state: &State,
    target: &Target,
    entries: Vec<PolicyEntry>,
    file: &Path,
) -> Result<Vec<(PolicyScope, PolicyEntry)>> {
    let vpc = &target.vpc;
    let Some(subnet) = &target.subnet else {
        return entries.into_iter().map(|entry| Ok((scope_in_file(state, vpc, &entry, file)?, entry))).collect();
    };
    let several = entries.len() > 1;
    let fits = |entry: &PolicyEntry| match &entry.subnet {
        None => !several,
        Some(SubnetSelector::Name(name)) => name == subnet,
        Some(SubnetSelector::Cidr(cidr)) => state.subnet(vpc, subnet).is_ok_and(|found| found.cidr == *cidr),
    };
    let named = entries.iter().filter_map(|entry| entry.subnet.as_ref()).map(SubnetSelector::to_string);
    let named: Vec<String> = named.collect();
    let scope = PolicyScope { vpc: vpc.clone(), subnet: subnet.clone(), instance: target.instance.clone() };
    let mut fitting = entries.into_iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(entry), None) => Ok(vec![(scope, entry)]),
        (None, _) => {
            let cidr = state.subnet(vpc, subnet)?.cidr;
            let message =
                format!("{}: the policy is for {}, not for {vpc}/{subnet} {cidr}", file.display(), named.join(", "));
            Err(Failure::usage(message).hint("correct `subnet` in the file, or leave it out"))
        }
        (Some(_), Some(_)) => {
            Err(Failure::usage(format!("{}: several policies are for {vpc}/{subnet}", file.display()))
                .hint("write one policy with all rules: the first that matches decides"))
        }
    }
}

/// The subnet that an entry names.
fn scope_in_file(state: &State, vpc: &VpcName, entry: &PolicyEntry, file: &Path) -> Result<PolicyScope> {
    let name: Name = match &entry.subnet {
        Some(SubnetSelector::Name(name)) => {
            state.subnet(vpc, name)?;
            name.clone()
        }
        Some(SubnetSelector::Cidr(cidr)) => {
            let found = state.vpc(vpc)?.subnets.iter().find(|(_, subnet)| subnet.cidr == *cidr);
            let missing = || {
                Failure::not_found(format!("{}: no subnet of `{vpc}` is {cidr}", file.display()))
                    .hint(format!("`vpcctl inspect {vpc}` shows the subnets"))
            };
            found.map(|(name, _)| name.clone()).ok_or_else(missing)?
        }
        None => {
            return Err(Failure::usage(format!("{}: the policy names no subnet", file.display()))
                .hint(format!("say which: `vpcctl apply-policy {vpc}/SUBNET {}`", file.display())));
        }
    };
    Ok(PolicyScope { vpc: vpc.clone(), subnet: name, instance: None })
}

/// Reads a policy file, as much of it as may be.
fn read(path: &Path) -> Result<String> {
    let refuse = |error: std::io::Error| {
        Failure::usage(format!("cannot read `{}`: {error}", path.display()))
            .hint("give the path of a policy file, as seen from the present directory")
    };
    let metadata = std::fs::metadata(path).map_err(refuse)?;
    if !metadata.is_file() {
        return Err(Failure::usage(format!("`{}` is not a file", path.display()))
            .hint("write the policy into a file first: it is read whole before anything is changed"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(refuse)?;
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(refuse)?;
    let not_text =
        |_| Failure::usage(format!("`{}` is not UTF-8 text", path.display())).hint("a policy file is JSON, in UTF-8");
    String::from_utf8(bytes).map_err(not_text)
}
