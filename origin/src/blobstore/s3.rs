//! Blobs in a bucket, where the reference keeps them.
//!
//! ```text
//! blocks/<did>/<cid>       a blob that records refer to
//! tmp/<did>/<key>          an upload that waits for a record
//! quarantine/<did>/<cid>   a blob that is taken down
//! ```
//!
//! Each of them has its blob's type, so that whoever else reads the bucket, such as the edge, can tell. What a function has
//! done the store has acknowledged when it returns, and each may be repeated: a key holds the bytes that it names, whoever
//! puts them there, and however often. Where a blob goes from one place to another it is copied there, by the store
//! itself, before it is deleted here, so that dying in between leaves it at both, never at none.
//!
//! The bucket may be another server's, too. What belongs to accounts that are not here is left alone.
//!
//! Why not a client that is there already: `object_store` takes every answer of status 200 to a copy for a success, unless
//! it finds one of two words in it, and does not tell a bucket that is not there from a key that is not, which is the
//! difference between a store to be mended and a blob to be forgotten; it cannot list what uploads in parts have left
//! behind. `rusty-s3` signs URLs only. The calls that are needed are a few hundred lines on the HTTP client that is here.

mod bucket;
mod call;
mod error;
mod explain;
mod intake;
mod xml;

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use shared::cid::Cid;
use shared::syntax::{Datetime, Did};
use tokio::sync::Semaphore;

use super::Key;
use crate::config::S3;
use crate::fetch::ClientError;
use crate::time::now_datetime;
use bucket::Bucket;

pub(super) use bucket::Body;
pub use error::S3Error;
pub(super) use xml::Parts;

/// How many keys are deleted with one call; S3 takes no more.
const BATCH: usize = 1000;
/// How many calls are under way for one request.
const AT_ONCE: usize = 8;
const UPLOADS: &str = "tmp/";

/// A bucket with blobs; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct S3Blobstore {
    bucket: Arc<Bucket>,
    /// How long an upload may wait for the bucket.
    upload_limit: Duration,
    /// How many uploads may hold a part in memory.
    parts: Arc<Semaphore>,
}

impl S3Blobstore {
    pub(super) fn new(config: &S3) -> Result<Self, ClientError> {
        Ok(Self {
            bucket: Arc::new(Bucket::new(config)?),
            upload_limit: config.upload_timeout,
            parts: Arc::new(Semaphore::new(intake::PARTS)),
        })
    }

    /// Puts uploads where records' blobs are, and leaves them where they were, too. Returns those of which there is
    /// neither.
    pub(super) async fn make_permanent(&self, did: &Did, uploads: &[(Key, Cid)]) -> Result<Vec<Cid>, S3Error> {
        let copied = stream::iter(uploads.to_vec()).map(|(key, cid)| async move {
            let there = self.copy(&waiting(did, &key), &stored(did, &cid)).await?;
            Ok::<_, S3Error>(Some(cid).filter(|_| !there))
        });
        copied.buffer_unordered(AT_ONCE).try_filter_map(|missing| std::future::ready(Ok(missing))).try_collect().await
    }

    /// Copies what is under one key to another. False: it is at neither.
    async fn copy(&self, from: &str, to: &str) -> Result<bool, S3Error> {
        // As long as an upload may take: it is the same bytes.
        match self.bucket.copy(from, to, self.upload_limit).await {
            // The bucket itself is there, so that the second answer is about the key.
            Err(error) if error.is_no_such_key() => Ok(self.bucket.head(to).await?.is_some()),
            copied => copied.map(|()| true),
        }
    }

    /// Removes uploads. Those that are not there have been removed before.
    pub(super) async fn remove_temporary(&self, did: &Did, keys: &[Key]) -> Result<(), S3Error> {
        self.delete(keys.iter().map(|key| waiting(did, key)).collect()).await
    }

    pub(super) async fn has_temporary(&self, did: &Did, key: &Key) -> Result<bool, S3Error> {
        Ok(self.bucket.head(&waiting(did, key)).await?.is_some())
    }

    /// The length of a blob in bytes.
    pub(super) async fn size(&self, did: &Did, cid: &Cid) -> Result<Option<u64>, S3Error> {
        Ok(self.bucket.head(&stored(did, cid)).await?.map(|head| head.size))
    }

    /// Opens a part of a blob that is `size` bytes long; of no bytes without sending for any.
    pub(super) async fn open(
        &self,
        did: &Did,
        cid: &Cid,
        size: u64,
        wanted: &Range<u64>,
    ) -> Result<Option<Body>, S3Error> {
        self.bucket.get(&stored(did, cid), size, wanted).await
    }

