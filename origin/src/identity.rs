//! Resolving identities: from a DID to its document, from a handle to its DID.
//!
//! Documents are cached. A fresh one is served as it is; a stale one is served, too, and fetched anew behind the answer;
//! an older one is not served. Whoever has reason to believe that a document has changed asks for it by
//! [`Resolver::refresh_did`]. However many ask for one DID at a time, its host is asked once; only a forced refresh asks
//! again, since what is under way may have been asked before the change.
//!
//! A handle is its DID's only when both say so: [`Resolver::confirms`].
//!
//! Specification: <https://atproto.com/specs/did>, <https://atproto.com/specs/handle>.

mod cache;
mod handle;
pub mod plc;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use reqwest::StatusCode;
use shared::data::{Value, json};
use shared::identity::{DidDocument, DidDocumentError};
use shared::syntax::{Did, DidMethod, DidMethodError, DidWeb, Handle};
use url::Url;

use crate::config::Config;
use crate::db::DbError;
use crate::fetch::{Bounds, Client, ClientError, FetchError, Reach};
use crate::time::now_millis;
use cache::{Cache, Miss};
use handle::Handles;
use plc::{Directory, DirectoryError};

const ACCEPT: &str = "application/did+ld+json,application/json";
/// How much of the cache's database a connection keeps in memory, in KiB.
const CACHE_KIB: u32 = 512;

/// Resolves identities; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Resolver {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    cache: Cache,
    directory: Directory,
    client: Client,
    reach: Reach,
    bounds: Bounds,
    handles: Handles,
    flights: Mutex<Flights>,
    on_change: OnceLock<OnChange>,
}

/// Told that a document is not what it was in the cache.
struct OnChange(Box<dyn Fn(&Did) + Send + Sync>);

impl std::fmt::Debug for OnChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("OnChange")
    }
}

/// A document, or that there is none.
type Outcome = Result<Option<Arc<DidDocument>>, ResolveError>;

/// What is being asked for now.
#[derive(Debug, Default)]
struct Flights {
    by_did: HashMap<Did, Flight>,
    next: u64,
}

#[derive(Debug)]
struct Flight {
    number: u64,
    outcome: Shared<BoxFuture<'static, Outcome>>,
}

