//! Relays, as the server tells them that there is something new.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use tests::{Pds, Plc};
use tokio::time::{sleep, timeout};

/// A relay that notes what it is told.
async fn relay() -> (String, Arc<Mutex<Vec<String>>>) {
    let told = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&told);
    let hear = move |body: String| async move { noted.lock().unwrap().push(body) };
    (tests::serve(Router::new().route("/xrpc/com.atproto.sync.requestCrawl", post(hear))).await, told)
}

#[tokio::test]
async fn relays_are_asked_to_crawl_when_the_server_answers() {
    let (url, told) = relay().await;
    let plc = Plc::start().await;
    let blobs = tempfile::tempdir().unwrap();
    let pds = Pds::start_open_with(
        &plc,
        &[
            ("PDS_CRAWLERS", &url),
            ("PDS_HOSTNAME", "pds.example.com"),
            ("PDS_JWT_SECRET", "a secret that is long enough to be one"),
            ("PDS_ADMIN_PASSWORD", "another"),
            ("PDS_PLC_ROTATION_KEY_K256_PRIVATE_KEY_HEX", &"01".repeat(32)),
            ("PDS_BLOBSTORE_DISK_LOCATION", blobs.path().to_str().unwrap()),
        ],
    )
    .await;
    let heard = async {
        while told.lock().unwrap().is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), heard).await.unwrap();
    assert_eq!(*told.lock().unwrap(), [r#"{"hostname":"pds.example.com"}"#]);
    assert_eq!(reqwest::get(pds.url("/xrpc/_health")).await.unwrap().status(), 200);
    pds.stop().await;
}

#[tokio::test]
async fn nobody_is_told_of_a_server_that_only_this_machine_reaches() {
    let (url, told) = relay().await;
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[("PDS_CRAWLERS", &url)]).await;
    crate::account::sign_up(&pds, "alice").await;
    sleep(Duration::from_millis(500)).await;
    assert!(told.lock().unwrap().is_empty());
}
