//! Imports of sound, unsound and foreign repositories, and what each leaves behind.

use std::collections::BTreeMap;
use std::path::Path as FsPath;

use futures_util::stream;
use shared::cbor;
use shared::crypto::{Curve, SigningKey};
use shared::data::{BlobRef, Map, Value};
use shared::firehose::Kind;
use shared::repo::commit::Commit;
use shared::repo::export::{Export, Repeats};
use shared::repo::mst::Tree;
use shared::repo::{Block, BlockMap, car};

use super::*;
use crate::actor::Prepared;
use crate::actor::tests::{account, apply, count, create, did, open, record, upload, verify_stream};
use crate::sequencer::{Batch, NewHead};
use crate::time::now_micros;

/// A repository of another host.
struct Foreign {
    did: Did,
    rev: Tid,
    leaves: BTreeMap<String, Block>,
}

impl Foreign {
    fn new(records: usize) -> Self {
        let rev = Tid::from_parts(now_micros() - 1_000_000, 9);
        let leaves = (0..records).map(|n| (format!("com.example.record/r{n}"), record(&format!("foreign {n}"))));
        Self { did: did(1), rev, leaves: leaves.collect() }
    }

    fn with(mut self, path: &str, fields: Vec<(&'static str, Value)>) -> Self {
        let bytes = cbor::encode(&Value::Map(fields.into_iter().collect::<Map>()));
        self.leaves.insert(path.to_owned(), Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() });
        self
    }

    /// Its blocks in the order of an export, the commit first.
    fn blocks(&self) -> Vec<Block> {
        let mut blocks: BlockMap = self.leaves.values().cloned().collect();
        let none = BlockMap::default();
        let mut tree = Tree::empty(&none);
        for (path, block) in &self.leaves {
            tree.set(path, block.cid.clone()).unwrap();
        }
        let written = tree.write().unwrap();
        let key = SigningKey::from_bytes(Curve::K256, &[77; 32]).unwrap();
        let commit = Commit::sign(self.did.clone(), self.rev, written.root.clone(), &key).to_block();
        blocks.extend(written.new);
        blocks.insert(commit.clone());
        let repeats = Repeats::scan(&blocks, &written.root).unwrap();
        Export::new(&blocks, commit.cid, written.root, repeats).map(Result::unwrap).collect()
    }

    fn file(&self) -> Vec<u8> {
        let blocks = self.blocks();
        car::to_vec(&blocks[0].cid, &blocks)
    }
}

async fn import(actors: &Actors, file: &[u8]) -> Result<Head, ImportError> {
    let chunks: Vec<_> =
        file.chunks(1000).map(|chunk| Ok::<_, std::io::Error>(Bytes::copy_from_slice(chunk))).collect();
    actors.import(&did(1), stream::iter(chunks), 10_000_000, || Ok(false)).await
}

async fn exported(actors: &Actors) -> Vec<Block> {
    let mut export = actors.export(&did(1), None).await.unwrap();
    let mut file = Vec::new();
    while let Some(chunk) = export.car.next().await {
        file.extend_from_slice(&chunk.unwrap());
    }
    car::read(file.into(), car::MAX_BLOCK_LEN).unwrap().blocks
}

async fn column(actors: &Actors, sql: &'static str) -> Vec<String> {
    let store = actors.store(&did(1)).await.unwrap();
    let rows = store.db().unwrap().read_blocking(|c| -> Result<_, DbError> {
        Ok(c.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<Vec<String>, _>>()?)
    });
    rows.unwrap()
}

async fn execute(actors: &Actors, sql: &'static str) {
    let store = actors.store(&did(1)).await.unwrap();
    store.db().unwrap().write_blocking(|tx| -> Result<_, DbError> { Ok(tx.execute_batch(sql)?) }).unwrap();
}

fn staged(actors: &Actors) -> bool {
    staging::path(&actors.directory(&did(1))).exists()
}

async fn new(directory: &FsPath) -> Actors {
    let actors = open(directory, 10);
    account(&actors, 1).await;
    actors
}

