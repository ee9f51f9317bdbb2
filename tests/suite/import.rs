//! Repositories that come from elsewhere.

use std::collections::BTreeMap;

use futures_util::stream;
use reqwest::{Body, Method, RequestBuilder};
use rusqlite::Connection;
use serde_json::{Value, json};
use shared::cbor;
use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::data::json as data_json;
use shared::repo::commit::Commit;
use shared::repo::mst::Tree;
use shared::repo::{Block, BlockMap, car};
use shared::syntax::{Did, Tid};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::blob::{Account, told};
use crate::client::meddle_with_accounts;

/// A repository as another host has it: signed by a key of its own.
struct Foreign {
    commit: Block,
    blocks: Vec<Block>,
}

impl Foreign {
    fn of(did: &str, records: &[(&str, Value)]) -> Self {
        let mut leaves = BTreeMap::new();
        for (path, record) in records {
            let record = data_json::parse(&serde_json::to_vec(record).unwrap()).unwrap();
            let bytes = cbor::encode(&record);
            leaves.insert((*path).to_owned(), Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() });
        }
        let none = BlockMap::default();
        let mut tree = Tree::empty(&none);
        for (path, block) in &leaves {
            tree.set(path, block.cid.clone()).unwrap();
        }
        let written = tree.write().unwrap();
        let key = SigningKey::from_bytes(Curve::K256, &[77; 32]).unwrap();
        let rev = Tid::parse("3jzfcijpj2z2a").unwrap();
        let commit = Commit::sign(Did::parse(did).unwrap(), rev, written.root, &key).to_block();
        Self { commit, blocks: leaves.into_values().chain(written.new).collect() }
    }

    fn file(&self) -> Vec<u8> {
        car::to_vec(&self.commit.cid, [&self.commit].into_iter().chain(&self.blocks))
    }
}

impl Account {
    fn importing(&self, file: impl Into<Body>) -> RequestBuilder {
        let call = self.call(Method::POST, "repo.importRepo").bearer_auth(&self.token);
        call.header("content-type", "application/vnd.ipld.car").body(file)
    }

    async fn import(&self, file: impl Into<Body>) -> (u16, Value) {
        told(self.importing(file).send().await.unwrap()).await
    }

    /// The account's repository as it is stored, as a file.
    fn export(&self) -> Vec<u8> {
        let store = Connection::open(self.store().join("store.sqlite")).unwrap();
        let root: String = store.query_row("SELECT cid FROM repo_root", [], |row| row.get(0)).unwrap();
        let mut statement = store.prepare("SELECT cid, content FROM repo_block").unwrap();
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?))).unwrap();
        let blocks: Vec<_> = rows
            .map(|row| row.map(|(cid, bytes)| Block { cid: Cid::parse(&cid).unwrap(), bytes: bytes.into() }).unwrap())
            .collect();
        car::to_vec(&Cid::parse(&root).unwrap(), &blocks)
    }

    /// The kinds of all events so far.
    fn events(&self) -> Vec<String> {
        let sequencer = Connection::open(self.pds.directory().join("sequencer.sqlite")).unwrap();
        let mut statement = sequencer.prepare("SELECT eventType FROM repo_seq ORDER BY seq").unwrap();
        statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
    }

    async fn records(&self, collection: &str) -> Value {
        self.query("repo.listRecords", &[("repo", &self.did), ("collection", collection)]).await.1["records"].clone()
    }

    async fn create(&self, rkey: &str, text: &str) {
        let input =
            json!({ "repo": self.did, "collection": "com.example.note", "rkey": rkey, "record": { "text": text } });
        assert_eq!(self.write("createRecord", &input).await.0, 200);
    }

    fn set_active(&self, active: bool) {
        let at = if active { "NULL" } else { "'2024-01-01T00:00:00.000Z'" };
        meddle_with_accounts(&self.pds, &format!("UPDATE actor SET deactivatedAt = {at}"), []);
    }
}

