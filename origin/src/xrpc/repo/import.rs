//! `com.atproto.repo.importRepo`: a repository of another server in place of the account's own.

use crate::auth::Caller;
use crate::error::XrpcError;
use crate::xrpc::call::{Answer, Call};
use crate::xrpc::input::Car;

/// com.atproto.repo.importRepo
pub(in crate::xrpc) async fn import_repo(
    Call { app, caller: Caller { did, .. }, input: Car(body), .. }: Call<Caller, (), Car>,
) -> Answer<()> {
    if !app.config().service.accepts_imports {
        return Err(XrpcError::invalid_request("Service is not accepting repo imports"));
    }
    app.announcements().catch_up().await?;
    let limit = app.config().limits.import;
    app.actors().import(&did, body, limit, super::is_active(&app, &did)).await?;
    app.feed().told(&did).await;
    Ok(())
}
