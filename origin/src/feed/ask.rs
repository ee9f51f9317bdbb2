//! What the edge asks: to be told of changes, for what it missed, for a whole account, for all of a region.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use shared::link::{
    Position, PullAnswer, RegionAnswer, RegionQuestion, RegisterAnswer, Registered, Replica, SnapshotHead,
};
use shared::syntax::Did;
use tokio::sync::OwnedSemaphorePermit;

use super::registry::Follower;
use super::{Feed, Inner, PAGE};
use crate::account::{AccountError, Include};
use crate::actor::ActorError;
use crate::actor::export::CarStream;
use crate::actor::read::ReadError;
use crate::db::DbError;
use crate::sequencer::feed::Row;

/// How many snapshots are on their way at once; others are told to come back.
pub const FILLS: usize = 8;
/// How many bytes of changes make an answer, beyond the first.
const ANSWER_BYTES: usize = 4_000_000;

/// At most how many accounts an answer names as behind.
const BEHIND: usize = 20_000;

/// Why a replica's question is not answered.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// It has to register before it takes a snapshot.
    #[error("the replica is not registered")]
    NotRegistered,
    /// Enough snapshots are on their way.
    #[error("too many snapshots at once")]
    Busy,
    /// The account cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The account cannot be looked up.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// A database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<ActorError> for FeedError {
    fn from(error: ActorError) -> Self {
        Self::Read(error.into())
    }
}

impl Feed {
    /// Registers a replica.
    ///
    /// # Errors
    /// A [`FeedError`]; also without an edge.
    pub async fn register(&self, replica: Replica) -> Result<RegisterAnswer, FeedError> {
        let inner = self.inner()?;
        let account = inner.accounts.by_did(&replica.account, Include::ALL).await?;
        if account.is_none() {
            return Ok(RegisterAnswer::NotHosted);
        }
        let bytes = inner.bytes(&replica.account).await?;
        let follower = Follower::from(replica.clone());
        // Before it is durable: nothing that comes in between is missed.
        let known = inner.registry.has(&follower);
        let last = inner.log.last(&replica.account).await?;
        inner.add(follower.clone(), last);
        match inner.log.register(&replica).await {
            Ok(position) => {
                inner.add(follower, position);
                inner.registry.add_host(&replica.region, inner.log.position().await?);
                Ok(RegisterAnswer::Registered(Registered { position, lease: inner.edge.lease, bytes }))
            }
            Err(error) => {
                if !known {
                    inner.registry.remove(&follower);
                }
                Err(error.into())
            }
        }
    }

    /// Forgets a replica.
    ///
    /// # Errors
    /// A [`FeedError`].
    pub async fn unregister(&self, replica: &Replica) -> Result<(), FeedError> {
        self.inner()?.forget(replica).await
    }

    /// A snapshot of an account; `None` if it is not hosted.
    ///
    /// # Errors
    /// A [`FeedError`].
    pub async fn snapshot(&self, replica: &Replica) -> Result<Option<Snapshot>, FeedError> {
        let inner = self.inner()?;
        if !inner.registry.has(&Follower::from(replica.clone())) {
            return Err(FeedError::NotRegistered);
        }
        let permit = Arc::clone(&inner.fills).try_acquire_owned().map_err(|_| FeedError::Busy)?;
        let did = &replica.account;
        // What has a row up to here is in what is read from here on.
        inner.log.made().await;
        let position = inner.log.last(did).await?;
        let Some(state) = inner.state(did).await? else { return Ok(None) };
        let head = SnapshotHead { account: did.clone(), position, state, revision: None };
        match inner.actors.snapshot(head).await {
            Ok(stream) => Ok(Some(Snapshot { stream, permit })),
            Err(ReadError::Actor(ActorError::NotFound(_))) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// What a replica misses.
    ///
    /// # Errors
    /// A [`FeedError`].
    pub async fn pull(&self, replica: &Replica, position: Position) -> Result<PullAnswer, FeedError> {
        let inner = self.inner()?;
        let (did, follower) = (&replica.account, Follower::from(replica.clone()));
        if inner.accounts.by_did(did, Include::ALL).await?.is_none() {
            inner.forget(replica).await?;
            return Ok(PullAnswer::NotHosted);
        }
        if !inner.registry.has(&follower) {
            return Ok(PullAnswer::Refill);
        }
        let rows = inner.log.rows(did, position, PAGE).await?;
        let follows = match rows.first() {
            Some(row) => row.previous == position,
            None => inner.log.last(did).await? == position,
        };
        if !follows {
            return Ok(PullAnswer::Refill);
        }
        let answer = inner.changes(did, &rows).await?;
        if inner.registry.pulled(&follower, position) {
            inner.tell_later(follower);
        }
        Ok(answer)
    }

    /// What changed in all of a region.
    ///
    /// # Errors
    /// A [`FeedError`].
    pub async fn region(&self, question: &RegionQuestion) -> Result<RegionAnswer, FeedError> {
        let inner = self.inner()?;
        let since = inner.log.since(question.after).await?;
        inner.registry.add_host(&question.region, since.position);
        let mut behind = inner.registry.behind_in(&question.region);
        // More do not fit a message: then everything may have changed.
        let complete = since.complete && behind.len() <= BEHIND;
        behind.truncate(BEHIND);
        Ok(RegionAnswer {
            position: since.position,
            lease: inner.edge.lease,
            complete,
            changed: since.changed,
            behind,
            handles: since.handles,
            server: inner.server,
        })
    }

    fn inner(&self) -> Result<&Arc<Inner>, FeedError> {
        self.inner.as_ref().ok_or(FeedError::NotRegistered)
    }
}

/// A snapshot on its way.
#[derive(Debug)]
pub struct Snapshot {
    stream: CarStream,
    permit: OwnedSemaphorePermit,
}

impl Snapshot {
    /// Its bytes. It counts as being on its way until the stream is dropped.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, ReadError>> + Send {
        let Self { stream, permit } = self;
        stream.map(move |piece| {
            let _on_its_way = &permit;
            piece
        })
    }
}

impl Inner {
    fn add(self: &Arc<Self>, follower: Follower, position: Position) {
        if self.registry.add(follower.clone(), position) {
            self.tell(follower);
        }
    }

    /// The changes that these rows tell, as far as they fit an answer.
    async fn changes(&self, did: &Did, rows: &[Row]) -> Result<PullAnswer, FeedError> {
        let (mut pushes, mut bytes) = (Vec::new(), 0);
        let mut more = rows.len() == PAGE as usize;
        for row in rows {
            let (push, message) = self.message(did, row).await?;
            bytes += message.len();
            if bytes > ANSWER_BYTES && !pushes.is_empty() {
                more = true;
                break;
            }
            pushes.push(push);
        }
        Ok(PullAnswer::Changes { pushes, more, lease: self.edge.lease })
    }
}
