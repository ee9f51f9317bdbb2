//! Changing a handle: at the directory first, then here, and told.

use reqwest::Client;
use serde_json::{Value, json};
use shared::crypto::{Curve, SigningKey};
use shared::data;
use shared::identity::plc::{Body, Operation};
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, JWT, User, get, message, post, refusal, told};

const UPDATE: &str = "identity.updateHandle";

/// The key by which a server that made its own secrets changes documents.
pub(crate) fn rotation_key(secrets: &Value) -> SigningKey {
    let hex = secrets.as_object().unwrap().iter().find(|(name, _)| name.contains("ROTATION")).unwrap().1;
    let hex = hex.as_str().unwrap();
    let bytes: Vec<u8> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    SigningKey::from_bytes(Curve::K256, &bytes).unwrap()
}

/// Breaks one part of a document, by an operation that the server's own key signs; the others are put right.
pub(crate) async fn change_document(plc: &Plc, did: &str, key: &SigningKey, what: &str) {
    let log: String = reqwest::get(plc.url(&format!("/{did}/log"))).await.unwrap().text().await.unwrap();
    let data::Value::Array(operations) = data::json::parse(log.as_bytes()).unwrap() else { panic!("{log}") };
    let operations: Vec<_> = operations.into_iter().map(|one| Operation::from_value(one).unwrap()).collect();
    let mut state = operations[0].state().unwrap();
    let other = SigningKey::from_bytes(Curve::K256, &[9; 32]).unwrap().public_key();
    match what {
        "endpoint" => state.set_pds("https://elsewhere.test"),
        "key" => state.set_signing_key(&other),
        _ => state.rotation_keys = vec![other.to_did_key()],
    }
    let operation = Body::update(state, &operations.last().unwrap().cid()).sign(key);
    let json = serde_json::to_string(&operation.to_value()).unwrap();
    let request = Client::new().post(plc.url(&format!("/{did}"))).header("content-type", "application/json").body(json);
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

async fn names(plc: &Plc, did: &str) -> Value {
    let document: Value = reqwest::get(plc.url(&format!("/{did}"))).await.unwrap().json().await.unwrap();
    document["alsoKnownAs"].clone()
}

#[tokio::test]
async fn a_handle_is_changed_everywhere_and_told_again_when_it_stays() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ADMIN, JWT]).await;
    let alice = User::new(&pds, "alice").await;
    let to = |handle: &str| json!({ "handle": handle });
    assert_eq!(post(&pds, UPDATE, alice.token(), to("Alicia.test")).await, (200, Value::Null));
    assert_eq!(names(&plc, &alice.did).await, json!(["at://alicia.test"]));
    let resolve = |handle: &'static str| {
        let pds = &pds;
        async move { get(pds, "identity.resolveHandle", As::Nobody, &[("handle", handle)]).await }
    };
    assert_eq!(resolve("alicia.test").await, (200, json!({ "did": alice.did })));
    assert_eq!(refusal(&resolve("alice.test").await), (400, "HandleNotFound"));
    let (_, repo) = get(&pds, "repo.describeRepo", As::Nobody, &[("repo", "alicia.test")]).await;
    assert_eq!((&repo["handle"], &repo["handleIsCorrect"]), (&json!("alicia.test"), &json!(true)), "{repo}");

    assert_eq!(post(&pds, UPDATE, alice.token(), to("alicia.test")).await.0, 200);
    assert_eq!(told(&pds, &alice.did)[4..], ["identity alicia.test", "identity alicia.test"]);
    let log: Value = reqwest::get(plc.url(&format!("/{}/log", alice.did))).await.unwrap().json().await.unwrap();
    assert_eq!(log.as_array().unwrap().len(), 2);
    // An app password may; so may a deactivated account.
    post(&pds, "server.deactivateAccount", alice.token(), json!({})).await;
    let (_, made) = post(&pds, "server.createAppPassword", alice.token(), json!({ "name": "x" })).await;
    let login = json!({ "identifier": alice.did, "password": made["password"] });
    let app = User::of(&post(&pds, "server.createSession", As::Nobody, login).await.1);
    assert_eq!(post(&pds, UPDATE, app.token(), to("alice.test")).await.0, 200);
    // And the administrator, also what is reserved.
    let reserved = json!({ "did": alice.did, "handle": "admin.test" });
    assert_eq!(refusal(&post(&pds, UPDATE, alice.token(), to("admin.test")).await), (400, "HandleNotAvailable"));
    assert_eq!(post(&pds, "admin.updateAccountHandle", As::Admin, reserved).await, (200, Value::Null));
    assert_eq!(names(&plc, &alice.did).await, json!(["at://admin.test"]));
}

