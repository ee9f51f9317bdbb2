//! `com.atproto.identity.*`: handles, and operations on a did:plc identity.
//!
//! `requestPlcOperationSignature` has neither input nor output. See <https://atproto.com/specs/did> and
//! <https://atproto.com/specs/handle>.

use serde::{Deserialize, Serialize};

use super::{Secret, not_null};
use crate::data::Value;
use crate::syntax::{Did, Handle};

/// Parameters of `com.atproto.identity.resolveHandle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveHandleParams {
    /// The handle to resolve.
    pub handle: Handle,
}

/// Output of `com.atproto.identity.resolveHandle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolveHandleOutput {
    /// What it resolves to.
    pub did: Did,
}

/// Input of `com.atproto.identity.updateHandle`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpdateHandle {
    /// The caller's new handle.
    pub handle: Handle,
}

/// Output of `com.atproto.identity.getRecommendedDidCredentials`: what an account's DID document should hold to live on
/// this server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetRecommendedDidCredentialsOutput {
    /// did:key forms of the server's rotation keys, greatest authority first; for did:plc.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation_keys: Option<Vec<String>>,
    /// The handle as `at://…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also_known_as: Option<Vec<String>>,
    /// `atproto` to the account's signing key as did:key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verification_methods: Option<Value>,
    /// `atproto_pds` to this server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub services: Option<Value>,
}

/// Input of `com.atproto.identity.signPlcOperation`; a field that is left out keeps its present value.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SignPlcOperation {
    /// The token that `requestPlcOperationSignature` mailed.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
    /// did:key forms of the new rotation keys, greatest authority first.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub rotation_keys: Option<Vec<String>>,
    /// The new aliases, the handle first.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub also_known_as: Option<Vec<String>>,
    /// The new verification methods, by name.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub verification_methods: Option<Value>,
    /// The new services, by name.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub services: Option<Value>,
}

/// Output of `com.atproto.identity.signPlcOperation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignPlcOperationOutput {
    /// The signed operation, not yet submitted.
    pub operation: Value,
}

/// Input of `com.atproto.identity.submitPlcOperation`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubmitPlcOperation {
    /// A signed operation.
    pub operation: Value,
}
