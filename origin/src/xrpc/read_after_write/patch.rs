//! What is put where, in the JSON of the view's answers.
//!
//! Nothing is asked and nothing is awaited here. Only what is touched is looked at; what is not there as the schemas say
//! is an error, after which the answer is not to be used.

use serde::Deserialize;
use serde_json::{Value, json};
use shared::syntax::Did;

use super::parts::{Object, Part};
use super::show::Images;
use super::{Own, Unpatched};

const THREAD: &str = "app.bsky.feed.defs#threadViewPost";
const REPOST: &str = "app.bsky.feed.defs#reasonRepost";
/// How many levels of replies are looked through for the parents of new ones: each costs a look at all that is below.
const LEVELS: usize = 100;

/// The text at `pointer`.
pub(super) fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value.pointer(pointer).and_then(Value::as_str)
}

/// Gives an object a field, or takes it.
pub(super) fn set(object: &mut Value, name: &str, value: Option<Value>) {
    let Some(object) = object.as_object_mut() else { return };
    match value {
        Some(value) => drop(object.insert(name.to_owned(), value)),
        None => drop(object.remove(name)),
    }
}

/// What of a profile says whose it is.
#[derive(Debug, Deserialize)]
struct Whose {
    did: String,
}

/// What of a post in a feed matters.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FeedPost {
    author: Whose,
    indexed_at: String,
}

/// Why a post is in a feed.
#[derive(Debug, Deserialize)]
struct Reason {
    #[serde(rename = "$type")]
    kind: Option<String>,
    by: Option<Whose>,
}

/// What of an item of a feed matters.
#[derive(Debug, Deserialize)]
struct ItemHead {
    post: FeedPost,
    reason: Option<Reason>,
}

/// What of a post in a thread, and of its record, matters.
#[derive(Debug, Deserialize)]
struct Reference {
    uri: String,
}

#[derive(Debug, Deserialize)]
struct ThreadPost {
    record: Threaded,
}

#[derive(Debug, Deserialize)]
struct Threaded {
    reply: Reply,
}

#[derive(Debug, Deserialize)]
struct Reply {
    root: Reference,
}

/// Brings a profile up to date, if it is the owner's.
pub(super) fn profile(view: &mut Part<'_>, record: Option<&Value>, images: &impl Images) -> Result<(), Unpatched> {
    let whose: Whose = view.read()?;
    let Some(record) = record.filter(|_| whose.did == images.did().as_str()) else { return Ok(()) };
    let view = view.object()?;
    author(view, record, images)?;
    view.set("description", record.get("description").map(Part::new).transpose()?);
    view.set("banner", images.of(record, "banner", "banner").map(|url| Part::new(&url)).transpose()?);
    Ok(())
}

/// The same for what goes with a post.
fn author(view: &mut Object<'_>, record: &Value, images: &impl Images) -> Result<(), Unpatched> {
    view.set("displayName", record.get("displayName").map(Part::new).transpose()?);
    view.set("avatar", images.of(record, "avatar", "avatar").map(|url| Part::new(&url)).transpose()?);
    Ok(())
}

/// Brings all profiles of an answer up to date.
pub(super) fn profiles(body: &mut Part<'_>, record: Option<&Value>, images: &impl Images) -> Result<(), Unpatched> {
    let views = body.object()?.get_mut("profiles").ok_or(Unpatched::Lacks("profiles"))?.list()?;
    views.iter_mut().try_for_each(|view| profile(view, record, images))
}

/// The items of a feed, each with what of it matters.
#[derive(Debug)]
pub(super) struct Feed<'b, 't> {
    items: &'b mut Vec<Part<'t>>,
    heads: Vec<ItemHead>,
}

impl<'b, 't> Feed<'b, 't> {
    /// That of an answer.
    pub(super) fn of(body: &'b mut Part<'t>) -> Result<Self, Unpatched> {
        let items = body.object()?.get_mut("feed").ok_or(Unpatched::Lacks("feed"))?.list()?;
        let heads = items.iter().map(Part::read).collect::<Result<_, _>>()?;
        Ok(Self { items, heads })
    }

    /// Whether it is `did`'s own: it begins with a post or a repost of theirs.
    pub(super) fn is_of(&self, did: &Did) -> bool {
        let Some(first) = self.heads.first() else { return false };
        let whose = match &first.reason {
            None => Some(&first.post.author),
            Some(Reason { kind, by }) => by.as_ref().filter(|_| kind.as_ref().is_none_or(|kind| kind == REPOST)),
        };
        whose.is_some_and(|whose| whose.did == did.as_str())
    }

