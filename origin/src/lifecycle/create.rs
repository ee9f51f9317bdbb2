//! Making an account.
//!
//! In this order, so that whatever the process dies between, nobody has half an account: names are spoken for; it is noted
//! that an account is being made; its store is made, which nothing knows of yet; the DID is registered; and then one
//! transaction makes the account, its first session and the events that tell of it, and takes the note back. Before that
//! transaction there is no account, after it there is all of it. What was made for an account that did not come about is
//! undone, at once or at the next start: the DID is ended, the store destroyed.

use shared::api::Secret;
use shared::api::server::CreateAccount;
use shared::cid::Cid;
use shared::crypto::{Curve, PublicKey, SigningKey};
use shared::identity::plc::{Body, Operation, State};
use shared::syntax::{Did, Handle};

use super::{LifecycleError, delete, submit};
use crate::account::{
    Account, AccountError, HandleClaim, HandleError, Include, NewAccount, PasswordHash, RepoRoot, SignUp, Tokens, Work,
};
use crate::actor::Created;
use crate::app::App;
use crate::fault;
use crate::identity::plc::DirectoryError;
use crate::random;

/// An account that was just made.
#[derive(Debug)]
pub struct Made {
    /// Whose it is.
    pub did: Did,
    /// Its name.
    pub handle: Handle,
    /// Its first session.
    pub tokens: Tokens,
}

/// Makes an account, for `requester` if it is for a DID that exists: then it waits to be activated. For another a did:plc
/// is made.
///
/// # Errors
/// In the reference's order, whatever [`crate::account::Accounts::check_sign_up`] and
/// [`crate::account::Accounts::reserve_sign_up`] refuse, [`LifecycleError::NotTheirs`],
/// [`LifecycleError::RecoveryKey`], [`LifecycleError::Directory`], and whatever fails.
pub async fn create(app: &App, wanted: &CreateAccount, requester: Option<&Did>) -> Result<Made, LifecycleError> {
    let accounts = app.accounts();
    let handle = checked_handle(app, wanted).await?;
    let invite_code = wanted.invite_code.clone().filter(|_| accounts.config().invites.required);
    let email = wanted.email.clone().unwrap_or_default();
    let _spoken_for = accounts.reserve_sign_up(&handle, &email, wanted.did.as_ref(), invite_code.as_deref()).await?;
    if let Some(did) = wanted.did.as_ref().filter(|did| requester != Some(*did)) {
        return Err(LifecycleError::NotTheirs(did.clone()));
    }
    let login = match &wanted.password {
        Some(password) => Some((email, accounts.hash_password(password.expose()).await?)),
        None => None,
    };
    let (key, identity) = new_identity(app, &handle, wanted)?;
    let making = Making { app, handle: &handle, identity: &identity, login, invite_code };
    let tokens = making.make(key).await?;
    let did = identity.did().clone();
    // It is made, and will be told of, whatever happens now.
    fault::point("create.committed");
    if let Err(error) = app.announcements().deliver().await {
        tracing::error!(%did, %error, "a new account is not sequenced yet");
    }
    fault::point("create.told");
    Ok(Made { did, handle, tokens })
}

/// Undoes the making of an account that an earlier process did not finish, or forgets about it if that process did.
pub(super) async fn undo_earlier(app: &App, did: &Did, operation: Option<Cid>) -> Result<(), LifecycleError> {
    // Whoever brings a DID may try again meanwhile.
    let Some(_spoken_for) = app.accounts().reserve_did(did) else { return Ok(()) };
    if app.accounts().by_did(did, Include::ALL).await?.is_some() {
        return Ok(app.accounts().finished(did, Work::Creation(operation)).await?);
    }
    undo(app, did, operation.as_ref()).await
}