    /// Deletes blobs; those that are not there have been deleted before. All are tried.
    pub(super) async fn delete_many(&self, did: &Did, cids: &[Cid]) -> Result<(), S3Error> {
        self.delete(cids.iter().map(|cid| stored(did, cid)).collect()).await
    }

    async fn delete(&self, keys: Vec<String>) -> Result<(), S3Error> {
        let mut deleted = Ok(());
        for batch in keys.chunks(BATCH) {
            if let Err(error) = self.bucket.delete(batch).await {
                deleted = Err(error);
            }
        }
        deleted
    }

    /// Takes a blob away from where it is served. False: it is not there.
    pub(super) async fn quarantine(&self, did: &Did, cid: &Cid) -> Result<bool, S3Error> {
        self.move_to(stored(did, cid), &quarantined(did, cid)).await
    }

    /// Puts a blob back. False: it was not taken away.
    pub(super) async fn unquarantine(&self, did: &Did, cid: &Cid) -> Result<bool, S3Error> {
        self.move_to(quarantined(did, cid), &stored(did, cid)).await
    }

    async fn move_to(&self, from: String, to: &str) -> Result<bool, S3Error> {
        let there = self.copy(&from, to).await?;
        if there {
            self.delete(vec![from]).await?;
        }
        Ok(there)
    }

    /// Removes everything of an account.
    pub(super) async fn delete_account(&self, did: &Did) -> Result<(), S3Error> {
        for place in ["blocks", "tmp", "quarantine"] {
            let prefix = format!("{place}/{did}/");
            let mut pages = pin!(self.bucket.list(&prefix, None));
            while let Some(page) = pages.try_next().await? {
                self.delete(page.contents.into_iter().map(|object| object.key).collect()).await?;
            }
        }
        self.end_parts(self.bucket.unended(&format!("{UPLOADS}{did}/")).await?).await
    }

    /// The accounts that have uploads.
    pub(super) async fn accounts_with_temporaries(&self) -> Result<BTreeSet<Did>, S3Error> {
        let mut accounts = BTreeSet::new();
        let mut pages = pin!(self.bucket.list(UPLOADS, Some("/")));
        while let Some(page) = pages.try_next().await? {
            let names = page.common_prefixes.iter().filter_map(|prefix| prefix.prefix.strip_prefix(UPLOADS));
            accounts.extend(names.filter_map(|name| Did::parse(name.strip_suffix('/')?).ok()));
        }
        Ok(accounts)
    }

    /// The account's uploads that are older than `age`. What is no upload is passed over.
    pub(super) async fn old_temporaries(&self, did: &Did, age: Duration) -> Result<Vec<Key>, S3Error> {
        let (mut old, prefix) = (Vec::new(), format!("{UPLOADS}{did}/"));
        let mut pages = pin!(self.bucket.list(&prefix, None));
        while let Some(page) = pages.try_next().await? {
            let objects = page.contents.iter().filter(|object| is_older(&object.last_modified, age));
            old.extend(objects.filter_map(|object| Key::parse(object.key.strip_prefix(&prefix)?)));
        }
        Ok(old)
    }

    /// Uploads in parts that were begun longer ago than `age` and that nobody has ended: a server that died left them.
    pub(super) async fn old_parts(&self, age: Duration) -> Result<HashMap<Did, Vec<Parts>>, S3Error> {
        let mut old = HashMap::<Did, Vec<Parts>>::new();
        for parts in self.bucket.unended(UPLOADS).await? {
            let account = parts.key.strip_prefix(UPLOADS).and_then(|rest| rest.split_once('/'));
            let account = account.and_then(|(account, _)| Did::parse(account).ok());
            if let Some(did) = account.filter(|_| is_older(&parts.initiated, age)) {
                old.entry(did).or_default().push(parts);
            }
        }
        Ok(old)
    }

    pub(super) async fn end_parts(&self, parts: Vec<Parts>) -> Result<(), S3Error> {
        for parts in parts {
            self.bucket.abort(&parts.key, &parts.upload_id).await?;
        }
        Ok(())
    }
}

fn stored(did: &Did, cid: &Cid) -> String {
    format!("blocks/{did}/{cid}")
}

fn waiting(did: &Did, key: &Key) -> String {
    format!("{UPLOADS}{did}/{}", key.as_str())
}

fn quarantined(did: &Did, cid: &Cid) -> String {
    format!("quarantine/{did}/{cid}")
}

/// Whether a moment is longer ago than `age`. One in the future is not, and neither is what is none.
fn is_older(moment: &str, age: Duration) -> bool {
    let Ok(moment) = Datetime::parse(moment) else { return false };
    let passed = now_datetime().unix_micros().saturating_sub(moment.unix_micros());
    u128::try_from(passed).is_ok_and(|passed| passed >= age.as_micros())
}
