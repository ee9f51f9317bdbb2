//! A fully populated sample of every input, output and parameter set, and what must hold for each of them.

use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};

use super::*;
use crate::repo::Swap;

mod samples;

/// What a sample is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Params,
    Input,
    Output,
}

/// JSON with every field of a type present, and the way through the type.
struct Sample {
    nsid: &'static str,
    part: Part,
    json: Json,
    through: fn(&Json) -> serde_json::Result<Json>,
}

impl Sample {
    fn of<T: Serialize + DeserializeOwned>(nsid: &'static str, part: Part, json: Json) -> Self {
        Self { nsid, part, json, through: |json| serde_json::to_value(serde_json::from_str::<T>(&json.to_string())?) }
    }
}

/// Pointers to every object in `json` that a type describes, which is not part of a record, a document or an operation.
fn objects(json: &Json, at: &str) -> Vec<String> {
    match json {
        Json::Object(map) if map.contains_key("data") || map.get("$type") == Some(&json!("blob")) => Vec::new(),
        Json::Object(map) => {
            let within = map.iter().flat_map(|(key, inner)| objects(inner, &format!("{at}/{key}")));
            std::iter::once(at.to_owned()).chain(within).collect()
        }
        Json::Array(items) => {
            items.iter().enumerate().flat_map(|(index, inner)| objects(inner, &format!("{at}/{index}"))).collect()
        }
        _ => Vec::new(),
    }
}

/// The object that `pointer` points at, to be changed.
fn object<'a>(json: &'a mut Json, pointer: &str) -> &'a mut serde_json::Map<String, Json> {
    json.pointer_mut(pointer).and_then(Json::as_object_mut).unwrap()
}

#[test]
fn every_sample_comes_back_unchanged() {
    for Sample { nsid, part, json, through } in samples::all() {
        assert_eq!(through(&json).unwrap(), json, "{nsid} {part:?}");
    }
}

#[test]
fn unknown_fields_are_tolerated_and_dropped() {
    for Sample { nsid, part, json, through } in samples::all() {
        for pointer in objects(&json, "") {
            let mut more = json.clone();
            object(&mut more, &pointer).insert("unheardOf".to_owned(), json!({"a": [1.5]}));
            assert_eq!(through(&more).unwrap(), json, "{nsid} {part:?} {pointer}");
        }
    }
}

#[test]
fn a_missing_field_is_an_error_or_stays_missing() {
    // The one field that is required, has a default, and is written even so.
    let written_anyway = "codeCount";
    for Sample { nsid, part, json, through } in samples::all() {
        for pointer in objects(&json, "") {
            let keys: Vec<String> = object(&mut json.clone(), &pointer).keys().cloned().collect();
            for key in keys.iter().filter(|key| *key != written_anyway) {
                let mut less = json.clone();
                object(&mut less, &pointer).remove(key);
                if let Ok(back) = through(&less) {
                    assert_eq!(back, less, "{nsid} {part:?} without {pointer}/{key}");
                }
            }
        }
    }
}

#[test]
fn every_sample_is_of_a_known_method_and_there_is_one_of_each() {
    assert!(METHODS.is_sorted_by_key(|method| method.nsid));
    let samples = samples::all();
    assert!(samples.is_sorted_by_key(|sample| (sample.nsid, sample.part)));
    for sample in &samples {
        assert!(METHODS.iter().any(|method| method.nsid == sample.nsid), "{}", sample.nsid);
    }
    // These take and give bytes, or nothing at all.
    let bare = [
        "com.atproto.identity.requestPlcOperationSignature",
        "com.atproto.repo.importRepo",
        "com.atproto.server.activateAccount",
        "com.atproto.server.deleteSession",
        "com.atproto.server.requestAccountDelete",
        "com.atproto.server.requestEmailConfirmation",
    ];
    for method in METHODS {
        let sampled = samples.iter().any(|sample| sample.nsid == method.nsid);
        assert_ne!(sampled, bare.contains(&method.nsid), "{}", method.nsid);
    }
}

#[test]
fn swap_record_keeps_its_three_states() {
    let cid = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";
    let put = |swap: Option<Json>| {
        let mut input = json!({"repo": "a.test", "collection": "a.b.c", "rkey": "self", "record": {}});
        if let (Some(swap), Json::Object(map)) = (swap, &mut input) {
            map.insert("swapRecord".to_owned(), swap);
        }
        input
    };
    let states =
        [(None, Swap::Any), (Some(Json::Null), Swap::Absent), (Some(json!(cid)), Swap::Is(cid.parse().unwrap()))];
    for (field, swap) in states {
        let json = put(field);
        let input: repo::PutRecord = serde_json::from_str(&json.to_string()).unwrap();
        assert_eq!(input.swap_record, swap);
        assert_eq!(serde_json::to_value(&input).unwrap(), json);
    }
}

#[test]
fn a_guard_that_is_null_is_refused_rather_than_dropped() {
    for guard in ["swapCommit", "swapRecord"] {
        let mut input = json!({"repo": "a.test", "collection": "a.b.c", "rkey": "self"});
        input[guard] = Json::Null;
        assert!(serde_json::from_str::<repo::DeleteRecord>(&input.to_string()).is_err(), "{guard}");
    }
}

#[test]
fn a_write_without_its_fields_or_of_an_unknown_kind_is_refused() {
    let error = |op: Json| serde_json::from_str::<repo::WriteOp>(&op.to_string()).unwrap_err().to_string();
    let kind = |kind: &str| format!("com.atproto.repo.applyWrites#{kind}");
    let op = json!({"$type": kind("upsert"), "collection": "a.b.c", "rkey": "self", "value": {}});
    assert_eq!(error(op), "action not supported: com.atproto.repo.applyWrites#upsert");
    assert_eq!(error(json!({"$type": kind("create"), "collection": "a.b.c"})), "missing field `value`");
    assert_eq!(error(json!({"$type": kind("update"), "collection": "a.b.c", "value": {}})), "missing field `rkey`");
    assert_eq!(error(json!({"$type": kind("delete"), "collection": "a.b.c"})), "missing field `rkey`");
    assert!(error(json!({"collection": "a.b.c", "rkey": "self"})).starts_with("missing field `$type`"));
}

#[test]
fn a_limit_is_within_its_range() {
    let limit = |text: &str| serde_json::from_str::<Limit<50, 100>>(text).map(Limit::get).map_err(|e| e.to_string());
    assert_eq!(limit("1"), Ok(1));
    assert_eq!(limit("100"), Ok(100));
    assert_eq!(limit("101").unwrap_err(), "limit is 101, must be 1 to 100");
    assert_eq!(limit("0").unwrap_err(), "limit is 0, must be 1 to 100");
    assert_eq!(limit("-70000").unwrap_err(), "limit is -70000, must be 1 to 100");
    assert_eq!(Limit::<50, 100>::default().get(), 50);
    assert_eq!(Limit::<50, 100>::new(101), None);
}

#[test]
fn a_secret_does_not_show_itself() {
    let input: server::ResetPassword = serde_json::from_str(r#"{"token":"t0ken","password":"passw0rd"}"#).unwrap();
    assert!(!format!("{input:?}").contains('0'));
    assert_eq!(input.password.expose(), "passw0rd");
    assert_eq!(input.token, Secret::new("t0ken"));
}
