//! Keys and signatures of both curves: forms, limits, and what is not believed.

use data_encoding::{BASE64, HEXLOWER};
use proptest::prelude::*;

use super::*;

const MESSAGE: &[u8] = b"\xa1ehelloeworld";

/// Signatures of `MESSAGE` that atproto's interop fixtures give: key, low-S form, high-S form, legacy key.
const FIXTURES: [(&str, &str, &str, &str); 2] = [
    (
        "did:key:zDnaembgSGUhZULN2Caob4HLJPaxBh92N7rtH21TErzqf8HQo",
        "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoJWExHptCfduPleDbG3rko3YZnn9Lw0IjpixVmexJDegg==",
        "2vZNsG3UKvvO/CDlrdvyZRISOFylinBh0Jupc6KcWoKp7O4VS9giSAah8k5IUbXIW00SuOrjfEqQ9HEkN9JGzw==",
        "zxdM8dSstjrpZaRUwBmDvjGXweKuEMVN95A9oJBFjkWMh",
    ),
    (
        "did:key:zQ3shqwJEJyMBsBXCWyCBpUBMqxcon9oHB7mCvx4sSpMdLJwc",
        "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdUn/FEznOndsz/qgiYb89zwxYCbB71f7yQK5Lr7NasfoA==",
        "5WpdIuEUUfVUYaozsi8G0B3cWO09cgZbIIwg1t2YKdXYA67MYxYiTMAVfdnkDCMN9S5B3vHosRe07aORmoshoQ==",
        "z25z9DTpsiYYJKGsWmSPJK2NFN8PcJtZig12K59UgW7q5t",
    ),
];

fn signature(base64: &str) -> Signature {
    Signature::from_slice(&BASE64.decode(base64.as_bytes()).unwrap()).unwrap()
}

fn key(curve: Curve, byte: u8) -> SigningKey {
    SigningKey::from_bytes(curve, &[byte; 32]).unwrap()
}

#[test]
fn strict_verification_takes_low_s_only_and_lenient_takes_both() {
    for (did_key, low, high, _) in FIXTURES {
        let key = PublicKey::from_did_key(did_key).unwrap();
        assert_eq!(key.verify(MESSAGE, &signature(low)), Ok(()));
        assert_eq!(key.verify(MESSAGE, &signature(high)), Err(CryptoError::HighS));
        assert_eq!(key.verify_lenient(MESSAGE, &signature(low)), Ok(()));
        assert_eq!(key.verify_lenient(MESSAGE, &signature(high)), Ok(()));
        assert_eq!(key.verify_lenient(b"other", &signature(low)), Err(CryptoError::Mismatch));
    }
}

#[test]
fn a_signature_that_is_not_64_bytes_is_refused() {
    let der = BASE64
        .decode(b"MEQCIFxYelWJ9lNcAVt+jK0y/T+DC/X4ohFZ+m8f9SEItkY1AiACX7eXz5sgtaRrz/SdPR8kprnbHMQVde0T2R8yOTBweA==");
    assert_eq!(Signature::from_slice(&der.unwrap()), Err(CryptoError::SignatureLength { len: 70 }));
    assert_eq!(Signature::from_slice(&[]), Err(CryptoError::SignatureLength { len: 0 }));
}

#[test]
fn signatures_with_r_or_s_out_of_range_do_not_verify() {
    for curve in [Curve::K256, Curve::P256] {
        let key = key(curve, 1);
        let good = key.sign(MESSAGE);
        for (range, byte) in [(0..32, 0), (32..64, 0), (0..32, 0xff), (32..64, 0xff)] {
            let mut bytes = *good.as_bytes();
            bytes[range].fill(byte);
            assert_eq!(key.public_key().verify(MESSAGE, &bytes.into()), Err(CryptoError::Mismatch));
            assert_eq!(key.public_key().verify_lenient(MESSAGE, &bytes.into()), Err(CryptoError::Mismatch));
        }
    }
}

