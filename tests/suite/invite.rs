//! Invite codes: made by the administrator, earned, used, listed and disabled.

use serde_json::{Value, json};
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, User, get, message, post, refusal};

const ONE: &str = "server.createInviteCode";
const MANY: &str = "server.createInviteCodes";
const OWN: &str = "server.getAccountInviteCodes";

async fn start(plc: &Plc) -> Pds {
    Pds::start_open_with(plc, &[ADMIN, ("PDS_INVITE_REQUIRED", "true"), ("PDS_INVITE_INTERVAL", "1")]).await
}

fn sign_up(name: &str, code: &Value) -> Value {
    json!({
        "handle": format!("{name}.test"), "email": format!("{name}@example.com"), "password": "x", "inviteCode": code,
    })
}

#[tokio::test]
async fn a_code_is_good_for_as_many_accounts_as_it_says() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let without = json!({ "handle": "alice.test", "email": "alice@example.com", "password": "x" });
    let refused = post(&pds, "server.createAccount", As::Nobody, without).await;
    assert_eq!((refusal(&refused), message(&refused)), ((400, "InvalidInviteCode"), "No invite code provided"));
    let (status, made) = post(&pds, ONE, As::Admin, json!({ "useCount": 1 })).await;
    assert_eq!(status, 200, "{made}");
    let code = &made["code"];
    assert!(code.as_str().unwrap().starts_with("localhost-"), "{code}");
    let (status, session) = post(&pds, "server.createAccount", As::Nobody, sign_up("alice", code)).await;
    assert_eq!(status, 200, "{session}");
    let alice = User::of(&session);
    let refused = post(&pds, "server.createAccount", As::Nobody, sign_up("bob", code)).await;
    assert_eq!(refusal(&refused), (400, "InvalidInviteCode"));
    assert_eq!(message(&refused), "Provided invite code not available");

    // What she has earned she can give away, once.
    let (status, own) = get(&pds, OWN, alice.token(), &[("createAvailable", "true")]).await;
    let codes = own["codes"].as_array().unwrap();
    assert_eq!((status, codes.len(), &codes[0]["createdBy"]), (200, 5, &json!(alice.did)), "{own}");
    let (status, _) = post(&pds, "server.createAccount", As::Nobody, sign_up("bob", &codes[0]["code"])).await;
    assert_eq!(status, 200);
    let unused = [("includeUsed", "false"), ("createAvailable", "false")];
    let (_, left) = get(&pds, OWN, alice.token(), &unused).await;
    assert_eq!(left["codes"].as_array().unwrap().len(), 4);

    let (_, info) = get(&pds, "admin.getAccountInfo", As::Admin, &[("did", &alice.did)]).await;
    assert_eq!((&info["invitedBy"]["code"], info["invites"].as_array().unwrap().len()), (code, 5), "{info}");
    assert_eq!(info["invitedBy"]["uses"][0]["usedBy"], alice.did.as_str());

    // The administrator takes hers back.
    let disable = json!({ "accounts": [alice.did] });
    assert_eq!(post(&pds, "admin.disableInviteCodes", As::Admin, disable).await, (200, Value::Null));
    let (_, left) = get(&pds, OWN, alice.token(), &[("createAvailable", "false")]).await;
    assert_eq!(left["codes"], json!([]));
    let refused = post(&pds, "server.createAccount", As::Nobody, sign_up("carol", &codes[1]["code"])).await;
    assert_eq!(refusal(&refused), (400, "InvalidInviteCode"));
    let refused = post(&pds, "admin.disableInviteCodes", As::Admin, json!({ "accounts": ["admin"] })).await;
    assert_eq!(message(&refused), "cannot disable admin invite codes");
}

