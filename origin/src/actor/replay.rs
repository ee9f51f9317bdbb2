//! Bringing a store to where the sequence says that it stood: after stores were lost, or restored out of a backup that
//! is older than the sequence.
//!
//! [`Actors::replay`] walks an account's events in order. Those that the store has already are passed over; every
//! other has to follow where the store stands, is done again on its tree, and has to lead to the very tree that its
//! commit signs ([`repo::Repo::replay`]). Commits keep their signature, and nothing is told: it all was. A store that
//! is not there at all is made, with a new key if its key is gone, too; the commit that was told last stays its head,
//! so that what consumers know stays true until the new key is published.
//!
//! All of an account is one transaction: it is where the sequence says, or as it was before. A new key comes after it,
//! since nobody opens a store that has none. The account's lock is held throughout. Memory does not grow with the
//! sequence. [`Actors::settle_replayed`] brings blobs in step afterwards, as often as it is asked.
//!
//! Specification: <https://atproto.com/specs/sync>.

mod walk;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use shared::crypto::{Curve, SigningKey};
use shared::firehose::{FirehoseError, Seq};
use shared::repo::car::CarError;
use shared::repo::{self, Head};
use shared::syntax::{Did, Tid};

use super::audit::missing_blobs;
use super::store::{self, SCHEMA, Store};
use super::{ActorError, Actors, WriteError};
use crate::db::{Db, DbError, Options, blocking};
use crate::fault;
use crate::files::make_directory;
use crate::random;
use crate::sequencer::NewHead;

use walk::replay;

/// What a replay came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// How many commits were made again.
    pub commits: u64,
    /// Whether there was no repository before.
    pub made: bool,
    /// Whether the head is signed by the key that is here.
    pub own_key: bool,
}

/// Why a store is not where the sequence says. It is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is neither a repository nor anything to make it of.
    #[error("there is no repository, and nothing in the sequence to make it of")]
    Nothing,
    /// The sequence does not have the beginning of what is lost.
    #[error("there is no repository, and event {seq} is not its beginning: what was before is not in the sequence")]
    NoBeginning {
        /// The first event that there is.
        seq: Seq,
    },
    /// The sequence lacks something in between.
    #[error("the repository is at {head} and event {seq} follows {}: what is between is not in the sequence",
        .since.as_ref().map_or("nothing, for it begins another", Tid::as_str))]
    Gap {
        /// The first event that does not follow.
        seq: Seq,
        /// What it follows.
        since: Option<Tid>,
        /// Where the repository stands there.
        head: Tid,
    },
    /// The repository was replaced by one of which the sequence has only the commit.
    #[error("event {seq} says that the repository became another, which is not in the sequence")]
    Replaced {
        /// The event that says so.
        seq: Seq,
    },
    /// It was written to where it stood after a restore: what was told before that write is not in it.
    #[error("event {seq} was written on top of an older repository: what was told between is not in it")]
    Forked {
        /// The event of that write.
        seq: Seq,
    },
    /// An event cannot be read.
    #[error("event {seq} cannot be read")]
    Event {
        /// Which.
        seq: Seq,
        /// What is wrong with it.
        #[source]
        source: FirehoseError,
    },
    /// The blocks of an event cannot be read.
    #[error("the blocks of event {seq} cannot be read")]
    Car {
        /// Which.
        seq: Seq,
        /// What is wrong with them.
        #[source]
        source: CarError,
    },
    /// A commit cannot be made again.
    #[error("the commit of event {seq} cannot be made again")]
    Commit {
        /// Which.
        seq: Seq,
        /// Why.
        #[source]
        source: repo::ReplayError,
    },
    /// The store failed.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<DbError> for ReplayError {
    fn from(error: DbError) -> Self {
        Self::Write(error.into())
    }
}

impl From<ActorError> for ReplayError {
    fn from(error: ActorError) -> Self {
        Self::Write(error.into())
    }
}

impl From<rusqlite::Error> for ReplayError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Write(error.into())
    }
}

impl Actors {
    /// Brings the store of `did` to where the sequence says that it stood, by the events at `from` and later. It is
    /// made if it is not there.
    ///
    /// # Errors
    /// A [`ReplayError`]; nothing is changed then.
    pub async fn replay(&self, did: &Did, from: u64) -> Result<Replayed, ReplayError> {
        let (actors, store) = (self.clone(), self.entry(did));
        // A task of its own: whoever asked may go away between its steps.
        let task = tokio::spawn(async move {
            let replayed = actors.replay_onto(&store, from).await;
            actors.release_unopened(&store);
            replayed
        });
        task.await.unwrap_or_else(|_| Err(DbError::Abandoned.into()))
    }

    /// What [`Actors::replay`] would come to. Nothing is changed.
    ///
    /// # Errors
    /// As [`Actors::replay`].
    pub async fn rehearse_replay(&self, did: &Did, from: u64) -> Result<Replayed, ReplayError> {
        let store = self.entry(did);
        let (of, options, sequencer) = (Arc::clone(&store), self.inner.options, self.sequencer().clone());
        let writing = store.lock().await;
        let rehearsed = blocking(move || {
            let _nobody_writes = writing;
            let key = of.read_key()?;
            let there = of.database();
            let db = match (&key, there.is_file()) {
                // Through the one handle: whoever writes something else meanwhile waits, and is not refused.
                (Some(_), true) => {
                    of.open(options)?;
                    of.db()?.clone()
                }
                // Without a key nobody else opens it.
                (None, true) => Db::open(&there, options, &SCHEMA)?,
                // A database that nobody else sees.
                (_, false) => Db::open(Path::new(""), options, &SCHEMA)?,
            };
            let key = key.map(|key| key.public_key());
            let rolled_back = db.write_blocking(|transaction| -> Result<(), Rehearsed> {
                Err(Rehearsed(replay(transaction, of.did(), &sequencer, from, key.as_ref())))
            });
            match rolled_back {
                Ok(()) => Err(DbError::Abandoned.into()),
                Err(Rehearsed(rehearsed)) => rehearsed.map(|(replayed, _)| replayed),
            }
        });
        let rehearsed = rehearsed.await;
        self.release_unopened(&store);
        rehearsed
    }

