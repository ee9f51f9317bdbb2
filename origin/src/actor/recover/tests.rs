//! What a start makes of what an earlier process left: events, heads and the dirty list.

use shared::firehose::Event;
use shared::firehose::verify::verify_sync;

use super::*;
use crate::actor::tests::{account, apply, count, create, did, key, open, verify_stream};
use crate::sequencer::{Batch, NewHead};

/// Leaves accounts 1 and 2 as a process does that dies between commit and sequence.
async fn die(directory: &std::path::Path) {
    let actors = open(directory, 10);
    let meddler = rusqlite::Connection::open(directory.join("sequencer.sqlite")).unwrap();
    for n in [1, 2] {
        account(&actors, n).await;
        apply(&actors, n, vec![create("a", "1")]).await.unwrap();
    }
    meddler
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON repo_seq BEGIN SELECT RAISE(ABORT, 'full'); END")
        .unwrap();
    for n in [1, 2] {
        assert!(apply(&actors, n, vec![create("b", "2")]).await.is_err());
    }
    meddler.execute_batch("DROP TRIGGER full").unwrap();
}

#[tokio::test]
async fn a_sweep_tells_what_is_untold_of_active_accounts_alone() {
    let directory = tempfile::tempdir().unwrap();
    die(directory.path()).await;
    let actors = open(directory.path(), 10);
    actors.sequencer().mark_dirty(did(3)).await.unwrap();
    let swept = actors.sweep(|did| Ok(*did != super::super::tests::did(2))).await.unwrap();
    assert_eq!(swept, Swept { told: 1, dropped: 2, ..Swept::default() });
    assert_eq!(verify_stream(&actors).await, [(did(1), 3), (did(2), 2)]);
    assert_eq!(count(&actors, 2, "headwater_pending").await, 0);
    // The list is worked off behind the events.
    actors.sequencer().mark_dirty(did(4)).await.unwrap();
    assert_eq!(actors.sequencer().dirty().await.unwrap(), [did(4)]);
    assert_eq!(actors.sweep(|_| Ok(true)).await.unwrap(), Swept { dropped: 1, ..Swept::default() });
    while !actors.sequencer().dirty().await.unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    let last = actors.sequencer().last();
    assert_eq!(actors.sweep(|_| Ok(true)).await.unwrap(), Swept::default());
    assert_eq!(actors.sequencer().last(), last, "nothing is told twice");
}

#[tokio::test]
async fn an_account_that_cannot_be_swept_stays_listed_and_does_not_stop_the_others() {
    let directory = tempfile::tempdir().unwrap();
    die(directory.path()).await;
    let actors = open(directory.path(), 10);
    let swept = actors
        .sweep(|did| if *did == super::super::tests::did(1) { Err(DbError::Abandoned) } else { Ok(true) })
        .await
        .unwrap();
    assert_eq!(swept, Swept { told: 1, failed: 1, ..Swept::default() });
    actors.sequencer().mark_dirty(did(1)).await.unwrap();
    assert_eq!(actors.sequencer().dirty().await.unwrap(), [did(1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_during_a_sweep_leave_one_unbroken_chain() {
    let directory = tempfile::tempdir().unwrap();
    die(directory.path()).await;
    let actors = open(directory.path(), 10);
    let sweep = {
        let actors = actors.clone();
        tokio::spawn(async move { actors.sweep(|_| Ok(true)).await })
    };
    let writes: Vec<_> = (0..20)
        .map(|i| {
            let actors = actors.clone();
            tokio::spawn(async move { apply(&actors, 1 + i % 2, vec![create(&format!("w{i}"), "x")]).await })
        })
        .collect();
    for write in writes {
        write.await.unwrap().unwrap();
    }
    sweep.await.unwrap().unwrap();
    assert_eq!(verify_stream(&actors).await, [(did(1), 13), (did(2), 13)]);
}

#[tokio::test]
async fn a_head_of_ones_own_is_left_and_a_foreign_one_is_signed_anew() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let head = apply(&actors, 1, vec![create("a", "1")]).await.unwrap().unwrap().head;
    let kept = actors.recommit(&did(1)).await.unwrap();
    assert_eq!(kept.head, head);
    drop(kept);

    // As the reference leaves it after an import: a revision that is not the commit's.
    let rev = Tid::next_after(Some(&head.rev), now_micros(), 3).unwrap();
    {
        let store = actors.store(&did(1)).await.unwrap();
        let mut writing = store.lock().await;
        writing.head = None;
        let sql = r#"UPDATE "repo_root" SET "rev" = ?1"#;
        store
            .db()
            .unwrap()
            .write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute(sql, [rev.as_str()])?) })
            .unwrap();
    }
    let signed = actors.recommit(&did(1)).await.unwrap();
    assert!(signed.head.rev > rev && signed.head.commit != head.commit && signed.head.data == head.data);
    let Event::Sync(sync) = signed.sync.decode().unwrap() else { panic!("another event") };
    assert_eq!(verify_sync(&sync, None, &key().public_key(), now_micros()).unwrap().head.rev, signed.head.rev);
    assert_eq!(count(&actors, 1, "repo_block").await, 3, "the old commit is gone");

    let new = NewHead { commit: signed.head.commit.clone(), rev: signed.head.rev };
    let batch = Batch {
        did: did(1),
        events: vec![signed.sync.clone()],
        head: Some(new),
        repair: false,
        drained: None,
        released: Vec::new(),
    };
    actors.sequencer().append(batch, None).await.unwrap().unwrap();
    let write = {
        let actors = actors.clone();
        tokio::spawn(async move { apply(&actors, 1, vec![create("b", "2")]).await })
    };
    tokio::task::yield_now().await;
    assert!(!write.is_finished(), "nobody writes while the head is being told");
    drop(signed);
    write.await.unwrap().unwrap();
    assert_eq!(verify_stream(&actors).await, [(did(1), 3)]);
}

