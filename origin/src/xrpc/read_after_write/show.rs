//! The caller's own posts and pictures as the view would show them.
//!
//! What a post embeds of somebody else's is for the view to show: it is asked in the caller's name. What nobody can show
//! yet is left out: who liked it, labels, and embeds of a kind that is not known here.

use axum::http::HeaderMap;
use futures_util::future::try_join_all;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use shared::syntax::{AtUri, Did, Handle};

use super::patch::{set, text};
use super::{Own, PROFILE, SHOWN_WITHIN, Unpatched};
use crate::account::Include;
use crate::actor::read::{self, ReadError};
use crate::app::App;
use crate::error::XrpcError;
use crate::xrpc::proxy::{Target, token};

/// How large an answer of the view may be that is read for a post, in bytes.
const ANSWER_MAX: usize = 512 * 1024;

/// Where the pictures of an account are had.
pub(super) trait Images {
    /// Whose.
    fn did(&self) -> &Did;

    /// The URL of a blob, in one of the view's presets.
    fn url(&self, preset: &str, cid: &str) -> String;

    /// The URL of the picture `name` of a record, if it has one.
    fn of(&self, record: &Value, name: &str, preset: &str) -> Option<Value> {
        let blob = record.get(name)?;
        // What has no type is of the oldest kind.
        let cid = text(blob, "/ref/$link").or_else(|| text(blob, "/cid"))?;
        Some(Value::from(self.url(preset, cid)))
    }
}

/// Shows what is an account's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shower<'a> {
    app: &'a App,
    did: &'a Did,
}

impl Images for Shower<'_> {
    fn did(&self) -> &Did {
        self.did
    }

    fn url(&self, preset: &str, cid: &str) -> String {
        let pattern = self.app.config().services.app_view.as_ref().and_then(|view| view.cdn_url_pattern.as_deref());
        match pattern {
            Some(pattern) => filled(pattern, [preset, self.did.as_str(), cid]),
            None => format!("{}/xrpc/com.atproto.sync.getBlob?did={}&cid={cid}", self.app.public_url(), self.did),
        }
    }
}

/// `pattern` with each `%s` replaced by the next of `words`.
fn filled(pattern: &str, words: [&str; 3]) -> String {
    words.iter().fold(pattern.to_owned(), |filled, word| filled.replacen("%s", word, 1))
}

impl<'a> Shower<'a> {
    pub(super) fn new(app: &'a App, did: &'a Did) -> Self {
        Self { app, did }
    }

    /// Posts with their views, in order; none if the account is not active.
    pub(super) async fn posts<'p>(&self, posts: Vec<&'p Own>) -> Result<Vec<(&'p Own, Value)>, Unpatched> {
        if posts.is_empty() {
            return Ok(Vec::new());
        }
        let Some(author) = self.author().await? else { return Ok(Vec::new()) };
        let shown = try_join_all(posts.iter().map(|post| self.post(post, &author))).await?;
        Ok(posts.into_iter().zip(shown).collect())
    }

    /// What goes with a post of its author.
    async fn author(&self) -> Result<Option<Value>, Unpatched> {
        let Some(account) = self.app.accounts().by_did(self.did, Include::ACTIVE).await? else { return Ok(None) };
        let handle = account.handle.unwrap_or_else(Handle::invalid);
        let mut author = json!({ "did": self.did, "handle": handle });
        let store = self.app.actors().store(self.did).await.map_err(ReadError::from)?;
        let db = store.db().map_err(ReadError::from)?;
        let uri =
            AtUri::parse(&format!("at://{}/{PROFILE}/self", self.did)).map_err(|_| Unpatched::Lacks("profile"))?;
        if let Some(profile) = db.read_short(|connection| read::record(connection, &uri, None))? {
            let profile = serde_json::to_value(profile.decode()?)?;
            set(&mut author, "displayName", profile.get("displayName").cloned());
            set(&mut author, "avatar", self.of(&profile, "avatar", "avatar"));
        }
        Ok(Some(author))
    }

    async fn post(&self, own: &Own, author: &Value) -> Result<Value, Unpatched> {
        let mut view = json!({
            "uri": own.uri, "cid": own.cid, "author": author, "record": own.record, "indexedAt": own.indexed_at,
            // It is too new for anything else.
            "likeCount": 0, "replyCount": 0, "repostCount": 0, "quoteCount": 0,
        });
        if let Some(embed) = own.record.get("embed") {
            set(&mut view, "embed", self.embed(embed).await?);
        }
        Ok(view)
    }

    async fn embed(&self, embed: &Value) -> Result<Option<Value>, Unpatched> {
        match text(embed, "/$type") {
            Some("app.bsky.embed.record") => self.record(embed).await.map(Some),
            Some("app.bsky.embed.recordWithMedia") => {
                let Some(media) = embed.get("media").and_then(|media| media_of(self, media)) else { return Ok(None) };
                let record = self.record(embed.get("record").ok_or(Unpatched::Lacks("record"))?).await?;
                let view = json!({ "$type": "app.bsky.embed.recordWithMedia#view", "record": record, "media": media? });
                Ok(Some(view))
            }
            _ => media_of(self, embed).transpose(),
        }
    }

    /// What a quoted record is shown as.
    async fn record(&self, embed: &Value) -> Result<Value, Unpatched> {
        let uri = text(embed, "/record/uri").ok_or(Unpatched::Lacks("record"))?;
        let collection = AtUri::parse(uri).ok().and_then(|uri| uri.collection());
        let record = match collection.as_ref().map_or("", |collection| collection.as_str()) {
            "app.bsky.feed.post" => {
                let mut shown = self.embedded("app.bsky.feed.getPosts", &[("uris", uri)]).await?;
                shown.pointer_mut("/posts/0").map(|post| quoted(post.take()))
            }
            "app.bsky.feed.generator" => {
                let mut shown = self.embedded("app.bsky.feed.getFeedGenerator", &[("feed", uri)]).await?;
                shown.get_mut("view").map(|view| typed("app.bsky.feed.defs#generatorView", view.take()))
            }
            "app.bsky.graph.list" => {
                // Who is on it is not shown.
                let mut shown = self.embedded("app.bsky.graph.getList", &[("list", uri), ("limit", "1")]).await?;
                shown.get_mut("list").map(|list| typed("app.bsky.graph.defs#listView", list.take()))
            }
            _ => None,
        };
        let record = record
            .unwrap_or_else(|| json!({ "$type": "app.bsky.embed.record#viewNotFound", "uri": uri, "notFound": true }));
        Ok(json!({ "$type": "app.bsky.embed.record#view", "record": record }))
    }

    async fn embedded(&self, nsid: &str, params: &[(&str, &str)]) -> Result<Value, Unpatched> {
        self.ask(nsid, params).await.map_err(Unpatched::Embed)
    }

    /// What the view answers to a query of the caller.
    ///
    /// # Errors
    /// What it refuses with; 502 if it fails, is not reached, takes too long, or answers what is too large or not `T`.
    pub(super) async fn ask<T: DeserializeOwned>(&self, nsid: &str, params: &[(&str, &str)]) -> Result<T, XrpcError> {
        let answered = async {
            let target = Target::usual(self.app, nsid)?;
            let token = token(self.app, self.did, target.did.as_str(), nsid).await?;
            let answer = target.query(self.app, nsid, params, &HeaderMap::new(), token).await?;
            let body = axum::body::to_bytes(answer.into_body(), ANSWER_MAX).await.map_err(unread)?;
            serde_json::from_slice(&body).map_err(unread)
        };
        tokio::time::timeout(SHOWN_WITHIN, answered).await.unwrap_or_else(|error| Err(unread(error)))
    }
}

