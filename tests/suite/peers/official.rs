//! The official clients: a library that applications use, and the command line.

use serde_json::{Value, json};
use shared::api::METHODS;
use tests::peers::{ADMIN_PASSWORD, Place, Program, Relay, goat, packages, plc_url};
use tests::service::{Service, view};
use tests::{Plc, Smtp};
use tokio::process::Command;

use super::caller::{As, Caller};
use super::drop_in::events;
use super::watch::Watch;

/// A view of the network, and a moderator.
const VIEW: &str = "did:web:view.test";

#[tokio::test(flavor = "multi_thread")]
async fn the_official_client_does_what_it_does_with_the_reference_server() {
    let (Some(packages), Some(smtp)) = (packages(), Smtp::start(json!({})).await) else { return };
    let plc = Plc::start().await;
    let view = Service::start(&plc, view).await;
    let mut place = Place::new(&plc).with_all(smtp.environment());
    for (url, did) in
        [("PDS_BSKY_APP_VIEW_URL", "PDS_BSKY_APP_VIEW_DID"), ("PDS_MOD_SERVICE_URL", "PDS_MOD_SERVICE_DID")]
    {
        place = place.with(url, view.url()).with(did, VIEW);
    }
    let server = place.start_headwater().await;
    let watch = Watch::start(&packages, &place.url(""), &plc, 0);
    let mut command = packages.script("client.mjs");
    command.args([&place.url(""), &plc_url(&plc), ADMIN_PASSWORD, &smtp.mailbox().await, VIEW]);
    let said = Program::start("the official client", command).finished().await;
    assert_eq!(said.last().map(String::as_str), Some("done"), "{said:#?}");
    let called: Vec<_> = said.iter().filter_map(|line| line.strip_prefix("called ")).collect();
    // The firehose is followed beside it.
    let left = METHODS.iter().map(|method| method.nsid).filter(|nsid| !called.contains(nsid));
    assert_eq!(
        left.collect::<Vec<_>>(),
        ["com.atproto.sync.subscribeRepos"],
        "the official client has not called these"
    );
    // Of accounts that are gone only that is kept; whoever listened has heard all.
    let last = *events(&place).last().unwrap();
    let seen: Vec<i64> = watch.reaches(last).await.iter().filter_map(|event| event["seq"].as_i64()).collect();
    assert_eq!(seen, (1..=last).collect::<Vec<_>>(), "every event once, in order");
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_official_command_line_works_and_finds_no_fault_with_the_firehose() {
    let Some(goat) = goat() else { return };
    let plc = Plc::start().await;
    let place = Place::new(&plc).with("PDS_INVITE_REQUIRED", "false");
    let server = place.start_headwater().await;
    let caller = Caller::new(&place);
    let alice = caller.sign_up("alice", "").await;
    let home = tempfile::tempdir().unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(&goat);
        command.args(words).env_clear().env("HOME", home.path()).current_dir(home.path());
        command
    };
    let goat = async |words: &[&str]| Program::start("goat", run(words)).finished().await.join("\n");

    let firehose = ["firehose", "--relay-host", &place.url("").replace("http", "ws"), "--cursor", "0"];
    let verify = ["--verify-basic", "--verify-mst", "--ops"];
    let firehose = Program::start("goat firehose", run(&[firehose.as_slice(), &verify].concat()));

    let login = ["account", "login", "-u", &alice.did, "-p", "password of alice", "--pds-host", &place.url("")];
    goat(&login).await;
    let status = goat(&["account", "status"]).await;
    assert!(status.contains(&alice.did) && status.contains("\"validDid\": true"), "{status}");

    let file = |name: &str, content: &[u8]| {
        std::fs::write(home.path().join(name), content).unwrap();
        name.to_owned()
    };
    let post = json!({ "$type": "app.bsky.feed.post", "text": "by goat", "createdAt": "2026-01-01T00:00:00Z" });
    let post = file("post.json", &serde_json::to_vec(&post).unwrap());
    let made = goat(&["record", "create", &post]).await;
    assert!(made.contains(&format!("at://{}/app.bsky.feed.post/", alice.did)), "{made}");
    let rkey = made.split('\t').next().unwrap().rsplit('/').next().unwrap().to_owned();
    let better = json!({ "$type": "app.bsky.feed.post", "text": "better", "createdAt": "2026-01-01T00:00:00Z" });
    let better = file("better.json", &serde_json::to_vec(&better).unwrap());
    goat(&["record", "update", "--rkey", &rkey, &better]).await;
    let blob: Value = serde_json::from_str(&goat(&["blob", "upload", &file("blob.txt", b"a blob")]).await).unwrap();
    assert_eq!(blob["size"], 6, "{blob}");

    // Its other reads ask the network's own directory; what they would fetch is given to it as a file.
    let (code, export) = caller.get(&format!("com.atproto.sync.getRepo?did={}", alice.did), As::Nobody).await;
    assert_eq!(code, 200);
    let export = file("repo.car", &export);
    let listed = goat(&["repo", "ls", &export]).await;
    assert!(listed.contains(&format!("app.bsky.feed.post/{rkey}")), "{listed}");
    let inspected = goat(&["repo", "inspect", &export]).await;
    assert!(inspected.contains(&alice.did), "{inspected}");
    goat(&["record", "delete", "--collection", "app.bsky.feed.post", "--rkey", &rkey]).await;

    let deleted = |lines: &[String]| lines.iter().any(|line| line.contains("\"delete\"") && line.contains(&rkey));
    let lines = firehose.wait_for("the deletion", deleted).await;
    for line in lines.iter().filter(|line| !line.starts_with('{')) {
        assert!(!["WARN", "ERROR", "warn", "error"].iter().any(|word| line.contains(word)), "{line}");
    }
    assert!(server.stop().await.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_follows_and_tells_on_what_it_hears() {
    let Some(packages) = packages() else { return };
    let plc = Plc::start().await;
    let place = Place::new(&plc).with("PDS_INVITE_REQUIRED", "false");
    let server = place.start_headwater().await;
    let caller = Caller::new(&place);
    let alice = caller.sign_up("alice", "").await;
    let Some(relay) = Relay::start(&plc, &place.host()).await else { return };
    let watch = Watch::start(&packages, &relay.url(""), &plc, 0);

    let bob = caller.sign_up("bob", "").await;
    for (number, account) in [&alice, &bob, &alice, &bob].into_iter().enumerate() {
        let post = json!({ "text": format!("{number}"), "createdAt": "2026-01-01T00:00:00Z" });
        caller.create(account, "app.bsky.feed.post", post).await;
    }
    let commits = |account: &str, events: &[Value]| {
        events.iter().filter(|event| event["t"] == "#commit" && event["did"] == account).count()
    };
    let told =
        watch.until("both accounts' posts", |told| commits(&alice.did, told) >= 2 && commits(&bob.did, told) >= 3);
    told.await;

    caller.post("com.atproto.server.deactivateAccount", bob.access(), json!({})).await;
    let inactive = |told: &[Value]| {
        told.iter().any(|event| event["t"] == "#account" && event["did"] == *bob.did && event["active"] == false)
    };
    watch.until("that one was deactivated", inactive).await;
    let status =
        reqwest::get(relay.url(&format!("/xrpc/com.atproto.sync.getRepoStatus?did={}", bob.did))).await.unwrap();
    let status: Value = status.json().await.unwrap();
    assert_eq!((&status["active"], &status["status"]), (&json!(false), &json!("deactivated")));
    caller.post("com.atproto.server.activateAccount", bob.access(), Value::Null).await;
    caller.create(&bob, "app.bsky.feed.post", json!({ "text": "back", "createdAt": "2026-01-01T00:00:00Z" })).await;
    watch.until("a post after that", |told| commits(&bob.did, told) >= 4).await;

    let status =
        reqwest::get(relay.url(&format!("/xrpc/com.atproto.sync.getRepoStatus?did={}", alice.did))).await.unwrap();
    let status: Value = status.json().await.unwrap();
    let ours = caller.get_json(&format!("com.atproto.sync.getLatestCommit?did={}", alice.did), As::Nobody).await;
    assert_eq!(status["rev"], ours["rev"], "{status}");
    for line in relay.log() {
        let complaint = ["level=WARN", "level=ERROR"].iter().any(|level| line.contains(level));
        assert!(!complaint, "the relay complains: {line}");
    }
    assert!(server.stop().await.success());
}
