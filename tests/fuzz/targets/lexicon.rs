//! Lexicons: a document of any shape, and a record of any shape against it and against the types that are built in.
//!
//! The input is two JSON texts with a zero byte between them: a document and a record.
#![no_main]

use std::sync::LazyLock;

use fuzz::{bounded, bounded_by};
use libfuzzer_sys::fuzz_target;
use shared::data::{Value, json};
use shared::lexicon::{Catalog, Def, LexiconDoc, LexiconError};
use shared::syntax::{Nsid, RecordKey};

static BUILTIN: LazyLock<Catalog> = LazyLock::new(Catalog::builtin);

fuzz_target!(|data: &[u8]| {
    LazyLock::force(&BUILTIN);
    let (document, record) = data.split_at(data.iter().position(|byte| *byte == 0).unwrap_or(data.len()));
    let record = json::parse(record.get(1..).unwrap_or_default()).unwrap_or(Value::Null);
    bounded(data.len(), || validate(&BUILTIN, &record));
    let Ok(document) = bounded_by(document.len() * 512 + (1 << 17), || LexiconDoc::parse(document)) else { return };
    let mut catalog = Catalog::new();
    catalog.add(document);
    assert!(catalog.unresolved().iter().all(|reference| catalog.def(reference.as_str()).is_none()));
    bounded(data.len(), || validate(&catalog, &record));
    for (name, def) in catalog.defs() {
        assert!(catalog.def(name.as_str()).is_some());
        if let Def::Data(schema) = def {
            let _ = bounded(data.len(), || catalog.validate(schema, &record).map_err(|invalid| invalid.to_string()));
        }
    }
});

/// Holds the record against its own type, under keys of each kind.
fn validate(catalog: &Catalog, record: &Value) {
    let Some(kind) = record.get("$type").and_then(Value::as_str).and_then(|kind| Nsid::parse(kind).ok()) else {
        return;
    };
    for rkey in ["3kznmn7xqxl22", "self", "com.example.thing", "any"] {
        let rkey = RecordKey::parse(rkey).expect("a record key");
        match catalog.validate_record(&kind, &rkey, record) {
            Ok(()) => assert!(catalog.knows_record(kind.as_str())),
            Err(LexiconError::Unknown(_)) => assert!(!catalog.knows_record(kind.as_str())),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
}
