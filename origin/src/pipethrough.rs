//! Passing calls on to another service, whose answer goes to the caller as it comes.
//!
//! What is passed on is chosen by name, in both directions: of the request what decides the answer's form, of the answer
//! what belongs to it. The body is never held: it flows through, may pause only so long and be only so large, and ends
//! when the caller goes away. An answer that is an error is told in this server's form, with the service's name for it; a
//! service's own failure is a 502, since it is not this server's.
//!
//! Specification: <https://atproto.com/specs/xrpc#service-proxying>.

use std::pin::Pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt as _, stream};
use serde::Deserialize;
use shared::xrpc::error_name;
use url::Url;

use crate::config::Network;
use crate::error::XrpcError;
use crate::fetch::{Client, ClientError, Reach};

/// The headers of a request that a service is told.
const ASKED: [&str; 4] = ["accept-encoding", "accept-language", "atproto-accept-labelers", "x-bsky-topics"];
/// The headers of an answer that the caller is told.
const ANSWERED: [&str; 7] = [
    "content-length",
    "content-encoding",
    "content-type",
    "content-language",
    "atproto-repo-rev",
    "atproto-content-labelers",
    "retry-after",
];
/// How much of an error is read, in bytes.
const ERROR_MAX: usize = 64 * 1024;

/// The way to other services; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Pipethrough {
    client: Client,
    begins_within: Duration,
    pauses_at_most: Duration,
    body_max: u64,
}

impl Pipethrough {
    /// The way to other services, as the operator bounds it.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(network: &Network) -> Result<Self, ClientError> {
        let reach = if network.public_only { Reach::Public } else { Reach::Anywhere };
        Ok(Self {
            client: Client::new(reach)?,
            begins_within: network.proxy_headers_timeout,
            pauses_at_most: network.proxy_body_timeout,
            body_max: network.proxy_max_response,
        })
    }

    /// Calls a query of the service at `service` in nobody's name, and passes its answer on. `asked` are those of the
    /// request's headers that are told ([`asked_of`]).
    ///
    /// # Errors
    /// What the service refuses with; 502 if it fails or is not reached in time.
    pub async fn query(
        &self,
        service: &Url,
        nsid: &str,
        params: &[(&str, &str)],
        asked: HeaderMap,
    ) -> Result<Response, XrpcError> {
        let mut url = service.clone();
        url.set_path(&format!("{}/xrpc/{nsid}", service.path().trim_end_matches('/')));
        url.query_pairs_mut().clear().extend_pairs(params);
        let request = self.client.request(Method::GET, url).map_err(unreachable)?;
        let mut headers = asked;
        headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        let request = request.headers(headers);
        let answer = tokio::time::timeout(self.begins_within, request.send()).await;
        let answer = answer.map_err(unreachable)?.map_err(unreachable)?;
        if answer.status().is_success() { Ok(self.pass_on(answer)) } else { Err(self.refusal(answer).await) }
    }

    fn pass_on(&self, answer: reqwest::Response) -> Response {
        let (status, headers) = (answer.status(), passed(answer.headers(), &ANSWERED));
        let mut response = Response::new(Body::from_stream(self.bounded(answer)));
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// The pieces of a body, until it pauses too long or is too large.
    fn bounded(&self, answer: reqwest::Response) -> impl Stream<Item = Result<Bytes, XrpcError>> + Send + 'static {
        let (pause, max) = (self.pauses_at_most, self.body_max);
        let pieces: Pin<Box<dyn Stream<Item = reqwest::Result<Bytes>> + Send>> = Box::pin(answer.bytes_stream());
        stream::try_unfold((pieces, 0_u64), move |(mut pieces, before)| async move {
            let piece = match tokio::time::timeout(pause, pieces.next()).await {
                Err(error) => return Err(unreachable(error)),
                Ok(None) => return Ok(None),
                Ok(Some(piece)) => piece.map_err(unreachable)?,
            };
            let so_far = before.saturating_add(piece.len() as u64);
            if so_far > max {
                return Err(XrpcError::upstream("the answer of the service is too large"));
            }
            Ok(Some((piece, (pieces, so_far))))
        })
    }

    /// An answer that is an error, as this server tells it.
    async fn refusal(&self, answer: reqwest::Response) -> XrpcError {
        #[derive(Default, Deserialize)]
        struct Told {
            error: Option<String>,
            message: Option<String>,
        }
        let status = answer.status();
        let mut body = Vec::new();
        let mut pieces = Box::pin(self.bounded(answer));
        while let Some(Ok(piece)) = pieces.next().await {
            if body.len() + piece.len() > ERROR_MAX {
                break;
            }
            body.extend_from_slice(&piece);
        }
        let told: Told = serde_json::from_slice(&body).unwrap_or_default();
        let status = match status {
            StatusCode::INTERNAL_SERVER_ERROR => StatusCode::BAD_GATEWAY,
            status if status.is_client_error() || status.is_server_error() => status,
            // A redirect is no answer.
            _ => StatusCode::BAD_GATEWAY,
        };
        let name = match told.error {
            Some(name) if status != StatusCode::BAD_GATEWAY => name,
            _ => error_name::of_status(status.as_u16()).to_owned(),
        };
        XrpcError::new(status, name, told.message.unwrap_or_else(|| "Upstream service refused".to_owned()))
    }
}

fn unreachable(cause: impl std::error::Error + Send + Sync + 'static) -> XrpcError {
    XrpcError::upstream("Upstream service unreachable").caused_by(cause)
}

/// Those headers of a request that a service is told of.
#[must_use]
pub fn asked_of(headers: &HeaderMap) -> HeaderMap {
    passed(headers, &ASKED)
}

/// Those of `headers` that have one of `names`.
fn passed(headers: &HeaderMap, names: &[&'static str]) -> HeaderMap {
    let mut passed = HeaderMap::new();
    for name in names {
        for value in headers.get_all(*name) {
            passed.append(HeaderName::from_static(name), HeaderValue::clone(value));
        }
    }
    passed
}
