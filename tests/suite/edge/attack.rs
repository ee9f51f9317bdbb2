//! Who comes to the edge with bad intent: forged words of the origin's or the edge's own, names that are nobody's, requests
//! that should leave something wrong behind for the next reader, and looking for what is private.

use std::path::Path;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use axum::routing::any;
use reqwest::Client;
use serde_json::{Value, json};
use shared::link::{self, BodyDigest, FeedKeys, ForwardKeys, Position, Purge, PurgeScope, Push, Region, Vouched};
use shared::syntax::Did;
use tests::serve;
use tests::service::{Seen, Service};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::fresh::again;
use super::reads::{content, get};
use super::scene::{Answer, FEED_KEY, FORWARD_KEY, Passed, REGIONS, Scene, Weather, start_edge};
use crate::client::{ADMIN, post};

pub(super) fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

fn record_path(did: &str) -> String {
    format!("/xrpc/com.atproto.repo.getRecord?repo={did}&collection=com.example.thing&rkey=r")
}

/// Says something to the edge as the holder of `key` would.
pub(super) async fn say(scene: &Scene, key: &str, path: &str, body: &[u8], at: u64) -> u16 {
    let keys = FeedKeys::new(key.as_bytes(), None).unwrap();
    let request = link::Request { method: "POST", path };
    let mut call = Client::new().post(scene.edge.url(path)).body(body.to_vec());
    for (name, value) in keys.sign(request, BodyDigest::of(body).unwrap(), at, [7; 16]) {
        call = call.header(name, value);
    }
    call.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn what_the_origin_has_not_signed_is_not_heard() {
    let Some(scene) = Scene::new().await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "first").await;
    let path = record_path(&alice.did);
    for region in REGIONS {
        scene.hit(region, &path).await;
    }
    scene.pushes.passed();
    scene.put(&alice, "r", "second").await;
    let said: Vec<Passed> = scene.pushes.passed().into_iter().filter(|one| one.path.starts_with(link::PUSH)).collect();
    assert_eq!(said.len(), REGIONS.len());
    let one = said[0].clone();
    let other = said[1].clone();
    let without = |name: &str| {
        let mut forged = one.clone();
        assert!(forged.headers.remove(name).is_some(), "{name} in {forged:?}");
        forged
    };
    let with = |name: &'static str, value: &str| {
        let mut forged = one.clone();
        forged.headers.insert(name, value.parse().unwrap());
        forged
    };
    let mut twice = one.clone();
    twice.headers.append("headwater-time", "0".parse().unwrap());
    let altered = |change: fn(&mut Vec<u8>)| {
        let mut body = one.body.to_vec();
        change(&mut body);
        Passed { body: body.into(), ..one.clone() }
    };
    let time = one.headers["headwater-time"].to_str().unwrap().parse::<u64>().unwrap();
    let forged = [
        ("without a signature", without("headwater-feed")),
        ("without a time", without("headwater-time")),
        ("without a nonce", without("headwater-nonce")),
        ("another time", with("headwater-time", &(time + 1).to_string())),
        ("an odd time", with("headwater-time", &format!("+{time}"))),
        ("another nonce", with("headwater-nonce", "00000000000000000000000000000000")),
        ("an empty signature", with("headwater-feed", "")),
        ("two times", twice),
        ("another path", Passed { path: other.path.clone(), ..one.clone() }),
        ("a query", Passed { path: format!("{}?x=1", one.path), ..one.clone() }),
        ("no body", altered(Vec::clear)),
        ("a longer body", altered(|body| body.push(0))),
        ("another body", altered(|body| body[10] ^= 1)),
    ];
    for (what, forged) in &forged {
        assert_eq!(again(&scene, forged).await, 404, "{what}");
    }
    let did = Did::parse(&alice.did).unwrap();
    let purge = link::encode(&Purge { account: did, scope: PurgeScope::Everything }).unwrap();
    for (what, key, at, body) in [
        ("another key", "a key that is nobody's at all", now(), one.body.to_vec()),
        ("the other purpose's key", FORWARD_KEY, now(), one.body.to_vec()),
        ("too old", FEED_KEY, now() - 61, one.body.to_vec()),
        ("too new", FEED_KEY, now() + 65, one.body.to_vec()),
    ] {
        assert_eq!(say(&scene, key, &one.path, &body, at).await, 404, "{what}");
        assert_eq!(say(&scene, key, link::PURGE, &purge, at).await, 404, "{what}");
    }
    // The word of the edge itself, which every forwarded request carries, opens nothing.
    let vouched = Vouched {
        client: "203.0.113.1".parse().unwrap(),
        host: "a.test".into(),
        region: Region::parse("weur").unwrap(),
    };
    let keys = ForwardKeys::new(FORWARD_KEY.as_bytes(), None).unwrap();
    for path in [one.path.as_str(), link::PURGE, link::REGISTER, link::SNAPSHOT, link::PULL, link::REGION] {
        let signed = keys.sign(link::Request { method: "POST", path }, &vouched, now());
        for base in [scene.edge.url(""), scene.pds.url("")] {
            let mut call = Client::new().post(format!("{base}{path}")).body(one.body.clone());
            for (name, value) in &signed {
                call = call.header(*name, value);
            }
            assert_eq!(call.send().await.unwrap().status(), StatusCode::NOT_FOUND, "{base} {path}");
        }
        // Nor does the edge carry a signed question of anybody's to the origin.
        assert_eq!(say(&scene, FEED_KEY, link::REGISTER, &purge, now()).await, 404);
    }
    for region in REGIONS {
        let answer = scene.read(region, &path).await;
        assert_eq!((answer.mark.as_str(), &answer.json()["value"]["text"]), ("hit", &json!("second")), "{region}");
    }
}

