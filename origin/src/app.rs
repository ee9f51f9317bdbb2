//! What a running server holds: cheap to clone, shared by every handler.
//!
//! At most one server at a time has a data directory: [`App::open`] takes a lock on `headwater.lock` in it and holds it
//! for as long as any clone lives. The lock is on that file and never on a database, so that backups and `sqlite3` read
//! on while the server runs. The system drops it when the process ends, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::config::Config;

/// Handles to everything the handlers need.
#[derive(Clone, Debug)]
pub struct App {
    config: Arc<Config>,
    _lock: Arc<File>,
}

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has it.
    #[error("the data directory {} is in use by another server", .0.display())]
    InUse(PathBuf),
    /// It could not be made, or its lock could not be taken.
    #[error("the data directory {} cannot be used", path.display())]
    Io {
        /// The file or directory that could not be used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl App {
    /// Opens the data directory that `config` names, making it when it is missing.
    ///
    /// # Errors
    ///
    /// When another server has it, or the system refuses.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let lock = lock(&config.storage.data_directory)?;
        Ok(Self { config: Arc::new(config), _lock: Arc::new(lock) })
    }

    /// The configuration the server was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let io = |path: &Path, source| OpenError::Io { path: path.to_owned(), source };
    fs::create_dir_all(directory).map_err(|source| io(directory, source))?;
    let path = directory.join("headwater.lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(|source| io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(&path, source)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn config(data_directory: &Path) -> Config {
        Config::from_variables([("PDS_DATA_DIRECTORY", data_directory)]).unwrap()
    }

    #[test]
    fn a_missing_data_directory_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        let _app = App::open(config(&directory)).unwrap();
        assert!(directory.join("headwater.lock").is_file());
    }

    #[test]
    fn a_second_server_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = App::open(config(directory.path())).unwrap();
        assert!(matches!(App::open(config(directory.path())), Err(OpenError::InUse(_))));
        drop(first);
        App::open(config(directory.path())).unwrap();
    }
}
