//! Signing and verifying on both curves: a commit's 120 bytes, and a key out of a DID document.

use criterion::Criterion;
use shared::crypto::{Curve, PublicKey, SigningKey};

use crate::figures::Group;

pub(crate) fn run(criterion: &mut Criterion) {
    let message = [7; 120];
    let [k256, p256] = [Curve::K256, Curve::P256].map(|curve| SigningKey::from_bytes(curve, &[7; 32]).unwrap());
    let signatures = [&k256, &p256].map(|key| key.sign(&message));
    let publics = [&k256, &p256].map(SigningKey::public_key);
    let texts = publics.map(|key| key.to_did_key());
    Group::new("keys: signing")
        .once("k256", || k256.sign(&message))
        .once("p256", || p256.sign(&message))
        .run(criterion);
    Group::new("keys: verifying")
        .once("k256", || publics[0].verify(&message, &signatures[0]).unwrap())
        .once("p256", || publics[1].verify(&message, &signatures[1]).unwrap())
        .once("k256, lenient", || publics[0].verify_lenient(&message, &signatures[0]).unwrap())
        .run(criterion);
    Group::new("keys: parsing did:key")
        .once("k256", || PublicKey::from_did_key(&texts[0]).unwrap())
        .once("p256", || PublicKey::from_did_key(&texts[1]).unwrap())
        .run(criterion);
}
