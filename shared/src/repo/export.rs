//! All blocks of a repository in streamable order.
//!
//! The order is a function of the tree alone: the commit, the root node, then pre-order, after each node what its
//! entries list from left to right: a child with all that is below it, a leaf's record, the next child. A reader that
//! checks as it goes needs to hold one node per layer. Each block comes once, where it is first due: records of equal
//! content at several paths share one.
//!
//! [`Export`] is an iterator over a store, so that a caller sends what it likes when it likes; it holds one node per
//! layer, and the CIDs of records that come more than once.
//!
//! Specification: <https://atproto.com/specs/repository#car-file-serialization>.

use std::collections::HashSet;

use super::mst::{MstError, Step, Walk};
use super::{Block, Blockstore};
use crate::cid::Cid;

/// The records that stand at more than one path of a tree; usually few or none.
///
/// A store with an index over its records knows them; [`Repeats::scan`] finds them by walking.
#[derive(Debug, Clone, Default)]
pub struct Repeats(HashSet<Cid>);

impl Repeats {
    /// Walks the nodes of a tree and finds the records that stand at more than one path. Costs 8 to 16 bytes a
    /// record while it runs, and what it finds.
    ///
    /// # Errors
    /// When a node is missing or unsound.
    pub fn scan<S: Blockstore>(blocks: &S, data: &Cid) -> Result<Self, MstError> {
        let mut marks = Vec::new();
        for leaf in leaves(blocks, data) {
            marks.push(mark(&leaf?));
        }
        marks.sort_unstable();
        let twice: HashSet<u64> = marks
            .windows(2)
            .filter_map(|pair| match pair {
                [one, other] if one == other => Some(*one),
                _ => None,
            })
            .collect();
        drop(marks);
        let mut repeats = HashSet::new();
        if !twice.is_empty() {
            for leaf in leaves(blocks, data) {
                let leaf = leaf?;
                if twice.contains(&mark(&leaf)) {
                    repeats.insert(leaf);
                }
            }
        }
        Ok(Self(repeats))
    }
}

impl FromIterator<Cid> for Repeats {
    fn from_iter<I: IntoIterator<Item = Cid>>(cids: I) -> Self {
        Self(cids.into_iter().collect())
    }
}

fn leaves<S: Blockstore>(blocks: &S, data: &Cid) -> impl Iterator<Item = Result<Cid, MstError>> {
    Walk::new(blocks, data.clone()).filter_map(|step| match step {
        Ok(Step::Leaf { value, .. }) => Some(Ok(value)),
        Ok(Step::Node(_)) => None,
        Err(error) => Some(Err(error)),
    })
}

/// The last eight bytes of a CID: of its digest. Two records that share it are only looked at once more.
fn mark(cid: &Cid) -> u64 {
    cid.as_bytes().last_chunk().map_or(0, |tail| u64::from_be_bytes(*tail))
}

/// The blocks of a repository in streamable order.
///
/// After an error nothing follows.
#[derive(Debug)]
pub struct Export<S> {
    blocks: S,
    commit: Option<Cid>,
    walk: Walk<S>,
    repeats: Repeats,
    /// Of the repeated records, those that are out.
    sent: HashSet<Cid>,
    ended: bool,
}

impl<S: Blockstore + Clone> Export<S> {
    /// An export of the repository whose commit is `commit` over the tree `data`. `blocks` is cloned once: a reference, or
    /// a shared pointer where the export has to stand by itself.
    #[must_use]
    pub fn new(blocks: S, commit: Cid, data: Cid, repeats: Repeats) -> Self {
        Self {
            commit: Some(commit),
            walk: Walk::new(blocks.clone(), data),
            blocks,
            repeats,
            sent: HashSet::new(),
            ended: false,
        }
    }

    fn step(&mut self) -> Result<Option<Block>, MstError> {
        if let Some(commit) = self.commit.take() {
            return self.fetch(commit).map(Some);
        }
        while let Some(step) = self.walk.next() {
            match step? {
                Step::Node(block) => return Ok(Some(block)),
                Step::Leaf { value, .. } => {
                    if !self.repeats.0.contains(&value) || self.sent.insert(value.clone()) {
                        return self.fetch(value).map(Some);
                    }
                }
            }
        }
        Ok(None)
    }

    fn fetch(&self, cid: Cid) -> Result<Block, MstError> {
        match self.blocks.get(&cid)? {
            Some(bytes) => Ok(Block { cid, bytes }),
            None => Err(MstError::MissingBlock(cid)),
        }
    }
}

impl<S: Blockstore + Clone> Iterator for Export<S> {
    type Item = Result<Block, MstError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let step = self.step();
        self.ended = !matches!(step, Ok(Some(_)));
        step.transpose()
    }
}
