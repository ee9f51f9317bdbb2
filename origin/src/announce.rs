//! What happened to accounts, told to the world: out of the accounts' outbox and into the sequence.
//!
//! A change of an account and the events that tell of it are one transaction of `account.sqlite`
//! ([`crate::account::outbox`]). From there they are taken in order, one change at a time, each once: the sequencer notes
//! with the events how far the outbox was taken, so that dying between the two databases neither loses nor repeats one.
//!
//! Whoever changes an account has it told at once ([`Announcements::deliver`]). If that fails the change stands, and its
//! events wait; until they are told no repository takes a write ([`Announcements::catch_up`]), so that no consumer hears of
//! a commit before it hears of the account.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use shared::firehose::{Body, Event, FirehoseError, Kind};
use shared::repo::{MAX_COMMIT_LEN, car};
use shared::syntax::Did;
use tokio::sync::Mutex;

use crate::account::outbox::Waiting;
use crate::account::{AccountError, Accounts};
use crate::db::DbError;
use crate::fault;
use crate::sequencer::{Batch, NewHead, SequenceError, Sequencer};
use crate::time::Pauses;

/// How many events are taken out of the outbox at a time; more than any one change has.
const PAGE: u32 = 100;

/// Why events are not told yet.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The outbox cannot be read or cleared.
    #[error("the accounts' outbox failed")]
    Account(#[from] AccountError),
    /// The sequence cannot be read.
    #[error("the sequence failed")]
    Db(#[from] DbError),
    /// An event is not sequenced.
    #[error("the event could not be sequenced")]
    Sequence(#[from] SequenceError),
    /// An event cannot be read.
    #[error("the event is damaged")]
    Event(#[from] FirehoseError),
}

/// The way from the outbox to the sequence; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Announcements {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    accounts: Accounts,
    sequencer: Sequencer,
    /// How far the outbox was taken, once that was read. Whoever holds it delivers.
    taken: Mutex<Option<i64>>,
    /// Whether there may be events that should have been told.
    behind: AtomicBool,
    /// Whether somebody is trying again; changed by who holds `taken`.
    retrying: AtomicBool,
}

impl Announcements {
    /// The way from `accounts` to `sequencer`. An earlier process may have left something to tell.
    #[must_use]
    pub fn new(accounts: Accounts, sequencer: Sequencer) -> Self {
        let (behind, retrying) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { inner: Arc::new(Inner { accounts, sequencer, taken: Mutex::default(), behind, retrying }) }
    }

    /// Tells everything that is in the outbox; when it returns it is sequenced.
    ///
    /// # Errors
    /// An [`AnnounceError`]; what was not told waits, and is tried again in the background until it is told.
    pub async fn deliver(&self) -> Result<(), AnnounceError> {
        let mut taken = self.inner.taken.lock().await;
        let delivered = self.inner.deliver(&mut taken).await;
        if delivered.is_err() && !self.inner.retrying.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(&self.inner).retry());
        }
        delivered
    }

    /// Tells what could not be told before; free when there is nothing.
    ///
    /// # Errors
    /// As [`Self::deliver`].
    pub async fn catch_up(&self) -> Result<(), AnnounceError> {
        if self.inner.behind.load(Ordering::Acquire) { self.deliver().await } else { Ok(()) }
    }
}

impl Inner {
    async fn deliver(&self, taken: &mut Option<i64>) -> Result<(), AnnounceError> {
        let delivered = self.drain(taken).await;
        self.behind.store(delivered.is_err(), Ordering::Release);
        delivered
    }

    async fn retry(self: Arc<Self>) {
        let mut pauses = Pauses::default();
        loop {
            tokio::time::sleep(pauses.next()).await;
            let mut taken = self.taken.lock().await;
            let Err(error) = self.deliver(&mut taken).await else {
                return self.retrying.store(false, Ordering::Release);
            };
            tracing::warn!(error = &error as &dyn std::error::Error, "events of accounts are not told yet");
        }
    }

    async fn drain(&self, taken: &mut Option<i64>) -> Result<(), AnnounceError> {
        let mut after = match *taken {
            Some(id) => id,
            None => self.sequencer.drained().await?,
        };
        loop {
            let waiting = self.accounts.outbox_after(after, PAGE).await?;
            let full = waiting.len() as u64 == u64::from(PAGE);
            let mut changes = by_account(waiting);
            if full && changes.len() > 1 {
                // The rest of it may be on the next page.
                changes.pop();
            }
            if changes.is_empty() {
                break;
            }
            for change in changes {
                let last = change.last;
                let ticket = self.sequencer.append(change.into_batch()?, None);
                ticket.await.map_err(|_| SequenceError::Stopped)??;
                fault::point("announce.sequenced");
                after = last;
                *taken = Some(after);
            }
        }
        *taken = Some(after);
        // Also what an earlier process had taken and not cleared.
        Ok(self.accounts.outbox_clear(after).await?)
    }
}

/// Events of one account that stand together in the outbox.
struct Change {
    did: Did,
    events: Vec<Body>,
    /// The place of the last one.
    last: i64,
}

impl Change {
    /// As they are to be sequenced: together.
    fn into_batch(self) -> Result<Batch, AnnounceError> {
        let head = head(&self.events)?;
        // A head that an account's change brings is where its history starts, or starts anew.
        let repair = head.is_some();
        Ok(Batch { did: self.did, events: self.events, head, repair, drained: Some(self.last), released: Vec::new() })
    }
}

fn by_account(waiting: Vec<Waiting>) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for Waiting { id, did, body, .. } in waiting {
        match changes.last_mut() {
            Some(change) if change.did == did => {
                change.events.push(body);
                change.last = id;
            }
            _ => changes.push(Change { did, events: vec![body], last: id }),
        }
    }
    changes
}

/// Where a repository stands after these events, if they say so.
fn head(events: &[Body]) -> Result<Option<NewHead>, AnnounceError> {
    let moves = |event: &&Body| matches!(event.kind(), Kind::Commit | Kind::Sync);
    let Some(last) = events.iter().rev().find(moves) else { return Ok(None) };
    match last.decode()? {
        Event::Commit(commit) => Ok(Some(NewHead { commit: commit.commit, rev: commit.rev })),
        Event::Sync(sync) => {
            let car = car::read(sync.blocks, MAX_COMMIT_LEN);
            let root = car.ok().and_then(|car| car.single_root().ok().cloned());
            Ok(root.map(|commit| NewHead { commit, rev: sync.rev }))
        }
        Event::Identity(_) | Event::Account(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests;
