//! What packets cost: between instances, beside a bare veth pair and beside the plain host bridge of the usual write-ups.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::floor;
use super::networks::Grid;
use super::program::Vpcctl;
use super::report::{Report, Row, Target};
use super::stats::median;
use super::traffic::{Measure, PORT, Path};

/// How long and how often.
pub struct Plan {
    time: Duration,
    times: usize,
    /// The rules of the long policy.
    rules: usize,
    /// The VPCs of the full host.
    vpcs: usize,
    /// How often the host is filled, by turns: a slow phase of the machine then falls on few VPCs as on many.
    fills: usize,
}

/// The whole.
pub const FULL: Plan = Plan { time: Duration::from_millis(100), times: 24, rules: 10_000, vpcs: 200, fills: 4 };

/// That they run.
pub const QUICK: Plan = Plan { time: Duration::from_millis(20), times: 1, rules: 20, vpcs: 2, fills: 1 };

/// One host with two bridges, as tutorials draw it, and a bare veth pair. It is a namespace of its own: the sandbox's host
/// stays as it is.
const BY_HAND: &str = "\
netns add bare-a
netns add bare-b
link add name eth0 netns bare-a type veth peer name eth0 netns bare-b
netns add plain
netns add plain-a
netns add plain-b
netns add plain-c
netns add plain-d
netns add plain-net
link add name br1 netns plain type bridge
link add name br2 netns plain type bridge
link add name a netns plain type veth peer name eth0 netns plain-a
link add name b netns plain type veth peer name eth0 netns plain-b
link add name c netns plain type veth peer name eth0 netns plain-c
link add name d netns plain type veth peer name eth0 netns plain-d
link add name wan netns plain type veth peer name eth0 netns plain-net
";

/// What is in each of these namespaces.
const INSIDE: [(&str, &str); 8] = [
    ("bare-a", "addr add 192.0.2.1/24 dev eth0\nlink set dev eth0 up\n"),
    ("bare-b", "addr add 192.0.2.2/24 dev eth0\nlink set dev eth0 up\n"),
    (
        "plain",
        "link set dev a master br1\nlink set dev b master br1\nlink set dev c master br1\nlink set dev d master br2\n\
         addr add 10.1.1.1/24 dev br1\naddr add 10.1.2.1/24 dev br1\naddr add 10.2.1.1/24 dev br2\n\
         addr add 192.0.2.1/24 dev wan\nlink set dev br1 up\nlink set dev br2 up\nlink set dev a up\nlink set dev b up\n\
         link set dev c up\nlink set dev d up\nlink set dev wan up\n",
    ),
    ("plain-a", "addr add 10.1.1.2/24 dev eth0\nlink set dev eth0 up\nroute add default via 10.1.1.1\n"),
    ("plain-b", "addr add 10.1.1.3/24 dev eth0\nlink set dev eth0 up\nroute add default via 10.1.1.1\n"),
    ("plain-c", "addr add 10.1.2.2/24 dev eth0\nlink set dev eth0 up\nroute add default via 10.1.2.1\n"),
    ("plain-d", "addr add 10.2.1.2/24 dev eth0\nlink set dev eth0 up\nroute add default via 10.2.1.1\n"),
    ("plain-net", "addr add 192.0.2.2/24 dev eth0\nlink set dev eth0 up\n"),
];

/// The commands that make the VPCs, before their policies.
const VPCS: [&[&str]; 10] = [
    &["create-vpc", "wire", "172.16.0.0/16"],
    &["add-subnet", "wire", "one", "172.16.1.0/24", "--public"],
    &["add-instance", "wire/one/second"],
    &["add-subnet", "wire", "two", "172.16.2.0/24"],
    &["add-subnet", "wire", "long", "172.16.3.0/24"],
    &["add-subnet", "wire", "short", "172.16.4.0/24"],
    &["create-vpc", "other", "172.17.0.0/16"],
    &["add-subnet", "other", "one", "172.17.1.0/24"],
    &["peer", "wire", "other"],
    &["enable-nat", "wire"],
];

