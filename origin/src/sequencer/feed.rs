//! The feed: which accounts changed, in the order in which the edge's replicas are told.
//!
//! A row is written by the very transaction that sequences an event, so an event is in the feed if and only if it is in
//! the sequence; what has no event has a row of its own ([`FeedLog::change`]), written before the change is made. Every
//! row names the account's row before it: a replica that stands there lacks nothing in between.
//!
//! Without an edge nothing is written; what was is forgotten, replicas and all, as it is when another server has written to
//! the sequence: they are filled anew. Each start with one raises the feed to the clock in milliseconds, which no earlier
//! row has reached, not even one that a restored backup does not know: positions are never used twice.

mod rows;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rusqlite::{OptionalExtension as _, Transaction, params};
use shared::link::{Changed, Position, Purge, PurgeScope, Replica};
use shared::syntax::{Did, Handle};
use tokio::sync::{OwnedRwLockWriteGuard, RwLock};

use super::Stored;
use crate::db::{Db, DbError};
use crate::time::now_millis;
use rows::{clear, last_of, number, position_of, prune, purges, put, put_purge, registered, rows, since};

pub(super) use rows::{put_event, put_released};

/// At most how many accounts or handles the answer to a region names; more count as everything.
const NAMED: usize = 20_000;
/// At most how many rows are read for it; more count as everything, too.
const READ: usize = 100_000;

/// How long rows are kept. A replica that was away for longer is filled anew.
pub(crate) const RETENTION: Duration = Duration::from_secs(3 * 24 * 60 * 60);

/// What a row tells.
#[derive(Debug, Clone)]
pub(crate) enum What {
    /// A change of the repository, by the event that tells of it.
    Repository(Stored),
    /// Anything else about the account.
    State,
    /// Something that cannot be told: replicas are filled anew.
    Refill,
}

/// One change of one account.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    /// Its place.
    pub(crate) position: Position,
    /// The place of the account's change before it; zero if there is none.
    pub(crate) previous: Position,
    /// What changed.
    pub(crate) what: What,
}

/// A row that was just written.
#[derive(Debug, Clone)]
pub(crate) struct Fed {
    /// Whose.
    pub(crate) did: Did,
    /// Its place.
    pub(crate) position: Position,
    /// Whether handles came, went or moved with it.
    pub(crate) handles: bool,
}

/// A replica as it was when the server began.
#[derive(Debug, Clone)]
pub(crate) struct Registered {
    /// Which.
    pub(crate) replica: Replica,
    /// What it has acknowledged at least.
    pub(crate) acknowledged: Position,
    /// The account's last row.
    pub(crate) last: Position,
}

/// What changed since a position.
#[derive(Debug, Clone, Default)]
pub(crate) struct Since {
    /// Where the feed stands.
    pub(crate) position: Position,
    /// Whether nothing is missing.
    pub(crate) complete: bool,
    /// The accounts, each once.
    pub(crate) changed: Vec<Changed>,
    /// The handles that came, went or moved.
    pub(crate) handles: Vec<Handle>,
}

/// A change that is being made, until it is dropped.
#[derive(Debug)]
pub(crate) struct Changing {
    _nobody_reads: OwnedRwLockWriteGuard<()>,
}

/// Told of rows as soon as they are durable, on the sequencer's thread, before whoever waits for the event.
pub(crate) type OnFed = Box<dyn Fn(&[Fed]) + Send + Sync>;

/// The feed in the sequencer's database; cloning it is shallow.
#[derive(Clone)]
pub(crate) struct FeedLog {
    db: Db,
    changes: Arc<RwLock<()>>,
    on_fed: Arc<OnceLock<OnFed>>,
}

impl std::fmt::Debug for FeedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FeedLog").field("is_on", &self.is_on()).finish_non_exhaustive()
    }
}

impl FeedLog {
    pub(super) fn new(db: Db) -> Self {
        Self { db, changes: Arc::default(), on_fed: Arc::default() }
    }

