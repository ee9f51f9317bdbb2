//! The sequencer: the one order in which everything that happens here is told to the world.
//!
//! One thread writes `sequencer.sqlite`. Whoever has something to tell hands it a [`Batch`]; batches are taken in the
//! order in which they were handed over, and those that wait together share one transaction and so one fsync. An event
//! is published only once it is on the disk, and a batch is answered only once its events are published. An event is
//! stored as its body without `seq` and `time`, and stamped when it is sent: live and replayed frames are the same bytes.
//!
//! # What always holds
//!
//! - `seq` ascends and is never used twice.
//! - One account's commits stand in the order of their revisions: `headwater_head` holds the last one, written with its
//!   event. When a batch of an account could not be written, later ones of that account are refused until one comes that
//!   repairs the gap ([`Batch::repair`]), because only the account's own store knows what is missing.
//! - `headwater_dirty` lists every account that may hold a commit whose event is not here, or whose root is not told.
//!
//! Specification: <https://atproto.com/specs/event-stream#sequence-numbers>.

pub(crate) mod feed;
mod history;
mod live;
mod outbox;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use bytes::Bytes;
use rusqlite::{OptionalExtension as _, params};
use shared::firehose::{Body, Kind, Seq};
use shared::syntax::{Datetime, Did, Tid};
use tokio::sync::{oneshot, watch};

use crate::db::{Db, DbError, Options, Schema, Step};
use feed::FeedLog;

pub use history::Told;
pub use live::Frames;
pub use outbox::{End, FAREWELL, Outbox, PATIENCE, Policy};
pub use writer::RootSink;

/// How many bytes of events are handed out at a time, beyond the first event.
const PAGE_BYTES: usize = 128 * 1024;

const SCHEMA: Schema = Schema {
    steps: &[Step { name: "001", sql: include_str!("../migrations/sequencer/001.sql") }],
    own: include_str!("../migrations/sequencer/own.sql"),
};

/// A commit's place in its account's history, which goes into the sequence with its event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewHead {
    /// The commit.
    pub commit: shared::cid::Cid,
    /// Its revision.
    pub rev: Tid,
}

/// Events of one account that are sequenced together or not at all.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Whose events.
    pub did: Did,
    /// What happened, in order.
    pub events: Vec<Body>,
    /// Where the account's repository stands after them, if they move it.
    pub head: Option<NewHead>,
    /// Whether these events close a gap that an earlier failure left.
    pub repair: bool,
    /// The last place in the accounts' outbox that they were taken from, if they were: it is noted with them, so that
    /// none is taken twice.
    pub drained: Option<i64>,
    /// The blobs that are not public any more after them.
    pub released: Vec<shared::cid::Cid>,
}

/// Why events were not sequenced. They are not published, and will not be unless they are handed over again.
#[derive(Debug, Clone, thiserror::Error)]
pub enum SequenceError {
    /// An earlier batch of the account failed, and this one does not repair it.
    #[error("an earlier event of the account is not sequenced")]
    Gap,
    /// The database could not be written.
    #[error("the sequence could not be written")]
    Db(#[source] Arc<DbError>),
    /// An event over the protocol's limits.
    #[error("the event cannot be sent")]
    Event(#[source] Arc<shared::firehose::FirehoseError>),
    /// The sequencer has stopped.
    #[error("the sequencer has stopped")]
    Stopped,
}

/// What became of a batch, once it is known: the place of its last event.
pub type Ticket = oneshot::Receiver<Result<Seq, SequenceError>>;

/// Called on the sequencer's thread when the fate of a batch is known, before its ticket is answered.
pub type OnDone = Box<dyn FnOnce(&Result<Seq, SequenceError>) + Send>;

/// A stored event.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its place.
    pub seq: Seq,
    /// When it took it.
    pub time: Datetime,
    /// What happened.
    pub body: Body,
}

impl Stored {
    /// What a row holds; `None` for a kind that nobody sends any more.
    fn of_row(seq: i64, kind: &str, event: Vec<u8>, time: &str) -> Option<Self> {
        Some(Self {
            seq: u64::try_from(seq).ok().and_then(Seq::new)?,
            time: Datetime::parse(time).ok()?,
            body: Body::from_stored(Kind::of_stored_name(kind)?, event.into()),
        })
    }
}

/// A handle to the sequence; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Sequencer {
    db: Db,
    queue: mpsc::Sender<writer::Request>,
    frames: Frames,
    feed: FeedLog,
}

