//! The way of a write: the one place where a repository changes.
//!
//! [`Actors::apply_writes`] takes writes that are validated, encoded and hashed already, and
//!
//! 1. where the writes refer to blobs, puts the files of those that are uploads still where permanent blobs are, so that
//!    they are there before anything says so. That may be another machine's work: the account's lock is not held;
//! 2. waits for the account's lock, in line with others ([`super::line`]), and sees to it that nothing that was committed
//!    before is unsequenced;
//! 3. in one transaction: checks what the writes expect, lets `shared::repo` edit the tree and sign, and stores blocks,
//!    records, backlinks, blob references, root and the pending event;
//! 4. gives the event its place in the sequencer's queue, and lets go of the lock;
//! 5. where blobs came or went, ends their uploads and deletes their files, again without the lock;
//! 6. answers when the event is sequenced.
//!
//! If the process dies after 3 the event is found and sequenced at the next start, and files that should go are deleted;
//! before, nothing has happened. A caller that goes away does not stop it half-way.
//!
//! What was put in its place by 1 is still there in 3, and what 5 deletes nobody has referred to again: see
//! [`super::blobs::files`].

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rusqlite::{OptionalExtension as _, Transaction, params};
use shared::cid::Cid;
use shared::data::BlobRef;
use shared::firehose::{Body, Commit, Event, FirehoseError};
use shared::repo::{Action, ApplyError, CommitDiff, Head, Repo, RepoOp, Swap, Write};
use shared::syntax::{AtUri, Datetime, Did, Path, Tid};
use tokio::sync::oneshot;

use super::blobs::files::{Placed, release, tether};
use super::line::{Reached, Waiting};
use super::store::{self, Blocks, RecentBlocks, Store, Writing};
use super::{ActorError, Actors};
use crate::blobstore::BlobstoreError;
use crate::db::DbError;
use crate::fault;
use crate::sequencer::SequenceError;
use crate::time::{now_datetime, now_micros};

/// How long an answer waits for files that are to go. What takes longer goes on behind it.
const TIDYING: Duration = Duration::from_secs(1);
/// How many nodes of the last commit are kept in memory for the next one: more than any path has.
pub(super) const KEPT_NODES: usize = 32;

/// A link that a record makes, for finding records that say the same of the same subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlink {
    /// The field that links: `subject` or `subject.uri`.
    pub path: &'static str,
    /// What it links to: a DID or a record's URI.
    pub link_to: String,
}

/// A write with what its record refers to.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The write.
    pub write: Write,
    /// The blobs in its record.
    pub blobs: Vec<BlobRef>,
    /// The links in its record.
    pub backlinks: Vec<Backlink>,
    /// Whether other records of the collection that make the same link are deleted with it.
    pub replaces_links: bool,
}

/// A commit that is durable and sequenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where the repository stands.
    pub head: Head,
    /// What changed, in order; deletions of replaced links come first.
    pub ops: Vec<RepoOp>,
    /// Blobs that nothing refers to any more, which are deleted.
    pub released: Vec<Cid>,
}

