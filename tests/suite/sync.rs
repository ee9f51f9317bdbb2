//! Repositories as those read them who mirror and check them.

use std::collections::HashSet;

use bytes::Bytes;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use shared::cid::Cid;
use shared::crypto::PublicKey;
use shared::identity::DidDocument;
use shared::repo::BlockMap;
use shared::repo::car::{self, Car, CarReader};
use shared::repo::commit::Commit;
use shared::repo::export::{Export, Repeats};
use shared::repo::mst::Tree;
use shared::syntax::Did;
use tests::{Pds, Plc};

use crate::account::sign_up;
use crate::client::meddle_with_accounts;

/// A server with accounts.
pub(crate) struct Host {
    pub(crate) pds: Pds,
    plc: Plc,
}

/// One of them.
pub(crate) struct Account {
    pub(crate) did: String,
    pub(crate) token: String,
}

impl Host {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let plc = Plc::start().await;
        Self { pds: Pds::start_open_with(&plc, variables).await, plc }
    }

    pub(crate) async fn account(&self, name: &str) -> Account {
        let made = sign_up(&self.pds, name).await;
        let field = |name: &str| made[name].as_str().unwrap().to_owned();
        Account { did: field("did"), token: field("accessJwt") }
    }

    /// What the account signs with, as everybody learns it.
    pub(crate) async fn key(&self, did: &str) -> PublicKey {
        let document: Value = reqwest::get(self.plc.url(&format!("/{did}"))).await.unwrap().json().await.unwrap();
        DidDocument::parse(&Did::parse(did).unwrap(), document).unwrap().signing_key().unwrap()
    }

    pub(crate) async fn write(&self, by: &Account, method: &str, mut input: Value) -> Value {
        input["repo"] = by.did.clone().into();
        let url = self.pds.url(&format!("/xrpc/com.atproto.repo.{method}"));
        let answer = Client::new().post(url).bearer_auth(&by.token).json(&input).send().await.unwrap();
        let (status, body) = (answer.status(), answer.json::<Value>().await.unwrap());
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Writes a record of `len` bytes under `rkey`.
    pub(crate) async fn post(&self, by: &Account, rkey: &str, len: usize) -> Value {
        let record = json!({ "text": "x".repeat(len), "rkey": rkey });
        self.write(by, "putRecord", json!({ "collection": "com.example.thing", "rkey": rkey, "record": record })).await
    }

    async fn ask(&self, method: &str, query: &[(&str, &str)]) -> Response {
        let url = self.pds.url(&format!("/xrpc/com.atproto.sync.{method}"));
        Client::new().get(url).query(query).send().await.unwrap()
    }

    async fn json(&self, method: &str, query: &[(&str, &str)]) -> (u16, Value) {
        let answer = self.ask(method, query).await;
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn car(&self, method: &str, query: &[(&str, &str)]) -> Car {
        let answer = self.ask(method, query).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &CAR_TYPE.parse().unwrap()));
        car::read(answer.bytes().await.unwrap(), car::MAX_BLOCK_LEN).unwrap()
    }

    /// Changes the row of an account as the administrator's commands do.
    pub(crate) fn set(&self, account: &Account, column: &str, value: Option<&str>) {
        let sql = format!("UPDATE actor SET {column} = ?2 WHERE did = ?1");
        assert_eq!(meddle_with_accounts(&self.pds, &sql, (&account.did, value)), 1);
    }
}

const CAR_TYPE: &str = "application/vnd.ipld.car";

/// That a file is the whole repository, signed, in streamable order and nothing besides.
fn assert_whole(file: &Car, key: &PublicKey) -> Commit {
    let root = file.single_root().unwrap();
    assert_eq!(file.blocks[0].cid, *root, "the commit comes first");
    let commit = Commit::from_block(&file.blocks[0].bytes).unwrap();
    assert!(commit.is_signed_by(key));
    let blocks: BlockMap = file.blocks.iter().cloned().collect();
    let repeats = Repeats::scan(&blocks, &commit.data).unwrap();
    let order: Vec<Cid> = Export::new(&blocks, root.clone(), commit.data.clone(), repeats)
        .map(|block| block.unwrap().cid.clone())
        .collect();
    assert_eq!(order, file.blocks.iter().map(|block| block.cid.clone()).collect::<Vec<_>>());
    commit
}

