//! Hostile input: command lines, policy files, state files. None of it brings a panic, half of a file is never taken for the
//! whole, and no text reaches a tool but as the one word that it was meant to be.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/states.rs"]
#[allow(dead_code, reason = "each test crate uses a part")]
mod states;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestCaseResult};
use vpcctl::cli;
use vpcctl::model::check;
use vpcctl::model::edit::{VpcSpec, create_vpc, peer};
use vpcctl::model::name::VpcName;
use vpcctl::model::policy_file;
use vpcctl::model::state::{HostAccess, State};
use vpcctl::model::topology_file::{Source, Want};
use vpcctl::plan::batch::{self, Call, Program, Step};
use vpcctl::plan::between;
use vpcctl::plan::rule::MARK;
use vpcctl::store::{self, Document};

use states::{edits, history, plain_facts, session};

/// What an operator may have typed, copied or generated: each is a word of its own.
const NASTY: [&str; 34] = [
    "",
    "-",
    "--",
    "-x",
    ".",
    "..",
    "../x",
    "a/b",
    "a/b/c/d",
    "a\0b",
    "a b",
    "a\tb",
    "a\nb",
    "\r\n",
    "ü",
    "🦀",
    "\u{202e}vpc",
    "\u{feff}",
    "$(id)",
    "`id`",
    ";rm -rf /",
    "'\"",
    "%d%s%n",
    "+",
    "*",
    "all",
    "0",
    "-1",
    "65536",
    "99999999999999999999",
    "10.0.0.0/16",
    "10.0.0.5/33",
    "\u{1b}[31m",
    "\\",
];

fn words() -> impl Strategy<Value = Vec<OsString>> {
    let names = cli::command(clap::ColorChoice::Never);
    let mut known: Vec<String> = names.get_subcommands().map(|command| command.get_name().to_owned()).collect();
    let flags = names.get_subcommands().flat_map(|command| command.get_arguments().filter_map(clap::Arg::get_long));
    known.extend(flags.map(|flag| format!("--{flag}")));
    known.extend(
        ["vpc1", "vpc1/a", "vpc1/a/b", "10.0.0.0/16", "--state-dir", "-o", "json", "--lock-timeout", "80"]
            .map(str::to_owned),
    );
    let word = prop_oneof![
        5 => prop::sample::select(known).prop_map(OsString::from),
        2 => prop::sample::select(NASTY.to_vec()).prop_map(OsString::from),
        1 => any::<String>().prop_map(OsString::from),
        1 => prop::collection::vec(any::<u8>(), 0..40).prop_map(OsString::from_vec),
        1 => "[a-z0-9./-]{0,300}".prop_map(OsString::from),
    ];
    prop::collection::vec(word, 0..8)
}

/// Text that is nearly JSON: a value with hostile strings in it, cut or changed somewhere.
fn nearly_json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        prop::sample::select(NASTY.to_vec()).prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        any::<f64>().prop_map(serde_json::Value::from),
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
    ];
    let keys = [
        "ingress",
        "egress",
        "default",
        "port",
        "protocol",
        "action",
        "source",
        "destination",
        "subnet",
        "description",
        "rules",
        "version",
        "network",
        "vpcs",
        "cidr",
        "changed_by",
        "host",
        "peerings",
        "mtu",
        "host_access",
        "subnets",
        "name",
        "instances",
        "nat",
        "policy",
    ];
    let key = prop_oneof![4 => prop::sample::select(keys.to_vec()).prop_map(str::to_owned), 1 => any::<String>()];
    let value = leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(serde_json::Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..6)
                .prop_map(|map| serde_json::Value::from(serde_json::Map::from_iter(map))),
        ]
    });
    (value, any::<prop::sample::Index>(), any::<Option<char>>()).prop_map(|(value, index, odd)| {
        let mut text = value.to_string();
        if let Some(odd) = odd {
            let at = text.char_indices().map(|(at, _)| at).nth(index.index(text.chars().count())).unwrap_or(0);
            text.insert(at, odd);
        }
        text
    })
}

