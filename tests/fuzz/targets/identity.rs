//! DID documents and did:plc operations and logs, as a directory or a stranger's web server sends them.
#![no_main]

use std::hint::black_box;

use fuzz::bounded_by;
use libfuzzer_sys::fuzz_target;
use serde_json::Value as Json;
use shared::cbor;
use shared::cid::Cid;
use shared::data::{Value, json};
use shared::identity::DidDocument;
use shared::identity::plc::{AuditEntry, MAX_OPERATION_LEN, Operation, State, verify_audit_log};
use shared::syntax::Did;

fuzz_target!(|data: &[u8]| {
    let bound = data.len() * 256 + (1 << 20);
    if let Ok(value) = json::parse(data) {
        bounded_by(bound, || operation(&value));
    }
    if let Ok(text) = serde_json::from_slice::<Json>(data) {
        bounded_by(bound, || document(&text));
    }
    if let Ok(entries) = bounded_by(bound, || serde_json::from_slice::<Vec<AuditEntry>>(data)) {
        bounded_by(bound, || log(&entries));
    }
});

fn document(json: &Json) {
    let Some(did) = json.get("id").and_then(Json::as_str).and_then(|id| Did::parse(id).ok()) else { return };
    let document = DidDocument::parse(&did, json.clone());
    if let Ok(document) = document {
        assert_eq!(serde_json::to_value(&document).expect("a document is JSON"), *json);
        assert_eq!(document.id(), &did);
        black_box((document.handle(), document.signing_key(), document.pds(), document.also_known_as().count()));
        for id in ["atproto", "atproto_label", "#atproto", ""] {
            black_box((document.key(id), document.service(id, None)));
        }
    }
}

fn operation(value: &Value) {
    if let Some(did) = value.get("did").and_then(Value::as_str).and_then(|did| Did::parse(did).ok())
        && let Ok(state) = State::from_data(&did, value.clone())
    {
        assert_eq!(State::from_data(&did, state.to_data(&did)), Ok(state.clone()));
        assert_eq!(DidDocument::new(&did, &state).id(), &did);
    }
    let Ok(operation) = Operation::from_value(value.clone()) else { return };
    assert_eq!(operation.to_value(), *value);
    let bytes = operation.to_cbor();
    assert_eq!(cbor::encode(value), bytes);
    assert_eq!(operation.cid(), Cid::of_cbor(&bytes));
    assert!(operation.check_limits().is_err() || bytes.len() <= MAX_OPERATION_LEN);
    if let Ok(did) = operation.did() {
        assert!(did.is_plc());
    }
    if let Some(state) = operation.state() {
        let signer = operation.signer(&state.rotation_keys);
        assert!(signer.is_err() || signer.is_ok_and(|at| at < state.rotation_keys.len()));
    }
}

fn log(log: &[AuditEntry]) {
    let Some(first) = log.first() else { return };
    if let Ok(head) = verify_audit_log(&first.did, log) {
        assert!(log.iter().any(|entry| entry.cid == head.cid && !entry.nullified));
    }
}
