//! A small kernel for tests: it interprets the very lines that vpcctl hands to `ip`, `bridge`, `ipset` and `iptables-restore`,
//! at the level of objects, and refuses what the real one refuses. What it knows was read off Linux 6.18.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use vpcctl::model::app::App;
use vpcctl::model::kernel_names::Netns;
use vpcctl::plan::Plan;
use vpcctl::plan::batch::{self, Call, Program, Step, Steps, Write};
use vpcctl::plan::launch::{AppId, Launch};
use vpcctl::plan::line::{ConfigFile, Place};
use vpcctl::plan::observed::{Observed, Questions, Seen, chains, questions};
use vpcctl::plan::op::{Object, Op};
use vpcctl::plan::resolver;

use crate::links::{Links, Mischief};
use crate::netfilter::{Chain, Netfilter, is_unused as netfilter_is_unused};

/// The name of the place that is no namespace.
pub const HOST: &str = "host";

/// What a refused line gets for an answer.
pub type Outcome = Result<(), String>;

/// All places of one machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// By the name of the namespace; the host is `host`.
    pub places: BTreeMap<String, Net>,
    /// Namespaces of which only the file is left.
    pub stale: BTreeSet<String>,
    /// What was written for namespaces.
    pub files: BTreeMap<PathBuf, String>,
    /// The records of apps; nothing for one that has ended.
    pub apps: BTreeMap<AppId, Option<App>>,
    /// Does a new namespace have `net/bridge/bridge-nf-call-*`?
    pub has_bridge_netfilter: bool,
}

/// What one place has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Net {
    /// Interfaces, addresses, routes, neighbours, forwarding entries.
    pub links: Links,
    /// Rules and sets.
    pub netfilter: Netfilter,
    /// The settings that aren't at their default.
    pub settings: BTreeMap<String, String>,
}

/// Where a run is cut off.
#[derive(Debug, Clone, Copy)]
pub struct Fuse {
    /// So many lines, settings and tables still work.
    pub left: usize,
    /// Which of the places, which run side by side, gets its turn first.
    pub turn: usize,
}

impl Fuse {
    /// It never blows.
    pub fn never() -> Self {
        Fuse { left: usize::MAX, turn: 0 }
    }

    fn burn(&mut self) -> Outcome {
        self.left = self.left.checked_sub(1).ok_or("cut off here")?;
        Ok(())
    }
}

impl Kernel {
    /// A machine with nothing but the host's loopback.
    pub fn new() -> Self {
        let host = Net { links: Links::new(), ..Net::default() };
        Kernel { places: [(HOST.into(), host)].into(), has_bridge_netfilter: true, ..Kernel::empty() }
    }

    fn empty() -> Self {
        Kernel {
            places: BTreeMap::new(),
            stale: BTreeSet::new(),
            files: BTreeMap::new(),
            apps: BTreeMap::new(),
            has_bridge_netfilter: false,
        }
    }

    /// The place, which has to be there.
    pub fn net(&self, place: &str) -> &Net {
        self.places.get(place).unwrap_or_else(|| panic!("no namespace {place}"))
    }

    /// Runs the three parts of a plan.
    pub fn apply(&mut self, plan: &Plan, fuse: &mut Fuse) -> Outcome {
        batch::steps(plan).iter().try_for_each(|(_, steps)| self.run(steps, fuse))
    }

    /// Runs the steps of one part, places and lists from the fuse's turn on.
    pub fn run(&mut self, steps: &Steps, fuse: &mut Fuse) -> Outcome {
        let turn = fuse.turn;
        let places = [&steps.first, &steps.places].into_iter().flat_map(|places| from_turn(places, turn));
        let stages = places.flat_map(|(_, stages)| stages);
        let in_places = stages.flat_map(|stage| from_turn(stage.lists(), turn)).flatten();
        let last = from_turn(steps.last.lists(), turn).into_iter().flatten();
        let mut all = in_places.chain(&steps.apps).chain(last);
        all.try_for_each(|step| self.step(step, fuse))
    }

