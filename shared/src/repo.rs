//! The repository: one account's records in a signed tree.
//!
//! [`Repo::apply`] is the one way a repository changes: writes go in, one [`CommitDiff`] comes out, which says what to
//! store, what to drop and what to tell the world. It reads through [`Blockstore::get`] only the nodes that the writes
//! touch and writes nothing: keeping the diff whole is the caller's transaction.
//!
//! - [`mst`]: the tree under the commit, with proofs, diffs and checked walks.
//! - [`commit`]: the signed root. [`car`]: the file format of exports and events.
//! - [`export`]: all blocks of a repository in streamable order.
//! - [`invert`]: undoing a commit's operations, as consumers do to verify it.
//! - [`Repo::replay`]: a commit that was made and signed before, made again out of its event.
//!
//! Specification: <https://atproto.com/specs/repository>, limits of <https://atproto.com/specs/sync>.

pub mod car;
pub mod commit;
pub mod export;
pub mod invert;
pub mod mst;
mod replay;
mod write;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use self::commit::Commit;
use self::mst::{MstError, Tree, Written};
use crate::cid::Cid;
use crate::crypto::SigningKey;
use crate::syntax::{Did, Path, Tid};

pub use replay::ReplayError;
pub use write::{Action, RepoOp, Swap, Write};

/// How many operations one commit may hold.
pub const MAX_OPS: usize = 200;
/// The largest record, in bytes of DAG-CBOR.
pub const MAX_RECORD_LEN: usize = 1_000_000;
/// How large the blocks of one commit may be as a CAR file, in bytes.
pub const MAX_COMMIT_LEN: usize = 2_000_000;

/// A block with its CID, which the maker has computed from the bytes or checked against them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The hash of the bytes.
    pub cid: Cid,
    /// The bytes.
    pub bytes: Bytes,
}

/// A record's block: `bytes` are DAG-CBOR.
pub type Record = Block;

/// Where the blocks of repositories are read. Nothing is written through it.
pub trait Blockstore {
    /// The bytes that `cid` names; `None` when they are not here. What is handed out must hash to `cid`.
    ///
    /// # Errors
    /// When the store itself fails.
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockstoreError>;
}

impl<S: Blockstore + ?Sized> Blockstore for &S {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockstoreError> {
        (**self).get(cid)
    }
}

/// A failure of the store behind a [`Blockstore`].
pub type BlockstoreError = Box<dyn std::error::Error + Send + Sync>;

/// Blocks in memory: what a CAR file of an event holds.
#[derive(Debug, Clone, Default)]
pub struct BlockMap(HashMap<Cid, Bytes>);

impl BlockMap {
    /// Adds a block.
    pub fn insert(&mut self, block: Block) {
        self.0.insert(block.cid, block.bytes);
    }

    /// Takes a block out.
    pub fn remove(&mut self, cid: &Cid) -> Option<Bytes> {
        self.0.remove(cid)
    }

    /// All blocks, in no order.
    pub fn blocks(&self) -> impl Iterator<Item = Block> {
        self.0.iter().map(|(cid, bytes)| Block { cid: cid.clone(), bytes: bytes.clone() })
    }

    /// How many blocks there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Blockstore for BlockMap {
    fn get(&self, cid: &Cid) -> Result<Option<Bytes>, BlockstoreError> {
        Ok(self.0.get(cid).cloned())
    }
}

impl Extend<Block> for BlockMap {
    fn extend<I: IntoIterator<Item = Block>>(&mut self, blocks: I) {
        self.0.extend(blocks.into_iter().map(|block| (block.cid, block.bytes)));
    }
}

impl FromIterator<Block> for BlockMap {
    fn from_iter<I: IntoIterator<Item = Block>>(blocks: I) -> Self {
        let mut map = Self::default();
        map.extend(blocks);
        map
    }
}

/// The present end of a repository's history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The latest commit.
    pub commit: Cid,
    /// Its revision.
    pub rev: Tid,
    /// The root of its tree.
    pub data: Cid,
}

/// A repository, as writing to it needs it.
#[derive(Debug)]
pub struct Repo<'s, S> {
    /// Whose it is.
    pub did: &'s Did,
    /// Where it stands; `None` before its first commit.
    pub head: Option<&'s Head>,
    /// Where its blocks are.
    pub blocks: &'s S,
}

