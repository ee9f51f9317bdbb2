//! Accounts' stores through the door that handlers use: writes, swaps, reads and the events of both.

use std::collections::HashSet;
use std::path::Path as FsPath;

use rusqlite::Transaction;
use shared::cbor;
use shared::cid::Cid;
use shared::crypto::Curve;
use shared::data::{BlobRef, Value};
use shared::firehose::Event;
use shared::firehose::verify::{Known, verify_commit, verify_sync};
use shared::repo::{Action, ApplyError, Record, Swap, Write};
use shared::syntax::{Path, Tid};

use super::*;
use crate::config::Blobs;
use crate::db::Synchronous;
use crate::sequencer::{NewHead, RootSink, SequenceError, Stored};
use crate::time::now_micros;

pub(super) const OPTIONS: Options = Options { synchronous: Synchronous::Full, auto_checkpoint: true, cache_kib: 512 };

struct NoRoots;

impl RootSink for NoRoots {
    fn moved(&mut self, _: &HashMap<Did, NewHead>) -> Result<(), DbError> {
        Ok(())
    }
}

pub(super) fn open(directory: &FsPath, capacity: usize) -> Actors {
    let sequencer = Sequencer::open(&directory.join("sequencer.sqlite"), OPTIONS, Box::new(NoRoots)).unwrap();
    let location = directory.join("blocks");
    let blobs = Blobstore::new(&Blobs::Disk { temporary: location.join("tempt"), location }).unwrap();
    Actors::new(directory.join("actors"), OPTIONS, capacity, sequencer, blobs, 7)
}

pub(super) fn did(n: usize) -> Did {
    Did::parse(&format!("did:plc:account{n}")).unwrap()
}

pub(super) fn key() -> SigningKey {
    SigningKey::from_bytes(Curve::K256, &[5; 32]).unwrap()
}

/// Makes an account and sequences its first commit.
pub(super) async fn account(actors: &Actors, n: usize) -> Created {
    let created = actors.create(&did(n), key()).await.unwrap();
    let head = Some(NewHead { commit: created.head.commit.clone(), rev: created.head.rev });
    let batch = crate::sequencer::Batch {
        did: did(n),
        events: vec![created.commit.clone()],
        head,
        repair: false,
        drained: None,
        released: Vec::new(),
    };
    actors.sequencer().append(batch, None).await.unwrap().unwrap();
    created
}

