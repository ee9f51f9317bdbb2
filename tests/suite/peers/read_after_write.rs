//! One view of the network, lagging more and less, behind the reference server and the origin on equal data: what they
//! answer, and what they ask the view, has to be the same.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use futures_util::future::join;
use reqwest::Client;
use serde_json::{Value, json};
use tests::Plc;
use tests::peers::{Place, Version, packages};

use super::caller::{Account, As, Caller};
use super::differential::copy;
use crate::read_after_write::{
    BOB, CDN, CID, THEN, VIEW, View, post_of, post_view, profile_view, reply_of, thread_view,
};

const KEY: &str = "3jzfcijpj2z2a";

/// What is compared of an answer: all but how long the view lags.
#[derive(Debug, PartialEq)]
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Value,
}

/// Of a call that the view saw: the method, its parameters, whom it was for, in whose name, and how it may be packed.
type Asked = (String, Vec<(String, String)>, Option<(String, String)>, Option<String>, Option<String>);

async fn ask(place: &Place, view: &View, path: &str, alice: &Account, accept: Option<&str>) -> (Answer, Vec<Asked>) {
    let mut request = Client::new().get(place.url(&format!("/xrpc/{path}"))).bearer_auth(&alice.access);
    if let Some(accept) = accept {
        request = request.header("accept-encoding", accept);
    }
    let answer = request.send().await.unwrap();
    let compared =
        ["content-type", "content-encoding", "atproto-repo-rev", "atproto-content-labelers", "cache-control"];
    let text =
        |name: &str| answer.headers().get(name).map(|value| (name.to_owned(), value.to_str().unwrap().to_owned()));
    let mut headers: BTreeMap<_, _> = compared.iter().filter_map(|name| text(name)).collect();
    headers
        .extend(text("atproto-upstream-lag").map(|(name, lag)| (name, (lag.parse::<i64>().unwrap() >= 0).to_string())));
    // Its framework says so of whatever it has read.
    headers.entry("content-type".to_owned()).and_modify(|kind| *kind = kind.replace("; charset=utf-8", ""));
    let status = answer.status().as_u16();
    let body = answer.bytes().await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
    let seen = view.service.seen().into_iter().map(|seen| {
        let url = url_of(&seen.path);
        let nsid = url.path().trim_start_matches("/xrpc/").to_owned();
        let params = url.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned()));
        // It asks for a whole page of who is on a list, and shows nobody.
        let params = params.filter(|(name, _)| !(nsid == "app.bsky.graph.getList" && name == "limit")).collect();
        // The library that asks for what is embedded says what it likes.
        let passed_on = seen.path.strip_prefix("/xrpc/") == Some(path);
        let accept = seen.headers.get("accept-encoding").filter(|_| passed_on).cloned();
        (nsid, params, seen.token, seen.caller, accept)
    });
    let mut seen: Vec<Asked> = seen.collect();
    seen.sort();
    (Answer { status, headers, body }, seen)
}

/// Where two values differ.
fn differ(at: &str, wanted: &Value, got: &Value, found: &mut Vec<String>) {
    match (wanted, got) {
        (Value::Object(wanted), Value::Object(got)) => {
            for name in wanted.keys().chain(got.keys().filter(|name| !wanted.contains_key(*name))) {
                let of = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(json!("(missing)"));
                differ(&format!("{at}/{name}"), &of(wanted), &of(got), found);
            }
        }
        (Value::Array(wanted), Value::Array(got)) if wanted.len() == got.len() => {
            for (nth, (wanted, got)) in wanted.iter().zip(got).enumerate() {
                differ(&format!("{at}/{nth}"), wanted, got, found);
            }
        }
        _ if wanted != got => found.push(format!("{at}: {wanted} {got}")),
        _ => {}
    }
}

fn url_of(path: &str) -> reqwest::Url {
    reqwest::Url::parse("http://localhost").unwrap().join(path).unwrap()
}