    fn step(&mut self, step: &Step, fuse: &mut Fuse) -> Outcome {
        match step {
            Step::Run(call) => self.call(call, fuse),
            Step::Write(place, writes) => {
                writes.iter().try_for_each(|write| fuse.burn().and_then(|()| self.write(&place.to_string(), write)))
            }
            Step::EndProcesses(namespaces) => {
                namespaces.iter().for_each(|netns| self.end_apps_in(netns.as_str()));
                Ok(())
            }
            Step::Files(files) => files.iter().try_for_each(|file| {
                fuse.burn()?;
                self.write_file(file);
                Ok(())
            }),
            Step::Start(launch) => fuse.burn().and_then(|()| self.start(launch)),
            Step::Stop(ids) => ids.iter().try_for_each(|id| {
                fuse.burn()?;
                self.apps.remove(id);
                Ok(())
            }),
            Step::Clean(leftovers) => {
                fuse.burn()?;
                let netfilter = &mut self.net_mut(HOST)?.netfilter;
                leftovers.iter().for_each(|leftover| netfilter.clean(leftover));
                Ok(())
            }
        }
    }

    /// What was running there runs on somewhere else, or not at all.
    fn end_apps_in(&mut self, netns: &str) {
        self.apps.iter_mut().filter(|(id, _)| id.netns.as_str() == netns).for_each(|(_, app)| *app = None);
    }

    fn write_file(&mut self, ConfigFile { path, text }: &ConfigFile) {
        match text {
            Some(text) => drop(self.files.insert(path.clone(), text.clone())),
            None => drop(self.files.remove(path)),
        }
    }

    /// The namespace is whole: an app's address answers.
    fn start(&mut self, launch: &Launch) -> Outcome {
        let id = launch.id();
        let first_port = self.setting(id.netns.as_str(), "net/ipv4/ip_unprivileged_port_start");
        let first_port = first_port.ok_or_else(|| format!("no namespace {}", id.netns))?;
        if first_port.parse::<u16>().is_ok_and(|first| launch.port.get() < first) {
            return Err(format!("port {}: Permission denied", launch.port));
        }
        self.apps.insert(id, Some(launch.app.clone()));
        Ok(())
    }

    fn call(&mut self, call: &Call, fuse: &mut Fuse) -> Outcome {
        let place = call.place.to_string();
        if !self.places.contains_key(&place) {
            return Err(format!("cannot enter the namespace {place}"));
        }
        if call.program == Program::IptablesRestore {
            let lines: Vec<&str> = call.input.iter().map(|line| line.text.as_str()).collect();
            return lines.split_inclusive(|line| *line == "COMMIT").try_for_each(|table| {
                fuse.burn()?;
                self.net_mut(&place)?.netfilter.restore(table)
            });
        }
        call.input.iter().try_for_each(|line| {
            fuse.burn()?;
            self.line(&place, call.program, &line.text).map_err(|error| format!("{place}: {}: {error}", line.text))
        })
    }

    fn line(&mut self, place: &str, program: Program, text: &str) -> Outcome {
        let words: Vec<&str> = text.split(' ').collect();
        match (program, words.as_slice()) {
            (Program::Ip, ["netns", "add", name]) => self.add_namespace(name),
            (Program::Ip, ["netns", "del", name]) => {
                let keeps_it = self.apps.iter().find(|(id, app)| id.netns.as_str() == *name && app.is_some());
                match keeps_it {
                    Some((id, _)) => Err(format!("the app on port {} would live on in it", id.port)),
                    None => self.delete_namespace(name),
                }
            }
            (Program::Ip, ["link", "add", rest @ ..]) => self.add_link(place, rest),
            (Program::Ip, ["link", "del", "dev", name]) => self.delete_link(place, name),
            (Program::Ip, ["link", "del", "group", group]) => self.delete_group(place, group),
            (Program::Ip, words) => self.net_mut(place)?.links.ip(words),
            (Program::Tc, words) => self.net_mut(place)?.links.tc(words),
            (Program::Bridge, words) => self.net_mut(place)?.links.bridge(words),
            (Program::Ipset, words) => self.net_mut(place)?.netfilter.ipset(words),
            (other, _) => Err(format!("{} takes no lines here", other.as_str())),
        }
    }

    fn net_mut(&mut self, place: &str) -> Result<&mut Net, String> {
        self.places.get_mut(place).ok_or_else(|| format!("no namespace {place}"))
    }

