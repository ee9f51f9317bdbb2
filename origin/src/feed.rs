//! The feed of the edge: what its replicas ask for, and what they are told without asking.
//!
//! Whatever changes about an account gets a row ([`crate::sequencer::feed`]) and is pushed to the account's replicas at
//! once; the writer waits for their acknowledgement, but not for long ([`Feed::told`]). A replica that misses something
//! is struck off, named to its region as behind, and told again and again until it has caught up. What it missed it can
//! pull; what it cannot catch up with it takes anew as a snapshot. The design is in [`shared::link`], which is also what
//! is said on the wire.
//!
//! # What always holds
//!
//! - A replica is registered, durably, before its snapshot is read. What is not in the snapshot is pushed.
//! - What a replica stands at it has said itself. An answer that it may not have got moves nothing.
//! - A region is told of a row, or that a replica has not acknowledged it, from the moment that the row is durable.
//! - An edge that is away delays a write by [`PATIENCE`] once, and no other write to that account after it.

mod maintain;
mod push;
mod registry;
mod send;
mod state;

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use shared::link::{
    Position, PullAnswer, Purge, PurgeScope, Region, RegionAnswer, RegionQuestion, RegisterAnswer, Registered, Replica,
    SnapshotHead,
};
use shared::syntax::Did;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::account::{AccountError, Accounts, Include};
use crate::actor::export::CarStream;
use crate::actor::read::ReadError;
use crate::actor::{ActorError, Actors};
use crate::config::{Config, Edge};
use crate::db::DbError;
use crate::fetch::{Client, ClientError, Reach};
use crate::identity::Resolver;
use crate::sequencer::feed::{FeedLog, Row};
use registry::{Follower, Registry};

pub use send::SendError;

/// How long a write waits for replicas.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// How many snapshots are on their way at once; others are told to come back.
pub const FILLS: usize = 8;
/// How many rows are read at a time.
const PAGE: u32 = 100;
/// How many bytes of changes make an answer, beyond the first.
const ANSWER_BYTES: usize = 4_000_000;

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

/// Why the feed cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its rows cannot be read or written.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The edge cannot be asked.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// There is no runtime to push on.
    #[error("a server with an edge needs a runtime")]
    Runtime(#[from] tokio::runtime::TryCurrentError),
}

/// How things stand with the edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is.
    pub url: String,
    /// Where the feed stands.
    pub position: u64,
    /// Each region, with its replicas and how many of them are behind.
    pub regions: Vec<(Region, u64, u64)>,
    /// How many orders to drop copies it has not carried out yet.
    pub purges: u64,
}

/// The feed, if there is an edge; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Feed {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    edge: Edge,
    client: Client,
    log: FeedLog,
    accounts: Accounts,
    actors: Actors,
    identity: Resolver,
    registry: Registry,
    /// The version of what the server says of itself.
    server: u64,
    runtime: Handle,
    fills: Arc<Semaphore>,
    /// How many are told something at once.
    telling: Semaphore,
    stop: CancellationToken,
}

impl Feed {
    /// Begins the feed if `config` names an edge; else forgets what there was of one. `server` is the version of what the
    /// server says of itself. Blocks; to be called before anything is sequenced.
    ///
    /// # Errors
    /// An [`OpenError`].
    pub fn open(
        config: &Config,
        accounts: Accounts,
        actors: Actors,
        identity: Resolver,
        server: u64,
    ) -> Result<Self, OpenError> {
        let log = actors.sequencer().feed().clone();
        let Some(edge) = config.edge.clone() else {
            log.end()?;
            return Ok(Self { inner: None });
        };
        let (registered, position) = log.begin(|| accounts.handles_blocking())?;
        let inner = Arc::new(Inner {
            edge,
            // The operator says where it is.
            client: Client::new(Reach::Anywhere)?,
            log,
            accounts,
            actors,
            identity,
            registry: Registry::default(),
            server,
            runtime: Handle::try_current()?,
            fills: Arc::new(Semaphore::new(FILLS)),
            telling: Semaphore::new(push::AT_ONCE),
            stop: CancellationToken::new(),
        });
        let behind = inner.registry.load(registered, position);
        for follower in behind {
            inner.tell(follower);
        }
        let fed = Arc::downgrade(&inner);
        inner.log.tell(Box::new(move |rows| {
            if let Some(inner) = fed.upgrade() {
                for follower in inner.registry.fed(rows) {
                    inner.tell(follower);
                }
            }
        }));
        let resolved = Arc::downgrade(&inner);
        inner.identity.on_change(Box::new(move |did| Inner::document_changed(&resolved, did)));
        inner.runtime.spawn(maintain::run(Arc::downgrade(&inner), inner.stop.clone()));
        Ok(Self { inner: Some(inner) })
    }

