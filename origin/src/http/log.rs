//! One line in the log for each request, and a name for it that the answer carries.
//!
//! The line says what was asked, from where, what came of it and how long it took until the answer began. Nothing that
//! may be secret is in it: no query, no header, no body. A failed request's line has the error's name and, where it is
//! our own fault, what led to it.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::Response;
use data_encoding::HEXLOWER;

use crate::app::App;
use crate::client_address::Client;
use crate::error::XrpcError;
use crate::random;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the names of this process's requests begin with.
static PROCESS: LazyLock<String> = LazyLock::new(|| HEXLOWER.encode(&random::bytes::<4>()));
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// Answers a request, and logs it.
pub(super) async fn request(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = format!("{}-{}", *PROCESS, REQUESTS.fetch_add(1, Ordering::Relaxed));
    let known = Client::of(app.config(), &request);
    let client = known.address;
    request.extensions_mut().insert(known);
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut answer = next.run(request).await;
    weaken_tag(&mut answer);
    let (path, status) = (uri.path(), answer.status().as_u16());
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    match XrpcError::of(&answer) {
        None => tracing::info!(id, %method, path, status, micros, %client, "request"),
        Some(error) if status < 500 => {
            tracing::info!(id, %method, path, status, micros, %client, error = error.name(), reason = %error, "request");
        }
        Some(error) => {
            tracing::error!(id, %method, path, status, micros, %client, error = error.name(), reason = %error, "request");
        }
    }
    if let Ok(id) = HeaderValue::try_from(id) {
        answer.headers_mut().insert(REQUEST_ID, id);
    }
    answer
}

/// Two encodings of one answer are not the same bytes, so what names both is a weak tag (RFC 9110, section 8.8.1).
fn weaken_tag(answer: &mut Response) {
    let headers = answer.headers_mut();
    if !headers.contains_key(header::CONTENT_ENCODING) {
        return;
    }
    let strong = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| tag.starts_with('"'));
    let weak = strong.and_then(|tag| HeaderValue::try_from(format!("W/{tag}")).ok());
    if let Some(tag) = weak {
        headers.insert(header::ETAG, tag);
    }
}
