//! From a [`Topology`] to the edit of the state that makes it so: by the edits that the commands are made of, so that the file and
//! the commands lead to the same. Names are compared once, at the end.

use std::collections::{BTreeMap, BTreeSet};

use super::schema::{
    Allow, AppEntry, InstanceEntry, NatChoice, NatFields, PeeringEntry, PolicyChoice, SubnetEntry, Topology, VpcEntry,
};
use crate::error::{Failure, Result};
use crate::model::app::{App, Port, UserName};
use crate::model::cidr::Cidr;
use crate::model::edit::{self, InstanceSpec, NatSpec, PolicyScope, SubnetSpec, VpcSpec};
use crate::model::facts::HostFacts;
use crate::model::kernel_names;
use crate::model::name::{IfName, Name, VpcName};
use crate::model::owner::{Owner, Target};
use crate::model::policy::Policy;
use crate::model::state::{HostAccess, Link, Nameservers, Nat, NatScope, PeeringScope, State, Uplink};

/// What of a file can't be, and which of its fields says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// The field, such as `vpcs[0].subnets[1].cidr`.
    pub path: String,
    /// Why not.
    pub failure: Failure,
}

/// Puts a failure down to a field.
trait In<T> {
    fn within(self, path: impl FnOnce() -> String) -> Result<T, Misfit>;
}

impl<T> In<T> for Result<T> {
    fn within(self, path: impl FnOnce() -> String) -> Result<T, Misfit> {
        self.map_err(|failure| Misfit { path: path(), failure })
    }
}

/// What is wanted of a state, whose policies are read.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    /// What the file has.
    pub topology: &'a Topology,
    /// Take away what it doesn't have?
    pub prune: bool,
    /// Where addresses of links come from that the file says nothing of.
    pub pool: Cidr,
}

