//! Accounts and sessions, as a client meets them.

use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tests::{Pds, Plc};

/// Signs up `name` and returns the answer.
pub(crate) async fn sign_up(pds: &Pds, name: &str) -> Value {
    let input = json!({
        "handle": format!("{name}.test"), "email": format!("{name}@example.com"), "password": "correct horse",
    });
    let url = pds.url("/xrpc/com.atproto.server.createAccount");
    let answer = Client::new().post(url).json(&input).send().await.unwrap();
    let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("{field} in {value}"))
}

async fn post(pds: &Pds, method: &str, token: Option<&str>, input: Option<Value>) -> (u16, Value) {
    let mut request = Client::new().post(pds.url(&format!("/xrpc/com.atproto.{method}")));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    if let Some(input) = input {
        request = request.json(&input);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or(Value::Null))
}

#[tokio::test]
async fn an_account_is_made_with_a_did_that_the_directory_knows() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    let made = sign_up(&pds, "alice").await;
    let did = text(&made, "did");
    assert!(did.starts_with("did:plc:"), "{made}");
    assert_eq!(made["didDoc"]["alsoKnownAs"], json!(["at://alice.test"]));
    assert_eq!(made["didDoc"]["service"][0]["type"], "AtprotoPersonalDataServer");
    let registered: Value = reqwest::get(plc.url(&format!("/{did}"))).await.unwrap().json().await.unwrap();
    assert_eq!(registered, made["didDoc"]);

    let resolved = pds.url("/xrpc/com.atproto.identity.resolveHandle?handle=ALICE.test");
    assert_eq!(reqwest::get(resolved).await.unwrap().json::<Value>().await.unwrap(), json!({ "did": did }));
    let free = reqwest::get(pds.url("/xrpc/com.atproto.identity.resolveHandle?handle=bob.test")).await.unwrap();
    assert_eq!(free.status(), StatusCode::BAD_REQUEST);
    assert_eq!(free.json::<Value>().await.unwrap()["error"], "HandleNotFound");

    let again = json!({ "handle": "alice.test", "email": "other@example.com", "password": "x" });
    let (status, body) = post(&pds, "server.createAccount", None, Some(again)).await;
    assert_eq!((status, text(&body, "message")), (400, "Handle already taken: alice.test"));
    let without = json!({ "handle": "carol.test", "password": "x" });
    let (status, body) = post(&pds, "server.createAccount", None, Some(without)).await;
    assert_eq!((status, text(&body, "message")), (400, "Email is required"));
}

#[tokio::test]
async fn a_recovery_key_that_is_no_key_is_refused_and_the_name_stays_free() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    let input = |recovery: &str| json!({ "handle": "dan.test", "email": "dan@example.com", "password": "x", "recoveryKey": recovery });
    let (status, body) = post(&pds, "server.createAccount", None, Some(input("did:key:zNoKey"))).await;
    assert_eq!((status, text(&body, "error")), (400, "InvalidRequest"));
    // The same name is free for a sign-up without a fault.
    sign_up(&pds, "dan").await;
}

#[tokio::test]
async fn moving_in_needs_a_token_of_the_did_that_moves() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    let did = "did:plc:ewvi7nxzyoun6zhxrhs64oiz";
    let input = json!({ "handle": "erin.test", "email": "erin@example.com", "password": "x", "did": did });
    let (status, body) = post(&pds, "server.createAccount", None, Some(input.clone())).await;
    assert_eq!((status, text(&body, "error")), (401, "AuthenticationRequired"));
    assert_eq!(text(&body, "message"), format!("Missing auth to create account with did: {did}"));
    let (status, body) = post(&pds, "server.createAccount", Some("a.b.c"), Some(input)).await;
    assert_eq!((status, text(&body, "error")), (401, "BadJwt"));
}

