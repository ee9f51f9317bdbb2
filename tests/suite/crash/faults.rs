//! A process that dies between two steps, at every place where it could: afterwards what was asked for is done entirely,
//! told once and in order, or was never begun; and who asks again gets it.
//!
//! The table says which for each place. A place that its request does not reach fails, and so does one in the source
//! that the table leaves out.

use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Instant;

use reqwest::{Body as RequestBody, Method, RequestBuilder, StatusCode};
use shared::data;
use shared::identity::plc::{Body, Operation};
use tests::{Repository, store};

use super::mirror::open;
use super::*;

const ADMIN: &str = "master:key";
/// An account that nothing happens to.
const KEEPER: &str = "keeper.test";
/// How much of an upload goes to a bucket at a time.
const PART_LEN: usize = 5 * 1024 * 1024;
const NOTE: &str = "com.example.note";
/// The signal of a process that ends itself.
const ABORT: i32 = 6;

/// What is asked for when the process dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ask {
    Write,
    WriteWithBlob,
    DeleteWithBlob,
    Upload,
    UploadInParts,
    UploadAgain,
    SignUp,
    Rename,
    Submit,
    Import,
    ImportBeforeActivation,
    Activate,
    Deactivate,
    TakeDown,
    Restore,
    TakeBlobDown,
    RestoreBlob,
    Delete,
}

/// What is there afterwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// All of it, though nobody was told.
    Done,
    /// Nothing of it.
    Undone,
}

use Ask::*;
use Then::*;

/// Every place, with a request that leads there. Where there are more, the process dies at the later ones in the starts
/// that follow.
const ROWS: &[(Ask, &[&str], Then)] = &[
    (Write, &["write.ready"], Undone),
    (Write, &["write.written"], Undone),
    (Write, &["write.committed"], Done),
    (Write, &["write.committed", "sequence.written"], Done),
    (Write, &["write.committed", "sequence.committed"], Done),
    (Write, &["write.handed-over"], Done),
    (Write, &["sequence.written"], Done),
    (Write, &["sequence.committed"], Done),
    (Write, &["sequence.published"], Done),
    (Write, &["write.sequenced"], Done),
    (Write, &["roots.due"], Done),
    (Write, &["roots.due", "roots.told"], Done),
    (Write, &["roots.told"], Done),
    (WriteWithBlob, &["write.placed"], Undone),
    (WriteWithBlob, &["write.written"], Undone),
    (WriteWithBlob, &["write.committed"], Done),
    (WriteWithBlob, &["write.uploads-ended"], Done),
    (DeleteWithBlob, &["write.committed"], Done),
    (DeleteWithBlob, &["write.committed", "release.deleted"], Done),
    (DeleteWithBlob, &["write.uploads-ended"], Done),
    (DeleteWithBlob, &["release.deleted"], Done),
    (Upload, &["upload.kept"], Undone),
    (Upload, &["upload.written-down"], Done),
    (UploadAgain, &["upload.placed"], Done),
    (UploadAgain, &["upload.written-down"], Done),
    (SignUp, &["create.noted"], Undone),
    (SignUp, &["store.key-written"], Undone),
    (SignUp, &["create.stored"], Undone),
    (SignUp, &["create.registered"], Undone),
    (SignUp, &["create.registered", "undo.forgotten"], Undone),
    (SignUp, &["create.registered", "undo.ended"], Undone),
    (SignUp, &["create.registered", "undo.destroyed"], Undone),
    (SignUp, &["create.committed"], Done),
    (SignUp, &["create.committed", "announce.sequenced"], Done),
    (SignUp, &["announce.sequenced"], Done),
    (SignUp, &["create.told"], Done),
    (Rename, &["rename.noted"], Undone),
    (Rename, &["rename.registered"], Done),
    (Rename, &["rename.registered", "change.committed"], Done),
    (Rename, &["change.committed"], Done),
    (Submit, &["identity.noted"], Undone),
    (Submit, &["identity.registered"], Done),
    (Submit, &["identity.committed"], Done),
    (Import, &["import.staged"], Undone),
    (Import, &["import.written"], Undone),
    (Import, &["import.committed"], Done),
    (Import, &["import.settled"], Done),
    (Import, &["import.sequenced"], Done),
    (ImportBeforeActivation, &["import.staged"], Undone),
    (ImportBeforeActivation, &["import.committed"], Done),
    (Activate, &["activate.recommitted"], Undone),
    (Activate, &["activate.committed"], Done),
    (Activate, &["activate.committed", "announce.sequenced"], Done),
    (Deactivate, &["change.committed"], Done),
    (TakeDown, &["change.committed"], Done),
    (Restore, &["change.committed"], Done),
    (TakeBlobDown, &["takedown.marked"], Done),
    (RestoreBlob, &["restore.moved"], Undone),
    (Delete, &["delete.committed"], Done),
    (Delete, &["delete.committed", "delete.told"], Done),
    (Delete, &["delete.told"], Done),
    (Delete, &["delete.forgotten"], Done),
    (Delete, &["destroy.blobs-gone"], Done),
    (Delete, &["delete.destroyed"], Done),
];

