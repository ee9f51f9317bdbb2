//! An account that moves between this server and the reference server, both ways, by the official client and by goat:
//! everything comes along, and whoever follows the new server's firehose can verify what it tells of the account.

use serde_json::{Value, json};
use tests::peers::{Packages, Place, Program, Version, goat, packages};
use tests::service::Service;
use tests::{Plc, Smtp};
use tokio::process::Command;

use super::caller::{Account, As, Caller};
use super::drop_in::events;
use super::watch::Watch;
use super::world::{self, PIXEL};

/// Whose view of the network preferences are for.
const VIEW: &str = "did:web:view.test";
const NEW_PASSWORD: &str = "password at the new server";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Headwater,
    Reference(Version),
}

impl Server {
    async fn start(self, place: &Place, packages: &Packages) -> Program {
        match self {
            Self::Headwater => place.start_headwater().await,
            Self::Reference(version) => place.start_reference(packages, version).await,
        }
    }
}

/// Two servers of one network, and an account of the first that wants to move.
struct Scene {
    packages: Packages,
    plc: Plc,
    old: Place,
    new: Place,
    carla: Account,
    invite: String,
    preferences: Value,
    _running: [Program; 2],
}

impl Scene {
    /// With the mail server of both. `None` where a tool is missing.
    async fn new(from: Server, to: Server) -> Option<(Self, Smtp)> {
        let packages = packages()?;
        let smtp = Smtp::start(json!({})).await?;
        let plc = Plc::start().await;
        let view = Service::start(&plc, |_| axum::response::IntoResponse::into_response(axum::Json(json!({})))).await;
        let place = |did: &str| {
            let view = [("PDS_BSKY_APP_VIEW_URL", view.url().to_owned()), ("PDS_BSKY_APP_VIEW_DID", VIEW.to_owned())];
            Place::new(&plc).with("PDS_SERVICE_DID", did).with_all(view).with_all(smtp.environment())
        };
        let (old, new) = (place("did:web:old.test"), place("did:web:new.test"));
        let running = [from.start(&old, &packages).await, to.start(&new, &packages).await];
        let [invite, other] = [&old, &new].map(|place| async {
            let input = json!({ "useCount": 2 });
            let made = Caller::new(place).post("com.atproto.server.createInviteCode", As::Admin, input).await;
            made["code"].as_str().unwrap().to_owned()
        });
        let (invite, other) = (invite.await, other.await);

        let caller = Caller::new(&old);
        let carla = caller.sign_up("carla", &invite).await;
        let friend = caller.sign_up("bob", &invite).await;
        world::write(&caller, &carla, &friend, "before").await;
        for number in 0..3 {
            let picture = caller.upload(&carla, "image/png", [PIXEL, &[number]].concat()).await;
            let embed = json!({ "$type": "app.bsky.embed.images", "images": [{ "alt": "", "image": picture }] });
            let post = json!({ "text": "a picture", "createdAt": "2026-01-01T00:00:00Z", "embed": embed });
            caller.create(&carla, "app.bsky.feed.post", post).await;
        }
        let preferences = json!({ "preferences": [
            { "$type": "app.bsky.actor.defs#adultContentPref", "enabled": true },
            { "$type": "app.bsky.actor.defs#interestsPref", "tags": ["birds", "trains"] },
        ] });
        caller.post("app.bsky.actor.putPreferences", carla.access(), preferences.clone()).await;
        let scene = Self { packages, plc, old, new, carla, invite: other, preferences, _running: running };
        Some((scene, smtp))
    }

    fn watch(&self, place: &Place) -> Watch {
        Watch::start(&self.packages, &place.url(""), &self.plc, 0)
    }

    /// Everything that does not name the server or the state of the repository's tree.
    async fn content(&self, place: &Place) -> Vec<(String, Value)> {
        let (caller, did) = (Caller::new(place), &self.carla.did);
        let mut content = Vec::new();
        for collection in ["app.bsky.feed.post", "app.bsky.feed.like", "app.bsky.graph.follow"] {
            let path = format!("com.atproto.repo.listRecords?repo={did}&collection={collection}&limit=100");
            let listed = caller.get_json(&path, As::Nobody).await;
            assert!(!listed["records"].as_array().unwrap().is_empty(), "{path}");
            content.push((collection.to_owned(), listed["records"].clone()));
        }
        let mut cids =
            caller.get_json(&format!("com.atproto.sync.listBlobs?did={did}"), As::Nobody).await["cids"].take();
        let cids = cids.as_array_mut().unwrap();
        cids.sort_by_key(ToString::to_string);
        assert_eq!(cids.len(), 3);
        for cid in cids {
            let cid = cid.as_str().unwrap();
            let path = format!("com.atproto.sync.getBlob?did={did}&cid={cid}");
            let (status, bytes) = caller.get(&path, As::Nobody).await;
            content.push((cid.to_owned(), json!([status, bytes])));
        }
        content
    }

