//! The names of errors, as clients know them.
//!
//! First the general names that follow from a status, then the names that schemas declare or that existing clients
//! depend on, grouped by where they occur. The same name can occur with more than one status; the comment gives the
//! usual one where it is not 400.
//!
//! From <https://atproto.com/specs/xrpc>, the errors that `com.atproto.*` schemas declare, and the reference server.

// General: the name when nothing more particular is known.

/// 400: the request is wrong; the message says how.
pub const INVALID_REQUEST: &str = "InvalidRequest";
/// 401: no credentials, or wrong ones.
pub const AUTHENTICATION_REQUIRED: &str = "AuthenticationRequired";
/// 403: the credentials do not allow this.
pub const FORBIDDEN: &str = "Forbidden";
/// 404: there is no such method.
pub const XRPC_NOT_SUPPORTED: &str = "XRPCNotSupported";
/// 406: no encoding that the client accepts.
pub const NOT_ACCEPTABLE: &str = "NotAcceptable";
/// 413: the body is larger than the method's limit.
pub const PAYLOAD_TOO_LARGE: &str = "PayloadTooLarge";
/// 415: the body's Content-Encoding is unknown.
pub const UNSUPPORTED_MEDIA_TYPE: &str = "UnsupportedMediaType";
/// 429: a rate limit is used up; `Retry-After` says until when.
pub const RATE_LIMIT_EXCEEDED: &str = "RateLimitExceeded";
/// 500: our fault; the message never tells more than that.
pub const INTERNAL_SERVER_ERROR: &str = "InternalServerError";
/// 501: a known method that this server does not offer.
pub const METHOD_NOT_IMPLEMENTED: &str = "MethodNotImplemented";
/// 502: a server behind this one failed or cannot be reached.
pub const UPSTREAM_FAILURE: &str = "UpstreamFailure";
/// 503: too busy; try again later.
pub const NOT_ENOUGH_RESOURCES: &str = "NotEnoughResources";
/// 504: a server behind this one did not answer in time.
pub const UPSTREAM_TIMEOUT: &str = "UpstreamTimeout";

/// The general name for a status; a status without one of its own takes that of its class.
#[must_use]
pub const fn of_status(status: u16) -> &'static str {
    match status {
        401 => AUTHENTICATION_REQUIRED,
        403 => FORBIDDEN,
        404 => XRPC_NOT_SUPPORTED,
        406 => NOT_ACCEPTABLE,
        413 => PAYLOAD_TOO_LARGE,
        415 => UNSUPPORTED_MEDIA_TYPE,
        429 => RATE_LIMIT_EXCEEDED,
        400..=499 => INVALID_REQUEST,
        501 => METHOD_NOT_IMPLEMENTED,
        502 => UPSTREAM_FAILURE,
        503 => NOT_ENOUGH_RESOURCES,
        504 => UPSTREAM_TIMEOUT,
        _ => INTERNAL_SERVER_ERROR,
    }
}

// Authorization, in any method.

/// 401: the method needs an Authorization header.
pub const AUTH_MISSING: &str = "AuthMissing";
/// The token is malformed, of the wrong kind, not for this server, or not for this method; also a wrong emailed token.
pub const INVALID_TOKEN: &str = "InvalidToken";
/// The token's time is over, or it was revoked: clients refresh. Also an emailed token past its time.
pub const EXPIRED_TOKEN: &str = "ExpiredToken";
/// 401: the account is taken down. createSession, and every method that refuses such accounts.
pub const ACCOUNT_TAKEDOWN: &str = "AccountTakedown";
/// 401: the account is deactivated, and the method writes.
pub const ACCOUNT_DEACTIVATED: &str = "AccountDeactivated";
/// 403 where the token's account does not exist here; 400 in confirmEmail and activateAccount.
pub const ACCOUNT_NOT_FOUND: &str = "AccountNotFound";
/// 403: an OAuth token without the scope that the method needs.
pub const SCOPE_MISSING: &str = "ScopeMissingError";
/// 401: a refresh token without an identifier.
pub const MISSING_TOKEN_ID: &str = "MissingTokenId";
/// 401, from OAuth: the access token is invalid, expired or not bound to this proof.
pub const OAUTH_INVALID_TOKEN: &str = "invalid_token";
/// 401, from OAuth: the DPoP proof is malformed, replayed or for another request.
pub const OAUTH_INVALID_DPOP_PROOF: &str = "invalid_dpop_proof";
/// 401, from OAuth: the DPoP proof needs the nonce that this answer carries.
pub const OAUTH_USE_DPOP_NONCE: &str = "use_dpop_nonce";

// Service auth, all 401 but the first: a JWT that another account's or service's key signed.

/// getServiceAuth: the wanted expiry is in the past or too far ahead.
pub const BAD_EXPIRATION: &str = "BadExpiration";
/// No JWT where one is needed.
pub const MISSING_JWT: &str = "MissingJwt";
/// The JWT is malformed.
pub const BAD_JWT: &str = "BadJwt";
/// The JWT is for another service.
pub const BAD_JWT_AUDIENCE: &str = "BadJwtAudience";
/// The JWT's issuer is no DID.
pub const BAD_JWT_ISS: &str = "BadJwtIss";
/// The JWT is for another method, or for none where one must be named.
pub const BAD_JWT_LEXICON_METHOD: &str = "BadJwtLexiconMethod";
/// The JWT's signature does not verify.
pub const BAD_JWT_SIGNATURE: &str = "BadJwtSignature";
/// The JWT is of a kind that is not for service auth.
pub const BAD_JWT_TYPE: &str = "BadJwtType";
/// The JWT's time is over.
pub const JWT_EXPIRED: &str = "JwtExpired";
/// The JWT's issuer may not call this method here.
pub const UNTRUSTED_ISS: &str = "UntrustedIss";

