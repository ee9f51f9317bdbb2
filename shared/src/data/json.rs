//! JSON to and from the data model.
//!
//! [`parse`] is the door for new records, so it is strict where `serde_json` would be lenient or lossy: numbers are
//! exact or refused, lone surrogates and malformed `$link`, `$bytes` and blob objects are refused, and nesting is
//! bounded. Of equal keys the last one counts, as in JavaScript. Serialising writes any value, also one that `parse`
//! would refuse.
//!
//! Specification: <https://atproto.com/specs/data-model>, limits of <https://atproto.com/guides/data-validation>.

use data_encoding::BASE64_NOPAD;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{BlobRef, MAX_SAFE_INTEGER, Map, Value};
use crate::cid::Cid;

/// How deep arrays and objects of a new record may nest; the record itself is the first level.
pub const MAX_DEPTH: usize = 32;
/// The longest object key of a new record, in bytes.
pub const MAX_KEY_LEN: usize = 8 * 1024;
/// How many items an array or object of a new record may hold.
pub const MAX_ITEMS: usize = 131_072;

/// Why JSON text is not a value of the data model.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{kind} at byte {at}")]
pub struct JsonError {
    /// What is wrong.
    pub kind: JsonErrorKind,
    /// Where, in bytes from the start of the text.
    pub at: usize,
}

/// What can be wrong with JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonErrorKind {
    /// Not JSON, cut short, or followed by something.
    #[error("invalid JSON")]
    Syntax,
    /// Bytes that are not UTF-8, or an escaped lone surrogate.
    #[error("string is not valid Unicode")]
    Unicode,
    /// A number with a fraction.
    #[error("number is not an integer")]
    Float,
    /// An integer beyond ±(2^53 − 1).
    #[error("integer is beyond 2^53 - 1")]
    IntegerRange,
    /// Deeper than [`MAX_DEPTH`].
    #[error("nesting is deeper than {MAX_DEPTH} levels")]
    Depth,
    /// An empty object key, or one longer than [`MAX_KEY_LEN`].
    #[error("object key is empty or longer than {MAX_KEY_LEN} bytes")]
    Key,
    /// More than [`MAX_ITEMS`] items in one array or object.
    #[error("array or object has more than {MAX_ITEMS} items")]
    Items,
    /// A `$link` beside other keys, or not a CID in base32.
    #[error("malformed $link")]
    Link,
    /// A `$bytes` beside other keys, or not base64.
    #[error("malformed $bytes")]
    Bytes,
    /// A `$type` of `blob` on something that is no blob reference.
    #[error("malformed blob")]
    Blob,
    /// A `$type` that is not a string, or an empty one.
    #[error("$type is not a non-empty string")]
    Type,
}

