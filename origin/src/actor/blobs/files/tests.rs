//! Files beside rows: what is placed, ended and deleted, also after a failure in between.

use std::fs::{self, File};
use std::path::Path as FsPath;
use std::time::SystemTime;

use super::*;
use crate::actor::Prepared;
use crate::actor::blobs::served;
use crate::actor::tests::{account, apply, create, delete, did, open, upload};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn with(rkey: &str, blobs: &[&BlobRef]) -> Prepared {
    Prepared { blobs: blobs.iter().map(|blob| (*blob).clone()).collect(), ..create(rkey, rkey) }
}

/// The names of the files in one of the places of blobs: `""`, `tempt` or `quarantine`.
fn files(directory: &FsPath, place: &str) -> Vec<String> {
    let directory = directory.join("blocks").join(place).join(did(1).as_str());
    let entries = fs::read_dir(directory).into_iter().flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Makes everything that waits look as if it had waited for two hours.
fn age(directory: &FsPath) {
    let directory = directory.join("blocks/tempt").join(did(1).as_str());
    for entry in fs::read_dir(directory).unwrap() {
        let file = File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(SystemTime::now() - 2 * HOUR).unwrap();
    }
}

async fn execute(actors: &Actors, sql: &str) {
    let (store, sql) = (actors.store(&did(1)).await.unwrap(), sql.to_owned());
    store.db().unwrap().write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute_batch(&sql)?) }).unwrap();
}

async fn is_served(actors: &Actors, blob: &BlobRef) -> bool {
    let store = actors.store(&did(1)).await.unwrap();
    let row = store.db().unwrap().read_blocking(|connection| served(connection, &blob.cid)).unwrap();
    let file = actors.blobs().size(&did(1), &blob.cid).await.unwrap();
    assert!(row.is_none() || file == Some(blob.size), "a row without its file");
    row.is_some()
}

#[tokio::test]
async fn dying_between_file_and_transaction_leaves_an_upload_that_can_be_referred_to() {
    let directory = tempfile::tempdir().unwrap();
    let blob = {
        let actors = open(directory.path(), 10);
        account(&actors, 1).await;
        let blob = upload(&actors, 1, b"hello", "text/plain").await;
        let placed = actors.store(&did(1)).await.unwrap().place(vec![blob.clone()]).await.unwrap();
        assert!(placed.has(&blob.cid));
        blob
    };
    let actors = open(directory.path(), 10);
    assert_eq!((files(directory.path(), "").len(), files(directory.path(), "tempt").len()), (1, 1));
    assert!(!is_served(&actors, &blob).await);
    apply(&actors, 1, vec![with("a", &[&blob])]).await.unwrap();
    assert!(is_served(&actors, &blob).await);
    assert_eq!((files(directory.path(), "").len(), files(directory.path(), "tempt").len()), (1, 0));
}

#[tokio::test]
async fn a_refused_write_publishes_nothing_and_what_it_put_in_place_is_swept_with_the_upload() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let blob = upload(&actors, 1, b"hello", "text/plain").await;
    let elsewhere = Some(Cid::of_cbor(b"elsewhere"));
    let refused = actors.apply_writes(&did(1), vec![with("a", &[&blob])], elsewhere, || Ok(true)).await;
    assert!(matches!(refused, Err(WriteError::SwapCommit(_))));
    assert!(!is_served(&actors, &blob).await);
    age(directory.path());
    assert_eq!(actors.sweep_uploads(HOUR).await.unwrap(), 1);
    assert_eq!((files(directory.path(), ""), files(directory.path(), "tempt")), (Vec::new(), Vec::new()));
}

