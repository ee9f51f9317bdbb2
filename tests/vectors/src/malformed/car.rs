//! CAR files that an import must refuse, whole and byte by byte, and odd ones that it must take.

use bytes::Bytes;
use shared::cbor::CborErrorKind as Kind;
use shared::cid::{Cid, CidError};
use shared::repo::car::{self, Car, CarError, CarReader, MAX_BLOCK_LEN};
use shared::repo::commit::{Commit, CommitError};
use shared::repo::{Block, BlockMap, Blockstore as _};

use super::{NULL, block, commit, item, link, list, map, node};
use crate::report::{Group, Verdict, same};

/// What is wrong with a file.
#[derive(Debug, PartialEq)]
enum Fault {
    /// The file itself.
    Car(CarError),
    /// The encoding of its header.
    Header(Kind),
    /// Its root is no block of the file.
    RootMissing,
    /// Its root is a block, but no commit.
    NoCommit(Kind),
}

/// What an import needs of a file before it looks at any tree: blocks, one root, and that root a commit.
fn import(file: &Car) -> Result<Commit, Fault> {
    let root = file.single_root().map_err(Fault::of_car)?;
    let blocks: BlockMap = file.blocks.iter().cloned().collect();
    let commit = blocks.get(root).ok().flatten().ok_or(Fault::RootMissing)?;
    Commit::from_block(&commit).map_err(|error| match error {
        CommitError::Cbor(error) => Fault::NoCommit(error.kind),
        _ => Fault::RootMissing,
    })
}

impl Fault {
    fn of_car(error: CarError) -> Self {
        match error {
            CarError::Header(error) => Self::Header(error.kind),
            other => Self::Car(other),
        }
    }
}

