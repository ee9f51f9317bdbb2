//! Imports: a repository from elsewhere in place of the account's own.
//!
//! [`Actors::import`] takes a CAR file of any size, in any order, whole or a diff against what the store holds, and
//!
//! 1. stages its blocks, each checked against its CID, in a file beside the store, while they arrive;
//! 2. under the account's lock walks the tree as one that nobody vouches for: every node in order and on its layer, every
//!    record present and readable, out of what was staged or, for a diff, the store;
//! 3. in one transaction brings blocks, records, backlinks and blob references in step with it, at a new revision above
//!    both. The commit stays as it came: [`Actors::recommit`] makes it the account's own when it is activated. An account
//!    that is active needs that at once: the same transaction makes the commit, and leaves a `#sync` to be sequenced;
//! 4. gives that its place in the sequence, and lets go of the lock;
//! 5. makes uploads permanent that records refer to now, and deletes blobs that none refers to any more.
//!
//! Of an account that is not active nothing is sequenced. Memory does not grow with the file; blocks that the tree does
//! not link are left behind. Blobs that are not here are no hindrance: they show in the list of missing blobs. Dying
//! before 3 changes nothing; after it, the next start tells what is untold and does what is left of 5.
//!
//! Specification: <https://atproto.com/specs/repository#security-considerations>,
//! <https://atproto.com/guides/account-migration>.

mod staging;

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use rusqlite::{Transaction, params};
use shared::cbor::CborError;
use shared::cid::Cid;
use shared::firehose::Body;
use shared::repo::Head;
use shared::repo::car::CarError;
use shared::repo::commit::CommitError;
use shared::repo::mst::MstError;
use shared::syntax::{Did, Tid};

use super::commit::add_pending;
use super::recover::{drop_pending, recommit, rev_above};
use super::store::{Store, Writing, read_root, write_root};
use super::{ActorError, Actors, WriteError};
use crate::db::{DbError, blocking};
use crate::fault;
use crate::sequencer::{Batch, NewHead};
use crate::time::now_datetime;

use staging::Staging;

pub(super) use staging::remove_leftover;

/// How many bytes of a file are gathered before they are staged.
const PIECE_LEN: usize = 1024 * 1024;

