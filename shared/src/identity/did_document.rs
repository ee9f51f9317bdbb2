//! DID documents: what atproto reads out of them, and the ones it makes.
//!
//! A document is kept as the JSON it is, so that it can be handed on whole; what atproto has no use for is tolerated,
//! however odd. An entry that is malformed is passed over as if it were not there.
//!
//! Ids of keys and services are given here without `#`. In a document they stand as `#id` or as `did#id`, with the
//! document's own DID; an id with another DID is somebody else's.
//!
//! Specification: <https://atproto.com/specs/did#did-documents>.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::plc::{ATPROTO_KEY, ATPROTO_PDS, PDS_TYPE, State};
use crate::{
    crypto::{Curve, PublicKey},
    syntax::{Did, Handle},
};

const LEGACY_K256: &str = "EcdsaSecp256k1VerificationKey2019";
const LEGACY_P256: &str = "EcdsaSecp256r1VerificationKey2019";
const MULTIKEY: &str = "Multikey";

/// A DID document. Serialising writes it whole.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct DidDocument {
    json: Map<String, Value>,
    #[serde(skip)]
    id: Did,
}

/// Why JSON is not the document of a DID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DidDocumentError {
    /// It is not a JSON object.
    #[error("did document is not an object")]
    NotObject,
    /// It is about another DID, or does not say about which.
    #[error("did document is not for {expected}")]
    Id {
        /// The DID that was asked for.
        expected: Did,
    },
}

impl DidDocument {
    /// Takes the JSON that resolving `did` gave; its `id` must be that DID.
    ///
    /// # Errors
    /// [`DidDocumentError`].
    pub fn parse(did: &Did, json: Value) -> Result<Self, DidDocumentError> {
        let Value::Object(json) = json else { return Err(DidDocumentError::NotObject) };
        if json.get("id").and_then(Value::as_str) != Some(did.as_str()) {
            return Err(DidDocumentError::Id { expected: did.clone() });
        }
        Ok(Self { json, id: did.clone() })
    }

    /// Makes the document of `did` from its state, as a did:plc directory does. It serves a did:web as well, whose state
    /// has no use for rotation keys: an account's, or a server's own with nothing but its services.
    #[must_use]
    pub fn new(did: &Did, state: &State) -> Self {
        let mut context = vec!["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"];
        let mut methods = Vec::new();
        for (id, key) in &state.verification_methods {
            let suite = PublicKey::from_did_key(key).ok().map(|key| match key.curve() {
                Curve::K256 => "https://w3id.org/security/suites/secp256k1-2019/v1",
                Curve::P256 => "https://w3id.org/security/suites/ecdsa-2019/v1",
            });
            context.extend(suite.filter(|suite| !context.contains(suite)));
            methods.push(json!({
                "id": format!("{did}#{id}"),
                "type": MULTIKEY,
                "controller": did,
                "publicKeyMultibase": key.strip_prefix("did:key:").unwrap_or(key),
            }));
        }
        let services = state.services.iter().map(
            |(id, service)| json!({"id": format!("#{id}"), "type": service.kind, "serviceEndpoint": service.endpoint}),
        );
        let fields = [
            ("@context", json!(context)),
            ("id", json!(did)),
            ("alsoKnownAs", json!(state.also_known_as)),
            ("verificationMethod", Value::Array(methods)),
            ("service", services.collect()),
        ];
        Self { json: fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(), id: did.clone() }
    }

    /// The DID that the document is about.
    #[must_use]
    pub const fn id(&self) -> &Did {
        &self.id
    }

    /// The document itself.
    #[must_use]
    pub const fn as_json(&self) -> &Map<String, Value> {
        &self.json
    }

    /// The identity's other names, in order.
    pub fn also_known_as(&self) -> impl Iterator<Item = &str> {
        self.entries("alsoKnownAs").filter_map(Value::as_str)
    }

    /// The handle that the document claims: the first valid `at://` name. It is to be believed only once it resolves
    /// back to this DID.
    #[must_use]
    pub fn handle(&self) -> Option<Handle> {
        self.also_known_as().find_map(|name| Handle::parse(name.strip_prefix("at://")?).ok())
    }

    /// The key of an account's repository: [`DidDocument::key`] of `atproto`.
    #[must_use]
    pub fn signing_key(&self) -> Option<PublicKey> {
        self.key(ATPROTO_KEY)
    }

    /// The first usable verification method with this id: controlled by the DID itself, a Multikey or one of the two
    /// legacy types, of a curve that we know.
    #[must_use]
    pub fn key(&self, id: &str) -> Option<PublicKey> {
        let text = |entry: &'_ Value, name| entry.get(name).and_then(Value::as_str).map(str::to_owned);
        self.entries("verificationMethod").filter(|entry| self.has_id(entry, id)).find_map(|entry| {
            if text(entry, "controller")? != self.id.as_str() {
                return None;
            }
            let key = text(entry, "publicKeyMultibase")?;
            match text(entry, "type")?.as_str() {
                MULTIKEY => PublicKey::from_multikey(&key).ok(),
                LEGACY_K256 => PublicKey::from_legacy_multibase(Curve::K256, &key).ok(),
                LEGACY_P256 => PublicKey::from_legacy_multibase(Curve::P256, &key).ok(),
                _ => None,
            }
        })
    }

    /// The URL of the account's PDS: scheme, host and port, without a slash behind them. It is read from the first
    /// `atproto_pds` of type `AtprotoPersonalDataServer`; if that has a path or anything else, there is none.
    #[must_use]
    pub fn pds(&self) -> Option<&str> {
        let endpoint = self.service(ATPROTO_PDS, Some(PDS_TYPE))?;
        let endpoint = endpoint.strip_suffix('/').unwrap_or(endpoint);
        let (_, after_scheme) = endpoint.split_once("://")?;
        (!after_scheme.contains(['/', '?', '#'])).then_some(endpoint)
    }

    /// The URL of the first service with this id and, if one is given, this type: `http` or `https`, a host, perhaps a
    /// port and a path, no user.
    #[must_use]
    pub fn service(&self, id: &str, kind: Option<&str>) -> Option<&str> {
        let matches = |entry: &&Value| {
            self.has_id(entry, id) && kind.is_none_or(|kind| entry.get("type").is_some_and(|found| found == kind))
        };
        let endpoint = self.entries("service").find(matches)?.get("serviceEndpoint")?.as_str()?;
        is_http_url(endpoint).then_some(endpoint)
    }

    fn entries(&self, field: &str) -> impl Iterator<Item = &Value> {
        self.json.get(field).and_then(Value::as_array).into_iter().flatten()
    }

    fn has_id(&self, entry: &Value, id: &str) -> bool {
        let found = entry.get("id").and_then(Value::as_str).unwrap_or_default();
        let fragment = found.strip_prefix(self.id.as_str()).unwrap_or(found).strip_prefix('#');
        fragment == Some(id)
    }
}

/// Whether `text` is `http` or `https` with a host that is a name or an address, perhaps a port, and no user; after that
/// only visible ASCII.
fn is_http_url(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")) else { return false };
    let authority_len = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some((authority, path)) = rest.split_at_checked(authority_len) else { return false };
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of an address in brackets are not before a port.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let port_is_good = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    let visible = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
    is_host(host) && port_is_good && path.bytes().all(visible)
}

fn is_host(host: &str) -> bool {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    (1..=253).contains(&host.len()) && host.bytes().all(name) && !host.starts_with('.') && !host.contains("..")
}

#[cfg(test)]
mod tests;
