//! JSON bodies of a record: what is refused, and what is taken for what.

use shared::cbor;
use shared::cid::Cid;
use shared::data::holds_legacy_blob;
use shared::data::json::{self, JsonErrorKind as Kind};

use crate::report::{Group, Verdict, same};

/// What a body is taken for.
#[derive(Debug, Clone, Copy)]
enum Taken {
    /// Refused.
    Not(Kind),
    /// Valid, but no object.
    NoObject,
    /// The same as this plainer body, and so of the same CID.
    As(&'static str),
    /// Itself: it comes back as it went in.
    Itself,
}
use Taken::{As, Itself, NoObject, Not};

const BODIES: [(&str, Taken); 84] = [
    // Of equal keys the last one counts, and the CID says so.
    (r#"{"a":1,"a":2}"#, As(r#"{"a":2}"#)),
    (r#"{"a":1,"b":0,"a":{"a":3,"a":4}}"#, As(r#"{"a":{"a":4},"b":0}"#)),
    (r#"{"\u0061":1,"a":2}"#, As(r#"{"a":2}"#)),
    // Numbers are exact, or refused.
    (r#"{"n":1.0}"#, As(r#"{"n":1}"#)),
    (r#"{"n":1e3}"#, As(r#"{"n":1000}"#)),
    (r#"{"n":1E+3}"#, As(r#"{"n":1000}"#)),
    (r#"{"n":1500e-2}"#, As(r#"{"n":15}"#)),
    (r#"{"n":-0}"#, As(r#"{"n":0}"#)),
    (r#"{"n":-0.0}"#, As(r#"{"n":0}"#)),
    (r#"{"n":0E400}"#, As(r#"{"n":0}"#)),
    (r#"{"n":1E400}"#, Not(Kind::IntegerRange)),
    (r#"{"n":1E99999999999999999999}"#, Not(Kind::IntegerRange)),
    (r#"{"n":1E-99999999999999999999}"#, Not(Kind::Float)),
    (r#"{"n":9007199254740991}"#, Itself),
    (r#"{"n":-9007199254740991}"#, Itself),
    (r#"{"n":9007199254740992}"#, Not(Kind::IntegerRange)),
    (r#"{"n":9007199254740993}"#, Not(Kind::IntegerRange)),
    (r#"{"n":9223372036854775808}"#, Not(Kind::IntegerRange)),
    (r#"{"n":1.0000000000000001}"#, Not(Kind::Float)),
    (r#"{"n":[{"m":1.5}]}"#, Not(Kind::Float)),
    (r#"{"n":01}"#, Not(Kind::Syntax)),
    (r#"{"n":+1}"#, Not(Kind::Syntax)),
    (r#"{"n":.5}"#, Not(Kind::Syntax)),
    (r#"{"n":1.}"#, Not(Kind::Syntax)),
    (r#"{"n":0x1}"#, Not(Kind::Syntax)),
    (r#"{"n":NaN}"#, Not(Kind::Syntax)),
    (r#"{"n":Infinity}"#, Not(Kind::Syntax)),
    // Links and bytes have one key and one meaning.
    (r#"{"$link":"bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"}"#, NoObject),
    (r#"{"a":[{"$link":"bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"}]}"#, Itself),
    (r#"{"a":{"$link":"bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm","$type":"a"}}"#, Not(Kind::Link)),
    (r#"{"a":{"$link":null}}"#, Not(Kind::Link)),
    (r#"{"a":{"$link":""}}"#, Not(Kind::Link)),
    (r#"{"a":{"$link":{"$link":1}}}"#, Not(Kind::Link)),
    (r#"{"a":{"$bytes":""}}"#, Itself),
    (r#"{"$bytes":"AA"}"#, NoObject),
    (r#"{"a":[{"$bytes":"AAA"}]}"#, Itself),
    (r#"{"a":{"$bytes":"AA","$type":"a"}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":[1,2,3]}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":null}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":"AA","$link":"b"}}"#, Not(Kind::Link)),
    // Padding may be left out and must otherwise be right; bits behind the last byte say nothing.
    (r#"{"a":{"$bytes":"AA=="}}"#, As(r#"{"a":{"$bytes":"AA"}}"#)),
    (r#"{"a":{"$bytes":"AAA="}}"#, As(r#"{"a":{"$bytes":"AAA"}}"#)),
    (r#"{"a":{"$bytes":"AB"}}"#, As(r#"{"a":{"$bytes":"AA"}}"#)),
    (r#"{"a":{"$bytes":"AA="}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":"AAA=="}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":"AAAA===="}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":"A"}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":"A==="}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":"AA=A"}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":" AAA"}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":"AA\nAA"}}"#, Not(Kind::Bytes)),
    (r#"{"a":{"$bytes":"_-__"}}"#, Not(Kind::Bytes)),
    // Strings hold any Unicode and nothing else; keys anything but nothing.
    (r#"{"a":"\ud83d"}"#, Not(Kind::Unicode)),
    (r#"{"a":"\ude00\ud83d"}"#, Not(Kind::Unicode)),
    (r#"{"a":"\ud83d\u0041"}"#, Not(Kind::Unicode)),
    (r#"{"\ud83d":1}"#, Not(Kind::Unicode)),
    (r#"{"a":"\ud83d\ude00"}"#, As(r#"{"a":"😀"}"#)),
    (r#"{"a":"\u0000"}"#, Itself),
    (r#"{"a\u0000b":1}"#, Itself),
    (r#"{"":1}"#, Not(Kind::Key)),
    (r#"{"a":{"":1}}"#, Not(Kind::Key)),
    (r#"{"__proto__":{"a":1},"constructor":2,"toString":3}"#, Itself),
    ("{\"a\":\"\u{1}\"}", Not(Kind::Syntax)),
    ("{\"a\":\"e\u{301}\"}", Itself),
    ("{\"a\":\"\u{e9}\"}", Itself),
    (r#"{"a":"\x41"}"#, Not(Kind::Syntax)),
    (r#"{"a":"\u00g1"}"#, Not(Kind::Syntax)),
    // What says it is a blob must be one, wherever it stands.
    (
        r#"{"a":{"$type":"blob","ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},
        "mimeType":"a/b","size":0}}"#,
        Itself,
    ),
    (
        r#"{"a":{"$type":"blob","ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},
        "mimeType":"a/b","size":1,"x":1}}"#,
        Not(Kind::Blob),
    ),
    (
        r#"{"a":{"$type":"blob","ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},
        "mimeType":"a/b","size":-1}}"#,
        Not(Kind::Blob),
    ),
    (
        r#"{"a":{"$type":"blob","ref":{"$link":"bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm"},
        "mimeType":"a/b","size":1}}"#,
        Not(Kind::Blob),
    ),
    (
        r#"{"a":{"$type":"blob","ref":{"$link":"bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity"},
        "mimeType":"","size":1}}"#,
        Not(Kind::Blob),
    ),
    (r#"{"$type":"com.example.unheardOf","a":[[{"b":{"$type":"blob"}}]]}"#, Not(Kind::Blob)),
    (r#"{"a":{"$type":"Blob"}}"#, Itself),
    // Keys order the encoding by length first, whatever their order in the text.
    (r#"{"aa":1,"b":2}"#, As(r#"{"b":2,"aa":1}"#)),
    (r#"{"😀":5,"é":4,"aa":3,"b":2,"a":1}"#, As(r#"{"a":1,"b":2,"aa":3,"é":4,"😀":5}"#)),
    // One document, an object, and nothing around it but blanks.
    ("\u{feff}{}", Not(Kind::Syntax)),
    (" \t\r\n{ \"a\" : [ ] } \n", As(r#"{"a":[]}"#)),
    ("", Not(Kind::Syntax)),
    ("null", NoObject),
    ("[]", NoObject),
    (r#""x""#, NoObject),
    ("{}{}", Not(Kind::Syntax)),
    (r#"{"a":1,}"#, Not(Kind::Syntax)),
];

pub(super) fn groups() -> Vec<Group> {
    let mut bodies = Group::new("malformed json", BODIES.len());
    for (text, taken) in BODIES {
        bodies.case(text, verdict(text, taken));
    }

    let mut large = Group::new("malformed json: large and not text", 9);
    let lists = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
    large.case("an object and 31 lists in it", refusal(&lists(31), None));
    large.case("an object and 32 lists in it", refusal(&lists(32), Some(Kind::Depth)));
    large.case("a hundred thousand opening brackets", refusal(&"[".repeat(100_000), Some(Kind::Depth)));
    large.case("a hundred thousand opening braces", refusal(&"{\"a\":".repeat(100_000), Some(Kind::Depth)));
    let key = |len: usize| format!("{{\"{}\":1}}", "k".repeat(len));
    large.case("the longest key", refusal(&key(json::MAX_KEY_LEN), None));
    large.case("a key one byte longer", refusal(&key(json::MAX_KEY_LEN + 1), Some(Kind::Key)));
    let list = |len: usize| format!("{{\"a\":[0{}]}}", ",0".repeat(len - 1));
    large.case("the longest list", refusal(&list(json::MAX_ITEMS), None));
    large.case("a list one item longer", refusal(&list(json::MAX_ITEMS + 1), Some(Kind::Items)));
    let surrogate = json::parse(b"{\"a\":\"\xed\xa0\x80\"}").map_err(|error| error.kind);
    large.case("an encoded surrogate", same(&surrogate, &Err(Kind::Unicode)));

    let mut legacy = Group::new("malformed json: blobs of the first kind are told", 2);
    let cid = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity";
    let body = format!(r#"{{"$type":"com.example.unheardOf","a":[{{"cid":"{cid}","mimeType":"a/b"}}]}}"#);
    let told = |body: &str| json::parse(body.as_bytes()).map(|value| holds_legacy_blob(&value));
    legacy.case(&body, same(&told(&body), &Ok(true)));
    let other = body.replace("\"mimeType\":\"a/b\"", "\"mimeType\":\"a/b\",\"x\":1");
    legacy.case(&other, same(&told(&other), &Ok(false)));
    vec![bodies, large, legacy]
}

fn verdict(text: &str, taken: Taken) -> Verdict {
    let found = json::parse(text.as_bytes());
    match taken {
        Not(kind) => same(&found.map_err(|error| error.kind), &Err(kind)),
        NoObject => match found {
            Ok(value) if value.as_map().is_none() => Ok(()),
            other => Err(format!("{other:?}")),
        },
        As(plain) => {
            let cid = |value| Cid::of_cbor(&cbor::encode(value));
            let plain = json::parse(plain.as_bytes());
            same(&found.as_ref().map(cid), &plain.as_ref().map(cid))?;
            found.map(drop).map_err(|error| error.to_string())
        }
        Itself => {
            let value = found.map_err(|error| error.to_string())?;
            let back = serde_json::to_string(&value).map_err(|error| error.to_string())?;
            same(&json::parse(back.as_bytes()).as_ref(), &Ok(&value))?;
            same(&cbor::decode(&cbor::encode(&value)).as_ref(), &Ok(&value))?;
            let fields =
                |text: &str| serde_json::from_str::<serde_json::Value>(text).map_err(|error| error.to_string());
            same(&fields(&back), &fields(text))
        }
    }
}

fn refusal(text: &str, kind: Option<Kind>) -> Verdict {
    same(&json::parse(text.as_bytes()).err().map(|error| error.kind), &kind)
}
