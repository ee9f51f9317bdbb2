//! Sessions: logging in, and the pair of tokens that a log-in is worth.
//!
//! An access token is stateless and lasts two hours; a refresh token is good for one new pair and names a row of
//! `refresh_token`. A client on a bad line may not see the answer to its refresh, so the old token goes on for two hours
//! more, and whoever uses it again within them gets a token with the *same* id as the first time: a chain never forks.
//!
//! All that decides is read and written in one transaction. A session is opened only if what was proved still holds then:
//! a log-in that raced a new password, a revoked app password or a takedown opens nothing.
//!
//! Specification: <https://atproto.com/specs/xrpc#legacy-session-authentication>; lexicons `com.atproto.server.*Session`.

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use shared::syntax::{AtIdentifier, Datetime, Did};
use shared::token::session::{self, REFRESH_LIFETIME, Scope};

use super::password::{self, OLD_PASSWORD_MAX, Place, same};
use super::{Account, AccountConfig, AccountError, Accounts, Include, by_did};
use crate::random;
use crate::time::{now_millis, now_seconds};

/// How long a refresh token goes on after it was used, in milliseconds.
const GRACE_MILLIS: i64 = 2 * 60 * 60 * 1000;

/// What a session is opened with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credential {
    /// The account's own password.
    Password,
    /// An app password.
    AppPassword {
        /// Its name.
        name: String,
        /// Whether it opens direct messages too.
        privileged: bool,
    },
}

/// Who proved to be who, and how.
#[derive(Clone, Debug)]
pub struct Login {
    /// The account, whatever its status.
    pub account: Account,
    /// With what.
    pub credential: Credential,
    /// The stored hash that the password matched.
    proof: String,
}

/// The tokens of a session.
#[derive(Clone, PartialEq, Eq)]
pub struct Tokens {
    /// For requests.
    pub access: String,
    /// For the next pair.
    pub refresh: String,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(secret)")
    }
}

impl Accounts {
    /// Finds out who logs in with `identifier` (a DID, a handle, or an e-mail address, in any case) and `password` (the
    /// account's, or one of its app passwords unless it is taken down). The caller answers no sooner than
    /// [`super::LOGIN_FLOOR`] after it was asked.
    ///
    /// # Errors
    /// [`AccountError::Credentials`] for whatever does not fit; [`AccountError::PasswordNeverSet`], which can be answered
    /// at once; [`AccountError::Busy`], [`AccountError::Db`].
    pub async fn login(&self, identifier: &str, password: &str) -> Result<Login, AccountError> {
        if password::length(password) > OLD_PASSWORD_MAX {
            return Err(AccountError::PasswordNeverSet);
        }
        // Before the look-up, so that an account that does not exist is turned away like one that does.
        let place = self.inner.passwords.place()?;
        let account = self.identified(&identifier.to_lowercase()).await?.ok_or(AccountError::Credentials)?;
        if let Some(proof) = self.proved(&place, &account.did, password).await? {
            return Ok(Login { account, credential: Credential::Password, proof });
        }
        if account.takedown_ref.is_some() {
            return Err(AccountError::Credentials);
        }
        let did = account.did.clone();
        let known = self.db().read(move |c| -> Result<_, AccountError> { Ok(app_passwords(c, &did)?) }).await?;
        if known.is_empty() {
            return Err(AccountError::Credentials);
        }
        let given = place.hash_app_password(&account.did, password).await?;
        let found = known.into_iter().find(|(_, hash)| same(given.as_str(), hash));
        let (credential, proof) = found.ok_or(AccountError::Credentials)?;
        Ok(Login { account, credential, proof })
    }

