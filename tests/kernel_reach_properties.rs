//! What `reach` says by the model is what packets do: random networks, each made by `apply -f` in a sandbox of its own, and every pair
//! of who is in them, by ping, TCP and UDP, on ports that policies name and others.
//!
//! `VPCCTL_REACH_CASES` is how many networks, `VPCCTL_REACH_SEED` the first one's seed.

#![allow(clippy::unwrap_used, reason = "a test that fails may panic")]

#[path = "support/random_topology.rs"]
mod random_topology;
mod support;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::path::Path;

use support::Sandbox;
use vpcctl::model::endpoint::Endpoint;
use vpcctl::model::kernel_names as names;
use vpcctl::model::state::State;
use vpcctl::plan::probe::Method;
use vpcctl::plan::trace::net::Net;
use vpcctl::plan::trace::{Model, Question, Verdict};
use vpcctl::store::Store;

/// How many networks are tried where nothing else is said, and from which seed on.
const CASES: u64 = 3;
const SEED: u64 = 20_261;

/// The ports that everybody listens on.
const PORTS: [u16; 3] = [22, 80, 5432];

/// How often what came too late is asked again.
const AGAIN: usize = 2;

const INTERNET: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);

/// A question, and where it is asked.
struct Asked {
    place: String,
    from: Endpoint,
    to: Ipv4Addr,
    method: Method,
}

#[derive(Default)]
struct Tally {
    compared: usize,
    open: usize,
    wrong: String,
}

#[test]
fn the_model_says_what_packets_do() {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{variable}={text}")))
    };
    let (cases, first) = (number("VPCCTL_REACH_CASES", CASES), number("VPCCTL_REACH_SEED", SEED));
    let mut tally = Tally::default();
    for seed in first..first + cases {
        compare_one(seed, &mut tally);
    }
    let Tally { compared, open, wrong } = tally;
    println!("{compared} pairs compared in {cases} networks, {open} of them open");
    assert!(wrong.is_empty(), "{wrong}");
    assert!(open * 20 > compared && (compared - open) * 20 > compared, "{open} of {compared} open: no test of both");
}

/// One network: made, asked, tried.
fn compare_one(seed: u64, tally: &mut Tally) {
    let text = random_topology::topology(seed);
    let mut sandbox = Sandbox::new();
    sandbox.file("net.yaml", &text);
    sandbox.ok("vpcctl apply -f $T/net.yaml");
    let state = read_state(&mut sandbox);
    let host = Net::plain("eth0", HOST, Ipv4Addr::new(198, 51, 100, 1));
    let model = Model::new(&state, &host).unwrap();
    let ends = ends(&state);
    for (place, _) in &ends {
        sandbox.serve(place, &PORTS);
    }
    let questions = questions(&state, &ends);
    let says: Vec<bool> = questions.iter().map(|asked| model_says(&model, asked)).collect();
    let mut found = tried(&mut sandbox, &questions.iter().collect::<Vec<_>>());
    // On a busy machine an answer may come too late: that is asked again.
    for _ in 0..AGAIN {
        let late: Vec<usize> = (0..found.len()).filter(|&at| says[at] && found[at] == "timeout").collect();
        let again = tried(&mut sandbox, &late.iter().map(|&at| &questions[at]).collect::<Vec<_>>());
        late.into_iter().zip(again).for_each(|(at, again)| found[at] = again);
    }
    for ((asked, found), says) in questions.iter().zip(found).zip(says) {
        tally.compared += 1;
        tally.open += usize::from(says);
        if says != found.starts_with("open") {
            let Asked { from, to, method, .. } = asked;
            let how = method.describe();
            let _ =
                writeln!(tally.wrong, "seed {seed}: {from} to {to} by {how}: the model says {says}, the wire {found}");
        }
    }
    assert!(tally.wrong.is_empty(), "{}\n{text}", tally.wrong);
}

/// Of all that is outside, one address answers.
fn model_says(model: &Model<'_>, Asked { from, to, method, .. }: &Asked) -> bool {
    let to_address = Endpoint::Address(*to);
    let question = Question { from: from.clone(), to: to_address, traffic: method.traffic(), internet: INTERNET };
    match model.ask(&question).verdict {
        Verdict::Left(_) => *to == INTERNET,
        verdict => verdict.is_reached(),
    }
}

fn read_state(sandbox: &mut Sandbox) -> State {
    let text = sandbox.state();
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("state.json"), text).unwrap();
    Store::new(Path::new(dir.path()).to_owned()).load().unwrap()
}

/// Everybody who can send, by namespace.
fn ends(state: &State) -> Vec<(String, Endpoint)> {
    let instances = Endpoint::instances(state, None).into_iter().map(|end| match &end {
        Endpoint::Instance(vpc, subnet, instance) => (names::instance(vpc, subnet, instance.as_ref()).to_string(), end),
        _ => unreachable!("an instance"),
    });
    instances.chain([("host".to_owned(), Endpoint::Host)]).collect()
}

/// Every sender, every address that there is, every kind of packet.
fn questions(state: &State, ends: &[(String, Endpoint)]) -> Vec<Asked> {
    let subnets = state.vpcs.values().flat_map(|vpc| vpc.subnets.values());
    let mut addresses: Vec<Ipv4Addr> = subnets
        .flat_map(|subnet| {
            let instances = subnet.all_instances().map(|(_, address, _)| address);
            // One that nobody has.
            instances.chain([subnet.gateway(), subnet.cidr.address(subnet.cidr.size() - 2).unwrap()])
        })
        .collect();
    addresses.extend(state.links().into_iter().flat_map(|link| [link.first(), link.second()]));
    addresses.extend([HOST, INTERNET]);
    addresses.sort_unstable();
    addresses.dedup();
    let mut questions = Vec::new();
    for (place, from) in ends {
        for &to in &addresses {
            for method in methods(to) {
                questions.push(Asked { place: place.clone(), from: from.clone(), to, method });
            }
        }
    }
    questions
}

/// On the internet somebody answers pings.
fn methods(to: Ipv4Addr) -> Vec<Method> {
    if to == INTERNET {
        return vec![Method::Ping];
    }
    let ports = PORTS.into_iter().flat_map(|port| [Method::Tcp(port), Method::Udp(port)]);
    ports.chain([Method::Ping]).collect()
}

/// What became of each, in their order: one process for each sender, all side by side.
fn tried(sandbox: &mut Sandbox, questions: &[&Asked]) -> Vec<String> {
    let mut targets: BTreeMap<&str, Vec<(usize, String)>> = BTreeMap::new();
    for (at, Asked { place, to, method, .. }) in questions.iter().enumerate() {
        let target = match method {
            Method::Ping => format!("ping:{to}"),
            Method::Tcp(port) => format!("tcp:{to}:{port}"),
            Method::Udp(port) => format!("udp:{to}:{port}"),
        };
        targets.entry(place).or_default().push((at, target));
    }
    let words = |targets: &[(usize, String)]| targets.iter().map(|(_, target)| target.clone()).collect::<Vec<_>>();
    let senders: Vec<(&str, Vec<String>)> = targets.iter().map(|(place, all)| (*place, words(all))).collect();
    let mut answers = vec![String::new(); questions.len()];
    for (place, found) in sandbox.probe_side_by_side(&senders) {
        for ((at, _), found) in targets[place].iter().zip(found) {
            answers[*at] = found;
        }
    }
    answers
}
