//! Changing a did:plc identity by an operation that its owner brings.

use shared::firehose::{Event, Identity};
use shared::identity::plc::Operation;
use shared::syntax::Did;

use super::{LifecycleError, submit};
use crate::account::{AccountError, Work};
use crate::app::App;
use crate::fault;
use crate::identity::plc::DirectoryError;

/// Sends the operation to the directory, and tells that the identity has changed. Whether it may be sent is the caller's
/// to know.
///
/// # Errors
/// [`LifecycleError::Directory`] if the directory does not take it; whatever fails.
pub async fn change_identity(app: &App, did: &Did, operation: &Operation) -> Result<(), LifecycleError> {
    app.accounts().note(did, Work::Identity).await?;
    fault::point("identity.noted");
    if let Err(error) = submit(app, did, operation).await {
        // Where it is not known whether it arrived, the next start tells of it: consumers look it up themselves.
        if !matches!(error, DirectoryError::Fetch(_) | DirectoryError::Failed { .. }) {
            app.accounts().finished(did, Work::Identity).await?;
        }
        return Err(error.into());
    }
    fault::point("identity.registered");
    tell(app, did).await?;
    if let Err(error) = app.identity().refresh_did(did).await {
        tracing::debug!(%did, %error, "a document that was just changed cannot be had");
    }
    Ok(())
}

/// Tells of an operation that may have been sent.
pub(super) async fn finish(app: &App, did: &Did) -> Result<(), LifecycleError> {
    match tell(app, did).await {
        Err(LifecycleError::Account(AccountError::NotFound)) => {
            Ok(app.accounts().finished(did, Work::Identity).await?)
        }
        told => told,
    }
}

/// The event names no handle: whoever hears of it asks the directory.
async fn tell(app: &App, did: &Did) -> Result<(), LifecycleError> {
    let _told_after_its_commits = app.actors().hold(did).await;
    let of = did.clone();
    let events = move |_: &_| Ok(vec![Event::Identity(Identity { did: of, handle: None }).encode()?]);
    app.accounts().announce(did, events).await?;
    fault::point("identity.committed");
    app.accounts().finished(did, Work::Identity).await?;
    match app.announcements().deliver().await {
        Ok(()) => app.feed().surely_told(did).await,
        Err(error) => tracing::error!(%did, %error, "a changed identity is not told yet"),
    }
    Ok(())
}