    fn add_namespace(&mut self, name: &str) -> Outcome {
        if name.len() > 255 || name.contains('/') {
            return Err("Invalid netns name".into());
        }
        match self.places.contains_key(name) || self.stale.contains(name) {
            true => Err("File exists".into()),
            false => {
                self.places.insert(name.into(), Net { links: Links::new(), ..Net::default() });
                Ok(())
            }
        }
    }

    /// What is inside goes too, and so does the other end of every cable.
    fn delete_namespace(&mut self, name: &str) -> Outcome {
        if self.stale.remove(name) {
            return Ok(());
        }
        let gone = self.places.remove(name).filter(|_| name != HOST).ok_or("No such file or directory")?;
        for (place, device) in gone.links.far_ends() {
            if let Some(net) = self.places.get_mut(&place) {
                net.lose(&device);
            }
        }
        Ok(())
    }

    fn delete_link(&mut self, place: &str, name: &str) -> Outcome {
        let link = self.net(place).links.get(name)?.clone();
        self.net_mut(place)?.lose(name);
        if let Some((far, device)) = link.far_end {
            self.net_mut(&far)?.lose(&device);
        }
        Ok(())
    }

    fn delete_group(&mut self, place: &str, group: &str) -> Outcome {
        let members = self.net(place).links.in_group(group);
        if members.is_empty() {
            return Err("No such device".into());
        }
        members
            .iter()
            .filter(|name| self.net(place).links.get(name).is_ok())
            .cloned()
            .collect::<Vec<_>>()
            .iter()
            .try_for_each(
                |name| if self.net(place).links.get(name).is_ok() { self.delete_link(place, name) } else { Ok(()) },
            )
    }

    /// `link add name … type bridge …` or `… type veth peer name …`, each end in a namespace of its own or here.
    fn add_link(&mut self, here: &str, words: &[&str]) -> Outcome {
        let (own, rest) = split(words, "type")?;
        match rest {
            ["bridge", "mcast_snooping", "0"] => {
                let (place, _) = self.new_link(here, own, "bridge")?;
                debug_assert!(self.places.contains_key(&place));
                Ok(())
            }
            ["veth", "peer", far @ ..] => {
                let (place, name) = self.new_link(here, own, "veth")?;
                let made = self.new_link(here, far, "veth");
                let Ok((far_place, far_name)) = made else {
                    self.net_mut(&place)?.lose(&name);
                    return made.map(|_| ());
                };
                self.net_mut(&place)?.links.connect(&name, &far_place, &far_name);
                self.net_mut(&far_place)?.links.connect(&far_name, &place, &name);
                Ok(())
            }
            other => Err(format!("unknown type {other:?}")),
        }
    }

    fn new_link(&mut self, here: &str, words: &[&str], kind: &str) -> Result<(String, String), String> {
        let options = pairs(words)?;
        let place = options.get("netns").copied().unwrap_or(here).to_owned();
        let name = self.net_mut(&place)?.links.add(&options, kind)?;
        Ok((place, name))
    }

    fn write(&mut self, place: &str, write: &Write) -> Outcome {
        let setting = &write.setting;
        if setting.unless.is_some_and(|other| self.setting(place, other).as_deref() == Some("1")) {
            return Ok(());
        }
        match self.setting(place, &setting.key) {
            None if setting.optional => Ok(()),
            None => Err(format!("{place}: {}: No such file or directory", setting.key)),
            Some(_) => {
                self.set(place, &setting.key, setting.value);
                Ok(())
            }
        }
    }

    /// Writes a setting; one at its default isn't kept, so that kernels can be compared.
    pub fn set(&mut self, place: &str, key: &str, value: &str) {
        let net = self.places.get_mut(place).unwrap_or_else(|| panic!("no namespace {place}"));
        match value == default_value(key) {
            true => net.settings.remove(key),
            false => net.settings.insert(key.into(), value.into()),
        };
    }

