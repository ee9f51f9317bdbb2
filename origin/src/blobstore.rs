//! Blobs: the files that records refer to.
//!
//! They are in files, or in a bucket of S3's kind; where, only this module knows.
//!
//! An upload is temporary: it is streamed in, hashed, counted and looked at on the way, and is kept when its CID is known. With the first record that refers to it it becomes permanent. That takes two steps, so that the account's
//! transaction can come between: [`Blobstore::make_permanent`] puts the blob in its place, the transaction says that it
//! is there, [`Blobstore::remove_temporary`] ends the upload. Dying after any of them loses nothing; what is left over
//! is an upload that no row mentions, which [`Blobstore::sweep`] removes. `crate::actor::blobs` takes these steps.
//!
//! Which blobs an account has, and which may be served, is in the account's database: what is here may be one that a
//! transaction never came to mention. Blobs are an account's own, even where another has the same.
//!
//! Specification: <https://atproto.com/specs/blob>.

mod buffers;
mod check;
mod disk;
mod intake;
mod open;
mod s3;
mod sniff;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE32_NOPAD;
use futures_util::stream::{Stream, TryStreamExt as _};
use shared::cid::Cid;
use shared::syntax::Did;

use crate::config::Blobs;
use crate::db::{DbError, blocking};
use crate::fetch::ClientError;
use crate::random;
use disk::Disk;
use s3::{Parts, S3Blobstore};

pub use check::{Complaint, check};
pub use open::OpenBlob;
pub use s3::S3Error;

/// How many random bytes are in a key.
const KEY_BYTES: usize = 32;

/// Where blobs are kept; cloning it is shallow.
#[derive(Clone, Debug)]
pub enum Blobstore {
    /// In files.
    Disk(DiskBlobstore),
    /// In a bucket.
    S3(S3Blobstore),
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
    /// What the bucket said, or that it said nothing.
    #[error(transparent)]
    S3(#[from] S3Error),
    /// The work did not end.
    #[error(transparent)]
    Task(#[from] DbError),
}

impl Blobstore {
    /// The blob store that the configuration names. Directories are made when they are needed; of a bucket nothing is asked
    /// before.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: &Blobs) -> Result<Self, ClientError> {
        Ok(match config {
            Blobs::Disk { location, temporary } => Self::Disk(DiskBlobstore(Arc::new(Disk::new(location, temporary)))),
            Blobs::S3(config) => Self::S3(S3Blobstore::new(config)?),
        })
    }

    /// Takes an upload of at most `limit` bytes, which its sender says is of the type `declared`.
    ///
    /// It is kept when this returns. If it fails, or is given up, nothing is left, or will be once the store is there.
    ///
    /// # Errors
    /// [`BlobstoreError::TooLarge`], [`BlobstoreError::Body`] for an error of `body`, or what system or bucket say.
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
        let body = body.map_err(|error| BlobstoreError::Body(error.into()));
        match self {
            Self::Disk(DiskBlobstore(disk)) => intake::put_temporary(disk, did, body, declared, limit).await,
            Self::S3(bucket) => bucket.put_temporary(did, body, declared, limit).await,
        }
    }

