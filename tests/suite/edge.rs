//! The Worker on workerd: in front of the real origin, in front of none, and in front of one that shows what passed.

mod accounts;
mod attack;
mod firehose;
mod fresh;
mod metrics;
mod paused;
mod reads;
mod scene;
mod survival;

use std::convert::Infallible;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{AppendHeaders, IntoResponse};
use axum::routing::{any, get, post};
use futures_util::{SinkExt as _, Stream, StreamExt as _, stream};
use reqwest::redirect::Policy;
use serde_json::{Value, json};
use tests::{Edge, Pds, serve};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite;

#[tokio::test]
async fn the_origin_answers_through_the_edge() {
    let pds = Pds::start().await;
    let Some(edge) = Edge::start(&pds.url("")).await else { return };
    let answer = reqwest::get(edge.url("/xrpc/_health")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert_eq!(answer.headers()["x-edge"], "forward");
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "version": env!("CARGO_PKG_VERSION") }));

    let unknown = reqwest::get(edge.url("/xrpc/com.example.unknown")).await.unwrap();
    assert_eq!(unknown.status(), StatusCode::BAD_REQUEST);
    assert_eq!(unknown.json::<Value>().await.unwrap()["error"], "InvalidRequest");
}

#[tokio::test]
async fn an_origin_that_is_away_is_a_503_that_says_when_to_try_again() {
    // A port that was just free: nothing listens there.
    let away = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let Some(edge) = Edge::start(&format!("http://{away}")).await else { return };
    let answer = reqwest::get(edge.url("/xrpc/_health")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.headers()["retry-after"], "5");
    assert_eq!(answer.headers()["content-type"], "application/json");
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"], "NotEnoughResources");
    assert!(body["message"].is_string(), "{body}");
}

