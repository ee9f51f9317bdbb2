//! Looking a repository through, and building its tree anew out of its records.
//!
//! [`Actors::audit`] holds everything that a store says against everything else: the commit and its signature, each block
//! and its CID, the tree and the tables of records and blocks, blobs and their files. It has the sequence take what waits for
//! it, as any write does, changes nothing else, and keeps no writer waiting but for its first moment. [`Actors::rebuild`] is
//! the way back from what it finds: the table of records is believed, the tree is made of it, signed, and told by a `#sync`.
//! A store that is older than what was told (`behind`) is rebuilt only if the operator gives up what it lacks.
//!
//! Memory of an audit does not grow with the repository; a rebuilding holds its tree.

use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use shared::cid::Cid;
use shared::crypto::PublicKey;
use shared::firehose::{Body, Event, Sync};
use shared::repo::commit::Commit;
use shared::repo::mst::{Step, Tree, Walk};
use shared::repo::{ApplyError, Blockstore as _, Head};
use shared::syntax::{Did, Tid};

use super::blobs::files::{Placed, release};
use super::commit::{add_pending, unlink};
use super::recover::{drop_pending, rev_above};
use super::store::{self, Blocks, Store};
use super::{Actors, WriteError};
use crate::db::{DbError, blocking};
use crate::sequencer::{Batch, NewHead, Told};

/// How many findings are spelt out; the others are counted.
const SPELT_OUT: usize = 50;

/// What an audit came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    /// How many records the tree holds.
    pub records: u64,
    /// How many blocks the store holds.
    pub blocks: u64,
    /// How many blobs records refer to that are not here, as after a migration that has not brought them yet.
    pub missing_blobs: u64,
    /// What is wrong, in words; the first of them.
    pub findings: Vec<String>,
    /// How many more there are.
    pub more: u64,
}

impl Audit {
    fn find(&mut self, finding: String) {
        if self.findings.len() < SPELT_OUT {
            self.findings.push(finding);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

/// What a rebuilding came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// Where the repository stands.
    pub head: Head,
    /// How many records it holds.
    pub records: u64,
    /// The records that were dropped, because their blocks are missing or damaged.
    pub dropped: Vec<String>,
}

/// Why a repository was not rebuilt. Nothing is changed then, but for what [`WriteError::Sequence`] says.
#[derive(Debug, thiserror::Error)]
pub enum RebuildError {
    /// Records whose blocks are missing or damaged: they would be lost.
    #[error("{} records have no sound block and would be lost, the first at {:?}", .0.len(), .0.first())]
    Lost(Vec<String>),
    /// The repository cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<DbError> for RebuildError {
    fn from(error: DbError) -> Self {
        Self::Write(error.into())
    }
}

impl From<rusqlite::Error> for RebuildError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Write(error.into())
    }
}

impl Actors {
    /// Looks an account's repository through. Of one that is `active` the commit has to be the account's own.
    ///
    /// # Errors
    /// When there is no store, or it cannot be read; what it says wrongly is a finding.
    pub async fn audit(&self, did: &Did, active: bool) -> Result<Audit, WriteError> {
        let store = self.store(did).await?;
        let mut writing = store.lock().await;
        let settled = if active { store.settle(&mut writing).await } else { store.refuse_if_older(&mut writing).await };
        let behind = match settled {
            Err(error @ WriteError::Behind { .. }) => Some(error.to_string()),
            settled => settled.map(|()| None)?,
        };
        let of = Arc::clone(&store);
        let mut audit = blocking(move || -> Result<_, WriteError> {
            of.db()?.read_blocking(|connection| {
                // The snapshot that all of it is read from. From here on others may write.
                let snapshot = connection.unchecked_transaction().map_err(DbError::from)?;
                store::read_root(&snapshot)?;
                drop(writing);
                let mut audit = Audit::default();
                behind.into_iter().for_each(|finding| audit.find(finding));
                look_through(&snapshot, of.did(), &of.key()?.public_key(), active, &mut audit)?;
                Ok::<_, WriteError>(audit)
            })
        })
        .await?;
        store.look_for_files(&mut audit).await?;
        Ok(audit)
    }