impl Want<'_> {
    /// Makes a state so.
    pub fn edit(&self, state: &mut State, facts: &HostFacts) -> Result<(), Misfit> {
        self.refuse_twins()?;
        let old = state.clone();
        self.take_away(state)?;
        let facts = self.with_promises(&old, facts);
        // Who gives up host access makes room for who is to have it.
        for entry in self.topology.vpcs.iter().filter(|entry| entry.host_access == Some(false)) {
            if let Some(vpc) = state.vpcs.get_mut(&entry.name) {
                vpc.host_access = HostAccess::Off;
            }
        }
        // Whose addresses are named come first: nobody else gets them.
        for named in [true, false] {
            for (at, entry) in self.topology.vpcs.iter().enumerate() {
                if entry.uplink.is_some_and(|uplink| uplink.addresses.is_some()) == named {
                    self.vpc(state, entry, &facts, &format!("vpcs[{at}]"))?;
                }
            }
        }
        for named in [true, false] {
            for (at, entry) in self.topology.peerings.iter().enumerate() {
                if entry.link.is_some() == named {
                    self.peering(state, entry, &facts, &format!("peerings[{at}]"))?;
                }
            }
        }
        edit::keep_record(&old, state);
        self.check_links(state)?;
        self.check_names(state)
    }

    /// The same name twice would be one object with two descriptions.
    fn refuse_twins(&self) -> Result<(), Misfit> {
        let vpcs = &self.topology.vpcs;
        unique(vpcs.iter().map(|vpc| &vpc.name), "VPC", &|at| format!("vpcs[{at}].name"))?;
        for (v, vpc) in vpcs.iter().enumerate() {
            let path = |at| format!("vpcs[{v}].subnets[{at}].name");
            unique(vpc.subnets.iter().map(|subnet| &subnet.name), "subnet", &path)?;
            for (s, subnet) in vpc.subnets.iter().enumerate() {
                let path = |at| format!("vpcs[{v}].subnets[{s}].instances[{at}].name");
                unique(subnet.instances.iter().map(|instance| &instance.name), "instance", &path)?;
                let path = |at| format!("vpcs[{v}].subnets[{s}].apps[{at}].port");
                unique(subnet.apps.iter().map(|app| app.port), "app on port", &path)?;
                for (i, instance) in subnet.instances.iter().enumerate() {
                    let path = |at| format!("vpcs[{v}].subnets[{s}].instances[{i}].apps[{at}].port");
                    unique(instance.apps.iter().map(|app| app.port), "app on port", &path)?;
                }
            }
        }
        let ends = self.topology.peerings.iter().map(|peering| {
            let [a, b] = sorted(peering);
            format!("{a}` and `{b}")
        });
        unique(ends, "peering of", &|at| format!("peerings[{at}]"))
    }

    /// Takes away what stands in the way of what is replaced, and, where that was asked for, what the file doesn't have.
    fn take_away(&self, state: &mut State) -> Result<(), Misfit> {
        let vpcs: BTreeMap<&VpcName, &VpcEntry> = self.topology.vpcs.iter().map(|vpc| (&vpc.name, vpc)).collect();
        let peerings: BTreeSet<[&VpcName; 2]> = self.topology.peerings.iter().map(sorted).collect();
        let goes = |name: &VpcName, cidr: Cidr| vpcs.get(name).map_or(self.prune, |entry| entry.cidr != cidr);
        let gone: BTreeSet<VpcName> =
            state.vpcs.iter().filter(|(name, vpc)| goes(name, vpc.cidr)).map(|(name, _)| name.clone()).collect();
        state.vpcs.retain(|name, _| !gone.contains(name));
        state.peerings.retain(|peering| {
            let is_listed = peerings.contains(&[&peering.a, &peering.b]);
            !gone.contains(&peering.a) && !gone.contains(&peering.b) && (is_listed || !self.prune)
        });
        for (at, entry) in self.topology.vpcs.iter().enumerate() {
            if state.vpcs.contains_key(&entry.name) {
                self.take_away_within(state, entry).within(|| format!("vpcs[{at}]"))?;
            }
        }
        Ok(())
    }

    fn take_away_within(&self, state: &mut State, entry: &VpcEntry) -> Result<()> {
        let vpc = &entry.name;
        let wanted: BTreeMap<&Name, &SubnetEntry> = entry.subnets.iter().map(|subnet| (&subnet.name, subnet)).collect();
        let pruned = |name: &Name| self.prune && !wanted.contains_key(name);
        let pruned: Vec<Name> = state.vpc(vpc)?.subnets.keys().filter(|name| pruned(name)).cloned().collect();
        pruned.iter().try_for_each(|name| edit::delete_subnet(state, vpc, name))?;
        let subnets = &mut state.vpc_mut(vpc)?.subnets;
        // NAT goes on serving what is replaced.
        subnets.retain(|name, found| wanted.get(name).is_none_or(|entry| entry.cidr == found.cidr));
        for (name, found) in subnets {
            if let Some(entry) = wanted.get(name) {
                let listed = |name: &Name| entry.instances.iter().find(|instance| &instance.name == name);
                found.instances.retain(|name, found| match listed(name) {
                    None => !self.prune,
                    Some(entry) => entry.address.is_none_or(|address| address == found.address),
                });
            }
        }
        Ok(())
    }

    /// The host, with the addresses that the file names for links.
    fn with_promises(&self, old: &State, facts: &HostFacts) -> HostFacts {
        let of_vpc = |vpc: &VpcEntry| Some((vpc.name.clone(), Link(vpc.uplink?.addresses?)));
        let promised = self.topology.vpcs.iter().filter_map(of_vpc).collect();
        let reserved = self.topology.peerings.iter().filter_map(|peering| peering.link);
        // What another link had until now is free when all is done, and not before.
        let reserved = reserved.chain(old.links().into_iter().map(|link| link.0)).collect();
        HostFacts { promised, reserved, ..facts.clone() }
    }

    fn vpc(&self, state: &mut State, entry: &VpcEntry, facts: &HostFacts, path: &str) -> Result<(), Misfit> {
        let name = &entry.name;
        let pool = entry.uplink.and_then(|uplink| uplink.pool);
        let found = state.vpcs.get(name);
        let host_access = entry.host_access.unwrap_or(found.is_none_or(|vpc| vpc.host_access != HostAccess::Off));
        let wan = entry.interface.clone();
        let spec = VpcSpec { name: name.clone(), cidr: entry.cidr, host_access, wan, pool: pool.unwrap_or(self.pool) };
        if let Some(wan) = entry.interface.as_ref().filter(|wan| found.is_none_or(|vpc| vpc.wan.as_ref() != Some(wan)))
        {
            edit::check_wan(facts, wan).within(|| format!("{path}.interface"))?;
        }
        self.check_uplink(state, entry, facts).within(|| format!("{path}.uplink.addresses"))?;
        match found {
            None => edit::insert_vpc(state, &spec, facts).within(|| format!("{path}.cidr"))?,
            Some(_) => edit::set_host_access(state, &spec, facts).within(|| format!("{path}.host-access"))?,
        }
        self.subnets(state, entry, path)?;
        if let Some(choice) = entry.nat.as_ref().or(Some(&NatChoice::Off).filter(|_| self.prune)) {
            self.nat(state, entry, choice, facts, &format!("{path}.nat"))?;
        }
        let vpc = state.vpc_mut(name).within(|| path.to_owned())?;
        vpc.mtu = entry.mtu.map_or(vpc.mtu, u32::from);
        vpc.wan = entry.interface.clone().or(vpc.wan.take().filter(|_| !self.prune));
        if let (Some(uplink), Some(asked)) = (vpc.uplink, entry.uplink) {
            let link = asked.addresses.map_or(uplink.link, Link);
            vpc.uplink = Some(Uplink { link, pool: asked.pool.unwrap_or(uplink.pool) });
        }
        Ok(())
    }

    fn check_uplink(&self, state: &State, entry: &VpcEntry, facts: &HostFacts) -> Result<()> {
        let Some(asked) = entry.uplink.and_then(|uplink| uplink.addresses) else {
            return Ok(());
        };
        let found = state.vpcs.get(&entry.name).and_then(|vpc| vpc.uplink);
        if found.is_some_and(|uplink| uplink.link.0 == asked) {
            return Ok(());
        }
        let networks: Vec<Cidr> = facts.networks.iter().map(|network| network.cidr).chain([entry.cidr]).collect();
        edit::check_link(asked, &networks).map(drop)
    }

    fn subnets(&self, state: &mut State, entry: &VpcEntry, path: &str) -> Result<(), Misfit> {
        for (at, subnet) in entry.subnets.iter().enumerate() {
            let path = format!("{path}.subnets[{at}]");
            let (vpc, name) = (entry.name.clone(), subnet.name.clone());
            let cidr = || format!("{path}.cidr");
            let target = Target { vpc: vpc.clone(), subnet: Some(name.clone()), instance: None };
            if state.vpcs.get(&vpc).is_some_and(|vpc| vpc.subnets.contains_key(&name)) {
                edit::set_subnet_type(state, &vpc, &name, subnet.kind).within(|| format!("{path}.type"))?;
            } else {
                let spec = SubnetSpec { vpc: vpc.clone(), name: name.clone(), cidr: subnet.cidr, kind: subnet.kind };
                edit::insert_subnet(state, &spec).within(cidr)?;
            }
            self.contents(state, &target, subnet.policy.as_ref(), &subnet.apps, &path)?;
            for named in [true, false] {
                for (at, instance) in subnet.instances.iter().enumerate() {
                    if instance.address.is_some() == named {
                        self.instance(state, &target, instance, &format!("{path}.instances[{at}]"))?;
                    }
                }
            }
        }
        Ok(())
    }

    fn instance(&self, state: &mut State, subnet: &Target, entry: &InstanceEntry, path: &str) -> Result<(), Misfit> {
        let (name, address) = (entry.name.clone(), entry.address);
        let Target { vpc, subnet: Some(subnet), .. } = subnet.clone() else {
            return Ok(());
        };
        let target = Target { vpc: vpc.clone(), subnet: Some(subnet.clone()), instance: Some(name.clone()) };
        let spec = InstanceSpec { vpc, subnet, name, address };
        edit::insert_instance(state, &spec).within(|| format!("{path}.address"))?;
        self.contents(state, &target, entry.policy.as_ref(), &entry.apps, path)
    }

    /// The policy and the apps of an instance.
    fn contents(
        &self,
        state: &mut State,
        target: &Target,
        policy: Option<&PolicyChoice>,
        apps: &[AppEntry],
        path: &str,
    ) -> Result<(), Misfit> {
        if let Some(policy) = policy.or(Some(&PolicyChoice::None).filter(|_| self.prune)) {
            put_policy(state, target, policy).within(|| format!("{path}.policy"))?;
        }
        let wanted: BTreeMap<Port, &AppEntry> = apps.iter().map(|app| (app.port, app)).collect();
        let present = state.apps_at(target).within(|| path.to_owned())?;
        let differs = |port: &Port, app: &App| match wanted.get(port) {
            None => self.prune,
            Some(entry) => !app.is_same_program(&wanted_app(entry)),
        };
        let gone: Vec<Port> = present.filter(|(port, app)| differs(port, app)).map(|(port, _)| port).collect();
        for port in gone {
            edit::stop_app(state, target, Some(port)).within(|| path.to_owned())?;
        }
        for (at, entry) in apps.iter().enumerate() {
            edit::deploy_app(state, target, entry.port, &wanted_app(entry)).within(|| format!("{path}.apps[{at}]"))?;
        }
        Ok(())
    }

    fn nat(
        &self,
        state: &mut State,
        entry: &VpcEntry,
        choice: &NatChoice,
        facts: &HostFacts,
        path: &str,
    ) -> Result<(), Misfit> {
        let name = &entry.name;
        let NatChoice::On(fields) = choice else {
            return edit::disable_nat(state, name, None).within(|| path.to_owned());
        };
        let NatFields { interface, subnets, nameservers } = fields;
        if subnets.as_ref().is_some_and(BTreeSet::is_empty) {
            let failure =
                Failure::usage("NAT for no subnet is none").hint("write `nat: false`, or leave `subnets` out");
            return Err(Misfit { path: format!("{path}.subnets"), failure });
        }
        let wan = interface.clone().or(entry.interface.clone());
        if let Some(nat) = &mut state.vpc_mut(name).within(|| path.to_owned())?.nat {
            move_nat(nat, wan.as_ref(), facts).within(|| format!("{path}.interface"))?;
            if nameservers.as_ref().map_or(self.prune, Vec::is_empty) {
                nat.nameservers = Nameservers::default();
            }
        }
        let pool = entry.uplink.and_then(|uplink| uplink.pool).unwrap_or(self.pool);
        let nameservers = nameservers.clone().unwrap_or_default();
        let spec = NatSpec { vpc: name.clone(), subnet: None, wan, nameservers, pool };
        edit::enable_nat(state, &spec, facts).within(|| path.to_owned())?;
        edit::set_nat_scope(state, name, subnets.as_ref()).within(|| format!("{path}.subnets"))
    }

    fn peering(&self, state: &mut State, entry: &PeeringEntry, facts: &HostFacts, path: &str) -> Result<(), Misfit> {
        let [a, b] = sorted(entry);
        let promised: Vec<Cidr> = self.topology.vpcs.iter().filter_map(|vpc| vpc.uplink?.addresses).collect();
        let spoken_for = [promised, facts.reserved.clone()].concat();
        let networks: Vec<Cidr> = [a, b].into_iter().filter_map(|end| Some(state.vpcs.get(end)?.cidr)).collect();
        if let Some(link) = entry.link {
            edit::check_link(link, &networks).within(|| format!("{path}.link"))?;
        }
        edit::peer_by(state, (a, b), &mut |state| match entry.link {
            Some(link) => Ok(Link(link)),
            None => edit::take_link(state, self.pool, &spoken_for),
        })
        .within(|| path.to_owned())?;
        let allow = entry.allow.as_ref().or(Some(&Allow::Everything).filter(|_| self.prune));
        let pairs = match allow {
            Some(Allow::Pairs(pairs)) => pairs.as_slice(),
            _ => &[],
        };
        for (at, pair) in pairs.iter().enumerate() {
            edit::check_pair(state, *pair, (a, b)).within(|| format!("{path}.allow[{at}]"))?;
        }
        let Some(at) = state.peerings.iter().position(|peering| (&peering.a, &peering.b) == (a, b)) else {
            return Ok(());
        };
        if let Some(link) = entry.link {
            state.peerings[at].link = Link(link);
        }
        match allow {
            None => {}
            Some(Allow::Everything) => state.peerings[at].scope = PeeringScope::Everything,
            Some(Allow::Pairs(pairs)) => state.peerings[at].scope = PeeringScope::Only(pairs.iter().copied().collect()),
        }
        Ok(())
    }

    /// Refuses addresses that two links would have. Only who names addresses can bring that about.
    fn check_links(&self, state: &State) -> Result<(), Misfit> {
        let mut owners: BTreeMap<Link, String> = BTreeMap::new();
        let uplinks = state.vpcs.iter().filter_map(|(name, vpc)| {
            let at = self.topology.vpcs.iter().position(|entry| &entry.name == name);
            let path = at.map_or("vpcs".into(), |at| format!("vpcs[{at}].uplink.addresses"));
            Some((vpc.uplink?.link, format!("the uplink of VPC `{name}`"), path))
        });
        let peerings = state.peerings.iter().map(|peering| {
            let ends = [&peering.a, &peering.b];
            let at = self.topology.peerings.iter().position(|entry| sorted(entry) == ends);
            let path = at.map_or("peerings".into(), |at| format!("peerings[{at}].link"));
            (peering.link, format!("the peering of `{}` and `{}`", peering.a, peering.b), path)
        });
        for (link, owner, path) in uplinks.chain(peerings) {
            let Some(other) = owners.insert(link, owner.clone()) else { continue };
            let failure = Failure::conflict(format!("{other} and {owner} would both have {}", link.0));
            return Err(Misfit { path, failure: failure.hint("leave one of them out, and vpcctl chooses") });
        }
        Ok(())
    }

    /// Refuses what would have another's name in the kernel.
    fn check_names(&self, state: &State) -> Result<(), Misfit> {
        let Some((name, one, other)) = kernel_names::collision(state) else {
            return Ok(());
        };
        let message = format!("{} and {} would both have the {name}", one.describe(), other.describe());
        let failure = Failure::conflict(message).hint("choose another name for one of them");
        let path = self.path_of(&other).or_else(|| self.path_of(&one)).unwrap_or_else(|| "vpcs".into());
        Err(Misfit { path, failure })
    }

    /// Where the file names it.
    fn path_of(&self, owner: &Owner) -> Option<String> {
        let vpcs = &self.topology.vpcs;
        let vpc_at = |name: &VpcName| vpcs.iter().position(|vpc| &vpc.name == name);
        let subnet_at = |at: usize, name: &Name| vpcs[at].subnets.iter().position(|subnet| &subnet.name == name);
        match owner {
            Owner::Host | Owner::Peering(..) => None,
            Owner::Vpc(vpc) => Some(format!("vpcs[{}].name", vpc_at(vpc)?)),
            Owner::Subnet(vpc, subnet) => {
                let v = vpc_at(vpc)?;
                Some(format!("vpcs[{v}].subnets[{}].name", subnet_at(v, subnet)?))
            }
            Owner::Instance(vpc, subnet, name) => {
                let v = vpc_at(vpc)?;
                let s = subnet_at(v, subnet)?;
                let i = vpcs[v].subnets[s].instances.iter().position(|instance| &instance.name == name)?;
                Some(format!("vpcs[{v}].subnets[{s}].instances[{i}].name"))
            }
        }
    }
}

