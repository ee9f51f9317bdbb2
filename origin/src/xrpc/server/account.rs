//! Making an account.
//!
//! In this order, so that whatever the process dies between, nobody has half an account: names are spoken for; the
//! account's store is made, which nothing knows of yet; the DID is registered; and then one transaction makes the
//! account, its first session and the events that tell of it. Before that transaction there is no account, after it there
//! is all of it. A DID that was registered for an account that did not come about is ended again, as far as the directory
//! can be reached.

use shared::api::Secret;
use shared::api::server::{CreateAccount, CreateAccountOutput};
use shared::crypto::{Curve, PublicKey, SigningKey};
use shared::identity::plc::{Body, Operation, State};
use shared::syntax::{Did, Handle};
use shared::xrpc::error_name;

use super::super::call::{Answer, Call};
use super::super::document_json;
use super::super::input::Json;
use crate::account::{Account, HandleClaim, HandleError, NewAccount, PasswordHash, RepoRoot, SignUp, Tokens};
use crate::actor::Created;
use crate::app::App;
use crate::error::XrpcError;
use crate::random;

/// com.atproto.server.createAccount
pub(in super::super) async fn create_account(
    Call { app, caller: requester, input: Json(input), .. }: Call<Option<Did>, (), Json<CreateAccount>>,
) -> Answer<Json<CreateAccountOutput>> {
    let handle = checked_handle(&app, &input).await?;
    let invite_code = input.invite_code.clone().filter(|_| app.accounts().config().invites.required);
    let email = input.email.clone().unwrap_or_default();
    let accounts = app.accounts();
    let _spoken_for = accounts.reserve_sign_up(&handle, &email, input.did.as_ref(), invite_code.as_deref()).await?;
    if let Some(did) = input.did.as_ref().filter(|did| requester.as_ref() != Some(*did)) {
        let message = format!("Missing auth to create account with did: {did}");
        return Err(XrpcError::unauthorized(error_name::AUTHENTICATION_REQUIRED, message));
    }
    let login = match &input.password {
        Some(password) => Some((email, accounts.hash_password(password.expose()).await?)),
        None => None,
    };
    let (key, identity) = new_identity(&app, &handle, &input)?;
    let making = Making { app: &app, handle: &handle, identity: &identity, login, invite_code };
    let tokens = making.make(key).await?;
    let did = identity.did().clone();
    // It is made, and will be told of, whatever happens now.
    if let Err(error) = app.announcements().deliver().await {
        tracing::error!(%did, %error, "a new account is not sequenced yet");
    }
    let document = app.identity().refresh_did(&did).await.ok().flatten();
    Ok(Json(CreateAccountOutput {
        access_jwt: Secret::new(tokens.access),
        refresh_jwt: Secret::new(tokens.refresh),
        handle,
        did,
        did_doc: document.and_then(|document| document_json(&document)),
    }))
}

/// The handle that is asked for, with all that can be checked of the rest without a look at the accounts.
async fn checked_handle(app: &App, input: &CreateAccount) -> Result<Handle, XrpcError> {
    if input.plc_op.is_some() {
        return Err(XrpcError::invalid_request("Unsupported input: \"plcOp\""));
    }
    let claim = app.accounts().check_sign_up(&SignUp {
        handle: input.handle.as_str(),
        did: input.did.as_ref(),
        email: input.email.as_deref(),
        password: input.password.as_ref().map(Secret::expose),
        invite_code: input.invite_code.as_deref(),
    })?;
    match claim {
        HandleClaim::Local(handle) => Ok(handle),
        HandleClaim::External(handle) => {
            let resolved = app.identity().resolve_handle(&handle).await;
            if resolved.is_some() && resolved == input.did {
                Ok(handle)
            } else {
                let error = HandleError::Unresolved;
                Err(XrpcError::refused(error.name(), error.to_string()))
            }
        }
    }
}

/// The DID of a new account.
enum NewIdentity {
    /// It comes with the account's owner, who moves in and activates the account later.
    Brought(Did),
    /// It is made, by this operation.
    Made(Did, Operation),
}

impl NewIdentity {
    const fn did(&self) -> &Did {
        match self {
            Self::Brought(did) | Self::Made(did, _) => did,
        }
    }
}

/// A signing key, and the DID that is brought, or one made for the key.
fn new_identity(app: &App, handle: &Handle, input: &CreateAccount) -> Result<(SigningKey, NewIdentity), XrpcError> {
    let key = SigningKey::from_bytes(Curve::K256, &random::bytes::<32>()).map_err(XrpcError::internal)?;
    if let Some(did) = &input.did {
        return Ok((key, NewIdentity::Brought(did.clone())));
    }
    let own = app.config().secrets.plc_rotation_key.clone();
    let recovery = input.recovery_key.as_deref().map(PublicKey::from_did_key).transpose();
    let recovery = recovery.map_err(|error| XrpcError::invalid_request(format!("Invalid recovery key: {error}")))?;
    // Those who may overrule this server come before it.
    let rotation: Vec<_> =
        [recovery, app.config().identity.recovery_key, Some(own.public_key())].into_iter().flatten().collect();
    let state = State::of_account(&rotation, &key.public_key(), handle, &app.public_url());
    let operation = Body::genesis(state).sign(&own);
    let did = operation.did().map_err(XrpcError::internal)?;
    Ok((key, NewIdentity::Made(did, operation)))
}

/// An account about to be made.
struct Making<'a> {
    app: &'a App,
    handle: &'a Handle,
    identity: &'a NewIdentity,
    login: Option<(String, PasswordHash)>,
    invite_code: Option<String>,
}

impl Making<'_> {
    /// Makes it; what was made of it is undone if that fails.
    async fn make(self, key: SigningKey) -> Result<Tokens, XrpcError> {
        let (app, identity) = (self.app, self.identity);
        let created = app.actors().create(identity.did(), key).await?;
        let made = self.register_and_insert(created).await;
        if made.is_err() {
            if let NewIdentity::Made(did, operation) = identity {
                end_identity(app, did, operation).await;
            }
            if let Err(error) = app.actors().destroy(identity.did()).await {
                tracing::warn!(did = %identity.did(), %error, "the store of an account that was not made is left over");
            }
        }
        made
    }

    async fn register_and_insert(self, created: Created) -> Result<Tokens, XrpcError> {
        let did = self.identity.did();
        if let NewIdentity::Made(_, operation) = self.identity {
            self.app.identity().directory().send(did, operation).await?;
        }
        let deactivated = matches!(self.identity, NewIdentity::Brought(_));
        let new = NewAccount {
            did: did.clone(),
            handle: self.handle.clone(),
            login: self.login,
            invite_code: self.invite_code,
            deactivated,
            root: RepoRoot { cid: created.head.commit.clone(), rev: created.head.rev },
        };
        let events = move |account: &Account| {
            if deactivated {
                return Ok(Vec::new());
            }
            Ok(vec![
                account.identity_event().encode()?,
                account.account_event().encode()?,
                created.commit,
                created.sync,
            ])
        };
        Ok(self.app.accounts().create(new, events).await?)
    }
}

/// Ends a DID that was made for nothing. Whether it was registered may not be known; then this is refused.
async fn end_identity(app: &App, did: &Did, genesis: &Operation) {
    let tombstone = Body::tombstone(&genesis.cid()).sign(&app.config().secrets.plc_rotation_key);
    if let Err(error) = app.identity().directory().send(did, &tombstone).await {
        tracing::warn!(%did, %error, "the DID of an account that was not made may be left over");
    }
}
