//! Stores that were lost, or restored out of an older backup, beside a sequence that is newer: `headwater sequencer recover`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use futures_util::StreamExt as _;
use reqwest::Client;
use rusqlite::Connection;
use rusqlite::types::Value as Column;
use serde_json::{Value, json};
use shared::crypto::PublicKey;
use shared::firehose::verify::{Known, verify_commit, verify_sync};
use shared::firehose::{Event, Frame};
use shared::identity::DidDocument;
use shared::syntax::Did;
use tempfile::TempDir;
use tests::process::{headwater, of_headwater};
use tests::{Plc, Process, environment, store};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::commands::{Place, Said, program};
use crate::crash::mirror::{Mirror, open};

/// Where a recovery may die.
pub(crate) const PLACES: &[&str] = &["replay.key-made", "replay.written", "replay.committed", "replay.adopted"];

const NOTE: &str = "com.example.note";
/// The signal of a process that ends itself.
const ABORT: i32 = 6;
/// What has to be there again, column by column. When a row was written is not told by events.
const TABLES: [&str; 7] = [
    "SELECT did, cid, rev FROM repo_root",
    "SELECT cid, repoRev, size, content FROM repo_block ORDER BY cid",
    "SELECT uri, cid, collection, rkey, repoRev, takedownRef FROM record ORDER BY uri",
    "SELECT cid, mimeType, size, tempKey, takedownRef FROM blob WHERE tempKey IS NULL ORDER BY cid",
    "SELECT blobCid, recordUri FROM record_blob ORDER BY blobCid, recordUri",
    "SELECT uri, path, linkTo FROM backlink ORDER BY uri",
    "SELECT cid FROM headwater_released",
];

pub(crate) type Rows = Vec<Vec<Vec<Column>>>;

#[derive(Clone)]
struct Owner {
    did: String,
    token: String,
}

/// A directory whose stores are older than its sequence. No server runs.
pub(crate) struct Scene {
    pub(crate) place: Place,
    /// By name: `alice` has written all kinds of things since, `bob` and `dave` some; the store of `carol` is lost; `eve`
    /// has come since; `gone` has gone.
    owners: BTreeMap<&'static str, Owner>,
    /// What is in the stores of all but `gone` where the sequence ends.
    expected: BTreeMap<&'static str, Rows>,
    /// How many commits of each were told since the backup.
    since: BTreeMap<&'static str, i64>,
    /// Blobs of alice's records.
    blobs: Vec<Value>,
    /// `account.sqlite` as it was at the backup.
    accounts: TempDir,
    /// Where carol's store was, and her key.
    lost: (PathBuf, Vec<u8>),
    /// The place of the last event before the backup.
    backup: u64,
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap() {
            kind if kind.is_dir() => copy(&entry.path(), &target),
            kind if kind.is_file() => drop(fs::copy(entry.path(), target).unwrap()),
            // A socket that a server left.
            _ => {}
        }
    }
}

fn rows(directory: &Path, did: &str) -> Rows {
    let store = open(&store(directory, did).unwrap().join("store.sqlite"));
    let table = |sql: &&str| {
        let mut statement = store.prepare(sql).unwrap();
        let columns = statement.column_count();
        let rows = statement.query_map([], |row| (0..columns).map(|nth| row.get(nth)).collect::<Result<_, _>>());
        rows.unwrap().collect::<Result<_, _>>().unwrap()
    };
    TABLES.iter().map(table).collect()
}

/// Holds a refusal for what it is, without a word of what is inside.
async fn is_behind(answer: reqwest::Response) {
    let status = answer.status();
    let body: Value = answer.json().await.unwrap();
    let message = "This repository takes no writes until its operator has restored it";
    assert_eq!((status.as_u16(), body), (503, json!({ "error": "RepoBehind", "message": message })));
}

impl Scene {
    pub(crate) fn empty(place: Place) -> Self {
        let (owners, expected, since) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let (blobs, accounts, lost) = (Vec::new(), tempfile::tempdir().unwrap(), Default::default());
        Self { place, owners, expected, since, blobs, accounts, lost, backup: 0 }
    }

