//! What an event costs: encoded when it happens, stamped once live and once per replay, decoded by a consumer.
//!
//! The event is a commit of one record with 6 KB of blocks, as a repository of a hundred thousand records makes them.

use criterion::Criterion;
use shared::cid::Cid;
use shared::firehose::{Commit, Event, Frame, Seq};
use shared::repo::RepoOp;
use shared::syntax::{Datetime, Did, Path, Tid};

use crate::figures::Group;

pub(crate) fn run(criterion: &mut Criterion) {
    let seq = Seq::new(123_456_789).unwrap();
    let time = Datetime::from_unix_millis(1_750_000_000_000);
    let path = Path::parse("app.bsky.feed.post/3jzfcijpj2z2a").unwrap();
    let event = Event::Commit(Commit {
        repo: Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz").unwrap(),
        rev: Tid::from_parts(1_750_000_000_000_000, 7),
        since: Some(Tid::from_parts(1_740_000_000_000_000, 7)),
        commit: Cid::of_cbor(b"commit"),
        prev_data: Some(Cid::of_cbor(b"data")),
        ops: vec![RepoOp::create(path, Cid::of_cbor(b"record"))],
        blocks: vec![7; 6_000].into(),
    });
    let body = event.encode().unwrap();
    let frame = body.stamp(seq, &time).unwrap();
    Group::new("firehose: an event of 6 kB")
        .once("encode", || event.encode().unwrap())
        .once("stamp", || body.stamp(seq, &time).unwrap())
        .once("decode", || Frame::decode(&frame).unwrap())
        .run(criterion);
}