/// Why writes were refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// What the tree, the paths or the sizes have against them.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The repository is not at the commit that the writer expects.
    #[error("commit was at {0}")]
    SwapCommit(Cid),
    /// The account may not be written to (any more).
    #[error("the account does not take writes")]
    NotAdmitted,
    /// A blob that is not here, or taken down.
    #[error("could not find blob: {0}")]
    BlobNotFound(Cid),
    /// A blob whose reference says another media type than it has.
    #[error("referenced media type of {cid} is {said}, the blob's is {is}")]
    BlobMimeType {
        /// Which.
        cid: Cid,
        /// What the record says.
        said: String,
        /// What it is.
        is: String,
    },
    /// A blob whose reference says another size than it has.
    #[error("referenced size of {cid} is {said}, the blob's is {is}")]
    BlobSize {
        /// Which.
        cid: Cid,
        /// What the record says, in bytes.
        said: u64,
        /// What it is.
        is: u64,
    },
    /// Every write leaves its record as it is.
    #[error("nothing to do")]
    NothingToDo,
    /// No revision is left above the repository's.
    #[error("no revision is left above {0}")]
    RevExhausted(Tid),
    /// The store lacks a block that it must have.
    #[error("block {0} of the repository is missing or damaged")]
    Damaged(Cid),
    /// The store is older than what was told of it, as one out of a backup is: a commit on top of it would take back what
    /// was acknowledged, and part from the chain that consumers have.
    #[error("the repository is at {at}, and it was told up to {told}: run `headwater sequencer recover`")]
    Behind {
        /// Where it stands.
        at: Tid,
        /// What was told last.
        told: Tid,
    },
    /// The event could not be made.
    #[error("the event cannot be made")]
    Event(#[from] FirehoseError),
    /// The event could not be sequenced. The commit stands, and its event follows as soon as it can.
    #[error("the event could not be sequenced")]
    Sequence(#[from] SequenceError),
    /// The files of blobs could not be put where they belong.
    #[error(transparent)]
    Blobstore(#[from] BlobstoreError),
    /// The store failed.
    #[error(transparent)]
    Actor(#[from] ActorError),
}

impl From<DbError> for WriteError {
    fn from(error: DbError) -> Self {
        Self::Actor(error.into())
    }
}

impl From<rusqlite::Error> for WriteError {
    fn from(error: rusqlite::Error) -> Self {
        DbError::from(error).into()
    }
}

impl Actors {
    /// Makes one commit of `writes`. `None` when every one of them leaves its record as it is; without any the commit is
    /// empty. `admit` is asked under the lock whether the account takes writes.
    ///
    /// # Errors
    /// A [`WriteError`]. Nothing is changed then, except with [`WriteError::Sequence`].
    pub async fn apply_writes(
        &self,
        did: &Did,
        writes: Vec<Prepared>,
        swap_commit: Option<Cid>,
        admit: impl Fn() -> Result<bool, DbError> + Send + 'static,
    ) -> Result<Option<Committed>, WriteError> {
        let store = self.store(did).await?;
        let (tell, told) = oneshot::channel();
        let blobs: Vec<BlobRef> = writes.iter().flat_map(|write| &write.blobs).cloned().collect();
        let waiting =
            Waiting { writes, swap_commit, admit: Box::new(admit), tell, placed: Placed::default(), alone: false };
        let (actors, clock_id) = (self.clone(), self.inner.clock_id);
        let with_blobs = if blobs.is_empty() {
            store.join(waiting, clock_id);
            None
        } else {
            Some(waiting)
        };
        // A task of its own: a client that goes away must not stop it between its steps.
        let task = tokio::spawn(async move {
            let mut held = None;
            if let Some(waiting) = with_blobs {
                held = Some(store.hold_blobs().await);
                // 1. Every file where the transaction will say it is.
                let placed = store.place(blobs).await?;
                fault::point("write.placed");
                store.join(Waiting { placed, alone: true, ..waiting }, clock_id);
            }
            // 2. to 4.
            let (committed, sequenced) = match told.await.unwrap_or_else(|_| Err(DbError::Abandoned.into()))? {
                Reached::Unchanged => return Ok(None),
                Reached::Sequenced(committed, sequenced) => (committed, sequenced),
                Reached::Queued(committed, ticket, placed) => {
                    // 5. Nobody waits long for a file that is only in the way.
                    let tidying = tokio::spawn(actors.tidy(Arc::clone(&store), held, placed));
                    let _goes_on = tokio::time::timeout(TIDYING, tidying).await;
                    (committed, ticket.await.unwrap_or(Err(SequenceError::Stopped)))
                }
            };
            // 6. The answer.
            store.see_to(sequenced)?;
            fault::point("write.sequenced");
            Ok(Some(committed))
        });
        task.await.unwrap_or_else(|_| Err(DbError::Abandoned.into()))
    }
}

/// What became of one of the writes that share a transaction: a commit and its event, nothing where every record was as it
/// was to be, or why it was refused.
pub(super) type Made = Result<Option<(Committed, Body)>, WriteError>;

/// The transaction: a commit for each of `writes`. If it fails nothing has happened; a refusal concerns the one write
/// alone. Blocks.
pub(super) fn commit(
    store: &Store,
    writing: &mut Writing,
    writes: &[Waiting],
    clock_id: u16,
) -> Result<Vec<Made>, WriteError> {
    let sequenced = store.sequenced();
    let known = writing.head.take();
    let mut nodes = std::mem::take(&mut writing.nodes);
    let (head, nodes, made) = store.db()?.write_blocking(|transaction| {
        let mut head = match known {
            Some(head) => head,
            None => store::read_head(transaction)?.ok_or_else(|| ActorError::NotFound(store.did().clone()))?,
        };
        let mut made = Vec::with_capacity(writes.len());
        for waiting in writes {
            let planned = match plan(transaction, store, &head, &nodes, waiting, clock_id) {
                Ok(Some(planned)) => planned,
                Ok(None) => {
                    made.push(Ok(None));
                    continue;
                }
                Err(refused) => {
                    made.push(Err(refused));
                    continue;
                }
            };
            let Planned { diff, references, event } = planned;
            let released = put(transaction, store.did(), &diff, &references, &waiting.placed)?;
            replace_pending(transaction, sequenced, diff.head.rev, &event)?;
            fault::point("write.written");
            nodes = diff.nodes.into_iter().take(KEPT_NODES).map(|node| (node.cid, node.bytes)).collect();
            head = diff.head.clone();
            made.push(Ok(Some((Committed { head: diff.head, ops: diff.ops, released }, event))));
        }
        Ok::<_, WriteError>((head, nodes, made))
    })?;
    // Kept only now that it is committed: after a failure it is read again.
    writing.head = Some(head);
    writing.nodes = nodes;
    Ok(made)
}

/// What a write comes to.
struct Planned {
    diff: CommitDiff,
    references: Vec<References>,
    event: Body,
}

/// Finds out what a write comes to where the repository stands at `head`; `None` if every record is as it is to be.
/// Changes nothing.
fn plan(
    transaction: &Transaction<'_>,
    store: &Store,
    head: &Head,
    nodes: &HashMap<Cid, Bytes>,
    waiting: &Waiting,
    clock_id: u16,
) -> Result<Option<Planned>, WriteError> {
    let did = store.did();
    if waiting.swap_commit.as_ref().is_some_and(|expected| *expected != head.commit) {
        return Err(WriteError::SwapCommit(head.commit.clone()));
    }
    let rev = Tid::next_after(Some(&head.rev), now_micros(), clock_id).ok_or(WriteError::RevExhausted(head.rev))?;
    let (writes, references) = resolve(transaction, did, &waiting.writes)?;
    let blocks = RecentBlocks { recent: nodes, stored: Blocks(transaction) };
    let repo = Repo { did, head: Some(head), blocks: &blocks };
    let Some(diff) = repo.apply(writes, store.key()?, rev)? else { return Ok(None) };
    let event = Event::Commit(Commit::of(did.clone(), &diff)).encode()?;
    Ok(Some(Planned { diff, references, event }))
}

/// Brings the store to where a commit leaves it; returns the blobs that nothing refers to any more.
fn put(
    transaction: &Transaction<'_>,
    did: &Did,
    diff: &CommitDiff,
    references: &[References],
    placed: &Placed,
) -> Result<Vec<Cid>, WriteError> {
    store::write_blocks(transaction, diff)?;
    let released = index(transaction, did, diff, references, placed)?;
    delete_blocks(transaction, diff)?;
    store::write_root(transaction, did, &diff.head)?;
    Ok(released)
}

/// What a record that is written refers to.
struct References {
    path: Path,
    blobs: Vec<BlobRef>,
    backlinks: Vec<Backlink>,
}

/// Adds the deletions that writes imply, and parts the writes from what their records refer to.
fn resolve(
    transaction: &Transaction<'_>,
    did: &Did,
    prepared: &[Prepared],
) -> Result<(Vec<Write>, Vec<References>), WriteError> {
    let mut deletions = Vec::new();
    let mut writes = Vec::with_capacity(prepared.len());
    let mut references = Vec::with_capacity(prepared.len());
    for Prepared { write, blobs, backlinks, replaces_links } in prepared {
        let path = write.path().clone();
        if *replaces_links {
            for backlink in backlinks {
                deletions.extend(linking_alike(transaction, did, &path, backlink)?);
            }
        }
        writes.push(write.clone());
        references.push(References { path, blobs: blobs.clone(), backlinks: backlinks.clone() });
    }
    deletions.sort();
    deletions.dedup();
    let deletions = deletions.into_iter().map(|path| Write::Delete { path, swap: Swap::Any });
    Ok((deletions.chain(writes).collect(), references))
}

/// The other records of a path's collection that make the same link.
fn linking_alike(
    transaction: &Transaction<'_>,
    did: &Did,
    path: &Path,
    backlink: &Backlink,
) -> Result<Vec<Path>, WriteError> {
    let mut statement = transaction.prepare_cached(
        r#"SELECT "record"."uri" FROM "record" JOIN "backlink" ON "backlink"."uri" = "record"."uri"
           WHERE "backlink"."path" = ?1 AND "backlink"."linkTo" = ?2 AND "record"."collection" = ?3"#,
    )?;
    let collection = path.collection();
    let rows = statement
        .query_map(params![backlink.path, backlink.link_to, collection.as_str()], |row| row.get::<_, String>(0))?;
    let mut paths = Vec::new();
    for uri in rows {
        let uri = uri?;
        let other = uri.strip_prefix("at://").and_then(|rest| rest.strip_prefix(did.as_str())?.strip_prefix('/'));
        paths.extend(other.and_then(|other| Path::parse(other).ok()).filter(|other| other != path));
    }
    Ok(paths)
}

/// Brings records, backlinks and blob references in step with the tree; returns the blobs that nothing refers to now.
fn index(
    transaction: &Transaction<'_>,
    did: &Did,
    diff: &CommitDiff,
    references: &[References],
    placed: &Placed,
) -> Result<Vec<Cid>, WriteError> {
    let now = now_datetime();
    let mut dropped = Vec::new();
    for op in &diff.ops {
        let uri = AtUri::record(did, &op.path.collection(), &op.path.rkey());
        let uri = uri.as_str();
        if op.action != Action::Create {
            dropped.extend(unlink(transaction, uri)?);
        }
        put_record(transaction, uri, op, diff.head.rev, &now)?;
        if let Some(references) = references.iter().find(|references| op.cid.is_some() && references.path == op.path) {
            link(transaction, uri, references, placed)?;
        }
    }
    Ok(release(transaction, &dropped)?)
}

/// Brings a record's row in step with what was done at its path, at `rev` and at the moment `at`.
pub(super) fn put_record(
    transaction: &Transaction<'_>,
    uri: &str,
    op: &RepoOp,
    rev: Tid,
    at: &Datetime,
) -> Result<(), WriteError> {
    let Some(cid) = &op.cid else {
        transaction.prepare_cached(r#"DELETE FROM "record" WHERE "uri" = ?1"#)?.execute([uri])?;
        return Ok(());
    };
    let mut statement = transaction.prepare_cached(
        r#"INSERT INTO "record" ("uri", "cid", "collection", "rkey", "repoRev", "indexedAt")
           VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT ("uri") DO UPDATE
           SET "cid" = excluded."cid", "repoRev" = excluded."repoRev", "indexedAt" = excluded."indexedAt""#,
    )?;
    let (collection, rkey) = (op.path.collection(), op.path.rkey());
    statement.execute(params![uri, cid.to_string(), collection.as_str(), rkey.as_str(), rev.as_str(), at.as_str()])?;
    Ok(())
}

/// Takes a record's backlinks and blob references out; returns the blobs it referred to.
pub(super) fn unlink(transaction: &Transaction<'_>, uri: &str) -> Result<Vec<String>, WriteError> {
    transaction.prepare_cached(r#"DELETE FROM "backlink" WHERE "uri" = ?1"#)?.execute([uri])?;
    let mut statement =
        transaction.prepare_cached(r#"DELETE FROM "record_blob" WHERE "recordUri" = ?1 RETURNING "blobCid""#)?;
    Ok(statement.query_map([uri], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Puts a record's backlinks and blob references in.
fn link(transaction: &Transaction<'_>, uri: &str, references: &References, placed: &Placed) -> Result<(), WriteError> {
    put_backlinks(transaction, uri, &references.backlinks)?;
    for blob in &references.blobs {
        publish(transaction, blob, placed)?;
        put_reference(transaction, uri, &blob.cid)?;
    }
    Ok(())
}

pub(super) fn put_backlinks(
    transaction: &Transaction<'_>,
    uri: &str,
    backlinks: &[Backlink],
) -> Result<(), WriteError> {
    for backlink in backlinks {
        transaction
            .prepare_cached(r#"INSERT OR REPLACE INTO "backlink" ("uri", "path", "linkTo") VALUES (?1, ?2, ?3)"#)?
            .execute(params![uri, backlink.path, backlink.link_to])?;
    }
    Ok(())
}

/// Notes that a record refers to a blob.
pub(super) fn put_reference(transaction: &Transaction<'_>, uri: &str, blob: &Cid) -> Result<(), WriteError> {
    transaction
        .prepare_cached(r#"INSERT OR IGNORE INTO "record_blob" ("blobCid", "recordUri") VALUES (?1, ?2)"#)?
        .execute(params![blob.to_string(), uri])?;
    Ok(())
}

/// Makes a blob permanent with its first reference. What the record says of it is held against the upload until then,
/// as the reference does.
fn publish(transaction: &Transaction<'_>, blob: &BlobRef, placed: &Placed) -> Result<(), WriteError> {
    let cid = blob.cid.to_string();
    let mut statement = transaction.prepare_cached(
        r#"SELECT "mimeType", "size", "tempKey" IS NOT NULL FROM "blob" WHERE "cid" = ?1 AND "takedownRef" IS NULL"#,
    )?;
    let row = statement
        .query_row([&cid], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, bool>(2)?)))
        .optional()?;
    let Some((mime_type, size, temporary)) = row else {
        return Err(WriteError::BlobNotFound(blob.cid.clone()));
    };
    // One that the same commit has made permanent is still held against.
    if !temporary && !placed.has(&blob.cid) {
        return Ok(());
    }
    if mime_type != blob.mime_type {
        let (said, is) = (blob.mime_type.clone(), mime_type);
        return Err(WriteError::BlobMimeType { cid: blob.cid.clone(), said, is });
    }
    let size = u64::try_from(size).unwrap_or_default();
    if size != blob.size {
        return Err(WriteError::BlobSize { cid: blob.cid.clone(), said: blob.size, is: size });
    }
    if !placed.has(&blob.cid) {
        // The upload's file is not there.
        return Err(WriteError::BlobNotFound(blob.cid.clone()));
    }
    Ok(tether(transaction, &blob.cid)?)
}

/// Deletes the blocks that nothing references any more. Records may share one, and a node may be one besides.
pub(super) fn delete_blocks(transaction: &Transaction<'_>, diff: &CommitDiff) -> Result<(), WriteError> {
    let mut statement = transaction.prepare_cached(
        r#"DELETE FROM "repo_block" WHERE "cid" = ?1 AND NOT EXISTS (SELECT 1 FROM "record" WHERE "cid" = ?1)"#,
    )?;
    for cid in diff.removed.iter().chain(&diff.dropped_records) {
        statement.execute([cid.to_string()])?;
    }
    Ok(())
}

/// Adds the event that waits to be sequenced, in place of those that are.
fn replace_pending(
    transaction: &Transaction<'_>,
    sequenced: Option<Tid>,
    rev: Tid,
    event: &Body,
) -> Result<(), WriteError> {
    if let Some(sequenced) = sequenced {
        transaction
            .prepare_cached(r#"DELETE FROM "headwater_pending" WHERE "rev" <= ?1"#)?
            .execute([sequenced.as_str()])?;
    }
    add_pending(transaction, rev, event)
}

/// Adds an event that waits to be sequenced.
pub(super) fn add_pending(transaction: &Transaction<'_>, rev: Tid, event: &Body) -> Result<(), WriteError> {
    transaction
        .prepare_cached(r#"INSERT INTO "headwater_pending" ("rev", "kind", "event") VALUES (?1, ?2, ?3)"#)?
        .execute(params![rev.as_str(), event.kind().stored_name(), &event.as_bytes()[..]])?;
    Ok(())
}
