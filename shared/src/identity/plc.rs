//! did:plc: identities that are a log of signed operations, kept by a directory that cannot forge them.
//!
//! An [`Operation`] sets the whole [`State`] of an identity and names the operation before it by CID. Whoever holds a
//! rotation key of that one may sign; earlier keys outrank later ones and may, for 72 hours, undo what those did
//! ([`propose`]). The DID is a hash of the first operation, so a log proves itself ([`verify_audit_log`]).
//!
//! Two measures of strictness: what is *in* a log is judged by signatures, order and time alone, since old operations
//! were admitted under other limits; what is to be *added* must also keep within [`Operation::check_limits`].
//!
//! Implements <https://web.plc.directory/spec/v0.1/did-plc>, with the limits of plc.directory.

mod limits;
mod log;
mod operation;

use std::collections::BTreeMap;

use crate::{
    cid::Cid,
    crypto::PublicKey,
    data::{Map, Value},
    syntax::{Did, Handle},
};

pub use limits::MAX_OPERATION_LEN;
pub use log::{Accepted, AuditEntry, Entry, Head, LogError, RECOVERY_WINDOW, propose, verify_audit_log};
pub use operation::{Body, LegacyCreate, Operation};

/// The name of an account's signing key among the verification methods.
pub const ATPROTO_KEY: &str = "atproto";
/// The name of an account's PDS among the services.
pub const ATPROTO_PDS: &str = "atproto_pds";
/// The type of an account's PDS.
pub const PDS_TYPE: &str = "AtprotoPersonalDataServer";

/// What an operation says of an identity: everything about it but its DID. The spellings are the operation's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The `did:key`s that may change the identity, the most powerful first.
    pub rotation_keys: Vec<String>,
    /// The `did:key`s that the identity signs with, by name, such as `atproto`.
    pub verification_methods: BTreeMap<String, String>,
    /// The identity's other names, URIs; an account's handle is the first `at://` one.
    pub also_known_as: Vec<String>,
    /// Where the identity is served, by name, such as `atproto_pds`.
    pub services: BTreeMap<String, Service>,
}

/// A service of an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// What it is, such as `AtprotoPersonalDataServer`.
    pub kind: String,
    /// Its URL.
    pub endpoint: String,
}

impl State {
    /// The state of an account: its rotation keys, most powerful first, its signing key, handle and PDS.
    #[must_use]
    pub fn of_account(rotation_keys: &[PublicKey], signing_key: &PublicKey, handle: &Handle, pds: &str) -> Self {
        let mut state =
            Self { rotation_keys: rotation_keys.iter().map(PublicKey::to_did_key).collect(), ..Self::default() };
        state.set_signing_key(signing_key);
        state.set_handle(handle);
        state.set_pds(pds);
        state
    }

    /// Replaces the first `at://` name, or puts one before all others; they stay as they are.
    pub fn set_handle(&mut self, handle: &Handle) {
        let name = format!("at://{handle}");
        match self.also_known_as.iter_mut().find(|name| name.starts_with("at://")) {
            Some(old) => *old = name,
            None => self.also_known_as.insert(0, name),
        }
    }

    /// Replaces the account's signing key.
    pub fn set_signing_key(&mut self, key: &PublicKey) {
        self.verification_methods.insert(ATPROTO_KEY.to_owned(), key.to_did_key());
    }

    /// Replaces the account's PDS, a URL without a path.
    pub fn set_pds(&mut self, endpoint: &str) {
        let service = Service { kind: PDS_TYPE.to_owned(), endpoint: endpoint.to_owned() };
        self.services.insert(ATPROTO_PDS.to_owned(), service);
    }

    /// What a directory answers to `/:did/data`: the state and the DID.
    #[must_use]
    pub fn to_data(&self, did: &Did) -> Value {
        let mut data = self.to_map();
        data.insert("did", did.as_str());
        data.into()
    }

    /// Reads the answer of a directory to `/:did/data`, which must be about `did`.
    ///
    /// # Errors
    /// [`PlcError::Shape`] or [`PlcError::Did`].
    pub fn from_data(did: &Did, data: Value) -> Result<Self, PlcError> {
        let Value::Map(mut map) = data else { return Err(PlcError::Shape("data")) };
        let found = operation::take_text(&mut map, "did")?;
        if found != did.as_str() {
            return Err(PlcError::Did { found });
        }
        let state = operation::take_state(&mut map)?;
        if map.is_empty() { Ok(state) } else { Err(PlcError::Shape("data")) }
    }

