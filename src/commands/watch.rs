//! `vpcctl watch`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use rustix::event::{PollFd, PollFlags, poll};

use crate::app::process::timespec;
use crate::error::{Failure, Kind, Result};
use crate::host::watch::{Drops, Watch as Ears, owners_with_rules};
use crate::host::{StepError, privilege};
use crate::model::name::VpcName;
use crate::model::owner::{Owner, Target};
use crate::model::policy::Policy;
use crate::model::state::State;
use crate::plan::counters;
use crate::plan::flow::{Change, Connection, Directory};
use crate::session::Session;
use crate::ui::terminal::{Keys, Terminal};
use crate::ui::{self, Format};
use crate::view::watch::{Event, Flow, Screen};

/// From one look at the counters to the next, and from one screen to the next.
const PACE: Duration = Duration::from_secs(1);

/// Where a look takes long, as it does in a large network, so many times as long goes by until the next: it is no load to the host.
const REST: u32 = 10;

/// Show connections and stopped packets as they come
///
/// A line for each connection that a router sees come and go, and for each rule that stopped packets, looked at once a second.
/// Ends have their names: instances, the host, or `outside`. On a terminal it is a screen that is drawn anew each second, and q or
/// Ctrl-C ends it. With -o json each line is an object. It changes nothing. A connection between two VPCs is told of by the router
/// of who opened it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  vpcctl watch
  vpcctl watch vpc1/web --for 60
  vpcctl watch vpc1 -o json | jq 'select(.event == \"drop\")'")]
pub struct Watch {
    /// What to watch; a subnet stands for all its instances [default: all]
    #[arg(value_name = "VPC[/SUBNET[/INSTANCE]]")]
    targets: Vec<Target>,
    /// End after so many seconds
    #[arg(long = "for", value_name = "SECONDS")]
    limit: Option<u32>,
    /// End after so many events
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
}

impl Watch {
    pub(super) fn run(&self, session: &Session<'_>) -> anyhow::Result<()> {
        privilege::check_for("watching")?;
        let state = session.read()?;
        self.targets.iter().try_for_each(|target| state.check_target(target))?;
        let mut watching = Watching { args: self, session, ears: Ears::default(), known: Known::default(), told: 0 };
        let is_screen = io::stdout().is_terminal() && session.ui.format == Format::Table;
        if !is_screen {
            return Ok(watching.lines()?);
        }
        let terminal = Terminal::take().map_err(|error| ui::cannot_write(&error))?;
        let ended = watching.screens(&terminal);
        terminal.give_back().map_err(|error| ui::cannot_write(&error))?;
        Ok(ended?)
    }

    fn is_chosen(&self, owner: &Owner) -> bool {
        self.targets.is_empty() || self.targets.iter().any(|target| target.owner().includes(owner))
    }

    /// May the rules of this owner stop packets of what is watched? A router's may, of all its instances.
    fn may_stop(&self, owner: &Owner) -> bool {
        let is_router = |target: &Target| *owner == Owner::Vpc(target.vpc.clone());
        self.is_chosen(owner) || self.targets.iter().any(is_router)
    }

    /// The VPCs that have to do with what is watched.
    fn vpcs(&self, state: &State) -> BTreeSet<VpcName> {
        let is_named =
            |vpc: &&VpcName| self.targets.is_empty() || self.targets.iter().any(|target| &target.vpc == *vpc);
        let named: BTreeSet<VpcName> = state.vpcs.keys().filter(is_named).cloned().collect();
        // What a peer's instances open is told of by their router.
        let peers = named.iter().flat_map(|vpc| state.peerings_of(vpc).map(move |peering| peering.other(vpc).clone()));
        peers.chain(named.iter().cloned()).collect()
    }
}

/// The state as it was read last, and what follows from it.
#[derive(Default)]
struct Known {
    state: State,
    vpcs: BTreeSet<VpcName>,
    directories: BTreeMap<VpcName, Directory>,
}

struct Watching<'a> {
    args: &'a Watch,
    session: &'a Session<'a>,
    ears: Ears,
    known: Known,
    /// How many events were told.
    told: u64,
}

