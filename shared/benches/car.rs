//! Reading and writing CAR files beside the one thing that reading cannot do without, SHA-256 of the same bytes.
//!
//! The file is the beginning of an export: 1,000 blocks of 100 to 1,000 bytes, as records and tree nodes are, read in
//! chunks of 64 KiB and written through a buffer of that size.

use std::hint::black_box;

use bytes::Bytes;
use criterion::Criterion;
use sha2::{Digest, Sha256};
use shared::cid::Cid;
use shared::repo::Block;
use shared::repo::car::{self, CarReader, MAX_BLOCK_LEN};

use crate::figures::{Group, Numbers};

const BLOCKS: usize = 1_000;
const CHUNK: usize = 64 * 1024;

pub(crate) fn run(criterion: &mut Criterion) {
    let blocks = blocks();
    let file = Bytes::from(car::to_vec(&Cid::of_cbor(b"root"), &blocks));
    let mut buffer = Vec::with_capacity(2 * CHUNK);
    let len = file.len();
    Group::new("car: an export")
        .bytes("sha-256, the file as one", len, || Sha256::digest(&file))
        .note(move || format!("{BLOCKS} blocks, {len} bytes"))
        .bytes("sha-256, block by block", len, || {
            for block in &blocks {
                black_box(Sha256::digest(&block.bytes));
            }
        })
        .bytes("read, every block checked", len, || assert_eq!(read(&file), BLOCKS))
        .bytes("write", len, || write(&blocks, &mut buffer))
        .run(criterion);
}

fn blocks() -> Vec<Block> {
    let mut numbers = Numbers(1);
    let mut block = |len: usize| {
        let bytes: Vec<u8> = numbers.by_ref().take(len).map(|number| number as u8).collect();
        Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
    };
    (0..BLOCKS).map(|at| block(100 + at * 7919 % 900)).collect()
}

fn read(file: &Bytes) -> usize {
    let mut reader = CarReader::new(MAX_BLOCK_LEN);
    let mut count = 0;
    let mut rest = file.clone();
    while !rest.is_empty() {
        reader.push(rest.split_to(CHUNK.min(rest.len())));
        while let Some(block) = reader.next_block().unwrap() {
            black_box(block);
            count += 1;
        }
    }
    reader.finish().unwrap();
    count
}

fn write(blocks: &[Block], buffer: &mut Vec<u8>) {
    for block in blocks {
        car::section(&block.cid, &block.bytes, buffer);
        if buffer.len() >= CHUNK {
            black_box(&buffer);
            buffer.clear();
        }
    }
    buffer.clear();
}
