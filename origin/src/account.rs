//! Accounts: who is hosted here, under which name, and how they prove who they are. The owner of `account.sqlite`.
//!
//! The file is the reference's, reached by its own steps, so either server opens the other's; the one table of our own is
//! the outbox ([`outbox`]), in which every change that the firehose must tell is noted by the transaction that makes it.
//! A function that changes such a state takes the events as a closure over the account as it is after the change, so that
//! what is told is what was done.
//!
//! An account has two rows: `actor`, which every one has, and `account`, its log-in, which one made without a password
//! lacks. [`Accounts`] answers with both as one [`Account`]. What it is worth is its [`Status`]: a takedown hides a
//! deactivation. Addresses and handles are kept in lower case; the clock and randomness are this server's.
//!
//! Below HTTP: nothing here knows of requests. Names and messages that clients see are on [`AccountError`].

mod app_password;
mod attempt;
mod change;
mod create;
mod email;
mod email_token;
mod error;
mod handle;
mod invite;
pub mod outbox;
mod password;
mod recent;
mod reserve;
mod root;
mod session;
mod slur;
mod status;
mod unfinished;
mod words;

use std::path::Path;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row, params};
use shared::syntax::{AtIdentifier, Did, Handle};
use shared::token::HmacKey;

pub use app_password::{AppPassword, NewAppPassword};
pub use attempt::{ATTEMPT_AGE, Attempt, Known};
pub use change::EmailChange;
pub use create::{NewAccount, SignUp};
pub use email::is_supported as email_is_supported;
pub use email_token::{IssuedToken, Purpose};
pub use error::{AccountError, ErrorKind};
pub use handle::{HandleClaim, HandleError, HandlePolicy, Rigour};
pub use invite::{InviteCode, InvitePolicy, InviteSort, InviteUse};
pub use password::{LOGIN_FLOOR, NEW_PASSWORD_MAX, OLD_PASSWORD_MAX, PasswordHash};
pub use reserve::Reservation;
pub use root::{HostedRepo, RepoRoot, put_roots};
pub use session::{Credential, Login, Tokens};
pub use slur::has_slur;
pub use status::{Deactivation, Status};
pub use unfinished::Work;

use crate::db::{Db, DbError, Options, Schema, Step};
use password::Passwords;
use recent::Recent;
use reserve::Reservations;

/// How `account.sqlite` comes to be.
pub const SCHEMA: Schema = Schema {
    steps: &[
        Step { name: "001", sql: include_str!("../migrations/account/001.sql") },
        Step { name: "002", sql: include_str!("../migrations/account/002.sql") },
        Step { name: "003", sql: include_str!("../migrations/account/003.sql") },
        Step { name: "004", sql: include_str!("../migrations/account/004.sql") },
        Step { name: "005", sql: include_str!("../migrations/account/005.sql") },
        Step { name: "006", sql: include_str!("../migrations/account/006.sql") },
        Step { name: "007", sql: include_str!("../migrations/account/007.sql") },
    ],
    own: include_str!("../migrations/account/own.sql"),
};

/// What the operator chose about accounts.
#[derive(Clone, Debug)]
pub struct AccountConfig {
    /// The DID of this service: the audience of its tokens.
    pub service_did: Did,
    /// What its tokens are signed with.
    pub jwt_key: HmacKey,
    /// The name of this server, which invite codes begin with.
    pub hostname: String,
    /// Which handles can be had.
    pub handles: HandlePolicy,
    /// Who may sign up.
    pub invites: InvitePolicy,
    /// How many passwords are checked at once: as many as there are cores.
    pub password_threads: usize,
}

/// The accounts of this server; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct Accounts {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    db: Db,
    config: AccountConfig,
    passwords: Passwords,
    reservations: Reservations,
    recent: Recent,
}

