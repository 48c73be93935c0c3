//! What may reach what: the rules of the host, of a VPC's router and of an instance.
//!
//! Goals, and what answers them:
//!
//! 1. *Nothing opens by failure.* The router's built-in chains drop what no rule accepts; a flush closes.
//! 2. *A deny holds for open connections.* No rule accepts ESTABLISHED packets of both directions: the direction that opened
//!    meets the rules with every packet, and replies are accepted only where the rules would let their connection pass.
//! 3. *The host's rules are constant in number*, whatever the number of VPCs: they match the uplinks' interface group.
//! 4. *Guards cost the same for 1 instance and for 1,000*: one lookup in a set of address and MAC pairs.
//! 5. *Foreign rules survive.* There are two kinds of write: a chain of ours is replaced whole, and a jump to it is inserted
//!    into a built-in chain.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use crate::model::cidr::Cidr;
use crate::model::kernel_names::{self as names, Netns};
use crate::model::name::VpcName;
use crate::model::policy::Policy;
use crate::model::state::{HostAccess, Peering, PeeringScope, State, Vpc};
use crate::plan::line::Place;
use crate::plan::op::Object;
use crate::plan::policy;
use crate::plan::rule::{Rule, Set, Table};
use crate::plan::topology::{UPLINK_GROUP, UPLINK_GROUP_MASK};

/// From this many subnets with NAT on, a set takes the place of a rule for each.
const SET_FROM: usize = 17;

/// The set of the subnets with NAT, where there are many.
pub const NAT_SET: &str = "vpcctl-nat";

/// The widest range of a `bitmap:ip,mac`, as a prefix length in bits: 65,536 addresses.
const BITMAP_PREFIX: u8 = 16;

/// Where clouds have their metadata services (RFC 3927).
const LINK_LOCAL: &str = "169.254.0.0/16";

const REPLY: &str = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY";
const ORIGINAL: &str = "-m conntrack --ctstate NEW,RELATED,ESTABLISHED --ctdir ORIGINAL";
const PING: &str = "-p icmp -m icmp --icmp-type 8";
const ACCEPT: &str = "-j ACCEPT";
const DROP: &str = "-j DROP";

/// The host's rules; none while no VPC has an uplink.
pub fn host(state: &State) -> Vec<Object> {
    let pools: BTreeSet<Cidr> = state.vpcs.values().filter_map(|vpc| vpc.uplink).map(|uplink| uplink.pool).collect();
    if pools.is_empty() {
        return Vec::new();
    }
    let mut objects = Vec::from(hooked(&Place::Host, Table::Filter, "INPUT", host_input()));
    objects.extend(hooked(&Place::Host, Table::Filter, "FORWARD", host_forward(state, &pools)));
    if !state.host.wans.is_empty() {
        objects.extend(hooked(&Place::Host, Table::Nat, "POSTROUTING", host_masquerade(state, &pools)));
    }
    objects
}

fn host_input() -> Vec<Rule> {
    let from_uplink = from_group(UPLINK_GROUP, UPLINK_GROUP_MASK);
    let answers = "-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY";
    vec![
        Rule::new(format!("{from_uplink} {answers}"), ACCEPT, "answers to the host"),
        Rule::new(from_uplink, DROP, "a VPC opens nothing on the host"),
    ]
}

fn host_forward(state: &State, pools: &BTreeSet<Cidr>) -> Vec<Rule> {
    let (from, to) = (src_group(UPLINK_GROUP, UPLINK_GROUP_MASK), dst_group(UPLINK_GROUP, UPLINK_GROUP_MASK));
    let mut rules = Vec::new();
    // An uplink may have got the name of a WAN interface that is gone: the host joins no VPCs.
    for (wan, record) in &state.host.wans {
        let group = UPLINK_GROUP | u32::from(record.index);
        for pool in pools {
            let out = format!("-s {pool} -o {wan} {} ! {to}", from_group(group, u32::MAX));
            rules.push(Rule::new(
                format!("{out} -m conntrack --ctstate NEW,RELATED,ESTABLISHED"),
                ACCEPT,
                "out to the internet",
            ));
        }
        let back = format!("-i {wan} -m devgroup ! {from} {}", dst_group(group, u32::MAX));
        rules.push(Rule::new(
            format!("{back} -m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY"),
            ACCEPT,
            "answers from the internet",
        ));
    }
    rules.extend(refuse(&format!("-m devgroup {from}"), "nothing else leaves a VPC by the host"));
    rules.push(Rule::new(format!("-m devgroup {to}"), DROP, "nothing else enters a VPC by the host"));
    // The kernel asks only the incoming interface whether to forward. What came with that for other networks of a host that
    // was no router is closed again.
    let switched_on = state.host.wans.iter().filter(|(_, record)| !record.forwarding_before);
    rules.extend(switched_on.map(|(wan, _)| {
        let unasked = "-m conntrack --ctstate NEW -m conntrack ! --ctstate DNAT";
        Rule::new(format!("-i {wan} {unasked}"), DROP, "the LAN is routed to VPCs' answers alone")
    }));
    rules
}