    async fn new() -> Self {
        let mut scene = Self::empty(Place::new(true).await);
        for name in ["alice", "bob", "carol", "dave", "gone"] {
            scene.sign_up(name).await;
            for number in 0..12 {
                scene.put(name, &format!("n{number:02}"), json!({ "number": number })).await;
            }
        }
        let first = scene.upload("alice", "the first").await;
        scene.put("alice", "first", json!({ "blob": first })).await;
        scene.follow("bob").await;
        scene.stop().await;
        let (path, backup) = (scene.path(), tempfile::tempdir().unwrap());
        copy(&path.join("actors"), backup.path());
        for file in ["account.sqlite", "account.sqlite-wal"] {
            fs::copy(path.join(file), scene.accounts.path().join(file)).unwrap();
        }
        scene.backup = scene.place.last();
        let told = i64::try_from(scene.backup).unwrap();

        scene.place.serve().await;
        scene.goes_on(first).await;
        scene.stop().await;

        let sequence = open(&path.join("sequencer.sqlite"));
        let sql = "SELECT count(*) FROM repo_seq WHERE did = ?1 AND seq > ?2 AND eventType = 'append'";
        let rebuilt = |name: &str| i64::from(name == "bob");
        for (name, owner) in scene.owners.iter().filter(|(name, _)| **name != "gone") {
            scene.expected.insert(name, rows(&path, &owner.did));
            let commits: i64 = sequence.query_row(sql, (&owner.did, told), |row| row.get(0)).unwrap();
            scene.since.insert(name, commits + rebuilt(name));
        }
        let all = "SELECT count(*) FROM repo_seq WHERE did = ?1 AND eventType = 'append'";
        let commits = sequence.query_row(all, [scene.did("carol")], |row| row.get(0)).unwrap();
        scene.since.insert("carol", commits);
        fs::remove_dir_all(path.join("actors")).unwrap();
        copy(backup.path(), &path.join("actors"));
        let lost = store(&path, scene.did("carol")).unwrap();
        scene.lost = (lost.clone(), fs::read(lost.join("key")).unwrap());
        fs::remove_dir_all(lost).unwrap();
        scene
    }

    /// What happens after the backup.
    async fn goes_on(&mut self, first: Value) {
        for name in ["alice", "bob", "carol", "dave"] {
            for number in 10..20 {
                self.put(name, &format!("n{number:02}"), json!({ "number": -number })).await;
            }
            self.delete(name, "n03").await;
        }
        // A blob goes with its last record and comes again; one comes and stays; one comes and goes.
        self.delete("alice", "first").await;
        let again = self.upload("alice", "the first").await;
        assert_eq!(again, first);
        self.put("alice", "again", json!({ "blob": again })).await;
        let stays = self.upload("alice", "the second").await;
        self.put("alice", "stays", json!({ "blob": stays, "text": "äöü" })).await;
        let goes = self.upload("alice", "the third").await;
        self.put("alice", "goes", json!({ "blob": goes })).await;
        self.delete("alice", "goes").await;
        self.blobs = vec![again, stays];
        self.follow("carol").await;
        let delete = |rkey| json!({ "$type": "com.atproto.repo.applyWrites#delete", "collection": NOTE, "rkey": rkey });
        let create = |rkey, of: &str| {
            let value = json!({ "$type": NOTE, "text": of });
            json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": NOTE, "rkey": rkey, "value": value })
        };
        // Two of equal content, one of which goes.
        let writes = json!([delete("n05"), create("same1", "same"), create("same2", "same")]);
        self.call("alice", "repo.applyWrites", json!({ "repo": self.did("alice"), "writes": writes })).await;
        self.delete("alice", "same1").await;
        // The same tree, signed anew: told by a `#sync`.
        assert!(self.place.run(&["repo", "rebuild", "bob.test"]).await.success);
        self.put("bob", "rebuilt", json!({})).await;
        self.sign_up("eve").await;
        self.put("eve", "n00", json!({ "number": 0 })).await;
        let deleted = self.place.run(&["account", "delete", "gone.test", "--yes"]).await;
        assert!(deleted.success, "{deleted:?}");
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.place.directory.path().to_owned()
    }

    pub(crate) fn did(&self, name: &str) -> &str {
        &self.owners[name].did
    }

    pub(crate) fn rows(&self, name: &str) -> Rows {
        rows(&self.path(), self.did(name))
    }

    pub(crate) async fn stop(&mut self) {
        self.place.server.take().unwrap().kill().await;
    }