#[tokio::test]
async fn the_administrator_makes_many_and_pages_through_all() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let alice = "did:plc:7iza6de2dwap2sbkpav7c6c6";
    let input = json!({ "codeCount": 3, "useCount": 2, "forAccounts": [alice, "did:web:bob.test"] });
    let (status, made) = post(&pds, MANY, As::Admin, input).await;
    assert_eq!((status, &made["codes"][0]["account"]), (200, &json!(alice)), "{made}");
    assert_eq!(made["codes"][1]["codes"].as_array().unwrap().len(), 3);
    let (_, default) = post(&pds, MANY, As::Admin, json!({ "codeCount": 1, "useCount": 1 })).await;
    assert_eq!(default["codes"][0]["account"], "admin");
    for sort in ["recent", "usage"] {
        let (mut cursor, mut seen) = (String::new(), Vec::new());
        loop {
            let params = [("sort", sort), ("limit", "2"), ("cursor", &cursor)];
            let (status, page) = get(&pds, "admin.getInviteCodes", As::Admin, &params).await;
            assert_eq!(status, 200, "{page}");
            seen.extend(page["codes"].as_array().unwrap().iter().map(|code| code["code"].to_string()));
            match page["cursor"].as_str() {
                Some(next) => cursor = next.to_owned(),
                None => break,
            }
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 7, "{sort}");
    }
    for (sort, limit, cursor) in [("other", "2", ""), ("recent", "0", ""), ("recent", "501", ""), ("recent", "2", "x")]
    {
        let params = [("sort", sort), ("limit", limit), ("cursor", cursor)];
        let refused = get(&pds, "admin.getInviteCodes", As::Admin, &params).await;
        assert_eq!(refusal(&refused), (400, "InvalidRequest"), "{params:?}");
    }
    let too_many = json!({ "codeCount": 1_000_000, "useCount": 1 });
    assert_eq!(refusal(&post(&pds, MANY, As::Admin, too_many).await), (400, "InvalidRequest"));
}

#[tokio::test]
async fn only_the_administrator_makes_codes() {
    let plc = Plc::start().await;
    let pds = start(&plc).await;
    let (_, made) = post(&pds, ONE, As::Admin, json!({ "useCount": 1 })).await;
    let (_, session) = post(&pds, "server.createAccount", As::Nobody, sign_up("alice", &made["code"])).await;
    let alice = User::of(&session);
    for by in
        [As::Nobody, alice.token(), As::Header("Basic eDp4"), As::Header("Basic YWRtaW46bWFzdGVy"), As::Header("x")]
    {
        for (method, input) in [
            (ONE, json!({ "useCount": 1 })),
            (MANY, json!({ "codeCount": 1, "useCount": 1 })),
            ("admin.deleteAccount", json!({ "did": alice.did })),
            ("admin.updateAccountPassword", json!({ "did": alice.did, "password": "y" })),
            ("admin.updateAccountEmail", json!({ "account": alice.did, "email": "y@example.com" })),
            ("admin.updateAccountHandle", json!({ "did": alice.did, "handle": "other.test" })),
        ] {
            let refused = post(&pds, method, by, input).await;
            assert_eq!(refusal(&refused), (401, "AuthenticationRequired"), "{method} {by:?}");
        }
    }
    for by in [As::Nobody, As::Header("Basic eDp4")] {
        let refused = get(&pds, "admin.getInviteCodes", by, &[]).await;
        assert_eq!(refusal(&refused), (401, "AuthenticationRequired"), "{by:?}");
        let takedown = json!({ "subject": { "$type": "com.atproto.admin.defs#repoRef", "did": alice.did }, "takedown": { "applied": true } });
        let refused = post(&pds, "admin.updateSubjectStatus", by, takedown).await;
        assert_eq!(refusal(&refused), (401, "AuthenticationRequired"), "{by:?}");
    }
    let refused = get(&pds, "admin.getInviteCodes", alice.token(), &[]).await;
    assert_eq!(refusal(&refused), (401, "UntrustedIss"));
    for input in [json!({}), json!({ "useCount": "1" }), json!({ "useCount": 1, "forAccount": "no did" })] {
        assert_eq!(refusal(&post(&pds, ONE, As::Admin, input.clone()).await), (400, "InvalidRequest"), "{input}");
    }
    let (_, all) = get(&pds, "admin.getInviteCodes", As::Admin, &[]).await;
    assert_eq!(all["codes"].as_array().unwrap().len(), 1);
    let (_, session) = get(&pds, "server.getSession", alice.token(), &[]).await;
    assert_eq!((&session["handle"], &session["email"]), (&json!("alice.test"), &json!("alice@example.com")));
}
