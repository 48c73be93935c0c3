use std::ffi::OsString;

use clap::CommandFactory;
use proptest::prelude::*;

use super::*;
use crate::cli::Cli;

fn rewritten(line: &str) -> String {
    let words = line.split(' ').map(OsString::from).collect();
    let words = canonical(words, &Options::of(&Cli::command()));
    words.iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

#[test]
fn other_spellings_become_the_commands_own_name() {
    let cases = [
        ("vpcctl vpc create --name a", "vpcctl create-vpc --name a"),
        ("vpcctl create-subnet --vpc a", "vpcctl add-subnet --vpc a"),
        ("vpcctl subnet add --vpc a", "vpcctl add-subnet --vpc a"),
        ("vpcctl nat enable --vpc a", "vpcctl enable-nat --vpc a"),
        ("vpcctl peer-vpcs --vpc1 a --vpc2 b", "vpcctl peer --vpc1 a --vpc2 b"),
        ("vpcctl deploy webserver --vpc a", "vpcctl deploy-app --vpc a"),
        ("vpcctl list-vpcs", "vpcctl list"),
        ("vpcctl vpc list -o json", "vpcctl list -o json"),
        ("vpcctl help vpc create", "vpcctl help create-vpc"),
        ("vpcctl help teardown-vpc", "vpcctl help delete-vpc"),
    ];
    for (typed, expected) in cases {
        assert_eq!(rewritten(typed), expected);
    }
}

#[test]
fn options_of_every_command_may_come_first_and_in_between() {
    let cases = [
        ("vpcctl --state-dir vpc -v vpc list", "vpcctl --state-dir vpc -v list"),
        ("vpcctl --state-dir=/x vpc -o json list", "vpcctl --state-dir=/x list -o json"),
        ("vpcctl -qo json vpc list", "vpcctl -qo json list"),
        ("vpcctl -ojson teardown-vpc a", "vpcctl -ojson delete-vpc a"),
        ("vpcctl -o vpc create", "vpcctl -o vpc create"),
    ];
    for (typed, expected) in cases {
        assert_eq!(rewritten(typed), expected);
    }
}

#[test]
fn a_vpc_may_be_called_like_a_verb() {
    let cases = [
        ("vpcctl peer create --vpc1 a --vpc2 b", "vpcctl peer --vpc1 a --vpc2 b"),
        ("vpcctl peer create --a=a --b=b", "vpcctl peer --a=a --b=b"),
        ("vpcctl peer create --bridge-a br-a --bridge-b br-b", "vpcctl peer --bridge-a br-a --bridge-b br-b"),
        ("vpcctl peer delete --vpc1 a --vpc2 b", "vpcctl unpeer --vpc1 a --vpc2 b"),
        ("vpcctl peer create a b", "vpcctl peer a b"),
        ("vpcctl peer create b", "vpcctl peer create b"),
        ("vpcctl peer delete create", "vpcctl peer delete create"),
        ("vpcctl peer create b --uplink-pool 10.9.0.0/24", "vpcctl peer create b --uplink-pool 10.9.0.0/24"),
        ("vpcctl peer create --dry-run b", "vpcctl peer create --dry-run b"),
    ];
    for (typed, expected) in cases {
        assert_eq!(rewritten(typed), expected);
    }
}

#[test]
fn what_follows_the_commands_name_is_left_alone() {
    for line in [
        "vpcctl exec vpc1 -- vpc list",
        "vpcctl exec vpc1 teardown-vpc vpc1",
        "vpcctl sandbox -- vpc list",
        "vpcctl -- vpc list",
        "vpcctl vpc",
        "vpcctl",
        "vpcctl help",
        "vpcctl --no-such-flag vpc list",
    ] {
        assert_eq!(rewritten(line), line);
    }
}

#[test]
fn the_tables_name_each_spelling_once_and_no_command_or_flag_anew() {
    let mut seen = std::collections::BTreeSet::new();
    for (command, spellings) in COMMANDS {
        for spelling in [command].into_iter().chain(*spellings) {
            assert!(seen.insert(*spelling), "{spelling}");
        }
        assert!(spellings.iter().all(|spelling| spelling.split(' ').count() <= 2), "{command}");
    }
    // An alias that is somebody's own name would hide one of them.
    with_flags(Cli::command()).debug_assert();
}

#[test]
fn every_flag_of_the_table_is_some_commands() {
    let command = with_flags(Cli::command());
    for (of, flag, names) in FLAGS {
        let commands = command.get_subcommands().filter(|command| of.is_empty() || of.contains(&command.get_name()));
        let arguments: Vec<&Arg> = commands.flat_map(Command::get_arguments).collect();
        let known = |arg: &&Arg| {
            arg.get_long() == Some(flag)
                && arg.get_all_aliases().is_some_and(|all| names.iter().any(|name| all.contains(name)))
        };
        assert!(arguments.iter().any(known), "--{flag}");
    }
}

#[test]
fn an_unknown_command_leads_to_commands_by_their_own_names() {
    let cases = [
        ("craete-vpc", "create-vpc"),
        ("teardwn-vpc", "delete-vpc"),
        ("create-subnets", "add-subnet"),
        ("peer-vpc", "peer"),
        ("inspekt", "inspect"),
        ("vpc", "create-vpc"),
        ("firewall", "apply-policy"),
    ];
    for (typed, expected) in cases {
        let found = meant(typed, &Cli::command());
        assert_eq!(found.first().map(String::as_str), Some(expected), "{typed}: {found:?}");
        assert!(found.len() <= OFFERED && !found.iter().any(|name| name.contains(' ')), "{found:?}");
    }
    assert!(meant("sandbox-ini", &Cli::command()).iter().all(|name| name == "sandbox"));
    assert!(meant("xyzzy", &Cli::command()).is_empty());
}

/// A word of a command line, many of them with a meaning somewhere in the tables.
fn word() -> impl Strategy<Value = OsString> {
    let nouns = COMMANDS.iter().flat_map(|(command, spellings)| [command].into_iter().chain(*spellings));
    let mut known: Vec<String> = nouns.flat_map(|spelling| spelling.split(' ')).map(str::to_owned).collect();
    let flags = ["-", "--", "-q", "-o", "-vo", "json", "--state-dir", "--dry-run", "--vpc1", "--a=b", "help", "exec"];
    known.extend(flags.map(str::to_owned));
    prop_oneof![
        4 => proptest::sample::select(known).prop_map(OsString::from),
        1 => ".*".prop_map(OsString::from),
        1 => proptest::collection::vec(any::<u8>(), 0..8).prop_map(std::os::unix::ffi::OsStringExt::from_vec),
    ]
}

proptest! {
    #[test]
    fn any_line_is_rewritten_without_a_panic_and_loses_a_verb_at_most(words in proptest::collection::vec(word(), 0..9)) {
        let after = canonical(words.clone(), &Options::of(&Cli::command()));
        prop_assert!(after.len() == words.len() || after.len() + 1 == words.len());
    }

    #[test]
    fn a_line_with_the_commands_own_name_is_left_alone(
        command in proptest::sample::select(COMMANDS),
        global in proptest::sample::select(vec!["-q", "--dry-run", "-ojson", "--state-dir=vpc"]),
        rest in proptest::collection::vec(word(), 0..6),
    ) {
        let (command, _) = command;
        let verb = rest.first().and_then(|word| word.to_str()).map(|verb| format!("{command} {verb}"));
        prop_assume!(verb.is_none_or(|pair| command_of(&pair).is_none()));
        // An option in front of the verb doesn't hide it.
        prop_assume!(!rest.first().is_some_and(|word| word.to_string_lossy().starts_with('-')));
        let line: Vec<OsString> = ["vpcctl", global, command].into_iter().map(OsString::from).chain(rest).collect();
        prop_assert_eq!(canonical(line.clone(), &Options::of(&Cli::command())), line);
    }
}
