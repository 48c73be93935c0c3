//! Files of configuration that bear our mark; one that doesn't is somebody else's and stays.

use std::fs::{self, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::host::StepError;
use crate::own_file;
use crate::plan::line::ConfigFile;
use crate::plan::resolver::{self, FILE_MARK};
use crate::plan::script;

/// How much of a file is read: ours are smaller.
const READ_LIMIT: u64 = 4096;

/// The mode of a file that everybody may read.
const PUBLIC: u32 = 0o644;

/// How the kernel says that a directory is in use: by what is in it, or by what is mounted on it.
const STAYS: [io::ErrorKind; 2] = [io::ErrorKind::DirectoryNotEmpty, io::ErrorKind::ResourceBusy];

/// What is in the file, as far as that may be ours; nothing where there is none, or an empty one that a power cut left. What
/// can't be ours, such as a link, a directory or a FIFO, reads as a text without our mark.
pub fn read(path: &Path) -> Option<String> {
    // What is behind a link in the directory's place is somebody else's, whatever it says.
    if path.parent().is_some_and(Path::is_symlink) {
        return Some("in a directory that is a link".into());
    }
    let mut bytes = Vec::new();
    let read = own_file::open_to_read(path).and_then(|file| file.take(READ_LIMIT).read_to_end(&mut bytes));
    match read {
        Ok(0) => None,
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => None,
        Ok(_) => Some(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) => Some(format!("not readable: {error}")),
    }
}

/// Writes the file, or removes it.
pub fn make_so(file: &ConfigFile) -> Result<(), StepError> {
    let path = &file.path;
    if read(path).is_some_and(|found| !found.starts_with(FILE_MARK)) {
        return Ok(());
    }
    let result = match &file.text {
        Some(text) => replace(path, text),
        None => remove(path),
    };
    result.map_err(|error| StepError::new(format!("`{}`", path.display()), script::file_line(file), error.to_string()))
}

/// As a whole, and for everybody to read, whatever the caller's umask.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new(resolver::DIR));
    for dir in [Path::new(resolver::DIR), dir] {
        match fs::create_dir(dir) {
            Ok(()) => fs::set_permissions(dir, Permissions::from_mode(0o755))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    own_file::replace(path, &beside(path), text.as_bytes(), PUBLIC)
}

/// With its directory, unless somebody has put something into it or has mounted it.
fn remove(path: &Path) -> io::Result<()> {
    own_file::remove(path)?;
    own_file::remove(&beside(path))?;
    // The namespace's own directory, and the one for all.
    for dir in path.ancestors().skip(1).take(2) {
        match fs::remove_dir(dir) {
            Err(error) if STAYS.contains(&error.kind()) => break,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Where a file is written before it takes its name.
fn beside(path: &Path) -> PathBuf {
    path.with_extension("vpcctl-new")
}