/// The value that `text` is.
///
/// # Errors
/// A [`JsonError`] for anything but one JSON document within the rules of this module.
pub fn parse(text: &[u8]) -> Result<Value, JsonError> {
    let text = std::str::from_utf8(text)
        .map_err(|error| JsonError { kind: JsonErrorKind::Unicode, at: error.valid_up_to() })?;
    let mut parser = Parser { text, at: 0, depth: 0 };
    parser.space();
    let value = parser.value()?;
    parser.space();
    if parser.at < text.len() { Err(parser.error(JsonErrorKind::Syntax)) } else { Ok(value) }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl<'a> Parser<'a> {
    fn error(&self, kind: JsonErrorKind) -> JsonError {
        JsonError { kind, at: self.at }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.peek() == Some(byte) {
            self.at += 1;
            Ok(())
        } else {
            Err(self.error(JsonErrorKind::Syntax))
        }
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, JsonError> {
        if self.text.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            Ok(value)
        } else {
            Err(self.error(JsonErrorKind::Syntax))
        }
    }

    fn value(&mut self) -> Result<Value, JsonError> {
        match self.peek() {
            Some(b'"') => self.string().map(Value::String),
            Some(b'{') => self.nested(Self::object),
            Some(b'[') => self.nested(Self::array),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            Some(b'-' | b'0'..=b'9') => self.number().map(Value::Int),
            _ => Err(self.error(JsonErrorKind::Syntax)),
        }
    }

    fn nested(&mut self, read: fn(&mut Self) -> Result<Value, JsonError>) -> Result<Value, JsonError> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(self.error(JsonErrorKind::Depth));
        }
        self.at += 1;
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    /// The items up to `close`, separated by commas.
    fn items(&mut self, close: u8, mut item: impl FnMut(&mut Self) -> Result<(), JsonError>) -> Result<(), JsonError> {
        self.space();
        if self.peek() == Some(close) {
            self.at += 1;
            return Ok(());
        }
        for _ in 0..MAX_ITEMS {
            self.space();
            item(self)?;
            self.space();
            match self.peek() {
                Some(b',') => self.at += 1,
                _ => return self.expect(close),
            }
        }
        Err(self.error(JsonErrorKind::Items))
    }

    fn array(&mut self) -> Result<Value, JsonError> {
        let mut items = Vec::new();
        self.items(b']', |parser| {
            items.push(parser.value()?);
            Ok(())
        })?;
        Ok(Value::Array(items))
    }

    fn object(&mut self) -> Result<Value, JsonError> {
        let start = self.at;
        let mut fields: Vec<(String, Value)> = Vec::new();
        self.items(b'}', |parser| {
            let at = parser.at;
            let key = parser.string()?;
            if key.is_empty() || key.len() > MAX_KEY_LEN {
                return Err(JsonError { kind: JsonErrorKind::Key, at });
            }
            parser.space();
            parser.expect(b':')?;
            parser.space();
            fields.push((key, parser.value()?));
            Ok(())
        })?;
        special(fields.into_iter().collect()).map_err(|kind| JsonError { kind, at: start })
    }

    fn string(&mut self) -> Result<String, JsonError> {
        self.expect(b'"')?;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| !matches!(byte, b'"' | b'\\' | ..=0x1f)) {
                self.at += 1;
            }
            out.push_str(self.text.get(start..self.at).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => {
                    self.at += 1;
                    out.push(self.escape()?);
                }
                _ => return Err(self.error(JsonErrorKind::Syntax)),
            }
        }
    }

    fn escape(&mut self) -> Result<char, JsonError> {
        let letter = self.peek().ok_or(self.error(JsonErrorKind::Syntax))?;
        self.at += 1;
        Ok(match letter {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.unicode_escape(),
            _ => return Err(self.error(JsonErrorKind::Syntax)),
        })
    }

    fn unicode_escape(&mut self) -> Result<char, JsonError> {
        let lone = self.error(JsonErrorKind::Unicode);
        let first = self.hex4()?;
        let code = match first {
            0xd800..=0xdbff => {
                if !self.text.get(self.at..).is_some_and(|rest| rest.starts_with("\\u")) {
                    return Err(lone);
                }
                self.at += 2;
                let second = self.hex4()?;
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(lone);
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            other => other,
        };
        char::from_u32(code).ok_or(lone)
    }

    fn hex4(&mut self) -> Result<u32, JsonError> {
        let digits = self.text.get(self.at..self.at + 4).filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()));
        let code = digits.and_then(|text| u32::from_str_radix(text, 16).ok());
        let code = code.ok_or(self.error(JsonErrorKind::Syntax))?;
        self.at += 4;
        Ok(code)
    }

    /// Reads a number and gives its exact integer value: `1e3` and `12.0` are integers, `1.5` is not.
    fn number(&mut self) -> Result<i64, JsonError> {
        let start = self.at;
        let negative = self.peek() == Some(b'-');
        self.at += usize::from(negative);
        let whole = self.digits()?;
        if whole.len() > 1 && whole.starts_with('0') {
            return Err(JsonError { kind: JsonErrorKind::Syntax, at: start });
        }
        let mut fraction = "";
        if self.peek() == Some(b'.') {
            self.at += 1;
            fraction = self.digits()?;
        }
        let mut exponent = 0;
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            let minus = self.peek() == Some(b'-');
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            // An exponent too long for an integer is as good as the largest: zero stays zero, the rest is refused.
            let size = self.digits()?.parse::<i64>().unwrap_or(i64::MAX);
            exponent = if minus { -size } else { size };
        }
        exact_integer(whole, fraction, exponent)
            .map(|size| if negative { -size } else { size })
            .map_err(|kind| JsonError { kind, at: start })
    }

    fn digits(&mut self) -> Result<&'a str, JsonError> {
        let (start, text) = (self.at, self.text);
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        match text.get(start..self.at) {
            Some(digits) if !digits.is_empty() => Ok(digits),
            _ => Err(self.error(JsonErrorKind::Syntax)),
        }
    }
}

