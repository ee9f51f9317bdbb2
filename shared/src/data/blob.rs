//! Blob references inside records, in today's shape and in the one of before 2023.
//!
//! A [`BlobRef`] is exactly `{$type: "blob", ref, mimeType, size}` with the CID of raw bytes. The legacy shape
//! `{cid, mimeType}` is recognised, never made. Specification: <https://atproto.com/specs/blob>.

use super::{Map, Value};
use crate::cid::Cid;

/// A reference to a blob, as it stands in a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRef {
    /// The CID of the blob's bytes, raw codec.
    pub cid: Cid,
    /// Its media type, with a slash in it.
    pub mime_type: String,
    /// Its size in bytes; an empty blob is valid.
    pub size: u64,
}

impl BlobRef {
    /// The reference that `map` is, or `None`: all four fields and no other, each of its type.
    #[must_use]
    pub fn from_map(map: &Map) -> Option<Self> {
        if map.len() != 4 || map.get("$type")?.as_str()? != "blob" {
            return None;
        }
        let cid = map.get("ref")?.as_link()?;
        let mime_type = map.get("mimeType")?.as_str()?;
        let size = u64::try_from(map.get("size")?.as_int()?).ok()?;
        (cid.is_blob() && mime_type.contains('/')).then(|| Self {
            cid: cid.clone(),
            mime_type: mime_type.to_owned(),
            size,
        })
    }

    /// The reference as it stands in a record; `None` when the size is beyond what an integer holds.
    #[must_use]
    pub fn to_value(&self) -> Option<Value> {
        let fields: [(&str, Value); 4] = [
            ("$type", "blob".into()),
            ("ref", self.cid.clone().into()),
            ("mimeType", self.mime_type.as_str().into()),
            ("size", i64::try_from(self.size).ok()?.into()),
        ];
        Some(Value::Map(fields.into_iter().collect()))
    }
}

/// Every blob reference in `value`, at any depth, in the order of the encoded record; the same blob may come twice.
#[must_use]
pub fn blobs(value: &Value) -> Vec<BlobRef> {
    let mut found = Vec::new();
    walk(value, &mut |map| found.extend(BlobRef::from_map(map)));
    found
}

/// Whether `value` holds a blob in the shape of before 2023. New records must not.
#[must_use]
pub fn holds_legacy_blob(value: &Value) -> bool {
    !legacy_blobs(value).is_empty()
}

/// Every blob in `value` that is in the shape of before 2023: a map of exactly `cid`, a CID as a string, and `mimeType`.
#[must_use]
pub fn legacy_blobs(value: &Value) -> Vec<Cid> {
    let mut found = Vec::new();
    walk(value, &mut |map| found.extend(from_legacy_map(map)));
    found
}

fn from_legacy_map(map: &Map) -> Option<Cid> {
    let text = |key| map.get(key).and_then(Value::as_str);
    text("mimeType").filter(|mime| !mime.is_empty() && map.len() == 2)?;
    Cid::parse(text("cid")?).ok()
}

fn walk(value: &Value, visit: &mut impl FnMut(&Map)) {
    match value {
        Value::Map(map) => {
            visit(map);
            map.iter().for_each(|(_, inner)| walk(inner, visit));
        }
        Value::Array(items) => items.iter().for_each(|inner| walk(inner, visit)),
        _ => {}
    }
}
