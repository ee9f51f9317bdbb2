//! Making an account.
//!
//! In this order, so that whatever the process dies between, nobody has half an account: names are spoken for; it is noted
//! that an account is being made; its store is made, which nothing knows of yet; the DID is registered; and then one
//! transaction makes the account, its first session and the events that tell of it, and takes the note back. Before that
//! transaction there is no account, after it there is all of it. What was made for an account that did not come about is
//! undone, at once or at the next start: the DID is ended, the store destroyed. Only what may be asked for again waits for
//! that: see [`super::attempt`].
//!
//! Behind an entryway the identity comes with who asks: see [`super::entryway`].

use shared::api::Secret;
use shared::api::server::CreateAccount;
use shared::cid::Cid;
use shared::crypto::{Curve, PublicKey, SigningKey};
use shared::identity::plc::{Body, Operation, State};
use shared::syntax::{Did, Handle};

use super::{LifecycleError, attempt, delete, entryway, submit};
use crate::account::{
    Account, AccountError, Attempt, HandleClaim, HandleError, Include, NewAccount, PasswordHash, RepoRoot, Reservation,
    SignUp, Tokens, Work,
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
/// is made. With an `attempt` it is made once, however often it is asked for.
///
/// # Errors
/// In the reference's order, whatever [`crate::account::Accounts::check_sign_up`] and
/// [`crate::account::Accounts::reserve_sign_up`] refuse, [`LifecycleError::NotTheirs`],
/// [`LifecycleError::RecoveryKey`], [`LifecycleError::Directory`], and whatever fails. Of an attempt first of all
/// [`AccountError::KeyWithoutPassword`], [`AccountError::KeyInUse`], [`AccountError::KeyReused`] and, if it has made the
/// account, what a log-in refuses.
pub async fn create(
    app: &App,
    wanted: &CreateAccount,
    requester: Option<&Did>,
    attempt: Option<&Attempt>,
) -> Result<Made, LifecycleError> {
    if app.entryway().is_some() {
        if attempt.is_some() {
            return Err(AccountError::KeyWithoutPassword.into());
        }
        let identity = entryway::identity(app, wanted).await?;
        let granted = Granted::to_entryway(app, &wanted.handle, &identity.did).await?;
        return Making { app, granted, identity, attempt: None, resumed: false }.make().await;
    }
    if let Some(attempt) = attempt {
        return attempt::create(app, wanted, requester, attempt).await;
    }
    let granted = Granted::to(app, wanted, requester).await?;
    let identity = NewIdentity::new(app, wanted, &granted.handle).await?;
    Making { app, granted, identity, attempt: None, resumed: false }.make().await
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
pub(super) async fn undo(app: &App, did: &Did, genesis: Option<&Cid>) -> Result<(), LifecycleError> {
    // From here on nobody goes on with it.
    app.accounts().forget_attempt(did).await?;
    fault::point("undo.forgotten");
    if let Some(genesis) = genesis
        && is_last(app, did, genesis).await?
    {
        let tombstone = app.rotation_key().sign(Body::tombstone(genesis)).await?;
        submit(app, did, &tombstone).await?;
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

/// What whoever signs up may have. Its names are nobody else's meanwhile.
pub(super) struct Granted {
    pub(super) handle: Handle,
    login: Option<(String, PasswordHash)>,
    invite_code: Option<String>,
    _spoken_for: Reservation,
}

impl Granted {
    /// Checks everything that is wanted.
    ///
    /// # Errors
    /// As [`create`], up to [`LifecycleError::NotTheirs`].
    pub(super) async fn to(app: &App, wanted: &CreateAccount, requester: Option<&Did>) -> Result<Self, LifecycleError> {
        let accounts = app.accounts();
        let handle = checked_handle(app, wanted).await?;
        let invite_code = wanted.invite_code.clone().filter(|_| accounts.config().invites.required);
        let email = wanted.email.clone().unwrap_or_default();
        let did = wanted.did.as_ref();
        let spoken_for = accounts.reserve_sign_up(&handle, Some(&email), did, invite_code.as_deref()).await?;
        if let Some(did) = wanted.did.as_ref().filter(|did| requester != Some(*did)) {
            return Err(LifecycleError::NotTheirs(did.clone()));
        }
        let login = match &wanted.password {
            Some(password) => Some((email, accounts.hash_password(password.expose()).await?)),
            None => None,
        };
        Ok(Self { handle, login, invite_code, _spoken_for: spoken_for })
    }

    /// What an entryway asks for, which checks names itself and keeps log-ins and invites.
    ///
    /// # Errors
    /// As [`crate::account::Accounts::reserve_sign_up`].
    async fn to_entryway(app: &App, handle: &Handle, did: &Did) -> Result<Self, LifecycleError> {
        let spoken_for = app.accounts().reserve_sign_up(handle, None, Some(did), None).await?;
        Ok(Self { handle: handle.clone(), login: None, invite_code: None, _spoken_for: spoken_for })
    }
}

/// The DID of a new account, and the key that signs its commits.
pub(super) struct NewIdentity {
    key: SigningKey,
    pub(super) did: Did,
    /// What makes the DID. Without, it comes with the account's owner, who moves in and activates the account later.
    operation: Option<Operation>,
    /// Whether an entryway brings it: then nothing here could end it, and the key is one that was reserved.
    brought: bool,
}

impl NewIdentity {
    /// The one that an entryway brings.
    pub(super) const fn brought(did: Did, key: SigningKey, operation: Operation) -> Self {
        Self { key, did, operation: Some(operation), brought: true }
    }

    pub(super) async fn new(app: &App, wanted: &CreateAccount, handle: &Handle) -> Result<Self, LifecycleError> {
        let key = SigningKey::from_bytes(Curve::K256, &random::bytes::<32>()).map_err(LifecycleError::Key)?;
        Self::of(app, wanted, handle, key).await
    }

    /// What an attempt that broke off had, if it is still to be had: the operation that the directory has taken already, else
    /// the one that is signed again, which is another where the rotation key is in KMS.
    pub(super) async fn again(
        app: &App,
        wanted: &CreateAccount,
        handle: &Handle,
        key: SigningKey,
        did: &Did,
        genesis: Option<&Cid>,
    ) -> Result<Self, LifecycleError> {
        let same = Self::of(app, wanted, handle, key).await?;
        if same.genesis().as_ref() == genesis || wanted.did.is_some() {
            return Ok(same);
        }
        let taken = app.identity().directory().last_operation(did).await?;
        Ok(match taken.filter(|taken| Some(&taken.cid()) == genesis && taken.state() == same.state()) {
            Some(taken) => Self { operation: Some(taken), did: did.clone(), ..same },
            None => same,
        })
    }

    /// The DID that is brought, or the one that this key has here.
    pub(super) async fn of(
        app: &App,
        wanted: &CreateAccount,
        handle: &Handle,
        key: SigningKey,
    ) -> Result<Self, LifecycleError> {
        if let Some(did) = &wanted.did {
            return Ok(Self { key, did: did.clone(), operation: None, brought: false });
        }
        let own = app.rotation_key().public_key().await?;
        let recovery = wanted.recovery_key.as_deref().map(PublicKey::from_did_key).transpose();
        let recovery = recovery.map_err(LifecycleError::RecoveryKey)?;
        // Those who may overrule this server come before it.
        let rotation: Vec<_> =
            [recovery, app.config().identity.recovery_key, Some(own)].into_iter().flatten().collect();
        let state = State::of_account(&rotation, &key.public_key(), handle, &app.public_url());
        let operation = app.rotation_key().sign(Body::genesis(state)).await?;
        let did = operation.did()?;
        Ok(Self { key, did, operation: Some(operation), brought: false })
    }

    fn state(&self) -> Option<State> {
        self.operation.as_ref().and_then(Operation::state)
    }

    /// The operation that makes the DID, if it is this server's and so ends with the account that does not come about.
    pub(super) fn genesis(&self) -> Option<Cid> {
        self.operation.as_ref().filter(|_| !self.brought).map(Operation::cid)
    }
}

/// An account about to be made.
pub(super) struct Making<'a> {
    pub(super) app: &'a App,
    pub(super) granted: Granted,
    pub(super) identity: NewIdentity,
    /// What may ask for it again.
    pub(super) attempt: Option<&'a Attempt>,
    /// Whether that has, and the DID may be registered already.
    pub(super) resumed: bool,
}

impl Making<'_> {
    /// Makes it. If that fails, what was made of it is undone; but an attempt of which it is not known whether it has
    /// reached the directory can be gone on with.
    pub(super) async fn make(self) -> Result<Made, LifecycleError> {
        let (app, did, genesis) = (self.app, self.identity.did.clone(), self.identity.genesis());
        let (handle, attempted) = (self.granted.handle.clone(), self.attempt.is_some());
        let reserved = self.identity.brought.then(|| self.identity.key.public_key());
        // One who was here before and is not gone altogether.
        delete::finish(app, &did).await?;
        if !self.resumed {
            app.accounts().begin_creation(&did, genesis.clone(), self.attempt.cloned()).await?;
        }
        fault::point("create.noted");
        let made = self.store_register_and_insert().await;
        if let Err(error) = &made {
            // An operation may arrive after all that was sent and not answered.
            let unsure =
                matches!(error, LifecycleError::Directory(DirectoryError::Fetch(_) | DirectoryError::Failed { .. }));
            let undone = match (unsure, attempted) {
                (true, true) => {
                    app.actors().release(&did);
                    Ok(())
                }
                // The next start looks again.
                (true, false) => app.actors().destroy(&did).await.map_err(LifecycleError::from),
                (false, _) => undo(app, &did, genesis.as_ref()).await,
            };
            if let Err(error) = undone {
                tracing::warn!(%did, %error, "an account that was not made is undone at the next start");
            }
        }
        let tokens = made?;
        // It is made, and will be told of, whatever happens now.
        fault::point("create.committed");
        if let Err(error) = app.announcements().deliver().await {
            tracing::error!(%did, %error, "a new account is not sequenced yet");
        }
        fault::point("create.told");
        if let Some(key) = reserved
            && let Err(error) = app.actors().forget_reserved(&did, &key).await
        {
            tracing::error!(%did, %error, "a key that is not reserved any more cannot be removed");
        }
        Ok(Made { did, handle, tokens })
    }

    async fn store_register_and_insert(self) -> Result<Tokens, LifecycleError> {
        let NewIdentity { key, did, operation, brought } = self.identity;
        let created: Created = self.app.actors().create(&did, key).await?;
        fault::point("create.stored");
        if let Some(operation) = &operation
            // Whoever asks again may have got as far before.
            && !((self.resumed || brought) && is_last(self.app, &did, &operation.cid()).await?)
        {
            submit(self.app, &did, operation).await?;
        }
        fault::point("create.registered");
        let deactivated = operation.is_none();
        let new = NewAccount {
            did,
            handle: self.granted.handle,
            login: self.granted.login,
            invite_code: self.granted.invite_code,
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

/// Whether the directory has `operation` as the last of the DID's.
async fn is_last(app: &App, did: &Did, operation: &Cid) -> Result<bool, LifecycleError> {
    let last = app.identity().directory().last_operation(did).await?;
    Ok(last.is_some_and(|last| last.cid() == *operation))
}
