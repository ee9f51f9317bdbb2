//! The pages beside the calls: what people, crawlers, health checks and TLS terminators ask for.

use std::fmt::Write as _;

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde::Serialize;
use shared::syntax::{Did, Handle};
use shared::xrpc::error_name;

use crate::account::{AccountError, Include};
use crate::app::App;
use crate::client_address::Client;
use crate::db::DbError;
use crate::error::XrpcError;

/// `/`: what this is, for people.
pub(super) async fn home(State(app): State<App>) -> String {
    let service = &app.config().service;
    let mut page = format!(
        "{}\n\nThis is an AT Protocol Personal Data Server (PDS): Headwater {}.\n\n\
         Most of it is below /xrpc/. The protocol: https://atproto.com\n",
        service.name, service.version
    );
    let links = [
        ("Privacy policy", &service.privacy_policy_url),
        ("Terms of service", &service.terms_of_service_url),
        ("Contact", &service.contact_email_address),
    ];
    for (name, link) in links {
        if let Some(link) = link {
            // Writing to a string does not fail.
            let _written = writeln!(page, "{name}: {link}");
        }
    }
    page
}

/// `/robots.txt`: everything that is public may be read by machines.
pub(super) async fn robots() -> &'static str {
    "# Everything public here may be crawled.\nUser-agent: *\nAllow: /\n"
}

#[derive(Serialize)]
struct Health {
    version: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
}

/// `/xrpc/_health`: the server answers, its database too, and which version it is.
pub(super) async fn health(State(app): State<App>) -> Response {
    let version = app.config().service.version.clone();
    let asked = app.accounts().db().read(|connection| -> Result<_, DbError> {
        Ok(connection.query_row("SELECT count(*) FROM (SELECT 1 FROM actor LIMIT 1)", [], |_| Ok(()))?)
    });
    let json = [(header::CONTENT_TYPE, "application/json; charset=utf-8")];
    match asked.await {
        Ok(()) => (json, Json(Health { version, error: None })).into_response(),
        Err(error) => {
            tracing::error!(%error, "the account database cannot be read");
            let health = Health { version, error: Some("Service Unavailable") };
            (StatusCode::SERVICE_UNAVAILABLE, json, Json(health)).into_response()
        }
    }
}

/// `/xrpc/_live`: the server answers. No database is asked, so that a slow disk does not get it killed.
pub(super) async fn live(State(app): State<App>) -> Response {
    Json(Health { version: app.config().service.version.clone(), error: None }).into_response()
}

/// `/.well-known/atproto-did`: whose the host is that was asked, if it is the handle of an active account here. Behind an
/// entryway, which keeps the handles, none is.
///
/// Specification: <https://atproto.com/specs/handle#handle-resolution>.
pub(super) async fn atproto_did(State(app): State<App>, Extension(client): Extension<Client>) -> Response {
    let found = match client.host {
        Some(host) if app.entryway().is_none() && app.config().handles.is_served(&host) => {
            account_of(&app, &host).await
        }
        _ => Ok(None),
    };
    let (status, text) = match &found {
        Ok(Some(did)) => (StatusCode::OK, did.as_str()),
        Ok(None) => (StatusCode::NOT_FOUND, "User not found"),
        Err(error) => {
            tracing::error!(%error, "the account of a handle cannot be looked up");
            (StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")
        }
    };
    let mut answer = (status, text.to_owned()).into_response();
    // The path is the same for every handle.
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Host"));
    answer
}

#[derive(Serialize)]
struct Success {
    success: bool,
}

/// `/tls-check?domain=`: whether a TLS terminator should have a certificate for a domain: this server's own name, and the
/// handles of its active accounts.
pub(super) async fn tls_check(State(app): State<App>, request: Request) -> Result<Response, XrpcError> {
    let query = request.uri().query().unwrap_or_default();
    let domain = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "domain");
    let domain = domain.map(|(_, domain)| domain).filter(|domain| !domain.is_empty());
    let domain = domain.ok_or_else(|| XrpcError::invalid_request("bad or missing domain query param"))?;
    if domain != app.config().service.hostname {
        if !app.config().handles.is_served(&domain) {
            return Err(XrpcError::invalid_request("handles are not provided on this domain"));
        }
        if account_of(&app, &domain).await?.is_none() {
            let message = "handle not found for this domain";
            return Err(XrpcError::new(StatusCode::NOT_FOUND, error_name::NOT_FOUND, message));
        }
    }
    Ok(Json(Success { success: true }).into_response())
}

/// The active account whose handle it is.
async fn account_of(app: &App, name: &str) -> Result<Option<Did>, AccountError> {
    let Ok(handle) = Handle::parse(name) else { return Ok(None) };
    Ok(app.accounts().by_handle(&handle, Include::ACTIVE).await?.map(|account| account.did))
}
