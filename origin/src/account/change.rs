//! What an account can change about itself: its handle, its address, its password.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use shared::firehose::{Body, FirehoseError};
use shared::syntax::{Did, Handle};

use super::password::{NEW_PASSWORD_MAX, PasswordHash, length};
use super::{Account, AccountError, Accounts, Include, Purpose, Work, by_did, email, email_token, session, unfinished};
use crate::time::now_datetime;

/// Whether an address may be changed without a mailed token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EmailChange<'a> {
    /// The owner asks, perhaps with a token, which a confirmed address requires.
    Owner {
        /// The token that was mailed.
        token: Option<&'a str>,
    },
    /// The administrator says so; the address is taken as it is.
    Admin,
}

impl Accounts {
    /// Gives the account another handle, or the same again. Whether it may have it, [`Accounts::claim_handle`] and
    /// [`Accounts::reserve_handle`] say; what the DID's document says is the caller's. With this a change is finished
    /// ([`Work::Renaming`]).
    ///
    /// # Errors
    /// [`AccountError::HandleNotAvailable`], [`AccountError::NotFound`], [`AccountError::Db`].
    pub async fn set_handle(
        &self,
        did: &Did,
        handle: &Handle,
        events: impl FnOnce(&Account) -> Result<Vec<Body>, FirehoseError> + Send + 'static,
    ) -> Result<Account, AccountError> {
        let (of, handle) = (did.clone(), handle.clone());
        let change = move |tx: &Transaction<'_>, did: &str| {
            if named_otherwise(tx, &handle, did)? {
                return Err(AccountError::HandleNotAvailable(handle));
            }
            let sql = "UPDATE actor SET handle = ?2 WHERE did = ?1";
            unfinished::clear(tx, &of, &Work::Renaming(handle.clone()))?;
            Ok(tx.prepare_cached(sql)?.execute(params![did, handle.as_str()])? > 0)
        };
        self.change(did, change, events).await
    }

    /// Gives the account another address, which is not confirmed, and forgets the tokens that went to the one before.
    ///
    /// # Errors
    /// [`AccountError::EmailUnsupported`], [`AccountError::TokenRequired`], [`AccountError::TokenInvalid`],
    /// [`AccountError::TokenExpired`], [`AccountError::EmailInUse`], [`AccountError::NotFound`],
    /// [`AccountError::Db`].
    pub async fn set_email(&self, did: &Did, email: &str, how: EmailChange<'_>) -> Result<(), AccountError> {
        let by_owner = matches!(how, EmailChange::Owner { .. });
        if by_owner && !email::is_supported(email) {
            return Err(AccountError::EmailUnsupported);
        }
        let token = match how {
            EmailChange::Owner { token } => token.filter(|token| !token.is_empty()).map(str::to_owned),
            EmailChange::Admin => None,
        };
        let (did, email) = (did.clone(), email.to_lowercase());
        self.db()
            .write(move |tx| {
                let account = by_did(tx, &did)?.ok_or(AccountError::NotFound)?;
                match &token {
                    Some(token) => email_token::check(tx, &did, Purpose::UpdateEmail, token)?,
                    None if by_owner && account.email_confirmed_at.is_some() => {
                        return Err(AccountError::TokenRequired);
                    }
                    None => {}
                }
                if mailed_otherwise(tx, &email, did.as_str())? {
                    return Err(AccountError::EmailInUse);
                }
                let sql = "UPDATE account SET email = ?2, emailConfirmedAt = NULL WHERE did = ?1";
                tx.prepare_cached(sql)?.execute(params![did.as_str(), email])?;
                Ok(email_token::delete_all(tx, &did)?)
            })
            .await
    }

    /// Confirms that `email` is the account's address and reaches it.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::EmailMismatch`], [`AccountError::TokenInvalid`],
    /// [`AccountError::TokenExpired`], [`AccountError::Db`].
    pub async fn confirm_email(&self, did: &Did, email: &str, token: &str) -> Result<Account, AccountError> {
        let (did, email, token) = (did.clone(), email.to_lowercase(), token.to_owned());
        self.db()
            .write(move |tx| {
                let account = by_did(tx, &did)?.ok_or(AccountError::NotFound)?;
                if account.email.as_deref() != Some(&email) {
                    return Err(AccountError::EmailMismatch);
                }
                email_token::check(tx, &did, Purpose::ConfirmEmail, &token)?;
                email_token::delete(tx, &did, Purpose::ConfirmEmail)?;
                let sql = "UPDATE account SET emailConfirmedAt = ?2 WHERE did = ?1";
                tx.prepare_cached(sql)?.execute(params![did.as_str(), now_datetime().as_str()])?;
                by_did(tx, &did)?.ok_or(AccountError::NotFound)
            })
            .await
    }

    /// Hashes a password that somebody chose, for [`super::NewAccount`].
    ///
    /// # Errors
    /// [`AccountError::PasswordTooLong`], [`AccountError::Busy`], [`AccountError::Db`].
    pub async fn hash_password(&self, password: &str) -> Result<PasswordHash, AccountError> {
        if length(password) > NEW_PASSWORD_MAX {
            return Err(AccountError::PasswordTooLong);
        }
        self.inner.passwords.place()?.hash(password).await
    }

    /// Gives the account a new password and ends its sessions. Returns whether it has a log-in to give one to.
    ///
    /// # Errors
    /// [`AccountError::PasswordTooLong`], [`AccountError::Busy`], [`AccountError::Db`].
    pub async fn set_password(&self, did: &Did, password: &str) -> Result<bool, AccountError> {
        let hash = self.hash_password(password).await?;
        let did = did.clone();
        self.db().write(move |tx| Ok(replace_password(tx, &did, &hash)?)).await
    }

    /// Gives the account that `token` was mailed to a new password, ends its sessions, and uses the token up. Returns
    /// whose it is.
    ///
    /// # Errors
    /// [`AccountError::PasswordTooLong`], [`AccountError::TokenInvalid`], [`AccountError::TokenExpired`],
    /// [`AccountError::Busy`], [`AccountError::Db`].
    pub async fn reset_password(&self, token: &str, password: &str) -> Result<Did, AccountError> {
        if length(password) > NEW_PASSWORD_MAX {
            return Err(AccountError::PasswordTooLong);
        }
        let token = token.to_owned();
        let looked_at = token.clone();
        // Once before the hash, which guessing is not worth, and once with the change, which happens once.
        self.db().read(move |c| email_token::owner(c, Purpose::ResetPassword, &looked_at)).await?;
        let hash = self.hash_password(password).await?;
        self.db()
            .write(move |tx| {
                let did = email_token::owner(tx, Purpose::ResetPassword, &token)?;
                replace_password(tx, &did, &hash)?;
                Ok(did)
            })
            .await
    }

    /// Checks what an owner must show to have the account deleted: its own password and the token that was mailed.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::PasswordNeverSet`], [`AccountError::Credentials`],
    /// [`AccountError::TokenInvalid`], [`AccountError::TokenExpired`], [`AccountError::Busy`], [`AccountError::Db`].
    pub async fn check_deletion(&self, did: &Did, password: &str, token: &str) -> Result<(), AccountError> {
        self.by_did(did, Include::ALL).await?.ok_or(AccountError::NotFound)?;
        if !self.is_password(did, password).await? {
            return Err(AccountError::Credentials);
        }
        self.check_email_token(did, Purpose::DeleteAccount, token).await
    }
}

fn replace_password(tx: &Transaction<'_>, did: &Did, hash: &PasswordHash) -> rusqlite::Result<bool> {
    let sql = "UPDATE account SET passwordScrypt = ?2 WHERE did = ?1";
    let found = tx.prepare_cached(sql)?.execute(params![did.as_str(), hash.as_str()])? > 0;
    email_token::delete(tx, did, Purpose::ResetPassword)?;
    session::revoke_all(tx, did)?;
    Ok(found)
}

/// Whether an account other than that of `did` has the handle, in any case.
pub(super) fn named_otherwise(connection: &Connection, handle: &Handle, did: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM actor WHERE lower(handle) = ?1 AND did != ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params![handle.as_str(), did], |_| Ok(())).optional()?.is_some())
}

/// Whether an account other than that of `did` has the address, which is in lower case.
pub(super) fn mailed_otherwise(connection: &Connection, email: &str, did: &str) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM account WHERE lower(email) = lower(?1) AND did != ?2";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.query_row(params![email, did], |_| Ok(())).optional()?.is_some())
}
