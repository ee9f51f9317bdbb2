//! What is not done to a store that is older than what was told of it, and what is once it is up to date.

use std::fs;
use std::time::Duration;

use shared::repo::{Swap, Write};

use crate::actor::tests::{account, apply, create, did, open, path, prepared, record, upload, verify_stream};
use crate::actor::{Prepared, Swept, WriteError};
use crate::blobstore::Blobstore;
use crate::db::DbError;

#[tokio::test]
async fn nothing_is_deleted_for_an_older_store_that_the_newer_needs() {
    let directory = tempfile::tempdir().unwrap();
    let blob = {
        let actors = open(directory.path(), 10);
        account(&actors, 1).await;
        let blob = upload(&actors, 1, b"bytes", "text/plain").await;
        let write = Write::Create { path: path("a"), record: record("1") };
        apply(&actors, 1, vec![Prepared { blobs: vec![blob.clone()], ..prepared(write) }]).await.unwrap();
        let delete = prepared(Write::Delete { path: path("a"), swap: Swap::Any });
        apply(&actors, 1, vec![delete]).await.unwrap();
        // The backup is of a moment at which the file was to go.
        let store = actors.store(&did(1)).await.unwrap();
        let sql = r#"INSERT INTO "headwater_released" ("cid") VALUES (?1)"#;
        let cid = blob.cid.to_string();
        let list = |tx: &rusqlite::Transaction<'_>| -> Result<_, DbError> { Ok(tx.execute(sql, [&cid])?) };
        store.db().unwrap().write_blocking(list).unwrap();
        store.db().unwrap().checkpoint_blocking().unwrap();
        fs::copy(store.database(), directory.path().join("backup")).unwrap();
        let strike = |tx: &rusqlite::Transaction<'_>| -> Result<_, DbError> {
            Ok(tx.execute(r#"DELETE FROM "headwater_released""#, [])?)
        };
        store.db().unwrap().write_blocking(strike).unwrap();
        let again = upload(&actors, 1, b"bytes", "text/plain").await;
        let write = Write::Create { path: path("b"), record: record("2") };
        apply(&actors, 1, vec![Prepared { blobs: vec![again], ..prepared(write) }]).await.unwrap();
        blob
    };
    let put_back = |actors: &crate::actor::Actors| {
        let store = actors.entry(&did(1));
        for of in ["store.sqlite", "store.sqlite-wal", "store.sqlite-shm"] {
            let _none = fs::remove_file(store.directory().join(of));
        }
        fs::copy(directory.path().join("backup"), store.database()).unwrap();
    };
    let actors = open(directory.path(), 10);
    put_back(&actors);
    let is_there = async |blobs: &Blobstore| blobs.size(&did(1), &blob.cid).await.unwrap() == Some(5);
    actors.sequencer().mark_dirty(did(1)).await.unwrap();
    for active in [true, false] {
        let swept = actors.sweep(move |_| Ok(active)).await.unwrap();
        assert_eq!(swept, Swept { behind: 1, ..Swept::default() });
        assert_eq!(actors.sequencer().dirty().await.unwrap(), [did(1)]);
    }
    // What was uploaded again to the older store is no rubbish, though no record in it refers to that.
    upload(&actors, 1, b"bytes", "text/plain").await;
    actors.sweep_uploads(Duration::ZERO).await.unwrap();
    let refused = apply(&actors, 1, vec![create("c", "3")]).await;
    assert!(matches!(refused, Err(WriteError::Behind { at, told }) if at < told));
    assert!(matches!(actors.recommit(&did(1)).await, Err(WriteError::Behind { .. })));
    assert!(is_there(actors.blobs()).await);

    assert_eq!(actors.replay(&did(1), 0).await.unwrap().commits, 1);
    apply(&actors, 1, vec![create("c", "3")]).await.unwrap();
    assert_eq!(actors.sweep(|_| Ok(true)).await.unwrap(), Swept { told: 1, ..Swept::default() });
    assert_eq!(verify_stream(&actors).await, [(did(1), 5)]);
}
