//! Reading and writing CAR files beside the one thing that reading cannot do without, SHA-256 of the same bytes.
//!
//! `cargo bench -p shared --bench car`. Each line is the median of many rounds over the beginning of an export: 1,000
//! blocks of 100 to 1,000 bytes, as records and tree nodes are, read in chunks of 64 KiB.
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use shared::cid::Cid;
use shared::repo::Block;
use shared::repo::car::{self, CarReader, MAX_BLOCK_LEN};

const BLOCKS: usize = 1_000;
const CHUNK: usize = 64 * 1024;
const ROUNDS: usize = 401;

fn main() {
    let blocks = blocks();
    let file = Bytes::from(car::to_vec(&Cid::of_cbor(b"root"), &blocks));
    println!("{} blocks, {} bytes", blocks.len(), file.len());

    let mut buffer = Vec::with_capacity(2 * CHUNK);
    let mut times = [const { Vec::<Duration>::new() }; 4];
    for _ in 0..ROUNDS {
        // In turn, so that whatever else the machine does falls on all of them alike.
        times[0].push(time(|| {
            black_box(Sha256::digest(&file));
        }));
        times[1].push(time(|| {
            for block in &blocks {
                black_box(Sha256::digest(&block.bytes));
            }
        }));
        times[2].push(time(|| assert_eq!(read(&file), BLOCKS)));
        times[3].push(time(|| write(&blocks, &mut buffer)));
    }
    let medians = times.map(|mut times| {
        times.sort_unstable();
        times[ROUNDS / 2].as_secs_f64()
    });
    for (what, seconds) in ["sha-256, file as one", "sha-256, block by block", "read", "write"].iter().zip(medians) {
        let rate = file.len() as f64 / seconds / 1e6;
        println!("{what:24} {:>7.2} ms {rate:>7.0} MB/s {:>5.2} x", seconds * 1e3, seconds / medians[0]);
    }
}

fn blocks() -> Vec<Block> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let block = |len| {
        let bytes: Vec<u8> = (0..len).map(|_| next() as u8).collect();
        Block { cid: Cid::of_cbor(&bytes), bytes: bytes.into() }
    };
    (0..BLOCKS).map(|at| 100 + at * 7919 % 900).map(block).collect()
}

fn read(file: &Bytes) -> usize {
    let mut reader = CarReader::new(MAX_BLOCK_LEN);
    let mut count = 0;
    let mut rest = file.clone();
    while !rest.is_empty() {
        reader.push(rest.split_to(CHUNK.min(rest.len())));
        while let Ok(Some(block)) = reader.next_block() {
            black_box(block);
            count += 1;
        }
    }
    assert_eq!(reader.finish(), Ok(()));
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

fn time(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}
