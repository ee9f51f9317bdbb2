//! The sequence read account by account: what became of one, as far as events tell.

use rusqlite::{Row, params};
use shared::syntax::Did;

use super::{PAGE_BYTES, Sequencer, Stored};
use crate::db::DbError;

impl Sequencer {
    /// The events of an account's repository after `after`, in order: no more than come to 128 KiB unless one alone does.
    /// None when there are no more. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn repository_blocking(&self, did: &Did, after: u64) -> Result<Vec<Stored>, DbError> {
        self.db.read_blocking(|connection| {
            let mut statement = connection.prepare_cached(
                r#"SELECT "seq", "eventType", "event", "sequencedAt" FROM "repo_seq" INDEXED BY "repo_seq_did_idx"
                   WHERE "did" = ?1 AND "seq" > ?2 AND "eventType" IN ('append', 'sync') AND "invalidated" = 0
                   ORDER BY "seq""#,
            )?;
            let after = i64::try_from(after).unwrap_or(i64::MAX);
            let (mut events, mut bytes) = (Vec::new(), 0);
            for stored in statement.query_map(params![did.as_str(), after], of_row)? {
                let Some(stored) = stored? else { continue };
                bytes += stored.body.as_bytes().len();
                events.push(stored);
                if bytes >= PAGE_BYTES {
                    break;
                }
            }
            Ok(events)
        })
    }

    /// The last event of an account's repository. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn last_of_repository_blocking(&self, did: &Did) -> Result<Option<Stored>, DbError> {
        self.db.read_blocking(|connection| {
            let mut statement = connection.prepare_cached(
                r#"SELECT "seq", "eventType", "event", "sequencedAt" FROM "repo_seq" INDEXED BY "repo_seq_did_idx"
                   WHERE "did" = ?1 AND "eventType" IN ('append', 'sync') AND "invalidated" = 0
                   ORDER BY "seq" DESC LIMIT 1"#,
            )?;
            let last = statement.query_map([did.as_str()], of_row)?.next().transpose()?;
            Ok(last.flatten())
        })
    }

    /// The last event that tells what an account is worth.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn last_worth(&self, did: &Did) -> Result<Option<Stored>, DbError> {
        let did = did.clone();
        self.db
            .read(move |connection| {
                let mut statement = connection.prepare_cached(
                    r#"SELECT "seq", "eventType", "event", "sequencedAt" FROM "repo_seq" INDEXED BY "repo_seq_did_idx"
                       WHERE "did" = ?1 AND "eventType" = 'account' ORDER BY "seq" DESC LIMIT 1"#,
                )?;
                let last = statement.query_map([did.as_str()], of_row)?.next().transpose()?;
                Ok(last.flatten())
            })
            .await
    }

    /// Of whom there are events: the DIDs after `after` in the order of their bytes, at most `limit`.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn dids(&self, after: String, limit: u32) -> Result<Vec<String>, DbError> {
        self.db
            .read(move |connection| {
                // From one DID to the next in the index, however many events each has.
                let mut statement = connection.prepare_cached(
                    r#"WITH RECURSIVE "told" ("did") AS (
                         SELECT min("did") FROM "repo_seq" WHERE "did" > ?1 UNION ALL
                         SELECT (SELECT min("did") FROM "repo_seq" WHERE "repo_seq"."did" > "told"."did") FROM "told"
                         WHERE "did" IS NOT NULL
                       ) SELECT "did" FROM "told" WHERE "did" IS NOT NULL LIMIT ?2"#,
                )?;
                Ok(statement.query_map(params![after, limit], |row| row.get(0))?.collect::<Result<_, _>>()?)
            })
            .await
    }
}

fn of_row(row: &Row<'_>) -> rusqlite::Result<Option<Stored>> {
    let (kind, time) = (row.get::<_, String>(1)?, row.get::<_, String>(3)?);
    Ok(Stored::of_row(row.get(0)?, &kind, row.get(2)?, &time))
}
