//! Writes that wait together: each a commit of its own, none refused for another.

use futures_util::future::join_all;
use shared::data::BlobRef;
use shared::repo::ApplyError;
use tempfile::TempDir;

use super::*;
use crate::actor::Actors;
use crate::actor::tests::{account, apply, count, create, delete, did, open, upload, verify_stream};

/// Has everybody in `writes` wait in the line of the first account before anything is made.
async fn at_once(actors: &Actors, writes: Vec<(Prepared, Option<Cid>)>) -> Vec<Result<Option<Committed>, WriteError>> {
    let store = actors.store(&did(1)).await.unwrap();
    let held = actors.hold(&did(1)).await;
    let mut tasks = Vec::new();
    for (write, swap) in writes {
        let of = actors.clone();
        tasks.push(tokio::spawn(async move { of.apply_writes(&did(1), vec![write], swap, || Ok(true)).await }));
        // In this order.
        while store.line.lock().unwrap().waiting.len() < tasks.len() {
            tokio::task::yield_now().await;
        }
    }
    drop(held);
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

async fn actors() -> (TempDir, Actors) {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    (directory, actors)
}

/// The end of the log of the first account's store: how many transactions there were is seen by what each adds.
async fn log_len(directory: &TempDir, actors: &Actors) -> u64 {
    let store = actors.store(&did(1)).await.unwrap();
    assert!(store.db().unwrap().path().starts_with(directory.path()));
    std::fs::metadata(store.db().unwrap().path().with_extension("sqlite-wal")).unwrap().len()
}

fn waiting(ops: usize, alone: bool) -> Waiting {
    let writes = (0..ops).map(|nth| create(&nth.to_string(), "x")).collect();
    Waiting {
        writes,
        swap_commit: None,
        admit: Box::new(|| Ok(true)),
        tell: oneshot::channel().0,
        placed: Placed::default(),
        alone,
    }
}

#[test]
fn as_many_share_a_transaction_as_one_write_may_have_records_and_none_that_is_to_be_alone() {
    let all = [(1, false), (1, false), (1, true), (MAX_OPS - 1, false), (0, false), (1, false), (MAX_OPS, false)];
    let waiting = all.into_iter().map(|(ops, alone)| waiting(ops, alone)).collect();
    let mut line = Line { waiting, attended: true };
    let lens: Vec<_> = std::iter::from_fn(|| Some(line.next().len()).filter(|len| *len > 0)).collect();
    assert_eq!(lens, [2, 1, 2, 1, 1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_that_wait_together_share_a_transaction_and_are_commits_in_their_order() {
    let (directory, actors) = actors().await;
    apply(&actors, 1, vec![create("0", "0")]).await.unwrap();
    let before = log_len(&directory, &actors).await;
    apply(&actors, 1, vec![create("1", "1")]).await.unwrap();
    let alone = log_len(&directory, &actors).await - before;
    let writes = (2..10).map(|nth| (create(&nth.to_string(), "text"), None)).collect();
    let done = at_once(&actors, writes).await;
    let together = log_len(&directory, &actors).await - before - alone;
    assert!(together < 3 * alone, "{together} bytes for eight, {alone} for one");

    let revs: Vec<_> = done.iter().map(|one| one.as_ref().unwrap().as_ref().unwrap().head.rev).collect();
    assert!(revs.is_sorted() && revs.windows(2).all(|pair| pair[0] != pair[1]), "{revs:?}");
    assert!(done.iter().all(|one| one.as_ref().unwrap().as_ref().unwrap().ops.len() == 1));
    assert_eq!(count(&actors, 1, "record").await, 10);
    assert_eq!(verify_stream(&actors).await, [(did(1), 11)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_or_changes_nothing_leaves_the_others_as_they_are() {
    let (_directory, actors) = actors().await;
    let first = apply(&actors, 1, vec![create("a", "a")]).await.unwrap().unwrap();
    let stale = Some(first.head.commit.clone());
    let writes = vec![
        (create("b", "b"), stale.clone()),
        (create("a", "again"), None),
        (create("c", "c"), stale),
        (crate::actor::tests::update("b", "b"), None),
        (delete("missing"), None),
        (create("d", "d"), None),
    ];
    let done = at_once(&actors, writes).await;
    assert!(matches!(done[0], Ok(Some(_))));
    assert!(matches!(done[1], Err(WriteError::Apply(ApplyError::RecordExists(_)))), "{:?}", done[1]);
    let moved = &done[0].as_ref().unwrap().as_ref().unwrap().head.commit;
    assert!(matches!(&done[2], Err(WriteError::SwapCommit(at)) if at == moved), "{:?}", done[2]);
    assert!(matches!(done[3], Ok(None)));
    assert!(matches!(done[4], Err(WriteError::Apply(ApplyError::RecordMissing(_)))), "{:?}", done[4]);
    assert!(matches!(done[5], Ok(Some(_))));
    assert_eq!(count(&actors, 1, "record").await, 3);
    assert_eq!(verify_stream(&actors).await, [(did(1), 4)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_fails_for_one_is_made_for_each_alone() {
    let (_directory, actors) = actors().await;
    let store = actors.store(&did(1)).await.unwrap();
    let sql = r#"CREATE TRIGGER refuse BEFORE INSERT ON record WHEN new.rkey = 'bad'
                 BEGIN SELECT raise(ABORT, 'bad'); END"#;
    store.db().unwrap().write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute_batch(sql)?) }).unwrap();
    let writes = ["a", "bad", "b"].map(|rkey| (create(rkey, rkey), None));
    let done = at_once(&actors, writes.into()).await;
    assert!(matches!(done[0], Ok(Some(_))) && matches!(done[2], Ok(Some(_))));
    assert!(matches!(done[1], Err(WriteError::Actor(_))), "{:?}", done[1]);
    assert_eq!(count(&actors, 1, "record").await, 2);
    assert_eq!(verify_stream(&actors).await, [(did(1), 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_come_and_go_among_writes_that_wait_together() {
    let (_directory, actors) = actors().await;
    let (old, new) = (upload(&actors, 1, b"old", "a/b").await, upload(&actors, 1, b"new", "a/b").await);
    let with = |rkey: &str, blob: &BlobRef| Prepared { blobs: vec![blob.clone()], ..create(rkey, rkey) };
    apply(&actors, 1, vec![with("old", &old)]).await.unwrap();
    let writes = [create("a", "a"), with("new", &new), create("b", "b"), delete("old"), create("c", "c")];
    let done = at_once(&actors, writes.into_iter().map(|write| (write, None)).collect()).await;
    assert!(done.iter().all(|one| matches!(one, Ok(Some(_)))), "{done:?}");
    assert_eq!(done[3].as_ref().unwrap().as_ref().unwrap().released, std::slice::from_ref(&old.cid));
    assert_eq!(actors.blobs().size(&did(1), &old.cid).await.unwrap(), None);
    assert_eq!(actors.blobs().size(&did(1), &new.cid).await.unwrap(), Some(3));
    assert_eq!(verify_stream(&actors).await, [(did(1), 7)]);
}
