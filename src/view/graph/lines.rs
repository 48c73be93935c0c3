//! The lines of the picture: in channels between the grid's columns and gutters between its rows, each in a lane of its own.
//!
//! Channel `c` is left of column `c`, the last one right of the last column; gutter `r` is above row `r`. A peering leaves its
//! left VPC by the right side and enters the other by the left side, or by the right one in the same column. Right sides use the
//! upper half of a row, left sides the lower half: two lines in one channel never share a height. What leads to the host goes up
//! in a bus for each column and kind.

use std::collections::BTreeMap;

use crate::view::graph::layout::{PAD, Placed, ROW, on_grid, slot};
use crate::view::graph::{Network, Peered, To, VpcBox};

/// From one lane to the next.
const LANE: i32 = 12;

/// From a box to the first lane.
const MARGIN: i32 = 22;

/// How far above or below a row's middle a line leaves it.
const ASIDE: i32 = 4;

/// More than a VPC's rows, between two rows of VPCs.
const BELOW: i64 = 1_000_000;

/// What a line stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The internet by NAT.
    Internet,
    /// The host's way in.
    Host,
    /// A peering.
    Peering,
}

/// A line with corners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// What it stands for.
    pub kind: Kind,
    /// Its corners, its ends included.
    pub points: Vec<(i32, i32)>,
    /// Whether an arrow is at its beginning, and at its end.
    pub arrows: [bool; 2],
}

/// Where a VPC is in the grid, and a row of its router's panel.
#[derive(Debug, Clone, Copy)]
struct Port {
    row: usize,
    column: usize,
    slot: i32,
}

/// The way that a peering's line takes.
#[derive(Debug, Clone, Copy)]
enum Route {
    /// Straight to the neighbour.
    Straight,
    /// By a lane of one channel.
    Channel { channel: usize, lane: usize },
    /// By two channels and the gutter between them.
    Around { channels: [(usize, usize); 2], gutter: usize, lane: usize },
}

/// Lanes that are taken, each by what it is taken from and to.
#[derive(Debug, Default)]
struct Taken(Vec<Vec<(i64, i64)>>);

/// Which lines run where.
#[derive(Debug)]
pub struct Lanes {
    columns: usize,
    routes: Vec<Option<(usize, usize, Route)>>,
    channels: BTreeMap<usize, Taken>,
    gutters: BTreeMap<usize, Taken>,
    /// The buses of each column.
    buses: BTreeMap<usize, Vec<Kind>>,
}

impl Taken {
    /// The first lane that is free between the two.
    fn take(&mut self, one: i64, other: i64) -> usize {
        let (from, to) = (one.min(other), one.max(other));
        let is_free = |lane: &Vec<(i64, i64)>| lane.iter().all(|(start, end)| *end < from || to < *start);
        let free = self.0.iter().position(is_free).unwrap_or(self.0.len());
        if free == self.0.len() {
            self.0.push(Vec::new());
        }
        self.0[free].push((from, to));
        free
    }
}

impl Port {
    fn new(network: &Network, columns: usize, vpc: usize, peer: &VpcBox) -> Option<Self> {
        let slot = slot(&network.vpcs[vpc], &To::Peer(peer.name.clone()))?;
        Some(Port { row: vpc / columns, column: vpc % columns, slot })
    }

    /// Its height, as far as it can be known before anything has a place.
    fn height(self) -> i64 {
        self.row as i64 * BELOW + 1 + i64::from(self.slot)
    }
}

