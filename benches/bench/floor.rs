//! The floor: a network's kernel objects made by hand, in as few calls as possible.
//!
//! One thread makes one thing after the other, and does nothing else: no state, no lock, no log, no check. The objects are those
//! of vpcctl's own plan, so that both make the same; how they are made is decided here.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use vpcctl::host::settings::Settings;
use vpcctl::host::{namespace, run};
use vpcctl::model::kernel_names::Netns;
use vpcctl::model::state::State;
use vpcctl::plan::batch::{self, Call, Step, Steps};
use vpcctl::plan::line::{Place, Setting};
use vpcctl::plan::op::{Object, Op};
use vpcctl::plan::topology;

/// Everything that is done, ready before the clock starts.
#[derive(Debug)]
pub struct Floor {
    visits: Vec<Visit>,
}

/// What is done in one place.
#[derive(Debug)]
struct Visit {
    place: Place,
    jobs: Vec<Job>,
}

/// One thing that is done.
#[derive(Debug)]
enum Job {
    /// A tool reads its lines.
    Start { program: PathBuf, args: Vec<String>, input: String },
    /// A setting below `/proc/sys`.
    Set(Vec<Setting>),
    /// A file of configuration.
    Write(PathBuf, String),
    /// The end of one.
    Remove(PathBuf),
}

impl Floor {
    /// Makes all of a state, apps excepted.
    pub fn making(state: &State) -> Result<Self> {
        Self::of(&batch::making(&topology::ops(state)))
    }

    /// Unmakes all of it. Namespaces take with them what is in them, and the other ends of links that are in them.
    pub fn unmaking(state: &State) -> Result<Self> {
        let mut ops = topology::ops(state);
        ops.reverse();
        ops.retain(|op| !goes_by_itself(op));
        Self::of(&batch::unmaking(&ops))
    }

    fn of(steps: &Steps) -> Result<Self> {
        let mut visits: Vec<Visit> = Vec::new();
        for (place, job) in steps.iter().map(jobs).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            match visits.last_mut() {
                Some(visit) if visit.place == place => visit.jobs.push(job),
                _ => visits.push(Visit { place, jobs: vec![job] }),
            }
        }
        Ok(Floor { visits })
    }

    /// The number of processes that it starts.
    pub fn processes(&self) -> usize {
        let jobs = self.visits.iter().flat_map(|visit| &visit.jobs);
        jobs.filter(|job| matches!(job, Job::Start { .. })).count()
    }

    /// Does it all, and says how long it took.
    pub fn run(&self) -> Result<Duration> {
        let host = File::open("/proc/thread-self/ns/net")?;
        let started = Instant::now();
        let done = self.visits.iter().try_for_each(|visit| visit.run(&host));
        let elapsed = started.elapsed();
        enter(&host)?;
        done.map(|()| elapsed)
    }
}

impl Visit {
    fn run(&self, host: &File) -> Result<()> {
        match &self.place {
            Place::Host => enter(host),
            Place::Netns(netns) => enter(&File::open(namespace::path(netns))?),
        }?;
        self.jobs.iter().try_for_each(|job| job.run().with_context(|| format!("in {}: {job:?}", self.place)))
    }
}

impl Job {
    fn run(&self) -> Result<()> {
        match self {
            Job::Start { program, args, input } => {
                let status = command(program, args, input)?.status()?;
                ensure!(status.success(), "{status}");
                Ok(())
            }
            Job::Set(all) => Ok(set(all)?),
            Job::Write(path, text) => {
                path.parent().map(fs::create_dir_all).transpose()?;
                Ok(fs::write(path, text)?)
            }
            Job::Remove(path) => Ok(fs::remove_file(path)?),
        }
    }
}

/// Does it go with a namespace or a link that goes? The kernel lets go of a namespace some time after it was deleted, and so of the
/// host's ends of its cables: those are deleted, so that nothing is left on the host when the command ends.
fn goes_by_itself(op: &Op) -> bool {
    match &op.object {
        Object::Cable { ends, .. } => ends.iter().all(|end| end.place != Place::Host),
        Object::Sysctl(sysctl) => sysctl.device.is_some(),
        Object::Group { .. } => true,
        _ => op.place() == Place::Host && op.device().is_some(),
    }
}

fn jobs(step: &Step) -> Result<Vec<(Place, Job)>> {
    Ok(match step {
        Step::Run(call) => vec![(call.place.clone(), start(call)?)],
        Step::Write(place, writes) => {
            vec![(place.clone(), Job::Set(writes.iter().map(|write| write.setting.clone()).collect()))]
        }
        Step::Files(files) => {
            files.iter().map(|file| (Place::Host, in_file(&file.path, file.text.as_deref()))).collect()
        }
        // Nothing runs in these networks, and what the host's tables were before is not looked at.
        Step::Start(_) | Step::Stop(_) | Step::EndProcesses(_) | Step::Clean(_) => vec![],
    })
}

fn start(call: &Call) -> Result<Job> {
    let program = run::find(call.program.as_str())?;
    Ok(Job::Start { program, args: call.args.clone(), input: call.stdin() })
}

fn in_file(path: &Path, text: Option<&str>) -> Job {
    text.map_or_else(|| Job::Remove(path.into()), |text| Job::Write(path.into(), text.into()))
}

/// The tool, with all of its input before it begins.
fn command(program: &Path, args: &[String], input: &str) -> io::Result<Command> {
    let mut file = File::from(memfd_create("floor", MemfdFlags::CLOEXEC)?);
    file.write_all(input.as_bytes())?;
    file.rewind()?;
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::from(file)).stdout(Stdio::null());
    Ok(command)
}

fn set(all: &[Setting]) -> io::Result<()> {
    let mut settings = Settings::default();
    all.iter().try_for_each(|setting| match settings.write(&setting.key, setting.value) {
        Err(error) if setting.optional && error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    })
}

fn enter(namespace: &File) -> Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Runs one tool in a namespace or on the host.
pub fn tool(netns: Option<&str>, program: &str, args: &[&str], input: &str) -> Result<ExitStatus> {
    let host = File::open("/proc/thread-self/ns/net")?;
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    if let Some(netns) = netns {
        enter(&File::open(Path::new(namespace::NETNS_DIR).join(netns))?)?;
    }
    let status = command(Path::new(program), &args, input)?.status();
    enter(&host)?;
    Ok(status?)
}

/// Waits until the kernel has let go of every namespace that was deleted before: it does so in the background, one after the other,
/// and what is measured next would share the processors with it.
pub fn settle() -> Result<()> {
    let netns: Netns = "bench-last".parse()?;
    let link = "bench-last";
    let add =
        format!("netns add {netns}\nlink add name {link} type veth peer name eth0 netns {netns}\nnetns del {netns}\n");
    let status = tool(None, "ip", &["-batch", "-"], &add)?;
    ensure!(status.success(), "{status}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while namespace::has_link(link) {
        ensure!(Instant::now() < deadline, "the kernel doesn't let go of deleted namespaces");
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
