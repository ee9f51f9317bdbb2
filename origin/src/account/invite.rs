//! Invite codes: who may sign up, and on whose word.
//!
//! The administrator makes codes, for itself or as a present to an account; an account earns one of its own per interval
//! of its life, five unused ones at most. A code is good for a number of sign-ups, unless it is disabled or its holder is
//! taken down. The administrator's own are held by, and created by, `admin`.
//!
//! Specification: lexicons `com.atproto.server.*InviteCode*`, `com.atproto.admin.*Invite*`.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::types::ToSql;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};
use shared::syntax::{Datetime, Did};

use super::root::{cursor_of, millis_of, split_cursor};
use super::{AccountError, Accounts, by_did};
use crate::random;
use crate::time::{now_datetime, now_millis};

/// Who holds and creates the administrator's codes.
const ADMIN: &str = "admin";
/// How many unused codes of its own an account can have.
const OPEN_MAX: i64 = 5;

/// Who may sign up.
#[derive(Clone, Debug, Default)]
pub struct InvitePolicy {
    /// Whether a code is needed.
    pub required: bool,
    /// How long an account lives for each code that it earns, in milliseconds. It earns none without.
    pub interval_millis: Option<i64>,
    /// From when on its life counts, in milliseconds since 1970.
    pub epoch_millis: i64,
}

/// An invite code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteCode {
    /// The code.
    pub code: String,
    /// For how many sign-ups it is good, used ones included.
    pub available: i64,
    /// Whether it is good for none any more.
    pub disabled: bool,
    /// Who holds it: a DID, or `admin`.
    pub for_account: String,
    /// Who made it: a DID, or `admin`.
    pub created_by: String,
    /// When.
    pub created_at: String,
    /// Who signed up with it, the latest first.
    pub uses: Vec<InviteUse>,
}

/// A sign-up with a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InviteUse {
    /// Who.
    pub used_by: Did,
    /// When.
    pub used_at: String,
}

/// How the list of all codes is ordered, the first last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteSort {
    /// By when they were made.
    Recent,
    /// By how often they were used.
    Usage,
}

impl InviteCode {
    fn used(&self) -> i64 {
        i64::try_from(self.uses.len()).unwrap_or(i64::MAX)
    }
}

