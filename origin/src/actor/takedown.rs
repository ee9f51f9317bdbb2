//! Records and blobs that are taken down: hidden, and kept for the day that they are not.
//!
//! Blobs are taken down where their files are seen to, by [`Actors::take_down_blob`](super::Actors::take_down_blob).
//!
//! Specification: lexicon `com.atproto.admin.updateSubjectStatus`.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use shared::cid::Cid;
use shared::syntax::AtUri;

use crate::db::DbError;

/// A record's CID, and on whose word or since when it is taken down, if it is; `None` if there is no such record.
///
/// # Errors
/// When the store fails.
pub fn of_record(connection: &Connection, uri: &AtUri) -> Result<Option<(Cid, Option<String>)>, DbError> {
    let mut statement = connection.prepare_cached(r#"SELECT "cid", "takedownRef" FROM "record" WHERE "uri" = ?1"#)?;
    let found = statement.query_row([uri.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get(1)?))).optional()?;
    Ok(found.and_then(|(cid, reference)| Some((Cid::parse(&cid).ok()?, reference))))
}

/// As [`of_record`], of a blob.
///
/// # Errors
/// When the store fails.
pub fn of_blob(connection: &Connection, cid: &Cid) -> Result<Option<Option<String>>, DbError> {
    let mut statement = connection.prepare_cached(r#"SELECT "takedownRef" FROM "blob" WHERE "cid" = ?1"#)?;
    Ok(statement.query_row([cid.to_string()], |row| row.get(0)).optional()?)
}

/// Takes a record down, or no longer without a `reference`. Returns whether there is one.
///
/// # Errors
/// When the store fails.
pub fn set_record(transaction: &Transaction<'_>, uri: &AtUri, reference: Option<&str>) -> Result<bool, DbError> {
    let mut statement = transaction.prepare_cached(r#"UPDATE "record" SET "takedownRef" = ?2 WHERE "uri" = ?1"#)?;
    Ok(statement.execute(params![uri.as_str(), reference])? > 0)
}