/// One account, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Whose it is.
    pub did: Did,
    /// Its name. None if it has none, or one that is no handle.
    pub handle: Option<Handle>,
    /// Where its mail goes, in lower case.
    pub email: Option<String>,
    /// When the address was confirmed, if it was.
    pub email_confirmed_at: Option<String>,
    /// Whether the invite codes that it earns are disabled at once.
    pub invites_disabled: bool,
    /// When it came to this server.
    pub created_at: String,
    /// Why or when it was taken down, if it is.
    pub takedown_ref: Option<String>,
    /// When it was deactivated, if it is.
    pub deactivated_at: Option<String>,
    /// When its owner would like a deactivated account deleted.
    pub delete_after: Option<String>,
}

/// Which accounts a question is about, beside the active ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Include {
    /// Those that are taken down.
    pub taken_down: bool,
    /// Those that are deactivated and not taken down.
    pub deactivated: bool,
}

impl Include {
    /// Active accounts only.
    pub const ACTIVE: Self = Self { taken_down: false, deactivated: false };
    /// Active and deactivated ones: those whose owner may act.
    pub const DEACTIVATED: Self = Self { taken_down: false, deactivated: true };
    /// All.
    pub const ALL: Self = Self { taken_down: true, deactivated: true };

    const fn admits(self, account: &Account) -> bool {
        (self.taken_down || account.takedown_ref.is_none()) && (self.deactivated || account.deactivated_at.is_none())
    }
}

impl Accounts {
    /// Opens `account.sqlite` at `path`, creating it or bringing it forward. Blocks.
    ///
    /// # Errors
    /// When the file cannot be opened, or was written by a newer server.
    pub fn open(path: &Path, options: Options, config: AccountConfig) -> Result<Self, DbError> {
        let db = Db::open(path, options, &SCHEMA)?;
        let passwords = Passwords::new(config.password_threads);
        Ok(Self {
            inner: Arc::new(Inner {
                db,
                config,
                passwords,
                reservations: Reservations::default(),
                recent: Recent::default(),
            }),
        })
    }

    /// The database, for its other owners: the sequencer, and the store of OAuth.
    #[must_use]
    pub fn db(&self) -> &Db {
        &self.inner.db
    }

    /// Whether the account of `did` is there and active. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn is_active_blocking(&self, did: &Did) -> Result<bool, DbError> {
        self.db().read_blocking(|c| Ok(by_did(c, did)?.is_some_and(|account| account.status().is_active())))
    }

    /// Every account with its handle. Blocks.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn handles_blocking(&self) -> Result<Vec<(Did, Handle)>, DbError> {
        self.db().read_blocking(|connection| {
            let mut statement = connection.prepare("SELECT did, handle FROM actor WHERE handle IS NOT NULL")?;
            let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
            let rows = rows.collect::<Result<Vec<_>, _>>()?;
            Ok(rows.iter().filter_map(|(did, handle)| Did::parse(did).ok().zip(Handle::parse(handle).ok())).collect())
        })
    }

    /// Every account there is: the DIDs after `after` in the order of their bytes, at most `limit`.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn dids(&self, after: String, limit: u32) -> Result<Vec<String>, AccountError> {
        self.db()
            .read(move |c| {
                let mut statement = c.prepare_cached("SELECT did FROM actor WHERE did > ?1 ORDER BY did LIMIT ?2")?;
                Ok(statement.query_map(params![after, limit], |row| row.get(0))?.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// What the operator chose.
    #[must_use]
    pub fn config(&self) -> &AccountConfig {
        &self.inner.config
    }

    /// The account of `did`.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn by_did(&self, did: &Did, include: Include) -> Result<Option<Account>, AccountError> {
        let changes = self.db().changes();
        let found = match self.inner.recent.get(did, changes) {
            Some(known) => Some(known),
            None => {
                let found = self.db().read_short(|c| -> Result<_, AccountError> { Ok(by_did(c, did)?) })?;
                found.inspect(|account| self.inner.recent.put(account, changes))
            }
        };
        Ok(found.filter(|account| include.admits(account)))
    }

    /// The account named `handle`.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn by_handle(&self, handle: &Handle, include: Include) -> Result<Option<Account>, AccountError> {
        let found = self.db().read_short(|c| -> Result<_, AccountError> { Ok(by_handle(c, handle)?) })?;
        Ok(found.filter(|account| include.admits(account)))
    }

    /// The account that a client means by its DID or its handle.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn by_identifier(&self, of: &AtIdentifier, include: Include) -> Result<Option<Account>, AccountError> {
        match of {
            AtIdentifier::Did(did) => self.by_did(did, include).await,
            AtIdentifier::Handle(handle) => self.by_handle(handle, include).await,
        }
    }

    /// The account whose mail goes to `email`, in any case.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn by_email(&self, email: &str, include: Include) -> Result<Option<Account>, AccountError> {
        let email = email.to_lowercase();
        let found = self.db().read(move |c| -> Result<_, AccountError> { Ok(by_email(c, &email)?) }).await?;
        Ok(found.filter(|account| include.admits(account)))
    }

    /// The accounts of `dids` that exist, in that order.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn by_dids(&self, dids: Vec<Did>, include: Include) -> Result<Vec<Account>, AccountError> {
        self.db()
            .read(move |c| {
                let found = dids.iter().filter_map(|did| by_did(c, did).transpose());
                Ok(found
                    .filter(|found| found.as_ref().map_or(true, |one| include.admits(one)))
                    .collect::<Result<_, _>>()?)
            })
            .await
    }
}

