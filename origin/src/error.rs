//! The one form in which a failed request is answered: the XRPC error envelope.
//!
//! Every answer of status 400 and above, on any path, has a JSON body `{"error": name, "message": text}`. Names are those
//! that clients match on, from [`shared::xrpc::error_name`]; messages are for people. What is our own fault is answered
//! with a name and nothing else: the cause goes to the log, in the one line that the request gets there
//! ([`XrpcError::of`]). Each module that handlers call has errors of its own; what they are to a client is said beside
//! the handlers.
//!
//! Specification: <https://atproto.com/specs/xrpc#error-responses>.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shared::xrpc::{ErrorBody, error_name};

type Cause = Box<dyn StdError + Send + Sync>;

/// A failed request.
#[derive(Clone, Debug)]
pub struct XrpcError(Arc<Failure>);

#[derive(Debug)]
struct Failure {
    status: StatusCode,
    name: Cow<'static, str>,
    message: String,
    cause: Option<Cause>,
    headers: HeaderMap,
}

impl XrpcError {
    /// An error of this status and name.
    #[must_use]
    pub fn new(status: StatusCode, name: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let (name, message) = (name.into(), message.into());
        Self(Arc::new(Failure { status, name, message, cause: None, headers: HeaderMap::new() }))
    }

    /// An error of this status, under the name that goes with it.
    fn plain(status: StatusCode, message: impl Into<String>) -> Self {
        Self::new(status, error_name::of_status(status.as_u16()), message)
    }

    /// 400 under a name of its own.
    #[must_use]
    pub fn refused(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, name, message)
    }

    /// 400 `InvalidRequest`.
    #[must_use]
    pub fn invalid_request(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::BAD_REQUEST, message)
    }

    /// 401 under a name of its own.
    #[must_use]
    pub fn unauthorized(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, name, message)
    }

    /// 401 `AuthenticationRequired`: not who they must be.
    #[must_use]
    pub fn authentication_required() -> Self {
        Self::plain(StatusCode::UNAUTHORIZED, "Authentication Required")
    }

    /// 403 under a name of its own.
    #[must_use]
    pub fn forbidden(name: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, name, message)
    }

    /// 404: nothing is served at `path`.
    #[must_use]
    pub fn not_found(path: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, error_name::NOT_FOUND, format!("nothing is served at {path}"))
    }

    /// 405: something is served at this path, but not for this HTTP method.
    #[must_use]
    pub fn method_not_allowed(method: &str) -> Self {
        Self::plain(StatusCode::METHOD_NOT_ALLOWED, format!("incorrect HTTP method ({method})"))
    }

    /// 406: nothing that is had can be given in a form that the client takes.
    #[must_use]
    pub fn not_acceptable(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::NOT_ACCEPTABLE, message)
    }

    /// 408: the client went silent in the middle of its request.
    #[must_use]
    pub fn timed_out() -> Self {
        Self::plain(StatusCode::REQUEST_TIMEOUT, "the request did not arrive in time")
    }

    /// 409: what is asked for is being done already.
    #[must_use]
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::CONFLICT, message)
    }

    /// 413: the body is larger than the method takes.
    #[must_use]
    pub fn too_large() -> Self {
        Self::plain(StatusCode::PAYLOAD_TOO_LARGE, "request entity too large")
    }

    /// 415: the body's Content-Encoding is none that is known here.
    #[must_use]
    pub fn unsupported_encoding() -> Self {
        Self::plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported content-encoding")
    }

    /// 416: the range of bytes that is asked for lies behind the end.
    #[must_use]
    pub fn range_not_satisfiable() -> Self {
        Self::plain(StatusCode::RANGE_NOT_SATISFIABLE, "range not satisfiable")
    }

    /// 426: only a WebSocket will do.
    #[must_use]
    pub fn upgrade_required() -> Self {
        Self::plain(StatusCode::UPGRADE_REQUIRED, "a WebSocket is required")
            .with_header(header::UPGRADE, HeaderValue::from_static("websocket"))
            .with_header(header::CONNECTION, HeaderValue::from_static("upgrade"))
    }

    /// 429: asked too often.
    #[must_use]
    pub fn rate_limited() -> Self {
        Self::plain(StatusCode::TOO_MANY_REQUESTS, "Rate Limit Exceeded")
    }

    /// 500: our fault. Only the log learns of `cause`.
    #[must_use]
    pub fn internal(cause: impl Into<Cause>) -> Self {
        Self::plain(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error").caused_by(cause)
    }

    /// 502: a server that had to be asked failed.
    #[must_use]
    pub fn upstream(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::BAD_GATEWAY, message)
    }

    /// 503: too busy; the same request may succeed later.
    #[must_use]
    pub fn busy(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::SERVICE_UNAVAILABLE, message)
    }

    /// 504: a server that had to be asked did not answer in time.
    #[must_use]
    pub fn upstream_timeout(message: impl Into<String>) -> Self {
        Self::plain(StatusCode::GATEWAY_TIMEOUT, message)
    }

    /// The same, with what led to it, for the log.
    #[must_use]
    pub fn caused_by(self, cause: impl Into<Cause>) -> Self {
        let cause = cause.into();
        self.change(|failure| failure.cause = Some(cause))
    }

    /// The same, answered with a header.
    #[must_use]
    pub fn with_header(self, name: HeaderName, value: HeaderValue) -> Self {
        self.change(|failure| {
            failure.headers.append(name, value);
        })
    }

    /// Errors are shared only once they are answered; until then there is one handle.
    fn change(mut self, change: impl FnOnce(&mut Failure)) -> Self {
        if let Some(failure) = Arc::get_mut(&mut self.0) {
            change(failure);
        }
        self
    }

    /// The error that `response` answers with, if it does.
    #[must_use]
    pub fn of(response: &Response) -> Option<&Self> {
        response.extensions().get()
    }

    /// The name that clients match on.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The status that it is answered with.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }
}

