//! Keys and signatures.

use data_encoding::{BASE64_NOPAD, HEXLOWER};
use serde::Deserialize;
use shared::crypto::{CryptoError, Curve, PublicKey, Signature, SigningKey};

use crate::official;
use crate::report::{Group, Verdict, same};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Signed {
    comment: String,
    message_base64: String,
    algorithm: String,
    public_key_did: String,
    public_key_multibase: String,
    signature_base64: String,
    valid_signature: bool,
    tags: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pair {
    private_key_bytes_hex: Option<String>,
    private_key_bytes_base58: Option<String>,
    public_did_key: String,
}

pub(crate) fn groups() -> Vec<Group> {
    let pairs = |name: &str, expected, curve| {
        official::json(name, expected, |group, pairs: Vec<Pair>| {
            for pair in pairs {
                group.case(&pair.public_did_key, matches(&pair, curve));
            }
        })
    };
    let signatures = official::json("crypto/signature-fixtures.json", 6, |group, cases: Vec<Signed>| {
        for case in cases {
            group.case(&case.comment, verifies(&case));
        }
    });
    vec![
        signatures,
        pairs("crypto/w3c_didkey_K256.json", 5, Curve::K256),
        pairs("crypto/w3c_didkey_P256.json", 1, Curve::P256),
    ]
}

/// Both spellings of the key are one key, and the signature is judged as the case says, for the reason that it says.
fn verifies(case: &Signed) -> Verdict {
    let key = PublicKey::from_did_key(&case.public_key_did).map_err(|error| error.to_string())?;
    same(&key.curve().jwt_alg(), &case.algorithm.as_str())?;
    same(&key.to_did_key(), &case.public_key_did)?;
    let legacy = PublicKey::from_legacy_multibase(key.curve(), &case.public_key_multibase);
    same(&legacy, &Ok(key))?;

    let message = BASE64_NOPAD.decode(case.message_base64.as_bytes()).map_err(|error| error.to_string())?;
    let bytes = BASE64_NOPAD.decode(case.signature_base64.as_bytes()).map_err(|error| error.to_string())?;
    let found = Signature::from_slice(&bytes).and_then(|signature| key.verify(&message, &signature));
    let tagged = |tag: &str| case.tags.iter().any(|known| known == tag);
    let expected = match case.valid_signature {
        true => Ok(()),
        false if tagged("high-s") => Err(CryptoError::HighS),
        false if tagged("der-encoded") => Err(CryptoError::SignatureLength { len: bytes.len() }),
        false => return Err(format!("tags {:?} are not known", case.tags)),
    };
    same(&found, &expected)?;
    if tagged("high-s") {
        // Whoever checks a token and not a commit lets it pass.
        let lenient = Signature::from_slice(&bytes).and_then(|signature| key.verify_lenient(&message, &signature));
        same(&lenient, &Ok(()))?;
    }
    Ok(())
}

/// The secret key has this public key, and the two work together.
fn matches(pair: &Pair, curve: Curve) -> Verdict {
    let secret = match (&pair.private_key_bytes_hex, &pair.private_key_bytes_base58) {
        (Some(hex), _) => HEXLOWER.decode(hex.as_bytes()).map_err(|error| error.to_string())?,
        (None, Some(base58)) => bs58::decode(base58).into_vec().map_err(|error| error.to_string())?,
        (None, None) => return Err("no secret key".to_owned()),
    };
    let key = SigningKey::from_bytes(curve, &secret).map_err(|error| error.to_string())?;
    same(&key.to_bytes().as_slice(), &secret.as_slice())?;
    same(&key.public_key().to_did_key(), &pair.public_did_key)?;
    let public = PublicKey::from_did_key(&pair.public_did_key).map_err(|error| error.to_string())?;
    same(&public.verify(b"message", &key.sign(b"message")), &Ok(()))
}
