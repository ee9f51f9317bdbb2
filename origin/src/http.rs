//! The server as an axum router: every path, and what every request goes through.
//!
//! From the outside in: each request gets one line in the log; answers are compressed for who can read that; any web page
//! may ask (CORS); then the path decides: calls below `/xrpc/` are [`crate::xrpc`]'s, the few pages beside them
//! [`pages`]'. Whatever no path names is answered with an error in the XRPC envelope.

mod compression;
mod cors;
mod drain;
mod internal;
mod log;
mod pages;

use axum::Router;
use axum::http::{Method, Uri};
use axum::middleware::{from_fn, from_fn_with_state, map_request};
use axum::routing::{any, get};

use crate::app::App;
use crate::error::XrpcError;
use crate::xrpc;

/// The whole server as an axum router.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/", get(pages::home))
        .route("/robots.txt", get(pages::robots))
        .route("/tls-check", get(pages::tls_check))
        .route("/.well-known/atproto-did", get(pages::atproto_did))
        .route("/xrpc/_health", get(pages::health))
        .route("/xrpc/_live", get(pages::live))
        .route("/internal/{*path}", any(internal::answer))
        .merge(xrpc::router(app.clone()))
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(map_request(drain::unread))
        .layer(from_fn(cors::apply))
        .layer(compression::layer())
        .layer(from_fn_with_state(app.clone(), log::request))
        .with_state(app)
}

async fn unknown(uri: Uri) -> XrpcError {
    XrpcError::not_found(uri.path())
}

async fn wrong_method(method: Method) -> XrpcError {
    XrpcError::method_not_allowed(method.as_str())
}

#[cfg(test)]
mod tests;
