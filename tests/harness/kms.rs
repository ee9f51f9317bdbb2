//! AWS KMS as a server sees it: one key, which signs for who signs his requests.
//!
//! Written from KMS's published requests and answers. It reckons the signature of each request anew, by the published steps
//! and not by the server's own code, and refuses what is not signed, signed by another key, for another region or service, or
//! more than five minutes off. Every second signature that it gives is in its high-S form, as KMS's own may be.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use data_encoding::{BASE64, HEXLOWER};
use hmac::{Hmac, KeyInit as _, Mac as _};
use k256::ecdsa::signature::hazmat::PrehashSigner as _;
use k256::ecdsa::{Signature, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use shared::crypto::{Curve, PublicKey};

/// The id of its key.
pub const KEY_ID: &str = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
/// Who may use it.
pub const ACCESS_KEY_ID: &str = "AKIDEXAMPLE";
/// The secret of who may.
pub const SECRET_ACCESS_KEY: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// What such a secret that is lent comes with.
pub const SESSION_TOKEN: &str = "lent/for=an+hour";
const REGION: &str = "eu-west-1";

/// How it is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Well.
    Well,
    /// It answers nothing for a long time.
    Silent,
    /// It refuses whoever asks.
    Denying,
    /// Its key is of another kind.
    OfAnotherKind,
    /// It signs with another key than the one it shows.
    Lying,
}

/// The running service.
#[derive(Clone, Debug)]
pub struct Kms {
    url: String,
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    key: SigningKey,
    mood: Mutex<Mood>,
    asked: Mutex<Vec<String>>,
}

impl Kms {
    /// Starts it.
    pub async fn start() -> Self {
        let key = SigningKey::from_slice(&[0x5a; 32]).unwrap();
        let inner = Arc::new(Inner { key, mood: Mutex::new(Mood::Well), asked: Mutex::default() });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        Self { url: crate::serve(router).await, inner }
    }

    /// The variables of a server that uses it.
    pub fn environment(&self) -> [(&'static str, String); 6] {
        [
            ("PDS_PLC_ROTATION_KEY_KMS_KEY_ID", KEY_ID),
            ("AWS_REGION", REGION),
            ("AWS_ENDPOINT_URL_KMS", self.url.as_str()),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY_ID),
            ("AWS_SECRET_ACCESS_KEY", SECRET_ACCESS_KEY),
            ("AWS_SESSION_TOKEN", SESSION_TOKEN),
        ]
        .map(|(name, value)| (name, value.to_owned()))
    }

    /// The key's public half, as a did:key.
    pub fn did_key(&self) -> String {
        let point = self.inner.key.verifying_key().to_sec1_point(false);
        PublicKey::from_sec1(Curve::K256, point.as_bytes()).unwrap().to_did_key()
    }

    /// Changes how it is doing.
    pub fn set(&self, mood: Mood) {
        *self.inner.mood() = mood;
    }

