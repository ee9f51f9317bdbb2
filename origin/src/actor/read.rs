//! Reading an account's store: records, blocks, blobs, proofs and exports.
//!
//! Every function takes a connection and sees what is committed; those that put several things together do it in one
//! read transaction. Whether the account may be read at all is the caller's question. Taken-down records are not in what
//! is listed or got here, but they stay in the tree and so in exports and proofs, as in the reference.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use shared::cbor::{self, Encoded};
use shared::cid::Cid;
use shared::data::Value;
use shared::link::LinkError;
use shared::repo::mst::{MstError, Tree};
use shared::repo::{Block, Head};
use shared::syntax::{AtUri, Did, Nsid, RecordKey, Tid};

use super::store::{Blocks, read_block, read_head, read_root};
use super::{ActorError, WriteError};
use crate::db::DbError;

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The store failed.
    #[error(transparent)]
    Actor(#[from] ActorError),
    /// A block of the repository is missing or damaged.
    #[error("block {0} of the repository is missing or damaged")]
    Damaged(Cid),
    /// The tree cannot be read.
    #[error("tree is unreadable")]
    Tree(#[from] MstError),
    /// Blocks that were asked for are not in the repository.
    #[error("{} blocks are not in the repository", .0.len())]
    BlocksMissing(Vec<Cid>),
    /// Too many exports are on their way.
    #[error("too many exports at once")]
    Busy,
    /// What a replica would have to know is more than fits a message.
    #[error("the account cannot be replicated")]
    Unreplicable(#[source] LinkError),
    /// An export was given up before its end, because its client took nothing or the server stops.
    #[error("the export was given up")]
    Unfinished,
}

impl From<DbError> for ReadError {
    fn from(error: DbError) -> Self {
        Self::Actor(error.into())
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        DbError::from(error).into()
    }
}

/// A record as it is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Its address.
    pub uri: AtUri,
    /// Its CID.
    pub cid: Cid,
    /// Its content, as its block holds it.
    pub value: Encoded,
}

impl StoredRecord {
    /// Its content.
    ///
    /// # Errors
    /// [`ReadError::Damaged`].
    pub fn decode(&self) -> Result<Value, ReadError> {
        cbor::decode(&self.value.0).map_err(|_| ReadError::Damaged(self.cid.clone()))
    }
}

/// Which records are listed, and in which order.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The collection.
    pub collection: Nsid,
    /// At most how many.
    pub limit: u32,
    /// Only those beyond this key.
    pub cursor: Option<String>,
    /// Oldest key first; else newest first.
    pub reverse: bool,
}

/// The record at an address, unless it is taken down, or is another than the one asked for.
///
/// # Errors
/// When the store fails, or the record's block is missing or damaged.
pub fn record(connection: &Connection, uri: &AtUri, cid: Option<&Cid>) -> Result<Option<StoredRecord>, ReadError> {
    let mut statement = connection.prepare_cached(
        r#"SELECT "record"."cid", "repo_block"."content" FROM "record"
           JOIN "repo_block" ON "repo_block"."cid" = "record"."cid"
           WHERE "record"."uri" = ?1 AND "record"."takedownRef" IS NULL"#,
    )?;
    let row = statement
        .query_row([uri.as_str()], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?)))
        .optional()?;
    let Some((found, content)) = row else { return Ok(None) };
    let record = stored(uri.clone(), &found, content)?;
    Ok(Some(record).filter(|record| cid.is_none_or(|cid| *cid == record.cid)))
}

/// The records of a collection of `did`, by key. Costs as much as it returns, however large the collection is.
///
/// # Errors
/// As for [`record`].
pub fn list_records(connection: &Connection, did: &Did, listing: &Listing) -> Result<Vec<StoredRecord>, ReadError> {
    // The URI is the primary key, and sorts by record key within a collection; no key reaches the last byte here.
    let first = format!("at://{did}/{}/", listing.collection);
    let (mut above, mut below) = (first.clone(), format!("{first}\u{7f}"));
    if let Some(cursor) = &listing.cursor {
        let bound = if listing.reverse { &mut above } else { &mut below };
        *bound = format!("{first}{cursor}");
    }
    // Two statements, so that each walks the index in its own direction.
    let sql = if listing.reverse {
        r#"SELECT "record"."uri", "record"."cid", "repo_block"."content" FROM "record"
           JOIN "repo_block" ON "repo_block"."cid" = "record"."cid"
           WHERE "uri" > ?1 AND "uri" < ?2 AND "takedownRef" IS NULL ORDER BY "uri" ASC LIMIT ?3"#
    } else {
        r#"SELECT "record"."uri", "record"."cid", "repo_block"."content" FROM "record"
           JOIN "repo_block" ON "repo_block"."cid" = "record"."cid"
           WHERE "uri" > ?1 AND "uri" < ?2 AND "takedownRef" IS NULL ORDER BY "uri" DESC LIMIT ?3"#
    };
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params![above, below, listing.limit])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let (uri, cid) = (text(row, 0)?, text(row, 1)?);
        // A key that is none any more cannot be addressed either.
        if let Some(Ok(rkey)) = uri.strip_prefix(&first).map(RecordKey::parse) {
            records.push(stored(AtUri::record(did, &listing.collection, &rkey), cid, row.get(2)?)?);
        }
    }
    Ok(records)
}

