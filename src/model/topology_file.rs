//! Topology files: a whole network in YAML or JSON. Text becomes a [`Topology`], and that an edit of the state.

mod choice;
mod expect;
mod export;
mod make;
mod read;
mod schema;
mod want;

use std::collections::BTreeSet;

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform};

use crate::error::{Failure, Result};
use crate::model::facts::{HostFacts, HostLink};
use crate::model::owner::Owner;
use crate::model::policy_file::{self, PolicyEntry, SubnetSelector, without_null};
use crate::model::state::State;

pub use choice::{NatChoice, PolicyChoice};
pub use expect::{Expectation, Selection, Side};
pub use export::export;
pub use read::Source;
pub use schema::{AppEntry, PeeringEntry, SubnetEntry, Topology, VERSION, VpcEntry};
pub use want::{Misfit, Want};

/// The JSON Schema of a topology file.
pub fn schema() -> Schema {
    let generator = SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let mut schema = generator.into_root_schema_for::<Topology>();
    schema.insert("title".into(), "vpcctl topology file".into());
    RecursiveTransform(without_null).transform(&mut schema);
    schema
}

impl Topology {
    /// Reads the policies that it names, by `read`: path in, text and its name out.
    pub fn load_policies(&mut self, read: &dyn Fn(&str) -> Result<Source>) -> Result<(), Misfit> {
        for (v, vpc) in self.vpcs.iter_mut().enumerate() {
            for (s, subnet) in vpc.subnets.iter_mut().enumerate() {
                let path = format!("vpcs[{v}].subnets[{s}]");
                let selectors = [SubnetSelector::Name(subnet.name.clone()), SubnetSelector::Cidr(subnet.cidr)];
                load(&mut subnet.policy, &selectors, read, &|| format!("{path}.policy"))?;
                for (i, instance) in subnet.instances.iter_mut().enumerate() {
                    load(&mut instance.policy, &selectors, read, &|| format!("{path}.instances[{i}].policy"))?;
                }
            }
        }
        Ok(())
    }

    /// Policies that stand in the file itself are of this file.
    pub fn name_policies(&mut self, file: &str) {
        let subnets = self.vpcs.iter_mut().flat_map(|vpc| &mut vpc.subnets);
        let choices = subnets.flat_map(|subnet| {
            let instances = subnet.instances.iter_mut().map(|instance| &mut instance.policy);
            instances.chain([&mut subnet.policy])
        });
        for choice in choices {
            if let Some(PolicyChoice::Inline(entry)) = choice {
                entry.policy.file.get_or_insert_with(|| file.to_owned());
            }
        }
    }

    /// Every app, by what it may be put right.
    pub fn each_app(&mut self, put_right: &dyn Fn(&mut AppEntry) -> Result<()>) -> Result<(), Misfit> {
        let each = |apps: &mut Vec<AppEntry>, path: String| {
            apps.iter_mut().enumerate().try_for_each(|(at, app)| {
                put_right(app).map_err(|failure| Misfit { path: format!("{path}.apps[{at}]"), failure })
            })
        };
        for (v, vpc) in self.vpcs.iter_mut().enumerate() {
            for (s, subnet) in vpc.subnets.iter_mut().enumerate() {
                each(&mut subnet.apps, format!("vpcs[{v}].subnets[{s}]"))?;
                for (i, instance) in subnet.instances.iter_mut().enumerate() {
                    each(&mut instance.apps, format!("vpcs[{v}].subnets[{s}].instances[{i}]"))?;
                }
            }
        }
        Ok(())
    }

    /// Does it want NAT where a state has none, by another interface, or for other addresses?
    pub fn adds_nat(&self, state: &State) -> bool {
        self.vpcs.iter().any(|vpc| adds_nat(vpc, state))
    }

    /// Whose objects it names.
    pub fn owners(&self) -> Vec<Owner> {
        self.vpcs.iter().map(|vpc| Owner::Vpc(vpc.name.clone())).collect()
    }

    /// A host that has all that the file and the state name: what is wrong with the file there is wrong with it everywhere.
    pub fn ideal_host(&self, state: &State) -> HostFacts {
        let of_file = self.vpcs.iter().flat_map(|vpc| {
            let of_nat = match &vpc.nat {
                Some(NatChoice::On(nat)) => nat.interface.as_ref(),
                _ => None,
            };
            vpc.interface.iter().chain(of_nat)
        });
        let of_state = state.vpcs.values().flat_map(|vpc| vpc.wan.iter().chain(vpc.nat.as_ref().map(|nat| &nat.wan)));
        let any = "any".parse().ok();
        let link = HostLink { mtu: crate::model::facts::DEFAULT_MTU, forwarding: false };
        let names = of_file.chain(of_state).cloned().chain(any.clone());
        HostFacts { default_wan: any, links: names.map(|name| (name, link.clone())).collect(), ..HostFacts::default() }
    }
}

fn adds_nat(entry: &VpcEntry, state: &State) -> bool {
    let found = state.vpcs.get(&entry.name);
    let (nat, is_replaced) = (found.and_then(|vpc| vpc.nat.as_ref()), found.is_some_and(|vpc| vpc.cidr != entry.cidr));
    match (&entry.nat, nat) {
        (Some(NatChoice::Off), _) | (None, None) => false,
        (Some(NatChoice::On(_)), None) => true,
        (None, Some(_)) => is_replaced,
        (Some(NatChoice::On(fields)), Some(nat)) => {
            is_replaced || fields.interface.as_ref().or(entry.interface.as_ref()).is_some_and(|wan| *wan != nat.wan)
        }
    }
}

/// Puts the policy of a file in the place of its path; an inline one has to be for this subnet.
fn load(
    choice: &mut Option<PolicyChoice>,
    selectors: &[SubnetSelector],
    read: &dyn Fn(&str) -> Result<Source>,
    path: &dyn Fn() -> String,
) -> Result<(), Misfit> {
    let picked = match choice {
        None | Some(PolicyChoice::None) => return Ok(()),
        Some(PolicyChoice::Inline(entry)) => pick(vec![(**entry).clone()], selectors, "the policy"),
        Some(PolicyChoice::File(file)) => read(file)
            .and_then(|Source { name, text }| pick(policy_file::parse(&text, &name)?, selectors, &name))
            .map(|entry| PolicyEntry { policy: entry.policy.of_file(file.as_str()), ..entry }),
    };
    let entry = picked.map_err(|failure| Misfit { path: path(), failure })?;
    *choice = Some(PolicyChoice::Inline(Box::new(entry)));
    Ok(())
}

/// The policy that is for this subnet, or for any.
fn pick(entries: Vec<PolicyEntry>, selectors: &[SubnetSelector], file: &str) -> Result<PolicyEntry> {
    let several = entries.len() > 1;
    let fits = |entry: &PolicyEntry| entry.subnet.as_ref().map_or(!several, |subnet| selectors.contains(subnet));
    let named: BTreeSet<String> =
        entries.iter().filter_map(|entry| entry.subnet.as_ref()).map(SubnetSelector::to_string).collect();
    let mut fitting = entries.into_iter().filter(fits);
    match (fitting.next(), fitting.next()) {
        (Some(entry), None) => Ok(entry),
        (None, _) => {
            let named = named.into_iter().collect::<Vec<_>>().join(", ");
            Err(Failure::usage(format!("{file}: the policy is for {named}, not for {}", selectors[0]))
                .hint("name a file with the policy of this subnet"))
        }
        (Some(_), Some(_)) => Err(Failure::usage(format!("{file}: several policies are for {}", selectors[0]))
            .hint("write one policy with all rules: the first that matches decides")),
    }
}
