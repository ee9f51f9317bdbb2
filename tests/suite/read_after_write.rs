//! Owners see at once what they wrote, also while the view of the network has not yet: the methods that are patched, and
//! what goes through as it came.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_compression::tokio::write::{BrotliEncoder, GzipEncoder, ZlibEncoder};
use axum::body::Body;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use futures_util::{StreamExt as _, stream};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use tests::service::{Seen, Service, refused};
use tests::{Pds, Plc};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::client::{ADMIN, As, JWT, User, get, post};

pub(crate) const VIEW: &str = "did:web:view.test";
pub(crate) const CDN: &str = "https://cdn.test/%s/%s/%s@jpeg";
/// Somebody else, and when they wrote.
pub(crate) const BOB: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";
pub(crate) const THEN: &str = "2026-01-02T03:04:05.678Z";
pub(crate) const CID: &str = "bafyreie5737gdxlw5i64vzichcalba3z2v5n6icifvx5xytvske7mr3hpm";
const PIXEL: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0\x1f\x15\xc4\x89";

/// What the view answers to a method, and how far it has come.
#[derive(Default)]
struct Script {
    rev: Option<String>,
    answers: HashMap<String, Said>,
}

struct Said {
    status: StatusCode,
    body: Vec<u8>,
    headers: Vec<(&'static str, &'static str)>,
    end: End,
}

/// How a body ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    Well,
    /// In the middle.
    Broken,
    Never,
}

/// A view of the network that answers by a script.
#[derive(Clone)]
pub(crate) struct View {
    pub(crate) service: Service,
    script: Arc<Mutex<Script>>,
}

impl View {
    pub(crate) async fn start(plc: &Plc) -> Self {
        let script = Arc::new(Mutex::new(Script::default()));
        let read = Arc::clone(&script);
        Self { service: Service::start(plc, move |seen| answer(&read.lock().unwrap(), seen)).await, script }
    }

    /// From now on it knows what was written up to `rev`.
    pub(crate) fn knows(&self, rev: &str) {
        self.script.lock().unwrap().rev = Some(rev.to_owned());
    }

    /// From now on it answers `nsid` so; `getPostThread, above` is that without what is below.
    pub(crate) fn says(&self, nsid: &str, body: &Value) {
        self.says_bytes(nsid, serde_json::to_vec(body).unwrap(), &[("content-type", "application/json")]);
    }

    fn says_bytes(&self, nsid: &str, body: Vec<u8>, headers: &[(&'static str, &'static str)]) {
        self.set(nsid, Said { status: StatusCode::OK, body, headers: headers.to_vec(), end: End::Well });
    }

    /// JSON under a coding, or what is said to be that.
    fn says_packed(&self, nsid: &str, coding: &'static str, body: Vec<u8>) {
        self.says_bytes(nsid, body, &[("content-type", "application/json"), ("content-encoding", coding)]);
    }

    pub(crate) fn refuses(&self, nsid: &str, status: StatusCode, error: &'static str) {
        let body = serde_json::to_vec(&json!({ "error": error, "message": "no" })).unwrap();
        let headers = vec![("content-type", "application/json")];
        self.set(nsid, Said { status, body, headers, end: End::Well });
    }

    fn never_ends(&self, nsid: &str) {
        self.set(nsid, Said { status: StatusCode::OK, body: b"{".to_vec(), headers: Vec::new(), end: End::Never });
    }

    fn set(&self, nsid: &str, said: Said) {
        self.script.lock().unwrap().answers.insert(nsid.to_owned(), said);
    }

    /// The methods that it was asked, with their queries, since this was called last.
    fn asked(&self) -> Vec<String> {
        self.service.seen().into_iter().map(|seen| seen.path.trim_start_matches("/xrpc/").to_owned()).collect()
    }
}

fn answer(script: &Script, seen: &Seen) -> Response {
    let nsid = seen.path.trim_start_matches("/xrpc/").split('?').next().unwrap();
    // What a thread is a reply to is asked for with nothing below it.
    let above = script.answers.get(&format!("{nsid}, above")).filter(|_| seen.path.contains("depth=0"));
    let Some(said) = above.or_else(|| script.answers.get(nsid)) else {
        return refused(StatusCode::NOT_IMPLEMENTED, "MethodNotImplemented", "not in the script");
    };
    let begun = stream::iter([Ok(said.body.clone())]);
    let body = match said.end {
        End::Well => Body::from(said.body.clone()),
        End::Broken => Body::from_stream(begun.chain(stream::iter([Err(std::io::Error::other("it breaks"))]))),
        End::Never => Body::from_stream(begun.chain(stream::pending::<std::io::Result<_>>())),
    };
    let mut answer = (said.status, body).into_response();
    let labelers = ("atproto-content-labelers", "did:web:labels.test");
    for (name, value) in said.headers.iter().copied().chain([labelers]) {
        answer.headers_mut().insert(name, value.parse().unwrap());
    }
    if let Some(rev) = &script.rev {
        answer.headers_mut().insert("atproto-repo-rev", rev.parse().unwrap());
    }
    answer
}

/// A server with a view, and an account with one old post that the view knows.
struct Scene {
    _plc: Plc,
    pds: Pds,
    view: View,
    alice: User,
    old: Value,
}

