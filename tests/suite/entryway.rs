//! A server behind an entryway: which calls it passes on and how, which tokens open it, how accounts are made, and that
//! handles and invites are none of its own. The same requests are put to the reference server in `differential`.

mod differential;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use shared::identity::plc::{Body, Operation};
use tests::entryway::{DID, Entryway, call, claims};
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, JWT, get, message, post, refusal, told};

const HERE: &str = "did:web:localhost";

/// A server behind an entryway, and an account there.
struct Scene {
    plc: Plc,
    entryway: Entryway,
    pds: Pds,
    /// The address that identities name.
    public: String,
    did: String,
    access: String,
}

impl Scene {
    async fn new() -> Self {
        let plc = Plc::start().await;
        let entryway = Entryway::start(&plc).await;
        let environment = entryway.environment();
        let mut all: Vec<_> = environment.iter().map(|(name, value)| (*name, value.as_str())).collect();
        // Identities name the port that is listened on.
        all.extend([ADMIN, JWT, ("PDS_PORT", "0")]);
        let pds = Pds::start_open_with(&plc, &all).await;
        let public = pds.url("").replace("127.0.0.1", "localhost");
        let did = entryway.sign_up(&public, "alice").await;
        let access = entryway.access(&did, HERE);
        entryway.service.seen();
        Self { plc, entryway, pds, public, did, access }
    }

    fn alice(&self) -> As<'_> {
        As::Token(&self.access)
    }
}

/// By whose right the entryway is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// The account's, by a token of its own key.
    Account,
    /// That of whoever calls, by what they sent.
    Same,
}

/// What is sent to a method, and what of it the entryway gets.
pub(crate) struct Line {
    pub(crate) method: &'static str,
    verb: Method,
    right: Right,
    by: By,
    pub(crate) input: Value,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Nobody,
    Admin,
    Session,
    Refresh,
}

/// Every method that is passed on.
pub(crate) fn lines(did: &str) -> Vec<Line> {
    use By::*;
    use Right::*;
    let (get, post) = (Method::GET, Method::POST);
    let line = |method, verb: &Method, right, by, input| Line { method, verb: verb.clone(), right, by, input };
    vec![
        line(
            "admin.sendEmail",
            &post,
            Account,
            Admin,
            json!({ "recipientDid": did, "content": "x", "senderDid": did }),
        ),
        line("admin.updateAccountEmail", &post, Same, Admin, json!({ "account": did, "email": "a@b.co" })),
        line("admin.updateAccountPassword", &post, Same, Admin, json!({ "did": did, "password": "another" })),
        line("identity.requestPlcOperationSignature", &post, Account, Session, Value::Null),
        line("identity.signPlcOperation", &post, Account, Session, json!({ "token": "abcde-fghij" })),
        line("identity.updateHandle", &post, Account, Session, json!({ "handle": "alicia.test" })),
        line("server.activateAccount", &post, Same, Session, Value::Null),
        line("server.confirmEmail", &post, Account, Session, json!({ "email": "a@b.co", "token": "abcde-fghij" })),
        line("server.createAppPassword", &post, Account, Session, json!({ "name": "phone" })),
        line(
            "server.createSession",
            &post,
            Same,
            Nobody,
            json!({ "identifier": "alice.test", "password": "correct horse", "authFactorToken": "abc" }),
        ),
        line("server.deactivateAccount", &post, Account, Session, json!({ "deleteAfter": "2026-01-01T00:00:00.000Z" })),
        line("server.deleteAccount", &post, Same, Nobody, json!({ "did": did, "password": "p", "token": "t" })),
        line("server.deleteSession", &post, Same, Refresh, Value::Null),
        line("server.deleteSession", &post, Same, Nobody, Value::Null),
        line("server.getAccountInviteCodes", &get, Account, Session, Value::Null),
        line("server.getSession", &get, Account, Session, Value::Null),
        line("server.listAppPasswords", &get, Account, Session, Value::Null),
        line("server.refreshSession", &post, Same, Refresh, Value::Null),
        line("server.requestAccountDelete", &post, Account, Session, Value::Null),
        line("server.requestEmailConfirmation", &post, Account, Session, Value::Null),
        line("server.requestEmailUpdate", &post, Account, Session, Value::Null),
        line("server.requestPasswordReset", &post, Same, Nobody, json!({ "email": "nobody@example.com" })),
        line("server.resetPassword", &post, Same, Nobody, json!({ "token": "abcde-fghij", "password": "another" })),
        line("server.revokeAppPassword", &post, Account, Session, json!({ "name": "phone" })),
        line("server.updateEmail", &post, Account, Session, json!({ "email": "a@b.co", "emailAuthFactor": true })),
        line("temp.checkSignupQueue", &get, Same, Session, Value::Null),
    ]
}

