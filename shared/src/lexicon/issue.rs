//! What can be wrong with a value, in the words that clients know from the reference server.

use crate::data::Value;
use crate::syntax::Nsid;

use super::{Format, Invalid, Reference, Segment};

/// Why a record was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LexiconError {
    /// No record type of this name is in the catalog.
    #[error("Unknown lexicon type: {0}")]
    Unknown(Nsid),
    /// The record key is not what the type demands.
    #[error("Invalid record key for {collection}: {invalid}")]
    Key {
        /// The record's type.
        collection: Nsid,
        /// What is wrong with its key.
        invalid: Invalid,
    },
    /// The record is not what the type demands.
    #[error("Invalid {collection} record: {invalid}")]
    Record {
        /// The record's type.
        collection: Nsid,
        /// What is wrong, and where in the record.
        invalid: Invalid,
    },
}

impl LexiconError {
    /// The same with a path that begins further out, where the record stands in a request: `writes`, `0`, `value`.
    #[must_use]
    pub fn within<const N: usize>(self, place: [Segment; N]) -> Self {
        match self {
            Self::Record { collection, invalid } => {
                Self::Record { collection, invalid: place.into_iter().rev().fold(invalid, Invalid::inside) }
            }
            other => other,
        }
    }
}

/// What is wrong with a value.
///
/// `got` is a short preview of what stood there, as JSON: the value itself may be megabytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Issue {
    /// It is of another type.
    #[error("Expected {expected} value type (got {got})")]
    Type {
        /// What it should be.
        expected: Expected,
        /// What it is.
        got: String,
    },
    /// It is none of the values allowed.
    #[error("Expected {} (got {got})", one_of(.allowed))]
    Value {
        /// The values allowed, as JSON.
        allowed: Vec<String>,
        /// What it is.
        got: String,
    },
    /// A required field is missing.
    #[error("Missing required key {}", quoted(.key))]
    Required {
        /// The field.
        key: String,
    },
    /// It is larger than allowed.
    #[error("{measure} too big (maximum {maximum}, got {actual})")]
    TooBig {
        /// What was measured.
        measure: Measure,
        /// The largest allowed.
        maximum: i64,
        /// What was found.
        actual: i64,
    },
    /// It is smaller than allowed.
    #[error("{measure} too small (minimum {minimum}, got {actual})")]
    TooSmall {
        /// What was measured.
        measure: Measure,
        /// The smallest allowed.
        minimum: i64,
        /// What was found.
        actual: i64,
    },
    /// It is not spelled as its format demands.
    #[error("Invalid {} (got {got})", described(*.format))]
    Format {
        /// The format.
        format: Format,
        /// What it is.
        got: String,
    },
    /// The schema refers to a definition that is not in the catalog, or that does not describe data.
    #[error("Unresolved lexicon reference {0}")]
    Unresolved(Reference),
}

/// What a value should have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is named after the type")]
pub enum Expected {
    Array,
    Blob,
    Boolean,
    Bytes,
    Cid,
    Integer,
    Null,
    Object,
    String,
    Token,
    /// An object with a `$type`.
    Typed,
    /// A `$type` that does not spell out `#main`.
    TypeName,
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Array => "array",
            Self::Blob => "blob",
            Self::Boolean => "boolean",
            Self::Bytes => "bytes",
            Self::Cid => "cid",
            Self::Integer => "integer",
            Self::Null => "null",
            Self::Object => "object",
            Self::String => "string",
            Self::Token => "token",
            Self::Typed => "an object which includes the \"$type\" property",
            Self::TypeName => "a \"$type\" without \"#main\"",
        })
    }
}

/// What a bound is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// The number itself.
    Integer,
    /// Bytes of UTF-8.
    String,
    /// Grapheme clusters.
    Grapheme,
    /// Bytes.
    Bytes,
    /// Bytes of a blob.
    Blob,
    /// Items.
    Array,
}

impl std::fmt::Display for Measure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Integer => "integer",
            Self::String => "string",
            Self::Grapheme => "grapheme",
            Self::Bytes => "bytes",
            Self::Blob => "blob",
            Self::Array => "array",
        })
    }
}

fn described(format: Format) -> &'static str {
    match format {
        Format::AtIdentifier => "AT identifier",
        Format::Cid => "CID string",
        Format::Did => "DID",
        Format::Nsid => "NSID",
        Format::RecordKey => "record key",
        Format::Tid => "TID string",
        other => other.name(),
    }
}

fn one_of(allowed: &[String]) -> String {
    match allowed {
        [] => String::new(),
        [only] => only.clone(),
        [firsts @ .., last] => format!("one of {} or {last}", firsts.join(", ")),
    }
}

/// The longest string that a preview shows whole, in characters.
const PREVIEW_CHARS: usize = 255;
/// How many items or fields of a container a preview shows.
const PREVIEW_ITEMS: usize = 2;
/// How deep a preview looks into lists.
const PREVIEW_DEPTH: usize = 3;

/// What a message shows of `value`; `None` is a missing field.
pub(super) fn preview(value: Option<&Value>) -> String {
    value.map_or_else(|| "undefined".to_owned(), |value| shown(value, PREVIEW_DEPTH))
}

fn shown(value: &Value, depth: usize) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(truth) => truth.to_string(),
        Value::Int(number) => number.to_string(),
        Value::String(text) => match text.char_indices().nth(PREVIEW_CHARS) {
            Some((end, _)) => quoted(&format!("{}…", text.get(..end).unwrap_or_default())),
            None => quoted(text),
        },
        Value::Bytes(_) => "object".to_owned(),
        Value::Link(_) => "cid".to_owned(),
        Value::Array(_) if depth == 0 => "[...]".to_owned(),
        Value::Array(items) => {
            let items = items.iter().map(|item| shown(item, depth - 1));
            format!("[{}]", listed(items))
        }
        Value::Map(map) => format!("{{{}}}", listed(map.iter().map(|(key, _)| format!("{}: ...", quoted(key))))),
    }
}

fn listed(items: impl ExactSizeIterator<Item = String>) -> String {
    let more = if items.len() > PREVIEW_ITEMS { ", ..." } else { "" };
    items.take(PREVIEW_ITEMS).collect::<Vec<_>>().join(", ") + more
}

/// `text` as a JSON string.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::json;

    fn seen(text: &str) -> String {
        preview(Some(&json::parse(text.as_bytes()).unwrap()))
    }

    #[test]
    fn a_preview_is_short_whatever_the_value() {
        assert_eq!(preview(None), "undefined");
        assert_eq!(seen(r#""a\"b""#), r#""a\"b""#);
        assert_eq!(seen(&format!("\"{}\"", "é".repeat(255))).chars().count(), 257);
        assert!(seen(&format!("\"{}\"", "é".repeat(256))).ends_with("é…\""));
        assert_eq!(seen("[1,null,true]"), "[1, null, ...]");
        assert_eq!(seen("[[[[1]]]]"), "[[[[...]]]]");
        assert_eq!(seen(r#"{"b":1,"a":{},"c":[]}"#), r#"{"a": ..., "b": ..., ...}"#);
        assert_eq!(seen(r#"{"$bytes":"AA"}"#), "object");
    }

    #[test]
    fn alternatives_are_listed_as_a_sentence() {
        let names = |count| (1..=count).map(|n: i64| n.to_string()).collect::<Vec<_>>();
        assert_eq!([one_of(&names(0)), one_of(&names(1)), one_of(&names(3))], ["", "1", "one of 1, 2 or 3"]);
    }
}
