//! Answers of a view patched: each method's, and those that are left as they came.

use serde_json::json;

use super::patch::{Feed, insert_into_thread, profiles, thread_wants};
use super::show::{Images, media_of, quoted};
use super::*;

const ALICE: &str = "did:plc:7iza6de2dwap2sbkpav7c6c6";
const BOB: &str = "did:plc:bbbbbbbbbbbbbbbbbbbbbbbb";

struct Named(Did);

impl Images for Named {
    fn did(&self) -> &Did {
        &self.0
    }

    fn url(&self, preset: &str, cid: &str) -> String {
        format!("{preset}/{cid}")
    }
}

fn images() -> Named {
    Named(Did::parse(ALICE).unwrap())
}

fn blob(cid: &str) -> Value {
    json!({ "$type": "blob", "ref": { "$link": cid }, "mimeType": "image/png", "size": 1 })
}

fn uri(rkey: &str) -> String {
    format!("at://{ALICE}/app.bsky.feed.post/{rkey}")
}

/// A post of Alice, a reply if `reply` names root and parent.
fn own(rkey: &str, second: u32, reply: Option<(&str, &str)>) -> Own {
    let mut record = json!({ "$type": POST, "text": rkey });
    if let Some((root, parent)) = reply {
        record["reply"] = json!({ "root": { "uri": uri(root) }, "parent": { "uri": uri(parent) } });
    }
    let indexed_at = format!("2026-01-01T00:00:{second:02}.000Z");
    Own { uri: AtUri::parse(&uri(rkey)).unwrap(), cid: "cid".to_owned(), indexed_at, record }
}

fn item(author: &str, rkey: &str, second: u32) -> Value {
    let author = json!({ "did": author, "displayName": "old" });
    json!({ "post": { "uri": uri(rkey), "author": author, "indexedAt": format!("2026-01-01T00:00:{second:02}.000Z") } })
}

fn with_views(posts: Vec<&Own>) -> Vec<(&Own, Value)> {
    let view = |own: &Own| json!({ "uri": own.uri, "record": own.record, "indexedAt": own.indexed_at });
    posts.into_iter().map(|own| (own, view(own))).collect()
}

