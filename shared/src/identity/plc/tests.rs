//! PLC operations: signed, hashed and held against the directory's rules.

use proptest::prelude::*;

use super::*;
use crate::{
    crypto::{Curve, SigningKey},
    data::json,
    syntax::Datetime,
};

const HOUR: i64 = 3600 * 1_000_000;

fn key(byte: u8) -> SigningKey {
    let curve = if byte.is_multiple_of(2) { Curve::K256 } else { Curve::P256 };
    SigningKey::from_bytes(curve, &[byte; 32]).unwrap()
}

fn state(rotation_keys: &[u8]) -> State {
    let keys: Vec<PublicKey> = rotation_keys.iter().map(|byte| key(*byte).public_key()).collect();
    State::of_account(&keys, &key(100).public_key(), &Handle::parse("alice.test").unwrap(), "https://pds.test")
}

/// A log under construction: what stands, and everything that ever stood.
struct Log {
    did: Did,
    chain: Vec<Entry>,
    audit: Vec<AuditEntry>,
}

impl Log {
    fn new(operation: &Operation) -> Self {
        let mut log = Self { did: operation.did().unwrap(), chain: Vec::new(), audit: Vec::new() };
        log.add(operation, 0).unwrap();
        log
    }

    fn add(&mut self, operation: &Operation, created: i64) -> Result<usize, PlcError> {
        let Accepted { cid, nullified } = propose(&self.did, &self.chain, operation, created)?;
        for undone in self.chain.split_off(self.chain.len() - nullified) {
            self.audit.iter_mut().find(|entry| entry.cid == undone.cid).unwrap().nullified = true;
        }
        self.chain.push(Entry { operation: operation.clone(), cid: cid.clone(), created });
        let (did, created_at) = (self.did.clone(), Datetime::from_unix_micros(created));
        self.audit.push(AuditEntry { did, operation: operation.clone(), cid, nullified: false, created_at });
        Ok(nullified)
    }

    fn verify(&self) -> Result<Head, (usize, PlcError)> {
        verify_audit_log(&self.did, &self.audit).map_err(|error| (error.at, error.source))
    }
}

/// The operation with other texts in some of its fields, and the signature it had.
fn with(operation: &Operation, fields: &[(&str, &str)]) -> Operation {
    let Value::Map(mut map) = operation.to_value() else { panic!("an operation is a map") };
    for (field, text) in fields {
        map.insert(*field, *text);
    }
    Operation::from_value(map.into()).unwrap()
}

fn update(keys: &[u8], prev: &Operation, signer: u8) -> Operation {
    Body::update(state(keys), &prev.cid()).sign(&key(signer))
}

#[test]
fn the_first_operation_makes_the_did_and_proves_it() {
    let operation = Body::genesis(state(&[1, 2])).sign(&key(2));
    let did = operation.did().unwrap();
    assert!(did.is_plc());
    assert_eq!(did.as_str()[8..], operation_hash(&operation)[..24]);
    let mut log = Log::new(&operation);
    assert_eq!(log.verify().unwrap(), Head { cid: operation.cid(), state: Some(state(&[1, 2])) });
    let other = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
    let expected = did.as_str().to_owned();
    assert_eq!(propose(&other, &[], &operation, 0), Err(PlcError::GenesisDid { expected }));
    log.did = other;
    assert_eq!(log.verify().unwrap_err().0, 0);
}

fn operation_hash(operation: &Operation) -> String {
    use sha2::{Digest, Sha256};
    data_encoding::BASE32_NOPAD.encode(&Sha256::digest(operation.to_cbor())).to_lowercase()
}

#[test]
fn operations_encode_as_dag_cbor_without_sig_to_sign_and_with_it_to_hash() {
    let prev = Cid::of_cbor(b"x");
    let body = Body::tombstone(&prev);
    let mut bytes = vec![0xa2, 0x64];
    bytes.extend(b"prev\x78\x3b");
    bytes.extend(prev.to_string().as_bytes());
    bytes.extend(b"\x64type\x6dplc_tombstone");
    assert_eq!(body.to_signed_bytes(), bytes);
    let operation = body.sign(&key(1));
    assert_eq!(operation.sig().len(), 86);
    let mut bytes = vec![0xa3, 0x63];
    bytes.extend(b"sig\x78\x56");
    bytes.extend(operation.sig().as_bytes());
    bytes.extend(&operation.body().to_signed_bytes()[1..]);
    assert_eq!(operation.to_cbor(), bytes);
    assert_eq!(operation.cid(), Cid::of_cbor(&bytes));
}

