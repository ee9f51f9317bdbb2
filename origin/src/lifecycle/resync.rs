//! Telling consumers anew what an account is, what it is called and where its repository stands.
//!
//! For those who missed it or took it wrongly: after a restore, a lost relay, a changed key. What is told was told before;
//! it costs each consumer a look at the directory and perhaps a whole repository, so operators pace it.

use shared::syntax::Did;

use super::{DocumentFault, LifecycleError, all_of, change_identity, told, told_with, update};
use crate::account::{Account, AccountError, Include};
use crate::app::App;

/// Tells what an account is called: whoever hears it looks its document up again.
///
/// # Errors
/// As [`super::take_down`].
pub async fn publish_identity(app: &App, did: &Did) -> Result<Account, LifecycleError> {
    let _told_after_its_commits = app.actors().hold(did).await;
    told(app, app.accounts().announce(did, |account| Ok(vec![account.identity_event().encode()?])).await?).await
}

/// Tells what an account is worth and called, and, if it is active, where its repository stands.
///
/// # Errors
/// As [`super::activate`].
pub async fn resync(app: &App, did: &Did) -> Result<Account, LifecycleError> {
    let account = app.accounts().by_did(did, Include::ALL).await?.ok_or(AccountError::NotFound)?;
    if !account.status().is_active() {
        return super::announce(app, did).await;
    }
    let recommitted = app.actors().recommit(did).await?;
    let account = app.accounts().announce(did, all_of(&recommitted)).await?;
    told_with(app, account, recommitted).await
}

/// Has an account's document name the key that its store has, and tells everything anew. Returns whether the document
/// named another.
///
/// # Errors
/// [`LifecycleError::Document`] for what is no did:plc of ours, [`LifecycleError::Directory`], and as [`resync`].
pub async fn publish_key(app: &App, did: &Did) -> Result<bool, LifecycleError> {
    app.accounts().by_did(did, Include::ALL).await?.ok_or(AccountError::NotFound)?;
    if !did.is_plc() {
        return Err(DocumentFault::Missing.into());
    }
    let key = app.actors().store(did).await?.key()?.public_key();
    let before = app.identity().directory().state(did).await?.ok_or(DocumentFault::Missing)?;
    let mut state = before.clone();
    state.set_signing_key(&key);
    let another = state != before;
    if another {
        let operation = update(app, did, state).await?;
        change_identity(app, did, &operation).await?;
    }
    resync(app, did).await?;
    Ok(another)
}
