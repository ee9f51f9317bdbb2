//! DAG-CBOR that is not strict: as a value, inside a record, and where a tree node and a commit have a link.

use shared::cbor::{self, CborError, CborErrorKind as Kind, MAX_DEPTH};
use shared::firehose::{FirehoseError, Frame};
use shared::repo::commit::{Commit, CommitError};
use shared::repo::mst::{MstError, NodeError};

use super::{block, commit, node, unhex, walk};
use crate::report::{Group, Verdict, same};

/// Hexadecimal digits of an item, and what is wrong with it.
const ITEMS: [(&str, Kind); 39] = [
    ("a2616101616102", Kind::DuplicateKey),
    ("a2616201616101", Kind::KeyOrder),
    ("a262616101616201", Kind::KeyOrder),
    // Heads that could be shorter: of integers, a string, bytes, a list, a map and a tag.
    ("1801", Kind::NotMinimal),
    ("190017", Kind::NotMinimal),
    ("1a0000ffff", Kind::NotMinimal),
    ("1b00000000ffffffff", Kind::NotMinimal),
    ("3800", Kind::NotMinimal),
    ("780161", Kind::NotMinimal),
    ("580100", Kind::NotMinimal),
    ("980101", Kind::NotMinimal),
    ("b801616101", Kind::NotMinimal),
    ("d9002a4100", Kind::NotMinimal),
    // Heads of 28 to 30, which mean nothing.
    ("1c", Kind::NotMinimal),
    ("9f01ff", Kind::Indefinite),
    ("7f6161ff", Kind::Indefinite),
    ("5f4161ff", Kind::Indefinite),
    ("bf616101ff", Kind::Indefinite),
    // A half, a single and a double, and a NaN.
    ("f93c00", Kind::Float),
    ("fa3f800000", Kind::Float),
    ("fb3ff0000000000000", Kind::Float),
    ("f97e00", Kind::Float),
    ("f7", Kind::Simple(23)),
    ("e0", Kind::Simple(0)),
    ("f820", Kind::Simple(32)),
    ("f816", Kind::Simple(22)),
    // A date and a large number.
    ("c06161", Kind::Tag(0)),
    ("c249010000000000000000", Kind::Tag(2)),
    ("d82a6161", Kind::Link),
    ("d82a5824017112200000000000000000000000000000000000000000000000000000000000000000", Kind::Link),
    ("1bffffffffffffffff", Kind::IntegerRange),
    ("3bffffffffffffffff", Kind::IntegerRange),
    ("3b8000000000000000", Kind::IntegerRange),
    ("62c328", Kind::Utf8),
    ("63eda080", Kind::Utf8),
    ("a10102", Kind::KeyType),
    ("a1416101", Kind::KeyType),
    ("9b7fffffffffffffff", Kind::Truncated),
    ("5b7fffffffffffffff", Kind::Truncated),
];

/// Items at the edge, which are valid.
const VALID: [&str; 8] = [
    "1b7fffffffffffffff",
    "3b7fffffffffffffff",
    "1818",
    "f6",
    "a0",
    "80",
    "a2616101626161f5",
    "d82a582500017112200000000000000000000000000000000000000000000000000000000000000000",
];

