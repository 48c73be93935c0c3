//! In what the kernel differs from the state, object by object, and the plan that mends it.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::kernel_names::{self as names, Device, Netns};
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::model::text::printable;
use crate::plan::holds::Holding;
use crate::plan::line::Place;
use crate::plan::observed::{Observed, SeenLink};
use crate::plan::op::{Object, Op};
use crate::plan::reconcile::{self, Unmarked};
use crate::plan::rule::MARK;
use crate::plan::stray::Stray;
use crate::plan::subject::Subject;
use crate::plan::{Plan, surplus};

/// One object that is not as the state says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whom it is there for: a path, or what the mark says.
    pub owner: String,
    /// The object.
    pub object: String,
    /// How it is found.
    pub found: Found,
    /// How many more objects are missing because this one is.
    pub with_it: usize,
}

impl Difference {
    /// The objects that it stands for.
    pub fn objects(&self) -> usize {
        1 + self.with_it
    }

    /// As it may be shown: names and texts in the kernel are whoever's.
    fn printable(self) -> Self {
        let found = match self.found {
            Found::Wrong(what) => Found::Wrong(printable(&what)),
            other => other,
        };
        Difference { owner: printable(&self.owner), object: printable(&self.object), found, with_it: self.with_it }
    }
}

/// How an object is found that isn't as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// Not there.
    Missing,
    /// There, but not as it should be.
    Wrong(String),
    /// There, and the state doesn't have it.
    Surplus,
    /// It bears vpcctl's mark, and this state doesn't know it: another state directory's, or of an older state.
    Unknown,
    /// In the place of an object of ours, or within a router, and not vpcctl's: left alone.
    Foreign,
}

impl Found {
    /// Is it somebody else's, as far as this state can tell, and so left alone?
    pub fn is_left_alone(&self) -> bool {
        matches!(self, Found::Unknown | Found::Foreign)
    }
}

/// The state, and all that the kernel has of it.
#[derive(Debug)]
pub struct Survey<'a> {
    /// What should be.
    pub state: &'a State,
    /// Whose objects were looked at.
    pub subject: &'a Subject,
    /// Their objects.
    pub ops: Vec<Op>,
    /// What there is.
    pub observed: Observed,
}

/// What mends the kernel, in the order in which it runs. What closes doesn't depend on what else may fail.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mending {
    /// Rules that somebody put before ours go: those of built-in chains, and of routing.
    pub closing: Plan,
    /// What is missing or wrong is made.
    pub making: Plan,
    /// What is too many goes.
    pub removing: Plan,
}

impl Mending {
    /// The three, in order.
    pub fn plans(&self) -> [&Plan; 3] {
        [&self.closing, &self.making, &self.removing]
    }

    /// Nothing to do?
    pub fn is_empty(&self) -> bool {
        self.plans().iter().all(|plan| plan.is_empty())
    }
}

impl Survey<'_> {
    /// The differences, in the order of the objects.
    pub fn differences(&self) -> Vec<Difference> {
        let Survey { state, ops, observed, .. } = self;
        let mut differences = missing_and_wrong(ops, observed);
        differences.extend(self.surplus().iter().map(|op| too_many(op, observed)));
        differences.extend(foreign_links(state, ops, observed));
        if self.is_of_everything() {
            differences.extend(unknown(state, observed));
        }
        differences.into_iter().map(Difference::printable).collect()
    }

    /// What only looks like ours on the host, and is in nobody's way: named, and left alone.
    pub fn lookalikes(&self) -> Vec<String> {
        let found =
            if self.is_of_everything() { lookalikes(self.state, &self.ops, &self.observed) } else { Vec::new() };
        found.iter().map(|name| printable(name)).collect()
    }

    /// What mends what differs, with the least change; with `unknown`, also what bears our mark and is not of this state goes.
    pub fn mending(&self, unknown: bool) -> Mending {
        let closes = |op: &Op| matches!(&op.object, Object::Stray { stray, .. } if stray.is_rule());
        let (closing, mut removing): (Vec<Op>, Vec<Op>) = self.surplus().into_iter().partition(closes);
        let mut making = reconcile::plan(&self.ops, &[], &self.observed, Unmarked::Theirs);
        making.make = making.make.into_iter().filter_map(|op| after_closing(op, &closing)).collect();
        if unknown && self.is_of_everything() {
            removing.extend(surplus::unknown(self.state, &self.observed));
        }
        let unmade = |ops: Vec<Op>| Plan { clear: ops, ..Plan::default() };
        Mending { closing: unmade(closing), making, removing: unmade(removing) }
    }

    fn surplus(&self) -> Vec<Op> {
        let Survey { state, ops, observed, .. } = self;
        let mut surplus = surplus::in_routers(state, ops, observed);
        // Of a part of the state nobody can say that the host has too much.
        if self.is_of_everything() {
            surplus.extend(surplus::on_host(state, ops, observed));
        }
        surplus
    }

    fn is_of_everything(&self) -> bool {
        *self.subject == Subject::Everything
    }
}

