//! Passing calls on to another service, whose answer goes to the caller as it comes.
//!
//! What is passed on is chosen by name, in both directions: of the request what decides the answer's form, of the answer
//! what belongs to it. The body is never held: it flows through, may pause only so long and be only so large, and ends
//! when the caller goes away. An answer that is an error is told in this server's form, with the service's name for it; a
//! service's own failure, its 500, is a 502, since it is not this server's.
//!
//! Specification: <https://atproto.com/specs/xrpc#service-proxying>.

use std::io;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use futures_util::{Stream, StreamExt as _, TryStreamExt as _, stream};
use serde::Deserialize;
use shared::xrpc::error_name;
use tokio::sync::watch;
use url::Url;

use crate::coding;
use crate::config::Network;
use crate::error::XrpcError;
use crate::fetch::{Client, ClientError, Reach};

/// The headers of a request that a service is told, and what the others begin with.
const ASKED_PREFIX: &str = "x-atproto-";
const ASKED: [&str; 4] = ["accept-encoding", "accept-language", "atproto-accept-labelers", "x-bsky-topics"];
/// The headers of an answer that the caller is told.
const ANSWERED: [&str; 7] = [
    "content-length",
    "content-encoding",
    "content-type",
    "content-language",
    REPO_REV,
    "atproto-content-labelers",
    "retry-after",
];
/// Up to where a service knows the caller's repository: a revision.
pub const REPO_REV: &str = "atproto-repo-rev";
/// How much of an error is read, in bytes.
const ERROR_MAX: usize = 64 * 1024;

/// The way to other services; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Pipethrough {
    client: Client,
    begins_within: Duration,
    pauses_at_most: Duration,
    body_max: u64,
    retries: u32,
}

/// An answer that is an error.
#[derive(Debug)]
pub struct Refusal {
    /// It, as this server tells it.
    pub error: XrpcError,
    /// Up to where the service knew the caller's repository, if it said so: `atproto-repo-rev`.
    pub repo_rev: Option<HeaderValue>,
}

impl From<XrpcError> for Refusal {
    fn from(error: XrpcError) -> Self {
        Self { error, repo_rev: None }
    }
}

impl From<Refusal> for XrpcError {
    fn from(refusal: Refusal) -> Self {
        refusal.error
    }
}

/// A call of a service.
#[derive(Debug)]
pub struct Forward {
    /// Where to, with path and query.
    pub url: Url,
    /// How.
    pub verb: Method,
    /// Those of the caller's headers that are told ([`asked_of`], [`body_of`]).
    pub headers: HeaderMap,
    /// In whose name: a service token. Without, in nobody's.
    pub token: Option<String>,
    /// What is sent.
    pub body: Option<Body>,
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
            retries: network.proxy_retries,
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
        let url = method_url(service, nsid, params);
        self.forward(Forward { url, verb: Method::GET, headers: asked, token: None, body: None }).await
    }

    /// Calls a service, and passes its answer on.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn forward(&self, forward: Forward) -> Result<Response, XrpcError> {
        Ok(self.ask(forward).await?)
    }

    /// As [`Self::forward`], for who has a use for a refusal.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn ask(&self, forward: Forward) -> Result<Response, Refusal> {
        let answer = self.send(forward).await?;
        if answer.status().is_success() { Ok(self.pass_on(answer)) } else { Err(self.refusal(answer).await) }
    }

    /// The service's answer, whatever it says. What is read only is sent again if the connection fails, as often as the
    /// operator says.
    async fn send(&self, forward: Forward) -> Result<reqwest::Response, XrpcError> {
        let Forward { url, verb, mut headers, token, body } = forward;
        headers.entry(header::ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
        let request = self.client.request(verb.clone(), url).map_err(unreachable)?.headers(headers);
        let request = if let Some(token) = token { request.bearer_auth(token) } else { request };
        if let Some(body) = body {
            let (sent, moves) = watched(body);
            return self.begun(request.body(sent).send(), Some(moves)).await;
        }
        let mut left = if verb == Method::POST { 0 } else { self.retries };
        loop {
            let attempt = request.try_clone().ok_or_else(|| XrpcError::internal("a request without a body"))?;
            match self.begun(attempt.send(), None).await {
                Err(error) if left > 0 => {
                    tracing::debug!(%error, "a service is asked again");
                    left -= 1;
                }
                answered => return answered,
            }
        }
    }

    /// Waits for the answer to begin; for so long as the operator says after the last of the request's body went out.
    async fn begun(
        &self,
        sending: impl Future<Output = reqwest::Result<reqwest::Response>>,
        mut moves: Option<watch::Receiver<()>>,
    ) -> Result<reqwest::Response, XrpcError> {
        let mut sending = pin!(sending);
        loop {
            let moved = async {
                let Some(moves) = &mut moves else { return std::future::pending().await };
                if moves.changed().await.is_err() {
                    // All of it is sent.
                    std::future::pending().await
                }
            };
            tokio::select! {
                answer = &mut sending => return answer.map_err(unreachable),
                () = moved => {}
                () = tokio::time::sleep(self.begins_within) => {
                    return Err(XrpcError::upstream("Upstream service unreachable"));
                }
            }
        }
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
    async fn refusal(&self, answer: reqwest::Response) -> Refusal {
        #[derive(Default, Deserialize)]
        struct Told {
            error: Option<String>,
            message: Option<String>,
        }
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut body = Vec::new();
        let coding = headers.get(header::CONTENT_ENCODING).and_then(|coding| coding.to_str().ok()).unwrap_or_default();
        let pieces = coding::undone(coding, self.bounded(answer).map_err(io::Error::other));
        let mut pieces = pieces.unwrap_or_else(|| Box::pin(stream::empty()));
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
        let name = told.error.unwrap_or_else(|| error_name::of_status(status.as_u16()).to_owned());
        let error = XrpcError::new(status, name, told.message.unwrap_or_else(|| "Upstream service refused".to_owned()));
        Refusal { error, repo_rev: headers.get(REPO_REV).cloned() }
    }
}

fn unreachable(cause: impl std::error::Error + Send + Sync + 'static) -> XrpcError {
    XrpcError::upstream("Upstream service unreachable").caused_by(cause)
}

/// The address of a method at a service.
#[must_use]
pub fn method_url(service: &Url, nsid: &str, params: &[(&str, &str)]) -> Url {
    let mut url = service.clone();
    url.set_path(&format!("{}/xrpc/{nsid}", service.path().trim_end_matches('/')));
    url.query_pairs_mut().clear().extend_pairs(params);
    if params.is_empty() {
        url.set_query(None);
    }
    url
}

/// A body that tells when it moves.
fn watched(body: Body) -> (reqwest::Body, watch::Receiver<()>) {
    let (moved, moves) = watch::channel(());
    let pieces = body.into_data_stream().inspect(move |_| moved.send_replace(()));
    (reqwest::Body::wrap_stream(pieces), moves)
}

/// Those headers of a request that a service is told of.
#[must_use]
pub fn asked_of(headers: &HeaderMap) -> HeaderMap {
    let mut asked = passed(headers, &ASKED);
    for (name, value) in headers.iter().filter(|(name, _)| name.as_str().starts_with(ASKED_PREFIX)) {
        asked.append(name, value.clone());
    }
    asked
}

/// Those headers of a request that say what its body is.
#[must_use]
pub fn body_of(headers: &HeaderMap) -> HeaderMap {
    passed(headers, &["content-type", "content-encoding", "content-length"])
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
