//! The did:plc directory that the other tests rely on: it takes what plc.directory takes, and refuses what it refuses.

use std::process::Stdio;
use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Value, json};
use shared::cid::Cid;
use shared::crypto::{Curve, PublicKey, SigningKey};
use shared::identity::DidDocument;
use shared::identity::plc::{AuditEntry, Body, Head, LegacyCreate, Operation, Service, State, verify_audit_log};
use shared::syntax::{Did, Handle};
use tests::Plc;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn key(byte: u8) -> SigningKey {
    let curve = if byte.is_multiple_of(2) { Curve::K256 } else { Curve::P256 };
    SigningKey::from_bytes(curve, &[byte; 32]).unwrap()
}

fn state(rotation_keys: &[u8]) -> State {
    let keys: Vec<PublicKey> = rotation_keys.iter().map(|byte| key(*byte).public_key()).collect();
    State::of_account(&keys, &key(100).public_key(), &Handle::parse("alice.test").unwrap(), "https://pds.test")
}

fn update(rotation_keys: &[u8], prev: &Operation, signer: u8) -> Operation {
    Body::update(state(rotation_keys), &prev.cid()).sign(&key(signer))
}

/// An operation that differs from all others by its handle.
fn rename(handle: &str, prev: &Operation, signer: u8) -> Operation {
    let mut state = prev.state().unwrap();
    state.set_handle(&Handle::parse(handle).unwrap());
    Body::update(state, &prev.cid()).sign(&key(signer))
}

