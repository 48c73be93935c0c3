//! The kernel's settings, of the namespace of the present thread.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::host::procfs;

/// The directories of one namespace's settings, each opened once, since a path is walked along a list of all namespaces: see
/// `procfs.rs`.
#[derive(Default)]
pub struct Settings {
    /// Which procfs they are in, once one was asked for: one of vpcctl's own, or the host's.
    root: Option<Option<Arc<OwnedFd>>>,
    dirs: BTreeMap<String, OwnedFd>,
}

impl Settings {
    /// What a setting is.
    pub fn read(&mut self, key: &str) -> io::Result<String> {
        let mut text = String::new();
        self.open(key, OFlags::RDONLY)?.read_to_string(&mut text)?;
        Ok(text.trim().to_owned())
    }

    /// Makes it so.
    pub fn write(&mut self, key: &str, value: &str) -> io::Result<()> {
        self.open(key, OFlags::WRONLY)?.write_all(value.as_bytes())
    }

    /// Is it this?
    pub fn is(&mut self, key: &str, value: &str) -> bool {
        self.read(key).is_ok_and(|found| found == value)
    }

    fn open(&mut self, key: &str, flags: OFlags) -> io::Result<File> {
        match self.open_below(key, flags) {
            Err(error) if error.kind() != ErrorKind::NotFound && matches!(self.root, Some(Some(_))) => {
                // What guards a host by paths may refuse those of a mount that is nowhere in its tree.
                procfs::forgo();
                *self = Settings { root: Some(None), dirs: BTreeMap::new() };
                self.open_below(key, flags)
            }
            opened => opened,
        }
    }

    fn open_below(&mut self, key: &str, flags: OFlags) -> io::Result<File> {
        let (dir, name) = split(key);
        let file = openat(self.dir(dir)?, name, flags | OFlags::CLOEXEC, Mode::empty())?;
        Ok(file.into())
    }

    fn dir(&mut self, name: &str) -> io::Result<impl AsFd> {
        if !self.dirs.contains_key(name) {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let opened = match self.root.get_or_insert_with(procfs::root_for_settings) {
                Some(root) => openat(root, Path::new("sys").join(name), flags, Mode::empty()),
                None => openat(CWD, Path::new(procfs::SETTINGS).join(name), flags, Mode::empty()),
            };
            self.dirs.insert(name.to_owned(), opened?);
        }
        self.dirs.get(name).ok_or_else(|| ErrorKind::NotFound.into())
    }
}

/// `net/ipv4`, and what follows it.
fn split(key: &str) -> (&str, &str) {
    let second = key.match_indices('/').nth(1).map_or(0, |(at, _)| at);
    (&key[..second], key[second..].trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_named_from_its_second_directory() {
        assert_eq!(split("net/ipv4/conf/eth0/forwarding"), ("net/ipv4", "conf/eth0/forwarding"));
        assert_eq!(split("kernel/ostype"), ("", "kernel/ostype"));
        assert_eq!(Settings::default().read("kernel/ostype").unwrap(), "Linux");
        assert!(!Settings::default().is("net/ipv4/ip_unprivileged_port_start", "no number"));
        assert_eq!(Settings::default().read("net/ipv4/nothing").unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