#[tokio::test]
async fn a_repository_moves_here_silently_and_goes_on_with_the_accounts_own_key() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    apply(&actors, 1, vec![create("old", "old"), create("r0", "foreign 0")]).await.unwrap();
    let told = actors.sequencer().last();
    let foreign = Foreign::new(300);
    let head = import(&actors, &foreign.file()).await.unwrap();

    assert_eq!(exported(&actors).await, foreign.blocks(), "nothing more, nothing less, nothing else");
    assert_eq!(head.commit, foreign.blocks()[0].cid);
    assert!(head.rev > foreign.rev);
    assert_eq!(count(&actors, 1, "record").await, 300);
    let kept = column(&actors, "SELECT rkey FROM record WHERE repoRev <> (SELECT rev FROM repo_root)").await;
    assert_eq!(kept, ["r0"], "what was here before is as it was");
    assert_eq!(actors.sequencer().last(), told);
    assert!(!staged(&actors));

    let own = actors.recommit(&did(1)).await.unwrap();
    assert!(own.head.rev > head.rev);
    let new = NewHead { commit: own.head.commit.clone(), rev: own.head.rev };
    let batch = Batch {
        did: did(1),
        events: vec![own.sync.clone()],
        head: Some(new),
        repair: false,
        drained: None,
        released: Vec::new(),
    };
    actors.sequencer().append(batch, None).await.unwrap().unwrap();
    drop(own);
    apply(&actors, 1, vec![create("new", "new")]).await.unwrap();
    verify_stream(&actors).await;
}

#[tokio::test]
async fn order_repetition_and_unrelated_blocks_do_not_matter() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    let foreign = Foreign::new(200);
    let mut blocks = foreign.blocks();
    let root = blocks[0].cid.clone();
    blocks.extend(blocks.clone());
    blocks.push(record("unrelated"));
    blocks.reverse();
    let head = import(&actors, &car::to_vec(&root, &blocks)).await.unwrap();
    assert_eq!(head.commit, root);
    assert_eq!(exported(&actors).await, foreign.blocks());
    let all = column(&actors, "SELECT cid FROM repo_block").await;
    assert!(!all.contains(&record("unrelated").cid.to_string()));

    // Again, and then only what is new since.
    let again = import(&actors, &foreign.file()).await.unwrap();
    assert!(again.rev > head.rev);
    let mut later = Foreign { rev: Tid::from_parts(now_micros(), 9), ..Foreign::new(200) };
    later.leaves.insert("com.example.record/zzz".to_owned(), record("later"));
    later.leaves.remove("com.example.record/r7");
    let news: Vec<_> = later.blocks().into_iter().filter(|block| !foreign.blocks().contains(block)).collect();
    assert!(news.len() < 20);
    import(&actors, &car::to_vec(&news[0].cid, &news)).await.unwrap();
    assert_eq!(exported(&actors).await, later.blocks());
    assert_eq!(count(&actors, 1, "record").await, 200);
}

#[tokio::test]
async fn what_records_refer_to_is_found_also_in_the_shapes_of_old_and_replaced_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    let (blob, old) = (Cid::of_raw(b"blob"), Cid::of_raw(b"old"));
    let picture = |cid: &Cid| {
        let fields: [(&str, Value); 4] = [
            ("$type", "blob".into()),
            ("ref", cid.clone().into()),
            ("mimeType", "image/png".into()),
            ("size", Value::Int(4)),
        ];
        Value::Map(fields.into_iter().collect())
    };
    let legacy = [("cid", Value::from(old.to_string().as_str())), ("mimeType", "image/png".into())];
    let foreign = Foreign::new(3)
        .with("app.bsky.graph.follow/f", vec![("subject", "did:plc:friend".into())])
        .with(
            "com.example.odd/1",
            vec![("big", Value::Int(i64::MAX)), ("pictures", Value::Array(vec![picture(&blob), picture(&blob)]))],
        )
        .with("com.example.odd/2", vec![("picture", Value::Map(legacy.into_iter().collect()))])
        .with("notAnNsid/x", vec![("subject", "did:plc:friend".into())]);
    import(&actors, &foreign.file()).await.unwrap();
    let (blob, old) = (blob.to_string(), old.to_string());
    assert_eq!(column(&actors, "SELECT linkTo FROM backlink").await, ["did:plc:friend"]);
    assert_eq!(
        column(&actors, "SELECT blobCid FROM record_blob ORDER BY recordUri").await,
        [blob.clone(), old.clone()]
    );

    execute(&actors, "UPDATE record SET takedownRef = 'mod' WHERE collection = 'com.example.odd'").await;
    let changed = foreign
        .with("com.example.odd/1", vec![("picture", picture(&Cid::of_raw(b"new")))])
        .with("app.bsky.graph.follow/f", vec![("subject", "nobody".into())]);
    import(&actors, &changed.file()).await.unwrap();
    assert!(column(&actors, "SELECT linkTo FROM backlink").await.is_empty());
    let refs = column(&actors, "SELECT blobCid FROM record_blob ORDER BY recordUri").await;
    assert_eq!(refs, [Cid::of_raw(b"new").to_string(), old]);
    assert_eq!(column(&actors, "SELECT takedownRef FROM record WHERE takedownRef IS NOT NULL").await.len(), 2);
}