#[tokio::test]
async fn a_repository_is_exported_whole_and_after_a_revision() {
    let host = Host::new().await;
    let alice = host.account("alice").await;
    let key = host.key(&alice.did).await;
    let did = [("did", alice.did.as_str())];
    assert_whole(&host.car("getRepo", &did).await, &key);
    let mut between = String::new();
    for nth in 0..40 {
        let made = host.post(&alice, &format!("key{nth}"), 10).await;
        if nth == 29 {
            between = made["commit"]["rev"].as_str().unwrap().to_owned();
        }
    }
    let whole = host.car("getRepo", &did).await;
    let commit = assert_whole(&whole, &key);
    assert_whole(&host.car("getCheckout", &did).await, &key);
    let newer = host.car("getRepo", &[did[0], ("since", &between)]).await;
    assert_eq!(newer.single_root().unwrap(), whole.single_root().unwrap());
    let older: HashSet<_> = whole.blocks.iter().map(|block| &block.cid).collect();
    assert!(newer.blocks.len() < older.len() && newer.blocks.iter().all(|block| older.contains(&block.cid)));
    let nothing = host.car("getRepo", &[did[0], ("since", commit.rev.as_str())]).await;
    assert_eq!(nothing.blocks.len(), 1);

    let (status, latest) = host.json("getLatestCommit", &did).await;
    let root = whole.single_root().unwrap().to_string();
    assert_eq!((status, latest), (200, json!({ "cid": root, "rev": commit.rev })));
    assert_eq!(host.json("getHead", &did).await, (200, json!({ "root": root })));
    let status = json!({ "did": alice.did, "active": true, "rev": commit.rev });
    assert_eq!(host.json("getRepoStatus", &did).await, (200, status));
}

#[tokio::test]
async fn a_proof_shows_that_a_record_is_there_or_is_not() {
    let host = Host::new().await;
    let alice = host.account("alice").await;
    for nth in 0..50 {
        host.post(&alice, &format!("key{nth}"), 10).await;
    }
    let key = host.key(&alice.did).await;
    for (rkey, there) in [("key7", true), ("none", false)] {
        let query = [("did", alice.did.as_str()), ("collection", "com.example.thing"), ("rkey", rkey)];
        let file = host.car("getRecord", &query).await;
        let commit = Commit::from_block(&file.blocks[0].bytes).unwrap();
        assert!(commit.is_signed_by(&key) && file.blocks[0].cid == *file.single_root().unwrap());
        let blocks: BlockMap = file.blocks.iter().cloned().collect();
        let found = Tree::open(&blocks, commit.data).get(&format!("com.example.thing/{rkey}")).unwrap();
        assert_eq!(found.is_some(), there);
        assert!(found.is_none_or(|cid| file.blocks.iter().any(|block| block.cid == cid)));
        assert!(file.blocks.len() < 10, "{}", file.blocks.len());
    }
}

#[tokio::test]
async fn blocks_are_had_by_their_cids() {
    let host = Host::new().await;
    let alice = host.account("alice").await;
    let one = host.post(&alice, "one", 10).await["cid"].as_str().unwrap().to_owned();
    let two = host.post(&alice, "two", 10).await["cid"].as_str().unwrap().to_owned();
    let query = [("did", alice.did.as_str()), ("cids", &two), ("cids", &one), ("cids", &two)];
    let file = host.car("getBlocks", &query).await;
    let cids: Vec<_> = file.blocks.iter().map(|block| block.cid.to_string()).collect();
    assert_eq!((file.roots.len(), cids), (0, vec![two.clone(), one.clone()]));
    let missing = "bafyreie5cvv4h45feadgeuwhbcutmh6t2ceseocckahdoe6uat64zmz454";
    let (status, body) = host.json("getBlocks", &[query[0], query[1], ("cids", missing)]).await;
    assert_eq!((status, &body["error"]), (400, &json!("InvalidRequest")));
    assert_eq!(body["message"], format!("Could not find cids: {missing}"));
    let answer = host.ask("getBlocks", &query[..2]).await;
    assert_eq!(answer.headers()["etag"], format!("\"{two}\""));
}

