//! What is not here and is had from the application view: foreign records, foreign handles.

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse as _;
use axum::routing::get;
use serde_json::{Value, json};
use tests::{Pds, Plc};

use crate::client::{As, User, refusal};

const FOREIGN: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";

/// An application view that shows what it was asked, and fails where the record's key says so.
async fn view() -> String {
    let record = get(|uri: axum::http::Uri, headers: HeaderMap| async move {
        let query = uri.query().unwrap_or_default().to_owned();
        let failed = |status, error| (status, axum::Json(json!({ "error": error, "message": "no" }))).into_response();
        if query.contains("rkey=broken") {
            return failed(StatusCode::INTERNAL_SERVER_ERROR, "Broken");
        }
        if query.contains("rkey=missing") {
            return failed(StatusCode::BAD_REQUEST, "RecordNotFound");
        }
        if query.contains("rkey=large") {
            return vec![b'x'; 3000].into_response();
        }
        let seen: Vec<_> = headers.keys().map(|name| name.as_str().to_owned()).collect();
        let body = axum::Json(json!({ "query": query, "headers": seen }));
        ([("atproto-repo-rev", "rev"), ("set-cookie", "no")], body).into_response()
    });
    let handle = get(|uri: axum::http::Uri| async move {
        match uri.query() {
            Some("handle=known.example.com") => axum::Json(json!({ "did": FOREIGN })).into_response(),
            _ => StatusCode::BAD_REQUEST.into_response(),
        }
    });
    let router = Router::new()
        .route("/xrpc/com.atproto.repo.getRecord", record)
        .route("/xrpc/com.atproto.identity.resolveHandle", handle);
    tests::serve(router).await
}

#[tokio::test]
async fn a_foreign_record_is_the_application_views_to_show() {
    let (plc, view) = (Plc::start().await, view().await);
    let more = [
        ("PDS_BSKY_APP_VIEW_URL", view.as_str()),
        ("PDS_BSKY_APP_VIEW_DID", "did:web:view.test"),
        ("PDS_PROXY_MAX_RESPONSE_SIZE", "2000"),
    ];
    let pds = Pds::start_open_with(&plc, &more).await;
    let alice = User::new(&pds, "alice").await;
    let url = pds.url("/xrpc/com.atproto.repo.getRecord");
    let ask = |repo: &str, rkey: &str| {
        let params = [("repo", repo), ("collection", "app.bsky.feed.post"), ("rkey", rkey)];
        let request = reqwest::Client::new().get(&url).query(&params).bearer_auth("secret").header("cookie", "secret");
        request.header("accept-language", "de").send()
    };
    let answer = ask(FOREIGN, "one").await.unwrap();
    assert_eq!((answer.status().as_u16(), &answer.headers()["atproto-repo-rev"]), (200, &"rev".parse().unwrap()));
    assert!(answer.headers().get("set-cookie").is_none());
    let seen: Value = answer.json().await.unwrap();
    assert!(seen["query"].as_str().unwrap().contains("rkey=one"), "{seen}");
    let headers = seen["headers"].as_array().unwrap();
    assert!(headers.contains(&json!("accept-language")), "{seen}");
    assert!(!headers.contains(&json!("authorization")) && !headers.contains(&json!("cookie")), "{seen}");
    for (repo, rkey, status, error) in [
        (FOREIGN, "broken", 502, "Broken"),
        (FOREIGN, "missing", 400, "RecordNotFound"),
        // One that is here is never asked for elsewhere.
        (alice.did.as_str(), "one", 400, "RecordNotFound"),
    ] {
        let answer = ask(repo, rkey).await.unwrap();
        let answer = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!(refusal(&answer), (status, error), "{rkey}");
    }
    // Too large to be passed on: the caller sees that it did not end well.
    assert!(match ask(FOREIGN, "large").await {
        Ok(answer) => answer.bytes().await.is_err(),
        Err(_) => true,
    });

    let known = [("handle", "known.example.com")];
    let (status, body) = crate::client::get(&pds, "identity.resolveHandle", As::Nobody, &known).await;
    assert_eq!((status, body), (200, json!({ "did": FOREIGN })));
    let other = [("handle", "other.example.com")];
    let refused = crate::client::get(&pds, "identity.resolveHandle", As::Nobody, &other).await;
    assert_eq!(refusal(&refused), (400, "InvalidRequest"));
}

#[tokio::test]
async fn an_application_view_that_is_away_is_a_502() {
    let plc = Plc::start().await;
    let more = [("PDS_BSKY_APP_VIEW_URL", "http://127.0.0.1:1"), ("PDS_BSKY_APP_VIEW_DID", "did:web:view.test")];
    let pds = Pds::start_open_with(&plc, &more).await;
    let params = [("repo", FOREIGN), ("collection", "app.bsky.feed.post"), ("rkey", "one")];
    let refused = crate::client::get(&pds, "repo.getRecord", As::Nobody, &params).await;
    assert_eq!(refusal(&refused), (502, "UpstreamFailure"));
    let params = [("handle", "known.example.com")];
    let refused = crate::client::get(&pds, "identity.resolveHandle", As::Nobody, &params).await;
    assert_eq!(refusal(&refused), (400, "InvalidRequest"));
}
