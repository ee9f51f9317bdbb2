//! Deleting an account: rows, tombstone, events, files.
//!
//! The rows go first, in one transaction with the tombstone's event and the note that the rest is to follow. Each of the
//! later steps may be done twice. One deletion runs at a time, so that none destroys what came after another.

use shared::syntax::Did;

use super::LifecycleError;
use crate::account::{Include, Status, Work};
use crate::app::App;
use crate::fault;

/// Deletes an account with everything in it, blobs included.
///
/// Consumers are told that it is gone, and everything else that they were told of it is forgotten. Returns whether there
/// was one; of none, nothing is told. Its DID stays as it is.
///
/// # Errors
/// Whatever fails. If the account is gone already, the rest follows at the next start or with the same call.
pub async fn delete(app: &App, did: &Did) -> Result<bool, LifecycleError> {
    let one_at_a_time = app.deletions().lock().await;
    let existed = {
        let _told_after_its_commits = app.actors().hold(did).await;
        let existed = app.accounts().by_did(did, Include::ALL).await?.is_some();
        let tombstone = Status::Deleted.event(did.clone()).encode().map_err(crate::account::AccountError::from)?;
        if existed {
            app.accounts().delete(did, vec![tombstone]).await?;
            fault::point("delete.committed");
        }
        existed
    };
    follow(app, did).await?;
    drop(one_at_a_time);
    app.feed().surely_told(did).await;
    Ok(existed)
}

/// Finishes a deletion that broke off, if one did.
pub(super) async fn finish(app: &App, did: &Did) -> Result<(), LifecycleError> {
    let _one_at_a_time = app.deletions().lock().await;
    follow(app, did).await
}

/// What follows the rows.
async fn follow(app: &App, did: &Did) -> Result<(), LifecycleError> {
    if !app.accounts().is_leaving(did).await? {
        return Ok(());
    }
    app.announcements().deliver().await?;
    fault::point("delete.told");
    let sequencer = app.actors().sequencer();
    if let Some(tombstone) = sequencer.last_status(did).await? {
        sequencer.forget(did.clone(), tombstone).await?;
    }
    fault::point("delete.forgotten");
    app.actors().destroy(did).await?;
    fault::point("delete.destroyed");
    Ok(app.accounts().finished(did, Work::Deletion).await?)
}