/// A jump from a built-in chain that is emptied stands again by then, or has none of its kind left to take away.
fn after_closing(mut op: Op, closing: &[Op]) -> Option<Op> {
    let Object::Jump { place, table, from, misplaced, .. } = &mut op.object else {
        return Some(op);
    };
    let emptied = closing.iter().find_map(|stray| match &stray.object {
        Object::Stray { place: p, stray: Stray::Rules { table: t, chain, jump } }
            if (p, t, chain) == (&*place, &*table, &*from) =>
        {
            Some(jump.is_some())
        }
        _ => None,
    });
    match emptied {
        Some(true) => None,
        Some(false) => {
            *misplaced = 0;
            Some(op)
        }
        None => Some(op),
    }
}

/// What goes with something that is gone is counted there, and not named by itself.
fn missing_and_wrong(ops: &[Op], observed: &Observed) -> Vec<Difference> {
    let gone = Gone::new(ops, observed);
    let mut differences: Vec<Difference> = Vec::new();
    let mut taken: BTreeMap<&str, usize> = BTreeMap::new();
    for op in ops {
        let found = match op.holding(observed) {
            Holding::Held => continue,
            Holding::Absent => Found::Missing,
            Holding::Differs(what) => Found::Wrong(what),
            Holding::Misplaced(_) => Found::Wrong("it is not where it should be: first, and once".into()),
            Holding::Unmarked | Holding::Foreign => Found::Foreign,
        };
        match gone.taker(op).filter(|_| found != Found::Foreign) {
            Some(identity) => *taken.entry(identity).or_default() += 1,
            None => {
                differences.push(Difference { owner: op.owner.to_string(), object: op.identity(), found, with_it: 0 })
            }
        }
    }
    for difference in &mut differences {
        difference.with_it = taken.get(difference.object.as_str()).copied().unwrap_or_default();
    }
    differences
}

/// The namespaces and links that aren't there, or aren't ours, with their identities.
#[derive(Default)]
struct Gone {
    namespaces: BTreeMap<Place, String>,
    links: BTreeMap<(Place, String), String>,
}

impl Gone {
    fn new(ops: &[Op], observed: &Observed) -> Self {
        let mut gone = Gone::default();
        let is_gone = |op: &&Op| !matches!(op.holding(observed), Holding::Held | Holding::Differs(_));
        for op in ops {
            let mut link = |place: &Place, device: &Device| {
                gone.links.insert((place.clone(), device.to_string()), op.identity());
            };
            match &op.object {
                Object::Namespace(_) if is_gone(&op) => drop(gone.namespaces.insert(op.place(), op.identity())),
                Object::Bridge { device, .. } if is_gone(&op) => link(&op.place(), device),
                Object::Cable { ends, .. } if is_gone(&op) => ends.iter().for_each(|end| link(&end.place, &end.device)),
                _ => {}
            }
        }
        gone
    }

    /// The identity of what takes the op with it.
    fn taker(&self, op: &Op) -> Option<&str> {
        let places = match &op.object {
            Object::Cable { ends, .. } => ends.iter().map(|end| end.place.clone()).collect(),
            // It outlives its namespace.
            Object::Resolver { .. } => vec![],
            Object::Namespace(_) => return None,
            _ => vec![op.place()],
        };
        let link = || Some(self.links.get(&(op.place(), op.device()?.to_string()))?.as_str());
        places.iter().find_map(|place| self.namespaces.get(place)).map(String::as_str).or_else(link)
    }
}

