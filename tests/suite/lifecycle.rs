//! The life of an account: activated, deactivated, taken down, restored, deleted; who may ask, and what is told of it.

use serde_json::{Value, json};
use shared::token::session::Scope;
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, JWT, User, get, mail_token, message, poke, post, refusal, told};

const BORN: [&str; 4] = ["identity alice.test", "account active", "append", "sync"];

async fn start(plc: &Plc) -> Pds {
    Pds::start_open_with(plc, &[ADMIN, JWT]).await
}

fn subject(did: &str) -> Value {
    json!({ "$type": "com.atproto.admin.defs#repoRef", "did": did })
}

async fn takedown(pds: &Pds, did: &str, applied: bool) {
    let input = json!({ "subject": subject(did), "takedown": { "applied": applied, "ref": "case 7" } });
    let (status, body) = post(pds, "admin.updateSubjectStatus", As::Admin, input).await;
    assert_eq!((status, &body["subject"]), (200, &subject(did)), "{body}");
}

async fn write(pds: &Pds, user: &User) -> (u16, Value) {
    let record = json!({ "$type": "app.bsky.feed.post", "text": "x", "createdAt": "2024-01-01T00:00:00Z" });
    let input = json!({ "repo": user.did, "collection": "app.bsky.feed.post", "record": record });
    post(pds, "repo.createRecord", user.token(), input).await
}

#[tokio::test]
async fn a_deactivated_account_is_not_served_until_it_is_activated_again() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = User::new(&pds, "alice").await;
    assert_eq!(told(&pds, &alice.did), BORN);
    let later = json!({ "deleteAfter": "2030-01-01T00:00:00.000Z" });
    assert_eq!(post(&pds, "server.deactivateAccount", alice.token(), later).await, (200, Value::Null));

    assert_eq!(refusal(&write(&pds, &alice).await), (401, "AccountDeactivated"));
    let repo = [("repo", alice.did.as_str())];
    assert_eq!(refusal(&get(&pds, "repo.describeRepo", As::Nobody, &repo).await), (400, "RepoDeactivated"));
    let handle = [("handle", "alice.test")];
    let resolved = get(&pds, "identity.resolveHandle", As::Nobody, &handle).await;
    assert_eq!(refusal(&resolved), (400, "HandleNotFound"));
    let (status, session) = poke(&pds, "server.refreshSession", As::Token(&alice.refresh)).await;
    assert_eq!((status, &session["active"], &session["status"]), (200, &json!(false), &json!("deactivated")));
    let (_, account) = get(&pds, "server.checkAccountStatus", alice.token(), &[]).await;
    assert_eq!((&account["activated"], &account["validDid"]), (&json!(false), &json!(true)), "{account}");

    assert_eq!(poke(&pds, "server.activateAccount", alice.token()).await, (200, Value::Null));
    assert_eq!(write(&pds, &alice).await.0, 200);
    let after = ["account deactivated", "account active", "identity alice.test", "sync", "append"];
    assert_eq!(told(&pds, &alice.did)[4..], after);
    let (_, account) = get(&pds, "server.checkAccountStatus", alice.token(), &[]).await;
    assert_eq!((&account["activated"], &account["indexedRecords"]), (&json!(true), &json!(1)));
    assert_eq!((&account["expectedBlobs"], &account["privateStateValues"]), (&json!(0), &json!(0)));
    assert!(account["repoBlocks"].as_u64() >= Some(3), "{account}");

    // An active one is told again.
    assert_eq!(poke(&pds, "server.activateAccount", alice.token()).await.0, 200);
    assert_eq!(told(&pds, &alice.did)[9..], ["account active", "identity alice.test", "sync"]);
}

