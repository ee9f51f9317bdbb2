//! What is read through the edge is what the origin says: status, headers and bytes.

use reqwest::Method;
use serde_json::{Value, json};

use super::scene::{Answer, Scene};
use crate::client::{As, User, post};

/// How a read is asked.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) verb: Method,
    pub(super) path: String,
    pub(super) headers: Vec<(&'static str, String)>,
}

pub(super) fn get(path: impl Into<String>) -> Asked {
    Asked { verb: Method::GET, path: path.into(), headers: vec![("x-edge-region", "weur".to_owned())] }
}

impl Asked {
    pub(super) fn head(mut self) -> Self {
        self.verb = Method::HEAD;
        self
    }

    pub(super) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    async fn of(&self, scene: &Scene, base: &str) -> Answer {
        let mut request = scene.http.request(self.verb.clone(), format!("{base}{}", self.path));
        for (name, value) in &self.headers {
            request = request.header(*name, value);
        }
        scene.ask(request).await
    }

    /// Asks both; returns what the edge says.
    #[track_caller]
    pub(super) fn same<'s>(&'s self, scene: &'s Scene) -> impl Future<Output = Answer> + 's {
        let caller = std::panic::Location::caller();
        async move {
            let expected = self.of(scene, &scene.pds.url("")).await;
            let found = self.of(scene, &scene.edge.url("")).await;
            let (status, headers, body) = (found.status, &found.headers, &found.body);
            assert_eq!(status, expected.status, "{caller}: {self:?}: {found:?}");
            assert!(*body == expected.body, "{caller}: {self:?}: {body:?}\ninstead of {:?}", expected.body);
            assert_eq!(*headers, expected.headers, "{caller}: {self:?} ({})", found.mark);
            found
        }
    }
}

pub(super) struct Content {
    pub(super) scene: Scene,
    pub(super) alice: User,
    pub(super) blob: String,
    /// A record's CID.
    cid: String,
    commit: String,
}

pub(super) async fn content() -> Option<Content> {
    let scene = Scene::new().await?;
    let alice = scene.user("alice").await;
    for number in 0..30 {
        scene.put(&alice, &format!("r{number:02}"), &format!("text {number} é \u{1f600} \" \\")).await;
    }
    let cid = scene.put(&alice, "same", "text 3").await["cid"].as_str().unwrap().to_owned();
    let blob = scene.upload(&alice, (0..100_000_u32).map(|number| (number % 251) as u8).collect()).await;
    let record = json!({ "repo": alice.did, "collection": "com.example.picture", "record": { "picture": blob } });
    let (status, body) = post(&scene.pds, "repo.createRecord", alice.token(), record).await;
    assert_eq!(status, 200, "{body}");
    let commit = body["commit"]["cid"].as_str().unwrap().to_owned();
    let blob = blob["ref"]["$link"].as_str().unwrap().to_owned();
    let did = alice.did.clone();
    let content = Content { scene, alice, blob, cid, commit };
    content.scene.hit("weur", &format!("/xrpc/com.atproto.sync.getLatestCommit?did={did}")).await;
    Some(content)
}

/// Every public read of one account, as it succeeds.
pub(super) fn reads(content: &Content) -> Vec<Asked> {
    let Content { alice: User { did, .. }, cid, commit, .. } = content;
    let thing = "collection=com.example.thing";
    let mut reads: Vec<Asked> = [
        format!("repo.getRecord?repo={did}&{thing}&rkey=r03"),
        format!("repo.getRecord?repo=alice.test&{thing}&rkey=r03"),
        format!("repo.getRecord?rkey=same&{thing}&repo={did}&cid={cid}"),
        format!("repo.getRecord?repo={}&{thing}&rkey=r03", did.replace(':', "%3A")),
        format!("repo.listRecords?repo={did}&{thing}"),
        format!("repo.listRecords?repo={did}&{thing}&limit=7&reverse=true"),
        format!("repo.listRecords?repo={did}&{thing}&limit=7&cursor=r09"),
        format!("repo.listRecords?repo={did}&{thing}&limit=100&cursor=r09&reverse=true"),
        format!("repo.listRecords?repo={did}&collection=com.example.none"),
        format!("repo.describeRepo?repo={did}"),
        "repo.describeRepo?repo=alice.test".to_owned(),
        format!("sync.getRecord?did={did}&{thing}&rkey=r03"),
        format!("sync.getRecord?did={did}&{thing}&rkey=nothing"),
        format!("sync.getBlocks?did={did}&cids={cid}"),
        format!("sync.getBlocks?did={did}&cids={cid}&cids={commit}&cids={cid}"),
        format!("sync.getHead?did={did}"),
        format!("sync.getLatestCommit?did={did}"),
        format!("sync.getRepo?did={did}"),
        format!("sync.getCheckout?did={did}"),
        format!("sync.getRepoStatus?did={did}"),
        format!("sync.listBlobs?did={did}"),
        format!("sync.listBlobs?did={did}&limit=1&cursor=b"),
    ]
    .map(|call| get(format!("/xrpc/com.atproto.{call}")))
    .into();
    // Refusals that a replica knows of.
    let other = "bafyreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
    reads.extend(
        [
            format!("repo.getRecord?repo={did}&{thing}&rkey=nothing"),
            format!("repo.getRecord?repo={did}&{thing}&rkey=r03&cid={other}"),
            format!("sync.getBlocks?did={did}&cids={other}&cids={cid}"),
        ]
        .map(|call| get(format!("/xrpc/com.atproto.{call}"))),
    );
    reads
}

