//! Repositories: commits as writes make them, and stores that keep what a diff says.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::export::{Export, Repeats};
use super::invert::{InvertError, invert};
use super::mst::layer_of;
use super::mst::tests::{any_edit, build};
use super::*;
use crate::crypto::Curve;

pub(crate) fn did() -> Did {
    Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap()
}

pub(crate) fn key() -> SigningKey {
    SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap()
}

fn rev(n: u64) -> Tid {
    Tid::from_parts(1_700_000_000_000_000 + n, 1)
}

fn record(text: &str) -> Record {
    let fields = [("$type", "com.example.record"), ("text", text)];
    let bytes = crate::cbor::encode(&crate::data::Value::Map(fields.into_iter().collect()));
    Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
}

fn path(text: &str) -> Path {
    Path::parse(text).unwrap()
}

/// A repository kept as a caller would keep it.
pub(crate) struct Kept {
    pub(super) blocks: BlockMap,
    pub(crate) head: Option<Head>,
    pub(crate) first: CommitDiff,
    records: BTreeMap<String, Cid>,
}

impl Kept {
    pub(crate) fn new() -> Self {
        let blocks = BlockMap::default();
        let first = Repo { did: &did(), head: None, blocks: &blocks }.apply(vec![], &key(), rev(0)).unwrap().unwrap();
        let blocks = first.new_blocks().cloned().collect();
        Self { blocks, head: Some(first.head.clone()), first, records: BTreeMap::new() }
    }

    fn try_apply(&self, writes: Vec<Write>) -> Result<Option<CommitDiff>, ApplyError> {
        let next = self.head.as_ref().map(|head| Tid::next_after(Some(&head.rev), 0, 1).unwrap()).unwrap();
        Repo { did: &did(), head: self.head.as_ref(), blocks: &self.blocks }.apply(writes, &key(), next)
    }

    pub(crate) fn apply(&mut self, writes: Vec<Write>) -> Result<Option<CommitDiff>, ApplyError> {
        let diff = self.try_apply(writes)?;
        if let Some(diff) = &diff {
            for op in &diff.ops {
                match &op.cid {
                    Some(cid) => self.records.insert(op.path.as_str().to_owned(), cid.clone()),
                    None => self.records.remove(op.path.as_str()),
                };
            }
            let dropped: HashSet<Cid> = diff.dropped_records.iter().filter(|cid| !self.holds(cid)).cloned().collect();
            for cid in diff.removed.iter().chain(&dropped) {
                assert!(self.blocks.remove(cid).is_some());
            }
            self.blocks.extend(diff.new_blocks().cloned());
            self.head = Some(diff.head.clone());
        }
        Ok(diff)
    }

    fn holds(&self, cid: &Cid) -> bool {
        self.records.values().any(|held| held == cid)
    }

    fn export(&self) -> Vec<Block> {
        let head = self.head.as_ref().unwrap();
        let repeats = Repeats::scan(&self.blocks, &head.data).unwrap();
        Export::new(&self.blocks, head.commit.clone(), head.data.clone(), repeats).map(Result::unwrap).collect()
    }
}

pub(crate) fn create(at: &str, text: &str) -> Write {
    Write::Create { path: path(at), record: record(text) }
}

pub(crate) fn update(at: &str, text: &str) -> Write {
    Write::Update { path: path(at), record: record(text), swap: Swap::Any }
}

fn put(at: &str, text: &str, swap: Swap) -> Write {
    Write::Put { path: path(at), record: record(text), swap }
}

pub(crate) fn delete(at: &str) -> Write {
    Write::Delete { path: path(at), swap: Swap::Any }
}

const A: &str = "com.example.record/a";
const B: &str = "com.example.record/b";

#[test]
fn the_first_commit_signs_the_empty_tree() {
    let kept = Kept::new();
    let head = kept.head.as_ref().unwrap();
    let commit = Commit::from_block(&kept.blocks.get(&head.commit).unwrap().unwrap()).unwrap();
    assert_eq!(commit.data.to_string(), "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm");
    assert_eq!((commit.did.clone(), commit.rev, commit.prev.clone()), (did(), head.rev, None));
    assert!(commit.is_signed_by(&key().public_key()));
    assert!(!commit.is_signed_by(&SigningKey::from_bytes(Curve::K256, &[8; 32]).unwrap().public_key()));
    assert_eq!(commit.to_block().cid, head.commit);
    assert_eq!(kept.blocks.len(), 2);
}

