//! Service auth: an account of any server, or a service, by a token that its own key signed.

use shared::syntax::Did;
use shared::token::service::{ACCOUNT_KEY, Expected, LABELER_KEY, ServiceAuth, ServiceAuthError};
use shared::xrpc::error_name;

use super::{Access, Admin, Asked, Auth, Authorization, Caller, anonymous};
use crate::error::XrpcError;
use crate::time::now_seconds;

/// Who a token for the very method that is called is from. `keys` are those of the issuer's document that may have signed;
/// with `trusted` only that issuer is let in.
async fn issuer(asked: &Asked<'_>, keys: &[&str], trusted: Option<&Did>) -> Result<Did, XrpcError> {
    let Authorization::Bearer(token) = Authorization::of(asked.headers)? else {
        return Err(XrpcError::unauthorized(error_name::MISSING_JWT, "missing jwt"));
    };
    let own = asked.app.config().service.did.as_str();
    // What is for the entryway may be for this server, which stands behind it.
    let entryway = asked.app.entryway().map_or(own, |entryway| entryway.config().did.as_str());
    let expected = Expected { audiences: &[own, entryway], lxm: asked.nsid, keys, now: now_seconds() };
    let auth = ServiceAuth::parse(token, &expected).map_err(|error| refusal(&error))?;
    if trusted.is_some_and(|trusted| trusted != auth.issuer()) {
        return Err(refusal(&ServiceAuthError::UntrustedIssuer));
    }
    match verify(asked, &auth, false).await {
        Ok(issuer) => Ok(issuer),
        // The key that is known may be the one before.
        Err(_) => verify(asked, &auth, true).await,
    }
}

/// Verifies a token with its issuer's key: the one that is known, or the one of now.
async fn verify(asked: &Asked<'_>, auth: &ServiceAuth<'_>, fresh: bool) -> Result<Did, XrpcError> {
    let refused = |message| XrpcError::unauthorized(error_name::AUTHENTICATION_REQUIRED, message);
    let identity = asked.app.identity();
    let resolved =
        if fresh { identity.refresh_did(auth.issuer()).await } else { identity.resolve_did(auth.issuer()).await };
    let document = resolved.map_err(|error| refused("could not resolve iss did").caused_by(error))?;
    let document = document.ok_or_else(|| refused("could not resolve iss did"))?;
    let key = document.key(auth.key_id()).ok_or_else(|| refused("missing or bad key in did doc"))?;
    Ok(auth.verify(&key).map_err(|error| refusal(&error))?.iss)
}

fn refusal(error: &ServiceAuthError) -> XrpcError {
    XrpcError::unauthorized(error.name(), error.to_string())
}

/// Whether a token, not verified, claims to be service auth: it is for one method.
fn claims_method(token: &str) -> bool {
    let claims = shared::token::Jwt::parse(token).and_then(|jwt| jwt.unverified_claims::<serde_json::Value>());
    claims.is_ok_and(|claims| claims.get("lxm").is_some_and(|lxm| !lxm.is_null()))
}

/// An account of any server, or nobody.
#[derive(Debug, Clone, Copy)]
pub struct ServiceOptional;

impl Auth for ServiceOptional {
    type Caller = Option<Did>;

    async fn verify(&self, asked: &Asked<'_>) -> Result<Option<Did>, XrpcError> {
        match Authorization::of(asked.headers)? {
            Authorization::Bearer(_) => issuer(asked, &[ACCOUNT_KEY], None).await.map(Some),
            _ => anonymous(asked.headers).map(|()| None),
        }
    }
}

/// An account here, by a session or by a token of its own key.
#[derive(Debug, Clone)]
pub struct AccessOrService(pub Access);

impl Auth for AccessOrService {
    type Caller = Did;

    async fn verify(&self, asked: &Asked<'_>) -> Result<Did, XrpcError> {
        match Authorization::of(asked.headers)? {
            Authorization::Bearer(token) if claims_method(token) => issuer(asked, &[ACCOUNT_KEY], None).await,
            _ => self.0.verify(asked).await.map(|caller| caller.did),
        }
    }
}

/// The moderation service that the operator trusts, or the administrator.
#[derive(Debug, Clone, Copy)]
pub struct Moderator;

impl Auth for Moderator {
    type Caller = ();

    async fn verify(&self, asked: &Asked<'_>) -> Result<(), XrpcError> {
        let Authorization::Bearer(_) = Authorization::of(asked.headers)? else { return Admin.verify(asked).await };
        let trusted = asked.app.config().services.moderation.as_ref();
        let trusted = trusted.ok_or_else(|| refusal(&ServiceAuthError::UntrustedIssuer))?;
        issuer(asked, &[ACCOUNT_KEY, LABELER_KEY], Some(&trusted.did)).await.map(drop)
    }
}

/// Who reads what only its owner, and the moderator, may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OwnerOrModerator {
    /// An account here, of its own.
    Owner(Caller),
    /// The moderation service that the operator trusts, of anybody's.
    Moderator,
}

/// An account here, or the moderation service.
#[derive(Debug, Clone)]
pub struct AccessOrModerator(pub Access);

impl Auth for AccessOrModerator {
    type Caller = OwnerOrModerator;

    async fn verify(&self, asked: &Asked<'_>) -> Result<OwnerOrModerator, XrpcError> {
        match Authorization::of(asked.headers)? {
            Authorization::Bearer(token) if claims_method(token) => {
                Moderator.verify(asked).await.map(|()| OwnerOrModerator::Moderator)
            }
            _ => self.0.verify(asked).await.map(OwnerOrModerator::Owner),
        }
    }
}
