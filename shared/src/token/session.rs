//! Session tokens: the HS256 access and refresh tokens that a PDS gives its own users.
//!
//! Types, claims and scopes are the reference's, so sessions outlive a change of server in both directions. The access
//! token is stateless and short; the refresh token names a row by its `jti`. OAuth's access tokens share secret and type
//! but are bound to a key by `cnf` and are refused here, as is anything with `lxm`: that would be service auth.
//!
//! Behind an entryway another server mints the tokens and signs them with a k256 key, hence the [`Verifier`].
//!
//! Specification: <https://atproto.com/specs/xrpc#legacy-session-authentication>; lexicons `com.atproto.server.*`.

use data_encoding::BASE64_NOPAD;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{HmacKey, Jwt, Signer, TokenError, Verifier, numeric_date, sign};
use crate::syntax::Did;

/// How long an access token lasts, in seconds: two hours.
pub const ACCESS_LIFETIME: u64 = 2 * 60 * 60;
/// How long a refresh token lasts, in seconds: 90 days.
pub const REFRESH_LIFETIME: u64 = 90 * 24 * 60 * 60;

const ACCESS_TYPE: &str = "at+jwt";
const REFRESH_TYPE: &str = "refresh+jwt";

/// What a session may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Everything: a login with the account's password.
    Access,
    /// Getting new tokens, and nothing else.
    Refresh,
    /// A login with an app password.
    AppPass,
    /// A login with a privileged app password, which may also use direct messages.
    AppPassPrivileged,
    /// An account that waits in the sign-up queue.
    SignupQueued,
    /// An account that was taken down and may only leave.
    Takendown,
}

impl Scope {
    const ALL: [Self; 6] =
        [Self::Access, Self::Refresh, Self::AppPass, Self::AppPassPrivileged, Self::SignupQueued, Self::Takendown];

    /// The scope claim, such as `com.atproto.access`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Access => "com.atproto.access",
            Self::Refresh => "com.atproto.refresh",
            Self::AppPass => "com.atproto.appPass",
            Self::AppPassPrivileged => "com.atproto.appPassPrivileged",
            Self::SignupQueued => "com.atproto.signupQueued",
            Self::Takendown => "com.atproto.takendown",
        }
    }

    /// The scope that a claim names, if it is one.
    #[must_use]
    pub fn parse(claim: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == claim)
    }
}

/// Why a token is no session of this server. [`SessionError::name`] is the error's name for clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    /// Genuine, but its time is over; clients refresh on this and on nothing else.
    #[error("token has expired")]
    Expired,
    /// Not a token, or not by this key.
    #[error("token could not be verified")]
    Unverified(#[source] TokenError),
    /// Of another type, for another audience.
    #[error("token could not be verified: wrong type or audience")]
    Foreign,
    /// Genuine, but without the claims of a session, or with those of another kind of token.
    #[error("malformed token")]
    Malformed,
    /// Genuine, but not for this.
    #[error("bad token scope")]
    Scope,
    /// A refresh token without `jti`.
    #[error("unexpected missing refresh token id")]
    MissingId,
}

impl SessionError {
    /// The XRPC error name: `ExpiredToken`, `InvalidToken`, or `MissingTokenId`. The first two go with status 400, the
    /// last with 401.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Expired => "ExpiredToken",
            Self::MissingId => "MissingTokenId",
            Self::Unverified(_) | Self::Foreign | Self::Malformed | Self::Scope => "InvalidToken",
        }
    }
}

/// A verified access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whose session it is.
    pub did: Did,
    /// What it may do.
    pub scope: Scope,
}

/// A verified refresh token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refresh {
    /// Whose session it is.
    pub did: Did,
    /// Which refresh token it is.
    pub id: String,
    /// When it ends, in seconds since 1970.
    pub expires: u64,
}

