//! From a value to a write: what needs no lock.
//!
//! A record that comes out of here has its `$type`, satisfies its lexicon as far as the caller asked for that, is encoded
//! and hashed, and its blobs and links are known. It may still be refused for what stands in the repository.

use bytes::Bytes;
use shared::api::repo::ValidationStatus;
use shared::cbor;
use shared::cid::Cid;
use shared::data::{self, Map, Value};
use shared::lexicon::{Catalog, LexiconError};
use shared::repo::Record;
use shared::syntax::{AtUri, Did, Nsid, RecordKey};

use super::Backlink;

/// A record ready to be written.
#[derive(Debug, Clone)]
pub struct PreparedRecord {
    /// The block.
    pub record: Record,
    /// The blobs that it refers to.
    pub blobs: Vec<data::BlobRef>,
    /// The links that it makes.
    pub backlinks: Vec<Backlink>,
    /// What its lexicon says of it; `None` when nobody asked.
    pub status: Option<ValidationStatus>,
}

/// Why a record cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// Not an object.
    #[error("Expected record to be an object")]
    NotAnObject,
    /// A `$type` other than the collection.
    #[error("Invalid $type: expected {expected}, got {found}")]
    Type {
        /// The collection.
        expected: Nsid,
        /// What stands in the record.
        found: String,
    },
    /// A record key that holds a slur.
    #[error("Unacceptable slur in record key")]
    Slur,
    /// A record that its lexicon refuses, or one that had to be validated and whose lexicon is not known.
    #[error(transparent)]
    Lexicon(#[from] LexiconError),
    /// A blob in the shape of before 2023.
    #[error("Legacy blobs are not allowed")]
    LegacyBlob,
}

/// Prepares a record for its place. `validate`: true demands that its lexicon is known, false asks for no validation,
/// `None` validates if it is known.
///
/// # Errors
/// A [`PrepareError`].
pub fn prepare_record(
    catalog: &Catalog,
    collection: &Nsid,
    rkey: &RecordKey,
    record: Value,
    validate: Option<bool>,
) -> Result<PreparedRecord, PrepareError> {
    let Value::Map(mut map) = record else { return Err(PrepareError::NotAnObject) };
    match map.get("$type") {
        None => drop(map.insert("$type", collection.as_str())),
        Some(Value::String(found)) if found == collection.as_str() => {}
        Some(found) => {
            let found = serde_json::to_string(found).unwrap_or_default();
            let found = found.trim_matches('"').to_owned();
            return Err(PrepareError::Type { expected: collection.clone(), found });
        }
    }
    let backlinks = backlinks(collection, &map);
    let record = Value::Map(map);
    let status = match validate {
        Some(false) => None,
        None if !catalog.knows_record(collection.as_str()) => Some(ValidationStatus::Unknown),
        _ => {
            catalog.validate_record(collection, rkey, &record)?;
            Some(ValidationStatus::Valid)
        }
    };
    if data::holds_legacy_blob(&record) {
        return Err(PrepareError::LegacyBlob);
    }
    let bytes = Bytes::from(cbor::encode(&record));
    let blobs = data::blobs(&record);
    Ok(PreparedRecord { record: Record { cid: Cid::of_cbor(&bytes), bytes }, blobs, backlinks, status })
}

/// The links that a record makes, of the kinds that an account makes once for each subject. A malformed one is none.
#[must_use]
pub fn backlinks(collection: &Nsid, record: &Map) -> Vec<Backlink> {
    let link = match collection.as_str() {
        "app.bsky.graph.follow" | "app.bsky.graph.block" => record
            .get("subject")
            .and_then(Value::as_str)
            .filter(|did| Did::check(did).is_ok())
            .map(|did| Backlink { path: "subject", link_to: did.to_owned() }),
        "app.bsky.feed.like" | "app.bsky.feed.repost" => record
            .get("subject")
            .and_then(|subject| subject.get("uri"))
            .and_then(Value::as_str)
            .filter(|uri| AtUri::check(uri).is_ok())
            .map(|uri| Backlink { path: "subject.uri", link_to: uri.to_owned() }),
        _ => None,
    };
    link.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(collection: &str, json: &str, validate: Option<bool>) -> Result<PreparedRecord, PrepareError> {
        let value = data::json::parse(json.as_bytes()).unwrap();
        let rkey = RecordKey::parse("3jzfcijpj2z2a").unwrap();
        prepare_record(&Catalog::builtin(), &Nsid::parse(collection).unwrap(), &rkey, value, validate)
    }

    #[test]
    fn a_missing_type_is_filled_in_and_a_wrong_one_refused() {
        let post = r#"{"text":"x","createdAt":"2024-01-01T00:00:00Z"}"#;
        let prepared = prepare("app.bsky.feed.post", post, None).unwrap();
        let record = cbor::decode(&prepared.record.bytes).unwrap();
        assert_eq!(record.get("$type"), Some(&Value::from("app.bsky.feed.post")));
        assert_eq!(prepared.status, Some(ValidationStatus::Valid));
        let wrong = prepare("app.bsky.feed.post", r#"{"$type":"app.bsky.feed.like"}"#, Some(false)).unwrap_err();
        assert_eq!(wrong.to_string(), "Invalid $type: expected app.bsky.feed.post, got app.bsky.feed.like");
        assert_eq!(prepare("a.b.c", "[]", None).unwrap_err(), PrepareError::NotAnObject);
    }

    #[test]
    fn validation_is_demanded_declined_or_left_to_what_is_known() {
        let (bad, unknown) = (r#"{"text":1}"#, r#"{"x":1}"#);
        assert!(matches!(prepare("app.bsky.feed.post", bad, None), Err(PrepareError::Lexicon(_))));
        assert_eq!(prepare("app.bsky.feed.post", bad, Some(false)).unwrap().status, None);
        assert_eq!(prepare("com.example.thing", unknown, None).unwrap().status, Some(ValidationStatus::Unknown));
        let demanded = prepare("com.example.thing", unknown, Some(true)).unwrap_err();
        assert_eq!(demanded.to_string(), "Unknown lexicon type: com.example.thing");
    }

    #[test]
    fn links_and_blobs_are_found_and_old_blobs_refused() {
        let like = r#"{"subject":{"uri":"at://did:plc:a/app.bsky.feed.post/1","cid":"x"}}"#;
        let links = prepare("app.bsky.feed.like", like, Some(false)).unwrap().backlinks;
        let link_to = "at://did:plc:a/app.bsky.feed.post/1".to_owned();
        assert_eq!(links, [Backlink { path: "subject.uri", link_to }]);
        assert!(prepare("app.bsky.graph.follow", r#"{"subject":"nobody"}"#, Some(false)).unwrap().backlinks.is_empty());
        let cid = "bafkreiccldh766hwcnuxnf2wh6jgzepf2nlu2lvcllt63eww5p6chi4ity";
        let blob = format!(r#"{{"a":{{"$type":"blob","ref":{{"$link":"{cid}"}},"mimeType":"a/b","size":1}}}}"#);
        assert_eq!(prepare("a.b.c", &blob, Some(false)).unwrap().blobs.len(), 1);
        let old = format!(r#"{{"a":{{"cid":"{cid}","mimeType":"a/b"}}}}"#);
        assert_eq!(prepare("a.b.c", &old, Some(false)).unwrap_err(), PrepareError::LegacyBlob);
    }
}
