//! The Merkle search tree: the map from repository paths to record CIDs whose root hash a commit signs.
//!
//! # Terminology
//!
//! - A *key* is a repository path, `collection/rkey`; its *layer* is the number of leading zero bits of its SHA-256,
//!   halved: a quarter of the keys of one layer reach the next.
//! - A *leaf* is a key with the CID of its record. A *node* holds the leaves of one layer that no higher leaf parts, and
//!   between them its *children*, which are nodes of exactly the layer below. The lowest layer is 0.
//! - The tree is a pure function of its leaves: every mix of edits that ends in the same leaves ends in the same root.
//!
//! # Tricky bits
//!
//! - A node without leaves is kept between two layers that have some: links never skip a layer. At the top it is
//!   trimmed, several layers at once if need be, and at the bottom it is dropped; only the empty tree is such a node.
//! - Inserting a leaf above others splits the subtree around it, all the way down; removing one merges its two
//!   neighbours, all the way down.
//! - To undo an operation a consumer needs nodes beside the changed path, see [`Tree::covering_proof`].
//!
//! A [`Tree`] opens only the nodes that an edit touches. Blocks of a repository of our own are trusted to be whole;
//! [`Tree::of_foreign`] and [`Walk`] check what they open. After an error a tree is in pieces: drop it.
//!
//! Specification: <https://atproto.com/specs/repository#mst-structure>.

mod diff;
mod edit;
mod node;
mod walk;

use std::collections::HashSet;

use bytes::Bytes;

use self::edit::Editor;
use self::node::{Child, Leaf, Node};
use super::{Block, Blockstore, BlockstoreError};
use crate::cid::Cid;

pub use diff::{Change, Diff};
pub use node::{MAX_KEY_LEN, NodeError, common_prefix, is_key, layer_of};
pub(super) use walk::check_present;
pub use walk::{Step, Walk};

/// Why a tree cannot be read or edited.
#[derive(Debug, thiserror::Error)]
pub enum MstError {
    /// A block that the tree links is not in the store.
    #[error("block {0} is missing")]
    MissingBlock(Cid),
    /// The store failed.
    #[error("block store failed")]
    Store(#[from] BlockstoreError),
    /// A block that is no node.
    #[error("node {cid} is invalid")]
    Node {
        /// The node.
        cid: Cid,
        /// What is wrong with it.
        #[source]
        error: NodeError,
    },
    /// A leaf whose key belongs on another layer.
    #[error("key {key:?} of layer {layer} stands on layer {found}")]
    Layer {
        /// The key.
        key: Box<str>,
        /// Where its hash puts it.
        layer: u32,
        /// Where it stands.
        found: u32,
    },
    /// A key that does not sort after all the keys to its left.
    #[error("key {0:?} is out of order in the tree")]
    Order(Box<str>),
    /// A node without leaves at the top of the tree, or without leaves and children below the top.
    #[error("node {0} holds no leaf where it must")]
    EmptyNode(Cid),
    /// A child below layer 0.
    #[error("a node hangs below layer 0")]
    BelowBottom,
    /// A proof was asked of a tree whose edits are not written.
    #[error("tree has unwritten edits")]
    Unwritten,
    /// A key that cannot stand in a tree.
    #[error("key of {0} bytes is not a repository path")]
    Key(usize),
}

/// What writing a tree's changed nodes comes to.
#[derive(Debug, Clone)]
pub struct Written {
    /// The root node.
    pub root: Cid,
    /// The nodes that the store does not hold yet, the root first.
    pub new: Vec<Block>,
    /// The nodes that were in the tree as it was opened and are not any more.
    pub removed: Vec<Cid>,
}

/// A tree being edited over a store.
#[derive(Debug)]
pub struct Tree<'s, S> {
    root: Child,
    editor: Editor<'s, S>,
}

impl<'s, S: Blockstore> Tree<'s, S> {
    /// The tree without leaves.
    #[must_use]
    pub fn empty(blocks: &'s S) -> Self {
        Self { root: Child::Open(Box::new(Node::empty())), editor: Editor::new(blocks, false) }
    }

    /// The tree with this root, out of a store whose trees are sound.
    #[must_use]
    pub fn open(blocks: &'s S, root: Cid) -> Self {
        Self { root: Child::Stored(root), editor: Editor::new(blocks, false) }
    }

    /// The tree with this root, out of a store filled by somebody else: of every node that is opened, layer and keys
    /// are checked, but not that the keys are in order with those of other nodes: that takes a [`Walk`].
    #[must_use]
    pub fn of_foreign(blocks: &'s S, root: Cid) -> Self {
        Self { root: Child::Stored(root), editor: Editor::new(blocks, true) }
    }

    /// The CID of the record at `key`.
    ///
    /// # Errors
    /// When a node on the path is missing or unsound.
    pub fn get(&mut self, key: &str) -> Result<Option<Cid>, MstError> {
        let mut path = self.path(key)?;
        Ok(path
            .pop()
            .and_then(|node| node.find(key).ok().and_then(|at| node.leaves.get(at)))
            .map(|leaf| leaf.value.clone()))
    }