impl Accounts {
    /// Makes `count` codes for each of `holders`, DIDs or `admin`, good for `uses` sign-ups each. Returns the codes by
    /// holder, in that order.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn create_invite_codes(
        &self,
        holders: Vec<String>,
        count: u32,
        uses: i64,
    ) -> Result<Vec<(String, Vec<String>)>, AccountError> {
        let accounts = self.clone();
        self.db()
            .write(move |tx| {
                let now = now_datetime();
                let mut made = Vec::with_capacity(holders.len());
                for holder in holders {
                    let codes: Vec<_> = (0..count).map(|_| accounts.new_code()).collect();
                    for code in &codes {
                        insert(tx, code, uses, false, &holder, ADMIN, now.as_str())?;
                    }
                    made.push((holder, codes));
                }
                Ok(made)
            })
            .await
    }

    /// The codes that the account of `did` holds and can give away, with those it has used up if `include_used`. With
    /// `create` it gets those first that it has earned.
    ///
    /// # Errors
    /// [`AccountError::NotFound`] if it is not active, [`AccountError::Db`].
    pub async fn account_invite_codes(
        &self,
        did: &Did,
        include_used: bool,
        create: bool,
    ) -> Result<Vec<InviteCode>, AccountError> {
        let (accounts, did) = (self.clone(), did.clone());
        let policy = &self.config().invites;
        let codes = match policy.interval_millis.filter(|_| create && policy.required) {
            None => self.db().read(move |c| held_by_active(c, &did).map(|(codes, _)| codes)).await?,
            Some(interval) => self.db().write(move |tx| accounts.earn(tx, &did, interval)).await?,
        };
        let given = |code: &InviteCode| !code.disabled && (include_used || code.used() < code.available);
        Ok(codes.into_iter().filter(given).collect())
    }

    /// Every code that each of `dids` holds, for the administrator.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn invite_codes_of(&self, dids: Vec<Did>) -> Result<BTreeMap<Did, Vec<InviteCode>>, AccountError> {
        self.db()
            .read(move |c| {
                let held = dids.into_iter().map(|did| held_by(c, did.as_str()).map(|codes| (did, codes)));
                Ok(held.collect::<Result<_, _>>()?)
            })
            .await
    }

    /// The code with which each of `dids` signed up, if it did with one.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn invited_by(&self, dids: Vec<Did>) -> Result<BTreeMap<Did, InviteCode>, AccountError> {
        self.db()
            .read(move |c| {
                let dids: BTreeSet<_> = dids.into_iter().collect();
                let sql = format!(
                    "{CODES} WHERE code IN (SELECT code FROM invite_code_use WHERE usedBy = ?1) ORDER BY rowid"
                );
                let mut invited = BTreeMap::new();
                for did in dids {
                    if let Some(code) = codes(c, &sql, &[&did.as_str()])?.pop() {
                        invited.insert(did, code);
                    }
                }
                Ok(invited)
            })
            .await
    }

    /// One page of all codes, at most `limit` after `cursor`, and the cursor of the next page. There is none after an
    /// empty page.
    ///
    /// # Errors
    /// [`AccountError::Cursor`], [`AccountError::Db`].
    pub async fn invite_codes(
        &self,
        sort: InviteSort,
        limit: u32,
        cursor: Option<&str>,
    ) -> Result<(Vec<InviteCode>, Option<String>), AccountError> {
        let cursor = cursor.filter(|cursor| !cursor.is_empty()).map(split_cursor).transpose()?;
        let after = cursor.map(|(number, code)| (number, code.to_owned()));
        self.db()
            .read(move |c| {
                let page = page(c, sort, limit, after)?;
                let next = match page.last() {
                    None => None,
                    Some(last) => {
                        let number = match sort {
                            InviteSort::Recent => millis_of(&last.created_at)?,
                            InviteSort::Usage => last.used(),
                        };
                        Some(cursor_of(number, &last.code))
                    }
                };
                Ok((page, next))
            })
            .await
    }

    /// Disables codes: those given, and all that `holders` hold.
    ///
    /// # Errors
    /// [`AccountError::AdminInvites`] if the administrator is among the holders; [`AccountError::Db`].
    pub async fn disable_invite_codes(&self, codes: Vec<String>, holders: Vec<String>) -> Result<(), AccountError> {
        if holders.iter().any(|holder| holder == ADMIN) {
            return Err(AccountError::AdminInvites);
        }
        self.db()
            .write(move |tx| {
                for code in &codes {
                    tx.prepare_cached("UPDATE invite_code SET disabled = 1 WHERE code = ?1")?.execute([code])?;
                }
                for holder in &holders {
                    tx.prepare_cached("UPDATE invite_code SET disabled = 1 WHERE forAccount = ?1")?
                        .execute([holder])?;
                }
                Ok(())
            })
            .await
    }

    /// Says whether the codes that an account earns from now on are disabled at once. Returns whether there is a log-in
    /// to say it of.
    ///
    /// # Errors
    /// [`AccountError::Db`].
    pub async fn set_invites_disabled(&self, did: &Did, disabled: bool) -> Result<bool, AccountError> {
        let did = did.clone();
        self.db()
            .write(move |tx| {
                let sql = "UPDATE account SET invitesDisabled = ?2 WHERE did = ?1";
                Ok(tx.prepare_cached(sql)?.execute(params![did.as_str(), disabled])? > 0)
            })
            .await
    }

    /// `pds-example-com-xxxxx-xxxxx`: without dots, so that nothing takes it for a link.
    fn new_code(&self) -> String {
        format!("{}-{}", self.config().hostname.replace('.', "-"), random::grouped(2, 5))
    }

    /// Gives an account the codes that it has earned, and returns all that it holds.
    fn earn(&self, tx: &Transaction<'_>, did: &Did, interval: i64) -> Result<Vec<InviteCode>, AccountError> {
        let (held, account) = held_by_active(tx, did)?;
        let life = Life {
            created: millis_of(&account.created_at)?,
            now: now_millis(),
            epoch: self.config().invites.epoch_millis,
            interval,
        };
        let now = now_datetime();
        // Made for the books even where they are disabled, so that they are not made up for later.
        for _ in 0..earned(&life, &held)? {
            insert(tx, &self.new_code(), 1, account.invites_disabled, did.as_str(), did.as_str(), now.as_str())?;
        }
        Ok(held_by(tx, did.as_str())?)
    }
}

