//! A replica beside a model of its origin: the same repository, written by the code that the origin writes with.

use std::collections::BTreeMap;

use bytes::Bytes;
use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::firehose::{AccountStatus, Commit, Event, Seq, Sync};
use shared::link::{
    Ack, Change, Outcome as Said, Position, PublicBlob, Push, PushedCommit, Record, Reference, Region, Revision,
    SnapshotHead, SnapshotWriter, State, encode,
};
use shared::repo::export::{Export, Repeats};
use shared::repo::{Block, BlockMap, CommitDiff, Head, Repo, Write, car};
use shared::syntax::{Datetime, Did, Path, Tid};
use shared::{cbor, data};

use super::*;
use crate::answer::Answer;
use crate::fresh::Verdict;
use crate::read::Read;
use crate::sql::native::Native;

const NOW: u64 = 1_700_000_100_000;

/// The account as the origin has it.
struct Origin {
    did: Did,
    key: SigningKey,
    blocks: BlockMap,
    head: Head,
    records: BTreeMap<String, Cid>,
    blobs: BTreeMap<String, PublicBlob>,
    position: u64,
    state: State,
    revs: u64,
}

fn record(text: &str) -> Block {
    let json = format!(r#"{{"$type":"com.example.note","text":{text:?}}}"#);
    let bytes = cbor::encode(&data::json::parse(json.as_bytes()).unwrap());
    Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
}

fn picture(blob: &Cid) -> Block {
    let json = format!(
        r#"{{"$type":"com.example.note","picture":{{"$type":"blob","ref":{{"$link":"{blob}"}},"mimeType":"image/png","size":4}}}}"#
    );
    let bytes = cbor::encode(&data::json::parse(json.as_bytes()).unwrap());
    Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
}

fn path(key: &str) -> Path {
    Path::parse(&format!("com.example.note/{key}")).unwrap()
}

impl Origin {
    fn new() -> Self {
        let did = Did::parse("did:web:alice.test").unwrap();
        let key = SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap();
        let none = BlockMap::default();
        let rev = Tid::from_parts(1_700_000_000_000_000, 0);
        let repo = Repo { did: &did, head: None, blocks: &none };
        let diff = repo.apply(Vec::new(), &key, rev).unwrap().unwrap();
        let state = State {
            version: 10,
            status: None,
            handle: Some("alice.test".parse().unwrap()),
            did_document: Some(r#"{"id":"did:web:alice.test","alsoKnownAs":["at://alice.test"]}"#.to_owned()),
            signing_key: key.public_key(),
            taken_down_records: Vec::new(),
            taken_down_blobs: Vec::new(),
            deleted_blobs: Vec::new(),
        };
        Self {
            did,
            key,
            blocks: diff.new_blocks().cloned().collect(),
            head: diff.head.clone(),
            records: BTreeMap::new(),
            blobs: BTreeMap::new(),
            position: 10,
            state,
            revs: 1,
        }
    }

    /// Makes a commit and returns what the replica is pushed.
    fn write(&mut self, writes: Vec<Write>, blobs: Vec<PublicBlob>) -> Push {
        self.revs += 1;
        let rev = Tid::from_parts(1_700_000_000_000_000 + self.revs, 0);
        let diff = {
            let repo = Repo { did: &self.did, head: Some(&self.head), blocks: &self.blocks };
            repo.apply(writes, &self.key, rev).unwrap().unwrap()
        };
        self.take(&diff);
        self.blobs.extend(blobs.iter().map(|blob| (blob.cid.to_string(), blob.clone())));
        let event = Event::Commit(Commit::of(self.did.clone(), &diff));
        self.pushed(Change::Commit(PushedCommit { frame: stamped(&event), blobs }))
    }

    fn take(&mut self, diff: &CommitDiff) {
        self.blocks.extend(diff.new_blocks().cloned());
        for op in &diff.ops {
            match &op.cid {
                Some(cid) => drop(self.records.insert(op.path.to_string(), cid.clone())),
                None => drop(self.records.remove(op.path.as_str())),
            }
        }
        for cid in diff.removed.iter().chain(&diff.dropped_records) {
            if !self.records.values().any(|record| record == cid) {
                self.blocks.remove(cid);
            }
        }
        self.head = diff.head.clone();
    }

    fn pushed(&mut self, change: Change) -> Push {
        let previous = Position(self.position);
        self.position += 3;
        Push { account: self.did.clone(), position: Position(self.position), previous, change }
    }

    fn change(&mut self, change: impl FnOnce(&mut State)) -> Push {
        self.state.version = self.position + 3;
        change(&mut self.state);
        let state = Box::new(self.state.clone());
        self.pushed(Change::State(state))
    }

    fn create(&mut self, key: &str, text: &str) -> Push {
        self.write(vec![Write::Create { path: path(key), record: record(text) }], Vec::new())
    }

    fn delete(&mut self, key: &str) -> Push {
        self.write(vec![Write::Delete { path: path(key), swap: shared::repo::Swap::Any }], Vec::new())
    }

    fn snapshot(&self) -> Vec<u8> {
        let revision = Revision { rev: self.head.rev, commit: self.head.commit.clone() };
        let head = SnapshotHead {
            account: self.did.clone(),
            position: Position(self.position),
            state: self.state.clone(),
            revision: Some(revision).filter(|_| self.state.status.is_none()),
        };
        let mut out = Vec::new();
        let mut writer = SnapshotWriter::new(&head, &mut out).unwrap();
        if self.state.status.is_none() {
            for block in self.blocks.blocks() {
                writer.block(&block.cid, &block.bytes, &mut out);
            }
            let record = |(path, cid): (&String, &Cid)| Record { path: path.clone(), cid: cid.clone() };
            writer.records(&self.records.iter().map(record).collect::<Vec<_>>(), &mut out).unwrap();
            writer.blobs(&self.blobs.values().cloned().collect::<Vec<_>>(), &mut out).unwrap();
            writer.references(&self.references(), &mut out).unwrap();
        }
        writer.end(&mut out).unwrap();
        out
    }

    fn references(&self) -> Vec<Reference> {
        use shared::repo::Blockstore as _;
        let mut references = Vec::new();
        for (path, cid) in &self.records {
            let record = cbor::decode(&self.blocks.get(cid).unwrap().unwrap()).unwrap();
            for blob in data::blobs(&record) {
                references.push(Reference { path: path.clone(), blob: blob.cid });
            }
        }
        references
    }

    fn export(&self) -> Vec<u8> {
        let repeats = Repeats::scan(&self.blocks, &self.head.data).unwrap();
        let blocks: Vec<Block> = Export::new(&self.blocks, self.head.commit.clone(), self.head.data.clone(), repeats)
            .map(Result::unwrap)
            .collect();
        car::to_vec(&self.head.commit, &blocks)
    }
}

fn stamped(event: &Event) -> Bytes {
    event.encode().unwrap().stamp(Seq::new(1).unwrap(), &Datetime::parse("2023-11-14T22:13:20.000Z").unwrap()).unwrap()
}

fn region() -> Region {
    Region::parse("weur").unwrap()
}

fn filled(origin: &Origin) -> Replica<Native> {
    let replica = Replica::new(Native::new());
    fill(&replica, origin);
    replica
}

fn fill(replica: &Replica<Native>, origin: &Origin) {
    let mut filling = replica.begin(&origin.did, &region(), NOW).unwrap();
    for chunk in origin.snapshot().chunks(1000) {
        replica.fill(&mut filling, Bytes::copy_from_slice(chunk)).unwrap();
    }
    replica.finish(filling, Position(origin.position), NOW).unwrap();
}

fn push(replica: &Replica<Native>, push: &Push) -> Ack {
    replica.push(push, &encode(push).unwrap(), NOW).unwrap()
}

fn ask(replica: &Replica<Native>, nsid: &str, query: &str) -> Option<Answer> {
    let read = Read::parse(nsid, query).unwrap();
    match replica.read(&read).unwrap() {
        Outcome::Forward => None,
        Outcome::Answer(answer) => Some(Answer {
            status: answer.status,
            headers: answer.headers,
            body: answer.body.map(|body| match body {
                CarBody::Whole(bytes) | CarBody::Unsized(bytes) => bytes,
                CarBody::Repo(mut export) => {
                    let mut all = Vec::new();
                    while let Some(chunk) = export.next_chunk().unwrap() {
                        all.extend(chunk);
                    }
                    all
                }
            }),
        }),
    }
}

fn text(answer: Option<Answer>) -> (u16, String) {
    let answer = answer.unwrap();
    (answer.status, String::from_utf8(answer.body.unwrap()).unwrap())
}

fn export(replica: &Replica<Native>) -> Vec<u8> {
    ask(replica, "com.atproto.sync.getRepo", "did=did:web:alice.test").unwrap().body.unwrap()
}

/// Whether both have the same: the export, and no block more or less.
#[track_caller]
fn assert_same(replica: &Replica<Native>, origin: &Origin) {
    assert!(export(replica) == origin.export());
    let rows = replica.sql.exec("SELECT cid FROM block WHERE retired = 0", Vec::new()).unwrap();
    let mut held: Vec<Vec<u8>> = rows.into_iter().map(|row| Columns::of(row).bytes().unwrap()).collect();
    let mut there: Vec<Vec<u8>> = origin.blocks.blocks().map(|block| block.cid.as_bytes().to_vec()).collect();
    held.sort();
    there.sort();
    assert_eq!(held.len(), there.len());
    assert!(held == there);
}

#[test]
fn a_replica_follows_commits_and_holds_what_the_origin_holds() {
    let mut origin = Origin::new();
    for number in 0..60 {
        origin.create(&format!("old{number}"), &format!("text {}", number / 2));
    }
    let replica = filled(&origin);
    assert_same(&replica, &origin);
    for number in 0..40 {
        let pushed = origin.create(&format!("new{number}"), &format!("text {}", number % 7));
        assert_eq!(push(&replica, &pushed), Ack { outcome: Said::Applied, position: pushed.position });
    }
    for number in (0..60).step_by(3) {
        let pushed = origin.delete(&format!("old{number}"));
        assert_eq!(push(&replica, &pushed).outcome, Said::Applied);
    }
    let update = Write::Update { path: path("new5"), record: record("other"), swap: shared::repo::Swap::Any };
    let pushed = origin.write(vec![update], Vec::new());
    assert_eq!(push(&replica, &pushed).outcome, Said::Applied);
    assert_same(&replica, &origin);
    let (status, listed) =
        text(ask(&replica, "com.atproto.repo.listRecords", "repo=alice.test&collection=com.example.note&limit=2"));
    assert_eq!(status, 200);
    assert!(listed.contains("old9") || listed.contains("old8"), "{listed}");
}

#[test]
fn what_is_pushed_twice_or_out_of_order_is_made_once_and_in_order() {
    let mut origin = Origin::new();
    let replica = filled(&origin);
    let (first, second, third) = (origin.create("a", "1"), origin.create("b", "2"), origin.create("c", "3"));
    assert_eq!(push(&replica, &second), Ack { outcome: Said::Behind, position: Position(10) });
    assert_eq!(push(&replica, &first).outcome, Said::Applied);
    assert_eq!(push(&replica, &first), Ack { outcome: Said::Applied, position: first.position });
    // It still knows that it missed something.
    let fresh = crate::fresh::Region::default().of(&origin.did);
    let leased = Freshness { until: NOW + 10, ..fresh };
    assert_eq!(replica.judge(&leased, NOW, false, 0).unwrap(), Verdict::Pull);
    replica.pulled(&[second, third], false, Position(99), NOW + 5, NOW).unwrap();
    assert_eq!(replica.judge(&leased, NOW, false, 0).unwrap(), Verdict::Fresh);
    assert_same(&replica, &origin);
}

#[test]
fn what_comes_while_a_snapshot_does_is_made_after_it() {
    let mut origin = Origin::new();
    origin.create("a", "1");
    let replica = Replica::new(Native::new());
    assert_eq!(push(&replica, &origin.create("b", "2")).outcome, Said::Gone);
    let mut filling = replica.begin(&origin.did, &region(), NOW).unwrap();
    // One that is in the snapshot, and two that are not.
    let pushed = origin.create("c", "3");
    let snapshot = origin.snapshot();
    assert_eq!(push(&replica, &pushed).outcome, Said::Kept);
    let later = [origin.create("d", "4"), origin.delete("a")];
    assert_eq!(push(&replica, &later[1]).outcome, Said::Kept);
    replica.fill(&mut filling, snapshot.into()).unwrap();
    assert_eq!(push(&replica, &later[0]).outcome, Said::Kept);
    assert_eq!(ask(&replica, "com.atproto.sync.getRepo", "did=did:web:alice.test"), None);
    assert_eq!(replica.presence().unwrap(), Presence::Filling);
    replica.finish(filling, Position(10), NOW).unwrap();
    assert_eq!(replica.presence().unwrap(), Presence::Serving);
    assert_same(&replica, &origin);
}

#[test]
fn a_push_that_is_too_large_to_be_kept_is_in_this_snapshot_or_the_next() {
    let large = |origin: &mut Origin, key: &str| {
        let records: Vec<Write> = (0..30)
            .map(|part| Write::Create {
                path: path(&format!("{key}{part}")),
                record: record(&"x".repeat(64_000 + part)),
            })
            .collect();
        let push = origin.write(records, Vec::new());
        assert!(encode(&push).unwrap().len() > 1_900_000);
        push
    };
    let mut origin = Origin::new();
    let replica = Replica::new(Native::new());
    let mut filling = replica.begin(&origin.did, &region(), NOW).unwrap();
    let within = large(&mut origin, "a");
    let snapshot = origin.snapshot();
    assert_eq!(push(&replica, &within).outcome, Said::Kept);
    let after = large(&mut origin, "b");
    assert_eq!(push(&replica, &after).outcome, Said::Kept);
    let rows = replica.sql.exec("SELECT push FROM kept", Vec::new()).unwrap();
    assert!(rows.into_iter().all(|row| Columns::of(row).bytes().unwrap().len() < 2_000));
    replica.fill(&mut filling, snapshot.into()).unwrap();
    replica.finish(filling, Position(10), NOW).unwrap();
    assert_eq!(replica.presence().unwrap(), Presence::Filling);
    fill(&replica, &origin);
    assert_same(&replica, &origin);
}

#[test]
fn a_snapshot_that_breaks_off_serves_nobody_and_the_next_one_replaces_it() {
    let mut origin = Origin::new();
    origin.create("a", "1");
    let replica = Replica::new(Native::new());
    let snapshot = origin.snapshot();
    for cut in [0, 1, snapshot.len() / 2, snapshot.len() - 1] {
        let mut filling = replica.begin(&origin.did, &region(), NOW).unwrap();
        replica.fill(&mut filling, Bytes::copy_from_slice(&snapshot[..cut])).unwrap();
        assert!(replica.finish(filling, Position(10), NOW).is_err());
        assert_eq!(replica.presence().unwrap(), Presence::Filling);
    }
    fill(&replica, &origin);
    assert_same(&replica, &origin);
}

#[test]
fn a_commit_that_is_not_what_it_says_is_not_made() {
    let mut origin = Origin::new();
    origin.create("a", "1");
    let forged = |forge: &dyn Fn(&mut Commit)| {
        let mut origin = Origin::new();
        origin.create("a", "1");
        let replica = filled(&origin);
        let before = export(&replica);
        let mut pushed = origin.create("b", "2");
        let Change::Commit(commit) = &mut pushed.change else { panic!() };
        let Ok(shared::firehose::Frame::Event { event: Event::Commit(mut event), .. }) =
            shared::firehose::Frame::decode(&commit.frame)
        else {
            panic!()
        };
        forge(&mut event);
        commit.frame = stamped(&Event::Commit(event));
        assert_eq!(push(&replica, &pushed).outcome, Said::Behind);
        assert_eq!(replica.presence().unwrap(), Presence::Filling);
        assert!(replica.trouble().is_some());
        assert_eq!(ask(&replica, "com.atproto.sync.getRepo", "did=did:web:alice.test"), None);
        drop(before);
    };
    forged(&|event| event.ops.clear());
    forged(&|event| event.ops[0].path = path("c"));
    forged(&|event| event.prev_data = Some(Cid::of_cbor(b"x")));
    forged(&|event| event.since = None);
    forged(&|event| {
        let mut bytes = event.blocks.to_vec();
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        event.blocks = bytes.into();
    });
    // Somebody else's key.
    let replica = filled(&origin);
    origin.key = SigningKey::from_bytes(Curve::K256, &[8; 32]).unwrap();
    assert_eq!(push(&replica, &origin.create("b", "2")).outcome, Said::Behind);
    assert_eq!(replica.presence().unwrap(), Presence::Filling);
}

#[test]
fn the_last_state_holds_whatever_the_order() {
    let mut origin = Origin::new();
    origin.create("a", "1");
    origin.create("b", "2");
    let replica = filled(&origin);
    let missed = origin.create("c", "3");
    let down = origin.change(|state| state.taken_down_records = vec!["com.example.note/a".to_owned()]);
    // It is not in its turn, and holds all the same.
    assert_eq!(push(&replica, &down).outcome, Said::Behind);
    let get = |key: &str| {
        let query = format!("repo=did:web:alice.test&collection=com.example.note&rkey={key}");
        text(ask(&replica, "com.atproto.repo.getRecord", &query)).0
    };
    assert_eq!((get("a"), get("b")), (400, 200));
    let listed = text(ask(&replica, "com.atproto.repo.listRecords", "repo=alice.test&collection=com.example.note"));
    assert!(!listed.1.contains("note/a\"") && listed.1.contains("note/b\""), "{}", listed.1);
    replica.pulled(&[missed, down], false, Position(99), NOW, NOW).unwrap();
    assert_eq!(get("c"), 200);
    assert_same(&replica, &origin);
    // An older one comes late.
    let mut older = origin.change(|state| state.taken_down_records.clear());
    let Change::State(state) = &mut older.change else { panic!() };
    state.version = 1;
    assert_eq!(push(&replica, &older).outcome, Said::Applied);
    assert_eq!(get("a"), 400);
}

#[test]
fn an_account_that_is_not_served_keeps_its_state_and_nothing_else() {
    let mut origin = Origin::new();
    origin.create("a", "1");
    let replica = filled(&origin);
    let down = origin.change(|state| state.status = Some(AccountStatus::Takendown));
    assert_eq!(push(&replica, &down).outcome, Said::Applied);
    for (nsid, query, status, error) in [
        ("com.atproto.sync.getRepo", "did=did:web:alice.test", 400, "RepoTakendown"),
        ("com.atproto.repo.describeRepo", "repo=alice.test", 400, "RepoTakendown"),
        ("com.atproto.repo.listRecords", "repo=alice.test&collection=com.example.note", 400, "Could not find repo"),
        ("com.atproto.sync.getRepoStatus", "did=did:web:alice.test", 200, r#""active":false,"status":"takendown""#),
    ] {
        let (found, body) = text(ask(&replica, nsid, query));
        assert_eq!(found, status, "{nsid}");
        assert!(body.contains(error), "{body}");
    }
    let record = "repo=alice.test&collection=com.example.note&rkey=a";
    assert_eq!(ask(&replica, "com.atproto.repo.getRecord", record), None);
    for table in ["block", "record", "blob", "reference"] {
        assert!(replica.sql.exec(&format!("SELECT 1 FROM {table}"), Vec::new()).unwrap().is_empty(), "{table}");
    }
    // Served again: filled anew.
    let up = origin.change(|state| state.status = None);
    assert_eq!(push(&replica, &up).outcome, Said::Behind);
    assert_eq!(replica.presence().unwrap(), Presence::Filling);
    fill(&replica, &origin);
    assert_same(&replica, &origin);
}

#[test]
fn blobs_are_public_while_a_record_refers_to_them_and_nobody_took_them_down() {
    let mut origin = Origin::new();
    let cid = Cid::of_raw(b"blob");
    let blob = PublicBlob { cid: cid.clone(), mime_type: "image/png".to_owned(), size: 4 };
    let replica = filled(&origin);
    let open = Gate::Open { mime_type: "image/png".to_owned(), size: 4 };
    let gate = || match replica.blob(&cid).unwrap() {
        Outcome::Answer(gate) => gate,
        Outcome::Forward => panic!("forwarded"),
    };
    assert!(matches!(gate(), Gate::Refused(_)));
    let create = |key| Write::Create { path: path(key), record: picture(&cid) };
    push(&replica, &origin.write(vec![create("a"), create("b")], vec![blob]));
    assert_eq!(gate(), open);
    let listed = text(ask(&replica, "com.atproto.sync.listBlobs", "did=did:web:alice.test")).1;
    assert_eq!(listed, format!(r#"{{"cursor":"{cid}","cids":["{cid}"]}}"#));
    push(&replica, &origin.delete("a"));
    assert_eq!(gate(), open);
    push(&replica, &origin.change(|state| state.taken_down_blobs = vec![Cid::of_raw(b"blob")]));
    assert!(matches!(gate(), Gate::Refused(_)));
    push(&replica, &origin.change(|state| state.taken_down_blobs.clear()));
    assert_eq!(gate(), open);
    push(&replica, &origin.delete("b"));
    assert!(matches!(gate(), Gate::Refused(_)));
    assert_same(&replica, &origin);
}

#[test]
fn an_export_is_of_the_commit_at_which_it_began() {
    let mut origin = Origin::new();
    for number in 0..3000 {
        origin.create(&format!("k{number}"), &format!("text {number}"));
    }
    let replica = filled(&origin);
    let expected = origin.export();
    let Outcome::Answer(answer) =
        replica.read(&Read::parse("com.atproto.sync.getRepo", "did=did:web:alice.test").unwrap()).unwrap()
    else {
        panic!()
    };
    let Some(CarBody::Repo(mut going)) = answer.body else { panic!() };
    let mut all = going.next_chunk().unwrap().unwrap();
    for number in 0..200 {
        assert_eq!(push(&replica, &origin.delete(&format!("k{}", number * 15))).outcome, Said::Applied);
    }
    while let Some(chunk) = going.next_chunk().unwrap() {
        all.extend(chunk);
    }
    assert!(all == expected);
    drop(going);
    assert_same(&replica, &origin);
    assert!(replica.sql.exec("SELECT 1 FROM block WHERE retired = 1", Vec::new()).unwrap().is_empty());
}

#[test]
fn what_cannot_be_told_has_the_replica_filled_anew() {
    let mut origin = Origin::new();
    let replica = filled(&origin);
    let commit = {
        use shared::repo::Blockstore as _;
        let bytes = origin.blocks.get(&origin.head.commit).unwrap().unwrap();
        Block { cid: origin.head.commit.clone(), bytes }
    };
    let sync = stamped(&Event::Sync(Sync::at(origin.did.clone(), origin.head.rev, &commit)));
    for change in [Change::Unknown, Change::Commit(PushedCommit { frame: sync, blobs: Vec::new() })] {
        fill(&replica, &origin);
        assert_eq!(push(&replica, &origin.pushed(change)).outcome, Said::Behind);
        assert_eq!(replica.presence().unwrap(), Presence::Filling);
    }
}

#[test]
fn it_is_the_same_after_the_object_began_anew() {
    let mut origin = Origin::new();
    origin.create("a", "1");
    let replica = filled(&origin);
    push(&replica, &origin.create("b", "2"));
    push(&replica, &Push { previous: Position(99), ..origin.create("c", "3") });
    let Ok(sql) = std::rc::Rc::try_unwrap(replica.sql) else { panic!() };
    let again = Replica::new(sql);
    assert_eq!(again.presence().unwrap(), Presence::Serving);
    let leased = Freshness { until: NOW + 10, ..crate::fresh::Region::default().of(&origin.did) };
    assert_eq!(again.judge(&leased, NOW, false, 0).unwrap(), Verdict::Pull);
}

#[test]
fn a_record_whose_block_is_gone_is_never_said_not_to_be_there() {
    let mut origin = Origin::new();
    origin.create("a", "1");
    let replica = filled(&origin);
    replica.sql.exec("DELETE FROM block WHERE cid = ?", vec![(&record("1").cid).into()]).unwrap();
    for (nsid, query) in [
        ("com.atproto.repo.getRecord", "repo=alice.test&collection=com.example.note&rkey=a"),
        ("com.atproto.repo.listRecords", "repo=alice.test&collection=com.example.note"),
        ("com.atproto.sync.getRecord", "did=did:web:alice.test&collection=com.example.note&rkey=a"),
    ] {
        let failed = replica.read(&Read::parse(nsid, query).unwrap());
        assert!(matches!(failed, Err(ReplicaError::Damaged(_))), "{nsid}");
    }
}

#[test]
fn another_account_or_handle_is_the_origins() {
    let origin = Origin::new();
    let replica = filled(&origin);
    for query in ["repo=bob.test", "repo=did:web:bob.test"] {
        assert_eq!(ask(&replica, "com.atproto.repo.describeRepo", query), None);
    }
    assert_eq!(replica.well_known(&"alice.test".parse().unwrap()).unwrap(), Some(origin.did.clone()));
    assert_eq!(replica.well_known(&"bob.test".parse().unwrap()).unwrap(), None);
    let (status, described) = text(ask(&replica, "com.atproto.repo.describeRepo", "repo=alice.test"));
    assert_eq!(status, 200);
    assert!(described.contains(r#""handleIsCorrect":true"#), "{described}");
    let push = Push { account: Did::parse("did:web:bob.test").unwrap(), ..Origin::new().create("a", "1") };
    assert!(replica.push(&push, &[], NOW).is_err());
}
