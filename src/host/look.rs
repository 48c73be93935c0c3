//! Looking at the kernel: only what there is to compare, with as few calls as possible.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use netlink_packet_route::RouteNetlinkMessage;
use rustix::io::Errno;

use crate::app::record::Apps;
use crate::error::Kind;
use crate::host::namespace::Tour;
use crate::host::netlink::Netlink;
use crate::host::rules::{Ahead, Shared};
use crate::host::run;
use crate::host::settings::Settings;
use crate::host::{StepError, files, namespace, pool};
use crate::model::app::App;
use crate::model::kernel_names::Netns;
use crate::model::owner::Owner;
use crate::plan::batch::{Call, InputLine, Program};
use crate::plan::launch::AppId;
use crate::plan::line::Place;
use crate::plan::observed::{IP_QUERIES, Observed, Questions, Seen, netlink, questions};
use crate::plan::op::{Object, Op};
use crate::plan::resolver;
use crate::plan::sender_filter;

/// How often a dump that the kernel says was interrupted is asked for again.
const DUMP_ATTEMPTS: usize = 8;

/// A look at the kernel.
pub struct Look<'a> {
    /// Where the records of apps are.
    pub apps: Apps,
    /// The host's rules, where they were read with the facts.
    pub ahead: &'a Ahead,
    /// Set by a signal that asks the command to end: so does the look.
    pub interrupted: &'a AtomicBool,
    /// Called before the first place, with the number of all.
    pub begin: &'a (dyn Fn(usize) + Sync),
    /// Called before each place.
    pub step: &'a (dyn Fn() + Sync),
    /// Called with what the operator should know besides.
    pub note: &'a (dyn Fn(&str) + Sync),
}

impl Look<'_> {
    /// What the kernel has of all that the ops are about.
    pub fn observe<'a>(&self, ops: impl IntoIterator<Item = &'a Op>) -> Result<Observed, StepError> {
        let ops: Vec<&Op> = ops.into_iter().collect();
        let asked = questions(ops.iter().copied());
        self.answers(&ops, asked)
    }

    /// What the kernel has of all that the ops are about, and all else that is in these routers; with `whole`, where the ops are
    /// those of everything, also what the host has by our mark.
    pub fn survey(&self, ops: &[Op], routers: impl Iterator<Item = Netns>, whole: bool) -> Result<Observed, StepError> {
        let mut asked = questions(ops);
        for router in routers {
            asked.entry(Place::Netns(router)).or_default().add(Questions::whole());
        }
        let mut others = BTreeMap::new();
        if whole {
            let host = asked.entry(Place::Host).or_default();
            host.add(Questions { links: true, ip: true, rules: true, ..Questions::default() });
            others = self.strangers(&asked.keys().filter_map(Place::netns).cloned().collect())?;
        }
        let ops: Vec<&Op> = ops.iter().collect();
        Ok(Observed { strangers: others, ..self.answers(&ops, asked)? })
    }

    /// The namespaces that aren't among these, with the aliases of their `lo`. One that can't be looked at is nobody's reason to
    /// fail.
    fn strangers(&self, known: &BTreeSet<Netns>) -> Result<BTreeMap<Netns, String>, StepError> {
        let others = namespace::names().into_iter().filter(|netns| !known.contains(netns)).collect();
        let look = |netns: Netns| match alias(&netns) {
            Ok(alias) => Ok(alias.map(|alias| (netns, alias))),
            Err(StepError { object, reason, .. }) => {
                (self.note)(&format!("{object}, which this state doesn't know, can't be looked at: {reason}"));
                Ok(None)
            }
        };
        Ok(pool::map(others, self.interrupted, look)?.into_iter().flatten().collect())
    }

    fn answers(&self, ops: &[&Op], asked: BTreeMap<Place, Questions>) -> Result<Observed, StepError> {
        let (files, apps) = besides_namespaces(ops, &self.apps);
        let (places, gone) = self.tour(asked)?;
        gone.iter().try_for_each(refuse_odd_file)?;
        let stale = gone.into_iter().filter(namespace::has_file).collect();
        Ok(Observed { places, stale, strangers: BTreeMap::new(), files, apps })
    }

    /// Threads go from place to place, and look. Also the namespaces that aren't there.
    fn tour(&self, asked: BTreeMap<Place, Questions>) -> Result<(BTreeMap<Place, Seen>, Vec<Netns>), StepError> {
        let shared = Shared::new(self.ahead);
        let visit = |tour: &Tour, (place, questions): (Place, Questions)| {
            (self.step)();
            let seen = match tour.go(&place) {
                Ok(()) => Some(look(&place, &questions, &shared)?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => return Err(StepError::of_place(&place, &error)),
            };
            Ok((place, seen))
        };
        let (mut places, mut gone) = (BTreeMap::new(), Vec::new());
        if asked.is_empty() {
            return Ok((places, gone));
        }
        (self.begin)(asked.len());
        let asked = asked.into_iter().collect();
        let seen = Tour::take(|tour| pool::map(asked, self.interrupted, |item| visit(tour, item)));
        let seen = seen.map_err(|error| StepError::of_place(&Place::Host, &error))??;
        for (place, seen) in seen {
            match seen {
                Some(seen) => drop(places.insert(place, seen)),
                None => gone.extend(place.netns().cloned()),
            }
        }
        Ok((places, gone))
    }
}

