//! What tells one namespace's rules from another's without a tool: the kernel's own messages about them, without what says
//! nothing about what they do. Namespaces whose messages are the same have the same rules, and one `iptables-save` reads them
//! for all.

use netlink_packet_core::{NlaBuffer, NlasIterator};

use crate::model::facts::FirewallFacts;
use crate::plan::raw_message::{RawMessage, first, text, value};

/// `NFNL_SUBSYS_NFTABLES` of `linux/netfilter/nfnetlink.h`, as the upper byte of a message's type.
const NFTABLES: u16 = 10 << 8;

/// The types of `linux/netfilter/nf_tables.h`: what asks for the lists of tables, chains and rules, and what these consist of.
const GET_TABLE: u16 = NFTABLES | 1;
const GET_CHAIN: u16 = NFTABLES | 4;
const GET_RULE: u16 = NFTABLES | 7;
const NEW_TABLE: u16 = NFTABLES;
const NEW_CHAIN: u16 = NFTABLES | 3;
const NEW_RULE: u16 = NFTABLES | 6;

/// The same of the number of the ruleset's generation.
const GET_GENERATION: u16 = NFTABLES | 16;
const NEW_GENERATION: u16 = NFTABLES | 15;

/// `NFTA_GEN_ID`.
const GENERATION: u16 = 1;

/// `NFPROTO_IPV4`, `NFPROTO_INET` and `NFPROTO_UNSPEC`, which asks for all.
const IPV4: u8 = 2;
const INET: u8 = 1;
const ANY: u8 = 0;

/// The length of `nfgenmsg`: family, version, and the number of the ruleset's generation.
const HEADER: usize = 4;

/// `NFTA_TABLE_NAME` and `NFTA_CHAIN_TABLE`.
const TABLE: u16 = 1;

/// `NFTA_CHAIN_NAME`.
const CHAIN_NAME: u16 = 3;

/// `NFTA_CHAIN_HOOK`, which only a base chain has, in it `NFTA_HOOK_HOOKNUM`, and of these numbers `NF_INET_FORWARD`.
const HOOK: u16 = 4;
const HOOK_NUMBER: u16 = 1;
const FORWARD: [u8; 4] = 2_u32.to_be_bytes();

/// `NFTA_RULE_EXPRESSIONS`.
const EXPRESSIONS: u16 = 4;

/// `NFTA_EXPR_NAME` and `NFTA_EXPR_DATA`; an extension's name is an attribute of the same number.
const NAME: u16 = 1;
const DATA: u16 = 2;

/// Stands for a counter, whatever it counted: no attribute begins with it.
const COUNTER: u8 = 0xff;

/// Expressions that say by themselves all that they do. A set's name says nothing of what is in it.
const PLAIN_EXPRESSIONS: [&str; 6] = ["immediate", "cmp", "payload", "meta", "bitwise", "reject"];

/// Extensions of iptables of which the same is true.
const EXTENSIONS: [&str; 11] =
    ["comment", "conntrack", "connmark", "mark", "tcp", "udp", "icmp", "multiport", "CONNMARK", "MARK", "REJECT"];

/// Beyond this a list of rules isn't worth being kept to be compared.
const MAX_SIGNATURE: usize = 64 * 1024;

/// What the kernel is asked for to tell rules apart: IPv4's chains and rules, which name their tables.
pub fn requests() -> [RawMessage; 2] {
    [GET_CHAIN, GET_RULE].map(request)
}

/// What the kernel is asked for to know which tables and chains there are: IPv4's.
pub fn requests_of_names() -> [RawMessage; 2] {
    [GET_TABLE, GET_CHAIN].map(request)
}

/// What the kernel is asked for to know which chains there are, of every family.
pub fn request_of_all_chains() -> RawMessage {
    RawMessage { kind: GET_CHAIN, bytes: vec![ANY, 0, 0, 0] }
}

/// Does a chain among these, but for iptables' own where that `is_own`, decide on IPv4 packets that are forwarded? Nothing where that
/// can't be read.
pub fn has_forwarding(messages: &[RawMessage], is_own: bool) -> Option<bool> {
    let mut found = false;
    for RawMessage { kind, bytes } in messages {
        let (header, attributes) = bytes.split_at_checked(HEADER)?;
        let name = |attribute: u16| text(first(attributes, attribute)?);
        if *kind != NEW_CHAIN {
            return None;
        }
        let is_hooked = first(attributes, HOOK).and_then(|hook| first(hook, HOOK_NUMBER)) == Some(&FORWARD);
        let is_iptables = header[0] == IPV4 && (name(TABLE)?, name(CHAIN_NAME)?) == ("filter", "FORWARD");
        found |= is_hooked && [IPV4, INET].contains(&header[0]) && !(is_iptables && is_own);
    }
    Some(found)
}

