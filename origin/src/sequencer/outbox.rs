//! The outbox: what one consumer of the firehose is sent, from its cursor on and as fast as it takes it.
//!
//! An [`Outbox`] pulls: it looks for events after its position when the consumer has taken those before, in memory first
//! ([`Sequencer::recent`]) and else in the database ([`Sequencer::range`]). Both give the same frames, and the position is
//! all that it remembers, so the passage from replay to live has no moment at which an event could be missed or sent
//! twice. Events that follow each other within [`GATHER`] leave together. Where the frames go is any [`Sink`]; keeping
//! the connection alive is the socket's.
//!
//! # Slow consumers
//!
//! A consumer that is behind costs nothing: its events are in the database, and at most 128 KiB and one event are
//! in memory for it. Relays hold a host back for hours when it exceeds their limits, so being behind is no offence. A
//! consumer is sent `ConsumerTooSlow` and closed when
//!
//! - it takes nothing for [`Policy::patience`] while more than [`Policy::buffer`] events wait for it, or
//! - the events that it asks for next have left the backfill window while it was replaying.
//!
//! The error follows what the consumer has not taken yet and is kept for it for [`FAREWELL`]. It loses nothing by
//! being closed: connecting again with its cursor it goes on where it was.
//!
//! Specification: <https://atproto.com/specs/event-stream#sequence-numbers>.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Sink, SinkExt as _};
use shared::firehose::{CONSUMER_TOO_SLOW, FUTURE_CURSOR, Info, OUTDATED_CURSOR, StreamError};
use shared::syntax::Datetime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::Sequencer;
use crate::db::DbError;
use crate::time::now_millis;

/// At most how many events are read from the database at a time.
const PAGE: u32 = 500;
/// How far behind the window a replay may fall, so that one that begins at its very edge can set out.
const EDGE: Duration = Duration::from_secs(60);
/// How long events gather after a delivery, so that many that follow each other leave together. The first one after that
/// time does not wait.
const GATHER: Duration = Duration::from_millis(20);
/// How long an error frame waits for a consumer that takes nothing.
pub const FAREWELL: Duration = Duration::from_secs(300);
/// [`Policy::patience`] of a server.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What consumers are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How old events are that can still be asked for: `PDS_REPO_BACKFILL_LIMIT_MS`.
    pub window: Duration,
    /// How many events may wait for a consumer that takes nothing without its being closed:
    /// `PDS_MAX_SUBSCRIPTION_BUFFER`. Nothing is kept in memory for them.
    pub buffer: u64,
    /// For how long it may take nothing when more than these wait. "Nothing" is not even one event, or one write of the
    /// socket if that is more.
    pub patience: Duration,
}

/// Why a consumer is sent nothing more.
#[derive(Debug)]
pub enum End<E> {
    /// The stream has ended with this error. It was sent, if the consumer took it; the connection is to be closed with
    /// status 1008 and the error's name.
    Refused(StreamError),
    /// The connection failed.
    Gone(E),
    /// The sequence could not be read.
    Failed(DbError),
}

/// One consumer's place in the sequence.
#[derive(Debug)]
pub struct Outbox {
    sequencer: Sequencer,
    policy: Policy,
    changes: watch::Receiver<u64>,
    /// The last event that was handed to the sink, or where it starts.
    position: u64,
    /// When events were last handed on.
    delivered: Option<Instant>,
}

/// What comes next.
enum Next {
    Frames(Vec<(u64, Bytes)>),
    End(StreamError),
}

/// Why a frame was not taken.
enum Undelivered<E> {
    Slow,
    Gone(E),
}

impl<E> From<E> for Undelivered<E> {
    fn from(error: E) -> Self {
        Self::Gone(error)
    }
}

impl Outbox {
    /// A consumer that has not been sent anything, and starts with what happens from now on.
    #[must_use]
    pub fn new(sequencer: Sequencer, policy: Policy) -> Self {
        let changes = sequencer.watch();
        let position = sequencer.last();
        Self { sequencer, policy, changes, position, delivered: None }
    }

    /// Sends frames to `sink` for as long as it takes them: those after `cursor` if there is one, and all that come.
    ///
    /// A cursor above the last event ends the stream with `FutureCursor`. One below the window is told so with `#info`
    /// `OutdatedCursor` and goes on with the window's first event; 0 asks for exactly that and is told nothing. Can be
    /// dropped at any time.
    pub async fn run<S: Sink<Bytes> + Unpin>(mut self, cursor: Option<u64>, mut sink: S) -> End<S::Error> {
        let error = match self.send_all(cursor, &mut sink).await {
            Ok(error) => error,
            Err(end) => return end,
        };
        match timeout(FAREWELL, sink.send(error.encode())).await {
            Ok(Err(error)) => End::Gone(error),
            Ok(Ok(())) | Err(_) => End::Refused(error),
        }
    }

