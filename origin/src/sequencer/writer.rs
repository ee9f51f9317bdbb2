//! The sequencer's thread: takes requests in order, writes what waits together in one transaction, then publishes.
//!
//! Nothing is published before its transaction is durable, and nobody is answered before their events are published.
//! Where repositories stand is told a moment later, see [`RootSink`].
//! The thread ends when the last handle is gone, after everything handed over is done.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rusqlite::{Transaction, params};
use shared::firehose::Seq;
use shared::syntax::Did;
use tokio::sync::oneshot;

use super::feed::{self, Fed, FeedLog};
use super::{Batch, Frames, NewHead, OnDone, SequenceError};
use crate::db::{Db, DbError};
use crate::fault;
use crate::time::now_datetime;

/// At most how many requests share a transaction.
const GROUP: usize = 256;
/// At most how many bytes of events do.
const GROUP_BYTES: usize = 8 * 1024 * 1024;

/// How long a root may be told later than its event is durable, unless somebody asks for it.
const ROOTS_AFTER: Duration = Duration::from_millis(100);

/// Told where repositories stand: `account.sqlite`'s copy, for listing.
///
/// Writers do not wait for it, and commits that follow each other cost it one write. What it was not told when the
/// process died it is told by the next start, which looks at every account on the dirty list: none leaves that list
/// before its root is told.
pub trait RootSink: Send {
    /// Runs on the sequencer's thread. What is told is durable when it returns; after a failure it is told again.
    ///
    /// # Errors
    /// When it cannot be kept.
    fn moved(&mut self, heads: &HashMap<Did, NewHead>) -> Result<(), DbError>;
}

/// What the thread is asked for.
pub(super) enum Request {
    Append {
        batch: Batch,
        on_done: Option<OnDone>,
        done: oneshot::Sender<Result<Seq, SequenceError>>,
    },
    MarkDirty {
        did: Did,
        done: oneshot::Sender<Result<(), SequenceError>>,
    },
    MarkClean {
        did: Did,
    },
    Forget {
        did: Did,
        keep_from: Seq,
        done: oneshot::Sender<Result<(), SequenceError>>,
    },
    /// Where an account's repository stands, as its store says.
    Root {
        did: Did,
        head: NewHead,
    },
    /// The next event's place is to be above this one.
    Raise {
        place: u64,
        done: oneshot::Sender<Result<(), SequenceError>>,
    },
    /// Answered when every root is told.
    TellRoots {
        done: oneshot::Sender<Result<(), SequenceError>>,
    },
}

/// How a request came out, before it is told.
enum Outcome {
    Sequenced(Seq),
    Done,
    Refused(SequenceError),
}

impl Request {
    /// Answers with a failure.
    pub(super) fn refuse(self, error: &SequenceError) {
        self.answer(Outcome::Refused(error.clone()));
    }

    fn size(&self) -> usize {
        match self {
            Self::Append { batch, .. } => batch.events.iter().map(|event| event.as_bytes().len()).sum(),
            _ => 0,
        }
    }

    /// Whoever does not wait for the answer any more does not get it.
    fn answer(self, outcome: Outcome) {
        match self {
            Self::Append { on_done, done, .. } => {
                let result = match outcome {
                    Outcome::Sequenced(seq) => Ok(seq),
                    Outcome::Done => Err(SequenceError::Stopped),
                    Outcome::Refused(error) => Err(error),
                };
                if let Some(on_done) = on_done {
                    on_done(&result);
                }
                let _gone = done.send(result);
            }
            Self::MarkDirty { done, .. }
            | Self::Forget { done, .. }
            | Self::Raise { done, .. }
            | Self::TellRoots { done } => {
                let _gone = done.send(match outcome {
                    Outcome::Refused(error) => Err(error),
                    Outcome::Sequenced(_) | Outcome::Done => Ok(()),
                });
            }
            Self::MarkClean { .. } | Self::Root { .. } => {}
        }
    }

