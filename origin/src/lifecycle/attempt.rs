//! Making an account for whoever may have to ask again.
//!
//! The steps are those of [`mod@super::create`]; here is what stands before them when a request has an `Idempotency-Key`. One
//! request with a key at a time. The first makes the account. After one that broke off, the next goes on from where it
//! was, with the DID and the key that there are: until then nobody undoes it, at a start neither. After one that made the
//! account the next is a log-in. What is refused is undone, so that another try may follow; what nobody asked for again
//! within a day is undone, too.

use std::time::Duration;

use shared::api::Secret;
use shared::api::server::CreateAccount;
use shared::cid::Cid;
use shared::syntax::{Did, Handle};

use super::create::{Granted, Made, Making, NewIdentity, undo};
use super::{LifecycleError, finish};
use crate::account::{AccountError, Attempt, ErrorKind, Known};
use crate::actor::ActorError;
use crate::app::App;

/// As [`super::create()`], once for an attempt.
pub(super) async fn create(
    app: &App,
    wanted: &CreateAccount,
    requester: Option<&Did>,
    attempt: &Attempt,
) -> Result<Made, LifecycleError> {
    let accounts = app.accounts();
    let password = wanted.password.as_ref().map(Secret::expose).ok_or(AccountError::KeyWithoutPassword)?;
    let _alone = accounts.attempt_alone(attempt).await?;
    let begun = match accounts.known(attempt).await? {
        Known::Nothing => None,
        Known::Otherwise => return Err(AccountError::KeyReused.into()),
        Known::Begun(did, genesis) => Some((did, genesis)),
        Known::Made(did) => return log_in(app, did, password).await,
    };
    let granted = match Granted::to(app, wanted, requester).await {
        Ok(granted) => granted,
        Err(error) => {
            // What it was to have is another's by now, say.
            let refused = matches!(&error, LifecycleError::Account(refusal) if refusal.kind() == ErrorKind::Invalid);
            if let Some((did, genesis)) = begun.filter(|_| refused) {
                undo(app, &did, genesis.as_ref()).await?;
            }
            return Err(error);
        }
    };
    let left = match begun {
        Some((did, genesis)) => left_of(app, wanted, &granted.handle, &did, genesis).await?,
        None => None,
    };
    let resumed = left.is_some();
    let identity = match left {
        Some(identity) => identity,
        None => NewIdentity::new(app, wanted, &granted.handle).await?,
    };
    Making { app, granted, identity, attempt: Some(attempt), resumed }.make().await
}

/// The answer to an attempt that has made its account.
async fn log_in(app: &App, did: Did, password: &str) -> Result<Made, LifecycleError> {
    let login = app.accounts().login_as(&did, password).await?;
    let tokens = app.accounts().open_session(&login, false).await?;
    Ok(Made { did, handle: login.account.handle.unwrap_or_else(Handle::invalid), tokens })
}

/// What an attempt that broke off had for an identity. None if that came to nothing, or would not be the same now that the
/// server has other settings; then it is undone.
async fn left_of(
    app: &App,
    wanted: &CreateAccount,
    handle: &Handle,
    did: &Did,
    genesis: Option<Cid>,
) -> Result<Option<NewIdentity>, LifecycleError> {
    let key = match app.actors().store(did).await {
        Ok(store) => store.key().cloned(),
        Err(error) => Err(error),
    };
    app.actors().release(did);
    let left = match key {
        Ok(key) => Some(NewIdentity::again(app, wanted, handle, key, did, genesis.as_ref()).await?),
        Err(ActorError::NotFound(_) | ActorError::Key { .. }) => None,
        Err(error) => return Err(error.into()),
    };
    let left = left.filter(|identity| identity.did == *did && identity.genesis() == genesis);
    if left.is_none() {
        undo(app, did, genesis.as_ref()).await?;
    }
    Ok(left)
}

/// Forgets attempts that began longer ago than `age`, and undoes those that broke off.
///
/// # Errors
/// When the accounts cannot be read. What cannot be undone now is at the next start.
pub(crate) async fn forget(app: &App, age: Duration) -> Result<(), LifecycleError> {
    let forgotten = app.accounts().forget_attempts(age).await?;
    if forgotten.is_empty() {
        return Ok(());
    }
    let mut left = app.accounts().unfinished().await?;
    left.retain(|(did, _)| forgotten.contains(did));
    finish(app, left).await;
    Ok(())
}
