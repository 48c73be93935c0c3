//! Reading a place's iptables rules: by `iptables-save`, once for all namespaces whose rules are the same.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{fs, io};

use crate::error::Kind;
use crate::host::netlink::Netlink;
use crate::host::{StepError, look, namespace, run};
use crate::model::facts::FirewallFacts;
use crate::model::flavour::Flavour;
use crate::model::kernel_names as names;
use crate::plan::batch::{Call, Program};
use crate::plan::line::Place;
use crate::plan::observed::{self, SeenChains};
use crate::plan::raw_message::RawMessage;
use crate::plan::rule::Table;
use crate::plan::ruleset;

/// So many bytes of signatures are kept to be compared: where each namespace has rules of its own, none of them need be.
const MAX_KEPT: usize = 4 * 1024 * 1024;

/// The tables that were asked for, and the rules' signature.
type Key = (BTreeSet<Table>, Vec<u8>);

/// What was read of some rules; held by who reads them.
type Slot = Arc<Mutex<Option<Arc<SeenChains>>>>;

/// The host's rules, read while something else is asked, with their generation: for a look that is likely to want them. Of the host
/// alone: a router may be another by then, with generations of its own.
#[derive(Debug, Default)]
pub struct Ahead(Mutex<Option<(u32, Saved)>>);

/// What `iptables-save` came to.
type Saved = Result<String, StepError>;

impl Ahead {
    /// Reads them.
    pub fn read(&self) {
        // Only nf_tables numbers its generations: without that nobody knows whether the text is still true.
        if run::flavour() != Some(Flavour::Nft) {
            return;
        }
        let read = generation().map(|generation| (generation, save(&Place::Host)));
        *self.kept() = read;
    }

    /// What was read, for one look, if this is the host and nobody has changed a rule since.
    fn take(&self, place: &Place) -> Option<Saved> {
        let (read_of, saved) = self.kept().take_if(|_| *place == Place::Host)?;
        (generation() == Some(read_of)).then_some(saved)
    }

    fn kept(&self) -> MutexGuard<'_, Option<(u32, Saved)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The generation of nf_tables' rules in the namespace of this thread.
fn generation() -> Option<u32> {
    ruleset::generation(&netfilter().ok()?.get(&ruleset::request_of_generation()).ok()?)
}

/// What was read during one look.
#[derive(Debug)]
pub struct Shared<'a> {
    read: Mutex<Kept>,
    ahead: &'a Ahead,
    /// Rules of the other flavour are not among nf_tables' messages.
    is_nft: bool,
}

/// The rules that were read by their signatures, and how long these are together.
#[derive(Debug, Default)]
struct Kept {
    slots: BTreeMap<Key, Slot>,
    bytes: usize,
}

impl<'a> Shared<'a> {
    /// Nothing yet, but for what was read ahead.
    pub fn new(ahead: &'a Ahead) -> Self {
        Shared { read: Mutex::default(), ahead, is_nft: run::flavour() == Some(Flavour::Nft) }
    }

    /// What [`rules`] prints, read; where another namespace was found to have the same, without a tool, and in common with that.
    pub fn rules(&self, place: &Place, tables: &BTreeSet<Table>) -> Result<Arc<SeenChains>, StepError> {
        let signature = self.signature(place);
        let slot = signature.as_ref().and_then(|signature| self.slot((tables.clone(), signature.clone())));
        let Some(slot) = slot else {
            return self.read(place, tables);
        };
        let mut known = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chains) = &*known {
            return Ok(Arc::clone(chains));
        }
        let chains = self.read(place, tables)?;
        // What changed meanwhile may not be what the signature stands for.
        if self.signature(place) == signature {
            *known = Some(Arc::clone(&chains));
        }
        Ok(chains)
    }

    fn read(&self, place: &Place, tables: &BTreeSet<Table>) -> Result<Arc<SeenChains>, StepError> {
        let saved = self.ahead.take(place).unwrap_or_else(|| save(place));
        let text = saved.or_else(|_| each(place, tables))?;
        Ok(observed::chains(&text).into())
    }

    /// Where what such rules say is, or will be; nothing where enough are kept.
    fn slot(&self, key: Key) -> Option<Slot> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let Kept { slots, bytes } = &mut *read;
        let with_this = *bytes + key.1.len();
        match slots.entry(key) {
            Entry::Occupied(slot) => Some(Arc::clone(slot.get())),
            Entry::Vacant(_) if with_this > MAX_KEPT => None,
            Entry::Vacant(slot) => {
                *bytes = with_this;
                Some(Arc::clone(slot.insert(Slot::default())))
            }
        }
    }

    /// Of the rules in the namespace of the present thread.
    fn signature(&self, place: &Place) -> Option<Vec<u8>> {
        if *place == Place::Host || !self.is_nft {
            return None;
        }
        ruleset::signature(&lists(&ruleset::requests()).ok()?)
    }
}