impl Watching<'_> {
    /// One event a line, as they come.
    fn lines(&mut self) -> Result<()> {
        self.look()?;
        self.count()?;
        for vpc in self.known.vpcs.iter().filter(|vpc| !self.ears.is_in(vpc)) {
            self.session.ui.note(&format!("the router of {vpc} is not there: `vpcctl check` says what is missing"));
        }
        let (vpcs, instances) = (self.known.vpcs.len(), self.instances().count());
        let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        self.session.ui.note(&format!("watching {} of {}", of(instances, "instance"), of(vpcs, "VPC")));
        let ends = self.args.limit.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
        let mut due = Instant::now() + PACE;
        while !self.is_over(ends) {
            self.wait(ends.map_or(due, |ends| due.min(ends)), None)?;
            let mut events = self.heard();
            if Instant::now() >= due || self.is_over(ends) {
                let began = Instant::now();
                self.look()?;
                events.extend(self.count()?.into_iter().map(|(event, _)| event));
                due = after_rest(began);
            }
            if !self.print(events)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// A screen each second.
    fn screens(&mut self, terminal: &Terminal) -> Result<()> {
        let mut screen = Screen::default();
        let there = self.look()?;
        screen.keep(self.instances());
        there.iter().for_each(|flow| screen.has(flow));
        self.count()?;
        let ends = self.args.limit.map(|seconds| Instant::now() + Duration::from_secs(seconds.into()));
        let (mut keys, mut due) = (terminal.keys(), Instant::now());
        while !self.is_over(ends) {
            if Instant::now() >= due {
                let began = Instant::now();
                self.refresh(&mut screen)?;
                terminal.show(&screen.draw(now(), size())).map_err(|error| ui::cannot_write(&error))?;
                due = after_rest(began);
            }
            if self.wait(ends.map_or(due, |ends| due.min(ends)), keys.as_ref())?
                && keys.as_mut().is_some_and(Keys::ends)
            {
                return Ok(());
            }
            let events = self.heard();
            if events.iter().any(Event::is_lost) {
                // What is open is not known any more: the next look finds it.
                self.ears.let_go();
                screen.forget_open();
            }
            self.told += events.len() as u64;
            events.iter().for_each(|event| screen.tell(event));
        }
        Ok(())
    }

    /// What is new besides connections.
    fn refresh(&mut self, screen: &mut Screen) -> Result<()> {
        let there = self.look()?;
        screen.keep(self.instances());
        there.iter().for_each(|flow| screen.has(flow));
        for (event, drops) in self.count()? {
            screen.dropped(&drops.owner, drops.packets);
            screen.tell(&event);
            self.told += 1;
        }
        Ok(())
    }

    fn is_over(&self, ends: Option<Instant>) -> bool {
        let is_told = self.args.count.is_some_and(|count| self.told >= count);
        is_told || ends.is_some_and(|ends| Instant::now() >= ends) || self.session.interrupted.load(Ordering::Relaxed)
    }

    /// Until something is heard, a key is pressed, or the time has come; whether it was a key.
    fn wait(&self, until: Instant, keys: Option<&Keys>) -> Result<bool> {
        let ears = self.ears.ears().map(|ear| PollFd::from_borrowed_fd(ear, PollFlags::IN));
        let keys = keys.map(|keys| PollFd::from_borrowed_fd(keys.as_fd(), PollFlags::IN));
        let has_keys = keys.is_some();
        let mut polled: Vec<PollFd<'_>> = keys.into_iter().chain(ears).collect();
        let left = timespec(until.saturating_duration_since(Instant::now()));
        match poll(&mut polled, Some(&left)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Failure::new(Kind::Host, format!("cannot wait for events: {error}"))),
        }
        Ok(has_keys && !polled[0].revents().is_empty())
    }

    /// Reads the state, and listens where it says; the connections that are there where that is new.
    fn look(&mut self) -> Result<Vec<Flow>> {
        let state = self.session.read()?;
        if state != self.known.state || self.known.directories.is_empty() {
            let vpcs = self.args.vpcs(&state);
            let directories = vpcs.iter().map(|vpc| (vpc.clone(), Directory::new(&state, vpc))).collect();
            self.known = Known { state, vpcs, directories };
        }
        let there = self.ears.sync(&self.known.vpcs).map_err(failure)?;
        Ok(there.iter().filter_map(|(vpc, connection)| self.flow(vpc, connection)).collect())
    }

    /// A connection with names, where it is to be told of: by the router of who opened it, if that is listened to.
    fn flow(&self, vpc: &VpcName, connection: &Connection) -> Option<Flow> {
        let flow = Flow::new(vpc, connection, self.known.directories.get(vpc)?);
        let [from, to] = flow.instances();
        let is_told_elsewhere = from
            .is_some_and(|owner| owner.vpcs().iter().any(|other| *other != vpc && self.known.vpcs.contains(*other)));
        let is_chosen = [from, to].into_iter().flatten().any(|owner| self.args.is_chosen(owner));
        let is_routers = from.is_none() && to.is_none() && self.args.is_chosen(&Owner::Vpc(vpc.clone()));
        (!is_told_elsewhere && (is_chosen || is_routers)).then_some(flow)
    }

    fn heard(&mut self) -> Vec<Event> {
        let time = now();
        let (heard, lost) = self.ears.hear();
        let flows = heard.iter().filter_map(|(vpc, change, connection): &(_, Change, _)| {
            Some(Event::flow(time, *change, self.flow(vpc, connection)?))
        });
        flows.chain(lost.into_iter().map(|vpc| Event::lost(time, vpc))).collect()
    }

    /// What rules stopped since the look before.
    fn count(&mut self) -> Result<Vec<(Event, Drops)>> {
        let owners = owners_with_rules(&self.known.state, &self.known.vpcs);
        let of_host = self.args.targets.is_empty();
        let owners = owners.into_iter().filter(|owner| self.args.may_stop(owner) && (of_host || *owner != Owner::Host));
        let drops = match self.ears.count(owners.collect(), self.session.interrupted) {
            Err(error) if error.interrupted => Vec::new(),
            counted => counted.map_err(failure)?,
        };
        let time = now();
        let event = |drops: Drops| {
            let (_, chain, purpose, _) = &drops.rule;
            let rule = counters::words(purpose, policy(&self.known.state, &drops.owner));
            (Event::drop(time, &drops.owner, chain, rule, drops.packets), drops)
        };
        Ok(drops.into_iter().map(event).collect())
    }

    fn instances(&self) -> impl Iterator<Item = (Owner, std::net::Ipv4Addr)> {
        let vpcs = self.known.state.vpcs.iter();
        let all = vpcs.flat_map(|(vpc, found)| found.subnets.iter().map(move |(name, subnet)| (vpc, name, subnet)));
        let all = all.flat_map(|(vpc, name, subnet)| {
            subnet.all_instances().map(move |(instance, address, _)| (Owner::instance(vpc, name, instance), address))
        });
        all.filter(|(owner, _)| self.args.is_chosen(owner))
    }

    /// Prints events; whether anybody reads on, and more are wanted.
    fn print(&mut self, events: Vec<Event>) -> Result<bool> {
        let mut stdout = io::stdout().lock();
        for event in events {
            let line = match self.session.ui.format {
                Format::Table => event.to_string(),
                Format::Json => serde_json::to_string(&event).unwrap_or_default(),
                Format::Yaml => format!("---\n{}", serde_saphyr::to_string(&event).unwrap_or_default().trim_end()),
            };
            match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(false),
                written => written.map_err(|error| ui::cannot_write(&error))?,
            }
            self.told += 1;
            if self.args.count.is_some_and(|count| self.told >= count) {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// When it is time for the next look, after one that began then.
fn after_rest(began: Instant) -> Instant {
    Instant::now() + PACE.max(began.elapsed() * REST)
}

/// The policy that an instance follows.
fn policy<'a>(state: &'a State, owner: &Owner) -> Option<&'a Policy> {
    let (vpc, subnet, name) = match owner {
        Owner::Subnet(vpc, subnet) => (vpc, subnet, None),
        Owner::Instance(vpc, subnet, name) => (vpc, subnet, Some(name)),
        _ => return None,
    };
    let mut all = state.vpcs.get(vpc)?.subnets.get(subnet)?.all_instances();
    all.find(|(instance, ..)| *instance == name)?.2
}

fn failure(error: StepError) -> Failure {
    Failure::new(error.kind.unwrap_or(Kind::Failed), format!("cannot watch {}: {}", error.object, error.reason))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

fn size() -> (usize, usize) {
    let known = terminal_size::terminal_size().filter(|(width, height)| width.0 > 0 && height.0 > 0);
    known.map_or((80, 24), |(width, height)| (width.0.into(), height.0.into()))
}
