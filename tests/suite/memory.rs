//! How much memory the server takes while more than that passes through it.
//!
//! The server is a process of its own, and its resident memory is looked at ten times a second. `HEADWATER_MEMORY_MB` says
//! how much passes through: 64 by default, 1,024 in the long form that `cargo xtask soak` runs.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use reqwest::{Body, Client, Method, RequestBuilder};
use serde_json::{Value, json};
use tests::process::{self, Process, headwater};
use tests::service::{Seen, Service};
use tests::{Bucket, Plc, Repository, environment, store};

use crate::commands::{Place, program};
use crate::crash::mirror::open;
use crate::read_after_write::{BOB, VIEW, View, post_of, post_view};
use crate::recover::Scene;

/// How much may be resident, in kB: 100 MB.
const MOST_KB: u64 = 100_000;
const EACH: Duration = Duration::from_millis(100);
const MIB: u64 = 1024 * 1024;

/// How much passes through, in MB.
fn size() -> u64 {
    environment::number("HEADWATER_MEMORY_MB").unwrap_or(64)
}

/// A server under observation, with one account.
struct Watched {
    server: Process,
    did: String,
    token: String,
    most: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    _plc: Plc,
    _directory: tempfile::TempDir,
}

impl Watched {
    async fn start() -> Self {
        Self::start_with(Plc::start().await, &[]).await
    }

    async fn start_with(plc: Plc, more: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let program = PathBuf::from(env!("CARGO_BIN_EXE_headwater-under-test"));
        let mut command = headwater(&program, directory.path(), &plc);
        command.env("PDS_MAX_REPO_IMPORT_SIZE", (4 * 1024 * MIB).to_string());
        command.env("PDS_BLOB_UPLOAD_LIMIT", (256 * MIB).to_string());
        command.envs(more.iter().copied());
        let server = Process::start(command).await;
        let (most, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        watch(server.id(), Arc::clone(&most), Arc::clone(&over));
        let mut watched =
            Self { server, did: String::new(), token: String::new(), most, over, _plc: plc, _directory: directory };
        let input = json!({ "handle": "alice.test", "email": "alice@example.com", "password": "correct horse" });
        let made = watched.call(Method::POST, "server.createAccount").json(&input).send().await.unwrap();
        let made: Value = made.error_for_status().unwrap().json().await.unwrap();
        made["did"].as_str().unwrap().clone_into(&mut watched.did);
        made["accessJwt"].as_str().unwrap().clone_into(&mut watched.token);
        watched
    }

    fn call(&self, verb: Method, method: &str) -> RequestBuilder {
        self.call_any(verb, &format!("com.atproto.{method}"))
    }

    fn call_any(&self, verb: Method, nsid: &str) -> RequestBuilder {
        let request = Client::new().request(verb, self.server.url(&format!("/xrpc/{nsid}")));
        if self.token.is_empty() { request } else { request.bearer_auth(&self.token) }
    }

    /// Moves a repository in; how many records there are then.
    async fn import(&self, records: u64, len: usize) -> u64 {
        let file = Repository::new(&self.did, records, len).file();
        let call = self.call(Method::POST, "repo.importRepo").header("content-type", "application/vnd.ipld.car");
        let answer = call.body(Body::wrap_stream(file)).send().await.unwrap();
        let status = answer.status();
        assert_eq!(status, 200, "{}", answer.text().await.unwrap());
        let status = self.call(Method::GET, "server.checkAccountStatus").send().await.unwrap();
        let status: Value = status.error_for_status().unwrap().json().await.unwrap();
        status["indexedRecords"].as_u64().unwrap()
    }

    /// Ends it; it must not have taken too much at any time.
    async fn stop(self, while_: &str) {
        self.stop_within(MOST_KB, while_).await;
    }

    async fn stop_within(self, limit: u64, while_: &str) {
        tokio::time::sleep(EACH).await;
        self.over.store(true, Ordering::Release);
        let most = self.most.load(Ordering::Acquire);
        self.server.kill().await;
        println!("SOAK {while_}: {most} kB resident at most");
        assert!(most > 0 && most < limit, "{while_}: {most} kB resident");
    }
}

/// Notes the most that the process has resident, until it is over.
fn watch(id: u32, most: Arc<AtomicU64>, over: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        while !over.load(Ordering::Acquire) {
            let Some((resident, _)) = process::memory(id) else { return };
            most.fetch_max(resident, Ordering::AcqRel);
            std::thread::sleep(EACH);
        }
    });
}

