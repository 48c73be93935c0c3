//! What differs between two states, object by object, with the reason.

use std::collections::BTreeMap;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::app::{App, Port};
use crate::model::cidr::Cidr;
use crate::model::name::{Name, VpcName};
use crate::model::policy::Policy;
use crate::model::state::{HostAccess, Instance, Nat, NatScope, Peering, PeeringScope, State, Subnet, Vpc};

/// What happens to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It is not there yet.
    Create,
    /// It becomes different where it is.
    Change,
    /// It goes, and comes anew.
    Replace,
    /// It goes.
    Delete,
    /// It is made again as the state says.
    Mend,
}

/// A difference of one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Change {
    /// What happens to it.
    pub action: Action,
    /// The object: its kind and its path.
    pub object: String,
    /// Why.
    pub reason: String,
}

/// The reason for what is new.
pub const NEW: &str = "not there yet";

/// What differs, in the order of the VPCs' names; a VPC before what is in it. `gone` is why something goes by itself.
pub fn between(old: &State, new: &State, gone: &str) -> Vec<Change> {
    let mut changes = Changes { list: Vec::new(), gone };
    changes.each(&old.vpcs, &new.vpcs, |changes, name, old, new| {
        changes.vpc(name, old.map(Arc::as_ref), new.map(Arc::as_ref))
    });
    let key = |peering: &Peering| ((peering.a.clone(), peering.b.clone()), peering.clone());
    let peerings = |state: &State| state.peerings.iter().map(key).collect::<BTreeMap<_, _>>();
    changes.each(&peerings(old), &peerings(new), |changes, (a, b), before, after| {
        let object = format!("peering {a} - {b}");
        let remade = [a, b].into_iter().find(|vpc| is_remade(old, new, vpc));
        changes.peering(&object, before, after, remade);
    });
    changes.list
}

/// Is it another VPC of the same name, or none any more?
fn is_remade(old: &State, new: &State, vpc: &VpcName) -> bool {
    old.vpcs.get(vpc).map(|vpc| vpc.cidr) != new.vpcs.get(vpc).map(|vpc| vpc.cidr)
}

struct Changes<'a> {
    list: Vec<Change>,
    gone: &'a str,
}