#[tokio::test]
async fn a_session_is_opened_refreshed_and_closed() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    let did = text(&sign_up(&pds, "frank").await, "did").to_owned();
    let wrong = json!({ "identifier": "frank.test", "password": "wrong" });
    let (status, body) = post(&pds, "server.createSession", None, Some(wrong)).await;
    assert_eq!((status, text(&body, "error")), (401, "AuthenticationRequired"));
    assert_eq!(text(&body, "message"), "Invalid identifier or password");
    let (status, session) =
        post(&pds, "server.createSession", None, Some(json!({ "identifier": did, "password": "correct horse" }))).await;
    assert_eq!((status, text(&session, "handle"), &session["active"]), (200, "frank.test", &json!(true)));
    assert_eq!(session.get("didDoc"), None);

    let get = |token: &str| {
        let request = Client::new().get(pds.url("/xrpc/com.atproto.server.getSession")).bearer_auth(token);
        async move { request.send().await.unwrap() }
    };
    let answer = get(text(&session, "accessJwt")).await;
    assert_eq!((answer.status().as_u16(), &answer.headers()["cache-control"]), (200, &"private".parse().unwrap()));
    assert_eq!(answer.headers()["vary"], "Authorization");
    let seen: Value = answer.json().await.unwrap();
    assert_eq!((text(&seen, "did"), text(&seen, "email")), (did.as_str(), "frank@example.com"));
    let refused = get(text(&session, "refreshJwt")).await;
    assert_eq!((refused.status().as_u16(), &refused.headers()["vary"]), (400, &"Authorization".parse().unwrap()));
    assert_eq!(refused.json::<Value>().await.unwrap()["message"], "Token could not be verified");

    let refresh = text(&session, "refreshJwt");
    let (status, next) = post(&pds, "server.refreshSession", Some(refresh), None).await;
    assert_eq!((status, text(&next, "did")), (200, did.as_str()));
    let (_, same) = post(&pds, "server.refreshSession", Some(refresh), None).await;
    assert_ne!(text(&next, "refreshJwt"), refresh);
    assert_eq!(text(&same, "handle"), "frank.test");
    let (status, body) = post(&pds, "server.deleteSession", Some(text(&next, "refreshJwt")), None).await;
    assert_eq!((status, body), (200, Value::Null));
    let (status, body) = post(&pds, "server.refreshSession", Some(text(&next, "refreshJwt")), None).await;
    assert_eq!((status, text(&body, "error")), (400, "ExpiredToken"));
    assert_eq!(text(&body, "message"), "Token has been revoked");
}

#[tokio::test]
async fn what_is_wrong_first_is_told_first() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    let client = Client::new();
    let url = |method: &str| pds.url(&format!("/xrpc/com.atproto.{method}"));
    for (request, status, error, message) in [
        (client.get(url("repo.getRecord")), 400, "InvalidRequest", "Missing required key"),
        (client.get(url("repo.createRecord")), 400, "InvalidRequest", "Incorrect HTTP method (GET) expected POST"),
        (client.post(url("repo.getRecord")), 400, "InvalidRequest", "Incorrect HTTP method (POST) expected GET"),
        (client.get(url("REPO.GETRECORD/")), 400, "InvalidRequest", "Missing required key"),
        (client.get(pds.url("/xrpc/a..b")), 400, "InvalidRequest", "invalid xrpc path"),
        (client.put(url("repo.getRecord")), 400, "InvalidRequest", "XRPC requests only supports GET and POST"),
        (client.post(url("repo.createRecord")).body("{"), 401, "AuthMissing", "Authentication Required"),
        (client.post(url("repo.createRecord")).header("authorization", "Bearer"), 400, "InvalidToken", "Malformed"),
        (client.post(url("repo.createRecord")).basic_auth("admin", Some("x")), 400, "InvalidToken", "Unexpected"),
        (client.post(url("repo.createRecord")).bearer_auth("a.b.c"), 400, "InvalidToken", "Token could not be"),
        (client.post(url("server.createSession")).body("x"), 400, "InvalidRequest", "Request encoding"),
        (client.post(url("server.createSession")).json(&json!({})), 400, "InvalidRequest", "Missing required key"),
        (client.get(url("server.describeServer")).body("x"), 400, "InvalidRequest", "A request body was provided"),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.headers()["access-control-allow-origin"], "*");
        let (found, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!((found, text(&body, "error")), (status, error), "{message}: {body}");
        assert!(text(&body, "message").contains(message), "{message}: {body}");
    }
}
