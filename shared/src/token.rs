//! JSON Web Tokens in compact form: the one parser, the one signer and the one verifier for every kind the protocol has.
//!
//! [`Jwt`] is a token that was taken apart but not verified: its header and claims are hearsay until [`Jwt::verify`]
//! has seen the key, and the key decides the algorithm, never the header. Signatures of p256 and k256 keys may be high-S,
//! since WebCrypto's are (see [`crate::crypto`]); ours are low-S. HMACs are compared in constant time.
//!
//! The kinds live below: [`session`] for the HS256 tokens that a PDS gives its users, [`service`] for the tokens by which
//! one service acts for an account at another. Time is always an argument, in seconds since 1970, and a token is expired
//! from the second in its `exp` on (RFC 7519, section 4.1.4).
//!
//! Specification: <https://atproto.com/specs/xrpc#authentication>; RFC 7515, RFC 7519, RFC 8725.

pub mod service;
pub mod session;

use data_encoding::BASE64URL_NOPAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::Value;
use sha2::Sha256;

use crate::crypto::{PublicKey, Signature, SigningKey};

/// The longest token that is looked at, in bytes. Real ones have a few hundred; a DPoP proof or a client assertion may
/// have two thousand.
pub const MAX_LEN: usize = 8 * 1024;

/// Why a string is not a token, or not one of the given key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Longer than [`MAX_LEN`].
    #[error("token is {len} bytes, limit {MAX_LEN}")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Not three parts between two dots.
    #[error("token does not have three parts")]
    Parts,
    /// A part is not base64url without padding, in canonical form.
    #[error("token's {0} is not unpadded base64url")]
    Base64(Part),
    /// A part is not the JSON it should be: not an object, a field missing or of another type.
    #[error("token's {0} is not the expected JSON")]
    Json(Part),
    /// The header makes extensions mandatory (`crit`), and none are known here.
    #[error("token has critical extensions")]
    Critical,
    /// The header's `alg` is not that of the key.
    #[error("token is signed with {found}, expected {expected}")]
    Algorithm {
        /// What the header says.
        found: String,
        /// What the key is for.
        expected: &'static str,
    },
    /// The signature is not by this key over these bytes.
    #[error("token's signature does not match")]
    Signature,
}

/// A part of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The first: how the token is signed.
    Header,
    /// The second: what the token says.
    Claims,
    /// The third.
    Signature,
}

impl std::fmt::Display for Part {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Header => "header",
            Self::Claims => "claims",
            Self::Signature => "signature",
        })
    }
}

/// The header of a token. Fields that no kind uses are skipped.
#[derive(Clone, Debug, Deserialize)]
pub struct Header {
    /// The algorithm that the token claims to be signed with.
    pub alg: String,
    /// The media type of the token, see [`Header::is_type`].
    pub typ: Option<String>,
    /// Which key of the issuer signed.
    pub kid: Option<String>,
    /// The public key itself, as DPoP proofs carry it.
    pub jwk: Option<Value>,
    crit: Option<Value>,
}

impl Header {
    /// Whether `typ` is `name`, as RFC 7515 compares it: without case and with `application/` left out.
    #[must_use]
    pub fn is_type(&self, name: &str) -> bool {
        let typ = self.typ.as_deref().unwrap_or_default();
        let bare = match typ.split_at_checked(12) {
            Some((prefix, rest)) if prefix.eq_ignore_ascii_case("application/") => rest,
            _ => typ,
        };
        bare.eq_ignore_ascii_case(name)
    }
}

/// A token that was taken apart and not verified.
#[derive(Clone, Debug)]
pub struct Jwt<'a> {
    header: Header,
    claims: Vec<u8>,
    signed: &'a str,
    signature: Vec<u8>,
}

impl<'a> Jwt<'a> {
    /// Takes a token apart.
    ///
    /// # Errors
    /// Every [`TokenError`] but those about keys.
    pub fn parse(token: &'a str) -> Result<Self, TokenError> {
        if token.len() > MAX_LEN {
            return Err(TokenError::TooLong { len: token.len() });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Parts)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Parts)?;
        if claims.contains('.') {
            return Err(TokenError::Parts);
        }
        let header: Header =
            serde_json::from_slice(&decode(header, Part::Header)?).map_err(|_| TokenError::Json(Part::Header))?;
        if header.crit.is_some() {
            return Err(TokenError::Critical);
        }
        let claims = decode(claims, Part::Claims)?;
        let signature = decode(signature, Part::Signature)?;
        Ok(Self { header, claims, signed, signature })
    }

    /// The header, not to be believed.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The claims before the token is verified: to find out whose key to verify it with, and for nothing else.
    ///
    /// # Errors
    /// [`TokenError::Json`] if they are not a `T`.
    pub fn unverified_claims<T: DeserializeOwned>(&self) -> Result<T, TokenError> {
        serde_json::from_slice(&self.claims).map_err(|_| TokenError::Json(Part::Claims))
    }

    /// Verifies the signature with `key`, whose algorithm the header must name, and returns the claims. Expiry and
    /// audience are for the caller to check.
    ///
    /// # Errors
    /// [`TokenError::Algorithm`], [`TokenError::Signature`], or [`TokenError::Json`] if the claims are not a `T`.
    pub fn verify<T: DeserializeOwned>(&self, key: Verifier<'_>) -> Result<T, TokenError> {
        let expected = key.alg();
        if self.header.alg != expected {
            return Err(TokenError::Algorithm { found: self.header.alg.clone(), expected });
        }
        if key.accepts(self.signed.as_bytes(), &self.signature) {
            self.unverified_claims()
        } else {
            Err(TokenError::Signature)
        }
    }
}

