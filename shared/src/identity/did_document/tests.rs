//! DID documents read: keys, handles and services as they are found in the wild.

use proptest::prelude::*;

use super::*;
use crate::{crypto::SigningKey, identity::plc::Service};

const DID: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";

fn did() -> Did {
    Did::parse(DID).unwrap()
}

fn document(fields: Value) -> DidDocument {
    let mut json = fields;
    json["id"] = json!(DID);
    DidDocument::parse(&did(), json).unwrap()
}

fn public(byte: u8) -> PublicKey {
    SigningKey::from_bytes(Curve::K256, &[byte; 32]).unwrap().public_key()
}

fn method(id: &str, byte: u8) -> Value {
    json!({"id": id, "type": "Multikey", "controller": DID, "publicKeyMultibase": public(byte).to_multikey()})
}

fn service(id: &str, kind: &str, endpoint: &str) -> Value {
    json!({"id": id, "type": kind, "serviceEndpoint": endpoint})
}

fn pds(endpoint: &str) -> Option<String> {
    let document = document(json!({"service": [service("#atproto_pds", "AtprotoPersonalDataServer", endpoint)]}));
    document.pds().map(str::to_owned)
}

#[test]
fn a_document_must_be_for_the_did_asked_for() {
    assert!(DidDocument::parse(&did(), json!({"id": DID})).is_ok());
    for json in [json!({}), json!({"id": "did:plc:other"}), json!({"id": DID.to_uppercase()}), json!({"id": [DID]})] {
        assert_eq!(DidDocument::parse(&did(), json), Err(DidDocumentError::Id { expected: did() }));
    }
    assert_eq!(DidDocument::parse(&did(), json!([])), Err(DidDocumentError::NotObject));
}

#[test]
fn the_signing_key_is_the_first_usable_one_of_its_id() {
    let with = |name: &str, value: Value| {
        let mut method = method("#atproto", 1);
        method[name] = value;
        method
    };
    let uncompressed = |byte| String::from("z") + &bs58::encode(public(byte).to_uncompressed()).into_string();
    let legacy =
        json!({"type": LEGACY_K256, "id": "#atproto", "controller": DID, "publicKeyMultibase": uncompressed(3)});
    for (methods, expected) in [
        (json!([method("#atproto", 1), method("#atproto", 2)]), Some(1)),
        (json!([method("#other", 1), method(&format!("{DID}#atproto"), 2)]), Some(2)),
        (json!([method("did:plc:other#atproto", 1)]), None),
        (json!([method("atproto", 1), method("#atproto_label", 2), method(&format!("{DID}atproto"), 3)]), None),
        (json!([with("controller", json!("did:plc:other")), method("#atproto", 2)]), Some(2)),
        (json!([with("type", json!("JsonWebKey2020")), method("#atproto", 2)]), Some(2)),
        (json!([with("publicKeyMultibase", json!("zzz")), method("#atproto", 2)]), Some(2)),
        (json!([with("publicKeyMultibase", Value::Null)]), None),
        (json!([with("id", json!(7)), 5, null, "x", [], method("#atproto", 2)]), Some(2)),
        (json!([legacy]), Some(3)),
        (json!([with("type", json!(LEGACY_K256))]), None),
        (json!([with("type", json!(LEGACY_P256))]), None),
        (json!({"id": "#atproto"}), None),
        (json!([]), None),
        (Value::Null, None),
    ] {
        let document = document(json!({"verificationMethod": methods}));
        assert_eq!(document.signing_key(), expected.map(public), "{}", document.as_json()["verificationMethod"]);
    }
    let labeler = document(json!({"verificationMethod": [method("#atproto", 1), method("#atproto_label", 2)]}));
    assert_eq!(labeler.key("atproto_label"), Some(public(2)));
}

#[test]
fn the_pds_is_scheme_host_and_port() {
    for good in
        ["https://pds.test", "http://localhost:2583", "https://[::1]:443", "http://127.0.0.1", "https://a_b.test:1"]
    {
        assert_eq!(pds(good).as_deref(), Some(good));
    }
    assert_eq!(pds("https://pds.test/").as_deref(), Some("https://pds.test"));
    for bad in [
        "",
        "pds.test",
        "ftp://pds.test",
        "HTTPS://pds.test",
        "https://",
        "https:///x",
        "https://pds.test/x",
        "https://pds.test//",
        "https://pds.test?x",
        "https://pds.test#x",
        "https://user@pds.test",
        "https://user:pass@pds.test",
        "https://pds.test:",
        "https://pds.test:0",
        "https://pds.test:65536",
        "https://pds.test:+80",
        "https://pds.test:80:80",
        "https://[::1",
        "https://[pds]",
        "https://pds test",
        "https://pds.test\n",
        "https://pds..test",
        "https://\u{e9}.test",
    ] {
        assert_eq!(pds(bad), None, "{bad}");
    }
}

