//! Files in step with rows.
//!
//! A row that says that a blob is permanent has its file, always: the file is put in its place first
//! ([`Store::place`]), then the transaction says so, then the upload ends. A row that goes leaves its CID in
//! `headwater_released`, in the same transaction, and the file goes after it ([`Store::settle_blobs`]). So a process may
//! die, or a store fail, between any two steps: what is left over is a file that no row needs, and what was begun is
//! ended at the next start.
//!
//! # Two locks
//!
//! Files may be in another machine's store, which answers when it does. So nothing is asked of it while the account's
//! lock is held, for which every write waits; what moves files holds [`Store::hold_blobs`] instead, from before it looks
//! at the rows until it is done with the files, and takes the account's lock within it for its transaction alone. Under
//! that right alone a row comes, gets another key, or becomes permanent; it may go without, by a write that drops the
//! last reference. Hence:
//!
//! - What was put in its place is there when the transaction says so: whatever would delete it has to wait. If the row
//!   has gone meanwhile, the transaction finds none, and refuses.
//! - What is deleted is not needed: its row was gone under the right to move blobs, and no row comes without that. An
//!   upload of the same bytes comes after the deletion, with a file of its own.
//! - A write without blobs never waits for the store, nor does one account for another.
//!
//! A deletion that the store carries out long after it stopped answering could still take a blob that was put there
//! again meanwhile. No order of calls excludes that; a store that keeps its own promises does not do it.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use shared::cid::Cid;
use shared::data::BlobRef;
use shared::link::PurgeScope;
use shared::syntax::Did;

use crate::actor::store::{BlobsHeld, Store};
use crate::actor::{ActorError, Actors, WriteError};
use crate::blobstore::{BlobstoreError, Key};
use crate::db::{DbError, blocking};
use crate::fault;
use crate::sequencer::feed::RETENTION;
use crate::time::{now_datetime, now_millis};

/// How many blobs are looked at together.
const PAGE: u32 = 500;
/// How long it is known that a blob was public: longer than a replica can miss it.
const WITHDRAWN_MILLIS: i64 = 2 * RETENTION.as_millis() as i64;

/// Uploads whose files are in their permanent place, and whose rows do not say so yet.
#[derive(Debug, Clone, Default)]
pub(in crate::actor) struct Placed(Vec<(Key, Cid)>);

impl Placed {
    /// Whether this blob is among them.
    pub(in crate::actor) fn has(&self, cid: &Cid) -> bool {
        self.0.iter().any(|(_, placed)| placed == cid)
    }

    pub(in crate::actor) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(in crate::actor) fn add(&mut self, Self(more): Self) {
        self.0.extend(more);
    }
}

impl Store {
    /// Puts the files of those of `blobs` that are uploads still in their permanent place. Those that the references do
    /// not fit are left out, for the transaction to refuse, and so are those that have no file. Under the right to move
    /// blobs.
    pub(in crate::actor) async fn place(self: &Arc<Self>, blobs: Vec<BlobRef>) -> Result<Placed, WriteError> {
        if blobs.is_empty() {
            return Ok(Placed::default());
        }
        let store = Arc::clone(self);
        let waiting = blocking(move || store.db()?.read_blocking(|connection| waiting(connection, &blobs))).await?;
        self.place_files(waiting).await
    }

    async fn place_files(&self, mut uploads: Vec<(Key, Cid)>) -> Result<Placed, WriteError> {
        if !uploads.is_empty() {
            let missing = self.blobs().make_permanent(self.did(), &uploads).await?;
            uploads.retain(|(_, cid)| !missing.contains(cid));
        }
        Ok(Placed(uploads))
    }

    /// Ends uploads that are permanent blobs now. That one stays costs its name in a directory, until it is swept.
    pub(in crate::actor) async fn end_uploads(&self, Placed(uploads): Placed) {
        let keys: Vec<Key> = uploads.into_iter().map(|(key, _)| key).collect();
        if !keys.is_empty()
            && let Err(error) = self.blobs().remove_temporary(self.did(), keys).await
        {
            tracing::warn!(did = %self.did(), %error, "an upload that has become permanent stays until it is swept");
        }
    }

    /// Makes permanent what records refer to and what is an upload still, and deletes the files of what no record refers
    /// to any more: what an import, or a process that died, left to do. Takes both locks.
    pub(in crate::actor) async fn settle_blobs(self: &Arc<Self>) -> Result<(), WriteError> {
        let held = self.hold_blobs().await;
        let begun = self.untidy().begin(self.did());
        let tethered = self.tether(&held).await;
        if tethered.is_err() {
            self.untidy().end(self.did(), begun, false);
        }
        tethered?;
        self.delete_released(&held).await
    }

