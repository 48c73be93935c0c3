//! Where everything is in the picture, in pixels. Boxes are as large as what is in them and stand in a grid; lines run in
//! channels between its columns and rows, each in a lane of its own. So nothing can overlap, whatever the network.
//!
//! A layout library that knows boxes in boxes is not to be had: `layout-rs` says that it lacks them, and Graphviz is a program
//! that most hosts don't have.

use crate::model::name::IfName;
use crate::view::graph::lines::{Lanes, Line};
use crate::view::graph::{InstanceBox, Network, Rules, SubnetBox, To, VpcBox};

/// The height of a line of a router's panel. All that lines lead to is at multiples of it.
pub const ROW: i32 = 24;

/// Between a box and what is in it.
pub const PAD: i32 = 16;

/// From one line of a card to the next.
pub const CARD_LINE: i32 = 17;

/// The height of a VPC's heading, and of a subnet's.
pub const HEADS: (i32, i32) = (2 * ROW, 52);

/// Between two cards, or two subnets.
const GAP: i32 = 10;

/// As wide may a subnet's cards be together.
const CARDS_WIDTH: i32 = 520;

/// Width by height of a picture that fits a screen.
const ASPECT: f64 = 1.6;

/// A rectangle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields are named for what they are")]
pub struct Rect {
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

/// The host, where it is, and the interfaces on its edge.
type PlacedHost<'a> = (Rect, Vec<(Rect, &'a IfName)>);

/// The whole picture.
#[derive(Debug)]
pub struct Sheet<'a> {
    /// Its size.
    pub size: (i32, i32),
    /// The internet, where somebody reaches it.
    pub internet: Option<Rect>,
    /// The host, where it has a part in it, with the interfaces that VPCs leave by.
    pub host: Option<PlacedHost<'a>>,
    /// The VPCs.
    pub vpcs: Vec<Placed<'a>>,
    /// The lines between them.
    pub lines: Vec<Line>,
}

/// A VPC, where it is.
#[derive(Debug)]
pub struct Placed<'a> {
    /// What it is.
    pub vpc: &'a VpcBox,
    /// All of it.
    pub area: Rect,
    /// Its router's panel: a row for each of its ways' words.
    pub panel: Rect,
    /// Its subnets.
    pub subnets: Vec<PlacedSubnet<'a>>,
}

/// A subnet, where it is.
#[derive(Debug)]
pub struct PlacedSubnet<'a> {
    /// What it is.
    pub subnet: &'a SubnetBox,
    /// All of it.
    pub area: Rect,
    /// Whether it is the last one of its shelf.
    is_last: bool,
    /// Its instances.
    pub cards: Vec<(Rect, &'a InstanceBox)>,
}

/// The width of text in the picture's typewriter face, of this size: 0.61 of it for each character is what no common one exceeds.
pub fn text_width(text: &str, size: i32) -> i32 {
    (text.chars().count() as i32 * size * 61 + 99) / 100
}

impl Rect {
    /// The same, moved.
    fn moved(self, x: i32, y: i32) -> Self {
        Rect { x: self.x + x, y: self.y + y, ..self }
    }

    /// The x of its right side.
    pub fn right(self) -> i32 {
        self.x + self.width
    }

    /// The y of its lower side.
    pub fn bottom(self) -> i32 {
        self.y + self.height
    }
}

impl<'a> Sheet<'a> {
    /// Lays a network out.
    pub fn new(network: &'a Network) -> Self {
        let boxes: Vec<Placed<'a>> = network.vpcs.iter().map(Placed::new).collect();
        let grid = Grid::new(&boxes);
        let lanes = Lanes::new(network, grid.columns);
        let top = Top::new(network);
        let x = grid.starts(&grid.widths, |column| lanes.channel_width(column), 0);
        let y = grid.starts(&grid.heights, |row| lanes.gutter_height(row), top.height);
        let ends =
            |starts: &[i32], sizes: &[i32]| starts.last().zip(sizes.last()).map_or(0, |(start, size)| start + size);
        let right = ends(&x, &grid.widths) + lanes.channel_width(grid.columns);
        let place = |(index, vpc): (usize, Placed<'a>)| {
            let (row, column) = (index / grid.columns, index % grid.columns);
            vpc.at(x[column], y[row], grid.widths[column])
        };
        let vpcs: Vec<Placed<'a>> = boxes.into_iter().enumerate().map(place).collect();
        let width = right.max(top.least_width());
        let lines = lanes.lines(network, &vpcs, (&x, &y), top.height);
        let bottom = if vpcs.is_empty() { top.height + 2 * ROW } else { ends(&y, &grid.heights) };
        let (internet, host) = top.place(width);
        Sheet { size: (width, bottom + ROW), internet, host, vpcs, lines }
    }
}

/// What is above the VPCs.
struct Top<'a> {
    wans: Vec<&'a IfName>,
    has_host: bool,
    /// How high it is, a multiple of [`ROW`].
    height: i32,
}

