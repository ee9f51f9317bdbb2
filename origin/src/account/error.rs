//! What can be wrong with a request about an account.

use shared::firehose::FirehoseError;
use shared::syntax::{Did, Handle};

use super::handle::HandleError;
use crate::db::DbError;

/// Why something about an account was refused. Where a client may see it, name and message are the reference's.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// A handle cannot be had.
    #[error(transparent)]
    Handle(#[from] HandleError),
    /// Signing up: another account has the handle.
    #[error("Handle already taken: {0}")]
    HandleTaken(Handle),
    /// Changing it: another account has the handle.
    #[error("Handle already taken: {0}")]
    HandleNotAvailable(Handle),
    /// Changing it: the account's handle is being changed already.
    #[error("The handle of this account is being changed already")]
    HandleChanging,
    /// Signing up: the DID has an account here.
    #[error("Repo already exists")]
    DidTaken(Did),
    /// Signing up: there must be an e-mail address.
    #[error("Email is required")]
    EmailRequired,
    /// Not an e-mail address, or a throw-away one.
    #[error("This email address is not supported, please use a different email.")]
    EmailUnsupported,
    /// Signing up: another account has the address.
    #[error("Email already taken: {0}")]
    EmailTaken(String),
    /// Changing it: another account has the address.
    #[error("This email address is already in use, please use a different email.")]
    EmailInUse,
    /// The address to confirm is not the account's.
    #[error("invalid email")]
    EmailMismatch,
    /// The account has no address to write to.
    #[error("account does not have an email address")]
    NoEmail,
    /// A chosen password is longer than [`super::NEW_PASSWORD_MAX`].
    #[error("Password too long. Maximum length is {} characters.", super::NEW_PASSWORD_MAX)]
    PasswordTooLong,
    /// A password to log in with is longer than [`super::OLD_PASSWORD_MAX`].
    #[error("Password too long. Consider resetting your password.")]
    PasswordNeverSet,
    /// There is an app password of this name.
    #[error("App password name already taken: {0}")]
    AppPasswordTaken(String),
    /// No such account, or not its password.
    #[error("Invalid identifier or password")]
    Credentials,
    /// The account is taken down.
    #[error("Account has been taken down")]
    Takedown,
    /// The refresh token was used and rotated out, or revoked.
    #[error("Token has been revoked")]
    Revoked,
    /// There is no such account, or none that this can be done to.
    #[error("account not found")]
    NotFound,
    /// Signing up: there must be an invite code.
    #[error("No invite code provided")]
    InviteRequired,
    /// There is no such invite code, or nothing is left of it.
    #[error("Provided invite code not available")]
    InviteUnavailable,
    /// The administrator's codes cannot be disabled together.
    #[error("cannot disable admin invite codes")]
    AdminInvites,
    /// The code that was mailed must be given.
    #[error("confirmation token required")]
    TokenRequired,
    /// Not the code that was mailed.
    #[error("Token is invalid")]
    TokenInvalid,
    /// The code was mailed too long ago.
    #[error("Token is expired")]
    TokenExpired,
    /// Not a cursor that this server gave.
    #[error("Malformed cursor")]
    Cursor,
    /// Signing up: the key of the attempt came with another body before.
    #[error("this Idempotency-Key was used with another request")]
    KeyReused,
    /// Signing up: an attempt with this key is under way.
    #[error("a request with this Idempotency-Key is being answered, try again later")]
    KeyInUse,
    /// Signing up: who asks again shows a password to be answered, and there is none.
    #[error("an Idempotency-Key needs a password in the request")]
    KeyWithoutPassword,
    /// Too many passwords are being checked. Nothing was looked up.
    #[error("too many passwords are being checked, try again later")]
    Busy,
    /// What is to be told of the change cannot be; the change is not made.
    #[error("an event cannot be told")]
    Event(#[from] FirehoseError),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

/// What kind of answer an error asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// 400: the request is wrong.
    Invalid,
    /// 401: the caller is not who they must be.
    Unauthenticated,
    /// 409: what is asked for is being done.
    Conflict,
    /// 422: the request is right, but not what it goes with.
    Unfit,
    /// 503: later.
    Busy,
    /// 500: the server is at fault, and the message is not for clients.
    Internal,
}

impl AccountError {
    /// The XRPC error name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Handle(error) => error.name(),
            Self::HandleNotAvailable(_) => "HandleNotAvailable",
            Self::DidTaken(_) => "AlreadyExists",
            Self::EmailMismatch => "InvalidEmail",
            Self::AppPasswordTaken(_) => "AppPasswordTaken",
            Self::Credentials | Self::PasswordNeverSet => "AuthenticationRequired",
            Self::Takedown => "AccountTakedown",
            Self::Revoked | Self::TokenExpired => "ExpiredToken",
            Self::NotFound => "AccountNotFound",
            Self::InviteRequired | Self::InviteUnavailable => "InvalidInviteCode",
            Self::TokenRequired => "TokenRequired",
            Self::TokenInvalid => "InvalidToken",
            Self::KeyReused => "IdempotencyKeyReused",
            Self::KeyInUse => "IdempotencyKeyInUse",
            Self::HandleTaken(_)
            | Self::KeyWithoutPassword
            | Self::HandleChanging
            | Self::EmailRequired
            | Self::EmailUnsupported
            | Self::EmailTaken(_)
            | Self::EmailInUse
            | Self::NoEmail
            | Self::PasswordTooLong
            | Self::AdminInvites
            | Self::Cursor => "InvalidRequest",
            Self::Busy => "NotEnoughResources",
            Self::Event(_) | Self::Db(_) => "InternalServerError",
        }
    }

    /// What kind of answer it asks for.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Credentials | Self::PasswordNeverSet | Self::Takedown => ErrorKind::Unauthenticated,
            Self::KeyInUse => ErrorKind::Conflict,
            Self::KeyReused => ErrorKind::Unfit,
            Self::Busy => ErrorKind::Busy,
            Self::Event(_) | Self::Db(_) => ErrorKind::Internal,
            _ => ErrorKind::Invalid,
        }
    }
}

impl From<rusqlite::Error> for AccountError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Db(error.into())
    }
}