/// A record that a reader who is behind may not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRecord {
    /// The record.
    pub record: StoredRecord,
    /// When it was written, as the store holds it.
    pub indexed_at: String,
}

pub(super) const SINCE: &str = r#"SELECT "record"."uri", "record"."cid", "collection", "indexedAt", "content" FROM "record"
    JOIN "repo_block" ON "repo_block"."cid" = "record"."cid"
    WHERE "record"."repoRev" > ?1 AND "takedownRef" IS NULL ORDER BY "record"."repoRev" LIMIT ?2"#;

/// What was written after revision `rev`, oldest first: of the first `limit` records those of `collections`.
///
/// Nothing, if nothing older is here: then `rev` is another server's, before the account came, and says nothing of what
/// is new.
///
/// # Errors
/// As for [`record`].
pub fn records_since(
    connection: &Connection,
    rev: &Tid,
    limit: u32,
    collections: &[&str],
) -> Result<Vec<NewRecord>, ReadError> {
    let mut statement = connection.prepare_cached(SINCE)?;
    let mut rows = statement.query(params![rev.as_str(), limit])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        if collections.contains(&row.get_ref(2)?.as_str().unwrap_or_default())
            && let Ok(uri) = AtUri::parse(&row.get::<_, String>(0)?)
        {
            let record = stored(uri, &row.get::<_, String>(1)?, row.get(4)?)?;
            records.push(NewRecord { record, indexed_at: row.get(3)? });
        }
    }
    if !records.is_empty() {
        let mut older = connection.prepare_cached(r#"SELECT 1 FROM "record" WHERE "repoRev" <= ?1 LIMIT 1"#)?;
        if !older.exists([rev.as_str()])? {
            records.clear();
        }
    }
    Ok(records)
}

/// The text in a column, where the database holds it.
fn text<'r>(row: &'r Row<'_>, column: usize) -> Result<&'r str, rusqlite::Error> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn stored(uri: AtUri, cid: &str, content: Vec<u8>) -> Result<StoredRecord, ReadError> {
    let cid = Cid::parse(cid).map_err(|_| ReadError::Damaged(Cid::of_cbor(&content)))?;
    Ok(StoredRecord { uri, cid, value: Encoded(content.into()) })
}

/// The collections that have records, in order.
///
/// # Errors
/// When the store fails.
pub fn collections(connection: &Connection) -> Result<Vec<String>, ReadError> {
    // One look into the index for each collection, however many records it has.
    let mut statement = connection.prepare_cached(
        r#"WITH RECURSIVE "next" ("collection") AS (
             SELECT min("collection") FROM "record"
             UNION ALL
             SELECT (SELECT min("collection") FROM "record" WHERE "collection" > "next"."collection")
             FROM "next" WHERE "next"."collection" IS NOT NULL)
           SELECT "collection" FROM "next" WHERE "collection" IS NOT NULL"#,
    )?;
    Ok(statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Where the repository stands: commit, revision and tree.
///
/// # Errors
/// When the store fails or the commit is missing.
pub fn head(connection: &Connection) -> Result<Option<Head>, ReadError> {
    read_head(connection).map_err(|error| match error {
        WriteError::Damaged(cid) => ReadError::Damaged(cid),
        WriteError::Actor(error) => error.into(),
        _ => DbError::Abandoned.into(),
    })
}

/// The latest commit and its revision.
///
/// # Errors
/// When the store fails.
pub fn latest_commit(connection: &Connection) -> Result<Option<(Cid, Tid)>, ReadError> {
    Ok(read_root(connection)?)
}

/// The proof that a record is in the repository, or is not: commit, the nodes on the path, and the record if there is
/// one; and the revision at which that is so.
///
/// # Errors
/// When the store fails or a block is missing.
pub fn proof(
    connection: &Connection,
    collection: &Nsid,
    rkey: &RecordKey,
) -> Result<Option<(Tid, Vec<Block>)>, ReadError> {
    let transaction = connection.unchecked_transaction()?;
    let Some(head) = head(&transaction)? else { return Ok(None) };
    let required = |cid: &Cid| -> Result<Block, ReadError> {
        let bytes: Option<Bytes> = read_block(&transaction, cid)?;
        Ok(Block { cid: cid.clone(), bytes: bytes.ok_or_else(|| ReadError::Damaged(cid.clone()))? })
    };
    let mut blocks = vec![required(&head.commit)?];
    let store = Blocks(&transaction);
    let mut tree = Tree::open(&store, head.data);
    let key = format!("{collection}/{rkey}");
    blocks.extend(tree.proof(&key)?);
    if let Some(record) = tree.get(&key)? {
        blocks.push(required(&record)?);
    }
    Ok(Some((head.rev, blocks)))
}