#[tokio::test]
async fn a_handle_that_cannot_be_had_changes_nothing() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ADMIN, JWT]).await;
    let alice = User::new(&pds, "alice").await;
    User::new(&pds, "bob").await;
    for (input, error, text) in [
        (json!({ "handle": "bob.test" }), "HandleNotAvailable", "Handle already taken: bob.test"),
        (json!({ "handle": "al.test" }), "InvalidHandle", "Handle too short"),
        (json!({ "handle": "averyveryverylongname.test" }), "InvalidHandle", "Handle too long"),
        (json!({ "handle": "a.lice.test" }), "InvalidHandle", "Invalid characters in handle"),
        (json!({ "handle": "alice.local" }), "InvalidHandle", "Handle TLD is invalid or disallowed"),
        (json!({ "handle": "alice.example.invalid" }), "InvalidHandle", "Handle TLD is invalid or disallowed"),
        (json!({ "handle": "nobody" }), "InvalidRequest", ""),
        (json!({ "handle": 1 }), "InvalidRequest", ""),
        (json!({}), "InvalidRequest", ""),
    ] {
        let refused = post(&pds, UPDATE, alice.token(), input.clone()).await;
        assert_eq!(refusal(&refused), (400, error), "{input}");
        assert!(message(&refused).contains(text), "{input} {refused:?}");
    }
    for (header, status, error) in alice.bad_bearers() {
        let refused = post(&pds, UPDATE, As::Header(&header), json!({ "handle": "carol.test" })).await;
        assert_eq!(refusal(&refused), (status, error), "{header}");
    }
    let unknown = json!({ "did": "did:plc:7iza6de2dwap2sbkpav7c6c6", "handle": "carol.test" });
    let refused = post(&pds, "admin.updateAccountHandle", As::Admin, unknown).await;
    assert_eq!((refusal(&refused), message(&refused)), ((400, "InvalidRequest"), "Account not found"));
    assert_eq!(names(&plc, &alice.did).await, json!(["at://alice.test"]));
    assert_eq!(told(&pds, &alice.did).len(), 4);
}

#[tokio::test]
async fn two_who_want_one_name_do_not_both_get_it() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    let (alice, bob) = (User::new(&pds, "alice").await, User::new(&pds, "bob").await);
    let wanted = || json!({ "handle": "carol.test" });
    let (one, two) =
        tokio::join!(post(&pds, UPDATE, alice.token(), wanted()), post(&pds, UPDATE, bob.token(), wanted()));
    let mut both = [one, two];
    both.sort_by_key(|(status, _)| *status);
    assert_eq!(both[0], (200, Value::Null));
    assert_eq!(refusal(&both[1]), (400, "HandleNotAvailable"));
    let carols = [names(&plc, &alice.did).await, names(&plc, &bob.did).await];
    assert_eq!(carols.iter().filter(|names| **names == json!(["at://carol.test"])).count(), 1, "{carols:?}");

    let new = |email: &str| json!({ "handle": "dave.test", "email": email, "password": "x" });
    let create = |email| post(&pds, "server.createAccount", As::Nobody, new(email));
    let (one, two) = tokio::join!(create("one@example.com"), create("two@example.com"));
    let mut both = [one, two];
    both.sort_by_key(|(status, _)| *status);
    assert_eq!(both[0].0, 200);
    assert_eq!((refusal(&both[1]), message(&both[1])), ((400, "InvalidRequest"), "Handle already taken: dave.test"));
}