impl Scene {
    async fn new(more: &[(&str, &str)]) -> Self {
        let plc = Plc::start().await;
        let view = View::start(&plc).await;
        let variables = [
            ADMIN,
            JWT,
            ("PDS_BSKY_APP_VIEW_URL", view.service.url()),
            ("PDS_BSKY_APP_VIEW_DID", VIEW),
            ("PDS_BSKY_APP_VIEW_CDN_URL_PATTERN", CDN),
        ];
        let pds = Pds::start_open_with(&plc, &[&variables, more].concat()).await;
        let alice = User::new(&pds, "alice").await;
        let mut scene = Self { _plc: plc, pds, view, alice, old: Value::Null };
        scene.old = scene.write("app.bsky.feed.post", post_of("old", Value::Null)).await;
        scene.view.knows(&scene.rev().await);
        scene
    }

    async fn rev(&self) -> String {
        let (_, head) = get(&self.pds, "sync.getLatestCommit", As::Nobody, &[("did", &self.alice.did)]).await;
        head["rev"].as_str().unwrap().to_owned()
    }

    /// Writes a record; returns its URI and CID.
    async fn write(&self, collection: &str, record: Value) -> Value {
        let input = json!({ "repo": self.alice.did, "collection": collection, "record": record });
        let (status, made) = post(&self.pds, "repo.createRecord", self.alice.token(), input).await;
        assert_eq!(status, 200, "{made}");
        json!({ "uri": made["uri"], "cid": made["cid"] })
    }

