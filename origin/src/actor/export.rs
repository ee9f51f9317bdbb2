//! Exports: a repository, or some of its blocks, as a CAR file that is made while it is sent.
//!
//! A thread reads in one read transaction, so that a file never mixes two commits whatever is written meanwhile, and
//! fills a [`CarStream`] of chunks of 64 KiB, of which at most [`AHEAD`] wait for the client. It stops when the client
//! goes away, and gives it up when it takes nothing for [`PATIENCE`], or is not done after [`LONGEST`]. The bounds are
//! there because the snapshot keeps what is written to the account meanwhile in its write-ahead log, which can be moved
//! into the database only up to the oldest reader; and because a thread is held: at most [`AT_ONCE`] exports run.
//!
//! A full export is in streamable order, a function of the tree alone. A stream that ends without an error is whole.
//!
//! Specification: <https://atproto.com/specs/repository#car-file-serialization>, <https://atproto.com/specs/sync>.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use shared::cid::Cid;
use shared::link::{LinkError, PublicBlob, Record, Reference, Revision, SnapshotHead, SnapshotWriter};
use shared::repo::car;
use shared::repo::export::{Export as Walk, Repeats};
use shared::syntax::{Did, Nsid, RecordKey, Tid};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::timeout;

use super::read::{self, ReadError};
use super::store::{Blocks, Store, read_block};
use super::{ActorError, Actors};
use crate::db::{DbError, blocking};

/// The size of a chunk, in bytes; one that holds a larger block is as large.
const CHUNK: usize = 64 * 1024;
/// How many records or blobs make a piece of a snapshot.
const PIECE: usize = 1000;
/// How many chunks wait for the client.
const AHEAD: usize = 2;
/// How many exports run at once; others wait for [`PATIENCE`].
pub const AT_ONCE: usize = 32;
/// How long a client may take nothing.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an export may take.
const LONGEST: Duration = Duration::from_secs(60 * 60);

/// A repository on its way.
#[derive(Debug)]
pub struct Export {
    /// The commit that it is at: the file's root.
    pub commit: Cid,
    /// The commit's revision.
    pub rev: Tid,
    /// The file.
    pub car: CarStream,
}

/// What is proven of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The revision of the commit, the file's root.
    pub rev: Tid,
    /// The CAR file.
    pub car: Vec<u8>,
}

/// The bytes of a CAR file in chunks. To let go of it stops its making.
#[derive(Debug)]
pub struct CarStream {
    pieces: mpsc::Receiver<Piece>,
    ended: bool,
}

/// What the thread says.
#[derive(Debug)]
enum Piece {
    Head { commit: Cid, rev: Tid },
    Chunk(Bytes),
    Failed(ReadError),
    End,
}

/// What is asked for.
enum Asked {
    All,
    Since(Tid),
    Blocks(Vec<Cid>),
    Snapshot(Box<SnapshotHead>),
}

impl Actors {
    /// The whole repository; or, after the revision `since`, what a reader who stood there does not have. Who stood
    /// somewhere else gets the whole, too.
    ///
    /// # Errors
    /// [`ActorError::NotFound`] when there is none, [`ReadError::Busy`] when too many are on their way already. Later
    /// errors come through the stream.
    pub async fn export(&self, did: &Did, since: Option<Tid>) -> Result<Export, ReadError> {
        let mut car = self.start(did, since.map_or(Asked::All, Asked::Since)).await?;
        match car.pieces.recv().await {
            Some(Piece::Head { commit, rev }) => Ok(Export { commit, rev, car }),
            Some(Piece::Failed(error)) => Err(error),
            _ => Err(DbError::Abandoned.into()),
        }
    }

    /// Blocks of the repository: a CAR file without roots, each of `cids` once.
    ///
    /// # Errors
    /// [`ReadError::BlocksMissing`] when it lacks some; otherwise as for [`Self::export`].
    pub async fn export_blocks(&self, did: &Did, cids: Vec<Cid>) -> Result<CarStream, ReadError> {
        let mut car = self.start(did, Asked::Blocks(cids)).await?;
        match car.pieces.recv().await {
            Some(Piece::Head { .. }) => Ok(car),
            Some(Piece::Failed(error)) => Err(error),
            _ => Err(DbError::Abandoned.into()),
        }
    }

