//! Batches of writes that must not become a commit, and edges of what may.

use bytes::Bytes;
use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::data::{Map, Value};
use shared::repo::{
    ApplyError, BlockMap, CommitDiff, Head, MAX_COMMIT_LEN, MAX_OPS, MAX_RECORD_LEN, Record, Repo, Swap, Write,
};
use shared::syntax::{Did, Path, Tid};

use crate::report::{Group, Verdict};

/// Says whether the outcome is the right one.
type Is = fn(&Result<Option<CommitDiff>, ApplyError>) -> bool;

pub(super) fn group() -> Group {
    let mut group = Group::new("malformed writes", 16);
    if let Err(error) = fill(&mut group) {
        group.fail(error);
    }
    group
}

fn fill(group: &mut Group) -> Result<(), String> {
    let repo = Existing::new()?;
    let (kept, free) = (path("com.example.record/kept")?, path("com.example.record/free")?);
    let old = record("old");
    let create = |path: &Path, text: &str| Write::Create { path: path.clone(), record: record(text) };
    let update = |path: &Path, text: &str| Write::Update { path: path.clone(), record: record(text), swap: Swap::Any };
    let put = |text: &str, swap| Write::Put { path: kept.clone(), record: record(text), swap };
    let delete = |path: &Path| Write::Delete { path: path.clone(), swap: Swap::Any };
    let numbered = |count: usize, text: &str| -> Result<Vec<Write>, String> {
        (0..count).map(|n| Ok(create(&path(&format!("com.example.record/{n}"))?, &format!("{n}{text}")))).collect()
    };
    // The record's other bytes are 36; every emoji is four.
    let emoji = |count: usize| "\u{1f600}".repeat(count);
    let long = "x".repeat(900_000);

    let cases: [(&str, Vec<Write>, Is); 14] = [
        ("as many writes as may be", numbered(MAX_OPS, "")?, |found| matches!(found, Ok(Some(_)))),
        ("one more", numbered(MAX_OPS + 1, "")?, |found| matches!(found, Err(ApplyError::TooManyWrites(201)))),
        ("create and delete at one path", vec![create(&free, "a"), delete(&free)], |found| {
            matches!(found, Err(ApplyError::PathTwice(_)))
        }),
        ("two updates at one path", vec![update(&kept, "a"), update(&kept, "b")], |found| {
            matches!(found, Err(ApplyError::PathTwice(_)))
        }),
        ("a create where a record is", vec![create(&kept, "a")], |found| {
            matches!(found, Err(ApplyError::RecordExists(_)))
        }),
        ("an update where none is", vec![update(&free, "a")], |found| {
            matches!(found, Err(ApplyError::RecordMissing(_)))
        }),
        ("a delete where none is, after a good write", vec![update(&kept, "a"), delete(&free)], |found| {
            matches!(found, Err(ApplyError::RecordMissing(_)))
        }),
        ("an update to the same record", vec![update(&kept, "old")], |found| matches!(found, Ok(None))),
        ("a put that expects nothing where a record is", vec![put("a", Swap::Absent)], |found| {
            matches!(found, Err(ApplyError::SwapMismatch { current: Some(_), .. }))
        }),
        ("a put that expects another record", vec![put("a", Swap::Is(record("other").cid))], |found| {
            matches!(found, Err(ApplyError::SwapMismatch { current: Some(_), .. }))
        }),
        ("a put that expects this record", vec![put("a", Swap::Is(old.cid))], |found| matches!(found, Ok(Some(_)))),
        (
            "a million bytes of record in fewer characters",
            vec![create(&free, &emoji(249_991))],
            |found| matches!(found, Ok(Some(diff)) if diff.records.iter().all(|record| record.bytes.len() == MAX_RECORD_LEN)),
        ),
        ("one character more", vec![create(&free, &emoji(249_992))], |found| {
            matches!(found, Err(ApplyError::RecordTooLarge { len: 1_000_004, .. }))
        }),
        (
            "three records of 900,000 bytes",
            numbered(3, &long)?,
            |found| matches!(found, Err(ApplyError::CommitTooLarge(len)) if *len > MAX_COMMIT_LEN),
        ),
    ];
    for (name, writes, is) in cases {
        group.case(name, verdict(&repo.apply(writes, 2), is));
    }
    for (name, rev) in [("the rev of the commit before", 1), ("a rev below it", 0)] {
        let found = repo.apply(vec![update(&kept, "a")], rev);
        group.case(name, verdict(&found, |found| matches!(found, Err(ApplyError::RevNotAbove { .. }))));
    }
    Ok(())
}

fn verdict(found: &Result<Option<CommitDiff>, ApplyError>, is: Is) -> Verdict {
    if is(found) {
        Ok(())
    } else {
        Err(format!("{:?}", found.as_ref().map(|diff| diff.as_ref().map(|diff| &diff.ops))))
    }
}

/// A repository of one record.
struct Existing {
    did: Did,
    key: SigningKey,
    head: Head,
    blocks: BlockMap,
}

impl Existing {
    fn new() -> Result<Self, String> {
        let did = Did::parse("did:web:example.com").map_err(|error| error.to_string())?;
        let key = SigningKey::from_bytes(Curve::K256, &[7; 32]).map_err(|error| error.to_string())?;
        let nothing = BlockMap::default();
        let repo = Repo { did: &did, head: None, blocks: &nothing };
        let first = vec![Write::Create { path: path("com.example.record/kept")?, record: record("old") }];
        let diff = repo.apply(first, &key, rev(1)).map_err(|error| error.to_string())?.ok_or("nothing written")?;
        let blocks = diff.new_blocks().cloned().collect();
        Ok(Self { did, key, head: diff.head, blocks })
    }

    fn apply(&self, writes: Vec<Write>, at: u64) -> Result<Option<CommitDiff>, ApplyError> {
        Repo { did: &self.did, head: Some(&self.head), blocks: &self.blocks }.apply(writes, &self.key, rev(at))
    }
}

fn rev(at: u64) -> Tid {
    Tid::from_parts(1_700_000_000_000_000 + at, 0)
}

fn path(text: &str) -> Result<Path, String> {
    Path::parse(text).map_err(|error| error.to_string())
}

fn record(text: &str) -> Record {
    let fields: Map = [("$type", Value::from("com.example.record")), ("text", Value::from(text))].into_iter().collect();
    let bytes = Bytes::from(shared::cbor::encode(&Value::Map(fields)));
    Record { cid: Cid::of_cbor(&bytes), bytes }
}
