//! DAG-CBOR and JSON beside other libraries, on the blocks that repositories are made of.
//!
//! The blocks are posts, likes, follows, reposts and profiles in about the proportions of the network, and the nodes of a
//! tree over as many records. Each library decodes into its own general value, which allocates for every string; the
//! bytes that come out of ours and of `serde_ipld_dagcbor` are compared before anything is measured. `ciborium` is no
//! judge of strictness, it is here for its speed.

use std::hint::black_box;

use criterion::Criterion;
use ipld_core::ipld::Ipld;
use shared::cbor::{self, Reader};
use shared::cid::Cid;
use shared::data::{Value, json};
use shared::repo::BlockMap;
use shared::repo::mst::Tree;
use shared::syntax::{Datetime, Tid};

use crate::figures::{Group, Numbers};

const RECORDS: usize = 2_000;

pub(crate) fn run(criterion: &mut Criterion) {
    let texts = records();
    let values: Vec<Value> = texts.iter().map(|text| json::parse(text.as_bytes()).unwrap()).collect();
    let records: Vec<Vec<u8>> = values.iter().map(cbor::encode).collect();
    let nodes = nodes(&records);
    for (name, blocks) in [("codec: decode records", &records), ("codec: decode tree nodes", &nodes)] {
        decoding(name, blocks).run(criterion);
    }
    for (name, blocks) in [("codec: encode records", &records), ("codec: encode tree nodes", &nodes)] {
        encoding(name, blocks).run(criterion);
    }
    let len = texts.iter().map(String::len).sum();
    Group::new("codec: json of records")
        .bytes("serde_json", len, || {
            for text in &texts {
                black_box(serde_json::from_str::<serde_json::Value>(text).unwrap());
            }
        })
        .bytes("ours", len, || {
            for text in &texts {
                black_box(json::parse(text.as_bytes()).unwrap());
            }
        })
        .bytes("ours, out", len, || {
            for value in &values {
                black_box(serde_json::to_string(value).unwrap());
            }
        })
        .run(criterion);
}

fn decoding<'a>(name: &'static str, blocks: &'a [Vec<u8>]) -> Group<'a> {
    let len = blocks.iter().map(Vec::len).sum();
    Group::new(name)
        .bytes("serde_ipld_dagcbor", len, each(blocks, dag_cbor))
        .note(move || format!("{} blocks, {len} bytes", blocks.len()))
        .bytes("ours", len, each(blocks, |block| cbor::decode(block).unwrap()))
        .bytes("ciborium", len, each(blocks, ciborium_value))
        .bytes("ours, checked and passed over", len, each(blocks, |block| Reader::new(block).skip().unwrap()))
}

/// Does the same with every block.
fn each<T>(blocks: &[Vec<u8>], decode: fn(&[u8]) -> T) -> impl FnMut() {
    move || {
        for block in blocks {
            black_box(decode(block));
        }
    }
}

fn encoding<'a>(name: &'static str, blocks: &'a [Vec<u8>]) -> Group<'a> {
    let len = blocks.iter().map(Vec::len).sum();
    let ours: Vec<Value> = blocks.iter().map(|block| cbor::decode(block).unwrap()).collect();
    let theirs: Vec<Ipld> = blocks.iter().map(|block| dag_cbor(block)).collect();
    let others: Vec<ciborium::Value> = blocks.iter().map(|block| ciborium_value(block)).collect();
    for ((block, ours), theirs) in blocks.iter().zip(&ours).zip(&theirs) {
        assert_eq!(&cbor::encode(ours), block);
        assert_eq!(&serde_ipld_dagcbor::to_vec(theirs).unwrap(), block);
    }
    Group::new(name)
        .bytes("serde_ipld_dagcbor", len, move || {
            for value in &theirs {
                black_box(serde_ipld_dagcbor::to_vec(value).unwrap());
            }
        })
        .bytes("ours", len, move || {
            for value in &ours {
                black_box(cbor::encode(value));
            }
        })
        .bytes("ciborium", len, move || {
            for value in &others {
                let mut out = Vec::new();
                ciborium::into_writer(value, &mut out).unwrap();
                black_box(out);
            }
        })
}

