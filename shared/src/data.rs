//! The data model: what a record is made of, and the two shapes with a meaning of their own, links and blobs.
//!
//! A [`Value`] is what both encodings share: DAG-CBOR (`cbor`) and JSON ([`json`]). It holds no floats, integers fit
//! 64 bits, a [`Map`] keeps its keys in DAG-CBOR order, and null is not absence. A value read from CBOR may be any
//! that the encoding allows, odd ones included, since existing repositories are kept as they are; a value parsed from
//! JSON also satisfies the stricter rules for new records (see [`json::parse`]).
//!
//! Specification: <https://atproto.com/specs/data-model>.

use crate::cid::Cid;

mod blob;
pub mod json;
mod map;

pub use blob::{BlobRef, blobs, holds_legacy_blob, legacy_blobs};
pub use map::Map;
pub(crate) use map::key_order;

/// The largest integer of a new record, 2^53 − 1; the smallest is its negative.
pub const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// One value of the data model.
///
/// Equality is equality of the encoded bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// Present and empty; not the same as a missing field.
    Null,
    /// True or false.
    Bool(bool),
    /// A signed 64-bit integer; in new records within ±[`MAX_SAFE_INTEGER`].
    Int(i64),
    /// Unicode text, not normalised.
    String(String),
    /// A byte string; `{"$bytes": …}` in JSON.
    Bytes(Vec<u8>),
    /// A content link; `{"$link": …}` in JSON, tag 42 in CBOR.
    Link(Cid),
    /// A list.
    Array(Vec<Value>),
    /// An object.
    Map(Map),
}

impl Value {
    /// The map inside, if it is one.
    #[must_use]
    pub fn as_map(&self) -> Option<&Map> {
        match self {
            Self::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The text inside, if it is a string.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The integer inside, if it is one.
    #[must_use]
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The link inside, if it is one.
    #[must_use]
    pub fn as_link(&self) -> Option<&Cid> {
        match self {
            Self::Link(cid) => Some(cid),
            _ => None,
        }
    }

    /// The items inside, if it is a list.
    #[must_use]
    pub fn as_array(&self) -> Option<&[Value]> {
        match self {
            Self::Array(items) => Some(items),
            _ => None,
        }
    }

    /// The field `key` of a map; `None` for a missing field and for anything but a map.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.as_map()?.get(key)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<Cid> for Value {
    fn from(cid: Cid) -> Self {
        Self::Link(cid)
    }
}

impl From<Vec<Value>> for Value {
    fn from(items: Vec<Value>) -> Self {
        Self::Array(items)
    }
}

impl From<Map> for Value {
    fn from(map: Map) -> Self {
        Self::Map(map)
    }
}
