//! What is put where, in the JSON of the view's answers.
//!
//! Nothing is asked and nothing is awaited here. Only what is touched is looked at; what is not there as the schemas say
//! is an error, after which the answer is not to be used.

use serde_json::{Value, json};
use shared::syntax::Did;

use super::show::Images;
use super::{Own, Unpatched};

const THREAD: &str = "app.bsky.feed.defs#threadViewPost";
const REPOST: &str = "app.bsky.feed.defs#reasonRepost";

/// The text at `pointer`.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// The list called `name`, each of whose items has texts at `pointers`.
fn list<'v>(
    body: &'v mut Value,
    name: &'static str,
    pointers: &[&'static str],
) -> Result<&'v mut Vec<Value>, Unpatched> {
    let items = body.get_mut(name).and_then(Value::as_array_mut).ok_or(Unpatched::Lacks(name))?;
    match pointers.iter().find(|pointer| items.iter().any(|item| text(item, pointer).is_none())) {
        Some(pointer) => Err(Unpatched::Lacks(pointer)),
        None => Ok(items),
    }
}

/// The profiles of an answer.
pub(super) fn profiles_of(body: &mut Value) -> Result<&mut Vec<Value>, Unpatched> {
    list(body, "profiles", &["/did"])
}

/// The items of a feed.
pub(super) fn feed_of(body: &mut Value) -> Result<&mut Vec<Value>, Unpatched> {
    list(body, "feed", &["/post/author/did", "/post/indexedAt"])
}

/// Gives an object a field, or takes it.
pub(super) fn set(object: &mut Value, name: &str, value: Option<Value>) {
    let Some(object) = object.as_object_mut() else { return };
    match value {
        Some(value) => drop(object.insert(name.to_owned(), value)),
        None => drop(object.remove(name)),
    }
}

/// Whether `value` is a `kind`, which it need not say.
fn is(value: &Value, kind: &str) -> bool {
    value.is_object() && value.get("$type").is_none_or(|found| found == kind)
}

/// Brings a profile up to date, if it is the owner's.
pub(super) fn profile(view: &mut Value, record: &Value, images: &impl Images) {
    if text(view, "/did") == Some(images.did().as_str()) {
        author(view, record, images);
        set(view, "description", record.get("description").cloned());
        set(view, "banner", images.of(record, "banner", "banner"));
    }
}

/// The same for what goes with a post.
fn author(view: &mut Value, record: &Value, images: &impl Images) {
    set(view, "displayName", record.get("displayName").cloned());
    set(view, "avatar", images.of(record, "avatar", "avatar"));
}

/// Brings what a feed shows of the owner as the author of posts up to date.
pub(super) fn authors(feed: &mut [Value], record: &Value, images: &impl Images) {
    for view in feed.iter_mut().filter_map(|item| item.pointer_mut("/post/author")) {
        if text(view, "/did") == Some(images.did().as_str()) {
            author(view, record, images);
        }
    }
}

/// Whether a feed is `did`'s own: it begins with a post or a repost of theirs.
pub(super) fn is_feed_of(feed: &[Value], did: &Did) -> bool {
    let Some(first) = feed.first() else { return false };
    let whose = match first.get("reason") {
        None | Some(Value::Null) => text(first, "/post/author/did"),
        Some(reason) if is(reason, REPOST) => text(reason, "/by/did"),
        Some(_) => None,
    };
    whose == Some(did.as_str())
}

/// Those of `posts` that belong into a page of a feed: they are newer than its last. Newest first.
pub(super) fn for_feed<'p>(feed: &[Value], posts: &'p [Own]) -> Vec<&'p Own> {
    let last = feed.last().and_then(|last| text(last, "/post/indexedAt")).unwrap_or_default();
    posts.iter().rev().filter(|post| post.indexed_at.as_str() > last).collect()
}

/// Puts each post before the first that is older, or at the end.
pub(super) fn insert_into_feed(feed: &mut Vec<Value>, posts: Vec<(&Own, Value)>) {
    for (own, post) in posts {
        let older = |item: &Value| text(item, "/post/indexedAt").is_some_and(|time| time < own.indexed_at.as_str());
        let place = feed.iter().position(older).unwrap_or(feed.len());
        feed.insert(place, json!({ "post": post }));
    }
}

/// A post as the beginning of a thread.
pub(super) fn thread_of(post: &Value) -> Value {
    json!({ "$type": THREAD, "post": post })
}

/// Those of `posts` that are replies in the same conversation as a thread.
pub(super) fn for_thread<'p>(thread: &Value, posts: &'p [Own]) -> Vec<&'p Own> {
    const ROOT: &str = "/reply/root/uri";
    let known = [text(thread, "/post/uri"), thread.pointer("/post/record").and_then(|record| text(record, ROOT))];
    let belongs = |post: &&Own| {
        let root = text(&post.record, ROOT);
        root.is_some() && known.contains(&root)
    };
    if is(thread, THREAD) { posts.iter().filter(belongs).collect() } else { Vec::new() }
}

/// Puts each reply first among those to what it is a reply to, which may be one that was put there before.
pub(super) fn insert_into_thread(thread: &mut Value, posts: Vec<(&Own, Value)>) {
    for (own, post) in posts {
        if let Some(parent) = text(&own.record, "/reply/parent/uri") {
            insert_reply(thread, parent, &post);
        }
    }
}

/// Threads are as deep as JSON is read here, which is a hundred levels and some.
fn insert_reply(view: &mut Value, parent: &str, post: &Value) {
    let is_parent = text(view, "/post/uri") == Some(parent);
    let Some(view) = view.as_object_mut() else { return };
    if is_parent {
        let replies = view.entry("replies").or_insert_with(|| json!([]));
        if let Some(replies) = replies.as_array_mut() {
            replies.insert(0, thread_of(post));
        }
        return;
    }
    let replies = view.get_mut("replies").and_then(Value::as_array_mut);
    for reply in replies.into_iter().flatten().filter(|reply| is(reply, THREAD)) {
        insert_reply(reply, parent, post);
    }
}
