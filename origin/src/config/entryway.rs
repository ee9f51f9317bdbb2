//! The entryway that a server stands behind, if it does: where it is, who it is, and the keys that it signs with.

use data_encoding::HEXLOWER_PERMISSIVE;
use shared::crypto::{Curve, PublicKey};
use shared::syntax::Did;
use url::Url;

use super::variables::Variables;

const URL: &str = "PDS_ENTRYWAY_URL";
const DID: &str = "PDS_ENTRYWAY_DID";
const JWT_KEY: &str = "PDS_ENTRYWAY_JWT_VERIFY_KEY_K256_PUBLIC_KEY_HEX";
const ROTATION_KEY: &str = "PDS_ENTRYWAY_PLC_ROTATION_KEY";

/// The server in front of this one that keeps log-ins and handles, makes sessions and changes identities. Default: none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entryway {
    /// `PDS_ENTRYWAY_URL`: where it is. With it the other three must be set.
    pub url: Url,
    /// `PDS_ENTRYWAY_DID`: who it is.
    pub did: Did,
    /// `PDS_ENTRYWAY_JWT_VERIFY_KEY_K256_PUBLIC_KEY_HEX`: the k256 key, in hex, by which it signs sessions.
    pub jwt_key: PublicKey,
    /// `PDS_ENTRYWAY_PLC_ROTATION_KEY`: the `did:key` by which it signs did:plc operations.
    pub rotation_key: PublicKey,
}

impl Entryway {
    pub(super) fn read(variables: &mut Variables) -> Option<Self> {
        let wanted = variables.is_set(URL);
        for name in [DID, JWT_KEY, ROTATION_KEY] {
            if wanted && !variables.is_set(name) {
                variables.problem(format!("{URL} is set, so {name} must be, too"));
            } else if !wanted && variables.is_set(name) {
                variables.warn(format!("{name} has no effect without {URL}"));
            }
        }
        let (url, did) = (variables.url(URL), variables.parsed(DID));
        let jwt_key = variables.text(JWT_KEY).and_then(|hex| {
            let key = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok();
            let key = key.and_then(|bytes| PublicKey::from_sec1(Curve::K256, &bytes).ok());
            if key.is_none() {
                variables.problem(format!("{JWT_KEY} is not a k256 public key of 66 or 130 hex characters"));
            }
            key
        });
        let rotation_key = variables.text(ROTATION_KEY).and_then(|text| {
            let key = PublicKey::from_did_key(&text);
            key.map_err(|error| variables.problem(format!("{ROTATION_KEY} is \"{text}\": {error}"))).ok()
        });
        Some(Self { url: url?, did: did?, jwt_key: jwt_key?, rotation_key: rotation_key? })
    }
}