#[tokio::test]
async fn a_record_under_a_foreign_cid_stays_under_it() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    let mut foreign = Foreign::new(5);
    let blake3 = Cid::from_bytes(&[&[1, 0x71, 0x1e, 32][..], &[9; 32]].concat()).unwrap();
    let odd = Block { cid: blake3.clone(), bytes: record("odd").bytes };
    foreign.leaves.insert("com.example.record/odd".to_owned(), odd);
    let head = import(&actors, &foreign.file()).await.unwrap();
    let out = exported(&actors).await;
    assert_eq!(out, foreign.blocks());
    assert!(out.iter().any(|block| block.cid == blake3) && out[0].cid == head.commit);
}

#[tokio::test]
async fn what_is_not_the_accounts_whole_sound_repository_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    apply(&actors, 1, vec![create("mine", "mine")]).await.unwrap();
    let before = (exported(&actors).await, column(&actors, "SELECT rev FROM repo_root").await);

    let foreign = Foreign::new(100);
    let (good, blocks) = (foreign.file(), foreign.blocks());
    let root = blocks[0].cid.clone();
    let without = |at: usize| {
        let mut blocks = blocks.clone();
        blocks.remove(at);
        car::to_vec(&root, &blocks)
    };
    let leaf = blocks.iter().position(|block| *block == record("foreign 42")).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    let header =
        |roots: &[Cid]| [car::header(roots), good[car::header(std::slice::from_ref(&root)).len()..].to_vec()].concat();
    let no_map = Foreign::new(3);
    let no_map = |bytes: &'static [u8]| {
        let block = Block { cid: Cid::of_cbor(bytes), bytes: Bytes::from_static(bytes) };
        let leaves = no_map.leaves.clone().into_iter().chain([("com.example.record/x".to_owned(), block)]).collect();
        Foreign { leaves, did: did(1), rev: no_map.rev }.file()
    };
    let is = |name: &'static str, file: Vec<u8>, expected: fn(&ImportError) -> bool| (name, file, expected);
    let cases = [
        is("nothing", Vec::new(), |e| matches!(e, ImportError::Car(CarError::Truncated))),
        is("half", good[..good.len() / 2].to_vec(), |e| matches!(e, ImportError::Car(CarError::Truncated))),
        is("flipped", flipped, |e| matches!(e, ImportError::Car(CarError::Mismatch(_)))),
        is("no root", header(&[]), |e| matches!(e, ImportError::Car(CarError::Roots(0)))),
        is("two roots", header(&[root.clone(), root.clone()]), |e| matches!(e, ImportError::Car(CarError::Roots(2)))),
        is("version 2", b"\x0a\xa1gversion\x02".to_vec(), |e| matches!(e, ImportError::Car(CarError::Version(2)))),
        is("a length without end", vec![0xff; 20], |e| matches!(e, ImportError::Car(CarError::Varint))),
        is("no commit", without(0), |e| matches!(e, ImportError::NoCommit(_))),
        is("no node", without(1), |e| matches!(e, ImportError::Tree(MstError::MissingBlock(_)))),
        is("no record", without(leaf), |e| matches!(e, ImportError::RecordMissing { .. })),
        is("another root", header(&[blocks[leaf].cid.clone()]), |e| matches!(e, ImportError::Commit(_))),
        is("a list", no_map(&[0x80]), |e| matches!(e, ImportError::Record { source: None, .. })),
        is("a float", no_map(b"\xa1ax\xf9\x3c\x00"), |e| matches!(e, ImportError::Record { source: Some(_), .. })),
        is("another's", Foreign { did: did(2), ..Foreign::new(3) }.file(), |e| {
            matches!(e, ImportError::OtherAccount { .. })
        }),
        is("too much", vec![0; 10_000_001], |e| matches!(e, ImportError::TooLarge { .. } | ImportError::Car(_))),
    ];
    for (name, file, expected) in cases {
        let error = import(&actors, &file).await.unwrap_err();
        assert!(expected(&error), "{name}: {error:?}");
        assert!(!staged(&actors), "{name}");
    }
    let after = (exported(&actors).await, column(&actors, "SELECT rev FROM repo_root").await);
    assert_eq!(before, after);
    apply(&actors, 1, vec![create("on", "on")]).await.unwrap();
    verify_stream(&actors).await;
}

