//! An account whose DID is a did:web: its owner keeps the document, and the server holds against it whatever it is asked.

use std::sync::{Arc, Mutex};

use axum::Json;
use axum::routing::get as route;
use serde_json::{Value, json};
use shared::crypto::{Curve, SigningKey};
use shared::syntax::{Did, Nsid};
use shared::token::service::NewToken;
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, JWT, User, get, message, poke, post, refusal, told};

const PASSWORD: &str = "correct horse";

/// What its owner has at `/.well-known/did.json`, on a server of their own.
struct Owner {
    did: Did,
    key: SigningKey,
    document: Arc<Mutex<Value>>,
}

impl Owner {
    async fn start() -> Self {
        let document = Arc::new(Mutex::new(Value::Null));
        let told = Arc::clone(&document);
        let serves = route(move || async move { Json(told.lock().unwrap().clone()) });
        let url = tests::serve(axum::Router::new().route("/.well-known/did.json", serves)).await;
        let port = url.rsplit(':').next().unwrap();
        let did = Did::parse(&format!("did:web:localhost%3A{port}")).unwrap();
        let owner = Self { did, key: SigningKey::from_bytes(Curve::P256, &[7; 32]).unwrap(), document };
        owner.says("wanda.test", &owner.key.public_key().to_did_key(), "https://elsewhere.test");
        owner
    }

    /// Writes the document anew.
    fn says(&self, handle: &str, did_key: &str, endpoint: &str) {
        *self.document.lock().unwrap() = json!({
            "@context": ["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"],
            "id": self.did,
            "alsoKnownAs": [format!("at://{handle}")],
            "verificationMethod": [{
                "id": format!("{}#atproto", self.did),
                "type": "Multikey",
                "controller": self.did,
                "publicKeyMultibase": did_key.strip_prefix("did:key:").unwrap(),
            }],
            "service": [{
                "id": "#atproto_pds",
                "type": "AtprotoPersonalDataServer",
                "serviceEndpoint": endpoint,
            }],
        });
    }

    /// What shows that they are who they say, by the key of their document.
    fn token(&self) -> String {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let lxm = Nsid::parse("com.atproto.server.createAccount").unwrap();
        let aud = "did:web:localhost";
        NewToken { iss: &self.did, aud, lxm: Some(&lxm), iat: now, exp: now + 60, jti: [3; 16] }.sign(&self.key)
    }

    /// Has their document name what the server asks for.
    async fn follow(&self, pds: &Pds, wanda: &User, handle: &str) {
        let (status, wanted) = get(pds, "identity.getRecommendedDidCredentials", wanda.token(), &[]).await;
        assert_eq!(status, 200, "{wanted}");
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{wanted}")).to_owned();
        let key = text(&wanted["verificationMethods"]["atproto"]);
        self.says(handle, &key, &text(&wanted["services"]["atproto_pds"]["endpoint"]));
    }
}

async fn moved_in(pds: &Pds, owner: &Owner) -> User {
    let input = json!({ "did": owner.did, "handle": "wanda.test", "email": "wanda@example.com", "password": PASSWORD });
    let made = post(pds, "server.createAccount", As::Token(&owner.token()), input).await;
    assert_eq!((made.0, &made.1["did"]), (200, &json!(owner.did)), "{made:?}");
    User::of(&made.1)
}

