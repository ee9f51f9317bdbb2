//! Bringing a store to where the sequence says that it stood: after stores were lost, or restored out of a backup that is
//! older than the sequence.
//!
//! [`Actors::replay`] walks an account's events in order. Those that the store has already are passed over; every other has
//! to follow where the store stands, is done again on its tree, and has to lead to the very tree that its commit signs
//! ([`repo::Repo::replay`]). Commits keep their signature, and nothing is told: it all was. A store that is not there at all is
//! made, with a new key if its key is gone, too; the commit that was told last stays its head, so that what consumers know
//! stays true until the new key is published.
//!
//! All of an account is one transaction: it is where the sequence says, or as it was before. Memory does not grow with the
//! sequence. [`Actors::settle_replayed`] brings blobs in step afterwards, as often as it is asked.
//!
//! Specification: <https://atproto.com/specs/sync>.

mod walk;

use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use shared::firehose::{FirehoseError, Seq};
use shared::repo::car::CarError;
use shared::repo::{self, Head};
use shared::syntax::{Did, Tid};

use super::audit::missing_blobs;
use super::store::{self, SCHEMA, Store};
use super::{ActorError, Actors, WriteError};
use crate::db::{Db, DbError, Options, blocking};
use crate::fault;
use crate::files::{remove_directory, sync_directory};
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
    /// Brings the store of `did` to where the sequence says that it stood, by the events at `from` and later. It is made if
    /// it is not there.
    ///
    /// # Errors
    /// A [`ReplayError`]; nothing is changed then.
    pub async fn replay(&self, did: &Did, from: u64) -> Result<Replayed, ReplayError> {
        let (actors, store) = (self.clone(), self.entry(did));
        // A task of its own: whoever asked may go away between its steps.
        let task = tokio::spawn(async move {
            let replayed = actors.replay_onto(&store, from).await;
            if let Err(error) = &replayed {
                // Whether it is open or not, what is on the disk may be another by the next time.
                actors.forget(store.did());
                tracing::debug!(did = %store.did(), error = error as &dyn std::error::Error, "not replayed");
            }
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
        let (options, sequencer) = (self.inner.options, self.sequencer().clone());
        let writing = store.lock().await;
        let rehearsed = blocking(move || {
            let _nobody_writes = writing;
            let key = store.read_key()?.map(|key| key.public_key());
            let there = store.database();
            // Without one, a database that nobody else sees.
            let db = Db::open(if there.is_file() { &there } else { Path::new("") }, options, &SCHEMA)?;
            let rolled_back = db.write_blocking(|transaction| -> Result<(), Rehearsed> {
                Err(Rehearsed(replay(transaction, store.did(), &sequencer, from, key.as_ref())))
            });
            match rolled_back {
                Ok(()) => Err(DbError::Abandoned.into()),
                Err(Rehearsed(rehearsed)) => rehearsed.map(|(replayed, _)| replayed),
            }
        });
        let rehearsed = rehearsed.await;
        self.release(did);
        rehearsed
    }

    async fn replay_onto(&self, store: &Arc<Store>, from: u64) -> Result<Replayed, ReplayError> {
        let (of, options) = (Arc::clone(store), self.inner.options);
        let mut writing = store.lock().await;
        let (before, opened) = blocking(move || -> Result<_, ActorError> {
            let before = Before::look(of.directory())?;
            Ok((before, open(&of, options)))
        })
        .await?;
        let behind = match opened {
            Ok(()) => self.is_behind(store).await,
            Err(error) => Err(error.into()),
        };
        let told = match behind {
            Ok(true) => {
                // The next start looks at it if this process dies.
                self.sequencer().mark_dirty(store.did().clone()).await.map_err(WriteError::from)?;
                // What replicas of the edge have may be of the older store.
                self.sequencer().feed().change(store.did(), true, None).await?
            }
            _ => None,
        };
        let (of, sequencer) = (Arc::clone(store), self.sequencer().clone());
        let replayed = blocking(move || -> Result<_, ReplayError> {
            behind?;
            writing.head = None;
            writing.nodes.clear();
            let key = of.key()?.public_key();
            let replayed = of.db()?.write_blocking(|transaction| {
                replay(transaction, of.did(), &sequencer, from, Some(&key)).inspect(|(replayed, _)| {
                    match replayed.commits {
                        0 => {}
                        _ => fault::point("replay.written"),
                    }
                })
            })?;
            Ok((replayed, writing))
        });
        match replayed.await {
            Ok(((replayed, head), writing)) => {
                if replayed.commits > 0 {
                    fault::point("replay.committed");
                    store.untidy().note(store.did());
                }
                self.sequencer().tell_root(store.did().clone(), NewHead { commit: head.commit, rev: head.rev });
                drop((told, writing));
                Ok(replayed)
            }
            Err(error) => {
                blocking(move || before.restore()).await?;
                Err(error)
            }
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

    /// Brings the blobs of an account in step with its records: those whose files are there, and which the store does not
    /// know, become known; the files of those that no record refers to any more go. Returns how many are missing.
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

/// Opens the store, with a new key if it has none. Blocks.
fn open(store: &Store, options: Options) -> Result<(), ActorError> {
    match store.open(options) {
        Err(ActorError::NotFound(_)) => {
            store.make_key()?;
            fault::point("replay.key-made");
            store.open(options)
        }
        opened => opened,
    }
}

/// What a rehearsal came to, as the error that has its transaction rolled back.
struct Rehearsed(Result<(Replayed, Head), ReplayError>);

impl From<DbError> for Rehearsed {
    fn from(error: DbError) -> Self {
        Self(Err(error.into()))
    }
}

/// What was in a store's directory before.
struct Before {
    directory: PathBuf,
    names: Option<HashSet<OsString>>,
}

impl Before {
    fn look(directory: &Path) -> Result<Self, ActorError> {
        let names = match fs::read_dir(directory) {
            Ok(entries) => Some(entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<_>>()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(Err(error)),
        };
        let names = names.transpose().map_err(|source| ActorError::Io { path: directory.to_owned(), source })?;
        Ok(Self { directory: directory.to_owned(), names })
    }

    /// Removes what has come since into a directory that had no store.
    fn restore(self) -> Result<(), ActorError> {
        let Self { directory, names } = self;
        let restored = match names {
            None => remove_directory(&directory),
            Some(names)
                if names.contains(&OsString::from("store.sqlite")) && names.contains(&OsString::from("key")) =>
            {
                Ok(())
            }
            Some(names) => remove_all_but(&directory, &names),
        };
        restored.map_err(|source| ActorError::Io { path: directory, source })
    }
}

fn remove_all_but(directory: &Path, names: &HashSet<OsString>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !names.contains(&entry.file_name()) {
            fs::remove_file(entry.path())?;
        }
    }
    sync_directory(directory)
}