#[test]
fn json_holds_exactly_the_fields_of_the_type() {
    let operation = Body::genesis(state(&[1])).sign(&key(1));
    let text = serde_json::to_string(&operation).unwrap();
    assert_eq!(serde_json::from_str::<Operation>(&text).unwrap(), operation);
    let good: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(good["prev"], serde_json::Value::Null);
    for (field, value) in [
        ("type", serde_json::json!("plc_other")),
        ("type", serde_json::json!("plc_tombstone")),
        ("type", serde_json::json!("create")),
        ("prev", serde_json::json!(1)),
        ("sig", serde_json::Value::Null),
        ("rotationKeys", serde_json::json!("did:key:z")),
        ("rotationKeys", serde_json::json!([1])),
        ("verificationMethods", serde_json::json!({"atproto": null})),
        ("services", serde_json::json!({"atproto_pds": {"type": "a", "endpoint": "b", "more": "c"}})),
        ("services", serde_json::json!([])),
        ("more", serde_json::json!("field")),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(serde_json::from_value::<Operation>(bad).is_err(), "{field}");
    }
    for field in good.as_object().unwrap().keys() {
        let mut bad = good.clone();
        bad.as_object_mut().unwrap().remove(field);
        assert!(serde_json::from_value::<Operation>(bad).is_err(), "{field}");
    }
}

#[test]
fn signatures_are_taken_in_one_spelling_only() {
    let good = Body::genesis(state(&[2])).sign(&key(2));
    let keys = state(&[2]).rotation_keys;
    assert_eq!(good.signer(&keys), Ok(0));
    let sig = good.sig();
    let last = sig.chars().last().unwrap();
    let dirty = char::from(last as u8 + 1);
    let high_s = {
        let bytes = data_encoding::BASE64URL_NOPAD.decode(sig.as_bytes()).unwrap();
        let order = "fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141";
        let order = data_encoding::HEXLOWER.decode(order.as_bytes()).unwrap();
        let mut high = bytes.clone();
        let mut borrow = 0;
        for i in (0..32).rev() {
            let difference = i16::from(order[i]) - i16::from(bytes[32 + i]) - borrow;
            borrow = i16::from(difference < 0);
            high[32 + i] = difference.rem_euclid(256).try_into().unwrap();
        }
        data_encoding::BASE64URL_NOPAD.encode(&high)
    };
    let standard = sig.replace('-', "+").replace('_', "/");
    let mut bad = vec![format!("{sig}=="), format!("{sig}\n"), sig[..85].to_owned() + &dirty.to_string(), high_s];
    bad.extend([String::new(), sig[..84].to_owned(), format!("{sig}AA")]);
    if standard != sig {
        bad.push(standard);
    }
    for sig in bad {
        assert_eq!(with(&good, &[("sig", &sig)]).signer(&keys), Err(PlcError::Signature), "{sig}");
    }
}

#[test]
fn an_update_needs_a_rotation_key_of_the_operation_before() {
    let genesis = Body::genesis(state(&[1, 2])).sign(&key(1));
    let mut log = Log::new(&genesis);
    assert_eq!(log.add(&update(&[3], &genesis, 3), 1), Err(PlcError::Signature));
    assert_eq!(log.add(&update(&[3], &genesis, 100), 1), Err(PlcError::Signature));
    let second = update(&[3], &genesis, 2);
    assert_eq!(log.add(&second, 1), Ok(0));
    assert_eq!(log.add(&update(&[4], &second, 1), 2), Err(PlcError::Signature));
    assert_eq!(log.add(&update(&[4], &second, 3), 2), Ok(0));
    assert_eq!(log.verify().unwrap().state, Some(state(&[4])));
}

