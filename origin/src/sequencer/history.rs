//! The sequence read account by account: what became of one, as far as events tell.

use rusqlite::{OptionalExtension as _, Row, params};
use shared::firehose::Event;
use shared::syntax::{Did, Tid};

use super::{PAGE_BYTES, Sequencer, Stored};
use crate::db::DbError;

/// How far an account's repository was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Told {
    /// By this server: the last commit that it sequenced, if it did one since it has the directory.
    pub by_us: Option<Tid>,
    /// By whichever server did it last.
    pub last: Option<Tid>,
}

impl Told {
    /// What was told last, if a repository at `rev` does not have it: it is older than that.
    #[must_use]
    pub fn beyond(&self, rev: Tid) -> Option<Tid> {
        self.last.filter(|last| rev < *last)
    }
}

impl Sequencer {
    /// How far an account's repository was told. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn told_blocking(&self, did: &Did) -> Result<Told, DbError> {
        self.db.read_blocking(|connection| {
            let mut head =
                connection.prepare_cached(r#"SELECT "rev", "seq" FROM "headwater_head" WHERE "did" = ?1"#)?;
            let head = head.query_row([did.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
            let (by_us, seq) = head.optional()?.map_or((None, 0), |(rev, seq)| (Tid::parse(&rev).ok(), seq));
            // After it there is something of another server's, or nothing. What that told counts, also if it is lower: it
            // may have deleted the account that the head was of, and made another.
            let mut later = connection.prepare_cached(
                r#"SELECT "seq", "eventType", "event", "sequencedAt" FROM "repo_seq" INDEXED BY "repo_seq_did_idx"
                   WHERE "did" = ?1 AND "seq" > ?2 AND "eventType" IN ('append', 'sync') AND "invalidated" = 0
                   ORDER BY "seq" DESC LIMIT 1"#,
            )?;
            let later = later.query_map(params![did.as_str(), seq], of_row)?.next().transpose()?.flatten();
            let later = match later.map(|later| later.body.decode()) {
                Some(Ok(Event::Commit(commit))) => Some(commit.rev),
                Some(Ok(Event::Sync(sync))) => Some(sync.rev),
                // One of before 2025 may not be readable.
                _ => None,
            };
            Ok(Told { by_us, last: later.or(by_us) })
        })
    }

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
