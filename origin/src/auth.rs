//! Who calls, and whether they may: the kinds of authorization that methods ask for.
//!
//! Each kind is a value in the route table that turns the Authorization header into a caller, or refuses. Being genuine
//! and being in good standing are two questions: a session is genuine without a look at any database, and only methods
//! that say so ask what its account is worth. Every answer that depended on the header says so to caches
//! ([`Auth::DECIDES`]).
//!
//! Specification: <https://atproto.com/specs/xrpc#authentication>.

mod admin;
mod service;
mod session;

use axum::http::{HeaderMap, header};
use shared::syntax::Did;
use shared::xrpc::error_name;

use crate::account::{Account, Include};
use crate::app::App;
use crate::error::XrpcError;

pub use admin::Admin;
pub use service::{AccessOrModerator, AccessOrService, Moderator, OwnerOrModerator, ServiceOptional};
pub use session::{Access, AccessOrAdminOptional, Caller, Reader, Refresh, Refresher};

/// A call, as far as it matters who makes it.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The server.
    pub app: &'a App,
    /// The method that is called.
    pub nsid: &'a str,
    /// The request's headers.
    pub headers: &'a HeaderMap,
}

/// A kind of authorization.
pub trait Auth: Send + Sync + 'static {
    /// What is known of a caller who satisfies it.
    type Caller: Send + 'static;

    /// Whether the answer depends on the Authorization header, so that no cache may give it to somebody else.
    const DECIDES: bool = true;

    /// Finds out who calls.
    fn verify(&self, asked: &Asked<'_>) -> impl Future<Output = Result<Self::Caller, XrpcError>> + Send;
}

/// Anybody, whatever their Authorization header says.
#[derive(Debug, Clone, Copy)]
pub struct Anybody;

impl Auth for Anybody {
    type Caller = ();
    const DECIDES: bool = false;

    async fn verify(&self, _: &Asked<'_>) -> Result<(), XrpcError> {
        Ok(())
    }
}

/// An Authorization header, taken apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Authorization<'a> {
    /// There is none.
    None,
    /// `Basic`: name and password, still encoded.
    Basic(&'a str),
    /// `Bearer`: a token.
    Bearer(&'a str),
    /// `DPoP`: a token bound to a key.
    Dpop(&'a str),
}

impl<'a> Authorization<'a> {
    /// The header of a request: a scheme, in any case, one space, and the credentials.
    pub(crate) fn of(headers: &'a HeaderMap) -> Result<Self, XrpcError> {
        let malformed = || XrpcError::refused(error_name::INVALID_TOKEN, "Malformed authorization header");
        let Some(value) = headers.get(header::AUTHORIZATION) else { return Ok(Self::None) };
        let value = value.to_str().map_err(|_| malformed())?;
        if value.is_empty() {
            return Ok(Self::None);
        }
        let (scheme, credentials) = value.split_once(' ').ok_or_else(malformed)?;
        if credentials.contains(' ') {
            return Err(malformed());
        }
        match scheme.to_ascii_lowercase().as_str() {
            "basic" => Ok(Self::Basic(credentials)),
            "bearer" => Ok(Self::Bearer(credentials)),
            "dpop" => Ok(Self::Dpop(credentials)),
            _ => {
                let message = format!("Unsupported authorization type: {scheme}");
                Err(XrpcError::refused(error_name::INVALID_TOKEN, message))
            }
        }
    }
}

/// Refuses whoever sends an Authorization header where only its absence is left as a way in.
fn anonymous(headers: &HeaderMap) -> Result<(), XrpcError> {
    if headers.get(header::AUTHORIZATION).is_some_and(|value| !value.is_empty()) {
        let message = "Invalid authorization header";
        return Err(XrpcError::unauthorized(error_name::AUTHENTICATION_REQUIRED, message));
    }
    Ok(())
}

fn missing() -> XrpcError {
    XrpcError::unauthorized(error_name::AUTH_MISSING, "Authentication Required")
}

/// What an account must be worth for a method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Standing {
    /// Not taken down.
    pub not_taken_down: bool,
    /// Not deactivated.
    pub not_deactivated: bool,
}

impl Standing {
    /// Neither taken down nor deactivated: an account that may write.
    pub const ACTIVE: Self = Self { not_taken_down: true, not_deactivated: true };

    /// Whether `account`, the caller's, is worth that much.
    ///
    /// # Errors
    /// 403 `AccountNotFound` if there is none, 401 `AccountTakedown`, 401 `AccountDeactivated`.
    pub fn check(self, account: Option<Account>) -> Result<Account, XrpcError> {
        let account =
            account.ok_or_else(|| XrpcError::forbidden(error_name::ACCOUNT_NOT_FOUND, "Account not found"))?;
        if self.not_taken_down && account.takedown_ref.is_some() {
            return Err(XrpcError::unauthorized(error_name::ACCOUNT_TAKEDOWN, "Account has been taken down"));
        }
        if self.not_deactivated && account.deactivated_at.is_some() {
            return Err(XrpcError::unauthorized(error_name::ACCOUNT_DEACTIVATED, "Account is deactivated"));
        }
        Ok(account)
    }

    /// As [`Self::check`], of the account of `did`; asks no database where nothing is demanded.
    async fn of(self, asked: &Asked<'_>, did: &Did) -> Result<(), XrpcError> {
        if self != Self::default() {
            self.check(asked.app.accounts().by_did(did, Include::ALL).await?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(value: &str) -> Result<String, String> {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]);
        let parsed = Authorization::of(&headers).map(|authorization| format!("{authorization:?}"));
        parsed.map_err(|error| format!("{} {error}", error.name()))
    }

    #[test]
    fn a_header_is_a_known_scheme_one_space_and_credentials() {
        assert_eq!(Authorization::of(&HeaderMap::new()).unwrap(), Authorization::None);
        assert_eq!(of(""), Ok("None".into()));
        assert_eq!(of("bEaReR x.y.z"), Ok("Bearer(\"x.y.z\")".into()));
        assert_eq!(of("DPoP x"), Ok("Dpop(\"x\")".into()));
        assert_eq!(of("Basic eA=="), Ok("Basic(\"eA==\")".into()));
        let malformed = Err("InvalidToken Malformed authorization header".into());
        assert_eq!(of("Bearer"), malformed);
        assert_eq!(of("Bearer  x"), malformed);
        assert_eq!(of("Bearer x y"), malformed);
        assert_eq!(of("Digest x"), Err("InvalidToken Unsupported authorization type: Digest".into()));
    }
}
