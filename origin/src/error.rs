//! The one form in which a failed request is answered: the XRPC error envelope.
//!
//! Every answer of status 400 and above, on any path, has a JSON body `{"error": name, "message": text}`. Names are those
//! that clients match on; messages are for people. <https://atproto.com/specs/xrpc#error-responses>

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A failed request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XrpcError {
    status: StatusCode,
    name: &'static str,
    message: String,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a str,
    message: &'a str,
}

impl XrpcError {
    /// 404: nothing is served at `path`.
    #[must_use]
    pub fn not_found(path: &str) -> Self {
        Self { status: StatusCode::NOT_FOUND, name: "NotFound", message: format!("nothing is served at {path}") }
    }

    /// 405: something is served at this path, but not for this HTTP method.
    #[must_use]
    pub fn method_not_allowed(method: &str) -> Self {
        let message = format!("incorrect HTTP method ({method})");
        Self { status: StatusCode::METHOD_NOT_ALLOWED, name: "InvalidRequest", message }
    }

    /// 501: an XRPC method that this server does not have.
    #[must_use]
    pub fn method_not_implemented() -> Self {
        let message = "Method Not Implemented".to_owned();
        Self { status: StatusCode::NOT_IMPLEMENTED, name: "MethodNotImplemented", message }
    }
}

impl IntoResponse for XrpcError {
    fn into_response(self) -> Response {
        (self.status, Json(Envelope { error: self.name, message: &self.message })).into_response()
    }
}
