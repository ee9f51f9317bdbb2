//! The did:plc directory asked and told, and what becomes of its refusals.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State as Shared;
use axum::http::{Method, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use shared::crypto::{Curve, SigningKey};
use shared::identity::plc::Body;
use shared::syntax::Handle;
use tokio::net::TcpListener;

use super::*;
use crate::fetch::Reach;

/// What a stub answers, and what it was asked.
type Stub = Arc<Mutex<(u16, Value, Vec<String>)>>;

async fn stub(path: &str) -> (Stub, Directory) {
    let stub = Stub::default();
    let router = Router::new().fallback(answer).with_state(Arc::clone(&stub));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}{path}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = Client::new(Reach::Anywhere).unwrap();
    (stub, Directory::new(client, url, Duration::from_secs(2), 10_000))
}

async fn answer(Shared(stub): Shared<Stub>, method: Method, uri: Uri, body: Bytes) -> Response {
    let (status, body) = {
        let mut stub = stub.lock().unwrap();
        stub.2.push(format!("{method} {} {}", uri.path(), String::from_utf8_lossy(&body)));
        (StatusCode::from_u16(stub.0).unwrap(), stub.1.clone())
    };
    (status, Json(body)).into_response()
}

fn will(stub: &Stub, status: u16, body: Value) {
    let mut stub = stub.lock().unwrap();
    (stub.0, stub.1) = (status, body);
}

fn genesis() -> (Did, Operation) {
    let key = SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap();
    let handle = Handle::parse("alice.test").unwrap();
    let state = State::of_account(&[key.public_key()], &key.public_key(), &handle, "https://pds.test");
    let operation = Body::genesis(state).sign(&key);
    (operation.did().unwrap(), operation)
}

#[tokio::test]
async fn questions_go_to_the_paths_of_a_directory() {
    let (stub, directory) = stub("/base/").await;
    let (did, operation) = genesis();
    let state = operation.state().unwrap();

    will(&stub, 200, serde_json::to_value(DidDocument::new(&did, &state)).unwrap());
    assert_eq!(directory.document(&did).await.unwrap().unwrap().pds(), Some("https://pds.test"));
    will(&stub, 200, serde_json::to_value(state.to_data(&did)).unwrap());
    assert_eq!(directory.state(&did).await.unwrap().unwrap(), state);
    will(&stub, 200, serde_json::to_value(operation.to_value()).unwrap());
    assert_eq!(directory.last_operation(&did).await.unwrap().unwrap(), operation);
    will(&stub, 200, json!([]));
    assert_eq!(directory.audit_log(&did).await.unwrap().unwrap(), []);
    will(&stub, 200, json!({}));
    directory.send(&did, &operation).await.unwrap();

    let asked = stub.lock().unwrap().2.clone();
    let base = format!("/base/{did}");
    assert_eq!(asked[0], format!("GET {base} "));
    assert_eq!(asked[1], format!("GET {base}/data "));
    assert_eq!(asked[2], format!("GET {base}/log/last "));
    assert_eq!(asked[3], format!("GET {base}/log/audit "));
    let sent = asked[4].strip_prefix(&format!("POST {base} ")).unwrap();
    let sent = Operation::from_value(json::parse(sent.as_bytes()).unwrap()).unwrap();
    assert_eq!(sent, operation);
}

#[tokio::test]
async fn an_unknown_or_ended_did_is_no_error() {
    let (stub, directory) = stub("").await;
    for status in [404, 410] {
        will(&stub, status, json!({"message": "not here"}));
        assert!(directory.document(&genesis().0).await.unwrap().is_none());
        assert!(directory.state(&genesis().0).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn refusing_and_failing_are_told_apart() {
    let (stub, directory) = stub("").await;
    let (did, operation) = genesis();
    will(&stub, 400, json!({"message": "Invalid prev"}));
    let error = directory.send(&did, &operation).await.unwrap_err();
    assert!(matches!(&error, DirectoryError::Refused { status: 400, message: Some(text) } if text == "Invalid prev"));
    will(&stub, 404, json!("no"));
    let error = directory.send(&did, &operation).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Refused { status: 404, message: None }));
    will(&stub, 503, json!({"message": "down"}));
    let error = directory.send(&did, &operation).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Failed { status: 503 }));
    let error = directory.document(&did).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Failed { status: 503 }));
}

#[tokio::test]
async fn an_answer_about_something_else_is_not_believed() {
    let (stub, directory) = stub("").await;
    let (did, operation) = genesis();
    will(&stub, 200, json!({"id": "did:plc:7iza6de2dwap2sbkpav7c6c6"}));
    assert!(matches!(directory.document(&did).await, Err(DirectoryError::Document(_))));
    will(&stub, 200, json!({"id": did, "filler": "x".repeat(10_000)}));
    assert!(matches!(directory.document(&did).await, Err(DirectoryError::Fetch(FetchError::TooLarge { .. }))));
    will(&stub, 200, json!({"did": "did:plc:7iza6de2dwap2sbkpav7c6c6"}));
    assert!(matches!(directory.state(&did).await, Err(DirectoryError::Answer)));
    let web = Did::parse("did:web:example.com").unwrap();
    assert!(matches!(directory.document(&web).await, Err(DirectoryError::NotPlc { .. })));
    assert!(matches!(directory.send(&web, &operation).await, Err(DirectoryError::NotPlc { .. })));
    will(&stub, 302, json!({}));
    assert!(matches!(directory.document(&did).await, Err(DirectoryError::Refused { status: 302, .. })));
}
