//! The filter that lets a packet pass from a bridge into its router only with its sender's own address, before fragments are
//! put together.
//!
//! An instance's MAC address ends with its IP address, and its port lets it send with no other MAC address: so one program for
//! all instances compares the two. The rule in `raw` that does the same by a set comes too late for fragments: connection tracking
//! has put them together by then, and the first one vouches for the others. Shown by `tests/kernel_isolation_network.rs`,
//! `a_fragment_in_a_neighbours_name_becomes_no_part_of_its_packet`.

use crate::plan::raw_message::{self, RawMessage};

/// Code, jumps where it is true and where it is not, operand: `struct sock_filter` of `linux/filter.h`.
type Instruction = (u16, u8, u8, u32);

/// The program in the classic BPF that `tc` takes: how many instructions, then each one's code, jumps and operand.
///
/// A frame that bears a VLAN tag is dropped, a priority tag included: the kernel takes that off later, and what is inside would not
/// have been looked at. ARP passes: its own guard is the ports' static neighbours. Of IPv4 the source address (offset 26 of the
/// frame) is compared with the last four bytes of the source MAC address (offset 8). Nothing else passes. 0 is `TC_ACT_OK`, 2
/// `TC_ACT_SHOT` (`linux/pkt_cls.h`); `0xfffff030` is where a filter reads whether there is a tag (`SKF_AD_OFF` +
/// `SKF_AD_VLAN_TAG_PRESENT`, `linux/filter.h`).
const PROGRAM: [Instruction; 11] = [
    (32, 0, 0, 0xffff_f030),
    (21, 0, 7, 0),
    (40, 0, 0, 12),
    (21, 6, 0, 0x0806),
    (21, 0, 4, 0x0800),
    (32, 0, 0, 26),
    (7, 0, 0, 0),
    (32, 0, 0, 8),
    (29, 1, 0, 0),
    (6, 0, 0, 2),
    (6, 0, 0, 0),
];

/// The lines of `tc -batch` that put it in its place, or leave it there.
pub fn lines(device: &str) -> [String; 2] {
    let instructions = PROGRAM.map(|(code, jt, jf, k)| format!("{code} {jt} {jf} {k}"));
    let program = format!("{},{}", PROGRAM.len(), instructions.join(","));
    [
        format!("qdisc replace dev {device} clsact"),
        format!("filter replace dev {device} ingress pref 1 handle 1 protocol all bpf da bytecode \"{program}\""),
    ]
}

/// `RTM_NEWTFILTER` and `RTM_GETTFILTER` of `linux/rtnetlink.h`.
const NEW_FILTER: u16 = 44;
const GET_FILTER: u16 = 46;

/// The length of `struct tcmsg` of `linux/rtnetlink.h`: family, the device's number, handle, parent, then preference and protocol.
const HEADER: usize = 20;

/// Where filters of what comes in are: `TC_H_CLSACT` with `TC_H_MIN_INGRESS` of `linux/pkt_sched.h`.
const INGRESS: u32 = 0xffff_fff2;

/// Preference 1, and `ETH_P_ALL` of `linux/if_ether.h` in the network's order.
const PREFERENCE_AND_PROTOCOL: u32 = 1 << 16 | 0x0003_u16.to_be() as u32;

/// `TCA_KIND`, `TCA_OPTIONS` and `TCA_CHAIN` of `linux/rtnetlink.h`.
const KIND: u16 = 1;
const OPTIONS: u16 = 2;
const CHAIN: u16 = 11;

/// `TCA_BPF_OPS` and `TCA_BPF_FLAGS` of `linux/pkt_cls.h`, and of these `TCA_BPF_FLAG_ACT_DIRECT`.
const BPF_OPS: u16 = 5;
const BPF_FLAGS: u16 = 8;
const DIRECT_ACTION: u32 = 1;

/// What asks the kernel for the filters of what comes in by a device.
pub fn request(device_number: u32) -> RawMessage {
    let words = [0, device_number, 0, INGRESS, 0];
    RawMessage { kind: GET_FILTER, bytes: words.into_iter().flat_map(u32::to_ne_bytes).collect() }
}

