//! The filter that lets a packet pass from a bridge into its router only with its sender's own address, before fragments are
//! put together.
//!
//! An instance's MAC address ends with its IP address, and its port lets it send with no other MAC address: so one program for
//! all instances compares the two. The rule in `raw` that does the same by a set comes too late for fragments: connection tracking
//! has put them together by then, and the first one vouches for the others. Shown by `tests/kernel_isolation_network.rs`,
//! `a_fragment_in_a_neighbours_name_becomes_no_part_of_its_packet`.

use serde::Deserialize;

/// The program in the classic BPF that `tc` takes: how many instructions, then each one's code, jumps and operand.
///
/// A frame that bears a VLAN tag is dropped, a priority tag included: the kernel takes that off later, and what is inside would not
/// have been looked at. ARP passes: its own guard is the ports' static neighbours. Of IPv4 the source address (offset 26 of the
/// frame) is compared with the last four bytes of the source MAC address (offset 8). Nothing else passes. 0 is `TC_ACT_OK`, 2
/// `TC_ACT_SHOT` (`linux/pkt_cls.h`); `0xfffff030` is where a filter reads whether there is a tag (`SKF_AD_OFF` +
/// `SKF_AD_VLAN_TAG_PRESENT`, `linux/filter.h`).
const PROGRAM: [[u32; 4]; 11] = [
    [32, 0, 0, 0xffff_f030],
    [21, 0, 7, 0],
    [40, 0, 0, 12],
    [21, 6, 0, 0x0806],
    [21, 0, 4, 0x0800],
    [32, 0, 0, 26],
    [7, 0, 0, 0],
    [32, 0, 0, 8],
    [29, 1, 0, 0],
    [6, 0, 0, 2],
    [6, 0, 0, 0],
];

/// The lines of `tc -batch` that put it in its place, or leave it there.
pub fn lines(device: &str) -> [String; 2] {
    let instructions = PROGRAM.map(|words| words.map(|word| word.to_string()).join(" "));
    let program = format!("{},{}", PROGRAM.len(), instructions.join(","));
    [
        format!("qdisc replace dev {device} clsact"),
        format!("filter replace dev {device} ingress pref 1 handle 1 protocol all bpf da bytecode \"{program}\""),
    ]
}

/// What `tc` prints of a device's filters: `tc -j filter show dev DEVICE ingress`.
pub fn show(device: &str) -> [&str; 6] {
    ["-j", "filter", "show", "dev", device, "ingress"]
}

#[derive(Deserialize)]
struct FilterJson {
    #[serde(default)]
    pref: u32,
    #[serde(default)]
    chain: u32,
    #[serde(default)]
    protocol: String,
    options: Option<OptionsJson>,
}

#[derive(Default, Deserialize)]
struct OptionsJson {
    #[serde(default, rename = "direct-action")]
    direct_action: bool,
    #[serde(default)]
    bytecode: BytecodeJson,
}

#[derive(Default, Deserialize)]
struct BytecodeJson {
    #[serde(default)]
    insns: Vec<InstructionJson>,
}

#[derive(Deserialize)]
struct InstructionJson {
    code: u32,
    jt: u32,
    jf: u32,
    k: u32,
}

/// What `tc` prints of a device's filters: nothing where there is none, and whether the first is this one.
pub fn read(text: &str) -> Result<Option<bool>, serde_json::Error> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let filters: Vec<FilterJson> = serde_json::from_str(text)?;
    // One without options is the head of those with its preference. They are listed in the order in which they are asked.
    let first = filters.iter().find_map(|filter| Some((filter, filter.options.as_ref()?)));
    Ok(first.map(|(FilterJson { pref, chain, protocol, .. }, options)| {
        let insns = options.bytecode.insns.iter().map(|insn| [insn.code, insn.jt, insn.jf, insn.k]);
        (*pref, *chain, protocol.as_str()) == (1, 0, "all") && options.direct_action && insns.eq(PROGRAM)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tc_prints_of_it_is_known_again() {
        let insns =
            PROGRAM.map(|[code, jt, jf, k]| format!(r#"{{"code":{code},"jt":{jt},"jf":{jf},"k":{k}}}"#)).join(",");
        let filter = |protocol: &str, action: bool| {
            format!(
                r#"{{"protocol":"{protocol}","pref":1,"kind":"bpf","chain":0}},{{"protocol":"{protocol}","pref":1,"kind":"bpf",
                "chain":0,"options":{{"handle":"0x1","direct-action":{action},"bytecode":{{"length":11,"insns":[{insns}]}}}}}}"#
            )
        };
        let ours = filter("all", true);
        assert!(read(&format!("[{ours}]")).unwrap() == Some(true));
        let other_chain = ours.replace("\"chain\":0", "\"chain\":7");
        let before = format!("{},{ours}", ours.replace("\"k\":26", "\"k\":30"));
        for other in [filter("ip", true), filter("all", false), other_chain, before] {
            assert!(read(&format!("[{other}]")).unwrap() == Some(false), "{other}");
        }
        assert!(read("").unwrap().is_none() && read("[]").unwrap().is_none());
        assert!(read("{").is_err());
    }
}