/// Undoes the making of an account: nothing of it is left when this returns.
async fn undo(app: &App, did: &Did, genesis: Option<&Cid>) -> Result<(), LifecycleError> {
    if let Some(genesis) = genesis {
        let last = app.identity().directory().last_operation(did).await?;
        if last.is_some_and(|last| last.cid() == *genesis) {
            let tombstone = Body::tombstone(genesis).sign(&app.config().secrets.plc_rotation_key);
            submit(app, did, &tombstone).await?;
        }
    }
    fault::point("undo.ended");
    app.actors().destroy(did).await?;
    fault::point("undo.destroyed");
    Ok(app.accounts().finished(did, Work::Creation(None)).await?)
}

/// The handle that is asked for, with all that can be checked of the rest without a look at the accounts.
async fn checked_handle(app: &App, wanted: &CreateAccount) -> Result<Handle, LifecycleError> {
    if wanted.plc_op.is_some() {
        return Err(LifecycleError::Unsupported("plcOp"));
    }
    let claim = app.accounts().check_sign_up(&SignUp {
        handle: wanted.handle.as_str(),
        did: wanted.did.as_ref(),
        email: wanted.email.as_deref(),
        password: wanted.password.as_ref().map(Secret::expose),
        invite_code: wanted.invite_code.as_deref(),
    })?;
    match claim {
        HandleClaim::Local(handle) => Ok(handle),
        HandleClaim::External(handle) => {
            let resolved = app.identity().resolve_handle(&handle).await;
            if resolved.is_some() && resolved == wanted.did {
                Ok(handle)
            } else {
                Err(AccountError::Handle(HandleError::Unresolved).into())
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

    fn genesis(&self) -> Option<Cid> {
        match self {
            Self::Brought(_) => None,
            Self::Made(_, operation) => Some(operation.cid()),
        }
    }
}

/// A signing key, and the DID that is brought, or one made for the key.
fn new_identity(
    app: &App,
    handle: &Handle,
    wanted: &CreateAccount,
) -> Result<(SigningKey, NewIdentity), LifecycleError> {
    let key = SigningKey::from_bytes(Curve::K256, &random::bytes::<32>()).map_err(LifecycleError::Key)?;
    if let Some(did) = &wanted.did {
        return Ok((key, NewIdentity::Brought(did.clone())));
    }
    let own = app.config().secrets.plc_rotation_key.clone();
    let recovery = wanted.recovery_key.as_deref().map(PublicKey::from_did_key).transpose();
    let recovery = recovery.map_err(LifecycleError::RecoveryKey)?;
    // Those who may overrule this server come before it.
    let rotation: Vec<_> =
        [recovery, app.config().identity.recovery_key, Some(own.public_key())].into_iter().flatten().collect();
    let state = State::of_account(&rotation, &key.public_key(), handle, &app.public_url());
    let operation = Body::genesis(state).sign(&own);
    let did = operation.did()?;
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
    async fn make(self, key: SigningKey) -> Result<Tokens, LifecycleError> {
        let (app, did, genesis) = (self.app, self.identity.did(), self.identity.genesis());
        // One who was here before and is not gone altogether.
        delete::finish(app, did).await?;
        app.accounts().note(did, Work::Creation(genesis.clone())).await?;
        fault::point("create.noted");
        let made = self.store_register_and_insert(key).await;
        if let Err(error) = &made {
            // An operation may arrive after all that was sent and not answered: the next start looks again.
            let unsure =
                matches!(error, LifecycleError::Directory(DirectoryError::Fetch(_) | DirectoryError::Failed { .. }));
            let undone = match unsure {
                true => app.actors().destroy(did).await.map_err(LifecycleError::from),
                false => undo(app, did, genesis.as_ref()).await,
            };
            if let Err(error) = undone {
                tracing::warn!(%did, %error, "an account that was not made is undone at the next start");
            }
        }
        made
    }

    async fn store_register_and_insert(self, key: SigningKey) -> Result<Tokens, LifecycleError> {
        let did = self.identity.did();
        let created: Created = self.app.actors().create(did, key).await?;
        fault::point("create.stored");
        if let NewIdentity::Made(_, operation) = self.identity {
            submit(self.app, did, operation).await?;
        }
        fault::point("create.registered");
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