/// The value of `whole.fraction × 10^exponent` when it is an integer within range.
fn exact_integer(whole: &str, fraction: &str, exponent: i64) -> Result<i64, JsonErrorKind> {
    let mut digits: Vec<u8> = whole.bytes().chain(fraction.bytes()).skip_while(|digit| *digit == b'0').collect();
    let mut exponent = exponent.saturating_sub(i64::try_from(fraction.len()).unwrap_or(i64::MAX));
    while digits.last() == Some(&b'0') {
        digits.pop();
        exponent = exponent.saturating_add(1);
    }
    if digits.is_empty() {
        return Ok(0);
    }
    if exponent < 0 {
        return Err(JsonErrorKind::Float);
    }
    let mut size = 0i64;
    let zeros = usize::try_from(exponent).unwrap_or(usize::MAX).min(20);
    for digit in digits.into_iter().chain(std::iter::repeat_n(b'0', zeros)) {
        size = size
            .checked_mul(10)
            .and_then(|size| size.checked_add(i64::from(digit - b'0')))
            .filter(|size| *size <= MAX_SAFE_INTEGER)
            .ok_or(JsonErrorKind::IntegerRange)?;
    }
    Ok(size)
}

/// Turns `{"$link": …}` and `{"$bytes": …}` into what they stand for, and checks blobs and `$type`.
fn special(map: Map) -> Result<Value, JsonErrorKind> {
    if let Some(link) = map.get("$link") {
        let cid = link.as_str().filter(|_| map.len() == 1).and_then(|text| Cid::parse(text).ok());
        return cid.map(Value::Link).ok_or(JsonErrorKind::Link);
    }
    if let Some(bytes) = map.get("$bytes") {
        let bytes = bytes.as_str().filter(|_| map.len() == 1).and_then(decode_base64);
        return bytes.map(Value::Bytes).ok_or(JsonErrorKind::Bytes);
    }
    match map.get("$type") {
        None => {}
        Some(Value::String(name)) if name == "blob" => {
            BlobRef::from_map(&map).ok_or(JsonErrorKind::Blob)?;
        }
        Some(Value::String(name)) if !name.is_empty() => {}
        Some(_) => return Err(JsonErrorKind::Type),
    }
    Ok(Value::Map(map))
}

/// The standard alphabet of RFC 4648 section 4; padding is optional but correct, and bits beyond the last byte are
/// ignored, as the official vectors want it.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let bare = text.trim_end_matches('=');
    if bare.len() != text.len() && (!text.len().is_multiple_of(4) || text.len() - bare.len() > 2) {
        return None;
    }
    BASE64_NOPAD.decode(bare.as_bytes()).ok().or_else(|| {
        let mut specification = BASE64_NOPAD.specification();
        specification.check_trailing_bits = false;
        specification.encoding().ok()?.decode(bare.as_bytes()).ok()
    })
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::String(text) => serializer.serialize_str(text),
            Self::Bytes(bytes) => serializer.collect_map([("$bytes", BASE64_NOPAD.encode(bytes))]),
            Self::Link(cid) => serializer.collect_map([("$link", cid)]),
            Self::Array(items) => serializer.collect_seq(items),
            Self::Map(map) => map.serialize(serializer),
        }
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// From JSON text by the rules of [`parse`]; only `serde_json` can drive it.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        parse(raw.get().as_bytes()).map_err(D::Error::custom)
    }
}

/// As for [`Value`], refusing anything but an object.
impl<'de> Deserialize<'de> for Map {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::Map(map) => Ok(map),
            _ => Err(D::Error::custom("not an object")),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