#[tokio::test]
async fn an_account_whose_did_points_elsewhere_is_not_activated() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = User::new(&pds, "alice").await;
    post(&pds, "server.deactivateAccount", alice.token(), json!({})).await;
    let before = told(&pds, &alice.did);
    let secret = std::fs::read_to_string(pds.directory().join("headwater-secrets.json")).unwrap();
    let secret: Value = serde_json::from_str(&secret).unwrap();
    let key = crate::handle::rotation_key(&secret);
    for (fault, change) in [
        ("atproto_pds service endpoint does not match", "endpoint"),
        ("verification method does not match", "key"),
        ("Server rotation key not included", "rotation"),
    ] {
        crate::handle::change_document(&plc, &alice.did, &key, change).await;
        let refused = poke(&pds, "server.activateAccount", alice.token()).await;
        assert_eq!(refusal(&refused), (400, "InvalidRequest"), "{refused:?}");
        assert!(message(&refused).contains(fault), "{refused:?}");
        let (_, account) = get(&pds, "server.checkAccountStatus", alice.token(), &[]).await;
        assert_eq!((&account["activated"], &account["validDid"]), (&json!(false), &json!(false)), "{account}");
    }
    assert_eq!(told(&pds, &alice.did), before);
}

#[tokio::test]
async fn an_account_that_is_taken_down_may_only_leave() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = User::new(&pds, "alice").await;
    takedown(&pds, &alice.did, true).await;
    assert_eq!(refusal(&write(&pds, &alice).await), (401, "AccountTakedown"));
    let repo = [("repo", alice.did.as_str())];
    assert_eq!(refusal(&get(&pds, "repo.describeRepo", As::Nobody, &repo).await), (400, "RepoTakendown"));
    let refused = poke(&pds, "server.refreshSession", As::Token(&alice.refresh)).await;
    assert_eq!(refusal(&refused), (401, "AccountTakedown"));
    for (method, input) in [
        ("server.createAppPassword", json!({ "name": "x" })),
        ("identity.updateHandle", json!({ "handle": "other.test" })),
    ] {
        assert_eq!(refusal(&post(&pds, method, alice.token(), input).await), (401, "AccountTakedown"), "{method}");
    }
    let codes = get(&pds, "server.getAccountInviteCodes", alice.token(), &[]).await;
    assert_eq!(refusal(&codes), (401, "AccountTakedown"));
    let refused = poke(&pds, "server.activateAccount", alice.token()).await;
    assert_eq!((refusal(&refused), message(&refused)), ((400, "AccountNotFound"), "user not found"));

    let mut login = json!({ "identifier": "alice.test", "password": "correct horse" });
    let refused = post(&pds, "server.createSession", As::Nobody, login.clone()).await;
    assert_eq!(refusal(&refused), (401, "AccountTakedown"));
    login["allowTakendown"] = json!(true);
    let (status, session) = post(&pds, "server.createSession", As::Nobody, login).await;
    assert_eq!((status, &session["status"]), (200, &json!("takendown")), "{session}");
    let leaving = User::of(&session);
    assert_eq!(refusal(&poke(&pds, "server.activateAccount", leaving.token()).await), (400, "InvalidToken"));
    assert_eq!(post(&pds, "server.deactivateAccount", leaving.token(), json!({})).await, (200, Value::Null));

    let (_, status) = get(&pds, "admin.getSubjectStatus", As::Admin, &[("did", &alice.did)]).await;
    assert_eq!(status["takedown"], json!({ "applied": true, "ref": "case 7" }));
    assert_eq!(status["deactivated"], json!({ "applied": true }));
    takedown(&pds, &alice.did, false).await;
    assert_eq!(poke(&pds, "server.activateAccount", alice.token()).await.0, 200);
    let after = [
        "account takendown",
        "account takendown",
        "account deactivated",
        "account active",
        "identity alice.test",
        "sync",
    ];
    assert_eq!(told(&pds, &alice.did)[4..], after);
}

