//! What an event costs: encoded when it happens, stamped once live and once per replay, decoded by a consumer.
//!
//! `cargo bench -p shared --bench firehose`. The event is a commit of one record with 6 KB of blocks, as a repository of
//! a hundred thousand records makes them.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use shared::cid::Cid;
use shared::firehose::{Commit, Event, Frame, Seq};
use shared::repo::RepoOp;
use shared::syntax::{Datetime, Did, Path, Tid};

const EVENTS: u32 = 200_000;

fn main() {
    let (Some(seq), Ok(repo), Ok(path)) = (
        Seq::new(123_456_789),
        Did::parse("did:plc:ewvi7nxzyoun6zhxrhs64oiz"),
        Path::parse("app.bsky.feed.post/3jzfcijpj2z2a"),
    ) else {
        return;
    };
    let time = Datetime::from_unix_millis(1_750_000_000_000);
    let event = Event::Commit(Commit {
        repo,
        rev: Tid::from_parts(1_750_000_000_000_000, 7),
        since: Some(Tid::from_parts(1_740_000_000_000_000, 7)),
        commit: Cid::of_cbor(b"commit"),
        prev_data: Some(Cid::of_cbor(b"data")),
        ops: vec![RepoOp::create(path, Cid::of_cbor(b"record"))],
        blocks: vec![7; 6_000].into(),
    });
    let Ok(body) = event.encode() else { return };
    let Ok(frame) = body.stamp(seq, &time) else { return };
    each("encode", || drop(black_box(event.encode())));
    each("stamp", || drop(black_box(body.stamp(seq, &time))));
    each("decode", || drop(black_box(Frame::decode(&frame))));
}

fn each(what: &str, mut run: impl FnMut()) {
    let start = Instant::now();
    for _ in 0..EVENTS {
        run();
    }
    println!("{what:8} {:>7.0} ns", start.elapsed().as_secs_f64() / f64::from(EVENTS) * 1e9);
}
