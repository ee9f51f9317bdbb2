//! JSON of the data model both ways: links, bytes, numbers, and what is refused.

use proptest::prelude::*;

use super::*;

fn kind(text: &str) -> JsonErrorKind {
    parse(text.as_bytes()).map_err(|error| error.kind).unwrap_err()
}

fn int(text: &str) -> i64 {
    parse(text.as_bytes()).unwrap().as_int().unwrap()
}

#[test]
fn numbers_are_exact_or_refused() {
    for (text, value) in [
        ("1.0", 1),
        ("1e3", 1000),
        ("1.5e1", 15),
        ("120E-1", 12),
        ("-0", 0),
        ("-0.0", 0),
        ("0e999999999999999999999999", 0),
        ("9007199254740991", MAX_SAFE_INTEGER),
        ("-9007199254740991", -MAX_SAFE_INTEGER),
        ("9007199254740991.000", MAX_SAFE_INTEGER),
    ] {
        assert_eq!(int(text), value, "{text}");
    }
    for text in ["9007199254740992", "9007199254740993", "-9007199254740992", "1E400", "1e99999999999999999999"] {
        assert_eq!(kind(text), JsonErrorKind::IntegerRange, "{text}");
    }
    for text in ["1.5", "1.0000000000000001", "1e-1", "1e-99999999999999999999", "0.1"] {
        assert_eq!(kind(text), JsonErrorKind::Float, "{text}");
    }
    for text in ["01", "-", "1.", ".5", "1e", "+1", "0x1", "NaN", "Infinity", "--1"] {
        assert_eq!(kind(text), JsonErrorKind::Syntax, "{text}");
    }
}

#[test]
fn an_exponent_of_any_size_is_read_for_what_it_means() {
    for exponent in [i64::MAX, i64::MAX / 2, i64::MAX / 2 - 1] {
        for digits in ["1", "10", "1.5", "1.55", "0.001", "100000"] {
            assert_eq!(kind(&format!("{digits}e{exponent}")), JsonErrorKind::IntegerRange, "{digits}e{exponent}");
            assert_eq!(kind(&format!("{digits}e-{exponent}")), JsonErrorKind::Float, "{digits}e-{exponent}");
        }
        assert_eq!(
            parse(format!("[0e{exponent},-0.00e-{exponent}]").as_bytes()).unwrap(),
            vec![0.into(), 0.into()].into()
        );
    }
}