/// The states of a network in which there is something of everything.
fn whole() -> Vec<State> {
    history(&session(), &|_| plain_facts())
}

fn document(network: State) -> String {
    let document = Document::new("a test", &network, Default::default());
    serde_json::to_string_pretty(&document).unwrap()
}

/// The state file's text as vpcctl understands it; nothing where it refuses it.
fn read(text: &str) -> Option<State> {
    let failure = match store::parse(Path::new("state.json"), text) {
        Ok(document) => return Some(document.network),
        Err(failure) => failure,
    };
    assert_eq!(failure.kind.exit_code(), 8);
    assert!(failure.message.contains("`state.json`") && failure.hint.is_some(), "{failure:?}");
    None
}

/// What is understood is sound, and reads the same when it is written again.
fn assert_sound(state: Option<State>) {
    if let Some(state) = state {
        assert_eq!(check::flaw(&state), None);
        assert_eq!(read(&document(state.clone())), Some(state));
    }
}

/// A word that means itself to `ip -batch`, `ipset restore`, `iptables-restore`, `nft` and a file system: no quote, no comment,
/// no end of a line, no variable, no wildcard.
fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.,:/=@!+*".contains(&byte))
}

/// The words of a line of `iptables-restore`, as it reads them: quotes hold a word together, and a backslash the next letter.
fn unquoted(line: &str) -> Option<Vec<(String, bool)>> {
    let (mut words, mut word, mut quoted, mut inside) = (Vec::new(), String::new(), false, false);
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => (quoted, inside) = (true, !inside),
            '\\' => word.push(letters.next()?),
            ' ' if !inside => words
                .extend((!word.is_empty() || quoted).then(|| (std::mem::take(&mut word), std::mem::take(&mut quoted)))),
            letter => word.push(letter),
        }
    }
    words.extend((!word.is_empty() || quoted).then_some((word, quoted)));
    (!inside).then_some(words)
}

/// What a tool is handed is words and nothing else.
fn assert_plain(call: &Call) -> TestCaseResult {
    for arg in &call.args {
        prop_assert!(is_plain(arg), "{arg:?} of {call:?}");
    }
    for line in &call.input {
        let text = &line.text;
        prop_assert!(text.is_ascii() && !text.contains(|c: char| c.is_ascii_control()), "{text:?}");
        match call.program {
            Program::IptablesRestore => assert_restore_line(text)?,
            // A filter's program is one word, with nothing but numbers in it.
            Program::Tc => {
                let is_word = |(word, quoted): &(String, bool)| match quoted {
                    true => word.bytes().all(|byte| byte.is_ascii_digit() || b" ,".contains(&byte)),
                    false => is_plain(word),
                };
                prop_assert!(unquoted(text).is_some_and(|words| words.iter().all(is_word)), "{text:?}");
            }
            _ => prop_assert!(text.split(' ').all(is_plain), "{text:?} for {:?}", call.program),
        }
    }
    Ok(())
}

fn assert_restore_line(text: &str) -> TestCaseResult {
    if text == "COMMIT" || text.starts_with('*') {
        prop_assert!(is_plain(text));
        return Ok(());
    }
    if let Some(declared) = text.strip_prefix(':') {
        let (chain, rest) = declared.split_once(' ').unwrap();
        prop_assert!(is_plain(chain) && ["- [0:0]", "DROP [0:0]"].contains(&rest), "{text:?}");
        return Ok(());
    }
    let words = unquoted(text);
    prop_assert!(words.is_some(), "an open quote: {text:?}");
    let mut before = String::new();
    for (word, quoted) in words.unwrap() {
        if before == "--comment" {
            prop_assert!(quoted && word.starts_with(MARK) && word.len() <= 255, "{text:?}");
            prop_assert!(word.split(' ').all(|part| is_plain(&part.replace(['\'', '[', ']'], ""))), "{text:?}");
        } else {
            prop_assert!(is_plain(&word) && !quoted, "{word:?} in {text:?}");
        }
        before = word;
    }
    // Nothing but the comment is quoted, and so nothing is escaped.
    prop_assert!(!text.contains('\\') && [0, 2].contains(&text.matches('"').count()), "{text:?}");
    Ok(())
}