    async fn tether(self: &Arc<Self>, _held: &BlobsHeld) -> Result<(), WriteError> {
        loop {
            let store = Arc::clone(self);
            let found = blocking(move || -> Result<_, WriteError> {
                Ok(store.db()?.read_blocking(|connection| untethered(connection, PAGE))?)
            });
            let found = found.await?;
            if found.is_empty() {
                return Ok(());
            }
            let uploads = found.iter().filter_map(|(cid, key)| Some((Key::parse(key)?, cid.clone())));
            let placed = self.place_files(uploads.collect()).await?;
            let nobody_writes = self.lock().await;
            // No commit tells that they are public from now on.
            let told = self.sequencer().feed().change(self.did(), true, None).await?;
            let (store, now_here) = (Arc::clone(self), placed.clone());
            blocking(move || {
                store.db()?.write_blocking(|transaction| -> Result<_, DbError> {
                    for (cid, _) in &found {
                        if now_here.has(cid) {
                            tether(transaction, cid)?;
                        } else {
                            // There is no file: the blob is missing, and is listed as that.
                            forget(transaction, cid)?;
                        }
                    }
                    Ok(())
                })?;
                Ok::<_, ActorError>(())
            })
            .await?;
            drop((told, nobody_writes));
            self.end_uploads(placed).await;
        }
    }

    /// Deletes the files of blobs that no record refers to any more.
    pub(in crate::actor) async fn delete_released(self: &Arc<Self>, held: &BlobsHeld) -> Result<(), WriteError> {
        let begun = self.untidy().begin(self.did());
        let deleted = self.delete_listed(held).await;
        self.untidy().end(self.did(), begun, deleted.is_ok());
        deleted
    }

    async fn delete_listed(self: &Arc<Self>, _held: &BlobsHeld) -> Result<(), WriteError> {
        loop {
            let store = Arc::clone(self);
            let (listed, unneeded) =
                blocking(move || -> Result<_, WriteError> { Ok(store.db()?.read_blocking(released)?) }).await?;
            if listed.is_empty() {
                return Ok(());
            }
            self.blobs().delete_many(self.did(), unneeded).await?;
            fault::point("release.deleted");
            let store = Arc::clone(self);
            blocking(move || -> Result<(), WriteError> {
                Ok(store.db()?.write_blocking(|transaction| strike(transaction, &listed))?)
            })
            .await?;
        }
    }
}

impl Actors {
    /// Removes uploads that no record has referred to for `age`, with their rows, and files that no row mentions; tells
    /// how many.
    ///
    /// # Errors
    /// When the blob store fails. What goes wrong with one account is logged.
    pub async fn sweep_uploads(&self, age: Duration) -> Result<usize, BlobstoreError> {
        let wanted = |did: Did, keys: Vec<Key>| async move {
            match self.still_wanted(&did, keys).await {
                Ok(wanted) => Ok::<_, BlobstoreError>(wanted),
                Err(error) => {
                    tracing::error!(%did, %error, "old uploads cannot be looked at");
                    Ok(None)
                }
            }
        };
        self.blobs().sweep(age, wanted).await
    }

    /// Which of these old uploads have to stay; `None` for all of them. The rows of the others go.
    async fn still_wanted(&self, did: &Did, keys: Vec<Key>) -> Result<Option<HashSet<Key>>, WriteError> {
        let store = match self.store(did).await {
            // The account is gone, or was never here.
            Err(ActorError::NotFound(_)) => return Ok((!self.blobs().is_shared()).then(HashSet::new)),
            store => store?,
        };
        let _held = store.hold_blobs().await;
        store.refuse_if_older(&mut *store.lock().await).await?;
        let of = Arc::clone(&store);
        let (wanted, dropped) = blocking(move || -> Result<_, WriteError> {
            Ok(of.db()?.write_blocking(|transaction| drop_unreferenced(transaction, keys))?)
        })
        .await?;
        // A write that failed may have put the file in its permanent place.
        store.blobs().delete_many(did, dropped).await?;
        Ok(Some(wanted))
    }