#[tokio::test]
async fn an_account_is_deleted_by_password_and_mailed_token_and_leaves_a_tombstone() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = User::new(&pds, "alice").await;
    let bob = User::new(&pds, "bob").await;
    assert_eq!(write(&pds, &alice).await.0, 200);
    mail_token(&pds, &alice.did, "delete_account", "ABCDE-FGHIJ");
    mail_token(&pds, &bob.did, "delete_account", "KLMNO-PQRST");
    let with = |password: &str, token: &str| json!({ "did": alice.did, "password": password, "token": token });
    for (input, status, error) in [
        (with("wrong", "ABCDE-FGHIJ"), 401, "AuthenticationRequired"),
        (with("correct horse", "WRONG-TOKEN"), 400, "InvalidToken"),
        (with("correct horse", "KLMNO-PQRST"), 400, "InvalidToken"),
        (with(&"x".repeat(513), "ABCDE-FGHIJ"), 401, "AuthenticationRequired"),
        (json!({ "did": alice.did, "password": "correct horse" }), 400, "InvalidRequest"),
        (json!({ "did": 1, "password": "correct horse", "token": "x" }), 400, "InvalidRequest"),
        (
            json!({ "did": "did:plc:7iza6de2dwap2sbkpav7c6c6", "password": "correct horse", "token": "ABCDE-FGHIJ" }),
            400,
            "InvalidRequest",
        ),
    ] {
        let refused = post(&pds, "server.deleteAccount", As::Nobody, input.clone()).await;
        assert_eq!(refusal(&refused), (status, error), "{input}");
    }
    assert_eq!(write(&pds, &alice).await.0, 200);

    let input = with("correct horse", "abcde-fghij");
    assert_eq!(post(&pds, "server.deleteAccount", As::Nobody, input.clone()).await, (200, Value::Null));
    assert_eq!(told(&pds, &alice.did), ["account deleted"]);
    assert_eq!(told(&pds, &bob.did).len(), 4);
    let again = post(&pds, "server.deleteAccount", As::Nobody, input).await;
    assert_eq!((refusal(&again), message(&again)), ((400, "InvalidRequest"), "account not found"));
    assert_eq!(refusal(&write(&pds, &alice).await), (403, "AccountNotFound"));
    assert_eq!(refusal(&get(&pds, "server.getSession", alice.token(), &[]).await), (400, "InvalidRequest"));
    let auth = [("aud", "did:web:other.test")];
    assert_eq!(get(&pds, "server.getServiceAuth", alice.token(), &auth).await.0, 400);
    let repo = [("repo", alice.did.as_str())];
    assert_eq!(refusal(&get(&pds, "repo.describeRepo", As::Nobody, &repo).await), (400, "RepoNotFound"));
    assert!(stores(&pds).iter().all(|path| !path.ends_with(&alice.did)));
    // The name is free, and the same DID may come again.
    User::new(&pds, "alice").await;
}

fn stores(pds: &Pds) -> Vec<std::path::PathBuf> {
    let shards = std::fs::read_dir(pds.directory().join("actors")).unwrap();
    shards.flat_map(|shard| std::fs::read_dir(shard.unwrap().path()).unwrap()).map(|one| one.unwrap().path()).collect()
}