/// What an account's codes are reckoned by, in milliseconds.
struct Life {
    created: i64,
    now: i64,
    epoch: i64,
    interval: i64,
}

/// How many codes an account is to be given.
fn earned(life: &Life, held: &[InviteCode]) -> rusqlite::Result<i64> {
    // Presents of the administrator do not count against what is earned.
    let own: Vec<_> = held.iter().filter(|code| code.created_by != ADMIN).collect();
    let intervals = |span: i64| span.checked_div_euclid(life.interval).unwrap_or(0);
    let lived = intervals(life.now.saturating_sub(life.created));
    let before_epoch = if life.created < life.epoch { intervals(life.epoch.saturating_sub(life.created)) } else { 0 };
    let (mut open, mut since_epoch) = (0, 0);
    for code in own {
        open += i64::from(!code.disabled && code.used() < code.available);
        since_epoch += i64::from(millis_of(&code.created_at)? > life.epoch);
    }
    Ok((OPEN_MAX - open).min(lived - before_epoch - since_epoch).max(0))
}

/// Checks that a sign-up can use `code`.
pub(super) fn check(connection: &Connection, code: &str) -> Result<(), AccountError> {
    let sql = "SELECT availableUses > (SELECT count(*) FROM invite_code_use AS u WHERE u.code = i.code) \
        FROM invite_code AS i LEFT JOIN actor ON actor.did = forAccount \
        WHERE i.code = ?1 AND takedownRef IS NULL AND ifnull(disabled, 0) = 0";
    let available: Option<bool> = connection.prepare_cached(sql)?.query_row([code], |row| row.get(0)).optional()?;
    if available == Some(true) { Ok(()) } else { Err(AccountError::InviteUnavailable) }
}

/// Notes that `did` signed up with `code`.
pub(super) fn note_use(tx: &Transaction<'_>, code: &str, did: &Did, now: &str) -> rusqlite::Result<()> {
    // Who comes back after a deletion, with the same code, has used it once more; the table holds one use of each.
    let sql = "INSERT INTO invite_code_use (code, usedBy, usedAt) VALUES (?1, ?2, ?3) \
        ON CONFLICT (code, usedBy) DO UPDATE SET usedAt = excluded.usedAt";
    tx.prepare_cached(sql)?.execute(params![code, did.as_str(), now])?;
    Ok(())
}

fn insert(
    tx: &Transaction<'_>,
    code: &str,
    uses: i64,
    disabled: bool,
    holder: &str,
    creator: &str,
    now: &str,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO invite_code (code, availableUses, disabled, forAccount, createdBy, createdAt) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    tx.prepare_cached(sql)?.execute(params![code, uses, disabled, holder, creator, now])?;
    Ok(())
}

/// The codes that an active account holds, and the account.
fn held_by_active(connection: &Connection, did: &Did) -> Result<(Vec<InviteCode>, super::Account), AccountError> {
    let account = by_did(connection, did)?.filter(|account| account.status().is_active());
    Ok((held_by(connection, did.as_str())?, account.ok_or(AccountError::NotFound)?))
}

fn held_by(connection: &Connection, holder: &str) -> rusqlite::Result<Vec<InviteCode>> {
    codes(connection, &format!("{CODES} WHERE forAccount = ?1 ORDER BY rowid"), &[&holder])
}

fn page(
    connection: &Connection,
    sort: InviteSort,
    limit: u32,
    after: Option<(i64, String)>,
) -> rusqlite::Result<Vec<InviteCode>> {
    // A code's uses are counted where the list is made, so that one order serves page and cursor.
    let uses = "(SELECT count(*) FROM invite_code_use AS u WHERE u.code = invite_code.code)";
    let key = match sort {
        InviteSort::Recent => "createdAt",
        InviteSort::Usage => uses,
    };
    let order = format!("ORDER BY {key} DESC, code DESC LIMIT ?1");
    let Some((number, code)) = after else {
        return codes(connection, &format!("{CODES} {order}"), &[&limit]);
    };
    let created;
    let number: &dyn ToSql = match sort {
        InviteSort::Recent => {
            created = Datetime::from_unix_millis(number).as_str().to_owned();
            &created
        }
        InviteSort::Usage => &number,
    };
    codes(connection, &format!("{CODES} WHERE ({key}, code) < (?2, ?3) {order}"), &[&limit, number, &code])
}