#[test]
fn operations_out_of_order_are_refused() {
    let genesis = Body::genesis(state(&[1])).sign(&key(1));
    let mut log = Log::new(&genesis);
    assert_eq!(log.add(&genesis, 1), Err(PlcError::NoPrev));
    let stranger = update(&[1], &Body::genesis(state(&[9])).sign(&key(9)), 1);
    let prev = stranger.prev().unwrap().to_owned();
    assert_eq!(log.add(&stranger, 1), Err(PlcError::UnknownPrev { prev }));
    assert_eq!(propose(&log.did, &[], &stranger, 1), Err(PlcError::NotGenesis));
    let tombstone = Body::tombstone(&genesis.cid()).sign(&key(1));
    assert_eq!(propose(&log.did, &[], &tombstone, 1), Err(PlcError::NotGenesis));
    assert_eq!(log.add(&tombstone, 1), Ok(0));
    assert_eq!(log.add(&update(&[1], &tombstone, 1), 2), Err(PlcError::Tombstoned));
    assert_eq!(log.verify().unwrap(), Head { cid: tombstone.cid(), state: None });
}

#[test]
fn a_more_powerful_key_undoes_what_a_lesser_one_did_within_72_hours() {
    let genesis = Body::genesis(state(&[1, 2, 3])).sign(&key(1));
    let mut log = Log::new(&genesis);
    let theft = update(&[3], &genesis, 3);
    assert_eq!(log.add(&theft, HOUR), Ok(0));
    let deeper = update(&[5], &theft, 3);
    assert_eq!(log.add(&deeper, 2 * HOUR), Ok(0));

    for (signer, now, error) in [
        (3, 3 * HOUR, PlcError::Signature),
        (4, 3 * HOUR, PlcError::Signature),
        (2, 2 * HOUR, PlcError::NotLater),
        (2, 73 * HOUR + 1, PlcError::TooLate { elapsed: 72 * HOUR + 1 }),
    ] {
        assert_eq!(log.add(&update(&[1, 2], &genesis, signer), now), Err(error));
    }
    let rescue = update(&[1, 2], &genesis, 2);
    assert_eq!(log.add(&rescue, 73 * HOUR), Ok(2));
    let nullified: Vec<bool> = log.audit.iter().map(|entry| entry.nullified).collect();
    assert_eq!(nullified, [false, true, true, false]);
    assert_eq!(log.verify().unwrap().cid, rescue.cid());

    let prev = deeper.cid().to_string();
    assert_eq!(log.add(&update(&[5], &deeper, 5), 74 * HOUR), Err(PlcError::UnknownPrev { prev }));
    let second_rescue = update(&[1], &genesis, 1);
    assert_eq!(log.add(&second_rescue, 74 * HOUR), Ok(1));
    assert_eq!(log.verify().unwrap(), Head { cid: second_rescue.cid(), state: Some(state(&[1])) });
}

#[test]
fn a_tombstone_can_be_undone_like_any_operation() {
    let genesis = Body::genesis(state(&[1, 2])).sign(&key(1));
    let mut log = Log::new(&genesis);
    log.add(&Body::tombstone(&genesis.cid()).sign(&key(2)), HOUR).unwrap();
    assert_eq!(log.add(&update(&[1, 2], &genesis, 2), 2 * HOUR), Err(PlcError::Signature));
    assert_eq!(log.add(&update(&[1, 2], &genesis, 1), 2 * HOUR), Ok(1));
    assert_eq!(log.verify().unwrap().state, Some(state(&[1, 2])));
}

#[test]
fn the_first_place_of_a_key_that_is_listed_twice_counts() {
    let genesis = Body::genesis(state(&[1, 2, 1])).sign(&key(1));
    let mut log = Log::new(&genesis);
    log.add(&update(&[1], &genesis, 1), 1).unwrap();
    assert_eq!(log.add(&update(&[2], &genesis, 2), 2), Err(PlcError::Signature));
}

#[test]
fn an_identity_without_rotation_keys_is_final() {
    let genesis = Body::genesis(state(&[1])).sign(&key(1));
    let mut log = Log::new(&genesis);
    let last = update(&[], &genesis, 1);
    assert_eq!(last.check_limits(), Ok(()));
    log.add(&last, 1).unwrap();
    assert_eq!(log.add(&update(&[1], &last, 1), 2), Err(PlcError::Signature));
    assert_eq!(log.verify().unwrap().state, Some(state(&[])));
}