#[tokio::test]
async fn the_administrator_deletes_and_of_nobody_nothing_is_told() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = User::new(&pds, "alice").await;
    let delete = |did: &str| json!({ "did": did });
    assert_eq!(post(&pds, "admin.deleteAccount", As::Admin, delete(&alice.did)).await, (200, Value::Null));
    assert_eq!(post(&pds, "admin.deleteAccount", As::Admin, delete(&alice.did)).await, (200, Value::Null));
    assert_eq!(told(&pds, &alice.did), ["account deleted"]);
    let nobody = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    assert_eq!(post(&pds, "admin.deleteAccount", As::Admin, delete(nobody)).await, (200, Value::Null));
    assert!(told(&pds, nobody).is_empty());
    let takedown = json!({ "subject": subject(nobody), "takedown": { "applied": true } });
    assert_eq!(refusal(&post(&pds, "admin.updateSubjectStatus", As::Admin, takedown).await), (400, "AccountNotFound"));
    assert!(told(&pds, nobody).is_empty());
    let (status, infos) = get(&pds, "admin.getAccountInfos", As::Admin, &[("dids", nobody)]).await;
    assert_eq!((status, infos), (200, json!({ "infos": [] })));
    for params in [[("did", nobody)], [("uri", "at://did:plc:7iza6de2dwap2sbkpav7c6c6/a.b.c/d")]] {
        assert_eq!(refusal(&get(&pds, "admin.getSubjectStatus", As::Admin, &params).await), (400, "NotFound"));
    }
    assert_eq!(refusal(&get(&pds, "admin.getSubjectStatus", As::Admin, &[]).await), (400, "InvalidRequest"));
    let info = get(&pds, "admin.getAccountInfo", As::Admin, &[("did", nobody)]).await;
    assert_eq!((refusal(&info), message(&info)), ((400, "NotFound"), "Account not found"));
}

#[tokio::test]
async fn the_administrator_changes_what_an_account_is_known_by() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = User::new(&pds, "alice").await;
    User::new(&pds, "bob").await;
    let email = |of: &str, email: &str| json!({ "account": of, "email": email });
    let update = "admin.updateAccountEmail";
    assert_eq!(post(&pds, update, As::Admin, email("alice.test", "New@example.com")).await.0, 200);
    let taken = post(&pds, update, As::Admin, email(&alice.did, "bob@example.com")).await;
    assert_eq!(refusal(&taken), (400, "InvalidRequest"));
    let unknown = post(&pds, update, As::Admin, email("carol.test", "c@example.com")).await;
    assert_eq!((refusal(&unknown), message(&unknown)), ((400, "InvalidRequest"), "Account does not exist: carol.test"));

    let password = |did: &str, password: &str| json!({ "did": did, "password": password });
    let update = "admin.updateAccountPassword";
    let long = post(&pds, update, As::Admin, password(&alice.did, &"x".repeat(257))).await;
    assert_eq!((refusal(&long), message(&long)), ((400, "InvalidRequest"), "Invalid password length."));
    let unknown = post(&pds, update, As::Admin, password("did:plc:7iza6de2dwap2sbkpav7c6c6", "x")).await;
    assert_eq!(refusal(&unknown), (400, "AccountNotFound"));
    assert_eq!(post(&pds, update, As::Admin, password(&alice.did, "new one")).await, (200, Value::Null));
    let refused = poke(&pds, "server.refreshSession", As::Token(&alice.refresh)).await;
    assert_eq!(refusal(&refused), (400, "ExpiredToken"));
    let login = json!({ "identifier": "new@example.com", "password": "new one" });
    assert_eq!(post(&pds, "server.createSession", As::Nobody, login).await.0, 200);

    let (_, info) = get(&pds, "admin.getAccountInfo", As::Admin, &[("did", &alice.did)]).await;
    assert_eq!((&info["email"], &info["handle"]), (&json!("new@example.com"), &json!("alice.test")), "{info}");
    assert_eq!(info["invitesDisabled"], false);
    let account = json!({ "account": alice.did });
    assert_eq!(post(&pds, "admin.disableAccountInvites", As::Admin, account.clone()).await.0, 200);
    let (_, info) = get(&pds, "admin.getAccountInfo", As::Admin, &[("did", &alice.did)]).await;
    assert_eq!(info["invitesDisabled"], true);
    assert_eq!(post(&pds, "admin.enableAccountInvites", As::Admin, account).await.0, 200);
}