#[test]
fn links_and_bytes_are_refused_unless_they_stand_alone() {
    let cid = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity";
    let link = parse(format!(r#"[{{"$link":"{cid}"}}]"#).as_bytes()).unwrap();
    assert_eq!(link, Value::Array(vec![Value::Link(Cid::parse(cid).unwrap())]));
    for text in [
        r#"{"$link":null}"#,
        r#"{"$link":"."}"#,
        r#"{"$link":1}"#,
        &format!(r#"{{"$link":"{cid}","x":1}}"#),
        &format!(r#"{{"$link":"{cid}","$type":"x"}}"#),
        &format!(r#"{{"$link":"{}"}}"#, cid.to_uppercase()),
        r#"{"$link":"QmbWqxBEKC3P8tqsKc98xmWNzrzDtRLMiMPL8wBuTGsMnR"}"#,
    ] {
        assert_eq!(kind(text), JsonErrorKind::Link, "{text}");
    }
    for (text, bytes) in [("", &b""[..]), ("aGk", b"hi"), ("aGk=", b"hi"), ("aA==", b"h"), ("aB", b"h")] {
        assert_eq!(parse(format!(r#"{{"$bytes":"{text}"}}"#).as_bytes()).unwrap(), Value::Bytes(bytes.to_vec()));
    }
    for text in ["aGk==", "a===", "aG k", "a-_k", "a", "aGk=x", "aGlq=", "===="] {
        assert_eq!(kind(&format!(r#"{{"$bytes":"{text}"}}"#)), JsonErrorKind::Bytes, "{text}");
    }
    assert_eq!(kind(r#"{"$bytes":[1]}"#), JsonErrorKind::Bytes);
    assert_eq!(kind(r#"{"$bytes":"aGk","other":1}"#), JsonErrorKind::Bytes);
}

#[test]
fn blobs_are_whole_or_refused_at_any_depth() {
    let blob = |body: &str| format!(r#"{{"a":[{{"$type":"blob",{body}}}]}}"#);
    let raw = r#""ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"}"#;
    let cbor = r#""ref":{"$link":"bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"}"#;
    let good = blob(&format!(r#"{raw},"mimeType":"a/b","size":0"#));
    let value = parse(good.as_bytes()).unwrap();
    assert_eq!(super::super::blobs(&value).len(), 1);
    assert_eq!(super::super::blobs(&value)[0].to_value().unwrap(), value.get("a").unwrap().as_array().unwrap()[0]);
    for body in [
        format!(r#"{raw},"mimeType":"a/b""#),
        format!(r#"{raw},"mimeType":"a/b","size":"1""#),
        format!(r#"{raw},"mimeType":"a/b","size":-1"#),
        format!(r#"{raw},"mimeType":"","size":1"#),
        format!(r#"{raw},"mimeType":"a/b","size":1,"more":1"#),
        format!(r#"{cbor},"mimeType":"a/b","size":1"#),
        r#""ref":"x","mimeType":"a/b","size":1"#.to_owned(),
    ] {
        assert_eq!(kind(&blob(&body)), JsonErrorKind::Blob, "{body}");
    }
    for text in [r#"{"$type":null}"#, r#"{"$type":1}"#, r#"{"$type":""}"#] {
        assert_eq!(kind(text), JsonErrorKind::Type);
    }
    let legacy = r#"{"x":{"cid":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity","mimeType":"a/b"}}"#;
    assert!(super::super::holds_legacy_blob(&parse(legacy.as_bytes()).unwrap()));
}

#[test]
fn text_is_unicode_and_keys_are_bounded() {
    assert_eq!(parse(br#""\ud83d\ude00\u0000""#).unwrap(), Value::from("😀\0"));
    for text in [r#""\ud83d""#, r#""\ude00""#, r#""\ud83dx""#, r#""\ud83d\u0041""#] {
        assert_eq!(kind(text), JsonErrorKind::Unicode, "{text}");
    }
    assert_eq!(parse(b"\"\xed\xa0\x80\"").unwrap_err().kind, JsonErrorKind::Unicode);
    assert_eq!(kind(r#"{"":1}"#), JsonErrorKind::Key);
    assert_eq!(kind(&format!(r#"{{"{}":1}}"#, "k".repeat(MAX_KEY_LEN + 1))), JsonErrorKind::Key);
    let odd = parse(br#"{"__proto__":1,"constructor":2,"a":1,"a":2}"#).unwrap();
    assert_eq!(serde_json::to_string(&odd).unwrap(), r#"{"a":2,"__proto__":1,"constructor":2}"#);
}

#[test]
fn nesting_and_size_are_bounded() {
    let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
    assert_eq!(kind(&nested(MAX_DEPTH + 1)), JsonErrorKind::Depth);
    assert_eq!(kind(&"[".repeat(1_000_000)), JsonErrorKind::Depth);
    let wide = |items: usize| format!("[{}0]", "0,".repeat(items - 1));
    assert!(parse(wide(MAX_ITEMS).as_bytes()).is_ok());
    assert_eq!(kind(&wide(MAX_ITEMS + 1)), JsonErrorKind::Items);
}

#[test]
fn anything_but_one_document_is_refused() {
    for text in
        ["", " ", "{", "[1,]", "{\"a\":1,}", "{a:1}", "1 2", "nul", "\u{feff}{}", "\"\n\"", "\"\\x\"", "\"\\u12\""]
    {
        assert_eq!(kind(text), JsonErrorKind::Syntax, "{text:?}");
    }
}

pub(crate) fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-MAX_SAFE_INTEGER..=MAX_SAFE_INTEGER).prop_map(Value::Int),
        any::<String>().prop_map(Value::String),
        prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Bytes),
        any::<[u8; 8]>().prop_map(|seed| Value::Link(Cid::of_cbor(&seed))),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::Array),
            prop::collection::vec(("[^$].{0,11}", inner), 0..8)
                .prop_map(|fields| Value::Map(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn json_round_trips(value in any_value()) {
        let text = serde_json::to_vec(&value).unwrap();
        prop_assert_eq!(parse(&text).unwrap(), value);
    }

    #[test]
    fn parsing_never_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&text);
    }

    #[test]
    fn parsing_json_like_text_never_panics(text in r#"[\[\]{}:,"\\u0-9a-f$eE.+-]{0,60}"#) {
        if let Ok(value) = parse(text.as_bytes()) {
            prop_assert_eq!(parse(&serde_json::to_vec(&value).unwrap()).unwrap(), value);
        }
    }

    #[test]
    fn numbers_agree_with_serde_json(number in any::<i64>()) {
        let text = number.to_string();
        match parse(text.as_bytes()) {
            Ok(value) => prop_assert_eq!(value, Value::Int(serde_json::from_str(&text).unwrap())),
            Err(error) => {
                prop_assert_eq!(error.kind, JsonErrorKind::IntegerRange);
                prop_assert!(number.unsigned_abs() > MAX_SAFE_INTEGER as u64);
            }
        }
    }
}
