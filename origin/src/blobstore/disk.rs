//! Blobs in files, where the reference keeps them.
//!
//! ```text
//! <location>/<did>/<cid>              a blob that records refer to
//! <temporary>/<did>/<key>             an upload that waits for a record; by default <location>/tempt (sic)
//! <location>/quarantine/<did>/<cid>   a blob that is taken down
//! ```
//!
//! A name appears in a directory only when the file behind it is whole and on the disk, and what a function has done is
//! on the disk when it returns. Each may be repeated, after a crash or by two at once: the second finds the first's
//! work done. Everything here blocks.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use shared::cid::Cid;
use shared::syntax::Did;

use super::{Key, all};
use crate::files::{make_directory, remove_directory, sync_directory};

/// The three places of blobs.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    location: PathBuf,
    temporary: PathBuf,
    quarantine: PathBuf,
    /// Where a blob is copied to that cannot be linked; on the location's file system, and swept as the uploads are.
    copies: PathBuf,
}

/// An upload that is being written; its file goes when this is dropped before [`Upload::finish`].
#[derive(Debug)]
pub(super) struct Upload {
    file: File,
    path: PathBuf,
    finished: bool,
}

impl Disk {
    pub(super) fn new(location: &Path, temporary: &Path) -> Self {
        Self {
            location: location.to_owned(),
            temporary: temporary.to_owned(),
            quarantine: location.join("quarantine"),
            copies: location.join("tempt"),
        }
    }

    fn stored(&self, did: &Did, cid: &Cid) -> PathBuf {
        self.location.join(did.as_str()).join(cid.to_string())
    }

    fn quarantined(&self, did: &Did, cid: &Cid) -> PathBuf {
        self.quarantine.join(did.as_str()).join(cid.to_string())
    }

    fn waiting(&self, did: &Did, key: &Key) -> PathBuf {
        self.temporary.join(did.as_str()).join(key.as_str())
    }

    /// Begins an upload.
    pub(super) fn begin(&self, did: &Did, key: &Key) -> io::Result<Upload> {
        Upload::begin(&self.temporary.join(did.as_str()), key)
    }

