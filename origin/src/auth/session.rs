//! Sessions: access tokens for calls, refresh tokens for the next pair.

use shared::syntax::Did;
use shared::token::session::{self, Scope, SessionError};
use shared::xrpc::error_name;

use super::{Admin, Asked, Auth, Authorization, Standing, missing};
use crate::error::XrpcError;
use crate::time::now_seconds;

/// An account that acts through a session of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Whose account it is.
    pub did: Did,
    /// What the session may do.
    pub scope: Scope,
}

/// A session of an account here, of one of some scopes.
#[derive(Debug, Clone)]
pub struct Access {
    scopes: Vec<Scope>,
    standing: Standing,
}

impl Access {
    /// A log-in with the account's own password.
    #[must_use]
    pub fn full() -> Self {
        Self { scopes: vec![Scope::Access], standing: Standing::default() }
    }

    /// That, or a privileged app password.
    #[must_use]
    pub fn privileged() -> Self {
        Self::full().or(Scope::AppPassPrivileged)
    }

    /// That, or any app password.
    #[must_use]
    pub fn standard() -> Self {
        Self::privileged().or(Scope::AppPass)
    }

    /// Also sessions of this scope.
    #[must_use]
    pub fn or(mut self, scope: Scope) -> Self {
        self.scopes.push(scope);
        self
    }

    /// Only for accounts of this standing.
    #[must_use]
    pub fn only(mut self, standing: Standing) -> Self {
        self.standing = standing;
        if standing.not_taken_down {
            // The token says already what the account is not worth.
            self.scopes.retain(|scope| *scope != Scope::Takendown);
        }
        self
    }

    async fn verify_bearer(&self, asked: &Asked<'_>, token: &str) -> Result<Caller, XrpcError> {
        let (key, audience) = (asked.app.session_key(), &asked.app.config().service.did);
        let access = session::verify_access(token, key, audience, &self.scopes, now_seconds());
        let session::Access { did, scope } = access.map_err(refusal)?;
        self.standing.of(asked, &did).await?;
        Ok(Caller { did, scope })
    }
}

impl Auth for Access {
    type Caller = Caller;

    async fn verify(&self, asked: &Asked<'_>) -> Result<Caller, XrpcError> {
        match Authorization::of(asked.headers)? {
            Authorization::Bearer(token) => self.verify_bearer(asked, token).await,
            Authorization::None => Err(missing()),
            Authorization::Basic(_) | Authorization::Dpop(_) => {
                Err(XrpcError::refused(error_name::INVALID_TOKEN, "Unexpected authorization type"))
            }
        }
    }
}

/// Who reads what is public, and what is not if it is their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reader {
    /// Anybody.
    Anybody,
    /// An account here.
    Account(Did),
    /// The administrator.
    Admin,
}

impl Reader {
    /// Whether they may see the repository of `did` whatever its account is worth.
    #[must_use]
    pub fn sees_all_of(&self, did: &Did) -> bool {
        match self {
            Self::Anybody => false,
            Self::Account(own) => own == did,
            Self::Admin => true,
        }
    }
}

/// A session, the administrator, or nobody.
#[derive(Debug, Clone)]
pub struct AccessOrAdminOptional(pub Access);

impl Auth for AccessOrAdminOptional {
    type Caller = Reader;

    async fn verify(&self, asked: &Asked<'_>) -> Result<Reader, XrpcError> {
        match Authorization::of(asked.headers)? {
            Authorization::Bearer(_) | Authorization::Dpop(_) => {
                self.0.verify(asked).await.map(|caller| Reader::Account(caller.did))
            }
            Authorization::Basic(_) => Admin.verify(asked).await.map(|()| Reader::Admin),
            Authorization::None => Ok(Reader::Anybody),
        }
    }
}

/// Who refreshes or ends a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresher {
    /// Whose session it is.
    pub did: Did,
    /// Which refresh token it is.
    pub id: String,
}

/// A refresh token.
#[derive(Debug, Clone, Copy)]
pub struct Refresh {
    /// Whether one whose time is over will do: enough to end its session.
    pub expired: bool,
}

impl Auth for Refresh {
    type Caller = Refresher;

    async fn verify(&self, asked: &Asked<'_>) -> Result<Refresher, XrpcError> {
        let Authorization::Bearer(token) = Authorization::of(asked.headers)? else { return Err(missing()) };
        // An entryway's refresh tokens are for itself.
        let entryway = asked.app.entryway().map(|entryway| &entryway.config().did);
        let audience = entryway.unwrap_or(&asked.app.config().service.did);
        let now = (!self.expired).then(now_seconds);
        let refresh = session::verify_refresh(token, asked.app.session_key(), audience, now);
        let session::Refresh { did, id, .. } = refresh.map_err(refusal)?;
        Ok(Refresher { did, id })
    }
}

fn refusal(error: SessionError) -> XrpcError {
    let message = match error {
        SessionError::Expired => "Token has expired",
        SessionError::Unverified(_) | SessionError::Foreign => "Token could not be verified",
        SessionError::Malformed => "Malformed token",
        SessionError::Scope => "Bad token scope",
        SessionError::MissingId => {
            return XrpcError::unauthorized(error.name(), "Unexpected missing refresh token id");
        }
    };
    XrpcError::refused(error.name(), message).caused_by(error)
}
