//! E-mail tokens: codes that prove that somebody reads an account's mail.
//!
//! An account has at most one per purpose, the newest; it lasts 15 minutes. Upper and lower case are the same.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use shared::syntax::Did;

use super::root::millis_of;
use super::{AccountError, Accounts, did_of};
use crate::random;
use crate::time::{now_datetime, now_millis};

/// How long a token lasts, in milliseconds.
const LIFETIME_MILLIS: i64 = Purpose::MINUTES * 60 * 1000;

/// What a token is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Confirming the address.
    ConfirmEmail,
    /// Changing a confirmed address.
    UpdateEmail,
    /// Choosing a new password.
    ResetPassword,
    /// Deleting the account.
    DeleteAccount,
    /// Having this server sign a PLC operation.
    PlcOperation,
}

impl Purpose {
    /// How long a token is good, in minutes.
    pub const MINUTES: i64 = 15;

    const fn as_str(self) -> &'static str {
        match self {
            Self::ConfirmEmail => "confirm_email",
            Self::UpdateEmail => "update_email",
            Self::ResetPassword => "reset_password",
            Self::DeleteAccount => "delete_account",
            Self::PlcOperation => "plc_operation",
        }
    }
}

/// A token that was made, to be mailed or withdrawn.
#[derive(Clone, PartialEq, Eq)]
pub struct IssuedToken {
    did: Did,
    purpose: Purpose,
    token: String,
    /// The one that it took the place of, and when that was made.
    before: Option<(String, String)>,
}

impl IssuedToken {
    /// The token itself.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }
}

impl std::fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IssuedToken(secret)")
    }
}

impl Accounts {
    /// Makes the token of `did` for `purpose`, `XXXXX-XXXXX`, in place of any before it.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Db`].
    pub async fn create_email_token(&self, did: &Did, purpose: Purpose) -> Result<IssuedToken, AccountError> {
        let did = did.clone();
        let token = random::grouped(2, 5).to_ascii_uppercase();
        let now = now_datetime();
        self.db()
            .write(move |tx| {
                let sql = "SELECT token, requestedAt FROM email_token WHERE purpose = ?1 AND did = ?2";
                let mut statement = tx.prepare_cached(sql)?;
                let values = params![purpose.as_str(), did.as_str()];
                let before = statement.query_row(values, |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
                let sql = "INSERT INTO email_token (purpose, did, token, requestedAt) SELECT ?1, ?2, ?3, ?4 \
                    WHERE EXISTS (SELECT 1 FROM actor WHERE did = ?2) ON CONFLICT (purpose, did) \
                    DO UPDATE SET token = excluded.token, requestedAt = excluded.requestedAt";
                let values = params![purpose.as_str(), did.as_str(), token, now.as_str()];
                match tx.prepare_cached(sql)?.execute(values)? {
                    0 => Err(AccountError::NotFound),
                    _ => Ok(IssuedToken { did, purpose, token, before }),
                }
            })
            .await
    }

    /// Undoes the making of a token that could not be mailed: the one before it is good again, for what is left of its
    /// time. Nothing happens if there is a newer one, or if it was used.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn withdraw_email_token(&self, issued: IssuedToken) -> Result<(), AccountError> {
        self.db()
            .write(move |tx| {
                let IssuedToken { did, purpose, token, before } = issued;
                let sql = "DELETE FROM email_token WHERE purpose = ?1 AND did = ?2 AND token = ?3";
                let gone = tx.prepare_cached(sql)?.execute(params![purpose.as_str(), did.as_str(), token])? > 0;
                if let Some((token, requested_at)) = before.filter(|_| gone) {
                    let sql = "INSERT INTO email_token (purpose, did, token, requestedAt) VALUES (?1, ?2, ?3, ?4)";
                    let values = params![purpose.as_str(), did.as_str(), token, requested_at];
                    tx.prepare_cached(sql)?.execute(values)?;
                }
                Ok(())
            })
            .await
    }

    /// Checks a token and leaves it.
    ///
    /// # Errors
    /// [`AccountError::TokenInvalid`], [`AccountError::TokenExpired`], [`AccountError::Db`].
    pub async fn check_email_token(&self, did: &Did, purpose: Purpose, token: &str) -> Result<(), AccountError> {
        let (did, token) = (did.clone(), token.to_owned());
        self.db().read(move |c| check(c, &did, purpose, &token)).await
    }

    /// Checks a token and uses it up: of two callers with one token, one succeeds.
    ///
    /// # Errors
    /// [`AccountError::TokenInvalid`], [`AccountError::TokenExpired`], [`AccountError::Db`].
    pub async fn use_email_token(&self, did: &Did, purpose: Purpose, token: &str) -> Result<(), AccountError> {
        let (did, token) = (did.clone(), token.to_owned());
        self.db()
            .write(move |tx| {
                check(tx, &did, purpose, &token)?;
                Ok(delete(tx, &did, purpose)?)
            })
            .await
    }
}

/// Checks a token of a known account.
pub(super) fn check(c: &Connection, did: &Did, purpose: Purpose, token: &str) -> Result<(), AccountError> {
    match find(c, purpose, token)? {
        Some((owner, requested_at)) if owner == *did => fresh(&requested_at),
        _ => Err(AccountError::TokenInvalid),
    }
}

/// Checks a token and says whose it is.
pub(super) fn owner(c: &Connection, purpose: Purpose, token: &str) -> Result<Did, AccountError> {
    let (owner, requested_at) = find(c, purpose, token)?.ok_or(AccountError::TokenInvalid)?;
    fresh(&requested_at)?;
    Ok(owner)
}

/// Forgets the token of `did` for `purpose`.
pub(super) fn delete(tx: &Transaction<'_>, did: &Did, purpose: Purpose) -> rusqlite::Result<()> {
    let sql = "DELETE FROM email_token WHERE did = ?1 AND purpose = ?2";
    tx.prepare_cached(sql)?.execute(params![did.as_str(), purpose.as_str()])?;
    Ok(())
}

/// Forgets every token of `did`.
pub(super) fn delete_all(tx: &Transaction<'_>, did: &Did) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM email_token WHERE did = ?1")?.execute(params![did.as_str()])?;
    Ok(())
}

fn find(c: &Connection, purpose: Purpose, token: &str) -> rusqlite::Result<Option<(Did, String)>> {
    let sql = "SELECT did, requestedAt FROM email_token WHERE purpose = ?1 AND token = ?2";
    let token = token.to_uppercase();
    let mut statement = c.prepare_cached(sql)?;
    statement.query_row(params![purpose.as_str(), token], |row| Ok((did_of(row, 0)?, row.get(1)?))).optional()
}

fn fresh(requested_at: &str) -> Result<(), AccountError> {
    let age = now_millis().saturating_sub(millis_of(requested_at)?);
    if age < LIFETIME_MILLIS { Ok(()) } else { Err(AccountError::TokenExpired) }
}
