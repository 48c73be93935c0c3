//! What is too many on the host: what bears our mark there, or is in a table of vpcctl's own.

use super::{BUILTIN, Wanted, chain, our_chains, rule_words, unknown_namespaces, unknown_uplinks};
use crate::model::cidr::Cidr;
use crate::model::owner::Owner;
use crate::model::state::State;
use crate::plan::claims;
use crate::plan::holds::leads_to;
use crate::plan::line::Place;
use crate::plan::observed::{Observed, Seen, SeenRoute, SeenRule};
use crate::plan::op::{HostTable, Object, Op, ROUTE_PROTOCOL, Via};
use crate::plan::rule::Table;
use crate::plan::stray::Stray;

/// What bears our mark on the host and none of the state's ops makes, such as after a reload of rules that somebody had saved.
pub fn on_host(state: &State, ops: &[Op], observed: &Observed) -> Vec<Op> {
    let Some(seen) =
        observed.places.get(&Place::Host).filter(|seen| claims::other_uplinks(state, seen).next().is_none())
    else {
        return Vec::new();
    };
    let ops: Vec<&Op> = ops.iter().filter(|op| op.place() == Place::Host).collect();
    let wanted = Wanted::new(&Place::Host, &ops);
    let objects = host_chains(&wanted, seen).into_iter().chain(wanted.stray_addresses(&Place::Host, seen));
    let objects = objects.chain(host_routes(&wanted, seen)).chain(host_rules(&ops, seen));
    objects.map(|object| Op::new(&Owner::Host, object)).collect()
}

/// The routes of vpcctl's own tables.
fn host_routes(wanted: &Wanted<'_>, seen: &Seen) -> Vec<Object> {
    let object = |route: &SeenRoute| {
        let table = HostTable::ALL.into_iter().find(|table| route.table == Some(table.number().to_string()))?;
        let to = route.dst.parse().or_else(|_| route.dst.parse().map(Cidr::host)).ok()?;
        let via = match table {
            HostTable::Forwarded => Via::Prohibited,
            HostTable::Own => Via::Gateway {
                gateway: route.gateway.as_ref()?.parse().ok()?,
                device: wanted.devices.get(route.dev.as_ref()?)?.clone(),
                src: route.prefsrc.as_ref().and_then(|src| src.parse().ok()),
            },
        };
        let to_there = wanted.routes.get(&route.dst).map(Vec::as_slice).unwrap_or_default();
        let is_wanted = to_there.iter().any(|via| via.host_table() == table);
        (!is_wanted).then_some(Object::Route { place: Place::Host, to, via })
    };
    let ours = seen.routes.iter().filter(|route| route.protocol == Some(ROUTE_PROTOCOL.to_string()));
    ours.filter_map(object).collect()
}

fn host_rules(wanted: &[&Op], seen: &Seen) -> Vec<Object> {
    let is_wanted = |table: HostTable| wanted.iter().any(|op| op.object == Object::HostRule(table));
    let is_there = |table: HostTable| seen.rules.iter().any(|rule| leads_to(rule, table));
    let unwanted = HostTable::ALL.into_iter().filter(|table| is_there(*table) && !is_wanted(*table));
    let is_bent = |rule: &&SeenRule| {
        let of = |table: HostTable| rule.priority == table.preference() && rule.table == table.number().to_string();
        HostTable::ALL.into_iter().any(|table| of(table) && !leads_to(rule, table))
    };
    let bent = seen.rules.iter().filter(is_bent).map(|rule| Stray::RoutingRule(rule_words(rule)));
    let bent = bent.map(|stray| Object::Stray { place: Place::Host, stray });
    unwanted.map(Object::HostRule).chain(bent).collect()
}

fn host_chains(wanted: &Wanted<'_>, seen: &Seen) -> Vec<Object> {
    let ours = |table: Table, name: &str| {
        seen.chain(table, name).is_some_and(|chain| chain.rules.iter().any(|rule| rule.mark.is_some()))
    };
    let stale = our_chains(seen).filter(|path| !wanted.chains.contains(path) && ours(path.0, path.1));
    let mut objects = Vec::new();
    for (table, name) in stale {
        objects.push(chain(&Place::Host, table, name));
        for from in BUILTIN {
            let jump = format!("-j {name}");
            let rules = seen.chain(table, from).map(|chain| chain.rules.as_slice()).unwrap_or_default();
            let jumps = rules.iter().filter(|rule| rule.text == jump).count();
            objects.extend(std::iter::repeat_n(Object::jump(&Place::Host, table, from, name), jumps));
        }
    }
    objects
}

/// The uplinks and namespaces that bear the mark of an owner whom the state doesn't have, in the order in which they go.
pub fn unknown(state: &State, observed: &Observed) -> Vec<Op> {
    let stray = |name: &str| Object::Stray { place: Place::Host, stray: Stray::Link(name.to_owned()) };
    let links = unknown_uplinks(state, observed).into_iter().map(|(name, _)| stray(name));
    let namespaces = unknown_namespaces(observed).map(|(netns, _)| Object::Namespace(netns.clone()));
    links.chain(namespaces).map(|object| Op::new(&Owner::Host, object)).collect()
}
