//! The directory's log, in SQLite, and the rules by which it grows.
//!
//! One connection behind a lock: reading a log, deciding on an operation and storing it are one transaction, so that two
//! operations that follow the same one never both get in.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Row, TransactionBehavior, params};
use serde::Serialize;
use shared::cid::Cid;
use shared::identity::plc::{AuditEntry, Entry, Operation, PlcError, State, propose};
use shared::syntax::{Datetime, Did};

use super::refusal::Refusal;

/// The largest operation, in bytes of DAG-CBOR: plc.directory refuses some that the specification would let pass.
pub(super) const MAX_OPERATION_LEN: usize = 4000;

const HOUR: i64 = 60 * 60 * 1000;
/// How many operations of one DID stand in a time, in milliseconds, before no more are taken, and the time's name.
const RATE_LIMITS: [(i64, usize, &str); 3] = [(7 * 24 * HOUR, 100, "week"), (24 * HOUR, 30, "day"), (HOUR, 10, "hour")];

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS operation (
        seq INTEGER PRIMARY KEY AUTOINCREMENT,
        did TEXT NOT NULL,
        cid TEXT NOT NULL,
        operation TEXT NOT NULL,
        nullified INTEGER NOT NULL DEFAULT 0,
        created_ms INTEGER NOT NULL UNIQUE,
        UNIQUE (did, cid)
    ) STRICT;
    CREATE INDEX IF NOT EXISTS operation_did ON operation (did, seq);
";

/// A directory.
#[derive(Debug)]
pub struct Directory {
    database: Mutex<Connection>,
    /// How far its clock is ahead of the system's, in milliseconds.
    ahead: AtomicI64,
}

/// A DID that has a log.
#[derive(Debug)]
pub(super) struct Registered {
    pub(super) did: Did,
    /// The operations that stand, oldest first; never empty.
    pub(super) chain: Vec<Entry>,
    /// The state that the last one left; none after a tombstone.
    pub(super) state: Option<State>,
}

/// Where an export goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum After {
    /// After a sequence number.
    Seq(i64),
    /// After a time, in milliseconds since 1970.
    Time(i64),
}

impl After {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let wrong = || Refusal::Parameter("after");
        if text.is_empty() {
            Ok(Self::Time(i64::MIN))
        } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
            text.parse().map(Self::Seq).map_err(|_| wrong())
        } else {
            let time = Datetime::parse(text).map_err(|_| wrong())?;
            Ok(Self::Time(time.unix_micros().div_euclid(1000)))
        }
    }
}

/// A line of an export in the order of sequence numbers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct SequencedOperation {
    did: Did,
    cid: Cid,
    seq: i64,
    created_at: Datetime,
    operation: Operation,
    #[serde(rename = "type")]
    kind: &'static str,
}

impl Directory {
    /// A directory whose log goes with it.
    ///
    /// # Errors
    ///
    /// When SQLite cannot.
    pub fn in_memory() -> rusqlite::Result<Self> {
        Self::new(Connection::open_in_memory()?)
    }

    /// A directory whose log is in the file at `path`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// When SQLite cannot.
    pub fn open(path: &std::path::Path) -> rusqlite::Result<Self> {
        let database = Connection::open(path)?;
        database.pragma_update(None, "journal_mode", "wal")?;
        database.pragma_update(None, "synchronous", "full")?;
        Self::new(database)
    }

    fn new(database: Connection) -> rusqlite::Result<Self> {
        database.execute_batch(SCHEMA)?;
        Ok(Self { database: Mutex::new(database), ahead: AtomicI64::new(0) })
    }

    /// Moves the clock on.
    pub fn advance(&self, time: Duration) {
        self.ahead.fetch_add(time.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }

    /// Whether the database answers.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        Ok(self.database.lock().unwrap().query_row("SELECT 1", [], |_| Ok(()))?)
    }

    /// The log of `did` as it stands.
    pub(super) fn registered(&self, did: &str) -> Result<Registered, Refusal> {
        let unknown = || Refusal::NotRegistered(did.to_owned());
        let did = Did::parse(did).map_err(|_| unknown())?;
        let chain = chain(&self.database.lock().unwrap(), &did)?;
        let state = chain.last().ok_or_else(unknown)?.operation.state();
        Ok(Registered { did, chain, state })
    }

    /// Every operation of `did`, nullified ones included, oldest first.
    pub(super) fn audit_log(&self, did: &str) -> Result<Vec<AuditEntry>, Refusal> {
        let database = self.database.lock().unwrap();
        let mut query = database.prepare_cached(
            "SELECT did, cid, operation, nullified, created_ms FROM operation WHERE did = ? ORDER BY seq",
        )?;
        let log: Vec<AuditEntry> = query.query_map([did], audit_entry)?.collect::<Result<_, _>>()?;
        if log.is_empty() { Err(Refusal::NotRegistered(did.to_owned())) } else { Ok(log) }
    }

