//! Accounts in every state, read through the edge by every way there is to name them, first and again.

use reqwest::Method;
use serde_json::{Value, json};
use shared::link::{self, HostPush, Position};

use super::attack::{now, say};
use super::reads::{Asked, content, get, reads};
use super::scene::{FEED_KEY, REGIONS, Scene};
use crate::client::{As, User, poke, post};

/// Reads of what may or may not be there, of one account.
fn all_of(user: &User, name: &str) -> Vec<Asked> {
    let did = &user.did;
    let thing = "collection=com.example.thing";
    let mut all = Vec::new();
    for repo in [did.clone(), did.replace(':', "%3a"), name.to_owned(), name.to_uppercase()] {
        all.push(format!("repo.getRecord?repo={repo}&{thing}&rkey=r"));
        all.push(format!("repo.getRecord?repo={repo}&{thing}&rkey=none"));
        all.push(format!("repo.listRecords?repo={repo}&{thing}&limit=2"));
        all.push(format!("repo.describeRepo?repo={repo}"));
    }
    for call in ["getLatestCommit", "getHead", "getRepo", "getCheckout", "getRepoStatus", "listBlobs"] {
        all.push(format!("sync.{call}?did={did}"));
    }
    all.push(format!("sync.getRecord?did={did}&{thing}&rkey=r"));
    let mut all: Vec<Asked> = all.into_iter().map(|call| get(format!("/xrpc/com.atproto.{call}"))).collect();
    all.push(get("/.well-known/atproto-did").with("host", name));
    all
}

/// The same, asked from another region.
fn from(asked: &Asked, region: &'static str) -> Asked {
    let mut asked = asked.clone();
    asked.headers.retain(|(name, _)| *name != "x-edge-region");
    asked.with("x-edge-region", region)
}

async fn same(scene: &Scene, asked: &[Asked], region: &'static str) {
    for one in asked {
        let one = from(one, region);
        one.same(scene).await;
        one.head().same(scene).await;
    }
}

#[tokio::test]
async fn the_first_answer_in_a_region_is_the_origins_and_so_is_every_later_one() {
    let Some(content) = content().await else { return };
    for region in REGIONS {
        for read in reads(&content) {
            let read = from(&read, region);
            read.same(&content.scene).await;
            let again = read.same(&content.scene).await;
            assert!(["hit", "miss", "forward"].contains(&again.mark.as_str()), "{again:?}");
        }
    }
}

#[tokio::test]
async fn an_account_in_any_state_is_what_the_origin_makes_of_it() {
    let Some(scene) = Scene::new().await else { return };
    let mut users = Vec::new();
    for name in ["alice", "bob", "carol", "daniel", "erin"] {
        let user = scene.user(name).await;
        if name != "erin" {
            scene.put(&user, "r", name).await;
            scene.put(&user, "s", name).await;
        }
        users.push((format!("{name}.test"), user));
    }
    // Half of the regions know them from before.
    for (name, user) in &users {
        same(&scene, &all_of(user, name), "weur").await;
        scene.hit("weur", &format!("/xrpc/com.atproto.sync.getLatestCommit?did={}", user.did)).await;
    }
    let (status, _) = post(&scene.pds, "server.deactivateAccount", users[1].1.token(), json!({})).await;
    assert_eq!(status, 200);
    let subject = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": users[2].1.did });
    scene.admin("admin.updateSubjectStatus", json!({ "subject": subject, "takedown": { "applied": true } })).await;
    scene.admin("admin.deleteAccount", json!({ "did": users[3].1.did })).await;
    for (name, user) in &users {
        for region in ["weur", "enam"] {
            same(&scene, &all_of(user, name), region).await;
            same(&scene, &all_of(user, name), region).await;
        }
    }
    // And back.
    assert_eq!(poke(&scene.pds, "server.activateAccount", users[1].1.token()).await.0, 200);
    scene.admin("admin.updateSubjectStatus", json!({ "subject": subject, "takedown": { "applied": false } })).await;
    for (name, user) in &users {
        for region in REGIONS {
            same(&scene, &all_of(user, name), region).await;
        }
    }
}