/// What one commit changes: everything to store, to drop and to publish.
#[derive(Debug, Clone)]
pub struct CommitDiff {
    /// The new end of the history.
    pub head: Head,
    /// The revision before; `None` for the first commit.
    pub since: Option<Tid>,
    /// The root of the tree before; `None` for the first commit.
    pub prev_data: Option<Cid>,
    /// What was done, in the order of the writes, without those that changed nothing.
    pub ops: Vec<RepoOp>,
    /// The commit's block.
    pub commit: Block,
    /// The nodes that are not in the store yet, the root first.
    pub nodes: Vec<Block>,
    /// The records of all creates and updates, each once; the store may hold some already, under other paths.
    pub records: Vec<Record>,
    /// Nodes that the store holds and that a consumer needs to undo the operations; the root first, if it is one.
    pub proof: Vec<Block>,
    /// The commit and the nodes that nothing links any more.
    pub removed: Vec<Cid>,
    /// Records that lost the path they stood at. Other paths may hold the same content: the block goes only when none
    /// does.
    pub dropped_records: Vec<Cid>,
}

impl CommitDiff {
    /// The blocks that the event of this commit carries: the commit, the root node, then the rest.
    pub fn event_blocks(&self) -> impl Iterator<Item = &Block> {
        std::iter::once(&self.commit).chain(&self.nodes).chain(&self.proof).chain(&self.records)
    }

    /// The blocks to store: the commit, its new nodes and its records.
    pub fn new_blocks(&self) -> impl Iterator<Item = &Block> {
        std::iter::once(&self.commit).chain(&self.nodes).chain(&self.records)
    }
}

/// Why writes were refused; nothing is changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// More than [`MAX_OPS`] writes.
    #[error("batch has {0} writes, limit {MAX_OPS}")]
    TooManyWrites(usize),
    /// Two writes to one path: consumers could not undo them.
    #[error("path {0} is written twice in one batch")]
    PathTwice(Path),
    /// A record above [`MAX_RECORD_LEN`].
    #[error("record {path} is {len} bytes, limit {MAX_RECORD_LEN}")]
    RecordTooLarge {
        /// Where it was to go.
        path: Path,
        /// Its size in bytes of DAG-CBOR.
        len: usize,
    },
    /// Blocks above [`MAX_COMMIT_LEN`].
    #[error("commit is {0} bytes, limit {MAX_COMMIT_LEN}")]
    CommitTooLarge(usize),
    /// A create where a record stands.
    #[error("record {0} already exists")]
    RecordExists(Path),
    /// An update or delete where none stands.
    #[error("record {0} does not exist")]
    RecordMissing(Path),
    /// A write whose [`Swap`] does not hold.
    #[error("record {path} is not what the write expects")]
    SwapMismatch {
        /// Where.
        path: Path,
        /// What stands there.
        current: Option<Cid>,
    },
    /// A revision that does not ascend.
    #[error("rev {rev} is not above {head}")]
    RevNotAbove {
        /// What was asked for.
        rev: Tid,
        /// Where the repository stands.
        head: Tid,
    },
    /// The tree cannot be read.
    #[error("tree is unreadable")]
    Mst(#[from] MstError),
}

