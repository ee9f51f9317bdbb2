//! One node of the tree as a block: its strict decoding and its one encoding.
//!
//! What [`decode`] accepts, [`encode`] writes back byte for byte: all fields present, prefixes maximal, keys
//! ascending and well-formed. Whether the keys belong on the node's layer and in its range is for
//! [`super::Walk`] to say, which knows where the node hangs.
//!
//! Specification: <https://atproto.com/specs/repository#mst-structure>.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::MstError;
use crate::cbor::{CborError, CborErrorKind, Reader, Writer};
use crate::cid::Cid;

/// The longest key of a tree, in bytes.
pub const MAX_KEY_LEN: usize = 1024;

/// A key with the CID of its record: one leaf of the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) key: Box<str>,
    pub(super) value: Cid,
}

/// A subtree: named by its CID, or opened.
#[derive(Debug, Clone)]
pub(super) enum Child {
    Stored(Cid),
    Open(Box<Node>),
}

/// An opened node: `children[i]` holds the keys below `leaves[i]`, the last child those above all of them; so there
/// is always one child slot more than there are leaves.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) leaves: Vec<Leaf>,
    pub(super) children: Vec<Option<Child>>,
    /// The block it was read from or written to; `None` once it is changed.
    pub(super) block: Option<(Cid, Bytes)>,
}

/// Why a block is no tree node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeError {
    /// Not strict DAG-CBOR of the node's shape.
    #[error("node is malformed")]
    Cbor(#[from] CborError),
    /// `p` is longer than the key before it, or its cut falls inside a character.
    #[error("key prefix of {0} bytes is longer than the key before it")]
    PrefixTooLong(u64),
    /// `p` is shorter than what the key shares with the one before it.
    #[error("key prefix of {found} bytes, {shared} are shared")]
    PrefixNotMaximal {
        /// What stands in the node.
        found: usize,
        /// What the two keys have in common.
        shared: usize,
    },
    /// A key does not sort after the one before it.
    #[error("key {0:?} is not above the one before it")]
    KeyOrder(Box<str>),
    /// A key that is no repository path.
    #[error("key of {0} bytes is not a repository path")]
    Key(usize),
    /// A link to a subtree that is not a CIDv1 of dag-cbor with SHA-256.
    #[error("subtree link {0} is not a dag-cbor sha-256 cid")]
    Link(Cid),
}

impl Node {
    /// The node without leaves and children: alone, the empty tree.
    pub(super) fn empty() -> Self {
        Self { leaves: Vec::new(), children: vec![None], block: None }
    }

    /// A node without leaves over one child.
    pub(super) fn over(child: Child) -> Self {
        Self { leaves: Vec::new(), children: vec![Some(child)], block: None }
    }

    /// Whether there is nothing in it or below it.
    pub(super) fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.children.iter().all(Option::is_none)
    }

    /// Where `key` is among the leaves, or which child it belongs to.
    pub(super) fn find(&self, key: &str) -> Result<usize, usize> {
        self.leaves.binary_search_by(|leaf| (*leaf.key).cmp(key))
    }
}

/// The layer that a key lives on: the leading zero bits of its SHA-256, in pairs.
#[must_use]
pub fn layer_of(key: &str) -> u32 {
    let mut zeros = 0;
    for byte in Sha256::digest(key.as_bytes()) {
        zeros += byte.leading_zeros();
        if byte != 0 {
            break;
        }
    }
    zeros / 2
}

/// How many bytes two keys have in common at their start.
#[must_use]
pub fn common_prefix(left: &str, right: &str) -> usize {
    left.bytes().zip(right.bytes()).take_while(|(left, right)| left == right).count()
}

/// Whether `key` may stand in a tree: two segments of the record-key alphabet, at most [`MAX_KEY_LEN`] bytes.
///
/// Wider than what new records may have, whose collection is an NSID: what a repository already holds is kept.
#[must_use]
pub fn is_key(key: &str) -> bool {
    let segment = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'~' | b'-'))
    };
    key.len() <= MAX_KEY_LEN
        && key.split_once('/').is_some_and(|(collection, rkey)| segment(collection) && segment(rkey))
}

/// The node that a block is.
pub(super) fn decode(cid: &Cid, block: Bytes) -> Result<Node, MstError> {
    read(&block)
        .map(|mut node| {
            node.block = Some((cid.clone(), block));
            node
        })
        .map_err(|error| MstError::Node { cid: cid.clone(), error })
}

