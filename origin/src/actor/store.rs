//! One account's store: its database, its key, its lock, and how far its commits have come in the sequence.
//!
//! # How a commit reaches the firehose, whatever happens
//!
//! A commit's event is written into `headwater_pending` by the very transaction that makes the commit, and taken out by
//! a later one once it is sequenced. [`Progress`] says how far this process has come: what it has handed over, and
//! whether some of it was refused. A store that is opened knows neither, and finds out by comparing its pending rows
//! with the sequencer's head for the account ([`Store::make_ready`]). There it shows, too, when a store is older than what
//! was told of it ([`super::behind`]).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::firehose::{Body, Commit, Event, Kind, Seq, Sync};
use shared::repo::commit::Commit as Signed;
use shared::repo::{Block, Blockstore, BlockstoreError, CommitDiff, Head, Repo};
use shared::syntax::{Did, Tid};
use tokio::sync::OwnedMutexGuard;

use super::behind::refuse_older;
use super::blobs::{files, tidy::Untidy};
use super::line::Line;
use super::{ActorError, WriteError};
use crate::blobstore::Blobstore;
use crate::db::{Db, DbError, Options, Schema, Step, blocking};
use crate::fault;
use crate::files::{make_directory, remove_directory, sync_directory};
use crate::sequencer::{Batch, NewHead, OnDone, SequenceError, Sequencer, Ticket};
use crate::time::{Pauses, now_datetime};

pub(super) const SCHEMA: Schema = Schema {
    steps: &[Step { name: "001", sql: include_str!("../../migrations/actor/001.sql") }],
    own: include_str!("../../migrations/actor/own.sql"),
};

/// One account's store.
#[derive(Debug)]
pub struct Store {
    did: Did,
    directory: PathBuf,
    sequencer: Sequencer,
    blobs: Blobstore,
    opened: OnceLock<Opened>,
    opening: Mutex<()>,
    writing: Arc<tokio::sync::Mutex<Writing>>,
    progress: Arc<Mutex<Progress>>,
    importing: Arc<tokio::sync::Mutex<()>>,
    moving: Arc<tokio::sync::Mutex<()>>,
    untidy: Arc<Untidy>,
    /// Writes that wait for the lock.
    pub(super) line: Mutex<Line>,
    /// Whether somebody is trying again to have its events sequenced.
    retrying: AtomicBool,
}

#[derive(Debug)]
struct Opened {
    db: Db,
    key: SigningKey,
}

/// What only the holder of the lock knows and changes.
#[derive(Debug, Default)]
pub(super) struct Writing {
    /// Where the repository stands, once it was read. Nobody else writes, so it stays true.
    pub(super) head: Option<Head>,
    /// Nodes of the last commit. The next one, most often of a later key, begins with them.
    pub(super) nodes: HashMap<Cid, Bytes>,
    /// Whether what an earlier process left is sequenced, and the account is on the dirty list.
    pub(super) ready: bool,
    /// Whether it was found to be older than what was told of it, and the log says so.
    pub(super) behind: bool,
}

/// How far the commits of this store have come in this process.
#[derive(Debug, Default)]
struct Progress {
    /// The last commit that was handed to the sequencer.
    handed: Option<Tid>,
    /// The last commit that is sequenced.
    sequenced: Option<Tid>,
    /// Whether one that was handed over was refused.
    failed: bool,
}

/// The right to move an account's blobs, for as long as this lives.
#[derive(Debug)]
pub(super) struct BlobsHeld {
    _nobody_moves: OwnedMutexGuard<()>,
}

/// A new store's first commit.
#[derive(Debug)]
pub struct Created {
    /// Where the repository stands.
    pub head: Head,
    /// The event of its first commit, to be sequenced with the account's creation.
    pub commit: Body,
    /// The event that says where it stands.
    pub sync: Body,
}

impl Store {
    pub(super) fn new(
        did: Did,
        directory: PathBuf,
        sequencer: Sequencer,
        blobs: Blobstore,
        untidy: Arc<Untidy>,
    ) -> Self {
        Self {
            did,
            directory,
            sequencer,
            blobs,
            opened: OnceLock::new(),
            opening: Mutex::default(),
            writing: Arc::default(),
            progress: Arc::default(),
            importing: Arc::default(),
            moving: Arc::default(),
            untidy,
            line: Mutex::default(),
            retrying: AtomicBool::new(false),
        }
    }