impl<S: Blockstore> Repo<'_, S> {
    /// Makes one commit of `writes`, signed with `key` at revision `rev`.
    ///
    /// `None` when every write leaves its record as it is. Without any writes the commit is empty: a new revision and
    /// signature over the same tree, as a first commit or a change of keys needs it.
    ///
    /// Costs one signature and as many blocks as the writes' paths have nodes, whatever the size of the repository.
    ///
    /// # Errors
    /// An [`ApplyError`]; all or nothing is applied.
    pub fn apply(&self, writes: Vec<Write>, key: &SigningKey, rev: Tid) -> Result<Option<CommitDiff>, ApplyError> {
        // 1. Refuse what needs no tree to be refused.
        self.check(&writes, rev)?;

        // 2. Edit the tree, write by write; each is held against what stands at its path.
        let mut tree = match self.head {
            Some(head) => Tree::open(self.blocks, head.data.clone()),
            None => Tree::empty(self.blocks),
        };
        let asked = writes.len();
        let mut ops = Vec::with_capacity(asked);
        let mut records = Vec::with_capacity(asked);
        for write in writes {
            ops.extend(edit(&mut tree, write, &mut records)?);
        }
        if ops.is_empty() && asked > 0 {
            return Ok(None);
        }

        // 3. Encode the changed nodes and sign their root.
        let written = tree.write()?;
        let commit = Commit::sign(self.did.clone(), rev, written.root.clone(), key).to_block();

        // 4. Add the nodes that a consumer needs to undo the operations.
        let proof = proof(&mut tree, &ops, &written.new)?;

        // 5. Account for what is not linked any more.
        let diff = CommitDiff { proof, ..self.diff(written, commit, rev, ops, records) };
        let len = car::header(std::slice::from_ref(&diff.head.commit)).len()
            + diff.event_blocks().map(|block| car::section_len(&block.cid, block.bytes.len())).sum::<usize>();
        if len > MAX_COMMIT_LEN {
            return Err(ApplyError::CommitTooLarge(len));
        }
        Ok(Some(diff))
    }

    /// What a commit of this tree comes to; without the proof.
    fn diff(
        &self,
        written: Written,
        commit: Block,
        rev: Tid,
        ops: Vec<RepoOp>,
        mut records: Vec<Record>,
    ) -> CommitDiff {
        let mut seen = HashSet::with_capacity(records.len());
        records.retain(|record: &Record| seen.insert(record.cid.clone()));
        let mut removed = written.removed;
        removed.extend(self.head.map(|head| head.commit.clone()));
        let kept: HashSet<&Cid> = ops.iter().filter_map(|op| op.cid.as_ref()).collect();
        let dropped_records = ops.iter().filter_map(|op| op.prev.clone()).filter(|cid| !kept.contains(cid)).collect();
        CommitDiff {
            head: Head { commit: commit.cid.clone(), rev, data: written.root },
            since: self.head.map(|head| head.rev),
            prev_data: self.head.map(|head| head.data.clone()),
            ops,
            commit,
            nodes: written.new,
            records,
            proof: Vec::new(),
            removed,
            dropped_records,
        }
    }

    fn check(&self, writes: &[Write], rev: Tid) -> Result<(), ApplyError> {
        if writes.len() > MAX_OPS {
            return Err(ApplyError::TooManyWrites(writes.len()));
        }
        if let Some(head) = self.head.filter(|head| rev <= head.rev) {
            return Err(ApplyError::RevNotAbove { rev, head: head.rev });
        }
        let mut paths = HashSet::with_capacity(writes.len());
        for write in writes {
            let path = write.path();
            if !paths.insert(path) {
                return Err(ApplyError::PathTwice(path.clone()));
            }
            if let Some(record) = write.record().filter(|record| record.bytes.len() > MAX_RECORD_LEN) {
                return Err(ApplyError::RecordTooLarge { path: path.clone(), len: record.bytes.len() });
            }
        }
        Ok(())
    }
}

/// Brings one write into the tree; `None` when it leaves the record as it is.
fn edit<S: Blockstore>(
    tree: &mut Tree<'_, S>,
    write: Write,
    records: &mut Vec<Record>,
) -> Result<Option<RepoOp>, ApplyError> {
    let current = tree.get(write.path().as_str())?;
    let (path, swap, record) = match write {
        Write::Create { path, .. } if current.is_some() => return Err(ApplyError::RecordExists(path)),
        Write::Update { path, .. } | Write::Delete { path, .. } if current.is_none() => {
            return Err(ApplyError::RecordMissing(path));
        }
        Write::Create { path, record } => (path, Swap::Absent, Some(record)),
        Write::Update { path, record, swap } | Write::Put { path, record, swap } => (path, swap, Some(record)),
        Write::Delete { path, swap } => (path, swap, None),
    };
    // Writing the same content again is no change, and holds whatever it was to be swapped for.
    if record.is_some() && record.as_ref().map(|record| &record.cid) == current.as_ref() {
        return Ok(None);
    }
    if !swap.holds(current.as_ref()) {
        return Err(ApplyError::SwapMismatch { path, current });
    }
    let cid = record.as_ref().map(|record| record.cid.clone());
    match &cid {
        Some(cid) => tree.set(path.as_str(), cid.clone())?,
        None => tree.remove(path.as_str())?,
    };
    records.extend(record);
    Ok(Some(match (cid, current) {
        (Some(cid), Some(prev)) => RepoOp::update(path, cid, prev),
        (Some(cid), None) => RepoOp::create(path, cid),
        (None, Some(prev)) => RepoOp::delete(path, prev),
        (None, None) => return Err(ApplyError::RecordMissing(path)),
    }))
}

/// The nodes that undoing `ops` takes, without those in `new`. An update is undone on the path to its record alone; the
/// root is there even when there is nothing to undo, since consumers load it before they look at the operations.
fn proof<S: Blockstore>(tree: &mut Tree<'_, S>, ops: &[RepoOp], new: &[Block]) -> Result<Vec<Block>, MstError> {
    let mut seen: HashSet<Cid> = new.iter().map(|block| block.cid.clone()).collect();
    let mut proof: Vec<Block> =
        Some(tree.root_block()?).into_iter().filter(|root| seen.insert(root.cid.clone())).collect();
    for op in ops {
        let nodes = match op.action {
            Action::Update => tree.proof(op.path.as_str())?,
            Action::Create | Action::Delete => tree.covering_proof(op.path.as_str())?,
        };
        proof.extend(nodes.into_iter().filter(|block| seen.insert(block.cid.clone())));
    }
    Ok(proof)
}

#[cfg(test)]
pub(crate) mod tests;
