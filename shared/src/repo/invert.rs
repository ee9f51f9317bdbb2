//! Undoing a commit's operations on the part of the tree that its event carries.
//!
//! A consumer that knows only the root before a commit can so tell that the operations are all there is to it: undone
//! one by one on the new tree they must lead back to that root. Nodes that the event leaves out are touched by no
//! honest operation; needing one is an error. The nodes that it does carry are checked first, the order of their keys
//! across nodes above all: undoing joins and parts nodes, and could make a sound tree out of an unsound one.
//!
//! Specification: <https://atproto.com/specs/sync#commit-validation-mst-operation-inversion>.

use std::collections::HashSet;

use super::mst::{MstError, Tree, check_present};
use super::{Action, Blockstore, RepoOp};
use crate::cid::Cid;
use crate::syntax::Path;

/// Why operations cannot be undone.
#[derive(Debug, thiserror::Error)]
pub enum InvertError {
    /// Two operations at one path.
    #[error("path {0} comes twice")]
    PathTwice(Path),
    /// An operation without what stood before, or one that changes nothing.
    #[error("operation at {0} says nothing or nothing new")]
    Void(Path),
    /// What the operation says it wrote, or removed, is not what the tree holds.
    #[error("tree holds {found:?} at {path}, the operation says {said:?}")]
    Mismatch {
        /// Where.
        path: Path,
        /// What the operation left there.
        said: Option<Cid>,
        /// What the tree holds.
        found: Option<Cid>,
    },
    /// The tree cannot be read as far as undoing needs it.
    #[error("tree is unreadable")]
    Mst(#[from] MstError),
}

/// The root of the tree before `ops`, given the tree after them.
///
/// # Errors
/// An [`InvertError`] when the operations are not what happened, or `blocks` lacks a node that undoing them touches.
pub fn invert<S: Blockstore>(blocks: &S, data: Cid, ops: &[RepoOp]) -> Result<Cid, InvertError> {
    check_present(blocks, data.clone())?;
    let mut paths = HashSet::with_capacity(ops.len());
    let mut tree = Tree::of_foreign(blocks, data);
    for op in ops.iter().rev() {
        if !paths.insert(&op.path) {
            return Err(InvertError::PathTwice(op.path.clone()));
        }
        if op.is_malformed() || op.cid == op.prev {
            return Err(InvertError::Void(op.path.clone()));
        }
        let found = match (op.action, &op.prev) {
            (Action::Create, _) => tree.remove(op.path.as_str())?,
            (Action::Update | Action::Delete, Some(prev)) => tree.set(op.path.as_str(), prev.clone())?,
            (Action::Update | Action::Delete, None) => return Err(InvertError::Void(op.path.clone())),
        };
        if found != op.cid {
            return Err(InvertError::Mismatch { path: op.path.clone(), said: op.cid.clone(), found });
        }
    }
    Ok(tree.write()?.root)
}
