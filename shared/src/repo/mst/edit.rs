//! Setting and removing leaves: splits, merges, and the rules for nodes without leaves.
//!
//! Every function takes the layer of the node it works on, and layers fall by one a step, so that recursion ends
//! whatever the blocks say. A node is marked changed (its block is dropped) exactly when its encoding changes.

use super::node::{self, Child, Leaf, Node, layer_of};
use super::{Blockstore, MstError};
use crate::cid::Cid;

/// Opens nodes and keeps account of what an edit replaces.
#[derive(Debug)]
pub(super) struct Editor<'s, S> {
    blocks: &'s S,
    /// Whether opened nodes are checked for their layer.
    foreign: bool,
    /// The blocks of nodes that were changed.
    pub(super) replaced: Vec<Cid>,
    /// How many nodes were read from the store.
    pub(super) loaded: usize,
}

type Halves = (Option<Child>, Option<Child>);

impl<'s, S: Blockstore> Editor<'s, S> {
    pub(super) fn new(blocks: &'s S, foreign: bool) -> Self {
        Self { blocks, foreign, replaced: Vec::new(), loaded: 0 }
    }

    /// The node at the top of a tree, read if need be, and its layer.
    pub(super) fn open_root<'c>(&mut self, root: &'c mut Child) -> Result<(&'c mut Node, u32), MstError> {
        self.load(root, None)?;
        let node = opened(root)?;
        let layer = match (node.leaves.first(), &node.block) {
            (Some(leaf), _) => layer_of(&leaf.key),
            (None, Some((cid, _))) if !node.is_empty() => return Err(MstError::EmptyNode(cid.clone())),
            (None, _) => 0,
        };
        Ok((node, layer))
    }

    /// The node behind `child`, read if need be, which is on `layer`.
    pub(super) fn open<'c>(&mut self, child: &'c mut Child, layer: u32) -> Result<&'c mut Node, MstError> {
        self.load(child, Some(layer))?;
        opened(child)
    }

    fn load(&mut self, child: &mut Child, layer: Option<u32>) -> Result<(), MstError> {
        if let Child::Stored(cid) = child {
            let block = self.blocks.get(cid)?.ok_or_else(|| MstError::MissingBlock(cid.clone()))?;
            self.loaded += 1;
            let node = node::decode(cid, block)?;
            if self.foreign {
                check_layer(&node, layer)?;
            }
            *child = Child::Open(Box::new(node));
        }
        Ok(())
    }

    /// The node that holds `key`, its place there and its layer; `None` when no node does. All nodes on the path are
    /// open then.
    pub(super) fn locate<'c>(
        &mut self,
        root: &'c mut Child,
        key: &str,
    ) -> Result<Option<(&'c mut Node, usize, u32)>, MstError> {
        let (mut node, mut layer) = self.open_root(root)?;
        loop {
            match node.find(key) {
                Ok(at) => return Ok(Some((node, at, layer))),
                Err(at) => match node.children.get_mut(at).and_then(Option::as_mut) {
                    None => return Ok(None),
                    Some(child) => {
                        layer = below(layer)?;
                        node = self.open(child, layer)?;
                    }
                },
            }
        }
    }

    /// Sets a leaf; returns the value that it replaces.
    pub(super) fn set(&mut self, root: &mut Child, leaf: Leaf) -> Result<Option<Cid>, MstError> {
        let layer = layer_of(&leaf.key);
        let (node, top) = self.open_root(root)?;
        if node.is_empty() {
            self.change(node);
            *node = Node { leaves: vec![leaf], children: vec![None, None], block: None };
            return Ok(None);
        }
        if layer <= top {
            return self.set_below(root, top, layer, leaf);
        }
        let old = std::mem::replace(root, Child::Open(Box::new(Node::empty())));
        let (mut left, mut right) = self.split(old, top, &leaf.key)?;
        for _ in top + 1..layer {
            left = left.map(raise);
            right = right.map(raise);
        }
        *root = Child::Open(Box::new(Node { leaves: vec![leaf], children: vec![left, right], block: None }));
        Ok(None)
    }

    fn set_below(&mut self, child: &mut Child, here: u32, layer: u32, leaf: Leaf) -> Result<Option<Cid>, MstError> {
        let node = self.open(child, here)?;
        let at = match node.find(&leaf.key) {
            Ok(at) => {
                let Some(held) = node.leaves.get_mut(at).filter(|held| held.value != leaf.value) else {
                    return Ok(Some(leaf.value));
                };
                let previous = std::mem::replace(&mut held.value, leaf.value);
                self.change(node);
                return Ok(Some(previous));
            }
            Err(at) => at,
        };
        if here == layer {
            let (left, right) = match node.children.get_mut(at).and_then(Option::take) {
                Some(child) => self.split(child, below(here)?, &leaf.key)?,
                None => (None, None),
            };
            self.change(node);
            node.leaves.insert(at, leaf);
            node.children.splice(at..=at, [left, right]);
            return Ok(None);
        }
        let Some(slot) = node.children.get_mut(at) else {
            return Ok(None);
        };
        let fresh = slot.is_none();
        let child = slot.get_or_insert_with(|| Child::Open(Box::new(Node::empty())));
        let previous = self.set_below(child, below(here)?, layer, leaf)?;
        let changed = matches!(child, Child::Open(node) if node.block.is_none());
        if fresh || changed {
            self.change(node);
        }
        Ok(previous)
    }

    /// Removes a leaf; returns its value.
    pub(super) fn remove(&mut self, root: &mut Child, key: &str) -> Result<Option<Cid>, MstError> {
        let (_, top) = self.open_root(root)?;
        let removed = self.remove_below(root, top, key)?;
        if removed.is_some() {
            self.trim(root, top)?;
        }
        Ok(removed)
    }

    fn remove_below(&mut self, child: &mut Child, here: u32, key: &str) -> Result<Option<Cid>, MstError> {
        let node = self.open(child, here)?;
        match node.find(key) {
            Ok(at) => {
                self.change(node);
                let leaf = node.leaves.remove(at);
                let right = node.children.remove(at + 1);
                let left = node.children.get_mut(at).and_then(Option::take);
                let merged = self.merge(left, right, here)?;
                if let Some(slot) = node.children.get_mut(at) {
                    *slot = merged;
                }
                Ok(Some(leaf.value))
            }
            Err(at) => {
                let Some(slot) = node.children.get_mut(at) else { return Ok(None) };
                let Some(child) = slot else { return Ok(None) };
                let removed = self.remove_below(child, below(here)?, key)?;
                if removed.is_some() {
                    if matches!(child, Child::Open(node) if node.is_empty()) {
                        *slot = None;
                    }
                    self.change(node);
                }
                Ok(removed)
            }
        }
    }

    /// Takes nodes without leaves off the top.
    fn trim(&mut self, root: &mut Child, mut layer: u32) -> Result<(), MstError> {
        loop {
            let node = self.open(root, layer)?;
            if !node.leaves.is_empty() {
                return Ok(());
            }
            let Some(child) = node.children.iter_mut().find_map(Option::take) else {
                return Ok(());
            };
            self.change(node);
            *root = child;
            layer = below(layer)?;
        }
    }

    /// Parts a subtree into what sorts before `key` and what sorts after it. A half that is the whole comes back as it
    /// was.
    fn split(&mut self, mut child: Child, here: u32, key: &str) -> Result<Halves, MstError> {
        let node = self.open(&mut child, here)?;
        let at = match node.find(key) {
            Ok(_) => return Err(MstError::Order(key.into())),
            Err(at) => at,
        };
        let (left, right) = match node.children.get_mut(at).and_then(Option::take) {
            Some(inner) => self.split(inner, below(here)?, key)?,
            None => (None, None),
        };
        let whole_left = at == node.leaves.len() && right.is_none();
        let whole_right = at == 0 && left.is_none();
        if whole_left || whole_right {
            if let Some(slot) = node.children.get_mut(at) {
                *slot = left.or(right);
            }
            return Ok(if whole_left { (Some(child), None) } else { (None, Some(child)) });
        }
        self.change(node);
        let mut leaves = std::mem::take(&mut node.leaves);
        let mut children = std::mem::take(&mut node.children);
        let above = Node {
            leaves: leaves.split_off(at),
            children: std::iter::once(right).chain(children.drain(at..).skip(1)).collect(),
            block: None,
        };
        children.push(left);
        let under = Node { leaves, children, block: None };
        Ok((half(under), half(above)))
    }

    /// Joins two neighbouring subtrees of the layer below `here`.
    fn merge(&mut self, left: Option<Child>, right: Option<Child>, here: u32) -> Result<Option<Child>, MstError> {
        let (mut left, mut right) = match (left, right) {
            (Some(left), Some(right)) => (left, right),
            (one, other) => return Ok(one.or(other)),
        };
        let lower = below(here)?;
        let under = self.open(&mut left, lower)?;
        self.change(under);
        let above = self.open(&mut right, lower)?;
        self.change(above);
        let inner_left = under.children.pop().flatten();
        let mut rest = std::mem::take(&mut above.children).into_iter();
        let inner = self.merge(inner_left, rest.next().flatten(), lower)?;
        under.children.push(inner);
        under.children.extend(rest);
        under.leaves.append(&mut above.leaves);
        Ok(Some(left))
    }

    /// Notes that a node's encoding changes.
    fn change(&mut self, node: &mut Node) {
        if let Some((cid, _)) = node.block.take() {
            self.replaced.push(cid);
        }
    }
}

fn opened(child: &mut Child) -> Result<&mut Node, MstError> {
    match child {
        Child::Open(node) => Ok(node),
        Child::Stored(cid) => Err(MstError::MissingBlock(cid.clone())),
    }
}

/// The layer under `here`.
fn below(here: u32) -> Result<u32, MstError> {
    here.checked_sub(1).ok_or(MstError::BelowBottom)
}

fn half(node: Node) -> Option<Child> {
    (!node.is_empty()).then(|| Child::Open(Box::new(node)))
}

fn raise(child: Child) -> Child {
    Child::Open(Box::new(Node::over(child)))
}

/// All leaves of a node are on its layer; at the top, on one layer.
fn check_layer(node: &Node, layer: Option<u32>) -> Result<(), MstError> {
    let mut found = layer;
    for leaf in &node.leaves {
        let layer = layer_of(&leaf.key);
        let found = *found.get_or_insert(layer);
        if layer != found {
            return Err(MstError::Layer { key: leaf.key.clone(), layer, found });
        }
    }
    Ok(())
}
