//! `vpcctl enable-nat`.

use std::net::Ipv4Addr;

use clap::Args;

use crate::commands::args::{PoolArg, VpcArg, report};
use crate::model::edit::{NatSpec, PUBLIC_NAMESERVERS, enable_nat};
use crate::model::facts::{Barrier, HostFacts};
use crate::model::name::{IfName, Name};
use crate::model::owner::Owner;
use crate::model::state::{Nameservers, State, SubnetType};
use crate::plan::launch;
use crate::plan::subject::Subject;
use crate::session::{Outcome, Session};

/// Give public subnets internet access
///
/// Masqueraded by the router to the uplink's address, and by the host to its own. Private subnets stay closed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl enable-nat vpc1                       every public subnet, those added later too
  vpcctl enable-nat vpc1 --subnet public       this one
  vpcctl enable-nat vpc1 --interface eth0      by this interface of the host's")]
pub struct EnableNat {
    #[command(flatten)]
    vpc: VpcArg,
    /// One public subnet [default: all public ones]
    #[arg(long, value_name = "SUBNET")]
    subnet: Option<Name>,
    /// The host's interface towards the internet [default: the default route's]
    #[arg(long, value_name = "INTERFACE")]
    interface: Option<IfName>,
    /// A name server for the instances, instead of the host's; may be given three times
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<Ipv4Addr>,
    #[command(flatten)]
    pool: PoolArg,
}

impl EnableNat {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        let spec = NatSpec {
            vpc: self.vpc.get()?,
            subnet: self.subnet.clone(),
            wan: self.interface.clone(),
            nameservers: self.dns.clone(),
            pool: self.pool.uplink_pool,
        };
        let name = &spec.vpc;
        let subject = Subject::of(Owner::Vpc(name.clone()));
        let mut host = HostFacts::default();
        let outcome = session.change(&subject, |state| {
            host = session.facts_with_barriers(state, spec.pool)?;
            enable_nat(state, &spec, &host)
        })?;
        let vpc = outcome.new.vpc(name)?;
        let wan = vpc.nat.as_ref().map(|nat| nat.wan.to_string()).unwrap_or_default();
        let subnets: Vec<&str> = vpc.natted().map(|(name, _)| name.as_str()).collect();
        let what = format!(
            "NAT of {name} by {wan} for {}",
            if subnets.is_empty() { "no subnet yet".into() } else { subnets.join(", ") }
        );
        report(session, &outcome, &format!("enabled {what}"), &format!("{what} is enabled"))?;
        self.note_public_nameservers(session, &outcome);
        self.note_obstacles(session, &outcome, &host);
        let has_apps = launch::all(&outcome.new).any(|launch| &launch.instance.vpc == name);
        if outcome.is_change() && has_apps {
            session.ui.note(&format!("apps of {name} that run already keep the name servers that they began with"));
        }
        if vpc.subnets.values().all(|subnet| subnet.kind == SubnetType::Private) {
            session.ui.note(&format!("{name} has no public subnet: add one with --type public"));
        }
        Ok(())
    }

    /// What has come since NAT was enabled: somebody's rules, or another default route.
    fn note_obstacles(&self, session: &Session<'_>, outcome: &Outcome, host: &HostFacts) {
        let Some((name, wan)) = self.vpc.get().ok().and_then(|name| {
            let wan = outcome.new.vpcs.get(&name)?.nat.clone()?.wan;
            Some((name, wan))
        }) else {
            return;
        };
        if let Some(Barrier { what, remedy }) = host.barriers.get(&wan) {
            session.ui.note(&format!("NAT by {wan} doesn't work now: {what}; to open it: {remedy}"));
        }
        if let Some(other) = host.default_wan.as_ref().filter(|other| self.interface.is_none() && **other != wan) {
            session.ui.note(&format!(
                "{name} leaves by {wan}, and the host's default route is by {other} now: `vpcctl disable-nat {name}`, then \
                 `vpcctl enable-nat {name}`, moves it there"
            ));
        }
    }

    /// An operator should know when names are asked of somebody whom nobody chose.
    fn note_public_nameservers(&self, session: &Session<'_>, outcome: &Outcome) {
        let is_public = |state: &State| {
            let nat = self.vpc.get().ok().and_then(|name| state.vpcs.get(&name)?.nat.clone());
            nat.is_some_and(|nat| nat.nameservers == Nameservers::Host(PUBLIC_NAMESERVERS.to_vec()))
        };
        if is_public(&outcome.new) && !is_public(&outcome.old) {
            let [one, other] = PUBLIC_NAMESERVERS;
            session.ui.note(&format!(
                "the host names no server that an instance reaches: names are asked of {one} and {other}; --dns chooses others"
            ));
        }
    }
}