/// Even with the key: what is told of one account says nothing about another, and only an account's own key makes commits.
#[tokio::test]
async fn what_is_signed_and_wrong_makes_no_replica_wrong() {
    let Some(scene) = Scene::with(1_000, &[]).await else { return };
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    for user in [&alice, &bob] {
        scene.put(user, "r", &user.did).await;
        for region in REGIONS {
            scene.hit(region, &record_path(&user.did)).await;
        }
    }
    scene.pushes.passed();
    scene.put(&alice, "r", "second").await;
    let said = scene.pushes.passed();
    let said = said.iter().find(|one| one.path.starts_with(link::PUSH)).unwrap();
    let push: Push = link::decode(&said.body).unwrap();
    let body = |change: &dyn Fn(&mut Push)| {
        let mut push = push.clone();
        change(&mut push);
        link::encode(&push).unwrap()
    };
    let of_bob = Did::parse(&bob.did).unwrap();
    let to_bob = said.path.replace(&alice.did, &bob.did);
    let nobody = said.path.replace(&alice.did, "did:plc:abcdefghijklmnopqrstuvwx");
    let elsewhere = "/internal/v1/push/mars/".to_owned() + &alice.did;
    let ahead = Position(push.position.0 + 1_000);
    for (what, path, body) in [
        ("alice's, to bob's replica", to_bob.as_str(), said.body.to_vec()),
        ("alice's commit under bob's name", to_bob.as_str(), body(&|push| push.account = of_bob.clone())),
        (
            "the same, as what follows",
            to_bob.as_str(),
            body(&|push| {
                push.account = of_bob.clone();
                push.previous = Position(push.position.0 - 1);
            }),
        ),
        ("what comes much later", said.path.as_str(), body(&|push| push.position = ahead)),
        (
            "what follows on what is not there",
            said.path.as_str(),
            body(&|push| {
                (push.previous, push.position) = (Position(ahead.0 - 1), ahead);
            }),
        ),
        ("an unknown change", said.path.as_str(), body(&|push| push.change = link::Change::Unknown)),
        ("no message", said.path.as_str(), b"nonsense".to_vec()),
        ("to nobody", nobody.as_str(), said.body.to_vec()),
        ("to no region", elsewhere.as_str(), said.body.to_vec()),
    ] {
        let _status = say(&scene, FEED_KEY, path, &body, now()).await;
        for region in REGIONS {
            for (user, text) in [(&alice, "second"), (&bob, bob.did.as_str())] {
                let answer = scene.read(region, &record_path(&user.did)).await;
                assert_eq!((answer.status, &answer.json()["value"]["text"]), (200, &json!(text)), "{what}: {answer:?}");
            }
        }
    }
    for (user, text) in [(&alice, "third"), (&bob, "fourth")] {
        scene.put(user, "r", text).await;
        for region in REGIONS {
            let answer = scene.hit(region, &record_path(&user.did)).await;
            assert_eq!(answer.json()["value"]["text"], text, "{region}");
        }
    }
}

