//! Exports read back: order, completeness, the moment that they show, and readers who go or stop.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt as _;
use shared::repo::commit::Commit;
use shared::repo::mst::{Step, Walk as Steps};
use shared::repo::{Block, BlockMap};

use super::*;
use crate::actor::tests::{account, apply, create, delete, did, key, open, record, update};

async fn bytes(mut car: CarStream) -> Bytes {
    let mut file = Vec::new();
    while let Some(chunk) = car.next().await {
        file.extend_from_slice(&chunk.unwrap());
    }
    file.into()
}

async fn file(actors: &Actors, since: Option<Tid>) -> car::Car {
    let export = actors.export(&did(1), since).await.unwrap();
    let commit = export.commit.clone();
    let file = car::read(bytes(export.car).await, car::MAX_BLOCK_LEN).unwrap();
    assert_eq!(file.single_root().unwrap(), &commit);
    file
}

fn cids(blocks: &[Block]) -> HashSet<Cid> {
    blocks.iter().map(|block| block.cid.clone()).collect()
}

/// How many records the tree has; panics if something is missing or mixed.
fn verify(file: &car::Car) -> usize {
    let root = file.single_root().unwrap();
    assert_eq!(file.blocks[0].cid, *root, "the commit comes first");
    let commit = Commit::from_block(&file.blocks[0].bytes).unwrap();
    assert!(commit.is_signed_by(&key().public_key()));
    let blocks: BlockMap = file.blocks.iter().cloned().collect();
    assert_eq!(blocks.len(), file.blocks.len(), "each block once");
    let (mut records, mut linked) = (0, HashSet::from([root.clone()]));
    for step in Steps::new(&blocks, commit.data) {
        match step.unwrap() {
            Step::Node(node) => drop(linked.insert(node.cid)),
            Step::Leaf { value, .. } => {
                assert!(cids(&file.blocks).contains(&value));
                linked.insert(value);
                records += 1;
            }
        }
    }
    assert_eq!(linked.len(), blocks.len(), "nothing else");
    records
}

#[tokio::test]
async fn an_export_is_whole_in_order_and_without_what_was_deleted() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    assert_eq!(verify(&file(&actors, None).await), 0);
    for batch in 0..3 {
        let writes = (0..150).map(|n| create(&format!("{batch}-{n}"), &(n % 100).to_string()));
        apply(&actors, 1, writes.collect()).await.unwrap();
    }
    apply(&actors, 1, vec![delete("0-99"), delete("1-99"), update("2-99", "new")]).await.unwrap();
    let file = file(&actors, None).await;
    assert_eq!(verify(&file), 448);
    assert!(!cids(&file.blocks).contains(&record("99").cid));
    assert!(matches!(actors.export(&did(2), None).await, Err(ReadError::Actor(ActorError::NotFound(_)))));
}