#[tokio::test]
async fn every_read_of_an_account_is_the_origins_to_the_byte() {
    let Some(content) = content().await else { return };
    let scene = &content.scene;
    for read in reads(&content) {
        let found = read.same(scene).await;
        let whole = read.clone().head().same(scene).await;
        assert!(whole.body.is_empty());
        if read.path.contains("alice.test") {
            scene.hit("weur", &read.path).await;
        } else {
            assert_eq!(found.mark, "hit", "{read:?}");
        }
        if let Some(tag) = found.header("etag").map(str::to_owned) {
            for known in [tag.clone(), format!("W/{tag}"), "*".to_owned(), format!("\"x\", {tag}")] {
                let same = read.clone().with("if-none-match", known).same(scene).await;
                assert_eq!(same.status, 304, "{same:?}");
            }
            assert_eq!(read.clone().with("if-none-match", "\"x\"").same(scene).await.status, 200);
        }
    }
    // Page by page.
    let (mut cursor, mut seen) = (String::new(), 0);
    loop {
        let path = format!(
            "/xrpc/com.atproto.repo.listRecords?repo={}&collection=com.example.thing&limit=9{cursor}",
            content.alice.did
        );
        let page = get(path).same(scene).await.json();
        seen += page["records"].as_array().unwrap().len();
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 31);
}

#[tokio::test]
async fn what_the_edge_does_not_answer_is_the_origins_word_for_word() {
    let Some(content) = content().await else { return };
    let (scene, did) = (&content.scene, &content.alice.did);
    for call in [
        "repo.getRecord?repo=nobody.test&collection=a.b.c&rkey=x".to_owned(),
        "repo.getRecord?repo=@&collection=a.b.c&rkey=x".to_owned(),
        "repo.getRecord".to_owned(),
        format!("repo.listRecords?repo={did}&collection=com.example.thing&limit=0"),
        format!("repo.listRecords?repo={did}&collection=com.example.thing&limit=1&limit=2"),
        "repo.listRecords?repo=nobody.test&collection=com.example.thing".to_owned(),
        "repo.describeRepo?repo=nobody.test".to_owned(),
        "sync.getRepo?did=did:plc:abcdefghijklmnopqrstuvwx".to_owned(),
        "sync.getRepo?did=alice.test".to_owned(),
        "sync.getRepoStatus?did=did:web:nobody.test".to_owned(),
        format!("sync.getRepo?did={did}&since=3jzfcijpj2z2a"),
        format!("sync.listBlobs?did={did}&since=3jzfcijpj2z2a"),
        format!("sync.getBlocks?did={did}&cids=x"),
        format!("sync.getBlob?did={did}&cid=x"),
        format!("sync.getBlob?did={did}&cid={}", content.cid),
        "sync.getBlob?did=did:web:nobody.test&cid=bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy"
            .to_owned(),
        "sync.listRepos".to_owned(),
        "identity.resolveHandle?handle=alice.test".to_owned(),
        "identity.resolveHandle?handle=free.test".to_owned(),
        "server.getSession".to_owned(),
        "nothing.here".to_owned(),
    ] {
        get(format!("/xrpc/com.atproto.{call}")).same(scene).await;
    }
    for path in ["/", "/robots.txt", "/xrpc/_health", "/nothing", "/xrpc/", "/xrpc/COM.atproto.sync.listRepos"] {
        get(path).same(scene).await;
    }
    // Whoever brings credentials is the origin's, whatever they ask.
    let read = get(format!("/xrpc/com.atproto.sync.getLatestCommit?did={did}"));
    for (name, value) in [("authorization", format!("Bearer {}", content.alice.access)), ("cookie", "a=b".to_owned())] {
        assert_eq!(read.clone().with(name, value).same(scene).await.mark, "forward");
    }
    assert_eq!(read.clone().with("authorization", "Bearer x").same(scene).await.status, 400);
}

