//! Blobs: the files that records refer to.
//!
//! An upload is temporary: it is streamed in, hashed, counted and looked at on the way, and is on the disk when its CID
//! is known. With the first record that refers to it it becomes permanent. That takes two steps, so that the account's
//! transaction can come between: [`Blobstore::make_permanent`] puts the blob in its place, the transaction says that it
//! is there, [`Blobstore::remove_temporary`] ends the upload. Dying after any of them loses nothing; what is left over
//! is an upload that no row mentions, which [`Blobstore::sweep`] removes. `crate::actor::blobs` takes these steps.
//!
//! Which blobs an account has, and which may be served, is in the account's database: a file here may be one that a
//! transaction never came to mention. Blobs are an account's own, even where another has the same.
//!
//! Specification: <https://atproto.com/specs/blob>.

mod buffers;
mod disk;
mod sniff;

use std::collections::HashSet;
use std::fs::File;
use std::future::Future;
use std::io::{self, IoSliceMut};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use futures_util::stream::{self, Stream, StreamExt as _};
use rustix::io::{ReadWriteFlags, preadv2};
use sha2::{Digest as _, Sha256};
use shared::cid::Cid;
use shared::syntax::Did;

use crate::config::Blobs;
use crate::db::{DbError, blocking};
use crate::random;
use buffers::Buffer;
use disk::{Disk, Upload};

/// How many bytes are gathered before they are hashed and written.
const GATHERED_LEN: usize = 512 * 1024;
/// How many bytes are read from the disk at once.
const PIECE_LEN: usize = 256 * 1024;
/// How many random bytes are in a key.
const KEY_BYTES: usize = 32;

/// Where blobs are kept; cloning it is shallow.
#[derive(Clone, Debug)]
pub enum Blobstore {
    /// In files.
    Disk(DiskBlobstore),
}

/// Blobs in files.
#[derive(Clone, Debug)]
pub struct DiskBlobstore(Arc<Disk>);

/// The name of an upload: 52 characters of lower-case base32, random.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key(String);

/// An upload that has been taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemporaryBlob {
    /// What [`Blobstore::make_permanent`] asks for; the `tempKey` of the account's row.
    pub key: Key,
    /// Its CID: raw, SHA-256.
    pub cid: Cid,
    /// Its length in bytes.
    pub size: u64,
    /// Its type: what its first bytes show, else what its sender said.
    pub mime_type: String,
}

/// A blob that has been opened: it stays readable, even if it is deleted meanwhile.
#[derive(Debug)]
pub struct OpenBlob {
    file: Arc<File>,
    size: u64,
}

