//! Speaks to whichever server stands at a place, and reads all that it says of accounts.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Client, Method};
use serde_json::{Value, json};
use shared::repo::car;
use tests::peers::{ADMIN_PASSWORD, Place};

/// Speaks to whichever server stands at a place.
pub(crate) struct Caller<'a> {
    place: &'a Place,
    client: Client,
}

/// Who a request says it is from.
#[derive(Clone, Copy)]
pub(crate) enum As<'a> {
    Nobody,
    Admin,
    Bearer(&'a str),
}

impl Caller<'_> {
    pub(crate) fn new(place: &Place) -> Caller<'_> {
        Caller { place, client: Client::new() }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        who: As<'_>,
        input: Option<(&str, Vec<u8>)>,
    ) -> (u16, Vec<u8>) {
        let mut request = self.client.request(method, self.place.url(&format!("/xrpc/{path}")));
        request = match who {
            As::Nobody => request,
            As::Admin => request.basic_auth("admin", Some(ADMIN_PASSWORD)),
            As::Bearer(token) => request.bearer_auth(token),
        };
        if let Some((kind, body)) = input {
            request = request.header("content-type", kind).body(body);
        }
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.bytes().await.unwrap().to_vec())
    }

    /// A procedure with an input in JSON, or none for null, answered with 200.
    pub(crate) async fn post(&self, method: &str, who: As<'_>, input: Value) -> Value {
        let input = (!input.is_null()).then(|| ("application/json", serde_json::to_vec(&input).unwrap()));
        let (status, body) = self.send(Method::POST, method, who, input).await;
        assert_eq!(status, 200, "{method}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap_or_default()
    }

    pub(crate) async fn get(&self, path: &str, who: As<'_>) -> (u16, Vec<u8>) {
        self.send(Method::GET, path, who, None).await
    }

    pub(crate) async fn get_json(&self, path: &str, who: As<'_>) -> Value {
        let (status, body) = self.get(path, who).await;
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        serde_json::from_slice(&body).unwrap()
    }

    pub(crate) async fn sign_up(&self, name: &str, invite: &str) -> Account {
        let input = json!({
            "handle": format!("{name}.test"), "email": format!("{name}@example.com"),
            "password": format!("password of {name}"), "inviteCode": invite,
        });
        let made = self.post("com.atproto.server.createAccount", As::Nobody, input).await;
        Account::new(name, &made)
    }

    pub(crate) async fn create(&self, account: &Account, collection: &str, record: Value) -> Value {
        let input = json!({ "repo": account.did, "collection": collection, "record": record });
        self.post("com.atproto.repo.createRecord", account.access(), input).await
    }

    /// Uploads a blob; returns the reference to it for a record.
    pub(crate) async fn upload(&self, account: &Account, kind: &str, content: Vec<u8>) -> Value {
        let method = "com.atproto.repo.uploadBlob";
        let (status, body) = self.send(Method::POST, method, account.access(), Some((kind, content))).await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        serde_json::from_slice::<Value>(&body).unwrap()["blob"].clone()
    }

    pub(crate) async fn log_in(&self, identifier: &str, password: &str) -> Value {
        let input = json!({ "identifier": identifier, "password": password });
        self.post("com.atproto.server.createSession", As::Nobody, input).await
    }

    /// Whoever serves now says of `accounts` what was `said` before.
    pub(crate) async fn says(&self, said: &Reads, accounts: &[&Account]) {
        let now = self.reads(accounts).await;
        let differences: Vec<String> = said
            .iter()
            .filter(|(path, before)| now.get(*path) != Some(before))
            .map(|(path, before)| format!("{path}\n  was {before:?}\n  is  {:?}", now.get(path)))
            .collect();
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        assert_eq!(now.len(), said.len());
    }

    /// Waits until listRepos tells the newest commit of every active account: it follows a write, a moment later.
    async fn is_listed(&self) {
        for _ in 0..100 {
            let listed = self.get_json("com.atproto.sync.listRepos", As::Nobody).await;
            let mut behind = false;
            for repo in listed["repos"].as_array().unwrap().iter().filter(|repo| repo["active"] == true) {
                let did = repo["did"].as_str().unwrap();
                let head = self.get_json(&format!("com.atproto.sync.getLatestCommit?did={did}"), As::Nobody).await;
                behind |= head["cid"] != repo["head"] || head["rev"] != repo["rev"];
            }
            if !behind {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("listRepos stays behind");
    }

    /// Everything that can be read of `accounts` without secrets, by the request that reads it.
    pub(crate) async fn reads(&self, accounts: &[&Account]) -> Reads {
        self.is_listed().await;
        let mut reads = BTreeMap::new();
        let mut paths = vec!["com.atproto.sync.listRepos".to_owned(), "com.atproto.sync.listRepos?limit=1".to_owned()];
        for account in accounts {
            let did = &account.did;
            paths.extend([
                format!("com.atproto.repo.describeRepo?repo={did}"),
                format!("com.atproto.sync.getLatestCommit?did={did}"),
                format!("com.atproto.sync.getRepoStatus?did={did}"),
                format!("com.atproto.sync.getRepo?did={did}"),
                format!("com.atproto.sync.listBlobs?did={did}"),
                format!("com.atproto.sync.getHead?did={did}"),
            ]);
            for collection in COLLECTIONS {
                paths.push(format!("com.atproto.repo.listRecords?repo={did}&collection={collection}&limit=100"));
                paths.push(format!(
                    "com.atproto.repo.listRecords?repo={did}&collection={collection}&limit=2&reverse=true"
                ));
                let listed = self.get(&paths[paths.len() - 2], As::Nobody).await.1;
                let listed: Value = serde_json::from_slice(&listed).unwrap();
                for record in listed["records"].as_array().into_iter().flatten() {
                    let rkey = record["uri"].as_str().unwrap().rsplit('/').next().unwrap();
                    paths.push(format!("com.atproto.repo.getRecord?repo={did}&collection={collection}&rkey={rkey}"));
                    paths.push(format!("com.atproto.sync.getRecord?did={did}&collection={collection}&rkey={rkey}"));
                    let cid = record["cid"].as_str().unwrap();
                    paths.push(format!("com.atproto.sync.getBlocks?did={did}&cids={cid}"));
                }
            }
            let blobs = self.get(&format!("com.atproto.sync.listBlobs?did={did}"), As::Nobody).await.1;
            let blobs: Value = serde_json::from_slice(&blobs).unwrap_or_default();
            for cid in blobs["cids"].as_array().into_iter().flatten() {
                paths.push(format!("com.atproto.sync.getBlob?did={did}&cid={}", cid.as_str().unwrap()));
            }
        }
        for path in paths {
            let (status, body) = self.get(&path, As::Nobody).await;
            let read = Read::new(&path, status, body);
            reads.insert(path, (status, read));
        }
        reads
    }
}

/// Answers, by the request that they were given to.
pub(crate) type Reads = BTreeMap<String, (u16, Read)>;

const COLLECTIONS: [&str; 4] =
    ["app.bsky.actor.profile", "app.bsky.feed.like", "app.bsky.feed.post", "app.bsky.graph.follow"];

/// What a read came to, in the form in which two servers' answers have to be the same.
#[derive(Debug, PartialEq)]
pub(crate) enum Read {
    Json(Value),
    /// A CAR's roots and its blocks, whose order is each server's own.
    Car(Vec<String>, BTreeMap<String, Vec<u8>>),
    Bytes(Vec<u8>),
}

impl Read {
    pub(crate) fn new(path: &str, status: u16, body: Vec<u8>) -> Self {
        let method = path.split('?').next().unwrap();
        let is_car =
            ["getRepo", "getRecord", "getBlocks"].iter().any(|name| method == format!("com.atproto.sync.{name}"));
        if status == 200 && is_car {
            let car =
                car::read(Bytes::from(body), car::MAX_BLOCK_LEN).unwrap_or_else(|error| panic!("{path}: {error}"));
            let blocks = car.blocks.iter().map(|block| (block.cid.to_string(), block.bytes.to_vec()));
            return Self::Car(car.roots.iter().map(ToString::to_string).collect(), blocks.collect());
        }
        serde_json::from_slice(&body).map_or(Self::Bytes(body), Self::Json)
    }
}

/// An account and the tokens of its first session.
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) did: String,
    pub(crate) access: String,
    pub(crate) refresh: String,
}

impl Account {
    pub(crate) fn new(name: &str, made: &Value) -> Self {
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        Self { name: name.to_owned(), did: text("did"), access: text("accessJwt"), refresh: text("refreshJwt") }
    }

    pub(crate) fn access(&self) -> As<'_> {
        As::Bearer(&self.access)
    }
}
