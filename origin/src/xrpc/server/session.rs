//! Sessions: logging in, staying logged in, and logging out.

use shared::api::Secret;
use shared::api::server::{CreateSession, CreateSessionOutput, GetSessionOutput, RefreshSessionOutput};
use shared::syntax::{Did, Handle};
use tokio::time::Instant;

use super::super::call::{Answer, Call};
use super::super::input::Json;
use crate::account::{Account, AccountError, Include, LOGIN_FLOOR, Tokens};
use crate::app::App;
use crate::auth::{Caller, Refresher};
use crate::error::XrpcError;
use shared::data::Value;

/// com.atproto.server.createSession
pub(in super::super) async fn create_session(
    Call { app, input: Json(input), .. }: Call<(), (), Json<CreateSession>>,
) -> Answer<Json<CreateSessionOutput>> {
    let asked_at = Instant::now();
    let login = app.accounts().login(&input.identifier, input.password.expose()).await;
    if !matches!(login, Err(AccountError::PasswordNeverSet | AccountError::Busy)) {
        // However soon it is known: how long it takes tells nothing.
        tokio::time::sleep_until(asked_at + LOGIN_FLOOR).await;
    }
    let login = login?;
    let tokens = app.accounts().open_session(&login, input.allow_takendown.unwrap_or(false)).await?;
    Ok(Json(opened(&app, login.account, tokens).await))
}

/// com.atproto.server.refreshSession
pub(in super::super) async fn refresh_session(
    Call { app, caller: Refresher { did, id }, .. }: Call<Refresher, (), ()>,
) -> Answer<Json<RefreshSessionOutput>> {
    let (account, tokens) = app.accounts().refresh(&did, &id).await.map_err(|error| match error {
        AccountError::NotFound => unknown(&did),
        error => error.into(),
    })?;
    Ok(Json(opened(&app, account, tokens).await))
}

/// com.atproto.server.deleteSession
pub(in super::super) async fn delete_session(
    Call { app, caller: Refresher { did, id }, .. }: Call<Refresher, (), ()>,
) -> Answer<()> {
    app.accounts().close_session(&did, &id).await?;
    Ok(())
}

/// com.atproto.server.getSession
pub(in super::super) async fn get_session(
    Call { app, caller: Caller { did, .. }, .. }: Call<Caller>,
) -> Answer<Json<GetSessionOutput>> {
    let account = app.accounts().by_did(&did, Include::DEACTIVATED).await?.ok_or_else(|| unknown(&did))?;
    let status = account.status();
    Ok(Json(GetSessionOutput {
        did_doc: did_doc(&app, &did).await,
        handle: account.handle.unwrap_or_else(Handle::invalid),
        did,
        email_confirmed: Some(account.email_confirmed_at.is_some()),
        email: account.email,
        email_auth_factor: None,
        active: Some(status.is_active()),
        status: status.reason(),
    }))
}

pub(in super::super) fn unknown(did: &Did) -> XrpcError {
    XrpcError::invalid_request(format!("Could not find user info for account: {did}"))
}

async fn opened(app: &App, account: Account, tokens: Tokens) -> CreateSessionOutput {
    let status = account.status();
    CreateSessionOutput {
        access_jwt: Secret::new(tokens.access),
        refresh_jwt: Secret::new(tokens.refresh),
        did_doc: did_doc(app, &account.did).await,
        handle: account.handle.unwrap_or_else(Handle::invalid),
        did: account.did,
        email_confirmed: Some(account.email_confirmed_at.is_some()),
        email: account.email,
        email_auth_factor: None,
        active: Some(status.is_active()),
        status: status.reason(),
    }
}

/// The DID document that goes with a session, where the operator wants that: clients move to the server that it names.
async fn did_doc(app: &App, did: &Did) -> Option<Value> {
    if !app.config().identity.did_doc_with_session {
        return None;
    }
    match app.identity().resolve_did(did).await {
        Ok(document) => super::super::document_json(&*document?),
        Err(error) => {
            tracing::warn!(%did, %error, "the DID document of a session's account cannot be had");
            None
        }
    }
}