fn too_many(op: &Op, observed: &Observed) -> Difference {
    let detail = match &op.object {
        Object::Stray { place, stray: Stray::Rules { table, chain, jump } } => {
            let jump = jump.as_ref().map(|to| format!("-j {to}"));
            let rules = observed.places.get(place).and_then(|seen| seen.chain(*table, chain));
            let texts = rules.iter().flat_map(|chain| &chain.rules).map(|rule| &rule.text);
            let texts: Vec<&str> = texts.filter(|text| Some(*text) != jump.as_ref()).map(String::as_str).collect();
            format!(": {}", texts.join("; "))
        }
        _ => String::new(),
    };
    let object = format!("{}{detail}", op.identity());
    let is_lost = matches!(op.object, Object::Stray { stray: Stray::LostRule { .. }, .. });
    let found = if is_lost { Found::Missing } else { Found::Surplus };
    Difference { owner: op.owner.to_string(), object, found, with_it: 0 }
}

/// Links in routers that bear no mark: somebody's, and a way in.
fn foreign_links(state: &State, ops: &[Op], observed: &Observed) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut names: BTreeMap<Place, BTreeSet<&str>> = BTreeMap::new();
    for (place, name) in ops.iter().flat_map(links_of) {
        names.entry(place).or_default().insert(name);
    }
    for (netns, vpc) in surplus::routers(state, ops) {
        let place = Place::Netns(netns);
        let (Some(seen), Some(known)) = (observed.places.get(&place), names.get(&place)) else { continue };
        let unmarked = |(name, link): &(&String, &SeenLink)| {
            !known.contains(name.as_str()) && *name != "lo" && !link.alias.starts_with(MARK)
        };
        found.extend(seen.links.iter().filter(unmarked).map(|(name, _)| Difference {
            owner: Owner::Vpc(vpc.clone()).to_string(),
            object: format!("link {name} in {place}"),
            found: Found::Foreign,
            with_it: 0,
        }));
    }
    found
}

fn links_of(op: &Op) -> Vec<(Place, &str)> {
    match &op.object {
        Object::Bridge { device, .. } => vec![(op.place(), device.as_str())],
        Object::Cable { ends, .. } => ends.iter().map(|end| (end.place.clone(), end.device.as_str())).collect(),
        _ => vec![],
    }
}

/// Namespaces and uplinks that bear the mark of an owner whom the state doesn't have.
fn unknown(state: &State, observed: &Observed) -> Vec<Difference> {
    let difference =
        |owner: &str, object: String| Difference { owner: owner.to_owned(), object, found: Found::Unknown, with_it: 0 };
    let namespaces = surplus::unknown_namespaces(observed);
    let namespaces = namespaces.map(|(netns, owner)| difference(owner, format!("namespace {netns}")));
    let links = surplus::unknown_uplinks(state, observed).into_iter();
    namespaces.chain(links.map(|(name, owner)| difference(owner, format!("link {name} in host")))).collect()
}

/// What has our names on the host, or those of a VPC's instances, and no mark.
fn lookalikes(state: &State, ops: &[Op], observed: &Observed) -> Vec<String> {
    let Some(seen) = observed.places.get(&Place::Host) else {
        return Vec::new();
    };
    let known: BTreeSet<&str> =
        ops.iter().flat_map(links_of).filter(|(place, _)| *place == Place::Host).map(|(_, name)| name).collect();
    let links = seen.links.iter().filter(|(name, link)| {
        name.starts_with(names::UPLINK_PREFIX) && !known.contains(name.as_str()) && !link.alias.starts_with(MARK)
    });
    let links = links.map(|(name, _)| format!("link {name} in host"));
    let chains = seen.chains.iter().filter(|((table, name), chain)| {
        let is_ours = |op: &Op| {
            matches!(&op.object, Object::Chain { place: Place::Host, table: t, chain, .. } if t.as_str() == table && chain == name)
        };
        name.starts_with(names::CHAIN_PREFIX) && chain.rules.iter().all(|rule| rule.mark.is_none()) && !ops.iter().any(is_ours)
    });
    let chains = chains.map(|((table, name), _)| format!("chain {name} of table {table} in host"));
    let of_a_vpc = |netns: &Netns| state.vpcs.keys().any(|vpc| netns.as_str().starts_with(&format!("{vpc}-")));
    let namespaces = observed.strangers.iter().filter(|(netns, alias)| !alias.starts_with(MARK) && of_a_vpc(netns));
    let namespaces = namespaces.map(|(netns, _)| format!("namespace {netns}"));
    links.chain(chains).chain(namespaces).collect()
}
