//! Tokens made and read: sessions, services, and every way to be refused.

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{
    crypto::Curve,
    syntax::{Did, Nsid},
};

fn hmac() -> HmacKey {
    HmacKey::new(b"secret").unwrap()
}

fn key(curve: Curve) -> SigningKey {
    SigningKey::from_bytes(curve, &[3; 32]).unwrap()
}

/// A token with any header and claims, properly signed by `signer`.
fn forge(header: &Value, claims: &Value, signer: Signer<'_>) -> String {
    let encode = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", encode(header), encode(claims));
    let signature = match signer {
        Signer::Hmac(key) => key.mac(signed.as_bytes()).finalize().into_bytes().to_vec(),
        Signer::Ecdsa(key) => key.sign(signed.as_bytes()).as_bytes().to_vec(),
    };
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn claims_of(token: &str) -> Value {
    Jwt::parse(token).unwrap().unverified_claims().unwrap()
}

#[test]
fn the_example_of_rfc_7515_verifies() {
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let key = HmacKey::new(&BASE64URL_NOPAD.decode(secret.as_bytes()).unwrap()).unwrap();
    let token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9le\
                 GFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    let claims: Value = Jwt::parse(token).unwrap().verify(Verifier::Hmac(&key)).unwrap();
    assert_eq!(claims["iss"], "joe");
}

#[test]
fn signed_tokens_verify_with_their_own_key_and_algorithm_only() {
    let (hmac, k256, p256) = (hmac(), key(Curve::K256), key(Curve::P256));
    let signers = [(Signer::Hmac(&hmac), "HS256"), (Signer::Ecdsa(&k256), "ES256K"), (Signer::Ecdsa(&p256), "ES256")];
    let (k256, p256) = (k256.public_key(), p256.public_key());
    let verifiers = [Verifier::Hmac(&hmac), Verifier::Ecdsa(&k256), Verifier::Ecdsa(&p256)];
    for (i, (signer, alg)) in signers.into_iter().enumerate() {
        let token = sign("JWT", &json!({"a": 1}), signer);
        let jwt = Jwt::parse(&token).unwrap();
        assert_eq!((jwt.header().alg.as_str(), jwt.header().typ.as_deref()), (alg, Some("JWT")));
        for (j, verifier) in verifiers.iter().enumerate() {
            match jwt.verify::<Value>(*verifier) {
                Ok(claims) => assert_eq!((i, claims), (j, json!({"a": 1}))),
                Err(error) => {
                    assert_ne!(i, j);
                    assert_eq!(error, TokenError::Algorithm { found: alg.to_owned(), expected: verifier.alg() });
                }
            }
        }
    }
    let (other_hmac, other_key) =
        (HmacKey::new(b"other").unwrap(), SigningKey::from_bytes(Curve::K256, &[4; 32]).unwrap());
    let other_key = other_key.public_key();
    let others = [Verifier::Hmac(&other_hmac), Verifier::Ecdsa(&other_key)];
    for ((signer, _), other) in signers.into_iter().zip(others) {
        let token = sign("JWT", &json!({"a": 1}), signer);
        assert_eq!(Jwt::parse(&token).unwrap().verify::<Value>(other), Err(TokenError::Signature));
    }
}

#[test]
fn a_changed_token_does_not_verify() {
    let hmac = hmac();
    let token = sign("JWT", &json!({"sub": "a"}), Signer::Hmac(&hmac));
    let parts: Vec<&str> = token.split('.').collect();
    let claims = BASE64URL_NOPAD.encode(br#"{"sub":"b"}"#);
    let short = &parts[2][..40];
    for changed in [
        format!("{}.{claims}.{}", parts[0], parts[2]),
        format!("{}.{}.", parts[0], parts[1]),
        format!("{}.{}.{short}", parts[0], parts[1]),
    ] {
        let jwt = Jwt::parse(&changed).unwrap();
        assert_eq!(jwt.verify::<Value>(Verifier::Hmac(&hmac)), Err(TokenError::Signature), "{changed}");
    }
}

#[test]
fn no_algorithm_is_no_signature() {
    let header = BASE64URL_NOPAD.encode(br#"{"alg":"none"}"#);
    let token = format!("{header}.e30.");
    let error = Jwt::parse(&token).unwrap().verify::<Value>(Verifier::Hmac(&hmac())).unwrap_err();
    assert_eq!(error, TokenError::Algorithm { found: String::from("none"), expected: "HS256" });
}

#[test]
fn high_s_signatures_verify() {
    // A low-S signature whose s was subtracted from the order of the group.
    let key = key(Curve::P256);
    let token = sign("JWT", &json!({}), Signer::Ecdsa(&key));
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let mut bytes = BASE64URL_NOPAD.decode(signature.as_bytes()).unwrap();
    let order = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let mut borrow = 0;
    for (s, n) in bytes[32..].iter_mut().zip(data_encoding::HEXLOWER.decode(order.as_bytes()).unwrap()).rev() {
        let difference = i16::from(n) - i16::from(*s) - borrow;
        borrow = i16::from(difference < 0);
        *s = difference.rem_euclid(256).try_into().unwrap();
    }
    let high = format!("{signed}.{}", BASE64URL_NOPAD.encode(&bytes));
    assert_ne!(high, token);
    let public = key.public_key();
    assert_eq!(Jwt::parse(&high).unwrap().verify::<Value>(Verifier::Ecdsa(&public)), Ok(json!({})));
    assert!(public.verify(signed.as_bytes(), &Signature::from_slice(&bytes).unwrap()).is_err());
}

#[test]
fn malformed_tokens_are_refused_by_name() {
    let b64 = |text: &str| BASE64URL_NOPAD.encode(text.as_bytes());
    let header = b64(r#"{"alg":"HS256"}"#);
    for (token, error) in [
        (String::new(), TokenError::Parts),
        (header.clone(), TokenError::Parts),
        (format!("{header}.e30"), TokenError::Parts),
        (format!("{header}.e30.AA.AA"), TokenError::Parts),
        (format!("{header}=.e30.AA"), TokenError::Base64(Part::Header)),
        (format!("{header}.e3+.AA"), TokenError::Base64(Part::Claims)),
        (format!("{header}.e30.AB"), TokenError::Base64(Part::Signature)),
        (format!("{header}.e30.AA\n"), TokenError::Base64(Part::Signature)),
        (format!("{}.e30.AA", b64("{}")), TokenError::Json(Part::Header)),
        (format!("{}.e30.AA", b64(r#"{"alg":"HS256","alg":"none"}"#)), TokenError::Json(Part::Header)),
        (format!("{}.e30.AA", b64(r#"{"alg":"HS256","crit":["b64"],"b64":false}"#)), TokenError::Critical),
        ("a".repeat(MAX_LEN + 1), TokenError::TooLong { len: MAX_LEN + 1 }),
    ] {
        assert_eq!(Jwt::parse(&token).unwrap_err(), error, "{token}");
    }
}

#[test]
fn types_compare_as_media_types() {
    for (typ, is) in
        [("at+jwt", true), ("AT+JWT", true), ("application/at+jwt", true), ("x/at+jwt", false), ("", false)]
    {
        let token = forge(&json!({"alg": "HS256", "typ": typ}), &json!({}), Signer::Hmac(&hmac()));
        assert_eq!(Jwt::parse(&token).unwrap().header().is_type("at+jwt"), is, "{typ}");
    }
}

#[test]
fn secrets_are_not_printed_and_not_empty() {
    assert_eq!(HmacKey::new(b"").unwrap_err(), EmptySecret);
    assert_eq!(format!("{:?}", Signer::Hmac(&hmac())), "Hmac(HmacKey(secret))");
}

mod session_tokens {
    use super::{super::session::*, *};

    const NOW: u64 = 1_700_000_000;

    fn dids() -> (Did, Did) {
        (Did::parse("did:web:pds.test").unwrap(), Did::parse("did:plc:7iza6de2dwap2sbkpav7c6c6").unwrap())
    }

    #[test]
    fn tokens_have_the_claims_of_the_reference() {
        let (aud, did) = dids();
        let access = access_token(&hmac(), &aud, &did, Scope::AppPass, NOW);
        let expected = json!({"scope": "com.atproto.appPass", "aud": aud, "sub": did, "iat": NOW, "exp": NOW + 7200});
        assert_eq!(claims_of(&access), expected);
        assert!(access.starts_with(&BASE64URL_NOPAD.encode(br#"{"typ":"at+jwt","alg":"HS256"}"#)));
        let refresh = refresh_token(&hmac(), &aud, &did, "id", NOW);
        let exp = NOW + 7_776_000;
        let expected =
            json!({"scope": "com.atproto.refresh", "aud": aud, "sub": did, "jti": "id", "iat": NOW, "exp": exp});
        assert_eq!(claims_of(&refresh), expected);
        assert!(refresh.starts_with(&BASE64URL_NOPAD.encode(br#"{"typ":"refresh+jwt","alg":"HS256"}"#)));
        assert_eq!(token_id([0xff; 32]), "//////////////////////////////////////////8");
    }

    #[test]
    fn a_session_verifies_until_its_last_second() {
        let ((aud, did), key) = (dids(), hmac());
        let verifier = Verifier::Hmac(&key);
        let access = access_token(&key, &aud, &did, Scope::Access, NOW);
        let refresh = refresh_token(&key, &aud, &did, "id", NOW);
        let scopes = [Scope::Access];
        let session = Ok(Access { did: did.clone(), scope: Scope::Access });
        assert_eq!(verify_access(&access, verifier, &aud, &scopes, NOW + 7199), session);
        assert_eq!(verify_access(&access, verifier, &aud, &scopes, NOW + 7200), Err(SessionError::Expired));
        let session = Ok(Refresh { did, id: String::from("id"), expires: NOW + REFRESH_LIFETIME });
        assert_eq!(verify_refresh(&refresh, verifier, &aud, Some(NOW)), session);
        let after = Some(NOW + REFRESH_LIFETIME);
        assert_eq!(verify_refresh(&refresh, verifier, &aud, after), Err(SessionError::Expired));
        assert_eq!(verify_refresh(&refresh, verifier, &aud, None), session);
    }

    #[test]
    fn an_entryway_signs_with_its_own_key() {
        let ((aud, did), key) = (dids(), key(Curve::K256));
        let claims = json!({"scope": "com.atproto.access", "aud": aud, "sub": did, "exp": NOW + 1});
        let token = sign("at+jwt", &claims, Signer::Ecdsa(&key));
        let public = key.public_key();
        let session = Ok(Access { did, scope: Scope::Access });
        assert_eq!(verify_access(&token, Verifier::Ecdsa(&public), &aud, &[Scope::Access], NOW), session);
        assert!(verify_access(&token, Verifier::Hmac(&hmac()), &aud, &[Scope::Access], NOW).is_err());
    }

    #[test]
    fn tokens_that_are_no_session_are_refused() {
        let ((aud, did), key) = (dids(), hmac());
        let good = json!({"scope": "com.atproto.access", "aud": aud, "sub": did, "exp": NOW + 1});
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        for (typ, claims, error) in [
            ("refresh+jwt", good.clone(), SessionError::Foreign),
            ("JWT", good.clone(), SessionError::Foreign),
            ("at+jwt", with("aud", json!(did)), SessionError::Foreign),
            ("at+jwt", with("aud", json!([aud])), SessionError::Malformed),
            ("at+jwt", with("lxm", json!("com.atproto.server.getSession")), SessionError::Malformed),
            ("at+jwt", with("cnf", json!({"jkt": "x"})), SessionError::Malformed),
            ("at+jwt", with("sub", json!("alice.test")), SessionError::Malformed),
            ("at+jwt", with("exp", json!("tomorrow")), SessionError::Malformed),
            ("at+jwt", with("exp", json!(-1)), SessionError::Malformed),
            ("at+jwt", with("scope", json!("com.atproto.refresh")), SessionError::Scope),
            ("at+jwt", with("scope", json!("atproto")), SessionError::Scope),
            ("at+jwt", with("exp", json!(NOW)), SessionError::Expired),
            ("JWT", with("exp", json!(NOW)), SessionError::Foreign),
        ] {
            let token = forge(&json!({"alg": "HS256", "typ": typ}), &claims, Signer::Hmac(&key));
            let verified = verify_access(&token, Verifier::Hmac(&key), &aud, &[Scope::Access], NOW);
            assert_eq!(verified, Err(error), "{typ} {claims}");
        }
        let nameless = with("scope", json!("com.atproto.refresh"));
        let token = forge(&json!({"alg": "HS256", "typ": "refresh+jwt"}), &nameless, Signer::Hmac(&key));
        let verified = verify_refresh(&token, Verifier::Hmac(&key), &aud, Some(NOW));
        assert_eq!(verified.unwrap_err().name(), "MissingTokenId");
    }

    #[test]
    fn scopes_keep_their_names() {
        for name in ["access", "refresh", "appPass", "appPassPrivileged", "signupQueued", "takendown"] {
            let name = format!("com.atproto.{name}");
            assert_eq!(Scope::parse(&name).unwrap().as_str(), name);
        }
        assert_eq!(Scope::parse("com.atproto.other"), None);
    }
}

mod service_tokens {
    use super::{super::service::*, *};

    const NOW: u64 = 1_700_000_000;
    const PDS: &str = "did:web:pds.test";
    const ISS: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    const LXM: &str = "com.atproto.server.createAccount";
    const EXPECTED: Expected<'static> = Expected { audiences: &[PDS], lxm: LXM, keys: &[ACCOUNT_KEY], now: NOW };

    fn good() -> Value {
        json!({"iss": ISS, "aud": PDS, "lxm": LXM, "iat": NOW, "exp": NOW + 60, "jti": "1"})
    }

    fn refusal(header: &Value, claims: &Value, expected: &Expected<'_>) -> &'static str {
        let token = forge(header, claims, Signer::Ecdsa(&key(Curve::K256)));
        let auth = ServiceAuth::parse(&token, expected);
        auth.and_then(|auth| auth.verify(&key(Curve::K256).public_key()))
            .map_or_else(|error| error.name(), |_| "accepted")
    }

    #[test]
    fn a_token_that_we_make_is_accepted() {
        let (iss, lxm) = (Did::parse(ISS).unwrap(), Nsid::parse(LXM).unwrap());
        for curve in [Curve::K256, Curve::P256] {
            let new = NewToken { iss: &iss, aud: PDS, lxm: Some(&lxm), iat: NOW, exp: NOW + 60, jti: [0xab; 16] };
            let token = new.sign(&key(curve));
            let jti = "ab".repeat(16);
            let expected = json!({"iss": ISS, "aud": PDS, "lxm": LXM, "iat": NOW, "exp": NOW + 60, "jti": jti});
            assert_eq!(claims_of(&token), expected);
            let header = format!(r#"{{"typ":"JWT","alg":"{}"}}"#, curve.jwt_alg());
            assert!(token.starts_with(&BASE64URL_NOPAD.encode(header.as_bytes())));

            let auth = ServiceAuth::parse(&token, &EXPECTED).unwrap();
            assert_eq!((auth.issuer(), auth.key_id()), (&iss, "atproto"));
            let claims = auth.verify(&key(curve).public_key()).unwrap();
            let expected =
                Claims { iss: iss.clone(), aud: PDS.to_owned(), exp: NOW + 60, iat: Some(NOW), jti: Some(jti) };
            assert_eq!(claims, expected);
            let other = SigningKey::from_bytes(curve, &[9; 32]).unwrap().public_key();
            assert_eq!(auth.verify(&other).unwrap_err().name(), "BadJwtSignature");
        }
        let new = NewToken { iss: &iss, aud: PDS, lxm: None, iat: NOW, exp: NOW + 60, jti: [0; 16] };
        assert_eq!(claims_of(&new.sign(&key(Curve::K256))).get("lxm"), None);
    }

    #[test]
    fn claims_that_do_not_fit_the_request_are_refused_by_the_reference_s_names() {
        let header = json!({"alg": "ES256K", "typ": "JWT"});
        let no_lxm = {
            let mut claims = good();
            claims.as_object_mut().unwrap().remove("lxm");
            claims
        };
        assert_eq!(refusal(&header, &no_lxm, &EXPECTED), "BadJwtLexiconMethod");
        for (name, value, error) in [
            ("jti", Value::Null, "accepted"),
            ("exp", json!(NOW as f64 + 1.5), "accepted"),
            ("exp", json!(NOW), "JwtExpired"),
            ("exp", json!("9"), "BadJwt"),
            ("aud", json!("did:web:pds.test#atproto_pds"), "BadJwtAudience"),
            ("aud", json!("did:web:other.test"), "BadJwtAudience"),
            ("aud", json!([PDS]), "BadJwt"),
            ("lxm", json!("com.atproto.server.createaccount"), "BadJwtLexiconMethod"),
            ("lxm", json!("*"), "BadJwtLexiconMethod"),
            ("lxm", json!(1), "BadJwt"),
            ("iss", json!("alice.test"), "BadJwtIss"),
            ("iss", json!("did:plc:a#"), "BadJwtIss"),
            ("iss", json!("did:plc:a#b#c"), "BadJwtIss"),
            ("iss", json!("did:plc:a#atproto_pds"), "UntrustedIss"),
            ("iss", json!("did:plc:a#atproto_labeler"), "UntrustedIss"),
        ] {
            let mut claims = good();
            claims[name] = value;
            assert_eq!(refusal(&header, &claims, &EXPECTED), error, "{claims}");
        }
        let expected = Expected { audiences: &["did:web:pds.test#atproto_pds"], ..EXPECTED };
        assert_eq!(refusal(&header, &good(), &expected), "BadJwtAudience");
    }

    #[test]
    fn headers_of_other_tokens_and_algorithms_are_refused() {
        for (header, error) in [
            (json!({"alg": "ES256K"}), "accepted"),
            (json!({"alg": "ES256K", "typ": "at+jwt"}), "BadJwtType"),
            (json!({"alg": "ES256K", "typ": "refresh+jwt"}), "BadJwtType"),
            (json!({"alg": "ES256K", "typ": "application/DPOP+jwt"}), "BadJwtType"),
            (json!({"alg": "ES256K", "typ": 1}), "BadJwt"),
            (json!({"alg": "ES256"}), "BadJwtSignature"),
            (json!({"alg": "HS256"}), "BadJwtSignature"),
            (json!({"alg": "none"}), "BadJwtSignature"),
            (json!({"alg": "es256k"}), "BadJwtSignature"),
            (json!({"typ": "JWT"}), "BadJwt"),
        ] {
            assert_eq!(refusal(&header, &good(), &EXPECTED), error, "{header}");
        }
        // The public key's bytes as an HMAC secret: the classic confusion.
        let public = key(Curve::K256).public_key();
        let secret = HmacKey::new(&public.to_compressed()).unwrap();
        let token = forge(&json!({"alg": "HS256"}), &good(), Signer::Hmac(&secret));
        assert!(ServiceAuth::parse(&token, &EXPECTED).unwrap().verify(&public).is_err());
    }

    #[test]
    fn only_expected_keys_may_sign() {
        let labelers = Expected { keys: &[ACCOUNT_KEY, LABELER_KEY], ..EXPECTED };
        let labeler = {
            let mut claims = good();
            claims["iss"] = json!(format!("{ISS}#atproto_labeler"));
            claims
        };
        for (kid, claims, expected, chosen) in [
            (None, &good(), &EXPECTED, Ok("atproto")),
            (Some("#atproto"), &good(), &EXPECTED, Ok("atproto")),
            (Some("did:plc:7iza6de2dwap2sbkpav7c6c6#atproto"), &good(), &EXPECTED, Ok("atproto")),
            (Some("did:plc:other#atproto"), &good(), &EXPECTED, Err("BadJwtSignature")),
            (Some("atproto"), &good(), &EXPECTED, Err("BadJwtSignature")),
            (Some("#atproto_label"), &good(), &EXPECTED, Err("BadJwtSignature")),
            (Some("#atproto_label"), &good(), &labelers, Ok("atproto_label")),
            (Some("#other"), &good(), &labelers, Err("BadJwtSignature")),
            (None, &labeler, &labelers, Ok("atproto_label")),
            (Some("#atproto"), &labeler, &labelers, Err("BadJwtSignature")),
        ] {
            let header = json!({"alg": "ES256K", "kid": kid});
            let token = forge(&header, claims, Signer::Ecdsa(&key(Curve::K256)));
            let auth = ServiceAuth::parse(&token, expected);
            assert_eq!(
                auth.map(|auth| auth.key_id().to_owned()).map_err(|error| error.name()),
                chosen.map(str::to_owned)
            );
        }
    }

    #[test]
    fn audiences_are_a_did_or_one_service_of_it() {
        for (text, did, service) in
            [(PDS, PDS, None), ("did:plc:7iza6de2dwap2sbkpav7c6c6#bsky_appview", ISS, Some("bsky_appview"))]
        {
            let audience = Audience::parse(text).unwrap();
            assert_eq!((audience.did().as_str(), audience.service()), (did, service));
            assert_eq!(audience.to_string(), text);
        }
        for text in
            ["", "#x", "did:web:a.test#", "did:web:a.test#b#c", "did:web:a.test#b c", "did:key:zQ3", " did:web:a.test"]
        {
            assert_eq!(Audience::parse(text), Err(AudienceError), "{text}");
        }
    }
}

proptest! {
    #[test]
    fn parsers_never_panic(text in ".*", parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 3)) {
        let parts: Vec<String> = parts.iter().map(|part| BASE64URL_NOPAD.encode(part)).collect();
        let header = BASE64URL_NOPAD.encode(br#"{"alg":"ES256K"}"#);
        let tokens = [text.clone(), parts.join("."), format!("{header}.{}.{}", parts[1], parts[2])];
        let expected = service::Expected { audiences: &["did:web:a.test"], lxm: "a.b.c", keys: &["atproto"], now: 0 };
        for token in &tokens {
            if let Ok(jwt) = Jwt::parse(token) {
                let public = key(Curve::K256).public_key();
                prop_assert!(jwt.verify::<Value>(Verifier::Ecdsa(&public)).is_err());
            }
            let _ = service::ServiceAuth::parse(token, &expected);
        }
        let _ = service::Audience::parse(&text);
    }
}
