//! Content identifiers: the hash links of repositories and blobs.
//!
//! A [`Cid`] is always a well-formed CIDv1 of at most [`MAX_LEN`] bytes. The ones that the protocol makes itself, and
//! the only ones that may link tree nodes and commits, are *atproto CIDs*: dag-cbor or raw codec, SHA-256. Any other
//! (a *foreign* CID: dag-pb, blake3 …) is kept byte for byte where a record or an imported leaf holds it, since the
//! tree above it hashes those bytes. CIDv0 is not accepted anywhere.
//!
//! The string form is base32 lower-case with the multibase prefix `b`; nothing else parses here. The wider string
//! *format* `cid` of lexicons is `syntax`'s.
//!
//! Specification: <https://atproto.com/specs/data-model#link-and-cid-formats>.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The longest CID that is accepted, in bytes.
pub const MAX_LEN: usize = 100;

/// The length of an atproto CID in bytes: version, codec, hash function and length, one byte each, then the digest.
pub const ATPROTO_LEN: usize = 36;

const VERSION: u8 = 0x01;
const RAW: u8 = 0x55;
const DAG_CBOR: u8 = 0x71;
const SHA2_256: u8 = 0x12;
const SHA2_256_LEN: u8 = 32;

/// What the bytes behind a [`Cid`] are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// DAG-CBOR (0x71): commits, tree nodes, records.
    DagCbor,
    /// Raw bytes (0x55): blobs.
    Raw,
    /// Any other multicodec, kept but never made here.
    Foreign(u64),
}

/// A content identifier; cloning one is cheap.
///
/// Ordered by its bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cid(Repr);

#[derive(Clone)]
enum Repr {
    Atproto(Atproto),
    Foreign(Arc<[u8]>),
}

/// Aligned to words: behind the tag of an enum, 36 bytes at an odd offset move in overlapping parts, each of which waits
/// for the one before. Reading a CAR file, whose blocks pass through a few results, took a quarter longer than hashing it.
#[derive(Clone, Copy)]
#[repr(align(4))]
struct Atproto([u8; ATPROTO_LEN]);

/// Why bytes or a string are not a CID.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CidError {
    /// Longer than [`MAX_LEN`].
    #[error("cid is {len} bytes, limit {MAX_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// The bytes end inside the CID.
    #[error("cid is cut short")]
    Truncated,
    /// A version other than 1; version 0 has no prefix and shows as 18.
    #[error("cid version is {0}, only 1 is accepted")]
    Version(u64),
    /// A variable-length integer that is longer than it needs to be or does not fit 64 bits.
    #[error("cid holds a malformed varint")]
    Varint,
    /// Bytes after the digest.
    #[error("cid is followed by {count} bytes")]
    TrailingBytes {
        /// How many.
        count: usize,
    },
    /// Fewer digest bytes than announced.
    #[error("cid announces a digest of {announced} bytes and holds {found}")]
    DigestLength {
        /// What the multihash says.
        announced: u64,
        /// What follows it.
        found: usize,
    },
    /// The string is not `b` followed by lower-case base32 without padding.
    #[error("cid is not lower-case base32 with the prefix b")]
    Base32,
}

impl Cid {
    /// The CID of DAG-CBOR bytes: a commit, a node or a record.
    #[must_use]
    pub fn of_cbor(bytes: &[u8]) -> Self {
        Self::from_digest(DAG_CBOR, Sha256::digest(bytes).into())
    }

    /// The CID of raw bytes: a blob.
    #[must_use]
    pub fn of_raw(bytes: &[u8]) -> Self {
        Self::from_digest(RAW, Sha256::digest(bytes).into())
    }

    /// The CID of DAG-CBOR bytes whose SHA-256 is `digest`.
    #[must_use]
    pub fn of_cbor_digest(digest: [u8; 32]) -> Self {
        Self::from_digest(DAG_CBOR, digest)
    }

    /// The CID of a blob whose SHA-256 is `digest`, for uploads that are hashed while they stream.
    #[must_use]
    pub fn of_raw_digest(digest: [u8; 32]) -> Self {
        Self::from_digest(RAW, digest)
    }

    fn from_digest(codec: u8, digest: [u8; 32]) -> Self {
        let mut bytes = [0; ATPROTO_LEN];
        let (head, tail) = bytes.split_at_mut(4);
        head.copy_from_slice(&[VERSION, codec, SHA2_256, SHA2_256_LEN]);
        tail.copy_from_slice(&digest);
        Self(Repr::Atproto(Atproto(bytes)))
    }

