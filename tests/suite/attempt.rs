//! Asking for an account again, with an `Idempotency-Key`: there is one account, whatever came between.

use std::time::{Duration, Instant};

use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tests::plc::Mishap;
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, User, accounts, get, mail_token, message, post, refusal, told};

const KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";
const PASSWORD: &str = "correct horse battery";

fn wanted(name: &str) -> Value {
    json!({ "handle": format!("{name}.test"), "email": format!("{name}@example.com"), "password": PASSWORD })
}

fn request(pds: &Pds, key: &str) -> RequestBuilder {
    let url = pds.url("/xrpc/com.atproto.server.createAccount");
    Client::new().post(url).header("idempotency-key", key)
}

async fn answered(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

async fn ask(pds: &Pds, key: &str, input: &Value) -> (u16, Value) {
    answered(request(pds, key).json(input)).await
}

/// Asks for what there is to be had; the account.
async fn asked(pds: &Pds, key: &str, input: &Value) -> User {
    let (status, made) = ask(pds, key, input).await;
    assert_eq!(status, 200, "{made}");
    let user = User::of(&made);
    assert_eq!((&made["handle"], &made["didDoc"]["id"]), (&input["handle"], &json!(user.did)), "{made}");
    let (status, session) = get(pds, "server.getSession", user.token(), &[]).await;
    assert_eq!((status, &session["did"]), (200, &made["did"]), "{session}");
    user
}

/// The DIDs that were ever registered for a name, and how many operations there are of each.
async fn registered(plc: &Plc, name: &str) -> Vec<(String, usize)> {
    let export = reqwest::get(plc.url("/export?count=1000")).await.unwrap().text().await.unwrap();
    let lines = export.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let named = lines.filter(|line| line["operation"]["alsoKnownAs"] == json!([format!("at://{name}.test")]));
    let mut found = Vec::new();
    for did in named.map(|line| line["did"].as_str().unwrap().to_owned()) {
        let log = reqwest::get(plc.url(&format!("/{did}/log"))).await.unwrap().json::<Value>().await.unwrap();
        found.push((did, log.as_array().unwrap().len()));
    }
    found
}

fn count(pds: &Pds, table: &str) -> i64 {
    accounts(pds).query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[tokio::test]
async fn who_asks_again_gets_the_same_account_and_tokens_that_work() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ADMIN, ("PDS_SIGNUP", "invite")]).await;
    let (_, invite) = post(&pds, "server.createInviteCode", As::Admin, json!({ "useCount": 1 })).await;
    let mut input = wanted("alice");
    input["inviteCode"] = invite["code"].clone();
    let first = asked(&pds, KEY, &input).await;
    let again = asked(&pds, KEY, &input).await;
    assert_eq!(again.did, first.did);
    assert_ne!(again.refresh, first.refresh);
    // The quotes that the draft has, spaces and the order of the body's keys are no other request.
    let text = format!(
        r#"{{ "password": "{PASSWORD}", "inviteCode": {}, "email": "alice@example.com", "handle": "alice.test", "x": 1 }}"#,
        invite["code"]
    );
    let quoted = request(&pds, &format!("\"{KEY}\"")).header("content-type", "application/json").body(text);
    let (status, body) = answered(quoted).await;
    assert_eq!((status, &body["did"]), (200, &json!(first.did)));
    for user in [&first, &again] {
        let refreshed = crate::client::poke(&pds, "server.refreshSession", As::Token(&user.refresh)).await;
        assert_eq!(refreshed.0, 200, "{refreshed:?}");
    }
    assert_eq!(told(&pds, &first.did), ["identity alice.test", "account active", "append", "sync"]);
    assert_eq!(registered(&plc, "alice").await, [(first.did, 1)]);
    // Without the key, or with another, it is a new request for what is another's.
    let taken = post(&pds, "server.createAccount", As::Nobody, input.clone()).await;
    assert_eq!(message(&taken), "Provided invite code not available");
    assert_eq!(refusal(&ask(&pds, "another", &input).await), (400, "InvalidInviteCode"));
}

#[tokio::test]
async fn a_key_is_for_one_body() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    asked(&pds, KEY, &wanted("alice")).await;
    for (field, value) in [("handle", "bob.test"), ("email", "a@example.com"), ("password", "guessed")] {
        let mut other = wanted("alice");
        other[field] = json!(value);
        let refused = ask(&pds, KEY, &other).await;
        assert_eq!(refusal(&refused), (422, "IdempotencyKeyReused"), "{field}");
        assert_eq!(message(&refused), "this Idempotency-Key was used with another request");
    }
    assert_eq!(get(&pds, "identity.resolveHandle", As::Nobody, &[("handle", "bob.test")]).await.0, 400);
    asked(&pds, "another", &wanted("bob")).await;
}

#[tokio::test]
async fn what_was_refused_can_be_put_right_with_the_same_key() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    User::new(&pds, "alice").await;
    for (mut input, field, value) in [
        (wanted("alice"), "handle", "carol.test"),
        (wanted("no_name"), "handle", "dan.test"),
        (wanted("admin"), "handle", "erin.test"),
    ] {
        let refused = ask(&pds, KEY, &input).await;
        assert_eq!(refused.0, 400, "{refused:?}");
        input[field] = json!(value);
        input["email"] = json!(format!("{value}@example.com"));
        let key = format!("{KEY}-{value}");
        assert_eq!(ask(&pds, &key, &wanted("alice")).await.0, 400);
        asked(&pds, &key, &input).await;
    }
    assert_eq!((count(&pds, "headwater_attempt"), count(&pds, "headwater_unfinished")), (3, 0));
}

