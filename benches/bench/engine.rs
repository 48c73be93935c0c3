//! What commands cost, beside the floor: alternating, so that both meet the same machine. Of what is repeated a few times the best run
//! counts: what else runs on the machine makes a run slower, and none faster. Of the four commands, and of the subnet more beside an
//! empty host's, it is the median of many: in each run the kernel has tools wait for a time that is a matter of luck, and the luckiest
//! run of one side says nothing of the other.

use std::time::Duration;

use anyhow::{Result, ensure};
use vpcctl::model::state::State;

use super::empty_host::EmptyHost;
use super::floor::{self, Floor};
use super::networks::{self, FOUR_COMMANDS, Grid};
use super::program::Vpcctl;
use super::report::{Report, Row, SizeCost, Target};
use super::stats::{least, median};

/// How large and how often.
pub struct Plan {
    /// How often the four commands.
    pub first_steps: usize,
    /// The subnets of the networks, and how often each is built.
    pub sizes: &'static [(usize, usize)],
    /// How often commands that take a moment.
    pub short: usize,
}

/// The whole.
pub const FULL: Plan =
    Plan { first_steps: 30, sizes: &[(1, 5), (3, 5), (10, 5), (30, 3), (100, 3), (300, 1), (1000, 3)], short: 7 };

/// That they run.
pub const QUICK: Plan = Plan { first_steps: 1, sizes: &[(3, 1)], short: 1 };

/// Measures all of it.
pub fn run(plan: &Plan, report: &mut Report) -> Result<()> {
    four_commands(plan.first_steps, report)?;
    for &(subnets, times) in plan.sizes {
        eprintln!("{subnets} subnets …");
        let is_last = plan.sizes.last().is_some_and(|last| last.0 == subnets);
        let cost = grid(subnets, times, plan.short, is_last, report)?;
        report.sizes.push(cost);
    }
    Ok(())
}

/// One VPC, two subnets, NAT: four processes.
fn four_commands(times: usize, report: &mut Report) -> Result<()> {
    eprintln!("four commands …");
    let vpcctl = Vpcctl::new()?;
    let type_them = || FOUR_COMMANDS.iter().map(|words| vpcctl.time(words)).sum::<Result<Duration>>();
    type_them()?;
    let state = vpcctl.state()?;
    vpcctl.time(&["cleanup-all", "--yes"])?;
    let (make, unmake) = (Floor::making(&state)?, Floor::unmaking(&state)?);
    let (mut by_hand, mut by_vpcctl, mut each) = (vec![], vec![], vec![vec![]; FOUR_COMMANDS.len()]);
    for _ in 0..times {
        floor::settle()?;
        by_hand.push(ms(make.run()?));
        unmake.run()?;
        floor::settle()?;
        let mut total = 0.0;
        for (at, words) in FOUR_COMMANDS.iter().enumerate() {
            let took = ms(vpcctl.time(words)?);
            each[at].push(took);
            total += took;
        }
        by_vpcctl.push(total);
        vpcctl.time(&["cleanup-all", "--yes"])?;
    }
    let starts = FOUR_COMMANDS.iter().map(|words| vpcctl.processes(words)).sum::<Result<usize>>()?;
    vpcctl.time(&["cleanup-all", "--yes"])?;
    let row = Row::alone(GROUP, "create-vpc, 2 add-subnet, enable-nat", "ms", median(&by_vpcctl));
    report.rows.push(row.beside("floor", median(&by_hand)).target(Target::AtMost(2.0)));
    for (words, took) in FOUR_COMMANDS.iter().zip(&each) {
        report.rows.push(Row::alone(GROUP, format!("  {}", words.join(" ")), "ms", median(took)));
    }
    let row = Row::alone(GROUP, "  processes started by the four", "", starts as f64);
    report.rows.push(row.beside("floor", make.processes() as f64));
    vpcctl.forget()
}

const GROUP: &str = "commands";

