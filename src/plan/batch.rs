//! Gathers a plan's lines into as few calls as possible: one `ip -batch` for the host's links, and then, for each place, one
//! call for each tool. The sets of places that are there already wait for no link: they are filled beside the first call.
//!
//! Within a place the order is: settings; sets; rules and what needs rules to be there, and filters beside; addresses and links,
//! forwarding entries; and files beside these, or beside all where there are no filters. So rules stand before the first link is
//! up. Unmaking goes the other way, one step after the other; where namespaces go, the host's rules and settings go last, beside
//! them, when no link leads there any more.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::kernel_names::Netns;
use crate::model::owner::Owner;
use crate::plan::launch::{AppId, Launch};
use crate::plan::line::{Change, ConfigFile, Firewall, Leftover, Line, Place, Setting};
use crate::plan::op::Op;
use crate::plan::rule::Table;
use crate::plan::{Plan, Removed};

/// The interface group that links are put in to be deleted together: one wait for the kernel in place of one for each.
const DOOMED_GROUP: u32 = 0x7671_0000;

/// How long iptables waits for another one, in seconds.
const IPTABLES_WAIT: &str = "30";

/// A tool that vpcctl starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Program {
    /// `ip`, of iproute2.
    Ip,
    /// `bridge`, of iproute2.
    Bridge,
    /// `ipset`.
    Ipset,
    /// `iptables-restore`.
    IptablesRestore,
    /// `iptables-save`.
    IptablesSave,
    /// `iptables-legacy-save`, which shows what `iptables-save` doesn't where that is the nf_tables flavour.
    IptablesLegacySave,
    /// `nft`, of nftables.
    Nft,
    /// `ping`, of iputils.
    Ping,
    /// `tc`, of iproute2.
    Tc,
}

impl Program {
    /// The name of the program's file.
    pub fn as_str(self) -> &'static str {
        match self {
            Program::Ip => "ip",
            Program::Bridge => "bridge",
            Program::Ipset => "ipset",
            Program::IptablesRestore => "iptables-restore",
            Program::IptablesSave => "iptables-save",
            Program::IptablesLegacySave => "iptables-legacy-save",
            Program::Nft => "nft",
            Program::Ping => "ping",
            Program::Tc => "tc",
        }
    }
}

/// One line of a program's input, and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputLine {
    /// The line, without its end.
    pub text: String,
    /// The object that an error about it names.
    pub object: Owner,
}

/// One start of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Where it runs.
    pub place: Place,
    /// What is started.
    pub program: Program,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its standard input.
    pub input: Vec<InputLine>,
}

impl Call {
    /// A call without input.
    pub fn plain(place: Place, program: Program, args: &[&str]) -> Self {
        Call { place, program, args: args.iter().map(|arg| arg.to_string()).collect(), input: Vec::new() }
    }

    /// A call that reads its work from standard input.
    fn batch(place: &Place, program: Program, args: &[&str], input: Vec<InputLine>) -> Self {
        Call { input, ..Call::plain(place.clone(), program, args) }
    }

    /// The text for standard input.
    pub fn stdin(&self) -> String {
        self.input.iter().flat_map(|line| [line.text.as_str(), "\n"]).collect()
    }
}

/// A setting, and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// What is written where.
    pub setting: Setting,
    /// The object that an error names.
    pub object: Owner,
}

/// A step: what happens at once, in one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A program runs.
    Run(Call),
    /// Settings are written.
    Write(Place, Vec<Write>),
    /// Files of configuration are written or removed.
    Files(Vec<ConfigFile>),
    /// An app starts.
    Start(Launch),
    /// Apps end.
    Stop(Vec<AppId>),
    /// Processes that live in namespaces about to go are ended.
    EndProcesses(Vec<Netns>),
    /// Tables and chains of the host that came with our rules go, if nobody else uses them by now.
    Clean(Vec<Leftover>),
}

/// Lists of steps that don't depend on each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SideBySide(Vec<Vec<Step>>);

impl SideBySide {
    /// Those of the lists that have something in them.
    fn new<const N: usize>(lists: [Vec<Step>; N]) -> Self {
        SideBySide(lists.into_iter().filter(|steps| !steps.is_empty()).collect())
    }

    /// The lists.
    pub fn lists(&self) -> &[Vec<Step>] {
        &self.0
    }