#[test]
fn the_first_service_of_the_pds_s_id_and_type_counts() {
    let document = document(json!({"service": [
        service("#bsky_appview", "BskyAppView", "https://view.test/path?q"),
        service("#atproto_pds", "Other", "https://other.test"),
        service(&format!("{DID}#atproto_pds"), "AtprotoPersonalDataServer", "https://first.test/path"),
        service("#atproto_pds", "AtprotoPersonalDataServer", "https://second.test"),
        {"id": "#list", "type": ["A"], "serviceEndpoint": ["https://list.test"]},
    ]}));
    assert_eq!(document.pds(), None);
    assert_eq!(document.service("bsky_appview", None), Some("https://view.test/path?q"));
    assert_eq!(document.service("bsky_appview", Some("BskyAppView")), Some("https://view.test/path?q"));
    assert_eq!(document.service("bsky_appview", Some("Other")), None);
    assert_eq!(document.service("list", None), None);
    assert_eq!(document.service("nothing", None), None);
}

#[test]
fn the_handle_is_the_first_valid_one() {
    for (names, expected) in [
        (json!(["https://a.test", "at://a", "at://a.test/path", 7, "at://B.test", "at://c.test"]), Some("b.test")),
        (json!(["a.test"]), None),
        (json!("at://a.test"), None),
        (Value::Null, None),
    ] {
        let handle = document(json!({"alsoKnownAs": names})).handle();
        assert_eq!(handle.as_ref().map(Handle::as_str), expected);
    }
}

#[test]
fn what_a_document_holds_beside_is_handed_on() {
    let json = json!({"id": DID, "authentication": [{"any": 1}], "service": [5], "x": null});
    let document = DidDocument::parse(&did(), json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&document).unwrap(), json);
}

#[test]
fn an_account_s_document_reads_as_it_was_made() {
    let handle = Handle::parse("alice.test").unwrap();
    let mut state = State::of_account(&[public(1)], &public(2), &handle, "https://pds.test");
    let ed25519 = "did:key:z6MkjwbBXZnFqL8su24wGL2Fdjti6GSLv9SWdYGswfazUPm9";
    state.verification_methods.insert(String::from("exotic"), ed25519.to_owned());
    let document = DidDocument::new(&did(), &state);
    let expected = json!({
        "@context": [
            "https://www.w3.org/ns/did/v1",
            "https://w3id.org/security/multikey/v1",
            "https://w3id.org/security/suites/secp256k1-2019/v1",
        ],
        "id": DID,
        "alsoKnownAs": ["at://alice.test"],
        "verificationMethod": [
            method(&format!("{DID}#atproto"), 2),
            {
                "id": format!("{DID}#exotic"),
                "type": "Multikey",
                "controller": DID,
                "publicKeyMultibase": "z6MkjwbBXZnFqL8su24wGL2Fdjti6GSLv9SWdYGswfazUPm9",
            },
        ],
        "service": [service("#atproto_pds", "AtprotoPersonalDataServer", "https://pds.test")],
    });
    assert_eq!(serde_json::to_value(&document).unwrap(), expected);
    assert_eq!(document.id(), &did());
    assert_eq!(document.signing_key(), Some(public(2)));
    assert_eq!(document.handle(), Some(handle));
    assert_eq!(document.pds(), Some("https://pds.test"));
}

#[test]
fn a_server_s_document_names_its_service() {
    let did = Did::parse("did:web:pds.test").unwrap();
    let pds = Service { kind: PDS_TYPE.to_owned(), endpoint: String::from("https://pds.test") };
    let state = State { services: [(ATPROTO_PDS.to_owned(), pds)].into(), ..State::default() };
    let document = DidDocument::new(&did, &state);
    assert_eq!(document.pds(), Some("https://pds.test"));
    assert_eq!(DidDocument::parse(&did, Value::Object(document.as_json().clone())), Ok(document));
}

proptest! {
    #[test]
    fn reading_never_panics(text in ".*", id in ".*") {
        let document = document(json!({
            "alsoKnownAs": [text, format!("at://{text}")],
            "verificationMethod": [{"id": id, "controller": DID, "type": "Multikey", "publicKeyMultibase": text}],
            "service": [{"id": "#a", "type": text, "serviceEndpoint": format!("https://{text}")}, {"id": id}],
        }));
        let _ = (document.handle(), document.key(&id), document.pds(), document.service("a", None));
        let _ = pds(&text);
    }
}
