//! A second host, on which there is nothing: what is measured beside much is measured there by turns, and so on the same machine at
//! the same time.

use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::UnshareFlags;
use vpcctl::host::namespace;

use super::floor;
use super::program::Vpcctl;

/// A thread in namespaces of its own, and what it starts. It goes when nobody asks it any more.
pub struct EmptyHost {
    asked: Sender<Vec<String>>,
    took: Receiver<Result<Duration>>,
    thread: JoinHandle<()>,
}

impl EmptyHost {
    /// Starts it, before there is much elsewhere that its namespaces would keep.
    pub fn new() -> Result<Self> {
        let (asked, to_do) = channel();
        let (done, took) = channel();
        let thread = thread::Builder::new().spawn(move || serve(&to_do, &done))?;
        let host = EmptyHost { asked, took, thread };
        host.time(&["list"]).context("no empty host")?;
        Ok(host)
    }

    /// How long a command of vpcctl takes there that succeeds.
    pub fn time(&self, words: &[&str]) -> Result<Duration> {
        let gone = "the empty host is gone";
        self.asked.send(words.iter().map(ToString::to_string).collect()).context(gone)?;
        self.took.recv().context(gone)?
    }

    /// Takes it away.
    pub fn forget(self) -> Result<()> {
        drop(self.asked);
        self.thread.join().map_err(|_| anyhow!("the empty host panicked"))
    }
}

fn serve(to_do: &Receiver<Vec<String>>, done: &Sender<Result<Duration>>) {
    let host = set_up();
    for words in to_do {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let time = match &host {
            Ok(vpcctl) => vpcctl.time(&words),
            Err(error) => Err(anyhow!("{error:#}")),
        };
        if done.send(time).is_err() {
            return;
        }
    }
}

fn set_up() -> Result<Vpcctl> {
    namespace::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWNET)?;
    mount_change("/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    for dir in ["/run", "/etc/netns"] {
        fs::create_dir_all(dir)?;
        mount("none", dir, "tmpfs", MountFlags::empty(), Some(c"mode=755"))?;
    }
    ensure!(floor::tool(None, "ip", &["link", "set", "dev", "lo", "up"], "")?.success(), "`ip` failed");
    Vpcctl::new()
}