/// How many databases there are of replicas, with something in them.
fn replicas(kept: &Path) -> usize {
    let mut found = 0;
    let mut left = vec![kept.to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.to_string_lossy().contains("ReplicaObject")
                && path.extension().is_some_and(|extension| extension == "sqlite")
                // The simulator's own, of all objects.
                && path.file_stem().is_some_and(|name| name != "metadata")
            {
                found += 1;
            }
        }
    }
    found
}

#[tokio::test]
async fn no_object_is_made_for_an_account_that_is_not_here() {
    let Some(scene) = Scene::new().await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "x").await;
    scene.hit("weur", &record_path(&alice.did)).await;
    let before = replicas(scene.kept.path());
    assert_eq!(before, 1);
    let cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    for number in 0..20_u32 {
        let did = format!("did:plc:abcdefghijklmnopqrst{:04}", number).replace(['0', '1', '8', '9'], "z");
        for call in [
            format!("repo.getRecord?repo={did}&collection=a.b.c&rkey=r"),
            format!("repo.describeRepo?repo={did}"),
            format!("repo.describeRepo?repo=nobody{number}.test"),
            format!("sync.getRepo?did={did}"),
            format!("sync.getRepoStatus?did={did}"),
            format!("sync.getBlob?did={did}&cid={cid}"),
            format!("sync.getRepoStatus?did=did:web:host{number}.test%253A{number}"),
        ] {
            let answer = scene.read("weur", &format!("/xrpc/com.atproto.{call}")).await;
            assert!((400..500).contains(&answer.status), "{call}: {answer:?}");
        }
        let known = Client::new().get(scene.edge.url("/.well-known/atproto-did"));
        known.header("host", format!("nobody{number}.test")).send().await.unwrap();
    }
    assert_eq!(replicas(scene.kept.path()), before);
}

#[tokio::test]
async fn records_that_a_view_of_the_network_answers_make_no_objects() {
    let port = tests::peers::free_port();
    let plc = tests::Plc::start().await;
    let record = |_: &Seen| axum::Json(json!({ "uri": "at://x", "value": {} })).into_response();
    let view = Service::start(&plc, record).await;
    let url = format!("http://127.0.0.1:{port}");
    let variables = [
        ADMIN,
        ("HEADWATER_EDGE_URL", url.as_str()),
        ("HEADWATER_EDGE_FEED_KEY", FEED_KEY),
        ("HEADWATER_EDGE_FORWARD_KEY", FORWARD_KEY),
        ("PDS_BSKY_APP_VIEW_URL", view.url()),
        ("PDS_BSKY_APP_VIEW_DID", "did:web:view.test"),
    ];
    let pds = tests::Pds::start_open_with(&plc, &variables).await;
    let kept = tempfile::tempdir().unwrap();
    let Some(edge) = start_edge(port, &pds.url(""), kept.path(), &[]).await else { return };
    let mut answered = 0;
    for number in 2..8 {
        let did = format!("did:plc:abcdefghijklmnopqrstuvw{number}");
        for _ in 0..2 {
            let answer = Client::new().get(edge.url(&record_path(&did))).send().await.unwrap();
            answered += usize::from(answer.status() == StatusCode::OK);
        }
    }
    assert!(answered > 0, "the view is asked for what is not here");
    // What would be made is made after the answer.
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    assert_eq!(replicas(kept.path()), 0);
}