/// The kernel's lists of what nf_tables has in the namespace of this thread.
fn lists(requests: &[RawMessage]) -> io::Result<Vec<RawMessage>> {
    netfilter()?.lists(requests)
}

fn netfilter() -> io::Result<Netlink> {
    Netlink::open(Some(rustix::net::netlink::NETFILTER))
}

/// The names of the legacy flavour's tables in the namespace of this thread, a line each. The kernel's list is asked: the tool would
/// load the module.
pub fn legacy_tables() -> String {
    fs::read_to_string("/proc/net/ip_tables_names").unwrap_or_default()
}

/// The host's tables and chains. Of the legacy flavour, which nf_tables' messages don't tell of, and where its kernel has no nf_tables,
/// every built-in chain of a table counts as there.
pub fn tables_and_chains() -> Result<FirewallFacts, StepError> {
    let asks_kernel = match run::flavour() {
        Some(flavour) => flavour == Flavour::Nft,
        // Behind a wrapper may be either.
        None => legacy_tables().is_empty(),
    };
    let lists = || lists(&ruleset::requests_of_names()).ok();
    if let Some(names) = asks_kernel.then(lists).flatten().and_then(|messages| ruleset::names(&messages)) {
        return Ok(names);
    }
    let text = rules(&Place::Host, &[Table::Filter, Table::Nat].into())?;
    let chains: BTreeSet<_> = observed::chains(&text).into_keys().collect();
    Ok(FirewallFacts { tables: chains.iter().map(|(table, _)| table.clone()).collect(), chains })
}

/// May nf_tables have chains on this host, besides the one that vpcctl's rules are in, that forwarded packets meet?
pub fn may_others_forward() -> bool {
    let is_own = run::flavour() == Some(Flavour::Nft);
    let chains = lists(&[ruleset::request_of_all_chains()]).ok();
    chains.and_then(|chains| ruleset::has_forwarding(&chains, is_own)).unwrap_or(true)
}

/// A place's rules as `iptables-save` prints them, at least those of `tables`; one of these that it can't read is an error, not
/// an empty table. Somebody else's table that vpcctl has nothing in is no obstacle.
pub fn rules(place: &Place, tables: &BTreeSet<Table>) -> Result<String, StepError> {
    save(place).or_else(|_| each(place, tables))
}

/// All tables at once.
fn save(place: &Place) -> Saved {
    readable(&Call::plain(place.clone(), Program::IptablesSave, &[]))
}

/// One table after the other.
fn each(place: &Place, tables: &BTreeSet<Table>) -> Saved {
    let call = |table: &Table| Call::plain(place.clone(), Program::IptablesSave, &["-t", table.as_str()]);
    tables.iter().map(|table| readable(&call(table))).collect()
}

/// What built-in chains of a place have besides the jumps to vpcctl's own, as `iptables-save` prints it. What can't be asked counts as
/// not there.
pub fn foreign(place: &Place) -> Vec<String> {
    let saved =
        namespace::within(place, || rules(place, &BTreeSet::new())).ok().and_then(Result::ok).unwrap_or_default();
    let is_builtin = |line: &&str| {
        let chain = line.strip_prefix("-A ").and_then(|rest| rest.split(' ').next());
        chain.is_some_and(|chain| ["PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"].contains(&chain))
    };
    let foreign = saved.lines().filter(is_builtin).filter(|line| !line.contains(names::CHAIN_PREFIX));
    foreign.map(str::to_owned).collect()
}

fn readable(call: &Call) -> Result<String, StepError> {
    let unreadable = |error: StepError| StepError {
        kind: Some(Kind::Host),
        hint: Some("move what only nft can say into a table of another name than filter, nat, raw or security".into()),
        ..error
    };
    let text = look::dump(call).map_err(unreadable)?;
    match text.lines().find(|line| line.starts_with("# Table") && line.contains("incompatible")) {
        Some(line) => Err(unreadable(StepError::of_call(call, line.trim_start_matches("# ")))),
        None => Ok(text),
    }
}
