//! `app.bsky.*`: what of an application's methods is answered here. All others are passed on ([`super::proxy`]), six of
//! them with what is newer here put into the answer ([`super::read_after_write`]).
//!
//! They are there if the operator has a view of the network.

use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use shared::api::bsky::{GetFeedParams, GetPreferencesParams, Preferences, Push};
use shared::api::repo::GetRecordOutput;
use shared::data::Value;
use shared::syntax::{AtUri, Did};
use shared::token::session::Scope;
use url::Url;

use super::call::{Answer, Call};
use super::explain::check;
use super::input::Json;
use super::proxy::{Aside, Target, token};
use crate::actor::preferences::{self, PreferencesError};
use crate::app::App;
use crate::auth::{Caller, OwnerOrModerator};
use crate::error::XrpcError;
use crate::pipethrough::asked_of;
use crate::time::now_datetime;

const GET_PREFERENCES: &str = "app.bsky.actor.getPreferences";
const PUT_PREFERENCES: &str = "app.bsky.actor.putPreferences";
const GET_FEED: &str = "app.bsky.feed.getFeed";
const GET_FEED_SKELETON: &str = "app.bsky.feed.getFeedSkeleton";
const GET_RECORD: &str = "com.atproto.repo.getRecord";
/// The service that sends an application's notifications, in its document, and the type that it has there.
const NOTIFIER: &str = "bsky_notif";
const NOTIFIER_TYPE: &str = "BskyNotificationService";
/// How large the record of a feed may be, in bytes.
const FEED_MAX: usize = 1024 * 1024;

/// app.bsky.actor.getPreferences
pub(super) async fn get_preferences(
    Call { app, caller, params, input: Aside { headers, .. }, .. }: Call<
        OwnerOrModerator,
        GetPreferencesParams,
        Aside<()>,
    >,
) -> Answer<Response> {
    let target = Target::of(&app, &headers, GET_PREFERENCES).await?;
    let elsewhere = !target.is_app_view(&app);
    let (did, full) = match caller {
        OwnerOrModerator::Moderator if elsewhere => {
            return Err(XrpcError::invalid_request("Moderator requests cannot be proxied to other app views"));
        }
        OwnerOrModerator::Moderator => {
            (params.did.ok_or_else(|| XrpcError::invalid_request("Invalid or missing did parameter"))?, true)
        }
        OwnerOrModerator::Owner(Caller { did, .. }) if elsewhere => {
            let token = token(&app, &did, target.did.as_str(), GET_PREFERENCES).await?;
            return target.query(&app, GET_PREFERENCES, &[], &headers, token).await;
        }
        OwnerOrModerator::Owner(Caller { did, scope }) => (did, scope == Scope::Access),
    };
    let store = app.actors().store(&did).await?;
    let preferences = store.db()?.read_short(|connection| preferences::get(connection, full, &now_datetime()))?;
    Ok(Json(Preferences { preferences }).into_response())
}

/// app.bsky.actor.putPreferences
pub(super) async fn put_preferences(
    Call { app, caller, input: Aside { input: Json(input), headers }, .. }: Call<Caller, (), Aside<Json<Preferences>>>,
) -> Answer<Response> {
    check(PUT_PREFERENCES, &input)?;
    let target = Target::of(&app, &headers, PUT_PREFERENCES).await?;
    if !target.is_app_view(&app) {
        return target.procedure(&app, &caller.did, PUT_PREFERENCES, &input).await;
    }
    let full = caller.scope == Scope::Access;
    let store = app.actors().store(&caller.did).await?;
    let put = store.db()?.write(move |transaction| preferences::put(transaction, &input.preferences, full));
    match put.await {
        Ok(()) => Ok(().into_response()),
        Err(PreferencesError::Db(error)) => Err(error.into()),
        Err(error) => Err(XrpcError::invalid_request(error.to_string())),
    }
}

/// app.bsky.feed.getFeed
///
/// The view shows the feed, and asks for it at the feed's own service: the token is for that.
pub(super) async fn get_feed(
    Call { app, caller, params, input: Aside { headers, .. }, verb, uri, .. }: Call<Caller, GetFeedParams, Aside<()>>,
) -> Answer<Response> {
    let target = Target::of(&app, &headers, GET_FEED).await?;
    let generator = generator(&app, &params.feed).await?;
    let token = token(&app, &caller.did, &generator, GET_FEED_SKELETON).await?;
    app.pipethrough().forward(target.call_with(token, verb, &uri, asked_of(&headers))).await
}

/// The service that makes a feed, as its record says.
async fn generator(app: &App, feed: &AtUri) -> Answer<String> {
    let unknown = || XrpcError::refused("UnknownFeed", "could not resolve feed did");
    let view = app.config().services.app_view.as_ref().ok_or_else(unknown)?;
    let (repo, collection, rkey) = (feed.authority().to_string(), feed.collection(), feed.rkey());
    let (Some(collection), Some(rkey)) = (collection, rkey) else { return Err(unknown()) };
    let place = [("repo", repo.as_str()), ("collection", collection.as_str()), ("rkey", rkey.as_str())];
    let answer = app.pipethrough().query(&view.remote.url, GET_RECORD, &place, HeaderMap::new()).await?;
    let body = axum::body::to_bytes(answer.into_body(), FEED_MAX).await;
    let body = body.map_err(|error| XrpcError::upstream("the feed's record cannot be read").caused_by(error))?;
    let record: GetRecordOutput = serde_json::from_slice(&body).map_err(|_| unknown())?;
    match record.value {
        Value::Map(map) => match map.get("did") {
            Some(Value::String(did)) => Ok(did.to_string()),
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}

/// app.bsky.notification.registerPush
pub(super) async fn register_push(call: Call<Caller, (), Json<Push>>) -> Answer<()> {
    push(call, "app.bsky.notification.registerPush").await
}

/// app.bsky.notification.unregisterPush
pub(super) async fn unregister_push(call: Call<Caller, (), Json<Push>>) -> Answer<()> {
    push(call, "app.bsky.notification.unregisterPush").await
}

async fn push(Call { app, caller, input: Json(input), .. }: Call<Caller, (), Json<Push>>, nsid: &str) -> Answer<()> {
    let did = input.service_did.clone();
    let view = app.config().services.app_view.as_ref().map(|view| &view.remote);
    let url = match view.filter(|view| view.did == did) {
        Some(view) => view.url.clone(),
        None => notifier(&app, &did).await?,
    };
    Target::at(url, did, NOTIFIER).procedure(&app, &caller.did, nsid, &input).await.map(drop)
}

/// Where the notifications of an application are had.
async fn notifier(app: &App, did: &Did) -> Answer<Url> {
    let unresolved = || XrpcError::invalid_request(format!("could not resolve did document: {did}"));
    let document = app.identity().resolve_did(did).await.map_err(|error| unresolved().caused_by(error))?;
    let url =
        document.ok_or_else(unresolved)?.service(NOTIFIER, Some(NOTIFIER_TYPE)).and_then(|url| Url::parse(url).ok());
    url.ok_or_else(|| {
        XrpcError::invalid_request(format!("invalid notification service details in did document: {did}"))
    })
}
