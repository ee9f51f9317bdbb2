//! `app.bsky.*`: those methods of an application that a PDS answers itself, or does not pass on as they come.
//!
//! See <https://atproto.com/specs/xrpc>, service proxying.

use serde::{Deserialize, Serialize};

use super::not_null;
use crate::syntax::{AtUri, Did};

/// What an owner set for applications: an object named by its `$type`. It is told as it was set, so that it stays JSON.
pub type Preference = serde_json::Map<String, serde_json::Value>;

/// Parameters of `app.bsky.actor.getPreferences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetPreferencesParams {
    /// Whose, where a moderation service asks; no schema names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub did: Option<Did>,
}

/// Output of `app.bsky.actor.getPreferences`, input of `app.bsky.actor.putPreferences`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preferences {
    /// All of them, in order.
    pub preferences: Vec<Preference>,
}

/// Parameters of `app.bsky.feed.getFeed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetFeedParams {
    /// The record of the feed.
    pub feed: AtUri,
    /// How many posts at most; 1 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Input of `app.bsky.notification.registerPush` and `app.bsky.notification.unregisterPush`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Push {
    /// The service that notifies.
    pub service_did: Did,
    /// By what the device's maker knows it.
    pub token: String,
    /// `ios`, `android`, `web` or another.
    pub platform: String,
    /// The application.
    pub app_id: String,
    /// Whether its user is too young for some of it.
    #[serde(default, deserialize_with = "not_null", skip_serializing_if = "Option::is_none")]
    pub age_restricted: Option<bool>,
}