/// Every step that leads from one state to the other and back.
fn assert_steps_plain(old: &State, new: &State) -> TestCaseResult {
    let plans = [between(old, new), between(new, old)];
    let steps: Vec<(_, batch::Steps)> = plans.iter().flat_map(batch::steps).collect();
    for step in steps.iter().flat_map(|(_, steps)| steps.iter()) {
        match step {
            Step::Run(call) => assert_plain(call)?,
            Step::Write(_, writes) => {
                for write in writes {
                    let key = &write.setting.key;
                    let is_path = key.split('/').all(|part| is_plain(part) && part != "..");
                    prop_assert!(is_path && is_plain(write.setting.value), "{write:?}");
                }
            }
            Step::Files(files) => {
                for file in files {
                    let path = file.path.to_str().unwrap();
                    prop_assert!(path.starts_with("/etc/netns/") && is_plain(path) && !path.contains(".."), "{path}");
                }
            }
            Step::Clean(leftovers) => prop_assert!(leftovers.iter().all(|it| it.to_string().split(' ').all(is_plain))),
            Step::EndProcesses(namespaces) => prop_assert!(namespaces.iter().all(|netns| is_plain(netns.as_str()))),
            Step::Start(launch) => {
                // The one free text: words of an argv behind `--`, whatever is in them.
                let words = launch.words("run-app");
                let own = words.iter().position(|word| word == "--").unwrap_or(words.len());
                prop_assert!(words[..own].iter().all(|word| is_plain(word)), "{words:?}");
                prop_assert_eq!(words.get(own + 1..).unwrap_or_default(), &launch.app.command[..]);
            }
            Step::Stop(ids) => prop_assert!(ids.iter().all(|id| is_plain(&id.file_stem()))),
        }
    }
    Ok(())
}

/// A topology file is refused with a place, or is an edit of a state that is sound.
fn read_topology(text: &str) {
    let source = Source { name: "net.yaml".into(), text: text.to_owned() };
    let mut state = State::default();
    let failure = match source.parse() {
        Err(failure) => failure,
        Ok(topology) => {
            let want = Want { topology: &topology, prune: true, pool: "198.19.0.0/16".parse().unwrap() };
            match want.edit(&mut state, &topology.ideal_host(&State::default())) {
                Ok(()) => return assert_eq!(check::flaw(&state), None),
                Err(misfit) => source.at(&misfit.path, misfit.failure),
            }
        }
    };
    assert!(failure.message.starts_with("net.yaml:") && failure.hint.is_some(), "{failure:?}");
    assert!(!failure.message.contains(char::is_control) && failure.message.chars().count() < 600, "{failure:?}");
}

/// Puts hostile words wherever a state has text of an operator's.
fn described(mut state: State, text: &str) -> State {
    for vpc in state.vpcs.values_mut().map(Arc::make_mut) {
        if let HostAccess::Overlaps(what) = &mut vpc.host_access {
            *what = text.into();
        }
        for subnet in vpc.subnets.values_mut() {
            let own = subnet.instances.values_mut().filter_map(|instance| instance.policy.as_mut());
            for policy in subnet.policy.iter_mut().chain(own) {
                policy.description = Some(text.into());
                let rules = policy.ingress.rules.iter_mut().chain(&mut policy.egress.rules);
                rules.for_each(|rule| rule.description = Some(text.into()));
            }
            subnet.apps.values_mut().for_each(|app| app.command = vec!["/bin/true".into(), text.replace('\0', " ")]);
        }
    }
    state
}

