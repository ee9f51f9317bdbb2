//! The identity of a new account, as an entryway brings it.
//!
//! An entryway has a signing key reserved here, makes the did:plc operation that names this server and that key, signs it
//! with its own rotation key, and asks for the account with both. Everything about it is checked before anything is made.
//!
//! Specification: lexicon `com.atproto.server.createAccount`, `plcOp`; <https://web.plc.directory/spec/v0.1/did-plc>.

use shared::api::server::CreateAccount;
use shared::crypto::PublicKey;
use shared::identity::DidDocument;
use shared::identity::plc::{Body, Operation};

use super::LifecycleError;
use super::create::NewIdentity;
use crate::app::App;

/// Why an identity that an entryway brings is none for this server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incompatible {
    /// It is no operation that a directory could take, or not the entryway's.
    #[error("invalid plc operation")]
    Operation,
    /// The entryway could not change it.
    #[error("PLC DID does not include service rotation key")]
    RotationKey,
    /// It has another handle.
    #[error("provided handle does not match DID document handle")]
    Handle,
    /// It names another server.
    #[error("DID document pds endpoint does not match service endpoint")]
    Endpoint,
    /// It names another signing key than the one that is reserved.
    #[error("DID document signing key does not match service signing key")]
    SigningKey,
}

/// The identity that `wanted` brings.
///
/// # Errors
/// In this order [`LifecycleError::NoIdentity`], [`LifecycleError::Incompatible`] for the operation,
/// [`LifecycleError::NotReserved`], and [`LifecycleError::Incompatible`] for what it says.
pub(super) async fn identity(app: &App, wanted: &CreateAccount) -> Result<NewIdentity, LifecycleError> {
    let (Some(did), Some(operation)) = (&wanted.did, &wanted.plc_op) else { return Err(LifecycleError::NoIdentity) };
    let entryway = app.identity_key().await?.to_did_key();
    let operation = Operation::from_value(operation.clone()).map_err(|_| Incompatible::Operation)?;
    let Body::Update { state, .. } = operation.body() else { return Err(Incompatible::Operation.into()) };
    if !state.rotation_keys.contains(&entryway) {
        return Err(Incompatible::RotationKey.into());
    }
    operation.check_limits().map_err(|_| Incompatible::Operation)?;
    operation.signer(&[entryway]).map_err(|_| Incompatible::Operation)?;
    let document = DidDocument::new(did, state);
    let named = document.signing_key();
    let key = app.actors().reserved_key(did, named.as_ref()).await?.ok_or(LifecycleError::NotReserved)?;
    let own = key.public_key().to_did_key();
    if document.handle().as_ref() != Some(&wanted.handle) {
        return Err(Incompatible::Handle.into());
    }
    if document.pds() != Some(app.public_url().as_str()) {
        return Err(Incompatible::Endpoint.into());
    }
    if named.as_ref().map(PublicKey::to_did_key) != Some(own) {
        return Err(Incompatible::SigningKey.into());
    }
    Ok(NewIdentity::brought(did.clone(), key, operation))
}