/// Why a DID was not resolved: whether it exists is not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// Its method is not supported, or it breaks the method's rules.
    #[error(transparent)]
    Method(#[from] DidMethodError),
    /// It is a did:web that only a development setup may resolve.
    #[error("{did} is only for development")]
    Local {
        /// The DID.
        did: Did,
    },
    /// The directory did not tell.
    #[error(transparent)]
    Directory(Arc<DirectoryError>),
    /// The did:web's host was not reached, or did not answer in bounds.
    #[error("the host of the did:web cannot be asked")]
    Fetch(#[source] Arc<FetchError>),
    /// The did:web's host answers with another status than that it has or has not a document.
    #[error("the host of the did:web answers with status {status}")]
    Status {
        /// The status.
        status: u16,
    },
    /// What the did:web's host has is not JSON.
    #[error("the document is not JSON")]
    NotJson,
    /// What the did:web's host has is not the DID's document.
    #[error(transparent)]
    Document(#[from] DidDocumentError),
    /// The server is stopping.
    #[error("the resolution did not finish")]
    Abandoned,
}

/// Why a resolver cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The cache cannot be opened.
    #[error("the cache of DID documents cannot be opened")]
    Cache(#[from] DbError),
    /// The network cannot be used.
    #[error(transparent)]
    Client(#[from] ClientError),
}

/// A DID document as an answer holds it; `None` if it is not of the data model, as a number with a fraction is not.
pub(crate) fn document_json(document: &DidDocument) -> Option<Value> {
    json::parse(&serde_json::to_vec(document.as_json()).ok()?).ok()
}

impl Resolver {
    /// Makes a resolver and opens its cache. Blocks.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(config: &Config) -> Result<Self, OpenError> {
        let reach = if config.network.public_only { Reach::Public } else { Reach::Anywhere };
        let client = Client::new(reach)?;
        let identity = &config.identity;
        let cache = Cache::open(
            &config.storage.did_cache_db,
            config.storage.sqlite(CACHE_KIB),
            identity.cache_stale,
            identity.cache_max,
        )?;
        let (time, limit) = (identity.timeout, config.network.max_document);
        // The directory is the operator's choice, wherever it is.
        let directory = Directory::new(Client::new(Reach::Anywhere)?, identity.plc_url.clone(), time, limit);
        let handles = Handles::new(client.clone(), reach, identity.backup_nameservers.clone(), time);
        let bounds = Bounds { time, body: limit, redirects: 0 };
        let (flights, on_change) = (Mutex::default(), OnceLock::new());
        let inner = Inner { cache, directory, client, reach, bounds, handles, flights, on_change };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Says whom to tell when a document is found that is not what the cache had; the first one is told.
    pub(crate) fn on_change(&self, tell: Box<dyn Fn(&Did) + Send + Sync>) {
        let _first_counts = self.inner.on_change.set(OnChange(tell));
    }

    /// The did:plc directory.
    #[must_use]
    pub fn directory(&self) -> &Directory {
        &self.inner.directory
    }

    /// The document of a DID, `None` if it does not exist. It may be as old as the cache keeps them.
    ///
    /// # Errors
    /// [`ResolveError`], also one that was found some seconds ago.
    pub async fn resolve_did(&self, did: &Did) -> Result<Option<Arc<DidDocument>>, ResolveError> {
        did.check_method()?;
        let miss = self.inner.cache.miss(did);
        if let Some(cached) = self.inner.cache.document(did) {
            if cached.stale && miss.is_none() {
                // Nobody waits for it: it keeps what it finds.
                let _outcome = self.fly(did, true);
            }
            return Ok(Some(Arc::new(cached.document)));
        }
        match miss {
            Some(Miss::Absent) => Ok(None),
            Some(Miss::Failed(error)) => Err(error),
            None => self.fly(did, true).await,
        }
    }

    /// The document of a DID as it is now, `None` if it does not exist; the cache takes it over.
    ///
    /// # Errors
    /// [`ResolveError`].
    pub async fn refresh_did(&self, did: &Did) -> Result<Option<Arc<DidDocument>>, ResolveError> {
        did.check_method()?;
        self.fly(did, false).await
    }

    /// The DID that a handle's domain says it is; `None` also if nobody there could be asked.
    ///
    /// Names under this server's own domains are its accounts' to tell, not the network's.
    pub async fn resolve_handle(&self, handle: &Handle) -> Option<Did> {
        self.inner.handles.resolve(handle).await
    }

    /// Whether the DID's document names the handle, and the handle's domain the DID. The document may be a cached one.
    ///
    /// # Errors
    /// [`ResolveError`] when the document cannot be had.
    pub async fn confirms(&self, did: &Did, handle: &Handle) -> Result<bool, ResolveError> {
        let Some(document) = self.resolve_did(did).await? else { return Ok(false) };
        Ok(document.handle().as_ref() == Some(handle) && self.resolve_handle(handle).await.as_ref() == Some(did))
    }

    /// Asks for a document, or waits with those who ask for it already if `join` is set.
    ///
    /// What is asked for goes on when nobody waits any more.
    fn fly(&self, did: &Did, join: bool) -> Shared<BoxFuture<'static, Outcome>> {
        let mut flights = self.inner.flights();
        if let Some(flight) = flights.by_did.get(did).filter(|_| join) {
            return flight.outcome.clone();
        }
        flights.next += 1;
        let number = flights.next;
        let (inner, asked) = (Arc::clone(&self.inner), did.clone());
        let task = tokio::spawn(async move {
            let asked_at = now_millis();
            let outcome = inner.fetch(&asked).await;
            inner.keep(&asked, &outcome, asked_at).await;
            inner.land(asked, number);
            outcome
        });
        let outcome = async move { task.await.unwrap_or(Err(ResolveError::Abandoned)) }.boxed().shared();
        flights.by_did.insert(did.clone(), Flight { number, outcome: outcome.clone() });
        outcome
    }
}

impl Inner {
    fn flights(&self) -> MutexGuard<'_, Flights> {
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch(&self, did: &Did) -> Outcome {
        let document = match did.check_method()? {
            DidMethod::Plc => {
                let document = self.directory.document(did).await;
                document.map_err(|error| ResolveError::Directory(Arc::new(error)))?
            }
            DidMethod::Web(web) => self.web_document(did, web).await?,
        };
        Ok(document.map(Arc::new))
    }

    async fn web_document(&self, did: &Did, web: DidWeb<'_>) -> Result<Option<DidDocument>, ResolveError> {
        let url = match Url::parse(&web.document_url()) {
            Ok(url) if !web.is_local() || self.reach == Reach::Anywhere => url,
            _ => return Err(ResolveError::Local { did: did.clone() }),
        };
        let answer = self.client.get(url, ACCEPT, self.bounds).await;
        let answer = answer.map_err(|error| ResolveError::Fetch(Arc::new(error)))?;
        match answer.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => Ok(None),
            StatusCode::OK => {
                let json = serde_json::from_slice(&answer.body).map_err(|_| ResolveError::NotJson)?;
                Ok(Some(DidDocument::parse(did, json)?))
            }
            status => Err(ResolveError::Status { status: status.as_u16() }),
        }
    }

    async fn keep(&self, did: &Did, outcome: &Outcome, asked_at: i64) {
        match outcome {
            Ok(Some(document)) => {
                let tell = self.on_change.get().filter(|_| {
                    let known = self.cache.document(did);
                    known.is_none_or(|known| known.document.as_json() != document.as_json())
                });
                self.cache.keep(document, asked_at).await;
                if let Some(OnChange(tell)) = tell {
                    tell(did);
                }
            }
            Ok(None) => {
                self.cache.remove(did, asked_at).await;
                self.cache.keep_miss(did, Miss::Absent);
            }
            Err(error) => {
                tracing::debug!(%did, ?error, "a DID cannot be resolved");
                self.cache.keep_miss(did, Miss::Failed(error.clone()));
            }
        }
    }

    fn land(&self, did: Did, number: u64) {
        if let Entry::Occupied(flight) = self.flights().by_did.entry(did)
            && flight.get().number == number
        {
            flight.remove();
        }
    }
}

#[cfg(test)]
mod tests;
