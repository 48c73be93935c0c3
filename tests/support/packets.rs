//! What is tried with virtual packets, and compared with the oracle.

use std::net::Ipv4Addr;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use vpcctl::model::kernel_names as names;
use vpcctl::model::policy::Traffic;
use vpcctl::model::state::State;
use vpcctl::plan::line::Place;
use vpcctl::plan::trace::net::Machine;
use vpcctl::plan::trace::packet::{Packet, Tracked};
use vpcctl::plan::trace::walk::{End, Walk};

use crate::kernel::{HOST, Kernel};
use crate::oracle::{self, Guest, HOST_ADDRESSES, OUTSIDE, Wanted, guests};
use crate::trace::{machine, place};

const KINDS: [Traffic; 4] = [Traffic::Tcp(80), Traffic::Tcp(22), Traffic::Udp(53), Traffic::Icmp];

/// Whether the host's rules are as vpcctl made them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum HostRules {
    Standing,
    Flushed,
}

/// Every packet is judged by the rules, as if its connection were not remembered.
fn walk(machine: &Machine) -> Walk<'_> {
    Walk::forgetful(machine)
}

fn opening(traffic: Traffic, src: Ipv4Addr, dst: Ipv4Addr) -> Packet {
    Packet::opening(traffic, src, dst)
}

fn reached(end: &End) -> Wanted {
    match end {
        End::Reached(place, _) => Wanted::Reaches(place.to_string()),
        End::Left(device, _) => Wanted::Leaves(device.clone()),
        End::Lost(..) => Wanted::Closed,
    }
}

/// The answer comes back to who asked, from where it was sent to.
fn answered(mut trace: Walk<'_>, from: &Place, asked: &Packet, end: &End) -> TestCaseResult {
    let answer = match end {
        End::Reached(place, packet) => trace.send(place, packet.answer()),
        End::Left(device, packet) => trace.arrive(&Place::Host, device, packet.answer()),
        End::Lost(..) => return Ok(()),
    };
    let End::Reached(place, packet) = &answer else {
        return Err(TestCaseError::fail(format!("the answer to {asked:?} is lost: {answer:?}")));
    };
    prop_assert_eq!((place, packet.src, packet.dst), (from, asked.dst, asked.src));
    Ok(())
}

fn try_from_guest(machine: &Machine, state: &State, from: &Guest<'_>, dst: Ipv4Addr) -> TestCaseResult {
    for traffic in KINDS {
        let packet = opening(traffic, from.address, dst);
        let mut trace = walk(machine);
        let end = trace.send(&place(&from.place()), packet.clone());
        let wanted = oracle::from_guest(state, from, traffic, dst);
        prop_assert_eq!(reached(&end), wanted, "{:?} from {}: {:?}", packet, from.place(), end);
        if let End::Left(_, gone) = &end {
            prop_assert!(HOST_ADDRESSES.contains(&gone.src), "inside source: {gone:?}");
        }
        // A packet that comes later on the connection meets the same rules: a deny holds for what is open.
        let later =
            walk(machine).send(&place(&from.place()), Packet { tracked: Tracked::Established, ..packet.clone() });
        prop_assert!(matches!(end, End::Left(..)) || reached(&later) == reached(&end), "{:?}: {:?}", packet, later);
        answered(trace, &place(&from.place()), &packet, &end)?;
    }
    Ok(())
}

/// Every instance, every kind of traffic, every address.
pub fn instances_reach_what_they_may(kernel: &Kernel, state: &State) -> TestCaseResult {
    let machine = machine(kernel);
    for from in guests(state) {
        for dst in oracle::addresses(state).into_iter().filter(|dst| *dst != from.address) {
            try_from_guest(&machine, state, &from, dst)?;
        }
    }
    Ok(())
}