    /// Whether roots have to be told before it is done.
    const fn needs_roots(&self) -> bool {
        matches!(self, Self::MarkClean { .. } | Self::TellRoots { .. })
    }
}

/// Starts the thread.
pub(super) fn start(
    db: Db,
    frames: Frames,
    feed: FeedLog,
    roots: Box<dyn RootSink>,
) -> Result<Sender<Request>, DbError> {
    let (queue, requests) = mpsc::channel();
    let moved = Moved { roots, heads: HashMap::new(), told_at: Instant::now() };
    let mut writer = Writer { db, frames, feed, moved, gaps: HashSet::new() };
    std::thread::Builder::new()
        .name("sequencer".to_owned())
        .spawn(move || writer.run(&requests))
        .map_err(|_| DbError::Abandoned)?;
    Ok(queue)
}

/// Roots that are not told yet.
struct Moved {
    roots: Box<dyn RootSink>,
    heads: HashMap<Did, NewHead>,
    told_at: Instant,
}

impl Moved {
    /// How long nothing has to be told; `None` while there is nothing to tell.
    fn patience(&self) -> Option<Duration> {
        (!self.heads.is_empty()).then(|| ROOTS_AFTER.saturating_sub(self.told_at.elapsed()))
    }

    /// Tells what there is to tell. What cannot be told waits for the next time.
    fn tell(&mut self) -> Result<(), DbError> {
        if self.heads.is_empty() {
            return Ok(());
        }
        self.told_at = Instant::now();
        fault::point("roots.due");
        let told = self.roots.moved(&self.heads);
        fault::point("roots.told");
        match &told {
            Ok(()) => self.heads.clear(),
            Err(error) => {
                tracing::error!(%error, repositories = self.heads.len(), "the list of repositories is behind")
            }
        }
        told
    }
}

struct Writer {
    db: Db,
    frames: Frames,
    feed: FeedLog,
    moved: Moved,
    /// Accounts with an event that could not be written.
    gaps: HashSet<Did>,
}

/// What one transaction produced.
#[derive(Default)]
struct Written {
    frames: Vec<(Seq, Bytes)>,
    heads: Vec<(Did, NewHead)>,
    forgotten: Vec<i64>,
    /// Accounts whose gap is closed or gone.
    closed: Vec<Did>,
    /// Accounts that are gone.
    gone: Vec<Did>,
    /// Where the sequence was raised to.
    raised: Option<u64>,
    /// Rows of the feed, if there is one.
    fed: Option<Vec<Fed>>,
}

impl Writer {
    fn run(&mut self, requests: &Receiver<Request>) {
        while let Some(first) = self.next(requests) {
            let mut bytes = first.size();
            let mut group = vec![first];
            while group.len() < GROUP && bytes < GROUP_BYTES {
                let Ok(next) = requests.try_recv() else { break };
                bytes += next.size();
                group.push(next);
            }
            self.work(group);
        }
        // The last handle is gone: nothing more comes.
        let _told_at_the_next_start = self.moved.tell();
    }

    /// The next request; `None` when there are no more. Tells roots when it is time to.
    fn next(&mut self, requests: &Receiver<Request>) -> Option<Request> {
        loop {
            match self.moved.patience() {
                None => return requests.recv().ok(),
                Some(Duration::ZERO) => drop(self.moved.tell()),
                Some(patience) => match requests.recv_timeout(patience) {
                    Ok(request) => return Some(request),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return None,
                },
            }
        }
    }

    /// Tells roots if one of `group` needs that; returns what can be gone on with.
    fn tell_first(&mut self, group: Vec<Request>) -> Vec<Request> {
        for request in &group {
            if let Request::Root { did, head } = request {
                self.moved.heads.insert(did.clone(), head.clone());
            }
        }
        if !group.iter().any(Request::needs_roots) {
            return group;
        }
        let Err(error) = self.moved.tell() else { return group };
        let error = SequenceError::Db(Arc::new(error));
        let (refused, rest): (Vec<_>, Vec<_>) = group.into_iter().partition(Request::needs_roots);
        refused.into_iter().for_each(|request| request.refuse(&error));
        rest
    }