#[tokio::test]
async fn a_record_that_is_taken_down_is_hidden_and_comes_back() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = User::new(&pds, "alice").await;
    let (_, made) = write(&pds, &alice).await;
    let uri = made["uri"].as_str().unwrap();
    let rkey = uri.rsplit('/').next().unwrap();
    let place = [("repo", alice.did.as_str()), ("collection", "app.bsky.feed.post"), ("rkey", rkey)];
    let subject = json!({ "$type": "com.atproto.repo.strongRef", "uri": uri, "cid": made["cid"] });
    for (applied, status) in [(true, 400), (false, 200)] {
        let input = json!({ "subject": subject, "takedown": { "applied": applied } });
        assert_eq!(post(&pds, "admin.updateSubjectStatus", As::Admin, input).await.0, 200);
        assert_eq!(get(&pds, "repo.getRecord", As::Nobody, &place).await.0, status);
        let (_, known) = get(&pds, "admin.getSubjectStatus", As::Admin, &[("uri", uri)]).await;
        assert_eq!((&known["takedown"]["applied"], &known["subject"]), (&json!(applied), &subject), "{known}");
    }
    assert_eq!(told(&pds, &alice.did).len(), 5);
    let both = json!({
        "subject": { "$type": "com.atproto.admin.defs#repoRef", "did": alice.did },
        "takedown": { "applied": true }, "deactivated": { "applied": false },
    });
    assert_eq!(refusal(&post(&pds, "admin.updateSubjectStatus", As::Admin, both).await), (400, "InvalidRequest"));
    assert_eq!(told(&pds, &alice.did).len(), 5);
}

#[tokio::test]
async fn only_the_account_itself_by_its_own_password_moves_its_life_on() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = User::new(&pds, "alice").await;
    let before = told(&pds, &alice.did);
    let scoped: Vec<String> = [Scope::AppPass, Scope::AppPassPrivileged, Scope::SignupQueued]
        .map(|scope| format!("Bearer {}", alice.minted(scope, "did:web:localhost", 0)))
        .into();
    let scoped = scoped.into_iter().map(|header| (header, 400, "InvalidToken"));
    for (header, status, error) in alice.bad_bearers().into_iter().chain(scoped) {
        let by = As::Header(&header);
        assert_eq!(refusal(&poke(&pds, "server.activateAccount", by).await), (status, error), "{header}");
        let refused = post(&pds, "server.deactivateAccount", by, json!({})).await;
        assert_eq!(refusal(&refused), (status, error), "{header}");
    }
    assert_eq!(refusal(&poke(&pds, "server.activateAccount", As::Nobody).await), (401, "AuthMissing"));
    let refused = post(&pds, "server.deactivateAccount", alice.token(), json!({ "deleteAfter": "soon" })).await;
    assert_eq!(refusal(&refused), (400, "InvalidRequest"));
    let refused = post(&pds, "server.activateAccount", alice.token(), json!({})).await;
    assert_eq!(refusal(&refused), (400, "InvalidRequest"));
    assert_eq!(told(&pds, &alice.did), before);
    let (_, queue) = get(&pds, "temp.checkSignupQueue", alice.token(), &[]).await;
    assert_eq!(queue, json!({ "activated": true }));
}

#[tokio::test]
async fn reserved_keys_are_the_same_for_the_same_did() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let reserve = |input: Value| post(&pds, "server.reserveSigningKey", As::Nobody, input);
    let did = json!({ "did": "did:plc:7iza6de2dwap2sbkpav7c6c6" });
    let (status, first) = reserve(did.clone()).await;
    assert_eq!(status, 200, "{first}");
    assert!(first["signingKey"].as_str().unwrap().starts_with("did:key:zQ3sh"), "{first}");
    assert_eq!(reserve(did).await.1, first);
    assert_ne!(reserve(json!({})).await.1, first);
    for input in [json!({ "did": "no did" }), json!({ "did": format!("did:web:{}", "a".repeat(300)) })] {
        assert_eq!(refusal(&reserve(input.clone()).await), (400, "InvalidRequest"), "{input}");
    }
}
