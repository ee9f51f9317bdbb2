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

mod ask;
mod maintain;
mod push;
mod registry;
mod send;
mod state;

use std::sync::{Arc, Weak};
use std::time::Duration;

use shared::link::{Purge, PurgeScope, Region, Replica};
use shared::syntax::Did;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::account::Accounts;
use crate::actor::Actors;
use crate::config::{Config, Edge};
use crate::db::DbError;
use crate::fetch::{Client, ClientError, Reach};
use crate::identity::Resolver;
use crate::sequencer::feed::FeedLog;
use registry::{Follower, Registry};

pub use ask::{FILLS, FeedError, Snapshot};
pub use send::SendError;

/// How long a write waits for replicas.
pub const PATIENCE: Duration = Duration::from_millis(250);
/// How many rows are read at a time.
const PAGE: u32 = 100;

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

impl Inner {
    /// How long after it was asked last the edge may serve what it had then, on this server's clock.
    fn lease(&self) -> Duration {
        Duration::from_millis(self.edge.lease.origin_until(0))
    }

    async fn forget(&self, replica: &Replica) -> Result<(), FeedError> {
        self.log.unregister(replica).await?;
        self.registry.remove(&Follower::from(replica.clone()));
        Ok(())
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