fn dag_cbor(block: &[u8]) -> Ipld {
    serde_ipld_dagcbor::from_slice(block).unwrap()
}

fn ciborium_value(block: &[u8]) -> ciborium::Value {
    ciborium::from_reader(block).unwrap()
}

/// The nodes of a tree over these records.
fn nodes(records: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let nothing = BlockMap::default();
    let mut tree = Tree::empty(&nothing);
    for (at, record) in (0..).zip(records) {
        let key = format!("app.bsky.feed.like/{}", Tid::from_parts(1_700_000_000_000_000 + at * 40_000_000, 7));
        tree.set(&key, Cid::of_cbor(record)).unwrap();
    }
    tree.write().unwrap().new.into_iter().map(|node| node.bytes.to_vec()).collect()
}

/// JSON texts of records: of twenty, nine likes, four posts, three follows, three reposts and a profile.
fn records() -> Vec<String> {
    let mut numbers = Numbers(1);
    (0..RECORDS).map(|at| record(at % 20, &mut numbers)).collect()
}

fn record(kind: usize, numbers: &mut Numbers) -> String {
    let created = Datetime::from_unix_millis(1_700_000_000_000 + numbers.next().unwrap() as i64);
    let did = format!("did:plc:{:0>24}", base32(numbers.next().unwrap()));
    let cid = Cid::of_cbor(&numbers.next().unwrap().to_be_bytes());
    let tid = Tid::from_parts(1_700_000_000_000_000 + numbers.next().unwrap(), 3);
    let subject = format!(r#"{{"cid":"{cid}","uri":"at://{did}/app.bsky.feed.post/{tid}"}}"#);
    let text = words(numbers);
    match kind {
        0..9 => format!(r#"{{"$type":"app.bsky.feed.like","createdAt":"{created}","subject":{subject}}}"#),
        9..11 => format!(r#"{{"$type":"app.bsky.feed.post","createdAt":"{created}","langs":["en"],"text":"{text}"}}"#),
        11 => format!(
            r#"{{"$type":"app.bsky.feed.post","createdAt":"{created}","langs":["de","en"],"text":"{text}",
            "reply":{{"parent":{subject},"root":{subject}}}}}"#
        ),
        12 => format!(
            r##"{{"$type":"app.bsky.feed.post","createdAt":"{created}","langs":["ja"],"text":"写真です {text} #tag",
            "facets":[{{"features":[{{"$type":"app.bsky.richtext.facet#tag","tag":"tag"}}],
                "index":{{"byteEnd":120,"byteStart":116}}}}],
            "embed":{{"$type":"app.bsky.embed.images","images":[{{"alt":"{text}",
                "aspectRatio":{{"height":1500,"width":2000}},"image":{{"$type":"blob",
                "ref":{{"$link":"{}"}},"mimeType":"image/jpeg","size":{}}}}}]}}}}"##,
            Cid::of_raw(text.as_bytes()),
            numbers.next().unwrap() % 1_000_000
        ),
        13..16 => format!(r#"{{"$type":"app.bsky.graph.follow","createdAt":"{created}","subject":"{did}"}}"#),
        16..19 => format!(r#"{{"$type":"app.bsky.feed.repost","createdAt":"{created}","subject":{subject}}}"#),
        _ => format!(
            r#"{{"$type":"app.bsky.actor.profile","createdAt":"{created}","displayName":"Ä {did}",
            "description":"{text}\n{text}","pinnedPost":{subject},"avatar":{{"$type":"blob",
            "ref":{{"$link":"{}"}},"mimeType":"image/png","size":314159}}}}"#,
            Cid::of_raw(did.as_bytes())
        ),
    }
}

fn base32(mut number: u64) -> String {
    let mut out = String::new();
    while number > 0 {
        out.push(char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(number % 32) as usize]));
        number /= 32;
    }
    out
}

fn words(numbers: &mut Numbers) -> String {
    const WORDS: [&str; 12] =
        ["the", "sky", "over", "märchen", "is", "blue", "again", "und", "so", "weiter", "🌈", "ends"];
    let count = 4 + numbers.next().unwrap() as usize % 40;
    numbers.take(count).map(|n| WORDS[n as usize % WORDS.len()]).collect::<Vec<_>>().join(" ")
}