#[tokio::test]
async fn blobs_are_the_origins_to_the_byte_and_then_the_buckets() {
    let Some(content) = content().await else { return };
    let Content { scene, alice, blob, .. } = &content;
    let path = format!("/xrpc/com.atproto.sync.getBlob?did={}&cid={blob}", alice.did);
    let read = get(&path);
    assert_eq!(read.same(scene).await.mark, "miss");
    scene.hit("weur", &path).await;
    assert_eq!(read.same(scene).await.mark, "hit");
    scene.origin.seen();
    for range in
        ["bytes=0-0", "bytes=10-", "bytes=-5", "bytes=99999-", "bytes=100000-", "bytes=5-2", "bytes=0-1,4-5", "x"]
    {
        let found = read.clone().with("range", range).same(scene).await;
        assert_eq!(found.mark, "hit", "{range}");
        read.clone().head().with("range", range).same(scene).await;
    }
    for (name, value) in [("if-range", format!("\"{blob}\"")), ("if-range", "\"x\"".to_owned())] {
        read.clone().with("range", "bytes=0-9").with(name, value).same(scene).await;
    }
    for known in [format!("\"{blob}\""), "*".to_owned(), "\"x\"".to_owned()] {
        read.clone().with("if-none-match", known.clone()).same(scene).await;
        read.clone().with("if-none-match", known).with("range", "bytes=0-9").same(scene).await;
    }
    assert_eq!(read.clone().head().same(scene).await.mark, "hit");
    let asked: Vec<String> = scene.origin.seen().into_iter().filter(|path| path.contains("getBlob")).collect();
    assert!(asked.is_empty(), "{asked:?}");
}

#[tokio::test]
async fn a_handle_is_known_by_its_host_and_the_server_by_what_it_says() {
    let Some(content) = content().await else { return };
    let scene = &content.scene;
    let well_known = |host: &str| get("/.well-known/atproto-did").with("host", host);
    well_known("nobody.test").same(scene).await;
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while well_known("alice.test").same(scene).await.mark != "hit" {
        assert!(std::time::Instant::now() < until, "never a hit");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let described = get("/xrpc/com.atproto.server.describeServer");
    let found = described.same(scene).await;
    assert_eq!(found.mark, "hit");
    let tag = found.header("etag").unwrap().to_owned();
    assert_eq!(described.clone().with("if-none-match", tag).same(scene).await.status, 304);
    // A new handle, at once.
    let renamed =
        post(&scene.pds, "identity.updateHandle", content.alice.token(), json!({ "handle": "alicia.test" })).await;
    assert_eq!(renamed.0, 200, "{}", renamed.1);
    assert_eq!(well_known("alice.test").same(scene).await.status, 404);
    assert_eq!(well_known("alicia.test").same(scene).await.status, 200);
    for name in ["alice.test", "alicia.test"] {
        get(format!("/xrpc/com.atproto.repo.describeRepo?repo={name}")).same(scene).await;
    }
}

#[tokio::test]
async fn an_account_that_is_not_served_is_refused_by_the_next_read_as_the_origin_does() {
    let Some(content) = content().await else { return };
    let Content { scene, alice, blob, .. } = &content;
    let blob_path = format!("/xrpc/com.atproto.sync.getBlob?did={}&cid={blob}", alice.did);
    scene.hit("weur", &blob_path).await;
    let all = || reads(&content).into_iter().chain([get(&blob_path)]);
    let subject = |value: Value| json!({ "subject": value, "takedown": { "applied": true, "ref": "1" } });
    // One record, one blob.
    let uri = format!("at://{}/com.example.thing/r03", alice.did);
    let cid = scene
        .hit(
            "weur",
            &format!("/xrpc/com.atproto.repo.getRecord?repo={}&collection=com.example.thing&rkey=r03", alice.did),
        )
        .await
        .json()["cid"]
        .clone();
    let record = json!({ "$type": "com.atproto.repo.strongRef", "uri": uri, "cid": cid });
    scene.admin("admin.updateSubjectStatus", subject(record)).await;
    let taken = json!({ "$type": "com.atproto.admin.defs#repoBlobRef", "did": alice.did, "cid": blob });
    scene.admin("admin.updateSubjectStatus", subject(taken)).await;
    for read in all() {
        read.same(scene).await;
    }
    // The account, by itself and by the administrator.
    let (status, _) = post(&scene.pds, "server.deactivateAccount", alice.token(), json!({})).await;
    assert_eq!(status, 200);
    for read in all() {
        read.same(scene).await;
    }
    let (status, _) = crate::client::poke(&scene.pds, "server.activateAccount", alice.token()).await;
    assert_eq!(status, 200);
    for read in all() {
        read.same(scene).await;
    }
    let repo = json!({ "$type": "com.atproto.admin.defs#repoRef", "did": alice.did });
    scene.admin("admin.updateSubjectStatus", subject(repo)).await;
    for read in all() {
        read.same(scene).await;
    }
    let deleted = post(&scene.pds, "admin.deleteAccount", As::Admin, json!({ "did": alice.did })).await;
    assert_eq!(deleted.0, 200, "{}", deleted.1);
    for read in all() {
        read.same(scene).await;
    }
}
