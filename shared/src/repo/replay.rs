//! Making a commit again that was made and signed before, out of what its event says.
//!
//! [`invert`](super::invert) shows a consumer, who does not hold the tree, that an event is whole. Who holds the tree that
//! it followed needs no such proof: the operations are done on that tree, and what comes out has to be the tree that the
//! commit signs. So also events of before 2025 can be replayed, which cannot be undone.

use super::commit::{Commit, CommitError};
use super::mst::{MstError, Tree};
use super::{Action, ApplyError, Block, BlockMap, Blockstore, CommitDiff, Repo, RepoOp, Swap, Write, edit};
use crate::cid::Cid;
use crate::syntax::{Path, Tid};

/// Why a commit cannot be made again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Its block is not there.
    #[error("commit {0} is missing")]
    CommitMissing(Cid),
    /// Its block is malformed.
    #[error("commit is malformed")]
    Commit(#[from] CommitError),
    /// It is another account's.
    #[error("commit is of another account")]
    OtherAccount,
    /// Its revision is not above the repository's.
    #[error("rev {0} is not above the repository's")]
    NotAbove(Tid),
    /// An operation that has what its action rules out, or lacks what it demands.
    #[error("operation at {0} is malformed")]
    Op(Path),
    /// A record that is written is neither in the event nor in the store.
    #[error("record {0} is missing")]
    RecordMissing(Cid),
    /// An operation does not fit what stands at its path, or the tree cannot be read.
    #[error(transparent)]
    Apply(#[from] ApplyError),
    /// The operations lead to another tree than the commit signs.
    #[error("operations lead to tree {found}, the commit signs {said}")]
    Tree {
        /// What they give.
        found: Cid,
        /// What it signs.
        said: Cid,
    },
}

impl From<MstError> for ReplayError {
    fn from(error: MstError) -> Self {
        Self::Apply(error.into())
    }
}

impl<S: Blockstore> Repo<'_, S> {
    /// Does what the commit `commit` did, with its own signature, at its own revision. `told` are the blocks of its event,
    /// each of which hashes to its CID. The proof is left out of what is returned. Whose signature it is, is not looked at.
    ///
    /// # Errors
    /// A [`ReplayError`].
    pub fn replay(&self, ops: &[RepoOp], commit: &Cid, told: &BlockMap) -> Result<CommitDiff, ReplayError> {
        let read = |cid: &Cid| told.get(cid).map_err(MstError::Store);
        let bytes = read(commit)?.ok_or_else(|| ReplayError::CommitMissing(commit.clone()))?;
        let signed = Commit::from_block(&bytes)?;
        if signed.did != *self.did {
            return Err(ReplayError::OtherAccount);
        }
        if self.head.is_some_and(|head| signed.rev <= head.rev) {
            return Err(ReplayError::NotAbove(signed.rev));
        }
        let mut tree = match self.head {
            Some(head) => Tree::open(self.blocks, head.data.clone()),
            None => Tree::empty(self.blocks),
        };
        let (mut done, mut records) = (Vec::with_capacity(ops.len()), Vec::with_capacity(ops.len()));
        for op in ops {
            let record = match &op.cid {
                None => None,
                // One that stood elsewhere already may have been left out.
                Some(cid) => match read(cid)?.map_or_else(|| self.blocks.get(cid), |bytes| Ok(Some(bytes))) {
                    Ok(Some(bytes)) => Some(Block { cid: cid.clone(), bytes }),
                    Ok(None) => return Err(ReplayError::RecordMissing(cid.clone())),
                    Err(error) => return Err(MstError::Store(error).into()),
                },
            };
            let (path, swap) = (op.path.clone(), op.prev.clone().map_or(Swap::Any, Swap::Is));
            let write = match (op.action, record) {
                (Action::Create, Some(record)) => Write::Create { path, record },
                (Action::Update, Some(record)) => Write::Update { path, record, swap },
                (Action::Delete, None) => Write::Delete { path, swap },
                _ => return Err(ReplayError::Op(path)),
            };
            done.extend(edit(&mut tree, write, &mut records)?);
        }
        let written = tree.write()?;
        if written.root != signed.data {
            return Err(ReplayError::Tree { found: written.root, said: signed.data });
        }
        Ok(self.diff(written, Block { cid: commit.clone(), bytes }, signed.rev, done, records))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::repo::tests::{Kept, create, delete, did, update};
    use crate::repo::{Head, Repo};

    /// A repository before a commit, the commit, and what its event carries.
    fn scene() -> (Kept, CommitDiff, BlockMap) {
        let kept = || {
            let mut kept = Kept::new();
            kept.apply((0..60).map(|n| create(&format!("com.example.record/{n}"), "x")).collect()).unwrap();
            kept
        };
        let writes = vec![
            create("com.example.record/new", "1"),
            delete("com.example.record/3"),
            update("com.example.record/4", "2"),
        ];
        let made = kept().apply(writes).unwrap().unwrap();
        let told = made.event_blocks().cloned().collect();
        (kept(), made, told)
    }

    fn replay(
        kept: &Kept,
        head: Option<&Head>,
        ops: &[RepoOp],
        commit: &Cid,
        told: &BlockMap,
    ) -> Result<CommitDiff, ReplayError> {
        Repo { did: &did(), head, blocks: &kept.blocks }.replay(ops, commit, told)
    }

    #[test]
    fn a_commit_is_made_again_as_it_was() {
        let (kept, made, told) = scene();
        let CommitDiff { head, since, prev_data, ops, commit, nodes, records, removed, dropped_records, .. } =
            replay(&kept, kept.head.as_ref(), &made.ops, &made.head.commit, &told).unwrap();
        assert_eq!((head, since, prev_data), (made.head, made.since, made.prev_data));
        assert_eq!((ops, commit, nodes, records), (made.ops.clone(), made.commit.clone(), made.nodes, made.records));
        let set = |cids: Vec<Cid>| cids.into_iter().collect::<HashSet<_>>();
        assert_eq!((set(removed), dropped_records), (set(made.removed), made.dropped_records));
        // As events were before 2025: nothing says what stood there.
        let old: Vec<_> = made.ops.into_iter().map(|op| RepoOp { prev: None, ..op }).collect();
        replay(&kept, kept.head.as_ref(), &old, &made.commit.cid, &told).unwrap();
    }

    #[test]
    fn the_first_commit_and_one_of_the_same_tree_are_made_again() {
        let kept = Kept::new();
        let told: BlockMap = kept.first.event_blocks().cloned().collect();
        let first = replay(&kept, None, &[], &kept.first.commit.cid, &told).unwrap();
        assert_eq!((&first.head, &first.nodes), (&kept.first.head, &kept.first.nodes));
        let again = Kept::new().apply(Vec::new()).unwrap().unwrap();
        let told: BlockMap = std::iter::once(again.commit.clone()).collect();
        let replayed = replay(&kept, kept.head.as_ref(), &[], &again.commit.cid, &told).unwrap();
        assert_eq!((replayed.head, replayed.removed), (again.head, vec![kept.first.commit.cid.clone()]));
    }

    #[test]
    fn what_does_not_lead_to_the_signed_tree_is_refused() {
        let (kept, made, told) = scene();
        let (head, commit) = (kept.head.as_ref(), &made.head.commit);
        let refused = |ops: &[RepoOp], told: &BlockMap| replay(&kept, head, ops, commit, told).map(drop).unwrap_err();
        assert!(matches!(refused(&made.ops[..2], &told), ReplayError::Tree { .. }));
        assert!(matches!(refused(&made.ops, &BlockMap::default()), ReplayError::CommitMissing(_)));
        let mut without = told.clone();
        without.remove(made.ops[0].cid.as_ref().unwrap());
        assert!(matches!(refused(&made.ops, &without), ReplayError::RecordMissing(_)));
        let other = Cid::of_cbor(b"other");
        let wrong = RepoOp { prev: Some(other), ..made.ops[1].clone() };
        assert!(matches!(refused(&[wrong], &told), ReplayError::Apply(ApplyError::SwapMismatch { .. })));
        let none = RepoOp { cid: None, ..made.ops[0].clone() };
        assert!(matches!(refused(&[none], &told), ReplayError::Op(_)));
        let twice = replay(&kept, Some(&made.head), &made.ops, commit, &told);
        assert!(matches!(twice, Err(ReplayError::NotAbove(_))));
        let stranger = crate::syntax::Did::parse("did:plc:abc").unwrap();
        let other = Repo { did: &stranger, head, blocks: &kept.blocks }.replay(&made.ops, commit, &told);
        assert!(matches!(other, Err(ReplayError::OtherAccount)));
    }
}
