//! Giving an account another handle: the DID's document first, then the row. Behind an entryway, which changes documents,
//! it has done so before it asks.
//!
//! The new handle is noted before the directory is asked to change the document. Whatever happens then, the row follows
//! the document: at once, or at the next start.

use shared::syntax::{Did, Handle};

use super::{DocumentFault, LifecycleError, submit, update};
use crate::account::{Account, AccountError, HandleClaim, HandleError, Include, Rigour, Work};
use crate::app::App;
use crate::fault;
use crate::identity::plc::DirectoryError;

/// Gives an account another handle, or tells the same one again.
///
/// # Errors
/// [`AccountError::NotFound`], also for one that is taken down; [`AccountError::Handle`],
/// [`AccountError::HandleNotAvailable`], [`LifecycleError::OtherHandle`], and whatever fails.
pub async fn rename(app: &App, did: &Did, handle: &str, rigour: Rigour) -> Result<Account, LifecycleError> {
    let accounts = app.accounts();
    accounts.by_did(did, Include::DEACTIVATED).await?.ok_or(AccountError::NotFound)?;
    let handle = match accounts.claim_handle(handle, true, rigour)? {
        HandleClaim::Local(handle) => handle,
        HandleClaim::External(handle) if app.identity().resolve_handle(&handle).await.as_ref() == Some(did) => handle,
        HandleClaim::External(_) => return Err(AccountError::Handle(HandleError::Unresolved).into()),
    };
    let _spoken_for = accounts.reserve_handle(did, &handle).await?;
    if did.is_plc() && app.entryway().is_none() {
        accounts.note(did, Work::Renaming(handle.clone())).await?;
        fault::point("rename.noted");
        if let Err(error) = rename_at_directory(app, did, &handle).await {
            // Where it is not known whether the document has changed, the next start finds out.
            if !matches!(error, LifecycleError::Directory(DirectoryError::Fetch(_) | DirectoryError::Failed { .. })) {
                accounts.finished(did, Work::Renaming(handle)).await?;
            }
            return Err(error);
        }
    } else {
        let document = app.identity().refresh_did(did).await?.ok_or(DocumentFault::Missing)?;
        if document.handle().as_ref() != Some(&handle) {
            let entryway = app.entryway().is_some();
            return Err(if entryway { LifecycleError::StaleHandle } else { LifecycleError::OtherHandle });
        }
    }
    fault::point("rename.registered");
    let account = take_over(app, did, &handle).await?;
    if let Err(error) = app.identity().refresh_did(did).await {
        tracing::debug!(%did, %error, "a document that was just changed cannot be had");
    }
    Ok(account)
}

/// Finishes a change that broke off: if the document has the new handle, the row gets it.
pub(super) async fn finish(app: &App, did: &Did, handle: &Handle) -> Result<(), LifecycleError> {
    let accounts = app.accounts();
    let work = Work::Renaming(handle.clone());
    let spoken_for = match accounts.reserve_handle(did, handle).await {
        Ok(reservation) => reservation,
        // Its owner is about it again.
        Err(AccountError::HandleChanging) => return Ok(()),
        Err(AccountError::HandleNotAvailable(_)) => return Ok(accounts.finished(did, work).await?),
        Err(error) => return Err(error.into()),
    };
    if !accounts.unfinished().await?.contains(&(did.clone(), work.clone())) {
        return Ok(());
    }
    let state = app.identity().directory().state(did).await?;
    let named = state.is_some_and(|state| is_named(&state.also_known_as, handle));
    if !named || accounts.by_did(did, Include::ALL).await?.is_none() {
        return Ok(accounts.finished(did, work).await?);
    }
    take_over(app, did, handle).await?;
    drop(spoken_for);
    Ok(())
}

/// Gives the row the handle that the document has, and tells of it.
async fn take_over(app: &App, did: &Did, handle: &Handle) -> Result<Account, LifecycleError> {
    let events = |account: &Account| Ok(vec![account.identity_event().encode()?]);
    let account = app.accounts().set_handle(did, handle, events).await?;
    super::told(app, account).await
}

async fn rename_at_directory(app: &App, did: &Did, handle: &Handle) -> Result<(), LifecycleError> {
    let directory = app.identity().directory();
    let mut state = directory.state(did).await?.ok_or(DocumentFault::Missing)?;
    if is_named(&state.also_known_as, handle) {
        return Ok(());
    }
    state.set_handle(handle);
    let operation = update(app, did, state).await?;
    Ok(submit(app, did, &operation).await?)
}

/// Whether these names of a DID make `handle` its handle.
fn is_named(names: &[String], handle: &Handle) -> bool {
    let first = names.iter().find_map(|name| name.strip_prefix("at://"));
    first == Some(handle.as_str())
}