#[test]
fn a_revision_from_the_near_future_is_passed_and_one_from_the_far_future_is_not() {
    let now = now_micros();
    let own = Tid::from_parts(now - 1_000_000, 1);
    let near = Tid::from_parts(now + AHEAD_MICROS / 2, 9);
    assert!(rev_above(own, near, 1).unwrap() > near);
    let far = Tid::from_parts(now + 100 * AHEAD_MICROS, 9);
    let above = rev_above(own, far, 1).unwrap();
    assert!(above > own && above.micros() < now + AHEAD_MICROS);
    let clock_went_back = Tid::from_parts(now + 100 * AHEAD_MICROS, 9);
    assert!(rev_above(clock_went_back, own, 1).unwrap() > clock_went_back);
}

/// Leaves a blob of an account to be deleted where it cannot be.
async fn leave_a_blob(actors: &Actors, directory: &std::path::Path, n: usize) -> std::path::PathBuf {
    let cid = shared::cid::Cid::of_raw(b"left");
    let (store, listed) = (actors.store(&did(n)).await.unwrap(), cid.to_string());
    let sql = "INSERT INTO headwater_released VALUES (?1)";
    let listed = store.db().unwrap().write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute(sql, [listed])?) });
    assert_eq!(listed.unwrap(), 1);
    // A directory cannot be deleted as a file.
    let place = directory.join("blocks").join(did(n).as_str()).join(cid.to_string());
    std::fs::create_dir_all(&place).unwrap();
    place
}

#[tokio::test]
async fn every_event_is_told_before_a_blob_is_waited_for_and_what_fails_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    die(directory.path()).await;
    // One open store: whatever is looked at makes it let go of another.
    let actors = open(directory.path(), 1);
    let places = [leave_a_blob(&actors, directory.path(), 1).await, leave_a_blob(&actors, directory.path(), 2).await];
    let swept = actors.sweep(|_| Ok(true)).await.unwrap();
    assert_eq!(swept, Swept { failed: 2, ..Swept::default() });
    assert_eq!(verify_stream(&actors).await, [(did(1), 3), (did(2), 3)]);
    assert_eq!(actors.sequencer().dirty().await.unwrap().len(), 2);
    for place in &places {
        std::fs::remove_dir(place).unwrap();
        std::fs::write(place, "left").unwrap();
    }
    while !actors.sequencer().dirty().await.unwrap().is_empty() {
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(places.iter().all(|place| !place.exists()));
}
