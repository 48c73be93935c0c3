//! Gathers what `vpcctl doctor` judges by. Reads only: nothing of the host is set, made or loaded.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use rustix::fs::statvfs;
use rustix::process::{Resource, geteuid, getrlimit};
use serde::Deserialize;

use super::modules::Modules;
use super::procfs::{self, is_read_only};
use super::{StepError, facts, look, namespace, privilege, rules, run};
use crate::doctor::facts::{Caller, Facts, Features, Fill, Firewall, Limits, Look, Networks, NftChain, StateFacts};
use crate::doctor::features::{self, FEATURES};
use crate::error::{Failure, Kind};
use crate::model::cidr::Cidr;
use crate::model::facts::{FirewallFacts, HostNetwork};
use crate::model::name::IfName;
use crate::model::state::State;
use crate::plan::barrier::Barrier;
use crate::plan::batch::{Call, Program};
use crate::plan::line::Place;
use crate::plan::observed::{self, Seen};
use crate::plan::rule::Table;
use crate::plan::topology::is_uplink_group;
use crate::sandbox::{SANDBOX_VARIABLE, namespaces, probe};
use crate::store::Store;

/// The tools that vpcctl starts, and how each is asked for its version.
const TOOLS: [(Program, &str); 7] = [
    (Program::Ip, "-V"),
    (Program::Bridge, "-V"),
    (Program::Tc, "-V"),
    (Program::Ipset, "--version"),
    (Program::IptablesRestore, "--version"),
    (Program::IptablesSave, "--version"),
    (Program::Nft, "--version"),
];

/// The programs that change rules on their own.
const RULERS: [&str; 2] = ["dockerd", "firewalld"];

/// Everything that can be found out; `pool` is where uplinks would get their addresses from.
pub fn examine(store: &Store, pool: Cidr) -> Facts {
    let tools = tools();
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    let modules = Modules::read(&kernel);
    let caller = caller();
    let state = state(store, caller.root);
    let known = state.readable().cloned().unwrap_or_default();
    Facts {
        features: try_features(&modules, &tools),
        firewall: firewall(&modules, &tools, caller.lacking.is_empty()),
        networks: look::network().ok().map(|seen| networks(&seen, &known, pool)),
        barriers: if caller.lacking.is_empty() { barriers(&modules, &known, pool) } else { BTreeMap::new() },
        limits: limits(&known),
        userns_switch: namespaces::closed_switch(),
        settings_read_only: is_read_only(Path::new(procfs::SETTINGS)),
        dead_namespaces: namespace::dead_files(),
        mounts_private: mounts_private(),
        caller,
        tools,
        kernel,
        state,
    }
}

fn tools() -> BTreeMap<Program, String> {
    let version = |(program, option): (Program, &str)| {
        run::find(program.as_str()).ok()?;
        let output = run::run(&Call::plain(Place::Host, program, &[option])).ok();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        Some((program, text.lines().next().unwrap_or_default().to_owned()))
    };
    TOOLS.into_iter().filter_map(version).collect()
}

fn caller() -> Caller {
    Caller {
        root: geteuid().is_root(),
        lacking: privilege::lacking(),
        sandboxed: std::env::var_os(SANDBOX_VARIABLE).is_some(),
    }
}

/// Tries what needs no module that isn't there yet.
fn try_features(modules: &Modules, tools: &BTreeMap<Program, String>) -> Features {
    let iptables = tools.get(&Program::IptablesRestore).map(String::as_str).unwrap_or_default();
    let needed =
        |feature| features::modules(feature, iptables).into_iter().filter(|module| modules.is_unloaded(module));
    let unloaded = FEATURES.iter().flat_map(needed).collect();
    let tried: Vec<_> = FEATURES.iter().filter(|feature| needed(feature).next().is_none()).collect();
    match probe::start(&tried) {
        Err(why) => Features::Refused(why),
        Ok(probe::Outcome { refused: Some(why), .. }) => Features::Refused(why),
        Ok(probe::Outcome { working, failed, .. }) => {
            let id = |id: &String| features::find(id).map(|feature| feature.id);
            let failed = failed.into_iter().filter_map(|(name, why)| Some((id(&name)?, why)));
            Features::Tried { working: working.iter().filter_map(id).collect(), failed: failed.collect(), unloaded }
        }
    }
}

fn firewall(modules: &Modules, tools: &BTreeMap<Program, String>, allowed: bool) -> Firewall {
    // To ask nf_tables for rules loads it; where it isn't loaded, there are none.
    let empty = modules.is_unloaded("nf_tables");
    let may_ask = |program| allowed && tools.contains_key(&program);
    Firewall {
        rules: match may_ask(Program::IptablesSave) {
            true if empty => Look::Seen(Seen::default()),
            true => looked(
                rules::rules(&Place::Host, &[Table::Filter, Table::Nat].into()).map(|text| Seen::of_rules(&text)),
            ),
            false => Look::Unseen,
        },
        nft: match may_ask(Program::Nft) {
            true if empty => Look::Seen(Vec::new()),
            true => looked(nft_chains()),
            false => Look::Unseen,
        },
        legacy_tables: if allowed { Look::Seen(legacy_tables()) } else { Look::Unseen },
        programs: programs(),
        ufw_enabled: read("/etc/ufw/ufw.conf")
            .is_some_and(|text| text.lines().any(|line| line.trim() == "ENABLED=yes")),
        ip_forward: setting::<u8>("net/ipv4/ip_forward").map(|value| value != 0),
        rp_filter: setting("net/ipv4/conf/all/rp_filter"),
        bridge_netfilter: setting::<u8>("net/bridge/bridge-nf-call-iptables").map(|value| value != 0),
    }
}