    fn to_map(&self) -> Map {
        let texts = |texts: &[String]| Value::Array(texts.iter().map(|text| text.as_str().into()).collect());
        let methods: Map = self.verification_methods.iter().map(|(id, key)| (id.as_str(), key.as_str())).collect();
        let services: Map = self.services.iter().map(|(id, service)| (id.as_str(), service.to_map())).collect();
        let mut map = Map::new();
        map.insert("rotationKeys", texts(&self.rotation_keys));
        map.insert("verificationMethods", methods);
        map.insert("alsoKnownAs", texts(&self.also_known_as));
        map.insert("services", services);
        map
    }
}

impl Service {
    fn to_map(&self) -> Map {
        [("type", self.kind.as_str()), ("endpoint", self.endpoint.as_str())].into_iter().collect()
    }
}

/// Why an operation is not one, or not one for its log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlcError {
    /// A field is missing, of another type, or not one of the operation's.
    #[error("operation is malformed at {0}")]
    Shape(&'static str),
    /// The data or the log entry is about another DID.
    #[error("operation is for {found}")]
    Did {
        /// The DID it names.
        found: String,
    },
    /// Larger in DAG-CBOR than a directory takes.
    #[error("operation is {len} bytes, limit {MAX_OPERATION_LEN}")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
    },
    /// Too many entries in a list or map.
    #[error("operation has {count} {what}, limit {limit}")]
    TooMany {
        /// The field.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A text longer than it may be.
    #[error("operation's {what} is {len} characters, limit {limit}")]
    TooLong {
        /// What the text is.
        what: &'static str,
        /// Its length in UTF-16 units, as the directory counts.
        len: usize,
        /// How long it may be.
        limit: usize,
    },
    /// The same alias twice.
    #[error("operation has {0} twice")]
    DuplicateAlias(String),
    /// A rotation key that is neither k256 nor p256.
    #[error("operation has a rotation key that cannot be used: {0}")]
    RotationKey(String),
    /// A verification method that is not a `did:key` of base58btc.
    #[error("operation has a verification method that is no did:key: {0}")]
    VerificationMethod(String),
    /// The deprecated `create` type, which is read in old logs but no longer taken.
    #[error("operation is of the deprecated type create")]
    Deprecated,
    /// No rotation key that may sign this operation has signed it, or the signature is not canonical: unpadded base64url
    /// of 64 bytes with low S.
    #[error("operation is not signed by a key that may")]
    Signature,
    /// The first operation of a log hashes to another DID.
    #[error("first operation makes {expected}")]
    GenesisDid {
        /// The DID that it makes.
        expected: String,
    },
    /// The first operation of a log names one before it, or is a tombstone.
    #[error("first operation cannot follow another")]
    NotGenesis,
    /// An operation that names none before it, in a log that has one.
    #[error("operation follows none, but the log is not empty")]
    NoPrev,
    /// An operation that names one before it that is not in the log, or was undone there.
    #[error("operation follows {prev}, which is not in the log")]
    UnknownPrev {
        /// The CID named.
        prev: String,
    },
    /// An operation after a tombstone.
    #[error("operation follows a tombstone")]
    Tombstoned,
    /// An operation that undoes another but is not later than the last one.
    #[error("operation is not later than the last one")]
    NotLater,
    /// An operation that undoes another after the recovery window.
    #[error("operation comes {elapsed} microseconds after what it would undo, limit {RECOVERY_WINDOW}")]
    TooLate {
        /// The time in between, in microseconds.
        elapsed: i64,
    },
    /// A log entry whose CID is not its operation's.
    #[error("log entry has the cid {stated}, its operation hashes to {actual}")]
    Cid {
        /// What the log says.
        stated: Cid,
        /// What is true.
        actual: Cid,
    },
    /// A log entry that is said to be undone and is not, or the other way.
    #[error("log entry has nullified wrong, it is {actual}")]
    Nullified {
        /// What is true.
        actual: bool,
    },
    /// A log without operations.
    #[error("log is empty")]
    EmptyLog,
}

#[cfg(test)]
mod tests;