fn host_masquerade(state: &State, pools: &BTreeSet<Cidr>) -> Vec<Rule> {
    let pairs = state.host.wans.keys().flat_map(|wan| pools.iter().map(move |pool| (wan, pool)));
    pairs.map(|(wan, pool)| Rule::new(format!("-s {pool} -o {wan}"), "-j MASQUERADE", "VPCs to the internet")).collect()
}

/// An answer at once: a reset for TCP, whose ICMP errors the kernel may lose while a connection is being opened (3 of 200 took a
/// second where 0 of 200 do with a reset), and an ICMP error for the rest.
fn refuse(matches: &str, purpose: &str) -> [Rule; 2] {
    [
        Rule::new(format!("-p tcp {matches}"), "-j REJECT --reject-with tcp-reset", purpose),
        Rule::new(matches, "-j REJECT --reject-with icmp-admin-prohibited", purpose),
    ]
}

fn from_group(group: u32, mask: u32) -> String {
    format!("-m devgroup {}", src_group(group, mask))
}

fn src_group(group: u32, mask: u32) -> String {
    format!("--src-group {}", masked(group, mask))
}

fn dst_group(group: u32, mask: u32) -> String {
    format!("--dst-group {}", masked(group, mask))
}

fn masked(group: u32, mask: u32) -> String {
    if mask == u32::MAX { format!("{group:#x}") } else { format!("{group:#x}/{mask:#x}") }
}

/// A router's rules and sets.
pub fn router(state: &State, name: &VpcName, vpc: &Vpc) -> Vec<Object> {
    let netns = names::router(name);
    let place = Place::Netns(netns.clone());
    let bridge = names::bridge(name);
    let router = Router { vpc, bridge: bridge.as_str(), uplink: vpc.uplink.map(|uplink| uplink.link.first()) };
    let blocks = guard_blocks(vpc);
    let mut objects: Vec<Object> = blocks.iter().map(|&block| guard(&netns, block)).collect();
    let natted: Vec<Cidr> = vpc.natted().map(|(_, subnet)| subnet.cidr).collect();
    objects.extend(nat_set(&netns, &natted));
    objects.extend(["INPUT", "FORWARD"].map(|chain| Object::DropPolicy { netns: netns.clone(), chain }));
    objects.extend(hooked(&place, Table::Raw, "PREROUTING", router.guards(&blocks)));
    objects.extend(hooked(&place, Table::Filter, "INPUT", router.input()));
    let peers: Vec<&Peering> = state.peerings_of(name).collect();
    if !peers.is_empty() {
        let rules = peers.iter().flat_map(|peering| router.peering(state, name, peering)).collect();
        objects.push(Object::Chain { place: place.clone(), table: Table::Filter, chain: PEERING.into(), rules });
    }
    objects.extend(hooked(&place, Table::Filter, "FORWARD", router.forward(&natted, !peers.is_empty())));
    if !natted.is_empty() {
        objects.extend(hooked(&place, Table::Nat, "POSTROUTING", router.masquerade(&natted)));
    }
    objects
}

/// The chain that a router's peerings share.
pub const PEERING: &str = "VPCCTL-PEERING";

struct Router<'a> {
    vpc: &'a Vpc,
    bridge: &'a str,
    /// The host's address on the uplink.
    uplink: Option<Ipv4Addr>,
}