pub(super) fn record(text: &str) -> Record {
    let fields = [("$type", "com.example.record"), ("text", text)];
    let bytes = cbor::encode(&Value::Map(fields.into_iter().collect()));
    Record { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
}

pub(super) fn path(rkey: &str) -> Path {
    Path::parse(&format!("com.example.record/{rkey}")).unwrap()
}

pub(super) fn prepared(write: Write) -> Prepared {
    Prepared { write, blobs: Vec::new(), backlinks: Vec::new(), replaces_links: false }
}

pub(super) fn create(rkey: &str, text: &str) -> Prepared {
    prepared(Write::Create { path: path(rkey), record: record(text) })
}

pub(super) fn update(rkey: &str, text: &str) -> Prepared {
    prepared(Write::Update { path: path(rkey), record: record(text), swap: Swap::Any })
}

pub(super) fn delete(rkey: &str) -> Prepared {
    prepared(Write::Delete { path: path(rkey), swap: Swap::Any })
}

pub(super) async fn apply(actors: &Actors, n: usize, writes: Vec<Prepared>) -> Result<Option<Committed>, WriteError> {
    actors.apply_writes(&did(n), writes, None, || Ok(true)).await
}

/// Uploads a blob.
pub(super) async fn upload(actors: &Actors, n: usize, bytes: &'static [u8], declared: &str) -> BlobRef {
    let body = futures_util::stream::iter([Ok::<_, io::Error>(bytes.into())]);
    actors.upload_blob(&did(n), body, declared, 1000).await.unwrap()
}

/// All events, page after page.
async fn every_event(actors: &Actors) -> Vec<Stored> {
    let mut events: Vec<Stored> = Vec::new();
    loop {
        let after = events.last().map_or(0, |last| last.seq.get());
        let page = actors.sequencer().range(after, None, 100_000).await.unwrap();
        if page.is_empty() {
            return events;
        }
        events.extend(page);
    }
}

/// Reads all events and believes none that does not verify; returns how many commits each account has.
pub(super) async fn verify_stream(actors: &Actors) -> Vec<(Did, usize)> {
    let mut known: HashMap<Did, Known> = HashMap::new();
    let mut commits: Vec<(Did, usize)> = Vec::new();
    for stored in every_event(actors).await {
        let (did, verified) = match stored.body.decode().unwrap() {
            Event::Commit(event) => {
                let before = known.get(&event.repo);
                let verified = verify_commit(&event, before, &key().public_key(), now_micros()).unwrap();
                match commits.iter_mut().find(|(did, _)| *did == event.repo) {
                    Some((_, count)) => *count += 1,
                    None => commits.push((event.repo.clone(), 1)),
                }
                (event.repo, verified)
            }
            Event::Sync(event) => {
                let verified = verify_sync(&event, None, &key().public_key(), now_micros()).unwrap();
                (event.did, verified)
            }
            _ => continue,
        };
        known.insert(did, verified.head);
    }
    commits
}

pub(super) async fn count(actors: &Actors, n: usize, table: &'static str) -> i64 {
    let store = actors.store(&did(n)).await.unwrap();
    let sql = format!(r#"SELECT count(*) FROM "{table}""#);
    store
        .db()
        .unwrap()
        .read_blocking(|c| -> Result<_, DbError> { Ok(c.query_row(&sql, [], |row| row.get(0))?) })
        .unwrap()
}

#[tokio::test]
async fn a_write_is_stored_indexed_and_told_in_one_verifiable_event() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let committed = apply(&actors, 1, vec![create("a", "1"), create("b", "2")]).await.unwrap().unwrap();
    assert_eq!(committed.ops.len(), 2);
    apply(&actors, 1, vec![delete("a")]).await.unwrap().unwrap();
    assert_eq!(count(&actors, 1, "record").await, 1);
    // The commit, the node and the record; nothing of what went before.
    assert_eq!(count(&actors, 1, "repo_block").await, 3);
    assert_eq!(verify_stream(&actors).await, [(did(1), 3)]);
    let missing = apply(&actors, 2, vec![create("a", "1")]).await;
    assert!(matches!(missing, Err(WriteError::Actor(ActorError::NotFound(_)))));
}

#[tokio::test]
async fn refused_writes_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    let created = account(&actors, 1).await;
    let committed = apply(&actors, 1, vec![create("a", "1")]).await.unwrap().unwrap();
    let exists = apply(&actors, 1, vec![create("b", "2"), create("a", "2")]).await;
    assert!(matches!(exists, Err(WriteError::Apply(ApplyError::RecordExists(_)))));
    let swap = actors.apply_writes(&did(1), vec![create("b", "2")], Some(created.head.commit), || Ok(true)).await;
    assert!(matches!(swap, Err(WriteError::SwapCommit(at)) if at == committed.head.commit));
    let closed = actors.apply_writes(&did(1), vec![create("b", "2")], None, || Ok(false)).await;
    assert!(matches!(closed, Err(WriteError::NotAdmitted)));
    let current = Some(committed.head.commit);
    actors.apply_writes(&did(1), vec![create("b", "2")], current, || Ok(true)).await.unwrap().unwrap();
    assert_eq!(verify_stream(&actors).await, [(did(1), 3)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_writers_of_many_accounts_leave_unbroken_chains() {
    let directory = tempfile::tempdir().unwrap();
    // Room for fewer stores than there are accounts, so that they are closed and opened in between.
    let actors = open(directory.path(), 2);
    for n in 0..5 {
        account(&actors, n).await;
    }
    let tasks: Vec<_> = (0..100)
        .map(|i| {
            let actors = actors.clone();
            tokio::spawn(async move { (i % 5, apply(&actors, i % 5, vec![create(&format!("r{i}"), "x")]).await) })
        })
        .collect();
    // Two accounts may be written to in one microsecond.
    let mut revs = HashSet::new();
    for task in tasks {
        let (account, committed) = task.await.unwrap();
        revs.insert((account, committed.unwrap().unwrap().head.rev));
    }
    assert_eq!(revs.len(), 100);
    let mut commits = verify_stream(&actors).await;
    commits.sort();
    assert_eq!(commits, (0..5).map(|n| (did(n), 21)).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_commit_that_could_not_be_sequenced_is_told_before_the_next() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let meddler = rusqlite::Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON repo_seq BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    apply(&actors, 1, vec![create("a", "1")]).await.unwrap();
    meddler.execute_batch(full).unwrap();
    let unsequenced = apply(&actors, 1, vec![create("b", "2")]).await;
    assert!(matches!(unsequenced, Err(WriteError::Sequence(SequenceError::Db(_)))));
    let still = apply(&actors, 1, vec![create("c", "3")]).await;
    assert!(matches!(still, Err(WriteError::Sequence(_))));
    assert_eq!(count(&actors, 1, "record").await, 2, "the second was not even committed");
    meddler.execute_batch("DROP TRIGGER full").unwrap();
    apply(&actors, 1, vec![create("d", "4")]).await.unwrap().unwrap();
    assert_eq!(verify_stream(&actors).await, [(did(1), 4)]);
}

#[tokio::test]
async fn what_an_earlier_process_left_unsequenced_is_told_before_the_next_commit() {
    let directory = tempfile::tempdir().unwrap();
    {
        let actors = open(directory.path(), 10);
        account(&actors, 1).await;
        apply(&actors, 1, vec![create("a", "1")]).await.unwrap();
        let meddler = rusqlite::Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
        meddler
            .execute_batch("CREATE TRIGGER full BEFORE INSERT ON repo_seq BEGIN SELECT RAISE(ABORT, 'full'); END")
            .unwrap();
        assert!(apply(&actors, 1, vec![create("b", "2")]).await.is_err());
        meddler.execute_batch("DROP TRIGGER full").unwrap();
        // As if the process had died between the two databases.
    }
    let actors = open(directory.path(), 10);
    assert_eq!(actors.sequencer().dirty().await.unwrap(), [did(1)]);
    apply(&actors, 1, vec![create("c", "3")]).await.unwrap().unwrap();
    assert_eq!(verify_stream(&actors).await, [(did(1), 4)]);
}

#[tokio::test]
async fn pending_events_that_another_server_has_passed_give_way_to_a_sync() {
    let directory = tempfile::tempdir().unwrap();
    {
        let actors = open(directory.path(), 10);
        account(&actors, 1).await;
        let meddler = rusqlite::Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
        meddler
            .execute_batch("CREATE TRIGGER full BEFORE INSERT ON repo_seq BEGIN SELECT RAISE(ABORT, 'full'); END")
            .unwrap();
        assert!(apply(&actors, 1, vec![create("a", "1")]).await.is_err());
        meddler.execute_batch("DROP TRIGGER full").unwrap();
    }
    let actors = open(directory.path(), 10);
    // A pending event of a revision that is not the root's any more.
    let store = actors.store(&did(1)).await.unwrap();
    store
        .db()
        .unwrap()
        .write_blocking(|tx| -> Result<_, DbError> {
            Ok(tx.execute(r#"UPDATE "headwater_pending" SET "rev" = substr("rev", 1, 12) || '2'"#, [])?)
        })
        .unwrap();
    apply(&actors, 1, vec![create("b", "2")]).await.unwrap().unwrap();
    let kinds: Vec<_> = actors
        .sequencer()
        .range(0, None, 100)
        .await
        .unwrap()
        .iter()
        .map(|stored| stored.body.kind().stored_name())
        .collect();
    assert_eq!(kinds, ["append", "sync", "append"]);
    verify_stream(&actors).await;
}

#[tokio::test]
async fn a_clean_account_leaves_the_dirty_list_when_its_store_is_closed() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 1);
    account(&actors, 1).await;
    account(&actors, 2).await;
    apply(&actors, 1, vec![create("a", "1")]).await.unwrap();
    assert_eq!(actors.sequencer().dirty().await.unwrap(), [did(1)]);
    apply(&actors, 2, vec![create("a", "1")]).await.unwrap();
    apply(&actors, 2, vec![create("b", "1")]).await.unwrap();
    assert_eq!(actors.sequencer().dirty().await.unwrap(), [did(2)]);
    apply(&actors, 1, vec![create("b", "1")]).await.unwrap();
    assert_eq!(verify_stream(&actors).await, [(did(1), 3), (did(2), 3)]);
}

#[tokio::test]
async fn a_link_made_again_replaces_the_one_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let like = |rkey: &str, subject: &str, replaces_links| Prepared {
        backlinks: vec![Backlink { path: "subject.uri", link_to: subject.to_owned() }],
        replaces_links,
        ..create(rkey, subject)
    };
    apply(&actors, 1, vec![like("a", "at://x", true), like("b", "at://y", true)]).await.unwrap();
    let committed = apply(&actors, 1, vec![like("c", "at://x", true)]).await.unwrap().unwrap();
    let actions: Vec<_> = committed.ops.iter().map(|op| (op.action, op.path.as_str())).collect();
    assert_eq!(actions, [(Action::Delete, "com.example.record/a"), (Action::Create, "com.example.record/c")]);
    let kept = apply(&actors, 1, vec![like("d", "at://x", false)]).await.unwrap().unwrap();
    assert_eq!(kept.ops.len(), 1);
    assert_eq!(count(&actors, 1, "backlink").await, 3);
    verify_stream(&actors).await;
}

#[tokio::test]
async fn blobs_are_held_to_their_references_and_released_with_the_last() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let blob = BlobRef { cid: Cid::of_raw(b"picture"), mime_type: "image/png".to_owned(), size: 7 };
    let with = |rkey: &str, blob: &BlobRef| Prepared { blobs: vec![blob.clone()], ..create(rkey, rkey) };
    let missing = apply(&actors, 1, vec![with("a", &blob)]).await;
    assert!(matches!(missing, Err(WriteError::BlobNotFound(_))));
    assert_eq!(upload(&actors, 1, b"picture", "image/png").await, blob);
    let wrong_type = BlobRef { mime_type: "image/gif".to_owned(), ..blob.clone() };
    assert!(matches!(apply(&actors, 1, vec![with("a", &wrong_type)]).await, Err(WriteError::BlobMimeType { .. })));
    let wrong_size = BlobRef { size: 8, ..blob.clone() };
    assert!(matches!(
        apply(&actors, 1, vec![with("a", &wrong_size)]).await,
        Err(WriteError::BlobSize { said: 8, is: 7, .. })
    ));
    apply(&actors, 1, vec![with("a", &blob), with("b", &blob)]).await.unwrap();
    let first = apply(&actors, 1, vec![delete("a")]).await.unwrap().unwrap();
    assert!(first.released.is_empty());
    let last = apply(&actors, 1, vec![delete("b")]).await.unwrap().unwrap();
    assert_eq!(last.released, [blob.cid]);
    assert_eq!(count(&actors, 1, "blob").await, 0);
}

#[tokio::test]
async fn an_actor_can_be_made_again_after_it_was_destroyed_or_half_made() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    assert!(matches!(actors.create(&did(1), key()).await, Err(ActorError::Exists(_))));
    actors.destroy(&did(1)).await.unwrap();
    actors.destroy(&did(1)).await.unwrap();
    assert!(matches!(actors.store(&did(1)).await, Err(ActorError::NotFound(_))));
    let half_made = actors.directory(&did(1));
    std::fs::create_dir_all(&half_made).unwrap();
    std::fs::write(half_made.join("key"), b"short").unwrap();
    assert!(matches!(actors.store(&did(1)).await, Err(ActorError::Key { .. })));
    actors.create(&did(1), key()).await.unwrap();
    assert_eq!(std::fs::read(half_made.join("key")).unwrap(), key().to_bytes());
    apply(&actors, 1, vec![create("a", "1")]).await.unwrap().unwrap();
}

#[tokio::test]
async fn records_are_listed_by_key_in_both_directions_and_by_page() {
    use super::read::{Listing, collections, list_records, proof, record};
    use shared::syntax::{AtUri, Nsid, RecordKey};

    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 10);
    account(&actors, 1).await;
    let other = prepared(Write::Create {
        path: Path::parse("com.example.recordx/z").unwrap(),
        record: super::tests::record("o"),
    });
    let writes = ["a", "B", "b", "~", "_", "0"].map(|rkey| create(rkey, rkey)).into_iter().chain([other]).collect();
    apply(&actors, 1, writes).await.unwrap();
    let store = actors.store(&did(1)).await.unwrap();
    let db = store.db().unwrap();
    let collection = Nsid::parse("com.example.record").unwrap();
    let list = |limit, cursor: Option<&str>, reverse| {
        let listing = Listing { collection: collection.clone(), limit, cursor: cursor.map(str::to_owned), reverse };
        let records = db.read_blocking(|c| list_records(c, &did(1), &listing)).unwrap();
        records.iter().map(|record| record.uri.rkey().unwrap().as_str().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(list(10, None, true), ["0", "B", "_", "a", "b", "~"]);
    assert_eq!(list(10, None, false), ["~", "b", "a", "_", "B", "0"]);
    assert_eq!(list(2, Some("a"), true), ["b", "~"]);
    assert_eq!(list(2, Some("a"), false), ["_", "B"]);
    assert_eq!(list(2, Some("Z"), true), ["_", "a"], "the cursor's record need not be there");
    assert_eq!(db.read_blocking(collections).unwrap(), ["com.example.record", "com.example.recordx"]);

    let uri = AtUri::record(&did(1), &collection, &RecordKey::parse("a").unwrap());
    let found = db.read_blocking(|c| record(c, &uri, None)).unwrap().unwrap();
    assert_eq!(cbor::decode(&found.value.0).unwrap().get("text"), Some(&Value::from("a")));
    let elsewhere = Cid::of_cbor(b"x");
    assert_eq!(db.read_blocking(|c| record(c, &uri, Some(&elsewhere))).unwrap(), None);

    for (rkey, there) in [("a", true), ("c", false)] {
        let (_, blocks) =
            db.read_blocking(|c| proof(c, &collection, &RecordKey::parse(rkey).unwrap())).unwrap().unwrap();
        assert_eq!(blocks.iter().any(|block| block.cid == super::tests::record("a").cid), there);
    }
}

#[tokio::test]
async fn what_is_newer_than_a_revision_is_found_unless_the_revision_is_of_before_the_account_came() {
    let directory = tempfile::tempdir().unwrap();
    let actors = open(directory.path(), 4);
    let created = account(&actors, 1).await;
    let mut revs = vec![created.head.rev];
    for key in ["one", "two", "three"] {
        revs.push(apply(&actors, 1, vec![create(key, key)]).await.unwrap().unwrap().head.rev);
    }
    let store = actors.store(&did(1)).await.unwrap();
    let since = |rev: &Tid, limit: u32, collection: &str| {
        let found = store.db().unwrap().read_blocking(|c| read::records_since(c, rev, limit, &[collection])).unwrap();
        found.iter().map(|new| new.record.uri.rkey().unwrap().to_string()).collect::<Vec<_>>()
    };
    let ours = "com.example.record";
    assert_eq!(since(&revs[1], 10, ours), ["two", "three"]);
    assert_eq!(since(&revs[1], 1, ours), ["two"]);
    assert_eq!(since(&revs[3], 10, ours), <[&str; 0]>::default());
    assert_eq!(since(&revs[1], 10, "com.example.other"), <[&str; 0]>::default());
    assert_eq!(since(&revs[0], 10, ours), <[&str; 0]>::default(), "nothing here is that old");
    let hide = |c: &Transaction<'_>| -> Result<_, DbError> {
        Ok(c.execute(r#"UPDATE "record" SET "takedownRef" = 'x' WHERE "rkey" = 'two'"#, [])?)
    };
    store.db().unwrap().write_blocking(hide).unwrap();
    assert_eq!(since(&revs[1], 10, ours), ["three"]);
    // The index finds it, whatever the account has, and nothing is sorted.
    let explained = |c: &rusqlite::Connection| -> Result<Vec<String>, DbError> {
        let mut plan = c.prepare(&format!("EXPLAIN QUERY PLAN {}", read::SINCE))?;
        Ok(plan.query_map(("3", 10), |row| row.get(3))?.collect::<Result<_, _>>()?)
    };
    let plan = store.db().unwrap().read_blocking(explained).unwrap();
    assert!(plan[0].contains("record_repo_rev_idx") && plan.iter().all(|step| !step.contains("TEMP")), "{plan:?}");
}