/// A network of so many subnets: made and deleted by turns with the floor, and, while it stands, what else is asked of it.
fn grid(subnets: usize, times: usize, short: usize, is_last: bool, report: &mut Report) -> Result<SizeCost> {
    let vpcctl = Vpcctl::new()?;
    let network = Grid::of_subnets(subnets);
    let maker = Maker::new(&vpcctl, &network)?;
    let empty = is_last.then(EmptyHost::new).transpose()?;
    let mut times_of = Times::default();
    let state = maker.state(&vpcctl)?;
    let (make, unmake) = (Floor::making(&state)?, Floor::unmaking(&state)?);
    for round in 0..times {
        floor::settle()?;
        times_of.floor.push(ms(make.run()?));
        if round == 0 {
            vpcctl.pretend(&state)?;
            ensure!(vpcctl.time(&["check"]).is_ok(), "the floor doesn't make what vpcctl makes");
            // It goes next, and vpcctl is to know nothing of it.
            vpcctl.pretend(&State::default())?;
        }
        times_of.floor_delete.push(ms(unmake.run()?));
        floor::settle()?;
        times_of.apply.push(ms(maker.make(&vpcctl)?));
        if is_last || round + 1 == times {
            let (beside_all, beside_nothing) = one_more(&vpcctl, empty.as_ref(), short)?;
            times_of.one_more.extend(beside_all);
            times_of.beside_nothing.extend(beside_nothing);
        }
        if round + 1 == times {
            times_of.check = each(short.min(3), || vpcctl.time(&["check"]))?;
            times_of.list = each(short, || vpcctl.time(&["list"]))?;
            if is_last {
                readers(&vpcctl, subnets, short, report)?;
            }
        }
        times_of.delete.push(ms(vpcctl.time(&["cleanup-all", "--yes"])?));
    }
    let cost = times_of.cost(subnets);
    if is_last {
        let (made, deleted) = maker.memory(&vpcctl)?;
        let one_more = [&times_of.one_more, &times_of.beside_nothing].map(|took| median(took));
        report.rows.extend(rows(&cost, &maker, one_more, (made, deleted)));
        report.rows.push(processes(subnets, make.processes()));
    }
    vpcctl.forget()?;
    empty.map(EmptyHost::forget).transpose()?;
    Ok(cost)
}

/// What makes a whole network at once.
struct Maker<'a> {
    network: &'a Grid,
    file: Option<String>,
}

impl<'a> Maker<'a> {
    fn new(vpcctl: &Vpcctl, network: &'a Grid) -> Result<Self> {
        let file = vpcctl.file("topology.json");
        std::fs::write(&file, network.topology())?;
        let has_apply = vpcctl.knows("apply")?;
        Ok(Maker { network, file: has_apply.then(|| file.display().to_string()) })
    }

    fn name(&self) -> &'static str {
        if self.file.is_some() { "apply -f" } else { "restore" }
    }

    /// What it makes; nothing is left of it.
    fn state(&self, vpcctl: &Vpcctl) -> Result<State> {
        if self.file.is_none() {
            return self.network.state();
        }
        self.make(vpcctl)?;
        let state = vpcctl.state()?;
        vpcctl.time(&["cleanup-all", "--yes"])?;
        Ok(state)
    }

    fn words<'b>(&'b self, vpcctl: &Vpcctl) -> Result<Vec<&'b str>> {
        match &self.file {
            Some(file) => Ok(vec!["apply", "-f", file]),
            None => {
                vpcctl.pretend(&self.network.state()?)?;
                Ok(vec!["restore"])
            }
        }
    }

    fn make(&self, vpcctl: &Vpcctl) -> Result<Duration> {
        vpcctl.time(&self.words(vpcctl)?)
    }

    /// The memory that making and deleting take, in KiB.
    fn memory(&self, vpcctl: &Vpcctl) -> Result<(u64, u64)> {
        Ok((vpcctl.memory(&self.words(vpcctl)?)?, vpcctl.memory(&["cleanup-all", "--yes"])?))
    }
}

#[derive(Default)]
struct Times {
    floor: Vec<f64>,
    floor_delete: Vec<f64>,
    apply: Vec<f64>,
    delete: Vec<f64>,
    /// `add-subnet` beside all of it, and by turns beside nothing.
    one_more: Vec<f64>,
    beside_nothing: Vec<f64>,
    list: Vec<f64>,
    check: Vec<f64>,
}

impl Times {
    fn cost(&self, subnets: usize) -> SizeCost {
        SizeCost {
            subnets,
            floor: least(&self.floor),
            apply: least(&self.apply),
            floor_delete: least(&self.floor_delete),
            delete: least(&self.delete),
            one_more: least(&self.one_more),
            list: least(&self.list),
            check: least(&self.check),
        }
    }
}