const GROUP: &str = "the wire";

/// A name, and the way by vpcctl and by the host bridge.
fn paths() -> [(&'static str, Path, Path); 4] {
    [
        (
            "in a subnet",
            path("wire-one", "wire-one-second", [172, 16, 1, 3]),
            path("plain-a", "plain-b", [10, 1, 1, 3]),
        ),
        ("of two subnets", path("wire-one", "wire-two", [172, 16, 2, 2]), path("plain-a", "plain-c", [10, 1, 2, 2])),
        ("over a peering", path("wire-one", "other-one", [172, 17, 1, 2]), path("plain-a", "plain-d", [10, 2, 1, 2])),
        ("through NAT", path("wire-one", "internet", [203, 0, 113, 10]), path("plain-a", "plain-net", [192, 0, 2, 2])),
    ]
}

fn path(client: &str, server: &str, address: [u8; 4]) -> Path {
    Path { client: client.into(), server: server.into(), address: Ipv4Addr::from(address) }
}

/// Measures all of it.
pub fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    eprintln!("the wire …");
    by_hand()?;
    let vpcctl = Vpcctl::new()?;
    make_vpcs(&vpcctl)?;
    for measure in [Measure::Throughput, Measure::Packets, Measure::RoundTrip, Measure::RoundTrip99] {
        side_by_side(plan, measure, report)?;
    }
    policies(plan, &vpcctl, report)?;
    many_vpcs(plan, &vpcctl, report)?;
    vpcctl.time(&["cleanup-all", "--yes"])?;
    vpcctl.forget()
}

/// All ways by turns: a machine that is busy for a while is so for all of them.
fn side_by_side(plan: &Plan, measure: Measure, report: &mut Report) -> Result<()> {
    let bare = path("bare-a", "bare-b", [192, 0, 2, 2]);
    let ways: Vec<Path> = paths().into_iter().flat_map(|(_, ours, plain)| [ours, plain]).chain([bare]).collect();
    let figures = by_turns(plan, measure, &ways)?;
    let (name, unit) = measure.words();
    let (bare, pairs) = figures.split_last().map_or((0.0, &[][..]), |(last, rest)| (*last, rest));
    for ((way, ..), pair) in paths().iter().zip(pairs.chunks(2)) {
        let row = Row::alone(GROUP, format!("{name}, {way}"), unit, pair[0]).beside("host bridge", pair[1]);
        let has_target = measure == Measure::Throughput;
        report.rows.push(if has_target { row.target(Target::AtLeast(0.8)) } else { row });
    }
    let in_subnet = pairs.first().copied().unwrap_or(0.0);
    report.rows.push(Row::alone(GROUP, format!("{name}, in a subnet"), unit, in_subnet).beside("bare veth", bare));
    Ok(())
}

/// The median of each way, all ways by turns.
fn by_turns(plan: &Plan, measure: Measure, ways: &[Path]) -> Result<Vec<f64>> {
    let mut figures = vec![vec![]; ways.len()];
    for _ in 0..plan.times {
        for (way, figures) in ways.iter().zip(&mut figures) {
            figures.push(measure.take(way, plan.time)?);
        }
    }
    Ok(figures.iter().map(|figures| median(figures)).collect())
}

/// A policy of many rules beside one of a single rule. The rule that lets the client in is the last.
fn policies(plan: &Plan, vpcctl: &Vpcctl, report: &mut Report) -> Result<()> {
    eprintln!("a policy of {} rules …", plan.rules);
    for (subnet, cidr, rules) in [("short", "172.16.4.0/24", 1), ("long", "172.16.3.0/24", plan.rules)] {
        let file = vpcctl.file(&format!("{subnet}.json"));
        std::fs::write(&file, policy(cidr, rules))?;
        vpcctl.time(&["apply-policy", &format!("wire/{subnet}"), &file.display().to_string()])?;
    }
    let ways = [path("wire-one", "wire-long", [172, 16, 3, 2]), path("wire-one", "wire-short", [172, 16, 4, 2])];
    for (measure, least) in
        [(Measure::Throughput, Some(0.9)), (Measure::Connections, Some(0.75)), (Measure::RoundTrip, None)]
    {
        let figures = by_turns(plan, measure, &ways)?;
        let (name, unit) = measure.words();
        let row = Row::alone(GROUP, format!("{name}, policy of {} rules", plan.rules), unit, figures[0]);
        let row = row.beside("of 1 rule", figures[1]);
        report.rows.push(match least {
            Some(least) => row.target(Target::AtLeast(least)),
            None => row,
        });
    }
    Ok(())
}

