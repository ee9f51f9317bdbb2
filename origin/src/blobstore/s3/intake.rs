//! An upload on its way into a bucket.
//!
//! What fits into one part is sent whole, when it is there; anything larger goes in parts of that size, each when the next
//! one begins. So an upload holds one part in memory, however large it is; and since there may be many of them, a part
//! beyond its beginning is gathered only by so many at a time. The others wait, and so do their senders.
//!
//! What an upload waits for the bucket is counted, not what it waits for its sender: a slow client is not the bucket's
//! fault, and its time is bounded elsewhere.
//!
//! An upload that fails, is refused, or is given up leaves nothing: what was begun is ended, and what may have been put
//! is deleted, in the background. If that fails, too, it is swept.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt as _};
use reqwest::header::HeaderValue;
use sha2::{Digest as _, Sha256};
use shared::cid::Cid;
use shared::syntax::Did;
use tokio::runtime::Handle;
use tokio::sync::OwnedSemaphorePermit;

use super::bucket::Bucket;
use super::{S3Blobstore, S3Error, waiting};
use crate::blobstore::{BlobstoreError, Key, TemporaryBlob, sniff};
use crate::fault;

/// How long a part is: S3 takes none that is shorter, but for the last, and some servers want all of the same length.
const PART_LEN: usize = 5 * 1024 * 1024;
/// How much of an upload is gathered without asking whether there is room for a part.
const BEGINNING_LEN: usize = 512 * 1024;
/// How many parts are gathered at a time: 80 MiB.
pub(super) const PARTS: usize = 16;

/// What the bucket may have of an upload. It goes when this is dropped before [`Put::finish`].
struct Put {
    bucket: Arc<Bucket>,
    path: String,
    /// What an upload in parts is called.
    upload: Option<String>,
    /// Whether anything may be there.
    begun: bool,
}

impl S3Blobstore {
    /// As [`crate::blobstore::Blobstore::put_temporary`].
    pub(in crate::blobstore) async fn put_temporary(
        &self,
        did: &Did,
        body: impl Stream<Item = Result<Bytes, BlobstoreError>>,
        declared: &str,
        limit: u64,
    ) -> Result<TemporaryBlob, BlobstoreError> {
        let key = Key::random();
        let path = waiting(did, &key);
        let mut put = Put { bucket: Arc::clone(&self.bucket), path, upload: None, begun: false };
        let mut budget = Budget { left: self.upload_limit, whole: self.upload_limit };
        let (mut whole, mut size, mut head) = (Sha256::new(), 0_u64, Vec::new());
        let (mut part, mut part_hash, mut tags) = (BytesMut::new(), Sha256::new(), Vec::new());
        let mut room = None;
        let mut body = pin!(body);
        while let Some(piece) = body.next().await {
            let mut piece = piece?;
            size += piece.len() as u64;
            if size > limit {
                return Err(BlobstoreError::TooLarge { limit });
            }
            whole.update(&piece);
            let missing = sniff::HEAD_LEN - head.len();
            head.extend_from_slice(&piece[..piece.len().min(missing)]);
            while !piece.is_empty() {
                if part.len() == PART_LEN {
                    // There is more, so it is not the last one.
                    let sent = std::mem::take(&mut part).freeze();
                    let tag = put.send_part(&mut budget, tags.len(), sent.clone(), &mut part_hash, &head, declared);
                    tags.push(tag.await?);
                    part = again(sent);
                    fault::point("upload.part-sent");
                }
                if room.is_none() && part.len() + piece.len() > BEGINNING_LEN {
                    room = Some(self.room(&mut budget).await?);
                    part.reserve(PART_LEN - part.len());
                }
                let taken = piece.split_to(piece.len().min(PART_LEN - part.len()));
                part_hash.update(&taken);
                part.extend_from_slice(&taken);
            }
        }
        let digest: [u8; 32] = whole.finalize().into();
        let mime_type = sniff::mime_type(&head, declared);
        if put.upload.is_some() {
            tags.push(put.send_part(&mut budget, tags.len(), part.freeze(), &mut part_hash, &head, declared).await?);
            put.complete(&mut budget, &tags).await?;
        } else {
            put.whole(&mut budget, part.freeze(), &digest, &mime_type).await?;
        }
        put.finish();
        Ok(TemporaryBlob { key, cid: Cid::of_raw_digest(digest), size, mime_type })
    }