impl Lanes {
    /// The lanes of a network whose VPCs stand in so many columns.
    pub fn new(network: &Network, columns: usize) -> Self {
        let mut buses: BTreeMap<usize, Vec<Kind>> = BTreeMap::new();
        for (index, vpc) in network.vpcs.iter().enumerate() {
            let of_column = buses.entry(index % columns).or_default();
            of_column.extend(vpc.ways.iter().filter_map(|way| bus(&way.to)));
            // The way in is below the way out, and outside of it: so they don't cross.
            of_column.sort_unstable_by(|one, other| other.cmp(one));
            of_column.dedup();
        }
        let (channels, gutters) = (BTreeMap::new(), BTreeMap::new());
        let mut lanes = Lanes { columns, routes: Vec::new(), channels, gutters, buses };
        let numbers: BTreeMap<_, usize> =
            network.vpcs.iter().enumerate().map(|(index, vpc)| (&vpc.name, index)).collect();
        for Peered { ends: [a, b], .. } in &network.peerings {
            let found = numbers.get(a).zip(numbers.get(b)).and_then(|(a, b)| {
                let route = lanes.route(
                    Port::new(network, columns, *a, &network.vpcs[*b])?,
                    Port::new(network, columns, *b, &network.vpcs[*a])?,
                );
                Some((*a, *b, route))
            });
            lanes.routes.push(found);
        }
        lanes
    }

    /// Takes the lanes between two ports.
    fn route(&mut self, a: Port, b: Port) -> Route {
        let (left, right) = if a.column <= b.column { (a, b) } else { (b, a) };
        let channel = left.column + 1;
        if left.row == right.row && channel == right.column && left.slot == right.slot {
            return Route::Straight;
        }
        if right.column <= channel {
            let lane = self.channels.entry(channel).or_default().take(left.height(), right.height());
            return Route::Channel { channel, lane };
        }
        let gutter = left.row.max(right.row);
        let height = gutter as i64 * BELOW;
        let mut vertical = |channel: usize, port: Port| {
            (channel, self.channels.entry(channel).or_default().take(port.height(), height))
        };
        let channels = [vertical(channel, left), vertical(right.column, right)];
        let lane = self.gutters.entry(gutter).or_default().take(channel as i64, right.column as i64);
        Route::Around { channels, gutter, lane }
    }

    fn peerings_in(&self, channel: usize) -> i32 {
        self.channels.get(&channel).map_or(0, |taken| taken.0.len() as i32)
    }

    /// How wide a channel is.
    pub fn channel_width(&self, channel: usize) -> i32 {
        let buses = self.buses.get(&channel).map_or(0, |buses| buses.len() as i32);
        let lanes = self.peerings_in(channel) + buses;
        let is_edge = channel == 0 || channel == self.columns;
        if lanes == 0 && is_edge { PAD } else { 2 * MARGIN + LANE * (lanes - 1).max(0) }
    }

    /// How high a gutter is: a multiple of [`ROW`].
    pub fn gutter_height(&self, gutter: usize) -> i32 {
        let lanes = self.gutters.get(&gutter).map_or(0, |taken| taken.0.len() as i32);
        on_grid(2 * MARGIN + LANE * (lanes - 1).max(0))
    }

    /// The lines, where the VPCs are placed and columns and rows begin as given; the host ends at this height.
    pub fn lines(
        &self,
        network: &Network,
        vpcs: &[Placed<'_>],
        (x, y): (&[i32], &[i32]),
        host_bottom: i32,
    ) -> Vec<Line> {
        let places = Places { lanes: self, x, y, right: vpcs.iter().map(|vpc| vpc.area.right()).max().unwrap_or(0) };
        let peerings = self.routes.iter().zip(&network.peerings);
        let peerings = peerings.filter_map(|(route, peered)| {
            let (a, b, route) = (*route)?;
            places.peering(peered, (&vpcs[a], a % self.columns), (&vpcs[b], b % self.columns), route)
        });
        let mut lines: Vec<Line> = peerings.collect();
        for (column, kinds) in &self.buses {
            for kind in kinds {
                let of_column = vpcs.iter().skip(*column).step_by(self.columns);
                lines.extend(places.bus(*column, *kind, of_column, host_bottom));
            }
        }
        lines
    }
}

/// The lanes with their places in the picture.
struct Places<'a> {
    lanes: &'a Lanes,
    x: &'a [i32],
    y: &'a [i32],
    /// The right side of the last column.
    right: i32,
}