pub(super) fn groups() -> Vec<Group> {
    let mut bare = Group::new("malformed cbor", ITEMS.len() + VALID.len() + 2);
    let mut record = Group::new("malformed cbor in a record", ITEMS.len() + VALID.len() + 2);
    let mut node = Group::new("malformed cbor in a tree node", ITEMS.len() + 1);
    let mut commit = Group::new("malformed cbor in a commit", ITEMS.len() + 1);
    let mut event =
        Group::new("malformed cbor in a field of an event that nobody knows", ITEMS.len() + VALID.len() + 2);

    let items = ITEMS.map(|(item, kind)| (item, unhex(item), kind));
    let nested = ("a hundred thousand lists in lists", Ok(nested()), Kind::Depth);
    for (item, bytes, kind) in items.into_iter().chain([nested]) {
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => {
                bare.fail(format!("{item}: {error}"));
                continue;
            }
        };
        bare.case(item, is(cbor::decode(&bytes), &kind));
        record.case(item, is(cbor::decode(&record_with(&bytes)), &kind));
        node.case(item, in_node(&bytes, kind.clone()));
        event.case(item, in_event(&bytes, Some(kind.clone())));
        commit.case(item, in_commit(&bytes, kind));
    }
    bare.case("0100", is(cbor::decode(&[1, 0]), &Kind::TrailingBytes));
    record.case("01, then 00", is(cbor::decode(&record_with(&[1, 0])), &Kind::TrailingBytes));
    event.case("01, then 00", in_event(&[1, 0], Some(Kind::TrailingBytes)));
    for item in VALID {
        bare.case(item, unhex(item).and_then(|bytes| returns(&bytes)));
        record.case(item, unhex(item).and_then(|bytes| returns(&record_with(&bytes))));
        event.case(item, unhex(item).and_then(|bytes| in_event(&bytes, None)));
    }
    vec![bare, record, node, commit, event]
}

fn is<T: std::fmt::Debug>(found: Result<T, CborError>, expected: &Kind) -> Verdict {
    match found {
        Err(error) => same(&&error.kind, &expected),
        Ok(value) => Err(format!("{value:?} instead of {expected:?}")),
    }
}

fn returns(bytes: &[u8]) -> Verdict {
    let value = cbor::decode(bytes).map_err(|error| error.to_string())?;
    same(&cbor::encode(&value).as_slice(), &bytes)
}

fn nested() -> Vec<u8> {
    const LEVELS: usize = 100_000;
    const { assert!(LEVELS > MAX_DEPTH) };
    let mut bytes = vec![0x81; LEVELS];
    bytes.push(0);
    bytes
}

/// A record of two fields, the second a list that ends with `item`.
fn record_with(item: &[u8]) -> Vec<u8> {
    [b"\xa2\x65$type\x6bcom.example\x66values\x82\xa0", item].concat()
}

/// What a reader says of the item that asks for a link: what is wrong with its head, else that it is no link.
fn where_a_link_must_be(kind: Kind) -> Kind {
    match kind {
        Kind::NotMinimal | Kind::Indefinite | Kind::Float | Kind::Simple(_) | Kind::Tag(_) | Kind::Link => kind,
        _ => Kind::Expected("a link"),
    }
}

fn in_node(item: &[u8], kind: Kind) -> Verdict {
    match walk(&[block(node(&[], item))]) {
        Err(MstError::Node { error: NodeError::Cbor(error), .. }) => same(&error.kind, &where_a_link_must_be(kind)),
        other => Err(format!("{other:?}")),
    }
}

fn in_commit(item: &[u8], kind: Kind) -> Verdict {
    match Commit::from_block(&commit(|fields| fields[3].1 = item.to_vec())) {
        Err(CommitError::Cbor(error)) => same(&error.kind, &where_a_link_must_be(kind)),
        other => Err(format!("{other:?}")),
    }
}

/// Fields that a reader does not know are passed over, but are read as strictly as the others.
fn in_event(item: &[u8], kind: Option<Kind>) -> Verdict {
    let header = b"\xa2\x61t\x68#account\x62op\x01";
    let body = b"\xa5\x63did\x6bdid:web:a.b\x63seq\x01\x64time\x742026-01-01T00:00:00Z\x66active\xf5\x67unknown";
    let found = Frame::decode(&[header.as_slice(), body, item].concat().into());
    match (found, kind) {
        (Ok(Frame::Event { .. }), None) => Ok(()),
        (Err(FirehoseError::Cbor(error)), Some(kind)) => same(&error.kind, &kind),
        (found, kind) => Err(format!("{found:?} instead of {kind:?}")),
    }
}
