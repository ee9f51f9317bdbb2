//! Bringing accounts to where the sequence says that they were, after a restore of older stores, or without them.
//!
//! The accounts' own database is believed: which there are, what they are worth, what opens them. Only a deletion that
//! was told is done again, if the account, or what a backup brought back of it, is from before it: it is not to come
//! back. Everything else that the two say differently is for the operator to see.

use shared::firehose::{AccountStatus, Event};
use shared::syntax::{Datetime, Did};

use super::{LifecycleError, delete};
use crate::account::{Account, AccountError, Include};
use crate::actor::ReplayError;
use crate::app::App;
use crate::db::{DbError, blocking};

/// What a recovery came to.
#[derive(Debug, Default)]
pub struct Recovered {
    /// How many commits were made again.
    pub commits: u64,
    /// Whether there was no repository before.
    pub made: bool,
    /// Whether the head is signed by another key than the one that is here.
    pub other_key: bool,
    /// Whether the account, or what was back of it, was deleted, as it had been before.
    pub deleted: bool,
    /// How many blobs are not here that records refer to; not known of a rehearsal.
    pub missing_blobs: Option<u64>,
    /// What was told last of the account's worth, if that is not what it is worth: a status, or `active`.
    pub told: Option<String>,
    /// Why its repository is not where the sequence says.
    pub failure: Option<Unrecovered>,
}

/// Why a repository is not where the sequence says.
#[derive(Debug, thiserror::Error)]
pub enum Unrecovered {
    /// Nobody could open it.
    #[error("there is something of it, and no such account: restore a newer account.sqlite")]
    NoAccount,
    /// It is as it was.
    #[error(transparent)]
    Replay(#[from] ReplayError),
}

/// Brings an account to where the events at `from` and later say that it was. A `rehearsal` says what would be done.
///
/// # Errors
/// When accounts or sequence cannot be read, or a deletion fails. What concerns the account's repository is in what is
/// returned.
pub async fn recover(app: &App, did: &Did, from: u64, rehearsal: bool) -> Result<Recovered, LifecycleError> {
    if !rehearsal {
        // What was done and not told yet is in the sequence then.
        app.announcements().catch_up().await?;
    }
    let worth = match app.actors().sequencer().last_worth(did).await? {
        Some(stored) => match stored.body.decode().map_err(AccountError::from)? {
            Event::Account(account) => Some((account.status, stored.time)),
            _ => None,
        },
        None => None,
    };
    let is_deletion = |status: &Option<AccountStatus>| *status == Some(AccountStatus::Deleted);
    let Some(account) = app.accounts().by_did(did, Include::ALL).await? else {
        return match worth {
            Some((status, time)) if is_deletion(&status) => forget(app, did, &time, rehearsal).await,
            // Of one that was deleted before 2024 a tombstone is left, of a kind that is not sent any more.
            None if !has_history(app, did).await? => Ok(Recovered::default()),
            _ => Ok(Recovered { failure: Some(Unrecovered::NoAccount), ..Recovered::default() }),
        };
    };
    let mut told = None;
    if let Some((status, time)) = worth {
        if is_deletion(&status) && is_older(&account, &time) {
            if !rehearsal {
                delete(app, did).await?;
            }
            return Ok(Recovered { deleted: true, ..Recovered::default() });
        }
        if !is_deletion(&status) && status != account.status().reason() {
            told = Some(status.map_or_else(|| "active".to_owned(), |status| status.as_str().to_owned()));
        }
    }
    let replayed =
        if rehearsal { app.actors().rehearse_replay(did, from).await } else { app.actors().replay(did, from).await };
    let replayed = match replayed {
        Ok(replayed) => replayed,
        Err(error) => return Ok(Recovered { told, failure: Some(error.into()), ..Recovered::default() }),
    };
    let (missing_blobs, failure) = match rehearsal {
        true => (None, None),
        false => match app.actors().settle_replayed(did).await {
            Ok(missing) => (Some(missing), None),
            Err(error) => (None, Some(ReplayError::from(error).into())),
        },
    };
    app.actors().sequencer().roots_told().await?;
    Ok(Recovered {
        commits: replayed.commits,
        made: replayed.made,
        other_key: !replayed.own_key && account.status().is_active(),
        deleted: false,
        missing_blobs,
        told,
        failure,
    })
}

/// Whether there are events of an account's repository.
async fn has_history(app: &App, did: &Did) -> Result<bool, DbError> {
    let (sequencer, did) = (app.actors().sequencer().clone(), did.clone());
    blocking(move || Ok(!sequencer.repository_blocking(&did, 0)?.is_empty())).await
}

/// Deletes the files of an account that was deleted at `time`, if a backup has brought them back.
async fn forget(app: &App, did: &Did, time: &Datetime, rehearsal: bool) -> Result<Recovered, LifecycleError> {
    let _one_at_a_time = app.deletions().lock().await;
    // Whoever makes an account for the DID anew has files before there is an account.
    let Some(_spoken_for) = app.accounts().reserve_did(did) else { return Ok(Recovered::default()) };
    let unfinished = app.accounts().unfinished().await?;
    if unfinished.iter().any(|(of, _)| of == did) || !app.actors().has_files(did).await? {
        return Ok(Recovered::default());
    }
    // Made for the DID since, and not told of yet, as one is that has moved here and is not active.
    if app
        .actors()
        .rev(did)
        .await?
        .is_some_and(|rev| i64::try_from(rev.micros()).is_ok_and(|rev| rev > time.unix_micros()))
    {
        return Ok(Recovered { failure: Some(Unrecovered::NoAccount), ..Recovered::default() });
    }
    if !rehearsal {
        app.actors().destroy(did).await?;
    }
    Ok(Recovered { deleted: true, ..Recovered::default() })
}

/// Whether the account was made before `time`. One that is made for a DID again is another.
fn is_older(account: &Account, time: &Datetime) -> bool {
    Datetime::parse(&account.created_at).is_ok_and(|made| made.unix_micros() < time.unix_micros())
}
