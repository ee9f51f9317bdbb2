//! JSON of the data model: what is accepted survives both encodings, and is JSON to another parser too.
#![no_main]

use fuzz::bounded;
use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use shared::cbor;
use shared::data::json::{self, JsonErrorKind};
use shared::data::{Value, blobs, holds_legacy_blob};

fuzz_target!(|data: &[u8]| {
    let parsed = bounded(data.len(), || json::parse(data));
    let is_json = serde_json::from_slice::<IgnoredAny>(data).is_ok();
    match parsed {
        Ok(value) => {
            assert!(is_json);
            assert_eq!(cbor::decode(&cbor::encode(&value)).as_ref(), Ok(&value));
            let text = serde_json::to_vec(&value).expect("every value has a form in JSON");
            assert_eq!(json::parse(&text).as_ref(), Ok(&value));
            assert_eq!(serde_json::from_slice::<Value>(&text).expect("the same parser"), value);
            assert!(blobs(&value).iter().all(|blob| blob.cid.is_blob()));
            assert!(!holds_legacy_blob(&value) || text.windows(10).any(|part| part == b"\"mimeType\""));
        }
        Err(error) => assert!(error.kind != JsonErrorKind::Syntax || !is_json, "{error}"),
    }
});