    pub(crate) async fn sign_up(&mut self, name: &'static str) {
        let input = json!({
            "handle": format!("{name}.test"), "email": format!("{name}@example.com"), "password": "correct horse"
        });
        let url = self.place.server.as_ref().unwrap().url("/xrpc/com.atproto.server.createAccount");
        let made: Value = Client::new().post(url).json(&input).send().await.unwrap().json().await.unwrap();
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        self.owners.insert(name, Owner { did: text("did"), token: text("accessJwt") });
    }

    async fn call(&self, by: &str, method: &str, input: Value) -> Value {
        let url = self.place.server.as_ref().unwrap().url(&format!("/xrpc/com.atproto.{method}"));
        let answer = Client::new().post(url).bearer_auth(&self.owners[by].token).json(&input).send().await.unwrap();
        let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap_or_default());
        assert_eq!(status, 200, "{method}: {body}");
        body
    }

    pub(crate) async fn put(&self, by: &str, rkey: &str, mut record: Value) {
        record["$type"] = NOTE.into();
        let input = json!({ "repo": self.did(by), "collection": NOTE, "rkey": rkey, "record": record });
        self.call(by, "repo.putRecord", input).await;
    }

    async fn delete(&self, by: &str, rkey: &str) {
        let input = json!({ "repo": self.did(by), "collection": NOTE, "rkey": rkey });
        self.call(by, "repo.deleteRecord", input).await;
    }

    /// Has alice follow somebody.
    async fn follow(&self, whom: &str) {
        let record = json!({ "subject": self.did(whom), "createdAt": "2026-01-01T00:00:00Z" });
        let input = json!({ "repo": self.did("alice"), "collection": "app.bsky.graph.follow", "record": record });
        self.call("alice", "repo.createRecord", input).await;
    }

    async fn upload(&self, by: &str, text: &'static str) -> Value {
        let url = self.place.server.as_ref().unwrap().url("/xrpc/com.atproto.repo.uploadBlob");
        let call = Client::new().post(url).bearer_auth(&self.owners[by].token).header("content-type", "text/plain");
        let told: Value = call.body(text).send().await.unwrap().json().await.unwrap();
        told["blob"].clone()
    }

    /// The text of a blob of alice's.
    async fn blob(&self, blob: &Value) -> String {
        let url = self.place.server.as_ref().unwrap().url("/xrpc/com.atproto.sync.getBlob");
        let query = [("did", self.did("alice")), ("cid", blob["ref"]["$link"].as_str().unwrap())];
        let answer = Client::new().get(url).query(&query).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.text().await.unwrap()
    }

    fn url(&self, method: &str) -> String {
        self.place.server.as_ref().unwrap().url(&format!("/xrpc/com.atproto.{method}"))
    }

    /// The repository of `of` as a file.
    async fn repository(&self, of: &str) -> Vec<u8> {
        let answer = Client::new().get(self.url("sync.getRepo")).query(&[("did", self.did(of))]).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.bytes().await.unwrap().to_vec()
    }

    /// Writes of every kind that would change something.
    fn writes(&self, by: &str) -> Vec<(&'static str, Value)> {
        let (repo, record) = (self.did(by), json!({ "$type": NOTE, "text": "on top" }));
        let create = json!({ "$type": "com.atproto.repo.applyWrites#create", "collection": NOTE, "value": record });
        vec![
            ("repo.createRecord", json!({ "repo": repo, "collection": NOTE, "record": record })),
            ("repo.putRecord", json!({ "repo": repo, "collection": NOTE, "rkey": "n00", "record": record })),
            ("repo.deleteRecord", json!({ "repo": repo, "collection": NOTE, "rkey": "n00" })),
            ("repo.applyWrites", json!({ "repo": repo, "writes": [create] })),
        ]
    }

    async fn is_refused(&self, by: &str, method: &str, input: Value) {
        let call = Client::new().post(self.url(method)).bearer_auth(&self.owners[by].token).json(&input);
        is_behind(call.send().await.unwrap()).await;
    }

    async fn recover(&self) -> Said {
        self.place.run(&["sequencer", "recover", "--json"]).await
    }

    /// What a recovery says of each account.
    fn of_each(&self, said: &Said) -> BTreeMap<&'static str, Value> {
        let lines = said.lines();
        let of = |did: &str| lines.iter().find(|line| line["did"] == *did).unwrap_or_else(|| panic!("{did}: {said:?}"));
        self.owners.iter().map(|(name, owner)| (*name, of(&owner.did).clone())).collect()
    }

    /// Holds every store against its events, each of which has to verify.
    async fn mirror(&self) {
        for name in self.expected.keys() {
            let mut mirror = Mirror::of(&self.path(), self.did(name));
            mirror.read_on(&self.place.plc).await;
            mirror.check_store(self.did(name));
        }
    }

    /// Changes a database while no server runs.
    fn meddle(&self, file: &str, sql: &str, of: &str) {
        let changed = Connection::open(self.path().join(file)).unwrap().execute(sql, [self.did(of)]).unwrap();
        assert!(changed > 0, "{sql}");
    }
}

