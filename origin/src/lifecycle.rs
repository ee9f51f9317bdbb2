//! What happens to an account as a whole: it is made, renamed, switched off and on, taken down, restored, recovered and
//! deleted.
//!
//! Each of these touches several of the modules below: the accounts' database, the account's own store, the sequence, and
//! the did:plc directory, which cannot be taken back. They stand here, below HTTP, because owners ask for them through
//! `com.atproto.server`, administrators through `com.atproto.admin`, and operators on the command line, and all must get
//! the same.
//!
//! What always holds: a change that was answered is durable and told in the firehose, after every commit that was made
//! before it. Work that the process does not live to finish is finished or undone by [`finish`] at the next start.
//!
//! Specification: <https://atproto.com/specs/account>, <https://atproto.com/guides/account-migration>.

mod attempt;
mod create;
mod delete;
mod document;
mod entryway;
mod identity;
mod recover;
mod rename;
mod resync;

use shared::crypto::CryptoError;
use shared::firehose::{self, FirehoseError};
use shared::identity::plc::{Body, Operation, PlcError, State};
use shared::syntax::Did;

use crate::account::{Account, AccountError, Deactivation, Include, Work};
use crate::actor::{ActorError, Recommitted, WriteError};
use crate::announce::AnnounceError;
use crate::app::App;
use crate::db::DbError;
use crate::fault;
use crate::identity::ResolveError;
use crate::identity::plc::DirectoryError;
use crate::rotation::KmsError;
use crate::sequencer::SequenceError;
use crate::time::Pauses;

pub(crate) use attempt::forget as forget_attempts;
pub use create::{Made, create};
pub use delete::delete;
pub use document::{DocumentFault, check_document};
pub use entryway::Incompatible;
pub use identity::change_identity;
pub use recover::{Recovered, Unrecovered, recover};
pub use rename::rename;
pub use resync::{publish_identity, publish_key, resync};

