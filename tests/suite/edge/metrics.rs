//! What the operator scrapes.

use reqwest::Client;
use tests::serve;

use super::scene::{METRICS_TOKEN, REGIONS, Scene, Weather, start_edge};

#[tokio::test]
async fn counters_are_for_who_brings_the_token_and_say_what_happened() {
    let Some(scene) = Scene::with(1_000, &[]).await else { return };
    let url = scene.edge.url("/_edge/metrics");
    let told = async |token: &str| {
        let answer = Client::new().get(&url).header("authorization", token).send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    let nothing = Client::new().get(scene.edge.url("/internal/v1/nothing")).send().await.unwrap();
    let nothing = (nothing.status().as_u16(), nothing.text().await.unwrap());
    assert_eq!(nothing.0, 404);
    let bare = Client::new().get(&url).send().await.unwrap();
    assert_eq!((bare.status().as_u16(), bare.text().await.unwrap()), nothing);
    let longer = format!("Bearer {METRICS_TOKEN}x");
    for token in ["", "Bearer ", "Bearer x", METRICS_TOKEN, &longer, &format!("Basic {METRICS_TOKEN}")] {
        assert_eq!(told(token).await, nothing, "{token}");
    }

    let before = scene.metrics().await;
    let alice = scene.user("alice").await;
    let path = format!("/xrpc/com.atproto.repo.getRecord?repo={}&collection=com.example.thing&rkey=r", alice.did);
    scene.put(&alice, "r", "x").await;
    for region in REGIONS {
        assert_eq!(scene.read(region, &path).await.mark, "miss");
        scene.hit(region, &path).await;
    }
    for _ in 0..10 {
        assert_eq!(scene.read("weur", &path).await.mark, "hit");
    }
    assert_eq!(scene.read("weur", "/xrpc/_health").await.mark, "forward");
    scene.put(&alice, "r", "y").await;
    let blob = scene.upload(&alice, vec![1; 1_000]).await;
    let record = serde_json::json!({ "picture": blob });
    let input =
        serde_json::json!({ "repo": alice.did, "collection": "com.example.thing", "rkey": "p", "record": record });
    assert_eq!(crate::client::post(&scene.pds, "repo.putRecord", alice.token(), input).await.0, 200);
    let cid = blob["ref"]["$link"].as_str().unwrap();
    scene.hit("weur", &format!("/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", alice.did)).await;
    scene.pushes.set(Weather::Dropped("/internal/"));
    scene.put(&alice, "r", "z").await;
    scene.pushes.set(Weather::Fair);
    let after = scene.metrics().await;
    let more = |name: &str| after[name] - before[name];
    assert!(more("hits") >= 13, "{after:?}");
    assert!(more("misses") >= 3 && more("forwards") >= 1, "{after:?}");
    // Each region's replica was filled once, however many readers missed it meanwhile.
    assert_eq!((more("fills"), more("failed_fills")), (3, 0), "{after:?}");
    // One for each region and write.
    assert!(more("pushes") >= 6, "{after:?}");
    assert_eq!((more("copied_blobs"), more("errors")), (1, 0), "{after:?}");

    scene.origin.set(Weather::Away);
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    scene.read("weur", &path).await;
    let stale = scene.read("weur", &path).await;
    assert_eq!((stale.status, stale.mark.as_str()), (200, "stale"));
    assert!(scene.metrics().await["stale"] > after["stale"]);
    let text = told(&format!("Bearer {METRICS_TOKEN}")).await.1;
    for region in REGIONS {
        assert!(text.contains(&format!("headwater_edge_hits_total{{region=\"{region}\"}} ")), "{text}");
    }
    // One isolate has all objects here.
    let memory = scene.metrics().await["wasm_memory_bytes"] / REGIONS.len() as u64;
    assert!(memory > 1_000_000 && memory < 128_000_000 && memory.is_multiple_of(65_536), "{memory}");
    // Nobody's name is in it.
    assert!(!text.contains("did:") && !text.contains("alice"), "{text}");
}

#[tokio::test]
async fn without_a_token_there_are_no_counters_and_a_client_that_asks_too_often_is_told_so() {
    let origin = serve(axum::Router::new().fallback(axum::routing::any(|| async { "the origin" }))).await;
    let kept = tempfile::tempdir().unwrap();
    let more = [("EDGE_METRICS_TOKEN", ""), ("EDGE_LIMIT_PER_MINUTE", "10")];
    let Some(edge) = start_edge(0, &origin, kept.path(), &more).await else { return };
    let get = async |path: &str, bearer: &str| {
        Client::new().get(edge.url(path)).bearer_auth(bearer).send().await.unwrap().status().as_u16()
    };
    for token in ["", METRICS_TOKEN] {
        assert_eq!(get("/_edge/metrics", token).await, 404, "{token}");
    }
    let read = "/xrpc/com.atproto.sync.getLatestCommit?did=did:plc:abcdefghijklmnopqrstuvwx";
    let mut statuses = Vec::new();
    for _ in 0..15 {
        let answer = Client::new().get(edge.url(read)).send().await.unwrap();
        if answer.status() == 429 {
            assert!(answer.headers().contains_key("retry-after"));
        }
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses[..10], [200; 10]);
    assert!(statuses[12..].iter().all(|status| *status == 429), "{statuses:?}");
    // What is the origin's to answer, it limits itself.
    assert_eq!(get("/xrpc/com.atproto.identity.resolveHandle?handle=a.test", "x").await, 200);
    assert_eq!(get("/xrpc/com.atproto.sync.listRepos", "x").await, 200);
}