#[tokio::test]
async fn a_diff_holds_what_came_after_and_doubt_gives_the_whole() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    apply(&actors, 1, (0..50).map(|n| create(&format!("a{n}"), &format!("a{n}"))).collect()).await.unwrap();
    let before = apply(&actors, 1, vec![create("back", "again")]).await.unwrap().unwrap().head;
    let had = cids(&file(&actors, None).await.blocks);
    apply(&actors, 1, vec![delete("back"), create("gone", "gone")]).await.unwrap();
    apply(&actors, 1, vec![delete("gone")]).await.unwrap();
    let last = apply(&actors, 1, vec![create("back", "again"), create("b", "b")]).await.unwrap().unwrap().head;

    let whole = file(&actors, None).await;
    let diff = file(&actors, Some(before.rev)).await;
    assert_eq!(diff.blocks[0].cid, last.commit);
    let diff = cids(&diff.blocks);
    assert!(diff.contains(&record("again").cid) && diff.contains(&record("b").cid));
    assert!(!diff.contains(&record("gone").cid) && !diff.contains(&record("a1").cid));
    assert!(cids(&whole.blocks).iter().all(|cid| had.contains(cid) || diff.contains(cid)));

    assert_eq!(file(&actors, Some(last.rev)).await.blocks.len(), 1, "the commit alone");
    let later = Tid::next_after(Some(&last.rev), 0, 0).unwrap();
    for unknown in ["2222222222222".parse().unwrap(), later] {
        assert_eq!(file(&actors, Some(unknown)).await, whole);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exports_during_writes_each_show_one_commit() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    for batch in 0..5 {
        apply(&actors, 1, (0..200).map(|n| create(&format!("{batch}-{n}"), &"x".repeat(n))).collect()).await.unwrap();
    }
    let done = Arc::new(AtomicBool::new(false));
    let writer = {
        let (actors, done) = (actors.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                let rkey = format!("{}-{}", n % 5, n % 200);
                apply(&actors, 1, vec![delete(&rkey)]).await.unwrap();
                apply(&actors, 1, vec![create(&rkey, &n.to_string())]).await.unwrap();
                n += 1;
            }
        })
    };
    let mut heads = HashSet::new();
    for _ in 0..12 {
        let export = actors.export(&did(1), None).await.unwrap();
        heads.insert(export.rev);
        // The client is slower than the writer.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let file = car::read(bytes(export.car).await, car::MAX_BLOCK_LEN).unwrap();
        assert!((999..=1000).contains(&verify(&file)));
        assert_eq!(Commit::from_block(&file.blocks[0].bytes).unwrap().rev, export.rev);
    }
    done.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    assert!(heads.len() > 3, "the writer was at work: {}", heads.len());
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place_and_its_snapshot() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    apply(&actors, 1, (0..20).map(|n| create(&n.to_string(), &"x".repeat(50_000 + n))).collect()).await.unwrap();
    let mut kept = Vec::new();
    for _ in 0..AT_ONCE {
        kept.push(actors.export(&did(1), None).await.unwrap());
    }
    assert_eq!(actors.inner.exports.available_permits(), 0);
    let waiting = {
        let actors = actors.clone();
        tokio::spawn(async move { actors.export(&did(1), None).await })
    };
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiting.is_finished());
    kept.clear();
    drop(waiting.await.unwrap().unwrap());
    while actors.inner.exports.available_permits() < AT_ONCE {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    // Nobody reads any more: the log can be emptied.
    actors.store(&did(1)).await.unwrap().db().unwrap().checkpoint_blocking().unwrap();
    let wal = actors.directory(&did(1)).join("store.sqlite-wal");
    assert_eq!(std::fs::metadata(wal).unwrap().len(), 0);
}

#[tokio::test]
async fn an_export_that_breaks_off_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    apply(&actors, 1, (0..20).map(|n| create(&n.to_string(), &"x".repeat(50_000 + n))).collect()).await.unwrap();
    let store = actors.store(&did(1)).await.unwrap();
    let lost = record(&"x".repeat(50_007)).cid.to_string();
    store
        .db()
        .unwrap()
        .write_blocking(|tx| -> Result<_, DbError> {
            Ok(tx.execute(r#"DELETE FROM "repo_block" WHERE "cid" = ?1"#, [&lost])?)
        })
        .unwrap();
    let mut car = actors.export(&did(1), None).await.unwrap().car;
    let mut last = None;
    while let Some(chunk) = car.next().await {
        last = Some(chunk);
    }
    assert!(matches!(last, Some(Err(ReadError::Tree(_)))));
}

#[tokio::test]
async fn blocks_are_given_once_each_and_only_all_together() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    account(&actors, 2).await;
    apply(&actors, 1, vec![create("a", "a"), create("b", "b")]).await.unwrap();
    apply(&actors, 2, vec![create("c", "c")]).await.unwrap();
    let (a, b, c) = (record("a"), record("b"), record("c"));
    let asked = vec![b.cid.clone(), a.cid.clone(), b.cid.clone()];
    let file = car::read(bytes(actors.export_blocks(&did(1), asked).await.unwrap()).await, car::MAX_BLOCK_LEN).unwrap();
    assert_eq!((file.roots.len(), file.blocks), (0, vec![b, a.clone()]));
    let foreign = actors.export_blocks(&did(1), vec![a.cid, c.cid.clone()]).await;
    assert!(matches!(foreign, Err(ReadError::BlocksMissing(missing)) if missing == [c.cid]));

    let store = actors.store(&did(1)).await.unwrap();
    for (rkey, is_there) in [("a", true), ("zz", false)] {
        let (collection, rkey) = ("com.example.record".parse().unwrap(), rkey.parse().unwrap());
        let proof = store.db().unwrap().read_blocking(|c| proof(c, &collection, &rkey)).unwrap().unwrap();
        let proof = car::read(proof.car.into(), car::MAX_BLOCK_LEN).unwrap();
        assert!(Commit::from_block(&proof.blocks[0].bytes).is_ok());
        assert_eq!(proof.single_root().unwrap(), &proof.blocks[0].cid);
        assert_eq!(cids(&proof.blocks).contains(&record("a").cid), is_there);
    }
}
