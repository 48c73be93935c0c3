//! Files of configuration that bear our mark; one that doesn't is somebody else's and stays.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use crate::host::StepError;
use crate::plan::line::ConfigFile;
use crate::plan::resolver::FILE_MARK;
use crate::plan::script;

/// Writes the file, or removes it.
pub fn make_so(file: &ConfigFile) -> Result<(), StepError> {
    let path = &file.path;
    let result = match fs::read_to_string(path) {
        Ok(found) if !found.starts_with(FILE_MARK) => Ok(()),
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Err(error),
        _ => match &file.text {
            Some(text) => replace(path, text),
            None => remove(path),
        },
    };
    result.map_err(|error| StepError {
        object: format!("`{}`", path.display()),
        command: script::file_line(file),
        line: None,
        reason: error.to_string(),
        interrupted: false,
    })
}

/// As a whole, and for everybody to read, whatever the caller's umask.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let dir = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new().recursive(true).mode(0o755).create(dir)?;
    let beside = path.with_extension("vpcctl-new");
    if beside.symlink_metadata().is_ok() {
        fs::remove_file(&beside)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o644).open(&beside)?;
    file.write_all(text.as_bytes())?;
    fs::rename(beside, path)
}

/// With its directory, where nobody else has put anything into it.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // The namespace's own directory, and the one for all.
    for dir in path.ancestors().skip(1).take(2) {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => break,
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}
