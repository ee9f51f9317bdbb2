//! One operation: its three types, its encodings, its signature.

use std::collections::BTreeMap;

use data_encoding::BASE64URL_NOPAD;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use super::{ATPROTO_KEY, ATPROTO_PDS, PDS_TYPE, PlcError, Service, State};
use crate::{
    cbor,
    cid::{Cid, base32},
    crypto::{PublicKey, Signature, SigningKey},
    data::{Map, Value},
    syntax::Did,
};

/// How many characters of the genesis operation's hash are in a DID.
const DID_HASH_LEN: usize = 24;

/// What an operation does, before it is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// `plc_operation`: sets the state.
    Update {
        /// The whole state from here on.
        state: State,
        /// The CID of the operation before this one, in text; none for the first.
        prev: Option<String>,
    },
    /// `plc_tombstone`: ends the identity.
    Tombstone {
        /// The CID of the operation before this one, in text.
        prev: String,
    },
    /// `create`: the first operation of old identities.
    Create(LegacyCreate),
}

/// The fields of the deprecated `create` operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LegacyCreate {
    /// The account's signing key, which is a rotation key too.
    pub signing_key: String,
    /// The more powerful rotation key.
    pub recovery_key: String,
    /// The handle, most often without `at://`.
    pub handle: String,
    /// The PDS, most often with `https://`.
    pub service: String,
}

impl Body {
    /// The first operation of a new identity.
    #[must_use]
    pub const fn genesis(state: State) -> Self {
        Self::Update { state, prev: None }
    }

    /// An operation that follows `prev` and sets the whole state.
    #[must_use]
    pub fn update(state: State, prev: &Cid) -> Self {
        Self::Update { state, prev: Some(prev.to_string()) }
    }

    /// An operation that follows `prev` and ends the identity.
    #[must_use]
    pub fn tombstone(prev: &Cid) -> Self {
        Self::Tombstone { prev: prev.to_string() }
    }

    /// The DAG-CBOR bytes that are signed.
    #[must_use]
    pub fn to_signed_bytes(&self) -> Vec<u8> {
        cbor::encode(&self.to_map().into())
    }

    /// Signs with a rotation key that is at hand.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> Operation {
        let signature = key.sign(&self.to_signed_bytes());
        self.with_signature(&signature)
    }

    /// Adds the signature of [`Body::to_signed_bytes`] by a rotation key that is held elsewhere.
    #[must_use]
    pub fn with_signature(self, signature: &Signature) -> Operation {
        Operation { body: self, sig: BASE64URL_NOPAD.encode(signature.as_bytes()) }
    }

    fn to_map(&self) -> Map {
        match self {
            Self::Update { state, prev } => {
                let mut map = state.to_map();
                map.insert("type", "plc_operation");
                map.insert("prev", prev.as_deref().map_or(Value::Null, Value::from));
                map
            }
            Self::Tombstone { prev } => [("type", "plc_tombstone"), ("prev", prev)].into_iter().collect(),
            Self::Create(create) => {
                let mut map: Map = [
                    ("type", "create"),
                    ("signingKey", &create.signing_key),
                    ("recoveryKey", &create.recovery_key),
                    ("handle", &create.handle),
                    ("service", &create.service),
                ]
                .into_iter()
                .collect();
                map.insert("prev", Value::Null);
                map
            }
        }
    }

    fn from_map(mut map: Map) -> Result<Self, PlcError> {
        let body = match take_text(&mut map, "type")?.as_str() {
            "plc_operation" => {
                let prev = match map.remove("prev") {
                    Some(Value::Null) => None,
                    Some(Value::String(prev)) => Some(prev),
                    _ => return Err(PlcError::Shape("prev")),
                };
                Self::Update { state: take_state(&mut map)?, prev }
            }
            "plc_tombstone" => Self::Tombstone { prev: take_text(&mut map, "prev")? },
            "create" => {
                if map.remove("prev") != Some(Value::Null) {
                    return Err(PlcError::Shape("prev"));
                }
                Self::Create(LegacyCreate {
                    signing_key: take_text(&mut map, "signingKey")?,
                    recovery_key: take_text(&mut map, "recoveryKey")?,
                    handle: take_text(&mut map, "handle")?,
                    service: take_text(&mut map, "service")?,
                })
            }
            _ => return Err(PlcError::Shape("type")),
        };
        if map.is_empty() { Ok(body) } else { Err(PlcError::Shape("fields")) }
    }
}

impl LegacyCreate {
    fn to_state(&self) -> State {
        let handle = self.handle.strip_prefix("at://").unwrap_or(&self.handle);
        let handle = handle.strip_prefix("http://").or_else(|| handle.strip_prefix("https://")).unwrap_or(handle);
        let has_scheme = ["http://", "https://"].iter().any(|scheme| self.service.starts_with(scheme));
        let endpoint = if has_scheme { self.service.clone() } else { format!("https://{}", self.service) };
        State {
            rotation_keys: vec![self.recovery_key.clone(), self.signing_key.clone()],
            verification_methods: BTreeMap::from([(ATPROTO_KEY.to_owned(), self.signing_key.clone())]),
            also_known_as: vec![format!("at://{handle}")],
            services: BTreeMap::from([(ATPROTO_PDS.to_owned(), Service { kind: PDS_TYPE.to_owned(), endpoint })]),
        }
    }
}

