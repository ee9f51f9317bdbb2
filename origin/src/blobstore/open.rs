//! Blobs on their way out.

use std::fs::File;
use std::io::IoSliceMut;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt as _;
use futures_util::future::Either;
use futures_util::stream::{self, Stream};
use rustix::io::{ReadWriteFlags, preadv2};
use shared::cid::Cid;
use shared::syntax::Did;

use super::BlobstoreError;
use super::buffers::Buffer;
use super::s3::S3Blobstore;
use crate::db::blocking;

/// How many bytes are read from the disk at once.
const PIECE_LEN: usize = 256 * 1024;

/// A blob that has been opened. A file stays readable, even if it is deleted meanwhile.
#[derive(Debug)]
pub struct OpenBlob {
    size: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File(Arc<File>),
    Bucket { bucket: S3Blobstore, did: Did, cid: Cid },
}

impl OpenBlob {
    pub(super) fn of_file(file: File, size: u64) -> Self {
        Self { size, source: Source::File(Arc::new(file)) }
    }

    pub(super) const fn in_bucket(bucket: S3Blobstore, did: Did, cid: Cid, size: u64) -> Self {
        Self { size, source: Source::Bucket { bucket, did, cid } }
    }

    /// The length in bytes.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of `range`, which is cut at the end, in pieces of 256 KiB at most from a file, and as they come from a
    /// bucket. `None` if there is no such blob. If the range is empty a bucket is only asked whether it has it.
    ///
    /// An error in the stream comes when the blob cannot be read, has become shorter or, of a bucket, is too slow; nothing
    /// comes after it.
    ///
    /// # Errors
    /// What the bucket says.
    pub async fn read(
        self,
        range: Range<u64>,
    ) -> Result<Option<impl Stream<Item = Result<Bytes, BlobstoreError>> + Send + 'static>, BlobstoreError> {
        let end = range.end.min(self.size);
        let range = range.start.min(end)..end;
        Ok(match self.source {
            Source::File(file) => Some(Either::Left(read(file, range))),
            Source::Bucket { bucket, did, cid } => {
                let body = bucket.open(&did, &cid, self.size, &range).await?;
                body.map(|body| Either::Right(body.into_stream().map_err(BlobstoreError::from)))
            }
        })
    }
}

/// A part of a file.
///
/// What the system has in memory is copied on the calling thread, which costs a part of what it does to hand that to
/// another one and back; only what the disk has to be waited for is.
fn read(file: Arc<File>, range: Range<u64>) -> impl Stream<Item = Result<Bytes, BlobstoreError>> + Send + 'static {
    stream::try_unfold(range.start, move |at| {
        let file = Arc::clone(&file);
        async move {
            if at >= range.end {
                return Ok(None);
            }
            let left = usize::try_from(range.end - at).unwrap_or(usize::MAX);
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

/// What the system has in memory of a file from `at` on, at most `length` bytes; `None` if that is nothing, or it cannot
/// tell.
fn cached(file: &File, at: u64, length: usize) -> Option<Bytes> {
    Buffer::fill(|place| {
        let length = place.len().min(length);
        preadv2(file, &mut [IoSliceMut::new(&mut place[..length])], at, ReadWriteFlags::NOWAIT).unwrap_or(0)
    })
}
