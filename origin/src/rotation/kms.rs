//! A key in AWS KMS.
//!
//! Two calls, `GetPublicKey` and `Sign`, in KMS's JSON protocol, signed as AWS wants it ([`crate::aws`]). The key must be an
//! asymmetric one for signing, of the kind `ECC_SECG_P256K1`. What KMS signs is checked by the public half before anybody
//! sees it: a key that was changed behind its alias would make operations that no directory takes.
//!
//! Specification: <https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html>, `API_GetPublicKey.html`.

use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use reqwest::header::{CONTENT_TYPE, HeaderName};
use reqwest::{Method, RequestBuilder};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use shared::crypto::{CryptoError, Curve, PublicKey, Signature};
use tokio::sync::OnceCell;

use crate::aws::Signer;
use crate::config::KmsConfig;
use crate::fetch::{Bounds, Client, ClientError, FetchError, Reach};
use crate::time::now_datetime;

const BOUNDS: Bounds = Bounds { time: Duration::from_secs(10), body: 64 * 1024, redirects: 0 };
const MEDIA_TYPE: &str = "application/x-amz-json-1.1";
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// What stands before the 65 bytes of the point in a secp256k1 key, as KMS gives it: RFC 5480's SubjectPublicKeyInfo.
const SPKI: [u8; 23] = [
    0x30, 0x56, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00,
    0x0a, 0x03, 0x42, 0x00,
];

/// Why KMS did not sign.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// It was not reached, or did not answer in time.
    #[error("KMS cannot be asked")]
    Fetch(#[from] FetchError),
    /// It refuses.
    #[error("KMS refuses with status {status}: {kind} {message}")]
    Refused {
        /// The status.
        status: u16,
        /// The error's name, such as `AccessDeniedException`.
        kind: String,
        /// What it says.
        message: String,
    },
    /// Its answer makes no sense.
    #[error("KMS gives an answer that cannot be read: {0}")]
    Answer(&'static str),
    /// The key is of another kind.
    #[error("the key in KMS is of the kind {0}, not ECC_SECG_P256K1")]
    Kind(String),
    /// What it gives for a key or a signature is none.
    #[error("KMS gives no key or signature of secp256k1")]
    Crypto(#[from] CryptoError),
}

/// The key.
#[derive(Debug)]
pub(super) struct Kms {
    client: Client,
    config: KmsConfig,
    signer: Signer,
    public_key: OnceCell<PublicKey>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct GotPublicKey {
    public_key: String,
    #[serde(default)]
    key_spec: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Signed {
    signature: String,
}

#[derive(Default, Deserialize)]
struct Refusal {
    #[serde(default, rename = "__type")]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

impl Kms {
    pub(super) fn new(config: &KmsConfig) -> Result<Self, ClientError> {
        let signer = Signer {
            service: "kms",
            region: config.region.clone(),
            access_key_id: config.access_key_id.clone(),
            secret_access_key: config.secret_access_key.clone(),
            session_token: config.session_token.clone(),
        };
        // The operator says where it is.
        let client = Client::new(Reach::Anywhere)?;
        Ok(Self { client, config: config.clone(), signer, public_key: OnceCell::new() })
    }

    pub(super) async fn public_key(&self) -> Result<PublicKey, KmsError> {
        let asked = self.public_key.get_or_try_init(async || {
            let got: GotPublicKey = self.call("GetPublicKey", &json!({ "KeyId": self.config.key_id })).await?;
            if got.key_spec != "ECC_SECG_P256K1" {
                return Err(KmsError::Kind(got.key_spec));
            }
            let der = BASE64.decode(got.public_key.as_bytes()).map_err(|_| KmsError::Answer("PublicKey"))?;
            let point = der.strip_prefix(&SPKI).ok_or(KmsError::Answer("PublicKey"))?;
            Ok(PublicKey::from_sec1(Curve::K256, point)?)
        });
        asked.await.cloned()
    }

    /// Signs the SHA-256 of `message`.
    pub(super) async fn sign(&self, message: &[u8]) -> Result<Signature, KmsError> {
        let public_key = self.public_key().await?;
        let input = json!({
            "KeyId": self.config.key_id,
            "Message": BASE64.encode(&Sha256::digest(message)),
            "MessageType": "DIGEST",
            "SigningAlgorithm": "ECDSA_SHA_256",
        });
        let signed: Signed = self.call("Sign", &input).await?;
        let der = BASE64.decode(signed.signature.as_bytes()).map_err(|_| KmsError::Answer("Signature"))?;
        let signature = Signature::from_k256_der(&der)?;
        public_key.verify(message, &signature)?;
        Ok(signature)
    }

    async fn call<T: DeserializeOwned>(&self, operation: &str, input: &serde_json::Value) -> Result<T, KmsError> {
        let answer = Client::send(self.request(operation, input.to_string())?, BOUNDS).await?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|_| KmsError::Answer("JSON of another shape"));
        }
        let Refusal { kind, message } = serde_json::from_slice(&answer.body).unwrap_or_default();
        // Some give the name with a namespace before it.
        let kind = kind.rsplit('#').next().unwrap_or_default().to_owned();
        Err(KmsError::Refused { status: answer.status.as_u16(), kind, message })
    }

    fn request(&self, operation: &str, body: String) -> Result<RequestBuilder, FetchError> {
        let url = &self.config.endpoint;
        let headers = vec![(CONTENT_TYPE, MEDIA_TYPE.to_owned()), (TARGET, format!("TrentService.{operation}"))];
        let hash = HEXLOWER.encode(&Sha256::digest(&body));
        let headers = self.signer.sign("POST", url, headers, &hash, &now_datetime());
        let mut request = self.client.request(Method::POST, url.clone())?;
        for (name, value) in headers {
            request = request.header(name, value);
        }
        Ok(request.body(body))
    }
}