/// The columns of [`codes`].
const CODES: &str = "SELECT code, availableUses, ifnull(disabled, 0) != 0, forAccount, createdBy, createdAt \
    FROM invite_code";

/// Reads codes, each with its uses.
fn codes(connection: &Connection, sql: &str, values: &[&dyn ToSql]) -> rusqlite::Result<Vec<InviteCode>> {
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map(values, code_of)?.collect::<Result<Vec<_>, _>>()?;
    found.into_iter().map(|code| Ok(InviteCode { uses: uses_of(connection, &code.code)?, ..code })).collect()
}

fn code_of(row: &Row<'_>) -> rusqlite::Result<InviteCode> {
    Ok(InviteCode {
        code: row.get(0)?,
        available: row.get(1)?,
        disabled: row.get(2)?,
        for_account: row.get(3)?,
        created_by: row.get(4)?,
        created_at: row.get(5)?,
        uses: Vec::new(),
    })
}

fn uses_of(connection: &Connection, code: &str) -> rusqlite::Result<Vec<InviteUse>> {
    let sql = "SELECT usedBy, usedAt FROM invite_code_use WHERE code = ?1 ORDER BY usedAt DESC, usedBy";
    let read = |row: &Row<'_>| Ok(InviteUse { used_by: super::did_of(row, 0)?, used_at: row.get(1)? });
    connection.prepare_cached(sql)?.query_map([code], read)?.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 60 * 60 * 1000;

    fn code(by: &str, created: i64, used: bool, disabled: bool) -> InviteCode {
        let used_by = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
        InviteCode {
            code: "c".to_owned(),
            available: 1,
            disabled,
            for_account: "did:plc:x".to_owned(),
            created_by: by.to_owned(),
            created_at: Datetime::from_unix_millis(created).as_str().to_owned(),
            uses: if used { vec![InviteUse { used_by, used_at: String::new() }] } else { Vec::new() },
        }
    }

    fn given(created: i64, now: i64, epoch: i64, held: &[InviteCode]) -> i64 {
        earned(&Life { created: created * DAY, now: now * DAY, epoch: epoch * DAY, interval: 7 * DAY }, held).unwrap()
    }

    #[test]
    fn a_code_is_earned_per_interval_of_life_since_the_epoch() {
        assert_eq!(given(100, 106, 0, &[]), 0);
        assert_eq!(given(100, 107, 0, &[]), 1);
        assert_eq!(given(100, 121, 0, &[]), 3);
        assert_eq!(given(100, 500, 0, &[]), 5);
        // Life before the epoch is counted in whole intervals and taken off.
        assert_eq!(given(100, 121, 110, &[]), 2);
        assert_eq!(given(100, 121, 200, &[]), 0);
    }

    #[test]
    fn open_codes_and_those_made_since_the_epoch_count_and_presents_do_not() {
        let open = || code("did:plc:x", 105 * DAY, false, false);
        assert_eq!(given(100, 500, 0, &[open(), open()]), 3);
        assert_eq!(given(100, 121, 0, &[code("did:plc:x", 105 * DAY, true, false)]), 2);
        assert_eq!(given(100, 500, 0, &[code("did:plc:x", 105 * DAY, false, true)]), 5);
        assert_eq!(given(100, 121, 106, &[code("did:plc:x", 105 * DAY, true, false)]), 3);
        assert_eq!(given(100, 121, 0, &[code(ADMIN, 105 * DAY, false, false)]), 3);
    }

    #[test]
    fn without_an_interval_nothing_is_earned() {
        let life = Life { created: 0, now: 1000 * DAY, epoch: 0, interval: 0 };
        assert_eq!(earned(&life, &[]).unwrap(), 0);
    }
}