    /// All of their steps, in an order in which they may run.
    fn steps(&self) -> impl Iterator<Item = &Step> {
        self.0.iter().flatten()
    }
}

/// Places, which don't depend on each other, and what happens in each, one stage after the other.
pub type Places = Vec<(Place, Vec<SideBySide>)>;

/// The steps of a plan: one after the other, but for the places, and for what is side by side, which don't depend on each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps {
    /// Before all others.
    pub first: Places,
    /// Once all of the first are done.
    pub places: Places,
    /// The starts of apps, which don't depend on each other, once all places are done.
    pub apps: Vec<Step>,
    /// After all others.
    pub last: SideBySide,
    /// The namespaces that go, by the last steps.
    pub doomed: Vec<Netns>,
}

impl Steps {
    /// All steps, in an order in which they may run.
    pub fn iter(&self) -> impl Iterator<Item = &Step> {
        let places = self.first.iter().chain(&self.places);
        let in_places = places.flat_map(|(_, stages)| stages).flat_map(SideBySide::steps);
        in_places.chain(&self.apps).chain(self.last.steps())
    }

    /// The number of processes that they start.
    pub fn processes(&self) -> usize {
        self.iter().filter(|step| matches!(step, Step::Run(_) | Step::Start(_))).count()
    }
}

/// A part of a plan, in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Unmake what stands in the way.
    Clear,
    /// Make.
    Make,
    /// Unmake what is gone.
    Unmake,
}

/// The steps of a plan's three parts, in order; a part with nothing to do is left out.
pub fn steps(plan: &Plan) -> Vec<(Part, Steps)> {
    let parts = [
        (Part::Clear, unmaking(&plan.clear)),
        (Part::Make, making(&plan.make)),
        (Part::Unmake, unmaking(&plan.unmake)),
    ];
    parts.into_iter().filter(|(_, steps)| steps.iter().next().is_some()).collect()
}

/// The steps that make the ops.
pub fn making(ops: &[Op]) -> Steps {
    let mut by_place = ByPlace::default();
    let mut links = Vec::new();
    for line in ops.iter().flat_map(Op::make) {
        match line.change {
            Change::Links(text) => links.push(InputLine { text, object: line.object }),
            _ => by_place.push(line),
        }
    }
    let mut first: Places = in_place(Place::Host, ip_batch(&Place::Host, links)).into_iter().collect();
    // Without links there is nothing to be beside: a place is entered once.
    if !first.is_empty() {
        let new = ops.iter().filter(|op| op.namespace().is_some()).map(Op::place).collect();
        first.extend(by_place.take_sets_but_of(&new));
    }
    let apps = std::mem::take(&mut by_place.starts).into_iter().map(Step::Start).collect();
    let places = by_place.lines.into_iter().map(|(place, lines)| (place.clone(), lines.making(&place)));
    let places = places.filter(|(_, stages)| !stages.is_empty()).collect();
    Steps { first, places, apps, ..Steps::default() }
}

/// The steps that unmake the ops.
pub fn unmaking(ops: &[Op]) -> Steps {
    unmaking_among(ops, &Removed::new(ops))
}

/// The steps that unmake the ops, where all of `removed` goes: what goes with something of that has none.
pub fn unmaking_among(ops: &[Op], removed: &Removed) -> Steps {
    let stays = |place: &Place| removed.keeps(place);
    let mut by_place = ByPlace::default();
    let mut links = Vec::new();
    let is_to_do = |op: &&Op| !removed.takes(op) || op.outlives_its_namespace();
    for line in ops.iter().filter(is_to_do).flat_map(|op| op.unmake(&stays)) {
        match line.change {
            Change::Links(text) => links.push(InputLine { text, object: line.object }),
            _ => by_place.push(line),
        }
    }
    let doomed: BTreeSet<Netns> = ops.iter().filter_map(Op::namespace).cloned().collect();
    let doomed: Vec<Netns> = doomed.into_iter().collect();
    let stops = std::mem::take(&mut by_place.stops);
    let stop = (!stops.is_empty()).then_some(Step::Stop(stops));
    let end = (!doomed.is_empty()).then(|| Step::EndProcesses(doomed.clone()));
    let first = in_place(Place::Host, stop.into_iter().chain(end)).into_iter().collect();
    let (mut places, mut guard) = (Vec::new(), Vec::new());
    for (place, lines) in by_place.lines {
        let Unmaking { mut links, rest } = lines.unmaking(&place);
        if place == Place::Host && !doomed.is_empty() {
            // Without their links nothing in these namespaces meets the host any more: what stood around them goes when they do.
            guard = rest;
        } else {
            links.extend(rest);
        }
        places.extend(in_place(place, links));
    }
    let namespaces = ip_batch(&Place::Host, links).into_iter().collect();
    let last = SideBySide::new([guard, namespaces]);
    Steps { first, places, apps: vec![], last, doomed }
}