#[tokio::test]
async fn a_write_is_in_the_list_of_repositories_once_it_is_answered() {
    let host = Host::new().await;
    let alice = host.account("alice").await;
    for write in 0..20 {
        let written = host.post(&alice, "one", write).await;
        let (_, list) = host.json("listRepos", &[]).await;
        let (commit, listed) = (&written["commit"], &list["repos"][0]);
        assert_eq!((&listed["head"], &listed["rev"]), (&commit["cid"], &commit["rev"]));
    }
}

#[tokio::test]
async fn repositories_are_listed_page_by_page_whatever_they_are_worth() {
    let host = Host::new().await;
    let mut accounts = Vec::new();
    for name in ["alice", "bobby", "carol"] {
        accounts.push(host.account(name).await);
    }
    host.set(&accounts[1], "deactivatedAt", Some("2024-01-01T00:00:00.000Z"));
    host.set(&accounts[2], "takedownRef", Some("x"));
    let (mut listed, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut query = vec![("limit", "2")];
        query.extend(cursor.as_deref().map(|cursor| ("cursor", cursor)));
        let (status, page) = host.json("listRepos", &query).await;
        assert_eq!(status, 200, "{page}");
        listed.extend(page["repos"].as_array().unwrap().clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    let dids: Vec<_> = listed.iter().map(|repo| repo["did"].as_str().unwrap()).collect();
    assert_eq!(dids, accounts.iter().map(|account| account.did.as_str()).collect::<Vec<_>>());
    let worth: Vec<_> = listed.iter().map(|repo| (repo["active"].clone(), repo["status"].clone())).collect();
    let expected = [(true, Value::Null), (false, json!("deactivated")), (false, json!("takendown"))];
    assert_eq!(worth, expected.map(|(active, status)| (json!(active), status)));
    let (_, latest) = host.json("getLatestCommit", &[("did", dids[0])]).await;
    assert_eq!((&listed[0]["head"], &listed[0]["rev"]), (&latest["cid"], &latest["rev"]));
    for (query, message) in [
        ([("cursor", "x")], "Malformed cursor"),
        ([("limit", "0")], "Invalid com.atproto.sync.listRepos params: integer too small (minimum 1, got 0)"),
        ([("limit", "1001")], "Invalid com.atproto.sync.listRepos params: integer too big (maximum 1000, got 1001)"),
    ] {
        let (status, body) = host.json("listRepos", &query).await;
        assert_eq!((status, body["message"].as_str()), (400, Some(message)));
    }
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_name_but_not_to_its_owner_and_the_administrator() {
    let host = Host::with(&[("PDS_ADMIN_PASSWORD", "secret")]).await;
    let (alice, bob) = (host.account("alice").await, host.account("bobby").await);
    let made = host.post(&alice, "one", 10).await;
    let did = ("did", alice.did.as_str());
    let calls = [
        ("getRepo", vec![did]),
        ("getCheckout", vec![did]),
        ("getHead", vec![did]),
        ("getLatestCommit", vec![did]),
        ("getBlocks", vec![did, ("cids", made["cid"].as_str().unwrap())]),
        ("getRecord", vec![did, ("collection", "com.example.thing"), ("rkey", "one")]),
    ];
    let cases = [
        ("deactivatedAt", "RepoDeactivated", "Repo has been deactivated"),
        ("takedownRef", "RepoTakendown", "Repo has been takendown"),
    ];
    for (column, name, message) in cases {
        host.set(&alice, column, Some("2024-01-01T00:00:00.000Z"));
        for (method, query) in &calls {
            let url = host.pds.url(&format!("/xrpc/com.atproto.sync.{method}"));
            let get = || Client::new().get(&url).query(query);
            let (status, body) = host.json(method, query).await;
            assert_eq!((status, &body["error"]), (400, &json!(name)), "{method}");
            assert_eq!(body["message"], format!("{message}: {}", alice.did));
            let other: Value = get().bearer_auth(&bob.token).send().await.unwrap().json().await.unwrap();
            assert_eq!(other["error"], name, "{method}");
            let own = get().bearer_auth(&alice.token).send().await.unwrap();
            assert_eq!((own.status().as_u16(), &own.headers()["cache-control"]), (200, &"private".parse().unwrap()));
            let admin = get().basic_auth("admin", Some("secret")).send().await.unwrap();
            assert_eq!(admin.status(), 200, "{method}");
            let wrong = get().basic_auth("admin", Some("wrong")).send().await.unwrap();
            assert_eq!(wrong.status(), 401, "{method}");
        }
        let (status, body) = host.json("getRepoStatus", &[did]).await;
        let worth = name.trim_start_matches("Repo").to_lowercase();
        assert_eq!((status, body), (200, json!({ "did": alice.did, "active": false, "status": worth })));
    }
    let nobody = ("did", "did:plc:aaaaaaaaaaaaaaaaaaaaaaaa");
    for (method, query) in calls.iter().map(|(method, query)| (*method, query)).chain([("getRepoStatus", &vec![did])]) {
        let query: Vec<_> = [nobody].into_iter().chain(query[1..].iter().copied()).collect();
        let (status, body) = host.json(method, &query).await;
        assert_eq!((status, &body["error"]), (400, &json!("RepoNotFound")), "{method}");
        let (status, body) = host.json(method, &[[("did", "nobody")].as_slice(), &query[1..]].concat()).await;
        assert_eq!((status, &body["error"]), (400, &json!("InvalidRequest")), "{method}");
        let url = host.pds.url(&format!("/xrpc/com.atproto.sync.{method}"));
        let posted: Value = Client::new().post(url).send().await.unwrap().json().await.unwrap();
        assert_eq!(posted["message"], "Incorrect HTTP method (POST) expected GET");
    }
}

#[tokio::test]
async fn whoever_has_an_answer_is_told_so_and_heads_have_no_body() {
    let host = Host::new().await;
    let alice = host.account("alice").await;
    host.post(&alice, "one", 10).await;
    let did = ("did", alice.did.as_str());
    let record = vec![did, ("collection", "com.example.thing"), ("rkey", "one")];
    for (method, query) in
        [("getRepo", vec![did]), ("getRecord", record), ("getLatestCommit", vec![did]), ("getRepoStatus", vec![did])]
    {
        let url = host.pds.url(&format!("/xrpc/com.atproto.sync.{method}"));
        let asked = |verb: Method, tag: &str| {
            let request = Client::new().request(verb, &url).query(&query).header("if-none-match", tag);
            async move { request.send().await.unwrap() }
        };
        let first = asked(Method::GET, "\"x\"").await;
        let tag = first.headers()["etag"].to_str().unwrap().to_owned();
        let known = asked(Method::GET, &tag).await;
        assert_eq!((known.status().as_u16(), known.bytes().await.unwrap().len()), (304, 0), "{method}");
        let head = asked(Method::HEAD, "\"x\"").await;
        assert_eq!((head.status().as_u16(), &head.headers()["etag"]), (200, &tag.parse().unwrap()), "{method}");
        assert_eq!(head.headers()["content-type"], first.headers()["content-type"]);
        assert!(head.bytes().await.unwrap().is_empty());
        host.post(&alice, &format!("after{method}"), 10).await;
        assert_eq!(asked(Method::GET, &tag).await.status(), 200, "{method}");
    }
    let answer = Client::new().get(host.pds.url(&format!("/xrpc/com.atproto.sync.getRepo?did={}", alice.did)));
    let answer = answer.header("accept-encoding", "gzip").send().await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    assert!(answer.headers()["etag"].to_str().unwrap().starts_with("W/\""));
}

#[tokio::test]
async fn many_exports_begin_and_go_away_and_their_room_is_had_again() {
    let host = Host::new().await;
    let alice = host.account("alice").await;
    // Far more than waits for a client on the way.
    for nth in 0..12 {
        host.post(&alice, &format!("key{nth}"), 900_000).await;
    }
    let query = [("did", alice.did.as_str())];
    // More than run at once: each takes the first chunk and is gone.
    for _ in 0..80 {
        let mut answer = host.ask("getRepo", &query).await;
        assert!(!answer.chunk().await.unwrap().unwrap().is_empty());
    }
    let mut reader = CarReader::new(car::MAX_BLOCK_LEN);
    let (mut answer, mut blocks, mut len) = (host.ask("getRepo", &query).await, 0, 0);
    while let Some(chunk) = answer.chunk().await.unwrap() {
        len += chunk.len();
        reader.push(Bytes::copy_from_slice(&chunk));
        while reader.next_block().unwrap().is_some() {
            blocks += 1;
        }
    }
    reader.finish().unwrap();
    assert!(blocks >= 14 && len > 12 * 900_000, "{blocks} {len}");
}