#[test]
fn an_empty_commit_moves_the_revision_over_the_same_tree() {
    let mut kept = Kept::new();
    kept.apply(vec![create(A, "1")]).unwrap();
    let before = kept.head.clone().unwrap();
    let diff = kept.apply(vec![]).unwrap().unwrap();
    let carried: Vec<&Cid> = diff.event_blocks().map(|block| &block.cid).collect();
    assert_eq!(carried, [&diff.head.commit, &diff.head.data], "consumers load the root even of an unchanged tree");
    assert_eq!(
        (diff.head.data.clone(), diff.prev_data, diff.since),
        (before.data.clone(), Some(before.data), Some(before.rev))
    );
    assert_eq!((diff.nodes.len(), diff.ops.len(), diff.removed), (0, 0, vec![before.commit]));
}

#[test]
fn a_record_at_several_paths_of_one_commit_is_carried_once() {
    let mut kept = Kept::new();
    let diff = kept.apply(vec![create(A, "1"), create(B, "1"), create("com.example.record/c", "2")]).unwrap().unwrap();
    assert_eq!(diff.records, [record("1"), record("2")]);
    assert_eq!(diff.ops.len(), 3);
}

#[test]
fn a_tree_whose_keys_stand_on_the_wrong_side_does_not_invert() {
    // Removing a key joins the halves beside it, whatever they hold: so the halves must be looked at before.
    let low: Vec<String> =
        (0..).map(|n| format!("com.example.record/{n:04}")).filter(|k| layer_of(k) == 0).take(8).collect();
    let high = (0..).map(|n| format!("com.example.record/{n:04}x")).find(|k| layer_of(k) == 1 && *k > low[3]).unwrap();
    let above = low.iter().position(|key| *key > high).unwrap();
    let leaf = record("x").cid;
    let of_keys = |keys: &[String]| build(&keys.iter().map(|key| (key.clone(), leaf.clone())).collect());
    let (before, _) = of_keys(&low);
    for at in 1..low.len() {
        let ((left, mut blocks), (right, rest)) = (of_keys(&low[..at]), of_keys(&low[at..]));
        let mut writer = crate::cbor::Writer::new();
        writer.map(2).text("e").array(1).map(4).text("k").bytes(high.as_bytes()).text("p").int(0);
        writer.text("t").link(&right).text("v").link(&leaf).text("l").link(&left);
        let bytes = writer.into_bytes();
        let root = Cid::of_cbor(&bytes);
        blocks.extend(rest.blocks());
        blocks.insert(Block { cid: root.clone(), bytes: bytes.into() });
        let inverted = invert(&blocks, root, &[RepoOp::create(path(&high), leaf.clone())]);
        if at == above {
            assert_eq!(inverted.unwrap(), before);
        } else {
            assert!(matches!(inverted, Err(InvertError::Mst(mst::MstError::Order(_)))), "{at}: {inverted:?}");
        }
    }
}

#[test]
fn writes_meet_what_stands_at_their_path() {
    let mut kept = Kept::new();
    kept.apply(vec![create(A, "1")]).unwrap();
    assert!(matches!(kept.try_apply(vec![create(A, "2")]), Err(ApplyError::RecordExists(at)) if at == path(A)));
    assert!(matches!(kept.try_apply(vec![update(B, "2")]), Err(ApplyError::RecordMissing(_))));
    assert!(matches!(kept.try_apply(vec![delete(B)]), Err(ApplyError::RecordMissing(_))));
    assert!(matches!(kept.try_apply(vec![delete(A), create(A, "2")]), Err(ApplyError::PathTwice(_))));
    let is_one = Swap::Is(record("1").cid);
    for (at, swap, holds) in [
        (A, Swap::Any, true),
        (A, Swap::Absent, false),
        (A, is_one.clone(), true),
        (A, Swap::Is(record("3").cid), false),
        (B, Swap::Any, true),
        (B, Swap::Absent, true),
        (B, is_one.clone(), false),
    ] {
        let outcome = kept.try_apply(vec![put(at, "2", swap.clone())]);
        assert_eq!(outcome.is_ok(), holds, "{at} {swap:?}");
        assert!(holds || matches!(outcome, Err(ApplyError::SwapMismatch { .. })));
    }
    assert!(kept.try_apply(vec![put(A, "1", Swap::Absent)]).unwrap().is_none(), "the same content is no change");
}

#[test]
fn content_at_two_paths_stays_until_the_last_is_gone() {
    let mut kept = Kept::new();
    kept.apply(vec![create(A, "same"), create(B, "same")]).unwrap();
    let diff = kept.apply(vec![delete(A)]).unwrap().unwrap();
    assert_eq!(diff.dropped_records, [record("same").cid], "a candidate, kept because B holds it");
    assert!(kept.blocks.get(&record("same").cid).unwrap().is_some());
    let moved = kept.apply(vec![delete(B), create(A, "same")]).unwrap().unwrap();
    assert!(moved.dropped_records.is_empty());
    assert!(moved.event_blocks().any(|block| block.cid == record("same").cid), "a moved record is in the event");
    kept.apply(vec![delete(A)]).unwrap();
    assert!(kept.blocks.get(&record("same").cid).unwrap().is_none());
}

