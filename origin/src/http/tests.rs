//! The pages beside the methods, what browsers ask beforehand, and the form of every other answer.

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use tower::ServiceExt as _;

use super::*;
use crate::config::Config;

fn app() -> (App, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().unwrap();
    let variables = [("PDS_DATA_DIRECTORY", path), ("PDS_VERSION", "7"), ("PDS_SERVICE_HANDLE_DOMAINS", ".pds.test")];
    (App::open(Config::from_variables(variables).unwrap()).unwrap(), directory)
}

async fn ask(app: &App, method: &str, path: &str, headers: &[(&str, &str)]) -> (Response, String) {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(Body::empty()).unwrap();
    request.extensions_mut().insert(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))));
    let answer = router(app.clone()).oneshot(request).await.unwrap();
    let (parts, body) = answer.into_parts();
    let body = axum::body::to_bytes(body, 100_000).await.unwrap();
    (Response::from_parts(parts, Body::empty()), String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn a_browser_that_asks_beforehand_may_send_whatever_it_says() {
    let (app, _directory) = app();
    let asked = [("origin", "https://x.test"), ("access-control-request-headers", "authorization,dpop")];
    for path in ["/xrpc/com.atproto.repo.createRecord", "/nothing"] {
        let (answer, body) = ask(&app, "OPTIONS", path, &asked).await;
        assert_eq!((answer.status(), body.as_str()), (StatusCode::NO_CONTENT, ""));
        for (name, value) in [
            ("access-control-allow-origin", "*"),
            ("access-control-allow-methods", "GET,HEAD,PUT,PATCH,POST,DELETE"),
            ("access-control-allow-headers", "authorization,dpop"),
            ("access-control-max-age", "86400"),
            ("vary", "Access-Control-Request-Headers"),
        ] {
            assert_eq!(answer.headers()[name], value, "{name}");
        }
    }
    let (answer, _) = ask(&app, "GET", "/xrpc/com.atproto.server.describeServer", &[]).await;
    assert_eq!(answer.headers()["access-control-allow-origin"], "*");
    assert_eq!(answer.headers()["access-control-expose-headers"], "etag");
    assert!(answer.headers().contains_key("x-request-id"));
}

#[tokio::test]
async fn the_pages_answer_and_every_other_path_errs_in_one_form() {
    let (app, _directory) = app();
    for (path, text) in [
        ("/xrpc/_health", r#"{"version":"7"}"#),
        ("/xrpc/_live", r#"{"version":"7"}"#),
        ("/robots.txt", "User-agent: *"),
        ("/", "AT Protocol"),
        ("/tls-check?domain=localhost", r#"{"success":true}"#),
    ] {
        let (answer, body) = ask(&app, "GET", path, &[]).await;
        assert!(answer.status() == StatusCode::OK && body.contains(text), "{path}: {body}");
    }
    for (path, status, name) in [
        ("/nothing", 404, "NotFound"),
        ("/xrpc", 404, "NotFound"),
        ("/xrpc/", 400, "InvalidRequest"),
        ("/xrpc/a/b", 400, "InvalidRequest"),
        ("/tls-check", 400, "InvalidRequest"),
        ("/tls-check?domain=alice.other.test", 400, "InvalidRequest"),
        ("/tls-check?domain=alice.pds.test", 404, "NotFound"),
    ] {
        let (answer, body) = ask(&app, "GET", path, &[]).await;
        assert_eq!(answer.status().as_u16(), status, "{path}");
        assert!(body.starts_with(&format!(r#"{{"error":"{name}","message":"#)), "{path}: {body}");
    }
}

#[tokio::test]
async fn a_host_that_is_no_handle_here_has_no_did() {
    let (app, _directory) = app();
    for host in ["alice.pds.test", "pds.test", "other.test", "not a host"] {
        let (answer, body) = ask(&app, "GET", "/.well-known/atproto-did", &[("host", host)]).await;
        assert_eq!((answer.status(), body.as_str()), (StatusCode::NOT_FOUND, "User not found"), "{host}");
    }
}

#[tokio::test]
async fn a_server_without_its_database_is_alive_and_not_well() {
    let (app, directory) = app();
    let accounts = rusqlite::Connection::open(directory.path().join("account.sqlite")).unwrap();
    accounts.execute("ALTER TABLE actor RENAME TO lost", []).unwrap();
    let (answer, body) = ask(&app, "GET", "/xrpc/_health", &[]).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body, r#"{"version":"7","error":"Service Unavailable"}"#);
    assert_eq!(ask(&app, "GET", "/xrpc/_live", &[]).await.0.status(), StatusCode::OK);
}