    /// The CID whose binary form is exactly `bytes`.
    ///
    /// # Errors
    /// Anything but one well-formed CIDv1 of at most [`MAX_LEN`] bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CidError> {
        if let Ok(exact) = <[u8; ATPROTO_LEN]>::try_from(bytes)
            && matches!(exact, [VERSION, RAW | DAG_CBOR, SHA2_256, SHA2_256_LEN, ..])
        {
            return Ok(Self(Repr::Atproto(Atproto(exact))));
        }
        let (_, len) = scan(bytes)?;
        if len != bytes.len() {
            return Err(CidError::TrailingBytes { count: bytes.len().saturating_sub(len) });
        }
        Ok(Self(Repr::Foreign(bytes.into())))
    }

    /// Takes the CID that `bytes` start with, and returns it with its length; CAR sections begin so.
    ///
    /// # Errors
    /// When `bytes` do not start with a whole well-formed CIDv1 of at most [`MAX_LEN`] bytes.
    pub fn read_prefix(bytes: &[u8]) -> Result<(Self, usize), CidError> {
        if let Some(exact @ [VERSION, RAW | DAG_CBOR, SHA2_256, SHA2_256_LEN, ..]) = bytes.first_chunk::<ATPROTO_LEN>()
        {
            return Ok((Self(Repr::Atproto(Atproto(*exact))), ATPROTO_LEN));
        }
        let (_, len) = scan(bytes)?;
        let exact = bytes.get(..len).ok_or(CidError::Truncated)?;
        Ok((Self::from_bytes(exact)?, len))
    }

    /// The CID that a string in base32 form (`bafy…`) stands for.
    ///
    /// # Errors
    /// Another multibase, upper case, padding, non-zero trailing bits, or bytes that are no CIDv1.
    pub fn parse(text: &str) -> Result<Self, CidError> {
        let digits = text.strip_prefix('b').ok_or(CidError::Base32)?;
        if digits.len() > MAX_LEN * 8 / 5 {
            return Err(CidError::TooLong { len: digits.len() * 5 / 8 });
        }
        Self::from_bytes(&base32::decode(digits).ok_or(CidError::Base32)?)
    }

    fn text(&self) -> String {
        base32::encode_after("b", self.as_bytes())
    }

    /// The binary form.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Repr::Atproto(Atproto(bytes)) => bytes,
            Repr::Foreign(bytes) => bytes,
        }
    }

    /// What the bytes behind it are.
    #[must_use]
    pub fn codec(&self) -> Codec {
        match &self.0 {
            Repr::Atproto(Atproto([_, RAW, ..])) => Codec::Raw,
            Repr::Atproto(_) => Codec::DagCbor,
            // A foreign CID was scanned when it was made, so the codec reads again.
            Repr::Foreign(bytes) => match scan(bytes) {
                Ok((0x55, _)) => Codec::Raw,
                Ok((0x71, _)) => Codec::DagCbor,
                Ok((other, _)) => Codec::Foreign(other),
                Err(_) => Codec::Foreign(0),
            },
        }
    }

    /// Whether it is one that the protocol makes: CIDv1, dag-cbor or raw, SHA-256.
    #[must_use]
    pub fn is_atproto(&self) -> bool {
        matches!(self.0, Repr::Atproto(_))
    }

    /// Whether it may link a commit or a tree node: an atproto CID with the dag-cbor codec.
    #[must_use]
    pub fn is_repo_node(&self) -> bool {
        self.is_atproto() && self.codec() == Codec::DagCbor
    }

    /// Whether it may name a blob: an atproto CID with the raw codec.
    #[must_use]
    pub fn is_blob(&self) -> bool {
        self.is_atproto() && self.codec() == Codec::Raw
    }

    /// The SHA-256 digest of an atproto CID; `None` for a foreign one.
    #[must_use]
    pub fn sha256(&self) -> Option<[u8; 32]> {
        match &self.0 {
            Repr::Atproto(Atproto(bytes)) => bytes.get(4..)?.try_into().ok(),
            Repr::Foreign(_) => None,
        }
    }

    /// Whether `bytes` are what this CID names; `None` when its hash function is not SHA-256, so that nobody can tell.
    #[must_use]
    pub fn matches(&self, bytes: &[u8]) -> Option<bool> {
        match &self.0 {
            Repr::Atproto(Atproto([_, _, _, _, digest @ ..])) => Some(digest[..] == Sha256::digest(bytes)[..]),
            Repr::Foreign(_) => None,
        }
    }
}