/// Follows everybody over a WebSocket as a relay does, from the first event on; whatever comes has to verify.
struct Follower {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    keys: HashMap<String, PublicKey>,
    known: HashMap<String, Known>,
}

impl Follower {
    async fn start(scene: &Scene) -> Self {
        let url = scene.place.server.as_ref().unwrap().url("/xrpc/com.atproto.sync.subscribeRepos?cursor=0");
        let socket = tokio_tungstenite::connect_async(url.replace("http://", "ws://")).await.unwrap().0;
        Self { socket, keys: HashMap::new(), known: HashMap::new() }
    }

    async fn key(&mut self, plc: &Plc, did: &Did) -> PublicKey {
        if !self.keys.contains_key(did.as_str()) {
            let document = reqwest::get(plc.url(&format!("/{did}"))).await.unwrap().json().await.unwrap();
            let key = DidDocument::parse(did, document).unwrap().signing_key().unwrap();
            self.keys.insert(did.to_string(), key);
        }
        self.keys[did.as_str()]
    }

    /// Reads on through the event at `last`.
    async fn through(&mut self, plc: &Plc, last: u64) {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let now = u64::try_from(now.as_micros()).unwrap();
        loop {
            let message =
                tokio::time::timeout(Duration::from_secs(20), self.socket.next()).await.expect("a frame in time");
            let Message::Binary(frame) = message.unwrap().unwrap() else { continue };
            let Frame::Event { seq, event, .. } = Frame::decode(&frame).unwrap() else { panic!("no event") };
            match event {
                Event::Commit(commit) => {
                    let key = self.key(plc, &commit.repo).await;
                    let verified = verify_commit(&commit, self.known.get(commit.repo.as_str()), &key, now)
                        .unwrap_or_else(|error| panic!("event {seq}: {error}"));
                    self.known.insert(commit.repo.to_string(), verified.head);
                }
                Event::Sync(sync) => {
                    let key = self.key(plc, &sync.did).await;
                    let verified = verify_sync(&sync, None, &key, now).unwrap();
                    self.known.insert(sync.did.to_string(), verified.head);
                }
                Event::Identity(identity) => drop(self.keys.remove(identity.did.as_str())),
                Event::Account(_) => {}
            }
            if seq.get() >= last {
                return;
            }
        }
    }
}