    /// A setting's value, if it is there.
    pub fn setting(&self, place: &str, key: &str) -> Option<String> {
        let net = self.places.get(place)?;
        let there = match key.split('/').collect::<Vec<_>>().as_slice() {
            ["net", "ipv4" | "ipv6", "conf" | "neigh", "all" | "default", _] => true,
            ["net", "ipv4" | "ipv6", "conf" | "neigh", device, _] => net.links.get(device).is_ok(),
            ["net", "netfilter", _] => net.netfilter.tracks_connections(),
            ["net", "bridge", _] => self.has_bridge_netfilter,
            _ => true,
        };
        there.then(|| net.settings.get(key).cloned().unwrap_or_else(|| default_value(key).into()))
    }

    /// Without what makes no difference: the order of a set's entries, and in a namespace of ours an unused table or chain, or a set that
    /// was being filled when it was cut off, and is filled anew next time.
    pub fn comparable(&self) -> Kernel {
        let mut kernel = self.clone();
        for (place, net) in &mut kernel.places {
            net.netfilter.sets.retain(|name, _| place == HOST || !name.ends_with(".new"));
            net.netfilter.sets.values_mut().for_each(|(_, entries)| entries.sort());
            net.netfilter.tables.retain(|_, table| place == HOST || !netfilter_is_unused(table));
            for table in net.netfilter.tables.values_mut().filter(|_| place != HOST) {
                table.retain(|_, chain| *chain != Chain::builtin());
            }
        }
        kernel
    }

    /// One line for each object.
    pub fn dump(&self) -> Vec<String> {
        let of_place = |(place, net): (&String, &Net)| -> Vec<String> {
            let texts = [format!("{:#?}", net.links), net.netfilter.iptables_save(), net.netfilter.ipset_save()];
            let settings = net.settings.iter().map(|(key, value)| format!("{key} = {value}"));
            let lines: Vec<String> = texts.iter().flat_map(|text| text.lines()).map(str::to_owned).collect();
            lines.into_iter().chain(settings).map(|line| format!("{place}: {line}")).collect()
        };
        let files = self.files.iter().map(|(path, text)| format!("{}: {text:?}", path.display()));
        let apps = self.apps.iter().map(|(id, app)| format!("{}: {app:?}", id.file_stem()));
        self.places.iter().flat_map(of_place).chain(files).chain(apps).collect()
    }

    /// Answers what has to be asked to compare these ops, and no more.
    pub fn observe(&self, ops: &[Op]) -> Observed {
        self.answer(ops, questions(ops))
    }

    /// The same, and all that is in these routers and on the host.
    pub fn survey(&self, ops: &[Op], routers: impl Iterator<Item = Netns>) -> Observed {
        let mut asked = questions(ops);
        for place in routers.map(Place::Netns).chain([Place::Host]) {
            asked.entry(place).or_default().add(Questions::whole());
        }
        self.answer(ops, asked)
    }

    fn answer(&self, ops: &[Op], asked: BTreeMap<Place, Questions>) -> Observed {
        let seen = asked.into_iter().filter_map(|(place, questions)| {
            let seen = self.look(&place.to_string(), &questions)?;
            Some((place, seen))
        });
        let places = seen.collect();
        let namespaces = ops.iter().filter_map(|op| match &op.object {
            Object::Namespace(netns) => Some(netns),
            _ => None,
        });
        let stale = namespaces.filter(|netns| self.stale.contains(netns.as_str())).cloned().collect();
        let paths = ops.iter().filter_map(|op| match &op.object {
            Object::Resolver { netns, .. } => Some(resolver::path(netns)),
            _ => None,
        });
        let files = paths.filter_map(|path| Some((path.clone(), self.files.get(&path)?.clone()))).collect();
        let ids = ops.iter().filter_map(|op| match &op.object {
            Object::App(launch) => Some(launch.id()),
            _ => None,
        });
        let apps = ids.filter_map(|id| Some((id.clone(), self.apps.get(&id)?.clone()))).collect();
        Observed { places, stale, strangers: BTreeMap::new(), files, apps }
    }

    fn look(&self, place: &str, questions: &Questions) -> Option<Seen> {
        let net = self.places.get(place)?;
        let mut seen = Seen::default();
        if questions.asks_ip() {
            net.links.show(&mut seen);
        }
        if questions.fdb {
            seen.fdb = net.links.fdb.clone();
        }
        if questions.sets {
            seen.read_sets(&net.netfilter.ipset_save());
        }
        if questions.rules {
            seen.chains = chains(&net.netfilter.iptables_save()).into();
        }
        let read = |key: &String| Some((key.clone(), self.setting(place, key)?));
        seen.sysctls = questions.sysctls.iter().filter_map(read).collect();
        Some(seen)
    }