    fn work(&mut self, group: Vec<Request>) {
        let group = self.tell_first(group);
        let mut written = Written { fed: self.feed.is_on().then(Vec::new), ..Written::default() };
        let gaps = &self.gaps;
        let outcomes = self.db.write_blocking(|transaction| -> Result<_, DbError> {
            let outcomes = group
                .iter()
                .map(|request| write(transaction, request, gaps, &mut written))
                .collect::<Result<Vec<_>, _>>();
            if !written.frames.is_empty() {
                fault::point("sequence.written");
            }
            outcomes
        });
        let told = !written.frames.is_empty();
        if told {
            fault::point("sequence.committed");
        }
        match outcomes {
            Ok(outcomes) => {
                for did in &written.closed {
                    self.gaps.remove(did);
                }
                if !written.forgotten.is_empty() {
                    let gone: HashSet<u64> =
                        written.forgotten.iter().filter_map(|seq| u64::try_from(*seq).ok()).collect();
                    self.frames.forget(|seq| gone.contains(&seq));
                }
                for did in &written.gone {
                    self.moved.heads.remove(did);
                }
                self.moved.heads.extend(written.heads);
                self.frames.publish(written.frames);
                self.feed.fed(&written.fed.unwrap_or_default());
                if told {
                    fault::point("sequence.published");
                }
                if let Some(place) = written.raised {
                    self.frames.raise(place);
                }
                for (request, outcome) in group.into_iter().zip(outcomes) {
                    request.answer(outcome);
                }
            }
            Err(error) => {
                tracing::error!(%error, requests = group.len(), "events were not sequenced");
                let error = SequenceError::Db(Arc::new(error));
                for request in group {
                    // Only what moves the head leaves a gap.
                    if let Request::Append { batch, .. } = &request
                        && batch.head.is_some()
                    {
                        self.gaps.insert(batch.did.clone());
                    }
                    request.refuse(&error);
                }
            }
        }
    }
}