/// Waits until the start of a server has looked at every account that it can; those that are older stay listed.
async fn wait_until_swept(directory: &Path) {
    let sequence = open(&directory.join("sequencer.sqlite"));
    let sql = "SELECT headwater_dirty.did, rev FROM headwater_dirty LEFT JOIN headwater_head USING (did)";
    let is_older = |did: &str, told: &Option<String>| {
        let Some(path) = store(directory, did).map(|path| path.join("store.sqlite")).filter(|path| path.is_file())
        else {
            return false;
        };
        let rev = open(&path).query_row("SELECT rev FROM repo_root", [], |row| row.get::<_, String>(0));
        rev.is_ok_and(|rev| told.as_ref().is_some_and(|told| rev < *told))
    };
    let started = Instant::now();
    loop {
        let listed: Vec<(String, Option<String>)> = {
            let mut statement = sequence.prepare(sql).unwrap();
            let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
            rows.collect::<Result<_, _>>().unwrap()
        };
        if listed.iter().all(|(did, told)| is_older(did, told)) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(20), "left to look at: {listed:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn older_and_lost_stores_are_brought_to_where_the_sequence_ends() {
    let mut scene = Scene::new().await;
    let told = scene.place.last();
    let older = scene.rows("alice");
    assert_ne!(older, scene.expected["alice"]);

    let dry = scene.place.run(&["sequencer", "recover", "--dry-run", "--json"]).await;
    assert!(dry.success, "{dry:?}");
    for (name, said) in scene.of_each(&dry).iter().filter(|(name, _)| **name != "gone") {
        assert_eq!((&said["commits"], &said["dryRun"]), (&json!(scene.since[name]), &json!(true)), "{name}");
    }
    assert_eq!(scene.rows("alice"), older);
    assert!(store(&scene.path(), scene.did("carol")).is_none() && store(&scene.path(), scene.did("gone")).is_some());

    // Without what lies before.
    let said = async |from: u64| {
        let words = ["sequencer", "recover", "--dry-run", "--json", "--from", &from.to_string()];
        scene.of_each(&scene.place.run(&words).await)
    };
    let (all, some) = (said(scene.backup + 1).await, said(told - 10).await);
    assert_eq!((&all["alice"]["commits"], &all["alice"]["failure"]), (&json!(scene.since["alice"]), &Value::Null));
    assert!(all["carol"]["failure"].as_str().unwrap().contains("is not its beginning"), "{}", all["carol"]);
    assert!(some["alice"]["failure"].as_str().unwrap().contains("what is between"), "{}", some["alice"]);

    let recovered = scene.recover().await;
    assert!(recovered.success, "{recovered:?}");
    for (name, said) in scene.of_each(&recovered) {
        let is_new = name == "carol" || name == "eve";
        if name == "gone" {
            assert_eq!((&said["deleted"], &said["commits"]), (&json!(true), &json!(0)));
            assert!(store(&scene.path(), scene.did("gone")).is_none());
            continue;
        }
        assert_eq!(said["commits"], scene.since[name], "{name}: {said}");
        assert_eq!((&said["made"], &said["otherKey"]), (&json!(is_new), &json!(is_new)), "{name}: {said}");
        assert_eq!((&said["missingBlobs"], &said["failure"]), (&json!(0), &Value::Null), "{name}: {said}");
        assert_eq!(scene.rows(name), scene.expected[name], "{name}");
    }
    assert_eq!(scene.place.last(), told, "nothing is told twice");
    scene.mirror().await;

    let again = scene.place.run(&["sequencer", "recover"]).await;
    assert!(again.success && again.output.contains("6 accounts were looked at, 0 were changed"), "{again:?}");
    // Two whose key is not published yet, with a hint each.
    assert_eq!(again.output.lines().count(), 2 * 2 + 1, "{again:?}");
    assert!(again.output.contains("headwater keys rotate"), "{again:?}");

    scene.place.serve().await;
    let mut follower = Follower::start(&scene).await;
    follower.through(&scene.place.plc, told).await;
    let rotated = scene.place.run(&["keys", "rotate", "carol.test", "eve.test"]).await;
    assert!(rotated.success && rotated.output.contains("has its key in its document"), "{rotated:?}");
    for name in ["alice", "carol", "dave", "eve"] {
        scene.put(name, "later", json!({ "text": "later" })).await;
    }
    follower.through(&scene.place.plc, scene.place.last()).await;
    assert!(scene.place.last() >= told + 4 + 2 * 3);
    let texts = [scene.blob(&scene.blobs[0]).await, scene.blob(&scene.blobs[1]).await];
    assert_eq!(texts, ["the first", "the second"]);
    let sound = scene.place.run(&["repo", "verify", "--all"]).await;
    assert!(sound.success && sound.output.lines().count() == 5, "{sound:?}");
    scene.stop().await;
    assert_eq!(fs::read_dir(scene.path().join("blocks").join(scene.did("alice"))).unwrap().count(), 2);
    assert!(scene.recover().await.success);
}

#[tokio::test]
async fn what_the_sequence_does_not_have_is_reported_and_left_as_it_is() {
    let mut scene = Scene::new().await;
    // Bob writes to what is there, at a server that does not know better: the reference, or this one before it looked.
    let hide = "UPDATE repo_seq SET invalidated = 1 WHERE did = ?1 AND eventType IN ('append', 'sync')";
    scene.meddle("sequencer.sqlite", hide, "bob");
    scene.meddle("sequencer.sqlite", "DELETE FROM headwater_head WHERE did = ?1", "bob");
    scene.place.serve().await;
    scene.put("bob", "after", json!({})).await;
    scene.stop().await;
    scene.meddle("sequencer.sqlite", "UPDATE repo_seq SET invalidated = 0 WHERE did = ?1", "bob");
    let first =
        "DELETE FROM repo_seq WHERE seq = (SELECT min(seq) FROM repo_seq WHERE did = ?1 AND eventType = 'append')";
    scene.meddle("sequencer.sqlite", first, "carol");
    let between = "DELETE FROM repo_seq WHERE seq IN (SELECT seq FROM repo_seq WHERE did = ?1 AND eventType = 'append'
        ORDER BY seq DESC LIMIT 1 OFFSET 4)";
    scene.meddle("sequencer.sqlite", between, "dave");
    scene.meddle("sequencer.sqlite", "DELETE FROM repo_seq WHERE did = ?1 AND eventType IN ('append', 'sync')", "eve");
    let (bob, dave) = (scene.rows("bob"), scene.rows("dave"));

    let said = scene.recover().await;
    assert!(!said.success && said.errors.contains("4 of 6 accounts are not where the sequence says"), "{said:?}");
    let of = scene.of_each(&said);
    let failure = |name: &str| of[name]["failure"].as_str().unwrap_or_default().to_owned();
    assert!(failure("bob").contains("written on top of an older repository"), "{}", failure("bob"));
    assert!(failure("carol").contains("is not its beginning"), "{}", failure("carol"));
    assert!(failure("dave").contains("what is between is not in the sequence"), "{}", failure("dave"));
    assert!(failure("eve").contains("nothing in the sequence to make it of"), "{}", failure("eve"));
    assert_eq!((scene.rows("bob"), scene.rows("dave")), (bob, dave));
    for name in ["carol", "eve"] {
        assert!(store(&scene.path(), scene.did(name)).is_none(), "{name}");
    }
    assert_eq!((&of["alice"]["failure"], scene.rows("alice")), (&Value::Null, scene.expected["alice"].clone()));

    // Who takes bob's repository as it is now has consumers told so.
    assert!(scene.place.run(&["resync", "bob.test"]).await.success);
    let of = scene.of_each(&scene.recover().await);
    assert_eq!(of["bob"]["failure"], Value::Null);

    // A repository that came by an import is not in the sequence; what is of after it is.
    let (older, backup) = (store(&scene.path(), scene.did("alice")).unwrap(), tempfile::tempdir().unwrap());
    copy(&older, backup.path());
    scene.place.serve().await;
    let url = |method: &str| scene.place.server.as_ref().unwrap().url(&format!("/xrpc/com.atproto.{method}"));
    let file =
        reqwest::get(url(&format!("sync.getRepo?did={}", scene.did("alice")))).await.unwrap().bytes().await.unwrap();
    scene.put("alice", "replaced", json!({})).await;
    let import = Client::new().post(url("repo.importRepo")).bearer_auth(&scene.owners["alice"].token);
    let imported = import.header("content-type", "application/vnd.ipld.car").body(file).send().await.unwrap();
    assert_eq!(imported.status(), 200);
    scene.put("alice", "kept", json!({})).await;
    scene.stop().await;
    let newer = tempfile::tempdir().unwrap();
    copy(&older, newer.path());
    for (from, failure) in [(&backup, "became another"), (&newer, "")] {
        fs::remove_dir_all(&older).unwrap();
        copy(from.path(), &older);
        let of = scene.of_each(&scene.recover().await);
        assert!(of["alice"]["failure"].as_str().unwrap_or_default().contains(failure), "{}", of["alice"]);
        assert_eq!(of["alice"]["failure"].is_null(), failure.is_empty(), "{}", of["alice"]);
    }

    // What account.sqlite does not know.
    assert!(scene.place.run(&["account", "takedown", "alice.test"]).await.success);
    scene.meddle("account.sqlite", "UPDATE actor SET takedownRef = NULL WHERE did = ?1", "alice");
    for table in ["repo_root", "account", "actor"] {
        scene.meddle("account.sqlite", &format!("DELETE FROM {table} WHERE did = ?1"), "dave");
    }
    let blob = scene.blobs[1]["ref"]["$link"].as_str().unwrap();
    fs::remove_file(scene.path().join("blocks").join(scene.did("alice")).join(blob)).unwrap();
    let sql = format!("DELETE FROM blob WHERE cid = '{blob}'");
    open(&store(&scene.path(), scene.did("alice")).unwrap().join("store.sqlite")).execute(&sql, []).unwrap();
    let of = scene.of_each(&scene.recover().await);
    assert_eq!((&of["alice"]["told"], &of["alice"]["missingBlobs"]), (&json!("takendown"), &json!(1)));
    assert!(of["dave"]["failure"].as_str().unwrap().contains("no such account"), "{}", of["dave"]);
}