    /// Builds the tree of an account's repository anew, out of the table of records, and signs it. Of an active one it is
    /// told; `is_active` is asked under the lock. Records without a sound block are dropped if `may_drop`, and so is
    /// what an older store lacks of what was told.
    ///
    /// # Errors
    /// A [`RebuildError`].
    pub async fn rebuild(
        &self,
        did: &Did,
        may_drop: bool,
        is_active: impl FnOnce() -> Result<bool, DbError> + Send + 'static,
    ) -> Result<Rebuilt, RebuildError> {
        let store = self.store(did).await.map_err(WriteError::from)?;
        // The next start looks at it if this process dies.
        self.sequencer().mark_dirty(did.clone()).await.map_err(WriteError::from)?;
        let (actors, sequencer, clock_id) = (self.clone(), self.sequencer().clone(), self.inner.clock_id);
        let task = tokio::spawn(async move {
            let mut writing = store.lock().await;
            let (of, told) = (Arc::clone(&store), sequencer.clone());
            let (rebuilt, ticket, writing) = blocking(move || -> Result<_, RebuildError> {
                let active = is_active()?;
                let told = told.told_blocking(of.did())?;
                writing.head = None;
                let db = of.db().map_err(WriteError::from)?;
                let (rebuilt, released, sync) =
                    db.write_blocking(|transaction| rebuild(transaction, &of, may_drop, active, told, clock_id))?;
                writing.head = Some(rebuilt.head.clone());
                // What an earlier commit left untold is overtaken.
                let ticket = sync.map(|sync| {
                    let head = Some(NewHead { commit: rebuilt.head.commit.clone(), rev: rebuilt.head.rev });
                    let did = of.did().clone();
                    of.hand_over(
                        Batch { did, events: vec![sync], head, repair: true, drained: None, released },
                        rebuilt.head.rev,
                    )
                });
                Ok((rebuilt, ticket, writing))
            })
            .await?;
            store.untidy().note(store.did());
            drop(writing);
            match ticket {
                Some(ticket) => store.sequenced_by(ticket).await.map_err(WriteError::from)?,
                None => {
                    let head = NewHead { commit: rebuilt.head.commit.clone(), rev: rebuilt.head.rev };
                    sequencer.tell_root(store.did().clone(), head);
                }
            }
            actors.tidy(store, None, Placed::default()).await;
            Ok(rebuilt)
        });
        task.await.unwrap_or_else(|_| Err(DbError::Abandoned.into()))
    }
}

impl Store {
    /// Every permanent blob has to have its file.
    async fn look_for_files(self: &Arc<Self>, audit: &mut Audit) -> Result<(), WriteError> {
        let mut after = String::new();
        loop {
            let (store, from) = (Arc::clone(self), after.clone());
            let page = blocking(move || store.db()?.read_blocking(|c| permanent_blobs(c, &from))).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after.clone_from(last);
            for cid in page.iter().filter_map(|cid| Cid::parse(cid).ok()) {
                if self.blobs().size(self.did(), &cid).await?.is_none() {
                    audit.find(format!("the file of blob {cid} is missing"));
                }
            }
        }
    }
}

/// Holds commit, tree and tables against each other.
fn look_through(
    connection: &Connection,
    did: &Did,
    key: &PublicKey,
    active: bool,
    audit: &mut Audit,
) -> Result<(), WriteError> {
    let seen = Seen::new()?;
    let Some((root, rev)) = store::read_root(connection)? else {
        audit.find("the repository has no root".to_owned());
        return Ok(());
    };
    seen.note(&root)?;
    match store::read_block(connection, &root)?.as_deref().map(Commit::from_block) {
        None => audit.find(format!("the commit {root} is missing")),
        Some(Err(error)) => audit.find(format!("the commit {root} is damaged: {error}")),
        Some(Ok(commit)) => {
            if commit.did != *did {
                audit.find(format!("the commit {root} is of {}", commit.did));
            }
            if active && commit.rev != rev {
                audit.find(format!("the commit {root} is at {}, its row at {rev}", commit.rev));
            }
            if active && !commit.is_signed_by(key) {
                audit.find(format!("the commit {root} is not signed by the account's key"));
            }
            walk(connection, did, &commit.data, &seen, audit)?;
        }
    }
    rows_without_leaves(connection, &seen, audit)?;
    blocks(connection, &seen, audit)?;
    audit.missing_blobs = missing_blobs(connection)?;
    Ok(())
}

/// How many blobs records refer to that are not here.
pub(super) fn missing_blobs(connection: &Connection) -> Result<u64, DbError> {
    let missing = r#"SELECT count(DISTINCT "blobCid") FROM "record_blob"
        WHERE NOT EXISTS (SELECT 1 FROM "blob" WHERE "cid" = "blobCid")"#;
    let missing: i64 = connection.query_row(missing, [], |row| row.get(0))?;
    Ok(u64::try_from(missing).unwrap_or_default())
}

