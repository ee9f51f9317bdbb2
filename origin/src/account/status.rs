//! What an account is worth: taking down, deactivating, activating, deleting.
//!
//! A takedown wins over a deactivation, which stays beneath it. Tokens of access are stateless and outlive all of this by
//! up to two hours; whoever must know asks for the status.
//!
//! Specification: <https://atproto.com/specs/account>.

use rusqlite::{Transaction, params};
use shared::firehose::{self, AccountStatus, Body, FirehoseError};
use shared::syntax::{Datetime, Did, Handle};

use super::{Account, AccountError, Accounts, Work, by_did, outbox, unfinished};
use crate::time::now_datetime;

/// What an account is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// It is served and may write.
    Active,
    /// This server took it down.
    Takendown,
    /// Its owner switched it off, or has yet to switch it on.
    Deactivated,
    /// There is none.
    Deleted,
}

impl Status {
    pub(super) const fn of(taken_down: bool, deactivated: bool) -> Self {
        match (taken_down, deactivated) {
            (true, _) => Self::Takendown,
            (false, true) => Self::Deactivated,
            (false, false) => Self::Active,
        }
    }

    /// Whether it is served.
    #[must_use]
    pub fn is_active(self) -> bool {
        self == Self::Active
    }

    /// Why it is not served, as events and answers say it: None if it is.
    #[must_use]
    pub const fn reason(self) -> Option<AccountStatus> {
        match self {
            Self::Active => None,
            Self::Takendown => Some(AccountStatus::Takendown),
            Self::Deactivated => Some(AccountStatus::Deactivated),
            Self::Deleted => Some(AccountStatus::Deleted),
        }
    }

    /// The `#account` event that tells of it.
    #[must_use]
    pub fn event(self, did: Did) -> firehose::Event {
        firehose::Event::Account(firehose::Account { did, active: self.is_active(), status: self.reason() })
    }
}

impl Account {
    /// What it is worth.
    #[must_use]
    pub const fn status(&self) -> Status {
        Status::of(self.takedown_ref.is_some(), self.deactivated_at.is_some())
    }

    /// The `#account` event that tells what it is worth.
    #[must_use]
    pub fn account_event(&self) -> firehose::Event {
        self.status().event(self.did.clone())
    }

    /// The `#identity` event that tells its handle.
    #[must_use]
    pub fn identity_event(&self) -> firehose::Event {
        let handle = Some(self.handle.clone().unwrap_or_else(Handle::invalid));
        firehose::Event::Identity(firehose::Identity { did: self.did.clone(), handle })
    }
}

/// How an account is deactivated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deactivation {
    /// When the owner would like it deleted. Kept, not acted on.
    pub delete_after: Option<Datetime>,
    /// Whether what OAuth clients and app passwords may do ends too.
    pub credentials: bool,
}

