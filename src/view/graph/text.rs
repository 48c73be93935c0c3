//! The network drawn with characters: VPCs below each other, the host's line to them at the left, peerings at the right.

use std::collections::BTreeMap;

use crate::model::name::VpcName;
use crate::view::graph::{Network, Rules, SubnetBox, To, VpcBox};

/// What boxes and lines are drawn with.
#[derive(Debug)]
pub struct Pen {
    across: char,
    down: char,
    corners: [char; 4],
    tees: [char; 3],
    cross: char,
    arrow: char,
    more: &'static str,
}

/// For terminals that know more than ASCII.
pub const UNICODE: Pen = Pen {
    across: '─',
    down: '│',
    corners: ['┌', '┐', '└', '┘'],
    tees: ['├', '┤', '┬'],
    cross: '┼',
    arrow: '◄',
    more: "…",
};

/// For those that don't.
pub const ASCII: Pen =
    Pen { across: '-', down: '|', corners: ['+'; 4], tees: ['+'; 3], cross: '+', arrow: '<', more: "..." };

/// What the host's line takes up at the left.
const LEFT: usize = 3;

/// What the sides of a box take up, with a space each.
const SIDES: usize = 4;

/// The least width for words: a narrower terminal cuts them.
const LEAST: usize = 40;

/// A line of a VPC's box, and what is connected to it.
struct Row {
    text: String,
    to: Option<To>,
}

/// A peering's line: from one row to another, in a lane at the right.
struct Joint {
    rows: [usize; 2],
    enters: [bool; 2],
    lane: usize,
}

/// The drawing, as wide as asked for where the words let it.
pub fn text(network: &Network, pen: &Pen, width: usize) -> String {
    if network.vpcs.is_empty() {
        return "no VPCs; `vpcctl create-vpc NAME CIDR` makes one\n".into();
    }
    let lanes = |joints: &[Joint]| joints.iter().map(|joint| joint.lane + 1).max().unwrap_or(0);
    // How much room peerings take depends on how many run beside each other, not on the room.
    let draft = joints(network, &content(network, pen, usize::MAX / 2));
    let room = width.saturating_sub(LEFT + SIDES);
    let beside = Some(2 * lanes(&draft) + 2).filter(|beside| beside + LEAST <= room);
    let boxes = content(network, pen, room.saturating_sub(beside.unwrap_or(0)).max(LEAST));
    let joints = if beside.is_some() { joints(network, &boxes) } else { Vec::new() };
    let inner = boxes.iter().flatten().map(|row| row.text.chars().count()).max().unwrap_or(0);
    let mut lines = Vec::new();
    for (vpc, rows) in network.vpcs.iter().zip(&boxes) {
        let head = format!("{} {}  {} ", pen.across, vpc.name, vpc.cidr);
        lines.push(framed(pen, &pen.top(&head, inner + SIDES)));
        lines.extend(rows.iter().map(|row| beside_host(pen, row, inner)));
        lines.push(framed(pen, &pen.bottom(inner + SIDES)));
    }
    let is_joined = |line: &String| line.starts_with(' ') && line.chars().nth(1) == Some(pen.tees[0]);
    let last = lines.iter().rposition(is_joined);
    lines.iter_mut().enumerate().for_each(|(index, line)| finish_host(pen, line, last.map(|last| index.cmp(&last))));
    push_joints(pen, &mut lines, &joints, lanes(&joints));
    let top = host(network, pen, LEFT + inner + SIDES);
    top.into_iter().chain(lines).map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// A box's edge, behind the room for the host's line.
fn framed(pen: &Pen, edge: &str) -> String {
    format!(" {} {edge}", pen.down)
}

/// A row of a VPC's box, joined to the host's line where it leads to the host.
fn beside_host(pen: &Pen, row: &Row, inner: usize) -> String {
    let is_joined = matches!(row.to, Some(To::Internet(_) | To::Host));
    let (line, side) = if is_joined {
        (format!(" {}{}", pen.tees[0], pen.across), pen.tees[1])
    } else {
        (format!(" {} ", pen.down), pen.down)
    };
    format!("{line}{side} {:inner$} {}", row.text, pen.down)
}

/// The host's line ends where the last row is joined to it; there is none where no row is.
fn finish_host(pen: &Pen, line: &mut String, order: Option<std::cmp::Ordering>) {
    let mark = match order {
        Some(std::cmp::Ordering::Less) => return,
        Some(std::cmp::Ordering::Equal) => pen.corners[2],
        Some(std::cmp::Ordering::Greater) | None => ' ',
    };
    *line = std::iter::once(' ').chain([mark]).chain(line.chars().skip(2)).collect();
}

/// The internet and the host, above the VPCs.
fn host(network: &Network, pen: &Pen, width: usize) -> Vec<String> {
    if network.wans.is_empty() && !network.has_host_access() {
        return Vec::new();
    }
    let wans: Vec<&str> = network.wans.iter().map(|wan| wan.as_str()).collect();
    let mut lines = Vec::new();
    if !wans.is_empty() {
        lines.push("     internet".to_owned());
        lines.push(format!("        {} {}", pen.down, wans.join(", ")));
    }
    lines.push(pen.top(&format!("{} host ", pen.across), width));
    lines.push(pen.bottom(width).chars().enumerate().map(|(at, c)| if at == 1 { pen.tees[2] } else { c }).collect());
    lines
}

/// The rows of each VPC's box, as wide as given at most where words are short enough.
fn content(network: &Network, pen: &Pen, width: usize) -> Vec<Vec<Row>> {
    network.vpcs.iter().map(|vpc| vpc_rows(vpc, pen, width)).collect()
}

fn vpc_rows(vpc: &VpcBox, pen: &Pen, width: usize) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut has_uplink = false;
    for way in &vpc.ways {
        // One cable leads to the host, whatever it is for.
        let is_second = has_uplink && way.to == To::Host;
        has_uplink |= matches!(way.to, To::Internet(_));
        let mut to = Some(way.to.clone()).filter(|_| !is_second);
        let lines =
            way.words.iter().flat_map(|words| wrapped(words.split(' ').map(str::to_owned).collect(), " ", width));
        rows.extend(lines.map(|text| Row { text, to: to.take() }));
    }
    rows.extend(subnets(vpc, pen, width).into_iter().map(|text| Row { text, to: None }));
    rows
}

