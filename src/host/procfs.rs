//! A procfs of vpcctl's own, for the settings of many namespaces.
//!
//! `/proc/sys/net/ipv4` is a dentry of its own for each network namespace, all with one parent and one name: they share one chain of
//! the kernel's dentry hash table, and each lookup walks it, up to three times. With 1,100 namespaces a command that makes one more
//! spends 4 ms there, a fifth of its time (Linux 6.18). A new procfs has dentries of its own, so its chain is empty. It is mounted
//! nowhere: nobody else sees it, and it ends with vpcctl.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{PROC_SUPER_MAGIC, StatVfsMountFlags, statfs, statvfs};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

use crate::host::namespace::NETNS_DIR;

/// The host's directory of settings.
pub const SETTINGS: &str = "/proc/sys";

/// The part of it that each namespace has for itself.
const OF_NAMESPACES: &str = "/proc/sys/net";

/// From so many namespaces on, one more loses more time in the chain than a procfs takes to be mounted and to end, some 170 µs.
const MANY: u64 = 64;

/// The bytes that tmpfs counts for each entry of a directory: `BOGO_DIRENT_SIZE` of Linux' `mm/shmem.c`.
const ENTRY: u64 = 20;

/// So often a procfs is handed out before the next one begins an empty chain: that is 5 µs for each, and no chain is long.
const SHARED_BY: usize = 32;

static SUPPLY: Mutex<Supply> = Mutex::new(Supply { asked: 0, root: None, is_refused: false });

/// Hands out the present procfs, and a new one after so many askings.
struct Supply {
    asked: usize,
    /// The present one's root; none while the host's will do.
    root: Option<Arc<OwnedFd>>,
    /// One can't be mounted here, or not be used.
    is_refused: bool,
}

/// The root of a procfs for the settings of a namespace; nothing where the host's will do, or where there is no other.
pub fn root_for_settings() -> Option<Arc<OwnedFd>> {
    supply().root_for_settings()
}

/// Hands out none any more: somebody keeps vpcctl from using them.
pub fn forgo() {
    let mut supply = supply();
    supply.root = None;
    supply.is_refused = true;
}

fn supply() -> MutexGuard<'static, Supply> {
    SUPPLY.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supply {
    fn root_for_settings(&mut self) -> Option<Arc<OwnedFd>> {
        if self.asked.is_multiple_of(SHARED_BY) && !self.is_refused {
            self.root = None;
            if has_many_namespaces() {
                self.root = mount().ok().map(Arc::new);
                self.is_refused = self.root.is_none();
            }
        }
        self.asked += 1;
        self.root.clone()
    }
}

/// Guessed from the directory's size, since to list it takes as long as what is to be saved. Where it isn't a tmpfs the guess may be
/// wrong, which costs time only.
fn has_many_namespaces() -> bool {
    fs::metadata(NETNS_DIR).is_ok_and(|dir| dir.len() >= MANY * ENTRY)
}

/// Mounts one, where the host's is what it seems to be and may be written to: who keeps vpcctl from that there means it here as well.
/// What is mounted on single directories further below isn't looked for, which would take as long as what is to be saved; in a user
/// namespace the kernel refuses a procfs where any part of the host's is covered.
fn mount() -> io::Result<OwnedFd> {
    if statfs(OF_NAMESPACES)?.f_type != PROC_SUPER_MAGIC || is_read_only(Path::new(OF_NAMESPACES)) {
        return Err(io::ErrorKind::ReadOnlyFilesystem.into());
    }
    let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(&context)?;
    let attributes =
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    Ok(fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Is the path on a read-only mount? Not where that can't be told.
pub fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY))
}