#[tokio::test]
async fn an_active_account_goes_back_to_what_it_was_and_the_world_hears_of_it() {
    let alice = Account::new().await;
    alice.create("one", "1").await;
    alice.create("two", "2").await;
    let (file, before) = (alice.export(), alice.records("com.example.note").await);
    let input = json!({ "repo": alice.did, "collection": "com.example.note", "rkey": "one" });
    assert_eq!(alice.write("deleteRecord", &input).await.0, 200);
    alice.create("three", "3").await;
    let told = alice.events();

    let pieces: Vec<_> = file.chunks(100).map(|piece| Ok::<_, std::io::Error>(piece.to_vec())).collect();
    let answer = alice.importing(Body::wrap_stream(stream::iter(pieces))).send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap().len()), (200, 0));
    assert_eq!(alice.records("com.example.note").await, before);
    assert_eq!(alice.events()[told.len()..], ["sync"]);
    let own = car::read(alice.export().into(), car::MAX_BLOCK_LEN).unwrap();
    let root = own.blocks.iter().find(|block| block.cid == *own.single_root().unwrap()).unwrap();
    let commit = Commit::from_block(&root.bytes).unwrap();
    let key = SigningKey::from_bytes(Curve::K256, &std::fs::read(alice.store().join("key")).unwrap()).unwrap();
    assert!(commit.is_signed_by(&key.public_key()) && commit.did.as_str() == alice.did);
    alice.create("four", "4").await;
    assert_eq!(alice.events()[told.len()..], ["sync", "append"]);
}

#[tokio::test]
async fn a_repository_moves_here_silently_and_its_blobs_follow() {
    let alice = Account::new().await;
    let early = alice.upload("text/plain", "early").await;
    alice.set_active(false);
    let told = alice.events();
    let reference = |text: &str| {
        json!({
            "$type": "blob", "ref": { "$link": Cid::of_raw(text.as_bytes()).to_string() },
            "mimeType": "text/plain", "size": text.len(),
        })
    };
    assert_eq!(reference("early"), early);
    let record = |text: &str| json!({ "$type": "com.example.album", "blob": reference(text) });
    let records = [
        ("com.example.album/a", record("early")),
        ("com.example.album/b", record("late 1")),
        ("com.example.album/c", record("late 2")),
    ];
    let foreign = Foreign::of(&alice.did, &records);
    for _ in 0..2 {
        assert_eq!(alice.import(foreign.file()).await, (200, Value::Null), "twice is once");
    }
    assert_eq!(alice.events(), told);

    let params = [("did", alice.did.as_str()), ("cid", early["ref"]["$link"].as_str().unwrap())];
    let own = alice.call(Method::GET, "sync.getBlob").query(&params).bearer_auth(&alice.token).send().await.unwrap();
    assert_eq!(own.bytes().await.unwrap(), "early");
    let (mut missing, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut params = vec![("limit", "1")];
        params.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let (status, page) = alice.query("repo.listMissingBlobs", &params).await;
        assert_eq!(status, 200, "{page}");
        missing.extend(page["blobs"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let mut expected = [("late 1", "b"), ("late 2", "c")].map(|(text, rkey)| {
        json!({ "cid": reference(text)["ref"]["$link"], "recordUri": format!("at://{}/com.example.album/{rkey}", alice.did) })
    });
    expected.sort_by_key(|blob| blob["cid"].to_string());
    assert_eq!(missing, expected);
    for text in ["late 1", "late 2"] {
        alice.upload("text/plain", text).await;
    }
    assert_eq!(alice.query("repo.listMissingBlobs", &[]).await, (200, json!({ "blobs": [] })));
    alice.set_active(true);
    let (status, body) = alice.query("sync.listBlobs", &[("did", &alice.did)]).await;
    assert_eq!((status, body["cids"].as_array().map(Vec::len)), (200, Some(3)));
    for text in ["early", "late 1", "late 2"] {
        let params = [("did", alice.did.as_str()), ("cid", reference(text)["ref"]["$link"].as_str().unwrap())]
            .map(|(name, value)| (name, value.to_owned()));
        let answer = alice.call(Method::GET, "sync.getBlob").query(&params).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.bytes().await.unwrap()), (200, text.to_owned().into()));
    }
}

#[tokio::test]
async fn what_is_not_a_sound_repository_of_the_account_is_refused_and_changes_nothing() {
    let alice = Account::new().await;
    alice.create("own", "own").await;
    let records: Vec<_> = (0..20).map(|nth| (format!("com.example.note/{nth}"), json!({ "n": nth }))).collect();
    let records: Vec<_> = records.iter().map(|(path, record)| (path.as_str(), record.clone())).collect();
    let good = Foreign::of(&alice.did, &records);
    let file = good.file();
    let mut flipped = file.clone();
    *flipped.last_mut().unwrap() ^= 1;
    let with_roots = |roots: &[Cid]| {
        let mut file = car::header(roots);
        for block in [&good.commit].into_iter().chain(&good.blocks) {
            car::section(&block.cid, &block.bytes, &mut file);
        }
        file
    };
    let without = |nth: usize| {
        let rest = good.blocks.iter().enumerate().filter(|(other, _)| *other != nth).map(|(_, block)| block);
        car::to_vec(&good.commit.cid, [&good.commit].into_iter().chain(rest))
    };
    let (before, told) = (alice.export(), alice.events());
    for (what, hostile) in [
        ("nothing", Vec::new()),
        ("no car", b"hello, world".to_vec()),
        ("a flipped bit", flipped),
        ("cut short", file[..file.len() - 1].to_vec()),
        ("a header alone", car::header(std::slice::from_ref(&good.commit.cid))),
        ("no root", with_roots(&[])),
        ("two roots", with_roots(&[good.commit.cid.clone(), good.blocks[0].cid.clone()])),
        ("a root that is a record", with_roots(std::slice::from_ref(&good.blocks[0].cid))),
        ("a record less", without(0)),
        ("a node less", without(good.blocks.len() - 1)),
        ("car version 2", b"\x0a\xa1\x67version\x02".to_vec()),
        ("another account's", Foreign::of("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", &records).file()),
    ] {
        let body = Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(hostile)]));
        let (status, body) = alice.import(body).await;
        assert_eq!((status, &body["error"]), (400, &json!("InvalidRequest")), "{what}: {body}");
        assert!(alice.export() == before && alice.events() == told, "{what}");
    }
    let roots = alice.import(with_roots(&[])).await.1;
    assert_eq!(roots["message"], "expected one root");

    let wrong_type = alice.call(Method::POST, "repo.importRepo").bearer_auth(&alice.token).json(&json!({}));
    let (status, body) = told_of(wrong_type).await;
    assert_eq!((status, &body["message"]), (400, &json!("Wrong request encoding (Content-Type): application/json")));
    let nobody = alice.call(Method::POST, "repo.importRepo").header("content-type", "application/vnd.ipld.car");
    let (status, body) = told_of(nobody.body(file.clone())).await;
    assert_eq!((status, &body["error"]), (401, &json!("AuthMissing")));
    assert!(alice.export() == before && alice.events() == told);
    assert!(!alice.store().join("headwater-import.sqlite").exists());
    assert_eq!(alice.import(file).await, (200, Value::Null), "and the sound one is taken");
}