/// An app as `deploy-app` would have it. Whoever may look at files has made its directory an absolute path.
fn wanted_app(entry: &AppEntry) -> App {
    let directory = entry.directory.as_deref().unwrap_or("/").into();
    let user = entry.user.clone().unwrap_or_else(UserName::nobody);
    App { command: entry.command.clone(), user, directory, wait: entry.wait }
}

/// The ends of a peering in the order of their names.
fn sorted(peering: &PeeringEntry) -> [&VpcName; 2] {
    let [a, b] = &peering.vpcs;
    if a <= b { [a, b] } else { [b, a] }
}

fn unique<T: Ord + ToString>(
    names: impl Iterator<Item = T>,
    what: &str,
    path: &dyn Fn(usize) -> String,
) -> Result<(), Misfit> {
    let mut seen = BTreeMap::new();
    for (at, name) in names.enumerate() {
        let shown = name.to_string();
        if let Some(first) = seen.insert(name, at) {
            let failure = Failure::usage(format!("the {what} `{shown}` stands there twice: at {} too", path(first)))
                .hint("describe it once, with all that it has");
            return Err(Misfit { path: path(at), failure });
        }
    }
    Ok(())
}

fn put_policy(state: &mut State, target: &Target, choice: &PolicyChoice) -> Result<()> {
    let Some(subnet) = target.subnet.clone() else {
        return Ok(());
    };
    let scope = PolicyScope { vpc: target.vpc.clone(), subnet, instance: target.instance.clone() };
    match choice {
        PolicyChoice::None => edit::remove_policy(state, &scope),
        PolicyChoice::Inline(entry) => edit::apply_policy(state, &scope, entry.policy.clone()),
        PolicyChoice::File(path) => Err(Failure::usage(format!("the policy `{path}` was not read"))),
    }
}

