//! The tools: are they there, are they new enough, do they agree with each other?

use super::facts::Facts;
use super::version::Version;
use super::{Finding, Level};
use crate::model::flavour::Flavour;
use crate::plan::batch::Program;

/// What vpcctl asks of a tool.
struct Need {
    program: Program,
    id: &'static str,
    package: &'static str,
    /// The least version, what is wrong with an older one, and how much that is in the way.
    least: Option<(Version, &'static str, Level)>,
    /// What is lost without it.
    without: Option<&'static str>,
}

impl Need {
    const fn of(program: Program, id: &'static str, package: &'static str) -> Need {
        Need { program, id, package, least: None, without: None }
    }
}

/// In order of use. iptables and ipset: what is older was never tried with vpcctl, which is no proof that it fails.
const NEEDS: [Need; 7] = [
    Need {
        // To older ones the port option `locked` is an unknown word.
        least: Some((Version(5, 18), "can't lock a bridge's ports", Level::Problem)),
        ..Need::of(Program::Ip, "tool-ip", "iproute2")
    },
    Need::of(Program::Bridge, "tool-bridge", "iproute2"),
    Need {
        // Sets are compared as ipset 7 prints them.
        least: Some((Version(7, 0), "was never tried", Level::Warning)),
        ..Need::of(Program::Ipset, "tool-ipset", "ipset")
    },
    Need {
        // The first with the nf_tables flavour; older ones don't wait for the lock but fail.
        least: Some((Version(1, 8), "was never tried", Level::Warning)),
        ..Need::of(Program::IptablesRestore, "tool-iptables-restore", "iptables")
    },
    Need::of(Program::IptablesSave, "tool-iptables-save", "iptables"),
    Need {
        without: Some("an instance could put fragments into its neighbours' packets"),
        ..Need::of(Program::Tc, "tool-tc", "iproute2")
    },
    Need {
        without: Some(
            "empty tables stay after the last VPC, and chains that other software drops packets in are not seen",
        ),
        ..Need::of(Program::Nft, "tool-nft", "nftables")
    },
];

/// The tables that iptables' nf_tables flavour makes.
const IPTABLES_TABLES: [&str; 5] = ["filter", "nat", "mangle", "raw", "security"];

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = NEEDS.iter().filter_map(|need| tool(facts, need)).collect();
    if findings.is_empty() {
        findings.push(Finding::ok("tools", versions(facts)));
    }
    findings.extend(flavour(facts));
    findings.extend(mix(facts));
    findings
}

fn tool(facts: &Facts, need: &Need) -> Option<Finding> {
    let Need { program, id, package, least, without } = need;
    let name = program.as_str();
    let Some(text) = facts.tools.get(program) else {
        let remedy = format!("apt install {package}, or the package with `{name}` of this distribution");
        return Some(match without {
            Some(lost) => Finding::warning(id, format!("`{name}` is missing: {lost}"), remedy),
            None => Finding::problem(id, format!("`{name}` is missing in /usr/sbin, /usr/bin, /sbin and /bin"), remedy),
        });
    };
    let (least, flaw, level) = (*least)?;
    let remedy = Some(format!("install {package} {least} or later"));
    match Version::find(text) {
        Some(version) if version >= least => None,
        Some(version) => Some(Finding { id, level, what: format!("{package} {version} {flaw}: {least} can"), remedy }),
        None => {
            let what = format!("the version of `{name}` can't be told from `{text}`");
            Some(Finding { id, level: Level::Warning, what, remedy })
        }
    }
}

fn versions(facts: &Facts) -> String {
    let packages = [Program::Ip, Program::IptablesSave, Program::Ipset, Program::Nft];
    let version = |program: Program| {
        let package = NEEDS.iter().find(|need| need.program == program)?.package;
        let version = facts.tools.get(&program).and_then(|text| Version::find(text));
        Some(format!("{package} {}", version.map_or("of an unknown version".into(), |version| version.to_string())))
    };
    packages.into_iter().filter_map(version).collect::<Vec<_>>().join(", ")
}

/// From what `--version` prints. Before 1.8 there was one flavour, and nothing in brackets.
pub(super) fn flavour_in(text: &str) -> Flavour {
    if text.contains("nf_tables") { Flavour::Nft } else { Flavour::Legacy }
}

/// Nothing for a tool that is missing.
fn flavour_of(facts: &Facts, program: Program) -> Option<Flavour> {
    facts.tools.get(&program).map(|text| flavour_in(text))
}

fn flavour(facts: &Facts) -> Option<Finding> {
    let save = flavour_of(facts, Program::IptablesSave)?;
    let restore = flavour_of(facts, Program::IptablesRestore)?;
    let id = "iptables-flavour";
    if save != restore {
        let (save, restore) = (save.as_str(), restore.as_str());
        let what = format!("`iptables-save` is the {save} flavour and `iptables-restore` the {restore} one");
        return Some(Finding::problem(id, what, "set both with: update-alternatives --config iptables"));
    }
    let recorded = facts.state.readable().and_then(|state| state.host.iptables);
    if let Some(recorded) = recorded.filter(|recorded| *recorded != save) {
        let (recorded, save) = (recorded.as_str(), save.as_str());
        let what =
            format!("the VPCs' rules are in the {recorded} flavour of iptables, and `iptables` is the {save} one now");
        let remedy = "vpcctl keeps to theirs until the last VPC is deleted; new ones then take the host's";
        return Some(Finding::warning(id, what, remedy));
    }
    Some(match save {
        Flavour::Nft => Finding::ok(id, "iptables is the nf_tables flavour"),
        Flavour::Legacy => Finding::ok(id, "iptables is the legacy flavour; vpcctl is tested more with nf_tables"),
    })
}

/// Rules in both flavours: a packet has to pass both, and each tool shows one. Nothing to say where the tools themselves differ.
fn mix(facts: &Facts) -> Option<Finding> {
    let flavour = flavour_of(facts, Program::IptablesSave)?;
    if flavour_of(facts, Program::IptablesRestore)? != flavour {
        return None;
    }
    let (other, tables): (_, Vec<&str>) = match flavour {
        Flavour::Nft => ("legacy", facts.firewall.legacy_tables.seen()?.iter().map(String::as_str).collect()),
        Flavour::Legacy => {
            let chains = facts.firewall.nft.seen()?;
            let exists = |table: &&str| chains.iter().any(|chain| chain.family == "ip" && chain.table == *table);
            ("nft", IPTABLES_TABLES.into_iter().filter(exists).collect())
        }
    };
    if tables.is_empty() {
        return None;
    }
    let what =
        format!("the {other} flavour of iptables is in use too ({}): a packet has to pass both", tables.join(", "));
    let remedy = format!("move what iptables-{other}-save shows to the {} flavour, or flush it", flavour.as_str());
    Some(Finding::warning("iptables-mix", what, remedy))
}