    /// Takes a blob down: it is not served, and cannot be referred to or uploaded again. `reference` says on whose word,
    /// and is the time if it is not given. False: the account has no such blob.
    ///
    /// # Errors
    /// When store or blob store fail; it is to be done again then.
    pub async fn take_down_blob(&self, did: &Did, cid: &Cid, reference: Option<String>) -> Result<bool, WriteError> {
        let store = self.store(did).await?;
        let _held = store.hold_blobs().await;
        let nobody_writes = store.lock().await;
        let reference = reference.unwrap_or_else(|| now_datetime().as_str().to_owned());
        let copies = PurgeScope::Blobs(vec![cid.clone()]);
        let told = self.sequencer().feed().change(did, false, Some(copies)).await?;
        // Not served from here on; then out of the way.
        let known = set_takedown(&store, cid, Some(reference)).await?;
        drop((told, nobody_writes));
        fault::point("takedown.marked");
        store.blobs().quarantine(did, cid).await?;
        Ok(known)
    }

    /// Undoes [`Actors::take_down_blob`]. False: the account has no such blob.
    ///
    /// # Errors
    /// When store or blob store fail; it is to be done again then.
    pub async fn restore_blob(&self, did: &Did, cid: &Cid) -> Result<bool, WriteError> {
        let store = self.store(did).await?;
        let _held = store.hold_blobs().await;
        store.blobs().unquarantine(did, cid).await?;
        fault::point("restore.moved");
        let _nobody_writes = store.lock().await;
        let _told = self.sequencer().feed().change(did, false, None).await?;
        set_takedown(&store, cid, None).await
    }
}

/// The uploads among `blobs` that the references fit.
fn waiting(connection: &Connection, blobs: &[BlobRef]) -> Result<Vec<(Key, Cid)>, WriteError> {
    let mut statement = connection.prepare_cached(
        r#"SELECT "tempKey" FROM "blob" WHERE "cid" = ?1 AND "mimeType" = ?2 AND "size" = ?3
           AND "tempKey" IS NOT NULL AND "takedownRef" IS NULL"#,
    )?;
    let mut waiting: Vec<(Key, Cid)> = Vec::new();
    for blob in blobs {
        let size = i64::try_from(blob.size).unwrap_or(i64::MAX);
        let row = params![blob.cid.to_string(), blob.mime_type, size];
        let key = statement.query_row(row, |row| row.get::<_, String>(0)).optional()?;
        let key = key.and_then(|key| Key::parse(&key));
        if let Some(key) = key.filter(|key| waiting.iter().all(|(known, _)| known != key)) {
            waiting.push((key, blob.cid.clone()));
        }
    }
    Ok(waiting)
}

