//! Uploads: from a client's bytes to a row that a record may refer to.
//!
//! The file is on the disk before its row is, and the row before the client is told. Dying in between leaves a file that
//! no row mentions, which is swept.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use rusqlite::{Connection, OptionalExtension as _, params};
use shared::cid::Cid;
use shared::data::BlobRef;
use shared::syntax::Did;

use crate::actor::store::Store;
use crate::actor::{ActorError, Actors};
use crate::blobstore::{BlobstoreError, Key, TemporaryBlob};
use crate::db::{DbError, blocking};
use crate::fault;
use crate::time::now_datetime;

/// Why an upload was not taken.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// The very blob is taken down.
    #[error("blob {0} has been taken down")]
    TakenDown(Cid),
    /// What came is too large or not whole, or could not be kept.
    #[error(transparent)]
    Blobstore(#[from] BlobstoreError),
    /// The account has no store, or it failed.
    #[error(transparent)]
    Actor(#[from] ActorError),
}

impl From<DbError> for UploadError {
    fn from(error: DbError) -> Self {
        Self::Actor(error.into())
    }
}

impl From<rusqlite::Error> for UploadError {
    fn from(error: rusqlite::Error) -> Self {
        DbError::from(error).into()
    }
}

/// What the store knows of a blob.
#[derive(Debug, Default)]
struct Known {
    taken_down: bool,
    /// A row says that it is permanent.
    permanent: bool,
    /// A row says that it is an upload of this key.
    waits_as: Option<Key>,
    /// A record refers to it.
    referenced: bool,
}

impl Known {
    /// Whether it is to be served, and not to wait for a record.
    const fn stays(&self) -> bool {
        self.permanent || self.referenced
    }
}

impl Actors {
    /// Takes a blob of at most `limit` bytes, of which its sender says that it is of the type `declared`. It waits for a
    /// record that refers to it; if there is one already it is served at once.
    ///
    /// # Errors
    /// An [`UploadError`]. Nothing is kept then.
    pub async fn upload_blob<E>(
        &self,
        did: &Did,
        body: impl Stream<Item = Result<Bytes, E>>,
        declared: &str,
        limit: u64,
    ) -> Result<BlobRef, UploadError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let store = self.store(did).await?;
        let upload = self.blobs().put_temporary(did, body, declared, limit).await?;
        fault::point("upload.kept");
        // A task of its own: a client that goes away must not stop it between its steps.
        let task = tokio::spawn(async move {
            let _held = store.hold_blobs().await;
            let taken = store.take_upload(&upload).await;
            if taken.is_err() {
                // What cannot be removed is swept.
                let _removed = store.blobs().remove_temporary(store.did(), vec![upload.key]).await;
            }
            taken?;
            Ok(BlobRef { cid: upload.cid, mime_type: upload.mime_type, size: upload.size })
        });
        task.await.unwrap_or_else(|_| Err(DbError::Abandoned.into()))
    }
}

impl Store {
    /// Writes an upload down. Under the right to move blobs.
    async fn take_upload(self: &Arc<Self>, upload: &TemporaryBlob) -> Result<(), UploadError> {
        let known = match self.note(upload, false).await? {
            Some(known) => known,
            None => {
                // Also when it should be there: the file may have been lost.
                self.blobs().make_permanent(self.did(), &[(upload.key.clone(), upload.cid.clone())]).await?;
                fault::point("upload.placed");
                self.note(upload, true).await?.unwrap_or_default()
            }
        };
        let stays = known.stays();
        fault::point("upload.written-down");
        let mut over: Vec<Key> = known.waits_as.into_iter().collect();
        over.extend(stays.then(|| upload.key.clone()));
        if !over.is_empty()
            && let Err(error) = self.blobs().remove_temporary(self.did(), over).await
        {
            tracing::warn!(did = %self.did(), %error, "an upload that is of no more use stays until it is swept");
        }
        Ok(())
    }

    /// Writes the row, under the account's lock; returns what was known before. `None`, and nothing is written, if the
    /// blob is to be served but was not `placed` where permanent ones are.
    async fn note(self: &Arc<Self>, upload: &TemporaryBlob, placed: bool) -> Result<Option<Known>, UploadError> {
        let _nobody_writes = self.lock().await;
        let (store, new) = (Arc::clone(self), upload.clone());
        let known = blocking(move || -> Result<_, UploadError> {
            if !store.directory().exists() {
                return Err(ActorError::NotFound(store.did().clone()).into());
            }
            let known = store.db()?.read_blocking(|connection| known(connection, &new.cid))?;
            if known.taken_down {
                return Err(UploadError::TakenDown(new.cid));
            }
            if !known.stays() {
                write_down(&store, &new, Some(&new.key))?;
            }
            Ok(known)
        })
        .await?;
        if known.stays() && !placed {
            return Ok(None);
        }
        if known.stays() && !known.permanent {
            // No commit tells that it is public from now on.
            let _told = self.sequencer().feed().change(self.did(), true, None).await?;
            let (store, upload) = (Arc::clone(self), upload.clone());
            blocking(move || write_down(&store, &upload, None)).await?;
        }
        Ok(Some(known))
    }
}

fn known(connection: &Connection, cid: &Cid) -> Result<Known, UploadError> {
    let cid = cid.to_string();
    let sql = r#"SELECT "tempKey", "takedownRef" IS NOT NULL FROM "blob" WHERE "cid" = ?1"#;
    let row = connection
        .prepare_cached(sql)?
        .query_row([&cid], |row| Ok((row.get::<_, Option<String>>(0)?, row.get::<_, bool>(1)?)))
        .optional()?;
    let sql = r#"SELECT EXISTS (SELECT 1 FROM "record_blob" WHERE "blobCid" = ?1)"#;
    let referenced = connection.prepare_cached(sql)?.query_row([&cid], |row| row.get(0))?;
    let Some((key, taken_down)) = row else { return Ok(Known { referenced, ..Known::default() }) };
    let permanent = key.is_none();
    Ok(Known { taken_down, permanent, waits_as: key.and_then(|key| Key::parse(&key)), referenced })
}

/// Writes the row of a blob that is no permanent one yet: of an upload, or of one that is permanent from now on.
fn write_down(store: &Store, upload: &TemporaryBlob, key: Option<&Key>) -> Result<(), UploadError> {
    let size = i64::try_from(upload.size).unwrap_or(i64::MAX);
    store.db()?.write_blocking(|transaction| -> Result<_, UploadError> {
        let sql = r#"INSERT INTO "blob" ("cid", "mimeType", "size", "tempKey", "createdAt") VALUES (?1, ?2, ?3, ?4, ?5)
            ON CONFLICT ("cid") DO UPDATE SET "mimeType" = excluded."mimeType", "tempKey" = excluded."tempKey""#;
        transaction.prepare_cached(sql)?.execute(params![
            upload.cid.to_string(),
            upload.mime_type,
            size,
            key.map(Key::as_str),
            now_datetime().as_str(),
        ])?;
        Ok(())
    })
}
