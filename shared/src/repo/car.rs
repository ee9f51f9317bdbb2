//! CAR files, version 1: a header with roots, then blocks, each behind its length and its CID.
//!
//! [`CarReader`] takes a file in chunks of any size and gives its blocks, each checked against its CID, holding no more
//! than one block that lies across chunks. It accepts blocks in any order, twice, or unrelated to the roots: what they
//! mean is the caller's to judge. Writing is a few functions over a buffer, so that an export of any size passes through
//! one of the caller's choosing.
//!
//! Stricter than the format where nobody needs the freedom: only CIDv1, lengths in their shortest form, no empty
//! sections, a header of exactly `roots` and `version`. A block under a foreign CID (`!cid.is_atproto()`) is given but
//! could not be checked: the caller must not take it for more than an imported leaf.
//!
//! Specification: <https://atproto.com/specs/repository#car-file-serialization>, <https://ipld.io/specs/transport/car/carv1/>.

pub(crate) mod pieces;
mod reader;
mod writer;

pub(crate) use reader::open_section;
pub use reader::{Car, CarReader, read};
pub use writer::{header, section, section_head, section_len, to_vec};

use crate::cbor::CborError;
use crate::cid::{Cid, CidError};

/// The most bytes of a block, without its CID, that are read from a repository: 2 MiB.
///
/// New records are limited to 1,000,000 bytes. What an existing repository holds may exceed that, up to what relays
/// take as one byte string, which is this.
pub const MAX_BLOCK_LEN: usize = 2 * 1024 * 1024;

/// The most bytes of a header: 64 KiB, more than a thousand roots.
pub const MAX_HEADER_LEN: usize = 64 * 1024;

/// Why bytes are not an acceptable CAR file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CarError {
    /// A length that is longer than it needs to be or does not fit 64 bits.
    #[error("car holds a malformed length")]
    Varint,
    /// A section, or a header, of no bytes.
    #[error("car section is empty")]
    EmptySection,
    /// A header above [`MAX_HEADER_LEN`].
    #[error("car header is {len} bytes, limit {MAX_HEADER_LEN}")]
    HeaderTooLong {
        /// The length that the file announces.
        len: u64,
    },
    /// A header that is not strict DAG-CBOR of exactly `roots` and `version`.
    #[error("car header is malformed")]
    Header(#[from] CborError),
    /// A version other than 1.
    #[error("car version is {0}, only 1 is accepted")]
    Version(i64),
    /// Another number of roots than the one that a repository has.
    #[error("car has {0} roots, must have one")]
    Roots(usize),
    /// A block above the limit that the reader was given.
    #[error("car block is {len} bytes, limit {limit}")]
    BlockTooLong {
        /// The length of the block, or of its whole section if that alone already exceeds the limit.
        len: u64,
        /// The limit.
        limit: usize,
    },
    /// A section that does not start with a whole CIDv1.
    #[error("car section has no valid cid")]
    Cid(#[from] CidError),
    /// Bytes that are not those its CID names.
    #[error("block does not match its cid {0}")]
    Mismatch(Cid),
    /// The file ends inside the header or a section, or was not read to its end.
    #[error("car is cut short")]
    Truncated,
}

#[cfg(test)]
mod tests;
