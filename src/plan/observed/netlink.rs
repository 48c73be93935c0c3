//! The same as what `ip` and `bridge` print, from the kernel's own messages. What isn't among what vpcctl makes in a namespace
//! need not be understood here: where there is such a thing, the tools are asked.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use netlink_packet_route::RouteNetlinkMessage as Message;
use netlink_packet_route::address::{AddressAttribute, AddressMessage};
use netlink_packet_route::link::{
    InfoBridgePort, InfoPortData, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, Prop,
};
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage};
use netlink_packet_route::route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage};
use netlink_packet_route::{AddressFamily, route};

use super::{Questions, Seen, SeenLink, SeenRoute, SeenRule};

/// The number of `lo` in every namespace: `LOOPBACK_IFINDEX` of `net/flow.h`.
const LOOPBACK: u32 = 1;

/// What asks for the one link that bears a namespace's mark.
pub fn loopback() -> Message {
    let mut lo = without_stats();
    lo.header.index = LOOPBACK;
    Message::GetLink(lo)
}

/// A question for links, but not for what they have counted.
fn without_stats() -> LinkMessage {
    let mut links = LinkMessage::default();
    links.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    links
}

/// What asks for the lists that answer the questions, no matter in what order.
pub fn requests(questions: &Questions) -> Vec<Message> {
    let mut addresses = AddressMessage::default();
    addresses.header.family = AddressFamily::Inet;
    let mut routes = RouteMessage::default();
    routes.header.address_family = AddressFamily::Inet;
    let neighbours = |family| {
        let mut neighbours = NeighbourMessage::default();
        neighbours.header.family = family;
        Message::GetNeighbour(neighbours)
    };
    let mut rules = RuleMessage::default();
    rules.header.family = AddressFamily::Inet;
    let of_all = [Message::GetAddress(addresses), Message::GetRoute(routes)].into_iter().filter(|_| questions.ip);
    let of_router = [neighbours(AddressFamily::Inet), Message::GetRule(rules)];
    let of_router = of_router.into_iter().filter(|_| questions.routing);
    std::iter::once(Message::GetLink(without_stats()))
        .chain(of_all)
        .chain(of_router)
        .chain(questions.fdb.then(|| neighbours(AddressFamily::Bridge)))
        .collect()
}

impl Seen {
    /// Reads the answers to [`requests`]; nothing where there is something among them that only the tools can say.
    pub fn of_messages(messages: &[Message]) -> Option<Seen> {
        let mut names = BTreeMap::new();
        for message in messages {
            if let Message::NewLink(link) = message {
                names.insert(link.header.index, name_of(link)?);
            }
        }
        let mut seen = Seen::default();
        for message in messages {
            match message {
                Message::NewLink(message) => drop(seen.links.insert(name_of(message)?, link(message, &names)?)),
                Message::NewAddress(message) => drop(seen.addresses.insert(address(message, &names)?)),
                Message::NewRoute(message) => seen.routes.extend(route(message, &names)?),
                Message::NewRule(message) => seen.rules.push(rule(message)?),
                Message::NewNeighbour(message) if message.header.family == AddressFamily::Bridge => {
                    seen.fdb.extend(forwarding_entry(message, &names)?);
                }
                Message::NewNeighbour(message) => seen.neighbours.extend(neighbour(message, &names)?),
                _ => return None,
            }
        }
        Some(seen)
    }
}

type Names = BTreeMap<u32, String>;

fn name_of(link: &LinkMessage) -> Option<String> {
    link.attributes.iter().find_map(|attribute| match attribute {
        LinkAttribute::IfName(name) => Some(name.clone()),
        _ => None,
    })
}

fn link(message: &LinkMessage, names: &Names) -> Option<SeenLink> {
    let mut seen = SeenLink { up: message.header.flags.contains(LinkFlags::Up), ..SeenLink::default() };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::Mtu(mtu) => seen.mtu = *mtu,
            LinkAttribute::Address(bytes) => seen.mac = mac(bytes),
            LinkAttribute::IfAlias(alias) => seen.alias.clone_from(alias),
            LinkAttribute::Group(0) => seen.group = "default".into(),
            LinkAttribute::Group(group) => seen.group = group.to_string(),
            LinkAttribute::Controller(index) => seen.master = Some(names.get(index)?.clone()),
            LinkAttribute::PropList(props) => seen.altnames.extend(props.iter().filter_map(altname)),
            LinkAttribute::LinkInfo(infos) => {
                for info in infos {
                    match info {
                        LinkInfo::Kind(kind) => seen.kind = kind.to_string(),
                        LinkInfo::PortData(InfoPortData::BridgePort(port)) => seen.guarded = is_guarded(port),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Some(seen)
}

fn altname(prop: &Prop) -> Option<String> {
    if let Prop::AltIfName(name) = prop { Some(name.clone()) } else { None }
}

/// Isolated, locked, not learning, not flooded?
fn is_guarded(port: &[InfoBridgePort]) -> bool {
    let has = |wanted: InfoBridgePort| port.contains(&wanted);
    has(InfoBridgePort::Isolated(true))
        && has(InfoBridgePort::Locked(true))
        && has(InfoBridgePort::Learning(false))
        && has(InfoBridgePort::UnicastFlood(false))
        && has(InfoBridgePort::MulticastFlood(false))
        && has(InfoBridgePort::BroadcastFlood(false))
}

fn address(message: &AddressMessage, names: &Names) -> Option<(String, Ipv4Addr, u8)> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(std::net::IpAddr::V4(address)) => Some(*address),
        _ => None,
    });
    Some((names.get(&message.header.index)?.clone(), local?, message.header.prefix_len))
}

