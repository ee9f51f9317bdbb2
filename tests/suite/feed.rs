//! The origin's half of the edge: what it tells replicas, and what it answers them.

mod edge;

use std::path::Path;
use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use shared::cid::Cid;
use shared::firehose::AccountStatus;
use shared::link::{
    self, BodyDigest, ForwardKeys, Position, Pull, PullAnswer, PurgeScope, Register, RegisterAnswer, Replica, Request,
    Vouched, decode, encode,
};
use tests::process::{headwater, of_headwater};
use tests::{Pds, Plc, Process};
use tokio::process::Command;

use crate::client::{ADMIN, As, User, post};
use edge::{Copy, Edge, FORWARD_KEY, KEY, Mood, nonce, now, region, replica};

/// An origin with an edge, and an account there.
struct Scene {
    edge: Edge,
    pds: Pds,
    alice: User,
    _plc: Plc,
}

impl Scene {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[(&str, &str)]) -> Self {
        let (edge, plc) = (Edge::start().await, Plc::start().await);
        let of_edge = [
            ADMIN,
            ("HEADWATER_EDGE_URL", edge.url.as_str()),
            ("HEADWATER_EDGE_FEED_KEY", KEY),
            ("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY),
            ("HEADWATER_EDGE_LEASE_MS", "500"),
        ];
        let others = of_edge.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| other != name));
        let variables: Vec<_> = others.chain(more.iter().copied()).collect();
        let pds = Pds::start_open_with(&plc, &variables).await;
        let alice = User::new(&pds, "alice").await;
        Self { edge, pds, alice, _plc: plc }
    }

    fn url(&self) -> String {
        self.pds.url("")
    }

    /// A filled replica of the account.
    async fn replica(&self, name: &str) -> Replica {
        let replica = replica(&self.alice.did, name);
        self.edge.fill(&self.url(), &replica).await;
        replica
    }

    async fn write(&self, rkey: &str) -> Value {
        self.put(rkey, json!({ "text": rkey })).await
    }

    async fn put(&self, rkey: &str, record: Value) -> Value {
        let input =
            json!({ "repo": self.alice.did, "collection": "com.example.thing", "rkey": rkey, "record": record });
        let (status, body) = post(&self.pds, "repo.putRecord", self.alice.token(), input).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn admin(&self, subject: Value, takedown: bool) {
        let input = json!({ "subject": subject, "takedown": { "applied": takedown } });
        let (status, body) = post(&self.pds, "admin.updateSubjectStatus", As::Admin, input).await;
        assert_eq!(status, 200, "{body}");
    }

    async fn upload(&self, bytes: &'static str) -> Value {
        let request = Client::new().post(self.pds.url("/xrpc/com.atproto.repo.uploadBlob"));
        let request = request.bearer_auth(&self.alice.access).header("content-type", "text/plain").body(bytes);
        let body: Value = request.send().await.unwrap().json().await.unwrap();
        body["blob"].clone()
    }

    /// Waits until every replica has acknowledged everything, as it has when a writer is answered whom the machine did not
    /// let wait for longer than a writer waits.
    async fn settled(&self) {
        for region in ["weur", "apac"] {
            while !self.edge.region(&self.url(), region, Position(0)).await.behind.is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    /// Whether the replica stands where the write that was answered so left the repository.
    fn has(&self, replica: &Replica, written: &Value) -> bool {
        is_at(&self.edge.copy(replica), written)
    }
}

fn is_at(copy: &Copy, written: &Value) -> bool {
    let head = copy.head.as_ref();
    head.is_some_and(|(rev, commit)| {
        written["commit"]["rev"] == rev.as_str() && written["commit"]["cid"] == commit.to_string()
    })
}

#[tokio::test]
async fn replicas_in_two_regions_have_a_write_when_its_writer_is_answered() {
    let scene = Scene::new().await;
    scene.write("before").await;
    let replicas = [scene.replica("weur").await, scene.replica("apac").await];
    assert!(scene.edge.copy(&replicas[0]).records.contains_key("com.example.thing/before"));
    let mut in_time = 0;
    for nth in 0..20 {
        let written = scene.write(&format!("r{nth}")).await;
        in_time += usize::from(replicas.iter().all(|replica| scene.has(replica, &written)));
        scene.settled().await;
        for replica in &replicas {
            assert!(scene.has(replica, &written), "{replica:?} after {nth}");
        }
    }
    // A busy machine may keep an edge from answering in time now and then.
    assert!(in_time > 10, "{in_time} of 20");
    let copy = scene.edge.copy(&replicas[1]);
    assert_eq!((copy.records.len(), copy.behind, copy.refill), (21, false, false));
    // Each once: nothing is told twice to one that acknowledges.
    assert_eq!(scene.edge.seen().pushes.len(), 40);
    assert_eq!(scene.edge.seen().refused, 0);
}

#[tokio::test]
async fn writers_beside_each_other_reach_a_replica_that_is_being_filled_in_order() {
    let scene = Scene::new().await;
    let writing = async {
        for nth in 0..40 {
            scene.write(&format!("w{nth}")).await;
        }
    };
    let filling = async {
        for _ in 0..4 {
            scene.replica("weur").await;
        }
    };
    tokio::join!(writing, filling);
    let written = scene.write("last").await;
    scene.settled().await;
    let replica = replica(&scene.alice.did, "weur");
    assert!(scene.has(&replica, &written));
    assert_eq!(scene.edge.copy(&replica).records.len(), 41);
}

#[tokio::test]
async fn an_edge_that_is_away_delays_one_write_and_catches_up_by_itself() {
    let scene = Scene::new().await;
    let replica = scene.replica("weur").await;
    for (nth, mood) in [Mood::Silent, Mood::Failing, Mood::Mute, Mood::Slow(600)].into_iter().enumerate() {
        let first = scene.edge.region(&scene.url(), "weur", Position(0)).await.position;
        scene.edge.set(mood);
        let mut held_up = 0;
        for one in 0..30 {
            let started = Instant::now();
            scene.write(&format!("r{nth}-{one}")).await;
            held_up += usize::from(started.elapsed() >= Duration::from_millis(250));
        }
        // One is, and what the machine holds up besides.
        assert!((1..15).contains(&held_up), "{mood:?}: {held_up} of 30");
        let answer = scene.edge.region(&scene.url(), "weur", first).await;
        assert!(answer.complete && answer.changed.iter().any(|changed| changed.account == replica.account));
        let again = scene.edge.region(&scene.url(), "weur", answer.position).await;
        assert!(again.changed.is_empty(), "{again:?}");
        assert_eq!(again.behind, std::slice::from_ref(&replica.account), "{mood:?}");
        let elsewhere = scene.edge.region(&scene.url(), "apac", answer.position).await;
        assert!(elsewhere.behind.is_empty() && elsewhere.complete);

        scene.edge.set(Mood::Good);
        let pulled = scene.edge.pull(&scene.url(), &replica).await;
        assert!(matches!(pulled, PullAnswer::Changes { .. }), "{pulled:?}");
        let written = scene.write(&format!("after{nth}")).await;
        scene.edge.until("the replica has it all", |seen| is_at(&seen.copies[&replica], &written)).await;
        loop {
            let answer = scene.edge.region(&scene.url(), "weur", answer.position).await;
            if answer.behind.is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Whatever of what it is told gets lost: a replica that pulls when the answer to its region names it, or may not name it,
/// and only then, has what the origin had when it answered.
#[tokio::test]
async fn a_replica_that_does_as_its_region_is_told_is_never_older_than_the_answer() {
    let scene = Scene::new().await;
    let (url, weur) = (scene.url(), scene.replica("weur").await);
    let mut seed = tests::environment::number("HEADWATER_SEED").unwrap_or(7);
    let mut random = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut after, mut trusted, mut pulled, mut down) = (Position(0), 0, 0, false);
    let mut written = scene.write("r").await;
    for round in 0..40 {
        scene.edge.set(
            [Mood::Good, Mood::Good, Mood::Failing, Mood::Mute, Mood::Slow(30)][usize::try_from(random(5)).unwrap()],
        );
        for _ in 0..=random(3) {
            if random(8) > 0 {
                written = scene.put("r", json!({ "round": round, "random": random(1_000_000) })).await;
            } else {
                down = !down;
                let cid = &written["cid"];
                let uri = &written["uri"];
                scene.admin(json!({ "$type": "com.atproto.repo.strongRef", "uri": uri, "cid": cid }), down).await;
            }
        }
        let answer = scene.edge.region(&url, "weur", after).await;
        let copy = scene.edge.copy(&weur);
        let changed =
            answer.changed.iter().any(|changed| changed.account == weur.account && changed.position > copy.position);
        if changed || !answer.complete || answer.behind.contains(&weur.account) {
            pulled += 1;
            let answer = scene.edge.pull(&url, &weur).await;
            assert!(matches!(answer, PullAnswer::Changes { .. }), "{answer:?}");
        } else {
            trusted += 1;
        }
        after = answer.position;
        let copy = scene.edge.copy(&weur);
        assert!(is_at(&copy, &written), "round {round}");
        assert_eq!(copy.state.unwrap().taken_down_records.len(), usize::from(down), "round {round}");
    }
    assert!(trusted > 5 && pulled > 5, "{trusted} {pulled}");
}

#[tokio::test]
async fn a_write_that_was_sequenced_and_not_pushed_is_pushed_by_the_next_start() {
    let (edge, plc) = (Edge::start().await, Plc::start().await);
    let directory = tempfile::tempdir().unwrap();
    let start = async || {
        let mut command = program(directory.path(), &plc);
        command.env("HEADWATER_EDGE_URL", &edge.url);
        command.env("HEADWATER_EDGE_FEED_KEY", KEY).env("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY);
        Process::start(command).await
    };
    let mut server = start().await;
    let made = sign_up(&server).await;
    let replica = replica(made["did"].as_str().unwrap(), "weur");
    edge.fill(&server.url(""), &replica).await;
    let mut revs = Vec::new();
    for round in 0..3 {
        edge.set(if round == 1 { Mood::Silent } else { Mood::Failing });
        for nth in 0..3 {
            let written = create(&server, &made, &format!("{round} {nth}")).await;
            revs.push(written["commit"]["rev"].as_str().unwrap().to_owned());
        }
        server.kill().await;
        edge.set(Mood::Good);
        server = start().await;
        edge.until("the replica has what was written before", |seen| {
            seen.copies[&replica]
                .head
                .as_ref()
                .is_some_and(|(rev, _)| Some(rev.as_str()) == revs.last().map(String::as_str))
        })
        .await;
        let answer = edge.region(&server.url(""), "weur", Position(0)).await;
        assert!(!answer.complete && answer.position > edge.copy(&replica).position);
    }
    let copy = edge.copy(&replica);
    assert_eq!((copy.records.len(), copy.behind, copy.refill), (9, false, false));
}

#[tokio::test]
async fn what_was_missed_is_pulled_and_what_is_unknown_is_filled_anew() {
    let scene = Scene::new().await;
    let (url, weur) = (scene.url(), scene.replica("weur").await);
    scene.edge.set(Mood::Failing);
    for nth in 0..250 {
        scene.write(&format!("r{nth}")).await;
    }
    let written = scene.write("last").await;
    // More than fits one answer, one page after the other, in order, each following on the one before.
    assert!(matches!(scene.edge.pull(&url, &weur).await, PullAnswer::Changes { more: false, .. }));
    assert!(scene.has(&weur, &written));
    assert_eq!(scene.edge.copy(&weur).records.len(), 251);

    let pull = async |replica: &Replica, position: u64| -> PullAnswer {
        let message = Pull { replica: replica.clone(), position: Position(position) };
        decode(&scene.edge.ask(&url, link::PULL, &message).await.bytes().await.unwrap()).unwrap()
    };
    let at = scene.edge.copy(&weur).position.0;
    assert!(matches!(pull(&weur, at).await, PullAnswer::Changes { pushes, more: false, .. } if pushes.is_empty()));
    for unknown in [1, at + 1] {
        assert_eq!(pull(&weur, unknown).await, PullAnswer::Refill, "{unknown}");
    }
    assert_eq!(pull(&replica(&scene.alice.did, "apac"), at).await, PullAnswer::Refill);
    let nobody = replica("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa", "weur");
    assert_eq!(pull(&nobody, at).await, PullAnswer::NotHosted);
    let register = Register { replica: nobody.clone() };
    let answer = scene.edge.ask(&url, link::REGISTER, &register).await.bytes().await.unwrap();
    assert_eq!(decode::<RegisterAnswer>(&answer).unwrap(), RegisterAnswer::NotHosted);
    // Nobody who is not pushed to takes a snapshot.
    assert_eq!(scene.edge.ask(&url, link::SNAPSHOT, &nobody).await.status(), 409);
    assert_eq!(scene.edge.ask(&url, link::UNREGISTER, &weur).await.status(), 204);
    assert_eq!(scene.edge.ask(&url, link::SNAPSHOT, &weur).await.status(), 409);
}

#[tokio::test]
async fn a_replica_that_registers_again_still_has_to_acknowledge_what_it_has_not() {
    let scene = Scene::new().await;
    let (url, weur) = (scene.url(), scene.replica("weur").await);
    scene.edge.set(Mood::Failing);
    let written = scene.write("r").await;
    let register = Register { replica: weur.clone() };
    assert_eq!(scene.edge.ask(&url, link::REGISTER, &register).await.status(), 200);
    let behind = scene.edge.region(&url, "weur", Position(0)).await.behind;
    assert_eq!(behind, std::slice::from_ref(&weur.account));
    scene.edge.set(Mood::Good);
    scene.settled().await;
    assert!(scene.has(&weur, &written));
}

#[tokio::test]
async fn a_replica_that_is_no_more_is_forgotten() {
    let scene = Scene::new().await;
    let weur = scene.replica("weur").await;
    scene.edge.seen().copies.clear();
    scene.write("a").await;
    let told = scene.edge.seen().pushes.len();
    scene.write("b").await;
    assert_eq!(scene.edge.seen().pushes.len(), told);
    assert_eq!(scene.edge.ask(&scene.url(), link::SNAPSHOT, &weur).await.status(), 409);
}

#[tokio::test]
async fn what_becomes_of_an_account_is_known_at_the_edge_when_it_is_answered() {
    let scene = Scene::new().await;
    let (url, weur) = (scene.url(), scene.replica("weur").await);
    let did = &scene.alice.did;
    let state = || scene.edge.copy(&weur).state.unwrap();
    assert_eq!((state().status, state().handle.unwrap().as_str()), (None, "alice.test"));
    assert!(state().did_document.unwrap().contains(did.as_str()));

    scene.admin(json!({ "$type": "com.atproto.admin.defs#repoRef", "did": did }), true).await;
    assert_eq!(state().status, Some(AccountStatus::Takendown));
    scene.admin(json!({ "$type": "com.atproto.admin.defs#repoRef", "did": did }), false).await;
    assert_eq!(state().status, None);
    scene.edge.fill(&url, &weur).await;

    let alice = User::of(
        &post(
            &scene.pds,
            "server.createSession",
            As::Nobody,
            json!({ "identifier": did, "password": "correct horse" }),
        )
        .await
        .1,
    );
    let scene = Scene { alice, ..scene };
    let blob = scene.upload("a blob").await;
    let cid = Cid::parse(blob["ref"]["$link"].as_str().unwrap()).unwrap();
    let written = scene.put("r", json!({ "blob": blob })).await;
    scene.settled().await;
    assert_eq!(scene.edge.copy(&weur).blobs, std::slice::from_ref(&cid));

    let state = || scene.edge.copy(&weur).state.unwrap();
    let record = json!({ "$type": "com.atproto.repo.strongRef", "uri": written["uri"], "cid": written["cid"] });
    scene.admin(record.clone(), true).await;
    assert_eq!(state().taken_down_records, ["com.example.thing/r"]);
    scene.admin(record, false).await;
    assert!(state().taken_down_records.is_empty());

    let subject =
        json!({ "$type": "com.atproto.admin.defs#repoBlobRef", "did": scene.alice.did, "cid": cid.to_string() });
    scene.admin(subject.clone(), true).await;
    assert_eq!(state().taken_down_blobs, std::slice::from_ref(&cid));
    scene
        .edge
        .until("the copy is to be dropped", |seen| {
            seen.purges.iter().any(|purge| purge.scope == PurgeScope::Blobs(vec![cid.clone()]))
        })
        .await;
    scene.admin(subject, false).await;
    assert!(state().taken_down_blobs.is_empty());

    let input = json!({ "repo": scene.alice.did, "collection": "com.example.thing", "rkey": "r" });
    assert_eq!(post(&scene.pds, "repo.deleteRecord", scene.alice.token(), input).await.0, 200);
    scene.settled().await;
    assert_eq!(state().deleted_blobs, std::slice::from_ref(&cid));
    assert!(scene.edge.copy(&weur).blobs.is_empty() && !scene.edge.copy(&weur).refill);

    let rename = json!({ "handle": "alicia.test" });
    assert_eq!(post(&scene.pds, "identity.updateHandle", scene.alice.token(), rename).await.0, 200);
    assert_eq!(state().handle.unwrap().as_str(), "alicia.test");
    {
        let seen = scene.edge.seen();
        // Every region that has asked is told: both were.
        for name in ["weur", "apac"] {
            let (_, push) = seen.hosts.iter().rev().find(|(to, _)| *to == region(name)).unwrap();
            let handles: Vec<_> = push.handles.iter().map(|handle| handle.as_str()).collect();
            assert_eq!(handles, ["alice.test", "alicia.test"]);
        }
    }
    scene
        .edge
        .until("the document has the new name", |seen| {
            let state = seen.copies[&weur].state.as_ref().unwrap();
            state.did_document.as_ref().is_some_and(|document| document.contains("at://alicia.test"))
        })
        .await;

    assert_eq!(post(&scene.pds, "admin.deleteAccount", As::Admin, json!({ "did": scene.alice.did })).await.0, 200);
    assert!(scene.edge.copy(&weur).refill, "nobody may be served what is gone");
    assert_eq!(scene.edge.pull(&url, &weur).await, PullAnswer::NotHosted);
    scene
        .edge
        .until("all copies are to be dropped", |seen| {
            seen.purges.iter().any(|purge| purge.account == weur.account && purge.scope == PurgeScope::Everything)
        })
        .await;
}

#[tokio::test]
async fn a_takedown_that_the_edge_does_not_hear_of_waits_for_the_lease_and_is_told_again() {
    let scene = Scene::new().await;
    let weur = scene.replica("weur").await;
    scene.edge.set(Mood::Failing);
    let started = Instant::now();
    scene.admin(json!({ "$type": "com.atproto.admin.defs#repoRef", "did": scene.alice.did }), true).await;
    // Half a second, and the second in which clocks may differ.
    assert!(started.elapsed() >= Duration::from_millis(1500), "{:?}", started.elapsed());
    let behind = scene.edge.region(&scene.url(), "weur", Position(0)).await.behind;
    assert_eq!(behind, std::slice::from_ref(&weur.account));
    scene.edge.set(Mood::Good);
    scene
        .edge
        .until("the takedown is known", |seen| {
            seen.copies[&weur].state.as_ref().unwrap().status == Some(AccountStatus::Takendown)
        })
        .await;
}

#[tokio::test]
async fn a_blob_that_comes_after_its_record_fills_replicas_anew() {
    let scene = Scene::new().await;
    let weur = scene.replica("weur").await;
    let blob = scene.upload("a blob").await;
    scene.put("r", json!({ "blob": blob })).await;
    let db = rusqlite::Connection::open(store(&scene)).unwrap();
    db.execute("DELETE FROM blob", []).unwrap();
    scene.upload("a blob").await;
    scene.settled().await;
    assert!(scene.edge.copy(&weur).refill);
    scene.edge.fill(&scene.url(), &weur).await;
    assert_eq!(scene.edge.copy(&weur).blobs.len(), 1);
}

/// Where the account's own database is.
fn store(scene: &Scene) -> std::path::PathBuf {
    tests::store(scene.pds.directory(), &scene.alice.did).unwrap().join("store.sqlite")
}

#[tokio::test]
async fn whoever_does_not_sign_as_the_edge_does_finds_nothing() {
    let scene = Scene::new().await;
    let weur = scene.replica("weur").await;
    let (url, path) = (scene.url(), link::PULL);
    let body = encode(&Pull { replica: weur.clone(), position: Position(0) }).unwrap();
    let keys = |key: &str| link::FeedKeys::new(key.as_bytes(), None).unwrap();
    let signed = |key: &str, path: &str, body: &[u8], at: u64| {
        keys(key).sign(Request { method: "POST", path }, BodyDigest::of(body).unwrap(), at, nonce()).to_vec()
    };
    let vouched = Vouched { client: "203.0.113.1".parse().unwrap(), host: "a.test".into(), region: region("weur") };
    let forward = ForwardKeys::new(FORWARD_KEY.as_bytes(), None).unwrap();
    let forward = forward.sign(Request { method: "POST", path }, &vouched, now()).to_vec();
    let forged = [
        ("unsigned", vec![], body.clone()),
        ("another key", signed("some other key of nobody", path, &body, now()), body.clone()),
        ("the other purpose's key", signed(FORWARD_KEY, path, &body, now()), body.clone()),
        ("the other purpose", forward, body.clone()),
        ("too old", signed(KEY, path, &body, now() - 61), body.clone()),
        ("too new", signed(KEY, path, &body, now() + 65), body.clone()),
        ("another path", signed(KEY, link::REGION, &body, now()), body.clone()),
        ("another body", signed(KEY, path, &body, now()), [body.as_slice(), b"x"].concat()),
        ("too long", signed(KEY, path, &body, now()), vec![0; link::MAX_BODY_LEN + 1]),
    ];
    let unknown = Client::new().post(format!("{url}/internal/v1/nothing")).send().await.unwrap();
    assert_eq!(unknown.status(), 404);
    let unknown = unknown.text().await.unwrap().replace("/internal/v1/nothing", path);
    for (what, headers, body) in forged {
        let mut request = Client::new().post(format!("{url}{path}")).body(body);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 404, "{what}");
        assert_eq!(answer.text().await.unwrap(), unknown, "{what}");
    }
    // What was signed is taken again within its time: it changes nothing.
    let headers = signed(KEY, path, &body, now());
    for _ in 0..2 {
        let mut request = Client::new().post(format!("{url}{path}")).body(body.clone());
        for (name, value) in &headers {
            request = request.header(*name, value);
        }
        assert_eq!(request.send().await.unwrap().status(), 200);
    }
    // Signed, and no message.
    assert_eq!(scene.edge.ask(&url, path, &"nonsense").await.status(), 400);
    assert_eq!(scene.edge.ask(&url, "/internal/v1/nothing", &"nonsense").await.status(), 404);
}

#[tokio::test]
async fn without_an_edge_there_is_nothing_to_ask() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    let edge = Edge::start().await;
    let answer = edge.ask(&pds.url(""), link::REGION, &"x").await;
    assert_eq!(answer.status(), 404);
}

#[tokio::test]
async fn keys_are_changed_without_a_refusal() {
    let (old, new) = ("the old key of the tests", "the new key of the tests");
    for (at_origin, at_edge) in [
        ((old, ""), (old, None)),
        ((old, new), (old, None)),
        ((old, new), (old, Some(new))),
        ((new, old), (old, Some(new))),
        ((new, old), (new, Some(old))),
        ((new, ""), (new, Some(old))),
    ] {
        let edge = Edge::start_with(at_edge.0, at_edge.1).await;
        let more = [
            ("HEADWATER_EDGE_URL", edge.url.as_str()),
            ("HEADWATER_EDGE_FEED_KEY", at_origin.0),
            ("HEADWATER_EDGE_FEED_KEY_NEXT", at_origin.1),
        ];
        let scene = Scene { edge: edge.clone(), ..Scene::with(&more).await };
        let weur = scene.replica("weur").await;
        let written = scene.write("r").await;
        scene.settled().await;
        assert!(scene.has(&weur, &written), "{at_origin:?} {at_edge:?}");
        assert_eq!(scene.edge.seen().refused, 0);
    }
}

#[tokio::test]
async fn an_edge_that_comes_back_after_the_server_went_without_it_starts_anew() {
    let (edge, plc) = (Edge::start().await, Plc::start().await);
    let directory = tempfile::tempdir().unwrap();
    let start = async |with: bool| {
        let mut command = program(directory.path(), &plc);
        if with {
            command.env("HEADWATER_EDGE_URL", &edge.url);
            command.env("HEADWATER_EDGE_FEED_KEY", KEY).env("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY);
        }
        Process::start(command).await
    };
    let server = start(true).await;
    let made = sign_up(&server).await;
    let replica = replica(made["did"].as_str().unwrap(), "weur");
    edge.fill(&server.url(""), &replica).await;
    let before = edge.region(&server.url(""), "weur", Position(0)).await.position;
    server.kill().await;
    let server = start(false).await;
    create(&server, &made, "nobody is told of this").await;
    server.kill().await;
    let server = start(true).await;
    // What it knew is no more than what it knew.
    assert_eq!(edge.pull(&server.url(""), &replica).await, PullAnswer::Refill);
    let answer = edge.region(&server.url(""), "weur", before).await;
    assert!(!answer.complete && answer.position > before, "{answer:?}");
    edge.fill(&server.url(""), &replica).await;
    assert_eq!(edge.copy(&replica).records.len(), 1);
}

/// The origin's program.
fn program(directory: &Path, plc: &Plc) -> Command {
    headwater(Path::new(env!("CARGO_BIN_EXE_headwater-under-test")), directory, plc)
}

/// Makes an account at a server that is a process of its own.
async fn sign_up(server: &Process) -> Value {
    let input = json!({ "handle": "alice.test", "email": "alice@example.com", "password": "correct horse" });
    let sign_up = Client::new().post(server.url("/xrpc/com.atproto.server.createAccount")).json(&input);
    sign_up.send().await.unwrap().json().await.unwrap()
}

/// Makes a record there.
async fn create(server: &Process, made: &Value, text: &str) -> Value {
    create_with(server, made, json!({ "text": text })).await
}

async fn create_with(server: &Process, made: &Value, record: Value) -> Value {
    let input = json!({ "repo": made["did"], "collection": "com.example.thing", "record": record });
    let write = Client::new().post(server.url("/xrpc/com.atproto.repo.createRecord"));
    let write = write.bearer_auth(made["accessJwt"].as_str().unwrap()).json(&input);
    write.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn the_operator_sees_who_is_behind_and_has_copies_dropped() {
    for serve in [true, false] {
        let (edge, plc) = (Edge::start().await, Plc::start().await);
        let directory = tempfile::tempdir().unwrap();
        let with_edge = |mut command: Command| {
            command.env("HEADWATER_EDGE_URL", &edge.url).env("HEADWATER_EDGE_LEASE_MS", "500");
            command.env("HEADWATER_EDGE_FEED_KEY", KEY).env("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY);
            command
        };
        let run = async |words: &[&str]| {
            let program = Path::new(env!("CARGO_BIN_EXE_headwater-under-test"));
            let mut command = with_edge(of_headwater(program, directory.path(), &plc));
            let output = command.args(words).output().await.unwrap();
            let (said, errors) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
            assert!(output.status.success(), "{words:?}: {errors}");
            said
        };
        let server = Process::start(with_edge(program(directory.path(), &plc))).await;
        let made = sign_up(&server).await;
        let did = made["did"].as_str().unwrap();
        let weur = replica(did, "weur");
        edge.fill(&server.url(""), &weur).await;
        let server = match serve {
            true => Some(server),
            false => {
                server.kill().await;
                None
            }
        };

        let status: Value = serde_json::from_str(&run(&["edge", "status", "--json"]).await).unwrap();
        assert_eq!(status["regions"], json!([{ "region": "weur", "replicas": 1, "behind": 0 }]), "{serve}");
        edge.set(Mood::Failing);
        let down = run(&["account", "takedown", did]).await;
        assert!(down.contains("has not acknowledged this yet") && down.contains("weur"), "{down}");
        assert!(run(&["edge", "status"]).await.contains("1 replicas, 1 behind"));
        edge.set(Mood::Good);
        // Only a server tells again; a command that is over does not.
        edge.until("it is told again", |seen| serve == seen.copies[&weur].state.as_ref().unwrap().status.is_some())
            .await;
        let up = run(&["account", "untakedown", did, "--json"]).await;
        assert_eq!(serde_json::from_str::<Value>(&up).unwrap()["edgeBehind"], Value::Null);
        assert_eq!(edge.copy(&weur).state.unwrap().status, None);

        assert!(run(&["edge", "purge", did]).await.contains("1 blobs"));
        let purge = link::Purge { account: weur.account.clone(), scope: PurgeScope::Everything };
        assert_eq!(edge.seen().purges, [purge]);
        drop(server);
    }
}

/// What an account's owner or the administrator asks for when the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    Write,
    TakeDown,
    TakeBlobDown,
}

#[tokio::test]
async fn a_process_that_dies_on_its_way_to_the_edge_leaves_no_replica_behind() {
    for (ask, place) in [
        (Ask::Write, "write.committed"),
        (Ask::Write, "write.handed-over"),
        (Ask::Write, "sequence.written"),
        (Ask::Write, "sequence.committed"),
        (Ask::Write, "write.sequenced"),
        (Ask::TakeDown, "change.committed"),
        (Ask::TakeDown, "sequence.committed"),
        (Ask::TakeBlobDown, "takedown.marked"),
    ] {
        let (edge, plc) = (Edge::start().await, Plc::start().await);
        let directory = tempfile::tempdir().unwrap();
        let start = async |fault: &str| {
            let mut command = program(directory.path(), &plc);
            command.env("HEADWATER_EDGE_URL", &edge.url).env(ADMIN.0, ADMIN.1);
            command.env("HEADWATER_EDGE_FEED_KEY", KEY).env("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY);
            command.env("HEADWATER_FAULT", fault);
            Process::start(command).await
        };
        let server = start("").await;
        let made = sign_up(&server).await;
        let did = made["did"].as_str().unwrap().to_owned();
        let bearer = made["accessJwt"].as_str().unwrap().to_owned();
        let upload = Client::new().post(server.url("/xrpc/com.atproto.repo.uploadBlob")).bearer_auth(&bearer);
        let blob: Value =
            upload.header("content-type", "text/plain").body("a blob").send().await.unwrap().json().await.unwrap();
        let cid = blob["blob"]["ref"]["$link"].as_str().unwrap().to_owned();
        create_with(&server, &made, json!({ "blob": blob["blob"] })).await;
        let weur = replica(&did, "weur");
        edge.fill(&server.url(""), &weur).await;
        server.kill().await;

        let server = start(place).await;
        let call = |method: &str| Client::new().post(server.url(&format!("/xrpc/com.atproto.{method}")));
        let repo = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": did });
        let of_blob = json!({ "$type": "com.atproto.admin.defs#repoBlobRef", "did": did, "cid": cid });
        let request = match ask {
            Ask::Write => call("repo.createRecord")
                .bearer_auth(&bearer)
                .json(&json!({ "repo": did, "collection": "com.example.thing", "record": { "text": "the last" } })),
            Ask::TakeDown | Ask::TakeBlobDown => {
                let subject = if ask == Ask::TakeDown { repo } else { of_blob };
                let input = json!({ "subject": subject, "takedown": { "applied": true } });
                call("admin.updateSubjectStatus").basic_auth("admin", Some(ADMIN.1)).json(&input)
            }
        };
        assert!(request.send().await.is_err(), "{ask:?} at {place}");
        assert!(!server.ended().await.success());

        let _server = start("").await;
        edge.until(&format!("{ask:?} at {place} is known"), |seen| {
            let copy = &seen.copies[&weur];
            let state = copy.state.as_ref().unwrap();
            match ask {
                Ask::Write => copy.records.len() == 2,
                Ask::TakeDown => state.status == Some(AccountStatus::Takendown),
                Ask::TakeBlobDown => state.taken_down_blobs.iter().any(|blob| blob.to_string() == cid),
            }
        })
        .await;
        assert!(!edge.copy(&weur).behind && !edge.copy(&weur).refill, "{ask:?} at {place}");
    }
}
