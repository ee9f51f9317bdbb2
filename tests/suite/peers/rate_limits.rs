//! Limits counted in Redis beside the reference server: by the same names, in the same numbers, together.

use reqwest::{Client, RequestBuilder, Response};
use serde_json::{Value, json};
use tests::peers::{Place, Version, packages};
use tests::{Plc, Redis};

/// Whose points are used by address. Both servers believe it from a proxy on this machine.
const ADDRESS: &str = "198.51.100.7";

fn place(plc: &Plc, redis: &Redis) -> Place {
    let place = Place::new(plc).with("PDS_RATE_LIMITS_ENABLED", "true").with("PDS_INVITE_REQUIRED", "false");
    redis.environment().iter().fold(place, |place, (name, value)| place.with(name, value))
}

fn post(place: &Place, method: &str, input: &Value) -> RequestBuilder {
    Client::new().post(place.url(&format!("/xrpc/com.atproto.{method}"))).json(input).header("x-forwarded-for", ADDRESS)
}

/// Calls every method that has limits of its own, well or not: what is not malformed uses points. Returns the account.
async fn use_every_limit(place: &Place) -> String {
    let account = json!({ "handle": "alice.test", "email": "alice@example.com", "password": "correct horse" });
    let answer = post(place, "server.createAccount", &account).send().await.unwrap();
    let session: Value = answer.error_for_status().unwrap().json().await.unwrap();
    let (did, token) = (session["did"].as_str().unwrap().to_owned(), session["accessJwt"].as_str().unwrap());
    let record = json!({ "$type": "app.bsky.feed.post", "text": "Hello", "createdAt": "2026-01-01T00:00:00Z" });
    let key = |rkey: &str, more: Value| {
        let mut input = json!({ "repo": did, "collection": "app.bsky.feed.post", "rkey": rkey });
        input.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        input
    };
    let write = |kind: &str, rkey: &str, value: Value| {
        let mut write = json!({ "collection": "app.bsky.feed.post", "rkey": rkey });
        write["$type"] = format!("com.atproto.repo.applyWrites#{kind}").into();
        if !value.is_null() {
            write["value"] = value;
        }
        write
    };
    let writes =
        json!([write("create", "3jzfcijpj2z2a", record.clone()), write("create", "3jzfcijpj2z2b", record.clone())]);
    let more = json!([write("update", "3jzfcijpj2z2a", record.clone()), write("delete", "3jzfcijpj2z2b", Value::Null)]);
    let methods = [
        ("repo.createRecord", json!({ "repo": did, "collection": "app.bsky.feed.post", "record": record })),
        ("repo.putRecord", key("3jzfcijpj2z2c", json!({ "record": record }))),
        ("repo.deleteRecord", key("3jzfcijpj2z2c", json!({}))),
        ("repo.applyWrites", json!({ "repo": did, "writes": writes })),
        ("repo.applyWrites", json!({ "repo": did, "writes": more })),
        ("identity.updateHandle", json!({ "handle": "alison.test" })),
    ];
    for (method, input) in methods {
        let answer = post(place, method, &input).bearer_auth(token).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{method}: {}", answer.text().await.unwrap());
    }
    let bare = |method: &str| {
        let url = place.url(&format!("/xrpc/com.atproto.{method}"));
        Client::new().post(url).header("x-forwarded-for", ADDRESS).bearer_auth(token)
    };
    let blob = bare("repo.uploadBlob").header("content-type", "text/plain").body("blob").send().await.unwrap();
    assert_eq!(blob.status(), 200);
    // Neither server has mail, so that these may fail; they are counted all the same.
    for method in ["server.requestAccountDelete", "server.requestEmailConfirmation", "server.requestEmailUpdate"] {
        let _answer = bare(method).send().await.unwrap();
    }
    let delete = json!({ "did": did, "password": "wrong", "token": "wrong" });
    let open = [
        ("server.createSession", json!({ "identifier": "Alison.test", "password": "wrong" })),
        ("server.createSession", json!({ "identifier": did, "password": "correct horse" })),
        ("server.requestPasswordReset", json!({ "email": "nobody@example.com" })),
        ("server.resetPassword", json!({ "token": "wrong", "password": "other" })),
        ("server.deleteAccount", delete),
    ];
    for (method, input) in open {
        let _answer = post(place, method, &input).send().await.unwrap();
    }
    let repository = place.url(&format!("/xrpc/com.atproto.sync.getRepo?did={did}"));
    let read = Client::new().get(repository).header("x-forwarded-for", ADDRESS).send().await.unwrap();
    assert_eq!(read.status(), 200);
    did
}

#[tokio::test(flavor = "multi_thread")]
async fn every_limit_is_counted_in_redis_under_the_references_name_and_in_its_numbers() {
    let Some(packages) = packages() else { return };
    let (Some(theirs), Some(ours)) = (Redis::start().await, Redis::start().await) else { return };
    let (one, other) = (Plc::start().await, Plc::start().await);
    let (reference, headwater) = (place(&one, &theirs), place(&other, &ours));
    let _one = reference.start_reference(&packages, Version::V0_5_35).await;
    let _other = headwater.start_headwater().await;
    let mut sides = Vec::new();
    for (place, redis) in [(&reference, &theirs), (&headwater, &ours)] {
        let did = use_every_limit(place).await;
        let mut counts = redis.counts().await;
        for (key, _, ends) in &mut counts {
            *key = key.replace(&did, "DID");
            // To minutes: the calls take seconds, and each time begins with its first.
            *ends = (*ends + 59) / 60;
        }
        counts.sort();
        sides.push(counts);
    }
    // Each of the 19 of single methods, both of log-ins twice; and the three that methods share.
    assert_eq!(sides[0].len(), 22, "{:#?}", sides[0]);
    assert_eq!(sides[0], sides[1]);
}

/// What an answer says of the limit that is nearest.
fn told(answer: &Response) -> [String; 4] {
    ["ratelimit-limit", "ratelimit-remaining", "ratelimit-policy", "retry-after"]
        .map(|name| answer.headers().get(name).map_or("", |value| value.to_str().unwrap()).to_owned())
}

async fn share(version: Version) {
    let Some(packages) = packages() else { return };
    let Some(redis) = Redis::start().await else { return };
    let plc = Plc::start().await;
    let (one, other) = (place(&plc, &redis), place(&plc, &redis));
    let _reference = one.start_reference(&packages, version).await;
    let _headwater = other.start_headwater().await;
    let guess = json!({ "token": "wrong", "password": "other" });
    for left in (0..50).rev() {
        let place = if left % 3 == 0 { &one } else { &other };
        let answer = post(place, "server.resetPassword", &guess).send().await.unwrap();
        assert_eq!(answer.status(), 400);
        let expected = ["50".to_owned(), left.to_string(), "50;w=300".to_owned(), String::new()];
        assert_eq!(told(&answer), expected);
    }
    let mut resets = Vec::new();
    for place in [&one, &other] {
        let answer = post(place, "server.resetPassword", &guess).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &told(&answer)[..3]),
            (429, &["50", "0", "50;w=300"].map(str::to_owned)[..])
        );
        resets.push(answer.headers()["ratelimit-reset"].to_str().unwrap().parse::<i64>().unwrap());
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["error"], "RateLimitExceeded");
    }
    assert!((resets[0] - resets[1]).abs() <= 1, "{resets:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shared_with_the_reference_server() {
    share(Version::V0_5_35).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_are_shared_with_what_most_hosts_run() {
    share(Version::V0_4_217).await;
}
