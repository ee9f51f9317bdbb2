//! What the first customer's services do with the server, in their order and by plain HTTP.

use std::time::{Duration, Instant};

use reqwest::Client;
use serde_json::{Value, json};
use tests::{Pds, Plc};

use crate::client::{ADMIN, As, User, get, message, post, refusal};

const DOMAIN: (&str, &str) = ("PDS_SERVICE_HANDLE_DOMAINS", ".trainers.gg");
const INVITED: (&str, &str) = ("PDS_SIGNUP", "invite");
/// How long their services wait for one call.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a name is free, as they find out: by the status alone.
async fn is_free(pds: &Pds, handle: &str) -> bool {
    get(pds, "identity.resolveHandle", As::Nobody, &[("handle", handle)]).await.0 == 400
}

/// What a handle's own host says of it.
async fn by_host(pds: &Pds, host: &str) -> (u16, String) {
    let answer = Client::new().get(pds.url("/.well-known/atproto-did")).header("host", host).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

/// Has an account made, under the name that their service has for this piece of work.
async fn provision(pds: &Pds, input: &Value) -> Value {
    let url = pds.url("/xrpc/com.atproto.server.createAccount");
    let request = Client::new().post(url).header("idempotency-key", "provision-pds:user-25").json(input);
    let answer = request.send().await.unwrap();
    let (status, made) = (answer.status().as_u16(), answer.json().await.unwrap());
    assert_eq!(status, 200, "{made}");
    made
}

#[tokio::test]
async fn a_trainer_gets_an_account_a_name_another_name_and_a_profile_with_a_picture() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ADMIN, INVITED, DOMAIN]).await;

    // Somebody wants a name. It is free; so would any be that nobody can have.
    assert!(is_free(&pds, "ash.trainers.gg").await);
    assert!(is_free(&pds, "not_a_name.trainers.gg").await);

    // Their service fetches an invite, and makes the account with an address that nobody reads.
    let (status, invite) = post(&pds, "server.createInviteCode", As::Admin, json!({ "useCount": 1 })).await;
    assert_eq!(status, 200, "{invite}");
    let password = "aZ3!@#$%^&*()_+-=kQ9xW7vT5rP1nM8";
    let email = "did_plc_ash@bluesky.trainers.gg";
    let account = |handle: &str, email: &str| json!({ "email": email, "handle": handle, "password": password, "inviteCode": invite["code"] });
    let asked = Instant::now();
    let made = provision(&pds, &account("ash.trainers.gg", email)).await;
    assert!(asked.elapsed() < PATIENCE);
    let did = made["did"].as_str().unwrap();

    // What they keep of it is lost on their side, so they ask again: nothing is taken, it is theirs.
    let again = provision(&pds, &account("ash.trainers.gg", email)).await;
    assert_eq!((&again["did"], &again["handle"]), (&made["did"], &made["handle"]));
    let writes = get(&pds, "server.getSession", User::of(&again).token(), &[]).await;
    assert_eq!((writes.0, &writes.1["handle"]), (200, &json!("ash.trainers.gg")));

    // Now it is taken, and so is the invite: the reason is fit to be shown.
    assert!(!is_free(&pds, "ash.trainers.gg").await);
    let again = account("misty.trainers.gg", "misty@bluesky.trainers.gg");
    let refused = post(&pds, "server.createAccount", As::Nobody, again).await;
    assert_eq!((refusal(&refused).0, message(&refused)), (400, "Provided invite code not available"));

    // Later they log in by the DID. No document leads their client to another address.
    let login = json!({ "identifier": did, "password": password });
    let (status, session) = post(&pds, "server.createSession", As::Nobody, login).await;
    assert_eq!((status, &session["handle"], &session["didDoc"]), (200, &json!("ash.trainers.gg"), &Value::Null));
    let ash = User::of(&session);

    // A new name: at once it is taken, and the old one is free.
    let (status, body) =
        post(&pds, "identity.updateHandle", ash.token(), json!({ "handle": "champion.trainers.gg" })).await;
    assert_eq!(status, 200, "{body}");
    assert!(!is_free(&pds, "champion.trainers.gg").await);
    assert!(is_free(&pds, "ash.trainers.gg").await);
    assert_eq!(by_host(&pds, "champion.trainers.gg").await, (200, did.to_owned()));
    assert_eq!(by_host(&pds, "ash.trainers.gg").await.0, 404);

    // A picture, and the profile that shows it.
    let picture = b"\x89PNG\r\n\x1a\n the logo of a gym".to_vec();
    let upload = Client::new().post(pds.url("/xrpc/com.atproto.repo.uploadBlob")).bearer_auth(&ash.access);
    let upload = upload.header("content-type", "image/png").body(picture.clone()).send().await.unwrap();
    assert_eq!(upload.status().as_u16(), 200);
    let blob = upload.json::<Value>().await.unwrap()["blob"].clone();
    let profile = json!({
        "$type": "app.bsky.actor.profile", "displayName": "Ash", "description": "Wants to be the best", "avatar": blob,
    });
    let place = [("repo", did), ("collection", "app.bsky.actor.profile"), ("rkey", "self")];
    let input = json!({ "repo": did, "collection": place[1].1, "rkey": "self", "record": profile });
    let (status, put) = post(&pds, "repo.putRecord", ash.token(), input).await;
    assert_eq!(status, 200, "{put}");

    // Everybody sees both.
    let (status, record) = get(&pds, "repo.getRecord", As::Nobody, &place).await;
    assert_eq!((status, &record["value"]), (200, &profile));
    let cid = blob["ref"]["$link"].as_str().unwrap();
    let url = pds.url(&format!("/xrpc/com.atproto.sync.getBlob?did={did}&cid={cid}"));
    assert_eq!(reqwest::get(url).await.unwrap().bytes().await.unwrap(), picture);
}

#[tokio::test]
async fn nobody_makes_an_account_where_sign_up_is_closed() {
    let plc = Plc::start().await;
    let pds = Pds::start_open_with(&plc, &[ADMIN, ("PDS_SIGNUP", "closed")]).await;
    let (_, invite) = post(&pds, "server.createInviteCode", As::Admin, json!({ "useCount": 1 })).await;
    let input = json!({
        "handle": "alice.test", "email": "alice@example.com", "password": "x", "inviteCode": invite["code"],
    });
    let refused = post(&pds, "server.createAccount", As::Nobody, input).await;
    assert_eq!(refusal(&refused), (400, "InvalidRequest"));
    assert_eq!(message(&refused), "This server does not take new accounts");
    assert!(is_free(&pds, "alice.test").await);
    let (_, description) = get(&pds, "server.describeServer", As::Nobody, &[]).await;
    assert_eq!(description["inviteCodeRequired"], true);
}