#[test]
fn limits_are_refused_and_their_edges_pass() {
    let kept = Kept::new();
    let many = |n: usize| (0..n).map(|i| create(&format!("com.example.record/{i}"), "x")).collect::<Vec<_>>();
    assert!(kept.try_apply(many(200)).is_ok());
    assert!(matches!(kept.try_apply(many(201)), Err(ApplyError::TooManyWrites(201))));
    // A record's other bytes: the map, its two keys, the type, and the heads of the text.
    let overhead = record(&"x".repeat(70_000)).bytes.len() - 70_000;
    let sized = |at: &str, len: usize| create(at, &"x".repeat(len - overhead));
    assert!(kept.try_apply(vec![sized(A, MAX_RECORD_LEN)]).is_ok());
    assert!(matches!(kept.try_apply(vec![sized(A, MAX_RECORD_LEN + 1)]), Err(ApplyError::RecordTooLarge { .. })));
    let big = |n: usize| (0..n).map(|i| sized(&format!("com.example.record/{i}"), 990_000 + i)).collect::<Vec<_>>();
    assert!(kept.try_apply(big(2)).is_ok());
    assert!(matches!(kept.try_apply(big(3)), Err(ApplyError::CommitTooLarge(_))));
    let head = kept.head.as_ref().unwrap();
    let stale = Repo { did: &did(), head: Some(head), blocks: &kept.blocks }.apply(vec![], &key(), head.rev);
    assert!(matches!(stale, Err(ApplyError::RevNotAbove { .. })));
}

#[test]
fn an_export_streams_each_block_once_in_tree_order() {
    let mut kept = Kept::new();
    let writes = (0..200).map(|i| create(&format!("com.example.record/{i}"), &format!("{}", i % 150))).collect();
    kept.apply(writes).unwrap();
    let export = kept.export();
    let unique: HashSet<&Cid> = export.iter().map(|block| &block.cid).collect();
    assert_eq!(unique.len(), export.len());
    assert_eq!(export.len(), kept.blocks.len());
    assert_eq!(export[0].cid, kept.head.as_ref().unwrap().commit);

    // A reader that holds only what it still expects, in order: the next block is always the one due.
    let mut due = vec![export[0].cid.clone()];
    let mut seen = HashSet::new();
    let mut blocks = export.iter();
    while let Some(next) = due.pop() {
        if seen.contains(&next) {
            continue;
        }
        let block = blocks.next().unwrap();
        assert_eq!(block.cid, next);
        seen.insert(next);
        let mut links = Vec::new();
        match Commit::from_block(&block.bytes) {
            Ok(commit) => links.push(commit.data),
            Err(_) => links_in_listed_order(&crate::cbor::decode(&block.bytes).unwrap(), &mut links),
        }
        due.extend(links.into_iter().rev());
        assert!(due.len() < 60, "the reader holds one node a layer");
    }
    assert!(blocks.next().is_none());
}

/// The links of a node: `l`, then of each entry `v` and `t`. A record of these tests has none.
fn links_in_listed_order(node: &crate::data::Value, links: &mut Vec<Cid>) {
    links.extend(node.get("l").and_then(|l| l.as_link()).cloned());
    for entry in node.get("e").and_then(|e| e.as_array()).unwrap_or_default() {
        links.extend(["v", "t"].iter().filter_map(|field| entry.get(field)?.as_link()).cloned());
    }
}

#[test]
fn operations_that_are_not_what_happened_do_not_invert() {
    let mut kept = Kept::new();
    kept.apply((0..50).map(|i| create(&format!("com.example.record/{i}"), "x")).collect()).unwrap();
    let diff = kept
        .apply(vec![create(A, "1"), delete("com.example.record/7"), update("com.example.record/8", "y")])
        .unwrap()
        .unwrap();
    let blocks: BlockMap = diff.event_blocks().cloned().collect();
    let after = |ops: &[RepoOp]| invert(&blocks, diff.head.data.clone(), ops);
    assert_eq!(&after(&diff.ops).unwrap(), diff.prev_data.as_ref().unwrap());
    assert_ne!(&after(&diff.ops[..2]).unwrap(), diff.prev_data.as_ref().unwrap(), "one operation kept back");
    let twice = [diff.ops.clone(), diff.ops[..1].to_vec()].concat();
    assert!(matches!(after(&twice), Err(InvertError::PathTwice(_))));
    let lie = |change: fn(&mut RepoOp)| {
        let mut ops = diff.ops.clone();
        change(&mut ops[0]);
        after(&ops)
    };
    assert!(matches!(lie(|op| op.cid = Some(record("2").cid)), Err(InvertError::Mismatch { .. })));
    assert!(matches!(lie(|op| op.prev = op.cid.clone()), Err(InvertError::Void(_))));
    assert!(matches!(
        lie(|op| op.path = path("com.example.record/zz")),
        Err(InvertError::Mismatch { .. } | InvertError::Mst(_))
    ));
}