    /// Begins to write the feed, and returns the replicas that are registered, and where the feed
    /// stands. `handles` are asked for when the feed
    /// begins anew: every account with its handle. Blocks; to be called once, before anything is sequenced.
    pub(crate) fn begin(
        &self,
        handles: impl FnOnce() -> Result<Vec<(Did, Handle)>, DbError>,
    ) -> Result<(Vec<Registered>, Position), DbError> {
        self.db.write_blocking(|tx| {
            let number = |sql: &str| -> Result<Option<i64>, DbError> { Ok(tx.query_row(sql, [], |row| row.get(0))?) };
            let told = number(r#"SELECT max("seq") FROM "headwater_feed""#)?;
            let sequenced = number(r#"SELECT max("seq") FROM "repo_seq""#)?;
            // Another server has written since: what it did is not in the feed.
            if sequenced > told {
                clear(tx)?;
            }
            let begun = number(r#"SELECT max("position") FROM "headwater_feed""#)?.is_some();
            if !begun {
                let mut insert = tx.prepare(r#"INSERT OR REPLACE INTO "headwater_handle" VALUES (?1, ?2)"#)?;
                for (did, handle) in handles()? {
                    insert.execute(params![did.as_str(), handle.as_str()])?;
                }
            }
            let last: Option<i64> = tx
                .query_row("SELECT seq FROM sqlite_sequence WHERE name = 'headwater_feed'", [], |row| row.get(0))
                .optional()?;
            let now = now_millis();
            let start = now.max(last.unwrap_or_default().saturating_add(1));
            let sql = r#"INSERT INTO "headwater_feed" VALUES (?1, '', 0, 'start', ?2, '', ?3)"#;
            tx.execute(sql, params![start, sequenced, now])?;
            Ok((registered(tx)?, position_of(start)))
        })
    }

    /// Says whom to tell of new rows; from then on they are written.
    pub(crate) fn tell(&self, on_fed: OnFed) {
        let _first_counts = self.on_fed.set(on_fed);
    }

    /// Forgets feed and replicas: there is no edge, and what happens from now on it will not be told. Blocks.
    pub(crate) fn end(&self) -> Result<(), DbError> {
        let begun = self.db.read_blocking(|c| -> Result<bool, DbError> {
            Ok(c.query_row(r#"SELECT EXISTS (SELECT 1 FROM "headwater_feed")"#, [], |row| row.get(0))?)
        })?;
        if !begun {
            return Ok(());
        }
        self.db.write_blocking(clear)
    }

    /// Whether there is an edge to tell.
    pub(crate) fn is_on(&self) -> bool {
        self.on_fed.get().is_some()
    }

    pub(super) fn fed(&self, rows: &[Fed]) {
        if let Some(on_fed) = self.on_fed.get().filter(|_| !rows.is_empty()) {
            on_fed(rows);
        }
    }

    /// Begins a change that no event tells: adds its row, and `purge`, the copies that the edge must drop for it. The
    /// change is to be made before what is returned is dropped: nobody reads the account for a replica until then. A
    /// process that dies in between has told of nothing, which does no harm.
    ///
    /// With `refill` replicas are filled anew, else they get the account's state.
    pub(crate) async fn change(
        &self,
        did: &Did,
        refill: bool,
        purge: Option<PurgeScope>,
    ) -> Result<Option<Changing>, DbError> {
        if !self.is_on() {
            return Ok(None);
        }
        let changing = Arc::clone(&self.changes).write_owned().await;
        let account = did.clone();
        let write = move |tx: &Transaction<'_>| -> Result<Fed, DbError> {
            if let Some(scope) = purge {
                put_purge(tx, &account, &scope)?;
            }
            let position = put(tx, &account, if refill { "refill" } else { "state" }, None, "")?;
            Ok(Fed { did: account, position, handles: false })
        };
        let fed = self.db.write(write).await?;
        self.fed(&[fed]);
        Ok(Some(Changing { _nobody_reads: changing }))
    }

    /// Waits until every change whose row is in the feed is made.
    pub(crate) async fn made(&self) {
        drop(self.changes.read().await);
    }

    /// The account's last row; zero if it has none.
    pub(crate) async fn last(&self, did: &Did) -> Result<Position, DbError> {
        let did = did.clone();
        self.db.read(move |c| last_of(c, &did)).await
    }

    /// Where the feed stands.
    pub(crate) async fn position(&self) -> Result<Position, DbError> {
        self.db.read(|c| Ok(since(c, Position(0))?.position)).await
    }

    /// The account's rows after `after`, in order, at most `limit`.
    pub(crate) async fn rows(&self, did: &Did, after: Position, limit: u32) -> Result<Vec<Row>, DbError> {
        let did = did.clone();
        self.db.read(move |c| rows(c, &did, after, limit)).await
    }

    /// What changed after `after`, over all accounts.
    pub(crate) async fn since(&self, after: Position) -> Result<Since, DbError> {
        self.db
            .read(move |c| {
                let snapshot = c.unchecked_transaction()?;
                since(&snapshot, after)
            })
            .await
    }

    /// Registers a replica; one that is keeps what it has acknowledged. The account's last row: what comes after it is
    /// pushed.
    pub(crate) async fn register(&self, replica: &Replica) -> Result<Position, DbError> {
        let replica = replica.clone();
        self.db
            .write(move |tx| {
                let last = last_of(tx, &replica.account)?;
                let sql =
                    r#"INSERT OR IGNORE INTO "headwater_replica" ("did", "region", "position") VALUES (?1, ?2, ?3)"#;
                tx.prepare_cached(sql)?.execute(params![
                    replica.account.as_str(),
                    replica.region.as_str(),
                    number(last)
                ])?;
                Ok(last)
            })
            .await
    }

    /// Forgets a replica.
    pub(crate) async fn unregister(&self, replica: &Replica) -> Result<(), DbError> {
        let replica = replica.clone();
        self.db
            .write(move |tx| {
                let sql = r#"DELETE FROM "headwater_replica" WHERE "did" = ?1 AND "region" = ?2"#;
                tx.prepare_cached(sql)?.execute([replica.account.as_str(), replica.region.as_str()])?;
                Ok(())
            })
            .await
    }

    /// Notes what replicas have acknowledged. What is not noted is pushed again after a start.
    pub(crate) async fn acknowledged(&self, of: Vec<(Replica, Position)>) -> Result<(), DbError> {
        self.db
            .write(move |tx| {
                let sql = r#"UPDATE "headwater_replica" SET "position" = ?3 WHERE "did" = ?1 AND "region" = ?2"#;
                let mut update = tx.prepare_cached(sql)?;
                for (replica, position) in of {
                    update.execute(params![replica.account.as_str(), replica.region.as_str(), number(position)])?;
                }
                Ok(())
            })
            .await
    }

    /// Deletes the rows that are older than `before`, in milliseconds since 1970, but for each account's last.
    pub(crate) async fn prune(&self, before: i64) -> Result<(), DbError> {
        self.db.write(move |tx| prune(tx, before)).await
    }

    /// The copies that the edge has still to drop, oldest first, at most `limit`, each with what it is called by.
    pub(crate) async fn purges(&self, limit: u32) -> Result<Vec<(i64, Purge)>, DbError> {
        self.db.read(move |c| purges(c, limit)).await
    }

    /// Strikes one that is dropped.
    pub(crate) async fn purged(&self, id: i64) -> Result<(), DbError> {
        self.db
            .write(move |tx| {
                tx.prepare_cached(r#"DELETE FROM "headwater_purge" WHERE "id" = ?1"#)?.execute([id])?;
                Ok(())
            })
            .await
    }

    /// How many copies the edge has still to drop.
    pub(crate) async fn purges_waiting(&self) -> Result<u64, DbError> {
        self.db
            .read(|c| {
                let count: i64 = c.query_row(r#"SELECT count(*) FROM "headwater_purge""#, [], |row| row.get(0))?;
                Ok(count.unsigned_abs())
            })
            .await
    }
}

#[cfg(test)]
mod tests;
