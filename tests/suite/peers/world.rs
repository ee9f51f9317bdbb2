//! A few accounts of a server with something of every kind, and what has to hold for them whoever serves.

use serde_json::{Value, json};

use super::caller::{Account, As, Caller};

/// A PNG of one pixel; bytes after its end do not make it another kind.
pub(crate) const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89\
    \0\0\0\nIDATx\x9cc\0\x01\0\0\x05\0\x01\r\n-\xb4\0\0\0\0IEND\xaeB`\x82";

/// The accounts of a server and what they know of it.
pub(crate) struct World {
    pub(crate) alice: Account,
    pub(crate) bob: Account,
    pub(crate) gone: Account,
    pub(crate) invite: String,
    pub(crate) app_password: String,
    /// Uploaded by Alice, and in no record yet.
    pub(crate) loose: Value,
}

impl World {
    pub(crate) async fn make(caller: &Caller<'_>) -> Self {
        let input = json!({ "useCount": 20 });
        let invite = caller.post("com.atproto.server.createInviteCode", As::Admin, input).await;
        let invite = invite["code"].as_str().unwrap().to_owned();
        let alice = caller.sign_up("alice", &invite).await;
        let bob = caller.sign_up("bob", &invite).await;
        let gone = caller.sign_up("gone", &invite).await;

        let avatar = caller.upload(&alice, "image/png", PIXEL.to_vec()).await;
        let profile = json!({ "displayName": "Alice", "description": "In wonderland", "avatar": avatar });
        let input =
            json!({ "repo": alice.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": profile });
        caller.post("com.atproto.repo.putRecord", alice.access(), input).await;
        for account in [&alice, &bob, &gone] {
            write(caller, account, &alice, "the first").await;
        }
        let picture = caller.upload(&bob, "image/png", [PIXEL, b"picture"].concat()).await;
        let embed = json!({ "$type": "app.bsky.embed.images", "images": [{ "alt": "a pixel", "image": picture }] });
        let text = json!({ "text": "with a picture", "createdAt": "2026-01-01T00:00:00Z", "embed": embed });
        caller.create(&bob, "app.bsky.feed.post", text).await;
        let loose = caller.upload(&alice, "image/png", [PIXEL, b"loose"].concat()).await;

        let app_password = json!({ "name": "phone" });
        let made = caller.post("com.atproto.server.createAppPassword", alice.access(), app_password).await;
        let app_password = made["password"].as_str().unwrap().to_owned();
        caller.post("com.atproto.server.deactivateAccount", gone.access(), json!({})).await;
        Self { alice, bob, gone, invite, app_password, loose }
    }

    pub(crate) fn accounts(&self) -> [&Account; 3] {
        [&self.alice, &self.bob, &self.gone]
    }

    /// Old tokens, passwords and invites are good here too; nothing of it changes a repository.
    pub(crate) async fn is_known(&mut self, caller: &Caller<'_>) {
        for account in [&mut self.alice, &mut self.bob] {
            let session = caller.get_json("com.atproto.server.getSession", account.access()).await;
            assert_eq!(session["did"], *account.did);
            assert_eq!(session["email"], format!("{}@example.com", account.name));
            let refreshed =
                caller.post("com.atproto.server.refreshSession", As::Bearer(&account.refresh), Value::Null).await;
            *account = Account::new(&account.name, &refreshed);
            for identifier in
                [&account.did, &format!("{}.test", account.name), &format!("{}@example.com", account.name)]
            {
                let session = caller.log_in(identifier, &format!("password of {}", account.name)).await;
                assert_eq!(session["did"], *account.did);
            }
        }
        let session = caller.log_in("alice.test", &self.app_password).await;
        let limited = As::Bearer(session["accessJwt"].as_str().unwrap());
        let (status, _) = caller.get("com.atproto.server.getAccountInviteCodes", limited).await;
        assert_eq!(status, 400, "an app password's session may not do everything");
        let listed = caller.get_json("com.atproto.server.listAppPasswords", self.alice.access()).await;
        assert_eq!(listed["passwords"].as_array().unwrap().len(), 1);
        assert_eq!(listed["passwords"][0]["name"], "phone");
        let gone = caller.log_in("gone.test", "password of gone").await;
        assert_eq!((gone["active"].as_bool(), gone["status"].as_str()), (Some(false), Some("deactivated")));
    }

    /// Writes of every kind, and a new account by the old invite.
    pub(crate) async fn goes_on(&self, caller: &Caller<'_>, turn: &str) {
        for account in [&self.alice, &self.bob] {
            write(caller, account, &self.bob, turn).await;
        }
        let name = turn.replace(' ', "-");
        let new = caller.sign_up(&name, &self.invite).await;
        write(caller, &new, &self.alice, turn).await;
        let picture = caller.upload(&new, "image/png", [PIXEL, turn.as_bytes()].concat()).await;
        let profile = json!({ "displayName": turn, "avatar": picture });
        let input =
            json!({ "repo": new.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": profile });
        caller.post("com.atproto.repo.putRecord", new.access(), input).await;
    }
}

/// Creates, updates and deletes records of `account`, by each method.
pub(crate) async fn write(caller: &Caller<'_>, account: &Account, friend: &Account, text: &str) {
    let now = "2026-01-02T03:04:05.678Z";
    let post = |text: &str| json!({ "text": text, "createdAt": now, "langs": ["en"] });
    let first = caller.create(account, "app.bsky.feed.post", post(text)).await;
    caller.create(account, "app.bsky.feed.post", post(&format!("{text} again"))).await;
    let subject = json!({ "uri": first["uri"], "cid": first["cid"] });
    caller.create(account, "app.bsky.feed.like", json!({ "subject": subject, "createdAt": now })).await;
    let follow = json!({ "subject": friend.did, "createdAt": now });
    caller.create(account, "app.bsky.graph.follow", follow).await;
    let rkey = |record: &Value| record["uri"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
    let mut input = json!({ "repo": account.did, "collection": "app.bsky.feed.post", "rkey": rkey(&first) });
    input["record"] = post(&format!("{text}, better"));
    caller.post("com.atproto.repo.putRecord", account.access(), input.clone()).await;
    let writes: Vec<Value> = (0..5)
        .map(|number| {
            let kind = "com.atproto.repo.applyWrites#create";
            json!({ "$type": kind, "collection": "app.bsky.feed.post", "value": post(&format!("{text} {number}")) })
        })
        .collect();
    let batch = json!({ "repo": account.did, "writes": writes });
    let made = caller.post("com.atproto.repo.applyWrites", account.access(), batch).await;
    let last = rkey(&made["results"][4]);
    let delete = json!({ "repo": account.did, "collection": "app.bsky.feed.post", "rkey": last });
    caller.post("com.atproto.repo.deleteRecord", account.access(), delete).await;
}