/// A query for accounts, in the columns of [`account_of`].
macro_rules! accounts_where {
    ($condition:literal) => {
        concat!(
            "SELECT actor.did, handle, email, emailConfirmedAt, invitesDisabled, createdAt, takedownRef, deactivatedAt, ",
            "deleteAfter FROM actor LEFT JOIN account ON account.did = actor.did WHERE ",
            $condition
        )
    };
}

const BY_DID: &str = accounts_where!("actor.did = ?1");
// The first term of each is the index's, the second the reference's, which compares as it is.
const BY_HANDLE: &str = accounts_where!("lower(handle) = ?1 AND handle = ?1");
const BY_EMAIL: &str = accounts_where!("lower(email) = lower(?1) AND email = ?1");

/// The account of `did`, whatever its status.
pub(crate) fn by_did(connection: &Connection, did: &Did) -> rusqlite::Result<Option<Account>> {
    connection.prepare_cached(BY_DID)?.query_row(params![did.as_str()], account_of).optional()
}

/// The account named `handle`, whatever its status.
fn by_handle(connection: &Connection, handle: &Handle) -> rusqlite::Result<Option<Account>> {
    connection.prepare_cached(BY_HANDLE)?.query_row(params![handle.as_str()], account_of).optional()
}

/// The account whose mail goes to `email`, which is in lower case, whatever its status.
fn by_email(connection: &Connection, email: &str) -> rusqlite::Result<Option<Account>> {
    connection.prepare_cached(BY_EMAIL)?.query_row(params![email], account_of).optional()
}

fn account_of(row: &Row<'_>) -> rusqlite::Result<Account> {
    Ok(Account {
        did: did_of(row, 0)?,
        handle: row.get::<_, Option<String>>(1)?.and_then(|text| Handle::parse(&text).ok()),
        email: row.get(2)?,
        email_confirmed_at: row.get(3)?,
        invites_disabled: row.get::<_, Option<bool>>(4)?.unwrap_or(false),
        created_at: row.get(5)?,
        takedown_ref: row.get(6)?,
        deactivated_at: row.get(7)?,
        delete_after: row.get(8)?,
    })
}

/// The DID in a column.
fn did_of(row: &Row<'_>, column: usize) -> rusqlite::Result<Did> {
    let text: String = row.get(column)?;
    Did::try_from(text).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

#[cfg(test)]
mod tests;
