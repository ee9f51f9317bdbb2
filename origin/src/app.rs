//! What a running server holds: cheap to clone, shared by every handler.
//!
//! At most one server at a time has a data directory: [`App::open`] takes a lock on `headwater.lock` in it and holds it
//! for as long as any clone lives. The lock is on that file and never on a database, so that backups and `sqlite3` read
//! on while the server runs. The system drops it when the process ends, however it ends.
//!
//! What it opens it opens in the order of the dependencies: accounts, the sequence (which tells the accounts where
//! repositories stand), the accounts' own stores, identities.

use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;

use shared::crypto::PublicKey;
use shared::lexicon::Catalog;
use shared::syntax::Did;
use shared::token::{EmptySecret, HmacKey, Verifier};

use crate::account::{ATTEMPT_AGE, AccountConfig, Accounts, HandlePolicy, InvitePolicy, Work, put_roots};
use crate::actor::blobs::UPLOAD_AGE;
use crate::actor::{Actors, Swept};
use crate::announce::Announcements;
use crate::blobstore::Blobstore;
use crate::config::{Config, SignUp};
use crate::db::{Db, DbError};
use crate::entryway::Entryway;
use crate::feed::{self, Feed};
use crate::fetch::ClientError;
use crate::files::make_directory;
use crate::identity::{self, Resolver};
use crate::lifecycle;
use crate::mail::Mailer;
use crate::pipethrough::Pipethrough;
use crate::random;
use crate::rate_limit::RateLimiter;
use crate::rotation::{KmsError, RotationKey};
use crate::scratch::Scratch;
use crate::sequencer::{NewHead, RootSink, Sequencer};
use crate::streams::Streams;
use crate::xrpc;

/// How much of each database a connection keeps in memory, in KiB.
const ACCOUNTS_KIB: u32 = 4 * 1024;
const SEQUENCER_KIB: u32 = 2 * 1024;
const ACTOR_KIB: u32 = 1024;

/// Handles to everything the handlers need.
#[derive(Clone, Debug)]
pub struct App {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    accounts: Accounts,
    actors: Actors,
    announcements: Announcements,
    identity: Resolver,
    feed: Feed,
    catalog: Catalog,
    streams: Streams,
    pipethrough: Pipethrough,
    scratch: Option<Scratch>,
    entryway: Option<Entryway>,
    rate_limiter: Option<RateLimiter>,
    /// Held by whoever deletes an account.
    deletions: tokio::sync::Mutex<()>,
    /// What earlier processes had not finished when this one began, until it is seen to.
    left_over: Mutex<Vec<(Did, Work)>>,
    mailer: Mailer,
    rotation_key: RotationKey,
    /// The port that is listened on, once one is.
    port: OnceLock<u16>,
    // Last, so that nobody else has the directory while anything above closes.
    _lock: File,
}

