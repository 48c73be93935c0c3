//! The sandbox's own view of the file system: mounts in its mount namespace, none of which the host sees.
//!
//! | path              | what is there                                                          |
//! |-------------------|------------------------------------------------------------------------|
//! | `/run`            | a tmpfs with `/run/netns`, `/run/lock` and the sandbox's own files       |
//! | `/proc`, `/sys`   | fresh: those of the new pid and network namespaces                     |
//! | `/etc`            | the host's, under a layer of the sandbox's own that holds `resolv.conf` |
//! | `/var/lib/vpcctl` | empty                                                                  |

use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Access, access};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};

use super::namespaces::refused;
use super::network::RESOLVER;
use crate::error::Result;

/// The sandbox's own files.
const OWN: &str = "/run/vpcctl-sandbox";
/// Holds `vpcctl` itself, for the front of the command's `PATH`.
pub const OWN_BIN: &str = "/run/vpcctl-sandbox/bin";

const STATE: &str = "/var/lib/vpcctl";
const RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where vpcctl keeps its state in this sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In the usual directory.
    Usual,
    /// In another one that has to be named to it, since the host's kernel doesn't let the usual one be replaced.
    At(&'static str),
}

/// Gives this mount namespace the sandbox's own files.
pub fn make_own() -> Result<State> {
    // Else mounts would appear on the host, wherever there is no user namespace to prevent it.
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|e| refused("detach the sandbox's mounts from the host's", &e.into()))?;
    mount_new("tmpfs", "/run")?;
    mount_new("proc", "/proc")?;
    mount_new("sysfs", "/sys")?;
    fill_run().map_err(|e| refused("fill `/run`", &e))?;
    own_etc()?;
    own_state()
}

/// Detaches this mount namespace from the host's, and gives it a /run of its own where this process can't write to the host's:
/// iptables-legacy has its lock there.
pub fn make_own_run() -> Result<()> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).map_err(|e| refused("detach mounts from the host's", &e.into()))?;
    if access("/run", Access::WRITE_OK).is_ok() { Ok(()) } else { mount_new("tmpfs", "/run") }
}

fn fill_run() -> io::Result<()> {
    for dir in ["/run/netns", "/run/lock", OWN_BIN] {
        make_dir(Path::new(dir))?;
    }
    symlink(std::env::current_exe()?, Path::new(OWN_BIN).join("vpcctl"))
}

fn own_etc() -> Result<()> {
    let layer = Layer::new("etc").map_err(|e| refused("prepare `/etc`", &e))?;
    let resolv_conf = layer.upper.join("resolv.conf");
    fs::write(&resolv_conf, format!("nameserver {RESOLVER}\n")).map_err(|e| refused("write `resolv.conf`", &e))?;
    if let Err(error) = layer.mount_over("/etc") {
        tracing::debug!("no layer over `/etc`: {error}");
        if let Err(error) = bind_resolv_conf(&resolv_conf) {
            tracing::warn!("cannot replace `{RESOLV_CONF}`, names won't resolve in the sandbox: {error}");
        }
    }
    if Path::new("/etc/netns").is_dir() { mount_new("tmpfs", "/etc/netns") } else { Ok(()) }
}

fn own_state() -> Result<State> {
    if Path::new(STATE).is_dir() {
        return mount_new("tmpfs", STATE).map(|()| State::Usual);
    }
    let elsewhere = "/run/vpcctl-sandbox/state";
    let layered = || -> io::Result<()> {
        let layer = Layer::new("var-lib")?;
        make_dir(&layer.upper.join("vpcctl"))?;
        layer.mount_over("/var/lib")
    };
    if let Err(error) = layered() {
        tracing::debug!("no layer over `/var/lib`: {error}");
        make_dir(Path::new(elsewhere)).map_err(|e| refused("make a state directory", &e))?;
        return Ok(State::At(elsewhere));
    }
    Ok(State::Usual)
}

/// A writable layer for one of the host's directories; what is written to the directory goes there.
struct Layer {
    upper: PathBuf,
    work: PathBuf,
}

impl Layer {
    fn new(name: &str) -> io::Result<Layer> {
        let own = Path::new(OWN);
        let layer = Layer { upper: own.join("upper").join(name), work: own.join("work").join(name) };
        make_dir(&layer.upper)?;
        make_dir(&layer.work)?;
        Ok(layer)
    }

    /// Fails before Linux 5.11, and where something is mounted below `lower` that the host's root put there, such as
    /// a running Docker container's files below /var/lib: an overlay would uncover what is beneath it.
    fn mount_over(&self, lower: &str) -> io::Result<()> {
        let (upper, work) = (self.upper.display(), self.work.display());
        let options = CString::new(format!("lowerdir={lower},upperdir={upper},workdir={work},userxattr"))?;
        Ok(mount("overlay", lower, "overlay", MountFlags::NOSUID | MountFlags::NODEV, options.as_c_str())?)
    }
}

/// Puts `ours` over the file that /etc/resolv.conf means, which the sandbox's own /run may have hidden.
fn bind_resolv_conf(ours: &Path) -> io::Result<()> {
    let mut target = PathBuf::from(RESOLV_CONF);
    if let Ok(link) = fs::read_link(&target) {
        target = lexical(&Path::new("/etc").join(link));
    }
    if target.starts_with("/run") && !target.exists() {
        target.parent().map_or(Ok(()), make_dir)?;
        fs::write(&target, "")?;
    }
    Ok(mount_bind(ours, &target)?)
}

/// `path` without `..`, and with /run for /var/run.
fn lexical(path: &Path) -> PathBuf {
    let plain = path.components().fold(PathBuf::new(), |mut plain, part| {
        if part == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
        plain
    });
    plain.strip_prefix("/var/run").map(|below| Path::new("/run").join(below)).unwrap_or(plain)
}

/// Mounts a new file system of kind `kind`.
fn mount_new(kind: &str, target: &str) -> Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let options = (kind == "tmpfs").then_some(c"mode=0755");
    mount(kind, target, kind, flags, options).map_err(|e| refused(&format!("mount {kind} on `{target}`"), &e.into()))
}

/// A directory that everyone may read, whatever the caller's umask.
fn make_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    fs::set_permissions(dir, Permissions::from_mode(0o755))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_into_run_is_followed_without_the_file_system() {
        let stub = Path::new("/run/systemd/resolve/stub-resolv.conf");
        assert_eq!(lexical(Path::new("/etc/../run/systemd/resolve/stub-resolv.conf")), stub);
        assert_eq!(lexical(Path::new("/var/run/systemd/resolve/stub-resolv.conf")), stub);
    }
}