    /// Sets the record at `key` and returns what stood there.
    ///
    /// # Errors
    /// [`MstError::Key`] for a malformed key; when a node that the edit touches is missing or unsound.
    pub fn set(&mut self, key: &str, value: Cid) -> Result<Option<Cid>, MstError> {
        if !is_key(key) {
            return Err(MstError::Key(key.len()));
        }
        self.editor.set(&mut self.root, Leaf { key: key.into(), value })
    }

    /// Removes the leaf at `key` and returns what stood there.
    ///
    /// # Errors
    /// When a node that the edit touches is missing or unsound.
    pub fn remove(&mut self, key: &str) -> Result<Option<Cid>, MstError> {
        self.editor.remove(&mut self.root, key)
    }

    /// Encodes the changed nodes. The tree can be read and edited on.
    ///
    /// # Errors
    /// Never for a tree whose edits succeeded.
    pub fn write(&mut self) -> Result<Written, MstError> {
        let mut new = Vec::new();
        let root = write_child(&mut self.root, &mut new)?;
        new.reverse();
        let replaced: HashSet<Cid> = std::mem::take(&mut self.editor.replaced).into_iter().collect();
        let written: HashSet<Cid> = new.iter().map(|block| block.cid.clone()).collect();
        let removed = replaced.difference(&written).cloned().collect();
        new.retain(|block| !replaced.contains(&block.cid));
        Ok(Written { root, new, removed })
    }

    /// The root node.
    ///
    /// # Errors
    /// When it is missing, unsound or not written yet.
    pub fn root_block(&mut self) -> Result<Block, MstError> {
        let (node, _) = self.editor.open_root(&mut self.root)?;
        block_of(node)
    }

    /// The nodes from the root to where `key` is or would be: proof of its presence or absence, the root first.
    ///
    /// # Errors
    /// When a node on the path is missing or unsound, or not written yet.
    pub fn proof(&mut self, key: &str) -> Result<Vec<Block>, MstError> {
        self.path(key)?.into_iter().map(block_of).collect()
    }

    /// The nodes that a consumer needs to undo an insertion or removal of `key` in this tree: the path to it, and
    /// the two borders that close behind it: the right edge of the subtree to its left and the left edge of the one to
    /// its right. Where a key was removed the path itself goes on to the bottom.
    ///
    /// # Errors
    /// As for [`Self::proof`].
    pub fn covering_proof(&mut self, key: &str) -> Result<Vec<Block>, MstError> {
        let mut proof = self.proof(key)?;
        let Self { root, editor } = self;
        let Some((node, at, layer)) = editor.locate(root, key)? else {
            return Ok(proof);
        };
        for (child, edge) in [(at, usize::MAX), (at + 1, 0)] {
            let mut next = node.children.get_mut(child).and_then(Option::as_mut);
            let mut layer = layer;
            while let Some(child) = next {
                layer = layer.checked_sub(1).ok_or(MstError::BelowBottom)?;
                let node = editor.open(child, layer)?;
                proof.push(block_of(node)?);
                let last = node.children.len().saturating_sub(1);
                next = node.children.get_mut(edge.min(last)).and_then(Option::as_mut);
            }
        }
        Ok(proof)
    }

    /// How many nodes have been read from the store.
    #[must_use]
    pub fn nodes_loaded(&self) -> usize {
        self.editor.loaded
    }

    /// The opened nodes from the root to the one that holds `key`, or to where it would be.
    fn path(&mut self, key: &str) -> Result<Vec<&Node>, MstError> {
        self.editor.locate(&mut self.root, key)?;
        let mut path = Vec::new();
        let mut next = Some(&self.root);
        while let Some(Child::Open(node)) = next {
            path.push(&**node);
            next = match node.find(key) {
                Ok(_) => None,
                Err(at) => node.children.get(at).and_then(Option::as_ref),
            };
        }
        Ok(path)
    }
}

fn block_of(node: &Node) -> Result<Block, MstError> {
    let (cid, bytes) = node.block.clone().ok_or(MstError::Unwritten)?;
    Ok(Block { cid, bytes })
}

/// Writes `child` and what is below it where it was changed; children come before their parents.
fn write_child(child: &mut Child, new: &mut Vec<Block>) -> Result<Cid, MstError> {
    let node = match child {
        Child::Stored(cid) => return Ok(cid.clone()),
        Child::Open(node) => node,
    };
    if let Some((cid, _)) = &node.block {
        return Ok(cid.clone());
    }
    for child in node.children.iter_mut().rev().flatten() {
        write_child(child, new)?;
    }
    let bytes = Bytes::from(node::encode(node, |child| match child {
        Child::Stored(cid) => Some(cid),
        Child::Open(node) => node.block.as_ref().map(|(cid, _)| cid),
    }));
    let cid = Cid::of_cbor(&bytes);
    node.block = Some((cid.clone(), bytes.clone()));
    new.push(Block { cid: cid.clone(), bytes });
    Ok(cid)
}

#[cfg(test)]
pub(crate) mod tests;