    /// Sends frames until the stream has to end with an error.
    async fn send_all<S: Sink<Bytes> + Unpin>(
        &mut self,
        cursor: Option<u64>,
        sink: &mut S,
    ) -> Result<StreamError, End<S::Error>> {
        if let Some(cursor) = cursor {
            if cursor > self.position {
                return Ok(error(FUTURE_CURSOR, "Cursor in the future."));
            }
            if let Some(info) = self.seek(cursor).await.map_err(End::Failed)? {
                sink.send(info.encode()).await.map_err(End::Gone)?;
            }
        }
        loop {
            let frames = match self.next().await.map_err(End::Failed)? {
                Next::Frames(frames) => frames,
                Next::End(error) => return Ok(error),
            };
            match self.deliver(frames, sink).await {
                Ok(()) => {}
                Err(Undelivered::Slow) => return Ok(error(CONSUMER_TOO_SLOW, "Stream consumer too slow")),
                Err(Undelivered::Gone(error)) => return Err(End::Gone(error)),
            }
        }
    }

    /// Goes to `cursor`, or to the beginning of the window if it is older, which the consumer is to be told.
    async fn seek(&mut self, cursor: u64) -> Result<Option<Info>, DbError> {
        let window = time_ago(self.policy.window);
        let last = std::mem::replace(&mut self.position, cursor);
        let first = self.sequencer.range(cursor, None, 1).await?;
        if first.first().is_none_or(|first| !is_before(&first.time, &window)) {
            return Ok(None);
        }
        self.position = self.sequencer.first_since(window).await?.map_or(last, |first| first.saturating_sub(1));
        Ok((cursor > 0).then(|| Info {
            name: OUTDATED_CURSOR.to_owned(),
            message: Some("Requested cursor exceeded limit. Possibly missing events".to_owned()),
        }))
    }

    /// Waits for events after the position.
    async fn next(&mut self) -> Result<Next, DbError> {
        loop {
            match self.sequencer.recent(self.position) {
                None => {}
                Some(frames) if frames.is_empty() => {
                    // A change between the look and the wait ends the wait at once.
                    if self.changes.changed().await.is_err() {
                        return Err(DbError::Abandoned);
                    }
                    // A write to the socket costs more than all else about an event.
                    if let Some(delivered) = self.delivered {
                        sleep_until(delivered + GATHER).await;
                    }
                    continue;
                }
                Some(frames) => return Ok(Next::Frames(frames)),
            }
            // What is durable but not published yet is left for later: nobody may know an event whose place is above
            // the last one that a cursor is held against.
            let last = self.sequencer.last();
            let mut page = self.sequencer.range(self.position, None, PAGE).await?;
            page.retain(|stored| stored.seq.get() <= last);
            let Some(first) = page.first() else {
                // Everything up to there is deleted or of a kind that nobody sends any more.
                self.position = self.position.max(last);
                continue;
            };
            if is_before(&first.time, &time_ago(self.policy.window.saturating_add(EDGE))) {
                return Ok(Next::End(error(CONSUMER_TOO_SLOW, "Stream consumer too slow")));
            }
            let mut frames = Vec::with_capacity(page.len());
            let through = page.last().map_or(last, |stored| stored.seq.get());
            for stored in page {
                match stored.body.stamp(stored.seq, &stored.time) {
                    Ok(frame) => frames.push((stored.seq.get(), frame)),
                    // One malformed frame would stop a relay for good.
                    Err(error) => tracing::warn!(seq = %stored.seq, %error, "a stored event cannot be sent"),
                }
            }
            if !frames.is_empty() {
                return Ok(Next::Frames(frames));
            }
            self.position = through;
        }
    }

    /// Hands frames to the sink one after the other, then sees to it that they leave.
    async fn deliver<S: Sink<Bytes> + Unpin>(
        &mut self,
        frames: Vec<(u64, Bytes)>,
        sink: &mut S,
    ) -> Result<(), Undelivered<S::Error>> {
        for (seq, frame) in frames {
            self.patiently(sink.feed(frame)).await?;
            self.position = seq;
        }
        self.patiently(sink.flush()).await?;
        self.delivered = Some(Instant::now());
        Ok(())
    }

    /// Waits for the consumer to take something, for as long as it is not too slow.
    async fn patiently<E>(&self, taking: impl Future<Output = Result<(), E>>) -> Result<(), Undelivered<E>> {
        let mut taking = pin!(taking);
        loop {
            match timeout(self.policy.patience, &mut taking).await {
                Ok(taken) => return Ok(taken?),
                Err(_) if self.sequencer.last().saturating_sub(self.position) > self.policy.buffer => {
                    return Err(Undelivered::Slow);
                }
                Err(_) => {}
            }
        }
    }
}

fn error(name: &str, message: &str) -> StreamError {
    StreamError { error: name.to_owned(), message: Some(message.to_owned()) }
}

fn time_ago(age: Duration) -> Datetime {
    let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
    Datetime::from_unix_millis(now_millis().saturating_sub(age).max(0))
}

fn is_before(time: &Datetime, other: &Datetime) -> bool {
    time.unix_micros() < other.unix_micros()
}

#[cfg(test)]
mod tests;