fn decode(part: &str, name: Part) -> Result<Vec<u8>, TokenError> {
    BASE64URL_NOPAD.decode(part.as_bytes()).map_err(|_| TokenError::Base64(name))
}

/// What a token is verified with.
#[derive(Clone, Copy, Debug)]
pub enum Verifier<'a> {
    /// HS256.
    Hmac(&'a HmacKey),
    /// ES256K or ES256, as the key's curve says.
    Ecdsa(&'a PublicKey),
}

impl Verifier<'_> {
    const fn alg(&self) -> &'static str {
        match self {
            Self::Hmac(_) => HmacKey::ALG,
            Self::Ecdsa(key) => key.curve().jwt_alg(),
        }
    }

    fn accepts(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Hmac(key) => key.mac(message).verify_slice(signature).is_ok(),
            Self::Ecdsa(key) => {
                Signature::from_slice(signature).is_ok_and(|signature| key.verify_lenient(message, &signature).is_ok())
            }
        }
    }
}

/// What a token is signed with.
#[derive(Clone, Copy, Debug)]
pub enum Signer<'a> {
    /// HS256.
    Hmac(&'a HmacKey),
    /// ES256K or ES256, as the key's curve says.
    Ecdsa(&'a SigningKey),
}

/// Signs `claims`, a JSON object, as a token of type `typ`.
#[must_use]
pub fn sign(typ: &'static str, claims: &Value, signer: Signer<'_>) -> String {
    let alg = match signer {
        Signer::Hmac(_) => HmacKey::ALG,
        Signer::Ecdsa(key) => key.curve().jwt_alg(),
    };
    let header = format!(r#"{{"typ":"{typ}","alg":"{alg}"}}"#);
    let mut token = BASE64URL_NOPAD.encode(header.as_bytes());
    token.push('.');
    BASE64URL_NOPAD.encode_append(claims.to_string().as_bytes(), &mut token);
    let signature = match signer {
        Signer::Hmac(key) => key.mac(token.as_bytes()).finalize().into_bytes().to_vec(),
        Signer::Ecdsa(key) => key.sign(token.as_bytes()).as_bytes().to_vec(),
    };
    token.push('.');
    BASE64URL_NOPAD.encode_append(&signature, &mut token);
    token
}

/// A secret for HS256. `Debug` does not show it.
#[derive(Clone)]
pub struct HmacKey(Hmac<Sha256>);

/// The secret for HS256 is empty, which would let anyone sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("token secret is empty")]
pub struct EmptySecret;

impl HmacKey {
    const ALG: &str = "HS256";

    /// Takes the bytes of a secret. The reference's `PDS_JWT_SECRET` is its text's bytes as they are, also where it
    /// looks like hex.
    ///
    /// # Errors
    /// [`EmptySecret`].
    pub fn new(secret: &[u8]) -> Result<Self, EmptySecret> {
        if secret.is_empty() {
            return Err(EmptySecret);
        }
        Hmac::new_from_slice(secret).map(Self).map_err(|_| EmptySecret)
    }

    /// The HMAC-SHA-256 of `message`, for what is kept instead of a secret and compared with it later. What tokens sign
    /// is base64url and a dot; a message of another kind begins with what that cannot.
    #[must_use]
    pub fn tag(&self, message: &[u8]) -> [u8; 32] {
        self.mac(message).finalize().into_bytes().into()
    }

    fn mac(&self, message: &[u8]) -> Hmac<Sha256> {
        self.0.clone().chain_update(message)
    }
}

impl std::fmt::Debug for HmacKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HmacKey(secret)")
    }
}

/// Reads a NumericDate of RFC 7519: seconds, which may have a fraction. The fraction is dropped.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let whole = number.as_f64().filter(|seconds| (0.0..9e15).contains(seconds));
    whole.map(|seconds| seconds as u64).ok_or_else(|| serde::de::Error::custom("not a date in seconds"))
}

fn optional_numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    numeric_date(deserializer).map(Some)
}

#[cfg(test)]
mod tests;
