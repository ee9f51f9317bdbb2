//! Sign-ups that may be asked for again: whoever sent one with an `Idempotency-Key` sends it again until there is an
//! answer, and it makes one account.
//!
//! A row says which key came with which body, and whose account that makes. It is written with the note that an account is
//! being made ([`Work::Creation`]), before the first step that cannot be taken back, and stays for a day. What has become
//! of the attempt is not in it, but read where it is true: there is an account, or the note is there still. What has
//! failed for good leaves neither row nor note.
//!
//! Neither key nor body can be read out of a row, nor can a guess at the password in it be tried without the server's
//! secret. Who knows both gets what the password opens, and no more: an answer to an attempt that made its account is a
//! log-in.
//!
//! Specification: <https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07>.

use std::time::Duration;

use data_encoding::HEXLOWER;
use rusqlite::{Connection, OptionalExtension as _, params};
use shared::cid::Cid;
use shared::syntax::Did;

use super::{AccountError, Accounts, Reservation, Work, by_did, did_of, unfinished};
use crate::time::now_millis;

/// How long an attempt is known.
pub const ATTEMPT_AGE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long a second request with a key waits for the first.
const PATIENCE: Duration = Duration::from_secs(5);
/// What no token begins with, which the same secret signs.
const DOMAIN: &str = "an attempt to sign up";

/// A sign-up with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    key: [u8; 32],
    body: [u8; 32],
}

/// What is known of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it is the first, or all before it have failed for good.
    Nothing,
    /// Its key came with another body.
    Otherwise,
    /// It broke off. With the operation that registers the DID, if that is new.
    Begun(Did, Option<Cid>),
    /// It made this account.
    Made(Did),
}

impl Accounts {
    /// The attempt by `requester`, if one showed who they are, with this key and body.
    #[must_use]
    pub fn attempt(&self, requester: Option<&Did>, key: &str, body: &[u8]) -> Attempt {
        let tag = |parts: &[&[u8]]| self.config().jwt_key.tag(&parts.join(&0));
        let requester = requester.map_or("", Did::as_str).as_bytes();
        Attempt {
            key: tag(&[DOMAIN.as_bytes(), b"key", requester, key.as_bytes()]),
            body: tag(&[DOMAIN.as_bytes(), b"body", body]),
        }
    }

    /// The right to an attempt's key, of which there is one at a time; waits for it.
    ///
    /// # Errors
    /// [`AccountError::KeyInUse`] if another has it for longer than five seconds.
    pub async fn attempt_alone(&self, attempt: &Attempt) -> Result<Reservation, AccountError> {
        let name = HEXLOWER.encode(&attempt.key);
        let turn = tokio::time::timeout(PATIENCE, self.inner.reservations.wait_for(&name));
        turn.await.map_err(|_| AccountError::KeyInUse)
    }

    /// What is known of an attempt.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn known(&self, attempt: &Attempt) -> Result<Known, AccountError> {
        let attempt = attempt.clone();
        self.db().read(move |c| Ok(known(c, &attempt)?)).await
    }

    /// Notes that the account of `did` begins to be made, by `attempt` if it may be asked for again. `genesis` is the
    /// operation that registers the DID, if that is new.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn begin_creation(
        &self,
        did: &Did,
        genesis: Option<Cid>,
        attempt: Option<Attempt>,
    ) -> Result<(), AccountError> {
        let did = did.clone();
        self.db()
            .write(move |tx| {
                if let Some(attempt) = attempt {
                    let sql = "INSERT OR REPLACE INTO headwater_attempt (key, body, did, at) VALUES (?1, ?2, ?3, ?4)";
                    let values = params![attempt.key, attempt.body, did.as_str(), now_millis()];
                    tx.prepare_cached(sql)?.execute(values)?;
                }
                Ok(unfinished::put(tx, &did, &Work::Creation(genesis))?)
            })
            .await
    }

    /// Whether what makes the account of `did` may be asked for again.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn is_attempted(&self, did: &Did) -> Result<bool, AccountError> {
        let did = did.clone();
        self.db()
            .read(move |c| {
                let sql = "SELECT 1 FROM headwater_attempt WHERE did = ?1";
                Ok(c.prepare_cached(sql)?.query_row([did.as_str()], |_| Ok(())).optional()?.is_some())
            })
            .await
    }

    /// Forgets by which attempt the account of `did` was to be made.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn forget_attempt(&self, did: &Did) -> Result<(), AccountError> {
        let did = did.clone();
        self.db()
            .write(move |tx| {
                tx.prepare_cached("DELETE FROM headwater_attempt WHERE did = ?1")?.execute([did.as_str()])?;
                Ok(())
            })
            .await
    }

    /// Forgets attempts that began longer ago than `age`, but for one that is under way, and tells of whose.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn forget_attempts(&self, age: Duration) -> Result<Vec<Did>, AccountError> {
        let before = now_millis().saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let reservations = self.inner.reservations.clone();
        self.db()
            .write(move |tx| {
                let mut old = tx.prepare_cached("SELECT key, did FROM headwater_attempt WHERE at <= ?1")?;
                let old = old.query_map([before], |row| Ok((row.get::<_, [u8; 32]>(0)?, did_of(row, 1)?)))?;
                let mut forgotten = Vec::new();
                for attempt in old {
                    let (key, did) = attempt?;
                    if reservations.open().add(&HEXLOWER.encode(&key)) {
                        tx.prepare_cached("DELETE FROM headwater_attempt WHERE key = ?1")?.execute([key])?;
                        forgotten.push(did);
                    }
                }
                Ok(forgotten)
            })
            .await
    }
}

fn known(connection: &Connection, attempt: &Attempt) -> rusqlite::Result<Known> {
    let sql = "SELECT body, did FROM headwater_attempt WHERE key = ?1";
    let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, [u8; 32]>(0)?, did_of(row, 1)?));
    let Some((body, did)) = connection.prepare_cached(sql)?.query_row([attempt.key], read).optional()? else {
        return Ok(Known::Nothing);
    };
    // Who finds the key by trying bodies has the secret already.
    if body != attempt.body {
        return Ok(Known::Otherwise);
    }
    if by_did(connection, &did)?.is_some() {
        return Ok(Known::Made(did));
    }
    for work in unfinished::of(connection, &did)? {
        if let Work::Creation(genesis) = work {
            return Ok(Known::Begun(did, genesis));
        }
    }
    // Another server has deleted the account since.
    Ok(Known::Nothing)
}
