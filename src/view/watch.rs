//! What `watch` prints: an event a line, or an object of JSON; and on a terminal a screen of what there is.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::net::Ipv4Addr;

use schemars::JsonSchema;
use serde::Serialize;

use crate::model::name::VpcName;
use crate::model::owner::Owner;
use crate::plan::flow::{Change, Connection, Directory, Party};
use crate::ui::{style, table};
use crate::view::VERSION;

/// How many of the latest events a screen remembers.
const LATEST: usize = 64;

/// How many rules that stopped packets a screen names, and how many it remembers.
const RULES: usize = 8;
const RULES_KEPT: usize = 256;

/// Something that happened.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Event {
    version: u32,
    /// When it was heard of, in seconds since 1970.
    time: u64,
    #[serde(flatten)]
    what: What,
}

/// What happened.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum What {
    /// A connection passed a router for the first time.
    New(Flow),
    /// It ended, or was forgotten after a time of silence.
    End(Flow),
    /// A rule stopped packets since the look before.
    Drop {
        /// Where the rule is: an instance, a VPC's router or the host.
        of: String,
        chain: String,
        /// What the rule is for; of a policy's rule also what it says.
        rule: String,
        packets: u64,
    },
    /// More happened in this VPC's router than could be told.
    Lost { vpc: VpcName },
}

/// A connection, with the names of its ends.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct Flow {
    /// Whose router saw it.
    vpc: VpcName,
    protocol: String,
    /// Who opened it.
    from: End,
    to: End,
    /// Does the other side see another address than the opener's?
    nat: bool,
}

/// One end of a connection.
#[derive(Debug, Clone, Serialize, JsonSchema)]
struct End {
    /// An instance's path, `host`, `outside`, or a VPC's router.
    name: String,
    address: Ipv4Addr,
    port: Option<u16>,
    #[serde(skip)]
    party: Party,
}

impl Flow {
    /// A connection that a VPC's router knows, with names.
    pub fn new(vpc: &VpcName, connection: &Connection, directory: &Directory) -> Self {
        let way = connection.original;
        let end = |address, port| {
            let party = directory.party(address);
            End { name: party.name(), address, port, party }
        };
        Flow {
            vpc: vpc.clone(),
            protocol: way.protocol_name(),
            from: end(way.source, way.ports.map(|(from, _)| from)),
            to: end(way.destination, way.ports.map(|(_, to)| to)),
            nat: connection.is_translated(),
        }
    }

    /// The instances at its ends: who opened it, and to whom.
    pub fn instances(&self) -> [Option<&Owner>; 2] {
        [&self.from, &self.to].map(|end| match &end.party {
            Party::Instance(owner) => Some(owner),
            _ => None,
        })
    }
}

impl Event {
    fn new(time: u64, what: What) -> Self {
        Event { version: VERSION, time, what }
    }

    /// A connection came or went.
    pub fn flow(time: u64, change: Change, flow: Flow) -> Self {
        Event::new(time, if change == Change::New { What::New(flow) } else { What::End(flow) })
    }

    /// A rule stopped packets.
    pub fn drop(time: u64, owner: &Owner, chain: &str, rule: String, packets: u64) -> Self {
        let of = if matches!(owner, Owner::Vpc(_)) { format!("{owner} router") } else { owner.to_string() };
        Event::new(time, What::Drop { of, chain: chain.to_owned(), rule, packets })
    }

    /// Does it say that not all was heard?
    pub fn is_lost(&self) -> bool {
        matches!(self.what, What::Lost { .. })
    }

    /// Not all was heard.
    pub fn lost(time: u64, vpc: VpcName) -> Self {
        Event::new(time, What::Lost { vpc })
    }
}

impl fmt::Display for Event {
    /// As a line, with the time of day in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  ", clock(self.time))?;
        match &self.what {
            What::New(flow) => write!(f, "new   {flow}"),
            What::End(flow) => write!(f, "end   {flow}"),
            What::Drop { of, chain, rule, packets } => {
                let packets = if *packets == 1 { "1 packet".into() } else { format!("{packets} packets") };
                write!(f, "drop  {of}  {packets}: {rule} ({chain})")
            }
            What::Lost { vpc } => write!(f, "lost  more happened in the router of {vpc} than could be told"),
        }
    }
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Flow { protocol, from, to, nat, .. } = self;
        write!(f, "{protocol:<4}  {from} -> {to}{}", if *nat { "  NAT" } else { "" })
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.address)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// As much of a line as there is room for: one that goes on in the next would move all that is below. Colours take none, and end.
fn cut(line: &str, columns: usize) -> String {
    let (mut shown, mut is_colour) = (0, false);
    let fits = |c: &char| {
        let was_colour = is_colour;
        is_colour = if is_colour { *c != 'm' } else { *c == '\u{1b}' };
        shown += usize::from(!was_colour && !is_colour);
        was_colour || is_colour || shown <= columns
    };
    line.chars().filter(fits).collect()
}

/// The time of day, in UTC.
fn clock(time: u64) -> String {
    format!("{:02}:{:02}:{:02}", time / 3600 % 24, time / 60 % 60, time % 60)
}

/// What is known of one instance.
#[derive(Debug, Default, Clone, Copy)]
struct Tally {
    open: u64,
    /// Since the last screen: opened by it, and to it.
    new: [u64; 2],
    dropped: u64,
}