    /// Whose store it is.
    #[must_use]
    pub fn did(&self) -> &Did {
        &self.did
    }

    /// The account's signing key.
    ///
    /// # Errors
    /// `NotFound` for a store that was not opened.
    pub fn key(&self) -> Result<&SigningKey, ActorError> {
        Ok(&self.opened()?.key)
    }

    /// The database.
    ///
    /// # Errors
    /// `NotFound` for a store that was not opened.
    pub fn db(&self) -> Result<&Db, ActorError> {
        Ok(&self.opened()?.db)
    }

    /// The sequencer that its commits go to.
    pub(super) fn sequencer(&self) -> &Sequencer {
        &self.sequencer
    }

    /// The files of its blobs.
    pub(super) fn blobs(&self) -> &Blobstore {
        &self.blobs
    }

    fn opened(&self) -> Result<&Opened, ActorError> {
        self.opened.get().ok_or_else(|| ActorError::NotFound(self.did.clone()))
    }

    pub(super) fn is_open(&self) -> bool {
        self.opened.get().is_some()
    }

    /// Opens what is on the disk. Blocks.
    pub(super) fn open(&self, options: Options) -> Result<(), ActorError> {
        let _one_at_a_time = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_open() {
            return Ok(());
        }
        let key = self.read_key()?.ok_or_else(|| ActorError::NotFound(self.did.clone()))?;
        let db = Db::open(&self.database(), options, &SCHEMA)?;
        self.opened.get_or_init(|| Opened { db, key });
        Ok(())
    }