    async fn write_profile(&self, profile: Value) {
        let place = json!({ "repo": self.alice.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": profile });
        assert_eq!(post(&self.pds, "repo.putRecord", self.alice.token(), place).await.0, 200);
    }

    async fn upload(&self, name: &str) -> (Value, String) {
        let call = Client::new().post(self.pds.url("/xrpc/com.atproto.repo.uploadBlob"));
        let call = call.bearer_auth(&self.alice.access).header("content-type", "image/png");
        let answer = call.body([PIXEL, name.as_bytes()].concat()).send().await.unwrap();
        let blob = answer.json::<Value>().await.unwrap()["blob"].clone();
        let cid = blob["ref"]["$link"].as_str().unwrap().to_owned();
        (blob, cid)
    }

    async fn send(&self, verb: Method, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
        let mut call =
            Client::new().request(verb, self.pds.url(&format!("/xrpc/{path}"))).bearer_auth(&self.alice.access);
        for (name, value) in headers {
            call = call.header(*name, *value);
        }
        call.send().await.unwrap()
    }

    async fn ask(&self, path: &str) -> reqwest::Response {
        self.send(Method::GET, path, &[]).await
    }

    /// What is answered, which has to be patched.
    async fn patched(&self, path: &str) -> Value {
        let answer = self.ask(path).await;
        let text = |name: &str| answer.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let lag: Option<i64> = text("atproto-upstream-lag").map(|lag| lag.parse().unwrap());
        assert!(lag.is_some_and(|lag| (0..60_000).contains(&lag)), "{lag:?}");
        assert_eq!((text("atproto-repo-rev"), text("atproto-content-labelers")), (None, None));
        assert_eq!(text("content-type").as_deref(), Some("application/json; charset=utf-8"));
        assert_eq!((answer.status().as_u16(), text("cache-control").as_deref()), (200, Some("private")));
        answer.json().await.unwrap()
    }

    /// Asserts that the answer is the view's, to the byte.
    async fn passed(&self, path: &str, said: &[u8]) {
        let answer = self.ask(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        assert!(answer.headers().get("atproto-upstream-lag").is_none(), "{path}");
        assert!(answer.headers().contains_key("atproto-repo-rev"), "{path}");
        assert_eq!(answer.headers()["atproto-content-labelers"], "did:web:labels.test");
        assert_eq!(answer.bytes().await.unwrap(), said, "{path}");
    }

    /// How a post of hers is shown.
    async fn shown(&self, made: &Value, author: &Value, embed: Value) -> Value {
        let uri = made["uri"].as_str().unwrap();
        let rkey = uri.rsplit('/').next().unwrap();
        let place = [("repo", self.alice.did.as_str()), ("collection", "app.bsky.feed.post"), ("rkey", rkey)];
        let (status, record) = get(&self.pds, "repo.getRecord", As::Nobody, &place).await;
        assert_eq!(status, 200, "{record}");
        let mut view = json!({ "uri": uri, "cid": made["cid"], "author": author, "record": record["value"],
            "likeCount": 0, "replyCount": 0, "repostCount": 0, "quoteCount": 0 });
        if !embed.is_null() {
            view["embed"] = embed;
        }
        view
    }
}

/// Takes when a post was written out of its view; it is now.
fn without_time(view: &mut Value) -> &Value {
    let time = view.as_object_mut().unwrap().remove("indexedAt").unwrap();
    assert!(time.as_str().unwrap() > THEN, "{time}");
    view
}

pub(crate) fn post_of(text: &str, embed: Value) -> Value {
    let mut record = json!({ "$type": "app.bsky.feed.post", "text": text, "createdAt": THEN });
    if !embed.is_null() {
        record["embed"] = embed;
    }
    record
}

pub(crate) fn reply_of(text: &str, root: &Value, parent: &Value) -> Value {
    let mut record = post_of(text, Value::Null);
    record["reply"] = json!({ "root": root, "parent": parent });
    record
}

pub(crate) fn profile_view(did: &str, handle: &str) -> Value {
    json!({ "did": did, "handle": handle, "displayName": "as the view knows", "postsCount": 7, "labels": [] })
}

/// A post as the view shows it.
pub(crate) fn post_view(did: &str, rkey: &str) -> Value {
    let handle = if did == BOB { "bob.test" } else { "alice.test" };
    json!({ "uri": format!("at://{did}/app.bsky.feed.post/{rkey}"), "cid": CID, "indexedAt": THEN, "likeCount": 3,
        "author": { "did": did, "handle": handle, "displayName": "as the view knows" },
        "record": post_of(rkey, Value::Null) })
}

pub(crate) fn thread_view(post: &Value) -> Value {
    json!({ "$type": "app.bsky.feed.defs#threadViewPost", "post": post, "replies": [] })
}

fn reference(post: &Value) -> Value {
    json!({ "uri": post["uri"], "cid": post["cid"] })
}

/// The six methods with parameters, and an answer to each.
fn all(did: &str) -> Vec<(String, Value)> {
    let feed = json!({ "cursor": "x", "feed": [{ "post": post_view(did, "3jzfcijpj2z2a") }] });
    let thread = thread_view(&post_view(BOB, "3jzfcijpj2z2a"));
    vec![
        (format!("app.bsky.actor.getProfile?actor={did}"), profile_view(did, "alice.test")),
        (format!("app.bsky.actor.getProfiles?actors={did}"), json!({ "profiles": [profile_view(did, "alice.test")] })),
        (format!("app.bsky.feed.getActorLikes?actor={did}"), feed.clone()),
        (format!("app.bsky.feed.getAuthorFeed?actor={did}"), feed.clone()),
        (
            format!("app.bsky.feed.getPostThread?uri=at://{BOB}/app.bsky.feed.post/3jzfcijpj2z2a"),
            json!({ "thread": thread }),
        ),
        ("app.bsky.feed.getTimeline?limit=1&unknown=%20".to_owned(), feed),
    ]
}

fn method(path: &str) -> &str {
    path.split('?').next().unwrap()
}

#[tokio::test]
async fn while_the_view_knows_all_its_answers_go_through_as_they_come() {
    let scene = Scene::new(&[]).await;
    for (path, said) in all(&scene.alice.did) {
        // Not as this server would write it.
        let text = serde_json::to_string_pretty(&said).unwrap().into_bytes();
        scene.view.says_bytes(method(&path), text.clone(), &[("content-type", "application/json")]);
        scene.passed(&path, &text).await;
        assert_eq!(scene.view.asked(), [path.as_str()], "as it was asked, and once");
    }
    // Likes are nothing that is shown.
    scene.write("app.bsky.feed.like", json!({ "subject": reference(&scene.old), "createdAt": THEN })).await;
    for (path, said) in all(&scene.alice.did) {
        let text = serde_json::to_string_pretty(&said).unwrap().into_bytes();
        scene.passed(&path, &text).await;
    }
    // A revision of before the account came here says nothing.
    scene.view.knows("2222222222222");
    scene.write_profile(json!({ "displayName": "Alice" })).await;
    for (path, said) in all(&scene.alice.did) {
        scene.passed(&path, &serde_json::to_vec_pretty(&said).unwrap()).await;
    }
}

#[tokio::test]
async fn a_new_profile_is_shown_wherever_its_owner_is() {
    let scene = Scene::new(&[]).await;
    let did = scene.alice.did.as_str();
    let ((avatar, avatar_cid), (banner, banner_cid)) = (scene.upload("avatar").await, scene.upload("banner").await);
    scene.write_profile(json!({ "displayName": "Alice", "avatar": avatar, "banner": banner })).await;
    let url = |preset: &str, cid: &str| json!(format!("https://cdn.test/{preset}/{did}/{cid}@jpeg"));
    let mut expected = profile_view(did, "alice.test");
    expected["displayName"] = json!("Alice");
    expected["avatar"] = url("avatar", &avatar_cid);
    let basic = json!({ "did": did, "handle": "alice.test", "displayName": "Alice", "avatar": expected["avatar"] });
    expected["banner"] = url("banner", &banner_cid);

    let mut known = profile_view(did, "alice.test");
    known["description"] = json!("there is none any more");
    scene.view.says("app.bsky.actor.getProfile", &known);
    assert_eq!(scene.patched("app.bsky.actor.getProfile?actor=alice.test").await, expected);
    let bob = profile_view(BOB, "bob.test");
    scene.view.says("app.bsky.actor.getProfiles", &json!({ "profiles": [bob, known] }));
    let path = format!("app.bsky.actor.getProfiles?actors={BOB}&actors[]=alice.test");
    assert_eq!(scene.patched(&path).await, json!({ "profiles": [bob, expected] }));
    scene.view.says("app.bsky.actor.getProfile", &bob);
    assert_eq!(scene.patched("app.bsky.actor.getProfile?actor=bob.test").await, bob);

    let feed = |author: &Value| {
        let mut own = post_view(did, "3jzfcijpj2z2a");
        own["author"] = author.clone();
        json!({ "cursor": "x", "feed": [{ "post": own }, { "post": post_view(BOB, "3jzfcijpj2z2a") }] })
    };
    for nsid in ["app.bsky.feed.getActorLikes", "app.bsky.feed.getAuthorFeed"] {
        scene.view.says(nsid, &feed(&json!({ "did": did, "handle": "alice.test", "avatar": "old" })));
        assert_eq!(scene.patched(&format!("{nsid}?actor={did}")).await, feed(&basic), "{nsid}");
    }
    let bobs =
        json!({ "feed": [{ "post": post_view(BOB, "3jzfcijpj2z2a") }, { "post": post_view(did, "3jzfcijpj2z2a") }] });
    scene.view.says("app.bsky.feed.getAuthorFeed", &bobs);
    assert_eq!(scene.patched("app.bsky.feed.getAuthorFeed?actor=bob.test").await, bobs, "it is not her feed");
}

#[tokio::test]
async fn new_posts_are_shown_in_feeds_with_what_they_embed() {
    let scene = Scene::new(&[]).await;
    let did = scene.alice.did.as_str();
    scene.write_profile(json!({ "displayName": "Alice" })).await;
    scene.view.knows(&scene.rev().await);
    let (image, image_cid) = scene.upload("image").await;
    let ratio = json!({ "width": 4, "height": 3 });
    let images =
        json!({ "$type": "app.bsky.embed.images", "images": [{ "alt": "a", "image": image, "aspectRatio": ratio }] });
    let url = |preset: &str| format!("https://cdn.test/{preset}/{did}/{image_cid}@jpeg");
    let images_view = json!({ "$type": "app.bsky.embed.images#view", "images": [
        { "thumb": url("feed_thumbnail"), "fullsize": url("feed_fullsize"), "alt": "a", "aspectRatio": ratio }] });
    let page = json!({ "uri": "https://a.test", "title": "t", "description": "d" });
    let external = |kind: &str, thumb: &Value| {
        let mut page = page.clone();
        page["thumb"] = thumb.clone();
        json!({ "$type": format!("app.bsky.embed.external{kind}"), "external": page })
    };
    let quote = |of: &Value| json!({ "$type": "app.bsky.embed.record", "record": reference(of) });
    let at = |collection: &str| json!({ "uri": format!("at://{BOB}/{collection}/3jzfcijpj2z2a"), "cid": CID });
    let quoted = |record: Value| json!({ "$type": "app.bsky.embed.record#view", "record": record });
    let mut bobs = post_view(BOB, "3jzfcijpj2z2a");
    bobs["embed"] = images_view.clone();
    bobs["labels"] = json!([]);
    scene.view.says("app.bsky.feed.getPosts", &json!({ "posts": [bobs] }));
    let record_view = json!({ "$type": "app.bsky.embed.record#viewRecord", "uri": bobs["uri"], "cid": bobs["cid"],
        "author": bobs["author"], "value": bobs["record"], "labels": [], "embeds": [images_view], "indexedAt": THEN });
    let feed_view = json!({ "uri": at("app.bsky.feed.generator")["uri"], "displayName": "feed" });
    scene.view.says("app.bsky.feed.getFeedGenerator", &json!({ "view": feed_view, "isOnline": true }));
    let list_view = json!({ "uri": at("app.bsky.graph.list")["uri"], "name": "list" });
    scene.view.says("app.bsky.graph.getList", &json!({ "list": list_view, "items": [] }));
    let typed = |view: &Value, kind: &str| {
        let mut view = view.clone();
        view["$type"] = json!(kind);
        view
    };
    let both = json!({ "$type": "app.bsky.embed.recordWithMedia", "record": quote(&bobs), "media": images });
    let both_view = json!({ "$type": "app.bsky.embed.recordWithMedia#view", "record": quoted(record_view.clone()),
        "media": images_view });
    let nothing = json!({ "$type": "app.bsky.embed.record#viewNotFound", "uri": at("app.bsky.graph.starterpack")["uri"], "notFound": true });
    let table = [
        (Value::Null, Value::Null),
        (images.clone(), images_view.clone()),
        (external("", &image), external("#view", &json!(url("feed_thumbnail")))),
        (quote(&bobs), quoted(record_view)),
        (quote(&at("app.bsky.feed.generator")), quoted(typed(&feed_view, "app.bsky.feed.defs#generatorView"))),
        (quote(&at("app.bsky.graph.list")), quoted(typed(&list_view, "app.bsky.graph.defs#listView"))),
        (quote(&at("app.bsky.graph.starterpack")), quoted(nothing)),
        (both, both_view),
        (json!({ "$type": "app.bsky.embed.video", "video": image_as_video(&image) }), Value::Null),
    ];
    let author = json!({ "did": did, "handle": "alice.test", "displayName": "Alice" });
    let mut expected = Vec::new();
    for (nth, (embed, view)) in table.into_iter().enumerate() {
        let made = scene.write("app.bsky.feed.post", post_of(&format!("number {nth}"), embed)).await;
        expected.insert(0, scene.shown(&made, &author, view).await);
    }
    let known = json!([{ "post": post_view(BOB, "3jzfcijpj2z2a"), "reason": { "$type": "app.bsky.feed.defs#reasonRepost",
        "by": { "did": did, "handle": "alice.test" }, "indexedAt": THEN } }]);
    for path in ["app.bsky.feed.getTimeline".to_owned(), format!("app.bsky.feed.getAuthorFeed?actor={did}")] {
        scene.view.says(method(&path), &json!({ "cursor": "x", "feed": known }));
        scene.view.asked();
        let mut answer = scene.patched(&path).await;
        assert_eq!(answer["cursor"], "x");
        let feed = answer["feed"].as_array_mut().unwrap();
        assert_eq!(feed.pop().as_ref(), known.get(0));
        let shown: Vec<_> = feed.iter_mut().map(|item| without_time(&mut item["post"]).clone()).collect();
        assert_eq!(shown, expected, "{path}");
        let mut asked = scene.view.service.seen();
        assert!(asked.iter().all(|seen| seen.caller.as_deref() == Some(did)), "in her name");
        asked.sort_by(|one, other| one.path.cmp(&other.path));
        let asked: Vec<_> =
            asked.iter().map(|seen| (seen.path.as_str(), seen.token.as_ref().unwrap().1.as_str())).collect();
        let param = |collection: &str| format!("at%3A%2F%2F{}%2F{collection}%2F3jzfcijpj2z2a", BOB.replace(':', "%3A"));
        let posts = format!("/xrpc/app.bsky.feed.getPosts?uris={}", param("app.bsky.feed.post"));
        assert!(asked.contains(&(posts.as_str(), "app.bsky.feed.getPosts")), "{asked:?}");
        let list = format!("/xrpc/app.bsky.graph.getList?list={}&limit=1", param("app.bsky.graph.list"));
        assert!(asked.contains(&(list.as_str(), "app.bsky.graph.getList")), "{asked:?}");
        assert_eq!(asked.len(), 5, "{asked:?}");
    }
    // Above all that is older, and not on a page of what is newer still.
    scene.view.says("app.bsky.feed.getTimeline", &json!({ "feed": [future(BOB), known[0]] }));
    let answer = scene.patched("app.bsky.feed.getTimeline").await;
    assert_eq!((answer["feed"].as_array().unwrap().len(), &answer["feed"][0]), (11, &future(BOB)));
    scene.view.says("app.bsky.feed.getTimeline", &json!({ "feed": [future(BOB)] }));
    assert_eq!(scene.patched("app.bsky.feed.getTimeline").await, json!({ "feed": [future(BOB)] }));
    // What cannot be shown is not, and so is nothing else; it is waited for, but not long.
    scene.view.says("app.bsky.feed.getTimeline", &json!({ "feed": known }));
    let text = serde_json::to_vec(&json!({ "feed": known })).unwrap();
    scene.view.refuses("app.bsky.feed.getPosts", StatusCode::INTERNAL_SERVER_ERROR, "Broken");
    scene.passed("app.bsky.feed.getTimeline", &text).await;
    scene.view.never_ends("app.bsky.feed.getPosts");
    let begun = Instant::now();
    scene.passed("app.bsky.feed.getTimeline", &text).await;
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());

    // An account that is away shows nothing new.
    assert_eq!(post(&scene.pds, "server.deactivateAccount", scene.alice.token(), json!({})).await.0, 200);
    assert_eq!(scene.patched("app.bsky.feed.getTimeline").await, json!({ "feed": known }));
}

fn image_as_video(image: &Value) -> Value {
    let mut video = image.clone();
    video["mimeType"] = json!("video/mp4");
    video
}

fn future(did: &str) -> Value {
    let mut post = post_view(did, "3zzzzzzzzzzz2");
    post["indexedAt"] = json!("2999-01-01T00:00:00.000Z");
    json!({ "post": post })
}

#[tokio::test]
async fn new_replies_are_shown_in_threads() {
    let scene = Scene::new(&[]).await;
    let root = post_view(BOB, "3jzfcijpj2z2a");
    let mut other = post_view(BOB, "3jzfcijpj2z2b");
    other["record"] = reply_of("between", &reference(&root), &reference(&root));
    let first = scene.write("app.bsky.feed.post", reply_of("first", &reference(&root), &reference(&other))).await;
    let second = scene.write("app.bsky.feed.post", reply_of("second", &reference(&root), &first)).await;
    scene.write("app.bsky.feed.post", reply_of("elsewhere", &reference(&other), &reference(&root))).await;
    let author = json!({ "did": scene.alice.did, "handle": "alice.test" });
    let path = format!("app.bsky.feed.getPostThread?uri={}", root["uri"].as_str().unwrap());
    let mut thread = thread_view(&root);
    let blocked = json!({ "$type": "app.bsky.feed.defs#blockedPost", "uri": other["uri"], "blocked": true, "author": { "did": BOB } });
    thread["replies"] = json!([blocked, thread_view(&other)]);
    scene.view.says("app.bsky.feed.getPostThread", &json!({ "thread": thread, "threadgate": { "uri": root["uri"] } }));
    let mut answer = scene.patched(&path).await;
    let reply = &mut answer["thread"]["replies"][1]["replies"][0];
    let below = &mut reply["replies"][0];
    assert_eq!(without_time(&mut below["post"]), &scene.shown(&second, &author, Value::Null).await);
    let expected = json!({ "$type": "app.bsky.feed.defs#threadViewPost", "post": below["post"] });
    assert_eq!(below, &expected, "without replies");
    assert_eq!(without_time(&mut reply["post"]), &scene.shown(&first, &author, Value::Null).await);
    thread["replies"][1]["replies"] = json!([reply]);
    assert_eq!(answer, json!({ "thread": thread, "threadgate": { "uri": root["uri"] } }));

    // Records are whatever somebody wrote.
    let mut odd = thread_view(&root);
    odd["post"]["record"]["reply"] = json!({ "root": 7 });
    odd["replies"] = json!([thread_view(&other)]);
    odd["replies"][0]["post"]["record"] = json!({ "reply": "x" });
    scene.view.says("app.bsky.feed.getPostThread", &json!({ "thread": odd }));
    assert_eq!(scene.patched(&path).await["thread"]["replies"][0]["replies"][0]["post"]["uri"], first["uri"]);
    // A thread that is shown from its middle is of the same conversation.
    scene.view.says("app.bsky.feed.getPostThread", &json!({ "thread": thread_view(&other) }));
    let answer = scene.patched(&path).await;
    assert_eq!(answer["thread"]["replies"][0]["post"]["uri"], first["uri"]);
    assert_eq!(answer["thread"]["replies"][0]["replies"][0]["post"]["uri"], second["uri"]);
    for thread in [blocked, thread_view(&post_view(BOB, "3jzfcijpj2z2c"))] {
        scene.view.says("app.bsky.feed.getPostThread", &json!({ "thread": thread }));
        assert_eq!(scene.patched(&path).await, json!({ "thread": thread }));
    }
}

#[tokio::test]
async fn the_thread_of_a_post_that_the_view_does_not_find_is_made_here() {
    let scene = Scene::new(&[]).await;
    let nsid = "app.bsky.feed.getPostThread";
    scene.view.refuses(nsid, StatusCode::BAD_REQUEST, "NotFound");
    let refused = |uri: String| {
        let scene = &scene;
        async move {
            let answer = scene.ask(&format!("{nsid}?uri={uri}")).await;
            assert!(
                answer.headers().get("atproto-repo-rev").is_none()
                    && answer.headers().get("atproto-upstream-lag").is_none()
            );
            assert_eq!(answer.status(), 400);
            answer.json::<Value>().await.unwrap()
        }
    };
    let not_found = json!({ "error": "NotFound", "message": "no" });
    let old = scene.old["uri"].as_str().unwrap().to_owned();
    assert_eq!(refused(old.clone()).await, not_found, "the view knows it");
    let alone = scene.write("app.bsky.feed.post", post_of("alone", Value::Null)).await;
    let below = scene.write("app.bsky.feed.post", reply_of("below", &alone, &alone)).await;
    let root = post_view(BOB, "3jzfcijpj2z2a");
    let reply = scene.write("app.bsky.feed.post", reply_of("reply", &reference(&root), &reference(&root))).await;
    assert_eq!(refused(old).await, not_found, "it is not new");
    assert_eq!(refused(format!("at://{BOB}/app.bsky.feed.post/3jzfcijpj2z2a")).await, not_found, "it is not hers");
    assert_eq!(refused(format!("at://{}", scene.alice.did)).await, not_found);
    scene.view.asked();

    let author = json!({ "did": scene.alice.did, "handle": "alice.test" });
    let by_name = alone["uri"].as_str().unwrap().replace(&scene.alice.did, "alice.test");
    for uri in [alone["uri"].as_str().unwrap(), &by_name] {
        let mut answer = scene.patched(&format!("{nsid}?uri={uri}")).await;
        assert_eq!(answer.as_object().unwrap().len(), 1);
        let thread = &mut answer["thread"];
        assert_eq!(without_time(&mut thread["post"]), &scene.shown(&alone, &author, Value::Null).await);
        assert_eq!(without_time(&mut thread["replies"][0]["post"]), &scene.shown(&below, &author, Value::Null).await);
        assert_eq!((thread["replies"].as_array().unwrap().len(), &thread["parent"]), (1, &Value::Null));
        assert_eq!(scene.view.asked().len(), 1);
    }
    // What it is a reply to is the view's to show, if it does.
    let uri = reply["uri"].as_str().unwrap();
    let answer = scene.patched(&format!("{nsid}?uri={uri}&parentHeight=3")).await;
    assert_eq!((&answer["thread"]["post"]["uri"], &answer["thread"]["parent"]), (&reply["uri"], &Value::Null));
    let asked = scene.view.asked();
    let parent = root["uri"].as_str().unwrap().replace(':', "%3A").replace('/', "%2F");
    assert_eq!(asked[1], format!("{nsid}?uri={parent}&parentHeight=3&depth=0"));
    scene.view.never_ends("app.bsky.feed.getPostThread, above");
    let answer = scene.patched(&format!("{nsid}?uri={uri}")).await;
    assert_eq!((&answer["thread"]["post"]["uri"], &answer["thread"]["parent"]), (&reply["uri"], &Value::Null));
    // A refusal may be packed, too.
    let body = packed("gzip", br#"{"error":"NotFound"}"#).await;
    let headers = vec![("content-type", "application/json"), ("content-encoding", "gzip")];
    scene.view.set(nsid, Said { status: StatusCode::NOT_FOUND, body, headers, end: End::Well });
    let answer = scene.patched(&format!("{nsid}?uri={}", alone["uri"].as_str().unwrap())).await;
    assert_eq!(answer["thread"]["post"]["uri"], alone["uri"]);
}

#[tokio::test]
async fn the_parents_of_a_thread_that_is_made_here_are_the_views() {
    let plc = Plc::start().await;
    let view = View::start(&plc).await;
    let root = post_view(BOB, "3jzfcijpj2z2a");
    let parents = json!({ "thread": thread_view(&root) });
    view.refuses("app.bsky.feed.getPostThread", StatusCode::NOT_FOUND, "NotFound");
    view.says("app.bsky.feed.getPostThread, above", &parents);
    let more = [("PDS_BSKY_APP_VIEW_URL", view.service.url()), ("PDS_BSKY_APP_VIEW_DID", VIEW)];
    let pds = Pds::start_open_with(&plc, &more).await;
    let alice = User::new(&pds, "alice").await;
    let write = |record: Value| {
        let input = json!({ "repo": alice.did, "collection": "app.bsky.feed.post", "record": record });
        async { post(&pds, "repo.createRecord", alice.token(), input).await.1 }
    };
    let old = write(post_of("old", Value::Null)).await;
    view.knows(old["commit"]["rev"].as_str().unwrap());
    let blob = Client::new().post(pds.url("/xrpc/com.atproto.repo.uploadBlob")).header("content-type", "image/png");
    let blob = blob.bearer_auth(&alice.access).body(PIXEL).send().await.unwrap().json::<Value>().await.unwrap();
    let mut record = reply_of("reply", &reference(&root), &reference(&root));
    record["embed"] = json!({ "$type": "app.bsky.embed.images", "images": [{ "alt": "", "image": blob["blob"] }] });
    let reply = write(record).await;
    let path = format!("/xrpc/app.bsky.feed.getPostThread?uri={}", reply["uri"].as_str().unwrap());
    let answer = Client::new().get(pds.url(&path)).bearer_auth(&alice.access).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let answer = answer.json::<Value>().await.unwrap();
    assert_eq!((&answer["thread"]["parent"], &answer["thread"]["post"]["uri"]), (&parents["thread"], &reply["uri"]));
    // Without a network of its own for them, pictures are had from here.
    let cid = blob["blob"]["ref"]["$link"].as_str().unwrap();
    let thumb = answer["thread"]["post"]["embed"]["images"][0]["thumb"].as_str().unwrap();
    let path = format!("/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", alice.did);
    assert_eq!(thumb, format!("http://localhost:2583{path}"), "the public address, whatever the port of this test");
    let thumb = pds.url(&path);
    assert_eq!(reqwest::get(thumb).await.unwrap().bytes().await.unwrap(), PIXEL);
}

async fn packed(coding: &str, text: &[u8]) -> Vec<u8> {
    async fn through<W: AsyncWrite + Unpin>(mut writer: W, text: &[u8]) -> W {
        writer.write_all(text).await.unwrap();
        writer.shutdown().await.unwrap();
        writer
    }
    match coding {
        "gzip" => through(GzipEncoder::new(Vec::new()), text).await.into_inner(),
        "deflate" => through(ZlibEncoder::new(Vec::new()), text).await.into_inner(),
        "br" => through(BrotliEncoder::new(Vec::new()), text).await.into_inner(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_packed_answer_is_unpacked_only_to_be_patched() {
    let scene = Scene::new(&[]).await;
    let path = format!("app.bsky.actor.getProfile?actor={}", scene.alice.did);
    let accepts = [("accept-encoding", "gzip, deflate, br")];
    let known = profile_view(&scene.alice.did, "alice.test");
    let mut patched = known.clone();
    patched["displayName"] = json!("Alice");
    for coding in ["gzip", "deflate", "br"] {
        let body = packed(coding, &serde_json::to_vec(&known).unwrap()).await;
        scene.view.says_packed(method(&path), coding, body.clone());
        let answer = scene.send(Method::GET, &path, &accepts).await;
        let seen = scene.view.service.seen();
        assert_eq!(seen[0].headers["accept-encoding"], "identity;q=1,gzip;q=0.3,deflate;q=0.2,br;q=0.1");
        assert_eq!(answer.headers()["content-encoding"], coding);
        assert_eq!(answer.bytes().await.unwrap(), body);
    }
    scene.write_profile(json!({ "displayName": "Alice" })).await;
    for coding in ["gzip", "deflate", "br"] {
        let body = packed(coding, &serde_json::to_vec(&known).unwrap()).await;
        scene.view.says_packed(method(&path), coding, body.clone());
        assert_eq!(scene.patched(&path).await, patched);
    }
    // What is not what it says it is goes through, packed as it is.
    for (coding, body) in [("gzip", b"no gzip".to_vec()), ("zstd", b"unknown here".to_vec())] {
        scene.view.says_packed(method(&path), coding, body.clone());
        let answer = scene.send(Method::GET, &path, &accepts).await;
        assert_eq!((answer.status().as_u16(), &answer.headers()["content-encoding"]), (200, &coding.parse().unwrap()));
        assert_eq!(answer.bytes().await.unwrap(), body);
    }
    let bomb = packed("gzip", &vec![b' '; 20 << 20]).await;
    scene.view.says_bytes(
        method(&path),
        bomb.clone(),
        &[("content-type", "application/json"), ("content-encoding", "gzip")],
    );
    let answer = scene.send(Method::GET, &path, &accepts).await;
    assert!(answer.headers().get("atproto-upstream-lag").is_none());
    assert_eq!(answer.bytes().await.unwrap(), bomb);
}

#[tokio::test]
async fn what_is_asked_of_the_view_is_what_caller_and_server_can_unpack() {
    let scene = Scene::new(&[]).await;
    let compressed = Scene::new(&[("PDS_PROXY_PREFER_COMPRESSED", "true")]).await;
    for (scene, accept, asked) in [
        (&scene, None, "identity;q=1"),
        (&scene, Some("gzip;q=0.9, zstd"), "identity;q=1,gzip;q=0.3"),
        (&scene, Some("br, identity;q=0"), "br;q=0.1,*;q=0"),
        (&compressed, None, "identity;q=0.1"),
        (&compressed, Some("gzip, br, zstd"), "gzip;q=1,br;q=0.8,identity;q=0.1"),
    ] {
        for (path, said) in all(&scene.alice.did) {
            scene.view.says(method(&path), &said);
            let headers: Vec<_> = accept.map(|accept| ("accept-encoding", accept)).into_iter().collect();
            assert_eq!(scene.send(Method::GET, &path, &headers).await.status(), 200);
            assert_eq!(scene.view.service.seen()[0].headers["accept-encoding"], asked, "{accept:?} {path}");
        }
    }
    for (accept, status, error) in [
        ("identity;q=0", 406, "NotAcceptable"),
        ("zstd,*;q=0", 406, "NotAcceptable"),
        ("gzip;q=7", 400, "InvalidRequest"),
    ] {
        for (path, _) in all(&scene.alice.did) {
            let answer = scene.send(Method::GET, &path, &[("accept-encoding", accept)]).await;
            let status_and_error = (answer.status().as_u16(), answer.json::<Value>().await.unwrap()["error"].clone());
            assert_eq!(status_and_error, (status, json!(error)), "{accept} {path}");
        }
    }
    assert_eq!(scene.view.asked().len(), 0);
    // An answer that is patched is packed for the caller as any other.
    scene.write_profile(json!({ "displayName": "Alice" })).await;
    let (path, mut said) = all(&scene.alice.did).remove(0);
    said["pronouns"] = json!("x".repeat(1000));
    scene.view.says(method(&path), &said);
    let answer = scene.send(Method::GET, &path, &[("accept-encoding", "gzip, identity;q=0")]).await;
    assert!(answer.headers().contains_key("atproto-upstream-lag"));
    assert_eq!(answer.headers()["content-encoding"], "gzip");
}

#[tokio::test]
async fn an_answer_that_cannot_be_patched_goes_through_as_it_came() {
    let scene = Scene::new(&[]).await;
    scene.write_profile(json!({ "displayName": "Alice" })).await;
    scene.write("app.bsky.feed.post", post_of("new", Value::Null)).await;
    let json = [("content-type", "application/json")];
    for (path, said) in all(&scene.alice.did) {
        let nsid = method(&path);
        let wrong = ["{", "[1]", "{}", r#"{"feed":{},"profiles":{}}"#, r#"{"feed":[{}],"profiles":[{}]}"#];
        for wrong in wrong {
            scene.view.says_bytes(nsid, wrong.into(), &json);
            scene.passed(&path, wrong.as_bytes()).await;
        }
        let text = serde_json::to_vec(&said).unwrap();
        scene.view.says_bytes(nsid, text.clone(), &[("content-type", "text/plain")]);
        scene.passed(&path, &text).await;
        // As large as this no page is.
        let large = [text.clone(), vec![b' '; 5 << 20]].concat();
        scene.view.says_bytes(nsid, large.clone(), &json);
        scene.passed(&path, &large).await;

        scene.view.says_bytes(nsid, text.clone(), &json);
        scene.patched(&path).await;
        let head = scene.send(Method::HEAD, &path, &[]).await;
        assert!(head.headers().contains_key("atproto-repo-rev") && head.bytes().await.unwrap().is_empty());
        assert_eq!(scene.view.service.seen().last().unwrap().verb, "HEAD");

        for (status, told, error) in [(400, 400, "BlockedActor"), (404, 404, "NotFound"), (500, 502, "Broken")] {
            scene.view.refuses(nsid, StatusCode::from_u16(status).unwrap(), error);
            let answer = scene.ask(&path).await;
            assert_eq!(answer.status().as_u16(), told, "{path}");
            assert_eq!(answer.json::<Value>().await.unwrap()["error"], error, "{path}");
        }
        // What breaks off before anything was answered is an error, not half an answer.
        let half = Said {
            status: StatusCode::OK,
            body: text[..text.len() / 2].to_vec(),
            headers: json.to_vec(),
            end: End::Broken,
        };
        scene.view.set(nsid, half);
        let answer = scene.ask(&path).await;
        assert_eq!(answer.status(), 502, "{path}");
        assert_eq!(answer.json::<Value>().await.unwrap()["error"], "UpstreamFailure");
    }
    // Nothing is asked for with parameters that are none.
    scene.view.asked();
    for path in [
        "app.bsky.actor.getProfile",
        "app.bsky.actor.getProfiles?actors=@",
        "app.bsky.feed.getActorLikes?actor=a.test&limit=0",
        "app.bsky.feed.getAuthorFeed?actor=a.test&includePins=1",
        "app.bsky.feed.getPostThread?uri=x",
        "app.bsky.feed.getTimeline?limit=101",
    ] {
        assert_eq!(scene.ask(path).await.status(), 400, "{path}");
    }
    assert_eq!(scene.view.asked().len(), 0);
}

#[tokio::test]
async fn only_the_operators_own_view_is_believed() {
    let scene = Scene::new(&[]).await;
    let other = Service::start(&scene._plc, |_: &Seen| {
        ([("atproto-repo-rev", "2222222222223")], axum::Json(json!({ "feed": [] }))).into_response()
    })
    .await;
    let did = crate::proxy::registered(&scene._plc, "bsky_appview", "BskyAppView", other.url()).await;
    scene.write("app.bsky.feed.post", post_of("new", Value::Null)).await;
    let named = |did: &str| format!("{did}#bsky_appview");
    let answer = scene.send(Method::GET, "app.bsky.feed.getTimeline", &[("atproto-proxy", &named(&did))]).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.headers().get("atproto-upstream-lag").is_none());
    assert_eq!(answer.json::<Value>().await.unwrap(), json!({ "feed": [] }));
    let token = Some((did, "app.bsky.feed.getTimeline".to_owned()));
    assert_eq!(other.seen()[0].token, token);

    scene.view.says("app.bsky.feed.getTimeline", &json!({ "feed": [] }));
    let answer = scene.send(Method::GET, "app.bsky.feed.getTimeline", &[("atproto-proxy", &named(VIEW))]).await;
    assert_eq!(answer.json::<Value>().await.unwrap()["feed"].as_array().unwrap().len(), 1);
}
