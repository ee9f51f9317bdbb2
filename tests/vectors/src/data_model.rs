//! The data model: JSON, DAG-CBOR and CIDs of the same values, and JSON that is none.

use data_encoding::BASE64_NOPAD;
use serde::Deserialize;
use serde_json::value::RawValue;
use shared::cbor;
use shared::cid::Cid;
use shared::data::json::{self, JsonErrorKind};

use crate::official;
use crate::report::{Group, Verdict, same};

#[derive(Debug, Deserialize)]
struct Fixture {
    #[serde(borrow)]
    json: &'static RawValue,
    cbor_base64: &'static str,
    cid: &'static str,
}

#[derive(Debug, Deserialize)]
struct Case {
    note: &'static str,
    #[serde(borrow)]
    json: &'static RawValue,
}

/// Why each of the invalid values is refused, in the order of the file; `None` for the one that is no object.
const REASONS: [Option<JsonErrorKind>; 12] = [
    None,
    Some(JsonErrorKind::Float),
    Some(JsonErrorKind::Type),
    Some(JsonErrorKind::Type),
    Some(JsonErrorKind::Type),
    Some(JsonErrorKind::Blob),
    Some(JsonErrorKind::Blob),
    Some(JsonErrorKind::Bytes),
    Some(JsonErrorKind::Bytes),
    Some(JsonErrorKind::Link),
    Some(JsonErrorKind::Link),
    Some(JsonErrorKind::Link),
];

pub(crate) fn groups() -> Vec<Group> {
    vec![
        official::json("data-model/data-model-fixtures.json", 3, |group, cases: Vec<Fixture>| {
            for case in cases {
                group.case(case.cid, converts(&case));
            }
        }),
        official::json("data-model/data-model-valid.json", 5, |group, cases: Vec<Case>| {
            for case in cases {
                group.case(case.note, accepted(case.json.get()));
            }
        }),
        official::json("data-model/data-model-invalid.json", REASONS.len(), |group, cases: Vec<Case>| {
            for (case, reason) in cases.into_iter().zip(REASONS) {
                group.case(case.note, refused(case.json.get(), reason));
            }
        }),
    ]
}

/// Both encodings and the CID come out of each other.
fn converts(case: &Fixture) -> Verdict {
    let bytes = BASE64_NOPAD.decode(case.cbor_base64.as_bytes()).map_err(|error| error.to_string())?;
    let value = json::parse(case.json.get().as_bytes()).map_err(|error| error.to_string())?;
    same(&cbor::encode(&value), &bytes)?;
    same(&cbor::decode(&bytes).as_ref(), &Ok(&value))?;
    same(&Cid::of_cbor(&bytes).to_string().as_str(), &case.cid)?;
    let text = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    same(&json::parse(&text), &Ok(value))
}

/// An object that survives both encodings.
fn accepted(text: &str) -> Verdict {
    let value = json::parse(text.as_bytes()).map_err(|error| error.to_string())?;
    if value.as_map().is_none() {
        return Err("no object".to_owned());
    }
    same(&cbor::decode(&cbor::encode(&value)).as_ref(), &Ok(&value))?;
    let text = serde_json::to_vec(&value).map_err(|error| error.to_string())?;
    same(&json::parse(&text), &Ok(value))
}

fn refused(text: &str, reason: Option<JsonErrorKind>) -> Verdict {
    match (json::parse(text.as_bytes()), reason) {
        (Ok(value), None) if value.as_map().is_none() => Ok(()),
        (Err(error), Some(kind)) => same(&error.kind, &kind),
        (found, _) => Err(format!("{found:?} instead of {reason:?}")),
    }
}