#[tokio::test]
async fn uploads_are_swept_when_they_have_waited_for_long_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let forgotten = upload(&actors, 1, b"forgotten", "text/plain").await;
    let referred = upload(&actors, 1, b"referred", "text/plain").await;
    // As an import leaves it that died before it came to its blobs.
    execute(
        &actors,
        &format!("INSERT INTO record_blob VALUES ('{}', 'at://did:plc:account1/com.example.record/z')", referred.cid),
    )
    .await;
    let gone = did(2);
    let orphan = futures_util::stream::iter([Ok::<_, std::io::Error>("orphan".into())]);
    actors.blobs().put_temporary(&gone, orphan, "text/plain", 10).await.unwrap();
    let published = upload(&actors, 1, b"published", "text/plain").await;
    apply(&actors, 1, vec![with("a", &[&published])]).await.unwrap();
    // As if the server had died before it removed the upload.
    let key = "a".repeat(52);
    fs::write(directory.path().join("blocks/tempt").join(did(1).as_str()).join(&key), "published").unwrap();
    age(directory.path());
    let recent = upload(&actors, 1, b"recent", "text/plain").await;

    assert_eq!(actors.sweep_uploads(HOUR).await.unwrap(), 2);
    assert_eq!(files(directory.path(), "tempt").len(), 2, "what is recent or referred to");
    assert_eq!(files(directory.path(), ""), [published.cid.to_string()]);
    let refused = apply(&actors, 1, vec![with("b", &[&forgotten])]).await;
    assert!(matches!(refused, Err(WriteError::BlobNotFound(_))));
    apply(&actors, 1, vec![with("c", &[&recent, &referred])]).await.unwrap();
    assert!(is_served(&actors, &referred).await && is_served(&actors, &recent).await);
    assert_eq!(actors.sweep_uploads(Duration::ZERO).await.unwrap(), 1, "the account that is gone");
}

#[tokio::test]
async fn what_an_earlier_process_left_to_delete_and_to_publish_is_done_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let (gone, again, waiting, lost) = {
        let actors = open(directory.path(), 10);
        account(&actors, 1).await;
        let gone = upload(&actors, 1, b"gone", "text/plain").await;
        let again = upload(&actors, 1, b"again", "text/plain").await;
        apply(&actors, 1, vec![with("a", &[&gone, &again])]).await.unwrap();
        let waiting = upload(&actors, 1, b"waiting", "text/plain").await;
        let lost = upload(&actors, 1, b"lost", "text/plain").await;
        for blob in [&waiting, &lost] {
            execute(
                &actors,
                &format!(
                    "INSERT INTO record_blob VALUES ('{}', 'at://did:plc:account1/com.example.record/z')",
                    blob.cid
                ),
            )
            .await;
        }
        execute(&actors, &format!("UPDATE blob SET tempKey = '{}' WHERE cid = '{}'", "z".repeat(52), lost.cid)).await;
        // One that was released, and one that was since referred to again.
        for blob in [&gone, &again] {
            execute(&actors, &format!("INSERT INTO headwater_released VALUES ('{}')", blob.cid)).await;
        }
        execute(
            &actors,
            &format!("DELETE FROM blob WHERE cid = '{0}'; DELETE FROM record_blob WHERE blobCid = '{0}'", gone.cid),
        )
        .await;
        (gone, again, waiting, lost)
    };
    let actors = open(directory.path(), 10);
    assert!(!is_served(&actors, &waiting).await);
    let swept = actors.sweep(|_| Ok(true)).await.unwrap();
    assert_eq!((swept.told, swept.failed), (1, 0));
    assert!(!is_served(&actors, &gone).await && is_served(&actors, &again).await);
    assert!(is_served(&actors, &waiting).await && !is_served(&actors, &lost).await);
    let mut expected = [again.cid.to_string(), waiting.cid.to_string()];
    expected.sort();
    assert_eq!(files(directory.path(), ""), expected);
    let store = actors.store(&did(1)).await.unwrap();
    let missing = store.db().unwrap().read_blocking(|c| super::super::missing(c, None, 10)).unwrap();
    assert_eq!(missing.iter().map(|blob| &blob.cid).collect::<Vec<_>>(), [&lost.cid]);
    upload(&actors, 1, b"lost", "text/plain").await;
    assert!(is_served(&actors, &lost).await, "a record waited for it");
}