async fn told_of(request: RequestBuilder) -> (u16, Value) {
    told(request.send().await.unwrap()).await
}

#[tokio::test]
async fn an_import_that_is_too_large_or_not_wanted_is_refused() {
    let alice = Account::with(&[("PDS_MAX_REPO_IMPORT_SIZE", "2000")]).await;
    let file = Foreign::of(&alice.did, &[("com.example.note/a", json!({ "text": "x".repeat(3000) }))]).file();
    let (before, told) = (alice.export(), alice.events());
    let chunked = Body::wrap_stream(stream::iter([Ok::<_, std::io::Error>(file.clone())]));
    for body in [Body::from(file), chunked] {
        let refused = alice.import(body).await;
        assert_eq!(refused, (413, json!({ "error": "PayloadTooLarge", "message": "request entity too large" })));
    }
    assert!(alice.export() == before && alice.events() == told);
    assert!(!alice.store().join("headwater-import.sqlite").exists());

    let bob = Account::with(&[("PDS_ACCEPTING_REPO_IMPORTS", "false")]).await;
    let (status, body) = bob.import(bob.export()).await;
    assert_eq!((status, &body["message"]), (400, &json!("Service is not accepting repo imports")));
}

#[tokio::test]
async fn one_import_at_a_time_and_one_that_breaks_off_leaves_nothing() {
    let alice = Account::new().await;
    alice.create("own", "own").await;
    let (file, staged) = (alice.export(), alice.store().join("headwater-import.sqlite"));
    let address = alice.pds.url("").strip_prefix("http://").unwrap().to_owned();
    let mut slow = TcpStream::connect(&address).await.unwrap();
    let head = format!(
        "POST /xrpc/com.atproto.repo.importRepo HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {}\r\n\
         content-type: application/vnd.ipld.car\r\ncontent-length: {}\r\n\r\n",
        alice.token,
        file.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    slow.write_all(&file[..file.len() / 2]).await.unwrap();
    while !staged.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let (status, body) = alice.import(file.clone()).await;
    assert_eq!((status, &body["message"]), (409, &json!("another import of this account is under way")));
    alice.create("meanwhile", "writes go on").await;
    drop(slow);
    while staged.exists() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(alice.records("com.example.note").await.as_array().map(Vec::len), Some(2), "nothing is changed");
    // The other one's place is free a moment after its file is gone.
    while alice.import(file.clone()).await.0 == 409 {}
    assert_eq!(alice.records("com.example.note").await.as_array().map(Vec::len), Some(1));
}
