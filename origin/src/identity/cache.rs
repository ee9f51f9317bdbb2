//! DID documents that were fetched before: `did_cache.sqlite`, which may be deleted at any time.
//!
//! A document is fresh, then stale, then of no use, by the time at which it was asked for. That nothing was found, or that
//! asking failed, is remembered in memory and for seconds only. A cache that fails is as good as an empty one: that is
//! logged, and the document fetched.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{OptionalExtension as _, params};
use shared::identity::DidDocument;
use shared::syntax::Did;

use super::ResolveError;
use crate::db::{Db, DbError, Options, Schema, Step};
use crate::time::now_millis;

const SCHEMA: Schema =
    Schema { steps: &[Step { name: "001", sql: include_str!("../../migrations/did_cache/001.sql") }], own: "" };

/// How long a DID that does not exist is not asked for again.
const ABSENT_FOR: Duration = Duration::from_secs(30);
/// How long a DID whose resolution failed is not asked for again.
const FAILED_FOR: Duration = Duration::from_secs(10);
/// How many such DIDs are remembered.
const MISSES: usize = 4096;

#[derive(Debug)]
pub(super) struct Cache {
    db: Db,
    stale: Duration,
    max: Duration,
    misses: Mutex<HashMap<Did, (Instant, Miss)>>,
}

/// A document from the cache.
#[derive(Debug)]
pub(super) struct Cached {
    pub(super) document: DidDocument,
    pub(super) stale: bool,
}

/// What asking for a DID came to, if not to a document.
#[derive(Clone, Debug)]
pub(super) enum Miss {
    Absent,
    Failed(ResolveError),
}

impl Cache {
    /// Opens the cache and clears it of what is of no use any more. Blocks.
    pub(super) fn open(path: &Path, options: Options, stale: Duration, max: Duration) -> Result<Self, DbError> {
        let db = Db::open(path, options, &SCHEMA)?;
        let oldest = now_millis().saturating_sub(millis(max));
        db.write_blocking(|tx| -> Result<_, DbError> {
            Ok(tx.execute(r#"DELETE FROM "did_doc" WHERE "updatedAt" < ?1"#, [oldest])?)
        })?;
        Ok(Self { db, stale, max, misses: Mutex::default() })
    }

    /// The DID's document, unless it is too old.
    pub(super) fn document(&self, did: &Did) -> Option<Cached> {
        let row = self.db.read_short(|connection| -> Result<Option<(String, i64)>, DbError> {
            let mut statement =
                connection.prepare_cached(r#"SELECT "doc", "updatedAt" FROM "did_doc" WHERE "did" = ?1"#)?;
            Ok(statement.query_row([did.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?)
        });
        let (text, updated_at) = logged(row)??;
        let age = now_millis().saturating_sub(updated_at);
        // A time in the future says that a clock was wrong, and nothing about the age.
        if age < 0 || age > millis(self.max) {
            return None;
        }
        let document = DidDocument::parse(did, serde_json::from_str(&text).ok()?).ok()?;
        Some(Cached { document, stale: age > millis(self.stale) })
    }

    /// Keeps what was asked for at `asked_at`, unless something that was asked for later is there already.
    pub(super) async fn keep(&self, document: &DidDocument, asked_at: i64) {
        let Ok(text) = serde_json::to_string(document) else { return };
        let did = document.id().clone();
        self.forget_miss(&did);
        let written = self.db.write(move |tx| -> Result<_, DbError> {
            let mut statement = tx.prepare_cached(
                r#"INSERT INTO "did_doc" ("did", "doc", "updatedAt") VALUES (?1, ?2, ?3)
                   ON CONFLICT ("did") DO UPDATE SET "doc" = excluded."doc", "updatedAt" = excluded."updatedAt"
                   WHERE "updatedAt" <= excluded."updatedAt" OR "updatedAt" > ?4"#,
            )?;
            Ok(statement.execute(params![did.as_str(), text, asked_at, now_millis()])?)
        });
        logged(written.await);
    }

    /// Forgets a document that was asked for at `asked_at` or before.
    pub(super) async fn remove(&self, did: &Did, asked_at: i64) {
        let key = did.clone();
        let removed = self.db.write(move |tx| -> Result<_, DbError> {
            let mut statement = tx.prepare_cached(r#"DELETE FROM "did_doc" WHERE "did" = ?1 AND "updatedAt" <= ?2"#)?;
            Ok(statement.execute(params![key.as_str(), asked_at])?)
        });
        logged(removed.await);
    }

    /// What asking for the DID came to a moment ago.
    pub(super) fn miss(&self, did: &Did) -> Option<Miss> {
        let misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        misses.get(did).filter(|(until, _)| Instant::now() < *until).map(|(_, miss)| miss.clone())
    }

    pub(super) fn keep_miss(&self, did: &Did, miss: Miss) {
        let now = Instant::now();
        let until = now
            + match &miss {
                Miss::Absent => ABSENT_FOR,
                Miss::Failed(_) => FAILED_FOR,
            };
        let mut misses = self.misses.lock().unwrap_or_else(PoisonError::into_inner);
        if misses.len() >= MISSES {
            misses.retain(|_, (until, _)| now < *until);
        }
        if misses.len() >= MISSES {
            // Somebody asks for many that do not exist: start anew rather than grow.
            misses.clear();
        }
        misses.insert(did.clone(), (until, miss));
    }

    fn forget_miss(&self, did: &Did) {
        self.misses.lock().unwrap_or_else(PoisonError::into_inner).remove(did);
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn logged<T>(outcome: Result<T, DbError>) -> Option<T> {
    outcome.inspect_err(|error| tracing::warn!(%error, "the cache of DID documents fails")).ok()
}
