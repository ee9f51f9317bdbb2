//! Work on accounts that touches more than this database, noted so that a process that dies in the middle of it leaves
//! word of what is to be finished or undone.
//!
//! A note is written before the first step that cannot be taken back, by the transaction that is that step where it is
//! one of this database, and goes with or after the last. What is done about one at a start is
//! [`crate::lifecycle::finish`]'s.

use rusqlite::{Connection, Row, params};
use shared::cid::Cid;
use shared::syntax::{Did, Handle};

use super::{AccountError, Accounts, did_of};
use crate::db::DbError;

/// What is not finished.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Work {
    /// An account is being made; its rows come last. With the operation that registers its DID, if the DID is new.
    Creation(Option<Cid>),
    /// Its rows are gone; its events and its files follow.
    Deletion,
    /// Its DID's document is given a new handle; the row follows.
    Renaming(Handle),
    /// An operation on its DID goes to the directory; the event follows.
    Identity,
}

impl Work {
    const CREATION: &'static str = "creation";
    const DELETION: &'static str = "deletion";
    const RENAMING: &'static str = "renaming";
    const IDENTITY: &'static str = "identity";

    const fn name(&self) -> &'static str {
        match self {
            Self::Creation(_) => Self::CREATION,
            Self::Deletion => Self::DELETION,
            Self::Renaming(_) => Self::RENAMING,
            Self::Identity => Self::IDENTITY,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Creation(operation) => operation.as_ref().map(ToString::to_string),
            Self::Deletion | Self::Identity => None,
            Self::Renaming(handle) => Some(handle.to_string()),
        }
    }

    /// None for what another version noted.
    fn of(name: &str, detail: Option<&str>) -> Option<Self> {
        match (name, detail) {
            (Self::CREATION, None) => Some(Self::Creation(None)),
            (Self::CREATION, Some(operation)) => Cid::parse(operation).ok().map(|cid| Self::Creation(Some(cid))),
            (Self::DELETION, _) => Some(Self::Deletion),
            (Self::IDENTITY, _) => Some(Self::Identity),
            (Self::RENAMING, Some(handle)) => Handle::parse(handle).ok().map(Self::Renaming),
            _ => None,
        }
    }
}

impl Accounts {
    /// Notes that `work` on the account of `did` begins, in place of an earlier note of the same kind.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn note(&self, did: &Did, work: Work) -> Result<(), AccountError> {
        let did = did.clone();
        self.db().write(move |tx| Ok(put(tx, &did, &work)?)).await
    }

    /// Notes that `work` on the account of `did` is finished or undone.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn finished(&self, did: &Did, work: Work) -> Result<(), AccountError> {
        let did = did.clone();
        self.db().write(move |tx| Ok(clear(tx, &did, &work)?)).await
    }

    /// All that is not finished.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn unfinished(&self) -> Result<Vec<(Did, Work)>, AccountError> {
        self.db().read(|c| Ok(all(c)?)).await
    }

    /// [`Accounts::unfinished`], for a start. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn unfinished_blocking(&self) -> Result<Vec<(Did, Work)>, DbError> {
        self.db().read_blocking(|c| Ok(all(c)?))
    }

    /// Whether the deletion of the account of `did` is not finished.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn is_leaving(&self, did: &Did) -> Result<bool, AccountError> {
        let did = did.clone();
        self.db()
            .read(move |c| {
                let sql = "SELECT count(*) FROM headwater_unfinished WHERE did = ?1 AND work = ?2";
                let noted: i64 =
                    c.prepare_cached(sql)?.query_row(params![did.as_str(), Work::DELETION], |row| row.get(0))?;
                Ok(noted > 0)
            })
            .await
    }
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<(Did, Work)>> {
    let sql = "SELECT did, work, detail FROM headwater_unfinished ORDER BY did, work";
    let read = |row: &Row<'_>| Ok((did_of(row, 0)?, row.get::<_, String>(1)?, row.get::<_, Option<String>>(2)?));
    let rows = connection.prepare_cached(sql)?.query_map([], read)?.collect::<Result<Vec<_>, _>>()?;
    let known = |(did, name, detail): (Did, String, Option<String>)| Some((did, Work::of(&name, detail.as_deref())?));
    Ok(rows.into_iter().filter_map(known).collect())
}

/// Everything that is not finished about the account of `did`.
pub(super) fn of(connection: &Connection, did: &Did) -> rusqlite::Result<Vec<Work>> {
    Ok(all(connection)?.into_iter().filter(|(whose, _)| whose == did).map(|(_, work)| work).collect())
}

pub(super) fn put(connection: &Connection, did: &Did, work: &Work) -> rusqlite::Result<()> {
    let sql = "INSERT INTO headwater_unfinished (did, work, detail) VALUES (?1, ?2, ?3) \
        ON CONFLICT (did, work) DO UPDATE SET detail = excluded.detail";
    connection.prepare_cached(sql)?.execute(params![did.as_str(), work.name(), work.detail()])?;
    Ok(())
}

pub(super) fn clear(connection: &Connection, did: &Did, work: &Work) -> rusqlite::Result<()> {
    let sql = "DELETE FROM headwater_unfinished WHERE did = ?1 AND work = ?2";
    connection.prepare_cached(sql)?.execute(params![did.as_str(), work.name()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_read_as_it_was_written_and_a_strange_one_not_at_all() {
        let handle = Handle::parse("alice.test").unwrap();
        for work in [
            Work::Creation(None),
            Work::Creation(Some(Cid::of_raw(b"x"))),
            Work::Deletion,
            Work::Identity,
            Work::Renaming(handle),
        ] {
            assert_eq!(Work::of(work.name(), work.detail().as_deref()), Some(work));
        }
        assert_eq!(Work::of("renaming", Some("no handle")), None);
        assert_eq!(Work::of("creation", Some("no cid")), None);
        assert_eq!(Work::of("what a newer server does", None), None);
    }
}