/// What stops VPCs at the interfaces that they leave by, or would.
fn barriers(modules: &Modules, state: &State, pool: Cidr) -> BTreeMap<IfName, Barrier> {
    if modules.is_unloaded("nf_tables") {
        return BTreeMap::new();
    }
    let rules = facts::forward_rules();
    let default = look::network().ok().and_then(|seen| facts::default_wan(&seen.routes));
    let wans: BTreeSet<IfName> = state.host.wans.keys().cloned().chain(default).collect();
    wans.into_iter().filter_map(|wan| Some((wan.clone(), rules.barrier(&wan, pool.network())?))).collect()
}

fn looked<T>(result: Result<T, StepError>) -> Look<T> {
    match result {
        Ok(seen) => Look::Seen(seen),
        Err(error) => Look::Failed(error.reason),
    }
}

fn nft_chains() -> Result<Vec<NftChain>, StepError> {
    let call = Call::plain(Place::Host, Program::Nft, &["-j", "list", "chains"]);
    read_chains(&look::dump(&call)?).map_err(|error| StepError::of_call(&call, error.to_string()))
}

/// Reads `nft -j list chains`.
fn read_chains(text: &str) -> Result<Vec<NftChain>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Listing {
        nftables: Vec<Item>,
    }
    #[derive(Deserialize)]
    struct Item {
        chain: Option<NftChain>,
    }
    let listing: Listing = serde_json::from_str(text)?;
    Ok(listing.nftables.into_iter().filter_map(|item| item.chain).collect())
}

/// The tables of iptables-legacy that have rules. The kernel's list of those in use is asked first: the tool would load the
/// modules of others. Where the tool is missing, each counts that is in use.
fn legacy_tables() -> BTreeSet<String> {
    let names = read("/proc/net/ip_tables_names").unwrap_or_default();
    let names: BTreeSet<String> = names.lines().map(str::to_owned).collect();
    if names.is_empty() || run::find(Program::IptablesLegacySave.as_str()).is_err() {
        return names;
    }
    let Ok(text) = run::check(&Call::plain(Place::Host, Program::IptablesLegacySave, &[])) else {
        return names;
    };
    let chains = observed::chains(&text);
    let used = |table: &String| chains.iter().any(|((of, _), chain)| of == table && !chain.rules.is_empty());
    names.into_iter().filter(used).collect()
}

fn programs() -> BTreeSet<String> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = processes.filter_map(|process| fs::read_to_string(process.path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).filter(|name| RULERS.contains(&name.as_str())).collect()
}

fn networks(seen: &Seen, state: &State, pool: Cidr) -> Networks {
    let host = facts::from_seen(seen, state, FirewallFacts::default());
    let uplinks = seen.links.iter().filter(|(_, link)| is_uplink_group(&link.group)).map(|(name, _)| name);
    let uplinks: BTreeSet<&String> = uplinks.collect();
    let is_foreign = |name: &String| name.parse().is_ok_and(|name: IfName| host.links.contains_key(&name));
    // Nobody's uplinks are in the way, even where the state that would tell whose they are can't be read.
    let on_uplink = |network: &HostNetwork| uplinks.iter().any(|name| network.origin.ends_with(&format!(" on {name}")));
    Networks {
        foreign_uplinks: uplinks.iter().filter(|name| is_foreign(name)).map(|name| name.to_string()).collect(),
        networks: host.networks.iter().filter(|network| !on_uplink(network)).cloned().collect(),
        links: seen.links.iter().map(|(name, link)| (name.clone(), link.kind.clone())).collect(),
        has_default_route: host.default_wan.is_some(),
        default_wan: host.default_wan.clone(),
        pool: Some(pool),
    }
}

fn limits(state: &State) -> Limits {
    let fill = |used: Option<u64>, most: &str| Some(Fill { used: used?, most: setting(most)? });
    let named = fs::read_dir(namespace::NETNS_DIR).map_or(0, |entries| entries.count() as u64);
    let instances = state.vpcs.values().flat_map(|vpc| vpc.subnets.values()).map(|s| s.all_instances().count() as u64);
    // Those of instances are permanent: the limit isn't about them.
    let neighbours = neighbours().map(|all| all.saturating_sub(instances.sum()));
    Limits {
        open_files: getrlimit(Resource::Nofile).current,
        namespaces: fill(Some(named), "user/max_net_namespaces"),
        connections: fill(setting("net/netfilter/nf_conntrack_count"), "net/netfilter/nf_conntrack_max"),
        neighbours: fill(neighbours, "net/ipv4/neigh/default/gc_thresh3"),
    }
}