impl<'a> Top<'a> {
    fn new(network: &'a Network) -> Self {
        let wans: Vec<&IfName> = network.wans.iter().collect();
        let has_host = !wans.is_empty() || network.has_host_access();
        let rows = match (has_host, wans.is_empty()) {
            (false, _) => 0,
            (true, true) => 3,
            (true, false) => 6,
        };
        Top { wans, has_host, height: rows * ROW }
    }

    fn chip_width(wan: &IfName) -> i32 {
        text_width(wan.as_str(), 12) + 2 * GAP
    }

    fn least_width(&self) -> i32 {
        let chips: i32 = self.wans.iter().map(|wan| Self::chip_width(wan) + 2 * GAP).sum();
        (chips + 8 * PAD + text_width("host", 13)).max(260)
    }

    fn place(&self, width: i32) -> (Option<Rect>, Option<PlacedHost<'a>>) {
        if !self.has_host {
            return (None, None);
        }
        let host = Rect { x: PAD, y: self.height - 2 * ROW, width: width - 2 * PAD, height: 2 * ROW };
        let internet = Rect { x: width / 2 - 70, y: ROW, width: 140, height: 36 };
        let total: i32 = self.wans.iter().map(|wan| Self::chip_width(wan) + 2 * GAP).sum::<i32>() - 2 * GAP;
        let mut x = width / 2 - total / 2;
        let chips = self.wans.iter().map(|wan| {
            let chip = Rect { x, y: host.y - 12, width: Self::chip_width(wan), height: 24 };
            x = chip.right() + 2 * GAP;
            (chip, *wan)
        });
        let chips = chips.collect();
        ((!self.wans.is_empty()).then_some(internet), Some((host, chips)))
    }
}

/// The columns and rows that the VPCs stand in.
struct Grid {
    columns: usize,
    widths: Vec<i32>,
    heights: Vec<i32>,
}

impl Grid {
    /// With the number of columns that fits a screen best.
    fn new(boxes: &[Placed<'_>]) -> Self {
        let sizes: Vec<(i32, i32)> = boxes.iter().map(|one| (one.area.width, one.area.height)).collect();
        let all = (1..=sizes.len().max(1)).map(|columns| Grid::of(columns, &sizes));
        let misfit = |grid: &Grid| {
            let sum =
                |sizes: &[i32], between: i32| f64::from(sizes.iter().map(|size| size + between).sum::<i32>().max(1));
            (sum(&grid.widths, 4 * PAD) / sum(&grid.heights, 3 * ROW) / ASPECT).ln().abs()
        };
        let best = all.min_by(|one, other| misfit(one).total_cmp(&misfit(other)));
        best.unwrap_or(Grid { columns: 1, widths: Vec::new(), heights: Vec::new() })
    }

    fn of(columns: usize, sizes: &[(i32, i32)]) -> Self {
        let widest = |column: usize| sizes.iter().skip(column).step_by(columns).map(|size| size.0).max().unwrap_or(0);
        let highest = |row: &[(i32, i32)]| row.iter().map(|size| size.1).max().unwrap_or(0);
        Grid {
            columns,
            widths: (0..columns.min(sizes.len())).map(widest).collect(),
            heights: sizes.chunks(columns).map(|row| on_grid(highest(row))).collect(),
        }
    }

    /// Where each column or row begins, after what is before it.
    fn starts(&self, sizes: &[i32], before: impl Fn(usize) -> i32, start: i32) -> Vec<i32> {
        let mut at = start;
        let place = |(index, size): (usize, &i32)| {
            let begin = at + before(index);
            at = begin + size;
            begin
        };
        sizes.iter().enumerate().map(place).collect()
    }
}

impl<'a> Placed<'a> {
    /// As large as it has to be, at the origin.
    fn new(vpc: &'a VpcBox) -> Self {
        let words = || vpc.ways.iter().flat_map(|way| &way.words);
        let head = text_width(vpc.name.as_str(), 15) + 3 * GAP + text_width(&vpc.cidr.to_string(), 12);
        let text = words().map(|words| text_width(words, 12) + 2 * PAD).fold(head, i32::max);
        let panel = Rect { x: PAD, y: HEADS.0, width: 0, height: ROW * words().count() as i32 };
        let (subnets, (width, bottom)) = shelves(&vpc.subnets, (PAD, panel.bottom() + PAD), text);
        let area = Rect { x: 0, y: 0, width: width + 2 * PAD, height: bottom + PAD };
        Placed { vpc, area, panel: Rect { width, ..panel }, subnets }
    }