#[test]
fn legacy_multibase_gives_the_same_key_compressed_or_not() {
    for (did_key, _, _, legacy) in FIXTURES {
        let key = PublicKey::from_did_key(did_key).unwrap();
        assert_eq!(PublicKey::from_legacy_multibase(key.curve(), legacy).unwrap(), key);
        let uncompressed = String::from("z") + &bs58::encode(key.to_uncompressed()).into_string();
        assert_eq!(PublicKey::from_legacy_multibase(key.curve(), &uncompressed).unwrap(), key);
    }
    // The pair of spellings that the DID specification prints.
    let legacy = "zQYEBzXeuTM9UR3rfvNag6L3RNAs5pQZyYPsomTsgQhsxLdEgCrPTLgFna8yqCnxPpNT7DBk6Ym3dgPKNu86vt9GR";
    let key = PublicKey::from_legacy_multibase(Curve::K256, legacy).unwrap();
    assert_eq!(key.to_multikey(), "zQ3shXjHeiBuRCKmM36cuYnm7YEMzhGnCmCyW92sRJ9pribSF");
}

#[test]
fn secret_bytes_give_the_did_key_of_the_w3c_vectors() {
    let k256 = HEXLOWER.decode(b"9085d2bef69286a6cbb51623c8fa258629945cd55ca705cc4e66700396894e0c").unwrap();
    let p256 = bs58::decode("9p4VRzdmhsnq869vQjVCTrRry7u4TtfRxhvBFJTGU2Cp").into_vec().unwrap();
    for (curve, secret, did_key) in [
        (Curve::K256, k256, "did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme"),
        (Curve::P256, p256, "did:key:zDnaeTiq1PdzvZXUaMdezchcMJQpBdH2VN4pgrrEhMCCbmwSb"),
    ] {
        let key = SigningKey::from_bytes(curve, &secret).unwrap();
        assert_eq!(key.to_bytes().as_slice(), secret);
        assert_eq!(key.public_key().to_did_key(), did_key);
        assert_eq!(did_key.parse::<PublicKey>().unwrap(), key.public_key());
        assert_eq!(format!("{key:?}"), format!("SigningKey(secret of {did_key})"));
    }
}

#[test]
fn signing_is_rfc_6979_over_one_sha_256() {
    let secret = HEXLOWER.decode(b"c9afa9d845ba75166b5c215767b1d6934e50c3db36e89b127b8a622b120f6721").unwrap();
    let signature = SigningKey::from_bytes(Curve::P256, &secret).unwrap().sign(b"sample");
    // Appendix A.2.5 of the RFC; its s is the high one, f7cb...cda8, so ours is the order less that.
    let r = "efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716";
    let s = "0834e36ad29a83bf2bc9385e491d6099c8fdf9d1ed67aa7ea5f51f93782857a9";
    assert_eq!(HEXLOWER.encode(signature.as_bytes()), format!("{r}{s}"));
}

#[test]
fn secrets_that_are_no_scalar_are_refused() {
    for curve in [Curve::K256, Curve::P256] {
        for bytes in [&[0; 32][..], &[0xff; 32], &[1; 31], &[1; 33], &[]] {
            let refused = CryptoError::SecretKey { curve, len: bytes.len() };
            assert_eq!(SigningKey::from_bytes(curve, bytes).unwrap_err(), refused);
        }
    }
}

#[test]
fn points_that_are_none_are_refused() {
    for curve in [Curve::K256, Curve::P256] {
        let good = key(curve, 1).public_key();
        let compressed = good.to_compressed();
        let with_tag = |tag| [&[tag], &compressed[1..]].concat();
        let mut beside = good.to_uncompressed();
        beside[64] ^= 1;
        let compact = with_tag(5);
        let hybrid = [&[6], &good.to_uncompressed()[1..]].concat();
        let no_such_x = [&[2], &[0xff; 32][..]].concat();
        for bytes in [&[][..], &[0], &[0; 33], &beside, &compact, &hybrid, &no_such_x, &with_tag(4), &compressed[..32]]
        {
            let refused = CryptoError::Point { curve, len: bytes.len() };
            assert_eq!(PublicKey::from_sec1(curve, bytes), Err(refused));
        }
    }
}

