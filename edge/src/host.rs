//! The host object of a region: what concerns no single account.
//!
//! - How fresh the region is ([`crate::fresh`]): it asks the origin for all its replicas at once, at most once in half a
//!   lease while there are readers.
//! - Which accounts have a replica here, and by what handle. A hint: the replica says itself whether the handle is still
//!   its account's, so that a hint that is out of date leads to the origin and never to a wrong answer. It is also what
//!   keeps objects from being made for accounts that nobody has.
//! - What describeServer answers, in the version that the origin named last.
//!
//! What must outlive the object is in its database; the rest is asked anew.

use std::cell::{Cell, RefCell};

use serde::{Deserialize, Serialize};
use shared::link::{HostPush, Position, RegionAnswer};
use shared::syntax::{AtIdentifier, Did, Handle};

use crate::counters::Counters;
use crate::fresh::Region;
use crate::sql::{Columns, Sql, SqlError, Value};

/// How long an origin that did not answer is left alone, in milliseconds.
const RETRY: u64 = 1_000;

/// Whether the origin is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// No.
    No,
    /// Yes, and meanwhile readers go by what is known.
    Soon,
    /// Yes, before anybody reads.
    Now,
}

/// What a reader asks the host object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Ask {
    /// Whose replica is to be read, if any.
    pub account: Option<AtIdentifier>,
    /// What the asker has counted since it asked last.
    pub counted: Counters,
}

/// What it is told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Told {
    /// How fresh the region is.
    pub region: Region,
    /// The account, if it has a replica here.
    pub account: Option<Did>,
}

/// A host object over its database.
#[derive(Debug)]
pub struct Host<S> {
    sql: S,
    region: RefCell<Option<Region>>,
    asked_at: Cell<u64>,
    retry_at: Cell<u64>,
    server: Cell<u64>,
    /// Whether the tables are known to be there.
    created: Cell<bool>,
    counted: RefCell<Counters>,
}

impl<S: Sql> Host<S> {
    /// The host object in this database, which may be empty.
    #[must_use]
    pub fn new(sql: S) -> Self {
        Self {
            sql,
            region: RefCell::default(),
            asked_at: Cell::default(),
            retry_at: Cell::default(),
            server: Cell::default(),
            created: Cell::default(),
            counted: RefCell::default(),
        }
    }

    /// Adds to what was counted.
    pub fn count(&self, counted: &Counters) {
        self.counted.borrow_mut().add(counted);
    }

    /// What was counted since the object began.
    #[must_use]
    pub fn counted(&self) -> Counters {
        self.counted.borrow().clone()
    }

    /// Whether the origin is to be asked.
    #[must_use]
    pub fn due(&self, now: u64) -> Due {
        let region = self.region.borrow();
        let Some(region) = region.as_ref() else { return Due::Now };
        if region.away {
            return if now < self.retry_at.get() { Due::No } else { Due::Soon };
        }
        let asked_at = self.asked_at.get();
        let half = asked_at + region.until.saturating_sub(asked_at) / 2;
        match now {
            now if now >= region.until => Due::Now,
            now if now >= half => Due::Soon,
            _ => Due::No,
        }
    }

    /// The position to ask from.
    ///
    /// # Errors
    /// An [`SqlError`]; so of every other call.
    pub fn position(&self) -> Result<Position, SqlError> {
        if let Some(region) = &*self.region.borrow() {
            return Ok(region.position);
        }
        self.create()?;
        let rows = self.sql.exec("SELECT position FROM host", Vec::new())?;
        Ok(Position(rows.into_iter().next().map(|row| Columns::of(row).number()).transpose()?.unwrap_or_default()))
    }

    /// Takes the answer to a question that was asked at `asked_at`.
    ///
    /// # Errors
    /// An [`SqlError`].
    pub fn take(&self, answer: &RegionAnswer, asked_at: u64) -> Result<(), SqlError> {
        let before = self.position()?;
        // What changed before is not known by name to an object that has just begun.
        let mut region = self.region.borrow().clone().unwrap_or_else(|| Region {
            floor: before,
            position: before,
            ..Region::default()
        });
        region.take(answer, asked_at);
        if !answer.complete {
            self.sql.exec("UPDATE hosted SET handle = NULL", Vec::new())?;
        }
        self.forget(&answer.handles)?;
        if before != answer.position {
            self.sql.exec("UPDATE host SET position = ?", vec![answer.position.0.into()])?;
        }
        self.server.set(answer.server);
        self.asked_at.set(asked_at);
        *self.region.borrow_mut() = Some(region);
        Ok(())
    }