type Case = (&'static str, Vec<u8>, Fault);

pub(super) fn group() -> Group {
    let sample = Sample::new();
    let cases = headers(&sample).into_iter().chain(lengths(&sample)).chain(blocks(&sample)).collect::<Vec<_>>();
    let odd = odd(&sample);
    let mut group = Group::new("malformed car files", cases.len() + odd.len());
    for (name, file, fault) in cases {
        group.case(name, refused(&file, &fault));
    }
    for (name, file, blocks) in odd {
        group.case(name, taken(&file, blocks));
    }
    group
}

/// What the files are made of: a commit, a block that is none, and the parts of a header.
struct Sample {
    commit: Block,
    other: Block,
    root: Vec<u8>,
    one: Vec<u8>,
}

impl Sample {
    fn new() -> Self {
        let commit = block(commit(|_| {}));
        let root = link(commit.cid.as_bytes());
        Self { commit, other: block(node(&[], NULL)), root, one: item(|writer| writer.int(1)) }
    }

    /// A file of this header and the commit.
    fn with_header(&self, header: &[u8]) -> Vec<u8> {
        [section(header), section(&[self.commit.cid.as_bytes(), &self.commit.bytes].concat())].concat()
    }

    /// A file of these header fields and the commit.
    fn with_fields(&self, fields: &[(&str, &[u8])]) -> Vec<u8> {
        self.with_header(&map(fields))
    }

    /// A file of so many roots, this version, and the commit.
    fn with_roots(&self, count: usize, version: i64) -> Vec<u8> {
        let roots = list(&vec![self.root.clone(); count]);
        self.with_fields(&[("roots", &roots), ("version", &item(|writer| writer.int(version)))])
    }

    /// A good file, then these bytes.
    fn then(&self, bytes: &[u8]) -> Vec<u8> {
        [self.with_roots(1, 1).as_slice(), bytes].concat()
    }

    /// A good file, then a section of this CID and these bytes.
    fn then_block(&self, cid: &[u8], bytes: &[u8]) -> Vec<u8> {
        self.then(&section(&[cid, bytes].concat()))
    }

    /// A good file of these blocks.
    fn of(&self, blocks: &[&Block]) -> Vec<u8> {
        car::to_vec(&self.commit.cid, blocks.iter().copied())
    }
}

/// These bytes behind their length.
fn section(bytes: &[u8]) -> Vec<u8> {
    [length(bytes.len() as u64), bytes.to_vec()].concat()
}

fn length(mut rest: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while rest >= 0x80 {
        out.push((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out
}

fn headers(sample: &Sample) -> Vec<Case> {
    let fields = |fields: &[(&str, &[u8])]| sample.with_fields(fields);
    let (roots, one) = (list(std::slice::from_ref(&sample.root)), sample.one.as_slice());
    let (roots, no_link) = (roots.as_slice(), list(&[item(|writer| writer.text("a"))]));
    let long = map(&[("roots", &list(&vec![sample.root.clone(); 2_000])), ("version", one)]);
    let too_long = |len| Fault::Car(CarError::HeaderTooLong { len });
    const DISK: u64 = 1 << 40;
    vec![
        ("nothing", Vec::new(), Fault::Car(CarError::Truncated)),
        ("half a length", vec![0x80], Fault::Car(CarError::Truncated)),
        ("half a header", sample.with_roots(1, 1)[..20].to_vec(), Fault::Car(CarError::Truncated)),
        ("a header of no bytes", sample.with_header(&[]), Fault::Car(CarError::EmptySection)),
        ("a header above the limit", section(&long), too_long(long.len() as u64)),
        ("a header as long as a disk", [length(DISK), vec![0]].concat(), too_long(DISK)),
        ("a header that is a list", sample.with_header(&list(&[])), Fault::Header(Kind::Expected("a map"))),
        (
            "a header with a field too many",
            fields(&[("extra", one), ("roots", roots), ("version", one)]),
            Fault::Header(Kind::UnknownField),
        ),
        ("a header out of order", fields(&[("version", one), ("roots", roots)]), Fault::Header(Kind::KeyOrder)),
        ("a header without roots", fields(&[("version", one)]), Fault::Header(Kind::MissingField("roots"))),
        ("a header without a version", fields(&[("roots", roots)]), Fault::Header(Kind::MissingField("version"))),
        (
            "a root that is text",
            fields(&[("roots", &no_link), ("version", one)]),
            Fault::Header(Kind::Expected("a link")),
        ),
        (
            "the beginning of version 2",
            fields(&[("version", &item(|writer| writer.int(2)))]),
            Fault::Car(CarError::Version(2)),
        ),
        ("version 0", sample.with_roots(1, 0), Fault::Car(CarError::Version(0))),
        ("no roots", sample.with_roots(0, 1), Fault::Car(CarError::Roots(0))),
        ("two roots", sample.with_roots(2, 1), Fault::Car(CarError::Roots(2))),
    ]
}

fn lengths(sample: &Sample) -> Vec<Case> {
    let limit = MAX_BLOCK_LEN;
    let one_more = sample.of(&[&sample.commit, &block(vec![0; limit + 1])]);
    let too_long = |len| Fault::Car(CarError::BlockTooLong { len, limit });
    vec![
        ("a section of no bytes", sample.then(&[0]), Fault::Car(CarError::EmptySection)),
        ("a length of eleven bytes", sample.then(&[0xff; 11]), Fault::Car(CarError::Varint)),
        (
            "a length beyond 64 bits",
            sample.then(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"),
            Fault::Car(CarError::Varint),
        ),
        ("a length longer than it need be", sample.then(&[0xa4, 0x00]), Fault::Car(CarError::Varint)),
        ("half a length at the end", sample.then(&[0x80]), Fault::Car(CarError::Truncated)),
        ("a section longer than the file", sample.then(&[50, 1, 2, 3]), Fault::Car(CarError::Truncated)),
        ("a section as long as a disk", sample.then(&length(1 << 40)), too_long(1 << 40)),
        ("a block one byte above the limit", one_more, too_long(limit as u64 + 1)),
    ]
}

fn blocks(sample: &Sample) -> Vec<Case> {
    let Sample { commit, other, .. } = sample;
    let mut flipped = sample.of(&[commit, other]);
    flipped.iter_mut().next_back().into_iter().for_each(|byte| *byte ^= 1);
    let version_0 = [b"\x12\x20".as_slice(), &[7; 32]].concat();
    let record = block(map(&[]));
    let cid = |error| Fault::Car(CarError::Cid(error));
    let mismatch = || Fault::Car(CarError::Mismatch(other.cid.clone()));
    vec![
        ("a cid of version 0", sample.then_block(&version_0, b"x"), cid(CidError::Version(0x12))),
        ("half a cid", sample.then_block(&[1, 0x71, 0x12], b""), cid(CidError::Truncated)),
        (
            "half a digest",
            sample.then_block(&[1, 0x71, 0x12, 0x20], b"x"),
            cid(CidError::DigestLength { announced: 32, found: 1 }),
        ),
        ("a block with a bit flipped", flipped, mismatch()),
        ("a block under another's cid", sample.then_block(other.cid.as_bytes(), &commit.bytes), mismatch()),
        ("a root that is not there", sample.of(&[other]), Fault::RootMissing),
        ("a root that is a tree node", car::to_vec(&other.cid, [other]), Fault::NoCommit(Kind::UnknownField)),
        (
            "a root that is a record",
            car::to_vec(&record.cid, [&record]),
            Fault::NoCommit(Kind::MissingField("version")),
        ),
    ]
}

/// Files that are taken, and how many blocks each has.
fn odd(sample: &Sample) -> Vec<(&'static str, Vec<u8>, usize)> {
    let Sample { commit, other, .. } = sample;
    let blake3 = [b"\x01\x71\x1e\x20".as_slice(), &[7; 32]].concat();
    vec![
        ("the root first", sample.of(&[commit, other]), 2),
        ("the root last", sample.of(&[other, commit]), 2),
        ("a block twice", sample.of(&[commit, other, other]), 3),
        ("a block of another hash function, which nobody checks", sample.then_block(&blake3, b"x"), 2),
        ("a blob", sample.then_block(Cid::of_raw(b"x").as_bytes(), b"x"), 2),
        ("an empty block", sample.then_block(Cid::of_raw(b"").as_bytes(), b""), 2),
        ("a block of the largest size", sample.of(&[commit, &block(vec![0; MAX_BLOCK_LEN])]), 2),
    ]
}

/// The file as it comes out when it is read whole and when it comes in pieces of one size, which must be the same.
fn read(file: &[u8]) -> Result<Result<Car, CarError>, String> {
    let whole = car::read(Bytes::copy_from_slice(file), MAX_BLOCK_LEN);
    for size in [1, 7, 4096] {
        // The largest files byte by byte would only cost time.
        if file.len() / size < 10_000 {
            same(&in_pieces(file, size), &whole)?;
        }
    }
    Ok(whole)
}

fn in_pieces(file: &[u8], size: usize) -> Result<Car, CarError> {
    let mut reader = CarReader::new(MAX_BLOCK_LEN);
    let mut blocks = Vec::new();
    for piece in file.chunks(size) {
        reader.push(Bytes::copy_from_slice(piece));
        while let Some(block) = reader.next_block()? {
            blocks.push(block);
        }
    }
    let roots = reader.roots().unwrap_or_default().to_vec();
    reader.finish()?;
    Ok(Car { roots, blocks })
}

fn refused(file: &[u8], fault: &Fault) -> Verdict {
    let found = match read(file)? {
        Ok(car) => import(&car).err(),
        Err(error) => Some(Fault::of_car(error)),
    };
    same(&found.as_ref(), &Some(fault))
}

fn taken(file: &[u8], blocks: usize) -> Verdict {
    let car = read(file)?.map_err(|error| error.to_string())?;
    same(&car.blocks.len(), &blocks)?;
    import(&car).map(drop).map_err(|fault| format!("{fault:?}"))
}