impl Router<'_> {
    /// Who may send at all: an instance from its own address and MAC, the others what a route leads back to.
    fn guards(&self, blocks: &BTreeSet<Cidr>) -> Vec<Rule> {
        let bridge = self.bridge;
        let own = blocks.iter().map(|&block| {
            let within = if block.covers(self.vpc.cidr) { String::new() } else { format!("-s {block} ") };
            let matches = format!("{within}-i {bridge} -m set --match-set {} src,src", guard_set(block));
            Rule::new(matches, "-j RETURN", "an instance with its own address and MAC")
        });
        own.chain([
            Rule::new(format!("-i {bridge}"), DROP, "a stolen address or MAC"),
            Rule::new("-m rpfilter --invert", DROP, "a source that no route leads back to"),
        ])
        .collect()
    }

    /// What the router itself answers: pings of gateways, and replies to what it asked.
    fn input(&self) -> Vec<Rule> {
        let Router { vpc, bridge, .. } = self;
        let mut rules = vec![
            Rule::new("-i lo", ACCEPT, "the router to itself"),
            Rule::new("-m conntrack --ctstate RELATED,ESTABLISHED --ctdir REPLY", ACCEPT, "answers to the router"),
            Rule::new(format!("-d {} -i {bridge} {PING}", vpc.cidr), ACCEPT, "ping of a gateway"),
        ];
        if let Some(host) = self.uplink {
            rules.push(Rule::new(format!("-s {host}/32 -i uplink {PING}"), ACCEPT, "ping by the host"));
        }
        rules
    }

    fn forward(&self, natted: &[Cidr], has_peers: bool) -> Vec<Rule> {
        let Router { bridge, .. } = self;
        let mut rules = vec![
            // What conntrack calls INVALID would leave with an inside source: NAT doesn't touch it.
            Rule::new("-m conntrack --ctstate INVALID", DROP, "no known connection"),
            Rule::new(format!("-i {bridge} -o {bridge}"), ACCEPT, "within the VPC"),
        ];
        if has_peers {
            // What goes out to the internet, or comes from there, needn't be compared with every peer.
            rules.push(Rule::new("! -i uplink ! -o uplink", format!("-j {PEERING}"), "peerings"));
        }
        for (source, destination) in sources_and_destinations(natted) {
            // A cloud's metadata service would take the instance for the host, and hand out the host's identity.
            let out = format!("{source}! -d {LINK_LOCAL} -i {bridge} -o uplink {ORIGINAL}");
            rules.push(Rule::new(out, ACCEPT, "out to the internet"));
            rules.push(Rule::new(
                format!("{destination}-i uplink -o {bridge} {REPLY}"),
                ACCEPT,
                "answers from the internet",
            ));
        }
        if let Some(host) = self.uplink.filter(|_| self.vpc.host_access == HostAccess::On) {
            rules.push(Rule::new(
                format!("-s {host}/32 -i uplink -o {bridge} {ORIGINAL}"),
                ACCEPT,
                "the host to instances",
            ));
            rules.push(Rule::new(format!("-d {host}/32 -i {bridge} -o uplink {REPLY}"), ACCEPT, "answers to the host"));
        }
        rules.extend(refuse(&format!("-i {bridge}"), "all else is refused at once"));
        rules
    }

    fn masquerade(&self, natted: &[Cidr]) -> Vec<Rule> {
        let sources = sources_and_destinations(natted).into_iter().map(|(source, _)| source);
        sources.map(|source| Rule::new(format!("{source}-o uplink"), "-j MASQUERADE", "public subnet")).collect()
    }

    /// What may pass to one peer and from it.
    fn peering(&self, state: &State, name: &VpcName, peering: &Peering) -> Vec<Rule> {
        let other = peering.other(name);
        let Some(remote) = state.vpcs.get(other).map(|vpc| vpc.cidr) else {
            return Vec::new();
        };
        let (bridge, peer, local) = (self.bridge, names::peer(other), self.vpc.cidr);
        let (out, back) = (format!("-i {bridge} -o {peer}"), format!("-i {peer} -o {bridge}"));
        // The other router tells of a packet that is too large or has travelled too far from its end of the link.
        let router = if &peering.a == name { peering.link.second() } else { peering.link.first() };
        let errors = format!("-s {router}/32 -d {local} {back} -p icmp -m conntrack --ctstate RELATED");
        let errors = Rule::new(errors, ACCEPT, format!("errors from {other}'s router"));
        let pairs = match &peering.scope {
            PeeringScope::Everything => {
                return vec![
                    Rule::new(format!("-s {local} -d {remote} {out}"), ACCEPT, format!("to {other}")),
                    Rule::new(format!("-s {remote} -d {local} {back}"), ACCEPT, format!("from {other}")),
                    errors,
                ];
            }
            PeeringScope::Only(pairs) => pairs,
        };
        let rules = pairs.iter().flat_map(|pair| {
            let (forth, reply) = if local.covers(pair.src) { (&out, &back) } else { (&back, &out) };
            let opens = format!("-s {} -d {} {forth} {ORIGINAL}", pair.src, pair.dst);
            let answers = format!("-s {} -d {} {reply} {REPLY}", pair.dst, pair.src);
            [
                Rule::new(opens, ACCEPT, format!("allowed with {other}")),
                Rule::new(answers, ACCEPT, format!("answers, with {other}")),
            ]
        });
        rules.chain([errors]).collect()
    }
}