    /// The origin did not answer.
    ///
    /// # Errors
    /// An [`SqlError`].
    pub fn away(&self, now: u64) -> Result<(), SqlError> {
        let position = self.position()?;
        let mut region = self.region.borrow_mut();
        let region = region.get_or_insert_with(|| Region { floor: position, position, ..Region::default() });
        region.away = true;
        self.retry_at.set(now.saturating_add(RETRY));
        Ok(())
    }

    /// How fresh the region is, as far as is known.
    #[must_use]
    pub fn region(&self) -> Region {
        self.region.borrow().clone().unwrap_or_default()
    }

    /// Takes what the origin says at once: handles that came, went or moved. It is acknowledged when this returns.
    ///
    /// # Errors
    /// An [`SqlError`].
    pub fn push(&self, push: &HostPush) -> Result<(), SqlError> {
        self.create()?;
        self.forget(&push.handles)?;
        self.server.set(push.server);
        Ok(())
    }

    /// The account, if it has a replica here.
    ///
    /// # Errors
    /// An [`SqlError`].
    pub fn find(&self, account: &AtIdentifier) -> Result<Option<Did>, SqlError> {
        self.create()?;
        let (statement, name) = match account {
            AtIdentifier::Did(did) => ("SELECT did FROM hosted WHERE did = ?", did.as_str()),
            AtIdentifier::Handle(handle) => ("SELECT did FROM hosted WHERE handle = ?", handle.as_str()),
        };
        let rows = self.sql.exec(statement, vec![name.into()])?;
        let did = rows.into_iter().next().map(|row| Columns::of(row).text()).transpose()?;
        Ok(did.and_then(|did| Did::parse(&did).ok()))
    }

    /// An account has a replica here, under this handle.
    ///
    /// # Errors
    /// An [`SqlError`].
    pub fn learn(&self, account: &Did, handle: Option<&Handle>) -> Result<(), SqlError> {
        self.create()?;
        if let Some(handle) = handle {
            self.forget(std::slice::from_ref(handle))?;
        }
        self.sql.exec(
            "INSERT OR REPLACE INTO hosted (did, handle) VALUES (?, ?)",
            vec![account.as_str().into(), handle.map_or(Value::Null, |handle| handle.as_str().into())],
        )?;
        Ok(())
    }

    /// An account has no replica here.
    ///
    /// # Errors
    /// An [`SqlError`].
    pub fn unlearn(&self, account: &Did) -> Result<(), SqlError> {
        self.create()?;
        self.sql.exec("DELETE FROM hosted WHERE did = ?", vec![account.as_str().into()])?;
        Ok(())
    }

    /// The version of what the server says of itself that is current.
    #[must_use]
    pub fn server(&self) -> u64 {
        self.server.get()
    }

    /// The JSON that describeServer answers, if it is kept; and whether that is the current version.
    ///
    /// # Errors
    /// An [`SqlError`].
    pub fn described(&self) -> Result<Option<(Vec<u8>, bool)>, SqlError> {
        self.create()?;
        let Some(row) = self.sql.exec("SELECT server, page FROM described", Vec::new())?.into_iter().next() else {
            return Ok(None);
        };
        let mut row = Columns::of(row);
        // Versions are hashes, beyond the numbers that the database holds exactly.
        let current = row.text()? == self.server().to_string();
        Ok(Some((row.bytes()?, current)))
    }

    /// Keeps what describeServer answers, if `server`, which was current when it was asked for, still is.
    ///
    /// # Errors
    /// An [`SqlError`].
    pub fn describe(&self, server: u64, page: Vec<u8>) -> Result<(), SqlError> {
        if server == self.server() {
            self.create()?;
            self.sql.exec(
                "INSERT OR REPLACE INTO described (id, server, page) VALUES (1, ?, ?)",
                vec![server.to_string().into(), Value::Blob(page)],
            )?;
        }
        Ok(())
    }

    fn forget(&self, handles: &[Handle]) -> Result<(), SqlError> {
        for handle in handles {
            self.sql.exec("UPDATE hosted SET handle = NULL WHERE handle = ?", vec![handle.as_str().into()])?;
        }
        Ok(())
    }

    fn create(&self) -> Result<(), SqlError> {
        if self.created.get() {
            return Ok(());
        }
        for table in [
            "CREATE TABLE IF NOT EXISTS host (id INTEGER PRIMARY KEY CHECK (id = 1), position INTEGER NOT NULL)",
            "CREATE TABLE IF NOT EXISTS hosted (did TEXT PRIMARY KEY, handle TEXT UNIQUE) WITHOUT ROWID",
            "CREATE TABLE IF NOT EXISTS described (id INTEGER PRIMARY KEY CHECK (id = 1), server TEXT NOT NULL,
             page BLOB NOT NULL)",
            "INSERT OR IGNORE INTO host (id, position) VALUES (1, 0)",
        ] {
            self.sql.exec(table, Vec::new())?;
        }
        self.created.set(true);
        Ok(())
    }
}
