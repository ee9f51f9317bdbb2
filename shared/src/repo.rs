//! Repositories: one account's records as a signed Merkle search tree, and the files they travel in.
//!
//! A [`Block`] is the unit of storage and transport: bytes under the CID that names them.
//!
//! Specification: <https://atproto.com/specs/repository>.

use bytes::Bytes;

use crate::cid::Cid;

pub mod car;

/// A commit, tree node or record: bytes and the CID that names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The name.
    pub cid: Cid,
    /// What it names.
    pub bytes: Bytes,
}
