//! The objects of a file, made in a state one after the other. What is replaced keeps what the file says nothing of, so that
//! nothing opens by the way.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::choice::{Allow, NatChoice, PolicyChoice};
use super::export::exported_nat;
use super::schema::{AppEntry, InstanceEntry, NatFields, PeeringEntry, SubnetEntry, Topology, VpcEntry};
use super::want::{In, Misfit, keep_instances, sorted};
use crate::error::{Failure, Result};
use crate::model::app::{App, Port, UserName};
use crate::model::cidr::Cidr;
use crate::model::edit::{self, InstanceSpec, NatSpec, PolicyScope, SubnetSpec, VpcSpec};
use crate::model::facts::HostFacts;
use crate::model::name::{IfName, Name, VpcName};
use crate::model::owner::Target;
use crate::model::state::{
    CidrPair, HostAccess, Instance, Link, Nameservers, Nat, NatScope, PeeringScope, State, Subnet, SubnetType, Uplink,
    Vpc,
};

/// What the objects of a file are made from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Making<'a> {
    /// What the file has.
    pub topology: &'a Topology,
    /// Take away what it doesn't have?
    pub prune: bool,
    /// Where addresses of links come from that the file says nothing of.
    pub pool: Cidr,
    /// What there was.
    pub old: &'a State,
    /// The host.
    pub facts: &'a HostFacts,
}

