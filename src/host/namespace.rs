//! Entering network namespaces, in a thread of its own: the process itself never leaves the host's.

use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, StatFs, fstatfs};
use rustix::io::Errno;
use rustix::net::netdevice::name_to_index;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
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
    has_link(name) || link_number(name).is_ok_and(|number| number.is_some())
}

/// The number of an interface of this thread's namespace; nothing where there is none of this name.
pub fn link_number(name: &str) -> io::Result<Option<u32>> {
    let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    match name_to_index(&any, name) {
        Ok(number) => Ok(Some(number)),
        Err(Errno::NODEV) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The namespace's number, by which the processes in it are known.
pub fn inode(netns: &Netns) -> Option<u64> {
    open(netns).and_then(|file| file.metadata()).ok().map(|metadata| metadata.ino())
}

/// The numbers of these namespaces, but for the host's own, to which somebody may have given a name of ours.
pub fn inodes_but_own(namespaces: &[Netns]) -> BTreeSet<u64> {
    let own = ["/proc/self/ns/net", "/proc/1/ns/net"].map(|path| std::fs::metadata(path).ok());
    // All files of namespaces are in one file system.
    let nsfs = own.iter().flatten().next().map(Metadata::dev);
    let all = namespaces.iter().filter_map(|netns| path(netns).metadata().ok());
    let alive = all.filter(|file| Some(file.dev()) == nsfs).map(|file| file.ino());
    alive.filter(|inode| own.iter().flatten().all(|own| own.ino() != *inode)).collect()
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

/// Namespaces that stay alive without a name, until they are let go of.
///
/// The kernel begins to take a namespace apart, in the background, when its last name is gone, and what takes the next name away
/// waits for a processor that is busy with that: 1,100 of them in 25 to 200 ms, and in 25 where none of them ends before all have
/// lost their names.
#[derive(Debug, Default)]
pub struct Held {
    files: Vec<File>,
    /// How many files this process might have open before, where those were too few.
    before: Option<Rlimit>,
}

impl Held {
    /// All of these that are alive; none where the process may not have so many files open.
    ///
    /// So many threads may be at work meanwhile, each with files of its own and its tool's.
    pub fn open(namespaces: &[Netns], threads: usize) -> Self {
        let limit = getrlimit(Resource::Nofile);
        let wanted = namespaces.len() as u64 + files_besides(threads);
        let before = limit.current.is_some_and(|current| current < wanted).then_some(limit);
        let raise = |limit: Rlimit| setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), ..limit });
        if before.is_some_and(|limit| limit.maximum.is_some_and(|most| most < wanted) || raise(limit).is_err()) {
            return Held::default();
        }
        Held { files: namespaces.iter().filter_map(|netns| open(netns).ok()).collect(), before }
    }

    /// Lets the kernel take them apart.
    pub fn let_go(self) {
        drop(self.files);
        if let Some(before) = self.before {
            let _ = setrlimit(Resource::Nofile, before);
        }
    }
}

/// The files that a thread has open where it is, those of its tool included.
const FILES_OF_A_THREAD: u64 = 16;

/// How many files the process may have open besides.
fn files_besides(threads: usize) -> u64 {
    let open = std::fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count());
    open as u64 + FILES_OF_A_THREAD * (threads as u64 + 1)
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
