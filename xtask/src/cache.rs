//! The tool cache: one directory for each installed thing, named after it and its version.
//!
//! A directory counts as installed when the stamp in it is there, and the stamp is written last: an install that was cut
//! short is done anew. Each thing is installed by one at a time, over all checkouts and processes that share the cache;
//! different things may be installed at once.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context as _, Result};

/// The cache at one place.
#[derive(Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

const STAMP: &str = ".installed";

impl Cache {
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory of `key`, filled by `install` unless it already is. `install` gets the directory, empty, and the
    /// path of a file for what it has to say.
    pub(crate) fn ensure(&self, key: &str, install: impl FnOnce(&Path, &Path) -> Result<()>) -> Result<PathBuf> {
        let directory = self.root.join(key);
        if directory.join(STAMP).is_file() {
            return Ok(directory);
        }
        fs::create_dir_all(&self.root).with_context(|| format!("{} cannot be made", self.root.display()))?;
        let _lock = self.lock(key)?;
        // Another process may have done it while this one waited.
        if directory.join(STAMP).is_file() {
            return Ok(directory);
        }
        let started = Instant::now();
        eprintln!("tools: installing {key}");
        let log = self.root.join(format!("{key}.log"));
        if directory.exists() {
            fs::remove_dir_all(&directory)?;
        }
        fs::create_dir(&directory)?;
        install(&directory, &log).with_context(|| format!("{key} could not be installed"))?;
        fs::write(directory.join(STAMP), "")?;
        eprintln!("tools: installed {key} in {:.0} s", started.elapsed().as_secs_f64());
        Ok(directory)
    }

    /// A directory for what installs build on the way; the caller may remove it.
    pub(crate) fn scratch(&self) -> PathBuf {
        self.root.join("build")
    }

    /// A file for what an install outside the cache has to say.
    pub(crate) fn log(&self, name: &str) -> Result<PathBuf> {
        fs::create_dir_all(&self.root)?;
        Ok(self.root.join(format!("{name}.log")))
    }

    fn lock(&self, key: &str) -> Result<File> {
        let path = self.root.join(format!("{key}.lock"));
        let file = File::options().create(true).truncate(false).write(true).open(path)?;
        if file.try_lock().is_err() {
            eprintln!("tools: waiting for another set-up that installs {key} in {}", self.root.display());
            file.lock()?;
        }
        Ok(file)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::thread;

    use super::*;

    #[test]
    fn what_is_installed_is_not_installed_again() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().join("cache"));
        let first = cache.ensure("tool-1", |at, _| Ok(fs::write(at.join("tool"), "1")?)).unwrap();
        let second = cache.ensure("tool-1", |_, _| anyhow::bail!("asked to install again")).unwrap();
        assert_eq!(first, second);
        assert_eq!(fs::read_to_string(second.join("tool")).unwrap(), "1");
    }

    #[test]
    fn an_install_that_failed_half_way_is_done_anew_from_nothing() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path().to_owned());
        let failed = cache.ensure("tool-1", |at, _| {
            fs::write(at.join("half"), "")?;
            anyhow::bail!("cut short")
        });
        assert!(failed.is_err());
        let at = cache.ensure("tool-1", |at, _| Ok(fs::write(at.join("whole"), "")?)).unwrap();
        assert!(at.join("whole").exists() && !at.join("half").exists());
    }

    #[test]
    fn of_two_runs_at_once_one_installs() {
        let root = tempfile::tempdir().unwrap();
        let installs = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    Cache::at(root.path().to_owned())
                        .ensure("tool-1", |_, _| {
                            thread::sleep(std::time::Duration::from_millis(50));
                            installs.fetch_add(1, Ordering::SeqCst);
                            Ok(())
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(installs.into_inner(), 1);
    }
}