/// Why a blob was not taken or found.
#[derive(Debug, thiserror::Error)]
pub enum BlobstoreError {
    /// More bytes came than may.
    #[error("blob is larger than {limit} bytes")]
    TooLarge {
        /// How many may come.
        limit: u64,
    },
    /// The sender's bytes ended before they were all there.
    #[error("blob did not arrive whole")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What the system said, such as that the disk is full.
    #[error("blob store failed")]
    Io(#[from] io::Error),
    /// The work did not end.
    #[error(transparent)]
    Task(#[from] DbError),
}

impl Blobstore {
    /// The blob store that the configuration names. It makes its directories when it needs them.
    #[must_use]
    pub fn new(config: &Blobs) -> Self {
        match config {
            Blobs::Disk { location, temporary } => Self::Disk(DiskBlobstore(Arc::new(Disk::new(location, temporary)))),
        }
    }

    /// Takes an upload of at most `limit` bytes, which its sender says is of the type `declared`.
    ///
    /// It is on the disk when this returns. If it fails, or is given up, nothing is left.
    ///
    /// # Errors
    /// [`BlobstoreError::TooLarge`], [`BlobstoreError::Body`] for an error of `body`, or what the system says.
    pub async fn put_temporary<E>(
        &self,
        did: &Did,
        body: impl Stream<Item = Result<Bytes, E>>,
        declared: &str,
        limit: u64,
    ) -> Result<TemporaryBlob, BlobstoreError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let Self::Disk(DiskBlobstore(disk)) = self;
        let (disk, did, key) = (Arc::clone(disk), did.clone(), Key::random());
        let mut intake =
            Intake { disk, did, key: key.clone(), upload: None, hash: Sha256::new(), size: 0, head: Vec::new() };
        let mut body = pin!(body);
        let (mut pieces, mut gathered) = (Vec::new(), 0);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| BlobstoreError::Body(error.into()))?;
            // Now, since there is more to come: the last ones go together with the end.
            if gathered >= GATHERED_LEN {
                intake = intake.take(std::mem::take(&mut pieces)).await?;
                gathered = 0;
            }
            gathered += piece.len();
            if intake.size + gathered as u64 > limit {
                return Err(BlobstoreError::TooLarge { limit });
            }
            pieces.push(piece);
        }
        let (cid, size, head) = intake.finish(pieces).await?;
        Ok(TemporaryBlob { key, cid, size, mime_type: sniff::mime_type(&head, declared) })
    }

    /// Puts uploads where blobs are that records refer to; they stay uploads, too, until
    /// [`Blobstore::remove_temporary`]. Doing it again changes nothing. Returns those of which there is neither.
    ///
    /// # Errors
    /// What the system says; some may have been put there.
    pub async fn make_permanent(&self, did: &Did, uploads: &[(Key, Cid)]) -> Result<Vec<Cid>, BlobstoreError> {
        let (did, uploads) = (did.clone(), uploads.to_vec());
        self.on_disk(move |disk| disk.make_permanent(&did, &uploads)).await
    }

    /// Ends uploads; doing it again changes nothing. All are tried.
    ///
    /// # Errors
    /// The last of what the system said.
    pub async fn remove_temporary(&self, did: &Did, keys: Vec<Key>) -> Result<(), BlobstoreError> {
        let did = did.clone();
        self.on_disk(move |disk| all(&keys, |key| disk.remove_temporary(&did, key))).await
    }

    /// Whether there is an upload of this key.
    ///
    /// # Errors
    /// What the system says.
    pub async fn has_temporary(&self, did: &Did, key: &Key) -> Result<bool, BlobstoreError> {
        let (did, key) = (did.clone(), key.clone());
        self.on_disk(move |disk| disk.has_temporary(&did, &key)).await
    }

    /// Whether there is a permanent blob, and of which length in bytes.
    ///
    /// # Errors
    /// What the system says.
    pub async fn size(&self, did: &Did, cid: &Cid) -> Result<Option<u64>, BlobstoreError> {
        let (did, cid) = (did.clone(), cid.clone());
        self.on_disk(move |disk| disk.size(&did, &cid)).await
    }

    /// Opens a permanent blob, `None` if there is none. On the calling thread, as [`crate::db::Db::read_short`] does and
    /// for its reason: looking up one name.
    ///
    /// # Errors
    /// What the system says.
    pub async fn open(&self, did: &Did, cid: &Cid) -> Result<Option<OpenBlob>, BlobstoreError> {
        let Self::Disk(DiskBlobstore(disk)) = self;
        let opened = disk.open(did, cid)?;
        Ok(opened.map(|(file, size)| OpenBlob { file: Arc::new(file), size }))
    }

    /// Deletes permanent blobs; those that are not there have been deleted before. All are tried.
    ///
    /// # Errors
    /// The last of what the system said.
    pub async fn delete_many(&self, did: &Did, cids: Vec<Cid>) -> Result<(), BlobstoreError> {
        let did = did.clone();
        self.on_disk(move |disk| disk.delete(&did, &cids)).await
    }

    /// Takes a blob away from where it is served; doing it again changes nothing. False: there is none.
    ///
    /// # Errors
    /// What the system says.
    pub async fn quarantine(&self, did: &Did, cid: &Cid) -> Result<bool, BlobstoreError> {
        let (did, cid) = (did.clone(), cid.clone());
        self.on_disk(move |disk| disk.quarantine(&did, &cid)).await
    }

    /// Undoes [`Blobstore::quarantine`]; doing it again changes nothing. False: there is no such blob.
    ///
    /// # Errors
    /// What the system says.
    pub async fn unquarantine(&self, did: &Did, cid: &Cid) -> Result<bool, BlobstoreError> {
        let (did, cid) = (did.clone(), cid.clone());
        self.on_disk(move |disk| disk.unquarantine(&did, &cid)).await
    }

    /// Deletes everything of an account, uploads and what is taken down included.
    ///
    /// # Errors
    /// What the system says; then it is to be done again.
    pub async fn delete_account(&self, did: &Did) -> Result<(), BlobstoreError> {
        let did = did.clone();
        self.on_disk(move |disk| disk.delete_account(&did)).await
    }

    /// Removes uploads that are older than `age` and that no row mentions, and tells how many they were.
    ///
    /// `mentioned` is asked account by account which of the given keys its rows mention. `age` must be longer than it
    /// takes from the last byte of an upload to its row.
    ///
    /// # Errors
    /// What the system or `mentioned` says; what was removed until then stays removed.
    pub async fn sweep<F, E>(&self, age: Duration, mentioned: impl Fn(Did, Vec<Key>) -> F) -> Result<usize, E>
    where
        F: Future<Output = Result<HashSet<Key>, E>>,
        E: From<BlobstoreError>,
    {
        let mut removed = 0;
        for did in self.on_disk(Disk::accounts_with_temporaries).await? {
            let old = {
                let did = did.clone();
                self.on_disk(move |disk| disk.old_temporaries(&did, age)).await?
            };
            if old.is_empty() {
                continue;
            }
            let kept = mentioned(did.clone(), old.clone()).await?;
            let left: Vec<Key> = old.into_iter().filter(|key| !kept.contains(key)).collect();
            removed += left.len();
            self.on_disk(move |disk| left.iter().try_for_each(|key| disk.sweep(&did, key))).await?;
        }
        Ok(removed)
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobstoreError> {
        let Self::Disk(DiskBlobstore(disk)) = self;
        let disk = Arc::clone(disk);
        blocking(move || Ok(work(&disk)?)).await
    }
}