/// What a screen shows. It is as large as the network, whatever happens in it.
#[derive(Debug, Default)]
pub struct Screen {
    instances: BTreeMap<Owner, (Ipv4Addr, Tally)>,
    rules: BTreeMap<(String, String), u64>,
    latest: VecDeque<String>,
}

impl Screen {
    /// The instances there are: what is known of the others is forgotten.
    pub fn keep(&mut self, instances: impl Iterator<Item = (Owner, Ipv4Addr)>) {
        let mut known = std::mem::take(&mut self.instances);
        let mut tally = |owner: &Owner| known.remove(owner).map(|(_, tally)| tally).unwrap_or_default();
        self.instances = instances.map(|(owner, address)| (owner.clone(), (address, tally(&owner)))).collect();
    }

    /// A connection that was there before.
    pub fn has(&mut self, flow: &Flow) {
        for owner in flow.instances().into_iter().flatten() {
            if let Some((_, tally)) = self.instances.get_mut(owner) {
                tally.open += 1;
            }
        }
    }

    /// Nothing is open: what is there is to be told anew.
    pub fn forget_open(&mut self) {
        self.instances.values_mut().for_each(|(_, tally)| tally.open = 0);
    }

    /// Packets that an owner's rules stopped.
    pub fn dropped(&mut self, owner: &Owner, packets: u64) {
        if let Some((_, tally)) = self.instances.get_mut(owner) {
            tally.dropped += packets;
        }
    }

    /// Something happened.
    pub fn tell(&mut self, event: &Event) {
        match &event.what {
            What::New(flow) => {
                self.has(flow);
                for (side, owner) in flow.instances().into_iter().enumerate() {
                    if let Some((_, tally)) = owner.and_then(|owner| self.instances.get_mut(owner)) {
                        tally.new[side] += 1;
                    }
                }
            }
            What::End(flow) => {
                for owner in flow.instances().into_iter().flatten() {
                    if let Some((_, tally)) = self.instances.get_mut(owner) {
                        tally.open = tally.open.saturating_sub(1);
                    }
                }
            }
            What::Drop { of, rule, packets, .. } => {
                *self.rules.entry((of.clone(), rule.clone())).or_default() += packets;
                // Where networks come and go, their rules would only ever become more.
                let least = self.rules.iter().min_by_key(|(_, packets)| **packets).map(|(rule, _)| rule.clone());
                if let Some(least) = least.filter(|_| self.rules.len() > RULES_KEPT) {
                    self.rules.remove(&least);
                }
            }
            What::Lost { .. } => {}
        }
        self.latest.push_front(event.to_string());
        self.latest.truncate(LATEST);
    }

    /// The screen, as high and as wide as given at most; what is new is new since the one before.
    pub fn draw(&mut self, time: u64, (columns, lines): (usize, usize)) -> String {
        let (heading, dim) = (style::HEADING, style::COMMAND);
        let clock = clock(time);
        let mut text =
            vec![format!("{heading}vpcctl watch{heading:#}  {clock} UTC  {dim}q ends{dim:#}"), String::new()];
        let mut rules: Vec<(&(String, String), &u64)> = self.rules.iter().collect();
        rules.sort_by_key(|(_, packets)| std::cmp::Reverse(**packets));
        rules.truncate(RULES);
        let drops = rules.iter().map(|((of, rule), packets)| vec![of.clone(), packets.to_string(), rule.clone()]);
        let drops =
            if rules.is_empty() { String::new() } else { table(&["STOPPED BY", "PACKETS", "RULE"], drops) + "\n" };
        // Half of what is left is for instances at most, the rest for what happened last.
        let room = lines.saturating_sub(text.len() + drops.lines().count() + 3) * 2 / 3;
        text.extend(self.instance_rows(room).lines().map(str::to_owned));
        text.push(String::new());
        text.extend(drops.lines().map(str::to_owned));
        text.push(format!("{heading}LATEST{heading:#}"));
        let left = lines.saturating_sub(text.len());
        text.extend(self.latest.iter().take(left).cloned());
        self.instances.values_mut().for_each(|(_, tally)| tally.new = [0, 0]);
        text.truncate(lines);
        text.iter().map(|line| cut(line, columns)).collect::<Vec<_>>().join("\n")
    }

    /// Those in which something happens first.
    fn instance_rows(&self, room: usize) -> String {
        let mut all: Vec<(&Owner, &(Ipv4Addr, Tally))> = self.instances.iter().collect();
        all.sort_by_key(|(_, (_, tally))| tally.open == 0 && tally.dropped == 0 && tally.new == [0, 0]);
        let shown = all.len().min(room.saturating_sub(2).max(1));
        let rows = all[..shown].iter().map(|(owner, (address, tally))| {
            let Tally { open, new: [out, into], dropped } = tally;
            let numbers = [open, out, into, dropped].map(|number| number.to_string());
            [owner.to_string(), address.to_string()].into_iter().chain(numbers).collect()
        });
        let more = all.len() - shown;
        let more = if more > 0 { format!("and {more} more\n") } else { String::new() };
        table(&["INSTANCE", "ADDRESS", "OPEN", "OUT/s", "IN/s", "STOPPED"], rows) + &more
    }
}