#[tokio::test]
async fn what_a_client_says_of_itself_is_not_what_the_origin_is_told() {
    let mirror = |request: Request| async move {
        let (method, path) = (request.method().to_string(), request.uri().to_string());
        let headers = request.headers().clone();
        let header = |name: &str| {
            let mut values = headers.get_all(name).iter();
            let value = values.next()?.to_str().ok()?.to_owned();
            values.next().is_none().then_some(value)
        };
        let keys = ForwardKeys::new(FORWARD_KEY.as_bytes(), None).unwrap();
        let request = link::Request { method: &method, path: &path };
        let vouched = keys.verify(request, header, now());
        let told = vouched.map(|vouched| json!([vouched.client, vouched.host, vouched.region]));
        let names: Vec<_> = headers.keys().map(ToString::to_string).collect();
        axum::Json(
            json!({ "vouched": told.map_err(|error| error.to_string()).unwrap_or_else(Value::from), "names": names }),
        )
    };
    let origin = serve(Router::new().fallback(any(mirror))).await;
    let kept = tempfile::tempdir().unwrap();
    let Some(edge) = start_edge(0, &origin, kept.path(), &[]).await else { return };
    let vouched = Vouched {
        client: "198.51.100.66".parse().unwrap(),
        host: "evil.test".into(),
        region: Region::parse("mars").unwrap(),
    };
    let path = "/xrpc/com.atproto.server.createSession?x=%2F";
    let keys = ForwardKeys::new(b"a key that is nobody's at all", None).unwrap();
    let mut request = Client::new().post(edge.url(path));
    for (name, value) in keys.sign(link::Request { method: "POST", path }, &vouched, now()) {
        request = request.header(name, value);
    }
    for name in ["headwater-feed", "headwater-anything", "forwarded"] {
        request = request.header(name, "x");
    }
    for name in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"] {
        request = request.header(name, "198.51.100.66");
    }
    let seen: Value = request.send().await.unwrap().json().await.unwrap();
    let host = edge.url("").replace("http://", "");
    assert_eq!(seen["vouched"][1], host, "{seen}");
    assert_ne!(seen["vouched"][0], "198.51.100.66", "{seen}");
    assert!(REGIONS.contains(&seen["vouched"][2].as_str().unwrap()), "{seen}");
    let names: Vec<&str> = seen["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    for name in ["headwater-feed", "headwater-anything", "forwarded", "x-forwarded-for", "x-forwarded-host"] {
        assert!(!names.contains(&name), "{name} in {names:?}");
    }
}

/// Sends exactly these lines, and returns the answer's status and body.
async fn raw(address: &str, head: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // The end may come late or not at all; what matters comes at once.
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&answer).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let lower = head.to_lowercase();
                let length =
                    lower.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
                if length.is_some_and(|length| body.len() >= length) || text.ends_with("0\r\n\r\n") {
                    break;
                }
            }
            if stream.read_buf(&mut answer).await.unwrap_or(0) == 0 {
                break;
            }
        }
    };
    let _late = tokio::time::timeout(std::time::Duration::from_secs(3), reading).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

#[tokio::test]
async fn a_host_is_what_the_request_is_for_and_no_header_beside_it() {
    let Some(scene) = Scene::new().await else { return };
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    for user in [&alice, &bob] {
        scene.put(user, "r", "x").await;
        scene.hit("weur", &record_path(&user.did)).await;
    }
    let address = scene.edge.url("").replace("http://", "");
    for _ in 0..2 {
        for (host, more, expected) in [
            ("alice.test", "", Some(&alice.did)),
            ("ALICE.test", "", Some(&alice.did)),
            ("alice.test:2583", "", Some(&alice.did)),
            ("bob.test", "x-forwarded-host: alice.test", Some(&bob.did)),
            ("bob.test", "forwarded: host=alice.test", Some(&bob.did)),
            ("bob.test", "headwater-host: alice.test", Some(&bob.did)),
            ("bob.test", "x-host: alice.test", Some(&bob.did)),
            ("nobody.test", "x-forwarded-host: alice.test", None),
            ("alice.test.evil.example", "", None),
            ("evil-alice.test", "", None),
            ("127.0.0.1", "x-forwarded-host: alice.test", None),
        ] {
            let line = if more.is_empty() { String::new() } else { format!("\r\n{more}") };
            let head = format!("GET /.well-known/atproto-did HTTP/1.1\r\nhost: {host}{line}");
            let (status, body) = raw(&address, &head).await;
            match expected {
                Some(did) => assert!(status == 200 && body.contains(did.as_str()), "{host} {more}: {status} {body}"),
                None => assert!(status == 404 && !body.contains("did:"), "{host} {more}: {status} {body}"),
            }
        }
        // Two hosts: whoever is answered, nobody gets one's name by the other.
        let head = "GET /.well-known/atproto-did HTTP/1.1\r\nhost: nobody.test\r\nhost: alice.test";
        let (status, body) = raw(&address, head).await;
        assert!(status != 200, "{status} {body}");
    }
}