/// The host, every kind of traffic, every address of a VPC.
pub fn the_host_reaches_what_it_may(kernel: &Kernel, state: &State) -> TestCaseResult {
    let machine = machine(kernel);
    // Its own addresses are its own, whatever VPC has them too.
    let is_own = |dst: &Ipv4Addr| HOST_ADDRESSES.contains(dst);
    let vpcs = |dst: &Ipv4Addr| state.vpcs.values().any(|vpc| vpc.cidr.contains(*dst)) && !is_own(dst);
    for dst in oracle::addresses(state).into_iter().filter(vpcs) {
        for traffic in KINDS {
            let packet = opening(traffic, oracle::host_source(state, dst), dst);
            let mut trace = walk(&machine);
            let end = trace.send(&Place::Host, packet.clone());
            match oracle::from_host(state, traffic, dst) {
                Some(wanted) => prop_assert_eq!(reached(&end), wanted, "{:?}: {:?}", packet, end),
                None => prop_assert!(!matches!(end, End::Reached(..)), "{packet:?}: {end:?}"),
            }
            answered_if_reached(trace, &packet, &end)?;
            // From an address of the host that isn't the uplink's nothing enters.
            let other = opening(traffic, HOST_ADDRESSES[0], dst);
            let end = walk(&machine).send(&Place::Host, other);
            prop_assert!(!matches!(end, End::Reached(..)), "from another address of the host: {end:?}");
        }
    }
    Ok(())
}

fn answered_if_reached(trace: Walk<'_>, packet: &Packet, end: &End) -> TestCaseResult {
    if matches!(end, End::Reached(..)) { answered(trace, &Place::Host, packet, end) } else { Ok(()) }
}

/// A neighbour of the host, with its own address or with one of ours, gets nowhere but to the host itself; and no further
/// than there, while the host's rules stand.
pub fn nobody_enters_from_outside(kernel: &Kernel, state: &State, rules: HostRules) -> TestCaseResult {
    let machine = machine(kernel);
    let links: Vec<Ipv4Addr> = state.links().into_iter().map(|link| link.first()).collect();
    for (neighbour, device) in OUTSIDE {
        for src in links.iter().copied().chain([neighbour.parse().unwrap()]) {
            for dst in oracle::addresses(state) {
                let end = walk(&machine).arrive(&Place::Host, device, opening(Traffic::Tcp(80), src, dst));
                let harmless = match &end {
                    End::Lost(at) => rules == HostRules::Flushed || *at == Place::Host,
                    // A host that was no router before is none now.
                    End::Left(..) => was_router(kernel, state, device),
                    End::Reached(at, _) => *at == Place::Host,
                };
                prop_assert!(harmless, "{src} to {dst} by {device}: {end:?}");
            }
        }
    }
    Ok(())
}

fn was_router(kernel: &Kernel, state: &State, device: &str) -> bool {
    let switched_on = state.host.wans.get(&device.parse().unwrap()).is_some_and(|wan| !wan.forwarding_before);
    !switched_on || kernel.setting(HOST, "net/ipv4/ip_forward").as_deref() == Some("1")
}

/// Who sends with an address or a MAC address that isn't its own gets no further than its router.
pub fn stolen_addresses_get_nowhere(kernel: &Kernel, state: &State) -> TestCaseResult {
    let machine = machine(kernel);
    let all = guests(state);
    for thief in &all {
        let open = Guest { policy: None, ..*thief };
        for src in oracle::addresses(state).into_iter().filter(|src| *src != open.address) {
            for victim in all.iter().filter(|victim| victim.address != thief.address) {
                let packet = opening(Traffic::Tcp(80), src, victim.address);
                for mac in [names::mac(thief.address), names::mac(src)] {
                    let end =
                        walk(&machine).send(&place(&thief.place()), Packet { mac: mac.to_string(), ..packet.clone() });
                    prop_assert!(matches!(&end, End::Lost(..)), "{} as {src}: {end:?}", thief.place());
                }
            }
        }
        let packet = opening(Traffic::Tcp(80), thief.address, "203.0.113.9".parse().unwrap());
        let end = walk(&machine).send(&place(&thief.place()), Packet { mac: "0a:58:01:02:03:04".into(), ..packet });
        prop_assert!(matches!(&end, End::Lost(..)), "{} with another MAC: {end:?}", thief.place());
    }
    Ok(())
}