/// One step after the other in a place; nothing where there is none.
fn in_place(place: Place, steps: impl IntoIterator<Item = Step>) -> Option<(Place, Vec<SideBySide>)> {
    let steps: Vec<Step> = steps.into_iter().collect();
    (!steps.is_empty()).then(|| (place, vec![SideBySide::new([steps])]))
}

/// The stages in which there is something to do.
fn stages<const N: usize>(stages: [SideBySide; N]) -> Vec<SideBySide> {
    stages.into_iter().filter(|stage| !stage.lists().is_empty()).collect()
}

#[derive(Default)]
struct ByPlace {
    lines: BTreeMap<Place, Lines>,
    starts: Vec<Launch>,
    stops: Vec<AppId>,
}

impl ByPlace {
    fn push(&mut self, line: Line) {
        let Line { place, change, object } = line;
        match change {
            Change::Start(launch) => self.starts.push(launch),
            Change::Stop(id) => self.stops.push(id),
            change => self.lines.entry(place).or_default().push(change, object),
        }
    }

    /// Takes out the sets of all places but these.
    fn take_sets_but_of(&mut self, places: &BTreeSet<Place>) -> Places {
        let others = self.lines.iter_mut().filter(|(place, _)| !places.contains(*place));
        let sets = |(place, lines): (&Place, &mut Lines)| {
            in_place(place.clone(), ipset(place, std::mem::take(&mut lines.sets)))
        };
        others.filter_map(sets).collect()
    }
}

impl Lines {
    fn push(&mut self, change: Change, object: Owner) {
        let lines = self;
        match change {
            Change::Start(_) | Change::Stop(_) => {}
            Change::Links(text) | Change::Ip(text) => lines.ip.push(InputLine { text, object }),
            Change::Unlink(device) => lines.unlink.push((device.to_string(), object)),
            Change::Bridge(text) => lines.bridge.push(InputLine { text, object }),
            Change::Filter(text) => lines.filters.push(InputLine { text, object }),
            Change::Set(text) => lines.sets.push(InputLine { text, object }),
            Change::Rules(table, firewall) => lines.rules.entry(table).or_default().push((firewall, object)),
            Change::Sysctl(setting) => {
                // Connection tracking's settings exist once a rule uses it.
                let late = setting.key.starts_with("net/netfilter/");
                if late { &mut lines.late } else { &mut lines.settings }.push(Write { setting, object });
            }
            Change::Clean(leftover) => lines.leftovers.push(leftover),
            Change::File(file) => lines.files.push(file),
        }
    }
}

/// The lines of one place, by tool.
#[derive(Default)]
struct Lines {
    settings: Vec<Write>,
    filters: Vec<InputLine>,
    sets: Vec<InputLine>,
    rules: BTreeMap<Table, Vec<(Firewall, Owner)>>,
    late: Vec<Write>,
    ip: Vec<InputLine>,
    unlink: Vec<(String, Owner)>,
    bridge: Vec<InputLine>,
    leftovers: Vec<Leftover>,
    files: Vec<ConfigFile>,
}

impl Lines {
    fn making(self, place: &Place) -> Vec<SideBySide> {
        let write = |writes: Vec<Write>| (!writes.is_empty()).then(|| Step::Write(place.clone(), writes));
        let settings = write(self.settings);
        let filters = tc_batch(place, self.filters);
        let sets = ipset(place, self.sets);
        let rules = [iptables(place, self.rules), write(self.late)].into_iter().flatten();
        let links = [ip_batch(place, self.ip), bridge_batch(place, self.bridge)].into_iter().flatten();
        // Nobody reads them before apps start, and that is after all places; to write them is mostly to wait for the disk.
        let files = files(self.files).into_iter().collect();
        match filters {
            // The kernel lets iptables wait for what it has to forget, and that is time enough for the filters. Beside the sets
            // they would take the processor from what the rules wait for.
            Some(filters) => stages([
                SideBySide::new([settings.into_iter().chain(sets).collect()]),
                SideBySide::new([rules.collect(), vec![filters]]),
                SideBySide::new([links.collect(), files]),
            ]),
            None => {
                stages([SideBySide::new([settings.into_iter().chain(sets).chain(rules).chain(links).collect(), files])])
            }
        }
    }

