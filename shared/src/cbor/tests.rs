//! DAG-CBOR against a second implementation, and everything that is not canonical refused.

use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;
use crate::cid::CidError;
use crate::data::json::tests::any_value;

fn kind(hex: &str) -> CborErrorKind {
    decode(&HEXLOWER.decode(hex.as_bytes()).unwrap()).unwrap_err().kind
}

#[test]
fn each_broken_rule_is_refused_by_name() {
    use CborErrorKind::*;
    for (hex, expected) in [
        ("a2616101616102", DuplicateKey),
        ("a2616201616101", KeyOrder),
        ("a262616101616201", KeyOrder),
        ("1801", NotMinimal),
        ("190001", NotMinimal),
        ("1a00000001", NotMinimal),
        ("1b0000000000000001", NotMinimal),
        ("1c", NotMinimal),
        ("780161", NotMinimal),
        ("9f01ff", Indefinite),
        ("7f6161ff", Indefinite),
        ("bf616101ff", Indefinite),
        ("ff", Indefinite),
        ("fb3ff0000000000000", Float),
        ("f93c00", Float),
        ("f97e00", Float),
        ("f7", Simple(23)),
        ("f820", Simple(0x20)),
        ("e0", Simple(0)),
        ("c06161", Tag(0)),
        ("c249010000000000000000", Tag(2)),
        ("d82a6161", Link),
        ("d82a5824017112200000000000000000000000000000000000000000000000000000000000000000", Link),
        ("d82a40", Link),
        ("d82a430001ff", Cid(CidError::Truncated)),
        ("1bffffffffffffffff", IntegerRange),
        ("3bffffffffffffffff", IntegerRange),
        ("62c328", Utf8),
        ("63eda080", Utf8),
        ("a10102", KeyType),
        ("a1416101", KeyType),
        ("0100", TrailingBytes),
        ("9b7fffffffffffffff", Truncated),
        ("5b7fffffffffffffff", Truncated),
        ("bb7fffffffffffffff", Truncated),
        ("", Truncated),
        ("18", Truncated),
        ("6261", Truncated),
        ("a16161", Truncated),
    ] {
        assert_eq!(kind(hex), expected, "{hex}");
    }
}

#[test]
fn the_same_vectors_are_refused_inside_a_record() {
    for hex in
        ["1801", "f7", "fb3ff0000000000000", "c06161", "62c328", "9f01ff", "a2616101616102", "1bffffffffffffffff"]
    {
        assert_eq!(kind(&format!("a1617881{hex}")), kind(hex), "{hex}");
    }
}

#[test]
fn a_nesting_bomb_is_refused_at_the_limit() {
    let bomb = |depth| [vec![0x81; depth], vec![0]].concat();
    assert!(decode(&bomb(MAX_DEPTH)).is_ok());
    assert_eq!(decode(&bomb(MAX_DEPTH + 1)).unwrap_err().kind, CborErrorKind::Depth);
    assert_eq!(decode(&bomb(100_000)).unwrap_err().kind, CborErrorKind::Depth);
    assert!(skip(&bomb(MAX_DEPTH)).is_ok());
    assert_eq!(skip(&bomb(100_000)).unwrap_err().kind, CborErrorKind::Depth);
}

#[test]
fn integers_reach_the_ends_of_their_range() {
    for number in [0, 23, 24, 255, 256, 65535, 65536, 1 << 32, i64::MAX, -1, -24, -25, -257, i64::MIN] {
        assert_eq!(decode(&encode(&Value::Int(number))).unwrap(), Value::Int(number));
    }
    assert_eq!(encode(&Value::Int(i64::MIN)), HEXLOWER.decode(b"3b7fffffffffffffff").unwrap());
}

#[test]
fn typed_reading_says_what_it_expected() {
    let bytes = encode(&Value::from("x"));
    assert_eq!(Reader::new(&bytes).int().unwrap_err().kind, CborErrorKind::Expected("an integer"));
    assert_eq!(Reader::new(&bytes).link().unwrap_err().kind, CborErrorKind::Expected("a link"));
    assert_eq!(Reader::new(&bytes).bool().unwrap_err().kind, CborErrorKind::Expected("a boolean"));
    assert_eq!(Reader::new(&encode(&Value::Null)).nullable(Reader::int).unwrap(), None);
    let unordered = HEXLOWER.decode(b"a2616201616101").unwrap();
    let read: Result<(), CborError> = Reader::new(&unordered).map(|_, reader| reader.int().map(drop));
    assert_eq!(read.unwrap_err().kind, CborErrorKind::KeyOrder);
}

/// Passes over one value instead of building it.
fn skip(bytes: &[u8]) -> Result<(), CborError> {
    let mut reader = Reader::new(bytes);
    reader.skip()?;
    reader.finish()
}

/// What `ciborium`, which knows nothing of our rules, makes of the same value.
fn by_ciborium(value: &Value) -> ciborium::Value {
    use ciborium::Value as Cbor;
    match value {
        Value::Null => Cbor::Null,
        Value::Bool(truth) => Cbor::Bool(*truth),
        Value::Int(number) => Cbor::Integer((*number).into()),
        Value::String(text) => Cbor::Text(text.clone()),
        Value::Bytes(bytes) => Cbor::Bytes(bytes.clone()),
        Value::Link(cid) => Cbor::Tag(42, Box::new(Cbor::Bytes([&[0], cid.as_bytes()].concat()))),
        Value::Array(items) => Cbor::Array(items.iter().map(by_ciborium).collect()),
        Value::Map(map) => Cbor::Map(map.iter().map(|(k, v)| (Cbor::Text(k.to_owned()), by_ciborium(v))).collect()),
    }
}

proptest! {
    #[test]
    fn cbor_round_trips_and_agrees_with_ciborium(value in any_value()) {
        let bytes = encode(&value);
        prop_assert_eq!(&decode(&bytes).unwrap(), &value);
        let mut theirs = Vec::new();
        ciborium::into_writer(&by_ciborium(&value), &mut theirs).unwrap();
        prop_assert_eq!(&bytes, &theirs);
        prop_assert_eq!(ciborium::from_reader::<ciborium::Value, _>(&bytes[..]).unwrap(), by_ciborium(&value));
    }

    #[test]
    fn what_is_accepted_is_written_back_byte_for_byte(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(value) = decode(&bytes) {
            prop_assert_eq!(encode(&value), bytes);
        }
    }

    #[test]
    fn skipping_refuses_exactly_what_reading_does(value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&value);
        prop_assert_eq!(skip(&bytes), Ok(()));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        prop_assert_eq!(skip(&bytes), decode(&bytes).map(drop));
    }

    #[test]
    fn a_changed_byte_is_refused_or_written_back(value in any_value(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = encode(&value);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        if let Ok(value) = decode(&bytes) {
            prop_assert_eq!(encode(&value), bytes);
        }
    }
}
