//! Service auth: tokens for other services, and an account that moves in with one.

use serde_json::{Value, json};
use shared::crypto::PublicKey;
use shared::syntax::Did;
use shared::token::service::{ACCOUNT_KEY, Expected, ServiceAuth};
use shared::token::session::Scope;
use tests::{Pds, Plc};

use crate::client::{As, JWT, User, get, message, poke, post, refusal, told};

const GET: &str = "server.getServiceAuth";
const HERE: &str = "did:web:localhost";
const MOVE: &str = "com.atproto.server.createAccount";

fn now() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

async fn key(pds: &Pds, did: &str) -> PublicKey {
    let repo = get(pds, "repo.describeRepo", As::Nobody, &[("repo", did)]).await.1;
    let document = shared::identity::DidDocument::parse(&Did::parse(did).unwrap(), repo["didDoc"].clone()).unwrap();
    document.signing_key().unwrap()
}

#[tokio::test]
async fn a_token_is_signed_by_the_account_for_one_service_and_one_method() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[JWT]).await;
    let alice = User::new(&pds, "alice").await;
    let key = key(&pds, &alice.did).await;
    let exp = (now() + 1800).to_string();
    for (aud, lxm, exp) in [
        ("did:web:other.test", "app.bsky.feed.getTimeline", None),
        ("did:web:other.test#bsky_appview", "app.bsky.feed.getTimeline", Some(exp.as_str())),
        ("did:web:other.test", "chat.bsky.convo.getLog", Some("0")),
    ] {
        let mut params = vec![("aud", aud), ("lxm", lxm)];
        params.extend(exp.map(|exp| ("exp", exp)));
        let (status, made) = get(&pds, GET, alice.token(), &params).await;
        assert_eq!(status, 200, "{made}");
        let token = made["token"].as_str().unwrap();
        let expected = Expected { audiences: &[aud], lxm, keys: &[ACCOUNT_KEY], now: now() };
        let claims = ServiceAuth::parse(token, &expected).unwrap().verify(&key).unwrap();
        assert_eq!(claims.iss.as_str(), alice.did);
        let lasts = claims.exp - claims.iat.unwrap();
        assert!(if exp == Some("0") || exp.is_none() { lasts == 60 } else { lasts > 1700 }, "{lasts}");
    }
}

#[tokio::test]
async fn what_a_token_may_not_be_for_is_refused_by_name() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[JWT]).await;
    let alice = User::new(&pds, "alice").await;
    let app = alice.minted(Scope::AppPass, HERE, 0);
    let chat = alice.minted(Scope::AppPassPrivileged, HERE, 0);
    let down = alice.minted(Scope::Takendown, HERE, 0);
    let aud = ("aud", "did:web:other.test");
    let at = |seconds: i64| (i64::try_from(now()).unwrap() + seconds).to_string();
    let (past, later, late) = (at(-5), at(120), at(3700));
    for (by, params, error) in [
        (As::Token(&alice.access), vec![], "InvalidRequest"),
        (As::Token(&alice.access), vec![("aud", "other.test")], "InvalidRequest"),
        (As::Token(&alice.access), vec![("aud", "did:key:zQ3sh")], "InvalidRequest"),
        (As::Token(&alice.access), vec![("aud", "did:web:other.test#")], "InvalidRequest"),
        (As::Token(&alice.access), vec![aud, ("lxm", "nothing")], "InvalidRequest"),
        (As::Token(&alice.access), vec![aud, ("exp", "soon")], "InvalidRequest"),
        (As::Token(&alice.access), vec![aud, ("exp", &past)], "BadExpiration"),
        (As::Token(&alice.access), vec![aud, ("exp", &late), ("lxm", "a.b.c")], "BadExpiration"),
        (As::Token(&alice.access), vec![aud, ("exp", &later)], "BadExpiration"),
        (As::Token(&alice.access), vec![aud, ("lxm", "com.atproto.server.getSession")], "InvalidRequest"),
        (As::Token(&app), vec![aud, ("lxm", "chat.bsky.convo.getLog")], "InvalidRequest"),
        (As::Token(&app), vec![aud, ("lxm", MOVE)], "InvalidRequest"),
        (As::Token(&down), vec![aud], "InvalidToken"),
        (As::Token(&down), vec![aud, ("lxm", "app.bsky.feed.getTimeline")], "InvalidToken"),
    ] {
        let refused = get(&pds, GET, by, &params).await;
        assert_eq!(refusal(&refused), (400, error), "{params:?} {by:?}");
    }
    for (by, params) in [
        (As::Token(&chat), [aud, ("lxm", "chat.bsky.convo.getLog")]),
        (As::Token(&app), [aud, ("lxm", "app.bsky.feed.getTimeline")]),
        (As::Token(&down), [aud, ("lxm", MOVE)]),
        (As::Token(&alice.access), [aud, ("exp", &at(59))]),
    ] {
        assert_eq!(get(&pds, GET, by, &params).await.0, 200, "{params:?} {by:?}");
    }
    for (header, status, error) in alice.bad_bearers() {
        assert_eq!(refusal(&get(&pds, GET, As::Header(&header), &[aud]).await), (status, error), "{header}");
    }
    assert_eq!(refusal(&get(&pds, GET, As::Nobody, &[aud]).await), (401, "AuthMissing"));
}

