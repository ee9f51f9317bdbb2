//! The key that signs this server's did:plc operations.
//!
//! It is one of two kinds: held by the server, or held by AWS KMS, which signs for it and never shows it. What is signed is
//! the same either way, but for this: a key that is held gives the same signature for the same operation, one in KMS gives
//! another each time. So an operation that must stay the same is kept or asked back from the directory, never signed again.

mod kms;

use std::sync::Arc;

use shared::crypto::{PublicKey, SigningKey};
use shared::identity::plc::{Body, Operation};

use crate::config::RotationKeyConfig;
use crate::fetch::ClientError;
use kms::Kms;

pub use kms::KmsError;

/// The key; cloning it is shallow.
#[derive(Clone, Debug)]
pub struct RotationKey(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Held(SigningKey),
    Kms(Arc<Kms>),
}

impl RotationKey {
    /// The key that the operator chose. Nobody is asked yet.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(config: &RotationKeyConfig) -> Result<Self, ClientError> {
        Ok(Self(match config {
            RotationKeyConfig::Held(key) => Kind::Held(key.clone()),
            RotationKeyConfig::Kms(config) => Kind::Kms(Arc::new(Kms::new(config)?)),
        }))
    }

    /// Its public half. KMS is asked for it once in the life of the server.
    ///
    /// # Errors
    /// When KMS does not answer, refuses, or has another kind of key.
    pub async fn public_key(&self) -> Result<PublicKey, KmsError> {
        match &self.0 {
            Kind::Held(key) => Ok(key.public_key()),
            Kind::Kms(kms) => kms.public_key().await,
        }
    }

    /// Signs an operation.
    ///
    /// # Errors
    /// As for [`Self::public_key`].
    pub async fn sign(&self, body: Body) -> Result<Operation, KmsError> {
        match &self.0 {
            Kind::Held(key) => Ok(body.sign(key)),
            Kind::Kms(kms) => {
                let signature = kms.sign(&body.to_signed_bytes()).await?;
                Ok(body.with_signature(&signature))
            }
        }
    }
}
