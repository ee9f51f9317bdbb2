//! `com.atproto.sync.*`: repositories and their blobs, as those read them who mirror and check them.
//!
//! CAR files carry a tag that is the commit's revision: their bytes are a function of it and of what was asked. Their
//! length is not known beforehand; one that breaks off ends the connection, so that nobody takes it for whole.
//!
//! Specification: <https://atproto.com/specs/sync>.

pub(super) mod blob;
mod subscribe;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::TryStreamExt as _;
use shared::api::sync::{
    GetBlocksParams, GetCheckoutParams, GetHeadOutput, GetHeadParams, GetLatestCommitOutput, GetLatestCommitParams,
    GetRecordParams, GetRepoParams, GetRepoStatusOutput, GetRepoStatusParams, ListReposOutput, ListReposParams,
    ListedRepo,
};
use shared::cid::Cid;
use shared::syntax::{Did, Tid};
use shared::xrpc::error_name;
use shared::xrpc::refusal::Refusal;

use super::availability::available;
use super::call::{Answer, Call};
use super::output::Public;
use crate::account::{Account, HostedRepo};
use crate::actor::export::{self, CarStream};
use crate::actor::read::{self, ReadError};
use crate::app::App;
use crate::auth::Reader;
use crate::error::XrpcError;

pub(super) use subscribe::subscribe_repos;

/// A CAR file.
pub(super) struct Car {
    body: Body,
    /// What names these bytes among all that the same call can be answered with.
    tag: Option<String>,
}

impl Car {
    fn stream(did: Did, car: CarStream, tag: Option<String>) -> Self {
        let logged = car.inspect_err(move |error| match error {
            // The client went away, or the server stops.
            ReadError::Unfinished => tracing::debug!(%did, "an export was given up"),
            error => tracing::error!(%did, ?error, "an export broke off"),
        });
        Self { body: Body::from_stream(logged), tag }
    }
}

impl IntoResponse for Car {
    fn into_response(self) -> Response {
        let mut response = self.body.into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/vnd.ipld.car"));
        if let Some(Ok(tag)) = self.tag.map(|tag| HeaderValue::try_from(format!("\"{tag}\""))) {
            headers.insert(header::ETAG, tag);
        }
        response
    }
}

/// com.atproto.sync.getBlocks
pub(super) async fn get_blocks(
    Call { app, caller, params: GetBlocksParams { did, cids }, .. }: Call<Reader, GetBlocksParams>,
) -> Answer<Car> {
    readable(&app, &did, &caller).await?;
    let tag = match cids.as_slice() {
        [cid] => Some(cid.to_string()),
        _ => None,
    };
    let car = app.actors().export_blocks(&did, cids).await?;
    Ok(Car::stream(did, car, tag))
}

/// com.atproto.sync.getCheckout
pub(super) async fn get_checkout(
    Call { app, caller, params: GetCheckoutParams { did }, .. }: Call<Reader, GetCheckoutParams>,
) -> Answer<Car> {
    repo(&app, &caller, did, None).await
}

/// com.atproto.sync.getHead
pub(super) async fn get_head(
    Call { app, caller, params: GetHeadParams { did }, .. }: Call<Reader, GetHeadParams>,
) -> Answer<Public<GetHeadOutput>> {
    readable(&app, &did, &caller).await?;
    let (root, _) =
        latest_commit(&app, &did).await?.ok_or_else(|| Refusal::no_root(error_name::HEAD_NOT_FOUND, &did))?;
    Ok(Public(GetHeadOutput { root }))
}

/// com.atproto.sync.getLatestCommit
pub(super) async fn get_latest_commit(
    Call { app, caller, params: GetLatestCommitParams { did }, .. }: Call<Reader, GetLatestCommitParams>,
) -> Answer<Public<GetLatestCommitOutput>> {
    readable(&app, &did, &caller).await?;
    let (cid, rev) =
        latest_commit(&app, &did).await?.ok_or_else(|| Refusal::no_root(error_name::REPO_NOT_FOUND, &did))?;
    Ok(Public(GetLatestCommitOutput { cid, rev }))
}

/// com.atproto.sync.getRecord
pub(super) async fn get_record(
    Call { app, caller, params: GetRecordParams { did, collection, rkey }, .. }: Call<Reader, GetRecordParams>,
) -> Answer<Car> {
    readable(&app, &did, &caller).await?;
    let store = app.actors().store(&did).await?;
    let proof = store.db()?.read(move |connection| export::proof(connection, &collection, &rkey)).await?;
    let proof = proof.ok_or_else(|| XrpcError::invalid_request(format!("Could not find repo for DID: {did}")))?;
    Ok(Car { body: proof.car.into(), tag: Some(proof.rev.to_string()) })
}

/// com.atproto.sync.getRepo
pub(super) async fn get_repo(
    Call { app, caller, params: GetRepoParams { did, since }, .. }: Call<Reader, GetRepoParams>,
) -> Answer<Car> {
    repo(&app, &caller, did, since).await
}

/// com.atproto.sync.getRepoStatus
pub(super) async fn get_repo_status(
    Call { app, params: GetRepoStatusParams { did }, .. }: Call<(), GetRepoStatusParams>,
) -> Answer<Public<GetRepoStatusOutput>> {
    // Anybody may know of any account what it is worth.
    let status = readable(&app, &did, &Reader::Admin).await?.status();
    let rev = match status.is_active() {
        true => {
            Some(latest_commit(&app, &did).await?.ok_or_else(|| Refusal::no_root(error_name::REPO_NOT_FOUND, &did))?.1)
        }
        false => None,
    };
    Ok(Public(GetRepoStatusOutput { did, active: status.is_active(), status: status.reason(), rev }))
}

/// com.atproto.sync.listRepos
pub(super) async fn list_repos(
    Call { app, params: ListReposParams { limit, cursor }, .. }: Call<(), ListReposParams>,
) -> Answer<Public<ListReposOutput>> {
    // What was written before is in the list. If it cannot be brought up to date, which is logged, it is as it is.
    let _behind = app.actors().sequencer().roots_told().await;
    let (repos, cursor) = app.accounts().repos(limit.get().into(), cursor.as_deref()).await?;
    Ok(Public(ListReposOutput { cursor, repos: repos.into_iter().filter_map(listed).collect() }))
}

/// A line of the list; none of a repository whose head is not one, which nobody could read anyway.
fn listed(repo: HostedRepo) -> Option<ListedRepo> {
    let HostedRepo { did, head, rev, status } = repo;
    let (head, rev) = (Cid::parse(&head).ok()?, Tid::parse(&rev).ok()?);
    Some(ListedRepo { did, head, rev, active: Some(status.is_active()), status: status.reason() })
}

async fn repo(app: &App, reader: &Reader, did: Did, since: Option<Tid>) -> Answer<Car> {
    readable(app, &did, reader).await?;
    let export = app.actors().export(&did, since).await?;
    Ok(Car::stream(did, export.car, Some(export.rev.to_string())))
}

/// The account of `did`, if `reader` may read its repository.
async fn readable(app: &App, did: &Did, reader: &Reader) -> Result<Account, XrpcError> {
    available(app, &did.clone().into(), reader).await
}

async fn latest_commit(app: &App, did: &Did) -> Result<Option<(Cid, Tid)>, XrpcError> {
    let store = app.actors().store(did).await?;
    Ok(store.db()?.read(read::latest_commit).await?)
}
