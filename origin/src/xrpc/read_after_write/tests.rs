use super::patch::{
    authors, feed_of, for_feed, for_thread, insert_into_feed, insert_into_thread, is_feed_of, profile, profiles_of,
    thread_of,
};
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
    posts.into_iter().map(|own| (own, json!({ "uri": own.uri, "indexedAt": own.indexed_at }))).collect()
}

/// The keys of the posts of a feed.
fn keys(feed: &[Value]) -> Vec<&str> {
    feed.iter().map(|item| item["post"]["uri"].as_str().unwrap().rsplit('/').next().unwrap()).collect()
}

/// The keys of a thread: each with those of its replies.
fn tree(thread: &Value) -> String {
    let key = keys(std::slice::from_ref(thread))[0];
    let replies = thread["replies"].as_array().map(|replies| replies.iter().map(tree).collect::<Vec<_>>().join(" "));
    replies.map_or(key.to_owned(), |replies| format!("{key}({replies})"))
}

#[test]
fn a_profile_shows_what_its_newest_record_has_and_only_that() {
    let record =
        json!({ "displayName": "new", "avatar": blob("a"), "banner": { "cid": "b", "mimeType": "image/png" } });
    let view =
        |did: &str| json!({ "did": did, "displayName": "old", "description": "old", "avatar": "old", "posts": 7 });
    let mut views = [view(BOB), view(ALICE)];
    let update =
        |views: &mut [Value], record: &Value| views.iter_mut().for_each(|view| profile(view, record, &images()));
    update(&mut views, &record);
    assert_eq!(views[0], view(BOB));
    let expected =
        json!({ "did": ALICE, "displayName": "new", "avatar": "avatar/a", "banner": "banner/b", "posts": 7 });
    assert_eq!(views[1], expected, "the description is gone");
    update(&mut views, &json!({}));
    assert_eq!(views[1], json!({ "did": ALICE, "posts": 7 }));

    let mut feed = [item(ALICE, "a", 1), item(BOB, "b", 1)];
    authors(&mut feed, &record, &images());
    assert_eq!(feed[0]["post"]["author"], json!({ "did": ALICE, "displayName": "new", "avatar": "avatar/a" }));
    assert_eq!(feed[1], item(BOB, "b", 1));
}

#[test]
fn an_answer_without_what_is_looked_at_is_not_patched() {
    assert_eq!(profiles_of(&mut json!({ "profiles": [{ "did": BOB }] })).unwrap().len(), 1);
    assert_eq!(feed_of(&mut json!({ "feed": [item(BOB, "a", 1)] })).unwrap().len(), 1);
    for wrong in
        [json!({}), json!([]), json!({ "profiles": {}, "feed": {} }), json!({ "profiles": [{}], "feed": [{}] })]
    {
        assert!(profiles_of(&mut wrong.clone()).is_err() && feed_of(&mut wrong.clone()).is_err(), "{wrong}");
    }
    let mut timeless = item(BOB, "a", 1);
    timeless["post"]["indexedAt"] = json!(7);
    assert!(feed_of(&mut json!({ "feed": [item(BOB, "a", 1), timeless] })).is_err());
}

#[test]
fn posts_stand_in_a_feed_before_the_first_that_is_older() {
    let posts = [own("p1", 1, None), own("p4", 4, None), own("p9", 9, None)];
    let mut feed = vec![item(BOB, "f5", 5), item(BOB, "f3", 3), item(BOB, "f1", 1)];
    let wanted = for_feed(&feed, &posts);
    assert_eq!(
        wanted.iter().map(|own| own.indexed_at.as_str()).collect::<Vec<_>>(),
        ["2026-01-01T00:00:09.000Z", "2026-01-01T00:00:04.000Z"]
    );
    insert_into_feed(&mut feed, with_views(wanted));
    assert_eq!(keys(&feed), ["p9", "f5", "p4", "f3", "f1"]);

    let mut empty = Vec::new();
    insert_into_feed(&mut empty, with_views(for_feed(&[], &posts)));
    assert_eq!(keys(&empty), ["p9", "p4", "p1"]);
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
        (vec![], false),
        (vec![item(ALICE, "a", 1)], true),
        (vec![item(BOB, "a", 1), item(ALICE, "a", 1)], false),
        (vec![repost(ALICE, "reasonRepost")], true),
        (vec![repost(BOB, "reasonRepost")], false),
        (vec![repost(ALICE, "reasonPin")], false),
    ] {
        assert_eq!(is_feed_of(&feed, &alice), is_hers, "{feed:?}");
    }
}

#[test]
fn replies_stand_below_what_they_are_replies_to() {
    let post = |key: &str| json!({ "uri": uri(key), "record": { "reply": { "root": { "uri": uri("root") } } } });
    let mut thread = thread_of(&post("seen"));
    thread["replies"] = json!([thread_of(&post("one")), thread_of(&post("two"))]);
    thread["replies"][1]["replies"] = json!([{ "$type": "app.bsky.feed.defs#blockedPost", "uri": uri("deep") }]);
    let posts = [
        own("alone", 1, None),
        own("other", 1, Some(("elsewhere", "seen"))),
        own("first", 2, Some(("root", "seen"))),
        own("below", 3, Some(("root", "first"))),
        own("second", 4, Some(("seen", "seen"))),
        own("lost", 5, Some(("root", "missing"))),
        own("leaf", 6, Some(("root", "one"))),
    ];
    let wanted = for_thread(&thread, &posts);
    assert_eq!(wanted.len(), 5, "{wanted:?}");
    let blocked = thread["replies"][1].clone();
    insert_into_thread(&mut thread, with_views(wanted));
    assert_eq!(thread["replies"].as_array_mut().unwrap().pop(), Some(blocked));
    assert_eq!(tree(&thread), "seen(second first(below) one(leaf))");

    let missing = json!({ "$type": "app.bsky.feed.defs#notFoundPost", "uri": uri("root"), "notFound": true });
    assert!(for_thread(&missing, &posts).is_empty());
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