/// Takes an answer's body, waiting a moment before each piece if it is `slow`; how many bytes it has.
async fn take(answer: reqwest::Response, slow: bool) -> u64 {
    let mut body = answer.error_for_status().unwrap().bytes_stream();
    let mut taken = 0;
    while let Some(piece) = body.next().await {
        taken += piece.unwrap().len() as u64;
        if slow {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    taken
}

#[tokio::test]
async fn a_large_repository_is_moved_in_within_100_mb() {
    let watched = Watched::start().await;
    let records = size() * MIB / 4096;
    assert_eq!(watched.import(records, 4096).await, records);
    watched.stop(&format!("importing {} MB", size())).await;
}

#[tokio::test]
async fn a_repository_of_many_records_is_exported_to_eight_clients_within_100_mb() {
    let watched = Watched::start().await;
    let records = (size() * 100).min(100_000);
    assert_eq!(watched.import(records, 300).await, records);
    let exports = (0..8).map(|client| {
        let call = watched.call(Method::GET, "sync.getRepo").query(&[("did", &watched.did)]);
        async move {
            // There is room for some exports at a time; the others are told to come again.
            loop {
                let answer = call.try_clone().unwrap().send().await.unwrap();
                if answer.status() != 503 {
                    break take(answer, client == 0).await;
                }
                tokio::time::sleep(EACH).await;
            }
        }
    });
    let lengths = join_all(exports).await;
    assert!(lengths[0] > records * 300, "{lengths:?}");
    assert!(lengths.iter().all(|len| *len == lengths[0]), "{lengths:?}");
    watched.stop(&format!("exporting {records} records to 8 clients")).await;
}

#[tokio::test]
async fn large_blobs_come_and_go_within_100_mb() {
    let watched = Watched::start().await;
    large_blobs(&watched).await;
    watched.stop("4 large blobs").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_come_from_a_bucket_and_go_there_within_100_mb() {
    let bucket = Bucket::start().await;
    let variables = bucket.environment();
    let mut more: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    // The bucket is in this process, and not built for speed.
    more.push(("PDS_BLOBSTORE_S3_UPLOAD_TIMEOUT_MS", "120000"));
    let watched = Watched::start_with(Plc::start().await, &more).await;
    large_blobs(&watched).await;
    assert_eq!((bucket.keys().len(), bucket.unended()), (4, 0));
    watched.stop("4 large blobs in a bucket").await;
}

/// Four blobs up, into records and down again, at once.
async fn large_blobs(watched: &Watched) {
    let len = (size() / 2).min(100) * MIB;
    let transfers = (0..4_u8).map(|client| async move {
        let piece = Bytes::from(vec![client; 64 * 1024]);
        let pieces = len / piece.len() as u64;
        let body = stream::iter((0..pieces).map(move |_| Ok::<_, std::io::Error>(piece.clone())));
        let call = watched.call(Method::POST, "repo.uploadBlob").header("content-type", "application/octet-stream");
        let answer = call.body(Body::wrap_stream(body)).send().await.unwrap();
        let blob: Value = answer.error_for_status().unwrap().json().await.unwrap();
        let record = json!({ "$type": "com.example.file", "file": blob["blob"] });
        let input = json!({ "repo": watched.did, "collection": "com.example.file", "record": record });
        let written = watched.call(Method::POST, "repo.createRecord").json(&input).send().await.unwrap();
        written.error_for_status().unwrap();
        let cid = blob["blob"]["ref"]["$link"].as_str().unwrap();
        let call = watched.call(Method::GET, "sync.getBlob").query(&[("did", watched.did.as_str()), ("cid", cid)]);
        take(call.send().await.unwrap(), client == 0).await
    });
    assert_eq!(join_all(transfers).await, [len; 4]);
}

#[tokio::test]
async fn large_inputs_and_answers_of_a_service_pass_through_within_100_mb() {
    static PIECE: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(vec![7; 64 * 1024]));
    let len = size() * MIB;
    let pieces = move || stream::iter((0..len / PIECE.len() as u64).map(|_| Ok::<_, std::io::Error>(PIECE.clone())));
    let plc = Plc::start().await;
    let answer = move |_: &Seen| Response::new(axum::body::Body::from_stream(pieces()));
    let service = Service::start(&plc, answer).await;
    let more = [
        ("PDS_BSKY_APP_VIEW_URL", service.url()),
        ("PDS_BSKY_APP_VIEW_DID", VIEW),
        ("PDS_PROXY_MAX_RESPONSE_SIZE", "2000000000"),
    ];
    let watched = Watched::start_with(plc, &more).await;
    let passed = (0..4).map(|client| {
        let call = watched.call_any(Method::POST, "com.example.transform").header("content-type", "video/mp4");
        async move { take(call.body(Body::wrap_stream(pieces())).send().await.unwrap(), client == 0).await }
    });
    assert_eq!(join_all(passed).await, [len; 4]);
    assert!(service.seen().iter().all(|seen| seen.body.0 == len));
    watched.stop(&format!("4 times {} MB to a service and back", size())).await;
}

#[tokio::test]
async fn many_log_ins_take_what_the_hashes_take_that_run_at_once() {
    let watched = Watched::start().await;
    let input = json!({ "identifier": "alice.test", "password": "correct horse" });
    for _ in 0..8 {
        let log_ins = (0..8).map(|_| watched.call(Method::POST, "server.createSession").json(&input).send());
        for answer in join_all(log_ins).await {
            assert_eq!(answer.unwrap().status(), 200);
        }
    }
    // One on each core, of 16 MiB.
    let cores = std::thread::available_parallelism().unwrap().get() as u64;
    watched.stop_within(MOST_KB + cores * 16 * 1024, "64 log-ins, 8 at once").await;
}

#[tokio::test]
async fn many_large_answers_are_read_that_newer_records_belong_into() {
    let plc = Plc::start().await;
    let view = View::start(&plc).await;
    let more = [("PDS_BSKY_APP_VIEW_URL", view.service.url()), ("PDS_BSKY_APP_VIEW_DID", VIEW)];
    let watched = Watched::start_with(plc, &more).await;
    let write = async |text: &str| -> Value {
        let input =
            json!({ "repo": watched.did, "collection": "app.bsky.feed.post", "record": post_of(text, Value::Null) });
        let made = watched.call(Method::POST, "repo.createRecord").json(&input).send().await.unwrap();
        made.error_for_status().unwrap().json().await.unwrap()
    };
    let old = write("old").await;
    write("new").await;
    let mut post = post_view(BOB, "3jzfcijpj2z2a");
    // Where every value takes more than its text, if it is one in memory.
    post["record"]["small"] = json!(vec![json!({ "a": [1] }); 1000]);
    let feed = json!({ "feed": vec![json!({ "post": post }); 180] });
    let len = serde_json::to_vec(&feed).unwrap().len() as u64;
    assert!((MIB..2 * MIB).contains(&len), "{len}");
    view.says("app.bsky.feed.getTimeline", &feed);
    view.knows(old["commit"]["rev"].as_str().unwrap());
    let reads = (0..100).map(|client| {
        let call = watched.call_any(Method::GET, "app.bsky.feed.getTimeline");
        async move {
            let answer = call.send().await.unwrap();
            let is_patched = answer.headers().contains_key("atproto-upstream-lag");
            let taken = take(answer, client % 2 == 0).await;
            assert_eq!(taken > len, is_patched, "{taken}");
            u64::from(is_patched)
        }
    });
    let patched: u64 = join_all(reads).await.into_iter().sum();
    assert!(patched > 0, "there is room for some");
    // 32 MiB that are being patched, and two thirds of a MiB of each of a hundred answers on its way.
    watched.stop_within(MOST_KB + 96 * 1024, &format!("100 timelines of {len} bytes, {patched} of them patched")).await;
}

/// How much may be resident while a sequence is replayed, in kB; less than what passes through.
const MOST_OF_REPLAY_KB: u64 = 64_000;

#[tokio::test]
async fn a_store_is_recovered_out_of_a_large_sequence() {
    let mut scene = Scene::empty(Place::new(true).await);
    scene.sign_up("alice").await;
    for number in 0..size() {
        let text = format!("{number:07}").repeat(900_000 / 7);
        scene.put("alice", &number.to_string(), json!({ "text": text })).await;
    }
    scene.stop().await;
    std::fs::remove_dir_all(store(&scene.path(), scene.did("alice")).unwrap()).unwrap();
    let mut command = process::of_headwater(&program(), &scene.path(), &scene.place.plc);
    command.args(["sequencer", "recover"]).stdout(Stdio::null());
    let mut recovering = command.kill_on_drop(true).spawn().unwrap();
    let (id, mut most) = (recovering.id().unwrap(), 0);
    let status = loop {
        if let Some(status) = recovering.try_wait().unwrap() {
            break status;
        }
        most = most.max(process::memory(id).map_or(0, |(_, most)| most));
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    println!("SOAK a recovery of {} MB: {most} kB resident at most", size());
    let store = open(&store(&scene.path(), scene.did("alice")).unwrap().join("store.sqlite"));
    let records: i64 = store.query_row("SELECT count(*) FROM record", [], |row| row.get(0)).unwrap();
    assert!(status.success() && records.unsigned_abs() == size(), "{status} {records}");
    assert!(most > 0 && most < MOST_OF_REPLAY_KB, "{most} kB resident");
}
