//! An upload on its way to the disk.
//!
//! What comes is gathered, and hashed and written off the async threads. A file that was begun goes when the upload fails
//! or is given up.

use std::io;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use shared::cid::Cid;
use shared::syntax::Did;

use super::disk::{Disk, Upload};
use super::{BlobstoreError, Key, TemporaryBlob, sniff};
use crate::db::blocking;

/// How many bytes are gathered before they are hashed and written.
pub(super) const GATHERED_LEN: usize = 512 * 1024;

/// As [`super::Blobstore::put_temporary`].
pub(super) async fn put_temporary(
    disk: &Arc<Disk>,
    did: &Did,
    body: impl Stream<Item = Result<Bytes, BlobstoreError>>,
    declared: &str,
    limit: u64,
) -> Result<TemporaryBlob, BlobstoreError> {
    let (disk, did, key) = (Arc::clone(disk), did.clone(), Key::random());
    let mut intake =
        Intake { disk, did, key: key.clone(), upload: None, hash: Sha256::new(), size: 0, head: Vec::new() };
    let mut body = pin!(body);
    let (mut pieces, mut gathered) = (Vec::new(), 0);
    while let Some(piece) = body.next().await {
        let piece = piece?;
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