#[tokio::test]
async fn an_account_moves_in_by_its_own_key_and_waits_to_be_activated() {
    let plc = Plc::start().await;
    let old = Pds::start_open(&plc).await;
    let alice = User::new(&old, "alice").await;
    let new = Pds::start_open(&plc).await;
    let input = json!({ "did": alice.did, "handle": "alicia.test", "email": "alice@example.com", "password": "new" });
    let token = |aud: &'static str, lxm: &'static str| {
        let (old, alice) = (&old, &alice);
        async move { get(old, GET, alice.token(), &[("aud", aud), ("lxm", lxm)]).await.1["token"].clone() }
    };
    let good = token(HERE, MOVE).await;
    let good = good.as_str().unwrap();
    for (bearer, error) in [
        (token("did:web:other.test", MOVE).await, "BadJwtAudience"),
        (token(HERE, "app.bsky.feed.getTimeline").await, "BadJwtLexiconMethod"),
        (json!(alice.access), "BadJwtType"),
        (json!(format!("{}AAAA", &good[..good.len() - 4])), "BadJwtSignature"),
        (json!("x"), "BadJwt"),
    ] {
        let bearer = bearer.as_str().unwrap();
        let refused = post(&new, "server.createAccount", As::Token(bearer), input.clone()).await;
        assert_eq!(refusal(&refused), (401, error), "{bearer}");
    }
    let mallory = User::new(&old, "mallory").await;
    let (_, theirs) = get(&old, GET, mallory.token(), &[("aud", HERE), ("lxm", MOVE)]).await;
    let by = As::Token(theirs["token"].as_str().unwrap());
    let refused = post(&new, "server.createAccount", by, input.clone()).await;
    assert_eq!(refusal(&refused), (401, "AuthenticationRequired"));
    assert!(message(&refused).starts_with("Missing auth to create account with did"), "{refused:?}");
    let outside = {
        let mut input = input.clone();
        input["handle"] = json!("alice.example.com");
        post(&new, "server.createAccount", As::Token(good), input).await
    };
    assert_eq!(refusal(&outside), (400, "InvalidRequest"));
    assert_eq!(message(&outside), "External handle did not resolve to DID");

    let (status, session) = post(&new, "server.createAccount", As::Token(good), input.clone()).await;
    assert_eq!((status, &session["did"]), (200, &json!(alice.did)), "{session}");
    let moved = User::of(&session);
    assert!(told(&new, &alice.did).is_empty());
    let again = post(&new, "server.createAccount", As::Token(good), input).await;
    assert_eq!(again.0, 400, "{again:?}");
    let (_, session) = get(&new, "server.getSession", moved.token(), &[]).await;
    assert_eq!((&session["active"], &session["status"]), (&json!(false), &json!("deactivated")));
    // Its DID still points to the old server.
    let refused = poke(&new, "server.activateAccount", moved.token()).await;
    assert_eq!(refusal(&refused), (400, "InvalidRequest"));
    assert!(told(&new, &alice.did).is_empty());
    assert_eq!(post(&new, "server.deactivateAccount", moved.token(), json!({})).await, (200, Value::Null));
    assert_eq!(told(&new, &alice.did), ["account deactivated"]);
}
