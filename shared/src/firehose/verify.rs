//! Verifying events as a consumer does, trusting the host for nothing but the order.
//!
//! A `#commit` is believed when its blocks hash to their CIDs, its commit is signed by the account's key and says what
//! the event says, the records that it wrote are in it, and undoing its operations on the nodes that it carries leads to
//! the root that it names as the one before. Whether that root is the one that the consumer holds is a question of its
//! own: [`VerifyError::Gap`] means an honest event that does not follow what is known.
//!
//! Specification: <https://atproto.com/specs/sync#firehose-validation-best-practices>.

use super::{Commit, Sync};
use crate::cid::Cid;
use crate::crypto::PublicKey;
use crate::repo::car::{self, CarError, MAX_BLOCK_LEN};
use crate::repo::commit::{Commit as Signed, CommitError};
use crate::repo::invert::{InvertError, invert};
use crate::repo::mst::Tree;
use crate::repo::{BlockMap, Blockstore as _};
use crate::syntax::Tid;

/// How far ahead of the consumer's clock a revision may be, in microseconds: five minutes.
pub const MAX_AHEAD_MICROS: u64 = 5 * 60 * 1_000_000;

/// Where a consumer knows a repository to stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// The revision.
    pub rev: Tid,
    /// The root of the tree.
    pub data: Cid,
}

/// An event that was verified.
#[derive(Debug, Clone)]
pub struct Verified {
    /// Where the repository stands after it.
    pub head: Known,
    /// The signed commit.
    pub commit: Signed,
    /// All blocks of the event that could be checked against their CIDs.
    pub blocks: BlockMap,
}

