//! A write from end to end: one new post in a repository of 10,000 records, up to the frame that tells the world.

use bytes::Bytes;
use criterion::Criterion;
use shared::cbor;
use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::data::json;
use shared::firehose::{Commit, Event, Frame, Seq, verify};
use shared::lexicon::Catalog;
use shared::repo::{BlockMap, CommitDiff, Head, Record, Repo, Write};
use shared::syntax::{Datetime, Did, Nsid, Path, RecordKey, Tid};

use crate::figures::Group;

const RECORDS: u64 = 10_000;
const COLLECTION: &str = "app.bsky.feed.post";

pub(crate) fn run(criterion: &mut Criterion) {
    let repository = Repository::new();
    let p256 = SigningKey::from_bytes(Curve::P256, &[7; 32]).unwrap();
    let (catalog, collection) = (Catalog::builtin(), Nsid::parse(COLLECTION).unwrap());
    let text = post(RECORDS);
    let written = repository.apply(create(RECORDS), &repository.key);
    let frame = frame(&repository, &written);
    let len = frame.len();
    let Ok(Frame::Event { event: Event::Commit(event), .. }) = Frame::decode(&frame) else { return };
    let known = verify::Known { rev: repository.head.rev, data: repository.head.data.clone() };
    Group::new("apply: one create among 10,000 records")
        .once("Repo::apply", || repository.apply(create(RECORDS), &repository.key))
        .note(|| "the record encoded and hashed, the tree edited, the commit signed with k256, the proof".to_owned())
        .once("the same, signed with p256", || repository.apply(create(RECORDS), &p256))
        .once("a signature alone, k256", || repository.key.sign(&[7; 120]))
        .once("JSON parsed and held against its lexicon", || {
            let value = json::parse(text.as_bytes()).unwrap();
            let rkey = RecordKey::parse(Tid::from_parts(1, 1).as_str()).unwrap();
            catalog.validate_record(&collection, &rkey, &value).unwrap();
        })
        .once("event encoded and stamped", || self::frame(&repository, &written))
        .note(move || format!("{len} bytes"))
        .once("event verified and undone by a consumer", || {
            let key = repository.key.public_key();
            verify::verify_commit(&event, Some(&known), &key, u64::MAX >> 12).unwrap();
        })
        .run(criterion);
}

struct Repository {
    did: Did,
    key: SigningKey,
    head: Head,
    blocks: BlockMap,
}

impl Repository {
    fn new() -> Self {
        let did = Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap();
        let key = SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap();
        let mut blocks = BlockMap::default();
        let mut head = None;
        for start in (0..RECORDS).step_by(200) {
            let writes = (start..start + 200).map(create).collect();
            let repo = Repo { did: &did, head: head.as_ref(), blocks: &blocks };
            let diff = repo.apply(writes, &key, rev(start)).unwrap().unwrap();
            for cid in &diff.removed {
                blocks.remove(cid);
            }
            blocks.extend(diff.new_blocks().cloned());
            head = Some(diff.head);
        }
        Self { did, key, head: head.unwrap(), blocks }
    }

    fn apply(&self, write: Write, key: &SigningKey) -> CommitDiff {
        let repo = Repo { did: &self.did, head: Some(&self.head), blocks: &self.blocks };
        repo.apply(vec![write], key, rev(RECORDS)).unwrap().unwrap()
    }
}

fn rev(at: u64) -> Tid {
    Tid::from_parts(1_750_000_000_000_000 + at, 7)
}

fn post(at: u64) -> String {
    format!(
        r#"{{"$type":"{COLLECTION}","text":"this is number {at} and it has something to say, as they all do",
        "createdAt":"2026-01-02T03:04:05.678Z","langs":["en"]}}"#
    )
}

fn create(at: u64) -> Write {
    let bytes = Bytes::from(cbor::encode(&json::parse(post(at).as_bytes()).unwrap()));
    let path = Path::parse(&format!("{COLLECTION}/{}", Tid::from_parts(1_700_000_000_000_000 + at * 60_000_000, 7)));
    Write::Create { path: path.unwrap(), record: Record { cid: Cid::of_cbor(&bytes), bytes } }
}

fn frame(repository: &Repository, diff: &CommitDiff) -> Bytes {
    let event = Event::Commit(Commit::of(repository.did.clone(), diff));
    let time = Datetime::from_unix_millis(1_750_000_000_000);
    event.encode().unwrap().stamp(Seq::new(123_456_789).unwrap(), &time).unwrap()
}
