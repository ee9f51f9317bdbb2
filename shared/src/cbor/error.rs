//! Why bytes are not strict DAG-CBOR: the rule that is broken, and where.

use crate::cid::CidError;

/// Bytes that are not strict DAG-CBOR, or not of the shape that was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct CborError {
    /// The rule that is broken.
    pub kind: CborErrorKind,
    /// The offset of the item that breaks it.
    pub at: usize,
}

/// The rules of DAG-CBOR, as they are broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CborErrorKind {
    /// The input ends inside an item, or announces more than it holds.
    #[error("input is cut short")]
    Truncated,
    /// Something follows the item.
    #[error("bytes after the item")]
    TrailingBytes,
    /// A head that could be shorter.
    #[error("head is not in its shortest form")]
    NotMinimal,
    /// An indefinite length.
    #[error("length is indefinite")]
    Indefinite,
    /// A floating-point number.
    #[error("floating-point number")]
    Float,
    /// `undefined` or another simple value that the data model lacks.
    #[error("simple value {0}")]
    Simple(u8),
    /// A tag other than 42.
    #[error("tag {0}")]
    Tag(u64),
    /// An integer beyond 64 signed bits.
    #[error("integer is beyond 64 signed bits")]
    IntegerRange,
    /// A string that is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8,
    /// A map key that is not a string.
    #[error("map key is not a string")]
    KeyType,
    /// A map key that does not sort after the one before it.
    #[error("map keys are not in order")]
    KeyOrder,
    /// A map key that comes twice.
    #[error("map key comes twice")]
    DuplicateKey,
    /// Deeper than [`super::MAX_DEPTH`].
    #[error("nesting is deeper than {} levels", super::MAX_DEPTH)]
    Depth,
    /// Tag 42 on something else than a byte string that starts with a zero byte.
    #[error("malformed link")]
    Link,
    /// Tag 42 on bytes that are no CID.
    #[error("link holds no cid")]
    Cid(#[from] CidError),
    /// Valid, but not what must stand here.
    #[error("expected {0}")]
    Expected(&'static str),
    /// A map without a field that it must have.
    #[error("field {0} is missing")]
    MissingField(&'static str),
    /// A map with a field that it must not have.
    #[error("unknown field")]
    UnknownField,
}