/// A signed operation. Its JSON form, read and written by serde, holds exactly the fields of its type.
///
/// Having one says nothing of its signature: see [`super::propose`] and [`super::verify_audit_log`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    body: Body,
    sig: String,
}

impl Operation {
    /// Takes the map that JSON or DAG-CBOR gave. Every field of the type must be there, and no other.
    ///
    /// # Errors
    /// [`PlcError::Shape`].
    pub fn from_value(value: Value) -> Result<Self, PlcError> {
        let Value::Map(mut map) = value else { return Err(PlcError::Shape("operation")) };
        let sig = take_text(&mut map, "sig")?;
        Ok(Self { body: Body::from_map(map)?, sig })
    }

    /// The map that JSON and DAG-CBOR encode.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut map = self.body.to_map();
        map.insert("sig", self.sig.as_str());
        map.into()
    }

    /// What the operation does.
    #[must_use]
    pub const fn body(&self) -> &Body {
        &self.body
    }

    /// The signature as it stands there: unpadded base64url, if it is a good one.
    #[must_use]
    pub fn sig(&self) -> &str {
        &self.sig
    }

    /// The DAG-CBOR form with the signature.
    #[must_use]
    pub fn to_cbor(&self) -> Vec<u8> {
        cbor::encode(&self.to_value())
    }

    /// The CID by which the next operation names this one.
    #[must_use]
    pub fn cid(&self) -> Cid {
        Cid::of_cbor(&self.to_cbor())
    }

    /// The DID that this operation makes if it is the first of its log.
    ///
    /// # Errors
    /// [`PlcError::NotGenesis`] if it cannot be the first.
    pub fn did(&self) -> Result<Did, PlcError> {
        if self.prev().is_some() {
            return Err(PlcError::NotGenesis);
        }
        let mut id = base32::encode(&Sha256::digest(self.to_cbor()));
        id.truncate(DID_HASH_LEN);
        Did::parse(&format!("did:plc:{id}")).map_err(|_| PlcError::NotGenesis)
    }

    /// The CID, in text, of the operation that this one follows.
    #[must_use]
    pub fn prev(&self) -> Option<&str> {
        match &self.body {
            Body::Update { prev, .. } => prev.as_deref(),
            Body::Tombstone { prev } => Some(prev),
            Body::Create(_) => None,
        }
    }

    /// The state from here on; none after a tombstone.
    #[must_use]
    pub fn state(&self) -> Option<State> {
        match &self.body {
            Body::Update { state, .. } => Some(state.clone()),
            Body::Tombstone { .. } => None,
            Body::Create(create) => Some(create.to_state()),
        }
    }

    /// The place in `rotation_keys` of the first key that has signed this operation. Keys of other types than k256 and
    /// p256 cannot have.
    ///
    /// # Errors
    /// [`PlcError::Signature`] if none has, or the signature is not in its one canonical spelling: low-S, 64 bytes,
    /// base64url without padding and with zero trailing bits.
    pub fn signer(&self, rotation_keys: &[String]) -> Result<usize, PlcError> {
        let bytes = BASE64URL_NOPAD.decode(self.sig.as_bytes()).map_err(|_| PlcError::Signature)?;
        let signature = Signature::from_slice(&bytes).map_err(|_| PlcError::Signature)?;
        let signed = self.body.to_signed_bytes();
        rotation_keys
            .iter()
            .position(|key| PublicKey::from_did_key(key).is_ok_and(|key| key.verify(&signed, &signature).is_ok()))
            .ok_or(PlcError::Signature)
    }
}

/// Takes the four fields of a state out of `map`.
pub(super) fn take_state(map: &mut Map) -> Result<State, PlcError> {
    Ok(State {
        rotation_keys: take_texts(map, "rotationKeys")?,
        verification_methods: take_entries(map, "verificationMethods", |value| match value {
            Value::String(key) => Some(key),
            _ => None,
        })?,
        also_known_as: take_texts(map, "alsoKnownAs")?,
        services: take_entries(map, "services", |value| {
            let Value::Map(mut map) = value else { return None };
            let kind = take_text(&mut map, "type").ok()?;
            let endpoint = take_text(&mut map, "endpoint").ok()?;
            map.is_empty().then_some(Service { kind, endpoint })
        })?,
    })
}

pub(super) fn take_text(map: &mut Map, key: &'static str) -> Result<String, PlcError> {
    match map.remove(key) {
        Some(Value::String(text)) => Ok(text),
        _ => Err(PlcError::Shape(key)),
    }
}

fn take_texts(map: &mut Map, key: &'static str) -> Result<Vec<String>, PlcError> {
    let Some(Value::Array(items)) = map.remove(key) else { return Err(PlcError::Shape(key)) };
    let text = |item| match item {
        Value::String(text) => Ok(text),
        _ => Err(PlcError::Shape(key)),
    };
    items.into_iter().map(text).collect()
}

fn take_entries<T>(
    map: &mut Map,
    key: &'static str,
    read: impl Fn(Value) -> Option<T>,
) -> Result<BTreeMap<String, T>, PlcError> {
    let Some(Value::Map(entries)) = map.remove(key) else { return Err(PlcError::Shape(key)) };
    let entry = |(id, value)| read(value).map(|value| (id, value)).ok_or(PlcError::Shape(key));
    entries.into_iter().map(entry).collect()
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_value().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_value(Value::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