/// Another way out is an attribute of NAT as others are.
fn move_nat(nat: &mut Nat, wan: Option<&IfName>, facts: &HostFacts) -> Result<()> {
    if let Some(wan) = wan.filter(|wan| **wan != nat.wan) {
        edit::check_wan(facts, wan)?;
        nat.wan = wan.clone();
    }
    Ok(())
}

/// A state as a file: the VPCs of `only`, or all. What vpcctl found on the host and keeps for itself is not in it.
pub fn export(state: &State, only: &BTreeSet<VpcName>) -> Topology {
    let chosen = |name: &VpcName| only.is_empty() || only.contains(name);
    let mut vpcs: Vec<_> = state.vpcs.iter().filter(|(name, _)| chosen(name)).collect();
    // Who has host access got it before those in whose way it was.
    vpcs.sort_by_key(|(_, vpc)| matches!(vpc.host_access, HostAccess::Overlaps(_)));
    let peerings = state.peerings.iter().filter(|peering| chosen(&peering.a) && chosen(&peering.b));
    let peerings = peerings.map(|peering| PeeringEntry {
        vpcs: [peering.a.clone(), peering.b.clone()],
        link: Some(peering.link.0),
        allow: match &peering.scope {
            PeeringScope::Everything => None,
            PeeringScope::Only(pairs) => Some(Allow::Pairs(pairs.iter().copied().collect())),
        },
    });
    let vpcs = vpcs.into_iter().map(|(name, vpc)| VpcEntry {
        name: name.clone(),
        cidr: vpc.cidr,
        mtu: u16::try_from(vpc.mtu).ok(),
        host_access: Some(vpc.host_access != HostAccess::Off),
        interface: vpc.wan.clone(),
        uplink: vpc
            .uplink
            .map(|uplink| super::schema::UplinkEntry { addresses: Some(uplink.link.0), pool: Some(uplink.pool) }),
        nat: vpc.nat.as_ref().map(exported_nat),
        subnets: vpc.subnets.iter().map(|(name, subnet)| exported_subnet(name, subnet)).collect(),
    });
    Topology { version: super::schema::Version, schema: None, vpcs: vpcs.collect(), peerings: peerings.collect() }
}

