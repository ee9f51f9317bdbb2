//! `/internal/v1/`: what the edge asks, by the contract of [`shared::link`].
//!
//! Whoever does not sign as the edge does finds nothing here: the answer is that of any path that is not served, also
//! where there is no edge. Bodies are read whole and never larger than the contract's limit; only a snapshot is a stream.

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt as _;
use serde::{Serialize, de::DeserializeOwned};
use shared::link::{
    self, BodyDigest, MAX_BODY_LEN, MEDIA_TYPE, Pull, RegionQuestion, Register, Replica, SNAPSHOT_MEDIA_TYPE, encode,
};
use shared::xrpc::error_name;

use crate::actor::read::ReadError;
use crate::app::App;
use crate::client_address::single;
use crate::error::XrpcError;
use crate::feed::FeedError;
use crate::time::now_seconds;

/// Answers everything below `/internal/`.
pub(super) async fn answer(State(app): State<App>, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let Some(body) = signed(&app, request).await else { return XrpcError::not_found(&path).into_response() };
    let feed = app.feed();
    let answered = match path.as_str() {
        link::REGISTER => match read::<Register>(&body) {
            Ok(Register { replica }) => said(feed.register(replica).await),
            Err(error) => Err(error),
        },
        link::UNREGISTER => match read::<Replica>(&body) {
            Ok(replica) => {
                feed.unregister(&replica).await.map(|()| StatusCode::NO_CONTENT.into_response()).map_err(refused)
            }
            Err(error) => Err(error),
        },
        link::PULL => match read::<Pull>(&body) {
            Ok(Pull { replica, position }) => said(feed.pull(&replica, position).await),
            Err(error) => Err(error),
        },
        link::REGION => match read::<RegionQuestion>(&body) {
            Ok(question) => said(feed.region(&question).await),
            Err(error) => Err(error),
        },
        link::SNAPSHOT => match read::<Replica>(&body) {
            Ok(replica) => snapshot(&app, replica).await,
            Err(error) => Err(error),
        },
        _ => Err(XrpcError::not_found(&path)),
    };
    answered.into_response()
}

/// The body of a request that the edge has signed.
async fn signed(app: &App, request: Request) -> Option<Bytes> {
    let keys = &app.feed().edge()?.feed;
    let (parts, body) = request.into_parts();
    // Nobody's body is read who does not even pretend.
    single(&parts.headers, "headwater-feed").filter(|_| parts.method == Method::POST)?;
    let body = to_bytes(body, MAX_BODY_LEN).await.ok()?;
    let path = parts.uri.path_and_query()?.as_str();
    let request = link::Request { method: parts.method.as_str(), path };
    let digest = BodyDigest::of(&body).ok()?;
    match keys.verify(request, |name| single(&parts.headers, name), digest, now_seconds()) {
        Ok(()) => Some(body),
        Err(error) => {
            tracing::warn!(%error, "a request is not signed as the edge does it");
            None
        }
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, XrpcError> {
    link::decode(body).map_err(|error| XrpcError::invalid_request("the message cannot be read").caused_by(error))
}

fn said<T: Serialize>(answer: Result<T, FeedError>) -> Result<Response, XrpcError> {
    let body = encode(&answer.map_err(refused)?).map_err(XrpcError::internal)?;
    Ok(([(header::CONTENT_TYPE, MEDIA_TYPE)], body).into_response())
}

async fn snapshot(app: &App, replica: Replica) -> Result<Response, XrpcError> {
    let account = replica.account.clone();
    let Some(snapshot) = app.feed().snapshot(&replica).await.map_err(refused)? else {
        return Err(XrpcError::new(StatusCode::NOT_FOUND, error_name::REPO_NOT_FOUND, "the account is not hosted"));
    };
    // The permit goes when the stream does.
    let stream = snapshot.into_stream().inspect_err(move |error| match error {
        ReadError::Unfinished => tracing::debug!(did = %account, "a snapshot was given up"),
        error => tracing::error!(did = %account, ?error, "a snapshot broke off"),
    });
    Ok(([(header::CONTENT_TYPE, SNAPSHOT_MEDIA_TYPE)], Body::from_stream(stream)).into_response())
}

fn refused(error: FeedError) -> XrpcError {
    match error {
        FeedError::NotRegistered => XrpcError::conflict(error.to_string()),
        FeedError::Busy | FeedError::Read(ReadError::Busy) => {
            XrpcError::busy(error.to_string()).with_header(header::RETRY_AFTER, HeaderValue::from_static("1"))
        }
        error @ FeedError::Read(ReadError::Unreplicable(_)) => {
            XrpcError::new(StatusCode::UNPROCESSABLE_ENTITY, error_name::INVALID_REQUEST, error.to_string())
        }
        error => XrpcError::internal(error),
    }
}