fn rows(cost: &SizeCost, maker: &Maker<'_>, [one_more, first]: [f64; 2], (made, deleted): (u64, u64)) -> Vec<Row> {
    let subnets = cost.subnets;
    let alone = |what: String, figure: f64| Row::alone(GROUP, what, "ms", figure);
    vec![
        alone(format!("{} of {subnets} subnets", maker.name()), cost.apply)
            .beside("floor", cost.floor)
            .target(Target::AtMost(1.0)),
        alone(format!("cleanup-all of {subnets} subnets"), cost.delete)
            .beside("floor", cost.floor_delete)
            .target(Target::AtMost(2.0)),
        alone(format!("add-subnet beside {subnets} subnets"), one_more)
            .beside("empty host", first)
            .target(Target::AtMost(1.2)),
        memory(format!("memory of {}", maker.name()), made),
        memory("memory of cleanup-all".into(), deleted),
    ]
}

fn memory(what: String, kib: u64) -> Row {
    Row::alone(GROUP, what, "MiB", kib as f64 / 1024.0).target(Target::AtMost(64.0))
}

/// How many processes the floor needs, for each subnet.
fn processes(subnets: usize, floor: usize) -> Row {
    Row::alone(GROUP, "processes of the floor for each subnet", "", floor as f64 / subnets as f64)
}

/// Commands that only read.
fn readers(vpcctl: &Vpcctl, subnets: usize, short: usize, report: &mut Report) -> Result<()> {
    let of = |what: &str| format!("{what} of {subnets} subnets");
    let commands: [(&str, &[&str], f64); 4] = [
        ("list", &["list"], 50.0),
        ("list -o json", &["list", "-o", "json"], 50.0),
        ("inspect of one VPC", &["inspect", "vpc0"], 50.0),
        ("check", &["check"], 2000.0),
    ];
    for (name, words, most) in commands {
        let took = each(if name == "check" { short.min(3) } else { short }, || vpcctl.time(words))?;
        report.rows.push(Row::alone(GROUP, of(name), "ms", least(&took)).target(Target::AtMost(most)));
        if name != "check" {
            let starts = Row::alone(GROUP, format!("  processes of {name}"), "", vpcctl.processes(words)? as f64);
            report.rows.push(if name == "list" { starts.target(Target::AtMost(0.0)) } else { starts });
        }
    }
    report.rows.push(memory(of("memory of list"), vpcctl.memory(&["list"])?));
    report.rows.push(memory(of("memory of check"), vpcctl.memory(&["check"])?));
    Ok(())
}

/// How long each of a new VPC's first subnets takes, beside all else that is there, and by turns on an empty host. None is deleted in
/// between: the kernel would take its namespace apart in the background, and the next measurement would share the processors with that.
fn one_more(vpcctl: &Vpcctl, empty: Option<&EmptyHost>, times: usize) -> Result<(Vec<f64>, Vec<f64>)> {
    floor::settle()?;
    let there = |words: &[&str]| empty.map(|empty| empty.time(words)).transpose();
    let create = ["create-vpc", networks::ONE_MORE, "10.250.0.0/16"];
    vpcctl.time(&create)?;
    there(&create)?;
    let (mut beside_all, mut beside_nothing) = (vec![], vec![]);
    for n in 0..times {
        let (name, cidr) = (format!("s{n}"), format!("10.250.{n}.0/24"));
        let add = ["add-subnet", networks::ONE_MORE, &name, &cidr];
        // Each meets what the other has left the kernel to do.
        if n % 2 == 0 {
            beside_all.push(ms(vpcctl.time(&add)?));
        }
        beside_nothing.extend(there(&add)?.map(ms));
        if n % 2 == 1 {
            beside_all.push(ms(vpcctl.time(&add)?));
        }
    }
    let delete = ["delete-vpc", networks::ONE_MORE];
    vpcctl.time(&delete)?;
    there(&delete)?;
    floor::settle()?;
    Ok((beside_all, beside_nothing))
}

fn each(times: usize, work: impl Fn() -> Result<Duration>) -> Result<Vec<f64>> {
    (0..times).map(|_| work().map(ms)).collect()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