    /// Whether `password` is the account's own, not an app password; [`Accounts::login`]'s limits hold.
    ///
    /// # Errors
    /// [`AccountError::PasswordNeverSet`], [`AccountError::Busy`], [`AccountError::Db`].
    pub async fn is_password(&self, did: &Did, password: &str) -> Result<bool, AccountError> {
        match self.login_as(did, password).await {
            Ok(_) => Ok(true),
            Err(AccountError::Credentials) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Logs in whoever has the account of `did` by its own `password`; [`Accounts::login`]'s limits hold.
    ///
    /// # Errors
    /// [`AccountError::Credentials`], [`AccountError::PasswordNeverSet`], [`AccountError::Busy`], [`AccountError::Db`].
    pub async fn login_as(&self, did: &Did, password: &str) -> Result<Login, AccountError> {
        if password::length(password) > OLD_PASSWORD_MAX {
            return Err(AccountError::PasswordNeverSet);
        }
        let place = self.inner.passwords.place()?;
        let account = self.by_did(did, Include::ALL).await?.ok_or(AccountError::Credentials)?;
        let proof = self.proved(&place, did, password).await?.ok_or(AccountError::Credentials)?;
        Ok(Login { account, credential: Credential::Password, proof })
    }

    /// Opens a session for `login`. With `allow_takendown` also for an account that is taken down: then it may only
    /// leave, and its refresh token is good for nothing.
    ///
    /// # Errors
    /// [`AccountError::Takedown`]; [`AccountError::Credentials`] if what was proved no longer holds;
    /// [`AccountError::Db`].
    pub async fn open_session(&self, login: &Login, allow_takendown: bool) -> Result<Tokens, AccountError> {
        let (accounts, login) = (self.clone(), login.clone());
        self.db()
            .write(move |tx| {
                let did = &login.account.did;
                let account = by_did(tx, did)?.ok_or(AccountError::Credentials)?;
                if !still_proved(tx, &login)? {
                    return Err(AccountError::Credentials);
                }
                let config = accounts.config();
                match (account.takedown_ref.is_some(), login.credential) {
                    (false, credential) => Ok(open(tx, config, did, &credential)?),
                    (true, Credential::Password) if allow_takendown => {
                        Ok(mint(config, did, Scope::Takendown, &new_id(), now_seconds()))
                    }
                    (true, _) => Err(AccountError::Takedown),
                }
            })
            .await
    }

    /// Gives a new pair of tokens for the refresh token `id` of `did`, whose signature and expiry were checked. Returns
    /// the account too.
    ///
    /// # Errors
    /// [`AccountError::NotFound`], [`AccountError::Takedown`]; [`AccountError::Revoked`] for a token that is not known
    /// or whose grace is over; [`AccountError::Db`].
    pub async fn refresh(&self, did: &Did, id: &str) -> Result<(Account, Tokens), AccountError> {
        let (accounts, did, id) = (self.clone(), did.clone(), id.to_owned());
        let refreshed = self.db().write(move |tx| -> Result<_, AccountError> {
            let account = by_did(tx, &did)?.ok_or(AccountError::NotFound)?;
            if account.takedown_ref.is_some() {
                return Err(AccountError::Takedown);
            }
            // Not an error here: the tokens that it found expired are to stay deleted.
            Ok((account, rotate(tx, accounts.config(), &did, &id)?))
        });
        match refreshed.await? {
            (account, Some(tokens)) => Ok((account, tokens)),
            (_, None) => Err(AccountError::Revoked),
        }
    }

    /// Ends the session of the refresh token `id`. Returns whether there was one.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn close_session(&self, did: &Did, id: &str) -> Result<bool, AccountError> {
        let (did, id) = (did.clone(), id.to_owned());
        self.db()
            .write(move |tx| {
                let sql = "DELETE FROM refresh_token WHERE id = ?1 AND did = ?2";
                Ok(tx.prepare_cached(sql)?.execute(params![id, did.as_str()])? > 0)
            })
            .await
    }

    /// Ends every session of `did`; access tokens end by themselves.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn close_sessions(&self, did: &Did) -> Result<(), AccountError> {
        let did = did.clone();
        self.db().write(move |tx| Ok(revoke_all(tx, &did)?)).await
    }

    async fn identified(&self, identifier: &str) -> Result<Option<Account>, AccountError> {
        if identifier.contains('@') {
            return self.by_email(identifier, Include::ALL).await;
        }
        match AtIdentifier::parse(identifier) {
            Ok(identifier) => self.by_identifier(&identifier, Include::ALL).await,
            Err(_) => Ok(None),
        }
    }

    /// The stored hash of the account's password, if `password` is it.
    async fn proved(&self, place: &Place, did: &Did, password: &str) -> Result<Option<String>, AccountError> {
        let of = did.clone();
        let stored = self.db().read(move |c| -> Result<_, AccountError> { Ok(password_hash(c, &of)?) }).await?;
        match stored {
            Some(stored) if place.verify(password, &stored).await? => Ok(Some(stored)),
            _ => Ok(None),
        }
    }
}

/// Makes the tokens of a new session and notes the refresh token.
pub(super) fn open(
    tx: &Transaction<'_>,
    config: &AccountConfig,
    did: &Did,
    credential: &Credential,
) -> rusqlite::Result<Tokens> {
    let (id, now) = (new_id(), now_seconds());
    let name = match credential {
        Credential::Password => None,
        Credential::AppPassword { name, .. } => Some(name.as_str()),
    };
    note(tx, did, &id, name, now)?;
    Ok(mint(config, did, scope_of(credential), &id, now))
}

/// Deletes every refresh token of `did`.
pub(super) fn revoke_all(tx: &Transaction<'_>, did: &Did) -> rusqlite::Result<()> {
    tx.prepare_cached("DELETE FROM refresh_token WHERE did = ?1")?.execute(params![did.as_str()])?;
    Ok(())
}

