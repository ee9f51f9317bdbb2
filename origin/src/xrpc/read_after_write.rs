//! Read-after-write: owners see at once what they wrote, also while the application's view of the network has not yet.
//!
//! Six methods are passed on to the view, which says in `atproto-repo-rev` up to which revision it knows the caller's
//! repository. Where that is the newest the answer flows through unread, as of any other method: finding out costs one
//! look into an index. Else the answer is read, what is newer here is put into it ([`mod@patch`]), shown as the view
//! would ([`show`]), and `atproto-upstream-lag` says for how many milliseconds the oldest of it has been here. Of what
//! is newer the ten oldest records count, and of those the profile and the posts. A thread that the view does not find,
//! because the caller's post that begins it is too new, is made here.
//!
//! What always holds: an answer that is not what it should be, cannot be read here, or cannot be patched in time goes
//! to the caller as it came; the log says why. Only the operator's own view is believed, not one that the caller names.
//! No answer that is larger than [`MAX`] is read, and all that are in memory have one [`room`]: where that is full they
//! go out as they came.
//!
//! Specification: lexicons `app.bsky.actor.getProfile`, `getProfiles`, `app.bsky.feed.getActorLikes`, `getAuthorFeed`,
//! `getPostThread`, `getTimeline`; what is patched is as the reference server has it.

mod parts;
mod patch;
mod room;
mod show;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method as Verb, StatusCode, header};
use axum::response::Response;
use futures_util::{StreamExt as _, stream};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use shared::api::bsky::{
    GetActorLikesParams, GetAuthorFeedParams, GetPostThreadParams, GetProfileParams, GetProfilesParams,
    GetTimelineParams,
};
use shared::syntax::{AtIdentifier, AtUri, Datetime, Did, Tid};

use super::call::{Answer, Call};
use super::proxy::{Aside, Target};
use crate::account::{AccountError, Include};
use crate::actor::read::{NewRecord, ReadError, records_since};
use crate::app::App;
use crate::auth::Caller;
use crate::coding;
use crate::error::XrpcError;
use crate::pipethrough::{REPO_REV, Refusal, asked_of};
use crate::time::now_millis;
use parts::Part;
use patch::Feed;
use room::Room;
use show::Shower;

const GET_POST_THREAD: &str = "app.bsky.feed.getPostThread";
const PROFILE: &str = "app.bsky.actor.profile";
const POST: &str = "app.bsky.feed.post";
/// How many of the newer records count.
const COUNTED: u32 = 10;
/// For how many milliseconds the view has not known what is here.
const UPSTREAM_LAG: HeaderName = HeaderName::from_static("atproto-upstream-lag");
/// What the view says of a post that it does not have.
const NOT_FOUND: &str = "NotFound";

/// How large an answer may be that is patched, in bytes, packed and unpacked: a page of a hundred posts has a quarter of
/// a million, so that only the largest threads are more.
const MAX: usize = 2 * 1024 * 1024;
/// How long the view may take to show what a new post embeds or is a reply to: the answer waits for it.
const SHOWN_WITHIN: Duration = Duration::from_secs(5);
/// How much of a patched answer goes out at once.
const PIECE: usize = 64 * 1024;

/// What is asked.
#[derive(Debug)]
enum Method {
    Profile,
    Profiles,
    ActorLikes,
    AuthorFeed,
    PostThread(GetPostThreadParams),
    Timeline,
}

impl Method {
    fn nsid(&self) -> &'static str {
        match self {
            Self::Profile => "app.bsky.actor.getProfile",
            Self::Profiles => "app.bsky.actor.getProfiles",
            Self::ActorLikes => "app.bsky.feed.getActorLikes",
            Self::AuthorFeed => "app.bsky.feed.getAuthorFeed",
            Self::PostThread(_) => GET_POST_THREAD,
            Self::Timeline => "app.bsky.feed.getTimeline",
        }
    }
}