async fn post(url: &str, operation: &Operation) -> (StatusCode, String) {
    let answer = reqwest::Client::new().post(url).json(operation).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

async fn get(url: &str) -> (StatusCode, Value) {
    let answer = reqwest::get(url).await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

/// Asserts that the directory refuses with status 400 and a message that starts so.
async fn assert_refused(url: &str, operation: &Operation, message: &str) {
    let (status, body) = post(url, operation).await;
    let body: Value = serde_json::from_str(&body).unwrap();
    assert!(body["message"].as_str().unwrap().starts_with(message), "{body} is not {message}");
    assert_eq!(status, StatusCode::BAD_REQUEST);
}

async fn assert_taken(url: &str, operation: &Operation) {
    assert_eq!(post(url, operation).await, (StatusCode::OK, "OK".to_owned()));
}

/// A new identity whose rotation keys are `keys`, the first of which signed: its URL, its DID and its first operation.
async fn register(plc: &Plc, keys: &[u8]) -> (String, Did, Operation) {
    let genesis = Body::genesis(state(keys)).sign(&key(keys[0]));
    let did = genesis.did().unwrap();
    let url = plc.url(&format!("/{did}"));
    assert_taken(&url, &genesis).await;
    (url, did, genesis)
}

async fn audit_log(url: &str) -> Vec<AuditEntry> {
    serde_json::from_value(get(&format!("{url}/log/audit")).await.1).unwrap()
}

#[tokio::test]
async fn a_registered_did_is_read_back_in_every_form() {
    let plc = Plc::start().await;
    let (url, did, genesis) = register(&plc, &[1, 2]).await;
    let answer = reqwest::get(&url).await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/did+ld+json; charset=utf-8");
    let document = DidDocument::parse(&did, answer.json().await.unwrap()).unwrap();
    assert_eq!(document, DidDocument::new(&did, &state(&[1, 2])));
    assert_eq!(document.signing_key(), Some(key(100).public_key()));

    let data = get(&format!("{url}/data")).await.1;
    assert_eq!(data, serde_json::to_value(state(&[1, 2]).to_data(&did)).unwrap());
    let genesis_json = serde_json::to_value(&genesis).unwrap();
    assert_eq!(get(&format!("{url}/log")).await, (StatusCode::OK, json!([genesis_json])));
    assert_eq!(get(&format!("{url}/log/last")).await, (StatusCode::OK, genesis_json));
    let log = audit_log(&url).await;
    assert_eq!(verify_audit_log(&did, &log), Ok(Head { cid: genesis.cid(), state: Some(state(&[1, 2])) }));
    assert_eq!(get(&plc.url("/_health")).await.1, json!({ "version": env!("CARGO_PKG_VERSION") }));
}

#[tokio::test]
async fn a_did_that_is_not_there_is_told_from_one_that_ended() {
    let plc = Plc::start().await;
    let unknown = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    for path in ["", "/data", "/log", "/log/audit", "/log/last"] {
        for did in [unknown, "nonsense"] {
            let (status, body) = get(&plc.url(&format!("/{did}{path}"))).await;
            assert_eq!(
                (status, body),
                (StatusCode::NOT_FOUND, json!({ "message": format!("DID not registered: {did}") }))
            );
        }
    }
    let (url, did, genesis) = register(&plc, &[1]).await;
    let tombstone = Body::tombstone(&genesis.cid()).sign(&key(1));
    assert_taken(&url, &tombstone).await;
    for path in ["", "/data"] {
        let expected = (StatusCode::GONE, json!({ "message": format!("DID not available: {did}") }));
        assert_eq!(get(&format!("{url}{path}")).await, expected);
    }
    let (_, last) = get(&format!("{url}/log/last")).await;
    assert_eq!(last, serde_json::to_value(&tombstone).unwrap());
    assert_refused(&url, &update(&[1], &tombstone, 1), "Operations not correctly ordered").await;
}

#[tokio::test]
async fn operations_that_may_not_be_added_are_refused_by_reason() {
    let plc = Plc::start().await;
    let (url, _, genesis) = register(&plc, &[1, 2]).await;
    let with = |change: &dyn Fn(&mut State)| {
        let mut state = state(&[1, 2]);
        change(&mut state);
        Body::update(state, &genesis.cid()).sign(&key(1))
    };
    let ed25519 = "did:key:z6MkjwbBXZnFqL8su24wGL2Fdjti6GSLv9SWdYGswfazUPm9";
    let service = Service { kind: "a".repeat(256), endpoint: "b".repeat(512) };
    let services = (0..6).map(|id| (id.to_string(), service.clone())).collect::<Vec<_>>();
    for (operation, message) in [
        (update(&[3], &genesis, 3), "Invalid signature on op: {"),
        (genesis.clone(), "Operations not correctly ordered"),
        (Body::update(state(&[1]), &Cid::of_cbor(b"x")).sign(&key(1)), "Operations not correctly ordered"),
        (with(&|state| state.rotation_keys.push(ed25519.to_owned())), "Invalid rotationKey: did:key:z6Mk"),
        (with(&|state| state.rotation_keys.resize(11, ed25519.to_owned())), "Too many rotationKey entries (max 10)"),
        (with(&|state| state.also_known_as.push("at://alice.test".to_owned())), "duplicate alsoKnownAs entry: at://a"),
        (
            with(&|state| state.services.extend(services.clone())),
            "Operation too large (4000 bytes maximum in cbor encod",
        ),
    ] {
        assert_refused(&url, &operation, message).await;
    }
    assert_taken(&url, &with(&|state| drop(state.verification_methods.insert("other".to_owned(), ed25519.to_owned()))))
        .await;
    let (_, document) = get(&url).await;
    assert_eq!(document["verificationMethod"][1]["publicKeyMultibase"], ed25519.trim_start_matches("did:key:"));
}

#[tokio::test]
async fn first_operations_must_hash_to_the_did_and_be_of_today_s_type() {
    let plc = Plc::start().await;
    let genesis = Body::genesis(state(&[1])).sign(&key(1));
    let (did, other) = (genesis.did().unwrap(), plc.url("/did:plc:aaaaaaaaaaaaaaaaaaaaaaaa"));
    let message = format!("Hash of genesis operation does not match DID identifier: {did}");
    assert_refused(&other, &genesis, &message).await;
    assert_refused(&plc.url("/nonsense"), &genesis, &message).await;
    let stranger = Body::genesis(state(&[1])).sign(&key(2));
    assert_refused(&plc.url(&format!("/{}", stranger.did().unwrap())), &stranger, "Invalid signature on op").await;
    assert_refused(&other, &update(&[1], &genesis, 1), "Operations not correctly ordered").await;
    let tombstone = Body::tombstone(&genesis.cid()).sign(&key(1));
    assert_refused(&other, &tombstone, "Operations not correctly ordered").await;
    let (signing_key, recovery_key) = (key(1).public_key().to_did_key(), key(2).public_key().to_did_key());
    let (handle, service) = ("alice.test".to_owned(), "https://pds.test".to_owned());
    let legacy = Body::Create(LegacyCreate { signing_key, recovery_key, handle, service }).sign(&key(1));
    let url = plc.url(&format!("/{}", legacy.did().unwrap()));
    assert_refused(&url, &legacy, "Not a valid operation: {").await;
    assert_eq!(get(&plc.url(&format!("/{did}"))).await.0, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn bodies_that_are_no_operation_are_refused() {
    let plc = Plc::start().await;
    let genesis = Body::genesis(state(&[1])).sign(&key(1));
    let url = plc.url(&format!("/{}", genesis.did().unwrap()));
    let client = reqwest::Client::new();
    let good = serde_json::to_string(&genesis).unwrap();
    let more = good.replacen('{', r#"{"more":1,"#, 1);
    let padded = format!("{good}{}", " ".repeat(100 * 1024));
    for (kind, body, status, message) in [
        ("application/json", more.as_str(), 400, "Not a valid operation: {"),
        ("application/json", "[]", 400, "Not a valid operation: []"),
        ("application/json", "{", 400, ""),
        ("text/plain", &good, 400, "Not a valid operation: {}"),
        ("application/json", &padded, 413, "request entity too large"),
    ] {
        let request = client.post(&url).header("content-type", kind).body(body.to_owned());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{message}");
        let body: Value = answer.json().await.unwrap();
        assert!(body["message"].as_str().unwrap().starts_with(message), "{body} is not {message}");
    }
}

#[tokio::test]
async fn a_stronger_key_rewrites_history_and_the_audit_log_tells() {
    let plc = Plc::start().await;
    let (url, did, genesis) = register(&plc, &[1, 2]).await;
    let theft = update(&[2], &genesis, 2);
    assert_taken(&url, &theft).await;
    assert_taken(&url, &Body::tombstone(&theft.cid()).sign(&key(2))).await;
    assert_eq!(get(&url).await.0, StatusCode::GONE);

    assert_refused(&url, &rename("thief.test", &genesis, 2), "Invalid signature on op").await;
    let rescue = update(&[1], &genesis, 1);
    assert_taken(&url, &rescue).await;
    let (_, data) = get(&format!("{url}/data")).await;
    assert_eq!(data["rotationKeys"], json!([key(1).public_key().to_did_key()]));
    assert_eq!(get(&format!("{url}/log")).await.1.as_array().unwrap().len(), 2);
    let log = audit_log(&url).await;
    assert_eq!(log.iter().map(|entry| entry.nullified).collect::<Vec<_>>(), [false, true, true, false]);
    assert_eq!(verify_audit_log(&did, &log).unwrap().cid, rescue.cid());
    assert_refused(&url, &theft, "Invalid signature on op").await;
    assert_refused(&url, &update(&[2], &theft, 2), "Operations not correctly ordered").await;
}

#[tokio::test]
async fn after_72_hours_history_stands() {
    let plc = Plc::start().await;
    let (url, did, genesis) = register(&plc, &[1, 2]).await;
    let theft = update(&[2], &genesis, 2);
    assert_taken(&url, &theft).await;
    plc.advance(72 * HOUR);
    let message = "Recovery operation occurred outside of the allowed 72 hr recovery window. Time lapsed: 2592";
    assert_refused(&url, &update(&[1], &genesis, 1), message).await;
    assert_eq!(verify_audit_log(&did, &audit_log(&url).await).unwrap().cid, theft.cid());
}

#[tokio::test]
async fn an_operation_that_was_undone_does_not_come_back() {
    let plc = Plc::start().await;
    let (url, _, genesis) = register(&plc, &[1, 2]).await;
    let first = update(&[2, 1], &genesis, 1);
    assert_taken(&url, &first).await;
    assert_refused(&url, &first, "Invalid signature on op").await;
    let (by_2, by_1) = (rename("b.test", &first, 1), rename("a.test", &first, 2));
    assert_taken(&url, &by_2).await;
    assert_taken(&url, &by_1).await;
    assert_refused(&url, &by_2, "Invalid signature on op").await;
}

#[tokio::test]
async fn rate_limits_stop_updates_but_not_recovery() {
    let plc = Plc::start().await;
    let (url, _, genesis) = register(&plc, &[1, 2]).await;
    let mut last = genesis.clone();
    for n in 1..10 {
        last = rename(&format!("a{n}.test"), &last, 2);
        assert_taken(&url, &last).await;
    }
    let next = rename("next.test", &last, 2);
    assert_refused(&url, &next, "To many operations within last hour (max 10)").await;
    plc.advance(HOUR);
    assert_taken(&url, &next).await;
    let mut last = next;
    for n in 11..30 {
        plc.advance(HOUR / 6);
        last = rename(&format!("a{n}.test"), &last, 2);
        assert_taken(&url, &last).await;
    }
    assert_refused(&url, &rename("next.test", &last, 2), "To many operations within last day (max 30)").await;
    assert_taken(&url, &update(&[1], &genesis, 1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_operations_that_follow_the_same_one_a_single_one_is_taken() {
    let plc = Plc::start().await;
    let (url, did, genesis) = register(&plc, &[1]).await;
    let racing = (0..20).map(|n| {
        let (url, operation) = (url.clone(), rename(&format!("a{n}.test"), &genesis, 1));
        tokio::spawn(async move { post(&url, &operation).await.0 })
    });
    let mut taken = 0;
    for status in racing.collect::<Vec<_>>() {
        taken += usize::from(status.await.unwrap() == StatusCode::OK);
    }
    assert_eq!(taken, 1);
    let log = audit_log(&url).await;
    assert_eq!(log.len(), 2);
    verify_audit_log(&did, &log).unwrap();
}

#[tokio::test]
async fn an_export_pages_by_number_and_by_time() {
    let plc = Plc::start().await;
    let mut registered = Vec::new();
    for byte in 1..6 {
        registered.push(register(&plc, &[byte, 9]).await);
    }
    let (url, _, genesis) = &registered[0];
    assert_taken(url, &update(&[9], genesis, 9)).await;
    assert_taken(url, &update(&[1], genesis, 1)).await;
    let page = async |query: &str| -> Vec<Value> {
        let answer = reqwest::get(plc.url(&format!("/export{query}"))).await.unwrap();
        assert_eq!(answer.headers()["content-type"], "application/jsonlines");
        answer.text().await.unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };

    let all = page("").await;
    assert_eq!(all.len(), 7);
    assert_eq!(all[5]["nullified"], true);
    assert_eq!(all[0].get("seq"), None);
    assert_eq!(all[1]["did"], registered[1].1.as_str());
    assert!(all.is_sorted_by_key(|line| line["createdAt"].as_str().unwrap()));
    let time = all[2]["createdAt"].as_str().unwrap();
    assert_eq!(page(&format!("?count=2&after={time}")).await, all[3..5]);

    let sequenced = page("?after=0").await;
    assert_eq!(sequenced.iter().map(|line| line["seq"].as_u64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7]);
    assert!(sequenced.iter().all(|line| line["type"] == "sequenced_op" && line.get("nullified").is_none()));
    assert_eq!(page("?after=3&count=2").await, sequenced[3..5]);
    assert_eq!(page("?after=7").await, Vec::<Value>::new());
    for (query, name) in [("count=0", "count"), ("count=x", "count"), ("after=yesterday", "after")] {
        let answer = get(&plc.url(&format!("/export?{query}"))).await;
        assert_eq!(answer, (StatusCode::BAD_REQUEST, json!({ "message": format!("Invalid {name} parameter") })));
    }
}

/// Runs the binary on `file`; returns it and its URL. It dies with the value.
async fn run(file: &std::path::Path) -> (Child, String) {
    let mut process = Command::new(env!("CARGO_BIN_EXE_plc"))
        .args(["--listen", "127.0.0.1:0", "--db"])
        .arg(file)
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    (process, line.strip_prefix("listening on ").unwrap().to_owned())
}

#[tokio::test]
async fn the_binary_keeps_its_log_when_it_is_killed() {
    tests::prepare_client();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("plc.sqlite");
    let genesis = Body::genesis(state(&[1])).sign(&key(1));
    let did = genesis.did().unwrap();
    let (mut process, url) = run(&file).await;
    assert_taken(&format!("{url}/{did}"), &genesis).await;
    process.kill().await.unwrap();

    let (_process, url) = run(&file).await;
    let url = format!("{url}/{did}");
    assert_eq!(get(&format!("{url}/log/last")).await.1, serde_json::to_value(&genesis).unwrap());
    assert_taken(&url, &update(&[1], &genesis, 1)).await;
    verify_audit_log(&did, &audit_log(&url).await).unwrap();
}
