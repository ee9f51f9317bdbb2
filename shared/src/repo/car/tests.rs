//! CAR files both ways, in any chunks, and what is no such file.

use bytes::Bytes;
use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::cbor::CborErrorKind;
use crate::repo::Block;

fn block(bytes: &[u8]) -> Block {
    Block { cid: Cid::of_cbor(bytes), bytes: Bytes::copy_from_slice(bytes) }
}

fn foreign(bytes: &[u8]) -> Block {
    let blake3 = [&[1, 0x71, 0x1e, 32][..], &[7; 32]].concat();
    Block { cid: Cid::from_bytes(&blake3).unwrap(), bytes: Bytes::copy_from_slice(bytes) }
}

fn read_all(file: &[u8]) -> Result<Car, CarError> {
    read(Bytes::copy_from_slice(file), MAX_BLOCK_LEN)
}

/// A file with one root and the given bytes after the header.
fn with_tail(tail: &[u8]) -> Vec<u8> {
    [header(&[Cid::of_cbor(b"root")]), tail.to_vec()].concat()
}

fn with_header(cbor_hex: &str) -> Vec<u8> {
    let cbor = HEXLOWER.decode(cbor_hex.as_bytes()).unwrap();
    let mut file = Vec::new();
    pieces::write_length(cbor.len(), &mut file);
    file.extend_from_slice(&cbor);
    file
}

/// Feeds `file` cut at the given places; what came out before an error, and the error.
fn read_in_chunks(file: &[u8], cuts: &[usize]) -> (Vec<Block>, Option<Vec<Cid>>, Result<(), CarError>) {
    let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (file.len() + 1)).collect();
    cuts.extend([0, file.len()]);
    cuts.sort_unstable();
    let mut reader = CarReader::new(MAX_BLOCK_LEN);
    let mut blocks = Vec::new();
    for pair in cuts.windows(2) {
        reader.push(Bytes::copy_from_slice(&file[pair[0]..pair[1]]));
        loop {
            match reader.next_block() {
                Ok(Some(block)) => blocks.push(block),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next_block(), Err(error.clone()), "a failed reader stays failed");
                    let roots = reader.roots().map(<[_]>::to_vec);
                    assert_eq!(reader.finish(), Err(error.clone()));
                    return (blocks, roots, Err(error));
                }
            }
        }
    }
    (blocks, reader.roots().map(<[_]>::to_vec), reader.finish())
}

#[test]
fn a_file_is_written_as_the_format_says() {
    let block = Block { cid: Cid::of_raw(b"x"), bytes: Bytes::from_static(b"x") };
    let link = format!("d82a582500{}", HEXLOWER.encode(block.cid.as_bytes()));
    let expected =
        format!("3aa265726f6f747381{link}6776657273696f6e01{:x}{}78", 37, HEXLOWER.encode(block.cid.as_bytes()));
    assert_eq!(HEXLOWER.encode(&to_vec(&block.cid, [&block])), expected);
}

#[test]
fn blocks_within_a_chunk_are_slices_of_it() {
    let blocks = [block(b"one"), block(b"two")];
    let file = Bytes::from(to_vec(&blocks[0].cid, &blocks));
    let car = read(file.clone(), MAX_BLOCK_LEN).unwrap();
    assert_eq!(car.single_root().unwrap(), &blocks[0].cid);
    assert_eq!(car.blocks, blocks);
    for block in &car.blocks {
        assert!(file.as_ptr_range().contains(&block.bytes.as_ptr()));
    }
}

#[test]
fn any_order_repetition_and_foreign_leaves_are_accepted() {
    let blocks = [block(b"b"), foreign(b"anything"), block(b"a"), block(b"b"), block(b"")];
    let car = read_all(&to_vec(&Cid::of_cbor(b"absent"), &blocks)).unwrap();
    assert_eq!(car.blocks, blocks);
    assert!(!car.blocks[1].cid.is_atproto());
}

