//! The origin by itself: it answers, it errs in one form, it stops.

use reqwest::StatusCode;
use serde_json::{Value, json};
use tests::Pds;

#[tokio::test]
async fn the_health_check_answers_with_the_version() {
    let pds = Pds::start().await;
    let answer = reqwest::get(pds.url("/xrpc/_health")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "version": env!("CARGO_PKG_VERSION") }));
}

#[tokio::test]
async fn every_error_is_an_xrpc_envelope() {
    let pds = Pds::start().await;
    let client = reqwest::Client::new();
    let cases = [
        (client.get(pds.url("/xrpc/com.example.unknown")), 400, "InvalidRequest"),
        (client.get(pds.url("/nothing/here")), 404, "NotFound"),
        (client.post(pds.url("/xrpc/_health")), 405, "InvalidRequest"),
    ];
    for (request, status, name) in cases {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{name}");
        assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], name);
        assert!(body["message"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn a_stopped_server_answers_no_more() {
    let pds = Pds::start().await;
    let url = pds.url("/xrpc/_health");
    reqwest::get(&url).await.unwrap();
    pds.stop().await;
    assert!(reqwest::get(&url).await.unwrap_err().is_connect());
}