/// The alias of a namespace's `lo`; nothing where the namespace is gone, or is none.
fn alias(netns: &Netns) -> Result<Option<String>, StepError> {
    let place = Place::Netns(netns.clone());
    let mark = Questions { mark: true, ..Questions::default() };
    let look = || in_process(&place, &mark).map_or_else(|| by_tools(&place, &mark), Ok);
    let seen = match namespace::within(&place, look) {
        Ok(seen) => seen?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(StepError::of_place(&place, &error)),
    };
    Ok(Some(seen.links.get("lo").map(|lo| lo.alias.clone()).unwrap_or_default()))
}

fn unreadable(call: &Call, error: &serde_json::Error) -> StepError {
    StepError::of_call(call, format!("its output can't be read: {error}"))
}

/// A directory, or a link to nowhere, among the namespaces is nobody's namespace, and not vpcctl's to remove.
fn refuse_odd_file(netns: &Netns) -> Result<(), StepError> {
    if !namespace::is_odd(netns) {
        return Ok(());
    }
    let path = namespace::path(netns);
    let reason = format!("{} is no namespace, and vpcctl did not make it", path.display());
    Err(StepError {
        kind: Some(Kind::Conflict),
        hint: Some("remove or rename it, if that is for you to decide, or choose another name".into()),
        ..StepError::new(format!("namespace `{netns}`"), "", reason)
    })
}

/// What namespaces leave behind on the host: files of configuration, and records of apps.
fn besides_namespaces(ops: &[&Op], records: &Apps) -> (BTreeMap<PathBuf, String>, BTreeMap<AppId, Option<App>>) {
    let mut found = BTreeMap::new();
    let mut apps = BTreeMap::new();
    for op in ops {
        match &op.object {
            Object::Resolver { netns, .. } => {
                let path = resolver::path(netns);
                found.extend(files::read(&path).map(|text| (path, text)));
            }
            Object::App(launch) => {
                let id = launch.id();
                apps.extend(records.running(&id).map(|running| (id, running)));
            }
            _ => {}
        }
    }
    (found, apps)
}

/// What this thread's namespace has, which is the place's.
fn look(place: &Place, questions: &Questions, shared: &Shared<'_>) -> Result<Seen, StepError> {
    let mut seen = match in_process(place, questions) {
        Some(seen) => seen,
        None => by_tools(place, questions)?,
    };
    for device in &questions.filters {
        let unseen = |error| {
            StepError::new(format!("sender filter on {device} in {place}"), "", format!("can't be looked at: {error}"))
        };
        let first = first_filter(device).map_err(unseen)?;
        seen.filtered.extend(first.map(|first| (device.clone(), first)));
    }
    if questions.sets {
        seen.read_sets(&dump(&Call::plain(place.clone(), Program::Ipset, &["save"]))?);
    }
    if questions.rules {
        seen.chains = shared.rules(place, &questions.tables)?;
    }
    seen.sysctls = settings(&questions.sysctls);
    Ok(seen)
}

