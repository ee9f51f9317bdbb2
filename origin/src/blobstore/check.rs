//! `blobs check`: whether blobs can be kept where the configuration says.
//!
//! Everything that a server does with blobs is done with a small one and, in a bucket, with one that goes in parts, under a
//! DID that cannot be anybody's. What was put there goes again, whatever fails.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use shared::cid::Cid;
use shared::syntax::Did;

use super::{Blobstore, BlobstoreError, TemporaryBlob};
use crate::config::Blobs;
use crate::fetch::ClientError;
use crate::random;

/// Whose the blobs are: a name that nobody can have.
const NOBODY: &str = "did:web:blobs-check.invalid";
/// A length that goes in two parts.
const LARGE_LEN: usize = 5 * 1024 * 1024 + 1;

/// What is wrong with where blobs are to be kept, for the operator to read.
#[derive(Debug)]
pub struct Complaint {
    at: &'static str,
    what: String,
    error: Option<Box<BlobstoreError>>,
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} does not work: {}", self.at, self.what)
    }
}

impl std::error::Error for Complaint {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.as_ref().map(|error| &**error as _)
    }
}

/// Tries out where blobs are to be kept.
///
/// # Errors
/// A [`Complaint`] about the first thing that does not work.
pub async fn check(config: &Blobs) -> Result<(), Complaint> {
    let Ok(did) = Did::parse(NOBODY) else { return Ok(()) };
    let store = Blobstore::new(config).map_err(|error: ClientError| Complaint {
        at: "starting",
        what: error.to_string(),
        error: None,
    })?;
    let tried = Trial { config, store: &store, did: &did }.run().await;
    // What could not be put there is not to be deleted; what it failed at is said, and not what fails then.
    let deleted = store.delete_account(&did).await.map_err(|error| complaint(config, "deleting an account", error));
    tried.and(deleted)
}

fn complaint(config: &Blobs, at: &'static str, error: BlobstoreError) -> Complaint {
    let what = match (config, &error) {
        (Blobs::S3(config), BlobstoreError::S3(error)) => error.explain(config),
        (Blobs::Disk { location, temporary }, BlobstoreError::Io(error)) => {
            format!("{error}: look at {} and {}", location.display(), temporary.display())
        }
        _ => error.to_string(),
    };
    Complaint { at, what, error: Some(Box::new(error)) }
}

/// One time through a blob's life.
struct Trial<'a> {
    config: &'a Blobs,
    store: &'a Blobstore,
    did: &'a Did,
}

impl Trial<'_> {
    async fn run(&self) -> Result<(), Complaint> {
        let Self { store, did, .. } = *self;
        let content = Bytes::from(random::bytes::<64>().to_vec());
        let blob = self.upload("uploading", content.clone()).await?;
        if matches!(self.config, Blobs::S3(_)) {
            let large: Bytes = content.iter().copied().cycle().take(LARGE_LEN).collect();
            let large = self.upload("uploading in parts", large).await?;
            self.publish("copying a large blob", &large).await?;
        }
        let listed = "listing uploads, which those that nobody refers to are found by,";
        self.of(listed, store.old_temporaries(did, Duration::ZERO).await)?;
        self.of("listing uploads in parts", store.old_parts(Duration::MAX).await)?;
        self.publish("copying", &blob).await?;
        self.read("reading", &blob.cid, content.clone()).await?;
        self.holds("taking a blob down", store.quarantine(did, &blob.cid).await)?;
        self.holds("ending a takedown", store.unquarantine(did, &blob.cid).await)?;
        self.read("reading what was taken down", &blob.cid, content).await?;
        self.of("deleting an upload", store.remove_temporary(did, vec![blob.key]).await)?;
        let deleting = "deleting";
        self.of(deleting, store.delete_many(did, vec![blob.cid.clone(), Cid::of_raw(b"")]).await)?;
        let left = self.of(deleting, store.size(did, &blob.cid).await)?;
        if left.is_none() { Ok(()) } else { Err(self.lie(deleting, "what is deleted is there still")) }
    }

    async fn upload(&self, at: &'static str, content: Bytes) -> Result<TemporaryBlob, Complaint> {
        let body = stream::iter([Ok::<_, std::convert::Infallible>(content.clone())]);
        self.of(at, self.store.put_temporary(self.did, body, "text/plain", content.len() as u64).await)
    }

    async fn publish(&self, at: &'static str, blob: &TemporaryBlob) -> Result<(), Complaint> {
        let upload = [(blob.key.clone(), blob.cid.clone())];
        let missing = self.of(at, self.store.make_permanent(self.did, &upload).await)?;
        let size = self.of(at, self.store.size(self.did, &blob.cid).await)?;
        let there = missing.is_empty() && size == Some(blob.size);
        if there { Ok(()) } else { Err(self.lie(at, "what was put there is not there, or not whole")) }
    }

    async fn read(&self, at: &'static str, cid: &Cid, content: Bytes) -> Result<(), Complaint> {
        let size = content.len() as u64;
        for range in [0..size, 1..size - 1] {
            let expected =
                content.slice(usize::try_from(range.start).unwrap_or(0)..usize::try_from(range.end).unwrap_or(0));
            let opened = self.of(at, self.store.open(self.did, cid, size))?;
            let opened = opened.ok_or_else(|| self.lie(at, "what was put there is not there"))?;
            let body = self.of(at, opened.read(range).await)?;
            let body = body.ok_or_else(|| self.lie(at, "what was put there is not there"))?;
            let pieces: Vec<_> = body.collect().await;
            let mut got = Vec::new();
            for piece in pieces {
                got.extend_from_slice(&self.of(at, piece)?);
            }
            if got != expected {
                return Err(self.lie(at, "what comes back is something else"));
            }
        }
        Ok(())
    }

    fn holds(&self, at: &'static str, there: Result<bool, BlobstoreError>) -> Result<(), Complaint> {
        if self.of(at, there)? { Ok(()) } else { Err(self.lie(at, "what was put there is not there")) }
    }

    fn of<T>(&self, at: &'static str, done: Result<T, BlobstoreError>) -> Result<T, Complaint> {
        done.map_err(|error| complaint(self.config, at, error))
    }

    fn lie(&self, at: &'static str, what: &str) -> Complaint {
        Complaint { at, what: what.to_owned(), error: None }
    }
}