/// The subnets' boxes, all as wide as the widest.
fn subnets(vpc: &VpcBox, pen: &Pen, width: usize) -> Vec<String> {
    let boxes = vpc.subnets.iter().map(|subnet| (format!("{} {}  {} ", pen.across, subnet.name, subnet.cidr), subnet));
    let boxes: Vec<(String, Vec<String>)> =
        boxes.map(|(head, subnet)| (head, subnet_rows(subnet, pen, width.saturating_sub(SIDES)))).collect();
    let heads = boxes.iter().map(|(head, _)| head.chars().count());
    let inner = boxes.iter().flat_map(|(_, rows)| rows).map(|row| row.chars().count()).chain(heads).max().unwrap_or(0);
    let down = pen.down;
    let lines = boxes.into_iter().flat_map(|(head, rows)| {
        let rows = rows.into_iter().map(move |row| format!("{down} {row:inner$} {down}"));
        std::iter::once(pen.top(&head, inner + SIDES)).chain(rows).chain([pen.bottom(inner + SIDES)])
    });
    lines.collect()
}

fn subnet_rows(subnet: &SubnetBox, pen: &Pen, width: usize) -> Vec<String> {
    let policy = subnet.policy.map(Rules::words);
    let mut rows = wrapped([subnet.kind_words()].into_iter().chain(policy).collect(), "; ", width);
    let longest = |names: &[&str]| names.iter().map(|name| name.len()).max().unwrap_or(0);
    let names: Vec<&str> = subnet.instances.iter().map(|instance| instance.name.as_str()).collect();
    let column = longest(&names).min(width / 3);
    for instance in &subnet.instances {
        let mut items: Vec<String> = instance.lines().into_iter().map(|item| item.replace('…', pen.more)).collect();
        items[0] = format!("{:column$}", items[0]);
        rows.extend(wrapped(items, "  ", width));
    }
    rows
}

/// Items in lines of a width, those that go on set in.
fn wrapped(items: Vec<String>, between: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for item in items {
        match lines.last_mut() {
            Some(line) if line.chars().count() + between.len() + item.chars().count() <= width => {
                line.push_str(between);
                line.push_str(&item);
            }
            Some(_) => lines.push(format!("    {item}")),
            None => lines.push(item),
        }
    }
    lines
}

/// The peerings' lines; rows are counted with those of the boxes' edges.
fn joints(network: &Network, boxes: &[Vec<Row>]) -> Vec<Joint> {
    let mut rows: BTreeMap<(&VpcName, &VpcName), usize> = BTreeMap::new();
    let mut at = 0;
    for (vpc, content) in network.vpcs.iter().zip(boxes) {
        for (index, row) in content.iter().enumerate() {
            if let Some(To::Peer(peer)) = &row.to {
                rows.insert((&vpc.name, peer), at + 1 + index);
            }
        }
        at += content.len() + 2;
    }
    let mut lanes: Vec<usize> = Vec::new();
    let mut joints: Vec<Joint> = Vec::new();
    let ends = network.peerings.iter().filter_map(|peered| {
        let [a, b] = &peered.ends;
        Some(([*rows.get(&(a, b))?, *rows.get(&(b, a))?], peered.enters))
    });
    let mut ends: Vec<([usize; 2], [bool; 2])> = ends.collect();
    ends.sort_unstable();
    for (rows, enters) in ends {
        // A lane is free below the last line in it.
        let free = lanes.iter().position(|last| *last < rows[0]).unwrap_or(lanes.len());
        if free == lanes.len() {
            lanes.push(0);
        }
        lanes[free] = rows[1];
        joints.push(Joint { rows, enters, lane: free });
    }
    joints
}

fn push_joints(pen: &Pen, lines: &mut [String], joints: &[Joint], lanes: usize) {
    let mut beside = vec![vec![' '; 2 * lanes + 1]; lines.len()];
    for Joint { rows: [first, last], lane, .. } in joints {
        let column = 2 * lane + 2;
        (first + 1..*last).for_each(|row| beside[row][column] = pen.down);
        (beside[*first][column], beside[*last][column]) = (pen.corners[1], pen.corners[3]);
    }
    for Joint { rows, enters, lane } in joints {
        for (row, is_entered) in rows.iter().zip(enters) {
            for mark in &mut beside[*row][..2 * lane + 2] {
                *mark = if *mark == pen.down { pen.cross } else { pen.across };
            }
            if *is_entered {
                beside[*row][0] = pen.arrow;
            }
        }
    }
    for (line, beside) in lines.iter_mut().zip(beside) {
        line.extend(beside);
    }
}

impl Pen {
    fn top(&self, head: &str, width: usize) -> String {
        let rest = width.saturating_sub(2 + head.chars().count());
        format!("{}{head}{}{}", self.corners[0], self.line(rest), self.corners[1])
    }

    fn bottom(&self, width: usize) -> String {
        format!("{}{}{}", self.corners[2], self.line(width.saturating_sub(2)), self.corners[3])
    }

    fn line(&self, length: usize) -> String {
        std::iter::repeat_n(self.across, length).collect()
    }
}
