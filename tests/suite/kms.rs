//! A server whose rotation key is in AWS KMS: everything that signs did:plc operations, and a KMS that is not well.

use reqwest::Client;
use serde_json::{Value, json};
use tests::kms::{Kms, Mood};
use tests::plc::Mishap;
use tests::{Pds, Plc};

use crate::client::{User, get, mail_token, message, poke, post, refusal};

async fn start(plc: &Plc, kms: &Kms) -> Pds {
    let variables = kms.environment();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    Pds::start_open_with(plc, &variables).await
}

fn wanted(name: &str) -> Value {
    json!({ "handle": format!("{name}.test"), "email": format!("{name}@example.com"), "password": "correct horse" })
}

/// What the directory has of a DID, whose log it verified when it took it.
async fn data(plc: &Plc, did: &str) -> Value {
    reqwest::get(plc.url(&format!("/{did}/data"))).await.unwrap().json().await.unwrap()
}

async fn operations(plc: &Plc) -> usize {
    reqwest::get(plc.url("/export?count=1000")).await.unwrap().text().await.unwrap().lines().count()
}

#[tokio::test]
async fn a_key_in_kms_signs_all_that_a_key_of_the_server_does() {
    let (plc, kms) = (Plc::start().await, Kms::start().await);
    let pds = start(&plc, &kms).await;
    // More than one of each, since every second signature comes in its high-S form.
    for name in ["alice", "bob", "carol"] {
        let user = User::new(&pds, name).await;
        assert_eq!(data(&plc, &user.did).await["rotationKeys"], json!([kms.did_key()]));
        let renamed = json!({ "handle": format!("new-{name}.test") });
        assert_eq!(post(&pds, "identity.updateHandle", user.token(), renamed).await, (200, Value::Null));
        assert_eq!(data(&plc, &user.did).await["alsoKnownAs"], json!([format!("at://new-{name}.test")]));

        let (status, recommended) = get(&pds, "identity.getRecommendedDidCredentials", user.token(), &[]).await;
        assert_eq!((status, &recommended["rotationKeys"]), (200, &json!([kms.did_key()])));
        mail_token(&pds, &user.did, "plc_operation", "AAAAA-BBBBB");
        let names = json!([format!("at://new-{name}.test"), "https://example.com"]);
        let input = json!({ "token": "AAAAA-BBBBB", "alsoKnownAs": names });
        let (status, signed) = post(&pds, "identity.signPlcOperation", user.token(), input).await;
        assert_eq!(status, 200, "{signed}");
        let taken = post(&pds, "identity.submitPlcOperation", user.token(), signed).await;
        assert_eq!(taken, (200, Value::Null));
        assert_eq!(data(&plc, &user.did).await["alsoKnownAs"], names);

        assert_eq!(post(&pds, "server.deactivateAccount", user.token(), json!({})).await.0, 200);
        assert_eq!(poke(&pds, "server.activateAccount", user.token()).await.0, 200);
    }
    // It is asked for the public half once.
    let asked = kms.asked();
    assert_eq!(asked.iter().filter(|call| *call == "TrentService.GetPublicKey").count(), 1);
    assert_eq!(asked.iter().filter(|call| *call == "TrentService.Sign").count(), 9);
}

#[tokio::test]
async fn nothing_is_left_of_what_kms_did_not_sign() {
    let (plc, kms) = (Plc::start().await, Kms::start().await);
    let pds = start(&plc, &kms).await;
    for mood in [Mood::Denying, Mood::OfAnotherKind, Mood::Lying] {
        kms.set(mood);
        let refused = post(&pds, "server.createAccount", crate::client::As::Nobody, wanted("alice")).await;
        assert_eq!(refusal(&refused), (502, "UpstreamFailure"), "{mood:?}");
        assert_eq!(message(&refused), "The key of PLC operations cannot be used");
    }
    assert_eq!(operations(&plc).await, 0);
    // The names are free, and nothing waits to be undone.
    kms.set(Mood::Well);
    let alice = User::new(&pds, "alice").await;
    kms.set(Mood::Denying);
    let renamed = json!({ "handle": "alicia.test" });
    let refused = post(&pds, "identity.updateHandle", alice.token(), renamed.clone()).await;
    assert_eq!(refusal(&refused), (502, "UpstreamFailure"));
    mail_token(&pds, &alice.did, "plc_operation", "AAAAA-BBBBB");
    let sign = json!({ "token": "AAAAA-BBBBB" });
    let refused = post(&pds, "identity.signPlcOperation", alice.token(), sign.clone()).await;
    assert_eq!(refusal(&refused), (502, "UpstreamFailure"));
    // What does not change an identity goes on.
    let record = json!({ "repo": alice.did, "collection": "com.example.thing", "record": { "text": "x" } });
    assert_eq!(post(&pds, "repo.createRecord", alice.token(), record).await.0, 200);
    kms.set(Mood::Well);
    // The code was not used up.
    assert_eq!(post(&pds, "identity.signPlcOperation", alice.token(), sign).await.0, 200);
    assert_eq!(post(&pds, "identity.updateHandle", alice.token(), renamed).await.0, 200);
}

#[tokio::test]
async fn an_account_that_is_asked_for_again_is_the_same_though_no_signature_is() {
    let (plc, kms) = (Plc::start().await, Kms::start().await);
    let pds = start(&plc, &kms).await;
    let ask = async |name: &str| {
        let request = Client::new().post(pds.url("/xrpc/com.atproto.server.createAccount"));
        let answer = request.header("idempotency-key", name).json(&wanted(name)).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    // Taken, and nobody knows.
    plc.suffer(Some(Mishap::Dark));
    assert!(ask("alice").await.0 >= 500);
    plc.suffer(None);
    assert_eq!(operations(&plc).await, 1);
    let (status, made) = ask("alice").await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(operations(&plc).await, 1);
    assert_eq!(ask("alice").await.1["did"], made["did"]);
    // Not taken: nothing of it is to be seen, and what is made now is the only one.
    plc.suffer(Some(Mishap::Lost));
    assert!(ask("bob").await.0 >= 500);
    plc.suffer(None);
    let (status, made) = ask("bob").await;
    assert_eq!(status, 200, "{made}");
    assert_eq!(operations(&plc).await, 2);
}
