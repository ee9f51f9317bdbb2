//! A disk that is full: what is refused has left nothing, what is committed is told once and in order as soon as there is
//! room again, and nobody has to start the server anew.
//!
//! The disk is full when the system lets the process write no file beyond a length: with none, nothing can be written;
//! with that of the sequence's log, commits can, and their events cannot.

use std::os::unix::fs::MetadataExt as _;
use std::time::Instant;

use reqwest::StatusCode;
use rusqlite::OptionalExtension as _;
use tests::process::under;
use tests::store;

use super::mirror::open;
use super::*;

const NOTE: &str = "com.example.note";
/// Lets a process that writes beyond its limit hear of it, instead of ending it.
const LIMITED: [&str; 3] = ["sh", "-c", r#"trap '' XFSZ; exec "$0" "$@""#];

/// A server whose disk can be full.
struct Disk {
    scene: Scene,
    server: Process,
}

impl Disk {
    async fn new() -> Self {
        let scene = Scene::new().await;
        let server = Process::start(under(&LIMITED, &scene.command())).await;
        Self { scene, server }
    }

    /// Lets the process write no file beyond so many bytes; `None`: as it likes.
    async fn limit(&self, bytes: Option<u64>) {
        let limit = bytes.map_or_else(|| "unlimited".to_owned(), |bytes| bytes.to_string());
        let (process, limit) = (self.server.id().to_string(), format!("--fsize={limit}:unlimited"));
        assert!(Command::new("prlimit").args(["--pid", &process, &limit]).status().await.unwrap().success());
    }

    async fn post(&self, account: &Account, nsid: &str, input: &Value) -> (StatusCode, Value) {
        let call = Client::new().post(self.server.url(&format!("/xrpc/com.atproto.{nsid}")));
        let answer = call.bearer_auth(&account.token).json(input).send().await.unwrap();
        (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn write(&self, account: &Account, rkey: &str) -> StatusCode {
        let record = json!({ "$type": NOTE, "text": "x".repeat(500) });
        let input = json!({ "repo": account.did, "collection": NOTE, "rkey": rkey, "record": record });
        self.post(account, "repo.putRecord", &input).await.0
    }

    async fn reads(&self, account: &Account, rkey: &str) -> bool {
        let url = self.server.url("/xrpc/com.atproto.repo.getRecord");
        let query = [("repo", account.did.as_str()), ("collection", NOTE), ("rkey", rkey)];
        Client::new().get(url).query(&query).send().await.unwrap().status() == 200
    }

    /// How long the sequence's log is, in bytes.
    fn sequence_len(&self) -> u64 {
        std::fs::metadata(self.scene.path().join("sequencer.sqlite-wal")).unwrap().size()
    }

    /// Waits for the last event of a kind to be other than `before`, without asking the server for anything.
    async fn wait_for(&self, kind: &str, before: Option<i64>) {
        let started = Instant::now();
        while self.last(kind) == before {
            assert!(started.elapsed() < Duration::from_secs(20), "the event is not told");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn last(&self, kind: &str) -> Option<i64> {
        let sequencer = open(&self.scene.path().join("sequencer.sqlite"));
        let sql = "SELECT seq FROM repo_seq WHERE eventType = ?1 ORDER BY seq DESC LIMIT 1";
        sequencer.query_row(sql, [kind], |row| row.get(0)).optional().unwrap()
    }

    /// Checks an account's store against all its events.
    async fn check(&mut self, account: &Account) {
        let listed = reqwest::get(self.server.url("/xrpc/com.atproto.sync.listRepos")).await.unwrap();
        assert_eq!(listed.status(), 200);
        self.scene.mirror.read_on(&self.scene.plc).await;
        self.scene.mirror.check_store(&account.did);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_writes_are_refused_whole_and_reads_go_on() {
    let mut disk = Disk::new().await;
    let alice = account(&disk.server, "alice").await;
    assert_eq!(disk.write(&alice, "before").await, 200);
    let before = disk.last("append");

    disk.limit(Some(0)).await;
    for rkey in ["one", "two"] {
        assert!(disk.write(&alice, rkey).await.is_server_error());
        assert!(!disk.reads(&alice, rkey).await && disk.reads(&alice, "before").await);
    }
    let upload = Client::new().post(disk.server.url("/xrpc/com.atproto.repo.uploadBlob"));
    let upload = upload.bearer_auth(&alice.token).header("content-type", "text/plain").body("blob");
    assert!(upload.send().await.unwrap().status().is_server_error());
    let sign_up = sign_up(&disk.server.url(""), "bob").await.unwrap();
    assert!(sign_up.0 >= 500, "{sign_up:?}");
    assert_eq!(disk.last("append"), before);

    disk.limit(None).await;
    assert_eq!(disk.write(&alice, "after").await, 200);
    let bob = account(&disk.server, "bob").await;
    let uploads = disk.scene.path().join("blocks/tempt").join(&alice.did);
    assert!(std::fs::read_dir(uploads).map_or(0, Iterator::count) == 0, "half an upload is left");
    assert!(!disk.reads(&alice, "one").await);
    disk.check(&alice).await;
    disk.check(&bob).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_could_not_be_told_is_told_when_there_is_room_though_nobody_asks() {
    let mut disk = Disk::new().await;
    let (alice, bob) = (account(&disk.server, "alice").await, account(&disk.server, "bob").await);
    let bobs = store(disk.scene.path(), &bob.did).unwrap().join("store.sqlite-wal");
    // The sequence's log outgrows that of bob's store.
    for number in 0..40 {
        assert_eq!(disk.write(&alice, &format!("r{number}")).await, 200);
    }
    assert_eq!(disk.write(&bob, "before").await, 200);
    let room = disk.sequence_len();
    assert!(room > std::fs::metadata(&bobs).unwrap().size() + 200_000, "{room} bytes are too few");
    let (told, accounts) = (disk.last("append"), disk.last("account"));

    disk.limit(Some(room)).await;
    assert!(disk.write(&bob, "committed").await.is_server_error());
    assert!(disk.reads(&bob, "committed").await, "it was refused before it was committed");
    // What would have to be told before it cannot be.
    assert!(disk.write(&bob, "refused").await.is_server_error());
    assert!(!disk.reads(&bob, "refused").await);
    let (status, _) = disk.post(&alice, "server.deactivateAccount", &json!({})).await;
    assert!(status.is_server_error(), "{status}");
    assert_eq!((disk.last("append"), disk.last("account")), (told, accounts));

    disk.limit(None).await;
    disk.wait_for("append", told).await;
    disk.wait_for("account", accounts).await;
    assert_eq!(disk.write(&bob, "after").await, 200);
    disk.check(&bob).await;
    let records = &disk.scene.mirror.told[&bob.did].records;
    let paths: Vec<_> = records.keys().map(|path| path.rsplit('/').next().unwrap()).collect();
    assert_eq!(paths, ["after", "before", "committed"]);
    assert_eq!(disk.scene.mirror.told[&alice.did].worth, Some((false, Some("deactivated".to_owned()))));
}
