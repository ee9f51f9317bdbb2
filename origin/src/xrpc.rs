//! The route table: every path the server answers, and what answers it.
//!
//! Whatever it does not name is answered with an error in the XRPC envelope: an unknown method under `/xrpc/` with 501,
//! any other path with 404. <https://atproto.com/specs/xrpc>

use axum::http::{Method, Uri};
use axum::routing::get;
use axum::{Json, Router};
use serde::Serialize;

use crate::app::App;
use crate::error::XrpcError;

/// The whole server as an axum router.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/xrpc/_health", get(health))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .with_state(app)
}

#[derive(Serialize)]
struct Health {
    version: &'static str,
}

/// `_health`: the server answers, and with which version.
async fn health() -> Json<Health> {
    Json(Health { version: env!("CARGO_PKG_VERSION") })
}

async fn unknown(uri: Uri) -> XrpcError {
    if uri.path().starts_with("/xrpc/") {
        XrpcError::method_not_implemented()
    } else {
        XrpcError::not_found(uri.path())
    }
}

async fn wrong_method(method: Method) -> XrpcError {
    XrpcError::method_not_allowed(method.as_str())
}