/// What an answer is after `change`.
fn changed(body: &Value, change: impl FnOnce(&mut Part<'_>) -> Result<(), Unpatched>) -> Result<Value, Unpatched> {
    let text = serde_json::to_vec(body).unwrap();
    let mut body = Part::of(&text)?;
    change(&mut body)?;
    Ok(serde_json::to_value(&body).unwrap())
}

/// The keys of the posts of a feed.
fn keys(feed: &Value) -> Vec<&str> {
    feed["feed"].as_array().unwrap().iter().map(key).collect()
}

fn key(item: &Value) -> &str {
    item["post"]["uri"].as_str().unwrap().rsplit('/').next().unwrap()
}

/// The keys of a thread: each with those of its replies.
fn tree(thread: &Value) -> String {
    let key = key(thread);
    let replies = thread["replies"].as_array().map(|replies| replies.iter().map(tree).collect::<Vec<_>>().join(" "));
    replies.map_or(key.to_owned(), |replies| format!("{key}({replies})"))
}

#[test]
fn a_profile_shows_what_its_newest_record_has_and_only_that() {
    let record =
        json!({ "displayName": "new", "avatar": blob("a"), "banner": { "cid": "b", "mimeType": "image/png" } });
    let view =
        |did: &str| json!({ "did": did, "displayName": "old", "description": "old", "avatar": "old", "posts": 7 });
    let update = |record: &Value| {
        let body = json!({ "profiles": [view(BOB), view(ALICE)] });
        changed(&body, |body| profiles(body, Some(record), &images())).unwrap()
    };
    let expected =
        json!({ "did": ALICE, "displayName": "new", "avatar": "avatar/a", "banner": "banner/b", "posts": 7 });
    assert_eq!(update(&record), json!({ "profiles": [view(BOB), expected] }), "the description is gone");
    assert_eq!(update(&json!({})), json!({ "profiles": [view(BOB), { "did": ALICE, "posts": 7 }] }));

    let feed = json!({ "feed": [item(ALICE, "a", 1), item(BOB, "b", 1)] });
    let mut expected = feed.clone();
    expected["feed"][0]["post"]["author"] = json!({ "did": ALICE, "displayName": "new", "avatar": "avatar/a" });
    let patched = |record| changed(&feed, |body| Feed::of(body)?.authors(record, &images())).unwrap();
    assert_eq!((patched(Some(&record)), patched(None)), (expected, feed.clone()));
}

#[test]
fn an_answer_without_what_is_looked_at_is_not_patched() {
    let is_feed = |body: &Value| changed(body, |body| Feed::of(body).map(drop)).is_ok();
    let are_profiles = |body: &Value| changed(body, |body| profiles(body, None, &images())).is_ok();
    assert!(are_profiles(&json!({ "profiles": [{ "did": BOB }] })));
    assert!(is_feed(&json!({ "feed": [item(BOB, "a", 1)] })));
    for wrong in
        [json!({}), json!([]), json!({ "profiles": {}, "feed": {} }), json!({ "profiles": [{}], "feed": [{}] })]
    {
        assert!(!are_profiles(&wrong) && !is_feed(&wrong), "{wrong}");
    }
    let mut timeless = item(BOB, "a", 1);
    timeless["post"]["indexedAt"] = json!(7);
    assert!(!is_feed(&json!({ "feed": [item(BOB, "a", 1), timeless] })));
    for wrong in [json!({}), json!([]), json!({ "post": {} }), json!({ "$type": 7, "post": item(BOB, "a", 1)["post"] })]
    {
        assert!(changed(&wrong, |thread| thread_wants(thread, &[]).map(drop)).is_err(), "{wrong}");
    }
}

#[test]
fn posts_stand_in_a_feed_before_the_first_that_is_older() {
    let posts = [own("p1", 1, None), own("p4", 4, None), own("p9", 9, None)];
    let with_posts = |feed: Value| {
        let put = |body: &mut Part<'_>| {
            let mut feed = Feed::of(body)?;
            let views = with_views(feed.wants(&posts));
            feed.insert(&views)
        };
        changed(&json!({ "feed": feed, "cursor": "x" }), put).unwrap()
    };
    let feed = with_posts(json!([item(BOB, "f5", 5), item(BOB, "f3", 3), item(BOB, "f1", 1)]));
    assert_eq!((keys(&feed), &feed["cursor"]), (vec!["p9", "f5", "p4", "f3", "f1"], &json!("x")));
    assert_eq!(keys(&with_posts(json!([]))), ["p9", "p4", "p1"]);
    assert_eq!(keys(&with_posts(json!([item(BOB, "f1", 1), item(BOB, "f9", 9)]))), ["f1", "f9"]);
}

#[test]
fn a_feed_is_whose_post_or_repost_it_begins_with() {
    let alice = Did::parse(ALICE).unwrap();
    let repost = |by: &str, kind: &str| {
        let mut item = item(BOB, "a", 1);
        item["reason"] = json!({ "$type": format!("app.bsky.feed.defs#{kind}"), "by": { "did": by } });
        item
    };
    for (feed, is_hers) in [
        (json!([]), false),
        (json!([item(ALICE, "a", 1)]), true),
        (json!([item(BOB, "a", 1), item(ALICE, "a", 1)]), false),
        (json!([repost(ALICE, "reasonRepost")]), true),
        (json!([repost(BOB, "reasonRepost")]), false),
        (json!([repost(ALICE, "reasonPin")]), false),
    ] {
        let check = |body: &mut Part<'_>| {
            assert_eq!(Feed::of(body)?.is_of(&alice), is_hers);
            Ok(())
        };
        changed(&json!({ "feed": feed }), check).unwrap();
    }
}