#[test]
fn a_header_of_anything_but_one_version_1_is_refused() {
    let link = "d82a582500017112205b0fcb1a7ddd3ba0e3a3d60e3b4c7e1d0e5f1e3a2b7c0d8e9f1a2b3c4d5e6f70";
    let cbor = |kind| move |error| matches!(error, CarError::Header(CborError { kind: found, .. }) if found == kind);
    type Is = Box<dyn Fn(CarError) -> bool>;
    let cases: [(String, Is); 9] = [
        // The fixed pragma that every CARv2 file starts with.
        ("a16776657273696f6e02".to_owned(), Box::new(|e| e == CarError::Version(2))),
        ("a16776657273696f6e01".to_owned(), Box::new(cbor(CborErrorKind::MissingField("roots")))),
        (format!("a165726f6f747381{link}"), Box::new(cbor(CborErrorKind::MissingField("version")))),
        (format!("a265726f6f747381{link}6776657273696f6e00"), Box::new(|e| e == CarError::Version(0))),
        (format!("a361610165726f6f747381{link}6776657273696f6e01"), Box::new(cbor(CborErrorKind::UnknownField))),
        (format!("a26776657273696f6e0165726f6f747381{link}"), Box::new(cbor(CborErrorKind::KeyOrder))),
        (format!("a265726f6f747381{link}6776657273696f6e0100"), Box::new(cbor(CborErrorKind::TrailingBytes))),
        ("a265726f6f7473f66776657273696f6e01".to_owned(), Box::new(cbor(CborErrorKind::Expected("an array")))),
        ("f6".to_owned(), Box::new(cbor(CborErrorKind::Expected("a map")))),
    ];
    for (hex, is_expected) in cases {
        let error = read_all(&with_header(&hex)).unwrap_err();
        assert!(is_expected(error.clone()), "{hex}: {error:?}");
    }
}

#[test]
fn a_repository_has_exactly_one_root() {
    let cid = Cid::of_cbor(b"root");
    for roots in [vec![], vec![cid.clone(), cid.clone()]] {
        let car = read_all(&header(&roots)).unwrap();
        assert_eq!(car.single_root(), Err(CarError::Roots(roots.len())));
    }
    let mut reader = CarReader::new(MAX_BLOCK_LEN);
    assert_eq!(reader.single_root(), Ok(None));
    reader.push(header(std::slice::from_ref(&cid)).into());
    assert_eq!(reader.next_block(), Ok(None));
    assert_eq!(reader.single_root(), Ok(Some(&cid)));
}

#[test]
fn a_malformed_section_is_refused_by_name() {
    let good = block(b"block");
    let mut flipped = Vec::new();
    section(&good.cid, b"clock", &mut flipped);
    let v0 = [&[34, 0x12, 0x20][..], &[7; 32]].concat();
    for (tail, expected) in [
        (vec![0], CarError::EmptySection),
        (vec![0x80, 0x00], CarError::Varint),
        (vec![0xa5, 0x80, 0x00], CarError::Varint),
        (vec![0x80; 11], CarError::Varint),
        (vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], CarError::Varint),
        (
            vec![0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            CarError::BlockTooLong { len: u64::MAX, limit: MAX_BLOCK_LEN },
        ),
        (vec![3, 1, 0x71, 0x12], CarError::Cid(CidError::Truncated)),
        (vec![5, 1, 0x71, 0x12, 0x20, 9], CarError::Cid(CidError::DigestLength { announced: 32, found: 1 })),
        (v0, CarError::Cid(CidError::Version(0x12))),
        (flipped, CarError::Mismatch(good.cid)),
    ] {
        assert_eq!(read_all(&with_tail(&tail)), Err(expected), "{tail:x?}");
    }
}

#[test]
fn every_proper_beginning_is_cut_short_or_fewer_blocks() {
    let blocks = [block(b"one"), block(b"two")];
    let file = to_vec(&blocks[0].cid, &blocks);
    let ends: Vec<usize> = (0..=2).map(|count| to_vec(&blocks[0].cid, &blocks[..count]).len()).collect();
    for len in 0..=file.len() {
        match read_all(&file[..len]) {
            Ok(car) => assert_eq!(car.blocks.len(), ends.iter().position(|end| *end == len).unwrap()),
            Err(error) => assert_eq!(error, CarError::Truncated, "{len} bytes"),
        }
        assert_eq!(read_all(&file[..len]).is_ok(), ends.contains(&len));
    }
}

