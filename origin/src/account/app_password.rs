//! App passwords: log-ins that the owner of an account gives to one program each, and takes back.
//!
//! They open less than the account's own password: nothing about the account itself, and direct messages only if
//! privileged. Shown once, when made.
//!
//! Specification: lexicons `com.atproto.server.createAppPassword`, `listAppPasswords`, `revokeAppPassword`.

use rusqlite::{Row, params};
use shared::syntax::Did;

use super::{AccountError, Accounts};
use crate::random;
use crate::time::now_datetime;

/// An app password, without itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPassword {
    /// Its name, unique to the account.
    pub name: String,
    /// When it was made.
    pub created_at: String,
    /// Whether it opens direct messages too.
    pub privileged: bool,
}

/// An app password that was just made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewAppPassword {
    /// What is kept of it.
    pub kept: AppPassword,
    /// Itself: `xxxx-xxxx-xxxx-xxxx`, 80 bits.
    pub password: String,
}

impl Accounts {
    /// Makes an app password named `name` for `did`.
    ///
    /// # Errors
    /// [`AccountError::AppPasswordTaken`], [`AccountError::Busy`], [`AccountError::Db`].
    pub async fn create_app_password(
        &self,
        did: &Did,
        name: &str,
        privileged: bool,
    ) -> Result<NewAppPassword, AccountError> {
        let password = random::grouped(4, 4);
        let hash = self.inner.passwords.place()?.hash_app_password(did, &password).await?;
        let did = did.clone();
        let kept = AppPassword { name: name.to_owned(), created_at: now_datetime().as_str().to_owned(), privileged };
        self.db()
            .write(move |tx| {
                let sql = "INSERT INTO app_password (did, name, passwordScrypt, createdAt, privileged) \
                    VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
                let values = params![did.as_str(), kept.name, hash.as_str(), kept.created_at, kept.privileged];
                match tx.prepare_cached(sql)?.execute(values)? {
                    0 => Err(AccountError::AppPasswordTaken(kept.name)),
                    _ => Ok(NewAppPassword { kept, password }),
                }
            })
            .await
    }

    /// The app passwords of `did`, newest first.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn app_passwords(&self, did: &Did) -> Result<Vec<AppPassword>, AccountError> {
        let did = did.clone();
        self.db()
            .read(move |c| {
                let sql = "SELECT name, createdAt, privileged FROM app_password WHERE did = ?1 \
                    ORDER BY createdAt DESC, name";
                let read = |row: &Row<'_>| {
                    let privileged = row.get::<_, i64>(2)? == 1;
                    Ok(AppPassword { name: row.get(0)?, created_at: row.get(1)?, privileged })
                };
                Ok(c.prepare_cached(sql)?.query_map(params![did.as_str()], read)?.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// Revokes the app password `name` of `did` and the sessions that it opened. Returns whether there was one.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn revoke_app_password(&self, did: &Did, name: &str) -> Result<bool, AccountError> {
        let (did, name) = (did.clone(), name.to_owned());
        self.db()
            .write(move |tx| {
                let sql = "DELETE FROM refresh_token WHERE did = ?1 AND appPasswordName = ?2";
                tx.prepare_cached(sql)?.execute(params![did.as_str(), name])?;
                let sql = "DELETE FROM app_password WHERE did = ?1 AND name = ?2";
                Ok(tx.prepare_cached(sql)?.execute(params![did.as_str(), name])? > 0)
            })
            .await
    }
}