    /// Removes or bends one object behind vpcctl's back, chosen by `pick` among those with our mark; says which.
    pub fn meddle(&mut self, pick: usize) -> Option<String> {
        let choices = self.mischief();
        let (place, mischief) = choices.get(pick % choices.len().max(1))?.clone();
        self.commit(&place, &mischief).is_ok().then(|| format!("{place}: {mischief:?}"))
    }

    /// All that could be done.
    pub fn mischief(&self) -> Vec<(String, Mischief)> {
        let mut choices: Vec<(String, Mischief)> = Vec::new();
        for (place, net) in &self.places {
            let ours = net.links.mischief().into_iter().chain(net.netfilter.mischief());
            // A policy of the host's is its own.
            let ours = ours.filter(|mischief| place != HOST || !mischief.is_policy());
            let settings = net.settings.keys().map(|key| Mischief::Setting(key.clone()));
            choices.extend(ours.chain(settings.filter(|_| place != HOST)).map(|mischief| (place.clone(), mischief)));
            let whole = [Mischief::Namespace, Mischief::Unmount, Mischief::Kill, Mischief::Unresolve]
                .map(|mischief| (place.clone(), mischief));
            let is_ours = net.links.get("lo").is_ok_and(|lo| lo.alias.starts_with("vpcctl:"));
            choices.extend(whole.into_iter().filter(|_| is_ours));
        }
        choices
    }

    /// Puts something into a router that no state has, chosen by `pick`; says what.
    pub fn intrude(&mut self, pick: usize) -> Option<String> {
        let choices: Vec<(String, Mischief)> =
            self.places.iter().flat_map(|(place, net)| intrusions(net).map(|found| (place.clone(), found))).collect();
        let (place, intrusion) = choices.get(pick % choices.len().max(1))?.clone();
        self.commit(&place, &intrusion).is_ok().then(|| format!("{place}: {intrusion:?}"))
    }

    /// Wherever a built-in chain jumps to one of ours, that is its first rule, and the only such one.
    pub fn our_jumps_come_first(&self) -> bool {
        let tables = self.places.values().flat_map(|net| net.netfilter.tables.values());
        let mut builtin = tables.flat_map(|table| table.values()).filter(|chain| chain.policy.is_some());
        builtin.all(|chain| {
            let jumps: Vec<usize> =
                (0..chain.rules.len()).filter(|&index| chain.rules[index].starts_with("-j VPCCTL-")).collect();
            jumps.is_empty() || jumps == [0]
        })
    }

    /// Takes away what [`Kernel::meddle`] put into built-in chains: it isn't vpcctl's to remove.
    pub fn forget_foreign_accepts(&mut self) {
        let tables = self.places.values_mut().flat_map(|net| net.netfilter.tables.values_mut());
        tables.flat_map(|table| table.values_mut()).for_each(|chain| chain.rules.retain(|rule| rule != "-j ACCEPT"));
    }

    fn commit(&mut self, place: &str, mischief: &Mischief) -> Outcome {
        match mischief {
            Mischief::Namespace | Mischief::Unmount => {
                self.end_apps_in(place);
                self.delete_namespace(place)?;
                self.stale.extend((*mischief == Mischief::Unmount).then(|| place.to_owned()));
                Ok(())
            }
            Mischief::Kill => {
                self.end_apps_in(place);
                Ok(())
            }
            Mischief::Unresolve => {
                let path = resolver::path(&place.parse().map_err(|_| "no namespace of a VPC")?);
                self.files.remove(&path).map(|_| ()).ok_or("No such file or directory".into())
            }
            Mischief::Unlink(name) => self.delete_link(place, name),
            Mischief::Setting(key) => {
                self.set(place, key, default_value(key));
                Ok(())
            }
            Mischief::Ip(words) => self.line(place, Program::Ip, words),
            Mischief::Filter(words) => self.line(place, Program::Tc, words),
            Mischief::Bridge(words) => self.line(place, Program::Bridge, words),
            Mischief::Ipset(words) => self.line(place, Program::Ipset, words),
            Mischief::Rules(table, lines) => {
                let frame = [format!("*{table}")].into_iter().chain(lines.clone()).chain(["COMMIT".into()]);
                let text: Vec<String> = frame.collect();
                let lines: Vec<&str> = text.iter().map(String::as_str).collect();
                self.net_mut(place).and_then(|net| net.netfilter.restore(&lines))
            }
        }
    }
}