fn unread(cause: impl std::error::Error + Send + Sync + 'static) -> XrpcError {
    XrpcError::upstream("the view's answer cannot be read").caused_by(cause)
}

/// Pictures or a page, as they are shown; `None` for anything else.
pub(super) fn media_of(images: &impl Images, embed: &Value) -> Option<Result<Value, Unpatched>> {
    match text(embed, "/$type")? {
        "app.bsky.embed.images" => Some(pictures(images, embed)),
        "app.bsky.embed.external" => Some(page(images, embed)),
        _ => None,
    }
}

fn pictures(images: &impl Images, embed: &Value) -> Result<Value, Unpatched> {
    let pictures = embed.get("images").and_then(Value::as_array).ok_or(Unpatched::Lacks("images"))?;
    let shown = pictures.iter().map(|picture| {
        let url = |preset| images.of(picture, "image", preset).ok_or(Unpatched::Lacks("image"));
        let mut view = json!({ "thumb": url("feed_thumbnail")?, "fullsize": url("feed_fullsize")? });
        for name in ["alt", "aspectRatio"] {
            set(&mut view, name, picture.get(name).cloned());
        }
        Ok(view)
    });
    let shown = shown.collect::<Result<Vec<_>, Unpatched>>()?;
    Ok(json!({ "$type": "app.bsky.embed.images#view", "images": shown }))
}

fn page(images: &impl Images, embed: &Value) -> Result<Value, Unpatched> {
    let page = embed.get("external").ok_or(Unpatched::Lacks("external"))?;
    let mut view = json!({});
    for name in ["uri", "title", "description"] {
        set(&mut view, name, page.get(name).cloned());
    }
    set(&mut view, "thumb", images.of(page, "thumb", "feed_thumbnail"));
    Ok(json!({ "$type": "app.bsky.embed.external#view", "external": view }))
}

/// A post's view as that of a quoted record.
pub(super) fn quoted(mut post: Value) -> Value {
    let mut view = json!({ "$type": "app.bsky.embed.record#viewRecord" });
    for (name, from) in [
        ("uri", "uri"),
        ("cid", "cid"),
        ("author", "author"),
        ("value", "record"),
        ("labels", "labels"),
        ("indexedAt", "indexedAt"),
    ] {
        set(&mut view, name, post.get_mut(from).map(Value::take));
    }
    set(&mut view, "embeds", post.get_mut("embed").map(|embed| json!([embed.take()])));
    view
}

fn typed(kind: &str, mut view: Value) -> Value {
    set(&mut view, "$type", Some(Value::from(kind)));
    view
}

#[cfg(test)]
mod tests {
    use super::filled;

    #[test]
    fn a_pattern_is_filled_in_order() {
        let filled = |pattern| filled(pattern, ["avatar", "did:plc:abc", "cid"]);
        assert_eq!(
            filled("https://a.test/img/%s/plain/%s/%s@jpeg"),
            "https://a.test/img/avatar/plain/did:plc:abc/cid@jpeg"
        );
        assert_eq!(filled("https://a.test/%s"), "https://a.test/avatar");
    }
}