impl Changes<'_> {
    /// Every key of either map, in order.
    fn each<K: Ord, V>(
        &mut self,
        old: &BTreeMap<K, V>,
        new: &BTreeMap<K, V>,
        one: impl Fn(&mut Self, &K, Option<&V>, Option<&V>),
    ) {
        let only_old = old.keys().filter(|key| !new.contains_key(key));
        let mut keys: Vec<&K> = new.keys().chain(only_old).collect();
        keys.sort();
        keys.into_iter().for_each(|key| one(self, key, old.get(key), new.get(key)));
    }

    fn add(&mut self, action: Action, object: &str, reason: impl Into<String>) {
        self.list.push(Change { action, object: object.to_owned(), reason: reason.into() });
    }

    /// A change in place, if there is anything to it.
    fn change(&mut self, object: &str, reasons: Vec<String>) {
        if !reasons.is_empty() {
            self.add(Action::Change, object, reasons.join("; "));
        }
    }

    fn vpc<'b>(&mut self, name: &VpcName, old: Option<&'b Vpc>, new: Option<&'b Vpc>) {
        let object = format!("VPC {name}");
        let outer = match (old, new) {
            (None, Some(new)) => {
                self.add(Action::Create, &object, format!("{}: {NEW}", new.cidr));
                None
            }
            (Some(_), None) => {
                self.add(Action::Delete, &object, self.gone);
                Some(object.clone())
            }
            (Some(old), Some(new)) if old.cidr != new.cidr => {
                self.add(Action::Replace, &object, differs("cidr", old.cidr, new.cidr));
                Some(object.clone())
            }
            (Some(old), Some(new)) => {
                self.change(&object, vpc_reasons(old, new));
                None
            }
            (None, None) => return,
        };
        let outer = outer.as_deref();
        self.nat(
            &format!("NAT of {name}"),
            old.and_then(|vpc| vpc.nat.as_ref()),
            new.and_then(|vpc| vpc.nat.as_ref()),
            outer,
        );
        let none = BTreeMap::new();
        let subnets = |vpc: Option<&'b Vpc>| vpc.map_or(&none, |vpc| &vpc.subnets);
        self.each(subnets(old), subnets(new), |changes, subnet, old, new| {
            changes.subnet(name, subnet, old, new, outer);
        });
    }

    fn nat(&mut self, object: &str, old: Option<&Nat>, new: Option<&Nat>, outer: Option<&str>) {
        match (old, new) {
            (None, None) => {}
            (None, Some(new)) => self.add(Action::Create, object, format!("by {}: {NEW}", new.wan)),
            (Some(_), None) => self.goes(object, outer),
            (Some(old), Some(new)) => {
                let mut reasons = differing("interface", &old.wan, &new.wan);
                if old.scope != new.scope {
                    reasons.push(differs("subnets", scope(&old.scope), scope(&new.scope)));
                }
                if old.nameservers != new.nameservers {
                    let list =
                        |nat: &Nat| nat.nameservers.addresses().iter().map(ToString::to_string).collect::<Vec<_>>();
                    let (before, after) = (list(old).join(", "), list(new).join(", "));
                    reasons.push(match before == after {
                        true => "the name servers are chosen by another".to_owned(),
                        false => differs("nameservers", before, after),
                    });
                }
                self.change(object, reasons);
            }
        }
    }

    /// It goes by itself, or with what it is in.
    fn goes(&mut self, object: &str, outer: Option<&str>) {
        self.add(Action::Delete, object, outer.map_or(self.gone.to_owned(), |outer| format!("goes with {outer}")));
    }

    fn subnet<'b>(
        &mut self,
        vpc: &VpcName,
        name: &Name,
        old: Option<&'b Subnet>,
        new: Option<&'b Subnet>,
        outer: Option<&str>,
    ) {
        let path = format!("{vpc}/{name}");
        let object = format!("subnet {path}");
        let mut within = outer.map(str::to_owned);
        match (old, new) {
            (None, Some(new)) => {
                self.add(Action::Create, &object, format!("{} {}: {NEW}", new.kind.as_str(), new.cidr))
            }
            (Some(_), None) => {
                self.goes(&object, outer);
                within = within.or(Some(object));
            }
            (Some(old), Some(new)) if old.cidr != new.cidr => {
                let mut reasons = differing("cidr", &old.cidr, &new.cidr);
                reasons.extend(differing("type", &old.kind.as_str(), &new.kind.as_str()));
                self.add(Action::Replace, &object, reasons.join("; "));
                within = within.or(Some(object));
            }
            (Some(old), Some(new)) => {
                self.differs_within(&object, differing("type", &old.kind.as_str(), &new.kind.as_str()), outer)
            }
            (None, None) => return,
        }
        let within = within.as_deref();
        self.contents(&path, old.map(|s| (&s.policy, &s.apps)), new.map(|s| (&s.policy, &s.apps)), within);
        let none = BTreeMap::new();
        let instances = |subnet: Option<&'b Subnet>| subnet.map_or(&none, |subnet| &subnet.instances);
        self.each(instances(old), instances(new), |changes, instance, old, new| {
            changes.instance(&format!("{path}/{instance}"), old, new, within);
        });
    }

    fn instance(&mut self, path: &str, old: Option<&Instance>, new: Option<&Instance>, outer: Option<&str>) {
        let object = format!("instance {path}");
        let mut within = outer.map(str::to_owned);
        match (old, new) {
            (None, Some(new)) => self.add(Action::Create, &object, format!("{}: {NEW}", new.address)),
            (Some(_), None) => {
                self.goes(&object, outer);
                within = within.or(Some(object));
            }
            (Some(old), Some(new)) if old.address != new.address => {
                self.add(Action::Replace, &object, differs("address", old.address, new.address));
                within = within.or(Some(object));
            }
            (Some(_), Some(_)) => self.differs_within(&object, Vec::new(), outer),
            (None, None) => {}
        }
        let within = within.as_deref();
        self.contents(path, old.map(|i| (&i.policy, &i.apps)), new.map(|i| (&i.policy, &i.apps)), within);
    }

    /// It comes anew with what it is in, or becomes different where it is.
    fn differs_within(&mut self, object: &str, reasons: Vec<String>, outer: Option<&str>) {
        let Some(outer) = outer else {
            return self.change(object, reasons);
        };
        let reasons: Vec<String> = [format!("is in {outer}")].into_iter().chain(reasons).collect();
        self.add(Action::Replace, object, reasons.join("; "));
    }

    /// The policy and the apps of an instance.
    fn contents<'b>(&mut self, path: &str, old: Option<Parts<'b>>, new: Option<Parts<'b>>, outer: Option<&str>) {
        let policy = format!("policy of {path}");
        match (old.and_then(|(policy, _)| policy.as_ref()), new.and_then(|(policy, _)| policy.as_ref())) {
            (None, Some(new)) => self.add(Action::Create, &policy, format!("{}: {NEW}", rules(new))),
            (Some(_), None) => self.goes(&policy, outer),
            (Some(old), Some(new)) if old != new => {
                let (before, after) = (rules(old), rules(new));
                let reason = if before == after { "its rules are others".into() } else { differs("it", before, after) };
                self.add(Action::Change, &policy, reason);
            }
            _ => {}
        }
        let none = BTreeMap::new();
        let apps = |parts: Option<Parts<'b>>| parts.map_or(&none, |(_, apps)| apps);
        self.each(apps(old), apps(new), |changes, port, old, new| {
            let object = format!("app {path}:{port}");
            match (old, new) {
                (None, Some(new)) => changes.add(Action::Create, &object, format!("{}: {NEW}", new.name())),
                (Some(_), None) => changes.goes(&object, outer),
                (Some(old), Some(new)) => changes.change(&object, app_reasons(old, new)),
                (None, None) => {}
            }
        });
    }

    fn peering(&mut self, object: &str, old: Option<&Peering>, new: Option<&Peering>, remade: Option<&VpcName>) {
        let outer = remade.map(|vpc| format!("VPC {vpc}"));
        match (old, new) {
            (None, Some(new)) => self.add(Action::Create, object, format!("{}: {NEW}", allowed(&new.scope))),
            (Some(_), None) => self.goes(object, outer.as_deref()),
            (Some(old), Some(new)) => {
                let mut reasons = match outer {
                    None => differing("link", &old.link.0, &new.link.0),
                    Some(_) => Vec::new(),
                };
                if old.scope != new.scope {
                    reasons.push(differs("what it lets pass", allowed(&old.scope), allowed(&new.scope)));
                }
                self.differs_within(object, reasons, outer.as_deref());
            }
            (None, None) => {}
        }
    }
}