#[tokio::test]
async fn two_at_once_make_one_account() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    plc.suffer(Some(Mishap::Late(Duration::from_millis(300))));
    let input = wanted("alice");
    let all = futures_util::future::join_all((0..5).map(|_| asked(&pds, KEY, &input))).await;
    assert!(all.iter().all(|user| user.did == all[0].did), "{all:?}");
    assert_eq!(registered(&plc, "alice").await, [(all[0].did.clone(), 1)]);

    // One that takes too long is not waited for.
    plc.suffer(Some(Mishap::Late(Duration::from_millis(6500))));
    let input = wanted("bob");
    let (first, second) = tokio::join!(asked(&pds, "bob", &input), async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = Instant::now();
        let refused = ask(&pds, "bob", &input).await;
        assert!(begun.elapsed() >= Duration::from_secs(5));
        refused
    });
    assert_eq!(refusal(&second), (409, "IdempotencyKeyInUse"));
    assert_eq!(asked(&pds, "bob", &input).await.did, first.did);
}

#[tokio::test]
async fn what_a_directory_left_open_is_gone_on_with() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    for (name, mishap) in [("lost", Mishap::Lost), ("taken", Mishap::Dark)] {
        let input = wanted(name);
        plc.suffer(Some(mishap));
        for _ in 0..2 {
            let failed = ask(&pds, name, &input).await;
            assert!((500..600).contains(&failed.0), "{failed:?}");
        }
        let did: String =
            accounts(&pds).query_row("SELECT did FROM headwater_unfinished", [], |row| row.get(0)).unwrap();
        assert!(told(&pds, &did).is_empty());
        plc.suffer(None);
        assert_eq!(asked(&pds, name, &input).await.did, did);
        assert_eq!(told(&pds, &did).len(), 4);
        assert_eq!(registered(&plc, name).await, [(did, 1)]);
        assert_eq!(count(&pds, "headwater_unfinished"), 0);
    }

    // An answer that is lost is looked for.
    plc.suffer(Some(Mishap::Unanswered));
    let carol = asked(&pds, "carol", &wanted("carol")).await;
    assert_eq!(registered(&plc, "carol").await, [(carol.did, 1)]);
}

#[tokio::test]
async fn what_is_anothers_by_the_time_it_is_asked_for_again_is_refused_and_undone() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    plc.suffer(Some(Mishap::Lost));
    assert!(ask(&pds, KEY, &wanted("alice")).await.0 >= 500);
    plc.suffer(None);
    User::new(&pds, "alice").await;
    let refused = ask(&pds, KEY, &wanted("alice")).await;
    assert_eq!(message(&refused), "Handle already taken: alice.test");
    assert_eq!((count(&pds, "headwater_attempt"), count(&pds, "headwater_unfinished")), (0, 0));
    asked(&pds, KEY, &wanted("bob")).await;
}

#[tokio::test]
async fn an_answer_is_for_who_knows_the_password() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ADMIN]).await;
    let alice = asked(&pds, KEY, &wanted("alice")).await;
    // Nothing in the databases tells the key or the password.
    for file in ["account.sqlite", "account.sqlite-wal"] {
        let bytes = std::fs::read(pds.directory().join(file)).unwrap();
        for secret in [KEY, PASSWORD, alice.access.as_str()] {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret.as_bytes()), "{file} has {secret}");
        }
    }
    // A password that is another by now opens nothing more.
    mail_token(&pds, &alice.did, "reset_password", "ABCDE-FGHIJ");
    let reset = json!({ "token": "ABCDE-FGHIJ", "password": "another" });
    assert_eq!(post(&pds, "server.resetPassword", As::Nobody, reset).await.0, 200);
    assert_eq!(refusal(&ask(&pds, KEY, &wanted("alice")).await), (401, "AuthenticationRequired"));

    let bob = asked(&pds, "bob", &wanted("bob")).await;
    let subject = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": bob.did });
    let takedown = json!({ "subject": subject, "takedown": { "applied": true } });
    assert_eq!(post(&pds, "admin.updateSubjectStatus", As::Admin, takedown).await.0, 200);
    assert_eq!(refusal(&ask(&pds, "bob", &wanted("bob")).await), (401, "AccountTakedown"));
    // Of an account that is deleted nothing is known, its attempt neither.
    assert_eq!(post(&pds, "admin.deleteAccount", As::Admin, json!({ "did": bob.did })).await.0, 200);
    assert_ne!(asked(&pds, "bob", &wanted("bob")).await.did, bob.did);
}

#[tokio::test]
async fn what_is_no_key_or_proves_nothing_is_refused() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    for key in ["", "\"", "a b", "\"a\"b\"", &"x".repeat(256)] {
        let refused = ask(&pds, key, &wanted("alice")).await;
        assert_eq!(refusal(&refused), (400, "InvalidRequest"), "{key}");
        assert!(message(&refused).starts_with("Idempotency-Key must be"), "{refused:?}");
    }
    let twice = request(&pds, "a").header("idempotency-key", "b").json(&wanted("alice"));
    assert_eq!(refusal(&answered(twice).await), (400, "InvalidRequest"));
    let mut input = wanted("alice");
    input.as_object_mut().unwrap().remove("password");
    let refused = ask(&pds, KEY, &input).await;
    assert_eq!(message(&refused), "an Idempotency-Key needs a password in the request");
    assert_eq!(count(&pds, "headwater_attempt"), 0);
    asked(&pds, &"x".repeat(255), &wanted("alice")).await;
}