/// What the kernel is asked for to know whether its rules are still those that they were.
pub fn request_of_generation() -> RawMessage {
    request(GET_GENERATION)
}

/// The number of the generation: every change of a table, a chain or a rule in this namespace makes the next. They begin at 1.
pub fn generation(message: &RawMessage) -> Option<u32> {
    let number = first(message.bytes.get(HEADER..)?, GENERATION).filter(|_| message.kind == NEW_GENERATION)?;
    number.try_into().ok().map(u32::from_be_bytes)
}

fn request(kind: u16) -> RawMessage {
    RawMessage { kind, bytes: vec![IPV4, 0, 0, 0] }
}

/// Which tables and chains there are; nothing where that can't be read.
pub fn names(messages: &[RawMessage]) -> Option<FirewallFacts> {
    let mut facts = FirewallFacts::default();
    for RawMessage { kind, bytes } in messages {
        let name = |attribute: u16| Some(text(first(bytes.get(HEADER..)?, attribute)?)?.to_owned());
        match *kind {
            NEW_TABLE => drop(facts.tables.insert(name(TABLE)?)),
            NEW_CHAIN => drop(facts.chains.insert((name(TABLE)?, name(CHAIN_NAME)?))),
            _ => return None,
        }
    }
    Some(facts)
}

/// What these rules are and do, in bytes that are the same for the same rules; nothing where they say something that only a tool
/// can tell, or changed while they were read.
pub fn signature(messages: &[RawMessage]) -> Option<Vec<u8>> {
    let mut signature = Vec::new();
    let mut generation = None;
    for message in messages {
        let header = message.bytes.get(..HEADER)?;
        if *generation.get_or_insert(header) != header {
            return None;
        }
        signature.extend(message.kind.to_ne_bytes());
        sign(message.kind, message.bytes.get(HEADER..)?, &mut signature)?;
        if signature.len() > MAX_SIGNATURE {
            return None;
        }
    }
    Some(signature)
}

/// Adds a message's attributes, without numbers that the kernel gives out, and without counters.
fn sign(kind: u16, attributes: &[u8], signature: &mut Vec<u8>) -> Option<()> {
    let is_idle: fn(u16) -> bool = match kind {
        // HANDLE, USE, COUNTERS, PAD.
        NEW_CHAIN => |attribute| matches!(attribute, 2 | 6 | 8 | 9),
        // HANDLE, POSITION, PAD.
        NEW_RULE => |attribute| matches!(attribute, 3 | 6 | 8),
        _ => return None,
    };
    for attribute in NlasIterator::new(attributes) {
        let attribute = attribute.ok()?;
        match attribute.kind() {
            EXPRESSIONS if kind == NEW_RULE => sign_expressions(value(attribute)?, signature)?,
            idle if is_idle(idle) => {}
            _ => put(attribute, signature)?,
        }
    }
    Some(())
}

fn sign_expressions(list: &[u8], signature: &mut Vec<u8>) -> Option<()> {
    for expression in NlasIterator::new(list) {
        let expression = expression.ok()?;
        let of_expression = value(expression)?;
        match text(first(of_expression, NAME)?)? {
            "counter" => signature.push(COUNTER),
            name if speaks_for_itself(name, first(of_expression, DATA)) => put(expression, signature)?,
            _ => return None,
        }
    }
    Some(())
}

fn speaks_for_itself(expression: &str, data: Option<&[u8]>) -> bool {
    let extension = || text(first(data?, NAME)?);
    match expression {
        "match" | "target" => extension().is_some_and(|name| EXTENSIONS.contains(&name)),
        _ => PLAIN_EXPRESSIONS.contains(&expression),
    }
}

/// Kind, length and value.
fn put(attribute: NlaBuffer<&[u8]>, signature: &mut Vec<u8>) -> Option<()> {
    signature.extend(attribute.kind().to_ne_bytes());
    signature.extend(attribute.length().to_ne_bytes());
    signature.extend(value(attribute)?);
    Some(())
}
