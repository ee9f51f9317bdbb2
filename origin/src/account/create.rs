//! Signing up: what is checked before anything is made, and the rows that make an account.
//!
//! The order is the caller's to keep: [`Accounts::check_sign_up`] (no look at the database), the handle's resolution if it
//! is an outside one, [`Accounts::reserve_sign_up`], [`Accounts::hash_password`], then everything that cannot be taken
//! back, and at the end [`Accounts::create`]: an account exists when its rows do.
//!
//! Specification: lexicon `com.atproto.server.createAccount`.

use rusqlite::{Transaction, params};
use shared::firehose::{Body, FirehoseError};
use shared::syntax::{Datetime, Did, Handle};

use super::change::{mailed_otherwise, named_otherwise};
use super::password::{NEW_PASSWORD_MAX, PasswordHash, length};
use super::{
    Account, AccountError, Accounts, Credential, HandleClaim, RepoRoot, Reservation, Rigour, Tokens, Work, by_did,
    email, invite, outbox, root, session, unfinished,
};
use crate::time::now_millis;

/// When an account that came from elsewhere and was never activated may be deleted: after three days, in milliseconds.
const DELETE_AFTER_MILLIS: i64 = 3 * 24 * 60 * 60 * 1000;

/// What somebody asks for who signs up.
#[derive(Clone, Copy, Debug, Default)]
pub struct SignUp<'a> {
    /// The handle.
    pub handle: &'a str,
    /// The DID, if they bring one.
    pub did: Option<&'a Did>,
    /// Where mail goes.
    pub email: Option<&'a str>,
    /// The password.
    pub password: Option<&'a str>,
    /// The code that invited them.
    pub invite_code: Option<&'a str>,
}

/// An account to be made.
#[derive(Clone, Debug)]
pub struct NewAccount {
    /// Whose.
    pub did: Did,
    /// Its name.
    pub handle: Handle,
    /// Its log-in: address and password. Without, nobody can log in.
    pub login: Option<(String, PasswordHash)>,
    /// The code that is used up.
    pub invite_code: Option<String>,
    /// Whether it waits to be activated, as one does that came from elsewhere.
    pub deactivated: bool,
    /// Where its repository stands.
    pub root: RepoRoot,
}

impl Accounts {
    /// Checks all that can be checked without looking anything up.
    ///
    /// # Errors
    /// In this order: [`AccountError::PasswordTooLong`], [`AccountError::InviteRequired`],
    /// [`AccountError::EmailRequired`], [`AccountError::EmailUnsupported`], [`AccountError::Handle`].
    pub fn check_sign_up(&self, wanted: &SignUp<'_>) -> Result<HandleClaim, AccountError> {
        if wanted.password.is_some_and(|password| length(password) > NEW_PASSWORD_MAX) {
            return Err(AccountError::PasswordTooLong);
        }
        if self.config().invites.required && wanted.invite_code.is_none_or(str::is_empty) {
            return Err(AccountError::InviteRequired);
        }
        match wanted.email.filter(|email| !email.is_empty()) {
            None => return Err(AccountError::EmailRequired),
            Some(email) if !email::is_supported(email) => return Err(AccountError::EmailUnsupported),
            Some(_) => {}
        }
        self.claim_handle(wanted.handle, wanted.did.is_some(), Rigour::Full)
    }

    /// Says what `handle` is to this server; `has_did` if it is for an account whose DID is known, which alone can have
    /// one from outside. Resolving that is the caller's.
    ///
    /// # Errors
    /// [`AccountError::Handle`].
    pub fn claim_handle(&self, handle: &str, has_did: bool, rigour: Rigour) -> Result<HandleClaim, AccountError> {
        Ok(self.config().handles.claim(handle, has_did, rigour)?)
    }

    /// Speaks for a handle, an address, if there is one, and, if one is brought, a DID that nobody has, whatever the status of who might,
    /// and checks the invite code if one is required. They are the caller's until the reservation is dropped.
    ///
    /// # Errors
    /// [`AccountError::InviteUnavailable`], [`AccountError::HandleTaken`], [`AccountError::EmailTaken`],
    /// [`AccountError::DidTaken`], [`AccountError::Db`].
    pub async fn reserve_sign_up(
        &self,
        handle: &Handle,
        email: Option<&str>,
        did: Option<&Did>,
        invite_code: Option<&str>,
    ) -> Result<Reservation, AccountError> {
        let mut reservation = self.inner.reservations.open();
        let given = email.unwrap_or_default().to_owned();
        let (handle, email) = (handle.clone(), email.map(str::to_lowercase));
        let handle_free = reservation.add(handle.as_str());
        let email_free = email.as_ref().is_none_or(|email| reservation.add(email));
        let did_free = did.is_none_or(|did| reservation.add(did.as_str()));
        let did = did.cloned();
        let code = invite_code.filter(|_| self.config().invites.required).map(str::to_owned);
        self.db()
            .read(move |c| {
                if let Some(code) = &code {
                    invite::check(c, code)?;
                }
                if !handle_free || named_otherwise(c, &handle, "")? {
                    return Err(AccountError::HandleTaken(handle));
                }
                let mailed = email.map(|email| mailed_otherwise(c, &email, "")).transpose()?;
                if !email_free || mailed == Some(true) {
                    return Err(AccountError::EmailTaken(given));
                }
                match did {
                    Some(did) if !did_free || by_did(c, &did)?.is_some() => Err(AccountError::DidTaken(did)),
                    _ => Ok(()),
                }
            })
            .await?;
        Ok(reservation)
    }