impl Line {
    /// The request to the server at `pds`.
    pub(crate) fn request(&self, entryway: &Entryway, did: &str, audience: &str, pds: &str) -> reqwest::RequestBuilder {
        let url = format!("{pds}/xrpc/com.atproto.{}", self.method);
        let request = Client::new().request(self.verb.clone(), url).header("x-forwarded-for", "203.0.113.7");
        let request = match self.by {
            By::Nobody => request,
            By::Admin => request.basic_auth("admin", Some(ADMIN.1)),
            By::Session => request.bearer_auth(entryway.access(did, audience)),
            By::Refresh => request.bearer_auth(entryway.refresh(did)),
        };
        if self.input.is_null() { request } else { request.json(&self.input) }
    }
}

#[tokio::test]
async fn what_is_the_entryways_is_passed_on_with_the_right_that_it_needs() {
    let scene = Scene::new().await;
    for line in lines(&scene.did) {
        let sent = line.request(&scene.entryway, &scene.did, HERE, &scene.pds.url("")).build().unwrap();
        let authorization = sent.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
        let answer = Client::new().execute(sent).await.unwrap();
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        let (method, nsid) = (line.method, format!("com.atproto.{}", line.method));
        assert_eq!(status, 200, "{method}: {text}");
        let [seen] = &scene.entryway.service.seen()[..] else { panic!("{method} was not passed on once") };
        assert_eq!((seen.verb.as_str(), seen.path.as_str()), (line.verb.as_str(), &*format!("/xrpc/{nsid}")));
        assert_eq!(seen.headers.get("x-forwarded-for").map(String::as_str), Some("203.0.113.7"), "{method}");
        match line.right {
            Right::Same => assert_eq!(seen.headers.get("authorization"), authorization.as_ref(), "{method}"),
            Right::Account => {
                assert_eq!(seen.caller.as_deref(), Some(&*scene.did), "{method}");
                assert_eq!(seen.token, Some((DID.to_owned(), nsid)), "{method}");
            }
        }
        let mut wanted = line.input;
        if method == "identity.updateHandle" {
            wanted["did"] = scene.did.as_str().into();
        }
        assert_eq!(serde_json::from_slice::<Value>(&seen.body.1).unwrap_or_default(), wanted, "{method}");
        let told = ["Session", "AppPassword", "Codes", "Update", "Operation", "Queue", "Email"];
        let has_answer = told.iter().any(|end| method.ends_with(end) || method.ends_with("AppPasswords"));
        let silent = ["deleteSession", "confirmEmail", "updateEmail", "updateAccountEmail", "revokeAppPassword"];
        let silent = silent.iter().any(|end| method.ends_with(end));
        assert_eq!(text.is_empty(), silent || !has_answer, "{method}: {text}");
    }
    let passed = scene.entryway.service.seen();
    let params = [("includeUsed", "false"), ("createAvailable", "false")];
    assert_eq!(get(&scene.pds, "server.getAccountInviteCodes", scene.alice(), &params).await.0, 200);
    let seen = &scene.entryway.service.seen()[0];
    assert!(seen.path.ends_with("?includeUsed=false&createAvailable=false"), "{} {passed:?}", seen.path);
    // Of all this nothing happened here.
    assert_eq!(told(&scene.pds, &scene.did), ["identity alice.test", "account active", "append", "sync"]);
}