    /// A snapshot for the edge, which begins with `head`; of an account that is served with its whole content, at the
    /// revision that it stands at.
    ///
    /// # Errors
    /// [`ReadError::Unreplicable`] when the head is too large; otherwise as for [`Self::export`].
    pub async fn snapshot(&self, head: SnapshotHead) -> Result<CarStream, ReadError> {
        let did = head.account.clone();
        let mut stream = self.start(&did, Asked::Snapshot(Box::new(head))).await?;
        match stream.pieces.recv().await {
            Some(Piece::Head { .. }) => Ok(stream),
            Some(Piece::Failed(error)) => Err(error),
            _ => Err(DbError::Abandoned.into()),
        }
    }

    async fn start(&self, did: &Did, asked: Asked) -> Result<CarStream, ReadError> {
        let store = self.store(did).await?;
        let permit = timeout(PATIENCE, self.inner.exports.clone().acquire_owned()).await;
        let permit = permit.ok().and_then(Result::ok).ok_or(ReadError::Busy)?;
        let (sender, pieces) = mpsc::channel(AHEAD);
        let out = Out::new(sender);
        // The task ends with the thread, which ends with the stream.
        tokio::spawn(blocking(move || -> Result<(), DbError> {
            out.run(&store, asked);
            drop(permit);
            Ok(())
        }));
        Ok(CarStream { pieces, ended: false })
    }
}

/// The CAR file that proves that a record is in the repository or is not; `None` when there is no repository.
///
/// # Errors
/// When the store fails or a block is missing.
pub fn proof(connection: &Connection, collection: &Nsid, rkey: &RecordKey) -> Result<Option<Proof>, ReadError> {
    let Some((rev, blocks)) = read::proof(connection, collection, rkey)? else { return Ok(None) };
    Ok(blocks.first().map(|commit| Proof { rev, car: car::to_vec(&commit.cid, &blocks) }))
}

impl Stream for CarStream {
    type Item = Result<Bytes, ReadError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if this.ended {
            return Poll::Ready(None);
        }
        let next = match std::task::ready!(this.pieces.poll_recv(context)) {
            Some(Piece::Chunk(chunk)) => return Poll::Ready(Some(Ok(chunk))),
            Some(Piece::End) => None,
            Some(Piece::Failed(error)) => Some(Err(error)),
            // Nobody said that it was the end.
            Some(Piece::Head { .. }) | None => Some(Err(ReadError::Unfinished)),
        };
        this.ended = true;
        Poll::Ready(next)
    }
}

/// Why an export stops.
enum Stop {
    /// The client is gone or too slow.
    Gone,
    /// It cannot be made.
    Failed(ReadError),
}

impl<E: Into<ReadError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// Where the thread writes to.
struct Out {
    pieces: mpsc::Sender<Piece>,
    runtime: Handle,
    until: Instant,
    buffer: Vec<u8>,
}

impl Out {
    fn new(pieces: mpsc::Sender<Piece>) -> Self {
        Self { pieces, runtime: Handle::current(), until: Instant::now() + LONGEST, buffer: Vec::new() }
    }

    fn run(mut self, store: &Store, asked: Asked) {
        let last = match store.db() {
            Ok(db) => match db.read_blocking(|connection| self.write(store.did(), connection, asked)) {
                Ok(()) => Piece::End,
                Err(Stop::Failed(error)) => Piece::Failed(error),
                Err(Stop::Gone) => return,
            },
            Err(error) => Piece::Failed(error.into()),
        };
        // Whoever does not wait for it any more does not get it.
        let _gone = self.send(last);
    }

    fn write(&mut self, did: &Did, connection: &Connection, asked: Asked) -> Result<(), Stop> {
        let snapshot = connection.unchecked_transaction().map_err(ReadError::from)?;
        let head = read::head(&snapshot)?.ok_or_else(|| ActorError::NotFound(did.clone()))?;
        let (commit, rev) = (head.commit.clone(), head.rev);
        let asked = match asked {
            Asked::Since(since) if !is_ours(&snapshot, since, rev)? => Asked::All,
            asked => asked,
        };
        match asked {
            Asked::All => {
                let repeats = repeats(&snapshot)?;
                self.send(Piece::Head { commit: commit.clone(), rev })?;
                self.buffer = car::header(std::slice::from_ref(&commit));
                let store = Blocks(&snapshot);
                for block in Walk::new(&store, commit, head.data, repeats) {
                    let block = block.map_err(ReadError::from)?;
                    self.block(&block.cid, &block.bytes)?;
                }
            }
            Asked::Since(since) => {
                let block = read_block(&snapshot, &commit).map_err(ReadError::from)?;
                let block = block.ok_or_else(|| ReadError::Damaged(commit.clone()))?;
                self.send(Piece::Head { commit: commit.clone(), rev })?;
                self.buffer = car::header(std::slice::from_ref(&commit));
                self.block(&commit, &block)?;
                self.newer(&snapshot, since, &commit)?;
            }
            Asked::Snapshot(head) => self.replica(&snapshot, *head, commit, rev)?,
            Asked::Blocks(cids) => {
                let cids = present(&snapshot, cids)?;
                self.send(Piece::Head { commit, rev })?;
                self.buffer = car::header(&[]);
                for cid in cids {
                    let block = read_block(&snapshot, &cid).map_err(ReadError::from)?;
                    let block = block.ok_or_else(|| ReadError::Damaged(cid.clone()))?;
                    self.block(&cid, &block)?;
                }
            }
        }
        self.flush()
    }