#[test]
fn limits_hold_to_the_byte() {
    let exact = block(&[7; 100]);
    let file = Bytes::from(to_vec(&exact.cid, [&exact]));
    assert_eq!(read(file.clone(), 100).unwrap().blocks, [exact]);
    assert_eq!(read(file, 99), Err(CarError::BlockTooLong { len: 100, limit: 99 }));

    let announced = |len| {
        let mut head = Vec::new();
        pieces::write_length(len, &mut head);
        head
    };
    assert_eq!(read_all(&announced(MAX_HEADER_LEN)), Err(CarError::Truncated));
    let len = MAX_HEADER_LEN as u64 + 1;
    assert_eq!(read_all(&announced(MAX_HEADER_LEN + 1)), Err(CarError::HeaderTooLong { len }));
    let len = (MAX_BLOCK_LEN + crate::cid::MAX_LEN + 1) as u64;
    let refused = read_all(&with_tail(&announced(MAX_BLOCK_LEN + crate::cid::MAX_LEN + 1)));
    assert_eq!(refused, Err(CarError::BlockTooLong { len, limit: MAX_BLOCK_LEN }), "before a byte of it arrives");
}

#[test]
fn an_announced_length_reserves_nothing() {
    let mut reader = CarReader::new(usize::MAX - crate::cid::MAX_LEN);
    let huge = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    reader.push(with_tail(&huge).into());
    for _ in 0..10 {
        assert_eq!(reader.next_block(), Ok(None));
        reader.push(Bytes::from_static(&[1, 0x71]));
    }
    assert_eq!(reader.finish(), Err(CarError::Truncated));
}

#[test]
fn chunks_may_wait() {
    let blocks = [block(&[1; 300]), block(&[2; 300])];
    let file = to_vec(&blocks[0].cid, &blocks);
    let mut reader = CarReader::new(MAX_BLOCK_LEN);
    for byte in &file {
        reader.push(Bytes::copy_from_slice(&[*byte]));
    }
    assert_eq!(reader.next_block(), Ok(Some(blocks[0].clone())));
    assert_eq!(reader.next_block(), Ok(Some(blocks[1].clone())));
    assert_eq!(reader.next_block(), Ok(None));
    assert_eq!(reader.finish(), Ok(()));
}

#[test]
fn lengths_take_as_many_bytes_as_announced() {
    for len in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 0x1f_ffff, 0x20_0000, usize::MAX] {
        let mut out = Vec::new();
        pieces::write_length(len, &mut out);
        assert_eq!(out.len(), pieces::length_len(len), "{len}");
    }
}

fn any_block() -> impl Strategy<Value = Block> {
    let bytes = prop::collection::vec(any::<u8>(), 0..400);
    (bytes, 0..8).prop_map(|(bytes, kind)| match kind {
        0 => foreign(&bytes),
        1 => Block { cid: Cid::of_raw(&bytes), bytes: bytes.into() },
        _ => block(&bytes),
    })
}

proptest! {
    #[test]
    fn blocks_come_out_as_they_went_in_whatever_the_chunks(
        blocks in prop::collection::vec(any_block(), 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let root = Cid::of_cbor(b"root");
        let file = to_vec(&root, &blocks);
        let sections: usize = blocks.iter().map(|block| section_len(&block.cid, block.bytes.len())).sum();
        prop_assert_eq!(file.len(), header(std::slice::from_ref(&root)).len() + sections);
        let (read, roots, end) = read_in_chunks(&file, &cuts);
        prop_assert_eq!(end, Ok(()));
        prop_assert_eq!(roots, Some(vec![root]));
        prop_assert_eq!(read, blocks);
    }

    #[test]
    fn a_damaged_file_gives_the_same_whatever_the_chunks(
        blocks in prop::collection::vec(any_block(), 0..6),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
        cuts in prop::collection::vec(any::<usize>(), 0..40),
    ) {
        let mut file = to_vec(&Cid::of_cbor(b"root"), &blocks);
        let at = at.index(file.len());
        file[at] = byte;
        prop_assert_eq!(read_in_chunks(&file, &[]), read_in_chunks(&file, &cuts));
    }

    #[test]
    fn arbitrary_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), cuts in prop::collection::vec(any::<usize>(), 0..4)) {
        let whole = read_in_chunks(&bytes, &[]);
        prop_assert_eq!(&whole, &read_in_chunks(&bytes, &cuts));
        let (blocks, ..) = read_in_chunks(&with_tail(&bytes), &cuts);
        for block in blocks {
            prop_assert_ne!(block.cid.matches(&block.bytes), Some(false));
        }
    }
}