#[tokio::test]
async fn an_origin_that_comes_back_is_used_at_once() {
    let first = Pds::start().await;
    let Some(edge) = Edge::start(&first.url("")).await else { return };
    let health = edge.url("/xrpc/_health");
    assert_eq!(reqwest::get(&health).await.unwrap().status(), StatusCode::OK);
    let address = first.url("").replace("http://", "").parse().unwrap();
    first.stop().await;
    assert_eq!(reqwest::get(&health).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
    let _second = Pds::start_on(address).await;
    assert_eq!(reqwest::get(&health).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn nothing_is_left_behind_by_an_edge_that_ends() {
    let Some(edge) = Edge::start("http://127.0.0.1:9").await else { return };
    let url = edge.url("/");
    assert!(reqwest::get(&url).await.is_ok());
    drop(edge);
    assert!(reqwest::get(&url).await.unwrap_err().is_connect());
}

#[tokio::test]
async fn internal_paths_do_not_exist_in_public() {
    let origin = serve(Router::new().fallback(any(|| async { "the origin was asked" }))).await;
    let Some(edge) = Edge::start(&origin).await else { return };
    for path in ["/internal/v1/push", "/%69nternal/v1/push", "/x/../internal/v1/push"] {
        // A client that writes the path as it is given: the usual ones tidy it first.
        let answer = raw_get(&edge, path).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{path}: {answer}");
        assert!(answer.contains("\"error\":\"NotFound\""), "{path}: {answer}");
    }
}

/// An origin that answers with what it was asked.
async fn mirror(request: Request) -> impl IntoResponse {
    let (method, uri) = (request.method().to_string(), request.uri().to_string());
    let headers: Vec<_> =
        request.headers().iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
    axum::Json(json!({ "method": method, "uri": uri, "headers": headers, "length": body.len() }))
}

#[tokio::test]
async fn method_query_headers_and_body_reach_the_origin_unchanged() {
    let origin = serve(Router::new().fallback(any(mirror))).await;
    let Some(edge) = Edge::start(&origin).await else { return };
    let client = reqwest::Client::new();
    let sent = client
        .post(edge.url("/xrpc/com.example.call?b=%2F&b=+&%c3%a9&empty="))
        .header("authorization", "DPoP x.y.z")
        .header("dpop", "a.b.c")
        .header("atproto-proxy", "did:web:example.com#service")
        .body(vec![7; 300_000])
        .send();
    let seen: Value = sent.await.unwrap().json().await.unwrap();
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["uri"], "/xrpc/com.example.call?b=%2F&b=+&%c3%a9&empty=");
    assert_eq!(seen["length"], 300_000);
    for header in [
        json!(["authorization", "DPoP x.y.z"]),
        json!(["dpop", "a.b.c"]),
        json!(["atproto-proxy", "did:web:example.com#service"]),
        json!(["content-length", "300000"]),
    ] {
        assert!(seen["headers"].as_array().unwrap().contains(&header), "{header} in {seen}");
    }
}

#[tokio::test]
async fn status_headers_and_body_come_back_unchanged() {
    let app = Router::new()
        .route("/moved", get(|| async { (StatusCode::FOUND, [("location", "/elsewhere")]) }))
        .route("/unchanged", get(|| async { (StatusCode::NOT_MODIFIED, [("etag", "\"x\"")]) }))
        .route("/limited", get(|| async { (StatusCode::TOO_MANY_REQUESTS, "slow down") }))
        .route("/cookies", get(|| async { AppendHeaders([("set-cookie", "a=1"), ("set-cookie", "b=2")]) }))
        .route("/sized", get(|| async { vec![1_u8; 70_000] }))
        // A gzip stream by its magic number; the bytes must pass as they are.
        .route("/gzip", get(|| async { ([("content-encoding", "gzip")], GZIP_OF_HELLO) }));
    let origin = serve(app).await;
    let Some(edge) = Edge::start(&origin).await else { return };
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let get = |path: &str| client.get(edge.url(path)).send();

    let moved = get("/moved").await.unwrap();
    assert_eq!((moved.status(), &moved.headers()["location"]), (StatusCode::FOUND, &"/elsewhere".parse().unwrap()));
    let unchanged = get("/unchanged").await.unwrap();
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(unchanged.headers()["etag"], "\"x\"");
    let limited = get("/limited").await.unwrap();
    assert_eq!(limited.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.text().await.unwrap(), "slow down");
    let cookies = get("/cookies").await.unwrap();
    assert_eq!(cookies.headers().get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    let sized = get("/sized").await.unwrap();
    assert_eq!(sized.headers()["content-length"], "70000");
    assert_eq!(sized.bytes().await.unwrap(), vec![1; 70_000]);
    let head = client.head(edge.url("/sized")).send().await.unwrap();
    assert_eq!((head.status(), &head.headers()["content-length"]), (StatusCode::OK, &"70000".parse().unwrap()));
    let gzip = client.get(edge.url("/gzip")).header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(gzip.headers()["content-encoding"], "gzip");
    assert_eq!(gzip.bytes().await.unwrap(), GZIP_OF_HELLO);
}

/// `hello`, compressed.
const GZIP_OF_HELLO: &[u8] = &[
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x86, 0xa6,
    0x10, 0x36, 0x05, 0x00, 0x00, 0x00,
];

#[tokio::test]
async fn bodies_stream_both_ways() {
    // Each half is sent only once the other side has seen the one before: a buffered body would wait forever.
    let (seen_by_origin, mut origin_saw) = mpsc::unbounded_channel();
    let upload = post(move |request: Request| async move {
        let mut body = request.into_body().into_data_stream();
        while let Some(Ok(part)) = body.next().await {
            seen_by_origin.send(part).unwrap();
        }
    });
    let (to_client, download_parts) = parts();
    let download_parts = Arc::new(Mutex::new(Some(download_parts)));
    let download = get(move || async move { Body::from_stream(download_parts.lock().unwrap().take().unwrap()) });
    let origin = serve(Router::new().route("/up", upload).route("/down", download)).await;
    let Some(edge) = Edge::start(&origin).await else { return };
    let client = reqwest::Client::new();

    let (to_origin, body) = parts();
    let sent = tokio::spawn(client.post(edge.url("/up")).body(reqwest::Body::wrap_stream(body)).send());
    for text in ["first", "second"] {
        to_origin.send(text).unwrap();
        assert_eq!(in_time(origin_saw.recv()).await.unwrap(), text);
    }
    drop(to_origin);
    assert_eq!(in_time(sent).await.unwrap().unwrap().status(), StatusCode::OK);

    to_client.send("first").unwrap();
    let mut answer = in_time(client.get(edge.url("/down")).send()).await.unwrap();
    assert_eq!(in_time(answer.chunk()).await.unwrap().unwrap(), "first");
    to_client.send("second").unwrap();
    assert_eq!(in_time(answer.chunk()).await.unwrap().unwrap(), "second");
    drop(to_client);
    assert_eq!(in_time(answer.chunk()).await.unwrap(), None);
}

#[tokio::test]
async fn web_sockets_pass_through_frame_by_frame() {
    let echo = |upgrade: WebSocketUpgrade, headers: HeaderMap| async move {
        assert_eq!(headers["upgrade"], "websocket");
        upgrade.on_upgrade(|mut socket| async move {
            while let Some(Ok(Message::Binary(frame))) = socket.recv().await {
                socket.send(Message::Binary(frame)).await.unwrap();
            }
        })
    };
    let origin = serve(Router::new().route("/socket", get(echo))).await;
    let Some(edge) = Edge::start(&origin).await else { return };
    let url = edge.url("/socket?cursor=1").replace("http://", "ws://");
    let (mut socket, _) = in_time(tokio_tungstenite::connect_async(url)).await.unwrap();
    for size in [0, 1, 100_000] {
        let frame = tungstenite::Message::Binary(vec![9; size].into());
        socket.send(frame.clone()).await.unwrap();
        assert_eq!(in_time(socket.next()).await.unwrap().unwrap(), frame);
    }
}

/// A body that is sent part by part, and ends when the sender is dropped.
fn parts() -> (mpsc::UnboundedSender<&'static str>, impl Stream<Item = Result<Bytes, Infallible>> + Send + 'static) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let stream = stream::unfold(receiver, |mut receiver| async {
        let part: &'static str = receiver.recv().await?;
        Some((Ok(Bytes::from(part)), receiver))
    });
    (sender, stream)
}

/// What `future` gives, which has to come soon.
async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.unwrap()
}

/// The answer to a GET of exactly `path`, head and body.
async fn raw_get(edge: &Edge, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let address = edge.url("").replace("http://", "");
    let mut stream = tokio::net::TcpStream::connect(&address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    // The server keeps the connection open; the JSON body's end is the answer's.
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        assert!(in_time(stream.read_buf(&mut answer)).await.unwrap() > 0, "{}", String::from_utf8_lossy(&answer));
    }
    String::from_utf8(answer).unwrap()
}