/// Writes one request. `Err` fails the whole transaction; a refusal concerns the request alone.
fn write(
    transaction: &Transaction<'_>,
    request: &Request,
    gaps: &HashSet<Did>,
    written: &mut Written,
) -> Result<Outcome, DbError> {
    match request {
        Request::Append { batch, .. } => append(transaction, batch, gaps, written),
        Request::MarkDirty { did, .. } => {
            let mut statement =
                transaction.prepare_cached(r#"INSERT OR IGNORE INTO "headwater_dirty" ("did") VALUES (?1)"#)?;
            statement.execute([did.as_str()])?;
            Ok(Outcome::Done)
        }
        Request::MarkClean { did } => {
            if !gaps.contains(did) {
                let mut statement = transaction.prepare_cached(r#"DELETE FROM "headwater_dirty" WHERE "did" = ?1"#)?;
                statement.execute([did.as_str()])?;
            }
            Ok(Outcome::Done)
        }
        Request::Forget { did, keep_from, .. } => {
            let keep_from = i64::try_from(keep_from.get()).unwrap_or(i64::MAX);
            let mut statement = transaction
                .prepare_cached(r#"DELETE FROM "repo_seq" WHERE "did" = ?1 AND "seq" < ?2 RETURNING "seq""#)?;
            let rows = statement.query_map(params![did.as_str(), keep_from], |row| row.get(0))?;
            for seq in rows {
                written.forgotten.push(seq?);
            }
            transaction.execute(r#"DELETE FROM "headwater_head" WHERE "did" = ?1"#, [did.as_str()])?;
            transaction.execute(r#"DELETE FROM "headwater_dirty" WHERE "did" = ?1"#, [did.as_str()])?;
            written.closed.push(did.clone());
            written.gone.push(did.clone());
            Ok(Outcome::Done)
        }
        Request::Raise { place, .. } => {
            let place = i64::try_from(*place).unwrap_or(i64::MAX);
            let known = transaction
                .execute("UPDATE sqlite_sequence SET seq = max(seq, ?1) WHERE name = 'repo_seq'", [place])?;
            if known == 0 {
                transaction.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('repo_seq', ?1)", [place])?;
            }
            written.raised = written.raised.max(u64::try_from(place).ok());
            Ok(Outcome::Done)
        }
        // What they are for was seen to before.
        Request::Root { .. } | Request::TellRoots { .. } => Ok(Outcome::Done),
    }
}

fn append(
    transaction: &Transaction<'_>,
    batch: &Batch,
    gaps: &HashSet<Did>,
    written: &mut Written,
) -> Result<Outcome, DbError> {
    if gaps.contains(&batch.did) && !batch.repair && batch.head.is_some() {
        return Ok(Outcome::Refused(SequenceError::Gap));
    }
    let time = now_datetime();
    let mut insert = transaction.prepare_cached(
        r#"INSERT INTO "repo_seq" ("did", "eventType", "event", "sequencedAt") VALUES (?1, ?2, ?3, ?4)"#,
    )?;
    let mut frames = Vec::with_capacity(batch.events.len());
    for event in &batch.events {
        insert.execute(params![
            batch.did.as_str(),
            event.kind().stored_name(),
            &event.as_bytes()[..],
            time.as_str()
        ])?;
        let Some(seq) = u64::try_from(transaction.last_insert_rowid()).ok().and_then(Seq::new) else {
            return Err(DbError::Abandoned);
        };
        match event.stamp(seq, &time) {
            Ok(frame) => frames.push((seq, frame)),
            Err(error) => {
                // Taken back alone; the places that it had stay unused.
                let first = frames.first().map_or(seq, |(seq, _): &(Seq, Bytes)| *seq);
                let first = i64::try_from(first.get()).unwrap_or(i64::MAX);
                transaction.execute(r#"DELETE FROM "repo_seq" WHERE "seq" >= ?1"#, [first])?;
                return Ok(Outcome::Refused(SequenceError::Event(Arc::new(error))));
            }
        }
    }
    let Some(last) = frames.last().map(|(seq, _)| *seq) else {
        return Ok(Outcome::Done);
    };
    if let Some(head) = &batch.head {
        let mut statement = transaction.prepare_cached(
            r#"INSERT INTO "headwater_head" ("did", "rev", "seq") VALUES (?1, ?2, ?3)
               ON CONFLICT ("did") DO UPDATE SET "rev" = excluded."rev", "seq" = excluded."seq""#,
        )?;
        let seq = i64::try_from(last.get()).unwrap_or(i64::MAX);
        statement.execute(params![batch.did.as_str(), head.rev.as_str(), seq])?;
        written.heads.push((batch.did.clone(), head.clone()));
    }
    if let Some(id) = batch.drained {
        let mut statement = transaction.prepare_cached(
            r#"INSERT INTO "headwater_drained" ("source", "id") VALUES ('accounts', ?1)
               ON CONFLICT ("source") DO UPDATE SET "id" = excluded."id""#,
        )?;
        statement.execute([id])?;
    }
    if batch.repair {
        written.closed.push(batch.did.clone());
    }
    if let Some(fed) = &mut written.fed {
        for ((seq, _), event) in frames.iter().zip(&batch.events) {
            fed.push(feed::put_event(transaction, &batch.did, event, *seq)?);
        }
        fed.extend(feed::put_released(transaction, &batch.did, &batch.released)?);
    }
    written.frames.append(&mut frames);
    Ok(Outcome::Sequenced(last))
}