#[test]
fn a_log_that_was_tampered_with_is_refused() {
    let genesis = Body::genesis(state(&[1, 2])).sign(&key(1));
    let mut log = Log::new(&genesis);
    let theft = update(&[2], &genesis, 2);
    log.add(&theft, HOUR).unwrap();
    log.add(&update(&[1], &genesis, 1), 2 * HOUR).unwrap();
    log.verify().unwrap();
    let tampered = |change: fn(&mut Vec<AuditEntry>)| {
        let mut audit = log.audit.clone();
        change(&mut audit);
        Log { did: log.did.clone(), chain: Vec::new(), audit }.verify().unwrap_err()
    };
    assert_eq!(tampered(|audit| audit[1].nullified = false), (1, PlcError::Nullified { actual: true }));
    assert_eq!(tampered(|audit| audit[2].nullified = true), (2, PlcError::Nullified { actual: false }));
    let (stated, actual) = (genesis.cid(), theft.cid());
    assert_eq!(tampered(|audit| audit[1].cid = audit[0].cid.clone()), (1, PlcError::Cid { stated, actual }));
    assert_eq!(tampered(|audit| audit.swap(1, 2)), (2, PlcError::NotLater));
    assert_eq!(tampered(Vec::clear), (0, PlcError::EmptyLog));
    let other = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    let found = other.to_owned();
    assert_eq!(
        tampered(|audit| audit[0].did = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap()),
        (0, PlcError::Did { found })
    );
    // Leaving out an entry that was undone cannot be seen; leaving out one that stands can.
    let prev = genesis.cid().to_string();
    assert!(matches!(tampered(|audit| drop(audit.remove(0))), (0, PlcError::GenesisDid { .. } | PlcError::NotGenesis)));
    assert_eq!(theft.prev(), Some(prev.as_str()));
}

#[test]
fn legacy_operations_are_read_but_not_taken() {
    let create = LegacyCreate {
        signing_key: key(1).public_key().to_did_key(),
        recovery_key: key(2).public_key().to_did_key(),
        handle: String::from("alice.test"),
        service: String::from("pds.test"),
    };
    let genesis = Body::Create(create).sign(&key(1));
    assert_eq!(genesis.check_limits(), Err(PlcError::Deprecated));
    let mut log = Log::new(&genesis);
    let mut expected = state(&[2, 1]);
    expected.set_signing_key(&key(1).public_key());
    assert_eq!(log.verify().unwrap().state, Some(expected));
    log.add(&update(&[1], &genesis, 2), 1).unwrap();
    let text = serde_json::to_string(&log.audit).unwrap();
    assert_eq!(serde_json::from_str::<Vec<AuditEntry>>(&text).unwrap(), log.audit);
}

#[test]
fn limits_are_those_of_the_directory() {
    let limits = |change: &dyn Fn(&mut State)| {
        let mut state = state(&[1]);
        change(&mut state);
        Body::genesis(state).sign(&key(1)).check_limits()
    };
    let service = |kind: &str, endpoint: &str| Service { kind: kind.to_owned(), endpoint: endpoint.to_owned() };
    let ed25519 = "did:key:z6MkjwbBXZnFqL8su24wGL2Fdjti6GSLv9SWdYGswfazUPm9";
    let long = |len| "a".repeat(len);
    assert_eq!(
        limits(&|state| state.verification_methods.insert(long(32), ed25519.to_owned()).map_or((), drop)),
        Ok(())
    );
    assert_eq!(limits(&|state| state.rotation_keys = vec![state.rotation_keys[0].clone(); 10]), Ok(()));
    assert_eq!(limits(&|state| state.also_known_as.push(long(258))), Ok(()));
    assert_eq!(limits(&|state| drop(state.services.insert(long(32), service(&long(256), &long(512))))), Ok(()));

    let key = |state: &State| state.rotation_keys[0].clone();
    let too_many = |what| Err(PlcError::TooMany { what, count: 11, limit: 10 });
    let too_long = |what, limit: usize| Err(PlcError::TooLong { what, len: limit + 1, limit });
    assert_eq!(limits(&|state| state.rotation_keys = vec![key(state); 11]), too_many("rotationKeys"));
    assert_eq!(limits(&|state| state.also_known_as = (0..11).map(long).collect()), too_many("alsoKnownAs"));
    let many = |n: usize| (0..n).map(|i| i.to_string());
    let services = |state: &mut State| state.services = many(11).map(|id| (id, service("", ""))).collect();
    assert_eq!(limits(&services), too_many("services"));
    let methods = |state: &mut State| state.verification_methods = many(11).map(|id| (id, key(state))).collect();
    assert_eq!(limits(&methods), too_many("verificationMethods"));

    assert_eq!(limits(&|state| state.also_known_as.push(long(259))), too_long("alsoKnownAs entry", 258));
    let insert = |id: usize, kind: usize, endpoint: usize| {
        limits(&|state| drop(state.services.insert(long(id), service(&long(kind), &long(endpoint)))))
    };
    assert_eq!(insert(33, 0, 0), too_long("service id", 32));
    assert_eq!(insert(1, 257, 0), too_long("service type", 256));
    assert_eq!(insert(1, 0, 513), too_long("service endpoint", 512));
    let method =
        |id: usize, key: &str| limits(&|state| drop(state.verification_methods.insert(long(id), key.to_owned())));
    assert_eq!(method(33, ed25519), too_long("verification method id", 32));
    assert_eq!(method(1, &format!("did:key:z{}", "2".repeat(248))), too_long("verification method", 256));
    for bad in ["blah", "did:banana", "did:key:BJV2WY5DJMJQXGZJANFZSAYLXMVZW63LFEEQFY3ZP", "did:key:z0"] {
        assert_eq!(method(1, bad), Err(PlcError::VerificationMethod(bad.to_owned())));
    }
    let rotation = |state: &mut State| state.rotation_keys.push(ed25519.to_owned());
    assert_eq!(limits(&rotation), Err(PlcError::RotationKey(ed25519.to_owned())));
    let twice = |state: &mut State| state.also_known_as.push(String::from("at://alice.test"));
    assert_eq!(limits(&twice), Err(PlcError::DuplicateAlias(String::from("at://alice.test"))));
    let big = |state: &mut State| {
        state.services = many(10).map(|id| (id, service(&long(256), &long(512)))).collect();
    };
    assert!(matches!(limits(&big), Err(PlcError::TooLarge { len }) if len > MAX_OPERATION_LEN));
}

