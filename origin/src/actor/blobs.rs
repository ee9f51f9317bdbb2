//! An account's blobs: what records say of them, what the store has of them, and how they come and go.
//!
//! Reads are here. [`upload`] takes blobs in; [`files`] keeps their files in step with their rows, and [`tidy`] does what
//! could not be done at once; [`adopt`] takes in those whose files are there already.
//!
//! Specification: <https://atproto.com/guides/account-migration>, <https://atproto.com/specs/blob>.

mod adopt;
pub(crate) mod files;
pub(super) mod tidy;
mod upload;

use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, params};
use shared::cid::Cid;
use shared::syntax::{AtUri, Tid};

use super::read::ReadError;

pub use upload::UploadError;

/// How long an upload waits for a record that refers to it. The specification asks for an hour at least.
pub const UPLOAD_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A blob that a record refers to and that is not here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingBlob {
    /// The blob.
    pub cid: Cid,
    /// A record that refers to it, the first by its URI.
    pub record: AtUri,
}

/// A blob that may be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// Its media type.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Blocks of the repository: commit, nodes and records.
    pub blocks: u64,
    /// Records.
    pub records: u64,
    /// Blobs that records refer to, each once.
    pub expected_blobs: u64,
    /// Blobs that are here.
    pub imported_blobs: u64,
}

/// What is known of a blob, if it is one that may be served: neither an upload that waits for a record nor taken down.
///
/// # Errors
/// When the store fails.
pub fn served(connection: &Connection, cid: &Cid) -> Result<Option<Served>, ReadError> {
    let mut statement = connection.prepare_cached(
        r#"SELECT "mimeType", "size" FROM "blob" WHERE "cid" = ?1 AND "tempKey" IS NULL AND "takedownRef" IS NULL"#,
    )?;
    let row = statement.query_row([cid.to_string()], |row| Ok((row.get(0)?, row.get::<_, i64>(1)?))).optional()?;
    Ok(row.map(|(mime_type, size)| Served { mime_type, size: u64::try_from(size).unwrap_or_default() }))
}

/// The blobs that records refer to, in the order of their CIDs and each once: at most `limit` after `cursor`, and only of
/// records written after the revision `since`.
///
/// # Errors
/// When the store fails.
pub fn list(
    connection: &Connection,
    since: Option<Tid>,
    cursor: Option<&str>,
    limit: u32,
) -> Result<Vec<Cid>, ReadError> {
    let mut statement = connection.prepare_cached(match since {
        None => {
            r#"SELECT DISTINCT "blobCid" FROM "record_blob" WHERE "blobCid" > ?1 AND ?2 = ''
               ORDER BY "blobCid" LIMIT ?3"#
        }
        Some(_) => {
            r#"SELECT DISTINCT "blobCid" FROM "record_blob" WHERE "blobCid" > ?1
               AND EXISTS (SELECT 1 FROM "record" WHERE "uri" = "recordUri" AND "repoRev" > ?2)
               ORDER BY "blobCid" LIMIT ?3"#
        }
    })?;
    let since = since.as_ref().map_or("", Tid::as_str);
    let mut rows = statement.query(params![cursor.unwrap_or_default(), since, limit])?;
    let mut blobs = Vec::new();
    while let Some(row) = rows.next()? {
        blobs.extend(row.get_ref(0)?.as_str().ok().and_then(|cid| Cid::parse(cid).ok()));
    }
    Ok(blobs)
}

/// The blobs that records refer to and that are not here, in the order of their CIDs: at most `limit` after `cursor`.
///
/// # Errors
/// When the store fails.
pub fn missing(connection: &Connection, cursor: Option<&str>, limit: u32) -> Result<Vec<MissingBlob>, ReadError> {
    let mut statement = connection.prepare_cached(
        r#"SELECT "blobCid", min("recordUri") FROM "record_blob" WHERE "blobCid" > ?1
           AND NOT EXISTS (SELECT 1 FROM "blob" WHERE "cid" = "blobCid")
           GROUP BY "blobCid" ORDER BY "blobCid" LIMIT ?2"#,
    )?;
    let mut rows = statement.query(params![cursor.unwrap_or_default(), limit])?;
    let mut missing = Vec::new();
    while let Some(row) = rows.next()? {
        let (cid, record) = (row.get_ref(0)?.as_str().ok(), row.get_ref(1)?.as_str().ok());
        let parsed = cid.zip(record).and_then(|(cid, uri)| Cid::parse(cid).ok().zip(AtUri::parse(uri).ok()));
        missing.extend(parsed.map(|(cid, record)| MissingBlob { cid, record }));
    }
    Ok(missing)
}

