//! Where each repository stands, as this database remembers it: what listRepos tells without opening every store.
//!
//! The sequencer keeps it in step, a batch at a time; the account's own store is what counts.
//!
//! Specification: <https://atproto.com/specs/sync>; lexicon `com.atproto.sync.listRepos`.

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use shared::cid::Cid;
use shared::syntax::{Datetime, Did, Tid};

use super::{AccountError, Accounts, Status, did_of};
use crate::time::now_datetime;

/// The newest commit of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoRoot {
    /// The commit.
    pub cid: Cid,
    /// Its revision.
    pub rev: Tid,
}

/// A repository in the list of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedRepo {
    /// Whose it is.
    pub did: Did,
    /// The newest commit's CID, as text.
    pub head: String,
    /// Its revision.
    pub rev: String,
    /// The account's status.
    pub status: Status,
}

impl Accounts {
    /// One page of all repositories, inactive ones included, oldest account first: at most `limit` of them after
    /// `cursor`, and the cursor of the next page. There is none after an empty page.
    ///
    /// # Errors
    /// [`AccountError::Cursor`], [`AccountError::Db`].
    pub async fn repos(
        &self,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<HostedRepo>, Option<String>), AccountError> {
        let (created, did) = match cursor.filter(|cursor| !cursor.is_empty()) {
            Some(cursor) => {
                let (millis, did) = split_cursor(cursor)?;
                (Datetime::from_unix_millis(millis).as_str().to_owned(), did.to_owned())
            }
            None => (String::new(), String::new()),
        };
        self.db()
            .read(move |c| {
                let sql = "SELECT actor.did, cid, rev, createdAt, takedownRef IS NOT NULL, deactivatedAt IS NOT NULL \
                    FROM actor JOIN repo_root ON repo_root.did = actor.did WHERE (createdAt, actor.did) > (?1, ?2) \
                    ORDER BY createdAt, actor.did LIMIT ?3";
                let mut statement = c.prepare_cached(sql)?;
                let page = statement.query_map(params![created, did, limit], hosted_of)?;
                let (repos, created): (Vec<_>, Vec<_>) = page.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
                let next = match (repos.last(), created.last()) {
                    (Some(last), Some(created)) => Some(cursor_of(millis_of(created)?, last.did.as_str())),
                    _ => None,
                };
                Ok((repos, next))
            })
            .await
    }

    /// Where the repository of `did` stands.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn root(&self, did: &Did) -> Result<Option<RepoRoot>, AccountError> {
        let did = did.clone();
        self.db()
            .read(move |c| {
                let sql = "SELECT cid, rev FROM repo_root WHERE did = ?1";
                Ok(c.prepare_cached(sql)?.query_row(params![did.as_str()], root_of).optional()?)
            })
            .await
    }
}

/// Notes where repositories stand, one after the other; of an account that is gone, nothing.
///
/// # Errors
/// What SQLite says.
pub fn put_roots<'a>(
    tx: &Transaction<'_>,
    roots: impl IntoIterator<Item = (&'a Did, &'a Cid, &'a Tid)>,
) -> rusqlite::Result<()> {
    roots.into_iter().try_for_each(|(did, cid, rev)| put_root(tx, did, cid, rev))
}

pub(super) fn put_root(connection: &Connection, did: &Did, cid: &Cid, rev: &Tid) -> rusqlite::Result<()> {
    let sql = "INSERT INTO repo_root (did, cid, rev, indexedAt) SELECT ?1, ?2, ?3, ?4 \
        WHERE EXISTS (SELECT 1 FROM actor WHERE did = ?1) \
        ON CONFLICT (did) DO UPDATE SET cid = excluded.cid, rev = excluded.rev";
    let now = now_datetime();
    let values = params![did.as_str(), cid.to_string(), rev.as_str(), now.as_str()];
    connection.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

/// A cursor is a number and a text, `<number>::<text>`, by which a page was ordered.
pub(super) fn cursor_of(number: i64, text: &str) -> String {
    format!("{number}::{text}")
}

/// The parts of [`cursor_of`].
pub(super) fn split_cursor(cursor: &str) -> Result<(i64, &str), AccountError> {
    let (number, text) = cursor.split_once("::").ok_or(AccountError::Cursor)?;
    if text.is_empty() || text.contains("::") {
        return Err(AccountError::Cursor);
    }
    Ok((number.parse().map_err(|_| AccountError::Cursor)?, text))
}

/// The moment of a stored time, in milliseconds.
pub(super) fn millis_of(stored: &str) -> rusqlite::Result<i64> {
    let parsed = Datetime::parse(stored)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, Box::new(error)))?;
    Ok(parsed.unix_micros().div_euclid(1000))
}

fn hosted_of(row: &Row<'_>) -> rusqlite::Result<(HostedRepo, String)> {
    let status = Status::of(row.get(4)?, row.get(5)?);
    Ok((HostedRepo { did: did_of(row, 0)?, head: row.get(1)?, rev: row.get(2)?, status }, row.get(3)?))
}

fn root_of(row: &Row<'_>) -> rusqlite::Result<RepoRoot> {
    let (cid, rev): (String, String) = (row.get(0)?, row.get(1)?);
    let broken = |error: Box<dyn std::error::Error + Send + Sync>| {
        rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, error)
    };
    Ok(RepoRoot {
        cid: Cid::parse(&cid).map_err(|error| broken(Box::new(error)))?,
        rev: Tid::parse(&rev).map_err(|error| broken(Box::new(error)))?,
    })
}
