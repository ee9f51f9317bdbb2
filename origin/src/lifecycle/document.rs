//! Whether a DID points here, with the keys that this server has for it.

use shared::syntax::Did;

use super::LifecycleError;
use crate::app::App;

/// What is wrong with a DID's document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentFault {
    /// There is none.
    #[error("Could not resolve DID")]
    Missing,
    /// This server could not change it: only a did:plc says so.
    #[error("Server rotation key not included in PLC DID data")]
    RotationKey,
    /// It names another server.
    #[error("DID document atproto_pds service endpoint does not match PDS public url")]
    Endpoint,
    /// It names another signing key.
    #[error("DID document verification method does not match expected signing key")]
    SigningKey,
}

/// Checks that the DID of an account here points here. What is cached does not count, and the handle does not matter.
///
/// # Errors
/// [`LifecycleError::Document`] if it does not; whatever keeps it from being found out.
pub async fn check_document(app: &App, did: &Did) -> Result<(), LifecycleError> {
    let store = app.actors().store(did).await?;
    let own = store.key()?.public_key().to_did_key();
    let (endpoint, key) = if did.is_plc() {
        let state = app.identity().directory().state(did).await?.ok_or(DocumentFault::Missing)?;
        let rotation = app.identity_key().await?.to_did_key();
        if !state.rotation_keys.contains(&rotation) {
            return Err(DocumentFault::RotationKey.into());
        }
        let endpoint = state.services.get("atproto_pds").map(|service| service.endpoint.clone());
        (endpoint, state.verification_methods.get("atproto").cloned())
    } else {
        let document = app.identity().refresh_did(did).await?.ok_or(DocumentFault::Missing)?;
        (document.pds().map(str::to_owned), document.signing_key().map(|key| key.to_did_key()))
    };
    if endpoint != Some(app.public_url()) {
        return Err(DocumentFault::Endpoint.into());
    }
    if key != Some(own) {
        return Err(DocumentFault::SigningKey.into());
    }
    Ok(())
}
