//! Whether a value keeps to its schema.
//!
//! A walk over schema and value together that allocates nothing while all is well. The fields of a schema and of a
//! map stand in the same order, so an object is one pass over both. The first issue ends the walk; it is found in
//! DAG-CBOR order of the fields.
//!
//! What the data model demands of every value (integer range, blobs of raw bytes, depth) was checked when the value was
//! parsed; a blob here is any object of the shape of one.
//!
//! Specification: <https://atproto.com/specs/lexicon>.

use std::cmp::Ordering;

use unicode_segmentation::UnicodeSegmentation;

use super::issue::{preview, quoted};
use super::{
    Array, Blob, Bounds, Catalog, Def, Expected, Format, Integer, Invalid, Issue, KeyType, LexiconError, Measure,
    Object, Reference, Schema, Text, Union,
};
use crate::data::{Map, Value, key_order};
use crate::syntax::{Nsid, RecordKey};

type Verdict = Result<(), Invalid>;

impl Catalog {
    /// Whether `record` may stand under `rkey` in `collection`.
    ///
    /// # Errors
    /// [`LexiconError::Unknown`] for a type that is not in the catalog; else the first thing that is wrong with the key
    /// or with the record, whose `$type` must be `collection`.
    pub fn validate_record(&self, collection: &Nsid, rkey: &RecordKey, record: &Value) -> Result<(), LexiconError> {
        let Some(schema) = self.record(collection.as_str()) else {
            return Err(LexiconError::Unknown(collection.clone()));
        };
        record_key(&schema.key, rkey)
            .map_err(|invalid| LexiconError::Key { collection: collection.clone(), invalid })?;
        self.object(&schema.object, record)
            .and_then(|()| named(collection.as_str(), record.get("$type")))
            .map_err(|invalid| LexiconError::Record { collection: collection.clone(), invalid })
    }

    /// Whether `value` is what `schema` describes.
    ///
    /// # Errors
    /// The first issue, with its place in the value.
    pub fn validate(&self, schema: &Schema, value: &Value) -> Verdict {
        match schema {
            Schema::Null => is(matches!(value, Value::Null), Expected::Null, value),
            Schema::Boolean { only } => boolean(*only, value),
            Schema::Integer(integer) => integer.check(value),
            Schema::String(text) => text.check(value),
            Schema::Bytes(length) => match value {
                Value::Bytes(bytes) => length.check(Measure::Bytes, count(bytes.len())),
                other => mismatch(Expected::Bytes, other),
            },
            Schema::CidLink => is(matches!(value, Value::Link(_)), Expected::Cid, value),
            Schema::Blob(blob) => blob.check(value),
            Schema::Array(array) => self.array(array, value),
            Schema::Object(object) => self.object(object, value),
            Schema::Ref(reference) => self.reference(reference, value),
            Schema::Union(union) => self.union(union, value),
            Schema::Unknown => {
                let blob = value.get("$type").and_then(Value::as_str) == Some("blob");
                is(value.as_map().is_some() && !blob, Expected::Object, value)
            }
        }
    }

    fn array(&self, array: &Array, value: &Value) -> Verdict {
        let Value::Array(items) = value else { return mismatch(Expected::Array, value) };
        array.length.check(Measure::Array, count(items.len()))?;
        for (at, item) in items.iter().enumerate() {
            self.validate(&array.items, item).map_err(|invalid| invalid.inside(at))?;
        }
        Ok(())
    }

    fn object(&self, object: &Object, value: &Value) -> Verdict {
        let Value::Map(map) = value else { return mismatch(Expected::Object, value) };
        let mut fields = map.iter();
        let mut next = fields.next();
        for property in &object.properties {
            let name = &*property.name;
            while next.is_some_and(|(key, _)| key_order(key, name) == Ordering::Less) {
                next = fields.next();
            }
            match next {
                Some((key, Value::Null)) if key == name && property.nullable => {}
                Some((key, value)) if key == name => {
                    self.validate(&property.schema, value).map_err(|invalid| invalid.inside(name))?;
                }
                _ if property.required => return Err(Issue::Required { key: name.to_owned() }.into()),
                _ => {}
            }
        }
        Ok(())
    }

    fn reference(&self, reference: &Reference, value: &Value) -> Verdict {
        let name = reference.as_str();
        match self.def(name) {
            Some(Def::Data(schema @ Schema::Object(_))) => {
                // An object may leave out what it is, but not claim to be something else.
                if let Some(kind) = value.get("$type") {
                    named(name, Some(kind))?;
                }
                self.validate(schema, value)
            }
            Some(Def::Data(schema)) => self.validate(schema, value),
            Some(Def::Record(record)) => {
                self.object(&record.object, value)?;
                named(name, value.get("$type"))
            }
            Some(Def::Token) => match value.as_str() {
                Some(text) if text == name => Ok(()),
                Some(_) => Err(unequal([name], Some(value))),
                None => mismatch(Expected::Token, value),
            },
            Some(Def::Method(_) | Def::PermissionSet(_)) | None => Err(Issue::Unresolved(reference.clone()).into()),
        }
    }

    fn union(&self, union: &Union, value: &Value) -> Verdict {
        let Some(kind) = value.get("$type") else { return mismatch(Expected::Typed, value) };
        let name = kind.as_str();
        if let Some(variant) = union.refs.iter().find(|variant| Some(variant.as_str()) == name) {
            return self.reference(variant, value);
        }
        let verdict = match name {
            _ if union.closed => Err(unequal(union.refs.iter().map(Reference::as_str), Some(kind))),
            Some(name) => is(!name.ends_with("#main"), Expected::TypeName, kind),
            None => mismatch(Expected::String, kind),
        };
        verdict.map_err(|invalid| invalid.inside("$type"))
    }
}