    /// Checks what has to be so after a move, and follows both firehoses to their ends.
    async fn check(self, to: Server, content: Vec<(String, Value)>, old: Watch, new: Watch) {
        assert_eq!(self.content(&self.new).await, content);
        let (caller, did) = (Caller::new(&self.new), &self.carla.did);
        let session = caller.log_in(did, NEW_PASSWORD).await;
        assert_eq!((&session["active"], &session["handle"]), (&json!(true), &json!("carla-moved.test")));
        let carla = Account::new("carla", &session);
        let preferences = caller.get_json("app.bsky.actor.getPreferences", carla.access()).await;
        let sorted = |preferences: &Value| {
            let mut all = preferences["preferences"].as_array().unwrap().clone();
            all.sort_by_key(ToString::to_string);
            all
        };
        assert_eq!(sorted(&preferences), sorted(&self.preferences));

        let document: Value = reqwest::get(self.plc.url(&format!("/{did}"))).await.unwrap().json().await.unwrap();
        assert_eq!(document["service"][0]["serviceEndpoint"], self.new.url(""));
        assert_eq!(document["alsoKnownAs"], json!(["at://carla-moved.test"]));
        let before = Caller::new(&self.old);
        let (status, body) = before.get(&format!("com.atproto.sync.getRepo?did={did}"), As::Nobody).await;
        let body: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &body["error"]), (400, &json!("RepoDeactivated")));

        // It goes on at the new server, by the key that is there.
        let last = *events(&self.new).last().unwrap();
        let after = json!({ "text": "after", "createdAt": "2026-01-01T00:00:00Z" });
        caller.create(&carla, "app.bsky.feed.post", after).await;
        let told = *events(&self.new).last().unwrap();
        assert!(told > last);
        let of_carla = |events: &[Value]| {
            let of = events.iter().filter(|event| event["did"] == **did);
            of.map(|event| (event["t"].as_str().unwrap().to_owned(), event["status"].clone())).collect::<Vec<_>>()
        };
        let told_of = old.reaches(*events(&self.old).last().unwrap()).await;
        assert_eq!(of_carla(&told_of).last().unwrap(), &("#account".to_owned(), json!("deactivated")));
        if to == Server::Headwater {
            let seen = new.reaches(told).await;
            let kinds: Vec<_> = of_carla(&seen).into_iter().map(|(kind, _)| kind).collect();
            // The operation is told before the account is.
            assert_eq!(kinds, ["#identity", "#account", "#identity", "#sync", "#commit"]);
        } else {
            // The reference names a revision that the commit has not, which the old server has signed.
            let faults = new.finds_fault("the fault of the reference").await;
            assert_eq!(faults[0]["error"], "not the commit of this event", "{faults:?}");
        }
    }

    async fn by_the_official_client(self, smtp: Smtp, to: Server) {
        let (old, new, content) = (self.watch(&self.old), self.watch(&self.new), self.content(&self.old).await);
        // What is verified against the key that the account has now must be before it has another.
        old.reaches(*events(&self.old).last().unwrap()).await;
        let mut command = self.packages.script("migrate.mjs");
        let (mails, did) = (smtp.mailbox().await, &self.carla.did);
        command.args([&self.old.url(""), &self.new.url(""), &mails, did, "carla-moved.test", "password of carla"]);
        command.args([NEW_PASSWORD, &self.invite]);
        let said = Program::start("the official client", command).finished().await;
        assert_eq!(said.last().map(String::as_str), Some("done"), "{said:#?}");
        self.check(to, content, old, new).await;
    }

    async fn by_goat(self, mut smtp: Smtp, to: Server) {
        let Some(goat) = goat() else { return };
        let (old, new, content) = (self.watch(&self.old), self.watch(&self.new), self.content(&self.old).await);
        old.reaches(*events(&self.old).last().unwrap()).await;
        let home = tempfile::tempdir().unwrap();
        let goat = async |words: &[&str]| {
            let mut command = Command::new(&goat);
            command.args(words).env_clear().env("HOME", home.path()).current_dir(home.path());
            Program::start("goat", command).finished().await
        };
        let did = self.carla.did.clone();
        goat(&["account", "login", "-u", &did, "-p", "password of carla", "--pds-host", &self.old.url("")]).await;
        goat(&["account", "plc", "request-token"]).await;
        let mail = smtp.mail().await;
        let token = crate::mail::mailed(&mail);
        let to_host = ["account", "migrate", "--pds-host", &self.new.url(""), "--plc-token", token];
        let as_whom = ["--new-handle", "carla-moved.test", "--new-password", NEW_PASSWORD];
        let invited = ["--new-email", "mover@example.com", "--invite-code", &self.invite];
        let said = goat(&[&to_host[..], &as_whom, &invited].concat()).await;
        assert!(said.iter().any(|line| line.contains("account migration completed")), "{said:#?}");
        // It goes on without a blob that it could not move.
        assert!(!said.iter().any(|line| line.contains("WARN")), "{said:#?}");
        self.check(to, content, old, new).await;
    }
}

const REFERENCE: Server = Server::Reference(Version::V0_5_35);

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_in_from_the_reference_by_the_official_client() {
    let Some((scene, smtp)) = Scene::new(REFERENCE, Server::Headwater).await else { return };
    scene.by_the_official_client(smtp, Server::Headwater).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_in_from_the_older_reference_by_the_official_client() {
    let Some((scene, smtp)) = Scene::new(Server::Reference(Version::V0_4_217), Server::Headwater).await else { return };
    scene.by_the_official_client(smtp, Server::Headwater).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_out_to_the_reference_by_the_official_client() {
    let Some((scene, smtp)) = Scene::new(Server::Headwater, REFERENCE).await else { return };
    scene.by_the_official_client(smtp, REFERENCE).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_from_one_server_of_ours_to_another_by_the_official_client() {
    let Some((scene, smtp)) = Scene::new(Server::Headwater, Server::Headwater).await else { return };
    scene.by_the_official_client(smtp, Server::Headwater).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_in_from_the_reference_by_goat() {
    let Some((scene, smtp)) = Scene::new(REFERENCE, Server::Headwater).await else { return };
    scene.by_goat(smtp, Server::Headwater).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_moves_out_to_the_reference_by_goat() {
    let Some((scene, smtp)) = Scene::new(Server::Headwater, REFERENCE).await else { return };
    scene.by_goat(smtp, REFERENCE).await;
}