/// Why nothing, or not all, was done.
#[derive(Debug, thiserror::Error)]
pub enum LifecycleError {
    /// The accounts refuse.
    #[error(transparent)]
    Account(#[from] AccountError),
    /// The account's store failed.
    #[error(transparent)]
    Actor(#[from] ActorError),
    /// The repository cannot be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// It is done, and not told yet.
    #[error(transparent)]
    Announce(#[from] AnnounceError),
    /// The sequence failed.
    #[error(transparent)]
    Sequence(#[from] SequenceError),
    /// A database failed.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The did:plc directory refuses, or is not reached.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The key of did:plc operations cannot be used.
    #[error(transparent)]
    RotationKey(#[from] KmsError),
    /// The DID cannot be resolved.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The DID's document is not one of an account here.
    #[error(transparent)]
    Document(#[from] DocumentFault),
    /// A did:web names another handle than it is to have.
    #[error("DID is not properly configured for handle")]
    OtherHandle,
    /// The DID's document does not have the handle yet that an entryway says it has.
    #[error("Handle does not match DID doc")]
    StaleHandle,
    /// An entryway asks for an account without saying whose.
    #[error("non-entryway pds requires bringing a DID and plcOp")]
    NoIdentity,
    /// An entryway asks for an account whose signing key is not kept here.
    #[error("reserved signing key does not exist")]
    NotReserved,
    /// An entryway asks for an account whose identity would not be one of this server.
    #[error(transparent)]
    Incompatible(#[from] Incompatible),
    /// Whoever asks for an account of a DID has not shown that it is theirs.
    #[error("Missing auth to create account with did: {0}")]
    NotTheirs(Did),
    /// An input that only another kind of server takes.
    #[error("Unsupported input: \"{0}\"")]
    Unsupported(&'static str),
    /// A recovery key that is none.
    #[error("Invalid recovery key: {0}")]
    RecoveryKey(#[source] CryptoError),
    /// A key cannot be made.
    #[error("a signing key cannot be made")]
    Key(#[source] CryptoError),
    /// An operation cannot be made.
    #[error("a did:plc operation cannot be made")]
    Operation(#[from] PlcError),
}

/// Takes an account down and ends its sessions; `reference` says on whose word, and is the time if it is not given.
///
/// # Errors
/// [`AccountError::NotFound`] and whatever fails. After [`LifecycleError::Announce`] it is done, and will be told.
pub async fn take_down(app: &App, did: &Did, reference: Option<String>) -> Result<Account, LifecycleError> {
    let _told_after_its_commits = app.actors().hold(did).await;
    let account = app.accounts().take_down(did, reference, |account| Ok(vec![account.account_event().encode()?]));
    told(app, account.await?).await
}

/// Ends a takedown. The account's sessions stay ended, a deactivation beneath it shows again.
///
/// # Errors
/// As [`take_down`].
pub async fn restore(app: &App, did: &Did) -> Result<Account, LifecycleError> {
    let _told_after_its_commits = app.actors().hold(did).await;
    told(app, app.accounts().restore(did, |account| Ok(vec![account.account_event().encode()?])).await?).await
}

/// Deactivates an account. Its sessions go on.
///
/// # Errors
/// As [`take_down`].
pub async fn deactivate(app: &App, did: &Did, how: Deactivation) -> Result<Account, LifecycleError> {
    let _told_after_its_commits = app.actors().hold(did).await;
    let account = app.accounts().deactivate(did, how, |account| Ok(vec![account.account_event().encode()?]));
    told(app, account.await?).await
}

/// Tells again what an account is worth.
///
/// # Errors
/// As [`take_down`].
pub async fn announce(app: &App, did: &Did) -> Result<Account, LifecycleError> {
    let _told_after_its_commits = app.actors().hold(did).await;
    told(app, app.accounts().announce(did, |account| Ok(vec![account.account_event().encode()?])).await?).await
}

/// Activates an account whose DID points here, also if it is active.
///
/// Its repository gets a commit of this server's if it has none, and consumers are told at once that it is there, what it
/// is called and where its repository stands. Nobody writes to it until they are.
///
/// # Errors
/// [`LifecycleError::Document`] if the DID does not point here, [`AccountError::NotFound`] also for one that is taken
/// down, and whatever fails.
pub async fn activate(app: &App, did: &Did) -> Result<Account, LifecycleError> {
    check_document(app, did).await?;
    let account = app.accounts().by_did(did, Include::DEACTIVATED).await?;
    account.ok_or(AccountError::NotFound)?;
    let recommitted = app.actors().recommit(did).await?;
    fault::point("activate.recommitted");
    let account = app.accounts().activate(did, all_of(&recommitted)).await?;
    fault::point("activate.committed");
    told_with(app, account, recommitted).await
}

/// What an account is worth, what it is called, and where its repository stands now.
fn all_of(
    recommitted: &Recommitted,
) -> impl FnOnce(&Account) -> Result<Vec<firehose::Body>, FirehoseError> + Send + 'static {
    let sync = recommitted.sync.clone();
    |account| Ok(vec![account.account_event().encode()?, account.identity_event().encode()?, sync])
}

/// As [`told`]; nobody writes to the repository until it is.
async fn told_with(app: &App, account: Account, recommitted: Recommitted) -> Result<Account, LifecycleError> {
    let Err(error) = app.announcements().deliver().await else {
        app.feed().surely_told(&account.did).await;
        return Ok(account);
    };
    // A commit must not pass the `#sync` that it follows.
    let app = app.clone();
    tokio::spawn(async move {
        let mut pauses = Pauses::default();
        while app.announcements().deliver().await.is_err() {
            tokio::time::sleep(pauses.next()).await;
        }
        drop(recommitted);
    });
    Err(error.into())
}

/// Tells what was done, the edge too; the account as it is now.
async fn told(app: &App, account: Account) -> Result<Account, LifecycleError> {
    fault::point("change.committed");
    app.announcements().deliver().await?;
    app.feed().surely_told(&account.did).await;
    Ok(account)
}

/// The operation by which a DID's document becomes `state`, after the last one, by this server's own key.
async fn update(app: &App, did: &Did, state: State) -> Result<Operation, LifecycleError> {
    let last = app.identity().directory().last_operation(did).await?.ok_or(DocumentFault::Missing)?;
    Ok(app.rotation_key().sign(Body::update(state, &last.cid())).await?)
}

/// Sends an operation to the directory. If it is not known whether it arrived, the log is asked.
async fn submit(app: &App, did: &Did, operation: &Operation) -> Result<(), DirectoryError> {
    let directory = app.identity().directory();
    match directory.send(did, operation).await {
        Err(error @ (DirectoryError::Fetch(_) | DirectoryError::Failed { .. })) => {
            match directory.last_operation(did).await {
                Ok(Some(last)) if last.cid() == operation.cid() => Ok(()),
                _ => Err(error),
            }
        }
        sent => sent,
    }
}

/// Finishes or undoes what an earlier process noted as unfinished. What cannot be now stays noted, and so does what may be
/// asked for again.
pub(crate) async fn finish(app: &App, left: Vec<(Did, Work)>) {
    for (did, work) in left {
        if matches!(work, Work::Creation(_)) && app.accounts().is_attempted(&did).await.unwrap_or(true) {
            tracing::info!(%did, "an account that is not made yet may be asked for again");
            continue;
        }
        let finished = match work {
            Work::Creation(operation) => create::undo_earlier(app, &did, operation).await,
            Work::Deletion => delete::finish(app, &did).await,
            Work::Identity => identity::finish(app, &did).await,
            Work::Renaming(handle) => rename::finish(app, &did, &handle).await,
        };
        match finished {
            Ok(()) => tracing::info!(%did, "what an earlier process began was finished"),
            Err(error) => {
                tracing::error!(%did, error = &error as &dyn std::error::Error, "what an earlier process began cannot be finished")
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
