//! Blobs that records refer to, whose files are where they belong, and of which the store has no row: it was brought to
//! where the sequence says, and the sequence tells of no uploads.

use std::sync::Arc;

use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use shared::cbor;
use shared::cid::Cid;
use shared::data;

use crate::actor::WriteError;
use crate::actor::store::Store;
use crate::blobstore::BlobstoreError;
use crate::db::{DbError, blocking};
use crate::fault;
use crate::time::now_datetime;

/// How many blobs are looked at together.
const PAGE: u32 = 500;
/// How many of them at once: each may be a question to another machine.
const AT_ONCE: usize = 8;
/// The type of a blob of which no record says it.
const UNKNOWN: &str = "application/octet-stream";

impl Store {
    /// Makes rows for them. Takes both locks.
    pub(in crate::actor) async fn adopt(self: &Arc<Self>) -> Result<(), WriteError> {
        // No file comes or goes meanwhile.
        let _held = self.hold_blobs().await;
        let mut after = String::new();
        loop {
            let (store, from) = (Arc::clone(self), after);
            let page = blocking(move || store.db()?.read_blocking(|c| Ok::<_, WriteError>(unknown(c, &from)?))).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.clone();
            let found = self.find(page.iter().filter_map(|cid| Cid::parse(cid).ok()).collect()).await?;
            if found.is_empty() {
                continue;
            }
            let nobody_writes = self.lock().await;
            // No commit tells that they are public from now on.
            let told = self.sequencer().feed().change(self.did(), true, None).await?;
            let store = Arc::clone(self);
            blocking(move || {
                store.db()?.write_blocking(|transaction| {
                    found.iter().try_for_each(|(cid, size)| put(transaction, cid, *size))?;
                    Ok::<_, WriteError>(())
                })
            })
            .await?;
            fault::point("replay.adopted");
            drop((told, nobody_writes));
        }
    }

    /// Those of `blobs` of which there is a file, each with its length.
    async fn find(&self, blobs: Vec<Cid>) -> Result<Vec<(Cid, u64)>, BlobstoreError> {
        let looked_up = stream::iter(blobs).map(|cid| async move {
            let size = self.blobs().size(self.did(), &cid).await?;
            Ok::<_, BlobstoreError>(size.map(|size| (cid, size)))
        });
        looked_up.buffer_unordered(AT_ONCE).try_filter_map(|found| std::future::ready(Ok(found))).try_collect().await
    }
}

/// The blobs after `after` that records refer to and that no row says are permanent.
fn unknown(connection: &Connection, after: &str) -> Result<Vec<String>, DbError> {
    let mut rows = connection.prepare_cached(
        r#"SELECT DISTINCT "blobCid" FROM "record_blob" WHERE "blobCid" > ?1 AND NOT EXISTS
           (SELECT 1 FROM "blob" WHERE "cid" = "blobCid" AND ("tempKey" IS NULL OR "takedownRef" IS NOT NULL))
           ORDER BY "blobCid" LIMIT ?2"#,
    )?;
    Ok(rows.query_map(params![after, PAGE], |row| row.get(0))?.collect::<Result<_, _>>()?)
}

/// Makes a row for a blob, if a record still refers to it. What the record says of its type is what is known.
fn put(transaction: &Transaction<'_>, cid: &Cid, size: u64) -> Result<(), DbError> {
    let mut referring = transaction.prepare_cached(
        r#"SELECT "content" FROM "record_blob" JOIN "record" ON "uri" = "recordUri"
           JOIN "repo_block" ON "repo_block"."cid" = "record"."cid" WHERE "blobCid" = ?1 LIMIT 1"#,
    )?;
    let Some(record) = referring.query_row([cid.to_string()], |row| row.get::<_, Vec<u8>>(0)).optional()? else {
        return Ok(());
    };
    let blobs = cbor::decode(&record).map(|record| data::blobs(&record)).unwrap_or_default();
    let mime_type = blobs.iter().find(|blob| blob.cid == *cid).map_or(UNKNOWN, |blob| &blob.mime_type);
    let size = i64::try_from(size).unwrap_or(i64::MAX);
    transaction
        .prepare_cached(
            r#"INSERT INTO "blob" ("cid", "mimeType", "size", "createdAt") VALUES (?1, ?2, ?3, ?4)
               ON CONFLICT ("cid") DO UPDATE SET "tempKey" = NULL"#,
        )?
        .execute(params![cid.to_string(), mime_type, size, now_datetime().as_str()])?;
    Ok(())
}