/// What the log says: the message, and after it what led to it, outermost first.
impl fmt::Display for XrpcError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        let mut cause = self.0.cause.as_deref().map(|cause| cause as &(dyn StdError + 'static));
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// For streams of a request's body, which end with what is to be answered.
impl StdError for XrpcError {}

impl IntoResponse for XrpcError {
    fn into_response(self) -> Response {
        let body = ErrorBody::new(self.0.name.as_ref(), self.0.message.as_str());
        // Two strings cannot fail to be JSON.
        let json = serde_json::to_vec(&body).unwrap_or_default();
        let json_type = HeaderValue::from_static("application/json; charset=utf-8");
        let mut response = (self.0.status, self.0.headers.clone(), json).into_response();
        response.headers_mut().insert(header::CONTENT_TYPE, json_type);
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[tokio::test]
    async fn a_client_sees_name_and_message_and_the_log_the_cause() {
        let error = XrpcError::internal(io::Error::other("disk on fire"))
            .with_header(header::RETRY_AFTER, HeaderValue::from_static("7"));
        assert_eq!(error.to_string(), "Internal Server Error: disk on fire");
        let response = error.into_response();
        assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (500, &"7".parse().unwrap()));
        assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
        assert_eq!(XrpcError::of(&response).unwrap().name(), "InternalServerError");
        let body = axum::body::to_bytes(response.into_body(), 1000).await.unwrap();
        assert_eq!(body, r#"{"error":"InternalServerError","message":"Internal Server Error"}"#);
    }

    #[test]
    fn a_plain_error_has_the_name_of_its_status() {
        assert_eq!(XrpcError::too_large().name(), "PayloadTooLarge");
        assert_eq!(XrpcError::method_not_allowed("PUT").name(), "InvalidRequest");
        assert_eq!(XrpcError::authentication_required().name(), "AuthenticationRequired");
    }
}