    async fn replay_onto(&self, store: &Arc<Store>, from: u64) -> Result<Replayed, ReplayError> {
        let (of, options) = (Arc::clone(store), self.inner.options);
        let mut writing = store.lock().await;
        let has_key = match blocking(move || of.open(options)).await {
            Ok(()) => true,
            Err(ActorError::NotFound(_)) => false,
            Err(error) => return Err(error.into()),
        };
        let told = if !has_key || self.is_behind(store).await? {
            // The next start looks at it if this process dies.
            self.sequencer().mark_dirty(store.did().clone()).await.map_err(WriteError::from)?;
            // What replicas of the edge have may be of the older store.
            self.sequencer().feed().change(store.did(), true, None).await?
        } else {
            None
        };
        // Whoever writes next reads them again.
        writing.head = None;
        writing.nodes.clear();
        let (of, sequencer) = (Arc::clone(store), self.sequencer().clone());
        let (replayed, head) = blocking(move || {
            let onto = |db: &Db, key: &SigningKey| {
                let replayed = db.write_blocking(|transaction| {
                    let replayed = replay(transaction, of.did(), &sequencer, from, Some(&key.public_key()))?;
                    if replayed.0.commits > 0 {
                        fault::point("replay.written");
                    }
                    Ok::<_, ReplayError>(replayed)
                })?;
                if replayed.0.commits > 0 {
                    fault::point("replay.committed");
                }
                Ok(replayed)
            };
            if has_key { onto(of.db()?, of.key()?) } else { with_new_key(&of, options, onto) }
        })
        .await?;
        if replayed.commits > 0 {
            store.untidy().note(store.did());
        }
        self.sequencer().tell_root(store.did().clone(), NewHead { commit: head.commit, rev: head.rev });
        drop((told, writing));
        Ok(replayed)
    }

    /// Keeps a store no longer that could not be opened.
    fn release_unopened(&self, store: &Store) {
        if !store.is_open() {
            self.release(store.did());
        }
    }

    /// Whether something was told last that the store does not have.
    async fn is_behind(&self, store: &Arc<Store>) -> Result<bool, ReplayError> {
        let (store, sequencer) = (Arc::clone(store), self.sequencer().clone());
        blocking(move || {
            let root = store.db()?.read_blocking(|c| Ok::<_, ActorError>(store::read_root(c)?))?;
            let told = sequencer.told_blocking(store.did())?;
            Ok(root.is_none_or(|(_, rev)| told.beyond(rev).is_some()))
        })
        .await
    }

    /// Brings the blobs of an account in step with its records: those whose files are there, and which the store does
    /// not know, become known; the files of those that no record refers to any more go. Returns how many are missing.
    ///
    /// # Errors
    /// When store or blob store fail; what is done stays done.
    pub async fn settle_replayed(&self, did: &Did) -> Result<u64, WriteError> {
        let store = self.store(did).await?;
        store.adopt().await?;
        store.settle_blobs().await?;
        blocking(move || store.db()?.read_blocking(|connection| Ok::<_, WriteError>(missing_blobs(connection)?))).await
    }
}

/// Replays onto a store that has no key, and gives it a new one at the end: as long as it has none nobody else opens
/// it, and what was made for nothing can go again. Blocks.
fn with_new_key<T>(
    store: &Store,
    options: Options,
    replay: impl FnOnce(&Db, &SigningKey) -> Result<T, ReplayError>,
) -> Result<T, ReplayError> {
    let io = |path: &Path, source| ActorError::Io { path: path.to_owned(), source };
    let (path, directory) = (store.database(), store.directory());
    let key = SigningKey::from_bytes(Curve::K256, &random::bytes::<32>())
        .map_err(|source| ActorError::Key { did: store.did().clone(), source })?;
    let is_new = !path.try_exists().map_err(|source| io(&path, source))?;
    let replay_and_keep = || {
        make_directory(directory).map_err(|source| io(directory, source))?;
        let replayed = replay(&Db::open(&path, options, &SCHEMA)?, &key)?;
        store.keep_key(&key)?;
        fault::point("replay.key-made");
        Ok(replayed)
    };
    let replayed = replay_and_keep();
    if replayed.is_err() && is_new {
        for name in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
            let _may_not_be_there = fs::remove_file(directory.join(name));
        }
        let _may_hold_something_else = fs::remove_dir(directory);
    }
    replayed
}

/// What a rehearsal came to, as the error that has its transaction rolled back.
struct Rehearsed(Result<(Replayed, Head), ReplayError>);

impl From<DbError> for Rehearsed {
    fn from(error: DbError) -> Self {
        Self(Err(error.into()))
    }
}

#[cfg(test)]
mod tests;