#[tokio::test]
async fn what_the_entryway_refuses_is_refused_in_its_words_and_what_breaks_there_is_no_fault_here() {
    let scene = Scene::new().await;
    let log_in = |word: &str| json!({ "identifier": word, "password": "x" });
    let refused = post(&scene.pds, "server.createSession", As::Nobody, log_in("refuse")).await;
    assert_eq!(refusal(&refused), (401, "AuthFactorTokenRequired"));
    assert_eq!(message(&refused), "A sign in code has been sent");
    let broken = post(&scene.pds, "server.createSession", As::Nobody, log_in("break")).await;
    assert_eq!(broken.0, 502, "{broken:?}");
    // A proof is for this server, and none there.
    for (by, proof) in [("DPoP x", None), ("dpop x", None), ("Bearer x", Some("proof"))] {
        let url = scene.pds.url("/xrpc/com.atproto.server.createSession");
        let request = Client::new().post(url).json(&log_in("alice.test")).header("authorization", by);
        let request = proof.into_iter().fold(request, |request, proof| request.header("dpop", proof));
        let answer = request.send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
        assert_eq!((status, body["message"].as_str()), (400, Some("DPoP requests cannot be proxied")), "{by}");
    }
    assert_eq!(scene.entryway.service.seen().len(), 2);
    // Who is not here is not asked for there.
    let nobody = "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa";
    let deletion = json!({ "did": nobody, "password": "p", "token": "t" });
    let refused = post(&scene.pds, "server.deleteAccount", As::Nobody, deletion).await;
    assert_eq!((refusal(&refused), message(&refused)), ((400, "InvalidRequest"), "account not found"));
    let mail = json!({ "recipientDid": nobody, "content": "x", "senderDid": nobody });
    let refused = post(&scene.pds, "admin.sendEmail", As::Admin, mail).await;
    assert_eq!((refusal(&refused), message(&refused)), ((400, "InvalidRequest"), "Recipient not found"));
    let address = json!({ "account": nobody, "email": "a@b.co" });
    let refused = post(&scene.pds, "admin.updateAccountEmail", As::Admin, address).await;
    assert_eq!(message(&refused), format!("Account does not exist: {nobody}"));
    let url = scene.pds.url("/xrpc/com.atproto.server.refreshSession");
    let refresh = |did: &str| Client::new().post(&url).bearer_auth(scene.entryway.refresh(did)).send();
    assert_eq!(refresh(nobody).await.unwrap().status(), 400);
    let taken = json!({ "subject": { "$type": "com.atproto.admin.defs#repoRef", "did": scene.did }, "takedown": { "applied": true } });
    assert_eq!(post(&scene.pds, "admin.updateSubjectStatus", As::Admin, taken).await.0, 200);
    let answer = refresh(&scene.did).await.unwrap();
    assert_eq!(answer.status(), 401);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"], "AccountTakedown");
    assert_eq!(scene.entryway.service.seen().len(), 0);
}

/// Tokens that open nothing, with the name of the refusal.
pub(crate) fn bad_tokens(
    entryway: &Entryway,
    did: &str,
    audience: &str,
) -> Vec<(&'static str, String, u16, &'static str)> {
    let good = claims(did, audience, "com.atproto.access");
    let with = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        claims
    };
    let own = shared::token::HmacKey::new(JWT.1.as_bytes()).unwrap();
    let hmac = shared::token::sign("at+jwt", &good, shared::token::Signer::Hmac(&own));
    let other = shared::token::sign("at+jwt", &good, shared::token::Signer::Ecdsa(&entryway.rotation));
    let access = |claims: &Value| entryway.token("at+jwt", claims);
    let mut signature = access(&good);
    signature.truncate(signature.len() - 4);
    vec![
        ("this server's own", hmac, 400, "InvalidToken"),
        ("another key's", other, 400, "InvalidToken"),
        ("of another type", entryway.token("refresh+jwt", &good), 400, "InvalidToken"),
        ("for the entryway", entryway.access(did, DID), 400, "InvalidToken"),
        ("for another server", entryway.access(did, "did:web:other.test"), 400, "InvalidToken"),
        ("a refresh token", entryway.refresh(did), 400, "InvalidToken"),
        ("expired", access(&with("exp", 1_700_000_000.into())), 400, "ExpiredToken"),
        ("of another scope", access(&with("scope", "com.atproto.refresh".into())), 400, "InvalidToken"),
        ("of no account", access(&with("sub", "alice".into())), 400, "InvalidToken"),
        ("for one method", access(&with("lxm", "com.atproto.server.getSession".into())), 400, "InvalidToken"),
        ("bound to a key", access(&with("cnf", json!({ "jkt": "x" }))), 400, "InvalidToken"),
        ("cut off", signature, 400, "InvalidToken"),
        ("nonsense", "x".to_owned(), 400, "InvalidToken"),
    ]
}

