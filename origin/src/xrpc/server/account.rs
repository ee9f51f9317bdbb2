//! An account's life, as its owner asks for it; what is done is in [`crate::lifecycle`].

use shared::api::Secret;
use shared::api::server::{
    CheckAccountStatusOutput, CreateAccount, CreateAccountOutput, DeactivateAccount, DeleteAccount, ReserveSigningKey,
    ReserveSigningKeyOutput,
};
use shared::syntax::Did;
use shared::xrpc::error_name;

use super::super::call::{Answer, Call};
use super::super::input::Json;
use super::super::proxy::Aside;
use super::super::{document_json, idempotency};
use crate::account::{AccountError, Deactivation, Include};
use crate::actor::{ActorError, blobs, read};
use crate::auth::Caller;
use crate::config::SignUp;
use crate::error::XrpcError;
use crate::lifecycle::{self, LifecycleError, Made};

/// com.atproto.server.createAccount
///
/// Where sign-up is closed only the operator makes accounts, and not this way. With an `Idempotency-Key` it can be called
/// again until there is an answer.
pub(in super::super) async fn create_account(
    Call { app, caller: requester, input: Aside { input: Json(input), headers }, .. }: Call<
        Option<Did>,
        (),
        Aside<Json<CreateAccount>>,
    >,
) -> Answer<Json<CreateAccountOutput>> {
    if app.config().sign_up == SignUp::Closed {
        return Err(XrpcError::invalid_request("This server does not take new accounts"));
    }
    let attempt = match idempotency::key(&headers)? {
        Some(key) => {
            // As it was read: spaces, the order of its keys and what is not known make no other request of it.
            let body = serde_json::to_vec(&input).map_err(XrpcError::internal)?;
            Some(app.accounts().attempt(requester.as_ref(), &key, &body))
        }
        None => None,
    };
    let made = lifecycle::create(&app, &input, requester.as_ref(), attempt.as_ref()).await?;
    let Made { did, handle, tokens } = made;
    let document = app.identity().refresh_did(&did).await.ok().flatten();
    Ok(Json(CreateAccountOutput {
        access_jwt: Secret::new(tokens.access),
        refresh_jwt: Secret::new(tokens.refresh),
        handle,
        did,
        did_doc: document.and_then(|document| document_json(&document)),
    }))
}

/// com.atproto.server.activateAccount
pub(in super::super) async fn activate_account(Call { app, caller, .. }: Call<Caller, (), ()>) -> Answer<()> {
    match lifecycle::activate(&app, &caller.did).await {
        Ok(_) => Ok(()),
        Err(LifecycleError::Account(AccountError::NotFound) | LifecycleError::Actor(ActorError::NotFound(_))) => {
            Err(XrpcError::refused(error_name::ACCOUNT_NOT_FOUND, "user not found"))
        }
        Err(error) => Err(error.into()),
    }
}

/// com.atproto.server.deactivateAccount
pub(in super::super) async fn deactivate_account(
    Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<DeactivateAccount>>,
) -> Answer<()> {
    let how = Deactivation { delete_after: input.delete_after, credentials: false };
    match lifecycle::deactivate(&app, &caller.did, how).await {
        Ok(_) => Ok(()),
        Err(LifecycleError::Account(AccountError::NotFound)) => Err(XrpcError::invalid_request("Account not found")),
        Err(error) => Err(error.into()),
    }
}

/// com.atproto.server.checkAccountStatus
pub(in super::super) async fn check_account_status(
    Call { app, caller, .. }: Call<Caller>,
) -> Answer<Json<CheckAccountStatusOutput>> {
    let did = caller.did;
    let store = app.actors().store(&did).await?;
    let counted = store
        .db()?
        .read(|connection| Ok::<_, read::ReadError>((read::latest_commit(connection)?, blobs::counts(connection)?)));
    let (commit, counts) = counted.await?;
    let (repo_commit, repo_rev) = commit.ok_or_else(|| ActorError::NotFound(did.clone()))?;
    let account = app.accounts().by_did(&did, Include::DEACTIVATED).await?;
    let valid_did = match lifecycle::check_document(&app, &did).await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%did, %error, "the DID does not point here");
            false
        }
    };
    Ok(Json(CheckAccountStatusOutput {
        activated: account.is_some_and(|account| account.status().is_active()),
        valid_did,
        repo_commit,
        repo_rev,
        repo_blocks: counts.blocks,
        indexed_records: counts.records,
        private_state_values: 0,
        expected_blobs: counts.expected_blobs,
        imported_blobs: counts.imported_blobs,
    }))
}

/// com.atproto.server.deleteAccount
pub(in super::super) async fn delete_account(
    Call { app, input: Json(input), .. }: Call<(), (), Json<DeleteAccount>>,
) -> Answer<()> {
    let DeleteAccount { did, password, token } = input;
    match app.accounts().check_deletion(&did, password.expose(), token.expose()).await {
        Ok(()) => {}
        Err(error @ AccountError::NotFound) => return Err(XrpcError::invalid_request(error.to_string())),
        Err(AccountError::Credentials) => {
            let message = "Invalid did or password";
            return Err(XrpcError::unauthorized(error_name::AUTHENTICATION_REQUIRED, message));
        }
        Err(error) => return Err(error.into()),
    }
    lifecycle::delete(&app, &did).await?;
    Ok(())
}

/// com.atproto.server.reserveSigningKey
pub(in super::super) async fn reserve_signing_key(
    Call { app, input: Json(input), .. }: Call<(), (), Json<ReserveSigningKey>>,
) -> Answer<Json<ReserveSigningKeyOutput>> {
    let key = app.actors().reserve_key(input.did.as_ref()).await?;
    Ok(Json(ReserveSigningKeyOutput { signing_key: key.to_did_key() }))
}
