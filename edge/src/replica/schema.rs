//! The tables of a replica. They are made anew rather than changed: a replica of another version is filled again.

use crate::sql::{Sql, SqlError};

/// Raised with every change of the tables, or of what stands in them.
const VERSION: u64 = 1;

const TABLES: [&str; 9] = [
    "CREATE TABLE replica (id INTEGER PRIMARY KEY CHECK (id = 1), account TEXT NOT NULL, region TEXT NOT NULL,
     phase INTEGER NOT NULL, position INTEGER NOT NULL, behind INTEGER NOT NULL, verified INTEGER NOT NULL,
     fresh_at INTEGER NOT NULL, read_at INTEGER NOT NULL, state BLOB, rev TEXT NOT NULL, head BLOB, data BLOB)",
    "CREATE TABLE block (cid BLOB PRIMARY KEY, bytes BLOB NOT NULL, retired INTEGER NOT NULL DEFAULT 0)",
    "CREATE INDEX block_retired ON block (retired) WHERE retired = 1",
    "CREATE TABLE record (collection TEXT NOT NULL, rkey TEXT NOT NULL, cid BLOB NOT NULL,
     PRIMARY KEY (collection, rkey)) WITHOUT ROWID",
    "CREATE INDEX record_cid ON record (cid)",
    // CIDs as texts, whose order is that of the lists.
    "CREATE TABLE blob (cid TEXT PRIMARY KEY, mime_type TEXT NOT NULL, size INTEGER NOT NULL) WITHOUT ROWID",
    "CREATE TABLE reference (blob TEXT NOT NULL, path TEXT NOT NULL, PRIMARY KEY (blob, path)) WITHOUT ROWID",
    "CREATE INDEX reference_path ON reference (path)",
    // Pushes that came while a snapshot was on its way.
    "CREATE TABLE kept (position INTEGER PRIMARY KEY, push BLOB NOT NULL)",
];

const NAMES: [&str; 6] = ["replica", "block", "record", "blob", "reference", "kept"];

/// Whether the tables are there, in this version.
pub(super) fn exists<S: Sql>(sql: &S) -> Result<bool, SqlError> {
    let name = format!("headwater_{VERSION}");
    let found = sql.exec("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", vec![name.into()])?;
    Ok(!found.is_empty())
}

/// Makes the tables, in place of those that another version made.
pub(super) fn create<S: Sql>(sql: &S) -> Result<(), SqlError> {
    if exists(sql)? {
        return Ok(());
    }
    drop_all(sql)?;
    for table in TABLES {
        sql.exec(table, Vec::new())?;
    }
    sql.exec(&format!("CREATE TABLE headwater_{VERSION} (id INTEGER PRIMARY KEY)"), Vec::new())?;
    Ok(())
}

/// Empties what a snapshot fills.
pub(super) fn clear<S: Sql>(sql: &S) -> Result<(), SqlError> {
    for table in ["block", "record", "blob", "reference"] {
        sql.exec(&format!("DELETE FROM {table}"), Vec::new())?;
    }
    Ok(())
}

fn drop_all<S: Sql>(sql: &S) -> Result<(), SqlError> {
    for table in NAMES {
        sql.exec(&format!("DROP TABLE IF EXISTS {table}"), Vec::new())?;
    }
    for version in 0..VERSION {
        sql.exec(&format!("DROP TABLE IF EXISTS headwater_{version}"), Vec::new())?;
    }
    Ok(())
}
