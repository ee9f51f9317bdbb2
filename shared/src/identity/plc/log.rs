//! A log of operations: what may be added to it, and whether a whole one is true.
//!
//! The history of an identity is a chain, each operation naming the one before. An operation that names an earlier one
//! than the last is a fork: it undoes (*nullifies*) all after that one, if it is signed by a more powerful key than the
//! first of them was and comes within the recovery window. An audit log holds the nullified ones as well.

use serde::{Deserialize, Serialize};

use super::{Operation, PlcError, State};
use crate::{
    cid::Cid,
    syntax::{Datetime, Did},
};

/// For how long an operation can be undone, in microseconds: 72 hours, the last microsecond included.
pub const RECOVERY_WINDOW: i64 = 72 * 60 * 60 * 1_000_000;

/// An operation that stands: one link of the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The operation.
    pub operation: Operation,
    /// Its CID.
    pub cid: Cid,
    /// When the directory took it, in microseconds since 1970.
    pub created: i64,
}

/// What adding an operation does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The CID of the operation that was added.
    pub cid: Cid,
    /// How many entries, from the end of the chain, it nullifies.
    pub nullified: usize,
}

/// Decides whether `operation` may be added at `now` (microseconds since 1970) to `chain`, the operations of `did` that
/// stand, in order; an empty chain awaits the first. The chain itself is believed.
///
/// This is the rule for logs old and new. Whoever takes an operation in also asks [`Operation::check_limits`].
///
/// # Errors
/// [`PlcError::Signature`], [`PlcError::GenesisDid`], or the rule of order or time that it breaks.
pub fn propose(did: &Did, chain: &[Entry], operation: &Operation, now: i64) -> Result<Accepted, PlcError> {
    let Some(last) = chain.last() else { return propose_genesis(did, operation) };
    let prev = operation.prev().ok_or(PlcError::NoPrev)?;
    let unknown = || PlcError::UnknownPrev { prev: prev.to_owned() };
    let prev_cid = Cid::parse(prev).map_err(|_| unknown())?;
    // From the end, where it almost always is: verifying a log is no quadratic matter.
    let at = chain.iter().rposition(|entry| entry.cid == prev_cid).ok_or_else(unknown)?;
    let (stays, undone) = chain.split_at_checked(at + 1).ok_or_else(unknown)?;
    let keys = stays.last().and_then(|entry| entry.operation.state()).ok_or(PlcError::Tombstoned)?.rotation_keys;

    let Some(disputed) = undone.first() else {
        operation.signer(&keys)?;
        return Ok(Accepted { cid: operation.cid(), nullified: 0 });
    };
    let disputed_signer = disputed.operation.signer(&keys)?;
    operation.signer(keys.get(..disputed_signer).unwrap_or_default())?;
    if now <= last.created {
        return Err(PlcError::NotLater);
    }
    let elapsed = now.saturating_sub(disputed.created);
    if elapsed > RECOVERY_WINDOW {
        return Err(PlcError::TooLate { elapsed });
    }
    Ok(Accepted { cid: operation.cid(), nullified: undone.len() })
}

fn propose_genesis(did: &Did, operation: &Operation) -> Result<Accepted, PlcError> {
    let keys = operation.state().ok_or(PlcError::NotGenesis)?.rotation_keys;
    operation.signer(&keys)?;
    let made = operation.did()?;
    if made != *did {
        return Err(PlcError::GenesisDid { expected: String::from(made.as_str()) });
    }
    Ok(Accepted { cid: operation.cid(), nullified: 0 })
}

/// An entry of a directory's audit log, in the spelling of its JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditEntry {
    /// Whose log it is.
    pub did: Did,
    /// The operation.
    pub operation: Operation,
    /// Its CID.
    pub cid: Cid,
    /// Whether a later entry undid it.
    pub nullified: bool,
    /// When the directory took it.
    pub created_at: Datetime,
}

/// The end of a verified log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The CID of the last operation that stands: what the next one names as `prev`.
    pub cid: Cid,
    /// The state of the identity; none if it was ended.
    pub state: Option<State>,
}

/// Which entry of a log is wrong, and how.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("entry {at} of the log of {did}")]
pub struct LogError {
    /// Whose log it is.
    pub did: Did,
    /// The entry's place, from 0.
    pub at: usize,
    /// What is wrong.
    pub source: PlcError,
}

/// Verifies a whole audit log of `did`, nullified entries included.
///
/// Hashes, signatures and order are checked, and that what was nullified is exactly what the rules say. Only the
/// directory's times, and that the log is complete, are believed.
///
/// # Errors
/// The first entry that is wrong.
pub fn verify_audit_log(did: &Did, log: &[AuditEntry]) -> Result<Head, LogError> {
    let fail = |at, source| LogError { did: did.clone(), at, source };
    let mut chain: Vec<Entry> = Vec::with_capacity(log.len());
    // The places in `log` of the chain's entries, to tell in the end which were nullified.
    let mut places = Vec::with_capacity(log.len());
    let mut latest = i64::MIN;
    for (at, entry) in log.iter().enumerate() {
        let created = entry.created_at.unix_micros();
        let accepted = check_entry(did, &chain, entry, created, latest).map_err(|source| fail(at, source))?;
        latest = created;
        let stays = chain.len().saturating_sub(accepted.nullified);
        chain.truncate(stays);
        places.truncate(stays);
        chain.push(Entry { operation: entry.operation.clone(), cid: accepted.cid, created });
        places.push(at);
    }
    for (at, entry) in log.iter().enumerate() {
        let actual = places.binary_search(&at).is_err();
        if entry.nullified != actual {
            return Err(fail(at, PlcError::Nullified { actual }));
        }
    }
    let last = chain.pop().ok_or_else(|| fail(0, PlcError::EmptyLog))?;
    Ok(Head { state: last.operation.state(), cid: last.cid })
}

fn check_entry(
    did: &Did,
    chain: &[Entry],
    entry: &AuditEntry,
    created: i64,
    latest: i64,
) -> Result<Accepted, PlcError> {
    if entry.did != *did {
        return Err(PlcError::Did { found: String::from(entry.did.as_str()) });
    }
    if created < latest {
        return Err(PlcError::NotLater);
    }
    let accepted = propose(did, chain, &entry.operation, created)?;
    if accepted.cid != entry.cid {
        return Err(PlcError::Cid { stated: entry.cid.clone(), actual: accepted.cid });
    }
    Ok(accepted)
}