#[test]
fn malformed_did_keys_are_refused() {
    let key = key(Curve::K256, 1).public_key();
    let spell = |bytes: &[u8]| String::from("did:key:z") + &bs58::encode(bytes).into_string();
    let uncompressed = spell(&[&[0xe7, 0x01], &key.to_uncompressed()[..]].concat());
    let beside = spell(&[&[0x80, 0x24, 2], &[0xff; 32][..]].concat());
    let short = spell(&[&[0xe7, 0x01], &key.to_compressed()[..32]].concat());
    let wrong_varint = spell(&[&[0xe7, 0x81, 0x00], &key.to_compressed()[..32]].concat());
    let ed25519 = "did:key:z6MkjwbBXZnFqL8su24wGL2Fdjti6GSLv9SWdYGswfazUPm9";
    let multikey = key.to_multikey();
    for (text, refused) in [
        (multikey.as_str(), CryptoError::NotDidKey),
        ("", CryptoError::NotDidKey),
        ("did:key:", CryptoError::Multibase { len: 0 }),
        ("did:key:z", CryptoError::KeyType),
        ("did:key:mAAAA", CryptoError::Multibase { len: 5 }),
        ("did:key:z0OIl", CryptoError::Multibase { len: 5 }),
        (ed25519, CryptoError::KeyType),
        (&wrong_varint, CryptoError::KeyType),
        (&beside, CryptoError::Point { curve: Curve::P256, len: 33 }),
        (&short, CryptoError::Point { curve: Curve::K256, len: 32 }),
        (&uncompressed, CryptoError::Multibase { len: uncompressed.len() - "did:key:".len() }),
        (&format!("did:key:z{}", "2".repeat(1000)), CryptoError::Multibase { len: 1001 }),
    ] {
        assert_eq!(PublicKey::from_did_key(text), Err(refused), "{text}");
    }
}

#[test]
fn ten_thousand_signatures_are_low_s_and_verify() {
    let rounds = if cfg!(debug_assertions) { 100 } else { 10_000_u32 };
    for curve in [Curve::K256, Curve::P256] {
        let key = key(curve, 7);
        let public = key.public_key();
        for round in 0..rounds {
            let message = round.to_be_bytes();
            let signature = key.sign(&message);
            assert_eq!(public.verify(&message, &signature), Ok(()));
        }
    }
}

proptest! {
    #[test]
    fn key_parsers_never_panic(text in ".*", bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = PublicKey::from_did_key(&text);
        let _ = PublicKey::from_multikey(&text);
        for curve in [Curve::K256, Curve::P256] {
            let _ = PublicKey::from_legacy_multibase(curve, &text);
            let _ = PublicKey::from_sec1(curve, &bytes);
            let _ = SigningKey::from_bytes(curve, &bytes);
        }
        let spelled = String::from("z") + &bs58::encode(&bytes).into_string();
        let _ = PublicKey::from_multikey(&spelled);
        let _ = Signature::from_slice(&bytes);
    }

    #[test]
    fn keys_keep_through_every_spelling(secret: [u8; 32], p256: bool) {
        let curve = if p256 { Curve::P256 } else { Curve::K256 };
        let Ok(key) = SigningKey::from_bytes(curve, &secret) else { return Ok(()) };
        let public = key.public_key();
        prop_assert_eq!(PublicKey::from_did_key(&public.to_did_key()).unwrap(), public);
        prop_assert_eq!(PublicKey::from_sec1(curve, &public.to_compressed()).unwrap(), public);
        prop_assert_eq!(PublicKey::from_sec1(curve, &public.to_uncompressed()).unwrap(), public);
        prop_assert_eq!(public.to_did_key().len(), 57);
    }

    #[test]
    fn arbitrary_signatures_do_not_verify(bytes in prop::collection::vec(any::<u8>(), 64)) {
        let signature = Signature::from_slice(&bytes).unwrap();
        for curve in [Curve::K256, Curve::P256] {
            prop_assert!(key(curve, 1).public_key().verify_lenient(MESSAGE, &signature).is_err());
        }
    }
}

#[test]
fn a_signature_in_der_is_taken_in_its_low_form() {
    use k256::ecdsa::Signature as Raw;
    let key = SigningKey::from_bytes(Curve::K256, &[7; 32]).unwrap();
    for message in [&b"one"[..], b"two", b"three"] {
        let low = key.sign(message);
        let raw = Raw::from_slice(low.as_bytes()).unwrap();
        let high = Raw::from_scalars(raw.r(), -*raw.s()).unwrap();
        assert_ne!(high, raw);
        for form in [raw, high] {
            assert_eq!(Signature::from_k256_der(form.to_der().as_bytes()).unwrap(), low);
        }
    }
    for bad in [&b""[..], &[0x30, 0x06, 2, 1, 0, 2, 1, 0], &[7; 64]] {
        assert!(Signature::from_k256_der(bad).is_err(), "{bad:?}");
    }
}