fn exported_nat(nat: &Nat) -> NatChoice {
    NatChoice::On(NatFields {
        interface: Some(nat.wan.clone()),
        subnets: match &nat.scope {
            NatScope::AllPublic => None,
            NatScope::Only(names) => Some(names.clone()),
        },
        nameservers: match &nat.nameservers {
            Nameservers::Host(_) => None,
            Nameservers::Chosen(addresses) => Some(addresses.clone()),
        },
    })
}

fn exported_subnet(name: &Name, subnet: &crate::model::state::Subnet) -> SubnetEntry {
    let policy = |policy: &Option<Policy>| policy.as_ref().map(PolicyChoice::inline);
    let instances = subnet.instances.iter().map(|(name, instance)| InstanceEntry {
        name: name.clone(),
        address: Some(instance.address),
        policy: policy(&instance.policy),
        apps: exported_apps(&instance.apps),
    });
    SubnetEntry {
        name: name.clone(),
        cidr: subnet.cidr,
        kind: subnet.kind,
        policy: policy(&subnet.policy),
        apps: exported_apps(&subnet.apps),
        instances: instances.collect(),
    }
}

fn exported_apps(apps: &BTreeMap<Port, App>) -> Vec<AppEntry> {
    let exported = |(port, app): (&Port, &App)| AppEntry {
        port: *port,
        command: app.command.clone(),
        user: Some(app.user.clone()),
        directory: app.directory.to_str().map(str::to_owned),
        wait: app.wait,
    };
    apps.iter().map(exported).collect()
}