/// The policy and the apps of an instance.
type Parts<'a> = (&'a Option<Policy>, &'a BTreeMap<Port, App>);

fn differs(what: &str, old: impl ToString, new: impl ToString) -> String {
    format!("{what} is {}, not {}", old.to_string(), new.to_string())
}

fn differing<T: ToString + PartialEq>(what: &str, old: &T, new: &T) -> Vec<String> {
    if old == new { Vec::new() } else { vec![differs(what, old.to_string(), new.to_string())] }
}

fn vpc_reasons(old: &Vpc, new: &Vpc) -> Vec<String> {
    let access = |vpc: &Vpc| match &vpc.host_access {
        HostAccess::On => "on".to_owned(),
        HostAccess::Off => "off".to_owned(),
        HostAccess::Overlaps(what) => format!("off, for it overlaps {what}"),
    };
    let wan = |vpc: &Vpc| vpc.wan.as_ref().map_or("not chosen".into(), ToString::to_string);
    let mut reasons = differing("mtu", &old.mtu, &new.mtu);
    reasons.extend(differing("host access", &access(old), &access(new)));
    reasons.extend(differing("interface", &wan(old), &wan(new)));
    if let (Some(old), Some(new)) = (old.uplink, new.uplink) {
        let shown = |link: Cidr, pool: Cidr| format!("{link} of {pool}");
        reasons.extend(differing("uplink", &shown(old.link.0, old.pool), &shown(new.link.0, new.pool)));
    }
    reasons
}

fn scope(scope: &NatScope) -> String {
    match scope {
        NatScope::AllPublic => "all public ones".into(),
        NatScope::Only(names) => names.iter().map(Name::as_str).collect::<Vec<_>>().join(", "),
    }
}

fn allowed(scope: &PeeringScope) -> String {
    match scope {
        PeeringScope::Everything => "everything".into(),
        PeeringScope::Only(pairs) => {
            pairs.iter().map(|pair| format!("{} to {}", pair.src, pair.dst)).collect::<Vec<_>>().join(", ")
        }
    }
}

fn rules(policy: &Policy) -> String {
    format!("{} rules in, {} out", policy.ingress.rules.len(), policy.egress.rules.len())
}

fn app_reasons(old: &App, new: &App) -> Vec<String> {
    let mut reasons = differing("program", &old.name(), &new.name());
    reasons.extend(differing("user", &old.user, &new.user));
    let directory = |app: &App| app.directory.display().to_string();
    reasons.extend(differing("directory", &directory(old), &directory(new)));
    reasons.extend(differing("wait", &old.wait, &new.wait));
    if reasons.is_empty() && old != new {
        reasons.push("its arguments are others".into());
    }
    reasons
}
