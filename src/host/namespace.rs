//! Entering network namespaces, in a thread of its own: the process itself never leaves the host's.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, StatFs, fstatfs};
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::host::pool;
use crate::model::kernel_names::Netns;
use crate::plan::line::Place;

/// Where `ip netns` keeps namespaces by name.
pub const NETNS_DIR: &str = "/run/netns";

/// Where each of the host's interfaces has its settings.
const SETTINGS_OF_LINKS: &str = "/proc/sys/net/ipv4/conf";

/// The file system type of a namespace's file, from `linux/magic.h`.
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// The file that a namespace's name stands for.
pub fn path(netns: &Netns) -> PathBuf {
    Path::new(NETNS_DIR).join(netns.as_str())
}

/// Is there a file with the namespace's name, be it alive or the rest of one?
pub fn has_file(netns: &Netns) -> bool {
    path(netns).symlink_metadata().is_ok()
}

/// Is the namespace alive?
pub fn is_alive(netns: &Netns) -> bool {
    open(netns).is_ok()
}

/// Is what has the name neither a namespace nor the empty file that one leaves behind, such as a directory or a link to nowhere?
pub fn is_odd(netns: &Netns) -> bool {
    path(netns).symlink_metadata().is_ok_and(|file| !file.is_file()) && !(path(netns).is_file() && is_alive(netns))
}

/// Is there only the file left, without the mount that made it a namespace?
pub fn is_stale(netns: &Netns) -> bool {
    has_file(netns) && !is_alive(netns)
}

/// The files in [`NETNS_DIR`] that are no namespaces, whoever made them. They are not opened: only root could.
pub fn dead_files() -> Vec<String> {
    let is_dead = |path: &Path| rustix::fs::statfs(path).is_ok_and(|StatFs { f_type, .. }| f_type as u64 != NSFS_MAGIC);
    let entries = std::fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
    let dead = entries.filter(|entry| is_dead(&entry.path()));
    let mut names: Vec<String> = dead.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

/// The names in [`NETNS_DIR`] that could be ours, be they namespaces or not.
pub fn names() -> BTreeSet<Netns> {
    let entries = std::fs::read_dir(NETNS_DIR).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The names of the host's interfaces.
pub fn links() -> BTreeSet<String> {
    let entries = std::fs::read_dir(SETTINGS_OF_LINKS).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

/// Does the host have an interface of this name?
pub fn has_link(name: &str) -> bool {
    Path::new(SETTINGS_OF_LINKS).join(name).exists()
}

/// Is the name taken among the host's interfaces, be it as another name of one?
pub fn is_link_name_taken(name: &str) -> bool {
    let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None);
    has_link(name) || any.is_ok_and(|socket| name_to_index(&socket, name).is_ok())
}

/// The namespace's number, by which the processes in it are known.
pub fn inode(netns: &Netns) -> Option<u64> {
    open(netns).and_then(|file| file.metadata()).ok().map(|metadata| metadata.ino())
}

/// Opens the namespace. What has its name and is something else is not opened: a FIFO would wait for somebody who writes.
pub fn open(netns: &Netns) -> io::Result<File> {
    let handle = rustix::fs::open(path(netns), OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    let StatFs { f_type, .. } = fstatfs(&handle)?;
    if f_type as u64 == NSFS_MAGIC {
        return File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()));
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("{} is no namespace any more", path(netns).display())))
}

/// Moves this thread into new namespaces, or, for pid namespaces, its children to come. Other threads stay where they are.
#[expect(deprecated, reason = "deprecated since it is unsafe with CLONE_FILES, which is never among these flags")]
pub fn unshare(flags: UnshareFlags) -> io::Result<()> {
    Ok(rustix::thread::unshare(flags)?)
}

/// A way for threads to go from place to place: a thread for each place would cost more than most of what is done there.
pub struct Tour {
    home: File,
}

impl Tour {
    /// Runs `work` in a thread of its own, and in those that it starts: this one stays where it is.
    pub fn take<T: Send>(work: impl FnOnce(&Tour) -> T + Send) -> io::Result<T> {
        let tour = Tour { home: File::open("/proc/thread-self/ns/net")? };
        pool::apart(|| work(&tour))
    }

    /// Moves this thread into the place, for good or until it goes on. What it starts lives there too.
    pub fn go(&self, place: &Place) -> io::Result<()> {
        match place {
            Place::Host => enter(&self.home),
            Place::Netns(netns) => enter(&open(netns)?),
        }
    }
}

fn enter(namespace: &File) -> io::Result<()> {
    Ok(move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?)
}

/// Runs `work` in a place. What it starts lives there too.
pub fn within<T: Send>(place: &Place, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let Place::Netns(netns) = place else {
        return Ok(work());
    };
    let file = open(netns)?;
    pool::apart(move || -> io::Result<T> {
        enter(&file)?;
        Ok(work())
    })?
}