impl Key {
    fn random() -> Self {
        Self(BASE32_NOPAD.encode(&random::bytes::<KEY_BYTES>()).to_ascii_lowercase())
    }

    /// Reads a key as rows hold it; `None` for what cannot be one. It is safe as the name of a file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let character = |byte: u8| matches!(byte, b'a'..=b'z' | b'2'..=b'7');
        (text.len() == BASE32_NOPAD.encode_len(KEY_BYTES) && text.bytes().all(character)).then(|| Self(text.to_owned()))
    }

    /// The key as rows hold it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl OpenBlob {
    /// The length in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of `range`, which is cut at the end, in pieces of 256 KiB at most.
    ///
    /// What the system has in memory is copied on the calling thread, which costs a part of what it does to hand that to
    /// another one and back; only what the disk has to be waited for is.
    ///
    /// An error comes when the file cannot be read or has become shorter; nothing comes after it.
    pub fn into_stream(self, range: Range<u64>) -> impl Stream<Item = Result<Bytes, BlobstoreError>> + Send + 'static {
        let end = range.end.min(self.size);
        stream::try_unfold(range.start, move |at| {
            let file = Arc::clone(&self.file);
            async move {
                if at >= end {
                    return Ok(None);
                }
                let left = usize::try_from(end - at).unwrap_or(usize::MAX);
                if let Some(piece) = cached(&file, at, left) {
                    let next = at + piece.len() as u64;
                    return Ok(Some((piece, next)));
                }
                let length = left.min(PIECE_LEN);
                let piece = blocking(move || {
                    let mut piece = vec![0; length];
                    file.read_exact_at(&mut piece, at)?;
                    Ok::<_, BlobstoreError>(piece)
                });
                Ok(Some((Bytes::from(piece.await?), at + length as u64)))
            }
        })
    }
}

/// What the system has in memory of a file from `at` on, at most `length` bytes; `None` if that is nothing, or it cannot
/// tell.
fn cached(file: &File, at: u64, length: usize) -> Option<Bytes> {
    Buffer::fill(|place| {
        let length = place.len().min(length);
        preadv2(file, &mut [IoSliceMut::new(&mut place[..length])], at, ReadWriteFlags::NOWAIT).unwrap_or(0)
    })
}

/// Does something with each of `items`, whatever comes of it; the last error.
fn all<T>(items: &[T], mut each: impl FnMut(&T) -> io::Result<()>) -> io::Result<()> {
    let mut outcome = Ok(());
    for item in items {
        if let Err(error) = each(item) {
            outcome = Err(error);
        }
    }
    outcome
}

/// An upload on its way in.
struct Intake {
    disk: Arc<Disk>,
    did: Did,
    key: Key,
    /// Its file, once something of it came.
    upload: Option<Upload>,
    hash: Sha256,
    size: u64,
    head: Vec<u8>,
}

impl Intake {
    async fn take(mut self, pieces: Vec<Bytes>) -> Result<Self, BlobstoreError> {
        blocking(move || {
            self.take_blocking(&pieces)?;
            Ok(self)
        })
        .await
    }

    /// Takes the last pieces; the CID, the length and the first bytes.
    async fn finish(mut self, pieces: Vec<Bytes>) -> Result<(Cid, u64, Vec<u8>), BlobstoreError> {
        blocking(move || {
            self.take_blocking(&pieces)?;
            if let Some(upload) = self.upload {
                upload.finish()?;
            }
            Ok((Cid::of_raw_digest(self.hash.finalize().into()), self.size, self.head))
        })
        .await
    }

    fn take_blocking(&mut self, pieces: &[Bytes]) -> io::Result<()> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            none => none.insert(self.disk.begin(&self.did, &self.key)?),
        };
        for piece in pieces {
            self.hash.update(piece);
            self.size += piece.len() as u64;
            let missing = sniff::HEAD_LEN - self.head.len();
            self.head.extend_from_slice(&piece[..piece.len().min(missing)]);
            upload.write(piece)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