    /// What it was asked so far, and answered.
    pub fn asked(&self) -> Vec<String> {
        self.inner.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Inner {
    fn mood(&self) -> MutexGuard<'_, Mood> {
        self.mood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refusal(kind: &str, message: &str) -> Response {
    let headers = [("content-type", "application/x-amz-json-1.1")];
    (StatusCode::BAD_REQUEST, headers, json!({ "__type": kind, "message": message }).to_string()).into_response()
}

async fn answer(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 65_536).await.unwrap();
    let mood = *inner.mood();
    if mood == Mood::Silent {
        tokio::time::sleep(Duration::from_secs(60)).await;
    }
    if let Err(why) = verify(parts.method.as_str(), parts.uri.path(), &parts.headers, &body) {
        return refusal("InvalidSignatureException", &why);
    }
    if mood == Mood::Denying {
        return refusal("AccessDeniedException", "User is not authorized to perform: kms:Sign");
    }
    let target = parts.headers.get("x-amz-target").map_or("", |value| value.to_str().unwrap()).to_owned();
    let input: Value = serde_json::from_slice(&body).unwrap();
    if input["KeyId"] != KEY_ID {
        return refusal("NotFoundException", "Invalid keyId");
    }
    let number = {
        let mut asked = inner.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.push(target.clone());
        asked.len()
    };
    let output = match target.as_str() {
        "TrentService.GetPublicKey" => {
            let mut der = HEXLOWER.decode(b"3056301006072a8648ce3d020106052b8104000a034200").unwrap();
            der.extend_from_slice(inner.key.verifying_key().to_sec1_point(false).as_bytes());
            let kind = if mood == Mood::OfAnotherKind { "RSA_2048" } else { "ECC_SECG_P256K1" };
            json!({
                "KeyId": KEY_ID, "PublicKey": BASE64.encode(&der), "KeySpec": kind, "CustomerMasterKeySpec": kind,
                "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": ["ECDSA_SHA_256"]
            })
        }
        "TrentService.Sign" => {
            if (&input["MessageType"], &input["SigningAlgorithm"]) != (&json!("DIGEST"), &json!("ECDSA_SHA_256")) {
                return refusal("ValidationException", "not what this key signs");
            }
            let digest = BASE64.decode(input["Message"].as_str().unwrap().as_bytes()).unwrap();
            if digest.len() != 32 {
                return refusal("ValidationException", "Digest is invalid length for algorithm ECDSA_SHA_256");
            }
            let other = SigningKey::from_slice(&[0x5b; 32]).unwrap();
            let key = if mood == Mood::Lying { &other } else { &inner.key };
            let signature: Signature = key.sign_prehash(&digest).unwrap();
            let signature = signature.normalize_s();
            let signature = if number.is_multiple_of(2) {
                Signature::from_scalars(signature.r(), -*signature.s()).unwrap()
            } else {
                signature
            };
            json!({ "KeyId": KEY_ID, "Signature": BASE64.encode(signature.to_der().as_bytes()), "SigningAlgorithm": "ECDSA_SHA_256" })
        }
        _ => return refusal("UnknownOperationException", ""),
    };
    ([("content-type", "application/x-amz-json-1.1")], output.to_string()).into_response()
}

/// Why the request is not who it says it is from.
fn verify(method: &str, path: &str, headers: &HeaderMap, body: &Bytes) -> Result<(), String> {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).ok_or(format!("{name} is missing"));
    let at = header("x-amz-date")?;
    if (seconds(at).ok_or("the date is none")? - now()).abs() > 300 {
        return Err(format!("Signature expired: {at} is not now"));
    }
    if header("x-amz-security-token")? != SESSION_TOKEN {
        return Err("The security token included in the request is invalid".to_owned());
    }
    let authorization = header("authorization")?;
    let fields = authorization.strip_prefix("AWS4-HMAC-SHA256 ").ok_or("another scheme")?;
    let field = |name: &str| {
        let found = fields.split(',').find_map(|field| field.trim().strip_prefix(name));
        found.ok_or_else(|| format!("{name} is missing"))
    };
    let scope = format!("{}/{REGION}/kms/aws4_request", &at[..8]);
    if field("Credential=")? != format!("{ACCESS_KEY_ID}/{scope}") {
        return Err("Credential should be scoped to a valid region and service".to_owned());
    }
    let names = field("SignedHeaders=")?;
    let signed: Vec<&str> = names.split(';').collect();
    for name in ["host", "x-amz-date", "x-amz-security-token", "x-amz-target"] {
        if !signed.contains(&name) {
            return Err(format!("{name} is not signed"));
        }
    }
    let mut canonical = format!("{method}\n{path}\n\n");
    for name in &signed {
        let _infallible = writeln!(canonical, "{name}:{}", header(name)?.trim());
    }
    let _infallible = write!(canonical, "\n{names}\n{}", HEXLOWER.encode(&Sha256::digest(body)));
    let text = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", HEXLOWER.encode(&Sha256::digest(canonical)));
    let mut key = format!("AWS4{SECRET_ACCESS_KEY}").into_bytes();
    for step in [&at[..8], REGION, "kms", "aws4_request", &text] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(step.as_bytes());
        key = mac.finalize().into_bytes().to_vec();
    }
    match field("Signature=")? == HEXLOWER.encode(&key) {
        true => Ok(()),
        false => Err("The request signature we calculated does not match the signature you provided".to_owned()),
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// Seconds since 1970 of `YYYYMMDDTHHMMSSZ`.
fn seconds(at: &str) -> Option<i64> {
    let (day, time) = at.strip_suffix('Z')?.split_once('T')?;
    let text = format!(
        "{}-{}-{}T{}:{}:{}Z",
        day.get(..4)?,
        day.get(4..6)?,
        day.get(6..8)?,
        time.get(..2)?,
        time.get(2..4)?,
        time.get(4..6)?
    );
    Some(shared::syntax::Datetime::parse(&text).ok()?.unix_micros() / 1_000_000)
}