/// Why an event is not believed, or does not fit.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Its blocks are no CAR file with one root.
    #[error("blocks are malformed")]
    Car(#[from] CarError),
    /// The root of the file is not the commit that the event names, or is not in it.
    #[error("commit {0} is not the root of the blocks")]
    Root(Cid),
    /// The commit block is malformed.
    #[error("commit is malformed")]
    Commit(#[from] CommitError),
    /// The commit is of another account, or of another revision, than the event says.
    #[error("event and commit differ in {0}")]
    Differs(&'static str),
    /// The commit is not signed by the account's key.
    #[error("signature does not match the account's key")]
    Signature,
    /// A revision that the consumer's clock will not reach for more than [`MAX_AHEAD_MICROS`].
    #[error("rev {0} is in the future")]
    Future(Tid),
    /// A revision that is not above the known one: a repetition, to be passed over.
    #[error("rev {0} is known already")]
    Stale(Tid),
    /// A record that an operation wrote is not in the blocks, or under a foreign CID, which nobody can check.
    #[error("record {0} is missing")]
    Record(Cid),
    /// The operations cannot be undone.
    #[error("operations do not fit the tree")]
    Invert(#[from] InvertError),
    /// The operations undone lead to another root than the event names as the one before.
    #[error("operations lead back to {found}, the event says {said}")]
    PrevData {
        /// What undoing them gives.
        found: Cid,
        /// What the event says.
        said: Cid,
    },
    /// It does not follow the known revision: events in between are missing.
    #[error("event does not follow what is known")]
    Gap,
}

/// Verifies a `#commit` against the account's signing key, and against what is known of the repository, if anything.
///
/// # Errors
/// A [`VerifyError`]; after [`VerifyError::Gap`] the repository must be fetched anew.
pub fn verify_commit(
    event: &Commit,
    known: Option<&Known>,
    key: &PublicKey,
    now_micros: u64,
) -> Result<Verified, VerifyError> {
    let verified = open(event.blocks.clone(), Some(&event.commit), key)?;
    if verified.commit.did != event.repo {
        return Err(VerifyError::Differs("did"));
    }
    check_rev(event.rev, &verified, known, now_micros)?;
    for cid in event.ops.iter().filter_map(|op| op.cid.as_ref()) {
        if !matches!(verified.blocks.get(cid), Ok(Some(_))) {
            return Err(VerifyError::Record(cid.clone()));
        }
    }
    let found = invert(&verified.blocks, verified.head.data.clone(), &event.ops)?;
    // The first commit of a repository has nothing before it: the tree without leaves.
    let said = match &event.prev_data {
        Some(prev_data) => prev_data.clone(),
        None => Tree::empty(&verified.blocks).write().map_err(InvertError::from)?.root,
    };
    if found != said {
        return Err(VerifyError::PrevData { found, said });
    }
    if known.is_some_and(|known| event.since != Some(known.rev) || event.prev_data.as_ref() != Some(&known.data)) {
        return Err(VerifyError::Gap);
    }
    Ok(verified)
}

/// Verifies a `#sync` against the account's signing key. What is known before it does not matter but for its revision.
///
/// # Errors
/// A [`VerifyError`].
pub fn verify_sync(
    event: &Sync,
    known: Option<&Known>,
    key: &PublicKey,
    now_micros: u64,
) -> Result<Verified, VerifyError> {
    let verified = open(event.blocks.clone(), None, key)?;
    if verified.commit.did != event.did {
        return Err(VerifyError::Differs("did"));
    }
    check_rev(event.rev, &verified, known, now_micros)?;
    Ok(verified)
}

fn open(blocks: bytes::Bytes, commit: Option<&Cid>, key: &PublicKey) -> Result<Verified, VerifyError> {
    let car = car::read(blocks, MAX_BLOCK_LEN)?;
    let root = car.single_root()?.clone();
    if commit.is_some_and(|commit| *commit != root) || !root.is_repo_node() {
        return Err(VerifyError::Root(root));
    }
    // Nobody can tell whether a block is what a foreign CID names.
    let blocks: BlockMap = car.blocks.into_iter().filter(|block| block.cid.is_atproto()).collect();
    let Ok(Some(block)) = blocks.get(&root) else {
        return Err(VerifyError::Root(root));
    };
    let commit = Signed::from_block(&block)?;
    if !commit.is_signed_by(key) {
        return Err(VerifyError::Signature);
    }
    Ok(Verified { head: Known { rev: commit.rev, data: commit.data.clone() }, commit, blocks })
}

fn check_rev(rev: Tid, verified: &Verified, known: Option<&Known>, now_micros: u64) -> Result<(), VerifyError> {
    if verified.commit.rev != rev {
        return Err(VerifyError::Differs("rev"));
    }
    if rev.micros() > now_micros.saturating_add(MAX_AHEAD_MICROS) {
        return Err(VerifyError::Future(rev));
    }
    if known.is_some_and(|known| rev <= known.rev) {
        return Err(VerifyError::Stale(rev));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{Curve, SigningKey};
    use crate::repo::tests::{Kept, create, delete, update};
    use crate::repo::{CommitDiff, RepoOp};
    use crate::syntax::Did;

    const NOW: u64 = 1_700_000_100_000_000;

    fn key() -> PublicKey {
        crate::repo::tests::key().public_key()
    }

    fn event(diff: &CommitDiff) -> Commit {
        Commit::of(crate::repo::tests::did(), diff)
    }

    /// A repository, what a consumer knows of it, and the next event.
    fn scene() -> (Known, Commit) {
        let mut kept = Kept::new();
        kept.apply((0..40).map(|n| create(&format!("com.example.record/{n}"), "x")).collect()).unwrap();
        let head = kept.head.clone().unwrap();
        let writes = vec![
            create("com.example.record/new", "1"),
            delete("com.example.record/3"),
            update("com.example.record/4", "2"),
        ];
        let diff = kept.apply(writes).unwrap().unwrap();
        (Known { rev: head.rev, data: head.data }, event(&diff))
    }

    #[test]
    fn a_true_event_is_believed_with_or_without_knowledge() {
        let (known, event) = scene();
        let verified = verify_commit(&event, Some(&known), &key(), NOW).unwrap();
        assert_eq!(verified.head.rev, event.rev);
        verify_commit(&event, None, &key(), NOW).unwrap();
    }

    #[test]
    fn the_first_event_of_a_repository_follows_the_empty_tree() {
        let kept = Kept::new();
        let first = kept.first.clone();
        let event = event(&first);
        assert_eq!((&event.prev_data, &event.since), (&None, &None));
        verify_commit(&event, None, &key(), NOW).unwrap();
    }

    #[test]
    fn every_lie_is_refused_by_name() {
        let (known, honest) = scene();
        let lie = |change: &dyn Fn(&mut Commit)| {
            let mut event = honest.clone();
            change(&mut event);
            verify_commit(&event, Some(&known), &key(), NOW).map(drop).unwrap_err()
        };
        let other = Cid::of_cbor(b"other");
        assert!(matches!(lie(&|e| e.commit = other.clone()), VerifyError::Root(_)));
        assert!(matches!(lie(&|e| e.repo = Did::parse("did:plc:abc").unwrap()), VerifyError::Differs("did")));
        assert!(matches!(
            lie(&|e| e.rev = Tid::next_after(Some(&honest.rev), 0, 1).unwrap()),
            VerifyError::Differs("rev")
        ));
        assert!(matches!(lie(&|e| e.prev_data = Some(other.clone())), VerifyError::PrevData { .. }));
        assert!(matches!(lie(&|e| e.prev_data = None), VerifyError::PrevData { .. }));
        assert!(matches!(lie(&|e| e.since = None), VerifyError::Gap));
        assert!(matches!(lie(&|e| drop(e.ops.pop())), VerifyError::PrevData { .. }));
        let record = honest.ops[0].clone();
        let wrong = RepoOp::create(record.path, other.clone());
        assert!(matches!(lie(&|e| e.ops[0] = wrong.clone()), VerifyError::Record(_)));
        let mut bytes = honest.blocks.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(matches!(lie(&|e| e.blocks = bytes.clone().into()), VerifyError::Car(CarError::Mismatch(_))));
        let stranger = SigningKey::from_bytes(Curve::P256, &[9; 32]).unwrap().public_key();
        assert!(matches!(verify_commit(&honest, None, &stranger, NOW), Err(VerifyError::Signature)));
    }

    #[test]
    fn a_record_that_cannot_be_checked_against_its_cid_is_not_believed() {
        let blake3 = Cid::from_bytes(&[&[1, 0x71, 0x1e, 32][..], &[7; 32]].concat()).unwrap();
        let write = crate::repo::Write::Create {
            path: crate::syntax::Path::parse("com.example.record/foreign").unwrap(),
            record: crate::repo::Block { cid: blake3.clone(), bytes: b"anything".to_vec().into() },
        };
        let event = event(&Kept::new().apply(vec![write]).unwrap().unwrap());
        match verify_commit(&event, None, &key(), NOW) {
            Err(VerifyError::Record(cid)) => assert_eq!(cid, blake3),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn revisions_that_are_known_or_from_the_future_are_told_apart() {
        let (known, event) = scene();
        let again = Known { rev: event.rev, ..known.clone() };
        assert!(matches!(verify_commit(&event, Some(&again), &key(), NOW), Err(VerifyError::Stale(_))));
        let early = event.rev.micros() - MAX_AHEAD_MICROS - 1;
        assert!(matches!(verify_commit(&event, Some(&known), &key(), early), Err(VerifyError::Future(_))));
        assert!(verify_commit(&event, Some(&known), &key(), early + 1).is_ok());
        let elsewhere = Known { data: Cid::of_cbor(b"other"), ..known };
        assert!(matches!(verify_commit(&event, Some(&elsewhere), &key(), NOW), Err(VerifyError::Gap)));
    }

    #[test]
    fn a_sync_event_is_a_signed_commit_alone() {
        let mut kept = Kept::new();
        let diff = kept.apply(vec![]).unwrap().unwrap();
        let event = Sync::at(crate::repo::tests::did(), diff.head.rev, &diff.commit);
        assert_eq!(verify_sync(&event, None, &key(), NOW).unwrap().head.data, diff.head.data);
        let early = Sync { rev: Tid::from_parts(1, 1), ..event };
        assert!(matches!(verify_sync(&early, None, &key(), NOW), Err(VerifyError::Differs("rev"))));
    }
}