impl Accounts {
    /// What the account of `did` is worth; [`Status::Deleted`] if there is none.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn status(&self, did: &Did) -> Result<Status, AccountError> {
        let did = did.clone();
        let account = self.db().read(move |c| -> Result<_, AccountError> { Ok(by_did(c, &did)?) }).await?;
        Ok(account.map_or(Status::Deleted, |account| account.status()))
    }

    /// Tells again, or something new, about an account that does not change.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Db`].
    pub async fn announce(
        &self,
        did: &Did,
        events: impl FnOnce(&Account) -> Result<Vec<Body>, FirehoseError> + Send + 'static,
    ) -> Result<Account, AccountError> {
        self.change(did, |_, _| Ok(true), events).await
    }

    /// Takes the account down and ends its sessions; `reference` says on whose word, and is the time if it is not given.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Db`].
    pub async fn take_down(
        &self,
        did: &Did,
        reference: Option<String>,
        events: impl FnOnce(&Account) -> Result<Vec<Body>, FirehoseError> + Send + 'static,
    ) -> Result<Account, AccountError> {
        let reference = reference.unwrap_or_else(|| now_datetime().as_str().to_owned());
        let change = move |tx: &Transaction<'_>, did: &str| {
            delete(tx, "DELETE FROM refresh_token WHERE did = ?1", did)?;
            delete(tx, "DELETE FROM token WHERE did = ?1", did)?;
            let sql = "UPDATE actor SET takedownRef = ?2 WHERE did = ?1";
            Ok(tx.prepare_cached(sql)?.execute(params![did, reference])? > 0)
        };
        self.change(did, change, events).await
    }

    /// Ends a takedown. Its sessions stay ended, a deactivation beneath it shows again.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Db`].
    pub async fn restore(
        &self,
        did: &Did,
        events: impl FnOnce(&Account) -> Result<Vec<Body>, FirehoseError> + Send + 'static,
    ) -> Result<Account, AccountError> {
        let change = |tx: &Transaction<'_>, did: &str| {
            let sql = "UPDATE actor SET takedownRef = NULL WHERE did = ?1";
            Ok(tx.prepare_cached(sql)?.execute(params![did])? > 0)
        };
        self.change(did, change, events).await
    }

    /// Deactivates the account. Its sessions go on.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Db`].
    pub async fn deactivate(
        &self,
        did: &Did,
        how: Deactivation,
        events: impl FnOnce(&Account) -> Result<Vec<Body>, FirehoseError> + Send + 'static,
    ) -> Result<Account, AccountError> {
        let change = move |tx: &Transaction<'_>, did: &str| {
            if how.credentials {
                delete(tx, "DELETE FROM token WHERE did = ?1", did)?;
                delete(tx, "DELETE FROM authorized_client WHERE did = ?1", did)?;
                delete(tx, "DELETE FROM app_password WHERE did = ?1", did)?;
            }
            let now = now_datetime();
            let sql = "UPDATE actor SET deactivatedAt = ?2, deleteAfter = ?3 WHERE did = ?1";
            let values = params![did, now.as_str(), how.delete_after.as_ref().map(Datetime::as_str)];
            Ok(tx.prepare_cached(sql)?.execute(values)? > 0)
        };
        self.change(did, change, events).await
    }

    /// Activates the account, also if it is active. One that is taken down is not found.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Db`].
    pub async fn activate(
        &self,
        did: &Did,
        events: impl FnOnce(&Account) -> Result<Vec<Body>, FirehoseError> + Send + 'static,
    ) -> Result<Account, AccountError> {
        let change = |tx: &Transaction<'_>, did: &str| {
            let sql = "UPDATE actor SET deactivatedAt = NULL, deleteAfter = NULL \
                WHERE did = ?1 AND takedownRef IS NULL";
            Ok(tx.prepare_cached(sql)?.execute(params![did])? > 0)
        };
        self.change(did, change, events).await
    }

    /// Deletes the account: its name, its log-in and everything that opens it. Its invite codes stay, they are others'
    /// history. Returns whether there was one; of none, nothing is told. What is left to do is noted
    /// ([`Work::Deletion`]).
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn delete(&self, did: &Did, events: Vec<Body>) -> Result<bool, AccountError> {
        let did = did.clone();
        self.db()
            .write(move |tx| {
                for sql in DELETIONS {
                    delete(tx, sql, did.as_str())?;
                }
                let sql = "DELETE FROM actor WHERE did = ?1";
                let existed = tx.prepare_cached(sql)?.execute(params![did.as_str()])? > 0;
                if existed {
                    outbox::put(tx, &did, &events)?;
                    unfinished::put(tx, &did, &Work::Deletion)?;
                }
                Ok(existed)
            })
            .await
    }

    /// Makes a change of one account and tells of it, in one transaction. `change` says whether it found the account.
    pub(super) async fn change(
        &self,
        did: &Did,
        change: impl FnOnce(&Transaction<'_>, &str) -> Result<bool, AccountError> + Send + 'static,
        events: impl FnOnce(&Account) -> Result<Vec<Body>, FirehoseError> + Send + 'static,
    ) -> Result<Account, AccountError> {
        let did = did.clone();
        self.db()
            .write(move |tx| {
                if !change(tx, did.as_str())? {
                    return Err(AccountError::NotFound);
                }
                let account = by_did(tx, &did)?.ok_or(AccountError::NotFound)?;
                outbox::put(tx, &did, &events(&account)?)?;
                Ok(account)
            })
            .await
    }
}

/// What goes with an account, in an order that foreign keys allow. Devices and authorised clients follow by cascade.
const DELETIONS: [&str; 8] = [
    "DELETE FROM repo_root WHERE did = ?1",
    "DELETE FROM email_token WHERE did = ?1",
    "DELETE FROM refresh_token WHERE did = ?1",
    "DELETE FROM app_password WHERE did = ?1",
    "DELETE FROM token WHERE did = ?1",
    "DELETE FROM authorization_request WHERE did = ?1",
    "DELETE FROM headwater_attempt WHERE did = ?1",
    "DELETE FROM account WHERE did = ?1",
];

fn delete(tx: &Transaction<'_>, sql: &str, did: &str) -> rusqlite::Result<usize> {
    tx.prepare_cached(sql)?.execute(params![did])
}