#[tokio::test]
async fn what_one_client_asks_leaves_nothing_behind_for_the_next() {
    let Some(content) = content().await else { return };
    let scene = &content.scene;
    let did = content.alice.did.clone();
    let blob = format!("/xrpc/com.atproto.sync.getBlob?did={did}&cid={}", content.blob);
    // The first request for each thing is odd; the second is anybody's.
    for (name, value) in [
        ("range", "bytes=0-3".to_owned()),
        ("if-none-match", "*".to_owned()),
        ("x-forwarded-host", "evil.test".to_owned()),
        ("x-forwarded-proto", "https".to_owned()),
        ("x-original-url", "/evil".to_owned()),
        ("x-rewrite-url", "/evil".to_owned()),
        ("x-http-method-override", "DELETE".to_owned()),
        ("origin", "https://evil.test".to_owned()),
        ("accept-language", "de".to_owned()),
        ("atproto-accept-labelers", "did:plc:abcdefghijklmnopqrstuvwx".to_owned()),
        ("authorization", format!("Bearer {}", content.alice.access)),
        ("cookie", "a=b".to_owned()),
        ("x-unanswered", "absent".to_owned()),
        ("x-edge", "hit".to_owned()),
    ] {
        for path in [
            blob.clone(),
            "/xrpc/com.atproto.server.describeServer".to_owned(),
            record_path(&did).replace("rkey=r", "rkey=r05"),
            format!("/xrpc/com.atproto.sync.getRepo?did={did}"),
        ] {
            get(path.clone()).with(name, value.clone()).same(scene).await;
            get(path).same(scene).await;
        }
    }
    for query in ["?x=1", "?limit=1", "?did=x", "?%00", "?a&a"] {
        get(format!("/xrpc/com.atproto.server.describeServer{query}")).same(scene).await;
        get("/xrpc/com.atproto.server.describeServer").same(scene).await;
    }
    // The copy in the bucket is the whole blob, whatever was asked for when it was made.
    assert_eq!(scene.hit("weur", &blob).await.body.len(), 100_000);
}

