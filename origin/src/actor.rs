//! Actors: each account's own data, one SQLite database and one signing key per DID.
//!
//! [`Actors`] finds, opens and keeps the stores; at any time there is one [`Store`] per DID, however many hold it, and
//! with it one lock: whoever writes holds it from before the transaction until the event has its place in the
//! sequencer's queue. Readers need no lock. Files of blobs are moved under a lock of their own, which is taken before that
//! one (`blobs::files`). A store that nobody uses is closed when others are used more recently.
//!
//! The way of a write is [`Actors::apply_writes`], in `commit`, which is the only place where a write changes a
//! repository; `line` says which writes share a transaction. `replay` does again, out of the sequence, what a store lost.
//!
//! On the disk, as the reference lays it out: `<actors>/<first two hex digits of SHA-256(did)>/<did>/store.sqlite`, and
//! beside it `key`, the 32 raw bytes of the signing key.

mod audit;
mod behind;
pub mod blobs;
mod commit;
pub mod export;
pub mod import;
mod line;
pub mod preferences;
pub mod prepare;
pub mod read;
mod recover;
mod replay;
mod reserve;
mod store;
pub mod takedown;

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use sha2::{Digest as _, Sha256};
use shared::crypto::{CryptoError, SigningKey};
use shared::syntax::{Did, Tid};
use tokio::sync::{OwnedMutexGuard, Semaphore};

use crate::blobstore::{Blobstore, BlobstoreError};
use crate::db::{DbError, Options, blocking};
use crate::fault;
use crate::files::remove_directory;
use crate::sequencer::Sequencer;

use blobs::tidy::Untidy;

pub use audit::{Audit, RebuildError, Rebuilt};
pub use commit::{Backlink, Committed, Prepared, WriteError};
pub use recover::{Recommitted, Swept};
pub use replay::{ReplayError, Replayed};
pub use reserve::ReserveError;
pub(crate) use store::read_root;
pub use store::{Created, Store};

