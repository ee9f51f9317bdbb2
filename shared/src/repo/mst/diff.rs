//! What parts two trees: their leaves that differ, found without opening the subtrees that they share.

use super::walk::{Cursor, Next};
use super::{Blockstore, MstError};
use crate::cid::Cid;

/// A key whose record differs between two trees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The repository path.
    pub key: Box<str>,
    /// The record in the first tree.
    pub before: Option<Cid>,
    /// The record in the second tree.
    pub after: Option<Cid>,
}

/// The changes that lead from one tree to another, ascending by key.
///
/// Both trees are checked as [`super::Walk`] checks them, but for the subtrees that they share: neither what these hold
/// nor that it is in order with what stands beside them. Whoever takes a tree from elsewhere walks it first. After an
/// error nothing follows.
#[derive(Debug)]
pub struct Diff<'s, S> {
    before: Cursor<&'s S>,
    after: Cursor<&'s S>,
}

/// What to do next, decided while both cursors are borrowed.
enum Move {
    End,
    SkipBoth,
    PassBoth,
    EnterBefore,
    EnterAfter,
    TakeBefore,
    TakeAfter,
    TakeBoth,
}

impl<'s, S: Blockstore> Diff<'s, S> {
    /// The changes from the tree `before` to the tree `after`.
    #[must_use]
    pub fn new(blocks: &'s S, before: Cid, after: Cid) -> Self {
        Self { before: Cursor::new(blocks, before), after: Cursor::new(blocks, after) }
    }

    fn next_move(&self) -> Move {
        match (self.before.peek(), self.after.peek()) {
            (None, None) => Move::End,
            (Some(Next::Node { cid: left, layer: low }), Some(Next::Node { cid: right, layer: high })) => {
                // What stands on two layers is unsound on one of them; entering it shows on which.
                if left == right && low == high {
                    Move::SkipBoth
                } else if high.is_none() || (low.is_some() && high > low) {
                    Move::EnterAfter
                } else {
                    Move::EnterBefore
                }
            }
            (Some(Next::Node { .. }), _) => Move::EnterBefore,
            (_, Some(Next::Node { .. })) => Move::EnterAfter,
            (Some(Next::Leaf { .. }), None) => Move::TakeBefore,
            (None, Some(Next::Leaf { .. })) => Move::TakeAfter,
            (Some(Next::Leaf { key: left, value: old }), Some(Next::Leaf { key: right, value: new })) => {
                match left.cmp(right) {
                    std::cmp::Ordering::Less => Move::TakeBefore,
                    std::cmp::Ordering::Greater => Move::TakeAfter,
                    std::cmp::Ordering::Equal if old == new => Move::PassBoth,
                    std::cmp::Ordering::Equal => Move::TakeBoth,
                }
            }
        }
    }

    fn advance(&mut self) -> Result<Option<Change>, MstError> {
        loop {
            let (before, after) = match self.next_move() {
                Move::End => return Ok(None),
                Move::SkipBoth => {
                    self.before.skip();
                    self.after.skip();
                    continue;
                }
                Move::PassBoth => {
                    self.before.take_leaf()?;
                    self.after.take_leaf()?;
                    continue;
                }
                Move::EnterBefore => {
                    self.before.enter()?;
                    continue;
                }
                Move::EnterAfter => {
                    self.after.enter()?;
                    continue;
                }
                Move::TakeBefore => (self.before.take_leaf()?, None),
                Move::TakeAfter => (None, self.after.take_leaf()?),
                Move::TakeBoth => (self.before.take_leaf()?, self.after.take_leaf()?),
            };
            let key = before.as_ref().or(after.as_ref()).map(|(key, _)| key.clone());
            return Ok(key.map(|key| Change {
                key,
                before: before.map(|(_, value)| value),
                after: after.map(|(_, value)| value),
            }));
        }
    }
}

impl<S: Blockstore> Iterator for Diff<'_, S> {
    type Item = Result<Change, MstError>;

    fn next(&mut self) -> Option<Self::Item> {
        let change = self.advance();
        if change.is_err() {
            self.before.stop();
            self.after.stop();
        }
        change.transpose()
    }
}
