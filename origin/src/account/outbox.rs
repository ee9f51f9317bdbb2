//! The outbox: what the firehose must still be told about accounts.
//!
//! A change of an account and the events that tell of it are one transaction: a process that dies has done both or
//! neither. The sequencer takes the rows in the order of their `id`, appends them to its own database together with the
//! last `id` it took, and clears them here afterwards. An `id` is never used twice, cleared or not, so a row that it took
//! and that is still here is known by its `id`.

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use shared::firehose::{Body, Kind};
use shared::syntax::Did;

use super::{AccountError, Accounts, did_of};
use crate::db::DbError;
use crate::time::now_datetime;

/// An event that waits in the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its place: higher than every one before it, ever.
    pub id: i64,
    /// Whose it is.
    pub did: Did,
    /// What it says.
    pub body: Body,
    /// When the change was made.
    pub created_at: String,
}

impl Accounts {
    /// The first `limit` waiting events after `id`, in order.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn outbox_after(&self, id: i64, limit: u32) -> Result<Vec<Waiting>, AccountError> {
        self.db().read(move |c| Ok(after(c, id, limit)?)).await
    }

    /// How many events wait.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn outbox_count(&self) -> Result<u64, AccountError> {
        self.db()
            .read(|c| {
                let count: i64 = c.query_row("SELECT count(*) FROM headwater_outbox", [], |row| row.get(0))?;
                Ok(u64::try_from(count).unwrap_or_default())
            })
            .await
    }

    /// Sees to it that no event gets a place up to `taken` any more: the sequencer has taken so many out of an
    /// `account.sqlite` that was newer than this one, before a restore, and would pass them over. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read or written.
    pub fn outbox_above_blocking(&self, taken: i64) -> Result<(), DbError> {
        let given = self.db().read_blocking(|c| -> Result<Option<i64>, DbError> {
            let sql = "SELECT seq FROM sqlite_sequence WHERE name = 'headwater_outbox'";
            Ok(c.query_row(sql, [], |row| row.get(0)).optional()?)
        })?;
        if given.unwrap_or_default() >= taken {
            return Ok(());
        }
        self.db().write_blocking(|tx| {
            if tx.execute("UPDATE sqlite_sequence SET seq = ?1 WHERE name = 'headwater_outbox'", [taken])? == 0 {
                tx.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('headwater_outbox', ?1)", [taken])?;
            }
            Ok(())
        })
    }

    /// Forgets the events up to and including `upto`, which the sequencer has.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn outbox_clear(&self, upto: i64) -> Result<(), AccountError> {
        self.db().write(move |tx| Ok(clear(tx, upto)?)).await
    }
}

/// [`Accounts::outbox_after`] on a connection.
///
/// # Errors
/// What SQLite says.
pub fn after(connection: &Connection, id: i64, limit: u32) -> rusqlite::Result<Vec<Waiting>> {
    let sql = "SELECT id, did, kind, event, createdAt FROM headwater_outbox WHERE id > ?1 ORDER BY id LIMIT ?2";
    connection.prepare_cached(sql)?.query_map(params![id, limit], waiting_of)?.collect()
}

/// [`Accounts::outbox_clear`] on a connection.
///
/// # Errors
/// What SQLite says.
pub fn clear(connection: &Connection, upto: i64) -> rusqlite::Result<()> {
    connection.prepare_cached("DELETE FROM headwater_outbox WHERE id <= ?1")?.execute(params![upto])?;
    Ok(())
}

/// Adds events about `did`, in order.
pub(super) fn put(connection: &Connection, did: &Did, events: &[Body]) -> rusqlite::Result<()> {
    let now = now_datetime();
    let sql = "INSERT INTO headwater_outbox (did, kind, event, createdAt) VALUES (?1, ?2, ?3, ?4)";
    let mut insert = connection.prepare_cached(sql)?;
    for event in events {
        insert.execute(params![did.as_str(), event.kind().stored_name(), event.as_bytes().as_ref(), now.as_str()])?;
    }
    Ok(())
}

fn waiting_of(row: &Row<'_>) -> rusqlite::Result<Waiting> {
    let name: String = row.get(2)?;
    let kind = Kind::of_stored_name(&name).ok_or_else(|| {
        let unknown = format!("event kind {name:?}").into();
        rusqlite::Error::FromSqlConversionFailure(2, rusqlite::types::Type::Text, unknown)
    })?;
    let body = Body::from_stored(kind, row.get::<_, Vec<u8>>(3)?.into());
    Ok(Waiting { id: row.get(0)?, did: did_of(row, 1)?, body, created_at: row.get(4)? })
}