fn read(block: &[u8]) -> Result<Node, NodeError> {
    let mut reader = Reader::new(block);
    let mut left = None;
    let mut node = None;
    reader.map(|field, reader| {
        match field {
            "l" => left = Some(subtree(reader)?),
            "e" => node = Some(entries(reader)?),
            _ => return Err(reader.error(CborErrorKind::UnknownField).into()),
        }
        Ok::<_, NodeError>(())
    })?;
    let missing = |reader: &Reader<'_>, field| reader.error(CborErrorKind::MissingField(field));
    let mut node: Node = node.ok_or_else(|| missing(&reader, "e"))?;
    let left = left.ok_or_else(|| missing(&reader, "l"))?;
    reader.finish()?;
    if let Some(first) = node.children.first_mut() {
        *first = left;
    }
    Ok(node)
}

fn subtree(reader: &mut Reader<'_>) -> Result<Option<Child>, NodeError> {
    match reader.nullable(Reader::link)? {
        Some(cid) if cid.is_repo_node() => Ok(Some(Child::Stored(cid))),
        Some(cid) => Err(NodeError::Link(cid)),
        None => Ok(None),
    }
}

/// The leaves and the children to their right; the left-most child is left open.
fn entries(reader: &mut Reader<'_>) -> Result<Node, NodeError> {
    let len = reader.array()?;
    // An entry is at least this long, so that a false length reserves nothing.
    const SHORTEST: usize = 50;
    let reserve = len.min(reader.rest().len() / SHORTEST);
    let mut node = Node { leaves: Vec::with_capacity(reserve), children: Vec::with_capacity(reserve + 1), block: None };
    node.children.push(None);
    for _ in 0..len {
        let previous = node.leaves.last().map_or("", |leaf| &leaf.key);
        let (leaf, right) = entry(reader, previous)?;
        node.leaves.push(leaf);
        node.children.push(right);
    }
    Ok(node)
}

fn entry(reader: &mut Reader<'_>, previous: &str) -> Result<(Leaf, Option<Child>), NodeError> {
    let (mut prefix, mut suffix, mut value, mut right) = (None, None, None, None);
    reader.map(|field, reader| {
        match field {
            "k" => suffix = Some(reader.bytes()?),
            "p" => prefix = Some(reader.uint()?),
            "t" => right = Some(subtree(reader)?),
            "v" => value = Some(reader.link()?),
            _ => return Err(reader.error(CborErrorKind::UnknownField).into()),
        }
        Ok::<_, NodeError>(())
    })?;
    let missing = |field| reader.error(CborErrorKind::MissingField(field));
    let suffix = suffix.ok_or_else(|| missing("k"))?;
    let prefix = prefix.ok_or_else(|| missing("p"))?;
    let right = right.ok_or_else(|| missing("t"))?;
    let value = value.ok_or_else(|| missing("v"))?;
    let key = full_key(previous, prefix, suffix)?;
    Ok((Leaf { key, value }, right))
}

fn full_key(previous: &str, prefix: u64, suffix: &[u8]) -> Result<Box<str>, NodeError> {
    let kept = usize::try_from(prefix).ok().and_then(|prefix| previous.get(..prefix));
    let kept = kept.ok_or(NodeError::PrefixTooLong(prefix))?;
    let len = kept.len() + suffix.len();
    let suffix = std::str::from_utf8(suffix).map_err(|_| NodeError::Key(len))?;
    let mut key = String::with_capacity(len);
    key.push_str(kept);
    key.push_str(suffix);
    if !is_key(&key) {
        return Err(NodeError::Key(len));
    }
    let shared = common_prefix(previous, &key);
    if shared != kept.len() {
        return Err(NodeError::PrefixNotMaximal { found: kept.len(), shared });
    }
    if &*key <= previous {
        return Err(NodeError::KeyOrder(key.into()));
    }
    Ok(key.into())
}

/// The block of a node whose children are all written, which `cid_of` tells.
pub(super) fn encode<'a>(node: &'a Node, cid_of: impl Fn(&'a Child) -> Option<&'a Cid>) -> Vec<u8> {
    let child = |at: usize| node.children.get(at).and_then(Option::as_ref).and_then(&cid_of);
    let mut writer = Writer::new();
    writer.map(2).text("e").array(node.leaves.len());
    let mut previous = "";
    for (at, leaf) in node.leaves.iter().enumerate() {
        let prefix = common_prefix(previous, &leaf.key);
        let suffix = leaf.key.as_bytes().get(prefix..).unwrap_or_default();
        writer.map(4).text("k").bytes(suffix).text("p").int(i64::try_from(prefix).unwrap_or(i64::MAX));
        writer.text("t").link_or_null(child(at + 1)).text("v").link(&leaf.value);
        previous = &leaf.key;
    }
    writer.text("l").link_or_null(child(0));
    writer.into_bytes()
}
