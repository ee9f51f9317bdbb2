//! Service auth: short-lived tokens by which one service acts for an account at another, signed with the account's key.
//!
//! Receiving one takes two steps, because the issuer's key has to be looked up in between: [`ServiceAuth::parse`] checks
//! all that can be checked without it, [`ServiceAuth::verify`] checks the signature and only then gives the claims away.
//! If that fails, the key may have been rotated: the caller resolves the issuer afresh, once, and verifies again. Whether
//! a `jti` was seen before is the caller's to remember.
//!
//! Audiences are compared as strings: a bare DID is not a wildcard for the services of its document, nor the other way.
//!
//! Specification: <https://atproto.com/specs/xrpc#inter-service-authentication-jwt>.

use data_encoding::HEXLOWER;
use serde::Deserialize;
use serde_json::json;

use super::{Jwt, Signer, TokenError, Verifier, numeric_date, optional_numeric_date, sign};
use crate::{
    crypto::{PublicKey, SigningKey},
    syntax::{Did, Nsid},
};

/// How long a token lasts when nobody asks for another time, in seconds.
pub const DEFAULT_LIFETIME: u64 = 60;

/// The id of an account's signing key in its DID document, without `#`.
pub const ACCOUNT_KEY: &str = "atproto";
/// The id of a labeler's key in its DID document, without `#`.
pub const LABELER_KEY: &str = "atproto_label";

/// The service of a DID document that signs with [`LABELER_KEY`] instead of [`ACCOUNT_KEY`].
const LABELER: &str = "atproto_labeler";

/// Types of tokens that must never pass as service auth: sessions, OAuth access tokens, DPoP proofs.
const OTHER_TYPES: [&str; 3] = ["at+jwt", "refresh+jwt", "dpop+jwt"];

/// A token to be made.
#[derive(Clone, Copy, Debug)]
pub struct NewToken<'a> {
    /// The account that acts.
    pub iss: &'a Did,
    /// The service it is for: a DID, or a DID and a service of its document.
    pub aud: &'a str,
    /// The method it is for; without it the token is good for any.
    pub lxm: Option<&'a Nsid>,
    /// Now, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// Random bytes that make the token unique.
    pub jti: [u8; 16],
}

impl NewToken<'_> {
    /// Signs the token with the account's key.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let jti = HEXLOWER.encode(&self.jti);
        let mut claims = json!({"iat": self.iat, "iss": self.iss, "aud": self.aud, "exp": self.exp, "jti": jti});
        if let (Some(lxm), Some(claims)) = (self.lxm, claims.as_object_mut()) {
            claims.insert(String::from("lxm"), lxm.as_str().into());
        }
        sign("JWT", &claims, Signer::Ecdsa(key))
    }
}

/// Who can be addressed: `did`, or `did#service` for one service of the DID's document.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Audience {
    did: Did,
    service: Option<String>,
}

/// The text is neither a did:plc or did:web nor one with `#` and the id of a service behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("audience is neither a did of method plc or web nor did#service")]
pub struct AudienceError;

impl Audience {
    /// Parses `did` or `did#service`; the DID is one that atproto can resolve.
    ///
    /// # Errors
    /// [`AudienceError`] for anything else.
    pub fn parse(text: &str) -> Result<Self, AudienceError> {
        let (did, service) = match text.split_once('#') {
            Some((did, service)) => (did, Some(service)),
            None => (text, None),
        };
        let did = Did::parse(did).map_err(|_| AudienceError)?;
        if did.check_method().is_err() || service.is_some_and(|service| !is_fragment(service)) {
            return Err(AudienceError);
        }
        Ok(Self { did, service: service.map(str::to_owned) })
    }

    /// Whose service is addressed.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// Which service of the DID's document, without `#`, if one is named.
    #[must_use]
    pub fn service(&self) -> Option<&str> {
        self.service.as_deref()
    }
}

impl std::fmt::Display for Audience {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.service {
            Some(service) => write!(f, "{}#{service}", self.did),
            None => self.did.fmt(f),
        }
    }
}

/// Whether `text` can be the fragment of a DID URL: one or more characters that RFC 3986 allows there.
fn is_fragment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?%".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// Why a token is no service auth for this request. [`ServiceAuthError::name`] is the error's name for clients; all of
/// them go with status 401.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ServiceAuthError {
    /// Not a token, or without the claims of service auth.
    #[error("poorly formatted jwt")]
    Format(#[source] TokenError),
    /// A token of another kind.
    #[error("invalid jwt type \"{0}\"")]
    Type(String),
    /// Its time is over.
    #[error("jwt expired")]
    Expired,
    /// For another service.
    #[error("jwt audience does not match service did")]
    Audience,
    /// For another method, or for none.
    #[error("jwt lexicon method (\"lxm\") must match: {expected}")]
    Method {
        /// The method that was called.
        expected: String,
        /// What the token says.
        found: Option<String>,
    },
    /// The issuer is not a DID, or a DID and a fragment.
    #[error("jwt iss is not a valid did")]
    Issuer,
    /// The issuer is a service whose key is not accepted for this request.
    #[error("untrusted issuer")]
    UntrustedIssuer,
    /// The header names a key that is not accepted for this request.
    #[error("jwt key id \"{0}\" is not accepted")]
    KeyId(String),
    /// Not signed by the issuer's key, or with another algorithm than the key's.
    #[error("jwt signature does not match jwt issuer")]
    Signature(#[source] TokenError),
}

impl ServiceAuthError {
    /// The XRPC error name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Format(_) => "BadJwt",
            Self::Type(_) => "BadJwtType",
            Self::Expired => "JwtExpired",
            Self::Audience => "BadJwtAudience",
            Self::Method { .. } => "BadJwtLexiconMethod",
            Self::Issuer => "BadJwtIss",
            Self::UntrustedIssuer => "UntrustedIss",
            Self::KeyId(_) | Self::Signature(_) => "BadJwtSignature",
        }
    }
}