#[tokio::test]
async fn accounts_that_a_backup_brings_back_are_deleted_again() {
    let scene = Scene::new().await;
    for file in ["account.sqlite", "account.sqlite-wal"] {
        fs::copy(scene.accounts.path().join(file), scene.path().join(file)).unwrap();
    }
    let _none = fs::remove_file(scene.path().join("account.sqlite-shm"));
    assert!(scene.place.run(&["account", "info", "gone.test"]).await.success);
    let dry = scene.place.run(&["sequencer", "recover", "--dry-run", "--json"]).await;
    assert_eq!(scene.of_each(&dry)["gone"]["deleted"], true);
    assert!(scene.place.run(&["account", "info", "gone.test"]).await.success);
    let said = scene.recover().await;
    let of = scene.of_each(&said);
    assert_eq!((&of["gone"]["deleted"], &of["gone"]["failure"]), (&json!(true), &Value::Null));
    assert!(!scene.place.run(&["account", "info", "gone.test"]).await.success);
    assert!(store(&scene.path(), scene.did("gone")).is_none());
    assert!(of["eve"]["failure"].as_str().unwrap().contains("no such account") && !said.success, "{said:?}");
    assert_eq!(scene.rows("alice"), scene.expected["alice"]);
    // What happens to accounts from here on is told, though the older database has not counted what was told before.
    let told = scene.place.last();
    assert!(scene.place.run(&["account", "takedown", "alice.test"]).await.success);
    assert_eq!(scene.place.last(), told + 1);
}