/// What comes by a peering from anybody but the peer, or goes to anybody but this VPC, is dropped there and then.
pub fn peers_carry_nobody_else(kernel: &Kernel, state: &State) -> TestCaseResult {
    let machine = machine(kernel);
    for peering in &state.peerings {
        for (here, there) in [(&peering.a, &peering.b), (&peering.b, &peering.a)] {
            let (router, device) = (names::router(here).to_string(), names::peer(there).to_string());
            let (own, remote) = (state.vpcs[here].cidr, state.vpcs[there].cidr);
            for src in oracle::addresses(state) {
                for dst in oracle::addresses(state) {
                    if remote.contains(src) && own.contains(dst) {
                        continue;
                    }
                    let packet = opening(Traffic::Tcp(80), src, dst);
                    let end = walk(&machine).arrive(&place(&router), &device, packet);
                    prop_assert!(
                        matches!(&end, End::Lost(at) if *at == place(&router)),
                        "{src} to {dst} by {device}: {end:?}"
                    );
                }
            }
        }
    }
    Ok(())
}

/// INVALID passes neither an instance's rules nor a router's.
pub fn what_belongs_to_no_connection_is_dropped(kernel: &Kernel, state: &State) -> TestCaseResult {
    let machine = machine(kernel);
    for from in guests(state) {
        for dst in oracle::addresses(state).into_iter().filter(|dst| *dst != from.address) {
            let packet = Packet { tracked: Tracked::Invalid, ..opening(Traffic::Tcp(80), from.address, dst) };
            let end = walk(&machine).send(&place(&from.place()), packet.clone());
            prop_assert_eq!(&end_place(&end), &from.place(), "{:?}", end);
            let (bridge, mac) = (names::bridge(from.vpc_name), names::mac(from.address));
            let end = walk(&machine).arrive(
                &place(&from.router()),
                bridge.as_str(),
                Packet { mac: mac.to_string(), ..packet },
            );
            prop_assert!(matches!(&end, End::Lost(at) if *at == place(&from.router())), "{end:?}");
        }
    }
    Ok(())
}

fn end_place(end: &End) -> String {
    match end {
        End::Lost(place) => place.to_string(),
        other => format!("{other:?}"),
    }
}

/// Without a peering no instance reaches another VPC, whatever the host lets through.
pub fn vpcs_are_closed_to_each_other(kernel: &Kernel, state: &State) -> TestCaseResult {
    let machine = machine(kernel);
    for from in guests(state) {
        let peers: Vec<_> = state.peerings_of(from.vpc_name).map(|peering| peering.other(from.vpc_name)).collect();
        for to in guests(state).iter().filter(|to| to.vpc_name != from.vpc_name && !peers.contains(&to.vpc_name)) {
            let end = walk(&machine).send(&place(&from.place()), opening(Traffic::Tcp(80), from.address, to.address));
            let got_there = matches!(&end, End::Reached(at, _) if *at == place(&to.place()));
            prop_assert!(!got_there, "{} to {}: {end:?}", from.place(), to.place());
        }
    }
    Ok(())
}

/// `iptables -F` in every table of every router; policies stay.
pub fn flush_routers(kernel: &mut Kernel, state: &State) {
    for name in state.vpcs.keys() {
        let net = kernel.places.get_mut(names::router(name).as_str()).unwrap();
        let chains = net.netfilter.tables.values_mut().flat_map(|table| table.values_mut());
        chains.for_each(|chain| chain.rules.clear());
    }
}

/// Not even within a VPC.
pub fn nothing_passes_a_router(kernel: &Kernel, state: &State) -> TestCaseResult {
    let machine = machine(kernel);
    for from in guests(state) {
        for dst in oracle::addresses(state).into_iter().filter(|dst| *dst != from.address) {
            let end = walk(&machine).send(&place(&from.place()), opening(Traffic::Icmp, from.address, dst));
            prop_assert!(matches!(&end, End::Lost(..)), "{} to {dst}: {end:?}", from.place());
        }
    }
    Ok(())
}