// com.atproto.server.

/// createAccount, updateHandle, resolveHandle: the handle is malformed, under a reserved domain or refused.
pub const INVALID_HANDLE: &str = "InvalidHandle";
/// createAccount, updateHandle: the handle is reserved or taken.
pub const HANDLE_NOT_AVAILABLE: &str = "HandleNotAvailable";
/// createAccount: the password is unacceptable.
pub const INVALID_PASSWORD: &str = "InvalidPassword";
/// createAccount: the invite code is missing, unknown or used up.
pub const INVALID_INVITE_CODE: &str = "InvalidInviteCode";
/// createAccount: the handle is under none of this server's domains.
pub const UNSUPPORTED_DOMAIN: &str = "UnsupportedDomain";
/// createAccount: the DID that moves in does not resolve.
pub const UNRESOLVABLE_DID: &str = "UnresolvableDid";
/// createAccount behind an entryway: the DID's document does not fit this server.
pub const INCOMPATIBLE_DID_DOC: &str = "IncompatibleDidDoc";
/// 401, createSession: a code was mailed and must come with the password.
pub const AUTH_FACTOR_TOKEN_REQUIRED: &str = "AuthFactorTokenRequired";
/// updateEmail: the present address is confirmed, so a mailed token is needed.
pub const TOKEN_REQUIRED: &str = "TokenRequired";
/// confirmEmail: the address is not the account's.
pub const INVALID_EMAIL: &str = "InvalidEmail";
/// 422, createAccount: the `Idempotency-Key` came with another body before.
pub const IDEMPOTENCY_KEY_REUSED: &str = "IdempotencyKeyReused";
/// 409, createAccount: what was asked for with the `Idempotency-Key` is being done still.
pub const IDEMPOTENCY_KEY_IN_USE: &str = "IdempotencyKeyInUse";
/// getAccountInviteCodes: two calls made codes at once.
pub const DUPLICATE_CREATE: &str = "DuplicateCreate";

// com.atproto.identity.

/// resolveHandle: the handle does not resolve.
pub const HANDLE_NOT_FOUND: &str = "HandleNotFound";

// com.atproto.repo and com.atproto.sync.

/// createRecord, putRecord, deleteRecord, applyWrites: the repository or record is not at the CID that was expected.
pub const INVALID_SWAP: &str = "InvalidSwap";
/// getRecord: there is no such record, or not at that CID, or it is taken down.
pub const RECORD_NOT_FOUND: &str = "RecordNotFound";
/// There is no such repository here, or its account was deleted.
pub const REPO_NOT_FOUND: &str = "RepoNotFound";
/// The repository's account is taken down.
pub const REPO_TAKENDOWN: &str = "RepoTakendown";
/// The repository's account is suspended.
pub const REPO_SUSPENDED: &str = "RepoSuspended";
/// The repository's account is deactivated.
pub const REPO_DEACTIVATED: &str = "RepoDeactivated";
/// 503, of this server alone: the account's store is older than what was told of it, and takes no writes.
pub const REPO_BEHIND: &str = "RepoBehind";
/// A record refers to a blob that was not uploaded or is taken down; also declared by getBlob.
pub const BLOB_NOT_FOUND: &str = "BlobNotFound";
/// A record's reference gives the blob another media type than it has.
pub const INVALID_MIME_TYPE: &str = "InvalidMimeType";
/// A record's reference gives the blob another size than it has.
pub const INVALID_SIZE: &str = "InvalidSize";
/// getBlocks: some of the blocks are not in the repository.
pub const BLOCK_NOT_FOUND: &str = "BlockNotFound";
/// getHead: there is no such repository.
pub const HEAD_NOT_FOUND: &str = "HeadNotFound";
/// subscribeRepos, in an error frame: the cursor is ahead of the stream.
pub const FUTURE_CURSOR: &str = "FutureCursor";
/// subscribeRepos, in an error frame: the consumer cannot keep up and is cut off.
pub const CONSUMER_TOO_SLOW: &str = "ConsumerTooSlow";

// com.atproto.admin and app.bsky.

/// getAccountInfo, getSubjectStatus, getAccountInviteCodes: there is no such account or subject.
pub const NOT_FOUND: &str = "NotFound";
/// app.bsky.feed.getFeed: the feed generator's record cannot be read.
pub const UNKNOWN_FEED: &str = "UnknownFeed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_has_a_name() {
        let named = [
            (400, "InvalidRequest"),
            (401, "AuthenticationRequired"),
            (404, "XRPCNotSupported"),
            (409, "InvalidRequest"),
            (429, "RateLimitExceeded"),
            (500, "InternalServerError"),
            (502, "UpstreamFailure"),
            (599, "InternalServerError"),
        ];
        for (status, name) in named {
            assert_eq!(of_status(status), name, "{status}");
        }
    }
}