/// An instance's own rules and sets: its policy, where it has one.
pub fn instance(netns: &Netns, policy: Option<&Policy>) -> Vec<Object> {
    let place = Place::Netns(netns.clone());
    let compiled = policy::compile(policy);
    let sets = compiled.sets.into_iter().map(|set| Object::Set { netns: netns.clone(), set });
    let mut objects: Vec<Object> = sets.collect();
    let mut hooks = Vec::new();
    for (table, chain, rules) in compiled.chains {
        let builtin = match chain.as_str() {
            policy::INPUT => Some("INPUT"),
            policy::OUTPUT => Some("OUTPUT"),
            _ => None,
        };
        hooks.extend(builtin.map(|from| Object::jump(&place, table, from, &chain)));
        objects.push(Object::Chain { place: place.clone(), table, chain, rules });
    }
    objects.extend(hooks);
    objects
}

/// The name of the set of senders that an instance's address is in.
pub fn guard_set_of(vpc: Cidr, address: Ipv4Addr) -> String {
    guard_set(guard_block(vpc, address))
}

/// The block of at most 65,536 addresses of a VPC that one guard set covers.
fn guard_block(vpc: Cidr, address: Ipv4Addr) -> Cidr {
    Cidr::containing(address, vpc.prefix().max(BITMAP_PREFIX)).unwrap_or(vpc)
}

/// The name of the set of the senders in a block.
fn guard_set(block: Cidr) -> String {
    format!("{}{}", names::SET_PREFIX, block.network())
}

/// Chains hooked into a built-in one: the chain of ours is named after it.
fn hooked(place: &Place, table: Table, builtin: &'static str, rules: Vec<Rule>) -> [Object; 2] {
    let chain = format!("{}{builtin}", names::CHAIN_PREFIX);
    [
        Object::Chain { place: place.clone(), table, chain: chain.clone(), rules },
        Object::jump(place, table, builtin, &chain),
    ]
}

fn guard_blocks(vpc: &Vpc) -> BTreeSet<Cidr> {
    let instances = vpc.subnets.values().flat_map(|subnet| subnet.all_instances());
    let used = instances.map(|(_, address, _)| guard_block(vpc.cidr, address));
    // A VPC of one block has its guard from the start, so that an instance only adds an entry.
    let whole = (vpc.cidr.prefix() >= BITMAP_PREFIX).then_some(vpc.cidr);
    used.chain(whole).collect()
}

fn guard(netns: &Netns, block: Cidr) -> Object {
    let kind = format!("bitmap:ip,mac range {}-{}", block.network(), block.broadcast());
    Object::Set { netns: netns.clone(), set: Set { name: guard_set(block), kind, entries: vec![] } }
}

fn nat_set(netns: &Netns, natted: &[Cidr]) -> Vec<Object> {
    if natted.len() < SET_FROM {
        return Vec::new();
    }
    let set =
        Set { name: NAT_SET.into(), kind: "hash:net family inet hashsize 1024 maxelem 65536".into(), entries: vec![] };
    let entries = natted.iter().map(|cidr| Object::SetEntry {
        netns: netns.clone(),
        set: NAT_SET.into(),
        entry: cidr.to_string(),
    });
    std::iter::once(Object::Set { netns: netns.clone(), set }).chain(entries).collect()
}

/// How to match the subnets with NAT as source and as destination: one by one while they are few, by a set when many.
fn sources_and_destinations(natted: &[Cidr]) -> Vec<(String, String)> {
    if natted.len() < SET_FROM {
        return natted.iter().map(|cidr| (format!("-s {cidr} "), format!("-d {cidr} "))).collect();
    }
    let by_set = |side: &str| format!("-m set --match-set {NAT_SET} {side} ");
    vec![(by_set("src"), by_set("dst"))]
}
