//! `com.atproto.identity.*`.

use shared::api::identity::{ResolveHandleOutput, ResolveHandleParams, UpdateHandle};
use shared::syntax::Tld;
use shared::xrpc::error_name;

use super::call::{Answer, Call};
use super::input::Json;
use crate::account::{Account, AccountError, HandleError, Include, Rigour};
use crate::auth::Caller;
use crate::error::XrpcError;
use crate::lifecycle::{self, LifecycleError};

/// com.atproto.identity.resolveHandle
///
/// A handle of this server is its account's to tell, and nobody else is asked: who looks for a free name here learns at
/// once that it is. The answer is always of the moment, so it has no tag.
pub(super) async fn resolve_handle(
    Call { app, params, .. }: Call<(), ResolveHandleParams>,
) -> Answer<Json<ResolveHandleOutput>> {
    let handle = params.handle;
    if handle.tld() == Tld::Reserved {
        return Err(XrpcError::refused(HandleError::Tld.name(), HandleError::Tld.to_string()));
    }
    if let Some(account) = app.accounts().by_handle(&handle, Include::ACTIVE).await? {
        return Ok(Json(ResolveHandleOutput { did: account.did }));
    }
    if app.config().handles.is_served(handle.as_str()) {
        return Err(XrpcError::refused(error_name::HANDLE_NOT_FOUND, "Unable to resolve handle"));
    }
    let did = app.identity().resolve_handle(&handle).await;
    let did = did.ok_or_else(|| XrpcError::invalid_request("Unable to resolve handle"))?;
    Ok(Json(ResolveHandleOutput { did }))
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