/// The same state under other names, which are put into its text: names, quoted, stand nowhere else in it.
fn renamed(state: &State, from: &str, to: &str) -> Option<State> {
    let text = document(state.clone()).replace(&format!("\"{from}\""), &format!("\"{to}\""));
    read(&text)
}

proptest! {
    // The same input in every run; PROPTEST_RNG_SEED and PROPTEST_CASES look further.
    #![proptest_config(ProptestConfig {
        cases: 256, rng_seed: RngSeed::Fixed(11), failure_persistence: None, ..ProptestConfig::default()
    })]

    #[test]
    fn no_command_line_brings_a_panic(words in words()) {
        let line: Vec<OsString> = std::iter::once("vpcctl".into()).chain(words).collect();
        if let Err(error) = cli::parse(line) {
            let text = error.render().to_string();
            prop_assert!(!text.is_empty());
            prop_assert!(!text.contains("panicked"));
        }
    }

    #[test]
    fn no_policy_file_brings_a_panic(text in prop_oneof![nearly_json(), any::<String>()]) {
        if let Err(failure) = policy_file::parse(&text, "file.json") {
            prop_assert_eq!(failure.kind.exit_code(), 2);
            prop_assert!(failure.message.starts_with("file.json") && failure.hint.is_some(), "{failure:?}");
            prop_assert!(!failure.message.contains(char::is_control) && failure.message.chars().count() < 400, "{failure:?}");
        }
    }

    #[test]
    fn no_topology_file_brings_a_panic(text in prop_oneof![nearly_json(), any::<String>()]) {
        read_topology(&text);
    }

    #[test]
    fn no_state_file_brings_a_panic(text in prop_oneof![nearly_json(), any::<String>()]) {
        assert_sound(read(&text));
    }

    #[test]
    fn a_damaged_state_file_is_refused_or_sound(at in any::<prop::sample::Index>(), bit in 0_u8..8, which in any::<prop::sample::Index>()) {
        let states = whole();
        let mut bytes = document(states[which.index(states.len())].clone()).into_bytes();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(text) = String::from_utf8(bytes) {
            assert_sound(read(&text));
        }
    }

    #[test]
    fn what_tools_are_handed_is_words(edits in edits(30), text in prop_oneof![prop::sample::select(NASTY.to_vec()).prop_map(str::to_owned), any::<String>()]) {
        let states = history(&edits, &|_| plain_facts());
        let states: Vec<State> = states.into_iter().map(|state| described(state, &text)).collect();
        for pair in states.windows(2) {
            prop_assert!(check::flaw(&pair[1]).is_none());
            assert_steps_plain(&pair[0], &pair[1])?;
        }
    }

    #[test]
    fn names_at_their_limits_are_words_too(to in "[A-Za-z][A-Za-z0-9_-]{0,62}", interface in "[A-Za-z0-9._][A-Za-z0-9._-]{0,14}", which in any::<prop::sample::Index>()) {
        let states = whole();
        let state = &states[which.index(states.len())];
        let names = state.vpcs.iter().flat_map(|(vpc, found)| {
            let subnets = found.subnets.iter();
            let inside = subnets.flat_map(|(name, subnet)| std::iter::once(name).chain(subnet.instances.keys()));
            std::iter::once(vpc.as_str()).chain(inside.map(|name| name.as_str()))
        });
        let names: Vec<&str> = names.collect();
        let chosen = (!names.is_empty()).then(|| names[which.index(names.len())]);
        if let Some(renamed) = chosen.and_then(|from| renamed(state, from, &to)) {
            assert_steps_plain(&State::default(), &renamed)?;
        }
        if let Some(renamed) = renamed(state, "eth0", &interface) {
            assert_steps_plain(&State::default(), &renamed)?;
        }
    }
}