#[tokio::test]
async fn what_is_private_is_nobodys_but_the_owners() {
    let Some(scene) = Scene::new().await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "x").await;
    scene.hit("weur", &record_path(&alice.did)).await;
    let own = [
        "com.atproto.server.getSession",
        "com.atproto.server.checkAccountStatus",
        "com.atproto.server.listAppPasswords",
        "com.atproto.server.getAccountInviteCodes",
        "com.atproto.repo.listMissingBlobs",
        "com.atproto.server.getServiceAuth?aud=did:web:a.test",
        "com.atproto.identity.getRecommendedDidCredentials",
    ];
    for method in own {
        let path = format!("/xrpc/{method}");
        let request = scene.http.get(scene.edge.url(&path)).bearer_auth(&alice.access);
        let answer = scene.ask(request).await;
        assert_eq!((answer.status, answer.mark.as_str()), (200, "forward"), "{method}: {answer:?}");
        for verb in ["GET", "HEAD"] {
            let request = scene.http.request(verb.parse().unwrap(), scene.edge.url(&path));
            let answer = scene.ask(request).await;
            assert_eq!((answer.status, answer.mark.as_str()), (401, "forward"), "{verb} {method}: {answer:?}");
            assert!(!String::from_utf8_lossy(&answer.body).contains("alice"), "{answer:?}");
        }
    }
    // What its owner still reads of a deactivated account, nobody else does.
    assert_eq!(post(&scene.pds, "server.deactivateAccount", alice.token(), json!({})).await.0, 200);
    for call in ["getRepo", "getLatestCommit", "listBlobs", "getHead"] {
        let path = format!("/xrpc/com.atproto.sync.{call}?did={}", alice.did);
        for _ in 0..2 {
            let request = scene.http.get(scene.edge.url(&path)).bearer_auth(&alice.access);
            let answer = scene.ask(request).await;
            assert_eq!((answer.status, answer.mark.as_str()), (200, "forward"), "{call}: {answer:?}");
            assert_eq!(scene.read("weur", &path).await.status, 400, "{call}");
        }
    }
    // Nothing of a session is left in what the edge keeps.
    let mut left = vec![scene.kept.path().to_owned()];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            assert!(!has(&alice.access) && !has("alice@example.com"), "{path:?}");
        }
    }
}

#[tokio::test]
async fn a_bucket_that_holds_other_bytes_is_not_believed_and_a_wrong_copy_is_not_made() {
    let Some(scene) = Scene::new().await else { return };
    let alice = scene.user("alice").await;
    let blob = scene.upload(&alice, vec![5; 40_000]).await;
    let record = json!({ "repo": alice.did, "collection": "com.example.thing", "rkey": "r", "record": { "p": blob } });
    assert_eq!(post(&scene.pds, "repo.putRecord", alice.token(), record).await.0, 200);
    let cid = blob["ref"]["$link"].as_str().unwrap();
    let path = format!("/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", alice.did);
    scene.hit("weur", &record_path(&alice.did)).await;
    // The origin's disk lies: other bytes of the same length under the blob's name.
    let file = scene.pds.directory().join("blocks").join(&alice.did).join(cid);
    let right = std::fs::read(&file).unwrap();
    std::fs::write(&file, vec![6; 40_000]).unwrap();
    for _ in 0..3 {
        scene.read("weur", &path).await;
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    assert_ne!(scene.read("weur", &path).await.mark, "hit", "a copy that does not hash to its name");
    std::fs::write(&file, &right).unwrap();
    assert_eq!(scene.hit("weur", &path).await.body, right);
    // A takedown drops the copy; and nothing is left of a deleted account.
    let subject = json!({ "$type": "com.atproto.admin.defs#repoBlobRef", "did": alice.did, "cid": cid });
    scene.admin("admin.updateSubjectStatus", json!({ "subject": subject, "takedown": { "applied": true } })).await;
    assert_eq!(scene.read("weur", &path).await.status, 400);
    scene.admin("admin.updateSubjectStatus", json!({ "subject": subject, "takedown": { "applied": false } })).await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(5);
    loop {
        let seen = scene.pushes.seen();
        if seen.iter().any(|path| path == link::PURGE) {
            break;
        }
        assert!(std::time::Instant::now() < until, "no copy was ordered to be dropped");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(scene.hit("weur", &path).await.body, right);
}

#[tokio::test]
async fn a_region_is_chosen_by_a_header_only_where_clients_may() {
    let Some(scene) = Scene::with(5_000, &[("EDGE_DEV", "0")]).await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "x").await;
    let path = record_path(&alice.did);
    scene.hit("weur", &path).await;
    // All of them are the first region's, so no other is missed.
    for region in ["enam", "apac", "mars"] {
        assert_eq!(scene.read(region, &path).await.mark, "hit", "{region}");
    }
    scene.pushes.set(Weather::Fair);
    assert_eq!(replicas(scene.kept.path()), 1);
    let answer = Answer::of(scene.http.get(scene.edge.url(&path)).send().await.unwrap()).await;
    assert!(answer.header("set-cookie").is_none());
}
