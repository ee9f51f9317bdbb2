//! Cross-origin requests: any web page may ask anything and read the answer.
//!
//! That is safe because nothing here goes by cookies: whoever asks must bring their own credentials. What a page may read
//! beside the usual headers are those that clients of the protocol go by.
//!
//! Specification: <https://atproto.com/specs/xrpc>, <https://fetch.spec.whatwg.org/#http-cors-protocol>.

use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, CONTENT_LENGTH, VARY,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// Headers that a page may read where an answer has them.
const EXPOSED: [&str; 11] = [
    "dpop-nonce",
    "www-authenticate",
    "ratelimit-limit",
    "ratelimit-remaining",
    "ratelimit-reset",
    "ratelimit-policy",
    "retry-after",
    "atproto-repo-rev",
    "atproto-content-labelers",
    "atproto-upstream-lag",
    "etag",
];

/// Answers a browser that asks beforehand, and opens every other answer to pages.
pub(super) async fn apply(request: Request, next: Next) -> Response {
    if *request.method() == Method::OPTIONS {
        return preflight(request.headers());
    }
    let mut answer = next.run(request).await;
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    let exposed: Vec<_> = EXPOSED.into_iter().filter(|name| headers.contains_key(*name)).collect();
    if let (false, Ok(names)) = (exposed.is_empty(), HeaderValue::try_from(exposed.join(","))) {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names);
    }
    answer
}

fn preflight(asked: &HeaderMap) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE"));
    headers.insert(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    if let Some(wanted) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted.clone());
    }
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    (StatusCode::NO_CONTENT, headers).into_response()
}
