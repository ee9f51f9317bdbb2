//! A repository of any size, made as it is sent: it is never whole in memory, nor on a disk.
//!
//! Its records differ in one number, so that each can be made again from that; what is kept of them is the tree over
//! them. It is signed by a key of its own, as one that comes from another host is.

use std::io;

use bytes::Bytes;
use futures_util::stream::{self, Stream};
use shared::cbor;
use shared::cid::Cid;
use shared::crypto::{Curve, SigningKey};
use shared::data::json;
use shared::repo::commit::Commit;
use shared::repo::mst::Tree;
use shared::repo::{Block, BlockMap, car};
use shared::syntax::{Did, Tid};

/// The collection of its records.
const COLLECTION: &str = "com.example.note";

/// When the first record was made, in microseconds; each later one a microsecond after.
const FIRST_MICROS: u64 = 1_700_000_000_000_000;
/// What stands in every record in the place of its number.
const PLACE: &str = "################";
/// At least how many bytes are sent at a time.
const PIECE_LEN: usize = 64 * 1024;

/// A repository to be sent.
#[derive(Debug)]
pub struct Repository {
    template: Vec<u8>,
    place: usize,
    records: u64,
    commit: Block,
    nodes: Vec<Block>,
}

impl Repository {
    /// That of `did` with so many records, each of about `len` bytes.
    pub fn new(did: &str, records: u64, len: usize) -> Self {
        let text = format!("{PLACE}{}", "a".repeat(len.saturating_sub(PLACE.len())));
        let record = serde_json::json!({ "$type": COLLECTION, "text": text });
        let template = cbor::encode(&json::parse(&serde_json::to_vec(&record).unwrap()).unwrap());
        let place = template.windows(PLACE.len()).position(|part| part == PLACE.as_bytes()).unwrap();
        let none = BlockMap::default();
        let mut tree = Tree::empty(&none);
        for number in 0..records {
            let record = record_of(&template, place, number);
            tree.set(&format!("{COLLECTION}/{}", rkey(number)), Cid::of_cbor(&record)).unwrap();
        }
        let written = tree.write().unwrap();
        let key = SigningKey::from_bytes(Curve::K256, &[77; 32]).unwrap();
        let commit = Commit::sign(Did::parse(did).unwrap(), rkey(records), written.root, &key).to_block();
        Self { template, place, records, commit, nodes: written.new }
    }

    /// As a CAR file: the commit, the tree, then the records, each made when its turn comes.
    pub fn file(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let head = car::header(std::slice::from_ref(&self.commit.cid));
        stream::unfold((self, head, 0), |(of, mut piece, mut sent)| async move {
            while piece.len() < PIECE_LEN && sent < of.blocks() {
                let block = of.block(sent);
                car::section(&block.cid, &block.bytes, &mut piece);
                sent += 1;
            }
            (!piece.is_empty()).then(|| (Ok(piece.into()), (of, Vec::new(), sent)))
        })
    }

    fn blocks(&self) -> u64 {
        1 + self.nodes.len() as u64 + self.records
    }

    /// The block at a place in the file.
    fn block(&self, at: u64) -> Block {
        let nodes = self.nodes.len() as u64;
        match at.checked_sub(1) {
            None => self.commit.clone(),
            Some(at) if at < nodes => self.nodes[at as usize].clone(),
            Some(at) => {
                let bytes = record_of(&self.template, self.place, at - nodes);
                Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
            }
        }
    }
}

fn rkey(number: u64) -> Tid {
    Tid::from_parts(FIRST_MICROS + number, 0)
}

fn record_of(template: &[u8], place: usize, number: u64) -> Vec<u8> {
    let mut record = template.to_vec();
    record[place..place + PLACE.len()].copy_from_slice(format!("{number:016x}").as_bytes());
    record
}