/// Counts. Costs a look at every row's entry in an index.
///
/// # Errors
/// When the store fails.
pub fn counts(connection: &Connection) -> Result<Counts, ReadError> {
    let transaction = connection.unchecked_transaction()?;
    let count = |sql| -> Result<u64, ReadError> {
        let count: i64 = transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        Ok(u64::try_from(count).unwrap_or_default())
    };
    Ok(Counts {
        blocks: count(r#"SELECT count(*) FROM "repo_block""#)?,
        records: count(r#"SELECT count(*) FROM "record""#)?,
        expected_blobs: count(r#"SELECT count(DISTINCT "blobCid") FROM "record_blob""#)?,
        imported_blobs: count(r#"SELECT count(*) FROM "blob""#)?,
    })
}

#[cfg(test)]
mod tests {
    use super::files::untethered;
    use super::*;
    use crate::actor::Prepared;
    use crate::actor::tests::{account, apply, create, did, open, upload};
    use crate::db::DbError;
    use shared::data::BlobRef;

    #[tokio::test]
    async fn blobs_are_listed_by_page_and_revision_and_missing_until_they_are_here() {
        let directory = tempfile::tempdir().unwrap();
        let actors = open(directory.path(), 10);
        account(&actors, 1).await;
        let store = actors.store(&did(1)).await.unwrap();
        let db = store.db().unwrap();
        let mut blobs = Vec::new();
        for bytes in [b"0", b"1", b"2", b"3", b"4"] {
            blobs.push(upload(&actors, 1, bytes, "a/b").await.cid);
        }
        blobs.sort_by_key(ToString::to_string);
        let put = |sql: &'static str, cid: &Cid| {
            let cid = cid.to_string();
            db.write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute(sql, [cid])?) }).unwrap();
        };
        let with = |rkey: &str, cids: &[Cid]| {
            let blob = |cid: &Cid| BlobRef { cid: cid.clone(), mime_type: "a/b".to_owned(), size: 1 };
            Prepared { blobs: cids.iter().map(blob).collect(), ..create(rkey, rkey) }
        };
        let first = apply(&actors, 1, vec![with("b", &blobs[..3]), with("a", &blobs[2..3])]).await.unwrap().unwrap();
        let second = apply(&actors, 1, vec![with("c", &blobs[2..])]).await.unwrap().unwrap();

        let list = |since, cursor: Option<&Cid>, limit| {
            let cursor = cursor.map(ToString::to_string);
            db.read_blocking(|c| list(c, since, cursor.as_deref(), limit)).unwrap()
        };
        assert_eq!(list(None, None, 10), blobs);
        assert_eq!(list(None, Some(&blobs[1]), 2), blobs[2..4]);
        assert_eq!(list(Some(first.head.rev), None, 10), blobs[2..]);
        assert!(list(Some(second.head.rev), None, 10).is_empty());

        let missing = |cursor: Option<&Cid>| {
            let cursor = cursor.map(ToString::to_string);
            db.read_blocking(|c| missing(c, cursor.as_deref(), 10)).unwrap()
        };
        assert!(missing(None).is_empty());
        for cid in &blobs[1..3] {
            put(r#"DELETE FROM "blob" WHERE "cid" = ?1"#, cid);
        }
        let lack = missing(None);
        assert_eq!(lack.iter().map(|blob| blob.cid.clone()).collect::<Vec<_>>(), blobs[1..3]);
        assert_eq!(lack[1].record.as_str(), format!("at://{}/com.example.record/a", did(1)));
        assert_eq!(missing(Some(&blobs[1])), lack[1..]);

        assert!(db.read_blocking(|c| untethered(c, 10)).unwrap().is_empty());
        put(r#"UPDATE "blob" SET "tempKey" = 'later' WHERE "cid" = ?1"#, &blobs[4]);
        assert_eq!(db.read_blocking(|c| untethered(c, 10)).unwrap(), [(blobs[4].clone(), "later".to_owned())]);

        let counts = db.read_blocking(counts).unwrap();
        assert_eq!((counts.records, counts.expected_blobs, counts.imported_blobs), (3, 5, 3));
        assert!(counts.blocks >= 5);
    }
}
