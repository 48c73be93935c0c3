//! What `watch` makes of what the kernel tells: names, lines, a screen that stays as small as it is.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

use std::net::{IpAddr, Ipv4Addr};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_netfilter::conntrack::{ConntrackAttribute, ConntrackMessage, IPTuple, ProtoTuple, Tuple};
use netlink_packet_netfilter::{NetfilterHeader, NetfilterMessage, NetfilterProtoFamily};
use vpcctl::model::owner::Owner;
use vpcctl::model::state::State;
use vpcctl::plan::flow::{self, Change, Connection, Directory, Way};
use vpcctl::store::Document;
use vpcctl::view::watch::{Event, Flow, Screen};

fn state() -> State {
    serde_json::from_str::<Document>(include_str!("support/state.json")).unwrap().network
}

fn address(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn way(source: &str, destination: &str, ports: Option<(u16, u16)>) -> Way {
    Way {
        source: address(source),
        destination: address(destination),
        protocol: if ports.is_some() { 6 } else { 1 },
        ports,
    }
}

/// A TCP connection to port 80; its replies go to this address.
fn connection(source: &str, destination: &str, replies_to: &str) -> Connection {
    let reply = way(destination, replies_to, Some((80, 40000)));
    Connection { original: way(source, destination, Some((40000, 80))), reply }
}

fn tuple(way: &Way) -> Vec<Tuple> {
    let (from, to) = way.ports.unwrap();
    vec![
        Tuple::Ip(vec![
            IPTuple::SourceAddress(IpAddr::V4(way.source)),
            IPTuple::DestinationAddress(IpAddr::V4(way.destination)),
        ]),
        Tuple::Proto(vec![
            ProtoTuple::Protocol(way.protocol.into()),
            ProtoTuple::SourcePort(from),
            ProtoTuple::DestinationPort(to),
        ]),
    ]
}

fn message(inner: fn(Vec<ConntrackAttribute>) -> ConntrackMessage, flags: u16) -> NetlinkMessage<NetfilterMessage> {
    let known = connection("10.0.1.2", "203.0.113.10", "198.19.0.1");
    let attributes = vec![
        ConntrackAttribute::CtaTupleOrig(tuple(&known.original)),
        ConntrackAttribute::CtaTupleReply(tuple(&known.reply)),
    ];
    let mut header = NetlinkHeader::default();
    header.flags = flags;
    let inner = NetfilterMessage::new(NetfilterHeader::new(NetfilterProtoFamily::IPv4, 0, 0), inner(attributes));
    NetlinkMessage::new(header, NetlinkPayload::InnerMessage(inner))
}

#[test]
fn the_kernel_tells_of_what_comes_and_goes_and_of_more_that_is_left_out() {
    let known = connection("10.0.1.2", "203.0.113.10", "198.19.0.1");
    assert_eq!(flow::event(message(ConntrackMessage::New, NLM_F_CREATE | NLM_F_EXCL)), Some((Change::New, known)));
    assert_eq!(flow::event(message(ConntrackMessage::Delete, 0)), Some((Change::End, known)));
    assert_eq!(flow::event(message(ConntrackMessage::New, 0)), None, "a change of one that is there");
    let NetlinkPayload::InnerMessage(listed) = message(ConntrackMessage::New, 0).payload else { panic!() };
    assert_eq!(flow::listed(&listed), Some(known));
    // It reads back from the bytes that the kernel would send.
    let mut sent = message(ConntrackMessage::Delete, 0);
    sent.finalize();
    let mut bytes = vec![0; sent.buffer_len()];
    sent.serialize(&mut bytes);
    assert_eq!(flow::event(NetlinkMessage::deserialize(&bytes).unwrap()), Some((Change::End, known)));
}

#[test]
fn addresses_have_names_in_the_eyes_of_a_router() {
    let state = state();
    let names = |vpc: &str, addresses: &[&str]| -> Vec<String> {
        let directory = Directory::new(&state, &vpc.parse().unwrap());
        addresses.iter().map(|text| directory.party(address(text)).name()).collect()
    };
    let seen = names("vpc1", &["10.0.1.2", "10.0.2.2", "10.0.1.1", "198.19.0.0", "198.19.0.1", "203.0.113.10"]);
    assert_eq!(seen, ["vpc1/public", "vpc1/private", "vpc1 router", "host", "vpc1 router", "outside"]);
    let vpc2 = state.vpcs.get(&"vpc2".parse().unwrap()).unwrap();
    let (name, subnet) = vpc2.subnets.iter().next().unwrap();
    let peer = names("vpc1", &[&subnet.first_address().to_string()]);
    let is_peered = state.peerings.iter().any(|peering| peering.b.as_str() == "vpc2");
    assert_eq!(peer, [if is_peered { format!("vpc2/{name}") } else { "outside".into() }]);
}

fn flow_of(connection: &Connection) -> Flow {
    let vpc = "vpc1".parse().unwrap();
    Flow::new(&vpc, connection, &Directory::new(&state(), &vpc))
}

#[test]
fn an_event_is_a_line() {
    let time = 1_700_000_000;
    let out = flow_of(&connection("10.0.1.2", "203.0.113.10", "198.19.0.1"));
    let line = "22:13:20  new   tcp   vpc1/public 10.0.1.2:40000 -> outside 203.0.113.10:80  NAT";
    assert_eq!(Event::flow(time, Change::New, out).to_string(), line);
    let ping = Connection { original: way("198.19.0.0", "10.0.2.2", None), reply: way("10.0.2.2", "198.19.0.0", None) };
    let line = "22:13:20  end   icmp  host 198.19.0.0 -> vpc1/private 10.0.2.2";
    assert_eq!(Event::flow(time, Change::End, flow_of(&ping)).to_string(), line);
    let router = Owner::Vpc("vpc1".parse().unwrap());
    let drop = Event::drop(time, &router, "VPCCTL-FORWARD", "all else is refused at once".into(), 3);
    assert_eq!(
        drop.to_string(),
        "22:13:20  drop  vpc1 router  3 packets: all else is refused at once (VPCCTL-FORWARD)"
    );
}

#[test]
fn a_screen_counts_what_is_open_and_stays_within_its_bounds() {
    let state = state();
    let vpc: vpcctl::model::name::VpcName = "vpc1".parse().unwrap();
    let instances = || {
        state.vpcs[&vpc].subnets.iter().flat_map(|(name, subnet)| {
            subnet.all_instances().map(|(instance, address, _)| (Owner::instance(&vpc, name, instance), address))
        })
    };
    let mut screen = Screen::default();
    screen.keep(instances());
    let event = |change| Event::flow(0, change, flow_of(&connection("10.0.2.2", "10.0.1.2", "10.0.2.2")));
    (0..3).for_each(|_| screen.tell(&event(Change::New)));
    screen.tell(&event(Change::End));
    let row = |drawn: &str, name: &str| -> Vec<String> {
        let drawn = anstream::adapter::strip_str(drawn).to_string();
        let row = drawn.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_default().to_owned();
        row.split_whitespace().skip(2).map(str::to_owned).collect()
    };
    let drawn = screen.draw(0, (100, 30));
    assert_eq!(
        (row(&drawn, "vpc1/private"), row(&drawn, "vpc1/public")),
        (vec_of("2 3 0 0"), vec_of("2 0 3 0")),
        "{drawn}"
    );
    screen.dropped(&Owner::Subnet(vpc.clone(), "public".parse().unwrap()), 7);
    assert_eq!(row(&screen.draw(0, (100, 30)), "vpc1/public"), vec_of("2 0 0 7"), "what was new is no more");
    for number in 0..5000 {
        let owner = Owner::Vpc(format!("v{number}").parse().unwrap());
        screen.tell(&Event::drop(
            0,
            &owner,
            "VPCCTL-FORWARD",
            format!("rule {number}, {}", "which says a lot ".repeat(5)),
            number,
        ));
        let drawn = screen.draw(0, (60, 20));
        assert!(drawn.lines().count() <= 20, "{drawn}");
        let shown = anstream::adapter::strip_str(&drawn).to_string();
        assert!(shown.lines().all(|line| line.chars().count() <= 60), "{shown}");
    }
    assert!(format!("{screen:?}").len() < 64 * 1024, "what is over is forgotten");
    assert!(screen.draw(0, (60, 20)).contains("rule 4999"), "the most is shown");
}

fn vec_of(words: &str) -> Vec<String> {
    words.split(' ').map(str::to_owned).collect()
}