    fn unmaking(self, place: &Place) -> Unmaking {
        let write = |writes: Vec<Write>| (!writes.is_empty()).then(|| Step::Write(place.clone(), writes));
        let ip = unlinks(self.unlink).into_iter().chain(self.ip).collect();
        let links = [files(self.files), bridge_batch(place, self.bridge), ip_batch(place, ip)];
        let rest = [
            iptables(place, self.rules),
            ipset(place, self.sets),
            tc_batch(place, self.filters),
            write(self.late),
            write(self.settings),
        ];
        let clean = (!self.leftovers.is_empty()).then_some(Step::Clean(self.leftovers));
        Unmaking {
            links: links.into_iter().flatten().collect(),
            rest: rest.into_iter().flatten().chain(clean).collect(),
        }
    }
}

/// What unmakes one place, in this order.
struct Unmaking {
    /// Links, and what is on them.
    links: Vec<Step>,
    /// Rules and settings.
    rest: Vec<Step>,
}

fn files(files: Vec<ConfigFile>) -> Option<Step> {
    (!files.is_empty()).then_some(Step::Files(files))
}

fn ip_batch(place: &Place, input: Vec<InputLine>) -> Option<Step> {
    (!input.is_empty()).then(|| Step::Run(Call::batch(place, Program::Ip, &["-batch", "-"], input)))
}

fn bridge_batch(place: &Place, input: Vec<InputLine>) -> Option<Step> {
    (!input.is_empty()).then(|| Step::Run(Call::batch(place, Program::Bridge, &["-batch", "-"], input)))
}

fn tc_batch(place: &Place, input: Vec<InputLine>) -> Option<Step> {
    (!input.is_empty()).then(|| Step::Run(Call::batch(place, Program::Tc, &["-batch", "-"], input)))
}

fn ipset(place: &Place, input: Vec<InputLine>) -> Option<Step> {
    (!input.is_empty()).then(|| Step::Run(Call::batch(place, Program::Ipset, &["restore"], input)))
}

fn iptables(place: &Place, rules: BTreeMap<Table, Vec<(Firewall, Owner)>>) -> Option<Step> {
    let input: Vec<InputLine> = rules.into_iter().flat_map(|(table, lines)| restore_table(table, lines)).collect();
    let args = ["-w", IPTABLES_WAIT, "--noflush"];
    (!input.is_empty()).then(|| Step::Run(Call::batch(place, Program::IptablesRestore, &args, input)))
}

/// One table of `iptables-restore`: what comes into being before what names it, and the other way at the end.
fn restore_table(table: Table, lines: Vec<(Firewall, Owner)>) -> Vec<InputLine> {
    let Some(object) = lines.first().map(|(_, object)| object.clone()) else {
        return Vec::new();
    };
    let frame = |text: String| InputLine { text, object: object.clone() };
    let mut sorted = lines;
    sorted.sort_by_key(|(firewall, _)| firewall.rank());
    let body = sorted.iter().map(|(firewall, object)| InputLine { text: firewall.restore(), object: object.clone() });
    std::iter::once(frame(format!("*{table}"))).chain(body).chain([frame("COMMIT".into())]).collect()
}

/// One deletion for all: each alone would wait for the kernel to let go of it.
fn unlinks(links: Vec<(String, Owner)>) -> Vec<InputLine> {
    let line = |text: String, object: &Owner| InputLine { text, object: object.clone() };
    match &links[..] {
        [] => vec![],
        [(device, object)] => vec![line(format!("link del dev {device}"), object)],
        [(_, first), ..] => {
            let regrouped =
                links.iter().map(|(dev, owner)| line(format!("link set dev {dev} group {DOOMED_GROUP}"), owner));
            regrouped.chain([line(format!("link del group {DOOMED_GROUP}"), first)]).collect()
        }
    }
}
