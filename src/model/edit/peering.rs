//! Peering VPCs, narrowing what may pass, and ending it.

use std::collections::BTreeSet;

use crate::error::{Failure, Result};
use crate::model::cidr::Cidr;
use crate::model::edit::link;
use crate::model::name::VpcName;
use crate::model::state::{CidrPair, Link, Peering, PeeringScope, State};

/// Connects two VPCs, if they aren't yet.
pub fn peer(state: &mut State, one: &VpcName, other: &VpcName, pool: Cidr) -> Result<()> {
    peer_by(state, (one, other), &mut |state| link::take_link(state, pool, &[]))
}

/// The same, by a link that `choose` gives.
pub(crate) fn peer_by(
    state: &mut State,
    (one, other): (&VpcName, &VpcName),
    choose: &mut dyn FnMut(&State) -> Result<Link>,
) -> Result<()> {
    let (a, b) = ordered(one, other)?;
    let (cidr_a, cidr_b) = (state.vpc(a)?.cidr, state.vpc(b)?.cidr);
    if state.peerings.iter().any(|peering| peering.ends() == (a, b)) {
        return Ok(());
    }
    if cidr_a.overlaps(cidr_b) {
        let message = format!("cannot peer `{a}` and `{b}`: {cidr_a} and {cidr_b} overlap");
        return Err(Failure::conflict(message).hint("peered VPCs need addresses of their own"));
    }
    check_routes(state, a, b)?;
    check_routes(state, b, a)?;
    let link = choose(state)?;
    state.peerings.push(Peering { a: a.clone(), b: b.clone(), link, scope: PeeringScope::Everything });
    state.peerings.sort_by(|x, y| x.ends().cmp(&y.ends()));
    Ok(())
}

/// Disconnects two VPCs.
pub fn unpeer(state: &mut State, one: &VpcName, other: &VpcName) -> Result<()> {
    let (a, b) = ordered(one, other)?;
    state.vpc(a)?;
    state.vpc(b)?;
    let before = state.peerings.len();
    state.peerings.retain(|peering| peering.ends() != (a, b));
    if state.peerings.len() == before {
        return Err(
            Failure::not_found(format!("`{a}` and `{b}` are not peered")).hint("`vpcctl list` shows the peerings")
        );
    }
    Ok(())
}

/// Narrows the peering between the VPCs that own the two CIDRs to the pairs listed so far and this one. Where several
/// peerings come into question, `between` says which.
pub fn allow_cidr(state: &mut State, pair: CidrPair, between: Option<(&VpcName, &VpcName)>) -> Result<()> {
    let index = owning_peering(state, pair, between)?;
    let scope = &mut state.peerings[index].scope;
    match scope {
        PeeringScope::Everything => *scope = PeeringScope::Only(BTreeSet::from([pair])),
        PeeringScope::Only(pairs) => {
            pairs.insert(pair);
        }
    }
    Ok(())
}

/// Refuses a pair whose CIDRs are not inside of the two VPCs, one in each.
pub(crate) fn check_pair(state: &State, pair: CidrPair, (a, b): (&VpcName, &VpcName)) -> Result<()> {
    let CidrPair { src, dst } = pair;
    let (of_a, of_b) = (state.vpc(a)?.cidr, state.vpc(b)?.cidr);
    if (of_a.covers(src) && of_b.covers(dst)) || (of_b.covers(src) && of_a.covers(dst)) {
        return Ok(());
    }
    Err(Failure::usage(format!("{src} to {dst} is not from {a}'s {of_a} to {b}'s {of_b}, or back"))
        .hint("name a CIDR inside of each of the two VPCs"))
}

fn ordered<'a>(one: &'a VpcName, other: &'a VpcName) -> Result<(&'a VpcName, &'a VpcName)> {
    match one.cmp(other) {
        std::cmp::Ordering::Less => Ok((one, other)),
        std::cmp::Ordering::Greater => Ok((other, one)),
        std::cmp::Ordering::Equal => {
            Err(Failure::usage(format!("cannot peer `{one}` with itself")).hint("name two VPCs"))
        }
    }
}

/// A router can't have two ways to the same addresses.
fn check_routes(state: &State, vpc: &VpcName, newcomer: &VpcName) -> Result<()> {
    let cidr = state.vpc(newcomer)?.cidr;
    for peering in state.peerings_of(vpc) {
        let present = peering.other(vpc);
        let taken = state.vpc(present)?.cidr;
        if taken.overlaps(cidr) {
            let message = format!(
                "cannot peer `{vpc}` and `{newcomer}`: {cidr} overlaps {taken} of `{present}`, a peer of `{vpc}`"
            );
            return Err(Failure::conflict(message).hint(format!("`vpcctl unpeer {vpc} {present}` first")));
        }
    }
    Ok(())
}

/// The peering whose one VPC covers `src` and the other `dst`.
fn owning_peering(state: &State, pair: CidrPair, between: Option<(&VpcName, &VpcName)>) -> Result<usize> {
    let CidrPair { src, dst } = pair;
    let between = between.map(|(one, other)| ordered(one, other)).transpose()?;
    let mut found = Vec::new();
    for (index, peering) in state.peerings.iter().enumerate() {
        if between.is_some_and(|ends| ends != peering.ends()) {
            continue;
        }
        let (a, b) = (state.vpc(&peering.a)?.cidr, state.vpc(&peering.b)?.cidr);
        if (a.covers(src) && b.covers(dst)) || (b.covers(src) && a.covers(dst)) {
            found.push(index);
        }
    }
    match found[..] {
        [index] => Ok(index),
        [] => Err(Failure::not_found(format!("no peering connects the VPCs that own {src} and {dst}"))
            .hint("`vpcctl peer VPC1 VPC2` first; `vpcctl list` shows the CIDRs")),
        _ => {
            let names: Vec<String> =
                found.iter().map(|&i| format!("{} and {}", state.peerings[i].a, state.peerings[i].b)).collect();
            Err(Failure::conflict(format!("several peerings connect {src} and {dst}: {}", names.join("; ")))
                .hint(format!("say which: `vpcctl allow-cidr VPC1 VPC2 --src {src} --dst {dst}`")))
        }
    }
}