#[tokio::test]
async fn odd_parameters_are_read_as_the_origin_reads_them() {
    let Some(content) = content().await else { return };
    let (scene, did) = (&content.scene, &content.alice.did);
    let thing = "collection=com.example.thing";
    for query in [
        format!("repo.getRecord?repo={did}&{thing}&rkey=r03&cid="),
        format!("repo.getRecord?repo={did}&{thing}&rkey=r03&unknown=1&unknown=2"),
        format!("repo.getRecord?repo={did}&{thing}&rkey=r03&rkey=r04"),
        format!("repo.getRecord?repo={did}&{thing}&rkey=r03#fragment"),
        format!("repo.getRecord?&&repo={did}&&{thing}&rkey=r03&"),
        format!("repo.getRecord?repo=at%3A%2F%2F{did}&{thing}&rkey=r03"),
        format!("repo.getRecord?repo={did}&{thing}&rkey=r%303"),
        format!("repo.getRecord?repo={did}&{thing}&rkey=%zz"),
        format!("repo.getRecord?repo={did}&{thing}&rkey=%ff"),
        format!("repo.getRecord?repo={did}&{thing}&rkey=."),
        format!("repo.getRecord?repo={did}&collection=app&rkey=r03"),
        format!("repo.getRecord?repo={did}+&{thing}&rkey=r03"),
        format!("repo.getRecord?repo={did}%00&{thing}&rkey=r03"),
        format!("repo.getRecord?repo={did}&{thing}&rkey=r03;x=1"),
        format!("repo.getRecord?repo={did}&{thing}&RKEY=r03"),
        format!("repo.getRecord?repo={did}&{thing}&rkey[]=r03"),
        format!("repo.listRecords?repo={did}&{thing}&limit=abc"),
        format!("repo.listRecords?repo={did}&{thing}&limit=1.5"),
        format!("repo.listRecords?repo={did}&{thing}&limit=%2B5"),
        format!("repo.listRecords?repo={did}&{thing}&limit=05"),
        format!("repo.listRecords?repo={did}&{thing}&limit=-1"),
        format!("repo.listRecords?repo={did}&{thing}&limit=99999999999999999999"),
        format!("repo.listRecords?repo={did}&{thing}&reverse=1"),
        format!("repo.listRecords?repo={did}&{thing}&reverse=yes"),
        format!("repo.listRecords?repo={did}&{thing}&reverse=false&limit=3"),
        format!("repo.listRecords?repo={did}&{thing}&cursor=%20"),
        format!("repo.listRecords?repo={did}&{thing}&cursor=zzzz"),
        format!("repo.listRecords?repo={did}&{thing}&cursor="),
        format!("repo.listRecords?repo={did}&{thing}&rkeyStart=r05&rkeyEnd=r09"),
        format!("repo.describeRepo?repo={did}&repo={did}"),
        "repo.describeRepo?repo=%40alice.test".to_owned(),
        "repo.describeRepo?repo=alice.test.".to_owned(),
        "repo.describeRepo?repo=ALICE.TEST".to_owned(),
        "repo.describeRepo?repo=did:plc:short".to_owned(),
        "repo.describeRepo?repo=did:web:alice.test".to_owned(),
        format!("sync.getBlocks?did={did}"),
        format!("sync.getBlocks?did={did}&cids=&cids="),
        format!("sync.getBlocks?did={did}&cids[]={}", content.blob),
        format!("sync.getRepo?did={did}&since="),
        format!("sync.getRepo?did={did}&since=x"),
        format!("sync.getRepo?did={}", did.to_uppercase()),
        format!("sync.listBlobs?did={did}&limit=0"),
        format!("sync.listBlobs?did={did}&limit=1001"),
        format!("sync.listBlobs?did={did}&since="),
        format!("sync.listBlobs?did={did}&cursor=x"),
        format!("sync.getBlob?did={did}"),
        format!("sync.getBlob?did={did}&cid={}&cid={}", content.blob, content.blob),
        format!("sync.getBlob?did=alice.test&cid={}", content.blob),
        format!("sync.getHead?did={did}&did=x"),
        "sync.getLatestCommit?did".to_owned(),
        "server.describeServer?x=1".to_owned(),
        "server.describeServer?x=1&x=2".to_owned(),
        "sync.listRepos?limit=1".to_owned(),
        "sync.listRepos?limit=0".to_owned(),
        "identity.resolveHandle".to_owned(),
        "identity.resolveHandle?handle=ALICE.test".to_owned(),
    ] {
        let asked = get(format!("/xrpc/com.atproto.{query}"));
        asked.same(scene).await;
        asked.same(scene).await;
    }
    for path in ["/xrpc/com.atproto.sync.getRepo/", "/xrpc//com.atproto.sync.getRepo", "/XRPC/com.atproto.sync.getRepo"]
    {
        get(format!("{path}?did={did}")).same(scene).await;
    }
    // Other methods on what is read, and reads of what is written.
    for (verb, path) in [
        (Method::POST, format!("/xrpc/com.atproto.sync.getRepo?did={did}")),
        (Method::PUT, format!("/xrpc/com.atproto.sync.getLatestCommit?did={did}")),
        (Method::DELETE, "/.well-known/atproto-did".to_owned()),
        (Method::OPTIONS, format!("/xrpc/com.atproto.sync.getRepo?did={did}")),
        (Method::GET, "/xrpc/com.atproto.repo.createRecord".to_owned()),
    ] {
        let mut asked = get(path);
        asked.verb = verb;
        asked.same(scene).await;
    }
    for (name, value) in [
        ("if-none-match", "*"),
        ("if-none-match", ""),
        ("if-none-match", "W/\"x\", \"y"),
        ("if-match", "\"x\""),
        ("if-modified-since", "Thu, 26 Nov 2026 00:00:00 GMT"),
        ("range", "bytes=0-9"),
        ("accept", "text/html"),
        ("origin", "https://example.com"),
        ("x-forwarded-host", "evil.test"),
    ] {
        for call in ["sync.getLatestCommit", "sync.getRepo", "sync.listBlobs", "repo.describeRepo?repo=alice.test&"] {
            let query = if call.contains('?') { String::new() } else { format!("?did={did}") };
            get(format!("/xrpc/com.atproto.{call}{query}")).with(name, value).same(scene).await;
        }
    }
}