    /// The key on the disk; `None` if there is none. Blocks.
    pub(super) fn read_key(&self) -> Result<Option<SigningKey>, ActorError> {
        let path = self.directory.join("key");
        match fs::read(&path) {
            Ok(bytes) => SigningKey::from_bytes(Curve::K256, &bytes)
                .map(Some)
                .map_err(|source| ActorError::Key { did: self.did.clone(), source }),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ActorError::Io { path, source }),
        }
    }

    /// Puts a key where there is none. Blocks.
    pub(super) fn keep_key(&self, key: &SigningKey) -> Result<(), ActorError> {
        let (part, path) = (self.directory.join("key.part"), self.directory.join("key"));
        // Whole or not at all.
        let kept = write_key(File::options().create(true).truncate(true), &part, key)
            .and_then(|()| fs::rename(&part, &path))
            .and_then(|()| self.sync_directories());
        kept.map_err(|source| {
            let _gone_if_renamed = fs::remove_file(part);
            ActorError::Io { path, source }
        })
    }

    /// Has the disk know of the store, its shard, the stores and what they stand in; a process that died may have made each
    /// of them.
    fn sync_directories(&self) -> io::Result<()> {
        self.directory.ancestors().take(4).try_for_each(sync_directory)
    }

    /// Makes the store on the disk. Blocks.
    pub(super) fn create(&self, key: &SigningKey, rev: Tid, options: Options) -> Result<Created, ActorError> {
        let _one_at_a_time = self.opening.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_open() {
            return Err(ActorError::Exists(self.did.clone()));
        }
        let made = self.create_files(key, rev, options);
        if made.is_err() {
            // What cannot be deleted is replaced by the next creation.
            let _left_behind = fs::remove_dir_all(&self.directory);
        }
        made
    }

    fn create_files(&self, key: &SigningKey, rev: Tid, options: Options) -> Result<Created, ActorError> {
        fn io(path: &Path) -> impl FnOnce(io::Error) -> ActorError {
            let path = path.to_owned();
            move |source| ActorError::Io { path, source }
        }
        let path = self.directory.join("key");
        // A DID may be registered for it already, so that it must not be away even for a moment.
        if fs::read(&path).is_ok_and(|there| there == key.to_bytes()) {
            remove_all_but(&self.directory, &path).map_err(io(&self.directory))?;
        } else {
            remove_directory(&self.directory).map_err(io(&self.directory))?;
            make_directory(&self.directory).map_err(io(&self.directory))?;
            write_key(File::options().create_new(true), &path, key).map_err(io(&path))?;
        }
        fault::point("store.key-written");

        let db = Db::open(&self.database(), options, &SCHEMA)?;
        let created = db.write_blocking(|transaction| first_commit(transaction, &self.did, key, rev));
        let created = created.map_err(|error| match error {
            WriteError::Actor(error) => error,
            // The first commit of an empty tree breaks no rule and needs no block.
            _ => ActorError::Db(DbError::Abandoned),
        })?;
        self.sync_directories().map_err(io(&self.directory))?;
        self.opened.get_or_init(|| Opened { db, key: key.clone() });
        Ok(created)
    }

    /// Where its database is.
    pub(super) fn database(&self) -> PathBuf {
        self.directory.join("store.sqlite")
    }

    /// Where its files are.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The right to import; `None` while somebody else has it. Writes go on meanwhile.
    pub(super) fn try_import(&self) -> Option<OwnedMutexGuard<()>> {
        Arc::clone(&self.importing).try_lock_owned().ok()
    }

    /// Waits for the store's lock: nobody else writes while the guard lives.
    pub(super) async fn lock(&self) -> OwnedMutexGuard<Writing> {
        Arc::clone(&self.writing).lock_owned().await
    }

    /// Waits for the right to move the account's blobs: nobody else puts one in its place, takes one away, or writes a
    /// row that says that one is there. Taken before [`Store::lock`], never while that is held: moving may take as long as
    /// another machine does.
    pub(super) async fn hold_blobs(&self) -> BlobsHeld {
        BlobsHeld { _nobody_moves: Arc::clone(&self.moving).lock_owned().await }
    }

    /// The accounts of which files are left to be seen to. While this one is among them it stays on the dirty list.
    pub(super) fn untidy(&self) -> &Untidy {
        &self.untidy
    }

    /// Sees to it that everything committed so far is sequenced or stands in the queue, and that the account is on the
    /// dirty list. Costs something before the first commit of this process, and after a failure.
    pub(super) async fn make_ready(self: &Arc<Self>, writing: &mut Writing) -> Result<(), WriteError> {
        let failed = self.progress().failed;
        if writing.ready && !failed {
            return Ok(());
        }
        // One that is behind is on it since that was found.
        if failed || !writing.behind {
            self.sequencer.mark_dirty(self.did.clone()).await?;
        }
        let store = Arc::clone(self);
        let recovered = blocking(move || store.recover(failed)).await;
        if let Some(ticket) = self.say_if_behind(writing, recovered)? {
            ticket.await.map_err(|_| SequenceError::Stopped)??;
        }
        self.progress().failed = false;
        writing.ready = true;
        Ok(())
    }

    /// Sees to it that everything committed so far is sequenced: nothing of it stands in the queue any more.
    pub(super) async fn settle(self: &Arc<Self>, writing: &mut Writing) -> Result<(), WriteError> {
        loop {
            self.make_ready(writing).await?;
            // Requests are answered in order, so that what was handed over before this one is decided with it.
            self.sequencer.mark_dirty(self.did.clone()).await?;
            if !self.progress().failed {
                return Ok(());
            }
        }
    }

    /// Waits for a commit's event to be sequenced. One that is refused is tried again in the background, until it is: also
    /// when nobody writes to the account any more.
    pub(super) async fn sequenced_by(self: &Arc<Self>, ticket: Ticket) -> Result<(), SequenceError> {
        self.see_to(ticket.await.unwrap_or(Err(SequenceError::Stopped)))
    }

    /// The same, once it is known what became of the event.
    pub(super) fn see_to(self: &Arc<Self>, sequenced: Result<Seq, SequenceError>) -> Result<(), SequenceError> {
        if sequenced.is_err() && !self.retrying.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).retry());
        }
        sequenced.map(drop)
    }

    async fn retry(self: Arc<Self>) {
        let mut pauses = Pauses::default();
        loop {
            tokio::time::sleep(pauses.next()).await;
            let mut writing = self.lock().await;
            // Whatever was handed over is decided by then, so that a refusal that is not seen here cannot come any more.
            let Err(error) = self.settle(&mut writing).await else {
                return self.retrying.store(false, Ordering::Release);
            };
            tracing::warn!(did = %self.did, error = &error as &dyn std::error::Error, "a commit is not told yet");
        }
    }

    /// Hands over the events that were committed and are not sequenced. `None` when there are none. Blocks.
    ///
    /// Their chain must end at the store's present root. If it does not, another server has written since, which told
    /// what there is to tell: instead of them a `#sync` says where the repository stands.
    fn recover(&self, repair: bool) -> Result<Option<Ticket>, WriteError> {
        let told = self.sequencer.told_blocking(&self.did)?;
        let (pending, root, released) = self.db()?.read_blocking(|connection| -> Result<_, WriteError> {
            let root = read_root(connection)?;
            refuse_older(root.as_ref(), &told)?;
            if files::are_left(connection)? {
                self.untidy.note(&self.did);
            }
            // Which of them these events made private is not known any more.
            let released = files::withdrawn(connection)?;
            Ok((pending_after(connection, told.by_us)?, root, released))
        })?;
        let (Some((last, _)), Some((commit, rev))) = (pending.last(), root) else {
            return Ok(None);
        };
        let events = if *last == rev {
            pending.into_iter().map(|(_, body)| body).collect()
        } else {
            let bytes = self.db()?.read_blocking(|connection| read_block(connection, &commit))?;
            let bytes = bytes.ok_or_else(|| WriteError::Damaged(commit.clone()))?;
            vec![Event::Sync(Sync::at(self.did.clone(), rev, &Block { cid: commit.clone(), bytes })).encode()?]
        };
        let head = Some(NewHead { commit, rev });
        let batch = Batch { did: self.did.clone(), events, head, repair, drained: None, released };
        Ok(Some(self.hand_over(batch, rev)))
    }

    /// Gives the events of a commit their place in the sequencer's queue.
    pub(super) fn hand_over(&self, batch: Batch, rev: Tid) -> Ticket {
        self.hand_over_and(batch, rev, drop)
    }

    /// The same, and has `then` told what became of them, before the ticket is answered.
    pub(super) fn hand_over_and(
        &self,
        batch: Batch,
        rev: Tid,
        then: impl FnOnce(Result<Seq, SequenceError>) + Send + 'static,
    ) -> Ticket {
        self.progress().handed = Some(rev);
        let progress = Arc::clone(&self.progress);
        let on_done: OnDone = Box::new(move |result| {
            {
                let mut progress = progress.lock().unwrap_or_else(PoisonError::into_inner);
                match result {
                    Ok(_) => progress.sequenced = progress.sequenced.max(Some(rev)),
                    Err(_) => progress.failed = true,
                }
            }
            then(result.clone());
        });
        self.sequencer.append(batch, Some(on_done))
    }

    /// The last commit that is known to be sequenced.
    pub(super) fn sequenced(&self) -> Option<Tid> {
        self.progress().sequenced
    }

    /// Takes the account off the dirty list if everything it committed is sequenced, nothing is left to do with its
    /// files, and nobody is writing.
    pub(super) fn retire(&self) {
        let Ok(mut writing) = self.writing.try_lock() else { return };
        let progress = self.progress();
        let told = !progress.failed && progress.handed == progress.sequenced;
        if writing.ready && told && !self.untidy.has(&self.did) {
            writing.ready = false;
            self.sequencer.mark_clean(self.did.clone());
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn write_key(options: &mut fs::OpenOptions, path: &Path, key: &SigningKey) -> io::Result<()> {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    let mut file = options.write(true).open(path)?;
    file.write_all(&key.to_bytes())?;
    file.sync_all()
}

fn remove_all_but(directory: &Path, kept: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path != kept {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn first_commit(transaction: &Transaction<'_>, did: &Did, key: &SigningKey, rev: Tid) -> Result<Created, WriteError> {
    let repo = Repo { did, head: None, blocks: &Blocks(transaction) };
    let diff = repo.apply(Vec::new(), key, rev)?.ok_or(WriteError::NothingToDo)?;
    write_blocks(transaction, &diff)?;
    write_root(transaction, did, &diff.head)?;
    Ok(Created {
        commit: Event::Commit(Commit::of(did.clone(), &diff)).encode()?,
        sync: Event::Sync(Sync::at(did.clone(), diff.head.rev, &diff.commit)).encode()?,
        head: diff.head,
    })
}

/// The blocks of a store, read on a connection.
pub(super) struct Blocks<'c>(pub(super) &'c Connection);

impl Blockstore for Blocks<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockstoreError> {
        Ok(read_block(self.0, cid)?)
    }
}

/// The blocks of a store, the most recent of which are in memory.
pub(super) struct RecentBlocks<'c> {
    pub(super) recent: &'c HashMap<Cid, Bytes>,
    pub(super) stored: Blocks<'c>,
}

impl Blockstore for RecentBlocks<'_> {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockstoreError> {
        match self.recent.get(cid) {
            Some(bytes) => Ok(Some(bytes.clone())),
            None => self.stored.get(cid),
        }
    }
}