/// Uploads that records refer to and that were never made permanent, because they came before an import did: at most
/// `limit`, each with its `tempKey`.
pub(super) fn untethered(connection: &Connection, limit: u32) -> Result<Vec<(Cid, String)>, DbError> {
    let mut statement = connection.prepare_cached(
        r#"SELECT "cid", "tempKey" FROM "blob" WHERE "tempKey" IS NOT NULL AND "takedownRef" IS NULL
           AND EXISTS (SELECT 1 FROM "record_blob" WHERE "blobCid" = "cid") LIMIT ?1"#,
    )?;
    let rows = statement.query_map([limit], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
    let mut blobs = Vec::new();
    for row in rows {
        let (cid, key) = row?;
        blobs.extend(Cid::parse(&cid).ok().map(|cid| (cid, key)));
    }
    Ok(blobs)
}

/// Whether [`Store::settle_blobs`] has something to do.
pub(in crate::actor) fn are_left(connection: &Connection) -> Result<bool, DbError> {
    let mut statement = connection.prepare_cached(r#"SELECT EXISTS (SELECT 1 FROM "headwater_released")"#)?;
    Ok(statement.query_row([], |row| row.get(0))? || !untethered(connection, 1)?.is_empty())
}

/// Says that a blob is permanent. Its file has to be in its place.
pub(in crate::actor) fn tether(transaction: &Transaction<'_>, cid: &Cid) -> Result<(), DbError> {
    transaction.prepare_cached(r#"UPDATE "blob" SET "tempKey" = NULL WHERE "cid" = ?1"#)?.execute([cid.to_string()])?;
    Ok(())
}

fn forget(transaction: &Transaction<'_>, cid: &Cid) -> Result<(), DbError> {
    transaction.prepare_cached(r#"DELETE FROM "blob" WHERE "cid" = ?1"#)?.execute([cid.to_string()])?;
    Ok(())
}

/// Deletes the rows of those of `blobs` that no record refers to any more, and returns them. Their files are to go.
pub(in crate::actor) fn release(transaction: &Transaction<'_>, blobs: &[String]) -> Result<Vec<Cid>, DbError> {
    let mut delete = transaction.prepare_cached(
        r#"DELETE FROM "blob" WHERE "cid" = ?1 AND NOT EXISTS (SELECT 1 FROM "record_blob" WHERE "blobCid" = ?1)"#,
    )?;
    let mut list = transaction.prepare_cached(r#"INSERT OR IGNORE INTO "headwater_released" ("cid") VALUES (?1)"#)?;
    let sql = r#"INSERT OR REPLACE INTO "headwater_withdrawn" ("cid", "at") VALUES (?1, ?2)"#;
    let (mut withdraw, now) = (transaction.prepare_cached(sql)?, now_millis());
    let mut released = Vec::new();
    for cid in blobs {
        if delete.execute([cid])? > 0 {
            list.execute([cid])?;
            withdraw.execute(params![cid, now])?;
            released.extend(Cid::parse(cid).ok());
        }
    }
    if !released.is_empty() {
        let long_ago = now.saturating_sub(WITHDRAWN_MILLIS);
        transaction.prepare_cached(r#"DELETE FROM "headwater_withdrawn" WHERE "at" < ?1"#)?.execute([long_ago])?;
    }
    Ok(released)
}

/// The blobs that were public, as long as a replica may have missed that they are not.
pub(crate) fn withdrawn(connection: &Connection) -> Result<Vec<Cid>, DbError> {
    let mut statement = connection.prepare_cached(
        r#"SELECT "cid" FROM "headwater_withdrawn" WHERE "at" > ?1 AND NOT EXISTS
           (SELECT 1 FROM "blob" WHERE "blob"."cid" = "headwater_withdrawn"."cid" AND "tempKey" IS NULL)"#,
    )?;
    let cids = statement.query_map([now_millis().saturating_sub(WITHDRAWN_MILLIS)], |row| row.get::<_, String>(0))?;
    let cids = cids.collect::<Result<Vec<_>, _>>()?;
    Ok(cids.iter().filter_map(|cid| Cid::parse(cid).ok()).collect())
}

/// A page of the blobs whose files are to go, and of these those that are not here again.
fn released(connection: &Connection) -> Result<(Vec<String>, Vec<Cid>), DbError> {
    let mut statement = connection.prepare_cached(
        r#"SELECT "cid", EXISTS (SELECT 1 FROM "blob" WHERE "blob"."cid" = "headwater_released"."cid")
           FROM "headwater_released" LIMIT ?1"#,
    )?;
    let rows = statement.query_map([PAGE], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)))?;
    let (mut listed, mut unneeded) = (Vec::new(), Vec::new());
    for row in rows {
        let (cid, here) = row?;
        unneeded.extend(Cid::parse(&cid).ok().filter(|_| !here));
        listed.push(cid);
    }
    Ok((listed, unneeded))
}

fn strike(transaction: &Transaction<'_>, listed: &[String]) -> Result<(), DbError> {
    let mut statement = transaction.prepare_cached(r#"DELETE FROM "headwater_released" WHERE "cid" = ?1"#)?;
    listed.iter().try_for_each(|cid| statement.execute([cid]).map(drop))?;
    Ok(())
}

/// Deletes the rows of those uploads that no record refers to. Returns the others, and the blobs whose rows went.
fn drop_unreferenced(transaction: &Transaction<'_>, keys: Vec<Key>) -> Result<(HashSet<Key>, Vec<Cid>), DbError> {
    let mut find = transaction.prepare_cached(
        r#"SELECT "cid", EXISTS (SELECT 1 FROM "record_blob" WHERE "blobCid" = "cid") FROM "blob" WHERE "tempKey" = ?1"#,
    )?;
    // That a blob is taken down is remembered.
    let mut delete = transaction.prepare_cached(r#"DELETE FROM "blob" WHERE "cid" = ?1 AND "takedownRef" IS NULL"#)?;
    let (mut wanted, mut dropped) = (HashSet::new(), Vec::new());
    for key in keys {
        let row = find.query_row([key.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, bool>(1)?)));
        match row.optional()? {
            Some((_, true)) => {
                wanted.insert(key);
            }
            Some((cid, false)) => {
                delete.execute([&cid])?;
                dropped.extend(Cid::parse(&cid).ok());
            }
            None => {}
        }
    }
    Ok((wanted, dropped))
}

async fn set_takedown(store: &Arc<Store>, cid: &Cid, reference: Option<String>) -> Result<bool, WriteError> {
    let (store, cid) = (Arc::clone(store), cid.to_string());
    blocking(move || {
        store.db()?.write_blocking(|transaction| -> Result<_, WriteError> {
            let sql = r#"UPDATE "blob" SET "takedownRef" = ?2 WHERE "cid" = ?1"#;
            Ok(transaction.prepare_cached(sql)?.execute(params![cid, reference])? > 0)
        })
    })
    .await
}

#[cfg(test)]
mod tests;
