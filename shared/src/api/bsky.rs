//! `app.bsky.*`: those methods of an application that a PDS answers itself, or does not pass on as they come.
//!
//! See <https://atproto.com/specs/xrpc>, service proxying.

use serde::{Deserialize, Deserializer, Serialize, de};

use super::{Limit, not_null};
use crate::syntax::{AtIdentifier, AtUri, Did};

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

/// Parameters of `app.bsky.actor.getProfile`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetProfileParams {
    /// Whose.
    pub actor: AtIdentifier,
}

/// Parameters of `app.bsky.actor.getProfiles`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetProfilesParams {
    /// Whose; 25 at most.
    #[serde(deserialize_with = "a_page_of_profiles")]
    pub actors: Vec<AtIdentifier>,
}

/// Parameters of `app.bsky.feed.getActorLikes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetActorLikesParams {
    /// Whose likes.
    pub actor: AtIdentifier,
    /// The page's size.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<50, 100>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Parameters of `app.bsky.feed.getAuthorFeed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetAuthorFeedParams {
    /// Whose posts.
    pub actor: AtIdentifier,
    /// The page's size.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<50, 100>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Which of them, by a name that the application knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// Whether the pinned post comes first.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_pins: bool,
}

/// Parameters of `app.bsky.feed.getPostThread`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetPostThreadParams {
    /// The post.
    pub uri: AtUri,
    /// How many levels of replies.
    #[serde(default, skip_serializing_if = "Levels::is_default")]
    pub depth: Levels<6>,
    /// How many levels of what it is a reply to.
    #[serde(default, skip_serializing_if = "Levels::is_default")]
    pub parent_height: Levels<80>,
}

/// Parameters of `app.bsky.feed.getTimeline`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetTimelineParams {
    /// Which one, by a name that the application knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub algorithm: Option<String>,
    /// The page's size.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<50, 100>,
    /// Where the page before ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Parameters of `app.bsky.feed.getFeed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GetFeedParams {
    /// The record of the feed.
    pub feed: AtUri,
    /// How many posts at most.
    #[serde(default, skip_serializing_if = "Limit::is_default")]
    pub limit: Limit<50, 100>,
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

/// How many levels of a thread are wanted: 0 to 1000, `DEFAULT` if the client does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Levels<const DEFAULT: u16>(u16);

impl<const DEFAULT: u16> Levels<DEFAULT> {
    /// How many.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    fn is_default(&self) -> bool {
        self.0 == DEFAULT
    }
}

impl<const DEFAULT: u16> Default for Levels<DEFAULT> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: u16> Deserialize<'de> for Levels<DEFAULT> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let levels = i64::deserialize(deserializer)?;
        let in_range = u16::try_from(levels).ok().filter(|levels| *levels <= 1000).map(Self);
        in_range.ok_or_else(|| de::Error::custom(format_args!("there are {levels} levels, must be 0 to 1000")))
    }
}

fn a_page_of_profiles<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AtIdentifier>, D::Error> {
    let actors = Vec::deserialize(deserializer)?;
    if actors.len() > 25 { Err(de::Error::custom("more than 25 actors")) } else { Ok(actors) }
}