#[tokio::test]
async fn an_unsound_tree_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    let key = SigningKey::from_bytes(Curve::K256, &[77; 32]).unwrap();
    let leaf = record("x");
    // A node as it would be encoded, with keys that it must not have.
    let node = |keys: &[&str]| {
        let entries = keys.iter().map(|key| {
            let fields: [(&str, Value); 4] = [
                ("k", Value::Bytes(key.as_bytes().to_vec())),
                ("p", Value::Int(0)),
                ("t", Value::Null),
                ("v", leaf.cid.clone().into()),
            ];
            Value::Map(fields.into_iter().collect())
        });
        let fields = [("e", Value::Array(entries.collect())), ("l", Value::Null)];
        let bytes = cbor::encode(&Value::Map(fields.into_iter().collect()));
        Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
    };
    for keys in
        [&["b.c/1", "a.c/1"][..], &["a.c/1", "a.c/1"], &["a.c/1", "a.c/2"], &["noslash"], &["a.c/1", "z.c/\u{e9}"]]
    {
        let node = node(keys);
        let commit = Commit::sign(did(1), Tid::from_parts(now_micros(), 1), node.cid.clone(), &key).to_block();
        let file = car::to_vec(&commit.cid, [&commit, &node, &leaf]);
        let error = import(&actors, &file).await.unwrap_err();
        assert!(matches!(error, ImportError::Tree(_)), "{keys:?}: {error:?}");
    }
}

#[tokio::test]
async fn one_import_at_a_time_and_one_that_is_given_up_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    let file = Foreign::new(10).file();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(1);
    let body =
        stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) });
    let slow = {
        let actors = actors.clone();
        tokio::spawn(async move { actors.import(&did(1), body, 1000, || Ok(false)).await })
    };
    sender.send(Ok(Bytes::copy_from_slice(&file[..100]))).await.unwrap();
    while !staged(&actors) {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(matches!(import(&actors, &file).await, Err(ImportError::Busy)));
    apply(&actors, 1, vec![create("a", "writes go on")]).await.unwrap();
    slow.abort();
    assert!(slow.await.unwrap_err().is_cancelled());
    assert!(!staged(&actors));

    let broken = stream::iter([Ok(Bytes::copy_from_slice(&file[..100])), Err(std::io::Error::other("gone"))]);
    assert!(matches!(actors.import(&did(1), broken, 1000, || Ok(false)).await, Err(ImportError::Body(_))));
    let large = stream::iter([Ok::<_, std::io::Error>(Bytes::from(file.clone()))]);
    let error = actors.import(&did(1), large, 1000, || Ok(false)).await;
    assert!(matches!(error, Err(ImportError::TooLarge { limit: 1000 })));
    assert!(!staged(&actors));

    // What a process leaves behind goes with the next start.
    std::fs::write(staging::path(&actors.directory(&did(1))), b"left").unwrap();
    drop(actors);
    let actors = open(directory.path(), 10);
    actors.sweep(|_| Ok(false)).await.unwrap();
    assert!(!staged(&actors));
    import(&actors, &file).await.unwrap();
}

