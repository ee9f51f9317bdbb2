//! An entryway: it makes sessions for accounts of the servers behind it, has accounts made there, takes tokens as the real
//! one does, and notes what it is asked.

use std::time::{SystemTime, UNIX_EPOCH};

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use shared::crypto::{Curve, PublicKey, SigningKey};
use shared::data;
use shared::identity::plc::{Body, Operation, State};
use shared::syntax::Handle;
use shared::token::{self, Signer};

use crate::Plc;
use crate::service::{Seen, Service, refused};

/// The entryway's DID.
pub const DID: &str = "did:web:entryway.test";

/// A running entryway.
#[derive(Clone)]
pub struct Entryway {
    /// What it is asked.
    pub service: Service,
    /// Signs its sessions.
    pub sessions: SigningKey,
    /// Signs its did:plc operations.
    pub rotation: SigningKey,
}

impl Entryway {
    /// Starts one that knows accounts by the directory `plc`. What is asked with the word `refuse` in the input it refuses,
    /// what has `break` there breaks it.
    pub async fn start(plc: &Plc) -> Self {
        let [sessions, rotation] = [[31; 32], [32; 32]].map(|key| SigningKey::from_bytes(Curve::K256, &key).unwrap());
        let service = Service::start_with(plc, Some(sessions.public_key()), answer).await;
        Self { service, sessions, rotation }
    }

    /// The variables by which a server stands behind it.
    pub fn environment(&self) -> [(&'static str, String); 4] {
        let hex = data_encoding::HEXLOWER.encode(&self.sessions.public_key().to_uncompressed());
        [
            ("PDS_ENTRYWAY_URL", self.service.url().to_owned()),
            ("PDS_ENTRYWAY_DID", DID.to_owned()),
            ("PDS_ENTRYWAY_JWT_VERIFY_KEY_K256_PUBLIC_KEY_HEX", hex),
            ("PDS_ENTRYWAY_PLC_ROTATION_KEY", self.rotation.public_key().to_did_key()),
        ]
    }

    /// A session's access token for `audience`.
    pub fn access(&self, did: &str, audience: &str) -> String {
        self.token("at+jwt", &claims(did, audience, "com.atproto.access"))
    }

    /// A session's refresh token, which is for the entryway itself.
    pub fn refresh(&self, did: &str) -> String {
        let mut claims = claims(did, DID, "com.atproto.refresh");
        claims["jti"] = "refresh token 1".into();
        self.token("refresh+jwt", &claims)
    }

    /// A token of its key.
    pub fn token(&self, typ: &'static str, claims: &Value) -> String {
        token::sign(typ, claims, Signer::Ecdsa(&self.sessions))
    }

    /// The first operation of an account of the server at `pds`, whose key is `key`.
    pub fn operation(&self, key: &str, handle: &str, pds: &str) -> Operation {
        let key = PublicKey::from_did_key(key).unwrap();
        let handle = Handle::parse(handle).unwrap();
        Body::genesis(State::of_account(&[self.rotation.public_key()], &key, &handle, pds)).sign(&self.rotation)
    }

    /// Has an account made at the server whose public address is `pds`. Returns its DID.
    pub async fn sign_up(&self, pds: &str, name: &str) -> String {
        let reserved = call(pds, "reserveSigningKey", &json!({})).await;
        let key = reserved.1["signingKey"].as_str().unwrap_or_else(|| panic!("{reserved:?}"));
        let operation = self.operation(key, &format!("{name}.test"), pds);
        let did = operation.did().unwrap().to_string();
        let input = json!({ "did": did, "handle": format!("{name}.test"), "plcOp": operation });
        let (status, made) = call(pds, "createAccount", &input).await;
        assert_eq!((status, made["did"].as_str()), (200, Some(did.as_str())), "{made}");
        did
    }

    /// Changes the handle of an account in the directory `plc`, as it does when its owner asks.
    pub async fn rename(&self, plc: &Plc, did: &str, handle: &str) {
        let last = reqwest::get(plc.url(&format!("/{did}/log/last"))).await.unwrap().text().await.unwrap();
        let last = Operation::from_value(data::json::parse(last.as_bytes()).unwrap()).unwrap();
        let mut state = last.state().unwrap();
        state.set_handle(&Handle::parse(handle).unwrap());
        let operation = Body::update(state, &last.cid()).sign(&self.rotation);
        let url = plc.url(&format!("/{did}"));
        let answer = reqwest::Client::new().post(url).json(&operation).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
    }
}

/// The claims of a session from now on.
pub fn claims(did: &str, audience: &str, scope: &str) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    json!({ "scope": scope, "aud": audience, "sub": did, "iat": now, "exp": now + 7200 })
}

/// Calls a method of com.atproto.server: status, and the answer's JSON or null.
pub async fn call(pds: &str, method: &str, input: &Value) -> (u16, Value) {
    let url = format!("{pds}/xrpc/com.atproto.server.{method}");
    let answer = reqwest::Client::new().post(url).json(input).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// What it answers: what the method's schema says.
fn answer(seen: &Seen) -> Response {
    let body = String::from_utf8_lossy(&seen.body.1);
    if body.contains("refuse") {
        return refused(StatusCode::UNAUTHORIZED, "AuthFactorTokenRequired", "A sign in code has been sent");
    }
    if body.contains("break") {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "secrets");
    }
    let did = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    let session = json!({ "accessJwt": "a", "refreshJwt": "r", "handle": "alice.test", "did": did });
    let method = seen.path.split('?').next().unwrap().rsplit('.').next().unwrap();
    let answer = match method {
        "createSession" | "refreshSession" => session,
        "getSession" => json!({ "handle": "alice.test", "did": did, "email": "alice@example.com" }),
        "createAppPassword" => json!({ "name": "phone", "password": "pass", "createdAt": "2026-01-01T00:00:00.000Z" }),
        "listAppPasswords" => json!({ "passwords": [] }),
        "getAccountInviteCodes" => json!({ "codes": [] }),
        "requestEmailUpdate" => json!({ "tokenRequired": true }),
        "signPlcOperation" => json!({ "operation": { "sig": "x" } }),
        "checkSignupQueue" => json!({ "activated": false, "placeInQueue": 3 }),
        "sendEmail" => json!({ "sent": true }),
        _ => return ().into_response(),
    };
    Json(answer).into_response()
}