pub(super) fn read_block(connection: &Connection, cid: &Cid) -> Result<Option<Bytes>, DbError> {
    let mut statement = connection.prepare_cached(r#"SELECT "content" FROM "repo_block" WHERE "cid" = ?1"#)?;
    let content = statement.query_row([cid.to_string()], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    Ok(content.map(Bytes::from))
}

/// The latest commit and its revision.
pub(crate) fn read_root(connection: &Connection) -> Result<Option<(Cid, Tid)>, DbError> {
    let mut statement = connection.prepare_cached(r#"SELECT "cid", "rev" FROM "repo_root" LIMIT 1"#)?;
    let row = statement.query_row([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))).optional()?;
    Ok(row.and_then(|(cid, rev)| Some((Cid::parse(&cid).ok()?, Tid::parse(&rev).ok()?))))
}

/// Where the repository stands: root and, out of its block, the tree.
pub(super) fn read_head(connection: &Connection) -> Result<Option<Head>, WriteError> {
    let Some((commit, rev)) = read_root(connection)? else { return Ok(None) };
    let block = read_block(connection, &commit)?.ok_or_else(|| WriteError::Damaged(commit.clone()))?;
    let signed = Signed::from_block(&block).map_err(|_| WriteError::Damaged(commit.clone()))?;
    Ok(Some(Head { commit, rev, data: signed.data }))
}

pub(super) fn write_root(transaction: &Transaction<'_>, did: &Did, head: &Head) -> Result<(), DbError> {
    let mut statement = transaction.prepare_cached(
        r#"INSERT INTO "repo_root" ("did", "cid", "rev", "indexedAt") VALUES (?1, ?2, ?3, ?4)
           ON CONFLICT ("did") DO UPDATE
           SET "cid" = excluded."cid", "rev" = excluded."rev", "indexedAt" = excluded."indexedAt""#,
    )?;
    statement.execute(params![did.as_str(), head.commit.to_string(), head.rev.as_str(), now_datetime().as_str()])?;
    Ok(())
}

/// Stores what a commit adds. A block that is there already keeps the revision that it came with.
pub(super) fn write_blocks(transaction: &Transaction<'_>, diff: &CommitDiff) -> Result<(), DbError> {
    let mut statement = transaction.prepare_cached(
        r#"INSERT INTO "repo_block" ("cid", "repoRev", "size", "content") VALUES (?1, ?2, ?3, ?4)
           ON CONFLICT DO NOTHING"#,
    )?;
    for block in diff.new_blocks() {
        let size = i64::try_from(block.bytes.len()).unwrap_or(i64::MAX);
        statement.execute(params![block.cid.to_string(), diff.head.rev.as_str(), size, &block.bytes[..]])?;
    }
    Ok(())
}

/// The events above `after` that wait to be sequenced, oldest first.
fn pending_after(connection: &Connection, after: Option<Tid>) -> Result<Vec<(Tid, Body)>, DbError> {
    let mut statement = connection
        .prepare_cached(r#"SELECT "rev", "kind", "event" FROM "headwater_pending" WHERE "rev" > ?1 ORDER BY "rev""#)?;
    let after = after.as_ref().map_or("", Tid::as_str);
    let rows = statement.query_map([after], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, Vec<u8>>(2)?))
    })?;
    let mut pending = Vec::new();
    for row in rows {
        let (rev, kind, event) = row?;
        if let (Ok(rev), Some(kind)) = (Tid::parse(&rev), Kind::of_stored_name(&kind)) {
            pending.push((rev, Body::from_stored(kind, event.into())));
        }
    }
    Ok(pending)
}