#[tokio::test]
async fn an_account_of_a_did_web_lives_by_the_document_that_its_owner_keeps() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ADMIN, JWT]).await;
    let owner = Owner::start().await;
    let nobodys =
        json!({ "did": owner.did, "handle": "wanda.test", "email": "wanda@example.com", "password": PASSWORD });
    let refused = post(&pds, "server.createAccount", As::Nobody, nobodys).await;
    assert_eq!(refusal(&refused), (401, "AuthenticationRequired"), "{refused:?}");

    let wanda = moved_in(&pds, &owner).await;
    let did = owner.did.as_str();
    assert!(told(&pds, did).is_empty(), "it waits to be activated");
    // Its document still names another server and another key.
    let refused = poke(&pds, "server.activateAccount", wanda.token()).await;
    assert_eq!(refusal(&refused), (400, "InvalidRequest"), "{refused:?}");
    let (_, state) = get(&pds, "server.checkAccountStatus", wanda.token(), &[]).await;
    assert_eq!((&state["activated"], &state["validDid"]), (&json!(false), &json!(false)), "{state}");

    owner.follow(&pds, &wanda, "wanda.test").await;
    assert_eq!(poke(&pds, "server.activateAccount", wanda.token()).await.0, 200);
    assert_eq!(told(&pds, did), ["account active", "identity wanda.test", "sync"]);
    let (_, state) = get(&pds, "server.checkAccountStatus", wanda.token(), &[]).await;
    assert_eq!((&state["activated"], &state["validDid"]), (&json!(true), &json!(true)), "{state}");

    let record = json!({ "$type": "com.example.note" });
    let input = json!({ "repo": did, "collection": "com.example.note", "rkey": "one", "record": record });
    assert_eq!(post(&pds, "repo.createRecord", wanda.token(), input).await.0, 200);
    let (_, repo) = get(&pds, "repo.describeRepo", As::Nobody, &[("repo", "wanda.test")]).await;
    assert_eq!((&repo["did"], &repo["handleIsCorrect"]), (&json!(did), &json!(true)), "{repo}");
    assert_eq!(repo["didDoc"], *owner.document.lock().unwrap());
    let place = [("repo", "wanda.test"), ("collection", "com.example.note"), ("rkey", "one")];
    let (_, read) = get(&pds, "repo.getRecord", As::Nobody, &place).await;
    assert_eq!(read["uri"], format!("at://{did}/com.example.note/one"), "{read}");

    for identifier in ["wanda.test", "wanda@example.com"] {
        let input = json!({ "identifier": identifier, "password": PASSWORD });
        let (status, session) = post(&pds, "server.createSession", As::Nobody, input).await;
        assert_eq!((status, &session["did"]), (200, &json!(did)), "{session}");
    }
}

#[tokio::test]
async fn a_did_web_takes_the_handle_that_its_document_has_and_no_operation_of_the_directory() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ADMIN, JWT]).await;
    let owner = Owner::start().await;
    let wanda = moved_in(&pds, &owner).await;
    owner.follow(&pds, &wanda, "wanda.test").await;
    assert_eq!(poke(&pds, "server.activateAccount", wanda.token()).await.0, 200);
    let did = owner.did.as_str();
    let before = told(&pds, did).len();

    let rename = json!({ "handle": "walburga.test" });
    let refused = post(&pds, "identity.updateHandle", wanda.token(), rename.clone()).await;
    assert_eq!(refusal(&refused), (400, "InvalidRequest"));
    assert_eq!(message(&refused), "DID is not properly configured for handle");
    let operation = json!({ "operation": { "type": "plc_operation" } });
    let refused = post(&pds, "identity.submitPlcOperation", wanda.token(), operation).await;
    assert_eq!(refused.0, 400, "{refused:?}");
    let (_, session) = get(&pds, "server.getSession", wanda.token(), &[]).await;
    assert_eq!((&session["handle"], told(&pds, did).len()), (&json!("wanda.test"), before), "{session}");

    owner.follow(&pds, &wanda, "walburga.test").await;
    assert_eq!(post(&pds, "identity.updateHandle", wanda.token(), rename).await, (200, Value::Null));
    assert_eq!(told(&pds, did)[before..], ["identity walburga.test"]);
    let found = get(&pds, "identity.resolveHandle", As::Nobody, &[("handle", "walburga.test")]).await;
    assert_eq!(found, (200, json!({ "did": did })));

    // And it goes without a word to the directory, which knows nothing of it.
    let gone = post(&pds, "admin.deleteAccount", As::Admin, json!({ "did": did })).await;
    assert_eq!(gone, (200, Value::Null));
    assert_eq!(told(&pds, did).last().map(String::as_str), Some("account deleted"));
}