#[tokio::test]
async fn only_the_entryways_sessions_open_this_server() {
    let scene = Scene::new().await;
    let record = json!({ "repo": scene.did, "collection": "app.bsky.feed.post",
        "record": { "text": "x", "createdAt": "2026-01-01T00:00:00Z" } });
    assert_eq!(post(&scene.pds, "repo.createRecord", scene.alice(), record.clone()).await.0, 200);
    for (what, token, status, name) in bad_tokens(&scene.entryway, &scene.did, HERE) {
        for method in ["repo.createRecord", "server.createAppPassword"] {
            let input = if method.starts_with("repo") { record.clone() } else { json!({ "name": "x" }) };
            let refused = post(&scene.pds, method, As::Token(&token), input).await;
            assert_eq!(refusal(&refused), (status, name), "{method}: {what}");
        }
    }
    // What the account's key signs may be for this server or for the entryway.
    let upload = |aud: &'static str| {
        let scene = &scene;
        async move {
            let params = [("aud", aud), ("lxm", "com.atproto.repo.uploadBlob")];
            let token = get(&scene.pds, "server.getServiceAuth", scene.alice(), &params).await.1;
            let url = scene.pds.url("/xrpc/com.atproto.repo.uploadBlob");
            let request = Client::new().post(url).bearer_auth(token["token"].as_str().unwrap()).body("blob");
            let answer = request.header("content-type", "text/plain").send().await.unwrap();
            (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"].as_str().map(str::to_owned))
        }
    };
    assert_eq!(upload(HERE).await, (200, None));
    assert_eq!(upload(DID).await, (200, None));
    assert_eq!(upload("did:web:other.test").await, (401, Some("BadJwtAudience".to_owned())));
}

/// What an entryway may bring to createAccount, and what is wrong with it.
pub(crate) async fn bad_accounts(entryway: &Entryway, pds: &str) -> Vec<(&'static str, Value, u16, &'static str)> {
    let key = call(pds, "reserveSigningKey", &json!({})).await.1["signingKey"].as_str().unwrap().to_owned();
    let good = entryway.operation(&key, "bob.test", pds);
    let did = good.did().unwrap();
    let input = |operation: &Operation| json!({ "did": did, "handle": "bob.test", "plcOp": operation });
    let changed = |change: &dyn Fn(&mut shared::identity::plc::State)| {
        let mut state = good.state().unwrap();
        change(&mut state);
        Body::genesis(state).sign(&entryway.rotation)
    };
    let other = &entryway.sessions;
    let named = changed(&|state| state.rotation_keys.push(other.public_key().to_did_key()));
    let mut without = input(&good);
    without.as_object_mut().unwrap().remove("did");
    let mut unsigned = input(&good);
    unsigned["plcOp"].as_object_mut().unwrap().remove("sig");
    let mut handle = input(&good);
    handle["handle"] = "robert.test".into();
    let tombstone = Body::tombstone(&good.cid()).sign(&entryway.rotation);
    vec![
        ("no identity", json!({ "handle": "bob.test", "email": "a@b.co", "password": "p" }), 400, "InvalidRequest"),
        ("no DID", without, 400, "InvalidRequest"),
        ("no operation", json!({ "did": did, "handle": "bob.test" }), 400, "InvalidRequest"),
        ("no signature", unsigned, 400, "IncompatibleDidDoc"),
        ("a tombstone", input(&tombstone), 400, "IncompatibleDidDoc"),
        (
            "an operation of nothing",
            json!({ "did": did, "handle": "bob.test", "plcOp": {} }),
            400,
            "IncompatibleDidDoc",
        ),
        (
            "without the entryway's key",
            input(&changed(&|state| state.rotation_keys = vec![other.public_key().to_did_key()])),
            400,
            "IncompatibleDidDoc",
        ),
        ("signed by another", input(&Body::genesis(good.state().unwrap()).sign(other)), 400, "IncompatibleDidDoc"),
        (
            "signed by another that it names",
            input(&Body::genesis(named.state().unwrap()).sign(other)),
            400,
            "IncompatibleDidDoc",
        ),
        ("another key", input(&changed(&|state| state.set_signing_key(&other.public_key()))), 400, "InvalidRequest"),
        (
            "another server",
            input(&changed(&|state| state.set_pds("https://elsewhere.test"))),
            400,
            "IncompatibleDidDoc",
        ),
        ("another handle", handle, 400, "IncompatibleDidDoc"),
    ]
}

