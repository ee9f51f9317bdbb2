//! The signed commit: a repository's root, version 3.
//!
//! A [`Commit`] is always whole: signed, and encoded with exactly the six fields `did`, `rev`, `sig`, `data`, `prev`
//! (always present, null in every commit made here) and `version`. The signature is over the SHA-256 of the same map
//! without `sig`.
//!
//! Specification: <https://atproto.com/specs/repository#commit-objects>.

use super::Block;
use crate::cbor::{CborError, CborErrorKind, Reader, Writer};
use crate::cid::Cid;
use crate::crypto::{CryptoError, PublicKey, Signature, SigningKey};
use crate::syntax::{Did, Tid};

/// The version of the repository format.
pub const VERSION: i64 = 3;

/// A signed commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// The account whose repository it is.
    pub did: Did,
    /// The revision: above that of every earlier commit of the repository.
    pub rev: Tid,
    /// The root of the tree.
    pub data: Cid,
    /// A relic of version 2, kept as it is found.
    pub prev: Option<Cid>,
    /// The signature by the account's signing key.
    pub sig: Signature,
}

/// Why a block is no commit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Not strict DAG-CBOR of a commit's shape.
    #[error("commit is malformed")]
    Cbor(#[from] CborError),
    /// A version other than [`VERSION`].
    #[error("commit version is {0}, only {VERSION} is accepted")]
    Version(i64),
    /// A `did` that is none.
    #[error("commit did is invalid")]
    Did,
    /// A `rev` that is no TID.
    #[error("commit rev is not a tid")]
    Rev,
    /// A `data` that is not a CIDv1 of dag-cbor with SHA-256.
    #[error("commit data {0} is not a dag-cbor sha-256 cid")]
    Data(Cid),
    /// A `sig` that is not 64 bytes of a signature.
    #[error("commit sig is malformed")]
    Sig(#[source] CryptoError),
}

impl Commit {
    /// Signs a commit.
    #[must_use]
    pub fn sign(did: Did, rev: Tid, data: Cid, key: &SigningKey) -> Self {
        let sig = key.sign(&encode(&did, &rev, &data, None, None));
        Self { did, rev, data, prev: None, sig }
    }

    /// Whether it was signed by `key`; high-S signatures are refused.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        key.verify(&encode(&self.did, &self.rev, &self.data, self.prev.as_ref(), None), &self.sig).is_ok()
    }

    /// Its block.
    #[must_use]
    pub fn to_block(&self) -> Block {
        let bytes = encode(&self.did, &self.rev, &self.data, self.prev.as_ref(), Some(&self.sig));
        Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
    }

    /// The commit that a block is; the signature's form is checked, not whose it is.
    ///
    /// # Errors
    /// Anything but a whole commit of version 3.
    pub fn from_block(bytes: &[u8]) -> Result<Self, CommitError> {
        let mut reader = Reader::new(bytes);
        let (mut did, mut rev, mut data, mut prev, mut version, mut sig) = (None, None, None, None, None, None);
        reader.map(|field, reader| {
            match field {
                "did" => did = Some(reader.text()?),
                "rev" => rev = Some(reader.text()?),
                "sig" => sig = Some(reader.bytes()?),
                "data" => data = Some(reader.link()?),
                "prev" => prev = Some(reader.nullable(Reader::link)?),
                "version" => version = Some(reader.int()?),
                _ => return Err(reader.error(CborErrorKind::UnknownField)),
            }
            Ok(())
        })?;
        let missing = |field| reader.error(CborErrorKind::MissingField(field));
        let version = version.ok_or_else(|| missing("version"))?;
        if version != VERSION {
            return Err(CommitError::Version(version));
        }
        let did = Did::parse(did.ok_or_else(|| missing("did"))?).map_err(|_| CommitError::Did)?;
        let rev = Tid::parse(rev.ok_or_else(|| missing("rev"))?).map_err(|_| CommitError::Rev)?;
        let data = data.ok_or_else(|| missing("data"))?;
        let prev = prev.ok_or_else(|| missing("prev"))?;
        let sig = Signature::from_slice(sig.ok_or_else(|| missing("sig"))?).map_err(CommitError::Sig)?;
        reader.finish()?;
        if !data.is_repo_node() {
            return Err(CommitError::Data(data));
        }
        Ok(Self { did, rev, data, prev, sig })
    }
}

fn encode(did: &Did, rev: &Tid, data: &Cid, prev: Option<&Cid>, sig: Option<&Signature>) -> Vec<u8> {
    let mut writer = Writer::new();
    writer.map(if sig.is_some() { 6 } else { 5 });
    writer.text("did").text(did.as_str()).text("rev").text(rev.as_str());
    if let Some(sig) = sig {
        writer.text("sig").bytes(sig.as_ref());
    }
    writer.text("data").link(data).text("prev").link_or_null(prev).text("version").int(VERSION);
    writer.into_bytes()
}