    /// Speaks for the handle that the account of `did` is to have, and for its right to another one: it has one change
    /// of it at a time.
    ///
    /// # Errors
    /// [`AccountError::HandleNotAvailable`], [`AccountError::HandleChanging`], [`AccountError::Db`].
    pub async fn reserve_handle(&self, did: &Did, handle: &Handle) -> Result<Reservation, AccountError> {
        let mut reservation = self.inner.reservations.open();
        if !reservation.add(did.as_str()) {
            return Err(AccountError::HandleChanging);
        }
        let free = reservation.add(handle.as_str());
        let (did, handle) = (did.clone(), handle.clone());
        self.db()
            .read(move |c| match !free || named_otherwise(c, &handle, did.as_str())? {
                true => Err(AccountError::HandleNotAvailable(handle)),
                false => Ok(()),
            })
            .await?;
        Ok(reservation)
    }

    /// Speaks for a DID, so that nobody signs up with it. None if somebody does.
    #[must_use]
    pub fn reserve_did(&self, did: &Did) -> Option<Reservation> {
        let mut reservation = self.inner.reservations.open();
        reservation.add(did.as_str()).then_some(reservation)
    }

    /// Makes the account, with its first session, and tells of it. With that its making is finished
    /// ([`Work::Creation`]).
    ///
    /// # Errors
    /// [`AccountError::InviteUnavailable`], [`AccountError::DidTaken`], [`AccountError::HandleTaken`],
    /// [`AccountError::EmailTaken`], [`AccountError::Db`]. Nothing is made then.
    pub async fn create(
        &self,
        new: NewAccount,
        events: impl FnOnce(&Account) -> Result<Vec<Body>, FirehoseError> + Send + 'static,
    ) -> Result<Tokens, AccountError> {
        let accounts = self.clone();
        self.db()
            .write(move |tx| {
                insert(tx, &new)?;
                let account = by_did(tx, &new.did)?.ok_or(AccountError::NotFound)?;
                outbox::put(tx, &new.did, &events(&account)?)?;
                unfinished::clear(tx, &new.did, &Work::Creation(None))?;
                Ok(session::open(tx, accounts.config(), &new.did, &Credential::Password)?)
            })
            .await
    }
}

fn insert(tx: &Transaction<'_>, new: &NewAccount) -> Result<(), AccountError> {
    let did = new.did.as_str();
    if let Some(code) = &new.invite_code {
        invite::check(tx, code)?;
    }
    if by_did(tx, &new.did)?.is_some() {
        return Err(AccountError::DidTaken(new.did.clone()));
    }
    if named_otherwise(tx, &new.handle, did)? {
        return Err(AccountError::HandleTaken(new.handle.clone()));
    }
    let now = now_millis();
    let created = Datetime::from_unix_millis(now);
    let deactivated = new.deactivated.then(|| created.as_str());
    let delete_after = new.deactivated.then(|| Datetime::from_unix_millis(now.saturating_add(DELETE_AFTER_MILLIS)));
    let sql = "INSERT INTO actor (did, handle, createdAt, deactivatedAt, deleteAfter) VALUES (?1, ?2, ?3, ?4, ?5)";
    let delete_after = delete_after.as_ref().map(Datetime::as_str);
    let values = params![did, new.handle.as_str(), created.as_str(), deactivated, delete_after];
    tx.prepare_cached(sql)?.execute(values)?;
    if let Some((email, hash)) = &new.login {
        let address = email.to_lowercase();
        if mailed_otherwise(tx, &address, "")? {
            return Err(AccountError::EmailTaken(email.clone()));
        }
        let sql = "INSERT INTO account (did, email, passwordScrypt) VALUES (?1, ?2, ?3)";
        tx.prepare_cached(sql)?.execute(params![did, address, hash.as_str()])?;
    }
    if let Some(code) = &new.invite_code {
        invite::note_use(tx, code, &new.did, created.as_str())?;
    }
    root::put_root(tx, &new.did, &new.root.cid, &new.root.rev)?;
    Ok(())
}
