//! Names in directories that are there after a loss of power.
//!
//! Syncing a file keeps its content; its name is kept by syncing the directory that it stands in, and so on upwards.
//! Everything here blocks.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

/// Makes a directory, and those above it, so that it stays. One that is there is fine.
pub(crate) fn make_directory(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Ok(()) => directory.parent().map_or(Ok(()), sync_directory),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => match directory.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                make_directory(parent)?;
                make_directory(directory)
            }
            _ => Err(error),
        },
        Err(error) => Err(error),
    }
}

/// Sees to it that the names in a directory stay.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    // The parent of a relative path of one name.
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    File::open(directory)?.sync_all()
}

/// Removes a directory with everything in it so that it stays gone. One that is not there is fine.
pub(crate) fn remove_directory(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Ok(()) => directory.parent().map_or(Ok(()), sync_directory),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
