//! What decoders allocate is bounded by what they were given, not by what it says.
//!
//! Every input is tried whole, damaged and invented. The bounds are a factor of the input's length and a constant: a
//! decoder that believed an announced length or count would be millions above them.
#![expect(clippy::unwrap_used, reason = "a test that cannot unwrap has failed")]

use allocation_counter::measure;
use bytes::Bytes;
use proptest::prelude::*;
use shared::cbor;
use shared::cid::Cid;
use shared::firehose::{Account, Body, Event, Frame, Kind, Seq};
use shared::link::{self, Change, Lease, Position, PullAnswer, Push, PushedCommit, RegionAnswer, SnapshotReader};
use shared::repo::Block;
use shared::repo::car::{self, CarReader, MAX_BLOCK_LEN};
use shared::syntax::{Datetime, Did};

const KIB: u64 = 1024;

/// For each list of a message `serde` reserves what the list announces, but never more than 1 MiB; lists nest four deep.
const SERDE_RESERVE: u64 = 4 * 1024 * KIB;

fn peak(run: impl FnOnce()) -> u64 {
    measure(run).bytes_max
}

fn read_car(chunks: &[Bytes]) {
    let mut reader = CarReader::new(MAX_BLOCK_LEN);
    for chunk in chunks {
        reader.push(chunk.clone());
        while let Ok(Some(block)) = reader.next_block() {
            drop(block);
        }
    }
    drop(reader.finish());
}

fn read_snapshot(chunks: &[Bytes]) {
    let mut reader = SnapshotReader::new();
    for chunk in chunks {
        reader.push(chunk.clone());
        while let Ok(Some(item)) = reader.next_item() {
            drop(item);
        }
    }
    drop(reader.finish());
}

fn check(input: &[u8], chunk: usize) -> Result<(), TestCaseError> {
    let len = input.len() as u64;
    let whole = Bytes::copy_from_slice(input);
    let chunks: Vec<Bytes> =
        (0..input.len()).step_by(chunk).map(|at| whole.slice(at..input.len().min(at + chunk))).collect();
    let body = Body::from_stored(Kind::Commit, whole.clone());
    let time = Datetime::from_unix_millis(0);
    let peaks = [
        ("cbor value", peak(|| drop(cbor::decode(input))), 64 * len + 2 * KIB),
        ("car in chunks", peak(|| read_car(&chunks)), 4 * len + 2 * KIB),
        ("car whole", peak(|| drop(car::read(whole.clone(), MAX_BLOCK_LEN))), 40 * len + 2 * KIB),
        ("frame", peak(|| drop(Frame::decode(&whole))), 8 * len + 2 * KIB),
        ("stored body", peak(|| drop(body.decode())), 8 * len + 2 * KIB),
        ("stamp", peak(|| drop(Seq::new(1).map(|seq| body.stamp(seq, &time)))), 4 * len + 2 * KIB),
        ("push", peak(|| drop(link::decode::<Push>(input))), 16 * len + SERDE_RESERVE),
        ("pull answer", peak(|| drop(link::decode::<PullAnswer>(input))), 16 * len + SERDE_RESERVE),
        ("region answer", peak(|| drop(link::decode::<RegionAnswer>(input))), 16 * len + SERDE_RESERVE),
        ("snapshot", peak(|| read_snapshot(&chunks)), 16 * len + SERDE_RESERVE),
    ];
    for (what, peak, bound) in peaks {
        prop_assert!(peak <= bound, "{what}: {peak} bytes for {len} of input, bound {bound}");
    }
    Ok(())
}

fn car_of(blocks: &[Vec<u8>]) -> Vec<u8> {
    let blocks: Vec<Block> =
        blocks.iter().map(|bytes| Block { cid: Cid::of_cbor(bytes), bytes: bytes.clone().into() }).collect();
    car::to_vec(&Cid::of_cbor(b"root"), &blocks)
}

fn push(frame: &[u8]) -> Push {
    Push {
        account: Did::parse("did:plc:asdf123").unwrap(),
        position: Position(2),
        previous: Position(1),
        change: Change::Commit(PushedCommit { frame: Bytes::copy_from_slice(frame), blobs: vec![] }),
    }
}

#[test]
fn announced_lengths_are_not_believed() {
    let header = car_of(&[]);
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let just_allowed = [0x80, 0x80, 0x80, 0x01];
    let frame = [0xa1, 0x62, b'o', b'p', 0x01];
    for (start, announced) in [
        (&header[..], &huge[..]),
        (&header, &just_allowed),
        (&[], &huge),
        (&[], &[0x9b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
        (&[], &[0xbb, 0x00, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff]),
        (&[], &[0x5b, 0x00, 0x00, 0x00, 0x00, 0x7f, 0xff, 0xff, 0xff]),
        (&frame, &[0xba, 0x7f, 0xff, 0xff, 0xff]),
        (&frame, &[0xa1, 0x61, b'x', 0x9a, 0x7f, 0xff, 0xff, 0xff]),
        (&[0xa1, 0x66, b'c', b'h', b'a', b'n', b'g', b'e', b'd'], &[0x9a, 0x7f, 0xff, 0xff, 0xff]),
        (
            &[0xa1, 0x66, b'c', b'o', b'm', b'm', b'i', b't'],
            &[0xa1, 0x65, b'f', b'r', b'a', b'm', b'e', 0x5a, 0x7f, 0, 0, 0],
        ),
    ] {
        let input = [start, announced, b"x"].concat();
        check(&input, 3).unwrap();
    }
}

#[test]
fn lengths_announced_on_every_level_are_not_believed_either() {
    for level in [&[0x99, 0x04, 0x00][..], &[0xb9, 0x04, 0x00, 0x61, b'x']] {
        let input = [level.repeat(250), vec![0; 3000]].concat();
        check(&input, 500).unwrap();
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_cost_what_they_weigh(input in prop::collection::vec(any::<u8>(), 0..2_000), chunk in 1..500_usize) {
        check(&input, chunk)?;
    }

    #[test]
    fn damaged_files_frames_and_messages_cost_what_they_weigh(
        blocks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..8),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        chunk in 1..500_usize,
    ) {
        let event = Event::Account(Account::active(Did::parse("did:plc:asdf123").unwrap()));
        let frame = event.encode().unwrap().stamp(Seq::new(7).unwrap(), &Datetime::from_unix_millis(0)).unwrap();
        let pulled = PullAnswer::Changes { pushes: blocks.iter().map(|block| push(block)).collect(), more: true, lease: Lease { millis: 1 } };
        for mut input in [car_of(&blocks), frame.to_vec(), link::encode(&pulled).unwrap()] {
            check(&input, chunk)?;
            let at = at.index(input.len());
            input[at] = byte;
            check(&input, chunk)?;
        }
    }
}
