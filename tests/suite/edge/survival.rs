//! Readers while the origin is away, and after an edge came back, with what it kept or without.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tests::peers::free_port;
use tests::process::of_headwater;
use tests::{Edge, Plc, Process};
use tokio::time::sleep;

use super::scene::{Answer, FEED_KEY, FORWARD_KEY, REGIONS, Scene, Weather, start_edge};
use crate::client::{As, post};

fn record_path(did: &str) -> String {
    format!("/xrpc/com.atproto.repo.getRecord?repo={did}&collection=com.example.thing&rkey=r")
}

/// An origin that is a process of its own and always at the same place, and an edge before it.
struct Pair {
    plc: Plc,
    directory: tempfile::TempDir,
    kept: tempfile::TempDir,
    origin_port: u16,
    port: u16,
    client: Client,
}

impl Pair {
    async fn new() -> Self {
        let [directory, kept] = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let plc = Plc::start().await;
        Self { plc, directory, kept, origin_port: free_port(), port: free_port(), client: Client::new() }
    }

    async fn origin(&self) -> Process {
        let program = Path::new(env!("CARGO_BIN_EXE_headwater-under-test"));
        let mut command = of_headwater(program, self.directory.path(), &self.plc);
        command.args(["serve", "--listen", &format!("127.0.0.1:{}", self.origin_port)]);
        command.env("HEADWATER_EDGE_URL", format!("http://127.0.0.1:{}", self.port));
        command.env("HEADWATER_EDGE_FEED_KEY", FEED_KEY).env("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY);
        command.env("HEADWATER_EDGE_LEASE_MS", "1000");
        Process::start(command).await
    }

    async fn edge(&self, more: &[(&str, &str)]) -> Option<Edge> {
        start_edge(self.port, &format!("http://127.0.0.1:{}", self.origin_port), self.kept.path(), more).await
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    async fn read(&self, region: &str, path: &str) -> Answer {
        Answer::of(self.client.get(self.url(path)).header("x-edge-region", region).send().await.unwrap()).await
    }

    async fn hit(&self, region: &str, path: &str) -> Answer {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let answer = self.read(region, path).await;
            if answer.mark == "hit" {
                return answer;
            }
            assert!(Instant::now() < until, "{region} {path}: {answer:?}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn sign_up(&self) -> Value {
        let input = json!({ "handle": "alice.test", "email": "alice@example.com", "password": "correct horse" });
        let call = self.client.post(self.url("/xrpc/com.atproto.server.createAccount")).json(&input);
        let answer = Answer::of(call.send().await.unwrap()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// Writes through the edge.
    async fn put(&self, made: &Value, text: &str) -> reqwest::Response {
        let record = json!({ "text": text });
        let input = json!({ "repo": made["did"], "collection": "com.example.thing", "rkey": "r", "record": record });
        let call = self.client.post(self.url("/xrpc/com.atproto.repo.putRecord")).json(&input);
        call.bearer_auth(made["accessJwt"].as_str().unwrap()).send().await.unwrap()
    }

    async fn upload(&self, made: &Value, bytes: Vec<u8>) -> String {
        let bearer = made["accessJwt"].as_str().unwrap();
        let upload = self.client.post(self.url("/xrpc/com.atproto.repo.uploadBlob")).bearer_auth(bearer);
        let upload = upload.header("content-type", "image/png").body(bytes).send().await.unwrap();
        let blob = upload.json::<Value>().await.unwrap()["blob"].clone();
        let record = json!({ "picture": blob });
        let input = json!({ "repo": made["did"], "collection": "com.example.picture", "record": record });
        let call = self.client.post(self.url("/xrpc/com.atproto.repo.createRecord")).json(&input).bearer_auth(bearer);
        assert_eq!(call.send().await.unwrap().status(), 200);
        blob["ref"]["$link"].as_str().unwrap().to_owned()
    }
}

fn is_away(answer: &Answer) {
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    assert_eq!(answer.json()["error"], "NotEnoughResources");
}

#[tokio::test]
async fn readers_go_on_while_the_origin_is_dead_and_everything_is_well_when_it_is_back() {
    let pair = Arc::new(Pair::new().await);
    let Some(_edge) = pair.edge(&[]).await else { return };
    let origin = pair.origin().await;
    let made = pair.sign_up().await;
    let did = made["did"].as_str().unwrap().to_owned();
    assert_eq!(pair.put(&made, "first").await.status(), 200);
    let cid = pair.upload(&made, vec![3; 20_000]).await;
    let blob = format!("/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid}");
    let held = [
        record_path(&did),
        "/xrpc/com.atproto.repo.listRecords?repo=alice.test&collection=com.example.thing".to_owned(),
        format!("/xrpc/com.atproto.repo.describeRepo?repo={did}"),
        format!("/xrpc/com.atproto.sync.getRepo?did={did}"),
        format!("/xrpc/com.atproto.sync.getLatestCommit?did={did}"),
        format!("/xrpc/com.atproto.sync.listBlobs?did={did}"),
        "/xrpc/com.atproto.server.describeServer".to_owned(),
        blob.clone(),
    ];
    let mut before = Vec::new();
    for path in &held {
        for region in REGIONS {
            pair.hit(region, path).await;
        }
        before.push(pair.hit("weur", path).await);
    }

    // Readers, before, while and after.
    let over = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for number in 0..4 {
        let (pair, over, path) = (Arc::clone(&pair), Arc::clone(&over), record_path(&did));
        readers.push(tokio::spawn(async move {
            let (mut marks, mut slowest) = (Vec::new(), Duration::ZERO);
            while !over.load(Ordering::Relaxed) {
                let asked = Instant::now();
                let answer = pair.read(REGIONS[number % REGIONS.len()], &path).await;
                assert_eq!(answer.status, 200, "{answer:?}");
                assert_eq!(answer.json()["value"]["text"], "first");
                slowest = slowest.max(asked.elapsed());
                marks.push(answer.mark);
                sleep(Duration::from_millis(5)).await;
            }
            (marks, slowest)
        }));
    }
    sleep(Duration::from_millis(300)).await;
    origin.kill().await;
    sleep(Duration::from_millis(2_000)).await;
    for (path, before) in held.iter().zip(&before) {
        for region in REGIONS {
            let answer = pair.read(region, path).await;
            assert_eq!(answer.mark, "stale", "{region} {path}: {answer:?}");
            let (status, headers, body) = (answer.status, &answer.headers, &answer.body);
            assert_eq!((status, headers, body), (before.status, &before.headers, &before.body), "{path}");
        }
    }
    let part = pair.client.get(pair.url(&blob)).header("range", "bytes=5-9").send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap().len()), (206, 5));
    is_away(&Answer::of(pair.put(&made, "nobody takes this").await).await);
    for path in [
        "/xrpc/_health",
        "/xrpc/com.atproto.sync.listRepos",
        "/xrpc/com.atproto.sync.getRepoStatus?did=did:plc:abcdefghijklmnopqrstuvwx",
        "/xrpc/com.atproto.repo.describeRepo?repo=bob.test",
        "/xrpc/com.atproto.identity.resolveHandle?handle=alice.test",
        "/xrpc/com.atproto.sync.subscribeRepos",
    ] {
        is_away(&pair.read("weur", path).await);
    }

    let _origin = pair.origin().await;
    assert_eq!(pair.read("weur", "/xrpc/_health").await.status, 200);
    let back = Instant::now();
    for region in REGIONS {
        pair.hit(region, &record_path(&did)).await;
    }
    assert!(back.elapsed() < Duration::from_secs(4), "{:?}", back.elapsed());
    over.store(true, Ordering::Relaxed);
    for reader in readers {
        let (marks, slowest) = reader.await.unwrap();
        for mark in ["hit", "stale"] {
            assert!(marks.iter().any(|one| one == mark), "{mark}");
        }
        assert!(marks.iter().all(|mark| ["hit", "stale"].contains(&mark.as_str())), "{marks:?}");
        assert!(slowest < Duration::from_secs(4), "{slowest:?}");
    }
    for text in ["second", "third"] {
        assert_eq!(pair.put(&made, text).await.status(), 200);
        sleep(Duration::from_millis(1_000)).await;
        for region in REGIONS {
            let answer = pair.read(region, &record_path(&did)).await;
            assert_eq!(answer.json()["value"]["text"], text, "{region}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn what_is_too_old_is_not_served_even_without_the_origin() {
    let Some(scene) = Scene::with(1_000, &[("EDGE_MAX_STALE", "2")]).await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "x").await;
    let path = record_path(&alice.did);
    scene.hit("weur", &path).await;
    scene.origin.set(Weather::Away);
    let began = Instant::now();
    let mut marks = Vec::new();
    loop {
        let answer = scene.read("weur", &path).await;
        if answer.status == 503 {
            is_away(&answer);
            break;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        marks.push(answer.mark);
        assert!(began.elapsed() < Duration::from_secs(5), "{marks:?}");
        sleep(Duration::from_millis(50)).await;
    }
    assert!(began.elapsed() > Duration::from_millis(1_500), "{:?}", began.elapsed());
    assert!(marks.iter().any(|mark| mark == "stale"), "{marks:?}");
    scene.origin.set(Weather::Fair);
    scene.hit("weur", &path).await;
}

#[tokio::test]
async fn an_origin_that_does_not_answer_is_not_waited_for_by_every_reader() {
    let Some(scene) = Scene::with(1_000, &[]).await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "x").await;
    let path = record_path(&alice.did);
    scene.hit("weur", &path).await;
    scene.origin.set(Weather::Late("/internal/", 60_000));
    let (began, mut slow) = (Instant::now(), 0);
    while began.elapsed() < Duration::from_secs(8) {
        let asked = Instant::now();
        let answer = scene.read("weur", &path).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(asked.elapsed() < Duration::from_millis(4_500), "{:?}", asked.elapsed());
        slow += usize::from(asked.elapsed() > Duration::from_millis(500));
        sleep(Duration::from_millis(50)).await;
    }
    // Nobody knows of it before the first question ran out.
    assert!(slow <= 2, "{slow}");
    assert_eq!(scene.read("weur", &path).await.mark, "stale");
    scene.origin.set(Weather::Fair);
    scene.hit("weur", &path).await;
}

#[tokio::test]
async fn a_replica_outlives_an_origin_whose_gateway_refuses_while_it_is_behind() {
    let Some(scene) = Scene::with(2_000, &[]).await else { return };
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    for user in [&alice, &bob] {
        scene.put(user, "r", "first").await;
        scene.hit("weur", &record_path(&user.did)).await;
    }
    scene.pushes.set(Weather::Dropped("/internal/v1/"));
    scene.put(&alice, "r", "second").await;
    // The region hears that the replica is behind; nobody has asked the replica yet.
    let until = Instant::now() + Duration::from_millis(1_800);
    while Instant::now() < until {
        scene.read("weur", &record_path(&bob.did)).await;
        sleep(Duration::from_millis(50)).await;
    }
    scene.origin.set(Weather::Dropped("/"));
    let answer = scene.read("weur", &record_path(&alice.did)).await;
    assert_eq!((answer.status, answer.mark.as_str()), (200, "stale"), "{answer:?}");
    assert_eq!(answer.json()["value"]["text"], "first");
    scene.origin.set(Weather::Fair);
    scene.pushes.set(Weather::Fair);
    assert_eq!(scene.hit("weur", &record_path(&alice.did)).await.json()["value"]["text"], "second");
}

#[tokio::test]
async fn an_edge_that_comes_back_is_right_from_its_first_answer() {
    let Some(scene) = Scene::with(1_000, &[]).await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "0").await;
    let path = record_path(&alice.did);
    for region in REGIONS {
        scene.hit(region, &path).await;
    }
    let Scene { edge, .. } = &scene;
    let url = edge.url("");
    let (mut edge, http) = (None, Client::new());
    let mut scene = scene;
    let wiped = tempfile::tempdir().unwrap();
    for (round, kept) in
        [scene.kept.path().to_owned(), wiped.path().to_owned(), scene.kept.path().to_owned()].into_iter().enumerate()
    {
        // The one before ends.
        drop(edge.take());
        if round == 0 {
            scene.edge = start_edge(0, &scene.origin.url, tempfile::tempdir().unwrap().path(), &[]).await.unwrap();
        }
        let text = format!("round {round}");
        scene.put(&alice, "r", &text).await;
        edge = start_edge(scene.port, &scene.origin.url, &kept, &[]).await;
        let read = async |region: &str| {
            let answer = http.get(format!("{url}{path}")).header("x-edge-region", region).send().await.unwrap();
            Answer::of(answer).await
        };
        for region in REGIONS {
            let answer = read(region).await;
            assert_eq!((answer.status, &answer.json()["value"]["text"]), (200, &json!(text)), "{answer:?}");
        }
        let until = Instant::now() + Duration::from_secs(8);
        for region in REGIONS {
            loop {
                let answer = read(region).await;
                assert_eq!(answer.json()["value"]["text"], json!(text), "{answer:?}");
                if answer.mark == "hit" {
                    break;
                }
                assert!(Instant::now() < until, "{round} {region}: {answer:?}");
                sleep(Duration::from_millis(20)).await;
            }
        }
        // It is told again.
        let text = format!("after {round}");
        scene.put(&alice, "r", &text).await;
        sleep(Duration::from_millis(1_000)).await;
        for region in REGIONS {
            let answer = read(region).await;
            assert_eq!(answer.json()["value"]["text"], json!(text), "{answer:?}");
        }
        let deleted = json!({ "repo": alice.did, "collection": "com.example.thing", "rkey": "r" });
        if round == 2 {
            assert_eq!(post(&scene.pds, "repo.deleteRecord", alice.token(), deleted).await.0, 200);
            let subject = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": alice.did });
            drop(edge.take());
            let input = json!({ "subject": subject, "takedown": { "applied": true } });
            assert_eq!(post(&scene.pds, "admin.updateSubjectStatus", As::Admin, input).await.0, 200);
            edge = start_edge(scene.port, &scene.origin.url, &kept, &[]).await;
            for region in REGIONS {
                let answer = read(region).await;
                let there = Answer::of(http.get(scene.pds.url(&path)).send().await.unwrap()).await;
                assert_eq!((answer.status, &answer.body), (there.status, &there.body), "{answer:?}");
                assert_eq!(answer.status, 400);
            }
        }
    }
}

#[tokio::test]
async fn an_edge_that_is_killed_while_it_is_told_of_writes_comes_back_right() {
    let Some(mut scene) = Scene::with(1_000, &[]).await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "0").await;
    let path = record_path(&alice.did);
    let mut edge = Some(std::mem::replace(
        &mut scene.edge,
        start_edge(0, &scene.origin.url, tempfile::tempdir().unwrap().path(), &[]).await.unwrap(),
    ));
    let url = edge.as_ref().unwrap().url("");
    let read = async |region: &str| {
        let request = Client::new().get(format!("{url}{path}")).header("x-edge-region", region);
        Answer::of(request.send().await.unwrap()).await
    };
    for round in 0..4_u64 {
        for region in REGIONS {
            let until = Instant::now() + Duration::from_secs(8);
            while read(region).await.mark != "hit" {
                assert!(Instant::now() < until, "{round} {region}");
                sleep(Duration::from_millis(20)).await;
            }
        }
        let killed = async {
            sleep(Duration::from_millis(60 + 17 * round)).await;
            edge.take().unwrap().kill().await;
        };
        let writer = async {
            for number in 0..40 {
                scene.put(&alice, "r", &(round * 100 + number).to_string()).await;
            }
        };
        tokio::join!(killed, writer);
        edge = start_edge(scene.port, &scene.origin.url, scene.kept.path(), &[]).await;
        for region in REGIONS {
            let answer = read(region).await;
            let expected = (round * 100 + 39).to_string();
            assert_eq!((answer.status, &answer.json()["value"]["text"]), (200, &json!(expected)), "{answer:?}");
        }
    }
}