#[tokio::test]
async fn deleting_that_fails_is_tried_again_and_keeps_the_account_on_the_list() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let one = upload(&actors, 1, b"1", "a/b").await;
    apply(&actors, 1, vec![with("a", &[&one])]).await.unwrap();
    // A directory in its place cannot be deleted as a file.
    let place = directory.path().join("blocks").join(did(1).as_str()).join(one.cid.to_string());
    fs::remove_file(&place).unwrap();
    fs::create_dir(&place).unwrap();
    apply(&actors, 1, vec![delete("a")]).await.unwrap();
    let store = actors.store(&did(1)).await.unwrap();
    store.retire();
    assert_eq!(actors.sequencer().dirty().await.unwrap(), [did(1)]);
    fs::remove_dir(&place).unwrap();
    fs::write(&place, "1").unwrap();
    while !files(directory.path(), "").is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    while !actors.sequencer().dirty().await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
        store.retire();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_without_blobs_does_not_wait_while_blobs_are_moved_and_one_with_them_does() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let blob = upload(&actors, 1, b"hello", "text/plain").await;
    let held = actors.store(&did(1)).await.unwrap().hold_blobs().await;
    let of = actors.clone();
    let (referred, reference) = (blob.clone(), did(1));
    let waiting =
        tokio::spawn(
            async move { of.apply_writes(&reference, vec![with("b", &[&referred])], None, || Ok(true)).await },
        );
    apply(&actors, 1, vec![create("a", "a")]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished() && !is_served(&actors, &blob).await);
    drop(held);
    waiting.await.unwrap().unwrap();
    assert!(is_served(&actors, &blob).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_writes_and_deletions_of_one_blob_at_once_never_leave_a_row_without_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let mut tasks = Vec::new();
    for writer in 0..6 {
        let actors = actors.clone();
        tasks.push(tokio::spawn(async move {
            let mut written = 0;
            for nth in 0..20 {
                let blob = upload(&actors, 1, b"the same", "text/plain").await;
                let rkey = format!("{writer}-{nth}");
                match apply(&actors, 1, vec![with(&rkey, &[&blob])]).await {
                    Ok(_) => {
                        assert!(is_served(&actors, &blob).await, "its record is there");
                        apply(&actors, 1, vec![delete(&rkey)]).await.unwrap();
                        written += 1;
                    }
                    // Somebody else deleted the last record that referred to it.
                    Err(WriteError::BlobNotFound(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            written
        }));
    }
    let mut written = 0;
    for task in tasks {
        written += task.await.unwrap();
    }
    assert!(written > 0);
    assert_eq!(files(directory.path(), ""), [""; 0]);
}

#[tokio::test]
async fn a_blob_is_taken_down_and_restored_and_goes_with_its_account() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let blob = upload(&actors, 1, b"hello", "text/plain").await;
    apply(&actors, 1, vec![with("a", &[&blob])]).await.unwrap();
    for _ in 0..2 {
        assert!(actors.take_down_blob(&did(1), &blob.cid, Some("case 1".to_owned())).await.unwrap());
        assert!(!is_served(&actors, &blob).await);
        assert_eq!((files(directory.path(), "").len(), files(directory.path(), "quarantine").len()), (0, 1));
    }
    let refused = apply(&actors, 1, vec![with("b", &[&blob])]).await;
    assert!(matches!(refused, Err(WriteError::BlobNotFound(_))));
    for _ in 0..2 {
        assert!(actors.restore_blob(&did(1), &blob.cid).await.unwrap());
        assert!(is_served(&actors, &blob).await);
    }
    assert!(!actors.take_down_blob(&did(1), &Cid::of_raw(b"unknown"), None).await.unwrap());
    assert!(!actors.restore_blob(&did(1), &Cid::of_raw(b"unknown")).await.unwrap());

    actors.take_down_blob(&did(1), &blob.cid, None).await.unwrap();
    let (_waiting, kept) = (upload(&actors, 1, b"1", "a/b").await, upload(&actors, 1, b"2", "a/b").await);
    apply(&actors, 1, vec![with("c", &[&kept])]).await.unwrap();
    for _ in 0..2 {
        actors.destroy(&did(1)).await.unwrap();
        let left = ["", "tempt", "quarantine"].map(|place| files(directory.path(), place).len());
        assert_eq!(left, [0; 3]);
    }
}