#[test]
fn malformed_commits_are_refused_by_name() {
    use super::commit::CommitError;
    use crate::data::Value;
    let good = Commit::sign(did(), rev(1), record("x").cid, &key()).to_block();
    let with = |field: &str, value: Option<Value>| {
        let Value::Map(mut map) = crate::cbor::decode(&good.bytes).unwrap() else { panic!("a commit is a map") };
        match value {
            Some(value) => map.insert(field, value),
            None => map.remove(field),
        };
        Commit::from_block(&crate::cbor::encode(&Value::Map(map))).unwrap_err()
    };
    for field in ["did", "rev", "sig", "data", "prev", "version"] {
        assert!(matches!(with(field, None), CommitError::Cbor(_)), "{field}");
    }
    assert!(matches!(with("more", Some(Value::Null)), CommitError::Cbor(_)));
    assert_eq!(with("version", Some(Value::Int(2))), CommitError::Version(2));
    assert_eq!(with("did", Some("plc".into())), CommitError::Did);
    assert_eq!(with("rev", Some("0".into())), CommitError::Rev);
    let blob = Cid::of_raw(b"x");
    assert_eq!(with("data", Some(blob.clone().into())), CommitError::Data(blob));
    assert!(matches!(with("sig", Some(Value::Bytes(vec![0; 63]))), CommitError::Sig(_)));
}

/// Turns edits into writes that fit what stands in the repository, each path once.
fn writes(kept: &Kept, edits: Vec<(String, Option<u8>)>) -> Vec<Write> {
    let edits: BTreeMap<String, Option<u8>> = edits.into_iter().collect();
    let fits = |(at, content): (String, Option<u8>)| match (kept.records.contains_key(&at), content) {
        (false, Some(n)) => Some(create(&at, &n.to_string())),
        (true, Some(n)) => Some(update(&at, &n.to_string())),
        (true, None) => Some(delete(&at)),
        (false, None) => None,
    };
    edits.into_iter().filter_map(fits).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn every_commit_inverts_to_the_tree_before_from_its_event_alone(
        batches in prop::collection::vec(prop::collection::vec((super::mst::tests::any_key(), prop::option::weighted(0.55, 0u8..30)), 1..25), 1..12),
    ) {
        let mut kept = Kept::new();
        for batch in batches {
            let batch = writes(&kept, batch);
            let Some(diff) = kept.apply(batch).unwrap() else { continue };
            let event: BlockMap = diff.event_blocks().cloned().collect();
            prop_assert_eq!(Some(invert(&event, diff.head.data.clone(), &diff.ops).unwrap()), diff.prev_data.clone());
            let (root, scratch) = build(&kept.records);
            prop_assert_eq!(&root, &diff.head.data);
            let contents: HashSet<&Cid> = kept.records.values().collect();
            prop_assert_eq!(kept.blocks.len(), scratch.len() + contents.len() + 1);
            prop_assert_eq!(kept.export().len(), kept.blocks.len());
            // Undone in any order, and what was dropped is not in the event.
            let mut ops = diff.ops.clone();
            ops.reverse();
            prop_assert_eq!(Some(invert(&event, diff.head.data.clone(), &ops).unwrap()), diff.prev_data);
            for cid in diff.dropped_records.iter().filter(|cid| !kept.holds(cid)) {
                prop_assert!(event.get(cid).unwrap().is_none());
            }
        }
    }

    #[test]
    fn edits_of_a_large_tree_touch_few_nodes(edits in prop::collection::vec(any_edit(), 1..4)) {
        let leaves: BTreeMap<String, Cid> = (0..5000).map(|i| (format!("com.example.large/{i}"), Cid::of_cbor(&[]))).collect();
        let (root, blocks) = build(&leaves);
        let mut tree = mst::Tree::open(&blocks, root);
        for (key, cid) in &edits {
            if let Some(cid) = cid {
                tree.set(key, cid.clone()).unwrap();
            }
        }
        prop_assert!(tree.nodes_loaded() <= 40 * edits.len());
    }
}