#[tokio::test]
async fn stores_are_recovered_beside_a_server_that_goes_on_with_them() {
    let mut scene = Scene::new().await;
    // Of carol's store the key is left.
    let (directory, key) = &scene.lost;
    fs::create_dir_all(directory).unwrap();
    fs::write(directory.join("key"), key).unwrap();
    scene.place.serve().await;
    let mut follower = Follower::start(&scene).await;
    let (told, older) = (scene.place.last(), scene.rows("alice"));
    follower.through(&scene.place.plc, told).await;
    for (method, input) in scene.writes("alice") {
        scene.is_refused("alice", method, input).await;
    }
    let file = scene.repository("alice").await;
    let import = Client::new().post(scene.url("repo.importRepo")).bearer_auth(&scene.owners["alice"].token);
    is_behind(import.header("content-type", "application/vnd.ipld.car").body(file).send().await.unwrap()).await;
    // What was acknowledged and is not known here is none the worse for an upload of the same.
    assert_eq!(scene.upload("alice", "the second").await, scene.blobs[1]);
    let (record, blob) = (json!({ "$type": NOTE, "blob": scene.blobs[1] }), "blob");
    let input = json!({ "repo": scene.did("alice"), "collection": NOTE, "rkey": blob, "record": record });
    scene.is_refused("alice", "repo.putRecord", input).await;
    let errors = scene.place.server.as_ref().unwrap().errors();
    let names = |error: &&String| error.contains("older than what was told") && error.contains(scene.did("alice"));
    assert_eq!(errors.iter().filter(names).count(), 1, "the log says once what is to be done: {errors:?}");
    assert!(errors.iter().any(|error| names(&error) && error.contains("`headwater sequencer recover`")));
    let read = [("repo", scene.did("alice")), ("collection", NOTE), ("rkey", "n03")];
    let record = Client::new().get(scene.url("repo.getRecord")).query(&read).send().await.unwrap();
    assert_eq!(record.status(), 200, "deleted since, and what is here is read");
    for words in [["repo", "rebuild", "alice.test"].as_slice(), &["resync", "alice.test"]] {
        let refused = scene.place.run(words).await;
        assert!(!refused.success && refused.errors.contains("`headwater sequencer recover`"), "{words:?}: {refused:?}");
    }
    let found = scene.place.run(&["repo", "verify", "alice.test"]).await;
    assert!(!found.success && found.output.contains("`headwater sequencer recover`"), "{found:?}");
    assert_eq!((scene.place.last(), scene.rows("alice")), (told, older), "nothing has changed");

    let recovered = scene.recover().await;
    assert!(recovered.success, "{recovered:?}");
    let carol = &scene.of_each(&recovered)["carol"];
    assert_eq!((&carol["made"], &carol["otherKey"]), (&json!(true), &json!(false)));
    for (name, expected) in &scene.expected {
        assert_eq!(scene.rows(name), *expected, "{name}");
    }
    for name in ["alice", "bob", "carol", "dave"] {
        scene.put(name, "later", json!({ "text": "later" })).await;
        scene.delete(name, "n19").await;
    }
    // It goes on from where it stood, and has to find one chain.
    follower.through(&scene.place.plc, scene.place.last()).await;
    scene.mirror().await;
    assert_eq!(scene.blob(&scene.blobs[1]).await, "the second");
}