    /// Puts uploads where records' blobs are, and leaves them where they were, too. One that is there already stays,
    /// unless it is shorter or longer: then a server died while it wrote it. Returns those of which there is neither.
    pub(super) fn make_permanent(&self, did: &Did, uploads: &[(Key, Cid)]) -> io::Result<Vec<Cid>> {
        let directory = self.location.join(did.as_str());
        let (mut missing, mut made) = (Vec::new(), false);
        for (key, cid) in uploads {
            let (from, to) = (self.waiting(did, key), self.stored(did, cid));
            let Some(waiting) = found(fs::metadata(&from))? else {
                if !to.try_exists()? {
                    missing.push(cid.clone());
                }
                continue;
            };
            if !made {
                make_directory(&directory)?;
                made = true;
            }
            match fs::hard_link(&from, &to) {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    if fs::metadata(&to)?.len() != waiting.len() {
                        self.copy(did, &from, &to)?;
                    }
                }
                // On another file system, or on one without links.
                Err(error) if error.kind() != ErrorKind::NotFound => self.copy(did, &from, &to)?,
                Err(error) => return Err(error),
            }
        }
        if made {
            sync_directory(&directory)?;
        }
        Ok(missing)
    }

    fn copy(&self, did: &Did, from: &Path, to: &Path) -> io::Result<()> {
        let mut copy = Upload::begin(&self.copies.join(did.as_str()), &Key::random())?;
        io::copy(&mut File::open(from)?, &mut copy.file)?;
        copy.file.sync_all()?;
        fs::rename(&copy.path, to)?;
        copy.finished = true;
        Ok(())
    }

    /// Removes an upload. One that is not there has been removed before.
    pub(super) fn remove_temporary(&self, did: &Did, key: &Key) -> io::Result<()> {
        found(fs::remove_file(self.waiting(did, key))).map(|_| ())
    }

    pub(super) fn has_temporary(&self, did: &Did, key: &Key) -> io::Result<bool> {
        self.waiting(did, key).try_exists()
    }

    /// Opens a blob; with its length in bytes.
    pub(super) fn open(&self, did: &Did, cid: &Cid) -> io::Result<Option<(File, u64)>> {
        let Some(file) = found(File::open(self.stored(did, cid)))? else { return Ok(None) };
        let length = file.metadata()?.len();
        Ok(Some((file, length)))
    }

    /// The length of a blob in bytes.
    pub(super) fn size(&self, did: &Did, cid: &Cid) -> io::Result<Option<u64>> {
        Ok(found(fs::metadata(self.stored(did, cid)))?.map(|metadata| metadata.len()))
    }

    /// Removes blobs; those that are not there have been removed before. All are tried.
    pub(super) fn delete(&self, did: &Did, cids: &[Cid]) -> io::Result<()> {
        let removed = all(cids, |cid| found(fs::remove_file(self.stored(did, cid))).map(|_| ()));
        found(sync_directory(&self.location.join(did.as_str())))?;
        removed
    }

    /// Takes a blob away from where it is served. False: it is not there.
    pub(super) fn quarantine(&self, did: &Did, cid: &Cid) -> io::Result<bool> {
        move_durably(&self.stored(did, cid), &self.quarantined(did, cid))
    }

    /// Puts a blob back. False: it was not taken away.
    pub(super) fn unquarantine(&self, did: &Did, cid: &Cid) -> io::Result<bool> {
        move_durably(&self.quarantined(did, cid), &self.stored(did, cid))
    }

    /// Removes everything of an account.
    pub(super) fn delete_account(&self, did: &Did) -> io::Result<()> {
        for place in [&self.location, &self.temporary, &self.copies, &self.quarantine] {
            remove_directory(&place.join(did.as_str()))?;
        }
        Ok(())
    }

    /// The accounts that have uploads.
    pub(super) fn accounts_with_temporaries(&self) -> io::Result<BTreeSet<Did>> {
        let mut accounts = BTreeSet::new();
        for place in self.temporary_places() {
            let names = entries(place)?.into_iter().filter_map(|entry| entry.file_name().into_string().ok());
            accounts.extend(names.filter_map(|name| Did::try_from(name).ok()));
        }
        Ok(accounts)
    }

    /// The account's uploads that nobody has written to for `age`. Files that are not uploads are passed over.
    pub(super) fn old_temporaries(&self, did: &Did, age: Duration) -> io::Result<Vec<Key>> {
        let mut old = Vec::new();
        for place in self.temporary_places() {
            for entry in entries(&place.join(did.as_str()))? {
                let Some(key) = entry.file_name().into_string().ok().and_then(|name| Key::parse(&name)) else {
                    continue;
                };
                // It may have gone since.
                let Some(metadata) = found(entry.metadata())? else { continue };
                // A time in the future is no age at all.
                let passed = SystemTime::now().duration_since(metadata.modified()?).unwrap_or_default();
                if metadata.is_file() && passed >= age {
                    old.push(key);
                }
            }
        }
        Ok(old)
    }

    /// Removes an upload, or what is left of a copy.
    pub(super) fn sweep(&self, did: &Did, key: &Key) -> io::Result<()> {
        for place in self.temporary_places() {
            found(fs::remove_file(place.join(did.as_str()).join(key.as_str())))?;
        }
        Ok(())
    }

    fn temporary_places(&self) -> impl Iterator<Item = &PathBuf> {
        let copies = (self.copies != self.temporary).then_some(&self.copies);
        [&self.temporary].into_iter().chain(copies)
    }
}

impl Upload {
    fn begin(directory: &Path, key: &Key) -> io::Result<Self> {
        make_directory(directory)?;
        let path = directory.join(key.as_str());
        let file = File::options().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, finished: false })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)
    }

    /// Returns when the upload is on the disk.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if let Some(directory) = self.path.parent() {
            sync_directory(directory)?;
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            // What cannot be removed now is swept later.
            let _removed = fs::remove_file(&self.path);
        }
    }
}

/// `None` where something is not there.
fn found<T>(outcome: io::Result<T>) -> io::Result<Option<T>> {
    match outcome {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The entries of a directory; none where there is no directory.
fn entries(directory: &Path) -> io::Result<Vec<DirEntry>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.collect(),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Moves a file. False: it is at neither place.
fn move_durably(from: &Path, to: &Path) -> io::Result<bool> {
    let (Some(source), Some(target)) = (from.parent(), to.parent()) else { return Ok(false) };
    if !from.try_exists()? {
        return to.try_exists();
    }
    make_directory(target)?;
    if found(fs::rename(from, to))?.is_none() {
        return to.try_exists();
    }
    // First where it came to: a crash in between may leave it at both places, never at none.
    sync_directory(target)?;
    sync_directory(source)?;
    Ok(true)
}
