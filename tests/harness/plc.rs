//! A did:plc directory that answers as plc.directory does, for tests and for a development set-up without network.
//!
//! It verifies every operation and keeps every one it took, with forks, recovery windows and rate limits; what
//! plc.directory refuses it refuses, in the same words. It differs in time only: no two operations are taken in the
//! same millisecond, so that both orders of `/export` are the same, and a test can move its clock on with
//! [`Plc::advance`]. `/export/stream` and the administrator's method are left out. [`Plc::suffer`] has it fail.
//!
//! [`Plc`] runs in the test's process. The binary `plc` is the same on a file.

mod directory;
mod refusal;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::json;
use shared::data;
use shared::identity::DidDocument;
use shared::identity::plc::Operation;

pub use directory::Directory;
use directory::{After, Registered};
use refusal::Refusal;

/// The largest body that is read, in bytes.
const MAX_BODY_LEN: usize = 100 * 1024;
/// How many lines `/export` answers with, at most and if not told otherwise.
const MAX_EXPORT: usize = 1000;

/// A running directory, empty when it starts. It answers for as long as the test's runtime lives.
#[derive(Debug)]
pub struct Plc {
    url: String,
    directory: Arc<Directory>,
    mishap: Arc<Mutex<Option<Mishap>>>,
}

/// What happens to what is sent to a directory, operations that is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// They are not taken, and that is answered with a 503.
    Lost,
    /// They are taken, and answered with a 503.
    Unanswered,
    /// They are taken, and that and whatever else is asked is answered with a 503.
    Dark,
    /// They are taken after this long.
    Late(Duration),
}

impl Plc {
    /// Starts a directory that keeps its log in memory.
    pub async fn start() -> Self {
        let directory = Arc::new(Directory::in_memory().unwrap());
        let mishap = Arc::default();
        let befall = middleware::from_fn_with_state(Arc::clone(&mishap), befall);
        let url = crate::serve(router(Arc::clone(&directory)).layer(befall)).await;
        Self { url, directory, mishap }
    }

    /// Lets this happen to every operation that is sent from now on.
    pub fn suffer(&self, mishap: Option<Mishap>) {
        *self.mishap.lock().unwrap_or_else(PoisonError::into_inner) = mishap;
    }

    /// The directory's URL with `path`, which starts with a slash or is empty.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// Moves the directory's clock on, past the end of a recovery window or a rate limit.
    pub fn advance(&self, time: Duration) {
        self.directory.advance(time);
    }
}

async fn befall(State(mishap): State<Arc<Mutex<Option<Mishap>>>>, request: Request, next: Next) -> Response {
    let mishap = *mishap.lock().unwrap_or_else(PoisonError::into_inner);
    match mishap.filter(|mishap| request.method() == Method::POST || *mishap == Mishap::Dark) {
        None => next.run(request).await,
        Some(Mishap::Lost) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        Some(Mishap::Unanswered | Mishap::Dark) => {
            let _unanswered = next.run(request).await;
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Some(Mishap::Late(by)) => {
            tokio::time::sleep(by).await;
            next.run(request).await
        }
    }
}

/// The routes of a directory.
pub fn router(directory: Arc<Directory>) -> Router {
    Router::new()
        .route("/_health", get(health))
        .route("/export", get(export))
        .route("/{did}", get(document).post(submit))
        .route("/{did}/data", get(plc_data))
        .route("/{did}/log", get(log))
        .route("/{did}/log/audit", get(audit_log))
        .route("/{did}/log/last", get(last))
        .layer(DefaultBodyLimit::max(MAX_BODY_LEN))
        .with_state(directory)
}

type Answer = Result<Response, Refusal>;

async fn health(State(directory): State<Arc<Directory>>) -> Response {
    let version = env!("CARGO_PKG_VERSION");
    match directory.check() {
        Ok(()) => axum::Json(json!({ "version": version })).into_response(),
        Err(_) => {
            let body = json!({ "version": version, "error": "Service Unavailable" });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(body)).into_response()
        }
    }
}

async fn document(State(directory): State<Arc<Directory>>, Path(did): Path<String>) -> Answer {
    let Registered { did, state, .. } = directory.registered(&did)?;
    let state = state.ok_or(Refusal::NotAvailable(did.to_string()))?;
    let body = serde_json::to_string(&DidDocument::new(&did, &state)).unwrap();
    Ok(([(CONTENT_TYPE, "application/did+ld+json; charset=utf-8")], body).into_response())
}

async fn plc_data(State(directory): State<Arc<Directory>>, Path(did): Path<String>) -> Answer {
    let Registered { did, state, .. } = directory.registered(&did)?;
    let state = state.ok_or(Refusal::NotAvailable(did.to_string()))?;
    Ok(axum::Json(state.to_data(&did)).into_response())
}

async fn log(State(directory): State<Arc<Directory>>, Path(did): Path<String>) -> Answer {
    let operations: Vec<Operation> =
        directory.registered(&did)?.chain.into_iter().map(|entry| entry.operation).collect();
    Ok(axum::Json(operations).into_response())
}

async fn last(State(directory): State<Arc<Directory>>, Path(did): Path<String>) -> Answer {
    let last = directory.registered(&did)?.chain.pop().map(|entry| entry.operation);
    Ok(axum::Json(last).into_response())
}

async fn audit_log(State(directory): State<Arc<Directory>>, Path(did): Path<String>) -> Answer {
    Ok(axum::Json(directory.audit_log(&did)?).into_response())
}

async fn submit(
    State(directory): State<Arc<Directory>>,
    Path(did): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let body = body.map_err(|_| Refusal::BodyTooLarge)?;
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    // What is not announced as JSON is not read, and an empty object is no operation.
    let text = if kind.starts_with("application/json") { &body[..] } else { b"{}" };
    let value = data::json::parse(text).map_err(Refusal::Json)?;
    let shown = serde_json::to_string(&value).unwrap();
    let operation = Operation::from_value(value).map_err(|_| Refusal::NotAnOperation(shown))?;
    directory.submit(&did, &operation)?;
    Ok("OK".into_response())
}

#[derive(Deserialize)]
struct ExportQuery {
    count: Option<String>,
    after: Option<String>,
}

async fn export(State(directory): State<Arc<Directory>>, Query(query): Query<ExportQuery>) -> Answer {
    let count = match query.count.as_deref().unwrap_or_default() {
        "" => MAX_EXPORT,
        count => count.parse().ok().filter(|count| *count > 0).ok_or(Refusal::Parameter("count"))?,
    };
    let after = After::parse(query.after.as_deref().unwrap_or_default())?;
    let lines: Vec<String> = match after {
        After::Seq(seq) => lines(&directory.export_by_seq(seq, count.min(MAX_EXPORT))?),
        After::Time(time) => lines(&directory.export_by_time(time, count.min(MAX_EXPORT))?),
    };
    Ok(([(CONTENT_TYPE, "application/jsonlines")], lines.join("\n")).into_response())
}

fn lines(rows: &[impl Serialize]) -> Vec<String> {
    rows.iter().map(|row| serde_json::to_string(row).unwrap()).collect()
}
