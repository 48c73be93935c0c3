//! Files of vpcctl's own: opened only where they are what they should be, and replaced as a whole.
//!
//! Whoever can write to a directory can put a link, a FIFO or a device in a file's place. A file is opened without following
//! links and without waiting, and used only where it is a regular file of the caller's, or of root's. What is written is
//! written beside, under a name that nobody else has taken, brought to the disk, and renamed: readers see the old file or
//! the new one, and so does whoever comes after a power cut.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// The mode of a file that only root may read.
pub const PRIVATE: u32 = 0o600;

/// The mode of a directory that only root may enter.
const PRIVATE_DIR: u32 = 0o700;

/// Opens a file of ours; where it is created, for its owner alone, whatever the umask. The descriptor is closed on exec.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let opened = options.mode(PRIVATE).custom_flags(flags.bits() as i32).open(path);
    let file = opened.map_err(|error| match error.raw_os_error() {
        Some(code) if code == Errno::LOOP.raw_os_error() => io::Error::other("it is a symbolic link"),
        _ => error,
    })?;
    let metadata = file.metadata()?;
    let user = rustix::process::geteuid().as_raw();
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if metadata.uid() != user && metadata.uid() != 0 {
        return Err(io::Error::other(format!("it belongs to user {}, not to user {user}", metadata.uid())));
    }
    Ok(file)
}

/// Opens a file of ours to read it.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    open(path, OpenOptions::new().read(true))
}

/// Makes a directory, and those above it, for their owner alone.
pub fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(PRIVATE_DIR).create(dir)
}

/// Writes a file to the disk under a name that was not there, or was what a power cut left; removes what is half-written.
pub fn write_beside(beside: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    remove(beside)?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(beside)?;
    let written = file
        .set_permissions(Permissions::from_mode(mode))
        .and_then(|()| file.write_all(bytes))
        .and_then(|()| file.sync_all());
    if written.is_err() {
        // It is of no use to anybody; that it can't be removed either is no news.
        let _ = fs::remove_file(beside);
    }
    written
}

/// Replaces a file as a whole, by way of one beside it.
pub fn replace(path: &Path, beside: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write_beside(beside, bytes, mode)?;
    rename(beside, path)
}

/// Gives a file that is on the disk its name, on the disk too.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// Brings the names in a directory to the disk.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Removes a file that may be gone.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