/// Is the first filter that packets meet, of those in the kernel's list, this one? Nothing where there is none.
pub fn is_first<'a>(list: &'a [RawMessage]) -> Option<bool> {
    let number = |bytes: Option<&[u8]>| bytes?.try_into().ok().map(u32::from_ne_bytes);
    let read = |filter: &'a RawMessage| {
        let (header, attributes) = filter.bytes.split_at_checked(HEADER)?;
        // One without options is the head of those with its preference.
        let options = raw_message::first(attributes, OPTIONS)?;
        // Packets enter the chain 0; chains are listed in the order in which they were made, filters in that in which they are asked.
        let is_met = number(raw_message::first(attributes, CHAIN)).unwrap_or(0) == 0;
        is_met.then_some((header, attributes, options))
    };
    let (header, attributes, options) = list.iter().filter(|message| message.kind == NEW_FILTER).find_map(read)?;
    let is_ours = number(header.get(HEADER - 4..)) == Some(PREFERENCE_AND_PROTOCOL)
        && raw_message::first(attributes, KIND).and_then(raw_message::text) == Some("bpf")
        && number(raw_message::first(options, BPF_FLAGS)).is_some_and(|flags| flags & DIRECT_ACTION != 0)
        && raw_message::first(options, BPF_OPS) == Some(&program());
    Some(is_ours)
}

/// The program's bytes: a `struct sock_filter` each.
fn program() -> Vec<u8> {
    let bytes = |(code, jt, jf, k): Instruction| code.to_ne_bytes().into_iter().chain([jt, jf]).chain(k.to_ne_bytes());
    PROGRAM.into_iter().flat_map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An attribute, with what its length is filled up with.
    fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    struct Filter {
        preference_and_protocol: u32,
        chain: u32,
        kind: &'static [u8],
        flags: u32,
        program: Vec<u8>,
    }

    impl Filter {
        fn ours() -> Self {
            let preference_and_protocol = PREFERENCE_AND_PROTOCOL;
            Filter { preference_and_protocol, chain: 0, kind: b"bpf\0", flags: DIRECT_ACTION, program: program() }
        }

        fn head(&self) -> RawMessage {
            let words = [0, 2, 1, INGRESS, self.preference_and_protocol];
            let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_ne_bytes).collect();
            bytes.extend(attribute(KIND, self.kind));
            bytes.extend(attribute(CHAIN, &self.chain.to_ne_bytes()));
            RawMessage { kind: NEW_FILTER, bytes }
        }

        fn message(&self) -> RawMessage {
            let mut message = self.head();
            let options = [attribute(BPF_OPS, &self.program), attribute(BPF_FLAGS, &self.flags.to_ne_bytes())];
            message.bytes.extend(attribute(OPTIONS, &options.concat()));
            message
        }
    }

    #[test]
    fn what_the_kernel_says_of_it_is_known_again() {
        let ours = Filter::ours();
        assert_eq!(is_first(&[ours.head(), ours.message()]), Some(true));
        assert_eq!(is_first(&[ours.message(), Filter { flags: 0, ..Filter::ours() }.message()]), Some(true));
        for other in [
            Filter { preference_and_protocol: 1 << 16 | u32::from(0x0800_u16.to_be()), ..Filter::ours() },
            Filter { preference_and_protocol: PREFERENCE_AND_PROTOCOL + (1 << 16), ..Filter::ours() },
            Filter { kind: b"u32\0", ..Filter::ours() },
            Filter { flags: 0, ..Filter::ours() },
            Filter { program: [&program()[..44], &30_u32.to_ne_bytes(), &program()[48..]].concat(), ..Filter::ours() },
            Filter { program: program()[..80].to_vec(), ..Filter::ours() },
            Filter { program: vec![], ..Filter::ours() },
        ] {
            assert_eq!(is_first(&[other.head(), other.message(), ours.message()]), Some(false));
        }
        // Nothing enters another chain by itself, wherever it is listed.
        let elsewhere = Filter { chain: 7, ..Filter::ours() };
        assert_eq!(is_first(&[elsewhere.head(), elsewhere.message(), ours.message()]), Some(true));
        assert_eq!(is_first(&[elsewhere.head(), elsewhere.message()]), None);
        assert_eq!(is_first(&[]), None);
        assert_eq!(is_first(&[ours.head()]), None);
        let cut = RawMessage { kind: NEW_FILTER, bytes: vec![0; HEADER - 1] };
        assert_eq!(is_first(&[cut]), None);
    }

    #[test]
    fn the_kernel_has_the_numbers_that_tc_is_told() {
        let [_, line] = lines("br-vpc1");
        let (_, told) = line.split_once("bytecode \"11,").unwrap();
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |number, byte| number << 8 | u32::from(*byte));
        let instruction = |bytes: &[u8]| {
            [&bytes[..2], &bytes[2..3], &bytes[3..4], &bytes[4..]].map(number).map(|n| n.to_string()).join(" ")
        };
        let bytes = program();
        if cfg!(target_endian = "little") {
            let had: Vec<String> = bytes.chunks(8).map(instruction).collect();
            assert_eq!(had.join(","), told.trim_end_matches('"'));
            assert_eq!(bytes[8..16], [21, 0, 0, 7, 0, 0, 0, 0]);
        }
    }
}