/// Why a data directory was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another server has it.
    #[error("the data directory {} is in use by another server", .0.display())]
    InUse(PathBuf),
    /// It could not be made, or its lock could not be taken.
    #[error("the data directory {} cannot be used", path.display())]
    Io {
        /// The file or directory that could not be used.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A database in it cannot be opened.
    #[error("a database cannot be opened")]
    Db(#[from] DbError),
    /// Identities cannot be resolved.
    #[error("identities cannot be resolved")]
    Identity(#[from] identity::OpenError),
    /// Other services cannot be asked.
    #[error("other services cannot be asked")]
    Pipethrough(#[from] ClientError),
    /// The edge cannot be told.
    #[error("the edge cannot be told")]
    Feed(#[from] feed::OpenError),
    /// The Redis server cannot be asked.
    #[error("the Redis server cannot be asked")]
    Redis(#[from] redis::RedisError),
    /// `PDS_JWT_SECRET` is empty.
    #[error("sessions cannot be signed")]
    Secret(#[from] EmptySecret),
}

impl App {
    /// Opens the data directory that `config` names, making it when it is missing.
    ///
    /// # Errors
    ///
    /// When another server has it, or the system refuses.
    pub fn open(config: Config) -> Result<Self, OpenError> {
        let storage = &config.storage;
        let lock = lock(&storage.data_directory)?;
        let accounts = Accounts::open(&storage.account_db, storage.sqlite(ACCOUNTS_KIB), account_config(&config)?)?;
        let roots = Box::new(Roots(accounts.db().clone()));
        let sequencer = Sequencer::open(&storage.sequencer_db, storage.sqlite(SEQUENCER_KIB), roots)?;
        accounts.outbox_above_blocking(sequencer.drained_blocking()?)?;
        let announcements = Announcements::new(accounts.clone(), sequencer.clone());
        let (actors, options) = (storage.actors.clone(), storage.sqlite(ACTOR_KIB));
        let (blobs, clock_id) = (Blobstore::new(&storage.blobs)?, random::clock_id());
        let actors = Actors::new(actors, options, storage.open_actors, sequencer, blobs, clock_id);
        let identity = Resolver::open(&config)?;
        let server = xrpc::server_version(&config);
        let feed = Feed::open(&config, accounts.clone(), actors.clone(), identity.clone(), server)?;
        let pipethrough = Pipethrough::new(&config.network)?;
        let entryway = Entryway::open(&config)?;
        let catalog = Catalog::builtin();
        let mailer = Mailer::new(&config);
        let rotation_key = RotationKey::new(&config.secrets.plc_rotation_key)?;
        let scratch = config.redis.as_ref().filter(|_| config.rate_limits.is_some()).map(Scratch::new).transpose()?;
        let rate_limiter = config.rate_limits.clone().map(|limits| RateLimiter::new(limits, scratch.clone()));
        let (port, streams) = (OnceLock::new(), Streams::default());
        // Now: what is noted later is this process's own.
        let left_over = Mutex::new(accounts.unfinished_blocking()?);
        let deletions = tokio::sync::Mutex::default();
        let inner = Inner {
            config,
            accounts,
            actors,
            announcements,
            identity,
            feed,
            catalog,
            mailer,
            rotation_key,
            streams,
            pipethrough,
            scratch,
            entryway,
            rate_limiter,
            deletions,
            left_over,
            port,
            _lock: lock,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The configuration the server was started with.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.inner.accounts
    }

    /// The accounts' own stores.
    #[must_use]
    pub fn actors(&self) -> &Actors {
        &self.inner.actors
    }

    /// The way of what happens to accounts into the sequence.
    #[must_use]
    pub fn announcements(&self) -> &Announcements {
        &self.inner.announcements
    }

    /// DIDs and handles, resolved.
    #[must_use]
    pub fn identity(&self) -> &Resolver {
        &self.inner.identity
    }

    /// What the edge is told.
    #[must_use]
    pub fn feed(&self) -> &Feed {
        &self.inner.feed
    }

    /// The key that signs did:plc operations.
    #[must_use]
    pub fn rotation_key(&self) -> &RotationKey {
        &self.inner.rotation_key
    }

    /// The record types that are known.
    #[must_use]
    pub fn catalog(&self) -> &Catalog {
        &self.inner.catalog
    }

    /// The connections that stay open until somebody ends them.
    #[must_use]
    pub fn streams(&self) -> &Streams {
        &self.inner.streams
    }

    /// The way to other services.
    #[must_use]
    pub fn pipethrough(&self) -> &Pipethrough {
        &self.inner.pipethrough
    }

    /// The Redis server, if there is something to ask it.
    pub(crate) fn scratch(&self) -> Option<&Scratch> {
        self.inner.scratch.as_ref()
    }

    /// The entryway that this server stands behind, if it does.
    #[must_use]
    pub fn entryway(&self) -> Option<&Entryway> {
        self.inner.entryway.as_ref()
    }

    /// What verifies the sessions of accounts here: the entryway's key where there is one, since it makes them.
    #[must_use]
    pub fn session_key(&self) -> Verifier<'_> {
        match self.entryway() {
            Some(entryway) => Verifier::Ecdsa(&entryway.config().jwt_key),
            None => Verifier::Hmac(&self.accounts().config().jwt_key),
        }
    }

    /// The key that has to be among the rotation keys of an account here: the entryway's where there is one, since it
    /// changes identities.
    ///
    /// # Errors
    /// As for [`RotationKey::public_key`].
    pub async fn identity_key(&self) -> Result<PublicKey, KmsError> {
        match self.entryway() {
            Some(entryway) => Ok(entryway.config().rotation_key),
            None => self.rotation_key().public_key().await,
        }
    }

    /// Who counts how often clients ask, if that is limited.
    pub(crate) fn rate_limiter(&self) -> Option<&RateLimiter> {
        self.inner.rate_limiter.as_ref()
    }

    /// The right to delete an account: one at a time.
    pub(crate) fn deletions(&self) -> &tokio::sync::Mutex<()> {
        &self.inner.deletions
    }

    /// Who writes to the owners of accounts.
    #[must_use]
    pub fn mailer(&self) -> &Mailer {
        &self.inner.mailer
    }

    /// The address clients use; see [`Config::public_url`].
    #[must_use]
    pub fn public_url(&self) -> String {
        self.config().public_url(self.inner.port.get().copied().unwrap_or_default())
    }

    /// Tells the world what an earlier process did and had not told: first what happened to accounts, then commits; and
    /// finishes or undoes what it had begun. Calls are answered meanwhile; a write to a repository with something to tell
    /// sees to it first.
    pub(crate) async fn finish_earlier(&self) {
        if let Err(error) = self.announcements().catch_up().await {
            tracing::error!(%error, "events of accounts wait to be sequenced");
        }
        match self.sweep().await {
            Ok(swept) if swept == Swept::default() => {}
            Ok(Swept { told, dropped, failed, behind }) => {
                tracing::info!(told, dropped, failed, behind, "commits of an earlier process were looked through");
            }
            Err(error) => tracing::error!(%error, "commits of an earlier process wait to be sequenced"),
        }
        self.finish_begun().await;
    }

    /// Sees to it that every commit of earlier processes is told; see [`Actors::sweep`].
    ///
    /// # Errors
    /// When the list of those to look at cannot be read.
    pub(crate) async fn sweep(&self) -> Result<Swept, DbError> {
        let accounts = self.accounts().clone();
        self.actors().sweep(move |did| accounts.is_active_blocking(did)).await
    }

    /// Finishes or undoes what an earlier process had begun.
    pub(crate) async fn finish_begun(&self) {
        let left_over = std::mem::take(&mut *self.inner.left_over.lock().unwrap_or_else(PoisonError::into_inner));
        lifecycle::finish(self, left_over).await;
    }

    /// Removes uploads that have waited too long for a record that refers to them.
    pub(crate) async fn sweep_uploads(&self) {
        match self.actors().sweep_uploads(UPLOAD_AGE).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "uploads that no record refers to were removed"),
            Err(error) => tracing::error!(%error, "uploads that no record refers to cannot be removed"),
        }
    }

    /// Forgets which accounts may be asked for again, a day after they were first.
    pub(crate) async fn forget_attempts(&self) {
        if let Err(error) = lifecycle::forget_attempts(self, ATTEMPT_AGE).await {
            tracing::error!(%error, "old attempts to sign up cannot be forgotten");
        }
    }

    /// Says which port is listened on; the first time counts.
    pub(crate) fn listens_on(&self, port: u16) {
        let _known = self.inner.port.set(port);
    }
}

fn account_config(config: &Config) -> Result<AccountConfig, EmptySecret> {
    let handles = &config.handles;
    let invites = match config.sign_up {
        // Whoever gets as far as the accounts when nobody may is sent by the operator.
        SignUp::Open | SignUp::Closed => InvitePolicy { required: false, interval_millis: None, epoch_millis: 0 },
        SignUp::Invite { interval, epoch_millis } => {
            let millis = interval.map(|interval| i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
            InvitePolicy { required: true, interval_millis: millis, epoch_millis }
        }
    };
    Ok(AccountConfig {
        service_did: config.service.did.clone(),
        jwt_key: HmacKey::new(config.secrets.jwt.expose().as_bytes())?,
        hostname: config.service.hostname.clone(),
        handles: HandlePolicy {
            domains: handles.domains.clone(),
            min: handles.min_length,
            max: handles.max_length,
            reserved: handles.reserved,
            unreserved: handles.unreserved.clone(),
        },
        invites,
        password_threads: thread::available_parallelism().map_or(1, usize::from),
    })
}

/// Keeps the accounts' copy of where repositories stand, for listing.
struct Roots(Db);

impl RootSink for Roots {
    fn moved(&mut self, heads: &HashMap<Did, NewHead>) -> Result<(), DbError> {
        self.0.write_blocking(|tx| Ok(put_roots(tx, heads.iter().map(|(did, head)| (did, &head.commit, &head.rev)))?))
    }
}

fn lock(directory: &Path) -> Result<File, OpenError> {
    let io = |path: &Path, source| OpenError::Io { path: path.to_owned(), source };
    make_directory(directory).map_err(|source| io(directory, source))?;
    let path = directory.join("headwater.lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(|source| io(&path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse(directory.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(&path, source)),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn config(data_directory: &Path) -> Config {
        Config::from_variables([("PDS_DATA_DIRECTORY", data_directory)]).unwrap()
    }

    #[test]
    fn a_missing_data_directory_is_made() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("a/b");
        let _app = App::open(config(&directory)).unwrap();
        assert!(directory.join("headwater.lock").is_file());
    }

    #[test]
    fn a_second_server_is_refused_until_the_first_is_gone() {
        let directory = tempfile::tempdir().unwrap();
        let first = App::open(config(directory.path())).unwrap();
        assert!(matches!(App::open(config(directory.path())), Err(OpenError::InUse(_))));
        drop(first);
        App::open(config(directory.path())).unwrap();
    }
}