impl Places<'_> {
    fn channel_start(&self, channel: usize) -> i32 {
        self.x.get(channel).map_or(self.right, |x| x - self.lanes.channel_width(channel))
    }

    fn lane_x(&self, channel: usize, lane: i32) -> i32 {
        self.channel_start(channel) + MARGIN + LANE * lane
    }

    fn lane_y(&self, gutter: usize, lane: usize) -> i32 {
        self.y[gutter] - self.lanes.gutter_height(gutter) + MARGIN + LANE * lane as i32
    }

    fn peering(
        &self,
        peered: &Peered,
        (a, column_a): (&Placed<'_>, usize),
        (b, column_b): (&Placed<'_>, usize),
        route: Route,
    ) -> Option<Line> {
        let (row_a, row_b) = (a.row_of(&To::Peer(b.vpc.name.clone()))?, b.row_of(&To::Peer(a.vpc.name.clone()))?);
        let a_is_left = column_a <= column_b;
        let ((left, row_left), (right, row_right)) =
            if a_is_left { ((a, row_a), (b, row_b)) } else { ((b, row_b), (a, row_a)) };
        let start = (left.area.right(), row_left - ASIDE);
        let end = if column_a == column_b {
            (right.area.right(), row_right - ASIDE)
        } else {
            (right.area.x, row_right + ASIDE)
        };
        let points = match route {
            Route::Straight => vec![(start.0, row_left), (end.0, row_left)],
            Route::Channel { channel, lane } => {
                let x = self.lane_x(channel, lane as i32);
                vec![start, (x, start.1), (x, end.1), end]
            }
            Route::Around { channels: [(one, first), (other, second)], gutter, lane } => {
                let (x1, x2) = (self.lane_x(one, first as i32), self.lane_x(other, second as i32));
                let y = self.lane_y(gutter, lane);
                vec![start, (x1, start.1), (x1, y), (x2, y), (x2, end.1), end]
            }
        };
        let [enters_a, enters_b] = peered.enters;
        let arrows = if a_is_left { [enters_a, enters_b] } else { [enters_b, enters_a] };
        Some(Line { kind: Kind::Peering, points, arrows })
    }

    /// A bus from the host down a column, and from it to each VPC that has the way.
    fn bus<'v>(
        &self,
        column: usize,
        kind: Kind,
        vpcs: impl Iterator<Item = &'v Placed<'v>>,
        host_bottom: i32,
    ) -> Vec<Line> {
        let before = self.lanes.buses[&column].iter().position(|other| *other == kind).unwrap_or(0) as i32;
        let x = self.lane_x(column, self.lanes.peerings_in(column) + before);
        let way =
            |vpc: &&Placed<'_>| vpc.vpc.ways.iter().find(|way| bus(&way.to) == Some(kind)).map(|way| way.to.clone());
        let ends = vpcs.filter_map(|vpc| Some((vpc.area.x, vpc.row_of(&way(&vpc)?)? + ASIDE)));
        let ends: Vec<(i32, i32)> = ends.collect();
        let Some((last, stubs)) = ends.split_last() else {
            return Vec::new();
        };
        let is_in = kind == Kind::Host;
        let trunk = Line { kind, points: vec![(x, host_bottom), (x, last.1), *last], arrows: [!is_in, is_in] };
        let stub = |end: &(i32, i32)| Line { kind, points: vec![(x, end.1), *end], arrows: [false, is_in] };
        std::iter::once(trunk).chain(stubs.iter().map(stub)).collect()
    }
}

/// The bus that leads there.
fn bus(to: &To) -> Option<Kind> {
    match to {
        To::Internet(_) => Some(Kind::Internet),
        To::Host => Some(Kind::Host),
        To::Peer(_) | To::Nowhere => None,
    }
}

/// So high is a row: both halves of it are used.
const _: () = assert!(2 * ASIDE < ROW);
