//! App passwords: made, listed, used and revoked, and what they do not open.

use serde_json::{Value, json};
use shared::token::session::Scope;
use tests::{Pds, Plc};

use crate::client::{As, JWT, User, get, message, poke, post, refusal};

const CREATE: &str = "server.createAppPassword";
const LIST: &str = "server.listAppPasswords";
const REVOKE: &str = "server.revokeAppPassword";

async fn names(pds: &Pds, user: &User) -> Vec<String> {
    let (status, body) = get(pds, LIST, user.token(), &[]).await;
    assert_eq!(status, 200, "{body}");
    body["passwords"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn an_app_password_opens_sessions_until_it_is_revoked() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    let alice = User::new(&pds, "alice").await;
    let (status, made) = post(&pds, CREATE, alice.token(), json!({ "name": "phone" })).await;
    assert_eq!((status, &made["name"], &made["privileged"]), (200, &json!("phone"), &json!(false)), "{made}");
    let password = made["password"].as_str().unwrap();
    assert_eq!(password.len(), 19);
    let (_, chat) = post(&pds, CREATE, alice.token(), json!({ "name": "chat", "privileged": true })).await;
    assert_eq!(chat["privileged"], true);
    let (_, listed) = get(&pds, LIST, alice.token(), &[]).await;
    assert_eq!(names(&pds, &alice).await, ["chat", "phone"]);
    assert_eq!(listed["passwords"][1]["createdAt"], made["createdAt"]);
    assert!(listed["passwords"][0].get("password").is_none());

    let login = json!({ "identifier": "alice.test", "password": password });
    let (status, session) = post(&pds, "server.createSession", As::Nobody, login.clone()).await;
    assert_eq!(status, 200, "{session}");
    let app = User::of(&session);
    // It reads the list and revokes, and makes none.
    assert_eq!(names(&pds, &app).await.len(), 2);
    let refused = post(&pds, CREATE, app.token(), json!({ "name": "more" })).await;
    assert_eq!((refusal(&refused), message(&refused)), ((400, "InvalidToken"), "Bad token scope"));

    assert_eq!(post(&pds, REVOKE, alice.token(), json!({ "name": "phone" })).await, (200, Value::Null));
    assert_eq!(post(&pds, REVOKE, alice.token(), json!({ "name": "phone" })).await, (200, Value::Null));
    assert_eq!(names(&pds, &alice).await, ["chat"]);
    let refused = post(&pds, "server.createSession", As::Nobody, login).await;
    assert_eq!(refusal(&refused), (401, "AuthenticationRequired"));
    let refused = poke(&pds, "server.refreshSession", As::Token(&app.refresh)).await;
    assert_eq!(refusal(&refused), (400, "ExpiredToken"));
}

#[tokio::test]
async fn a_refused_call_makes_no_app_password() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[JWT]).await;
    let alice = User::new(&pds, "alice").await;
    post(&pds, CREATE, alice.token(), json!({ "name": "one" })).await;
    let again = post(&pds, CREATE, alice.token(), json!({ "name": "one" })).await;
    assert_eq!((refusal(&again), message(&again)), ((400, "AppPasswordTaken"), "App password name already taken: one"));
    for input in [json!({}), json!({ "name": 1 }), json!({ "name": "x", "privileged": "yes" }), json!([])] {
        let refused = post(&pds, CREATE, alice.token(), input.clone()).await;
        assert_eq!(refusal(&refused), (400, "InvalidRequest"), "{input}");
    }
    let extra = json!({ "name": "two", "more": true });
    assert_eq!(post(&pds, CREATE, alice.token(), extra).await.0, 200);
    assert_eq!(refusal(&poke(&pds, CREATE, alice.token()).await), (400, "InvalidRequest"));
    assert_eq!(refusal(&post(&pds, CREATE, As::Nobody, json!({ "name": "x" })).await), (401, "AuthMissing"));
    for (header, status, error) in alice.bad_bearers() {
        let refused = post(&pds, CREATE, As::Header(&header), json!({ "name": "x" })).await;
        assert_eq!(refusal(&refused), (status, error), "{header}");
        assert_eq!(refusal(&get(&pds, LIST, As::Header(&header), &[]).await), (status, error), "{header}");
        let refused = post(&pds, REVOKE, As::Header(&header), json!({ "name": "one" })).await;
        assert_eq!(refusal(&refused), (status, error), "{header}");
    }
    for scope in [Scope::AppPass, Scope::AppPassPrivileged, Scope::Takendown, Scope::SignupQueued] {
        let token = alice.minted(scope, "did:web:localhost", 0);
        let refused = post(&pds, CREATE, As::Token(&token), json!({ "name": "x" })).await;
        assert_eq!(refusal(&refused), (400, "InvalidToken"), "{scope:?}");
    }
    assert_eq!(names(&pds, &alice).await, ["two", "one"]);
}
