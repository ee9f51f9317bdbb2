//! Inputs, outputs and parameters of the `com.atproto.*` methods that a PDS answers.
//!
//! Written by hand and named after the last segment of the method: `PutRecord` is the input, `PutRecordOutput` the
//! output, `GetRecordParams` the query parameters; a method without one has none. Identifiers are [`crate::syntax`]
//! types, so what has been read is valid. What a schema calls `unknown` is a [`crate::data::Value`].
//!
//! Reading tolerates unknown fields. Writing leaves absent optional fields out. Records have no types here or anywhere:
//! they are values from the socket to the store.
//!
//! Implements the method schemas of <https://atproto.com/specs/lexicon>, `com.atproto.*`, as the reference server 0.5.35
//! has them.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, de};

use crate::xrpc::Method;

pub mod admin;
pub mod bsky;
pub mod identity;
pub mod moderation;
pub mod repo;
pub mod server;
pub mod sync;
pub mod temp;

#[cfg(test)]
mod tests;

/// Every method that has its types here (or needs none), in the order of their names.
pub const METHODS: &[Method] = &[
    Method::query("app.bsky.actor.getPreferences"),
    Method::query("app.bsky.actor.getProfile"),
    Method::query("app.bsky.actor.getProfiles"),
    Method::procedure("app.bsky.actor.putPreferences"),
    Method::query("app.bsky.feed.getActorLikes"),
    Method::query("app.bsky.feed.getAuthorFeed"),
    Method::query("app.bsky.feed.getFeed"),
    Method::query("app.bsky.feed.getPostThread"),
    Method::query("app.bsky.feed.getTimeline"),
    Method::procedure("app.bsky.notification.registerPush"),
    Method::procedure("app.bsky.notification.unregisterPush"),
    Method::procedure("com.atproto.admin.deleteAccount"),
    Method::procedure("com.atproto.admin.disableAccountInvites"),
    Method::procedure("com.atproto.admin.disableInviteCodes"),
    Method::procedure("com.atproto.admin.enableAccountInvites"),
    Method::query("com.atproto.admin.getAccountInfo"),
    Method::query("com.atproto.admin.getAccountInfos"),
    Method::query("com.atproto.admin.getInviteCodes"),
    Method::query("com.atproto.admin.getSubjectStatus"),
    Method::procedure("com.atproto.admin.sendEmail"),
    Method::procedure("com.atproto.admin.updateAccountEmail"),
    Method::procedure("com.atproto.admin.updateAccountHandle"),
    Method::procedure("com.atproto.admin.updateAccountPassword"),
    Method::procedure("com.atproto.admin.updateSubjectStatus"),
    Method::query("com.atproto.identity.getRecommendedDidCredentials"),
    Method::procedure("com.atproto.identity.requestPlcOperationSignature"),
    Method::query("com.atproto.identity.resolveHandle"),
    Method::procedure("com.atproto.identity.signPlcOperation"),
    Method::procedure("com.atproto.identity.submitPlcOperation"),
    Method::procedure("com.atproto.identity.updateHandle"),
    Method::procedure("com.atproto.moderation.createReport"),
    Method::procedure("com.atproto.repo.applyWrites"),
    Method::procedure("com.atproto.repo.createRecord"),
    Method::procedure("com.atproto.repo.deleteRecord"),
    Method::query("com.atproto.repo.describeRepo"),
    Method::query("com.atproto.repo.getRecord"),
    Method::procedure("com.atproto.repo.importRepo"),
    Method::query("com.atproto.repo.listMissingBlobs"),
    Method::query("com.atproto.repo.listRecords"),
    Method::procedure("com.atproto.repo.putRecord"),
    Method::procedure("com.atproto.repo.uploadBlob"),
    Method::procedure("com.atproto.server.activateAccount"),
    Method::query("com.atproto.server.checkAccountStatus"),
    Method::procedure("com.atproto.server.confirmEmail"),
    Method::procedure("com.atproto.server.createAccount"),
    Method::procedure("com.atproto.server.createAppPassword"),
    Method::procedure("com.atproto.server.createInviteCode"),
    Method::procedure("com.atproto.server.createInviteCodes"),
    Method::procedure("com.atproto.server.createSession"),
    Method::procedure("com.atproto.server.deactivateAccount"),
    Method::procedure("com.atproto.server.deleteAccount"),
    Method::procedure("com.atproto.server.deleteSession"),
    Method::query("com.atproto.server.describeServer"),
    Method::query("com.atproto.server.getAccountInviteCodes"),
    Method::query("com.atproto.server.getServiceAuth"),
    Method::query("com.atproto.server.getSession"),
    Method::query("com.atproto.server.listAppPasswords"),
    Method::procedure("com.atproto.server.refreshSession"),
    Method::procedure("com.atproto.server.requestAccountDelete"),
    Method::procedure("com.atproto.server.requestEmailConfirmation"),
    Method::procedure("com.atproto.server.requestEmailUpdate"),
    Method::procedure("com.atproto.server.requestPasswordReset"),
    Method::procedure("com.atproto.server.reserveSigningKey"),
    Method::procedure("com.atproto.server.resetPassword"),
    Method::procedure("com.atproto.server.revokeAppPassword"),
    Method::procedure("com.atproto.server.updateEmail"),
    Method::query("com.atproto.sync.getBlob"),
    Method::query("com.atproto.sync.getBlocks"),
    Method::query("com.atproto.sync.getCheckout"),
    Method::query("com.atproto.sync.getHead"),
    Method::query("com.atproto.sync.getLatestCommit"),
    Method::query("com.atproto.sync.getRecord"),
    Method::query("com.atproto.sync.getRepo"),
    Method::query("com.atproto.sync.getRepoStatus"),
    Method::query("com.atproto.sync.listBlobs"),
    Method::query("com.atproto.sync.listRepos"),
    Method::subscription("com.atproto.sync.subscribeRepos"),
    Method::query("com.atproto.temp.checkSignupQueue"),
];

/// Text that must not reach a log: a password or a token. Its `Debug` form hides it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// How many items a page may have: 1 to `MAX`, `DEFAULT` if the client does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Limit<const DEFAULT: u16, const MAX: u16>(u16);

impl<const DEFAULT: u16, const MAX: u16> Limit<DEFAULT, MAX> {
    /// A limit, unless it is out of range.
    #[must_use]
    pub fn new(limit: u16) -> Option<Self> {
        (1..=MAX).contains(&limit).then_some(Self(limit))
    }

    /// The number of items.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    fn is_default(&self) -> bool {
        self.0 == DEFAULT
    }
}

impl<const DEFAULT: u16, const MAX: u16> Default for Limit<DEFAULT, MAX> {
    fn default() -> Self {
        Self(DEFAULT)
    }
}

impl<'de, const DEFAULT: u16, const MAX: u16> Deserialize<'de> for Limit<DEFAULT, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let limit = i64::deserialize(deserializer)?;
        let in_range = u16::try_from(limit).ok().and_then(Self::new);
        in_range.ok_or_else(|| de::Error::custom(format_args!("limit is {limit}, must be 1 to {MAX}")))
    }
}

/// For the optional fields of inputs, whose schemas do not let them be null: absent is `None`, null is an error. To read
/// null as absent could drop a guard.
fn not_null<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// The default of parameters that are true unless the client says otherwise.
const fn yes() -> bool {
    true
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
const fn is_true(flag: &bool) -> bool {
    *flag
}
