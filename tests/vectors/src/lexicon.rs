//! Lexicons: documents, and records held against them.

use data_encoding::{BASE64_NOPAD, Encoding};
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::cid::Cid;
use shared::data::{Map, Value};
use shared::lexicon::{Catalog, Issue, LexiconDoc, LexiconError};
use shared::syntax::{Nsid, RecordKey};

use crate::official;
use crate::report::{Group, Verdict};

#[derive(Debug, Deserialize)]
struct Document {
    name: &'static str,
    #[serde(borrow)]
    lexicon: &'static RawValue,
}

#[derive(Debug, Deserialize)]
struct Record {
    name: &'static str,
    rkey: &'static str,
    data: serde_json::Value,
}

const CATALOG: [&str; 5] = ["permission-set", "procedure", "query", "record", "subscription"];

pub(crate) fn groups() -> Vec<Group> {
    let mut catalog = Catalog::new();
    let mut groups = Vec::new();
    for name in CATALOG {
        groups.push(official::group(&format!("lexicon/catalog/{name}.json"), 1, |group, text| {
            let parsed = LexiconDoc::parse(text).map(|doc| catalog.add(doc));
            group.case(name, parsed.map_err(|error| error.to_string()));
        }));
    }
    groups.push(official::json("lexicon/lexicon-valid.json", 3, |group, cases: Vec<Document>| {
        for case in cases {
            let parsed = LexiconDoc::parse(case.lexicon.get().as_bytes());
            group.case(case.name, parsed.map(drop).map_err(|error| error.to_string()));
        }
    }));
    groups.push(official::json("lexicon/lexicon-invalid.json", 7, |group, cases: Vec<Document>| {
        for case in cases {
            let parsed = LexiconDoc::parse(case.lexicon.get().as_bytes());
            group.case(case.name, parsed.map_or(Ok(()), |_| Err("accepted".to_owned())));
        }
    }));
    groups.push(official::json("lexicon/record-data-valid.json", 3, |group, cases: Vec<Record>| {
        for case in cases {
            group.case(case.name, accepted(&catalog, case));
        }
    }));
    groups.push(official::json("lexicon/record-data-invalid.json", 50, |group, cases: Vec<Record>| {
        for case in cases {
            group.case(case.name, refused(&catalog, case));
        }
    }));
    groups
}

fn accepted(catalog: &Catalog, case: Record) -> Verdict {
    validate(catalog, case)?.map_err(|error| error.to_string())
}

/// Refused for what the record holds, not because its type or a part of it is unknown.
fn refused(catalog: &Catalog, case: Record) -> Verdict {
    match validate(catalog, case)? {
        Err(LexiconError::Record { invalid, .. }) if !matches!(invalid.kind, Issue::Unresolved(_)) => Ok(()),
        other => Err(format!("{other:?}")),
    }
}

fn validate(catalog: &Catalog, case: Record) -> Result<Result<(), LexiconError>, String> {
    let collection = case.data.get("$type").and_then(serde_json::Value::as_str).ok_or("no $type")?;
    let collection = Nsid::parse(collection).map_err(|error| error.to_string())?;
    let rkey = RecordKey::parse(case.rkey).map_err(|error| error.to_string())?;
    let record = value(case.data).ok_or("not of the data model")?;
    Ok(catalog.validate_record(&collection, &rkey, &record))
}

/// The value that JSON stands for, without the rules for blobs: the vectors have some whose link is not of raw bytes,
/// which a lexicon does not mind and [`shared::data::json`] refuses.
fn value(json: serde_json::Value) -> Option<Value> {
    use serde_json::Value as Json;
    Some(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => truth.into(),
        Json::Number(number) => number.as_i64()?.into(),
        Json::String(text) => text.into(),
        Json::Array(items) => items.into_iter().map(value).collect::<Option<Vec<_>>>()?.into(),
        Json::Object(fields) => match (fields.len(), fields.get("$link"), fields.get("$bytes")) {
            (1, Some(Json::String(cid)), _) => Cid::parse(cid).ok()?.into(),
            (1, _, Some(Json::String(base64))) => Value::Bytes(lenient_base64()?.decode(base64.as_bytes()).ok()?),
            _ => {
                let fields = fields.into_iter().map(|(key, inner)| Some((key, value(inner)?)));
                Value::Map(fields.collect::<Option<Vec<_>>>()?.into_iter().collect::<Map>())
            }
        },
    })
}

/// One of the vectors has bits behind its last byte.
fn lenient_base64() -> Option<Encoding> {
    let mut specification = BASE64_NOPAD.specification();
    specification.check_trailing_bits = false;
    specification.encoding().ok()
}