/// Places that are in the way of blobs alone that are kept in a bucket.
const BUCKET_ROWS: &[(Ask, &[&str], Then)] = &[(UploadInParts, &["upload.part-sent"], Undone)];

/// Whom a row is about.
struct Subject {
    name: String,
    account: Option<Account>,
    /// A blob of the account, as a record refers to it.
    blob: Value,
    large: bool,
}

impl Subject {
    fn did(&self) -> &str {
        self.account.as_ref().map_or("", |account| &account.did)
    }

    fn cid(&self) -> &str {
        self.blob["ref"]["$link"].as_str().unwrap_or_default()
    }

    fn content(&self) -> String {
        let content = format!("the blob of {}", self.name);
        // More than goes in one part.
        if self.large { content.repeat(PART_LEN / content.len() + 2) } else { content }
    }

    fn record(&self, rkey: &str, blob: bool) -> Value {
        let mut record = json!({ "$type": NOTE, "text": self.name });
        if blob {
            record["blob"] = self.blob.clone();
        }
        json!({ "repo": self.did(), "collection": NOTE, "rkey": rkey, "record": record })
    }
}

/// A running server, asked on behalf of a subject.
struct Asked<'a> {
    server: &'a Process,
    scene: &'a Scene,
}

impl Asked<'_> {
    fn call(&self, method: Method, nsid: &str) -> RequestBuilder {
        Client::new().request(method, self.server.url(&format!("/xrpc/com.atproto.{nsid}")))
    }

    fn owner(&self, subject: &Subject, nsid: &str, input: &Value) -> RequestBuilder {
        let token = subject.account.as_ref().map_or("", |account| &account.token);
        let call = self.call(Method::POST, nsid).bearer_auth(token);
        if input.is_null() { call } else { call.json(input) }
    }

    fn admin(&self, nsid: &str, input: &Value) -> RequestBuilder {
        self.call(Method::POST, nsid).basic_auth("admin", Some(ADMIN)).json(input)
    }

    fn status(&self, subject: &Value, applied: bool) -> RequestBuilder {
        let takedown = json!({ "applied": applied, "ref": "case 7" });
        self.admin("admin.updateSubjectStatus", &json!({ "subject": subject, "takedown": takedown }))
    }

    fn repo_status(&self, subject: &Subject, applied: bool) -> RequestBuilder {
        self.status(&json!({ "$type": "com.atproto.admin.defs#repoRef", "did": subject.did() }), applied)
    }

    fn blob_status(&self, subject: &Subject, applied: bool) -> RequestBuilder {
        let kind = "com.atproto.admin.defs#repoBlobRef";
        self.status(&json!({ "$type": kind, "did": subject.did(), "cid": subject.cid() }), applied)
    }

    async fn get(&self, nsid: &str, query: &[(&str, &str)]) -> (StatusCode, Value) {
        let answer = self.call(Method::GET, nsid).query(query).send().await.unwrap();
        (answer.status(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
    }

    async fn upload(&self, subject: &Subject) -> Value {
        let token = &subject.account.as_ref().unwrap().token;
        let call = self.call(Method::POST, "repo.uploadBlob").bearer_auth(token).header("content-type", "text/plain");
        let answer = call.body(subject.content()).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["blob"].clone()
    }

    /// Makes whom `ask` is about.
    async fn prepare(&self, ask: Ask, name: String) -> Subject {
        let mut subject = Subject { name, account: None, blob: Value::Null, large: ask == UploadInParts };
        if ask == SignUp {
            return subject;
        }
        subject.account = Some(account(self.server, &subject.name).await);
        if matches!(ask, WriteWithBlob | DeleteWithBlob | UploadAgain | TakeBlobDown | RestoreBlob | Delete) {
            subject.blob = self.upload(&subject).await;
        }
        if matches!(ask, DeleteWithBlob | UploadAgain | TakeBlobDown | RestoreBlob | Delete) {
            done(self.owner(&subject, "repo.putRecord", &subject.record("one", true))).await;
        }
        match ask {
            Activate | ImportBeforeActivation => {
                done(self.owner(&subject, "server.deactivateAccount", &json!({}))).await
            }
            Restore => done(self.repo_status(&subject, true)).await,
            RestoreBlob => done(self.blob_status(&subject, true)).await,
            _ => {}
        }
        subject
    }

    /// The request of a row.
    async fn request(&self, ask: Ask, subject: &Subject) -> RequestBuilder {
        let place = json!({ "repo": subject.did(), "collection": NOTE, "rkey": "one" });
        match ask {
            Write => self.owner(subject, "repo.putRecord", &subject.record("one", false)),
            WriteWithBlob => self.owner(subject, "repo.putRecord", &subject.record("one", true)),
            DeleteWithBlob => self.owner(subject, "repo.deleteRecord", &place),
            Upload | UploadInParts | UploadAgain => {
                let call = self.owner(subject, "repo.uploadBlob", &Value::Null);
                call.header("content-type", "text/plain").body(subject.content())
            }
            SignUp => {
                let (handle, email) = (format!("{}.test", subject.name), format!("{}@example.com", subject.name));
                let input = json!({ "handle": handle, "email": email, "password": PASSWORD });
                self.call(Method::POST, "server.createAccount").json(&input)
            }
            Rename => {
                let input = json!({ "handle": format!("{}-new.test", subject.name) });
                self.owner(subject, "identity.updateHandle", &input)
            }
            Submit => {
                let operation = self.scene.operation(subject).await;
                self.owner(subject, "identity.submitPlcOperation", &json!({ "operation": operation }))
            }
            Import | ImportBeforeActivation => {
                let file = Repository::new(subject.did(), 3, 100).file();
                let call = self.owner(subject, "repo.importRepo", &Value::Null);
                call.header("content-type", "application/vnd.ipld.car").body(RequestBody::wrap_stream(file))
            }
            Activate => self.owner(subject, "server.activateAccount", &Value::Null),
            Deactivate => self.owner(subject, "server.deactivateAccount", &json!({})),
            TakeDown => self.repo_status(subject, true),
            Restore => self.repo_status(subject, false),
            TakeBlobDown => self.blob_status(subject, true),
            RestoreBlob => self.blob_status(subject, false),
            Delete => self.admin("admin.deleteAccount", &json!({ "did": subject.did() })),
        }
    }

    async fn has_record(&self, subject: &Subject) -> bool {
        let query = [("repo", subject.did()), ("collection", NOTE), ("rkey", "one")];
        self.get("repo.getRecord", &query).await.0 == 200
    }

    async fn has_blob(&self, subject: &Subject) -> bool {
        self.get("sync.getBlob", &[("did", subject.did()), ("cid", subject.cid())]).await.0 == 200
    }

    /// What is there: all, or nothing, of what was asked for.
    ///
    /// # Panics
    /// When it is there in part.
    async fn found(&self, ask: Ask, subject: &Subject) -> Then {
        let both = |one: bool, other: bool| {
            assert_eq!(one, other, "{ask:?} of {} is done in part", subject.name);
            one
        };
        let directory = self.scene.path();
        let done = match ask {
            Write => self.has_record(subject).await,
            WriteWithBlob => both(self.has_record(subject).await, self.has_blob(subject).await),
            DeleteWithBlob => {
                let file = self.scene.blobs().join(subject.did()).join(subject.cid());
                both(!self.has_record(subject).await, !file.exists()) && !self.has_blob(subject).await
            }
            Upload | UploadInParts => {
                self.scene.count(subject, "SELECT count(*) FROM blob WHERE tempKey IS NOT NULL") == 1
            }
            UploadAgain | RestoreBlob => self.has_blob(subject).await,
            TakeBlobDown => !self.has_blob(subject).await,
            SignUp => log_in(self.server, &subject.name).await.is_some(),
            Rename => {
                let handle = format!("{}-new.test", subject.name);
                let resolved = self.get("identity.resolveHandle", &[("handle", &handle)]).await;
                let document = self.scene.document(subject.did()).await;
                let named = document["alsoKnownAs"][0] == format!("at://{handle}");
                both(named, resolved == (StatusCode::OK, json!({ "did": subject.did() })))
            }
            Submit => {
                let told = self.scene.mirror.told[subject.did()].kinds.iter().filter(|kind| **kind == "identity");
                let changed = self.scene.log(subject.did()).await.len() > 1;
                // Told without need costs a look at the directory; not told, nobody would look.
                assert!(!changed || told.count() > 1, "{} has changed and nobody was told", subject.did());
                changed
            }
            Import | ImportBeforeActivation => {
                self.scene.count(subject, "SELECT count(*) FROM record WHERE collection = 'com.example.note'") == 3
            }
            Activate | Restore => self.worth(subject).await == Some((true, Value::Null)),
            Deactivate => self.worth(subject).await == Some((false, json!("deactivated"))),
            TakeDown => self.worth(subject).await == Some((false, json!("takendown"))),
            Delete => {
                let gone = both(self.worth(subject).await.is_none(), store(directory, subject.did()).is_none());
                both(gone, !holds_files(&self.scene.blobs().join(subject.did())))
            }
        };
        if done { Done } else { Undone }
    }

    /// What the account is worth, as its status is told; `None` when there is none.
    async fn worth(&self, subject: &Subject) -> Option<(bool, Value)> {
        let (status, body) = self.get("sync.getRepoStatus", &[("did", subject.did())]).await;
        (status == 200).then(|| (body["active"] == true, body["status"].clone()))
    }
}

/// Sends a request that has to succeed.
async fn done(request: RequestBuilder) {
    let answer = request.send().await.unwrap();
    let status = answer.status();
    assert!(status.is_success(), "{status} {}", answer.text().await.unwrap());
}

/// Whether there is anything in a directory; a bucket's server may leave it empty.
fn holds_files(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

impl Scene {
    /// Where the permanent blobs of accounts are.
    fn blobs(&self) -> PathBuf {
        self.bucket.as_ref().map_or_else(|| self.path().to_owned(), Bucket::directory).join("blocks")
    }

    fn serving(&self, fault: Option<&str>) -> Command {
        let mut command = self.command();
        // One open store: who looks at another account makes the server be done with the first.
        command.env("PDS_ADMIN_PASSWORD", ADMIN).env("PDS_ACTOR_STORE_CACHE_SIZE", "1");
        command.env("PDS_BLOB_UPLOAD_LIMIT", (2 * PART_LEN).to_string());
        if let Some(fault) = fault {
            command.env("HEADWATER_FAULT", fault);
        }
        command
    }

    async fn document(&self, did: &str) -> Value {
        reqwest::get(self.plc.url(&format!("/{did}"))).await.unwrap().json().await.unwrap()
    }

    async fn log(&self, did: &str) -> Vec<Value> {
        reqwest::get(self.plc.url(&format!("/{did}/log"))).await.unwrap().json().await.unwrap()
    }

    /// The DIDs that the directory has of this name and that are not ended.
    async fn alive(&self, name: &str) -> Vec<String> {
        let export = reqwest::get(self.plc.url("/export?count=1000")).await.unwrap().text().await.unwrap();
        let handle = format!("at://{name}.test");
        let named = export.lines().filter(|line| line.contains(&handle));
        let mut alive = Vec::new();
        for line in named {
            let did = serde_json::from_str::<Value>(line).unwrap()["did"].as_str().unwrap().to_owned();
            if reqwest::get(self.plc.url(&format!("/{did}"))).await.unwrap().status() == 200 {
                alive.push(did);
            }
        }
        alive
    }

    /// An operation that the server signed itself, with one more key that may change the account's document.
    async fn operation(&self, subject: &Subject) -> Value {
        let log = serde_json::to_vec(&self.log(subject.did()).await).unwrap();
        let data::Value::Array(log) = data::json::parse(&log).unwrap() else { panic!("the log is a list") };
        let first = Operation::from_value(log.into_iter().next().unwrap()).unwrap();
        let secrets = std::fs::read_to_string(self.path().join("headwater-secrets.json")).unwrap();
        let key = crate::handle::rotation_key(&serde_json::from_str(&secrets).unwrap());
        let mut state = first.state().unwrap();
        let more = shared::crypto::SigningKey::from_bytes(shared::crypto::Curve::K256, &[9; 32]).unwrap();
        state.rotation_keys.push(more.public_key().to_did_key());
        let operation = Body::update(state, &first.cid()).sign(&key);
        serde_json::to_value(operation.to_value()).unwrap()
    }

    fn count(&self, subject: &Subject, sql: &str) -> i64 {
        let store = open(&store(self.path(), subject.did()).unwrap().join("store.sqlite"));
        store.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// How many DIDs without an account have more events than a tombstone.
    fn strangers(&self) -> i64 {
        let sequencer = open(&self.path().join("sequencer.sqlite"));
        let accounts = self.path().join("account.sqlite");
        sequencer.execute("ATTACH ?1 AS accounts", [accounts.to_str().unwrap()]).unwrap();
        let sql = "SELECT count(DISTINCT did) FROM repo_seq WHERE eventType <> 'account'
            AND did NOT IN (SELECT did FROM accounts.actor)";
        sequencer.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// Waits until nothing is left to tell, to finish or to undo.
    async fn wait_until_finished(&self, server: &Process) {
        let (status, _) = Asked { server, scene: self }.get("repo.describeRepo", &[("repo", KEEPER)]).await;
        assert_eq!(status, 200);
        let accounts = open(&self.path().join("account.sqlite"));
        let started = Instant::now();
        loop {
            let left: i64 =
                accounts.query_row("SELECT count(*) FROM headwater_unfinished", [], |row| row.get(0)).unwrap();
            if left == 0 {
                break;
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{left} works are left to finish");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.mirror.wait_until_told().await;
    }

    /// Checks what must hold whatever was asked for: all events verify, the last of an account says what it is worth, its
    /// store stands where they say; and there is no store without an account.
    async fn check_all(&mut self, server: &Process, subject: &Subject) {
        self.wait_until_finished(server).await;
        // From the first event: a deletion takes earlier ones away.
        self.mirror = Mirror::of(self.path(), subject.did());
        self.mirror.read_on(&self.plc).await;
        let accounts = open(&self.path().join("account.sqlite"));
        for shard in std::fs::read_dir(self.path().join("actors")).unwrap() {
            for store in std::fs::read_dir(shard.unwrap().path()).unwrap() {
                let did = store.unwrap().file_name().into_string().unwrap();
                let sql = "SELECT count(*) FROM actor WHERE did = ?1";
                let known: i64 = accounts.query_row(sql, [&did], |row| row.get(0)).unwrap();
                assert_eq!(known, 1, "the store of {did} is nobody's");
            }
        }
        assert_eq!(self.strangers(), 0, "something was told of accounts that are none");
        if subject.account.is_none() {
            return;
        }
        let worth = Asked { server, scene: self }.worth(subject).await;
        let told = &self.mirror.told[subject.did()];
        let last = told.worth.clone().unwrap();
        match worth {
            Some((active, status)) => {
                assert_eq!(last, (active, status.as_str().map(str::to_owned)), "{} was told otherwise", subject.name);
                let released = self.count(subject, "SELECT count(*) FROM headwater_released");
                assert_eq!(released, 0, "files of {} are left to delete", subject.name);
                if active {
                    self.mirror.check_store(subject.did());
                }
            }
            None => assert_eq!((last, &told.kinds[..]), ((false, Some("deleted".to_owned())), &["account"][..])),
        }
    }

    /// Lets the process die at `points`, one after the other; the request of `ask` leads to the first.
    async fn die(&self, ask: Ask, subject: &Subject, points: &[&str]) {
        let [first, later @ ..] = points else { return };
        let server = Process::start(self.serving(Some(first))).await;
        let request = Asked { server: &server, scene: self }.request(ask, subject).await;
        // Some of them come after the answer.
        let answer = request.send().await.map(|answer| answer.status());
        let ended = server.ended_within(Duration::from_secs(5)).await;
        let signal = ended.and_then(|status| status.signal());
        assert_eq!(signal, Some(ABORT), "{ask:?} does not lead to {first}: {answer:?}");
        for point in later {
            let ended = match Starting::new(self.serving(Some(point))).listens().await {
                Ok(process) => process.ended_within(Duration::from_secs(5)).await,
                Err(status) => Some(status),
            };
            let signal = ended.and_then(|status| status.signal());
            assert_eq!(signal, Some(ABORT), "a start after {ask:?} died at {first} does not lead to {point}");
        }
    }
}

/// Every place in the origin's source.
fn points() -> BTreeSet<String> {
    fn gather(directory: &Path, points: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, points);
            } else {
                let text = std::fs::read_to_string(&path).unwrap();
                let names = text.split("fault::point(\"").skip(1).map(|rest| rest.split('"').next().unwrap());
                points.extend(names.map(str::to_owned));
            }
        }
    }
    let mut points = BTreeSet::new();
    gather(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../origin/src"), &mut points);
    points
}

#[test]
fn every_place_between_two_steps_is_in_the_table() {
    let rows = ROWS.iter().chain(BUCKET_ROWS).flat_map(|(_, points, _)| *points);
    // A command has some of its own.
    let tabled: BTreeSet<String> = rows.chain(crate::recover::PLACES).map(|point| (*point).to_owned()).collect();
    assert_eq!(points(), tabled);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_the_process_dies_between_all_is_done_or_nothing() {
    die_at(Scene::new().await, ROWS.iter()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_with_blobs_in_a_bucket() {
    let mut scene = Scene::new().await;
    scene.bucket = Some(Bucket::start().await);
    let with_blobs = |(ask, ..): &&(Ask, _, _)| {
        matches!(ask, WriteWithBlob | DeleteWithBlob | Upload | UploadAgain | TakeBlobDown | RestoreBlob | Delete)
    };
    die_at(scene, ROWS.iter().filter(with_blobs).chain(BUCKET_ROWS)).await;
}

async fn die_at(mut scene: Scene, rows: impl Iterator<Item = &'static (Ask, &'static [&'static str], Then)>) {
    if !cfg!(debug_assertions) {
        // The program has no such places then; the kills at random are for it.
        return environment::skip("a program built for speed does not die on demand");
    }
    let rows: Vec<_> = rows.collect();
    let server = Process::start(scene.serving(None)).await;
    account(&server, KEEPER.trim_end_matches(".test")).await;
    let mut subjects = Vec::new();
    for (number, (ask, ..)) in rows.iter().enumerate() {
        let name = format!("{}{number}", format!("{ask:?}").to_lowercase());
        subjects.push(
            Asked { server: &server, scene: &scene }
                .prepare(*ask, name[name.len().saturating_sub(18)..].to_owned())
                .await,
        );
    }
    scene.wait_until_finished(&server).await;
    server.kill().await;
    for ((ask, points, then), mut subject) in rows.into_iter().zip(subjects) {
        scene.die(*ask, &subject, points).await;
        let server = Process::start(scene.serving(None)).await;
        scene.check_all(&server, &subject).await;
        let found = Asked { server: &server, scene: &scene }.found(*ask, &subject).await;
        assert_eq!(found, *then, "{ask:?} after the process died at {points:?}");

        // Who got no answer asks again, or finds out that it is done.
        let asked = Asked { server: &server, scene: &scene };
        let answer = asked.request(*ask, &subject).await.send().await.unwrap().status();
        let may_refuse = *then == Done && matches!(ask, SignUp | Submit | Delete);
        assert!(answer.is_success() || may_refuse, "{ask:?} again, after {points:?}: {answer}");
        if *ask == SignUp {
            subject.account = log_in(&server, &subject.name).await;
            scene.check_all(&server, &subject).await;
            assert_eq!(scene.mirror.told[subject.did()].kinds, ["identity", "account", "commit", "sync"]);
            assert_eq!(scene.alive(&subject.name).await, [subject.did()], "another DID was made, and not ended");
            server.kill().await;
            continue;
        }
        scene.check_all(&server, &subject).await;
        let found = Asked { server: &server, scene: &scene }.found(*ask, &subject).await;
        assert_eq!(found, Done, "{ask:?} again, after {points:?}");
        assert_eq!(server.errors(), [] as [&str; 0], "{ask:?} after {points:?}");
        server.kill().await;
    }
}
