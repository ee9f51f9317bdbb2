//! Strict DAG-CBOR: the one encoding of everything that is hashed or signed.
//!
//! What [`Reader`] accepts, [`Writer`] writes back byte for byte: definite lengths, shortest heads, map keys that are
//! strings in order without repetition, integers of 64 signed bits, no floats, no tag but 42, no trailing bytes.
//! Nothing is allocated on the word of a length that the input does not bear out, and nesting is bounded.
//!
//! Every repository block, firehose frame and did:plc operation passes here, so this is our own code on byte slices:
//! it is measured against `serde_ipld_dagcbor` and checked in tests against `ciborium`, which encodes what is not
//! hashed (`link`). Figures: the crate's benchmark `codec`.
//!
//! Specification: <https://atproto.com/specs/data-model#data-representations>, DRISL.

mod error;
mod json;
mod reader;
mod writer;

pub use error::{CborError, CborErrorKind};
pub use json::Encoded;
pub(crate) use json::append_text;
pub use reader::Reader;
pub use writer::Writer;

use crate::data::Value;

/// How deep arrays and maps may nest when they are read. Wider than what new records may have
/// ([`crate::data::json::MAX_DEPTH`]), since what a repository already holds is kept.
pub const MAX_DEPTH: usize = 256;

/// The one DAG-CBOR form of `value`.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.value(value);
    writer.into_bytes()
}

/// The value that `bytes` are the DAG-CBOR form of.
///
/// # Errors
/// A [`CborError`] for anything but exactly one strictly encoded value.
pub fn decode(bytes: &[u8]) -> Result<Value, CborError> {
    let mut reader = Reader::new(bytes);
    let value = reader.value()?;
    reader.finish()?;
    Ok(value)
}

#[cfg(test)]
mod tests;