/// Walks over the CID that `bytes` start with: its codec and its length.
fn scan(bytes: &[u8]) -> Result<(u64, usize), CidError> {
    let mut at = 0;
    let version = varint(bytes, &mut at)?;
    if version != u64::from(VERSION) {
        return Err(CidError::Version(version));
    }
    let codec = varint(bytes, &mut at)?;
    let _hash_function = varint(bytes, &mut at)?;
    let announced = varint(bytes, &mut at)?;
    let found = bytes.len().saturating_sub(at);
    let digest = usize::try_from(announced).unwrap_or(usize::MAX);
    let len = at.saturating_add(digest);
    if len > MAX_LEN {
        return Err(CidError::TooLong { len });
    }
    if digest > found {
        return Err(CidError::DigestLength { announced, found });
    }
    Ok((codec, len))
}

/// Reads an unsigned LEB128 in its shortest form.
fn varint(bytes: &[u8], at: &mut usize) -> Result<u64, CidError> {
    let mut value = 0u64;
    for shift in (0..63).step_by(7) {
        let byte = *bytes.get(*at).ok_or(CidError::Truncated)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return if byte == 0 && shift > 0 { Err(CidError::Varint) } else { Ok(value) };
        }
    }
    Err(CidError::Varint)
}

impl PartialEq for Repr {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Repr {}

impl PartialOrd for Repr {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Repr {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl std::hash::Hash for Repr {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.bytes().hash(state);
    }
}

impl Repr {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Atproto(Atproto(bytes)) => bytes,
            Self::Foreign(bytes) => bytes,
        }
    }
}

impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cid({self})")
    }
}

impl std::str::FromStr for Cid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        Self::parse(text)
    }
}

impl Serialize for Cid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for Cid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

/// Lower-case base32 (RFC 4648 section 6) without padding, strict in both directions.
pub(crate) mod base32 {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

    /// What each byte is worth as a digit; [`NONE`] for those that are none.
    #[expect(clippy::indexing_slicing, reason = "the compiler runs it")]
    const VALUES: [u8; 256] = {
        let mut values = [NONE; 256];
        let mut value = 0;
        while value < ALPHABET.len() {
            values[ALPHABET[value] as usize] = value as u8;
            value += 1;
        }
        values
    };
    const NONE: u8 = 0x80;

    pub(crate) fn encode(bytes: &[u8]) -> String {
        encode_after("", bytes)
    }

    /// `prefix` and the digits.
    pub(crate) fn encode_after(prefix: &str, bytes: &[u8]) -> String {
        let mut out = Vec::with_capacity(prefix.len() + bytes.len().div_ceil(5) * 8);
        out.extend_from_slice(prefix.as_bytes());
        let (groups, rest) = bytes.as_chunks::<5>();
        for [a, b, c, d, e] in groups {
            let bits = u64::from_be_bytes([0, 0, 0, *a, *b, *c, *d, *e]);
            let digits: [u8; 8] = std::array::from_fn(|nth| digit(bits >> (35 - 5 * nth)));
            out.extend_from_slice(&digits);
        }
        let (mut bits, mut held) = (0_u64, 0);
        for byte in rest {
            bits = bits << 8 | u64::from(*byte);
            held += 8;
            while held >= 5 {
                held -= 5;
                out.push(digit(bits >> held));
            }
        }
        if held > 0 {
            out.push(digit(bits << (5 - held)));
        }
        // It is ASCII.
        String::from_utf8(out).unwrap_or_default()
    }

    fn digit(bits: u64) -> u8 {
        ALPHABET.get((bits & 31) as usize).copied().unwrap_or_default()
    }

    fn value(digit: u8) -> u8 {
        VALUES.get(usize::from(digit)).copied().unwrap_or(NONE)
    }