/// Uses the refresh token `id`; None if there is none or its time is over.
fn rotate(tx: &Transaction<'_>, config: &AccountConfig, did: &Did, id: &str) -> rusqlite::Result<Option<Tokens>> {
    let Some(used) = refresh_token(tx, did, id)? else {
        return Ok(None);
    };
    let now = now_millis();
    let now_text = Datetime::from_unix_millis(now);
    let sql = "DELETE FROM refresh_token WHERE did = ?1 AND expiresAt <= ?2";
    tx.prepare_cached(sql)?.execute(params![did.as_str(), now_text.as_str()])?;
    // Both are text of one form, whose order is that of time.
    let grace = Datetime::from_unix_millis(now.saturating_add(GRACE_MILLIS));
    let expires = used.expires_at.as_str().min(grace.as_str());
    if expires <= now_text.as_str() {
        return Ok(None);
    }
    let next = used.next_id.unwrap_or_else(new_id);
    let sql = "UPDATE refresh_token SET expiresAt = ?2, nextId = ?3 WHERE id = ?1";
    tx.prepare_cached(sql)?.execute(params![id, expires, next])?;
    let name = match &used.credential {
        Credential::Password => None,
        Credential::AppPassword { name, .. } => Some(name.as_str()),
    };
    let now = now_seconds();
    note(tx, did, &next, name, now)?;
    Ok(Some(mint(config, did, scope_of(&used.credential), &next, now)))
}

/// Notes a refresh token. One that is known stays as it is, so that using an old token again does not revive its child.
fn note(tx: &Transaction<'_>, did: &Did, id: &str, app_password: Option<&str>, now: u64) -> rusqlite::Result<()> {
    let expires = i64::try_from(now.saturating_add(REFRESH_LIFETIME)).unwrap_or(i64::MAX).saturating_mul(1000);
    let expires = Datetime::from_unix_millis(expires);
    let sql = "INSERT INTO refresh_token (id, did, expiresAt, appPasswordName) VALUES (?1, ?2, ?3, ?4) \
        ON CONFLICT DO NOTHING";
    let values = params![id, did.as_str(), expires.as_str(), app_password];
    tx.prepare_cached(sql)?.execute(values)?;
    Ok(())
}

fn mint(config: &AccountConfig, did: &Did, scope: Scope, id: &str, now: u64) -> Tokens {
    let (key, aud) = (&config.jwt_key, &config.service_did);
    Tokens {
        access: session::access_token(key, aud, did, scope, now),
        refresh: session::refresh_token(key, aud, did, id, now),
    }
}

const fn scope_of(credential: &Credential) -> Scope {
    match credential {
        Credential::Password => Scope::Access,
        Credential::AppPassword { privileged: false, .. } => Scope::AppPass,
        Credential::AppPassword { privileged: true, .. } => Scope::AppPassPrivileged,
    }
}

fn new_id() -> String {
    session::token_id(random::bytes())
}

/// A row of `refresh_token`.
struct RefreshToken {
    expires_at: String,
    next_id: Option<String>,
    credential: Credential,
}

fn refresh_token(connection: &Connection, did: &Did, id: &str) -> rusqlite::Result<Option<RefreshToken>> {
    // Whether an app password is privileged is what it is now; of one that is gone, it is not.
    let sql = "SELECT expiresAt, nextId, appPasswordName, privileged FROM refresh_token AS t \
        LEFT JOIN app_password AS p ON p.did = t.did AND p.name = t.appPasswordName WHERE t.id = ?1 AND t.did = ?2";
    let read = |row: &Row<'_>| {
        let privileged = row.get::<_, Option<i64>>(3)? == Some(1);
        let name: Option<String> = row.get(2)?;
        let app = |name| Credential::AppPassword { name, privileged };
        let credential = name.filter(|name| !name.is_empty()).map_or(Credential::Password, app);
        Ok(RefreshToken { expires_at: row.get(0)?, next_id: row.get(1)?, credential })
    };
    connection.prepare_cached(sql)?.query_row(params![id, did.as_str()], read).optional()
}

fn still_proved(connection: &Connection, login: &Login) -> rusqlite::Result<bool> {
    let did = &login.account.did;
    match &login.credential {
        Credential::Password => Ok(password_hash(connection, did)?.as_ref() == Some(&login.proof)),
        credential @ Credential::AppPassword { .. } => {
            Ok(app_passwords(connection, did)?.iter().any(|(known, hash)| known == credential && *hash == login.proof))
        }
    }
}

fn password_hash(connection: &Connection, did: &Did) -> rusqlite::Result<Option<String>> {
    let sql = "SELECT passwordScrypt FROM account WHERE did = ?1";
    connection.prepare_cached(sql)?.query_row(params![did.as_str()], |row| row.get(0)).optional()
}

/// Every app password of `did`, with its hash.
fn app_passwords(connection: &Connection, did: &Did) -> rusqlite::Result<Vec<(Credential, String)>> {
    let sql = "SELECT name, privileged, passwordScrypt FROM app_password WHERE did = ?1";
    let read = |row: &Row<'_>| {
        let privileged = row.get::<_, i64>(1)? == 1;
        Ok((Credential::AppPassword { name: row.get(0)?, privileged }, row.get(2)?))
    };
    connection.prepare_cached(sql)?.query_map(params![did.as_str()], read)?.collect()
}