    /// The same where it belongs, as wide as its column.
    fn at(self, x: i32, y: i32, width: i32) -> Self {
        let more = width - self.area.width;
        let wider = |rect: Rect| Rect { width: rect.width + more, ..rect }.moved(x, y);
        let subnets = self.subnets.into_iter().map(|subnet| PlacedSubnet {
            // The last one of its shelf goes on to the end.
            area: if subnet.is_last { wider(subnet.area) } else { subnet.area.moved(x, y) },
            cards: subnet.cards.into_iter().map(|(card, instance)| (card.moved(x, y), instance)).collect(),
            ..subnet
        });
        Placed { vpc: self.vpc, area: wider(self.area), panel: wider(self.panel), subnets: subnets.collect() }
    }

    /// The middle of the row in which a way's words begin.
    pub fn row_of(&self, to: &To) -> Option<i32> {
        slot(self.vpc, to).map(|slot| self.panel.y + slot * ROW + ROW / 2)
    }
}

/// The row of a router's panel in which a way's words begin.
pub fn slot(vpc: &VpcBox, to: &To) -> Option<i32> {
    let index = vpc.ways.iter().position(|way| &way.to == to)?;
    Some(vpc.ways[..index].iter().map(|way| way.words.len() as i32).sum())
}

/// Subnets side by side as far as there is room, then below; with the width and the lower end of all of them.
fn shelves(subnets: &[SubnetBox], (left, top): (i32, i32), least: i32) -> (Vec<PlacedSubnet<'_>>, (i32, i32)) {
    let mut placed: Vec<PlacedSubnet<'_>> = subnets.iter().map(PlacedSubnet::new).collect();
    let area: f64 = placed.iter().map(|one| f64::from(one.area.width) * f64::from(one.area.height)).sum();
    let widest = placed.iter().map(|one| one.area.width).fold(least, i32::max);
    let limit = left + widest.max((area * 1.4).sqrt() as i32);
    let (mut x, mut y, mut bottom, mut right) = (left, top, top - PAD, left + least);
    for subnet in &mut placed {
        if x > left && x + subnet.area.width > limit {
            (x, y) = (left, bottom + GAP);
        }
        subnet.shift(x, y);
        x = subnet.area.right() + GAP;
        (bottom, right) = (bottom.max(subnet.area.bottom()), right.max(subnet.area.right()));
    }
    for shelf in placed.chunk_by_mut(|one, other| one.area.y == other.area.y) {
        let lowest = shelf.iter().map(|one| one.area.bottom()).max().unwrap_or(top);
        shelf.iter_mut().for_each(|one| one.area.height = lowest - one.area.y);
        if let Some(last) = shelf.last_mut() {
            last.area.width = right - last.area.x;
            last.is_last = true;
        }
    }
    (placed, (right - left, bottom))
}

impl<'a> PlacedSubnet<'a> {
    fn new(subnet: &'a SubnetBox) -> Self {
        let lines: Vec<Vec<String>> = subnet.instances.iter().map(InstanceBox::lines).collect();
        let widest = lines.iter().flatten().map(|line| text_width(line, 13)).max().unwrap_or(0);
        let card = (widest + 2 * GAP, lines.iter().map(Vec::len).max().unwrap_or(0) as i32 * CARD_LINE + GAP);
        let columns = ((CARDS_WIDTH + GAP) / (card.0 + GAP)).max(1) as usize;
        let place = |(index, instance): (usize, &'a InstanceBox)| {
            let (row, column) = ((index / columns) as i32, (index % columns) as i32);
            let (x, y) = (GAP + column * (card.0 + GAP), HEADS.1 + row * (card.1 + GAP));
            (Rect { x, y, width: card.0, height: card.1 }, instance)
        };
        let cards: Vec<_> = subnet.instances.iter().enumerate().map(place).collect();
        let right = cards.iter().map(|(card, _)| card.right()).max().unwrap_or(0);
        let bottom = cards.iter().map(|(card, _)| card.bottom()).max().unwrap_or(HEADS.1);
        let (head, marks) = head_widths(subnet);
        let width = right.max(head).max(marks) + GAP;
        PlacedSubnet { subnet, area: Rect { x: 0, y: 0, width, height: bottom + GAP }, is_last: false, cards }
    }

    fn shift(&mut self, x: i32, y: i32) {
        self.area = self.area.moved(x, y);
        self.cards.iter_mut().for_each(|(card, _)| *card = card.moved(x, y));
    }
}

/// How wide the two lines of a subnet's heading are: its name and CIDR, then its marks.
fn head_widths(subnet: &SubnetBox) -> (i32, i32) {
    let head = GAP + text_width(subnet.name.as_str(), 13) + GAP + text_width(&subnet.cidr.to_string(), 12);
    let policy = subnet.policy.map_or(0, |policy| text_width(&Rules::words(policy), 11) + 3 * GAP);
    (head, GAP + mark_width(&subnet.kind_words()) + policy)
}

/// How wide a mark is around its words.
pub fn mark_width(words: &str) -> i32 {
    text_width(words, 11) + 16
}

/// The next multiple of [`ROW`].
pub fn on_grid(length: i32) -> i32 {
    (length + ROW - 1) / ROW * ROW
}