/// What doesn't depend on each other in another order, the one first whose turn it is.
fn from_turn<T>(all: &[T], turn: usize) -> Vec<&T> {
    let mut all: Vec<&T> = all.iter().collect();
    let count = all.len().max(1);
    all.rotate_left(turn % count);
    all
}

/// What could be put into a place, if it is a router.
fn intrusions(net: &Net) -> impl Iterator<Item = Mischief> {
    let bridge = net.links.links.iter().find(|(_, link)| link.kind == "bridge").map(|(name, _)| name.clone());
    let port = net.links.links.iter().find(|(_, link)| link.master.is_some()).map(|(name, _)| name.clone());
    let set = net.netfilter.sets.keys().find(|name| name.starts_with("vpcctl-")).cloned();
    let of_bridge = bridge.into_iter().flat_map(|bridge| {
        let rules = |table: &str, line: &str| Mischief::Rules(table.into(), vec![line.into()]);
        [
            Mischief::Ip(format!("addr replace 10.250.0.1/24 brd + dev {bridge}")),
            Mischief::Ip(format!("neigh replace 10.250.0.9 lladdr 02:00:00:00:00:09 dev {bridge} nud permanent")),
            rules("filter", "-A FORWARD -j ACCEPT"),
            rules("filter", "-I INPUT 1 -j ACCEPT"),
            rules("filter", "-A OUTPUT -j DROP"),
            rules("nat", "-A PREROUTING -j RETURN"),
            rules("raw", "-I PREROUTING 1 -j ACCEPT"),
            rules("filter", ":VPCCTL-OLD - [0:0]"),
            Mischief::Ipset("create vpcctl-odd hash:net -exist".into()),
        ]
    });
    let of_port = port
        .into_iter()
        .map(|port| Mischief::Bridge(format!("fdb replace 02:00:00:00:00:09 dev {port} master static")));
    let of_set = set.into_iter().filter(|set| set.ends_with(".0")).map(|set| {
        let net = set.trim_start_matches("vpcctl-").to_owned();
        Mischief::Ipset(format!("add {set} {net},02:00:00:00:00:09"))
    });
    of_bridge.chain(of_port).chain(of_set)
}

impl Net {
    /// A device is gone, and all that depends on it.
    fn lose(&mut self, device: &str) {
        self.links.remove(device);
        self.settings.retain(|key, _| key.split('/').all(|part| part != device));
    }
}

/// What a new kernel has where vpcctl wants something else.
fn default_value(key: &str) -> &'static str {
    let name = key.rsplit('/').next().unwrap_or_default();
    match name {
        "send_redirects" | "accept_redirects" | "nf_conntrack_tcp_loose" => "1",
        "icmp_ratelimit" => "1000",
        "ipfrag_time" => "30",
        "ip_unprivileged_port_start" => "1024",
        "proxy_delay" => "80",
        _ if name.starts_with("bridge-nf-call") => "1",
        _ => "0",
    }
}

/// The words before `word`, and those after it.
pub fn split<'a, 'b>(words: &'a [&'b str], word: &str) -> Result<(&'a [&'b str], &'a [&'b str]), String> {
    let index = words.iter().position(|w| *w == word).ok_or(format!("`{word}` is missing"))?;
    Ok((&words[..index], &words[index + 1..]))
}

/// Words in pairs of name and value.
pub fn pairs<'a>(words: &[&'a str]) -> Result<BTreeMap<&'a str, &'a str>, String> {
    let pairs = words.chunks(2).map(|pair| match pair {
        [name, value] => Ok((*name, *value)),
        _ => Err(format!("`{pair:?}` lacks a value")),
    });
    pairs.collect()
}