/// Why a repository was not imported. Nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// More bytes came than may.
    #[error("repository is larger than {limit} bytes")]
    TooLarge {
        /// How many may come.
        limit: u64,
    },
    /// The sender's bytes ended before they were all there.
    #[error("repository did not arrive whole")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another import of the account is under way.
    #[error("another import of this account is under way")]
    Busy,
    /// The file is no CAR file, or not of one repository.
    #[error(transparent)]
    Car(#[from] CarError),
    /// The commit that the file names as its root is not in it.
    #[error("the root {0} is not in the file")]
    NoCommit(Cid),
    /// The file's root is no commit.
    #[error("the root is not a commit")]
    Commit(#[from] CommitError),
    /// The repository is another account's.
    #[error("the repository is of {found}, not of {expected}")]
    OtherAccount {
        /// Whose it should be.
        expected: Did,
        /// Whose it is.
        found: Did,
    },
    /// The tree is not whole or not sound.
    #[error("the tree is not sound")]
    Tree(#[from] MstError),
    /// A record of the tree is not there.
    #[error("record {cid} at {path:?} is missing")]
    RecordMissing {
        /// Where it should be.
        path: Box<str>,
        /// Which.
        cid: Cid,
    },
    /// A record that is not a map in DAG-CBOR.
    #[error("Could not parse record at '{path}'")]
    Record {
        /// Where it is.
        path: Box<str>,
        /// What is wrong with it; `None` when it is something else than a map.
        #[source]
        source: Option<CborError>,
    },
    /// The staging file failed, such as when the disk is full.
    #[error("staging failed")]
    Staging(#[source] rusqlite::Error),
    /// The store failed.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<DbError> for ImportError {
    fn from(error: DbError) -> Self {
        Self::Write(error.into())
    }
}

impl From<ActorError> for ImportError {
    fn from(error: ActorError) -> Self {
        Self::Write(error.into())
    }
}

impl Actors {
    /// Puts the repository in `body`, at most `limit` bytes, in the place of the account's own. Returns where it stands:
    /// at the commit of the file, at a revision of its own; or, of an active account, at a commit of its own, which is
    /// told to the world. `is_active` is asked under the lock.
    ///
    /// # Errors
    /// An [`ImportError`]. Nothing is changed then, unless it says that the event or the blobs failed: these follow with
    /// the next start, or when the import is repeated.
    pub async fn import<E>(
        &self,
        did: &Did,
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: u64,
        is_active: impl FnOnce() -> Result<bool, DbError> + Send + 'static,
    ) -> Result<Head, ImportError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let store = self.store(did).await?;
        let alone = store.try_import().ok_or(ImportError::Busy)?;
        // The next start finds what is left here if this process dies.
        self.sequencer().mark_dirty(did.clone()).await.map_err(WriteError::from)?;
        let path = staging::path(store.directory());
        let mut staging = blocking(move || Staging::create(path)).await?;

        // 1. The file.
        let mut body = pin!(body);
        let (mut pieces, mut gathered, mut received) = (Vec::new(), 0, 0_u64);
        while let Some(piece) = body.next().await {
            let piece = piece.map_err(|error| ImportError::Body(error.into()))?;
            gathered += piece.len();
            received = received.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
            if received > limit {
                return Err(ImportError::TooLarge { limit });
            }
            pieces.push(piece);
            if gathered >= PIECE_LEN {
                (pieces, gathered, staging) = stage(staging, std::mem::take(&mut pieces)).await?;
            }
        }
        (_, _, staging) = stage(staging, pieces).await?;

        // A task of its own: a client that goes away must not stop it between its steps.
        let (actors, clock_id) = (self.clone(), self.inner.clock_id);
        let task = tokio::spawn(async move {
            let _alone = alone;
            let staging = blocking(move || staging.close_file()).await?;
            fault::point("import.staged");
            let mut writing = store.lock().await;
            store.settle(&mut writing).await?;
            // 2. and 3.
            let of = Arc::clone(&store);
            let (writing, head, told) = blocking(move || -> Result<_, ImportError> {
                let (head, sync) = replace(&of, &mut writing, staging, clock_id, is_active()?)?;
                fault::point("import.committed");
                Ok((writing, head, sync))
            })
            .await?;
            // 4.
            let ticket = told.map(|sync| {
                let new = Some(NewHead { commit: head.commit.clone(), rev: head.rev });
                let did = store.did().clone();
                store.hand_over(
                    Batch { did, events: vec![sync], head: new, repair: false, drained: None, released: Vec::new() },
                    head.rev,
                )
            });
            store.untidy().note(store.did());
            drop(writing);
            // 5.
            let settled = actors.settle_blobs(store.did()).await;
            fault::point("import.settled");
            if let Some(ticket) = ticket {
                store.sequenced_by(ticket).await.map_err(WriteError::from)?;
                fault::point("import.sequenced");
            }
            settled?;
            Ok(head)
        });
        task.await.unwrap_or_else(|_| Err(DbError::Abandoned.into()))
    }
}

async fn stage(mut staging: Staging, pieces: Vec<Bytes>) -> Result<(Vec<Bytes>, usize, Staging), ImportError> {
    blocking(move || {
        staging.take(pieces)?;
        Ok((Vec::new(), 0, staging))
    })
    .await
}

/// Checks what is staged and puts it in place. Returns where the repository stands and, of an active account, the event
/// that says so. Blocks.
fn replace(
    store: &Store,
    writing: &mut Writing,
    mut staging: Staging,
    clock_id: u16,
    active: bool,
) -> Result<(Head, Option<Body>), ImportError> {
    let did = store.did();
    let checked = store.db()?.read_blocking(|ours| staging.check(did, ours))?;
    let path = staging.close()?;
    writing.head = None;
    let (head, sync) = store.db()?.write_beside_blocking(path.as_ref(), |transaction| -> Result<_, WriteError> {
        let (_, own) = read_root(transaction)?.ok_or_else(|| ActorError::NotFound(did.clone()))?;
        let rev = rev_above(own, checked.rev, clock_id)?;
        put_blocks(transaction, rev)?;
        put_records(transaction, rev)?;
        let head = Head { commit: checked.commit, rev, data: checked.data };
        write_root(transaction, did, &head)?;
        drop_pending(transaction)?;
        fault::point("import.written");
        if !active {
            return Ok((head, None));
        }
        let (head, sync) = recommit(transaction, store, Some(head), clock_id)?;
        add_pending(transaction, head.rev, &sync)?;
        Ok((head, Some(sync)))
    })?;
    writing.head = Some(head.clone());
    Ok((head, sync))
}

/// Brings the blocks in step with the staged tree. They come in the order of the index, so that it is filled from left
/// to right; blocks that were here before keep the revision that they came with.
fn put_blocks(transaction: &Transaction<'_>, rev: Tid) -> Result<(), WriteError> {
    transaction.execute(
        r#"DELETE FROM "repo_block" WHERE NOT EXISTS (SELECT 1 FROM staged.tree WHERE tree.cid = "repo_block"."cid")"#,
        [],
    )?;
    transaction.execute(
        r#"INSERT OR IGNORE INTO "repo_block" ("cid", "repoRev", "size", "content")
           SELECT block.cid, ?1, length(block.content), block.content FROM staged.block INDEXED BY block_cid
           WHERE EXISTS (SELECT 1 FROM staged.tree WHERE tree.cid = block.cid) ORDER BY block.cid"#,
        [rev.as_str()],
    )?;
    Ok(())
}

/// Brings records, and what they refer to, in step with the staged tree. Rows of records that stay as they are stay
/// untouched, and a takedown stays with its path.
fn put_records(transaction: &Transaction<'_>, rev: Tid) -> Result<(), WriteError> {
    for sql in [
        r#"INSERT OR IGNORE INTO "headwater_released" ("cid") SELECT DISTINCT "blobCid" FROM "record_blob" WHERE NOT EXISTS
           (SELECT 1 FROM staged.leaf WHERE leaf.uri = "record_blob"."recordUri" AND leaf.kept)"#,
        r#"DELETE FROM "backlink" WHERE NOT EXISTS
           (SELECT 1 FROM staged.leaf WHERE leaf.uri = "backlink"."uri" AND leaf.kept)"#,
        r#"DELETE FROM "record_blob" WHERE NOT EXISTS
           (SELECT 1 FROM staged.leaf WHERE leaf.uri = "record_blob"."recordUri" AND leaf.kept)"#,
        r#"DELETE FROM "record" WHERE NOT EXISTS (SELECT 1 FROM staged.leaf WHERE leaf.uri = "record"."uri")"#,
    ] {
        transaction.execute(sql, [])?;
    }
    transaction.execute(
        r#"INSERT INTO "record" ("uri", "cid", "collection", "rkey", "repoRev", "indexedAt")
           SELECT uri, cid, collection, rkey, ?1, ?2 FROM staged.leaf WHERE NOT kept ORDER BY uri
           ON CONFLICT ("uri") DO UPDATE
           SET "cid" = excluded."cid", "repoRev" = excluded."repoRev", "indexedAt" = excluded."indexedAt""#,
        params![rev.as_str(), now_datetime().as_str()],
    )?;
    for sql in [
        r#"INSERT OR REPLACE INTO "backlink" ("uri", "path", "linkTo") SELECT uri, path, link_to FROM staged.backlink"#,
        r#"INSERT OR IGNORE INTO "record_blob" ("blobCid", "recordUri") SELECT cid, uri FROM staged.blob"#,
        r#"DELETE FROM "headwater_released" WHERE EXISTS (SELECT 1 FROM "record_blob" WHERE "blobCid" = "cid")"#,
        r#"DELETE FROM "blob" WHERE "tempKey" IS NULL AND EXISTS
           (SELECT 1 FROM "headwater_released" WHERE "headwater_released"."cid" = "blob"."cid")"#,
    ] {
        transaction.execute(sql, [])?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
