//! The reference's schemas, step by step, in the reference's own bookkeeping.
//!
//! The reference records the name of every step it has taken in `kysely_migration` and refuses a file that holds a name
//! it does not know. So does this: a file is brought forward only when its names are the first ones of ours in order,
//! and otherwise refused by name before anything is touched. No name that the reference does not know is ever added;
//! Headwater's own tables are made beside, each `IF NOT EXISTS`.

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use crate::time::now_datetime;

/// One step of the reference's schema.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    /// Its name in the bookkeeping.
    pub name: &'static str,
    /// What it does.
    pub sql: &'static str,
}

/// The schema of one kind of database.
#[derive(Debug, Clone, Copy)]
pub struct Schema {
    /// The reference's steps, in order.
    pub steps: &'static [Step],
    /// Headwater's own tables.
    pub own: &'static str,
}

/// Why a database cannot be brought forward.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// It has taken a step that is not among ours.
    #[error("it has taken migration {0:?}, which this server does not know: it was written by a newer server")]
    Unknown(String),
    /// It has taken our steps, but not in our order.
    #[error("it has taken migration {found:?} where {expected:?} comes first")]
    Order {
        /// What it has taken.
        found: String,
        /// What should have come first.
        expected: &'static str,
    },
    /// What SQLite said.
    #[error("sqlite: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

const BOOKKEEPING: &str = r#"
CREATE TABLE IF NOT EXISTS "kysely_migration" ("name" varchar(255) not null primary key, "timestamp" varchar(255) not null);
CREATE TABLE IF NOT EXISTS "kysely_migration_lock" ("id" varchar(255) not null primary key, "is_locked" integer default 0 not null);
INSERT OR IGNORE INTO "kysely_migration_lock" ("id", "is_locked") VALUES ('migration_lock', 0);
"#;

impl Schema {
    /// Takes the steps that the database has not taken yet, all or none.
    pub(super) fn apply(&self, connection: &mut Connection) -> Result<(), MigrateError> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let taken = taken(&transaction)?;
        for (nth, found) in taken.iter().enumerate() {
            match self.steps.get(nth) {
                Some(step) if step.name == found => {}
                Some(step) if self.steps.iter().any(|step| step.name == found) => {
                    return Err(MigrateError::Order { found: found.clone(), expected: step.name });
                }
                _ => return Err(MigrateError::Unknown(found.clone())),
            }
        }
        if taken.len() < self.steps.len() {
            transaction.execute_batch(BOOKKEEPING)?;
        }
        for step in self.steps.iter().skip(taken.len()) {
            transaction.execute_batch(step.sql)?;
            transaction.execute(
                r#"INSERT INTO "kysely_migration" ("name", "timestamp") VALUES (?1, ?2)"#,
                params![step.name, now_datetime().as_str()],
            )?;
        }
        transaction.execute_batch(self.own)?;
        transaction.commit()?;
        Ok(())
    }
}

/// The names of the steps that a database has taken, in order.
fn taken(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let exists = connection
        .query_row("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'kysely_migration'", [], |_| Ok(()))
        .optional()?;
    if exists.is_none() {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare(r#"SELECT "name" FROM "kysely_migration" ORDER BY "name""#)?;
    statement.query_map([], |row| row.get(0))?.collect()
}