/// The route, as `ip -d` prints it; nothing for one that the kernel only remembers.
fn route(message: &RouteMessage, names: &Names) -> Option<Option<SeenRoute>> {
    let RouteHeader { destination_prefix_length, tos, table, protocol, kind, flags, .. } = message.header;
    if flags.contains(route::RouteFlags::Cloned) {
        return Some(None);
    }
    if tos != 0 || message.header.source_prefix_length != 0 {
        return None;
    }
    let mut seen = SeenRoute {
        dst: "default".into(),
        kind: Some(kind_name(kind)?.into()),
        gateway: None,
        dev: None,
        prefsrc: None,
        protocol: Some(protocol_name(protocol)),
        table: Some(table_name(table.into())),
        metric: None,
        tos: None,
        nexthops: Vec::new(),
    };
    let text = |address: &RouteAddress| match address {
        RouteAddress::Inet(address) => Some(address.to_string()),
        _ => None,
    };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Destination(to) if destination_prefix_length == 32 => seen.dst = text(to)?,
            RouteAttribute::Destination(to) => seen.dst = format!("{}/{destination_prefix_length}", text(to)?),
            RouteAttribute::Gateway(gateway) => seen.gateway = Some(text(gateway)?),
            RouteAttribute::PrefSource(source) => seen.prefsrc = Some(text(source)?),
            RouteAttribute::Oif(index) => seen.dev = Some(names.get(index)?.clone()),
            RouteAttribute::Priority(metric) => seen.metric = Some(*metric),
            RouteAttribute::Table(table) => seen.table = Some(table_name(*table)),
            RouteAttribute::CacheInfo(_) | RouteAttribute::Metrics(_) => {}
            _ => return None,
        }
    }
    Some(Some(seen))
}

fn kind_name(kind: RouteType) -> Option<&'static str> {
    match kind {
        RouteType::Unicast => Some("unicast"),
        RouteType::Local => Some("local"),
        RouteType::Broadcast => Some("broadcast"),
        RouteType::Unreachable => Some("unreachable"),
        RouteType::BlackHole => Some("blackhole"),
        RouteType::Prohibit => Some("prohibit"),
        RouteType::Throw => Some("throw"),
        _ => None,
    }
}

/// The kernel's own routes are told from others by the name, vpcctl's by their number.
fn protocol_name(protocol: RouteProtocol) -> String {
    if protocol == RouteProtocol::Kernel { "kernel".into() } else { u8::from(protocol).to_string() }
}

fn table_name(table: u32) -> String {
    match table {
        255 => "local".into(),
        254 => "main".into(),
        253 => "default".into(),
        number => number.to_string(),
    }
}

/// A rule that asks for nothing but an order.
fn rule(message: &RuleMessage) -> Option<SeenRule> {
    let header = &message.header;
    let is_plain = header.src_len == 0
        && header.dst_len == 0
        && header.tos == 0
        && header.action == RuleAction::ToTable
        && !header.flags.contains(RuleFlags::Invert);
    let rest = BTreeMap::from([("src".to_owned(), "all".into())]);
    let mut seen = SeenRule { priority: 0, iif: String::new(), table: table_name(header.table.into()), rest };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(priority) => seen.priority = *priority,
            RuleAttribute::Table(table) => seen.table = table_name(*table),
            RuleAttribute::Protocol(_) | RuleAttribute::SuppressPrefixLen(u32::MAX) => {}
            _ => return None,
        }
    }
    is_plain.then_some(seen)
}

/// Device, address and MAC of a permanent neighbour.
fn neighbour(message: &NeighbourMessage, names: &Names) -> Option<Option<((String, String), String)>> {
    let is_lasting = has_state(message, NUD_PERMANENT) || message.header.flags.contains(NeighbourFlags::ExtLearned);
    if !is_lasting || message.header.flags.contains(NeighbourFlags::Proxy) {
        return Some(None);
    }
    let NeighbourAddress::Inet(address) = destination(message)? else {
        return None;
    };
    let device = names.get(&message.header.ifindex)?.clone();
    Some(Some(((device, address.to_string()), link_address(message).unwrap_or_default())))
}

fn destination(message: &NeighbourMessage) -> Option<&NeighbourAddress> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::Destination(address) => Some(address),
        _ => None,
    })
}

/// Device and MAC of a bridge's static entry.
fn forwarding_entry(message: &NeighbourMessage, names: &Names) -> Option<Option<(String, String)>> {
    let is_of_bridge =
        message.attributes.iter().any(|attribute| matches!(attribute, NeighbourAttribute::Controller(_)));
    let is_static = has_state(message, NUD_NOARP) && !has_state(message, NUD_PERMANENT);
    if !is_of_bridge || !is_static {
        return Some(None);
    }
    let device = names.get(&message.header.ifindex)?.clone();
    Some(Some((device, link_address(message)?)))
}

/// States of neighbours and forwarding entries, from `linux/neighbour.h`.
const NUD_NOARP: u16 = 0x40;
const NUD_PERMANENT: u16 = 0x80;

fn has_state(message: &NeighbourMessage, state: u16) -> bool {
    u16::from(message.header.state) & state != 0
}

fn link_address(message: &NeighbourMessage) -> Option<String> {
    message.attributes.iter().find_map(|attribute| match attribute {
        NeighbourAttribute::LinkLayerAddress(bytes) => Some(mac(bytes)),
        _ => None,
    })
}

fn mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