impl Sequencer {
    /// Opens the sequence at `path` and starts its thread. `roots` is told where repositories stand, after their events
    /// are durable.
    ///
    /// Blocks; for start-up.
    ///
    /// # Errors
    /// When the database cannot be opened.
    pub fn open(path: &Path, options: Options, roots: Box<dyn RootSink>) -> Result<Self, DbError> {
        let db = Db::open(path, options, &SCHEMA)?;
        let last = db.read_blocking(last_seq)?;
        let frames = Frames::new(last);
        let feed = FeedLog::new(db.clone());
        let queue = writer::start(db.clone(), frames.clone(), feed.clone(), roots)?;
        Ok(Self { db, queue, frames, feed })
    }

    /// What the edge's replicas are told.
    pub(crate) fn feed(&self) -> &FeedLog {
        &self.feed
    }

    /// Takes a place in the queue for `batch` and returns at once: what is handed over first is sequenced first.
    /// `on_done` runs even when nobody waits for the ticket any more.
    pub fn append(&self, batch: Batch, on_done: Option<OnDone>) -> Ticket {
        let (done, ticket) = oneshot::channel();
        if let Err(refused) = self.queue.send(writer::Request::Append { batch, on_done, done }) {
            refused.0.refuse(&SequenceError::Stopped);
        }
        ticket
    }

    /// Puts an account on the durable list of those that may hold a commit whose event is not sequenced.
    ///
    /// # Errors
    /// When the list cannot be written: then nothing may be committed.
    pub async fn mark_dirty(&self, did: Did) -> Result<(), SequenceError> {
        let (done, ticket) = oneshot::channel();
        if let Err(refused) = self.queue.send(writer::Request::MarkDirty { did, done }) {
            refused.0.refuse(&SequenceError::Stopped);
        }
        ticket.await.unwrap_or(Err(SequenceError::Stopped))
    }

    /// Takes an account off that list, some time after everything handed over before is sequenced.
    pub fn mark_clean(&self, did: Did) {
        // When the sequencer has stopped the account stays listed, which costs a look at the next start.
        let _stopped = self.queue.send(writer::Request::MarkClean { did });
    }

    /// Says where an account's repository stands, as its store has it: for the copy that lists all.
    pub fn tell_root(&self, did: Did, head: NewHead) {
        // When the sequencer has stopped the account stays on the dirty list, and is looked at again.
        let _stopped = self.queue.send(writer::Request::Root { did, head });
    }

    /// Waits until the copy that lists all repositories knows of every commit whose writer was answered.
    ///
    /// # Errors
    /// When that copy cannot be written.
    pub async fn roots_told(&self) -> Result<(), SequenceError> {
        let (done, ticket) = oneshot::channel();
        if let Err(refused) = self.queue.send(writer::Request::TellRoots { done }) {
            refused.0.refuse(&SequenceError::Stopped);
        }
        ticket.await.unwrap_or(Err(SequenceError::Stopped))
    }

