//! Asking other servers: which addresses are reached, and how much and how long they may answer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::HeaderMap;
use axum::response::Redirect;
use axum::routing::{any, get};
use futures_util::stream;
use tokio::net::TcpListener;

use super::*;

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(5), body: 1000, redirects: 3 };

async fn peer(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    address
}

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

async fn fetch(client: &Client, text: &str) -> Result<Answer, FetchError> {
    client.get(url(text), "*/*", BOUNDS).await
}

fn endless() -> Body {
    Body::from_stream(stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&[0; 100]))))
}

fn trickle() -> Body {
    Body::from_stream(stream::unfold((), async |()| {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, io::Error>(Bytes::from_static(b".")), ()))
    }))
}

#[test]
fn a_stranger_may_only_name_https_servers_by_name() {
    let client = Client::new(Reach::Public).unwrap();
    let refused = [
        ("http://example.com/", Refusal::Scheme),
        ("ftp://example.com/", Refusal::Scheme),
        ("file:///etc/passwd", Refusal::Scheme),
        ("data:text/plain,hi", Refusal::Scheme),
        ("https://example.com:22/", Refusal::Port),
        ("https://example.com:8443/", Refusal::Port),
        ("https://user@example.com/", Refusal::User),
        ("https://:secret@example.com/", Refusal::User),
        ("https://localhost/", Refusal::Host),
        ("https://localhost./", Refusal::Host),
        ("https://metadata/", Refusal::Host),
        ("https://1.1.1.1/", Refusal::Host),
        ("https://127.1/", Refusal::Host),
        ("https://2130706433/", Refusal::Host),
        ("https://0x7f.1/", Refusal::Host),
        ("https://[::1]/", Refusal::Host),
        ("https://[2606:4700:4700::1111]/", Refusal::Host),
    ];
    for (text, expected) in refused {
        let error = client.request(Method::GET, url(text)).unwrap_err();
        assert!(matches!(error, FetchError::Refused { reason, .. } if reason == expected), "{text}: {error}");
    }
    for text in ["https://example.com/", "https://example.com:443/a?b", "https://example.com:80/"] {
        assert!(client.request(Method::GET, url(text)).is_ok(), "{text}");
    }
}

#[tokio::test]
async fn a_name_with_no_public_address_is_not_connected_to() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let address = peer(Router::new().fallback(any(move || {
        counter.fetch_add(1, Ordering::SeqCst);
        async { "secret" }
    })))
    .await;
    let client = Client::to(Reach::Public, address);
    let error = fetch(&client, "https://rebinding.example.com/").await.unwrap_err();
    assert!(matches!(&error, FetchError::NotPublic { host } if host == "rebinding.example.com"), "{error:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn the_operators_own_servers_are_asked_by_any_address() {
    let address =
        peer(Router::new().route("/", get(async |headers: HeaderMap| headers[ACCEPT].to_str().unwrap().to_owned())))
            .await;
    let client = Client::new(Reach::Anywhere).unwrap();
    for host in ["127.0.0.1", "localhost"] {
        let answer = fetch(&client, &format!("http://{host}:{}/", address.port())).await.unwrap();
        assert_eq!((answer.status, answer.body.as_slice()), (StatusCode::OK, &b"*/*"[..]));
        assert!(answer.content_type.unwrap().starts_with("text/plain"));
    }
    assert!(matches!(fetch(&client, "ftp://localhost/").await, Err(FetchError::Refused { .. })));
}

#[tokio::test]
async fn redirects_are_followed_as_far_as_allowed() {
    let hops = Router::new()
        .route("/3", get(async || Redirect::temporary("/2")))
        .route("/2", get(async || Redirect::permanent("1")))
        .route("/1", get(async || Redirect::to("0")))
        .route("/0", get(async || "there"))
        .route("/loop", get(async || Redirect::to("/loop")))
        .route("/away", get(async || Redirect::to("file:///etc/passwd")))
        .route("/lost", get(async || StatusCode::FOUND));
    let base = format!("http://{}", peer(hops).await);
    let client = Client::new(Reach::Anywhere).unwrap();
    assert_eq!(fetch(&client, &format!("{base}/3")).await.unwrap().body, b"there");
    assert!(matches!(fetch(&client, &format!("{base}/loop")).await, Err(FetchError::Redirects { limit: 3 })));
    assert!(matches!(
        fetch(&client, &format!("{base}/away")).await,
        Err(FetchError::Refused { reason: Refusal::Scheme, .. })
    ));
    assert!(matches!(fetch(&client, &format!("{base}/lost")).await, Err(FetchError::Location)));
    let none = Bounds { redirects: 0, ..BOUNDS };
    let answer = client.get(url(&format!("{base}/3")), "*/*", none).await.unwrap();
    assert_eq!(answer.status, StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn an_answer_is_bounded_in_length_also_when_it_never_ends() {
    let router = Router::new()
        .route("/fits", get(async || vec![0; 1000]))
        .route("/over", get(async || vec![0; 1001]))
        .route("/endless", get(async || endless()));
    let base = format!("http://{}", peer(router).await);
    let client = Client::new(Reach::Anywhere).unwrap();
    assert_eq!(fetch(&client, &format!("{base}/fits")).await.unwrap().body.len(), 1000);
    for path in ["over", "endless"] {
        let error = fetch(&client, &format!("{base}/{path}")).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLarge { limit: 1000 }), "{path}: {error:?}");
    }
}

#[tokio::test]
async fn an_answer_is_bounded_in_time_also_when_it_trickles() {
    let router = Router::new()
        .route("/silent", get(async || std::future::pending::<()>().await))
        .route("/trickle", get(async || trickle()));
    let base = format!("http://{}", peer(router).await);
    let client = Client::new(Reach::Anywhere).unwrap();
    let bounds = Bounds { time: Duration::from_millis(200), ..BOUNDS };
    for path in ["silent", "trickle"] {
        let started = Instant::now();
        let error = client.get(url(&format!("{base}/{path}")), "*/*", bounds).await.unwrap_err();
        assert!(matches!(error, FetchError::Timeout { .. }), "{path}: {error:?}");
        assert!(started.elapsed() < Duration::from_secs(2));
    }
}

#[tokio::test]
async fn nobody_there_is_a_failed_exchange() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = Client::new(Reach::Anywhere).unwrap();
    assert!(matches!(fetch(&client, &format!("http://{address}/")).await, Err(FetchError::Exchange(_))));
}