impl Making<'_> {
    /// A VPC, with all that is in it.
    pub fn vpc(&self, state: &mut State, entry: &VpcEntry, path: &str) -> Result<(), Misfit> {
        let (name, facts) = (&entry.name, self.facts);
        let (found, was) = (state.vpcs.get(name), self.old.vpcs.get(name).map(Arc::as_ref));
        let host_access = entry.host_access.unwrap_or(was.is_none_or(|vpc| vpc.host_access != HostAccess::Off));
        let wan = entry.interface.clone();
        let spec = VpcSpec { name: name.clone(), cidr: entry.cidr, host_access, wan, pool: self.pool_of(entry) };
        if let Some(wan) = entry.interface.as_ref().filter(|wan| found.is_none_or(|vpc| vpc.wan.as_ref() != Some(wan)))
        {
            edit::check_wan(facts, wan).within(|| format!("{path}.interface"))?;
        }
        self.check_uplink(state, entry).within(|| format!("{path}.uplink.addresses"))?;
        let replaced = was.filter(|_| found.is_none());
        match found {
            None => edit::insert_vpc(state, &spec, facts).within(|| format!("{path}.cidr"))?,
            Some(_) => edit::set_host_access(state, &spec, facts).within(|| format!("{path}.host-access"))?,
        }
        if let (Some(was), Some(vpc)) = (replaced, state.vpcs.get_mut(name).map(Arc::make_mut)) {
            self.keep_vpc(vpc, was, entry);
        }
        for (at, subnet) in entry.subnets.iter().enumerate() {
            self.subnet(state, name, subnet, &format!("{path}.subnets[{at}]"))?;
        }
        if let Some(choice) = self.nat_choice(state, entry, replaced) {
            self.nat(state, entry, &choice, &format!("{path}.nat"))?;
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

    /// Where an uplink's addresses come from: whence they came before, where nothing else is said.
    fn pool_of(&self, entry: &VpcEntry) -> Cidr {
        let before = || self.old.vpcs.get(&entry.name)?.uplink.map(|uplink| uplink.pool);
        entry.uplink.and_then(|uplink| uplink.pool).or_else(before).unwrap_or(self.pool)
    }

    /// What a VPC at other addresses keeps beside its NAT: what was chosen, and the subnets that are still inside.
    fn keep_vpc(&self, vpc: &mut Vpc, was: &Vpc, entry: &VpcEntry) {
        vpc.mtu = was.mtu;
        vpc.wan = entry.interface.clone().or(was.wan.clone());
        for (name, subnet) in &was.subnets {
            let listed = entry.subnets.iter().find(|entry| &entry.name == name);
            let stays = listed.map_or(!self.prune, |entry| entry.cidr == subnet.cidr);
            if stays && vpc.cidr.covers(subnet.cidr) {
                let mut subnet = subnet.clone();
                if let Some(entry) = listed {
                    keep_instances(&mut subnet, entry, self.prune);
                }
                vpc.subnets.insert(name.clone(), subnet);
            }
        }
    }

    fn check_uplink(&self, state: &State, entry: &VpcEntry) -> Result<()> {
        let Some(asked) = entry.uplink.and_then(|uplink| uplink.addresses) else {
            return Ok(());
        };
        let found = state.vpcs.get(&entry.name).and_then(|vpc| vpc.uplink);
        if found.is_some_and(|uplink| uplink.link.0 == asked) {
            return Ok(());
        }
        let networks = self.facts.networks.iter().map(|network| network.cidr);
        edit::check_link(asked, &networks.chain([entry.cidr]).collect::<Vec<_>>()).map(drop)
    }

    fn subnet(&self, state: &mut State, vpc: &VpcName, entry: &SubnetEntry, path: &str) -> Result<(), Misfit> {
        let name = &entry.name;
        if !state.vpcs.get(vpc).is_some_and(|vpc| vpc.subnets.contains_key(name)) {
            let was = self.old.vpcs.get(vpc).and_then(|vpc| vpc.subnets.get(name));
            // Of the type that it had: what changes with the type is done below.
            let kind = was.map_or(entry.kind, |was| was.kind);
            let spec = SubnetSpec { vpc: vpc.clone(), name: name.clone(), cidr: entry.cidr, kind };
            edit::insert_subnet(state, &spec).within(|| format!("{path}.cidr"))?;
            if let Some(was) = was {
                let subnet = state.subnet_mut(vpc, name).within(|| path.to_owned())?;
                keep_subnet(subnet, was, entry, self.prune);
            }
        }
        edit::set_subnet_type(state, vpc, name, entry.kind).within(|| format!("{path}.type"))?;
        let target = Target { vpc: vpc.clone(), subnet: Some(name.clone()), instance: None };
        self.contents(state, &target, entry.policy.as_ref(), &entry.apps, path)?;
        for named in [true, false] {
            for (at, instance) in entry.instances.iter().enumerate() {
                if instance.address.is_some() == named {
                    self.instance(state, (vpc, name), instance, &format!("{path}.instances[{at}]"))?;
                }
            }
        }
        Ok(())
    }

    fn instance(
        &self,
        state: &mut State,
        (vpc, subnet): (&VpcName, &Name),
        entry: &InstanceEntry,
        path: &str,
    ) -> Result<(), Misfit> {
        let InstanceEntry { name, address, .. } = entry;
        let is_new = state.instance(vpc, subnet, name).is_err();
        let spec = InstanceSpec { vpc: vpc.clone(), subnet: subnet.clone(), name: name.clone(), address: *address };
        edit::insert_instance(state, &spec).within(|| format!("{path}.address"))?;
        if let (true, Ok(was)) = (is_new, self.old.instance(vpc, subnet, name)) {
            let found = state.subnet_mut(vpc, subnet).within(|| path.to_owned())?.instances.get_mut(name);
            found.into_iter().for_each(|found| *found = Instance { address: found.address, ..was.clone() });
        }
        let target = Target { vpc: vpc.clone(), subnet: Some(subnet.clone()), instance: Some(name.clone()) };
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

    /// What is wanted of NAT. That of a VPC that is replaced goes on as it was, for the subnets that are left of it.
    fn nat_choice(&self, state: &State, entry: &VpcEntry, replaced: Option<&Vpc>) -> Option<NatChoice> {
        let before = replaced.and_then(|was| nat_left(was.nat.clone()?, state.vpcs.get(&entry.name)?));
        match (&entry.nat, before) {
            (Some(NatChoice::On(fields)), Some(NatChoice::On(before))) => Some(NatChoice::On(NatFields {
                interface: fields.interface.clone().or(entry.interface.clone()).or(before.interface),
                subnets: fields.subnets.clone(),
                nameservers: fields.nameservers.clone().or(before.nameservers.filter(|_| !self.prune)),
            })),
            (Some(choice), _) => Some(choice.clone()),
            (None, _) if self.prune => Some(NatChoice::Off),
            (None, before) => before,
        }
    }

    fn nat(&self, state: &mut State, entry: &VpcEntry, choice: &NatChoice, path: &str) -> Result<(), Misfit> {
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
            move_nat(nat, wan.as_ref(), self.facts).within(|| format!("{path}.interface"))?;
            if nameservers.as_ref().map_or(self.prune, Vec::is_empty) {
                nat.nameservers = Nameservers::default();
            }
        }
        let nameservers = nameservers.clone().unwrap_or_default();
        let spec = NatSpec { vpc: name.clone(), subnet: None, wan, nameservers, pool: self.pool_of(entry) };
        edit::enable_nat(state, &spec, self.facts).within(|| path.to_owned())?;
        edit::set_nat_scope(state, name, subnets.as_ref()).within(|| format!("{path}.subnets"))
    }

    /// A peering, and what may pass it.
    pub fn peering(&self, state: &mut State, entry: &PeeringEntry, path: &str) -> Result<(), Misfit> {
        let ends @ [a, b] = sorted(entry);
        let networks: Vec<Cidr> = ends.into_iter().filter_map(|end| Some(state.vpcs.get(end)?.cidr)).collect();
        if let Some(link) = entry.link {
            edit::check_link(link, &networks).within(|| format!("{path}.link"))?;
        }
        let is_new = position(state, ends).is_none();
        edit::peer_by(state, (a, b), &mut |state| match entry.link {
            Some(link) => Ok(Link(link)),
            None => edit::take_link(state, self.pool, &self.spoken_for()),
        })
        .within(|| path.to_owned())?;
        let scope = self.scope(state, entry, is_new, path)?;
        if let Some(at) = position(state, ends) {
            let peering = &mut state.peerings[at];
            peering.link = entry.link.map_or(peering.link, Link);
            peering.scope = scope.unwrap_or(peering.scope.clone());
        }
        Ok(())
    }

    /// The addresses that a link gets by being asked for, or had.
    fn spoken_for(&self) -> Vec<Cidr> {
        let promised = self.topology.vpcs.iter().filter_map(|vpc| vpc.uplink?.addresses);
        promised.chain(self.facts.reserved.iter().copied()).collect()
    }

    /// What may pass; nothing is said of it where it stays. A peering that is made anew lets no more pass than it did.
    fn scope(
        &self,
        state: &State,
        entry: &PeeringEntry,
        is_new: bool,
        path: &str,
    ) -> Result<Option<PeeringScope>, Misfit> {
        let ends @ [a, b] = sorted(entry);
        let fits = |pair: CidrPair| edit::check_pair(state, pair, (a, b));
        let before = position(self.old, ends).filter(|_| is_new).map(|at| &self.old.peerings[at].scope);
        match (&entry.allow, before) {
            (Some(Allow::Pairs(pairs)), _) => {
                for (at, pair) in pairs.iter().enumerate() {
                    fits(*pair).within(|| format!("{path}.allow[{at}]"))?;
                }
                Ok(Some(PeeringScope::Only(pairs.iter().copied().collect())))
            }
            (Some(Allow::Everything), _) => Ok(Some(PeeringScope::Everything)),
            (None, _) if self.prune => Ok(Some(PeeringScope::Everything)),
            (None, Some(PeeringScope::Only(pairs))) => {
                let left: BTreeSet<CidrPair> = pairs.iter().copied().filter(|pair| fits(*pair).is_ok()).collect();
                if left.is_empty() {
                    let failure =
                        Failure::usage(format!("nothing of what `{a}` and `{b}` let pass is inside of them any more"));
                    let hint = "say what may pass: `allow: [{src: CIDR, dst: CIDR}]`, or `allow: everything`";
                    return Err(Misfit { path: path.to_owned(), failure: failure.hint(hint) });
                }
                Ok(Some(PeeringScope::Only(left)))
            }
            (None, _) => Ok(None),
        }
    }
}

/// What a subnet at other addresses keeps: its policy, its apps, and the instances whose addresses it still has.
fn keep_subnet(subnet: &mut Subnet, was: &Subnet, entry: &SubnetEntry, prune: bool) {
    let cidr = subnet.cidr;
    let taken = [cidr.network(), cidr.broadcast(), subnet.gateway(), subnet.first_address()];
    subnet.policy = was.policy.clone();
    subnet.apps = was.apps.clone();
    subnet.instances = was.instances.clone();
    subnet.instances.retain(|_, found| cidr.contains(found.address) && !taken.contains(&found.address));
    keep_instances(subnet, entry, prune);
}

/// NAT as it was, for what of its subnets is there and public.
fn nat_left(mut nat: Nat, vpc: &Vpc) -> Option<NatChoice> {
    if let NatScope::Only(names) = &mut nat.scope {
        names.retain(|name| vpc.subnets.get(name).is_some_and(|subnet| subnet.kind == SubnetType::Public));
        if names.is_empty() {
            return None;
        }
    }
    Some(exported_nat(&nat))
}

fn position(state: &State, [a, b]: [&VpcName; 2]) -> Option<usize> {
    state.peerings.iter().position(|peering| peering.ends() == (a, b))
}

/// An app as `deploy-app` would have it. Whoever may look at files has made its directory an absolute path.
fn wanted_app(entry: &AppEntry) -> App {
    let directory = entry.directory.as_deref().unwrap_or("/").into();
    let user = entry.user.clone().unwrap_or_else(UserName::nobody);
    App { command: entry.command.clone(), user, directory, wait: entry.wait }
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
        edit::check_way_out(facts, wan)?;
        nat.wan = wan.clone();
    }
    Ok(())
}