    /// The edge, if there is one.
    #[must_use]
    pub fn edge(&self) -> Option<&Edge> {
        self.inner.as_deref().map(|inner| &inner.edge)
    }

    /// Ends telling, for good. What is not acknowledged is told by the next start.
    pub fn stop(&self) {
        if let Some(inner) = &self.inner {
            inner.stop.cancel();
        }
    }

    /// Waits until the replicas of an account have what was sequenced of it, but no longer than [`PATIENCE`], and not for
    /// one that others waited for in vain. Free without replicas.
    pub async fn told(&self, did: &Did) {
        if let Some(inner) = &self.inner {
            inner.registry.wait(Some(did), PATIENCE, Duration::ZERO).await;
        }
    }

    /// Waits until no reader can get from the edge what an account was before, or was called: its replicas and the hosts
    /// have acknowledged, or their leases have run out. The regions that have not acknowledged are told to the log, as
    /// they matter to whoever ordered the change.
    pub async fn surely_told(&self, did: &Did) {
        let Some(inner) = &self.inner else { return };
        let limit = inner.lease();
        let (open, hosts) =
            tokio::join!(inner.registry.wait(Some(did), limit, limit), inner.registry.wait(None, limit, limit));
        if !open.is_empty() || !hosts.is_empty() {
            let regions: Vec<_> = open.iter().chain(&hosts).map(Region::as_str).collect();
            tracing::error!(%did, ?regions, "the edge has not acknowledged what became of an account, and is told again");
        }
    }

    /// The regions whose replica of an account has not acknowledged its last change.
    #[must_use]
    pub fn behind(&self, did: &Did) -> Vec<Region> {
        self.inner.as_ref().map(|inner| inner.registry.behind_of(did)).unwrap_or_default()
    }

    /// How things stand; `None` without an edge.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn status(&self) -> Result<Option<Status>, DbError> {
        let Some(inner) = &self.inner else { return Ok(None) };
        Ok(Some(Status {
            url: inner.edge.url.to_string(),
            position: inner.log.position().await?.0,
            regions: inner.registry.counts(),
            purges: inner.log.purges_waiting().await?,
        }))
    }

    /// Has the edge drop every copy of an account; how many blobs went. `None` without an edge.
    ///
    /// # Errors
    /// When it cannot be asked, or is not done after many calls.
    pub async fn purge(&self, did: &Did) -> Option<Result<u64, SendError>> {
        let inner = self.inner.as_ref()?;
        let purge = Purge { account: did.clone(), scope: PurgeScope::Everything };
        Some(inner.purge(&purge).await)
    }
}

/// What the edge asks.
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

/// At most how many accounts an answer names as behind.
const BEHIND: usize = 20_000;

/// A snapshot on its way.
#[derive(Debug)]
pub struct Snapshot {
    stream: CarStream,
    permit: tokio::sync::OwnedSemaphorePermit,
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

    /// How long after it was asked last the edge may serve what it had then, on this server's clock.
    fn lease(&self) -> Duration {
        Duration::from_millis(self.edge.lease.origin_until(0))
    }

    async fn forget(&self, replica: &Replica) -> Result<(), FeedError> {
        self.log.unregister(replica).await?;
        self.registry.remove(&Follower::from(replica.clone()));
        Ok(())
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

    /// An account's DID document is not what it was.
    fn document_changed(inner: &Weak<Self>, did: &Did) {
        let Some(inner) = inner.upgrade() else { return };
        if !inner.registry.has_replicas(did) {
            return;
        }
        let did = did.clone();
        let runtime = inner.runtime.clone();
        runtime.spawn(async move {
            if let Err(error) = inner.log.change(&did, false, None).await {
                tracing::error!(%did, %error, "a changed DID document is not told to the edge");
            }
        });
    }
}

#[cfg(test)]
mod tests;