    /// Room for a part.
    async fn room(&self, budget: &mut Budget) -> Result<OwnedSemaphorePermit, S3Error> {
        let room = Arc::clone(&self.parts).acquire_owned();
        // Whoever has one now gives it back, or takes too long.
        tokio::time::timeout(budget.left, room).await.ok().and_then(Result::ok).ok_or(S3Error::Busy)
    }
}

impl Put {
    async fn send_part(
        &mut self,
        budget: &mut Budget,
        before: usize,
        part: Bytes,
        hash: &mut Sha256,
        head: &[u8],
        declared: &str,
    ) -> Result<String, S3Error> {
        let upload = match &self.upload {
            Some(upload) => upload.clone(),
            None => {
                let content_type = content_type(&sniff::mime_type(head, declared));
                let begun = budget.spend(|limit| self.bucket.begin(&self.path, &content_type, limit)).await?;
                self.begun = true;
                self.upload.insert(begun).clone()
            }
        };
        let digest = hash.finalize_reset();
        let number = u32::try_from(before + 1).unwrap_or(u32::MAX);
        let (bucket, path) = (&self.bucket, &self.path);
        budget.spend(|limit| bucket.put_part(path, &upload, number, part, &digest, limit)).await
    }

    async fn complete(&self, budget: &mut Budget, tags: &[String]) -> Result<(), S3Error> {
        let upload = self.upload.as_deref().unwrap_or_default();
        budget.spend(|limit| self.bucket.complete(&self.path, upload, tags, limit)).await
    }

    async fn whole(&mut self, budget: &mut Budget, body: Bytes, digest: &[u8], mime_type: &str) -> Result<(), S3Error> {
        self.begun = true;
        let content_type = content_type(mime_type);
        budget.spend(|limit| self.bucket.put(&self.path, &content_type, body, digest, limit)).await
    }

    /// It is there, and stays.
    fn finish(mut self) {
        self.begun = false;
    }
}

impl Drop for Put {
    fn drop(&mut self) {
        let (true, Ok(runtime)) = (self.begun, Handle::try_current()) else { return };
        let (bucket, path) = (Arc::clone(&self.bucket), std::mem::take(&mut self.path));
        let upload = self.upload.take();
        runtime.spawn(async move {
            let ended = async {
                if let Some(upload) = &upload {
                    bucket.abort(&path, upload).await?;
                }
                // It may have been put although nobody was told.
                bucket.delete(std::slice::from_ref(&path)).await
            };
            if let Err(error) = ended.await {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "an upload that failed stays in the bucket until it is swept");
            }
        });
    }
}

/// The place of a part that was sent, for the next one; another if something has it still.
fn again(sent: Bytes) -> BytesMut {
    let mut part = sent.try_into_mut().unwrap_or_else(|_| BytesMut::with_capacity(PART_LEN));
    part.clear();
    part
}

/// How long an upload may still wait for the bucket.
struct Budget {
    left: Duration,
    whole: Duration,
}

impl Budget {
    /// Does something that has as long as is left.
    async fn spend<T, F: Future<Output = Result<T, S3Error>>>(
        &mut self,
        work: impl FnOnce(Duration) -> F,
    ) -> Result<T, S3Error> {
        let begun = Instant::now();
        let done = work(self.left).await;
        self.left = self.left.saturating_sub(begun.elapsed());
        match done {
            // Of the whole of it, as the operator knows it.
            Err(S3Error::Timeout { .. }) => Err(S3Error::Timeout { limit: self.whole }),
            done => done,
        }
    }
}

/// A type as a header has it.
fn content_type(mime_type: &str) -> String {
    let is_value = !mime_type.is_empty() && HeaderValue::from_str(mime_type).is_ok() && mime_type.is_ascii();
    if is_value { mime_type.to_owned() } else { "application/octet-stream".to_owned() }
}