    /// The blocks that came after `since`, without the commit, newest first.
    fn newer(&mut self, snapshot: &Connection, since: Tid, commit: &Cid) -> Result<(), Stop> {
        let newer = || -> Result<_, DbError> {
            Ok(snapshot.prepare_cached(
                r#"SELECT "cid", "content" FROM "repo_block" WHERE "repoRev" > ?1 ORDER BY "repoRev" DESC, "cid" DESC"#,
            )?)
        };
        let mut newer = newer()?;
        let mut rows = newer.query([since.as_str()]).map_err(DbError::from)?;
        while let Some(row) = rows.next().map_err(DbError::from)? {
            let cid: String = row.get(0).map_err(DbError::from)?;
            let content = row.get_ref(1).map_err(DbError::from)?.as_blob().unwrap_or_default();
            let cid = Cid::parse(&cid).map_err(|_| ReadError::Damaged(Cid::of_cbor(content)))?;
            if cid != *commit {
                self.block(&cid, content)?;
            }
        }
        Ok(())
    }

    /// All that a replica holds, in the order in which it lies.
    fn replica(&mut self, store: &Connection, mut head: SnapshotHead, commit: Cid, rev: Tid) -> Result<(), Stop> {
        let served = head.state.status.is_none();
        head.revision = served.then(|| Revision { rev, commit: commit.clone() });
        let mut writer = SnapshotWriter::new(&head, &mut self.buffer).map_err(ReadError::Unreplicable)?;
        self.send(Piece::Head { commit, rev })?;
        if served {
            let mut blocks =
                store.prepare_cached(r#"SELECT "cid", "content" FROM "repo_block""#).map_err(DbError::from)?;
            let mut rows = blocks.query([]).map_err(DbError::from)?;
            while let Some(row) = rows.next().map_err(DbError::from)? {
                let content = row.get_ref(1).map_err(DbError::from)?.as_blob().unwrap_or_default();
                let cid: String = row.get(0).map_err(DbError::from)?;
                let cid = Cid::parse(&cid).map_err(|_| ReadError::Damaged(Cid::of_cbor(content)))?;
                writer.block(&cid, content, &mut self.buffer);
                self.flush_full()?;
            }
            self.records(store, &mut writer)?;
            self.blobs(store, &mut writer)?;
            self.references(store, &mut writer)?;
        }
        writer.end(&mut self.buffer).map_err(|error| ReadError::Unreplicable(error).into())
    }

    fn records(&mut self, store: &Connection, writer: &mut SnapshotWriter) -> Result<(), Stop> {
        let sql = r#"SELECT "collection" || '/' || "rkey", "cid" FROM "record""#;
        let record = |row: &Row<'_>| {
            let (path, cid): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(Cid::parse(&cid).ok().map(|cid| Record { path, cid }))
        };
        self.pieces(store, sql, record, |records, buffer| writer.records(records, buffer))
    }

    /// Those that are taken down are among them: the state says which, and may say otherwise later.
    fn blobs(&mut self, store: &Connection, writer: &mut SnapshotWriter) -> Result<(), Stop> {
        let sql = r#"SELECT "cid", "mimeType", "size" FROM "blob" WHERE "tempKey" IS NULL"#;
        self.pieces(store, sql, public_blob, |blobs, buffer| writer.blobs(blobs, buffer))
    }