/// Walks the tree; each of its leaves has to be a row, and its block sound.
fn walk(connection: &Connection, did: &Did, data: &Cid, seen: &Seen, audit: &mut Audit) -> Result<(), WriteError> {
    let blocks = Blocks(connection);
    let mut row = connection.prepare(r#"SELECT "cid" FROM "record" WHERE "uri" = ?1"#)?;
    for step in Walk::new(&blocks, data.clone()) {
        match step {
            Err(error) => audit.find(format!("the tree: {error}")),
            Ok(Step::Node(block)) => {
                seen.note(&block.cid)?;
                if block.cid.matches(&block.bytes) != Some(true) {
                    audit.find(format!("the node {} is damaged", block.cid));
                }
            }
            Ok(Step::Leaf { key, value }) => {
                audit.records = audit.records.saturating_add(1);
                seen.note(&value)?;
                seen.leaf(&key)?;
                let known = row.query_row([format!("at://{did}/{key}")], |row| row.get::<_, String>(0)).optional()?;
                match known {
                    None => audit.find(format!("{key} is in the tree and not in the table of records")),
                    Some(known) if known != value.to_string() => {
                        audit.find(format!("{key} is {value} in the tree and {known} in the table of records"));
                    }
                    Some(_) => {}
                }
                match blocks.get(&value) {
                    Err(error) => audit.find(format!("the block of {key} cannot be read: {error}")),
                    Ok(None) => audit.find(format!("the block {value} of {key} is missing")),
                    Ok(Some(bytes)) if value.matches(&bytes) != Some(true) => {
                        audit.find(format!("the block {value} of {key} is damaged"));
                    }
                    Ok(Some(_)) => {}
                }
            }
        }
    }
    Ok(())
}

fn rows_without_leaves(connection: &Connection, seen: &Seen, audit: &mut Audit) -> Result<(), WriteError> {
    let mut rows = connection.prepare(r#"SELECT "collection" || '/' || "rkey" FROM "record""#)?;
    for key in rows.query_map([], |row| row.get::<_, String>(0))? {
        let key = key?;
        if !seen.has_leaf(&key)? {
            audit.find(format!("{key} is in the table of records and not in the tree"));
        }
    }
    Ok(())
}

fn blocks(connection: &Connection, seen: &Seen, audit: &mut Audit) -> Result<(), WriteError> {
    let mut rows = connection.prepare(r#"SELECT "cid" FROM "repo_block""#)?;
    let mut left_over = 0_u64;
    for cid in rows.query_map([], |row| row.get::<_, String>(0))? {
        audit.blocks = audit.blocks.saturating_add(1);
        left_over = left_over.saturating_add(u64::from(!seen.has(&cid?)?));
    }
    if left_over > 0 {
        audit.find(format!("{left_over} blocks belong to nothing"));
    }
    Ok(())
}

fn permanent_blobs(connection: &Connection, after: &str) -> Result<Vec<String>, WriteError> {
    let mut rows = connection.prepare(
        r#"SELECT "cid" FROM "blob" WHERE "tempKey" IS NULL AND "takedownRef" IS NULL AND "cid" > ?1
           ORDER BY "cid" LIMIT 500"#,
    )?;
    Ok(rows.query_map([after], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// What a walk came by: a database without a name, which SQLite keeps on the disk when it grows, and deletes.
struct Seen(Connection);

impl Seen {
    fn new() -> Result<Self, WriteError> {
        let connection = Connection::open("")?;
        connection.execute_batch(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; CREATE TABLE block (cid TEXT PRIMARY KEY) WITHOUT ROWID;
             CREATE TABLE leaf (key TEXT PRIMARY KEY) WITHOUT ROWID; BEGIN;",
        )?;
        Ok(Self(connection))
    }

    fn note(&self, cid: &Cid) -> Result<(), WriteError> {
        let mut insert = self.0.prepare_cached("INSERT OR IGNORE INTO block (cid) VALUES (?1)")?;
        insert.execute([cid.to_string()])?;
        Ok(())
    }

    fn leaf(&self, key: &str) -> Result<(), WriteError> {
        self.0.prepare_cached("INSERT OR IGNORE INTO leaf (key) VALUES (?1)")?.execute([key])?;
        Ok(())
    }

    fn has(&self, cid: &str) -> Result<bool, WriteError> {
        Ok(self.0.prepare_cached("SELECT 1 FROM block WHERE cid = ?1")?.exists([cid])?)
    }

    fn has_leaf(&self, key: &str) -> Result<bool, WriteError> {
        Ok(self.0.prepare_cached("SELECT 1 FROM leaf WHERE key = ?1")?.exists([key])?)
    }
}

/// The transaction of [`Actors::rebuild`].
fn rebuild(
    transaction: &Transaction<'_>,
    store: &Store,
    may_drop: bool,
    active: bool,
    told: Told,
    clock_id: u16,
) -> Result<(Rebuilt, Vec<Cid>, Option<Body>), RebuildError> {
    let own = last_rev(transaction)?;
    if let Some((at, told)) = own.and_then(|own| Some((own, told.beyond(own)?)))
        && !may_drop
    {
        return Err(WriteError::Behind { at, told }.into());
    }
    let dropped = without_block(transaction)?;
    if !dropped.is_empty() && !may_drop {
        return Err(RebuildError::Lost(dropped));
    }
    let mut unlinked = Vec::new();
    for uri in &dropped {
        transaction.execute(r#"DELETE FROM "record" WHERE "uri" = ?1"#, [uri])?;
        unlinked.extend(unlink(transaction, uri)?);
    }
    let released = release(transaction, &unlinked)?;
    let blocks = Blocks(transaction);
    let mut tree = Tree::empty(&blocks);
    let mut records = 0;
    {
        let mut rows =
            transaction.prepare(r#"SELECT "collection" || '/' || "rkey", "cid" FROM "record" ORDER BY 1"#)?;
        let rows = rows.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        for row in rows {
            let (key, cid) = row?;
            let Ok(cid) = Cid::parse(&cid) else { continue };
            tree.set(&key, cid).map_err(ApplyError::from).map_err(WriteError::from)?;
            records += 1;
        }
    }
    let written = tree.write().map_err(ApplyError::from).map_err(WriteError::from)?;
    let own = own.max(told.last).unwrap_or(Tid::from_parts(0, clock_id));
    let rev = rev_above(own, own, clock_id)?;
    let key = store.key().map_err(WriteError::from)?;
    let commit = Commit::sign(store.did().clone(), rev, written.root.clone(), key).to_block();

    // A damaged block keeps its name: what is written takes its place.
    let mut insert = transaction.prepare(
        r#"INSERT INTO "repo_block" ("cid", "repoRev", "size", "content") VALUES (?1, ?2, ?3, ?4)
           ON CONFLICT ("cid") DO UPDATE SET "size" = excluded."size", "content" = excluded."content""#,
    )?;
    let mut kept = HashSet::new();
    for block in written.new.iter().chain([&commit]) {
        let size = i64::try_from(block.bytes.len()).unwrap_or(i64::MAX);
        insert.execute(params![block.cid.to_string(), rev.as_str(), size, &block.bytes[..]])?;
        kept.insert(block.cid.to_string());
    }
    let mut unneeded = transaction.prepare(
        r#"SELECT "cid" FROM "repo_block" WHERE NOT EXISTS (SELECT 1 FROM "record" WHERE "record"."cid" = "repo_block"."cid")"#,
    )?;
    let unneeded = unneeded.query_map([], |row| row.get::<_, String>(0))?.collect::<Result<Vec<_>, _>>()?;
    for cid in unneeded.iter().filter(|cid| !kept.contains(*cid)) {
        transaction.execute(r#"DELETE FROM "repo_block" WHERE "cid" = ?1"#, [cid])?;
    }
    let head = Head { commit: commit.cid.clone(), rev, data: written.root };
    store::write_root(transaction, store.did(), &head)?;
    drop_pending(transaction)?;
    let rebuilt = Rebuilt { head, records, dropped };
    if !active {
        return Ok((rebuilt, released, None));
    }
    let event = Event::Sync(Sync::at(store.did().clone(), rev, &commit)).encode().map_err(WriteError::from)?;
    add_pending(transaction, rev, &event)?;
    Ok((rebuilt, released, Some(event)))
}

/// The revision of the last commit, also when the row that says so is lost.
fn last_rev(connection: &Connection) -> Result<Option<Tid>, WriteError> {
    if let Some((_, rev)) = store::read_root(connection)? {
        return Ok(Some(rev));
    }
    let rev = connection.query_row(r#"SELECT max("repoRev") FROM "repo_block""#, [], |row| row.get(0));
    Ok(rev.map(|rev: Option<String>| rev.and_then(|rev| Tid::parse(&rev).ok()))?)
}

/// The records whose blocks are missing or damaged.
fn without_block(connection: &Connection) -> Result<Vec<String>, RebuildError> {
    let mut rows = connection.prepare(
        r#"SELECT "uri", "record"."cid", "content" FROM "record"
           LEFT JOIN "repo_block" ON "repo_block"."cid" = "record"."cid" ORDER BY "uri""#,
    )?;
    let mut rows = rows.query([])?;
    let mut without = Vec::new();
    while let Some(row) = rows.next()? {
        let (cid, content) = (row.get::<_, String>(1)?, row.get_ref(2)?);
        let sound = match (Cid::parse(&cid), content.as_blob_or_null()) {
            (Ok(cid), Ok(Some(content))) => cid.matches(content) == Some(true),
            _ => false,
        };
        if !sound {
            without.push(row.get(0)?);
        }
    }
    Ok(without)
}