    /// `None` for a digit outside the alphabet, a length that no byte string has, or non-zero trailing bits.
    pub(crate) fn decode(text: &str) -> Option<Vec<u8>> {
        if matches!(text.len() % 8, 1 | 3 | 6) {
            return None;
        }
        let mut out = Vec::with_capacity(text.len() * 5 / 8);
        let (groups, rest) = text.as_bytes().as_chunks::<8>();
        for group in groups {
            let (mut bits, mut all) = (0_u64, 0);
            for digit in group {
                let value = value(*digit);
                all |= value;
                bits = bits << 5 | u64::from(value);
            }
            if all & NONE != 0 {
                return None;
            }
            let [_, _, _, bytes @ ..] = bits.to_be_bytes();
            out.extend_from_slice(&bytes);
        }
        let (mut bits, mut held) = (0_u64, 0);
        for digit in rest {
            let value = value(*digit);
            if value == NONE {
                return None;
            }
            bits = bits << 5 | u64::from(value);
            held += 5;
            if held >= 8 {
                held -= 8;
                out.push((bits >> held & 0xff) as u8);
            }
        }
        (bits & ((1 << held) - 1) == 0).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY_TREE: &str = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";

    #[test]
    fn the_string_form_round_trips() {
        let cid = Cid::parse(EMPTY_TREE).unwrap();
        assert_eq!(cid.to_string(), EMPTY_TREE);
        assert_eq!(cid.codec(), Codec::DagCbor);
        assert!(cid.is_repo_node() && !cid.is_blob());
        assert_eq!(cid, Cid::of_cbor(&[0xa2, 0x61, 0x65, 0x80, 0x61, 0x6c, 0xf6]));
        assert_eq!(Cid::from_bytes(cid.as_bytes()), Ok(cid));
    }

    #[test]
    fn foreign_cids_are_kept_but_link_nothing() {
        let dag_pb = Cid::parse("bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi").unwrap();
        assert_eq!(dag_pb.codec(), Codec::Foreign(0x70));
        assert!(!dag_pb.is_atproto());
        assert_eq!(dag_pb.to_string(), "bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi");
        let identity = Cid::from_bytes(&[1, 0x55, 0, 2, b'h', b'i']).unwrap();
        assert!(!identity.is_atproto());
        assert_eq!(identity.codec(), Codec::Raw);
    }

    #[test]
    fn malformed_bytes_are_refused_by_name() {
        let good = Cid::of_raw(b"x");
        let mut long = good.as_bytes().to_vec();
        long.push(0);
        assert_eq!(Cid::from_bytes(&long), Err(CidError::TrailingBytes { count: 1 }));
        assert_eq!(Cid::from_bytes(&[]), Err(CidError::Truncated));
        assert_eq!(Cid::from_bytes(&[0x12, 0x20, 1, 2]), Err(CidError::Version(0x12)));
        assert_eq!(Cid::from_bytes(&[1, 0x71, 0x12, 3, 1, 2]), Err(CidError::DigestLength { announced: 3, found: 2 }));
        assert_eq!(Cid::from_bytes(&[1, 0xf1, 0x00, 0x12, 0]), Err(CidError::Varint));
        assert_eq!(Cid::from_bytes(&[1, 0x71, 0x12, 0x7f]), Err(CidError::TooLong { len: 131 }));
        assert_eq!(Cid::read_prefix(&long), Ok((good, ATPROTO_LEN)));
    }

    #[test]
    fn other_string_forms_are_refused() {
        for text in ["", "b", "zdj7WWeQ43G6JJvLWQWZpyHuAMq6uYWRjkBXFad11vE2LHhQ7", "bAFYREIE", "bafyreie5737=", "."] {
            assert!(Cid::parse(text).is_err(), "{text}");
        }
        // The last digit holds two bits of the digest; the other three must be zero.
        let mut dirty = EMPTY_TREE.to_owned();
        dirty.pop();
        dirty.push('n');
        assert_eq!(Cid::parse(&dirty), Err(CidError::Base32));
    }

    #[test]
    fn base32_round_trips_every_length() {
        let bytes: Vec<u8> = (0..=255).collect();
        for len in 0..64 {
            let text = base32::encode(&bytes[..len]);
            assert_eq!(base32::decode(&text).unwrap(), bytes[..len]);
            // No digit may be another character, wherever it stands.
            for (at, _) in text.char_indices() {
                for wrong in ["A", "0", "1", "8", "=", "\u{7f}", "\0"] {
                    let mut broken = text.clone();
                    broken.replace_range(at..=at, wrong);
                    assert_eq!(base32::decode(&broken), None, "{broken}");
                }
            }
        }
        assert_eq!(base32::encode(b"foobar"), "mzxw6ytboi");
    }
}