    fn references(&mut self, store: &Connection, writer: &mut SnapshotWriter) -> Result<(), Stop> {
        let sql = r#"SELECT "record"."collection" || '/' || "record"."rkey", "record_blob"."blobCid" FROM "record_blob"
                     JOIN "record" ON "record"."uri" = "record_blob"."recordUri""#;
        let reference = |row: &Row<'_>| {
            let (path, blob): (String, String) = (row.get(0)?, row.get(1)?);
            Ok(Cid::parse(&blob).ok().map(|blob| Reference { path, blob }))
        };
        self.pieces(store, sql, reference, |references, buffer| writer.references(references, buffer))
    }

    /// Writes what `read` makes of the rows of `sql`, a thousand or so to a piece; rows that it makes nothing of are passed
    /// over.
    fn pieces<T>(
        &mut self,
        store: &Connection,
        sql: &str,
        read: impl Fn(&Row<'_>) -> rusqlite::Result<Option<T>>,
        mut write: impl FnMut(&[T], &mut Vec<u8>) -> Result<(), LinkError>,
    ) -> Result<(), Stop> {
        let mut statement = store.prepare_cached(sql).map_err(DbError::from)?;
        let mut rows = statement.query([]).map_err(DbError::from)?;
        let mut some = Vec::with_capacity(PIECE);
        while let Some(row) = rows.next().map_err(DbError::from)? {
            some.extend(read(row).map_err(DbError::from)?);
            if some.len() == PIECE {
                write(&some, &mut self.buffer).map_err(ReadError::Unreplicable)?;
                some.clear();
                self.flush_full()?;
            }
        }
        if some.is_empty() {
            return Ok(());
        }
        write(&some, &mut self.buffer).map_err(|error| ReadError::Unreplicable(error).into())
    }

    fn flush_full(&mut self) -> Result<(), Stop> {
        if self.buffer.len() < CHUNK { Ok(()) } else { self.flush() }
    }

    fn block(&mut self, cid: &Cid, bytes: &[u8]) -> Result<(), Stop> {
        if self.buffer.len() + car::section_len(cid, bytes.len()) > CHUNK {
            self.flush()?;
        }
        car::section(cid, bytes, &mut self.buffer);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Stop> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::replace(&mut self.buffer, Vec::with_capacity(CHUNK));
        self.send(Piece::Chunk(chunk.into()))
    }

    fn send(&self, piece: Piece) -> Result<(), Stop> {
        match self.pieces.try_send(piece) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(_)) => Err(Stop::Gone),
            Err(TrySendError::Full(piece)) => {
                let patience = PATIENCE.min(self.until.saturating_duration_since(Instant::now()));
                let sent = self.runtime.block_on(async { timeout(patience, self.pieces.send(piece)).await });
                sent.ok().and_then(Result::ok).ok_or(Stop::Gone)
            }
        }
    }
}

/// A blob out of a row of its CID, media type and size.
pub(crate) fn public_blob(row: &Row<'_>) -> rusqlite::Result<Option<PublicBlob>> {
    let (cid, mime_type, size): (String, String, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
    let size = u64::try_from(size).unwrap_or_default();
    Ok(Cid::parse(&cid).ok().map(|cid| PublicBlob { cid, mime_type, size }))
}

/// Whether a reader who stood at `since` can be served with what came after it.
fn is_ours(snapshot: &Connection, since: Tid, rev: Tid) -> Result<bool, ReadError> {
    let oldest: Option<String> =
        snapshot.prepare_cached(r#"SELECT min("repoRev") FROM "repo_block""#)?.query_row([], |row| row.get(0))?;
    Ok(since <= rev && oldest.is_some_and(|oldest| oldest.as_str() <= since.as_str()))
}

/// The records that stand at several paths.
fn repeats(snapshot: &Connection) -> Result<Repeats, ReadError> {
    let mut statement = snapshot.prepare_cached(r#"SELECT "cid" FROM "record" GROUP BY "cid" HAVING count(*) > 1"#)?;
    let mut rows = statement.query([])?;
    let mut repeats = Vec::new();
    while let Some(row) = rows.next()? {
        repeats.extend(row.get_ref(0)?.as_str().ok().and_then(|cid| Cid::parse(cid).ok()));
    }
    Ok(repeats.into_iter().collect())
}

/// Each of `cids` once, if the store has them all.
fn present(snapshot: &Connection, mut cids: Vec<Cid>) -> Result<Vec<Cid>, ReadError> {
    let mut seen = std::collections::HashSet::new();
    cids.retain(|cid| seen.insert(cid.clone()));
    let mut statement = snapshot.prepare_cached(r#"SELECT 1 FROM "repo_block" WHERE "cid" = ?1"#)?;
    let mut missing = Vec::new();
    for cid in &cids {
        if statement.query_row(params![cid.to_string()], |_| Ok(())).optional()?.is_none() {
            missing.push(cid.clone());
        }
    }
    if missing.is_empty() { Ok(cids) } else { Err(ReadError::BlocksMissing(missing)) }
}

#[cfg(test)]
mod tests;