/// Whether an object's `$type` is `name`.
fn named(name: &str, kind: Option<&Value>) -> Verdict {
    match kind {
        Some(Value::String(kind)) if kind == name => Ok(()),
        other => Err(unequal([name], other).inside("$type")),
    }
}

fn record_key(key: &KeyType, rkey: &RecordKey) -> Verdict {
    let rkey = rkey.as_str();
    match key {
        KeyType::Any => Ok(()),
        KeyType::Tid => Format::Tid.check(rkey),
        KeyType::Nsid => Format::Nsid.check(rkey),
        KeyType::Literal(only) if only.as_str() == rkey => Ok(()),
        KeyType::Literal(only) => Err(unequal([only.as_str()], Some(&rkey.into()))),
    }
}

fn boolean(only: Option<bool>, value: &Value) -> Verdict {
    match (value, only) {
        (Value::Bool(truth), Some(only)) if *truth != only => {
            Err(Issue::Value { allowed: vec![only.to_string()], got: preview(Some(value)) }.into())
        }
        _ => is(matches!(value, Value::Bool(_)), Expected::Boolean, value),
    }
}

impl Integer {
    fn check(&self, value: &Value) -> Verdict {
        let Value::Int(number) = value else { return mismatch(Expected::Integer, value) };
        if !self.one_of.is_empty() && !self.one_of.contains(number) {
            let allowed = self.one_of.iter().map(ToString::to_string).collect();
            return Err(Issue::Value { allowed, got: preview(Some(value)) }.into());
        }
        self.range.check(Measure::Integer, *number)
    }
}

impl Text {
    fn check(&self, value: &Value) -> Verdict {
        let Value::String(text) = value else { return mismatch(Expected::String, value) };
        if !self.one_of.is_empty() && !self.one_of.contains(text) {
            return Err(unequal(self.one_of.iter().map(String::as_str), Some(value)));
        }
        self.length.check(Measure::String, count(text.len()))?;
        self.check_graphemes(text)?;
        self.format.map_or(Ok(()), |format| format.check(text))
    }

    fn check_graphemes(&self, text: &str) -> Verdict {
        // A cluster is at least one character of at least one byte, so few of those are never too many clusters.
        let few = |max| count(text.len()) <= max || count(text.chars().count()) <= max;
        if self.graphemes.min.is_none() && self.graphemes.max.is_none_or(few) {
            return Ok(());
        }
        self.graphemes.check(Measure::Grapheme, count(graphemes(text)))
    }
}

/// How many grapheme clusters `text` is.
fn graphemes(text: &str) -> usize {
    if text.is_ascii() {
        // The only cluster of more than one ASCII character is a line break.
        return text.len() - text.matches("\r\n").count();
    }
    text.graphemes(true).count()
}

impl Format {
    fn check(self, text: &str) -> Verdict {
        if self.matches(text) {
            Ok(())
        } else {
            Err(Issue::Format { format: self, got: preview(Some(&text.into())) }.into())
        }
    }
}

impl Blob {
    fn check(&self, value: &Value) -> Verdict {
        let Some((mime, size)) = value.as_map().and_then(blob) else { return mismatch(Expected::Blob, value) };
        let accepts = |pattern: &String| match pattern.strip_suffix('*') {
            Some("*/") => true,
            Some(family) if family.ends_with('/') => mime.starts_with(family),
            _ => pattern == mime,
        };
        if !self.accept.is_empty() && !self.accept.iter().any(accepts) {
            let issue = unequal(self.accept.iter().map(String::as_str), value.get("mimeType"));
            return Err(issue.inside("mimeType"));
        }
        Bounds { min: None, max: self.max_size }.check(Measure::Blob, size)
    }
}

/// The media type and the size of the blob reference that `map` is.
fn blob(map: &Map) -> Option<(&str, i64)> {
    let mime = map.get("mimeType")?.as_str()?;
    let size = map.get("size")?.as_int()?;
    map.get("ref")?.as_link()?;
    let kind = map.get("$type")?.as_str()?;
    (map.len() == 4 && kind == "blob" && mime.contains('/') && size >= 0).then_some((mime, size))
}

impl Bounds {
    fn check(self, measure: Measure, actual: i64) -> Verdict {
        if let Some(minimum) = self.min.filter(|min| actual < *min) {
            return Err(Issue::TooSmall { measure, minimum, actual }.into());
        }
        match self.max.filter(|max| actual > *max) {
            Some(maximum) => Err(Issue::TooBig { measure, maximum, actual }.into()),
            None => Ok(()),
        }
    }
}

fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}

fn is(holds: bool, expected: Expected, value: &Value) -> Verdict {
    if holds { Ok(()) } else { mismatch(expected, value) }
}

#[cold]
fn mismatch(expected: Expected, value: &Value) -> Verdict {
    Err(Issue::Type { expected, got: preview(Some(value)) }.into())
}

#[cold]
fn unequal<'a>(allowed: impl IntoIterator<Item = &'a str>, got: Option<&Value>) -> Invalid {
    Issue::Value { allowed: allowed.into_iter().map(quoted).collect(), got: preview(got) }.into()
}