    /// Brings what it shows of the owner as the author of posts up to date.
    pub(super) fn authors(&mut self, record: Option<&Value>, images: &impl Images) -> Result<(), Unpatched> {
        let Some(record) = record else { return Ok(()) };
        for (item, head) in self.items.iter_mut().zip(&self.heads) {
            if head.post.author.did == images.did().as_str() {
                author(item.object_at(&["post", "author"])?, record, images)?;
            }
        }
        Ok(())
    }

    /// Those of `posts` that belong into it: they are newer than its last. Newest first.
    pub(super) fn wants<'p>(&self, posts: &'p [Own]) -> Vec<&'p Own> {
        let last = self.heads.last().map_or("", |last| &last.post.indexed_at);
        posts.iter().rev().filter(|post| post.indexed_at.as_str() > last).collect()
    }

    /// Puts each post before the first that is older, or at the end.
    pub(super) fn insert(&mut self, posts: &[(&Own, Value)]) -> Result<(), Unpatched> {
        for (own, post) in posts {
            let (author, indexed_at) = (Whose { did: String::new() }, own.indexed_at.clone());
            let place =
                self.heads.iter().position(|head| head.post.indexed_at < indexed_at).unwrap_or(self.heads.len());
            self.items.insert(place, Part::new(&json!({ "post": post }))?);
            self.heads.insert(place, ItemHead { post: FeedPost { author, indexed_at }, reason: None });
        }
        Ok(())
    }
}

/// A post as the beginning of a thread.
pub(super) fn thread_of<'t>(post: &Value) -> Result<Part<'t>, Unpatched> {
    let mut thread = Object::default();
    thread.set("$type", Some(Part::new(&THREAD)?));
    thread.set("post", Some(Part::new(post)?));
    Ok(Part::Object(thread))
}

/// Opens a view in a thread, if it is of a post, and says which: others are of what cannot be seen.
fn post_of<'p, 't>(view: &'p mut Part<'t>) -> Result<Option<(String, &'p mut Object<'t>)>, Unpatched> {
    let view = view.object()?;
    let kind: Option<String> = view.get("$type").map(Part::read).transpose()?;
    if kind.is_some_and(|kind| kind != THREAD) {
        return Ok(None);
    }
    let post: Reference = view.get("post").ok_or(Unpatched::Lacks("post"))?.read()?;
    Ok(Some((post.uri, view)))
}

/// Those of `posts` that are replies in the same conversation as a thread.
pub(super) fn thread_wants<'p>(thread: &mut Part<'_>, posts: &'p [Own]) -> Result<Vec<&'p Own>, Unpatched> {
    let Some((uri, thread)) = post_of(thread)? else { return Ok(Vec::new()) };
    // Its record is whatever somebody wrote; one that is no reply begins a conversation.
    let post = thread.get("post").and_then(|post| post.read::<ThreadPost>().ok());
    let known = [Some(uri), post.map(|post| post.record.reply.root.uri)];
    let belongs = |own: &&Own| {
        let root = text(&own.record, "/reply/root/uri");
        root.is_some() && known.iter().any(|known| known.as_deref() == root)
    };
    Ok(posts.iter().filter(belongs).collect())
}

/// Puts each reply first among those to what it is a reply to, which may be one that was put there before.
pub(super) fn insert_into_thread(thread: &mut Part<'_>, posts: &[(&Own, Value)]) -> Result<(), Unpatched> {
    for (own, post) in posts {
        if let Some(parent) = text(&own.record, "/reply/parent/uri") {
            insert_reply(thread, parent, post, LEVELS)?;
        }
    }
    Ok(())
}

fn insert_reply(view: &mut Part<'_>, parent: &str, post: &Value, levels: usize) -> Result<(), Unpatched> {
    let Some((uri, view)) = post_of(view)? else { return Ok(()) };
    if uri == parent {
        let reply = thread_of(post)?;
        match view.get_mut("replies") {
            Some(replies) => replies.list()?.insert(0, reply),
            None => view.set("replies", Some(Part::List(vec![reply]))),
        }
        return Ok(());
    }
    let Some((replies, levels)) = view.get_mut("replies").zip(levels.checked_sub(1)) else { return Ok(()) };
    replies.list()?.iter_mut().try_for_each(|reply| insert_reply(reply, parent, post, levels))
}
