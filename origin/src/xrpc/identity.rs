//! `com.atproto.identity.*`.

pub(super) mod operation;

use axum::http::HeaderMap;
use shared::api::identity::{ResolveHandleOutput, ResolveHandleParams, UpdateHandle};
use shared::syntax::{Did, Handle, Tld};
use shared::xrpc::error_name;
use url::Url;

use super::call::{Answer, Call};
use super::input::Json;
use crate::account::{Account, AccountError, HandleError, Include, Rigour};
use crate::app::App;
use crate::auth::Caller;
use crate::error::XrpcError;
use crate::lifecycle::{self, LifecycleError};

/// The longest answer that names a DID, in bytes.
const ANSWER_MAX: usize = 16 * 1024;

/// com.atproto.identity.resolveHandle
///
/// A handle of this server is its account's to tell, and nobody else is asked: who looks for a free name here learns at
/// once that it is. Behind an entryway no handle is, since it keeps them. The answer is always of the moment, so it has no
/// tag.
pub(super) async fn resolve_handle(
    Call { app, params, .. }: Call<(), ResolveHandleParams>,
) -> Answer<Json<ResolveHandleOutput>> {
    let handle = params.handle;
    if handle.tld() == Tld::Reserved {
        return Err(XrpcError::refused(HandleError::Tld.name(), HandleError::Tld.to_string()));
    }
    if app.entryway().is_none() {
        if let Some(account) = app.accounts().by_handle(&handle, Include::ACTIVE).await? {
            return Ok(Json(ResolveHandleOutput { did: account.did }));
        }
        if app.config().handles.is_served(handle.as_str()) {
            return Err(XrpcError::refused(error_name::HANDLE_NOT_FOUND, "Unable to resolve handle"));
        }
    }
    let did = match &app.config().services.app_view {
        Some(view) => resolved_by(&app, &view.remote.url, &handle).await,
        None => app.identity().resolve_handle(&handle).await,
    };
    let did = did.ok_or_else(|| XrpcError::invalid_request("Unable to resolve handle"))?;
    Ok(Json(ResolveHandleOutput { did }))
}

/// What the application view at `url` resolves a handle to.
async fn resolved_by(app: &App, url: &Url, handle: &Handle) -> Option<Did> {
    let params = [("handle", handle.as_str())];
    let nsid = "com.atproto.identity.resolveHandle";
    let answer = app.pipethrough().query(url, nsid, &params, HeaderMap::new()).await;
    let answer = answer.inspect_err(|error| tracing::debug!(%handle, %error, "a handle was not resolved")).ok()?;
    let body = axum::body::to_bytes(answer.into_body(), ANSWER_MAX).await.ok()?;
    serde_json::from_slice::<ResolveHandleOutput>(&body).ok().map(|resolved| resolved.did)
}

/// com.atproto.identity.updateHandle
pub(super) async fn update_handle(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<UpdateHandle>>,
) -> Answer<()> {
    renamed(lifecycle::rename(&app, &caller.did, input.handle.as_str(), Rigour::Full).await)
}

/// The answer to a change of a handle.
pub(super) fn renamed(outcome: Result<Account, LifecycleError>) -> Answer<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(LifecycleError::Account(AccountError::NotFound)) => Err(XrpcError::invalid_request("Account not found")),
        Err(error) => Err(error.into()),
    }
}
