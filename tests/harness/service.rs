//! A service that calls are passed on to: it verifies who calls as the real ones do, notes what it was asked, and answers
//! what the test wants.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use shared::crypto::PublicKey;
use shared::identity::DidDocument;
use shared::syntax::Did;
use shared::token::service::{ACCOUNT_KEY, Expected, ServiceAuth};
use shared::token::{Jwt, Verifier};

use crate::Plc;

/// A call as the service saw it.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The HTTP method.
    pub verb: String,
    /// Path and query, as they came.
    pub path: String,
    /// The headers, without those of the connection.
    pub headers: HashMap<String, String>,
    /// How long the body was, and its first bytes.
    pub body: (u64, Vec<u8>),
    /// Who called, by a token that was verified.
    pub caller: Option<String>,
    /// For whom and for which method the token was.
    pub token: Option<(String, String)>,
}

type Answer = Arc<dyn Fn(&Seen) -> Response + Send + Sync>;

/// A running service.
#[derive(Clone)]
pub struct Service {
    url: String,
    inner: Arc<Inner>,
}

struct Inner {
    directory: String,
    /// Whose sessions it takes besides, if it makes any.
    sessions: Option<PublicKey>,
    seen: Mutex<Vec<Seen>>,
    answer: Answer,
}

impl Service {
    /// Starts one that knows accounts by the directory `plc`. Who comes with a token that does not verify gets a 401.
    pub async fn start(plc: &Plc, answer: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        Self::start_with(plc, None, answer).await
    }

    /// As [`Service::start`]; it takes tokens of sessions, too, that the key of `sessions` has signed.
    pub async fn start_with(
        plc: &Plc,
        sessions: Option<PublicKey>,
        answer: impl Fn(&Seen) -> Response + Send + Sync + 'static,
    ) -> Self {
        let (directory, answer) = (plc.url(""), Arc::new(answer));
        let inner = Arc::new(Inner { directory, sessions, seen: Mutex::default(), answer });
        let router = Router::new().fallback(take).with_state(Arc::clone(&inner));
        Self { url: crate::serve(router).await, inner }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What it was asked since this was called last.
    pub fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut *self.inner.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn take(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let (caller, token) = match bearer(&parts.headers) {
        None => (None, None),
        Some(bearer) if inner.sessions.is_some_and(|key| is_session(bearer, &key)) => (None, None),
        Some(bearer) => match verify(&inner.directory, bearer).await {
            Ok((caller, audience, method)) => (Some(caller), Some((audience, method))),
            Err(fault) => return refused(StatusCode::UNAUTHORIZED, "BadJwt", &fault),
        },
    };
    let headers = parts.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let seen = Seen {
        verb: parts.method.to_string(),
        path: parts.uri.to_string(),
        headers: headers.filter(|(name, _)| !["host", "connection"].contains(&name.as_str())).collect(),
        body: read(body).await,
        caller,
        token,
    };
    inner.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen.clone());
    (inner.answer)(&seen)
}

/// An error in the form of all services.
pub fn refused(status: StatusCode, error: &str, message: &str) -> Response {
    (status, axum::Json(json!({ "error": error, "message": message }))).into_response()
}

/// What a view of the network, and a moderator, answer: what the methods' schemas say.
pub fn view(seen: &Seen) -> Response {
    let caller = seen.caller.clone().unwrap_or_default();
    let method = seen.path.trim_start_matches("/xrpc/").split('?').next().unwrap();
    let answer = match method {
        "app.bsky.actor.getProfile" => json!({ "did": caller, "handle": "carla-two.test" }),
        "app.bsky.actor.getProfiles" => json!({ "profiles": [{ "did": caller, "handle": "carla-two.test" }] }),
        "app.bsky.feed.getActorLikes" | "app.bsky.feed.getAuthorFeed" | "app.bsky.feed.getFeed" => {
            json!({ "feed": [] })
        }
        "app.bsky.feed.getTimeline" => json!({ "feed": [] }),
        "app.bsky.feed.getPostThread" => json!({ "thread": { "$type": "app.bsky.feed.defs#notFoundPost",
            "uri": "at://did:web:view.test/app.bsky.feed.post/3jzfcijpj2z2a", "notFound": true } }),
        "com.atproto.repo.getRecord" => json!({ "uri": "at://did:web:view.test/app.bsky.feed.generator/one",
            "value": { "did": "did:web:feed.test" } }),
        "com.atproto.moderation.createReport" => {
            let report: Value = serde_json::from_slice(&seen.body.1).unwrap();
            json!({ "id": 1, "reasonType": report["reasonType"], "subject": report["subject"], "reportedBy": caller,
                "createdAt": "2026-01-02T03:04:05.678Z" })
        }
        _ => json!({}),
    };
    ([("content-type", "application/json; charset=utf-8")], answer.to_string()).into_response()
}

async fn read(body: Body) -> (u64, Vec<u8>) {
    use futures_util::StreamExt as _;
    let (mut length, mut first) = (0, Vec::new());
    let mut pieces = body.into_data_stream();
    while let Some(Ok(piece)) = pieces.next().await {
        length += piece.len() as u64;
        let wanted = piece.len().min(4096_usize.saturating_sub(first.len()));
        first.extend_from_slice(&piece[..wanted]);
    }
    (length, first)
}

/// Whether `key` has signed a token that is for no one method.
fn is_session(token: &str, key: &PublicKey) -> bool {
    let claims = Jwt::parse(token).and_then(|jwt| jwt.verify::<Value>(Verifier::Ecdsa(key)));
    claims.is_ok_and(|claims| claims["lxm"].is_null())
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

/// Caller, audience and method of a token: signed by the key of the caller's document, for one method, not over, and for
/// no longer than a minute. Whether audience and method are the right ones is for the test to see.
async fn verify(directory: &str, token: &str) -> Result<(String, String, String), String> {
    let claims = token.split('.').nth(1).ok_or("no token")?;
    let claims = data_encoding::BASE64URL_NOPAD.decode(claims.as_bytes()).map_err(|error| error.to_string())?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|error| error.to_string())?;
    let text = |name: &str| claims[name].as_str().map(str::to_owned).ok_or(format!("no {name}"));
    let (iss, aud, lxm) = (text("iss")?, text("aud")?, text("lxm")?);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    if claims["exp"].as_u64().is_none_or(|exp| exp > now + 61) {
        return Err("it lasts too long".to_owned());
    }
    let expected = Expected { audiences: &[&aud], lxm: &lxm, keys: &[ACCOUNT_KEY], now };
    let auth = ServiceAuth::parse(token, &expected).map_err(|error| error.to_string())?;
    let document = reqwest::get(format!("{directory}/{iss}")).await.map_err(|error| error.to_string())?;
    let document = serde_json::from_slice(&document.bytes().await.unwrap()).map_err(|error| error.to_string())?;
    let document = DidDocument::parse(&Did::parse(&iss).unwrap(), document).map_err(|error| error.to_string())?;
    let key = document.key(auth.key_id()).ok_or("no key")?;
    auth.verify(&key).map_err(|error| error.to_string())?;
    Ok((iss, aud, lxm))
}