/// Why a store cannot be opened or made.
#[derive(Debug, thiserror::Error)]
pub enum ActorError {
    /// There is no store for the DID.
    #[error("no repository for {0}")]
    NotFound(Did),
    /// There is one already.
    #[error("there is a repository for {0} already")]
    Exists(Did),
    /// Its database failed.
    #[error("store failed")]
    Db(#[from] DbError),
    /// Its files failed.
    #[error("{} cannot be used", path.display())]
    Io {
        /// Which one.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The files of its blobs failed.
    #[error(transparent)]
    Blobs(#[from] BlobstoreError),
    /// Its key file does not hold a key.
    #[error("the signing key of {did} is damaged")]
    Key {
        /// Whose.
        did: Did,
        /// What is wrong.
        #[source]
        source: CryptoError,
    },
}

/// The right to write to an account's repository, held so that nobody does.
#[derive(Debug)]
#[must_use = "writes go on when this is dropped"]
pub struct Held {
    _nobody_writes: OwnedMutexGuard<store::Writing>,
}

/// All stores; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Actors {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    directory: PathBuf,
    options: Options,
    capacity: usize,
    sequencer: Sequencer,
    blobs: Blobstore,
    untidy: Arc<Untidy>,
    /// The clock identifier of this process's revisions.
    clock_id: u16,
    open: Mutex<Open>,
    /// Room for exports.
    exports: Arc<Semaphore>,
}

/// The stores there are in memory.
#[derive(Debug, Default)]
struct Open {
    /// Every store that anybody holds, so that there is never a second one for a DID.
    alive: HashMap<Did, Weak<Store>>,
    /// The ones kept open for the next use, each with when it was last asked for.
    kept: HashMap<Did, (Arc<Store>, u64)>,
    uses: u64,
}

impl Actors {
    /// The stores under `directory`, with their blobs in `blobs`. Up to `capacity` are kept open while nobody uses them.
    /// `clock_id` is a random number, drawn once per process.
    #[must_use]
    pub fn new(
        directory: PathBuf,
        options: Options,
        capacity: usize,
        sequencer: Sequencer,
        blobs: Blobstore,
        clock_id: u16,
    ) -> Self {
        let (open, untidy, exports) = (Mutex::default(), Arc::default(), Arc::new(Semaphore::new(export::AT_ONCE)));
        let inner = Inner { directory, options, capacity, sequencer, blobs, untidy, clock_id, open, exports };
        Self { inner: Arc::new(inner) }
    }

    /// The store of an account.
    ///
    /// # Errors
    /// `NotFound` when it has none; otherwise what keeps it from being opened.
    pub async fn store(&self, did: &Did) -> Result<Arc<Store>, ActorError> {
        let store = self.entry(did);
        if store.is_open() {
            return Ok(store);
        }
        let (opening, options, did) = (Arc::clone(&store), self.inner.options, did.clone());
        let opened = blocking(move || opening.open(options)).await;
        if opened.is_err() {
            self.release(&did);
        }
        opened.map(|()| store)
    }

    /// Makes the store of a new account: key, database, and the first commit over an empty tree. Nothing is sequenced;
    /// the events of a creation go together with the account's own.
    ///
    /// What an interrupted creation left behind is replaced, though never its key by the same one: the caller knows that
    /// there is no such account.
    ///
    /// # Errors
    /// When files or database cannot be written; then nothing is left behind.
    pub async fn create(&self, did: &Did, key: SigningKey) -> Result<Created, ActorError> {
        let store = self.entry(did);
        let rev = shared::syntax::Tid::from_parts(crate::time::now_micros(), self.inner.clock_id);
        let options = self.inner.options;
        let created = blocking(move || store.create(&key, rev, options)).await;
        if created.is_err() {
            self.release(did);
        }
        created
    }

    /// Waits until nobody writes to an account's repository. Until the answer is dropped nobody does, and all that was
    /// written before has its place in the sequence. There need not be a store.
    pub async fn hold(&self, did: &Did) -> Held {
        Held { _nobody_writes: self.entry(did).lock().await }
    }

    /// Deletes an account's store with everything in it, and all its blobs, uploads and what is taken down included.
    ///
    /// The blobs go first: as long as any may be left the store is there, to be destroyed again.
    ///
    /// # Errors
    /// When its files cannot be deleted. That there are none is no error.
    pub async fn destroy(&self, did: &Did) -> Result<(), ActorError> {
        let store = self.entry(did);
        let _held = store.hold_blobs().await;
        self.blobs().delete_account(did).await?;
        fault::point("destroy.blobs-gone");
        let _nobody_writes = store.lock().await;
        self.forget(did);
        self.untidy().forget(did);
        let directory = self.directory(did);
        blocking(move || remove_directory(&directory).map_err(|source| ActorError::Io { path: directory, source }))
            .await
    }

    /// Whether there are files of an account's store, of any kind.
    ///
    /// # Errors
    /// When that cannot be looked at.
    pub async fn has_files(&self, did: &Did) -> Result<bool, ActorError> {
        let path = self.directory(did);
        blocking(move || path.try_exists().map_err(|source| ActorError::Io { path, source })).await
    }

    /// The revision that an account's repository is at; `None` if there is none.
    ///
    /// # Errors
    /// When its store cannot be opened or read.
    pub async fn rev(&self, did: &Did) -> Result<Option<Tid>, ActorError> {
        match self.store(did).await {
            Ok(store) => store.db()?.read(|c| Ok(store::read_root(c)?.map(|(_, rev)| rev))).await,
            Err(ActorError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the files of blobs are.
    #[must_use]
    pub fn blobs(&self) -> &Blobstore {
        &self.inner.blobs
    }

    /// How their databases are opened.
    #[must_use]
    pub fn options(&self) -> Options {
        self.inner.options
    }

    /// The sequencer that commits go to.
    #[must_use]
    pub fn sequencer(&self) -> &Sequencer {
        &self.inner.sequencer
    }

    fn untidy(&self) -> &Untidy {
        &self.inner.untidy
    }

    /// The one store object of a DID, open or not.
    fn entry(&self, did: &Did) -> Arc<Store> {
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.uses += 1;
        let uses = open.uses;
        if let Some((store, used)) = open.kept.get_mut(did) {
            *used = uses;
            return Arc::clone(store);
        }
        let store = open.alive.get(did).and_then(Weak::upgrade).unwrap_or_else(|| {
            let Inner { sequencer, blobs, untidy, .. } = &*self.inner;
            let (directory, untidy) = (self.directory(did), Arc::clone(untidy));
            Arc::new(Store::new(did.clone(), directory, sequencer.clone(), blobs.clone(), untidy))
        });
        open.alive.insert(did.clone(), Arc::downgrade(&store));
        open.kept.insert(did.clone(), (Arc::clone(&store), uses));
        if open.kept.len() > self.inner.capacity.max(1) {
            open.evict();
        }
        store
    }

    /// Keeps a store no longer; whoever holds it goes on.
    pub(crate) fn release(&self, did: &Did) {
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.kept.remove(did);
    }

    /// Whether a store is kept open for the next use.
    fn keeps(&self, store: &Arc<Store>) -> bool {
        let open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.kept.get(store.did()).is_some_and(|(kept, _)| Arc::ptr_eq(kept, store))
    }

    /// Forgets a store that is being deleted, also for those who hold it: the next one asked for is another.
    fn forget(&self, did: &Did) {
        let mut open = self.inner.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.kept.remove(did);
        open.alive.remove(did);
    }

    fn directory(&self, did: &Did) -> PathBuf {
        let hash = Sha256::digest(did.as_str().as_bytes());
        let shard = data_encoding::HEXLOWER.encode(&hash[..1]);
        self.inner.directory.join(shard).join(did.as_str())
    }
}

impl Open {
    /// Lets go of the store that was not asked for the longest. If someone holds it still, it lives on in `alive`.
    fn evict(&mut self) {
        let oldest = self.kept.iter().min_by_key(|(_, (_, used))| *used).map(|(did, _)| did.clone());
        if let Some((store, _)) = oldest.and_then(|did| self.kept.remove(&did)) {
            store.retire();
        }
        self.alive.retain(|_, store| store.strong_count() > 0);
    }
}

#[cfg(test)]
mod tests;