/// Why an answer is not patched.
#[derive(Debug, thiserror::Error)]
enum Unpatched {
    #[error("it is larger than what is read")]
    TooLarge,
    #[error("too many are being patched")]
    NoRoom,
    #[error("it cannot be unpacked")]
    Packed(#[source] io::Error),
    #[error("it is packed in an unknown way")]
    UnknownCoding,
    #[error("it is no JSON, or not as it should be")]
    Json(#[from] serde_json::Error),
    #[error("there is no {0} in it")]
    Lacks(&'static str),
    #[error("the account's store cannot be read")]
    Store(#[from] ReadError),
    #[error("the account cannot be read")]
    Account(#[from] AccountError),
    #[error("what a new post embeds cannot be shown")]
    Embed(#[source] XrpcError),
}

/// What a thread is a reply to, as the view shows it.
#[derive(Debug, Deserialize)]
struct Above {
    thread: Box<RawValue>,
}

/// A record of the caller that the view does not know.
#[derive(Debug, Clone, PartialEq)]
struct Own {
    uri: AtUri,
    cid: String,
    /// When it was written; such times sort as text.
    indexed_at: String,
    record: Value,
}

/// What the view does not know of the caller's repository. There is something.
#[derive(Debug)]
struct Newer {
    profile: Option<Own>,
    /// Oldest first.
    posts: Vec<Own>,
}

impl Newer {
    /// What is newer here than `rev`; `None` if nothing is that matters.
    async fn than(rev: &HeaderValue, app: &App, did: &Did) -> Result<Option<Self>, Unpatched> {
        let Some(rev) = rev.to_str().ok().and_then(|rev| Tid::parse(rev).ok()) else { return Ok(None) };
        let store = app.actors().store(did).await.map_err(ReadError::from)?;
        let db = store.db().map_err(ReadError::from)?;
        let records = db.read_short(|connection| records_since(connection, &rev, COUNTED, &[PROFILE, POST]))?;
        let mut newer = Self { profile: None, posts: Vec::new() };
        for NewRecord { record, indexed_at } in records {
            let value = serde_json::to_value(record.decode()?)?;
            let is_post = record.uri.collection().is_some_and(|collection| collection.as_str() == POST);
            let is_profile = record.uri.rkey().is_some_and(|rkey| rkey.as_str() == "self");
            let own = Own { uri: record.uri, cid: record.cid.to_string(), indexed_at, record: value };
            if is_post {
                newer.posts.push(own);
            } else if is_profile {
                newer.profile = Some(own);
            }
        }
        Ok(Some(newer).filter(|newer| newer.profile.is_some() || !newer.posts.is_empty()))
    }

    /// For how many milliseconds the oldest of it has been here.
    fn lag(&self) -> Option<i64> {
        let oldest = self.profile.iter().chain(&self.posts).map(|own| &own.indexed_at).min()?;
        Some(now_millis() - Datetime::parse(oldest).ok()?.unix_micros() / 1000)
    }
}

/// app.bsky.actor.getProfile
pub(super) async fn get_profile(call: Call<Caller, GetProfileParams, Aside<()>>) -> Answer<Response> {
    read(call, Method::Profile).await
}

/// app.bsky.actor.getProfiles
pub(super) async fn get_profiles(call: Call<Caller, GetProfilesParams, Aside<()>>) -> Answer<Response> {
    read(call, Method::Profiles).await
}

/// app.bsky.feed.getActorLikes
pub(super) async fn get_actor_likes(call: Call<Caller, GetActorLikesParams, Aside<()>>) -> Answer<Response> {
    read(call, Method::ActorLikes).await
}

/// app.bsky.feed.getAuthorFeed
pub(super) async fn get_author_feed(call: Call<Caller, GetAuthorFeedParams, Aside<()>>) -> Answer<Response> {
    read(call, Method::AuthorFeed).await
}

/// app.bsky.feed.getPostThread
pub(super) async fn get_post_thread(call: Call<Caller, GetPostThreadParams, Aside<()>>) -> Answer<Response> {
    let params = call.params.clone();
    read(call, Method::PostThread(params)).await
}

/// app.bsky.feed.getTimeline
pub(super) async fn get_timeline(call: Call<Caller, GetTimelineParams, Aside<()>>) -> Answer<Response> {
    read(call, Method::Timeline).await
}

/// Passes a call on as it came, and patches what is answered.
async fn read<P>(call: Call<Caller, P, Aside<()>>, method: Method) -> Answer<Response> {
    let Call { app, caller: Caller { did, .. }, input: Aside { headers, .. }, verb, uri, .. } = call;
    let target = Target::of(&app, &headers, method.nsid()).await?;
    let mut asked = asked_of(&headers);
    // It may have to be read here.
    let accepted = coding::acceptable(&headers, app.config().network.proxy_prefers_compressed)?;
    asked.insert(header::ACCEPT_ENCODING, accepted);
    let believed = verb == Verb::GET && target.is_app_view(&app);
    let forward = target.call(&app, &did, method.nsid(), verb, &uri, asked).await?;
    match app.pipethrough().ask(forward).await {
        Ok(answer) if believed => patched(&app, &did, &method, answer).await,
        Err(refusal) if believed => found(&app, &did, &method, refusal).await,
        answered => Ok(answered?),
    }
}

/// The answer with what is newer here; as it came, if nothing is or it cannot be patched.
///
/// # Errors
/// 502 if the view ends it too soon.
async fn patched(app: &App, did: &Did, method: &Method, answer: Response) -> Answer<Response> {
    let Some(rev) = answer.headers().get(REPO_REV).filter(|_| may_be_json(answer.headers())) else { return Ok(answer) };
    let newer = match Newer::than(rev, app, did).await {
        Ok(Some(newer)) => newer,
        Ok(None) => return Ok(answer),
        Err(error) => {
            tell(did, method, &error);
            return Ok(answer);
        }
    };
    let (parts, body) = answer.into_parts();
    let mut came = Came::read(body).await?;
    let patched = async {
        let text = came.text(&parts.headers).await?;
        patch(app, did, method, &text, &newer).await
    };
    match patched.await {
        Ok(json) => Ok(shown(json, newer.lag(), came.room)),
        Err(error) => {
            tell(did, method, &error);
            Ok(Response::from_parts(parts, came.into_body()))
        }
    }
}

/// An answer with what is newer.
async fn patch(app: &App, did: &Did, method: &Method, text: &[u8], newer: &Newer) -> Result<Vec<u8>, Unpatched> {
    let shower = Shower::new(app, did);
    let profile = newer.profile.as_ref().map(|profile| &profile.record);
    let mut body = Part::of(text)?;
    match method {
        Method::Profile => patch::profile(&mut body, profile, &shower)?,
        Method::Profiles => patch::profiles(&mut body, profile, &shower)?,
        Method::ActorLikes => Feed::of(&mut body)?.authors(profile, &shower)?,
        Method::AuthorFeed => {
            let mut feed = Feed::of(&mut body)?;
            if feed.is_of(did) {
                feed.authors(profile, &shower)?;
                let posts = shower.posts(feed.wants(&newer.posts)).await?;
                feed.insert(&posts)?;
            }
        }
        Method::Timeline => {
            let mut feed = Feed::of(&mut body)?;
            let posts = shower.posts(feed.wants(&newer.posts)).await?;
            feed.insert(&posts)?;
        }
        Method::PostThread(_) => {
            let thread = body.object()?.get_mut("thread").ok_or(Unpatched::Lacks("thread"))?;
            let posts = shower.posts(patch::thread_wants(thread, &newer.posts)?).await?;
            patch::insert_into_thread(thread, &posts)?;
        }
    }
    Ok(serde_json::to_vec(&body)?)
}

/// A thread that begins with a post of the caller that the view does not find because it is too new; what was refused, if
/// it is another.
async fn found(app: &App, did: &Did, method: &Method, refusal: Refusal) -> Answer<Response> {
    let (Method::PostThread(params), Some(rev)) = (method, &refusal.repo_rev) else { return Err(refusal.into()) };
    if refusal.error.name() != NOT_FOUND {
        return Err(refusal.into());
    }
    match thread(app, did, params, rev).await {
        Ok(Some(answer)) => Ok(answer),
        Ok(None) => Err(refusal.into()),
        Err(error) => {
            tell(did, method, &error);
            Err(refusal.into())
        }
    }
}

/// The thread of a post of `did` that is newer than `rev`: the post, newer replies, and, as the view shows it, what it is
/// a reply to. `None` if it is no such post.
async fn thread(
    app: &App,
    did: &Did,
    params: &GetPostThreadParams,
    rev: &HeaderValue,
) -> Result<Option<Response>, Unpatched> {
    let owner = match params.uri.authority() {
        AtIdentifier::Did(owner) => Some(owner),
        AtIdentifier::Handle(handle) => {
            app.accounts().by_handle(&handle, Include::ACTIVE).await?.map(|owner| owner.did)
        }
    };
    let (Some(collection), Some(rkey)) = (params.uri.collection(), params.uri.rkey()) else { return Ok(None) };
    if owner.as_ref() != Some(did) {
        return Ok(None);
    }
    let uri = AtUri::record(did, &collection, &rkey);
    let Some(newer) = Newer::than(rev, app, did).await? else { return Ok(None) };
    let Some(post) = newer.posts.iter().find(|post| post.uri == uri) else { return Ok(None) };
    let shower = Shower::new(app, did);
    let Some((_, view)) = shower.posts(vec![post]).await?.pop() else { return Ok(None) };
    let mut thread = patch::thread_of(&view)?;
    let others: Vec<_> = newer.posts.iter().filter(|other| other.uri != uri).cloned().collect();
    let replies = shower.posts(patch::thread_wants(&mut thread, &others)?).await?;
    patch::insert_into_thread(&mut thread, &replies)?;
    if let Some(parent) = patch::text(&post.record, "/reply/parent/uri") {
        let height = params.parent_height.get().to_string();
        let asked = [("uri", parent), ("parentHeight", height.as_str()), ("depth", "0")];
        match shower.ask::<Above>(GET_POST_THREAD, &asked).await {
            Ok(Above { thread: above }) => thread.object()?.set("parent", Some(Part::New(above))),
            Err(error) => tracing::debug!(%did, %error, "a thread is shown without what it is a reply to"),
        }
    }
    let mut room = Room::default();
    let json = serde_json::to_vec(&BTreeMap::from([("thread", thread)]))?;
    if !room.take(json.len()) {
        return Err(Unpatched::NoRoom);
    }
    Ok(Some(shown(json, newer.lag(), room)))
}

/// Whether an answer of these headers can be JSON.
fn may_be_json(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(header::CONTENT_TYPE) else { return true };
    let kind = kind.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind.strip_prefix("application/").is_some_and(|kind| kind == "json" || kind.ends_with("+json"))
}

fn tell(did: &Did, method: &Method, error: &Unpatched) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(%did, method = method.nsid(), error, "an answer goes out without the newest records");
}

/// What came of an answer's body, and what is still to come.
struct Came {
    pieces: Vec<Bytes>,
    rest: Option<axum::body::BodyDataStream>,
    /// Why there is a rest.
    left: Option<Unpatched>,
    room: Room,
}

impl Came {
    /// Reads a body to its end, or to where it is too large.
    async fn read(body: Body) -> Answer<Self> {
        let (mut pieces, mut room, mut length) = (Vec::new(), Room::default(), 0);
        let mut rest = body.into_data_stream();
        while let Some(piece) = rest.next().await {
            let piece = piece.map_err(|error| XrpcError::upstream("Upstream service unreachable").caused_by(error))?;
            length += piece.len();
            let left = match room.take(piece.len()) {
                true if length <= MAX => None,
                true => Some(Unpatched::TooLarge),
                false => Some(Unpatched::NoRoom),
            };
            pieces.push(piece);
            if left.is_some() {
                return Ok(Self { pieces, rest: Some(rest), left, room });
            }
        }
        Ok(Self { pieces, rest: None, left: None, room })
    }

    /// The text that it is, under these headers.
    async fn text(&mut self, headers: &HeaderMap) -> Result<Vec<u8>, Unpatched> {
        if let Some(left) = self.left.take() {
            return Err(left);
        }
        let coding = headers.get(header::CONTENT_ENCODING).and_then(|coding| coding.to_str().ok()).unwrap_or_default();
        let pieces = stream::iter(self.pieces.clone().into_iter().map(Ok));
        let mut pieces = coding::undone(coding, pieces).ok_or(Unpatched::UnknownCoding)?;
        let mut text = Vec::new();
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(Unpatched::Packed)?;
            if text.len() + piece.len() > MAX {
                return Err(Unpatched::TooLarge);
            }
            if !self.room.take(piece.len().saturating_mul(room::PATCHED)) {
                return Err(Unpatched::NoRoom);
            }
            text.extend_from_slice(&piece);
        }
        Ok(text)
    }

    /// The whole of it, as it came.
    fn into_body(self) -> Body {
        let Self { pieces, rest, room, .. } = self;
        let pieces = stream::iter(pieces.into_iter().map(Ok)).chain(stream::iter(rest).flatten());
        Body::from_stream(room.until_the_end_of(pieces))
    }
}

/// An answer that was patched. Of the view's headers it has none: they were of another.
fn shown(json: Vec<u8>, lag: Option<i64>, room: Room) -> Response {
    let mut json = Bytes::from(json);
    let length = json.len();
    let mut pieces = Vec::with_capacity(length / PIECE + 1);
    while !json.is_empty() {
        pieces.push(Ok::<_, axum::Error>(json.split_to(PIECE.min(json.len()))));
    }
    let mut response = Response::new(Body::from_stream(room.until_the_end_of(stream::iter(pieces))));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(lag) = lag {
        headers.insert(UPSTREAM_LAG, HeaderValue::from(lag));
    }
    response
}

#[cfg(test)]
mod tests;
