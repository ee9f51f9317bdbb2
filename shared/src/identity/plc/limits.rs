//! What a directory asks of an operation that is to be added, before it looks at the log.
//!
//! The counts and lengths are those that plc.directory enforces, not the tighter ones of the specification's prose: it
//! takes up to ten rotation keys, the same one twice, and none at all. The size is the specification's.

use std::collections::BTreeSet;

use super::{Body, Operation, PlcError, State};
use crate::crypto::PublicKey;

/// The largest operation that may be added, in bytes of DAG-CBOR with its signature.
pub const MAX_OPERATION_LEN: usize = 7500;

const MAX_ALIASES: usize = 10;
/// A handle of 253 characters and `at://`.
const MAX_ALIAS_LEN: usize = 258;
const MAX_ROTATION_KEYS: usize = 10;
const MAX_SERVICES: usize = 10;
const MAX_SERVICE_TYPE_LEN: usize = 256;
const MAX_ENDPOINT_LEN: usize = 512;
const MAX_VERIFICATION_METHODS: usize = 10;
const MAX_DID_KEY_LEN: usize = 256;
const MAX_ID_LEN: usize = 32;

impl Operation {
    /// Checks what a directory asks of an operation before it looks at the log: type, size, counts, lengths, keys.
    ///
    /// # Errors
    /// The first limit that it breaks.
    pub fn check_limits(&self) -> Result<(), PlcError> {
        let len = self.to_cbor().len();
        if len > MAX_OPERATION_LEN {
            return Err(PlcError::TooLarge { len });
        }
        match self.body() {
            Body::Update { state, .. } => state.check_limits(),
            Body::Tombstone { .. } => Ok(()),
            Body::Create(_) => Err(PlcError::Deprecated),
        }
    }
}

impl State {
    fn check_limits(&self) -> Result<(), PlcError> {
        count("alsoKnownAs", self.also_known_as.len(), MAX_ALIASES)?;
        let mut seen = BTreeSet::new();
        for alias in &self.also_known_as {
            length("alsoKnownAs entry", alias, MAX_ALIAS_LEN)?;
            if !seen.insert(alias) {
                return Err(PlcError::DuplicateAlias(alias.clone()));
            }
        }
        count("rotationKeys", self.rotation_keys.len(), MAX_ROTATION_KEYS)?;
        for key in &self.rotation_keys {
            PublicKey::from_did_key(key).map_err(|_| PlcError::RotationKey(key.clone()))?;
        }
        count("services", self.services.len(), MAX_SERVICES)?;
        for (id, service) in &self.services {
            length("service id", id, MAX_ID_LEN)?;
            length("service type", &service.kind, MAX_SERVICE_TYPE_LEN)?;
            length("service endpoint", &service.endpoint, MAX_ENDPOINT_LEN)?;
        }
        count("verificationMethods", self.verification_methods.len(), MAX_VERIFICATION_METHODS)?;
        for (id, key) in &self.verification_methods {
            length("verification method id", id, MAX_ID_LEN)?;
            length("verification method", key, MAX_DID_KEY_LEN)?;
            if !is_did_key(key) {
                return Err(PlcError::VerificationMethod(key.clone()));
            }
        }
        Ok(())
    }
}

/// Whether `text` is a `did:key` of any type: `z` and base58btc.
fn is_did_key(text: &str) -> bool {
    text.strip_prefix("did:key:z").is_some_and(|digits| bs58::decode(digits).into_vec().is_ok())
}

fn count(what: &'static str, count: usize, limit: usize) -> Result<(), PlcError> {
    if count > limit { Err(PlcError::TooMany { what, count, limit }) } else { Ok(()) }
}

fn length(what: &'static str, text: &str, limit: usize) -> Result<(), PlcError> {
    let len = text.encode_utf16().count();
    if len > limit { Err(PlcError::TooLong { what, len, limit }) } else { Ok(()) }
}