/// What a token must be to be accepted.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The names of this service; the token's audience must equal one of them.
    pub audiences: &'a [&'a str],
    /// The method that is called; the token must be for it.
    pub lxm: &'a str,
    /// Which keys of the issuer's document may have signed, without `#`: [`ACCOUNT_KEY`], and [`LABELER_KEY`] where
    /// labelers are let in.
    pub keys: &'a [&'a str],
    /// Now, in seconds since 1970.
    pub now: u64,
}

/// The claims of a verified token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who acts, without the fragment.
    pub iss: Did,
    /// The audience, one of those expected.
    pub aud: String,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// When it was made, in seconds since 1970, if it says so.
    pub iat: Option<u64>,
    /// What makes it unique, if anything does.
    pub jti: Option<String>,
}

/// A token that fits its request but whose signature has not been checked.
#[derive(Clone, Debug)]
pub struct ServiceAuth<'a> {
    jwt: Jwt<'a>,
    issuer: Did,
    key: &'a str,
}

#[derive(Deserialize)]
struct RawClaims {
    iss: String,
    aud: String,
    #[serde(deserialize_with = "numeric_date")]
    exp: u64,
    lxm: Option<String>,
    #[serde(default, deserialize_with = "optional_numeric_date")]
    iat: Option<u64>,
    jti: Option<String>,
}

impl<'a> ServiceAuth<'a> {
    /// Checks form, type, expiry, audience, method, issuer and key id, in this order.
    ///
    /// # Errors
    /// Any [`ServiceAuthError`] but [`ServiceAuthError::Signature`].
    pub fn parse(token: &'a str, expected: &Expected<'a>) -> Result<Self, ServiceAuthError> {
        let jwt = Jwt::parse(token).map_err(ServiceAuthError::Format)?;
        if let Some(other) = OTHER_TYPES.into_iter().find(|name| jwt.header().is_type(name)) {
            return Err(ServiceAuthError::Type(other.to_owned()));
        }
        let claims: RawClaims = jwt.unverified_claims().map_err(ServiceAuthError::Format)?;
        if claims.exp <= expected.now {
            return Err(ServiceAuthError::Expired);
        }
        if !expected.audiences.contains(&claims.aud.as_str()) {
            return Err(ServiceAuthError::Audience);
        }
        if claims.lxm.as_deref() != Some(expected.lxm) {
            return Err(ServiceAuthError::Method { expected: expected.lxm.to_owned(), found: claims.lxm });
        }
        let (issuer, service) = parse_issuer(&claims.iss)?;
        let key = choose_key(&issuer, service, jwt.header().kid.as_deref(), expected.keys)?;
        Ok(Self { jwt, issuer, key })
    }

    /// Whose document holds the key.
    #[must_use]
    pub const fn issuer(&self) -> &Did {
        &self.issuer
    }

    /// The id of the key in the issuer's document, without `#`.
    #[must_use]
    pub const fn key_id(&self) -> &'a str {
        self.key
    }

    /// Verifies the signature with the issuer's key.
    ///
    /// # Errors
    /// [`ServiceAuthError::Signature`].
    pub fn verify(&self, key: &PublicKey) -> Result<Claims, ServiceAuthError> {
        let claims: RawClaims = self.jwt.verify(Verifier::Ecdsa(key)).map_err(ServiceAuthError::Signature)?;
        let RawClaims { aud, exp, iat, jti, .. } = claims;
        Ok(Claims { iss: self.issuer.clone(), aud, exp, iat, jti })
    }
}

/// Splits `did` or `did#service`.
fn parse_issuer(iss: &str) -> Result<(Did, Option<&str>), ServiceAuthError> {
    let (did, service) = match iss.split_once('#') {
        Some((_, service)) if !is_fragment(service) => return Err(ServiceAuthError::Issuer),
        Some((did, service)) => (did, Some(service)),
        None => (iss, None),
    };
    let did = Did::parse(did).map_err(|_| ServiceAuthError::Issuer)?;
    Ok((did, service))
}

/// The key that must have signed: what `kid` names, else what the issuer's fragment implies, if it is one of `allowed`.
fn choose_key<'a>(
    did: &Did,
    service: Option<&str>,
    kid: Option<&str>,
    allowed: &'a [&'a str],
) -> Result<&'a str, ServiceAuthError> {
    let find = |id: &str| allowed.iter().copied().find(|key| *key == id);
    let implied = match service {
        None => None,
        Some(LABELER) => Some(find(LABELER_KEY).ok_or(ServiceAuthError::UntrustedIssuer)?),
        Some(_) => return Err(ServiceAuthError::UntrustedIssuer),
    };
    let Some(kid) = kid else {
        return implied.or_else(|| find(ACCOUNT_KEY)).ok_or(ServiceAuthError::UntrustedIssuer);
    };
    let named = kid.strip_prefix(did.as_str()).unwrap_or(kid).strip_prefix('#').and_then(find);
    named
        .filter(|key| implied.is_none_or(|implied| implied == *key))
        .ok_or_else(|| ServiceAuthError::KeyId(kid.to_owned()))
}