/// Links, addresses, routes and all else that `ip` and `bridge` show of a namespace, as far as it is of vpcctl's kinds. Of the host's
/// addresses, routes and rules, which may be anything, the tools know better.
fn in_process(place: &Place, questions: &Questions) -> Option<Seen> {
    let asks_more_than_links = questions.ip || questions.routing;
    if *place == Place::Host && asks_more_than_links || !(questions.asks_ip() || questions.fdb) {
        return None;
    }
    let seen = if questions.asks_lists() || questions.fdb {
        lists(questions)
    } else {
        Netlink::open(None).and_then(|mut kernel| kernel.get(&netlink::loopback())).map(|link| vec![link])
    };
    let seen = seen.ok().and_then(|messages| Seen::of_messages(&messages));
    if seen.is_none() {
        tracing::debug!("{place} has what only the tools can say");
    }
    seen
}

/// The kernel's lists that answer the questions, for the namespace of this thread.
fn lists(questions: &Questions) -> io::Result<Vec<RouteNetlinkMessage>> {
    Netlink::open(None)?.lists(&netlink::requests(questions))
}

/// The links, addresses and routes of the namespace that vpcctl was started in, for who needs no more of them than what they are
/// called and where they lead.
pub fn network() -> Result<Seen, StepError> {
    let asked = Questions { links: true, ip: true, ..Questions::default() };
    match lists(&asked).ok().and_then(|messages| Seen::of_messages(&messages)) {
        Some(seen) => Ok(seen),
        None => by_tools(&Place::Host, &asked),
    }
}

fn by_tools(place: &Place, questions: &Questions) -> Result<Seen, StepError> {
    let mut seen = Seen::default();
    if questions.asks_ip() {
        let call = ip_call(place);
        read(&call, |text| seen.read_ip(text))?;
    }
    if questions.fdb {
        let call = Call::plain(place.clone(), Program::Bridge, &["-j", "fdb", "show"]);
        read(&call, |text| seen.read_fdb(text))?;
    }
    Ok(seen)
}

/// The call that answers [`IP_QUERIES`].
fn ip_call(place: &Place) -> Call {
    let mut call = Call::plain(place.clone(), Program::Ip, &["-j", "-d", "-batch", "-"]);
    call.input = IP_QUERIES.iter().map(|query| InputLine { text: query.to_string(), object: Owner::Host }).collect();
    call
}

/// Runs a call that prints what there is, again where the kernel changed it meanwhile: `ip` then complains of it on stderr,
/// and ends with 0 all the same. What is never whole is an error: nobody may act upon half of a list.
pub fn dump(call: &Call) -> Result<String, StepError> {
    for _ in 0..DUMP_ATTEMPTS {
        let output = run::run(call)?;
        if !output.stderr.contains("Dump was interrupted") {
            return run::success(call, output);
        }
    }
    let reason = format!("the kernel changed what it was listing each of {DUMP_ATTEMPTS} times");
    let hint = "something on this host changes its network without a pause: repeat the command when that has ended";
    Err(StepError { hint: Some(hint.into()), ..StepError::of_call(call, reason) })
}

/// Whether the first filter of a device in this thread's namespace is the one of senders. A device that is gone has none.
fn first_filter(device: &str) -> io::Result<Option<bool>> {
    let Some(number) = namespace::link_number(device)? else {
        return Ok(None);
    };
    match Netlink::open(None)?.dump(&sender_filter::request(number)) {
        // Nor has a kernel that knows no filters.
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => Ok(None),
        filters => Ok(sender_filter::is_first(&filters?)),
    }
}

fn read(call: &Call, parse: impl FnOnce(&str) -> Result<(), serde_json::Error>) -> Result<(), StepError> {
    let text = dump(call)?;
    parse(&text).map_err(|error| unreadable(call, &error))
}

fn settings(keys: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut settings = Settings::default();
    keys.iter().filter_map(|key| Some((key.clone(), settings.read(key).ok()?))).collect()
}