    /// Sees to it that the next event's place is above `place`. Returns the last place that counts as given away, which is
    /// above `place` if it was before: then nothing changes.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn raise(&self, place: u64) -> Result<u64, SequenceError> {
        let (done, ticket) = oneshot::channel();
        if let Err(refused) = self.queue.send(writer::Request::Raise { place, done }) {
            refused.0.refuse(&SequenceError::Stopped);
        }
        ticket.await.unwrap_or(Err(SequenceError::Stopped))?;
        Ok(self.last())
    }

    /// The accounts on that list.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dirty(&self) -> Result<Vec<Did>, DbError> {
        self.db
            .read(|connection| {
                let mut statement = connection.prepare_cached(r#"SELECT "did" FROM "headwater_dirty""#)?;
                let dids = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
                Ok(dids.iter().filter_map(|did| Did::parse(did).ok()).collect())
            })
            .await
    }

    /// The last place in the accounts' outbox that was taken into the sequence; 0 before the first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn drained(&self) -> Result<i64, DbError> {
        self.db.read(drained).await
    }

    /// [`Self::drained`] on the calling thread.
    ///
    /// # Errors
    /// As there.
    pub fn drained_blocking(&self) -> Result<i64, DbError> {
        self.db.read_blocking(drained)
    }

    /// The place of the last event of an account that tells what it is worth.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_status(&self, did: &Did) -> Result<Option<Seq>, DbError> {
        let did = did.clone();
        self.db
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    r#"SELECT max("seq") FROM "repo_seq" WHERE "did" = ?1 AND "eventType" = 'account'"#,
                )?;
                let seq: Option<i64> = statement.query_row([did.as_str()], |row| row.get(0))?;
                Ok(seq.and_then(|seq| u64::try_from(seq).ok()).and_then(Seq::new))
            })
            .await
    }

    /// Deletes the events of an account that is gone, but for those after `keep_from`: its tombstone.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn forget(&self, did: Did, keep_from: Seq) -> Result<(), SequenceError> {
        let (done, ticket) = oneshot::channel();
        if let Err(refused) = self.queue.send(writer::Request::Forget { did, keep_from, done }) {
            refused.0.refuse(&SequenceError::Stopped);
        }
        ticket.await.unwrap_or(Err(SequenceError::Stopped))
    }

    /// The place of the last event; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.frames.last()
    }

    /// Told whenever there is a new last event.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.frames.watch()
    }

    /// The frames after `after` that are held in memory; `None` when they do not reach back so far.
    #[must_use]
    pub fn recent(&self, after: u64) -> Option<Vec<(u64, Bytes)>> {
        self.frames.after(after)
    }

    /// The first events after `after` out of the database, and not before `since`: at most `limit`, and no more than
    /// come to 128 KiB unless one alone does. None when there are no more. Rows of kinds that nobody sends any more are
    /// passed over.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn range(&self, after: u64, since: Option<Datetime>, limit: u32) -> Result<Vec<Stored>, DbError> {
        self.db
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    r#"SELECT "seq", "eventType", "event", "sequencedAt" FROM "repo_seq" NOT INDEXED
                       WHERE "seq" > ?1 AND "eventType" IN ('append', 'sync', 'identity', 'account')
                       AND "invalidated" = 0 AND "sequencedAt" >= ?2 ORDER BY "seq""#,
                )?;
                let since = since.as_ref().map_or("", Datetime::as_str);
                let after = i64::try_from(after).unwrap_or(i64::MAX);
                let rows = statement.query_map(params![after, since], |row| {
                    Ok((
                        row.get::<_, i64>(0)?,
                        row.get::<_, String>(1)?,
                        row.get::<_, Vec<u8>>(2)?,
                        row.get::<_, String>(3)?,
                    ))
                })?;
                let mut events = Vec::new();
                let (mut left, mut bytes) = (limit, 0);
                for row in rows {
                    let (seq, kind, event, time) = row?;
                    bytes += event.len();
                    if let Some(stored) = Stored::of_row(seq, &kind, event, &time) {
                        events.push(stored);
                        left = left.saturating_sub(1);
                    }
                    if left == 0 || (bytes >= PAGE_BYTES && !events.is_empty()) {
                        break;
                    }
                }
                Ok(events)
            })
            .await
    }

    /// The place of the first event that is not older than `since`. It may be one that is not sent.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn first_since(&self, since: Datetime) -> Result<Option<u64>, DbError> {
        self.db
            .read(move |connection| {
                // One look into the index, which holds both columns.
                let mut statement = connection.prepare_cached(
                    r#"SELECT "seq" FROM "repo_seq" WHERE "sequencedAt" >= ?1 ORDER BY "sequencedAt", "seq" LIMIT 1"#,
                )?;
                let seq: Option<i64> = statement.query_row([since.as_str()], |row| row.get(0)).optional()?;
                Ok(seq.and_then(|seq| u64::try_from(seq).ok()))
            })
            .await
    }
}

fn drained(connection: &rusqlite::Connection) -> Result<i64, DbError> {
    let mut statement = connection.prepare_cached(r#"SELECT max("id") FROM "headwater_drained""#)?;
    Ok(statement.query_row([], |row| row.get::<_, Option<i64>>(0))?.unwrap_or(0))
}

/// The last place that was ever given away, also when its event is deleted.
fn last_seq(connection: &rusqlite::Connection) -> Result<u64, DbError> {
    let given: Option<i64> = connection
        .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'repo_seq'", [], |row| row.get(0))
        .optional()?;
    Ok(given.and_then(|seq| u64::try_from(seq).ok()).unwrap_or(0))
}

#[cfg(test)]
mod tests;