/// What Alice writes, and the revision after each step.
async fn write(caller: &Caller<'_>, alice: &Account) -> (Vec<String>, Vec<Value>) {
    let image = caller.upload(alice, "image/png", b"\x89PNG\r\n\x1a\n of a picture".to_vec()).await;
    let images = json!({ "$type": "app.bsky.embed.images", "images": [
        { "alt": "a", "image": image, "aspectRatio": { "width": 4, "height": 3 } }, { "alt": "", "image": image }] });
    let external = |thumb: bool| {
        let mut page = json!({ "uri": "https://a.test/", "title": "t", "description": "d" });
        if thumb {
            page["thumb"] = image.clone();
        }
        json!({ "$type": "app.bsky.embed.external", "external": page })
    };
    let quote = |collection: &str| {
        let record = json!({ "uri": format!("at://{BOB}/{collection}/{KEY}"), "cid": CID });
        json!({ "$type": "app.bsky.embed.record", "record": record })
    };
    let both = |media: &Value| json!({ "$type": "app.bsky.embed.recordWithMedia", "record": quote("app.bsky.feed.post"), "media": media });
    let video = json!({ "$type": "app.bsky.embed.video", "video": { "$type": "blob", "mimeType": "video/mp4",
        "ref": image["ref"], "size": image["size"] } });
    let reference = |uri: &str| json!({ "uri": uri, "cid": CID });
    let bobs = reference(&format!("at://{BOB}/app.bsky.feed.post/{KEY}"));
    let deeper = reference(&format!("at://{BOB}/app.bsky.feed.post/{KEY}b"));
    let mut odd = post_of("odd", Value::Null);
    odd["com.example.more"] =
        json!({ "link": { "$link": CID }, "bytes": { "$bytes": "AQID" }, "n": [1, -7, null, true] });

    let (mut revs, mut posts) = (Vec::new(), Vec::new());
    let mut post = async |record: Value| {
        let made = caller.create(alice, "app.bsky.feed.post", record).await;
        revs.push(made["commit"]["rev"].as_str().unwrap().to_owned());
        let made = json!({ "uri": made["uri"], "cid": made["cid"] });
        posts.push(made.clone());
        made
    };
    // What came before anything is shown, so that ten are enough for all that is newer.
    post(post_of("old", Value::Null)).await;
    for embed in [images.clone(), external(true), external(false), video] {
        post(post_of("with what is hers", embed)).await;
    }
    for collection in
        ["app.bsky.feed.post", "app.bsky.feed.generator", "app.bsky.graph.list", "app.bsky.graph.starterpack"]
    {
        post(post_of("with what is another's", quote(collection))).await;
    }
    for media in [&images, &external(true)] {
        post(post_of("with both", both(media))).await;
    }
    post(odd).await;
    let first = post(reply_of("a reply", &bobs, &bobs)).await;
    post(reply_of("to that", &bobs, &first)).await;
    post(reply_of("deeper", &bobs, &deeper)).await;
    let alone = post(post_of("of its own", Value::Null)).await;
    let below = post(reply_of("below", &alone, &alone)).await;
    post(reply_of("below that", &alone, &below)).await;
    let like = json!({ "subject": bobs, "createdAt": THEN });
    caller.create(alice, "app.bsky.feed.like", like).await;
    let profile = |profile: Value| {
        let place =
            json!({ "repo": alice.did, "collection": "app.bsky.actor.profile", "rkey": "self", "record": profile });
        caller.post("com.atproto.repo.putRecord", alice.access(), place)
    };
    for record in [json!({ "displayName": "Alice", "avatar": image, "banner": image, "description": "new" }), json!({})]
    {
        let made = profile(record).await;
        revs.push(made["commit"]["rev"].as_str().unwrap().to_owned());
    }
    (revs, posts)
}