#[tokio::test]
async fn an_older_store_is_gone_on_with_only_by_who_gives_up_what_it_lacks() {
    let mut scene = Scene::new().await;
    let told = scene.place.last();
    // What another server told counts as well, and so does what a server told that had the directory before this one.
    scene.meddle("sequencer.sqlite", "UPDATE headwater_head SET seq = 1, rev = '2222222222222' WHERE did = ?1", "bob");
    scene.meddle("sequencer.sqlite", "DELETE FROM headwater_head WHERE did = ?1", "dave");
    let downgrade = scene.place.run(&["prepare-downgrade"]).await;
    assert!(!downgrade.success && downgrade.errors.contains("`headwater sequencer recover`"), "{downgrade:?}");
    let refused = scene.place.run(&["repo", "rebuild", "bob.test"]).await;
    assert!(!refused.success && refused.errors.contains("`headwater sequencer recover`"), "{refused:?}");
    scene.place.serve().await;
    for name in ["alice", "bob", "dave"] {
        for (method, input) in scene.writes(name) {
            scene.is_refused(name, method, input).await;
        }
    }
    assert_eq!(scene.place.last(), told);

    // An account's worth is told as ever; that it is active again, only with its repository.
    scene.call("alice", "server.deactivateAccount", json!({})).await;
    let older = scene.rows("alice");
    let activate = async || {
        let call = Client::new().post(scene.url("server.activateAccount"));
        call.bearer_auth(&scene.owners["alice"].token).send().await.unwrap()
    };
    is_behind(activate().await).await;
    assert_eq!((scene.place.last(), scene.rows("alice")), (told + 1, older));

    let mut follower = Follower::start(&scene).await;
    let rebuilt = scene.place.run(&["repo", "rebuild", "bob.test", "--drop-damaged"]).await;
    assert!(rebuilt.success, "{rebuilt:?}");
    scene.put("bob", "after", json!({})).await;
    let recovered = scene.of_each(&scene.recover().await);
    assert_eq!((&recovered["bob"]["commits"], &recovered["bob"]["failure"]), (&json!(0), &Value::Null));
    assert_eq!(scene.rows("dave"), scene.expected["dave"]);
    assert_eq!(activate().await.status(), 200);
    for name in ["alice", "dave"] {
        scene.put(name, "later", json!({})).await;
    }
    follower.through(&scene.place.plc, scene.place.last()).await;
    scene.stop().await;
    assert!(scene.place.run(&["prepare-downgrade"]).await.success);
}

#[tokio::test]
async fn a_recovery_that_dies_is_finished_by_the_next() {
    if !cfg!(debug_assertions) {
        return environment::skip("a program built for speed does not die on demand");
    }
    let scene = Scene::new().await;
    for place in PLACES {
        let directory = tempfile::tempdir().unwrap();
        copy(&scene.path(), directory.path());
        let recover = |fault: &str| {
            let mut command = of_headwater(&program(), directory.path(), &scene.place.plc);
            command.args(["sequencer", "recover"]).env("HEADWATER_FAULT", fault);
            async move { command.output().await.unwrap() }
        };
        // At the next account each time, where the one before is done.
        let mut deaths = 0;
        while deaths < scene.expected.len() {
            let died = recover(place).await;
            if died.status.success() && deaths > 0 {
                break;
            }
            assert_eq!(died.status.signal(), Some(ABORT), "{place}: {died:?}");
            deaths += 1;
            // A start in between does what is left of the files of blobs, and no more.
            let server = Process::start(headwater(&program(), directory.path(), &scene.place.plc)).await;
            wait_until_swept(directory.path()).await;
            server.kill().await;
        }
        let finished = recover("").await;
        assert!(finished.status.success(), "{place}: {finished:?}");
        for (name, expected) in &scene.expected {
            assert_eq!(rows(directory.path(), scene.did(name)), *expected, "{place}: {name}");
        }
    }
}