/// Mints an access token for `did` at the service `aud`, valid for [`ACCESS_LIFETIME`] from `now`.
#[must_use]
pub fn access_token(key: &HmacKey, aud: &Did, did: &Did, scope: Scope, now: u64) -> String {
    let exp = now.saturating_add(ACCESS_LIFETIME);
    let claims = json!({"scope": scope.as_str(), "aud": aud, "sub": did, "iat": now, "exp": exp});
    sign(ACCESS_TYPE, &claims, Signer::Hmac(key))
}

/// Mints the refresh token `id` for `did` at the service `aud`, valid for [`REFRESH_LIFETIME`] from `now`.
#[must_use]
pub fn refresh_token(key: &HmacKey, aud: &Did, did: &Did, id: &str, now: u64) -> String {
    let exp = now.saturating_add(REFRESH_LIFETIME);
    let scope = Scope::Refresh.as_str();
    let claims = json!({"scope": scope, "aud": aud, "sub": did, "jti": id, "iat": now, "exp": exp});
    sign(REFRESH_TYPE, &claims, Signer::Hmac(key))
}

/// A new refresh token's id, made of random bytes: 43 characters of base64, which may hold `+` and `/`.
#[must_use]
pub fn token_id(random: [u8; 32]) -> String {
    BASE64_NOPAD.encode(&random)
}

/// Verifies an access token for the service `aud` whose scope is one of `scopes`.
///
/// # Errors
/// Any [`SessionError`] but [`SessionError::MissingId`].
pub fn verify_access(
    token: &str,
    key: Verifier<'_>,
    aud: &Did,
    scopes: &[Scope],
    now: u64,
) -> Result<Access, SessionError> {
    let claims = verify(token, key, ACCESS_TYPE, aud, Some(now))?;
    let (did, scope) = claims.session(scopes)?;
    Ok(Access { did, scope })
}

/// Verifies a refresh token for the service `aud`. Without `now` an expired one passes: enough to end its session.
///
/// # Errors
/// Any [`SessionError`].
pub fn verify_refresh(token: &str, key: Verifier<'_>, aud: &Did, now: Option<u64>) -> Result<Refresh, SessionError> {
    let claims = verify(token, key, REFRESH_TYPE, aud, now)?;
    let (did, _) = claims.session(&[Scope::Refresh])?;
    let id = claims.jti.filter(|id| !id.is_empty()).ok_or(SessionError::MissingId)?;
    Ok(Refresh { did, id, expires: claims.exp })
}

#[derive(Deserialize)]
struct Claims {
    aud: String,
    sub: String,
    scope: String,
    jti: Option<String>,
    #[serde(deserialize_with = "numeric_date")]
    exp: u64,
    #[serde(default)]
    lxm: Value,
    #[serde(default)]
    cnf: Value,
}

impl Claims {
    fn session(&self, scopes: &[Scope]) -> Result<(Did, Scope), SessionError> {
        if !self.lxm.is_null() || !self.cnf.is_null() {
            return Err(SessionError::Malformed);
        }
        let did = Did::parse(&self.sub).map_err(|_| SessionError::Malformed)?;
        let scope = Scope::parse(&self.scope).filter(|scope| scopes.contains(scope)).ok_or(SessionError::Scope)?;
        Ok((did, scope))
    }
}

/// Checks what a token is before when it is: an expired token of another kind is not to be refreshed.
fn verify(token: &str, key: Verifier<'_>, typ: &str, aud: &Did, now: Option<u64>) -> Result<Claims, SessionError> {
    let jwt = Jwt::parse(token).map_err(SessionError::Unverified)?;
    let claims: Claims = jwt.verify(key).map_err(|error| match error {
        TokenError::Json(_) => SessionError::Malformed,
        error => SessionError::Unverified(error),
    })?;
    if !jwt.header().is_type(typ) || claims.aud != aud.as_str() {
        return Err(SessionError::Foreign);
    }
    match now {
        Some(now) if claims.exp <= now => Err(SessionError::Expired),
        _ => Ok(claims),
    }
}