#[tokio::test]
async fn a_blob_is_public_while_a_record_says_so_and_no_longer() {
    let Some(scene) = Scene::new().await else { return };
    let (alice, bob) = (scene.user("alice").await, scene.user("bob").await);
    scene.put(&bob, "r", "x").await;
    let blob = scene.upload(&alice, vec![9; 30_000]).await;
    let cid = blob["ref"]["$link"].as_str().unwrap();
    let path = |did: &str| format!("/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid}");
    let (of_alice, of_bob) = (get(path(&alice.did)), get(path(&bob.did)));
    let write = async |method: &str, user: &User, rkey: &str, record: Value| {
        let mut input = json!({ "repo": user.did, "collection": "com.example.picture", "rkey": rkey });
        if method == "repo.putRecord" {
            input["record"] = record;
        }
        let answer = post(&scene.pds, method, user.token(), input).await;
        assert_eq!(answer.0, 200, "{answer:?}");
    };
    for region in REGIONS {
        scene.read(region, &format!("/xrpc/com.atproto.sync.getLatestCommit?did={}", bob.did)).await;
    }
    // Uploaded, and nobody refers to it.
    assert_eq!(of_alice.same(&scene).await.status, 400);
    write("repo.putRecord", &alice, "one", json!({ "picture": blob })).await;
    write("repo.putRecord", &alice, "two", json!({ "picture": blob })).await;
    of_alice.same(&scene).await;
    scene.hit("weur", &path(&alice.did)).await;
    // A blob is its account's: what is in the bucket for one is not another's.
    assert_eq!(of_bob.same(&scene).await.status, 400);
    write("repo.deleteRecord", &alice, "one", Value::Null).await;
    assert_eq!(of_alice.same(&scene).await.status, 200);
    write("repo.deleteRecord", &alice, "two", Value::Null).await;
    assert_eq!(of_alice.same(&scene).await.status, 400);
    assert_eq!(of_alice.clone().with("range", "bytes=0-1").same(&scene).await.status, 400);
    // The owner's own bearer is the origin's to judge.
    let own = of_alice.clone().with("authorization", format!("Bearer {}", alice.access));
    assert_eq!(own.same(&scene).await.mark, "forward");
    // And again.
    let blob = scene.upload(&alice, vec![9; 30_000]).await;
    write("repo.putRecord", &alice, "three", json!({ "picture": blob })).await;
    assert_eq!(of_alice.same(&scene).await.status, 200);
    let deleted = post(&scene.pds, "admin.deleteAccount", As::Admin, json!({ "did": alice.did })).await;
    assert_eq!(deleted.0, 200);
    assert_eq!(of_alice.same(&scene).await.status, 400);
    assert_eq!(of_bob.same(&scene).await.status, 400);
}

#[tokio::test]
async fn a_handle_that_a_region_has_forgotten_is_known_again_by_the_next_read() {
    let Some(scene) = Scene::new().await else { return };
    let alice = scene.user("alice").await;
    scene.put(&alice, "r", "text").await;
    let path = "/xrpc/com.atproto.repo.getRecord?repo=alice.test&collection=com.example.thing&rkey=r";
    scene.hit("weur", path).await;
    let handles = vec!["alice.test".parse().unwrap()];
    let push = link::encode(&HostPush { position: Position(1), handles, server: 1 }).unwrap();
    assert_eq!(say(&scene, FEED_KEY, "/internal/v1/host/weur", &push, now()).await, 200);
    // An isolate goes by what it was told for a second.
    tokio::time::sleep(std::time::Duration::from_millis(1_100)).await;
    assert_eq!(scene.read("weur", path).await.mark, "miss");
    scene.hit("weur", path).await;
}