/// What is asked, and what the view answers to it.
fn requests(did: &str, posts: &[Value]) -> Vec<(String, Value)> {
    let (own, bobs) = (post_view(did, KEY), post_view(BOB, KEY));
    let feed = |items: Value| json!({ "cursor": "x", "feed": items });
    let repost = |by: &str| {
        json!({ "post": bobs, "reason": { "$type": "app.bsky.feed.defs#reasonRepost",
        "by": { "did": by, "handle": "alice.test" }, "indexedAt": THEN } })
    };
    let mut later = post_view(BOB, KEY);
    later["indexedAt"] = json!("2999-01-01T00:00:00.000Z");
    let feeds = [
        feed(json!([])),
        feed(json!([{ "post": own }, { "post": bobs }])),
        feed(json!([{ "post": bobs }, { "post": own }])),
        feed(json!([repost(did), { "post": own }])),
        feed(json!([repost(BOB), { "post": own }])),
        feed(json!([{ "post": later }, { "post": own }])),
        feed(json!([{ "post": own }, { "post": later }])),
        json!({ "feed": 7 }),
    ];
    let mut requests = Vec::new();
    for feed in &feeds {
        requests.push(("app.bsky.feed.getTimeline?limit=30&cursor=a%20b".to_owned(), feed.clone()));
        requests.push((format!("app.bsky.feed.getAuthorFeed?actor={did}&filter=posts_no_replies"), feed.clone()));
        requests.push((format!("app.bsky.feed.getActorLikes?actor={did}"), feed.clone()));
    }
    let mut known = profile_view(did, "alice.test");
    known["description"] = json!("old");
    known["banner"] = json!("https://a.test/banner");
    for profile in [&known, &profile_view(BOB, "bob.test"), &json!({ "handle": "x" })] {
        requests.push((format!("app.bsky.actor.getProfile?actor={did}"), profile.clone()));
        let profiles = json!({ "profiles": [profile, known, profile_view(BOB, "bob.test")] });
        requests.push((format!("app.bsky.actor.getProfiles?actors[]={did}&actors=bob.test"), profiles));
    }
    let thread_of = |uri: &str| format!("app.bsky.feed.getPostThread?uri={uri}&depth=3&parentHeight=4");
    let mut deeper = post_view(BOB, &format!("{KEY}b"));
    let reference = json!({ "uri": bobs["uri"], "cid": bobs["cid"] });
    deeper["record"] = reply_of("between", &reference, &reference);
    let mut thread = thread_view(&bobs);
    thread["replies"] = json!([thread_view(&deeper), { "$type": "app.bsky.feed.defs#notFoundPost", "uri": own["uri"], "notFound": true }]);
    let mut bare = thread_view(&bobs);
    bare.as_object_mut().unwrap().remove("replies");
    let blocked = json!({ "$type": "app.bsky.feed.defs#blockedPost", "uri": bobs["uri"], "blocked": true, "author": { "did": BOB } });
    for thread in [&thread, &bare, &thread_view(&deeper), &thread_view(&own), &blocked] {
        let gate = json!({ "uri": format!("at://{BOB}/app.bsky.feed.threadgate/{KEY}"), "cid": CID });
        requests.push((thread_of(bobs["uri"].as_str().unwrap()), json!({ "thread": thread, "threadgate": gate })));
    }
    // Not found.
    for post in posts {
        let uri = post["uri"].as_str().unwrap();
        requests.push((thread_of(uri), Value::Null));
    }
    let named = posts.iter().rev().take(3).map(|post| post["uri"].as_str().unwrap().replace(did, "alice.test"));
    requests.extend(named.map(|uri| (thread_of(&uri), Value::Null)));
    for uri in
        [bobs["uri"].as_str().unwrap(), &format!("at://{did}"), &format!("at://nobody.test/app.bsky.feed.post/{KEY}")]
    {
        requests.push((thread_of(uri), Value::Null));
    }
    requests
}