    /// Adds an operation to the log of `did` if it may be added now.
    pub(super) fn submit(&self, did: &str, operation: &Operation) -> Result<(), Refusal> {
        let refuse = |error| Refusal::Operation(error, Box::new(operation.clone()));
        if operation.to_cbor().len() > MAX_OPERATION_LEN {
            return Err(Refusal::TooLarge);
        }
        operation.check_limits().map_err(refuse)?;
        let did = match (Did::parse(did), operation.did()) {
            (Ok(did), _) => did,
            (Err(_), Ok(made)) => return Err(refuse(PlcError::GenesisDid { expected: made.to_string() })),
            (Err(_), Err(error)) => return Err(refuse(error)),
        };
        let mut database = self.database.lock().unwrap();
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let chain = chain(&transaction, &did)?;
        let now = self.next_millis(&transaction)?;
        let accepted = propose(&did, &chain, operation, now * 1000).map_err(refuse)?;
        let nullified = &chain[chain.len() - accepted.nullified..];
        // Recovery is never limited, or a thief could use the limits up.
        if nullified.is_empty() {
            check_rate(&chain, now)?;
        }
        let cid = accepted.cid.to_string();
        let taken = "SELECT EXISTS (SELECT 1 FROM operation WHERE did = ? AND cid = ?)";
        if transaction.query_row(taken, params![did.as_str(), cid], |row| row.get(0))? {
            // An operation that was nullified and comes again.
            return Err(refuse(PlcError::NotLater));
        }
        transaction.execute(
            "INSERT INTO operation (did, cid, operation, created_ms) VALUES (?, ?, ?, ?)",
            params![did.as_str(), cid, serde_json::to_string(operation).unwrap(), now],
        )?;
        for entry in nullified {
            transaction.execute(
                "UPDATE operation SET nullified = 1 WHERE did = ? AND cid = ?",
                params![did.as_str(), entry.cid.to_string()],
            )?;
        }
        transaction.commit()?;
        Ok(())
    }

    pub(super) fn export_by_seq(&self, after: i64, count: usize) -> Result<Vec<SequencedOperation>, Refusal> {
        let database = self.database.lock().unwrap();
        let mut query = database.prepare_cached(
            "SELECT did, cid, operation, nullified, created_ms, seq FROM operation WHERE seq > ? ORDER BY seq LIMIT ?",
        )?;
        let rows = query.query_map(params![after, i64::try_from(count).unwrap()], |row| {
            let AuditEntry { did, operation, cid, created_at, .. } = audit_entry(row)?;
            Ok(SequencedOperation { did, cid, seq: row.get(5)?, created_at, operation, kind: "sequenced_op" })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    pub(super) fn export_by_time(&self, after: i64, count: usize) -> Result<Vec<AuditEntry>, Refusal> {
        let database = self.database.lock().unwrap();
        let mut query = database.prepare_cached(
            "SELECT did, cid, operation, nullified, created_ms FROM operation WHERE created_ms > ?
             ORDER BY created_ms LIMIT ?",
        )?;
        let rows = query.query_map(params![after, i64::try_from(count).unwrap()], audit_entry)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Now, in milliseconds since 1970, and later than every operation that was taken.
    fn next_millis(&self, database: &Connection) -> Result<i64, Refusal> {
        let system: i64 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap();
        let last: Option<i64> = database.query_row("SELECT max(created_ms) FROM operation", [], |row| row.get(0))?;
        let now = system + self.ahead.load(Ordering::Relaxed);
        Ok(last.map_or(now, |last| now.max(last + 1)))
    }
}

fn chain(database: &Connection, did: &Did) -> Result<Vec<Entry>, Refusal> {
    let mut query = database.prepare_cached(
        "SELECT did, cid, operation, nullified, created_ms FROM operation WHERE did = ? AND NOT nullified ORDER BY seq",
    )?;
    let entries = query.query_map([did.as_str()], |row| {
        let AuditEntry { operation, cid, created_at, .. } = audit_entry(row)?;
        Ok(Entry { operation, cid, created: created_at.unix_micros() })
    })?;
    Ok(entries.collect::<Result<_, _>>()?)
}

fn check_rate(chain: &[Entry], now: i64) -> Result<(), Refusal> {
    for (span, limit, time) in RATE_LIMITS {
        let since = (now - span) * 1000;
        if chain.iter().filter(|entry| entry.created > since).count() >= limit {
            return Err(Refusal::RateLimit { time, limit });
        }
    }
    Ok(())
}

/// Reads `did, cid, operation, nullified, created_ms`. What is stored was valid when it was written.
fn audit_entry(row: &Row<'_>) -> rusqlite::Result<AuditEntry> {
    let text = |at| row.get_ref(at)?.as_str().map_err(rusqlite::Error::from);
    Ok(AuditEntry {
        did: Did::parse(text(0)?).unwrap(),
        cid: Cid::parse(text(1)?).unwrap(),
        operation: serde_json::from_str(text(2)?).unwrap(),
        nullified: row.get(3)?,
        created_at: Datetime::from_unix_millis(row.get(4)?),
    })
}
