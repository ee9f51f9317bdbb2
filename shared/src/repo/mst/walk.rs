//! Walking a whole tree in order, trusting nothing.
//!
//! A [`Walk`] visits a node, then what is below it from left to right: pre-order, as a streamable export lists blocks.
//! It checks every node it enters: strict encoding, leaves on the node's layer and above all keys before them, no
//! node without leaves but in the middle, no child below layer 0. It holds one opened node per layer, so its memory
//! grows with the depth of the tree and not with its size.

use bytes::Bytes;

use super::node::{self, Child, Node, layer_of};
use super::{Blockstore, MstError};
use crate::cid::Cid;
use crate::repo::Block;

/// What a walk comes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// A node; its leaves and children follow.
    Node(Block),
    /// A leaf.
    Leaf {
        /// The repository path.
        key: Box<str>,
        /// The record's CID.
        value: Cid,
    },
}

/// A checked walk over a tree, in order.
#[derive(Debug)]
pub struct Walk<S> {
    cursor: Cursor<S>,
}

impl<S: Blockstore> Walk<S> {
    /// A walk over the tree with this root.
    #[must_use]
    pub fn new(blocks: S, root: Cid) -> Self {
        Self { cursor: Cursor::new(blocks, root) }
    }

    fn step(&mut self) -> Result<Option<Step>, MstError> {
        match self.cursor.peek() {
            None => Ok(None),
            Some(Next::Node { .. }) => self.cursor.enter().map(|block| block.map(Step::Node)),
            Some(Next::Leaf { .. }) => {
                let leaf = self.cursor.take_leaf()?;
                Ok(leaf.map(|(key, value)| Step::Leaf { key, value }))
            }
        }
    }
}

impl<S: Blockstore> Iterator for Walk<S> {
    type Item = Result<Step, MstError>;

    /// After an error nothing follows.
    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.cursor.stop();
        }
        step.transpose()
    }
}

/// Checks what `blocks` holds of a tree as a [`Walk`] checks a whole one, and passes by the subtrees that it lacks.
///
/// # Errors
/// When a node that is there is unsound.
pub(in crate::repo) fn check_present<S: Blockstore>(blocks: &S, root: Cid) -> Result<(), MstError> {
    let mut cursor = Cursor::new(blocks, root);
    loop {
        match cursor.peek() {
            None => return Ok(()),
            Some(Next::Leaf { .. }) => drop(cursor.take_leaf()?),
            Some(Next::Node { .. }) => match cursor.enter() {
                Err(MstError::MissingBlock(_)) => cursor.skip(),
                entered => drop(entered?),
            },
        }
    }
}

/// What a [`Cursor`] stands before.
pub(super) enum Next<'c> {
    Node { cid: &'c Cid, layer: Option<u32> },
    Leaf { key: &'c str, value: &'c Cid },
}

/// The walk itself, which can also pass by a subtree unopened.
#[derive(Debug)]
pub(super) struct Cursor<S> {
    blocks: S,
    /// The tree that is not entered yet.
    root: Option<Cid>,
    path: Vec<Place>,
    /// The key of the last leaf, above which all others must be.
    last: Box<str>,
}

/// A place in a node: before child `at / 2` when even, before leaf `at / 2` when odd.
#[derive(Debug)]
struct Place {
    node: Node,
    layer: u32,
    at: usize,
}

impl Place {
    fn next(&self) -> Option<Next<'_>> {
        if self.at.is_multiple_of(2) {
            match self.node.children.get(self.at / 2)?.as_ref()? {
                Child::Stored(cid) => Some(Next::Node { cid, layer: self.layer.checked_sub(1) }),
                Child::Open(_) => None,
            }
        } else {
            self.node.leaves.get(self.at / 2).map(|leaf| Next::Leaf { key: &leaf.key, value: &leaf.value })
        }
    }

    fn is_done(&self) -> bool {
        self.at > 2 * self.node.leaves.len()
    }
}

impl<S: Blockstore> Cursor<S> {
    pub(super) fn new(blocks: S, root: Cid) -> Self {
        Self { blocks, root: Some(root), path: Vec::new(), last: "".into() }
    }

    pub(super) fn stop(&mut self) {
        self.root = None;
        self.path.clear();
    }

    /// What comes next; the layer of the root is not known before it is entered.
    pub(super) fn peek(&self) -> Option<Next<'_>> {
        match &self.root {
            Some(cid) => Some(Next::Node { cid, layer: None }),
            None => self.path.last().and_then(Place::next),
        }
    }

    /// Enters the node that comes next and returns its block.
    pub(super) fn enter(&mut self) -> Result<Option<Block>, MstError> {
        let (cid, layer) = match self.peek() {
            Some(Next::Node { cid, layer }) => (cid.clone(), layer),
            _ => return Ok(None),
        };
        let top = self.root.is_some();
        if !top && layer.is_none() {
            return Err(MstError::BelowBottom);
        }
        let bytes: Bytes = self.blocks.get(&cid)?.ok_or_else(|| MstError::MissingBlock(cid.clone()))?;
        let node = node::decode(&cid, bytes.clone())?;
        let place = place(&cid, node, layer, top)?;
        self.pass();
        self.path.push(place);
        self.settle();
        Ok(Some(Block { cid, bytes }))
    }

    /// Takes the leaf that comes next.
    pub(super) fn take_leaf(&mut self) -> Result<Option<(Box<str>, Cid)>, MstError> {
        let Some(Next::Leaf { key, value }) = self.peek() else { return Ok(None) };
        let (key, value) = (Box::<str>::from(key), value.clone());
        if key <= self.last {
            return Err(MstError::Order(key));
        }
        self.last.clone_from(&key);
        self.skip();
        Ok(Some((key, value)))
    }

    /// Passes by what comes next, unopened.
    pub(super) fn skip(&mut self) {
        self.pass();
        self.settle();
    }

    fn pass(&mut self) {
        if self.root.take().is_none()
            && let Some(place) = self.path.last_mut()
        {
            place.at += 1;
        }
    }

    /// Moves to the next child or leaf there is, leaving nodes that are done.
    fn settle(&mut self) {
        while let Some(place) = self.path.last_mut() {
            if place.is_done() {
                self.path.pop();
            } else if place.next().is_some() {
                return;
            } else {
                place.at += 1;
            }
        }
    }
}

/// Checks a node against where it hangs.
fn place(cid: &Cid, node: Node, layer: Option<u32>, top: bool) -> Result<Place, MstError> {
    let layer = match (layer, node.leaves.first()) {
        (Some(layer), _) => layer,
        (None, Some(leaf)) => layer_of(&leaf.key),
        (None, None) => 0,
    };
    let childless = node.children.iter().all(Option::is_none);
    if node.leaves.is_empty() && (top != childless) {
        return Err(MstError::EmptyNode(cid.clone()));
    }
    for leaf in &node.leaves {
        let found = layer;
        let layer = layer_of(&leaf.key);
        if layer != found {
            return Err(MstError::Layer { key: leaf.key.clone(), layer, found });
        }
    }
    Ok(Place { node, layer, at: 0 })
}