    /// Puts uploads where blobs are that records refer to; they stay uploads, too, until
    /// [`Blobstore::remove_temporary`]. Doing it again changes nothing. Returns those of which there is neither.
    ///
    /// # Errors
    /// What system or bucket say; some may have been put there.
    pub async fn make_permanent(&self, did: &Did, uploads: &[(Key, Cid)]) -> Result<Vec<Cid>, BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let (did, uploads) = (did.clone(), uploads.to_vec());
                disk.run(move |disk| disk.make_permanent(&did, &uploads)).await
            }
            Self::S3(bucket) => Ok(bucket.make_permanent(did, uploads).await?),
        }
    }

    /// Ends uploads; doing it again changes nothing. All are tried.
    ///
    /// # Errors
    /// The last of what system or bucket said.
    pub async fn remove_temporary(&self, did: &Did, keys: Vec<Key>) -> Result<(), BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let did = did.clone();
                disk.run(move |disk| all(&keys, |key| disk.remove_temporary(&did, key))).await
            }
            Self::S3(bucket) => Ok(bucket.remove_temporary(did, &keys).await?),
        }
    }

    /// Whether there is an upload of this key.
    ///
    /// # Errors
    /// What system or bucket say.
    pub async fn has_temporary(&self, did: &Did, key: &Key) -> Result<bool, BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let (did, key) = (did.clone(), key.clone());
                disk.run(move |disk| disk.has_temporary(&did, &key)).await
            }
            Self::S3(bucket) => Ok(bucket.has_temporary(did, key).await?),
        }
    }

    /// Whether there is a permanent blob, and of which length in bytes.
    ///
    /// # Errors
    /// What system or bucket say.
    pub async fn size(&self, did: &Did, cid: &Cid) -> Result<Option<u64>, BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let (did, cid) = (did.clone(), cid.clone());
                disk.run(move |disk| disk.size(&did, &cid)).await
            }
            Self::S3(bucket) => Ok(bucket.size(did, cid).await?),
        }
    }

    /// Opens a permanent blob, which its row says is `size` bytes long; `None` if there is none. Whether a bucket has it
    /// shows when it is read.
    ///
    /// A file is looked up on the calling thread, as [`crate::db::Db::read_short`] does and for its reason: it is one name.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(&self, did: &Did, cid: &Cid, size: u64) -> Result<Option<OpenBlob>, BlobstoreError> {
        Ok(match self {
            Self::Disk(DiskBlobstore(disk)) => disk.open(did, cid)?.map(|(file, size)| OpenBlob::of_file(file, size)),
            Self::S3(bucket) => Some(OpenBlob::in_bucket(bucket.clone(), did.clone(), cid.clone(), size)),
        })
    }

    /// Deletes permanent blobs; those that are not there have been deleted before. All are tried.
    ///
    /// # Errors
    /// The last of what system or bucket said.
    pub async fn delete_many(&self, did: &Did, cids: Vec<Cid>) -> Result<(), BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let did = did.clone();
                disk.run(move |disk| disk.delete(&did, &cids)).await
            }
            Self::S3(bucket) => Ok(bucket.delete_many(did, &cids).await?),
        }
    }

    /// Takes a blob away from where it is served; doing it again changes nothing. False: there is none.
    ///
    /// # Errors
    /// What system or bucket say.
    pub async fn quarantine(&self, did: &Did, cid: &Cid) -> Result<bool, BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let (did, cid) = (did.clone(), cid.clone());
                disk.run(move |disk| disk.quarantine(&did, &cid)).await
            }
            Self::S3(bucket) => Ok(bucket.quarantine(did, cid).await?),
        }
    }

    /// Undoes [`Blobstore::quarantine`]; doing it again changes nothing. False: there is no such blob.
    ///
    /// # Errors
    /// What system or bucket say.
    pub async fn unquarantine(&self, did: &Did, cid: &Cid) -> Result<bool, BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let (did, cid) = (did.clone(), cid.clone());
                disk.run(move |disk| disk.unquarantine(&did, &cid)).await
            }
            Self::S3(bucket) => Ok(bucket.unquarantine(did, cid).await?),
        }
    }

    /// Deletes everything of an account, uploads and what is taken down included.
    ///
    /// # Errors
    /// What system or bucket say; then it is to be done again.
    pub async fn delete_account(&self, did: &Did) -> Result<(), BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let did = did.clone();
                disk.run(move |disk| disk.delete_account(&did)).await
            }
            Self::S3(bucket) => Ok(bucket.delete_account(did).await?),
        }
    }

    /// Removes uploads that are older than `age` and that no row mentions, and tells how many they were.
    ///
    /// `mentioned` is asked account by account which of the given keys its rows mention; `None` leaves the account alone.
    /// `age` must be longer than it takes from the first byte of an upload to its row.
    ///
    /// # Errors
    /// What system, bucket or `mentioned` say; what was removed until then stays removed.
    pub async fn sweep<F, E>(&self, age: Duration, mentioned: impl Fn(Did, Vec<Key>) -> F) -> Result<usize, E>
    where
        F: Future<Output = Result<Option<HashSet<Key>>, E>>,
        E: From<BlobstoreError>,
    {
        let (mut accounts, mut parts) = (self.accounts_with_temporaries().await?, self.old_parts(age).await?);
        accounts.extend(parts.keys().cloned());
        let mut removed = 0;
        for did in accounts {
            let (old, parts) = (self.old_temporaries(&did, age).await?, parts.remove(&did).unwrap_or_default());
            if old.is_empty() && parts.is_empty() {
                continue;
            }
            let Some(kept) = mentioned(did.clone(), old.clone()).await? else { continue };
            let left: Vec<Key> = old.into_iter().filter(|key| !kept.contains(key)).collect();
            removed += left.len() + parts.len();
            self.remove_old(&did, left, parts).await?;
        }
        Ok(removed)
    }

    /// Whether others may keep blobs at the same place, so that what is of an account that is not here is not to be touched.
    #[must_use]
    pub const fn is_shared(&self) -> bool {
        matches!(self, Self::S3(_))
    }

    async fn accounts_with_temporaries(&self) -> Result<BTreeSet<Did>, BlobstoreError> {
        match self {
            Self::Disk(disk) => disk.run(Disk::accounts_with_temporaries).await,
            Self::S3(bucket) => Ok(bucket.accounts_with_temporaries().await?),
        }
    }

    async fn old_temporaries(&self, did: &Did, age: Duration) -> Result<Vec<Key>, BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let did = did.clone();
                disk.run(move |disk| disk.old_temporaries(&did, age)).await
            }
            Self::S3(bucket) => Ok(bucket.old_temporaries(did, age).await?),
        }
    }

    /// What came of uploads in parts that nobody has ended for `age`.
    async fn old_parts(&self, age: Duration) -> Result<HashMap<Did, Vec<Parts>>, BlobstoreError> {
        match self {
            Self::Disk(_) => Ok(HashMap::new()),
            Self::S3(bucket) => Ok(bucket.old_parts(age).await?),
        }
    }

    async fn remove_old(&self, did: &Did, keys: Vec<Key>, parts: Vec<Parts>) -> Result<(), BlobstoreError> {
        match self {
            Self::Disk(disk) => {
                let did = did.clone();
                disk.run(move |disk| keys.iter().try_for_each(|key| disk.sweep(&did, key))).await
            }
            Self::S3(bucket) => {
                bucket.remove_temporary(did, &keys).await?;
                Ok(bucket.end_parts(parts).await?)
            }
        }
    }
}

impl DiskBlobstore {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Disk) -> io::Result<T> + Send + 'static,
    ) -> Result<T, BlobstoreError> {
        let disk = Arc::clone(&self.0);
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

#[cfg(test)]
mod tests;