/// What the view shows of what Alice's posts embed.
fn embedded(view: &View) {
    let creator = json!({ "did": BOB, "handle": "bob.test" });
    let at = |collection: &str| format!("at://{BOB}/{collection}/{KEY}");
    let mut post = post_view(BOB, KEY);
    post["labels"] = json!([]);
    post["embed"] = json!({ "$type": "app.bsky.embed.images#view", "images": [] });
    view.says("app.bsky.feed.getPosts", &json!({ "posts": [post] }));
    let feed = json!({ "uri": at("app.bsky.feed.generator"), "cid": CID, "did": "did:web:feed.test", "creator": creator,
        "displayName": "feed", "indexedAt": THEN });
    view.says("app.bsky.feed.getFeedGenerator", &json!({ "view": feed, "isOnline": true, "isValid": true }));
    let list = json!({ "uri": at("app.bsky.graph.list"), "cid": CID, "creator": creator, "name": "list",
        "purpose": "app.bsky.graph.defs#curatelist", "indexedAt": THEN });
    view.says("app.bsky.graph.getList", &json!({ "list": list, "items": [] }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_lagging_view_answers_is_patched_as_the_reference_server_does() {
    let Some(packages) = packages() else { return };
    let plc = Plc::start().await;
    // One that each of the two asks, so that it is known who did.
    let (view, own_view) = (View::start(&plc).await, View::start(&plc).await);
    let place = |view: &View| {
        let url = view.service.url().replace("127.0.0.1", "localhost");
        let place = Place::new(&plc).with("PDS_HOSTNAME", "pds.example.com").with("PDS_INVITE_REQUIRED", "false");
        let place = place.with("PDS_BSKY_APP_VIEW_URL", &url).with("PDS_BSKY_APP_VIEW_DID", VIEW);
        place.with("PDS_BSKY_APP_VIEW_CDN_URL_PATTERN", CDN)
    };
    let (theirs, ours) = (place(&view), place(&own_view));
    let reference = theirs.start_reference(&packages, Version::V0_5_35).await;
    let caller = Caller::new(&theirs);
    let alice = caller.sign_up("alice", "").await;
    let (mut revs, posts) = write(&caller, &alice).await;
    assert!(reference.stop().await.success());
    copy(theirs.directory(), ours.directory());
    let reference = theirs.start_reference(&packages, Version::V0_5_35).await;
    let headwater = ours.start_headwater().await;

    for view in [&view, &own_view] {
        embedded(view);
    }
    revs.extend(["2222222222222", "3jzfcijpj2z2a", "zzzzzzzzzzzzz"].map(str::to_owned));
    let (mut differences, mut count, mut patched) = (Vec::new(), 0, 0);
    let mut compare = async |path: &str, accept: Option<&str>, what: &str, calls: bool| {
        let asked = join(ask(&theirs, &view, path, &alice, accept), ask(&ours, &own_view, path, &alice, accept));
        let (mut wanted, mut got) = asked.await;
        if !calls {
            wanted.1.clear();
            got.1.clear();
        }
        count += 1;
        patched += usize::from(got.0.headers.contains_key("atproto-upstream-lag"));
        if wanted != got {
            let mut found = Vec::new();
            differ("", &wanted.0.body, &got.0.body, &mut found);
            let heads = ((wanted.0.status, wanted.0.headers), (got.0.status, got.0.headers));
            differences.push(format!("{path}, {what}\n  {heads:?}\n  {found:#?}\n  {:?}\n  {:?}", wanted.1, got.1));
        }
    };
    // From all that is newer, ten at a time, to nothing.
    for nth in [0, 6, 12, 18, 19, 20, 22] {
        let rev = &revs[nth];
        for view in [&view, &own_view] {
            view.knows(rev);
            if nth > 8 {
                let above = thread_view(&post_view(BOB, KEY));
                view.says("app.bsky.feed.getPostThread, above", &json!({ "thread": above }));
            }
        }
        for (path, said) in requests(&alice.did, &posts) {
            let nsid = path.split('?').next().unwrap();
            for view in [&view, &own_view] {
                match &said {
                    Value::Null => view.refuses(nsid, StatusCode::BAD_REQUEST, "NotFound"),
                    said => view.says(nsid, said),
                }
            }
            compare(&path, None, rev, true).await;
        }
    }
    let (path, said) = requests(&alice.did, &posts).swap_remove(0);
    for view in [&view, &own_view] {
        view.says("app.bsky.feed.getTimeline", &said);
    }
    for accept in
        ["gzip", "gzip, br;q=0.5", "*", "identity;q=0", "zstd, *;q=0", "br, identity;q=0", "gzip;q=2", "gzip;q"]
    {
        compare(&path, Some(accept), accept, true).await;
    }
    for (status, error) in [(StatusCode::BAD_REQUEST, "BlockedActor"), (StatusCode::NOT_FOUND, "NotFound")] {
        for view in [&view, &own_view] {
            view.refuses("app.bsky.feed.getTimeline", status, error);
        }
        compare(&path, None, error, true).await;
    }
    for path in [
        "app.bsky.actor.getProfile",
        "app.bsky.actor.getProfiles?actors[x]=a.test",
        "app.bsky.feed.getActorLikes?actor=a.test&limit=0",
        "app.bsky.feed.getAuthorFeed?actor=a.test&includePins=1",
        "app.bsky.feed.getPostThread?uri=x",
        "app.bsky.feed.getPostThread?depth=1001&uri=at://a.test/a.b.c/d",
        "app.bsky.feed.getTimeline?limit=101",
    ] {
        compare(path, None, "parameters that are none", true).await;
    }
    for view in [&view, &own_view] {
        view.says("app.bsky.feed.getTimeline", &said);
    }
    // What cannot be shown leaves the answer as it was. What else is on its way to be asked then is chance.
    for view in [&view, &own_view] {
        view.knows(&revs[4]);
    }
    for nsid in ["app.bsky.feed.getPosts", "app.bsky.feed.getFeedGenerator", "app.bsky.graph.getList"] {
        for view in [&view, &own_view] {
            view.refuses(nsid, StatusCode::BAD_REQUEST, "InvalidRequest");
        }
        compare(&path, None, nsid, false).await;
        for view in [&view, &own_view] {
            embedded(view);
        }
    }
    // Away, she shows nothing new.
    for place in [&theirs, &ours] {
        Caller::new(place).post("com.atproto.server.deactivateAccount", As::Bearer(&alice.access), json!({})).await;
    }
    compare(&path, None, "deactivated", false).await;
    println!("{count} answers, {patched} of them patched");
    assert!(patched > 100, "{patched} of {count}");
    assert!(
        differences.is_empty(),
        "{} of {count}:\n{}",
        differences.len(),
        differences[..differences.len().min(12)].join("\n")
    );
    assert!(headwater.stop().await.success());
    assert!(reference.stop().await.success());
}
