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
/// Load the source address (offset 26 of the frame) and the last four bytes of the source MAC address (offset 8); where they are the
/// same return 0, `TC_ACT_OK`, else 2, `TC_ACT_SHOT` (`linux/pkt_cls.h`).
const PROGRAM: [[u32; 4]; 6] = [[32, 0, 0, 26], [7, 0, 0, 0], [32, 0, 0, 8], [29, 1, 0, 0], [6, 0, 0, 2], [6, 0, 0, 0]];

/// The lines of `tc -batch` that put it in its place, or leave it there.
pub fn lines(device: &str) -> [String; 2] {
    let instructions = PROGRAM.map(|words| words.map(|word| word.to_string()).join(" "));
    let program = format!("{},{}", PROGRAM.len(), instructions.join(","));
    [
        format!("qdisc replace dev {device} clsact"),
        format!("filter replace dev {device} ingress pref 1 handle 1 protocol ip bpf da bytecode \"{program}\""),
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
    protocol: String,
    #[serde(default)]
    options: OptionsJson,
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

/// Is the filter among those that `tc` prints, and asked before any other?
pub fn is_in(text: &str) -> Result<bool, serde_json::Error> {
    if text.trim().is_empty() {
        return Ok(false);
    }
    let filters: Vec<FilterJson> = serde_json::from_str(text)?;
    let is_it = |filter: &FilterJson| {
        let FilterJson { pref, protocol, options } = filter;
        let insns = options.bytecode.insns.iter().map(|insn| [insn.code, insn.jt, insn.jf, insn.k]);
        *pref == 1 && protocol == "ip" && options.direct_action && insns.eq(PROGRAM)
    };
    Ok(filters.iter().any(is_it))
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
                r#"[{{"protocol":"{protocol}","pref":1,"kind":"bpf","chain":0}},{{"protocol":"{protocol}","pref":1,"kind":"bpf",
                "chain":0,"options":{{"handle":"0x1","direct-action":{action},"bytecode":{{"length":6,"insns":[{insns}]}}}}}}]"#
            )
        };
        assert!(is_in(&filter("ip", true)).unwrap());
        for other in [filter("arp", true), filter("ip", false), "[]".into(), String::new()] {
            assert!(!is_in(&other).unwrap(), "{other}");
        }
        assert!(is_in("{").is_err());
    }
}