fn pieces(file: &[u8]) -> impl Stream<Item = Result<Bytes, std::io::Error>> + use<> {
    stream::iter([Ok(Bytes::copy_from_slice(file))])
}

#[tokio::test]
async fn an_active_accounts_new_repository_is_told_with_a_commit_of_its_own_key() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    apply(&actors, 1, vec![create("old", "old")]).await.unwrap();
    let foreign = Foreign::new(50);
    let head = actors.import(&did(1), pieces(&foreign.file()), 1_000_000, || Ok(true)).await.unwrap();
    let out = exported(&actors).await;
    assert_eq!(out[0].cid, head.commit);
    assert_eq!(out[1..], foreign.blocks()[1..], "the same tree");
    let signed = Commit::from_block(&out[0].bytes).unwrap();
    assert!(signed.is_signed_by(&crate::actor::tests::key().public_key()));
    assert!(signed.rev == head.rev && head.rev > foreign.rev);
    apply(&actors, 1, vec![create("new", "new")]).await.unwrap();
    verify_stream(&actors).await;
    let kinds: Vec<_> =
        actors.sequencer().range(0, None, 100).await.unwrap().iter().map(|stored| stored.body.kind()).collect();
    assert_eq!(kinds, [Kind::Commit, Kind::Commit, Kind::Sync, Kind::Commit]);
}

#[tokio::test]
async fn an_import_that_could_not_be_told_is_told_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let head = {
        let actors = new(directory.path()).await;
        let meddler = rusqlite::Connection::open(directory.path().join("sequencer.sqlite")).unwrap();
        let full = "CREATE TRIGGER full BEFORE INSERT ON repo_seq BEGIN SELECT RAISE(ABORT, 'full'); END";
        meddler.execute_batch(full).unwrap();
        let failed = actors.import(&did(1), pieces(&Foreign::new(5).file()), 1_000_000, || Ok(true)).await;
        assert!(matches!(failed, Err(ImportError::Write(WriteError::Sequence(_)))));
        meddler.execute_batch("DROP TRIGGER full").unwrap();
        exported(&actors).await[0].cid.clone()
    };
    let actors = open(directory.path(), 10);
    let told = actors.sequencer().last();
    assert_eq!(actors.sweep(|_| Ok(true)).await.unwrap().told, 1);
    assert!(actors.sequencer().last() > told);
    assert_eq!(exported(&actors).await[0].cid, head);
    apply(&actors, 1, vec![create("new", "new")]).await.unwrap();
    verify_stream(&actors).await;
}

#[tokio::test]
async fn blobs_come_and_go_with_the_records_of_an_import() {
    let directory = tempfile::tempdir().unwrap();
    let actors = new(directory.path()).await;
    let blobs = [
        upload(&actors, 1, b"stays", "text/plain").await,
        upload(&actors, 1, b"goes", "text/plain").await,
        upload(&actors, 1, b"comes", "text/plain").await,
        upload(&actors, 1, b"waits", "text/plain").await,
    ];
    let [stays, goes, comes, waits] = &blobs;
    let both = Prepared { blobs: vec![stays.clone(), goes.clone()], ..create("own", "own") };
    apply(&actors, 1, vec![both]).await.unwrap();
    let refer = |blob: &BlobRef| vec![("blob", blob.to_value().unwrap())];
    let foreign = Foreign::new(1).with("com.example.record/a", refer(stays)).with("com.example.record/b", refer(comes));
    import(&actors, &foreign.file()).await.unwrap();
    for (blob, permanent) in [(stays, true), (goes, false), (comes, true), (waits, false)] {
        let size = actors.blobs().size(&did(1), &blob.cid).await.unwrap();
        assert_eq!(size.is_some(), permanent, "{blob:?}");
    }
    let mut here = [stays, comes].map(|blob| blob.cid.to_string());
    here.sort();
    let rows = column(&actors, "SELECT cid FROM blob WHERE tempKey IS NULL ORDER BY cid").await;
    assert_eq!(rows, here);
    assert_eq!(column(&actors, "SELECT cid FROM blob WHERE tempKey IS NOT NULL").await, [waits.cid.to_string()]);
    assert_eq!(count(&actors, 1, "headwater_released").await, 0);
}