#[tokio::test]
async fn an_account_is_made_of_what_the_entryway_brings_and_of_nothing_else() {
    let scene = Scene::new().await;
    for (what, input, status, name) in bad_accounts(&scene.entryway, &scene.public).await {
        let refused = call(&scene.public, "createAccount", &input).await;
        assert_eq!(refusal(&refused), (status, name), "{what}: {refused:?}");
    }
    // A key that was reserved for a DID is for that one only, whatever its document says.
    let key = call(&scene.public, "reserveSigningKey", &json!({})).await.1["signingKey"].as_str().unwrap().to_owned();
    let operation = scene.entryway.operation(&key, "bob.test", &scene.public);
    let did = operation.did().unwrap();
    let reserved = scene.pds.directory().join("actors/reserved_keys");
    let kept = || std::fs::read_dir(&reserved).unwrap().count();
    assert_eq!(call(&scene.public, "reserveSigningKey", &json!({ "did": did })).await.0, 200);
    let input = json!({ "did": did, "handle": "bob.test", "plcOp": operation });
    let refused = call(&scene.public, "createAccount", &input).await;
    assert_eq!(refusal(&refused), (400, "IncompatibleDidDoc"));
    std::fs::remove_file(reserved.join(did.as_str())).unwrap();

    let before = kept();
    // One that came to nothing, and one that broke off when the directory had the operation, are gone on with.
    scene.plc.suffer(Some(tests::plc::Mishap::Dark));
    assert_eq!(call(&scene.public, "createAccount", &input).await.0, 502);
    scene.plc.suffer(None);
    let registered = Client::new().post(scene.plc.url(&format!("/{did}"))).json(&operation).send().await.unwrap();
    assert_eq!(registered.status(), 200);
    let (status, made) = call(&scene.public, "createAccount", &input).await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(made["didDoc"]["id"], did.as_str());
    assert_eq!(kept(), before - 1, "the key is reserved no more");
    assert_eq!(told(&scene.pds, did.as_str()), ["identity bob.test", "account active", "append", "sync"]);
    let bob = scene.entryway.access(did.as_str(), HERE);
    let (_, status) = get(&scene.pds, "server.checkAccountStatus", As::Token(&bob), &[]).await;
    assert_eq!((&status["activated"], &status["validDid"]), (&json!(true), &json!(true)), "{status}");
    let (_, recommended) = get(&scene.pds, "identity.getRecommendedDidCredentials", As::Token(&bob), &[]).await;
    assert_eq!(recommended["rotationKeys"], json!([scene.entryway.rotation.public_key().to_did_key()]));
    let (_, info) = get(&scene.pds, "admin.getAccountInfo", As::Admin, &[("did", did.as_str())]).await;
    assert_eq!((&info["handle"], &info["invites"], &info["email"]), (&json!("bob.test"), &Value::Null, &Value::Null));
    let refused = call(&scene.public, "createAccount", &input).await;
    assert_eq!(refused.0, 400, "{refused:?}");
}

#[tokio::test]
async fn handles_are_the_entryways_and_the_row_follows_the_document() {
    let scene = Scene::new().await;
    let resolve = || get(&scene.pds, "identity.resolveHandle", As::Nobody, &[("handle", "alice.test")]);
    let refused = resolve().await;
    assert_eq!((refusal(&refused), message(&refused)), ((400, "InvalidRequest"), "Unable to resolve handle"));
    let url = scene.pds.url("/.well-known/atproto-did");
    let answer = Client::new().get(url).header("host", "alice.test").send().await.unwrap();
    assert_eq!(answer.status(), 404);

    let rename = || json!({ "did": scene.did, "handle": "alicia.test" });
    let refused = post(&scene.pds, "admin.updateAccountHandle", As::Admin, rename()).await;
    assert_eq!(message(&refused), "Handle does not match DID doc");
    scene.entryway.rename(&scene.plc, &scene.did, "alicia.test").await;
    assert_eq!(post(&scene.pds, "admin.updateAccountHandle", As::Admin, rename()).await, (200, Value::Null));
    assert_eq!(told(&scene.pds, &scene.did).last().unwrap(), "identity alicia.test");
    let (_, repo) = get(&scene.pds, "repo.describeRepo", As::Nobody, &[("repo", "alicia.test")]).await;
    assert_eq!(repo["did"], scene.did.as_str());
}

#[tokio::test]
async fn invites_are_the_entryways() {
    let scene = Scene::new().await;
    for (method, input) in [
        ("admin.disableAccountInvites", json!({ "account": scene.did })),
        ("admin.disableInviteCodes", json!({ "codes": ["x"] })),
        ("admin.enableAccountInvites", json!({ "account": scene.did })),
        ("server.createInviteCode", json!({ "useCount": 1 })),
        ("server.createInviteCodes", json!({ "useCount": 1, "codeCount": 1 })),
    ] {
        assert_eq!(post(&scene.pds, method, As::Nobody, input.clone()).await.0, 401, "{method}");
        let refused = post(&scene.pds, method, As::Admin, input).await;
        assert_eq!(message(&refused), "Account invites are managed by the entryway service", "{method}");
    }
    let refused = get(&scene.pds, "admin.getInviteCodes", As::Nobody, &[]).await;
    assert_eq!((refusal(&refused).0, message(&refused)), (400, "Account invites are managed by the entryway service"));
    assert_eq!(scene.entryway.service.seen().len(), 0);
}