/// Every rule lets another source in, by another port, so that none can stand for its neighbour.
fn policy(cidr: &str, rules: usize) -> String {
    let other = |n: usize| json!({"source": format!("10.{}.{}.0/24", n / 250 % 250, n % 250), "port": 1024 + n * 7 % 3000, "protocol": "tcp", "action": "allow"});
    let last = json!({"source": "172.16.1.0/24", "port": PORT, "protocol": "tcp", "action": "allow"});
    let udp = json!({"source": "172.16.1.0/24", "port": PORT, "protocol": "udp", "action": "allow"});
    let ingress: Vec<_> = (2..rules).map(other).chain([udp, last]).collect();
    json!({"subnet": cidr, "ingress": ingress}).to_string()
}

/// The same way with few and with many VPCs on the host, by turns.
fn many_vpcs(plan: &Plan, vpcctl: &Vpcctl, report: &mut Report) -> Result<()> {
    eprintln!("{} VPCs …", plan.vpcs);
    let measures = [Measure::Packets, Measure::RoundTrip, Measure::Throughput];
    let (mut few, mut many) = (vec![vec![]; measures.len()], vec![vec![]; measures.len()]);
    let [_, (_of_two_subnets, way, _), ..] = paths();
    let take = |figures: &mut Vec<Vec<f64>>| -> Result<()> {
        for (measure, figures) in measures.iter().zip(figures) {
            for _ in 0..plan.times.div_ceil(plan.fills) {
                figures.push(measure.take(&way, plan.time)?);
            }
        }
        Ok(())
    };
    for _ in 0..plan.fills {
        take(&mut few)?;
        let mut state = vpcctl.state()?;
        Grid::of_vpcs(plan.vpcs).add_to(&mut state)?;
        vpcctl.pretend(&state)?;
        vpcctl.time(&["restore"])?;
        take(&mut many)?;
        vpcctl.time(&["cleanup-all", "--yes"])?;
        floor::settle()?;
        make_vpcs(vpcctl)?;
    }
    for ((measure, few), many) in measures.iter().zip(&few).zip(&many) {
        let (name, unit) = measure.words();
        let what = format!("{name}, {} VPCs on the host", plan.vpcs);
        let row = Row::alone(GROUP, what, unit, median(many)).beside("2 VPCs", median(few));
        report.rows.push(match measure {
            Measure::RoundTrip => row,
            _ => row.target(Target::AtLeast(0.9)),
        });
    }
    Ok(())
}

fn make_vpcs(vpcctl: &Vpcctl) -> Result<()> {
    VPCS.iter().try_for_each(|words| vpcctl.time(words).map(|_| ()))
}

fn by_hand() -> Result<()> {
    let run = |netns: Option<&str>, program: &str, args: &[&str], input: &str| -> Result<()> {
        let done = floor::tool(netns, program, args, input)?;
        ensure!(done.success(), "`{program}` in {netns:?}: {done}");
        Ok(())
    };
    run(None, "ip", &["-batch", "-"], BY_HAND)?;
    for (netns, lines) in INSIDE {
        run(Some(netns), "ip", &["-batch", "-"], lines)?;
    }
    run(Some("plain"), "sysctl", &["-q", "-w", "net.ipv4.ip_forward=1"], "")?;
    let masquerade = "*nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n";
    run(Some("plain"), "iptables-restore", &["-w", "30"], masquerade)
}
