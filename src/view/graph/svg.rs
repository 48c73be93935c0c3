//! The network as an SVG: one file with all that it needs, light or dark as the viewer is.

use svg::Node;
use svg::node::Text;
use svg::node::element::{Element, SVG};

use crate::model::state::SubnetType;
use crate::view::graph::layout::{CARD_LINE, PAD, Placed, PlacedSubnet, ROW, Rect, Sheet, mark_width, text_width};
use crate::view::graph::lines::{Kind, Line};
use crate::view::graph::{InstanceBox, Network};

/// The colours, for both kinds of viewers, and the faces. Only typewriter faces: their widths are known.
const STYLE: &str = "
svg { --back: #ffffff; --ink: #1f2328; --dim: #59636e; --box: #f6f8fa; --edge: #818b98; --card: #ffffff; --panel: #eaeef2;
  --public: #1a7f37; --public-back: #eaf7ee; --private: #9a6700; --private-back: #fdf6e3; --peer: #0969da; --host: #59636e }
@media (prefers-color-scheme: dark) { svg { --back: #0d1117; --ink: #f0f6fc; --dim: #9198a1; --box: #151b23; --edge: #656c76;
  --card: #0d1117; --panel: #212830; --public: #3fb950; --public-back: #12261e; --private: #d29922; --private-back: #272115;
  --peer: #4493f8; --host: #9198a1 } }
text { font: 12px ui-monospace, 'DejaVu Sans Mono', 'Liberation Mono', Menlo, Consolas, monospace; fill: var(--ink) }
.vpc-name { font-size: 15px; font-weight: bold } .name { font-size: 13px; font-weight: bold } .dim { fill: var(--dim) }
.middle { text-anchor: middle } .mark { font-size: 11px }
.back { fill: var(--back) } .vpc { fill: var(--box); stroke: var(--edge); stroke-width: 1.5 } .panel { fill: var(--panel) }
.card { fill: var(--card); stroke: var(--edge) }
.public { fill: var(--public-back); stroke: var(--public); stroke-width: 1.5 }
.private { fill: var(--private-back); stroke: var(--private); stroke-width: 1.5; stroke-dasharray: 6 4 }
.mark-public { fill: var(--public) } .mark-private { fill: var(--private) } .on-mark { fill: var(--back); font-weight: bold }
.shield { fill: none; stroke: var(--ink); stroke-width: 1.4 }
.line { fill: none; stroke-width: 2 } .line-internet { stroke: var(--public) } .line-peering { stroke: var(--peer) }
.line-host { stroke: var(--host); stroke-dasharray: 5 4 }
.arrow-internet { fill: var(--public) } .arrow-peering { fill: var(--peer) } .arrow-host { fill: var(--host) }
.cloud { fill: var(--public-back); stroke: var(--public); stroke-width: 1.5 }
";

/// How round a line's corners are.
const CORNER: i32 = 6;

/// How long and how wide an arrow is.
const ARROW: (i32, i32) = (9, 4);

/// The network as a picture.
pub fn svg(network: &Network) -> String {
    let sheet = Sheet::new(network);
    let (width, height) = sheet.size;
    let mut picture = SVG::new().set("width", width).set("height", height).set("viewBox", (0, 0, width, height));
    picture.assign("role", "img");
    picture.append(tagged("title", &describe(network)));
    picture.append(tagged("style", STYLE));
    picture.append(rect(Rect { x: 0, y: 0, width, height }, "back", 0));
    push_top(&mut picture, &sheet);
    sheet.vpcs.iter().for_each(|vpc| picture.append(vpc_group(vpc)));
    sheet.lines.iter().for_each(|line| push_line(&mut picture, line));
    if network.vpcs.is_empty() {
        picture.append(text((width / 2, height / 2), "no VPCs", "middle dim"));
    }
    format!("{picture}\n")
}

/// The picture in a sentence, for who can't see it.
fn describe(network: &Network) -> String {
    let of = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let subnets = network.vpcs.iter().map(|vpc| vpc.subnets.len()).sum();
    let instances = network.vpcs.iter().flat_map(|vpc| &vpc.subnets).map(|subnet| subnet.instances.len()).sum();
    let parts = [
        of(network.vpcs.len(), "VPC"),
        of(subnets, "subnet"),
        of(instances, "instance"),
        of(network.peerings.len(), "peering"),
    ];
    parts.join(", ")
}

/// The internet and the host.
fn push_top(picture: &mut SVG, sheet: &Sheet<'_>) {
    let Some((host, chips)) = &sheet.host else {
        return;
    };
    for (chip, _) in chips {
        if let Some(internet) = sheet.internet {
            let x = chip.x + chip.width / 2;
            let (middle, below) = (internet.x + internet.width / 2, internet.bottom() + 14);
            let points = if x == middle {
                vec![(x, chip.y), (x, internet.bottom())]
            } else {
                vec![(x, chip.y), (x, below), (middle, below), (middle, internet.bottom())]
            };
            push_line(picture, &Line { kind: Kind::Internet, points, arrows: [false, true] });
        }
    }
    if let Some(internet) = sheet.internet {
        picture.append(rect(internet, "cloud", internet.height / 2));
        picture.append(text((internet.x + internet.width / 2, internet.y + 23), "internet", "name middle"));
    }
    picture.append(rect(*host, "vpc", 8));
    picture.append(text((host.x + PAD, host.y + 29), "host", "name"));
    for (chip, wan) in chips {
        picture.append(rect(*chip, "card", 12));
        picture.append(text((chip.x + chip.width / 2, chip.y + 16), wan.as_str(), "middle"));
    }
}

fn vpc_group(placed: &Placed<'_>) -> Element {
    let Placed { vpc, area, panel, subnets } = placed;
    let mut group = Element::new("g");
    group.append(rect(*area, "vpc", 10));
    group.append(text((area.x + PAD, area.y + 30), vpc.name.as_str(), "vpc-name"));
    let cidr_x = area.x + PAD + text_width(vpc.name.as_str(), 15) + 12;
    group.append(text((cidr_x, area.y + 30), &vpc.cidr.to_string(), "dim"));
    group.append(rect(*panel, "panel", 6));
    for (index, words) in vpc.ways.iter().flat_map(|way| &way.words).enumerate() {
        let indent = if words.starts_with(|c: char| c.is_ascii_digit()) { 2 * PAD } else { PAD };
        group.append(text((panel.x + indent, panel.y + ROW * index as i32 + 16), words, ""));
    }
    subnets.iter().for_each(|subnet| group.append(subnet_group(subnet)));
    group
}

fn subnet_group(placed: &PlacedSubnet<'_>) -> Element {
    let PlacedSubnet { subnet, area, cards, .. } = placed;
    let (class, mark) = match subnet.kind {
        SubnetType::Public => ("public", "mark-public"),
        SubnetType::Private => ("private", "mark-private"),
    };
    let mut group = Element::new("g");
    group.append(rect(*area, class, 8));
    group.append(text((area.x + 10, area.y + 19), subnet.name.as_str(), "name"));
    let cidr_x = area.x + 10 + text_width(subnet.name.as_str(), 13) + 10;
    group.append(text((cidr_x, area.y + 19), &subnet.cidr.to_string(), "dim"));
    let words = subnet.kind_words();
    let badge = Rect { x: area.x + 10, y: area.y + 27, width: mark_width(&words), height: 18 };
    group.append(rect(badge, mark, 9));
    group.append(text((badge.x + 8, badge.y + 13), &words, "mark on-mark"));
    if let Some(policy) = subnet.policy {
        group.append(shield(badge.right() + 10, badge.y + 2));
        group.append(text((badge.right() + 26, badge.y + 13), &policy.words(), "mark"));
    }
    cards.iter().for_each(|(card, instance)| push_card(&mut group, *card, instance));
    group
}

fn push_card(group: &mut Element, area: Rect, instance: &InstanceBox) {
    group.append(rect(area, "card", 5));
    if instance.policy.is_some() {
        group.append(shield(area.right() - 17, area.y + 5));
    }
    for (index, line) in instance.lines().iter().enumerate() {
        let class = ["name", "dim"].get(index).copied().unwrap_or_default();
        group.append(text((area.x + 10, area.y + 17 + CARD_LINE * index as i32), line, class));
    }
}

/// A policy's sign.
fn shield(x: i32, y: i32) -> Element {
    let mut path = Element::new("path");
    path.assign("class", "shield");
    path.assign("d", format!("M{x} {} l5 -2 l5 2 v4 q0 5 -5 7 q-5 -2 -5 -7 z", y + 3));
    path
}

/// A line, round where it turns, with its arrows.
fn push_line(picture: &mut SVG, line: &Line) {
    let Line { kind, points, arrows } = line;
    let name = match kind {
        Kind::Internet => "internet",
        Kind::Host => "host",
        Kind::Peering => "peering",
    };
    let mut path = Element::new("path");
    path.assign("class", format!("line line-{name}"));
    path.assign("d", rounded(points));
    picture.append(path);
    let ends = [(points.first(), points.get(1)), (points.last(), points.iter().rev().nth(1))];
    for (&(end, before), _) in ends.iter().zip(arrows).filter(|(_, has_arrow)| **has_arrow) {
        if let (Some(end), Some(before)) = (end, before) {
            let mut arrow = Element::new("path");
            arrow.assign("class", format!("arrow-{name}"));
            arrow.assign("d", arrow_head(*end, *before));
            picture.append(arrow);
        }
    }
}

fn rounded(points: &[(i32, i32)]) -> String {
    let mut path = points.first().map_or(String::new(), |(x, y)| format!("M{x} {y}"));
    for corner in points.windows(3) {
        let [before, at, after] = [corner[0], corner[1], corner[2]];
        let (start, end) = (towards(at, before, CORNER), towards(at, after, CORNER));
        path += &format!(" L{} {} Q{} {} {} {}", start.0, start.1, at.0, at.1, end.0, end.1);
    }
    points.last().map_or(path.clone(), |(x, y)| format!("{path} L{x} {y}"))
}

/// The point so far from one on the way to another, straight across or up, at most half-way.
fn towards(from: (i32, i32), to: (i32, i32), length: i32) -> (i32, i32) {
    let step = |from: i32, to: i32| (to - from).signum() * length.min((to - from).abs() / 2);
    (from.0 + step(from.0, to.0), from.1 + step(from.1, to.1))
}

fn arrow_head(end: (i32, i32), before: (i32, i32)) -> String {
    let (length, half) = ARROW;
    let (dx, dy) = ((before.0 - end.0).signum(), (before.1 - end.1).signum());
    let back = (end.0 + dx * length, end.1 + dy * length);
    let (one, other) = ((back.0 + dy * half, back.1 + dx * half), (back.0 - dy * half, back.1 - dx * half));
    format!("M{} {} L{} {} L{} {} Z", end.0, end.1, one.0, one.1, other.0, other.1)
}

fn rect(area: Rect, class: &str, radius: i32) -> Element {
    let mut rect = Element::new("rect");
    rect.assign("class", class);
    for (name, value) in [("x", area.x), ("y", area.y), ("width", area.width), ("height", area.height), ("rx", radius)]
    {
        rect.assign(name, value);
    }
    rect
}

fn text((x, y): (i32, i32), content: &str, class: &str) -> Element {
    let mut text = tagged("text", content);
    text.assign("x", x);
    text.assign("y", y);
    if !class.is_empty() {
        text.assign("class", class);
    }
    text
}

/// An element with text, in which what XML can't hold is a mark.
fn tagged(name: &str, content: &str) -> Element {
    let fits = |c: char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}') || c == '\n';
    let content: String = content.chars().map(|c| if fits(c) { c } else { char::REPLACEMENT_CHARACTER }).collect();
    let mut element = Element::new(name);
    element.append(Text::new(content));
    element
}
