//! Tokens: nothing is believed that the key at hand did not sign.
#![no_main]

use fuzz::bounded_by;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use shared::crypto::{Curve, SigningKey};
use shared::syntax::Did;
use shared::token::service::{ACCOUNT_KEY, Audience, Expected, LABELER_KEY, ServiceAuth};
use shared::token::session::{Scope, verify_access, verify_refresh};
use shared::token::{HmacKey, Jwt, MAX_LEN, Signer, Verifier, sign};

fuzz_target!(|token: &str| {
    bounded_by(token.len() * 256 + (1 << 18), || judge(token));
});

fn judge(token: &str) {
    let _ = Audience::parse(token);
    let Ok(jwt) = Jwt::parse(token) else { return };
    assert!(token.len() <= MAX_LEN && token.split('.').count() == 3);
    let claims = jwt.unverified_claims::<Value>();
    let hmac = HmacKey::new(&[7; 32]).expect("a secret");
    let keys = [Curve::K256, Curve::P256].map(|curve| SigningKey::from_bytes(curve, &[7; 32]).expect("a key"));
    let publics = keys.each_ref().map(SigningKey::public_key);
    let verifiers = [Verifier::Hmac(&hmac), Verifier::Ecdsa(&publics[0]), Verifier::Ecdsa(&publics[1])];
    for verifier in verifiers {
        if let Ok(verified) = jwt.verify::<Value>(verifier) {
            assert_eq!(claims.as_ref(), Ok(&verified));
        }
    }
    // Numbers with a fraction need not come back to the last digit; no claim that is used here has one.
    let comes_back =
        |claims: &Value| serde_json::from_str::<Value>(&claims.to_string()).is_ok_and(|back| back == *claims);
    if let Ok(claims @ Value::Object(_)) = claims
        && comes_back(&claims)
    {
        let own = sign("JWT", &claims, Signer::Ecdsa(&keys[0]));
        if own.len() <= MAX_LEN {
            let own = Jwt::parse(&own).expect("our own token");
            assert_eq!(own.verify::<Value>(Verifier::Ecdsa(&publics[0])), Ok(claims));
            assert!(own.verify::<Value>(Verifier::Ecdsa(&publics[1])).is_err());
        }
    }
    requests(token, &hmac, &publics[0]);
}

/// What a server asks of a token in a request.
fn requests(token: &str, hmac: &HmacKey, key: &shared::crypto::PublicKey) {
    let now = 1_700_000_000;
    let expected = Expected {
        audiences: &["did:web:example.com"],
        lxm: "com.atproto.server.createAccount",
        keys: &[ACCOUNT_KEY, LABELER_KEY],
        now,
    };
    if let Ok(auth) = ServiceAuth::parse(token, &expected) {
        assert!(expected.keys.contains(&auth.key_id()));
        if let Ok(claims) = auth.verify(key) {
            assert!(claims.exp > now && &claims.iss == auth.issuer());
        }
    }
    let aud = Did::parse("did:web:example.com").expect("a did");
    let scopes = [Scope::Access, Scope::Refresh];
    let access = verify_access(token, Verifier::Hmac(hmac), &aud, &scopes, now);
    let refresh = verify_refresh(token, Verifier::Hmac(hmac), &aud, Some(now));
    assert!(access.is_err() || refresh.is_err());
}