#[test]
fn a_state_file_that_was_cut_anywhere_is_refused() {
    // Enough of everything, and short enough to be cut at each length.
    let state = whole().into_iter().max_by_key(|state| state.vpcs.len()).unwrap();
    let text = document(state.clone());
    let whole = text.trim_end().len();
    for length in 0..text.len() {
        let cut = read(&text[..length]);
        assert_eq!(cut, (length >= whole).then(|| state.clone()), "at {length}");
    }
    assert_eq!(read(&text), Some(state));
}

#[test]
fn each_byte_of_a_state_file_that_is_another_one_is_refused_or_sound() {
    let state = whole().into_iter().find(|state| !state.vpcs.is_empty()).unwrap();
    let text = document(state);
    for at in 0..text.len() {
        for other in [0, b' ', b'"', b'0', b'9', b'a', b'}', b'\n', 0x7f] {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = other;
            assert_sound(read(&String::from_utf8(bytes).unwrap()));
        }
    }
}

#[test]
fn a_name_that_stands_twice_in_a_state_file_is_refused() {
    for state in whole() {
        let text = document(state.clone());
        for name in state.vpcs.keys() {
            let line = format!("\"{name}\": {{");
            let Some((before, after)) = text.split_once(&line) else { continue };
            let vpc = serde_json::to_string(&state.vpcs[name]).unwrap();
            assert_eq!(read(&format!("{before}\"{name}\": {vpc},\n{line}{after}")), None, "{name}");
        }
    }
}

#[test]
fn peerings_are_read_in_their_order_and_none_twice() {
    let (mut state, facts, pool) = (State::default(), plain_facts(), "198.19.0.0/16".parse().unwrap());
    let names = ["a", "b", "c"].map(|name| name.parse::<VpcName>().unwrap());
    for (name, cidr) in names.iter().zip(["10.0.0.0/16", "10.1.0.0/16", "10.2.0.0/16"]) {
        let cidr = cidr.parse().unwrap();
        let spec = VpcSpec { name: name.clone(), cidr, host_access: false, wan: None, pool };
        create_vpc(&mut state, &spec, &facts).unwrap();
    }
    names[1..].iter().for_each(|other| peer(&mut state, &names[0], other, pool).unwrap());
    let mut reversed = state.clone();
    reversed.peerings.reverse();
    assert_eq!(read(&document(reversed)), Some(state.clone()));
    let mut doubled = state.clone();
    doubled.peerings[1].b = doubled.peerings[0].b.clone();
    assert_eq!(read(&document(doubled)), None);
}

#[test]
fn an_intent_is_called_so_when_it_is_damaged() {
    let failure = store::parse(Path::new("/var/lib/vpcctl/intent.json"), "{").unwrap_err();
    assert!(failure.message.starts_with("the intent `/var/lib/vpcctl/intent.json` is damaged"), "{failure}");
    assert!(failure.hint.unwrap().contains("vpcctl restore"));
}

#[test]
fn the_corpus_of_the_fuzz_targets_brings_no_panic() {
    let corpus = |target: &str| {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/seeds").join(target);
        let files = std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let read: Vec<Vec<u8>> = files.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect();
        assert!(read.len() > 3, "{target}");
        read
    };
    for bytes in corpus("policy_file") {
        let _ = policy_file::parse(&String::from_utf8_lossy(&bytes), "file.json");
    }
    for bytes in corpus("state_file") {
        let state = String::from_utf8(bytes).ok().and_then(|text| read(&text));
        assert_sound(state.clone());
        if let Some(state) = state {
            assert_steps_plain(&State::default(), &state).unwrap();
        }
    }
    for bytes in corpus("topology_file") {
        read_topology(&String::from_utf8_lossy(&bytes));
    }
    for bytes in corpus("command_line") {
        let words = bytes.split(|byte| *byte == b'\n').map(|word| OsString::from_vec(word.to_vec()));
        let _ = cli::parse(std::iter::once("vpcctl".into()).chain(words).collect());
    }
}
