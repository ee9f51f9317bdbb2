//! How often clients may ask: the reference's limits, as a client meets them.

mod redis;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tests::{Pds, Plc};

use crate::account::sign_up;

const ON: (&str, &str) = ("PDS_RATE_LIMITS_ENABLED", "true");

fn post(pds: &Pds, method: &str, input: &Value) -> RequestBuilder {
    Client::new().post(pds.url(&format!("/xrpc/com.atproto.{method}"))).json(input)
}

fn header<'a>(answer: &'a Response, name: &str) -> &'a str {
    answer.headers().get(name).unwrap_or_else(|| panic!("{name} in {answer:?}")).to_str().unwrap()
}

/// Sees that an answer says that its client asks too often, and when it may again, within `seconds`.
async fn assert_refused(answer: Response, limit: &str, seconds: u64) {
    assert_eq!(answer.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!((header(&answer, "ratelimit-limit"), header(&answer, "ratelimit-remaining")), (limit, "0"));
    assert_eq!(header(&answer, "ratelimit-policy"), format!("{limit};w={seconds}"));
    let after: u64 = header(&answer, "retry-after").parse().unwrap();
    assert!(after > seconds - 60 && after <= seconds, "{after}");
    let exposed = header(&answer, "access-control-expose-headers");
    assert!(["ratelimit-reset", "retry-after"].iter().all(|name| exposed.contains(name)), "{exposed}");
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body, json!({ "error": "RateLimitExceeded", "message": "Rate Limit Exceeded" }));
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_refused_and_others_are_not() {
    let plc = Plc::start().await;
    let key = ("PDS_RATE_LIMIT_BYPASS_KEY", "sesame");
    let pds = Pds::start_open_with(&plc, &[ON, key, ("PDS_RATE_LIMIT_BYPASS_IPS", "203.0.113.9/24")]).await;
    let reset = || post(&pds, "server.requestPasswordReset", &json!({ "email": "nobody@example.com" }));
    for left in (0..15).rev() {
        let answer = reset().send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(header(&answer, "ratelimit-remaining"), left.to_string());
        assert_eq!(header(&answer, "ratelimit-policy"), "15;w=3600");
    }
    assert_refused(reset().send().await.unwrap(), "15", 3600).await;

    let from = |address: &'static str| reset().header("x-forwarded-for", address);
    let other = from("198.51.100.7").send().await.unwrap();
    assert_eq!((other.status(), header(&other, "ratelimit-remaining")), (StatusCode::OK, "14"));
    for free in [from("203.0.113.9"), reset().header("x-ratelimit-bypass", "sesame")] {
        let answer = free.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!answer.headers().contains_key("ratelimit-limit"), "{answer:?}");
    }
    let wrong = reset().header("x-ratelimit-bypass", "open").send().await.unwrap();
    assert_refused(wrong, "15", 3600).await;
}

#[tokio::test]
async fn who_guesses_passwords_is_stopped_by_name_and_address() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ON]).await;
    let login = |name: &str| post(&pds, "server.createSession", &json!({ "identifier": name, "password": "guess" }));
    let guesses = (0..30).map(|_| login("alice.test").send());
    for answer in futures_util::future::join_all(guesses).await {
        assert_ne!(answer.unwrap().status(), StatusCode::TOO_MANY_REQUESTS);
    }
    assert_refused(login("alice.test").send().await.unwrap(), "30", 300).await;
    assert_eq!(login("bob.test").send().await.unwrap().status(), StatusCode::UNAUTHORIZED);
    let elsewhere = login("alice.test").header("x-forwarded-for", "198.51.100.7").send().await.unwrap();
    assert_eq!(elsewhere.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn an_account_writes_as_much_as_its_points_allow_wherever_it_is() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ON]).await;
    let [alice, bob] = [sign_up(&pds, "alice").await, sign_up(&pds, "bob").await];
    let post_record = json!({ "$type": "app.bsky.feed.post", "text": "Hello", "createdAt": "2026-01-01T00:00:00Z" });
    let create = json!({
        "$type": "com.atproto.repo.applyWrites#create", "collection": "app.bsky.feed.post", "value": post_record,
    });
    let batch = json!({ "repo": alice["did"], "writes": vec![create; 200] });
    let write = |account: &Value, method: &str, input: &Value| {
        post(&pds, method, input).bearer_auth(account["accessJwt"].as_str().unwrap())
    };
    // Each uses 600 of 5,000.
    for left in [4400, 3800, 3200, 2600, 2000, 1400, 800, 200] {
        let answer = write(&alice, "repo.applyWrites", &batch).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let told: u64 = header(&answer, "ratelimit-remaining").parse().unwrap();
        // The address has 3,000 calls and used few of them.
        assert!(if left < 2900 { told == left } else { told > 2900 && told < 3000 }, "{told} of {left}");
    }
    let delete = |account: &Value| {
        let input = json!({ "repo": account["did"], "collection": "app.bsky.feed.post", "rkey": "none" });
        write(account, "repo.deleteRecord", &input).header("x-forwarded-for", "198.51.100.7")
    };
    let one = delete(&alice).send().await.unwrap();
    assert_eq!((one.status(), header(&one, "ratelimit-remaining")), (StatusCode::OK, "199"));
    let bad = write(&alice, "repo.deleteRecord", &json!({ "repo": alice["did"] })).send().await.unwrap();
    assert_eq!(bad.status(), StatusCode::BAD_REQUEST);
    assert!(!bad.headers().contains_key("ratelimit-limit"), "what is malformed uses nothing");
    assert_refused(write(&alice, "repo.applyWrites", &batch).send().await.unwrap(), "5000", 3600).await;
    assert_refused(delete(&alice).send().await.unwrap(), "5000", 3600).await;
    assert_eq!(delete(&bob).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn whether_a_name_is_free_is_told_however_often_it_is_asked() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ON]).await;
    let free = pds.url("/xrpc/com.atproto.identity.resolveHandle?handle=free.test");
    let other = pds.url("/xrpc/com.atproto.server.describeServer");
    let client = Client::new();
    let mut last = None;
    for _ in 0..3001 {
        last = Some(client.get(&other).send().await.unwrap());
    }
    assert_refused(last.unwrap(), "3000", 300).await;
    let unknown = client.get(pds.url("/xrpc/com.example.unknown")).send().await.unwrap();
    assert_eq!(unknown.status(), StatusCode::TOO_MANY_REQUESTS);
    let answer = client.get(&free).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert!(!answer.headers().contains_key("ratelimit-limit"));
    assert_eq!(client.get(pds.url("/xrpc/_health")).send().await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn without_the_switch_nothing_is_counted() {
    let plc = Plc::start().await;
    let pds = Pds::start_open(&plc).await;
    for _ in 0..16 {
        let input = json!({ "email": "nobody@example.com" });
        let answer = post(&pds, "server.requestPasswordReset", &input).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(!answer.headers().contains_key("ratelimit-limit"));
    }
}