#[test]
fn a_state_changes_in_the_named_place_only() {
    let mut changed = state(&[1]);
    changed.also_known_as =
        vec![String::from("https://a.test"), String::from("at://old.test"), String::from("at://b.test")];
    changed.set_handle(&Handle::parse("new.test").unwrap());
    assert_eq!(changed.also_known_as, ["https://a.test", "at://new.test", "at://b.test"]);
    changed.also_known_as = vec![String::from("https://a.test")];
    changed.set_handle(&Handle::parse("new.test").unwrap());
    assert_eq!(changed.also_known_as, ["at://new.test", "https://a.test"]);
}

#[test]
fn the_data_of_a_directory_reads_back() {
    let (did, state) = (Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap(), state(&[1, 2]));
    let text = serde_json::to_vec(&state.to_data(&did)).unwrap();
    assert_eq!(State::from_data(&did, json::parse(&text).unwrap()), Ok(state.clone()));
    let other = Did::parse("did:plc:aaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    let found = did.as_str().to_owned();
    assert_eq!(State::from_data(&other, state.to_data(&did)), Err(PlcError::Did { found }));
    assert_eq!(State::from_data(&did, Value::Null), Err(PlcError::Shape("data")));
}

proptest! {
    #[test]
    fn operations_of_any_json_or_bytes_never_panic(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = serde_json::from_str::<Operation>(&text);
        if let Ok(value) = crate::cbor::decode(&bytes) {
            let _ = Operation::from_value(value);
        }
        let did = Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap();
        let operation = with(&Body::genesis(state(&[2])).sign(&key(2)), &[("sig", &text), ("prev", &text)]);
        prop_assert!(propose(&did, &[], &operation, 0).is_err());
        prop_assert!(verify_audit_log(&did, &[]).is_err());
    }

    #[test]
    fn operations_keep_through_json_and_cbor(
        aliases in prop::collection::vec(".*", 0..4),
        services in prop::collection::btree_map(".+", (".*", ".*"), 0..4),
        prev in prop::option::of(".*"),
        sig in ".*",
    ) {
        let services = services.into_iter().map(|(id, (kind, endpoint))| (id, Service { kind, endpoint })).collect();
        let state = State { also_known_as: aliases, services, ..state(&[2]) };
        let operation = with(&Body::Update { state, prev }.sign(&key(2)), &[("sig", &sig)]);
        let decoded = crate::cbor::decode(&operation.to_cbor()).unwrap();
        prop_assert_eq!(Operation::from_value(decoded).unwrap(), operation);
    }
}