/// How many neighbours all namespaces have together: the first number, a hexadecimal one, below the heading.
fn neighbours() -> Option<u64> {
    let text = read("/proc/net/stat/arp_cache")?;
    u64::from_str_radix(text.lines().nth(1)?.split_whitespace().next()?, 16).ok()
}

/// In another mount namespace than the first process's, nobody else sees what is mounted below /run/netns, unless the mount that
/// it is on is shared.
fn mounts_private() -> Option<bool> {
    let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/mnt")).ok();
    Some(of("self")? != of("1")? && !is_shared(&read("/proc/self/mountinfo")?, Path::new(namespace::NETNS_DIR)))
}

/// Reads `36 35 98:0 / /run rw,nosuid shared:5 - tmpfs …`: the last mount that the path is on.
fn is_shared(mounts: &str, path: &Path) -> bool {
    let fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    let on = fields.filter(|fields| fields.get(4).is_some_and(|point| path.starts_with(point)));
    let nearest = on.max_by_key(|fields| fields[4].len());
    nearest.is_some_and(|fields| fields.iter().take_while(|word| **word != "-").any(|word| word.starts_with("shared:")))
}

fn state(store: &Store, root: bool) -> StateFacts {
    let dir = store.dir();
    let place = existing(dir);
    let intent = store.intent();
    let state = match intent.as_ref().map_or_else(|failure| Err(failure.clone()), |_| store.load()) {
        Err(Failure { kind: Kind::Privilege, .. }) => None,
        state => Some(state),
    };
    StateFacts {
        dir: dir.display().to_string(),
        flaw: if root && dir.symlink_metadata().is_ok() { store.check_dir().err() } else { None },
        state,
        cut_off: intent.ok().flatten().map(|document| document.changed_by),
        read_only: is_read_only(&place),
        free: statvfs(&place).ok().map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
        locked: may_be_locked(&store.lock_path()) && store.is_locked(),
    }
}

/// The directory itself, or the one above it that exists.
fn existing(dir: &Path) -> PathBuf {
    let found = dir.ancestors().find(|dir| dir.is_dir()).filter(|dir| !dir.as_os_str().is_empty());
    found.unwrap_or(Path::new(".")).to_owned()
}

/// Whether somebody may have locked the file: the kernel lists locks by number of the inode, and by a device that isn't always
/// the one that `stat` tells. Asked first, since to try a lock that is free would keep another vpcctl from it for an instant.
fn may_be_locked(path: &Path) -> bool {
    let inode = fs::metadata(path).map(|file| file.ino());
    inode.is_ok_and(|inode| read("/proc/locks").is_some_and(|locks| lists(&locks, inode)))
}

/// Reads `1: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF`.
fn lists(locks: &str, inode: u64) -> bool {
    let end = format!(":{inode}");
    locks.lines().any(|line| line.contains(" FLOCK ") && line.split(' ').any(|word| word.ends_with(&end)))
}

fn setting<T: FromStr>(key: &str) -> Option<T> {
    fs::read_to_string(Path::new(procfs::SETTINGS).join(key)).ok()?.trim().parse().ok()
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nft_lists_chains_among_other_things() {
        let text = r#"{"nftables": [{"metainfo": {"version": "1.0.6"}},
            {"chain": {"family": "ip", "table": "filter", "name": "FORWARD", "handle": 1, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
            {"chain": {"family": "inet", "table": "x", "name": "own", "handle": 2}}]}"#;
        let chains = read_chains(text).unwrap();
        assert_eq!(chains.len(), 2);
        assert_eq!((chains[0].hook.as_deref(), chains[0].policy.as_deref()), (Some("forward"), Some("drop")));
        assert_eq!((chains[1].table.as_str(), chains[1].hook.as_deref()), ("x", None));
    }

    #[test]
    fn a_lock_is_known_by_its_inode() {
        let locks = "1: POSIX  ADVISORY  WRITE 1 00:1f:77 0 EOF\n2: FLOCK  ADVISORY  WRITE 4711 fe:01:1234 0 EOF\n";
        assert!(lists(locks, 1234));
        assert!(!lists(locks, 234));
        assert!(!lists(locks, 77), "another kind of lock");
    }

    #[test]
    fn the_nearest_mount_tells_whether_namespaces_are_seen_by_others() {
        let (root, run) = ("22 1 8:1 / / rw shared:1 - ext4 a rw", "23 22 0:21 / /run rw,nosuid - tmpfs b rw");
        let netns = "24 23 0:21 /netns /run/netns rw shared:7 - tmpfs b rw";
        let shared = |mounts: &[&str]| is_shared(&mounts.join("\n"), Path::new("/run/netns"));
        assert!(shared(&[root]));
        assert!(!shared(&[root, run]));
        assert!(shared(&[root, netns, run]));
        assert!(!shared(&["22 1 8:1 / / rw - ext4 shared:1 rw"]), "a device with such a name");
    }
}