#[test]
fn replies_stand_below_what_they_are_replies_to() {
    let post = |key: &str| {
        let record = json!({ "reply": { "root": { "uri": uri("root") } } });
        json!({ "$type": "app.bsky.feed.defs#threadViewPost", "post": { "uri": uri(key), "record": record } })
    };
    let mut thread = post("seen");
    let blocked = json!({ "$type": "app.bsky.feed.defs#blockedPost", "uri": uri("deep") });
    thread["replies"] = json!([post("one"), post("two")]);
    thread["replies"][1]["replies"] = json!([blocked]);
    let posts = [
        own("alone", 1, None),
        own("other", 1, Some(("elsewhere", "seen"))),
        own("first", 2, Some(("root", "seen"))),
        own("below", 3, Some(("root", "first"))),
        own("second", 4, Some(("seen", "seen"))),
        own("lost", 5, Some(("root", "missing"))),
        own("leaf", 6, Some(("root", "one"))),
    ];
    let put = |thread: &mut Part<'_>| {
        let wanted = thread_wants(thread, &posts)?;
        assert_eq!(wanted.len(), 5, "{wanted:?}");
        insert_into_thread(thread, &with_views(wanted))
    };
    let mut patched = changed(&thread, put).unwrap();
    assert_eq!(patched["replies"].as_array_mut().unwrap().pop(), Some(thread["replies"][1].clone()));
    assert_eq!(tree(&patched), "seen(second first(below) one(leaf))");

    let missing = json!({ "$type": "app.bsky.feed.defs#notFoundPost", "uri": uri("root"), "notFound": true });
    let none = |thread: &mut Part<'_>| {
        assert!(thread_wants(thread, &posts)?.is_empty());
        Ok(())
    };
    changed(&missing, none).unwrap();
    // Of a conversation that goes on and on only the upper end is looked through.
    let deep = |levels: usize| {
        let mut thread = post("one");
        for _ in 0..levels {
            let above = post("above");
            let below = std::mem::replace(&mut thread, above);
            thread["replies"] = json!([below]);
        }
        serde_json::to_vec(&thread).unwrap()
    };
    for (levels, is_found) in [(50, true), (100, true), (101, false)] {
        let text = deep(levels);
        let mut thread = Part::of(&text).unwrap();
        insert_into_thread(&mut thread, &with_views(vec![&posts[6]])).unwrap();
        assert_eq!(serde_json::to_vec(&thread).unwrap().len() > text.len(), is_found, "{levels}");
    }
}

#[test]
fn what_a_post_embeds_is_shown_as_the_view_does() {
    let shown = |embed: &Value| media_of(&images(), embed).map(|shown| shown.map_err(|error| error.to_string()));
    let picture = json!({ "image": blob("a"), "alt": "x", "aspectRatio": { "width": 1, "height": 2 } });
    let embed = json!({ "$type": "app.bsky.embed.images", "images": [picture, { "image": blob("b"), "alt": "" }] });
    let expected = json!({ "$type": "app.bsky.embed.images#view", "images": [
        { "thumb": "feed_thumbnail/a", "fullsize": "feed_fullsize/a", "alt": "x", "aspectRatio": { "width": 1, "height": 2 } },
        { "thumb": "feed_thumbnail/b", "fullsize": "feed_fullsize/b", "alt": "" },
    ] });
    assert_eq!(shown(&embed), Some(Ok(expected)));
    let page = |thumb: Option<Value>| {
        let mut page = json!({ "uri": "https://a.test", "title": "t", "description": "d" });
        patch::set(&mut page, "thumb", thumb);
        page
    };
    let external =
        |kind: &str, thumb| json!({ "$type": format!("app.bsky.embed.external{kind}"), "external": page(thumb) });
    assert_eq!(shown(&external("", Some(blob("a")))), Some(Ok(external("#view", Some(json!("feed_thumbnail/a"))))));
    assert_eq!(shown(&external("", None)), Some(Ok(external("#view", None))));
    for embed in [json!({}), json!({ "$type": "app.bsky.embed.video", "video": blob("a") })] {
        assert_eq!(shown(&embed), None);
    }
    for embed in [
        json!({ "$type": "app.bsky.embed.images" }),
        json!({ "$type": "app.bsky.embed.images", "images": [{}] }),
        json!({ "$type": "app.bsky.embed.external" }),
    ] {
        assert!(matches!(shown(&embed), Some(Err(_))), "{embed}");
    }

    let post = json!({ "uri": "u", "cid": "c", "author": { "did": BOB }, "record": { "text": "t" }, "likeCount": 3,
        "labels": [1], "embed": { "a": 1 }, "indexedAt": "now" });
    let expected = json!({ "$type": "app.bsky.embed.record#viewRecord", "uri": "u", "cid": "c", "author": { "did": BOB },
        "value": { "text": "t" }, "labels": [1], "embeds": [{ "a": 1 }], "indexedAt": "now" });
    assert_eq!(quoted(post), expected);
}

#[test]
fn only_json_is_read() {
    for (kind, reads) in [
        (None, true),
        (Some("application/json"), true),
        (Some("Application/JSON; charset=utf-8"), true),
        (Some("application/ld+json"), true),
        (Some("text/html"), false),
        (Some("application/jsonp"), false),
    ] {
        let headers = kind.map(|kind| (header::CONTENT_TYPE, HeaderValue::from_static(kind))).into_iter().collect();
        assert_eq!(may_be_json(&headers), reads, "{kind:?}");
    }
}
